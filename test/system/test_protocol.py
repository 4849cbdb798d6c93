"""The extended protocol, COPY, sizes and back-pressure.

Attack rows 29, 32, 33 and 35.
"""
import struct
import threading
import time

import pytest
from harness import env, fakeserver, wire
from harness.wire import SYNC, Closed, PgError, bind, close, describe, execute, extended, parse, query

ours = pytest.mark.ours
MB = 1 << 20


@pytest.fixture(params=["session", "transaction"])
def p(request, pooler, pg):
    return pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode=request.param, default_pool_size=1,
                  server_tls_sslmode="disable")


@pytest.fixture
def tx(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry()}, "users": {"u_trust": ""}, "pool_mode": "transaction",
                         "default_pool_size": 1, "server_tls_sslmode": "disable", **settings})
    return make


@pytest.fixture(scope="module", autouse=True)
def table(pg):
    pg.sql("DROP TABLE IF EXISTS copied", "CREATE TABLE copied (a int, b text)", "GRANT ALL ON copied TO PUBLIC",
           db="db")


# --- extended protocol ------------------------------------------------------

def test_extended(p):
    with p.login() as c:
        r = c.run("SELECT $1::int + 1, $2::text", (41, "x'y"))
        assert r.types == "12TDCZ" and r.rows == [("42", "x'y")]
        assert c.run("SELECT").types == "12TDCZ"
        assert c.run("").types == "12nIZ"
        r = c.run("SELECT nonsense")
        assert r.errors[0].code == "42703" and r.types == "EZ"
        assert c.run("SELECT 2").value() == "2"


def test_describe_and_close(p):
    with p.login() as c:
        c.send(parse("SELECT $1::int AS number"), describe("S"), SYNC)
        r = c.until_ready()
        assert r.types == "1tTZ" and r.columns[0].name == "number"
        c.send(parse("SELECT 1"), bind(), describe("P"), close("P"), close("S"), SYNC)
        assert c.until_ready().types == "12T33Z"


def test_portal_in_parts(p):
    with p.login() as c:
        c.send(query("BEGIN"), parse("SELECT generate_series(1, 5)"), bind("", "portal"), execute("portal", 2),
               execute("portal", 2), execute("portal", 2), SYNC)
        assert c.until_ready().types == "CZ"
        assert c.until_ready().types == "12DDsDDsDCZ"
        c.query("COMMIT")


def test_row_35_pipeline_of_batches(p):
    """Row 35: every answer in its place."""
    with p.login() as c:
        c.send(b"".join(extended("SELECT %d" % i) + SYNC for i in range(100)))
        for i in range(100):
            assert c.until_ready().rows == [(str(i),)]


def test_row_35_pipeline_with_errors(p):
    with p.login() as c:
        c.send(extended("SELECT 1"), extended("SELECT 1/0"), extended("SELECT 2"), SYNC, extended("SELECT 3"), SYNC,
               extended("SELECT nonsense"), SYNC, SYNC, query("SELECT 4"), extended("SELECT 5"), SYNC)
        assert c.until_ready().types == "12TDC1EZ"
        assert c.until_ready().rows == [("3",)]
        assert c.until_ready().types == "EZ"
        assert c.until_ready().types == "Z"
        assert c.until_ready().rows == [("4",)]
        assert c.until_ready().rows == [("5",)]


def test_row_32_simple_query_inside_a_pipeline(p):
    """Row 32: a Query before the Sync of a batch."""
    with p.login() as c:
        c.send(parse("SELECT 1"), bind(), execute(), query("SELECT 2"))
        r = c.until_ready()
        assert r.rows == [("1",), ("2",)] and r.status == "I"
        c.send(SYNC)
        assert c.until_ready().types == "Z"
        assert c.value("SELECT 3") == "3"


def test_row_32_flush_without_sync(p):
    """Row 32: the answers come, the server stays until the Sync."""
    with p.login() as c, p.login() as other:
        c.send(extended("SELECT 1"), wire.FLUSH)
        assert [c.recv().type for _ in range(5)] == [b"1", b"2", b"T", b"D", b"C"]
        other.send(query("SELECT 'other'"))
        p.wait_pool(cl_waiting=1)
        assert other.silent(0.05)
        c.send(extended("SELECT 2"), wire.FLUSH)
        assert [c.recv().type for _ in range(5)] == [b"1", b"2", b"T", b"D", b"C"]
        c.send(SYNC)
        assert c.until_ready().types == "Z"
        if p.settings["pool_mode"] == "transaction":
            assert other.until_ready().value() == "other"


def test_row_32_sync_storm(p):
    """Row 32."""
    with p.login() as c:
        c.send(SYNC * 5000)
        for _ in range(5000):
            assert c.recv().type == b"Z"
        assert c.value("SELECT 1") == "1"


def test_row_32_ten_thousand_messages(p):
    """Row 32."""
    n = 2500
    with p.login() as c:
        sender = threading.Thread(target=c.sock.sendall, args=(
            b"".join(parse("SELECT %d" % i) + bind() + execute() + SYNC for i in range(n)),))
        sender.start()
        for i in range(n):
            assert c.until_ready().rows == [(str(i),)]
        sender.join()
        assert c.value("SELECT 'end'") == "end"


def test_many_in_one_batch(p):
    n = 3000
    with p.login() as c:
        sender = threading.Thread(target=c.sock.sendall, args=(
            b"".join(parse("SELECT %d" % i) + bind() + execute() for i in range(n)) + SYNC,))
        sender.start()
        assert [r[0] for r in c.until_ready().rows] == [str(i) for i in range(n)]
        sender.join()


@ours
def test_parse_after_the_last_sync_keeps_the_server(tx):
    """Behaviour 19: release waits for an empty queue."""
    p = tx()
    with p.login() as c, p.login() as other:
        c.send(extended("SELECT 1"), SYNC, parse("SELECT 'mine'"))
        assert c.until_ready().rows == [("1",)]
        other.send(query("SELECT 'other'"))
        p.wait_pool(cl_waiting=1)
        assert other.silent(0.1)
        c.send(bind(), execute(), SYNC)
        assert c.until_ready().rows == [("mine",)]
        assert other.until_ready().value() == "other"


@ours
def test_failed_batch_with_a_late_sync(tx):
    """Messages of a failed batch that arrive after the error are skipped by
    the server, and no answer is expected for them."""
    p = tx()
    with p.login() as c, p.login() as other:
        c.send(parse("SELECT nonsense"), wire.FLUSH)
        c.expect(b"E")
        c.send(parse("SELECT 1"), bind(), describe("P"), execute(), close("S"))
        c.send(SYNC)
        assert c.until_ready().types == "Z"
        assert other.value("SELECT 'other'") == "other"
        assert c.value("SELECT 2") == "2"


def test_function_call(p):
    with p.login() as c:
        c.send(wire.function_call(1317, "hello"), wire.function_call(1317, "x"), query("SELECT 1"))  # textlen
        assert c.until_ready().types == "VZ"
        assert c.until_ready().types == "VZ"
        assert c.until_ready().value() == "1"
        c.send(wire.function_call(1))
        assert c.until_ready().types == "EZ"


def test_notices_and_notifications(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="session")
    with p.login() as c:
        r = c.query("DO $$ BEGIN RAISE NOTICE 'heard'; END $$")
        assert [n["M"] for n in r.notices] == ["heard"]
        c.query("LISTEN channel")
        pg.sql("NOTIFY channel, 'payload'", db="db")
        m = c.recv()
        assert m.type == b"A" and m.body.endswith(b"channel\0payload\0")
        assert c.value("SELECT 1") == "1"


def test_parameter_status_is_forwarded(p):
    with p.login() as c:
        r = c.query("SET application_name = 'changed'")
        assert wire.msg(b"S", b"application_name\0changed\0") in [wire.msg(*m) for m in r.messages]


# --- prepared statements ----------------------------------------------------

def test_named_statements_in_session_mode(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="session")
    with p.login() as c:
        c.send(parse("SELECT $1::text", "named"), describe("S", "named"), SYNC)
        assert c.until_ready().types == "1tTZ"
        c.send(bind("named", "", ("x",)), execute(), SYNC)
        assert c.until_ready().rows == [("x",)]
        c.send(close("S", "named"), SYNC)
        assert c.until_ready().types == "3Z"


# --- COPY -------------------------------------------------------------------

def test_copy_in(p, pg):
    pg.sql("TRUNCATE copied", db="db")
    with p.login() as c:
        c.send(query("COPY copied FROM STDIN"))
        c.expect(b"G")
        for i in range(1000):
            c.send(wire.copy_data(b"%d\tline %d\n" % (i, i)))
        c.send(wire.COPY_DONE)
        r = c.until_ready()
        assert r.tags == ["COPY 1000"] and r.status == "I"
        assert c.value("SELECT count(*) FROM copied") == "1000"


def test_copy_in_extended(p, pg):
    pg.sql("TRUNCATE copied", db="db")
    with p.login() as c:
        c.send(extended("COPY copied FROM STDIN"), SYNC)
        assert [c.recv().type for _ in range(4)] == [b"1", b"2", b"n", b"G"]
        c.send(wire.copy_data(b"1\tone\n"), wire.COPY_DONE, SYNC)
        r = c.until_ready()
        assert r.tags == ["COPY 1"]
        assert c.value("SELECT count(*) FROM copied") == "1"


def test_row_29_copy_fail(p, pg):
    """Row 29."""
    pg.sql("TRUNCATE copied", db="db")
    with p.login() as c, p.login() as other:
        c.send(query("COPY copied FROM STDIN"))
        c.expect(b"G")
        c.send(wire.copy_data(b"1\tone\n"), wire.copy_fail("enough"))
        r = c.until_ready()
        assert r.errors[0].code == "57014" and r.status == "I"
        assert c.value("SELECT count(*) FROM copied") == "0"
        if p.settings["pool_mode"] == "transaction":
            assert other.value("SELECT 1") == "1"


@ours
def test_row_29_late_copy_data(p, pg):
    """Row 29: the server gave up; what the client still sends is swallowed,
    and its CopyDone gets no answer."""
    with p.login() as c, p.login() as other:
        c.send(query("COPY copied FROM STDIN"))
        c.expect(b"G")
        c.send(wire.copy_data(b"not a number\tx\n"))
        assert c.recv().type == b"E"
        assert c.recv().type == b"Z"
        for _ in range(100):
            c.send(wire.copy_data(b"more\tdata\n"))
        if p.settings["pool_mode"] == "transaction":
            other.send(query("SELECT 'other'"))
            p.wait_pool(cl_waiting=1)
        c.send(wire.COPY_DONE, query("SELECT 'next'"))
        assert c.until_ready().value() == "next"
        if p.settings["pool_mode"] == "transaction":
            assert other.until_ready().value() == "other"


@ours
def test_row_29_copy_error_in_a_transaction(tx):
    p = tx()
    with p.login() as c:
        c.query("BEGIN")
        c.send(query("COPY copied FROM STDIN"))
        c.expect(b"G")
        c.send(wire.copy_data(b"bad\tx\n"), wire.COPY_DONE)
        assert c.until_ready().status == "E"
        assert c.query("ROLLBACK").status == "I"
        assert c.value("SELECT 1") == "1"
    p.wait_pool(sv_idle=1, sv_active=0)


def test_row_29_copy_done_twice(p):
    """Row 29."""
    with p.login() as c:
        c.send(query("COPY copied FROM STDIN"))
        c.expect(b"G")
        c.send(wire.COPY_DONE)
        assert c.until_ready().tags == ["COPY 0"]
        c.send(wire.COPY_DONE, wire.copy_data(b"x"), wire.copy_fail("x"))
        assert c.value("SELECT 1") == "1"


def test_row_29_client_gone_in_copy(p, pg):
    """Row 29: nothing is copied, nothing is left behind."""
    pg.sql("TRUNCATE copied", db="db")
    for _ in range(3):
        c = p.login()
        c.send(query("COPY copied FROM STDIN"))
        c.expect(b"G")
        c.send(wire.copy_data(b"1\tx\n"))
        c.close()
    with p.login() as c:
        assert c.value("SELECT count(*) FROM copied") == "0"
    p.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)


def test_copy_out(p):
    with p.login() as c:
        c.send(query("COPY (SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g) TO STDOUT"))
        r = c.until_ready()
        assert r.types.count("d") == 20000 and r.tags == ["COPY 20000"]
        c.send(extended("COPY (SELECT 1) TO STDOUT"), SYNC)
        assert c.until_ready().types == "12nHdcCZ"
        c.send(query("COPY (SELECT 1/(g-5) FROM generate_series(1, 9) g) TO STDOUT"))
        r = c.until_ready()
        assert r.errors[0].code == "22012" and r.status == "I"


@ours
def test_row_29_copy_in_pipeline(tx, pg):
    """Data sent before CopyInResponse is seen, and the Sync that the server
    ignores during COPY."""
    pg.sql("TRUNCATE copied", db="db")
    p = tx()
    with p.login() as c, p.login() as other:
        c.send(extended("COPY copied FROM STDIN"), wire.copy_data(b"1\ta\n"), wire.copy_data(b"2\tb\n"),
               wire.COPY_DONE, SYNC, query("SELECT 'after'"))
        assert c.until_ready().tags == ["COPY 2"]
        assert c.until_ready().value() == "after"
        assert other.value("SELECT 1") == "1"
        assert c.value("SELECT count(*) FROM copied") == "2"


def test_large_copy_in(tx, pg):
    pg.sql("TRUNCATE copied", db="db")
    p = tx()
    line = b"7\t" + b"x" * 1000 + b"\n"
    with p.login() as c:
        c.send(query("COPY copied FROM STDIN"))
        c.expect(b"G")
        for _ in range(200):
            c.send(wire.copy_data(line * 100))
        c.send(wire.COPY_DONE)
        assert c.until_ready().tags == ["COPY 20000"]


# --- sizes ------------------------------------------------------------------

@pytest.mark.parametrize("pkt_buf", [75, 128, 256, 1024, 4096, 65536] if not env.ORACLE else [256, 4096, 65536])
def test_buffer_sizes(tx, pg, pkt_buf):
    """Messages that fill the buffer exactly, half, twice, ten times, both ways."""
    p = tx(pkt_buf=pkt_buf)
    with p.login(application_name="n" * 60) as c:
        for size in {pkt_buf // 2, pkt_buf - 10, pkt_buf, pkt_buf + 1, 2 * pkt_buf, 4 * pkt_buf, 10 * pkt_buf}:
            for exact in range(size - 3, size + 4):
                value = "v" * max(1, exact - 6 - len("SELECT ''"))
                assert c.value("SELECT '%s'" % value) == value
            assert c.run("SELECT $1::text", ("p" * size,)).value() == "p" * size
            assert len(c.value("SELECT repeat('r', %d)" % size)) == size
        c.send(b"".join(extended("SELECT %d" % i) + SYNC for i in range(50)))
        assert [c.until_ready().value() for i in range(50)] == [str(i) for i in range(50)]


def test_pieces_of_one_byte(p):
    with p.login() as c:
        c.send_pieces(query("SELECT 'simple'") + extended("SELECT 'extended'") + SYNC)
        assert c.until_ready().value() == "simple"
        assert c.until_ready().value() == "extended"


def test_server_in_pieces_of_one_byte(pooler, fake):
    def script(peer):
        peer.read_startup()
        whole = peer.send
        peer.send = lambda *parts: [whole(bytes([b])) for b in b"".join(parts)]
        peer.sock.setsockopt(6, 1, 1)
        peer.welcome()
        peer.serve()
    p = pooler(databases={"db": fake(script).entry()}, users={"u_trust": ""}, server_tls_sslmode="disable")
    with p.login() as c:
        for i in range(5):
            assert c.query("SELECT %d" % i).types == "TDCZ"


def test_small_socket_buffers(tx):
    p = tx(tcp_socket_buffer=4096)
    with p.login() as c:
        assert len(c.value("SELECT repeat('x', 300000)")) == 300000
        assert c.value("SELECT length('%s')" % ("y" * 300000)) == "300000"


def test_large_query(tx):
    p = tx()
    with p.login() as c:
        assert c.value("SELECT length('%s')" % ("q" * (16 * MB))) == str(16 * MB)


def drop(c, left):
    """Read and drop so many bytes of a message."""
    from_buf = min(left, len(c.buf))
    del c.buf[:from_buf]
    left -= from_buf
    while left:
        left -= len(c.sock.recv(min(left, MB)))


def test_large_row_is_streamed(tx):
    """64 MB in one row: the pooler's memory does not follow."""
    p = tx()
    with p.login() as c:
        c.value("SELECT 1")
        before = env.rss_kb(p.process.pid)
        c.send(query("SELECT repeat('x', %d)" % (64 * MB)))
        peak = 0
        while True:
            head = c.take(5)
            left = struct.unpack("!I", head[1:])[0] - 4
            while left:
                piece = min(left, 8 * MB)
                drop(c, piece)
                left -= piece
                peak = max(peak, env.rss_kb(p.process.pid))
            if head[:1] == b"Z":
                break
        assert peak - before < 8192 * (4 if env.SLOW > 1 else 1)


def test_row_33_slow_reader(tx):
    """Row 33: a client that does not read stops its server, not the pooler."""
    p = tx(default_pool_size=2)
    with p.login() as other:
        other.value("SELECT 1")
        slow = p.wire(rcvbuf=4096).login("u_trust", "db")
        before = env.rss_kb(p.process.pid)
        slow.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 60000)"))
        env.wait_for(lambda: p.pool()["sv_active"] == 1, "the query to run")
        for _ in range(20):
            assert other.value("SELECT 1") == "1"
        assert env.rss_kb(p.process.pid) - before < 8192 * (4 if env.SLOW > 1 else 1)
        assert slow.until_ready().types.count("D") == 60000


def test_row_33_slow_server(pooler, fake):
    """The same in the other direction: a server that does not read."""
    release = threading.Event()

    def script(peer):
        peer.read_startup()
        peer.welcome()
        if peer.number == 1:
            release.wait(env.PATIENCE)
        peer.serve(lambda text: len(text) > 1000 and (peer.send(fakeserver.one_row(len(text)), fakeserver.ready()),))
    p = pooler(databases={"db": fake(script).entry()}, users={"u_trust": ""}, server_tls_sslmode="disable")
    c = p.login()
    before = env.rss_kb(p.process.pid)
    sender = threading.Thread(target=c.sock.sendall, args=(query("x" * (32 * MB)),))
    sender.start()
    env.wait_for(lambda: p.pool()["sv_active"] == 1, "the link")
    with p.login() as other:
        assert other.query("SELECT 1").types == "TDCZ"
    assert sender.is_alive()
    assert env.rss_kb(p.process.pid) - before < 8192 * (4 if env.SLOW > 1 else 1)
    release.set()
    assert c.until_ready().value() == str(32 * MB)
    sender.join()


def test_row_33_both_write_without_reading(tx):
    """Row 33: many queries with large answers are sent before any answer is
    read. The client is stopped for a while; nothing is lost or reordered."""
    p = tx()
    n = 300
    with p.login() as c:
        text = b"".join(query("SELECT repeat('x', 100000), %d, '%s'" % (i, "y" * 10000)) for i in range(n))
        sender = threading.Thread(target=c.sock.sendall, args=(text,))
        sender.start()
        time.sleep(0.2)
        for i in range(n):
            row = c.until_ready().rows[0]
            assert len(row[0]) == 100000 and row[1] == str(i)
        sender.join()


def test_max_packet_size(tx):
    p = tx(max_packet_size=100000)
    with p.login() as c:
        assert c.value("SELECT length('%s')" % ("x" * 50000)) == "50000"
        try:
            c.send(query("SELECT '%s'" % ("x" * 200000)))
            assert c.expect_error(closed=False).severity == "FATAL"
        except (Closed, PgError):
            pass
    with p.login() as c:
        assert c.value("SELECT 1") == "1"


def test_disable_pqexec(tx):
    p = tx(disable_pqexec=1)
    with p.login() as c:
        assert c.run("SELECT 1").value() == "1"
        c.send(query("SELECT 1"))
        assert c.expect_error().text == "PQexec disallowed"
