"""Databases that come and go: auto-databases, RELOAD that drops or changes entries, KILL."""
import pytest
from harness import env, wire
from harness.wire import PgError

pytestmark = pytest.mark.ours

DROPPING = r"WARNING dropping database '%s' as it does not exist anymore or inactive auto-database"


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": "", "postgres": ""},
                         "pool_mode": "transaction", **settings})
    return make


@pytest.fixture
def auto(pool, pg):
    def make(**settings):
        return pool(**{"databases": {"*": pg.entry(None)}, **settings})
    return make


def names(p):
    return [r["name"] for r in p.show("DATABASES")]


def wait_names(p, *wanted):
    env.wait_for(lambda: names(p) == sorted(wanted), lambda: "%r, there is %r" % (wanted, names(p)), pause=0.03)


# --- auto-databases (behaviour specification, section 30) ---------------------

def test_an_idle_auto_database_is_hidden_and_revived(auto):
    p = auto()
    assert names(p) == ["pgbouncer"]
    with p.login() as c:
        c.value("SELECT 1")
        assert names(p) == ["db", "pgbouncer"]
        c.close()
        p.wait_pool(cl_active=0)
        # It has a server still.
        assert names(p) == ["db", "pgbouncer"]
        p.admin("RECONNECT db")
        wait_names(p, "pgbouncer")
        assert {r["list"]: r["items"] for r in p.show("LISTS")}["databases"] == "1"
    with p.login() as c:
        assert names(p) == ["db", "pgbouncer"]
        c.value("SELECT 1")
    assert len(p.logged("registered new auto-database: db")) == 1


def test_an_idle_auto_database_is_forgotten(auto):
    p = auto(autodb_idle_timeout=0.3, server_idle_timeout=0.1)
    for user in ("u_trust", "postgres"):
        with p.login(user) as c:
            c.value("SELECT 1")
    p.wait_log(DROPPING % "db")
    assert [r["database"] for r in p.show("POOLS")] == ["pgbouncer"]
    assert [r["database"] for r in p.show("STATS")] == ["pgbouncer"]
    with p.login() as c:
        c.value("SELECT 1")
    p.wait_log("registered new auto-database: db", count=2)
    # Two pools, one database, one line each time.
    p.wait_log(DROPPING % "db", count=2)
    assert len(p.logged("dropping database")) == 2


@pytest.mark.parametrize("mark, undo", [("PAUSE", "RESUME"), ("DISABLE", "ENABLE")])
def test_a_marked_auto_database_is_kept(auto, mark, undo):
    """A command may name a database before anybody has used it."""
    p = auto(autodb_idle_timeout=0.1)
    p.admin("%s db2" % mark)
    p.wait_log("registered new auto-database: db2")
    wait_names(p, "pgbouncer")
    p.admin("PAUSE third")
    p.admin("RESUME third")
    p.wait_log(DROPPING % "third")
    assert not p.logged(DROPPING % "db2")
    p.admin("%s db2" % undo)
    p.wait_log(DROPPING % "db2")


@pytest.mark.parametrize("command", ["ENABLE", "RECONNECT", "RESUME", "KILL", "WAIT_CLOSE"])
def test_other_commands_make_no_auto_database(auto, command):
    p = auto()
    with pytest.raises(PgError, match="no such database: db2"):
        p.admin(command + " db2")


def test_a_changed_template_moves_its_databases(auto, pg):
    p = auto()
    with p.login() as c:
        assert c.value("SELECT current_database()") == "db"
        p.databases = {"*": pg.entry("db2")}
        p.reload()
        env.wait_for(lambda: c.value("SELECT current_database()") == "db2", lambda: "the new definition")
    assert not p.logged("dropping database")


def test_an_unchanged_template_disturbs_nobody(auto):
    p = auto()
    with p.login() as c:
        pid = c.pid()
        p.reload(query_timeout=3)
        assert c.pid() == pid


def test_without_its_template_an_auto_database_is_dropped(auto, pg):
    p = auto()
    with p.login() as c:
        c.value("SELECT 1")
        p.databases = {"other": pg.entry("db2")}
        p.reload()
        assert c.expect_error().text == "database removed"
        wait_names(p, "other", "pgbouncer")
    with pytest.raises(PgError, match="no such database: db"):
        p.login()
    assert len(p.logged(DROPPING % "db")) == 1


def test_an_auto_database_gets_an_entry(auto, pg):
    p = auto()
    with p.login() as c:
        c.value("SELECT 1")
        p.databases = {"*": pg.entry(None), "db": pg.entry(None)}
        p.reload()
        assert c.value("SELECT 2") == "2"
    wait_names(p, "db", "pgbouncer")
    assert not p.logged("dropping database")


# --- entries that RELOAD no longer finds -----------------------------------

def test_each_dropped_database_is_logged_once(pool, pg):
    """Those without a pool, those with several, whatever Workers they live on."""
    p = pool(databases={n: pg.entry("db") for n in ("none", "one", "two", "stays")})
    clients = [p.login(user, database) for user, database in
               [("u_trust", "one"), ("u_trust", "two"), ("postgres", "two"), ("u_trust", "stays")]]
    for c in clients:
        c.value("SELECT 1")
    p.databases = {"stays": pg.entry("db")}
    p.reload()
    for c in clients[:3]:
        assert c.expect_error().text == "database removed"
    assert clients[3].value("SELECT 1") == "1"
    clients[3].close()
    assert sorted(p.logged("dropping database '(.*)'")) == ["none", "one", "two"]
    p.reload()
    assert len(p.logged("dropping database")) == 3
    assert [r["database"] for r in p.show("POOLS")] == ["pgbouncer", "stays"]


def test_a_failed_reload_drops_nothing(pool):
    p = pool()
    with p.login() as c:
        p.databases = {}
        p.settings["pool_mode"] = "often"
        p.write()
        with pytest.raises(PgError) as e:
            p.admin("RELOAD")
        assert (e.value.severity, e.value.code, e.value.text) == (
            "ERROR", "F0000", "RELOAD failed, see logs for additional details")
        assert c.value("SELECT 1") == "1"
    p.wait_log("config file loading failed")
    p.wait_log("RELOAD Failed, see logs for more details")
    assert not p.logged("dropping database")


def test_an_entry_that_goes_is_closed_though_the_template_would_do(pool, pg):
    p = pool(databases={"db": pg.entry(), "*": pg.entry(None)})
    with p.login() as c:
        c.value("SELECT 1")
        p.databases = {"*": pg.entry(None)}
        p.reload()
        assert c.expect_error().text == "database removed"
    with p.login() as c:
        c.value("SELECT 1")
        assert names(p) == ["db", "pgbouncer"]
    p.wait_log("registered new auto-database: db")


def test_marks_go_with_the_entry(pool, pg):
    p = pool()
    p.admin("PAUSE db")
    p.admin("DISABLE db")
    kept = dict(p.databases)
    p.databases = {"other": kept["other"]}
    p.reload()
    p.databases = kept
    p.reload()
    row = [r for r in p.show("DATABASES") if r["name"] == "db"][0]
    assert (row["paused"], row["disabled"]) == ("0", "0")
    with p.login() as c:
        assert c.value("SELECT 1") == "1"


# --- KILL (console specification, section 14) -------------------------------

@pytest.mark.parametrize("command", ["KILL db", "KILL"])
def test_kill_removes_pools_and_their_statistics(pool, command):
    p = pool()
    with p.login() as c, p.login("postgres") as second:
        c.value("SELECT 1")
        second.value("SELECT 1")
        p.admin(command)
        assert c.expect_error().text == second.expect_error().text == "database removed"
    assert [r["database"] for r in p.show("POOLS")] == ["pgbouncer"]
    assert [r["database"] for r in p.show("STATS")] == ["pgbouncer"]
    assert {r["list"]: r["items"] for r in p.show("LISTS")}["pools"] == "1"
    p.admin("RESUME db")
    with p.login() as c:
        c.value("SELECT 1")
    row = [r for r in p.show("STATS") if r["database"] == "db"][0]
    assert row["total_query_count"] == row["total_client_login_count"] == "1"


def test_after_kill_new_clients_wait_for_resume(pool):
    p = pool()
    p.login().close()
    p.admin("KILL db")
    with p.wire() as c:
        c.send(wire.startup("u_trust", "db") + wire.query("SELECT 1"))
        p.wait_pool(cl_waiting=1)
        with pytest.raises(PgError, match="pooler is not paused/suspended"):
            p.admin("RESUME")
        p.admin("RESUME db")
        c.finish_login("u_trust")
        assert c.until_ready().value() == "1"


def test_kill_while_clients_wait_for_a_server(pool):
    p = pool(default_pool_size=1)
    clients = [p.login() for _ in range(4)]
    clients[0].query("BEGIN")
    for c in clients[1:]:
        c.send(wire.query("SELECT 1"))
    p.wait_pool(cl_waiting=3)
    p.admin("KILL db")
    for c in clients:
        assert c.expect_error().text == "database removed"
    assert [r["database"] for r in p.show("POOLS")] == ["pgbouncer"]


def test_kill_in_the_middle_of_a_server_login(pool, fake):
    """The server has not answered when its pool goes."""
    def script(peer):
        peer.read_startup()
        peer.wait_gone()
    server = fake(script)
    p = pool(databases={"db": "host=127.0.0.1 port=%d" % server.port})
    with p.wire() as c:
        c.send(wire.startup("u_trust", "db"))
        p.wait_pool(sv_login=1)
        p.admin("KILL db")
        assert [r["database"] for r in p.show("POOLS")] == ["pgbouncer"]
        assert c.expect_error().text == "database removed"
