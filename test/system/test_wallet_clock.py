"""The clock by which proofs are judged, turned in both directions: ecdsa-login.md 11. Attack row 41."""
import os
import time

import pytest
from harness import env
from harness.wallet import ALICE
from harness.wire import PgError

pytestmark = pytest.mark.ours


@pytest.fixture
def clock(pooler, pg, monkeypatch):
    """A pooler whose clock p.turn(seconds) sets off; needs a developer build."""
    def make(**settings):
        path = os.path.join(env.make_dir(prefix="clock-"), "seconds")
        env.write(path, "0")
        monkeypatch.setenv("PGECDSA_CLOCK_FILE", path)
        base = dict(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ecdsa",
                    ecdsa_allowed_addresses=ALICE.address, ecdsa_formats="timestamp, bound, siwe",
                    ecdsa_server_names="pooler", ecdsa_siwe_domains="app.example.org", ecdsa_limit_burst=0,
                    server_tls_sslmode="disable")
        p = pooler(**{**base, **settings})
        p.turn = lambda seconds: env.write(path, str(seconds))
        return p
    return make


def enters(p, secret):
    try:
        p.login(ALICE.address, secret=secret).close()
        return True
    except PgError as e:
        assert e.code == "28P01"
        return False


def test_row_41_a_clock_that_jumps_ahead_expires_proofs(clock):
    p = clock()
    secrets = [ALICE.password(), ALICE.bound(), ALICE.siwe()]
    assert all(enters(p, s) for s in secrets)
    p.turn(3600)
    assert not any(enters(p, s) for s in secrets)
    assert p.logged("reason=expired ") and not p.logged("reason=from_future")
    # Whoever signs by that clock gets in, and by the right one again when it is back.
    assert enters(p, ALICE.password(int(time.time()) + 3600))
    p.turn(0)
    assert all(enters(p, s) for s in secrets)


def test_row_41_a_clock_that_is_turned_back_refuses_what_comes_from_its_future(clock):
    p = clock()
    p.turn(-3600)
    assert not any(enters(p, s) for s in (ALICE.password(), ALICE.bound(), ALICE.siwe()))
    assert len(p.logged("reason=from_future ")) == 3
    # It revives what has expired: that is the host's power without a floor.
    assert enters(p, ALICE.password(int(time.time()) - 3600))


def test_row_41_with_a_floor_the_past_does_not_come_back(clock):
    p = clock(ecdsa_clock_floor=1)
    old = ALICE.bound(life=1200)
    assert enters(p, old)
    p.turn(3600)
    assert not enters(p, old)
    p.turn(0)
    assert not enters(p, old) and not enters(p, ALICE.password())
    assert len(p.logged("reason=expired ")) == 3
    # The price of a jump ahead, until the setting goes or the process restarts.
    p.reload(ecdsa_clock_floor=0)
    assert enters(p, old)


def test_ecdsa_skew_is_for_the_issue_and_not_for_the_end(clock):
    p = clock(ecdsa_skew=10)
    assert enters(p, ALICE.bound())
    p.turn(-30)
    assert not enters(p, ALICE.bound()) and not enters(p, ALICE.siwe())
    assert enters(p, ALICE.password()), "a timestamp has its window"
    p.reload(ecdsa_skew=60)
    assert enters(p, ALICE.bound()) and enters(p, ALICE.siwe())
    p.turn(2)
    assert not enters(p, ALICE.bound(life=2))
