"""SET on the console: console specification, section 9."""
import os

import pytest
from harness import env, wire
from harness.wire import PgError

ours = pytest.mark.ours
UNAPPLIED = "TLS settings could not be applied, still using old configuration"


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry()}, "users": {"u_trust": "", "plain": ""},
                         "pool_mode": "transaction", **settings})
    return make


def config(p, key):
    return [r["value"] for r in p.show("CONFIG") if r["key"] == key][0]


@pytest.mark.parametrize("text, tag", [("SET query_timeout = 5", "SET query_timeout=5"),
                                       ("set query_timeout to '5';", "SET query_timeout=5"),
                                       ("SET stats_users='a,b'", "SET stats_users=a,b"),
                                       ("SET auth_type='md5'", "SET auth_type=md5"),
                                       ("SET application_name_add_host=1", "SET application_name_add_host=1")])
def test_set(pool, text, tag):
    with pool().console() as admin:
        r = admin.query(text)
        assert r.tags == [tag] and not r.errors


@pytest.mark.parametrize("text", ["SET nonsense = 1", "SET query_timeout = 'x'", "SET pool_mode = often",
                                  pytest.param("SET auth_dbname = pgbouncer", marks=ours)])
def test_set_failed(pool, text):
    with pool().console() as admin:
        assert [e.text for e in admin.query(text).errors] == ["SET failed"]


def test_set_of_a_restart_only_setting_is_ignored(pool):
    p = pool()
    with p.console() as admin:
        assert admin.query("SET listen_port = 1").tags == ["SET listen_port=1"]
    assert {r["key"]: r["value"] for r in p.show("CONFIG")}["listen_port"] == str(p.port)


@ours
@pytest.mark.parametrize("text, key, value", [
    ("SET query_timeout = 5", "query_timeout", "5"), ("SeT query_timeout to '6';", "query_timeout", "6"),
    ("SET query_timeout=7", "query_timeout", "7"), ("SET query_timeout=to", None, None),
    ("SET query_timeout TO to", None, None), ("SET \"query_timeout\" = 8", "query_timeout", "8"),
    ("SET server_reset_query = 'it''s'", "server_reset_query", "it's"), ("SET server_reset_query = \"Quoted\"", "server_reset_query", "Quoted"),
    ("SET server_reset_query = ''", "server_reset_query", ""), ("SET ignore_startup_parameters = options", "ignore_startup_parameters", "options"),
    ("SET server_reset_query = 'a;b -- c'", "server_reset_query", "a;b -- c"),
])
def test_spellings_of_set(pool, text, key, value):
    p = pool()
    with p.console() as admin:
        r = admin.query(text)
        if key:
            assert r.tags == ["SET %s=%s" % (key, value)]
            assert config(p, key) == value
        else:
            assert [e.text for e in r.errors] == ["SET failed"]


@ours
@pytest.mark.parametrize("text", ["SET", "SET x", "SET x =", "SET = 1", "SET x = 1 2", "SET x = 'a", "SET x = a.b",
                                  "SET x = 1; SET y = 2", "SET 'x' = 1", "\"SET\" x = 1", "SET x 1", "SETx = 1",
                                  "SET x == 1", "SET a.b = 1"])
def test_what_is_no_set(pool, text):
    with pool().console() as admin:
        assert [e.text for e in admin.query(text).errors] == ["invalid command '%s', use SHOW HELP;" % text]


@ours
def test_set_does_not_write_the_file(pool):
    p = pool()
    with open(p.ini) as f:
        before = f.read()
    p.admin("SET query_timeout = 5")
    with open(p.ini) as f:
        assert f.read() == before


@ours
def test_set_of_auth_file_waits_for_reload(pool):
    p = pool(auth_type="plain", users={"plain": "old"})
    other = os.path.join(p.dir, "other.txt")
    env.write(other, '"plain" "new"\n"u_trust" "x"\n')
    assert p.admin("SET auth_file = '%s'" % other) == []
    with pytest.raises(PgError):
        p.login("u_trust", "pgbouncer", "x")
    with pytest.raises(PgError, match="not allowed"):
        p.login("plain", "pgbouncer", "old")
    p.settings["auth_file"] = None
    p.write()
    p.admin("RELOAD")
    with pytest.raises(PgError, match="not allowed"):
        p.login("plain", "pgbouncer", "new")


@ours
def test_set_of_tls_settings_one_by_one(pool, certs):
    """Key and certificate do not fit in between: the old set-up stays until they do."""
    p = pool(client_tls_sslmode="allow", client_tls_key_file=certs.key("server"), client_tls_cert_file=certs.crt("server"))

    def trusts(ca):
        with p.wire() as c:
            c.tls(ca=certs.crt(ca))
            c.login("u_trust", "db")
    trusts("ca")
    with p.console() as admin:
        r = admin.query("SET client_tls_key_file = '%s'" % certs.key("impostor"))
        assert [n["M"] for n in r.notices] == [UNAPPLIED]
        assert r.tags == ["SET client_tls_key_file=" + certs.key("impostor")]
        trusts("ca")
        r = admin.query("SET client_tls_cert_file = '%s'" % certs.crt("impostor"))
        assert not r.notices and r.tags
        trusts("otherca")
        # On and off.
        assert admin.query("SET client_tls_sslmode = disable").tags == ["SET client_tls_sslmode=disable"]
        with p.wire() as c:
            assert c.ssl_request() == b"N"
        assert admin.query("SET client_tls_sslmode = require").tags == ["SET client_tls_sslmode=require"]
        with pytest.raises(PgError, match="SSL required"):
            p.login()
        assert [n["M"] for n in admin.query("SET client_tls13_ciphers = nonsense").notices] == [UNAPPLIED]
        trusts("otherca")


@ours
def test_set_of_server_tls_renews_servers_only_when_it_changes(pool):
    p = pool(server_tls_sslmode="disable")
    with p.login() as c:
        pid = c.pid()
        p.admin("SET server_tls_sslmode = disable")
        assert c.pid() == pid
        p.admin("SET server_tls_sslmode = require")
        env.wait_for(lambda: c.pid() != pid, lambda: "another server")
        assert c.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"


@ours
def test_set_takes_effect_for_those_who_are_here(pool):
    p = pool(query_timeout=0)
    with p.login() as c:
        c.value("SELECT 1")
        p.admin("SET query_timeout = '0.3'")
        c.send(wire.query("SELECT pg_sleep(30)"))
        assert c.expect_error(closed=False).text == "query timeout"
