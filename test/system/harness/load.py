"""Many cheap clients in one thread: raw protocol over one epoll, for the long runs.

What a client does is a generator, a unit of work after the other:

    def unit(number, turn):
        reply = yield query("SELECT 1")     # bytes: sent, and answered by a Reply
        yield 0.1                           # a number: seconds of rest

When a unit ends the client begins the next; a unit may end with LEAVE, and
the client then says goodbye and connects again. Whatever else ends a
connection is a fault, unless it was announced by Crowd.allow().
"""
import errno
import heapq
import select
import socket
import struct
import threading
import time
from collections import deque

from . import env
from .wire import TERMINATE, fields_of, startup

LEAVE = object()
LOGINS_AT_A_TIME = 64  # less than any listen backlog


class Reply:
    def __init__(self):
        self.rows = []  # the first column of each, as bytes
        self.status = None


class _Client:
    __slots__ = ("number", "sock", "fd", "state", "buf", "unit", "turn", "reply", "words", "status", "sent_at", "done")

    def __init__(self, number):
        self.number = number
        self.sock = None
        self.fd = -1
        self.state = "away"  # connecting, login, idle, busy, resting
        self.turn = 0
        self.done = 0
        self.fresh()

    def fresh(self):
        self.buf = bytearray()
        self.unit = None
        self.reply = None
        self.words = None
        self.status = b"I"
        self.sent_at = 0.0


class Crowd(threading.Thread):
    """Start it with start(); stop() lets every client finish its unit and leave."""

    def __init__(self, pooler, count, unit, user="u_trust", database="db"):
        super().__init__(daemon=True)
        self.pooler = pooler
        self.unit = unit
        self.hello = startup(user, database)
        self.clients = [_Client(n) for n in range(count)]
        self.faults = []
        self.asked = 0  # connections that ended as announced
        self.latencies = None  # a list: seconds from each request to its answer
        self.reconnects = True
        self.ending = None  # during a shutdown: may this client be cut now? called with (status, words)
        self.allowances = []  # [until, how many]
        self.is_stopping = False
        self.epoll = select.epoll()
        self.by_fd = {}
        self.timers = []
        self.queue = deque(self.clients)
        self.logging_in = 0
        self.ticket = 0

    # what the test says; plain assignments and list operations, so no lock

    def allow(self, count, seconds=10):
        """So many connections may end without having asked for it, soon."""
        self.allowances.append([time.monotonic() + seconds * env.SLOW, count])

    def stop(self, patience=60):
        self.is_stopping = True
        self.join(patience * env.SLOW)
        assert not self.is_alive(), "%d clients hang: %s" % (len(self.by_fd), self.states())
        self.check()

    def check(self):
        assert not self.faults, "%d faults, the first: %s" % (len(self.faults), self.faults[0])

    def states(self):
        count = {}
        for c in self.clients:
            count[c.state] = count.get(c.state, 0) + 1
        return count

    @property
    def done(self):
        return sum(c.done for c in self.clients)

    def served_since(self, marks):
        """Has everybody done more than in marks, a list made by marks()?"""
        return bool(self.faults) or all(c.done > m for c, m in zip(self.clients, marks))

    def marks(self):
        return [c.done for c in self.clients]

    # the thread

    def run(self):
        try:
            while self.queue or self.by_fd or self.timers:
                self.turn_once()
        except BaseException as e:
            self.faults.append("the crowd itself: %r" % (e,))
        for c in self.clients:
            if c.sock:
                c.sock.close()
        self.epoll.close()

    def turn_once(self):
        while self.queue and self.logging_in < LOGINS_AT_A_TIME:
            c = self.queue.popleft()
            if not (self.is_stopping or self.ending):
                self.connect(c)
        if self.is_stopping or self.ending:
            self.queue.clear()
        wait = 0.2
        if self.timers:
            wait = min(wait, max(0, self.timers[0][0] - time.monotonic()))
        for fd, what in self.epoll.poll(wait):
            c = self.by_fd.get(fd)
            if c is None:
                continue
            if c.state == "connecting":
                self.connected(c)
            else:
                self.readable(c)
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            c, fd = heapq.heappop(self.timers)[2:]
            if c.state == "away" and fd < 0:
                self.queue.append(c)
            elif c.state == "resting" and c.fd == fd:
                self.step(c, None)

    def later(self, c, seconds):
        self.ticket += 1
        heapq.heappush(self.timers, (time.monotonic() + seconds, self.ticket, c, c.fd))

    def connect(self, c):
        c.fresh()
        c.sock = socket.socket()
        c.sock.setblocking(False)
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c.fd = c.sock.fileno()
        c.state = "connecting"
        self.by_fd[c.fd] = c
        self.logging_in += 1
        code = c.sock.connect_ex((self.pooler.host, self.pooler.port))
        self.epoll.register(c.fd, select.EPOLLOUT)
        if code not in (0, errno.EINPROGRESS):
            self.lost(c, "connect: " + errno.errorcode[code])

    def connected(self, c):
        code = c.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.lost(c, "connect: " + errno.errorcode[code])
            return
        c.state = "login"
        self.epoll.modify(c.fd, select.EPOLLIN)
        self.send(c, self.hello)

    def send(self, c, data):
        try:
            if c.sock.send(data) != len(data):
                raise RuntimeError("a short send of a short message")
        except OSError:
            pass  # what was said last may still be read; then comes the end
        c.sent_at = time.monotonic()

    def readable(self, c):
        try:
            data = c.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as e:
            self.lost(c, c.words or "closed: " + errno.errorcode[e.errno])
            return
        if not data:
            self.lost(c, c.words or "closed without a word")
            return
        c.buf += data
        at, buf = 0, c.buf
        ready, error = False, None
        while len(buf) - at >= 5:
            size = int.from_bytes(buf[at + 1:at + 5], "big") + 1
            if len(buf) - at < size:
                break
            kind = buf[at:at + 1]
            if kind == b"D" and c.reply:
                width, = struct.unpack_from("!i", buf, at + 7)
                c.reply.rows.append(bytes(buf[at + 11:at + 11 + width]))
            elif kind == b"E":
                fields = fields_of(bytes(buf[at + 5:at + size]))
                c.words = "%s %s" % (fields.get("S"), fields.get("M"))
            elif kind == b"Z":
                c.status = bytes(buf[at + 5:at + 6])
                # What is said behind it belongs to the end that follows.
                ready, error = True, c.words
            at += size
        del buf[:at]
        if ready:
            self.answered(c, error)

    def answered(self, c, error):
        if error:
            self.fault(c, error)
            self.close(c)
            return
        if c.state == "login":
            self.logging_in -= 1
            c.state = "idle"
            self.begin(c)
            return
        if self.latencies is not None:
            self.latencies.append(time.monotonic() - c.sent_at)
        c.reply.status = c.status
        self.step(c, c.reply)

    def begin(self, c):
        if self.is_stopping:
            self.leave(c)
            return
        c.unit = self.unit(c.number, c.turn)
        c.turn += 1
        self.step(c, None)

    def step(self, c, reply):
        try:
            want = c.unit.send(reply)
        except StopIteration as end:
            c.done += 1
            if end.value is LEAVE and not self.is_stopping:
                self.leave(c)
                self.queue.append(c)
            else:
                self.begin(c)
            return
        except AssertionError as e:
            self.fault(c, "wrong answer: %s" % e)
            self.close(c)
            return
        if isinstance(want, bytes):
            c.state = "busy"
            c.reply = Reply()
            self.send(c, want)
        else:
            c.state = "resting"
            self.later(c, want)

    def leave(self, c):
        self.send(c, TERMINATE)
        self.close(c)

    def close(self, c):
        if c.state in ("connecting", "login") and c.fd in self.by_fd:
            self.logging_in -= 1
        self.by_fd.pop(c.fd, None)
        c.sock.close()
        c.sock, c.fd, c.state = None, -1, "away"

    def lost(self, c, words):
        """The other side has ended it."""
        in_transaction = c.status != b"I"
        self.close(c)
        if self.ending:
            trouble = self.ending(in_transaction, words)
            if trouble:
                self.fault(c, trouble)
            return
        if not self.is_allowed():
            self.fault(c, words)
            return
        self.asked += 1
        if self.reconnects:
            self.later(c, 0.02)

    def is_allowed(self):
        now = time.monotonic()
        for a in self.allowances:
            if a[0] >= now and a[1] > 0:
                a[1] -= 1
                return True
        return False

    def fault(self, c, words):
        self.faults.append("client %d, turn %d: %s" % (c.number, c.turn, words))
