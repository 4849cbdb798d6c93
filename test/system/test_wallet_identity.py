"""What PostgreSQL is told about the wallet of a session, and what it can check of it: ecdsa-login.md 20."""
import hashlib
import hmac
import os
import signal
import time

import psycopg
import pytest
from harness import env, wire
from harness.fakeserver import error, ready
from harness.wallet import ALICE, BOB, CAROL

pytestmark = pytest.mark.ours

KEY, NEXT_KEY = bytes(range(32)), bytes(range(100, 132))
SQL = os.path.join(env.TOP, "etc", "sql")


def read_sql(name):
    with open(os.path.join(SQL, name)) as f:
        return f.read()


@pytest.fixture(scope="session")
def vault(pg):
    """A database with the function and the worked example, as the manual tells to make them."""
    pg.sql("CREATE DATABASE vault", "CREATE ROLE app LOGIN PASSWORD 'app_pw'")
    run_script(pg, "pg_ecdsa_claim.sql")
    run_script(pg, "pg_ecdsa_rls_example.sql")
    return pg


def run(pg, sql, db):
    with psycopg.connect(host=pg.dir, port=pg.port, dbname=db, user="postgres", autocommit=True) as conn:
        conn.execute(sql)


def run_script(pg, name, db="vault"):
    run(pg, read_sql(name), db)


@pytest.fixture
def rls(vault):
    """Its keys are those that the pooler has; nobody has a note yet."""
    vault.sql("TRUNCATE notes RESTART IDENTITY", "TRUNCATE ecdsa.claim_keys",
              "SELECT ecdsa.add_key('\\x%s')" % KEY.hex(), db="vault")
    yield vault
    env.wait_for(lambda: not vault.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'vault'"
                                       " AND backend_type = 'client backend'"), "the backends to go")


@pytest.fixture
def door(pooler, rls):
    def make(entry=None, key=KEY, **settings):
        base = dict(databases={"db": rls.entry("vault", user="app", password="app_pw", **(entry or {})),
                               "other": rls.entry(user="svc", password="svc_pw")},
                    auth_type="hba", ecdsa_allowed_addresses="%s, %s" % (ALICE.address, BOB.lower),
                    pool_mode="transaction", ecdsa_limit_burst=0, server_tls_sslmode="disable")
        p = pooler(start=False, **{**base, **settings})
        p.settings["auth_hba_file"] = os.path.join(p.dir, "hba")
        env.write(p.settings["auth_hba_file"], "host all nobody all trust\nhost all all all ecdsa\n")
        p.users["nobody"] = ""
        p.key_file = os.path.join(p.dir, "claim.key")
        if key:
            env.write(p.key_file, key, 0o600)
            p.settings["ecdsa_claim_key_file"] = p.key_file
        p.write()
        p.start()
        return p
    return make


def enter(p, wallet, db="db"):
    return p.login(wallet.address, db, wallet.password())


def claim_of(c):
    return c.value("SELECT current_setting('ecdsa.claim', true)")


def forge(wallet, database, pid, expires, key=KEY):
    said = "v1|%s|%s|%d|%d" % (wallet, database, pid, expires)
    return said + "|" + hmac.digest(key, said.encode(), hashlib.sha256).hex()


# --- the custom setting ---------------------------------------------------------

def test_the_setting_follows_the_client_from_server_to_server(door):
    p = door(key=None, ecdsa_identity_setting="ecdsa.wallet", entry=dict(pool_size=1))
    own = "SELECT current_setting('ecdsa.wallet', true)"
    with enter(p, ALICE) as a, enter(p, BOB) as b, p.login("nobody", "db") as n:
        for _ in range(3):
            for c, wallet in ((a, ALICE), (b, BOB), (n, None)):
                assert c.value(own) == (wallet.lower if wallet else "")
        assert len({a.pid(), b.pid(), n.pid()}) == 1


@pytest.mark.parametrize("change", ["SET ecdsa.wallet = 'somebody'", "RESET ecdsa.wallet", "RESET ALL",
                                    "SELECT set_config('ecdsa.wallet', '%s', false)" % CAROL.lower,
                                    "BEGIN; SET LOCAL ecdsa.wallet = 'x'; COMMIT", "DISCARD ALL"])
def test_what_one_client_sets_is_gone_for_the_next(door, change):
    p = door(key=None, ecdsa_identity_setting="ecdsa.wallet", entry=dict(pool_size=1))
    own = "SELECT current_setting('ecdsa.wallet', true)"
    with enter(p, ALICE) as a, enter(p, BOB) as b, p.login("nobody", "db") as n:
        assert not a.query(change).errors
        assert b.value(own) == BOB.lower
        assert not b.query(change).errors
        assert n.value(own) == ""
        assert not n.query(change).errors
        # Its own session gets it back as well: it holds for a transaction.
        assert a.value(own) == ALICE.lower


def test_it_is_set_before_the_first_message(door):
    """In one packet with what was pipelined, and in session pooling too."""
    p = door(key=None, ecdsa_identity_setting="ecdsa.wallet", pool_mode="session")
    with enter(p, ALICE) as a:
        r = a.query("BEGIN; SELECT current_setting('ecdsa.wallet', true); COMMIT")
        assert r.rows == [(ALICE.lower,)]
        assert a.query("SET ecdsa.wallet = 'mine'").tags == ["SET"]
        assert a.value("SELECT current_setting('ecdsa.wallet')") == "mine", "a session's server is not linked anew"
    with enter(p, BOB) as b:
        assert b.value("SELECT current_setting('ecdsa.wallet')") == BOB.lower


def test_names_of_several_parts(door):
    p = door(key=None, ecdsa_identity_setting="my_app.Auth.wallet1")
    with enter(p, ALICE) as a:
        assert a.value("SELECT current_setting('my_app.auth.wallet1', true)") == ALICE.lower


@pytest.mark.parametrize("how", [dict(ecdsa_identity_setting=""), dict(ecdsa_identity_setting="ecdsa.other")],
                         ids=["off", "another-name"])
def test_reload_leaves_no_old_wallet_on_a_server(door, how):
    p = door(key=None, ecdsa_identity_setting="ecdsa.wallet", entry=dict(pool_size=1))
    with enter(p, ALICE) as a, enter(p, BOB) as b:
        assert a.value("SELECT current_setting('ecdsa.wallet', true)") == ALICE.lower
        before = a.pid()
        p.reload(**how)
        assert b.value("SELECT current_setting('ecdsa.wallet', true)") in (None, "")
        assert b.pid() != before


def test_a_setting_that_the_server_refuses_ends_the_client(door, fake):
    """Better no answer than one that is somebody else's."""
    def script(peer):
        peer.read_startup()
        peer.welcome()
        peer.serve(lambda text: text.startswith("SET") and (peer.send(error("no such prefix", "42602"), ready()) or True))
    p = door(key=None, ecdsa_identity_setting="ecdsa.wallet", databases={"db": fake(script).entry(user="app")})
    with enter(p, ALICE) as a:
        a.send(wire.query("SELECT 1"))
        assert a.expect_error().text == "invalid server parameter"
    p.wait_log("varcache_apply failed: ERROR: no such prefix")


@pytest.mark.parametrize("value", ["role", "wallet", "ecdsa.", ".wallet", "ecdsa..wallet", "ecdsa.wallet; DROP", 'a".b',
                                   "1a.b", "ecdsa.w-llet", "ecdsa." + "w" * 60])
def test_only_custom_settings_may_carry_it(door, value):
    p = door(key=None)
    result = p.console_result("SET ecdsa_identity_setting = '%s'" % value)
    assert result.errors
    p.wait_log("ecdsa_identity_setting: found .*expected the name of a custom setting")


# --- the signed claim -------------------------------------------------------------

def test_the_claim_says_who_where_and_until_when(door):
    p = door(entry=dict(pool_size=1))
    with enter(p, ALICE) as a, enter(p, BOB) as b, p.login("nobody", "db") as n:
        for c, wallet in ((a, ALICE), (b, BOB)):
            said, sum = claim_of(c).rsplit("|", 1)
            version, address, database, pid, expires = said.split("|")
            assert (version, address, database, int(pid)) == ("v1", wallet.lower, "vault", c.pid())
            assert 290 <= int(expires) - time.time() <= 301
            assert sum == hmac.digest(KEY, said.encode(), hashlib.sha256).hex()
            assert c.value("SELECT ecdsa.wallet()") == wallet.lower
        assert claim_of(n) == "" and n.value("SELECT ecdsa.wallet()") is None


def test_in_session_pooling_it_lasts_a_day(door):
    p = door(pool_mode="session")
    with enter(p, ALICE) as a:
        assert 86300 <= int(claim_of(a).split("|")[4]) - time.time() <= 86401
        assert a.value("SELECT ecdsa.wallet()") == ALICE.lower


def test_it_is_made_anew_for_every_transaction(door):
    p = door(ecdsa_claim_ttl=2)
    with enter(p, ALICE) as a:
        first = claim_of(a)
        then = time.time()
        env.wait_for(lambda: time.time() > then + 2.1, "the first one to expire")
        assert a.value("SELECT ecdsa.wallet()") == ALICE.lower
        assert claim_of(a) != first
        # One that has expired is nobody's, in the same transaction as before it.
        a.query("BEGIN")
        assert a.value("SELECT ecdsa.wallet()") == ALICE.lower
        env.wait_for(lambda: a.value("SELECT ecdsa.wallet()") is None, "it to expire", pause=0.2)
        a.query("COMMIT")
        assert a.value("SELECT ecdsa.wallet()") == ALICE.lower


def test_names_that_need_quoting(door, rls):
    name = "va|u'lt\\"
    rls.sql('DROP DATABASE IF EXISTS "%s"' % name, 'CREATE DATABASE "%s"' % name)
    try:
        run_script(rls, "pg_ecdsa_claim.sql", name)
        run(rls, "SELECT ecdsa.add_key('\\x%s')" % KEY.hex(), name)
        p = door(databases={"db": "host=%s port=%d user=app password=app_pw dbname='%s'" % (
            rls.host, rls.port, name.replace("'", "''"))})
        with enter(p, ALICE) as a:
            assert a.value("SELECT current_database()") == name
            assert a.value("SELECT ecdsa.wallet()") == ALICE.lower
        p.signal(signal.SIGQUIT)
        p.wait_exit(0)
    finally:
        env.wait_for(lambda: not rls.sql("SELECT pid FROM pg_stat_activity WHERE datname = '%s'" % name.replace("'", "''")),
                     "the backends to go")
        rls.sql('DROP DATABASE IF EXISTS "%s"' % name)


def test_two_wallets_of_one_pool_see_their_own_rows(door, rls):
    """The worked example: a third client that forges the setting or copies a claim gets nothing."""
    p = door(entry=dict(pool_size=3))
    with enter(p, ALICE) as a, enter(p, BOB) as b, p.login("nobody", "db") as mallory:
        for c, body in ((a, "alice"), (b, "bob"), (a, "alice again")):
            assert c.query("INSERT INTO notes (body) VALUES ('%s')" % body).tags == ["INSERT 0 1"]
        assert a.query("SELECT wallet, body FROM notes ORDER BY note_id").rows == [
            (ALICE.lower, "alice"), (ALICE.lower, "alice again")]
        assert b.query("SELECT wallet, body FROM notes").rows == [(BOB.lower, "bob")]
        assert b.query("UPDATE notes SET body = 'mine'").tags == ["UPDATE 1"]
        assert b.query("INSERT INTO notes (wallet, body) VALUES ('%s', 'x')" % ALICE.lower).errors[0].code == "42501"
        assert rls.sql("SELECT count(*) FROM notes", db="vault") == [(3,)]

        def sees(c):
            return c.query("SELECT body FROM notes ORDER BY note_id").rows
        # Nobody is nobody.
        assert sees(mallory) == []
        assert mallory.query("INSERT INTO notes (body) VALUES ('x')").errors
        # All three hold a server each, so that none is lent to the other.
        for c in (a, b, mallory):
            c.query("BEGIN")
        assert len({c.pid() for c in (a, b, mallory)}) == 3
        stolen, pid = claim_of(a), mallory.pid()
        soon = int(time.time()) + 100
        for attempt in (stolen, stolen.upper(), stolen + "0", stolen.replace(ALICE.lower, BOB.lower),
                        stolen.replace("|%d|" % a.pid(), "|%d|" % pid), "", "v1", "v1|" + ALICE.lower,
                        forge(ALICE.lower, "vault", pid, soon, key=b"\0" * 32), forge(ALICE.lower, "vault", pid, soon, b"k"),
                        stolen.replace("|", "\n"), "|" * 5, "v1|%s|vault|%d|99999999999999999999|%s" % (
                            ALICE.lower, pid, "0" * 64)):
            for c, own in ((mallory, []), (b, [("mine",)])):
                before = sees(c)
                assert before == own
                r = c.query("SET LOCAL ecdsa.claim = '%s'" % attempt)
                assert not r.errors
                assert c.query("SET LOCAL ecdsa.wallet = '%s'" % ALICE.lower).tags == ["SET"]
                assert sees(c) == [] and c.value("SELECT ecdsa.wallet()") is None
                c.query("ROLLBACK; BEGIN")
        # The key itself would be needed; and with it the right process, database and time.
        for good, claim in ((True, forge(ALICE.lower, "vault", mallory.pid(), soon)),
                            (False, forge(ALICE.lower, "vault", mallory.pid() + 1, soon)),
                            (False, forge(ALICE.lower, "db", mallory.pid(), soon)),
                            (False, forge(ALICE.lower, "vault", mallory.pid(), int(time.time())))):
            mallory.query("SET LOCAL ecdsa.claim = '%s'" % claim)
            assert (mallory.value("SELECT ecdsa.wallet()") == ALICE.lower) == good
        for c in (a, b, mallory):
            c.query("ROLLBACK")
        for what in ("SELECT * FROM ecdsa.claim_keys", "SELECT ecdsa.hmac_sha256('x', 'y')",
                     "SELECT ecdsa.add_key('\\x%s')" % NEXT_KEY.hex(), "SELECT ecdsa.drop_old_keys()",
                     "INSERT INTO ecdsa.claim_keys (key) VALUES ('')",
                     "CREATE OR REPLACE FUNCTION ecdsa.wallet() RETURNS text LANGUAGE sql AS 'SELECT ''x''::text'"):
            assert mallory.query(what).errors[0].code == "42501", what


def test_operators_of_somebody_else_do_not_get_between(door, rls):
    """The function's own path is fixed: a client cannot lend it a = that always holds."""
    rls.sql("GRANT CREATE ON SCHEMA public TO app", db="vault")
    p = door(entry=dict(pool_size=1))
    try:
        with p.login("nobody", "db") as mallory:
            r = mallory.query("BEGIN; CREATE SCHEMA IF NOT EXISTS public; CREATE FUNCTION public.yes(bytea, bytea) RETURNS"
                              " bool LANGUAGE sql AS 'SELECT true'; CREATE OPERATOR public.= (LEFTARG = bytea, RIGHTARG ="
                              " bytea, FUNCTION = public.yes); SET search_path = public, pg_catalog")
            if r.errors:  # the schema belongs to others: then in two steps
                mallory.query("ROLLBACK")
                r = mallory.query("BEGIN; CREATE FUNCTION public.yes(bytea, bytea) RETURNS bool LANGUAGE sql AS"
                                  " 'SELECT true'; CREATE OPERATOR public.= (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION ="
                                  " public.yes); SET search_path = public, pg_catalog")
            assert not r.errors, r.errors
            assert mallory.value("SELECT 'a'::bytea = 'b'::bytea") == "t"
            mallory.query("SET LOCAL ecdsa.claim = '%s'" % forge(ALICE.lower, "vault", mallory.pid(),
                                                                 int(time.time()) + 99, b"\0" * 32))
            assert mallory.value("SELECT ecdsa.wallet()") is None
            mallory.query("ROLLBACK")
    finally:
        rls.sql("REVOKE CREATE ON SCHEMA public FROM app", db="vault")


def test_keys_are_changed_while_sessions_go_on(door, rls):
    p = door()
    with enter(p, ALICE) as a:
        assert a.value("SELECT ecdsa.wallet()") == ALICE.lower
        rls.sql("SELECT ecdsa.add_key('\\x%s')" % NEXT_KEY.hex(), db="vault")
        assert a.value("SELECT ecdsa.wallet()") == ALICE.lower
        env.write(p.key_file, NEXT_KEY.hex() + "\n", 0o600)
        pid = a.pid()
        p.admin("RELOAD")
        assert claim_of(a).rsplit("|", 1)[1] == hmac.digest(
            NEXT_KEY, claim_of(a).rsplit("|", 1)[0].encode(), hashlib.sha256).hex()
        assert a.value("SELECT ecdsa.wallet()") == ALICE.lower
        assert a.pid() == pid, "no server was closed for it"
        rls.sql("SELECT ecdsa.drop_old_keys()", db="vault")
        assert a.value("SELECT ecdsa.wallet()") == ALICE.lower
        env.write(p.key_file, KEY, 0o600)
        p.admin("RELOAD")
        assert a.value("SELECT ecdsa.wallet()") is None
        assert rls.sql("SELECT count(*) FROM ecdsa.claim_keys", db="vault") == [(1,)]


def test_a_claim_that_is_switched_off_leaves_no_server_behind(door):
    p = door(entry=dict(pool_size=1))
    with enter(p, ALICE) as a, enter(p, BOB) as b:
        assert a.value("SELECT ecdsa.wallet()") == ALICE.lower
        p.reload(ecdsa_claim_key_file="")
        assert b.value("SELECT ecdsa.wallet()") is None and claim_of(b) in (None, "")


@pytest.mark.parametrize("content, mode, text", [
    (KEY, 0o640, "may be used by others, its mode must be 0600"), (KEY + b"x", 0o600, "does not hold a key"),
    (b"", 0o600, "does not hold a key"), (b"z" * 64, 0o600, "does not hold a key"), (None, 0, "could not read"),
])
def test_a_key_that_cannot_be_used_refuses_the_load(door, content, mode, text):
    p = door()
    os.unlink(p.key_file)
    if content is not None:
        env.write(p.key_file, content, mode)
    assert p.console_result("RELOAD").errors
    p.wait_log("ecdsa_claim_key_file: .*" + text)
    # What was in force stays in force.
    with enter(p, ALICE) as a:
        assert a.value("SELECT ecdsa.wallet()") == ALICE.lower


def test_row_26_neither_key_nor_claim_is_logged(door):
    p = door(verbosity=2, ecdsa_identity_setting="ecdsa.wallet")
    with enter(p, ALICE) as a:
        claim = claim_of(a)
        a.query("SET DateStyle = 'SQL, DMY'")
        claims = {claim, claim_of(a)}
        p.admin("SHOW CONFIG")
        p.reload()
    for c in claims:
        assert c.rsplit("|", 1)[1][:16] not in p.log()
    assert KEY.hex() not in p.log() and "vault|" not in p.log()


def test_the_two_settings_may_not_be_the_same(door):
    p = door()
    assert p.console_result("SET ecdsa_identity_setting = 'ECDSA.claim'").errors
    p.wait_log("ecdsa.claim carries the signed claim")


def test_parameters_and_identity_in_one_round_trip(door):
    """What the client set for itself comes with it, and what it is."""
    p = door(entry=dict(pool_size=1), ecdsa_identity_setting="ecdsa.wallet")
    with enter(p, ALICE) as a, enter(p, BOB) as b:
        a.query("SET DateStyle = 'German, DMY'")
        for _ in range(3):
            assert a.value("SHOW DateStyle") == "German, DMY"
            assert b.value("SHOW DateStyle") == "ISO, MDY"
            for c, wallet in ((a, ALICE), (b, BOB)):
                r = c.query("SELECT current_setting('ecdsa.wallet'), ecdsa.wallet(), current_setting('application_name')")
                assert r.rows == [(wallet.lower, wallet.lower, "ecdsa-proxy:" + wallet.address)]


def test_after_an_online_restart_nobody_inherits_an_identity(door):
    """The next process tells its servers nothing: those that were told are not for others."""
    p = door(ecdsa_identity_setting="app.wallet", default_pool_size=1)
    with p.login(ALICE.address, "other", ALICE.password()) as c:
        pid = c.pid()
        assert c.value("SHOW app.wallet") == ALICE.lower
        p.restart()
        assert c.pid() == pid and c.value("SHOW app.wallet") == ALICE.lower
        p.restart(ecdsa_identity_setting="")
    with p.login(BOB.address, "other", BOB.password()) as c:
        assert c.value("SELECT current_setting('app.wallet', true)") in (None, "")
        assert c.pid() != pid


# --- what clients of one pool share ------------------------------------------------

def test_row_27_statements_belong_to_who_prepared_them(door):
    """Two wallets, one role, one server: what one has prepared is nothing to the other, under its own name and under
    the one that the pooler gives it."""
    p = door(key=None, ecdsa_identity_setting="ecdsa.wallet", entry=dict(pool_size=1), max_prepared_statements=10)
    own = "SELECT current_setting('ecdsa.wallet', true)"

    def ask(c, name):
        c.send(wire.bind(name), wire.execute(), wire.SYNC)
        return c.until_ready()
    with enter(p, ALICE) as a, enter(p, BOB) as b:
        a.send(wire.parse("SELECT 'for Alice'", "mine"), wire.parse(own, "who"), wire.SYNC)
        assert a.until_ready().types == "11Z"
        assert ask(a, "mine").rows == [("for Alice",)]
        for name in ("mine", "who", "PGBOUNCER_1", "PGBOUNCER_2"):
            for first in (wire.bind(name), wire.describe("S", name)):
                with enter(p, BOB) as c:
                    c.send(first, wire.execute(), wire.SYNC)
                    c.expect_error()
            # Nor can he close it.
            b.send(wire.close("S", name), wire.SYNC)
            assert b.until_ready().types == "3Z"
        assert ask(a, "mine").rows == [("for Alice",)]
        # The text is shared, who asks is not.
        b.send(wire.parse(own, "who"), wire.parse("SELECT 'for Bob'", "mine"), wire.SYNC)
        assert b.until_ready().types == "11Z"
        for _ in range(3):
            for c, wallet, said in ((a, ALICE, "for Alice"), (b, BOB, "for Bob")):
                assert ask(c, "who").rows == [(wallet.lower,)] and ask(c, "mine").rows == [(said,)]
        assert a.pid() == b.pid()


def test_row_27_parameters_belong_to_who_set_them(door):
    p = door(entry=dict(pool_size=1))
    told = "SELECT current_setting('DateStyle'), current_setting('TimeZone'), current_setting('client_encoding')"
    with p.login(ALICE.address, "db", ALICE.password(), DateStyle="German", TimeZone="Asia/Tokyo") as a, \
            enter(p, BOB) as b:
        theirs = b.query(told).rows
        mine = [("German, DMY", "Asia/Tokyo", theirs[0][2])]
        assert theirs != mine
        for _ in range(3):
            assert a.query(told).rows == mine and b.query(told).rows == theirs
        a.query("SET TimeZone = 'Europe/Rome'")
        assert b.query(told).rows == theirs
        assert a.query(told).rows == [("German, DMY", "Europe/Rome", theirs[0][2])]
        assert a.pid() == b.pid()


def test_row_27_a_text_that_two_roles_prepare_answers_each_as_himself(pooler, pg):
    """One text and one name; the servers are each role's own, and so are the rows."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": "", "svc": "svc_pw"}, auth_type="trust",
               pool_mode="transaction", default_pool_size=1, max_prepared_statements=10)
    with p.login("u_trust") as a, p.login("svc") as b:
        for c in (a, b):
            c.send(wire.parse("SELECT current_user", "who"), wire.SYNC)
            assert c.until_ready().types == "1Z"
        for _ in range(3):
            for c, role in ((a, "u_trust"), (b, "svc")):
                c.send(wire.bind("who"), wire.execute(), wire.SYNC)
                assert c.until_ready().rows == [(role,)]
        assert a.pid() != b.pid()
