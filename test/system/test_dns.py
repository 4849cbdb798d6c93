"""Servers with a host name: addresses in turn, the cache, zones, failures."""
import pytest
from harness import env, wire
from harness.dnsserver import AAAA, DnsServer
from harness.fakeserver import one_row, ready

pytestmark = pytest.mark.ours
HOST = "db.zone.test"


@pytest.fixture
def dns():
    server = DnsServer()
    yield server
    server.close()


@pytest.fixture
def site(pooler, fake, dns):
    """Fake servers on addresses 127.0.0.N, all on one port, each telling its N; and a pooler that knows their name."""
    def make(*numbers, listening=None, **settings):
        port = env.free_port()
        dns.hosts[HOST] = ["127.0.0.%d" % n for n in numbers]
        for n in listening or numbers:
            def script(peer, n=n):
                peer.read_startup()
                peer.welcome()
                peer.serve(lambda text: text == "where" and (peer.send(one_row(n), ready()) or True))
            fake(script, host="127.0.0.%d" % n, port=port)
        settings.setdefault("databases", {"db": "host=%s port=%d" % (HOST, port)})
        return pooler(**{"users": {"u_trust": ""}, "resolv_conf": dns.resolv_conf, "server_tls_sslmode": "disable",
                         "server_login_retry": 0.3, "server_reset_query": "", **settings})
    return make


def where(client):
    return int(client.value("where"))


def test_addresses_are_used_in_turn(site, dns):
    p = site(1, 2)
    clients = [p.login() for _ in range(4)]
    found = [where(c) for c in clients]
    assert sorted(found) == [1, 1, 2, 2]
    assert dns.asked(HOST) == 1
    row, = p.show("DNS_HOSTS")
    assert row["hostname"] == HOST and 0 < int(row["ttl"]) <= 15
    assert sorted(row["addrs"].split(",")) == ["127.0.0.1:0", "127.0.0.2:0"]
    p.wait_log(r"S-\S+: db/u_trust@127\.0\.0\.2:\d+ new connection to server")


def test_an_address_where_nobody_listens_is_one_lost_attempt(site):
    p = site(1, 2, listening=[2])
    with p.login() as a, p.login() as b:
        assert where(a) == where(b) == 2
    p.wait_log("closing because: connect failed")


def test_every_connection_asks_again_without_a_cache(site, dns):
    p = site(1, dns_max_ttl=0)
    with p.login() as a, p.login() as b:
        assert where(a) == where(b) == 1
    assert dns.asked(HOST) == 2


def test_those_who_ask_meanwhile_share_one_query(site, dns):
    dns.gate.clear()
    port = env.free_port()
    p = site(1, databases={n: "host=%s port=%d" % (HOST, port) for n in ("one", "two", "three")})
    clients = [p.wire() for _ in range(3)]
    for c, name in zip(clients, ("one", "two", "three")):
        c.send(wire.startup("u_trust", name))
    env.wait_for(lambda: {r["name"]: r["items"] for r in dicts(p.show("LISTS"))}["dns_pending"] == "3", "three to ask")
    dns.gate.set()
    p.wait_log("closing because: connect failed", 3)
    assert (dns.asked(HOST), dns.asked(HOST, AAAA)) == (1, 1)


def dicts(rows):
    return [{"name": r["list"], "items": r["items"]} for r in rows]


def test_a_lost_address_closes_its_servers(site, dns):
    p = site(1, 2, dns_max_ttl=0)
    first, second = p.login(), p.login()
    old = where(first)
    new = 3 - old
    dns.hosts[HOST] = ["127.0.0.%d" % new]
    assert where(second) == new             # a new connection, so the name is looked up
    assert where(first) == old              # nobody is thrown out
    first.close()
    p.wait_log(r"127\.0\.0\.%d:\d+ closing because: close_needed" % old)
    with p.login() as third:
        assert where(third) == where(second) == new


def test_lookup_that_fails(site, dns):
    """The client waits; when the name exists, it gets in."""
    p = site(1, dns_nxdomain_ttl=0)
    del dns.hosts[HOST]
    c = p.wire()
    c.send(wire.startup("u_trust", "db"))
    p.wait_log(r"WARNING.*DNS lookup failed: db\.zone\.test: result=\d+")
    p.wait_log(r"closing because: server DNS lookup failed \(age=\d+s\)")
    dns.hosts[HOST] = ["127.0.0.1"]
    c.finish_login("u_trust")
    assert where(c) == 1


def test_failure_is_remembered(site, dns):
    p = site(1, server_login_retry=0.1)
    del dns.hosts[HOST]
    c = p.wire()
    c.send(wire.startup("u_trust", "db"))
    p.wait_log("closing because: server DNS lookup failed", 3)
    assert dns.asked(HOST) == 1
    assert len(p.logged("DNS lookup failed: ")) == 1
    assert p.show("DNS_HOSTS")[0]["addrs"] == ""


def test_lookup_without_an_answer_ends_by_server_connect_timeout(site, dns):
    dns.gate.clear()
    p = site(1, server_connect_timeout=1)
    c = p.wire()
    c.send(wire.startup("u_trust", "db"))
    p.wait_log(r"S-\S+: db/u_trust@db\.zone\.test closing because: connect timeout")
    dns.gate.set()
    c.finish_login("u_trust")
    assert where(c) == 1


@pytest.mark.parametrize("how", ["file", "SET"])
def test_a_larger_zone_serial_makes_names_be_asked_again(site, dns, how):
    dns.serials["zone.test"] = 4294967295   # the next one is 0
    p = site(1, dns_max_ttl=3600, pool_mode="transaction", dns_zone_check_period=0.2 if how == "file" else 0)
    c = p.login()
    assert where(c) == 1
    if how == "SET":
        assert p.show("DNS_ZONES") == []
        p.admin("SET dns_zone_check_period = '0.2'")
    known = lambda serial: p.show("DNS_ZONES") == [{"zonename": "zone.test", "serial": str(serial), "count": "1"}]
    env.wait_for(lambda: known(4294967295), "the first serial")
    dns.hosts[HOST] = ["127.0.0.2"]
    dns.serials["zone.test"] = 3
    p.wait_log(r"LOG zone 'zone\.test' serial changed: old=4294967295 new=3")
    p.wait_log("closing because: database configuration changed")
    assert dns.asked(HOST) == 2 and known(3)
    # A smaller one says nothing.
    dns.serials["zone.test"] = 2
    env.wait_for(lambda: known(2), "the smaller serial")
    assert dns.asked(HOST) == 2


def test_a_name_without_zone_and_a_zone_without_soa_do_no_harm(site, dns):
    dns.hosts["plain"] = ["127.0.0.1"]
    port = env.free_port()
    p = site(1, dns_zone_check_period=0.05,
             databases={"db": "host=%s port=%d" % (HOST, port), "plain": "host=plain port=%d" % port})
    for name in ("db", "plain"):
        p.wire().send(wire.startup("u_trust", name))
    env.wait_for(lambda: dns.queries.count(("zone.test", 6)) >= 3, "three rounds")
    assert p.show("DNS_ZONES") == [{"zonename": "zone.test", "serial": "0", "count": "1"}]
