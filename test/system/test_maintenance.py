"""What happens in time: checks before reuse, time-outs of one user or one
database, pools that fill and empty by themselves, changes of mode and size."""
import threading

import pytest
from harness import env, wire
from harness.fakeserver import Gone, error, one_row, param, ready, tag
from harness.wire import Closed, PgError

pytestmark = pytest.mark.ours


@pytest.fixture
def pool(pooler, pg):
    def make(mode="transaction", **settings):
        return pooler(**{"databases": {"db": pg.entry()}, "pool_mode": mode, "server_tls_sslmode": "disable",
                         "users": {u: u + "_pw" for u in ("u_trust", "u_plain", "u_md5", "u_scram", "svc")},
                         **settings})
    return make


@pytest.fixture
def site(pooler, fake):
    """A pooler in front of scripted servers on 127.0.0.N; `seen` is what each was asked: (N, connection, text)."""
    class Site:
        def __init__(self, hosts=(1,), listening=(1,), answer=None, entry="", welcome=None, **settings):
            self.seen = []
            self.port = env.free_port()
            for n in listening:
                fake(lambda peer, n=n: self.play(peer, n, answer, welcome or {}), host="127.0.0.%d" % n, port=self.port)
            db = "host=%s port=%d %s" % (",".join("127.0.0.%d" % n for n in hosts), self.port, entry)
            self.p = pooler(**{"databases": {"db": db}, "users": {"u_trust": "", "u_plain": ""},
                               "server_login_retry": 0.2, "pool_mode": "transaction", **settings})

        def play(self, peer, n, answer, welcome):
            if peer.read_startup() is None:
                return
            peer.welcome(**welcome)

            def heard(text):
                self.seen.append((n, peer.number, text))
                return answer(peer, text) if answer else None
            peer.serve(heard)

        def texts(self):
            return [text for _, _, text in self.seen]
    return Site


# --- reset and check query --------------------------------------------------

@pytest.mark.parametrize("query", ["select 'check'", "<empty>"])
def test_check_query_runs_once_a_reuse_on_the_same_server(site, query):
    s = site(server_check_delay=0, server_check_query=query)
    with s.p.login() as c:
        for i in range(3):
            c.value("SELECT %d" % i)
    sent = "" if query == "<empty>" else query
    assert s.texts() == ["SELECT 0", sent, "SELECT 1", sent, "SELECT 2"]
    assert len({number for _, number, _ in s.seen}) == 1


def test_no_check_query_no_check(site):
    s = site(server_check_delay=0, server_check_query="")
    with s.p.login() as c:
        c.value("SELECT 0"), c.value("SELECT 1")
    assert s.texts() == ["SELECT 0", "SELECT 1"]


def test_reset_query_takes_the_place_of_the_check(site):
    s = site(pool_mode="session", server_check_delay=0, server_check_query="check")
    for i in range(2):
        with s.p.login() as c:
            c.value("SELECT %d" % i)
        s.p.wait_pool(sv_idle=1)
    assert s.texts() == ["SELECT 0", "DISCARD ALL", "SELECT 1", "DISCARD ALL"]


def test_a_server_that_rested_is_checked(site):
    s = site(server_check_delay=1, server_check_query="check")
    with s.p.login() as c:
        c.value("SELECT 0")
        s.p.wait_pool(sv_used=1, sv_idle=0)
        c.value("SELECT 1")
    assert s.texts() == ["SELECT 0", "check", "SELECT 1"]


@pytest.mark.parametrize("how", ["silent", "error", "in a transaction"])
def test_dead_connection_is_noticed_by_the_check(site, how):
    """The client hears nothing of it."""
    def answer(peer, text):
        if text != "check" or peer.number > 1:
            return False
        if how == "silent":
            raise Gone()
        peer.send(*((error("no", "57P01", "FATAL"),) if how == "error" else (one_row(1), ready("T"))))
        return True
    s = site(answer=answer, server_check_delay=0, server_check_query="check")
    with s.p.login() as c:
        assert c.value("SELECT 0") == "SELECT 0"
        assert c.value("SELECT 1") == "SELECT 1"
    assert [(number, text) for _, number, text in s.seen] == [(1, "SELECT 0"), (1, "check"), (2, "SELECT 1")]


# --- host lists -------------------------------------------------------------

def hosts_of(s, count):
    clients = [s.p.login() for _ in range(count)]
    for c in clients:
        c.value("SELECT 1")
    return [n for n, _, _ in s.seen]


@pytest.mark.parametrize("entry, order", [("", [1, 2, 3, 1, 2]), ("load_balance_hosts=round-robin", [1, 2, 3, 1, 2]),
                                          ("load_balance_hosts=disable", [1, 1, 1, 1, 1])])
def test_hosts_of_a_list(site, entry, order):
    s = site((1, 2, 3), (1, 2, 3), entry=entry, pool_mode="session")
    assert hosts_of(s, 5) == order


@pytest.mark.parametrize("entry, failures", [("load_balance_hosts=disable", 1), ("", 3)])
def test_first_host_of_a_list_is_down(site, entry, failures):
    """`disable` moves on and stays there; round-robin does not skip."""
    s = site((1, 2), (2,), entry=entry, pool_mode="session", server_login_retry=0.01)
    assert hosts_of(s, 3) == [2, 2, 2]
    assert len(s.p.logged("closing because: connect failed")) == failures


def test_a_list_may_have_blanks_and_names_longer_than_an_address(site):
    s = site((1,), (1,), pool_mode="session", server_login_retry=0.01)
    long = "x" * 70 + "." + "y" * 60 + ".invalid"
    s.p.databases = {"db": "host='127.0.0.1 ,%s, 127.0.0.1' port=%d load_balance_hosts=disable" % (long, s.port)}
    s.p.reload()
    assert hosts_of(s, 2) == [1, 1]


# --- time-outs of one user, of one database ---------------------------------

def test_timeouts_of_users(pool):
    """Each has its own; who has none is left alone."""
    p = pool(user_lines={"u_trust": "client_idle_timeout=1", "u_plain": "query_timeout=1",
                         "u_md5": "idle_transaction_timeout=1", "u_scram": "transaction_timeout=1"})
    clients = {u: p.login(u) for u in ("u_trust", "u_plain", "u_md5", "u_scram", "svc")}
    free = p.login("svc")
    for u in ("u_md5", "u_scram", "svc"):
        clients[u].query("BEGIN")
    for u in ("u_plain", "svc"):
        clients[u].send(wire.query("SELECT pg_sleep(%d)" % (30 if u == "u_plain" else 2)))
    for u, text in (("u_trust", "client_idle_timeout"), ("u_plain", "query timeout"),
                    ("u_md5", "idle transaction timeout"), ("u_scram", "transaction timeout")):
        e = clients[u].expect_error()
        assert (e.severity, e.code, e.text) == ("FATAL", "08P01", text)
    assert clients["svc"].until_ready().status == "T"
    assert clients["svc"].query("COMMIT").status == "I"
    assert free.value("SELECT 1") == "1"


def test_query_wait_timeout_of_user_database_and_everybody(pool, pg):
    """The user's before the database's before the global one; 0 is for ever."""
    forced = dict(user="svc", password="svc_pw", pool_size=1)
    p = pool(databases={"db": pg.entry(**forced), "patient": pg.entry(query_wait_timeout=0, **forced)},
             user_lines={"u_plain": "query_wait_timeout=0", "u_md5": "query_wait_timeout=1"})
    holders = [p.login(database=d) for d in ("db", "patient")]
    clients = {(u, d): p.login(u, d) for u, d in (("u_trust", "db"), ("u_plain", "db"), ("u_trust", "patient"),
                                                  ("u_md5", "patient"))}
    p.admin("SET query_wait_timeout = 1")
    for h in holders:
        h.query("BEGIN")
    for c in clients.values():
        c.send(wire.query("SELECT 7"))
    for key in (("u_trust", "db"), ("u_md5", "patient")):
        assert clients[key].expect_error().text == "query_wait_timeout"
    for h in holders:
        h.query("COMMIT")
    for key in (("u_plain", "db"), ("u_trust", "patient")):
        assert clients[key].until_ready().value() == "7"


def test_query_timeout_ends_a_wait(pool):
    p = pool(default_pool_size=1)
    holder, waiter = p.login(), p.login()
    holder.query("BEGIN")
    p.admin("SET query_timeout = 1")
    waiter.send(wire.query("SELECT 1"))
    assert waiter.expect_error().text == "query_timeout"
    assert holder.query("COMMIT").status == "I"


def test_idle_transaction_timeout_does_not_count_a_running_query(pool):
    p = pool(idle_transaction_timeout=1)
    with p.login() as c:
        c.query("BEGIN")
        assert c.value("SELECT count(pg_sleep(1.5))") == "1"
        assert c.value("SELECT 2") == "2"
        assert c.expect_error().text == "idle transaction timeout"


def test_no_notice_before_the_greeting(pool, fake, pg):
    """Who waits for the greeting is not told of it; who has one, once."""
    gate = threading.Event()

    def script(peer):
        peer.read_startup()
        gate.wait(env.PATIENCE)
        peer.welcome()
        peer.serve()
    p = pool(databases={"db": pg.entry(), "slow": fake(script).entry()}, default_pool_size=1, query_wait_notify=1)
    newcomer, holder, waiter = p.wire(), p.login(), p.login()
    newcomer.send(wire.startup("u_trust", "slow"))
    holder.query("BEGIN")
    waiter.send(wire.query("SELECT 1"))
    assert waiter.expect(b"N")
    assert newcomer.silent(0.05)
    gate.set()
    newcomer.finish_login("u_trust")
    assert not newcomer.notices
    holder.query("COMMIT")
    assert not waiter.until_ready().notices


# --- pools that fill and empty by themselves --------------------------------

def test_forced_user_has_its_servers_before_any_client(pool, pg):
    entry = pg.entry(user="svc", password="svc_pw", min_pool_size=2)
    p = pool(databases={"db": entry})
    p.wait_pool(user="svc", sv_idle=2)
    # What RELOAD brings, too; and what is lost is replaced.
    p.databases["more"] = pg.entry(user="svc", password="svc_pw")
    p.reload(min_pool_size=1)
    p.wait_pool("more", sv_idle=1)
    pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'svc'")
    p.wait_pool("db", sv_idle=2)
    p.wait_pool("more", sv_idle=1)


def test_min_pool_size_waits_for_a_first_client(pool):
    p = pool(min_pool_size=2)
    p.admin("SHOW POOLS")
    assert not [r for r in p.show("POOLS") if r["database"] == "db"]
    with p.login():
        p.wait_pool(sv_idle=2)


def test_idle_timeout_stops_at_min_pool_size(pool):
    p = pool("session", server_idle_timeout=1, min_pool_size=1)
    clients = [p.login() for _ in range(3)]
    for c in clients:
        c.pid()
    for c in clients:
        c.close()
    p.wait_log("closing because: server idle timeout", 2)
    p.wait_pool(sv_idle=1)
    assert len(p.logged("closing because: server idle timeout")) == 2


def test_pool_idle_timeout(pool, pg):
    p = pool(pool_idle_timeout=1)
    with p.login() as c:
        c.query("SELECT pg_terminate_backend(pg_backend_pid())")
    p.wait_log(r"cleaning up idle pool for user u_trust on db db because: pool idle timeout \(age= \d+s\)")
    assert not [r for r in p.show("POOLS") if r["database"] == "db"]
    with p.login() as c:
        assert c.value("SELECT 1") == "1"


def test_pool_idle_timeout_spares_a_forced_user_with_min_pool_size(pool):
    """Also when its server cannot be reached."""
    p = pool(databases={"db": "host=127.0.0.1 port=%d user=svc" % env.free_port()}, min_pool_size=1,
             pool_idle_timeout=1, server_login_retry=0.1)
    p.wait_log("closing because: connect failed", 6)
    assert not p.logged("cleaning up idle pool")
    assert p.pool(user="svc")["pool_mode"] == "transaction"


def test_shrunk_pool_closes_what_is_not_in_use(pool):
    p = pool("session", default_pool_size=4)
    holders = [p.login() for _ in range(3)]
    for h in holders:
        h.pid()
    with p.login() as c:
        c.pid()
    p.wait_pool(sv_idle=1, sv_active=3)
    p.reload(default_pool_size=2)
    p.wait_log("closing because: too many servers in the pool")
    p.wait_pool(sv_idle=0, sv_active=3)
    for h in holders:
        h.close()
    p.wait_log("closing because: too many servers in the pool", 2)
    p.wait_pool(sv_idle=2)


def test_shrunk_pool_closes_used_servers(site):
    s = site(server_check_delay=0, server_check_query="check", default_pool_size=3, pool_mode="transaction",
             answer=lambda peer, text: text == "wait" and gate.wait(env.PATIENCE) and False)
    gate = threading.Event()
    clients = [s.p.login() for _ in range(3)]
    for c in clients:
        c.send(wire.query("wait"))
    s.p.wait_pool(sv_active=3)
    gate.set()
    for c in clients:
        c.until_ready()
    s.p.wait_pool(sv_used=3)
    s.p.reload(default_pool_size=1)
    s.p.wait_log("closing because: too many servers in the pool", 2)
    s.p.wait_pool(sv_used=1)


@pytest.mark.parametrize("paused", [False, True])
def test_auto_database_is_forgotten(pool, pg, paused):
    """A new client makes it again; a paused one is kept."""
    p = pool(databases={"*": "host=127.0.0.1 port=%d" % pg.port}, autodb_idle_timeout=1)
    with p.login(database="db") as c:
        c.value("SELECT 1")
        if paused:
            p.admin("PAUSE db")
        else:
            c.query("SELECT pg_terminate_backend(pg_backend_pid())")
    names = lambda: [r["name"] for r in p.show("DATABASES")]
    if paused:
        with p.login(database="db2") as c:
            c.query("SELECT pg_terminate_backend(pg_backend_pid())")
        p.wait_log("dropping database 'db2' ")
        assert not p.logged("dropping database 'db' ")
        p.admin("RESUME db")
    p.wait_log("dropping database 'db' as it does not exist anymore or inactive auto-database")
    env.wait_for(lambda: "db" not in names(), "it to be gone")
    with p.login(database="db") as c:
        assert c.value("SELECT 1") == "1"
    p.wait_log("registered new auto-database: db$", 2)


# --- mode -------------------------------------------------------------------

@pytest.mark.parametrize("how", ["SET", "RELOAD"])
def test_mode_change_acts_on_connections_that_exist(pool, how):
    p = pool("session")

    def change(mode):
        p.admin("SET pool_mode = %s" % mode) if how == "SET" else p.reload(pool_mode=mode)
    with p.login() as c:
        c.pid()
        p.wait_pool(sv_active=1, sv_idle=0)
        change("transaction")
        assert p.pool()["sv_active"] == 1
        c.pid()
        p.wait_pool(sv_active=0, sv_idle=1)
        change("session")
        c.pid()
        p.wait_pool(sv_active=1, sv_idle=0)
        c.query("BEGIN")
        change("statement")
        c.send(wire.query("SELECT 1"))
        seen = c.until_ready()
        assert "transaction blocks not allowed in statement pooling mode" in [e.text for e in seen.errors]


def test_which_changes_of_an_entry_replace_its_servers(pool, pg):
    p = pool(databases={"db": pg.entry()})
    items, pid = {}, None
    with p.login() as c:
        for key, value, replaces in (
                (None, None, False), ("host", "localhost", True), ("dbname", "db2", True), ("user", "u_trust", True),
                ("connect_query", "SELECT 1", True), ("auth_dbname", "other", True), ("auth_query", "SELECT 1, 2", True),
                ("load_balance_hosts", "disable", True), ("load_balance_hosts", "round-robin", True),
                ("password", "another", False), ("pool_size", 7, False), ("min_pool_size", 1, False),
                ("reserve_pool_size", 1, False), ("max_db_connections", 9, False), ("pool_mode", "transaction", False),
                ("query_wait_timeout", 9, False), ("server_lifetime", 999, False), ("client_encoding", "UTF8", False),
                ("datestyle", "ISO", False), ("timezone", "UTC", False), ("application_name", "x", False)):
            if key:
                items[key] = value
                p.databases["db"] = pg.entry(**{"dbname": "db", **items}) if key != "host" else \
                    pg.entry().replace("host=127.0.0.1", "host=localhost")
                items.pop("host", None)
                p.reload()
            now = c.pid()
            if pid:
                assert (now != pid) == replaces, key
            pid = now


# --- tracked parameters -----------------------------------------------------

@pytest.mark.parametrize("wish, sql", [
    ('"$user", public', 'SET search_path="$user", public;'), ("a", "SET search_path=a;"),
    ('"a""b" ,c$1', 'SET search_path="a""b" ,c$1;'), ('""', "SET search_path='';"),
    ("a; DROP TABLE x", "SET search_path='a; DROP TABLE x';"), ("a,", "SET search_path='a,';"),
    ('"a', "SET search_path='\"a';"), ("a b", "SET search_path='a b';"), ("x'y", "SET search_path='x''y';"),
    ("1a", "SET search_path='1a';")])
def test_search_path_is_a_list_of_names(site, wish, sql):
    """Inserted as it is, unless something else than a list of names is in it."""
    s = site(track_extra_parameters="search_path", welcome={"search_path": "old"})
    with s.p.login(search_path=wish) as c:
        c.value("SELECT 1")
    assert s.texts() == [sql, "SELECT 1"]


def test_extra_parameters_match_without_case_and_are_spelled_as_in_the_setting(site):
    def answer(peer, text):
        if not text.startswith("SET"):
            return False
        peer.send(tag("SET"), param("IntervalStyle", "iso_8601"), ready())
        return True
    s = site(track_extra_parameters="intervalstyle, Role", answer=answer, verbosity=2)
    with s.p.login(INTERVALSTYLE="ISO_8601") as c, s.p.login() as other:
        assert c.params["intervalstyle"] == "ISO_8601"
        other.value("SELECT 0"), c.value("SELECT 1"), c.value("SELECT 2")
    assert s.texts() == ["SELECT 0", "SET intervalstyle='ISO_8601';", "SELECT 1", "SELECT 2"]
    s.p.wait_log("varcache_apply: SET intervalstyle='ISO_8601';")


def test_parameters_are_set_in_the_order_of_the_list(site):
    s = site()
    with s.p.login(application_name="me", TimeZone="Asia/Tokyo", DateStyle="SQL", client_encoding="LATIN1",
                   IntervalStyle="iso_8601", standard_conforming_strings="off") as c:
        c.value("SELECT 1")
    assert s.texts()[0] == ("SET DateStyle='SQL';SET client_encoding='LATIN1';SET TimeZone='Asia/Tokyo';"
                            "SET standard_conforming_strings='off';SET application_name='me';"
                            "SET IntervalStyle='iso_8601';")


def test_same_value_in_another_spelling_is_not_set_and_not_forgotten(site):
    """Without a SET there is nothing to take the server's spelling from."""
    def answer(peer, text):
        if not text.startswith("SET"):
            return False
        peer.send(tag("SET"), param("application_name", text.split("'")[1]), ready())
        return True
    s = site(answer=answer, welcome={"application_name": "app"})
    with s.p.login(application_name="APP") as a, s.p.login(application_name="other") as b:
        assert a.params["application_name"] == "APP"
        a.value("SELECT 1"), b.value("SELECT 2"), a.value("SELECT 3")
    assert s.texts() == ["SELECT 1", "SET application_name='other';", "SELECT 2", "SET application_name='APP';", "SELECT 3"]


def test_canonical_values_are_taken_once_and_named(site):
    """After one SET all that the server spells otherwise is taken over, with a line each, and not set again."""
    def answer(peer, text):
        if not text.startswith("SET"):
            return False
        peer.send(tag("SET"), param("DateStyle", "ISO, MDY"), param("TimeZone", "Asia/Tokyo"), ready())
        return True
    s = site(answer=answer, verbosity=2, welcome={"DateStyle": "German, DMY", "TimeZone": "Asia/Tokyo"})
    with s.p.login() as first, s.p.login(DateStyle="ISO", TimeZone="asia/tokyo") as c:
        first.value("SELECT 0")
        assert (c.params["DateStyle"], c.params["TimeZone"]) == ("ISO", "asia/tokyo")
        for i in range(1, 4):
            c.value("SELECT %d" % i)
    assert s.texts() == ["SELECT 0", "SET DateStyle='ISO';", "SELECT 1", "SELECT 2", "SELECT 3"]
    assert s.p.logged(r"DEBUG C-\S+: db/u_trust@\S+ varcache_set_canonical: setting (\S+) to its canonical version (.*)$") == [
        ("DateStyle", "ISO -> ISO, MDY"), ("TimeZone", "asia/tokyo -> Asia/Tokyo")]


def test_nothing_is_set_where_auth_query_asks(site):
    """The wishes of the client that waits for it are not those of the connection that asks."""
    s = site(auth_user="u_plain", auth_query="SELECT $1, NULL", users={"u_plain": ""}, auth_type="trust",
             answer=lambda peer, text: None)
    with s.p.wire() as c:
        c.send(wire.startup("nobody", "db", DateStyle="German", TimeZone="Asia/Tokyo", application_name="me"))
        s.p.wait_pool(user="u_plain", sv_active=1)
    assert s.texts() == []


# --- counted once -----------------------------------------------------------

FAILURES = {
    "nothing": b"", "half a packet": b"\0\0\0\x20\0\3\0\0us", "bad header": b"XXXXXXXXXXXX",
    "no user": wire.startup(None, "db"), "unknown database": wire.startup("u_trust", "nowhere"),
    "unknown user": wire.startup("nobody", "db"), "bad parameter": wire.startup("u_trust", "db", odd="1"),
    "no such server database": wire.startup("u_trust", "gone"), "server that is down": wire.startup("u_trust", "down"),
    "start-up, then the end": wire.startup("u_trust", "db"), "start-up twice": wire.startup("u_trust", "db") * 2,
    "unknown cancel key": wire.cancel_request(b"12345678"), "console by a stranger": wire.startup("u_trust", "pgbouncer"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_failed_logins_are_counted_and_uncounted_once(pool, pg, how):
    p = pool(databases={"db": pg.entry(), "gone": pg.entry("no_such_db"), "down": "host=127.0.0.1 port=%d" % env.free_port()},
             max_client_conn=6, max_db_client_connections=3, max_user_client_connections=3,
             client_login_timeout=1 if how == "server that is down" else 60)
    counts = lambda: [(r["name"], r["current_client_connections"]) for what in ("DATABASES", "USERS")
                      for r in p.show(what) if int(r["current_client_connections"] or 0) and r["name"] not in
                      ("pgbouncer", "admin")]
    for _ in range(2):
        crowd = [p.wire() for _ in range(3)]
        for c in crowd:
            if FAILURES[how]:
                c.send(FAILURES[how])
        if how not in ("nothing", "half a packet", "start-up, then the end"):
            for c in crowd:
                with pytest.raises((Closed, PgError)):
                    while True:
                        m = c.recv()
                        if m.type == b"E":
                            raise PgError(wire.fields_of(m.body))
        for c in crowd:
            c.close()
        env.wait_for(lambda: not counts(), lambda: "counts to go: %r" % counts())
    # As many as may come still may.
    p.admin("SET client_login_timeout = 60")
    crowd = [p.login() for _ in range(3)]
    with pytest.raises(PgError) as e:
        p.login()
    assert e.value.text.startswith("client connections exceeded")
    assert all(c.value("SELECT 1") == "1" for c in crowd)


def test_admins_are_counted_and_not_refused(pool):
    p = pool(max_user_client_connections=1, auth_type="md5")
    with p.console("admin"), p.console("admin"), p.console("stats"):
        rows = {r["name"]: r["current_client_connections"] for r in p.show("USERS")}
        assert rows["admin"] == "2"
        with pytest.raises(PgError) as e:
            p.console("stats")
        assert e.value.text == "client connections exceeded (max_user_client_connections)"
