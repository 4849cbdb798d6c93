"""How what a turn of the loop has to say leaves: together, by io_uring or without; whole and in order in any case."""
import contextlib
import os
import random
import re
import subprocess
import threading

import pytest
from harness import env
from harness.wire import Wire, query

pytestmark = pytest.mark.ours

# What makes it go which way, and what the log says of it.
WAYS = {
    "io_uring": ({}, "", None),
    "switched off": (dict(io_uring=0), "", None),
    "not there": ({}, "nouring", r"no io_uring \(Operation not permitted\): what is sent goes by one system call each"),
    "breaks": ({}, "uringbreaks", r"WARNING io_uring has taken 0 sends of \d+ \(Cannot allocate memory\)"),
}


def rings(p):
    where, count = "/proc/%d/fd" % p.process.pid, 0
    for fd in os.listdir(where):
        # Connections may go meanwhile.
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(os.path.join(where, fd)) == "anon_inode:[io_uring]"
    return count


@pytest.fixture(params=list(WAYS))
def way(request, monkeypatch):
    if WAYS[request.param][1]:
        monkeypatch.setenv("PGECDSA_FAULTS", WAYS[request.param][1])
    return request.param


@pytest.fixture
def busy(pooler, pg):
    def make(way="io_uring", **settings):
        return pooler(**{"databases": {"db": pg.entry()}, "users": {"u_trust": ""}, "pool_mode": "transaction",
                         "default_pool_size": 4, **WAYS[way][0], **settings})
    return make


class Asker(threading.Thread):
    """Asks for rows of all sizes, several queries at once, and looks at what comes."""

    def __init__(self, p, seed, rounds=25):
        super().__init__()
        self.p, self.chance, self.rounds = p, random.Random(seed), rounds
        self.trouble = None

    def run(self):
        try:
            with self.p.login() as c:
                for _ in range(self.rounds):
                    asked = [(self.chance.choice("abcdef"), self.chance.choice((0, 1, 30, 700, 8100, 8200, 70000)))
                             for _ in range(self.chance.randint(1, 4))]
                    c.send(*[query("SELECT repeat('%s', %d), %d" % (letter, n, n)) for letter, n in asked])
                    for letter, n in asked:
                        assert c.until_ready().rows == [(letter * n, str(n))]
        except Exception as e:  # told by the test's own thread
            self.trouble = e


def begin_asking(p, count, rounds=25):
    crowd = [Asker(p, n, rounds) for n in range(count)]
    for one in crowd:
        one.start()
    return crowd


def end_asking(crowd):
    for one in crowd:
        one.join(env.PATIENCE * 4)
        assert not one.is_alive()
    assert [one.trouble for one in crowd] == [None] * len(crowd)


def ask(p, count=12, rounds=25):
    end_asking(begin_asking(p, count, rounds))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_answers_are_whole_whichever_way_they_go(busy, certs, way, tls):
    more = dict(client_tls_sslmode="require", client_tls_key_file=certs.key("server"),
                client_tls_cert_file=certs.crt("server")) if tls else {}
    p = busy(way, **more)
    if tls:
        run_psql(p)
        pgbench(p, "require")
    else:
        ask(p)
        pgbench(p, "disable")
    line = WAYS[way][2]
    if line:
        # Once for the process where the kernel says no, once a Worker where its ring breaks.
        told = len(re.findall(line, p.log()))
        assert 1 <= told <= (1 if way == "not there" else p.workers)
        assert rings(p) == (0 if way == "not there" else p.workers - told)
    elif way == "switched off":
        assert rings(p) == 0
        assert "io_uring" not in p.log()


def run_psql(p):
    out = subprocess.run(["psql", "-AtXq", "host=127.0.0.1 port=%d user=u_trust dbname=db sslmode=require" % p.port, "-c",
                          "SELECT repeat('x', n) FROM generate_series(0, 3000, 7) n"],
                         stdout=subprocess.PIPE, check=True, text=True).stdout
    assert out.split("\n") == ["x" * n for n in range(0, 3001, 7)] + [""]


def pgbench(p, sslmode):
    script = os.path.join(p.dir, "script.sql")
    env.write(script, "\\set n random(1, 3000)\nBEGIN;\nSELECT :n AS a \\gset\nSELECT length(repeat('x', :n)) AS b \\gset\n"
              "COMMIT;\nSELECT 1 / (:a = :b AND :a = :n)::int;\n")
    subprocess.run(["pgbench", "-n", "-h", "127.0.0.1", "-p", str(p.port), "-U", "u_trust", "-c", "12", "-j", "2", "-t", "60",
                    "-M", "extended", "-f", script, "db"], env={**os.environ, "PGSSLMODE": sslmode}, check=True,
                   stdout=subprocess.DEVNULL)


def test_a_ring_of_its_own_for_each_worker_where_the_kernel_has_them(busy):
    p = busy()
    ask(p, 4, 3)
    refused = re.findall(r"no io_uring \((.*)\)", p.log())
    assert rings(p) == (0 if refused else p.workers)


def test_set_switches(busy):
    p = busy(io_uring=0)
    ask(p, 6, 5)
    assert rings(p) == 0
    for value in ("1", "0", "1"):
        crowd = begin_asking(p, 8)
        with p.console() as c:
            c.query("SET io_uring = %s" % value)
            assert c.query("SHOW CONFIG").dicts()
        end_asking(crowd)
        if value == "0":
            assert rings(p) == 0
            continue
        # A Worker makes its own when it has two things to send at once; the pool's does.
        if "no io_uring" not in p.log():
            for _ in range(20):
                if rings(p):
                    break
                ask(p, 8, 10)
            assert 1 <= rings(p) <= p.workers


def test_who_does_not_read_holds_up_nobody(busy):
    """His answers wait, in order and whole; those of the same turns go out."""
    p = busy()
    count, size = 400, 6000
    with Wire(p.host, p.port, rcvbuf=4096) as slow:
        slow.login("u_trust", "db")
        thread = threading.Thread(target=slow.send, args=[query("SELECT repeat('z', %d), %d" % (size, n))
                                                          for n in range(count)], daemon=True)
        thread.start()
        ask(p, 8, 10)
        for n in range(count):
            assert slow.until_ready().rows == [("z" * size, str(n))]
        thread.join()
