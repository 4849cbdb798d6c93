#!/usr/bin/python3
"""Our pooler against Debian's pgbouncer, in the same run.

    bench.py [--rounds N] [--seconds S] [--self] [--workers N] [row...]

Each round measures the programs one after the other, and the order changes
from round to round; a number is the median of its rounds. CPU is the pooler's
own user and system time from /proc. A ratio below 1.0 means that ours needs
less; the target of a row stands beside it. Nothing is judged here: times on a
shared machine are for people to read.

Log-ins take turns in short slices, and client and pooler share one core: on
two of them most of what is counted would be spinning for the lock of a socket
that the other core holds.

--self runs pgbouncer in both places: how much of a ratio is noise.
"""
import argparse
import contextlib
import multiprocessing
import os
import re
import resource
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "system"))

from harness import env  # noqa: E402
from harness.certs import Certs  # noqa: E402
from harness.pooler import Pooler  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.wallet import ALICE, Wallet  # noqa: E402
from harness.wire import TERMINATE, Wire, password, query, scram_secret, startup  # noqa: E402

CONNECTIONS = 10000
OURS = "pg-ecdsa-proxy"
PEER = "pgbouncer"


class Peer(Pooler):
    """Debian's pgbouncer with the same settings."""

    def __init__(self, *args, **settings):
        super().__init__(*args, oracle=True, **settings)


class Bench:
    def __init__(self, options):
        self.options = options
        self.scratch = env.make_dir(prefix="bench-")
        self.certs = Certs(env.make_dir(self.scratch, "certs-"))
        self.pg = Postgres(self.certs)
        self.rows = []
        self.has_tables = False
        # A deferred accept is the default of both programs on Linux.
        self.base = dict(databases={"db": self.pg.entry(user="svc", password="svc_pw")}, users={"u": ""},
                         pool_mode="transaction", default_pool_size=8, max_client_conn=CONNECTIONS + 1000,
                         tcp_defer_accept=None, server_tls_sslmode="disable", log_connections=0,
                         log_disconnections=0)
        self.tls = dict(client_tls_sslmode="require", client_tls_key_file=self.certs.key("server"),
                        client_tls_cert_file=self.certs.crt("server"))
        self.client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client_tls.check_hostname = False
        self.client_tls.verify_mode = ssl.CERT_NONE

    def pooler(self, ours, **settings):
        kind = Peer if not ours or self.options.self else Pooler
        return kind(self.scratch, self.options.workers, **{**self.base, **settings})

    def contenders(self, ours_settings, peer_settings, more):
        """Label to (ours?, settings), in the order of the first round."""
        mine = peer_settings if self.options.self else ours_settings
        out = {OURS: (True, mine or {}), PEER: (False, peer_settings or {})}
        out.update({label: (label == OURS, settings) for label, settings in more.items()})
        return out

    def compare(self, name, measure, unit, target=None, rounds=None, ours_settings=None, peer_settings=None, more=()):
        """measure(pooler) gives a number for each program, each round; more:
        {label: (settings, target)}, further ways to run pgbouncer."""
        who = self.contenders(ours_settings, peer_settings, {k: v[0] for k, v in dict(more).items()})
        got = {label: [] for label in who}
        for number in range(rounds or self.options.rounds):
            for label in list(who)[::-1 if number % 2 else 1]:
                ours, settings = who[label]
                p = self.pooler(ours, **settings)
                try:
                    got[label].append(measure(p))
                finally:
                    if p.process.poll() is not None:
                        print(p.log()[-2000:], file=sys.stderr)
                    p.finish()
        self.row(name, got[OURS], got[PEER], unit, target)
        for label, (_, its_target) in dict(more).items():
            self.row("%s, %s" % (name, label), got[OURS], got[label], unit, its_target)

    def compare_slices(self, name, measure, unit, target=None, ours_settings=None, peer_settings=None, slices=8,
                       pinned=True):
        """Both programs run side by side and take turns in short slices, so
        that a change of the machine's speed meets both alike; the ratio is
        the median of the pairs' ratios. Each round starts both anew: one
        process may be lucky with its memory and its ports for all its life."""
        got = {OURS: [], PEER: []}
        with one_core() if pinned else contextlib.nullcontext():
            for _ in range(self.options.rounds):
                both = {label: self.pooler(ours, **settings)
                        for label, (ours, settings) in self.contenders(ours_settings, peer_settings, {}).items()}
                try:
                    for p in both.values():
                        measure(p)
                    for number in range(slices):
                        for label in (OURS, PEER)[::-1 if number % 2 else 1]:
                            got[label].append(measure(both[label]))
                finally:
                    for p in both.values():
                        p.finish()
        self.row(name, got[OURS], got[PEER], unit, target, paired=True)

    def row(self, name, mine, its, unit, target=None, paired=False):
        a, b = statistics.median(mine), statistics.median(its)
        ratio = a / b if b else float("nan")
        if paired:
            ratio = statistics.median(x / y for x, y in zip(mine, its))
            # The slices' own ups and downs meet both; what differs from pair to pair does not.
            ratios = sorted(x / y for x, y in zip(mine, its))
            spread = (ratios[len(ratios) * 3 // 4] - ratios[len(ratios) // 4]) / ratio
        else:
            spread = max((max(v) - min(v)) / statistics.median(v) if statistics.median(v) else 0 for v in (mine, its))
        goal = "<= %.2f" % target if target else ""
        self.rows.append((name, a, b, unit, ratio, goal, spread))
        print("%-58s %10.3f %10.3f %-16s ratio %.2f  %s" % (name, a, b, unit, ratio, goal), flush=True)

    # rows

    SELECT = "\\set aid random(1, 100000)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
    PIPELINE = ("\\set aid random(1, 100000)\n\\startpipeline\n" +
                "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n" * 10 + "\\endpipeline\n")

    def tables(self):
        if not self.has_tables:
            subprocess.run(["pgbench", "-i", "-q", "-s", "1", "-h", self.pg.dir, "-p", str(self.pg.port), "-U", "svc",
                            "db"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            self.has_tables = True

    def start_pgbench(self, p, script, *more, clients=16, user="u", secret=None, sslmode="disable"):
        path = os.path.join(self.scratch, "script.%d.sql" % len(script))
        if not os.path.exists(path):
            with open(path, "w") as f:
                f.write(script)
        return subprocess.Popen(["pgbench", "-h", p.host, "-p", str(p.port), "-U", user, "-n", "-c", str(clients),
                                 "-j", str(min(clients, 2)), "-T", str(self.options.seconds), "-f", path, *more, "db"],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env={**os.environ, "PGPASSWORD": secret or "", "PGSSLMODE": sslmode})

    @staticmethod
    def transactions(process):
        out = process.communicate()[0]
        if process.returncode:
            raise SystemExit(out)
        return int(re.search(r"actually processed: (\d+)", out).group(1))

    def pgbench(self, p, script, *more, **how):
        before = env.cpu_seconds(p.process.pid)
        done = self.transactions(self.start_pgbench(p, script, *more, **how))
        return (env.cpu_seconds(p.process.pid) - before) / done * 1e6

    def simple(self):
        self.tables()
        self.compare_slices("pgbench -S, simple: CPU a transaction", lambda p: self.pgbench(p, self.SELECT), "us",
                            0.90, slices=4, pinned=False)

    def extended(self):
        self.tables()
        self.compare_slices("pgbench -S, extended: CPU a transaction",
                            lambda p: self.pgbench(p, self.SELECT, "-M", "extended"), "us", 0.90, slices=4,
                            pinned=False)

    def prepared(self):
        """1.18 keeps no prepared statements in transaction mode, so its best way is -M extended."""
        self.tables()

        def measure(p):
            return self.pgbench(p, self.SELECT, "-M", "extended" if isinstance(p, Peer) else "prepared")
        self.compare_slices("pgbench -S, prepared against its extended: CPU", measure, "us", 0.90, slices=4,
                            ours_settings=dict(max_prepared_statements=100), pinned=False)

    def pipelines(self):
        self.tables()
        self.compare_slices("pipelines of 10 queries: CPU a pipeline",
                            lambda p: self.pgbench(p, self.PIPELINE, "-M", "extended"), "us", 0.90, slices=4,
                            pinned=False)

    def tls_steady(self):
        self.tables()
        self.compare_slices("pgbench -S over TLS: CPU a transaction",
                            lambda p: self.pgbench(p, self.SELECT, sslmode="require"), "us", 0.90, slices=4,
                            ours_settings=self.tls, peer_settings=self.tls, pinned=False)

    def wallets(self):
        """16 wallets on 8 servers, each a pgbench of its own; beside it the
        same by trust, so that the ratio is what carrying the identity costs."""
        self.tables()
        people = [Wallet(1000 + i) for i in range(16)]
        by_wallet = dict(auth_type="ecdsa", ecdsa_allowed_addresses=",".join(w.address for w in people),
                         ecdsa_limit_burst=0)

        def run(p, who):
            before = env.cpu_seconds(p.process.pid)
            crowd = [self.start_pgbench(p, self.SELECT, clients=1, user=user, secret=secret) for user, secret in who]
            done = sum(self.transactions(one) for one in crowd)
            return (env.cpu_seconds(p.process.pid) - before) / done * 1e6
        got = {True: [], False: []}
        for number in range(self.options.rounds):
            for wallet in (True, False)[::-1 if number % 2 else 1]:
                p = self.pooler(True, **(by_wallet if wallet else {}))
                try:
                    got[wallet].append(run(p, [(w.address, w.password()) if wallet else ("u", None) for w in people]))
                finally:
                    p.finish()
        self.row("pgbench -S by 16 wallets, beside ours by trust: CPU", got[True], got[False], "us")

    def one_login(self, p, user="u", secret=None, tls=False):
        c = Wire(p.host, p.port)
        if tls:
            assert c.ssl_request() == b"S"
            c.sock = self.client_tls.wrap_socket(c.sock)
        return c.login(user, "db", secret)

    def login_cpu(self, user="u", secret=None, tls=False, count=100):
        def measure(p):
            before = env.cpu_seconds(p.process.pid)
            for _ in range(count):
                c = self.one_login(p, user, secret, tls)
                c.send(TERMINATE)
                c.close()
            return (env.cpu_seconds(p.process.pid) - before) / count * 1e6
        return measure

    def logins(self):
        self.compare_slices("login, trust: CPU", self.login_cpu(), "us", 1.0, slices=16)
        scram = dict(auth_type="scram-sha-256", users={"u": scram_secret("secret")},
                     databases={"db": self.pg.entry(user="u_trust")})
        self.compare_slices("login, SCRAM with a stored secret: CPU", self.login_cpu("u", "secret", count=30), "us",
                            ours_settings=scram, peer_settings=scram)
        self.compare_slices("login, TLS with trust inside: CPU", self.login_cpu(tls=True, count=30), "us", 0.80,
                            ours_settings=self.tls, peer_settings=self.tls)
        if self.options.self:
            return
        wallet = dict(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address, ecdsa_limit_burst=0)
        secret = ALICE.password()

        def measure(p):
            ours = not isinstance(p, Peer)
            return self.login_cpu(ALICE.address if ours else "u", secret if ours else "secret", count=30)(p)
        self.compare_slices("login, wallet against pgbouncer's SCRAM: CPU", measure, "us", 1.2, ours_settings=wallet,
                            peer_settings=scram)

    def formats(self):
        """A wallet's log-in by each format: beside a timestamp's, and against pgbouncer's SCRAM. Once with a memory of
        used proofs, which knows this one already."""
        if self.options.self:
            return
        wallet = dict(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address, ecdsa_limit_burst=0,
                      ecdsa_formats="timestamp, bound, siwe, typed", ecdsa_server_names="pooler",
                      ecdsa_siwe_domains="app.example.org")
        scram = dict(auth_type="scram-sha-256", users={"u": scram_secret("secret")},
                     databases={"db": self.pg.entry(user="u_trust")})
        life = dict(life=86400)
        secrets = {"bound": ALICE.bound(**life), "siwe": ALICE.siwe(**life), "typed": ALICE.typed(**life)}
        with one_core():
            for name, secret in secrets.items():
                got = {name: [], "timestamp": []}
                for _ in range(self.options.rounds):
                    p = self.pooler(True, **wallet)
                    try:
                        both = {name: self.login_cpu(ALICE.address, secret, count=30),
                                "timestamp": self.login_cpu(ALICE.address, ALICE.password(), count=30)}
                        for measure in both.values():
                            measure(p)
                        for number in range(16):
                            for which in list(both)[::-1 if number % 2 else 1]:
                                got[which].append(both[which](p))
                    finally:
                        p.finish()
                self.row("wallet login, %s beside timestamp: CPU" % name, got[name], got["timestamp"], "us", 1.30,
                         paired=True)
        for name, secret in secrets.items():
            def measure(p, secret=secret):
                ours = not isinstance(p, Peer)
                return self.login_cpu(ALICE.address if ours else "u", secret if ours else "secret", count=30)(p)
            self.compare_slices("login, wallet by %s against pgbouncer's SCRAM: CPU" % name, measure, "us", 1.3,
                                ours_settings=wallet, peer_settings=scram)
        once = self.pooler(True, ecdsa_replay="source", **wallet)
        often = self.pooler(True, **wallet)
        try:
            # What is signed in the second of the start counts as used.
            time.sleep(1.1)
            secret, got = ALICE.bound(**life), ([], [])
            measure = self.login_cpu(ALICE.address, secret, count=30)
            with one_core():
                for number in range(16 * self.options.rounds):
                    for p, to in [(once, got[0]), (often, got[1])][::-1 if number % 2 else 1]:
                        to.append(measure(p))
        finally:
            once.finish()
            often.finish()
        self.row("wallet login by bound, replay=source beside off: CPU", got[0], got[1], "us", 1.05, paired=True)

    def allowlist(self):
        """A file of 1,000,000 addresses beside a list of one."""
        if self.options.self:
            return
        path = os.path.join(self.scratch, "million")
        with open(path, "w") as f:
            f.writelines("0x%040x\n" % (i * 0x9e3779b97f4a7c15f39cc0605cedc835 % (1 << 160)) for i in range(10**6))
            f.write(ALICE.address + "\n")
        os.chmod(path, 0o644)
        base = dict(auth_type="ecdsa", ecdsa_limit_burst=0)
        many = self.pooler(True, ecdsa_allowed_addresses="@" + path, **base)
        one = self.pooler(True, ecdsa_allowed_addresses=ALICE.address, **base)

        def reload(p):
            with p.console() as c:
                begin = time.monotonic()
                c.query("RELOAD")
                return (time.monotonic() - begin) * 1e3
        try:
            measure = self.login_cpu(ALICE.address, ALICE.password(), count=30)
            got, memory = ([], []), [env.rss_kb(p.process.pid) / 1024 for p in (many, one)]
            with one_core():
                for p in (many, one):
                    measure(p)
                for number in range(16 * self.options.rounds):
                    for p, to in [(many, got[0]), (one, got[1])][::-1 if number % 2 else 1]:
                        to.append(measure(p))
            self.row("wallet login, 1,000,000 addresses beside one: CPU", got[0], got[1], "us", 1.05, paired=True)
            self.row("memory of 1,000,000 addresses, beside one", [memory[0]], [memory[1]], "MiB")
            self.row("RELOAD, 1,000,000 addresses unchanged, beside one", *[[reload(p) for _ in range(5)]
                                                                            for p in (many, one)], "ms")
            changed = []
            for _ in range(3):
                os.utime(path)
                changed.append(reload(many))
            self.row("RELOAD, 1,000,000 addresses read anew, beside one", changed, [reload(one) for _ in range(3)], "ms")
            self.row("memory after that, beside one", [env.rss_kb(many.process.pid) / 1024],
                     [env.rss_kb(one.process.pid) / 1024], "MiB")
            self.row("its peak, with the old and the new list, beside one", [peak_kb(many.process.pid) / 1024],
                     [peak_kb(one.process.pid) / 1024], "MiB (64 more)")
        finally:
            many.finish()
            one.finish()

    def flood(self):
        """100,000 proofs that another wallet has made, from 60,000 addresses, by two processes: what they do to a wallet
        that works here, beside what the same flood does to it when it goes to another pooler. The processor is short
        in both, so that the ratio is what sharing the pooler costs."""
        if self.options.self:
            return
        settings = dict(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address)
        here, elsewhere = self.pooler(True, **settings), self.pooler(True, **settings)

        def beside(p, count):
            """Latencies in ms of its queries and log-ins, while so many proofs come in at p."""
            crowd = [multiprocessing.get_context("fork").Process(target=bad_proofs, args=(p.port, count // 2, n))
                     for n in range(2)]
            for one in crowd:
                one.start()
            queries, logins = [], []
            with self.one_login(here, ALICE.address, ALICE.password()) as c:
                while any(one.is_alive() for one in crowd) or len(queries) < 1000:
                    begin = time.monotonic()
                    c.value("SELECT 1")
                    queries.append((time.monotonic() - begin) * 1e3)
                    if len(queries) % 20 == 0:
                        secret = ALICE.password()
                        begin = time.monotonic()
                        self.one_login(here, ALICE.address, secret).close()
                        logins.append((time.monotonic() - begin) * 1e3)
                    time.sleep(0.002)
            if any(one.exitcode for one in crowd):
                raise SystemExit("the flood broke off")
            return queries, logins
        try:
            beside(here, 10000)  # what grows at first, grows here
            memory, before = env.rss_kb(here.process.pid) / 1024, env.cpu_seconds(here.process.pid)
            mine = beside(here, 100000)
            spent = env.cpu_seconds(here.process.pid) - before
            after = env.rss_kb(here.process.pid) / 1024
            its = beside(elsewhere, 20000)
            for what, a, b in zip(("query", "log-in"), mine, its):
                self.row("%s beside 100,000 bad proofs here, or elsewhere: median" % what, [statistics.median(a)],
                         [statistics.median(b)], "ms (1 more)")
                self.row("the same: 99th percentile", *[[statistics.quantiles(v, n=100)[98]] for v in (a, b)], "ms", 1.5)
            self.row("memory after 100,000 bad proofs, beside before", [after], [memory], "MiB", 1.02)
            print("CPU meanwhile: %.0f us a bad proof" % (spent / 100000 * 1e6))
        finally:
            here.finish()
            elsewhere.finish()

    def auth_query(self):
        """Each log-in asks the database for its secret; both keep the answer for no later one."""
        self.pg.sql("CREATE ROLE aq LOGIN", "UPDATE pg_authid SET rolpassword = '%s' WHERE rolname = 'aq'"
                    % scram_secret("secret"))
        asks = dict(auth_type="scram-sha-256", users={"u_trust": ""}, auth_user="u_trust",
                    auth_query="SELECT rolname::text, rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1",
                    databases={"db": self.pg.entry()})
        self.pg.sql("GRANT SELECT ON pg_catalog.pg_authid TO u_trust", db="db")
        self.compare_slices("login, SCRAM by auth_query: CPU", self.login_cpu("aq", "secret", count=30), "us", 1.0,
                            ours_settings=asks, peer_settings=asks)

    def hba(self):
        """The line that lets the client in is the last of a thousand."""
        path = os.path.join(self.scratch, "hba.1000")
        lines = ["host db%d user%d 10.%d.%d.0/24 scram-sha-256" % (i, i, i // 256, i % 256) for i in range(999)]
        env.write(path, "\n".join(lines + ["host all all 127.0.0.1/32 trust"]) + "\n")
        settings = dict(auth_type="hba", auth_hba_file=path)
        self.compare_slices("login, trust by line 1,000 of an HBA file: CPU", self.login_cpu(), "us", 1.0, slices=16,
                            ours_settings=settings, peer_settings=settings)

    def configuration(self):
        """How long a start and a RELOAD take with 1,000 databases, 100 users of auth_file with a [users] line each,
        and, in ours, 100,000 wallets; then what a log-in costs there beside the same in a small configuration."""
        wallets = os.path.join(self.scratch, "wallets")
        with open(wallets, "w") as f:
            f.writelines("0x%040x\n" % (i * 0x9e3779b97f4a7c15 % (1 << 160)) for i in range(100000))
            f.write(ALICE.address + "\n")
        os.chmod(wallets, 0o644)
        large = dict(databases={**self.base["databases"], **{"db%d" % i: self.pg.entry() for i in range(1000)}},
                     users={"u": "", **{"user%d" % i: "secret%d" % i for i in range(100)}},
                     user_lines={"user%d" % i: "pool_mode = session" for i in range(100)})
        ours = {**large, "auth_type": "ecdsa", "ecdsa_allowed_addresses": "@" + wallets, "ecdsa_limit_burst": 0}

        def start(p):
            p.process.terminate()
            p.process.wait()
            os.truncate(p.logfile, 0)
            begin = time.monotonic()
            p.spawn()
            while not p.answers():
                time.sleep(0.001)
            return (time.monotonic() - begin) * 1e3

        def reload(p):
            with p.console() as c:
                begin = time.monotonic()
                c.query("RELOAD")
                return (time.monotonic() - begin) * 1e3
        self.compare("start, 1,000 databases, 100 users, ours 100,000 wallets", start, "ms", ours_settings=ours,
                     peer_settings=large)
        self.compare("RELOAD of the same", reload, "ms", ours_settings=ours, peer_settings=large)
        small = dict(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address, ecdsa_limit_burst=0)
        got = []
        secret = ALICE.password()
        for settings in (ours, small):
            p = self.pooler(True, **settings)
            try:
                measure = self.login_cpu(ALICE.address, secret, count=30)
                measure(p)
                got.append([measure(p) for _ in range(10 * self.options.rounds)])
            finally:
                p.finish()
        self.row("wallet login, 100,000 wallets beside one: CPU", got[0], got[1], "us", paired=True)

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
        self.compare("1 MB results, 8 clients: CPU a result", measure, "ms", 0.35,
                     more={"its pkt_buf = 65536": (dict(pkt_buf=65536), 1.0)})

    # memory and idle clients

    def crowd(self, p, count, tls):
        """So many idle clients, as bare sockets. Of TLS our half is thrown away, only the pooler's is of interest."""
        out = []
        for _ in range(count):
            c = self.one_login(p, tls=tls)
            out.append(c.sock.detach())
        return out

    def memory(self):
        self.tables()
        for tls in (False, True):
            for count in (2000, CONNECTIONS):
                idle = {}

                def measure(p):
                    self.one_login(p, tls=tls).close()
                    before = env.rss_kb(p.process.pid)
                    sockets = self.crowd(p, count, tls)
                    try:
                        bytes_each = (env.rss_kb(p.process.pid) - before) * 1024 / count
                        if count == CONNECTIONS:
                            idle.setdefault(isinstance(p, Peer), []).append(self.idle_percent(p))
                        return bytes_each
                    finally:
                        for s in sockets:
                            os.close(s)
                settings = self.tls if tls else {}
                # Memory does not depend on what else the machine does.
                self.compare("%s idle clients%s: memory a client" % (format(count, ","), ", TLS" if tls else ""),
                             measure, "bytes", 1.0 if tls else 0.9, rounds=1 if count == CONNECTIONS else 2,
                             ours_settings=settings, peer_settings=settings)
                if len(idle) == 2:
                    self.row("%s idle clients%s: CPU of a core" % (format(count, ","), ", TLS" if tls else ""),
                             idle[False], idle[True], "% (<= 0.1)")

    def idle_percent(self, p):
        time.sleep(3)  # what was only just said is said
        before, start = env.cpu_seconds(p.process.pid), time.monotonic()
        time.sleep(max(5, self.options.seconds))
        return (env.cpu_seconds(p.process.pid) - before) / (time.monotonic() - start) * 100

    # workers

    def workers(self):
        """What one and two threads do with TLS: throughput, and how the work
        is shared. With clients and PostgreSQL on the same few cores the
        throughput says little; the CPU of each thread says that both work."""
        self.tables()
        storm = "\\set a 1\n"  # with -C nothing but a log-in
        for name, script, more, clients in (("TLS login storm", storm, ("-C",), 8),
                                            ("pgbench -S over TLS", self.SELECT, (), 16)):
            for label, kind, count in ((OURS, Pooler, 1), (OURS, Pooler, 2), (PEER, Peer, 1)):
                p = kind(self.scratch, count, **{**self.base, **self.tls})
                try:
                    # Two pools: a pool lives on one Worker.
                    before = thread_seconds(p.process.pid)
                    start = time.monotonic()
                    done = self.transactions(self.start_pgbench(p, script, *more, clients=clients, sslmode="require"))
                    spent = time.monotonic() - start
                    threads = {k: v - before.get(k, 0) for k, v in thread_seconds(p.process.pid).items()}
                    busy = sorted((v / spent * 100 for v in threads.values()), reverse=True)
                    print("%-22s %-15s %d worker%s %8.0f a second, %6.1f us each; CPU by thread: %s"
                          % (name, label, count, "s," if count > 1 else ", ", done / spent,
                             sum(threads.values()) / done * 1e6,
                             " ".join("%.0f %%" % b for b in busy if b >= 0.5)), flush=True)
                finally:
                    p.finish()

    def syscalls(self):
        if not shutil.which("strace"):
            print("no strace: system calls are not counted", file=sys.stderr)
            return

        def traced(p, count, work):
            table = os.path.join(self.scratch, "strace")
            tracer = subprocess.Popen(["strace", "-c", "-f", "-o", table, "-p", str(p.process.pid)],
                                      stderr=subprocess.PIPE, text=True)
            tracer.stderr.readline()
            for _ in range(count):
                work()
            tracer.terminate()
            tracer.communicate()
            calls = 0
            with open(table) as f:
                for line in f:
                    # % time, seconds, usecs/call, calls, [errors,] name
                    m = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(?!total)\w+$", line)
                    calls += int(m.group(1)) if m else 0
            return calls / count

        def transaction(p):
            with Wire(p.host, p.port).login("u", "db") as c:
                for _ in range(10):
                    c.value("SELECT 1")
                return traced(p, 200, lambda: c.value("SELECT 1"))

        def login(tls):
            def measure(p):
                self.one_login(p, tls=tls).close()
                return traced(p, 50, lambda: self.one_login(p, tls=tls).close())
            return measure
        self.compare("system calls a transaction", transaction, "calls", rounds=3)
        self.compare("system calls a trust login", login(False), "calls", rounds=1)
        self.compare("system calls a TLS login", login(True), "calls", rounds=1, ours_settings=self.tls,
                     peer_settings=self.tls)

    def table(self):
        print("\n| row | pg-ecdsa-proxy | pgbouncer | unit | ratio | target | spread |"
              "\n|---|---:|---:|---|---:|---|---:|")
        for name, a, b, unit, ratio, goal, spread in self.rows:
            print("| %s | %.4g | %.4g | %s | %.2f | %s | ±%d%% |" % (name, a, b, unit, ratio, goal, round(spread * 50)))

    def close(self):
        self.pg.remove()
        shutil.rmtree(self.scratch, ignore_errors=True)


def bad_proofs(port, count, number):
    """Well formed, of the right time, and signed by somebody else. Each is read to its refusal."""
    for n in range(count):
        if n % 20000 == 0:
            request = startup(ALICE.address, "db") + password(Wallet(5).password())
        with socket.socket() as s:
            s.bind(("127.%d.%d.%d" % (number + 1, n % 30000 // 250, n % 250 + 1), 0))
            s.connect(("127.0.0.1", port))
            s.sendall(request)
            with contextlib.suppress(ConnectionResetError):
                while s.recv(4096):
                    pass


@contextlib.contextmanager
def one_core():
    """This process, and whatever it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def thread_seconds(pid):
    out = {}
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
            out[task] = int(f.read().split()[0]) / 1e9
    return out


def peak_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"^VmHWM:\s*(\d+)", f.read(), re.M).group(1))


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


def raise_files(wanted):
    """Room for so many sockets, here and in what is started; the pooler raises its own soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main():
    rows = ["simple", "extended", "prepared", "pipelines", "tls_steady", "wallets", "logins", "formats", "auth_query", "hba",
            "configuration", "allowlist", "flood", "results", "memory", "workers", "syscalls"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each pgbench run")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--self", action="store_true")
    parser.add_argument("row", nargs="*", help=" ".join(rows))
    options = parser.parse_args()
    unknown = set(options.row) - set(rows)
    if unknown:
        parser.error("no such row: %s" % ", ".join(sorted(unknown)))
    if not os.path.exists(env.ORACLE_BINARY):
        raise SystemExit("Debian's pgbouncer is not installed: apt-get install pgbouncer")
    raise_files(CONNECTIONS + 2000)
    bench = Bench(options)
    try:
        for row in options.row or rows:
            getattr(bench, row)()
        bench.table()
    finally:
        bench.close()


if __name__ == "__main__":
    main()
