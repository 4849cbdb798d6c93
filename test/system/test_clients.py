"""Real clients: psql, pgbench, psycopg 3, postgres.js with viem."""
import json
import os
import shutil
import subprocess
import threading
import time

import psycopg
import pytest
from harness import env
from harness.wallet import ALICE, BOB

ours = pytest.mark.ours
pytestmark = pytest.mark.timeout(600 * env.SLOW)  # an installer of packages, beside the other tests
JS = os.path.join(env.TOP, "test", "clients", "js")


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(user="svc", password="svc_pw")},
                         "users": {"someone": "secret"}, "auth_type": "scram-sha-256",
                         "pool_mode": "transaction", "default_pool_size": 3, **settings})
    return make


@pytest.fixture
def wallets(pool):
    return lambda **settings: pool(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address + "," + BOB.address,
                                   ecdsa_limit_burst=0, **settings)


def tool(*args, **environment):
    base = {k: os.environ[k] for k in ("PATH", "HOME", "LANG", "npm_config_cache", "ASAN_OPTIONS") if k in os.environ}
    return subprocess.run(args, env={**base, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=120 * env.SLOW)


# --- psql and pgbench -------------------------------------------------------

def test_psql(pool, tmp_path):
    p = pool()
    script = tmp_path / "script.sql"
    script.write_text("\\set ON_ERROR_STOP 1\nBEGIN;\nCREATE TEMP TABLE t (a int, b text);\n\\copy t FROM STDIN\n"
                      "1\tone\n2\ttwo\n\\.\nSELECT sum(a) FROM t;\n\\copy t TO STDOUT\nCOMMIT;\n\\conninfo\n"
                      "SELECT 1 \\gdesc\n\\echo done\n")
    out = tool("psql", "-X", "-At", "-h", p.host, "-p", str(p.port), "-U", "someone", "db", "-f", str(script),
               PGPASSWORD="secret")
    assert out.returncode == 0, out.stdout
    assert "\n3\n1\tone\n2\ttwo\n" in out.stdout and "done" in out.stdout
    out = tool("psql", "-X", "-h", p.host, "-p", str(p.port), "-U", "someone", "db", "-c", "SELECT 1",
               PGPASSWORD="wrong")
    assert out.returncode == 2 and "SASL authentication failed" in out.stdout


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench(pool, protocol):
    # Statements of a name of their own need a server of their own.
    p = pool(max_client_conn=50, **dict(pool_mode="session", default_pool_size=20) if protocol == "prepared" else {})
    args = ("pgbench", "-h", p.host, "-p", str(p.port), "-U", "someone")
    script = os.path.join(env.make_dir(), "script")
    with open(script, "w") as f:
        f.write("\\set a random(1, 1000)\nBEGIN;\nSELECT :a + 1;\nSELECT :a;\nEND;\nSELECT :a * 2;\n")
    out = tool(*args, "-n", "-M", protocol, "-c", "20", "-j", "2", "-t", "20", "-f", script, "db", PGPASSWORD="secret")
    shutil.rmtree(os.path.dirname(script))
    assert out.returncode == 0, out.stdout
    assert "number of transactions actually processed: 400/400" in out.stdout
    p.wait_pool(cl_active=0, sv_active=0)


@ours
def test_psql_with_a_token(wallets, tmp_path):
    """PGPASSWORD=$(pg-ecdsa-token ...) psql, as the manual says."""
    p = wallets()
    key = tmp_path / "key"
    key.write_text(ALICE.key_hex + "\n")
    key.chmod(0o600)
    token = env.binary("pg-ecdsa-token")
    address = tool(token, "--key", str(key), "--address")
    assert address.stdout.strip() == ALICE.address, address.stdout
    password = tool(token, "--key", str(key)).stdout.strip()
    out = tool("psql", "-X", "-At", "-h", p.host, "-p", str(p.port), "-U", ALICE.address, "db", "-c",
               "SELECT current_user, current_setting('application_name')", PGPASSWORD=password)
    assert out.stdout == "svc|ecdsa-proxy:%s\n" % ALICE.address
    stale = tool(token, "--key", str(key), "--at", str(int(time.time()) - 4000)).stdout.strip()
    out = tool("psql", "-X", "-h", p.host, "-p", str(p.port), "-U", ALICE.address, "db", "-c", "SELECT 1",
               PGPASSWORD=stale)
    assert out.returncode == 2
    assert 'password authentication failed for user "%s"' % ALICE.address in out.stdout


@ours
def test_pgbench_by_wallet(wallets):
    p = wallets()
    script = os.path.join(env.make_dir(), "script")
    with open(script, "w") as f:
        f.write("SELECT 1;\n")
    out = tool("pgbench", "-h", p.host, "-p", str(p.port), "-U", ALICE.address, "-n", "-C", "-c", "4", "-t", "10",
               "-f", script, "db", PGPASSWORD=ALICE.password())
    shutil.rmtree(os.path.dirname(script))
    assert out.returncode == 0, out.stdout
    assert "actually processed: 40/40" in out.stdout


# --- psycopg 3 --------------------------------------------------------------

def test_psycopg(pool):
    p = pool()
    with p.connect("someone", password="secret", autocommit=False) as conn:
        conn.prepare_threshold = None if env.ORACLE else 2
        cur = conn.cursor()
        cur.execute("CREATE TEMP TABLE t (a int, b text) ON COMMIT DROP")
        cur.executemany("INSERT INTO t VALUES (%s, %s)", [(i, "row %d" % i) for i in range(200)])
        with cur.copy("COPY t FROM STDIN") as copy:
            for i in range(1000):
                copy.write_row((i, "copied"))
        with cur.copy("COPY t TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 1200
        assert cur.execute("SELECT count(*) FROM t").fetchone() == (1200,)
        conn.commit()
        with pytest.raises(psycopg.errors.DivisionByZero):
            conn.execute("SELECT 1/0")
        conn.rollback()
        for i in range(10):
            assert conn.execute("SELECT %s::int", (i,)).fetchone() == (i,)
        conn.commit()


def test_psycopg_pipeline(pool):
    p = pool()
    with p.connect("someone", password="secret") as conn:
        conn.prepare_threshold = None
        with conn.pipeline() as pipeline:
            cursors = [conn.execute("SELECT %s::int", (i,)) for i in range(200)]
            pipeline.sync()
            assert [c.fetchone()[0] for c in cursors] == list(range(200))
        with pytest.raises(psycopg.Error):
            with conn.pipeline():
                conn.execute("SELECT 1/0")
                conn.execute("SELECT 2")
        assert conn.execute("SELECT 3").fetchone() == (3,)


def test_psycopg_server_side_cursor(pool):
    p = pool()
    with p.connect("someone", password="secret", autocommit=False) as conn:
        with conn.cursor("named") as cur:
            cur.itersize = 100
            cur.execute("SELECT generate_series(1, 1000)")
            assert sum(r[0] for r in cur) == 500500


@ours
def test_psycopg_by_wallet_reconnects_with_a_fresh_proof(wallets):
    p = wallets()

    def connect(**how):
        return p.connect(ALICE.address, password=ALICE.password(**how))
    for _ in range(3):
        with connect(prefix="") as conn:
            assert conn.execute("SELECT current_user").fetchone() == ("svc",)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed for user"):
        connect(at=int(time.time()) - 1000)


@ours
def test_wallet_pool_that_opens_at_once(pool):
    """Twenty connections with one valid proof see no refusal, and the limiter does not notice them."""
    p = pool(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address, max_client_conn=200)
    assert [r["value"] for r in p.show("CONFIG") if r["key"] == "ecdsa_limit_burst"] == ["10"]
    secret, faults = ALICE.password(), []

    def work():
        try:
            with p.connect(ALICE.address, password=secret) as conn:
                conn.execute("SELECT 1")
        except psycopg.Error as e:
            faults.append(e)
    for _ in range(3):
        threads = [threading.Thread(target=work) for _ in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert not faults and p.show("ECDSA_LIMITS") == []


# --- postgres.js and viem ---------------------------------------------------

@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """The JavaScript clients, installed into a temp dir; exact versions stand
    in package.json."""
    if not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    where = tmp_path_factory.mktemp("js")
    for name in os.listdir(JS):
        shutil.copy(os.path.join(JS, name), where)
    try:
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"],
                              cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry did not answer in time")
    if done.returncode and any(s in done.stdout for s in ("ENOTFOUND", "ECONNREFUSED", "EAI_AGAIN", "ETIMEDOUT",
                                                          "ENETUNREACH", "ERR_SOCKET_TIMEOUT")):
        pytest.skip("the npm registry cannot be reached")
    assert done.returncode == 0, done.stdout

    def run(script, **environment):
        out = tool("node", os.path.join(where, script), **environment)
        assert out.returncode == 0, out.stdout
        return json.loads(out.stdout.strip().splitlines()[-1])
    return run


@ours
def test_postgres_js_with_viem(wallets, node):
    p = wallets(pool_mode="session", default_pool_size=10)
    out = node("wallet.mjs", PGPORT=str(p.port), KEY="0x" + ALICE.key_hex)
    assert out["address"] == ALICE.address
    assert [r["v"] for r in out["values"]] == list(range(20))
    assert {r["who"] for r in out["values"]} == {"svc"}
    assert {r["app"] for r in out["values"]} == {"ecdsa-proxy:" + ALICE.address}
    assert out["transaction"] == 2 and out["rows"] == 5000 and out["signed"] >= 1
    assert out["stale"] == "28P01" and out["millis"] == "28P01"


def test_postgres_js(pool, node):
    p = pool(pool_mode="session", default_pool_size=5)
    out = node("plain.mjs", PGPORT=str(p.port), PGUSER="someone", SECRET="secret")
    assert out["values"] == list(range(30))
    assert out["error"] == "22012" and out["simple"] == 2
