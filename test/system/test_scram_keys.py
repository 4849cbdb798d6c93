"""SCRAM secrets that only the database's own users can prove: keys of a client's log-in open its servers.

Behaviour specification, section 7. The pooler knows what PostgreSQL has stored, and no password.
"""
import pytest
from harness import env, wire
from harness.wire import PgError, scram_secret

pytestmark = pytest.mark.ours
WRONG_TYPE = "server login failed: wrong password type"


@pytest.fixture
def door(pooler, pg):
    def make(users=None, **settings):
        return pooler(**{"databases": {"db": pg.entry(), "db2": pg.entry("db2")},
                         "users": {"u_scram": pg.secret("u_scram"), **(users or {})}, "auth_type": "scram-sha-256",
                         "pool_mode": "transaction", "server_login_retry": 0.1, **settings})
    return make


def login(p, database="db", user="u_scram", secret=None):
    return p.login(user, database, secret or user + "_pw")


def test_keys_outlive_every_server(door, pg):
    """No log-in of the client is needed for the next one, however the last one went; nor after a RELOAD."""
    p = door()
    with login(p) as c:
        pids = {c.pid()}
        for how in ("RECONNECT", "RELOAD and RECONNECT", "terminated"):
            if how == "terminated":
                pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'u_scram'")
                p.wait_pool(sv_idle=0)
            for command in how.split(" and "):
                if command.startswith("RE"):
                    p.admin(command)
            pids.add(c.pid())
        assert len(pids) == 4


def test_keys_outlive_the_client_and_the_pool(door):
    """min_pool_size opens servers for the account as long as the process lives, though nobody is logged in any more."""
    p = door(min_pool_size=1, pool_idle_timeout=1)
    login(p).close()
    p.wait_pool(cl_active=0)
    p.admin("RECONNECT")
    with login(p) as c:
        c.pid()
        p.wait_pool(sv_idle=1)
    assert not p.logged("cannot do SCRAM authentication")


def test_keys_are_the_accounts_not_the_pools(door, pg):
    """Whoever proved himself for one database opens the servers of another, here those of auth_query."""
    p = door(databases={"db": pg.entry(), "db2": pg.entry("db2")}, auth_user="u_scram", auth_dbname="db2",
             auth_query="SELECT $1, $1 || '_pw'")
    with pytest.raises(PgError) as e:
        login(p, user="svc")
    assert e.value.text == WRONG_TYPE
    login(p).close()
    env.wait_for(lambda: works(p, "svc"), "the pause after the failure to be over")
    p.wait_pool("db2", "u_scram", sv_idle=1)


def works(p, user):
    try:
        login(p, user=user).close()
        return True
    except PgError as e:
        assert "server_login_retry" in e.text or e.text == WRONG_TYPE
        return False


def test_plain_text_is_a_password_and_never_keys(door, pg):
    """The verifier that is derived from it for the client has a salt of its own: it would not fit the server."""
    p = door({"u_scram": "u_scram_pw"})
    for turn in range(3):   # from the second one on the verifier is the cached one
        with login(p) as c:
            first = c.pid()
            p.admin("RECONNECT")
            assert c.pid() != first
    # The same name by a secret, with the cached verifier still there: keys again.
    p.users["u_scram"] = pg.secret("u_scram")
    p.write()
    p.admin("RELOAD")
    with login(p) as c:
        p.admin("RECONNECT")
        assert c.value("SELECT current_user") == "u_scram"
    assert not p.logged("cannot do SCRAM authentication|authentication failed")


def test_derived_keys_are_not_offered_where_a_secret_is_stored(door, pg):
    """By trust there is no proof: a verifier that was cached for plain text before is of no use."""
    p = door({"u_scram": "u_scram_pw"})
    login(p).close()
    login(p).close()
    p.admin("RECONNECT")
    p.users["u_scram"] = pg.secret("u_scram")
    p.settings["auth_type"] = "trust"
    p.write()
    p.admin("RELOAD")
    p.admin("RECONNECT")
    with pytest.raises(PgError) as e:
        p.login("u_scram", "db2")
    assert e.value.text == WRONG_TYPE


def test_other_iterations_and_salt_of_the_same_password_do_not_do(door):
    """Keys are those of one secret; PostgreSQL wants its own."""
    p = door({"u_scram": scram_secret("u_scram_pw", b"another salt", 1000)})
    with pytest.raises(PgError) as e:
        login(p)
    assert (e.value.code, e.value.text) == ("28P01", 'password authentication failed for user "u_scram"')


def test_new_password_brings_new_keys(door, pg):
    pg.sql("DROP ROLE IF EXISTS k_new", "CREATE ROLE k_new LOGIN PASSWORD 'one'")
    try:
        p = door({"k_new": pg.secret("k_new")})
        with login(p, user="k_new", secret="one") as c:
            c.pid()
            pg.sql("ALTER ROLE k_new PASSWORD 'two'")
            p.users["k_new"] = pg.secret("k_new")
            p.write()
            p.admin("RELOAD")
            with login(p, user="k_new", secret="two") as other:
                p.admin("RECONNECT")
                assert other.value("SELECT current_user") == c.value("SELECT current_user") == "k_new"
    finally:
        pg.clear()
        pg.sql("DROP ROLE k_new")


def test_unknown_database_after_the_proof(door):
    p = door()
    for _ in range(2):
        with pytest.raises(PgError) as e:
            login(p, "nowhere")
        assert e.value.text == "no such database: nowhere"
    login(p).close()


def test_two_workers_share_the_cached_verifier(door):
    """Asked for the salt of a plain password, everyone sees the same one, from the first time on."""
    p = door({"plain": "text"})
    salts = set()
    for _ in range(6):
        with p.wire() as c:
            c.send(wire.startup("plain", "db"))
            c.expect(b"R")
            c.send(wire.ScramClient("text").first())
            salts.add(c.expect(b"R").body[4:].decode().split(",")[1])
    assert len(salts) == 1
