"""PostgreSQL fails under load; the short forms of test/soak.py."""
import importlib.util
import os
import signal
import threading

import pytest
from harness import env

ours = pytest.mark.ours

spec = importlib.util.spec_from_file_location("soak", os.path.join(env.TOP, "test", "soak.py"))
soak = importlib.util.module_from_spec(spec)
spec.loader.exec_module(soak)


@pytest.mark.parametrize("how", ["fast", "crash"])
def test_postgres_restarted_under_load(pooler, own_pg, how):
    """Clients see errors, reconnect, and go on; nobody hangs."""
    p = pooler(databases={"db": own_pg.entry()}, users={"u_trust": ""}, pool_mode="transaction", default_pool_size=3,
               server_login_retry=1, query_wait_timeout=20)
    soak.restarts(p, own_pg, clients=12, times=1, how=signal.SIGINT if how == "fast" else signal.SIGQUIT)
    p.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)


def test_many_clients_on_five_servers(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction", default_pool_size=5,
               max_client_conn=300)
    done = soak.crowd(p, clients=100, seconds=3)
    assert done > 100
    assert len(pg.backends("db", user="u_trust")) <= 5


@ours
def test_one_wallet_after_the_other(pooler, pg):
    p = pooler(**soak.wallet_settings(pg))
    growth = soak.wallets(p, count=150, warm_up=50)
    if env.SLOW == 1:
        assert growth < 1024, "%d KiB for 150 wallets" % growth


def test_half_a_message_and_a_reset(pooler, pg):
    """Clients that vanish while they wait, with half a message sent, do not
    keep the servers that they are given."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction", default_pool_size=2)
    for _ in range(8):
        c = p.login()
        c.send(b"Q\0\0\0\x15SELECT pg_sleep")
        c.reset()
    p.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)


def test_client_storm(pooler, pg):
    """Connections come and go in every state; the counts come back to zero."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction", default_pool_size=2,
               max_client_conn=500)

    def rude(number):
        for i in range(15):
            c = p.wire()
            try:
                step = (number + i) % 5
                if step == 0:
                    c.send(b"\0\0\0")
                if step >= 1:
                    c.login("u_trust", "db")
                if step == 2:
                    c.send(b"Q\0\0\0\x15SELECT pg_sleep")
                if step == 3:
                    c.query("BEGIN")
                if step == 4:
                    c.send(b"Q\0\0\0\x0dSELECT 1\0" * 3)
            finally:
                c.reset() if i % 2 else c.close()
    threads = [threading.Thread(target=rude, args=(n,)) for n in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    p.wait_pool(cl_active=0, cl_waiting=0, sv_active=0)
    with p.connect() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert len(pg.backends("db", user="u_trust")) <= 2


def test_no_descriptor_is_lost(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction")
    fds = lambda: len(os.listdir("/proc/%d/fd" % p.process.pid))
    with p.login() as c:
        c.pid()
    p.wait_pool(cl_active=0)
    before = fds()
    for i in range(200):
        with p.wire() as c:
            if i % 2:
                c.login("u_trust", "db")
    env.wait_for(lambda: fds() <= before, "the descriptors to be closed")
