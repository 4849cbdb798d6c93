"""compose.yaml, .env.example, etc/kubernetes and the guides use variables that the container knows, and no others."""
import glob
import os
import re
import shutil
import subprocess

import pytest
import yaml
from harness import compose, env

pytestmark = pytest.mark.ours

CONTAINER = os.path.join(env.BUILD_DIR, "pg-ecdsa-container")
# Of EigenCompute's own programs in the image, not of ours.
PLATFORM = {"DOMAIN", "ACME_STAGING", "ACME_FORCE_ISSUE", "ENABLE_CADDY_LOGS"}
# Of compose.yaml itself.
OUTSIDE = {"PROXY_PUBLISH", "HTTP_PUBLISH", "TLS_FILES"}
WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
GUIDES = ["container.md", "docker.md", "eigencompute.md", "dstack.md", "kubernetes.md", "systemd.md"]
# Of libpq, of shells, and of the examples themselves.
OTHERS = {"PGPASSWORD", "PRIVATE_KEY", "FLAVOUR", "BASE_IMAGE"}


def read(*path):
    with open(os.path.join(env.TOP, *path)) as f:
        return f.read()


def known():
    """As the container itself has them: three lists, and what it says a word about."""
    settings = {n.upper() for n in re.findall(r"^SETTING\((\w+),", read("include", "config", "settings.def"), re.M)}
    rows = re.findall(r'^SETTING\((\w+), (\w+), (NULL|"\w+"),', read("include", "backup", "settings.def"), re.M)
    backup = {("BACKUP_%s_%s" % (section, key)).upper() if name == "NULL" else name.strip('"') for section, key, name in rows}
    own = set(re.findall(r'^(?:ALIAS|OWN)\("(\w+)"', read("include", "container", "names.def"), re.M))
    said = set(re.findall(r'get\(p, "([A-Z_]+)"\)', read("src", "container", "plan_ini.c")))
    assert len(settings) > 100 and len(backup) > 80 and len(own) > 10
    return settings | backup | own | said


def is_known(name):
    names = known()
    return name in names or (name.endswith("_FILE") and name[:-5] in names)


def unknown(names, *more):
    return {n for n in names if not is_known(n) and n not in set().union(*more)}


def test_the_check_would_notice():
    assert unknown({"ALLOWED_ADRESS", "PG_PASSWORD", "PG_PASSWORD_FILE", "POOL_MODE", "BACKUP_METRICS_TEXTFILE", "FILE"}) == {"ALLOWED_ADRESS", "FILE"}


def test_the_container_knows_the_variables_of_compose():
    named = compose.load()["services"]["proxy"]["environment"]
    assert not unknown(named)
    # What is asked for from outside is handed on under its own name.
    assert not unknown(compose.asked_for(), OUTSIDE)
    for name, value in yaml.safe_load(compose.raw())["services"]["proxy"]["environment"].items():
        assert value is None or re.findall(r"\$\{(\w+)", str(value)) in ([], [name]), name


@pytest.mark.parametrize("name", [".env.example", ".env.example.tls"])
def test_the_container_knows_the_variables_of(name):
    on, mentioned = compose.dotenv(name)
    assert on and not unknown(mentioned, PLATFORM, OUTSIDE)
    assert all(v for v in mentioned.values())
    if name == ".env.example":
        # Each of them arrives by compose.
        assert not set(mentioned) - compose.asked_for() - {"MNEMONIC"}


@pytest.mark.parametrize("name", GUIDES)
def test_the_container_knows_the_variables_of_the_guide(name):
    """Whatever is set, or stands in quotes with an underline, as a name in capitals."""
    text = read("doc", name)
    set_there = re.findall(r"(?<![/\w])([A-Z][A-Z0-9_]+)(?==)", text) + re.findall(r"^ +([A-Z][A-Z0-9_]+):", text, re.M)
    named = [n for quoted in re.findall(r"`([^`\n]+)`", text) for n in re.findall(r"(?<![\w<./-])[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", quoted)]
    assert len(set_there + named) > 1
    assert not unknown(set(set_there + named) - {"NAME_FILE"}, PLATFORM, OUTSIDE, OTHERS)


def test_the_compose_file_of_the_dstack_guide_is_sound():
    blocks = re.findall(r"^```yaml\n(services:.*?)^```", read("doc", "dstack.md"), re.M | re.S)
    assert len(blocks) == 1
    services = yaml.safe_load(blocks[0])["services"]
    assert set(services) == {"certificate", "proxy"} and not unknown(services["proxy"]["environment"])
    assert "/var/run/dstack.sock:/var/run/dstack.sock" in services["proxy"]["volumes"]


def test_the_variables_of_the_container_are_in_the_guide():
    table = read("doc", "container.md").split("## Variables")[1].split("\n## ")[0]
    own = set(re.findall(r'^(?:ALIAS|OWN)\("(\w+)"', read("include", "container", "names.def"), re.M))
    assert not {n for n in own if "`%s`" % n not in table}


def test_the_earlier_tool_s_variables_arrive():
    """The lists of the user brief, and of the login specification, section 13."""
    wanted = """ALLOWED_ADDRESS ALLOWED_ADDRESSES SIGNATURE_WINDOW_SECS PROXY_PORT PG_HOST PG_PORT PG_USER PG_PASSWORD PG_DATABASE POOL_SIZE
        RATE_LIMIT_MAX_IP RATE_LIMIT_WINDOW_SECS RATE_LIMIT_MAX_ADDR BACKUP_S3_ENDPOINT BACKUP_S3_BUCKET BACKUP_S3_ACCESS_KEY BACKUP_S3_SECRET_KEY
        BACKUP_S3_REGION BACKUP_PREFIX BACKUP_INTERVAL_SECS BACKUP_RETENTION_COUNT BACKUP_RETENTION_DAYS MNEMONIC""".split()
    assert not set(wanted) - set(compose.load()["services"]["proxy"]["environment"])
    given = {name: "x" for name in wanted if name != "PROXY_PORT"}
    arrived = compose.environment("proxy", given)
    assert all(arrived[name] == "x" for name in given)


def test_compose_publishes_on_this_machine_as_the_quick_start_says():
    ports = compose.load()["services"]["proxy"]["ports"]
    assert ports[0] == "127.0.0.1:5434:5433" and ports[1].startswith("127.0.0.1:")
    assert compose.load({"PROXY_PUBLISH": "0.0.0.0:7000"})["services"]["proxy"]["ports"][0] == "0.0.0.0:7000:5433"
    services = compose.load()["services"]
    assert set(services) == {"postgres", "store", "proxy"} and not [s for s in services if s != "proxy" and services[s].get("ports")]
    # The store's files can be had without a key from inside its network, where the database is not.
    assert not set(services["store"]["networks"]) & set(services["postgres"]["networks"])
    for s in services.values():
        assert s["restart"] and s["healthcheck"]["test"]


@pytest.fixture
def judged():
    """What the container says to the environment that compose hands on: (status, words)."""
    made = []

    def judge(given, tls_dir=None, **instead):
        work = {name: env.make_dir(prefix="box-") for name in ("RUN_DIR", "DATA_DIR")}
        made.extend(work.values())
        variables = {**compose.environment("proxy", given), "PATH": os.environ["PATH"], "TLS_DIR": tls_dir or "/nowhere", **work, **instead}
        child = env.popen([CONTAINER, "check"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
        return child.communicate(timeout=env.PATIENCE)[0], child.returncode
    yield lambda *args, **more: judge(*args, **more)[::-1]
    for path in made:
        shutil.rmtree(path, ignore_errors=True)


def test_the_quick_start_is_accepted(judged):
    status, said = judged({"ALLOWED_ADDRESS": WALLET})
    assert status == 0, said
    # Plain text is asked for in words, and said aloud.
    assert "ECDSA_REQUIRE_TLS=never: wallets may sign in without TLS" in said
    status, said = judged({})
    assert status == 2 and "ALLOWED_ADDRESS is not set" in said


def test_the_file_of_the_earlier_tool_is_accepted(judged):
    """Its users keep their .env, with two exceptions that one clear line each names."""
    old = dict(ALLOWED_ADDRESS=WALLET, SIGNATURE_WINDOW_SECS="300", PG_PASSWORD="secret", BACKUP_S3_ENDPOINT="https://store.example.org",
               BACKUP_S3_BUCKET="pg-backups", BACKUP_S3_ACCESS_KEY="key", BACKUP_S3_SECRET_KEY="secret", BACKUP_S3_REGION="auto",
               BACKUP_PREFIX="my-app", BACKUP_INTERVAL_SECS="86400", BACKUP_RETENTION_COUNT="7", BACKUP_RETENTION_DAYS="30",
               MNEMONIC="quick brown fox jumps over the lazy dog while twelve words pass")
    status, said = judged(old)
    assert status == 0, said
    without = {k: v for k, v in old.items() if k != "MNEMONIC"}
    status, said = judged(without)
    assert status != 0 and len(re.findall("MNEMONIC.*BACKUP_ENCRYPTION=none", said)) == 1, said
    assert judged({**without, "BACKUP_ENCRYPTION": "none"})[0] == 0
    # The other: compose writes it out itself, so here it is taken back.
    status, said = judged({**old, "ECDSA_REQUIRE_TLS": ""}, ECDSA_REQUIRE_TLS="")
    assert status != 0 and len(re.findall("ECDSA_REQUIRE_TLS.*need ECDSA_REQUIRE_TLS=never", said)) == 1, said


def test_the_example_file_with_its_offers_is_accepted(judged):
    """Every line that is commented out there can be switched on, the store of compose among them."""
    _, mentioned = compose.dotenv(".env.example")
    sealed = {k: v for k, v in mentioned.items() if k != "BACKUP_ENCRYPTION"}
    sealed["MNEMONIC"] = "quick brown fox jumps over the lazy dog while twelve words pass"
    status, said = judged(sealed)
    assert status == 0, said
    assert sealed["BACKUP_S3_ENDPOINT"] == "http://store:8333" and "store" in compose.load()["services"]
    # One of the two ways, not both.
    plain = {k: v for k, v in mentioned.items() if k != "MNEMONIC"}
    assert judged(plain)[0] == 0


def test_the_tls_file_behind_the_example_is_accepted(judged, certs, scratch):
    on, _ = compose.dotenv(".env.example")
    tls, _ = compose.dotenv(".env.example.tls")
    where = env.make_dir(scratch, "tls-")
    status, said = judged({**on, **tls}, tls_dir=where)
    assert status != 0 and "CLIENT_TLS_SSLMODE=require needs a certificate" in said
    for source, name in ((certs.crt("server"), "fullchain.pem"), (certs.key("server"), "privkey.pem")):
        env.own(shutil.copy(source, os.path.join(where, name)))
    status, said = judged({**on, **tls}, tls_dir=where)
    assert status == 0 and "never" not in said, said


@pytest.mark.skipif(not shutil.which("podman-compose"), reason="podman-compose is not installed")
def test_podman_compose_reads_it(tmp_path):
    """Even in a dry run it makes networks and volumes, so what it calls is none."""
    podman = tmp_path / "podman"
    podman.write_text("#!/bin/sh\nexit 0\n")
    podman.chmod(0o755)
    done = subprocess.run(["podman-compose", "--podman-path", str(podman), "-f", compose.PATH, "--dry-run", "up", "-d"], cwd=tmp_path,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "ALLOWED_ADDRESS": WALLET})
    assert done.returncode == 0 and "Traceback" not in done.stdout, done.stdout[-2000:]
    assert "-e ALLOWED_ADDRESS -e" in done.stdout and "-e ECDSA_REQUIRE_TLS=never" in done.stdout and "${" not in done.stdout
    assert "-p 127.0.0.1:5434:5433" in done.stdout and "pg-ecdsa-container health" in done.stdout
