"""Formats bound, siwe and typed over a real socket: ecdsa-login.md 14 to 16, and HBA options. Attack rows 36 to 38."""
import glob
import json
import os
import time

import pytest
from harness import env
from harness.wallet import ALICE, BOB, CAROL, rfc3339
from harness.wire import PgError

pytestmark = pytest.mark.ours

ALL = "timestamp, bound, siwe, typed"
MAKERS = {"bound": lambda w, **how: w.bound(**how), "typed": lambda w, **how: w.typed(**how),
          "siwe": lambda w, **how: w.siwe(**how)}


def now():
    return int(time.time())


@pytest.fixture
def door(pooler, pg):
    def make(**settings):
        base = dict(databases={"db": pg.entry(user="svc", password="svc_pw"),
                               "db2": pg.entry("db2", user="svc", password="svc_pw")},
                    auth_type="ecdsa", ecdsa_allowed_addresses="%s, %s" % (ALICE.address, BOB.lower),
                    ecdsa_formats=ALL, ecdsa_server_names="pooler, other.example:6432",
                    ecdsa_siwe_domains="app.example.org", pool_mode="transaction", ecdsa_limit_burst=0,
                    server_tls_sslmode="disable")
        return pooler(**{**base, **settings})
    return make


def refused(p, secret, reason, user=ALICE.address, database="db"):
    p.mark()
    with pytest.raises(PgError) as e:
        p.login(user, database, secret)
    assert (e.value.severity, e.value.code) == ("FATAL", "28P01")
    assert e.value.text == 'password authentication failed for user "%s"' % user
    line = p.wait_log("login failed: method=ecdsa reason=.*$")[0]
    assert "reason=%s " % reason in line, line
    return line


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_each_format_logs_in(door, make):
    p = door()
    for user in (ALICE.address, ALICE.lower):
        with p.login(user, secret=make(ALICE)) as c:
            assert c.value("SELECT current_user") == "svc"
    p.wait_log(r"login: method=ecdsa result=ok .* format=(bound|siwe|typed) age=\d+s expires_in=\d+s", 2)
    counts = {(r["counter"], r["kind"]): int(r["value"]) for r in p.show("STATS_ECDSA")}
    assert sum(counts["logins", f] for f in ("bound", "siwe", "typed")) == 2


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_format_that_is_not_listed_is_refused(door, make):
    p = door(ecdsa_formats="timestamp")
    refused(p, make(ALICE), "format_disabled")
    p.login(ALICE.address, secret=ALICE.password()).close()


@pytest.mark.parametrize("make", [MAKERS["bound"], MAKERS["typed"]], ids=["bound", "typed"])
def test_what_a_bound_proof_names_must_be_so(door, make):
    p = door()
    refused(p, make(ALICE, server="elsewhere"), "wrong_server")
    refused(p, make(ALICE, server="POOLER"), "wrong_server")
    refused(p, make(ALICE, database="db2"), "wrong_database")
    refused(p, make(ALICE, wallet=BOB), "wallet_differs")
    refused(p, make(BOB, wallet=ALICE), "wrong_signer")
    refused(p, make(ALICE, role="postgres"), "wrong_role")
    refused(p, make(ALICE, issued=now() + 100), "from_future")
    refused(p, make(ALICE, issued=now() - 700), "expired")
    refused(p, make(ALICE, life=90000), "lifetime_too_long")
    refused(p, make(ALICE, nonce="short"), "message_malformed")
    for good in (make(ALICE, server="other.example:6432"), make(ALICE, database="*"), make(ALICE, role="svc"),
                 make(ALICE, issued=now() + 30)):
        p.login(ALICE.address, secret=good).close()


def test_row_36_a_proof_is_for_the_database_it_names(door):
    """Row 36: the same proof at another database, and at a pooler of another name."""
    p, other = door(), door(ecdsa_server_names="another")
    secret = ALICE.bound(database="db")
    p.login(ALICE.address, "db", secret).close()
    refused(p, secret, "wrong_database", database="db2")
    refused(other, secret, "wrong_server")
    siwe = ALICE.siwe()
    p.login(ALICE.address, "db", siwe).close()
    refused(p, siwe, "wrong_database", database="db2")
    refused(other, siwe, "wrong_database")


def test_row_37_a_number_that_was_signed_elsewhere_opens_nothing(door):
    """Row 37: who enables only formats that name their purpose does not fear a signed timestamp."""
    p = door(ecdsa_formats="bound, siwe")
    refused(p, ALICE.password(), "format_disabled")
    # Nor does the text of another service that has lines of its own.
    text = ALICE.bound_text().replace("PostgreSQL sign-in v1", "Sign in to the forum")
    refused(p, ALICE.message("bound", text), "message_malformed")
    # And the page that asks is shown to whoever signs.
    refused(p, ALICE.siwe(domain="evil.example"), "wrong_domain")


def test_what_a_siwe_proof_names_must_be_so(door):
    p = door(ecdsa_chain_ids="1, 8453")
    refused(p, ALICE.siwe(domain="app.example.org:444"), "wrong_domain")
    refused(p, ALICE.siwe(chain=137), "wrong_chain")
    refused(p, ALICE.siwe(resources=()), "wrong_database")
    refused(p, ALICE.siwe(resources=["postgresql://pooler/db2"]), "wrong_database")
    refused(p, ALICE.siwe(resources=["postgresql://elsewhere/db"]), "wrong_database")
    refused(p, ALICE.siwe(resources=["postgresql://pooler/db?role=postgres"]), "wrong_role")
    refused(p, ALICE.siwe(wallet=BOB), "wallet_differs")
    refused(p, ALICE.siwe(issued=now() - 700), "expired")
    refused(p, ALICE.siwe(issued=now() - 400, life=None), "expired")
    refused(p, ALICE.siwe(not_before=now() + 100), "not_yet_valid")
    refused(p, ALICE.message("siwe", ALICE.siwe_text().replace("Version: 1", "Version: 2")), "message_malformed")
    refused(p, ALICE.siwe()[:-2] + "00:1b", "signature_length")
    for good in (ALICE.siwe(statement="I want to see the data."), ALICE.siwe(life=None), ALICE.siwe(chain=8453),
                 ALICE.siwe(uri="postgres://pooler/*", resources=()),
                 ALICE.siwe(resources=["https://x/", "postgresql://POOLER/db?role=svc"])):
        p.login(ALICE.address, secret=good).close()


def test_a_request_id_is_in_the_audit_line(door):
    p = door()
    p.login(ALICE.address, secret=ALICE.siwe(request_id="ticket-7'x")).close()
    assert r"request_id=ticket-7\x27x " in p.wait_log("login: method=ecdsa .*$")[0]


def test_siwe_without_a_database_where_that_is_allowed(door):
    p = door(ecdsa_siwe_require_database=0)
    p.login(ALICE.address, secret=ALICE.siwe(resources=())).close()
    refused(p, ALICE.siwe(resources=["postgresql://pooler/db2"]), "wrong_database")
    p = door(ecdsa_siwe_schemes="https")
    refused(p, ALICE.siwe(), "wrong_domain")
    p.login(ALICE.address, secret=ALICE.siwe(domain="https://app.example.org")).close()


def test_row_38_spellings_of_the_message(door):
    """Row 38: either alphabet and right padding, and nothing else around it."""
    p = door()
    text = ALICE.bound_text(database="*")
    while len(text.encode()) % 3 != 1:
        text += "x"
    import base64
    signature = ALICE.sign(text)
    plain, url = base64.b64encode(text.encode()).decode(), base64.urlsafe_b64encode(text.encode()).decode()
    for good in (plain, url, plain.rstrip("="), url.rstrip("=")):
        p.login(ALICE.address, secret="bound:%s:%s" % (good, signature)).close()
    for bad in (plain[:-1], plain + "=", plain + "\n", " " + plain, plain.rstrip("=")[:-1] + "B=="):
        refused(p, "bound:%s:%s" % (bad, signature), "message_encoding")
    refused(p, "bound:%s:%s:" % (plain, signature), "signature_length")
    refused(p, "Bound:%s:%s" % (plain, signature), "format_unknown")
    refused(p, "siwe:%s:%s" % (plain, signature), "message_malformed")
    refused(p, "typed:%s:%s" % (plain, signature), "wrong_signer")


def test_mistakes_are_explained_in_the_log(door):
    p = door()
    text = ALICE.bound_text()
    line = refused(p, ALICE.message("bound", text, ALICE.sign(text + "\n")), "wrong_signer")
    assert "line feed" in line
    typed = ALICE.typed()
    line = refused(p, typed.replace("typed:", "bound:"), "wrong_signer")
    assert "EIP-712" in line


def vectors():
    found = glob.glob(os.path.join(env.TOP, "test", "**", "ecdsa-vectors-formats.json"), recursive=True)
    with open(found[0]) as f:
        return json.load(f)["vectors"]


def test_refused_vectors(door):
    """Whatever is refused at its own time is refused at ours, and the pooler lives."""
    p = door()
    for v in vectors():
        with pytest.raises(PgError):
            p.login(v["address"], "db", v["password"])
    p.login(ALICE.address, secret=ALICE.bound()).close()


# --- lines of the HBA file ----------------------------------------------------

@pytest.fixture
def hba(door):
    def make(rules, ident="", start=True, **settings):
        p = door(auth_type="hba", start=False, **settings)
        p.settings["auth_hba_file"] = os.path.join(p.dir, "hba")
        p.settings["auth_ident_file"] = os.path.join(p.dir, "ident")
        env.write(os.path.join(p.dir, "hba"), rules)
        env.write(os.path.join(p.dir, "ident"), ident)
        p.write()
        if start:
            p.start()
        return p
    return make


def test_a_line_has_formats_window_and_lifetime_of_its_own(hba):
    p = hba("host db all all ecdsa formats=bound,siwe max_lifetime=60\nhost db2 all all ecdsa window=5",
            ecdsa_formats="timestamp, typed")
    refused(p, ALICE.password(), "format_disabled")
    refused(p, ALICE.typed(), "format_disabled")
    refused(p, ALICE.bound(life=61), "lifetime_too_long")
    refused(p, ALICE.siwe(life=61), "lifetime_too_long")
    p.login(ALICE.address, secret=ALICE.bound(life=60)).close()
    p.login(ALICE.address, secret=ALICE.siwe(life=60)).close()
    refused(p, ALICE.bound(database="db2"), "format_disabled", database="db2")
    refused(p, ALICE.password(now() - 30), "expired", database="db2")
    p.login(ALICE.address, "db2", ALICE.typed(database="db2")).close()
    p.login(ALICE.address, "db2", ALICE.password()).close()


def test_in_role_login_the_message_names_wallet_and_role(hba, pg):
    p = hba("host all all all ecdsa map=people",
            "people %s svc2\npeople %s svc\n" % (ALICE.address, CAROL.address),
            databases={"db": pg.entry()}, users={"svc": "svc_pw", "svc2": "svc2_pw"})
    for make in MAKERS.values():
        with p.login("svc2", secret=make(ALICE)) as c:
            assert c.value("SELECT current_user") == "svc2"
    with p.login("svc2", secret=ALICE.bound(role="svc2")) as c:
        assert c.value("SELECT current_user") == "svc2"
    # A wallet name may stand for the role that the map gives it.
    with p.login(ALICE.address, secret=ALICE.bound(role="svc2")) as c:
        assert c.value("SELECT current_user") == "svc2"
    refused(p, ALICE.bound(role="svc"), "wrong_role", user="svc2")
    refused(p, ALICE.siwe(resources=["postgresql://pooler/db?role=svc"]), "wrong_role", user="svc2")
    refused(p, CAROL.bound(), "no_mapping", user="svc2")
    refused(p, BOB.bound(wallet=ALICE), "wallet_differs", user="svc2")
    with p.login("svc", secret=CAROL.siwe(resources=["postgresql://pooler/db?role=svc"])) as c:
        assert c.value("SELECT current_user") == "svc"


@pytest.mark.parametrize("name", ["ANALYST", "analyst ", " analyst", "analyst,svc", "analyst svc", "all", "*", ".*", "%", "%%s",
                                  'analyst"', "analyst'; DROP TABLE x; --", "analyst\n", "analyst\\", "anal", "analystx",
                                  "$1", "/analyst", "@analyst", "+analyst", "", "ALL", "sameuser"])
def test_row_40_a_map_lets_in_the_very_name_and_no_other(hba, pg, name):
    """Row 40: neither a pattern nor an injection; what is no name of a line is nobody's."""
    p = hba("host all all all ecdsa map=people", "people %s analyst\n" % ALICE.address,
            databases={"db": pg.entry()}, users={"analyst": "x"})
    with pytest.raises(PgError) as e:
        p.login(name, "db", ALICE.password())
    assert e.value.code in ("28P01", "08P01")
    assert not p.logged("result=ok")


def test_row_40_all_in_a_map_is_a_word_and_quoted_a_name(hba, pg):
    p = hba("host all all all ecdsa map=people", 'people %s all\npeople %s "all"\n' % (ALICE.address, BOB.address),
            databases={"db": pg.entry()}, users={"svc": "svc_pw", "svc2": "svc2_pw"})
    for role in ("svc", "svc2"):
        with p.login(role, "db", ALICE.password()) as c:
            assert c.value("SELECT current_user") == role
    refused(p, BOB.password(), "no_mapping", user="svc")


@pytest.mark.parametrize("rules, settings, text", [
    ("host all all all ecdsa formats=bound", dict(ecdsa_server_names=""), "hba line 1: format bound lets nobody in"),
    ("host all all all ecdsa formats=siwe", dict(ecdsa_siwe_domains=""), "hba line 1: format siwe lets nobody in"),
    ("host all all all ecdsa formats=", {}, "must name at least one format"),
    ("host all all all ecdsa formats=jwt", {}, "unknown format jwt"),
])
def test_a_line_that_cannot_work_refuses_the_load(hba, rules, settings, text):
    p = hba(rules, start=False, ecdsa_formats="timestamp", **settings)
    p.spawn()
    p.wait_exit(1)
    assert text in p.log()


def test_a_proof_of_the_console_names_the_console(door):
    p = door(admin_users="admin, " + ALICE.lower)
    with p.login(ALICE.address, "pgbouncer", ALICE.bound(database="pgbouncer")) as c:
        assert c.query("SHOW VERSION").rows
    with p.login(ALICE.address, "pgbouncer", ALICE.siwe(resources=["postgresql://pooler/pgbouncer"])) as c:
        assert c.query("SHOW VERSION").rows
    refused(p, ALICE.bound(database="db"), "wrong_database", database="pgbouncer")
    refused(p, ALICE.bound(database="pgbouncer", role="svc"), "wrong_role", database="pgbouncer")


def test_dates_of_other_zones(door):
    p = door()
    t = now()
    text = ALICE.siwe_text(issued=t)
    shifted = time.strftime("%Y-%m-%dT%H:%M:%S+02:00", time.gmtime(t + 7200))
    p.login(ALICE.address, secret=ALICE.message("siwe", text.replace(rfc3339(t), shifted))).close()
    refused(p, ALICE.message("siwe", text.replace(rfc3339(t), rfc3339(t)[:10])), "message_malformed")
