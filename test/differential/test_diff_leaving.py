"""Clients that leave in all ways, and what the next one finds."""
from harness import wire
from harness.wire import FLUSH, SYNC, copy_data, extended, parse, query
from play import Scenes

setups = {"plain": dict(auth_type="trust")}
scenes = Scenes("leaving", setups)

MODES = ("session", "transaction", "statement")
HOW = ("leave", "vanish", "reset")


def test_leaving(same):
    same()


def go(c, how):
    if how == "reset":
        c.line("> (reset)")
        c.wire.reset()
    else:
        getattr(c, how)()


BEFORE = {
    "after-login": (),
    "after-a-query": (query("SELECT 1"),),
    "after-an-error": (query("SELECT 1/0"),),
    "after-a-batch": (extended("SELECT 1") + SYNC,),
    "in-a-transaction": (query("BEGIN"),),
    "in-a-failed-transaction": (query("BEGIN"), query("SELECT 1/0")),
}


@scenes(each={"%s:%s:%s" % (k, h, m): {"before": v, "how": h, "entry": {"pool_mode": m, "pool_size": 1}}
              for k, v in BEFORE.items() for h in HOW for m in MODES if "transaction" not in k or m != "statement"})
def leaves(d, before, how):
    """The next client gets the same server, or another if that was not clean."""
    a = d.login()
    for part in before:
        a.send(part).ready()
    if before and d.scene.entry["pool_mode"] != "statement" and "failed" not in d.scene.name:
        a.pid()
    go(a, how)
    b = d.login()
    b.pid()
    b.query("SELECT 'fine'")


UNFINISHED = {
    "query-sent": (query("SELECT pg_sleep(0.3)"),),
    "batch-without-sync": (extended("SELECT 1"), FLUSH),
    "parse-without-sync": (parse("SELECT 1"),),
    "half-a-message": (query("SELECT 1")[:7],),
    "two-queries": (query("SELECT pg_sleep(0.2)"), query("SELECT 2")),
    "bind-half": (extended("SELECT 1")[:-3],),
}


@scenes(each={"%s:%s:%s" % (k, h, m): {"unfinished": v, "how": h, "entry": {"pool_mode": m, "pool_size": 1}}
              for k, v in UNFINISHED.items() for h in ("vanish", "reset") for m in ("session", "transaction")})
def leaves_with_work_unfinished(d, unfinished, how):
    a = d.login()
    a.pid()
    a.send(*unfinished)
    go(a, how)
    b = d.login()
    b.query("SELECT 'fine'")


@scenes(each={m: {"entry": {"pool_mode": m, "pool_size": 1}} for m in MODES})
def terminate_behind_a_query(d):
    """The query is sent, its answer may be lost."""
    a = d.login()
    a.send(wire.TERMINATE)
    a.end()
    b = d.login()
    b.query("SELECT 'fine'")


@scenes(each={m: {"entry": {"pool_mode": m, "pool_size": 1}} for m in MODES})
def half_closed(d):
    """A client that says no more than one query and reads to the end."""
    a = d.login()
    a.send(query("SELECT 'last'"))
    a.ready()
    a.shut()
    a.end()
    d.login().query("SELECT 'fine'")


@scenes(each={m: {"entry": {"pool_mode": m, "pool_size": 1}} for m in ("session", "transaction")})
def leaves_while_waiting(d):
    a, b, c = d.login(), d.login(), d.login()
    a.query("BEGIN")
    b.send(query("SELECT 'b'"))
    d.wait_pool(cl_waiting=1)
    c.send(query("SELECT 'c'"))
    d.wait_pool(cl_waiting=2)
    b.vanish()
    a.query("COMMIT")
    if d.scene.entry["pool_mode"] == "session":
        a.leave()
    c.ready()


@scenes(each={m: {"entry": {"pool_mode": m, "pool_size": 1}} for m in ("session", "transaction")})
def bytes_behind_terminate(d):
    a = d.login()
    a.query("SELECT 1")
    a.send(wire.TERMINATE, query("SELECT 2"), copy_data(b"x"))
    a.end()
    d.login().query("SELECT 'fine'")
