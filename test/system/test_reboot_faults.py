"""Online restart that is refused, or during which somebody dies: there is always one process that goes on."""
import os
import signal
import socket

import pytest
from harness import env, wire
from harness.oldprocess import OldProcess, READY, complete, data_row, fact, heading
from harness.wire import query

pytestmark = pytest.mark.ours

# Where a successor of a developer build stops itself.
SUSPENDED, TOLD, SHUTDOWN = "takeover-suspended", "takeover-told", "takeover-shutdown"


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": "transaction", "server_tls_sslmode": "disable", "pidfile": "pid", **settings})
    return make


def state_of(process):
    with open("/proc/%d/stat" % process.pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def stop_at(p, where, *options, **settings):
    """A successor that has come so far and no further."""
    p.mark()
    new = p.successor(*options, faults=where, **settings)
    env.wait_for(lambda: state_of(new) == "T" or new.poll() is not None, lambda: p.log()[p.seen:])
    assert new.poll() is None, p.log()[p.seen:]
    return new


def go_on(p, new):
    p.process = new
    new.send_signal(signal.SIGCONT)
    p.wait_log("process up")


def pidfile(p):
    with open(os.path.join(p.dir, "pid")) as f:
        return int(f.read())


def refused(p, *reasons):
    """The new process dies, and the old one is none the worse."""
    p.mark()
    assert p.successor().wait(env.PATIENCE) == 1
    for reason in reasons:
        p.wait_log(reason)
    assert not p.logged("process up")


# --- refused ----------------------------------------------------------------------

def test_no_old_process(pool):
    p = pool(start=False)
    p.args = ["-R"]
    p.start()
    p.wait_log("WARNING Online restart is deprecated, use so_reuseport instead")
    p.wait_log("LOG old process not found, try to continue normally")
    p.login().close()
    assert pidfile(p) == p.process.pid


def test_no_old_process_but_its_files(pool):
    """It was killed: the socket leads nowhere, and the pidfile is stale."""
    p = pool()
    p.process.kill()
    p.process.wait()
    p.args = ["-R"]
    p.mark()
    p.spawn()
    p.wait_log("LOG old process not found, try to continue normally")
    p.wait_log("stale pidfile, removing")
    p.wait_log("process up")
    p.login().close()


@pytest.mark.parametrize("directory, text", [("", "cannot reboot if unix dir not configured"),
                                             ("@abstract", "cannot reboot with abstract Unix socket")])
def test_needs_a_socket_in_the_file_system(pool, directory, text):
    p = pool(unix_socket_dir=directory)
    refused(p, "FATAL " + text)
    p.login().close()


def test_refused_while_paused(pool):
    p = pool()
    with p.login() as c, p.console() as admin:
        c.value("SELECT 1")
        for pause, text in (("PAUSE", "already suspended/paused"),
                            ("PAUSE other", "cannot suspend with paused databases")):
            assert not admin.query(pause).errors
            refused(p, "ERROR old bouncer sent: ERROR: " + text, "FATAL takeover failed, the old process goes on")
            assert not admin.query(pause.replace("PAUSE", "RESUME")).errors
            assert c.value("SELECT 2") == "2"
        assert not admin.query("KILL other").errors
        refused(p, "cannot suspend with paused databases")
        admin.query("RESUME other")
        assert pidfile(p) == p.process.pid
    p.restart()


def test_a_bad_configuration_leaves_the_old_one_at_work(pool):
    p = pool()
    with p.login() as c:
        p.settings["pool_mode"] = "nonsense"
        refused(p, "FATAL cannot load config file")
        p.settings["pool_mode"] = "transaction"
        p.settings["listen_addr"] = "no.such.host.invalid"
        # Found out after everything was handed over.
        refused(p, r"FATAL getaddrinfo\('no.such.host.invalid'")
        p.wait_log("admin disappeared when suspended, doing RESUME")
        assert c.value("SELECT 1") == "1"
        p.settings["listen_addr"] = "127.0.0.1"
        p.restart()
        assert c.value("SELECT 2") == "2"


def test_somebody_elses_socket(pooler):
    """A process of another Unix user at the socket is asked nothing, and nothing is taken from it."""
    if not env.IS_ROOT:
        pytest.skip("one Unix user only")
    p = pooler(databases={}, users={}, start=False)
    path = os.path.join(p.dir, ".s.PGSQL.%d" % p.port)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        os.chmod(path, 0o777)
        s.listen()
        refused(p, "FATAL takeover failed: the process at the Unix socket is another Unix user's")
        s.settimeout(env.PATIENCE)
        accepted, _ = s.accept()
        assert accepted.recv(100) == b""
        accepted.close()
    p.expected_exit = 1


def test_another_unix_user_does_not_get_in(pool):
    """Neither by the operator's name, which needs the same user, nor into anything else."""
    if not env.IS_ROOT:
        pytest.skip("one Unix user only")
    p = pool()
    with p.wire(p.dir) as w:
        with pytest.raises(wire.PgError):
            w.login("pgbouncer", "pgbouncer", "x")


# --- the new one dies -------------------------------------------------------------------

@pytest.mark.parametrize("where", [SUSPENDED, TOLD, SHUTDOWN])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_new_process_dies(pool, where, how):
    """The old one notices that the console is gone and serves on, whatever was under way."""
    p = pool(default_pool_size=2)
    with p.login() as busy, p.login() as second, p.login() as waiting, p.login() as half, p.login() as idle:
        busy.query("BEGIN")
        second.query("BEGIN")
        waiting.send(query("SELECT 'waited'"))
        half.send(query("SELECT 'half'")[:3])
        p.wait_pool(cl_waiting=1, sv_active=2)
        pids = busy.pid(), second.pid()
        new = stop_at(p, where)
        if how != signal.SIGKILL:
            new.send_signal(how)
            new.send_signal(signal.SIGCONT)
        else:
            new.kill()
        code = new.wait(env.PATIENCE)
        assert code == {signal.SIGKILL: -9, signal.SIGQUIT: 0}.get(how, 1)
        p.wait_log("LOG admin disappeared when suspended, doing RESUME")
        if how in (signal.SIGTERM, signal.SIGINT):
            p.wait_log("FATAL takeover was in progress, going down immediately")
        elif how == signal.SIGQUIT:
            p.wait_log("LOG got SIGQUIT, fast exit")
        assert (busy.pid(), second.pid()) == pids
        assert busy.query("COMMIT").status == "I"
        assert waiting.until_ready().value() == "waited"
        half.send(query("SELECT 'half'")[3:])
        assert half.until_ready().value() == "half"
        assert second.query("COMMIT").status == "I" and idle.value("SELECT 1") == "1"
        p.login().close()
        p.login(host=p.dir).close()
        assert pidfile(p) == p.process.pid and len(p.show("SERVERS")) == 2
        p.restart()
        assert idle.value("SELECT 2") == "2"


def test_what_the_old_process_held_back_is_sent_when_the_new_one_dies(pool):
    """Bytes that were told of are neither lost nor doubled."""
    p = pool()
    with p.wire(rcvbuf=65536) as c:
        c.login("u_trust", "db")
        c.send(query("SELECT n || repeat('x', 1000) FROM generate_series(1, 20000) n"))
        env.wait_for(lambda: [r for r in p.show("SOCKETS") if int(r["send_remain"]) > 0], "the result to pile up")
        new = stop_at(p, SHUTDOWN)
        new.kill()
        new.wait()
        rows = [m for m in c.recv_until(b"Z") if m.type == b"D"]
        assert [wire.row_of(m.body)[0].rstrip("x") for m in rows] == [str(n) for n in range(1, 20001)]


def test_hangup_and_pause_signals_wait_for_the_end(pool):
    """SIGHUP during a takeover reloads afterwards."""
    p = pool()
    new = stop_at(p, TOLD)
    new.send_signal(signal.SIGHUP)
    old = p.process
    go_on(p, new)
    assert old.wait(env.PATIENCE) == 0
    p.wait_log("got SIGHUP, re-reading config")
    p.login().close()


def test_resumed_by_somebody_else(pool):
    """Then two processes would work with the same sockets: the new one gives up."""
    p = pool()
    with p.login() as c, p.console() as other:
        c.query("BEGIN")
        pid = c.pid()
        new = stop_at(p, SHUTDOWN)
        assert other.query("RESUME").tags == ["RESUME"]
        new.send_signal(signal.SIGCONT)
        assert new.wait(env.PATIENCE) == 1
        p.wait_log("FATAL takeover failed: somebody has resumed the old process")
        assert c.pid() == pid and c.query("COMMIT").status == "I"


def test_its_console_is_killed(pool):
    """The old process has resumed then, and lives: the same."""
    p = pool()
    with p.login() as c, p.console() as other:
        c.query("BEGIN")
        pid = c.pid()
        new = stop_at(p, SHUTDOWN + ",takeover-hasty")
        victim, = [r["id"] for r in other.query("SHOW CLIENTS").dicts() if r["remote_pid"] == str(new.pid)]
        assert other.query("KILL_CLIENT " + victim).tags == ["KILL_CLIENT"]
        p.wait_log("admin disappeared when suspended, doing RESUME")
        assert c.pid() == pid
        new.send_signal(signal.SIGCONT)
        assert new.wait(env.PATIENCE) == 1
        p.wait_log("FATAL takeover failed: the old process has closed its console, and runs on")
        assert c.pid() == pid and c.query("COMMIT").status == "I"
        assert pidfile(p) == p.process.pid


# --- the old one dies ----------------------------------------------------------------------

def test_the_old_process_dies_before_it_has_told(pool):
    """Nothing can be saved but the service: an ordinary start."""
    p = pool()
    with p.login() as c:
        new = stop_at(p, SUSPENDED)
        p.process.kill()
        p.process.wait()
        c.expect_closed()
        go_on(p, new)
    p.wait_log("LOG old process not found, try to continue normally")
    p.wait_log("stale pidfile, removing")
    assert pidfile(p) == new.pid
    p.login().close()
    p.login(host=p.dir).close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("where", [TOLD, SHUTDOWN])
def test_the_old_process_dies_after_it_has_told(pool, where, how):
    """All that it had is here: its clients notice nothing."""
    p = pool(default_pool_size=1)
    with p.login() as c, p.login() as waiting:
        c.query("BEGIN")
        pid = c.pid()
        waiting.send(query("SELECT 'waited'"))
        p.wait_pool(cl_waiting=1)
        new = stop_at(p, where)
        p.process.send_signal(how)
        assert p.process.wait(env.PATIENCE) == {signal.SIGKILL: -9, signal.SIGTERM: 1}.get(how, 0)
        if how == signal.SIGTERM:
            p.wait_log("FATAL suspend was in progress, going down immediately")
        go_on(p, new)
        p.wait_log("WARNING the old process went away during the takeover")
        assert c.pid() == pid and c.query("COMMIT").status == "I"
        assert waiting.until_ready().value() == "waited"
        assert pidfile(p) == new.pid
        p.login().close()
        p.login(host=p.dir).close()


def test_shutdown_of_the_old_process_by_somebody_else(pool):
    p = pool()
    with p.login() as c, p.console() as other:
        c.query("BEGIN")
        pid = c.pid()
        new = stop_at(p, TOLD)
        other.send(query("SHUTDOWN"))
        assert p.process.wait(env.PATIENCE) == 0
        go_on(p, new)
        assert c.pid() == pid and c.query("COMMIT").status == "I"


# --- an old process that behaves badly ---------------------------------------------------------

def raw(*messages):
    return lambda sock: sock.sendall(b"".join(messages))


ROW = ("fd", "task")

BAD = {
    "a row without a descriptor": (dict(on={"SHOW FDS": raw(heading(ROW), data_row((7, "client")), READY)}),
                                   "the old process sent a row without its descriptor"),
    "a row that is too short": (dict(on={"SHOW FDS": raw(heading(ROW), data_row((7,)), READY)}),
                                "a row was not understood"),
    "no message": (dict(on={"SHOW FDS": raw(b"D\0\0\0\1")}), "the old process sent what is no message"),
    "a message without end": (dict(on={"SHOW FDS": raw(b"D\x7f\xff\xff\xff")}), "the old process sent what is no message"),
    "an unknown message": (dict(on={"SHOW FDS": raw(wire.msg(b"q"))}), "an answer was not understood"),
    "a heading without end": (dict(on={"SHOW FDS": raw(wire.msg(b"T", b"\0\5abc"))}), "a heading was not understood"),
    "SHOW FDS refused": (dict(on={"SHOW FDS": "SHOW FDS failed: Too many open files"}),
                         "old bouncer sent: ERROR: SHOW FDS failed: Too many open files"),
    "SUSPEND refused": (dict(on={"SUSPEND": "cannot suspend with paused databases"}),
                        "old bouncer sent: ERROR: cannot suspend with paused databases"),
    "SUSPEND HANDOVER refused": (dict(on={"SUSPEND HANDOVER": "already suspended/paused"}),
                                 "old bouncer sent: ERROR: already suspended/paused"),
    "SHUTDOWN refused": (dict(on={"SHUTDOWN": "admin access needed"}), "old bouncer sent: ERROR: admin access needed"),
    "facts that are none": (dict(facts=[], on={"SHOW HANDOVER": raw(heading(("kind", "fd", "facts")),
                                                                    data_row(("client", 7, "\\xzz")), READY)}),
                            "SHOW HANDOVER was not understood"),
    "a SUSPEND that was taken back": (dict(facts=[], on={"SHOW STATE": raw(heading(("key", "value")),
                                                                           data_row(("suspended", "no")),
                                                                           complete("SHOW"), READY)}),
                                      "somebody has resumed the old process"),
    "the end of the connection": (dict(on={"SHOW FDS": None}), "takeover failed: lost the connection to the old process"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_the_new_process_does_not_take(pooler, case):
    how, text = BAD[case]
    p = pooler(databases={}, users={}, start=False)
    with OldProcess(p, **how):
        assert p.successor().wait(env.PATIENCE) == 1
        p.wait_log("(FATAL|ERROR) .*" + text.replace("\\", "\\\\"))
    p.expected_exit = 1


def test_something_that_is_no_listening_socket(pooler):
    p = pooler(databases={}, users={}, start=False)
    a, b = socket.socketpair()
    with a, OldProcess(p, [(b, dict(task="pooler", fd=3, addr="127.0.0.1", port=5))]):
        assert p.successor().wait(env.PATIENCE) == 1
        p.wait_log(r"FATAL socket of the old process \(fd \d+\): it does not listen")
    p.expected_exit = 1


def test_an_old_process_that_asks_for_a_password(pooler):
    p = pooler(databases={}, users={}, start=False)

    class Asking(OldProcess):
        def converse(self, sock):
            sock.sendall(wire.msg(b"R", b"\0\0\0\3"))
            sock.recv(1000)
            sock.recv(1000)

    with Asking(p):
        assert p.successor().wait(env.PATIENCE) == 1
        p.wait_log("FATAL takeover failed: the old process wants a password")
    p.expected_exit = 1


def test_the_process_behind_the_console_lives_on(pooler):
    """It said that it would end, and closed the console; but as long as it lives it may work with the sockets."""
    p = pooler(databases={}, users={}, pidfile="pid", start=False)
    env.write(os.path.join(p.dir, "pid"), "%d\n" % os.getpid())
    with OldProcess(p, facts=[("process", 0, fact(1, os.getpid()))]) as old:
        assert p.successor(faults="takeover-hasty").wait(env.PATIENCE) == 1
        p.wait_log("FATAL takeover failed: the old process has closed its console, and runs on")
        assert old.commands[-1] == "SHUTDOWN;"
    assert open(os.path.join(p.dir, "pid")).read() == "%d\n" % os.getpid()
    p.expected_exit = 1


def test_signals_while_the_old_process_does_not_answer(pooler):
    for number, status, text in ((signal.SIGTERM, 1, "FATAL takeover was in progress, going down immediately"),
                                 (signal.SIGINT, 1, "FATAL takeover was in progress, going down immediately"),
                                 (signal.SIGQUIT, 0, "LOG got SIGQUIT, fast exit")):
        for word in ("SUSPEND", "SHUTDOWN"):
            p = pooler(databases={}, users={}, start=False)
            with OldProcess(p, on={word: lambda sock: None}) as old:
                new = p.successor()
                env.wait_for(lambda: word + ";" in old.commands, "it to be asked")
                new.send_signal(number)
                assert new.wait(env.PATIENCE) == status
                p.wait_log(text)
            p.expected_exit = status
