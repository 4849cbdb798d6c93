"""Prometheus exporters read our console as they read PgBouncer's.

Debian's package (1.7) still asks for columns that PgBouncer dropped in 1.8
(total_requests) and renamed since (reserve_pool), so the program as a whole
ends with a KeyError against either. What it reads by itself is compared.

That of the Prometheus community is built from its Go module. It asks by
database/sql and lib/pq, which a small program of ours does as well.
"""
import json
import os
import re
import shutil
import subprocess
import urllib.request

import pytest
from harness import env
from harness.http import get, samples

ours = pytest.mark.ours
# A compiler with nothing cached, beside the other tests.
compiles = pytest.mark.timeout(700 * env.SLOW)

collectors = pytest.importorskip("prometheus_pgbouncer_exporter.collectors",
                                 reason="prometheus-pgbouncer-exporter is not installed")
from prometheus_pgbouncer_exporter.utils import get_connection  # noqa: E402


@pytest.fixture
def connection(pooler, pg, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "stats_pw")
    p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw")}, users={"u_trust": ""})
    with p.login() as client:
        client.query("SELECT 1")
        c = get_connection("stats", p.port, "127.0.0.1")
        yield c
        c.close()


def read(collector):
    return {(family.name, tuple(s.labels.items())): s.value for family in collector.collect() for s in family.samples}


def test_lists(connection):
    got = read(collectors.ListsCollector(connection))
    assert got["pgbouncer_databases", ()] == 2 and got["pgbouncer_pools", ()] == 2
    assert got["pgbouncer_used_clients", ()] == 2 and got["pgbouncer_login_clients", ()] == 0
    assert len(got) == len(collectors.ListsCollector.metrics)


def test_pools(connection):
    got = read(collectors.PoolsCollector(None, connection))
    labels = (("database", "db"), ("user", "svc"))
    assert got["pgbouncer_active_clients", labels] == 1 and got["pgbouncer_waiting_clients", labels] == 0
    assert ("pgbouncer_active_clients", (("database", "pgbouncer"), ("user", "pgbouncer"))) in got


def test_stats(connection, monkeypatch):
    with pytest.raises(KeyError, match="total_requests"):
        read(collectors.StatsCollector(None, connection))
    current = dict(collectors.StatsCollector.metrics)
    current["total_query_count"] = current.pop("total_requests")
    monkeypatch.setattr(collectors.StatsCollector, "metrics", current)
    got = read(collectors.StatsCollector(["db"], connection))
    assert got["pgbouncer_requests_total", (("database", "db"),)] == 1
    assert got["pgbouncer_received_bytes_total", (("database", "db"),)] == 14
    assert len(got) == len(current)


def test_databases(connection, monkeypatch):
    current = dict(collectors.DatabasesCollector.metrics)
    if not os.environ.get("ORACLE"):
        with pytest.raises(KeyError, match="reserve_pool"):
            read(collectors.DatabasesCollector(None, connection))
        current["reserve_pool_size"] = current.pop("reserve_pool")
    monkeypatch.setattr(collectors.DatabasesCollector, "metrics", current)
    got = read(collectors.DatabasesCollector(None, connection))
    assert got["pgbouncer_pool_size", (("database", "db"),)] == 20


# --- in Go --------------------------------------------------------------------

COMMUNITY = "github.com/prometheus-community/pgbouncer_exporter@v0.10.2"
GO_SOURCE = os.path.join(env.TOP, "test", "clients", "go")
OUT_OF_REACH = ("dial tcp", "no such host", "connection refused", "i/o timeout", "403 Forbidden", "404 Not Found",
                "410 Gone", "503 Service Unavailable", "TLS handshake timeout", "server misbehaving")


def go(where, *args):
    """Run the go command there; skips where modules cannot be had."""
    if not shutil.which("go"):
        pytest.skip("go is not installed")
    flags = (os.environ.get("GOFLAGS", "") + " -mod=mod").strip()
    try:
        done = subprocess.run(["go", *args], cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=600, env={**os.environ, "GOFLAGS": flags, "GOBIN": str(where), "GOTOOLCHAIN": "local"})
    except subprocess.TimeoutExpired:
        pytest.skip("the module could not be had and built in time")
    if done.returncode and any(text in done.stdout for text in OUT_OF_REACH):
        pytest.skip("the Go module cannot be had here: " + done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def asker(tmp_path_factory):
    where = tmp_path_factory.mktemp("go")
    for name in os.listdir(GO_SOURCE):
        shutil.copy(os.path.join(GO_SOURCE, name), where)
    go(where, "build", "-o", "asker", ".")
    return os.path.join(where, "asker")


@pytest.fixture(scope="module")
def community(tmp_path_factory):
    where = tmp_path_factory.mktemp("exporter")
    go(where, "install", COMMUNITY)
    return os.path.join(where, "pgbouncer_exporter")


@pytest.fixture
def watched(pooler, pg):
    """lib/pq begins with extra_float_digits."""
    port = env.free_port()
    p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw", pool_mode="transaction"), "other": pg.entry()},
               users={"u_trust": ""}, ignore_startup_parameters="extra_float_digits", auth_type="md5", max_client_conn=77,
               http_listen="127.0.0.1:%d" % port)
    p.http = port
    p.url = "postgres://stats:stats_pw@%s:%d/pgbouncer?sslmode=disable" % (p.host, p.port)
    return p


def differences(theirs, ours):
    """What their exposition has and ours lacks, by name and labels; and values of the database db, which nobody uses now."""
    said = {k: v for k, v in samples(theirs).items() if k[0].startswith("pgbouncer_") and not k[0].startswith("pgbouncer_exporter_")}
    have = samples(ours)
    assert len(said) > 50
    missing = {k for k in said if k not in have and k[0] != "pgbouncer_version_info"}
    other = {k: (v, have[k]) for k, v in said.items() if k in have and v != have[k] and dict(k[1]).get("database", dict(k[1]).get("name")) == "db"}
    return missing, other


@ours
def test_the_comparison_would_notice(watched):
    text = get(watched.http, "/metrics").text
    assert differences(text, text) == (set(), {})
    line, = re.findall(r'^pgbouncer_databases_pool_size\{name="db".* 20$', text, re.M)
    missing, other = differences(text, text.replace(line, line[:-2] + "21").replace("pgbouncer_used_clients ", "pgbouncer_clients "))
    assert missing == {("pgbouncer_used_clients", ())} and list(other.values()) == [(20, 21)]


def ask(program, url, *commands):
    done = subprocess.run([program, url, *commands], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=env.PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@ours
@compiles
def test_database_sql_of_go(watched, asker):
    """The columns that the community's exporter turns into metrics, as numbers; with a semicolon, as it asks."""
    got = ask(asker, watched.url, "SHOW STATS", "SHOW LISTS;", "SHOW CONFIG;", "SHOW DATABASES;", "SHOW STATS_TOTALS;",
              "SHOW POOLS;", "SHOW VERSION;", "SHOW USERS;", "SHOW CLIENTS;")

    def columns(command, names, kind):
        a = got[command]
        for name in names.split():
            i = a["Columns"].index(name)
            assert a["Kinds"][i] == kind, (command, name)
            for row, types in zip(a["Rows"], a["Types"]):
                assert types[i] == ("int64" if kind in ("INT4", "INT8") else "[]uint8")
                float(row[i])
    columns("SHOW LISTS;", "items", "INT4")
    columns("SHOW DATABASES;", "port pool_size reserve_pool_size max_connections current_connections paused disabled", "INT4")
    columns("SHOW POOLS;", "cl_active cl_active_cancel_req cl_waiting cl_waiting_cancel_req sv_active sv_active_cancel "
            "sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait", "INT4")
    columns("SHOW STATS_TOTALS;", "query_count query_time bytes_received bytes_sent wait_time xact_count xact_time "
            "client_parse_count server_parse_count bind_count", "NUMERIC")
    assert len(got["SHOW LISTS;"]["Columns"]) == 2 and len(got["SHOW CONFIG;"]["Columns"]) == 4
    assert ["max_client_conn", "77", "100", "yes"] in got["SHOW CONFIG;"]["Rows"]
    assert re.match(r"PgBouncer \d+\.\d+\.\d+", got["SHOW VERSION;"]["Rows"][0][0])
    # NULL, not an empty text.
    row = dict(zip(got["SHOW DATABASES;"]["Columns"], got["SHOW DATABASES;"]["Types"][1]))
    assert row["force_user"] == "<nil>" and row["host"] == "string"


@ours
@compiles
def test_database_sql_without_the_ignored_parameter(watched, asker):
    watched.admin("SET ignore_startup_parameters = ''")
    done = subprocess.run([asker, watched.url, "SHOW STATS"], stderr=subprocess.PIPE, text=True, timeout=env.PATIENCE)
    assert done.returncode == 1 and "unsupported startup parameter: extra_float_digits" in done.stderr


@ours
@compiles
def test_community_exporter(watched, community):
    """Every collector answers, twice, and none complains."""
    port = env.free_port()
    with open(os.path.join(watched.dir, "exporter.log"), "w+") as log:
        child = subprocess.Popen([community, "--pgBouncer.connectionString=" + watched.url,
                                  "--web.listen-address=127.0.0.1:%d" % port], stdout=log, stderr=log)
        try:
            def scrape():
                try:
                    with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=env.PATIENCE) as r:
                        return r.read().decode()
                except OSError:
                    assert child.poll() is None
                    return None
            env.wait_for(scrape, lambda: "the exporter")
            text = scrape()
        finally:
            child.kill()
            child.wait()
        log.seek(0)
        said = log.read()
    assert "\npgbouncer_up 1\n" in text, text
    # Beside ours: the same names, labels and numbers.
    assert differences(text, get(watched.http, "/metrics").text) == (set(), {})
    for line in ("pgbouncer_version_info", "pgbouncer_databases 3", "pgbouncer_config_max_client_connections 77",
                 'pgbouncer_databases_pool_size{database="db"', 'pgbouncer_pools_client_active_connections{database="pgbouncer"',
                 'pgbouncer_stats_totals_queries_pooled_total{database="pgbouncer"}', "pgbouncer_used_clients"):
        assert line in text, (line, text)
    assert not re.search(r"level=(error|warn)|error", said, re.I), said
