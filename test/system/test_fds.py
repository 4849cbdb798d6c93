"""SHOW FDS: every socket, and the descriptors themselves for the operator. Attack rows 25 and 26."""
import array
import os
import socket
import struct

import pytest
from harness import env, wire
from harness.wire import Wire

pytestmark = pytest.mark.ours

COLUMNS = [("fd", 23), ("task", 25), ("user", 25), ("database", 25), ("addr", 25), ("port", 23), ("cancel", 20),
           ("link", 23), ("client_encoding", 25), ("std_strings", 25), ("datestyle", 25), ("timezone", 25),
           ("password", 25), ("scram_client_key", 17), ("scram_server_key", 17)]


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": "transaction", "server_tls_sslmode": "disable", **settings})
    return make


class Receiver(Wire):
    """Keeps the descriptors that come along."""

    fds = ()

    def fill(self):
        room = socket.CMSG_SPACE(16 * array.array("i").itemsize)
        data, ancillary, flags, _ = self.sock.recvmsg(65536, room)
        assert not flags & socket.MSG_CTRUNC
        for level, kind, payload in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            got = array.array("i", payload)
            assert len(got) == 1
            self.fds = [*self.fds, *got]
        if not data:
            raise wire.Closed("connection closed")
        self.buf += data

    def close(self):
        super().close()
        for fd in self.fds:
            os.close(fd)
        self.fds = ()


def operator(p):
    with env.as_server_user():
        w = Receiver(p.dir, p.port)
    return w.login("pgbouncer", "pgbouncer")


def by(rows, **want):
    return [r for r in rows if all(r[k] == v for k, v in want.items())]


def peer_of(fd):
    with socket.socket(fileno=os.dup(fd)) as s:
        return s.getpeername()


def test_columns(pool):
    with pool().console() as admin:
        r = admin.query("SHOW FDS")
        assert [(c.name, c.oid) for c in r.columns] == COLUMNS and r.tags == ["SHOW"]


def test_rows(pool):
    p = pool()
    with p.login(DateStyle="German") as busy, p.login(database="other", host=p.dir) as idle, p.wire() as login, \
            p.console() as admin:
        busy.query("BEGIN")
        idle.value("SELECT 1")
        login.send(b"\0\0")
        env.wait_for(lambda: len(by(admin.query("SHOW FDS").dicts(), task="client")) == 3, lambda: "three clients")
        rows = admin.query("SHOW FDS").dicts()
        assert [r["task"] for r in rows] == ["pooler", "pooler", "client", "client", "server", "client", "server"]
        tcp, unix = rows[:2]
        assert (tcp["addr"], tcp["port"], unix["addr"], unix["port"]) == ("127.0.0.1", str(p.port), "unix", str(p.port))
        assert tcp["user"] is tcp["database"] is None and tcp["link"] == tcp["cancel"] == "0"
        assert rows[2]["user"] is None and rows[2]["port"] == str(login.sock.getsockname()[1])
        client, server = by(rows, database="db")
        assert (client["user"], server["user"]) == ("u_trust", "u_trust")
        assert client["link"] == server["fd"] and server["link"] == client["fd"]
        assert client["datestyle"] == server["datestyle"] == "German, DMY"
        assert (client["client_encoding"], client["std_strings"], client["timezone"]) == (
            busy.params["client_encoding"], "on", busy.params["TimeZone"])
        # The cancel key as one number, high byte first.
        assert int(client["cancel"]) == struct.unpack("!q", busy.key)[0]
        assert int(server["cancel"]) >> 32 == busy.pid()
        client, server = by(rows, database="other")
        assert client["addr"] == "unix" and client["link"] == server["link"] == "0"


@pytest.mark.parametrize("suspended", [False, True])
def test_the_operator_gets_the_descriptors(pool, suspended):
    p = pool()
    with p.login() as c, p.login(database="other") as idle, operator(p) as admin:
        c.query("BEGIN")
        pid = c.pid()
        idle.value("SELECT 1")
        if suspended:
            assert admin.query("SUSPEND").tags == ["SUSPEND"]
        rows = admin.query("SHOW FDS").dicts()
        assert len(admin.fds) == len(rows) == 6
        fds = dict(zip([r["fd"] for r in rows], admin.fds))
        client, server = by(rows, database="db")
        assert peer_of(fds[client["fd"]]) == c.sock.getsockname()
        assert peer_of(fds[server["fd"]])[1] == int(server["port"])
        listener = by(rows, task="pooler", addr="127.0.0.1")[0]
        with socket.socket(fileno=os.dup(fds[listener["fd"]])) as s:
            assert s.getsockname() == ("127.0.0.1", p.port)
        if suspended:
            # What a successor does: it speaks to the server and answers the client.
            c.send(wire.query("SELECT pg_backend_pid()"))
            with socket.socket(fileno=os.dup(fds[client["fd"]])) as ours, \
                    socket.socket(fileno=os.dup(fds[server["fd"]])) as theirs:
                ours.settimeout(env.PATIENCE)
                theirs.settimeout(env.PATIENCE)
                theirs.sendall(ours.recv(1000))
                ours.sendall(theirs.recv(1000))
            assert c.until_ready().value() == str(pid)
            assert admin.query("RESUME").tags == ["RESUME"]
        # Copies: the pooler and its clients go on.
        assert c.query("COMMIT").status == "I"


def test_descriptors_do_not_stay_open(pool):
    p = pool()
    count = lambda: len(os.listdir("/proc/%d/fd" % p.process.pid))
    clients = [p.login() for _ in range(5)]
    with operator(p) as admin:
        admin.query("SHOW VERSION")
        before = count()
        for _ in range(20):
            admin.query("SHOW FDS")
        env.wait_for(lambda: count() <= before, lambda: "copies to be closed")
    for c in clients:
        c.close()


def test_other_admins_get_numbers_only(pool):
    p = pool()
    with p.login() as c, Receiver(p.dir, p.port) as w:
        c.value("SELECT 1")
        w.login("admin", "pgbouncer", "admin_pw")
        assert len(w.query("SHOW FDS").rows) == 4 and w.fds == ()


def test_the_operator_by_the_extended_protocol(pool):
    p = pool()
    with p.login(), operator(p) as admin:
        r = admin.run("SHOW FDS")
        assert r.types == "12T" + "D" * len(admin.fds) + "CZ" and len(admin.fds) == len(r.rows) >= 3


def test_many_rows_to_a_slow_reader(pool):
    """More than the socket holds: the rest is sent as it is read."""
    p = pool(max_client_conn=500)
    clients = [p.login() for _ in range(150)]
    with operator(p) as admin:
        for _ in range(3):
            admin.send(wire.query("SHOW FDS") * 2)
            for _ in range(2):
                assert len(by(admin.until_ready().dicts(), task="client")) == 150
            for fd in admin.fds:
                os.close(fd)
            admin.fds = ()
    for c in clients:
        c.close()


def test_tls_connections_and_their_partners_are_left_out(pool, certs):
    p = pool(client_tls_sslmode="allow", client_tls_key_file=certs.key("server"),
             client_tls_cert_file=certs.crt("server"))
    with p.wire() as c, p.console() as admin:
        c.tls()
        c.login("u_trust", "db")
        c.query("BEGIN")
        assert {r["task"] for r in admin.query("SHOW FDS").dicts()} == {"pooler"}
        # Without a partner the server can go.
        c.query("COMMIT")
        assert {r["task"] for r in admin.query("SHOW FDS").dicts()} == {"pooler", "server"}


def test_row_26_pass_through_keys_for_the_operator_only(pool, pg):
    p = pool(auth_type="scram-sha-256", users={"u_scram": pg.secret("u_scram")})
    with p.login("u_scram", secret="u_scram_pw") as c, operator(p) as mine, p.console("admin") as admin:
        c.value("SELECT 1")
        rows = by(mine.query("SHOW FDS").dicts(), database="db")
        assert len(rows) == 2
        for r in rows:
            assert len(r["scram_client_key"]) == len(r["scram_server_key"]) == 2 + 64
            assert r["scram_client_key"].startswith("\\x") and r["password"] is None
        for r in by(admin.query("SHOW FDS").dicts(), database="db"):
            assert r["scram_client_key"] is r["scram_server_key"] is r["password"] is None


def test_row_25_a_stats_user_does_not_see_them(pool):
    p = pool()
    with p.console("stats") as c:
        assert [e.text for e in c.query("SHOW FDS").errors] == ["admin access needed"]
        c.send(wire.extended("SELECT FDS") + wire.SYNC)
        r = c.until_ready()
        assert [e.text for e in r.errors] == ["admin access needed"] and not r.rows


def test_password_that_no_file_has(pooler, pg):
    """Of a user found by auth_query, and for the operator's own console only: the next process cannot ask the client."""
    pg.sql("ALTER ROLE u_plain PASSWORD 'looked_up_pw'")
    try:
        p = pooler(databases={"db": pg.entry()}, users={"postgres": ""}, auth_type="plain", auth_user="postgres",
                   server_tls_sslmode="disable",
                   auth_query="SELECT 'u_plain'::text, 'looked_up_pw'::text WHERE $1 = 'u_plain'")
        with p.login("u_plain", secret="looked_up_pw") as c, operator(p) as mine, p.console("admin") as admin:
            assert c.value("SELECT 1") == "1"
            rows = mine.query("SHOW FDS").dicts()
            assert [r["password"] for r in rows if r["user"] == "u_plain" and r["task"] == "client"] == ["looked_up_pw"]
            assert all(r["password"] is None for r in rows if r["user"] != "u_plain" or r["task"] != "client")
            assert all(r["password"] is None for r in admin.query("SHOW FDS").dicts())
        assert "looked_up_pw" not in p.log()
    finally:
        pg.sql("ALTER ROLE u_plain PASSWORD 'u_plain_pw'")
