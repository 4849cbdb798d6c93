"""COPY in all combinations, each held against PostgreSQL itself: behaviour specification, section 21.

What a client hears through the pooler is what it hears without; afterwards its server is free for others.
"""
import pytest
from harness import wire
from harness.wire import COPY_DONE, FLUSH, SYNC, Wire, bind, copy_data, copy_fail, describe, execute, parse, query

pytestmark = pytest.mark.ours

ROWS = copy_data(b"1\n") + copy_data(b"2\n3\n")
BAD = copy_data(b"not a number\n")

# What the client sends behind COPY; WAIT: it reads until the server has given up, or is ready.
WAIT = None
COURSES = {
    "rows": [ROWS, COPY_DONE], "nothing": [COPY_DONE], "fail": [ROWS, copy_fail("no more")],
    "bad row, then the end": [ROWS, BAD, COPY_DONE],
    "bad row, then rows and the end": [BAD, ROWS * 50, COPY_DONE],
    "bad row, noticed, then the end": [BAD, copy_data(b"x" * 70000), WAIT, COPY_DONE],
    "bad row, noticed, then rows and the end": [BAD, copy_data(b"x" * 70000), WAIT, ROWS * 50, COPY_DONE],
    "bad row, noticed, then failure": [BAD, copy_data(b"x" * 70000), WAIT, copy_fail("too late")],
    "bad row, noticed, and not a word": [BAD, copy_data(b"x" * 70000), WAIT],
    "constraint at the end": [copy_data(b"1\n1\n"), COPY_DONE],
    "end marker": [ROWS, copy_data(b"\\.\n"), COPY_DONE],
}


def said(c, upto):
    """(type, code or body) up to a message of one of these types."""
    out = []
    while True:
        m = c.recv()
        if m.type not in b"SN":
            out.append((m.type, wire.fields_of(m.body)["C"] if m.type == b"E" else m.body))
        if m.type in upto:
            return out


def play(c, how, course, pipelined):
    """One COPY FROM STDIN; returns all that was said."""
    heard = []
    if how == "prepared":
        c.send(parse("COPY copies FROM STDIN", "stmt"), describe("S", "stmt"), SYNC)
        heard += said(c, b"Z")
    start = {"simple": query("COPY copies FROM STDIN"),
             "extended": parse("COPY copies FROM STDIN") + bind() + describe() + execute(),
             "prepared": bind("stmt") + execute()}[how]
    end = b"" if how == "simple" else SYNC
    if pipelined:
        c.send(start, *[part for part in course if part], end)
    else:
        c.send(start, FLUSH if end else b"")
        heard += said(c, b"GE")
        for at, part in enumerate(course):
            if part is not WAIT:
                c.send(part)
                continue
            heard += said(c, b"E")
            if how == "simple":
                heard += said(c, b"Z")
        c.send(end)
    if heard[-1:] != [(b"Z", b"I")] and heard[-1:] != [(b"Z", b"E")] or how != "simple":
        heard += said(c, b"Z")
    if how == "prepared":
        c.send(wire.close("S", "stmt"), SYNC)
        heard += said(c, b"Z")
    return heard


def prepare_table(pg):
    for db in ("db", "db2"):
        pg.sql("DROP TABLE IF EXISTS copies", "CREATE TABLE copies (a int UNIQUE)", "GRANT ALL ON copies TO PUBLIC", db=db)


@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("how", ["simple", "extended", "prepared"])
def test_copy_in_is_as_without_us(pooler, pg, how, mode):
    p = pooler(databases={"db": pg.entry(pool_size=1)}, users={"u_trust": ""}, pool_mode=mode, server_tls_sslmode="disable")
    prepare_table(pg)
    with Wire("127.0.0.1", pg.port) as direct, p.wire() as c, p.wire() as other:
        direct.login("u_trust", "db2")
        c.login("u_trust", "db")
        if mode == "transaction":
            other.login("u_trust", "db")
        for in_transaction in (False, True):
            for name, course in COURSES.items():
                for pipelined in (False, True) if WAIT not in course else (False,):
                    heard = []
                    for x in (direct, c):
                        if in_transaction:
                            x.query("BEGIN")
                        heard.append(play(x, how, course, pipelined))
                        if in_transaction:
                            heard[-1].append(x.query("SELECT count(*) FROM copies").types)
                            x.query("ROLLBACK")
                        heard[-1].append(x.value("SELECT count(*), sum(a) FROM copies"))
                        x.query("TRUNCATE copies")
                    assert heard[0] == heard[1], (name, in_transaction, pipelined)
                    # Free, and nothing of it is left for the next one.
                    if mode == "transaction":
                        assert other.query("SELECT 'next'").types == "TDCZ"


def test_the_last_of_a_copy_frees_the_server(pooler, pg):
    """A client that says no word behind the end of its failed COPY holds nothing either."""
    p = pooler(databases={"db": pg.entry(pool_size=1)}, users={"u_trust": ""}, pool_mode="transaction")
    prepare_table(pg)
    with p.login() as c, p.login() as other:
        for end in (COPY_DONE, copy_fail("x")):
            c.send(query("COPY copies FROM STDIN"), BAD)
            said(c, b"Z")
            other.send(query("SELECT 'other'"))
            p.wait_pool(cl_waiting=1, sv_active=1)
            c.send(ROWS)
            assert other.silent(0.2)
            c.send(end)
            assert other.until_ready().value() == "other"
            p.wait_pool(cl_waiting=0, sv_active=0, sv_idle=1)
        # Copy data of somebody who has no server goes nowhere.
        c.send(ROWS, COPY_DONE, copy_fail("x"))
        assert c.silent(0.2)
        p.wait_pool(sv_active=0, sv_idle=1)
        assert c.value("SELECT count(*) FROM copies") == "0"


OUT = ["COPY (SELECT generate_series(1, 3)) TO STDOUT", "COPY (SELECT 1 WHERE false) TO STDOUT",
       "COPY (SELECT 1/(3 - g) FROM generate_series(1, 5) g) TO STDOUT", "COPY (SELECT repeat('x', 100000)) TO STDOUT"]


@pytest.mark.parametrize("how", ["simple", "extended", "prepared"])
def test_copy_out_is_as_without_us(pooler, pg, how):
    p = pooler(databases={"db": pg.entry(pool_size=1)}, users={"u_trust": ""}, pool_mode="transaction")
    with Wire("127.0.0.1", pg.port) as direct, p.login() as c, p.login() as other:
        direct.login("u_trust", "db")
        for n, sql in enumerate(OUT * 2):
            heard = []
            for x in (direct, c):
                if n >= len(OUT):
                    x.query("BEGIN")
                if how == "simple":
                    x.send(query(sql))
                elif how == "extended":
                    x.send(parse(sql), bind(), describe(), execute(), SYNC)
                else:
                    x.send(parse(sql, "s%d" % n), bind("s%d" % n), execute(), SYNC, wire.close("S", "s%d" % n), SYNC)
                heard.append(said(x, b"Z") + (said(x, b"Z") if how == "prepared" else []))
                if n >= len(OUT):
                    x.query("COMMIT")
            assert heard[0] == heard[1]
            assert other.query("SELECT 'next'").types == "TDCZ"
