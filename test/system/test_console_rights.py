"""Who gets into the console, and what he may do there. Attack row 25."""
import pytest
from harness import env, wire
from harness.wire import PgError

ours = pytest.mark.ours

CHANGING = ["RELOAD", "SET query_timeout = 1", "PAUSE", "PAUSE db", "PAUSE nope", "RESUME", "RESUME db", "SUSPEND",
            "DISABLE", "DISABLE db", "ENABLE db", "RECONNECT", "RECONNECT db", "WAIT_CLOSE", "WAIT_CLOSE db", "KILL",
            "KILL db", "KILL nope", "KILL_CLIENT 1", "KILL_CLIENT", "KILL_CLIENT x", "SHOW FDS", "SELECT fds",
            "SHUTDOWN", "SHUTDOWN WAIT_FOR_CLIENTS", "SHUTDOWN WAIT_FOR_SERVERS"]
NEWER = ("SHUTDOWN WAIT", "KILL_CLIENT", "KILL", "DISABLE", "RELOAD")
LOOKING = ("ACTIVE_SOCKETS CLIENTS CONFIG DATABASES DNS_HOSTS DNS_ZONES HELP LISTS MEM PEERS PEER_POOLS POOLS SERVERS "
           "SOCKETS STATE STATS STATS_AVERAGES STATS_TOTALS TOTALS USERS VERSION client_encoding datestyle timezone "
           "default_transaction_isolation standard_conforming_strings").split()


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": "", "plain": ""},
                         "pool_mode": "transaction", **settings})
    return make


def snapshot(p):
    """All that the commands would have changed."""
    return ([r["value"] for r in p.show("STATE")], [(r["name"], r["paused"], r["disabled"]) for r in p.show("DATABASES")],
            [r["value"] for r in p.show("CONFIG") if r["key"] == "query_timeout"])


# --- a reader -----------------------------------------------------------------

def test_row_25_stats_user_may_only_look(pool):
    p = pool()
    with p.login() as c, p.console("stats") as stats:
        pid = c.pid()
        if not env.ORACLE:
            before = snapshot(p)
        for command in CHANGING:
            if env.ORACLE and command.startswith(NEWER):
                continue
            assert [e.text for e in stats.query(command).errors] == ["admin access needed"], command
        if not env.ORACLE:
            assert snapshot(p) == before
            assert [r["close_needed"] for r in p.show("SERVERS")] == ["0"]
        assert c.pid() == pid
    assert p.process.poll() is None


@ours
def test_row_25_by_the_extended_protocol(pool):
    p = pool()
    with p.login() as c, p.console("stats") as stats:
        pid, before = c.pid(), snapshot(p)
        for number, command in enumerate(CHANGING):
            # With and without Describe, by a name and without one.
            name = "s%d" % number if number % 2 else ""
            stats.send(wire.parse(command, name) + wire.bind(name, name) + (wire.describe("P", name) if number % 3 else b"")
                       + wire.execute(name) + wire.SYNC)
            r = stats.until_ready()
            assert [e.text for e in r.errors] == ["admin access needed"], command
            assert not r.rows and not r.tags
        assert snapshot(p) == before and c.pid() == pid
        assert [r["close_needed"] for r in p.show("SERVERS")] == ["0"]
    assert p.process.poll() is None


@ours
def test_a_stats_user_sees_the_rest(pool):
    with pool().console("stats") as c:
        for what in LOOKING:
            assert c.query("SHOW " + what).tags == ["SHOW"], what
            assert c.run("SELECT " + what).tags == ["SHOW"], what
        for name in ("client_encoding", "DateStyle", "timezone"):
            assert c.query("SET %s = x" % name).tags == ["SET"]


@ours
@pytest.mark.parametrize("user", ["stats", "admin"])
def test_what_is_no_command_is_said_before_rights(pool, user):
    with pool().console(user) as c:
        for text in ("RELOAD db", "SUSPEND db", "SHUTDOWN tomorrow", "SHOW", "SHOW nonsense", "KILL db now", "SET x"):
            assert [e.text for e in c.query(text).errors] == ["invalid command '%s', use SHOW HELP;" % text]


# --- the others ---------------------------------------------------------------

def test_row_25_others_are_not_let_in(pool):
    p = pool()
    for host in (p.host, p.dir):
        with pytest.raises(PgError) as e:
            p.login("plain", "pgbouncer", host=host)
        assert (e.value.severity, e.value.text) == ("FATAL", "not allowed")


@ours
@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_row_25_the_operators_name_alone_opens_nothing(pool, auth_type):
    """It is known without a password, which no password matches."""
    p = pool(auth_type=auth_type, admin_users="pgbouncer")
    for secret in ("", "pgbouncer"):
        with pytest.raises(PgError):
            p.login("pgbouncer", "pgbouncer", secret)


@ours
@pytest.mark.skipif(not env.IS_ROOT, reason="needs another Unix user")
def test_row_25_the_operators_name_by_another_unix_user(pool):
    p = pool()
    with pytest.raises(PgError) as e:
        p.login("pgbouncer", "pgbouncer", host=p.dir)
    assert e.value.text == "not allowed"


def test_peer_of_our_own_uid_is_admin(pool):
    """psql over the Unix socket as the same Unix user, whatever auth_type says."""
    p = pool(auth_type="md5")
    out = env.run(["psql", "-h", p.dir, "-p", str(p.port), "-U", "pgbouncer", "-d", "pgbouncer", "-At",
                   "-c", "SHOW VERSION"], env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"})
    assert out.startswith("PgBouncer ")
    p.wait_log("pgbouncer access from unix socket")
    with pytest.raises(PgError):
        p.login("pgbouncer", "pgbouncer", "x")


@ours
def test_a_user_of_both_lists_is_admin(pool):
    p = pool(admin_users="stats, admin")
    with p.console("stats") as c:
        assert c.query("RELOAD").tags == ["RELOAD"]


@ours
@pytest.mark.parametrize("user, rights", [("admin", "all"), ("stats", "look"), ("anybody", "look")])
def test_auth_type_any(pool, user, rights):
    p = pool(auth_type="any", databases={"db": "host=127.0.0.1 user=u_trust"})
    with p.login(user, "pgbouncer") as c:
        assert c.query("SHOW POOLS").tags == ["SHOW"]
        r = c.query("PAUSE db")
        assert r.tags == ["PAUSE"] if rights == "all" else [e.text for e in r.errors] == ["admin access needed"]


@ours
def test_lists_set_while_running_count_for_the_next_login(pool):
    p = pool()
    with p.console() as admin:
        assert admin.query("SET stats_users = 'x,plain'").tags == ["SET stats_users=x,plain"]
        with p.login("plain", "pgbouncer") as c:
            assert c.query("SHOW VERSION").rows
        assert admin.query("SET admin_users = plain").tags == ["SET admin_users=plain"]
        with p.login("plain", "pgbouncer") as c:
            assert c.query("RECONNECT").tags == ["RECONNECT"]


# --- limits, and when there is nothing else ------------------------------------

def test_max_client_conn_does_not_bar_the_console(pool):
    p = pool(max_client_conn=1)
    with p.login(), p.console() as c:
        assert c.query("SHOW POOLS").rows


@ours
@pytest.mark.parametrize("limit", ["max_db_client_connections", "max_user_client_connections"])
def test_client_limits_bar_readers_but_no_admin(pool, limit):
    p = pool(**{limit: 1})
    with p.console("stats"):
        with pytest.raises(PgError) as e:
            p.console("stats")
        assert e.value.text == "client connections exceeded (%s)" % limit
        with p.console("admin") as a, p.console("admin") as b:
            assert a.query("RELOAD").tags == b.query("RELOAD").tags == ["RELOAD"]


def test_the_console_alone(pooler):
    """Without any database there is still the console."""
    p = pooler(databases={})
    assert [r["name"] for r in p.show("DATABASES")] == ["pgbouncer"]
    assert [tuple(r.values())[0] for r in p.show("POOLS")] == ["pgbouncer"]


@ours
@pytest.mark.parametrize("command", ["PAUSE", "PAUSE db", "DISABLE db", "KILL"])
def test_the_console_stays_open_while_others_wait(pool, command):
    p = pool()
    p.login().close()
    p.admin(command)
    with p.console("admin") as a, p.console("stats") as b:
        assert a.query("SHOW POOLS").rows and b.query("SHOW DATABASES").rows
