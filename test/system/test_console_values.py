"""What stands in the tables of the console: console specification, section 8, value by value."""
import datetime
import os
import re
import threading

import psycopg
import pytest
from harness import env, wire
from harness.wire import PgError

ours = pytest.mark.ours


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": "transaction", **settings})
    return make


def rows(p, what, database="db"):
    return [r for r in p.show(what) if r["database"] == database]


def wait_row(p, what, database="db", **want):
    seen = []

    def there():
        seen[:] = rows(p, what, database)
        return next((r for r in seen if all(r[k] == v for k, v in want.items())), None)
    return env.wait_for(there, lambda: "%s with %r, there is %r" % (what, want, seen), pause=0.03)


# --- states of servers ------------------------------------------------------------

class Script:
    """A server that stops where it is told to, and goes on by an event."""

    def __init__(self):
        self.login, self.slow, self.busy, self.go_on = (threading.Event() for _ in range(4))

    def __call__(self, peer):
        if peer.read_startup() is None:
            # A cancel request: held open until the script says.
            self.slow.wait(env.PATIENCE)
            return
        self.login.wait(env.PATIENCE)
        peer.welcome()

        def answer(text):
            if text.startswith(("SLOW", "RESET", "CHECK")):
                self.slow.wait(env.PATIENCE)
            if text.startswith("HOLD"):
                self.busy.set()
                self.go_on.wait(env.PATIENCE)
        peer.serve(answer)


@pytest.fixture
def held(pool, fake):
    def make(**settings):
        script = Script()
        p = pool(databases={"db": fake(script).entry()}, **settings)
        p.script = script
        return p
    yield make


def test_server_new_then_idle_then_active(held):
    p = held()
    with p.wire() as c:
        c.send(wire.startup("u_trust", "db"))
        row = wait_row(p, "SERVERS", state="new")
        assert (row["link"], row["application_name"], row["close_needed"]) == ("", "", "0")
        # Its log-in has not brought the pid yet.
        assert row["remote_pid"] == "0"
        p.script.login.set()
        c.finish_login("u_trust")
        assert wait_row(p, "SERVERS", state="idle")["remote_pid"] == "1001"
        c.query("SELECT 1")
        c.send(wire.query("SLOW"))
        server, client = wait_row(p, "SERVERS", state="active"), wait_row(p, "CLIENTS", state="active")
        assert (server["link"], client["link"]) == (client["ptr"], server["ptr"])
        p.script.slow.set()
        c.until_ready()
    p.script.slow.set()


def test_server_tested_by_the_reset_query(held):
    p = held(pool_mode="session", server_reset_query="RESET it")
    p.script.login.set()
    with p.login() as c:
        c.query("SELECT 1")
    assert wait_row(p, "SERVERS", state="tested")["link"] == ""
    assert p.pool()["sv_tested"] == 1
    p.script.slow.set()
    wait_row(p, "SERVERS", state="idle")


def test_server_used_and_tested_by_the_check_query(held):
    p = held(server_check_delay=0, server_check_query="CHECK it")
    p.script.login.set()
    with p.login() as c:
        c.query("SELECT 1")
        assert wait_row(p, "SERVERS", state="used")["link"] == ""
        assert p.pool()["sv_used"] == 1
        c.send(wire.query("SELECT 2"))
        wait_row(p, "SERVERS", state="tested")
        wait_row(p, "CLIENTS", state="waiting")
        p.script.slow.set()
        assert c.until_ready().value() == "SELECT 2"


@ours
def test_states_of_a_cancel_request(held):
    p = held(default_pool_size=1)
    p.script.login.set()
    with p.login() as c, p.wire() as k:
        c.query("SELECT 1")
        c.send(wire.query("SLOW"))
        wait_row(p, "SERVERS", state="active")
        k.send(wire.cancel_request(c.key))
        row = wait_row(p, "CLIENTS", state="active_cancel_req")
        # It has not logged in as anybody.
        assert row["user"] == "(nouser)" and row["port"] == str(k.sock.getsockname()[1])
        assert wait_row(p, "SERVERS", state="active_cancel")["link"] == row["ptr"]
        now = p.pool()
        assert (now["cl_active_cancel_req"], now["sv_active_cancel"], now["cl_active"], now["sv_active"]) == (1, 1, 1, 1)
        p.script.slow.set()
        c.until_ready()


@ours
def test_a_server_is_held_back_until_its_cancel_request_has_ended(held):
    """Its query is over, but the cancel might still hit the next one."""
    p = held()
    p.script.login.set()
    with p.login() as c, p.wire() as k:
        c.query("SELECT 1")
        c.send(wire.query("HOLD"))
        assert p.script.busy.wait(env.PATIENCE)
        k.send(wire.cancel_request(c.key))
        wait_row(p, "SERVERS", state="active_cancel")
        p.script.go_on.set()
        row = wait_row(p, "SERVERS", state="being_canceled")
        assert row["link"] == "" and p.pool()["sv_being_canceled"] == 1
        p.script.slow.set()
        wait_row(p, "SERVERS", state="idle")


# --- clients -----------------------------------------------------------------------

@ours
def test_client_idle_active_waiting(pool):
    p = pool(default_pool_size=1)
    with p.login(application_name="first") as a, p.login() as b:
        assert {r["state"] for r in rows(p, "CLIENTS")} == {"idle"}
        a.query("BEGIN")
        b.send(wire.query("SELECT 1"))
        wait_row(p, "CLIENTS", state="active", application_name="first", wait="0")
        waiting = wait_row(p, "CLIENTS", state="waiting", application_name="")
        assert waiting["link"] == ""
        # Seconds, and millionths of one.
        env.wait_for(lambda: int(wait_row(p, "CLIENTS", state="waiting")["wait"]) >= 1, "a second")
        pool_row = p.pool()
        assert pool_row["maxwait"] >= 1 and 0 <= pool_row["maxwait_us"] < 1000000
        a.query("COMMIT")
        b.until_ready()
        assert p.pool()["maxwait"] == p.pool()["maxwait_us"] == 0
        assert {(r["state"], r["wait"], r["wait_us"]) for r in rows(p, "CLIENTS")} == {("idle", "0", "0")}
        assert 1000000 <= int(rows(p, "STATS")[0]["total_wait_time"]) < 1000000 * env.PATIENCE


def test_times(pool):
    """connect_time stands, request_time moves; both local, to the second."""
    p = pool()
    parse = lambda text: datetime.datetime.strptime(text.rsplit(" ", 1)[0], "%Y-%m-%d %H:%M:%S")
    with p.login() as c:
        before = rows(p, "CLIENTS")[0]
        assert abs((parse(before["connect_time"]) - datetime.datetime.now()).total_seconds()) < 5 * env.SLOW

        def later():
            c.query("SELECT 1")
            return parse(rows(p, "CLIENTS")[0]["request_time"]) > parse(before["request_time"])
        env.wait_for(later, "another second")
        assert rows(p, "CLIENTS")[0]["connect_time"] == before["connect_time"]


@ours
def test_over_unix_sockets(pool, pg):
    p = pool(databases={"db": "host=%s port=%d" % (pg.dir, pg.port)})
    with p.login(host=p.dir) as c:
        pid = c.pid()
        client, server = rows(p, "CLIENTS")[0], rows(p, "SERVERS")[0]
        assert (client["addr"], client["port"], client["local_addr"], client["local_port"]) == (
            "unix", str(p.port), "unix", str(p.port))
        assert client["remote_pid"] == str(os.getpid())
        assert (server["addr"], server["port"], server["tls"]) == ("unix", str(pg.port), "")
        # The process that listens, or its child: the kernel tells the one that called listen().
        assert server["remote_pid"] in (str(pid), str(pg.process.pid))
        p.wait_log(r"S-\S+: db/u_trust@unix(\(\d+\))?:%d new connection to server$" % pg.port)


def test_prepared_statements_are_counted(pool):
    if env.ORACLE:
        pytest.skip("1.18 has no such column")
    p = pool()
    with p.connect() as conn:
        conn.prepare_threshold = 0
        for i in range(3):
            conn.execute("SELECT %d, %%s::int" % i, (i,))
        assert rows(p, "CLIENTS")[0]["prepared_statements"] == "3"
        assert rows(p, "SERVERS")[0]["prepared_statements"] == "3"


@pytest.fixture(scope="module")
def rsa(scratch):
    """A key for which there are old key exchanges."""
    where = env.make_dir(scratch, "rsa-")
    env.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "crt", "-subj",
             "/CN=localhost", "-days", "2"], cwd=where)
    return os.path.join(where, "key"), os.path.join(where, "crt")


@pytest.mark.parametrize("protocol, ciphers, text", [
    ("tlsv1.2", "ECDHE-RSA-AES256-GCM-SHA384", r"TLSv1\.2/ECDHE-RSA-AES256-GCM-SHA384/ECDH=\w+"),
    ("tlsv1.2", "AES128-GCM-SHA256", r"TLSv1\.2/AES128-GCM-SHA256"),
    pytest.param("tlsv1.2", "DHE-RSA-AES128-GCM-SHA256", r"TLSv1\.2/DHE-RSA-AES128-GCM-SHA256/DH=\d{4}", marks=ours),
    pytest.param("tlsv1.3", "TLS_AES_256_GCM_SHA384", r"TLSv1\.3/TLS_AES_256_GCM_SHA384(/ECDH=\w+)?", marks=ours),
])
def test_words_for_tls(pool, rsa, protocol, ciphers, text):
    """The same in SHOW CLIENTS, in the log, and for servers."""
    key = "client_tls13_ciphers" if protocol == "tlsv1.3" else "client_tls_ciphers"
    p = pool(client_tls_sslmode="require", client_tls_key_file=rsa[0], client_tls_cert_file=rsa[1],
             client_tls_protocols=protocol, **{key: ciphers})
    with p.wire() as c:
        c.tls()
        c.login("u_trust", "db")
        assert re.fullmatch(text, rows(p, "CLIENTS")[0]["tls"])
        p.wait_log("login attempt: db=db user=u_trust tls=" + text)


# --- databases, users, lists ---------------------------------------------------------

@ours
def test_database_row(pool, pg):
    """Own values, and those of the settings."""
    p = pool(databases={"a": pg.entry(user="svc", password="svc_pw", pool_size=3, min_pool_size=0, reserve_pool=2,
                                      server_lifetime=100, pool_mode="statement", max_db_connections=9,
                                      max_db_client_connections=8),
                        "b": "host=x,y load_balance_hosts=disable", "c": "host='x, y' port=7 dbname=z", "d": "", "e": "host=::1"},
             default_pool_size=11, min_pool_size=0, reserve_pool_size=4, server_lifetime=200, max_db_connections=33,
             max_db_client_connections=44)
    by = {r["name"]: r for r in p.show("DATABASES")}
    pick = lambda name: {k: by[name][k] for k in ("host", "port", "database", "force_user", "pool_size", "min_pool_size",
                                                  "reserve_pool_size", "server_lifetime", "pool_mode", "load_balance_hosts",
                                                  "max_connections", "max_client_connections")}
    assert pick("a") == dict(host="127.0.0.1", port=str(pg.port), database="db", force_user="svc", pool_size="3",
                             min_pool_size="0", reserve_pool_size="2", server_lifetime="100", pool_mode="statement",
                             load_balance_hosts=None, max_connections="9", max_client_connections="8")
    assert pick("c") == dict(host="x, y", port="7", database="z", force_user=None, pool_size="11", min_pool_size="0",
                             reserve_pool_size="4", server_lifetime="200", pool_mode=None, load_balance_hosts="round-robin",
                             max_connections="33", max_client_connections="44")
    assert by["b"]["load_balance_hosts"] == "disable"
    assert (by["d"]["host"], by["d"]["port"], by["d"]["database"]) == (None, "5432", "d")
    assert by["e"]["host"] == "::1"
    own = pick("pgbouncer")
    assert (own["host"], own["port"], own["database"], own["force_user"], own["pool_size"], own["pool_mode"]) == (
        None, str(p.port), "pgbouncer", "pgbouncer", "2", "statement")
    with p.login(database="a") as x, p.login(database="a"):
        x.query("SELECT 1")
        row = [r for r in p.show("DATABASES") if r["name"] == "a"][0]
        assert (row["current_connections"], row["current_client_connections"]) == ("1", "2")


@ours
def test_user_row(pool, pg):
    p = pool(user_lines={"u_trust": "pool_size=7 reserve_pool_size=0 pool_mode=transaction max_user_connections=5 "
                         "max_user_client_connections = 6", "svc": ""}, max_user_connections=55)
    with p.login() as c, p.login():
        c.query("SELECT 1")
        by = {r["name"]: r for r in p.show("USERS")}
        assert by["u_trust"] == dict(name="u_trust", pool_size="        7", reserve_pool_size="        0",
                                     pool_mode="transaction", max_user_connections="5", current_connections="1",
                                     max_user_client_connections="6", current_client_connections="2")
        assert by["svc"] == dict(name="svc", pool_size="", reserve_pool_size="", pool_mode=None, max_user_connections="55",
                                 current_connections="0", max_user_client_connections="0", current_client_connections="0")


@ours
def test_users_who_are_known(pool, pg):
    """By auth_file, [users], auth_user and user= of databases, and those whom auth_query has found; nobody else."""
    p = pool(databases={"db": pg.entry(user="svc", password="svc_pw"), "x": pg.entry(auth_user="asker")},
             users={"from_file": "x", "postgres": ""}, user_lines={"from_section": ""}, auth_type="plain", auth_user="postgres",
             auth_query="SELECT 'found'::text, 'found_pw'::text WHERE $1 = 'found'")
    names = lambda: [r["name"] for r in p.show("USERS")]
    known = sorted(["admin", "asker", "from_file", "from_section", "pgbouncer", "postgres", "stats", "svc"])
    assert names() == known
    for user, secret in (("stranger", "x"), ("found", "wrong"), ("from_file", "wrong")):
        with pytest.raises(PgError):
            p.login(user, secret=secret)
    assert names() == known
    p.login("found", secret="found_pw").close()
    assert names() == sorted(known + ["found"])


@ours
def test_lists_row_by_row(pool):
    p = pool(databases={"db": "host=127.0.0.1 port=1", "by_name": "host=localhost port=1"}, user_lines={"someone": ""})
    items = lambda: {r["list"]: int(r["items"]) for r in p.show("LISTS")}
    start = items()
    assert start == dict(databases=3, users=5, peers=0, pools=1, peer_pools=0, free_clients=0, used_clients=1, login_clients=0,
                         free_servers=0, used_servers=0, dns_names=0, dns_zones=0, dns_queries=0, dns_pending=0)
    with p.wire() as half, p.wire() as c:
        half.send(b"\0")
        c.send(wire.startup("u_trust", "by_name"))
        env.wait_for(lambda: (items()["login_clients"], items()["dns_names"]) == (1, 1), "the client in log-in, the name")
        now = items()
        assert (now["used_clients"], now["pools"]) == (3, 2)
    hosts = p.show("DNS_HOSTS")
    assert [r["hostname"] for r in hosts] == ["localhost"] and 0 <= int(hosts[0]["ttl"]) <= 15
    assert "127.0.0.1" in hosts[0]["addrs"]


@ours
def test_state(pool):
    p = pool()
    state = lambda: [(r["key"], r["value"]) for r in p.show("STATE")]
    as_rows = lambda word: [(k, "yes" if k == word else "no") for k in ("active", "paused", "suspended")]
    assert state() == as_rows("active")
    p.admin("PAUSE db")
    # One database is not the pooler.
    assert state() == as_rows("active")
    p.admin("RESUME db")
    p.admin("PAUSE")
    assert state() == as_rows("paused")
    p.admin("RESUME")
    with p.console() as c:
        c.query("SUSPEND")
        assert [tuple(r) for r in c.query("SHOW STATE").rows] == as_rows("suspended")
        c.query("RESUME")
    assert state() == as_rows("active")


def test_memory(pool):
    for r in pool().show("MEM"):
        numbers = {k: int(v) for k, v in r.items() if k != "name"}
        assert min(numbers.values()) >= 0 and numbers["memtotal"] >= numbers["size"] * numbers["used"], r


# --- statistics -----------------------------------------------------------------------

@ours
def test_what_counts_as_what(pool):
    """Transactions, queries, assignments, log-ins, statements, of one database; in all four tables the same."""
    p = pool()
    for _ in range(5):
        with p.login() as c:
            c.query("BEGIN")
            c.query("SELECT 1")
            c.query("COMMIT")
    with p.connect() as conn:
        conn.prepare_threshold = 0
        for i in range(2):
            conn.execute("SELECT %s::int", (i,))
    with p.login() as c:
        # One until everything is answered.
        c.send(wire.extended("SELECT 1") + wire.extended("SELECT 2") + wire.SYNC)
        assert c.until_ready().tags == ["SELECT 1"] * 2
    stats, totals = rows(p, "STATS")[0], rows(p, "STATS_TOTALS")[0]
    want = dict(client_login_count=7, xact_count=9, query_count=19, server_assignment_count=9, client_parse_count=1,
                server_parse_count=1, bind_count=2)
    assert {k: int(stats["total_" + k]) for k in want} == {k: int(totals[k]) for k in want} == want
    for a, b in (("received", "bytes_received"), ("sent", "bytes_sent"), ("xact_time", "xact_time"),
                 ("query_time", "query_time"), ("wait_time", "wait_time")):
        assert stats["total_" + a] == totals[b] and (int(totals[b]) > 0) == (a != "wait_time")
    assert [r["database"] for r in p.show("STATS")] == [r["database"] for r in p.show("STATS_AVERAGES")] == ["db", "pgbouncer"]
    # Console commands are queries and transactions, one each.
    own = rows(p, "STATS", "pgbouncer")[0]
    assert own["total_query_count"] == own["total_xact_count"] != "0"


@ours
def test_averages_of_known_work(pool):
    """Per second over the last one or two periods; zero before the first."""
    p = pool(stats_period=1)
    with p.login() as c:
        def measured():
            c.query("SELECT pg_sleep(0.05)")
            row = rows(p, "STATS_AVERAGES")[0]
            # Each takes 50 ms and little more, there is a handful in a second.
            return 1 <= int(row["query_count"]) <= 20 and 50000 <= int(row["query_time"]) < 50000 + 150000 * env.SLOW and row
        row = env.wait_for(measured, lambda: "averages: %r" % rows(p, "STATS_AVERAGES"))
        assert row["xact_count"] == row["query_count"] and int(row["xact_time"]) >= 50000
        assert int(row["server_assignment_count"]) >= 1


# --- ids -------------------------------------------------------------------------------

@ours
def test_ids_are_never_used_again(pool):
    p = pool()
    seen = set()
    for _ in range(5):
        with p.login() as c:
            c.query("SELECT 1")
            ids = {int(r["id"]) for r in p.show("SOCKETS")}
        assert ids - seen and max(ids) > max(seen, default=0)
        seen |= ids
        p.admin("RECONNECT")


@ours
def test_kill_client_by_what_show_clients_says(pool):
    p = pool()
    with p.login() as c, p.connect("admin", "pgbouncer", "admin_pw") as admin:
        ident = [r for r in admin.execute("SHOW CLIENTS").fetchall() if r[2] == "db"][0][20]
        assert isinstance(ident, int)
        for bad in ("abc", "'1'"):
            with pytest.raises(psycopg.errors.ProtocolViolation):
                admin.execute("KILL_CLIENT " + bad)
        admin.execute("KILL_CLIENT %d" % ident)
        assert c.expect_error().text == "admin forced disconnect"
