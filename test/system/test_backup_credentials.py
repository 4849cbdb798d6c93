"""Where the access keys come from (specification 10.9): files, the environment, metadata services, STS."""
import datetime
import http.server
import json
import os
import threading
import urllib.parse

import pytest
from harness import env
from harness.nulls3 import NullS3
from harness.store import Store

STATIC, FILE, CONTAINER, IMDS, WEB_IDENTITY, AUTO = range(6)
NOTHING = {name: "" for name in (
    "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_DISABLED",
    "AWS_ENDPOINT_URL_STS")}


def in_seconds(n):
    return (datetime.datetime.utcnow() + datetime.timedelta(seconds=n)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Service:
    """Answers by a function(method, path, headers, body) -> status, text."""

    def __init__(self, answer):
        self.asked = []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                service.asked.append((self.command, self.path, dict(self.headers), body))
                status, text = answer(self.command, self.path, self.headers, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_PUT = do_POST = do_any

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def service():
    made = []

    def make(answer):
        made.append(Service(answer))
        return made[-1]

    yield make
    for s in made:
        s.close()


class Signed(NullS3):
    """Keeps who has signed the requests; may refuse an old token."""
    refused = ()

    def __init__(self):
        super().__init__()
        self.signed = []

    def _answer(self, sock, method, target, headers, body):
        key = headers["authorization"].split("Credential=")[1].split("/")[0]
        self.signed.append((key, headers.get("x-amz-security-token")))
        if key in self.refused:
            self._send(sock, 400, body=b"<Error><Code>ExpiredToken</Code><Message>old</Message></Error>")
        else:
            super()._answer(sock, method, target, headers, body)


@pytest.fixture
def s3():
    server = Signed()
    yield server
    server.close()


def ask(s3, source, environ, times=1, **settings):
    s = Store(environ={**NOTHING, "HOME": "/nonexistent", **environ},
              **{**s3.settings(access_key=None, secret_key=None, credentials=source), **settings})
    answers = [s.list(prefix="x/") for _ in range(times)] if s.opened["result"] == "ok" else [s.opened]
    s.close()
    return answers[-1]


def write(scratch, name, text):
    return env.write(os.path.join(scratch, name), text)


SHARED = """
# a comment = with an equals sign
[default]
aws_access_key_id = DEFAULTKEY
aws_secret_access_key=secret/with+signs=
s3 =
  max_concurrent_requests = 20

[ other ]
aws_access_key_id= OTHERKEY
aws_secret_access_key =  s
aws_session_token = token==
"""


@pytest.mark.parametrize("profile, signed", [("", ("DEFAULTKEY", None)), ("other", ("OTHERKEY", "token=="))])
@pytest.mark.parametrize("source", [FILE, AUTO], ids=["file", "auto"])
def test_the_shared_credentials_file(s3, scratch, source, profile, signed):
    path = write(scratch, "credentials-%d" % s3.port, SHARED)
    assert ask(s3, source, {"AWS_SHARED_CREDENTIALS_FILE": path, "AWS_PROFILE": profile})["result"] == "ok"
    assert s3.signed == [signed]


@pytest.mark.parametrize("environ, says", [
    ({}, "credentials file"),
    ({"AWS_SHARED_CREDENTIALS_FILE": "/no/such/file"}, "/no/such/file"),
    ({"AWS_PROFILE": "missing"}, "[missing]"),
])
def test_a_file_without_keys_is_a_refusal(s3, scratch, environ, says):
    if "AWS_PROFILE" in environ:
        environ = {**environ, "AWS_SHARED_CREDENTIALS_FILE": write(scratch, "c-%d" % s3.port, SHARED)}
    answer = ask(s3, FILE, environ)
    assert (answer["result"], answer["code"]) == ("denied", "credentials") and says in answer["message"]
    assert s3.signed == []


def test_a_file_is_read_again_when_its_token_has_expired(s3, scratch):
    path = write(scratch, "again-%d" % s3.port, SHARED.replace("DEFAULTKEY", "OLDKEY"))
    s3.refused = ("OLDKEY",)
    s = Store(environ={**NOTHING, "AWS_SHARED_CREDENTIALS_FILE": path},
              **s3.settings(access_key=None, secret_key=None, credentials=FILE))
    answer = s.list(prefix="x/")
    assert (answer["result"], answer["code"]) == ("denied", "ExpiredToken")
    write(scratch, "again-%d" % s3.port, SHARED)
    assert s.list(prefix="x/")["result"] == "ok"
    s.close()
    assert [k for k, _ in s3.signed] == ["OLDKEY", "OLDKEY", "OLDKEY", "DEFAULTKEY"]


def imds(expires=3600, role="my-role", token="imds-token"):
    def answer(method, path, headers, body):
        if method == "PUT" and path == "/latest/api/token":
            assert headers["X-aws-ec2-metadata-token-ttl-seconds"]
            return 200, token
        if headers.get("X-aws-ec2-metadata-token") != token:
            return 401, ""
        if path == "/latest/meta-data/iam/security-credentials/":
            return 200, role + "\n"
        if path == "/latest/meta-data/iam/security-credentials/my-role":
            return 200, json.dumps({"Code": "Success", "AccessKeyId": "ROLEKEY", "SecretAccessKey": "s", "Token": "t",
                                    "Expiration": in_seconds(expires)})
        return 404, ""
    return answer


@pytest.mark.parametrize("source", [IMDS, AUTO], ids=["imds", "auto"])
def test_instance_metadata(s3, service, source):
    m = service(imds())
    # A proxy must not see this; one that nobody listens on would fail it.
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": m.endpoint, "http_proxy": "http://127.0.0.1:9",
               "no_proxy": "127.0.0.1:%d" % s3.port}
    assert ask(s3, source, {**environ, "http_proxy": ""}, times=3)["result"] == "ok"
    assert s3.signed == [("ROLEKEY", "t")] * 3
    assert [a[:2] for a in m.asked] == [
        ("PUT", "/latest/api/token"), ("GET", "/latest/meta-data/iam/security-credentials/"),
        ("GET", "/latest/meta-data/iam/security-credentials/my-role")]


def test_metadata_are_not_asked_for_through_a_proxy(s3, service):
    m = service(imds())
    answer = ask(s3, IMDS, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": m.endpoint, "http_proxy": "http://127.0.0.1:9"}, attempts=1)
    assert len(m.asked) == 3
    # The store itself is, and there is no such proxy.
    assert answer["result"] == "network"


def test_keys_are_fetched_again_before_they_expire(s3, service):
    m = service(imds(expires=2))
    s = Store(environ={**NOTHING, "AWS_EC2_METADATA_SERVICE_ENDPOINT": m.endpoint},
              **s3.settings(access_key=None, secret_key=None, credentials=IMDS))
    assert s.list(prefix="x/")["result"] == "ok"
    first = len(m.asked)
    env.wait_for(lambda: s.list(prefix="x/")["result"] == "ok" and len(m.asked) > first, "a second fetch")
    s.close()


def test_an_expired_token_is_replaced(s3, service):
    keys = iter(["FIRST", "SECOND", "THIRD"])

    def answer(method, path, headers, body):
        if path.endswith("my-role"):
            return 200, json.dumps({"AccessKeyId": next(keys), "SecretAccessKey": "s", "Token": "t",
                                    "Expiration": in_seconds(3600)})
        return imds()(method, path, headers, body)
    m = service(answer)
    s3.refused = ("FIRST",)
    assert ask(s3, IMDS, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": m.endpoint}, times=2)["result"] == "ok"
    assert [k for k, _ in s3.signed] == ["FIRST", "SECOND", "SECOND"]


@pytest.mark.parametrize("name, answer, says", [
    ("refused", lambda *a: (403, ""), "403"),
    ("no-role", imds(role="../../evil"), "without keys"),
    ("empty-token", imds(token=""), "without keys"),
    ("no-json", lambda m, p, h, b: (200, "<html>"), "without keys"),
    ("no-keys", lambda m, p, h, b: (200, "{}") if p.endswith("-role") else imds()(m, p, h, b), "without keys"),
    ("too-long", lambda m, p, h, b: (200, "x" * 100_000), ""),
    ("500", lambda *a: (500, ""), "500"),
], ids=["refused", "no-role", "empty-token", "no-json", "no-keys", "too-long", "500"])
def test_metadata_that_are_none(s3, service, name, answer, says):
    m = service(answer)
    a = ask(s3, IMDS, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": m.endpoint})
    assert (a["result"], a["code"]) == ("denied", "credentials") and says in a["message"], a
    assert s3.signed == []
    assert len(m.asked) == (4 if name in ("500", "too-long") else len(m.asked))


def container(method, path, headers, body):
    if headers.get("Authorization") != "container token":
        return 401, ""
    return 200, json.dumps({"AccessKeyId": "TASKKEY", "SecretAccessKey": "s", "Token": "t", "Expiration": in_seconds(3600)})


@pytest.mark.parametrize("source", [CONTAINER, AUTO], ids=["container", "auto"])
@pytest.mark.parametrize("from_file", [False, True])
def test_the_container_endpoint(s3, service, scratch, source, from_file):
    m = service(container)
    environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": m.endpoint + "/creds"}
    if from_file:
        environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = write(scratch, "token-%d" % s3.port, "container token\n")
    else:
        environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "container token"
    assert ask(s3, source, environ)["result"] == "ok"
    assert s3.signed == [("TASKKEY", "t")]
    assert [a[:2] for a in m.asked] == [("GET", "/creds")]


def test_container_keys_do_not_come_from_anywhere(s3):
    a = ask(s3, CONTAINER, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/creds"})
    assert a["code"] == "credentials" and "neither https nor local" in a["message"]
    a = ask(s3, CONTAINER, {})
    assert a["code"] == "credentials"


STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>STSKEY</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


@pytest.mark.parametrize("source", [WEB_IDENTITY, AUTO], ids=["web-identity", "auto"])
def test_web_identity(s3, service, scratch, source):
    m = service(lambda *a: (200, STS % in_seconds(3600)))
    token = write(scratch, "jwt-%d" % s3.port, "a.b-c&d\n")
    assert ask(s3, source, {"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::1:role/r",
                            "AWS_ENDPOINT_URL_STS": m.endpoint})["result"] == "ok"
    assert s3.signed == [("STSKEY", "t")]
    method, path, headers, body = m.asked[0]
    form = dict(urllib.parse.parse_qsl(body))
    assert method == "POST" and form["Action"] == "AssumeRoleWithWebIdentity"
    assert form["WebIdentityToken"] == "a.b-c&d" and form["RoleArn"] == "arn:aws:iam::1:role/r"


def test_web_identity_that_is_refused(s3, service, scratch):
    m = service(lambda *a: (403, "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"))
    token = write(scratch, "jwt2-%d" % s3.port, "secret-token")
    a = ask(s3, WEB_IDENTITY, {"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn", "AWS_ENDPOINT_URL_STS": m.endpoint})
    assert a["code"] == "credentials" and "403" in a["message"] and "secret-token" not in str(a)


def test_our_own_keys_come_first(s3, scratch):
    path = write(scratch, "first-%d" % s3.port, SHARED)
    environ = {"AWS_SHARED_CREDENTIALS_FILE": path}
    assert ask(s3, AUTO, environ, access_key="OURS", secret_key="s")["result"] == "ok"
    assert ask(s3, AUTO, environ, env_access_key="ENVKEY", env_secret_key="s", env_session_token="e")["result"] == "ok"
    assert s3.signed == [("OURS", None), ("ENVKEY", "e")]


def test_nothing_anywhere(s3):
    a = ask(s3, AUTO, {"AWS_EC2_METADATA_DISABLED": "true"})
    assert a["result"] == "refused"
