"""Users that auth_file does not know: auth_query in the name of auth_user.

With a real PostgreSQL; what no real one does is in test_auth_query_faults.py. Attack rows 10 to 13 and 15, as far
as they concern it; the number stands at the test.
"""
import os
import re
import struct

import pytest
from harness import env, wire
from harness.wire import PgError, md5_secret

ours = pytest.mark.ours

CONFIG_ERROR = ("FATAL", "08P01", "bouncer config error")
NO_SUCH_USER = ("FATAL", "08P01", "no such user")


def fields(e):
    return e.severity, e.code, e.text


def refused(p, user, secret="x", database="db", **params):
    with pytest.raises(PgError) as e:
        p.login(user, database, secret, **params)
    return fields(e.value)


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
    p.wait_pool("db2", "looker", sv_idle=1)
    p.wait_pool("db3", "looker", sv_idle=1)
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
    p.wait_pool("authdb", "looker", sv_idle=1)


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
    p.wait_pool("db2", "looker", sv_idle=1)


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
    p.wait_pool("db", "looker", sv_active=0)


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
        p.wait_pool("db", "looker", sv_idle=1, sv_active=0, sv_tested=0)
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
    # The database does know two of them, so they count until their refusal is done with.
    env.wait_for(lambda: not {"aq_expired", "aq_md5", "aq_nobody"} & {r["name"] for r in p.show("USERS")},
                 "those who were refused to be forgotten")
    assert {"aq_scram", "looker"} <= {r["name"] for r in p.show("USERS")}


@ours
def test_limits_come_after_the_query(door):
    """They are counted under the name that the query says, and given back by every refusal."""
    p = door(user_lines={"aq_scram": "max_user_client_connections=1"}, entry={"user": "u_trust"})

    def count(table, name):
        return {r["name"]: r["current_client_connections"] for r in p.show(table)}[name]

    with p.login("aq_scram", "db", "aq_scram_pw"):
        assert refused(p, "aq_scram", "aq_scram_pw")[2] == \
            "client connections exceeded (max_user_client_connections)"
        env.wait_for(lambda: count("USERS", "aq_scram") == "1", "the refused one to go")
    for _ in range(3):
        env.wait_for(lambda: count("USERS", "aq_scram") == "0", "the last one to go")
        assert refused(p, "aq_scram", "wrong")[2] == "SASL authentication failed"
        assert refused(p, "aq_nobody") == NO_SUCH_USER
    env.wait_for(lambda: count("USERS", "aq_scram") == "0", "the last one to go")
    p.login("aq_scram", "db", "aq_scram_pw").close()
    env.wait_for(lambda: count("USERS", "aq_scram") == count("DATABASES", "db") == "0", "the counts to fall")


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
