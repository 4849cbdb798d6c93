"""The backup's S3 client against stores of other makes: listings of every kind (row 46 of the attacks), rules and
features that one has and another lacks, clocks, regions, TLS (specification 10.6, 21.2)."""
import contextlib
import os
import socket
import ssl
import threading
import time
import types
from email.utils import formatdate

import pytest
from harness import env, faultproxy as fp
from harness.certs import Certs, _openssl
from harness.nulls3 import NullS3
from harness.operations import KINDS, MIB, by_name, content, operate
from harness.store import Store


# ---- listings ----

def page(keys, truncated=None, token=None, encoding="url", namespace=True, extra=""):
    ns = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"' if namespace else ""
    return ('<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult%s><Name>b</Name>%s%s%s%s%s</ListBucketResult>' % (
        ns, extra, "<EncodingType>%s</EncodingType>" % encoding if encoding else "",
        "<IsTruncated>%s</IsTruncated>" % truncated if truncated else "",
        "<NextContinuationToken>%s</NextContinuationToken>" % token if token else "",
        "".join("<Contents><Key>%s</Key><Size>1</Size><Owner><ID>Key</ID></Owner></Contents>" % k for k in keys))).encode()


BOMB = b"""<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;">]><ListBucketResult><Contents><Key>&d;</Key>
<Size>1</Size></Contents></ListBucketResult>"""


@pytest.mark.parametrize("name, body, keys", by_name([
    ("plain", page(["p/a", "p/b"]), ["p/a", "p/b"]),
    ("no-namespace", page(["p/a"], namespace=False), ["p/a"]),
    ("prefixed-namespace", b'<s:ListBucketResult xmlns:s="u"><s:Contents><s:Key>p/a</s:Key><s:Size>1</s:Size></s:Contents>'
                           b'</s:ListBucketResult>', ["p/a"]),
    ("escapes", page(["p/%26%3C%3E%22%27%2B%25", "p/a+b", "p/%C3%A9"]), ["p/&<>\"'+%", "p/a b", "p/é"]),
    ("not-encoded", page(["p/a+b%41&amp;"], encoding=None), ["p/a+b%41&"]),
    ("foreign-prefix", page(["p/a", "q/b", "p", "../p/c"]), ["p/a"]),
    ("empty", page([]), []),
    ("truncated-without-token", page(["p/a"], "true"), None),
    ("empty-token", page(["p/a"], "true", extra="<NextContinuationToken/>"), None),
    ("doctype", BOMB, None),
    ("external-entity", b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + page(["p/a"]), None),
    ("10-mib-element", page(["p/" + "a" * (10 * MIB)]), None),
    ("9-kib-element", page(["p/" + "a" * 9000]), None),
    ("deep", page(["p/a"], extra="<d>" * 20 + "</d>" * 20), None),
    ("cut", page(["p/a", "p/b"])[:-30], None),
    ("cut-in-key", page(["p/a", "p/b"])[:200], None),
    ("html", b"<html><body><p>please log in</body></html>", None),
    ("other-root", b"<Whatever><Contents><Key>p/a</Key></Contents></Whatever>", None),
    ("nothing", b"", None),
    ("junk", bytes(range(256)) * 4, None),
    ("after-the-end", page(["p/a"]) + b"<more/>", None),
    ("error-in-200", fp.error("AccessDenied").encode(), None),
    ("size-no-number", page(["p/a"]).replace(b"<Size>1<", b"<Size>-1<"), None),
    ("no-key", page(["p/a"]).replace(b"<Key>p/a</Key>", b""), None),
    ("utf-16", '<?xml version="1.0" encoding="UTF-16"?>'.encode("utf-16") + page(["p/a"]).split(b"?>")[1].decode().encode(
        "utf-16-le"), ["p/a"]),
]))
def test_row_46_listings_of_every_kind(bucket, proxy, s3_store, files, name, body, keys):
    proxy.rule("list", fp.reply(200, body))
    answer = s3_store(attempts=2).list(prefix="p/")
    if keys is None:
        assert answer["result"] in ("failed", "denied"), answer
        # A page is told whole or not at all.
        assert answer["count"] == 0
    else:
        assert answer["result"] == "ok", answer
        assert [i["key"] for i in answer["items"]] == keys


def test_pages_follow_tokens_that_need_escapes(bucket, proxy, s3_store, files):
    tokens = ["1/a+b=&é", "2 %zz<>", "3"]

    def answer(x):
        at = tokens.index(x.request.query["continuation-token"]) + 1 if "continuation-token" in x.request.query else 0
        more = at < len(tokens)
        x.reply(200, page(["p/%d" % at], "true" if more else "false",
                          tokens[at].replace("&", "&amp;").replace("<", "&lt;") if more else None))
    proxy.rule("list", answer)
    listed = s3_store().list(prefix="p/")
    assert [i["key"] for i in listed["items"]] == ["p/0", "p/1", "p/2", "p/3"]


def test_a_token_twice_is_an_error(bucket, proxy, s3_store, files):
    proxy.rule("list", fp.reply(200, page(["p/a"], "true", "again")))
    answer = s3_store().list(prefix="p/")
    assert (answer["result"], answer["code"]) == ("failed", "BrokenListing")
    assert proxy.count("list") == 2


def test_a_listing_that_fails_on_its_second_page_is_incomplete(bucket, proxy, s3_store, files):
    for i in range(5):
        bucket.put("p/%d" % i, b"")
    proxy.rule("list", fp.reply(403, fp.error("AccessDenied")), nth=[2])
    answer = s3_store(page_size=2).list(prefix="p/")
    assert (answer["result"], answer["count"]) == ("denied", 2)


def test_a_page_that_is_lost_is_told_once(bucket, proxy, s3_store, files):
    for i in range(5):
        bucket.put("p/%d" % i, b"")
    proxy.rule("list", fp.reset("in_response"), nth=[1, 3, 5])
    answer = s3_store(page_size=2).list(prefix="p/")
    assert [i["key"] for i in answer["items"]] == ["p/%d" % i for i in range(5)]


# ---- rules of other stores ----

def test_equal_parts_and_few_of_them(bucket, proxy, s3_store, files):
    """A store that wants equal parts gets them; one that takes 2 parts says so."""
    proxy.watch(fp.equal_parts_only())
    proxy.watch(fp.no_unsigned_payload)
    proxy.watch(fp.no_unknown_headers)
    s = s3_store()
    body = files.make("three", 11 * MIB)
    assert s.upload(key="a", file=body, part=5 * MIB, run_id="r", database="d")["result"] == "ok"
    assert s.put(key="b", file=files.make("small", 1000), run_id="r")["result"] == "ok"
    proxy.watch(fp.most_parts(2))
    answer = s.upload(key="c", file=body, part=5 * MIB, run_id="r")
    assert (answer["result"], answer["phase"], answer["code"]) == ("failed", "part", "InvalidArgument")
    assert sorted(bucket.keys()) == ["a", "b"]


def test_the_equal_parts_rule_is_one(bucket, proxy, s3_store, files):
    """The proxy would notice unequal parts."""
    proxy.watch(fp.equal_parts_only())
    s = s3_store()
    s.begin(key="k", run_id="r")
    for number, size in ((1, 5 * MIB), (2, 6 * MIB), (3, 10)):
        assert s.part(number=number, file=files.make("part-%d" % size, size))["result"] == "ok"
    answer = s.complete(size=11 * MIB + 10)
    assert (answer["result"], answer["code"]) == ("failed", "InvalidPart")
    assert s.abort()["result"] == "ok"
    s.free()


@pytest.mark.parametrize("status, code", [(501, "NotImplemented"), (400, "InvalidArgument"), (400, "InvalidRequest")])
def test_a_store_without_conditional_writes(bucket, proxy, s3_store, files, status, code):
    """It is asked once, and then names are looked at before they are used."""
    proxy.rule(None, fp.reply(status, fp.error(code)), where=lambda r: "if-none-match" in r.headers)
    s = s3_store()
    small, big = files.make("small", 1000), files.make("big", 5 * MIB + 1000)
    assert s.put(key="a", file=small, run_id="1")["result"] == "ok"
    assert s.put(key="a", file=small, run_id="2")["result"] == "exists"
    assert s.upload(key="b", file=big, part=5 * MIB, run_id="3")["result"] == "ok"
    assert s.upload(key="b", file=big, part=5 * MIB, run_id="4")["result"] == "exists"
    assert len([r for r in proxy.requests() if "if-none-match" in r.headers]) == 1
    assert len(s.take_events("notice")) == 1


def test_a_store_with_conditional_writes(bucket, proxy, s3_store, files):
    """412 is the answer that another has the name; after a lost answer it may be our own."""
    def conditional(x):
        if "if-none-match" not in x.request.headers or x.request.kind not in ("put", "complete"):
            return False
        if x.request.key in bucket.keys():
            x.reply(412, fp.error("PreconditionFailed"))
            return True
        # Swift does not know the header: the harness's own client does the work.
        x.read_body()
        headers = [(n, v) for n, v in x.request.headers.items() if n.startswith("x-amz-meta-")]
        status, body, _ = bucket.request(x.request.method, x.request.key, list(x.request.query.items()), x.request.body,
                                         headers)
        if "lost" in x.request.key and proxy.count(x.request.kind) == 1:
            x.c.reset()
        x.reply(status, body)
        return True
    proxy.watch(conditional)
    s = s3_store()
    small, big = files.make("small", 1000), files.make("big", 5 * MIB + 1000)
    assert s.put(key="lost-1", file=small, run_id="1")["result"] == "ok"
    assert s.put(key="lost-1", file=small, run_id="2")["result"] == "exists"
    assert s.upload(key="lost-2", file=big, part=5 * MIB, run_id="3")["result"] == "ok"
    assert s.upload(key="lost-2", file=big, part=5 * MIB, run_id="4")["result"] == "exists"
    assert s.head(key="lost-2")["run_id"] == "3"


def use_names(s, files):
    small, big = files.make("small", 1000), files.make("big", 5 * MIB + 1000)
    for n in range(2):
        assert s.put(key="a%d" % n, file=small, run_id="1")["result"] == "ok"
        assert s.put(key="a%d" % n, file=small, run_id="2")["result"] == "exists"
        assert s.replace(key="r", file=small)["result"] == "ok"
        assert s.upload(key="b%d" % n, file=big, part=5 * MIB, run_id="3")["result"] == "ok"
    return [e["text"] for e in s.take_events("notice")]


def test_a_store_without_tags(bucket, proxy, s3_store, files):
    """Swift takes neither tags nor conditions: objects go without, and each is said once."""
    said = use_names(s3_store(tags="a=b"), files)
    assert len([t for t in said if "conditional" in t]) == 1 and len([t for t in said if "tags" in t]) == 1
    assert "x-amz-tagging" not in proxy.requests()[-1].headers


def test_a_store_that_takes_tags_goes_on_getting_them(files):
    """It is the condition that it does not know."""
    server = NullS3()
    p = fp.FaultProxy(types.SimpleNamespace(host="127.0.0.1:%d" % server.port))
    p.rule(None, fp.reply(501, fp.error("NotImplemented")), where=lambda r: "if-none-match" in r.headers)
    s = Store(**server.settings(endpoint=p.endpoint, tags="a=b"))
    said = use_names(s, files)
    assert ["conditional" in t for t in said] == [True]
    makers = [r for r in p.requests() if r.kind in ("put", "begin")]
    assert len(makers) == 7 and all(r.headers["x-amz-tagging"] == "a=b" for r in makers)
    s.close()
    p.close()
    server.close()


@pytest.mark.parametrize("status", [501, 405])
def test_a_store_that_does_not_list_uploads(bucket, proxy, s3_store, files, status):
    proxy.rule("list_uploads", fp.reply(status, fp.error("NotImplemented" if status == 501 else "MethodNotAllowed")))
    assert s3_store().list_uploads(prefix="p/")["result"] == "unsupported"


def test_a_store_that_lets_nothing_be_deleted(bucket, proxy, s3_store, files):
    proxy.rule("delete", fp.reply(403, fp.error("AccessDenied")))
    bucket.put("k", b"")
    assert s3_store().remove(key="k")["result"] == "denied"
    assert proxy.count("delete") == 1


def test_unsigned_bodies_only_over_tls(bucket, proxy, s3_store, files):
    """Asked for without TLS, the body is signed all the same."""
    proxy.watch(fp.no_unsigned_payload)
    assert s3_store(unsigned=True).put(key="k", file=files.make("small", 1000), run_id="r")["result"] == "ok"


# ---- what the client must learn ----

@pytest.mark.parametrize("kind", ["put", "head", "get", "list", "part"])
@pytest.mark.parametrize("shift", [480, -480])
def test_a_clock_that_is_off_is_followed(bucket, proxy, s3_store, files, kind, shift):
    proxy.watch(fp.clock(shift))
    s = s3_store()
    answer = operate(kind, bucket, s, files)
    assert answer["result"] == "ok", answer
    assert abs(answer["clock_offset"] - shift) < 60
    notices = [e["text"] for e in s.take_events("notice") if "clock" in e["text"]]
    # Two parts may be under way when it is found out.
    assert 1 <= len(notices) <= 2


def test_a_plain_403_with_another_date_is_taken_for_a_clock(bucket, proxy, s3_store, files):
    def watch(x):
        proxy.clock_shift = 480
        return False
    proxy.watch(watch)
    proxy.rule("head", fp.reply(403, b"", [("Date", formatdate(time.time() + 480, usegmt=True))]), times=1)
    bucket.put("k", b"x")
    assert s3_store().head(key="k")["result"] == "ok"
    assert proxy.count("head") == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", ["header", "body"])
def test_the_region_is_learnt(bucket, proxy, s3_store, files, kind, by):
    proxy.watch(fp.only_region("us-east-1", by))
    s = s3_store(region="auto")
    answer = operate(kind, bucket, s, files)
    assert answer["result"] == "ok", answer
    assert len([e for e in s.take_events("notice") if "us-east-1" in e["text"]]) == 1


def test_a_region_that_was_set_is_not_changed(bucket, proxy, s3_store, files):
    proxy.watch(fp.only_region("us-east-1", "body"))
    answer = s3_store(region="eu-central-1").list(prefix="")
    assert answer["result"] == "denied" and "us-east-1" in answer["message"]
    assert proxy.count() == 1


def test_a_redirect_is_not_followed(bucket, proxy, s3_store, files):
    proxy.rule("list", fp.reply(307, b"", [("Location", "http://127.0.0.1:1/elsewhere")]))
    answer = s3_store().list(prefix="")
    assert (answer["result"], answer["http"]) == ("failed", 307)
    assert proxy.count() == 1


def test_an_expired_token_of_fixed_keys_is_a_refusal(bucket, proxy, s3_store, files):
    proxy.rule("list", fp.reply(403, fp.error("ExpiredToken")))
    answer = s3_store(session_token="old").list(prefix="")
    assert (answer["result"], answer["code"]) == ("denied", "ExpiredToken")
    assert proxy.count() == 1


# ---- how often, how many ----

def test_waits_grow_and_are_spread(bucket, proxy, s3_store, files):
    proxy.rule("head", fp.reply(503))
    s = s3_store(backoff_first=10_000, backoff_most=200_000)
    bucket.put("k", b"")
    assert s.head(key="k")["result"] == "network"
    waits = [e["wait"] for e in s.take_events("retry")]
    assert len(waits) == 7 and len(set(waits)) > 3
    assert all(w <= min(200_000, 10_000 << i) for i, w in enumerate(waits))


def test_all_tries_together_have_a_time(bucket, proxy, s3_store, files):
    proxy.rule("head", fp.reply(503, b"", [("Retry-After", "3600")]))
    s = s3_store(request_timeout=2_000_000)
    bucket.put("k", b"")
    assert s.head(key="k")["result"] == "network"
    assert proxy.count("head") == 1


def test_a_slow_store_gets_fewer_parts_at_once(bucket, proxy, s3_store, files):
    """Two parts in a row with more than three tries: half as many, and not fewer than one."""
    body = files.make("six", 30 * MIB)
    under_way, most, lock = set(), [], threading.Lock()

    def watch(x):
        if x.request.kind == "part":
            with lock:
                under_way.add(x.request)
                most.append((int(x.request.query["partNumber"]), len(under_way)))
            try:
                n = len([r for r in proxy.requests("part") if r.query["partNumber"] == x.request.query["partNumber"]])
                if int(x.request.query["partNumber"]) <= 2 and n <= 4:
                    x.reply(503, fp.error("SlowDown"))
                else:
                    x.forward()
                    x.send()
            finally:
                with lock:
                    under_way.discard(x.request)
            return True
        return False
    proxy.watch(watch)
    s = s3_store(concurrency=2)
    assert s.upload(key="k", file=body, part=5 * MIB, width=2, run_id="r")["result"] == "ok"
    assert [e["text"] for e in s.take_events("notice") if "slow" in e["text"]]
    assert max(n for part, n in most if part >= 5) == 1


def test_a_store_that_never_asks_for_a_body(files):
    """Expect: 100-continue costs a second each time, so it is sent no longer."""
    server = NullS3(asks=False)
    s = Store(**server.settings())
    begun = time.monotonic()
    assert s.upload(key="k", file=files.make("six", 30 * MIB), part=5 * MIB, width=1, run_id="r")["result"] == "ok"
    assert time.monotonic() - begun < 5
    assert server.expected == ["100-continue"] * 2 + [None] * 4
    assert [e["text"] for e in s.take_events("notice") if "Expect" in e["text"]]
    s.close()
    server.close()


# ---- TLS ----

@pytest.fixture(scope="module")
def pki(scratch):
    c = Certs(env.make_dir(scratch, "s3certs-"))
    _openssl("x509", "-req", "-days", "-1", "-in", c.path("server.csr"), "-CA", c.crt("ca"), "-CAkey", c.key("ca"),
             "-CAcreateserial", "-extfile", c.path("server.ext"), "-out", c.crt("expired"))
    os.link(c.path("server.mine.key"), c.path("expired.mine.key"))
    return c


def context(pki, name, newest=None):
    t = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    t.load_cert_chain(pki.crt(name), pki.path(name + ".mine.key"))
    if newest:
        t.minimum_version = ssl.TLSVersion.TLSv1
        t.maximum_version = newest
        t.set_ciphers("ALL:@SECLEVEL=0")
    return t


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name, cert, ca, newest, result", by_name([
    ("good", "server", "ca", None, "ok"),
    ("untrusted", "impostor", "ca", None, "network"),
    ("wrong-name", "elsewhere", "ca", None, "network"),
    ("expired", "expired", "ca", None, "network"),
    ("old-tls", "server", "ca", ssl.TLSVersion.TLSv1_1, "network"),
    ("no-such-ca-file", "server", "missing", None, "network"),
]))
def test_tls(bucket, files, pki, name, cert, ca, newest, result):
    p = fp.FaultProxy(bucket, context(pki, cert, newest))
    s = Store(**bucket.settings(endpoint=p.endpoint, region="us-east-1", ca_file=pki.crt(ca)))
    try:
        answer = s.put(key="k", file=files.make("small", 1000), run_id="r")
        assert answer["result"] == result, answer
        # What a certificate says does not change by asking again.
        assert not s.take_events("retry")
        if result == "ok":
            big = files.make("big", 5 * MIB + 1000)
            assert s.upload(key="b", file=big, part=5 * MIB, run_id="r")["result"] == "ok"
            assert bucket.get("b") == content(big)
        else:
            assert p.count() == 0 and answer["message"]
    finally:
        s.close()
        p.close()


def test_unsigned_bodies_over_tls(bucket, files, pki):
    p = fp.FaultProxy(bucket, context(pki, "server"))
    s = Store(**bucket.settings(endpoint=p.endpoint, region="us-east-1", ca_file=pki.crt("ca"), unsigned=True))
    try:
        assert s.upload(key="k", file=files.make("big", 5 * MIB + 1000), part=5 * MIB, run_id="r")["result"] == "ok"
        assert {r.headers["x-amz-content-sha256"] for r in p.requests("part")} == {"UNSIGNED-PAYLOAD"}
        assert "UNSIGNED-PAYLOAD" not in {r.headers["x-amz-content-sha256"] for r in p.requests("complete")}
    finally:
        s.close()
        p.close()


def test_insecure_when_it_is_asked_for(bucket, files, pki):
    p = fp.FaultProxy(bucket, context(pki, "impostor"))
    s = Store(**bucket.settings(endpoint=p.endpoint, region="us-east-1", insecure=True))
    try:
        assert s.list(prefix="")["result"] == "ok"
    finally:
        s.close()
        p.close()


def test_plain_http_on_the_tls_port(bucket):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                c, _ = listener.accept()
                c.recv(1000)
                c.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                c.close()
    threading.Thread(target=serve, daemon=True).start()
    s = Store(**bucket.settings(endpoint="https://127.0.0.1:%d" % listener.getsockname()[1]))
    answer = s.list(prefix="")
    assert answer["result"] == "network" and not s.take_events("retry"), answer
    s.close()
    listener.close()


def test_a_host_that_has_no_address(bucket):
    s = Store(**bucket.settings(endpoint="http://nowhere.invalid", allow_http=True, attempts=4))
    for _ in range(2):
        answer = s.list(prefix="")
        assert answer["result"] == "network" and "nowhere.invalid" in answer["message"], answer
        assert len(s.take_events("retry")) == 3
    s.close()


def test_nobody_there(bucket):
    s = Store(**bucket.settings(endpoint="http://127.0.0.1:%d" % env.free_port(), attempts=3))
    answer = s.list(prefix="")
    assert answer["result"] == "network" and len(s.take_events("retry")) == 2
    s.close()
