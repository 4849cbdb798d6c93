"""The programs of test/clients/ whose pools sign for each connection.

Each runs every line of its input on three connections at once and prints what they answer. They are installed and
built here, from what registries have; a registry or a tool that is not there is the reason of a skip."""
import os
import select
import shutil
import subprocess
import sys
import time

import pytest
from harness import env
from harness.wallet import ALICE

# Building them takes a minute or two on two cores.
pytestmark = [pytest.mark.ours, pytest.mark.timeout(900)]

CLIENTS = os.path.join(env.TOP, "test", "clients")
# Where people have tools that are not Debian's.
PATH = os.pathsep.join([os.environ["PATH"], os.path.expanduser("~/.cargo/bin"), "/usr/local/go/bin"])
OUT_OF_REACH = (
    "ENOTFOUND", "ECONNREFUSED", "EAI_AGAIN", "ETIMEDOUT", "ENETUNREACH", "ERR_SOCKET_TIMEOUT",  # npm
    "NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyError",  # pip
    "Could not resolve host", "Couldn't resolve host", "Could not connect", "Couldn't connect", "Failed to connect",
    "Timeout was reached",  # cargo
    "dial tcp", "proxyconnect tcp", "no such host", "i/o timeout", "TLS handshake timeout", "server misbehaving",  # go
    "Unknown host", "Connection refused", "connection refused", "timed out", "Network is unreachable",  # Maven
    "403 Forbidden", "503 Service Unavailable")
# What go and cargo of some years ago say of these programs.
TOO_OLD = ("requires go >=", "invalid go version", "resolver setting", "requires rustc")


def build(where, *command, **environment):
    """A step that installs or compiles."""
    tool = shutil.which(command[0], path=PATH)
    if not tool:
        pytest.skip("%s is not installed" % command[0])
    done = subprocess.run([tool, *command[1:]], cwd=where, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env={**os.environ, "PATH": PATH, **environment})
    out_of_reach = [line for line in done.stdout.splitlines() if any(text in line for text in OUT_OF_REACH)]
    if done.returncode and out_of_reach:
        pytest.skip("%s cannot reach its registry: %s" % (os.path.basename(tool), out_of_reach[-1].strip()[:200]))
    if done.returncode and any(text in done.stdout for text in TOO_OLD):
        pytest.skip("%s is too old" % os.path.basename(tool))
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    def copy(name):
        where = tmp_path_factory.mktemp(name)
        shutil.copytree(os.path.join(CLIENTS, name), where, dirs_exist_ok=True)
        return str(where)
    return copy


@pytest.fixture(scope="module")
def python(source):
    where = source("python")
    build(where, sys.executable, "-m", "venv", "venv")
    build(where, os.path.join(where, "venv", "bin", "pip"), "install", "--quiet", "--disable-pip-version-check",
          "--only-binary", ":all:", "-r", "requirements.txt")
    return lambda script: [os.path.join(where, "venv", "bin", "python"), os.path.join(where, script)]


@pytest.fixture(scope="module")
def typescript(source):
    where = source("ts")
    build(where, "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
    build(where, os.path.join(where, "node_modules", ".bin", "tsc"))
    return lambda script: ["node", os.path.join(where, "out", script)]


@pytest.fixture(scope="module")
def rust(source):
    # Beside our own objects, so that the next run need not compile a hundred crates again.
    target = os.path.join(env.BUILD_DIR, "test", "clients-rust")
    build(source("rust"), "cargo", "build", "--quiet", CARGO_TARGET_DIR=target, CARGO_TERM_COLOR="never")
    return lambda name: [os.path.join(target, "debug", name)]


@pytest.fixture(scope="module")
def go(source):
    where = source("pgx")
    build(where, "go", "build", "-o", "pool", ".", GOFLAGS="-mod=readonly -buildvcs=false", GOTOOLCHAIN="local")
    return lambda name: [os.path.join(where, name)]


@pytest.fixture(scope="module")
def java(source):
    where = source("java")
    build(where, "mvn", "-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
          "-DoutputDirectory=lib")
    build(where, "javac", "-Xlint:all", "-Werror", "-cp", "lib/*", "-d", "classes", "WalletPool.java")
    return lambda name: ["java", "-cp", "%s/classes:%s/lib/*" % (where, where), name]


@pytest.fixture(scope="module")
def psql():
    return lambda script: [os.path.join(CLIENTS, "psql", script)]


class Program:
    def __init__(self, command, p, where):
        self.said = open(os.path.join(where, "program.err"), "w+")
        environment = dict(PATH=os.path.dirname(env.binary("pg-ecdsa-token")) + os.pathsep + PATH, HOME=str(where),
                           PGHOST=p.host, PGPORT=str(p.port), PGDATABASE="db", PGSSLMODE="disable",
                           WALLET_KEY=ALICE.key_hex, SERVER_NAME="pooler")
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.said, text=True)

    def ask(self, statement):
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], 4 * env.PATIENCE)
        line = self.process.stdout.readline() if ready else "nothing"
        assert ready and line, self.errors()
        return line.split()

    def errors(self):
        self.said.seek(0)
        return self.said.read()[-4000:]

    def end(self):
        self.process.stdin.close()
        try:
            return self.process.wait(4 * env.PATIENCE)
        finally:
            self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def program(pooler, pg, tmp_path):
    made = []

    def make(command):
        p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ecdsa", pool_mode="session",
                   default_pool_size=5, ecdsa_allowed_addresses=ALICE.address, ecdsa_formats="bound",
                   ecdsa_server_names="pooler", ecdsa_replay="once", ignore_startup_parameters="extra_float_digits")
        # What is signed in the second of the start counts as used.
        began = int(time.time())
        env.wait_for(lambda: time.time() > began + 1, "the next second")
        made.append(Program(command, p, tmp_path))
        return p, made[-1]
    yield make
    for one in made:
        one.close()
        one.said.close()


# Each is held for so long that no other can be answered by the same connection.
WHO = "SELECT pg_backend_pid() FROM pg_sleep(1)"


@pytest.mark.parametrize("language, name", [
    ("psql", "psql.sh"),
    ("python", "psycopg2_pool.py"), ("python", "psycopg3_pool.py"), ("python", "asyncpg_pool.py"),
    ("typescript", "postgres_viem.js"), ("typescript", "pg_ethers.js"),
    ("java", "WalletPool"), ("go", "pool"), ("rust", "wallet-pool"),
])
def test_a_pool_signs_for_each_connection(request, program, language, name):
    p, client = program(request.getfixturevalue(language)(name))

    def proofs():
        return p.logged(r"login: method=ecdsa result=ok wallet=%s .*proof=([0-9a-f]{16})" % ALICE.address)
    answers = client.ask(WHO)
    assert len(answers) == 3 and len(set(answers)) > 1, answers
    first = proofs()
    assert len(first) > 1
    # All connections end; some pools look at those that were just in use only a second later.
    p.admin("KILL_WALLET " + ALICE.address)
    began = time.time()
    env.wait_for(lambda: time.time() > began + 1.2, "connections to be idle")
    answers = client.ask(WHO)
    assert len(answers) == 3 and len(set(answers)) > 1, answers
    assert len(proofs()) > len(first) + 1
    # No proof got anybody in twice, and none was tried twice.
    assert len(set(proofs())) == len(proofs())
    assert not p.logged("login failed")
    assert client.end() == 0, client.errors()
