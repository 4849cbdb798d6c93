"""Limits over several pools: who gives way, who is told, and that nobody is
forgotten. The pooler runs without the belt of maintenance (fault `nobelt`), so
that a wake-up which gets lost is a test that fails."""
import os
import threading

import pytest
from harness import env, wire
from harness.wire import PgError

ours = pytest.mark.ours
USERS = ["u_trust", "u_plain", "u_md5", "u_scram"]


@pytest.fixture
def site(pooler, pg, monkeypatch):
    monkeypatch.setenv("PGECDSA_FAULTS", os.environ.get("PGECDSA_FAULTS", "") + ",nobelt")

    def make(mode="transaction", **settings):
        return pooler(**{"databases": {"db": pg.entry(), "db2": pg.entry("db2")}, "server_tls_sslmode": "disable",
                         "users": {u: u + "_pw" for u in USERS}, "pool_mode": mode, **settings})
    return make


def begin(p, user="u_trust", database="db"):
    c = p.login(user, database)
    c.query("BEGIN")
    return c


class Waiter:
    """Somebody who waits: for the pool's first server, as a login; or with a query, when it was logged in before."""

    def __init__(self, p, user, database="db", client=None):
        self.user = user
        self.client = client or p.wire()
        self.is_login = client is None
        self.client.send(wire.startup(user, database) if self.is_login else wire.query("SELECT current_user"))
        p.wait_pool(database, user, cl_waiting=1)

    def served(self):
        if self.is_login:
            self.client.finish_login(self.user)
            return self.client.value("SELECT current_user") == self.user
        return self.client.until_ready().value() == self.user


# --- eviction ---------------------------------------------------------------

@pytest.mark.parametrize("limit, other", [("max_db_connections", ("u_plain", "db")),
                                          ("max_user_connections", ("u_trust", "db2"))])
def test_longest_unused_server_gives_way(site, pg, limit, other):
    p = site(**{limit: 1})
    a, b = p.login(), None
    assert a.value("SELECT 1") == "1"
    for i in range(3):
        # With two workers the pools live on different ones.
        if b is None:
            b = p.login(*other)
        assert b.value("SELECT 2") == "2"
        p.wait_log("closing because: evicted", 2 * i + 1)
        assert a.value("SELECT 3") == "3"
    assert not p.logged("closing because: server idle timeout")
    assert len(pg.backends("db") + pg.backends("db2")) <= 2


def test_eviction_takes_the_one_that_rested_longest(site):
    p = site(max_db_connections=3)
    clients = {u: p.login(u) for u in USERS[:3]}
    for u in ("u_plain", "u_trust", "u_md5", "u_plain"):
        clients[u].value("SELECT 1")
    with p.login("u_scram") as c:
        assert c.value("SELECT 1") == "1"
    p.wait_log(r"S-\S+: db/u_trust@\S+ closing because: evicted")


@pytest.mark.parametrize("limit", ["entry", "user_line"])
def test_limit_of_an_entry_and_of_a_user(site, pg, limit):
    """The same by [databases] and [users]."""
    if limit == "entry":
        p = site(databases={"db": pg.entry(max_db_connections=1), "db2": pg.entry("db2")})
        other = ("u_plain", "db")
    else:
        p = site(user_lines={"u_trust": "max_user_connections = 1"})
        other = ("u_trust", "db2")
    holder = begin(p)
    waiter = Waiter(p, *other)
    with p.login("u_plain", "db2") as free:
        assert free.value("SELECT 1") == "1"
    holder.query("COMMIT")
    assert waiter.served()
    p.wait_log("closing because: evicted")


def test_used_server_gives_way_too(site):
    p = site(max_db_connections=1, server_check_delay=0, server_check_query="select 1")
    with p.login() as a, p.login("u_plain") as b:
        a.value("SELECT 1")
        p.wait_pool(user="u_trust", sv_used=1)
        assert b.value("SELECT 1") == "1"
        p.wait_log("closing because: evicted")


def test_min_pool_size_evicts_nobody(site, pg):
    p = site(databases={"db": pg.entry(max_db_connections=2)}, min_pool_size=2)
    with p.login() as a:
        a.value("SELECT 1")
        p.wait_pool(user="u_trust", sv_idle=2)
        # The other pool wants its two as well, but only the client's need counts.
        with p.login("u_plain") as b:
            assert b.value("SELECT 1") == "1"
            assert len(p.logged("closing because: evicted")) == 1
            assert p.pool(user="u_trust")["sv_idle"] == 1


# --- wake-ups ---------------------------------------------------------------

def commit(p, holder):
    holder.query("COMMIT")


def leave(p, holder):
    holder.send(wire.TERMINATE)


def vanish(p, holder):
    holder.reset()


def kill_server(p, holder):
    holder.send(wire.query("SELECT pg_terminate_backend(pg_backend_pid())"))


def raise_limit(p, holder):
    p.admin("SET max_db_connections = 2")


@pytest.mark.parametrize("mode, kind, event", [
    ("transaction", "query", commit), ("transaction", "login", commit), ("session", "query", leave),
    ("session", "login", vanish), ("transaction", "query", kill_server), ("transaction", "query", raise_limit)],
    ids=lambda e: getattr(e, "__name__", e))
def test_waiter_of_another_pool_is_woken(site, mode, kind, event):
    p = site(mode, max_db_connections=1)
    other = p.login("u_plain") if kind == "query" else None
    holder = begin(p)
    waiter = Waiter(p, "u_plain", client=other)
    event(p, holder)
    assert waiter.served()


def test_waiter_is_woken_by_a_timeout(site):
    p = site(max_db_connections=1)
    holder = begin(p)
    waiter = Waiter(p, "u_plain")
    p.admin("SET idle_transaction_timeout = 1")
    assert waiter.served()
    assert holder.expect_error().text == "idle transaction timeout"


def test_who_waits_longest_comes_first(site):
    """One server for all; each gives it up when it is done."""
    p = site(max_db_connections=1)
    order = ["u_scram", "u_plain", "u_md5"]
    clients = [p.login(u) for u in order]
    holder = begin(p)
    waiters = [Waiter(p, u, client=c) for u, c in zip(order, clients)]
    p.mark()
    holder.query("COMMIT")
    assert all(w.served() for w in waiters)
    assert order == [line for line in p.logged(r"S-\S+: db/(\w+)@\S+ new connection to server")]


def test_waiter_that_left_passes_the_room_on(site):
    p = site(max_db_connections=1)
    holder = begin(p)
    first = Waiter(p, "u_plain")
    p.admin("SET query_wait_timeout = 1")
    assert first.client.expect_error().text == "query_wait_timeout"
    p.admin("SET query_wait_timeout = 60")
    second = Waiter(p, "u_md5")
    holder.query("COMMIT")
    assert second.served()


def test_paused_pool_passes_the_room_on(site, pg):
    p = site(max_user_connections=1)
    holder = begin(p)
    waiter = Waiter(p, "u_trust", "db2")
    p.admin("PAUSE db2")
    holder.query("COMMIT")
    with p.login() as c:
        assert c.value("SELECT 1") == "1"
    p.admin("RESUME db2")
    assert waiter.served()


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_many_pools_share_few_servers(site, pg, mode):
    """Eight pools, two servers a database and two a user: nobody is forgotten, no limit is exceeded."""
    p = site(mode, max_db_connections=2, max_user_connections=2)
    faults, most = [], [0]

    def work(user, database):
        try:
            for i in range(3):
                with p.login(user, database) as c:
                    for _ in range(2):
                        assert c.value("SELECT current_user") == user
        except Exception as e:
            faults.append((user, database, repr(e)))
    threads = [threading.Thread(target=work, args=(u, d)) for u in USERS for d in ("db", "db2")]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        rows = p.show("DATABASES")
        most[0] = max([most[0]] + [int(r["current_connections"]) for r in rows if r["name"] in ("db", "db2")])
        threads[0].join(0.05)
        threads[-1].join(0.05)
    assert not faults
    assert 0 < most[0] <= 2


@ours
def test_cancel_comes_through_a_full_database(site, pg):
    p = site(max_db_connections=1, max_user_connections=1)
    holder = p.login()
    holder.send(wire.query("SELECT pg_sleep(30)"))
    # A request that is there before the query is for nothing.
    env.wait_for(lambda: pg.backends(where="state = 'active' AND query LIKE '%pg_sleep(30)%'"), "the query to run")
    with p.wire() as c:
        c.send(wire.cancel_request(holder.key))
        c.expect_closed()
    assert holder.until_ready().errors[0].code == "57014"
    # And its connection has given the room back.
    with p.login("u_plain") as c:
        assert c.value("SELECT 1") == "1"
