"""What is shipped for Prometheus and Grafana asks for nothing that is not there, and the alerts come when they should."""
import glob
import json
import os
import re
import subprocess
import time

import pytest
import yaml
from harness import env
from harness.http import get, samples
from harness.wallet import ALICE
from harness.wire import PgError, query

pytestmark = pytest.mark.ours

RULES = sorted(glob.glob(os.path.join(env.TOP, "etc", "*.rules.yml")))
DASHBOARDS = sorted(glob.glob(os.path.join(env.TOP, "etc", "grafana", "*.json")))
METRIC = re.compile(r"\b((?:pgbouncer|pgecdsa|process|pg_ecdsa_backup)_\w+)(\{[^}]*\})?")
# What Prometheus adds itself.
ADDED = {"instance", "job"}


def promtool(*args):
    done = subprocess.run(["promtool", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def expressions():
    """(where, PromQL), the variables of Grafana as Prometheus would see them."""
    for path in RULES:
        with open(path) as f:
            for group in yaml.safe_load(f)["groups"]:
                for rule in group["rules"]:
                    yield os.path.basename(path) + " " + rule["alert"], rule["expr"]
    for path in DASHBOARDS:
        with open(path) as f:
            board = json.load(f)
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield "%s %s" % (os.path.basename(path), panel["title"]), target["expr"].replace("$__rate_interval", "5m")
        for variable in board["templating"]["list"]:
            m = re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", ""))
            if m:
                yield "%s $%s" % (os.path.basename(path), variable["name"]), "sum by (%s) (%s)" % (m.group(2), m.group(1))


def check(text, known):
    """Every metric and every label of it that the expression names is among `known`: {metric: its labels}."""
    wrong, seen = [], set()
    for name, selector in METRIC.findall(text):
        if name not in known:
            wrong.append(name)
            continue
        seen |= known[name]
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', selector):
            if label not in known[name] | ADDED:
                wrong.append("%s{%s}" % (name, label))
    for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", text):
        wrong += [label for label in re.split(r"[, ]+", listed) if label not in seen | ADDED]
    return wrong


def ours(exposition):
    known = {}
    for name, labels in samples(exposition):
        known.setdefault(name, set()).update(k for k, _ in labels)
    return known


@pytest.fixture
def busy(pooler, pg):
    """A pooler of which every metric has something to tell."""
    port = env.free_port()
    p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw", pool_mode="transaction", pool_size=1)}, users={"u_trust": ""},
               http_listen="127.0.0.1:%d" % port,
               auth_type="hba", ecdsa_allowed_addresses=ALICE.address, ecdsa_require_tls="never", ecdsa_limit_burst=3,
               auth_hba_file=env.write(os.path.join(env.make_dir(), "hba"), "local all all trust\nhost all u_trust all trust\nhost all all all ecdsa\n"))
    p.http = port
    with p.login("u_trust") as holder, p.login("u_trust") as waiter:
        holder.query("BEGIN")
        waiter.send(query("SELECT 1"))
        p.wait_pool(cl_waiting=1)
        holder.query("COMMIT")
        waiter.until_ready()
    p.login(ALICE.address, secret=ALICE.password()).close()
    for _ in range(5):
        with pytest.raises(PgError):
            p.login(ALICE.address, secret=ALICE.password(at=int(time.time()) - 5000))
    return p


def backup_metrics():
    """Those of the daemon, from its own list; labels are not in it."""
    with open(os.path.join(env.TOP, "include", "backup", "metrics.def")) as f:
        kinds = dict(re.findall(r"^METRIC\((\w+), (\w+)", f.read(), re.M))
    labels = {"result", "phase", "op", "code", "reason", "level", "version"}
    return {"pg_ecdsa_backup_" + name: labels for name in kinds}


def test_every_metric_that_is_asked_for_is_there(busy):
    known = {**ours(get(busy.http, "/metrics").text), **backup_metrics()}
    found = list(expressions())
    assert len(found) > 60
    wrong = {where: check(text, known) for where, text in found}
    assert not {k: v for k, v in wrong.items() if v}
    # The check itself would notice.
    assert check('sum by (nobody) (pgbouncer_nothing{a="b"})', known) == ["pgbouncer_nothing", "nobody"]
    assert check('pgbouncer_up{method="x"}', known) == ["pgbouncer_up{method}"]


def test_the_label_values_that_are_asked_for_exist(busy):
    got = samples(get(busy.http, "/metrics").text)
    values = {(name, item) for name, labels in got for item in labels}
    for want in (("pgecdsa_login_seconds_count", ("result", "accepted")), ("pgecdsa_login_seconds_count", ("result", "refused")),
                 ("pgecdsa_logins_refused_total", ("reason", "expired"))):
        assert want in values, want
    text = " ".join(text for _, text in expressions())
    with open(os.path.join(env.TOP, "include", "wallet", "check.h")) as f:
        reasons = f.read()
    for listed in re.findall(r'reason=~"([^"]+)"', text):
        for reason in listed.split("|"):
            assert '"%s"' % reason in reasons, reason


def test_what_the_daemon_exports_is_in_the_list(backup, databases):
    port = env.free_port()
    d = backup(database=databases.make("CREATE TABLE t AS SELECT 1 AS id"), BACKUP_SCHEDULE_INITIAL_DELAY="0").daemon(
        BACKUP_METRICS_LISTEN="127.0.0.1:%d" % port, BACKUP_VERIFY_AFTER_BACKUP="archive")
    d.wait_event("backup_done")
    got = env.wait_for(lambda: (lambda t: t if "verify_last_result" in t else None)(get(port, "/metrics").text), "the verification", 30 * env.SLOW)
    known = backup_metrics()
    for name, labels in samples(got):
        assert re.sub("_(bucket|sum|count)$", "", name) in known or name in known, name
        assert {k for k, _ in labels} <= known["pg_ecdsa_backup_backups_total"] | {"le"}, (name, labels)
    d.end()


def test_the_status_page_reads_what_the_daemon_writes(pooler, pg, backup, databases):
    path = os.path.join(env.make_dir(), "status.json")
    port = env.free_port()
    p = pooler(databases={"db": pg.entry()}, http_listen="127.0.0.1:%d" % port, http_backup_status=path)
    d = backup(database=databases.make("CREATE TABLE t AS SELECT 1 AS id"), BACKUP_SCHEDULE_INITIAL_DELAY="0").daemon(
        BACKUP_METRICS_STATUS_FILE=path, BACKUP_VERIFY_AFTER_BACKUP="archive")
    told = env.wait_for(lambda: (lambda a: a.json if a.code == 200 and a.json["object"] else None)(get(port, "/backup.json")), "the backup", 30 * env.SLOW)
    with open(os.path.join(env.TOP, "src", "http", "pages", "status.html")) as f:
        script = f.read().split("async function backup()")[1].split("async function turn()")[0]
    read = set(re.findall(r"\bb\.(\w+)", script))
    assert {"last_success", "consecutive_failures", "interval_seconds", "verified"} <= read <= set(told)
    assert set(re.findall(r"\bb\.verified\.(\w+)", script)) == set(told["verified"])
    d.end()
    assert p.process.poll() is None


@pytest.mark.parametrize("path", RULES, ids=os.path.basename)
def test_rules_are_sound(path):
    assert "SUCCESS" in promtool("check", "rules", path)


@pytest.mark.parametrize("path", RULES, ids=os.path.basename)
def test_alerts_come_when_they_should(path):
    test = os.path.join(env.TOP, "test", "rules", os.path.basename(path).replace(".rules.yml", ".test.yml"))
    assert "SUCCESS" in promtool("test", "rules", test)
    with open(path) as f:
        alerts = {r["alert"] for g in yaml.safe_load(f)["groups"] for r in g["rules"]}
    with open(test) as f:
        tests = yaml.safe_load(f)["tests"]
    come = {t["alertname"] for group in tests for t in group["alert_rule_test"] if t.get("exp_alerts")}
    stay = {t["alertname"] for group in tests for t in group["alert_rule_test"] if not t.get("exp_alerts")}
    assert come == alerts == stay


def test_expressions_of_the_dashboard_are_promql(tmp_path):
    """As recording rules, so that promtool reads them."""
    rules = [{"record": "x:%d" % i, "expr": text} for i, (_, text) in enumerate(expressions())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": rules}]}))
    promtool("check", "rules", str(path))


@pytest.mark.parametrize("path", DASHBOARDS, ids=os.path.basename)
def test_dashboard_is_whole(path):
    with open(path) as f:
        board = json.load(f)
    ids = [p["id"] for p in board["panels"]]
    assert len(set(ids)) == len(ids) and board["uid"] and board["schemaVersion"] >= 36
    taken = set()
    for p in board["panels"]:
        g = p["gridPos"]
        cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        assert g["x"] + g["w"] <= 24 and not cells & taken, p["title"]
        taken |= cells
        assert p["type"] == "row" or all(t["datasource"]["uid"] == "${datasource}" and t["expr"] for t in p["targets"]), p["title"]
    names = {v["name"] for v in board["templating"]["list"]} | {"__rate_interval"}
    with open(path) as f:
        assert set(re.findall(r"\$\{?(\w+)", f.read())) <= names | {"__all"}
