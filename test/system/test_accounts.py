"""Whose settings and limits count: the one who logs in, or the account that the pool logs in as.

And every way in which a log-in can fail, since each must give back what it was counted under: behaviour
specification, sections 9, 25 and 26.
"""
import signal

import pytest
from harness import env, wire
from harness.wire import PgError, md5_secret, query, scram_secret

pytestmark = pytest.mark.ours


@pytest.fixture
def forced(pooler, pg):
    """u_trust and u_plain come in; svc it is that the servers see."""
    def make(users="", svc="", entry=None, **settings):
        lines = {"svc": svc, "u_trust": users}
        return pooler(**{"databases": {"db": pg.entry(user="svc", password="svc_pw", **(entry or {}))},
                         "users": {"u_trust": "", "u_plain": ""}, "user_lines": {k: v for k, v in lines.items() if v},
                         "pool_mode": "transaction", "server_tls_sslmode": "disable", **settings})
    return make


# --- the account's ---------------------------------------------------------------

@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_pool_mode(forced, mode):
    p = forced(svc="pool_mode=" + mode, users="pool_mode=session", entry={"pool_mode": "session"}, pool_mode="session")
    with p.login() as c:
        assert c.value("SELECT current_user") == "svc"
        p.wait_pool(pool_mode=mode, sv_active=int(mode == "session"))
        c.send(query("BEGIN"))
        said = c.until_ready()
        assert bool(said.errors) == (mode == "statement")


def test_pool_mode_of_the_entry_goes_before_the_global_one(forced):
    p = forced(entry={"pool_mode": "session"}, users="pool_mode=statement")
    with p.login() as c:
        c.pid()
        p.wait_pool(pool_mode="session", sv_active=1)


def test_pool_size_and_reserve(forced):
    p = forced(svc="pool_size=1 reserve_pool_size=1", users="pool_size=5", entry={"pool_size": 7},
               reserve_pool_timeout=1, max_client_conn=20)
    a, b, c = p.login(), p.login("u_plain"), p.login()
    a.query("BEGIN")
    b.send(query("BEGIN"))
    assert b.until_ready().status == "T"
    p.wait_log("taking connection from reserve_pool")
    c.send(query("SELECT 1"))
    p.wait_pool(cl_waiting=1, sv_active=2)
    assert c.silent(1.5)
    a.query("COMMIT")
    assert c.until_ready().value() == "1"


@pytest.mark.parametrize("setting, work, text", [
    ("query_timeout", "SELECT pg_sleep(20)", "query timeout"), ("idle_transaction_timeout", "BEGIN", "idle transaction timeout"),
    ("transaction_timeout", "BEGIN; SELECT 1", "transaction timeout")])
def test_time_outs_of_servers(forced, setting, work, text):
    """Of the account; the same of the one who logs in does nothing."""
    p = forced(svc=setting + "=2", users=setting + "=1")
    with p.login() as c:
        c.send(query(work))
        if "sleep" not in work:
            assert c.until_ready().status == "T"
        assert c.silent(1.4)
        assert c.expect_error().text == text


def test_max_user_connections(forced, pg):
    """Over all databases of the account, whoever logs in."""
    p = forced(svc="max_user_connections=1", users="max_user_connections=5",
               databases={"db": pg.entry(user="svc", password="svc_pw"), "db2": pg.entry("db2", user="svc", password="svc_pw")})
    a, b = p.login(), p.login("u_plain", "db2")
    a.query("BEGIN")
    b.send(query("SELECT 1"))
    p.wait_pool("db2", cl_waiting=1, sv_active=0)
    a.query("COMMIT")
    assert b.until_ready().value() == "1"


# --- of the one who logs in --------------------------------------------------------

def test_time_outs_of_clients(forced):
    p = forced(svc="client_idle_timeout=1 query_wait_timeout=1", users="client_idle_timeout=2 query_wait_timeout=2",
               entry={"pool_size": 1})
    holder, waiter, other, idle = p.login("u_plain"), p.login(), p.login("u_plain"), p.login()
    holder.query("BEGIN")
    for w in (waiter, other):
        w.send(query("SELECT 7"))
    assert waiter.silent(1.4)
    assert waiter.expect_error().text == "query_wait_timeout"
    assert idle.expect_error().text == "client_idle_timeout"
    holder.query("COMMIT")
    assert other.until_ready().value() == "7"


def test_max_user_client_connections(forced):
    p = forced(svc="max_user_client_connections=1", users="max_user_client_connections=2")
    held = [p.login(), p.login(), p.login("u_plain"), p.login("u_plain"), p.login("u_plain")]
    with pytest.raises(PgError) as e:
        p.login()
    assert e.value.text == "client connections exceeded (max_user_client_connections)"
    for c in held:
        assert c.value("SELECT current_user") == "svc"


# --- sizes -------------------------------------------------------------------------

def test_no_pool_size_is_no_limit(forced, pg):
    p = forced(entry={"pool_size": 0}, default_pool_size=1, max_client_conn=50)
    clients = [p.login() for _ in range(25)]
    for c in clients:
        assert c.query("BEGIN").status == "T"
    assert len(pg.backends("db", "svc")) == 25
    for c in clients:
        c.close()


@pytest.mark.parametrize("limit, want", [
    ({"entry": {"min_pool_size": 3}, "svc": "max_user_connections=2"}, 2),
    ({"entry": {"min_pool_size": 3}, "svc": "max_user_connections=5"}, 3),
    ({"entry": {"min_pool_size": 3, "max_db_connections": 1}}, 1), ({"entry": {"min_pool_size": 3, "pool_size": 2}}, 2)],
    ids=["lower", "higher", "database", "pool"])
def test_min_pool_size_keeps_to_limits(forced, pg, limit, want):
    p = forced(**limit)
    p.wait_pool(sv_idle=want)
    with p.login() as c:
        c.query("BEGIN")
        assert c.silent(0.8)
        assert len(pg.backends("db", "svc")) == want and not p.logged("evicted")


def test_min_pool_size_opens_one_a_round(forced):
    """Three times a second, so that nobody storms a server that has just come back."""
    p = forced(entry={"min_pool_size": 4})
    p.wait_pool(sv_idle=4)
    at = [60 * int(m) + float(s) for m, s in p.logged(r"^\S+ \d+:(\d+):(\d+\.\d+) .*new connection to server")]
    assert len(at) == 4 and 0.9 <= (at[3] - at[0]) % 3600


# --- counted once --------------------------------------------------------------------

SECRETS = {"joe": "joe_pw", "md5": md5_secret("md5", "x"), "scram": scram_secret("x"), "empty": "", "u_trust": ""}
HBA = "host closed all all reject\nhost all joe 127.0.0.1/32 scram-sha-256\nhost other all all trust\nlocal all all peer\n"

# name: (settings, user, database, what it is told), each with the password "wrong" and the limits full but for one
WAYS = {
    "wrong plain": ({"auth_type": "plain"}, "joe", "db", "password authentication failed"),
    "wrong md5": ({"auth_type": "md5"}, "joe", "db", "password authentication failed"),
    "wrong scram": ({"auth_type": "scram-sha-256"}, "joe", "db", "SASL authentication failed"),
    "scram for md5": ({"auth_type": "md5"}, "scram", "db", "SASL authentication failed"),
    "md5 for scram": ({"auth_type": "scram-sha-256"}, "md5", "db", "SASL authentication failed"),
    "no password": ({"auth_type": "scram-sha-256"}, "empty", "db", "SASL authentication failed"),
    "nobody": ({"auth_type": "scram-sha-256"}, "nobody", "db", "SASL authentication failed"),
    "trusted nobody": ({"auth_type": "trust"}, "nobody", "db", '"trust" authentication failed'),
    "no row": ({"auth_user": "u_trust", "auth_query": "SELECT $1, $1 WHERE false"}, "nobody", "db", "no such user"),
    "query fails": ({"auth_user": "u_trust", "auth_query": "SELECT $1, 1/0"}, "nobody", "db", "bouncer config error"),
    "looked up, wrong": ({"auth_user": "u_trust", "auth_query": "SELECT $1, 'right'", "auth_type": "plain"}, "nobody", "db",
                         "password authentication failed"),
    "no auth database": ({"auth_user": "u_trust", "auth_dbname": "nowhere"}, "nobody", "db", "bouncer config error"),
    "any": ({"auth_type": "any"}, "joe", "db2", "bouncer config error"),
    "hba rejects": ({"auth_type": "hba"}, "joe", "closed", "login rejected"),
    "no hba line": ({"auth_type": "hba"}, "md5", "db", "no authentication method is found"),
    "hba password": ({"auth_type": "hba"}, "joe", "db", "SASL authentication failed"),
    "hba peer": ({"auth_type": "hba", "host": True}, "joe", "db", "unix socket login rejected"),
    "disabled": ({"disable": "db"}, "joe", "db", 'database "db" is disabled'),
    "no database": ({}, "joe", "nowhere", "no such database: nowhere"),
    "stranger at the console": ({}, "joe", "pgbouncer", "not allowed"),
    "parameter": ({"odd": "1"}, "joe", "db", "unsupported startup parameter: odd"),
    "name": ({}, "j" * 200, "db", "username too long"),
    "no role": ({"databases": "no_role"}, "joe", "db", 'password authentication failed for user "no_such_role"'),
    "wrong server password": ({"databases": "wrong"}, "joe", "db", 'password authentication failed for user "svc"'),
    "shutdown": ({"signal": signal.SIGTERM, "host": True}, "joe", "db", "pooler is shutting down"),
}


@pytest.mark.parametrize("way", WAYS)
def test_failed_login_gives_back_its_places(pooler, pg, way):
    settings, user, database, text = WAYS[way]
    settings = dict(settings)
    odd, host, number = settings.pop("odd", None), settings.pop("host", None), settings.pop("signal", None)
    disable, entry = settings.pop("disable", None), settings.pop("databases", None)
    entries = {"no_role": pg.entry(user="no_such_role"), "wrong": pg.entry(user="svc", password="no"),
               None: pg.entry(user="u_trust") if way != "any" else pg.entry()}
    p = pooler(**{"databases": {"db": entries[entry], "db2": pg.entry("db2"), "closed": pg.entry(),
                                "other": pg.entry(user="u_trust")},
                  "users": SECRETS, "server_login_retry": 0, "max_client_conn": 4, "max_db_client_connections": 2,
                  "max_user_client_connections": 2, "auth_hba_file": None, **settings})
    if settings.get("auth_type") == "hba":
        env.write(p.dir + "/hba", HBA)
        p.settings["auth_hba_file"] = p.dir + "/hba"
        p.write()
        p.admin("RELOAD")
    with p.console() as admin:
        keeper = p.login("u_trust", "other", host=p.dir) if number else None
        if disable:
            admin.query("DISABLE " + disable)
        if number:
            p.signal(number)
            p.wait_log("got SIGTERM")
        counts = lambda: [(r["name"], int(r["current_client_connections"] or 0)) for what in ("DATABASES", "USERS")
                          for r in admin.query("SHOW " + what).dicts() if r["name"] not in ("pgbouncer", "u_trust", "other")]
        # More often than any limit allows.
        for _ in range(6):
            with pytest.raises(PgError) as e:
                p.login(user, database, "wrong", p.dir if host else None, **({"odd": odd} if odd else {}))
            assert (e.value.severity, e.value.text) == ("FATAL", text)
            assert e.value.code == ("28P01" if entry else "08P01")
            env.wait_for(lambda: not any(n for _, n in counts()), lambda: "counts to go: %r" % counts())
        assert not {"nobody", "j" * 200} & {name for name, _ in counts()}
        clients = {r["list"]: r["items"] for r in admin.query("SHOW LISTS").dicts()}
        assert (clients["login_clients"], clients["used_clients"]) == ("0", "2" if keeper else "1")
        if keeper:
            keeper.close()
    if keeper:
        p.wait_exit()
