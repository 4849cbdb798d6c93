"""Temp dirs, ports, the unprivileged user, and waiting.

PostgreSQL and the pooler refuse to run as root, so as root every server
process is started as the user postgres, in directories that belong to it.
"""
import contextlib
import ctypes
import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import time

IS_ROOT = os.geteuid() == 0
SERVER_USER = "postgres" if IS_ROOT else pwd.getpwuid(os.geteuid()).pw_name
ORACLE = os.environ.get("ORACLE", "") not in ("", "0")
# Sanitizer builds are several times slower; they change how long we are
# prepared to wait, never what has to happen.
SLOW = float(os.environ.get("TIMEOUT_SCALE", "1"))
PATIENCE = 15.0 * SLOW

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD_DIR = os.path.abspath(os.environ.get("BUILD_DIR", os.path.join(TOP, "build")))
ORACLE_BINARY = "/usr/sbin/pgbouncer"


def binary(name):
    """Path of one of our programs, in the build tree under test."""
    if name == "pg-ecdsa-proxy":
        return os.environ.get("PGECDSA_PROXY", os.path.join(BUILD_DIR, name))
    return os.environ.get("PGECDSA_TOKEN", os.path.join(BUILD_DIR, name))


def _as_server(args):
    """By a program of its own: for a user or a preexec_fn Python would fork instead of vfork, and copying what a test
    run of some hundred MiB has mapped costs more than most of what is started here."""
    who = ["--reuid", SERVER_USER, "--regid", str(pwd.getpwnam(SERVER_USER).pw_gid), "--clear-groups"] if IS_ROOT else []
    # A test run that is killed takes its servers along.
    return ["/usr/bin/setpriv", *who, "--pdeathsig", "QUIT", "--", *args]


def popen(args, **kw):
    """Start a server process as the unprivileged user, in a session of its own."""
    kw.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(_as_server(args), start_new_session=True, **kw)


_libc = ctypes.CDLL(None, use_errno=True)


def run(args, **kw):
    """Run a command to its end as the unprivileged user; its output is returned."""
    kw.setdefault("stdout", subprocess.PIPE)
    kw.setdefault("stderr", subprocess.STDOUT)
    p = popen(args, text=True, **kw)
    out, _ = p.communicate(timeout=120 * SLOW)
    if p.returncode:
        raise RuntimeError("%s: status %d\n%s" % (" ".join(args), p.returncode, out))
    return out


@contextlib.contextmanager
def as_server_user():
    """This thread alone has the server user's identity meanwhile, so that the
    other end of a Unix socket sees it. The C library would change all threads."""
    if not IS_ROOT:
        yield
        return
    number = {"x86_64": 117, "aarch64": 147}[os.uname().machine]  # setresuid
    if _libc.syscall(number, -1, pwd.getpwnam(SERVER_USER).pw_uid, -1):
        raise OSError(ctypes.get_errno(), "setresuid")
    try:
        yield
    finally:
        _libc.syscall(number, -1, 0, -1)


def own(path):
    if IS_ROOT:
        shutil.chown(path, SERVER_USER, pwd.getpwnam(SERVER_USER).pw_gid)
    return path


def make_dir(parent=None, prefix="pgecdsa-"):
    """A directory of the server user. Short, since it holds Unix sockets."""
    path = tempfile.mkdtemp(prefix=prefix, dir=parent)
    os.chmod(path, 0o755)
    return own(path)


def write(path, text, mode=0o644):
    with open(path, "w" if isinstance(text, str) else "wb") as f:
        f.write(text)
    os.chmod(path, mode)
    return own(path)


def of_sanitizers():
    """What a program gets of our environment that is started with one of its own."""
    names = ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    if "PGECDSA_ALLOW_CORE" in os.environ or os.environ.get("ASAN_OPTIONS"):
        kept["PGECDSA_ALLOW_CORE"] = "1"
    return kept


_given = set()
# Parallel runs of pytest each have a range of their own; PORT_SLICE is where those of one call begin.
_SLICE = (int(os.environ.get("PORT_SLICE", "0")) + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])) % 16
_RANGE = (12000 + 1295 * _SLICE, 13294 + 1295 * _SLICE)


def free_port():
    """A port below the ephemeral range, so that no outgoing connection of a
    neighbour can take it between now and the bind."""
    if len(_given) > 900:
        _given.clear()  # whoever had the first of them is long gone
    while True:
        port = random.randint(*_RANGE)
        if port in _given:
            continue
        try:
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with contextlib.closing(socket.socket(family)) as s:
                    s.bind((host, port))
        except OSError:
            continue
        _given.add(port)
        return port


def wait_for(condition, what="condition", timeout=None, pause=0.01):
    """Poll until the condition holds; its value is returned."""
    end = time.monotonic() + (timeout or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + (what() if callable(what) else what))
        time.sleep(pause)


def rss_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def cpu_seconds(pid):
    """User and system seconds of a process, all its threads that still live;
    by the scheduler's clock where there is one, since a tick is 10 ms."""
    try:
        total = 0
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
                total += int(f.read().split()[0])
        if total:
            return total / 1e9
    except FileNotFoundError:
        pass
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
