#!/usr/bin/python3
"""Our pooler against Debian's pgbouncer, in the same run.

    bench.py [--rounds N] [--seconds S] [--self] [--workers N] [row...]

Rows: simple extended logins results memory syscalls.  Each round measures
both programs one after the other, and the order changes from round to round;
a number is the median of its rounds. Log-ins take turns in slices of 200. CPU is the pooler's own user and system
time from /proc. A ratio below 1.0 means that ours needs less. Nothing is
judged here: times on a shared machine are for people to read.

--self runs pgbouncer in both places: how much of a ratio is noise.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "system"))

from harness import env  # noqa: E402
from harness.certs import Certs  # noqa: E402
from harness.pooler import NEWER, Pooler  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.wallet import ALICE  # noqa: E402
from harness.wire import Wire, query, scram_secret  # noqa: E402


class Peer(Pooler):
    """Debian's pgbouncer with the same settings."""

    @staticmethod
    def pick_binary(binary_dir):
        target = os.path.join(binary_dir, "peer-pgbouncer")
        if not os.path.exists(target):
            shutil.copy(env.ORACLE_BINARY, target)
            os.chmod(target, 0o755)
        return target

    def ini_text(self):
        return "\n".join(line for line in super().ini_text().splitlines()
                         if line.split(" ")[0] not in NEWER and not line.startswith("ecdsa_")) + "\n"

    def answers(self):
        return self.process.poll() is None and "process up" in self.log()


class Bench:
    def __init__(self, options):
        self.options = options
        self.scratch = env.make_dir(prefix="bench-")
        self.pg = Postgres(Certs(env.make_dir(self.scratch, "certs-")))
        self.rows = []
        self.base = dict(databases={"db": self.pg.entry(user="svc", password="svc_pw")}, users={"u": ""},
                         pool_mode="transaction", default_pool_size=8, max_client_conn=3000,
                         server_tls_sslmode="disable", log_connections=0, log_disconnections=0)

    def pooler(self, ours, **settings):
        kind = Peer if not ours or self.options.self else Pooler
        return kind(self.scratch, self.options.workers, **{**self.base, **settings})

    def compare(self, name, measure, unit, rounds=None, ours_settings=None, peer_settings=None):
        """measure(pooler) gives a number for each program, each round."""
        got = {True: [], False: []}
        for number in range(rounds or self.options.rounds):
            for ours in ((True, False), (False, True))[number % 2]:
                settings = ours_settings if ours and not self.options.self else peer_settings
                p = self.pooler(ours, **(settings or {}))
                try:
                    got[ours].append(measure(p))
                finally:
                    if p.process.poll() is not None:
                        print(p.log()[-2000:], file=sys.stderr)
                    p.finish()
        self.row(name, got, unit)

    def compare_slices(self, name, measure, unit, ours_settings=None, peer_settings=None, slices=8):
        """Both programs run side by side and take turns in short slices, so
        that a change of the machine's speed meets both alike."""
        got = {True: [], False: []}
        mine = peer_settings if self.options.self else ours_settings
        both = {ours: self.pooler(ours, **((mine if ours else peer_settings) or {})) for ours in (True, False)}
        try:
            for number in range(slices * self.options.rounds):
                for ours in ((True, False), (False, True))[number % 2]:
                    got[ours].append(measure(both[ours]))
        finally:
            for p in both.values():
                p.finish()
        self.row(name, got, unit)

    def row(self, name, got, unit):
        a, b = statistics.median(got[True]), statistics.median(got[False])
        spread = max((max(v) - min(v)) / statistics.median(v) if statistics.median(v) else 0 for v in got.values())
        self.rows.append((name, a, b, unit, a / b if b else float("nan"), spread))
        print("%-44s %10.3f %10.3f %-16s ratio %.2f" % (name, a, b, unit, a / b if b else 0), flush=True)

    # rows

    def pgbench(self, p, script, *more):
        path = os.path.join(self.scratch, "script.sql")
        with open(path, "w") as f:
            f.write(script)
        before = env.cpu_seconds(p.process.pid)
        out = subprocess.run(["pgbench", "-h", p.host, "-p", str(p.port), "-U", "u", "-n", "-c", "16", "-j", "2",
                              "-T", str(self.options.seconds), "-f", path, *more, "db"],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if out.returncode:
            raise SystemExit(out.stdout)
        done = int(re.search(r"actually processed: (\d+)", out.stdout).group(1))
        return (env.cpu_seconds(p.process.pid) - before) / done * 1e6

    SELECT = "\\set aid random(1, 100000)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"

    def tables(self):
        subprocess.run(["pgbench", "-i", "-q", "-s", "1", "-h", self.pg.dir, "-p", str(self.pg.port), "-U", "svc", "db"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    def simple(self):
        self.tables()
        self.compare("pgbench -S, simple: CPU a transaction", lambda p: self.pgbench(p, self.SELECT), "us")

    def extended(self):
        self.tables()
        self.compare("pgbench -S, extended: CPU a transaction",
                     lambda p: self.pgbench(p, self.SELECT, "-M", "extended"), "us")

    def login_cpu(self, user, secret):
        def measure(p):
            count = 200
            Wire(p.host, p.port).login(user, "db", secret).close()
            before = env.cpu_seconds(p.process.pid)
            for _ in range(count):
                Wire(p.host, p.port).login(user, "db", secret).close()
            return (env.cpu_seconds(p.process.pid) - before) / count * 1e6
        return measure

    def logins(self):
        self.compare_slices("login, trust: CPU", self.login_cpu("u", None), "us")
        scram = dict(auth_type="scram-sha-256", users={"u": scram_secret("secret")},
                     databases={"db": self.pg.entry(user="u_trust")})
        self.compare_slices("login, SCRAM with a stored secret: CPU", self.login_cpu("u", "secret"), "us",
                     ours_settings=scram, peer_settings=scram)
        if self.options.self:
            return
        wallet = dict(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address, ecdsa_limit_burst=0)
        secret = ALICE.password()

        def measure(p):
            ours = not isinstance(p, Peer)
            return self.login_cpu(ALICE.address if ours else "u", secret if ours else "secret")(p)
        self.compare_slices("login, wallet against pgbouncer's SCRAM: CPU", measure, "us", ours_settings=wallet,
                     peer_settings=scram)

    def results(self):
        """1 MB rows to eight clients that read as fast as they can."""
        def measure(p):
            per_client = 40
            before = env.cpu_seconds(p.process.pid)

            def work():
                with Wire(p.host, p.port, timeout=120).login("u", "db") as c:
                    for _ in range(per_client):
                        c.send(query("SELECT repeat('x', 1000000)"))
                        drain(c)
            threads = [threading.Thread(target=work) for _ in range(8)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            return (env.cpu_seconds(p.process.pid) - before) / (8 * per_client) * 1e3
        self.compare("1 MB results, 8 clients: CPU a result", measure, "ms")

    def memory(self):
        def measure(p):
            Wire(p.host, p.port).login("u", "db").close()
            before = env.rss_kb(p.process.pid)
            clients = []
            try:
                for _ in range(2000):
                    clients.append(Wire(p.host, p.port).login("u", "db"))
                return (env.rss_kb(p.process.pid) - before) * 1024 / 2000
            finally:
                for c in clients:
                    c.close()
        self.compare("2,000 idle clients: memory a client", measure, "bytes")

    def syscalls(self):
        if not shutil.which("strace"):
            print("no strace: system calls are not counted", file=sys.stderr)
            return

        def measure(p):
            table = os.path.join(self.scratch, "strace")
            with Wire(p.host, p.port).login("u", "db") as c:
                for _ in range(10):
                    c.value("SELECT 1")
                tracer = subprocess.Popen(["strace", "-c", "-f", "-o", table, "-p", str(p.process.pid)],
                                          stderr=subprocess.PIPE, text=True)
                tracer.stderr.readline()
                count = 200
                for _ in range(count):
                    c.value("SELECT 1")
                tracer.terminate()
                tracer.communicate()
            calls = 0
            with open(table) as f:
                for line in f:
                    # % time, seconds, usecs/call, calls, [errors,] name
                    m = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(?!total)\w+$", line)
                    calls += int(m.group(1)) if m else 0
            return calls / count
        self.compare("system calls a transaction", measure, "calls", rounds=3)

    def table(self):
        print("\n| row | pg-ecdsa-proxy | pgbouncer | unit | ratio | spread |\n|---|---:|---:|---|---:|---:|")
        for name, a, b, unit, ratio, spread in self.rows:
            print("| %s | %.4g | %.4g | %s | %.2f | ±%d%% |" % (name, a, b, unit, ratio, round(spread * 50)))

    def close(self):
        self.pg.remove()
        shutil.rmtree(self.scratch, ignore_errors=True)


def drain(c):
    """Read and drop up to ReadyForQuery, without taking large bodies apart."""
    while True:
        head = c.take(5)
        left = int.from_bytes(head[1:], "big") - 4
        had = min(left, len(c.buf))
        del c.buf[:had]
        left -= had
        while left:
            left -= len(c.sock.recv(min(left, 1 << 18)))
        if head[:1] == b"Z":
            return


def main():
    rows = ["simple", "extended", "logins", "results", "memory", "syscalls"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each pgbench run")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--self", action="store_true")
    parser.add_argument("row", nargs="*", help=" ".join(rows))
    options = parser.parse_args()
    unknown = set(options.row) - set(rows)
    if unknown:
        parser.error("no such row: %s" % ", ".join(sorted(unknown)))
    if not os.path.exists(env.ORACLE_BINARY):
        raise SystemExit("Debian's pgbouncer is not installed: apt-get install pgbouncer")
    bench = Bench(options)
    try:
        for row in options.row or rows:
            getattr(bench, row)()
        bench.table()
    finally:
        bench.close()


if __name__ == "__main__":
    main()
