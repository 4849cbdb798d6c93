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
