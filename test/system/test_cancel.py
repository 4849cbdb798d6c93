"""Cancel requests. Attack row 30."""
import socket
import threading

import psycopg
import pytest
from harness import env, fakeserver, wire
from harness.wire import Closed

ours = pytest.mark.ours


@pytest.fixture
def pool(pooler, pg):
    def make(mode="transaction", **settings):
        return pooler(**{"databases": {"db": pg.entry()}, "users": {"u_trust": ""}, "pool_mode": mode,
                         "default_pool_size": 3, "server_tls_sslmode": "disable", **settings})
    return make


def cancel(p, key, host=None):
    """Send one; the pooler answers by closing."""
    with p.wire(host) as c:
        c.send(wire.cancel_request(key))
        c.expect_closed()


def running(pg, text):
    return pg.sql("SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query = '%s'" % text)


@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("host", ["127.0.0.1", "unix"])
def test_cancel(pool, pg, mode, host):
    p = pool(mode)
    with p.login() as c:
        text = "SELECT pg_sleep(30)"
        c.send(wire.query(text))
        env.wait_for(lambda: running(pg, text), "the query to run")
        cancel(p, c.key, p.dir if host == "unix" else host)
        r = c.until_ready()
        assert r.errors[0].code == "57014"
        assert c.value("SELECT 1") == "1"
    p.wait_log("successfully sent cancel request")


def test_psycopg_cancel(pool):
    p = pool()
    with p.connect() as conn:
        timer = threading.Timer(0.3, conn.cancel)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("SELECT pg_sleep(30)")
        timer.join()
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_cancel_of_an_idle_client(pool):
    p = pool()
    with p.login() as c:
        assert c.value("SELECT 1") == "1"
        cancel(p, c.key)
        p.wait_log("cancel request for idle client")
        assert c.value("SELECT 2") == "2"


@pytest.mark.parametrize("key", [b"\0" * 8, b"\xff" * 8, b"12345678"])
def test_row_30_unknown_key(pool, key):
    p = pool()
    with p.login() as c:
        cancel(p, key)
        p.wait_log("failed cancel request")
        assert c.value("SELECT 1") == "1"


@pytest.mark.parametrize("size", [0, 1, 4, 7, 9, 12, 255])
def test_row_30_key_of_another_length(pool, size):
    p = pool()
    cancel(p, b"k" * size)
    if not env.ORACLE:
        p.wait_log("bad cancel request")
    p.login().close()


def test_keys_differ(pool):
    p = pool(max_client_conn=200)
    clients = [p.login() for _ in range(50)]
    assert len({c.key for c in clients}) == 50


def test_row_30_old_key_does_not_hit_another_client(pool, pg):
    """The first client's server now serves the second."""
    p = pool(default_pool_size=1)
    with p.login() as first, p.login() as second:
        pid = first.pid()
        text = "SELECT pg_sleep(0.7), 'second'"
        second.send(wire.query(text))
        env.wait_for(lambda: running(pg, text.replace("'", "''")), "the query to run")
        cancel(p, first.key)
        r = second.until_ready()
        assert not r.errors and r.rows[0][1] == "second"
        assert second.pid() == pid


def test_cancel_beyond_the_pool_size(pool, pg):
    p = pool(default_pool_size=1)
    with p.login() as c, p.login() as waiting:
        text = "SELECT pg_sleep(29)"
        c.send(wire.query(text))
        env.wait_for(lambda: running(pg, text), "the query to run")
        waiting.send(wire.query("SELECT 'served'"))
        p.wait_pool(cl_waiting=1)
        cancel(p, c.key)
        assert c.until_ready().errors[0].code == "57014"
        assert waiting.until_ready().value() == "served"


def test_cancel_of_a_waiting_client(pool):
    p = pool(default_pool_size=1)
    with p.login() as holder, p.login() as waiting:
        holder.query("BEGIN")
        waiting.send(wire.query("SELECT 'late'"))
        p.wait_pool(cl_waiting=1)
        cancel(p, waiting.key)
        holder.query("COMMIT")
        assert waiting.until_ready().value() == "late"


def test_row_30_hundred_cancels(pool, pg):
    """A storm of cancels, most of them too late, hurts nobody."""
    p = pool(default_pool_size=2, max_client_conn=300)
    with p.login() as c, p.login() as bystander:
        text = "SELECT pg_sleep(28)"
        c.send(wire.query(text))
        env.wait_for(lambda: running(pg, text), "the query to run")
        storm = [threading.Thread(target=quietly, args=(cancel, p, c.key)) for _ in range(100)]
        for t in storm:
            t.start()
        assert c.until_ready().errors[0].code == "57014"
        for _ in range(20):
            assert bystander.value("SELECT 'unhurt'") == "unhurt"
        for t in storm:
            t.join()
        # Its own late cancels may still hit the client's next query.
        env.wait_for(lambda: not c.query("SELECT 1").errors, "a quiet moment")
    p.wait_pool(cl_active=0, sv_active=0, cl_waiting=0)


def quietly(f, *args):
    try:
        f(*args)
    except (Closed, OSError, AssertionError):
        pass


def test_row_30_cancel_and_go_away(pool, pg):
    """The cancel client does not wait for the end of its connection."""
    p = pool()
    with p.login() as c:
        text = "SELECT pg_sleep(27)"
        c.send(wire.query(text))
        env.wait_for(lambda: running(pg, text), "the query to run")
        for _ in range(5):
            with p.wire() as gone:
                gone.send(wire.cancel_request(c.key))
        cancel(p, c.key)
        assert c.until_ready().errors[0].code == "57014"
    p.wait_pool(cl_active=0, sv_active=0)


@ours
def test_row_30_cancel_wait_timeout(pool, fake):
    """Row 30: cancels beyond twice the pool size wait, and not for ever."""
    def script(peer):
        if peer.number == 1:
            peer.read_startup()
            peer.welcome()
        peer.wait_gone()
    p = pool(databases={"db": fake(script).entry()}, cancel_wait_timeout=1, default_pool_size=1)
    with p.login() as c:
        c.send(wire.query("SELECT 1"))
        p.wait_pool(sv_active=1)
        waiting = [p.wire() for _ in range(3)]
        for w in waiting:
            w.send(wire.cancel_request(c.key))
        p.wait_log("closing because: cancel_wait_timeout")


def test_cancel_in_pieces(pool, pg):
    p = pool()
    with p.login() as c:
        text = "SELECT pg_sleep(26)"
        c.send(wire.query(text))
        env.wait_for(lambda: running(pg, text), "the query to run")
        if env.ORACLE:
            cancel(p, c.key)
        else:
            with p.wire() as x:
                x.send_pieces(wire.cancel_request(c.key))
                x.expect_closed()
        assert c.until_ready().errors[0].code == "57014"


@ours
def test_cancel_passes_by_all_limits(pool, pg):
    """Twice the pool's size is the only one that counts."""
    p = pool(default_pool_size=1, max_db_connections=1, max_user_connections=1)
    with p.login() as c:
        text = "SELECT pg_sleep(25)"
        c.send(wire.query(text))
        env.wait_for(lambda: running(pg, text), "the query to run")
        cancel(p, c.key)
        assert c.until_ready().errors[0].code == "57014"
    assert not p.logged("closing because: evicted")


@ours
@pytest.mark.parametrize("mode", ["require", "allow"])
def test_cancel_need_not_be_encrypted(pool, pg, certs, mode):
    """Neither by the client, who sends it in the clear even where TLS is required, nor by us."""
    p = pool(client_tls_sslmode=mode, client_tls_key_file=certs.key("server"), client_tls_cert_file=certs.crt("server"),
             server_tls_sslmode="require")
    with p.wire() as c:
        c.tls()
        c.login("u_trust", "db")
        for encrypted in (False, True):
            text = "SELECT pg_sleep(%d)" % (24 + encrypted)
            c.send(wire.query(text))
            env.wait_for(lambda: running(pg, text), "the query to run")
            with p.wire() as x:
                if encrypted:
                    x.tls()
                x.send(wire.cancel_request(c.key))
                with pytest.raises((Closed, OSError)):
                    x.recv()
            assert c.until_ready().errors[0].code == "57014"
    assert len(p.logged("closing because: successfully sent cancel request")) == 4


@ours
def test_cancel_sends_the_servers_key_first_of_all(pool, fake):
    """Before SSLRequest and start-up message; and says so at both ends."""
    seen = []

    def script(peer):
        first = peer.take(8)
        if first[4:] == b"\x04\xd2\x16\x2f":     # SSLRequest
            peer.send(b"N")
            peer.read_startup()
            peer.welcome()
            peer.wait_gone()
        seen.append(first + peer.take(8))
    p = pool(databases={"db": fake(script).entry()}, server_tls_sslmode="prefer")
    with p.login() as c:
        c.send(wire.query("SELECT 1"))
        p.wait_pool(sv_active=1)
        cancel(p, c.key)
        assert seen == [wire.cancel_request(b"\0\0\x03\xe9\0\0\0\x2a")]
    p.wait_log(r"LOG C-\S+: \S+ closing because: successfully sent cancel request \(age=\d+s\)$")
    p.wait_log(r"LOG S-\S+: \S+ closing because: successfully sent cancel request \(age=\d+s\)$")
    assert not p.logged("pooler error")


@ours
@pytest.mark.parametrize("how", ["PAUSE", "PAUSE db", "SHUTDOWN WAIT_FOR_SERVERS"])
def test_cancel_ends_what_is_waited_for(pool, pg, how):
    """A pause, or an end that waits for servers, waits for a query that hangs: it can be cancelled."""
    p = pool()
    with p.login() as c, p.console() as admin:
        text = "SELECT pg_sleep(23), %d" % len(how)
        c.send(wire.query(text))
        env.wait_for(lambda: running(pg, text), "the query to run")
        admin.send(wire.query(how))
        if how.startswith("SHUTDOWN"):
            assert admin.until_ready().tags == ["SHUTDOWN"]
        else:
            p.wait_log("%s.* command issued" % how.split()[0])
        # The port is closed by a shutdown, the Unix socket is not.
        cancel(p, c.key, p.dir)
        assert c.until_ready().errors[0].code == "57014"
        if how.startswith("PAUSE"):
            assert admin.until_ready().tags == ["PAUSE"]
        p.wait_log("closing because: successfully sent cancel request")
    if how.startswith("SHUTDOWN"):
        p.wait_exit()


@ours
def test_cancel_while_parameters_are_set(pool, fake):
    """What the server runs then is not the client's."""
    going, hold = threading.Event(), threading.Event()

    def script(peer):
        peer.read_startup()
        peer.welcome()

        def answer(text):
            if text.startswith("SET"):
                going.set()
                hold.wait(env.PATIENCE)
        peer.serve(answer)
    server = fake(script)
    p = pool(databases={"db": server.entry()}, default_pool_size=1)
    with p.login() as other, p.login(application_name="me") as c:
        other.query("SELECT 0")
        c.send(wire.query("SELECT 1"))
        assert going.wait(env.PATIENCE)
        cancel(p, c.key)
        p.wait_log("closing because: ignoring cancel request for server that is setting vars")
        hold.set()
        assert c.until_ready().value() == "SELECT 1"
    assert server.count == 1


@ours
def test_cancel_whose_query_ends_before_the_connection_is_up(pool):
    """Both ends of the request are closed for the same reason, and nothing is sent."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        p = pool(databases={"db": "host=127.0.0.1 port=%d" % port})
        c = p.wire()
        c.send(wire.startup("u_trust", "db"))
        server = fakeserver.Peer(listener.accept()[0], 1)
        server.read_startup()
        server.welcome()
        c.finish_login("u_trust")
        c.send(wire.query("SELECT 1"))
        server.recv_type(b"Q")
        # A queue that is full drops what comes, until there is room again.
        fillers = [socket.create_connection(("127.0.0.1", port))]
        x = p.wire()
        x.send(wire.cancel_request(c.key))
        p.wait_pool(cl_waiting_cancel_req=1, sv_login=1)
        server.send(fakeserver.one_row("done"), fakeserver.ready())
        assert c.until_ready().rows == [("done",)]
        x.expect_closed()
        fillers.append(listener.accept()[0])
        late = listener.accept()[0]
        late.settimeout(env.PATIENCE)
        assert late.recv(100) == b""
        for who in "CS":
            p.wait_log(who + r"-\S+: \S+ closing because: not sending cancel request for client that is now idle")
        for f in fillers + [late, server.sock]:
            f.close()
