"""Why connections end, in the words of the log and in those of the client: behaviour specification, sections 27 and 34."""
import re
import socket
import struct
import threading

import pytest
from harness import env, fakeserver, wire
from harness.fakeserver import auth, data_row, error, notice, one_row, param, ready, tag
from harness.wire import FLUSH, SYNC, PgError, parse, query

pytestmark = pytest.mark.ours

CLIENT = r"C-0x[0-9a-f]+: db/u_trust@127\.0\.0\.1:\d+ "
SERVER = r"S-0x[0-9a-f]+: db/u_trust@127\.0\.0\.1:\d+ "


@pytest.fixture
def site(pooler, fake):
    """A pooler in front of one scripted server; script(peer) goes on behind its welcome."""
    def make(script=None, mode="transaction", raw=None, **settings):
        def play(peer):
            if raw:
                raw(peer)
            elif peer.read_startup():
                peer.welcome()
                (script or fakeserver.Peer.serve)(peer)
        server = fake(play)
        return pooler(**{"databases": {"db": server.entry()}, "users": {"u_trust": "", "u_plain": "x"}, "pool_mode": mode,
                         "server_tls_sslmode": "disable", "client_login_timeout": 3, **settings})
    return make


def closes(p, reason, who=SERVER):
    p.wait_log(r"LOG %sclosing because: %s \(age=\d+s\)$" % (who, reason))


def told(c, text, code="08P01"):
    """The client is told in an error of three fields, and left."""
    while True:
        m = c.recv()
        if m.type == b"E":
            break
    assert m.body == b"SFATAL\0C%s\0M%s\0\0" % (code.encode(), text.encode())
    c.expect_closed()


# --- what is said --------------------------------------------------------------

def test_every_end_is_one_line_each_and_can_be_turned_off(site):
    p = site()
    for c in (p.login(), p.login()):
        c.send(wire.msg(b"y"))
        told(c, "unknown pkt")
    closes(p, "unknown pkt", CLIENT)
    p.wait_log(r"WARNING %spooler error: unknown pkt$" % CLIENT)
    p.wait_log(r"ERROR %sunknown pkt from client: 121/0x79$" % CLIENT)
    p.wait_log(r"LOG %slogin attempt: db=db user=u_trust tls=no replication=no$" % CLIENT)
    for setting, line in (("log_connections", "login attempt|new connection"), ("log_disconnections", "closing because"),
                          ("log_pooler_errors", "pooler error")):
        p.admin("SET %s = 0" % setting)
        p.mark()
        p.admin("RECONNECT")
        with p.login() as c:
            c.query("SELECT 1")
            c.send(wire.msg(b"y"))
            told(c, "unknown pkt")
        p.wait_log("unknown pkt from client")
        assert not p.logged(line)
        p.admin("SET %s = 1" % setting)


@pytest.mark.parametrize("sent, reason", [
    (wire.msg(b"Q", b"x\0"), "bad packet"), (wire.TERMINATE, "bad packet"), (SYNC, "bad packet"), (b"", "client unexpected eof")],
    ids=["query", "terminate", "sync", "end"])
def test_out_of_turn_during_the_login(site, sent, reason):
    """Nothing is said to whoever has not said who he is."""
    p = site(auth_type="md5")
    with p.wire() as c:
        c.send(wire.startup("u_trust", "db"))
        c.expect(b"R")
        if sent:
            c.send(sent)
            c.expect_closed()
    closes(p, reason, CLIENT)
    p.mark()
    if sent:
        with p.wire() as c:
            c.send(sent)
            c.expect_closed()
        closes(p, reason, r"C-0x[0-9a-f]+: \(nodb\)/\(nouser\)@127\.0\.0\.1:\d+ ")


def test_password_first(site):
    p = site(auth_type="md5")
    with p.wire() as c:
        c.send(wire.password("x"))
        told(c, "client password pkt before startup packet")


def test_a_connection_without_a_byte_is_no_line(site):
    p = site()
    p.wire().close()
    p.wire(p.dir).close()
    with p.wire() as c:
        c.send(b"\0")
    p.wait_log(r"C-0x[0-9a-f]+: \(nodb\)/\(nouser\)@127\.0\.0\.1:\d+ closing because: client unexpected eof")
    assert len(p.logged("closing because")) == 1


def test_bad_headers_are_shown_in_hex(site):
    p = site()
    with p.wire() as c:
        c.send(struct.pack("!II", 9, 5 << 16) + b"and more")
        told(c, "bad packet header: '0000000900050000'")
    with p.login() as c:
        c.send(b"Q\0\0\0\1")
        told(c, "bad packet header: '5100000001'")


# --- servers that cannot be had ---------------------------------------------------

def test_unix_socket_that_is_not_there(pooler, pg):
    p = pooler(databases={"db": "host=/nonexistent port=77"}, users={"u_trust": ""}, client_login_timeout=1)
    with pytest.raises(PgError) as e:
        p.login()
    assert e.value.text == "client_login_timeout (server down)"
    p.wait_log(r"WARNING sbuf_connect failed to connect to unix:/nonexistent/\.s\.PGSQL\.77: No such file or directory$")
    p.wait_log(r"S-\S+: db/u_trust@unix:77 closing because: connect failed")


def test_no_directory_for_unix_sockets(pooler, pg):
    p = pooler(databases={"db": "port=77"}, users={"u_trust": ""}, unix_socket_dir="", client_login_timeout=1)
    with pytest.raises(PgError):
        p.login()
    p.wait_log(r"ERROR (S-\S+: \S+ )?unix socket dir not configured: db$")
    p.wait_log("closing because: cannot connect")


def test_connect_that_is_never_answered(site):
    """The listen queue is full, so the kernel drops what comes: `connect failed`, when the time is over."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):
            fillers.append(socket.socket())
            fillers[-1].setblocking(False)
            fillers[-1].connect_ex(full.getsockname())
        p = site(databases={"db": "host=127.0.0.1 port=%d" % full.getsockname()[1]}, server_connect_timeout=1,
                 client_login_timeout=60)
        c = p.wire()
        c.send(wire.startup("u_trust", "db"))
        p.wait_log(r"%sclosing because: connect failed \(age=1s\)" % SERVER, 2)
        for f in fillers:
            f.close()


def test_message_of_a_server_that_refuses_is_kept_whole(site):
    """Reason and client have all of it, the cached error as much as is kept: 99 bytes."""
    text = "no entry for host \"%s\", that is all" % ("2001:db8:" * 12)

    def raw(peer):
        peer.read_startup()
        peer.send(error(text, "28000", "FATAL"))
        peer.wait_gone()
    p = site(raw=raw, server_login_retry=30)
    c = p.wire()
    c.send(wire.startup("u_trust", "db"))
    told(c, text, "28000")
    closes(p, re.escape(text))
    p.wait_log(r"WARNING %sserver login failed: FATAL %s$" % (SERVER, re.escape(text)))


def test_cached_error_is_kept_whole(site):
    text = "only one at a time, says the server, " + "and it says so at length, " * 5
    p = site(raw=lambda peer: peer.read_startup() and (
        (peer.welcome(), peer.recv_type(b"Q")) if peer.number == 1 else peer.send(error(text, "53300", "FATAL"))),
        server_login_retry=60)
    first, second = p.login(), p.login()
    first.send(query("SELECT 1"))
    told(first, "server conn crashed?")
    second.send(query("SELECT 1"))
    told(second, text, "53300")
    for c in (p.login(), p.login()):
        c.send(query("SELECT 1"))
        told(c, "server login has been failing, cached error: %s (server_login_retry)" % text[:99])


@pytest.mark.parametrize("request_, log, text", [
    (auth(7), "unknown/unsupported auth method: 7", None),
    (auth(10, b"OTHER\0\0"), "none of the server's SASL authentication mechanisms are supported",
     "server login failed: none of the server's SASL authentication mechanisms are supported"),
    (wire.msg(b"W"), "unknown pkt from server: 'W'", None)], ids=["gss", "sasl", "message"])
def test_authentication_that_is_not_known(site, request_, log, text):
    def raw(peer):
        peer.read_startup()
        peer.send(request_)
        peer.wait_gone()
    p = site(raw=raw, client_login_timeout=1)
    c = p.wire()
    c.send(wire.startup("u_trust", "db"))
    told(c, text or "client_login_timeout (server down)")
    p.wait_log("ERROR " + SERVER + re.escape(log))
    closes(p, "unknown pkt from server" if request_[:1] == b"W" else "failed to answer authreq")


# --- servers that speak out of turn -----------------------------------------------

@pytest.mark.parametrize("state", ["idle", "used"])
@pytest.mark.parametrize("said, warned", [(data_row("y"), "D"), (error("out of the blue"), None), (notice("boo"), None),
                                          (tag("SELECT"), "C"), (wire.msg(b"I"), "I")],
                         ids=["row", "error", "notice", "complete", "empty"])
def test_unasked_message_of_a_server_at_rest(site, state, said, warned):
    rested = threading.Event()

    def script(peer):
        peer.recv_type(b"Q")
        peer.send(one_row("x"), ready())
        rested.wait(env.PATIENCE)
        peer.send(said)
        peer.wait_gone()
    p = site(script, server_check_delay=0 if state == "used" else 30)
    with p.login() as c:
        assert c.query("SELECT 1").types == "TDCZ"
        p.wait_pool(**{"sv_" + state: 1})
        rested.set()
        closes(p, "(SV_%s|idle) server got dirty" % state.upper())
        if warned:
            p.wait_log(r"WARNING %sgot packet '%s' from server when not linked" % (SERVER, warned))


def test_notifications_and_parameters_may_come_at_any_time(site):
    rested = threading.Event()

    def script(peer):
        peer.recv_type(b"Q")
        peer.send(one_row("x"), ready())
        rested.wait(env.PATIENCE)
        peer.send(wire.msg(b"A", struct.pack("!I", 1) + b"c\0p\0"), param("TimeZone", "Asia/Tokyo"))
        peer.serve()
    p = site(script, verbosity=2)
    with p.login() as c:
        assert c.query("SELECT 1").types == "TDCZ"
        p.wait_pool(sv_idle=1)
        heard = lambda: sum(int(r["bytes_sent"]) for r in p.show("STATS_TOTALS") if r["database"] == "db")
        before = heard()
        rested.set()
        env.wait_for(lambda: heard() > before, "the pooler to hear it")
        # The client still wants the zone that it was told of.
        assert c.query("SELECT 2").rows == [("SELECT 2",)]
    p.wait_log(r"DEBUG %svarcache_apply: SET TimeZone='UTC';$" % SERVER)
    assert not p.logged("dirty|crashed|not linked")


def test_unknown_message_of_a_server_at_work(site):
    def script(peer):
        peer.recv_type(b"Q")
        peer.send(wire.msg(b"y", b"x"))
        peer.wait_gone()
    p = site(script)
    c = p.login()
    c.send(query("SELECT 1"))
    told(c, "unknown pkt")
    p.wait_log(r"ERROR %sunknown pkt: 'y'$" % SERVER)
    closes(p, "unknown pkt")
    closes(p, "unknown pkt", CLIENT)


def test_parameter_that_the_server_refuses(site):
    def script(peer):
        while True:
            m = peer.recv_type(b"Q")
            if m.body.startswith(b"SET"):
                peer.send(error("no such zone", "22023"), ready())
            else:
                peer.send(one_row("x"), ready())
    p = site(script)
    with p.login() as c:
        c.query("SELECT 1")
    c = p.login(TimeZone="Moon/Crater")
    c.send(query("SELECT 1"))
    told(c, "invalid server parameter")
    p.wait_log(r"ERROR %svarcache_apply failed: ERROR: no such zone$" % SERVER)
    closes(p, "invalid server parameter")
    closes(p, "invalid server parameter", CLIENT)


@pytest.mark.parametrize("how", ["BEGIN in statement mode", "crash", "bad header"])
def test_both_ends_of_a_pair_have_one_reason(site, how):
    said, reason = {"BEGIN in statement mode": (tag("BEGIN") + ready("T"),
                                                "transaction blocks not allowed in statement pooling mode"),
                    "crash": (None, "server conn crashed?"), "bad header": (b"D\0\0\0\1", "bad pkt header")}[how]

    def script(peer):
        peer.recv_type(b"Q")
        if said:
            peer.send(said)
            peer.wait_gone()
    p = site(script, mode="statement")
    c = p.login()
    c.send(query("BEGIN"))
    told(c, reason)
    for who in (SERVER, CLIENT):
        closes(p, re.escape(reason), who)
    p.wait_log(r"WARNING %spooler error: %s$" % (CLIENT, re.escape(reason)))


# --- clients that leave -------------------------------------------------------------

LEAVING = {
    "in a transaction": (query("BEGIN"), "Z", "client disconnect while server was not ready"),
    "in a query": (query("hang"), None, "client disconnect while server was not ready"),
    "in a batch": (parse("SELECT 1") + FLUSH, "1", "client disconnect while server was not ready"),
    "behind a Sync": (parse("SELECT 1") + SYNC + parse("SELECT 2") + FLUSH, "Z1",
                      "client disconnect while server was not ready"),
}


@pytest.mark.parametrize("how", LEAVING)
def test_server_of_a_client_that_left(site, how):
    def script(peer):
        while True:
            m = peer.recv()
            if m.type == b"Q" and m.body.startswith(b"BEGIN"):
                peer.send(tag("BEGIN"), ready("T"))
            elif m.type == b"P":
                peer.send(wire.msg(b"1"))
            elif m.type == b"S":
                peer.send(ready())
            elif m.type == b"X":
                return
    sent, seen, reason = LEAVING[how]
    p = site(script)
    c = p.login()
    c.send(sent)
    for kind in seen or "":
        while c.recv().type != kind.encode():
            pass
    if not seen:
        p.wait_pool(sv_active=1)
    c.close()
    closes(p, "client unexpected eof", CLIENT)
    closes(p, reason)
    assert "with query in progress" not in p.log()


def test_lifetime_of_one_database(site, fake):
    """Over while a client holds it: closed when it is given back, and not before."""
    p = site(databases={"db": fake(lambda peer: peer.read_startup() and (peer.welcome(), peer.serve())).entry(
        server_lifetime=1)}, server_lifetime=3600, mode="session")
    with p.login() as c:
        c.query("SELECT 1")
        assert c.silent(1.5)
        assert not p.logged("server lifetime over")
        assert c.query("SELECT 2").rows
    closes(p, "server lifetime over")


def test_obsolete_connection(site):
    """Marked by RECONNECT, it may be met by the next client before maintenance comes."""
    p = site()
    with p.login() as c, p.console() as admin:
        for _ in range(5):
            c.query("SELECT 1")
            admin.query("RECONNECT")
            c.query("SELECT 1")
    p.wait_log(SERVER + "closing because: (obsolete connection|database configuration changed)", 5)
    assert p.logged("obsolete connection")
