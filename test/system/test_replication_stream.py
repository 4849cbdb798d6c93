"""Replication streams: copy-both in both directions, back-pressure, ends,
time-outs, and cancel requests."""
import os
import struct
import threading
import time

import pytest
from harness import env, fakeserver, wire
from harness.replication import Stream, logical, lsn_text, physical, status
from harness.wallet import ALICE
from harness.wire import Closed, PgError

pytestmark = pytest.mark.ours

MODES = ["session", "transaction", "statement"]


@pytest.fixture
def site(pooler, pg, monkeypatch):
    monkeypatch.setenv("PGECDSA_FAULTS", os.environ.get("PGECDSA_FAULTS", "") + ",nobelt")

    def make(mode="transaction", **settings):
        return pooler(**{"databases": {"db": pg.entry()}, "users": {"u_trust": ""}, "pool_mode": mode,
                         "server_tls_sslmode": "disable", **settings})
    return make


@pytest.fixture(scope="module")
def table(pg):
    pg.sql("CREATE TABLE flow (n int, filler text)", "GRANT ALL ON flow TO PUBLIC", db="db")
    yield
    pg.sql("DROP TABLE flow", db="db")


def replica(p, kind="database", **params):
    return p.login("u_trust", "db", replication=kind, **params)


def insert(pg, first, count, size=10):
    pg.sql("INSERT INTO flow SELECT n, repeat('x', %d) FROM generate_series(%d, %d) n" % (size, first, first + count - 1),
           db="db")


# --- to and fro -------------------------------------------------------------------

@pytest.mark.parametrize("mode", MODES)
def test_logical_stream(site, pg, table, mode):
    p = site(mode)
    with replica(p) as c, p.login() as other:
        pid = c.pid()
        s = logical(c, "flow_slot")
        insert(pg, 100, 3)
        changes = b"".join(s.wait_for("n[integer]:102 "))
        assert changes.count(b"INSERT") == 3
        # What the client says arrives: the server keeps account of it.
        c.send(status(s.position))
        env.wait_for(lambda: pg.sql("SELECT 1 FROM pg_stat_replication WHERE pid = %d AND flush_lsn::text = '%s'"
                                    % (pid, lsn_text(s.position))), "the status to arrive")
        assert other.value("SELECT 'other'") == "other"
        end = s.end()
        assert end.types == "cCCZ" and end.status == "I"
        assert c.pid() == pid and c.query("IDENTIFY_SYSTEM").rows


@pytest.mark.parametrize("mode", MODES)
def test_physical_stream(site, pg, table, mode):
    p = site(mode)
    with replica(p, "yes") as c:
        s = physical(c)
        pg.sql("INSERT INTO flow VALUES (1, 'seen in the WAL: %s')" % mode, db="db")
        s.wait_for("seen in the WAL: " + mode)
        assert s.end().status == "I"
        assert c.query("IDENTIFY_SYSTEM").rows
        assert len(pg.walsenders()) == 1


def test_base_backup_command(site):
    """Result sets and COPY OUT of all sizes, one behind the other."""
    p = site("statement")
    with replica(p, "yes") as c:
        c.send(wire.query("BASE_BACKUP ( CHECKPOINT 'fast', WAIT false )"))
        r = c.until_ready()
        assert not r.errors and r.status == "I"
        assert sum(len(m.body) for m in r.messages if m.type == b"d") > 20_000_000
        assert c.query("IDENTIFY_SYSTEM").rows


def test_table_copy_on_a_logical_connection(site, pg, table):
    """What a subscriber does first: a snapshot, and a COPY out of it."""
    p = site("statement")
    with replica(p) as c:
        assert c.query("BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ").status == "T"
        assert not c.query("CREATE_REPLICATION_SLOT sync TEMPORARY LOGICAL pgoutput USE_SNAPSHOT").errors
        insert(pg, 1, 1)
        r = c.query("COPY flow TO STDOUT")
        assert not r.errors and "H" in r.types
        assert c.query("COMMIT").status == "I"


# --- the end of a stream ---------------------------------------------------------------

def both(peer):
    """A scripted stream up to copy-both mode."""
    peer.read_startup()
    peer.welcome()
    assert peer.recv().type == b"Q"
    peer.send(wire.msg(b"W", struct.pack("!BH", 0, 0)))


def end_of_stream(peer):
    """As a walsender does at the end of a timeline: a result behind the stream."""
    peer.send(fakeserver.row_description("next_tli", "next_tli_startpos"), fakeserver.data_row("2", "0/3000000"),
              fakeserver.tag("SELECT"), fakeserver.tag("START_STREAMING"), fakeserver.ready())


def then_serve(peer):
    assert peer.recv().body == b"SELECT 'again'\0"
    peer.send(fakeserver.one_row("again"), fakeserver.ready())
    peer.serve()


@pytest.mark.parametrize("mode", MODES)
def test_server_ends_first(site, fake, mode):
    def script(peer):
        both(peer)
        peer.send(wire.copy_data(b"w" + b"x" * 100), wire.COPY_DONE)
        # The client does not know yet, and goes on for a while.
        while peer.recv().type != b"c":
            pass
        end_of_stream(peer)
        then_serve(peer)

    p = site(mode, databases={"db": fake(script).entry()})
    with replica(p, "yes") as c:
        s = Stream(c, "START_REPLICATION 0/0")
        c.expect(b"d")
        c.send(status(1), status(2))
        c.expect(b"c")
        c.send(status(3), wire.COPY_DONE)
        r = c.until_ready()
        assert r.types == "TDCCZ" and r.tags == ["SELECT", "START_STREAMING"] and r.rows == [("2", "0/3000000")]
        assert c.value("SELECT 'again'") == "again"
        assert s.position == 0


@pytest.mark.parametrize("mode", MODES)
def test_client_ends_first(site, fake, mode):
    def script(peer):
        both(peer)
        while peer.recv().type != b"c":
            pass
        # What was under way.
        peer.send(wire.copy_data(b"w" + b"x" * 100), wire.COPY_DONE)
        end_of_stream(peer)
        then_serve(peer)

    p = site(mode, databases={"db": fake(script).entry()})
    with replica(p, "yes") as c:
        Stream(c, "START_REPLICATION 0/0")
        c.send(status(1), wire.COPY_DONE, wire.query("SELECT 'again'"))
        assert c.until_ready().types == "dcTDCCZ"
        assert c.until_ready().value() == "again"


@pytest.mark.parametrize("mode", MODES)
def test_error_in_the_stream(site, fake, mode):
    """The server gives up; the client learns it late, and what it still sends has no answer."""
    def script(peer):
        both(peer)
        peer.send(wire.copy_data(b"w" + b"x" * 100), fakeserver.error("requested WAL segment has been removed"),
                  fakeserver.ready())
        while peer.recv().type != b"c":
            pass
        then_serve(peer)

    p = site(mode, databases={"db": fake(script).entry()})
    with replica(p, "yes") as c:
        Stream(c, "START_REPLICATION 0/0")
        r = c.until_ready()
        assert r.types == "dEZ" and "removed" in r.errors[0].text
        c.send(status(1), wire.COPY_DONE, wire.query("SELECT 'again'"))
        assert c.until_ready().value() == "again"
        p.wait_pool(sv_active=1)


def test_server_goes_in_the_stream(site, pg, table):
    p = site()
    with replica(p, "yes") as c:
        physical(c)
        pg.sql("SELECT pg_terminate_backend(%d)" % pg.walsenders()[0])
        while True:
            m = c.recv()
            if m.type == b"E":
                break
        assert wire.fields_of(m.body)["C"] == "57P01"
        assert c.expect_error().text == "server conn crashed?"


def test_client_goes_in_the_stream(site, pg, table):
    p = site()
    c = replica(p, "yes")
    physical(c)
    c.close()
    p.wait_log("S-.*closing because: client disconnect while server was not ready")
    env.wait_for(lambda: not pg.walsenders(), "the walsender to go")


def test_client_says_goodbye_in_the_stream(site, pg, table):
    p = site()
    with replica(p, "yes") as c:
        physical(c)
        c.send(wire.TERMINATE)
        p.wait_log("C-.*closing because: client close request")
        env.wait_for(lambda: not pg.walsenders(), "the walsender to go")


# --- no text of ours in the middle of a message -------------------------------------------

def until_end(c):
    out = bytes(c.buf)
    try:
        while True:
            out += c.take(1)
    except Closed:
        return out


@pytest.mark.parametrize("what", ["RECONNECT", "KILL db", "KILL_CLIENT", "server"])
def test_half_a_message_stays_half(site, fake, what):
    """Its rest would be taken from what the pooler says of the end, and look like data."""
    sent, may_end = threading.Event(), threading.Event()
    whole = wire.copy_data(b"w" + b"x" * 30)

    def script(peer):
        both(peer)
        peer.send(whole, whole[:-20])
        sent.set()
        if what == "server":
            assert may_end.wait(env.PATIENCE)
            return
        peer.wait_gone()

    p = site(databases={"db": fake(script).entry()})
    with replica(p, "yes") as c:
        Stream(c, "START_REPLICATION 0/0")
        assert sent.wait(env.PATIENCE)
        assert c.take(len(whole)) == whole and c.take(len(whole) - 20) == whole[:-20]
        if what == "KILL_CLIENT":
            what = "KILL_CLIENT " + [r["id"] for r in p.show("CLIENTS") if r["database"] == "db"][0]
        if what == "server":
            may_end.set()
        else:
            p.admin(what)
        assert until_end(c) == b""
    p.wait_log("C-.*closing because")


def test_half_a_request_stays_half(site, fake):
    """Nor is a farewell put into the middle of what the client was saying."""
    rest = []

    def script(peer):
        both(peer)
        try:
            while True:
                rest.append(peer.take(1))
        except fakeserver.Gone:
            rest.append(None)

    p = site(databases={"db": fake(script).entry()})
    message = wire.copy_data(b"r" + b"y" * 33)
    with replica(p, "yes") as c:
        Stream(c, "START_REPLICATION 0/0")
        c.send(message, message[:-10])
        env.wait_for(lambda: len(rest) == 2 * len(message) - 10, "it to arrive")
    env.wait_for(lambda: rest[-1] is None, "the end")
    assert b"".join(rest[:-1]) == message + message[:-10]


# --- load and back-pressure ---------------------------------------------------------------------

def test_stream_under_load(site, pg, table):
    """Every change of a busy database arrives once and in order, beside ordinary clients of the same pool."""
    p = site(default_pool_size=4)
    stop = threading.Event()
    counts, failed = [], []

    def write(n):
        try:
            with p.connect() as conn:
                done = 0
                while not stop.is_set():
                    conn.execute("INSERT INTO flow VALUES (%d, repeat('y', 500))" % (n * 1_000_000 + done))
                    done += 1
                counts.append((n, done))
        except Exception as e:
            failed.append(e)

    with replica(p) as c:
        s = logical(c, "load_slot")
        threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
        for t in threads:
            t.start()
        seen = {n: 0 for n in range(3)}

        def take():
            payload = s.data()
            if b"INSERT" in payload:
                number = int(payload.split(b"n[integer]:")[1].split(b" ")[0])
                n, i = divmod(number, 1_000_000)
                assert seen[n] == i
                seen[n] += 1
                if sum(seen.values()) % 100 == 0:
                    c.send(status(s.position))

        while min(seen.values()) < 300:
            take()
        stop.set()
        for t in threads:
            t.join()
        assert not failed
        while seen != dict(counts):
            take()
        assert s.end().status == "I"


def test_reader_that_pauses_costs_no_memory(site, pg, table):
    """The stream stops at the client, and so at the server; then all of it arrives."""
    p = site()
    with replica(p) as c:
        s = logical(c, "slow_slot")
        rss = env.rss_kb(p.process.pid)
        insert(pg, 1, 20000, size=2000)
        pid = pg.walsenders()[0]

        def stuck():
            """The server has sent what the sockets take, and waits."""
            first = pg.sql("SELECT sent_lsn FROM pg_stat_replication WHERE pid = %d" % pid)
            time.sleep(0.3)
            return first == pg.sql("SELECT sent_lsn FROM pg_stat_replication WHERE pid = %d AND state IS NOT NULL" % pid)

        env.wait_for(stuck, "the stream to stop")
        assert env.rss_kb(p.process.pid) - rss < 8 * 1024
        with p.login() as other:
            assert other.value("SELECT 1") == "1"
        seen = b"".join(s.wait_for("n[integer]:20000 "))
        assert seen.count(b"INSERT") == 20000
        assert env.rss_kb(p.process.pid) - rss < 8 * 1024


def test_server_that_does_not_read_costs_no_memory(site, fake):
    """The other direction: 64 MB to a server that is busy elsewhere."""
    total, may_read, arrived = 64 << 20, threading.Event(), []

    def script(peer):
        both(peer)
        assert may_read.wait(env.PATIENCE)
        n = 0
        while True:
            m = peer.recv()
            if m.type == b"c":
                break
            assert m.type == b"d" and m.body[:4] == struct.pack("!I", n)
            n += 1
        arrived.append(n)
        peer.send(wire.COPY_DONE, fakeserver.tag("COPY 0"), fakeserver.ready())

    p = site(databases={"db": fake(script).entry()})
    rss = env.rss_kb(p.process.pid)
    size = 1 << 16
    with replica(p, "yes") as c:
        Stream(c, "START_REPLICATION 0/0")
        data = b"".join(wire.copy_data(struct.pack("!I", i) + b"z" * (size - 9)) for i in range(total // size))
        sent = []

        def push():
            view = memoryview(data + wire.COPY_DONE)
            while view:
                n = c.sock.send(view[:1 << 16])
                sent.append(n)
                view = view[n:]

        t = threading.Thread(target=push)
        t.start()

        def stuck():
            before = len(sent)
            time.sleep(0.3)
            return before == len(sent)

        env.wait_for(stuck, "the client to be held up")
        assert sum(sent) < total // 2
        assert env.rss_kb(p.process.pid) - rss < 8 * 1024
        may_read.set()
        t.join()
        assert c.until_ready().types == "cCZ" and arrived == [total // size]


# --- time ----------------------------------------------------------------------------------------------

def test_stream_is_no_long_query(site, pg, table):
    """query_timeout and transaction_timeout are for queries; a stream goes on, and is no part of the averages."""
    p = site(query_timeout=1, transaction_timeout=1, client_idle_timeout=1, idle_transaction_timeout=1)
    with replica(p) as c, replica(p) as sql:
        s = logical(c, "long_slot")
        end = time.monotonic() + 2.5
        n = 0
        while time.monotonic() < end:
            insert(pg, 7000 + n, 1)
            s.wait_for("n[integer]:%d " % (7000 + n))
            n += 1
            time.sleep(0.1)
        assert [r["wait"] for r in p.show("CLIENTS") if r["database"] == "db"] == ["0", "0"]
        assert s.end().status == "I"
        total = [r for r in p.show("STATS") if r["database"] == "db"][0]
        assert int(total["total_query_time"]) < 1_000_000
        # An ordinary query on such a connection is one.
        sql.send(wire.query("SELECT pg_sleep(30)"))
        assert sql.expect_error().text == "query timeout"


def test_wallet_session_ends_in_a_stream(pooler, pg, table):
    """A stream has no end to wait for: ecdsa_session_max cuts it."""
    p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ecdsa",
               ecdsa_allowed_addresses=ALICE.address, ecdsa_session_max=2, server_tls_sslmode="disable")
    with p.login(ALICE.address, "db", ALICE.password(), replication="database") as c:
        s = logical(c, "wallet_slot")
        with pytest.raises(PgError) as e:
            for n in range(1000):
                insert(pg, 9000 + n, 1)
                s.wait_for("n[integer]:%d " % (9000 + n))
                time.sleep(0.05)
        assert e.value.code == "57P01" and "ecdsa_session_max" in e.value.text
        c.expect_closed()


# --- cancel requests ---------------------------------------------------------------------------------

def cancel(p, key):
    with p.wire() as w:
        w.send(wire.cancel_request(key))
        w.expect_closed()


def test_cancel_of_a_query(site, pg):
    p = site(default_pool_size=1)
    with replica(p) as c:
        c.send(wire.query("SELECT pg_sleep(60)"))
        env.wait_for(lambda: pg.walsenders("state = 'active' AND query LIKE '%pg_sleep(60)%'"), "the query to run")
        cancel(p, c.key)
        assert c.until_ready().errors[0].code == "57014"
        assert c.value("SELECT 1") == "1"
    p.wait_log("successfully sent cancel request")


def test_cancel_of_a_stream(site, pg, table):
    p = site()
    with replica(p) as c:
        s = logical(c, "cancel_slot")
        insert(pg, 1, 1)
        s.wait_for("INSERT")
        pid = pg.walsenders()
        cancel(p, c.key)
        r = wire.Result([m for m in c.recv_until(b"Z") if m.type != b"d"])
        assert r.errors[0].code == "57014" and r.status == "I"
        assert c.query("IDENTIFY_SYSTEM").rows and pg.walsenders() == pid


def test_cancel_of_one_that_waits(site):
    p = site(default_pool_size=1)
    with p.login() as holder:
        holder.query("BEGIN")
        with replica(p) as c:
            p.wait_pool(cl_waiting=1)
            cancel(p, c.key)
            p.wait_log("cancel request for idle client")
            holder.query("COMMIT")
            assert c.query("IDENTIFY_SYSTEM").rows


def test_cancel_while_its_server_logs_in(site, fake):
    """There is a server already, but it does nothing that could be cancelled."""
    may_go_on = threading.Event()

    def script(peer):
        if peer.read_startup() is None:
            return
        if peer.params.get("replication"):
            assert may_go_on.wait(env.PATIENCE)
        peer.welcome()
        peer.serve()

    server = fake(script)
    p = site(databases={"db": server.entry()})
    p.login().close()
    with replica(p, "yes") as c:
        env.wait_for(lambda: server.count == 2, "the log-in")
        cancel(p, c.key)
        p.wait_log("cancel request for idle client")
        may_go_on.set()
        assert c.value("SELECT 1") == "SELECT 1"
    assert server.count == 2
