#!/usr/bin/python3
"""Long forms of what test/system/test_resilience.py runs in short.

    soak.py [--short] [crowd] [restarts] [wallets] [limit]

crowd      200 clients on 5 servers for a minute, without an error
restarts   PostgreSQL killed and restarted under load: clients recover, nothing hangs
wallets    10,000 wallets, one after the other, without memory growth
limit      for a minute, 20 connections a second that open at once with one
           proof, beside a flood of bad proofs: no refusal, nobody at work
           notices, no memory growth
"""
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "system"))

import psycopg  # noqa: E402
from harness import env, wire  # noqa: E402
from harness.wallet import Wallet  # noqa: E402

FIRST_KEY = 100000
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
            while time.monotonic() < stop:
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


def settled_rss(pooler):
    env.wait_for(lambda: pooler.pool()["cl_active"] == 0, "the last client to go")
    return env.rss_kb(pooler.process.pid)


def main(args):
    from harness.certs import Certs
    from harness.pooler import Pooler
    from harness.postgres import Postgres
    import shutil
    short = "--short" in args
    wanted = [a for a in args if not a.startswith("-")] or ["crowd", "restarts", "wallets", "limit"]
    workers = os.environ.get("WORKERS", "1").split()[0]
    scratch = env.make_dir(prefix="soak-")
    pg = Postgres(Certs(env.make_dir(scratch, "certs-")))
    failed = 0
    base = dict(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction", default_pool_size=5,
                max_client_conn=500, query_wait_timeout=60)
    try:
        for name in wanted:
            settings = base
            if name in ("wallets", "limit"):
                settings = wallet_settings(pg, 250 if short or name == "limit" else WALLETS)
            if name == "limit":
                settings.pop("ecdsa_limit_burst")
            p = Pooler(scratch, workers, **settings)
            try:
                if name == "crowd":
                    n = crowd(p, 50 if short else 200, 5 if short else 60)
                    print("crowd: %d transactions without an error, %d server connections"
                          % (n, len(pg.backends("db", user="u_trust"))))
                elif name == "restarts":
                    restarts(p, pg, 20 if short else 100, 1 if short else 5)
                    print("restarts: every client was served after each one")
                elif name == "wallets":
                    count, warm_up = (200, 50) if short else (9000, 1000)
                    print("wallets: %d after %d, growth %d KiB" % (count, warm_up, wallets(p, count, warm_up)))
                elif name == "limit":
                    print("limit: %d rounds of 20 log-ins without a refusal, %d strangers refused, growth %d KiB"
                          % limit(p, 5 if short else 60))
                else:
                    raise SystemExit(__doc__)
            except AssertionError as e:
                print("%s: FAILED: %s" % (name, e))
                failed += 1
            troubles, text = p.finish()
            if troubles:
                failed += 1
                print("%s: FAILED: %s\n%s" % (name, troubles, text[-3000:]))
    finally:
        pg.remove()
        shutil.rmtree(scratch, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
