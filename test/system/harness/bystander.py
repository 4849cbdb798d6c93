"""Everybody else notices nothing.

    with undisturbed(p, pg):
        ... attack ...

A bystander works through the pooler all the while. At the end it has seen no
error and no answer of somebody else's, still works, the process has not
grown, nobody is left in SHOW CLIENTS, no server is left linked, PostgreSQL
has no backend that the pooler does not know, and the next client gets a
server without a trace of anybody.
"""
import contextlib
import itertools
import threading

from . import env

GROWTH_KB = 8192
_tokens = itertools.count()


class Bystander:
    def __init__(self, wire, answer):
        self.wire = wire
        self.answer = answer  # to a query with this token
        self.done = 0
        self.fault = None
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        try:
            while not self.stopped.is_set():
                token = "bystander %d" % next(_tokens)
                r = self.wire.query("SELECT '%s'" % token)
                assert r.types == "TDCZ" and r.rows == [(self.answer(token),)] and r.status == "I", (r.types, r.rows, r.errors)
                self.done += 1
                # A breath, so that it takes none of the attacker's time.
                self.stopped.wait(0.003)
        except Exception as e:
            self.fault = e

    def goes_on(self):
        """It has done some more since now."""
        seen = self.done
        env.wait_for(lambda: self.fault or self.done > seen + 2, "the bystander to go on")
        assert self.fault is None, repr(self.fault)

    def stop(self):
        self.stopped.set()
        self.thread.join()
        assert self.fault is None, repr(self.fault)


def left_behind(p, pg, db):
    """What there is beside idle servers; "" if nothing."""
    clients = [r for r in p.show("CLIENTS") if r["database"] != "pgbouncer"]
    if clients:
        return "clients %r" % clients
    servers = [r for r in p.show("SERVERS")]
    if any(r["state"] not in ("idle", "used") for r in servers):
        return "servers %r" % servers
    lists = {r["list"]: int(r["items"]) for r in p.show("LISTS")}
    if lists["login_clients"]:
        return "login clients"
    if pg is None:
        return ""
    backends = pg.backends(db)
    pids = {int(r["remote_pid"]) for r in servers}
    # One more may just be on its way out.
    return "" if set(backends) <= pids else "backends %r, servers %r" % (backends, pids)


def clean(c):
    """A server on which nobody has left anything."""
    r = c.query("SELECT (SELECT count(*) FROM pg_class WHERE relpersistence = 't'),"
                " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),"
                " (SELECT count(*) FROM pg_cursors), pg_current_xact_id_if_assigned() IS NULL, 'clean'")
    assert r.types == "TDCZ" and r.status == "I" and not r.errors, (r.types, r.errors)
    assert r.rows == [("0", "0", "0", "t", "clean")], r.rows


@contextlib.contextmanager
def undisturbed(p, pg, user="u_trust", secret=None, db="db", growth_kb=GROWTH_KB):
    """pg may be None where the servers are scripted ones."""
    # A scripted server answers with the beginning of the query.
    b = Bystander(p.login(user, db, secret), (lambda t: t) if pg else lambda t: ("SELECT '%s'" % t)[:20])
    b.thread.start()
    try:
        b.goes_on()
        before = env.rss_kb(p.process.pid)
        yield b
        b.goes_on()
    finally:
        b.stopped.set()
        b.thread.join()
        b.wire.close()
    assert b.fault is None, repr(b.fault)
    # Sanitizers keep what was freed for a while.
    if env.SLOW == 1:
        grown = env.rss_kb(p.process.pid) - before
        assert grown < growth_kb, "%d KB more" % grown
    env.wait_for(lambda: not left_behind(p, pg, db), lambda: left_behind(p, pg, db), pause=0.05)
    with p.login(user, db, secret) as c:
        if pg is not None:
            clean(c)
        else:
            c.value("SELECT 1")
