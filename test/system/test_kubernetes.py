"""etc/kubernetes/pg-ecdsa-proxy.yaml, and the rolling update that doc/kubernetes.md describes, with local processes: the
command of the image, with the variables of the manifest, behind a Service that follows /readyz."""
import contextlib
import os
import re
import signal

import pytest
import yaml
from harness import env, wire
from harness.http import get
from harness.load import LEAVE, Crowd
from harness.service import Service
from harness.wire import Wire

pytestmark = pytest.mark.ours

CONTAINER = os.path.join(env.BUILD_DIR, "pg-ecdsa-container")
MANIFEST = os.path.join(env.TOP, "etc", "kubernetes", "pg-ecdsa-proxy.yaml")


def documents():
    with open(MANIFEST) as f:
        return {d["kind"]: d for d in yaml.safe_load_all(f)}


def pod_spec():
    return documents()["Deployment"]["spec"]["template"]["spec"]


def seconds_of(spec):
    before, = [int(word) for word in spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] if word.isdigit()]
    return before, int(documents()["ConfigMap"]["data"]["SHUTDOWN_DRAIN_SECS"]), spec["terminationGracePeriodSeconds"]


# ---- the manifest ----

def test_probes_and_ports_are_those_of_the_container():
    spec = pod_spec()
    c = spec["containers"][0]
    ports = {p["name"]: p["containerPort"] for p in c["ports"]}
    with open(os.path.join(env.TOP, "Dockerfile")) as f:
        exposed = {int(n) for n in re.search(r"^EXPOSE (.*)$", f.read(), re.M).group(1).split()}
    assert set(ports.values()) == exposed
    assert {c[k]["httpGet"]["path"] for k in ("startupProbe", "livenessProbe")} == {"/livez"}
    assert c["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    # Slower than readiness: who drains is alive.
    assert c["livenessProbe"]["periodSeconds"] * c["livenessProbe"]["failureThreshold"] >= 30
    assert documents()["Service"]["spec"]["ports"][0]["targetPort"] == "postgres"


def test_there_is_time_for_all_of_the_end():
    before, drain, grace = seconds_of(pod_spec())
    probe = pod_spec()["containers"][0]["readinessProbe"]
    assert before > 2 * probe["periodSeconds"] * probe["failureThreshold"]
    # The two waits, and ten seconds each for a pooler that has to be told twice.
    assert grace >= before + drain + 20
    rolling = documents()["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}


def test_labels_volumes_and_secrets_belong_together():
    docs, spec = documents(), pod_spec()
    c = spec["containers"][0]
    labels = docs["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (docs["Deployment"]["spec"]["selector"]["matchLabels"], docs["Service"]["spec"]["selector"],
                     docs["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]):
        assert selector == labels
    assert {m["name"] for m in c["volumeMounts"]} == {v["name"] for v in spec["volumes"]}
    assert c["envFrom"][0]["configMapRef"]["name"] == docs["ConfigMap"]["metadata"]["name"]
    mounts = {m["mountPath"]: m["name"] for m in c["volumeMounts"]}
    for item in c["env"]:
        directory, key = os.path.split(item["value"])
        assert mounts[directory] == "secrets" and key in docs["Secret"]["stringData"]
    assert all(isinstance(v, str) for v in docs["ConfigMap"]["data"].values())
    assert {i["path"] for v in spec["volumes"] if v["name"] == "tls" for i in v["secret"]["items"]} == {"fullchain.pem", "privkey.pem"}


# ---- pods ----

class Pod:
    """The command of the image with the manifest's variables; what is the machine's is put in their place."""

    def __init__(self, pg, certs, **instead):
        self.dir = env.make_dir(prefix="pod-")
        self.host, self.port, self.http = "127.0.0.1", env.free_port(), env.free_port()
        tls = env.make_dir(self.dir, "tls-")
        for source, name in ((certs.crt("server"), "fullchain.pem"), (certs.key("server"), "privkey.pem")):
            with open(source) as f:
                env.write(os.path.join(tls, name), f.read(), 0o600)
        variables = {**documents()["ConfigMap"]["data"], "PG_HOST": pg.host, "PG_PORT": str(pg.port), "PG_USER": "svc", "PG_DATABASE": "db",
                     "PG_PASSWORD_FILE": env.write(os.path.join(self.dir, "password"), "svc_pw\n", 0o600), "RUN_DIR": env.make_dir(self.dir, "run-"),
                     "TLS_DIR": tls, "PROXY_HOST": self.host, "PROXY_PORT": str(self.port), "HTTP_LISTEN": "127.0.0.1:%d" % self.http,
                     # The crowd is many quick clients without a wallet.
                     "AUTH_TYPE": "trust", "AUTH_FILE": env.write(os.path.join(self.dir, "users"), '"somebody" ""\n'),
                     "CLIENT_TLS_SSLMODE": "prefer", "PATH": os.environ["PATH"], **instead}
        variables = {k: v for k, v in variables.items() if v is not None}
        self.logfile = os.path.join(self.dir, "log")
        with open(self.logfile, "wb") as log:
            self.process = env.popen([CONTAINER], cwd=self.dir, stdout=log, stderr=log, env=variables)

    def log(self):
        with open(self.logfile, errors="replace") as f:
            return f.read()

    def login(self, database="db"):
        return Wire(self.host, self.port).login("somebody", database)

    def wait_exit(self, status=0):
        assert self.process.wait(env.PATIENCE) == status, self.log()[-3000:]

    def finish(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(Exception):
                self.process.wait(1)
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(2 * env.PATIENCE)


@pytest.fixture
def pods(pg, certs):
    made = []

    def make(**instead):
        made.append(Pod(pg, certs, **instead))
        return made[-1]
    yield make
    for p in made:
        p.finish()
    pg.clear()


@pytest.fixture
def service():
    s = Service()
    yield s
    s.close()


def short_lives(number, turn):
    want = b"%d.%d" % (number, turn)
    began = yield wire.query("BEGIN")
    assert began.status == b"T"
    reply = yield wire.query("SELECT '%s'" % want.decode())
    assert reply.rows == [want], reply.rows
    ended = yield wire.query("COMMIT")
    assert ended.status == b"I"
    yield 0.002
    return LEAVE


def more_of(crowd, lives):
    target = crowd.done + lives
    env.wait_for(lambda: crowd.faults or crowd.done >= target, lambda: "the load to go on: %s" % crowd.states(), 2 * env.PATIENCE)
    crowd.check()


def test_a_rolling_update_loses_no_transaction(pods, service, pg):
    """The order of doc/kubernetes.md: the new one is ready; the old one is taken out of the Service, and still serves who comes; then
    the signal: it is not ready, its clients go on to the end of what they do, and it ends by itself."""
    pg.sql("CREATE TABLE kept (n int)", "GRANT INSERT ON kept TO svc", db="db")
    try:
        old = service.add(pods())
        crowd = Crowd(service, 16, short_lives, user="somebody")
        crowd.start()
        more_of(crowd, 50)
        for turn in range(3):
            new = service.add(pods())
            holder = old.login()
            holder.query("BEGIN")
            assert holder.query("INSERT INTO kept VALUES (%d)" % turn).tags == ["INSERT 0 1"]
            service.take_out(old)
            # preStop: nodes that do not know yet still send clients here.
            late = old.login()
            assert get(old.http, "/readyz").code == 200
            more_of(crowd, 50)
            old.process.send_signal(signal.SIGTERM)
            env.wait_for(lambda: get(old.http, "/readyz").code == 503, "the readiness to end")
            assert get(old.http, "/livez").code == 200 and get(old.http, "/health").json == {"status": "draining"}
            more_of(crowd, 50)
            # Both are served to their end.
            assert late.value("SELECT 1") == "1"
            late.close()
            assert holder.query("COMMIT").status == "I"
            holder.close()
            old.wait_exit()
            assert "are cut" not in old.log()
            more_of(crowd, 50)
            assert service.taken[new] > 0
            old = new
        crowd.stop()
        assert pg.sql("SELECT n FROM kept ORDER BY n", db="db") == [(0,), (1,), (2,)]
    finally:
        pg.sql("DROP TABLE IF EXISTS kept", db="db")


def test_who_stays_too_long_is_cut(pods):
    pod = pods(SHUTDOWN_DRAIN_SECS="1")
    env.wait_for(lambda: "process up" in pod.log() or pod.process.poll() is not None, pod.log)
    stays = pod.login()
    stays.query("BEGIN")
    pod.process.send_signal(signal.SIGTERM)
    pod.wait_exit()
    assert "SHUTDOWN_DRAIN_SECS=1" in pod.log()


def test_a_service_that_follows_readiness_alone_is_too_late(pods, service):
    """Why there is a preStop: the door closes with the readiness, and who is sent here in between finds it closed."""
    old = service.add(pods())
    new = service.add(pods())
    holder = old.login()
    old.process.send_signal(signal.SIGTERM)
    env.wait_for(lambda: get(old.http, "/readyz").code == 503, "the readiness to end")
    env.wait_for(lambda: old not in service.ready, "the Service to notice")
    with pytest.raises(OSError):
        env.wait_for(lambda: old.login().close(), "never", 2)
    with Wire(service.host, service.port).login("somebody", "db") as c:
        assert c.value("SELECT 1") == "1"
    assert new in service.ready
    holder.close()
    old.wait_exit()
