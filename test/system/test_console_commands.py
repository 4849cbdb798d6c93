"""Console commands that change what runs: PAUSE and its kin, KILL, and the protocol around them."""
import threading

import pytest
from harness import env, wire
from harness.wire import Closed, PgError

pytestmark = pytest.mark.ours


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": "transaction", **settings})
    return make


def refused(admin, text):
    r = admin.query(text)
    assert len(r.errors) == 1 and r.types == "EZ", (text, r.types)
    return r.errors[0].text


def database(p, name="db"):
    return [r for r in p.show("DATABASES") if r["name"] == name][0]


# --- PAUSE, RESUME ----------------------------------------------------------

def test_pause_waits_for_the_running_transaction(pool):
    p = pool()
    with p.login() as busy, p.console() as admin:
        busy.query("BEGIN")
        admin.send(wire.query("PAUSE"))
        env.wait_for(lambda: p.show("STATE")[1]["value"] == "yes", lambda: "paused")
        assert admin.silent()
        with p.console() as second:
            assert refused(second, "PAUSE") == "already suspended/paused"
            assert refused(second, "PAUSE db") == "already suspended/paused"
        assert busy.query("COMMIT").status == "I"
        assert admin.until_ready().tags == ["PAUSE"]
        p.wait_pool(sv_idle=0, sv_active=0)
        busy.send(wire.query("SELECT 1"))
        p.wait_pool(cl_waiting=1)
        assert admin.query("RESUME").tags == ["RESUME"]
        assert busy.until_ready().value() == "1"
        assert refused(admin, "RESUME") == "pooler is not paused/suspended"
    p.wait_log("LOG PAUSE command issued")
    p.wait_log("LOG RESUME command issued")


def test_resume_ends_a_pause_that_still_waits(pool):
    p = pool()
    with p.login() as busy, p.console() as admin, p.console() as second:
        busy.query("BEGIN")
        admin.send(wire.query("PAUSE"))
        env.wait_for(lambda: p.show("STATE")[1]["value"] == "yes", lambda: "paused")
        assert second.query("RESUME").tags == ["RESUME"]
        assert [e.text for e in admin.until_ready().errors] == ["RESUME came before PAUSE was done"]
        assert busy.query("COMMIT").status == "I"


def test_a_console_may_leave_while_it_waits(pool):
    p = pool()
    with p.login() as busy:
        busy.query("BEGIN")
        admin = p.console()
        admin.send(wire.query("PAUSE"))
        env.wait_for(lambda: p.show("STATE")[1]["value"] == "yes", lambda: "paused")
        admin.close()
        busy.query("COMMIT")
        p.admin("RESUME")
        assert busy.value("SELECT 1") == "1"


def test_pause_of_one_database(pool):
    p = pool()
    with p.login() as a, p.login(database="other") as b, p.console() as admin:
        a.query("BEGIN")
        admin.send(wire.query('PAUSE "db"'))
        env.wait_for(lambda: database(p)["paused"] == "1", lambda: "paused")
        assert b.value("SELECT 1") == "1"
        a.query("COMMIT")
        assert admin.until_ready().tags == ["PAUSE"]
        assert p.show("STATE")[0]["value"] == "yes"
        a.send(wire.query("SELECT 2"))
        p.wait_pool(cl_waiting=1, sv_idle=0)
        assert admin.query("RESUME db").tags == ["RESUME"]
        assert a.until_ready().value() == "2"
        assert refused(admin, "RESUME db") == "database db is not paused"
        # Without any server the answer comes at once.
        assert admin.query("RECONNECT db").tags == ["RECONNECT"]
        p.wait_pool(sv_idle=0)
        assert admin.query("PAUSE db").tags == ["PAUSE"]
        assert admin.query("RESUME db").tags == ["RESUME"]
    p.wait_log("LOG PAUSE 'db' command issued")


def test_a_pause_outlives_the_last_client(pool):
    p = pool()
    assert p.admin("PAUSE db") == []
    assert database(p)["paused"] == "1"
    assert p.admin("RESUME db") == []
    assert database(p)["paused"] == "0"


def test_pause_under_load_fails_no_query(pool):
    p = pool(default_pool_size=2)
    wrong, stop = [], threading.Event()

    def work():
        with p.login() as c:
            while not stop.is_set():
                r = c.query("SELECT 1")
                if r.errors:
                    wrong.append(r.errors)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    with p.console() as admin:
        for _ in range(5):
            assert admin.query("PAUSE").tags == ["PAUSE"]
            assert admin.query("RESUME").tags == ["RESUME"]
            assert admin.query("PAUSE db").tags == ["PAUSE"]
            assert admin.query("RESUME db").tags == ["RESUME"]
    stop.set()
    for t in threads:
        t.join()
    assert not wrong


# --- DISABLE, ENABLE, RECONNECT, WAIT_CLOSE ---------------------------------

def test_disable_bars_new_clients_only(pool):
    p = pool()
    with p.login() as old, p.console() as admin:
        assert admin.query("DISABLE db").tags == ["DISABLE"]
        assert database(p)["disabled"] == "1"
        with pytest.raises(PgError) as e:
            p.login()
        assert e.value.text == 'database "db" is disabled'
        assert old.value("SELECT 1") == "1"
        assert admin.query("ENABLE db").tags == ["ENABLE"]
        p.login().close()


def test_what_was_asked_for_is_logged(pool):
    """Also of what was refused then."""
    p = pool()
    with p.console() as admin:
        for command in ("RESUME", "RESUME nope", "PAUSE nope", "PAUSE pgbouncer", "DISABLE nope", "ENABLE nope", "RECONNECT nope",
                        "WAIT_CLOSE nope", "KILL nope", "KILL pgbouncer"):
            text = refused(admin, command)
            word, _, name = command.partition(" ")
            line = "%s '%s' command issued" % (word, name) if name else "%s command issued" % word
            p.wait_log("LOG %s$\n.* ERROR %s$\n.* WARNING C-.* pooler error: %s$" % (line, text, text))


@pytest.mark.parametrize("command, text", [
    ("PAUSE nope", "no such database: nope"), ("RESUME nope", "no such database: nope"),
    ("DISABLE nope", "no such database: nope"), ("ENABLE nope", "no such database: nope"),
    ("RECONNECT nope", "no such database: nope"), ("WAIT_CLOSE nope", "no such database: nope"),
    ("KILL nope", "no such database: nope"), ('KILL ""', "no such database: "),
    ("PAUSE pgbouncer", "cannot pause admin db: pgbouncer"),
    ("RESUME pgbouncer", "database pgbouncer is not paused"),
    ("DISABLE pgbouncer", "cannot disable admin db: pgbouncer"),
    ("ENABLE pgbouncer", "cannot enable admin db: pgbouncer"),
    ("RECONNECT pgbouncer", "cannot reconnect admin db: pgbouncer"),
    ("WAIT_CLOSE pgbouncer", "cannot wait in admin db: pgbouncer"),
    ("KILL pgbouncer", "cannot kill admin db: pgbouncer"),
    ("DISABLE", "a database is required"), ("ENABLE", "a database is required"),
    ("KILL_CLIENT", "invalid client pointer supplied"), ("KILL_CLIENT x1", "invalid client pointer supplied"),
    ("KILL_CLIENT 99999", "client not found"),
])
def test_refusals(pool, command, text):
    with pool().console() as admin:
        assert refused(admin, command) == text


def test_wait_close_answers_at_once_without_marked_servers(pool):
    p = pool()
    with p.login() as c, p.console() as admin:
        for command in ("WAIT_CLOSE", "WAIT_CLOSE db"):
            assert admin.query(command).tags == ["WAIT_CLOSE"]
        c.query("BEGIN")
        assert admin.query("WAIT_CLOSE db").tags == ["WAIT_CLOSE"]
        # Marked, but in another database.
        assert admin.query("RECONNECT db").tags == ["RECONNECT"]
        assert admin.query("WAIT_CLOSE other").tags == ["WAIT_CLOSE"]
        admin.send(wire.query("WAIT_CLOSE"))
        assert admin.silent(0.1)
        c.query("COMMIT")
        assert admin.until_ready().tags == ["WAIT_CLOSE"]
    for line in ("RECONNECT 'db'", "WAIT_CLOSE", "WAIT_CLOSE 'db'"):
        p.wait_log("LOG %s command issued" % line)
    p.wait_log("closing because: close_needed")


def test_reconnect_replaces_idle_servers(pool):
    p = pool()
    with p.login() as c, p.login(database="other") as other, p.console() as admin:
        pid, kept = c.pid(), other.pid()
        assert admin.query("RECONNECT db").tags == ["RECONNECT"]
        assert c.pid() != pid and other.pid() == kept
        p.wait_log("db/u_trust@.*closing because: (database configuration changed|obsolete connection)")


def test_reconnect_of_a_session_closes_it_with_server_fast_close(pool):
    p = pool(pool_mode="session", server_fast_close=1)
    with p.login() as busy, p.login() as idle, p.console() as admin:
        busy.query("BEGIN")
        idle.value("SELECT 1")
        assert admin.query("RECONNECT").tags == ["RECONNECT"]
        # Its transaction ends first.
        assert idle.expect_error().text == "database configuration changed"
        assert busy.value("SELECT 1") == "1"
        busy.send(wire.query("COMMIT"))
        assert busy.recv_until(b"Z")[0].body == b"COMMIT\0"
        assert busy.expect_error().text == "database configuration changed"
        assert admin.query("WAIT_CLOSE").tags == ["WAIT_CLOSE"]


def test_reconnect_drops_servers_in_login(pool, fake):
    def script(peer):
        peer.read_startup()
        if peer.number == 1:
            peer.wait_gone()
        peer.welcome()
        peer.serve()
    server = fake(script)
    p = pool(databases={"db": "host=127.0.0.1 port=%d" % server.port}, server_login_retry=60)
    with p.wire() as c:
        c.send(wire.startup("u_trust", "db"))
        p.wait_pool(sv_login=1)
        p.admin("RECONNECT db")
        p.wait_log("closing because: connect string changed")
        c.finish_login("u_trust")
        assert c.value("SELECT 1") == "SELECT 1"


def test_disabled_databases_while_others_live(pool):
    """DISABLE outlives RECONNECT, RELOAD and the last client; PAUSE and DISABLE are apart."""
    p = pool()
    with p.console() as admin:
        for command, tag in (("DISABLE db", "DISABLE"), ("DISABLE db", "DISABLE"), ("PAUSE db", "PAUSE"), ("RELOAD", "RELOAD")):
            assert admin.query(command).tags == [tag]
        assert (database(p)["paused"], database(p)["disabled"]) == ("1", "1")
        assert admin.query("RESUME db").tags == ["RESUME"]
        with pytest.raises(PgError, match='database "db" is disabled'):
            p.login()
        p.login(database="other").close()
        assert admin.query("ENABLE db").tags == ["ENABLE"]
        assert (database(p)["paused"], database(p)["disabled"]) == ("0", "0")
    for line in ("DISABLE 'db'", "ENABLE 'db'"):
        p.wait_log("LOG %s command issued" % line)


def test_names_with_other_characters_are_quoted(pool, pg):
    p = pool(databases={'"a-b.c"': pg.entry("db"), "DB": pg.entry("db")})
    with p.console() as admin:
        assert refused(admin, "PAUSE a-b.c").startswith("invalid command")
        assert admin.query('PAUSE "a-b.c"').tags == ["PAUSE"]
        assert database(p, "a-b.c")["paused"] == "1"
        # Nothing is folded.
        assert refused(admin, "PAUSE db") == "no such database: db"
        assert admin.query("PAUSE DB;").tags == ["PAUSE"]


def test_wait_close_waits_for_a_marked_server(pool):
    p = pool(pool_mode="session")
    c = p.login()
    pid = c.value("SELECT pg_backend_pid()")
    with p.console() as admin:
        assert admin.query("WAIT_CLOSE").tags == ["WAIT_CLOSE"]
        assert admin.query("RECONNECT").tags == ["RECONNECT"]
        assert p.show("SERVERS")[0]["close_needed"] == "1"
        admin.send(wire.query("WAIT_CLOSE db"))
        assert admin.silent()
        assert c.value("SELECT pg_backend_pid()") == pid
        c.close()
        assert admin.until_ready().tags == ["WAIT_CLOSE"]
    with p.login() as c:
        assert c.value("SELECT pg_backend_pid()") != pid


# --- KILL -------------------------------------------------------------------

def test_kill_closes_everything_of_a_database(pool):
    p = pool()
    c, other = p.login(), p.login(database="other")
    c.query("BEGIN")
    with p.console() as admin:
        assert admin.query("KILL db").tags == ["KILL"]
        assert c.expect_error().text == "database removed"
        assert other.value("SELECT 1") == "1"
        assert database(p)["paused"] == "1" and database(p, "other")["paused"] == "0"
        assert refused(admin, "RESUME") == "pooler is not paused/suspended"
        assert admin.query("RESUME db").tags == ["RESUME"]
        with p.login() as again:
            assert again.value("SELECT 1") == "1"
        assert admin.query("KILL").tags == ["KILL"]
        assert other.expect_error().text == "database removed"
        assert database(p, "other")["paused"] == "1"
        assert admin.query("SHOW VERSION").rows


def test_kill_client_by_id(pool):
    p = pool()
    c, other = p.login(), p.login()
    c.query("BEGIN")
    with p.console() as admin, p.console() as second:
        rows = admin.query("SHOW CLIENTS").dicts()
        mine = [r for r in rows if r["state"] == "active"][0]["id"]
        assert admin.query("KILL_CLIENT %s" % mine).tags == ["KILL_CLIENT"]
        assert c.expect_error().text == "admin forced disconnect"
        assert other.value("SELECT 1") == "1"
        consoles = [r["id"] for r in rows if r["database"] == "pgbouncer"]
        assert len(consoles) == 2
        assert admin.query("KILL_CLIENT %s" % max(consoles, key=int)).tags == ["KILL_CLIENT"]
        assert second.expect_error().text == "admin forced disconnect"
    other.close()


def test_kill_client_reads_the_number_in_front(pool):
    p = pool()
    with p.login() as c, p.console() as admin:
        ident = [r["id"] for r in admin.query("SHOW CLIENTS").dicts() if r["database"] == "db"][0]
        assert refused(admin, "KILL_CLIENT 18446744073709551616000") == "client not found"
        assert refused(admin, 'KILL_CLIENT "-%s"' % ident) == "invalid client pointer supplied"
        assert refused(admin, 'KILL_CLIENT ""') == "invalid client pointer supplied"
        assert admin.query("KILL_CLIENT %sabc" % ident).tags == ["KILL_CLIENT"]
        assert c.expect_error().text == "admin forced disconnect"
        assert refused(admin, "KILL_CLIENT %s" % ident) == "client not found"


def test_kill_client_lets_its_server_go(pool):
    """A session that is idle gives its server back, a transaction takes it along, one that waits has none."""
    p = pool(pool_mode="session", default_pool_size=2)
    idle, busy, waiting = p.login(), p.login(), p.login()
    pid = idle.pid()
    busy.query("BEGIN")
    waiting.send(wire.query("SELECT 1"))
    p.wait_pool(cl_waiting=1)
    with p.console() as admin:
        by_port = {int(r["port"]): r["id"] for r in admin.query("SHOW CLIENTS").dicts() if r["port"]}
        victim = lambda c: by_port[c.sock.getsockname()[1]]
        last = p.login()
        last.send(wire.query("SELECT pg_backend_pid()"))
        p.wait_pool(cl_waiting=2)
        for c in (waiting, idle):
            assert admin.query("KILL_CLIENT " + victim(c)).tags == ["KILL_CLIENT"]
            assert c.expect_error().text == "admin forced disconnect"
        assert last.until_ready().value() == str(pid)
        assert admin.query("KILL_CLIENT " + victim(busy)).tags == ["KILL_CLIENT"]
        p.wait_pool(sv_active=1, sv_idle=0)
        p.wait_log("closing because: client disconnect while server was not ready")
    last.close()


def test_kill_client_leaves_log_ins_alone(pool):
    p = pool()
    with p.wire() as half, p.console() as admin:
        half.send(b"\0")
        row = env.wait_for(lambda: [r for r in admin.query("SHOW SOCKETS").dicts() if r["state"] == "cl_login"],
                           lambda: "a client in login")[0]
        assert refused(admin, "KILL_CLIENT " + row["id"]) == "client not found"


def test_kill_client_of_oneself(pool):
    with pool().console() as admin:
        own = admin.query("SHOW CLIENTS").dicts()[0]["id"]
        admin.send(wire.query("KILL_CLIENT " + own))
        assert admin.expect_error().text == "admin forced disconnect"


# --- SHOW of sockets and the rest -------------------------------------------

def test_sockets(pool):
    p = pool()
    with p.login() as c, p.console() as admin:
        c.query("BEGIN")
        r = admin.query("SHOW SOCKETS")
        assert [col.name for col in r.columns][-7:] == ["recv_pos", "pkt_pos", "pkt_remain", "send_pos", "send_remain",
                                                        "pkt_avail", "send_avail"]
        assert sorted((row["database"], row["state"]) for row in r.dicts()) == [
            ("db", "cl_active"), ("db", "sv_active"), ("pgbouncer", "cl_active")]
        # Exactly these three, each with the next number.
        assert sorted(int(row["id"]) for row in r.dicts()) == [1, 2, 3]
        assert admin.query("SHOW ACTIVE_SOCKETS").rows == []
        with p.wire() as half:
            half.send(b"\0\0")
            env.wait_for(lambda: "cl_login" in [x["state"] for x in admin.query("SHOW SOCKETS").dicts()],
                         lambda: "a client in login")


def test_the_stats_line(pool):
    p = pool(log_stats=1, stats_period=1)
    with p.login() as c:
        c.query("SELECT 1")
        p.wait_log(r"LOG stats: \d+ xacts/s, \d+ queries/s, \d+ client parses/s, \d+ server parses/s, \d+ binds/s, "
                   r"\d+ client logins/s, in \d+ B/s, out \d+ B/s, xact \d+ us, query \d+ us, wait \d+ us$")


def test_averages_per_second(pool):
    p = pool(stats_period=1)
    with p.login() as c:
        def busy():
            for _ in range(50):
                c.query("SELECT 1")
            row = [r for r in p.show("STATS_AVERAGES") if r["database"] == "db"][0]
            return int(row["query_count"]) > 0 and int(row["query_time"]) > 0 and int(row["bytes_sent"]) > 0
        env.wait_for(busy, lambda: "averages")


def test_login_notice_and_own_parameters(pool):
    p = pool(login_notify_message="mind the gap")
    with p.wire(p.dir) as w:
        w.send(wire.startup("admin", "pgbouncer", application_name="tool"))
        seen = []
        while not seen or seen[-1].type != b"Z":
            seen.append(w.recv())
        assert b"".join(m.type for m in seen) == b"R" + b"S" * 8 + b"KNZ"
        assert seen[8].body == b"application_name\0tool\0"
        assert b"mind the gap" in seen[-2].body


# --- the protocol -----------------------------------------------------------

def test_errors_are_logged(pool):
    p = pool()
    p.mark()
    with p.console() as admin:
        refused(admin, "nonsense")
    p.wait_log(r"ERROR invalid command 'nonsense', use SHOW HELP;")
    p.wait_log(r"WARNING C-\S+: pgbouncer/pgbouncer@\S+ pooler error: invalid command 'nonsense', use SHOW HELP;")


def test_pipelined_queries_are_answered_in_order(pool):
    with pool().console() as admin:
        admin.send(wire.query("SHOW VERSION") + wire.query("nonsense") + wire.query("SHOW STATE"))
        assert admin.until_ready().columns[0].name == "version"
        assert admin.until_ready().errors
        assert admin.until_ready().columns[0].name == "key"


def test_a_command_that_comes_with_the_log_in(pool):
    p = pool()
    with p.wire(p.dir) as w:
        w.send(wire.startup("admin", "pgbouncer") + wire.query("SHOW VERSION"))
        w.until_ready()
        assert w.until_ready().rows


def test_extended_statement_and_portal(pool):
    with pool().console() as c:
        c.send(wire.parse("SHOW STATE", "s1") + wire.describe("S", "s1") + wire.SYNC)
        r = c.until_ready()
        assert r.types == "1tTZ" and [x.name for x in r.columns] == ["key", "value"]
        for _ in range(2):
            c.send(wire.bind("s1") + wire.describe("P") + wire.execute() + wire.SYNC)
            r = c.until_ready()
            assert r.types == "2TDDDCZ" and len(r.rows) == 3
        c.send(wire.parse("RELOAD") + wire.bind() + wire.describe("P") + wire.execute() + wire.SYNC)
        assert c.until_ready().types == "12nCZ"
        c.send(wire.close("S", "s1") + wire.describe("S", "s1") + wire.describe("S", "s1") + wire.SYNC)
        r = c.until_ready()
        assert r.types == "3EZ" and r.errors[0].text == "prepared statement does not exist"


def test_extended_error_skips_to_sync(pool):
    with pool().console() as c:
        for text in ("nonsense", "SHOW nonsense", "KILL_CLIENT x"):
            c.send(wire.extended(text) + wire.extended("SHOW VERSION") + wire.SYNC)
            r = c.until_ready()
            assert r.types.endswith("EZ") and len(r.errors) == 1 and not r.rows
        assert c.query("SHOW VERSION").rows


@pytest.mark.parametrize("packet", [
    wire.parse("SHOW VERSION", types=[25]), wire.parse("SHOW VERSION") + wire.bind(params=["1"]),
    wire.msg(b"P", b"x"), wire.msg(b"E", b"\0"),
    # Results in binary.
    wire.parse("SHOW VERSION") + wire.msg(b"B", b"\0\0" + b"\0\0" + b"\0\0" + b"\0\1\0\1"),
], ids=["types", "parameters", "broken Parse", "broken Execute", "binary"])
def test_extended_refusals_close(pool, packet):
    with pool().console() as c:
        c.send(packet)
        r = c.until_ready()
        assert [e.text for e in r.errors] == ["extended query protocol not supported by admin console"]
        assert c.expect_error().text == "bad packet"


@pytest.mark.parametrize("kind, text", [(b"F", "unsupported packet type for admin console: 70"),
                                        (b"d", "unsupported packet type for admin console: 100")])
def test_other_messages_close(pool, kind, text):
    with pool().console() as c:
        c.send(wire.msg(kind, b"x"))
        assert [e.text for e in c.until_ready().errors] == [text]
        assert c.expect_error().text == "bad packet"


def test_unknown_message_and_bad_header(pool):
    p = pool()
    with p.console() as c:
        c.send(wire.msg(b"?", b"x"))
        assert c.expect_error().text == "unknown pkt"
    with p.console() as c:
        c.send(b"Q\0\0\0\3")
        assert c.expect_error().text == "bad packet header: '5100000003'"
    with p.console() as c:
        c.send(b"Q\0\1\0\5")
        assert c.expect_error().text == "incomplete pkt"


def test_disable_pqexec(pool):
    p = pool(disable_pqexec=1)
    with p.wire(p.dir) as w:
        w.login("admin", "pgbouncer")
        assert w.run("SHOW VERSION").rows
        w.send(wire.query("SHOW VERSION"))
        assert w.expect_error().text == "PQexec disallowed"
    p.wait_log('client used "Query" packet type')


def test_a_console_that_does_not_read_is_not_read(pool):
    p = pool()
    with p.console() as c, p.console() as other:
        try:
            c.sock.settimeout(1)
            for _ in range(3000):
                c.send(wire.query("SHOW CONFIG"))
        except (OSError, Closed):
            pass
        # What is kept for it stays near the high mark, and others are served.
        rows = [r for r in other.query("SHOW SOCKETS").dicts() if r["database"] == "pgbouncer"]
        assert max(int(r["send_remain"]) for r in rows) < 256 * 1024
