"""Servers that refuse, are away and come back: who is told, who waits, when it is tried again.

Behaviour specification, sections 11, 12 and 14.
"""
import threading
import time

import pytest
from harness import env, fakeserver, wire
from harness.fakeserver import FakeServer, error
from harness.wire import PgError, query

pytestmark = pytest.mark.ours
NOTICE = {"S": "NOTICE", "C": "00000", "M": "No server connection available in postgres backend, client being queued"}


@pytest.fixture
def site(pooler, fake):
    """A pooler in front of a server that welcomes only those connections that welcomes(number) is true for."""
    def make(welcomes=lambda number: True, refusal=error("too many connections", "53300", "FATAL"), **settings):
        def script(peer):
            if not peer.read_startup():
                return
            if welcomes(peer.number):
                peer.welcome()
                peer.serve()
            peer.send(refusal)
            peer.wait_gone()
        server = fake(script)
        p = pooler(**{"databases": {"db": server.entry()}, "users": {"u_trust": ""}, "pool_mode": "transaction",
                      "server_tls_sslmode": "disable", "server_login_retry": 1, **settings})
        return p, server
    return make


def starts(p):
    c = p.wire()
    c.send(wire.startup("u_trust", "db"))
    return c


def test_refusal_concerns_nobody_who_has_a_server_to_wait_for(site):
    """The pool has one that works, so its clients wait for that; nor is a new one turned away at once."""
    p, server = site(lambda number: number == 1, default_pool_size=3, server_login_retry=60)
    a, b, c = p.login(), p.login(), p.login()
    assert a.query("BEGIN").tags == ["BEGIN"]     # this server knows no transactions: it is idle again
    holder = p.login()
    holder.send(query("hang")[:3])
    assert a.query("SELECT 1").rows
    # Half a message keeps the one server.
    holder.send(query("hang")[3:-1])
    p.wait_pool(sv_active=1)
    b.send(query("SELECT 'b'"))
    p.wait_log("WARNING S-.* server login failed: FATAL too many connections$")
    p.wait_log(r"S-.* closing because: too many connections \(age")
    c.send(query("SELECT 'c'"))
    p.wait_pool(cl_waiting=2, sv_active=1)
    assert b.silent(0.3) and c.silent(0.1)
    holder.send(query("hang")[-1:])
    for client, value in ((b, "SELECT 'b'"), (c, "SELECT 'c'")):
        assert client.until_ready().rows == [(value,)]
    assert server.count == 2


def test_clients_wait_for_a_server_that_is_away(pooler):
    """Refused connections turn nobody away who waits already: all are served when it is back."""
    port = env.free_port()

    def script(peer):
        if peer.read_startup():
            peer.welcome()
            peer.serve()
    p = pooler(databases={"db": "host=127.0.0.1 port=%d" % port}, users={"u_trust": ""}, pool_mode="transaction",
               server_login_retry=1)
    with FakeServer(script, port=port):
        in_time, late = p.login(), p.login()
        in_time.query("SELECT 0")
    p.wait_pool(sv_idle=0)
    p.admin("RECONNECT")    # and forget the greeting
    in_time.send(query("SELECT 1"))
    p.wait_log("closing because: connect failed")
    newcomers = [starts(p) for _ in range(2)]
    p.wait_pool(cl_waiting=3)
    # Whoever comes with a query now is told why; the pause is counted from attempt to attempt.
    late.send(query("SELECT 2"))
    assert late.expect_error().text == "server login has been failing, cached error: connect failed (server_login_retry)"
    p.wait_log("closing because: connect failed", 3)
    assert all(c.silent(0.05) for c in [in_time] + newcomers)
    at = [60 * int(m) + float(s) for m, s in p.logged(r"^\S+ \d+:(\d+):(\d+\.\d+) .*connect failed \(age=0s\)$")]
    assert all(0.95 <= (b - a) % 3600 for a, b in zip(at, at[1:])), at
    with FakeServer(script, port=port):
        assert in_time.until_ready().rows == [("SELECT 1",)]
        for c in newcomers:
            c.finish_login("u_trust")
            assert c.query("SELECT 3").rows
        # It is forgotten that it ever failed.
        with p.login() as c:
            assert c.query("SELECT 4").rows


def test_newcomers_wait_for_the_next_attempt_and_are_told_of_it(site):
    """Without a greeting there is no fast fail: the pause is waited for, then the server's own words come."""
    p, server = site(lambda number: False)
    first = starts(p)
    assert first.expect_error().text == "too many connections"
    second = starts(p)
    assert second.silent(0.5)
    e = second.expect_error()
    assert (e.code, e.text) == ("53300", "too many connections")
    assert server.count == 2


def test_starting_up_is_waited_for_and_named_to_those_who_come_then(site):
    up = threading.Event()
    p, server = site(lambda number: number == 1 or up.is_set(), error("the database system is starting up", "57P03", "FATAL"))
    a, b = p.login(), p.login()
    p.admin("RECONNECT")
    a.send(query("SELECT 'a'"))
    p.wait_log("server login failed: FATAL the database system is starting up")
    b.send(query("SELECT 'b'"))
    assert b.expect_error().text == "server login has been failing, cached error: the database system is starting up " \
                                    "(server_login_retry)"
    newcomer = starts(p)
    p.wait_pool(cl_waiting=2)
    up.set()
    assert a.until_ready().rows == [("SELECT 'a'",)]
    newcomer.finish_login("u_trust")


def test_pause_after_a_failure_outlives_a_change_of_tls(site):
    p, server = site(lambda number: False, server_login_retry=60)
    assert starts(p).expect_error().text == "too many connections"
    p.admin("SET server_tls_sslmode = prefer")
    p.admin("RELOAD")
    c = starts(p)
    p.wait_pool(cl_waiting=1)
    assert c.silent(1.2)
    assert server.count == 1


def test_one_attempt_at_a_time(pooler, fake):
    """Ten clients wait for their first server; the second is opened when the first is there."""
    gate = threading.Event()

    def script(peer):
        peer.read_startup()
        if peer.number == 1:
            gate.wait(env.PATIENCE)
        peer.welcome()
        peer.serve()
    server = fake(script)
    p = pooler(databases={"db": server.entry()}, users={"u_trust": ""}, default_pool_size=5, pool_mode="session")
    clients = [starts(p) for _ in range(10)]
    p.wait_pool(cl_waiting=10, sv_login=1)
    assert clients[0].silent(0.7) and server.count == 1
    gate.set()
    for c in clients:
        c.finish_login("u_trust")
    for c in clients[:5]:
        assert c.query("SELECT 1").rows
    assert server.count == 5


def test_who_waits_is_told_once_and_again_the_next_time(site):
    p, _ = site(default_pool_size=1, query_wait_notify=1)
    holder, waiter = p.login(), p.login()
    for turn in range(2):
        holder.send(query("SELECT 1")[:-1])
        p.wait_pool(sv_active=1)
        began = time.monotonic()
        waiter.send(query("SELECT 2"))
        assert wire.fields_of(waiter.expect(b"N").body) == NOTICE
        # More than one whole second, that is two.
        assert time.monotonic() - began > 1.9
        if turn == 0:
            assert waiter.silent(2.5)
        holder.send(query("SELECT 1")[-1:])
        assert holder.until_ready().rows
        r = waiter.until_ready()
        assert r.types == "TDCZ"


def test_check_of_a_dead_server_costs_the_client_nothing(site):
    """The one that was used is gone: another connection serves, and no error is seen."""
    p, server = site(server_check_delay=0, server_check_query="SELECT 'check'")
    with p.login() as c:
        assert c.query("SELECT 1").rows
        p.wait_pool(sv_used=1)
        server.peers[0].reset()
        for _ in range(3):
            assert c.query("SELECT 2").types == "TDCZ"
    assert server.count == 2
