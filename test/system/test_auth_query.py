"""Users that auth_file does not know: auth_query in the name of auth_user.

Attack rows 10, 11, 12, 13 and 15, as far as they concern it; the number stands at the test.
"""
import os
import re
import struct
import threading

import pytest
from harness import env, wire
from harness.fakeserver import data_row, error, notice, param, ready, row_description, tag
from harness.wire import Closed, PgError, md5_secret, scram_secret

ours = pytest.mark.ours

CONFIG_ERROR = ("FATAL", "08P01", "bouncer config error")
NO_SUCH_USER = ("FATAL", "08P01", "no such user")


def fields(e):
    return e.severity, e.code, e.text


def refused(p, user, secret="x", database="db", **params):
    with pytest.raises(PgError) as e:
        p.login(user, database, secret, **params)
    return fields(e.value)


# --- with a real PostgreSQL ---------------------------------------------------

@pytest.fixture(scope="session")
def roles(pg):
    """Users that only the database knows, and one that may look them up."""
    pg.sql("CREATE ROLE aq_md5 LOGIN", "UPDATE pg_authid SET rolpassword = '%s' WHERE rolname = 'aq_md5'"
           % md5_secret("aq_md5", "aq_md5_pw"),
           "CREATE ROLE aq_scram LOGIN PASSWORD 'aq_scram_pw'",
           "CREATE ROLE aq_expired LOGIN PASSWORD 'aq_expired_pw' VALID UNTIL '2001-01-01'",
           "CREATE ROLE aq_nologin PASSWORD 'aq_nologin_pw'",
           "CREATE ROLE aq_empty LOGIN",
           # Whoever asks is somebody without any right of its own but to ask.
           "CREATE ROLE looker LOGIN PASSWORD 'looker_pw'")
    for db in ("db", "db2"):
        pg.sql("CREATE FUNCTION public.find(name text, OUT text, OUT text) RETURNS SETOF record"
               " LANGUAGE sql SECURITY DEFINER AS"
               " 'SELECT rolname::text, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END"
               " FROM pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin'",
               "CREATE TABLE lookups (who text)",
               "CREATE FUNCTION public.plain(name text, OUT text, OUT text) LANGUAGE sql SECURITY DEFINER AS"
               " 'SELECT $1, $1 || ''_in_%s''::text'" % db, db=db)
    return pg


FIND = "SELECT * FROM public.find($1)"
PLAIN = "SELECT * FROM public.plain($1)"


@pytest.fixture
def door(pooler, roles):
    """A pooler whose users are those of the database."""
    def make(entry=None, databases=None, **settings):
        pg = roles
        databases = {"db": pg.entry(**(entry or {})), **(databases or {})}
        users = {"looker": "looker_pw", **settings.pop("users", {})}
        return pooler(databases=databases, users=users,
                      **{"auth_type": "scram-sha-256", "auth_user": "looker", "auth_query": FIND, **settings})
    return make


@pytest.mark.parametrize("method,user", [("scram-sha-256", "aq_scram"), ("md5", "aq_md5"), ("md5", "aq_scram"),
                                         ("plain", "aq_md5"), ("plain", "aq_scram"), ("trust", "aq_md5")])
def test_secret_of_the_database(door, pg, method, user):
    """Looked up by a function, checked here, and used for the server: SCRAM by the keys that came through."""
    forced = {"user": "u_trust"} if method in ("plain", "trust") or user == "aq_md5" else {}
    p = door(auth_type=method, entry=forced)
    with p.login(user, "db", user + "_pw") as c:
        assert c.value("SELECT current_user") == forced.get("user", user)
    if method != "trust":
        assert refused(p, user, "wrong")[2] in ("password authentication failed", "SASL authentication failed")


def test_default_query_as_a_superuser(door):
    p = door(auth_user="postgres", auth_query=None, users={"postgres": ""})
    with p.login("aq_scram", "db", "aq_scram_pw") as c:
        assert c.value("SELECT current_user") == "aq_scram"


@ours
def test_function_of_the_manual(door, pg):
    """doc/config.md: what it tells to type works, and lets auth_user do no more than that."""
    with open(os.path.join(env.TOP, "doc/config.md")) as f:
        manual = f.read().split("\n## auth_query\n")[1]
    sql = re.search(r"```sql\n(.*?)```", manual, re.S).group(1).replace("…", "pooler_auth_pw")
    query = re.search(r"^auth_query = (.*)$", manual, re.M).group(1)
    pg.sql("DROP SCHEMA IF EXISTS pooler CASCADE", "DROP ROLE IF EXISTS pooler_auth", sql)
    p = door(auth_user="pooler_auth", auth_query=query, auth_dbname="postgres", users={"pooler_auth": "pooler_auth_pw"},
             databases={"postgres": pg.entry("postgres")})
    with p.login("aq_scram", "db", "aq_scram_pw") as c:
        assert c.value("SELECT current_user") == "aq_scram"
    assert refused(p, "postgres") == NO_SUCH_USER
    assert refused(p, "aq_nologin", "aq_nologin_pw") == NO_SUCH_USER
    assert refused(p, "aq_expired", "aq_expired_pw")[2] == "SASL authentication failed"


def test_scram_keys_outlive_their_server(door, pg):
    """Pass-through: a later server of the pool needs no new log-in of the client."""
    p = door(pool_mode="transaction")
    with p.login("aq_scram", "db", "aq_scram_pw") as c:
        first = c.value("SELECT pg_backend_pid()")
        p.admin("RECONNECT db")
        assert c.value("SELECT pg_backend_pid()") != first


@ours
def test_trust_cannot_pass_on_a_scram_secret(door):
    """Without the client's proof there are no keys: the server's door stays shut, with the tested text."""
    p = door(auth_type="trust")
    assert refused(p, "aq_scram") == ("FATAL", "08P01", "server login failed: wrong password type")


@ours
def test_trust_asks_too(door, pg):
    """Trust needs a user that exists, and auth_user no line in auth_file."""
    p = door(auth_type="trust", entry={"user": "u_trust"}, auth_user="u_trust",
             auth_query="SELECT rolname, NULL::text FROM pg_roles WHERE rolname = $1")
    with p.login("aq_empty") as c:
        assert c.value("SELECT current_user") == "u_trust"
    assert refused(p, "aq_nobody") == NO_SUCH_USER
    p.wait_log(r"closing because: no such user \(age")


def test_plain_text_from_the_query_logs_in_at_the_server(door, pg):
    """What the query says is the password for the server, too."""
    p = door(auth_type="plain", auth_query="SELECT $1, $1 || '_pw'")
    for user in ("u_plain", "u_md5", "u_scram"):
        with p.login(user, "db", user + "_pw") as c:
            assert c.value("SELECT current_user") == user


def test_row_12_expired_password(door):
    """Row 12: the default query gives no password that is over, and none never matches."""
    for method in ("scram-sha-256", "md5", "plain"):
        p = door(auth_type=method, auth_user="postgres", auth_query=None, users={"postgres": ""})
        for secret in ("aq_expired_pw", "aq_expired", "NULL"):
            assert refused(p, "aq_expired", secret)[2] == (
                "SASL authentication failed" if method == "scram-sha-256" else "password authentication failed")


def test_row_12_role_that_may_not_log_in(door):
    assert refused(door(), "aq_nologin", "aq_nologin_pw") == NO_SUCH_USER


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "plain"])
def test_role_without_a_password(door, method):
    p = door(auth_type=method)
    for secret in ("x", "aq_empty"):
        assert "authentication failed" in refused(p, "aq_empty", secret)[2]


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "plain", "trust"])
def test_row_10_unknown_user_is_nobody(door, method):
    """Row 10: neither auth_user's name nor its rights are had by a name that nobody knows."""
    p = door(auth_type=method)
    for user in ("aq_nobody", "LOOKER", "looker ", "'looker'", "aq_nobody' OR 'a'='a"):
        assert refused(p, user, "looker_pw") == NO_SUCH_USER
    assert {r["user"] for r in p.show("POOLS")} <= {"looker", "pgbouncer"}


def test_row_11_nothing_of_the_client_reaches_the_query(door, pg):
    """Row 11: a search_path of the client's, by whatever way, is not that of the connection that asks."""
    pg.sql("CREATE SCHEMA IF NOT EXISTS evil", "DROP FUNCTION IF EXISTS evil.find(text)",
           "CREATE FUNCTION evil.find(name text, OUT text, OUT text) LANGUAGE sql AS 'SELECT $1, ''evil''::text'",
           "GRANT USAGE ON SCHEMA evil TO PUBLIC", db="db")
    extra = {} if env.ORACLE else {"track_extra_parameters": "search_path"}
    p = door(auth_type="plain", entry={"user": "u_trust"}, auth_query="SELECT * FROM find($1)",
             ignore_startup_parameters="search_path" if env.ORACLE else "", **extra)
    path = "evil, public, pg_catalog"
    assert refused(p, "aq_scram", "evil", search_path=path)[2] == "password authentication failed"
    if not env.ORACLE:
        assert refused(p, "aq_scram", "evil", options="-c search_path=evil")[2] == "password authentication failed"
    p.login("aq_scram", "db", "aq_scram_pw", search_path=path).close()


def test_row_13_result_is_of_its_database(door, pg):
    """Row 13: what one database says of a name lets nobody into another, nor does a connection of its."""
    p = door(auth_type="plain", entry={"user": "u_trust"}, auth_query=PLAIN,
             databases={"db2": pg.entry("db2", user="u_trust")})
    with p.login("joe", "db", "joe_in_db") as one, p.login("joe", "db2", "joe_in_db2") as two:
        assert one.value("SELECT current_database()") == "db"
        assert two.value("SELECT current_database()") == "db2"
        assert refused(p, "joe", "joe_in_db2", "db")[2] == "password authentication failed"
        assert refused(p, "joe", "joe_in_db", "db2")[2] == "password authentication failed"


def test_result_is_refreshed_at_every_login(door, pg):
    """Row 13: neither an old password nor a server that was opened with it lets anybody in."""
    pg.sql("DROP ROLE IF EXISTS aq_changing", "CREATE ROLE aq_changing LOGIN PASSWORD 'first'")
    p = door()
    with p.login("aq_changing", "db", "first") as c:
        assert c.value("SELECT 1") == "1"
        pg.sql("ALTER ROLE aq_changing PASSWORD 'second'")
        assert refused(p, "aq_changing", "first")[2] == "SASL authentication failed"
        p.login("aq_changing", "db", "second").close()
        p.admin("RECONNECT db")
    with p.login("aq_changing", "db", "second") as c:
        assert c.value("SELECT current_user") == "aq_changing"
    pg.sql("DROP ROLE aq_changing")
    assert refused(p, "aq_changing", "second") == NO_SUCH_USER


def test_plain_secrets_are_not_kept(door, pg):
    """SCRAM from a plain secret that changes: the next log-in is judged by what the query says then."""
    p = door(auth_query="SELECT $1, who FROM lookups", entry={"user": "u_trust"})
    for secret in ("one", "two"):
        pg.sql("TRUNCATE lookups", "INSERT INTO lookups VALUES ('%s')" % secret, "GRANT SELECT ON lookups TO looker",
               db="db")
        p.login("joe", "db", secret).close()
        p.login("joe", "db", secret).close()
    assert refused(p, "joe", "one")[2] == "SASL authentication failed"


def test_auth_file_comes_first(door):
    """A known user never causes a query, even with an empty password."""
    p = door(auth_type="plain", entry={"user": "u_trust"}, auth_query=PLAIN, users={"filed": "in_file", "empty": ""})
    assert refused(p, "filed", "filed_in_db")[2] == "password authentication failed"
    assert refused(p, "empty", "empty_in_db")[2] == "password authentication failed"
    p.login("filed", "db", "in_file").close()
    assert "looker" not in {r["user"] for r in p.show("POOLS")}


def test_users_section_and_auth_user_have_no_password_entry(door):
    """A name from [users], of auth_user or of a forced user is looked up like any other."""
    p = door(auth_type="plain", entry={"user": "forced"}, auth_user="u_trust", auth_query=PLAIN,
             user_lines={"listed": "pool_mode=session"})
    for user in ("listed", "u_trust", "forced"):
        with p.wire() as c:
            c.send(wire.startup(user, "db"))
            assert c.expect(b"R").body == struct.pack("!I", 3)


def test_names_that_are_many_things_at_once(door, pg):
    """Forced user, auth_user and log-in user of one name: each has a password of its own."""
    p = door(auth_type="plain", auth_user="u_plain", auth_query="SELECT $1, 'from_query'",
             databases={"forced": pg.entry(user="u_plain", password="u_plain_pw"),
                        "wrong": pg.entry(user="u_plain", password="no")},
             entry={"auth_user": "u_trust"}, auth_dbname=None, users={"other": "x"}, server_login_retry=0)
    # auth_user u_plain has no password here and cannot log in to ask; u_trust can.
    assert refused(p, "u_plain", "u_plain_pw", "db")[2] == "password authentication failed"
    with p.login("other", "forced", "x") as c:
        assert c.value("SELECT current_user") == "u_plain"
    assert "password authentication failed" in refused(p, "other", "x", "wrong")[2]


@ours
def test_forced_user_is_not_let_in_by_what_a_query_said(door, pg):
    """The query's answer is the password of the one who logs in, not of the forced user with the same name."""
    p = door(auth_type="plain", auth_query="SELECT $1, 'u_plain_pw'", entry={"user": "u_plain"})
    assert "password" in refused(p, "u_plain", "u_plain_pw")[2]  # the server's words about an empty one


@ours
def test_override_by_database(door, pg):
    """auth_user and auth_query of the entry go before the global ones, and need none of them."""
    p = door(auth_type="plain", auth_user=None, entry={"user": "u_trust", "auth_user": "looker", "auth_query": PLAIN},
             databases={"closed": pg.entry(user="u_trust")})
    p.login("joe", "db", "joe_in_db").close()
    assert refused(p, "joe", "joe_in_db", "closed")[2] == "password authentication failed"
    p.wait_log("no such user: joe")


@ours
def test_override_of_auth_dbname_by_database(door, pg):
    p = door(auth_type="plain", entry={"user": "u_trust", "auth_dbname": "db2"}, auth_query=PLAIN, auth_dbname="db3",
             databases={"db2": pg.entry("db2", user="u_trust"), "db3": pg.entry("db", user="u_trust")})
    p.login("joe", "db", "joe_in_db2").close()
    p.login("joe", "db2", "joe_in_db").close()  # db3 leads to db
    assert p.pool("db2", "looker")["sv_idle"] == 1
    assert p.pool("db3", "looker")["sv_idle"] == 1
    assert "looker" not in {r["user"] for r in p.show("POOLS") if r["database"] == "db"}


@ours
def test_auth_dbname_that_is_not_configured(door):
    p = door(auth_dbname="missing")
    assert refused(p, "aq_scram", "aq_scram_pw") == CONFIG_ERROR
    p.wait_log('authentication database "missing" is not configured\\.')
    p.admin("SET auth_dbname = 'db'")
    p.login("aq_scram", "db", "aq_scram_pw").close()
    p.admin("RELOAD")
    assert {r["key"]: r["value"] for r in p.show("CONFIG")}["auth_dbname"] == "missing"


@ours
def test_set_auth_dbname_outlives_a_reload(door, pg):
    p = door(databases={"authdb": pg.entry()})
    p.admin("SET auth_dbname = 'authdb'")
    p.admin("RELOAD")
    p.login("aq_scram", "db", "aq_scram_pw").close()
    assert p.pool("authdb", "looker")["sv_idle"] == 1


@ours
@pytest.mark.parametrize("secret", ["aq_scram_pw", "wrong"])
def test_auth_dbname_is_disabled(door, pg, secret):
    p = door(auth_dbname="authdb", databases={"authdb": pg.entry()})
    p.admin("DISABLE authdb")
    assert refused(p, "aq_scram", secret) == ("FATAL", "08P01", 'authentication database "authdb" is disabled')
    p.admin("ENABLE authdb")
    p.login("aq_scram", "db", "aq_scram_pw").close()


@ours
def test_auth_dbname_is_the_console(door):
    """As a setting it is refused; in an entry it fails at log-in."""
    p = door(entry={"auth_dbname": "pgbouncer"})
    assert refused(p, "aq_scram", "aq_scram_pw") == CONFIG_ERROR
    p.wait_log('cannot use the reserved "pgbouncer" database as an auth_dbname')
    with pytest.raises(PgError) as e:
        p.admin("SET auth_dbname = 'pgbouncer'")
    assert e.value.text == "SET failed"


@ours
def test_auth_dbname_by_the_template(door, pg):
    p = door(auth_dbname="db2", databases={"*": "host=%s port=%d" % (pg.host, pg.port)})
    p.login("aq_scram", "db", "aq_scram_pw").close()
    p.wait_log("registered new auto-database: db2")
    assert p.pool("db2", "looker")["sv_idle"] == 1


def test_automatic_database_asks_itself(pooler, roles):
    p = pooler(databases={"*": "host=%s port=%d" % (roles.host, roles.port)}, users={"looker": "looker_pw"},
               auth_type="scram-sha-256", auth_user="looker", auth_query=FIND)
    with p.login("aq_scram", "db2", "aq_scram_pw") as c:
        assert c.value("SELECT current_database()") == "db2"


def test_database_that_does_not_exist_asks_nobody(door):
    """A stranger learns nothing of databases, and sets none to work."""
    p = door(auth_type="plain", auth_query=PLAIN)
    assert refused(p, "joe", "joe_in_db", "nowhere")[2] == "password authentication failed"
    assert [r["user"] for r in p.show("POOLS")] == ["pgbouncer"]


@ours
def test_known_user_of_a_database_that_does_not_exist(door):
    p = door(auth_type="plain", users={"filed": "x"})
    assert refused(p, "filed", "x", "nowhere")[2] == "no such database: nowhere"


def test_name_as_the_database_spells_it(door):
    """Column 1 is who logs in."""
    p = door(auth_type="plain", auth_query="SELECT lower($1), 'u_plain_pw'")
    with p.login("U_PLAIN", "db", "u_plain_pw") as c:
        assert c.value("SELECT current_user") == "u_plain"
        assert [r["user"] for r in p.show("CLIENTS") if r["database"] == "db"] == ["u_plain"]


def test_error_of_the_query(door):
    """The client learns nothing of it; the log does."""
    p = door(auth_query="SELECT 1 FROM not_pg_shadow WHERE $1 = ''")
    assert refused(p, "aq_scram") == CONFIG_ERROR
    if not env.ORACLE:
        p.wait_log('S: error in auth_query: ERROR: relation "not_pg_shadow" does not exist')
    p.wait_log("closing because: error response from auth_query")
    assert p.pool("db", "looker")["sv_active"] == 0


@pytest.mark.parametrize("sql,n", [("SELECT $1", 1), ("SELECT $1, 'a', 'b'", 3)])
def test_number_of_columns(door, sql, n):
    p = door(auth_query=sql)
    assert refused(p, "aq_scram") == CONFIG_ERROR
    p.wait_log("closing because: expected 2 columns from auth_query, not %d" % n)


@ours
@pytest.mark.parametrize("sql", ["BEGIN", "SELECT", "COPY (SELECT $1, 'x') TO STDOUT", ""])
def test_statement_that_answers_no_columns(door, sql):
    p = door(auth_query=sql)
    assert refused(p, "aq_scram") == CONFIG_ERROR
    p.wait_log("closing because: (expected 2 columns from auth_query, not 0|error response from auth_query)")


@pytest.mark.parametrize("sql,what", [("SELECT NULL, $1", "null"), pytest.param("SELECT '', $1", "empty", marks=ours)])
def test_missing_user_name(door, sql, what):
    """As a function answers that finds nobody. It costs the client its log-in, and us no server."""
    p = door(auth_query=sql)
    for _ in range(2):
        assert refused(p, "aq_scram") == CONFIG_ERROR
    p.wait_log("auth_query response contained %s user name" % what)
    if not env.ORACLE:
        assert p.pool("db", "looker")["sv_idle"] + p.pool("db", "looker")["sv_tested"] == 1
        assert len(p.logged("new connection to server")) == 1


@ours
@pytest.mark.parametrize("sql,reason", [
    ("SELECT repeat('x', 128), $1", "auth_query response contained too long user name"),
    ("SELECT $1, repeat('x', 65531)", "auth_query response contained too long password"),
    ("SELECT $1, repeat('x', 200000)", "message from server is too long")])
def test_values_out_of_bounds(door, sql, reason):
    p = door(auth_query=sql)
    assert refused(p, "aq_scram") == CONFIG_ERROR
    p.wait_log("closing because: " + reason)


@ours
def test_values_at_their_bounds(door):
    p = door(auth_type="plain", entry={"user": "u_trust"}, auth_query="SELECT repeat('x', 127), repeat($1, 65530)")
    p.login("y", "db", "y" * 65530).close()


@pytest.mark.parametrize("rows", [2, pytest.param(5000, marks=ours)])
def test_last_row_counts(door, rows):
    p = door(auth_type="plain", entry={"user": "u_trust"},
             auth_query="SELECT $1, i::text FROM generate_series(1, %d) i" % rows)
    p.login("joe", "db", str(rows)).close()
    assert refused(p, "joe", "1")[2] == "password authentication failed"


def test_session_mode_resets_the_connection(door, pg):
    """It is given back like any other: the next log-in has the same server, and one is enough."""
    p = door(entry={"pool_size": 1}, pool_mode="session")
    for _ in range(3):
        p.login("aq_scram", "db", "aq_scram_pw").close()
    assert len(pg.backends("db", "looker")) == 1
    p.wait_pool("db", "looker", sv_idle=1, sv_active=0, cl_waiting=0)


def test_one_assignment_and_no_query_is_counted(door):
    p = door(pool_mode="transaction")
    p.login("aq_scram", "db", "aq_scram_pw").close()
    row = {r["database"]: r for r in p.show("STATS")}["db"]
    assert (row["total_query_count"], row["total_xact_count"]) == ("0", "0")
    if not env.ORACLE:
        assert (row["total_server_assignment_count"], row["total_client_login_count"]) == ("1", "1")


@ours
def test_who_logged_in_is_a_known_user(door):
    """SHOW USERS has whoever got in, and nobody who did not."""
    p = door()
    p.login("aq_scram", "db", "aq_scram_pw").close()
    for user in ("aq_expired", "aq_md5", "aq_nobody"):
        refused(p, user)
    p.wait_pool("db", "aq_scram", cl_active=0)
    names = [r["name"] for r in p.show("USERS")]
    assert "aq_scram" in names and "looker" in names
    assert not {"aq_expired", "aq_md5", "aq_nobody"} & set(names)


@ours
def test_limits_come_after_the_query(door):
    """They are counted under the name that the query says, and given back by every refusal."""
    p = door(max_user_client_connections=1, user_lines={"aq_md5": "max_user_client_connections=3"},
             entry={"user": "u_trust"})
    with p.login("aq_scram", "db", "aq_scram_pw"):
        assert refused(p, "aq_scram", "aq_scram_pw")[2] == \
            "client connections exceeded (max_user_client_connections)"
        users = {r["name"]: r for r in p.show("USERS")}
        assert users["aq_scram"]["current_client_connections"] == "1"
    for _ in range(3):
        assert refused(p, "aq_scram", "wrong")[2] == "SASL authentication failed"
    for _ in range(5):
        assert refused(p, "aq_nobody") == NO_SUCH_USER
    p.login("aq_scram", "db", "aq_scram_pw").close()
    env.wait_for(lambda: {r["name"]: r["current_client_connections"] for r in p.show("USERS")}["aq_scram"] == "0",
                 "the count to fall")
    assert {r["name"]: r["current_client_connections"] for r in p.show("DATABASES")}["db"] == "0"


@ours
def test_console_user_by_auth_query(door, pg):
    """The console asks the global auth_dbname, which it needs."""
    p = door(auth_dbname="db", admin_users="aq_scram", stats_users="aq_md5")
    with p.login("aq_scram", "pgbouncer", "aq_scram_pw") as c:
        assert c.query("SHOW VERSION").rows and not c.query("RECONNECT").errors
    assert refused(p, "aq_scram", "wrong", "pgbouncer")[2] == "SASL authentication failed"
    pg.sql("CREATE ROLE aq_other LOGIN PASSWORD 'aq_other_pw'")
    try:
        assert refused(p, "aq_other", "aq_other_pw", "pgbouncer")[2] == "not allowed"
    finally:
        pg.sql("DROP ROLE aq_other")


@ours
@pytest.mark.parametrize("secret", ["aq_scram_pw", "wrong"])
def test_console_does_not_ask_itself(door, secret):
    p = door(admin_users="aq_scram")
    assert refused(p, "aq_scram", secret, "pgbouncer") == CONFIG_ERROR
    p.wait_log('cannot use the reserved "pgbouncer" database as an auth_dbname')


def test_the_consoles_own_user_is_never_looked_up(door):
    p = door(auth_type="plain", auth_query=PLAIN, entry={"user": "u_trust"})
    assert refused(p, "pgbouncer", "pgbouncer_in_db")[2] == "password authentication failed"


def test_the_consoles_own_user_is_real(pooler, pg):
    p = pooler(databases={"db": pg.entry(user="u_trust")}, auth_type="trust")
    p.login("pgbouncer").close()


def test_negotiation_is_answered_once(door):
    """NegotiateProtocolVersion comes before the query, and not again behind it."""
    p = door()
    with p.wire() as c:
        c.send(wire.startup("aq_scram", "db", version=wire.PROTO3 + 2, **{"_pq_.some": "1"}))
        if env.ORACLE:
            return
        assert c.expect(b"v").body == struct.pack("!II", wire.PROTO3, 1) + b"_pq_.some\0"
        c.finish_login("aq_scram", "aq_scram_pw")
        assert not hasattr(c, "negotiated")
        assert c.value("SELECT 1") == "1"


@ours
def test_turning_it_on_and_off_by_reload(door):
    p = door(auth_user=None)
    assert refused(p, "aq_scram", "aq_scram_pw")[2] == "SASL authentication failed"
    p.reload(auth_user="looker")
    p.login("aq_scram", "db", "aq_scram_pw").close()
    # Without a default it is kept when the file is silent; the empty text turns it off.
    p.reload(auth_user="")
    assert refused(p, "aq_scram", "aq_scram_pw")[2] == "SASL authentication failed"


@ours
def test_auth_user_with_a_wrong_password(door):
    """The server's own words, as for anybody who waits for a pool that cannot log in."""
    p = door(users={"looker": "wrong"})
    assert refused(p, "aq_scram", "aq_scram_pw") == (
        "FATAL", "28P01", 'password authentication failed for user "looker"')


def test_fifty_at_once(door, pg):
    """Two servers ask for all of them, in turn."""
    p = door(entry={"pool_size": 2, "user": "u_trust"}, auth_type="plain", auth_query=PLAIN, max_client_conn=200)
    clients = [p.wire() for _ in range(50)]
    for i, c in enumerate(clients):
        c.send(wire.startup("joe%d" % i, "db"))
    for i, c in enumerate(clients):
        c.finish_login("joe%d" % i, "joe%d_in_db" % i)
    assert len(pg.backends("db", "looker")) <= 2
    for c in clients:
        c.close()
    p.wait_pool("db", "looker", cl_waiting=0, sv_active=0)


def test_replaced_greeting_of_another_user(door):
    """Row 13: two users of one database each have a pool of their own."""
    p = door(auth_type="plain", auth_query="SELECT $1, $1 || '_pw'", pool_mode="transaction")
    with p.login("u_plain", "db", "u_plain_pw") as a, p.login("u_md5", "db", "u_md5_pw") as b:
        for _ in range(3):
            assert a.value("SELECT current_user") == "u_plain"
            assert b.value("SELECT current_user") == "u_md5"


# --- with a scripted server ------------------------------------------------------

class Oracle:
    """The database that is asked: it answers when the test says so.

    answer(peer, name): sends what it likes; the default is one row, the name with _pw behind it.
    """

    def __init__(self, answer=None):
        self.answer = answer or (lambda peer, name: peer.send(*row(name)))
        self.gate = threading.Event()
        self.gate.set()
        self.asked = []
        self.types = []
        self.left = threading.Semaphore(0)

    def __call__(self, peer):
        if peer.read_startup() is None:
            return
        peer.welcome(search_path="public")
        try:
            while True:
                m = peer.recv()
                self.types.append(m.type.decode())
                if m.type == b"B":
                    name = m.body[10:-2].decode()
                if m.type == b"S":
                    self.asked.append(name)
                    self.gate.wait(env.PATIENCE)
                    self.answer(peer, name)
                if m.type == b"Q":
                    peer.send(tag("OK"), ready())
        finally:
            self.left.release()


HEAD = wire.msg(b"1") + wire.msg(b"2")
COLUMNS = row_description("user", "secret")
END = tag("SELECT 1") + ready()


def row(name, secret=None):
    return HEAD, COLUMNS, data_row(name, secret or name + "_pw"), END


@pytest.fixture
def asks(pooler, fake):
    """A pooler whose auth_query goes to a scripted server, and its clients elsewhere."""
    def make(oracle, entry=None, **settings):
        server = fake(oracle)
        p = pooler(databases={"db": "host=127.0.0.1 port=1", "authdb": server.entry(**(entry or {})),
                              **settings.pop("databases", {})},
                   **{"auth_type": "plain", "auth_user": "looker", "auth_dbname": "authdb", "pool_mode": "transaction",
                      **settings})
        p.fake = server
        return p
    return make


def knock(p, user="joe", database="db", **params):
    c = p.wire()
    c.send(wire.startup(user, database, **params))
    return c


def wants_password(c):
    assert c.expect(b"R").body == struct.pack("!I", 3)
    c.close()


@ours
def test_messages_are_those_of_one_query(asks):
    """Row 11: and nothing else, whatever the client wishes: no SET, no start-up parameter."""
    oracle = Oracle()
    p = asks(oracle, ignore_startup_parameters="evil", track_extra_parameters="IntervalStyle, search_path")
    for _ in range(2):
        wants_password(knock(p, application_name="evil", DateStyle="German", TimeZone="Asia/Tokyo", evil="1",
                             search_path="evil", client_encoding="LATIN1", options="-c IntervalStyle=iso_8601"))
    assert "".join(oracle.types) == "PBDES" * 2
    assert p.fake.peers[0].params == {"database": "db", "user": "looker"}


def trailing(*more):
    return lambda peer, name: peer.send(*row(name), *more)


@ours
@pytest.mark.parametrize("answer", [
    lambda peer, name: peer.send(notice("n"), HEAD, notice("n"), param("TimeZone", "GMT"), COLUMNS, notice("n" * 100000),
                                 data_row(name, "x"), param("a", "b" * 100000), tag("SELECT 1"), notice("n"), ready()),
    lambda peer, name: peer.send(wire.msg(b"A", struct.pack("!I", 1) + b"c\0p\0"), *row(name)),
    lambda peer, name: peer.send(HEAD, COLUMNS, data_row("a", "b"), data_row(name, "x"), END),
    trailing(param("TimeZone", "GMT")),
    trailing(notice("too late")),
    trailing(error("terminating connection", "57P01", "FATAL")),
    trailing(data_row("late", "x")),
], ids=["chatty", "notification", "two-rows", "parameter-behind", "notice-behind", "error-behind", "row-behind"])
def test_answer_that_is_good_all_the_same(asks, answer):
    p = asks(Oracle(answer))
    for user in ("joe", "jim"):
        wants_password(knock(p, user))
    p.wait_pool("authdb", "looker", cl_waiting=0, sv_active=0)


def raw(*parts):
    return lambda peer, name: peer.send(*parts)


@ours
@pytest.mark.parametrize("answer,reason", [
    (raw(HEAD, wire.msg(b"n"), END), "expected 2 columns from auth_query, not 0"),
    (raw(HEAD, row_description(*"abcdefghijk"), END), "expected 2 columns from auth_query, not 11"),
    (raw(HEAD, wire.msg(b"T", b"\xff\xff"), END), "broken RowDescription packet"),
    (raw(HEAD, COLUMNS, COLUMNS, END), "broken RowDescription packet"),
    (raw(HEAD, data_row("joe", "x"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, data_row("joe"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, data_row("joe", "a", "b"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, data_row("jo\0e", "x"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, data_row("joe", "x\0y"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, wire.msg(b"D", b"\0\2\0\0\0\3joe\xff\xff\xff\xf0"), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, wire.msg(b"D", b""), END), "broken DataRow packet"),
    (raw(HEAD, COLUMNS, data_row("u" * 128, "x"), END), "auth_query response contained too long user name"),
    (raw(HEAD, COLUMNS, data_row("joe", "x" * 65531), END), "auth_query response contained too long password"),
    (raw(HEAD, COLUMNS, b"D" + struct.pack("!I", 1 << 30)), "message from server is too long"),
    (raw(HEAD, COLUMNS, b"D" + struct.pack("!I", 3)), "bad pkt header"),
    (raw(ready()), "unexpected ReadyForQuery"),
    (raw(HEAD, COLUMNS, data_row("joe", "x"), ready()), "unexpected ReadyForQuery"),
    (raw(HEAD, tag("SELECT 1"), ready()), "unexpected ReadyForQuery"),
    (raw(HEAD, COLUMNS, data_row("joe", "x"), tag("SELECT 1"), ready("T")), "query left a transaction open"),
    (raw(HEAD, COLUMNS, data_row("joe", "x"), tag("SELECT 1"), ready("E")), "query left a transaction open"),
    (raw(HEAD, wire.msg(b"G", b"\0\0\0"), END), "unknown pkt"),
    (raw(HEAD, COLUMNS, wire.msg(b"~"), END), "unknown pkt"),
    (raw(HEAD, wire.msg(b"S", b"x"), COLUMNS, END), "broken ParameterStatus packet"),
    (raw(error("no \x01 text"), ready()), "error response from auth_query"),
    (raw(wire.msg(b"E", b""), ready()), "error response from auth_query"),
    (raw(HEAD, COLUMNS, data_row("joe", "x"), error("at the end"), ready()), "error response from auth_query"),
    (lambda peer, name: peer.sock.close(), "server conn crashed\\?"),
    (lambda peer, name: peer.reset(), "server conn crashed\\?"),
    (lambda peer, name: (peer.send(HEAD, COLUMNS, data_row("joe", "x"), b"C\0\0"), peer.sock.close()),
     "server conn crashed\\?"),
])
def test_answer_that_is_not_believed(asks, answer, reason):
    """Whatever the server says, the client learns one thing, nobody gets in, and the next one is served."""
    oracle = Oracle(answer)
    p = asks(oracle)
    with knock(p) as c:
        assert fields(c.expect_error()) == CONFIG_ERROR
    p.wait_log("closing because: " + reason)
    oracle.answer = Oracle().answer
    wants_password(knock(p))


@ours
def test_no_row(asks):
    p = asks(Oracle(raw(HEAD, COLUMNS, tag("SELECT 0"), ready())))
    with knock(p) as c:
        assert fields(c.expect_error()) == NO_SUCH_USER
    p.wait_pool("authdb", "looker", sv_idle=1, sv_active=0)


@ours
@pytest.mark.parametrize("pieces", [1, 7])
def test_answer_in_pieces(asks, pieces):
    def answer(peer, name):
        data = b"".join(row(name))
        for at in range(0, len(data), pieces):
            peer.send(data[at:at + pieces])
    oracle = Oracle(answer)
    p = asks(oracle, pkt_buf=75)
    for _ in range(3):
        wants_password(knock(p))
    assert p.fake.count == 1


def held(oracle, p, n=1, **how):
    """n clients whose query hangs, or that stand behind it."""
    oracle.gate.clear()
    before = len(oracle.asked)
    clients = [knock(p, "joe%d" % i, **how) for i in range(n)]
    env.wait_for(lambda: len(oracle.asked) > before, "the query to be asked")
    return clients


@ours
def test_slow_database_holds_up_nobody_else(asks, pg):
    """Not a known user, not another database, not the console."""
    oracle = Oracle()
    p = asks(oracle, users={"filed": "x"}, databases={"real": pg.entry(user="u_trust")}, auth_dbname=None,
             entry={"pool_size": 1})
    waiting = held(oracle, p, 5, database="authdb")
    with p.login("filed", "real", "x") as c:
        assert c.value("SELECT 1") == "1"
    assert p.wait_pool("authdb", "looker", cl_waiting=4, sv_active=1, cl_active=0)["maxwait"] >= 0
    for c in waiting:
        assert c.silent(0.01)
    oracle.gate.set()
    for c in waiting:
        wants_password(c)


@ours
def test_first_come_first_served(asks):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    first = held(oracle, p)
    rest = []
    for i in range(6):
        rest.append(knock(p, "next%d" % i))
        p.wait_pool("authdb", "looker", cl_waiting=i + 1)
    oracle.gate.set()
    for c in first + rest:
        wants_password(c)
    assert oracle.asked == ["joe0"] + ["next%d" % i for i in range(6)]


@ours
def test_clients_of_the_auth_database_and_lookups_share_one_queue(asks):
    """Who waits for a server of that pool to run a query stands in the same line."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1, "user": "looker"}, users={"filed": "x"}, auth_dbname=None)
    user = p.login("filed", "authdb", "x")
    user.send(wire.query("BEGIN"))
    user.recv_until(b"Z")
    first = held(oracle, p, database="authdb")
    user.send(wire.query("SELECT 1"))
    p.wait_pool("authdb", "looker", cl_waiting=1)
    second = knock(p, "last", "authdb")
    p.wait_pool("authdb", "looker", cl_waiting=2)
    oracle.gate.set()
    wants_password(first[0])
    user.recv_until(b"Z")
    wants_password(second)
    assert oracle.types[-6:] == ["Q", "P", "B", "D", "E", "S"]
    user.close()


@ours
def test_console_shows_who_waits_for_it(asks):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    waiting = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    rows = [r for r in p.show("CLIENTS") if r["database"] == "db"]
    assert sorted((r["user"], r["state"], r["link"]) for r in rows) == [("joe0", "waiting", ""), ("joe1", "waiting", "")]
    assert all(int(r["port"]) and r["local_port"] == str(p.port) for r in rows)
    assert len({r["id"] for r in rows}) == 2
    sockets = [r for r in p.show("SOCKETS") if r["database"] == "db"]
    assert [r["state"] for r in sockets] == ["cl_login"] * 2
    lists = {r["list"]: int(r["items"]) for r in p.show("LISTS")}
    assert (lists["used_clients"], lists["login_clients"]) == (3, 2)  # and the console
    assert {"joe0", "joe1"}.isdisjoint(r["name"] for r in p.show("USERS"))
    oracle.gate.set()
    for c in waiting:
        wants_password(c)


@ours
def test_kill_client_ends_a_login_that_waits(asks):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    waiting = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    for row in p.show("CLIENTS"):
        if row["database"] == "db":
            p.admin("KILL_CLIENT %s" % row["id"])
    for c in waiting:
        assert c.expect_error().text == "admin forced disconnect"
    p.wait_pool("authdb", "looker", cl_waiting=0, sv_active=0)


@ours
def test_client_that_vanishes_takes_its_query_along(asks):
    """The server is closed, since its answer is still to come; whoever stood behind is served."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    gone, stays = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    gone.close()
    p.wait_log("closing because: client disconnect while server was not ready")
    oracle.gate.set()
    wants_password(stays)
    assert p.fake.count == 2


@ours
def test_client_that_vanishes_leaves_the_queue(asks):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    waiting = held(oracle, p, 3)
    p.wait_pool("authdb", "looker", cl_waiting=2)
    waiting[1].reset()
    p.wait_pool("authdb", "looker", cl_waiting=1, sv_active=1)
    oracle.gate.set()
    wants_password(waiting[0])
    wants_password(waiting[2])
    assert len(oracle.asked) == 2 and p.fake.count == 1


@ours
def test_client_that_talks_meanwhile(asks):
    """Row 9: what comes too early is looked at when its time has come: a second start-up is an error then."""
    oracle = Oracle()
    p = asks(oracle)
    c, = held(oracle, p)
    c.send(wire.startup("looker", "authdb"))
    other, = held(oracle, p)
    other.send(wire.password("joe0_pw"))
    assert c.silent(0.05)
    oracle.gate.set()
    assert c.expect(b"R").body == struct.pack("!I", 3)
    assert c.expect_error().text == "client re-sent startup pkt"
    assert other.expect(b"R").body == struct.pack("!I", 3)
    other.close()


@ours
def test_flood_while_it_waits_is_not_read(asks):
    """A client that is to wait cannot fill the memory meanwhile."""
    oracle = Oracle()
    p = asks(oracle)
    c, = held(oracle, p)
    c.sock.settimeout(0.3 * env.SLOW)
    with pytest.raises((TimeoutError, OSError)):
        for _ in range(2000):
            c.sock.sendall(b"\0" * 65536)
    oracle.gate.set()
    c.close()


@ours
def test_query_wait_timeout(asks):
    """In the queue, by the value of the database that the client wants."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1}, databases={"short": "host=127.0.0.1 port=1 query_wait_timeout=1"})
    waiting = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    with knock(p, "hasty", "short") as c:
        assert fields(c.expect_error()) == ("FATAL", "08P01", "query_wait_timeout")
    p.wait_pool("authdb", "looker", cl_waiting=1, sv_active=1)
    oracle.gate.set()
    for c in waiting:
        wants_password(c)


@ours
def test_client_login_timeout(asks):
    """Of the one whose query runs as of the one that waits; the server goes with the first."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1}, client_login_timeout=1)
    for c in held(oracle, p, 2):
        assert fields(c.expect_error()) == ("FATAL", "08P01", "client_login_timeout")
        c.close()
    oracle.gate.set()
    p.wait_pool("authdb", "looker", cl_waiting=0, sv_active=0)


@ours
def test_query_timeout(asks):
    """A query that takes too long is ended like any other; the client learns no more than it may."""
    oracle = Oracle()
    p = asks(oracle, query_timeout=1)
    c, = held(oracle, p)
    assert fields(c.expect_error()) == CONFIG_ERROR
    p.wait_log("closing because: query timeout")
    oracle.gate.set()
    c.close()


@ours
def test_no_notice_of_waiting_before_the_greeting(asks):
    """query_wait_notify never speaks into a log-in."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1}, query_wait_notify=1, databases={
        "short": "host=127.0.0.1 port=1 query_wait_timeout=2"})
    waiting = held(oracle, p)
    with knock(p, "hasty", "short") as c:
        assert c.recv().type == b"E"
    oracle.gate.set()
    wants_password(waiting[0])


@ours
def test_pause_holds_lookups_back(asks):
    """PAUSE of the auth database, or of all: who asks waits, and goes on by RESUME."""
    oracle = Oracle()
    p = asks(oracle)
    wants_password(knock(p))
    for argument in (" authdb", ""):
        p.admin("PAUSE" + argument)
        c = knock(p)
        p.wait_pool("authdb", "looker", cl_waiting=1, sv_idle=0, sv_active=0)
        p.admin("RESUME" + argument)
        wants_password(c)


@ours
def test_pause_waits_for_a_running_lookup(asks):
    oracle = Oracle()
    p = asks(oracle)
    c, = held(oracle, p)
    with p.console() as admin:
        admin.send(wire.query("PAUSE"))
        p.wait_pool("authdb", "looker", sv_active=1)
        assert admin.silent(0.05)
        oracle.gate.set()
        wants_password(c)
        admin.recv_until(b"Z")
    p.admin("RESUME")


@ours
def test_reconnect_lets_a_running_lookup_end(asks):
    oracle = Oracle()
    p = asks(oracle)
    c, = held(oracle, p)
    p.admin("RECONNECT authdb")
    oracle.gate.set()
    wants_password(c)
    p.wait_log("closing because: close_needed")
    wants_password(knock(p))
    assert p.fake.count == 2


@ours
def test_kill_of_the_auth_database(asks):
    """Who waits is told why; whose query runs loses its server. RESUME opens it again."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    running, waits = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    p.admin("KILL authdb")
    assert fields(running.expect_error()) == CONFIG_ERROR
    assert waits.expect_error().text == "database removed"
    oracle.gate.set()
    c = knock(p)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    p.admin("RESUME authdb")
    wants_password(c)


@ours
def test_auth_database_removed_by_reload(asks):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    running, waits = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    kept = p.databases.pop("authdb")
    p.reload()
    assert fields(running.expect_error()) == CONFIG_ERROR
    assert waits.expect_error().text == "database removed"
    oracle.gate.set()
    with knock(p) as c:
        assert fields(c.expect_error()) == CONFIG_ERROR
    p.wait_log('authentication database "authdb" is not configured\\.')
    p.databases["authdb"] = kept
    p.reload()
    wants_password(knock(p))


@ours
def test_wanted_database_removed_meanwhile(asks):
    """The log-in is judged by the configuration it began with, and ends where the database is gone."""
    oracle = Oracle()
    p = asks(oracle, databases={"brief": "host=127.0.0.1 port=1"})
    c, = held(oracle, p, database="brief")
    del p.databases["brief"]
    p.reload()
    oracle.gate.set()
    assert c.expect(b"R").body == struct.pack("!I", 3)
    c.send(wire.password("joe0_pw"))
    assert c.expect_error().text == "database removed"


@ours
@pytest.mark.parametrize("how", ["WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS"])
def test_shutdown_meanwhile(asks, how):
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    running, waits = held(oracle, p, 2)
    p.wait_pool("authdb", "looker", cl_waiting=1)
    p.admin("SHUTDOWN " + how)
    if how == "WAIT_FOR_SERVERS":
        assert waits.expect_error().text == "server shutting down"
    oracle.gate.set()
    for c in (running, waits)[:1 if how == "WAIT_FOR_SERVERS" else 2]:
        c.expect(b"R")
        c.send(wire.password("joe%d_pw" % (c is waits)))
        assert c.expect_error().text in ("pooler is shutting down", "server shutting down")
    p.wait_exit()


@ours
def test_immediate_end_meanwhile(asks):
    """Nothing is left behind; the leak checker looks."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 1})
    waiting = held(oracle, p, 5)
    p.wait_pool("authdb", "looker", cl_waiting=4)
    with p.console() as admin:
        admin.send(wire.query("SHUTDOWN"))
        with pytest.raises(Closed):
            admin.recv_until(b"Z")
    p.wait_exit()
    for c in waiting:
        c.close()
    oracle.gate.set()


@ours
def test_server_that_refuses_its_login(asks):
    """Everybody who waits learns what the server said, and its code."""
    def script(peer):
        if peer.read_startup() is not None:
            peer.send(error("no such luck", "28000", "FATAL"))
            peer.sock.close()
    p = asks(script)
    with knock(p) as c:
        assert fields(c.expect_error()) == ("FATAL", "28000", "no such luck")


def test_server_that_is_not_there(pooler):
    """The first one waits for the next attempt; the next ones are told at once."""
    port = env.free_port()
    p = pooler(databases={"db": "host=127.0.0.1 port=%d" % port}, auth_type="plain", auth_user="looker",
               server_login_retry=1)
    first = knock(p)
    p.wait_log("closing because: connect failed")
    with knock(p) as c:
        assert c.expect_error().text.startswith("server login has been failing, ")
    assert first.silent(0.01)
    first.close()


@ours
def test_server_comes_back(asks, fake):
    """A dead connection that lay idle is found out by the check query, and nobody sees an error."""
    oracle = Oracle()
    p = asks(oracle, server_check_delay=0)
    wants_password(knock(p))
    p.fake.peers[0].sock.shutdown(2)
    wants_password(knock(p))


@ours
def test_many_come_and_go(asks):
    """A crowd that vanishes in every state leaves nothing behind."""
    oracle = Oracle()
    p = asks(oracle, entry={"pool_size": 3}, max_client_conn=300)
    for how in ("close", "reset"):
        crowd = held(oracle, p, 40)
        p.wait_pool("authdb", "looker", cl_waiting=37)
        for c in crowd[::2]:
            getattr(c, how)()
        oracle.gate.set()
        for c in crowd[1::2]:
            wants_password(c)
        env.wait_for(lambda: {r["list"]: r["items"] for r in p.show("LISTS")}["used_clients"] == "1",
                     "all but the console to go")
        p.wait_pool("authdb", "looker", cl_waiting=0, sv_active=0)
