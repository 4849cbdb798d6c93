"""TLS on both sides."""
import ssl

import psycopg
import pytest
from harness import env, fakeserver, wire
from harness.wire import Closed, PgError

ours = pytest.mark.ours


@pytest.fixture
def secure(pooler, pg, certs):
    """A pooler with client TLS."""
    def make(mode="allow", **settings):
        base = dict(client_tls_sslmode=mode, client_tls_key_file=certs.key("server"),
                    client_tls_cert_file=certs.crt("server"), client_tls_ca_file=certs.crt("ca"))
        base.update(settings)
        return pooler(**{"databases": {"db": pg.entry()}, "users": {"u_trust": "", "u_cert": ""}, **base})
    return make


def tls_login(p, **how):
    c = p.wire()
    try:
        c.tls(**how)
        return c.login("u_trust", "db")
    except BaseException:
        c.close()
        raise


# --- clients ----------------------------------------------------------------

@pytest.mark.parametrize("mode, plain, tls", [("disable", True, False), ("allow", True, True), ("prefer", True, True),
                                              ("require", False, True)])
def test_client_modes(secure, mode, plain, tls):
    p = secure(mode)
    if plain:
        p.login().close()
    else:
        with pytest.raises(PgError) as e:
            p.login()
        assert (e.value.severity, e.value.code, e.value.text) == ("FATAL", "08P01", "SSL required")
    with p.wire() as c:
        if tls:
            c.tls()
            c.login("u_trust", "db")
            assert c.value("SELECT 1") == "1"
            p.wait_log(r"login attempt: db=db user=u_trust tls=TLSv1\.3/")
            row = [r for r in p.show("CLIENTS") if r["database"] == "db"][0]
            assert row["tls"].startswith("TLSv1.3/")
        else:
            assert c.ssl_request() == b"N"
            c.login("u_trust", "db")


def test_unix_clients_are_exempt(secure):
    p = secure("require")
    with p.login(host=p.dir) as c:
        assert c.value("SELECT 1") == "1"
    with p.wire(p.dir) as c:
        assert c.ssl_request() == b"N"


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_client_certificate(secure, certs, mode):
    p = secure(mode)
    pair = lambda name: (certs.crt(name), certs.path(name + ".mine.key"))
    tls_login(p, cert=pair("client")).close()
    for cert in (None, pair("wrongclient")):
        with pytest.raises((ssl.SSLError, Closed, OSError, PgError)):
            c = tls_login(p, cert=cert)
            c.value("SELECT 1")
    p.wait_log("TLS handshake error: .*")
    with pytest.raises(PgError):
        p.login()


def test_verified_certificate_is_wanted_even_if_optional(secure, certs):
    p = secure("require")
    tls_login(p).close()
    with pytest.raises((ssl.SSLError, Closed, OSError)):
        tls_login(p, cert=(certs.crt("wrongclient"), certs.path("wrongclient.mine.key"))).value("SELECT 1")
    p.wait_log("certificate verify failed")


def test_client_checks_us(secure, certs):
    p = secure()
    with psycopg.connect(p.conninfo(sslmode="verify-full", sslrootcert=certs.crt("ca"), host="localhost",
                                    hostaddr="127.0.0.1")) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        psycopg.connect(p.conninfo(sslmode="verify-ca", sslrootcert=certs.crt("otherca")))


@ours
@pytest.mark.parametrize("alpn, works", [(["postgresql"], True), (["h2", "postgresql"], True), (None, True),
                                         (["h2"], False)])
def test_row_19_direct_tls(secure, alpn, works):
    """Row 19."""
    p = secure()
    with p.wire() as c:
        if works:
            c.tls(direct=True, alpn=alpn)
            assert c.sock.selected_alpn_protocol() == ("postgresql" if alpn else None)
            c.login("u_trust", "db")
            assert c.value("SELECT 1") == "1"
        else:
            with pytest.raises((ssl.SSLError, OSError)):
                c.tls(direct=True, alpn=alpn)
    with p.wire() as c:
        assert c.ssl_request() == b"S"
    p.login().close()


@ours
@pytest.mark.parametrize("what", ["junk", "startup", "hello"])
def test_row_16_plain_bytes_after_the_request(secure, what):
    """Row 16: what came in the clear is never taken for what came encrypted."""
    p = secure()
    stuffed = {"junk": b"x" * 20, "startup": wire.startup("u_trust", "db"), "hello": b"\x16\x03\x01"}[what]
    with p.wire() as c:
        c.send(wire.startup_packet(wire.SSL_REQUEST) + stuffed)
        if c.take(1) == b"S":
            c.take(1)
        c.buf[:0] = b"E"
        assert c.expect_error().text == "received unencrypted data after SSL request"


def test_request_inside_tls(secure):
    p = secure()
    with p.wire() as c:
        c.tls()
        c.send(wire.startup_packet(wire.SSL_REQUEST))
        with pytest.raises((Closed, OSError)):
            while True:
                c.recv()


@pytest.mark.parametrize("junk", [b"x" * 400, b"\x16\x03\x01\xff\xff" + b"\0" * 100, b"\x16", b""],
                         ids=["text", "record", "one-byte", "nothing"])
def test_broken_handshake(secure, junk):
    p = secure(client_login_timeout=3)
    with p.wire() as c:
        assert c.ssl_request() == b"S"
        if junk:
            c.send(junk)
        c.sock.shutdown(1)
        try:
            while True:
                c.take(1)
        except (Closed, OSError):
            pass
    tls_login(p).close()


def test_row_19_unknown_server_name_does_not_matter(secure):
    """Row 19."""
    tls_login(secure(), hostname="no.such.name.example").close()


def test_close_without_notify_is_quiet(secure):
    p = secure()
    c = tls_login(p)
    assert c.value("SELECT 1") == "1"
    c.sock.shutdown(2)
    c.close()
    p.wait_log("closing because: client unexpected eof")
    if not env.ORACLE:
        assert "unexpected eof while reading" not in p.log()
        assert "WARNING" not in p.log()


def test_old_versions_can_be_asked_for(secure):
    p = secure(client_tls_protocols="tlsv1.2")
    with p.wire() as c:
        c.tls()
        assert c.sock.version() == "TLSv1.2"
    p.reload(client_tls_protocols="tlsv1.3")
    with p.wire() as c:
        c.tls()
        assert c.sock.version() == "TLSv1.3"
    p.reload(client_tls_protocols="tlsv1.0")


@ours
@pytest.mark.parametrize("setting, value, text", [
    ("client_tls_protocols", "tlsv9", "invalid client_tls_protocols: tlsv9"),
    ("client_tls_ciphers", "no-such-cipher", "invalid client_tls_ciphers: no-such-cipher|TLS setup failed"),
    ("client_tls_cert_file", "/nonexistent", "No such file or directory"),
    ("client_tls_key_file", "", "To allow TLS connections from clients, client_tls_key_file and "
     "client_tls_cert_file must be set."),
    ("client_tls13_ciphers", "nonsense", "failed to set the TLSv1.3 cipher suites"),
])
def test_bad_tls_settings(secure, setting, value, text):
    """At start fatal; at reload the old set-up stays in force."""
    p = secure("require")
    tls_login(p).close()
    with pytest.raises(PgError) as e:
        p.reload(**{setting: value})
    assert e.value.code == "F0000"
    p.wait_log(text)
    p.wait_log("TLS configuration could not be reloaded, keeping old configuration")
    tls_login(p).close()
    other = secure("require", **{setting: value, "start": False})
    other.spawn()
    other.wait_exit(1)
    other.wait_log("FATAL.*TLS setup failed")


def test_switched_on_and_off_by_reload(secure):
    p = secure("disable")
    plain = p.login()
    p.reload(client_tls_sslmode="require")
    c = tls_login(p)
    with pytest.raises(PgError):
        p.login()
    assert plain.value("SELECT 1") == "1"
    p.reload(client_tls_sslmode="disable")
    p.login().close()
    assert c.value("SELECT 2") == "2"


def test_new_certificate_by_reload(secure, certs):
    p = secure()
    p.reload(client_tls_key_file=certs.key("impostor"), client_tls_cert_file=certs.crt("impostor"))
    tls_login(p, ca=certs.crt("otherca")).close()
    with pytest.raises(ssl.SSLError):
        tls_login(p, ca=certs.crt("ca"))


def test_large_data_over_tls(secure):
    p = secure()
    with tls_login(p) as c:
        assert len(c.value("SELECT repeat('x', 5000000)")) == 5000000
        assert c.value("SELECT length('%s')" % ("y" * 3000000)) == "3000000"
    with tls_login(p) as c:
        for n in (1, 4095, 4096, 4097, 16383, 16384, 16385, 65536):
            assert len(c.value("SELECT repeat('x', %d)" % n)) == n


def test_pieces_of_one_byte_inside_tls(secure):
    with tls_login(secure()) as c:
        c.send_pieces(wire.query("SELECT 11"))
        assert c.until_ready().value() == "11"


# --- servers ----------------------------------------------------------------

@pytest.mark.parametrize("mode, tls", [("disable", False), ("allow", True), ("prefer", True), ("require", True),
                                       ("verify-ca", True), ("verify-full", True)])
def test_server_modes(pooler, pg, certs, mode, tls):
    p = pooler(databases={"db": pg.entry().replace("host=127.0.0.1", "host=localhost")}, users={"u_trust": ""},
               server_tls_sslmode=mode, server_tls_ca_file=certs.crt("ca"))
    with p.login() as c:
        assert c.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == ("t" if tls else "f")
        row = p.show("SERVERS")[0]
        assert row["tls"].startswith("TLSv1.3/") if tls else row["tls"] == ""
        if tls:
            p.wait_log("SSL established: TLSv1.3/")


@ours
def test_name_of_a_host_list_is_verified(pooler, pg, certs):
    """The whole item of the list is the name."""
    entry = pg.entry().replace("host=127.0.0.1", "host='localhost, 127.0.0.1,localhost'")
    p = pooler(databases={"db": entry}, users={"u_trust": ""}, server_tls_sslmode="verify-full",
               server_tls_ca_file=certs.crt("ca"))
    clients = [p.login() for _ in range(3)]
    assert len({c.pid() for c in clients}) == 3
    assert not p.logged("TLS handshake error")


@ours
def test_server_tls_is_preferred_by_default(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""})
    with p.login() as c:
        assert c.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"


@pytest.mark.parametrize("mode, ca, works", [("require", "otherca", True), ("verify-ca", "otherca", False),
                                             ("verify-full", "otherca", False)])
def test_server_of_another_authority(pooler, pg, certs, mode, ca, works):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, server_tls_sslmode=mode,
               server_tls_ca_file=certs.crt(ca), client_login_timeout=2)
    if works:
        # With a CA file the chain is checked by verify-* only.
        p.login().close()
        return
    with pytest.raises(PgError):
        p.login()
    p.wait_log("TLS handshake error: .*certificate verify failed")
    p.wait_log(r"closing because: server conn crashed\?")


@pytest.mark.parametrize("mode, works", [("verify-ca", True), ("verify-full", False)])
def test_server_of_another_name(pooler, own_pg, certs, mode, works):
    own_pg.sql("ALTER SYSTEM SET ssl_cert_file = '%s'" % certs.crt("elsewhere"),
               "ALTER SYSTEM SET ssl_key_file = '%s'" % certs.key("elsewhere"), "SELECT pg_reload_conf()")
    p = pooler(databases={"db": own_pg.entry()}, users={"u_trust": ""}, server_tls_sslmode=mode,
               server_tls_ca_file=certs.crt("ca"), client_login_timeout=2)
    if works:
        p.login().close()
    else:
        with pytest.raises(PgError):
            p.login()
        p.wait_log("TLS handshake error")


def test_certificate_for_the_server(pooler, pg, certs):
    p = pooler(databases={"db": pg.entry(user="u_cert")}, users={"u_trust": "", "u_cert": ""},
               server_tls_sslmode="require", server_tls_key_file=certs.key("client"),
               server_tls_cert_file=certs.crt("client"))
    with p.login() as c:
        assert c.value("SELECT current_user") == "u_cert"


@pytest.mark.parametrize("mode, works", [("prefer", True), ("allow", True), ("require", False), ("verify-full", False)])
def test_server_without_tls(pooler, fake, mode, works):
    def script(peer):
        if peer.read_startup():
            peer.welcome()
            peer.serve()
    server = fake(script)
    p = pooler(databases={"db": server.entry()}, users={"u_trust": ""}, server_tls_sslmode=mode,
               client_login_timeout=2)
    if works:
        with p.login() as c:
            assert c.value("SELECT 1") == "SELECT 1"
    else:
        with pytest.raises(PgError):
            p.login()
        p.wait_log("server refused SSL")


@ours
@pytest.mark.parametrize("answer, reason", [
    pytest.param(b"SE" + b"x" * 30, "received unencrypted data after SSL response", id="row-17-stuffed"),
    pytest.param(b"NR\0\0\0\x08\0\0\0\0", "received unencrypted data after SSL response", id="row-17-after-N"),
    pytest.param(fakeserver.error("x" * 100000), "bad sslreq answer", id="row-18-long-error"),
    pytest.param(b"Q", "bad sslreq answer", id="other"),
])
def test_answers_to_the_servers_ssl_request(pooler, fake, answer, reason):
    def script(peer):
        peer.take(8)
        peer.send(answer)
        peer.wait_gone()
    server = fake(script)
    p = pooler(databases={"db": server.entry()}, users={"u_trust": ""}, server_tls_sslmode="prefer",
               client_login_timeout=2)
    with pytest.raises(PgError):
        p.login()
    p.wait_log("closing because: " + reason)


@ours
def test_changed_server_tls_reconnects(pooler, pg, certs):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction",
               server_tls_sslmode="require")
    c = p.login()
    first = c.pid()
    p.admin("RELOAD")
    assert c.pid() == first
    p.reload(server_tls_sslmode="verify-ca", server_tls_ca_file=certs.crt("ca"))
    assert c.pid() != first
