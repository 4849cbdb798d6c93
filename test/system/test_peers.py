"""Peering: a cancel request reaches the process that has its client. Behaviour specification, section 24."""
import contextlib
import itertools
import socket
import struct
import threading

import pytest
from harness import env, wire
from harness.dnsserver import DnsServer
from harness.wire import Closed, PgError

pytestmark = pytest.mark.ours
_seconds = itertools.count(1000)
# A machine that is busy with other things is no reason to give a request up.
PATIENT = {"cancel_wait_timeout": 100 * env.SLOW, "server_connect_timeout": 100 * env.SLOW}


# --- groups, and what is done to them ---------------------------------------------

@pytest.fixture
def group(pooler, pg):
    """So many processes on one port, each with a Unix socket of its own, by which the others know it."""
    def make(n=2, own=False, ids=None, **settings):
        ids = ids or list(range(1, n + 1))
        port = env.free_port()
        made = [pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                          "pool_mode": "transaction", "server_tls_sslmode": "disable", "port": port, "peer_id": i,
                          "so_reuseport": 1, "start": False, **PATIENT, **settings}) for i in ids]
        for p in made:
            p.peers = {i: "host=%s port=%d" % (q.dir, port) for i, q in zip(ids, made) if own or q is not p}
            p.write()
            p.start()
        return made
    return make


@pytest.fixture
def lone(pooler, pg):
    """One process; its peers are what the test says."""
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": "transaction", "server_tls_sslmode": "disable", "peer_id": 1, **PATIENT,
                         **settings})
    return make


class Listening:
    """A peer that is a script: what it was sent, and when it hangs up."""

    def __init__(self, fake):
        self.got = []  # (connection number, bytes), whole packets
        self.rest = []
        self.may_end = threading.Event()
        self.ended = []
        self.server = fake(self.play)

    def play(self, peer):
        self.got.append(peer.take(16))
        while not self.may_end.is_set():
            peer.sock.settimeout(0.02)
            with contextlib.suppress(TimeoutError, socket.timeout):
                more = peer.sock.recv(100)
                if not more:
                    self.ended.append(peer.number)
                    return
                self.rest.append(more)

    def entry(self, **more):
        items = dict(host=self.server.host, port=self.server.port, **more)
        return " ".join("%s=%s" % item for item in items.items())

    def wait(self, n):
        env.wait_for(lambda: len(self.got) >= n, lambda: "%d requests, there are %r" % (n, self.got))
        return self.got


@pytest.fixture
def scripted(fake):
    made = []

    def make():
        made.append(Listening(fake))
        return made[-1]
    yield make
    for peer in made:
        peer.may_end.set()
    assert not [more for peer in made for more in peer.rest], "a peer was sent more than the request"


def key_of(peer, ttl=3, filler=b"\x01\x00\x00\x55\x66\x77\x88\xa0"):
    """A key as that process makes them."""
    return filler[:1] + struct.pack("<H", peer) + filler[3:7] + bytes([filler[7] & 0xfc | ttl])


def begin(p, key, host=None):
    w = p.wire(host)
    w.send(wire.cancel_request(key))
    return w


def cancel(p, key, host=None):
    """Send one; the pooler answers by closing."""
    with begin(p, key, host) as w:
        w.expect_closed()


class Sleeping:
    """A client whose query runs until it is cancelled."""

    def __init__(self, pg, p, database="db", client=None):
        # On a port that several share only the Unix socket leads to this one.
        self.client = client or p.login(database=database, host=p.dir if p.settings.get("so_reuseport") else None)
        self.key = self.client.key
        self.run(pg)

    def run(self, pg):
        text = "SELECT pg_sleep(%d)" % next(_seconds)
        self.client.send(wire.query(text))
        env.wait_for(lambda: pg.sql("SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = '%s'" % text),
                     "the query to run")

    def ended(self):
        r = self.client.until_ready()
        assert [e.code for e in r.errors] == ["57014"], r.errors
        return True


def peer_pool(p, peer):
    for row in p.show("PEER_POOLS"):
        if row["peer_id"] == str(peer):
            return {k: int(v) for k, v in row.items()}
    return None


def wait_peer_pool(p, peer, **want):
    want = {"peer_id": peer, "cl_active_cancel_req": 0, "cl_waiting_cancel_req": 0, "sv_active_cancel": 0, "sv_login": 0,
            **want}
    env.wait_for(lambda: peer_pool(p, peer) == want, lambda: "%r, there is %r" % (want, peer_pool(p, peer)))


# --- keys -------------------------------------------------------------------------

@pytest.mark.parametrize("peer", [1, 255, 256, 0x1234, 16383, 65535])
def test_keys_carry_peer_and_ttl(lone, peer):
    p = lone(peer_id=peer)
    keys = [p.login().key for _ in range(20)]
    with p.console() as admin:
        keys.append(admin.key)
    for key in keys:
        assert len(key) == 8 and key[0] < 0x80
        assert key[1] | key[2] << 8 == peer
        assert key[7] & 3 == 3
    assert len(set(keys)) == len(keys)
    # The rest is random: no bit of it is the same in all.
    for byte, mask in [(0, 0x7f), (3, 0xff), (4, 0xff), (5, 0xff), (6, 0xff), (7, 0xfc)]:
        low = high = keys[0][byte]
        for key in keys:
            low &= key[byte]
            high |= key[byte]
        assert low & mask == 0 and high & mask == mask, byte


def test_keys_without_peering_are_random_throughout(lone):
    p = lone(peer_id=0)
    keys = [p.login().key for _ in range(30)]
    for byte, mask in [(0, 0x7f)] + [(i, 0xff) for i in range(1, 8)]:
        low = high = keys[0][byte]
        for key in keys:
            low &= key[byte]
            high |= key[byte]
        assert low & mask == 0 and high & mask == mask, byte


@pytest.mark.parametrize("ttl", [0, 1, 2, 3])
def test_own_key_works_however_far_it_has_come(lone, pg, ttl):
    p = lone()
    victim = Sleeping(pg, p)
    cancel(p, victim.key[:7] + bytes([victim.key[7] & 0xfc | ttl]))
    assert victim.ended()


def test_without_peering_the_last_bits_are_part_of_the_key(lone, pg):
    p = lone(peer_id=0)
    victim = Sleeping(pg, p)
    for wrong in (1, 2, 3):
        cancel(p, victim.key[:7] + bytes([victim.key[7] ^ wrong]))
    p.wait_log("closing because: failed cancel request", count=3)
    assert victim.client.silent()
    cancel(p, victim.key)
    assert victim.ended()


def test_a_wrong_key_of_our_own(lone):
    p = lone()
    cancel(p, key_of(1))
    p.wait_log("closing because: failed cancel request")


# --- passing on -------------------------------------------------------------------

def test_requests_in_pieces(lone, scripted):
    """The last byte decides, and on which Worker it comes does not matter."""
    peer = scripted()
    peer.may_end.set()
    p = lone(peers={i: peer.entry() for i in (2, 3, 4, 5)})
    for i in (2, 3, 4, 5):
        with p.wire() as w:
            w.send_pieces(wire.cancel_request(key_of(i)))
            w.expect_closed()
            with contextlib.suppress(Closed, OSError):
                w.send(b"and more that means nothing")
    assert [got[8:] for got in peer.got] == [key_of(i, ttl=2) for i in (2, 3, 4, 5)]


@pytest.mark.parametrize("ttl", [3, 2, 1])
def test_the_bytes_that_a_peer_is_sent(lone, scripted, ttl):
    peer = scripted()
    p = lone(peers={0x0203: peer.entry()})
    key = key_of(0x0203, ttl)
    with begin(p, key) as w:
        peer.wait(1)
        # It is held until the peer is done.
        assert w.silent(0.1)
        peer.may_end.set()
        w.expect_closed()
    assert peer.got == [struct.pack("!II", 16, 80877102) + key[:7] + bytes([key[7] - 1])]
    p.wait_log("closing because: successfully sent cancel request", count=2)


def test_a_peer_is_spoken_to_in_the_clear(lone, scripted, certs):
    """Even where servers must use TLS, and for a request that came by TLS."""
    peer = scripted()
    # Whichever Worker the request comes to, some peer has its home on another.
    p = lone(peers={i: peer.entry() for i in (2, 3, 4, 5)}, server_tls_sslmode="require", client_tls_sslmode="require",
             client_tls_key_file=certs.key("server"), client_tls_cert_file=certs.crt("server"))
    for n, i in enumerate((2, 3, 4, 5), 1):
        with p.wire() as w:
            w.tls()
            w.send(wire.cancel_request(key_of(i)))
            peer.wait(n)
    # A peer's own request comes in the clear as well.
    with begin(p, key_of(2)):
        peer.wait(5)
    assert [got[:8] for got in peer.got] == [struct.pack("!II", 16, 80877102)] * 5


def test_ttl_exhausted(lone, scripted):
    peer = scripted()
    p = lone(peers={2: peer.entry()})
    cancel(p, key_of(2, ttl=0))
    p.wait_log("closing because: failed to forward cancel request because its TTL was exhausted")
    assert p.show("PEER_POOLS") == [] and peer.server.count == 0


@pytest.mark.parametrize("peer", [0, 3, 513])
def test_unknown_peer(lone, scripted, peer):
    p = lone(peers={2: scripted().entry()})
    cancel(p, key_of(peer))
    p.wait_log("closing because: could not find peer to forward request to")
    assert p.show("PEER_POOLS") == []


def test_peering_off_passes_nothing_on(lone, scripted):
    peer = scripted()
    p = lone(peer_id=0, peers={2: peer.entry()})
    cancel(p, key_of(2))
    p.wait_log("closing because: failed cancel request")
    assert peer.server.count == 0


def test_a_circle_ends(pooler, lone):
    """Two processes that each think that the other is number 3."""
    a, b = lone(start=False), lone(peer_id=2, start=False)
    for p, q in ((a, b), (b, a)):
        p.peers = {3: "host=%s port=%d" % (q.dir, q.port)}
        p.write()
        p.start()
    cancel(a, key_of(3))
    # 3 and 1 arrive at a, 2 and 0 at b.
    b.wait_log("failed to forward cancel request because its TTL was exhausted")
    assert len(a.logged(r"S-\S+: peer-3@unix:%d new connection to server" % b.port)) == 2
    assert len(b.logged(r"S-\S+: peer-3@unix:%d new connection to server" % a.port)) == 1


@pytest.mark.parametrize("kind", ["directory", "abstract", "127.0.0.1", "::1", "name"])
def test_where_a_peer_may_be(lone, pg, kind):
    dns = DnsServer() if kind == "name" else None
    try:
        dir = "@peer-%d" % env.free_port() if kind == "abstract" else None
        b = lone(peer_id=2, listen_addr="127.0.0.1, ::1", **({"unix_socket_dir": dir} if dir else {}))
        host = {"directory": b.dir, "abstract": dir, "name": "peer.zone.test"}.get(kind, kind)
        more = {}
        if dns:
            dns.hosts["peer.zone.test"] = ["127.0.0.1"]
            more["resolv_conf"] = dns.resolv_conf
        a = lone(peers={2: "host=%s port=%d" % (host, b.port)}, **more)
        victim = Sleeping(pg, b)
        cancel(a, victim.key)
        assert victim.ended()
        shown = {"::1": r"\[::1\]", "127.0.0.1": r"127\.0\.0\.1", "name": r"127\.0\.0\.1"}.get(kind, "unix")
        a.wait_log(r"S-0x\w+: peer-2@%s:%d new connection to server" % (shown, b.port))
        a.wait_log(r"S-0x\w+: peer-2@%s:%d closing because: successfully sent cancel request \(age=0s\)"
                   % (shown, b.port))
        if dns:
            assert dns.asked("peer.zone.test") == 1
    finally:
        if dns:
            dns.close()


def test_a_peer_whose_name_nobody_knows(lone):
    dns = DnsServer()
    try:
        p = lone(peers={2: "host=nobody.zone.test"}, resolv_conf=dns.resolv_conf, cancel_wait_timeout=1)
        cancel(p, key_of(2))
        p.wait_log(r"peer-2@nobody\.zone\.test closing because: server DNS lookup failed")
        p.wait_log("closing because: cancel_wait_timeout")
    finally:
        dns.close()


def test_a_name_that_takes_its_time(lone):
    dns = DnsServer()
    try:
        dns.gate.clear()
        p = lone(peers={2: "host=slow.zone.test"}, resolv_conf=dns.resolv_conf, cancel_wait_timeout=1,
                 server_connect_timeout=15)
        cancel(p, key_of(2))
        p.wait_log(r"C-\S+ \S+ closing because: cancel_wait_timeout")
        p.wait_log(r"peer-2@slow\.zone\.test closing because: cancel_wait_timeout")
    finally:
        dns.close()


# --- limits and time --------------------------------------------------------------

def test_a_peer_gets_as_many_connections_as_its_pool_size(lone, scripted):
    peer = scripted()
    p = lone(peers={7: peer.entry(pool_size=2)}, max_client_conn=50)
    waiting = [begin(p, key_of(7)) for _ in range(5)]
    wait_peer_pool(p, 7, cl_active_cancel_req=2, cl_waiting_cancel_req=3, sv_active_cancel=2)
    peer.wait(2)
    assert peer.server.count == 2
    # One that gives up makes room for another. Which are under way is the Workers' business.
    ports = {c["port"] for c in p.show("CLIENTS") if c["state"] == "active_cancel_req"}
    leaves = next(w for w in waiting if str(w.sock.getsockname()[1]) in ports)
    waiting.remove(leaves)
    leaves.close()
    wait_peer_pool(p, 7, cl_active_cancel_req=2, cl_waiting_cancel_req=2, sv_active_cancel=2)
    p.wait_log("client gave up on cancel request, so we also give up forwarding to server", count=2)
    peer.may_end.set()
    for w in waiting:
        w.expect_closed()
    wait_peer_pool(p, 7)
    assert peer.server.count == 5


@pytest.mark.parametrize("size", [None, 0])
def test_pool_size_of_a_peer_not_given_or_unlimited(lone, scripted, size):
    peer = scripted()
    p = lone(peers={7: peer.entry(**({} if size is None else {"pool_size": size}))}, default_pool_size=3)
    waiting = [begin(p, key_of(7)) for _ in range(6)]
    here = 3 if size is None else 6
    wait_peer_pool(p, 7, cl_active_cancel_req=here, cl_waiting_cancel_req=6 - here, sv_active_cancel=here)
    assert p.show("PEERS")[0]["pool_size"] == str(3 if size is None else 0)
    peer.may_end.set()
    for w in waiting:
        w.expect_closed()


def test_queued_requests_time_out(lone, scripted):
    peer = scripted()
    p = lone(peers={7: peer.entry(pool_size=1)}, cancel_wait_timeout=1, server_connect_timeout=15)
    waiting = [begin(p, key_of(7)) for _ in range(3)]
    peer.wait(1)
    for w in waiting:
        w.expect_closed()
    # What was sent and never done goes by the same time.
    p.wait_log(r"S-\S+: peer-7@\S+ closing because: cancel_wait_timeout")
    p.wait_log(r"C-\S+ \S+ closing because: cancel_wait_timeout", count=3)
    wait_peer_pool(p, 7)


@pytest.fixture
def full():
    """A port whose backlog is full: a connect to it hangs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(listener.getsockname())
        fillers.append(s)
    yield listener.getsockname()[1]
    for s in fillers + [listener]:
        s.close()


@pytest.mark.parametrize("times, reason", [((15, 1), "connect timeout"), ((1, 15), "cancel_wait_timeout")])
def test_a_connect_that_hangs(lone, full, times, reason):
    p = lone(peers={2: "host=127.0.0.1 port=%d" % full}, cancel_wait_timeout=times[0], server_connect_timeout=times[1])
    with begin(p, key_of(2)) as w:
        wait_peer_pool(p, 2, cl_waiting_cancel_req=1, sv_login=1)
        p.wait_log(r"S-\S+: peer-2@127\.0\.0\.1:%d closing because: %s" % (full, reason))
        if reason == "cancel_wait_timeout":
            w.expect_closed()


def test_a_peer_that_does_not_answer_in_time(lone, scripted):
    peer = scripted()
    p = lone(peers={2: peer.entry()}, server_connect_timeout=1)
    with begin(p, key_of(2)) as w:
        w.expect_closed()
    p.wait_log(r"S-\S+: peer-2@\S+ closing because: connect timeout")
    p.wait_log(r"C-\S+ \S+ closing because: connect timeout")


def test_a_request_that_is_gone_before_its_connection(lone):
    """The connect waits in the accept queue of a process that stands still, until nobody needs it."""
    dns = DnsServer()
    try:
        b = lone(peer_id=2)
        dns.hosts["peer.zone.test"] = ["127.0.0.1"]
        dns.gate.clear()
        a = lone(peers={2: "host=peer.zone.test port=%d" % b.port}, resolv_conf=dns.resolv_conf)
        with begin(a, key_of(2)):
            wait_peer_pool(a, 2, cl_waiting_cancel_req=1, sv_login=1)
            victim, = [c for c in a.show("CLIENTS") if c["state"] == "waiting_cancel_req"]
            a.admin("KILL_CLIENT %s" % victim["id"])
        wait_peer_pool(a, 2, sv_login=1)
        dns.gate.set()
        a.wait_log("closing because: peer server was not necessary anymore, because client cancel connection was "
                   "already closed")
        wait_peer_pool(a, 2)
        # That was no failure: the next one need not wait.
        with b.console() as admin, begin(a, admin.key) as w:
            w.expect_closed()
    finally:
        dns.close()


def test_a_dead_peer_and_its_return(lone, pg):
    """Refused; after server_login_retry the request that still waits gets through, and the next ones at once."""
    b = lone(peer_id=2)
    a = lone(peers={2: "host=127.0.0.1 port=%d" % b.port}, server_login_retry=1, cancel_wait_timeout=15 * env.SLOW)
    b.signal(3)
    b.wait_exit()
    with begin(a, key_of(2)) as w:
        a.wait_log(r"peer-2@127\.0\.0\.1:%d closing because: connect failed" % b.port)
        wait_peer_pool(a, 2, cl_waiting_cancel_req=1)
        b.expected_exit = None
        b.seen = 0
        b.start()
        w.expect_closed()
    b.wait_log("closing because: failed cancel request")
    a.reload(server_login_retry=1000)
    for _ in range(3):
        victim = Sleeping(pg, b)
        cancel(a, victim.key)
        assert victim.ended()


def test_a_dead_peer_is_no_matter_for_the_others(group, pg):
    a, b, c = group(3, server_login_retry=1000, cancel_wait_timeout=1)
    victims = [Sleeping(pg, p) for p in (a, c)]
    b.signal(3)
    b.wait_exit()
    cancel(a, key_of(2), a.dir)
    a.wait_log(r"peer-2@unix:\d+ closing because: connect failed")
    a.wait_log("closing because: cancel_wait_timeout")
    for victim in victims:
        cancel(a, victim.key, a.dir)
        assert victim.ended()


# --- RELOAD -----------------------------------------------------------------------

def test_reload_adds_changes_and_removes_peers(lone, scripted):
    first, second = scripted(), scripted()
    p = lone()
    cancel(p, key_of(2))
    p.wait_log("could not find peer")
    p.peers = {2: first.entry()}
    p.reload()
    with begin(p, key_of(2)):
        first.wait(1)
    p.peers = {2: second.entry(pool_size=1)}
    p.reload()
    with begin(p, key_of(2)), begin(p, key_of(2)):
        second.wait(1)
        wait_peer_pool(p, 2, cl_active_cancel_req=1, cl_waiting_cancel_req=1, sv_active_cancel=1)
        # A larger pool_size is felt at once.
        p.peers = {2: second.entry(pool_size=5)}
        p.reload()
        second.wait(2)
    wait_peer_pool(p, 2)
    p.peers = {2: second.entry(pool_size=1)}
    p.reload()
    with begin(p, key_of(2)) as one, begin(p, key_of(2)) as two:
        wait_peer_pool(p, 2, cl_active_cancel_req=1, cl_waiting_cancel_req=1, sv_active_cancel=1)
        p.peers = {}
        p.mark()
        p.reload()
        p.wait_log("LOG dropping peer 2 as it does not exist anymore$")
        one.expect_closed()
        two.expect_closed()
        p.wait_log(r"S-\S+: peer-2@\S+ closing because: peer removed")
        p.wait_log(r"C-\S+ \S+ closing because: peer removed", count=2)
    assert p.show("PEERS") == [] and p.show("PEER_POOLS") == []
    lists = {r["list"]: int(r["items"]) for r in p.show("LISTS")}
    assert lists["peers"] == lists["peer_pools"] == 0
    cancel(p, key_of(2))
    p.wait_log("could not find peer")


def test_a_new_address_is_tried_at_once(lone, scripted):
    peer = scripted()
    p = lone(peers={2: "host=127.0.0.1 port=%d" % env.free_port()}, server_login_retry=1000,
             cancel_wait_timeout=15 * env.SLOW)
    with begin(p, key_of(2)):
        p.wait_log("closing because: connect failed")
        p.peers = {2: peer.entry()}
        p.reload()
        peer.wait(1)


def test_a_connect_to_the_old_address_is_given_up(lone, scripted, full):
    peer = scripted()
    p = lone(peers={2: "host=127.0.0.1 port=%d" % full})
    with begin(p, key_of(2)):
        wait_peer_pool(p, 2, cl_waiting_cancel_req=1, sv_login=1)
        p.peers = {2: peer.entry()}
        p.reload()
        p.wait_log("closing because: connect string changed")
        peer.wait(1)


def test_many_reloads_keep_it_working(group, pg):
    a, b = group()
    for _ in range(5):
        victim = Sleeping(pg, b)
        for _ in range(5):
            a.admin("RELOAD")
            b.admin("RELOAD")
        cancel(a, victim.key, a.dir)
        assert victim.ended()
    assert not a.logged("dropping peer")


def test_reload_under_way_keeps_requests(lone, scripted):
    """A peer that stays as it is loses neither what waits nor what is forwarded."""
    peer = scripted()
    p = lone(peers={2: peer.entry(pool_size=1)})
    with begin(p, key_of(2)) as one, begin(p, key_of(2)) as two:
        wait_peer_pool(p, 2, cl_active_cancel_req=1, cl_waiting_cancel_req=1, sv_active_cancel=1)
        for _ in range(3):
            p.reload()
        wait_peer_pool(p, 2, cl_active_cancel_req=1, cl_waiting_cancel_req=1, sv_active_cancel=1)
        peer.may_end.set()
        one.expect_closed()
        two.expect_closed()


@pytest.mark.parametrize("line, text", [
    ("0 = host=x", "ids of peers must be a number larger than 0 and at most 65536"),
    ("65536 = host=x", "ids of peers must be a number larger than 0 and at most 65536"),
    ("peer = host=x", "ids of peers must be a number larger than 0 and at most 65536"),
    ("2 = port=7", "host was not provided for peer 2"),
    ("2 =", "host was not provided for peer 2"),
    ("2 = host=x dbname=y", "unrecognized connection parameter: dbname"),
    ("2 = host=x port=0", "invalid port: 0"),
    ("2 = host=x port=y", "invalid port: y"),
    ("2 = host", "syntax error in connection string"),
    ("2 = host=", "syntax error in connection string"),
])
def test_a_bad_line_changes_nothing(lone, scripted, line, text):
    peer = scripted()
    p = lone(peers={2: peer.entry()})
    p.mark()
    with open(p.ini, "a") as f:
        f.write("[peers]\n%s\n" % line)
    with pytest.raises(PgError) as e:
        p.admin("RELOAD")
    assert e.value.code == "F0000"
    p.wait_log("ERROR " + text)
    p.wait_log(r'ERROR invalid value ".*" for parameter %s in configuration \(%s:\d+\)' % (line.split(" ")[0], p.ini))
    assert not p.logged("dropping peer")
    with begin(p, key_of(2)):
        peer.wait(1)


def test_the_own_entry_is_allowed_and_not_used(lone, scripted, pg):
    myself = scripted()
    p = lone(peers={1: myself.entry()})
    victim = Sleeping(pg, p)
    cancel(p, victim.key)
    assert victim.ended()
    cancel(p, key_of(1))
    p.wait_log("failed cancel request")
    assert myself.server.count == 0 and p.show("PEER_POOLS") == []


# --- a change of peer_id ----------------------------------------------------------

@pytest.mark.parametrize("how", ["SET", "RELOAD"])
@pytest.mark.parametrize("before, after", [(0, 3), (3, 5), (3, 0)])
def test_clients_of_before_a_change_of_peer_id(lone, scripted, pg, how, before, after):
    """They keep the keys that they have been given, and these go on working, from here and through others."""
    former = scripted()
    p = lone(peer_id=before, peers={3: former.entry()} if before == 3 else {})
    old = [Sleeping(pg, p, database) for database in ("db", "other")]
    if how == "SET":
        p.admin("SET peer_id = %d" % after)
    else:
        p.reload(peer_id=after)
    new = Sleeping(pg, p)
    if after:
        assert new.key[1] | new.key[2] << 8 == after
    for victim in [new] + old:
        cancel(p, victim.key)
        assert victim.ended()
        # The same by way of others, who count down. Without an id there are none.
        victim.run(pg)
        cancel(p, victim.key[:7] + bytes([victim.key[7] - 1]) if victim.key[1] | victim.key[2] << 8 in (3, 5)
               else victim.key)
        assert victim.ended()
    # What is nobody's here goes to him who has that number now.
    if before == 3 and after:
        with begin(p, key_of(3)):
            former.wait(1)
    else:
        assert former.server.count == 0


def test_peer_id_must_fit_a_key(lone):
    p = lone()
    for value in ("65536", "x"):
        with pytest.raises(PgError) as e:
            p.admin("SET peer_id = '%s'" % value)
        assert e.value.text == "SET failed"
    # Below zero is off, as in PgBouncer.
    p.admin("SET peer_id = '-1'")
    with p.login() as c:
        cancel(p, c.key)
        p.wait_log("cancel request for idle client")


# --- groups on one port -----------------------------------------------------------

@pytest.mark.parametrize("own", [False, True], ids=["others listed", "all listed"])
def test_three_on_one_port(group, pg, own):
    """Wherever the kernel lets a cancel request land, it reaches its client."""
    all_three = group(3, own=own)
    victims = [Sleeping(pg, p, database)
               for p in all_three for database in ("db", "other")]
    assert sorted(v.key[1] for v in victims) == [1, 1, 2, 2, 3, 3]
    for _ in range(4):
        for victim in victims:
            cancel(all_three[0], victim.key)
            assert victim.ended()
            victim.run(pg)
    for p in all_three:
        for victim in victims:
            cancel(p, victim.key, p.dir)
            assert victim.ended()
            victim.run(pg)
    # Each has passed on to both others.
    for p in all_three:
        assert sorted(int(r["peer_id"]) for r in p.show("PEER_POOLS")) == [i for i in (1, 2, 3) if i != int(p.settings["peer_id"])]


def test_hundred_cancels_at_once(group, pg):
    """Row 30 over processes: most are too late, and nobody else is hurt."""
    both = group(2, max_client_conn=500, default_pool_size=4)
    victims = [Sleeping(pg, p) for p in both]
    bystanders = [p.login(host=p.dir) for p in both]
    doors = [p.dir for p in both] + ["127.0.0.1"]

    def fire(n):
        with contextlib.suppress(Closed, OSError):
            cancel(both[0], victims[n % 2].key, doors[n % 3])
    storm = [threading.Thread(target=fire, args=(n,)) for n in range(100)]
    for t in storm:
        t.start()
    for victim in victims:
        assert victim.ended()
    for n in range(30):
        assert bystanders[n % 2].value("SELECT 'unhurt'") == "unhurt"
    for t in storm:
        t.join()
    for p, other in zip(both, (2, 1)):
        wait_peer_pool(p, other)
    for victim in victims:
        env.wait_for(lambda: not victim.client.query("SELECT 1").errors, "a quiet moment")
        victim.client.close()
    for c in bystanders:
        c.close()
    for p in both:
        p.wait_pool(cl_active=0, sv_active=0, cl_waiting=0)


def test_a_console_of_another_process(group):
    """Ctrl-C in a PAUSE that blocks undoes it, wherever it lands."""
    a, b = group()
    with b.login(host=b.dir) as busy, b.console() as admin:
        busy.query("BEGIN")
        admin.send(wire.query("PAUSE"))
        b.wait_log("PAUSE command issued")
        cancel(a, admin.key, a.dir)
        assert admin.until_ready().errors
        assert busy.query("COMMIT").status == "I"
        assert busy.value("SELECT 1") == "1"


def test_a_process_that_shuts_down_can_still_be_reached(group, pg):
    a, b = group()
    victim = Sleeping(pg, b)
    b.signal(15)
    b.wait_log("shutting down, waiting for all clients disconnect")
    cancel(a, victim.key, a.dir)
    assert victim.ended()
    # And it still passes on what reaches it.
    other = Sleeping(pg, a)
    cancel(b, other.key, b.dir)
    assert other.ended()
    victim.client.close()
    b.wait_exit()


# --- the console ------------------------------------------------------------------

def test_what_the_console_shows(lone, scripted):
    two, nine = scripted(), scripted()
    p = lone(peers={9: nine.entry(pool_size=1), 2: two.entry(), 1: "host=@x", 300: "host=/dir port=7 pool_size=4"},
             default_pool_size=6)
    assert [tuple(r.values()) for r in p.show("PEERS")] == [
        ("1", "@x", "6432", "6"), ("2", two.server.host, str(two.server.port), "6"),
        ("9", nine.server.host, str(nine.server.port), "1"), ("300", "/dir", "7", "4")]
    assert p.show("PEER_POOLS") == []
    client = p.login()
    waiting = []
    for peer, count in ((9, 3), (2, 1)):
        waiting += [begin(p, key_of(peer)) for _ in range(count)]
    wait_peer_pool(p, 9, cl_active_cancel_req=1, cl_waiting_cancel_req=2, sv_active_cancel=1)
    wait_peer_pool(p, 2, cl_active_cancel_req=1, sv_active_cancel=1)
    assert [tuple(r.values()) for r in p.show("PEER_POOLS")] == [("2", "1", "0", "1", "0"), ("9", "1", "2", "1", "0")]
    lists = {r["list"]: int(r["items"]) for r in p.show("LISTS")}
    assert lists["peers"] == 4 and lists["peer_pools"] == 2 and lists["pools"] == 2
    # One client, the console, four requests; two servers of peers beside that of the client's log-in.
    assert lists["used_clients"] == 6 and lists["used_servers"] == 3

    clients = p.show("CLIENTS")
    requests = clients[-4:]
    assert [c["state"] for c in requests] == ["active_cancel_req", "active_cancel_req", "waiting_cancel_req",
                                              "waiting_cancel_req"]
    assert {(c["type"], c["user"], c["database"], c["replication"]) for c in requests} == {
        ("C", "(nouser)", "(nodb)", "none")}
    servers = p.show("SERVERS")[-2:]
    assert [(s["type"], s["user"], s["database"], s["state"], s["addr"], s["port"]) for s in servers] == [
        ("S", "(nouser)", "(nodb)", "active_cancel", two.server.host, str(two.server.port)),
        ("S", "(nouser)", "(nodb)", "active_cancel", nine.server.host, str(nine.server.port))]
    assert [s["link"] for s in servers] == [c["ptr"] for c in requests[:2]]
    assert [c["link"] for c in requests] == [s["ptr"] for s in servers] + ["", ""]
    sockets = p.show("SOCKETS")
    assert [s["state"] for s in sockets[-6:]] == ["cl_active_cancel_req", "sv_active_cancel", "cl_active_cancel_req",
                                                  "cl_waiting_cancel_req", "cl_waiting_cancel_req", "sv_active_cancel"]
    # The pools of databases know nothing of it.
    assert not [r for r in p.show("POOLS") if r["database"] not in ("db", "pgbouncer")]
    assert [r["database"] for r in p.show("STATS")] == ["db", "pgbouncer"]
    mem = {r["name"]: int(r["used"]) for r in p.show("MEM")}
    assert mem["peer_cache"] == 4 and mem["peer_pool_cache"] == 2
    for w in waiting:
        w.close()
    wait_peer_pool(p, 2)
    assert client.value("SELECT 1") == "1"


def test_kill_client_finds_requests_for_peers(lone, scripted):
    peer = scripted()
    p = lone(peers={2: peer.entry(pool_size=1)})
    with begin(p, key_of(2)) as one, begin(p, key_of(2)) as two:
        wait_peer_pool(p, 2, cl_active_cancel_req=1, cl_waiting_cancel_req=1, sv_active_cancel=1)
        ids = {c["state"]: c["id"] for c in p.show("CLIENTS") if c["state"].endswith("cancel_req")}
        p.admin("KILL_CLIENT %s" % ids["waiting_cancel_req"])
        wait_peer_pool(p, 2, cl_active_cancel_req=1, sv_active_cancel=1)
        p.admin("KILL_CLIENT %s" % ids["active_cancel_req"])
        one.expect_closed()
        two.expect_closed()
        with pytest.raises(PgError):
            p.admin("KILL_CLIENT %s" % ids["active_cancel_req"])
    p.wait_log("closing because: admin forced disconnect", count=2)
    wait_peer_pool(p, 2)


def test_kill_and_reconnect_leave_peers_alone(lone, scripted):
    peer = scripted()
    p = lone(peers={2: peer.entry(pool_size=1)})
    p.login().close()
    with begin(p, key_of(2)), begin(p, key_of(2)):
        wait_peer_pool(p, 2, cl_active_cancel_req=1, cl_waiting_cancel_req=1, sv_active_cancel=1)
        for command in ("RECONNECT", "KILL", "WAIT_CLOSE"):
            p.admin(command)
        wait_peer_pool(p, 2, cl_active_cancel_req=1, cl_waiting_cancel_req=1, sv_active_cancel=1)


def test_pause_does_not_hold_up_what_is_for_others(group, pg):
    a, b = group()
    victim = Sleeping(pg, b)
    with a.console() as admin:
        assert admin.query("PAUSE").tags == ["PAUSE"]
        cancel(a, victim.key, a.dir)
        assert victim.ended()
        assert admin.query("RESUME").tags == ["RESUME"]


def test_suspend_waits_for_what_is_under_way(lone, scripted):
    peer = scripted()
    p = lone(peers={2: peer.entry(pool_size=1)})
    with begin(p, key_of(2)) as one, begin(p, key_of(2)) as two, p.console() as admin:
        wait_peer_pool(p, 2, cl_active_cancel_req=1, cl_waiting_cancel_req=1, sv_active_cancel=1)
        admin.send(wire.query("SUSPEND"))
        p.wait_log("SUSPEND command issued")
        assert admin.silent()
        peer.may_end.set()
        one.expect_closed()
        two.expect_closed()
        assert admin.until_ready().tags == ["SUSPEND"]
        assert admin.query("RESUME").tags == ["RESUME"]
    cancel(p, key_of(2))


def test_suspend_timeout_ends_requests_for_peers(lone, scripted):
    peer = scripted()
    p = lone(peers={2: peer.entry(pool_size=1)}, suspend_timeout=1)
    with begin(p, key_of(2)) as one, begin(p, key_of(2)) as two, p.console() as admin:
        wait_peer_pool(p, 2, cl_active_cancel_req=1, cl_waiting_cancel_req=1, sv_active_cancel=1)
        assert admin.query("SUSPEND").tags == ["SUSPEND"]
        one.expect_closed()
        two.expect_closed()
        p.wait_log("closing because: suspend_timeout", count=2)
        assert admin.query("RESUME").tags == ["RESUME"]
