"""The differential test: the same scenes through PgBouncer 1.18 and through our program.

    DIFFERENTIAL_TELL=1   print the transcripts of the scenes that were selected
Other variables are those of test/system.

All scenes of a module are played when its first test runs, on all poolers at
the same time; the tests compare what was written down. known.py lists the
differences that are wanted.
"""
import concurrent.futures
import itertools
import os
import shutil
import sys
import traceback

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "system"))
sys.path.insert(0, HERE)

from harness import env  # noqa: E402
from harness.certs import Certs  # noqa: E402
from harness.fakeserver import FakeServer  # noqa: E402
from harness.pooler import Pooler  # noqa: E402
from harness.postgres import Postgres, quote  # noqa: E402
from harness.wire import Wire  # noqa: E402
from known import known_differences  # noqa: E402
from play import Player, compare, database_of  # noqa: E402

THREADS = 32
_files = itertools.count(1)


def worker_counts():
    return [int(w) for w in os.environ.get("WORKERS", "1 2").split()]


def pytest_generate_tests(metafunc):
    if "scene" in metafunc.fixturenames:
        scenes = metafunc.module.scenes.scenes
        rows = [(s, w) for s in scenes for w in worker_counts() if w == 1 or not s.one_worker]
        metafunc.parametrize("scene,workers", rows, ids=["%s-w%d" % (s.name, w) for s, w in rows])


@pytest.fixture(scope="session")
def scratch():
    path = env.make_dir(prefix="diff-")
    for oracle in (True, False):
        Pooler.pick_binary(path, oracle)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def certs(scratch):
    return Certs(env.make_dir(scratch, "certs-"))


@pytest.fixture(scope="session")
def pg(certs):
    server = Postgres(certs, connections=900)
    # Where the tests run does not show.
    server.sql("ALTER SYSTEM SET timezone = 'Etc/UTC'")
    server.sql("SELECT pg_reload_conf()")
    env.wait_for(lambda: server.sql("SHOW timezone") == [("Etc/UTC",)], "the new time zone")
    with Wire(server.host, server.port) as w:
        server.greeting = w.login("u_trust", "db").params
    yield server
    server.remove()


class Run:
    """One pooler with the scenes of one setup."""

    def __init__(self, scratch, pg, scenes, setup, workers):
        self.oracle = workers == 0
        self.workers = workers
        self.pg = pg
        self.scenes = scenes
        self.fakes = {s.name: FakeServer(s.fake) for s in scenes if s.fake}
        databases = {}
        for s in scenes:
            if s.entry is not None:
                there = self.fakes.get(s.name, pg)
                keys = {"dbname": "db", **s.entry}
                databases[database_of(s)] = there.entry(**(
                    keys if there is pg else {k: quote(v) for k, v in keys.items()}))
        settings = dict(setup)
        where = dict(host=pg.host, port=pg.port, dir=pg.dir, closed=env.free_port())
        databases.update({n: v.format(**where) for n, v in settings.pop("databases", {}).items()})
        users = {"u_trust": "", **settings.pop("users", {})}
        files = settings.pop("files", {})
        settings.update({key: env.write(os.path.join(scratch, "%s-%d" % (key, next(_files))), text())
                         for key, text in files.items()})
        self.pooler = Pooler(scratch, max(workers, 1), databases=databases, users=users, oracle=self.oracle,
                             start=False, **{"server_tls_sslmode": "disable", "max_client_conn": 500,
                                             "server_login_retry": 15, "track_extra_parameters": "",
                                             **settings})
        self.transcripts = {}
        self.troubles = []

    def play(self, scene):
        player = Player(self.pooler, scene, self.pg, self.fakes.get(scene.name))
        try:
            scene.run(player, **scene.options)
        except Exception:
            self.transcripts[scene.name] = player.lines + ["FAILED " + traceback.format_exc()]
            return
        finally:
            player.finish()
        self.transcripts[scene.name] = player.lines

    def play_in_turn(self, scenes):
        for scene in scenes:
            self.play(scene)

    def finish(self):
        self.troubles, log = self.pooler.finish()
        for fake in self.fakes.values():
            fake.close()
            self.troubles += fake.faults
        if self.troubles:
            self.troubles.append(log[-3000:])


def selected(request):
    """The scenes of this module that some test of this session asks for."""
    names = {i.callspec.params["scene"].name for i in request.session.items
             if i.module is request.module and hasattr(i, "callspec")}
    return [s for s in request.module.scenes.scenes if s.name in names]


@pytest.fixture(scope="module")
def runs(request, scratch, pg):
    """Everything played; {(setup, workers): Run}, the oracle having no workers."""
    chosen = selected(request)
    setups = request.module.scenes.setups
    made = {}
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        jobs = []
        # A child dies with the thread that started it, so this one starts them all.
        for name in dict.fromkeys(s.setup for s in chosen):
            scenes = [s for s in chosen if s.setup == name]
            for workers in [0] + worker_counts():
                if workers > 1:
                    scenes = [s for s in scenes if not s.one_worker]
                if not scenes:
                    continue
                run = made[name, workers] = Run(scratch, pg, scenes, setups[name], workers)
                run.pooler.start()
                jobs += [pool.submit(run.play, s) for s in scenes if not s.alone]
                alone = [s for s in scenes if s.alone]
                if alone:
                    assert len(alone) == len(scenes), "setup %s: all alone, or none" % name
                    jobs.append(pool.submit(run.play_in_turn, alone))
        for job in jobs:
            job.result()
    for run in made.values():
        run.finish()
    return made


@pytest.fixture
def same(runs, scene, workers):
    """Compares the transcripts of one scene."""
    def check():
        ours = runs[scene.setup, workers]
        for run in (ours, runs[scene.setup, 0]):
            assert not run.troubles, "\n".join(run.troubles)
        theirs, mine = runs[scene.setup, 0].transcripts[scene.name], ours.transcripts[scene.name]
        if os.environ.get("DIFFERENTIAL_TELL"):
            print("\n".join(["--- %s: PgBouncer 1.18" % scene.name] + theirs))
        complaint = compare(scene.name, theirs, mine, known_differences.get(scene.name, []))
        if complaint:
            pytest.fail(complaint, pytrace=False)
        broken = [line for line in theirs if line.startswith("FAILED") or line.endswith(" SILENCE")]
        assert not broken, "the scene does not work: " + "\n".join(broken)
    return check
