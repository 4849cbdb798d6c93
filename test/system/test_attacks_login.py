"""Bytes before authentication, and the machine that authenticates: attack
rows 1-9, 13-15 in their variants. The plain cases are in test_login.py.

Each attack comes whole and byte by byte, in the clear and over TLS, and while
it lasts a bystander works undisturbed.
"""
import contextlib
import hashlib
import os
import re
import struct
import threading

import pytest
from harness import env, fakeserver, wire
from harness.assault import WAYS, attempt, drain, enter, never_let_in, tls_settings
from harness.bystander import undisturbed
from harness.wire import Closed, PgError, ScramClient, md5_secret, scram_secret

pytestmark = pytest.mark.ours

SECRET = "correct horse"
# The dialogues: what is asked, and with which secret stored.
ITERATIONS = 64
QUICK = scram_secret(SECRET, iterations=ITERATIONS)
METHODS = {
    "plain": ("plain", SECRET),
    "plain-scram": ("plain", QUICK),
    "md5": ("md5", SECRET),
    "md5-scram": ("md5", QUICK),
    "scram": ("scram-sha-256", QUICK),
    "scram-plain": ("scram-sha-256", SECRET),
}
SASL = ["md5-scram", "scram", "scram-plain"]


@pytest.fixture
def fort(pooler, pg, certs):
    """Clients in the clear and by TLS; everybody ends as one service account."""
    def make(method="scram", **settings):
        kind, stored = METHODS[method]
        users = {"someone": stored, "u_trust": "", **settings.pop("users", {})}
        databases = {"db": pg.entry(user="u_trust"), **settings.pop("databases", {})}
        return pooler(**{"databases": databases, "users": users, "auth_type": kind, "pool_mode": "transaction",
                         "default_pool_size": 3, "server_tls_sslmode": "disable",
                         "scram_iterations": ITERATIONS, **tls_settings(certs), **settings})
    return make


def asked(p, way, user="someone", database="db"):
    """Connected and asked for a proof."""
    c = enter(p, way)
    c.send(wire.startup(user, database))
    c.expect(b"R")
    return c


def sasl_first(p, way):
    """One message further: the proof is due."""
    c = asked(p, way)
    s = ScramClient(SECRET)
    c.send(s.first())
    return c, s, c.expect(b"R").body[4:].decode()


# --- 1, 2: SCRAM messages ---------------------------------------------------

def initial(length, text, mechanism=b"SCRAM-SHA-256\0"):
    return wire.msg(b"p", mechanism + struct.pack("!I", length & 0xffffffff) + text)


FIRST = b"n,,n=,r=fyko+d2lbbFgONRv9qkxdawL"
LENGTHS = [-1, -2, -16, -18, -18 - len(FIRST), len(FIRST) - (1 << 32), 1 << 31, (1 << 31) - 1, len(FIRST) + 1,
           len(FIRST) - 1, 0, 1, 65536, (1 << 24) + len(FIRST)]


@pytest.mark.parametrize("method", SASL)
def test_row_1_inner_length(fort, pg, method):
    p = fort(method)
    with undisturbed(p, pg, "someone", SECRET):
        for i, length in enumerate(LENGTHS + LENGTHS[:6]):
            with asked(p, WAYS[i % 4]) as c:
                c.send(initial(length, FIRST))
                if length & 0xffffffff == len(FIRST):
                    c.expect(b"R")
                    continue
                came = drain(c)
                never_let_in(came)
                assert [m.type for m in came] == [b"E"], (length, came)


BROKEN_FINALS = {
    "no-proof": lambda c, r, p: [c, r], "no-channel": lambda c, r, p: [r, p], "no-nonce": lambda c, r, p: [c, p],
    "proof-alone": lambda c, r, p: [p], "channel-alone": lambda c, r, p: [c], "nonce-alone": lambda c, r, p: [r],
    "nothing": lambda c, r, p: [], "commas": lambda c, r, p: ["", "", ""], "empty-proof": lambda c, r, p: [c, r, "p="],
    "empty-nonce": lambda c, r, p: [c, "r=", p], "empty-channel": lambda c, r, p: ["c=", r, p],
    "reordered": lambda c, r, p: [r, c, p], "proof-first": lambda c, r, p: [p, c, r],
    "channel-twice": lambda c, r, p: [c, c, r, p], "nonce-twice": lambda c, r, p: [c, r, r + "x", p],
    "proof-twice": lambda c, r, p: [c, r, p, p], "no-equals": lambda c, r, p: [c, r, p.replace("=", "", 1)],
    "nul": lambda c, r, p: [c, r + "\0", p], "other-channel": lambda c, r, p: ["c=cD10bHM=", r, p],
}


@pytest.mark.parametrize("method", SASL)
def test_row_2_final_without(fort, pg, method):
    p = fort(method)
    with undisturbed(p, pg, "someone", SECRET):
        for i, (name, change) in enumerate(BROKEN_FINALS.items()):
            c, s, server_first = sasl_first(p, WAYS[i % 4])
            with c:
                text = ",".join(change(*s.final_text(server_first).split(",", 2)))
                came = attempt(c, wire.msg(b"p", text.encode()))
                assert [m.type for m in came] == [b"E"], (name, came)
                assert wire.fields_of(came[0].body)["M"] == "SASL authentication failed", name


# --- 3: lengths -------------------------------------------------------------

BAD_LENGTHS = [0, 1, 2, 3, 1 << 31, (1 << 31) + 1, (1 << 32) - 1, (1 << 32) - 4]


def header(kind, length):
    return kind + struct.pack("!I", length)


@pytest.mark.parametrize("method", METHODS)
def test_row_3_lengths_before_the_login(fort, pg, method):
    p = fort(method)
    with undisturbed(p, pg, "someone", SECRET):
        for i, length in enumerate(BAD_LENGTHS + [(1 << 31) - 1, 1 << 17, (1 << 24) - 1]):
            way = WAYS[i % 4]
            stages = [lambda w: enter(p, w), lambda w: asked(p, w)]
            if method in SASL:
                stages.append(lambda w: sasl_first(p, w)[0])
            for stage in stages:
                with stage(way) as c:
                    came = attempt(c, header(b"p", length) + b"x" * 16)
                    assert [m.type for m in came] == [b"E"], (length, came)
        # Those of the start-up packet: the type byte is the first of the length.
        for i, length in enumerate((0, 1, 4, 7, 1 << 16, 1 << 31, (1 << 32) - 1)):
            with enter(p, WAYS[i % 4]) as c:
                came = attempt(c, struct.pack("!II", length, wire.PROTO3) + b"user\0someone\0\0")
                assert [m.type for m in came] == [b"E"], (length, came)


LOGGED_IN = {
    "idle": b"",
    "transaction": wire.query("BEGIN"),
    "failed": wire.query("BEGIN") + wire.query("SELECT 1/0"),
    "batch": wire.parse("SELECT 1") + wire.bind(),
    "named": wire.parse("SELECT 1", "s") + wire.SYNC,
    "copy": wire.query("COPY (SELECT 1) TO STDOUT"),
    "copy-in": wire.query("COPY pg_temp.nowhere FROM STDIN"),
}


@pytest.mark.parametrize("mode, pkt_buf", [("session", 4096), ("transaction", 75)])
def test_row_3_lengths_after_the_login(fort, pg, mode, pkt_buf):
    p = fort("plain", pool_mode=mode, pkt_buf=pkt_buf)
    kinds = b"QPBDCESHdcfFXp?"
    with undisturbed(p, pg, "someone", SECRET):
        n = 0
        for phase in LOGGED_IN:
            for length in BAD_LENGTHS:
                n += 1
                with enter(p, WAYS[n % 4]) as c:
                    c.login("someone", "db", SECRET)
                    came = attempt(c, LOGGED_IN[phase], header(kinds[n % 15:n % 15 + 1], length) + b"x" * 8)
                    errors = [wire.fields_of(m.body)["M"] for m in came if m.type == b"E"]
                    assert errors and errors[-1].startswith("bad packet header"), (phase, length, came)


def test_row_3_two_gigabytes_are_promised(fort, pg):
    """The largest legal length: what comes is passed on or kept up to a bound, nothing is set aside for the rest."""
    p = fort("plain")
    with undisturbed(p, pg, "someone", SECRET):
        for i, kind in enumerate("QPBDCdF" * 2):
            with enter(p, ("plain", "tls")[i % 2]) as c:
                c.login("someone", "db", SECRET)
                try:
                    c.send(header(kind.encode(), (1 << 31) - 1), b"Sname" + b"x" * 300000)
                except Closed:
                    pass


# --- 4: options -------------------------------------------------------------

OPTIONS = ["-c=", "-c", "-c ", "-c =", "-c=x", "--", "--=", "--=x", "-c a", "\\", "-c a=\\", "-\\", "-c \\", "-c a\\=b",
           "\\ ", "\\\\", "-c\\", "=", "a=b", "-", "-d 5", "-c -c -c", "-c --", "-c\x01=\x02", "-c application_name=a'b",
           "-c application_name=%s%n", "-c\tdatestyle=ISO", "-c search_path=public", "-c datestyle=", " \t\n\r\v\f "]
MANY = {
    "bare": "-c " * 20000, "equals": "-c= " * 15000, "unknown": "-c a=b " * 9000, "known": "-c datestyle=ISO " * 3800,
    "backslashes": "\\" * 60001, "blanks": " " * 60000, "long-value": "-c application_name=" + "x" * 60000,
    "long-name": "-c " + "x" * 60000 + "=1", "long-dashes": "-" * 60000, "words": "x " * 30000,
    "two-values": "-c application_name=" + "\\ " * 29000,
}


def may_log_in(c, options):
    """Whatever the verdict, it is one of the two."""
    c.send(wire.startup("someone", "db", options=options))
    try:
        c.finish_login("someone", SECRET)
    except PgError as e:
        assert (e.severity, e.code) == ("FATAL", "08P01")
        c.expect_closed()
        return e.text
    assert c.value("SELECT 1") == "1"
    return None


@pytest.mark.parametrize("ignored", ["options", "extra"])
@pytest.mark.parametrize("pkt_buf", [75, 4096])
def test_row_4_options(fort, pg, ignored, pkt_buf):
    p = fort("plain", ignore_startup_parameters=ignored, pkt_buf=pkt_buf)
    only = "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"
    with undisturbed(p, pg, "someone", SECRET):
        for i, options in enumerate(OPTIONS):
            with enter(p, WAYS[i % 4]) as c:
                text = may_log_in(c, options)
                if ignored == "options":
                    # What cannot be read is dropped like what is not known; only a value the server refuses may fail.
                    assert text is None or "invalid" in text, (options, text)
                elif options.strip(" \t\n\r\v\f") and "datestyle=" not in options and "application_name" not in options:
                    assert text == only or text.startswith("unsupported startup parameter in options: "), options
        for i, (name, options) in enumerate(MANY.items()):
            with enter(p, ("plain", "tls")[i % 2]) as c:
                text = may_log_in(c, options)
                assert text or ignored == "options" or name in ("known", "blanks", "long-value", "two-values"), name


# --- 5: names ---------------------------------------------------------------

@pytest.mark.parametrize("star", [False, True], ids=["listed", "star"])
@pytest.mark.parametrize("method", ["plain", "scram"])
def test_row_5_long_names(fort, pg, star, method):
    """Too long is refused, never cut: names that begin alike are different."""
    known = "n" * 127
    p = fort(method, users={known: METHODS[method][1]},
             databases={"*": "host=127.0.0.1 port=%d user=u_trust" % pg.port} if star else {})
    with undisturbed(p, pg, "someone", SECRET):
        for way in ("plain", "tls"):
            with enter(p, way) as c:
                c.login(known, "db", SECRET)
        for i, size in enumerate((128, 129, 255, 256, 1024, 4097)):
            with enter(p, WAYS[i % 4]) as c:
                came = attempt(c, wire.startup("n" * size, "db"))
                assert [m.type for m in came] == [b"E"]
                assert wire.fields_of(came[0].body)["M"] == "username too long"
        for i, size in enumerate((63, 64, 65, 127, 128, 256, 4097)):
            with enter(p, WAYS[i % 4]) as c, pytest.raises((PgError, Closed)):
                c.login("someone", "d" * size, SECRET)
            with enter(p, WAYS[i % 4]) as c, pytest.raises((PgError, Closed)):
                c.login("n" * size if size < 127 else "m" * size, "d" * size, SECRET)
        for user, database in (("n" * 60000, "db"), ("someone", "d" * 60000), ("n" * 30000, "d" * 30000)):
            with enter(p, "plain") as c, pytest.raises((PgError, Closed)):
                c.login(user, database, SECRET)
    names = {r["name"] for r in p.show("DATABASES")}
    assert not [n for n in names if len(n) > 127]


# --- 6: the wrong message ---------------------------------------------------

# Every type either side ever sends, and some that nobody does.
MESSAGES = {
    "Query": wire.query("SELECT 1"), "Parse": wire.parse("SELECT 1", "s"), "Bind": wire.bind("s"),
    "Describe": wire.describe("S", "s"), "Execute": wire.execute(), "Close": wire.close("S", "s"), "Sync": wire.SYNC,
    "Flush": wire.FLUSH, "FunctionCall": wire.function_call(1317, "x"), "CopyData": wire.copy_data(b"x"),
    "CopyDone": wire.COPY_DONE, "CopyFail": wire.copy_fail("x"), "Terminate": wire.TERMINATE,
    "Password": wire.password("x"), "EmptyPassword": wire.password(""), "NoPassword": wire.msg(b"p"),
    "SASLInitial": initial(len(FIRST), FIRST), "SASLResponse": wire.msg(b"p", b"c=biws,r=x,p=x"),
    "Startup": wire.startup("u_trust", "db"), "Cancel": wire.cancel_request(b"\0" * 8),
    "SSLRequest": wire.startup_packet(wire.SSL_REQUEST), "GSSRequest": wire.startup_packet(wire.GSSENC_REQUEST),
    **{"server-" + k: wire.msg(k.encode(), b"\0\0\0\0") for k in "RKZTANGWVvtnsI12"},
    **{"odd-%02x" % k: wire.msg(bytes([k]), b"x") for k in (1, 0x16, 0x2f, 0x7f, 0x80, 0xff)},
}
# What opens a conversation, so that before the start-up message it is in order.
OPENERS = {"Startup", "SSLRequest", "GSSRequest", "odd-16"}


@pytest.mark.parametrize("method", ["plain", "md5", "scram"])
def test_row_6_every_message_in_every_phase(fort, pg, method):
    """No order of messages opens the door, or keeps it half open."""
    p = fort(method)
    work = wire.query("SELECT 'inside'")
    with undisturbed(p, pg, "someone", SECRET):
        for i, (name, message) in enumerate(MESSAGES.items()):
            way = WAYS[i % 4]
            if name not in OPENERS:
                with enter(p, way) as c:
                    never_let_in(attempt(c, message, work))
                with enter(p, "plain") as c:
                    assert c.ssl_request(wire.GSSENC_REQUEST) == b"N"
                    never_let_in(attempt(c, message, work))
            with asked(p, way) as c:
                never_let_in(attempt(c, message, work))
            if method in SASL:
                with sasl_first(p, way)[0] as c:
                    never_let_in(attempt(c, message, work))
            # Pushed in behind the start-up message.
            with enter(p, way) as c:
                never_let_in(attempt(c, wire.startup("someone", "db"), message, work))


def test_row_6_while_the_pooler_computes_or_waits(fort, pg, fake):
    """Behind a proof that is being checked, and while the greeting is waited for."""
    let_in = threading.Event()

    def slow(peer):
        peer.read_startup()
        let_in.wait(env.PATIENCE)
        peer.welcome()
        peer.serve()
    p = fort("plain-scram", databases={"slow": fake(slow).entry()})
    with undisturbed(p, pg, "someone", SECRET):
        for i, name in enumerate(("Query", "Sync", "Password", "Startup", "Terminate", "Cancel", "SSLRequest",
                                  "SASLInitial")):
            with asked(p, WAYS[i % 4]) as c:
                never_let_in(attempt(c, wire.password("wrong"), MESSAGES[name], wire.query("SELECT 'inside'")))
        waiting = []
        for name in ("Startup", "Password", "Cancel", "odd-ff"):
            c = asked(p, "plain", database="slow")
            c.send(wire.password(SECRET), MESSAGES[name])
            waiting.append(c)
        p.wait_pool("slow", cl_waiting=4)
        let_in.set()
        for c in waiting:
            # They are let in, for they gave the password, and out again for what came behind.
            came = drain(c)
            assert [m.type for m in came][-1] == b"E" and b"D" not in [m.type for m in came], came
            c.close()


# --- 7: sizes and pieces ----------------------------------------------------

PASSWORD_SIZES = [1, 1023, 1024, 65530]


@pytest.mark.parametrize("method", ["plain", "md5", "scram"])
def test_row_7_password_sizes(fort, pg, method):
    """As the right password, and one byte off."""
    users = {"sized%d" % size: {"plain": "w" * size, "md5": md5_secret("sized%d" % size, "w" * size),
                                "scram": scram_secret("w" * size, iterations=ITERATIONS)}[method]
             for size in PASSWORD_SIZES}
    p = fort(method, users=users)
    with undisturbed(p, pg, "someone", SECRET):
        for size in PASSWORD_SIZES:
            user, word = "sized%d" % size, "w" * size
            for i, text in enumerate((word, word[1:], word + "w", word[:-1] + "x", word)):
                with enter(p, ("plain", "tls")[i % 2] if size > 2000 else WAYS[i % 4]) as c:
                    if text == word:
                        c.login(user, "db", text)
                        assert c.value("SELECT 1") == "1"
                    else:
                        with pytest.raises((PgError, Closed)):
                            c.login(user, "db", text)


@pytest.mark.parametrize("method", ["plain", "md5", "scram"])
@pytest.mark.parametrize("pkt_buf", [75, 4096])
def test_row_7_password_messages(fort, pg, method, pkt_buf):
    """The message itself, of any length, byte by byte; pieces of it, and then nothing."""
    p = fort(method, pkt_buf=pkt_buf)
    with undisturbed(p, pg, "someone", SECRET):
        for size in (0, 1, 1023, 1024, 65530, 65531, 65532, 200000):
            body = b"w" * (size - 1) + b"\0" if size else b""
            for way in ("plain", "pieces") if size < 2000 else ("plain", "tls"):
                with asked(p, way) as c:
                    came = attempt(c, wire.msg(b"p", body))
                    assert [m.type for m in came] == [b"E"], came
            for part in (0, size // 2, size - 1):
                if 0 <= part < size:
                    with asked(p, "plain") as c:
                        try:
                            c.send(wire.msg(b"p", body)[:5 + part])
                        except Closed:
                            assert size > 65531


@pytest.mark.parametrize("method", ["plain", "md5", "scram"])
def test_row_7_64_kb_in_one_byte_pieces(fort, pg, method, workers):
    """The longest password in pieces of one byte: it neither takes for ever nor keeps others waiting."""
    word = "w" * 65530
    p = fort("plain", users={"sized": word})
    p.reload(auth_type=METHODS[method][0])
    with undisturbed(p, pg, "someone", SECRET):
        with asked(p, "plain", "sized") as c:
            message, at = wire.password(word), 0
            while at < len(message):
                # All of it for one method; the others' bytes are taken by the same code.
                is_single = at < 4096 or at > 61000 or (method == "plain" and workers == 1 and env.SLOW == 1)
                piece = 1 if is_single else 61
                c.sock.send(message[at:at + piece])
                at += piece
            if method == "plain":
                c.authenticate("sized", None)
                c.welcome()
            else:
                # To SCRAM the word is the name of a mechanism.
                assert c.expect_error().text in ("password authentication failed", "SASL authentication failed",
                                                 "client selected an invalid SASL authentication mechanism")


# --- 8: slow and silent -----------------------------------------------------

def test_row_8_trickle(fort, pg):
    """A byte now and then earns no more time, at any stage; a full max_client_conn clears by itself."""
    p = fort("scram", client_login_timeout=2, max_client_conn=40)
    with undisturbed(p, pg, "someone", SECRET):
        packet = wire.startup("someone", "db", application_name="x" * 1000)
        begun = [enter(p, "plain") for _ in range(12)]
        hello = []
        for _ in range(6):
            c = p.wire()
            assert c.ssl_request() == b"S"
            hello.append(c)
        proof = [asked(p, "tls") for _ in range(4)] + [asked(p, "plain") for _ in range(4)]
        crowd = [p.wire() for _ in range(20)]
        with pytest.raises(PgError, match="max_client_conn"):
            p.login("someone", "db", SECRET)
        everybody = [(c, packet) for c in begun] + [(c, b"\x16\x03\x01\x02\0" + b"x" * 500) for c in hello] \
            + [(c, wire.msg(b"p", b"x" * 900)) for c in proof]
        left, at = list(everybody), 0
        gone = threading.Event()

        def trickle():
            nonlocal left, at
            while left and not gone.wait(0.05):
                still = []
                for c, data in left:
                    try:
                        c.sock.send(data[at:at + 1])
                        still.append((c, data))
                    except OSError:
                        pass
                left, at = still, at + 1
        t = threading.Thread(target=trickle)
        t.start()

        def room():
            try:
                p.login("someone", "db", SECRET).close()
                return True
            except PgError:
                return False
        env.wait_for(room, "room for a client", pause=0.05)
        env.wait_for(lambda: {r["list"]: r["items"] for r in p.show("LISTS")}["login_clients"] == "0", "them all gone",
                     pause=0.05)
        gone.set()
        t.join()
        for c in [c for c, _ in everybody] + crowd:
            c.close()


# --- 9: to become somebody else ---------------------------------------------

def proofs(method, c):
    """The right answers of someone, one after the other."""
    if method.startswith("plain"):
        yield wire.password(SECRET)
    elif method == "md5":
        yield None
    else:
        s = ScramClient(SECRET)
        yield s.first()
        yield s.final(c.expect(b"R").body[4:].decode())


@pytest.mark.parametrize("method", METHODS)
def test_row_9_second_startup(fort, pg, method):
    """Before, between and behind the proofs; whole and in pieces; under the same name and another."""
    p = fort(method, databases={"db": pg.entry(), "other": pg.entry(user="u_trust")},
             users={"u_trust": METHODS[method][1], "someone": METHODS[method][1]})
    with undisturbed(p, pg, "u_trust", SECRET):
        for i, way in enumerate(WAYS):
            for second in ((wire.startup("u_trust", "db"), wire.startup("someone", "other"))[i % 2],
                           (wire.startup("admin", "pgbouncer"), wire.startup("someone", "db"))[i % 2]):
                with asked(p, way) as c:
                    came = attempt(c, second, wire.query("SELECT session_user"))
                    never_let_in(came)
                    assert wire.fields_of(came[0].body)["M"] == "client re-sent startup pkt"
                if method in SASL:
                    c = sasl_first(p, way)[0]
                    with c:
                        came = attempt(c, second)
                        never_let_in(came)
                        assert wire.fields_of(came[0].body)["M"] == "client re-sent startup pkt"
                # In one piece with the first.
                with enter(p, way) as c:
                    never_let_in(attempt(c, wire.startup("someone", "db"), second, wire.query("SELECT session_user")))
        # Behind a proof that is right: who logged in stays who it is.
        for way in WAYS:
            with asked(p, way, "u_trust") as c:
                for message in proofs(method, c):
                    if message is None:
                        break
                    c.send(message)
                else:
                    assert p.settings["auth_type"] != "md5" or method == "md5-scram"
                    came = attempt(c, wire.startup("svc", "db"), wire.query("SELECT session_user"))
                    assert b"D" not in [m.type for m in came] and came[-1].type == b"E", came
    assert "svc" not in {r["user"] for r in p.show("POOLS")}


def test_row_9_second_startup_under_trust(pooler, pg, certs):
    """Nothing is asked, so the login is over at once: the second is no start-up message any more."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": "", "svc": ""}, auth_type="trust",
               **tls_settings(certs))
    with undisturbed(p, pg):
        for way in WAYS:
            with enter(p, way) as c:
                came = attempt(c, wire.startup("u_trust", "db"), wire.startup("svc", "db"), wire.query("SELECT 1"))
                assert came[-1].type == b"E" and b"D" not in [m.type for m in came], came
    assert "svc" not in {r["user"] for r in p.show("POOLS")}


# --- 13: whose connection is it ---------------------------------------------

def test_row_13_login_users_keep_their_own_servers(pooler, pg, workers):
    """Under pressure that makes each take the other's place all the time. Only an idle server of the same Worker can
    be closed to make room (ARCHITECTURE.md), so with several Workers each account has one server of its own."""
    roles = ["u_trust", "u_scram", "svc", "svc2"]
    users = {r: r + "_pw" for r in roles}
    p = pooler(databases={"db": pg.entry()}, users=users, auth_type="scram-sha-256", pool_mode="transaction",
               max_db_connections=2 if workers == 1 else None, default_pool_size=1)
    faults = []

    def work(role):
        try:
            with p.login(role, "db", users[role]) as c:
                for _ in range(15):
                    got = c.value("SELECT session_user || ' ' || current_user")
                    assert got == "%s %s" % (role, role), (role, got)
        except Exception as e:
            faults.append(e)
    threads = [threading.Thread(target=work, args=(r,)) for r in roles for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults, faults


def test_row_13_forced_user_changed(pooler, pg):
    """Servers of the old account serve nobody who came for the new one."""
    p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw")}, users={"someone": "x"}, auth_type="md5",
               pool_mode="transaction")
    with p.login("someone", "db", "x") as old:
        assert old.value("SELECT session_user") == "svc"
        p.databases["db"] = pg.entry(user="svc2", password="svc2_pw")
        p.reload()
        with p.login("someone", "db", "x") as new:
            assert new.value("SELECT session_user") == "svc2"
            # The file knows the old account no longer: who is there follows the database.
            assert old.value("SELECT session_user") == "svc2"
            assert new.value("SELECT session_user") == "svc2"


def test_row_13_changed_password(pooler, pg):
    """From RELOAD on the old word opens nothing, and the new one opens server connections by its own keys."""
    pg.sql("SET password_encryption = 'scram-sha-256'", "CREATE ROLE moving LOGIN PASSWORD 'first'")
    try:
        p = pooler(databases={"db": pg.entry()}, users={"moving": pg.secret("moving")}, auth_type="scram-sha-256",
                   pool_mode="transaction", default_pool_size=2)
        with p.login("moving", "db", "first") as early:
            assert early.value("SELECT session_user") == "moving"
            pg.sql("ALTER ROLE moving PASSWORD 'second'")
            p.users["moving"] = pg.secret("moving")
            p.reload()
            with pytest.raises(PgError, match="SASL authentication failed"):
                p.login("moving", "db", "first")
            # The keys of the first word do not pass for those of the second.
            p.admin("RECONNECT")
            early.send(wire.query("SELECT session_user"))
            p.wait_log("did not provide SCRAM keys")
            with pytest.raises((PgError, Closed)):
                early.until_ready().value()
        with p.login("moving", "db", "second") as c:
            assert c.value("SELECT session_user") == "moving"
        with p.login("moving", "db", "second") as c:
            p.admin("RECONNECT")
            assert c.value("SELECT session_user") == "moving"
    finally:
        pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'moving'")
        pg.sql("DROP ROLE moving")


def test_row_13_keys_of_another_user(pooler, pg):
    """A database with a forced user: the client's keys are not the account's, though both have SCRAM secrets."""
    p = pooler(databases={"db": pg.entry(user="u_scram")},
               users={"u_scram": pg.secret("u_scram"), "svc": pg.secret("svc")}, auth_type="scram-sha-256")
    with pytest.raises(PgError, match="wrong password type"):
        p.login("svc", "db", "svc_pw")
    with p.login("u_scram", "db", "u_scram_pw") as c:
        assert c.value("SELECT session_user") == "u_scram"
    # Now the pool has the keys of its own account, and whoever may use it does so as that account.
    with p.login("svc", "db", "svc_pw") as c:
        assert c.value("SELECT session_user") == "u_scram"


# --- 14: constant time ------------------------------------------------------

# Comparisons that look at a secret and are none: a prefix that everybody knows, the nonce that both sides have seen.
HARMLESS = [
    r'strncmp\(secret, "md5", 3\)', r"strncmp\(secret, scram_prefix,", r"memcmp\(value\.ptr, nonce\.ptr,",
    r"memcmp\(key, none, 8\)", r"memcmp\(nonce\.ptr, c->nonce,", r"strcmp\(mechanism, SCRAM_MECHANISM\)", r"strcmp\(auth_method_names\[kind\], name\)",
    r"strcmp\(name, SCRAM_MECHANISM\)", r"strcmp\(key, (texts\[i\]\.key|\"ldap\w+\")\)", r"memchr|mem_equal_const_time",
]
COMPARES = re.compile(r"\b(?:mem|str|strn|strcase|strncase|b)cmp\s*\([^;]*|\bspan_is\s*\([^;]*")
SECRETS = re.compile(r"secret|passw|key\b|keys\b|proof|digest|hash|signature|stored|answer|expected|salted|token", re.I)


def test_row_14_secrets_are_compared_in_constant_time():
    """Every comparison in the room of authentication that names a secret goes through the helper, or is listed."""
    top = os.path.join(env.TOP, "src")
    found = []
    files = [os.path.join(top, "auth", f) for f in sorted(os.listdir(os.path.join(top, "auth"))) if f.endswith(".c")]
    files += [os.path.join(top, "pool", f) for f in ("login.c", "cancel.c", "server_login.c")]
    for path in files:
        with open(path) as f:
            text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
        for m in COMPARES.finditer(text):
            call = m.group(0).split("\n")[0]
            if SECRETS.search(call) and not any(re.search(h, call) for h in HARMLESS):
                found.append("%s: %s" % (os.path.basename(path), call))
    assert not found, found
    with open(os.path.join(top, "auth", "secret.c")) as f:
        assert "mem_equal_const_time" in f.read()


# --- 15: known and unknown names --------------------------------------------

def dialogue(p, user, text="wrong"):
    """What a stranger sees of a login: types, requests, the salt's length, iterations, the refusal."""
    seen = []
    with enter(p) as c:
        c.send(wire.startup(user, "db"))
        s = ScramClient(text)
        while True:
            m = c.recv()
            if m.type == b"E":
                seen.append(("E", tuple(sorted(wire.fields_of(m.body).items()))))
                c.expect_closed()
                return seen
            code, = struct.unpack_from("!I", m.body)
            if code == 3:
                seen.append(3)
                c.send(wire.password(text))
            elif code == 5:
                seen.append((5, len(m.body)))
                inner = hashlib.md5((text + user).encode()).hexdigest()
                c.send(wire.password("md5" + hashlib.md5(inner.encode() + m.body[4:8]).hexdigest()))
            elif code == 10:
                seen.append((10, m.body[4:]))
                c.send(s.first())
            else:
                parts = dict(x.split("=", 1) for x in m.body[4:].decode().split(","))
                seen.append((11, len(parts["r"]), len(parts["s"]), parts["i"]))
                c.send(s.final(m.body[4:].decode()))


def salt_of(p, user):
    with enter(p) as c:
        c.send(wire.startup(user, "db"))
        c.expect(b"R")
        c.send(ScramClient("x").first())
        return c.expect(b"R").body[4:].decode().split(",")[1]


@pytest.mark.parametrize("method", METHODS)
def test_row_15_the_same_dialogue(fort, method):
    """Over every method and every kind of stored secret, also one with iterations of its own."""
    stored = METHODS[method][1]
    if stored.startswith("SCRAM"):
        stored = scram_secret(SECRET, b"sixteen bytes...", 1024)
    # All secrets of the file are of one kind, as they are where one tool wrote them.
    p = fort(method, users={u: stored for u in ("admin", "stats", "someone", "u_trust")})
    known = dialogue(p, "someone")
    for stranger in ("someon", "someone2", "nobody", "a", "zzz", "\u00fc", "someone "):
        assert dialogue(p, stranger) == known, stranger
    assert len(p.logged("no such user: ")) == 7


@pytest.mark.parametrize("method", SASL)
def test_row_15_salts_stay(fort, method):
    """On each attempt, and over a RELOAD that changes other things; whether the user exists or not."""
    kind, stored = METHODS[method]
    users = {u: stored for u in ("admin", "stats", "someone", "u_trust")}
    p = fort(method, users=users)
    names = ["someone", "nobody", "nobody2"]
    before = {u: salt_of(p, u) for u in names}
    assert len(set(before.values())) == 3
    assert before == {u: salt_of(p, u) for u in names}
    p.users["newcomer"] = stored
    p.reload(server_idle_timeout=77)
    assert before == {u: salt_of(p, u) for u in names}
    if method == "scram-plain":
        # A known name with a plain secret follows the setting at once, as made-up ones do.
        p.reload(scram_iterations=512)
        assert dialogue(p, "someone") == dialogue(p, "nobody")
        assert dialogue(p, "someone")[1][3] == "512"
        assert before == {u: salt_of(p, u) for u in names}


def test_row_15_probing_causes_no_work(fort):
    """Keys of a plain secret are derived once, also when whoever asked went away without a proof."""
    p = fort("scram-plain", scram_iterations=400000)
    salt_of(p, "someone")
    before = env.cpu_seconds(p.process.pid)
    for _ in range(20):
        salt_of(p, "someone")
    # One derivation takes tens of milliseconds at least.
    once = before
    assert env.cpu_seconds(p.process.pid) - before < max(once, 0.1) * 4


def test_row_15_where_secrets_are_of_many_kinds(fort):
    """Strangers look like one or the other, and always like the same one."""
    p = fort("md5", users={"admin": "plain", "someone": scram_secret("x"), "u_trust": md5_secret("u_trust", "x"),
                           "stats": "p"})
    first = {u: dialogue(p, u)[0] for u in ("b", "q", "sz", "tt", "zz", "nobody")}
    assert first == {u: dialogue(p, u)[0] for u in first}
    assert first["nobody"][0] == 10 and first["zz"][0] == 5
