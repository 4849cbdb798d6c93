"""One operation of our S3 client for each kind of request it sends, and whether all is right after it."""
import os

import pytest

from . import env

MIB = 1 << 20
KINDS = ["put", "head", "get", "delete", "list", "begin", "part", "complete", "abort", "list_uploads"]


class Files:
    """Files of a size with bytes of their own, made once."""

    def __init__(self, scratch):
        self.dir = env.make_dir(scratch, "files-")

    def path(self, name):
        return os.path.join(self.dir, name)

    def make(self, name, size):
        path = self.path("%s-%d" % (name, size))
        if not os.path.exists(path):
            with open(path, "wb") as f:
                f.write(os.urandom(size))
        return path


def content(path):
    with open(path, "rb") as f:
        return f.read()


def by_name(rows):
    return [pytest.param(*row, id=row[0]) for row in rows]


def operate(kind, bucket, s, files):
    """The operation that sends requests of this kind, and whether all is right after it. Its answer."""
    small, big = files.make("small", 1000), files.make("big", 5 * MIB + 1000)
    if kind == "put":
        a = s.put(key="new", file=small, run_id="run")
        assert (bucket.keys() == ["new"]) == (a["result"] == "ok"), a
        if a["result"] == "ok":
            assert bucket.get("new") == content(small)
    elif kind in ("begin", "part", "complete"):
        a = s.upload(key="new", file=big, part=5 * MIB, run_id="run")
        assert (bucket.keys() == ["new"]) == (a["result"] == "ok"), a
        if a["result"] == "ok":
            assert bucket.get("new") == content(big)
        else:
            assert a.get("abort", "ok") == "ok"
            assert a["phase"] == kind
    elif kind == "abort":
        assert s.begin(key="new", run_id="run")["result"] == "ok"
        a = s.abort()
        s.free()
        bucket.uploads_left = 0 if a["result"] == "ok" else len(bucket.uploads())
    elif kind == "list_uploads":
        s.begin(key="new", run_id="run")
        a = s.list_uploads(prefix="")
        if a["result"] == "ok":
            assert [i["key"] for i in a["items"]] == ["new"]
        for key, upload in bucket.uploads():
            bucket.abort(key, upload)
        s.free()
    else:
        bucket.put("old", content(small))
        if kind == "head":
            a = s.head(key="old")
            assert a["result"] != "ok" or a["size"] == 1000
        elif kind == "get":
            a = s.get(key="old", file=files.path("got-" + bucket.bucket))
            if a["result"] == "ok":
                assert content(files.path("got-" + bucket.bucket)) == content(small)
        elif kind == "delete":
            a = s.remove(key="old")
            if a["result"] == "ok":
                assert bucket.keys() == []
        else:
            a = s.list(prefix="")
            if a["result"] == "ok":
                assert [i["key"] for i in a["items"]] == ["old"]
    return a
