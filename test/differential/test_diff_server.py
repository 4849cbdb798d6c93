"""Servers that refuse, fail and vanish; and cancel requests."""
import socket
import struct
import time

from harness import env, fakeserver, wire
from harness.fakeserver import auth, data_row, error, notice, one_row, param, ready, row_description, tag
from harness.wire import FLUSH, SYNC, extended, parse, query
from play import Scenes

setups = {
    "plain": dict(auth_type="trust", users={"u_plain": "u_plain_pw", "u_scram": "u_scram_pw", "u_md5": "u_md5_pw",
                                            "svc": "wrong", "no_such_role": "x",
                                            "svc2": wire.scram_secret("svc2_pw")}),
    "impatient": dict(auth_type="trust", query_wait_timeout=1, databases={
        "refused": "host={host} port={closed}", "no_socket": "host=/nonexistent port={port}"}),
    "direct": dict(auth_type="trust", databases={
        "no_database": "host={host} port={port} dbname=no_such_database",
        "no_role": "host={host} port={port} dbname=db user=no_such_role",
        "wrong_password": "host={host} port={port} dbname=db user=svc password=wrong",
        "no_password": "host={host} port={port} dbname=db user=svc",
        "unix": "host={dir} port={port} dbname=db"}),
    "fail": dict(auth_type="trust", server_login_retry=15),
    "cancel": dict(auth_type="trust"),
}
scenes = Scenes("server", setups)


def modes(*which, **entry):
    return {m: {"entry": {"pool_mode": m, "pool_size": 1, **entry}} for m in which or ("session", "transaction")}


def test_server(same):
    same()


# --- log-ins that PostgreSQL refuses -----------------------------------------------

@scenes(setup="direct", entry=None, each={n: {"database": n} for n in (
    "no_database", "no_role", "wrong_password", "no_password", "unix")})
def refused_by_postgres(d, database):
    c = d.connect()
    c.startup(database=database)
    c.answer("")


@scenes(each={"%s-as-%s" % (k, u): {"entry": dict(user=u, **({"password": p} if p else {}))} for k, u, p in (
    ("from-the-file", "u_plain", None), ("given", "u_plain", "u_plain_pw"), ("wrong", "u_plain", "x"),
    ("from-the-file", "u_md5", None), ("given", "u_md5", "u_md5_pw"), ("wrong", "u_md5", "x"),
    ("hash", "u_md5", wire.md5_secret("u_md5", "u_md5_pw")), ("hash", "u_plain", wire.md5_secret("u_plain", "x")),
    ("from-the-file", "u_scram", None), ("given", "u_scram", "u_scram_pw"), ("wrong", "u_scram", "x"),
    ("hash", "u_scram", wire.md5_secret("u_scram", "u_scram_pw")), ("scram-secret", "svc2", None),
    ("nothing", "u_cert", None))})
def server_password(d):
    c = d.connect()
    c.startup()
    c.answer("")
    if not c.over:
        c.query("SELECT current_user")


@scenes(setup="impatient", entry=None, each={n: {"database": n} for n in ("refused", "no_socket")})
def unreachable(d, database):
    c = d.connect()
    c.startup(database=database)
    c.answer("")
    again = d.connect()
    again.startup(database=database)
    again.answer("")


# --- log-ins that a strange server refuses ------------------------------------------

def script(*parts):
    """A server that reads the start-up message, says this, and hangs up."""
    def run(peer):
        peer.read_startup()
        peer.send(*parts)
    return run


REFUSALS = {
    "error": script(error("no room here", "53300", "FATAL")),
    "error-without-code": script(wire.msg(b"E", b"SFATAL\0Mno code\0\0")),
    "error-without-text": script(wire.msg(b"E", b"SFATAL\0C53300\0\0")),
    "error-of-nothing": script(wire.msg(b"E", b"\0")),
    "error-severity-error": script(error("just an error", "28000", "ERROR")),
    "error-with-detail": script(wire.msg(b"E", b"SFATAL\0VFATAL\0C28P01\0Mtext\0Ddetail\0Hhint\0\0")),
    "error-utf8": script(error("kein Platz f\u00fcr dich", "53300", "FATAL")),
    "error-long": script(error("x" * 500, "53300", "FATAL")),
    "error-after-auth": script(auth(0), error("too late", "53300", "FATAL")),
    "error-after-parameters": script(auth(0), param("server_version", "15"), error("later", "42501", "FATAL")),
    "notice-then-error": script(notice("look out"), error("told you", "53300", "FATAL")),
}


def hold(script):
    """The same, but it does not hang up by itself."""
    def run(peer):
        script(peer)
        peer.wait_gone()
    return run


@scenes(setup="fail", each={k: {"fake": hold(v)} for k, v in REFUSALS.items()})
def refused_by_a_strange_server(d):
    c = d.connect()
    c.startup()
    c.answer("")


@scenes(setup="impatient", each={k: {"fake": v} for k, v in {
    "hangs-up": script(), "unknown-auth": hold(script(auth(7))), "gss": hold(script(auth(8))),
    "sasl-unknown": hold(script(auth(10, b"SCRAM-SHA-1\0\0"))), "unknown-message": hold(script(wire.msg(b"y", b"x"))),
    "bad-length": hold(script(b"R\0\0\0\1")), "huge-length": hold(script(b"R\x7f\xff\xff\xff")),
    "row": hold(script(auth(0), data_row("x"))), "garbage": hold(script(b"HTTP/1.0 400\r\n\r\n")),
    "short-auth": hold(script(wire.msg(b"R", b"\0\0"))),
    "starting-up": hold(script(error("starting up", "57P03", "FATAL"))),
}.items()})
def a_server_that_does_not_log_in(d):
    c = d.connect()
    c.startup()
    c.answer("")


def refuses_the_second(peer):
    peer.read_startup()
    if peer.number > 1:
        peer.send(error("only one", "53300", "FATAL"))
        peer.wait_gone()
    peer.welcome()
    peer.serve()


@scenes(setup="impatient", fake=refuses_the_second, entry={"pool_mode": "transaction"})
def fast_fail_after_a_refused_login(d):
    """The first server is gone, the second is refused, the third is not even tried."""
    a, b = d.login(), d.login()
    a.query("SELECT 1")
    d.fake.peers[0].sock.shutdown(socket.SHUT_RDWR)
    d.wait_pool(sv_idle=0, sv_used=0)
    a.query("SELECT 2")
    b.query("SELECT 3")
    d.login(tell=True).query("SELECT 4")


@scenes(setup="impatient", fake=refuses_the_second, entry={"pool_mode": "transaction"})
def waiting_clients_and_a_refused_login(d):
    """One server works: who waits goes on waiting for it."""
    a, b = d.login(), d.login()
    a.query("SELECT 1")
    a.send(parse("SELECT 1"), FLUSH)
    b.send(query("SELECT 2"))
    env.wait_for(lambda: d.fake.count == 2, "the second server")
    d.wait_pool(sv_login=0, cl_waiting=1)
    b.nothing(0.05)
    a.vanish()
    b.end()


def vanishes_later(peer):
    peer.read_startup()
    if peer.number > 1:
        return
    peer.welcome()
    peer.serve()


@scenes(setup="impatient", fake=vanishes_later, entry={"pool_mode": "transaction"})
def fast_fail_after_a_lost_connection(d):
    a, b = d.login(), d.login()
    a.query("SELECT 1")
    d.fake.peers[0].sock.shutdown(socket.SHUT_RDWR)
    d.wait_pool(sv_idle=0, sv_used=0)
    a.query("SELECT 2")
    b.query("SELECT 3")


@scenes(setup="impatient", fake=vanishes_later, entry={"pool_mode": "transaction"})
def fast_fail_when_nobody_listens(d):
    a, b = d.login(), d.login()
    a.query("SELECT 1")
    d.fake.close()
    d.wait_pool(sv_idle=0, sv_used=0)
    a.query("SELECT 2")
    b.query("SELECT 3")


# --- servers that fail later ---------------------------------------------------------

def after_query(*parts, stay=False):
    """Serve, until a query says "now": then say this and hang up."""
    def run(peer):
        peer.read_startup()
        peer.welcome()

        def answer(text):
            if "now" not in text:
                return False
            peer.send(*parts)
            if stay:
                peer.wait_gone()
            raise fakeserver.Gone()
        peer.serve(answer)
    return run


LATER = {
    "hangs-up": after_query(),
    "error-then-hangs-up": after_query(error("dying", "57P01", "FATAL")),
    "rows-then-hangs-up": after_query(row_description("a"), data_row("1")),
    "half-a-row": after_query(row_description("a"), data_row("12345")[:9]),
    "half-a-header": after_query(row_description("a"), b"D\0\0"),
    "unknown-message": after_query(row_description("a"), wire.msg(b"y", b"x"), stay=True),
    "bad-length": after_query(tag("SELECT"), b"Z\0\0\0\3", stay=True),
    "negative-length": after_query(b"D\xff\xff\xff\xff", stay=True),
    "auth-request": after_query(auth(0), ready(), stay=True),
    "key-again": after_query(wire.msg(b"K", b"\0" * 8), ready(), stay=True),
    "odd-ready": after_query(wire.msg(b"Z", b"X"), stay=True),
    "long-ready": after_query(wire.msg(b"Z", b"II"), stay=True),
    "malformed-error": after_query(wire.msg(b"E", b"nonsense"), stay=False),
}


@scenes(setup="fail", each={"%s:%s" % (k, m): {"fake": v, "entry": {"pool_mode": m}}
                            for k, v in LATER.items() for m in ("session", "transaction")})
def server_fails_in_a_query(d):
    c = d.login()
    c.query("SELECT 1")
    c.send(query("now"))
    c.ready()


def idle_then(*parts):
    def run(peer):
        peer.read_startup()
        peer.welcome()
        if peer.number > 1:
            peer.serve()

        def answer(text):
            if "soon" not in text:
                return False
            peer.send(tag("SELECT"), ready())
            time.sleep(0.2)
            peer.send(*parts)
            if not parts:
                raise fakeserver.Gone()
            peer.serve()
        peer.serve(answer)
    return run


@scenes(setup="fail", each={"%s:%s" % (k, m): {"fake": v, "entry": {"pool_mode": m}, "gone": k != "parameter"}
                            for k, v in {"hangs-up": idle_then(), "notice": idle_then(notice("psst")),
                                         "parameter": idle_then(param("TimeZone", "Mars")),
                                         "error": idle_then(error("shutdown", "57P01", "FATAL"))}.items()
                            for m in ("session", "transaction")})
def idle_server(d, gone):
    """What a server says while nobody asks it: a linked client hears it, others do not."""
    c = d.login()
    c.query("soon")
    if d.scene.entry["pool_mode"] == "session":
        c.recv()
    elif gone:
        d.wait_pool(sv_idle=0, sv_used=0)
    else:
        time.sleep(0.4 * env.SLOW)
    c.query("SELECT 2")


@scenes(each=modes())
def backend_terminated_in_a_query(d):
    c = d.login()
    text = "SELECT pg_sleep(30) -- " + d.unique
    c.send(query(text))
    d.wait_running(d.unique)
    d.pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%%%s%%'"
             " AND pid <> pg_backend_pid()" % d.unique)
    c.end()


@scenes(each=modes())
def backend_terminated_while_idle(d):
    c = d.login()
    c.pid()
    d.pg.sql("SELECT pg_terminate_backend(%s)" % next(iter(d.pids)))
    if d.scene.entry["pool_mode"] == "session":
        c.end()
    else:
        d.wait_pool(sv_idle=0, sv_used=0)
        c.pid()


@scenes(each=modes())
def backend_terminated_in_a_transaction(d):
    c = d.login()
    c.pid()
    c.query("BEGIN")
    d.pg.sql("SELECT pg_terminate_backend(%s)" % next(iter(d.pids)))
    c.end()


# --- what a server receives -----------------------------------------------------------

def tells_its_startup(peer):
    peer.read_startup()
    peer.welcome()
    said = []

    def answer(text):
        if text == "what":
            peer.send(one_row(" ".join("%s=%s" % i for i in peer.params.items()) + " / " + " / ".join(said)), ready())
            return True
        said.append(text)
        return False
    peer.serve(answer)


@scenes(setup="fail", fake=tells_its_startup, each={
    "nothing": {"entry": {}}, "encoding": {"entry": {"client_encoding": "LATIN1", "datestyle": "ISO"}},
    "timezone": {"entry": {"timezone": "GMT"}}, "forced-user": {"entry": {"user": "somebody"}},
    "application-name": {"entry": {"application_name": "pooled"}}, "database": {"entry": {"dbname": "other"}},
    "connect-query": {"entry": {"connect_query": "SELECT 7"}}})
def server_startup(d):
    c = d.login(application_name="mine")
    c.query("what")


@scenes(setup="fail", fake=tells_its_startup, each={k: {"params": v} for k, v in {
    "none": {}, "app": {"application_name": "a'b\\c"}, "datestyle": {"DateStyle": "German"},
    "all": {"TimeZone": "GMT", "DateStyle": "SQL", "client_encoding": "LATIN1", "application_name": "x",
            "standard_conforming_strings": "off"},
    "same": {"TimeZone": "UTC", "DateStyle": "iso, mdy", "client_encoding": "utf8"}}.items()})
def parameters_at_the_server(d, params):
    c = d.login(**params)
    c.query("what")
    c.leave()
    b = d.login()
    b.query("what")


# --- cancel ---------------------------------------------------------------------------

@scenes(setup="cancel", each={"%s:%s" % (m, h): {"entry": {"pool_mode": m}, "where": h}
                              for m in ("session", "transaction") for h in ("tcp", "unix")})
def cancel_of_a_running_query(d, where):
    c = d.connect()
    c.startup()
    c.answer("")
    c.send(query("SELECT pg_sleep(30) -- " + d.unique))
    d.wait_running(d.unique)
    d.cancel(c.key, d.pooler.dir if where == "unix" else None)
    c.ready()
    c.query("SELECT 1")


@scenes(setup="cancel", each=modes())
def cancel_in_a_batch(d):
    c = d.connect()
    c.startup()
    c.answer("")
    c.send(extended("SELECT 1"), extended("SELECT pg_sleep(30) -- " + d.unique), extended("SELECT 2"), SYNC)
    d.wait_running(d.unique)
    d.cancel(c.key)
    c.ready()
    c.query("SELECT 1")


@scenes(setup="cancel", each=modes())
def cancel_of_an_idle_client(d):
    c = d.connect()
    c.startup()
    c.answer("")
    c.query("SELECT 1")
    d.cancel(c.key)
    c.query("SELECT 2")


@scenes(setup="cancel", each=modes("transaction"))
def cancel_of_a_waiting_client(d):
    a, b = d.login(), d.connect()
    a.query("BEGIN")
    b.startup()
    b.answer("")
    b.send(query("SELECT 1"))
    d.wait_pool(cl_waiting=1)
    d.cancel(b.key)
    a.query("COMMIT")
    b.ready()


@scenes(setup="cancel", each=modes("session", "transaction"))
def cancel_in_an_idle_transaction(d):
    c = d.connect()
    c.startup()
    c.answer("")
    c.query("BEGIN")
    d.cancel(c.key)
    c.query("SELECT 1")
    c.query("COMMIT")


@scenes(setup="cancel")
def cancel_with_a_key_that_differs(d):
    c = d.connect()
    c.startup()
    c.answer("")
    c.send(query("SELECT 1 FROM pg_sleep(0.5) -- " + d.unique))
    d.wait_running(d.unique)
    d.cancel(c.key[:7] + struct.pack("B", c.key[7] ^ 1))
    d.cancel(c.key[:4] + b"\0" * 4)
    d.cancel(b"\0" * 8)
    c.ready()


@scenes(setup="cancel")
def cancel_after_the_client_has_left(d):
    c = d.connect()
    c.startup()
    c.answer("")
    c.leave()
    d.cancel(c.key)


@scenes(setup="cancel", entry=None)
def cancel_of_a_console(d):
    c = d.connect()
    d.user = "admin"
    c.startup("admin", "pgbouncer")
    c.quiet = True
    c.answer("")
    c.quiet = False
    d.cancel(c.key)
    c.query("SHOW timezone")
