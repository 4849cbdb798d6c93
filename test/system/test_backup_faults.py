"""The backup's S3 client against a store that fails in every way (row 42 of the attacks, specification 21.2).

In front of a real server stands a proxy that misbehaves by rule. Whatever it
does, an operation either works, and what is stored is what was sent; or it
fails with a reason, no new object is there, and no upload is left open.
"""
import os
import time

import pytest
from harness import faultproxy as fp
from harness.operations import KINDS, MIB, by_name, content, operate


TRANSIENT = {
    "500": fp.reply(500, fp.error("InternalError")),
    "500-without-body": fp.reply(500),
    "502-html": fp.reply(502, "<html><body>Bad Gateway</body></html>", [("Content-Type", "text/html")]),
    "503-slow-down": fp.reply(503, fp.error("SlowDown")),
    "503-before-body": fp.reply(503, fp.error("SlowDown"), read=False),
    "503-without-body": fp.reply(503),
    "504": fp.reply(504),
    "429": fp.reply(429, fp.error("TooManyRequests")),
    "429-retry-after": fp.reply(429, b"", [("Retry-After", "1")]),
    "408": fp.reply(408),
    "400-request-timeout": fp.reply(400, fp.error("RequestTimeout")),
    "409-operation-aborted": fp.reply(409, fp.error("OperationAborted")),
    "reset-before-body": fp.reset("before_body"),
    "reset-in-body": fp.reset("in_body"),
    "reset-after-body": fp.reset("after_body"),
    "reset-in-response": fp.reset("in_response"),
    "answer-dropped": fp.reset("answer_dropped"),
    "empty-reply": fp.empty_reply,
}


# An answer to HEAD has no body that could name a code.
@pytest.mark.parametrize("kind, fault", [(k, f) for f in sorted(TRANSIENT) for k in KINDS
                                         if k != "head" or f not in ("400-request-timeout", "409-operation-aborted")])
def test_row_42_what_passes_is_tried_again(bucket, proxy, s3_store, files, kind, fault):
    """Twice a fault, then none: it works, however the request was lost."""
    proxy.rule(kind, TRANSIENT[fault], times=2)
    s = s3_store()
    answer = operate(kind, bucket, s, files)
    assert answer["result"] == "ok", answer
    assert [r.fault for r in proxy.requests(kind)].count(TRANSIENT[fault].__name__) == 2
    if fault == "429-retry-after":
        assert all(e["wait"] == 1_000_000 for e in s.take_events("retry"))


LASTING = {
    "500": ("500", {"network"}),
    "503-without-body": ("503-without-body", {"network"}),
    "reset-in-body": ("reset-in-body", {"network"}),
    "empty-reply": ("empty-reply", {"network"}),
    "answer-dropped": ("answer-dropped", {"network", "ok"}),
    "403": (fp.reply(403, fp.error("AccessDenied")), {"denied"}),
    "403-without-body": (fp.reply(403), {"denied"}),
    "404": (fp.reply(404, fp.error("NoSuchBucket")), {"not found"}),
    "409": (fp.reply(409, fp.error("BucketNotEmpty")), {"failed"}),
    "507": (fp.reply(507, fp.error("QuotaExceeded")), {"full"}),
    "403-quota": (fp.reply(403, fp.error("QuotaExceeded")), {"full"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", sorted(LASTING))
def test_row_42_what_lasts_is_a_failure_with_a_reason(bucket, proxy, s3_store, files, kind, fault):
    f, allowed = LASTING[fault]
    if (kind, fault) == ("head", "403-quota"):
        allowed = {"denied"}
    proxy.rule(kind, TRANSIENT.get(f, f) if isinstance(f, str) else f)
    s = s3_store(attempts=4)
    answer = operate(kind, bucket, s, files)
    if answer["result"] == "ok":
        # What was done although nobody said so is found out, or does no harm.
        assert fault == "answer-dropped" and kind in ("put", "complete", "delete", "abort")
        return
    assert answer["result"] in allowed, answer
    assert answer["code"]
    if answer["result"] in ("denied", "not found", "full", "failed"):
        # A request that a busy machine let stall is sent again.
        stalled = sum(e["op"] == kind and e["reason"] == "curl 28" for e in s.take_events("retry"))
        assert proxy.count(kind) == 1 + stalled or kind == "part"
    elif kind not in ("abort", "part"):
        # libcurl itself goes on by a new connection when an old one has died.
        assert proxy.count(kind) in (4, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_closes_before_it_is_used_again(bucket, proxy, s3_store, files, kind):
    proxy.rule(None, fp.closed_before_reuse)
    assert operate(kind, bucket, s3_store(), files)["result"] == "ok"


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "complete"])
@pytest.mark.parametrize("when", ["before_answer", "in_answer"])
def test_a_stall_ends_and_is_tried_again(bucket, proxy, s3_store, files, kind, when):
    proxy.rule(kind, fp.stall(when), times=1)
    s = s3_store()
    answer = operate(kind, bucket, s, files)
    assert answer["result"] == "ok", answer
    # A HEAD has no body that could stall, a 204 neither.
    if when == "before_answer":
        assert [e["reason"] for e in s.take_events("retry") if e["op"] == kind] == ["curl 28"]


def test_a_stall_that_lasts_is_a_time_out(bucket, proxy, s3_store, files):
    bucket.put("k", b"x")
    proxy.rule("head", fp.stall())
    answer = s3_store(attempts=2).head(key="k")
    assert answer["result"] == "timed out"


def test_a_complete_that_takes_long_is_waited_for(bucket, proxy, s3_store, files):
    """No stall limit there: a store may put many parts together."""
    def slowly(x):
        x.forward()
        time.sleep(3)
        x.send()
    proxy.rule("complete", slowly)
    s = s3_store()
    assert operate("complete", bucket, s, files)["result"] == "ok"
    assert proxy.count("complete") == 1


def test_a_download_that_trickles_is_resumed(bucket, proxy, s3_store, files):
    data = os.urandom(100_000)
    bucket.put("k", data)
    proxy.rule("get", fp.trickle, times=1)
    s = s3_store()
    answer = s.get(key="k", file=files.path("trickled"))
    assert answer["result"] == "ok" and content(files.path("trickled")) == data
    ranges = [r.headers.get("range") for r in proxy.requests("get")]
    assert ranges[0] is None and all(r.startswith("bytes=") for r in ranges[1:])
    assert all("if-match" in r.headers for r in proxy.requests("get")[1:])


# ---- Complete (10.7) ----

WHITE = b" \n\t\r\n" * 10
COMPLETED = '<CompleteMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ETag>"x"</ETag>' \
            '</CompleteMultipartUploadResult>'


@pytest.mark.parametrize("name, fault, times, result", by_name([
    ("error-in-200", fp.reply(200, fp.error("InternalError")), 2, {"ok"}),
    ("error-in-200-with-white-space", fp.reply(200, WHITE + fp.error("InternalError").encode()), 2, {"ok"}),
    ("error-in-200-for-ever", fp.reply(200, fp.error("InternalError")), None, {"network"}),
    ("unknown-error-in-200", fp.reply(200, fp.error("SomethingElse")), None, {"network"}),
    ("invalid-part-in-200", fp.reply(200, fp.error("InvalidPart")), None, {"network", "failed"}),
    ("unknown-root", fp.reply(200, "<Whatever/>"), None, {"failed"}),
    ("unknown-root-once", fp.reply(200, "<Whatever/>"), 1, {"ok"}),
    ("empty-200", fp.reply(200, b""), None, {"failed"}),
    ("empty-200-once", fp.reply(200, b""), 1, {"ok"}),
    ("html-200", fp.reply(200, "<html><p>hello</html>"), None, {"failed"}),
    ("done-but-error", fp.forwarded_reply(200, fp.error("InternalError")), 1, {"ok"}),
    ("done-but-500", fp.forwarded_reply(500, fp.error("InternalError")), 1, {"ok"}),
    ("done-but-dropped", fp.reset("answer_dropped"), 1, {"ok"}),
    ("done-but-dropped-for-ever", fp.reset("answer_dropped"), None, {"ok"}),
    ("done-but-empty", fp.forwarded_reply(200, b""), None, {"ok"}),
    ("done-and-white-space", fp.rewrite(lambda s, h, b: (s, h, WHITE + b)), None, {"ok"}),
    ("invalid-part", fp.reply(400, fp.error("InvalidPart")), None, {"failed"}),
    ("invalid-part-order", fp.reply(400, fp.error("InvalidPartOrder")), None, {"failed"}),
    ("entity-too-small", fp.reply(400, fp.error("EntityTooSmall")), None, {"failed"}),
    ("no-such-upload", fp.reply(404, fp.error("NoSuchUpload")), None, {"not found"}),
    ("precondition-failed", fp.reply(412, fp.error("PreconditionFailed")), None, {"exists"}),
    ("conflict", fp.reply(409, fp.error("ConditionalRequestConflict")), None, {"exists"}),
    ("doctype", fp.reply(200, '<!DOCTYPE x [<!ENTITY a "b">]>' + COMPLETED), None, {"failed"}),
]))
def test_complete(bucket, proxy, s3_store, files, name, fault, times, result):
    proxy.rule("complete", fault, times=times)
    answer = operate("complete", bucket, s3_store(attempts=4), files)
    assert answer["result"] in result, answer


def test_a_lost_complete_that_is_gone_on_the_retry(bucket, proxy, s3_store, files):
    """The first one worked, the retry is told NoSuchUpload: the object itself tells."""
    proxy.rule("complete", fp.reset("answer_dropped"), nth=[1])
    proxy.rule("complete", fp.reply(404, fp.error("NoSuchUpload")))
    assert operate("complete", bucket, s3_store(), files)["result"] == "ok"


def test_another_object_under_the_name_is_not_taken_for_ours(bucket, proxy, s3_store, files):
    """The Complete is lost, and what is there is of another run."""
    big = files.make("big", 5 * MIB + 1000)

    def lose(x):
        x.read_body()
        bucket.put("new", content(big))
        x.c.reset()
    proxy.rule("complete", lose)
    answer = s3_store(attempts=2).upload(key="new", file=big, part=5 * MIB, run_id="run")
    assert answer["result"] == "network"
    assert bucket.uploads() == []


def test_a_begin_whose_answer_is_lost_leaves_no_upload(bucket, proxy, s3_store, files):
    """The upload that nobody knows of is found in the listing and aborted."""
    proxy.rule("begin", fp.reset("answer_dropped"), times=2)
    s = s3_store()
    answer = s.begin(key="new", run_id="run")
    assert answer["result"] == "ok"
    assert [u for _, u in bucket.uploads()] == [answer["id"]]
    assert s.abort()["result"] == "ok"
    s.free()


# ---- bytes that change on their way ----

@pytest.mark.parametrize("kind", ["put", "part"])
def test_a_corrupted_upload_is_sent_again(bucket, proxy, s3_store, files, kind):
    proxy.rule(kind, fp.corrupt_upload, times=2)
    s = s3_store()
    assert operate(kind, bucket, s, files)["result"] == "ok"
    # A store without conditional writes answers the condition before it looks at the bytes.
    assert 1 <= len(s.take_events("retry")) <= 2


@pytest.mark.parametrize("kind", ["put", "part"])
def test_corruption_that_lasts_is_an_integrity_failure(bucket, proxy, s3_store, files, kind):
    proxy.rule(kind, fp.corrupt_upload)
    s = s3_store()
    answer = operate(kind, bucket, s, files)
    assert answer["result"] == "integrity", answer
    assert len([r for r in proxy.requests(kind)]) <= 6


@pytest.mark.parametrize("name, fault, times, result", by_name([
    ("short-with-whole-length", fp.truncated(True), 3, {"ok"}),
    ("short-with-short-length", fp.truncated(False), None, {"ok", "integrity"}),
    ("range-ignored", fp.without_range, None, {"integrity"}),
    ("wrong-range", fp.rewrite(lambda s, h, b: (s, [(n, v.replace("bytes 10", "bytes 11")) for n, v in h], b)), None,
     {"integrity"}),
    ("no-range", fp.rewrite(lambda s, h, b: (s, [(n, v) for n, v in h if n.lower() != "content-range"], b)), None,
     {"integrity"}),
    ("other-etag", fp.rewrite(lambda s, h, b: (s, [(n, '"other"' if n.lower() == "etag" else v) for n, v in h], b)), None,
     {"changed"}),
    ("too-many-bytes", fp.rewrite(lambda s, h, b: (s, h, b + b"more")), None, {"integrity"}),
]))
def test_downloads_that_are_not_what_was_asked_for(bucket, proxy, s3_store, files, name, fault, times, result):
    data = os.urandom(200_000)
    bucket.put("k", data)
    s = s3_store()
    etag = s.head(key="k")["etag"]
    proxy.rule("get", fault, times=times)
    out = files.path("down")
    answer = s.get(key="k", file=out, offset=10, len=100_000, if_match=etag)
    assert answer["result"] in result, answer
    got = content(out)
    if answer["result"] == "ok":
        assert got == data[10:100_010]
    else:
        assert data[10:100_010].startswith(got) and len(got) <= 100_000


def test_an_object_that_changes_between_the_tries(bucket, proxy, s3_store, files):
    """The rest is asked for by the first ETag, so it cannot come from another object."""
    bucket.put("k", os.urandom(200_000))

    def cut(x):
        x.forward()
        data = x.head_bytes() + x.answer[2]
        x.c.send(data[:-100_000])
        bucket.put("k", os.urandom(200_000))
        x.c.reset()
    proxy.rule("get", cut, times=1)
    assert s3_store().get(key="k", file=files.path("down"))["result"] == "changed"


# ---- an abort after a Complete that nobody knows the end of ----

@pytest.mark.parametrize("how", ["own", "stale"])
def test_an_object_that_is_there_after_all_is_not_broken_by_an_abort(bucket, proxy, s3_store, files, how):
    """Swift has the object, and then dies with the upload still on its books: with that it would delete the parts."""
    data = files.make("big", 5 * MIB + 1000)
    gone = {"now": False}

    def dies(x):
        # The object is made, the answer is lost, and for a while nobody is there; then the upload is as it was before.
        x.forward()
        gone["now"] = True
        x.c.reset()

    proxy.rule("complete", fp.named("dies", dies), times=1)
    proxy.rule(None, fp.named("nobody", lambda x: x.c.reset()), where=lambda r: gone["now"])
    s = s3_store(attempts=2, request_timeout=3_000_000)
    upload = s.begin(key="k", run_id="run", upload=0)
    assert s.part(upload=0, number=1, file=data, offset=0, len=5 * MIB)["result"] == "ok"
    assert s.part(upload=0, number=2, file=data, offset=5 * MIB, len=1000)["result"] == "ok"
    assert s.complete(upload=0, size=5 * MIB + 1000)["result"] == "network"
    gone["now"] = False
    proxy.clear()
    answer = s.abort_stale(key="k", id=upload["id"]) if how == "stale" else s.abort(upload=0)
    assert answer["result"] == "exists", answer
    assert proxy.count("abort") == 0 and bucket.get("k") == content(data)
    s.free(upload=0)


@pytest.mark.parametrize("run", ["other", None], ids=["another-run", "no-run"])
def test_an_upload_whose_complete_was_refused_is_aborted(bucket, proxy, s3_store, files, run):
    """Also when an object of another run has the name, or one of nobody's: ours name theirs."""
    bucket.request("PUT", "k", body=b"somebody else's", headers=[("x-amz-meta-run-id", run)] if run else [])
    proxy.rule("complete", fp.reply(412, fp.error("PreconditionFailed")))
    s = s3_store()
    s.begin(key="k", run_id="run", upload=0)
    assert s.part(upload=0, number=1, file=files.make("small", 1000))["result"] == "ok"
    assert s.complete(upload=0, size=1000)["result"] == "exists"
    assert s.abort(upload=0)["result"] == "ok" and not bucket.uploads()
    assert bucket.get("k") == b"somebody else's"
    s.free(upload=0)
