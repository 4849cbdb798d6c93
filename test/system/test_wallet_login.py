"""auth_type = ecdsa over a real socket. Attack rows 36-41."""
import glob
import json
import os
import re
import signal
import struct
import threading
import time

import pytest
from harness import env, wire
from harness.wallet import ALICE, BOB, CAROL, N, Wallet, personal_hash
from harness.wire import Closed, PgError

pytestmark = pytest.mark.ours

FAR = 86400


@pytest.fixture
def door(pooler, pg):
    """Alice and Bob may enter; the pool belongs to the service account."""
    def make(**settings):
        base = dict(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ecdsa",
                    ecdsa_allowed_addresses="%s, %s" % (ALICE.address, BOB.lower), pool_mode="transaction",
                    ecdsa_limit_burst=0, server_tls_sslmode="disable")
        return pooler(**{**base, **settings})
    return make


def refusal(p, user, secret, **params):
    with pytest.raises(PgError) as e:
        p.login(user, "db", secret, **params)
    assert (e.value.severity, e.value.code) == ("FATAL", "28P01")
    assert e.value.text == 'password authentication failed for user "%s"' % user
    assert set(e.value.fields) <= {"S", "V", "C", "M"}
    return e.value


def now():
    return int(time.time())


# --- the ordinary way in ----------------------------------------------------

def test_login(door):
    p = door()
    with p.login(ALICE.address, secret=ALICE.password(), application_name="mine") as c:
        assert c.value("SELECT current_user") == "svc"
        assert c.value("SHOW application_name") == "ecdsa-proxy:" + ALICE.address
        assert c.params["application_name"] == "ecdsa-proxy:" + ALICE.address
        row = [r for r in p.show("CLIENTS") if r["database"] == "db"][0]
        assert row["identity"] == ALICE.address


@pytest.mark.parametrize("spell", [lambda a: a, str.lower, lambda a: "0x" + a[2:].upper(), lambda a: a.swapcase().replace(
    "0X", "0x")], ids=["checksummed", "lower", "upper", "wrong-checksum"])
def test_case_of_the_name_does_not_matter(door, spell):
    p = door()
    p.login(spell(ALICE.address), secret=ALICE.password()).close()
    assert len([r for r in p.show("USERS") if r["name"].lower() == ALICE.lower]) <= 1


@pytest.mark.parametrize("how", ["v27", "v0", "bare", "compact", "compact-bare", "upper"])
def test_signature_spellings(door, how):
    p = door()
    t = str(now())
    for wallet in (ALICE, BOB):
        text = {"v27": wallet.sign(t), "v0": wallet.sign(t, v=0), "bare": wallet.sign(t, prefix=""),
                "compact": wallet.sign_compact(t), "compact-bare": wallet.sign_compact(t)[2:],
                "upper": "0x" + wallet.sign(t)[2:].upper()}[how]
        p.login(wallet.address, secret=t + ":" + text).close()


def test_every_client_is_asked_for_a_password_first(door):
    """Nothing can be learnt before a signature is shown."""
    p = door()
    for user in (ALICE.address, CAROL.address, "postgres", "alice.eth", "0x12", "x" * 100, "é"):
        with p.wire() as c:
            c.send(wire.startup(user, "db"))
            assert c.expect(b"R").body == struct.pack("!I", 3)


# --- refusals look alike ----------------------------------------------------

def test_uniform_refusals(door):
    p = door(ecdsa_window=300)
    t = now()
    user = ALICE.address
    same = [
        refusal(p, user, BOB.password()), refusal(p, user, ALICE.password(t - 400)),
        refusal(p, user, ALICE.password(t + 400)), refusal(p, user, ALICE.password(t * 1000)),
        refusal(p, user, "nonsense"), refusal(p, user, "%d:" % t), refusal(p, user, "%d:0x1234" % t),
        refusal(p, user, ""),
    ]
    assert len({tuple(e.fields.items()) for e in same}) == 1
    refusal(p, CAROL.address, CAROL.password())
    refusal(p, "0X" + user[2:], ALICE.password())
    refusal(p, user[:-1], ALICE.password())
    refusal(p, user + "0", ALICE.password())
    refusal(p, "alice.eth", ALICE.password())
    refusal(p, "postgres", ALICE.password())


@pytest.mark.parametrize("name", [
    pytest.param(name, id="row-38-" + what) for what, name in [
        ("cyrillic-a", ALICE.lower.replace("a", "\u0430", 1)), ("cyrillic-c", ALICE.lower.replace("c", "\u0441", 1)),
        ("cyrillic-x", "0\u0445" + ALICE.lower[2:]), ("letter-o", "O" + ALICE.lower[1:]),
        ("full-width", "\uff10x" + ALICE.lower[2:]), ("full-width-digit", ALICE.lower[:-1] + "\uff16"),
        ("zero-width-space", ALICE.lower + "\u200b"), ("no-break-space", "\u00a0" + ALICE.lower),
        ("combining-accent", ALICE.lower + "\u0301"), ("capital-x", "0X" + ALICE.lower[2:]),
        ("39-digits", ALICE.lower[:-1]), ("41-digits", ALICE.lower + "0"), ("no-prefix", ALICE.lower[2:])]])
def test_names_that_look_like_a_wallet_are_none(door, name):
    p = door()
    e = refusal(p, name, ALICE.password())
    assert e.code == "28P01"
    assert p.wait_log("login failed: method=ecdsa reason=address_malformed ")
    # The reader of the log is not deceived either: nothing but ASCII.
    assert all(line.isascii() for line in p.log().splitlines() if "login failed: method=ecdsa" in line)


REASONS = [
    ("expired", lambda: ALICE.password(now() - 400)), ("from_future", lambda: ALICE.password(now() + 400)),
    ("timestamp_milliseconds", lambda: ALICE.password(now() * 1000)), ("wrong_signer", lambda: BOB.password()),
    ("password_empty", lambda: ""), ("format_unknown", lambda: "hello:world"),
    ("format_disabled", lambda: "siwe:abc:def"), ("timestamp_malformed", lambda: "0%d:%s" % (now(), ALICE.sign("1"))),
    ("timestamp_overflow", lambda: "9999999999999999999:" + ALICE.sign("9999999999999999999")),
    ("signature_length", lambda: "%d:0x1234" % now()), ("signature_not_hex", lambda: "%d:0x%s" % (now(), "z" * 130)),
    ("v_out_of_range", lambda: ALICE.password()[:-2] + "25"),
    ("scalar_out_of_range", lambda: "%d:0x%s%s1b" % (now(), "0" * 64, "1" * 64)),
    ("high_s", lambda: high_s()),
    ("recovery_failed", lambda: "%d:0x%064x%s1b" % (now(), 5, "1" * 64)),
    ("password_too_long", lambda: "1" * 4200),
]


def high_s():
    t = str(now())
    r, s, parity = ALICE.sign_hash(personal_hash(t))
    return t + ":0x%064x%064x%02x" % (r, N - s, 27 + (1 - parity))


@pytest.mark.parametrize("reason, make", REASONS, ids=[r[0] for r in REASONS])
def test_reason_in_the_log(door, reason, make):
    p = door()
    try:
        refusal(p, ALICE.address, make())
    except Closed:
        assert reason == "password_too_long"
    line = p.wait_log(r"login failed: method=ecdsa reason=.*$")[0]
    assert "reason=%s " % reason in line
    assert "password authentication failed" in line and "source=127.0.0.1:" in line
    assert "wallet=" + ALICE.address in line


def test_not_allowed(door):
    p = door()
    refusal(p, CAROL.address, CAROL.password())
    line = p.wait_log("login failed: method=ecdsa reason=not_allowed .*$")[0]
    assert "recovered=" + CAROL.address in line or "wallet=" + CAROL.address in line


def test_audit_line(door):
    p = door()
    t = now() - 5
    with p.login(ALICE.lower, secret=ALICE.password(t)) as c:
        line = p.wait_log("login: method=ecdsa .*$")[0]
        source = c.sock.getsockname()
    fields = dict(f.split("=", 1) for f in line.split(": ", 1)[1].split(" ") if "=" in f)
    assert fields["result"] == "ok" and fields["wallet"] == ALICE.address and fields["role"] == "svc"
    assert fields["db"] == "db" and fields["format"] == "timestamp"
    assert 5 <= int(fields["age"].rstrip("s")) <= 5 + 20 * env.SLOW
    assert 270 <= int(fields["expires_in"].rstrip("s")) <= 295
    assert fields["source"] == "%s:%d" % source and re.fullmatch("[0-9a-f]{16}", fields["proof"])


@pytest.mark.parametrize("name, shown", [("x source=192.0.2.1:5 y", r"x\x20source=192.0.2.1:5\x20y"),
                                         ('a"b', r"a\x22b"), ("é", r"\xc3\xa9"), ("n" * 200, "n" * 128)])
def test_row_28_a_database_name_writes_no_fields_into_the_audit_line(door, name, shown):
    p = door()
    with pytest.raises(PgError):
        p.login(ALICE.address, name, "nonsense")
    line = p.wait_log("login failed: method=ecdsa .*$")[0]
    assert " db=%s source=127.0.0.1:" % shown in line


def test_row_26_no_proof_is_logged(door):
    p = door(verbosity=2)
    secret = ALICE.password()
    p.login(ALICE.address, secret=secret).close()
    refusal(p, ALICE.address, BOB.password())
    time_text, signature = secret.split(":")
    assert signature[2:40] not in p.log() and BOB.password().split(":")[1][2:40] not in p.log()


def test_proofs_have_fingerprints(door):
    """The same proof seen twice shows the same value, another one another."""
    p = door()
    then = now() - 3
    secret = ALICE.password(then)
    for s in (secret, secret, ALICE.password(then - 1)):
        p.login(ALICE.address, secret=s).close()
    p.wait_log("login: method=ecdsa", 3)
    a, b, c = p.logged("login: method=ecdsa .*proof=([0-9a-f]{16})")
    assert a == b != c


@pytest.mark.parametrize("body", [b"", b"\0", b"a\0b\0", b"abc", b"abc\0\0", b"\0abc"],
                         ids=["nothing", "empty", "nul-inside", "no-nul", "two-nuls", "nul-first"])
def test_password_packets(door, body):
    p = door()
    with p.wire() as c:
        c.send(wire.startup(ALICE.address, "db"))
        c.expect(b"R")
        c.send(wire.msg(b"p", body))
        assert c.expect_error().code in ("28P01", "08P01")
    p.wait_log("reason=(packet_malformed|password_empty)")


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 65530])
def test_password_sizes(door, size):
    p = door()
    with p.wire() as c:
        c.send(wire.startup(ALICE.address, "db"))
        c.expect(b"R")
        try:
            c.send(wire.password("1" * (size - 1)))
            c.expect_error()
        except Closed:
            assert size > 4096
    p.wait_log("reason=password_too_long" if size > 4096 else "reason=")
    p.login(ALICE.address, secret=ALICE.password()).close()


def test_proof_in_pieces_and_with_bytes_behind(door):
    p = door()
    with p.wire() as c:
        c.send(wire.startup(ALICE.address, "db"))
        c.expect(b"R")
        c.send_pieces(wire.password(ALICE.password()) + wire.query("SELECT 'pipelined'"))
        c.authenticate(ALICE.address, None)
        c.welcome()
        assert c.until_ready().value() == "pipelined"


def test_scram_is_not_offered(door):
    p = door()
    with p.wire() as c:
        c.send(wire.startup(ALICE.address, "db"))
        c.expect(b"R")
        c.send(wire.ScramClient("x").first())
        c.expect_error()
    assert p.process.poll() is None


# --- vectors ----------------------------------------------------------------

def vectors():
    """A sample of the vectors that lie beside the unit tests, at their own
    clock: those whose time makes a window of any size reach us are taken as
    they are, the others are refused for their time as they should be."""
    found = glob.glob(os.path.join(env.TOP, "test", "**", "ecdsa-vectors.json"), recursive=True)
    with open(found[0]) as f:
        return json.load(f)


def test_refused_vectors(door):
    """All that are to be refused are refused here too, and the pooler lives."""
    p = door(ecdsa_window=FAR)
    count = 0
    for v in vectors():
        if v["expect"] == "reject" and "\0" not in v["address"]:
            with pytest.raises((PgError, Closed)):
                p.login(v["address"], "db", v["password"])
            count += 1
    assert count > 50
    p.login(ALICE.address, secret=ALICE.password()).close()


def test_accepted_vectors_with_the_clock_of_the_vectors(door):
    """The good ones are right in everything but our clock, and the log says so."""
    p = door(ecdsa_allowed_addresses=",".join(sorted({v["address"].lower() for v in vectors() if v["expect"] == "ok"})))
    good = [v for v in vectors() if v["expect"] == "ok"][:12]
    for v in good:
        with pytest.raises(PgError):
            p.login(v["address"], "db", v["password"])
    p.wait_log("reason=(expired|from_future)", len(good))


# --- every v, every bit (a sample over the socket; all of them in the unit ring)

def test_every_v(door):
    p = door()
    t = str(now())
    base = ALICE.sign(t)
    good = []
    for v in range(0, 256):
        try:
            p.login(ALICE.address, secret="%s:%s%02x" % (t, base[:-2], v)).close()
            good.append(v)
        except PgError:
            pass
    assert len(good) == 2 and good[1] == good[0] + 27
    assert good[1] == int(base[-2:], 16)


def test_bit_flips(door):
    p = door()
    t = str(now())
    raw = bytearray(bytes.fromhex(ALICE.sign(t)[2:]))
    for bit in range(0, 520, 13):
        raw[bit // 8] ^= 1 << bit % 8
        refusal(p, ALICE.address, "%s:0x%s" % (t, raw.hex()))
        raw[bit // 8] ^= 1 << bit % 8
    p.login(ALICE.address, secret="%s:0x%s" % (t, raw.hex())).close()


# --- who may enter ----------------------------------------------------------

def test_allow_list_file(door, pooler):
    p = door(start=False)
    path = os.path.join(p.dir, "wallets")
    env.write(path, "# people\n%s\n\n  %s  # carol\n" % (ALICE.address, CAROL.lower))
    p.settings["ecdsa_allowed_addresses"] = "@" + path
    p.write()
    p.start()
    p.login(CAROL.address, secret=CAROL.password()).close()
    refusal(p, BOB.address, BOB.password())
    env.write(path, "%s\n" % BOB.address)
    p.signal(signal.SIGHUP)
    p.wait_log("got SIGHUP, re-reading config")
    env.wait_for(lambda: enters(p, BOB), "Bob to be let in")
    assert not enters(p, CAROL)


def enters(p, wallet):
    try:
        p.login(wallet.address, secret=wallet.password()).close()
        return True
    except PgError:
        return False


def test_auth_file_lists_wallets(door):
    p = door(users={CAROL.address: ""})
    p.login(CAROL.lower, secret=CAROL.password()).close()
    assert not enters(p, Wallet(77))


def test_role_of_ecdsa_user(door, pg):
    p = door(databases={"db": pg.entry()}, ecdsa_user="svc2", users={"svc2": "svc2_pw"})
    with p.login(ALICE.address, secret=ALICE.password()) as c:
        assert c.value("SELECT current_user") == "svc2"


def test_wallet_as_its_own_role(door, pg):
    pg.sql('DROP ROLE IF EXISTS "%s"' % ALICE.lower, 'CREATE ROLE "%s" LOGIN PASSWORD \'own\'' % ALICE.lower)
    p = door(databases={"db": pg.entry()}, users={ALICE.lower: "own"})
    with p.login(ALICE.address, secret=ALICE.password()) as c:
        assert c.value("SELECT current_user") == ALICE.lower


@pytest.mark.parametrize("entry, text", [
    (ALICE.address.replace("f39F", "f39f"), "checksum|" + ALICE.address), ("0x1234", "0x1234"),
    ("alice.eth", "alice.eth"), ("", "no source of allowed wallets|allowed"),
])
def test_configuration_that_cannot_work(door, entry, text):
    """A typing error in an address is named, with the right spelling."""
    p = door(ecdsa_allowed_addresses=entry, start=False)
    if not entry:
        # No list, no wallet in the auth_file, no query.
        p.users = {"admin": "x"}
        p.write()
    p.spawn()
    p.wait_exit(1)
    assert re.search(text, p.log()), p.log()


def test_console_by_wallet(door):
    p = door(admin_users="admin, " + ALICE.lower, stats_users=BOB.address)
    with p.login(ALICE.address, "pgbouncer", ALICE.password()) as c:
        assert c.query("SHOW POOLS").rows
        assert c.query("RELOAD").tags == ["RELOAD"]
    with p.login(BOB.address, "pgbouncer", BOB.password()) as c:
        assert c.query("SHOW POOLS").rows
        assert c.query("RELOAD").errors[0].text == "admin access needed"
    with pytest.raises(PgError):
        p.login(ALICE.address, "pgbouncer", BOB.password())


def expect_session_end(c):
    e = c.expect_error()
    assert (e.severity, e.code) == ("FATAL", "57P01") and "ecdsa_session_max" in e.text


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_sessions_of_wallets_end_between_transactions(door, mode):
    """By RELOAD for those who are there already; who is in a transaction ends it first."""
    p = door(pool_mode=mode, admin_users="admin, " + ALICE.lower)
    with p.console() as unix:
        idle, busy, used = (p.login(ALICE.address, secret=ALICE.password()) for _ in range(3))
        console = p.login(ALICE.address, "pgbouncer", ALICE.password())
        busy.query("BEGIN")
        assert used.value("SELECT 1") == "1"
        p.reload(ecdsa_session_max=1)
        for c in (idle, used, console):
            expect_session_end(c)
        p.wait_log("closing because: ecdsa_session_max", 3)
        assert busy.value("SELECT 'in peace'") == "in peace"
        assert busy.query("COMMIT").tags == ["COMMIT"]
        expect_session_end(busy)
        assert unix.query("SHOW VERSION").rows
    assert enters(p, ALICE)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_session_that_is_never_idle_ends_too(door, mode):
    p = door(pool_mode=mode, ecdsa_session_max=1)
    with p.login(ALICE.address, secret=ALICE.password()) as c:
        got = b""
        end = time.monotonic() + env.PATIENCE
        # Queries without waiting for answers: there are always some on the way.
        c.sock.settimeout(0.001)
        try:
            while b"57P01" not in got and time.monotonic() < end:
                try:
                    c.sock.sendall(wire.query("SELECT 1"))
                    got = got[-4096:] + c.sock.recv(65536)
                except TimeoutError:
                    pass
        except OSError:
            pass
        p.wait_log("closing because: ecdsa_session_max")


def test_session_max_extended_later_lets_the_session_go_on(door):
    p = door(ecdsa_session_max=3600)
    with p.login(ALICE.address, secret=ALICE.password()) as c:
        p.reload(ecdsa_session_max=0)
        assert c.value("SELECT 1") == "1"


@pytest.mark.parametrize("spell", [lambda a: a, str.lower], ids=["checksummed", "lower"])
def test_kill_wallet_ends_all_its_sessions_and_no_others(door, spell):
    p = door(admin_users="admin, " + ALICE.lower, default_pool_size=2)
    busy, idle, waiting, other = (p.login(w.address, secret=w.password()) for w in (ALICE, ALICE, ALICE, BOB))
    console = p.login(ALICE.address, "pgbouncer", ALICE.password())
    busy.query("BEGIN")
    other.query("BEGIN")
    waiting.send(wire.query("SELECT 1"))
    p.wait_pool(cl_waiting=1)
    result = p.console_result("KILL_WALLET " + spell(ALICE.address))
    assert result.tags == ["KILL_WALLET"]
    for c in (busy, idle, waiting, console):
        e = c.expect_error()
        assert (e.severity, e.text) == ("FATAL", "admin forced disconnect")
    assert other.value("SELECT 'untouched'") == "untouched"
    p.wait_log("KILL_WALLET '%s' command issued" % spell(ALICE.address))
    assert {r["identity"] for r in p.show("CLIENTS") if r["database"] == "db"} == {BOB.address}
    assert enters(p, ALICE)


def test_kill_wallet_of_one_who_is_not_there(door):
    p = door()
    assert p.console_result("KILL_WALLET " + CAROL.address).tags == ["KILL_WALLET"]


@pytest.mark.parametrize("argument, text", [
    ("", "invalid wallet address supplied, expected 0x and 40 hexadecimal digits"),
    (" 0x1234", "invalid wallet address supplied, expected 0x and 40 hexadecimal digits"),
    (" " + ALICE.address[2:], "invalid wallet address supplied, expected 0x and 40 hexadecimal digits"),
    (" " + ALICE.address.replace("f39F", "f39f"),
     "wallet address %s has a wrong checksum, the correct spelling is %s" % (
         ALICE.address.replace("f39F", "f39f"), ALICE.address)),
])
def test_kill_wallet_wants_an_address(door, argument, text):
    p = door()
    with p.login(ALICE.address, secret=ALICE.password()) as c:
        assert p.console_result("KILL_WALLET" + argument).errors[0].text == text
        assert c.value("SELECT 1") == "1"


def test_kill_wallet_is_for_admins(door):
    p = door(stats_users=BOB.address)
    with p.login(BOB.address, "pgbouncer", BOB.password()) as c:
        assert c.query("KILL_WALLET " + BOB.address).errors[0].text == "admin access needed"
        assert c.query("SHOW POOLS").rows


def test_identity_is_the_last_column_of_show_clients_alone(door):
    p = door()
    with p.login(ALICE.address, secret=ALICE.password()) as c:
        c.query("BEGIN")
        rows = p.show("CLIENTS")
        assert {list(r)[-1] for r in rows} == {"identity"}
        assert sorted(r["identity"] for r in rows) == ["", ALICE.address]
        for what in ("SERVERS", "SOCKETS"):
            seen = p.show(what)
            assert seen and not [r for r in seen if "identity" in r]


def test_unknown_database_is_not_told_to_strangers(door):
    p = door()
    with pytest.raises(PgError) as e:
        p.login(ALICE.address, "nowhere", BOB.password())
    assert e.value.code == "28P01"
    with pytest.raises(PgError) as e:
        p.login(ALICE.address, "nowhere", ALICE.password())
    assert e.value.text == "no such database: nowhere"


# --- TLS --------------------------------------------------------------------

@pytest.mark.parametrize("mode, plain, unix", [("never", True, True), ("remote", True, True), ("always", False, True)])
def test_require_tls(door, certs, mode, plain, unix):
    p = door(ecdsa_require_tls=mode, client_tls_sslmode="allow", client_tls_key_file=certs.key("server"),
             client_tls_cert_file=certs.crt("server"))
    with p.wire() as c:
        c.send(wire.startup(ALICE.address, "db"))
        if plain:
            c.expect(b"R")
        else:
            # Before the password is asked for, so that it is not sent in the clear.
            e = c.expect_error()
            assert (e.severity, e.code, e.text) == ("FATAL", "28000", "wallet login requires TLS")
    with p.wire() as c:
        c.tls()
        c.login(ALICE.address, "db", ALICE.password())
        assert c.value("SELECT 1") == "1"
    p.wait_log("login: method=ecdsa .*tls=TLSv1.3")


# --- pools ------------------------------------------------------------------

def test_many_wallets_one_pool(door, pg):
    """Twenty wallets, at most two server connections, one row in SHOW POOLS."""
    wallets = [Wallet(1000 + i) for i in range(20)]
    p = door(ecdsa_allowed_addresses=",".join(w.lower for w in wallets), default_pool_size=2)
    clients = [p.login(w.address, secret=w.password()) for w in wallets]
    pids = set()
    for _ in range(3):
        for c, w in zip(clients, wallets):
            assert c.value("SELECT current_user") == "svc"
            assert c.value("SHOW application_name") == "ecdsa-proxy:" + w.address
            pids.add(c.pid())
    assert len(pids) <= 2
    assert len(pg.backends("db", user="svc")) <= 2
    assert [(r["database"], r["user"]) for r in p.show("POOLS") if r["database"] == "db"] == [("db", "svc")]
    assert sorted(r["identity"] for r in p.show("CLIENTS") if r["database"] == "db") == sorted(
        w.address for w in wallets)


def test_wallets_at_once(door):
    wallets = [Wallet(2000 + i) for i in range(12)]
    p = door(ecdsa_allowed_addresses=",".join(w.lower for w in wallets), default_pool_size=3)
    faults = []

    def work(w):
        try:
            for _ in range(3):
                with p.login(w.address, secret=w.password()) as c:
                    for _ in range(5):
                        c.query("BEGIN")
                        assert c.value("SHOW application_name") == "ecdsa-proxy:" + w.address
                        c.query("COMMIT")
        except BaseException as e:
            faults.append(e)
    threads = [threading.Thread(target=work, args=(w,)) for w in wallets]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults


@pytest.mark.parametrize("template, want", [("%w", ALICE.address), ("%a|%u", "tool|" + ALICE.lower), ("", "tool"),
                                            ("100%% %h", "100% 127.0.0.1")])
def test_application_name_template(door, template, want):
    p = door(ecdsa_application_name=template)
    with p.login(ALICE.lower, secret=ALICE.password(), application_name="tool") as c:
        assert c.value("SHOW application_name") == want


def test_passers_by_cost_no_memory(door):
    """A user object made for a wallet goes with its last client."""
    wallets = [Wallet(3000 + i) for i in range(30)]
    p = door(ecdsa_allowed_addresses=",".join(w.lower for w in wallets[:15]))
    for w in wallets:
        enters(p, w)
    env.wait_for(lambda: not [r for r in p.show("USERS") if r["name"].startswith("0x")
                              and r["name"] not in p.settings["ecdsa_allowed_addresses"]], "the strangers to go")


def test_reload_that_removes_a_wallet(door):
    p = door()
    assert enters(p, ALICE) and enters(p, BOB)
    p.reload(ecdsa_allowed_addresses=BOB.address)
    assert enters(p, BOB)
    refusal(p, ALICE.address, ALICE.password())


def test_window_is_reloadable(door):
    p = door(ecdsa_window=10)
    old = ALICE.password(now() - 60)
    refusal(p, ALICE.address, old)
    p.reload(ecdsa_window=3600)
    p.login(ALICE.address, secret=old).close()


def test_row_36_same_proof_again_while_replay_is_off(door):
    """Row 36: what the bare timestamp does not give is said openly."""
    p = door()
    secret = ALICE.password()
    for _ in range(3):
        p.login(ALICE.address, secret=secret).close()


def test_row_15_uniform_over_wire_time(door):
    """Row 15: a refusal for an unlisted wallet and for a listed one take the
    same way; no second message, no notice."""
    p = door()
    for w, s in ((ALICE, BOB.password()), (CAROL, CAROL.password())):
        with p.wire() as c:
            c.send(wire.startup(w.address, "db"))
            c.expect(b"R")
            c.send(wire.password(s))
            assert c.expect_error().code == "28P01"
