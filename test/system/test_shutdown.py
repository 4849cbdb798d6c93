"""SHUTDOWN by console and signal: behaviour specification, section 31."""
import os
import signal
import socket
import threading

import pytest
from harness import env, wire
from harness.wire import Closed, PgError

ours = pytest.mark.ours
WAYS = {"SHUTDOWN WAIT_FOR_CLIENTS": "clients", "SHUTDOWN WAIT_FOR_SERVERS": "servers",
        signal.SIGTERM: "clients", signal.SIGINT: "servers"}
BY_NAME = dict(argvalues=WAYS, ids=["wait for clients", "wait for servers", "SIGTERM", "SIGINT"])


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": "transaction", **settings})
    return make


def begin(p, how):
    if isinstance(how, str):
        assert p.admin(how) == []
        p.wait_log("LOG %s command issued" % how)
    else:
        p.signal(how)
        p.wait_log("LOG got %s, shutting down, waiting for all %s" % (
            how.name, "clients disconnect" if how == signal.SIGTERM else "servers connections to be released"))
    env.wait_for(lambda: not listening(p), lambda: "the listener to close")


def listening(p):
    with socket.socket() as s:
        return s.connect_ex((p.host, p.port)) == 0


def socket_file(p):
    return os.path.join(p.dir, ".s.PGSQL.%d" % p.port)


# --- at once --------------------------------------------------------------------

def test_shutdown(pool):
    p = pool()
    c = p.login()
    c.query("BEGIN")
    with p.console() as admin:
        admin.send(wire.query("SHUTDOWN"))
        admin.expect_closed()
        # The file goes before the sockets close.
        assert not os.path.exists(socket_file(p))
    with pytest.raises(Closed):
        while True:
            c.recv()
    p.wait_exit()
    p.wait_log("SHUTDOWN command issued")


@ours
@pytest.mark.parametrize("first", **BY_NAME)
def test_shutdown_ends_a_shutdown_that_waits(pool, first):
    p = pool()
    with p.login() as c:
        c.query("BEGIN")
        begin(p, first)
        with p.console() as admin:
            admin.send(wire.query("SHUTDOWN"))
            admin.expect_closed()
        p.wait_exit()


def test_shutdown_under_load(pool):
    p = pool()
    broken = []

    def work():
        try:
            with p.login() as c:
                while c.query("SELECT 1").status:
                    pass
        except (Closed, PgError, OSError):
            broken.append(True)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    env.wait_for(lambda: p.pool()["cl_active"] == 4, lambda: "clients")
    with p.console() as admin:
        admin.send(wire.query("SHUTDOWN"))
        admin.expect_closed()
    for t in threads:
        t.join()
    p.wait_exit()
    assert len(broken) == 4


# --- waiting --------------------------------------------------------------------

@ours
def test_shutdown_wait_for_clients(pool):
    p = pool()
    c = p.login()
    admin = p.console()
    assert admin.query("shutdown wait_for_clients").tags == ["SHUTDOWN"]
    p.wait_log("SHUTDOWN WAIT_FOR_CLIENTS command issued")
    assert c.value("SELECT 1") == "1"
    c.close()
    p.wait_log("closing because: client")
    # The console counts, too.
    assert admin.query("SHOW VERSION").tags == ["SHOW"]
    admin.close()
    p.wait_exit()
    assert "client connections dropped, exiting" in p.log()
    assert not os.path.exists(socket_file(p))


@ours
def test_shutdown_wait_for_servers(pool):
    p = pool()
    busy, waiting = p.login(), p.login()
    busy.query("BEGIN")
    with p.console() as admin:
        assert admin.query("SHUTDOWN WAIT_FOR_SERVERS").tags == ["SHUTDOWN"]
        waiting.send(wire.query("SELECT 1"))
        assert waiting.expect_error().text == "server shutting down"
        assert busy.query("COMMIT").status == "I"
    p.wait_exit()
    assert "server connections dropped, exiting" in p.log()
    assert not os.path.exists(socket_file(p))


@ours
def test_those_that_wait_already_are_told_when_servers_are_waited_for(pool):
    p = pool(default_pool_size=1)
    busy, waiting = p.login(), p.login()
    busy.query("BEGIN")
    waiting.send(wire.query("SELECT 1"))
    p.wait_pool(cl_waiting=1)
    assert p.admin("SHUTDOWN WAIT_FOR_SERVERS") == []
    assert waiting.expect_error().text == "server shutting down"
    assert busy.query("COMMIT").status == "I"
    p.wait_exit()


@ours
def test_sessions_end_by_themselves_when_servers_are_waited_for(pool):
    p = pool(pool_mode="session")
    c = p.login()
    c.value("SELECT 1")
    assert p.admin("SHUTDOWN WAIT_FOR_SERVERS") == []
    assert c.value("SELECT 2") == "2"
    c.close()
    p.wait_exit()


@ours
@pytest.mark.parametrize("how", **BY_NAME)
def test_meanwhile_the_console_is_reached_by_the_unix_socket_only(pool, how):
    p = pool()
    with p.login() as c:
        c.query("BEGIN")
        begin(p, how)
        with p.wire(p.dir) as u, pytest.raises(PgError) as e:
            u.login("u_trust", "db")
        assert e.value.text == "pooler is shutting down"
        with p.console() as admin:
            assert [e.text for e in admin.query("RESUME").errors] == ["pooler is shutting down"]
            assert admin.query("SHOW POOLS").rows
            p.signal(signal.SIGUSR2)
            p.wait_log("got SIGUSR2 while shutting down, ignoring")
            state = [r["key"] for r in admin.query("SHOW STATE").dicts() if r["value"] == "yes"]
            assert state == ["active" if WAYS[how] == "clients" else "paused"]
        assert c.query("COMMIT").status == "I"
    p.wait_exit()


@ours
@pytest.mark.parametrize("how", **BY_NAME)
def test_waiting_shutdown_under_load(pool, how):
    """Transactions that have begun end well, in either mode."""
    p = pool(default_pool_size=2)
    wrong, running = [], threading.Event()

    def work(c):
        try:
            while True:
                began = c.query("BEGIN")
                if began.errors:
                    assert began.errors[0].text == "server shutting down"
                    return
                for sql in ("SELECT 1", "COMMIT"):
                    if c.query(sql).errors:
                        wrong.append(sql)
                running.set()
                if WAYS[how] == "clients" and not listening_flag[0]:
                    return
        except Closed:
            wrong.append("closed")
        finally:
            c.close()
    listening_flag = [True]
    # All of them are in before it begins: a log-in after that is refused.
    threads = [threading.Thread(target=work, args=(p.login(),)) for _ in range(4)]
    for t in threads:
        t.start()
    assert running.wait(env.PATIENCE)
    begin(p, how)
    listening_flag[0] = False
    for t in threads:
        t.join()
    p.wait_exit()
    assert not wrong


@ours
def test_one_shutdown_may_follow_another(pool):
    p = pool()
    with p.login() as c:
        c.query("BEGIN")
        with p.console() as admin:
            assert admin.query("SHUTDOWN WAIT_FOR_CLIENTS").tags == ["SHUTDOWN"]
            assert admin.query("SHUTDOWN WAIT_FOR_SERVERS").tags == ["SHUTDOWN"]
            assert c.query("COMMIT").status == "I"
            # This client is still here: it is the servers that count now.
            p.wait_exit()


@ours
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_rolling_restart(pool, how):
    """Processes share a port; one is told to go, and nobody notices who is not its client."""
    old = pool(so_reuseport=1, pidfile="pid")
    new = pool(so_reuseport=1, listen_port=old.port, start=False)
    new.port = old.port
    new.start()
    clients = []
    env.wait_for(lambda: clients.append(old.login()) or (old.pool()["cl_active"] > 1 and new.pool()["cl_active"] > 1),
                 "clients of both")
    for c in clients:
        c.query("BEGIN")
    of_old = old.pool()["cl_active"]
    pidfile = os.path.join(old.dir, "pid")
    assert os.path.exists(pidfile)
    old.signal(how)
    old.wait_log("shutting down, waiting for")
    # The socket is closed with the line that says so: from here on all go to the other.
    for _ in range(20):
        with new.login() as c:
            assert c.value("SELECT 1") == "1"
    assert old.pool()["cl_active"] == of_old
    # Whoever was there ends what he has begun.
    for c in clients:
        assert c.value("SELECT 2") == "2" and c.query("COMMIT").status == "I"
    if how == signal.SIGTERM:
        for c in clients:
            assert c.value("SELECT 3") == "3"
            c.close()
    old.wait_exit()
    assert not os.path.exists(socket_file(old)) and not os.path.exists(pidfile)
    assert os.path.exists(socket_file(new))
    with new.login() as c:
        assert c.value("SELECT 1") == "1"


@ours
@pytest.mark.parametrize("when", ["by signal", "by console"])
def test_files_are_gone_when_the_last_client_is(pool, when):
    """Within a maintenance round, and the status is 0."""
    p = pool(pidfile="pid")
    with p.login() as c, p.login(host=p.dir) as u:
        assert c.value("SELECT 1") == u.value("SELECT 1") == "1"
        p.admin("SHUTDOWN WAIT_FOR_CLIENTS") if when == "by console" else p.signal(signal.SIGTERM)
        env.wait_for(lambda: not listening(p), "the listener to close")
        c.send(wire.TERMINATE)
        c.expect_closed()
        assert u.value("SELECT 2") == "2" and os.path.exists(socket_file(p))
    p.wait_exit(timeout=1.5 * env.SLOW + 1)
    assert not os.path.exists(socket_file(p)) and not os.path.exists(os.path.join(p.dir, "pid"))
    assert "client connections dropped, exiting" in p.log()
