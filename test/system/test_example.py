"""example/, as its guide says: npm install, npm start. Against a pooler with the settings of compose.yaml."""
import json
import os
import re
import shutil
import subprocess

import pytest
from harness import compose, env
from harness.wallet import ALICE, BOB

pytestmark = [pytest.mark.ours, pytest.mark.timeout(600), pytest.mark.skipif(not shutil.which("npm"), reason="node and npm are not installed")]

EXAMPLE = os.path.join(env.TOP, "example")
SOURCES = ("package.json", ".npmrc", "tsconfig.json", "client.ts")


def npm(where, *args, timeout=120, **more):
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG") or k.lower().startswith("npm_config_")}
    return subprocess.run(["npm", *args], cwd=where, env={**kept, **more}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=timeout * env.SLOW)


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    where = tmp_path_factory.mktemp("example")
    for name in SOURCES:
        shutil.copy(os.path.join(EXAMPLE, name), where)
    try:
        done = npm(where, "install", "--no-audit", "--no-fund", "--loglevel=error", timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry did not answer in time")
    if done.returncode and re.search("ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT", done.stdout):
        pytest.skip("the npm registry cannot be reached")
    assert done.returncode == 0, done.stdout
    assert not os.path.exists(os.path.join(where, "package-lock.json"))
    # Once, since the compiler takes its time; `npm start` would do it each time.
    done = npm(where, "run", "build")
    assert done.returncode == 0, done.stdout
    return where


@pytest.fixture
def as_in_compose(pooler, pg):
    """The settings that its variables make; names of settings are variables in upper case."""
    def make(**given):
        v = compose.environment("proxy", given)
        settings = {"ecdsa_require_tls": v["ECDSA_REQUIRE_TLS"], "ecdsa_allowed_addresses": v["ALLOWED_ADDRESS"],
                    "auth_type": "ecdsa", "ignore_startup_parameters": "extra_float_digits"}
        # Ours stands in for the server of compose, whose account is a superuser of the same name.
        assert v["PG_USER"] == "postgres"
        return pooler(databases={"*": pg.entry(None, user=v["PG_USER"])}, users={}, **settings)
    return make


def start(where, p, *command, **more):
    return npm(where, *(command or ("exec", "--offline", "--", "node", "dist/client.js")), PGHOST=p.host, PGPORT=str(p.port), **more)


def test_a_wallet_signs_in_and_works(as_in_compose, example, pg):
    p = as_in_compose(ALLOWED_ADDRESS=ALICE.address)
    try:
        for count in (1, 2):
            out = start(example, p, *(["start"] if count == 1 else []), PRIVATE_KEY="0x" + ALICE.key_hex)
            assert out.returncode == 0, out.stdout
            assert re.search(r"^wallet +%s$" % ALICE.address, out.stdout, re.M)
            assert re.search(r"^role +postgres$", out.stdout, re.M)
            assert re.search(r"^application +ecdsa-proxy:%s$" % ALICE.address, out.stdout, re.M)
            assert re.search(r"^notes +%d by this wallet$" % count, out.stdout, re.M), out.stdout
        assert pg.sql("SELECT count(*) FROM example_notes WHERE author = '%s'" % ALICE.address, db="postgres") == [(2,)]
    finally:
        pg.sql("DROP TABLE IF EXISTS example_notes", db="postgres")


def test_it_says_what_is_wrong(as_in_compose, example):
    p = as_in_compose(ALLOWED_ADDRESS=BOB.address)
    out = start(example, p, PRIVATE_KEY="0x" + ALICE.key_hex)
    assert out.returncode == 1 and "28P01: password authentication failed" in out.stdout and "ALLOWED_ADDRESS" in out.stdout
    for key in ("", "0x12", ALICE.key_hex):
        out = start(example, p, PRIVATE_KEY=key)
        assert out.returncode == 1 and "PRIVATE_KEY must be 0x and 64 hex digits" in out.stdout and "    at " not in out.stdout


def test_it_looks_where_compose_publishes():
    with open(os.path.join(EXAMPLE, "client.ts")) as f:
        text = f.read()
    host, outside, inside = compose.load()["services"]["proxy"]["ports"][0].rsplit(":", 2)
    assert host == "127.0.0.1" and "?? 'localhost'" in text and "?? %s)" % outside in text
    assert compose.environment("proxy")["PROXY_PORT"] == inside


def test_its_dependencies_are_exact_and_name_no_registry():
    with open(os.path.join(EXAMPLE, "package.json")) as f:
        package = json.load(f)
    for kind in ("dependencies", "devDependencies"):
        for name, version in package[kind].items():
            assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
    assert not [n for n in os.listdir(EXAMPLE) if "lock" in n]
    with open(os.path.join(EXAMPLE, ".npmrc")) as f:
        assert "registry" not in f.read()
