"""Sessions, transactions and statements, by the simple and the extended protocol."""
from harness import wire
from harness.wire import FLUSH, SYNC, bind, close, describe, execute, extended, parse, query
from play import Scenes

setups = {
    "plain": dict(auth_type="trust"),
    "reset-always": dict(auth_type="trust", server_reset_query_always=1,
                         server_reset_query="SET application_name = ''"),
    "no-reset": dict(auth_type="trust", server_reset_query=""),
    "no-pqexec": dict(auth_type="trust", disable_pqexec=1),
    "small-packets": dict(auth_type="trust", max_packet_size=2000),
    "small-buffer": dict(auth_type="trust", pkt_buf=256),
    "check": dict(auth_type="trust", server_check_delay=0, server_check_query="SELECT 'check'"),
}
scenes = Scenes("pooling", setups)

MODES = ("session", "transaction", "statement")


def modes(*which, **entry):
    """A scene in each of these modes, one server."""
    return {m: {"entry": {"pool_mode": m, "pool_size": 1, **entry}} for m in which or MODES}


def test_pooling(same):
    same()


# --- the simple protocol ------------------------------------------------------------

SIMPLE = {
    "select": "SELECT 1 AS one, NULL AS nothing, 'text'::text",
    "empty": "",
    "blanks": "  \n",
    "semicolon": ";",
    "comment": "-- nothing",
    "two": "SELECT 1; SELECT 2",
    "two-and-empty": "SELECT 1;;SELECT 2;",
    "syntax-error": "SELEC 1",
    "error-in-the-middle": "SELECT 1; SELECT 1/0; SELECT 2",
    "notice": "DO $$ BEGIN RAISE NOTICE 'hello'; END $$",
    "warning": "COMMIT",
    "no-rows": "SELECT 1 WHERE false",
    "no-columns": "SELECT",
    "many-rows": "SELECT repeat('x', 1000) FROM generate_series(1, 100)",
    "big-row": "SELECT repeat('y', 300000)",
    "fatal": "SELECT pg_terminate_backend(pg_backend_pid())",
    "vacuum": "VACUUM pg_class",
    "begin-commit-in-one": "BEGIN; SELECT 1; COMMIT",
    "set": "SET work_mem = '1MB'",
    "set-tracked": "SET DateStyle = 'German'",
    "discard-all": "DISCARD ALL",
    "unknown-setting": "SET nonsense = 1",
    "prepare": "PREPARE x AS SELECT 1; EXECUTE x; DEALLOCATE x",
    "copy-out": "COPY (VALUES (1, 'a'), (2, 'b')) TO STDOUT",
    "large-query": "SELECT length('%s')" % ("z" * 20000),
}


@scenes(each={"%s:%s" % (k, m): {"sql": v, "entry": {"pool_mode": m, "pool_size": 1}}
              for k, v in SIMPLE.items() for m in MODES})
def simple(d, sql):
    c = d.login()
    c.query(sql)
    if not c.over:
        c.query("SELECT 'after'")


@scenes(each=modes())
def transaction(d):
    c = d.login()
    c.query("BEGIN")
    if c.over:
        return
    c.query("SELECT 1")
    c.query("SELECT 1/0")
    c.query("SELECT 2")
    c.query("ROLLBACK")
    c.query("SELECT 3")


@scenes(each=modes("statement"))
def statement_mode_refuses(d):
    d.login().query("SELECT 1; BEGIN; SELECT 2")
    d.login().query("BEGIN; SELECT 1; COMMIT")
    d.login().run(extended("BEGIN"), SYNC)
    d.login().run(parse("BEGIN"), bind(), execute(), parse("COMMIT"), bind(), execute(), SYNC)
    d.login().query("SELECT 'still there'")


@scenes(each=modes())
def who_shares_the_server(d):
    a, b = d.login(), d.login()
    a.pid()
    a.send(query("SELECT 'a'")).ready()
    b.send(query("SELECT 'b'"))
    if d.scene.entry["pool_mode"] == "session":
        d.wait_pool(cl_waiting=1)
        b.nothing()
        a.leave()
    b.ready()
    b.pid()


@scenes(each=modes("session", "transaction"))
def a_transaction_keeps_the_server(d):
    a, b = d.login(), d.login()
    a.query("BEGIN")
    b.send(query("SELECT 'b'"))
    d.wait_pool(cl_waiting=1)
    b.nothing()
    a.query("SELECT 1/0")
    b.nothing(0.05)
    a.query("ROLLBACK")
    if d.scene.entry["pool_mode"] == "session":
        a.leave()
    b.ready()


@scenes(each=modes())
def temporary_objects_and_settings(d):
    """What one client leaves on the server, as the next one finds it."""
    a = d.login()
    a.query("CREATE TEMP TABLE left_behind (a int)")
    a.query("SET work_mem = '7MB'")
    a.query("SET geqo = off")
    a.pid()
    a.leave()
    b = d.login()
    b.pid()
    b.query("SELECT * FROM left_behind")
    b.query("SHOW work_mem")
    b.query("SHOW geqo")


@scenes(each={"%s:%s" % (name, m): {"setting": name, "value": value, "entry": {"pool_mode": m, "pool_size": 1}}
              for m in MODES for name, value in (("DateStyle", "German"), ("TimeZone", "Asia/Tokyo"),
                                                 ("client_encoding", "LATIN1"), ("application_name", "it''s me"),
                                                 ("standard_conforming_strings", "off"))})
def tracked_parameter(d, setting, value):
    a = d.login()
    a.query("SET %s = '%s'" % (setting, value))
    a.query("SHOW " + setting)
    if d.scene.entry["pool_mode"] == "session":
        a.leave()
    b = d.login()
    b.query("SHOW " + setting)
    if not a.over:
        a.query("SHOW " + setting)
        a.query("SET %s TO DEFAULT" % setting)
        b.query("SHOW " + setting)


@scenes(each=modes("session", "transaction"))
def tracked_parameters_set_in_a_transaction_that_fails(d):
    a = d.login()
    a.query("BEGIN")
    a.query("SET application_name = 'inside'")
    a.query("ROLLBACK")
    a.query("SHOW application_name")


@scenes(each=modes("session", "transaction"))
def set_local(d):
    a = d.login()
    a.query("BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'")
    a.query("SHOW TimeZone")
    a.query("COMMIT")
    a.query("SHOW TimeZone")


@scenes(each=modes("session", "transaction"))
def parameters_that_the_server_refuses(d):
    """The greeting is known, so the client's wish is sent by SET."""
    d.login().query("SELECT 1")
    for c in d.clients:
        c.leave()
    for params in ({"TimeZone": "Moon/Crater"}, {"client_encoding": "nonsense"}, {"DateStyle": "nonsense"},
                   {"application_name": "x\\'; SELECT 1; --"}, {"client_encoding": "utf8"}, {"DateStyle": "ISO"}):
        c = d.login(**params)
        c.query("SELECT current_setting('application_name')")
        if not c.over:
            c.query("SELECT 2")
            c.leave()


@scenes(each=modes("session", "transaction"))
def notifications(d):
    a = d.login()
    a.query("LISTEN " + d.unique)
    a.query("NOTIFY %s, 'payload'" % d.unique)
    a.query("SELECT 1")


@scenes(each=modes("session"))
def notification_for_an_idle_client(d):
    a = d.login()
    a.query("LISTEN " + d.unique)
    d.pg.sql("NOTIFY %s, 'from elsewhere'" % d.unique, db="db")
    a.recv()


@scenes(setup="reset-always", each=modes())
def reset_query_always(d):
    a = d.login()
    a.query("SET application_name = 'mine'")
    a.query("SHOW application_name")
    a.leave()
    d.login().query("SHOW application_name")


@scenes(setup="no-reset", each=modes())
def no_reset_query(d):
    a = d.login()
    a.query("SET work_mem = '7MB'")
    a.leave()
    d.login().query("SHOW work_mem")


@scenes(setup="check", each=modes())
def checked_server(d):
    a = d.login()
    a.pid()
    a.query("SELECT 1")
    a.leave()
    b = d.login()
    b.pid()
    b.query("SELECT 2")


@scenes(setup="check", each=modes())
def checked_server_that_has_died(d):
    a = d.login()
    a.pid()
    a.leave()
    b = d.login()
    d.pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s" % next(iter(d.pids)))
    d.wait_pool(sv_idle=0, sv_used=0, sv_tested=0)
    b.pid()
    b.query("SELECT 2")


@scenes(setup="no-pqexec", each={"simple": {"parts": (query("SELECT 1"),)},
                                 "extended": {"parts": (extended("SELECT 1"), SYNC)}})
def pqexec_disabled(d, parts):
    c = d.login()
    c.run(*parts)


@scenes(setup="small-packets", each={"1999": {"size": 1999}, "2000": {"size": 2000}, "5000": {"size": 5000}})
def max_packet_size(d, size):
    c = d.login()
    sql = "SELECT '%s'" % ("x" * (size - 4 - 1 - 9))
    assert len(query(sql)) == size + 1
    c.send(query(sql)[:1500], note="a Query that says it has %d bytes, the beginning" % size)
    if size == 1999:
        c.send(query(sql)[1500:], note="the rest").ready()
        c.query("SELECT 1")
    else:
        c.end()


@scenes(each={"2147483647": {"size": 0x7fffffff}, "2147483646": {"size": 0x7ffffffe}})
def largest_length(d, size):
    c = d.login()
    c.query("SELECT 1")
    # The server refuses such a length at once; without holding it would be a race with the client's end.
    c.hold().send(b"Q" + size.to_bytes(4, "big") + b"SELECT", note="the beginning of a Query of %d bytes" % size).shut()
    c.end()


@scenes(setup="small-packets")
def max_packet_size_of_a_server(d):
    c = d.login()
    c.query("SELECT repeat('x', 3000)")


@scenes(setup="small-buffer", each=modes())
def small_buffer(d):
    c = d.login()
    c.query("SELECT repeat('x', 3000)")
    if d.scene.entry["pool_mode"] != "statement":
        c.run(extended("SELECT length('%s')" % ("x" * 2000)), SYNC)
    c.query("SELECT length('%s')" % ("x" * 2000))


# --- the extended protocol ------------------------------------------------------------

EXTENDED = {
    "select": (extended("SELECT 1 AS one"), SYNC),
    "parameters": (extended("SELECT $1::int + 1, $2::text, $3::text", ("41", "it's", None)), SYNC),
    "empty": (extended(""), SYNC),
    "no-columns": (extended("SELECT"), SYNC),
    "no-data": (extended("SET work_mem = '1MB'"), SYNC),
    "two-statements": (extended("SELECT 1; SELECT 2"), SYNC),
    "syntax-error": (extended("SELEC"), SYNC),
    "bind-error": (extended("SELECT $1::int", ("x",)), SYNC),
    "missing-parameter": (extended("SELECT $1::int"), SYNC),
    "execute-error": (extended("SELECT 1/0"), SYNC),
    "error-skips-to-sync": (extended("SELECT 1/0"), extended("SELECT 1"), SYNC),
    "two-in-a-batch": (extended("SELECT 1"), extended("SELECT 2"), SYNC),
    "error-in-the-second": (extended("SELECT 1"), extended("SELECT 1/0"), extended("SELECT 2"), SYNC),
    "describe-statement": (parse("SELECT $1::int AS number"), describe("S"), SYNC),
    "describe-missing-statement": (describe("S", ""), SYNC),
    "describe-missing-portal": (describe("P", "nowhere"), SYNC),
    "execute-missing-portal": (execute("nowhere"), SYNC),
    "close-unnamed": (parse("SELECT 1"), close("S"), close("P"), close("P", "nowhere"), SYNC),
    "sync-only": (SYNC,),
    "partial-rows": (parse("SELECT generate_series(1, 5)"), bind("", "p"), execute("p", 2), execute("p", 2),
                     execute("p", 2), close("P", "p"), SYNC),
    "notice": (extended("DO $$ BEGIN RAISE NOTICE 'hello'; END $$"), SYNC),
    "function-call": (wire.function_call(1397, -5),),
    "function-call-unknown": (wire.function_call(999999, 1),),
    "function-call-wrong-arguments": (wire.function_call(1397),),
    "malformed-parse": (wire.msg(b"P", b"x"), SYNC),
    "malformed-bind": (wire.msg(b"B", b"\0\0\0"), SYNC),
    "malformed-execute": (wire.msg(b"E", b"\0"), SYNC),
    "malformed-describe": (wire.msg(b"D", b"Zx\0"), SYNC),
    "malformed-close": (wire.msg(b"C", b"Zx\0"), SYNC),
    "large": (extended("SELECT length($1::text)", ("x" * 50000,)), SYNC),
    "terminated": (extended("SELECT pg_terminate_backend(pg_backend_pid())"), SYNC),
}


@scenes(each={"%s:%s" % (k, m): {"parts": v, "entry": {"pool_mode": m, "pool_size": 1}}
              for k, v in EXTENDED.items() for m in MODES})
def batch(d, parts):
    c = d.login()
    c.run(*parts)
    if not c.over:
        c.query("SELECT 'after'")


@scenes(each=modes())
def syncs_in_one_piece(d):
    c = d.login()
    c.send(SYNC * 7)
    c.ready(7)
    c.query("SELECT 1")


@scenes(each=modes())
def pipeline_of_100(d):
    c = d.login()
    c.send(*(extended("SELECT %d" % i) + SYNC for i in range(100)))
    c.ready(100)


@scenes(each=modes())
def pipeline_of_100_queries(d):
    c = d.login()
    c.send(*(query("SELECT %d" % i) for i in range(100)))
    c.ready(100)


@scenes(each=modes())
def pipeline_in_one_batch(d):
    c = d.login()
    c.send(*(extended("SELECT %d" % i) for i in range(100)), SYNC)
    c.ready()


@scenes(each=modes())
def pipeline_with_errors(d):
    c = d.login()
    c.send(*(extended("SELECT 10/(%d %% 5)" % i) + SYNC for i in range(40)))
    c.ready(40)


@scenes(each=modes())
def mixed_pipeline(d):
    c = d.login()
    c.send(query("SELECT 1"), extended("SELECT 2"), SYNC, query("SELECT 1/0"), extended("SELECT 3"), SYNC,
           query("SELECT 4; SELECT 5"), query(""), SYNC)
    c.ready(7)


@scenes(each=modes())
def query_inside_a_batch(d):
    c = d.login()
    c.send(parse("SELECT 1"), bind(), execute(), query("SELECT 2"))
    c.ready()
    c.run(SYNC)


@scenes(each=modes("session", "transaction"))
def transaction_by_extended_protocol(d):
    c = d.login()
    c.run(extended("BEGIN"), SYNC)
    c.run(parse("SELECT generate_series(1, 3)"), bind("", "portal"), SYNC)
    c.run(execute("portal", 1), SYNC)
    c.run(execute("portal", 1), SYNC)
    c.run(describe("P", "portal"), close("P", "portal"), SYNC)
    c.run(extended("SELECT 1/0"), SYNC)
    c.run(extended("SELECT 1"), SYNC)
    c.run(extended("ROLLBACK"), SYNC)


@scenes(each=modes())
def flush_without_sync(d):
    c = d.login()
    c.send(extended("SELECT 1"), FLUSH).take(5)
    c.send(extended("SELECT 2"), FLUSH).take(5)
    c.run(SYNC)
    c.send(FLUSH)
    c.query("SELECT 3")


@scenes(each=modes())
def flush_keeps_the_server(d):
    a, b = d.login(), d.login()
    a.send(extended("SELECT 1"), FLUSH).take(5)
    b.send(query("SELECT 'b'"))
    d.wait_pool(cl_waiting=1)
    b.nothing(0.05)
    a.run(SYNC)
    if d.scene.entry["pool_mode"] == "session":
        a.leave()
    b.ready()


@scenes(each=modes())
def error_and_flush(d):
    c = d.login()
    c.send(extended("SELECT 1/0"), FLUSH).until(b"E")
    c.send(extended("SELECT 1"), FLUSH)
    c.run(SYNC)
    c.query("SELECT 2")


@scenes(each=modes())
def flush_first(d):
    c = d.login()
    c.send(FLUSH)
    c.query("SELECT 1")


@scenes(each=modes())
def parse_alone_then_query(d):
    c = d.login()
    c.send(parse("SELECT 1"))
    c.query("SELECT 2")
    c.run(bind(), execute(), SYNC)


@scenes(each=modes("session", "transaction"))
def named_statement(d):
    c = d.login()
    c.run(parse("SELECT $1::int + 1 AS more", "st"), SYNC)
    c.run(describe("S", "st"), SYNC)
    c.run(bind("st", "", ("4",)), describe(), execute(), SYNC)
    c.run(bind("st", "", ("5",)), execute(), SYNC)
    c.run(close("S", "st"), SYNC)


@scenes(each=modes("session", "transaction"))
def named_statement_oddities(d):
    for batch in ((bind("nowhere"), execute()), (describe("S", "nowhere"),), (close("S", "nowhere"),)):
        c = d.login()
        c.run(*batch, SYNC)
        c.leave()
    c = d.login()
    c.run(parse("SELEC", "bad"), SYNC)
    if not c.over:
        c.query("SELECT 1")


@scenes(each=modes("session"))
def named_statement_twice(d):
    c = d.login()
    c.run(parse("SELECT 1", "st"), SYNC)
    c.run(parse("SELECT 2", "st"), SYNC)
    c.query("SELECT 3")


@scenes(each=modes("session", "transaction"))
def deallocate_and_discard(d):
    c = d.login()
    c.run(parse("SELECT 1", "st"), SYNC)
    c.query("DEALLOCATE ALL")
    c.run(parse("SELECT 2", "st"), SYNC)
    c.query("DISCARD ALL")
    c.run(parse("SELECT 3", "st"), SYNC)


# --- what is no request -----------------------------------------------------------------

@scenes(each={**{k: {"data": v} for k, v in {
    "unknown-letter": wire.msg(b"z", b"abc"), "server-letter": wire.msg(b"Z", b"I"), "row-letter": wire.msg(b"T", b"x"),
    "password": wire.password("x"), "length-3": b"Q\0\0\0\3", "length-0": b"Q\0\0\0\0",
    "negative": b"Q\xff\xff\xff\xff", "zeros": b"\0" * 16, "startup": wire.startup("u_trust"),
    "cancel": wire.cancel_request(b"x" * 8),
    "ssl-request": wire.startup_packet(wire.SSL_REQUEST)}.items()}})
def bad_message(d, data):
    c = d.login()
    c.query("SELECT 1")
    c.send(data)
    c.end()


@scenes(each={k: {"data": v} for k, v in {
    "copy-data": wire.copy_data(b"x"), "copy-done": wire.COPY_DONE, "copy-fail": wire.copy_fail("no")}.items()})
def copy_message_without_copy(d, data):
    c = d.login()
    c.send(data)
    c.query("SELECT 1")


@scenes(each={k: {"data": v} for k, v in {
    "copy-data": wire.copy_data(b"x"), "copy-done": wire.COPY_DONE, "copy-fail": wire.copy_fail("no")}.items()})
def copy_message_in_a_transaction(d, data):
    c = d.login()
    c.query("BEGIN")
    c.send(data)
    c.query("SELECT 1")


@scenes(each={"no-nul": {"body": b"SELECT 1"}, "bytes-behind": {"body": b"SELECT 1\0more"}, "nothing": {"body": b""},
              "bad-utf8": {"body": b"SELECT '\xff'\0"}})
def malformed_query(d, body):
    c = d.login()
    c.run(wire.msg(b"Q", body))
    if not c.over:
        c.query("SELECT 2")


@scenes(each=modes())
def message_in_single_bytes(d):
    c = d.login()
    data = query("SELECT 'bytewise'") + extended("SELECT 'too'") + SYNC
    c.line("> byte by byte")
    for i in range(len(data)):
        c.send(data[i:i + 1], note="")
    c.ready(2)
