"""The limit on failed logins. Attack rows 8 and 39; the rules one by one,
with a clock moved by hand, are in test/unit/test_limit.c."""
import re
import threading

import pytest
from harness import env, wire
from harness.wallet import ALICE, BOB, Wallet
from harness.wire import PgError

pytestmark = pytest.mark.ours

TEXT = r"too many failed login attempts, retry after (\d+) seconds"
HERE, THERE = "127.0.0.1", "127.0.0.2"


@pytest.fixture
def door(pooler, pg):
    """Alice and Bob may enter. Nothing is forgotten and no block ends while a
    test runs, however slow the machine is."""
    def make(**settings):
        base = dict(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ecdsa",
                    ecdsa_allowed_addresses="%s, %s" % (ALICE.address, BOB.address), pool_mode="transaction",
                    stats_users=BOB.address, ecdsa_limit_halflife=86400, ecdsa_limit_block=3600,
                    ecdsa_limit_block_max=86400, server_tls_sslmode="disable")
        return pooler(**{**base, **settings})
    return make


def attempt(p, source=HERE, user=ALICE.address, secret="nonsense", host=None, database="db"):
    """The SQLSTATE of the refusal, or "ok"."""
    with p.wire(host, source=source if host is None else None) as c:
        try:
            c.login(user, database, secret)
            return "ok"
        except PgError as e:
            return e.code


def good(p, source=HERE, host=None):
    return attempt(p, source, secret=ALICE.password(), host=host)


def fail(p, times, **how):
    assert [attempt(p, **how) for _ in range(times)] == ["28P01"] * times


def limits(p):
    return {r["source"]: r for r in p.show("ECDSA_LIMITS")}


def counts(p):
    return {(r["counter"], r["kind"]): int(r["value"]) for r in p.show("STATS_ECDSA")}


# --- who is refused, and who is not -----------------------------------------

def test_a_pool_that_opens_at_once_sees_no_refusal(door):
    p = door(default_pool_size=2)
    secret = ALICE.password()
    for _ in range(3):
        clients = [p.wire() for _ in range(20)]
        for c in clients:
            c.send(wire.startup(ALICE.address, "db"))
        for c in clients:
            c.expect(b"R")
            c.send(wire.password(secret))
        for c in clients:
            c.authenticate(ALICE.address, None)
            c.welcome()
            c.close()
    assert limits(p) == {}
    assert counts(p)["logins", "timestamp"] == 60


def test_eleven_bad_proofs_close_the_source_off_and_no_other(door):
    p = door()
    fail(p, 11)
    with p.wire() as c:
        c.send(wire.startup(ALICE.address, "db"))
        # Before the password is asked for, and whatever it would have been.
        e = c.expect_error()
    assert (e.severity, e.code) == ("FATAL", "53300") and set(e.fields) <= {"S", "V", "C", "M"}
    assert 3600 - 60 * env.SLOW < int(re.fullmatch(TEXT, e.text).group(1)) <= 3600
    assert good(p) == "53300"
    assert attempt(p, user=BOB.address, secret=BOB.password()) == "53300"
    assert good(p, THERE) == "ok"
    assert good(p, host=p.dir) == "ok"


def test_row_39_nobody_is_locked_out_by_name(door):
    p = door()
    fail(p, 11, source=THERE)
    assert attempt(p, THERE) == "53300"
    assert good(p) == "ok"


def test_after_the_block_it_is_let_in_again(door):
    p = door(ecdsa_limit_block=1)
    fail(p, 11)
    env.wait_for(lambda: good(p) == "ok", "the block to end")
    assert counts(p)["blocks", "source"] == 1


def test_a_neighbour_of_recent_success_gets_in_while_the_source_is_closed_off(door):
    p = door()
    assert good(p) == "ok"
    fail(p, 11)
    for _ in range(2):
        env.wait_for(lambda: good(p) == "ok", "the one attempt a second", pause=0.1)
        row = limits(p)[HERE]
        assert int(row["blocked_for"]) > 0 and int(row["last_success"]) <= 60 * env.SLOW


@pytest.mark.parametrize("settings", [
    dict(ecdsa_limit_burst=0), dict(ecdsa_limit_exempt="10.0.0.0/8, 127.0.0.1"),
    dict(ecdsa_limit_exempt="127.0.0.0/8"), dict(login_limit_methods=""), dict(login_limit_methods="plain,md5"),
    dict(ecdsa_limit_block=0),
], ids=["burst-0", "exempt-address", "exempt-network", "no-method", "other-methods", "no-block"])
def test_not_limited(door, settings):
    p = door(**settings)
    fail(p, 14)
    assert good(p) == "ok"


def test_unix_sockets_are_never_limited(door):
    p = door()
    fail(p, 14, host=p.dir)
    assert good(p, host=p.dir) == "ok"
    assert limits(p) == {}


def test_a_network_may_count_as_one_source(door):
    p = door(ecdsa_limit_ipv4_prefix=24)
    for i in range(11):
        fail(p, 1, source="127.0.0.%d" % (i + 1))
    assert attempt(p, "127.0.0.200") == "53300"
    assert attempt(p, "127.0.1.1") == "28P01"
    assert set(limits(p)) == {"127.0.0.0/24", "127.0.1.0/24"}


# --- what counts ------------------------------------------------------------

def hang_up(p):
    with p.wire() as c:
        c.send(wire.startup(ALICE.address, "db"))
        c.expect(b"R")


def say_terminate(p):
    with p.wire() as c:
        c.send(wire.startup(ALICE.address, "db"))
        c.expect(b"R")
        c.send(wire.msg(b"X"))
        c.expect_closed()


def cancel(p):
    with p.wire() as c:
        c.send(wire.cancel_request(b"12345678"))
        c.expect_closed()


def no_protocol(p):
    with p.wire() as c:
        c.send(b"GET / HTTP/1.0\r\n\r\n")
        c.expect_closed()


def half_a_handshake(p):
    with p.wire() as c:
        c.ssl_request()
        c.send(b"\x16\x03\x01\x00\x05garbage")
        with pytest.raises(Exception):
            c.expect(b"R")


@pytest.mark.parametrize("what", [hang_up, say_terminate, cancel, no_protocol], ids=lambda f: f.__name__)
def test_does_not_count(door, what):
    p = door()
    for _ in range(14):
        what(p)
    assert attempt(p) == "28P01"
    assert {k: r["score"] for k, r in limits(p).items()} == {HERE: "1.00"}


def test_tls_troubles_do_not_count(door, certs):
    p = door(ecdsa_require_tls="always", client_tls_sslmode="allow", client_tls_key_file=certs.key("server"),
             client_tls_cert_file=certs.crt("server"))
    for _ in range(14):
        half_a_handshake(p)
        assert good(p) == "28000"
    assert limits(p) == {}


@pytest.mark.parametrize("secret", ["", "1" * 4200, "no:pe", ALICE.password(1), BOB.password()],
                         ids=["empty", "too-long", "unknown", "expired", "wrong-signer"])
def test_counts(door, secret):
    p = door(ecdsa_limit_burst=1)
    for _ in range(2):
        with p.wire() as c:
            c.send(wire.startup(ALICE.address, "db"))
            c.expect(b"R")
            c.send(wire.password(secret))
            assert c.expect_error(closed=False).code == "28P01"
    assert attempt(p) == "53300"


def test_a_refusal_after_the_proof_is_no_failure(door):
    p = door(ecdsa_limit_burst=1)
    for _ in range(4):
        with pytest.raises(PgError) as e:
            p.login(ALICE.address, "nowhere", ALICE.password())
        assert e.value.text == "no such database: nowhere"
    assert good(p) == "ok"


def test_places_of_a_wallet_are_taken_by_proofs_only(door):
    """max_user_client_connections: strangers cannot use them up by name."""
    p = door(user_lines={ALICE.address: "max_user_client_connections=1"}, ecdsa_limit_burst=0)
    asking = [p.wire() for _ in range(5)]
    for c in asking:
        c.send(wire.startup(ALICE.address, "db"))
        c.expect(b"R")
    fail(p, 3)
    with p.login(ALICE.address, secret=ALICE.password()) as c:
        assert c.value("SELECT 1") == "1"
        fail(p, 3)
        with pytest.raises(PgError) as e:
            p.login(ALICE.address, secret=ALICE.password())
        assert e.value.text == "client connections exceeded (max_user_client_connections)"
        assert c.value("SELECT 2") == "2"
    for c in asking:
        c.close()


# --- other methods ----------------------------------------------------------

@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256", "trust"])
@pytest.mark.parametrize("listed", [False, True], ids=["default", "listed"])
def test_passwords_are_limited_when_listed(door, pg, method, listed):
    p = door(auth_type=method, users={"someone": "right"}, databases={"db": pg.entry(user="svc", password="svc_pw")},
             **(dict(login_limit_methods="ecdsa, " + method) if listed else {}))
    # Who cannot be refused by a password is refused by name.
    user = "nobody" if method == "trust" else "someone"
    codes = [attempt(p, user=user, secret="wrong") for _ in range(13)]
    assert codes == ["08P01"] * 11 + ["53300" if listed else "08P01"] * 2
    assert attempt(p, user="someone", secret="right") == ("53300" if listed else "ok")
    assert attempt(p, THERE, user="someone", secret="right") == "ok"


# --- settings ---------------------------------------------------------------

def test_reload_changes_numbers_and_keeps_scores(door):
    p = door()
    fail(p, 8)
    fail(p, 11, source=THERE)
    p.reload(ecdsa_limit_burst=8, ecdsa_limit_entries=100000, ecdsa_limit_halflife=80000)
    assert float(limits(p)[HERE]["score"]) > 7.5
    fail(p, 1)
    assert attempt(p) == "53300" and attempt(p, THERE) == "53300"
    p.reload(ecdsa_limit_entries=1)
    assert attempt(p) == "53300" and attempt(p, THERE) == "53300"
    p.reload(ecdsa_limit_exempt=HERE)
    assert good(p) == "ok" and attempt(p, THERE) == "53300"
    p.reload(ecdsa_limit_burst=0)
    assert good(p, THERE) == "ok"


@pytest.mark.parametrize("key, value, text", [
    ("ecdsa_limit_exempt", "10.0.0.0/33", 'found "10.0.0.0/33", expected an address or ADDRESS/BITS'),
    ("ecdsa_limit_exempt", "10.0.0.1/8", "10.0.0.1/8 has bits set behind its prefix, the network is 10.0.0.0/8"),
    ("login_limit_methods", "ecdsa, password", "unknown method password, expected"),
])
def test_a_malformed_list_is_refused_and_changes_nothing(door, key, value, text):
    p = door(ecdsa_limit_exempt=THERE)
    with pytest.raises(PgError):
        p.reload(**{key: value})
    line = p.wait_log(r".*%s: %s.*" % (key, re.escape(text)))[0]
    assert re.search(r"\(.*pgbouncer\.ini:\d+\)$", line)
    fail(p, 12, source=THERE)
    fail(p, 11)
    assert attempt(p) == "53300"


def test_the_ceiling_leaves_those_in_who_have_proven_themselves(door):
    p = door(ecdsa_limit_checks_per_second=0)
    assert good(p) == "ok"
    asked = [p.wire(source="127.0.1.%d" % (i + 1)) for i in range(30)]
    for c in asked:
        c.send(wire.startup(ALICE.address, "db"))
        c.expect(b"R")
    p.reload(ecdsa_limit_checks_per_second=1)
    # Who was asked for a proof is checked; it is paid for by those who come next.
    for c in asked:
        c.send(wire.password("nonsense"))
        assert c.expect_error().code == "28P01"
    assert attempt(p, THERE) == "53300"
    assert good(p) == "ok"
    p.wait_log("login failed: method=ecdsa reason=too_many_checks source=127.0.0.2:")
    assert counts(p)["throttled", "checks_per_second"] == 1


# --- what people see --------------------------------------------------------

def test_show_ecdsa_limits(door):
    p = door()
    fail(p, 11)
    fail(p, 3, source=THERE)
    assert good(p, THERE) == "ok"
    for _ in range(4):
        attempt(p)
    with p.login(BOB.address, "pgbouncer", BOB.password(), host=p.dir) as c:
        result = c.query("SHOW ECDSA_LIMITS")
        rows = result.dicts()
        assert c.query("SHOW STATS_ECDSA").rows
    assert [r["source"] for r in rows] == [HERE, THERE]
    here, there = rows
    assert list(here) == ["source", "score", "blocks", "blocked_for", "suppressed", "last_success"]
    assert 10 < float(here["score"]) <= 11 and here["blocks"] == "1" and here["last_success"] is None
    assert 3600 - 60 * env.SLOW < int(here["blocked_for"]) <= 3600 and here["suppressed"] == "3"
    assert 1.4 < float(there["score"]) <= 1.5 and there["blocked_for"] == "0" and int(there["last_success"]) >= 0


def test_show_help_names_them(door):
    assert "SHOW STATS_ECDSA|ECDSA_LIMITS" in door().console_result("SHOW HELP").notices[0]["D"]


def test_show_stats_ecdsa(door):
    p = door()
    assert good(p) == "ok"
    fail(p, 5, source=THERE)
    fail(p, 3, source=THERE, secret=ALICE.password(1))
    fail(p, 1, source=THERE, user=Wallet(77).address, secret=Wallet(77).password())
    fail(p, 2, source=THERE, secret=BOB.password())
    assert [attempt(p, THERE) for _ in range(4)] == ["53300"] * 4
    assert {k: v for k, v in counts(p).items() if v} == {
        ("logins", "timestamp"): 1, ("refusals", "format_unknown"): 5, ("refusals", "expired"): 3,
        ("refusals", "not_allowed"): 1, ("refusals", "wrong_signer"): 2, ("throttled", "source"): 4,
        ("blocks", "source"): 1, ("replay", "capacity"): 65536}


def test_row_39_a_flood_leaves_one_line_in_the_log(door, pg):
    """Not even a word about the databases that it makes up."""
    p = door(databases={"*": pg.entry(user="svc", password="svc_pw")}, log_connections=1, log_disconnections=1,
             log_pooler_errors=1)
    fail(p, 11)
    p.wait_log("closing because: password authentication failed", 11)
    p.mark()
    for n in range(30):
        assert attempt(p, database="made_up_%d" % n) == "53300"
    lines = [s for s in p.log()[p.seen:].splitlines() if "stats:" not in s]
    assert len(lines) == 1, lines
    assert re.search(r'LOG login failed: method=ecdsa reason=throttled source=127\.0\.0\.1:\d+ retry_after=\d+s '
                     r'suppressed=0 text="too many failed login attempts"$', lines[0])
    assert limits(p)[HERE]["suppressed"] == "29"


def test_row_39_clients_at_work_notice_nothing_of_a_flood(door):
    p = door(default_pool_size=2)
    over = threading.Event()
    faults = []

    def flood(number):
        try:
            n = 0
            while not over.is_set() or n == 0:
                code = attempt(p, "127.0.%d.%d" % (number + 1, n % 250 + 1), user="0x%040x" % n)
                assert code in ("28P01", "53300")
                n += 1
        except BaseException as e:
            faults.append(e)
    threads = [threading.Thread(target=flood, args=(n,)) for n in range(3)]
    with p.login(ALICE.address, secret=ALICE.password()) as c:
        for t in threads:
            t.start()
        try:
            for n in range(100):
                assert c.value("SELECT %d" % n) == str(n)
        finally:
            over.set()
            for t in threads:
                t.join()
        assert not faults
        assert len([r for r in p.show("CLIENTS") if r["database"] == "db"]) == 1
        assert c.value("SELECT 'still here'") == "still here"
