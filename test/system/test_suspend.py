"""SUSPEND, and cancel requests for a console. Attack row 25."""
import select
import signal
import threading

import psycopg
import pytest
from harness import env, wire
from harness.wire import Closed, PgError

pytestmark = pytest.mark.ours


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": "transaction", **settings})
    return make


def refused(admin, text):
    r = admin.query(text)
    assert len(r.errors) == 1 and r.types == "EZ", (text, r.types)
    return r.errors[0].text


def state(admin):
    return [r["key"] for r in admin.query("SHOW STATE").dicts() if r["value"] == "yes"]


def wait_state(admin, word):
    env.wait_for(lambda: state(admin) == [word], lambda: "the state " + word)


def cancel(p, victim):
    """As psql does it: another connection, without an answer."""
    with p.wire(p.dir) as w:
        w.send(wire.cancel_request(victim.key))
        w.expect_closed()


# --- SUSPEND ----------------------------------------------------------------

def test_suspend_stops_reading_and_accepting(pool):
    p = pool()
    with p.login() as c, p.console() as admin:
        c.value("SELECT 1")
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        assert state(admin) == ["suspended"]
        c.send(wire.query("SELECT 2"))
        with p.wire() as late:
            late.send(wire.startup("u_trust", "db"))
            assert c.silent() and late.silent(0.01)
            assert admin.query("RESUME").tags == ["RESUME"]
            assert c.until_ready().value() == "2"
            late.finish_login("u_trust")
        assert state(admin) == ["active"]
    p.wait_log("LOG SUSPEND command issued")


def test_suspend_keeps_clients_and_servers(pool):
    p = pool()
    with p.login() as c, p.login() as idle, p.console() as admin:
        c.query("BEGIN")
        pid = c.pid()
        idle.value("SELECT 1")
        before = [r["id"] for r in admin.query("SHOW SERVERS").dicts()]
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        assert [r["id"] for r in admin.query("SHOW SERVERS").dicts()] == before
        assert admin.query("RESUME").tags == ["RESUME"]
        assert c.pid() == pid
        assert c.query("COMMIT").status == "I"


def test_a_running_query_does_not_hold_suspend_up(pool, pg):
    """Its answer waits in the socket."""
    p = pool()
    with psycopg.connect(pg.conninfo("db"), autocommit=True) as lock, p.login() as c, p.console() as admin:
        lock.execute("SELECT pg_advisory_lock(4711)")
        c.send(wire.query("SELECT pg_advisory_xact_lock(4711)"))
        env.wait_for(lambda: pg.backends("db", user="u_trust", where="wait_event = 'advisory'"),
                     lambda: "the query to run")
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        lock.execute("SELECT pg_advisory_unlock(4711)")
        assert c.silent(0.05)
        assert admin.query("RESUME").tags == ["RESUME"]
        assert not c.until_ready().errors


def test_clients_that_wait_are_served_before_suspend_is_done(pool):
    p = pool(default_pool_size=1)
    with p.login() as busy, p.login() as second, p.login() as third, p.console() as admin:
        busy.query("BEGIN")
        second.send(wire.query("SELECT 2"))
        third.send(wire.query("SELECT 3"))
        p.wait_pool(cl_waiting=2)
        busy.send(wire.query("COMMIT"))
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        assert admin.query("RESUME").tags == ["RESUME"]
        assert second.until_ready().value() == "2" and third.until_ready().value() == "3"
        assert busy.until_ready().status == "I"


def test_suspend_waits_for_the_end_of_a_message(pool):
    p = pool()
    with p.login() as c, p.console() as admin:
        whole = wire.query("SELECT '%s'" % ("x" * 5000))
        c.send(whole[:4000])
        env.wait_for(lambda: [r for r in admin.query("SHOW SOCKETS").dicts() if r["state"] == "cl_active" and
                              int(r["pkt_remain"]) + int(r["pkt_avail"]) > 0], lambda: "half of it to arrive")
        admin.send(wire.query("SUSPEND"))
        assert admin.silent(0.1)
        c.send(whole[4000:])
        assert admin.until_ready().tags == ["SUSPEND"]
        assert admin.query("RESUME").tags == ["RESUME"]
        assert len(c.until_ready().value()) == 5000


@pytest.mark.parametrize("row", [50, 8000, 200000])
def test_a_large_result_stops_between_two_messages(pool, row):
    """However the rows fall into the reads; what was read is passed on, the rest waits in the socket."""
    p = pool(server_tls_sslmode="disable")
    with p.wire(rcvbuf=65536) as c, p.console() as admin:
        c.login("u_trust", "db")
        c.send(wire.query("SELECT repeat('x', %d) FROM generate_series(1, %d)" % (row, 20000000 // row)))
        env.wait_for(lambda: [r for r in admin.query("SHOW SOCKETS").dicts() if int(r["send_remain"]) > 65536],
                     lambda: "the result to pile up")
        admin.send(wire.query("SUSPEND"))
        got = 0
        while True:
            ready = select.select([c.sock, admin.sock], [], [], env.PATIENCE)[0]
            assert ready, "neither the result nor an answer"
            if admin.sock in ready:
                break
            got += len(c.sock.recv(65536))
        assert admin.until_ready().tags == ["SUSPEND"]
        assert got < 20000000
        assert admin.query("RESUME").tags == ["RESUME"]
        last = b""
        while not last.endswith(b"Z\0\0\0\5I"):
            data = c.sock.recv(1 << 20)
            assert data
            got += len(data)
            last = (last + data)[-6:]
        assert got > 20000000
        assert c.value("SELECT 1") == "1"


def test_suspend_timeout_closes_what_is_left(pool):
    """Clients in the middle of a message, waiting ones, and those in login."""
    p = pool(default_pool_size=1, suspend_timeout=0.3)
    with p.login() as half, p.login() as busy, p.login() as waiting, p.wire() as login, p.console() as admin:
        busy.query("BEGIN")
        waiting.send(wire.query("SELECT 1"))
        half.send(wire.query("SELECT 1")[:8])
        login.send(wire.startup("u_trust", "db")[:7])
        env.wait_for(lambda: len([r for r in admin.query("SHOW SOCKETS").dicts() if int(r["pkt_avail"])]) == 3,
                     lambda: "all pieces to arrive")
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        for c in (half, waiting, login):
            assert c.expect_error().text == "suspend_timeout"
        assert admin.query("RESUME").tags == ["RESUME"]
        assert busy.query("COMMIT").status == "I"


def test_suspend_closes_tested_and_used_servers(pool):
    p = pool(server_check_delay=0, server_check_query="SELECT 1")
    with p.login() as c, p.console() as admin:
        c.value("SELECT 1")
        p.wait_pool(sv_used=1)
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        p.wait_log("closing because: close unsafe file descriptors on suspend")
        assert admin.query("SHOW SERVERS").rows == []
        assert admin.query("RESUME").tags == ["RESUME"]
        assert c.value("SELECT 2") == "2"


def test_suspend_refusals(pool):
    p = pool()
    with p.console() as admin:
        assert admin.query("PAUSE db").tags == ["PAUSE"]
        assert refused(admin, "SUSPEND") == "cannot suspend with paused databases"
        assert admin.query("RESUME db").tags == ["RESUME"]
        assert admin.query("PAUSE").tags == ["PAUSE"]
        assert refused(admin, "SUSPEND") == "already suspended/paused"
        assert admin.query("RESUME").tags == ["RESUME"]
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        for command in ("SUSPEND", "PAUSE", "PAUSE db", "KILL", "KILL db"):
            assert refused(admin, command) == "already suspended/paused"
        assert admin.query("RESUME").tags == ["RESUME"]
        assert refused(admin, "SUSPEND db") == "invalid command 'SUSPEND db', use SHOW HELP;"


def test_nothing_times_out_while_suspended(pool):
    p = pool(client_idle_timeout=0.5, server_idle_timeout=0.5)
    with p.login() as c, p.console() as admin:
        c.value("SELECT 1")
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        # A second with consoles only: the wheel turns, and closes nobody.
        for _ in range(4):
            assert admin.silent(0.25)
            assert len(admin.query("SHOW CLIENTS").rows) == 2 and len(admin.query("SHOW SERVERS").rows) == 1
        assert admin.query("RESUME").tags == ["RESUME"]
        assert c.expect_error().text == "client_idle_timeout"


def test_sigusr2_ends_a_suspend(pool):
    p = pool()
    with p.login() as c, p.console() as admin:
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        p.signal(signal.SIGUSR1)
        p.wait_log("got SIGUSR1, but already paused/suspended")
        p.signal(signal.SIGUSR2)
        p.wait_log("got SIGUSR2, continuing from SUSPEND")
        assert c.value("SELECT 1") == "1"
        assert state(admin) == ["active"]


def test_a_resume_from_elsewhere_ends_a_suspend_that_still_waits(pool):
    p = pool()
    with p.login() as c, p.console() as admin, p.console() as second:
        c.send(wire.query("SELECT 1")[:8])
        admin.send(wire.query("SUSPEND"))
        wait_state(second, "suspended")
        assert second.query("RESUME").tags == ["RESUME"]
        assert [e.text for e in admin.until_ready().errors] == ["RESUME came before SUSPEND was done"]


@pytest.mark.parametrize("when", ["done", "waiting"])
def test_the_console_that_suspended_disappears(pool, when):
    p = pool()
    with p.login() as c, p.console() as other:
        admin = p.console()
        if when == "waiting":
            c.send(wire.query("SELECT 1")[:8])
            admin.send(wire.query("SUSPEND"))
            wait_state(other, "suspended")
            c.send(wire.query("SELECT 1")[8:])
        else:
            assert admin.query("SUSPEND").tags == ["SUSPEND"]
            c.send(wire.query("SELECT 1"))
        admin.close()
        p.wait_log("LOG admin disappeared when suspended, doing RESUME")
        assert c.until_ready().value() == "1"
        wait_state(other, "active")


def test_another_console_may_leave_during_suspend(pool):
    p = pool()
    with p.login() as c, p.console() as admin:
        other = p.console()
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        other.close()
        env.wait_for(lambda: len(admin.query("SHOW CLIENTS").rows) == 2, lambda: "it to be gone")
        assert state(admin) == ["suspended"]
        assert admin.query("RESUME").tags == ["RESUME"]
        assert c.value("SELECT 1") == "1"


@pytest.mark.parametrize("mode, size", [("transaction", 2), ("transaction", 8), ("session", 8)])
def test_suspend_under_load_fails_no_query(pool, mode, size):
    p = pool(default_pool_size=size, pool_mode=mode)
    wrong, done, stop = [], [0] * 6, threading.Event()

    def work(number):
        try:
            with p.login(database=["db", "other"][number % 2]) as c:
                while not stop.is_set():
                    r = c.query("SELECT repeat('x', 3000)")
                    if r.errors or len(r.rows[0][0]) != 3000:
                        wrong.append(r.types)
                    done[number] += 1
        except (Closed, PgError, OSError) as e:
            wrong.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    try:
        with p.console() as admin:
            for _ in range(5):
                seen = list(done)
                env.wait_for(lambda: wrong or all(d > s for d, s in zip(done, seen)), lambda: "everybody to go on")
                assert admin.query("SUSPEND").tags == ["SUSPEND"]
                assert admin.query("RESUME").tags == ["RESUME"]
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not wrong


def test_a_client_that_left_while_suspended_is_noticed_by_resume(pool):
    p = pool()
    with p.console() as admin:
        c = p.login()
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        c.reset()
        assert admin.query("RESUME").tags == ["RESUME"]
        env.wait_for(lambda: len(admin.query("SHOW CLIENTS").rows) == 1, lambda: "it to be gone")


@pytest.mark.parametrize("word", ["SHUTDOWN WAIT_FOR_CLIENTS", "SHUTDOWN WAIT_FOR_SERVERS"])
def test_shutdown_from_suspend_lets_work_end(pool, word):
    p = pool()
    with p.login() as c, p.console() as admin:
        c.query("BEGIN")
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        assert admin.query(word).tags == ["SHUTDOWN"]
        assert c.query("COMMIT").status == "I"
        c.close()
    p.wait_exit()


def test_sigterm_during_suspend_is_fatal(pool):
    p = pool()
    with p.console() as admin:
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        p.signal(signal.SIGTERM)
        p.wait_exit(1)
    p.wait_log("FATAL suspend was in progress, going down immediately")


# --- cancel requests for a console (section 16) -------------------------------

def test_cancel_of_a_blocked_pause_resumes(pool):
    p = pool()
    with p.login() as busy, p.console() as admin:
        busy.query("BEGIN")
        admin.send(wire.query("PAUSE"))
        env.wait_for(lambda: p.show("STATE")[1]["value"] == "yes", lambda: "paused")
        cancel(p, admin)
        assert [e.text for e in admin.until_ready().errors] == ["canceling statement due to user request"]
        wait_state(admin, "active")
        assert busy.query("COMMIT").status == "I"
        assert busy.value("SELECT 1") == "1"
    p.wait_log("closing because: cancel request for console client")
    assert not p.logged("admin cancel request for non-waiting client")


def test_cancel_of_a_blocked_pause_of_one_database(pool):
    p = pool()
    with p.login() as busy, p.console() as admin:
        busy.query("BEGIN")
        admin.send(wire.query("PAUSE db"))
        env.wait_for(lambda: {r["name"]: r["paused"] for r in p.show("DATABASES")}["db"] == "1", lambda: "paused")
        cancel(p, admin)
        assert admin.until_ready().errors
        assert {r["name"]: r["paused"] for r in admin.query("SHOW DATABASES").dicts()}["db"] == "0"


def test_cancel_of_wait_close(pool):
    p = pool(pool_mode="session")
    with p.login() as c, p.console() as admin:
        c.value("SELECT 1")
        assert admin.query("RECONNECT").tags == ["RECONNECT"]
        admin.send(wire.query("WAIT_CLOSE"))
        assert admin.silent(0.05)
        cancel(p, admin)
        assert [e.text for e in admin.until_ready().errors] == ["canceling statement due to user request"]
        assert c.value("SELECT 1") == "1"


def test_cancel_of_a_console_that_does_not_wait(pool):
    p = pool()
    with p.console() as admin:
        cancel(p, admin)
        p.wait_log("WARNING admin cancel request for non-waiting client?")
        # A pause that is in force ends all the same.
        assert admin.query("PAUSE").tags == ["PAUSE"]
        cancel(p, admin)
        wait_state(admin, "active")


def test_cancel_during_a_shutdown_resumes_nothing(pool):
    p = pool()
    with p.login() as busy, p.console() as admin:
        busy.query("BEGIN")
        assert admin.query("SHUTDOWN WAIT_FOR_SERVERS").tags == ["SHUTDOWN"]
        cancel(p, admin)
        p.wait_log("admin cancel request for non-waiting client")
        assert state(admin) == ["paused"]
        busy.query("COMMIT")
    p.wait_exit()


def test_row_25_a_stats_user_resumes_nothing_by_cancel(pool):
    p = pool()
    with p.console() as admin, p.console("stats") as stats:
        assert admin.query("PAUSE").tags == ["PAUSE"]
        cancel(p, stats)
        p.wait_log("admin cancel request for non-waiting client")
        assert state(admin) == ["paused"]
        assert admin.query("RESUME").tags == ["RESUME"]
