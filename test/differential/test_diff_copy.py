"""COPY in every shape, and clients that leave in the middle."""
from harness import fakeserver, wire
from harness.wire import COPY_DONE, FLUSH, SYNC, bind, copy_data, copy_fail, describe, execute, extended, parse, query
from play import Scenes

setups = {"plain": dict(auth_type="trust")}
scenes = Scenes("copy", setups)
ROWS = copy_data(b"1\tone\n") + copy_data(b"2\ttwo\n")
BAD = copy_data(b"nonsense\n")


def modes(*which, **more):
    return {m: {"entry": {"pool_mode": m, "pool_size": 1}, **more}
            for m in which or ("session", "transaction", "statement")}


def test_copy(same):
    same()


def check(c, table):
    """The connection still works, and this is what has arrived."""
    if not c.over:
        c.query("SELECT * FROM %s ORDER BY a" % table)


# --- out ----------------------------------------------------------------------------

@scenes(each=modes())
def out(d):
    c = d.login()
    c.query("COPY (SELECT generate_series(1, 3)) TO STDOUT")
    c.query("COPY (SELECT 1 WHERE false) TO STDOUT WITH CSV HEADER")
    c.query("COPY (SELECT repeat('x', 3000) FROM generate_series(1, 50)) TO STDOUT")
    c.query("SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT 3")
    c.run(extended("COPY (SELECT 4) TO STDOUT"), SYNC)
    c.query("SELECT 1")


@scenes(each=modes())
def out_with_error(d):
    c = d.login()
    c.query("COPY (SELECT 1/(3 - i) FROM generate_series(1, 5) i) TO STDOUT")
    c.run(extended("COPY (SELECT 1/(3 - i) FROM generate_series(1, 5) i) TO STDOUT"), SYNC)
    c.query("SELECT 1")


@scenes(each=modes("session", "transaction"))
def out_in_a_transaction(d):
    c = d.login()
    c.query("BEGIN")
    c.query("COPY (SELECT 1) TO STDOUT")
    c.query("COMMIT")


@scenes(each=modes("session", "transaction"))
def out_binary(d):
    d.login().query("COPY (SELECT 1, 'a') TO STDOUT BINARY")


# --- in -----------------------------------------------------------------------------

IN = {
    "rows": (ROWS, COPY_DONE),
    "nothing": (COPY_DONE,),
    "rows-in-pieces": (copy_data(b"1\to"), copy_data(b"ne\n2\t"), copy_data(b"two\n"), COPY_DONE),
    "empty-data": (copy_data(b""), ROWS, copy_data(b""), COPY_DONE),
    "end-marker": (ROWS, copy_data(b"\\.\n"), COPY_DONE),
    "large": (copy_data(b"1\t" + b"x" * 100000 + b"\n"), COPY_DONE),
    "fail": (ROWS, copy_fail("changed my mind")),
    "fail-at-once": (copy_fail(""),),
    "bad-row": (ROWS, BAD, COPY_DONE),
    "bad-row-then-fail": (BAD, copy_fail("too late")),
    "bad-row-then-rows": (BAD, ROWS * 20, COPY_DONE),
    "flush-and-sync-inside": (ROWS, FLUSH, SYNC, ROWS[:12], COPY_DONE),
    "query-inside": (ROWS, query("SELECT 1")),
    "parse-inside": (ROWS, parse("SELECT 1")),
    "unknown-fail-text": (wire.msg(b"f", b"no nul"),),
}


@scenes(each={"%s:%s" % (k, m): {"parts": v, "entry": {"pool_mode": m, "pool_size": 1}}
              for k, v in IN.items() for m in ("session", "transaction")})
def simple_in(d, parts):
    table = d.table()
    c = d.login()
    c.send(query("COPY %s FROM STDIN" % table)).until(b"G")
    c.send(*parts)
    c.ready()
    check(c, table)


@scenes(each={"%s:%s" % (k, m): {"parts": v, "entry": {"pool_mode": m, "pool_size": 1}}
              for k, v in IN.items() for m in ("session", "transaction") if "inside" not in k})
def extended_in(d, parts):
    table = d.table()
    c = d.login()
    c.send(extended("COPY %s FROM STDIN" % table), FLUSH).until(b"G")
    c.send(*parts, SYNC)
    c.ready()
    check(c, table)


@scenes(each={"%s:%s" % (k, m): {"parts": v, "entry": {"pool_mode": m, "pool_size": 1}}
              for k, v in IN.items() for m in ("session", "transaction") if "inside" not in k})
def in_sent_ahead(d, parts):
    """As drivers that pipeline do, without waiting for CopyInResponse."""
    table = d.table()
    c = d.login()
    c.send(query("COPY %s FROM STDIN" % table), *parts)
    c.ready()
    check(c, table)


@scenes(each={"%s:%s" % (k, m): {"parts": v, "entry": {"pool_mode": m, "pool_size": 1}}
              for k, v in IN.items() for m in ("session", "transaction") if "inside" not in k})
def extended_in_sent_ahead(d, parts):
    table = d.table()
    c = d.login()
    c.send(parse("COPY %s FROM STDIN" % table), bind(), describe(), execute(), SYNC)
    c.send(*parts, SYNC)
    c.ready()  # the server drops what Syncs come during COPY
    check(c, table)


@scenes(each=modes())
def error_before_copy_starts(d):
    c = d.login()
    c.query("COPY no_such_table FROM STDIN")
    c.send(ROWS, COPY_DONE)
    c.query("SELECT 1")


@scenes(each=modes("session", "transaction"))
def late_copy_done(d):
    """The server has given up before the client says that it is done."""
    table = d.table()
    c, other = d.login(), d.login()
    c.send(query("COPY %s FROM STDIN" % table)).until(b"G")
    c.send(BAD).send(copy_data(b"x" * 8192)).send(copy_data(b"\nmore\n"))
    c.ready()
    c.send(ROWS, COPY_DONE)
    c.query("SELECT 1")
    if d.scene.entry["pool_mode"] == "session":
        c.leave()
    other.query("SELECT 2")
    check(other, table)


@scenes(each=modes("session", "transaction"))
def in_a_transaction(d):
    table = d.table()
    c = d.login()
    c.query("BEGIN")
    c.send(query("COPY %s FROM STDIN" % table)).until(b"G")
    c.run(ROWS, COPY_DONE)
    c.query("SELECT count(*) FROM " + table)
    c.send(query("COPY %s FROM STDIN" % table)).until(b"G")
    c.run(BAD, COPY_DONE)
    c.query("SELECT 1")
    c.query("ROLLBACK")
    check(c, table)


@scenes(each=modes("session", "transaction"))
def two_copies_in_a_query(d):
    table = d.table()
    c = d.login()
    c.send(query("COPY {0} FROM STDIN; COPY {0} FROM STDIN; SELECT 1".format(table))).until(b"G")
    c.send(ROWS, COPY_DONE).until(b"G")
    c.run(ROWS, COPY_DONE)
    check(c, table)


@scenes(each=modes())
def constraint_fails_at_the_end(d):
    table = d.table("a int PRIMARY KEY, b text")
    c = d.login()
    c.send(query("COPY %s FROM STDIN" % table)).until(b"G")
    c.run(ROWS, ROWS, COPY_DONE)
    check(c, table)


# --- leaving ------------------------------------------------------------------------

@scenes(each={**modes("session", "transaction", how="vanish"),
              **{m + "-terminate": v for m, v in modes("session", "transaction", how="leave").items()}})
def leaves_in_mid_copy(d, how):
    table = d.table()
    c, other = d.login(), d.login()
    c.send(query("COPY %s FROM STDIN" % table)).until(b"G")
    c.send(ROWS)
    getattr(c, how)()
    check(other, table)


@scenes(each=modes("session", "transaction"))
def leaves_in_mid_copy_out(d):
    c, other = d.login(), d.login()
    c.send(query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT")).until(b"H")
    c.vanish()
    other.query("SELECT 'still works'")


# --- a server with a mind of its own -----------------------------------------------

def copy_in_response():
    return wire.msg(b"G", b"\0\0\1\0\0")


def dies_in_copy(peer):
    peer.read_startup()
    peer.welcome()
    peer.recv_type(b"Q")
    peer.send(copy_in_response())
    peer.recv_type(b"d")


def errors_in_copy(peer):
    peer.read_startup()
    peer.welcome()
    peer.recv_type(b"Q")
    peer.send(copy_in_response())
    peer.recv_type(b"d")
    peer.send(fakeserver.error("no more room", "53100"), fakeserver.ready())
    peer.serve()


@scenes(fake=dies_in_copy)
def server_dies_in_copy(d):
    c = d.login()
    c.send(query("COPY x FROM STDIN")).until(b"G")
    c.send(ROWS)
    c.end()


@scenes(fake=errors_in_copy, each=modes("session", "transaction"))
def server_gives_up_in_copy(d):
    c = d.login()
    c.send(query("COPY x FROM STDIN")).until(b"G")
    c.send(copy_data(b"x")).until(b"Z")
    c.send(copy_data(b"y"), COPY_DONE)
    c.query("SELECT 1")
