"""ecdsa_auth_query: a database says which wallets may enter, and as whom. ecdsa-login.md 19. Attack rows 10, 11, 40."""
import os
import threading

import pytest
from harness import env, wire
from harness.fakeserver import data_row, error, ready, row_description, tag
from harness.wallet import ALICE, BOB, CAROL, Wallet
from harness.wire import PgError

pytestmark = pytest.mark.ours

DAVE, ERIN = Wallet(41), Wallet(42)
QUERY = "SELECT role, password FROM public.wallet_role($1, $2)"


@pytest.fixture(scope="session")
def wallets(pg):
    """Alice is svc, Bob svc2 in db alone, Carol has no role, Dave two of them; what was asked is written down."""
    pg.sql("CREATE ROLE asker LOGIN PASSWORD 'asker_pw'",
           "CREATE ROLE wr_named LOGIN PASSWORD 'wr_pw'")
    for db in ("db", "db2"):
        pg.sql("CREATE TABLE wallets (address text, role name, databases text[], password text)",
               "INSERT INTO wallets VALUES ('%s', 'svc', NULL, 'svc_pw'), ('%s', 'svc2', '{db}', 'svc2_pw'),"
               " ('%s', NULL, NULL, NULL), ('%s', 'svc', NULL, 'svc_pw'), ('%s', 'svc2', NULL, 'svc2_pw')"
               % (ALICE.lower, BOB.lower, CAROL.lower, DAVE.lower, DAVE.lower),
               "CREATE TABLE asked (wallet text, database text, name text, path text, app text)",
               "CREATE FUNCTION public.wallet_role(w text, d text, OUT role text, OUT password text) RETURNS SETOF record"
               " LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS"
               " 'SELECT role::text, password FROM public.wallets WHERE address = $1"
               "  AND (databases IS NULL OR $2 = ANY (databases))'",
               "CREATE FUNCTION public.note(w text, d text, u text, OUT role text) LANGUAGE plpgsql SECURITY DEFINER AS"
               " $$BEGIN INSERT INTO public.asked VALUES (w, d, u, pg_catalog.current_setting('search_path'),"
               " pg_catalog.current_setting('application_name')); role := 'svc'; END$$", db=db)
    return pg


@pytest.fixture
def door(pooler, wallets):
    def make(entry=None, databases=None, **settings):
        pg = wallets
        base = dict(databases={"db": pg.entry(**(entry or {})), "db2": pg.entry("db2"), **(databases or {})},
                    users={"asker": "asker_pw", **settings.pop("users", {})}, auth_type="ecdsa", auth_user="asker",
                    ecdsa_auth_query=QUERY, ecdsa_limit_burst=0, pool_mode="transaction",
                    server_tls_sslmode="disable")
        return pooler(**{**base, **settings})
    return make


def refused(p, wallet, secret=None, database="db", code="28P01", user=None):
    with pytest.raises(PgError) as e:
        p.login(user or wallet.address, database, secret or wallet.password())
    assert e.value.code == code, e.value
    return e.value


def role_of(p, wallet, database="db"):
    with p.login(wallet.address, database, wallet.password()) as c:
        return c.value("SELECT current_user")


def asked(pg):
    return pg.sql("SELECT wallet, database, name, path, app FROM asked", db="db")


# --- answers --------------------------------------------------------------------

def test_the_row_gives_role_and_password(door):
    """Nothing but asker is in auth_file: the servers' passwords come from the query."""
    p = door()
    assert role_of(p, ALICE) == "svc"
    assert role_of(p, BOB) == "svc2"
    assert role_of(p, DAVE) == "svc", "of several rows the first"
    assert {(r["database"], r["user"]) for r in p.show("POOLS") if r["database"] != "pgbouncer"} == {
        ("db", "asker"), ("db", "svc"), ("db", "svc2")}
    p.wait_log("login: method=ecdsa result=ok .*role=svc2 ")


def test_row_40_a_wallet_is_let_into_its_databases_alone(door):
    p = door()
    assert role_of(p, BOB) == "svc2"
    refused(p, BOB, database="db2")
    assert role_of(p, ALICE, "db2") == "svc"
    assert p.wait_log("login failed: method=ecdsa reason=not_allowed ")


def test_no_row_and_no_role_are_refused_alike(door):
    p = door(ecdsa_user="svc", users={"svc": "svc_pw"})
    for w in (CAROL, ERIN):
        assert refused(p, w).text == 'password authentication failed for user "%s"' % w.address
    p.wait_log("login failed: method=ecdsa reason=not_allowed ", 2)
    assert role_of(p, BOB) == "svc2"


def test_the_forced_user_comes_first_and_the_list_counts_too(door, wallets):
    p = door(entry=dict(user="svc2", password="svc2_pw"))
    assert role_of(p, ALICE) == "svc2"
    refused(p, ERIN)
    p = door(ecdsa_allowed_addresses="%s, %s, %s" % (ERIN.address, CAROL.address, BOB.address), ecdsa_user="svc2",
             users={"svc2": "svc2_pw"})
    assert role_of(p, ALICE) == "svc"
    assert role_of(p, ERIN) == "svc2", "the list knows her, and no row names a role"
    assert role_of(p, BOB) == "svc2"
    refused(p, CAROL)  # a row that says NULL means no, whoever else knows him


def test_a_map_decides_before_the_query(door, wallets):
    p = door(start=False, auth_type="hba", users={"svc2": "svc2_pw"})
    p.settings["auth_hba_file"] = os.path.join(p.dir, "hba")
    p.settings["auth_ident_file"] = os.path.join(p.dir, "ident")
    env.write(p.settings["auth_hba_file"], "host db all all ecdsa map=m\nhost db2 all all ecdsa\n")
    env.write(p.settings["auth_ident_file"], "m %s svc2\nm %s all\n" % (ALICE.address, DAVE.address))
    p.write()
    p.start()
    assert role_of(p, ALICE) == "svc2"
    assert role_of(p, DAVE) == "svc", "all names no role, so the row does"
    refused(p, BOB)
    assert p.wait_log("reason=no_mapping ")
    assert role_of(p, ALICE, "db2") == "svc"
    # In role login the map alone knows whose a role is.
    with p.login("svc2", "db", ALICE.password()) as c:
        assert c.value("SELECT current_user") == "svc2"
    refused(p, BOB, user="svc2")
    refused(p, ALICE, user="svc", database="db2")
    assert p.wait_log("reason=address_malformed ")


def test_a_proof_names_the_role_of_the_row(door):
    p = door(ecdsa_formats="bound", ecdsa_server_names="pooler")
    p.login(ALICE.address, "db", ALICE.bound(role="svc")).close()
    refused(p, ALICE, ALICE.bound(role="svc2"))
    p.wait_log("reason=wrong_role ")


def test_a_query_of_the_database_and_parameters(door, wallets):
    wallets.sql("TRUNCATE asked", db="db")
    p = door(entry=dict(ecdsa_auth_query="SELECT public.note($1, $2, $3)"), users={"svc": "svc_pw"},
             ecdsa_auth_query="SELECT NULL::text", ignore_startup_parameters="search_path")
    with p.login(ALICE.address, "db", ALICE.password(), application_name="mine", search_path="evil") as c:
        assert c.value("SELECT current_user") == "svc"
        refused(p, ALICE, database="db2")
    # In lower case, and as it was sent; nothing that the client wished is in force, and the path is fixed.
    [(wallet, database, name, path, app)] = asked(wallets)
    assert (wallet, database, name) == (ALICE.lower, "db", ALICE.address)
    assert path == "pg_catalog, pg_temp" and app == ""


def test_row_11_a_path_that_another_client_left_is_not_used(door, wallets):
    """The role that asks has clients of its own, who set what they like."""
    wallets.sql("DROP SCHEMA IF EXISTS evil CASCADE", "CREATE SCHEMA evil AUTHORIZATION asker",
                "CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS 'SELECT ''svc''::text'",
                "GRANT USAGE ON SCHEMA evil TO PUBLIC", db="db")
    p = door(users={"svc": "svc_pw"}, ecdsa_auth_query="SELECT lower('NOBODY') WHERE $1 <> ''",
             ecdsa_allowed_addresses=ERIN.lower, entry=dict(pool_size=1), databases={"trap": wallets.entry(user="asker",
             password="asker_pw", pool_size=1)}, auth_dbname="trap")
    with p.login(ERIN.address, "trap", ERIN.password()) as c:
        assert c.query("SET search_path = evil, pg_catalog").tags == ["SET"]
        assert c.value("SELECT lower('X')") == "svc"
        with pytest.raises(PgError) as e:
            p.login(ALICE.address, "db", ALICE.password()).query("SELECT 1")
        assert "nobody" in str(e.value)
        # It was for that transaction alone, on the same server.
        assert c.value("SHOW search_path") == "evil, pg_catalog"


def test_strangers_cost_the_database_nothing(door, wallets):
    wallets.sql("TRUNCATE asked", db="db")
    p = door(ecdsa_auth_query="SELECT public.note($1, $2, $3)", users={"svc": "svc_pw"})
    refused(p, ALICE, BOB.password())
    refused(p, ALICE, "nonsense")
    assert asked(wallets) == []
    assert [r for r in p.show("POOLS") if r["database"] == "db"] == []
    assert role_of(p, ERIN) == "svc"
    assert len(asked(wallets)) == 1


# --- failures -------------------------------------------------------------------

def unavailable(p, wallet=ALICE):
    e = refused(p, wallet, code="57P03")
    assert (e.severity, e.text) == ("FATAL", "login service unavailable, retry later")
    return p.wait_log("login failed: method=ecdsa reason=lookup_failed .*$")[-1]


@pytest.mark.parametrize("sql, hint", [
    ("SELECT 1/0", "error response from ecdsa_auth_query"), ("nonsense", "error response from ecdsa_auth_query"),
    ("SELECT 'a', 'b', 'c'", "expected 1 or 2 columns from ecdsa_auth_query, not 3"),
    ("SELECT repeat('r', 64)", "too long role name"), ("BEGIN", ""),
    ("SELECT role FROM wallets WHERE address = $1", "error response from ecdsa_auth_query"),
], ids=["division", "syntax", "columns", "long-role", "no-rows-at-all", "unqualified"])
def test_a_query_that_fails_lets_nobody_in(door, sql, hint):
    p = door(ecdsa_auth_query=sql, ecdsa_limit_burst=2)
    for _ in range(5):
        assert hint in unavailable(p)
    # It is our failure, so nobody is closed off for it.
    assert p.show("ECDSA_LIMITS") == []
    counts = {(r["counter"], r["kind"]): int(r["value"]) for r in p.show("STATS_ECDSA")}
    assert counts["refusals", "lookup_failed"] == 5


def test_it_fails_for_who_is_on_the_list_too(door):
    """His role is the query's to say."""
    p = door(ecdsa_auth_query="SELECT 1/0", ecdsa_allowed_addresses=ALICE.address, ecdsa_user="svc")
    unavailable(p)


@pytest.mark.parametrize("settings, log", [
    (dict(auth_dbname="nowhere"), 'authentication database "nowhere" is not configured'),
    (dict(users={"asker": "wrong"}), "authentication failed"),
], ids=["no-database", "wrong-password"])
def test_nobody_to_ask(door, settings, log):
    p = door(**settings)
    unavailable(p)
    p.wait_log(log)


def test_a_database_that_is_down(door, fake):
    def script(peer):
        peer.read_startup()
        peer.send(error("out of order", "XX000", "FATAL"))
    p = door(databases={"auth": fake(script).entry()}, auth_dbname="auth")
    unavailable(p)


@pytest.mark.parametrize("answer", [
    [row_description("role"), data_row("svc"), tag("SELECT 1"), ready("T")],
    [row_description("role"), data_row("svc", "x"), tag("SELECT 1"), ready()],
    [row_description("role"), data_row(b"sv\0c"), tag("SELECT 1"), ready()],
    [data_row("svc"), tag("SELECT 1"), ready()],
    [wire.msg(b"D", b"\xff\xff"), tag("SELECT 1"), ready()],
    [ready()],
], ids=["in-transaction", "more-values", "nul", "no-description", "broken-row", "nothing"])
def test_a_server_that_answers_nonsense(door, fake, answer):
    def script(peer):
        peer.read_startup()
        peer.welcome()
        peer.recv_type(b"S")
        peer.send(wire.msg(b"1"), wire.msg(b"2"), data_row("pg_catalog, pg_temp"), tag("SELECT 1"), wire.msg(b"1"),
                  wire.msg(b"2"), *answer)
        peer.wait_gone()
    p = door(databases={"auth": fake(script).entry()}, auth_dbname="auth")
    unavailable(p)


def test_a_slow_answer_holds_up_nobody_else(door, wallets):
    p = door(ecdsa_auth_query="SELECT 'svc' FROM pg_sleep(CASE WHEN $1 = '%s' THEN 30 ELSE 0 END)" % ERIN.lower,
             users={"svc": "svc_pw"}, query_timeout=0)
    with p.wire() as slow:
        slow.send(wire.startup(ERIN.address, "db"))
        slow.expect(b"R")
        slow.send(wire.password(ERIN.password()))
        p.wait_pool(user="asker", sv_active=1)
        for w in (ALICE, BOB):
            assert role_of(p, w) == "svc"
        # He waits in the queue like others, and is shown as one who logs in.
        assert [r for r in p.show("CLIENTS") if r["user"] == ERIN.address]
        # Whoever is looked for while he waits is found.
        assert p.console_result("KILL_WALLET " + ERIN.address).tags == ["KILL_WALLET"]
        assert slow.expect_error().text == "admin forced disconnect"
    # And who goes away meanwhile leaves nothing behind.
    slow = p.wire()
    slow.send(wire.startup(ERIN.address, "db"))
    slow.expect(b"R")
    slow.send(wire.password(ERIN.password()))
    p.wait_pool(user="asker", sv_active=1)
    slow.close()
    p.wait_pool(user="asker", sv_active=0)
    assert role_of(p, ALICE) == "svc"


def test_bytes_behind_the_proof_wait_for_the_answer(door):
    p = door()
    with p.wire() as c:
        c.send(wire.startup(ALICE.address, "db"))
        c.expect(b"R")
        c.send(wire.password(ALICE.password()) + wire.query("SELECT 'pipelined'"))
        c.authenticate(ALICE.address, None)
        c.welcome()
        assert c.until_ready().value() == "pipelined"


def test_many_at_once(door):
    p = door(default_pool_size=3)
    faults = []

    def work(w, role):
        try:
            for _ in range(8):
                assert role_of(p, w) == role
        except BaseException as e:
            faults.append(e)
    threads = [threading.Thread(target=work, args=a) for a in [(ALICE, "svc"), (BOB, "svc2"), (DAVE, "svc")] * 3]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults, faults[0]


# --- kept answers -----------------------------------------------------------------

@pytest.mark.parametrize("forget", ["RELOAD", "RECONNECT", "RECONNECT db2", "KILL_WALLET " + ALICE.address])
def test_answers_are_kept_until_somebody_says_otherwise(door, wallets, forget):
    wallets.sql("TRUNCATE asked", db="db")
    p = door(entry=dict(ecdsa_auth_query="SELECT public.note($1, $2, $3)"), users={"svc": "svc_pw"},
             ecdsa_auth_query_ttl=3600)
    # One Worker keeps them for itself; as many questions as there are Workers are the most.
    for _ in range(12):
        assert role_of(p, ALICE) == "svc"
    before = len(asked(wallets))
    assert 1 <= before <= p.workers
    assert role_of(p, BOB) == "svc"
    after_bob = len(asked(wallets))
    assert after_bob == before + 1
    # What was asked for one name is no answer for another.
    p.login(ALICE.lower, "db", ALICE.password()).close()
    assert len(asked(wallets)) == after_bob + 1
    p.admin(forget)
    count = len(asked(wallets))
    assert role_of(p, ALICE) == "svc"
    assert len(asked(wallets)) == count + 1


def test_an_answer_is_kept_for_its_time(door, wallets):
    wallets.sql("TRUNCATE asked", db="db")
    p = door(ecdsa_auth_query="SELECT public.note($1, $2, $3)", users={"svc": "svc_pw"}, ecdsa_auth_query_ttl=1)
    if p.workers > 1:
        p.reload(ecdsa_auth_query_ttl=0)
    assert role_of(p, ALICE) == "svc"
    env.wait_for(lambda: role_of(p, ALICE) == "svc" and len(asked(wallets)) > 1, "another question", pause=0.2)


def test_refusals_are_not_kept(door, wallets):
    p = door(ecdsa_auth_query_ttl=3600)
    refused(p, ERIN)
    wallets.sql("INSERT INTO wallets VALUES ('%s', 'svc', NULL, 'svc_pw')" % ERIN.lower, db="db")
    try:
        assert role_of(p, ERIN) == "svc"
        wallets.sql("DELETE FROM wallets WHERE address = '%s'" % ERIN.lower, db="db")
        p.admin("RECONNECT")
        refused(p, ERIN)
    finally:
        wallets.sql("DELETE FROM wallets WHERE address = '%s'" % ERIN.lower, db="db")


# --- sessions, the console, auth_query ---------------------------------------------

def test_reload_does_not_end_who_was_let_in_by_a_query(door):
    p = door(ecdsa_allowed_addresses=ERIN.address, ecdsa_user="svc", users={"svc": "svc_pw"})
    with p.login(ALICE.address, "db", ALICE.password()) as queried, p.login(ERIN.address, "db", ERIN.password()) as listed:
        p.reload(ecdsa_allowed_addresses="")
        assert listed.expect_error().text == "admin forced disconnect"
        assert queried.value("SELECT current_user") == "svc"
        # Once nobody is asked any more, nobody answers for it.
        p.reload(ecdsa_allowed_addresses=BOB.address, auth_user="", ecdsa_auth_query="")
        assert queried.expect_error().text == "admin forced disconnect"


def test_the_console(door):
    p = door(admin_users="admin, " + ALICE.lower, stats_users=BOB.address, auth_dbname="db")
    with p.login(ALICE.address, "pgbouncer", ALICE.password()) as c:
        assert c.query("RELOAD").tags == ["RELOAD"]
    refused(p, BOB, database="pgbouncer")  # his row is for db alone
    refused(p, ERIN, database="pgbouncer")
    with pytest.raises(PgError) as e:
        p.login(DAVE.address, "pgbouncer", DAVE.password())
    assert e.value.text == "not allowed"


def test_auth_query_where_there_is_no_other(door, wallets):
    """A role of the wallet's name is enough; where it cannot log in, it is none."""
    wallets.sql('DROP ROLE IF EXISTS "%s"' % ALICE.lower, 'CREATE ROLE "%s" LOGIN PASSWORD \'x\'' % ALICE.lower,
                'DROP ROLE IF EXISTS "%s"' % BOB.lower, 'CREATE ROLE "%s"' % BOB.lower)
    try:
        p = door(ecdsa_auth_query="", auth_user="postgres", entry=dict(user="svc", password="svc_pw"))
        assert role_of(p, ALICE) == "svc"
        refused(p, BOB)
        refused(p, ERIN)
    finally:
        wallets.sql('DROP ROLE "%s"' % ALICE.lower, 'DROP ROLE "%s"' % BOB.lower)


@pytest.mark.parametrize("settings, text", [
    (dict(auth_user=None), "ecdsa_auth_query is asked by nobody"),
    (dict(auth_user=None, ecdsa_auth_query=""), "auth_type=ecdsa lets nobody in"),
])
def test_a_configuration_that_asks_nobody_is_refused(door, settings, text):
    p = door(start=False, **settings)
    p.users = {"admin": "x"}
    p.write()
    p.spawn()
    p.wait_exit(1)
    assert text in p.log()


def test_an_online_restart_keeps_role_and_password(door, wallets):
    """The pool opens servers by the password of the query, though nobody has asked it in this process."""
    p = door(ecdsa_revoke_on_reload=1)
    with p.login(BOB.address, "db", BOB.password()) as c:
        pid = c.pid()
        p.restart()
        assert c.value("SELECT current_user") == "svc2"
        wallets.sql("SELECT pg_terminate_backend(%s)" % pid)
        env.wait_for(lambda: all(r["sv_idle"] == "0" for r in p.show("POOLS") if r["user"] == "svc2"),
                     "the server to be missed")
        assert c.value("SELECT current_user") == "svc2" and c.pid() != pid
        p.reload()
        assert c.value("SELECT current_user") == "svc2"
    with p.login(BOB.address, "db", BOB.password()) as c:
        p.restart(ecdsa_auth_query="", auth_user="", ecdsa_allowed_addresses=ALICE.address)
        assert c.expect_error().text == "admin forced disconnect"
