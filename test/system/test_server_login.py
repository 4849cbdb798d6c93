"""The pooler logs in to servers; servers that refuse, fail or misbehave.

Attack rows 20-24.
"""
import base64
import struct
import threading
import time

import pytest
from harness import env, fakeserver, wire
from harness.fakeserver import auth, data_row, error, notice, one_row, param, ready, row_description, tag
from harness.wire import Closed, PgError, md5_secret, scram_secret

ours = pytest.mark.ours


# --- methods ----------------------------------------------------------------

@pytest.mark.parametrize("role, kind", [("u_plain", "plain"), ("u_md5", "plain"), ("u_scram", "plain"),
                                        ("u_md5", "md5")])
def test_stored_password_opens_the_server(pooler, pg, role, kind):
    secret = role + "_pw" if kind == "plain" else md5_secret(role, role + "_pw")
    p = pooler(databases={"db": pg.entry()}, users={role: secret}, auth_type="md5")
    with p.login(role, secret=role + "_pw") as c:
        assert c.value("SELECT current_user") == role


@pytest.mark.parametrize("role", ["u_plain", "u_md5", "u_scram"])
def test_forced_user(pooler, pg, role):
    p = pooler(databases={"inline": pg.entry(user=role, password=role + "_pw"), "listed": pg.entry(user=role)},
               users={"someone": "x", role: role + "_pw"}, auth_type="md5")
    for db in ("inline", "listed"):
        with p.login("someone", db, "x") as c:
            assert c.value("SELECT current_user") == role


@ours
def test_forced_user_behind_a_scram_client(pooler, pg):
    """The keys of the client's proof are not those of the service account."""
    p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw")}, users={"someone": scram_secret("x")},
               auth_type="scram-sha-256")
    with p.login("someone", secret="x") as c:
        assert c.value("SELECT current_user") == "svc"


@ours
@pytest.mark.parametrize("role, secret", [("u_md5", "scram"), ("u_scram", "md5")])
def test_secret_of_the_wrong_kind(pooler, pg, role, secret):
    stored = scram_secret(role + "_pw") if secret == "scram" else md5_secret(role, role + "_pw")
    p = pooler(databases={"db": pg.entry(user=role)}, users={"someone": "", role: stored})
    with pytest.raises(PgError) as e:
        p.login("someone")
    assert e.value.text == "server login failed: wrong password type"
    p.wait_log("cannot do %s authentication: wrong password type|did not provide SCRAM keys"
               % ("MD5" if role == "u_md5" else "SCRAM"))


def test_scram_keys_are_passed_through(pooler, pg):
    """The pooler knows no password, only what PostgreSQL has stored."""
    p = pooler(databases={"db": pg.entry()}, users={"u_scram": pg.secret("u_scram")}, auth_type="scram-sha-256")
    with p.login("u_scram", secret="u_scram_pw") as c:
        assert c.value("SELECT current_user") == "u_scram"
        pid = c.pid()
    pg.sql("SELECT pg_terminate_backend(%d)" % pid)
    with p.login("u_scram", secret="u_scram_pw") as c:
        assert c.pid() != pid


@ours
def test_keys_from_plain_text_are_not_passed_through(pooler, pg):
    """A trust login proves nothing, so there are no keys for the server."""
    p = pooler(databases={"db": pg.entry()}, users={"u_scram": pg.secret("u_scram")}, auth_type="trust",
               client_login_timeout=3)
    with pytest.raises(PgError) as e:
        p.login("u_scram")
    assert e.value.text == "server login failed: wrong password type"
    p.wait_log("cannot do SCRAM authentication: password is SCRAM secret but client authentication did not "
               "provide SCRAM keys")


def test_startup_parameters_of_the_entry(pooler, pg):
    p = pooler(databases={"db": pg.entry(client_encoding="LATIN1", datestyle="German", timezone="Asia/Tokyo",
                                         application_name="entry")}, users={"u_trust": ""})
    with p.login() as c:
        assert c.params["client_encoding"] == "LATIN1"
        assert c.value("SHOW timezone") == "Asia/Tokyo"
        assert c.value("SHOW application_name") == "entry"


@ours
def test_startup_message_of_ours(pooler, fake):
    """Version 3.0, in this order, and nothing else: what is a client's own follows by SET."""
    seen = []

    def script(peer):
        size, code = struct.unpack("!II", peer.take(8))
        seen.append((code, peer.take(size - 8)))
        peer.welcome()
        peer.serve()
    server = fake(script)
    p = pooler(databases={"full": server.entry("there", client_encoding="LATIN1", datestyle="ISO", timezone="UTC",
                                               application_name="entry", user="svc"),
                          "named": "host=127.0.0.1 port=%d" % server.port}, users={"u_trust": ""},
               server_tls_sslmode="disable")
    for db in ("full", "named"):
        with p.login(database=db, DateStyle="German", application_name="me", options="-c TimeZone=Asia/Tokyo") as c:
            assert c.query("SELECT 1").rows
    assert seen == [(wire.PROTO3, b"database\0there\0client_encoding\0LATIN1\0datestyle\0ISO\0timezone\0UTC\0"
                     b"application_name\0entry\0user\0svc\0\0"), (wire.PROTO3, b"database\0named\0user\0u_trust\0\0")]


def test_connect_query(pooler, pg):
    p = pooler(databases={"db": pg.entry(connect_query="SET geqo_threshold = 17"),
                          "bad": pg.entry(connect_query="SELECT nonsense")}, users={"u_trust": ""},
               server_reset_query="")
    with p.login() as c:
        assert c.value("SHOW geqo_threshold") == "17"
    with p.login(database="bad") as c:
        assert c.value("SELECT 1") == "1"
    p.wait_log("S: error while executing exec_on_query: ERROR: column \"nonsense\" does not exist")


def test_unix_socket_to_the_server(pooler, pg):
    p = pooler(databases={"db": "host=%s port=%d" % (pg.dir, pg.port)}, users={"u_trust": ""})
    with p.login() as c:
        assert c.value("SELECT inet_client_addr() IS NULL") == "t"
    p.wait_log(r"S-\S+: db/u_trust@unix\S* new connection to server")


def test_ipv6_to_the_server(pooler, pg):
    p = pooler(databases={"db": "host=::1 port=%d" % pg.port}, users={"u_trust": ""})
    with p.login() as c:
        assert c.value("SELECT host(inet_client_addr())") == "::1"
    p.wait_log(r"db/u_trust@\[::1\]:%d new connection to server \(from \[::1\]:\d+\)" % pg.port)


def test_new_connection_is_logged(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""})
    with p.login() as c:
        c.pid()
    p.wait_log(r"LOG S-\S+: db/u_trust@127\.0\.0\.1:%d new connection to server \(from 127\.0\.0\.1:\d+\)" % pg.port)


# --- refusals ---------------------------------------------------------------

def test_unknown_database_on_the_server(pooler, pg):
    p = pooler(databases={"db": pg.entry("no_such_db")}, users={"u_trust": ""})
    with pytest.raises(PgError) as e:
        p.login()
    assert e.value.severity == "FATAL"
    assert e.value.text.endswith('database "no_such_db" does not exist')
    if not env.ORACLE:
        assert (e.value.code, e.value.text) == ("3D000", 'database "no_such_db" does not exist')
    p.wait_log(r'WARNING.*server login failed: FATAL database "no_such_db" does not exist')


@ours
@pytest.mark.parametrize("role", ["u_plain", "u_md5", "u_scram"])
def test_wrong_password_for_the_server(pooler, pg, role):
    p = pooler(databases={"db": pg.entry(user=role, password="wrong")}, users={"someone": ""})
    with pytest.raises(PgError) as e:
        p.login("someone")
    assert (e.value.code, e.value.text) == ("28P01", 'password authentication failed for user "%s"' % role)


@ours
def test_one_failed_attempt_is_told_to_all_waiting(pooler, fake):
    """Three clients, one server attempt, four lines in the log."""
    gate = threading.Event()

    def script(peer):
        peer.read_startup()
        gate.wait(env.PATIENCE)
        peer.send(error("no room today", "53300", "FATAL"))
    server = fake(script)
    p = pooler(databases={"db": server.entry()}, users={"u_trust": ""}, server_login_retry=100,
               server_tls_sslmode="disable")
    clients = []
    for _ in range(3):
        c = p.wire()
        c.send(wire.startup("u_trust", "db"))
        clients.append(c)
    p.wait_pool(cl_waiting=3)
    gate.set()
    for c in clients:
        e = c.expect_error()
        assert (e.code, e.text) == ("53300", "no room today")
    env.wait_for(lambda: len(p.logged("closing because: no room today")) == 4, "four lines")
    assert server.count == 1


def test_server_down_then_up(pooler, own_pg):
    """A connect failure is remembered; after the retry pause all is well."""
    p = pooler(databases={"db": own_pg.entry()}, users={"u_trust": ""}, pool_mode="transaction",
               server_login_retry=1, query_wait_timeout=60)
    c = p.login()
    assert c.value("SELECT 1") == "1"
    own_pg.stop()
    p.wait_pool(sv_idle=0)
    c.send(wire.query("SELECT 2"))
    own_pg.start()
    try:
        assert c.until_ready().value() == "2"
    except PgError:
        pass
    env.wait_for(lambda: works(p), "service")


def works(p):
    try:
        with p.login() as c:
            return c.value("SELECT 1") == "1"
    except (PgError, Closed):
        return False


@ours
def test_fast_fail_with_the_cached_error(pooler, own_pg):
    p = pooler(databases={"db": own_pg.entry()}, users={"u_trust": ""}, pool_mode="transaction",
               server_login_retry=30)
    first, second = p.login(), p.login()
    assert first.value("SELECT 1") == "1"
    own_pg.stop()
    p.wait_pool(sv_idle=0)
    first.send(wire.query("SELECT 1"))
    p.wait_log("closing because: connect failed")
    second.send(wire.query("SELECT 1"))
    e = second.expect_error()
    assert (e.code, e.text) == ("08P01", "server login has been failing, cached error: connect failed "
                                         "(server_login_retry)")


def test_waiting_for_a_server_that_is_down(pooler):
    """Nobody listens there: the client without a greeting waits for its login timeout."""
    p = pooler(databases={"db": "host=127.0.0.1 port=%d" % env.free_port()}, users={"u_trust": ""},
               client_login_timeout=2)
    with pytest.raises(PgError) as e:
        p.login()
    assert e.value.text == "client_login_timeout (server down)"
    p.wait_log("closing because: connect failed")


def test_row_23_connect_timeout(pooler, fake):
    """Row 23: a server that takes the connection and says nothing."""
    server = fake(lambda peer: peer.wait_gone())
    p = pooler(databases={"db": server.entry()}, users={"u_trust": ""}, server_connect_timeout=1,
               client_login_timeout=3)
    with pytest.raises(PgError):
        p.login()
    p.wait_log("closing because: connect timeout")
    env.wait_for(lambda: server.count >= 2, "a second try")


@ours
def test_starting_up_server_is_waited_for(pooler, fake):
    """57P03 does not send the waiting clients away."""
    def script(peer):
        peer.read_startup()
        if peer.number <= 2:
            peer.send(error("the database system is starting up", "57P03", "FATAL"))
            return
        peer.welcome()
        peer.serve()
    p = pooler(databases={"db": fake(script).entry()}, users={"u_trust": ""}, server_login_retry=1)
    with p.login() as c:
        assert c.value("SELECT 7") == "SELECT 7"


# --- hostile servers --------------------------------------------------------

def misbehave(pooler, fake, script, **settings):
    """Log in through a pooler whose server plays the script: the client must
    be told something or be let in, and the pooler must live."""
    server = fake(script)
    p = pooler(databases={"db": server.entry(user="svc", password="pw")}, users={"u_trust": ""},
               **{"client_login_timeout": 2, "server_connect_timeout": 2, "query_timeout": 4, **settings})
    return p, server


def told(p):
    with pytest.raises((PgError, Closed)) as e:
        p.login()
    p.admin("SHOW VERSION")
    return e.value


@ours
@pytest.mark.parametrize("text", [
    pytest.param("r=%s" + "x" * 100000 + ",s=c2FsdHk=,i=4096", id="row-20-nonce"),
    pytest.param("r=%sabc,s=" + "QUFB" * 50000 + ",i=4096", id="row-20-salt"),
    pytest.param("r=%sabc,s=c2FsdHk=,i=2147483648", id="row-20-iterations"),
    pytest.param("r=%sabc,s=c2FsdHk=,i=2147483647", id="row-20-iterations-int-max"),
    pytest.param("r=%sabc,s=c2FsdHk=,i=0", id="iterations-zero"),
    pytest.param("r=%sabc,s=c2FsdHk=,i=-5", id="iterations-negative"),
    pytest.param("r=%sabc,s=c2FsdHk=", id="iterations-missing"),
    pytest.param("r=other,s=c2FsdHk=,i=4096", id="other-nonce"),
    pytest.param("r=%s,s=c2FsdHk=,i=4096", id="same-nonce"),
    pytest.param("r=%sabc,s=****,i=4096", id="salt-not-base64"),
    pytest.param("r=%sabc,s=,i=4096", id="salt-empty"),
    pytest.param("", id="empty"),
    pytest.param("m=x,r=%sabc,s=c2FsdHk=,i=4096", id="mandatory-extension"),
])
def test_scram_of_a_hostile_server(pooler, fake, text):
    def script(peer):
        peer.read_startup()
        peer.send(auth(10, b"SCRAM-SHA-256\0\0"))
        nonce = peer.recv_type(b"p").body.decode().split("r=")[1]
        peer.send(auth(11, (text % nonce if "%s" in text else text).encode()))
        peer.wait_gone()
    p, _ = misbehave(pooler, fake, script)
    c = p.wire()
    c.send(wire.startup("u_trust", "db"))
    # Whatever the server demands, others are served meanwhile.
    started = time.monotonic()
    p.admin("SHOW VERSION")
    assert time.monotonic() - started < 5 * env.SLOW
    with pytest.raises((PgError, Closed)):
        c.finish_login("u_trust")


@ours
def test_server_signature_is_checked(pooler, fake):
    def script(peer):
        peer.read_startup()
        peer.send(auth(10, b"SCRAM-SHA-256\0\0"))
        nonce = peer.recv_type(b"p").body.decode().split("r=")[1]
        peer.send(auth(11, ("r=%sabc,s=c2FsdHk=,i=4096" % nonce).encode()))
        peer.recv_type(b"p")
        peer.send(auth(12, b"v=" + base64.b64encode(b"x" * 32)))
        peer.welcome()
        peer.serve()
    p, _ = misbehave(pooler, fake, script)
    assert told(p).text == "server login failed: invalid server signature"


@ours
def test_server_that_skips_its_own_scram_proof(pooler, fake):
    def script(peer):
        peer.read_startup()
        peer.send(auth(10, b"SCRAM-SHA-256\0\0"))
        peer.recv_type(b"p")
        peer.welcome()
        peer.serve()
    p, _ = misbehave(pooler, fake, script)
    told(p)


@ours
@pytest.mark.parametrize("request_", [
    pytest.param(auth(10, b"SCRAM-SHA-1\0GSS\0\0"), id="no-known-mechanism"),
    pytest.param(auth(10, b"SCRAM-SHA-256"), id="no-terminator"),
    pytest.param(auth(7), id="gss"), pytest.param(auth(2), id="kerberos"), pytest.param(auth(99), id="unknown"),
    pytest.param(auth(5, b"ab"), id="short-salt"),
    pytest.param(auth(11, b"r=x"), id="continue-unasked"), pytest.param(auth(12, b"v=x"), id="final-unasked"),
    pytest.param(wire.msg(b"R", b"\0\0"), id="short"), pytest.param(b"R\0\0\0\2", id="row-3-length"),
    pytest.param(b"R\xff\xff\xff\xff", id="row-3-negative"), pytest.param(data_row("x"), id="row-24-data-row"),
    pytest.param(b"\0" * 40, id="zeros"), pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
])
def test_odd_authentication_requests(pooler, fake, request_):
    def script(peer):
        peer.read_startup()
        peer.send(request_)
        peer.wait_gone()
    p, _ = misbehave(pooler, fake, script)
    told(p)


@ours
@pytest.mark.parametrize("body", [
    pytest.param(b"SFATAL\0Mno code\0\0", id="row-21-no-sqlstate"),
    pytest.param(b"SFATAL\0C08006\0Mno end", id="row-21-no-terminator"),
    pytest.param(b"SFATAL\0C08006\0Mtext\0", id="row-21-no-last-zero"),
    pytest.param(b"Xunknown\0Yfields\0Ztoo\0\0", id="row-21-unknown-fields"),
    pytest.param(b"\0", id="row-21-empty"), pytest.param(b"", id="row-21-nothing"),
    pytest.param(b"SFATAL\0Cx\0M\0\0", id="short-code"),
    pytest.param(b"SFATAL\0C28000\0M" + b"long " * 20000 + b"\0\0", id="long"),
    pytest.param(b"SFATAL\0C28000\0Mline\nfeed %s %n\x1b[0m\0\0", id="row-28-strange"),
])
def test_odd_errors_during_login(pooler, fake, body):
    def script(peer):
        peer.read_startup()
        peer.send(wire.msg(b"E", body))
        peer.wait_gone()
    p, _ = misbehave(pooler, fake, script, client_login_timeout=4)
    e = told(p)
    assert isinstance(e, PgError) and e.severity == "FATAL" and len(e.code) == 5
    if b"Mno code" in body:
        assert (e.code, e.text) == ("08P01", "no code")


@ours
@pytest.mark.parametrize("flood", ["notice", "parameter", "long-parameter", "long-name"])
def test_row_22_floods_during_login(pooler, fake, flood):
    """Row 22: memory stays bounded, the pooler lives."""
    def script(peer):
        peer.read_startup()
        peer.send(auth(0))
        if flood == "notice":
            for _ in range(2000):
                peer.send(notice("n" * 1000))
        elif flood == "parameter":
            for i in range(20000):
                peer.send(param("p%d" % i, "v"))
        elif flood == "long-parameter":
            peer.send(param("application_name", "v" * 4000000))
        else:
            peer.send(param("n" * 4000000, "v"))
        peer.welcome()
        peer.serve()
    p, _ = misbehave(pooler, fake, script)
    before = env.rss_kb(p.process.pid)
    try:
        with p.login() as c:
            assert c.value("SELECT 1") == "SELECT 1"
    except (PgError, Closed):
        pass
    p.admin("SHOW VERSION")
    if env.SLOW == 1:
        assert env.rss_kb(p.process.pid) - before < 40000


STEPS = ["connect", "startup", "auth", "params", "ready", "query", "row", "copy", "between"]


@pytest.mark.parametrize("how", ["close", "reset", "stall"])
@pytest.mark.parametrize("step", STEPS)
def test_row_23_server_goes_away(pooler, fake, step, how):
    """Row 23: at every step. The next connection behaves, and is used."""
    def leave(peer):
        if how == "reset":
            peer.reset()
        if how == "stall":
            peer.wait_gone()
        raise fakeserver.Gone()

    def script(peer):
        bad = peer.number == 1
        if bad and step == "connect":
            leave(peer)
        peer.read_startup()
        if bad and step == "startup":
            leave(peer)
        if bad and step in ("auth", "params"):
            peer.send(auth(0))
            if step == "params":
                peer.send(param("server_version", "15.0"), b"S\0\0\0\x20half")
            leave(peer)
        peer.welcome()
        if bad and step == "ready":
            leave(peer)
        if bad:
            while True:
                m = peer.recv()
                if m.type == b"Q":
                    break
            if step == "row":
                peer.send(row_description("a"), data_row("one"), data_row("x" * 10000)[:500])
            if step == "copy":
                peer.send(wire.msg(b"G", b"\0\0\1\0\0"))
                peer.recv()
            if step == "between":
                peer.send(one_row("first"), ready())
            leave(peer)
        peer.serve()
    p, server = misbehave(pooler, fake, script, server_tls_sslmode="disable", query_timeout=1, server_login_retry=1,
                          client_login_timeout=8, server_connect_timeout=1)

    def attempt():
        try:
            with p.login() as c:
                result = c.query("COPY t FROM STDIN" if step == "copy" and server.count < 2 else "SELECT 5")
                if "G" in result.types:
                    c.send(wire.copy_data(b"x"))
                    c.until_ready()
                return result.rows == [("SELECT 5",)]
        except (PgError, Closed):
            return False

    if step == "copy":
        c = p.login()
        c.send(wire.query("COPY t FROM STDIN"))
        c.expect(b"G")
        c.send(wire.copy_data(b"abc"))
        c.expect_error()
    env.wait_for(attempt, "a working login", pause=0.1)


@ours
def test_hung_reset_query_keeps_nobody_waiting(pooler, fake):
    """A server that hangs in its reset query: the next client gets another one."""
    def script(peer):
        peer.read_startup()
        peer.welcome()
        if peer.number > 1:
            peer.serve()
        while True:
            m = peer.recv()
            if m.body.startswith(b"DISCARD"):
                peer.wait_gone()
            peer.send(one_row("first"), ready())
    p, server = misbehave(pooler, fake, script, server_tls_sslmode="disable", query_timeout=0, query_wait_timeout=10)
    with p.login() as c:
        assert c.value("SELECT 1") == "first"
    with p.login() as c:
        assert c.value("SELECT 2") == "SELECT 2"
    assert server.count == 2


@ours
@pytest.mark.parametrize("extra", [
    pytest.param(data_row("unasked"), id="row-24-data-row"), pytest.param(ready(), id="row-24-second-ready"),
    pytest.param(tag("SELECT 1"), id="command-complete"), pytest.param(wire.msg(b"1"), id="parse-complete"),
    pytest.param(wire.msg(b"?", b"x"), id="unknown-type"), pytest.param(b"Z\0\0\0\1", id="bad-length"),
    pytest.param(error("out of the blue"), id="error"), pytest.param(notice("out of the blue"), id="notice"),
    pytest.param(auth(0), id="auth"), pytest.param(wire.msg(b"Z", b"Q"), id="odd-state"),
    pytest.param(wire.msg(b"Z"), id="no-state"),
])
def test_row_24_messages_of_an_idle_server(pooler, fake, extra):
    """Row 24: what an idle server says unasked reaches no client, and a server
    in a doubtful state is not used again."""
    gate = threading.Event()

    def script(peer):
        peer.read_startup()
        peer.welcome()
        if peer.number == 1:
            peer.recv_type(b"Q")
            peer.send(one_row("fine"), ready())
            gate.wait(env.PATIENCE)
            peer.send(extra)
        peer.serve()
    p, server = misbehave(pooler, fake, script, pool_mode="transaction", server_tls_sslmode="disable")
    with p.login() as c:
        assert c.value("SELECT 1") == "fine"
        gate.set()
        assert c.silent()
        for _ in range(3):
            result = c.query("SELECT 2")
            assert result.types == "TDCZ" and result.rows == [("SELECT 2",)]


@ours
@pytest.mark.parametrize("size", [-1, 0, 3, 1 << 31, (1 << 32) - 1])
def test_row_3_bad_length_from_a_server(pooler, fake, size):
    def script(peer):
        peer.read_startup()
        peer.welcome()
        peer.recv_type(b"Q")
        if peer.number == 1:
            peer.send(b"D" + struct.pack("!I", size & 0xffffffff) + b"x" * 100)
            peer.wait_gone()
        peer.send(one_row("good"), ready())
        peer.serve()
    p, _ = misbehave(pooler, fake, script, server_tls_sslmode="disable")
    with p.login() as c:
        c.send(wire.query("SELECT 1"))
        c.expect_error()
    p.wait_log("closing because: bad pkt header")
    with p.login() as c:
        assert c.value("SELECT 1") == "good"


def test_server_dies_while_idle(pooler, pg):
    """A waiting client gets another connection without seeing an error."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction")
    with p.login() as c:
        pid = c.pid()
        pg.sql("SELECT pg_terminate_backend(%d)" % pid)
        p.wait_log(r"closing because: server conn crashed\?|closing because: .*(dirty|unexpected)")
        assert c.pid() != pid


def test_server_dies_while_linked(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""})
    c = p.login()
    pid = c.pid()
    pg.sql("SELECT pg_terminate_backend(%d)" % pid)
    first = c.expect_error(closed=False)
    assert first.code == "57P01"
    second = c.expect_error()
    assert (second.severity, second.text) == ("FATAL", "server conn crashed?")
