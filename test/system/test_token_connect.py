"""pg-ecdsa-token --connect: programs that know nothing of wallets log in through it."""
import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import psycopg
import pytest
from harness import env, wire
from harness.fakeserver import auth, ready
from harness.wallet import ALICE
from harness.wire import Closed, PgError, Wire
from test_token import KEY, TOKEN, USER

pytestmark = pytest.mark.ours

BOUND = ["--format", "bound", "--server", "pooler"]


class Connector:
    def __init__(self, tmp_path, *args, key=True):
        self.dir = str(tmp_path)
        key_file = tmp_path / "wallet.key"
        key_file.write_text(KEY)
        key_file.chmod(0o600)
        self.log = open(os.path.join(self.dir, "connector.log"), "wb")
        args = [str(a) for a in args]
        if "--listen" not in args:
            args += ["--listen", self.dir]
        self.process = subprocess.Popen([TOKEN, *(["--key", str(key_file)] if key else []), "--connect", *args],
                                        stdout=subprocess.PIPE, stderr=self.log, cwd=self.dir)
        self.where = self.process.stdout.readline().decode().strip().removeprefix("listening on ")

    def said(self):
        with open(self.log.name) as f:
            return f.read()

    def wire(self):
        return Wire(self.dir, 5432)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.process.stdout.close()
        self.log.close()
        return code


@pytest.fixture
def connector(tmp_path):
    made = []

    def make(*args, **how):
        made.append(Connector(tmp_path, *args, **how))
        return made[-1]
    yield make
    for c in made:
        code = c.close()
        text = c.said()
        assert code == 0 and "Sanitizer" not in text and "runtime error" not in text, text


@pytest.fixture
def door(pooler, pg, certs):
    def make(**settings):
        base = dict(databases={"db": pg.entry(user="svc", password="svc_pw"), "db2": pg.entry("db2", user="svc",
                    password="svc_pw")}, auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address,
                    ecdsa_formats="timestamp, bound, siwe, typed", ecdsa_server_names="pooler",
                    ecdsa_siwe_domains="app.example.org", ecdsa_limit_burst=0, ecdsa_require_tls="always",
                    client_tls_sslmode="require", client_tls_key_file=certs.key("server"),
                    client_tls_cert_file=certs.crt("server"), server_tls_sslmode="disable", max_client_conn=300)
        return pooler(**{**base, **settings})
    return make


def to(p, certs, *more):
    return ["--host", "localhost", "--port", p.port, "--sslrootcert", certs.crt("ca"), *more]


def tool(*args, **environment):
    base = {k: os.environ[k] for k in ("PATH", "HOME", "LANG") if k in os.environ}
    return subprocess.run([str(a) for a in args], env={**base, **environment}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=120 * env.SLOW)


# --- tools, unchanged ---------------------------------------------------------------

def test_psql_and_pgbench(door, certs, connector):
    p = door()
    c = connector(*BOUND, *to(p, certs))
    assert c.where == c.dir + "/.s.PGSQL.5432" and stat.S_IMODE(os.stat(c.where).st_mode) == 0o600
    out = tool("psql", "-X", "-At", "-h", c.dir, "db", "-c", "SELECT current_user, current_setting('application_name')")
    assert (out.returncode, out.stdout.strip()) == (0, "svc|ecdsa-proxy:" + USER)
    out = tool("psql", "-X", "-At", "-h", c.dir, "db2", "-c", "SELECT current_database()")
    assert out.stdout.strip() == "db2"
    script = os.path.join(c.dir, "script.sql")
    with open(script, "w") as f:
        f.write("SELECT 1;\n")
    out = tool("pgbench", "-h", c.dir, "-n", "-c", "8", "-j", "2", "-t", "50", "-C", "-f", script, "db")
    assert out.returncode == 0 and "number of transactions actually processed: 400/400" in out.stdout, out.stdout
    line = p.wait_log("login: method=ecdsa .*format=bound .*tls=TLSv1.3")[0]
    assert "db=db " in line


def test_psycopg_with_much_to_say(door, certs, connector):
    p = door(pool_mode="session")
    c = connector(*BOUND, *to(p, certs))
    with psycopg.connect(host=c.dir, dbname="db", user="whoever") as conn:
        big = "x" * 3000000
        assert conn.execute("SELECT length(%s::text)", [big]).fetchone() == (3000000,)
        assert len(conn.execute("SELECT repeat('y', 5000000)").fetchone()[0]) == 5000000
        conn.execute("CREATE TEMP TABLE t (a text)")
        with conn.cursor().copy("COPY t FROM STDIN") as copy:
            for i in range(20000):
                copy.write_row(["row %d" % i])
        with conn.cursor().copy("COPY t TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 20000


def test_jdbc_by_a_loopback_port(door, certs, connector, tmp_path):
    p = door(ignore_startup_parameters="extra_float_digits")
    secret = tmp_path / "local-password"
    secret.write_text("let me in\n")
    port = env.free_port()
    connector(*BOUND, *to(p, certs), "--listen", "127.0.0.1:%d" % port, "--listen-password-file", secret)
    source = os.path.join(env.TOP, "test", "clients", "java", "Plain.java")
    out = tool("java", "-cp", "/usr/share/java/*", source,
               "jdbc:postgresql://127.0.0.1:%d/db" % port, "whoever", "let me in")
    assert out.returncode == 0, out.stdout
    assert out.stdout.split() == ["svc"] * 3
    assert len(p.logged("login: method=ecdsa result=ok wallet=%s " % USER)) == 3
    out = tool("java", "-cp", "/usr/share/java/*", source, "jdbc:postgresql://127.0.0.1:%d/db" % port, "whoever", "wrong")
    assert out.returncode != 0 and "the password for the connector is wrong" in out.stdout


# --- logging in ------------------------------------------------------------------------

def test_it_signs_for_every_connection(door, certs, connector):
    p = door(ecdsa_replay="once", ecdsa_formats="bound")
    then = time.time()
    env.wait_for(lambda: time.time() > then + 1.1, "what is signed to be younger than the pooler")
    c = connector(*BOUND, *to(p, certs))
    for _ in range(5):
        with c.wire() as w:
            assert w.login("me", "db", None).value("SELECT current_user") == "svc"
    assert len(set(p.logged("proof=([0-9a-f]{16})"))) == 5


def test_a_password_is_used_again_if_asked_for(door, certs, connector, tmp_path):
    """One prompt for many connections, and another for another database."""
    p = door(ecdsa_formats="bound")
    count = tmp_path / "count"
    signer = tmp_path / "signer.py"
    signer.write_text("import sys\nsys.path.insert(0, %r)\nfrom harness.wallet import *\nopen(%r, 'a').write('x')\n"
                      "print(Wallet(%r).sign(sys.stdin.read()))\n" % (os.path.dirname(__file__), str(count), KEY))
    c = connector(*BOUND, *to(p, certs), "--reuse", "--signer", "/usr/bin/python3 %s" % signer, "--wallet", USER, key=False)
    faults = []

    def work():
        try:
            with c.wire() as w:
                assert w.login("me", "db", None).value("SELECT 1") == "1"
        except BaseException as e:
            faults.append(e)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults and count.read_text() == "x"
    with c.wire() as w:
        w.login("me", "db2", None)
    assert count.read_text() == "xx"


def test_a_role_instead_of_the_wallet(door, certs, connector, pg):
    p = door(start=False, auth_type="hba", databases={"db": pg.entry()}, users={"svc2": "svc2_pw"})
    p.settings["auth_hba_file"], p.settings["auth_ident_file"] = os.path.join(p.dir, "hba"), os.path.join(p.dir, "ident")
    env.write(p.settings["auth_hba_file"], "hostssl all all all ecdsa map=m\n")
    env.write(p.settings["auth_ident_file"], "m %s svc2\n" % USER)
    p.write()
    p.start()
    c = connector(*BOUND, *to(p, certs), "--user", "svc2", "--role", "svc2")
    with c.wire() as w:
        assert w.login("me", "db", None).value("SELECT current_user") == "svc2"


def test_the_database_is_the_users_name_if_none_is_named(door, certs, connector):
    p = door()
    c = connector(*BOUND, *to(p, certs))
    with c.wire() as w:
        w.send(wire.startup_packet(196608, wire.cstr("user") + wire.cstr("db") + b"\0"))
        w.authenticate("db", None)
        w.welcome()
        assert w.value("SELECT current_database()") == "db"


def test_refusals_are_passed_on(door, certs, connector):
    p = door(ecdsa_allowed_addresses="0x" + "1" * 40)
    c = connector(*BOUND, *to(p, certs))
    with c.wire() as w, pytest.raises(PgError) as e:
        w.login("me", "db", None)
    assert (e.value.code, e.value.text) == ("28P01", 'password authentication failed for user "%s"' % USER)


def test_cancel_requests_are_passed_on(door, certs, connector):
    p = door()
    c = connector(*BOUND, *to(p, certs))
    with psycopg.connect(host=c.dir, dbname="db", user="me") as conn:
        threading.Timer(0.5, conn.cancel).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("SELECT pg_sleep(60)")


# --- what must not happen ----------------------------------------------------------------

@pytest.mark.parametrize("cert, mode, text", [
    ("impostor", "verify-full", "cannot connect securely"), ("elsewhere", "verify-full", "cannot connect securely"),
    ("impostor", "verify-ca", "cannot connect securely"), ("elsewhere", "verify-ca", None), ("impostor", "require", None),
])
def test_no_proof_is_given_to_an_impostor(door, certs, connector, cert, mode, text):
    p = door(client_tls_key_file=certs.key(cert), client_tls_cert_file=certs.crt(cert))
    c = connector(*BOUND, *to(p, certs), "--sslmode", mode)
    with c.wire() as w:
        if text is None:
            assert w.login("me", "db", None).value("SELECT 1") == "1"
            return
        with pytest.raises(PgError) as e:
            w.login("me", "db", None)
    assert e.value.code == "08001" and text in e.value.text
    assert not p.logged("login attempt")


def test_no_proof_goes_in_the_clear_unless_told(door, certs, connector):
    p = door(client_tls_sslmode="disable", ecdsa_require_tls="never")
    c = connector(*BOUND, *to(p, certs))
    with c.wire() as w, pytest.raises(PgError) as e:
        w.login("me", "db", None)
    assert "does not offer TLS" in e.value.text
    c.close()
    c = connector(*BOUND, "--host", "127.0.0.1", "--port", p.port, "--sslmode", "disable")
    with c.wire() as w:
        assert w.login("me", "db", None).value("SELECT 1") == "1"


def test_bytes_behind_the_answer_to_the_tls_question_are_refused(connector, fake, certs):
    def script(peer):
        assert peer.take(8)
        peer.send(b"S" + auth(3))
        peer.wait_gone()
    c = connector(*BOUND, "--host", "127.0.0.1", "--port", fake(script).port, "--sslrootcert", certs.crt("ca"))
    with c.wire() as w, pytest.raises(PgError) as e:
        w.login("me", "db", None)
    assert "nonsense" in e.value.text


@pytest.mark.parametrize("code, more", [(5, b"salt"), (10, b"SCRAM-SHA-256\0\0"), (7, b"")])
def test_a_pooler_that_asks_for_something_else_gets_nothing(connector, fake, code, more):
    seen = []

    def script(peer):
        peer.read_startup()
        peer.send(auth(code, more))
        seen.append(peer.sock.recv(100))
    c = connector(*BOUND, "--host", "127.0.0.1", "--port", fake(script).port, "--sslmode", "disable")
    with c.wire() as w, pytest.raises(PgError) as e:
        w.login("me", "db", None)
    assert "asks for something else" in e.value.text
    env.wait_for(lambda: seen, "the end of the connection")
    assert seen == [b""]


def test_it_signs_once_for_a_connection(connector, fake):
    def script(peer):
        peer.read_startup()
        peer.send(auth(3))
        assert peer.recv().type == b"p"
        peer.send(auth(3))
        assert peer.sock.recv(100) == b""
    c = connector(*BOUND, "--host", "127.0.0.1", "--port", fake(script).port, "--sslmode", "disable")
    with c.wire() as w, pytest.raises(PgError):
        w.login("me", "db", None)


@pytest.mark.parametrize("data", [b"\0\0\0\5\0", b"\0\0\0\x10\0\3\0\0xxxxxxxx", b"Q\0\0\0\5\0", b"\xff" * 40,
                                  wire.startup_packet(131072, b"x\0"), b"GET / HTTP/1.0\r\n\r\n"])
def test_nonsense_is_answered_and_harms_nobody(door, certs, connector, data):
    p = door()
    c = connector(*BOUND, *to(p, certs))
    with c.wire() as other:
        other.login("me", "db", None)
        with c.wire() as w:
            w.send(data)
            w.sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(Closed):
                assert w.recv().type == b"E"
        assert other.value("SELECT 'still here'") == "still here"


def test_start_ups_in_pieces_and_encryption_requests(door, certs, connector):
    p = door()
    c = connector(*BOUND, *to(p, certs))
    with c.wire() as w:
        w.send(wire.startup_packet(80877104))
        assert w.sock.recv(1) == b"N"
        assert w.ssl_request() == b"N"
        w.send_pieces(wire.startup("me", "db"))
        w.authenticate("me", None)
        w.welcome()
        assert w.value("SELECT 1") == "1"


def test_a_wrong_local_password(door, certs, connector, tmp_path):
    p = door()
    secret = tmp_path / "local-password"
    secret.write_text("let me in\n")
    port = env.free_port()
    connector(*BOUND, *to(p, certs), "--listen", "127.0.0.1:%d" % port, "--listen-password-file", secret)
    for given in ("", "let me i", "let me inn", "LET ME IN"):
        with Wire("127.0.0.1", port) as w, pytest.raises(PgError) as e:
            w.login("me", "db", given)
        assert e.value.code == "28P01"
    assert not p.logged("login attempt")
    with Wire("127.0.0.1", port) as w:
        assert w.login("me", "db", "let me in").value("SELECT 1") == "1"


# --- the socket ----------------------------------------------------------------------------

def test_a_stale_socket_is_replaced_and_one_in_use_is_not(door, certs, connector, tmp_path):
    p = door()
    path = str(tmp_path / ".s.PGSQL.5432")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
    c = connector(*BOUND, *to(p, certs))
    second = tool(TOKEN, "--key", tmp_path / "wallet.key", "--connect", *BOUND, *to(p, certs), "--listen", tmp_path)
    assert second.returncode == 1 and "is in use" in second.stdout
    with c.wire() as w:
        w.login("me", "db", None)
    assert c.close() == 0
    assert not os.path.exists(path)
    (tmp_path / "file").write_text("x")
    third = tool(TOKEN, "--key", tmp_path / "wallet.key", "--connect", *BOUND, *to(p, certs), "--listen", tmp_path / "file")
    assert third.returncode == 1 and "is no socket" in third.stdout and (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("where, word", [("0.0.0.0:5432", "only loopback"), ("192.0.2.1:1", "only loopback"),
                                         ("localhost:1", "an address and a port"), ("/no/such/place/x", "cannot listen")])
def test_places_that_are_not_listened_on(tmp_path, where, word):
    (tmp_path / "k").write_text(KEY)
    (tmp_path / "pw").write_text("x\n")
    args = ["--listen-password-file", tmp_path / "pw"] if ":" in where else []
    out = tool(TOKEN, "--key", tmp_path / "k", "--connect", "--host", "h", "--listen", where, *args)
    assert out.returncode == 1 and word in out.stdout, out.stdout


def test_a_pooler_that_is_not_there(connector, certs):
    c = connector(*BOUND, "--host", "127.0.0.1", "--port", env.free_port(), "--sslrootcert", certs.crt("ca"))
    with c.wire() as w, pytest.raises(PgError) as e:
        w.login("me", "db", None)
    assert e.value.code == "08001" and "Connection refused" in e.value.text


def test_many_connections_come_and_go(door, certs, connector):
    p = door()
    c = connector(*BOUND, *to(p, certs))
    before = None
    with open("/proc/%d/maps" % c.process.pid) as f:
        # With the first thread the thread sanitizer starts one of its own, which stays.
        resting = 2 if "libtsan" in f.read() else 1
    for number in range(6):
        wires = [c.wire() for _ in range(20)]
        for w in wires:
            w.login("me", "db", None)
        for w in wires:
            assert w.value("SELECT 1") == "1"
        for w in wires[::2]:
            w.send(wire.TERMINATE)
        for w in wires:
            w.close()
        env.wait_for(lambda: len(os.listdir("/proc/%d/task" % c.process.pid)) == resting, "the threads to end")
        if number == 1:
            before = env.rss_kb(c.process.pid), len(os.listdir("/proc/%d/fd" % c.process.pid))
    if env.SLOW == 1:
        assert env.rss_kb(c.process.pid) < before[0] + 4096
    assert len(os.listdir("/proc/%d/fd" % c.process.pid)) == before[1]
