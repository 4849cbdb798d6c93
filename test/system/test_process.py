"""The process: words of the command line, environment, limits, sockets it makes, where its log goes.

Configuration specification, sections 14 to 18 and 21. What starts and stops it is in test_start.py.
"""
import grp
import os
import re
import socket
import stat
import subprocess

import pytest
from harness import env
from harness.wire import Closed, PgError

ours = pytest.mark.ours


def program(p, *args, **kw):
    """Run the program to its end; status, stdout, stderr."""
    child = env.popen([p.binary, *args], cwd=p.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
    out, err = child.communicate(timeout=env.PATIENCE)
    return child.returncode, out, err


def start(p, prefix=(), **environment):
    """Start it with more in its environment."""
    with open(p.logfile, "ab") as log:
        p.process = env.popen([*prefix, p.binary, *p.args, p.ini], cwd=p.dir, stdout=log, stderr=subprocess.STDOUT,
                              env={**os.environ, **environment})
    env.wait_for(p.answers, lambda: "the start: " + p.log())
    return p


def fails(p, *texts):
    p.spawn()
    p.wait_exit(1)
    for text in texts:
        assert re.search(text, p.log(), re.M), p.log()


@pytest.fixture
def idle(pooler):
    return pooler(start=False)


# --- the command line ---------------------------------------------------------

@pytest.mark.parametrize("args, line", [
    ([], "no configuration file specified"), (["a.ini", "b.ini"], "no configuration file specified"),
    (["--user=x"], "no configuration file specified"), (["-x", "a.ini"], "invalid option -- 'x'"),
    (["--frob", "a.ini"], "unrecognized option '--frob'"), (["-u"], "option requires an argument -- 'u'"),
    (["--user"], "option '--user' requires an argument"), (["--quiet=1", "a.ini"], "option '--quiet' doesn't allow an argument"),
])
def test_usage_errors_to_the_letter(idle, args, line):
    """The program as it was called, in both lines."""
    assert program(idle, *args) == (1, "", '%s: %s\nTry "%s --help" for more information.\n' % (
        idle.binary, line, idle.binary))


@pytest.mark.parametrize("args, begins", [(["-V", "x.ini"], "PgBouncer "), (["-h", "-V"], "is a connection pooler"),
                                          (["-V", "-h"], "PgBouncer "), (["--vers"], "PgBouncer "),
                                          (["x.ini", "--help"], "Usage:\n  ")])
def test_the_first_of_help_and_version_counts(idle, args, begins):
    status, out, err = program(idle, *args)
    assert (status, err) == (0, "") and begins in out


@pytest.mark.parametrize("args", [["-v", "no.ini"], ["no.ini", "-v"], ["--", "no.ini"], ["--verb", "no.ini"], ["-d", "no.ini"]])
def test_a_missing_file_whatever_the_options(idle, args):
    status, out, err = program(idle, *args)
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[\d+\] "
    assert (status, out) == (1, "")
    assert re.fullmatch(stamp + 'ERROR could not load file "no.ini": No such file or directory\n'
                        + stamp + "FATAL cannot load config file\n", err), err


def test_quiet_says_nothing_at_all(idle):
    assert program(idle, "-q", "no.ini") == (1, "", "")


# --- limits -------------------------------------------------------------------

@pytest.mark.parametrize("databases, users, more, expected", [
    ({}, {}, {}, 112),
    # The users are those of auth_file (admin and stats too) and pgbouncer.
    ({"a": ""}, {}, {}, 112 + 20 * 3),
    ({"a": "pool_size=7"}, {"x": "", "y": ""}, {}, 112 + 7 * 5),
    ({"a": "user=z"}, {"x": ""}, {}, 112 + 20),
    ({"a": "user=x", "b": "pool_size=1 auth_user=asker"}, {"x": ""}, {}, 112 + 20 + 5),
    ({"a": "pool_size=1"}, {"x": ""}, {"user_lines": {"u": "pool_mode=session", "x": ""}}, 112 + 5),
    ({"*": "pool_size=9"}, {}, {"max_client_conn": 1000}, 1012),
])
def test_expected_descriptors(pooler, databases, users, more, expected):
    p = pooler(databases=databases, users=users, **more)
    assert p.logged(r"LOG kernel file descriptor limit: \d+ \(hard: \d+\); max_client_conn: (\d+), "
                    r"max expected fd use: (\d+)$") == [(str(more.get("max_client_conn", 100)), str(expected))]


@ours
def test_the_limit_of_descriptors_is_raised(pooler):
    p = pooler(start=False, max_client_conn=2000)
    start(p, prefix=["prlimit", "--nofile=256:4096"])
    soft, hard = p.logged(r"descriptor limit: (\d+) \(hard: (\d+)\)")[0]
    assert int(soft) >= 2012 and hard == "4096"


# --- the environment ------------------------------------------------------------

@pytest.mark.parametrize("zone, name", [("XXX-3:30", "XXX"), ("<+07>-7", r"\+07"), ("UTC", "UTC")])
def test_time_zone(pooler, zone, name):
    """Of the log, and of the console's times."""
    p = start(pooler(start=False), TZ=zone)
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} %s \[%d\] [A-Z]+ " % (name, p.process.pid), line)
               for line in p.log().splitlines())
    row = p.show("CLIENTS")[0]
    for key in ("connect_time", "request_time"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d " + name, row[key])
    # To the minute: the clock may move on in between.
    assert row["connect_time"][:14] == p.log().splitlines()[-1][:14]


def test_libevents_own_variables(pooler):
    p = start(pooler(start=False), EVENT_NOPOLL="1", EVENT_SHOW_METHOD="1")
    assert "[msg] libevent using: epoll" in p.log()


@ours
def test_without_epoll_it_would_not_run(pooler, pg):
    p = start(pooler(start=False, databases={"db": pg.entry()}, users={"u_trust": ""}), EVENT_NOEPOLL="1")
    p.wait_log("WARNING EVENT_NOEPOLL is passed over")
    with p.login() as c:
        assert c.value("SELECT 1") == "1"


@ours
def test_a_notify_socket_in_vain(pooler):
    p = start(pooler(start=False), NOTIFY_SOCKET="/nonexistent/socket")
    built = "systemd: yes" in program(p, "--version")[1]
    p.wait_log("WARNING sd_notify: No such file or directory" if built else
               "WARNING apparently running under systemd with notify socket, but systemd support was not built")


# --- a start that fails ----------------------------------------------------------

@ours
def test_resolver_that_cannot_be_set_up(pooler):
    fails(pooler(start=False, resolv_conf="/nonexistent"), "FATAL dns setup failed$")


def test_listen_addr_that_nobody_knows(pooler):
    p = pooler(start=False, listen_addr="127.0.0.1, no.such.host.invalid")
    fails(p, r"FATAL getaddrinfo\('no.such.host.invalid', '%d'\) = .+ \[-\d+\]$" % p.port)


def test_one_address_of_the_list_is_enough(pooler):
    p = pooler(listen_addr="203.0.113.7,  127.0.0.1,")
    p.wait_log(r"WARNING cannot listen on 203\.0\.113\.7:%d: bind\(\): Cannot assign requested address$" % p.port)
    p.wait_log(r"LOG listening on 127\.0\.0\.1:%d$" % p.port)


@ours
def test_no_address_of_the_list(pooler):
    fails(pooler(start=False, listen_addr="203.0.113.7,203.0.113.8"),
          "FATAL failed to listen on any address in listen_addr list: 203.0.113.7,203.0.113.8$")


@ours
@pytest.mark.parametrize("why, more", [("No such file or directory", {"unix_socket_dir": "/nonexistent"}),
                                       ("File name too long", {"unix_socket_dir": "/" + "x" * 120}),
                                       ("not found", {"unix_socket_group": "nobody_of_that_name"}),
                                       ("Operation not permitted", {"unix_socket_group": "1"})])
def test_unix_socket_that_cannot_be_made(pooler, why, more):
    p = pooler(start=False, **more)
    fails(p, why, "FATAL failed to create unix socket$")
    assert not os.path.exists(socket_file(p))


def test_lock_file_beside_the_socket(pooler):
    """It belongs to a PostgreSQL server."""
    p = pooler(start=False, listen_addr="")
    env.write(socket_file(p) + ".lock", "")
    fails(p, "FATAL unix port %d is in use$" % p.port)


def test_logfile_that_cannot_be_opened(pooler):
    for flag in ([], ["-q"]):
        p = pooler(start=False, logfile="/nonexistent/dir/log", args=flag)
        fails(p, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \d+ FATAL Cannot open logfile: '/nonexistent/dir/log': "
              "No such file or directory$")


@pytest.mark.parametrize("text, starts", [(" 4194000\n", True), ("4194000", True), ("4194000 and more\nlines\n", True),
                                          ("-1\n", False), ("99999999999999999999\n", False), ("x 4194000\n", False),
                                          ("1\n", False)])
def test_what_may_stand_in_a_pidfile(pooler, text, starts):
    """The number of a process that is not there; process 1 is somebody else's."""
    p = pooler(start=False)
    path = p.settings["pidfile"] = os.path.join(p.dir, "pid")
    env.write(path, text)
    p.write()
    if starts:
        p.start()
        p.wait_log("LOG stale pidfile, removing$")
        assert open(path).read() == "%d\n" % p.process.pid
    else:
        fails(p, "FATAL pidfile .*exists, another instance running\\?$")
        assert open(path).read() == text


def test_pidfile_that_cannot_be_read(pooler):
    p = pooler(start=False)
    path = p.settings["pidfile"] = os.path.join(p.dir, "pid")
    os.symlink(path, path)
    p.write()
    fails(p, "FATAL could not open pidfile '%s': Too many levels of symbolic links" % path)


def test_pidfile_that_cannot_be_written(pooler):
    fails(pooler(start=False, pidfile="/nonexistent/dir/pid"), "FATAL could not open pidfile '/nonexistent/dir/pid': No such")


# --- sockets ----------------------------------------------------------------------

def socket_file(p):
    return os.path.join(p.dir, ".s.PGSQL.%d" % p.port)


@pytest.mark.parametrize("value, mode", [("0700", 0o700), ("511", 0o777), ("0x1a0", 0o640), (None, 0o777)])
def test_mode_of_the_unix_socket(pooler, value, mode):
    p = pooler(unix_socket_mode=value)
    assert stat.S_IMODE(os.stat(socket_file(p)).st_mode) == mode
    p.wait_log("LOG listening on unix:%s$" % socket_file(p))


@pytest.mark.skipif(not env.IS_ROOT, reason="needs root to give the program a second group")
@pytest.mark.parametrize("by", ["name", "number"])
def test_group_of_the_unix_socket(pooler, by):
    second = [g for g in grp.getgrall() if g.gr_name in ("users", "games")][0]
    p = pooler(start=False, unix_socket_group=second.gr_name if by == "name" else second.gr_gid)
    log = open(p.logfile, "ab")
    p.process = subprocess.Popen([p.binary, p.ini], cwd=p.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 user=env.SERVER_USER, group=os.stat(p.dir).st_gid, extra_groups=[second.gr_gid])
    log.close()
    env.wait_for(p.answers, "start")
    assert os.stat(socket_file(p)).st_gid == second.gr_gid


@ours
def test_abstract_socket_for_clients(pooler, pg):
    name = "pgecdsa-test-%d" % env.free_port()
    p = pooler(unix_socket_dir="@" + name, databases={"db": pg.entry()}, users={"u_trust": ""})
    p.wait_log("LOG listening on unix:@%s/.s.PGSQL.%d$" % (name, p.port))
    with p.connect(host="@" + name) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert "@" + name not in os.listdir(p.dir)


def test_a_relative_directory_is_that_of_the_start(pooler):
    p = pooler(unix_socket_dir=".")
    assert os.path.exists(socket_file(p))


@ours
def test_two_on_one_port_with_so_reuseport(pooler, pg):
    """The rolling restart: the second starts while the first serves."""
    more = dict(databases={"db": pg.entry()}, users={"u_trust": ""}, so_reuseport=1)
    first = pooler(**more)
    second = pooler(listen_port=first.port, **more)
    second.port = first.port
    with first.login() as c:
        assert c.value("SELECT 1") == "1"
    first.signal(15)
    first.wait_exit()
    with second.login() as c:
        assert c.value("SELECT 1") == "1"


# --- the log ------------------------------------------------------------------------

@pytest.mark.skipif(not env.IS_ROOT or subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode,
                    reason="needs root and a mount name space of its own, for a /dev/log")
def test_syslog(pooler, pg):
    """Priorities, name, process id; no stamp and no level of ours; nothing below LOG. By RELOAD on and off."""
    p = pooler(start=False, databases={"db": pg.entry()}, users={"u_trust": ""}, verbose=2, syslog=1,
               syslog_ident="it's me", syslog_facility="local3")
    dev = os.path.join(p.dir, "dev")
    os.mkdir(dev)
    for name in ("null", "zero", "urandom", "random"):
        open(os.path.join(dev, name), "w").close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(os.path.join(dev, "log"))
        os.chmod(os.path.join(dev, "log"), 0o666)
        log.settimeout(env.PATIENCE)
        script = ("cd $0 && for f in null zero urandom random; do mount --bind /dev/$f $f; done && "
                  "mount --rbind $0 /dev && exec setpriv --reuid $1 --regid $2 --clear-groups $3 $4")
        with open(p.logfile, "ab") as out:
            p.process = subprocess.Popen(
                ["unshare", "-m", "--propagation", "private", "sh", "-c", script, dev, env.SERVER_USER,
                 str(os.stat(p.dir).st_gid), p.binary, p.ini], cwd=p.dir, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        env.wait_for(p.answers, "start")

        def until(text):
            lines = []
            while not lines or text not in lines[-1]:
                lines.append(log.recv(9000).decode())
            return lines
        head = r"<%%d>\w{3} [ \d]\d \d\d:\d\d:\d\d it's me\[%d\]: " % p.process.pid
        seen = until("process up: PgBouncer")
        assert all(re.match(head % (19 << 3 | 6) + r"(?!LOG|DEBUG|NOISE)\S", line) for line in seen), seen
        with pytest.raises(PgError):
            p.login("nobody")
        assert re.match(head % (19 << 3 | 4) + "C-.* pooler error: ", until("pooler error: ")[-1])
        p.reload(syslog_facility="auth", syslog_ident="other")
        with pytest.raises(PgError):
            p.login("nobody")
        assert re.match(r"<%d>.* other\[%d\]: C-" % (4 << 3 | 4, p.process.pid), until("pooler error: ")[-1])
        p.reload(syslog=0)
        log.setblocking(False)
        try:
            while True:
                log.recv(9000)
        except BlockingIOError:
            pass
        with pytest.raises(PgError):
            p.login("nobody")
        p.wait_log("pooler error: ", 3)
        with pytest.raises(BlockingIOError):
            log.recv(9000)


@pytest.mark.parametrize("setting, lines", [
    ("log_connections", [r"LOG C-\S+: db/u_trust@127\.0\.0\.1:\d+ login attempt: db=db user=u_trust tls=no",
                         r"LOG S-\S+: db/u_trust@127\.0\.0\.1:\d+ new connection to server \(from 127\.0\.0\.1:\d+\)"]),
    ("log_disconnections", [r"LOG C-\S+: db/u_trust@127\.0\.0\.1:\d+ closing because: client close request \(age=\d+s\)"]),
    ("log_pooler_errors", [r"WARNING C-\S+: \S+@127\.0\.0\.1:\d+ pooler error: no such database: nowhere"]),
])
def test_what_is_logged_can_be_switched_off(pooler, pg, setting, lines):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""})

    def do():
        with p.login() as c:
            c.value("SELECT 1")
            c.send(b"X\0\0\0\4")
            c.expect_closed()
        with pytest.raises(PgError):
            p.login(database="nowhere")
        p.admin("SHOW VERSION")
    do()
    for line in lines:
        p.wait_log(line)
    p.reload(**{setting: 0})
    p.admin("RECONNECT")
    p.wait_pool(sv_idle=0)
    p.mark()
    do()
    for line in lines:
        assert not p.logged(line)


def test_prefixes(pooler, pg):
    """Of IPv6, and of a Unix socket with the process at its other end."""
    p = pooler(listen_addr="::1", databases={"db": pg.entry()}, users={"u_trust": ""})
    with p.login(host="::1"), p.login(host=p.dir):
        p.wait_log(r"LOG C-\S+: db/u_trust@\[::1\]:\d+ login attempt: ")
        p.wait_log(r"LOG C-\S+: db/u_trust@unix(\(%d\))?:%d login attempt: " % (os.getpid(), p.port))


@ours
def test_levels_by_set(pooler, pg):
    """verbose has no default: what SET makes of it outlives RELOAD."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction", server_tls_sslmode="disable")
    with p.login() as c:
        c.value("SELECT 1")
        assert not p.logged(" (DEBUG|NOISE) ")
        p.admin("SET verbose = 2")
        p.admin("RELOAD")
        c.query("SET DateStyle = 'SQL, DMY'")
        with p.login() as other:
            other.query("BEGIN")
            assert c.value("SHOW DateStyle") == "SQL, DMY"
        p.wait_log(r"(DEBUG|NOISE) .*varcache_apply: .*SET DateStyle='SQL, DMY'")
        p.admin("SET verbose = 0")
        p.mark()
        c.query("SELECT 1")
        assert not p.logged(" (DEBUG|NOISE) ")


@ours
def test_lines_of_a_message(pooler):
    """Line ends become a line end and a tab; other control bytes do not reach the terminal."""
    p = pooler()
    with p.console() as admin:
        assert admin.query("two\nlines\x1b[31m \n ").errors
    p.wait_log(r"^\d{4}.* ERROR invalid command 'two\n\tlines\?\[31m \n\t ', use SHOW HELP;$")
