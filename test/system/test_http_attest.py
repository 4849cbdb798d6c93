"""/attestation, against stand-ins that speak the platforms' documented protocols."""
import hashlib
import json
import ssl
import threading

import pytest
from harness import env
from harness.http import Platform, get, ok

pytestmark = pytest.mark.ours

NONCE = "0123456789abcdef-_XY"
CONFIDENTIAL_SPACE = "eigencompute"


@pytest.fixture
def platform():
    made = []

    def make(reply):
        made.append(Platform(reply))
        return made[-1]
    yield make
    for p in made:
        p.close()


@pytest.fixture
def served(pooler, pg, certs):
    def make(kind, where, **settings):
        port = env.free_port()
        p = pooler(**{**dict(databases={"db": pg.entry()}, users={"u_trust": ""}, http_listen="127.0.0.1:%d" % port,
                             http_attestation=kind, http_attestation_socket=where, client_tls_sslmode="allow",
                             client_tls_key_file=certs.key("server"), client_tls_cert_file=certs.crt("server")), **settings})
        p.http = port
        return p
    return make


def fingerprint(path):
    with open(path) as f:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(f.read())).digest()


def report(certificate, nonce=NONCE):
    return hashlib.sha512(b"pg-ecdsa-proxy attestation 1\0" + certificate + nonce.encode()).hexdigest()


def test_a_token_repeats_nonce_and_certificate(served, platform, certs):
    t = platform(lambda path, document: ok("eyJ0.token." + ".".join(document["nonces"])))
    p = served(CONFIDENTIAL_SPACE, t.path)
    a = get(p.http, "/attestation?nonce=" + NONCE)
    seen = fingerprint(certs.crt("server"))
    assert a.code == 200
    assert t.asked == [("/v1/token", {"audience": "pg-ecdsa-proxy", "token_type": "OIDC", "nonces": [NONCE, seen.hex()]})]
    assert a.json == {"platform": CONFIDENTIAL_SPACE, "nonce": NONCE, "certificate_sha256": seen.hex(),
                      "report_data": report(seen), "evidence": "eyJ0.token.%s.%s" % (NONCE, seen.hex())}


def test_a_quote_carries_the_report(served, platform, certs):
    t = platform(lambda path, document: ok(json.dumps({"quote": "00" + document["report_data"], "event_log": "[\"x\"]"})))
    p = served("dstack", t.path)
    a = get(p.http, "/attestation?nonce=" + NONCE).json
    want = report(fingerprint(certs.crt("server")))
    assert t.asked == [("/GetQuote", {"report_data": want})]
    assert a["platform"] == "dstack" and a["report_data"] == want
    assert json.loads(a["evidence"])["quote"] == "00" + want


def test_the_certificate_is_the_one_in_force(served, platform, certs):
    t = platform(lambda path, document: ok("{}"))
    p = served("dstack", t.path)
    p.reload(client_tls_key_file=certs.key("elsewhere"), client_tls_cert_file=certs.crt("elsewhere"))
    assert get(p.http, "/attestation?nonce=" + NONCE).json["certificate_sha256"] == fingerprint(certs.crt("elsewhere")).hex()
    # A file that cannot be used leaves the old one in force, here as well.
    with pytest.raises(Exception):
        p.reload(client_tls_cert_file="/nowhere")
    assert get(p.http, "/attestation?nonce=" + NONCE).json["certificate_sha256"] == fingerprint(certs.crt("elsewhere")).hex()


def test_without_tls_there_is_no_certificate(served, platform):
    t = platform(lambda path, document: ok("{}"))
    p = served(CONFIDENTIAL_SPACE, t.path, client_tls_sslmode="disable")
    a = get(p.http, "/attestation?nonce=" + NONCE).json
    assert a["certificate_sha256"] is None and a["report_data"] == report(b"")
    assert t.asked[0][1]["nonces"] == [NONCE]


@pytest.mark.parametrize("nonce", ["", "short", "x" * 65, "0123456789abcdef%00", "0123456789abcde%22", "0123456789%0Aabcdef", None])
def test_nonces_that_are_none(served, platform, nonce):
    t = platform(lambda path, document: ok("{}"))
    p = served("dstack", t.path)
    a = get(p.http, "/attestation" + ("" if nonce is None else "?nonce=" + nonce))
    assert a.code == 400 and "nonce" in a.json["error"] and t.asked == []


def test_off_and_out_of_reach(served):
    p = served("", "")
    assert get(p.http, "/attestation?nonce=" + NONCE).code == 404
    p.reload(http_attestation="auto")
    assert get(p.http, "/attestation?nonce=" + NONCE).code == 404
    p.reload(http_attestation="dstack", http_attestation_socket="/nowhere/socket")
    a = get(p.http, "/attestation?nonce=" + NONCE)
    assert a.code == 502 and a.json == {"error": "the platform gave no evidence"}
    p.wait_log("attestation: cannot connect to the platform's socket")


@pytest.mark.parametrize("reply", [b"", b"nonsense\r\n\r\n", b"HTTP/1.0 500 No\r\n\r\nsecret words", b"HTTP/1.0 200 OK\r\n",
                                   b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 400000], ids=["empty", "no-http", "refused", "no-body", "too-long"])
def test_answers_that_are_none(served, platform, reply):
    p = served("dstack", platform(lambda path, document: reply).path)
    a = get(p.http, "/attestation?nonce=" + NONCE)
    assert a.code == 502 and "secret" not in a.text
    assert "secret words" not in p.log()


def test_a_platform_that_is_slow_holds_up_nobody_else(served, platform):
    go_on = threading.Event()
    p = served("dstack", platform(lambda path, document: go_on.wait(env.PATIENCE) and ok("{}")).path)
    codes = []

    def ask():
        codes.append(get(p.http, "/attestation?nonce=" + NONCE).code)
    threads = [threading.Thread(target=ask) for _ in range(12)]
    for t in threads:
        t.start()
    # More than eight at once are turned away.
    env.wait_for(lambda: len(codes) == 4, "the surplus to be refused")
    assert codes == [503] * 4
    assert get(p.http, "/livez").code == 200 and get(p.http, "/metrics").code == 200
    p.login("u_trust").close()
    go_on.set()
    for t in threads:
        t.join()
    assert codes[4:] == [200] * 8


def test_shutdown_does_not_wait_for_a_platform(served, platform):
    go_on = threading.Event()
    t = platform(lambda path, document: go_on.wait(env.PATIENCE) and ok("{}"))
    p = served("dstack", t.path)

    def ask():
        with pytest.raises(OSError):
            get(p.http, "/attestation?nonce=" + NONCE)
    asker = threading.Thread(target=ask)
    asker.start()
    env.wait_for(lambda: t.asked, "the platform to be asked")
    p.expected_exit = 0
    p.process.terminate()
    p.wait_exit()
    asker.join()
    go_on.set()


def test_unknown_platform(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, http_attestation="sgx", start=False)
    p.expected_exit = 1
    p.spawn()
    p.wait_exit(1)
    assert "http_attestation: unknown platform sgx, expected eigencompute, dstack or auto" in p.log()
