"""Starting, stopping, configuration files, signals."""
import os
import re
import signal
import socket
import stat
import subprocess

import pytest
from harness import env, wire
from harness.wire import Closed, PgError

ours = pytest.mark.ours


def program(p, *args, **kw):
    """Run the program to its end; status, stdout, stderr."""
    child = env.popen([p.binary, *args], cwd=p.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
    out, err = child.communicate(timeout=env.PATIENCE)
    return child.returncode, out, err


def listening(port, host="127.0.0.1"):
    with socket.socket() as s:
        s.settimeout(2)
        return s.connect_ex((host, port)) == 0


@pytest.fixture
def idle(pooler):
    """A pooler that was not started: for its directory and its binary."""
    return pooler(start=False)


# --- flags ------------------------------------------------------------------

@ours
def test_check_finds_every_problem(idle, tmp_path):
    env.write(idle.ini, "[databases]\na = host=x port=70000\nb = nonsense\n c\n[pgbouncer]\nlisten_port = 99999999\n"
              "auth_type = frob\nlisten_addr = 127.0.0.1\nlogfile = /nonexistent/dir/log\n"
              "auth_file = /nonexistent/users\nfrob = 1\n[junk]\nx = y\n[users]\nu = pool_mode=never\n"
              "[pgbouncer]\nclient_tls_sslmode = require\nlogfile = /nonexistent/dir/log\npeer_id = x\n")
    status, out, err = program(idle, "--check", idle.ini)
    assert status == 1 and out == ""
    for line, what in ((2, "parameter a"), (3, "parameter b"), (4, "syntax error"), (6, "parameter listen_port"),
                       (7, "parameter auth_type"), (11, "parameter frob"), (12, 'section "junk"'), (15, "parameter u"),
                       (19, "parameter peer_id")):
        assert re.search(r"^error: .*%s.*\(%s:%d\)$" % (what, re.escape(idle.ini), line), err, re.M), (what, err)
    assert "x = y" not in err and "parameter x" not in err
    assert "error: logfile = /nonexistent/dir/log: /nonexistent/dir: No such file or directory" in err
    assert "client_tls_key_file and client_tls_cert_file must be set" in err
    assert err.endswith("%s: not ok\n" % idle.ini)
    # The start itself still stops at the first one.
    assert program(idle, idle.ini)[2].count("ERROR") == 2


@ours
def test_check_of_a_good_file_changes_nothing(pooler, certs):
    p = pooler(logfile="", users={"someone": "secret"})
    before = sorted(os.listdir(p.dir))
    status, out, err = program(p, "--check", p.ini)
    assert (status, out) == (0, "")
    assert err.endswith("%s: ok\n" % p.ini) and "error" not in err and "secret" not in err
    assert sorted(os.listdir(p.dir)) == before
    p.admin("SHOW VERSION")


def test_help(idle):
    for flag in ("--help", "-h"):
        status, out, _ = program(idle, flag)
        assert status == 0
        assert "Usage" in out and "CONFIG_FILE" in out
        for option in ("--daemon", "--reboot", "--user", "--verbose", "--version", "--quiet"):
            assert option in out or env.ORACLE


def test_version_is_what_the_console_says(pooler):
    p = pooler()
    for flag in ("--version", "-V"):
        status, out, _ = program(p, flag)
        assert status == 0
        lines = out.splitlines()
        assert re.match(r"PgBouncer \d+\.\d+\.\d+", lines[0])
        assert lines[1].startswith("libevent ") and lines[2].startswith("adns: ") and lines[3].startswith("tls: ")
        assert [list(r.values()) for r in p.show("VERSION")] == [[lines[0]]]


@ours
def test_version_names_the_level(idle):
    assert program(idle, "--version")[1].startswith("PgBouncer 1.25.2 (pg-ecdsa-proxy ")


@pytest.mark.parametrize("args, text", [
    (["--no-such-flag", "x.ini"], "unrecognized option '--no-such-flag'"),
    (["-Z", "x.ini"], "invalid option -- 'Z'"),
    ([], "no configuration file specified"),
    (["a.ini", "b.ini"], "no configuration file specified"),
])
def test_usage_errors(idle, args, text):
    status, out, err = program(idle, *args)
    assert status == 1
    assert text in err
    assert "--help" in err
    assert out == ""


@pytest.mark.skipif(not env.IS_ROOT, reason="needs root to be refused as root")
def test_root_is_refused(idle):
    child = subprocess.run([idle.binary, idle.ini], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           timeout=env.PATIENCE, cwd=idle.dir)
    assert child.returncode == 1
    assert "FATAL" in child.stdout and "should not run as root" in child.stdout


@pytest.mark.skipif(not env.IS_ROOT, reason="needs root to switch the user")
@pytest.mark.parametrize("how", ["flag", "setting"])
def test_user_switch(pooler, pg, how):
    p = pooler(start=False, databases={"db": pg.entry()}, users={"u_trust": ""},
               user="postgres" if how == "setting" else None)
    log = open(p.logfile, "ab")
    p.process = subprocess.Popen([p.binary] + (["-u", "postgres"] if how == "flag" else []) + [p.ini],
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=p.dir)
    log.close()
    env.wait_for(p.answers, "start")
    with p.login() as c:
        assert c.value("SELECT 1") == "1"
    with open("/proc/%d/status" % p.process.pid) as f:
        uids = re.search(r"^Uid:\s+(.*)$", f.read(), re.M).group(1).split()
    assert "0" not in uids


def test_unknown_user_to_switch_to(idle):
    if not env.IS_ROOT:
        pytest.skip("needs root to switch the user")
    child = subprocess.run([idle.binary, "-u", "nobody_of_that_name", idle.ini], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=env.PATIENCE, cwd=idle.dir)
    assert child.returncode == 1
    assert "could not find user 'nobody_of_that_name' to switch to" in child.stdout


def test_quiet_logs_to_the_file_only(pooler):
    p = pooler(start=False, args=["-q"])
    p.settings["logfile"] = os.path.join(p.dir, "other.log")
    p.write()
    p.spawn()
    env.wait_for(lambda: os.path.exists(p.settings["logfile"])
                 and "process up" in open(p.settings["logfile"]).read(), "the log file")
    assert p.log() == ""


@pytest.mark.parametrize("flags, level", [([], "LOG"), (["-v"], "DEBUG"), (["-v", "-v"], "NOISE"), (["-vv"], "NOISE")])
def test_verbosity(pooler, flags, level):
    p = pooler(args=flags)
    p.admin("SHOW VERSION")
    assert [r["value"] for r in p.show("CONFIG") if r["key"] == "verbose"][0] in (
        (None, "0") if level == "LOG" else ({"DEBUG": "1", "NOISE": "2"}[level],))


def test_log_line_shape(pooler):
    p = pooler()
    for line in p.log().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[\d+\] (LOG|WARNING|ERROR|FATAL|DEBUG|NOISE) ", line)
    p.wait_log(r"LOG process up: PgBouncer \d+\.\d+\.\d+.*, libevent .* \(epoll\), adns: .*, tls: .*$")
    p.wait_log(r"LOG listening on 127\.0\.0\.1:%d$" % p.port)
    p.wait_log(r"kernel file descriptor limit: \d+ \(hard: \d+\); max_client_conn: 100, max expected fd use: \d+")


# --- files that cannot be loaded --------------------------------------------

BASE = "[databases]\ndb = host=127.0.0.1\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"

BROKEN = [
    ("unknown-key", BASE + "no_such_setting = 1\n", r'unknown parameter: pgbouncer/no_such_setting', 5),
    ("bad-int", BASE + "listen_port = 12x\n", r'invalid value "12x" for parameter listen_port in configuration', 5),
    ("bad-bool", BASE + "log_connections = yes\n", r'invalid value "yes" for parameter log_connections', 5),
    ("bad-time", BASE + "query_timeout = -1\n", r'invalid value "-1" for parameter query_timeout', 5),
    ("bad-enum", BASE + "pool_mode = often\n", r'invalid value "often" for parameter pool_mode', 5),
    ("bad-auth", BASE + "auth_type = guess\n", r'invalid value "guess" for parameter auth_type', 5),
    ("no-equals", BASE + "listen_port\n", r"syntax error in configuration", 5),
    ("open-section", "[databases\n", r"syntax error in configuration", 1),
    ("bad-section", BASE + "[nonsense]\n", r'invalid section "nonsense" in configuration', 5),
    ("no-section", "a = b\n", r"value without section: a", None),
    ("no-main", "[databases]\n", r"main section missing from config file", None),
    ("reserved", "[databases]\npgbouncer = host=x\n[pgbouncer]\n", r'database name "pgbouncer" is reserved', 2),
    ("db-key", "[databases]\ndb = nonsense=1\n[pgbouncer]\n", r"unrecognized connection parameter: nonsense", 2),
    ("db-syntax", "[databases]\ndb = host\n[pgbouncer]\n", r"syntax error in connection string", 2),
    ("db-empty", "[databases]\ndb = host=\n[pgbouncer]\n", r"syntax error in connection string", 2),
    ("db-port", "[databases]\ndb = port=x\n[pgbouncer]\n", r"invalid port: x", 2),
    ("db-mode", "[databases]\ndb = pool_mode=x\n[pgbouncer]\n", r"invalid pool mode: x", 2),
    ("user-key", "[users]\nu = nonsense=1\n[pgbouncer]\n", r"unrecognized user parameter: nonsense", 2),
    ("no-include", BASE + "%include nowhere.ini\n", r'could not load file "nowhere.ini": No such file or directory', 5),
    ("auth-dbname", BASE + "auth_dbname = pgbouncer\n", r'cannot use the reserved "pgbouncer" database as an auth_dbname', 5),
]


@ours
@pytest.mark.parametrize("text, message, line", [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_bad_file(pooler, text, message, line):
    p = pooler(start=False, ini=text)
    p.spawn()
    p.wait_exit(1)
    log = p.log()
    assert re.search(message, log), log
    assert "FATAL cannot load config file" in log
    if line is not None:
        assert "(%s:%d)" % (p.ini, line) in log or "%s:%d" % (p.ini, line) in log, log


def test_missing_file(pooler):
    p = pooler(start=False)
    os.unlink(p.ini)
    p.spawn()
    p.wait_exit(1)
    assert 'could not load file "%s": No such file or directory' % p.ini in p.log()


def test_include_depth(pooler):
    p = pooler(start=False, ini="[pgbouncer]\n%include self.ini\n")
    env.write(os.path.join(p.dir, "self.ini"), "%include self.ini\n")
    p.spawn()
    p.wait_exit(1)
    assert "include nesting level too deep" in p.log()


def test_include_indented_comments_and_last_one_wins(pooler, pg):
    p = pooler(start=False)
    env.write(os.path.join(p.dir, "dbs.ini"), "   db = %s\n ; comment\n # comment\n[users]\n" % pg.entry())
    text = "  [databases]\n   %%include dbs.ini\n u_trust =\n%s" % p.ini_text().split("[databases]\n")[1]
    p.users["u_trust"] = ""
    p.write(text + "  max_client_conn = 7\n max_client_conn = 9\n")
    p.start()
    config = {r["key"]: r["value"] for r in p.show("CONFIG")}
    assert config["max_client_conn"] == "9"
    with p.login() as c:
        assert c.value("SELECT 1") == "1"


@ours
@pytest.mark.parametrize("name, key", [("my db", "'my db'"), ("my-db", '"my-db"'), ("my.db", "my.db")])
def test_quoted_database_names(pooler, pg, name, key):
    p = pooler(databases={key: pg.entry()}, users={"u_trust": ""})
    with p.login(database=name) as c:
        assert c.value("SELECT current_database()") == "db"


def test_nowhere_to_listen(pooler):
    p = pooler(start=False, listen_addr="", unix_socket_dir="")
    p.spawn()
    p.wait_exit(1)
    assert "FATAL" in p.log() and "nowhere to listen on" in p.log()


@ours
def test_port_taken(pooler):
    p = pooler()
    other = pooler(start=False, listen_port=p.port)
    other.spawn()
    other.wait_exit(1)
    assert "cannot listen on 127.0.0.1" in other.log()
    assert re.search(r"FATAL.*failed to listen on any address in listen_addr list", other.log())
    p.admin("SHOW VERSION")


def test_unix_socket_in_use(pooler):
    p = pooler()
    other = pooler(start=False, listen_port=p.port, unix_socket_dir=p.dir, listen_addr="")
    other.spawn()
    other.wait_exit(1)
    assert re.search(r"FATAL.*unix socket is in use, cannot continue", other.log())
    p.wire(p.dir).login("admin", "pgbouncer", "admin_pw").close()


# --- the Unix socket --------------------------------------------------------

@ours
def test_unix_socket_file(pooler):
    p = pooler(unix_socket_mode="0750")
    path = os.path.join(p.dir, ".s.PGSQL.%d" % p.port)
    mode = os.stat(path).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o750
    p.signal(signal.SIGQUIT)
    p.wait_exit()
    assert not os.path.exists(path)


def test_stale_unix_socket_is_replaced(pooler):
    p = pooler(start=False)
    path = os.path.join(p.dir, ".s.PGSQL.%d" % p.port)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
    p.start()
    p.wire(p.dir).login("admin", "pgbouncer", "admin_pw").close()


@ours
def test_abstract_unix_socket(pooler):
    name = "pgecdsa-test-%d" % os.getpid()
    p = pooler(unix_socket_dir="@" + name)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("\0%s/.s.PGSQL.%d" % (name, p.port))


def test_listen_on_everything(pooler, pg):
    p = pooler(listen_addr="*", databases={"db": pg.entry()}, users={"u_trust": ""})
    for host in ("127.0.0.1", "::1", p.dir):
        with p.login(host=host) as c:
            assert c.value("SELECT 1") == "1"


# --- pidfile, daemon --------------------------------------------------------

def test_pidfile(pooler):
    p = pooler(start=False)
    path = p.settings["pidfile"] = os.path.join(p.dir, "pid")
    p.write()
    p.start()
    assert open(path).read() == "%d\n" % p.process.pid
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    p.signal(signal.SIGTERM)
    p.wait_exit()
    assert not os.path.exists(path)


def test_pidfile_of_a_dead_process(pooler):
    p = pooler(start=False)
    child = subprocess.Popen(["true"])
    child.wait()
    path = p.settings["pidfile"] = os.path.join(p.dir, "pid")
    env.write(path, "%d\n" % child.pid)
    p.write()
    p.start()
    p.wait_log("stale pidfile, removing")
    assert open(path).read() == "%d\n" % p.process.pid


@pytest.mark.parametrize("text", ["alive", "not a number\n", pytest.param("", marks=ours), "0\n"])
def test_pidfile_that_stops_the_start(pooler, text):
    p = pooler(start=False)
    path = p.settings["pidfile"] = os.path.join(p.dir, "pid")
    env.write(path, "%d\n" % os.getpid() if text == "alive" else text)
    p.write()
    p.spawn()
    p.wait_exit(1)
    assert re.search(r"FATAL pidfile .*exists, another instance running\?", p.log())
    assert path in p.log() or env.ORACLE
    assert os.path.exists(path)


def test_daemon(pooler):
    p = pooler(start=False, args=["-d"])
    path = p.settings["pidfile"] = os.path.join(p.dir, "pid")
    logfile = p.settings["logfile"] = os.path.join(p.dir, "daemon.log")
    p.write()
    p.spawn()
    p.wait_exit(0)
    pid = int(env.wait_for(lambda: os.path.exists(path) and open(path).read(), "the pidfile"))
    assert pid != p.process.pid
    try:
        assert os.getsid(pid) != os.getsid(0)
        env.wait_for(lambda: "process up" in open(logfile).read(), "the log")
        p.admin("SHOW VERSION")
        for fd in (0, 1, 2):
            assert os.readlink("/proc/%d/fd/%d" % (pid, fd)) == "/dev/null"
    finally:
        os.kill(pid, signal.SIGTERM)
    env.wait_for(lambda: not os.path.exists(path), "the pidfile to go")


def test_daemon_needs_a_pidfile(pooler):
    p = pooler(start=False, args=["-d"])
    p.spawn()
    p.wait_exit(1)
    assert "daemon needs pidfile configured" in p.log()


# --- reload -----------------------------------------------------------------

@pytest.mark.parametrize("how", ["console", "SIGHUP"])
def test_reload_adds_and_drops_databases(pooler, pg, how):
    p = pooler(databases={"db": pg.entry(), "old": pg.entry()}, users={"u_trust": ""})
    old, kept = p.login(database="old"), p.login()
    assert old.value("SELECT 1") == kept.value("SELECT 1") == "1"
    p.databases = {"db": pg.entry(), "new": pg.entry()}
    p.write()
    if how == "console":
        p.admin("RELOAD")
    else:
        p.signal(signal.SIGHUP)
        p.wait_log("got SIGHUP, re-reading config")
        p.wait_log("dropping database 'old' as it does not exist anymore or inactive auto-database")
    assert old.expect_error().text == "database removed"
    assert kept.value("SELECT 2") == "2"
    with p.login(database="new") as c:
        assert c.value("SELECT 3") == "3"


@ours
def test_reload_of_a_bad_file_changes_nothing(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, query_timeout=100)
    good = open(p.ini).read()
    env.write(p.ini, "[databases]\nother = host=127.0.0.1\n" + good.split("\n", 2)[2].replace(
        "query_timeout = 100", "query_timeout = 7\npool_mode = never"))
    with pytest.raises(PgError) as e:
        p.admin("RELOAD")
    assert (e.value.severity, e.value.code) == ("ERROR", "F0000")
    assert e.value.text == "RELOAD failed, see logs for additional details"
    p.wait_log("RELOAD Failed, see logs for more details")
    p.wait_log(r'invalid value "never" for parameter pool_mode in configuration \(.*:\d+\)')
    assert {r["key"]: r["value"] for r in p.show("CONFIG")}["query_timeout"] == "100"
    assert "other" not in [r["name"] for r in p.show("DATABASES")]
    with p.login() as c:
        assert c.value("SELECT 1") == "1"
    env.write(p.ini, good)
    p.admin("RELOAD")


def test_reload_undoes_set(pooler):
    p = pooler(query_timeout=50)
    value = lambda key: {r["key"]: r["value"] for r in p.show("CONFIG")}[key]
    p.admin("SET query_timeout = 7")
    p.admin("SET idle_transaction_timeout = '3.5'")
    assert (value("query_timeout"), value("idle_transaction_timeout")) == ("7", "3.5")
    p.admin("RELOAD")
    assert (value("query_timeout"), value("idle_transaction_timeout")) == ("50", "0")


def test_reload_reopens_the_log(pooler):
    p = pooler(start=False)
    path = p.settings["logfile"] = os.path.join(p.dir, "rotated.log")
    p.write()
    p.start()
    os.rename(path, path + ".1")
    p.admin("RELOAD")
    p.admin("SHOW VERSION")
    env.wait_for(lambda: os.path.exists(path), "the new log file")


def test_reload_reads_the_users_file(pooler, pg):
    p = pooler(databases={"db": pg.entry(user="u_trust")}, users={"someone": "one"}, auth_type="md5")
    p.login("someone", secret="one").close()
    p.users["someone"] = "another_one"
    p.users["new"] = "new_pw"
    p.write()
    p.signal(signal.SIGHUP)
    p.wait_log("got SIGHUP")
    env.wait_for(lambda: logs_in(p, "new", "new_pw"), "the new user")
    assert not logs_in(p, "someone", "one")
    assert logs_in(p, "someone", "another_one")


def logs_in(p, user, secret):
    try:
        p.login(user, secret=secret).close()
        return True
    except PgError:
        return False


def test_many_reloads_in_a_row(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""})
    with p.login() as c, p.console() as admin:
        for _ in range(50):
            assert admin.query("RELOAD").tags == ["RELOAD"]
            assert c.value("SELECT 1") == "1"


# --- signals ----------------------------------------------------------------

def test_pause_and_resume_by_signal(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction")
    c = p.login()
    assert c.value("SELECT 1") == "1"
    p.signal(signal.SIGUSR1)
    # Logged when the signal comes; the pool's own Worker hears of it a moment later, and closes its idle server.
    p.wait_log("got SIGUSR1, pausing all activity")
    p.wait_log("closing because: pause mode")
    c.send(wire.query("SELECT 2"))
    assert c.silent()
    p.signal(signal.SIGUSR1)
    p.wait_log("got SIGUSR1, but already paused/suspended")
    p.signal(signal.SIGUSR2)
    p.wait_log("got SIGUSR2, continuing from PAUSE")
    assert c.until_ready().value() == "2"
    p.signal(signal.SIGUSR2)
    p.wait_log("got SIGUSR2, but not paused/suspended")


@ours
def test_sigterm_waits_for_clients(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""})
    c = p.login()
    p.signal(signal.SIGTERM)
    p.wait_log("got SIGTERM, shutting down, waiting for all clients disconnect")
    env.wait_for(lambda: not listening(p.port), "the listener to close")
    assert c.value("SELECT 1") == "1"
    with p.wire(p.dir) as u, pytest.raises(PgError) as e:
        u.login("u_trust", "db")
    assert e.value.text == "pooler is shutting down"
    p.signal(signal.SIGUSR2)
    p.wait_log("got SIGUSR2 while shutting down, ignoring")
    assert p.process.poll() is None
    c.close()
    p.wait_exit()
    assert "client connections dropped, exiting" in p.log()
    assert not os.path.exists(os.path.join(p.dir, ".s.PGSQL.%d" % p.port))


@ours
def test_sigint_waits_for_servers(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction")
    busy, idle_one = p.login(), p.login()
    busy.query("BEGIN")
    p.signal(signal.SIGINT)
    p.wait_log("got SIGINT, shutting down, waiting for all servers connections to be released")
    assert busy.value("SELECT 1") == "1"
    idle_one.send(wire.query("SELECT 1"))
    assert idle_one.expect_error().text == "server shutting down"
    busy.query("COMMIT")
    p.wait_exit()
    assert "server connections dropped, exiting" in p.log()


@ours
@pytest.mark.parametrize("first, second", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT),
                                           (signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)])
def test_second_signal_ends_at_once(pooler, pg, first, second):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""})
    c = p.login()
    c.query("BEGIN")
    p.signal(first)
    p.wait_log("got %s, shutting down" % first.name)
    p.signal(second)
    p.wait_exit()
    assert "got %s while shutting down, fast exit" % second.name in p.log()
    with pytest.raises(Closed):
        while True:
            c.recv()


@ours
def test_sigquit(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""})
    c = p.login()
    c.query("BEGIN")
    p.signal(signal.SIGQUIT)
    p.wait_exit()
    assert "got SIGQUIT, fast exit" in p.log()
    with pytest.raises(Closed):
        while True:
            c.recv()


@ours
@pytest.mark.parametrize("value, count", [("1", 1), ("2", 2), ("auto", os.cpu_count()), ("3", 3)])
def test_worker_threads(pooler, pg, value, count):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, worker_threads=value)
    with p.login() as c:
        assert c.value("SELECT 1") == "1"
    assert len(os.listdir("/proc/%d/task" % p.process.pid)) >= count
    config = {r["key"]: r["value"] for r in p.show("CONFIG")}
    assert config["worker_threads"] == value


@ours
def test_a_file_may_begin_with_another_and_go_on_in_its_section(pooler):
    """What several processes have in common, and then what each has for itself (doc/usage.md)."""
    p = pooler(start=False, peer_id=0)
    common = p.ini + ".common"
    os.rename(p.ini, common)
    env.write(p.ini, "%%include %s\npeer_id = 7\ndefault_pool_size = 3\n" % common)
    p.start()
    shown = {r["key"]: r["value"] for r in p.show("CONFIG")}
    assert (shown["peer_id"], shown["default_pool_size"], shown["listen_port"]) == ("7", "3", str(p.port))


@ours
def test_unbuilt_behaviour_is_named_once(pooler):
    """A setting whose behaviour is not there yet is taken, shown, and warned of."""
    with open(os.path.join(env.TOP, "include", "config", "settings.def")) as f:
        later = re.findall(r'SETTING\((\w+), (?:TIME|INT), "[^"]*", [^,]+, [^,]+, \w+, LATER', f.read())
    if not later:
        pytest.skip("everything is built")
    p = pooler(**{later[0]: 77})  # nobody's default
    assert {r["key"]: r["value"] for r in p.show("CONFIG")}[later[0]] == "77"
    p.signal(signal.SIGQUIT)
    p.wait_exit()
    assert len(re.findall(r"WARNING.*" + later[0], p.log())) == 1
