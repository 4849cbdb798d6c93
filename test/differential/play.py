"""Scenes that are played on two poolers, and what a client saw of each.

A scene is a function that drives raw clients through a Player. Everything a
client receives becomes a line of the transcript, and so does the end of its
connection. What differs between two runs of one program is replaced by a
placeholder, and nothing else: backend pids (named in the order in which they
are first seen), cancel keys, salts and nonces, ports, directories, lines of
PostgreSQL's source, and the names a scene asked for.
"""
import base64
import difflib
import hashlib
import itertools
import os
import re
import socket
import struct
from collections import namedtuple

from harness import env, wire
from harness.wire import Closed, Wire

# How long a client waits for what should come: a pooler that is silent where
# the other speaks is a difference, and is to be seen as one.
PATIENCE = 12 * env.SLOW
ITEM = "has "
_numbers = itertools.count(1)

Scene = namedtuple("Scene", "name run setup entry fake alone one_worker options")


class Scenes:
    """The scenes of one module.

    setup    name of a pooler in `setups`; all scenes of it play at the same time,
             each in a database of its own, unless they are
    alone    (the scene needs what belongs to the whole process)
    entry    keys of the scene's [databases] line; None: no line
    one_worker  not played with several (ARCHITECTURE.md, "Where this differs")
    fake     a script (harness.fakeserver) in place of PostgreSQL, see Player.fake
    """

    def __init__(self, group, setups):
        self.group = group
        self.setups = setups
        self.scenes = []

    def add(self, name, run, /, setup="plain", entry=(), fake=None, alone=False, one_worker=False,
            **options):
        assert setup in self.setups, setup
        full = self.group + "/" + name
        assert full not in [s.name for s in self.scenes], full
        self.scenes.append(Scene(full, run, setup, None if entry is None else dict(entry), fake, alone,
                                 one_worker, options))

    def __call__(self, setup="plain", each=(), **more):
        """Decorator. `each` is a table {suffix: options}: one scene a row; an
        option named setup, entry or fake goes to the scene, others to the function."""
        def register(run):
            name = run.__name__.replace("_", "-")
            rows = dict(each) if each else {"": {}}
            for suffix, row in rows.items():
                row = {"setup": setup, **more, **row}
                self.add(name + (":" + suffix if suffix else ""), run, **row)
            return run
        return register


def is_built(setting):
    """Whether our program does what this setting says."""
    with open(os.path.join(env.TOP, "include", "config", "settings.def")) as f:
        row = re.search(r"SETTING\(%s,.*?\)\n" % setting, f.read(), re.S)
    return ", LATER," not in row.group(0)


def database_of(scene):
    """The scene's own [databases] entry."""
    return re.sub(r"[^a-z0-9]+", "_", scene.name.lower())[:60].strip("_")


# --- what was said, as text ---------------------------------------------------

def show(data):
    return data.decode("ascii") if data.isascii() and data.decode("ascii").isprintable() else repr(data)[2:-1]


def short(text, limit=160):
    return text if len(text) <= limit else "%s...(%d)" % (text[:limit], len(text))


def tell_fields(body):
    parts = [p for p in body.split(b"\0") if p]
    return " ".join("%s=%s" % (chr(p[0]), p[1:].decode("utf-8", "backslashreplace") if p[:1] != b"L" else "<line>")
                    for p in parts)


def tell_auth(body, nonce):
    code, = struct.unpack_from("!I", body)
    rest = body[4:]
    if code == 0:
        return "R ok" + show(rest)
    if code == 3:
        return "R password" + show(rest)
    if code == 5:
        return "R md5 <salt of %d bytes>" % len(rest)
    if code == 10:
        return "R sasl " + ",".join(show(m) for m in rest.split(b"\0") if m)
    if code == 11:
        parts = dict(p.split("=", 1) for p in rest.decode().split(","))
        own = bool(nonce) and parts["r"].startswith(nonce) and len(parts["r"]) > len(nonce)
        return "R sasl-continue nonce %s, salt of %d bytes, i=%s" % (
            "continued" if own else "WRONG", len(base64.b64decode(parts["s"])), parts["i"])
    if code == 12:
        return "R sasl-final v=<%d bytes>" % len(base64.b64decode(rest[2:]))
    return "R %d %s" % (code, show(rest))


def tell(m, nonce=None):
    """One message from the server as a line."""
    kind, body = m.type.decode("latin-1"), m.body
    if kind == "R":
        return tell_auth(body, nonce)
    if kind == "S":
        name, value, _ = body.split(b"\0", 2)
        return "S %s=%s" % (show(name), show(value))
    if kind == "K":
        return "K <key of %d bytes>" % len(body)
    if kind in "EN":
        return "%s %s" % (kind, tell_fields(body))
    if kind == "T":
        return "T " + ", ".join("%s:%d/%d/%d/%d" % (c.name, c.oid, c.typlen, c.typmod, c.format)
                                for c in wire.columns_of(body))
    if kind == "D":
        return "D " + " | ".join("NULL" if v is None else short(v) for v in wire.row_of(body))
    if kind == "A":
        channel, payload, _ = body[4:].split(b"\0", 2)
        return "A %s %s" % (show(channel), show(payload))
    if kind in "CZ":
        return "%s %s" % (kind, show(body.rstrip(b"\0")))
    return (kind + " " + short(show(body))).rstrip()


NAMES = {b"Q": "Query", b"P": "Parse", b"B": "Bind", b"D": "Describe", b"E": "Execute", b"C": "Close", b"S": "Sync",
         b"H": "Flush", b"X": "Terminate", b"d": "CopyData", b"c": "CopyDone", b"f": "CopyFail", b"F": "FunctionCall",
         b"p": "p"}


def tell_sent(data):
    """What we sent, for the reader of a transcript."""
    out = []
    pos = 0
    while pos + 5 <= len(data):
        kind = data[pos:pos + 1]
        size, = struct.unpack_from("!I", data, pos + 1)
        if kind not in NAMES or size < 4 or pos + 1 + size > len(data):
            break
        body = data[pos + 5:pos + 1 + size]
        out.append((NAMES[kind] + " " + ("" if kind == b"p" else show(body.rstrip(b"\0"))[:60])).rstrip())
        pos += 1 + size
    if pos < len(data):
        out.append("%d bytes %s" % (len(data) - pos, show(data[pos:pos + 24])))
    return "; ".join(out[:6]) + ("; ... %d in all" % len(out) if len(out) > 6 else "")


# --- the clients ----------------------------------------------------------------

class Client:
    """A connection whose every received byte is written down."""

    def __init__(self, player, name, host):
        self.player = player
        self.name = name
        self.scram = None
        self.key = None
        self.over = False
        self.quiet = False
        self.wire = Wire(host or player.pooler.host, player.pooler.port, timeout=PATIENCE)

    def line(self, text):
        if not self.quiet:
            self.player.line("%s %s" % (self.name, text))

    def item(self, name, text):
        """A line about something that has a name and that 1.18 may not have."""
        self.line("%s%s: %s" % (ITEM, name, text))

    # sending

    def send(self, *parts, note=None):
        """note: what to call it in the transcript; "" for nothing at all."""
        data = b"".join(parts)
        note = tell_sent(data) if note is None else note
        if note:
            self.line("> " + note)
        try:
            self.wire.send(data)
        except Closed:
            pass  # the end will be read, in its order
        return self

    def startup(self, user=None, database=None, version=wire.PROTO3, **params):
        if user is None:
            user = self.player.user
        if database is None:
            database = self.player.database
        items = {k: v for k, v in dict(user=user, database=database, **params).items() if v is not False}
        self.line("> start-up " + " ".join("%s=%s" % (k, short(v, 40)) for k, v in items.items()))
        return self.send(wire.startup(version=version, **items), note="")

    # receiving

    def recv(self):
        """One message, written down; None at the end of the connection."""
        if self.over:
            return None
        try:
            m = self.wire.recv()
        except Closed:
            self.over = True
            self.line("END" + (" inside %r" % bytes(self.wire.buf) if self.wire.buf else ""))
            return None
        except TimeoutError:
            self.over = True
            self.line("SILENCE" + (" inside %r" % bytes(self.wire.buf) if self.wire.buf else ""))
            return None
        if m.type == b"K":
            self.key = m.body
        self.line(tell(m, self.scram and self.scram.nonce))
        return m

    def byte(self):
        """A single byte, the answer to an SSLRequest."""
        try:
            self.line("byte %r" % self.wire.take(1))
        except Closed:
            self.over = True
            self.line("END")
        return self

    def until(self, kind, count=1):
        """Up to a message of this kind, or to the end."""
        got = []
        while count:
            m = self.recv()
            if m is None:
                break
            got.append(m)
            count -= m.type == kind
        return got

    def ready(self, count=1):
        return self.until(b"Z", count)

    def take(self, count):
        for _ in range(count):
            self.recv()

    def end(self):
        """Everything to the end of the connection."""
        while self.recv() is not None:
            pass

    def nothing(self, seconds=0.15):
        """Nothing arrives for a while."""
        if not self.over:
            self.line("(waiting)" if self.wire.silent(seconds * env.SLOW) else "(something arrived)")
        return self

    def query(self, sql):
        self.send(wire.query(sql))
        return wire.Result(self.ready())

    def run(self, *parts):
        """Send and read up to ReadyForQuery."""
        self.send(*parts)
        return wire.Result(self.ready())

    def pid(self):
        """Which server serves us now: its name, by order of appearance."""
        self.quiet, was = True, self.quiet
        result = self.query("SELECT pg_backend_pid()")
        self.quiet = was
        if result.errors or not result.rows:
            self.line("no pid")
            return None
        return self.player.name_pid(self, result.rows[0][0])

    def leave(self):
        """Terminate, and away."""
        self.send(wire.TERMINATE)
        self.end()
        self.wire.close()

    def vanish(self):
        """Away, without Terminate."""
        self.line("> (hangs up)")
        self.wire.close()

    def hold(self):
        """What is sent next goes out with the shut() that follows, in one piece: nobody can answer in between."""
        self.wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        return self

    def shut(self):
        """Says that nothing more will come, but listens."""
        self.line("> (end of what we send)")
        try:
            self.wire.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side has reset it; what came before can still be read
        return self

    # log-in

    def answer(self, secret, in_order=False):
        """Go on with the log-in until the greeting or the end; requests are
        answered with the password. ParameterStatus messages are sorted, since
        their order means nothing and is another in 1.18, and folded; not so in_order."""
        mark = len(self.player.lines)
        self.go_on(secret)
        if not in_order:
            self.fold(mark)
        return self

    def fold(self, mark):
        """Sorts what the greeting says, and leaves to one line what it says as the server does."""
        head = self.name + " S "
        told = self.player.lines[mark:]
        status = [t for t in told if t.startswith(head)]
        if not status:
            return
        at = told.index(status[0])
        others = told[:at], [t for t in told[at:] if not t.startswith(head)]
        plain = {head + "%s=%s" % item for item in self.player.pg.greeting.items()}
        if any("server_version=" in t for t in plain & set(status)):
            names = {t[len(head):].split("=")[0] for t in status}
            rest = [head + "(the others as the server says)"]
            rest += [head + "without " + n for n in sorted(set(self.player.pg.greeting) - names)]
            status = [t for t in status if t not in plain]
        else:
            rest = []
        self.player.lines[mark:] = others[0] + sorted(status) + rest + others[1]

    def go_on(self, secret):
        user = self.player.user
        while True:
            m = self.recv()
            if m is None or m.type == b"Z":
                return
            if m.type != b"R":
                continue
            code, = struct.unpack_from("!I", m.body)
            if code == 3:
                self.send(wire.password(secret), note="password")
            elif code == 5:
                inner = wire.md5_secret(user, secret)[3:].encode()
                digest = hashlib.md5(inner + m.body[4:8]).hexdigest()
                self.send(wire.password("md5" + digest), note="md5 password")
            elif code == 10:
                self.scram = wire.ScramClient(secret)
                self.send(self.scram.first(), note="SCRAM first")
            elif code == 11:
                self.send(self.scram.final(m.body[4:].decode()), note="SCRAM final")
            elif code == 12:
                self.scram.check(m.body[4:].decode())


class Player:
    """What a scene has at hand."""

    def __init__(self, pooler, scene, pg, fake):
        self.pooler = pooler
        self.scene = scene
        self.pg = pg
        self.fake = fake
        self.database = database_of(scene)
        self.user = "u_trust"
        self.lines = []
        self.clients = []
        self.pids = {}
        self.hidden = [(r"\b%d\b" % pooler.port, "<port>"), (re.escape(pooler.dir), "<dir>")]
        if fake:
            self.hidden.append((r"\b%d\b" % fake.port, "<server port>"))
        self.unique = self.hide("u%d_%06d" % (pooler.port, next(_numbers)), "<unique>")

    def hide(self, text, placeholder):
        """This text means the same in both transcripts under another name."""
        self.hidden.append((r"(?<![0-9A-Za-z_])%s(?![0-9A-Za-z])" % re.escape(text), placeholder))
        return text

    def line(self, text):
        for pattern, placeholder in self.hidden:
            text = re.sub(pattern, placeholder, text)
        self.lines.append(text)

    def name_pid(self, client, pid):
        name = self.pids.setdefault(pid, "pid%d" % (len(self.pids) + 1))
        client.line("= " + name)
        return int(pid)

    def connect(self, host=None, name=None):
        c = Client(self, name or "c%d" % (len(self.clients) + 1), host)
        self.clients.append(c)
        return c

    def login(self, secret="", database=None, user=None, tell=False, **params):
        """A client that has logged in; told only if that fails."""
        c = self.connect()
        before = self.user
        self.user = user or before
        mark = len(self.lines)
        c.startup(self.user, database, **params)
        c.answer(secret)
        self.user = before
        if not c.over and not tell:
            del self.lines[mark:]
            self.line("%s logged in" % c.name)
        return c

    def console(self, user="admin"):
        return self.login(user=user, database="pgbouncer", secret=user + "_pw")

    def wait_running(self, text):
        """Until the server runs a query with this in its text."""
        env.wait_for(lambda: self.pg.sql("SELECT pid FROM pg_stat_activity WHERE state = 'active' AND"
                                         " pid <> pg_backend_pid() AND query LIKE '%%%s%%'" % text),
                     "the query to run: " + text)

    def cancel(self, key, host=None):
        """A cancel request, up to the end of its connection."""
        c = self.connect(host)
        c.send(wire.cancel_request(key), note="cancel request")
        c.end()

    def wait_pool(self, **want):
        """Until SHOW POOLS says so of this scene's pool."""
        self.pooler.wait_pool(self.database, **want)

    def table(self, columns="a int, b text"):
        """A table of our own."""
        name = self.hide("t" + self.unique, "<table>")
        self.pg.sql("CREATE TABLE %s (%s)" % (name, columns), "GRANT ALL ON %s TO PUBLIC" % name, db="db")
        return name

    def finish(self):
        for c in self.clients:
            c.wire.close()


# --- comparing ------------------------------------------------------------------

def hunks(theirs, ours):
    """What differs: ((their lines), (our lines)), ..."""
    found = difflib.SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes()
    return [(tuple(theirs[a:b]), tuple(ours[c:d])) for op, a, b, c, d in found if op != "equal"]


def item_of(line):
    """The name in a line of Client.item, with the client's."""
    match = re.match(r"(\w+ %s\S+): " % ITEM, line)
    return match and match.group(1)


def compare(scene, theirs, ours, known):
    """The complaint, or None: differences that are not listed, and listed ones that are not there.
    Items that 1.18 does not have are left out."""
    old = {item_of(line) for line in theirs}
    ours = [line for line in ours if not item_of(line) or item_of(line) in old]
    found = hunks(theirs, ours)
    missing = [k for k in known if (k.theirs, k.ours) not in found]
    listed = [(k.theirs, k.ours) for k in known]
    news = [h for h in found if h not in listed]
    if not missing and not news:
        return None
    text = ["%s: a client sees something else than with PgBouncer 1.18" % scene]
    text += ["differs(why, %r, %r, %r)" % (scene, list(a), list(b)) for a, b in news]
    text += ["  no longer there, %s:\n      %s\n      %s" % (k.why, list(k.theirs), list(k.ours)) for k in missing]
    text += difflib.unified_diff(theirs, ours, "1.18", "ours", lineterm="", n=100)
    return "\n".join(text)
