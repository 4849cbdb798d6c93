"""A backup by the whole program into a store that fails, request by request (row 42, acceptance 4).

Either there is a backup and it passes level archive, or the exit status says
what kind of failure it was, nothing new is visible, and no upload is open.
"""
import re

import pytest
from harness import faultproxy as fp
from harness.backup import DONE, FOLLOW_UP, INTEGRITY, REFUSED, STORAGE, TIMED_OUT
from harness.operations import by_name

ROWS = 14000  # three parts of 5 MiB when they are not compressed

PASSING = {
    "500": fp.reply(500, fp.error("InternalError")),
    "slow-down": fp.reply(503, fp.error("SlowDown")),
    "reset-in-body": fp.reset("in_body"),
    "answer-dropped": fp.reset("answer_dropped"),
}
KINDS = ["list", "head", "begin", "part", "complete", "put"]


@pytest.fixture
def b(backup, databases, bucket, proxy):
    database = databases.make("CREATE TABLE t AS SELECT g AS id, repeat(md5(g::text), 30) AS words FROM generate_series(1, %d) g"
                              % ROWS)
    return backup(database=database, BACKUP_COMPRESS="none", BACKUP_S3_PART_SIZE="5M", BACKUP_S3_ENDPOINT=proxy.endpoint,
                  BACKUP_S3_BUCKET=bucket.bucket, BACKUP_S3_ACCESS_KEY=bucket.access_key, BACKUP_S3_REGION="us-east-1",
                  BACKUP_S3_SECRET_KEY=bucket.secret_key, BACKUP_S3_STALL_TIMEOUT="2s", BACKUP_S3_ATTEMPTS="3",
                  BACKUP_S3_REQUEST_TIMEOUT="20s")


def visible(bucket):
    return [k for k in bucket.keys("app/")]


def proven(b, proxy, key):
    proxy.clear()
    r = b.run("verify", key, "--level", "archive", expect=DONE)
    assert r.out.startswith("ok")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", sorted(PASSING))
def test_row_42_what_passes_does_not_keep_a_backup_from_being_made(b, bucket, proxy, kind, fault):
    proxy.rule(kind, PASSING[fault], times=2)
    key = b.run("backup", expect=DONE).out.strip()
    assert visible(bucket) == [key] and not bucket.uploads()
    assert len([r for r in proxy.requests(kind) if r.fault]) == 2
    proven(b, proxy, key)


LASTING = by_name([
    ("list-500", "list", fp.reply(500), {STORAGE}, "InternalError|HTTP 500|500"),
    ("list-denied", "list", fp.reply(403, fp.error("AccessDenied")), {STORAGE}, "AccessDenied"),
    ("head-denied", "head", fp.reply(403), {STORAGE}, "403"),
    ("begin-denied", "begin", fp.reply(403, fp.error("AccessDenied")), {STORAGE}, "AccessDenied"),
    ("part-500", "part", fp.reply(500, fp.error("InternalError")), {STORAGE}, "InternalError"),
    ("part-reset", "part", fp.reset("in_body"), {STORAGE}, ""),
    ("part-stall", "part", fp.stall("before_body"), {TIMED_OUT, STORAGE}, ""),
    ("part-full", "part", fp.reply(507, fp.error("QuotaExceeded")), {STORAGE}, "QuotaExceeded"),
    ("part-corrupted", "part", fp.corrupt_upload, {INTEGRITY}, "BadDigest|InvalidDigest|SHA256"),
    ("part-expired-token", "part", fp.reply(403, fp.error("ExpiredToken")), {STORAGE}, "ExpiredToken"),
    ("complete-error-in-200", "complete", fp.reply(200, fp.error("InternalError")), {STORAGE}, "InternalError"),
    ("complete-html", "complete", fp.reply(200, "<html>"), {STORAGE}, ""),
    ("complete-invalid-part", "complete", fp.reply(400, fp.error("InvalidPart")), {STORAGE}, "InvalidPart"),
    ("complete-taken", "complete", fp.reply(412, fp.error("PreconditionFailed")), {REFUSED}, "name"),
])


@pytest.mark.parametrize("name, kind, fault, statuses, says", LASTING)
def test_row_42_what_lasts_leaves_nothing(b, bucket, proxy, name, kind, fault, statuses, says):

    proxy.rule(kind, fault)
    r = b.run("backup")
    assert r.status in statuses, r
    assert r.out == "" and r.events("backup_failed") and re.search(says, r.log), r
    assert not visible(bucket) and not bucket.uploads()
    # The next run, with the fault gone, is none the worse for it.
    proxy.clear()
    key = b.run("backup", expect=DONE).out.strip()
    proven(b, proxy, key)


def test_what_follows_may_fail_and_the_backup_stays(b, bucket, proxy):
    proxy.rule("put", fp.reply(403, fp.error("AccessDenied")), where=lambda r: "_manifest" in r.target)
    r = b.run("backup", expect=FOLLOW_UP)
    assert r.events("follow_up_failed") and visible(bucket) == [r.out.strip()]
    proven(b, proxy, r.out.strip())
