"""Health, metrics and access by HTTP."""
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from harness import env
from harness.http import get, samples
from harness.wallet import ALICE
from harness.wire import PgError, query

pytestmark = pytest.mark.ours

PAGES = ["/livez", "/readyz", "/health", "/", "/status.json", "/metrics", "/connect", "/connect.json"]


@pytest.fixture
def served(pooler, pg):
    def make(**settings):
        port = env.free_port()
        p = pooler(**{**dict(databases={"db": pg.entry(pool_mode="transaction")}, users={"u_trust": ""},
                             http_listen="127.0.0.1:%d" % port), **settings})
        p.http = port
        return p
    return make


def test_every_page_answers(served):
    p = served()
    for path in PAGES:
        a = get(p.http, path)
        assert a.code == 200 and a.body, path
        assert a.headers["Cache-Control"] == "no-store" and a.headers["X-Content-Type-Options"] == "nosniff"
    assert get(p.http, "/health").json == {"status": "ok"}
    assert get(p.http, "/nothing").code == 404
    assert get(p.http, "/metrics/").code == 404
    head = get(p.http, "/metrics", method="HEAD")
    assert head.code == 200 and head.body == b""
    for page in ("/", "/connect"):
        policy = get(p.http, page).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "connect-src 'self'" in policy
        assert "http://" not in get(p.http, page).text.replace("http://www.w3.org/2000/svg", "")


def test_off_by_default(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""})
    assert "http" not in p.log()


def test_numbers_are_for_this_machine_and_http_allow(served):
    """A reverse proxy on this machine does not make a stranger one of us."""
    p = served()
    stranger = {"X-Forwarded-For": "192.0.2.7"}
    for path in ("/", "/metrics", "/status.json", "/backup.json"):
        assert get(p.http, path, headers=stranger).code == 403, path
    for path in ("/livez", "/readyz", "/health", "/connect", "/connect.json"):
        assert get(p.http, path, headers=stranger).code == 200, path
    assert get(p.http, "/metrics", headers={"X-Forwarded-For": "127.0.0.1, 192.0.2.7"}).code == 403
    assert get(p.http, "/metrics", headers={"X-Forwarded-For": "garbage"}).code == 403
    p.reload(http_allow="198.51.100.0/24, 192.0.2.7")
    assert get(p.http, "/metrics", headers=stranger).code == 200
    assert get(p.http, "/metrics", headers={"X-Forwarded-For": "192.0.2.8"}).code == 403


def work(p, times=5):
    with p.login("u_trust") as c:
        for _ in range(times):
            c.query("BEGIN")
            c.query("SELECT 1")
            c.query("COMMIT")


def test_metrics_are_what_the_console_shows(served):
    p = served()
    work(p)
    with p.login("u_trust") as c:
        c.query("SELECT 1")
        p.wait_pool(cl_active=1, sv_active=0)
        got = samples(get(p.http, "/metrics").text)
        pool = {r["database"]: r for r in p.show("POOLS")}["db"]
    db = (("database", "db"),)
    ours = (("database", "db"), ("user", "u_trust"))
    assert got["pgbouncer_up", ()] == 1
    assert got["pgbouncer_pools_client_active_connections", ours] == int(pool["cl_active"]) == 1
    assert got["pgbouncer_pools_server_idle_connections", ours] == int(pool["sv_idle"]) == 1
    assert got["pgbouncer_stats_totals_queries_pooled_total", db] == 16
    assert got["pgbouncer_stats_totals_sql_transactions_pooled_total", db] == 6
    assert got["pgbouncer_stats_totals_client_logins_total", db] == 2
    assert got["pgbouncer_config_max_client_connections", ()] == 100
    assert got["pgbouncer_used_clients", ()] >= 1
    assert got["pgecdsa_query_seconds_count", db] == 16
    assert got["pgecdsa_transaction_seconds_count", db] == 6
    assert got["pgecdsa_query_seconds_bucket", (("database", "db"), ("le", "+Inf"))] == 16
    assert 0 < got["pgecdsa_query_seconds_sum", db] < 60
    assert got["pgecdsa_login_seconds_count", (("method", "trust"), ("result", "accepted"))] >= 2
    assert got["process_resident_memory_bytes", ()] == pytest.approx(env.rss_kb(p.process.pid) * 1024, rel=0.3)
    assert abs(got["process_start_time_seconds", ()] - time.time()) < 3600
    assert got["process_open_fds", ()] == pytest.approx(len(os.listdir("/proc/%d/fd" % p.process.pid)), abs=5)


def test_waits_are_in_the_histogram(served, pg):
    p = served(databases={"db": pg.entry(pool_size=1)}, pool_mode="transaction")
    with p.login("u_trust") as holder, p.login("u_trust") as waiter:
        holder.query("BEGIN")
        waiter.send(query("SELECT 1"))
        p.wait_pool(cl_waiting=1)
        held = time.monotonic()
        env.wait_for(lambda: time.monotonic() - held > 0.3, "a wait worth a bucket")
        holder.query("COMMIT")
        waiter.until_ready()
    got = samples(get(p.http, "/metrics").text)
    db = (("database", "db"),)
    assert got["pgecdsa_client_wait_seconds_count", db] >= 1
    assert got["pgecdsa_client_wait_seconds_bucket", (("database", "db"), ("le", "0.25"))] \
        == got["pgecdsa_client_wait_seconds_count", db] - 1
    assert got["pgecdsa_client_wait_seconds_sum", db] > 0.3


def test_refusals_by_method_and_reason(served, pg):
    p = served(auth_type="hba", users={"u_md5": "right"}, ecdsa_allowed_addresses=ALICE.address, ecdsa_require_tls="never",
               auth_hba_file=env.write(os.path.join(env.make_dir(), "hba"), "host all /x all trust\nhost all %s all ecdsa\n"
                                       "host all u_md5 all md5\n" % ALICE.address.lower()))
    for user, database, secret, times in (("u_md5", "db", "wrong", 3), ("u_md5", "nowhere%d", "right", 2),
                                          (ALICE.address, "db", "1:0x00", 1), ("nobody", "db", "", 1)):
        for n in range(times):
            with pytest.raises(PgError):
                p.login(user, database % n if "%" in database else database, secret=secret)
    got = samples(get(p.http, "/metrics").text)
    refused = {labels: n for (name, labels), n in got.items() if name == "pgecdsa_logins_refused_total"}

    def count(method, reason):
        return refused.get((("method", method), ("reason", reason)), 0)
    assert count("md5", "password authentication failed") == 3
    assert count("md5", "no such database") == 2
    assert count("ecdsa", "signature_length") == 1
    assert count("none", "no authentication method is found") == 1
    assert sum(refused.values()) == 7
    assert got["pgecdsa_login_seconds_count", (("method", "md5"), ("result", "refused"))] == 5
    assert "nowhere" not in get(p.http, "/metrics").text


def test_promtool_finds_nothing(served):
    p = served()
    work(p)
    text = get(p.http, "/metrics").body
    done = subprocess.run(["promtool", "check", "metrics"], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    # What it says of names concerns those that pgbouncer_exporter has given them.
    said = [line for line in done.stdout.decode().splitlines() if not line.startswith("pgbouncer_")]
    assert not said, said


def test_names_that_need_escapes(served, pg):
    odd = 'a"b\\c'
    p = served(databases={"db": pg.entry(), "'%s'" % odd: pg.entry()}, users={"u_trust": ""})
    with p.login("u_trust", odd) as c:
        c.query("SELECT 1")
        got = samples(get(p.http, "/metrics").text)
        assert got["pgbouncer_pools_client_active_connections", (("database", odd), ("user", "u_trust"))] == 1
        assert odd in [r["database"] for r in get(p.http, "/status.json").json["pools"]]


def test_status_json(served):
    p = served()
    work(p)
    s = get(p.http, "/status.json").json
    assert s["state"] == "active" and s["draining"] is False and s["version"].startswith("PgBouncer ")
    assert len(s["query"]["count"]) == len(s["bounds"]) + 1 == len(s["wait"]["count"])
    assert sum(s["query"]["count"]) == 15
    assert s["logins"]["trust"]["accepted"] >= 1 and s["logins"]["trust"]["refused"] == 0
    pool = {r["database"]: r for r in s["pools"]}["db"]
    assert pool["user"] == "u_trust" and pool["sv_idle"] == 1 and pool["load_balance_hosts"] is None
    p.admin("PAUSE")
    assert get(p.http, "/status.json").json["state"] == "paused"
    p.admin("RESUME")


def test_numbers_do_not_wait_for_a_console_command_that_waits(served):
    p = served()
    with p.login("u_trust") as c:
        c.query("BEGIN")
        with p.console() as console:
            console.send(query("PAUSE"))
            env.wait_for(lambda: get(p.http, "/status.json").json["state"] == "paused", "the pause")
            assert get(p.http, "/metrics").code == 200
            c.query("COMMIT")
            console.until_ready()
    p.admin("RESUME")


def test_readiness_ends_when_draining_begins(served):
    p = served()
    c = p.login("u_trust")
    c.query("SELECT 1")
    p.expected_exit = 0
    p.signal(signal.SIGTERM)
    env.wait_for(lambda: get(p.http, "/readyz").code == 503, "readiness to end")
    assert get(p.http, "/readyz").text == "draining\n"
    assert get(p.http, "/livez").code == 200
    assert get(p.http, "/health").json == {"status": "draining"}
    c.query("SELECT 1")
    c.close()
    p.wait_exit()


def test_backup_status(served, tmp_path):
    path = os.path.join(env.make_dir(), "status.json")
    p = served(http_backup_status=path)
    assert get(p.http, "/backup.json").code == 404
    env.write(path, json.dumps({"last_success": 1}))
    a = get(p.http, "/backup.json")
    assert a.json == {"last_success": 1} and a.headers["Last-Modified"].endswith("GMT")
    env.write(path, "x" * 70000)
    assert get(p.http, "/backup.json").code == 404


@pytest.mark.parametrize("bytes_sent", [b"\0" * 100, b"GET\r\n\r\n", b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
                                        b"GET / HTTP/1.1\r\nX: " + b"x" * 100000 + b"\r\n\r\n",
                                        b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET /%00%zz?nonce=%00 HTTP/1.1\r\nHost: x\r\n\r\n",
                                        b"OPTIONS * HTTP/1.1\r\n\r\n", b"GET http://[ HTTP/1.1\r\n\r\n"],
                         ids=["zeros", "no-version", "post", "long-header", "long-path", "odd-escapes", "options", "bad-uri"])
def test_bad_requests_cost_their_sender_only(served, bytes_sent):
    p = served()
    with socket.create_connection(("127.0.0.1", p.http), timeout=env.PATIENCE) as s:
        s.sendall(bytes_sent)
        s.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while True:
                piece = s.recv(65536)
                if not piece:
                    break
                answer += piece
        except ConnectionResetError:
            pass
        assert not answer.startswith(b"HTTP/1.1 200")
    assert get(p.http, "/livez").code == 200
    assert p.login("u_trust").close() is None


def test_idle_connections_do_not_take_the_descriptors(served):
    """More than the server takes at once: the others wait in the kernel, and get their turn."""
    p = served()
    before = len(os.listdir("/proc/%d/fd" % p.process.pid))
    idle = [socket.create_connection(("127.0.0.1", p.http)) for _ in range(300)]
    try:
        env.wait_for(lambda: len(os.listdir("/proc/%d/fd" % p.process.pid)) >= before + 256, "the places to fill")
        assert len(os.listdir("/proc/%d/fd" % p.process.pid)) <= before + 256 + 5
        work(p, 1)
    finally:
        for s in idle:
            s.close()
    assert get(p.http, "/livez").code == 200
    env.wait_for(lambda: len(os.listdir("/proc/%d/fd" % p.process.pid)) <= before + 5, "the places to be free")


def test_a_byte_now_and_then_does_not_keep_a_place(served, monkeypatch):
    monkeypatch.setenv("PGECDSA_FAULTS", "shortstay")
    p = served()
    with socket.create_connection(("127.0.0.1", p.http), timeout=env.PATIENCE) as s:
        begin = time.monotonic()
        s.sendall(b"GET /livez HTTP/1.1\r\nX: ")

        def ended():
            try:
                s.sendall(b"x")
                s.setblocking(False)
                return s.recv(100) is not None
            except BlockingIOError:
                return False
            except OSError:
                return True
            finally:
                s.setblocking(True)
        env.wait_for(ended, "the connection to be ended", pause=0.05)
        assert time.monotonic() - begin > 0.9


def test_many_scrapes_at_once_under_load(served):
    p = served()
    stop, faults = threading.Event(), []

    def load():
        with p.login("u_trust") as c:
            while not stop.is_set():
                c.query("SELECT 1")

    def scrape():
        try:
            for _ in range(10):
                assert get(p.http, "/metrics").code == 200
        except Exception as e:
            faults.append(e)
    threads = [threading.Thread(target=load)] + [threading.Thread(target=scrape) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads[1:]:
        t.join()
    stop.set()
    threads[0].join()
    assert not faults
    for _ in range(5):
        p.reload()


@pytest.mark.parametrize("value", ["nonsense", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:80", "127.0.0.1:80x"])
def test_addresses_that_are_none(pooler, pg, value):
    p = pooler(databases={"db": pg.entry()}, http_listen=value, start=False)
    p.expected_exit = 1
    p.spawn()
    p.wait_exit(1)
    assert "http_listen: %s is no address with a port" % value in p.log()
    assert "%s:" % p.ini in p.log()


def test_an_address_in_use_ends_the_start(pooler, pg):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = "127.0.0.1:%d" % taken.getsockname()[1]
        p = pooler(databases={"db": pg.entry()}, http_listen=where, start=False)
        p.expected_exit = 1
        p.spawn()
        p.wait_exit(1)
        assert "FATAL http_listen: failed to listen on " + where in p.log()


def test_several_addresses_with_and_without_brackets(served):
    one, two = env.free_port(), env.free_port()
    p = served(http_listen="127.0.0.1:%d, [::1]:%d" % (one, two))
    assert get(one, "/livez").code == 200
    assert get(two, "/livez", host="::1").code == 200
    assert get(two, "/metrics", host="::1").code == 200
    assert p.log().count("http: listening on") == 2

