"""RELOAD and SET on a running process, rule by rule: configuration specification, section 3."""
import os
import shutil
import ssl
import threading

import pytest
from harness import env, wire
from harness.wire import PgError

ours = pytest.mark.ours
RESTART_ONLY = """disable_pqexec job_name listen_addr listen_backlog listen_port pidfile pkt_buf resolv_conf so_reuseport
track_extra_parameters unix_socket_dir unix_socket_group unix_socket_mode user""".split()
NULL_DEFAULT = """auth_dbname auth_file auth_ident_file auth_ldap_options auth_user client_tls13_ciphers conffile
server_tls13_ciphers user verbose""".split()


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry()}, "users": {"u_trust": ""}, "pool_mode": "transaction", **settings})
    return make


def config(p):
    return {r["key"]: r["value"] for r in p.show("CONFIG")}


def reload_fails(p):
    with pytest.raises(PgError) as e:
        p.admin("RELOAD")
    assert (e.value.severity, e.value.code, e.value.text) == ("ERROR", "F0000", "RELOAD failed, see logs for additional details")
    return True


# --- which file --------------------------------------------------------------------

def test_the_file_named_by_conffile(pool):
    """SET conffile is for the next RELOAD; a file that is not there leaves all as it was."""
    p = pool(query_timeout=50)
    other = os.path.join(p.dir, "other.ini")
    env.write(other, p.ini_text().replace("query_timeout = 50", "query_timeout = 60"))
    assert p.admin("SET conffile = '%s'" % other) == []
    assert (config(p)["conffile"], config(p)["query_timeout"]) == (other, "50")
    p.admin("RELOAD")
    assert (config(p)["conffile"], config(p)["query_timeout"]) == (other, "60")
    if not env.ORACLE:
        p.admin("SET conffile = '/nowhere.ini'")
        reload_fails(p)
        p.wait_log('ERROR could not load file "/nowhere.ini": No such file or directory$')
        assert config(p)["query_timeout"] == "60"


def test_includes_are_relative_to_where_the_program_was_started(pool, pg):
    p = pool(start=False)
    sub = os.path.join(p.dir, "sub")
    os.mkdir(sub)
    env.own(sub)
    env.write(os.path.join(p.dir, "here.ini"), "u_trust = pool_mode=session\n%include sub/there.ini\n")
    env.write(os.path.join(sub, "there.ini"), "[databases]\n")
    env.write(os.path.join(sub, "main.ini"), "query_timeout = 3")
    env.write(os.path.join(sub, "x.ini"), p.ini_text() + "%include sub/main.ini\n[users]\n%include   here.ini  \n"
              "included = " + pg.entry() + "\n")
    p.ini = os.path.join(sub, "x.ini")
    p.start()
    assert config(p)["query_timeout"] == "3"
    names = [r["name"] for r in p.show("DATABASES")]
    assert names == ["db", "included", "pgbouncer"]
    assert [r["pool_mode"] for r in p.show("USERS") if r["name"] == "u_trust"] == ["session"]


def test_a_second_header_takes_back_the_first(pool):
    p = pool(start=False)
    listen = "listen_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir = %s\n" % (p.port, p.dir)
    env.write(p.ini, "[pgbouncer]\nquery_timeout = 7\nauth_user = asker\nauth_type = trust\n[databases]\n[pgbouncer]\n" + listen)
    p.start()
    now = config(p)
    assert (now["query_timeout"], now["auth_type"], now["auth_user"]) == ("0", "md5", "asker")


# --- what RELOAD takes back -----------------------------------------------------------

@ours
def test_keys_without_a_default(pool):
    p = pool()
    rows = {r["key"]: r for r in p.show("CONFIG")}
    assert [k for k, r in rows.items() if r["default"] is None] == NULL_DEFAULT
    values = {"auth_dbname": "db", "auth_ident_file": "/nowhere", "auth_ldap_options": "ldapserver=x", "auth_user": "asker",
              "client_tls13_ciphers": "TLS_AES_128_GCM_SHA256", "server_tls13_ciphers": "TLS_AES_256_GCM_SHA384", "verbose": "1"}
    assert {rows[k]["value"] for k in values} <= {None, "0"}
    for key, value in values.items():
        p.admin("SET %s = '%s'" % (key, value))
    p.admin("SET idle_transaction_timeout = 5")
    p.admin("RELOAD")
    now = config(p)
    assert {k: now[k] for k in values} == values and now["idle_transaction_timeout"] == "0"
    # What the file says counts again, and stays when the line goes.
    p.reload(auth_user="other", verbose=0)
    assert (config(p)["auth_user"], config(p)["verbose"]) == ("other", "0")
    p.reload(auth_user=None)
    assert config(p)["auth_user"] == "other"


@ours
def test_keys_that_need_a_restart(pool):
    """Whatever is said about them later is passed over, and no mistake."""
    p = pool()
    rows = p.show("CONFIG")
    fixed = [r["key"] for r in rows if r["changeable"] == "no" and not r["key"].startswith(("worker_", "ecdsa_", "http_"))]
    assert sorted(fixed) == sorted(RESTART_ONLY)
    before = config(p)
    with p.console() as admin:
        for key in RESTART_ONLY:
            assert admin.query("SET %s = 'junk value'" % key).tags == ["SET %s=junk value" % key]
    assert config(p) == before
    p.reload(**{k: "junk value" for k in RESTART_ONLY})
    assert config(p) == before
    assert not p.logged("ERROR|WARNING")


@ours
def test_a_failed_reload_keeps_what_was_set(pool):
    p = pool(query_timeout=50)
    p.admin("SET query_timeout = 7")
    p.admin("SET auth_user = asker")
    good = open(p.ini).read()
    for bad in (good + "frob = 1\n", good + "[junk]\n", "query_timeout = 1\n", "", good.replace("port=", "ports="),
                good + "%include /nowhere\n", good + "auth_dbname = pgbouncer\n", good + "[users\n"):
        env.write(p.ini, bad)
        reload_fails(p)
        assert (config(p)["query_timeout"], config(p)["auth_user"]) == ("7", "asker")
        assert [r["name"] for r in p.show("DATABASES")] == ["db", "pgbouncer"]
    assert len(p.logged("ERROR config file loading failed$")) == len(p.logged("ERROR RELOAD Failed, see logs for more details$")) == 8
    assert not p.logged("dropping database")
    p.signal(1)
    p.wait_log("ERROR config file loading failed$", 9)
    env.write(p.ini, good)
    p.admin("RELOAD")
    assert config(p)["query_timeout"] == "50"


@ours
def test_a_failed_reload_reopens_the_log(pool):
    p = pool(start=False)
    path = p.settings["logfile"] = os.path.join(p.dir, "rotated.log")
    p.write()
    p.start()
    os.rename(path, path + ".1")
    env.write(p.ini, "junk")
    reload_fails(p)
    env.wait_for(lambda: os.path.exists(path) and "RELOAD Failed" in open(path).read(), "the new log file")


def test_logfile_by_reload_and_set(pool):
    """The new name counts at once, and an empty one ends the writing."""
    p = pool()
    first, second = (os.path.join(p.dir, n) for n in ("first.log", "second.log"))
    p.admin("SET logfile = '%s'" % first)
    p.admin("SHOW VERSION")
    p.reload(logfile=second)
    p.admin("SHOW VERSION")
    env.wait_for(lambda: "RELOAD command issued" in open(first).read(), "the first file")
    env.wait_for(lambda: os.path.exists(second) and "closing because" in open(second).read(), "the second file")
    assert "RELOAD command issued" not in open(second).read()


# --- databases and users --------------------------------------------------------------

@pytest.mark.parametrize("change, moves", [
    (dict(dbname="db2"), True), (dict(port=True), True), (dict(connect_query="SELECT 2"), True),
    (dict(user="svc2", password="svc2_pw"), True),
    pytest.param(dict(auth_query="SELECT 1, 2"), True, marks=ours), pytest.param(dict(auth_dbname="db2"), True, marks=ours),
    pytest.param(dict(load_balance_hosts="disable"), True, marks=ours),
    (dict(password="other_pw"), False), (dict(pool_size=3), False), (dict(client_encoding="LATIN1"), False),
    (dict(pool_mode="session"), False), (dict(max_db_connections=9), False),
])
def test_changes_that_renew_servers(pool, pg, change, moves):
    """Whatever the server connection was made by: each is marked, and closed when it is free."""
    was = dict(user="svc", password="svc_pw", connect_query="SELECT 1")
    host = ",".join(["127.0.0.1"] * 2)

    def entry(**more):
        items = {**was, **more}
        if "port" in items:
            items.pop("port")
            return pg.entry(**items).replace("host=127.0.0.1", "host=localhost")
        return pg.entry(items.pop("dbname", "db"), **items)
    if "load_balance_hosts" in change:
        entry = lambda **more: pg.entry(**was, **more).replace("host=127.0.0.1", "host=" + host)
    p = pool(databases={"db": entry()}, users={"u_trust": "", "svc": "svc_pw", "svc2": "svc2_pw"})
    with p.login() as busy, p.login() as idle:
        busy.query("BEGIN")
        pids = busy.pid(), idle.pid()
        p.databases = {"db": entry(**change)}
        p.reload()
        assert {r["close_needed"] for r in p.show("SERVERS") if r["state"] == "active"} == {"1" if moves else "0"}
        assert busy.pid() == pids[0]
        busy.query("COMMIT")
        if moves:
            env.wait_for(lambda: busy.pid() not in pids, "a new server")
        else:
            assert {busy.pid(), idle.pid()} <= set(pids)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_another_forced_user(pool, pg, mode):
    """Whoever is here goes on as the new one, in one pool with those who come."""
    p = pool(databases={"db": pg.entry(user="svc", password="svc_pw", pool_mode=mode)}, default_pool_size=3)
    who = "SELECT current_user"
    with p.login() as busy, p.login() as idle:
        busy.query("BEGIN")
        assert busy.value(who) == "svc"
        p.databases = {"db": pg.entry(user="svc2", password="svc2_pw", pool_mode=mode)}
        p.reload()
        assert idle.value(who) == "svc2" and busy.value(who) == "svc"
        assert busy.query("COMMIT").status == "I"
        with p.login() as fresh:
            assert fresh.value(who) == "svc2"
            if mode == "transaction":
                assert busy.value(who) == "svc2"
                assert {r["user"] for r in p.show("SERVERS")} == {"svc2"}
            pools = [r for r in p.show("POOLS") if r["database"] == "db"]
            assert [(r["user"], r["cl_active"]) for r in pools] == [("svc2", "3")]
        if not env.ORACLE:
            count = lambda name: [int(r["current_connections"]) for r in p.show("USERS") if r["name"] == name]
            assert count("svc") in ([], [0]) and count("svc2")[0] >= 1
    # And back, through a password that is wrong for a while.
    with p.login() as c:
        p.databases = {"db": pg.entry(user="svc", password="svc_pw", pool_mode=mode)}
        p.reload()
        assert c.value(who) == "svc"


@ours
def test_another_forced_user_under_load(pool, pg):
    """To and fro, with clients at work and clients that come: none sees an error."""
    def entries(user):
        return {n: pg.entry(user=user, password=user + "_pw", pool_mode="transaction") for n in ("db", "more")}
    p = pool(databases=entries("svc"), default_pool_size=2, max_user_connections=3)
    stop, wrong, done = threading.Event(), [], []

    def work(database):
        try:
            c = p.login(database=database)
            while not stop.is_set():
                for text in ("BEGIN", "SELECT current_user", "COMMIT"):
                    r = c.query(text)
                    if r.errors:
                        wrong.append(r.errors[0])
                done.append(database)
                if len(done) % 7 == 0:
                    c.close()
                    c = p.login(database=database)
            c.close()
        except Exception as e:
            wrong.append(e)
    threads = [threading.Thread(target=work, args=(("db", "more")[i % 2],)) for i in range(6)]
    for t in threads:
        t.start()
    for i in range(8):
        p.databases = entries(("svc2", "svc")[i % 2])
        p.reload()
        mark = len(done)
        env.wait_for(lambda: len(done) > mark + 12 or wrong, "some work")
    stop.set()
    for t in threads:
        t.join()
    assert not wrong
    for database in ("db", "more"):
        with p.login(database=database) as c:
            assert c.value("SELECT current_user") == "svc"
    env.wait_for(lambda: p.pool("db")["cl_active"] == p.pool("more")["cl_active"] == 0, "the clients to be gone")
    users, servers = p.show("USERS"), p.show("SERVERS")
    assert sum(int(r["current_connections"]) for r in users) == len(servers)
    for r in users:
        assert int(r["current_connections"]) == sum(s["user"] == r["name"] for s in servers)
    assert [r["current_client_connections"] for r in users if r["name"] == "u_trust"] == ["0"]


@ours
def test_another_forced_user_who_has_a_pool_already(pool, pg):
    """The auth_user of the database, say. Both pools log in as him."""
    asks = dict(auth_user="svc2", auth_query="SELECT 'found'::text, ''::text WHERE $1 = 'found'")
    p = pool(databases={"db": pg.entry(user="svc", password="svc_pw", **asks)}, users={"u_trust": "", "svc2": "svc2_pw"})
    with p.login() as c:
        assert c.value("SELECT current_user") == "svc"
        with p.login("found"):
            assert sorted(r["user"] for r in p.show("POOLS")) == ["pgbouncer", "svc", "svc2"]
        p.databases = {"db": pg.entry(user="svc2", **asks)}
        p.reload()
        assert c.value("SELECT current_user") == "svc2"
        with p.login() as other:
            assert other.value("SELECT current_user") == "svc2"


@ours
def test_a_forced_user_stays(pool, pg):
    p = pool(databases={"db": pg.entry(user="svc", password="svc_pw")})
    p.databases = {"db": pg.entry()}
    p.reload()
    p.wait_log("WARNING losing forced user not supported, keeping old setting$")
    with p.login() as c:
        assert c.value("SELECT current_user") == "svc"


def test_users_that_go_from_the_file_keep_their_settings(pool):
    p = pool(user_lines={"u_trust": "pool_mode=session", "other": "pool_mode=statement"})
    mode = lambda name: [r["pool_mode"] for r in p.show("USERS") if r["name"] == name][0]
    p.user_lines = {"third": "pool_mode=session"}
    p.reload()
    assert (mode("u_trust"), mode("other"), mode("third")) == ("session", "statement", "session")
    p.user_lines = {"u_trust": ""}
    p.reload()
    assert not mode("u_trust") and mode("other") == "statement"


@pytest.mark.parametrize("how", ["SET", "RELOAD"])
def test_pool_size_counts_at_once(pool, how):
    p = pool(default_pool_size=1)
    with p.login() as a, p.login() as b:
        a.query("BEGIN")
        b.send(wire.query("SELECT 1"))
        p.wait_pool(cl_waiting=1)
        p.admin("SET default_pool_size = 2") if how == "SET" else p.reload(default_pool_size=2)
        assert b.until_ready().value() == "1"


# --- TLS --------------------------------------------------------------------------------

@pytest.fixture
def secure(pool, certs):
    """With its own copies of key and certificate."""
    def make(**settings):
        p = pool(start=False, client_tls_sslmode="allow", **settings)
        for kind in ("key", "crt"):
            path = p.settings["client_tls_%s_file" % {"key": "key", "crt": "cert"}[kind]] = os.path.join(p.dir, "own." + kind)
            install(p, certs, kind, "server")
            assert os.path.exists(path)
        p.write()
        p.start()
        return p
    return make


def install(p, certs, kind, name):
    path = os.path.join(p.dir, "own." + kind)
    shutil.copy(certs.key(name) if kind == "key" else certs.crt(name), path)
    env.own(path)
    os.chmod(path, 0o600)


def shown_by(p, certs, ca):
    with p.wire() as c:
        try:
            c.tls(ca=certs.crt(ca))
        except ssl.SSLError:
            return False
        c.login("u_trust", "db")
        return True


def test_files_of_the_same_name_are_read_again(secure, certs):
    p = secure()
    with p.wire() as old:
        old.tls(ca=certs.crt("ca"))
        old.login("u_trust", "db")
        install(p, certs, "key", "impostor")
        if not env.ORACLE:
            # Half of it: the old pair goes on, and RELOAD says so.
            reload_fails(p)
            p.wait_log("ERROR TLS configuration could not be reloaded, keeping old configuration$")
            assert not p.logged("RELOAD Failed")
            assert shown_by(p, certs, "ca")
        install(p, certs, "crt", "impostor")
        p.admin("RELOAD")
        assert shown_by(p, certs, "otherca") and not shown_by(p, certs, "ca")
        assert old.value("SELECT 1") == "1"


@ours
def test_settings_that_do_not_fit_are_shown_all_the_same(secure, certs):
    p = secure()
    with pytest.raises(PgError):
        p.reload(client_tls_protocols="tlsv9", query_timeout=9)
    now = config(p)
    assert (now["client_tls_protocols"], now["query_timeout"]) == ("tlsv9", "9")
    p.wait_log("ERROR invalid client_tls_protocols: tlsv9$")
    assert shown_by(p, certs, "ca")


@ours
def test_contents_of_the_servers_files_disturb_no_connection(pool, certs):
    p = pool(start=False, server_tls_sslmode="verify-ca")
    path = p.settings["server_tls_ca_file"] = os.path.join(p.dir, "ca.crt")
    shutil.copy(certs.crt("ca"), path)
    env.own(path)
    p.write()
    p.start()
    with p.login() as c:
        pid = c.pid()
        with open(path, "a") as f:
            f.write(open(certs.crt("otherca")).read())
        p.admin("RELOAD")
        assert c.pid() == pid
        for setting, value in (("server_tls_protocols", "tlsv1.3"), ("server_tls_ciphers", "HIGH"),
                               ("server_tls13_ciphers", "TLS_AES_256_GCM_SHA384"), ("server_tls_sslmode", "require")):
            p.reload(**{setting: value})
            env.wait_for(lambda: c.pid() != pid, lambda: "another server after " + setting)
            pid = c.pid()
            p.admin("RELOAD")
            assert c.pid() == pid
