"""Memory that runs out now and then: PGECDSA_FAULTS=oom:N of a developer build
lets every Nth allocation fail from the first log-in on. A client may be
refused for it; nothing may crash, hang, or let somebody in."""
import contextlib
import os

import pytest
from harness import wire
from harness.wallet import ALICE, BOB
from harness.wire import Closed, PgError, scram_secret

pytestmark = pytest.mark.ours


@contextlib.contextmanager
def faults(word):
    old = os.environ.get("PGECDSA_FAULTS")
    os.environ["PGECDSA_FAULTS"] = word
    try:
        yield
    finally:
        del os.environ["PGECDSA_FAULTS"]
        if old is not None:
            os.environ["PGECDSA_FAULTS"] = old


def ways(pg, certs):
    """Name to (settings, user, secret, wrong secret, TLS?)."""
    scram = dict(auth_type="scram-sha-256", users={"u": scram_secret("right")})
    plain = dict(auth_type="scram-sha-256", users={"u": "right"})
    tls = dict(client_tls_sslmode="require", client_tls_key_file=certs.key("server"),
               client_tls_cert_file=certs.crt("server"))
    wallet = dict(auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address, ecdsa_limit_burst=0)
    return {
        "trust": ({}, "u", None, None, False),
        "tls": (tls, "u", None, None, True),
        "md5": (dict(auth_type="md5", users={"u": "right"}), "u", "right", "wrong", False),
        "scram": (scram, "u", "right", "wrong", False),
        "scram-by-password": (plain, "u", "right", "wrong", False),
        "wallet": (wallet, ALICE.address, ALICE.password(), BOB.password(), False),
    }


def attempt(p, user, secret, tls):
    """True: let in. Whatever else happens ends the connection."""
    with p.wire() as c:
        try:
            if tls:
                c.tls()
            c.login(user, "db", secret, application_name="somebody")
            return True
        except (Closed, PgError, OSError) as e:
            # A time-out is an OSError, too, and means that nobody cares for this client any more.
            assert "timed out" not in str(e), "hangs"
            return False


@pytest.mark.parametrize("nth", [2, 7, 29])
@pytest.mark.parametrize("way", ["trust", "tls", "md5", "scram", "scram-by-password", "wallet"])
def test_logins_without_memory(pooler, pg, certs, way, nth):
    settings, user, secret, wrong, tls = ways(pg, certs)[way]
    with faults("oom:%d" % nth):
        p = pooler(**{"databases": {"db": pg.entry(user="u_trust")}, "users": {"u": ""}, "pool_mode": "transaction",
                      **settings})
    if not attempt(p, user, secret, tls):
        raise AssertionError("refused before anything fails: " + p.log()[-2000:])
    # Few are made for one log-in, and not each that fails is missed: where they are rare there have to be more of them.
    outcomes = [attempt(p, user, secret, tls) for _ in range(200 if nth == 29 else 40)]
    assert not all(outcomes), "no allocation failed: is this a developer build?"
    if nth == 29:
        assert any(outcomes)
    if wrong:
        assert not any(attempt(p, user, wrong, tls) for _ in range(20))
    assert p.process.poll() is None, p.log()[-2000:]


@pytest.mark.parametrize("nth", [2, 3, 7, 29])
def test_cancels_for_peers_without_memory(pooler, pg, fake, nth):
    """Each ends one way or another, and where some memory is left most of them arrive."""
    arrived = []
    peer = fake(lambda peer: arrived.append(peer.take(16)))
    with faults("oom:%d" % nth):
        p = pooler(databases={"db": pg.entry(user="u_trust")}, users={"u": ""}, peer_id=1, cancel_wait_timeout=1,
                   server_login_retry=0.05, peers={2: "host=127.0.0.1 port=%d" % peer.port})
    assert attempt(p, "u", None, False)
    requests = [p.wire() for _ in range(60)]
    for w in requests:
        with contextlib.suppress(OSError):
            w.send(wire.cancel_request(b"\1\2\0four\3"))
    for w in requests:
        with contextlib.suppress(ConnectionError):
            w.expect_closed()
        w.close()
    assert p.process.poll() is None, p.log()[-2000:]
    assert nth < 29 or arrived
    assert p.logged("out of memory") or len(arrived) < 60
