"""Online restart with PgBouncer, or an older version of ours, on one side: by the columns of SHOW FDS alone."""
import os
import socket
import struct
import time

import psycopg
import pytest
from harness import env, wire
from harness.oldprocess import OldProcess, fact
from harness.pooler import Pooler
from harness.wallet import ALICE
from harness.wire import SYNC, bind, execute, parse, query

pytestmark = pytest.mark.ours


@pytest.fixture
def debian(pooler, pg, scratch, workers):
    """Debian's PgBouncer; restart() then makes it ours."""
    def make(**settings):
        p = pooler(**{"oracle": True, "databases": {"db": pg.entry(), "other": pg.entry("db2")},
                      "users": {"u_trust": ""}, "pool_mode": "transaction", "server_tls_sslmode": "disable", **settings})
        make_ours(p, scratch, workers)
        return p
    return make


def make_ours(p, scratch, workers):
    p.oracle = False
    p.binary = Pooler.pick_binary(scratch, oracle=False)
    p.settings["worker_threads"] = workers


def clients(p):
    return [r for r in p.show("CLIENTS") if r["database"] != "pgbouncer"]


def test_a_drop_in(debian):
    """The binary is swapped and -R is said: clients, their parameters, and open transactions go on."""
    p = debian(pidfile="pid", default_pool_size=2)
    with p.login(DateStyle="German, DMY") as busy, p.login(DateStyle="SQL, DMY") as idle, \
            p.login(database="other", host=p.dir) as unix:
        unix.value("SELECT 1")
        idle.value("SELECT 1")
        busy.query("BEGIN")
        pid = busy.pid()
        p.restart()
        p.wait_log("ERROR invalid command 'SUSPEND HANDOVER;?', use SHOW HELP;")
        p.wait_log(r"took over 3 clients and \d servers, 0 connections are dropped")
        assert int(open(os.path.join(p.dir, "pid")).read()) == p.process.pid
        assert busy.pid() == pid and busy.value("SHOW DateStyle") == "German, DMY"
        assert idle.value("SHOW DateStyle") == "SQL, DMY"
        assert unix.value("SELECT current_database()") == "db2"
        assert busy.query("COMMIT").status == "I"
        assert busy.value("SHOW DateStyle") == "German, DMY" and idle.value("SHOW DateStyle") == "SQL, DMY"
        # What the columns do not tell of a server is not risked: it serves no second client.
        assert busy.pid() != pid
        assert {r["user"] for r in clients(p)} == {"u_trust"}
        with p.login(application_name="late", IntervalStyle="iso_8601") as late:
            assert late.value("SHOW application_name") == "late" and late.value("SHOW IntervalStyle") == "iso_8601"
        assert idle.value("SHOW IntervalStyle") == "postgres"
        # From here on everything is told.
        busy.query("BEGIN")
        pid = busy.pid()
        p.restart()
        assert busy.pid() == pid and busy.query("COMMIT").status == "I" and busy.pid() == pid


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_running_query(debian, pg, mode):
    p = debian(pool_mode=mode)
    with psycopg.connect(pg.conninfo("db"), autocommit=True) as lock, p.login() as c:
        lock.execute("SELECT pg_advisory_lock(4712)")
        c.send(query("SELECT pg_advisory_xact_lock(4712)"))
        env.wait_for(lambda: pg.backends("db", where="wait_event = 'advisory'"), "the query to run")
        p.restart()
        lock.execute("SELECT pg_advisory_unlock(4712)")
        r = c.until_ready()
        assert len(r.rows) == 1 and r.status == "I"
        assert c.value("SELECT 2") == "2"


def test_a_cancel_key(debian, pg):
    p = debian()
    with p.login() as c:
        c.send(query("SELECT pg_sleep(60)"))
        env.wait_for(lambda: pg.backends("db", where="state = 'active' AND query = 'SELECT pg_sleep(60)'"),
                     "the query to run")
        p.restart()
        with p.wire() as w:
            w.send(wire.cancel_request(c.key))
            w.expect_closed()
        assert c.until_ready().errors[0].code == "57014"


def test_scram_keys(debian, pg):
    p = debian(auth_type="scram-sha-256", users={"u_scram": pg.secret("u_scram")})
    with p.login("u_scram", secret="u_scram_pw") as c:
        assert c.value("SELECT current_user") == "u_scram"
        p.restart()
        assert c.value("SELECT current_user") == "u_scram"


def test_a_user_of_auth_query(debian):
    p = debian(auth_type="plain", auth_user="postgres", users={"postgres": ""},
               auth_query="SELECT rolname::text, rolname || '_pw' FROM pg_authid WHERE rolname = $1")
    with p.login("u_plain", secret="u_plain_pw") as c:
        assert c.value("SELECT current_user") == "u_plain"
        p.restart()
        assert c.value("SELECT current_user") == "u_plain"
        assert "u_plain" in [r["name"] for r in p.show("USERS")]


def test_statements_prepared_from_now_on(debian):
    p = debian()
    with p.login() as c:
        c.value("SELECT 1")
        p.restart()
        c.send(parse("SELECT $1::int + 1", "plus"), bind("plus", "", ("1",)), execute(), SYNC)
        assert c.until_ready().rows == [("2",)]
        p.restart()
        c.send(bind("plus", "", ("2",)), execute(), SYNC)
        assert c.until_ready().rows == [("3",)]


def test_refused_while_a_database_is_paused(debian):
    p = debian()
    with p.login() as c, p.console() as admin:
        assert admin.query("PAUSE other").tags == ["PAUSE"]
        assert p.successor().wait(env.PATIENCE) == 1
        p.wait_log("ERROR old bouncer sent: ERROR: cannot suspend with paused databases")
        assert c.value("SELECT 1") == "1"
        admin.query("RESUME other")
    p.restart()


def pair():
    """Both ends of a TCP connection: a stranger's, and what the old process accepted."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stranger = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    stranger.settimeout(env.PATIENCE)
    return stranger, accepted


def heard(stranger, wanted=None):
    """All that comes, up to these words or the end."""
    data = b""
    while wanted is None or wanted not in data:
        try:
            got = stranger.recv(1000)
        except ConnectionResetError:
            got = b""
        if not got:
            break
        data += got
    return data


def client_row(number, **more):
    return dict(task="client", fd=number, user="u_trust", database="db", addr="127.0.0.1", client_encoding="UTF8",
                std_strings="on", datestyle="ISO, MDY", timezone="Etc/UTC", **more)


def take_over(p, rows, **how):
    with OldProcess(p, rows, **how) as old:
        p.process = p.successor()
        env.wait_for(p.answers, lambda: "the takeover:\n" + p.log()[-3000:])
    return old


def test_the_dialogue_with_a_stranger(pooler, pg):
    """Only what PgBouncer knows is asked, after one try."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction", start=False)
    stranger, accepted = pair()
    old = take_over(p, [(accepted, client_row(7, cancel=0x1122334455667788))])
    assert old.commands == ["SUSPEND HANDOVER;", "SUSPEND;", "SHOW FDS;", "SHUTDOWN;"]
    with stranger:
        stranger.sendall(query("SELECT 'served'"))
        assert b"served" in heard(stranger, b"served")


@pytest.mark.parametrize("key", [0, 0x8bae39c700000000], ids=["scram", "md5"])
def test_row_13_who_only_looks_logged_in(pooler, pg, key):
    """In the middle of a log-in the row has the name that is claimed, and where the key would be nothing or a salt."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction", start=False)
    stranger, accepted = pair()
    with stranger:
        stranger.sendall(query("SELECT 'served'"))
        take_over(p, [(accepted, client_row(7, cancel=key))])
        assert heard(stranger) == b""
    p.wait_log("closing because: bad packet")
    assert not clients(p)


def test_a_server_without_a_key_is_not_used(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, start=False)
    stranger, accepted = pair()
    with stranger:
        take_over(p, [(accepted, dict(client_row(9), task="server", client_encoding=None))])
        assert heard(stranger) in (b"", wire.TERMINATE)
    assert not p.show("SERVERS")


@pytest.mark.parametrize("link", [7, 9, 12])
def test_a_link_that_leads_nowhere(pooler, pg, link):
    """To itself, to one who knows nothing of it, to nobody: closed, and nobody else is harmed."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction", start=False)
    bad, good = pair(), pair()
    take_over(p, [(bad[1], client_row(7, cancel=5, link=link)), (good[1], client_row(9, cancel=6))])
    with bad[0], good[0]:
        assert b"the other side of the connection was lost in the takeover" in heard(bad[0])
        good[0].sendall(query("SELECT 'served'"))
        assert b"served" in heard(good[0], b"served")


def test_facts_of_another_version(pooler, pg):
    """Tags that are not known are passed over, what is missing is as it is by default, what is broken costs one client."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction", start=False)
    ends = {n: pair() for n in (7, 8, 9, 10, 11)}
    told = {7: fact(50, "active") + fact(31, 400) + fact(9999, b"from the future"),
            8: fact(50, "active") + fact(31, 401) + fact(36, b"DateStyle\0German, DMY\0") + fact(36, b"no end"),
            9: fact(50, "active") + fact(31, 402) + fact(55, struct.pack("!QB", 77, 0) + b"never told"),
            10: fact(50, "active") + fact(31, 403) + b"\0\x1f\xff\xff\xff\xff"}
    facts = [("process", 0, fact(2, 500)), ("planet", 0, b"")] + [("client", n, f) for n, f in told.items()]
    take_over(p, [(ends[n][1], client_row(n, cancel=1 << n)) for n in ends], facts=facts)
    try:
        assert b"prepared statements were not understood" in heard(ends[9][0])
        assert heard(ends[11][0]) == b"", "the old process said nothing of it: it was closed meanwhile"
        for n in (7, 8, 10):
            ends[n][0].sendall(query("SELECT 'served by ' || current_setting('DateStyle')"))
            wanted = b"served by German" if n == 8 else b"served by ISO"
            assert wanted in heard(ends[n][0], wanted)
        assert sorted(int(r["id"]) for r in clients(p)) == [400, 401, 403]
        with p.login() as c:
            assert max(int(r["id"]) for r in clients(p)) >= 500 and c.value("SELECT 1") == "1"
    finally:
        for a, _ in ends.values():
            a.close()


def test_back_to_debian(pooler, pg):
    """The way back, for whoever changes his mind."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction", pidfile="pid",
               server_tls_sslmode="disable")
    with p.login() as busy, p.login() as idle:
        idle.value("SELECT 1")
        busy.query("BEGIN")
        pid = busy.pid()
        p.oracle, p.binary = True, env.ORACLE_BINARY
        p.restart()
        assert busy.pid() == pid and busy.query("COMMIT").status == "I"
        assert idle.value("SELECT 2") == "2"
        assert p.admin("SHOW VERSION")[0]["version"].startswith("PgBouncer 1.18")


def test_row_36_who_tells_of_no_used_proofs_may_have_seen_all(debian, pg):
    p = debian()
    then, secret = time.time(), ALICE.bound()
    env.wait_for(lambda: time.time() > then + 1.1, "the proof to be older than the new process")
    p.databases["db"] = pg.entry(user="svc", password="svc_pw")
    p.restart(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address, ecdsa_formats="bound", ecdsa_replay="once",
              ecdsa_server_names="pooler")
    with pytest.raises(wire.PgError):
        p.login(ALICE.address, secret=secret)
    p.wait_log("reason=replayed .*hint=replayed: issued before start")
    env.wait_for(lambda: time.time() > then + 3, "the next second")
    with p.login(ALICE.address, secret=ALICE.bound()) as c:
        assert c.value("SELECT current_user") == "svc"
