"""The backup's S3 client against a real server that checks signatures (OpenStack Swift).

Row 46 of the attacks is here, too: what else may lie in a bucket.
"""
import base64
import hashlib
import os
import time

import pytest
from harness.faultproxy import FaultProxy
from harness.operations import MIB, content
from harness.store import Store


@pytest.fixture
def store(bucket):
    made = []

    def make(**settings):
        made.append(Store(**bucket.settings(**settings)))
        return made[-1]

    yield make
    for s in made:
        s.close()


SPECIAL = ["plain", "with space", "a+b&c=d%e", "sl/as/hes", "(1)'~*!", "é:@,;", "dots/../and/./more", "double//slash",
           "quote\"<>", "日本", "x" * 900]


@pytest.mark.parametrize("key", SPECIAL, ids=[k[:20] for k in SPECIAL])
def test_row_46_keys_of_every_kind(bucket, store, files, key):
    s = store(region="us-east-1")
    body = files.make("small", 1000)
    assert s.put(key=key, file=body, run_id="r")["result"] == "ok"
    assert bucket.get(key) == content(body)
    head = s.head(key=key)
    assert (head["result"], head["size"], head["run_id"]) == ("ok", 1000, "r")
    assert s.get(key=key, file=files.path("out"))["result"] == "ok"
    assert content(files.path("out")) == content(body)
    assert key in [i["key"] for i in s.list(prefix="")["items"]]
    assert s.remove(key=key)["result"] == "ok"
    assert bucket.keys() == []


@pytest.mark.parametrize("checksum", [0, 1, 2, 3], ids=["none", "md5", "sha256", "crc32c"])
@pytest.mark.parametrize("by_fd", [False, True], ids=["memory", "file"])
def test_an_object_in_parts(bucket, store, files, checksum, by_fd):
    s = store(checksum=checksum)
    body = files.make("parts", 11 * MIB + 17)
    answer = s.upload(key="a/b", file=body, part=5 * MIB, run_id="run", by_fd=by_fd)
    assert answer["result"] == "ok", answer
    assert bucket.get("a/b") == content(body)
    head = s.head(key="a/b")
    assert head["size"] == 11 * MIB + 17 and head["run_id"] == "run"
    sent = [e for e in s.take_events("request") if e["op"] == "part"]
    assert [e["http"] for e in sent] == [200] * 3


def test_parts_that_end_on_a_border(bucket, store, files):
    """The last part is a full one, not an empty one."""
    s = store()
    body = files.make("border", 10 * MIB)
    assert s.upload(key="k", file=body, part=5 * MIB, run_id="r")["result"] == "ok"
    assert len([e for e in s.take_events("request") if e["op"] == "part"]) == 2
    assert bucket.get("k") == content(body)


def test_nothing_is_visible_before_complete(bucket, store, files):
    s = store()
    body = files.make("p", 5 * MIB)
    assert s.begin(key="k", run_id="r")["result"] == "ok"
    assert s.part(number=1, file=body)["result"] == "ok"
    assert bucket.keys() == [] and len(bucket.uploads()) == 1
    assert s.head(key="k")["result"] == "not found"
    assert s.complete(size=5 * MIB)["result"] == "ok"
    assert bucket.keys() == ["k"]
    s.free()


def test_an_empty_object(bucket, store, files):
    s = store()
    assert s.put(key="empty", file=files.make("empty", 0), run_id="r")["result"] == "ok"
    assert s.get(key="empty", file=files.path("out"))["result"] == "ok"
    assert content(files.path("out")) == b""
    assert s.replace(key="empty", file=files.make("more", 3))["result"] == "ok"
    assert len(bucket.get("empty")) == 3


def test_a_name_that_is_taken_is_not_overwritten(bucket, store, files):
    first, second = files.make("1", 10), files.make("2", 10)
    s, other = store(), store()
    assert s.put(key="k", file=first, run_id="1")["result"] == "ok"
    assert other.put(key="k", file=second, run_id="2")["result"] == "exists"
    big = files.make("3", 6 * MIB)
    answer = other.upload(key="k", file=big, run_id="3")
    assert (answer["result"], answer["phase"], answer["abort"]) == ("exists", "complete", "ok")
    assert bucket.get("k") == content(first)


def test_ranges_and_etags(bucket, store, files):
    s = store()
    body = files.make("range", 100000)
    data = content(body)
    bucket.put("k", data)
    etag = s.head(key="k")["etag"]
    for offset, length in ((0, 1), (1, 99999), (99999, 1), (500, 1000), (99000, 5000), (7, 0)):
        answer = s.get(key="k", file=files.path("out"), offset=offset, len=length, if_match=etag)
        assert answer["result"] == "ok" and answer["size"] == 100000, answer
        assert content(files.path("out")) == data[offset:offset + length if length else None]
    assert s.get(key="k", if_match='"other"')["result"] == "changed"
    assert s.get(key="none")["result"] == "not found"
    assert s.head(key="none")["result"] == "not found"
    assert s.remove(key="none")["result"] == "ok"


def test_a_receiver_that_wants_no_more(bucket, store, files):
    s = store()
    bucket.put("k", bytes(3 * MIB))
    assert s.get(key="k", stop_at=1)["result"] == "cancelled"
    assert s.head(key="k")["result"] == "ok"


def test_listings_have_pages(bucket, store, files):
    s = store(page_size=10)
    for i in range(25):
        bucket.put("p/%02d" % i, b"x" * i)
    bucket.put("p/sub/1", b"")
    bucket.put("p2/1", b"")
    listed = s.list(prefix="p/", flat=True)
    assert [(i["key"], i["size"]) for i in listed["items"]] == [("p/%02d" % i, i) for i in range(25)]
    assert all(abs(i["modified"] - time.time()) < 600 for i in listed["items"])
    assert len([e for e in s.take_events("request") if e["op"] == "list"]) >= 3
    assert s.list(prefix="p/")["count"] == 26
    assert s.list(prefix="none/")["count"] == 0
    assert s.list(prefix="p/", flat=True, stop_at=3)["result"] == "cancelled"


def test_uploads_are_listed_and_aborted(bucket, store, files):
    s = store(page_size=2)
    ids = {}
    for i in range(5):
        ids["p/%d" % i] = s.begin(key="p/%d" % i, upload=i)["id"]
        s.free(upload=i)
    s.begin(key="q", upload=9)
    found = s.list_uploads(prefix="p/")
    assert {i["key"]: i["id"] for i in found["items"]} == ids
    assert all(abs(i["begun"] - time.time()) < 600 for i in found["items"])
    for key, upload in ids.items():
        assert s.abort_stale(key=key, id=upload)["result"] == "ok"
        assert s.abort_stale(key=key, id=upload)["result"] == "ok"
    assert s.abort(upload=9)["result"] == "ok"


@pytest.mark.parametrize("change, result, code", [
    ({"secret_key": "a secret"}, "denied", "SignatureDoesNotMatch"),
    ({"access_key": "nobody:here"}, "denied", "SignatureDoesNotMatch"),
    ({"bucket": "no-such-bucket-here"}, "not found", "NoSuchBucket"),
    ({"region": "eu-west-9"}, "denied", "AuthorizationHeaderMalformed"),
])
def test_refusals_are_told_apart_and_not_tried_again(bucket, store, change, result, code):
    s = store(**change)
    answer = s.list(prefix="x/")
    assert answer["result"] == result
    assert answer["code"] == code or change.get("access_key")
    assert not s.take_events("retry")
    if "region" in change:
        assert "us-east-1" in answer["message"]
    assert "secret" not in str(answer)


def test_the_region_is_found_out(bucket, store):
    for ask in (lambda s: s.head(key="none"), lambda s: s.list(prefix="")):
        s = store(region="auto")
        assert ask(s)["result"] in ("ok", "not found")
        assert ["us-east-1" in e["text"] for e in s.take_events("notice")] == [True]


@pytest.mark.parametrize("bad", [
    {"endpoint": "127.0.0.1:1"}, {"endpoint": "ftp://127.0.0.1"}, {"endpoint": "http://192.0.2.1"}, {"endpoint": ""},
    {"endpoint": "http://u:p@127.0.0.1"}, {"endpoint": "http://127.0.0.1/?x"}, {"bucket": ""}, {"bucket": "a/b"},
    {"access_key": ""}, {"secret_key": ""}, {"region": "a/b"}, {"tags": "a\nb"}, {"endpoint": "http://"},
])
def test_settings_that_cannot_be(bucket, bad):
    s = Store(**bucket.settings(**bad))
    assert s.opened["result"] == "refused" and s.opened["message"]
    s.p.stdin.close()
    assert s.p.wait(30) == 0


def test_cancelling_leaves_nothing(bucket, store, files):
    """An interruption at any moment of an upload: aborted, nothing visible."""
    body = files.make("cancel", 12 * MIB)
    for after in (0, 20_000, 60_000, 120_000, 200_000, 300_000):
        s = store(region="us-east-1", upload_rate=20 * MIB)
        answer = s.upload(key="k%d" % after, file=body, run_id="r", interrupt_after=after)
        if answer["result"] == "ok":
            assert "k%d" % after in bucket.keys()
            continue
        assert answer["result"] == "cancelled", answer
        assert answer.get("abort", "ok") == "ok"
        assert bucket.uploads() == [] and "k%d" % after not in bucket.keys()


def test_rate_limits(bucket, store, files):
    body = files.make("rate", 2 * MIB)
    s = store(region="us-east-1", upload_rate=2 * MIB, download_rate=2 * MIB)
    begun = time.monotonic()
    assert s.put(key="k", file=body, run_id="r")["result"] == "ok"
    assert time.monotonic() - begun > 0.6
    begun = time.monotonic()
    assert s.get(key="k", file=files.path("out"))["result"] == "ok"
    assert time.monotonic() - begun > 0.6
    assert content(files.path("out")) == content(body)


def test_what_is_sent(bucket, store, files):
    """Every request is signed, a body by its hash; nothing is sent that some stores refuse."""
    p = FaultProxy(bucket)
    try:
        body = files.make("sent", 6 * MIB)
        s = Store(**bucket.settings(endpoint=p.endpoint, region="us-east-1"))
        assert s.upload(key="a b", file=body, run_id="r1", database="d")["result"] == "ok"
        s.put(key="small", file=files.make("tiny", 5), run_id="r2")
        s.close()
        begin = p.requests("begin")[0].headers
        assert begin["content-type"] == "application/octet-stream"
        assert begin["x-amz-meta-run-id"] == "r1" and begin["x-amz-meta-database"] == "d"
        for r in p.requests():
            assert r.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=test:tester/")
            assert "x-amz-date" in r.headers and "user-agent" in r.headers
            assert not [n for n in r.headers if n.startswith("x-amz-checksum") or n == "x-amz-security-token"]
            if r.kind in ("part", "put", "complete"):
                assert r.headers["x-amz-content-sha256"] == hashlib.sha256(r.body).hexdigest()
                assert r.headers["content-md5"] == base64.b64encode(hashlib.md5(r.body).digest()).decode()
            if r.kind == "part":
                assert r.headers["expect"] == "100-continue"
    finally:
        p.close()


def test_the_bucket_in_the_host_name(bucket, files):
    """addressing = virtual, as the server signs it; not for an address, which has no names in front of it."""
    p = FaultProxy(bucket)
    try:
        endpoint = p.endpoint.replace("127.0.0.1", "localhost")
        s = Store(**bucket.settings(endpoint=endpoint, virtual=True))
        assert s.upload(key="a b/c", file=files.make("virtual", 6 * MIB), part=5 * MIB, run_id="r")["result"] == "ok"
        assert [i["key"] for i in s.list(prefix="a")["items"]] == ["a b/c"]
        assert s.head(key="a b/c")["result"] == "ok"
        s.close()
        assert {r.headers["host"] for r in p.requests()} == {"%s.localhost:%d" % (bucket.bucket, p.port)}
        assert {r.path for r in p.requests()} == {"/a%20b/c", "/"}
        s = Store(**bucket.settings(endpoint=p.endpoint, virtual=True))
        assert s.list(prefix="a")["result"] == "ok"
        s.close()
        assert p.requests()[-1].path == "/" + bucket.bucket
    finally:
        p.close()


def test_session_tokens_are_sent_and_signed(bucket, store, files):
    p = FaultProxy(bucket)
    try:
        s = Store(**bucket.settings(endpoint=p.endpoint, region="us-east-1", session_token="tok/en+=="))
        s.head(key="k")
        s.close()
        r = p.requests("head")[0]
        assert r.headers["x-amz-security-token"] == "tok/en+=="
        assert "x-amz-security-token" in r.headers["authorization"]
    finally:
        p.close()
