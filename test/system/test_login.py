"""Clients log in: methods, secrets, refusals, the start-up packet.

Attack rows 1-9, 14, 15 and 28 are here; the number stands at the test.
"""
import os
import socket
import struct

import pytest
from harness import env, wire
from harness.wire import Closed, PgError, md5_secret, scram_secret

ours = pytest.mark.ours

# A password that SASLprep leaves alone, with everything else in it.
SECRET = "se'cret %s \\ \" ü"
STORED = {
    "plain": SECRET,
    "md5": md5_secret("someone", SECRET),
    "scram": scram_secret(SECRET),
}


@pytest.fixture
def door(pooler, pg):
    """A pooler whose only database goes to a service account."""
    def make(**settings):
        users = settings.pop("users", {})
        databases = {"db": pg.entry(user="u_trust"), **settings.pop("databases", {})}
        return pooler(databases=databases, users={"u_trust": "", **users}, **settings)
    return make


def refused(p, user="someone", secret=SECRET, database="db", **params):
    with pytest.raises(PgError) as e:
        p.login(user, database, secret, **params)
    return e.value


# --- methods ----------------------------------------------------------------

def test_any(door):
    p = door(auth_type="any")
    with p.login("whoever") as c:
        assert c.value("SELECT current_user") == "u_trust"


def test_any_needs_a_forced_user(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, auth_type="any")
    assert refused(p, "u_trust").text == "bouncer config error"
    p.wait_log("auth_type=any requires forced user")


def test_trust(door):
    p = door(auth_type="trust", users={"someone": ""})
    p.login("someone").close()
    e = refused(p, "stranger")
    assert (e.severity, e.code, e.text) == ("FATAL", "08P01", '"trust" authentication failed')
    p.wait_log("no such user: stranger")


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_method_and_stored_secret(door, method, stored):
    p = door(auth_type=method, users={"someone": STORED[stored], "empty": ""})
    works = (method, stored) != ("scram-sha-256", "md5")
    text = "SASL authentication failed" if method == "scram-sha-256" or (method, stored) == ("md5", "scram") \
        else "password authentication failed"
    if works:
        with p.login("someone", secret=SECRET) as c:
            assert c.value("SELECT 1") == "1"
    wrong = ["wrong", SECRET + "x", SECRET[:-1]] + ([] if works else [SECRET])
    for attempt in wrong:
        e = refused(p, secret=attempt)
        assert (e.severity, e.code, e.text) == ("FATAL", "08P01", text)
    if not works and not env.ORACLE:
        p.wait_log("SCRAM authentication failed: user has MD5 secret")


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_empty_stored_password_never_works(door, method):
    p = door(auth_type=method, users={"someone": ""})
    for attempt in ("x", "someone"):
        assert "authentication failed" in refused(p, secret=attempt).text


@pytest.mark.parametrize("method", ["plain", "md5"])
def test_empty_password_is_named(door, method):
    p = door(auth_type=method, users={"someone": "x"})
    with p.wire() as c:
        c.send(wire.startup("someone", "db"))
        c.expect(b"R")
        c.send(wire.password(""))
        e = c.expect_error()
    assert (e.severity, e.code, e.text) == ("FATAL", "08P01", "empty password returned by client")


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_row_15_unknown_user_gets_the_same_dialogue(door, method):
    """Row 15: nothing tells an unknown user from a wrong password."""
    p = door(auth_type=method, users={"someone": SECRET})
    known, unknown = refused(p, secret="wrong"), refused(p, "stranger", "wrong")
    assert known.fields == unknown.fields
    p.wait_log("no such user: stranger")


@ours
def test_row_15_mock_salt_stays_the_same(door):
    """Row 15: asking twice must not show that the salt was made up."""
    p = door(auth_type="scram-sha-256")

    def salt(user):
        with p.wire() as c:
            c.send(wire.startup(user, "db"))
            c.expect(b"R")
            c.send(wire.ScramClient("x").first())
            return c.expect(b"R").body[4:].decode().split(",")[1]
    assert salt("stranger") == salt("stranger")
    assert salt("stranger") != salt("another")


@ours
def test_unknown_database_is_named_only_after_the_login(door):
    p = door(auth_type="md5", users={"someone": SECRET})
    assert refused(p, secret="wrong", database="nowhere").text == "password authentication failed"
    e = refused(p, database="nowhere")
    assert (e.code, e.text) == ("08P01", "no such database: nowhere")
    p.wait_log("login failed: db=nowhere user=someone")


@ours
def test_scram_with_an_unknown_database(door):
    p = door(auth_type="scram-sha-256", users={"someone": STORED["scram"]})
    assert refused(p, database="nowhere").text == "no such database: nowhere"
    p.login("someone", secret=SECRET).close()


def test_auto_database(door, pg):
    p = door(databases={"*": "host=127.0.0.1 port=%d user=u_trust" % pg.port}, users={"someone": ""})
    with p.login("someone", "db2") as c:
        assert c.value("SELECT current_database()") == "db2"
    p.wait_log("registered new auto-database: ?.*db2")


def test_scram_iterations_of_the_file(door):
    p = door(auth_type="scram-sha-256", users={"someone": scram_secret(SECRET, b"salty", 1000)})
    with p.wire() as c:
        c.send(wire.startup("someone", "db"))
        assert c.expect(b"R").body == struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"
        s = wire.ScramClient(SECRET)
        c.send(s.first())
        server_first = c.expect(b"R").body[4:].decode()
        assert server_first.endswith(",s=c2FsdHk=,i=1000")
        c.send(s.final(server_first))
        s.check(c.expect(b"R").body[4:].decode())
        c.authenticate("someone", None)
        c.welcome()


@pytest.mark.parametrize("gs2, works", [("n,,", True), ("y,,", True), ("p=tls-server-end-point,,", False),
                                        ("n,a=other,", False), ("x,,", False), ("", False)])
def test_scram_gs2_header(door, gs2, works):
    p = door(auth_type="scram-sha-256", users={"someone": SECRET})
    with p.wire() as c:
        c.send(wire.startup("someone", "db"))
        c.expect(b"R")
        s = wire.ScramClient(SECRET, gs2)
        c.send(s.first())
        if not works:
            c.expect_error()
            return
        c.send(s.final(c.expect(b"R").body[4:].decode()))
        s.check(c.expect(b"R").body[4:].decode())


def test_scram_wrong_mechanism(door):
    p = door(auth_type="scram-sha-256", users={"someone": SECRET})
    with p.wire() as c:
        c.send(wire.startup("someone", "db"))
        c.expect(b"R")
        c.send(wire.msg(b"p", b"SCRAM-SHA-256-PLUS\0" + struct.pack("!I", 3) + b"n,,"))
        assert c.expect_error().text == "client selected an invalid SASL authentication mechanism"


@ours
@pytest.mark.parametrize("body", [
    pytest.param(b"SCRAM-SHA-256\0\xff\xff\xff\xffn,,n=,r=abc", id="row-1-length-minus-one"),
    pytest.param(b"SCRAM-SHA-256\0\xff\xff\xff\xf0n,,n=,r=abc", id="row-1-length-wraps"),
    pytest.param(b"SCRAM-SHA-256\0\0\0\0\x40n,,n=,r=abc", id="length-too-long"),
    pytest.param(b"SCRAM-SHA-256\0\0\0", id="length-cut"),
    pytest.param(b"SCRAM-SHA-256", id="no-terminator"),
    pytest.param(b"", id="empty"),
    pytest.param(b"SCRAM-SHA-256\0\0\0\0\x0an,,n=,r=\0bc", id="nul-inside"),
    pytest.param(b"SCRAM-SHA-256\0\0\0\0\x09n,,m=x,n=", id="mandatory-extension"),
])
def test_scram_first_message_broken(door, body):
    p = door(auth_type="scram-sha-256", users={"someone": SECRET})
    with p.wire() as c:
        c.send(wire.startup("someone", "db"))
        c.expect(b"R")
        c.send(wire.msg(b"p", body))
        c.expect_error()
    p.login("someone", secret=SECRET).close()


@ours
@pytest.mark.parametrize("change", [
    pytest.param(lambda t: t.rsplit(",p=", 1)[0], id="row-2-no-proof"),
    pytest.param(lambda t: t.replace("c=biws,", ""), id="row-2-no-channel"),
    pytest.param(lambda t: "c=biws,p=" + t.rsplit(",p=", 1)[1], id="row-2-no-nonce"),
    pytest.param(lambda t: "", id="empty"),
    pytest.param(lambda t: t.replace("c=biws", "c=eSws"), id="other-channel"),
    pytest.param(lambda t: t.replace(",r=", ",r=x"), id="other-nonce"),
    pytest.param(lambda t: t[:-4], id="short-proof"),
    pytest.param(lambda t: t + "=", id="padding"),
    pytest.param(lambda t: t.rsplit(",p=", 1)[0] + ",p=" + "A" * 44, id="zero-proof"),
    pytest.param(lambda t: t.rsplit(",p=", 1)[0] + ",p=" + "A" * 6000, id="long-proof"),
    pytest.param(lambda t: t + ",x=y", id="after-the-proof"),
])
def test_scram_final_message_broken(door, change):
    p = door(auth_type="scram-sha-256", users={"someone": SECRET})
    with p.wire() as c:
        c.send(wire.startup("someone", "db"))
        c.expect(b"R")
        s = wire.ScramClient(SECRET)
        c.send(s.first())
        c.send(wire.msg(b"p", change(s.final_text(c.expect(b"R").body[4:].decode())).encode()))
        c.expect_error()
    p.login("someone", secret=SECRET).close()


@ours
def test_row_7_pieces_of_one_byte(door):
    """Row 7: every message of a login, a byte at a time."""
    for method in ("plain", "md5", "scram-sha-256"):
        p = door(auth_type=method, users={"someone": SECRET})
        with p.wire() as c:
            plain_send = c.send
            c.send = lambda *parts: [plain_send(bytes([b])) for b in b"".join(parts)]
            c.login("someone", "db", SECRET)
            assert c.value("SELECT 1") == "1"


@ours
@pytest.mark.parametrize("size", [1, 1023, 1024, 4095, 65530])
def test_row_7_long_passwords(door, size):
    """Row 7."""
    secret = "x" * size
    p = door(auth_type="plain", users={"someone": secret, "other": secret})
    p.login("someone", secret=secret).close()
    assert refused(p, secret=secret[:-1] or "y").code == "08P01"
    p.reload(auth_type="md5")
    p.login("someone", secret=secret).close()
    if size <= 1024:
        p.reload(auth_type="scram-sha-256")
        p.login("someone", secret=secret).close()


@ours
def test_password_too_long(door):
    p = door(auth_type="plain", users={"someone": "x"})
    with p.wire() as c:
        c.send(wire.startup("someone", "db"))
        c.expect(b"R")
        try:
            c.send(wire.password("x" * 200000))
            c.expect_error()
        except Closed:
            pass
    p.login("someone", secret="x").close()


@ours
@pytest.mark.parametrize("body", [b"", b"\0x", b"a\0b\0", b"abc"], ids=["nothing", "early", "middle", "no-nul"])
def test_password_packet_without_its_one_nul(door, body):
    p = door(auth_type="plain", users={"someone": "a"})
    with p.wire() as c:
        c.send(wire.startup("someone", "db"))
        c.expect(b"R")
        c.send(wire.msg(b"p", body))
        c.expect_error()


# --- the start-up packet ----------------------------------------------------

def test_greeting(door):
    p = door(users={"someone": ""})
    with p.login("someone", client_encoding="LATIN1", application_name="hello") as c:
        assert c.params["client_encoding"] == "LATIN1"
        assert c.params["application_name"] == "hello"
        assert c.params["server_version"].split(".")[0].isdigit()
        assert len(c.key) == 8 and c.key[0] < 128
        assert c.value("SHOW client_encoding") == "LATIN1"
        assert c.value("SHOW application_name") == "hello"


@ours
def test_greeting_order(door):
    """Untracked parameters first, then the tracked ones in their fixed order."""
    p = door(users={"someone": ""})
    with p.login("someone") as c:
        assert list(c.params)[-6:] == ["DateStyle", "client_encoding", "TimeZone", "standard_conforming_strings",
                                       "application_name", "IntervalStyle"]


@ours
def test_login_notify_message(door):
    p = door(users={"someone": ""}, login_notify_message="read the notes")
    for database in ("db", "pgbouncer"):
        with p.login("admin" if database == "pgbouncer" else "someone", database, "admin_pw") as c:
            assert [(n["S"], n["C"], n["M"]) for n in c.notices] == [("NOTICE", "00000", "read the notes")]


@ours
@pytest.mark.parametrize("message", ["", "read the notes"])
def test_greeting_is_one_batch_in_its_order(door, message):
    """Also for a second client, who is greeted from what is known; no two keys are the same."""
    p = door(users={"someone": ""}, login_notify_message=message, track_extra_parameters="IntervalStyle, in_hot_standby")
    keys = set()
    for wishes in ({}, {"application_name": "me", "IntervalStyle": "iso_8601"}):
        with p.wire() as c:
            c.send(wire.startup("someone", "db", **wishes))
            got = c.recv_until(b"Z")
        names = [m.body.split(b"\0")[0].decode() for m in got if m.type == b"S"]
        assert b"".join(m.type for m in got) == b"R" + b"S" * len(names) + (b"KNZ" if message else b"KZ")
        assert names[-7:] == ["DateStyle", "client_encoding", "TimeZone", "standard_conforming_strings",
                              "application_name", "IntervalStyle", "in_hot_standby"]
        assert len(set(names)) == len(names) and "server_version" in names[:-7]
        assert got[0].body == b"\0\0\0\0" and got[-1].body == b"I"
        key, = (m.body for m in got if m.type == b"K")
        assert len(key) == 8 and key[0] < 128
        keys.add(key)
        for name, value in wishes.items():
            assert wire.msg(b"S", wire.cstr(name) + wire.cstr(value)) in [wire.msg(*m) for m in got]
    assert len(keys) == 2


@ours
@pytest.mark.parametrize("early", [True, False])
def test_deferred_accept(door, early):
    """The kernel shows a connection when its first bytes are there; whether they came or not, it is served."""
    p = door(users={"someone": ""}, tcp_defer_accept=1)
    with p.wire() as c:
        if not early:
            # What it does not know of is nobody yet.
            assert {r["list"]: r["items"] for r in p.show("LISTS")}["login_clients"] == "0"
        c.login("someone", "db")
        assert c.value("SELECT 1") == "1"
    p.login("someone", host=p.dir).close()


@ours
def test_names_of_parameters_are_of_any_case(door):
    p = door(users={"someone": ""})
    with p.login("someone", DATESTYLE="German", Client_Encoding="LATIN1", APPLICATION_NAME="x", options="-c TIMEZONE=UTC") as c:
        assert [c.value("SHOW " + n) for n in ("DateStyle", "client_encoding", "application_name", "TimeZone")] == [
            "German, DMY", "LATIN1", "x", "UTC"]
        assert (c.params["DateStyle"], c.params["application_name"]) == ("German", "x")


def test_no_database_means_the_user_name(pooler, pg):
    p = pooler(databases={"u_trust": pg.entry()}, users={"u_trust": ""})
    with p.wire() as c:
        c.login("u_trust", None)
        assert c.value("SELECT current_database()") == "db"


def test_no_user(door):
    with door().wire() as c:
        c.send(wire.startup(None, "db"))
        assert c.expect_error().text == "no username supplied"


def test_unsupported_parameter(door):
    p = door(users={"someone": ""})
    e = refused(p, extra_float_digits="3")
    assert (e.code, e.text) == ("08P01", "unsupported startup parameter: extra_float_digits")
    p.wait_log("WARNING.*unsupported startup parameter: extra_float_digits=3")
    p.reload(ignore_startup_parameters="other, extra_float_digits")
    p.login("someone", extra_float_digits="3").close()


@ours
@pytest.mark.parametrize("options, shown", [
    ("-c datestyle=German", "German, DMY"),
    ("-cDateStyle=German", "German, DMY"),
    ("--DateStyle=German", "German, DMY"),
    ("  -c   timezone=UTC\t-c DateStyle=SQL,DMY ", "SQL, DMY"),
    ("-c DateStyle=SQL,\\ DMY", "SQL, DMY"),
    ("-c Date\\Style=German", "German, DMY"),
])
def test_options(door, options, shown):
    p = door(users={"someone": ""})
    with p.login("someone", options=options) as c:
        assert c.value("SHOW DateStyle") == shown


@ours
@pytest.mark.parametrize("options, text", [
    ("-c geqo=off", "unsupported startup parameter in options: geqo"),
    ("--geqo=off", "unsupported startup parameter in options: geqo"),
    ("-d 5", "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"),
    ("-c geqo", "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"),
    pytest.param("-c", "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed",
                 id="row-4-alone"),
    pytest.param("-c datestyle\\", "unsupported options startup parameter: only '-c config=val' and '--config=val' "
                 "are allowed", id="row-4-backslash"),
])
def test_bad_options(door, options, text):
    p = door(users={"someone": ""})
    assert refused(p, options=options).text == text
    p.reload(ignore_startup_parameters="geqo")
    if "geqo=" in options:
        p.login("someone", options=options).close()


@ours
def test_row_4_many_options(door):
    """Row 4: thousands of them, far above one buffer; `-c=` is refused."""
    p = door(users={"someone": ""}, ignore_startup_parameters="options")
    with p.login("someone", options="-c geqo=off " * 4000 + "-c DateStyle=German") as c:
        assert c.value("SHOW DateStyle") == "German, DMY"
    with p.wire() as c:
        c.send(wire.startup("someone", "db", options="-c=" * 20000))
        try:
            c.recv()
        except Closed:
            pass
    p.login("someone").close()


@ours
def test_layout_without_terminator(door):
    p = door(users={"someone": ""})
    for body in (b"user\0someone\0database\0db\0x", b"user\0someone\0\0trailing"):
        with p.wire() as c:
            c.send(wire.startup_packet(wire.PROTO3, body))
            c.expect_error()


@pytest.mark.parametrize("name", ["u" * 128, "u" * 3000])
def test_row_5_user_name_too_long(door, name):
    """Row 5."""
    p = door(users={"someone": ""})
    with p.wire() as c:
        c.send(wire.startup(name, "db"))
        e = c.expect_error()
    assert e.text == "username too long" or env.ORACLE
    p.login("someone").close()


@pytest.mark.parametrize("star", [False, True])
@pytest.mark.parametrize("size", [64, 65, 128, 1000, 20000])
def test_row_5_database_name_too_long(door, pg, star, size):
    """Row 5."""
    p = door(users={"someone": ""}, databases={"*": pg.entry(None, user="u_trust")} if star else {})
    with p.wire() as c:
        c.send(wire.startup("someone", "d" * size))
        m = c.recv()
        assert m.type in b"ER"
    p.login("someone").close()


@ours
@pytest.mark.parametrize("version, names", [(196608, []), (196609, []), (196610, []), (196611, []), (262143, []),
                                            (196608, ["_pq_.test"]), (196610, ["_pq_.a", "_pq_.b"])])
def test_protocol_negotiation(door, version, names):
    p = door(users={"someone": SECRET}, auth_type="md5")
    with p.wire() as c:
        c.send(wire.startup("someone", "db", version, **dict.fromkeys(names, "1")))
        if version == 196608 and not names:
            c.expect(b"R")
            return
        body = c.expect(b"v").body
        assert body == struct.pack("!II", 196608, len(names)) + b"".join(wire.cstr(n) for n in names)
        c.finish_login("someone", SECRET)
        assert len(c.key) == 8
        assert c.value("SELECT 1") == "1"


def test_protocol_2(door):
    with door().wire() as c:
        c.send(wire.startup_packet(131072, b"\0" * 288))
        assert c.expect_error().text == "old V2 protocol not supported"


@pytest.mark.parametrize("packet", [
    pytest.param(struct.pack("!II", 8, 262144), id="version-4"),
    pytest.param(struct.pack("!II", 8, 0), id="version-0"),
    pytest.param(struct.pack("!II", 8, 80877105), id="unknown-request"),
    pytest.param(struct.pack("!II", 4, 196608), id="row-3-length-4"),
    pytest.param(struct.pack("!II", 0, 196608), id="row-3-length-0"),
    pytest.param(struct.pack("!II", 7, 196608), id="row-3-length-7"),
    pytest.param(struct.pack("!II", 70000, 196608), id="length-70000"),
    pytest.param(struct.pack("!iI", -1, 196608), id="row-3-negative"),
    pytest.param(struct.pack("!II", 1 << 31, 196608), id="row-3-2-to-31"),
    pytest.param(b"GET / HTTP/1.0\r\n\r\n", id="http"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="tls-when-disabled"),
    pytest.param(b"\xff" * 64, id="ff"),
])
def test_bad_header(door, packet):
    p = door(users={"someone": ""}, client_login_timeout=2)
    with p.wire() as c:
        c.send(packet)
        try:
            e = c.expect_error(closed=False)
            assert e.severity == "FATAL" and e.code == "08P01"
            c.expect_closed()
        except Closed:
            pass
    p.login("someone").close()


def test_ssl_and_gss_requests_without_tls(door):
    p = door(users={"someone": ""})
    with p.wire() as c:
        assert c.ssl_request(wire.GSSENC_REQUEST) == b"N"
        assert c.ssl_request() == b"N"
        c.login("someone", "db")


@ours
@pytest.mark.parametrize("code, text", [(wire.SSL_REQUEST, "received unencrypted data after SSL request"),
                                        (wire.GSSENC_REQUEST, "received unencrypted data after GSSAPI encryption request")])
def test_row_16_bytes_stuffed_after_the_request(door, code, text):
    """Row 16, the plain side."""
    with door(users={"someone": ""}).wire() as c:
        c.send(wire.startup_packet(code) + wire.startup("someone", "db"))
        m = c.take(1)
        if m == b"N":
            m = c.take(1)
        assert m == b"E"
        c.buf[:0] = b"E"
        assert c.expect_error().text == text


@pytest.mark.parametrize("first", [wire.query("SELECT 1"), wire.SYNC, wire.password("x"), wire.parse("SELECT 1"),
                                   wire.TERMINATE, wire.COPY_DONE], ids=["Query", "Sync", "Password", "Parse",
                                                                         "Terminate", "CopyDone"])
@pytest.mark.parametrize("stage", ["before", "during"])
def test_row_6_wrong_order(door, first, stage):
    """Row 6."""
    p = door(auth_type="md5", users={"someone": SECRET})
    with p.wire() as c:
        if stage == "during":
            c.send(wire.startup("someone", "db"))
            c.expect(b"R")
        c.send(first)
        try:
            while True:
                assert c.recv().type in b"E"
        except Closed:
            pass
    p.login("someone", secret=SECRET).close()


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_row_9_second_startup_message(door, method):
    """Row 9: become somebody else in the middle of the conversation."""
    p = door(auth_type=method, users={"someone": SECRET})
    with p.wire() as c:
        c.send(wire.startup("someone", "db"))
        c.expect(b"R")
        c.send(wire.startup("u_trust", "db"))
        assert c.expect_error().text == "client re-sent startup pkt"
    with p.wire() as c:
        c.send(wire.startup("someone", "db"))
        c.expect(b"R")
        s = wire.ScramClient(SECRET)
        if method == "scram-sha-256":
            c.send(s.first())
            c.expect(b"R")
            c.send(wire.startup("u_trust", "db"))
            assert c.expect_error().text == "client re-sent startup pkt"


def test_eof_at_every_step(door):
    p = door(auth_type="md5", users={"someone": SECRET})
    packet = wire.startup("someone", "db")
    for cut in (0, 1, 4, 7, 8, 12, len(packet) - 1, len(packet)):
        with p.wire() as c:
            if cut:
                c.send(packet[:cut])
    p.login("someone", secret=SECRET).close()


@ours
def test_row_8_login_timeout(door):
    """Row 8: half a packet keeps nobody for ever."""
    p = door(auth_type="md5", users={"someone": SECRET}, client_login_timeout=1)
    with p.wire() as nothing, p.wire() as half, p.wire() as late:
        half.send(wire.startup("someone", "db")[:9])
        late.send(wire.startup("someone", "db"))
        late.expect(b"R")
        for c in (nothing, half, late):
            assert c.expect_error().text == "client_login_timeout"


def test_row_8_slow_loris(door):
    """Row 8: idle sockets up to max_client_conn; service comes back by itself."""
    p = door(users={"someone": ""}, client_login_timeout=2, max_client_conn=20)
    served = p.login("someone")
    idlers = [p.wire() for _ in range(40)]
    for c in idlers[::2]:
        c.send(b"\0")
    assert refused(p).text == "no more connections allowed (max_client_conn)"
    assert served.value("SELECT 1") == "1"
    env.wait_for(lambda: can_log_in(p), "room for a new client")
    for c in idlers:
        c.close()


def can_log_in(p):
    try:
        p.login("someone").close()
        return True
    except PgError:
        return False


def test_max_client_conn(door):
    p = door(users={"someone": ""}, max_client_conn=3)
    held = [p.login("someone") for _ in range(3)]
    e = refused(p)
    assert (e.severity, e.code, e.text) == ("FATAL", "08P01", "no more connections allowed (max_client_conn)")
    p.admin("SHOW VERSION")
    held.pop().close()
    env.wait_for(lambda: can_log_in(p), "room for a new client")


@ours
@pytest.mark.parametrize("setting", ["max_db_client_connections", "max_user_client_connections"])
def test_client_limits_per_database_and_user(door, setting):
    p = door(users={"someone": "", "other": ""}, **{setting: 2})
    held = [p.login("someone") for _ in range(2)]
    e = refused(p)
    assert (e.code, e.text) == ("08P01", "client connections exceeded (%s)" % setting)
    if setting.startswith("max_user"):
        p.login("other").close()
    else:
        assert refused(p, "other").text == e.text
    held.pop().close()
    env.wait_for(lambda: can_log_in(p), "room for a new client")
    row = [r for r in p.show("DATABASES") if r["name"] == "db"][0]
    env.wait_for(lambda: [r for r in p.show("DATABASES") if r["name"] == "db"][0]["current_client_connections"] == "1",
                 "the count to be right again: %r" % row)


@ours
def test_failed_logins_are_uncounted(door):
    p = door(users={"someone": SECRET}, auth_type="md5", max_db_client_connections=2, max_user_client_connections=2)
    for _ in range(10):
        refused(p, secret="wrong")
        refused(p, "stranger", "wrong")
    with p.login("someone", secret=SECRET), p.login("someone", secret=SECRET):
        pass
    assert "stranger" not in [r["name"] for r in p.show("USERS")]


def test_login_attempt_is_logged(door):
    p = door(users={"someone": ""})
    with p.login("someone"):
        p.wait_log(r"LOG C-\S+: db/someone@127\.0\.0\.1:\d+ login attempt: db=db user=someone tls=no")
    p.wait_log(r"C-\S+: db/someone@127\.0\.0\.1:\d+ closing because: client (unexpected eof|close request) \(age")
    with p.login("someone", host=p.dir):
        p.wait_log(r"C-\S+: db/someone@unix(\(\d+\))?:%d login attempt" % p.port)


@ours
@pytest.mark.parametrize("name", ["new\nline", "tab\tand \x1b[31mred", "per%scent%n", "quote\"'\\", "\x01\x7f", "ü€"])
def test_row_28_strange_names_in_the_log(door, name):
    """Row 28."""
    p = door(auth_type="md5")
    refused(p, name, "wrong", name)
    for line in p.log().splitlines():
        assert line[:2] == "20" or line.startswith("\t"), line
    assert "\x1b" not in p.log() and "\x01" not in p.log()


def test_row_26_secrets_are_not_logged(door):
    """Row 26."""
    p = door(auth_type="plain", users={"someone": "verysecret"}, verbosity=2)
    p.login("someone", secret="verysecret").close()
    refused(p, secret="almostsecret")
    for what in ("CONFIG", "USERS", "CLIENTS", "DATABASES"):
        assert "verysecret" not in repr(p.show(what))
    assert "verysecret" not in p.log() and "almostsecret" not in p.log()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "unix"])
def test_addresses(pooler, pg, host):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, listen_addr="127.0.0.1,::1")
    with p.login(host=p.dir if host == "unix" else host) as c:
        assert c.value("SELECT 1") == "1"
        row = [r for r in p.show("CLIENTS") if r["database"] == "db"][0]
        assert row["addr"] == host


def test_application_name_add_host(door):
    p = door(users={"someone": ""}, application_name_add_host=1)
    with p.login("someone", application_name="tool") as c:
        assert c.value("SHOW application_name") == "tool - 127.0.0.1:%d" % c.sock.getsockname()[1]
    with p.login("someone") as c:
        assert c.value("SHOW application_name") == "app - 127.0.0.1:%d" % c.sock.getsockname()[1]


def test_application_name_add_host_by_unix_socket(door):
    p = door(users={"someone": ""}, application_name_add_host=1)
    whereabouts = "unix(%d@%s):%d" % (os.getpid(), socket.gethostname(), p.port)
    for wish, shown in (({"application_name": "tool"}, "tool"), ({}, "app")):
        with p.login("someone", host=p.dir, **wish) as c:
            assert c.params["application_name"] == "%s - %s" % (shown, whereabouts)
            assert c.value("SHOW application_name") == ("%s - %s" % (shown, whereabouts))[:63]


@ours
def test_empty_application_name_counts(door):
    p = door(users={"someone": ""})
    with p.login("someone", application_name="") as c:
        assert c.params["application_name"] == ""


# --- the auth_file ----------------------------------------------------------

def test_auth_file_forms(pooler, pg):
    p = pooler(databases={"db": pg.entry(user="u_trust")}, auth_type="md5", start=False)
    with open(p.userlist, "w") as f:
        f.write('; comment\n\n   "spaces around" "one" anything\n"quo""te" "t""wo"\n"u_trust" ""\n'
                '"comma","three"\n"words" between the "fields" "x"\n"" "of nobody"\n'
                '"bad" nonsense\n"after" "x"\n')
    p.start()
    for user, secret in (("spaces around", "one"), ('quo"te', 't"wo'), ("comma", "three"), ("words", "fields")):
        p.login(user, secret=secret).close()
    assert "authentication failed" in refused(p, "after", "x").text
    # PgBouncer would look for the missing field in the next line, and make a password of its user's name.
    if not env.ORACLE:
        p.wait_log("ERROR broken auth file")


def test_auth_file_that_goes_away(pooler, pg):
    """RELOAD keeps the users of before; one that is there again is read again."""
    p = pooler(databases={"db": pg.entry(user="u_trust")}, auth_type="plain", users={"someone": "one"})
    os.rename(p.userlist, p.userlist + ".away")
    p.admin("RELOAD")
    p.wait_log("ERROR could not open auth_file .*: No such file or directory")
    p.login("someone", secret="one").close()
    p.users["someone"] = "two"
    p.write()
    p.admin("RELOAD")
    p.login("someone", secret="two").close()
    refused(p, "someone", "one")
    # Those that a broken line hides have no password any more.
    p.users = {"first": "x"}
    p.write()
    with open(p.userlist, "a") as f:
        f.write('broken\n"someone" "two"\n')
    p.admin("RELOAD")
    p.login("first", secret="x").close()
    refused(p, "someone", "two")


def test_missing_auth_file(pooler, pg):
    p = pooler(databases={"db": pg.entry(user="u_trust")}, auth_type="md5", auth_file="/nonexistent/users")
    assert "authentication failed" in refused(p).text
    p.wait_log("could not open auth_file /nonexistent/users: No such file or directory")


# --- floods of half logins --------------------------------------------------

def test_row_8_thousand_connections_that_say_nothing(door):
    """Row 8: those in service notice nothing, memory stays bounded."""
    p = door(users={"someone": ""}, max_client_conn=2000)
    served = p.login("someone")
    before = env.rss_kb(p.process.pid)
    socks = []
    for _ in range(1000):
        s = socket.socket()
        s.connect((p.host, p.port))
        socks.append(s)
    assert served.value("SELECT 1") == "1"
    env.wait_for(lambda: int({r["list"]: r["items"] for r in p.show("LISTS")}["login_clients"]) >= 1000, "them all")
    if env.SLOW == 1:
        assert env.rss_kb(p.process.pid) - before < 1000 * 12
    for s in socks:
        s.close()
    env.wait_for(lambda: {r["list"]: r["items"] for r in p.show("LISTS")}["login_clients"] == "0", "them gone")
