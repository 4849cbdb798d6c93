"""Online restart: another process takes the sockets over, and nobody notices.

In the middle of something: test_reboot_midway.py. What goes wrong: test_reboot_faults.py. PgBouncer on one side of it:
test_reboot_foreign.py.
"""
import os
import resource
import signal
import stat
import threading

import pytest
from harness import env, wire
from harness.load import LEAVE, Crowd
from harness.wallet import ALICE, BOB
from harness.wire import SYNC, bind, close, execute, parse, query

pytestmark = pytest.mark.ours


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": "transaction", "server_tls_sslmode": "disable", **settings})
    return make


def terminate_idle(p, pg):
    """The servers that serve nobody; who needs one next opens it."""
    pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'db' AND state = 'idle'")
    env.wait_for(lambda: not p.show("SERVERS"), "them to go")


def clients(p):
    return {int(r["id"]): r for r in p.show("CLIENTS") if r["database"] != "pgbouncer"}


def servers(p):
    return {int(r["id"]): r for r in p.show("SERVERS")}


# --- what goes on ---------------------------------------------------------------

def test_log_lines(pool):
    p = pool(pidfile="pid")
    with p.login() as c:
        c.value("SELECT 1")
        p.restart()
        for line in ("WARNING Online restart is deprecated, use so_reuseport instead",
                     "LOG takeover_init: launching connection",
                     r"LOG S-0x\w+: pgbouncer/pgbouncer@unix:%d login OK, sending SUSPEND" % p.port,
                     "LOG SUSPEND finished, sending SHOW FDS",
                     "LOG got pooler socket: 127.0.0.1:%d" % p.port,
                     "LOG got pooler socket: unix:%d" % p.port,
                     "LOG SHOW FDS finished",
                     "LOG disko over, going background",
                     "LOG kernel file descriptor limit: ",
                     "LOG took over 1 clients and 1 servers, 0 connections are dropped",
                     "LOG sending SHUTDOWN;",
                     r"LOG S-0x\w+: .* closing because: disko over \(age=\d+s\)",
                     "LOG waiting for old pidfile to go away",
                     "LOG old process killed, resuming work",
                     "LOG process up: PgBouncer"):
            p.wait_log(line)
        assert c.value("SELECT 2") == "2"


def test_an_open_transaction_keeps_its_server(pool):
    p = pool()
    with p.login() as c:
        c.query("BEGIN")
        pid = c.pid()
        for n in range(5):
            p.restart()
            assert c.pid() == pid
            assert c.query("SELECT %d" % n).status == "T"
        assert c.query("COMMIT").status == "I"
        p.wait_pool(sv_active=0, sv_idle=1)
        assert c.value("SELECT 1") == "1"


def test_a_failed_transaction_is_still_failed(pool):
    p = pool()
    with p.login() as c:
        c.query("BEGIN")
        c.query("SELECT 1/0")
        p.restart()
        assert c.query("SELECT 1").errors[0].code == "25P02"
        assert c.query("ROLLBACK").status == "I"
        assert c.value("SELECT 2") == "2"


def test_a_session_keeps_its_server_and_is_reset_at_its_end(pool):
    p = pool(pool_mode="session", server_reset_query="DISCARD ALL")
    with p.login() as c:
        c.query("CREATE TEMP TABLE mine (n int)")
        pid = c.pid()
        p.restart()
        assert c.pid() == pid and c.query("INSERT INTO mine VALUES (1)").tags == ["INSERT 0 1"]
    p.wait_pool(sv_idle=1, sv_active=0)
    with p.login() as c:
        assert c.pid() == pid and c.query("SELECT * FROM mine").errors[0].code == "42P01"


def test_idle_servers_are_used_again(pool):
    p = pool()
    with p.login() as a, p.login() as b:
        a.query("BEGIN")
        b.query("BEGIN")
        pids = {a.pid(), b.pid()}
        a.query("COMMIT")
        b.query("COMMIT")
        last = b.pid()
        p.restart()
        assert a.pid() == last, "the one used last is the next"
        p.wait_pool(sv_idle=2)
        a.query("BEGIN")
        assert {a.pid(), b.pid()} == pids


@pytest.mark.parametrize("change", [(1, 2), (2, 1), (1, 4)])
def test_another_number_of_workers(pooler, pg, change):
    before, after = change
    p = pooler(databases={name: pg.entry() for name in ("db", "a", "b", "c")}, users={"u_trust": ""},
               pool_mode="transaction", server_tls_sslmode="disable", worker_threads=before)
    held = [p.login(database=name) for name in ("db", "a", "b", "c")]
    idle = [p.login(database=name) for name in ("db", "a", "b", "c")]
    for c in held:
        c.query("BEGIN")
    pids = [c.pid() for c in held]
    for count in (after, before):
        p.restart(workers=count)
        assert [c.pid() for c in held] == pids
        for n, c in enumerate(idle):
            assert c.value("SELECT %d" % n) == str(n)
    for c in held + idle:
        c.close()


def test_databases_and_users(pool):
    p = pool(users={"u_trust": "", "svc": "svc_pw"})
    who = [("u_trust", "db"), ("svc", "db"), ("u_trust", "other"), ("svc", "other")]
    held = [p.login(user, database) for user, database in who]
    for c in held:
        c.query("BEGIN")
    before = [(c.pid(), c.value("SELECT current_user || '/' || current_database()")) for c in held]
    rows = {(r["database"], r["user"], r["cl_active"], r["sv_active"]) for r in p.show("POOLS")}
    p.restart()
    assert [(c.pid(), c.value("SELECT current_user || '/' || current_database()")) for c in held] == before
    assert {(r["database"], r["user"], r["cl_active"], r["sv_active"]) for r in p.show("POOLS")} == rows
    shown = {r["name"]: r for r in p.show("DATABASES")}
    assert shown["db"]["current_client_connections"] == "2" and shown["db"]["current_connections"] == "2"
    for c in held:
        c.close()
    env.wait_for(lambda: {r["name"]: r for r in p.show("DATABASES")}["db"]["current_client_connections"] == "0",
                 lambda: "clients to be uncounted")


def test_unix_clients_and_unix_servers(pool, pg):
    p = pool(databases={"db": "host=%s port=%d" % (pg.dir, pg.port)})
    with p.login(host=p.dir) as c:
        c.query("BEGIN")
        pid = c.pid()
        row, = clients(p).values()
        p.restart()
        again, = clients(p).values()
        assert c.pid() == pid and c.query("COMMIT").status == "I"
        for column in ("addr", "port", "remote_pid"):
            assert again[column] == row[column]
        assert row["addr"] == "unix" and row["remote_pid"] == str(os.getpid())
        assert [r["addr"] for r in servers(p).values()] == ["unix"]


def test_ids_and_times_go_on(pool):
    p = pool()
    with p.login(application_name="mine") as c, p.login() as idle:
        c.query("BEGIN")
        idle.value("SELECT 1")
        shown = ("user", "database", "addr", "port", "local_addr", "local_port", "connect_time", "application_name")
        before = {**clients(p), **servers(p)}
        p.restart()
        after = {**clients(p), **servers(p)}
        assert {n: [r[k] for k in shown] for n, r in after.items()} == {n: [r[k] for k in shown] for n, r in before.items()}
        # Links stand, by the ids of both.
        by_ptr = {r["ptr"]: n for n, r in after.items()}
        old_ptr = {r["ptr"]: n for n, r in before.items()}
        assert {n: by_ptr.get(r["link"]) for n, r in after.items()} == {n: old_ptr.get(r["link"]) for n, r in before.items()}
        with p.login():
            assert max(clients(p)) > max(before)
            assert len(clients(p)) == 3


def test_parameters(pool):
    """Tracked ones, application_name, and those of track_extra_parameters; each client its own."""
    p = pool(default_pool_size=1, track_extra_parameters="IntervalStyle, search_path")
    wanted = [dict(DateStyle="German, DMY", application_name="one", IntervalStyle="iso_8601"),
              dict(DateStyle="ISO, MDY", application_name="", TimeZone="Asia/Tokyo", IntervalStyle="sql_standard")]
    with p.login(**wanted[0]) as a, p.login(**wanted[1]) as b:
        for _ in range(2):
            for c, want in ((a, wanted[0]), (b, wanted[1])):
                for name, value in want.items():
                    assert c.value("SHOW " + name) == value
            p.restart()


def test_other_tracked_parameters(pool):
    """What the old process did not track nobody knows of its servers: they are replaced. Clients keep what is known."""
    p = pool(default_pool_size=2, track_extra_parameters="IntervalStyle")
    with p.login(IntervalStyle="iso_8601", DateStyle="German, DMY") as a, p.login(DateStyle="SQL, DMY") as busy:
        assert a.value("SHOW IntervalStyle") == "iso_8601"
        busy.query("BEGIN")
        pid = busy.pid()
        p.restart(track_extra_parameters="default_transaction_read_only")
        assert busy.pid() == pid and busy.query("COMMIT").status == "I"
        with p.login() as new:
            assert "IntervalStyle" in new.params and new.value("SHOW IntervalStyle") == "postgres"
            assert new.value("SHOW DateStyle") == "ISO, MDY"
        p.restart(track_extra_parameters="IntervalStyle")
        with p.login(IntervalStyle="sql_standard") as new:
            assert new.value("SHOW IntervalStyle") == "sql_standard"
        assert a.value("SHOW DateStyle") == "German, DMY" and busy.value("SHOW DateStyle") == "SQL, DMY"
        assert a.value("SHOW IntervalStyle") == busy.value("SHOW IntervalStyle") == "postgres"


def test_the_greeting_is_known(pool, pg):
    """Whoever comes next is greeted though no server can be had."""
    p = pool(default_pool_size=1)
    with p.login() as c:
        c.query("BEGIN")
        before = dict(c.params)
        p.restart()
        with p.login() as late:
            assert late.params == before
            p.wait_pool(sv_active=1, sv_idle=0, sv_login=0, cl_active=2)


def test_cancel_keys_go_on(pool, pg):
    p = pool()
    with p.login() as c:
        c.send(query("SELECT pg_sleep(60)"))
        env.wait_for(lambda: pg.backends("db", where="state = 'active' AND query = 'SELECT pg_sleep(60)'"),
                     "the query to run")
        p.restart()
        with p.wire() as w:
            w.send(wire.cancel_request(c.key))
            w.expect_closed()
        assert c.until_ready().errors[0].code == "57014"
        assert c.value("SELECT 1") == "1"
    p.wait_log("successfully sent cancel request")


@pytest.mark.parametrize("before, after", [(0, 3), (3, 5), (3, 0)])
def test_cancel_keys_go_on_under_another_peer_id(pool, pg, before, after):
    """The client has the key that it was given; that it names nobody, or somebody else, does not matter here."""
    p = pool(peer_id=before)
    with p.login() as c:
        for _ in range(2):
            c.send(query("SELECT pg_sleep(60)"))
            env.wait_for(lambda: pg.backends("db", where="state = 'active' AND query = 'SELECT pg_sleep(60)'"),
                         "the query to run")
            p.restart(peer_id=after)
            with p.wire() as w:
                w.send(wire.cancel_request(c.key))
                w.expect_closed()
            assert c.until_ready().errors[0].code == "57014"


# --- users --------------------------------------------------------------------------------

def test_scram_keys_open_a_new_server(pool, pg):
    p = pool(auth_type="scram-sha-256", users={"u_scram": pg.secret("u_scram")})
    with p.login("u_scram", secret="u_scram_pw") as c:
        assert c.value("SELECT current_user") == "u_scram"
        for _ in range(2):
            p.restart()
            terminate_idle(p, pg)
            assert c.value("SELECT current_user") == "u_scram"


@pytest.mark.parametrize("method, user", [("plain", "u_plain"), ("scram-sha-256", "u_scram")])
def test_users_of_auth_query(pool, pg, method, user):
    """Who was looked up is known by what was looked up, until he comes again."""
    p = pool(auth_type=method, auth_user="postgres", users={"postgres": ""},
             auth_query="SELECT rolname::text, %s FROM pg_authid WHERE rolname = $1"
             % ("rolpassword" if user == "u_scram" else "rolname || '_pw'"))
    with p.login(user, secret=user + "_pw") as c:
        assert c.value("SELECT current_user") == user
        p.restart()
        terminate_idle(p, pg)
        assert c.value("SELECT current_user") == user
        assert user in [r["name"] for r in p.show("USERS")]
        p.restart()
        terminate_idle(p, pg)
        assert c.value("SELECT current_user") == user
        with p.login(user, secret=user + "_pw") as again:
            assert again.value("SELECT 1") == "1"
    assert user + "_pw" not in p.log() and "SCRAM-SHA-256$" not in p.log()


def test_wallets(pooler, pg):
    p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ecdsa", pool_mode="transaction",
               ecdsa_allowed_addresses=ALICE.address, server_tls_sslmode="disable")
    with p.login(ALICE.address, secret=ALICE.password()) as c:
        c.query("BEGIN")
        pid = c.pid()
        before, = clients(p).values()
        p.restart()
        after, = clients(p).values()
        assert before["identity"] == after["identity"] == ALICE.address
        assert (before["user"], before["application_name"]) == (after["user"], after["application_name"])
        assert c.pid() == pid and c.value("SELECT current_user") == "svc"
        assert c.value("SHOW application_name") == "ecdsa-proxy:" + ALICE.address
        c.query("COMMIT")
        # It is still a wallet to whatever looks for wallets.
        assert p.admin("KILL_WALLET \"%s\"" % ALICE.address) == []
        assert c.expect_error().text == "admin forced disconnect"


def test_wallet_sessions_end_in_their_time(pooler, pg):
    p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ecdsa", pool_mode="transaction",
               ecdsa_allowed_addresses=ALICE.address, server_tls_sslmode="disable", ecdsa_session_max=2)
    with p.login(ALICE.address, secret=ALICE.password()) as c:
        p.restart()
        e = c.expect_error()
        assert (e.code, e.text) == ("57P01", "session has lasted for its longest time (ecdsa_session_max)")


def test_wallets_that_are_no_longer_wanted(pooler, pg):
    p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ecdsa", pool_mode="transaction",
               ecdsa_allowed_addresses=ALICE.address, server_tls_sslmode="disable", ecdsa_revoke_on_reload=1)
    with p.login(ALICE.address, secret=ALICE.password()) as c:
        p.restart(ecdsa_allowed_addresses=BOB.address)
        assert c.expect_error().text == "admin forced disconnect"


def test_scram_keys_of_another_database_of_the_account(pool, pg):
    """They are the account's, and so go over with every pool of it."""
    p = pool(auth_type="scram-sha-256", users={"u_scram": pg.secret("u_scram")})
    with p.login("u_scram", secret="u_scram_pw") as a:
        a.value("SELECT 1")
        with p.login("u_scram", database="other", secret="u_scram_pw") as b:
            p.restart()
            assert b.value("SELECT current_database()") == "db2"
        a.close()
        p.restart()
        p.restart(auth_type="trust")
        with p.login("u_scram") as c:
            assert c.value("SELECT current_user") == "u_scram"


# --- what the configuration says now --------------------------------------------------------

def test_a_database_that_is_gone(pool, pg):
    p = pool()
    with p.login() as c, p.login(database="other") as gone, p.login(database="other") as idle:
        c.value("SELECT 1")
        gone.query("BEGIN")
        del p.databases["other"]
        p.restart()
        for w in (gone, idle):
            assert w.expect_error().text == "database removed"
        assert c.value("SELECT 2") == "2"
        env.wait_for(lambda: not pg.backends("db2", user="u_trust"), "its servers to go")


def test_a_database_that_the_template_knows_now(pool, pg):
    p = pool()
    with p.login(database="other") as c:
        c.query("BEGIN")
        pid = c.pid()
        p.databases = {"*": pg.entry("db2")}
        p.restart()
        assert c.pid() == pid and c.query("COMMIT").status == "I"
        assert c.value("SELECT current_database()") == "db2"


def test_auto_databases(pool, pg):
    p = pool(databases={"*": "host=%s port=%d" % (pg.host, pg.port)})
    with p.login(database="db") as a, p.login(database="db2") as b:
        a.query("BEGIN")
        pid = a.pid()
        p.restart()
        assert a.pid() == pid and b.value("SELECT current_database()") == "db2"
        assert {"db", "db2"} <= {r["name"] for r in p.show("DATABASES")}


def test_servers_of_another_definition_are_replaced(pool, pg):
    p = pool()
    with p.login() as busy, p.login() as idle:
        busy.query("BEGIN")
        pid = busy.pid()
        idle.value("SELECT 1")
        p.databases["db"] = pg.entry("db2")
        p.restart()
        assert busy.pid() == pid and busy.value("SELECT current_database()") == "db"
        assert idle.value("SELECT current_database()") == "db2"
        assert busy.query("COMMIT").status == "I"
        assert busy.value("SELECT current_database()") == "db2"


def test_another_forced_user(pool, pg):
    """As by RELOAD: clients of the database go on as that one. Without one each is who he is."""
    p = pool(databases={"db": pg.entry(user="svc", password="svc_pw")}, users={"u_trust": ""})
    with p.login() as busy, p.login() as idle:
        busy.query("BEGIN")
        pid = busy.pid()
        assert idle.value("SELECT current_user") == "svc"
        p.databases["db"] = pg.entry(user="svc2", password="svc2_pw")
        p.restart()
        assert busy.pid() == pid and busy.value("SELECT current_user") == "svc"
        assert busy.query("COMMIT").status == "I"
        for c in (busy, idle):
            assert c.value("SELECT current_user") == "svc2"
        assert {r["user"] for r in p.show("POOLS") if r["database"] == "db"} == {"svc2"}
        p.databases["db"] = pg.entry()
        p.restart()
        for c in (busy, idle):
            assert c.value("SELECT current_user") == "u_trust"


def test_disabled_databases_stay_disabled(pool):
    p = pool()
    with p.login() as c:
        p.admin("DISABLE db")
        p.restart()
        assert c.value("SELECT 1") == "1"
        with pytest.raises(wire.PgError, match='database "db" is disabled'):
            p.login()
        p.admin("ENABLE db")
        p.login().close()


def test_smaller_limits_throw_nobody_out(pool):
    p = pool(default_pool_size=5)
    held = [p.login() for _ in range(5)]
    for c in held:
        c.query("BEGIN")
    p.restart(default_pool_size=1, max_client_conn=3, max_user_client_connections=1, max_db_connections=1)
    for c in held:
        assert c.query("COMMIT").status == "I"
    p.wait_pool(sv_idle=1, cl_active=5)
    with pytest.raises(wire.PgError, match="max_client_conn"):
        p.login()
    for c in held:
        c.close()
    env.wait_for(lambda: not clients(p), lambda: "them to go")
    p.login().close()


# --- listeners, files, the process -------------------------------------------------------------

def test_listeners_are_the_same_sockets(pool):
    """Whoever comes in the meantime is served afterwards."""
    p = pool(pidfile="pid")
    path = os.path.join(p.dir, ".s.PGSQL.%d" % p.port)
    inode = os.stat(path).st_ino
    new = p.successor(faults="takeover-shutdown")
    env.wait_for(lambda: stopped(new), "the successor to be ready")
    late = [p.wire(), p.wire(p.dir)]
    for w in late:
        w.send(wire.startup("u_trust", "db"))
    assert int(open(os.path.join(p.dir, "pid")).read()) == p.process.pid
    finish_takeover(p, new)
    for w in late:
        w.finish_login("u_trust")
        assert w.value("SELECT 1") == "1"
    assert os.stat(path).st_ino == inode
    assert int(open(os.path.join(p.dir, "pid")).read()) == new.pid
    p.signal(signal.SIGQUIT)
    p.wait_exit()
    assert not os.path.exists(path) and not os.path.exists(os.path.join(p.dir, "pid"))


def stopped(process):
    with open("/proc/%d/stat" % process.pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "T"


def finish_takeover(p, new):
    """A successor that was stopped goes on to the end."""
    old, p.process = p.process, new
    p.mark()
    new.send_signal(signal.SIGCONT)
    assert old.wait(env.PATIENCE) == 0
    p.wait_log("process up")


def test_addresses_that_come_and_go(pool):
    p = pool(listen_addr="127.0.0.1,127.0.0.2")
    with p.login(host="127.0.0.2") as c:
        p.restart(listen_addr="127.0.0.1,127.0.0.3")
        p.wait_log("LOG got pooler socket: 127.0.0.2:%d" % p.port)
        p.wait_log("LOG listening on 127.0.0.3:%d" % p.port)
        p.wait_log("LOG no longer listening on 127.0.0.2:%d" % p.port)
        assert c.value("SELECT 1") == "1"
        for host in ("127.0.0.1", "127.0.0.3", p.dir):
            p.login(host=host).close()
        with pytest.raises(ConnectionRefusedError):
            p.wire("127.0.0.2")


def test_addresses_that_are_in_each_others_way(pool):
    """One that cannot be opened while the old one is there: what there is stays."""
    p = pool()
    p.restart(listen_addr="0.0.0.0")
    p.wait_log("WARNING cannot listen on 0.0.0.0:%d: bind.*: Address already in use" % p.port)
    p.wait_log("WARNING still listening on 127.0.0.1:%d, though the configuration does not name it" % p.port)
    p.login().close()
    p.restart(listen_addr="127.0.0.1")
    p.login().close()


def test_mode_of_the_socket_file(pool):
    p = pool(unix_socket_mode="0777")
    path = os.path.join(p.dir, ".s.PGSQL.%d" % p.port)
    p.restart(unix_socket_mode="0700")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    p.console().close()


def test_a_shared_port_from_now_on(pool, pooler, pg):
    """The way out of online restarts."""
    p = pool()
    p.restart(so_reuseport=1)
    second = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, listen_port=p.port, so_reuseport=1, start=False)
    second.port = p.port
    second.start()
    p.login().close()


@pytest.mark.parametrize("shared", [0, 1])
def test_a_pooler_that_is_shutting_down(pool, shared):
    """It has closed its TCP sockets already, or has begun to; its clients are worth having all the same."""
    p = pool(so_reuseport=shared)
    with p.login() as c:
        c.query("BEGIN")
        pid = c.pid()
        assert p.console_result("SHUTDOWN WAIT_FOR_CLIENTS").tags == ["SHUTDOWN"]
        p.restart()
        p.wait_log("LOG (listening on|got pooler socket:) 127.0.0.1:%d" % p.port)
        assert c.pid() == pid and c.query("COMMIT").status == "I"
        for _ in range(3):
            with p.login() as new:
                assert new.value("SELECT 1") == "1"


def test_in_the_background(pool):
    """-d: the command ends at once, and what it left behind goes on."""
    p = pool(pidfile="pid", logfile="daemon.log")
    pidfile = os.path.join(p.dir, "pid")
    old = p.process
    with p.login() as c:
        c.query("BEGIN")
        pid = c.pid()
        for _ in range(2):
            before = open(pidfile).read()
            assert p.successor("-d").wait(env.PATIENCE) == 0
            env.wait_for(lambda: os.path.exists(pidfile) and open(pidfile).read() not in ("", before), "the new pidfile")
            assert c.pid() == pid
        assert old.wait(env.PATIENCE) == 0
        p.expected_exit = 0
        assert c.query("COMMIT").status == "I"
    now = int(open(pidfile).read())
    os.kill(now, signal.SIGQUIT)
    env.wait_for(lambda: not os.path.exists(pidfile), "it to end")


def test_tls_connections_are_dropped(pool, certs):
    p = pool(client_tls_sslmode="allow", client_tls_key_file=certs.key("server"),
             client_tls_cert_file=certs.crt("server"))
    with p.wire() as secure, p.wire() as half, p.login() as c:
        secure.tls()
        secure.login("u_trust", "db")
        secure.query("BEGIN")
        half.ssl_request()
        half.sock.sendall(b"\x16\x03\x01")
        c.query("BEGIN")
        p.restart()
        secure.expect_closed()
        half.expect_closed()
        assert c.query("COMMIT").status == "I"
        with p.wire() as again:
            again.tls()
            again.login("u_trust", "db")
            assert again.value("SELECT 1") == "1"


def test_transactions_at_servers_with_tls_come_to_their_end(pool):
    """Their clients can go when they are done with them; the others wait for that."""
    p = pool(server_tls_sslmode="require", default_pool_size=2)
    with p.login() as short, p.login() as waiting, p.login() as idle:
        idle.value("SELECT 1")
        short.query("BEGIN")
        p.mark()
        new = p.successor()
        p.wait_log("SUSPEND command issued")
        waiting.send(query("SELECT 'waited'"))
        assert short.value("SELECT 'served'") == "served"
        assert short.query("COMMIT").status == "I"
        old, p.process = p.process, new
        assert old.wait(env.PATIENCE) == 0
        p.wait_log("took over 3 clients and 0 servers, 0 connections are dropped")
        assert waiting.until_ready().value() == "waited"
        for c in (short, idle):
            assert c.value("SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "true"


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_what_does_not_end_at_a_server_with_tls_is_dropped(pool, pg, mode):
    """For a session nobody waits."""
    p = pool(server_tls_sslmode="require", pool_mode=mode)
    with p.login() as busy, p.login() as idle:
        busy.query("BEGIN")
        p.restart()
        busy.expect_closed()
        assert idle.value("SELECT 1") == "1"
        assert len(pg.backends("db", user="u_trust")) == 1
    assert not p.logged("suspend_timeout")


def test_restarts_under_load_with_tls_to_the_servers(pool):
    p = pool(server_tls_sslmode="require", default_pool_size=3)

    def unit(number, turn):
        yield query("BEGIN")
        r = yield query("SELECT %d" % turn)
        assert r.rows == [b"%d" % turn]
        r = yield query("COMMIT")
        assert r.status == b"I"

    crowd = Crowd(p, 12, unit)
    crowd.start()
    for _ in range(4):
        marks = crowd.marks()
        env.wait_for(lambda: crowd.served_since(marks), lambda: "everybody to be served: %s" % crowd.states())
        p.restart()
    marks = crowd.marks()
    env.wait_for(lambda: crowd.served_since(marks), lambda: "everybody to be served: %s" % crowd.states())
    crowd.stop()


def test_plain_servers_when_tls_is_required_now(pool):
    p = pool()
    with p.login() as c:
        c.query("BEGIN")
        pid = c.pid()
        assert not c.query("SELECT 1 FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl").rows
        p.restart(server_tls_sslmode="require")
        assert c.pid() == pid
        c.query("COMMIT")
        assert c.query("SELECT 1 FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl").rows


# --- the private half -----------------------------------------------------------------------------

def test_row_26_handover_is_for_our_own_unix_user(pool):
    """Others are told that there is no such command; to him it makes no sense but in its place."""
    p = pool()
    with p.console("admin") as admin, p.console("stats") as stats, p.console() as operator:
        for c in (admin, stats):
            for text in ("SHOW HANDOVER", "SUSPEND HANDOVER"):
                assert c.query(text).errors[0].text == "invalid command '%s', use SHOW HELP;" % text
        assert operator.query("SHOW HANDOVER").errors[0].text == "SHOW HANDOVER needs a SUSPEND"
        assert operator.query("SUSPEND db").errors[0].text == "invalid command 'SUSPEND db', use SHOW HELP;"
        assert operator.query("SUSPEND HANDOVER").tags == ["SUSPEND"]
        assert admin.query("SHOW HANDOVER").errors[0].text == "invalid command 'SHOW HANDOVER', use SHOW HELP;"
        r = operator.query("SHOW HANDOVER")
        assert [c.name for c in r.columns] == ["kind", "fd", "has_more", "facts"] and r.tags == ["SHOW"]
        assert [row[0] for row in r.rows] == ["process", "replay"]
        assert operator.query("RESUME").tags == ["RESUME"]
    assert "HANDOVER" not in "".join(n["D"] for n in p.console_result("SHOW HELP").notices)


# --- many ---------------------------------------------------------------------------------------------

def test_five_restarts_under_load(pool):
    """Transactions, named statements, new connections; the pool is smaller than the crowd. Nobody sees an error."""
    p = pool(default_pool_size=4, max_client_conn=200)

    def unit(number, turn):
        if number % 3 == 0:
            r = yield query("BEGIN; SELECT %d" % turn)
            assert r.rows == [b"%d" % turn] and r.status == b"T"
            r = yield query("SELECT %d" % (turn + 1))
            assert r.rows == [b"%d" % (turn + 1)]
            r = yield query("COMMIT")
            assert r.status == b"I"
        elif number % 3 == 1:
            name = "s%d" % turn
            r = yield parse("SELECT $1::int + %d" % (turn % 50), name) + bind(name, "", ("1",)) + execute() + SYNC
            assert r.rows == [b"%d" % (1 + turn % 50)]
            r = yield bind(name, "", ("2",)) + execute() + close("S", name) + SYNC
            assert r.rows == [b"%d" % (2 + turn % 50)]
        else:
            r = yield query("SELECT repeat('x', 3000)")
            assert r.rows == [b"x" * 3000]
            return LEAVE if turn % 5 == 0 else None

    crowd = Crowd(p, 40, unit)
    crowd.start()
    for count in (None, 2, 1, None, 2):
        marks = crowd.marks()
        env.wait_for(lambda: crowd.served_since(marks), lambda: "everybody to be served: %s" % crowd.states())
        p.restart(workers=count if p.workers != 1 or count else None)
    marks = crowd.marks()
    env.wait_for(lambda: crowd.served_since(marks), lambda: "everybody to be served: %s" % crowd.states())
    crowd.stop()
    assert not p.logged("suspend_timeout")


def test_log_ins_under_load(pool, pg):
    """New connections all the time, by methods that take several messages, or a question to the database."""
    p = pool(auth_type="scram-sha-256", auth_user="postgres", users={"u_plain": "u_plain_pw", "postgres": ""},
             auth_query="SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = $1", default_pool_size=3)
    wrong, done, stop = [], [0] * 6, threading.Event()

    def work(number):
        user = ("u_plain", "u_scram")[number % 2]
        while not stop.is_set():
            try:
                with p.connect(user, password=user + "_pw") as c:
                    assert c.execute("SELECT current_user").fetchone() == (user,)
                done[number] += 1
            except Exception as e:
                wrong.append(e)
                return

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(done))]
    for t in threads:
        t.start()
    try:
        for _ in range(5):
            marks = list(done)
            env.wait_for(lambda: wrong or all(d > m for d, m in zip(done, marks)), lambda: "everybody to get in")
            p.restart()
        marks = list(done)
        env.wait_for(lambda: wrong or all(d > m for d, m in zip(done, marks)), lambda: "everybody to get in")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not wrong, (len(wrong), wrong[0])


def test_two_thousand_idle_clients(pool):
    """And no descriptors to spare: the limit of both processes leaves no room for a second copy of each."""
    count = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 1000), hard))
    p = pool(max_client_conn=count + 100, start=False)
    wrapper = os.path.join(p.dir, "limited")
    env.write(wrapper, '#!/bin/sh\nulimit -n %d\nexec "%s" "$@"\n' % (count + 300, p.binary), mode=0o755)
    p.binary = wrapper
    p.start()
    everybody = [p.wire(timeout=env.PATIENCE * 4) for _ in range(count)]
    try:
        for c in everybody:
            c.send(wire.startup("u_trust", "db"))
        for c in everybody:
            c.finish_login("u_trust")
        for _ in range(2):
            p.restart()
            p.wait_log("took over %d clients and" % count)
        for c in everybody[:: count // 50]:
            assert c.value("SELECT 1") == "1"
        assert len(clients(p)) == count
    finally:
        for c in everybody:
            c.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
