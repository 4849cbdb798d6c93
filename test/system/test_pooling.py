"""Who gets which server, when, and what happens when somebody leaves."""
import signal
import threading

import psycopg
import pytest
from harness import env, wire
from harness.wire import Closed, PgError

ours = pytest.mark.ours


@pytest.fixture
def pool(pooler, pg):
    def make(mode="transaction", entry=None, **settings):
        return pooler(**{"databases": {"db": entry or pg.entry()}, "users": {"u_trust": "", "svc": "svc_pw"},
                         "pool_mode": mode, "server_tls_sslmode": "disable", **settings})
    return make


def backends(pg, **how):
    return pg.backends("db", **how)


# --- session mode -----------------------------------------------------------

def test_session_keeps_its_server(pool):
    p = pool("session")
    with p.login() as a, p.login() as b:
        assert a.pid() == a.pid() != b.pid() == b.pid()
        p.wait_pool(cl_active=2, sv_active=2)
    p.wait_pool(cl_active=0, sv_active=0, sv_idle=2)


@ours
@pytest.mark.parametrize("kind", ["d", "c", "f", "H"])
@pytest.mark.parametrize("reset", ["", "DISCARD ALL"])
def test_leaving_in_the_middle_of_a_message(pool, kind, reset):
    """These make no work, so the server is ready; but it would take the next client's query for the rest."""
    p = pool("session", default_pool_size=1, server_reset_query=reset)
    with p.login() as a:
        pid = a.pid()
        a.send(wire.msg(kind.encode(), b"x" * 1000)[:20])
    with p.login() as b:
        assert b.value("SELECT 'two'") == "two"
        assert b.pid() != pid
    p.wait_log("S-.*closing because: client disconnect while server was not ready")


def test_no_server_before_the_first_message(pool):
    p = pool("session")
    with p.login(), p.login():
        assert p.pool()["sv_active"] == 0


def test_reset_query_on_release(pool):
    p = pool("session", default_pool_size=1)
    with p.login() as a:
        a.query("SET geqo_threshold = 17")
        a.query("CREATE TEMP TABLE mine (a int)")
        pid = a.pid()
    with p.login() as b:
        assert b.pid() == pid
        assert b.value("SHOW geqo_threshold") == "12"
        assert b.query("SELECT * FROM mine").errors


def test_reset_query_of_ones_own(pool):
    p = pool("session", default_pool_size=1, server_reset_query="SET geqo_threshold = 33")
    with p.login() as a:
        a.query("SET geqo_threshold = 17")
    with p.login() as b:
        assert b.value("SHOW geqo_threshold") == "33"


def test_failing_reset_query_closes_the_server(pool):
    p = pool("session", default_pool_size=1, server_reset_query="SELECT nonsense")
    with p.login() as a:
        pid = a.pid()
    with p.login() as b:
        b.pid()
    assert pid


@pytest.mark.parametrize("always", [0, 1])
def test_reset_query_in_transaction_mode(pool, always):
    p = pool(server_reset_query_always=always, default_pool_size=1)
    with p.login() as a:
        a.query("SET geqo_threshold = 17")
        assert a.value("SHOW geqo_threshold") == ("12" if always else "17")


# --- transaction mode -------------------------------------------------------

def test_transactions_share_one_server(pool):
    p = pool(default_pool_size=1)
    clients = [p.login() for _ in range(5)]
    assert len({c.pid() for c in clients}) == 1
    p.wait_pool(cl_active=5, sv_idle=1, sv_active=0)
    clients[0].query("BEGIN")
    p.wait_pool(sv_idle=0, sv_active=1)
    clients[1].send(wire.query("SELECT 1"))
    p.wait_pool(cl_waiting=1)
    assert clients[1].silent()
    assert clients[0].query("SELECT 1").status == "T"
    assert clients[0].query("SELECT nonsense").status == "E"
    assert clients[1].silent(0.05)
    clients[0].query("ROLLBACK")
    assert clients[1].until_ready().value() == "1"


def test_released_servers_are_taken_again_last_first(pool):
    p = pool(default_pool_size=3)
    a, b = p.login(), p.login()
    a.query("BEGIN")
    first = a.pid()
    second = b.pid()
    assert first != second
    a.query("COMMIT")
    assert b.pid() == first
    p.admin("SET server_round_robin = 1")
    assert len({b.pid() for _ in range(4)}) == 2


def test_pool_size(pool, pg):
    p = pool(default_pool_size=2)
    holders = [p.login() for _ in range(2)]
    for h in holders:
        h.query("BEGIN")
    waiters = [p.login() for _ in range(4)]
    for w in waiters:
        w.send(wire.query("SELECT 1"))
    p.wait_pool(cl_waiting=4, sv_active=2)
    assert len(backends(pg, user="u_trust")) == 2
    for h in holders:
        h.query("COMMIT")
    for w in waiters:
        assert w.until_ready().value() == "1"


def test_waiters_are_served_in_order(pool, pg):
    pg.sql("DROP TABLE IF EXISTS fifo", "CREATE TABLE fifo (n serial, who int)",
           "GRANT ALL ON fifo, fifo_n_seq TO PUBLIC", db="db")
    p = pool(default_pool_size=1)
    holder = p.login()
    holder.query("BEGIN")
    waiters = [p.login() for _ in range(10)]
    for i, w in enumerate(waiters):
        w.send(wire.query("INSERT INTO fifo(who) VALUES (%d)" % i))
        p.wait_pool(cl_waiting=i + 1)
    holder.query("COMMIT")
    for w in waiters:
        assert w.until_ready().tags == ["INSERT 0 1"]
    assert [r[0] for r in pg.sql("SELECT who FROM fifo ORDER BY n", db="db")] == list(range(10))


def test_query_wait_timeout(pool):
    p = pool(default_pool_size=1, query_wait_timeout=1)
    holder, waiter = p.login(), p.login()
    holder.query("BEGIN")
    waiter.send(wire.query("SELECT 1"))
    e = waiter.expect_error()
    assert (e.severity, e.code, e.text) == ("FATAL", "08P01", "query_wait_timeout")
    p.wait_log(r"closing because: query_wait_timeout \(age=\d+s\)")
    assert holder.query("COMMIT").status == "I"


@ours
def test_query_wait_notify(pool):
    p = pool(default_pool_size=1, query_wait_notify=1)
    holder, waiter = p.login(), p.login()
    holder.query("BEGIN")
    waiter.send(wire.query("SELECT 1"))
    notice = waiter.expect(b"N")
    assert wire.fields_of(notice.body)["M"] == "No server connection available in postgres backend, " \
                                               "client being queued"
    holder.query("COMMIT")
    result = waiter.until_ready()
    assert result.value() == "1" and not result.notices


@pytest.mark.parametrize("setting, text, server", [
    ("query_timeout", "query timeout", "running"), ("idle_transaction_timeout", "idle transaction timeout", "idle"),
    pytest.param("transaction_timeout", "transaction timeout", "idle", marks=ours),
    ("client_idle_timeout", "client_idle_timeout", None)])
def test_timeouts(pool, setting, text, server):
    p = pool(**{setting: 1})
    c, other = p.login(), p.login()
    if server == "idle":
        c.query("BEGIN")
    if server == "running":
        c.send(wire.query("SELECT pg_sleep(30)"))
    assert c.expect_error().text == text
    if server:
        assert other.value("SELECT 1") == "1"


@ours
def test_query_timeout_spares_an_idle_transaction(pool):
    p = pool(query_timeout=1, idle_transaction_timeout=0)
    with p.login() as c:
        c.query("BEGIN")
        assert c.silent(1.8)
        assert c.value("SELECT 1") == "1"


def test_row_34_client_gone_in_a_transaction(pool, pg):
    """Row 34: the server is closed, the transaction rolled back."""
    pg.sql("DROP TABLE IF EXISTS gone", "CREATE TABLE gone (a int)", "GRANT ALL ON gone TO PUBLIC", db="db")
    p = pool()
    c = p.login()
    c.query("BEGIN")
    pid = c.pid()
    c.query("INSERT INTO gone VALUES (1)")
    c.close()
    env.wait_for(lambda: pid not in backends(pg), "the backend to go")
    assert pg.sql("SELECT count(*) FROM gone", db="db") == [(0,)]
    p.wait_log("closing because: client disconnect while server was not ready")


@pytest.mark.parametrize("sent", [wire.parse("SELECT 1"), wire.parse("SELECT 1") + wire.bind(),
                                  wire.parse("SELECT 1") + wire.FLUSH, wire.query("SELECT pg_sleep(0.2)"),
                                  wire.extended("SELECT 1") + wire.SYNC, wire.query("SELECT 1")[:9],
                                  wire.parse("SELECT 1")[:7]],
                         ids=["parse", "bind", "flush", "query", "sync", "half-query", "half-parse"])
def test_row_34_client_gone_after(pool, sent):
    """Row 34: nobody else notices, nothing is left behind."""
    p = pool(default_pool_size=1)
    for _ in range(3):
        c = p.login()
        c.send(sent)
        c.close()
    with p.login() as c:
        assert c.value("SELECT 'after'") == "after"
        assert c.run("SELECT 'extended'").rows == [("extended",)]
    p.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)


def test_row_34_client_gone_while_queued(pool):
    p = pool(default_pool_size=1)
    holder = p.login()
    holder.query("BEGIN")
    for i in range(3):
        c = p.login()
        c.send(wire.query("SELECT 1"))
        p.wait_pool(cl_waiting=i + 1)
        c.close()
    last = p.login()
    last.send(wire.query("SELECT 'last'"))
    p.wait_pool(cl_waiting=4)
    holder.query("COMMIT")
    assert last.until_ready().value() == "last"
    p.wait_pool(cl_waiting=0)


def test_row_34_client_gone_in_a_failed_transaction(pool):
    p = pool(default_pool_size=1)
    c = p.login()
    c.query("BEGIN")
    c.query("SELECT nonsense")
    c.close()
    with p.login() as c:
        assert c.query("SELECT 1").status == "I"


def test_terminate_message(pool):
    p = pool()
    with p.login() as c:
        c.send(wire.TERMINATE)
        c.expect_closed()
    p.wait_log("closing because: client close request")


@pytest.mark.parametrize("packet", [wire.msg(b"y", b"x"), wire.msg(b"R", b"\0\0\0\0"), wire.msg(b"Z", b"I")])
def test_unknown_message(pool, packet):
    p = pool()
    with p.login() as c:
        c.send(packet)
        assert c.expect_error().text == "unknown pkt"
    p.wait_log("unknown pkt from client: ")


@pytest.mark.parametrize("packet", [b"Q\0\0\0\3", b"Q\xff\xff\xff\xff", b"Q\0\0\0\0abc", b"\0\0\0\0\0\0\0\0",
                                    b"Q\x80\0\0\0xxxxx"])
def test_row_3_bad_length(pool, packet):
    """Row 3."""
    p = pool()
    with p.login() as c, p.login() as other:
        c.send(packet)
        e = c.expect_error()
        assert e.severity == "FATAL"
        assert other.value("SELECT 1") == "1"


def test_max_db_connections(pool, pg):
    p = pool(max_db_connections=2, users={"u_trust": "", "u_plain": "u_plain_pw"})
    a, b = p.login(), p.login()
    a.query("BEGIN")
    b.query("BEGIN")
    third = p.login()
    third.send(wire.query("SELECT 3"))
    p.wait_pool(cl_waiting=1)
    assert len(backends(pg, user="u_trust")) == 2
    a.query("COMMIT")
    assert third.until_ready().value() == "3"
    b.query("COMMIT")


def test_full_database_evicts_an_idle_server_of_another_user(pool):
    p = pool(max_db_connections=1, users={"u_trust": "", "u_plain": "u_plain_pw"})
    a = p.login()
    assert a.value("SELECT current_user") == "u_trust"
    b = p.login("u_plain")
    assert b.value("SELECT current_user") == "u_plain"
    p.wait_log("closing because: evicted")
    assert a.value("SELECT current_user") == "u_trust"


def test_reserve_pool(pool):
    p = pool(default_pool_size=1, reserve_pool_size=1, reserve_pool_timeout=1)
    a, b = p.login(), p.login()
    a.query("BEGIN")
    assert b.value("SELECT 1") == "1"
    p.wait_log(r"WARNING C-\S+: db/u_trust@127\.0\.0\.1:\d+ taking connection from reserve_pool")


def test_pool_mode_of_a_user(pool):
    p = pool("session", user_lines={"u_trust": "pool_mode=transaction"})
    with p.login() as c:
        c.pid()
        p.wait_pool(sv_idle=1, sv_active=0, pool_mode="transaction")


@ours
def test_pool_size_per_user(pool):
    p = pool(default_pool_size=5, user_lines={"u_trust": "pool_size=1"})
    a, b = p.login(), p.login()
    a.query("BEGIN")
    b.send(wire.query("SELECT 1"))
    p.wait_pool(cl_waiting=1, sv_active=1)
    a.query("COMMIT")
    assert b.until_ready().value() == "1"


def test_min_pool_size(pool):
    p = pool(min_pool_size=3)
    with p.login():
        p.wait_pool(sv_idle=3)


def test_server_idle_timeout_and_lifetime(pool):
    p = pool(server_idle_timeout=1)
    with p.login() as c:
        c.pid()
        p.wait_log("closing because: server idle timeout")
        p.wait_pool(sv_idle=0)
        p.admin("SET server_lifetime = 0")
        assert c.pid() != c.pid()


def test_shrunk_pool(pool):
    p = pool(default_pool_size=4)
    clients = [p.login() for _ in range(4)]
    for c in clients:
        c.query("BEGIN")
    for c in clients:
        c.query("COMMIT")
    p.wait_pool(sv_idle=4)
    p.reload(default_pool_size=2)
    p.wait_log("closing because: too many servers in the pool")
    p.wait_pool(sv_idle=2)


def test_statement_mode(pool):
    p = pool("statement")
    with p.login() as c:
        assert c.value("SELECT 1") == "1"
        assert c.query("SELECT 1; SELECT 2").tags == ["SELECT 1", "SELECT 1"]
        c.send(wire.query("BEGIN"))
        try:
            while True:
                m = c.recv()
                if m.type == b"E":
                    assert wire.PgError(wire.fields_of(m.body)).text == \
                        "transaction blocks not allowed in statement pooling mode"
        except Closed:
            pass
    p.wait_log("transaction blocks not allowed in statement pooling mode")


# --- parameters that follow the client --------------------------------------

PARAMETERS = [("DateStyle", "German, DMY", "SQL, MDY"), ("client_encoding", "LATIN1", "SQL_ASCII"),
              ("TimeZone", "Asia/Tokyo", "America/New_York"), ("standard_conforming_strings", "off", "on"),
              ("application_name", "one's", "two \\ \"x\""),
              pytest.param("IntervalStyle", "iso_8601", "sql_standard", marks=ours)]


@pytest.mark.parametrize("name, one, two", PARAMETERS)
def test_tracked_parameter_by_startup(pool, name, one, two):
    p = pool(default_pool_size=1)
    a, b = p.login(**{name: one}), p.login(**{name: two})
    for _ in range(2):
        assert a.value("SHOW " + name) == one
        assert b.value("SHOW " + name) == two
    assert a.params[name] == one


@pytest.mark.parametrize("name, one, two", PARAMETERS)
def test_tracked_parameter_by_set(pool, name, one, two):
    p = pool(default_pool_size=1)
    a, b = p.login(), p.login()
    pid = a.pid()
    for client, value in ((a, one), (b, two)):
        assert not client.query("SET %s = '%s'" % (name, value.replace("'", "''"))).errors
    for _ in range(2):
        assert a.value("SHOW " + name) == one
        assert b.value("SHOW " + name) == two
    assert b.pid() == pid


def test_parameters_are_set_in_one_query(pool):
    p = pool(default_pool_size=1, verbosity=2)
    with p.login() as plain, p.login(DateStyle="ISO") as c:
        plain.value("SELECT 1")
        c.value("SELECT 1")
        c.value("SELECT 2")
    if not env.ORACLE:
        assert len(p.logged(r"varcache_apply: .*SET DateStyle='ISO'")) == 1
        assert p.logged("varcache_set_canonical: setting DateStyle to its canonical version ISO -> ISO, MDY")


@pytest.mark.parametrize("value", ["a'; DROP TABLE x; --", "back\\slash", "new\nline", "%s%n", "q\"uote", "ü€"])
def test_row_28_parameter_values_are_quoted(pool, value):
    p = pool(default_pool_size=1)
    with p.login(application_name=value) as a, p.login(application_name="other") as b:
        b.value("SELECT 1")
        shown = a.value("SHOW application_name")
        assert b.value("SHOW application_name") == "other"
        assert shown.replace("\\xc3\\xbc\\xe2\\x82\\xac", "?????")[:3] == value.encode(
            "ascii", "replace").decode()[:3] or "?" in shown
        assert a.value("SELECT count(*) FROM pg_stat_activity WHERE false") == "0"


def test_bad_parameter_value(pool):
    p = pool(default_pool_size=1, client_login_timeout=3)
    with p.login() as other:
        other.value("SELECT 1")
        with pytest.raises((PgError, Closed)):
            with p.login(DateStyle="nonsense") as c:
                c.value("SELECT 1")
        assert other.value("SELECT 1") == "1"


# --- many at once -----------------------------------------------------------

def test_many_clients_few_servers(pool, pg):
    p = pool(default_pool_size=5, max_client_conn=200)
    faults = []

    def work(number):
        try:
            with p.connect() as conn:
                for i in range(20):
                    with conn.transaction():
                        row = conn.execute("SELECT %s::int, %s::text", (i, "c%d" % number), prepare=False).fetchone()
                        assert row == (i, "c%d" % number)
        except Exception as e:
            faults.append(e)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults
    assert len(backends(pg, user="u_trust")) <= 5
    p.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)


def test_counts_return_to_zero(pool):
    p = pool("session", default_pool_size=3)
    for _ in range(30):
        with p.login() as c:
            c.value("SELECT 1")
    p.wait_pool(cl_active=0, cl_waiting=0, sv_active=0, sv_tested=0)
    assert p.pool()["sv_idle"] <= 3


def test_pause_resume_under_load(pool):
    p = pool(default_pool_size=3)
    stop, faults, done = threading.Event(), [], [0]

    def work():
        try:
            with p.connect() as conn:
                while not stop.is_set():
                    conn.execute("SELECT 1", prepare=False)
                    done[0] += 1
        except psycopg.Error as e:
            faults.append(e)
    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for _ in range(5):
        p.signal(signal.SIGUSR1)
        p.wait_log("got SIGUSR1, pausing all activity")
        p.mark()
        p.signal(signal.SIGUSR2)
        p.wait_log("got SIGUSR2, continuing from PAUSE")
        p.mark()
        p.admin("RELOAD")
        before = done[0]
        env.wait_for(lambda: done[0] > before + 20, "the load to go on")
    stop.set()
    for t in threads:
        t.join()
    assert not faults
