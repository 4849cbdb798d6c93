"""Limits and time-outs, and what a client is told of them."""
import socket

from harness import fakeserver, wire
from harness.wire import SYNC, extended, parse, query
from play import Scenes

setups = {
    "max-client-conn": dict(auth_type="trust", max_client_conn=3),
    "max-client-conn-md5": dict(auth_type="md5", max_client_conn=3, users={"u_trust": "pw"}),
    "plain": dict(auth_type="trust"),
    "max-db": dict(auth_type="trust", max_db_connections=1),
    "max-user": dict(auth_type="trust", max_user_connections=1,
                     databases={"first": "host={host} port={port} dbname=db",
                                "second": "host={host} port={port} dbname=db"}),
    "reserve": dict(auth_type="trust", reserve_pool_timeout=1),
    "query-wait-timeout": dict(auth_type="trust", query_wait_timeout=1),
    "query-timeout": dict(auth_type="trust", query_timeout=1),
    "idle-transaction-timeout": dict(auth_type="trust", idle_transaction_timeout=1),
    "client-idle-timeout": dict(auth_type="trust", client_idle_timeout=1),
    # Where nothing may run out while this program itself has to wait for the processor.
    "longer-timeouts": dict(auth_type="trust", idle_transaction_timeout=3, client_idle_timeout=3),
    "client-login-timeout": dict(auth_type="md5", client_login_timeout=1, users={"u_trust": "pw"}),
    "client-login-timeout-trust": dict(auth_type="trust", client_login_timeout=1),
    "server-connect-timeout": dict(auth_type="trust", server_connect_timeout=1, server_login_retry=1,
                                   query_wait_timeout=2),
    "server-lifetime": dict(auth_type="trust", server_lifetime=0),
    "server-idle-timeout": dict(auth_type="trust", server_idle_timeout=1),
}
scenes = Scenes("limits", setups)

MODES = ("session", "transaction", "statement")


def modes(*which, **entry):
    return {m: {"entry": {"pool_mode": m, "pool_size": 1, **entry}} for m in which or MODES}


def test_limits(same):
    same()


# --- clients ------------------------------------------------------------------------

@scenes(setup="max-client-conn", alone=True)
def max_client_conn(d):
    a, b, c = d.login(), d.login(), d.login()
    refused = d.connect()
    refused.startup()
    refused.answer("")
    a.query("SELECT 1")
    b.leave()
    again = d.login()
    again.query("SELECT 2")
    console = d.console()
    console.query("SHOW timezone")
    again.leave()
    c.leave()


@scenes(setup="max-client-conn-md5", alone=True)
def max_client_conn_before_the_password(d):
    """Refused clients are told before they have to prove anything."""
    waiting = [d.connect() for _ in range(3)]
    for c in waiting:
        c.startup()
        c.recv()
    c = d.connect()
    c.startup()
    c.end()
    ssl = d.connect()
    ssl.send(wire.startup_packet(wire.SSL_REQUEST)).byte()
    ssl.startup()
    ssl.end()
    waiting[0].vanish()


# --- servers ------------------------------------------------------------------------

@scenes(entry={"pool_size": 2})
def pool_size(d):
    clients = [d.login() for _ in range(4)]
    clients[0].query("SELECT 0")
    clients[1].query("SELECT 1")
    clients[2].send(query("SELECT 2"))
    d.wait_pool(cl_waiting=1)
    clients[3].send(query("SELECT 3"))
    d.wait_pool(cl_waiting=2, sv_active=2)
    clients[2].nothing(0.05)
    clients[0].leave()
    clients[2].ready()
    clients[2].leave()
    clients[3].ready()


@scenes(each=modes("transaction", "session"))
def the_first_to_wait_is_the_first_served(d):
    holder = d.login()
    holder.query("BEGIN")
    waiting = [d.login() for _ in range(3)]
    for i, c in enumerate(waiting):
        c.send(query("SELECT %d, 'order'" % i))
        d.wait_pool(cl_waiting=i + 1)
    holder.query("COMMIT")
    if d.scene.entry["pool_mode"] == "session":
        holder.leave()
    for c in waiting:
        c.ready()
        if d.scene.entry["pool_mode"] == "session":
            c.leave()


@scenes(entry={"pool_size": 5, "max_db_connections": 1})
def max_db_connections_of_the_entry(d):
    a, b = d.login(), d.login()
    a.query("SELECT 1")
    b.send(query("SELECT 2"))
    d.wait_pool(cl_waiting=1, sv_active=1)
    b.nothing(0.05)
    a.leave()
    b.ready()


@scenes(setup="max-db", entry={"pool_size": 5})
def max_db_connections(d):
    a, b = d.login(), d.login()
    a.query("SELECT 1")
    b.send(query("SELECT 2"))
    d.wait_pool(cl_waiting=1, sv_active=1)
    a.leave()
    b.ready()


@scenes(setup="max-db", entry={"pool_size": 5}, each={"idle": {"busy": False}, "busy": {"busy": True}})
def max_db_connections_of_two_users(d, busy):
    """An idle server of another user makes room."""
    a = d.login()
    a.query("SELECT 1")
    if not busy:
        a.leave()
    b = d.connect()
    b.startup("postgres")
    if busy:
        b.nothing()
        a.leave()
    b.answer("")
    b.query("SELECT current_user")


@scenes(setup="max-user", alone=True, entry=None)
def max_user_connections(d):
    a = d.login(database="first")
    a.query("SELECT 1")
    b = d.connect()
    b.startup(database="second")
    b.nothing()
    a.leave()
    b.answer("")
    b.query("SELECT 2")


@scenes(setup="reserve", entry={"pool_size": 1, "reserve_pool": 1, "pool_mode": "transaction"})
def reserve_pool(d):
    a, b, c = d.login(), d.login(), d.login()
    a.query("BEGIN")
    b.query("BEGIN")  # after a second
    c.send(query("SELECT 'c'"))
    d.wait_pool(cl_waiting=1, sv_active=2)
    c.nothing(0.05)
    b.query("COMMIT")
    c.ready()
    a.query("COMMIT")


@scenes(entry={"pool_size": 1, "min_pool_size": 1})
def min_pool_size(d):
    a = d.login()
    a.pid()
    a.query("SELECT 1")


# --- time-outs of clients -----------------------------------------------------------

@scenes(setup="query-wait-timeout", each=modes("session", "transaction"))
def query_wait_timeout(d):
    a, b, c = d.login(), d.login(), d.login()
    a.query("BEGIN")
    b.send(query("SELECT 1"))
    c.send(parse("SELECT 1"), SYNC)
    b.end()
    c.end()
    a.query("SELECT 'unharmed'")


@scenes(setup="query-wait-timeout", entry={"pool_size": 1})
def query_wait_timeout_at_login(d):
    """The greeting is known, so a log-in does not wait."""
    a = d.login()
    a.query("BEGIN")
    b = d.login()
    b.send(query("SELECT 1"))
    b.end()


@scenes(setup="query-timeout", each=modes())
def query_timeout(d):
    a, b = d.login(), d.login()
    a.send(query("SELECT pg_sleep(60)"))
    a.end()
    b.query("SELECT 'next'")


@scenes(setup="query-timeout", each=modes("session", "transaction"))
def query_timeout_by_extended_protocol(d):
    a = d.login()
    a.send(extended("SELECT pg_sleep(60)"), SYNC)
    a.end()
    d.login().query("SELECT 'next'")


@scenes(setup="query-timeout")
def query_timeout_after_rows(d):
    a = d.login()
    a.send(query("SELECT 1; SELECT pg_sleep(60)"))
    a.end()


@scenes(setup="idle-transaction-timeout", each=modes("session", "transaction"))
def idle_transaction_timeout(d):
    a, b = d.login(), d.login()
    a.query("BEGIN")
    a.end()
    b.query("SELECT 'next'")


@scenes(setup="idle-transaction-timeout", each=modes("session", "transaction"))
def idle_transaction_timeout_after_an_error(d):
    a = d.login()
    a.query("BEGIN")
    a.query("SELECT 1/0")
    a.end()


@scenes(setup="longer-timeouts", each=modes("session", "transaction"))
def a_long_query_is_not_idle(d):
    a = d.login()
    a.query("BEGIN")
    a.query("SELECT 1 FROM pg_sleep(3.7)")
    a.query("COMMIT")


@scenes(setup="client-idle-timeout", each=modes())
def client_idle_timeout(d):
    a = d.login()
    a.query("SELECT 1")
    if d.scene.entry["pool_mode"] != "session":
        a.end()
    b = d.login()
    b.end()


@scenes(setup="longer-timeouts", each=modes("session", "transaction"))
def client_idle_timeout_spares_transactions(d):
    a = d.login()
    a.query("BEGIN")
    a.query("SELECT 1 FROM pg_sleep(3.7)")
    a.query("COMMIT")


@scenes(setup="client-login-timeout", each={
    "nothing": {"data": b""}, "half-startup": {"data": wire.startup("u_trust", "x")[:6]},
    "after-ssl-request": {"data": wire.startup_packet(wire.SSL_REQUEST)}})
def client_login_timeout(d, data):
    c = d.connect()
    c.send(data, note="%d bytes" % len(data))
    if len(data) == 8:
        c.byte()
    c.end()


@scenes(setup="client-login-timeout", each={"nothing": {"data": b""}, "half": {"data": wire.password("x")[:4]}})
def client_login_timeout_at_the_password(d, data):
    c = d.connect()
    c.startup()
    c.recv()
    c.send(data, note="%d bytes" % len(data))
    c.end()


def never_welcomes(peer):
    peer.read_startup()
    peer.wait_gone()


@scenes(setup="client-login-timeout-trust", fake=never_welcomes)
def client_login_timeout_without_server(d):
    c = d.connect()
    c.startup()
    c.answer("")


# --- time-outs of servers -----------------------------------------------------------

def says_nothing(peer):
    peer.wait_gone()


@scenes(setup="server-connect-timeout", fake=says_nothing)
def server_says_nothing(d):
    c = d.connect()
    c.startup()
    c.answer("")


@scenes(setup="server-connect-timeout", fake=never_welcomes)
def server_never_welcomes(d):
    c = d.connect()
    c.startup()
    c.answer("")


def welcomes_once(peer):
    if peer.number > 1:
        peer.wait_gone()
    peer.read_startup()
    peer.welcome()
    peer.serve()


@scenes(setup="server-connect-timeout", fake=welcomes_once, each=modes("transaction", "session"))
def second_server_never_welcomes(d):
    c = d.login()
    c.query("SELECT 1")
    d.fake.peers[0].sock.shutdown(socket.SHUT_RDWR)
    if d.scene.entry["pool_mode"] == "session":
        c.end()
        c = d.login()
    else:
        d.wait_pool(sv_idle=0)
    c.send(query("SELECT 2"))
    c.end()


@scenes(setup="server-lifetime", each=modes())
def server_lifetime_zero(d):
    a = d.login()
    a.pid()
    if d.scene.entry["pool_mode"] == "session":
        a.leave()
        a = d.login()
    a.pid()
    a.query("SELECT 1")


@scenes(setup="server-idle-timeout", each=modes("transaction"))
def server_idle_timeout(d):
    a = d.login()
    a.pid()
    d.wait_pool(sv_idle=0, sv_used=0)
    a.pid()


