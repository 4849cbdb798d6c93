#!/usr/bin/python3
"""Long runs; the first three are what test/system/test_resilience.py runs in short.

    soak.py [--short] [--seconds N] [--mode M] [part...]

crowd      200 clients on 5 servers for a minute, without an error
restarts   PostgreSQL killed and restarted under load: clients recover, nothing hangs
wallets    10,000 wallets, one after the other, without memory growth
limit      for a minute, 20 connections a second that open at once with one
           proof, beside a flood of bad proofs: no refusal, nobody at work
           notices, no memory growth
modes      1,000 clients on 10 servers for ten minutes in each pool mode, with a
           RELOAD every second and now and then a KILL_CLIENT and a KILL: no
           error that was not asked for (--seconds: of each mode)
pgbench    pgbench with 200 clients for ten minutes in each pool mode, with a RELOAD
           every second and now and then a KILL_CLIENT: no other error
           (--seconds: of each mode)
shutdown   every way to shut down, under load: nobody is cut who may not be
failover   PAUSE, restart of PostgreSQL, RESUME: no client sees an error
takeovers  online restarts one after the other, with other numbers of workers,
           and successors that are killed half way: no client sees an error
idle       what 10,000 idle clients do to the answers for 200 busy ones

Of the backup daemon:
kills      kill -9 of the daemon, of pg_dump and of the object store at 200 random
           moments: all that looks like a backup is one, none is lost
large      8 GiB from a stand-in for pg_dump go out and come back in at most 64 MiB
           of resident memory, in both formats (needs 10 GiB in TMPDIR)
gib        a database of 1 GiB goes out and comes back, every row of it
tables     the same of a database of 10,000 tables
leaders    ten daemons that start together on an empty database: one restores it, and
           then one makes each backup, every minute for ten minutes
"""
import argparse
import contextlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "system"))

import psycopg  # noqa: E402
from harness import env, wire  # noqa: E402
from harness.load import LEAVE, Crowd  # noqa: E402
from harness.wallet import Wallet  # noqa: E402
from harness.wire import SYNC, Closed, PgError, bind, close, execute, extended, parse, query  # noqa: E402

FIRST_KEY = 100000
GIB = 1 << 30
RESIDENT_MOST = 64 << 10  # KiB; backup specification, 7.1
WALLETS = 10000


def together(count, work):
    """Run work(number) in so many threads; a thread that does not end is a
    hang, and an exception is a failure."""
    faults = []

    def guarded(number):
        try:
            work(number)
        except BaseException as e:
            faults.append("client %d: %r" % (number, e))
    threads = [threading.Thread(target=guarded, args=(n,), daemon=True) for n in range(count)]
    for t in threads:
        t.start()
    return threads, faults


def join(threads, faults, patience):
    end = time.monotonic() + patience
    for t in threads:
        t.join(max(0.1, end - time.monotonic()))
    hung = sum(t.is_alive() for t in threads)
    assert not hung, "%d clients hang" % hung
    assert not faults, "%d faults, the first: %s" % (len(faults), faults[0])


def crowd(pooler, clients, seconds, user="u_trust"):
    """Many clients on few servers; the number of transactions is returned."""
    stop = time.monotonic() + seconds
    done = [0] * clients

    def work(number):
        with pooler.connect(user) as conn:
            # At least once, however long it took to get in.
            while not done[number] or time.monotonic() < stop:
                with conn.transaction():
                    row = conn.execute("SELECT %s::int, %s::text", (number, "x" * (number % 97)),
                                       prepare=False).fetchone()
                    assert row == (number, "x" * (number % 97))
                done[number] += 1
    join(*together(clients, work), seconds + env.PATIENCE * 4)
    assert all(done), "some clients were never served"
    return sum(done)


def restarts(pooler, postgres, clients, times, how=signal.SIGQUIT, user="u_trust"):
    """Kill the server under load and start it again; every client must be
    served after the last restart."""
    over = threading.Event()
    served = [0] * clients
    errors = [0]

    def work(number):
        conn = None
        while not over.is_set() or not served[number]:
            try:
                if conn is None:
                    conn = pooler.connect(user)
                assert conn.execute("SELECT %s::int", (number,), prepare=False).fetchone() == (number,)
                served[number] += 1
            except psycopg.Error:
                errors[0] += 1
                if conn is not None:
                    conn.close()
                conn = None
                time.sleep(0.02)
        conn.close()
    threads, faults = together(clients, work)
    for _ in range(times):
        env.wait_for(lambda: all(served) or faults, "everybody to be served", timeout=60 * env.SLOW)
        refused = len(pooler.logged("connect failed"))
        postgres.stop(how)
        # When every client was queued at that moment none hears of it: they go on waiting.
        env.wait_for(lambda: errors[0] or faults or len(pooler.logged("connect failed")) > refused,
                     "somebody to notice", timeout=60 * env.SLOW)
        postgres.start()
        errors[0] = 0
        served[:] = [0] * clients
    env.wait_for(lambda: all(served) or faults, "everybody to be served again", timeout=60 * env.SLOW)
    over.set()
    join(threads, faults, 60 * env.SLOW)


def wallet_settings(pg, count=250):
    """A pooler that lets the numbered wallets in."""
    path = os.path.join(env.make_dir(prefix="wallets-", parent=pg.dir), "list")
    env.write(path, "".join(Wallet(FIRST_KEY + i).lower + "\n" for i in range(count)))
    return dict(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ecdsa", pool_mode="transaction",
                ecdsa_allowed_addresses="@" + path, ecdsa_limit_burst=0, default_pool_size=2)


def wallets(pooler, count, warm_up):
    """Log wallets in one after the other; growth of the pooler in KiB after
    the warm-up, in which caches fill."""
    before = 0
    for i in range(warm_up + count):
        if i == warm_up:
            before = settled_rss(pooler)
        w = Wallet(FIRST_KEY + i)
        with pooler.login(w.address, secret=w.password()) as c:
            assert c.value("SELECT 1") == "1"
    return settled_rss(pooler) - before


def settled_rss(pooler):
    env.wait_for(lambda: pooler.pool()["cl_active"] == 0, "the last client to go")
    return env.rss_kb(pooler.process.pid)


def open_at_once(pooler, wallet, secret, count=20):
    """A client pool that starts: everybody asks before anybody proves."""
    clients = [pooler.wire() for _ in range(count)]
    for c in clients:
        c.send(wire.startup(wallet.address, "db"))
    for c in clients:
        c.finish_login(wallet.address, secret)
    for c in clients:
        c.close()


def limit(pooler, seconds):
    """Attack row 39. Returns rounds of the pool, refused strangers, growth in KiB."""
    wallet = Wallet(FIRST_KEY)
    secret = wallet.password()
    over = threading.Event()
    refused = [0] * 3
    served = [0]

    def stranger(number):
        n = 0
        while not over.is_set():
            with pooler.wire(source="127.%d.%d.%d" % (number + 1, n // 250 % 250, n % 250 + 1)) as c:
                try:
                    c.login("0x%040x" % (n * 3 + number), "db", "nonsense")
                    raise AssertionError("a stranger was let in")
                except wire.PgError as e:
                    assert e.code in ("28P01", "53300"), e
            refused[number] += 1
            n += 1

    def worker():
        with pooler.login(wallet.address, secret=secret) as c:
            while not over.is_set():
                assert c.value("SELECT 42") == "42"
                served[0] += 1
                time.sleep(0.002)
    open_at_once(pooler, wallet, secret)
    threads, faults = together(4, lambda n: worker() if n == 3 else stranger(n))
    env.wait_for(lambda: faults or min(refused) >= 300, "the flood to fill what grows at first", timeout=60 * env.SLOW)
    before = env.rss_kb(pooler.process.pid)
    rounds = 0
    begin = time.monotonic()
    while not faults and time.monotonic() < begin + seconds:
        open_at_once(pooler, wallet, secret)
        rounds += 1
        time.sleep(max(0, begin + rounds - time.monotonic()))
    over.set()
    join(threads, faults, env.PATIENCE * 4)
    assert served[0] > 0
    growth = settled_rss(pooler) - before
    stats = {(r["counter"], r["kind"]): int(r["value"]) for r in pooler.show("STATS_ECDSA")}
    # The table itself, 512 KiB, is filled as the strangers come.
    assert growth < 2048 * env.SLOW, "%d KiB of growth" % growth
    assert stats["logins", "timestamp"] == 20 * (rounds + 1) + 1
    return rounds, sum(refused), growth


# --- many clients in one thread: harness/load.py ------------------------------


def ask(number, turn):
    """One statement that only its own answer fits."""
    token = b"%d.%d" % (number, turn)
    if (number + turn) % 3:
        reply = yield query("SELECT '%d.%d'" % (number, turn))
    else:
        reply = yield extended("SELECT $1::text", (token.decode(),)) + SYNC
    assert reply.rows == [token], "%r instead of %r" % (reply.rows, token)
    return reply


def statement_unit(number, turn):
    reply = yield from ask(number, turn)
    assert reply.status == b"I"


def transaction_unit(number, turn):
    if turn % 4 == 0:
        yield from statement_unit(number, turn)
        return
    reply = yield query("BEGIN")
    assert reply.status == b"T"
    yield from ask(number, turn)
    reply = yield query("COMMIT" if turn % 2 else "ROLLBACK")
    assert reply.status == b"I"


def session_unit(number, turn):
    """Sign in, leave traces that the next one must not see, and go."""
    reply = yield query("SELECT to_regclass('mine') IS NULL")
    assert reply.rows == [b"t"], "somebody else's session"
    yield query("CREATE TEMP TABLE mine ()")
    yield from ask(number, turn)
    return LEAVE


MODES = {"session": session_unit, "transaction": transaction_unit, "statement": statement_unit}


def disturb(pooler, crowd, second, kills):
    """A second of what an operator may do while clients work."""
    with pooler.console() as console:
        assert console.query("RELOAD").tags == ["RELOAD"]
        if second % 5 == 0:
            victims = [r["id"] for r in console.query("SHOW CLIENTS").dicts() if r["database"] == "db"]
            crowd.allow(1)
            # In session mode it may have left by itself.
            answer = console.query("KILL_CLIENT %s" % random.choice(victims)) if victims else None
            kills[0] += bool(answer and answer.tags == ["KILL_CLIENT"])
        if second % 20 == 1:
            crowd.allow(len(crowd.clients))
            assert console.query("KILL db").tags == ["KILL"]
            kills[1] += 1
            env.wait_for(lambda: crowd.faults or crowd.asked > 0, "the clients to notice")
            assert console.query("RESUME db").tags == ["RESUME"]


def one_mode(pooler, mode, clients, seconds):
    crowd = Crowd(pooler, clients, MODES[mode])
    crowd.start()
    kills = [0, 0]
    env.wait_for(lambda: crowd.served_since([0] * clients), "everybody to be served", timeout=60 * env.SLOW)
    start = time.monotonic()
    second = 0
    while time.monotonic() < start + seconds and not crowd.faults:
        disturb(pooler, crowd, second, kills)
        second += 1
        time.sleep(max(0, min(start + second, start + seconds) - time.monotonic()))
    marks = crowd.marks()
    env.wait_for(lambda: crowd.served_since(marks), "everybody to be served at the end", timeout=60 * env.SLOW)
    spent = time.monotonic() - start
    crowd.stop()
    pooler.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)
    done = crowd.done
    return ("%d units by %d clients, %.0f a second; %d RELOAD, %d KILL_CLIENT, %d KILL: %d connections ended as asked"
            % (done, clients, done / spent, second, kills[0], kills[1], crowd.asked))


# --- pgbench ----------------------------------------------------------------------

# Sessions are shared by leaving: with -C each transaction is one.
PGBENCH = {"session": ["-C"], "transaction": [], "statement": ["-S"]}


def pgbench(pooler, mode, clients, seconds, log):
    """Its clients are killed now and then; each that is must say so, and nobody else may fail."""
    with open(log, "w") as out:
        process = subprocess.Popen(["pgbench", "-h", pooler.host, "-p", str(pooler.port), "-U", "u_trust", "-n",
                                    "-c", str(clients), "-j", "2", "-T", str(seconds), *PGBENCH[mode], "db"],
                                   stdout=out, stderr=subprocess.STDOUT, text=True)
    reloads, kills, start = 0, 0, time.monotonic()
    try:
        env.wait_for(lambda: pooler.pool()["sv_active"] > 0 or process.poll() is not None, "pgbench to work")
        while process.poll() is None:
            with pooler.console() as console:
                assert console.query("RELOAD").tags == ["RELOAD"]
                reloads += 1
                # At the beginning it asks for its tables by a connection that it cannot do without; and it does not
                # count a client that is lost at the very end.
                if reloads % 15 == 3 and time.monotonic() < start + seconds * 0.9 and kills < clients // 2:
                    victims = [r["id"] for r in console.query("SHOW CLIENTS").dicts() if r["database"] == "db"]
                    answer = console.query("KILL_CLIENT %s" % random.choice(victims)) if victims else None
                    kills += bool(answer and answer.tags == ["KILL_CLIENT"])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    with open(log) as f:
        words = f.read()
    done = re.search(r"number of transactions actually processed: (\d+)", words)
    faults = [line for line in words.splitlines() if re.search("error|fatal|panic", line, re.I)]
    lost = set(re.findall(r"client (\d+) (?:script \d+ )?aborted", words))
    # How a lost connection is told depends on what its client was doing.
    strange = [line for line in faults if not re.search("admin forced disconnect|client \\d+ (script \\d+ )?aborted"
                                                        "|Run was aborted|failed transactions", line)]
    assert done and not strange, "\n".join(strange or words.splitlines()[-20:])
    assert len(lost) <= kills, "%d lost of %d killed" % (len(lost), kills)
    assert (process.returncode == 0) == (not lost), "pgbench ended with %d" % process.returncode
    return ("%s transactions by %d clients, %.0f a second; %d RELOAD, %d KILL_CLIENT, of which %d met a client at work"
            % (done.group(1), clients, int(done.group(1)) / seconds, reloads, kills, len(lost)))


def cut_only_between_transactions(in_transaction, words):
    if in_transaction:
        return "cut in the middle of a transaction: " + words
    if words in ("FATAL server shutting down", "FATAL pooler is shutting down") or words.startswith("c"):
        return None  # told, or found the door closed
    return words


def cut_at_any_time(in_transaction, words):
    return None if words.startswith(("closed", "connect")) else words


def never_cut(in_transaction, words):
    return "cut: " + words


SHUTDOWNS = [
    ("SIGQUIT", signal.SIGQUIT, cut_at_any_time),
    ("SHUTDOWN", "SHUTDOWN", cut_at_any_time),
    ("SIGINT", signal.SIGINT, cut_only_between_transactions),
    ("SHUTDOWN WAIT_FOR_SERVERS", "SHUTDOWN WAIT_FOR_SERVERS", cut_only_between_transactions),
    ("SIGTERM", signal.SIGTERM, never_cut),
    ("SHUTDOWN WAIT_FOR_CLIENTS", "SHUTDOWN WAIT_FOR_CLIENTS", never_cut),
]


def one_shutdown(pooler, how, rule, clients):
    crowd = Crowd(pooler, clients, transaction_unit)
    crowd.start()
    env.wait_for(lambda: crowd.served_since([0] * clients), "everybody to be served", timeout=60 * env.SLOW)
    start = time.monotonic()
    crowd.ending = rule
    pooler.expected_exit = 0
    if isinstance(how, str):
        with pooler.console() as console:
            try:
                console.query(how)
            except Closed:
                assert how == "SHUTDOWN", "no answer to " + how
    else:
        pooler.signal(how)
    if rule is never_cut:
        env.wait_for(lambda: crowd.faults or refuses(pooler), "new clients to be refused")
        marks = crowd.marks()
        env.wait_for(lambda: crowd.served_since(marks), "everybody to go on", timeout=60 * env.SLOW)
        assert pooler.process.poll() is None, "it has ended with clients"
        # Who is neither cut nor refused leaves by himself.
        crowd.is_stopping = True
    pooler.wait_exit(0, 30 * env.SLOW)
    took = time.monotonic() - start
    crowd.stop()
    return took


def refuses(pooler):
    try:
        pooler.wire().close()
    except ConnectionRefusedError:
        return True
    return False


def failover(pooler, postgres, clients, times):
    crowd = Crowd(pooler, clients, transaction_unit)
    crowd.start()
    longest = 0.0
    marks = [0] * clients
    for _ in range(times):
        env.wait_for(lambda: crowd.served_since(marks), "everybody to be served", timeout=60 * env.SLOW)
        with pooler.console() as console:
            start = time.monotonic()
            assert console.query("PAUSE").tags == ["PAUSE"]
            postgres.stop(signal.SIGINT)
            postgres.start()
            marks = crowd.marks()
            assert console.query("RESUME").tags == ["RESUME"]
        env.wait_for(lambda: crowd.served_since(marks), "everybody to be served again", timeout=60 * env.SLOW)
        longest = max(longest, time.monotonic() - start)
    crowd.stop()
    return crowd.done, longest


def prepared_unit(number, turn):
    """One statement of its own and one that all share, over several units."""
    token = b"%d.%d" % (number, turn)
    if turn == 0:
        reply = yield parse("SELECT $1::text", "shared") + SYNC
    name = "s%d" % (turn // 3)
    if turn % 3 == 0:
        yield parse("SELECT $1::text, %d" % (number % 20), name) + SYNC
    reply = yield bind(name, "", (token.decode(),)) + execute() + bind("shared", "", (token.decode(),)) + execute() + SYNC
    assert reply.rows == [token, token], reply.rows
    if turn % 3 == 2:
        yield close("S", name) + SYNC


def restless_unit(number, turn):
    """What clients do, each its own; some come and go."""
    if number % 3 == 0:
        yield from prepared_unit(number, turn)
    elif number % 3 == 1:
        yield from transaction_unit(number, turn)
    else:
        yield from ask(number, turn)
        return LEAVE if turn % 10 == 9 else None


def takeovers(pooler, clients, seconds):
    crowd = Crowd(pooler, clients, restless_unit)
    crowd.start()
    end = time.monotonic() + seconds
    done = killed = 0
    while done < 3 or time.monotonic() < end:
        marks = crowd.marks()
        env.wait_for(lambda: crowd.served_since(marks), "everybody to be served", timeout=60 * env.SLOW)
        crowd.check()
        if done % 3 == 2:
            where = random.choice(("takeover-suspended", "takeover-told", "takeover-shutdown"))
            pooler.mark()
            successor = pooler.successor(faults=where)
            os.waitpid(successor.pid, os.WUNTRACED)  # it stops itself
            successor.kill()
            successor.wait()
            pooler.wait_log("admin disappeared when suspended, doing RESUME")
            killed += 1
        pooler.restart(workers=random.choice((1, 2, 3)))
        done += 1
    marks = crowd.marks()
    env.wait_for(lambda: crowd.served_since(marks), "everybody to be served at the end", timeout=60 * env.SLOW)
    crowd.stop()
    return done, killed, crowd.done


def paced_unit(number, turn):
    yield from statement_unit(number, turn)
    # Busy, but not so busy that the clients themselves are what is measured.
    yield 0.05 + (number * 7 + turn * 13) % 100 / 1000


def percentile(pooler, clients, seconds, part=0.99):
    crowd = Crowd(pooler, clients, paced_unit)
    crowd.start()
    env.wait_for(lambda: crowd.served_since([0] * clients), "everybody to be served", timeout=60 * env.SLOW)
    crowd.latencies = latencies = []
    time.sleep(seconds)
    crowd.latencies = None
    crowd.stop()
    latencies.sort()
    return latencies[int(len(latencies) * part)], len(latencies)


def crowd_of_idle(pooler, count):
    out = []
    for _ in range(count):
        c = pooler.login()
        out.append(c.sock.detach())
    return out


def idle(pooler, busy, idlers, seconds, rounds):
    """Each round measures without and with the idle ones; the better of its
    rounds stands for each, since what disturbs from outside only adds."""
    without, beside = [], []
    for _ in range(rounds):
        without.append(percentile(pooler, busy, seconds)[0])
        sockets = crowd_of_idle(pooler, idlers)
        try:
            beside.append(percentile(pooler, busy, seconds)[0])
            assert pooler.pool()["cl_active"] >= idlers, "idle clients were lost"
        finally:
            for s in sockets:
                os.close(s)
        env.wait_for(lambda: pooler.pool()["cl_active"] == 0, "the idle ones to go")
    ratio = min(beside) / min(without)
    return ("p99 of %d busy clients %.2f ms, beside %d idle ones %.2f ms: ratio %.2f, %s 1.2"
            % (busy, min(without) * 1e3, idlers, min(beside) * 1e3, ratio, "within" if ratio <= 1.2 else "OVER"))


# --- the backup daemon ---------------------------------------------------------


def peak_kb(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.M).group(1))


def watched_daemon(b, event, **more):
    """Runs a daemon until it has said that; the peak of its memory, and how long it took."""
    begun = time.monotonic()
    d = b.daemon(**more)
    d.wait_event(event, timeout=3600 * env.SLOW)
    took = time.monotonic() - begun
    peak = peak_kb(d.p.pid)
    d.stop()
    wrong = [line for line in d.log().splitlines() if line.split(" ")[1:2] == ["error"]]
    assert not wrong, wrong
    return peak, took


def large(pg, scratch, size):
    """Out to a null server and to a directory, and back from there."""
    from harness.backup import Backup
    from harness.nulls3 import NullS3
    pg.sql("DROP DATABASE IF EXISTS b_large", "DROP DATABASE IF EXISTS b_large_back", "CREATE DATABASE b_large",
           "CREATE DATABASE b_large_back")
    pg.sql("CREATE TABLE t (a int)", db="b_large")
    server = NullS3()
    dump = "printf PGDMP; head -c %d /dev/zero" % (size - 5)
    # It counts what it gets; that is as good as reading it.
    back = 'case "$*" in *--list*) head -c 100000 >/dev/null; exit 0;; esac; wc -c >%s'
    try:
        for form in ("1", "2"):
            b = Backup(pg, scratch, database="b_large", BACKUP_FORMAT=form, BACKUP_SCHEDULE_INITIAL_DELAY="0",
                       BACKUP_INTERVAL_SECS="1d", BACKUP_SCHEDULE_MIN_SPACING="0")
            got = os.path.join(b.dir, "got")
            b.set(PG_BIN_DIR=b.stub(pg_dump=dump, pg_restore=back % got))
            peak, took = watched_daemon(b, "backup_done", BACKUP_S3_ENDPOINT=server.endpoint, BACKUP_S3_BUCKET="b",
                                        BACKUP_S3_ACCESS_KEY="k", BACKUP_S3_SECRET_KEY="s")
            yield "format %s, out to a null server" % form, peak, took
            peak, took = watched_daemon(b, "backup_done")
            assert os.path.getsize(b.objects()[0]) > size
            yield "format %s, out to a directory" % form, peak, took
            peak, took = watched_daemon(b, "restore_done", PG_DATABASE="b_large_back", BACKUP_SCHEDULE_INITIAL_DELAY="1h")
            with open(got) as f:
                assert int(f.read()) == size
            yield "format %s, back" % form, peak, took
            b.close()
            shutil.rmtree(b.dir)
    finally:
        server.close()
        pg.sql("DROP DATABASE b_large WITH (FORCE)", "DROP DATABASE b_large_back WITH (FORCE)")


def fingerprint(pg, name):
    return pg.sql("SELECT count(*), sum(hashtextextended(t::text, 0)) FROM t", db=name)[0]


def gib(pg, scratch, size):
    from harness.backup import Backup, real_database
    real_database(pg, "b_gib", size)
    pg.sql("DROP DATABASE IF EXISTS b_gib_back", "CREATE DATABASE b_gib_back")
    try:
        for form in ("1", "2"):
            b = Backup(pg, scratch, database="b_gib", BACKUP_FORMAT=form, BACKUP_SCHEDULE_INITIAL_DELAY="0", PG_BIN_DIR=pg.bin,
                       BACKUP_INTERVAL_SECS="1d")
            peak, took = watched_daemon(b, "backup_done")
            stored = os.path.getsize(b.objects()[0])
            yield "format %s, out: %.0f MiB of database, %.0f MiB stored" % (form, size / 2**20, stored / 2**20), peak, took
            peak, took = watched_daemon(b, "restore_done", PG_DATABASE="b_gib_back", BACKUP_SCHEDULE_INITIAL_DELAY="1h")
            assert fingerprint(pg, "b_gib_back") == fingerprint(pg, "b_gib")
            yield "format %s, back" % form, peak, took
            pg.sql("DROP TABLE t", db="b_gib_back")
            b.close()
            shutil.rmtree(b.dir)
    finally:
        pg.sql("DROP DATABASE b_gib WITH (FORCE)", "DROP DATABASE b_gib_back WITH (FORCE)")


def tables(pg, scratch, count):
    from harness.backup import Backup
    pg.sql("DROP DATABASE IF EXISTS b_tables", "DROP DATABASE IF EXISTS b_tables_back", "CREATE DATABASE b_tables",
           "CREATE DATABASE b_tables_back")
    try:
        for first in range(0, count, 1000):
            pg.sql("DO $$ BEGIN FOR i IN %d..%d LOOP EXECUTE format('CREATE TABLE t%%s AS SELECT %%s AS id', i, i); END LOOP;"
                   " END $$" % (first, min(first + 1000, count) - 1), db="b_tables")
        b = Backup(pg, scratch, database="b_tables", BACKUP_SCHEDULE_INITIAL_DELAY="0", PG_BIN_DIR=pg.bin,
                   BACKUP_INTERVAL_SECS="1d")
        peak, took = watched_daemon(b, "backup_done")
        yield "%d tables, out" % count, peak, took
        peak, took = watched_daemon(b, "restore_done", PG_DATABASE="b_tables_back", BACKUP_SCHEDULE_INITIAL_DELAY="1h")
        told = pg.sql("SELECT count(*), sum((xpath('/row/id/text()', query_to_xml('SELECT id FROM ' || tablename, false, true,"
                      " '')))[1]::text::int) FROM pg_tables WHERE schemaname = 'public'", db="b_tables_back")
        assert told == [(count, count * (count - 1) // 2)], told
        yield "%d tables, back" % count, peak, took
        b.close()
    finally:
        pg.sql("DROP DATABASE b_tables WITH (FORCE)", "DROP DATABASE b_tables_back WITH (FORCE)")


def leaders(pg, scratch, count, interval, seconds):
    """Acceptance 8."""
    from harness.backup import Backup
    pg.sql("DROP DATABASE IF EXISTS b_leaders", "CREATE DATABASE b_leaders")
    pg.sql("CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g", db="b_leaders")
    b = Backup(pg, scratch, database="b_leaders", BACKUP_INTERVAL_SECS="%ds" % interval, BACKUP_SCHEDULE_JITTER="0",
               BACKUP_SCHEDULE_INITIAL_DELAY="%ds" % min(interval, 10), BACKUP_SCHEDULE_MIN_SPACING="%ds" % (interval // 2))
    try:
        b.backup()
        pg.sql("DROP TABLE t", db="b_leaders")
        os.utime(b.objects()[0])
        running = [b.daemon() for _ in range(count)]
        for d in running:
            d.wait_event("ready")
        restored = sum(len(d.events("restore_done")) for d in running)
        assert restored == 1, "%d restores" % restored
        # Between two ticks, since who is ended in a backup says that it has failed.
        time.sleep(seconds + interval / 2)
        done = [len(d.events("backup_done")) for d in running]
        for d in running:
            d.end()
        failed = [line for d in running for line in d.log().splitlines() if line.split(" ")[1:2] == ["error"]]
        assert not failed, failed
        times = sorted(os.path.basename(p)[:15] for p in b.objects())[1:]
        when = [time.mktime(time.strptime(t, "%Y%m%d_%H%M%S")) for t in times]
        gaps = [y - x for x, y in zip(when, when[1:])]
        assert gaps and min(gaps) > interval * 0.7 and max(gaps) < interval * 1.3, (times, done)
        assert sorted(done)[:-1] == [0] * (count - 1), "more than one has made backups: %s" % done
        return len(times)
    finally:
        b.close()
        pg.sql("DROP DATABASE b_leaders WITH (FORCE)")


# --- the program ---------------------------------------------------------------


class Soak:
    """Each method is a part: a generator of (name, result) lines."""

    def __init__(self, options, scratch, pg):
        self.options = options
        self.short = options.short
        self.scratch = scratch
        self.pg = pg
        self.workers = os.environ.get("WORKERS", "1").split()[0]
        self.base = dict(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction",
                         default_pool_size=5, max_client_conn=500, query_wait_timeout=60, log_connections=0,
                         log_disconnections=0)
        self.running = []

    def pooler(self, **settings):
        from harness.pooler import Pooler
        p = Pooler(self.scratch, self.workers, **{**self.base, **settings})
        self.running.append(p)
        return p

    def finish(self):
        """Of all poolers of a part; what they left behind is judged."""
        out = []
        while self.running:
            troubles, text = self.running.pop().finish()
            if troubles:
                out.append("%s\n%s" % (troubles, text[-3000:]))
        return out

    def end(self):
        """A part that makes several poolers ends each before the next."""
        troubles = self.finish()
        assert not troubles, troubles[0]

    def modes_of(self, known):
        return [m for m in known if self.options.mode in (None, m)]

    def crowd(self):
        n = crowd(self.pooler(), 50 if self.short else 200, 3 if self.short else 60)
        yield "crowd", ("%d transactions without an error, %d server connections"
                        % (n, len(self.pg.backends("db", user="u_trust"))))

    def restarts(self):
        clients, times = (20, 1) if self.short else (100, 5)
        restarts(self.pooler(), self.pg, clients, times)
        yield "restarts", "%d clients, all served after each of %d" % (clients, times)

    def wallets(self):
        count, warm_up = (150, 50) if self.short else (9000, 1000)
        settings = wallet_settings(self.pg, 250 if self.short else WALLETS)
        growth = wallets(self.pooler(**settings), count, warm_up)
        yield "wallets", "%d after %d, growth %d KiB" % (count, warm_up, growth)

    def limit(self):
        settings = wallet_settings(self.pg, 250)
        settings.pop("ecdsa_limit_burst")
        rounds, refused, growth = limit(self.pooler(**settings), 3 if self.short else 60)
        yield "limit", ("%d rounds of 20 log-ins without a refusal, %d strangers refused, growth %d KiB"
                        % (rounds, refused, growth))

    def modes(self):
        clients, seconds = (100, 2) if self.short else (1000, 600)
        for mode in self.modes_of(MODES):
            p = self.pooler(pool_mode=mode, default_pool_size=10, max_client_conn=clients + 100)
            yield mode + " mode", one_mode(p, mode, clients, self.options.seconds or seconds)
            self.end()

    def pgbench(self):
        clients, seconds = (30, 4) if self.short else (200, self.options.seconds or 600)
        subprocess.run(["pgbench", "-i", "-q", "-s", "10", "-h", self.pg.host, "-p", str(self.pg.port), "-U", "u_trust",
                        "db"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for mode in self.modes_of(PGBENCH):
            p = self.pooler(pool_mode=mode, default_pool_size=10, max_client_conn=clients + 100)
            yield "pgbench, %s mode" % mode, pgbench(p, mode, clients, seconds,
                                                     os.path.join(self.scratch, "pgbench.log"))
            self.end()

    def shutdown(self):
        times = []
        for name, how, rule in SHUTDOWNS:
            took = one_shutdown(self.pooler(), how, rule, 30 if self.short else 300)
            env.wait_for(lambda: not self.pg.backends("db", user="u_trust"), "the last server connection to end")
            times.append("%s %.2f s" % (name, took))
            self.end()
        yield "shutdown", "nobody cut who may not be; " + ", ".join(times)

    def failover(self):
        clients, times = (50, 1) if self.short else (200, 10)
        done, longest = failover(self.pooler(), self.pg, clients, times)
        yield "failover", ("%d units by %d clients over %d restarts without an error, longest break %.1f s"
                           % (done, clients, times, longest))

    def takeovers(self):
        clients, seconds = (50, 1) if self.short else (400, 60)
        restarts, killed, done = takeovers(self.pooler(default_pool_size=10, max_client_conn=clients + 100), clients,
                                           self.options.seconds or seconds)
        yield "takeovers", ("%d restarts and %d successors killed half way, %d units by %d clients without an error"
                            % (restarts, killed, done, clients))

    def idle(self):
        busy, idlers, seconds, rounds = (50, 500, 1, 1) if self.short else (200, 10000, 10, 6)
        yield "idle", idle(self.pooler(max_client_conn=idlers + 1000, default_pool_size=20), busy, idlers, seconds,
                           rounds)

    def kills(self):
        from harness import swift
        from harness.kills import Kills
        times = 6 if self.short else self.options.kills
        self.pg.sql("DROP DATABASE IF EXISTS b_kills", "CREATE DATABASE b_kills")
        Kills.fill(self.pg, "b_kills")
        server = None if swift.missing() else swift.Swift()
        try:
            k = Kills(self.pg, self.scratch, "b_kills", server)
            try:
                k.run(times)
            finally:
                k.close()
        finally:
            if server:
                server.close()
        yield "kills", ("%s; %d of them cut a run short; every visible backup whole, none lost, every next run good%s"
                        % (", ".join("%d of the %s" % (n, v) for v, n in k.done.items()), k.cut,
                           "" if server else "; the store was not killed: Swift is " + swift.missing()))

    def sizes(self, results):
        for name, peak, took in results:
            assert peak <= RESIDENT_MOST or env.SLOW > 2, "%s: %d KiB resident" % (name, peak)
            yield name, "peak %.1f MiB resident, %.0f s" % (peak / 1024, took)

    def large(self):
        yield from self.sizes(large(self.pg, self.scratch, GIB // 4 if self.short else 8 * GIB))

    def gib(self):
        yield from self.sizes(gib(self.pg, self.scratch, GIB // 64 if self.short else GIB))

    def tables(self):
        yield from self.sizes(tables(self.pg, self.scratch, 200 if self.short else 10000))

    def leaders(self):
        count, interval, seconds = (4, 4, 20) if self.short else (10, 60, 600)
        made = leaders(self.pg, self.scratch, count, interval, self.options.seconds or seconds)
        yield "leaders", "one restore, %d backups by one of %d daemons, one a tick" % (made, count)

    PARTS = ["crowd", "restarts", "wallets", "limit", "modes", "pgbench", "shutdown", "failover", "takeovers", "idle", "kills",
             "large", "gib", "tables", "leaders"]


def main():
    from harness.certs import Certs
    from harness.postgres import Postgres
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few seconds each")
    parser.add_argument("--seconds", type=int, help="of each mode of parts modes and pgbench, and of takeovers")
    parser.add_argument("--mode", choices=sorted(MODES), help="of parts modes and pgbench: only this one")
    parser.add_argument("--kills", type=int, default=200, help="of part kills (default 200)")
    parser.add_argument("part", nargs="*", help=" ".join(Soak.PARTS))
    options = parser.parse_args()
    unknown = set(options.part) - set(Soak.PARTS)
    if unknown:
        parser.error("no such part: %s" % ", ".join(sorted(unknown)))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    scratch = env.make_dir(prefix="soak-")
    pg = Postgres(Certs(env.make_dir(scratch, "certs-")))
    soak = Soak(options, scratch, pg)
    passed, failed = 0, 0
    try:
        # The short form of kills is test/system/test_backup_kills.py.
        for part in options.part or [part for part in Soak.PARTS if not (options.short and part == "kills")]:
            name, faults = part, []
            try:
                for name, result in getattr(soak, part)():
                    passed += 1
                    print("%s: %s" % (name, result), flush=True)
            except (AssertionError, Closed, PgError, TimeoutError) as e:
                faults.append(str(e))
            faults += soak.finish()
            for fault in faults:
                failed += 1
                print("%s: FAILED: %s" % (part, fault), flush=True)
    finally:
        for p in soak.running:
            p.finish()
        pg.remove()
        shutil.rmtree(scratch, ignore_errors=True)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
