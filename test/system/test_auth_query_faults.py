"""auth_query under adversity: a scripted database answers late, wrongly or never, and all else changes meanwhile.

Attack rows 9 and 11; the number stands at the test.
"""
import struct
import signal
import threading

import pytest
from harness import env, wire
from harness.fakeserver import data_row, error, notice, param, ready, row_description, tag
from harness.wire import Closed

ours = pytest.mark.ours

CONFIG_ERROR = ("FATAL", "08P01", "bouncer config error")
NO_SUCH_USER = ("FATAL", "08P01", "no such user")


def fields(e):
    return e.severity, e.code, e.text


class Oracle:
    """The database that is asked: it answers when the test says so.

    answer(peer, name): sends what it likes; the default is one row, the name with _pw behind it.
    """

    def __init__(self, answer=None):
        self.answer = answer or (lambda peer, name: peer.send(*row(name)))
        self.gate = threading.Event()
        self.gate.set()
        self.asked = []
        self.types = []

    def __call__(self, peer):
        if peer.read_startup() is None:
            return
        peer.welcome(search_path="public")
        while True:
            m = peer.recv()
            self.types.append(m.type.decode())
            if m.type == b"B":
                name = m.body[10:-2].decode()
            if m.type == b"S":
                self.asked.append(name)
                self.gate.wait(env.PATIENCE)
                self.answer(peer, name)
            if m.type == b"Q":
                peer.send(tag("OK"), ready())


HEAD = wire.msg(b"1") + wire.msg(b"2")
COLUMNS = row_description("user", "secret")
END = tag("SELECT 1") + ready()


def row(name, secret=None):
    return HEAD, COLUMNS, data_row(name, secret or name + "_pw"), END


@pytest.fixture
def asks(pooler, fake):
    """A pooler whose auth_query goes to a scripted server, and its clients elsewhere."""
    def make(oracle, entry=None, **settings):
        server = fake(oracle)
        p = pooler(databases={"db": "host=127.0.0.1 port=1", "authdb": server.entry(**(entry or {})),
                              **settings.pop("databases", {})},
                   **{"auth_type": "plain", "auth_user": "looker", "auth_dbname": "authdb", "pool_mode": "transaction",
                      **settings})
        p.fake = server
        return p
    return make


def knock(p, user="joe", database="db", **params):
    c = p.wire()
    c.send(wire.startup(user, database, **params))
    return c


def wants_password(c):
    assert c.expect(b"R").body == struct.pack("!I", 3)
    c.close()


@ours
def test_messages_are_those_of_one_query(asks):
    """Row 11: and nothing else, whatever the client wishes: no SET, no start-up parameter."""
    oracle = Oracle()
    p = asks(oracle, ignore_startup_parameters="evil", track_extra_parameters="IntervalStyle, search_path")
    for _ in range(2):
        wants_password(knock(p, application_name="evil", DateStyle="German", TimeZone="Asia/Tokyo", evil="1",
                             search_path="evil", client_encoding="LATIN1", options="-c IntervalStyle=iso_8601"))
    assert "".join(oracle.types) == "PBDES" * 2
    assert p.fake.peers[0].params == {"database": "db", "user": "looker"}


def trailing(*more):
    return lambda peer, name: peer.send(*row(name), *more)


@ours
@pytest.mark.parametrize("answer", [
    lambda peer, name: peer.send(notice("n"), HEAD, notice("n"), param("TimeZone", "GMT"), COLUMNS,
                                 notice("n" * 100000), data_row(name, "x"), param("a", "b" * 100000), tag("SELECT 1"),
                                 notice("n"), ready()),
    lambda peer, name: peer.send(wire.msg(b"A", struct.pack("!I", 1) + b"c\0p\0"), *row(name)),
    lambda peer, name: peer.send(HEAD, COLUMNS, data_row("a", "b"), data_row(name, "x"), END),
    trailing(param("TimeZone", "GMT")),
    trailing(notice("too late")),
    trailing(error("terminating connection", "57P01", "FATAL")),
    trailing(data_row("late", "x")),
], ids=["chatty", "notification", "two-rows", "parameter-behind", "notice-behind", "error-behind", "row-behind"])
def test_answer_that_is_good_all_the_same(asks, answer):
    p = asks(Oracle(answer))
    for user in ("joe", "jim"):
        wants_password(knock(p, user))
    p.wait_pool("authdb", "looker", cl_waiting=0, sv_active=0)


def raw(*parts):
    return lambda peer, name: peer.send(*parts)


@ours
@pytest.mark.parametrize("answer,reason", [
    (raw(HEAD, wire.msg(b"n"), END), "expected 2 columns from auth_query, not 0"),
    (raw(HEAD, row_description(*"abcdefghijk"), END), "expected 2 columns from auth_query, not 11"),
    (raw(HEAD, wire.msg(b"T", b"\xff\xff"), END), "broken RowDescription packet"),
    (raw(HEAD, COLUMNS, COLUMNS, END), "broken RowDescription packet"),
    (raw(HEAD, data_row("joe", "x"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, data_row("joe"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, data_row("joe", "a", "b"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, data_row("jo\0e", "x"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, data_row("joe", "x\0y"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, wire.msg(b"D", b"\0\2\0\0\0\3joe\xff\xff\xff\xf0"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, wire.msg(b"D", b""), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, data_row("u" * 128, "x"), END), "auth_query response contained too long user name"),
    (raw(HEAD, COLUMNS, data_row("joe", "x" * 65531), END), "auth_query response contained too long password"),
    (raw(HEAD, COLUMNS, b"D" + struct.pack("!I", 1 << 30)), "message from server is too long"),
    (raw(HEAD, COLUMNS, b"D" + struct.pack("!I", 3)), "bad pkt header"),
    (raw(ready()), "unexpected ReadyForQuery"),
    (raw(HEAD, COLUMNS, data_row("joe", "x"), ready()), "unexpected ReadyForQuery"),
    (raw(HEAD, tag("SELECT 1"), ready()), "unexpected ReadyForQuery"),
    (raw(HEAD, COLUMNS, data_row("joe", "x"), tag("SELECT 1"), ready("T")), "query left a transaction open"),
    (raw(HEAD, COLUMNS, data_row("joe", "x"), tag("SELECT 1"), ready("E")), "query left a transaction open"),
    (raw(HEAD, wire.msg(b"G", b"\0\0\0"), END), "unknown pkt"),
    (raw(HEAD, COLUMNS, wire.msg(b"~"), END), "unknown pkt"),
    (raw(HEAD, wire.msg(b"S", b"x"), COLUMNS, END), "broken ParameterStatus packet"),
    (raw(error("no \x01 text"), ready()), "error response from auth_query"),
    (raw(wire.msg(b"E", b""), ready()), "error response from auth_query"),
    (raw(HEAD, COLUMNS, data_row("joe", "x"), error("at the end"), ready()), "error response from auth_query"),
    (lambda peer, name: peer.sock.close(), "server conn crashed\\?"),
    (lambda peer, name: peer.reset(), "server conn crashed\\?"),
    (lambda peer, name: (peer.send(HEAD, COLUMNS, data_row("joe", "x"), b"C\0\0"), peer.sock.close()),
     "server conn crashed\\?"),
])
def test_answer_that_is_not_believed(asks, answer, reason):
    """Whatever the server says, the client learns one thing, nobody gets in, and the next one is served."""
    oracle = Oracle(answer)
    p = asks(oracle)
    with knock(p) as c:
        assert fields(c.expect_error()) == CONFIG_ERROR
    p.wait_log("closing because: " + reason)
    oracle.answer = Oracle().answer
    wants_password(knock(p))


@ours
def test_wallets_are_not_looked_up(asks):
    """Without its proof a wallet sets no database to work."""
    oracle = Oracle()
    address = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
    p = asks(oracle, auth_type="ecdsa", ecdsa_allowed_addresses=address)
    for user in (address, "0x" + 40 * "1", "joe"):
        with knock(p, user) as c:
            c.expect(b"R")
            c.send(wire.password("1:0x" + 130 * "0"))
            assert c.expect_error().text.startswith("password authentication failed")
    assert not oracle.asked


@ours
def test_no_row(asks):
    p = asks(Oracle(raw(HEAD, COLUMNS, tag("SELECT 0"), ready())))
    with knock(p) as c:
        assert fields(c.expect_error()) == NO_SUCH_USER
    p.wait_pool("authdb", "looker", sv_idle=1, sv_active=0)


@ours
@pytest.mark.parametrize("pieces", [1, 7])
def test_answer_in_pieces(asks, pieces):
    def answer(peer, name):
        data = b"".join(row(name))
        for at in range(0, len(data), pieces):
            peer.send(data[at:at + pieces])
    oracle = Oracle(answer)
    p = asks(oracle, pkt_buf=75)
    for _ in range(3):
        wants_password(knock(p))
    assert p.fake.count == 1


def held(oracle, p, n=1, **how):
    """The first of n clients has a query that hangs; the others stand behind it."""
    oracle.gate.clear()
    before = len(oracle.asked)
    first = knock(p, "joe0", **how)
    env.wait_for(lambda: len(oracle.asked) > before, "the query to be asked")
    return [first] + [knock(p, "joe%d" % i, **how) for i in range(1, n)]


@ours
def test_slow_database_holds_up_nobody_else(asks, pg):
    """Not a known user, not another database, not the console."""
    oracle = Oracle()
    p = asks(oracle, users={"filed": "x"}, databases={"real": pg.entry(user="u_trust")}, auth_dbname=None,
             entry={"pool_size": 1})
    waiting = held(oracle, p, 5, database="authdb")
    with p.login("filed", "real", "x") as c:
        assert c.value("SELECT 1") == "1"
    assert p.wait_pool("authdb", "looker", cl_waiting=4, sv_active=1, cl_active=0)["maxwait"] >= 0
    for c in waiting:
        assert c.silent(0.01)
    oracle.gate.set()
    for c in waiting:
        wants_password(c)


@ours
def test_first_come_first_served(asks):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    first = held(oracle, p)
    rest = []
    for i in range(6):
        rest.append(knock(p, "next%d" % i))
        p.wait_pool("authdb", "looker", cl_waiting=i + 1)
    oracle.gate.set()
    for c in first + rest:
        wants_password(c)
    assert oracle.asked == ["joe0"] + ["next%d" % i for i in range(6)]


@ours
def test_clients_of_the_auth_database_and_lookups_share_one_queue(asks):
    """Who waits for a server of that pool to run a query stands in the same line."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1, "user": "looker"}, users={"filed": "x"}, auth_dbname=None)
    user = p.login("filed", "authdb", "x")
    user.send(wire.query("BEGIN"))
    user.recv_until(b"Z")
    first = held(oracle, p, database="authdb")
    user.send(wire.query("SELECT 1"))
    p.wait_pool("authdb", "looker", cl_waiting=1)
    second = knock(p, "last", "authdb")
    p.wait_pool("authdb", "looker", cl_waiting=2)
    oracle.gate.set()
    wants_password(first[0])
    user.recv_until(b"Z")
    wants_password(second)
    assert oracle.types[-6:] == ["Q", "P", "B", "D", "E", "S"]
    user.close()


@ours
def test_console_shows_who_waits_for_it(asks):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    waiting = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    rows = [r for r in p.show("CLIENTS") if r["database"] == "db"]
    assert sorted((r["user"], r["state"], r["link"]) for r in rows) == [(u, "waiting", "") for u in ("joe0", "joe1")]
    assert all(int(r["port"]) and r["local_port"] == str(p.port) for r in rows)
    assert len({r["id"] for r in rows}) == 2
    sockets = [r for r in p.show("SOCKETS") if r["database"] == "db"]
    assert [r["state"] for r in sockets] == ["cl_login"] * 2
    lists = {r["list"]: int(r["items"]) for r in p.show("LISTS")}
    assert (lists["used_clients"], lists["login_clients"]) == (3, 2)  # and the console
    assert {"joe0", "joe1"}.isdisjoint(r["name"] for r in p.show("USERS"))
    oracle.gate.set()
    for c in waiting:
        wants_password(c)


@ours
def test_kill_client_ends_a_login_that_waits(asks):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    waiting = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    for row in p.show("CLIENTS"):
        if row["database"] == "db":
            p.admin("KILL_CLIENT %s" % row["id"])
    for c in waiting:
        assert c.expect_error().text == "admin forced disconnect"
    p.wait_pool("authdb", "looker", cl_waiting=0, sv_active=0)


@ours
def test_client_that_vanishes_takes_its_query_along(asks):
    """The server is closed, since its answer is still to come; whoever stood behind is served."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    gone, stays = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    gone.close()
    p.wait_log("closing because: client disconnect while server was not ready")
    oracle.gate.set()
    wants_password(stays)
    assert p.fake.count == 2


@ours
def test_client_that_vanishes_leaves_the_queue(asks):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    waiting = held(oracle, p, 3)
    p.wait_pool("authdb", "looker", cl_waiting=2)
    waiting[1].reset()
    p.wait_pool("authdb", "looker", cl_waiting=1, sv_active=1)
    oracle.gate.set()
    wants_password(waiting[0])
    wants_password(waiting[2])
    assert len(oracle.asked) == 2 and p.fake.count == 1


@ours
def test_client_that_talks_meanwhile(asks):
    """Row 9: what comes too early is looked at when its time has come: a second start-up is an error then."""
    oracle = Oracle()
    p = asks(oracle)
    c, = held(oracle, p)
    c.send(wire.startup("looker", "authdb"))
    other, = held(oracle, p)
    other.send(wire.password("joe0_pw"))
    assert c.silent(0.05)
    oracle.gate.set()
    assert c.expect(b"R").body == struct.pack("!I", 3)
    assert c.expect_error().text == "client re-sent startup pkt"
    assert other.expect(b"R").body == struct.pack("!I", 3)
    other.close()


@ours
def test_flood_while_it_waits_is_not_read(asks):
    """A client that is to wait cannot fill the memory meanwhile."""
    oracle = Oracle()
    p = asks(oracle)
    c, = held(oracle, p)
    c.sock.settimeout(0.3 * env.SLOW)
    with pytest.raises((TimeoutError, OSError)):
        for _ in range(2000):
            c.sock.sendall(b"\0" * 65536)
    oracle.gate.set()
    c.close()


@ours
def test_query_wait_timeout(asks):
    """In the queue, by the value of the database that the client wants."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1}, databases={"short": "host=127.0.0.1 port=1 query_wait_timeout=1"})
    waiting = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    with knock(p, "hasty", "short") as c:
        assert fields(c.expect_error()) == ("FATAL", "08P01", "query_wait_timeout")
    p.wait_pool("authdb", "looker", cl_waiting=1, sv_active=1)
    oracle.gate.set()
    for c in waiting:
        wants_password(c)


@ours
def test_client_login_timeout(asks):
    """Of the one whose query runs as of the one that waits; the server goes with the first."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1}, client_login_timeout=env.SLOW)
    for c in held(oracle, p, 2):
        assert fields(c.expect_error()) == ("FATAL", "08P01", "client_login_timeout")
        c.close()
    oracle.gate.set()
    p.wait_pool("authdb", "looker", cl_waiting=0, sv_active=0)


@ours
def test_query_timeout(asks):
    """A query that takes too long is ended like any other; the client learns no more than it may."""
    oracle = Oracle()
    p = asks(oracle, query_timeout=env.SLOW)
    c, = held(oracle, p)
    assert fields(c.expect_error()) == CONFIG_ERROR
    p.wait_log("closing because: query timeout")
    oracle.gate.set()
    c.close()


@ours
def test_no_notice_of_waiting_before_the_greeting(asks):
    """query_wait_notify never speaks into a log-in."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1}, query_wait_notify=1, databases={
        "short": "host=127.0.0.1 port=1 query_wait_timeout=2"})
    waiting = held(oracle, p)
    with knock(p, "hasty", "short") as c:
        assert c.recv().type == b"E"
    oracle.gate.set()
    wants_password(waiting[0])


@ours
def test_pause_holds_lookups_back(asks):
    """PAUSE of the auth database, or of all: who asks waits, and goes on by RESUME."""
    oracle = Oracle()
    p = asks(oracle)
    wants_password(knock(p))
    for argument in (" authdb", ""):
        p.admin("PAUSE" + argument)
        c = knock(p)
        p.wait_pool("authdb", "looker", cl_waiting=1, sv_idle=0, sv_active=0)
        p.admin("RESUME" + argument)
        wants_password(c)


@ours
def test_pause_waits_for_a_running_lookup(asks):
    oracle = Oracle()
    p = asks(oracle)
    c, = held(oracle, p)
    with p.console() as admin:
        admin.send(wire.query("PAUSE"))
        p.wait_pool("authdb", "looker", sv_active=1)
        assert admin.silent(0.05)
        oracle.gate.set()
        wants_password(c)
        admin.recv_until(b"Z")
    p.admin("RESUME")


@ours
def test_reconnect_lets_a_running_lookup_end(asks):
    oracle = Oracle()
    p = asks(oracle)
    c, = held(oracle, p)
    p.admin("RECONNECT authdb")
    oracle.gate.set()
    wants_password(c)
    p.wait_log("closing because: close_needed")
    wants_password(knock(p))
    assert p.fake.count == 2


@ours
def test_kill_of_the_auth_database(asks):
    """Who waits is told why; whose query runs loses its server. RESUME opens it again."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    running, waits = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    p.admin("KILL authdb")
    assert fields(running.expect_error()) == CONFIG_ERROR
    assert waits.expect_error().text == "database removed"
    oracle.gate.set()
    c = knock(p)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    p.admin("RESUME authdb")
    wants_password(c)


@ours
def test_auth_database_removed_by_reload(asks):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    running, waits = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    kept = p.databases.pop("authdb")
    p.reload()
    assert fields(running.expect_error()) == CONFIG_ERROR
    assert waits.expect_error().text == "database removed"
    oracle.gate.set()
    with knock(p) as c:
        assert fields(c.expect_error()) == CONFIG_ERROR
    p.wait_log('authentication database "authdb" is not configured\\.')
    p.databases["authdb"] = kept
    p.reload()
    wants_password(knock(p))


@ours
def test_wanted_database_removed_meanwhile(asks):
    """The log-in is judged by the configuration it began with, and ends where the database is gone."""
    oracle = Oracle()
    p = asks(oracle, databases={"brief": "host=127.0.0.1 port=1"})
    c, = held(oracle, p, database="brief")
    del p.databases["brief"]
    p.reload()
    oracle.gate.set()
    assert c.expect(b"R").body == struct.pack("!I", 3)
    c.send(wire.password("joe0_pw"))
    assert c.expect_error().text == "database removed"


@ours
@pytest.mark.parametrize("how", ["WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS"])
def test_shutdown_meanwhile(asks, how):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    running, waits = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    p.admin("SHUTDOWN " + how)
    if how == "WAIT_FOR_SERVERS":
        assert waits.expect_error().text == "server shutting down"
    oracle.gate.set()
    for c in (running, waits)[:1 if how == "WAIT_FOR_SERVERS" else 2]:
        c.expect(b"R")
        c.send(wire.password("joe%d_pw" % (c is waits)))
        if how == "WAIT_FOR_SERVERS":
            assert c.expect_error().text in ("pooler is shutting down", "server shutting down")
    if how == "WAIT_FOR_CLIENTS":
        # Who was there before has a right to be served: both wait for the greeting of a server that is not there.
        p.wait_log("db/joe0@127.0.0.1:1 closing because: connect failed", 2)
        p.wait_log("db/joe1@127.0.0.1:1 closing because: connect failed", 2)
        p.signal(signal.SIGTERM)
    p.wait_exit()


@ours
def test_immediate_end_meanwhile(asks):
    """Nothing is left behind; the leak checker looks."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    waiting = held(oracle, p, 5)
    p.wait_pool("authdb", "looker", cl_waiting=4)
    with p.console() as admin:
        admin.send(wire.query("SHUTDOWN"))
        with pytest.raises(Closed):
            admin.recv_until(b"Z")
    p.wait_exit()
    for c in waiting:
        c.close()
    oracle.gate.set()


@ours
def test_server_that_refuses_its_login(asks):
    """Everybody who waits learns what the server said, and its code."""
    def script(peer):
        if peer.read_startup() is not None:
            peer.send(error("no such luck", "28000", "FATAL"))
            peer.sock.close()
    p = asks(script)
    with knock(p) as c:
        assert fields(c.expect_error()) == ("FATAL", "28000", "no such luck")


def test_server_that_is_not_there(pooler):
    """The first one waits for the next attempt; the next ones are told at once."""
    port = env.free_port()
    p = pooler(databases={"db": "host=127.0.0.1 port=%d" % port}, auth_type="plain", auth_user="looker",
               server_login_retry=1)
    first = knock(p)
    p.wait_log("closing because: connect failed")
    with knock(p) as c:
        assert c.expect_error().text.startswith("server login has been failing, ")
    assert first.silent(0.01)
    first.close()


@ours
def test_server_comes_back(asks, fake):
    """A dead connection that lay idle is found out by the check query, and nobody sees an error."""
    oracle = Oracle()
    p = asks(oracle, server_check_delay=0)
    wants_password(knock(p))
    p.fake.peers[0].sock.shutdown(2)
    wants_password(knock(p))


@ours
def test_many_come_and_go(asks):
    """A crowd that vanishes in every state leaves nothing behind."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 3}, max_client_conn=300)
    for how in ("close", "reset"):
        crowd = held(oracle, p, 40)
        p.wait_pool("authdb", "looker", cl_waiting=37)
        for c in crowd[::2]:
            getattr(c, how)()
        oracle.gate.set()
        for c in crowd[1::2]:
            wants_password(c)
        env.wait_for(lambda: {r["list"]: r["items"] for r in p.show("LISTS")}["used_clients"] == "1",
                     "all but the console to go")
        p.wait_pool("authdb", "looker", cl_waiting=0, sv_active=0)
