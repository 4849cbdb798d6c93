"""Options of the sockets, read from the descriptors that SHOW FDS hands out: configuration specification, section 18."""
import fcntl
import os
import socket

import pytest
from harness import env, wire
from test_fds import operator

pytestmark = pytest.mark.ours
TCP_DEFER_ACCEPT, TCP_USER_TIMEOUT = 9, 18


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry()}, "users": {"u_trust": ""}, "pool_mode": "transaction",
                         "server_tls_sslmode": "disable", **settings})
    return make


def options(p):
    """(task, family) to the options of its last socket."""
    out = {}
    with operator(p) as admin:
        rows = admin.query("SHOW FDS").dicts()
        for row, fd in zip(rows, admin.fds):
            with socket.socket(fileno=os.dup(fd)) as s:
                one = {"sndbuf": s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
                       "rcvbuf": s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
                       "nonblocking": bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK)}
                if s.family != socket.AF_UNIX:
                    tcp = {"nodelay": socket.TCP_NODELAY, "idle": socket.TCP_KEEPIDLE, "intvl": socket.TCP_KEEPINTVL,
                           "cnt": socket.TCP_KEEPCNT, "user": TCP_USER_TIMEOUT, "defer": TCP_DEFER_ACCEPT}
                    one.update({k: s.getsockopt(socket.IPPROTO_TCP, v) for k, v in tcp.items()})
                    one.update({k: s.getsockopt(socket.SOL_SOCKET, v) for k, v in (
                        ("alive", socket.SO_KEEPALIVE), ("reuseport", socket.SO_REUSEPORT), ("reuse", socket.SO_REUSEADDR))})
                if s.family == socket.AF_INET6:
                    one["v6only"] = s.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                out[row["task"], s.family] = one
    return out


def seen(p):
    with p.login() as c:
        c.query("BEGIN")
        return options(p)


LISTENER, CLIENT, SERVER = (("pooler", socket.AF_INET), ("client", socket.AF_INET), ("server", socket.AF_INET))


def test_by_default(pool):
    """Keep-alive, no delay, the rest as the system has it."""
    with socket.socket() as s:
        system = [s.getsockopt(socket.IPPROTO_TCP, o) for o in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)]
    got = seen(pool(listen_addr="127.0.0.1, ::1"))
    for who in (LISTENER, CLIENT, SERVER):
        o = got[who]
        assert (o["nodelay"], o["alive"], o["user"]) == (1, 1, 0) and [o["idle"], o["intvl"], o["cnt"]] == system
        assert o["nonblocking"]
    assert (got[LISTENER]["reuse"], got[LISTENER]["reuseport"], got[LISTENER]["defer"]) == (1, 0, 0)
    assert got["pooler", socket.AF_INET6]["v6only"] == 1
    assert ("pooler", socket.AF_UNIX) in got


def test_as_configured(pool):
    p = pool(tcp_keepidle=77, tcp_keepintvl=33, tcp_keepcnt=5, tcp_user_timeout=12345, tcp_socket_buffer=16384,
             tcp_defer_accept=1, so_reuseport=1)
    with p.wire() as c:
        # With TCP_DEFER_ACCEPT the first bytes make the connection.
        c.login("u_trust", "db")
        c.query("BEGIN")
        got = options(p)
    for who in (LISTENER, CLIENT, SERVER):
        o = got[who]
        assert (o["idle"], o["intvl"], o["cnt"], o["user"], o["alive"]) == (77, 33, 5, 12345, 1), who
        # The kernel doubles it.
        assert o["sndbuf"] == o["rcvbuf"] == 2 * 16384
    assert got[LISTENER]["reuseport"] == 1 and got[LISTENER]["defer"] > 0


def test_without_keep_alive(pool):
    got = seen(pool(tcp_keepalive=0, tcp_keepidle=77))
    with socket.socket() as s:
        idle = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    assert [(got[who]["alive"], got[who]["idle"]) for who in (LISTENER, CLIENT, SERVER)] == [(0, idle)] * 3


def test_changed_while_running(pool):
    """For connections that come from then on; tcp_defer_accept at once."""
    p = pool(tcp_user_timeout=5000)
    p.admin("SET tcp_keepidle = 99")
    got = seen(p)
    assert (got[CLIENT]["idle"], got[SERVER]["idle"], got[CLIENT]["user"]) == (99, 99, 5000)
    p.admin("RECONNECT")
    p.wait_pool(sv_idle=0, sv_active=0)
    p.reload(tcp_keepalive=0, tcp_user_timeout=0, tcp_defer_accept=1)
    got = seen(p)
    assert [(got[who]["alive"], got[who]["user"]) for who in (LISTENER, CLIENT, SERVER)] == [(0, 0)] * 3
    assert got[LISTENER]["defer"] > 0
    p.admin("SET tcp_defer_accept = 0")
    assert options(p)[LISTENER]["defer"] == 0


def test_default_of_tcp_defer_accept(pool):
    """A connection that says nothing is not even accepted."""
    p = pool(tcp_defer_accept=None)
    assert [r["value"] for r in p.show("CONFIG") if r["key"] == "tcp_defer_accept"] == ["1"]
    with p.wire() as silent:
        assert options(p)[LISTENER]["defer"] > 0
        states = [r["state"] for r in p.show("SOCKETS")]
        assert "cl_login" not in states
        silent.login("u_trust", "db")
        assert silent.value("SELECT 1") == "1"


def test_children_inherit_nothing(pool):
    """Every descriptor of the process is close-on-exec but the standard three."""
    p = pool()
    with p.login() as c, p.console() as admin:
        c.query("BEGIN")
        admin.query("SHOW VERSION")
        base = "/proc/%d/fdinfo" % p.process.pid
        for name in os.listdir(base):
            with open(os.path.join(base, name)) as f:
                flags = int([line.split()[1] for line in f if line.startswith("flags:")][0], 8)
            assert int(name) < 3 or flags & os.O_CLOEXEC, os.readlink("/proc/%d/fd/%s" % (p.process.pid, name))


def test_accept_that_fails_pauses(pool):
    """Without descriptors: a line, and the listener rests; then it takes what has waited."""
    p = pool(start=False)
    with open(p.logfile, "ab") as log:
        p.process = env.popen(["prlimit", "--nofile=64:64", p.binary, p.ini], cwd=p.dir, stdout=log, stderr=log)
    env.wait_for(p.answers, "start")
    held = []
    with p.console() as admin:
        while not p.logged(r"ERROR accept\(\) failed: Too many open files$") and len(held) < 70:
            held.append(p.wire())
            admin.query("SHOW VERSION")
        p.wait_log(r"ERROR accept\(\) failed: Too many open files$")
        held[-1].send(wire.startup("u_trust", "db"))
        assert held[-1].silent() and admin.query("SHOW VERSION").rows
        assert len(p.logged(r"accept\(\) failed")) <= 2
        for c in held[:-1]:
            c.close()
        held[-1].finish_login("u_trust")
        assert held[-1].value("SELECT 1") == "1"
        held[-1].close()
