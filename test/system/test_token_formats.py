"""pg-ecdsa-token in every format: what it makes is accepted, what it says of what it is given."""
import base64
import re
import subprocess
import time

import psycopg
import pytest
from harness import env
from harness.wallet import ALICE, BOB, personal_hash
from harness.wire import PgError
from test_token import KEY, NOW, USER, run

pytestmark = pytest.mark.ours

FORMATS = {
    "timestamp": [],
    "bound": ["--format", "bound", "--server", "pooler", "--database", "db"],
    "typed": ["--format", "typed", "--server", "pooler", "--database", "db"],
    "siwe": ["--format", "siwe", "--domain", "app.example.org", "--server", "pooler", "--database", "db"],
}


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "wallet.key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def door(pooler, pg):
    def make(**settings):
        base = dict(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ecdsa",
                    ecdsa_allowed_addresses=ALICE.address, ecdsa_formats="timestamp, bound, siwe, typed",
                    ecdsa_server_names="pooler", ecdsa_siwe_domains="app.example.org", ecdsa_limit_burst=0,
                    server_tls_sslmode="disable")
        return pooler(**{**base, **settings})
    return make


def made(key_file, *args):
    done = run("--key", key_file, *args)
    assert (done.returncode, done.err) == (0, ""), done.err
    return done.out.rstrip("\n")


def text_of(password):
    encoded = password.split(":")[1]
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()


# --- what is made ---------------------------------------------------------------

@pytest.mark.parametrize("args", FORMATS.values(), ids=FORMATS)
def test_the_pooler_takes_it(door, key_file, args):
    p = door()
    p.login(USER, "db", made(key_file, *args)).close()


def test_bound_is_what_the_specification_says(key_file):
    password = made(key_file, "--format", "bound", "--server", "db.example.org", "--database", "appdb", "--role", "analyst",
                    "--at", NOW, "--life", 3600, "--nonce", "k3J9x0QpZ2Lm")
    text = ALICE.bound_text("db.example.org", "appdb", "analyst", NOW, 3600, "k3J9x0QpZ2Lm")
    assert text_of(password) == text
    assert password == ALICE.message("bound", text)


def test_typed_is_what_another_library_signs(key_file):
    how = dict(server="db.example.org", database="caf\u00e9 \"x\"", role="an\\alyst", issued=NOW, life=60, nonce="k3J9x0QpZ2Lm")
    password = made(key_file, "--format", "typed", "--server", how["server"], "--database", how["database"], "--role",
                    how["role"], "--at", NOW, "--life", 60, "--nonce", how["nonce"])
    assert password == ALICE.typed(**how)


def test_siwe_has_all_its_fields(key_file):
    password = made(key_file, *FORMATS["siwe"], "--at", NOW, "--life", 3600, "--nonce", "k3J9x0QpZ2Lm", "--statement",
                    "Let me in.", "--chain", "8453", "--siwe-uri", "https://app.example.org/login", "--request-id", "r-1",
                    "--resource", "https://x/", "--resource", "ipfs://y", "--role", "an alyst&")
    text = ALICE.siwe_text(resources=["postgresql://pooler/db?role=an%20alyst%26", "https://x/", "ipfs://y"], issued=NOW,
                           life=3600, chain=8453, nonce="k3J9x0QpZ2Lm", statement="Let me in.", request_id="r-1")
    assert text_of(password) == text.replace(".000Z", "Z")
    assert text_of(made(key_file, "--format", "siwe", "--domain", "https://app:8")).startswith("https://app:8 wants you")
    plain = text_of(made(key_file, "--format", "siwe", "--domain", "app"))
    assert "URI: https://app/" in plain and "Resources" not in plain


def test_a_nonce_is_new_each_time(key_file):
    texts = {text_of(made(key_file, *FORMATS["bound"], "--at", NOW)) for _ in range(5)}
    assert len(texts) == 5
    assert all(re.search(r"nonce: [A-Za-z0-9]{20}$", t) for t in texts)


@pytest.mark.parametrize("args, word", [
    (["--format", "bound"], "--server is needed"),
    (["--format", "siwe"], "--domain is needed"),
    (["--format", "siwe", "--domain", "a", "--role", "r"], "needs --server"),
    (["--server", "a"], "a timestamp names no server"),
    (["--format", "bound", "--server", "a", "--domain", "b"], "go with --format siwe only"),
    (["--format", "jwt"], "one of timestamp, bound, siwe, typed"),
    (["--life", "0"], "--life wants seconds from 1"),
    (["--window", "5"], "--window goes with --check only"),
    (["--uri"], "--uri needs --host"),
    (["--host", "x"], "--host, --port and --user go with"),
    (["--reuse"], "--reuse goes with --connect only"),
    (["--wallet", USER], "--wallet goes with --signer and --check"),
    (["--passphrase-file", "x"], "goes with --keystore only"),
    (["--connect", "--listen", "/tmp"], "--connect needs --listen SOCKET and --host"),
    (["--connect", "--listen", "127.0.0.1:1", "--host", "h"], "needs --listen-password-file"),
    (["--address", "--role", "x"], "goes with signing and with --check"),
    (["--connect", "--address"], "exclude each other"),
    (["--resource"] * 0 + ["--format", "siwe", "--domain", "a"] + ["--resource", "a:"] * 16, "may be given 15 times"),
])
def test_options_that_make_no_sense(key_file, args, word):
    done = run("--key", key_file, *args)
    assert done.returncode == 2 and word in done.err, done.err
    assert not done.out


@pytest.mark.parametrize("args", [
    ["--format", "bound", "--server", "a b"], ["--format", "bound", "--server", "a", "--database", "x" * 64],
    ["--format", "bound", "--server", "a", "--role", ""], ["--format", "bound", "--server", "a", "--nonce", "short"],
    ["--format", "bound", "--server", "a", "--database", "a\nb"], ["--format", "bound", "--server", "x" * 256],
    ["--format", "siwe", "--domain", "a b"], ["--format", "siwe", "--domain", "a", "--statement", "say \"x\""],
    ["--format", "siwe", "--domain", "a", "--chain", "x"], ["--format", "siwe", "--domain", "a", "--resource", "x y"],
    ["--format", "siwe", "--domain", "a", "--resource", "a:" + "x" * 2000],
])
def test_values_that_cannot_stand_in_a_message(key_file, args):
    done = run("--key", key_file, *args)
    assert done.returncode == 1 and "cannot stand in" in done.err, (done.out, done.err)
    assert not done.out


# --- how it is printed ------------------------------------------------------------

def test_a_password_file_that_libpq_reads(door, key_file, tmp_path):
    p = door()
    line = made(key_file, "--pgpass", "--host", p.host, "--port", p.port, *FORMATS["bound"])
    assert line.startswith("127.0.0.1:%d:db:%s:bound\\:" % (p.port, USER))
    path = tmp_path / "pgpass"
    path.write_text(line + "\n")
    path.chmod(0o600)
    with psycopg.connect(host=p.host, port=p.port, user=USER, dbname="db", passfile=str(path)) as c:
        assert c.execute("SELECT current_user").fetchone() == ("svc",)
    assert made(key_file, "--pgpass", "--user", "analyst").startswith("*:*:*:analyst:")


def test_a_uri_that_libpq_reads(door, key_file):
    p = door()
    for args in FORMATS.values():
        uri = made(key_file, "--uri", "--host", p.host, "--port", p.port, *args)
        assert re.fullmatch(r"postgresql://%s:[A-Za-z0-9%%_-]+@127\.0\.0\.1:%d/(db)?" % (USER, p.port), uri)
        with psycopg.connect(uri, dbname="db") as c:
            assert c.execute("SELECT current_user").fetchone() == ("svc",)


# --- what it says of passwords ------------------------------------------------------

def check(password, *args, user=USER, at=NOW):
    done = run("--check", user, "--at", at, *args, given=password)
    return done.returncode, done.out.split("\n")


@pytest.mark.parametrize("args", [a for n, a in FORMATS.items() if n != "timestamp"],
                         ids=[n for n in FORMATS if n != "timestamp"])
def test_check_says_what_the_message_says(key_file, args):
    password = made(key_file, *args, "--at", NOW, "--life", 600)
    status, lines = check(password)
    assert status == 0 and lines[0] == "ok: the password is a valid proof by this wallet"
    assert "wallet: " + USER in lines and "signer: " + USER in lines
    assert "format: " + args[1] in lines
    assert "age: 0 s, ends in 600 s" in lines
    # Without the pooler's settings bindings are shown, and not judged.
    assert [line for line in lines if line.endswith("(not judged)")]
    expected = ["--server", "other,pooler", "--database", "db"] + (
        ["--domain", "app.example.org"] if args[1] == "siwe" else [])
    status, lines = check(password, *expected)
    assert status == 0
    assert [line for line in lines if "not judged" in line] == (["chain: 1 (not judged)"] if args[1] == "siwe" else [])


@pytest.mark.parametrize("make, args, reason", [
    (lambda: ALICE.bound(issued=NOW, server="a"), ["--server", "b"], "wrong_server"),
    (lambda: ALICE.bound(issued=NOW, database="a"), ["--database", "b"], "wrong_database"),
    (lambda: ALICE.bound(issued=NOW, role="a"), ["--role", "b"], "wrong_role"),
    (lambda: ALICE.bound(issued=NOW - 700), [], "expired"),
    (lambda: ALICE.bound(issued=NOW + 100), [], "from_future"),
    (lambda: ALICE.bound(issued=NOW + 100), ["--skew", "100"], "ok"),
    (lambda: ALICE.bound(issued=NOW, life=601), ["--max-lifetime", "600"], "lifetime_too_long"),
    (lambda: ALICE.bound(issued=NOW, wallet=BOB), [], "wallet_differs"),
    (lambda: BOB.bound(issued=NOW, wallet=ALICE), [], "wrong_signer"),
    (lambda: ALICE.siwe(issued=NOW), ["--domain", "b"], "wrong_domain"),
    (lambda: ALICE.siwe(issued=NOW, chain=5), ["--chain", "1,8453"], "wrong_chain"),
    (lambda: ALICE.siwe(issued=NOW), ["--server", "pooler", "--database", "x"], "wrong_database"),
    (lambda: ALICE.siwe(issued=NOW, resources=["postgresql://pooler/d%20b?role=r"]), ["--role", "r"], "ok"),
    (lambda: ALICE.siwe(issued=NOW, not_before=NOW + 100), [], "not_yet_valid"),
    (lambda: "bound:!!!:00", [], "message_encoding"),
    (lambda: "typed:Zm9v:00", [], "message_malformed"),
    (lambda: "jwt:x", [], "format_unknown"),
])
def test_check_names_reasons(make, args, reason):
    status, lines = check(make(), *args)
    assert lines[0].startswith(reason + ": "), lines
    assert status == (0 if reason == "ok" else 1)


def test_check_of_role_login():
    password = ALICE.bound(issued=NOW, role="analyst")
    assert check(password, "--wallet", USER, user="analyst")[0] == 0
    assert check(password, "--wallet", USER, "--role", "analyst", user="analyst")[0] == 0
    assert check(password, "--wallet", BOB.address, user="analyst")[1][0].startswith("wrong_signer: ")
    assert check(password, user="analyst")[1][0].startswith("address_malformed: ")


def test_check_explains_mistakes():
    text = ALICE.bound_text(issued=NOW)
    _, lines = check(ALICE.message("bound", text, ALICE.sign(text + "\n")))
    assert "likely cause: a line feed after the message was signed too" in lines
    _, lines = check(ALICE.typed(issued=NOW).replace("typed:", "bound:"))
    assert "likely cause: the values were signed as typed data (EIP-712), which is format typed" in lines


def test_check_prints_no_control_bytes():
    _, lines = check(ALICE.message("bound", "PostgreSQL sign-in v1\nserver: \x1b[31m"))
    assert lines[0].startswith("message_malformed: ") and "\x1b" not in "".join(lines)


def test_check_and_pooler_agree(door):
    p = door()
    now = int(time.time())
    for secret in (ALICE.bound(), ALICE.bound(server="x"), ALICE.bound(database="y"), ALICE.siwe(), ALICE.siwe(domain="z"),
                   ALICE.typed(), ALICE.typed(issued=now - 900), BOB.bound(wallet=ALICE), "bound:x:y"):
        p.mark()
        try:
            p.login(USER, "db", secret).close()
            said = "ok"
        except PgError:
            said = re.search(r"reason=(\w+)", p.wait_log("login failed: method=ecdsa .*$")[0]).group(1)
        _, lines = check(secret, "--server", "pooler", "--database", "db", "--domain", "app.example.org", at=int(time.time()))
        assert lines[0].startswith(said + ": "), (said, lines)
