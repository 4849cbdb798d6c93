"""An S3 server that keeps nothing: for speed, and for listings of any length.

Signatures are not looked at. Objects have a size and metadata, but their
bytes are thrown away; a GET gives zeros.
"""
import re
import socket
import threading
import urllib.parse
from email.utils import formatdate

ZEROS = bytes(1 << 20)


class NullS3:
    def __init__(self, objects=0, prefix="pg-backup", tls=None, asks=True, deaf_to=()):
        """objects: so many backups are listed under prefix, one an hour up to the end of 2025.
        asks: whether it answers Expect: 100-continue. deaf_to: methods that it never answers."""
        self.deaf_to = deaf_to
        self.asks, self.expected = asks, []
        self.objects, self.prefix, self.tls = objects, prefix, tls
        self.made, self.uploads = {}, {}
        self.received = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self):
        return "https://localhost:%d" % self.port if self.tls else "http://127.0.0.1:%d" % self.port

    def settings(self, **more):
        return {"endpoint": self.endpoint, "bucket": "bucket", "access_key": "key", "secret_key": "secret", **more}

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            buffer, scratch = b"", bytearray(1 << 20)
            while True:
                while b"\r\n\r\n" not in buffer:
                    got = sock.recv(1 << 16)
                    if not got:
                        return
                    buffer += got
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ", 2)
                headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:])}
                left = int(headers.get("content-length", 0))
                if method == "PUT":
                    self.expected.append(headers.get("expect"))
                if self.asks and headers.get("expect", "").lower() == "100-continue":
                    sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = b""
                if left <= 1 << 16 or method == "POST":
                    while len(buffer) < left:
                        buffer += sock.recv(1 << 18)
                    body, buffer = buffer[:left], buffer[left:]
                else:
                    left -= len(buffer)
                    buffer = b""
                    while left:
                        n = sock.recv_into(scratch, min(left, len(scratch)))
                        if not n:
                            return
                        left -= n
                self.received += int(headers.get("content-length", 0))
                if method in self.deaf_to:
                    sock.recv(1)
                    return
                self._answer(sock, method, target, headers, body)
                if headers.get("connection", "").lower() == "close":
                    return
        except OSError:
            pass
        finally:
            sock.close()

    def _send(self, sock, status, headers=(), body=b"", length=None):
        text = "".join("%s: %s\r\n" % h for h in headers)
        sock.sendall(("HTTP/1.1 %d OK\r\nDate: %s\r\n%sContent-Length: %d\r\n\r\n" % (
            status, formatdate(usegmt=True), text, len(body) if length is None else length)).encode("latin-1") + body)

    def _answer(self, sock, method, target, headers, body):
        path, _, query = target.partition("?")
        key = urllib.parse.unquote(path).lstrip("/").partition("/")[2]
        q = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        size = int(headers.get("content-length", 0))
        meta = [(n, v) for n, v in headers.items() if n.startswith("x-amz-meta-")]
        if method == "PUT" and "partNumber" in q:
            self.uploads[q["uploadId"]][1][int(q["partNumber"])] = size
            self._send(sock, 200, [("ETag", '"part"')])
        elif method == "PUT":
            self.made[key] = (size, meta, body)
            self._send(sock, 200, [("ETag", '"object"')])
        elif method == "POST" and "uploads" in q:
            upload = "upload-%d" % (len(self.uploads) + 1)
            self.uploads[upload] = (meta, {})
            self._send(sock, 200, body=b"<InitiateMultipartUploadResult><UploadId>%s</UploadId>"
                                       b"</InitiateMultipartUploadResult>" % upload.encode())
        elif method == "POST":
            meta, parts = self.uploads.pop(q["uploadId"])
            self.made[key] = (sum(parts.values()), meta, b"")
            self._send(sock, 200, body=b"<CompleteMultipartUploadResult/>")
        elif method == "DELETE":
            self.uploads.pop(q.get("uploadId"), None)
            if "uploadId" not in q:
                self.made.pop(key, None)
            self._send(sock, 204)
        elif "list-type" in q:
            self._list(sock, q)
        elif "uploads" in q:
            self._send(sock, 200, body=b"<ListMultipartUploadsResult/>")
        elif key in self.made:
            size, meta, body = self.made[key]
            first, last = 0, size - 1
            m = re.match(r"bytes=(\d+)-(\d*)$", headers.get("range", ""))
            if m:
                first, last = int(m.group(1)), min(int(m.group(2) or size), size - 1)
            more = [("ETag", '"object"'), ("Last-Modified", formatdate(usegmt=True))] + meta
            if m:
                more.append(("Content-Range", "bytes %d-%d/%d" % (first, last, size)))
            length = last - first + 1
            self._send(sock, 206 if m else 200, more, length=length)
            if method == "GET" and body:
                sock.sendall(body[first:last + 1])
            elif method == "GET":
                while length:
                    n = sock.send(memoryview(ZEROS)[:min(length, len(ZEROS))])
                    length -= n
        else:
            self._send(sock, 404, body=b"" if method == "HEAD" else b"<Error><Code>NoSuchKey</Code></Error>")

    def name(self, i):
        """Of backup number i, from the oldest."""
        at = 1767225600 - 3600 * (self.objects - i)
        import time
        return time.strftime("%Y%m%d_%H%M%S.backup.enc2", time.gmtime(at))

    def _list(self, sock, q):
        prefix, width = q.get("prefix", ""), int(q.get("max-keys", 1000))
        at = int(q.get("continuation-token", 0))
        items = []
        if prefix == self.prefix + "/":
            items = ["<Contents><Key>%s/%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;%032x&quot;"
                     "</ETag><Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>"
                     % (self.prefix, self.name(i), i, i + 1) for i in range(at, min(at + width, self.objects))]
        more = prefix == self.prefix + "/" and at + width < self.objects
        items += ["<Contents><Key>%s</Key><Size>%d</Size></Contents>" % (urllib.parse.quote(k), v[0])
                  for k, v in sorted(self.made.items()) if k.startswith(prefix) and not more]
        self._send(sock, 200, body=(
            "<?xml version=\"1.0\"?><ListBucketResult><EncodingType>url</EncodingType><IsTruncated>%s</IsTruncated>%s%s"
            "</ListBucketResult>" % ("true" if more else "false",
                                     "<NextContinuationToken>%d</NextContinuationToken>" % (at + width) if more else "",
                                     "".join(items))).encode())

    def close(self):
        self.listener.close()
