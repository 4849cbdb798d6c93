"""Online restart in the middle of something: whatever was half said goes on where it was.

What is at rest: test_reboot.py.
"""
import threading

import psycopg
import pytest
from harness import env, wire
from harness.wire import SYNC, bind, close, execute, parse, query

pytestmark = pytest.mark.ours


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": "transaction", "server_tls_sslmode": "disable", **settings})
    return make


@pytest.fixture
def lock(pg):
    """A lock that queries wait for: pg_advisory_xact_lock(4712)."""
    with psycopg.connect(pg.conninfo("db"), autocommit=True) as c:
        c.execute("SELECT pg_advisory_lock(4712)")
        yield c


LOCKED = "SELECT pg_advisory_xact_lock(4712)"


def unlock(c):
    c.execute("SELECT pg_advisory_unlock(4712)")


def waiting_backends(pg):
    return pg.backends("db", where="wait_event = 'advisory'")


def terminate_idle(p, pg):
    """The servers that serve nobody; who needs one next opens it."""
    pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'db' AND state = 'idle'")
    env.wait_for(lambda: not p.show("SERVERS"), "them to go")


def servers(p):
    return {int(r["id"]): r for r in p.show("SERVERS")}


# --- queries and their bytes --------------------------------------------------------------

@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_a_running_query_goes_on(pool, pg, lock, mode):
    p = pool(pool_mode=mode)
    with p.login() as c:
        c.send(query(LOCKED))
        env.wait_for(lambda: waiting_backends(pg), "the query to run")
        p.restart()
        assert c.silent(0.05)
        unlock(lock)
        r = c.until_ready()
        assert len(r.rows) == 1 and not r.errors and r.status == "I"
        assert c.value("SELECT 2") == "2"
        p.wait_pool(sv_active=int(mode == "session"))


def test_clients_that_wait_for_a_server(pool):
    """Their turn comes as if nothing had been; the restart does not wait for it."""
    p = pool(default_pool_size=1)
    with p.login() as busy, p.login() as second, p.login() as third:
        busy.query("BEGIN")
        second.send(query("SELECT 2"), query("SELECT 22"))
        p.wait_pool(cl_waiting=1)
        third.send(query("SELECT 3"))
        p.wait_pool(cl_waiting=2)
        for _ in range(3):
            p.restart()
            assert p.pool()["cl_waiting"] == 2
            waiting = [r for r in p.show("CLIENTS") if r["state"] == "waiting"]
            assert [r["port"] for r in waiting] == [str(c.sock.getsockname()[1]) for c in (second, third)]
        busy.send(query("COMMIT"))
        assert second.until_ready().value() == "2" and second.until_ready().value() == "22"
        assert third.until_ready().value() == "3" and busy.until_ready().status == "I"


def test_waiting_goes_on_from_where_it_began(pool):
    p = pool(default_pool_size=1, query_wait_timeout=2)
    with p.login() as busy, p.login() as second:
        busy.query("BEGIN")
        second.send(query("SELECT 2"))
        p.wait_pool(cl_waiting=1)
        p.restart()
        assert second.expect_error().text == "query_wait_timeout"
        assert busy.query("COMMIT").status == "I"


@pytest.mark.parametrize("cut", [1, 3, 5, 8, 4000])
def test_half_a_message_of_a_client(pool, cut):
    p = pool()
    whole = query("SELECT '%s'" % ("x" * 5000))
    with p.login() as c, p.login() as other:
        other.value("SELECT 1")
        c.send(whole[:cut])
        env.wait_for(lambda: [r for r in p.show("SOCKETS") if r["state"] == "cl_active" and
                              (int(r["pkt_remain"]) or int(r["pkt_avail"]))], "it to arrive")
        p.restart()
        c.send(whole[cut:])
        assert c.until_ready().value() == "x" * 5000
        assert c.value("SELECT 2") == "2"


def test_half_a_prepared_statement(pool):
    """A named Parse must be seen whole; it is large enough to need several rows."""
    p = pool()
    text = "SELECT '%s'" % ("y" * 3000000)
    whole = parse(text, "big")
    with p.login() as c:
        c.send(whole[:2900000])
        env.wait_for(lambda: [r for r in p.show("SOCKETS") if int(r["pkt_avail"]) == 2900000], "it to arrive")
        p.restart()
        c.send(whole[2900000:], bind("big"), execute(), SYNC)
        r = c.until_ready()
        assert r.types == "12DCZ" and len(r.rows[0][0]) == 3000000


@pytest.mark.parametrize("row", [100, 70000])
def test_a_result_that_its_reader_is_slow_to_take(pool, row):
    """What was read of the server and not taken by the client is neither lost nor said twice."""
    p = pool()
    count = 20000000 // row
    with p.wire(rcvbuf=65536) as c:
        c.login("u_trust", "db")
        c.send(query("SELECT n || repeat('x', %d) FROM generate_series(1, %d) n" % (row, count)))
        got = []
        for _ in range(3):
            env.wait_for(lambda: [r for r in p.show("SOCKETS") if int(r["send_remain"]) > 0], "the result to pile up")
            p.restart()
            got += [c.recv() for _ in range(20)]
        rows = [m for m in got + c.recv_until(b"Z") if m.type == b"D"]
        assert [wire.row_of(m.body)[0].rstrip("x") for m in rows] == [str(n) for n in range(1, count + 1)]
        assert c.value("SELECT 2") == "2"
        p.wait_pool(sv_active=0)


def test_a_server_that_is_slow_to_take_a_query(pool, pg, lock):
    """The other direction: bytes of a client that its server has not taken."""
    p = pool()
    size = 30000000
    with p.login() as c:
        c.send(query(LOCKED))
        env.wait_for(lambda: waiting_backends(pg), "the query to run")
        sender = threading.Thread(target=c.send, args=(query("SELECT length('%s')" % ("x" * size)),))
        sender.start()
        env.wait_for(lambda: [r for r in p.show("SOCKETS") if r["state"] == "sv_active" and int(r["send_remain"])],
                     "the server to be full")
        p.restart()
        unlock(lock)
        assert not c.until_ready().errors
        assert c.until_ready().value() == str(size)
        sender.join()


@pytest.mark.parametrize("cut", [0, 3, 10, 70000])
def test_copy_in(pool, pg, cut):
    """Between two pieces, and in the middle of one."""
    pg.sql("DROP TABLE IF EXISTS copied", "CREATE TABLE copied (n int)", "GRANT ALL ON copied TO PUBLIC", db="db")
    p = pool()
    lines = b"".join(b"%d\n" % n for n in range(50000))
    half = wire.copy_data(lines)
    with p.login() as c:
        c.send(query("COPY copied FROM STDIN"))
        c.recv_until(b"G")
        c.send(wire.copy_data(b"1000000\n"), half[:cut])
        p.restart()
        c.send(half[cut:], wire.COPY_DONE)
        assert c.until_ready().tags == ["COPY 50001"]
        p.wait_pool(sv_active=0)
        assert c.value("SELECT count(*) FROM copied") == "50001"


def test_a_copy_that_fails_afterwards(pool, pg):
    pg.sql("DROP TABLE IF EXISTS copied", "CREATE TABLE copied (n int)", "GRANT ALL ON copied TO PUBLIC", db="db")
    p = pool()
    with p.login() as c:
        c.send(query("COPY copied FROM STDIN"))
        c.recv_until(b"G")
        p.restart()
        c.send(wire.copy_data(b"no number\n"))
        c.recv_until(b"E")
        # It has not said yet that it is done: the server stays with it, as before.
        p.restart()
        p.wait_pool(sv_active=1)
        c.send(wire.copy_data(b"late\n"), wire.COPY_DONE)
        c.recv_until(b"Z")
        p.wait_pool(sv_active=0)
        assert c.value("SELECT count(*) FROM copied") == "0"


def test_a_pipeline_of_named_statements(pool, pg, lock):
    """Requests that are under way, and answers that are made here, keep their order."""
    p = pool()
    with p.login() as c:
        c.send(parse("SELECT 7", "kept"), SYNC)
        c.until_ready()
        c.send(parse(LOCKED, "one"), bind("one"), execute(), bind("kept"), execute(), close("S", "one"),
               parse("SELECT $1::int", "one"), bind("one", "", ("5",)), execute(), parse("SELECT 7", "again"), SYNC,
               bind("again"), execute(), SYNC)
        env.wait_for(lambda: waiting_backends(pg), "the first to run")
        p.restart()
        p.restart()
        unlock(lock)
        r = c.until_ready()
        assert r.types == "12DC2DC312DC1Z" and [row[0] for row in r.rows] == ["", "7", "5"]
        assert c.until_ready().rows == [("7",)]
        c.send(bind("one", "", ("6",)), execute(), SYNC)
        assert c.until_ready().rows == [("6",)]
        p.wait_pool(sv_active=0)


def test_a_pipeline_that_fails(pool, pg, lock):
    """Names given and taken back in a batch that fails are as they were before it."""
    p = pool()
    with p.login() as c:
        c.send(parse("SELECT 7", "kept"), SYNC)
        c.until_ready()
        c.send(parse(LOCKED, "one"), bind("one"), execute(), parse("SELECT no_such", "bad"), close("S", "kept"),
               parse("SELECT 8", "never"), SYNC)
        env.wait_for(lambda: waiting_backends(pg), "the first to run")
        p.restart()
        unlock(lock)
        r = c.until_ready()
        assert r.errors[0].code == "42703" and r.types == "12DCEZ"
        c.send(bind("kept"), execute(), SYNC)
        assert c.until_ready().rows == [("7",)]
        c.send(parse("SELECT 9", "never"), bind("never"), execute(), SYNC)
        assert c.until_ready().rows == [("9",)]


# --- prepared statements ---------------------------------------------------------------

def test_prepared_statements(pool):
    p = pool(default_pool_size=2)
    with p.login() as a, p.login() as b:
        for n, c in enumerate((a, b)):
            c.send(parse("SELECT $1::int * 2", "twice"), parse("SELECT %d" % n, "own"), SYNC)
            assert c.until_ready().types == "11Z"
        before = {r["application_name"]: r["prepared_statements"] for r in p.show("CLIENTS")}
        for _ in range(3):
            p.restart()
            for n, c in enumerate((a, b)):
                c.send(bind("twice", "", (str(n),)), execute(), bind("own"), execute(), SYNC)
                assert c.until_ready().rows == [(str(2 * n),), (str(n),)]
            held = a.query("SELECT name, statement FROM pg_prepared_statements ORDER BY name").rows
            assert held == [("PGBOUNCER_1", "SELECT $1::int * 2"), ("PGBOUNCER_2", "SELECT 0"), ("PGBOUNCER_3", "SELECT 1")]
            assert {r["application_name"]: r["prepared_statements"] for r in p.show("CLIENTS")} == before
        # New ones get numbers that were never given.
        a.send(parse("SELECT 'new'", "new"), bind("new"), execute(), SYNC)
        assert a.until_ready().rows == [("new",)]
        assert ("PGBOUNCER_4",) in a.query("SELECT name FROM pg_prepared_statements").rows
        assert [r["prepared_statements"] for r in servers(p).values()] == ["4"]
        a.send(parse("SELECT 1", "twice"), SYNC)
        assert a.expect_error().text == "prepared statement name is already in use"


def test_prepared_statements_on_a_new_server(pool, pg):
    p = pool()
    with p.login() as c:
        c.send(parse("SELECT $1::int * 2", "twice"), SYNC)
        c.until_ready()
        p.restart()
        terminate_idle(p, pg)
        c.send(bind("twice", "", ("4",)), execute(), SYNC)
        assert c.until_ready().rows == [("8",)]


def test_surplus_statements_are_closed_in_their_order(pool):
    p = pool(max_prepared_statements=3)
    with p.login() as c:
        for n in range(3):
            c.send(parse("SELECT %d" % n, "s%d" % n), SYNC)
            c.until_ready()
        c.send(bind("s0"), execute(), SYNC)
        c.until_ready()
        p.restart()
        c.send(parse("SELECT 3", "s3"), SYNC)
        c.until_ready()
        assert c.query("SELECT statement FROM pg_prepared_statements ORDER BY name").rows == [
            ("SELECT 0",), ("SELECT 2",), ("SELECT 3",)]


# --- log-ins --------------------------------------------------------------------------------------

@pytest.mark.parametrize("cut", [0, 1, 4, 20])
def test_clients_that_have_said_nothing_yet(pool, cut):
    """Nothing, or the beginning of a start-up message."""
    p = pool()
    hello = wire.startup("u_trust", "db")
    with p.wire() as tcp, p.wire(p.dir) as unix, p.wire() as refused:
        assert refused.ssl_request() == b"N"
        for c in (tcp, unix, refused):
            c.send(hello[:cut])
        env.wait_for(lambda: len([r for r in p.show("SOCKETS") if r["state"] == "cl_login"]) == 3, "them to be there")
        p.restart()
        for c in (tcp, unix, refused):
            c.send(hello[cut:])
            c.finish_login("u_trust")
            assert c.value("SELECT 1") == "1"


def test_row_13_a_login_that_is_not_proven_is_none_afterwards(pool, pg):
    """The name that somebody claims is no log-in; who is in the middle of proving it begins anew."""
    p = pool(auth_type="scram-sha-256", users={"u_plain": "u_plain_pw", "u_scram": pg.secret("u_scram")})
    with p.wire() as c:
        c.send(wire.startup("u_plain", "db"))
        assert c.recv().type == b"R"
        row, = [r for r in p.show("FDS") if r["task"] == "client"]
        assert row["user"] is row["database"] is None and row["cancel"] == "0"
        p.restart()
        assert c.expect_error().text == "the pooler was restarted during the login"
        p.wait_log("closing because: the pooler was restarted during the login")


def test_logins_are_not_interrupted(pool, pg):
    """A client that answers is let in by the old process."""
    p = pool(auth_type="scram-sha-256", users={"u_plain": "u_plain_pw"})
    with p.wire() as c:
        c.send(wire.startup("u_plain", "db"))
        first = c.recv()
        assert first.type == b"R"
        p.mark()
        new = p.successor()
        p.wait_log("SUSPEND command issued")
        scram = wire.ScramClient("u_plain_pw")
        c.send(scram.first())
        c.send(scram.final(c.recv().body[4:].decode()))
        scram.check(c.recv().body[4:].decode())
        c.expect(b"R")
        c.welcome()
        old, p.process = p.process, new
        assert old.wait(env.PATIENCE) == 0
        p.wait_log("process up")
        assert c.value("SELECT current_user") == "u_plain"


def test_clients_that_wait_for_the_greeting(pool, pg, fake):
    """No server has ever answered; the successor knows a better one."""
    def silent(peer):
        peer.read_startup()
        peer.recv()
    server = fake(silent)
    p = pool(databases={"db": "host=127.0.0.1 port=%d dbname=db" % server.port})
    with p.wire() as c:
        c.send(wire.startup("u_trust", "db"), query("SELECT 1"))
        p.wait_pool(cl_waiting=1, sv_login=1)
        p.databases["db"] = pg.entry()
        p.restart()
        c.finish_login("u_trust")
        assert c.until_ready().value() == "1"
