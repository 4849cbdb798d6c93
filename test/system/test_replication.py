"""Replication clients: how they log in, and the server each of them has for
itself. Streams are in test_replication_stream.py, the tools of PostgreSQL in
test_replication_tools.py. The pooler runs without the belt of maintenance
(fault `nobelt`), so that a wake-up which gets lost is a test that fails."""
import os
import socket
import threading

import pytest
from harness import env, fakeserver, wire
from harness.replication import lsn
from harness.wallet import ALICE
from harness.wire import Closed, PgError

pytestmark = pytest.mark.ours

KINDS = {"database": "logical", "yes": "physical"}
MODES = ["session", "transaction", "statement"]


@pytest.fixture
def site(pooler, pg, monkeypatch):
    monkeypatch.setenv("PGECDSA_FAULTS", os.environ.get("PGECDSA_FAULTS", "") + ",nobelt")

    def make(mode="transaction", **settings):
        return pooler(**{"databases": {"db": pg.entry(), "replication": pg.entry("db2"), "db2": pg.entry("db2")},
                         "users": {u: u + "_pw" for u in ("u_trust", "u_plain", "u_md5", "u_scram", "svc2")},
                         "pool_mode": mode, "server_tls_sslmode": "disable", **settings})
    return make


def replica(p, user="u_trust", database="db", secret=None, kind="database", **params):
    return p.login(user, database, secret, replication=kind, **params)


def rows(p, what="CLIENTS", database="db"):
    return [r for r in p.show(what) if r["database"] == database]


def system(c):
    return c.query("IDENTIFY_SYSTEM").dicts()[0]


def wait_no_walsender(pg):
    env.wait_for(lambda: not pg.walsenders(), "the walsenders to go")


# --- the way in -----------------------------------------------------------------

@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_psycopg(site, mode, kind):
    p = site(mode)
    for greeted in (False, True):
        with p.connect(replication=kind, application_name="walreceiver") as conn:
            row = conn.execute("IDENTIFY_SYSTEM").fetchone()
            text = [v.decode() if isinstance(v, bytes) else v for v in row]
            assert int(text[0]) > 0 and lsn(text[2]) > 0
            assert text[3] == ("db" if kind == "database" else None)
            value, = conn.execute("SHOW application_name").fetchone()
            assert value in ("walreceiver", b"walreceiver")
        if not greeted:
            # From now on the greeting is the pool's.
            with p.login() as c:
                assert c.value("SELECT 1") == "1"


@pytest.mark.parametrize("user", ["u_plain", "u_md5", "u_scram"])
def test_server_asks_for_a_password(site, user):
    p = site(auth_type="scram-sha-256")
    for kind in KINDS:
        with replica(p, user, secret=user + "_pw", kind=kind) as c:
            assert system(c)["timeline"] == "1"


@pytest.mark.parametrize("word, shown", [
    ("database", "logical"), ("true", "physical"), ("TRUE", "physical"), ("tr", "physical"), ("yes", "physical"),
    ("on", "physical"), ("1", "physical"), ("false", "none"), ("no", "none"), ("off", "none"), ("0", "none"),
    ("perhaps", "none")])
def test_words(site, word, shown):
    p = site()
    with replica(p, kind=word) as c:
        assert c.value("SHOW server_version") == c.params["server_version"]
        assert [r["replication"] for r in rows(p)] == [shown]
        assert [r["replication"] for r in rows(p, "SERVERS")] == [shown]
        assert {r["replication"] for r in rows(p, "SOCKETS")} == {shown}
    said = {"logical": "database", "physical": "yes", "none": "no"}[shown]
    p.wait_log(r"login attempt: db=db user=u_trust tls=no replication=%s$" % said)


def test_key_is_positive_and_new(site):
    p = site()
    keys = set()
    for _ in range(8):
        with replica(p, kind="yes") as c:
            assert len(c.key) == 8 and c.key[0] < 0x80
            keys.add(c.key)
    assert len(keys) == 8


def test_database_of_that_name(site):
    """pg_basebackup and pg_receivewal ask for a database `replication` when they are told none."""
    p = site()
    with replica(p, database="replication", kind="yes") as c:
        assert system(c)["dbname"] is None
    with replica(p, database="replication") as c:
        assert system(c)["dbname"] == "db2"
    # To the pooler it is a database like any other.
    with p.login(database="replication") as c:
        assert c.value("SELECT current_database()") == "db2"
    with pytest.raises(PgError) as e:
        replica(p, database="nowhere", kind="yes")
    assert e.value.text == "no such database: nowhere"


def test_hba(pooler, pg):
    """Physical replication by lines that name it, logical by the name of the database."""
    hba = env.write(os.path.join(pg.dir, "pooler_hba.conf"),
                    "host replication u_plain all trust\nhost db u_trust all trust\n"
                    "host all u_md5 all trust\nhost replication,db2 u_scram all trust\n")
    p = pooler(databases={"db": pg.entry(), "db2": pg.entry("db2"), "replication": pg.entry()}, auth_type="hba",
               auth_hba_file=hba, users={u: u + "_pw" for u in ("u_trust", "u_plain", "u_md5", "u_scram")},
               server_tls_sslmode="disable")
    may = {("u_plain", "yes"), ("u_trust", "database"), ("u_trust", "no"), ("u_md5", "database"), ("u_md5", "no"),
           ("u_scram", "yes")}
    for user in p.users:
        if user in ("admin", "stats"):
            continue
        for kind in ("yes", "database", "no"):
            try:
                with replica(p, user, kind=kind) as c:
                    assert c.query("SHOW port").value() == str(pg.port)
                assert (user, kind) in may
            except PgError as e:
                assert e.text == "no authentication method is found" and (user, kind) not in may
    replica(p, "u_scram", "db2").close()


def test_auth_query(site, pg):
    """The question itself goes over an ordinary connection."""
    pg.sql("CREATE ROLE asked LOGIN REPLICATION PASSWORD 'asked_pw'")
    try:
        p = site(auth_type="scram-sha-256", auth_user="postgres", auth_dbname="db2",
                 auth_query="SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1")
        for kind in KINDS:
            with replica(p, "asked", secret="asked_pw", kind=kind) as c:
                assert system(c)["timeline"] == "1"
                assert [r["replication"] for r in rows(p, "SERVERS")] == [KINDS[kind]]
                assert [(r["replication"], r["state"]) for r in rows(p, "SERVERS", "db2")] == [("none", "idle")]
        with p.login("asked", "db", "asked_pw") as c:
            assert c.value("SELECT current_user") == "asked"
    finally:
        pg.clear()
        pg.sql("DROP ROLE asked")


def test_tls_on_both_sides(site, certs, pg):
    p = site(client_tls_sslmode="require", client_tls_key_file=certs.key("server"),
             client_tls_cert_file=certs.crt("server"), client_tls_ca_file=certs.crt("ca"),
             server_tls_sslmode="verify-ca", server_tls_ca_file=certs.crt("ca"))
    for kind in KINDS:
        with p.wire() as c:
            c.tls()
            c.login("u_trust", "db", replication=kind)
            assert system(c)["timeline"] == "1"
            assert all(r["tls"].startswith("TLSv1.3/") for what in ("CLIENTS", "SERVERS") for r in rows(p, what))
            assert pg.sql("SELECT ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)"
                          " WHERE a.backend_type = 'walsender'") == [(True,)]
        wait_no_walsender(pg)


def test_wallet(pooler, pg):
    """The wallet proves itself, and the service account replicates."""
    p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ecdsa",
               ecdsa_allowed_addresses=ALICE.address, server_tls_sslmode="disable", pool_mode="transaction")
    for kind in KINDS:
        with replica(p, ALICE.address, secret=ALICE.password(), kind=kind, application_name="mine") as c:
            assert system(c)["timeline"] == "1"
            assert c.value("SHOW application_name") == "ecdsa-proxy:" + ALICE.address
            assert [r["identity"] for r in rows(p)] == [ALICE.address]
            assert pg.sql("SELECT usename FROM pg_stat_activity WHERE backend_type = 'walsender'") == [("svc",)]
        wait_no_walsender(pg)


# --- what the server is started with ------------------------------------------------

class Recorder:
    """A server that keeps the start-up messages, and complains about a SET."""

    def __init__(self, fake):
        self.startups = []
        self.server = fake(self.play)

    def play(self, peer):
        if peer.read_startup() is None:
            return
        self.startups.append(peer.pairs)
        peer.welcome(TimeZone="Asia/Tokyo")
        peer.serve(self.answer)

    @staticmethod
    def answer(text):
        assert not text.startswith("SET"), text


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_startup_message(site, fake, kind, greeted):
    """The entry's settings, then the client's own; nothing that it did not ask for, nothing that is SET."""
    recorder = Recorder(fake)
    p = site(databases={"db": recorder.server.entry("real", datestyle="German", application_name="entry")})
    if greeted:
        p.login().close()
    options = "-c work_mem=1MB  --enable-seqscan=off -N 7\\ x"
    with replica(p, kind=kind, options=options, timezone="UTC", application_name="") as c:
        assert c.value("SELECT 1") == "SELECT 1"
    assert recorder.startups[-1] == [
        ("database", "real"), ("datestyle", "German"), ("application_name", "entry"),
        ("replication", kind), ("TimeZone", "UTC"), ("application_name", ""), ("options", options),
        ("user", "u_trust")]
    assert len(recorder.startups) == 1 + greeted


def test_options_count_before_the_entry(site, fake):
    """A tracked parameter in options: the server would let every start-up parameter win over it."""
    recorder = Recorder(fake)
    p = site(databases={"db": recorder.server.entry("real", datestyle="German")})
    with replica(p, options="-c datestyle=ISO -c TimeZone=PST8PDT", timezone="UTC") as c:
        assert c.value("SELECT 1") == "SELECT 1"
    pairs = recorder.startups[-1]
    assert pairs.index(("DateStyle", "ISO")) > pairs.index(("datestyle", "German"))
    assert ("TimeZone", "UTC") in pairs and ("options", "-c datestyle=ISO -c TimeZone=PST8PDT") in pairs


def test_options_have_effect(site, pg):
    p = site(databases={"db": pg.entry(datestyle="German")})
    for greeted in (False, True):
        with replica(p, options="-c work_mem=1234kB -c datestyle=ISO -c enable_seqscan=off") as c:
            assert [c.value("SHOW " + n) for n in ("work_mem", "datestyle", "enable_seqscan")] == [
                "1234kB", "ISO, DMY", "off"]
        with p.login() as c:
            assert c.value("SHOW datestyle") == "German, DMY" and c.value("SHOW work_mem") == "4MB"


def test_unknown_parameter_is_refused_as_ever(site):
    p = site(ignore_startup_parameters="extra_float_digits")
    with pytest.raises(PgError) as e:
        replica(p, search_path="x")
    assert e.value.text == "unsupported startup parameter: search_path"
    replica(p, extra_float_digits="3").close()


@pytest.mark.parametrize("kind", KINDS)
def test_greeting_of_others_is_none_of_its_making(site, kind):
    """A pool whose first log-in is that of a replication client, with settings of its own."""
    p = site()
    with replica(p, kind=kind, timezone="Asia/Tokyo", datestyle="German", client_encoding="LATIN1") as c:
        assert c.params["TimeZone"] == "Asia/Tokyo" and c.params["client_encoding"] == "LATIN1"
        assert c.params["server_encoding"] == ("UTF8" if kind == "database" else "SQL_ASCII")
        with p.login() as other:
            assert other.params["client_encoding"] == other.params["server_encoding"] == "UTF8"
            assert other.params["TimeZone"] != "Asia/Tokyo" and other.params["DateStyle"] == "ISO, MDY"
            assert other.value("SHOW client_encoding") == "UTF8"
            assert other.value("SELECT 'ä'") == "ä"
            assert other.value("SHOW timezone") == other.params["TimeZone"]


def test_connect_query(site, pg):
    p = site(databases={"db": pg.entry(connect_query="SELECT set_config('work_mem', '2MB', false)")})
    with replica(p) as c:
        assert c.value("SHOW work_mem") == "2MB"
    # A walsender without a database knows no SQL; that is no reason to be without it.
    with replica(p, kind="yes") as c:
        assert system(c)["timeline"] == "1"
    p.wait_log("error while executing exec_on_query: ERROR: cannot execute SQL commands in WAL sender")


# --- a server of its own --------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_server_from_login_to_the_end(site, pg, mode, kind):
    p = site(mode)
    seen = set()
    for _ in range(3):
        with replica(p, kind=kind) as c:
            pid, = env.wait_for(pg.walsenders, "its server, though it has asked for nothing")
            assert pid not in seen
            seen.add(pid)
            for _ in range(3):
                assert system(c)["timeline"] == "1"
            assert pg.walsenders() == [pid]
            p.wait_pool(cl_active=1, sv_active=1)
            with p.login() as other:
                assert other.pid() != pid
        wait_no_walsender(pg)
    p.wait_log("S-.*closing because: replication client was closed", 3)
    assert len(pg.backends("db")) == 1


@pytest.mark.parametrize("mode", MODES)
def test_session_behaviour_in_every_mode(site, mode):
    p = site(mode, server_reset_query="DISCARD ALL", server_reset_query_always=1, max_prepared_statements=10)
    with replica(p) as c:
        pid = c.pid()
        assert c.query("BEGIN").status == "T"
        assert c.query("SELECT 1/0").status == "E"
        assert c.query("ROLLBACK").status == "I"
        c.query("SET work_mem = '3MB'")
        c.query("PREPARE x AS SELECT 5")
        assert c.value("SHOW work_mem") == "3MB" and c.value("EXECUTE x") == "5" and c.pid() == pid
        # A walsender knows no extended protocol; what is sent to it is not rewritten.
        r = c.run("SELECT 1", name="mine")
        assert "extended query protocol not supported in a replication connection" in r.errors[0].text
        assert c.pid() == pid
        assert {s["prepared_statements"] for s in rows(p) + rows(p, "SERVERS")} == {"0"}
    assert not p.logged("transaction blocks not allowed")


def test_leaving_in_a_query(site, pg):
    p = site()
    with replica(p) as c:
        c.send(wire.query("SELECT pg_sleep(60)"))
        p.wait_pool(sv_active=1)
        env.wait_for(lambda: pg.walsenders("state = 'active' AND query LIKE '%pg_sleep%'"), "the query to run")
    p.wait_log("S-.*closing because: client disconnect while server was not ready")


@pytest.mark.parametrize("mode", MODES)
def test_others_of_the_pool(site, pg, mode):
    """Before, between and after."""
    p = site(mode, default_pool_size=3)
    with p.login() as other:
        before = other.pid()
        with replica(p) as a, replica(p, kind="yes") as b:
            assert other.pid() == before
            system(a), system(b)
            for _ in range(5):
                assert other.value("SELECT 'between'") == "between"
        assert other.pid() == before
    if mode != "session":
        assert pg.backends("db") == [before]


# --- limits ------------------------------------------------------------------------------

def test_ten_clients_two_at_a_time(site, pg):
    p = site(default_pool_size=2, max_client_conn=100)
    most, failed = [], []

    def one():
        try:
            with p.connect(replication="database") as conn:
                most.append(conn.execute("SELECT count(*) FROM pg_stat_activity, pg_sleep(0.2)"
                                         " WHERE backend_type = 'walsender'").fetchone()[0])
        except Exception as e:
            failed.append(e)

    for greeted in (False, True):
        threads = [threading.Thread(target=one) for _ in range(10)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failed and len(most) == 10 and max(most) <= 2
        assert p.pool()["cl_waiting"] == 0
        most.clear()
        p.login().close()
    assert p.pool()["sv_idle"] <= 1


def test_waiting_one_evicts_one_idle_server(site, pg):
    p = site(default_pool_size=3)
    clients = [p.login() for _ in range(3)]
    pids = []
    for c in clients:
        c.query("BEGIN")
        pids.append(c.pid())
    for c in clients:
        c.query("COMMIT")
    with replica(p) as r:
        assert system(r)["dbname"] == "db"
        # The one that was unused for longest; the others stay.
        p.wait_log("closing because: evicted")
        env.wait_for(lambda: pg.backends("db") == pids[1:], "its backend to go")
        assert clients[0].pid() in pids[1:]
        with replica(p, kind="yes") as s:
            assert system(s)["timeline"] == "1"
            assert len(p.logged("closing because: evicted")) == 2
            assert clients[0].pid() == clients[1].pid()
    assert len(p.logged("closing because: evicted")) == 2


def test_used_server_makes_room_too(site):
    p = site(default_pool_size=1, server_check_delay=0, server_check_query="select 1")
    with p.login() as c:
        c.value("SELECT 1")
        p.wait_pool(sv_used=1)
        with replica(p) as r:
            assert system(r)["dbname"] == "db"
        p.wait_log("closing because: evicted")
        assert c.value("SELECT 2") == "2"


def test_nothing_is_evicted_while_there_is_room(site):
    p = site(default_pool_size=5)
    with p.login() as c:
        pid = c.pid()
        with replica(p) as r:
            assert system(r)["dbname"] == "db" and c.pid() == pid
    assert not p.logged("evicted")


def test_first_come_first_served(site):
    """Behind a holder wait a replication client and then another: in that order they have the place."""
    p = site(default_pool_size=1)
    holder, late = p.login(), p.login()
    holder.query("BEGIN")
    with p.wire() as r:
        r.send(wire.startup("u_trust", "db", replication="database"))
        r.finish_login("u_trust")
        r.send(wire.query("IDENTIFY_SYSTEM"))
        p.wait_pool(cl_waiting=1)
        late.send(wire.query("SELECT 'late'"))
        p.wait_pool(cl_waiting=2)
        holder.query("COMMIT")
        assert r.until_ready().dicts()[0]["dbname"] == "db"
        p.wait_pool(cl_waiting=1, sv_active=1, sv_idle=0)
        assert late.silent(0.05)
    assert late.until_ready().value() == "late"


def test_reserve(site):
    p = site(default_pool_size=1, reserve_pool_size=1, reserve_pool_timeout=0.5)
    with p.login() as holder:
        holder.query("BEGIN")
        with replica(p) as r:
            assert system(r)["dbname"] == "db"
            p.wait_log(r"C-\S+: db/u_trust@\S+ taking connection from reserve_pool")
            p.wait_pool(sv_active=2)


@pytest.mark.parametrize("limit", ["max_db_connections", "max_user_connections"])
def test_shared_limits(site, limit):
    p = site(**{limit: 1})
    other = ("u_plain", "db") if limit == "max_db_connections" else ("u_trust", "db2")
    with p.login() as own, p.login(*other) as foreign:
        # An idle server of its own pool, then one of another.
        assert own.value("SELECT 1") == "1"
        with replica(p) as r:
            assert system(r)["dbname"] == "db"
            foreign.send(wire.query("SELECT 'at last'"))
            p.wait_pool(other[1], other[0], cl_waiting=1)
        assert foreign.until_ready().value() == "at last"
        with replica(p, kind="yes") as r:
            assert system(r)["timeline"] == "1"
        p.wait_log("closing because: evicted", 3)
        # And one that is busy is waited for.
        foreign.query("BEGIN")
        with replica(p) as r:
            r.send(wire.query("IDENTIFY_SYSTEM"))
            p.wait_pool("db", "u_trust", cl_waiting=1)
            own.send(wire.query("SELECT 'behind'"))
            p.wait_pool("db", "u_trust", cl_waiting=2)
            foreign.query("COMMIT")
            assert r.until_ready().dicts()[0]["dbname"] == "db"
        assert own.until_ready().value() == "behind"


def test_connections_are_counted(site):
    p = site(max_user_client_connections=2)
    with replica(p), p.login():
        with pytest.raises(PgError) as e:
            replica(p)
        assert e.value.text == "client connections exceeded (max_user_client_connections)"
    replica(p).close()


# --- log-ins that fail ------------------------------------------------------------------------

NO_RIGHT = "FATAL: must be superuser or replication role to start walsender"


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_server_refuses(site, kind, greeted):
    """svc2 may log in, but not replicate. That is no reason to take its pool for one that fails."""
    p = site()
    if greeted:
        p.login("svc2").close()
    with p.wire() as r:
        r.send(wire.startup("svc2", "db", replication=kind))
        if greeted:
            r.finish_login("svc2")
        e = r.expect_error() if greeted else pytest.raises(PgError, r.finish_login, "svc2").value
        assert (e.severity, e.code, e.text) == ("FATAL", "08P01", "login failed")
    p.wait_log(r"S-\S+: db/svc2@\S+ S: login failed: " + NO_RIGHT)
    p.wait_log(r"[SC]-\S+: db/svc2@\S+ closing because: login failed \(age", 2)
    with p.login("svc2") as c:
        assert c.value("SELECT current_user") == "svc2"
    assert not p.logged("server login failed") and not p.logged("has been failing")


def test_server_refuses_one_and_others_stay(site, fake):
    """The first log-in is refused; a second replication client and an ordinary one wait meanwhile."""
    asked, may_go_on = threading.Event(), threading.Event()

    def script(peer):
        peer.read_startup()
        if peer.number == 1:
            asked.set()
            assert may_go_on.wait(env.PATIENCE)
            peer.send(fakeserver.error("no slot for you", "53300", "FATAL"))
            return
        peer.welcome()
        peer.serve()

    server = fake(script)
    p = site(databases={"db": server.entry()}, default_pool_size=1, server_login_retry=1)
    with p.wire() as first, p.wire() as second, p.wire() as plain:
        first.send(wire.startup("u_trust", "db", replication="yes"))
        assert asked.wait(env.PATIENCE)
        plain.send(wire.startup("u_trust", "db"))
        second.send(wire.startup("u_trust", "db", replication="database"))
        p.wait_pool(cl_waiting=3, sv_login=1)
        may_go_on.set()
        assert pytest.raises(PgError, first.finish_login, "u_trust").value.text == "login failed"
        plain.finish_login("u_trust")
        assert plain.value("SELECT 1") == "SELECT 1"
        second.finish_login("u_trust")
        assert second.value("SELECT 2") == "SELECT 2"
    assert [peer.params.get("replication") for peer in server.peers] == ["yes", None, "database"]
    p.wait_log("S: login failed: FATAL: no slot for you")


def test_ordinary_login_that_fails_is_not_its_own(site, fake):
    """The other way round: a replication client behind a log-in that is refused has an attempt of its own."""
    asked, may_go_on = threading.Event(), threading.Event()

    def script(peer):
        peer.read_startup()
        if peer.number == 1:
            asked.set()
            assert may_go_on.wait(env.PATIENCE)
            peer.send(fakeserver.error('database "db" does not exist', "3D000", "FATAL"))
            return
        peer.welcome()
        peer.serve()

    p = site(databases={"db": fake(script).entry()})
    with p.wire() as plain, p.wire() as r:
        plain.send(wire.startup("u_trust", "db"))
        assert asked.wait(env.PATIENCE)
        r.send(wire.startup("u_trust", "db", replication="yes"))
        p.wait_pool(cl_waiting=2)
        may_go_on.set()
        assert pytest.raises(PgError, plain.finish_login, "u_trust").value.code == "3D000"
        r.finish_login("u_trust")
        assert r.value("SELECT 1") == "SELECT 1"


def test_wrong_kind_of_secret(site):
    """The server wants SCRAM, and the pooler has md5."""
    p = site(users={"u_scram": wire.md5_secret("u_scram", "u_scram_pw")}, auth_type="trust")
    with pytest.raises(PgError) as e:
        replica(p, "u_scram")
    assert e.value.text == "server login failed: wrong password type"
    p.wait_log("cannot do SCRAM authentication: wrong password type")


def test_nobody_listens_yet(site, fake):
    """A connection that fails ends nobody's wait."""
    port = env.free_port()
    p = site(databases={"db": "host=127.0.0.1 port=%d dbname=db" % port}, server_login_retry=1)
    with p.wire() as r:
        r.send(wire.startup("u_trust", "db", replication="yes"))
        p.wait_log("S-.*closing because: connect failed")
        p.wait_pool(cl_waiting=1)

        def script(peer):
            peer.read_startup()
            peer.welcome()
            peer.serve()

        fake(script, port=port)
        r.finish_login("u_trust")
        assert r.value("SELECT 1") == "SELECT 1"


def test_server_that_breaks_off_the_login(site, fake):
    def script(peer):
        peer.read_startup()
        if peer.number == 1:
            return
        peer.welcome()
        peer.serve()

    p = site(databases={"db": fake(script).entry()}, server_login_retry=1)
    with replica(p) as r:
        assert r.value("SELECT 1") == "SELECT 1"
    p.wait_log(r"S-.*closing because: server conn crashed\?")


# --- waiting and leaving -----------------------------------------------------------------------

class Deaf:
    """A server that takes connections and start-up messages, and says nothing until it is told to go on."""

    def __init__(self, fake):
        self.may_go_on = threading.Event()
        self.server = fake(self.play)

    def play(self, peer):
        if peer.read_startup() is None:
            return
        if not self.may_go_on.is_set():
            # Gone, when the pooler hangs up first.
            peer.sock.settimeout(0.05)
            while not self.may_go_on.is_set():
                try:
                    if not peer.sock.recv(1, socket.MSG_PEEK):
                        raise fakeserver.Gone()
                except (TimeoutError, socket.timeout):
                    pass
            peer.sock.settimeout(env.PATIENCE)
        peer.welcome()
        peer.serve()


@pytest.mark.parametrize("how", ["close", "reset", "terminate"])
def test_leaving_while_the_server_logs_in(site, fake, how):
    deaf = Deaf(fake)
    p = site(databases={"db": deaf.server.entry()}, server_login_retry=30)
    r = p.wire()
    r.send(wire.startup("u_trust", "db", replication="yes"))
    env.wait_for(lambda: deaf.server.count == 1, "the server's log-in")
    if how == "terminate":
        r.send(wire.TERMINATE)
    r.reset() if how == "reset" else r.close()
    if how == "terminate":
        # What it said is not looked at while it waits, so nor is its end.
        p.wait_pool(cl_waiting=1)
        deaf.may_go_on.set()
        p.wait_log("C-.*closing because: client close request")
    else:
        p.wait_log("S-.*closing because: replication client disconnected")
    p.wait_pool(cl_waiting=0, sv_login=0, sv_active=0)
    # It was no failure of the server's: the next one need not wait.
    deaf.may_go_on.set()
    with p.login() as c:
        assert c.value("SELECT 1") == "SELECT 1"


def test_leaving_the_queue(site):
    p = site(default_pool_size=1)
    with p.login() as holder:
        holder.query("BEGIN")
        r = replica(p)
        p.wait_pool(cl_waiting=1)
        r.close()
        p.wait_pool(cl_waiting=0)
        p.wait_log("C-.*closing because: client unexpected eof")
        holder.query("COMMIT")
    assert not p.logged("evicted")


def test_what_is_said_while_waiting_is_kept(site, fake):
    deaf = Deaf(fake)
    p = site(databases={"db": deaf.server.entry()})
    with p.wire() as r:
        r.send(wire.startup("u_trust", "db", replication="yes"))
        env.wait_for(lambda: deaf.server.count == 1, "the server's log-in")
        r.send(wire.query("SELECT 1"), wire.query("SELECT 2"))
        p.wait_pool(cl_waiting=1)
        deaf.may_go_on.set()
        r.finish_login("u_trust")
        assert [r.until_ready().value() for _ in range(2)] == ["SELECT 1", "SELECT 2"]


def test_query_wait_timeout(site, fake):
    deaf = Deaf(fake)
    p = site(databases={"db": deaf.server.entry()}, query_wait_timeout=1)
    with p.wire() as r:
        r.send(wire.startup("u_trust", "db", replication="yes"))
        assert r.expect_error().text == "query_wait_timeout"
    p.wait_log("S-.*closing because: replication client disconnected")


def test_waiting_for_room_is_no_login_that_takes_too_long(site):
    """A pool of replication clients alone has no greeting to give; its server is there all the same."""
    p = site(default_pool_size=1, client_login_timeout=1, query_wait_timeout=3)
    with replica(p, kind="yes") as first, p.wire() as second:
        second.send(wire.startup("u_trust", "db", replication="yes"))
        assert second.expect_error().text == "query_wait_timeout"
        assert system(first)["timeline"] == "1"


def test_server_down(site):
    p = site(databases={"db": "host=127.0.0.1 port=%d dbname=db" % env.free_port()}, client_login_timeout=1)
    with p.wire() as r:
        r.send(wire.startup("u_trust", "db", replication="yes"))
        assert r.expect_error().text == "client_login_timeout (server down)"


def test_cancel_goes_first(site, pg):
    """A cancel request takes a connection that is made for a replication client, who gets the next one."""
    p = site(default_pool_size=3)
    with p.login() as c:
        for _ in range(20):
            c.send(wire.query("SELECT pg_sleep(60)"))
            env.wait_for(lambda: pg.backends("db", where="query LIKE '%pg_sleep%' AND state = 'active'"),
                         "the query to run")
            with p.wire() as r, p.wire() as w:
                r.send(wire.startup("u_trust", "db", replication="database"))
                w.send(wire.cancel_request(c.key))
                r.finish_login("u_trust")
                assert system(r)["dbname"] == "db"
                w.expect_closed()
            assert c.until_ready().errors[0].code == "57014"
    assert len(p.logged("successfully sent cancel request")) == 40
