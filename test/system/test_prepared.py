"""Named statements in transaction and statement mode: behaviour, section 20."""
import os
import subprocess
import threading
import time

import psycopg
import pytest
from harness import env, fakeserver, wire
from harness.wire import SYNC, Closed, bind, close, describe, execute, msg, parse, query

pytestmark = pytest.mark.ours


@pytest.fixture
def tx(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry()}, "users": {"u_trust": ""}, "pool_mode": "transaction",
                         "default_pool_size": 1, "server_tls_sslmode": "disable", **settings})
    return make


@pytest.fixture(params=["", "read1", "send1", "read1,send1"])
def faults(request, monkeypatch):
    if request.param:
        monkeypatch.setenv("PGECDSA_FAULTS", request.param)
    return request.param


def held(c):
    """What this connection's server has."""
    return c.query("SELECT name, statement FROM pg_prepared_statements ORDER BY prepare_time, name").rows


def prepare(c, name, sql):
    c.send(parse(sql, name), SYNC)
    r = c.until_ready()
    assert r.types == "1Z", r.errors
    return r


def use(c, name, params=()):
    c.send(bind(name, "", params), execute(), SYNC)
    r = c.until_ready()
    assert not r.errors, r.errors
    return r.rows


def column(p, what, **match):
    return [int(r["prepared_statements"]) for r in p.show(what) if all(r[k] == v for k, v in match.items())]


def totals(p):
    for row in p.show("STATS_TOTALS"):
        if row["database"] == "db":
            return tuple(int(row[k]) for k in ("client_parse_count", "server_parse_count", "bind_count"))
    return 0, 0, 0


# --- the four messages ------------------------------------------------------

@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_two_clients_one_text(tx, mode):
    p = tx(pool_mode=mode)
    with p.login() as a, p.login() as b:
        prepare(a, "one", "SELECT $1::int + 1")
        prepare(b, "two", "SELECT $1::int + 1")
        assert use(a, "one", ("1",)) == [("2",)] and use(b, "two", ("2",)) == [("3",)]
        assert held(a) == [("PGBOUNCER_1", "SELECT $1::int + 1")]
        assert totals(p) == (2, 1, 2)


def test_one_name_two_texts(tx):
    p = tx()
    with p.login() as a, p.login() as b:
        prepare(a, "s", "SELECT 'a'")
        prepare(b, "s", "SELECT 'b'")
        for _ in range(3):
            assert use(a, "s") == [("a",)] and use(b, "s") == [("b",)]
        assert [n for n, _ in held(a)] == ["PGBOUNCER_1", "PGBOUNCER_2"]


def test_types_belong_to_the_text(tx):
    p = tx()
    with p.login() as a, p.login() as b:
        for c, oid in ((a, 23), (b, 25)):
            c.send(parse("SELECT pg_typeof($1)", "s", (oid,)), SYNC)
            assert c.until_ready().types == "1Z"
        assert use(a, "s", ("1",)) == [("integer",)] and use(b, "s", ("1",)) == [("text",)]


def test_prepared_on_demand(tx):
    """A server that lacks it gets it ahead of Bind and of Describe."""
    p = tx(default_pool_size=2)
    with p.login() as a, p.login() as b:
        prepare(a, "s", "SELECT $1::int AS n")
        b.query("BEGIN")
        assert use(a, "s", ("5",)) == [("5",)]
        a.send(describe("S", "s"), SYNC)
        r = a.until_ready()
        assert r.types == "tTZ" and r.columns[0].name == "n"
        b.query("COMMIT")
    p = tx(default_pool_size=2)
    with p.login() as a, p.login() as b:
        prepare(a, "s", "SELECT 1 AS n")
        b.query("BEGIN")
        a.send(describe("S", "s"), SYNC)
        assert a.until_ready().types == "tTZ"
        b.query("COMMIT")


def test_in_a_portal_of_its_own(tx):
    p = tx()
    with p.login() as c:
        prepare(c, "s", "SELECT generate_series(1, 4)")
        c.send(bind("s", "portal"), describe("P", "portal"), execute("portal", 2), execute("portal", 2), close("P", "portal"),
               SYNC)
        assert c.until_ready().types == "2TDDsDDs3Z"


def test_whole_exchange_in_one_write(tx, faults):
    p = tx()
    with p.login() as c:
        for i in range(3):
            c.send(parse("SELECT $1::text", "s"), bind("s", "", ("x",)), describe("P"), execute(), close("S", "s"), SYNC)
            r = c.until_ready()
            assert r.types == "12TDC3Z" and r.rows == [("x",)]
        assert len(held(c)) == 1
        assert totals(p) == (3, 1, 3)


def test_unnamed_and_sql_pass(tx):
    p = tx()
    with p.login() as c:
        assert c.run("SELECT $1::int", ("1",)).rows == [("1",)]
        c.query("PREPARE mine AS SELECT 7")
        assert c.query("EXECUTE mine").rows == [("7",)]
        c.query("DEALLOCATE mine")
        assert held(c) == [] and totals(p) == (0, 0, 0)
        assert column(p, "CLIENTS", database="db") == [0]


def test_name_in_use(tx):
    p = tx()
    with p.login() as c:
        prepare(c, "twice", "SELECT 1")
        c.send(parse("SELECT 1", "twice"), SYNC)
        e = c.expect_error()
        assert e.text == "prepared statement name is already in use" and e.fields["S"] == "FATAL"
    assert p.wait_log("prepared statement 'twice' was already prepared")


@pytest.mark.parametrize("message", [bind("nobody"), describe("S", "nobody")])
def test_name_unknown(tx, message):
    p = tx()
    with p.login() as c:
        c.send(message, SYNC)
        assert c.expect_error().text == "prepared statement did not exist"
    assert p.wait_log("prepared statement 'nobody' not found")


def test_close(tx):
    p = tx()
    with p.login() as c, p.login() as other:
        prepare(c, "s", "SELECT 1")
        # No server is needed.
        other.query("BEGIN")
        c.send(close("S", "s"), close("S", "nobody"))
        assert c.recv().type == b"3" and c.recv().type == b"3"
        other.query("COMMIT")
        c.send(SYNC)
        assert c.until_ready().types == "Z"
        prepare(c, "s", "SELECT 2")
        assert use(c, "s") == [("2",)]
        # In its place among other answers.
        c.send(bind("s"), execute(), close("S", "s"), parse("SELECT 3", "s"), bind("s"), execute(), SYNC)
        assert c.until_ready().types == "2DC312DCZ"
        # Linked, and nothing outstanding.
        c.query("BEGIN")
        c.send(close("S", "s"))
        assert c.recv().type == b"3"
        c.query("COMMIT")
        assert len(held(c)) == 3


def test_fake_parse_in_a_transaction(tx):
    p = tx()
    with p.login() as c:
        prepare(c, "a", "SELECT 1")
        c.query("BEGIN")
        c.send(parse("SELECT 1", "b"))
        assert c.recv().type == b"1"
        c.send(bind("b"), execute(), parse("SELECT 1", "d"), SYNC, parse("SELECT 1", "e"), SYNC)
        assert c.until_ready().types == "2DC1Z" and c.until_ready().types == "1Z"
        c.query("COMMIT")
        p.wait_pool(sv_active=0)


def test_fake_behind_the_last_sync(tx):
    """Nothing is owed by the server then, so it is free for others, and the client's clock stands still."""
    p = tx(query_wait_timeout=3)
    with p.login() as c, p.login() as other:
        prepare(c, "a", "SELECT 1")
        c.send(bind("a"), execute(), SYNC, parse("SELECT 1", "b"))
        assert c.until_ready().types == "2DCZ" and c.recv().type == b"1"
        time.sleep(3.5)
        other.query("BEGIN")
        c.send(bind("b"), execute(), SYNC)
        p.wait_pool(cl_waiting=1)
        assert c.silent(0.3)
        other.query("COMMIT")
        assert c.until_ready().rows == [("1",)]


# --- limits -------------------------------------------------------------------

def test_least_recently_used_goes(tx):
    p = tx(max_prepared_statements=3)
    with p.login() as c:
        for i in range(3):
            prepare(c, "s%d" % i, "SELECT %d" % i)
        use(c, "s0")
        prepare(c, "s3", "SELECT 3")
        assert {s for _, s in held(c)} == {"SELECT 0", "SELECT 2", "SELECT 3"}
        assert use(c, "s1") == [("1",)]
        assert {s for _, s in held(c)} == {"SELECT 0", "SELECT 3", "SELECT 1"}
        assert column(p, "CLIENTS", database="db") == [4] and column(p, "SERVERS") == [3]


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_row_31_eviction_while_pipelined(tx, faults, limit):
    """What an unanswered request needs is not closed under its feet."""
    p = tx(max_prepared_statements=limit)
    n = 20
    with p.login() as c:
        for _ in range(2):
            c.send(b"".join(parse("SELECT %d" % i, "s%d" % i) + bind("s%d" % i) + execute() for i in range(n)),
                   b"".join(bind("s%d" % i) + execute() for i in range(n)), SYNC)
            assert [r[0] for r in c.until_ready().rows] == [str(i) for i in range(n)] * 2
            c.send(b"".join(close("S", "s%d" % i) for i in range(n)), SYNC)
            assert c.until_ready().types == "3" * n + "Z"
        prepare(c, "last", "SELECT 'last'")
        assert len(held(c)) == limit


def test_row_31_eviction_in_batches_that_fail(tx):
    p = tx(max_prepared_statements=2)
    with p.login() as c:
        for i in range(6):
            prepare(c, "s%d" % i, "SELECT %d" % i)
        for _ in range(5):
            c.send(bind("s0"), execute(), parse("SELECT 1/0"), bind(), execute(), bind("s1"), execute(), bind("s2"),
                   execute(), bind("s3"), execute(), SYNC)
            assert "E" in c.until_ready().types
            for i in range(6):
                assert use(c, "s%d" % i) == [(str(i),)]
        assert len(held(c)) == 2


def test_many_random_pipelines(tx):
    """Errors, closes and evictions mixed: names always mean their texts."""
    import random
    dice = random.Random(20)
    p = tx(max_prepared_statements=3, default_pool_size=2)
    with p.login() as a, p.login() as b:
        names = {a: {}, b: {}}
        for turn in range(300):
            c = dice.choice((a, b))
            known, parts, want, fails = dict(names[c]), [], [], False
            for _ in range(dice.randrange(1, 8)):
                roll = dice.random()
                if roll < 0.3 or not known:
                    name = "n%d" % dice.randrange(1000000)
                    known[name] = dice.randrange(9)
                    parts.append(parse("SELECT %d" % known[name], name))
                elif roll < 0.4:
                    name = dice.choice(sorted(known))
                    del known[name]
                    parts.append(close("S", name))
                else:
                    name = dice.choice(sorted(known))
                    parts.append(bind(name) + execute())
                    want.append((str(known[name]),))
            if dice.random() < 0.3:
                fails = True
                parts.insert(dice.randrange(len(parts) + 1), parse("SELECT nonsense"))
            c.send(b"".join(parts), SYNC)
            r = c.until_ready()
            assert bool(r.errors) == fails
            if not fails:
                assert r.rows == want
                names[c] = known
            else:
                assert r.rows == want[:len(r.rows)] and r.errors[0].code == "42703"
                # Which of the batch's own came through is told by the answers; the rest may be named again.
                for name in set(known) | set(names[c]):
                    c.send(close("S", name))
                    assert c.recv().type == b"3"
                names[c] = {}
        for c in (a, b):
            assert len(held(c)) <= 3 + 8


def test_lowered_and_switched_off(tx):
    p = tx(max_prepared_statements=10)
    with p.login() as c:
        for i in range(5):
            prepare(c, "s%d" % i, "SELECT %d" % i)
        p.reload(max_prepared_statements=2)
        assert len(held(c)) == 5 and use(c, "s0") == [("0",)]
        prepare(c, "s5", "SELECT 5")
        assert {s for _, s in held(c)} == {"SELECT 0", "SELECT 5"}
        p.reload(max_prepared_statements=0)
        c.send(parse("SELECT 'raw'", "raw"), SYNC)
        assert c.until_ready().types == "1Z"
        assert ("raw", "SELECT 'raw'") in held(c) and len(held(c)) == 3
        assert totals(p) == (6, 6, 1)
        p.reload(max_prepared_statements=2)
        assert use(c, "s5") == [("5",)] and use(c, "s1") == [("1",)]


@pytest.mark.parametrize("how", [dict(pool_mode="session"), dict(max_prepared_statements=0)])
def test_off(tx, how):
    p = tx(**how)
    with p.login() as c:
        c.query("BEGIN")
        prepare(c, "plain", "SELECT 1")
        assert use(c, "plain") == [("1",)]
        assert held(c) == [("plain", "SELECT 1")]
        c.query("COMMIT")
        assert totals(p) == (0, 0, 0)
        c.query("DEALLOCATE ALL")


def test_counters(tx):
    p = tx()
    with p.login() as c:
        prepare(c, "a", "SELECT 1")
        prepare(c, "b", "SELECT 2")
        for name in "ababa":
            use(c, name)
        assert totals(p) == (2, 2, 5)


# --- failure -------------------------------------------------------------------

def test_failed_parse(tx):
    p = tx()
    with p.login() as c, p.login() as other:
        for _ in range(2):
            # The name may be given again: to the server it was never given.
            c.send(parse("SELECT * FROM late", "s"), SYNC)
            assert c.until_ready().errors[0].code == "42P01"
        c.send(bind("s"), execute(), SYNC)
        assert c.until_ready().errors[0].code == "42P01"
        c.send(parse("SELECT 1/0"), bind(), execute(), parse("SELECT 'dropped'", "d"), SYNC)
        assert c.until_ready().errors[0].code == "22012"
        assert held(c) == []
        prepare(c, "d", "SELECT 'again'")
        assert use(c, "d") == [("again",)]
        prepare(other, "s", "SELECT 'dropped'")
        assert use(other, "s") == [("dropped",)]


def test_prepared_by_need_after_it_failed(tx, pg):
    p = tx()
    pg.sql("DROP TABLE IF EXISTS late", db="db")
    with p.login() as c:
        c.send(parse("SELECT count(*) FROM late", "s"), SYNC)
        assert c.until_ready().errors
        pg.sql("CREATE TABLE late (a int)", "GRANT ALL ON late TO PUBLIC", db="db")
        try:
            assert use(c, "s") == [("0",)]
        finally:
            pg.sql("DROP TABLE late", db="db")


def test_batch_behind_one_that_fails(tx):
    """A Parse of ours that is lost with its batch is sent again for the next, though nobody knew yet that it would be."""
    p = tx()
    with p.login() as c:
        prepare(c, "s", "SELECT 's'")
        p.admin("RECONNECT")
        c.send(parse("SELECT nonsense"), bind("s"), execute(), SYNC, bind("s"), execute(), SYNC,
               describe("S", "s"), bind("s"), execute(), SYNC)
        assert c.until_ready().types == "EZ"
        assert c.until_ready().rows == [("s",)]
        r = c.until_ready()
        assert r.types == "tT2DCZ" and r.rows == [("s",)]
        assert held(c) == [("PGBOUNCER_1", "SELECT 's'")]


def test_query_inside_a_batch_that_fails(tx):
    """It is no end of the batch: the server passes it over, with all up to the Sync that is still to come."""
    p = tx()
    with p.login() as c:
        prepare(c, "s", "SELECT 's'")
        p.admin("RECONNECT")
        c.send(parse("SELECT nonsense"), bind("s"), execute(), query("SELECT 1"), bind("s"), execute(), SYNC, bind("s"),
               execute(), SYNC)
        assert c.until_ready().types == "EZ"
        assert c.until_ready().rows == [("s",)]


def test_same_broken_text_twice_in_a_pipeline(tx):
    """Who names it again is told of the error again, not of success."""
    p = tx()
    with p.login() as c:
        c.send(parse("SELEC 1", "a"), SYNC, parse("SELEC 1", "b"), describe("S", "b"), SYNC, parse("SELECT 2", "d"), SYNC)
        assert [c.until_ready().types for _ in range(3)] == ["EZ", "EZ", "1Z"]
        assert held(c) == [("PGBOUNCER_2", "SELECT 2")]


def test_own_parse_is_not_sent_twice_for_a_pipeline(tx):
    """What the client itself has just named needs no second Parse for its next batches."""
    p = tx()
    with p.login() as c:
        c.send(parse("SELECT 5", "s"), SYNC, bind("s"), execute(), SYNC, describe("S", "s"), SYNC, parse("SELECT 5", "t"), SYNC)
        assert [c.until_ready().types for _ in range(4)] == ["1Z", "2DCZ", "tTZ", "1Z"]
        assert totals(p)[:2] in ((2, 1), (2, 2))   # the last one depends on how fast the server was


def test_close_in_a_failed_batch(tx):
    """The server would not have done it, so the name lives on."""
    p = tx()
    with p.login() as c:
        prepare(c, "s", "SELECT 1")
        c.send(parse("SELECT nonsense"), close("S", "s"), SYNC)
        assert c.until_ready().types == "EZ"
        assert use(c, "s") == [("1",)]


def test_malformed(tx):
    p = tx()
    for message, text in ((msg(b"P", b"name"), "Parse"), (msg(b"P", b"name\0SELECT 1\0"), "Parse"),
                          (msg(b"P", b"name\0SELECT 1\0\0\1"), "Parse"), (msg(b"P", b"name\0SELECT 1\0\0\0x"), "Parse"),
                          (msg(b"P"), "Parse"), (msg(b"B", b"portal"), "Bind"), (msg(b"B", b"\0name"), "Bind"),
                          (msg(b"B", b"portal\0"), "Bind"), (msg(b"D", b"Sname"), "Describe"),
                          (msg(b"D", b"Sname\0x"), "Describe"), (msg(b"D", b"S"), "Describe"),
                          (msg(b"C", b"Sname"), "Close"), (msg(b"C"), "Close")):
        with p.login() as c:
            c.send(message, SYNC)
            assert c.expect_error().text == "broken %s packet" % text, message
    with p.login() as c:
        assert c.value("SELECT 1") == "1"


def test_endless_name(tx):
    """Only so much of a name is looked at; a text may be as long as a packet."""
    p = tx()
    with p.login() as c:
        prepare(c, "n" * (1 << 20), "SELECT 1")
        assert use(c, "n" * (1 << 20)) == [("1",)]
    for message in (bind("n" * ((1 << 20) + 1)), bind("s", "n" * (2 << 20)), describe("S", "n" * (2 << 20)),
                    close("S", "n" * (2 << 20)), parse("SELECT 1", "n" * (2 << 20))):
        with p.login() as c:
            try:
                c.send(message, SYNC)
            except Closed:
                pass
            assert "broken" in c.expect_error(closed=False).text


def test_client_that_never_reads(tx):
    """Answers made here are bounded like those of a server."""
    p = tx()
    with p.wire(rcvbuf=4096) as c:
        c.login("u_trust", "db")
        before = env.rss_kb(p.process.pid)
        c.sock.settimeout(1)
        sent = 0
        flood = close("S", "nobody") * 10000
        try:
            while sent < 400:
                c.sock.sendall(flood)
                sent += 1
        except TimeoutError:
            pass
        assert sent < 400
        assert env.rss_kb(p.process.pid) - before < 8192


# --- what makes servers forget ------------------------------------------------

@pytest.mark.parametrize("command", ["DEALLOCATE ALL", "DISCARD ALL"])
@pytest.mark.parametrize("simple", [True, False])
def test_all_gone(tx, faults, command, simple):
    p = tx()
    with p.login() as a, p.login() as b:
        prepare(a, "s", "SELECT 1")
        prepare(b, "s", "SELECT 1")
        r = a.query(command) if simple else a.run(command)
        assert command in r.tags
        assert held(b) == []
        assert use(b, "s") == [("1",)]
        prepare(a, "s", "SELECT 2")
        assert use(a, "s") == [("2",)]
        assert sorted(column(p, "CLIENTS", database="db")) == [1, 1]


def test_all_gone_inside_a_pipeline(tx):
    p = tx()
    with p.login() as c:
        prepare(c, "old", "SELECT 1")
        c.send(query("DEALLOCATE ALL"), parse("SELECT 2", "new"), bind("new"), execute(), SYNC)
        assert c.until_ready().types == "CZ" and c.until_ready().rows == [("2",)]
        assert use(c, "new") == [("2",)]
        c.send(bind("old"), SYNC)
        assert c.expect_error().text == "prepared statement did not exist"


def test_reset_query(tx):
    p = tx(server_reset_query="DEALLOCATE ALL", server_reset_query_always=1)
    with p.login() as c:
        for _ in range(3):
            if _ == 0:
                prepare(c, "s", "SELECT 1")
            assert use(c, "s") == [("1",)]
        assert totals(p) == (1, 4, 3)


def test_new_server(tx):
    p = tx()
    with p.login() as c:
        prepare(c, "s", "SELECT pg_backend_pid()")
        pid = use(c, "s")
        p.admin("RECONNECT")
        assert use(c, "s") != pid


def test_changed_result(tx, pg):
    """The server's own error, until RECONNECT."""
    p = tx()
    pg.sql("DROP TABLE IF EXISTS shape", "CREATE TABLE shape (a int)", "GRANT ALL ON shape TO PUBLIC", db="db")
    with p.login() as c:
        prepare(c, "s", "SELECT * FROM shape")
        use(c, "s")
        pg.sql("ALTER TABLE shape ADD b int", db="db")
        c.send(bind("s"), execute(), SYNC)
        assert "cached plan" in c.until_ready().errors[0].text
        p.admin("RECONNECT")
        assert use(c, "s") == []
    pg.sql("DROP TABLE shape", db="db")


# --- sizes and time --------------------------------------------------------------

@pytest.mark.parametrize("pkt_buf", [75, 100, 512, 4096])
def test_sizes(tx, pkt_buf):
    p = tx(pkt_buf=pkt_buf, default_pool_size=2)
    with p.login() as c, p.login() as other:
        for factor in (0.5, 1, 2, 4, 10):
            n = int(factor * pkt_buf)
            name = "n" * n
            sql = "SELECT length($1::text), '%s'" % ("q" * n)
            c.send(parse(sql, name), describe("S", name), bind(name, "p" * min(n, 60), ("v" * n,)),
                   execute("p" * min(n, 60)), SYNC)
            r = c.until_ready()
            assert r.types == "1tT2DCZ" and r.rows == [(str(n), "q" * n)]
            # With a SET to come first, and on a server that lacks it.
            c.query("SET application_name = 'app%d'" % n)
            other.query("BEGIN")
            c.send(bind(name, "", ("w" * 10 * n,)), execute(), close("S", name), SYNC)
            r = c.until_ready()
            assert r.types == "2DC3Z" and r.rows[0][0] == str(10 * n)
            other.query("COMMIT")


def test_exact_fits(tx):
    """Messages that end at, before and behind the end of a read."""
    p = tx(pkt_buf=128)
    with p.login() as c:
        for n in range(60, 200):
            c.send(parse("SELECT 1 /*%s*/" % ("x" * n), "s"), bind("s"), execute(), close("S", "s"), SYNC)
            assert c.until_ready().types == "12DC3Z"


def test_large_messages(tx):
    p = tx()
    with p.login() as c:
        sql = "SELECT length($1::text) /* %s */" % ("z" * (4 << 20))
        prepare(c, "large", sql)
        assert use(c, "large", ("v" * (16 << 20),)) == [(str(16 << 20),)]


def test_byte_by_byte(tx, faults):
    p = tx()
    with p.login() as c:
        c.send_pieces(parse("SELECT $1::text", "name") + describe("S", "name") + bind("name", "portal", ("abc",)) +
                      execute("portal") + close("S", "name") + SYNC)
        r = c.until_ready()
        assert r.types == "1tT2DC3Z" and r.rows == [("abc",)]


def test_no_round_trips(pooler, fake):
    """Seven named queries over a link that takes a second each way."""
    def script(peer):
        peer.read_startup()
        peer.welcome()
        while True:
            out = []
            while True:
                m = peer.recv()
                if m.type == b"X":
                    return
                out.append({b"P": msg(b"1"), b"B": msg(b"2"), b"D": msg(b"n"), b"C": msg(b"3"),
                            b"E": fakeserver.tag("SELECT 0"), b"S": fakeserver.ready()}.get(m.type, b""))
                if m.type == b"S":
                    break
            # The answers to whatever came meanwhile are late by the same second, not by one each.
            threading.Timer(1, peer.send, out).start()

    server = fake(script)
    p = pooler(databases={"db": "host=127.0.0.1 port=%d user=x" % server.port}, users={"u_trust": ""},
               pool_mode="transaction", default_pool_size=1, server_tls_sslmode="disable", server_check_query="")
    with p.login() as c:
        start = time.monotonic()
        c.send(b"".join(parse("SELECT %d" % i, "s%d" % i) + bind("s%d" % i) + execute() for i in range(7)) + SYNC)
        assert c.until_ready().types == "12C" * 7 + "Z"
        c.send(b"".join(bind("s%d" % i) + execute() for i in range(7)) + SYNC)
        assert c.until_ready().types == "2C" * 7 + "Z"
        assert time.monotonic() - start < 5


def test_answers_wait_for_a_message_in_pieces(pooler, fake):
    """An answer made here never lands inside a message of the server."""
    def script(peer):
        peer.read_startup()
        peer.welcome()
        peer.recv_type(b"S")
        peer.send(msg(b"1"), fakeserver.ready("T"))
        peer.recv_type(b"Q")
        whole = fakeserver.notice("x" * 5000) + fakeserver.tag("SELECT 0") + fakeserver.ready("T")
        peer.send(whole[:3000])
        time.sleep(0.3)
        peer.send(whole[3000:])
        peer.recv_type(b"Q")
        # And one that nobody asked for.
        whole = fakeserver.notice("y" * 5000)
        peer.send(fakeserver.tag("SELECT 0"), fakeserver.ready("T"), whole[:3000])
        time.sleep(0.5)
        peer.send(whole[3000:])
        peer.recv_type(b"Q")
        peer.send(fakeserver.tag("SELECT 0"), fakeserver.ready())
        peer.wait_gone()

    server = fake(script)
    p = pooler(databases={"db": "host=127.0.0.1 port=%d user=x" % server.port}, users={"u_trust": ""},
               pool_mode="transaction", default_pool_size=1, server_tls_sslmode="disable")
    with p.login() as c:
        c.send(parse("SELECT 1", "a"), SYNC)
        assert c.until_ready().types == "1Z"
        c.send(query("one"), close("S", "nobody"), parse("SELECT 1", "b"))
        assert [c.recv().type for _ in range(5)] == [b"N", b"C", b"Z", b"3", b"1"]
        c.send(query("two"))
        assert c.until_ready().types == "CZ"
        time.sleep(0.1)
        c.send(close("S", "b"))
        assert [c.recv().type for _ in range(2)] == [b"N", b"3"]
        assert c.query("three").types == "CZ"


def test_memory_comes_back(tx, monkeypatch):
    # A sanitizer keeps what was freed for a while.
    monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1")
    p = tx(max_prepared_statements=5)
    filler = "x" * 10000

    def crowd(round_):
        with p.login() as c:
            for i in range(500):
                c.send(parse("SELECT %d /* %d %s */" % (i, round_, filler), "s%d" % i))
            c.send(SYNC)
            assert c.until_ready().types == "1" * 500 + "Z"
        p.wait_pool(cl_active=0)
    crowd(0)
    crowd(1)
    before = env.rss_kb(p.process.pid)
    for i in range(2, 10):
        crowd(i)
    # Without any release it would be 40 MB more.
    assert env.rss_kb(p.process.pid) - before < 12000


# --- programs -----------------------------------------------------------------

@pytest.mark.parametrize("settings", [{}, {"max_prepared_statements": 1}, {"pkt_buf": 75}])
def test_pgbench(tx, settings):
    """pgbench waits for each Parse before it goes on, so a transaction over several commands would hold the servers."""
    p = tx(default_pool_size=2, **settings)
    script = os.path.join(p.dir, "script")
    with open(script, "w") as f:
        f.write("\\set a random(1, 1000)\nSELECT :a + 1;\nSELECT :a;\nSELECT :a * 2, 'text';\n")
    out = subprocess.run(["pgbench", "-h", p.host, "-p", str(p.port), "-U", "u_trust", "-n", "-M", "prepared", "-c", "20",
                          "-j", "2", "-t", "50", "-f", script, "db"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, timeout=env.PATIENCE)
    assert out.returncode == 0, out.stdout
    assert "actually processed: 1000/1000" in out.stdout and "number of failed transactions: 0" in out.stdout


def test_psycopg(tx, faults):
    p = tx(default_pool_size=2, max_prepared_statements=3)
    connections = [p.connect() for _ in range(3)]
    for threshold in (0, 1):
        for conn in connections:
            conn.prepare_threshold = threshold
        for i in range(30):
            conn = connections[i % 3]
            n = i % 7
            assert conn.execute("SELECT %%s::int + %d" % n, (i,)).fetchone() == (i + n,)
            with conn.transaction():
                assert conn.execute("SELECT %%s::text || '%d'" % n, ("t",)).fetchone() == ("t%d" % n,)
    for conn in connections:
        with conn.pipeline():
            cursors = [conn.execute("SELECT %%s::int * %d" % n, (n,)) for n in range(10)]
        assert [c.fetchone()[0] for c in cursors] == [n * n for n in range(10)]
        with pytest.raises(psycopg.errors.DivisionByZero):
            with conn.pipeline():
                conn.execute("SELECT %s::int", (1,))
                conn.execute("SELECT 1 / %s::int", (0,))
                conn.execute("SELECT 'dropped' || %s", ("x",))
        assert conn.execute("SELECT 'dropped' || %s", ("y",)).fetchone() == ("droppedy",)
        conn.close()
