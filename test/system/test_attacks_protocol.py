"""The pool's view of the protocol: attack rows 29-35 in their variants. The
plain cases are in test_protocol.py, test_cancel.py, test_pooling.py and
test_prepared.py."""
import random
import select
import ssl
import struct
import threading

import pytest
from harness import env, fakeserver, wire
from harness.assault import WAYS, attempt, enter, tls_settings
from harness.bystander import undisturbed
from harness.wire import FLUSH, SYNC, Closed, bind, close, copy_data, copy_fail, describe, execute, extended, parse, query

pytestmark = pytest.mark.ours

# How clients come, and how the pooler is set.
FIELDS = {
    "session": ("plain", dict(pool_mode="session")),
    "session-75-tls": ("tls", dict(pool_mode="session", pkt_buf=75, server_tls_sslmode="require")),
    "transaction": ("plain", dict(pool_mode="transaction")),
    "transaction-75": ("plain", dict(pool_mode="transaction", pkt_buf=75)),
    "transaction-tls": ("tls", dict(pool_mode="transaction", server_tls_sslmode="require")),
    "transaction-pieces": ("pieces", dict(pool_mode="transaction")),
    "untracked": ("plain", dict(pool_mode="transaction", max_prepared_statements=0)),
}


class Field:
    def __init__(self, p, way):
        self.p = p
        self.way = way

    def client(self, way=None, **how):
        c = enter(self.p, way or self.way, **how)
        try:
            return c.login("u_trust", "db")
        except BaseException:
            c.close()
            raise


@pytest.fixture
def make_field(pooler, pg, certs):
    def make(name, **settings):
        way, fixed = FIELDS[name]
        base = dict(databases={"db": pg.entry()}, users={"u_trust": ""}, default_pool_size=3,
                    server_tls_sslmode="disable", max_client_conn=500, **tls_settings(certs))
        return Field(pooler(**{**base, **fixed, **settings}), way)
    return make


@pytest.fixture(params=FIELDS)
def field(request, make_field):
    return make_field(request.param)


@pytest.fixture(scope="module", autouse=True)
def table(pg):
    pg.sql("DROP TABLE IF EXISTS attacked", "CREATE TABLE attacked (a int, b text)", "GRANT ALL ON attacked TO PUBLIC",
           db="db")


def next_is_mine(c, token):
    """The connection is in step again: it gets its own answer, and nothing else."""
    r = c.query("SELECT '%s'" % token)
    assert r.types == "TDCZ" and r.rows == [(token,)] and r.status == "I", (r.types, r.rows, r.errors)


# --- 29: COPY ---------------------------------------------------------------

IN = query("COPY attacked FROM STDIN")
BAD = copy_data(b"no number\tx\n")
GOOD = copy_data(b"1\tx\n")
DONE = wire.COPY_DONE
FAIL = copy_fail("enough")
EXT = parse("COPY attacked FROM STDIN") + bind() + execute()

# What is sent, and the answers: G is waited for before the rest goes.
COPIES = {
    "data-without-copy": (b"", GOOD + DONE + FAIL + GOOD * 3, ""),
    "done-twice": (IN, GOOD + DONE + DONE, "CZ"),
    "done-then-fail": (IN, GOOD + DONE + FAIL + DONE, "CZ"),
    "fail": (IN, GOOD + FAIL, "EZ"),
    "fail-twice": (IN, GOOD + FAIL + FAIL, "EZ"),
    "fail-then-done": (IN, FAIL + DONE + GOOD, "EZ"),
    "error-then-done": (IN, BAD + GOOD * 50 + DONE, "EZ"),
    "error-then-fail": (IN, BAD + GOOD * 50 + FAIL, "EZ"),
    "error-and-no-end": (IN, BAD, "EZ"),
    "error-data-and-no-end": (IN, BAD + GOOD * 20, "EZ"),
    "empty": (IN, DONE, "CZ"),
    "empty-data": (IN, copy_data(b"") * 3 + DONE, "CZ"),
    "flush-and-sync-inside": (IN, GOOD + FLUSH + SYNC + GOOD + DONE, "CZ"),
    "data-behind-the-end": (IN, GOOD + DONE + GOOD * 5, "CZ"),
    "extended": (EXT, GOOD + DONE + SYNC, "CZ"),
    "extended-fail": (EXT, GOOD + FAIL + SYNC, "EZ"),
    "extended-error": (EXT, BAD + GOOD * 20 + DONE + SYNC, "EZ"),
    "extended-error-no-done": (EXT, BAD + SYNC, "EZ"),
    "extended-done-twice": (EXT, GOOD + DONE + DONE + SYNC, "CZ"),
    "extended-sync-first": (EXT + SYNC, GOOD + DONE + SYNC, "CZ"),
}


@pytest.mark.parametrize("where", ["alone", "transaction"])
def test_row_29_copy(field, pg, where):
    """Whatever is said too late, twice or not at all, the answers stay in step and the server goes back."""
    with undisturbed(field.p, pg):
        with field.client() as c:
            for name, (first, rest, types) in COPIES.items():
                if where == "transaction":
                    assert c.query("BEGIN").types == "CZ"
                if first:
                    c.send(first)
                    kinds = b""
                    while kinds[-1:] != b"G":
                        kinds += c.recv().type
                        assert kinds[-1:] in b"12nG", (name, kinds)
                c.send(rest)
                if types:
                    assert c.until_ready().types == types, name
                if where == "transaction":
                    assert c.query("ROLLBACK").types == "CZ", name
                next_is_mine(c, name)
                # It is free again, though this client is still here.
                if field.p.settings["pool_mode"] != "session":
                    env.wait_for(lambda: not [r for r in field.p.show("CLIENTS") if r["database"] == "db" and r["link"]
                                              and r["port"] == str(c.sock.getsockname()[1])], name)


COPY_ENDS = [b"", GOOD, GOOD[:3], BAD, DONE, FAIL, FAIL[:4], GOOD + DONE, GOOD * 100]


def test_row_29_client_gone_in_copy(field, pg):
    """In the middle of a row, before and behind the end; by FIN and by reset."""
    pg.sql("TRUNCATE attacked", db="db")
    field.p.reload(default_pool_size=40)
    with undisturbed(field.p, pg):
        for i, end in enumerate(COPY_ENDS):
            for first in (IN, EXT):
                c = field.client()
                c.send(first)
                while c.recv().type != b"G":
                    pass
                c.send(end)
                if i % 2:
                    c.reset()
                else:
                    c.close()
        c = field.client()
        c.send(query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 10000)) TO STDOUT"))
        c.expect(b"H")
        c.close()
    # What was sent to its end may have been stored, nothing else.
    assert pg.sql("SELECT count(*) FROM attacked", db="db")[0][0] <= 2


# --- 30: cancel requests ----------------------------------------------------

def cancel(p, key, way="plain"):
    """Not one byte comes back."""
    with enter(p, way) as c:
        assert attempt(c, wire.cancel_request(key)) == []


def sleeping(pg, token):
    return pg.sql("SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%%%s%%'" % token)


def start_sleep(c, pg, token, seconds=60):
    c.send(query("SELECT pg_sleep(%s), '%s'" % (seconds, token)))
    env.wait_for(lambda: sleeping(pg, token), "the query to run")


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_row_30_every_way(make_field, pg, mode):
    f = make_field(mode)
    with undisturbed(f.p, pg), f.client() as c:
        for way in WAYS:
            start_sleep(c, pg, way)
            cancel(f.p, c.key, way)
            assert c.until_ready().errors[0].code == "57014"
            next_is_mine(c, "after")


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_row_30_wrong_keys(make_field, pg, mode):
    """One bit off is off; so are keys of nobody, of clients that are gone, and of other lengths."""
    f = make_field(mode)
    with undisturbed(f.p, pg), f.client() as c:
        gone = f.client()
        old = gone.key
        gone.close()
        start_sleep(c, pg, "wrong")
        keys = [bytes(b ^ (1 << (i % 8) if i // 8 == at else 0) for at, b in enumerate(c.key)) for i in range(0, 64, 5)]
        keys += [old, b"\0" * 8, b"\xff" * 8, c.key[:4] + b"\0\0\0\0", c.key[4:] + c.key[:4], c.key[::-1],
                 b"", c.key[:7], c.key[:4], c.key + b"\0", c.key + c.key, c.key + b"\0" * 28, b"k" * 256]
        for key in keys:
            cancel(f.p, key)
        # Behind the request, or half of it.
        with f.p.wire() as x:
            attempt(x, wire.cancel_request(b"\0" * 8), wire.cancel_request(c.key), wire.startup("u_trust", "db"))
        with f.p.wire() as x:
            x.send(wire.cancel_request(c.key)[:12])
        assert sleeping(pg, "wrong")
        cancel(f.p, c.key)
        assert c.until_ready().errors[0].code == "57014"


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_row_30_storm(make_field, pg, mode):
    """A hundred at once for one query, and for clients that are idle: one query ends, nothing else happens."""
    f = make_field(mode)
    with undisturbed(f.p, pg), f.client() as c:
        other = f.client() if mode == "transaction" else c
        start_sleep(c, pg, "storm")
        storm = [f.p.wire() for _ in range(100)]
        for i, x in enumerate(storm):
            x.send(wire.cancel_request(c.key if i % 3 else other.key))
        assert c.until_ready().errors[0].code == "57014"
        for x in storm:
            assert attempt(x) == []
            x.close()
        # All have ended, so nothing can come late any more.
        for i in range(20):
            next_is_mine(c, "after %d" % i)
        other.close()


def test_row_30_storm_against_working_clients(make_field, pg):
    """Cancels at random while short queries run: each client sees its own answer or its own cancellation."""
    f = make_field("transaction", default_pool_size=2)
    clients = [f.client() for _ in range(6)]
    faults, over = [], threading.Event()

    def work(c, me):
        try:
            for i in range(60):
                token = "%s %d" % (me, i)
                r = c.query("SELECT '%s', pg_sleep(0.001)" % token)
                if r.errors:
                    assert r.errors[0].code == "57014", r.errors
                else:
                    assert r.rows == [(token, "")], r.rows
        except Exception as e:
            faults.append(e)

    def shoot(seed):
        rnd = random.Random(seed)
        while not over.is_set():
            try:
                cancel(f.p, rnd.choice(clients[:3]).key)
            except Exception as e:
                faults.append(e)
                return

    with undisturbed(f.p, pg):
        # Those that nobody aims at may not see one single cancellation.
        for c in clients[3:]:
            c.query("SELECT 1")
        aimed = [threading.Thread(target=work, args=(c, "aimed")) for c in clients[:3]]
        spared = [threading.Thread(target=spared_work, args=(c, faults)) for c in clients[3:]]
        shooters = [threading.Thread(target=shoot, args=(s,)) for s in range(2)]
        for t in aimed + spared + shooters:
            t.start()
        for t in aimed + spared:
            t.join()
        over.set()
        for t in shooters:
            t.join()
        for c in clients:
            c.close()
    assert not faults, faults


def spared_work(c, faults):
    try:
        for i in range(60):
            next_is_mine(c, "spared %d" % i)
    except Exception as e:
        faults.append(e)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_row_30_late_cancel_meets_nobody_else(pooler, fake, mode):
    """The query ends by itself while its cancel is on the way. Until that is over the server serves nobody."""
    finish, end_cancel, cancel_came = threading.Event(), threading.Event(), threading.Event()

    def script(peer):
        if peer.read_startup() is None:
            cancel_came.set()
            end_cancel.wait(env.PATIENCE)
            return
        peer.welcome()
        while True:
            m = peer.recv()
            if m.type == b"X":
                return
            if m.type != b"Q":
                continue
            text = m.body[:-1].decode()
            if text == "SELECT slow":
                finish.wait(env.PATIENCE)
            peer.send(fakeserver.one_row("%d %s" % (peer.number, text)) if text.startswith("SELECT")
                      else fakeserver.tag("DISCARD ALL"), fakeserver.ready())
    p = pooler(databases={"db": fake(script).entry()}, users={"u_trust": ""}, pool_mode=mode, default_pool_size=1,
               server_tls_sslmode="disable")
    first, second = p.login(), p.login()
    first.send(query("SELECT slow"))
    p.wait_pool(sv_active=1)
    x = p.wire()
    x.send(wire.cancel_request(first.key))
    assert cancel_came.wait(env.PATIENCE)
    finish.set()
    assert first.until_ready().rows[0][0].endswith("SELECT slow")
    if mode == "session":
        first.close()
    second.send(query("SELECT second"))
    p.wait_pool(sv_being_canceled=1, sv_active=0)
    assert second.silent(0.1)
    end_cancel.set()
    assert second.until_ready().rows == [("1 SELECT second",)]
    assert attempt(x) == []
    p.wait_log("successfully sent cancel request")
    p.wait_pool(sv_being_canceled=0, sv_active_cancel=0, cl_active_cancel_req=0, cl_waiting_cancel_req=0)


def test_row_30_queued_cancel_of_a_query_that_ended(pooler, fake):
    """Beyond twice the pool size requests wait; when their query is over they are dropped, not sent."""
    finish, end = threading.Event(), threading.Event()
    sent = []

    def script(peer):
        if peer.read_startup() is None:
            sent.append(peer.cancel_key)
            end.wait(env.PATIENCE)
            return
        peer.welcome()
        m = peer.recv()
        finish.wait(env.PATIENCE)
        peer.send(fakeserver.one_row("done"), fakeserver.ready())
        peer.serve()
        assert m.type == b"Q"
    p = pooler(databases={"db": fake(script).entry()}, users={"u_trust": ""}, pool_mode="transaction",
               default_pool_size=1, server_tls_sslmode="disable")
    c = p.login()
    c.send(query("SELECT 1"))
    p.wait_pool(sv_active=1)
    xs = [p.wire() for _ in range(10)]
    for x in xs:
        x.send(wire.cancel_request(c.key))
    p.wait_pool(cl_active_cancel_req=1, cl_waiting_cancel_req=9)
    finish.set()
    assert c.until_ready().rows == [("done",)]
    p.wait_log("not sending cancel request for client that is now idle", 9)
    end.set()
    for x in xs:
        assert attempt(x) == []
    assert len(sent) == 1 and sent[0] == struct.pack("!II", 1001, 42)
    assert c.query("SELECT 2").types == "TDCZ"
    p.wait_pool(sv_being_canceled=0, sv_active_cancel=0, cl_active_cancel_req=0, cl_waiting_cancel_req=0)


def test_row_30_cancel_of_the_console_and_of_those_who_wait(make_field, pg):
    f = make_field("transaction", default_pool_size=2)
    with undisturbed(f.p, pg), f.p.console() as console, f.client() as holder:
        cancel(f.p, console.key)
        assert console.query("SHOW VERSION").status == "I"
        assert holder.query("BEGIN").status == "T"
        cancel(f.p, holder.key)
        assert holder.query("COMMIT").status == "I"


# --- 31: eviction under running batches -------------------------------------

@pytest.mark.parametrize("name, limit", [("transaction", 1), ("transaction", 2), ("transaction", 7),
                                         ("transaction-75", 2), ("transaction-tls", 1)])
def test_row_31_eviction_under_running_batches(make_field, pg, name, limit):
    """More statements in one batch than a server may keep, twice over, with errors between, and two who share it."""
    f = make_field(name, max_prepared_statements=limit, default_pool_size=2)
    with undisturbed(f.p, pg), f.client() as a, f.client() as b:
        for round_ in range(3):
            for c, who in ((a, "a"), (b, "b")):
                batch, want = b"", []
                for i in range(12):
                    if round_ == 0:
                        batch += parse("SELECT '%s %d', $1::text" % (who if i % 2 else "both", i), "s%d" % i)
                order = [(7 * i + round_) % 12 for i in range(24)]
                for i in order:
                    batch += bind("s%d" % i, "", ("v%d" % i,)) + describe() + execute()
                    want.append(("%s %d" % (who if i % 2 else "both", i), "v%d" % i))
                c.send(batch + SYNC)
                r = c.until_ready()
                assert not r.errors and r.rows == want, (r.errors, r.rows)
                # The same, broken in the middle: what was evicted meanwhile is prepared anew.
                c.send(bind("s3", "", ("x",)) + execute() + parse("SELECT 1/0") + bind() + execute()
                       + bind("s5", "", ("y",)) + execute() + close("S", "s5") + SYNC)
                r = c.until_ready()
                assert r.errors[0].code == "22012" and r.rows == [("%s 3" % who, "x")], (r.errors, r.rows)
                c.send(bind("s4", "", ("z",)) + execute() + SYNC)
                assert c.until_ready().rows == [("both 4", "z")]
        # A batch keeps what it needs; the next statement that comes sends the surplus away, on each server.
        assert a.query("BEGIN").status == b.query("BEGIN").status == "T"
        for c in (a, b):
            c.send(parse("SELECT 'last'", "last") + SYNC)
            assert c.until_ready().types == "1Z"
        assert max(int(r["prepared_statements"]) for r in f.p.show("SERVERS")) <= limit
        assert a.query("COMMIT").status == b.query("COMMIT").status == "I"


# --- 32: batches without end and ends without batch -------------------------

PIPELINES = {
    # Sent at once, and all types that come back.
    "query-in-batch": (parse("SELECT 1") + bind() + execute() + query("SELECT 2") + SYNC, "12DCTDCZZ"),
    "query-in-failed-batch": (parse("SELECT nonsense") + query("SELECT 2") + query("SELECT 3") + SYNC, "EZ"),
    "query-behind-describe": (parse("SELECT 1") + describe("S") + query("SELECT 2") + SYNC, "1tTTDCZZ"),
    "failing-query-in-batch": (parse("SELECT 1") + bind() + query("SELECT 1/0") + SYNC, "12EZZ"),
    "function-in-batch": (parse("SELECT 1") + wire.function_call(1317, "x") + SYNC, "1VZZ"),
    "syncs": (SYNC * 5, "ZZZZZ"),
    "flushes": (FLUSH * 50 + SYNC, "Z"),
    "flush-between-all": (parse("SELECT 1") + FLUSH + bind() + FLUSH + execute() + FLUSH + SYNC, "12DCZ"),
    "execute-of-nothing": (execute() + SYNC, "EZ"),
    "bind-of-nothing": (close("S") + bind() + SYNC, "3EZ"),
    "describe-of-nothing": (close("S") + describe("S") + SYNC, "3EZ"),
    "close-of-nothing": (close("S", "never") + close("P", "never") + SYNC, "33Z"),
    "many-statements": (query("SELECT 1; SELECT 2; SELECT 1/0; SELECT 3"), "TDCTDCEZ"),
    "errors-in-a-row": ((parse("SELECT nonsense") + bind() + execute() + SYNC) * 4 + query("x") * 3, "EZ" * 7),
    "half-in-transaction": (parse("BEGIN") + bind() + execute() + parse("ROLLBACK") + bind() + execute() + SYNC,
                            "12C12CZ"),
}


def test_row_32_pipelines(field, pg):
    with undisturbed(field.p, pg), field.client() as c:
        for name, (sent, types) in PIPELINES.items():
            c.send(sent)
            got = "".join(m.types for m in [c.until_ready() for _ in range(types.count("Z"))])
            assert got == types, name
            next_is_mine(c, name)


@pytest.mark.parametrize("name", ["session", "transaction", "transaction-75", "transaction-tls"])
def test_row_32_storms(make_field, pg, name):
    """Ten thousand messages in one go, of each sort."""
    f = make_field(name)
    n = 2500
    storms = {
        "syncs": (SYNC * 10000, ["Z"] * 10000),
        "flushes": (FLUSH * 10000 + SYNC, ["Z"]),
        "closes": (close("S", "never") * 10000 + SYNC, ["3" * 10000 + "Z"]),
        "batches": ((parse("SELECT 1") + bind() + execute() + SYNC) * n, ["12DCZ"] * n),
        "errors": ((parse("x") + SYNC) * n, ["EZ"] * n),
    }
    with undisturbed(f.p, pg, growth_kb=16384), f.client() as c:
        for what, (sent, want) in storms.items():
            c.send_while_reading(sent)
            for types in want:
                assert c.until_ready().types == types, what
            next_is_mine(c, what)


# --- 33: both write, nobody reads -------------------------------------------

def stuff(sock, data):
    """Write until nothing goes any more. How much went."""
    sock.setblocking(False)
    at = 0
    try:
        while at < len(data):
            try:
                at += sock.send(data[at:at + 65536])
            except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
                if not select.select([], [sock], [], 0.25)[1]:
                    break
    finally:
        sock.settimeout(env.PATIENCE)
    return at


@pytest.mark.parametrize("name", ["session", "session-75-tls", "transaction", "transaction-tls"])
def test_row_33_nobody_reads(make_field, pg, name):
    """Answers pile up while questions do: the attacker stands still, nobody else does, and nothing is lost."""
    n = 300
    f = make_field(name, tcp_socket_buffer=65536)
    piece = b"".join(query("SELECT repeat('x', 40000), '%d', '%s'" % (i, "y" * 30000)) for i in range(n))
    with undisturbed(f.p, pg) as bystander, f.client(rcvbuf=65536) as c:
        went = stuff(c.sock, piece)
        assert went < len(piece), "it was never held up"
        bystander.goes_on()
        rest = threading.Thread(target=lambda: c.sock.sendall(piece[went:])) if f.way == "plain" else None
        if rest is None:
            # One object of TLS may not be read and written by two threads: enough that what went is answered.
            whole = 0
            while True:
                size, = struct.unpack_from("!I", piece, whole + 1)
                if whole + 1 + size > went:
                    break
                whole += 1 + size
            n = piece[:whole].count(b"SELECT repeat")
        else:
            rest.start()
        for i in range(n):
            row = c.until_ready().rows[0]
            assert len(row[0]) == 40000 and row[1] == str(i)
        if rest:
            rest.join()
            next_is_mine(c, "after")


@pytest.mark.parametrize("name", ["session", "transaction", "transaction-tls"])
def test_row_33_stuck_and_gone(make_field, pg, name):
    f = make_field(name)
    piece = query("SELECT repeat('x', 100000) FROM generate_series(1, 300)") * 20 + query("SELECT '%s'" % ("y" * 9000)) * 500
    with undisturbed(f.p, pg) as bystander:
        for how in ("close", "reset"):
            c = f.client()
            stuff(c.sock, piece)
            bystander.goes_on()
            getattr(c, how)()


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_row_33_a_server_that_writes_and_does_not_read(pooler, fake, mode):
    """Its rows and the client's query stand against each other."""
    go = threading.Event()

    def script(peer):
        peer.read_startup()
        peer.welcome()
        if peer.number > 1:
            peer.serve()
            return
        peer.take(5)
        peer.send(fakeserver.row_description("a"), fakeserver.data_row("x" * 10000) * 2000)
        go.wait(env.PATIENCE)
        peer.wait_gone()
    p = pooler(databases={"db": fake(script).entry()}, users={"u_trust": ""}, pool_mode=mode, default_pool_size=2,
               server_tls_sslmode="disable")
    c = p.login()
    stuff(c.sock, query("SELECT " + "z" * (30 << 20)))
    with undisturbed_while(p, c, go):
        pass


class undisturbed_while:
    """The attacker is still there while the bystander comes and goes, and leaves at the end."""

    def __init__(self, p, attacker, go):
        self.p, self.attacker, self.go = p, attacker, go

    def __enter__(self):
        with self.p.login() as other:
            for _ in range(20):
                assert other.query("SELECT 1").types == "TDCZ"
        if env.SLOW == 1:
            assert env.rss_kb(self.p.process.pid) < 65536
        assert self.p.pool()["sv_active"] == 1

    def __exit__(self, *_):
        self.attacker.reset()
        self.go.set()
        self.p.wait_pool(cl_active=0, sv_active=0)


# --- 34: gone at every stage ------------------------------------------------

STAGES = {
    "login": b"", "half-header": b"Q\0\0", "header": b"Q\0\0\0\x20", "half-query": query("SELECT 12345")[:9],
    "query": query("SELECT pg_sleep(0.02)"), "big-answer": query("SELECT repeat('x', 3000000)"),
    "parse": parse("SELECT 1"), "named-parse": parse("SELECT 1", "s"), "half-parse": parse("SELECT 1", "s")[:8],
    "parse-flush": parse("SELECT 1", "s") + FLUSH, "bind": parse("SELECT 1") + bind(),
    "named-bind": parse("SELECT 1", "s") + bind("s"), "half-bind": parse("SELECT 1", "s") + bind("s")[:9],
    "execute": parse("SELECT pg_sleep(0.02)") + bind() + execute(), "batch": extended("SELECT 1") + SYNC,
    "named-batch": extended("SELECT 1", (), "t") + SYNC, "failed-batch": parse("nonsense") + bind() + execute(),
    "transaction": query("BEGIN") + query("INSERT INTO attacked VALUES (34)"),
    "failed-transaction": query("BEGIN") + query("INSERT INTO attacked VALUES (34)") + query("SELECT 1/0"),
    "extended-transaction": extended("BEGIN") + extended("INSERT INTO attacked VALUES (34)") + SYNC,
    "close": parse("SELECT 1", "s") + close("S", "s"), "terminate": wire.TERMINATE, "sync": SYNC, "flush": FLUSH,
    "terminate-in-transaction": query("BEGIN") + query("INSERT INTO attacked VALUES (34)") + wire.TERMINATE,
    "temp-table": query("BEGIN") + query("CREATE TEMP TABLE t34 (a int)"),
    "lock": query("BEGIN") + query("SELECT pg_advisory_xact_lock(34)"),
    "cursor": query("BEGIN") + query("DECLARE c CURSOR FOR SELECT 1"),
}


@pytest.mark.parametrize("how", ["close", "reset"])
def test_row_34_gone_at_every_stage(field, pg, how):
    """At once, and after the first answer."""
    # A reset is noticed within a second at the latest, so there are servers for all of them.
    field.p.reload(default_pool_size=40)
    with undisturbed(field.p, pg):
        for i, sent in enumerate(STAGES.values()):
            c = field.client("plain" if field.way == "pieces" else None)
            try:
                c.send(sent)
                if i % 2 and sent and sent[-5:] != wire.TERMINATE and sent[:1] == b"Q" and len(sent) > 10:
                    c.recv()
            except Closed:
                pass
            getattr(c, how)()
    assert pg.sql("SELECT count(*) FROM attacked WHERE a = 34", db="db") == [(0,)]


def test_row_34_gone_while_queued(make_field, pg):
    """Those that wait for a server, and for the greeting: their places are taken by nobody, and their wishes die."""
    f = make_field("transaction", default_pool_size=1)
    with f.client() as holder:
        assert holder.query("BEGIN").status == "T"
        waiting = []
        for i, sent in enumerate((query("INSERT INTO attacked VALUES (35)"), parse("SELECT 1", "s") + bind("s"),
                                  extended("SELECT 1") + SYNC, query("BEGIN"), FLUSH + SYNC)):
            c = f.client()
            c.send(sent)
            f.p.wait_pool(cl_waiting=i + 1)
            waiting.append(c)
        for i, c in enumerate(waiting):
            if i % 2:
                c.reset()
            else:
                c.close()
        last = f.client()
        last.send(query("SELECT 'last'"))
        assert holder.query("COMMIT").status == "I"
        assert last.until_ready().rows == [("last",)]
        last.close()
        next_is_mine(holder, "holder")
    f.p.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)


# --- 35: answers to those who asked -----------------------------------------

class Chaos:
    """A client that does what comes to its mind; whatever it asks for carries a word of its own."""

    def __init__(self, field, me, seed, rounds):
        self.field, self.me, self.rnd, self.rounds = field, me, random.Random(seed), rounds
        self.c, self.fault, self.n, self.done = None, None, 0, 0

    def word(self):
        self.n += 1
        return "%s-%d" % (self.me, self.n)

    def answer(self, words):
        r = self.c.until_ready()
        assert [row[0] for row in r.rows] == words and not r.errors, (words, r.rows, r.errors)

    def simple(self):
        w = self.word()
        self.c.send(query("SELECT '%s'" % w))
        self.answer([w])

    def several(self):
        words = [self.word() for _ in range(self.rnd.randint(2, 6))]
        self.c.send(b"".join(query("SELECT '%s'" % w) for w in words))
        for w in words:
            self.answer([w])

    def pipelined(self):
        words = [self.word() for _ in range(self.rnd.randint(2, 6))]
        self.c.send(b"".join(extended("SELECT $1::text", (w,)) for w in words) + SYNC)
        self.answer(words)

    def prepared(self):
        words = [self.word() for _ in range(3)]
        name = self.word()
        text = self.rnd.choice(["SELECT $1::text", "SELECT $1::text AS other", "SELECT $1::text, '%s'" % self.me])
        self.c.send(parse(text, name) + b"".join(bind(name, "", (w,)) + execute() for w in words) + SYNC
                    + close("S", name) + SYNC)
        self.answer(words)
        self.answer([])

    def transaction(self):
        w = self.word()
        for sql in ("BEGIN", "SET LOCAL work_mem = '1MB'", "SELECT '%s'" % w, "COMMIT"):
            r = self.c.query(sql)
            assert not r.errors and (not r.rows or r.rows == [(w,)]), (r.rows, r.errors)

    def failing(self):
        w = self.word()
        self.c.send(parse("SELECT '%s'" % w) + bind() + execute() + parse("SELECT nonsense") + bind() + execute() + SYNC
                    + query("SELECT 1/0"))
        r = self.c.until_ready()
        assert r.rows == [(w,)] and r.errors[0].code == "42703", (r.rows, r.errors)
        assert self.c.until_ready().errors[0].code == "22012"

    def large(self):
        w, size = self.word(), self.rnd.choice([1000, 70000, 300000])
        r = self.c.query("SELECT '%s' || repeat('%s', %d)" % (w, self.me[0], size))
        assert r.rows == [(w + self.me[0] * size,)]

    def copied(self):
        w = self.word()
        r = self.c.query("COPY (SELECT '%s') TO STDOUT" % w)
        assert [m.body for m in r.messages if m.type == b"d"] == [w.encode() + b"\n"]

    def aborted(self):
        """Gone with answers on the way."""
        w = self.word()
        self.c.send(self.rnd.choice([query("SELECT '%s', pg_sleep(0.002)" % w), parse("SELECT '%s'" % w, "n") + FLUSH,
                                     query("SELECT repeat('%s', 20000)" % w), extended("SELECT '%s'" % w),
                                     query("BEGIN") + query("SELECT '%s'" % w)]))
        # A reset may hold a server for a second.
        self.rnd.choice([self.c.close, self.c.close, self.c.close, self.c.reset])()
        self.c = None

    def canceled(self):
        """Cancels itself, in time or too late; its next words are its own in any case."""
        w = self.word()
        self.c.send(query("SELECT '%s', pg_sleep(0.003)" % w))
        cancel(self.field.p, self.c.key)
        r = self.c.until_ready()
        assert (r.errors and r.errors[0].code == "57014") or r.rows[0][0] == w, (r.rows, r.errors)

    def run(self):
        try:
            for _ in range(self.rounds):
                if self.c is None:
                    self.c = self.field.client()
                act = self.rnd.choices([self.simple, self.several, self.pipelined, self.prepared, self.transaction,
                                        self.failing, self.large, self.copied, self.aborted, self.canceled],
                                       [4, 3, 4, 4, 2, 2, 1, 2, 2, 2])[0]
                act()
                self.done += 1
        except Exception as e:
            self.fault = "%s: %r" % (self.me, e)
        finally:
            if self.c:
                self.c.close()


@pytest.mark.parametrize("name", ["transaction", "transaction-75", "transaction-tls", "untracked"])
def test_row_35_answers_reach_those_who_asked(make_field, pg, name):
    f = make_field(name, default_pool_size=6, max_prepared_statements=0 if name == "untracked" else 5)
    crowd = [Chaos(f, "%s%d" % (chr(97 + i), i), 1000 + i, 30) for i in range(10)]
    with undisturbed(f.p, pg, growth_kb=24576):
        threads = [threading.Thread(target=x.run) for x in crowd]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not [x.fault for x in crowd if x.fault], [x.fault for x in crowd if x.fault]
        assert sum(x.done for x in crowd) == 300
