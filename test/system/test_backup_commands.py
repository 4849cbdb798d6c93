"""The commands that concern the store alone, by the program itself, against a real S3 server and a proxy that fails.

Retention through the real command is here (specification 22.7), and what else
lies in a bucket (row 46 of the attacks).
"""
import json
import os

import pytest
from harness import env, faultproxy as fp
from harness.backup import (DONE, FOLLOW_UP, INTEGRITY, MAGIC, NOTHING, REFUSED, STORAGE, TIMED_OUT, USAGE, open_2)
from harness.nulls3 import NullS3

with open(os.path.join(env.TOP, "test", "vectors", "backup-vectors.json"), encoding="utf-8") as f:
    VECTORS = json.load(f)
FAR = 365250  # days: what is older than any vector is not too old by the clock of today


@pytest.fixture
def s3(backup, bucket):
    """The program on an empty bucket: run(), and a proxy in between when it is asked for."""
    made = []

    class S3:
        def __init__(self):
            self.bucket = bucket
            self.proxy = None
            self.b = backup()
            self.use("http://" + bucket.host)

        def use(self, endpoint):
            self.b.set(BACKUP_S3_ENDPOINT=endpoint, BACKUP_S3_BUCKET=bucket.bucket,
                       BACKUP_S3_ACCESS_KEY=bucket.access_key, BACKUP_S3_SECRET_KEY=bucket.secret_key)

        def through_proxy(self):
            self.proxy = fp.FaultProxy(bucket)
            made.append(self.proxy)
            self.use(self.proxy.endpoint)
            return self.proxy

        def run(self, *args, **more):
            return self.b.run(*args, **more)

        def plant(self, *names, body=b"x", prefix="app"):
            for n in names:
                bucket.put(prefix + "/" + n, body)

    yield S3()
    for p in made:
        p.close()


def names(*dates, suffix="enc2"):
    return ["202501%02d_000000.backup.%s" % (d, suffix) for d in dates]


FOREIGN = ["notes.txt", "20250101_000000.backup.enc3", "20250101_000000.backup.enc.tmp", "sub/20250101_000000.backup.enc",
           "20251301_000000.backup.enc", "a b&c<d>\"'+%é", "../20250101_000000.backup.enc", "x" * 900]


def test_row_46_list_shows_ours_newest_first_and_others_on_wish(s3):
    s3.plant(*names(1, 3, 2))
    s3.plant(*FOREIGN)
    s3.bucket.put("app2/20250101_000000.backup.enc", b"")
    s3.bucket.put("app-x/20250101_000000.backup.enc", b"")
    r = s3.run("list", "--json", expect=DONE)
    listed = json.loads(r.out)
    assert [i["key"] for i in listed] == ["app/" + n for n in names(3, 2, 1)]
    assert all(i["size"] == 1 and i["good"] and not i["has_manifest"] and i["keep"] for i in listed)
    everything = json.loads(s3.run("list", "--json", "--all", expect=DONE).out)
    assert sorted(i["key"] for i in everything if i.get("ignored")) == sorted("app/" + n for n in FOREIGN if "/" not in n)
    text = s3.run("list", "--all", expect=DONE).out
    assert text.index(names(3)[0]) < text.index(names(1)[0]) and "ignored" in text
    assert "app2" not in text


def test_an_empty_bucket_and_a_missing_one(s3):
    assert "no backups" in s3.run("list", expect=DONE).out
    assert json.loads(s3.run("list", "--json", expect=DONE).out) == []
    assert s3.run("download", "latest", "-o", "out", expect=NOTHING).out == ""
    s3.run("hold", "latest", expect=NOTHING)
    r = s3.run("list", BACKUP_S3_BUCKET="no-such-bucket", expect=STORAGE)
    assert "NoSuchBucket" in r.log


def test_row_46_prune_touches_names_of_ours_alone(s3):
    s3.plant(*names(*range(1, 11)))
    s3.plant(*FOREIGN)
    s3.bucket.put("app2/20200101_000000.backup.enc", b"")
    s3.bucket.put("_manifest/app/%s.json" % names(1)[0], b"{}")
    before = set(s3.bucket.keys())
    r = s3.run("prune", "--dry-run", BACKUP_RETENTION_COUNT=3, expect=DONE)
    assert set(s3.bucket.keys()) == before
    assert [line.split()[1] for line in r.out.splitlines() if line.startswith("delete")] == [
        "app/" + n for n in names(*range(7, 0, -1))]
    s3.run("prune", BACKUP_RETENTION_COUNT=3, expect=DONE)
    gone = {"app/" + n for n in names(*range(1, 8))} | {"_manifest/app/%s.json" % names(1)[0]}
    assert set(s3.bucket.keys()) == before - gone


def test_prune_without_rules_deletes_nothing(s3):
    s3.plant(*names(1, 2))
    s3.run("prune", expect=DONE)
    assert len(s3.bucket.keys()) == 2
    for setting in ("BACKUP_RETENTION_COUNT", "BACKUP_RETENTION_DAYS"):
        assert s3.run("prune", **{setting: "-1"}).status == USAGE
    assert s3.run("prune", BACKUP_RETENTION_COUNT="0").status == USAGE
    assert len(s3.bucket.keys()) == 2


@pytest.mark.parametrize("vector", [v for v in VECTORS["retention"] if v["days"] is None], ids=lambda v: v["name"])
def test_retention_vectors_by_the_command(s3, vector):
    """Those that do not depend on today's date."""
    for key in vector["keys"]:
        s3.bucket.put(key, b"x")
    r = s3.run("prune", "--dry-run", "--max-delete", "1000", BACKUP_PREFIX=vector["prefix"], expect=DONE,
               BACKUP_RETENTION_COUNT=vector["count"], BACKUP_RETENTION_MIN_KEEP=vector["min_keep"],
               BACKUP_RETENTION_MODE=vector["mode"])
    # What a vector calls the future has become the past.
    wanted = set(vector["delete"])
    if vector["name"] == "future-object-not-counted":
        return
    assert {line.split()[1] for line in r.out.splitlines() if line.startswith("delete")} == wanted
    assert len(s3.bucket.keys()) == len(set(vector["keys"]))


def test_a_listing_that_fails_on_page_2_deletes_nothing(s3):
    s3.plant(*names(*range(1, 10)))
    p = s3.through_proxy()
    for fault, status in ((fp.reply(403, fp.error("AccessDenied")), STORAGE), (fp.reply(200, b"<html>"), STORAGE),
                          (fp.reply(500), STORAGE)):
        p.clear()
        p.rule("list", fault, where=lambda r: "continuation-token" in r.query)
        s3.run("prune", BACKUP_RETENTION_COUNT=1, BACKUP_S3_LIST_PAGE_SIZE=3, BACKUP_S3_ATTEMPTS=2, expect=status)
        assert p.count("list") >= 2 and p.count("delete") == 0
    p.clear()
    # The marks are a listing, too.
    p.rule("list", fp.reply(403, fp.error("AccessDenied")), where=lambda r: r.query["prefix"].startswith("_manifest"))
    s3.run("prune", BACKUP_RETENTION_COUNT=1, expect=STORAGE)
    assert p.count("delete") == 0 and len(s3.bucket.keys()) == 9


def test_manifests_that_cannot_be_read_delete_nothing(s3):
    s3.plant(*names(1, 2, 3))
    s3.bucket.put("_manifest/app/%s.json" % names(1)[0], b"{}")
    p = s3.through_proxy()
    p.rule("get", fp.reply(403, fp.error("AccessDenied")))
    s3.run("prune", BACKUP_RETENTION_COUNT=1, expect=STORAGE)
    assert p.count("delete") == 0


def test_one_failed_deletion_does_not_stop_the_others(s3):
    s3.plant(*names(1, 2, 3, 4))
    p = s3.through_proxy()
    p.rule("delete", fp.reply(403, fp.error("AccessDenied", "locked")), where=lambda r: names(2)[0] in r.path)
    r = s3.run("prune", BACKUP_RETENTION_COUNT=1, expect=FOLLOW_UP)
    assert s3.bucket.keys() == ["app/" + n for n in names(2, 4)]
    assert "locked" in r.log and len([q for q in p.requests("delete") if names(2)[0] in q.path]) == 1


def test_clocks_a_day_apart_delete_nothing(s3):
    s3.plant(*names(1, 2, 3))
    p = s3.through_proxy()
    p.clock_shift = 2 * 86400
    r = s3.run("prune", BACKUP_RETENTION_COUNT=1, expect=REFUSED)
    assert p.count("delete") == 0 and "clock" in r.log


def test_at_most_so_many_go_at_once(s3):
    s3.plant(*names(*range(1, 10)))
    s3.run("prune", "--max-delete", "2", BACKUP_RETENTION_COUNT=1, expect=DONE)
    assert s3.bucket.keys() == ["app/" + n for n in names(*range(3, 10))]


def test_a_held_backup_stays(s3):
    s3.plant(*names(1, 2, 3))
    s3.run("hold", "20250101_000000", expect=DONE)
    assert "_manifest/app/%s.hold" % names(1)[0] in s3.bucket.keys()
    s3.run("prune", BACKUP_RETENTION_COUNT=1, expect=DONE)
    assert [k for k in s3.bucket.keys() if k.startswith("app/")] == ["app/" + n for n in names(1, 3)]
    s3.run("release", "app/" + names(1)[0], expect=DONE)
    s3.run("prune", BACKUP_RETENTION_COUNT=1, expect=DONE)
    assert s3.bucket.keys() == ["app/" + names(3)[0]]


def test_download_gives_the_bytes_as_stored(s3):
    data = os.urandom(3_000_000)
    s3.plant(names(2)[0], body=data)
    s3.plant(names(1)[0])
    out = os.path.join(s3.b.dir, "out")
    s3.run("download", "latest", "-o", out, expect=DONE)
    with open(out, "rb") as f:
        assert f.read() == data
    p = s3.through_proxy()
    p.rule("get", fp.reset("in_response"), times=2)
    s3.run("download", "20250102_000000", "-o", out, expect=DONE)
    with open(out, "rb") as f:
        assert f.read() == data
    p.clear()
    p.rule("get", fp.rewrite(lambda s, h, b: (s, h, b + b"more")))
    os.unlink(out)
    s3.run("download", "latest", "-o", out, expect=INTEGRITY)
    assert not os.path.exists(out) and not os.path.exists(out + ".partial")


def test_an_object_replaced_during_a_download_is_fetched_anew(s3):
    key = "app/" + names(1)[0]
    s3.bucket.put(key, os.urandom(200_000))
    other = os.urandom(200_000)
    p = s3.through_proxy()

    def cut(x):
        x.forward()
        data = x.head_bytes() + x.answer[2]
        x.c.send(data[:-100_000])
        s3.bucket.put(key, other)
        x.c.reset()
    p.rule("get", cut, times=1)
    out = os.path.join(s3.b.dir, "out")
    s3.run("download", "latest", "-o", out, expect=DONE)
    with open(out, "rb") as f:
        assert f.read() == other


def test_cleanup_aborts_ours_when_they_are_old(s3):
    """An upload of ours, one of somebody else's, one of another prefix."""
    keys = ["app/" + names(1)[0], "app/other", "app2/" + names(1)[0]]
    for key in keys:
        s3.bucket.must("POST", key, query=[("uploads", "")])
    s3.run("cleanup", expect=DONE)
    assert len(s3.bucket.uploads()) == 3
    # The store's clock decides, and it is a little behind or ahead.
    r = env.wait_for(lambda: (r := s3.run("cleanup", "--dry-run", "--min-age", "0", expect=DONE)) and "1 unfinished" in r.out
                     and r, "it to be old enough")
    assert names(1)[0] in r.out and len(s3.bucket.uploads()) == 3
    # It counts from the store's clock; one second is none of ours yet.
    env.wait_for(lambda: s3.run("cleanup", "--min-age", "1", expect=DONE) and len(s3.bucket.uploads()) == 2, "cleanup")
    assert sorted(k for k, _ in s3.bucket.uploads()) == keys[1:]
    s3.bucket.uploads_left = 2


def test_cleanup_where_uploads_are_not_listed(s3):
    p = s3.through_proxy()
    p.rule("list_uploads", fp.reply(501, fp.error("NotImplemented")))
    r = s3.run("cleanup", expect=DONE)
    assert "bucket rule" in r.log


def test_check_says_what_works(s3):
    p = s3.through_proxy()
    r = s3.run("check")
    lines = {line.split()[1] for line in r.out.splitlines() if line.startswith("ok")}
    assert {"list", "clock", "put", "multipart", "delete"} <= lines
    assert "FAILED list" not in r.out and s3.bucket.keys() == []
    p.clear()
    p.rule("delete", fp.reply(403, fp.error("AccessDenied")))
    r = s3.run("check", expect=STORAGE)
    assert "FAILED delete" in r.out and "AccessDenied" in r.out
    p.clear()
    p.rule("list", fp.reply(403, fp.error("InvalidAccessKeyId")))
    r = s3.run("check", expect=STORAGE)
    assert "FAILED list" in r.out


@pytest.mark.parametrize("fault, status", [
    (fp.reply(403, fp.error("SignatureDoesNotMatch")), STORAGE),
    (fp.reply(500), STORAGE),
    (fp.reset("before_body"), STORAGE),
    (fp.stall("before_body"), TIMED_OUT),
], ids=["403", "500", "reset", "stall"])
def test_the_exit_status_tells_the_kind_of_failure(s3, fault, status):
    s3.through_proxy().rule(None, fault)
    r = s3.run("list", BACKUP_S3_ATTEMPTS=2, BACKUP_S3_STALL_TIMEOUT=1, expect=status)
    assert r.out == "" and s3.bucket.secret_key not in r.log.replace("testing:", "")


def test_a_hundred_thousand_objects(backup):
    """More than a hundred pages; the newest ones are seen, and memory stays small (22.14)."""
    server = NullS3(objects=100_000, prefix="app")
    b = backup(BACKUP_S3_ENDPOINT=server.endpoint, BACKUP_S3_BUCKET="bucket", BACKUP_S3_ACCESS_KEY="k",
               BACKUP_S3_SECRET_KEY="s")
    r = b.run("prune", "--dry-run", "--max-delete", "1000000", BACKUP_RETENTION_COUNT=3, expect=DONE)
    lines = r.out.splitlines()
    assert "99997 of 100000 would be deleted" in lines[-1]
    assert server.name(99_999) in lines[0] and lines[0].startswith("keep")
    server.close()


def test_manifests_may_be_sealed(backup):
    """Nothing of them can be read without the key, and all of them with it."""
    b = backup(BACKUP_ENCRYPTION_ENCRYPT_MANIFEST="yes")
    path = b.backup("--label", "a secret label")
    with open(os.path.join(b.store, "_manifest", os.path.relpath(path, b.store) + ".json"), "rb") as f:
        raw = f.read()
    assert raw.startswith(MAGIC) and b"secret label" not in raw
    assert json.loads(open_2(raw, content=3))["label"] == "a secret label"
    listed = json.loads(b.run("list", "--json", "--long", expect=DONE).out)
    assert [(i["state"], i["label"]) for i in listed] == [("good", "a secret label")]
    b.run("verify", "latest", "--level", "auth", expect=DONE)
    listed = json.loads(b.run("list", "--json", "--long", expect=DONE).out)
    assert listed[0]["verified_level"] == "auth"
    r = b.run("list", "--json", expect=DONE, MNEMONIC="another mnemonic of enough words to be taken for one of those")
    assert json.loads(r.out)[0]["state"] == "unknown" and "not believed" in r.log
