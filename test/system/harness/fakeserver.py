"""A scripted PostgreSQL server: it does what no real one would.

    def script(peer):
        peer.read_startup()
        peer.welcome()
        ...
    with FakeServer(script) as server: ...

Each connection runs the script in a thread of its own. A peer that is gone
ends its script quietly; any other exception fails the test at close.
"""
import socket
import struct
import threading
import traceback

from . import env, wire


class Gone(Exception):
    pass


class Peer:
    def __init__(self, sock, number):
        self.sock = sock
        self.number = number
        self.sock.settimeout(env.PATIENCE)
        self.params = {}

    def send(self, *parts):
        try:
            self.sock.sendall(b"".join(parts))
        except OSError:
            raise Gone() from None

    def take(self, n):
        out = b""
        while len(out) < n:
            try:
                got = self.sock.recv(n - len(out))
            except OSError:
                raise Gone() from None
            if not got:
                raise Gone()
            out += got
        return out

    def recv(self):
        head = self.take(5)
        size, = struct.unpack("!I", head[1:])
        return wire.Msg(head[:1], self.take(size - 4))

    def recv_type(self, kind):
        while True:
            m = self.recv()
            if m.type == kind:
                return m

    def read_startup(self):
        """The start-up message; an SSLRequest is answered with N."""
        while True:
            size, code = struct.unpack("!II", self.take(8))
            body = self.take(size - 8)
            if code == wire.SSL_REQUEST:
                self.send(b"N")
                continue
            if code == wire.CANCEL_REQUEST:
                self.cancel_key = body
                return None
            parts = body.split(b"\0")
            self.pairs = [(k.decode(), v.decode()) for k, v in zip(parts[0::2], parts[1::2]) if k]
            self.params = dict(self.pairs)
            return self.params

    def auth_ok(self):
        self.send(auth(0))

    def welcome(self, **params):
        """AuthenticationOk and everything up to ReadyForQuery."""
        values = {"server_version": "15.0", "client_encoding": "UTF8", "server_encoding": "UTF8",
                  "DateStyle": "ISO, MDY", "TimeZone": "UTC", "standard_conforming_strings": "on",
                  "application_name": "", "IntervalStyle": "postgres"}
        values.update(params)
        self.send(auth(0), *[param(k, v) for k, v in values.items()],
                  wire.msg(b"K", struct.pack("!II", 1000 + self.number, 42)), ready())

    def serve(self, answer=None):
        """Answer simple queries for ever: SET with SET, others with one row."""
        while True:
            m = self.recv()
            if m.type == b"X":
                return
            if m.type != b"Q":
                continue
            text = m.body[:-1].decode()
            if answer and answer(text):
                continue
            self.send(one_row(text[:20]) if text.upper().startswith("SELECT") else tag(text.split(" ")[0]), ready())

    def wait_gone(self):
        """Until the other side hangs up."""
        while True:
            self.take(1)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def auth(code, more=b""):
    return wire.msg(b"R", struct.pack("!I", code) + more)


def param(name, value):
    return wire.msg(b"S", wire.cstr(name) + wire.cstr(value))


def ready(state="I"):
    return wire.msg(b"Z", state.encode())


def tag(text):
    return wire.msg(b"C", wire.cstr(text))


def data_row(*values):
    body = struct.pack("!H", len(values))
    for v in values:
        data = v if isinstance(v, bytes) else str(v).encode()
        body += struct.pack("!I", len(data)) + data
    return wire.msg(b"D", body)


def row_description(*names):
    body = struct.pack("!H", len(names))
    for n in names:
        body += wire.cstr(n) + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0)
    return wire.msg(b"T", body)


def one_row(value):
    return row_description("a") + data_row(value) + tag("SELECT 1")


def error(text="broken", code="XX000", severity="ERROR"):
    return wire.msg(b"E", b"S" + wire.cstr(severity) + b"C" + wire.cstr(code) + b"M" + wire.cstr(text) + b"\0")


def notice(text):
    return wire.msg(b"N", b"SNOTICE\0C00000\0M" + wire.cstr(text) + b"\0")


class FakeServer:
    def __init__(self, script, host="127.0.0.1", port=None):
        self.script = script
        self.host = host
        self.port = port or env.free_port()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, self.port))
        self.listener.listen(64)
        self.count = 0
        self.peers = []
        self.faults = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            peer = Peer(sock, self.count)
            self.peers.append(peer)
            threading.Thread(target=self.play, args=(peer,), daemon=True).start()

    def play(self, peer):
        try:
            self.script(peer)
        except Gone:
            pass
        except Exception:
            self.faults.append(traceback.format_exc())
        finally:
            try:
                peer.sock.close()
            except OSError:
                pass

    def entry(self, dbname="db", **more):
        items = dict(host=self.host, port=self.port, dbname=dbname, **more)
        return " ".join("%s=%s" % item for item in items.items())

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for peer in self.peers:
            try:
                peer.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        if kind is None:
            assert not self.faults, "\n".join(self.faults)
