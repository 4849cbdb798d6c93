"""How often one proof may be used: ecdsa-login.md 18. Attack row 36."""
import os
import signal
import stat
import threading
import time

import pytest
from harness import env, wire
from harness.wallet import ALICE, BOB, Wallet
from harness.wire import PgError

pytestmark = pytest.mark.ours

HERE, THERE = "127.0.0.1", "127.0.0.2"


def now():
    return int(time.time())


def next_second():
    """What is signed from here on is younger than whatever happened before."""
    then = now()
    env.wait_for(lambda: now() > then, "the next second")


@pytest.fixture
def door(pooler, pg):
    def make(start=True, **settings):
        base = dict(databases={"db": pg.entry(user="svc", password="svc_pw"),
                               "db2": pg.entry("db2", user="svc", password="svc_pw")},
                    auth_type="ecdsa", ecdsa_allowed_addresses="%s, %s" % (ALICE.address, BOB.lower),
                    ecdsa_formats="timestamp, bound, siwe, typed", ecdsa_server_names="pooler",
                    ecdsa_siwe_domains="app.example.org", pool_mode="transaction", ecdsa_limit_burst=0,
                    server_tls_sslmode="disable", max_client_conn=200, ecdsa_replay="once")
        p = pooler(start=start, **{**base, **settings})
        if start:
            next_second()
        return p
    return make


def attempt(p, secret, source=HERE, user=ALICE.address, host=None, database="db"):
    """"in", or the SQLSTATE of the refusal."""
    with p.wire(host, source=None if host else source) as c:
        try:
            c.login(user, database, secret)
            return "in"
        except PgError as e:
            assert e.severity == "FATAL"
            if e.code == "28P01":
                assert e.text == 'password authentication failed for user "%s"' % user
            return e.code


def restart(p, how=signal.SIGTERM):
    p.signal(how)
    p.wait_exit(0 if how != signal.SIGKILL else -9)
    p.expected_exit = None
    begin(p)


def begin(p):
    p.mark()
    p.spawn()
    p.wait_log("process up")


MAKERS = {"timestamp": lambda: ALICE.password(), "bound": lambda: ALICE.bound(), "siwe": lambda: ALICE.siwe(),
          "typed": lambda: ALICE.typed()}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_row_36_once_means_once(door, make):
    p = door()
    secret = make()
    assert attempt(p, secret) == "in"
    for _ in range(3):
        assert attempt(p, secret) == "28P01"
    assert len(p.logged("reason=replayed .*proof=[0-9a-f]{16}")) == 3
    assert len(set(p.logged("proof=([0-9a-f]{16})"))) == 1
    counts = {(r["counter"], r["kind"]): int(r["value"]) for r in p.show("STATS_ECDSA")}
    assert counts["refusals", "replayed"] == 3 and counts["replay", "entries"] == 1
    assert counts["replay", "capacity"] == 65536


def test_row_36_another_spelling_of_the_signature_is_the_same_proof(door):
    p = door()
    text = ALICE.bound_text()
    spellings = [ALICE.sign(text), ALICE.sign(text, v=0), ALICE.sign(text, prefix=""), ALICE.sign_compact(text)]
    assert attempt(p, ALICE.message("bound", text, spellings[0])) == "in"
    for s in spellings[1:]:
        assert attempt(p, ALICE.message("bound", text, s)) == "28P01"
        assert attempt(p, ALICE.message("bound", text, "0x" + s.removeprefix("0x").upper())) == "28P01"
    # A signature that was made anew, with another nonce of the algorithm, is one of the same text.
    assert len(p.logged("reason=replayed ")) == 6
    assert attempt(p, ALICE.message("bound", ALICE.bound_text())) == "in"


def test_two_logins_in_one_second_are_one_grant_of_a_timestamp(door):
    p = door()
    t = now() - 1
    next_second()
    next_second()
    t = now() - 1
    assert attempt(p, ALICE.password(t)) == "in"
    assert attempt(p, ALICE.password(t)) == "28P01"
    assert attempt(p, ALICE.password(t + 1)) == "in"
    # Another wallet's second is its own.
    assert attempt(p, BOB.password(t), user=BOB.address) == "in"


def test_a_refused_proof_is_not_used_up(door):
    p = door(ecdsa_allowed_addresses=BOB.address)
    secret = ALICE.bound()
    assert attempt(p, secret) == "28P01"
    p.reload(ecdsa_allowed_addresses="%s, %s" % (ALICE.address, BOB.address))
    assert attempt(p, secret, database="db2") == "28P01"
    assert attempt(p, secret) == "in"
    assert attempt(p, secret) == "28P01"


def test_source_fixes_where_a_proof_comes_from(door):
    p = door(ecdsa_replay="source")
    secret = ALICE.bound()
    assert attempt(p, secret) == "in"
    assert attempt(p, secret) == "in"
    assert attempt(p, secret, THERE) == "28P01"
    assert attempt(p, secret, host=p.dir) == "28P01"
    assert len(p.logged("reason=replay_other_source ")) == 2
    assert attempt(p, secret) == "in"
    unix = ALICE.bound()
    assert attempt(p, unix, host=p.dir) == "in" and attempt(p, unix, host=p.dir) == "in"
    assert attempt(p, unix) == "28P01"


def test_off_remembers_nothing(door):
    p = door(ecdsa_replay="off")
    secret = ALICE.password()
    assert [attempt(p, secret, s) for s in (HERE, THERE, HERE)] == ["in"] * 3
    assert [int(r["value"]) for r in p.show("STATS_ECDSA") if (r["counter"], r["kind"]) == ("replay", "entries")] == [0]


def test_a_line_of_the_hba_file_has_a_mode_of_its_own(door):
    p = door(start=False, auth_type="hba", ecdsa_replay="off")
    p.settings["auth_hba_file"] = os.path.join(p.dir, "hba")
    env.write(p.settings["auth_hba_file"], "host db all all ecdsa replay=once\nhost db2 all all ecdsa\n")
    p.write()
    p.start()
    next_second()
    secret = ALICE.bound(database="*")
    assert [attempt(p, secret, database="db2") for _ in range(2)] == ["in", "in"]
    assert [attempt(p, secret) for _ in range(2)] == ["in", "28P01"]
    assert attempt(p, secret, database="db2") == "in"


def test_of_racing_logins_with_one_proof_exactly_one_gets_in(door):
    """Two, four and more at once, on as many Workers as there are."""
    p = door()
    for number in (2, 2, 2, 2, 4, 4, 8, 16):
        secret = ALICE.bound()
        wires = [p.wire() for _ in range(number)]
        for c in wires:
            c.send(wire.startup(ALICE.address, "db"))
            c.expect(b"R")
        barrier = threading.Barrier(number)
        outcome = []

        def race(c):
            barrier.wait()
            c.send(wire.password(secret))
            outcome.append(c.recv().type)
        threads = [threading.Thread(target=race, args=(c,)) for c in wires]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for c in wires:
            c.close()
        assert sorted(outcome) == [b"E"] * (number - 1) + [b"R"]


@pytest.mark.parametrize("mode, good", [("off", 50), ("source", 50), ("once", 1)])
def test_a_pool_of_50_connections(door, mode, good):
    p = door(ecdsa_replay=mode)
    secret = ALICE.bound()
    wires, refused = [], 0
    for _ in range(50):
        try:
            wires.append(p.login(ALICE.address, secret=secret))
        except PgError:
            refused += 1
    assert (len(wires), refused) == (good, 50 - good)
    assert all(c.value("SELECT 1") == "1" for c in wires)
    # With a function that signs for each connection every mode works.
    more = [p.login(ALICE.address, secret=ALICE.bound()) for _ in range(50)]
    for c in wires + more:
        c.close()


def test_a_wallet_that_uses_too_many_proofs(door):
    p = door(ecdsa_replay_entries=256)
    wallet = ALICE
    answers = [attempt(p, wallet.bound()) for _ in range(20)]
    assert answers == ["in"] * 16 + ["53300"] * 4
    with pytest.raises(PgError) as e:
        p.login(wallet.address, secret=wallet.bound())
    assert e.value.text == "too many logins for this wallet, retry later"
    assert len(p.logged("login failed: .*reason=replay_cache_full ")) == 5
    assert len(p.logged("WARNING wallet login of %s refused: the wallet has used too many" % ALICE.address)) == 1
    # Nobody else is held up, and it is no failure that the limiter counts.
    assert attempt(p, BOB.bound(), user=BOB.address) == "in"
    assert p.show("ECDSA_LIMITS") == []


def test_it_is_not_held_against_the_source(door):
    p = door(ecdsa_replay_entries=16, ecdsa_limit_burst=2)
    answers = [attempt(p, ALICE.bound()) for _ in range(6)]
    assert answers == ["in"] + ["53300"] * 5
    assert attempt(p, "nonsense") == "28P01"


def test_places_are_free_again_when_proofs_have_expired(door):
    p = door(ecdsa_replay_entries=256)
    assert [attempt(p, ALICE.bound(life=3)) for _ in range(16)] == ["in"] * 16
    env.wait_for(lambda: attempt(p, ALICE.bound(life=3)) == "in", "the first ones to expire", pause=0.2)


def test_proofs_of_one_use_are_not_dated_ahead(door):
    p = door(ecdsa_skew=20)
    assert attempt(p, ALICE.password(now() + 30)) == "28P01"
    assert p.logged("reason=from_future ")
    assert attempt(p, ALICE.password(now() + 10)) == "in"
    p.reload(ecdsa_replay="off")
    assert attempt(p, ALICE.password(now() + 30)) == "in"


def test_the_memory_survives_reload(door):
    p = door()
    secret = ALICE.bound()
    assert attempt(p, secret) == "in"
    p.reload(ecdsa_window=200)
    assert attempt(p, secret) == "28P01"
    p.admin("RECONNECT")
    p.reload(ecdsa_replay="off")
    p.reload(ecdsa_replay="once")
    assert attempt(p, secret) == "28P01"


def test_a_window_that_grows_brings_nothing_back(door):
    p = door(ecdsa_window=2)
    secret = ALICE.password()
    assert attempt(p, secret) == "in"
    env.wait_for(lambda: attempt(p, secret) == "28P01" and p.logged("reason=expired "), "it to be too old", pause=0.2)
    env.wait_for(lambda: [r for r in p.show("STATS_ECDSA") if r["kind"] == "entries"][0]["value"] == "0",
                 "it to be forgotten")
    p.reload(ecdsa_window=300)
    p.mark()
    assert attempt(p, secret) == "28P01"
    assert p.logged("reason=replayed .*hint=replayed: was too old before the window grew")
    assert attempt(p, ALICE.password(now())) == "in"


def test_a_window_that_grows_keeps_what_is_remembered(door):
    """It would have been forgotten at the end of the window that it was used by, and be good again."""
    p = door(ecdsa_window=2)
    secret, t = ALICE.password(), now()
    assert attempt(p, secret) == "in"
    p.reload(ecdsa_window=300)
    env.wait_for(lambda: now() > t + 4, "the smaller window to be over")
    assert attempt(p, secret) == "28P01"
    assert p.logged("reason=replayed ")


def test_windows_of_other_lines_count_for_how_long_it_is_remembered(door):
    p = door(start=False, auth_type="hba")
    p.settings["auth_hba_file"] = os.path.join(p.dir, "hba")
    env.write(p.settings["auth_hba_file"], "host db all all ecdsa window=1\nhost db2 all all ecdsa\n")
    p.write()
    p.start()
    next_second()
    secret = ALICE.password()
    assert attempt(p, secret) == "in"
    t = now()
    env.wait_for(lambda: now() > t + 2, "the first line's window to pass")
    assert attempt(p, secret, database="db2") == "28P01"
    assert p.logged("reason=replayed ")


# --- restarts ---------------------------------------------------------------

def test_row_36_what_was_signed_before_the_start_is_refused(door):
    p = door()
    used, unused = ALICE.bound(), ALICE.bound()
    assert attempt(p, used) == "in"
    restart(p)
    for secret in (used, unused):
        assert attempt(p, secret) == "28P01"
    assert len(p.logged("reason=replayed .*hint=replayed: issued before start")) == 2
    next_second()
    assert attempt(p, ALICE.bound()) == "in"
    p.reload(ecdsa_replay="off")
    assert attempt(p, unused) == "in"


def test_row_36_a_file_carries_used_proofs_over_a_restart(door):
    p = door(start=False)
    path = os.path.join(p.dir, "replay")
    p.settings["ecdsa_replay_file"] = path
    p.write()
    p.start()
    next_second()
    used, unused = ALICE.bound(), ALICE.bound()
    assert attempt(p, used) == "in"
    assert not os.path.exists(path)
    p.signal(signal.SIGTERM)
    p.wait_exit(0)
    p.expected_exit = None
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    begin(p)
    assert p.logged("1 used proofs taken over from " + path)
    # Read once, so that a crash does not bring it back.
    assert not os.path.exists(path)
    assert attempt(p, used) == "28P01"
    assert attempt(p, unused) == "in"
    late = ALICE.bound()
    restart(p, signal.SIGKILL)
    p.expected_exit = None
    assert not os.path.exists(path)
    for secret in (used, unused, late):
        assert attempt(p, secret) == "28P01"
    restart(p, signal.SIGQUIT)
    for secret in (used, unused):
        assert attempt(p, secret) == "28P01"


@pytest.mark.parametrize("how", ["file", "online"])
def test_the_next_process_has_a_larger_window(door, how):
    p = door(start=False, ecdsa_window=2)
    p.settings["ecdsa_replay_file"] = os.path.join(p.dir, "replay")
    p.write()
    p.start()
    next_second()
    secret = ALICE.password()
    assert attempt(p, secret) == "in"
    env.wait_for(lambda: [r for r in p.show("STATS_ECDSA") if r["kind"] == "entries"][0]["value"] == "0",
                 "it to be forgotten")
    if how == "online":
        p.restart(ecdsa_window=300)
    else:
        p.settings["ecdsa_window"] = 300
        p.write()
        restart(p)
    p.mark()
    assert attempt(p, secret) == "28P01"
    assert p.logged("reason=replayed .*hint=replayed: was too old before the window grew")
    assert attempt(p, ALICE.password(now())) == "in"


def test_row_36_an_online_restart_carries_used_proofs(door, workers):
    p = door(start=False)
    path = os.path.join(p.dir, "replay")
    p.settings["ecdsa_replay_file"] = path
    p.write()
    p.start()
    next_second()
    used, unused, last = ALICE.bound(), ALICE.bound(), BOB.bound()
    assert attempt(p, used) == "in"
    for turn in (3 - workers, workers):
        p.restart(workers=turn)
        assert p.logged("%d used proofs taken over from the old process" % (1 if turn == 3 - workers else 2))
        # One process has the memory: a file beside it would be believed by a later one.
        assert not os.path.exists(path)
        assert attempt(p, used) == "28P01"
        assert attempt(p, unused) == ("in" if turn == 3 - workers else "28P01")
    assert not p.logged("issued before start")
    assert attempt(p, last, user=BOB.address) == "in"
    restart(p)
    assert p.logged("3 used proofs taken over from " + path)
    assert attempt(p, last, user=BOB.address) == "28P01"


def test_a_memory_of_many_proofs_goes_over(door):
    """More than fits in one row of the console's answer."""
    p = door(ecdsa_replay_entries=1 << 19)
    wallets = [Wallet(7000 + i) for i in range(40)]
    p.reload(ecdsa_allowed_addresses=",".join(w.lower for w in wallets))
    used = [(w, w.bound()) for w in wallets for _ in range(25)]
    for w, secret in used:
        assert attempt(p, secret, user=w.address) == "in"
    p.restart()
    assert p.logged("1000 used proofs taken over from the old process")
    for w, secret in used[::7]:
        assert attempt(p, secret, user=w.address) == "28P01"


def test_a_smaller_memory_refuses_what_it_could_not_take(door):
    p = door()
    used = [ALICE.bound() for _ in range(30)]
    for secret in used:
        assert attempt(p, secret) == "in"
    p.restart(ecdsa_replay_entries=16)
    assert p.logged("ERROR used proofs of the old process are not taken over: there is no room for all of it")
    for secret in used:
        assert attempt(p, secret) in ("28P01", "53300")


@pytest.mark.parametrize("damage", ["mode", "bytes", "cut"])
def test_a_file_that_cannot_be_trusted_is_not(door, damage):
    p = door(start=False)
    path = os.path.join(p.dir, "replay")
    p.settings["ecdsa_replay_file"] = path
    p.write()
    p.start()
    next_second()
    used, unused = ALICE.bound(), ALICE.bound()
    assert attempt(p, used) == "in"
    p.signal(signal.SIGINT)
    p.wait_exit(0)
    p.expected_exit = None
    if damage == "mode":
        os.chmod(path, 0o644)
    else:
        with open(path, "r+b") as f:
            if damage == "cut":
                f.truncate(os.path.getsize(path) - 1)
            else:
                f.seek(40)
                f.write(b"xx")
    begin(p)
    assert p.logged("ERROR ecdsa_replay_file: \"%s\" is not used: " % path)
    for secret in (used, unused):
        assert attempt(p, secret) == "28P01"
    p.mark()


def test_a_start_that_fails_leaves_the_file_alone(door):
    """Another process, started by mistake with the same settings, must not write down that nothing was used."""
    p = door(start=False)
    path = os.path.join(p.dir, "replay")
    p.settings["ecdsa_replay_file"] = path
    p.write()
    p.start()
    other = door(start=False, listen_port=p.port, ecdsa_replay_file=path)
    other.spawn()
    other.wait_exit(1)
    assert not os.path.exists(path)


def test_many_wallets_with_many_proofs(door):
    wallets = [Wallet(5000 + i) for i in range(12)]
    p = door(ecdsa_allowed_addresses=",".join(w.lower for w in wallets))
    faults = []

    def work(w):
        try:
            for _ in range(6):
                secret = w.bound()
                assert attempt(p, secret, user=w.address) == "in"
                assert attempt(p, secret, user=w.address) == "28P01"
        except BaseException as e:
            faults.append(e)
    threads = [threading.Thread(target=work, args=(w,)) for w in wallets]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults, faults[0]
    counts = {(r["counter"], r["kind"]): int(r["value"]) for r in p.show("STATS_ECDSA")}
    assert counts["logins", "bound"] == 72 and counts["refusals", "replayed"] == 72
