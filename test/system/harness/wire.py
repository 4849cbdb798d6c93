"""The PostgreSQL wire protocol, by hand: what no client library would send,
and the bytes a client library would hide."""
import base64
import hashlib
import hmac
import os
import select
import socket
import ssl
import struct
from collections import namedtuple

from . import env

PROTO3 = 196608
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102

Msg = namedtuple("Msg", "type body")


class PgError(Exception):
    """An ErrorResponse, or one of its relatives, taken apart."""

    def __init__(self, fields):
        super().__init__("%s %s %s" % (fields.get("S"), fields.get("C"), fields.get("M")))
        self.fields = fields
        self.severity = fields.get("S")
        self.code = fields.get("C")
        self.text = fields.get("M")


class Closed(Exception):
    """The other side ended the connection."""


# --- building ---------------------------------------------------------------

def cstr(text):
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


def msg(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def startup_packet(code, body=b""):
    return struct.pack("!II", len(body) + 8, code) + body


def startup(user=None, database=None, version=PROTO3, **params):
    """A start-up message. Parameters keep their order."""
    items = []
    if user is not None:
        items.append(("user", user))
    if database is not None:
        items.append(("database", database))
    items += params.items()
    return startup_packet(version, b"".join(cstr(k) + cstr(v) for k, v in items) + b"\0")


def query(sql):
    return msg(b"Q", cstr(sql))


def parse(sql, name="", types=()):
    return msg(b"P", cstr(name) + cstr(sql) + struct.pack("!H", len(types))
               + b"".join(struct.pack("!I", t) for t in types))


def bind(name="", portal="", params=()):
    body = cstr(portal) + cstr(name) + struct.pack("!H", 0) + struct.pack("!H", len(params))
    for p in params:
        if p is None:
            body += struct.pack("!i", -1)
        else:
            data = p if isinstance(p, bytes) else str(p).encode()
            body += struct.pack("!I", len(data)) + data
    return msg(b"B", body + struct.pack("!H", 0))


def describe(kind="P", name=""):
    return msg(b"D", kind.encode() + cstr(name))


def close(kind="S", name=""):
    return msg(b"C", kind.encode() + cstr(name))


def execute(portal="", rows=0):
    return msg(b"E", cstr(portal) + struct.pack("!I", rows))


SYNC = msg(b"S")
FLUSH = msg(b"H")
TERMINATE = msg(b"X")
COPY_DONE = msg(b"c")


def copy_data(data):
    return msg(b"d", data)


def copy_fail(reason):
    return msg(b"f", cstr(reason))


def extended(sql, params=(), name=""):
    """One statement by the extended protocol, without Sync."""
    return parse(sql, name) + bind(name, "", params) + describe("P") + execute()


def password(text):
    return msg(b"p", cstr(text))


def cancel_request(key):
    return startup_packet(CANCEL_REQUEST, key)


def function_call(oid, *args):
    body = struct.pack("!IHH", oid, 0, len(args))
    for a in args:
        data = str(a).encode()
        body += struct.pack("!I", len(data)) + data
    return msg(b"F", body + struct.pack("!H", 0))


# --- taking apart -----------------------------------------------------------

def fields_of(body):
    fields = {}
    for part in body.split(b"\0"):
        if part:
            fields[chr(part[0])] = part[1:].decode("utf-8", "replace")
    return fields


def row_of(body):
    count, = struct.unpack_from("!H", body)
    pos, row = 2, []
    for _ in range(count):
        size, = struct.unpack_from("!i", body, pos)
        pos += 4
        if size < 0:
            row.append(None)
        else:
            row.append(body[pos:pos + size].decode("utf-8", "replace"))
            pos += size
    return tuple(row)


Column = namedtuple("Column", "name oid typlen typmod format table attr")


def columns_of(body):
    count, = struct.unpack_from("!H", body)
    pos, out = 2, []
    for _ in range(count):
        end = body.index(b"\0", pos)
        table, attr, oid, typlen, typmod, fmt = struct.unpack_from("!IHIhih", body, end + 1)
        out.append(Column(body[pos:end].decode(), oid, typlen, typmod, fmt, table, attr))
        pos = end + 1 + 18
    return out


class Result:
    """What came until ReadyForQuery."""

    def __init__(self, messages):
        self.messages = messages
        self.types = b"".join(m.type for m in messages).decode()
        self.rows = [row_of(m.body) for m in messages if m.type == b"D"]
        self.tags = [m.body[:-1].decode() for m in messages if m.type == b"C"]
        self.errors = [PgError(fields_of(m.body)) for m in messages if m.type == b"E"]
        self.notices = [fields_of(m.body) for m in messages if m.type == b"N"]
        self.columns = next((columns_of(m.body) for m in messages if m.type == b"T"), [])
        self.status = messages[-1].body.decode() if messages and messages[-1].type == b"Z" else None

    def value(self):
        if self.errors:
            raise self.errors[0]
        return self.rows[0][0]

    def dicts(self):
        return [dict(zip([c.name for c in self.columns], row)) for row in self.rows]


# --- SCRAM, the client's half -----------------------------------------------

def scram_secret(text, salt=b"0123456789abcdef", iterations=4096):
    salted = hashlib.pbkdf2_hmac("sha256", text.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    b64 = lambda b: base64.b64encode(b).decode()
    return "SCRAM-SHA-256$%d:%s$%s:%s" % (iterations, b64(salt), b64(hashlib.sha256(client_key).digest()),
                                          b64(hmac.digest(salted, b"Server Key", "sha256")))


def md5_secret(user, text):
    return "md5" + hashlib.md5((text + user).encode()).hexdigest()


class ScramClient:
    def __init__(self, text, gs2="n,,"):
        self.text = text
        self.gs2 = gs2
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.bare = "n=,r=" + self.nonce

    def first(self):
        data = (self.gs2 + self.bare).encode()
        return msg(b"p", cstr("SCRAM-SHA-256") + struct.pack("!I", len(data)) + data)

    def final_text(self, server_first):
        parts = dict(p.split("=", 1) for p in server_first.split(","))
        assert parts["r"].startswith(self.nonce) and len(parts["r"]) > len(self.nonce)
        salted = hashlib.pbkdf2_hmac("sha256", self.text.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        bare = "c=%s,r=%s" % (base64.b64encode(self.gs2.encode()).decode(), parts["r"])
        auth = ("%s,%s,%s" % (self.bare, server_first, bare)).encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), auth, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), auth, "sha256")
        return bare + ",p=" + base64.b64encode(proof).decode()

    def final(self, server_first):
        return msg(b"p", self.final_text(server_first).encode())

    def check(self, server_final):
        assert base64.b64decode(server_final[2:]) == self.expected, "wrong server signature"


# --- the connection ---------------------------------------------------------

class Wire:
    def __init__(self, host, port, rcvbuf=None, timeout=None, source=None):
        """host with a leading / is a Unix socket directory; source is the
        address to come from, of which 127.0.0.0/8 has many."""
        if host.startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX)
            address = os.path.join(host, ".s.PGSQL.%d" % port)
        else:
            self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            address = (host, port)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout or env.PATIENCE)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(address)
        if not host.startswith("/"):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()
        self.params = {}
        self.key = None
        self.notices = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass

    def reset(self):
        """Go away without a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # bytes

    def send(self, *parts):
        try:
            self.sock.sendall(b"".join(parts))
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as e:
            raise Closed(str(e)) from None

    def send_while_reading(self, data):
        """All of it, and what comes meanwhile is kept. In one thread, since an
        object of TLS may not be read and written by two."""
        wait = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        at, patience = 0, self.sock.gettimeout()
        self.sock.setblocking(False)
        try:
            while at < len(data):
                stuck = 0
                try:
                    at += self.sock.send(data[at:at + 65536])
                except wait:
                    stuck += 1
                try:
                    got = self.sock.recv(65536)
                    if not got:
                        raise Closed("connection closed")
                    self.buf += got
                except wait:
                    stuck += 1
                if stuck == 2 and not any(select.select([self.sock], [self.sock], [], patience)):
                    raise TimeoutError("neither side goes on")
        finally:
            self.sock.settimeout(patience)

    def send_pieces(self, data, size=1):
        for i in range(0, len(data), size):
            self.send(data[i:i + size])

    def fill(self):
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""
        if not data:
            raise Closed("connection closed")
        self.buf += data

    def take(self, n):
        while len(self.buf) < n:
            self.fill()
        data = bytes(self.buf[:n])
        del self.buf[:n]
        return data

    def recv(self):
        head = self.take(5)
        size, = struct.unpack("!I", head[1:])
        return Msg(head[:1], self.take(size - 4))

    def recv_until(self, kind):
        out = []
        while True:
            m = self.recv()
            out.append(m)
            if m.type == kind:
                return out

    def expect(self, kind):
        m = self.recv()
        if m.type == b"E" and kind != b"E":
            raise PgError(fields_of(m.body))
        assert m.type == kind, "got %r, wanted %r" % (m, kind)
        return m

    def expect_closed(self):
        """Nothing more may come but the end."""
        try:
            m = self.recv()
        except Closed:
            return
        raise AssertionError("expected the end, got %r" % (m,))

    def expect_error(self, closed=True):
        """The next message (notices apart) is an error; the end follows."""
        while True:
            m = self.recv()
            if m.type not in b"NS":
                break
        assert m.type == b"E", "expected an error, got %r" % (m,)
        if closed:
            self.expect_closed()
        return PgError(fields_of(m.body))

    def silent(self, seconds=0.2):
        """True if nothing arrives. For what must not happen there is no
        condition to wait for."""
        if self.buf:
            return False
        old = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            self.fill()
            return False
        except (TimeoutError, socket.timeout):
            return True
        except Closed:
            return False
        finally:
            self.sock.settimeout(old)

    # login

    def ssl_request(self, code=SSL_REQUEST):
        self.send(startup_packet(code))
        return self.take(1)

    def tls(self, ca=None, cert=None, direct=False, alpn=None, hostname="localhost", version=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if ca:
            context.load_verify_locations(ca)
            context.verify_mode = ssl.CERT_REQUIRED
        if cert:
            context.load_cert_chain(*cert)
        if alpn:
            context.set_alpn_protocols(alpn)
        if version:
            context.minimum_version = context.maximum_version = version
        if not direct:
            assert self.ssl_request() == b"S"
        self.sock = context.wrap_socket(self.sock, server_hostname=hostname)
        return self.sock

    def login(self, user, database, secret=None, **params):
        self.send(startup(user, database, **params))
        self.finish_login(user, secret)
        return self

    def finish_login(self, user, secret=None):
        self.authenticate(user, secret)
        self.welcome()

    def authenticate(self, user, secret):
        """Answer requests until AuthenticationOk."""
        scram = None
        while True:
            m = self.recv()
            if m.type == b"v":
                self.negotiated = m.body
                continue
            if m.type == b"E":
                raise PgError(fields_of(m.body))
            assert m.type == b"R", "got %r during login" % (m,)
            code, = struct.unpack_from("!I", m.body)
            if code == 0:
                return
            if code == 3:
                self.send(password(secret))
            elif code == 5:
                inner = hashlib.md5((secret + user).encode()).hexdigest()
                self.send(password("md5" + hashlib.md5(inner.encode() + m.body[4:8]).hexdigest()))
            elif code == 10:
                scram = ScramClient(secret)
                self.send(scram.first())
            elif code == 11:
                self.send(scram.final(m.body[4:].decode()))
            elif code == 12:
                scram.check(m.body[4:].decode())
            else:
                raise AssertionError("authentication request %d" % code)

    def welcome(self):
        while True:
            m = self.recv()
            if m.type == b"S":
                name, value = m.body[:-1].split(b"\0")
                self.params[name.decode()] = value.decode()
            elif m.type == b"K":
                self.key = m.body
            elif m.type == b"N":
                self.notices.append(fields_of(m.body))
            elif m.type == b"E":
                raise PgError(fields_of(m.body))
            elif m.type == b"Z":
                return
            else:
                raise AssertionError("got %r in the greeting" % (m,))

    # work

    def until_ready(self):
        """Everything up to ReadyForQuery; up to the end if that comes first."""
        out = []
        while True:
            try:
                m = self.recv()
            except Closed:
                if out:
                    return Result(out)
                raise
            out.append(m)
            if m.type == b"Z":
                return Result(out)

    def query(self, sql):
        self.send(query(sql))
        return self.until_ready()

    def value(self, sql):
        return self.query(sql).value()

    def pid(self):
        """Which server connection serves us now."""
        return int(self.value("SELECT pg_backend_pid()"))

    def run(self, sql, params=(), name=""):
        self.send(extended(sql, params, name) + SYNC)
        return self.until_ready()
