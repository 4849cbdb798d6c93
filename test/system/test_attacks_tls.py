"""The upgrade to TLS, on both sides: attack rows 16-19 in their variants. The
plain cases are in test_tls.py and test_login.py."""
import shutil
import socket
import ssl
import subprocess

import pytest
from harness import env, fakeserver, wire
from harness.assault import attempt, drain, never_let_in, tls_settings
from harness.bystander import undisturbed

pytestmark = pytest.mark.ours


@pytest.fixture
def secure(pooler, pg, certs):
    def make(mode="allow", **settings):
        return pooler(**{"databases": {"db": pg.entry()}, "users": {"u_trust": ""}, "pool_mode": "transaction",
                         "default_pool_size": 2, "server_tls_sslmode": "disable", **tls_settings(certs, mode),
                         **settings})
    return make


def raw_end(sock):
    """All bytes up to the end, which must come."""
    out = b""
    while True:
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return out
        out += data


# --- 16: stuffed behind the client's request --------------------------------

STUFFED = {
    "startup": wire.startup("u_trust", "db") + wire.query("SELECT 'stuffed'"),
    "cancel": wire.cancel_request(b"\0" * 8),
    "request": wire.startup_packet(wire.SSL_REQUEST) + wire.startup("u_trust", "db"),
    "hello": b"\x16\x03\x01\x00\x05hello" + wire.startup("u_trust", "db"),
}


@pytest.mark.parametrize("mode", ["allow", "require", "disable"])
@pytest.mark.parametrize("code", [wire.SSL_REQUEST, wire.GSSENC_REQUEST], ids=["ssl", "gss"])
def test_row_16_stuffed_in_every_split(secure, pg, mode, code):
    """Cut anywhere: before the answer the bytes end the login; behind an S they are no TLS and end it, too."""
    p = secure(mode)
    with undisturbed(p, pg) if mode != "require" else undisturbed_over_unix(p, pg):
        for stuffed in STUFFED.values():
            whole = wire.startup_packet(code) + stuffed
            for cut in [1, 4, 7, 8, 9, 10, 12, 16, len(whole) - 1, len(whole)]:
                push(p, whole, cut)


def push(p, whole, cut):
    with p.wire() as c:
        # What was refused may be cut short by the reset that follows.
        answer = b""
        try:
            c.sock.sendall(whole[:cut])
            if cut == 8:
                # The answer is there, so these bytes come behind it for certain.
                answer = c.take(1)
            c.sock.sendall(whole[cut:])
        except OSError:
            pass
        if answer == b"N":
            # In the clear, and said so: this is an ordinary login.
            return
        try:
            c.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        came = answer + raw_end(c.sock)
        assert b"stuffed" not in came and b"\0server_version\0" not in came, came
        assert not came or came[:1] in b"SNE\x15", came


def undisturbed_over_unix(p, pg):
    """Unix clients need no TLS, so that the bystander can say what it sees."""
    class OverUnix:
        def __getattr__(self, name):
            return getattr(p, name)

        def login(self, *args, **params):
            return p.login(*args, host=p.dir, **params)
    return undisturbed(OverUnix(), pg)


def test_row_16_plain_bytes_between_records(secure, pg):
    """In the middle of a handshake, and behind it."""
    p = secure()
    stuffed = STUFFED["startup"]
    with undisturbed(p, pg):
        for after in range(3):
            with p.wire() as c:
                assert c.ssl_request() == b"S"
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = context.wrap_bio(incoming, outgoing)
                flights = 0
                while flights < after:
                    try:
                        tls.do_handshake()
                        c.sock.sendall(outgoing.read())
                        break
                    except ssl.SSLWantReadError:
                        c.sock.sendall(outgoing.read())
                        flights += 1
                        if flights < after:
                            incoming.write(c.sock.recv(65536))
                try:
                    c.sock.sendall(stuffed)
                    c.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                assert b"stuffed" not in raw_end(c.sock)


# --- 17, 18: a server that answers oddly ------------------------------------

def signed_in():
    """What an attacker in between would like to have taken for the server's own words."""
    return (fakeserver.auth(0) + fakeserver.param("server_version", "15.0") + fakeserver.param("stuffed", "yes")
            + fakeserver.ready())


def honest(peer):
    peer.read_startup()
    peer.welcome()
    peer.serve()


def all_refused(p, names):
    """Clients of all these databases at once, since each waits for its pool's second attempt; what they are told."""
    waiting, told = [], []
    for name in names:
        c = p.wire()
        c.send(wire.startup("u_trust", name))
        waiting.append(c)
    for c in waiting:
        came = drain(c)
        never_let_in(came)
        told += [wire.fields_of(m.body)["M"] for m in came if m.type == b"E"]
        c.close()
    return told


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_row_17_stuffed_by_a_server(pooler, fake, mode):
    """S, and behind it what only an encrypted server may say; in two parts, cut anywhere."""
    whole = b"S" + signed_in()

    def stuffing(cut):
        def script(peer):
            peer.take(8)
            peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.send(whole[:cut])
            if cut == 1:
                # Behind the ClientHello, so certainly after the S was taken.
                peer.take(5)
            peer.send(whole[cut:])
            peer.wait_gone()
        return script
    cuts = {"cut%d" % cut: fake(stuffing(cut)).entry() for cut in (1, 2, 5, 9, 14, 1000)}
    p = pooler(databases={**cuts, "other": fake(honest).entry()}, users={"u_trust": ""},
               server_tls_sslmode="prefer", query_wait_timeout=1)
    if mode == "require":
        p.reload(server_tls_sslmode="require")
        all_refused(p, cuts)
    else:
        with undisturbed(p, None, db="other"):
            all_refused(p, cuts)
    assert p.logged("received unencrypted data after SSL response") and "stuffed" not in p.log()


ANSWERS = {"E": b"E", "NUL": b"\0", "n": b"n", "s": b"s", "record": b"\x16", "alert": b"\x15\x03\x01\0\x02\x02\x28",
           "long": fakeserver.error("x" * 300000), "error": fakeserver.error("short"), "junk": b"Sx", "twice": b"NN"}


def test_row_18_no_answer_to_the_request(pooler, fake):
    """One byte decides, and nothing of an error that anybody may have written is shown to a client."""
    def saying(answer):
        def script(peer):
            peer.take(8)
            peer.send(answer)
            peer.wait_gone()
        return script
    odd = {name: fake(saying(answer)).entry() for name, answer in ANSWERS.items()}
    p = pooler(databases={**odd, "other": fake(honest).entry()}, users={"u_trust": ""}, server_tls_sslmode="prefer",
               query_wait_timeout=1)
    with undisturbed(p, None, db="other"):
        for text in all_refused(p, odd):
            assert "xxx" not in text and "short" not in text
    assert p.logged("bad sslreq answer") and p.logged("received unencrypted data after SSL response")


# --- 19: oddities of the handshake ------------------------------------------

ALPN = [(None, True), (["postgresql"], True), (["h2", "http/1.1", "postgresql"], True), (["h2"], False),
        (["postgresq"], False), (["postgresql2"], False), (["POSTGRESQL"], False), (["x" * 255] * 20, False)]


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "asked"])
def test_row_19_alpn_and_server_names(secure, pg, direct):
    """A list without our protocol is refused, none at all is fine; any name will do."""
    p = secure()
    with undisturbed(p, pg):
        for alpn, works in ALPN:
            with p.wire() as c:
                if works:
                    c.tls(direct=direct, alpn=alpn)
                    assert c.sock.selected_alpn_protocol() == ("postgresql" if alpn else None)
                    assert c.login("u_trust", "db").value("SELECT 1") == "1"
                else:
                    with pytest.raises((ssl.SSLError, OSError)):
                        c.tls(direct=direct, alpn=alpn)
        for name in ("no.such.name.example", "x" * 63 + ".example", "127.0.0.1", None, "a"):
            with p.wire() as c:
                c.tls(direct=direct, hostname=name)
                assert c.login("u_trust", "db").value("SELECT 1") == "1"


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")
@pytest.mark.parametrize("times", [1, 100])
def test_row_19_renegotiation(secure, pg, times):
    """Asked for by the client of a TLS 1.2 connection: refused, however often."""
    p = secure(client_tls_protocols="tlsv1.2", client_login_timeout=5)
    with undisturbed(p, pg):
        run = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % p.port, "-starttls", "postgres",
                              "-tls1_2", "-legacy_renegotiation"], input=b"R\n" * times, capture_output=True,
                             timeout=env.PATIENCE, check=False)
        text = run.stdout + run.stderr
        assert b"RENEGOTIATING" in text and b"TLSv1.2" in text, text[-2000:]
        assert text.count(b"RENEGOTIATING") <= times
        assert b"no renegotiation" in text or b"handshake failure" in text or b"unexpected" in text, text[-2000:]


@pytest.mark.parametrize("mode", ["disable", "allow"])
def test_row_19_requests_again(secure, pg, mode):
    """Without TLS each is answered N, inside TLS a further one ends the connection."""
    ssl_, gss = wire.SSL_REQUEST, wire.GSSENC_REQUEST
    p = secure(mode)
    with undisturbed(p, pg):
        for requests in ((ssl_, ssl_), (gss, ssl_, ssl_), (gss, gss, ssl_), (ssl_, gss, ssl_)):
            if mode == "disable":
                with p.wire() as c:
                    for code in requests:
                        assert c.ssl_request(code) == b"N"
                    assert c.login("u_trust", "db").value("SELECT 1") == "1"
                continue
            for inside in (ssl_, gss):
                with p.wire() as c:
                    for code in requests:
                        if code == ssl_:
                            c.tls()
                            break
                        assert c.ssl_request(code) == b"N"
                    never_let_in(attempt(c, wire.startup_packet(inside), wire.startup("u_trust", "db")))


def test_row_19_hellos_cut_short(secure, pg):
    """A handshake that stops anywhere is gone when its client is."""
    p = secure()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    with undisturbed(p, pg):
        for direct in (True, False):
            for cut in (1, 4, 5, 6, 9, 43, len(hello) // 2, len(hello) - 1, len(hello)):
                with p.wire() as c:
                    if not direct:
                        assert c.ssl_request() == b"S"
                    c.sock.sendall(hello[:cut])
                    if cut % 2:
                        c.reset()
