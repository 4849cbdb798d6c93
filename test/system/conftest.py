"""Fixtures of the system tests.

    PGECDSA_PROXY   the program under test; default $BUILD_DIR/pg-ecdsa-proxy
    WORKERS         "1 2": every test that takes `pooler` runs once for each
    ORACLE=1        run Debian's pgbouncer instead; tests marked `ours` are left out
    WORKERS_ONLY=1  leave out what would be the same with any number of workers
    TIMEOUT_SCALE   more patience, for sanitizer builds
"""
import hashlib
import os
import shutil
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness import env  # noqa: E402
from harness.backup import BINARY as BACKUP_BINARY, Backup, Databases  # noqa: E402
from harness.certs import Certs  # noqa: E402
from harness.fakeserver import FakeServer  # noqa: E402
from harness.operations import Files  # noqa: E402
from harness.pooler import Pooler  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.s3client import Bucket  # noqa: E402
from harness.faultproxy import FaultProxy  # noqa: E402
from harness.store import Store  # noqa: E402
from harness.swift import Swift, missing as swift_missing  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "ours: not the behaviour of PgBouncer 1.18, so not run on the oracle")


# What is given out last holds up the end, and a file is given out as a whole.
LONG = ("test_backup_daemon", "test_client_pools", "test_backup_faults", "test_backup", "test_backup_kills", "test_backup_whole",
        "test_backup_restore", "test_server_login", "test_backup_children")


@pytest.hookimpl(trylast=True)  # pytest itself sorts by the parameters of the session's fixtures
def pytest_collection_modifyitems(config, items):
    # Another number of threads is nothing to a test that starts no pooler, or one of its own making.
    if os.environ.get("WORKERS_ONLY"):
        out = [i for i in items if "workers" not in i.fixturenames]
        config.hook.pytest_deselected(items=out)
        items[:] = [i for i in items if "workers" in i.fixturenames]
    if env.ORACLE:
        out = [i for i in items if i.get_closest_marker("ours")]
        config.hook.pytest_deselected(items=out)
        items[:] = [i for i in items if not i.get_closest_marker("ours")]
    items.sort(key=lambda i: LONG.index(i.path.stem) if i.path.stem in LONG else len(LONG))


def pytest_generate_tests(metafunc):
    if "workers" in metafunc.fixturenames:
        counts = [1] if env.ORACLE else [int(w) for w in os.environ.get("WORKERS", "1 2").split()]
        metafunc.parametrize("workers", counts, ids=["w%d" % n for n in counts], scope="session")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, "report_" + call.when, outcome.get_result())


@pytest.fixture(scope="session")
def scratch():
    path = env.make_dir(prefix="test-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def certs(scratch):
    return Certs(env.make_dir(scratch, "certs-"))


@pytest.fixture(scope="session")
def pg(certs):
    server = Postgres(certs)
    yield server
    server.remove()


@pytest.fixture
def own_pg(certs):
    """A PostgreSQL that the test may kill."""
    server = Postgres(certs)
    yield server
    server.remove()


@pytest.fixture
def pooler(request, workers, scratch):
    """A factory of poolers; they are stopped and judged when the test ends."""
    made = []

    def make(**settings):
        p = Pooler(scratch, workers, **{**settings, "start": False})
        made.append(p)
        if settings.get("start", True):
            p.start()
        return p

    yield make
    judged = [p.finish() for p in made]
    if "pg" in request.fixturenames:
        request.getfixturevalue("pg").clear()
    failed = getattr(getattr(request.node, "report_call", None), "failed", False)
    for troubles, text in judged:
        if failed or troubles:
            request.node.add_report_section("teardown", "pooler log", text[-6000:])
            print("--- pooler log\n" + text[-6000:])
    assert not [t for troubles, _ in judged for t in troubles]


@pytest.fixture
def fake():
    """A factory of scripted servers."""
    made = []

    def make(script, **how):
        made.append(FakeServer(script, **how))
        return made[-1]

    yield make
    for server in made:
        server.close()
    assert not [f for server in made for f in server.faults]


@pytest.fixture(scope="session")
def swift():
    """An S3 server that checks signatures; its own for each run."""
    why = swift_missing()
    if why:
        pytest.skip("OpenStack Swift is %s" % why)
    server = Swift()
    yield server
    server.close()


@pytest.fixture
def bucket(swift):
    """An empty bucket, seen through a client that is not ours. When the test
    ends no upload may be open in it, unless the test has said so."""
    b = Bucket(swift)
    yield b
    left = b.uploads()
    b.empty()
    assert len(left) == b.uploads_left, left


@pytest.fixture
def databases(request, pg):
    """Databases that are the test's own."""
    made = Databases(pg, hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8])
    yield made
    made.drop_all()


@pytest.fixture
def backup(request, pg, scratch):
    """A factory of installations of pg-ecdsa-backup."""
    if not os.path.exists(BACKUP_BINARY):
        pytest.fail("pg-ecdsa-backup is not built")
    made = []

    def make(**settings):
        made.append(Backup(pg, scratch, **settings))
        return made[-1]

    yield make
    failed = getattr(getattr(request.node, "report_call", None), "failed", False)
    for b in made:
        b.close()
        for d in b.daemons:
            if failed:
                request.node.add_report_section("teardown", "daemon log", d.log()[-6000:])


@pytest.fixture(scope="module")
def files(scratch):
    return Files(scratch)


@pytest.fixture
def proxy(bucket):
    """In front of the bucket; it misbehaves by rule."""
    p = FaultProxy(bucket)
    yield p
    p.close()


@pytest.fixture
def s3_store(bucket, proxy):
    """A factory of our stores, through the proxy, with little patience."""
    made = []

    def make(**settings):
        settings = {"region": "us-east-1", "stall_timeout": 1_000_000, "connect_timeout": 5_000_000,
                    "request_timeout": 30_000_000, "endpoint": proxy.endpoint, **settings}
        made.append(Store(**bucket.settings(**settings)))
        return made[-1]

    yield make
    for s in made:
        s.close()
