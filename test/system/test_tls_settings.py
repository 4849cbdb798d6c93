"""Settings of TLS: lists of protocols, and what does not go together. Configuration specification, sections 4.1, 4.2."""
import os
import re
import subprocess

import pytest
from harness import env

pytestmark = pytest.mark.ours
VERSIONS = ("-tls1", "-tls1_1", "-tls1_2", "-tls1_3")


def offers(port, version):
    """Does a client that knows this version alone get through the handshake?"""
    out = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-starttls", "postgres", version,
                          "-cipher", "ALL:@SECLEVEL=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=env.PATIENCE).stdout
    return "BEGIN CERTIFICATE" in out and "Cipher is (NONE)" not in out


@pytest.fixture
def secure(pooler, certs):
    def make(**settings):
        return pooler(**{**dict(client_tls_sslmode="require", client_tls_key_file=certs.key("server"),
                                client_tls_cert_file=certs.crt("server"), client_tls_ca_file=certs.crt("ca")), **settings})
    return make


def test_protocol_lists(secure):
    """0 to 3 are the versions of TLS 1; by RELOAD from one to the next."""
    p = secure()
    for value, works in (("all", "0123"), ("secure", "23"), ("tlsv1.0", "0"), ("TLSv1.1:tlsv1.0", "01"),
                         ("tlsv1,!tlsv1.0", "123"), ("!tlsv1.3", "012"), ("tlsv1.1, tlsv1.3", "13"), ("  DEFAULT,tlsv1.1", "123")):
        p.reload(client_tls_protocols=value)
        assert "".join(str(i) for i, v in enumerate(VERSIONS) if offers(p.port, v)) == works, value


BOTH = "To allow TLS connections from clients, client_tls_key_file and client_tls_cert_file must be set."
WRONG = [
    (dict(client_tls_key_file=None), BOTH), (dict(client_tls_cert_file=""), BOTH),
    (dict(auth_type="cert"), "auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL"),
    (dict(auth_type="cert", client_tls_sslmode="disable"), "auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL"),
    (dict(auth_type="cert", client_tls_sslmode="verify-full", client_tls_ca_file=""), "auth_type=cert requires client_tls_ca_file"),
    (dict(client_tls_sslmode="verify-full", client_tls_ca_file=None), "client_tls_sslmode requires client_tls_ca_file"),
    (dict(client_tls_protocols="tlsv9"), "invalid client_tls_protocols: tlsv9"),
    (dict(client_tls_protocols="secure,,"), "invalid client_tls_protocols: secure,,"),
    (dict(client_tls_protocols="!all"), "invalid client_tls_protocols: !all"),
    (dict(client_tls_ciphers="nonsense"), "invalid client_tls_ciphers: nonsense"),
    (dict(client_tls_dheparams="nonsense"), "invalid client_tls_dheparams: nonsense"),
    (dict(client_tls_ecdhcurve="nonsense"), "invalid client_tls_ecdhecurve: nonsense"),
    (dict(client_tls13_ciphers="nonsense"), "TLS setup failed: failed to set the TLSv1.3 cipher suites"),
    (dict(server_tls_protocols="tlsv9"), "invalid server_tls_protocols: tlsv9"),
    (dict(server_tls_ciphers="nonsense"), "invalid server_tls_ciphers: nonsense"),
    (dict(server_tls13_ciphers="nonsense"), "TLS setup failed: failed to set the TLSv1.3 cipher suites"),
] + [({"client_tls_%s_file" % kind: "/nonexistent"}, r"TLS setup failed:[^\n]*No such file or directory")
     for kind in ("key", "cert", "ca")]


@pytest.mark.parametrize("settings, why", WRONG, ids=["%s-%d" % (",".join(s), i) for i, (s, _) in enumerate(WRONG)])
def test_a_start_with_wrong_settings(secure, settings, why):
    p = secure(start=False, **settings)
    p.spawn()
    p.wait_exit(1)
    text = why if "[^" in why else re.escape(why) + "$"
    lines = re.findall(r" (ERROR|FATAL) (.*)", p.log())
    assert [level for level, _ in lines] == ["ERROR", "FATAL"], p.log()
    assert re.search(text, lines[0][1]) and lines[1][1] == "TLS setup failed"


@pytest.mark.parametrize("settings", [dict(client_tls_dheparams="NONE"), dict(client_tls_dheparams="legacy"),
                                      dict(client_tls_ecdhcurve="none"), dict(client_tls_ecdhcurve="prime256v1"),
                                      dict(client_tls_ciphers="fast"), dict(client_tls_ciphers="Secure"),
                                      dict(client_tls_ciphers="normal"), dict(client_tls_ciphers="HIGH:!aNULL"),
                                      dict(client_tls_ciphers=""), dict(client_tls13_ciphers=""),
                                      dict(client_tls_sslmode="PREFER", client_tls_protocols="default")],
                         ids=lambda s: ",".join("%s=%s" % i for i in s.items()))
def test_words_that_are_right(secure, settings):
    p = secure(**settings)
    assert offers(p.port, "-tls1_2") and not p.logged("ERROR|WARNING")


@pytest.mark.parametrize("side", ["client", "server"])
def test_what_is_off_is_not_looked_at(secure, side):
    p = secure(**{side + "_tls_sslmode": "disable", side + "_tls_protocols": "nonsense", side + "_tls_ciphers": "nonsense",
                  side + "_tls_key_file": "/nonexistent"})
    assert offers(p.port, "-tls1_3") == (side == "server")


def test_key_with_a_pass_phrase(secure, certs):
    """A daemon asks nobody."""
    path = os.path.join(env.make_dir(), "key")
    env.run(["openssl", "pkey", "-in", certs.key("server"), "-aes128", "-passout", "pass:secret", "-out", path])
    env.own(path)
    p = secure(start=False, client_tls_key_file=path)
    p.spawn()
    p.wait_exit(1)
    assert re.search('ERROR TLS setup failed: failed to load private key file "%s": ' % path, p.log())
    os.unlink(path)
