"""A scripted old process: the console that a successor (-R) talks to.

    rows = [(sock, {"task": "client", "fd": 7, ...}), ...]
    with OldProcess(p, rows) as old:
        child = p.successor()
        ...
        assert old.commands == ["SUSPEND HANDOVER;", ...]

Without facts it is PgBouncer: the private half of the dialogue is an invalid
command. `on` gives a command another answer: a text is an error, a function
is called with the connection, None ends the connection.
"""
import array
import os
import socket
import struct
import threading

from . import env, wire

FDS = ("fd", "task", "user", "database", "addr", "port", "cancel", "link", "client_encoding", "std_strings", "datestyle",
       "timezone", "password", "scram_client_key", "scram_server_key")
HANDOVER = ("kind", "fd", "has_more", "facts")


def fact(tag, value):
    """value: bytes as they are, text with its NUL, or a number."""
    if isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = struct.pack("!Q", value)
    return struct.pack("!HI", tag, len(value)) + value


def heading(names):
    return wire.msg(b"T", struct.pack("!H", len(names)) + b"".join(
        wire.cstr(n) + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0) for n in names))


def data_row(values):
    out = struct.pack("!H", len(values))
    for v in values:
        data = None if v is None else str(v).encode()
        out += struct.pack("!i", -1) if data is None else struct.pack("!I", len(data)) + data
    return wire.msg(b"D", out)


def complete(tag):
    return wire.msg(b"C", wire.cstr(tag))


def error(text):
    return wire.msg(b"E", b"SERROR\0C08P01\0M" + wire.cstr(text) + b"\0")


READY = wire.msg(b"Z", b"I")


class OldProcess:
    def __init__(self, pooler, rows=(), facts=None, on=None):
        """facts: [(kind, fd, bytes), ...]"""
        self.rows, self.facts, self.on = list(rows), facts, on or {}
        self.commands = []
        self.faults = []
        path = os.path.join(pooler.dir, ".s.PGSQL.%d" % pooler.port)
        with env.as_server_user():
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.listener.listen()
        self.listener.settimeout(0.1)
        self.is_closing = False
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.is_closing = True
        self.listener.close()
        self.thread.join(env.PATIENCE)
        for s, _ in self.rows:
            s.close()
        if kind is None:
            assert not self.faults, self.faults[0]

    def serve(self):
        while not self.is_closing:
            try:
                sock, _ = self.listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            sock.settimeout(env.PATIENCE)
            try:
                with sock:
                    self.converse(sock)
            except OSError:
                pass
            except Exception as e:  # shown by the test
                self.faults.append(repr(e))

    def take(self, sock, n):
        out = b""
        while len(out) < n:
            got = sock.recv(n - len(out))
            if not got:
                raise ConnectionError("gone")
            out += got
        return out

    def converse(self, sock):
        size, = struct.unpack("!I", self.take(sock, 4))
        self.take(sock, size - 4)
        sock.sendall(wire.msg(b"R", struct.pack("!I", 0)) + wire.msg(b"K", b"\0" * 8) + READY)
        while True:
            head = self.take(sock, 5)
            body = self.take(sock, struct.unpack("!I", head[1:])[0] - 4)
            command = body[:-1].decode()
            self.commands.append(command)
            word = command.rstrip(";")
            if word in self.on:
                answer = self.on[word]
                if answer is None:
                    return
                if isinstance(answer, str):
                    sock.sendall(error(answer) + READY)
                else:
                    answer(sock)
            elif word == "SHUTDOWN":
                return
            else:
                self.answer(sock, word)

    def answer(self, sock, word):
        if ("HANDOVER" in word or word == "SHOW STATE") and self.facts is None:
            sock.sendall(error("invalid command '%s', use SHOW HELP;" % word) + READY)
        elif word.startswith("SUSPEND"):
            sock.sendall(complete("SUSPEND") + READY)
        elif word == "SHOW STATE":
            sock.sendall(heading(("key", "value")) + data_row(("suspended", "yes")) + complete("SHOW") + READY)
        elif word == "SHOW HANDOVER":
            rows = [data_row((kind, fd, 0, "\\x" + facts.hex())) for kind, fd, facts in self.facts]
            sock.sendall(heading(HANDOVER) + b"".join(rows) + complete("SHOW") + READY)
        elif word == "SHOW FDS":
            sock.sendall(heading(FDS))
            for s, values in self.rows:
                row = data_row([values.get(name, "0" if name in ("fd", "port", "cancel", "link") else None) for name in FDS])
                sock.sendmsg([row], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno()]))])
            sock.sendall(complete("SHOW") + READY)
        else:
            raise AssertionError("unknown command %r" % word)
