"""Debian's prometheus-pgbouncer-exporter reads our console as it reads PgBouncer's.

The package (1.7) still asks for columns that PgBouncer dropped in 1.8
(total_requests) and renamed since (reserve_pool), so the program as a whole
ends with a KeyError against either. What it reads by itself is compared.
"""
import os

import pytest

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
