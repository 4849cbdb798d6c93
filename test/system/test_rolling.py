"""so_reuseport, and restarts that no client notices. Behaviour specification, section 31."""
import contextlib
import itertools
import os
import shutil
import signal
import socket
import sys
import threading
import time

import pytest
from harness import env, wire
from harness.load import LEAVE, Crowd
from harness.wire import Closed, PgError

pytestmark = pytest.mark.ours
WAITING = "shutting down, waiting for all clients disconnect"


@pytest.fixture
def process(pooler, pg):
    """One of several processes on a port; a number is its peer_id, by which a client can tell where it is."""
    def make(number=1, **settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": "transaction", "server_tls_sslmode": "disable", "so_reuseport": 1,
                         "peer_id": number, "max_client_conn": 500, **settings})
    return make


@pytest.fixture
def group(process):
    def make(n, **settings):
        port = env.free_port()
        return [process(i, port=port, **settings) for i in range(1, n + 1)]
    return make


def where(client):
    return client.key[1] | client.key[2] << 8


def started_by(p, preparation, pass_fds=()):
    """The process is begun by a few words of Python."""
    def spawn(args=None):
        with open(p.logfile, "ab") as log:
            p.process = env.popen([sys.executable, "-c", "import os, sys; %s; os.execv(sys.argv[1], sys.argv[1:])"
                                   % preparation, p.binary, p.ini], cwd=p.dir, stdout=log, stderr=log,
                                  pass_fds=pass_fds)
    p.spawn = spawn
    return p


def connected_to(p, count=1):
    """So many raw connections that the kernel has given to this process, which stands still: it has not seen them."""
    p.signal(signal.SIGSTOP)
    return [p.wire() for _ in range(count)]


# --- the port -------------------------------------------------------------------

@pytest.mark.parametrize("first, second", [(0, 0), (0, 1), (1, 0)])
def test_without_so_reuseport_the_port_is_taken(process, first, second):
    a = process(so_reuseport=first)
    b = process(so_reuseport=second, port=a.port, start=False)
    b.spawn()
    b.wait_exit(1)
    b.wait_log(r"WARNING cannot listen on 127\.0\.0\.1:%d: bind\(\): Address already in use" % a.port)
    b.wait_log(r"FATAL failed to listen on any address in listen_addr list: 127\.0\.0\.1")
    a.login().close()


def test_with_so_reuseport_the_port_is_shared(group):
    both = group(2)
    clients = [both[0].login() for _ in range(40)]
    assert {where(c) for c in clients} == {1, 2}
    for p in both:
        assert p.pool()["cl_active"] == len([c for c in clients if where(c) == int(p.settings["peer_id"])])


def test_every_address_of_listen_addr_is_shared(group):
    both = group(2, listen_addr="127.0.0.1, ::1")
    for host in ("127.0.0.1", "::1"):
        assert {where(both[0].login(host=host)) for _ in range(40)} == {1, 2}


# --- one goes -------------------------------------------------------------------

def test_new_connections_go_to_the_others_at_once(group):
    a, b = group(2)
    mine = [a.login() for _ in range(20)]
    a.signal(signal.SIGTERM)
    a.wait_log(WAITING)
    later = [a.login() for _ in range(20)]
    assert {where(c) for c in later} == {2}
    # Who was there before goes on.
    for c in mine:
        assert c.value("SELECT 1") == "1"
        c.close()
    a.wait_exit()
    assert "client connections dropped, exiting" in a.log()
    for c in later:
        assert c.value("SELECT 2") == "2"


def test_it_stays_until_its_last_client_leaves(group):
    a, b = group(2)
    last = a.login(host=a.dir)
    a.signal(signal.SIGTERM)
    a.wait_log(WAITING)
    assert last.query("BEGIN").status == "T"
    with contextlib.suppress(AssertionError):
        env.wait_for(lambda: a.process.poll() is not None, timeout=2)
    assert a.process.poll() is None
    assert last.query("COMMIT").status == "I"
    last.close()
    a.wait_exit()


def test_alone_on_the_port_the_last_one_leaves_it_closed(process):
    p = process()
    with p.login():
        p.signal(signal.SIGTERM)
        p.wait_log(WAITING)
        # In the end; until then nobody is let in.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((p.host, p.port), env.PATIENCE)
    p.wait_exit()


def test_the_door_stands_between_for_a_moment_only(group):
    """Whoever knocks meanwhile comes a second late, so it must not be long: when nobody is on his way, no time at all."""
    took = []
    # A busy machine may take the processor from one of them.
    while len(took) < 3 and not (took and took[-1] < 300 * env.SLOW):
        a, b = group(2, verbosity=1)
        a.signal(signal.SIGTERM)
        ms, = a.wait_log(r"DEBUG no more connections by TCP, after (\d+) ms")
        took.append(int(ms))
        a.wait_exit()
    assert min(took) >= 20 and took[-1] < 300 * env.SLOW, took


# --- who was on his way -----------------------------------------------------------

@pytest.mark.parametrize("shared", [1, 0], ids=["so_reuseport", "alone"])
@pytest.mark.parametrize("defer", [0, 1], ids=["", "deferred"])
def test_the_accept_queue_is_served(process, shared, defer):
    """Connected, and not accepted when the signal comes."""
    p = process(so_reuseport=shared, tcp_defer_accept=defer)
    waiting = connected_to(p, 20)
    for w in waiting:
        w.send(wire.startup("u_trust", "db"))
    p.signal(signal.SIGTERM)
    p.signal(signal.SIGCONT)
    p.wait_log(WAITING)
    for w in waiting:
        w.finish_login("u_trust")
        assert w.value("SELECT 1") == "1"
        w.close()
    p.wait_exit()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_connection_of_a_closing_listener_is_a_whole_one(process, host):
    """What lets nobody new in is not inherited by those who come through."""
    p = process(listen_addr="127.0.0.1, ::1", tcp_defer_accept=1)
    with p.wire(host) as w:
        # Silent, so the kernel has not made a connection of it yet.
        p.signal(signal.SIGTERM)
        p.wait_log(WAITING)
        w.send(wire.startup("u_trust", "db"))
        w.finish_login("u_trust")
        began = time.monotonic()
        for i in range(50):
            assert w.value("SELECT %d" % i) == str(i)
        # A packet that is dropped comes again after 0.2 s at least.
        assert time.monotonic() - began < 50 * 0.2
    p.wait_exit()


def test_silent_clients_are_waited_for(process):
    """With TCP_DEFER_ACCEPT a connection without data is none yet, and would be reset with the listener."""
    p = process(tcp_defer_accept=1)
    silent = [p.wire() for _ in range(10)]
    p.signal(signal.SIGTERM)
    p.wait_log(WAITING)
    assert silent[0].silent(0.5)
    for w in silent:
        w.send(wire.startup("u_trust", "db"))
    for w in silent:
        w.finish_login("u_trust")
        w.close()
    p.wait_exit()


@pytest.mark.parametrize("shared", [1, 0], ids=["so_reuseport", "alone"])
def test_a_login_under_way_is_finished(process, shared):
    p = process(so_reuseport=shared, auth_type="md5", users={"u_trust": "pw"})
    with p.wire() as early, p.wire() as half:
        env.wait_for(lambda: p.admin("SHOW LISTS")[7] == {"list": "login_clients", "items": "2"}, "two connections")
        half.send(wire.startup("u_trust", "db"))
        request = half.expect(b"R")
        p.signal(signal.SIGTERM)
        p.wait_log(WAITING)
        half.buf[:0] = wire.msg(request.type, request.body)
        half.finish_login("u_trust", "pw")
        early.login("u_trust", "db", "pw")
        for w in (early, half):
            assert w.value("SELECT 1") == "1"
    p.wait_exit()


def test_unix_clients_are_served_when_they_came_before(process):
    p = process()
    with p.wire(p.dir) as early:
        env.wait_for(lambda: p.admin("SHOW LISTS")[7]["items"] == "1", "the connection")
        p.signal(signal.SIGTERM)
        p.wait_log(WAITING)
        with p.wire(p.dir) as late, pytest.raises(PgError) as e:
            late.login("u_trust", "db")
        assert e.value.text == "pooler is shutting down"
        early.login("u_trust", "db")
        assert early.value("SELECT 1") == "1"
    p.wait_exit()


def test_nobody_is_let_in_when_servers_are_waited_for(process):
    p = process()
    with p.login() as busy, p.wire() as early:
        busy.query("BEGIN")
        p.signal(signal.SIGINT)
        p.wait_log("waiting for all servers connections to be released")
        early.send(wire.startup("u_trust", "db"))
        assert early.expect_error().text == "pooler is shutting down"
        busy.query("COMMIT")
    p.wait_exit()


def test_without_a_descriptor_they_are_served_as_soon_as_there_is_one(process):
    p = process(start=False)
    started_by(p, "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))").start()
    p.login().query("SELECT 1")
    crowd = []
    while not p.logged("accept.. failed: Too many open files"):
        crowd.append(p.wire())
        crowd[-1].send(wire.startup("u_trust", "db"))
    waiting = [p.wire() for _ in range(3)]
    for w in waiting:
        w.send(wire.startup("u_trust", "db"))
    p.signal(signal.SIGTERM)
    p.wait_log(WAITING)
    # Beyond the time after which the listener would be closed.
    assert waiting[-1].silent(1.2)
    for w in crowd:
        w.close()
    for w in waiting:
        w.finish_login("u_trust")
        assert w.value("SELECT 1") == "1"
        w.close()
    p.wait_exit()


def test_a_console_may_suspend_meanwhile(process):
    """Nobody is accepted, then, and nobody lost."""
    p = process(tcp_defer_accept=1)
    with p.console() as admin:
        waiting = [p.wire() for _ in range(5)]
        p.signal(signal.SIGTERM)
        p.wait_log(WAITING)
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        for w in waiting:
            w.send(wire.startup("u_trust", "db"))
        assert waiting[0].silent(1.2)
        # RESUME is refused in a shutdown; the end of the one who suspended does it.
    for w in waiting:
        w.finish_login("u_trust")
        w.close()
    p.wait_exit()


# --- under load ---------------------------------------------------------------------

def short_lives(number, turn):
    """Connect, one transaction, leave; every third stays for a few."""
    for i in range(1 + 2 * (number % 3 == 0)):
        want = b"%d.%d.%d" % (number, turn, i)
        began = yield wire.query("BEGIN")
        assert began.status == b"T"
        reply = yield wire.query("SELECT '%s'" % want.decode())
        assert reply.rows == [want], reply.rows
        ended = yield wire.query("COMMIT")
        assert ended.status == b"I"
    yield 0.002
    return LEAVE


class Load:
    """A crowd of such clients; it fails when one of them has seen anything but answers."""

    def __init__(self, p, count=24):
        self.crowd = Crowd(p, count, short_lives)

    def __enter__(self):
        self.crowd.start()
        self.wait(100)
        return self

    def wait(self, more):
        """Until so many lives more have been lived, by everybody at least one."""
        target, marks = self.crowd.done + more, self.crowd.marks()
        env.wait_for(lambda: self.crowd.faults or (self.crowd.done >= target and self.crowd.served_since(marks)),
                     lambda: "the load to go on: %s" % self.crowd.states())
        self.crowd.check()

    def __exit__(self, kind, *_):
        if kind is None:
            self.crowd.stop()
        else:
            self.crowd.is_stopping = True


def stop_and_start_again(p):
    p.mark()
    p.signal(signal.SIGTERM)
    p.wait_log(WAITING)
    p.wait_exit()
    p.expected_exit = None
    os.rename(p.logfile, p.logfile + ".%d" % time.monotonic_ns())
    p.seen = 0
    p.start()


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("defer", [0, 1], ids=["", "deferred"])
def test_rolling_restart_under_load(group, processes, defer):
    """One after the other is stopped and started in its place, twice round: no client sees an error."""
    all_of_them = group(processes, tcp_defer_accept=defer, listen_backlog=512)
    with Load(all_of_them[0]) as load:
        for _ in range(2):
            for p in all_of_them:
                stop_and_start_again(p)
                load.wait(100)
        assert load.crowd.done > 500
    for p in all_of_them:
        assert p.logged("login attempt: db=db"), "a process that got no client proves nothing"


def test_rolling_restart_that_begins_with_the_new_one(process, group):
    """The new process is there before the old one goes: the number that serves never falls."""
    port = env.free_port()
    serving = [process(i, port=port) for i in (1, 2)]
    with Load(serving[0]) as load:
        for number in range(3, 8):
            serving.append(process(number, port=port))
            old = serving.pop(0)
            old.signal(signal.SIGTERM)
            old.wait_exit()
            load.wait(100)
        # A console says the same as a signal.
        last = serving.pop(0)
        last.admin("SHUTDOWN WAIT_FOR_CLIENTS")
        last.wait_exit()
        load.wait(100)


def test_rolling_restart_with_auth_query_and_scram(group, pg):
    """Log-ins that take several turns, and a query of their own, when the signal comes."""
    both = group(2, auth_type="scram-sha-256", users={"u_trust": ""}, auth_user="u_trust",
                 auth_query="SELECT 'u_scram', '%s' WHERE $1 = 'u_scram'" % pg.secret("u_scram"))
    wrong = []

    def lives(stop):
        while not stop.is_set():
            try:
                with both[0].login("u_scram", "db", "u_scram_pw") as c:
                    assert c.value("SELECT 1") == "1"
            except (PgError, Closed, OSError, AssertionError) as e:
                wrong.append(repr(e))
                return
    stop = threading.Event()
    threads = [threading.Thread(target=lives, args=(stop,)) for _ in range(6)]
    for t in threads:
        t.start()
    try:
        for p in both * 2:
            stop_and_start_again(p)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not wrong, wrong[0]


def test_cancels_while_processes_come_and_go(group, pg):
    """Clients that stay find their queries cancelled, whichever process the request reaches, old or new."""
    both = group(2, cancel_wait_timeout=5 * env.SLOW, server_login_retry=0.2)
    for p in both:
        p.peers = {i: "host=%s port=%d" % (q.dir, q.port) for i, q in enumerate(both, 1)}
        p.write()
        p.admin("RELOAD")
    for stopped, other in (both, both[::-1]) * 2:
        with stopped.login(host=stopped.dir) as old, other.login(host=other.dir) as stays:
            stopped.mark()
            stopped.signal(signal.SIGTERM)
            stopped.wait_log(WAITING)
            # The old process is still there for its client, and knows the way to the other.
            for victim, through in ((old, other), (stays, stopped), (old, stopped)):
                cancelled(pg, victim, through)
            old.close()
            stopped.wait_exit()
            stopped.expected_exit = None
            stopped.seen = len(stopped.log())
            stopped.spawn()
            stopped.wait_log("process up")
            cancelled(pg, stays, stopped)
            with stopped.login(host=stopped.dir) as new:
                cancelled(pg, new, other)


_seconds = itertools.count(2000)


def cancelled(pg, client, p):
    text = "SELECT pg_sleep(%d)" % next(_seconds)
    client.send(wire.query(text))
    env.wait_for(lambda: pg.sql("SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = '%s'" % text),
                 "the query to run")
    with p.wire(p.dir) as w:
        w.send(wire.cancel_request(client.key))
        w.expect_closed()
    assert [e.code for e in client.until_ready().errors] == ["57014"]


@pytest.mark.skipif(not shutil.which("pgbench"), reason="no pgbench")
def test_rolling_restart_under_pgbench(group, pg):
    """libpq's own idea of an error: a connection for each transaction."""
    both = group(2)
    script = env.write(os.path.join(both[0].dir, "script"), "BEGIN;\nSELECT 1;\nCOMMIT;\n")
    bench = env.popen(["pgbench", "-n", "-C", "-c", "8", "-j", "2", "-T", str(int(8 * env.SLOW)), "-f", script,
                       "-h", both[0].host, "-p", str(both[0].port), "-U", "u_trust", "db"],
                      stdout=-1, stderr=-1, text=True)
    try:
        while bench.poll() is None:
            for p in both:
                stop_and_start_again(p)
    finally:
        out, err = bench.communicate(timeout=env.PATIENCE)
    assert bench.returncode == 0 and "aborted" not in err and "failed: 0 " in out.replace("number of failed transactions", "failed"), (out, err)


# --- with sockets of a service manager ------------------------------------------------

class Manager:
    """Keeps the listening sockets, and gives them to every process that is started: one for all, and one for each by
    which it can be reached alone."""

    def __init__(self, p):
        self.sock = socket.socket()
        self.sock.bind((p.host, p.port))
        self.sock.listen(512)
        self.own = {}

    def manages(self, p):
        p.port = self.sock.getsockname()[1]
        own = self.own[p] = socket.socket(socket.AF_UNIX)
        path = os.path.join(p.dir, ".s.PGSQL.%d" % p.port)
        own.bind(path)
        os.chmod(path, 0o777)
        own.listen(50)
        fds = [self.sock.fileno(), own.fileno()]
        # Moved out of the way first: one may be where the other has to go.
        return started_by(p, "os.dup2(%d, 103); os.dup2(%d, 104); os.dup2(103, 3); os.dup2(104, 4); "
                             "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2')" % tuple(fds), fds)

    def close(self):
        for s in [self.sock] + list(self.own.values()):
            s.close()


@pytest.fixture
def managed(process):
    p = process(start=False)
    manager = Manager(p)
    made = [p]

    def make(n):
        """So many more of them."""
        old = len(made) - 1 if made[0].process is None else len(made)
        while len(made) < old + n:
            made.append(process(len(made) + 1, start=False, listen_addr=""))
        for p in made[old:]:
            manager.manages(p).start()
            if not p.logged(r"socket passed from service manager \(fd 3\)"):
                pytest.skip("libsystemd not in this build")
        return made[old:]
    yield make
    manager.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_rolling_restart_with_sockets_of_a_service_manager(managed, processes):
    """They outlive the processes, so nothing is ever lost; with one process clients wait for the next."""
    all_of_them = managed(processes)
    with Load(all_of_them[0]) as load:
        for _ in range(3):
            for p in all_of_them:
                stop_and_start_again(p)
                load.wait(100)


def test_cancels_with_sockets_of_a_service_manager(managed, pg):
    """One socket for all clients, and for each process one where the others find it."""
    both = managed(2)
    for p in both:
        p.peers = {i: "host=%s port=%d" % (q.dir, q.port) for i, q in enumerate(both, 1)}
        p.write()
        p.admin("RELOAD")
    for p, other in (both, both[::-1]):
        with p.login(host=p.dir) as c:
            assert where(c) == int(p.settings["peer_id"])
            cancelled(pg, c, other)


def test_what_waits_at_a_managed_socket_is_for_the_next(managed):
    """Nothing is lost with us, and nobody has to wait until we have gone."""
    old, = managed(1)
    holder = old.login()
    waiting = connected_to(old, 20)
    for w in waiting:
        w.send(wire.startup("u_trust", "db"))
    old.signal(signal.SIGTERM)
    old.signal(signal.SIGCONT)
    old.wait_log(WAITING)
    waiting += [old.wire() for _ in range(5)]
    for w in waiting[20:]:
        w.send(wire.startup("u_trust", "db"))
    assert waiting[-1].silent()
    managed(1)
    for w in waiting:
        w.finish_login("u_trust")
        assert w.value("SELECT 1") == "1"
        w.close()
    assert where(waiting[-1]) == 2
    assert holder.value("SELECT 1") == "1"
    holder.close()
    old.wait_exit()
