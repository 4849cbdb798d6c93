"""A loopback HTTP proxy in front of an S3 server that misbehaves as it is told.

    p = FaultProxy(bucket)
    p.rule("part", reset("in_body"), times=2)
    p.rule("complete", reply(200, error("InternalError")), nth=[1])
    store = Store(endpoint=p.endpoint, ...)
    assert p.count("part") == 4

Host passes through unchanged, else signatures would break; each request goes
to the server on a connection of its own. All requests are kept in p.log.

A rule says which requests (kind, and conditions on the request), which of
those (nth, times, probability with a fixed seed), and what happens: a function
of the exchange. The first rule that takes a request has it alone; `watch`
functions see all of them before that, and may answer themselves.
"""
import contextlib
import random
import re
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from email.utils import formatdate


class Gone(Exception):
    """The connection is over, on purpose or by the other side."""


class Request:
    def __init__(self, method, target, headers, head):
        self.method, self.target, self.headers, self.head = method, target, headers, head
        self.path, _, self.raw_query = target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(self.raw_query, keep_blank_values=True))
        parts = self.path.lstrip("/").split("/", 1)
        self.key = urllib.parse.unquote(parts[1]) if len(parts) > 1 else ""
        self.length = int(headers.get("content-length", 0))
        self.body = b""
        self.status = None
        self.fault = None

    @property
    def kind(self):
        q, m = self.query, self.method
        if m == "PUT":
            return "part" if "partNumber" in q else "put"
        if m == "POST":
            return "begin" if "uploads" in q else "complete" if "uploadId" in q else "post"
        if m == "DELETE":
            return "abort" if "uploadId" in q else "delete"
        if m == "HEAD":
            return "head"
        if "uploads" in q:
            return "list_uploads"
        return "list" if "list-type" in q else "get"

    def __repr__(self):
        return "%s %s -> %s%s" % (self.kind, self.target, self.status, " (%s)" % self.fault if self.fault else "")


class Exchange:
    """One request on one connection, and what a fault may do with it."""

    def __init__(self, proxy, connection, request):
        self.proxy, self.c, self.request = proxy, connection, request
        self.answer = None  # status, headers (a list of pairs), body
        self.has_read = False

    def read_body(self, limit=None):
        r = self.request
        if self.has_read:
            return r.body
        if r.headers.get("expect", "").lower() == "100-continue":
            self.c.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        wanted = r.length if limit is None else min(limit, r.length)
        r.body = self.c.read(wanted)
        self.has_read = limit is None or wanted == r.length
        return r.body

    def forward(self, body=None):
        """Lets the server do it; its answer is kept and not sent yet."""
        r = self.request
        sent = self.read_body() if body is None else body
        with contextlib.closing(socket.create_connection(self.proxy.upstream, 60)) as up:
            lines = [r.head[0]] + [line for line in r.head[1:]
                                   if line.split(":")[0].lower() not in ("expect", "connection")] + ["Connection: close"]
            up.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + sent)
            f = up.makefile("rb")
            while True:
                status = int(f.readline().split()[1])
                headers = []
                for line in iter(f.readline, b"\r\n"):
                    if not line:
                        break
                    n, _, v = line.decode("latin-1").partition(":")
                    headers.append((n.strip(), v.strip()))
                if status >= 200:
                    break
            body = b"" if r.method == "HEAD" else f.read()
            if ("transfer-encoding", "chunked") in [(n.lower(), v) for n, v in headers]:
                body = self._dechunk(body) if body else b""
                headers = [(n, v) for n, v in headers if n.lower() != "transfer-encoding"]
        self.answer = [status, [(n, v) for n, v in headers if n.lower() != "connection"], body]
        return self.answer

    @staticmethod
    def _dechunk(text):
        out = b""
        while True:
            size, _, text = text.partition(b"\r\n")
            n = int(size.split(b";")[0], 16)
            if n == 0:
                return out
            out += text[:n]
            text = text[n + 2:]

    def head_bytes(self, length=None):
        """length: what Content-Length claims."""
        status, headers, body = self.answer
        self.request.status = status
        keeps = self.request.method == "HEAD" and length is None
        lines = ["HTTP/1.1 %d Whatever" % status]
        for n, v in headers:
            if n.lower() == "date" and self.proxy.clock_shift:
                v = formatdate(time.time() + self.proxy.clock_shift, usegmt=True)
            if n.lower() != "content-length" or keeps:
                lines.append("%s: %s" % (n, v))
        if not keeps and status != 204:
            lines.append("Content-Length: %d" % (len(body) if length is None else length))
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def send(self, length=None):
        body = b"" if self.request.method == "HEAD" else self.answer[2]
        self.c.send(self.head_bytes(length) + body)

    def reply(self, status, body=b"", headers=(), read=True):
        if read:
            self.read_body()
        names = {n.lower() for n, _ in headers}
        extra = [] if "date" in names else [("Date", formatdate(usegmt=True))]
        kind = [] if "content-type" in names or not body else [("Content-Type", "application/xml")]
        self.answer = [status, list(headers) + extra + kind, body if isinstance(body, bytes) else body.encode()]
        self.send()
        if not self.has_read and self.request.length:
            raise Gone


class Connection:
    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def _more(self):
        try:
            got = self.sock.recv(1 << 18)
        except (OSError, ssl.SSLError):
            raise Gone
        if not got:
            raise Gone
        self.buffer += got

    def line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("latin-1")

    def read(self, n):
        pieces, have = [self.buffer[:n]], min(n, len(self.buffer))
        self.buffer = self.buffer[n:]
        while have < n:
            self._more()
            pieces.append(self.buffer[:n - have])
            have, self.buffer = have + len(pieces[-1]), self.buffer[n - have:]
        return b"".join(pieces)

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (OSError, ssl.SSLError):
            raise Gone

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise Gone

    def wait_for_end(self):
        """Until the client has had enough."""
        while True:
            self._more()


class Rule:
    def __init__(self, kind, fault, where, nth, times, probability, seed):
        self.kind, self.fault, self.where = kind, fault, where
        self.nth, self.times, self.probability = nth, times, probability
        self.random = random.Random(seed)
        self.seen = self.used = 0

    def takes(self, r):
        if self.kind not in (None, r.kind) or (self.where and not self.where(r)):
            return False
        self.seen += 1
        if (self.nth is not None and self.seen not in self.nth) or (self.times is not None and self.used >= self.times):
            return False
        if self.probability is not None and self.random.random() >= self.probability:
            return False
        self.used += 1
        return True


class FaultProxy:
    def __init__(self, client, tls=None):
        """client: an S3 client of the harness's, of the server behind. tls: an ssl.SSLContext of ours."""
        host, _, port = client.host.rpartition(":")
        self.client = client
        self.upstream = (host, int(port))
        self.rules, self.watches, self.log, self.faults = [], [], [], []
        self.clock_shift = 0
        self.tls = tls
        self.lock = threading.Lock()
        self.open = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self):
        return "%s://localhost:%d" % ("https" if self.tls else "http", self.port) if self.tls else \
            "http://127.0.0.1:%d" % self.port

    def rule(self, kind, fault, where=None, nth=None, times=None, probability=None, seed=1):
        rule = Rule(kind, fault, where, nth, times, probability, seed)
        with self.lock:
            self.rules.append(rule)
        return rule

    def watch(self, function):
        """function(exchange) -> True: it has answered."""
        self.watches.append(function)

    def clear(self):
        with self.lock:
            self.rules, self.watches, self.log, self.clock_shift = [], [], [], 0

    def requests(self, kind=None):
        with self.lock:
            return [r for r in self.log if kind in (None, r.kind)]

    def count(self, kind=None):
        return len(self.requests(kind))

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with self.lock:
            self.open.add(sock)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                wrapped = self.tls.wrap_socket(sock, server_side=True)
                with self.lock:
                    self.open.discard(sock)
                    self.open.add(wrapped)
                sock = wrapped
            c = Connection(sock)
            while self._one(c):
                pass
        except (Gone, OSError, ssl.SSLError):
            pass
        except Exception as e:  # a fault of the test's own
            self.faults.append(repr(e))
            raise
        finally:
            with self.lock:
                self.open.discard(sock)
            sock.close()

    def _one(self, c):
        head = []
        for line in iter(c.line, ""):
            head.append(line)
        method, target, _ = head[0].split(" ", 2)
        headers = {}
        for line in head[1:]:
            n, _, v = line.partition(":")
            headers[n.strip().lower()] = v.strip()
        r = Request(method, target, headers, head)
        x = Exchange(self, c, r)
        with self.lock:
            self.log.append(r)
            rule = next((rule for rule in self.rules if rule.takes(r)), None)
        for watch in self.watches:
            if watch(x):
                return True
        if rule:
            r.fault = getattr(rule.fault, "__name__", "fault")
            return rule.fault(x) is not False
        x.forward()
        x.send()
        return True

    def close(self):
        # A listener that is only closed goes on accepting while somebody stands in accept().
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            socks = list(self.open)
        for s in socks:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        assert not self.faults, self.faults


# ---- faults: functions of an exchange; False ends the connection ----

def error(code, message="so the test wants it", **more):
    return '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code><Message>%s</Message>%s<RequestId>fault' \
           '</RequestId></Error>' % (code, message, "".join("<%s>%s</%s>" % (n, v, n) for n, v in more.items()))


def named(name, f):
    f.__name__ = name
    return f


def reply(status, body=b"", headers=(), read=True):
    """Without asking the server. read=False: before the body has come."""
    return named("reply %d" % status, lambda x: x.reply(status, body, headers, read))


def forwarded_reply(status, body=b"", headers=()):
    """The server does it, and the client is told something else."""
    def fault(x):
        x.forward()
        x.reply(status, body, headers)
    return named("forwarded reply %d" % status, fault)


def reset(when):
    """before_body, in_body, after_body, in_response, answer_dropped"""
    def fault(x):
        if when == "before_body":
            x.c.reset()
        if when == "in_body":
            x.read_body(x.request.length // 2)
            x.c.reset()
        if when == "after_body":
            x.read_body()
            x.c.reset()
        x.forward()
        if when == "in_response":
            data = x.head_bytes() + x.answer[2]
            x.c.send(data[:max(1, len(data) - max(1, len(x.answer[2]) // 2))])
        x.c.reset()
    return named("reset " + when, fault)


def closed_before_reuse(x):
    """Answers, and closes the connection without having said so."""
    x.forward()
    x.send()
    return False


def empty_reply(x):
    x.read_body()
    return False


def stall(when="before_answer", share=0.5):
    """before_body, before_answer (the server does it), in_answer: nothing more comes, ever."""
    def fault(x):
        if when != "before_body":
            x.forward()
        if when == "in_answer":
            data = x.head_bytes() + x.answer[2]
            # Without a body the head stops in its middle.
            x.c.send(data[:len(data) - int(len(x.answer[2]) * (1 - share)) if x.answer[2] else len(data) // 2])
        x.c.wait_for_end()
    return named("stall " + when, fault)


def trickle(x):
    """One byte a second, after a first half."""
    x.forward()
    data = x.head_bytes() + x.answer[2]
    x.c.send(data[:len(data) - len(x.answer[2]) // 2 - 1])
    for b in data[len(data) - len(x.answer[2]) // 2 - 1:]:
        x.c.send(bytes([b]))
        time.sleep(1)


def corrupt_upload(x):
    body = bytearray(x.read_body())
    body[len(body) // 2] ^= 1
    x.forward(bytes(body))
    x.send()


def rewrite(change, name="rewrite"):
    """change(status, headers, body) -> the same three, of what the server has answered."""
    def fault(x):
        x.answer = list(change(*x.forward()))
        x.send()
    return named(name, fault)


def flip(status, headers, body):
    changed = bytearray(body)
    changed[len(changed) // 2] ^= 1
    return status, headers, bytes(changed)


def truncated(claims_whole):
    """Half of the body: with the Content-Length of all of it, or of the half alone."""
    def fault(x):
        _, _, body = x.forward()
        whole = len(body)
        x.answer[2] = body[:whole // 2]
        x.send(whole if claims_whole else None)
        return False
    return named("truncated", fault)


def without_range(x):
    """Range is not understood: 200 and everything."""
    # It is signed, so it cannot simply be left out: the harness's own client fetches it.
    status, body, headers = x.proxy.client.request("GET", x.request.key)
    x.answer = [status, [(n, v) for n, v in headers.items() if n not in ("content-length", "connection")], body]
    x.send()


# ---- rules of other stores, as watches ----

def equal_parts_only():
    """All parts but the last have one size, and the last is not larger: said at Complete only."""
    sizes = {}

    def watch(x):
        r = x.request
        if r.kind == "part":
            sizes.setdefault(r.query["uploadId"], {})[int(r.query["partNumber"])] = r.length
        if r.kind == "complete":
            given = [n for _, n in sorted(sizes.get(r.query["uploadId"], {}).items())]
            if len(set(given[:-1])) > 1 or (len(given) > 1 and given[-1] > given[0]):
                x.reply(400, error("InvalidPart", "All non-trailing parts must have the same length."))
                return True
        return False
    return watch


def most_parts(limit):
    def watch(x):
        if x.request.kind == "part" and int(x.request.query["partNumber"]) > limit:
            x.reply(400, error("InvalidArgument", "Part number must be an integer between 1 and %d" % limit))
            return True
        return False
    return watch


def no_unsigned_payload(x):
    if x.request.headers.get("x-amz-content-sha256") == "UNSIGNED-PAYLOAD":
        x.reply(400, error("InvalidRequest", "UNSIGNED-PAYLOAD is not allowed"))
        return True
    return False


KNOWN = re.compile(r"x-amz-(date|content-sha256|security-token|meta-.*|storage-class|acl|tagging)$")


def no_unknown_headers(x):
    strange = [n for n in x.request.headers if n.startswith("x-amz-") and not KNOWN.match(n)]
    if strange:
        x.reply(501, error("NotImplemented", "Header '%s' is not implemented" % strange[0]))
        return True
    return False


def clock(shift, tolerance=300):
    """A store whose clock is shifted, and which insists on it."""
    def watch(x):
        x.proxy.clock_shift = shift
        t = x.request.headers.get("x-amz-date", "")
        at = time.mktime(time.strptime(t, "%Y%m%dT%H%M%SZ")) - time.timezone
        if abs(at - (time.time() + shift)) > tolerance:
            x.reply(403, error("RequestTimeTooSkewed"),
                    [("Date", formatdate(time.time() + shift, usegmt=True))])
            return True
        return False
    return watch


def only_region(region, by):
    """by: header (301 with x-amz-bucket-region), body (400 AuthorizationHeaderMalformed)."""
    def watch(x):
        if "/%s/s3/" % region in x.request.headers.get("authorization", ""):
            return False
        if by == "header":
            x.reply(301, b"" if x.request.method == "HEAD" else error("PermanentRedirect"),
                    [("x-amz-bucket-region", region)])
        else:
            x.reply(400, b"" if x.request.method == "HEAD" else error("AuthorizationHeaderMalformed", Region=region))
        return True
    return watch
