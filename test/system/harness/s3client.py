"""A second S3 client, to look at a server with: signatures from its own code, nothing shared with ours."""
import datetime
import hashlib
import hmac
import http.client
import random
import urllib.parse
import xml.etree.ElementTree as tree


def _quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-_.~")


class S3:
    def __init__(self, endpoint, bucket, access_key, secret_key, region="us-east-1"):
        self.host = endpoint.split("://")[1]
        self.bucket, self.access_key, self.secret_key, self.region = bucket, access_key, secret_key, region

    def request(self, method, key="", query=(), body=b"", headers=()):
        path = "/" + self.bucket + ("/" + key if key else "")
        uri = _quote(path, "/")
        text = "&".join(sorted("%s=%s" % (_quote(n), _quote(v)) for n, v in query))
        now = datetime.datetime.utcnow().strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        signed = {"host": self.host, "x-amz-date": now, "x-amz-content-sha256": digest, **dict(headers)}
        names = ";".join(sorted(signed))
        canonical = "\n".join([method, uri, text] + ["%s:%s" % (n, signed[n]) for n in sorted(signed)]
                              + ["", names, digest])
        scope = "%s/%s/s3/aws4_request" % (now[:8], self.region)
        to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        mac = ("AWS4" + self.secret_key).encode()
        for step in scope.split("/") + [to_sign]:
            mac = hmac.new(mac, step.encode(), hashlib.sha256)
            last, mac = mac.hexdigest(), mac.digest()
        authorization = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
            self.access_key, scope, names, last)
        c = http.client.HTTPConnection(self.host, timeout=60)
        try:
            c.request(method, uri + ("?" + text if text else ""), body,
                      {**{n: v for n, v in signed.items() if n != "host"}, "Authorization": authorization})
            r = c.getresponse()
            return r.status, r.read(), {n.lower(): v for n, v in r.getheaders()}
        finally:
            c.close()

    def must(self, *args, **kw):
        status, body, headers = self.request(*args, **kw)
        if status >= 300:
            raise RuntimeError("%s: %d %s" % (args, status, body[:500]))
        return body, headers

    def make_bucket(self):
        self.must("PUT")

    def put(self, key, body):
        self.must("PUT", key, body=body)

    def get(self, key):
        return self.must("GET", key)[0]

    def delete(self, key):
        self.must("DELETE", key)

    @staticmethod
    def _texts(body, item, *names):
        root = tree.fromstring(body)
        ns = root.tag.split("}")[0] + "}" if root.tag.startswith("{") else ""
        return root.findtext(ns + "IsTruncated"), [
            tuple(i.findtext(ns + n) for n in names) for i in root.iter(ns + item)]

    def keys(self, prefix=""):
        found, after = [], ""
        while True:
            body, _ = self.must("GET", query=[("list-type", "2"), ("prefix", prefix), ("start-after", after)])
            truncated, page = self._texts(body, "Contents", "Key")
            found += [k for k, in page]
            if truncated != "true":
                return found
            after = found[-1]

    def uploads(self, prefix=""):
        body, _ = self.must("GET", query=[("uploads", ""), ("prefix", prefix)])
        return self._texts(body, "Upload", "Key", "UploadId")[1]

    def abort(self, key, upload_id):
        self.must("DELETE", key, query=[("uploadId", upload_id)])

    def empty(self):
        for key, upload in self.uploads():
            self.abort(key, upload)
        for key in self.keys():
            self.delete(key)


class Bucket(S3):
    """A new one, with what our store needs to open it."""
    uploads_left = 0

    def __init__(self, server):
        name = "b%08x" % random.getrandbits(32)
        super().__init__(server.endpoint, name, "test:tester", "testing")
        self.make_bucket()

    def settings(self, **more):
        return {"endpoint": "http://" + self.host, "bucket": self.bucket, "access_key": self.access_key,
                "secret_key": self.secret_key, **more}
