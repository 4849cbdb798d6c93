"""The console: what every SHOW has, every command with right and wrong arguments, who may what."""
import os
import re

from harness import env, wire
from harness.wire import COPY_DONE, FLUSH, SYNC, bind, close, copy_data, describe, execute, extended, parse, query
from play import Scenes

setups = {
    "plain": dict(auth_type="trust"),
    # Scenes that concern the whole process: one by one.
    "commands": dict(auth_type="trust", databases={"one": "host={host} port={port} dbname=db pool_mode=transaction",
                                                   "two": "host={host} port={port} dbname=db2"}),
    "pausing": dict(auth_type="trust", databases={"one": "host={host} port={port} dbname=db pool_mode=transaction",
                                                  "two": "host={host} port={port} dbname=db2"}),
    "shutdown": dict(auth_type="trust"),
    "any": dict(auth_type="any"),
    "no-admins": dict(auth_type="trust", admin_users="", stats_users=""),
    "no-pqexec": dict(auth_type="trust", disable_pqexec=1),
}
scenes = Scenes("console", setups)


def test_console(same):
    same()


def is_done(command):
    """Whether our console has it: what is still to come says so, or is unknown."""
    text = ""
    for name in os.listdir(os.path.join(env.TOP, "src", "admin")):
        with open(os.path.join(env.TOP, "src", "admin", name)) as f:
            text += f.read()
    if command.startswith("SHOW "):
        return '"%s"' % command[5:] in text.upper()
    return command + " is not available" not in text


def ask(d, *commands, user="admin", c=None):
    c = c or d.console(user)
    for command in commands:
        if not c.over:
            c.query(command)
    return c


# --- SHOW -----------------------------------------------------------------------------

# What 1.18 has.
SHOWS = ("CLIENTS", "SERVERS", "SOCKETS", "ACTIVE_SOCKETS", "POOLS", "DATABASES", "USERS", "LISTS", "STATS",
         "STATS_TOTALS", "STATS_AVERAGES", "TOTALS", "MEM", "DNS_HOSTS", "DNS_ZONES", "CONFIG", "VERSION",
         *(["FDS"] if is_done("SHOW FDS") else []))


def columns(c, command):
    """The columns of the answer."""
    c.quiet = True
    r = c.query(command)
    c.quiet = False
    c.line("> " + command)
    for column in r.columns:
        c.item(column.name, "%d/%d/%d" % (column.oid, column.typlen, column.typmod))
    for tag in r.tags:
        c.line("C " + tag)
    for e in r.errors:
        c.line("E %s %s" % (e.code, e.text))
    return r


@scenes(each={k: {"what": k} for k in SHOWS})
def columns_of_show(d, what):
    d.login().query("SELECT 1")
    columns(d.console(), "SHOW " + what)


@scenes(each={k: {"what": k} for k in SHOWS})
def show_by_a_stats_user(d, what):
    columns(d.console("stats"), "SHOW " + what)


@scenes(each={k: {"what": k} for k in (
    "help", "version", "client_encoding", "default_transaction_isolation", "standard_conforming_strings", "datestyle",
    "timezone", "nonsense", "config2", "CLIENT", "all", "server_version", "application_name", "search_path")})
def show_word(d, what):
    """All but the texts that name a version or the commands it has."""
    c = d.console()
    c.quiet = what in ("help", "version")
    r = c.query("SHOW " + what)
    if c.quiet:
        c.quiet = False
        c.line("%s %s %d rows" % (r.types, r.tags, len(r.rows)))
        for n in r.notices:
            c.line("N %s" % {k: v for k, v in n.items() if k != "D"})
    c.query("SELECT " + what) if what not in ("help", "version") else None


def settings_of(c):
    c.quiet = True
    rows = c.query("SHOW CONFIG").dicts()
    c.quiet = False
    return rows


@scenes()
def show_config(d):
    """Every setting of 1.18: value, default, and whether it can be changed."""
    c = d.console()
    for row in sorted(settings_of(c), key=lambda r: r["key"]):
        value = row["value"]
        if row["key"] in ("auth_file", "conffile", "worker_threads"):
            value = "..."
        c.item(row["key"], "%(v)s, default %(default)s, %(changeable)s" % {**row, "v": value})


@scenes(entry={"pool_size": 7, "reserve_pool": 3, "pool_mode": "transaction", "max_db_connections": 9,
               "user": "u_trust", "min_pool_size": 1})
def show_databases_row(d):
    d.login().query("SELECT 1")
    c = d.console()
    c.quiet = True
    rows = c.query("SHOW DATABASES").dicts()
    c.quiet = False
    for row in rows:
        if row["name"] in (d.database, "pgbouncer"):
            for key in ("name", "host", "port", "database", "force_user", "pool_size", "min_pool_size", "pool_mode",
                        "max_connections", "current_connections", "paused", "disabled"):
                if key == "current_connections" and row["name"] == "pgbouncer":
                    continue
                value = row[key]
                c.line("%s = %s" % (key, "<pg>" if key == "port" and value == str(d.pg.port) else value))


@scenes(each={m: {"entry": {"pool_mode": m, "pool_size": 1}} for m in ("session", "transaction", "statement")})
def show_pools_row(d):
    """The numbers of a pool in known states."""
    a, b = d.login(), d.login()
    c = d.console()

    def row(what):
        r = d.pooler.pool(d.database)
        c.line(what + ": " + " ".join("%s=%s" % (k, r[k]) for k in (
            "user", "cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login",
            "pool_mode")))
    d.wait_pool(sv_tested=0)
    row("two logged in")
    a.query("SELECT 1")
    row("one has asked")
    if d.scene.entry["pool_mode"] != "statement":
        a.query("BEGIN")
        b.send(query("SELECT 2"))
        d.wait_pool(cl_waiting=1)
        row("one in a transaction")
        a.query("COMMIT")
        if d.scene.entry["pool_mode"] == "session":
            a.leave()
        b.ready()
        row("and out of it")
    b.leave()
    d.wait_pool(sv_tested=0)
    row("left")


@scenes(each={m: {"entry": {"pool_mode": m, "pool_size": 1}} for m in ("session", "transaction")})
def show_clients_and_servers(d):
    a, b, e = d.login(application_name="mine"), d.login(), d.login()
    c = d.console()

    def rows(what):
        for kind in ("CLIENTS", "SERVERS"):
            c.quiet = True
            found = sorted((r for r in c.query("SHOW " + kind).dicts() if r["database"] == d.database),
                           key=lambda r: (r["state"], r["link"] != "", r["application_name"]))
            c.quiet = False
            for r in found:
                c.line("%s, %s: %s" % (what, kind, " ".join("%s=%s" % (k, r[k]) for k in (
                    "type", "user", "state", "addr", "local_addr", "close_needed", "tls"))
                    + (" linked" if r["link"] else " alone")))
    d.wait_pool(sv_tested=0)
    rows("idle")
    a.query("BEGIN")
    b.send(query("SELECT 1"))
    d.wait_pool(cl_waiting=1)
    rows("busy")
    a.query("ROLLBACK")
    a.leave()
    b.ready()
    e.leave()


@scenes(entry={"pool_mode": "transaction", "pool_size": 1})
def show_stats_counts(d):
    a = d.login()
    c = d.console()
    for what in ("SELECT 1", "BEGIN", "SELECT 2", "COMMIT", "SELECT 1; SELECT 2", "SELECT 1/0"):
        a.query(what)
    a.run(extended("SELECT 1"), extended("SELECT 2"), SYNC)
    c.quiet = True
    for show, names in (("STATS", ("total_xact_count", "total_query_count", "total_received", "total_sent")),
                        ("STATS_TOTALS", ("xact_count", "query_count", "bytes_received", "bytes_sent"))):
        found = [r for r in c.query("SHOW " + show).dicts() if r["database"] == d.database][0]
        c.quiet = False
        c.line(show + " " + " ".join("%s=%s" % (k, found[k]) for k in names))
        c.quiet = True


# --- grammar ----------------------------------------------------------------------------

GRAMMAR = [
    "", ";", " ", "SHOW", "show", "SHOW ;", "SHOW TIMEZONE;", "  show   timezone  ;  ", "SHOW\ttimezone\n",
    "show TimeZone", "SHOW timezone; SHOW timezone", "SHOW timezone;;", "SHOW \"timezone\"", "SHOW 'timezone'",
    "SHOW time zone", "SHOW timezone extra", "SHOW timezone -- comment", "/* x */ SHOW timezone", "SHOWtimezone",
    "SELECT 1", "SELECT timezone", "SELECT * FROM x", "BEGIN", "COMMIT", "nonsense", "nonsense word", "QUIT", "EXIT",
    "PAUSE \"no-such\"", "PAUSE no_such", "PAUSE no-such", "PAUSE 'no_such'", "PAUSE a b",
    "PAUSE \"a\"\"b\"", "PAUSE \"",
    "RESUME no_such", "DISABLE no_such", "ENABLE no_such", "KILL no_such", "RECONNECT no_such", "WAIT_CLOSE no_such",
    "DISABLE", "ENABLE", "KILL", "DISABLE pgbouncer", "ENABLE pgbouncer", "KILL pgbouncer", "PAUSE pgbouncer",
    "RESUME pgbouncer", "RECONNECT pgbouncer", "WAIT_CLOSE pgbouncer", "RELOAD x", "SUSPEND x", "SHUTDOWN x",
    "RELOAD;x", "RESUME", "RESUME one", "PAUSE1", "SET", "SET x", "SET x =", "SET = 1", "SET x 1", "SET x = 1",
    "SET x = '1", "SET x y = 1", "SET default_pool_size 5", "SET default_pool_size = 5 6", "SET default_pool_size = -",
    "SET default_pool_size = x", "SET default_pool_size = ''", "SET pool_mode = nonsense", "SET auth_type = nonsense",
    "SET server_lifetime = -1", "SET client_encoding = 'x'", "SET client_encoding to x", "SET DateStyle = 'ISO'",
    "SET timezone = 'GMT'", "SET standard_conforming_strings = off", "SET application_name = 'x'",
    "SET extra_float_digits = 3", "SET no_such_setting = 1", "SET \"default_pool_size\" = 5", "a" * 20, "a" * 200,
    "SHOW " + "b" * 70, "PAUSE " + "c" * 63, "PAUSE " + "c" * 64, "PAUSE " + "c" * 200, "SET " + "d" * 70 + " = 1",
    "SET default_pool_size = '" + "1" * 300 + "'", "SHOW t\u00efmezone", "SHOW timezone\x01", "\u00e4",
    "SHOW (timezone)",
    "EXPLAIN SHOW timezone", "COPY x FROM STDIN", "LISTEN x", "DISCARD ALL", "SHUTDOWN WAIT_FOR_NOTHING",
]


def slug(text):
    return (re.sub(r"[^0-9A-Za-z]+", "-", text)[:30].strip("-") or "blank") + "-%d" % len(text)


def grammar_rows():
    rows = {}
    for text in GRAMMAR:
        name = slug(text)
        while name in rows:
            name += "x"
        rows[name] = {"text": text}
    return rows


@scenes(setup="commands", entry=None, alone=True, each=grammar_rows())
def grammar(d, text):
    if text == "KILL":
        text = "KILL "  # 1.18 needs a database, and ours would pause them all
    c = d.console()
    if text.strip() != "KILL":
        c.query(text)
    c.query("SHOW timezone")
    if text.startswith("SET default_pool_size"):
        c.line([r["value"] for r in settings_of(c) if r["key"] == "default_pool_size"][0])
        d.pooler.admin("SET default_pool_size = 20")


@scenes(setup="commands", entry=None, alone=True, each={slug(v): {"text": v} for v in (
    "SHOW timezone", "SHOW POOLS", "PAUSE", "PAUSE one", "RESUME", "RELOAD", "SET default_pool_size = 5", "SUSPEND",
    "DISABLE one", "ENABLE one", "KILL one", "RECONNECT", "RECONNECT one", "WAIT_CLOSE", "WAIT_CLOSE one", "SHUTDOWN",
    *(["SHOW FDS"] if is_done("SHOW FDS") else []), "SET timezone = 'x'", "SHOW nonsense", "RELOAD x",
    "PAUSE pgbouncer", "DISABLE")})
def rights_of_a_stats_user(d, text):
    c = d.console("stats")
    if text == "SHOW POOLS":
        columns(c, text)
    else:
        c.query(text)
    c.query("SHOW timezone")


@scenes(setup="commands", entry=None, alone=True)
def anybody_else(d):
    d.login(user="u_trust", database="pgbouncer")


@scenes(setup="no-admins", entry=None, alone=True)
def no_admins(d):
    d.login(user="admin", database="pgbouncer")
    d.login(user="pgbouncer", database="pgbouncer")
    with env.as_server_user():
        c = d.connect(d.pooler.dir)
    c.startup("pgbouncer", "pgbouncer")
    c.quiet = True
    c.answer("")
    c.quiet = False
    c.query("RECONNECT")


@scenes(setup="any", entry=None, alone=True)
def with_auth_type_any(d):
    for user in ("admin", "stats", "somebody"):
        c = d.login(user=user, database="pgbouncer")
        if not c.over:
            c.query("SHOW timezone")
            c.query("RECONNECT")


# --- SET --------------------------------------------------------------------------------

SETS = ("default_pool_size = 5", "default_pool_size='6'", "default_pool_size TO 7", "DEFAULT_POOL_SIZE = 8",
        "pool_mode = 'transaction'", "pool_mode = SESSION", "server_lifetime = 100", "server_lifetime = '1.5'",
        "server_reset_query = 'SELECT 1'", "server_reset_query = ''", "admin_users = 'admin, other'",
        "ignore_startup_parameters = options", "log_connections = yes", "log_connections = 0", "listen_port = 1",
        "pkt_buf = 100", "max_client_conn = 0x64", "default_pool_size = 010", "default_pool_size = ' 9'",
        "default_pool_size = '9 '", "default_pool_size = '9x'", "query_timeout = '0'", "verbose = 1", "verbose = 0",
        "query_wait_timeout = '1e2'", "tcp_keepalive = 1", "stats_period = 5", "server_login_retry = 1",
        "server_round_robin = 2", "syslog_ident = 'it''s'", "client_tls_sslmode = disable",
        "server_tls_sslmode = allow",
        "server_tls_sslmode = disable", "client_tls_sslmode = require", "client_tls_sslmode = nonsense",
        "auth_query = 'SELECT 1'", "unix_socket_dir = '/x'", "job_name = x", "conffile = '/nonexistent'")


@scenes(setup="commands", entry=None, alone=True, each={slug(v): {"text": v} for v in SETS})
def set_and_show(d, text):
    c = d.console()
    before = {r["key"]: r["value"] for r in settings_of(c)}
    c.query("SET " + text)
    key = re.match(r"\w+", text).group(0).lower()
    for row in settings_of(c):
        if row["key"] == key and key not in ("conffile",):
            c.line("%s = %s" % (key, row["value"]))
    if before.get(key) is not None:
        c.quiet = True
        c.query("SET %s = '%s'" % (key, before[key].replace("'", "''")))


# --- commands that change what runs -------------------------------------------------------

def busy(d, database="one"):
    c = d.login(database=database)
    c.query("BEGIN")
    return c


def commands(function):
    return scenes(setup="pausing", entry=None, alone=True)(function)


@commands
def pause_and_resume(d):
    a, c = d.login(database="one"), d.console()
    a.query("SELECT 1")
    c.query("PAUSE")
    c.query("PAUSE")
    c.query("PAUSE one")
    c.query("KILL two")
    a.send(query("SELECT 2"))
    a.nothing(0.1)
    c.query("RESUME")
    a.ready()
    c.query("RESUME")


@commands
def pause_waits(d):
    a, c = busy(d), d.console()
    c.send(query("PAUSE"))
    c.nothing()
    a.query("COMMIT")
    c.ready()
    c.query("RESUME")
    a.query("SELECT 1")


@commands
def pause_of_one_database(d):
    a, b, c = busy(d), d.login(database="two"), d.console()
    b.query("SELECT 1")
    c.send(query("PAUSE one"))
    c.nothing()
    b.query("SELECT 2")
    a.query("COMMIT")
    c.ready()
    c.query("PAUSE one")
    a.send(query("SELECT 3"))
    a.nothing(0.1)
    c.query("RESUME two")
    c.query("RESUME one")
    a.ready()
    c.query("RESUME one")
    b.leave()
    c.query("PAUSE two")
    c.query("RESUME two")


@commands
def login_while_paused(d):
    d.login(database="one").leave()
    c = d.console()
    c.query("PAUSE")
    a = d.login(database="one")
    a.send(query("SELECT 1"))
    a.nothing(0.1)
    c.query("RESUME")
    a.ready()


if is_done("SUSPEND"):
    @commands
    def suspend_and_resume(d):
        a, c = d.login(database="one"), d.console()
        a.query("SELECT 1")
        c.query("SUSPEND")
        c.query("SUSPEND")
        c.query("PAUSE")
        a.send(query("SELECT 2"))
        a.nothing(0.1)
        c.query("RESUME")
        a.ready()
        c.query("PAUSE")
        c.query("SUSPEND")
        c.query("RESUME")
        c.query("PAUSE two")
        c.query("SUSPEND")
        c.query("RESUME two")
        c.query("RESUME")


@commands
def disable_and_enable(d):
    a, c = d.login(database="two"), d.console()
    c.query("DISABLE two")
    c.query("DISABLE two")
    refused = d.connect()
    refused.startup(database="two")
    refused.answer("")
    a.query("SELECT 'still here'")
    c.query("ENABLE two")
    c.query("ENABLE two")
    d.login(database="two").query("SELECT 1")


@commands
def kill(d):
    a, b, c = d.login(database="one"), busy(d, "two"), d.console()
    a.query("SELECT 1")
    d.pooler.wait_pool("two", sv_login=0, sv_tested=0)
    c.query("KILL two")
    b.end()
    a.query("SELECT 2")
    c.query("RESUME two")
    # Who logs in before the RESUME waits for ever in 1.18.
    d.login(database="two").query("SELECT 3")


@commands
def reconnect(d):
    a, c = d.login(database="one"), d.console()
    a.pid()
    c.query("RECONNECT")
    c.query("WAIT_CLOSE")
    a.pid()
    c.query("RECONNECT one")
    c.query("WAIT_CLOSE one")
    a.pid()
    c.query("WAIT_CLOSE two")


@commands
def wait_close(d):
    a, c = busy(d), d.console()
    a.pid()
    c.query("RECONNECT one")
    c.send(query("WAIT_CLOSE one"))
    c.nothing()
    a.query("COMMIT")
    c.ready()
    a.pid()


@commands
def reload_command(d):
    a, c = busy(d), d.console()
    c.query("SET default_pool_size = 9")
    c.query("RELOAD")
    c.line([r["value"] for r in settings_of(c) if r["key"] == "default_pool_size"][0])
    a.query("COMMIT")


@commands
def reload_with_a_bad_file(d):
    c = d.console()
    with open(d.pooler.ini) as f:
        good = f.read()
    env.write(d.pooler.ini, good + "\nno_such_setting = 1\n")
    c.query("RELOAD")
    env.write(d.pooler.ini, good)
    c.query("RELOAD")
    d.login(database="one").query("SELECT 1")


@commands
def two_commands_at_once(d):
    c = d.console()
    c.send(query("SHOW timezone"), query("PAUSE nowhere"), query("SHOW timezone"))
    c.ready(3)


@commands
def a_command_behind_one_that_waits(d):
    a, c = busy(d), d.console()
    c.send(query("PAUSE"), query("SHOW timezone"))
    a.query("COMMIT")
    c.ready(2)
    c.query("RESUME")


@scenes(setup="shutdown", alone=True)
def shutdown(d):
    a, b, c = d.login(), d.login(), d.console()
    a.query("SELECT 1")
    b.query("BEGIN")
    c.send(query("SHUTDOWN"))
    c.end()
    a.end()
    b.end()
    d.pooler.wait_exit(0)


# --- the protocol -------------------------------------------------------------------------

# Nothing longer than pkt_buf: 1.18 resets such a connection, and its last words may be lost.
MESSAGES = {
    "parse": parse("SHOW timezone"), "bind": bind(), "execute": execute(), "describe": describe("S"),
    "close": close("S"), "sync": SYNC, "flush": FLUSH, "function-call": wire.function_call(1),
    "copy-data": copy_data(b"x"), "copy-done": COPY_DONE, "copy-fail": wire.copy_fail("x"),
    "password": wire.password("x"),
    "unknown": wire.msg(b"z"),
    "terminate": wire.TERMINATE, "bad-length": b"Q\0\0\0\3", "zeros": b"\0" * 16, "startup": wire.startup("admin"),
    "no-nul": wire.msg(b"Q", b"SHOW timezone"), "bytes-behind": wire.msg(b"Q", b"SHOW timezone\0x"),
    "empty-body": wire.msg(b"Q", b""), "whole-batch": extended("SHOW timezone") + SYNC,
    "batch-with-parameter": extended("SHOW $1", ("timezone",)) + SYNC,
    "long-query": query("SHOW " + "x" * 3000),
}


@scenes(entry=None, each={k: {"data": v} for k, v in MESSAGES.items()})
def message(d, data):
    c = d.console()
    c.send(data).shut()
    c.end()


@scenes(setup="no-pqexec", entry=None, alone=True)
def pqexec_disabled(d):
    c = d.console()
    c.send(query("SHOW timezone"))
    c.end()


@scenes(entry=None, each={"none": {"params": {}}, "tracked": {"params": {"application_name": "x", "TimeZone": "UTC"}},
                          "unknown": {"params": {"geqo": "on"}}, "encoding": {"params": {"client_encoding": "LATIN1"}}})
def greeting(d, params):
    c = d.connect()
    c.startup("admin", "pgbouncer", **params)
    c.answer("", in_order=True)


@scenes(entry=None)
def own_user_on_the_unix_socket(d):
    with env.as_server_user():
        c = d.connect(d.pooler.dir)
    c.startup("pgbouncer", "pgbouncer")
    c.answer("")
    c.query("PAUSE nowhere")
