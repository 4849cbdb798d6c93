"""Scripts over the areas of PostgreSQL's own regression tests, run by psql.

Each script of regress/ runs directly against the server and through the
pooler; what psql prints must be the same, byte for byte. Its first line names
the pool modes that promise that much: state which outlives a transaction
(cursors WITH HOLD, LISTEN, PREPARE, temporary tables) belongs to session mode.
"""
import glob
import os
import re
import subprocess

import pytest
from harness import env
from harness.pooler import Pooler

pytestmark = pytest.mark.ours
DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "regress")
NAMES = sorted(os.path.basename(p)[:-4] for p in glob.glob(os.path.join(DIR, "*.sql")))
# Process ids differ from run to run, and nothing else may.
PID = re.compile(rb"(server process with PID )\d+")


def modes_of(name):
    with open(os.path.join(DIR, name + ".sql"), encoding="utf-8") as f:
        found = re.match(r"-- modes: ([a-z ]+)\n", f.readline())
    assert found, name + ": first line must name the modes"
    return found.group(1).split()


CASES = [(name, mode) for name in NAMES for mode in modes_of(name)]


def psql(host, port, database, name):
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8",
                   "PGPASSWORD": "svc_pw", "PGCLIENTENCODING": "UTF8", "PGTZ": "UTC", "PGDATESTYLE": "ISO, MDY",
                   "PGUSER": "svc", "PGHOST": host, "PGPORT": str(port), "PGDATABASE": database, "PSQL_PAGER": "cat"}
    done = subprocess.run(["psql", "-X", "-a", "-f", name + ".sql"], cwd=DIR, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100 * env.SLOW)
    return done.returncode, PID.sub(rb"\1PID", done.stdout)


@pytest.fixture(scope="module")
def databases(pg):
    pg.sql("ALTER ROLE svc SUPERUSER")
    for name in ("r_direct", "r_session", "r_transaction"):
        pg.sql("CREATE DATABASE " + name)
    yield
    for name in ("r_direct", "r_session", "r_transaction"):
        pg.sql("DROP DATABASE %s WITH (FORCE)" % name)
    pg.sql("ALTER ROLE svc NOSUPERUSER")


@pytest.fixture(scope="module")
def pool(workers, pg, databases, scratch):
    p = Pooler(scratch, workers, auth_type="plain", users={"svc": "svc_pw"}, databases={
        mode: pg.entry(dbname="r_" + mode, pool_mode=mode) for mode in ("session", "transaction")})
    yield p
    troubles, text = p.finish()
    assert not troubles, text[-4000:]


@pytest.fixture(scope="module")
def direct(pg, databases):
    """What the server itself answers, asked once a script."""
    known = {}

    def ask(name):
        if name not in known:
            known[name] = psql(pg.host, pg.port, "r_direct", name)
        return known[name]

    return ask


@pytest.mark.parametrize("name, mode", CASES, ids=["%s-%s" % c for c in CASES])
def test_script(pool, direct, name, mode):
    expected = direct(name)
    got = psql(pool.host, pool.port, mode, name)
    assert got[1].decode("utf-8", "replace").splitlines() == expected[1].decode("utf-8", "replace").splitlines()
    assert got == expected
    assert len(expected[1]) > 200


def test_enough_scripts():
    assert len(NAMES) >= 40
