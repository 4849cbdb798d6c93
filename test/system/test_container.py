"""The command of the container image, without an image: variables, order, supervision.

What needs an image is in test/container/.
"""
import glob
import os
import re
import shutil
import signal
import ssl
import time

import psycopg
import pytest
from harness import env
from harness.box import MNEMONIC, OTHER_MNEMONIC, Box, certificate_of
from harness.http import get
from harness.wallet import ALICE, BOB

pytestmark = [pytest.mark.ours,
              pytest.mark.skipif(not os.path.exists(os.path.join(env.BUILD_DIR, "pg-ecdsa-backup")),
                                 reason="built without pg-ecdsa-backup")]


@pytest.fixture(scope="module")
def cluster(scratch):
    """A database directory as a first start leaves it, with one table."""
    b = Box(scratch).start()
    try:
        b.sql("CREATE TABLE kept AS SELECT 1 AS a")
        assert b.stop() == 0
    finally:
        b.close()
    return b


@pytest.fixture
def box(scratch):
    """A factory of containers."""
    made = []

    def make(cluster=None, **variables):
        b = Box(scratch, **variables)
        if cluster:
            # As that user: links and modes stay.
            env.run(["cp", "-a", cluster.data_dir, b.data_dir])
        made.append(b)
        return b
    yield make
    for b in made:
        if b.p:
            print(b.log()[-6000:])
        b.close()


def ini_of(b):
    with open(os.path.join(b.run_dir, "proxy", "pgbouncer.ini")) as f:
        return f.read()


def settings_of(b):
    return dict(line.split(" = ", 1) for line in ini_of(b).splitlines() if " = " in line and "host=" not in line)


def listed(b):
    with open(os.path.join(b.run_dir, "proxy", "wallets")) as f:
        return f.read().split()


# --- variables become files -----------------------------------------------------

def checked(b):
    status, said = b.command("check")
    assert status == 0, said
    return said


def test_the_earlier_tools_variables(box):
    b = box(ALLOWED_ADDRESS=ALICE.address, ALLOWED_ADDRESSES="%s, %s" % (BOB.address, ALICE.lower), SIGNATURE_WINDOW_SECS="120",
            POOL_SIZE="7", RATE_LIMIT_MAX_IP="9", RATE_LIMIT_WINDOW_SECS="30", RATE_LIMIT_MAX_ADDR="5", PG_HOST="db.example.net",
            PG_PORT="5544", PG_USER="it's", PG_PASSWORD='a "word" o\'mine', PG_DATABASE="app")
    said = checked(b)
    s = settings_of(b)
    assert s["listen_addr"] == "127.0.0.1" and s["listen_port"] == str(b.port)
    assert s["ecdsa_window"] == "120" and s["default_pool_size"] == "7"
    assert s["ecdsa_limit_burst"] == "9" and s["ecdsa_limit_halflife"] == "30"
    assert sorted(listed(b)) == sorted([ALICE.address, BOB.address, ALICE.lower])
    assert "RATE_LIMIT_MAX_ADDR has no effect" in said
    line = "host='db.example.net' port='5544' user='it''s'"
    assert '"app" = ' + line in ini_of(b) and "* = " + line in ini_of(b)
    with open(os.path.join(b.run_dir, "proxy", "userlist.txt")) as f:
        assert f.read() == '"it\'s" "a ""word"" o\'mine"\n'


def test_defaults(box):
    b = box(PROXY_HOST=None, PROXY_PORT=None, HTTP_LISTEN=None, PG_HOST="postgres")
    checked(b)
    s = settings_of(b)
    assert s["listen_addr"] == "0.0.0.0" and s["listen_port"] == "5433" and s["http_listen"] == "0.0.0.0:3000"
    assert s["auth_type"] == "ecdsa" and "ecdsa_window" not in s and "client_tls_sslmode" not in s
    assert "* = host='postgres' port='5432' user='postgres'\n" in ini_of(b)
    with open(os.path.join(b.run_dir, "proxy", "userlist.txt")) as f:
        assert f.read() == '"postgres" "postgres"\n'


def test_any_setting_is_a_variable(box):
    b = box(POOL_MODE="transaction", MAX_CLIENT_CONN="77", ADMIN_USERS=ALICE.address, ECDSA_FORMATS="timestamp,bound",
            ECDSA_SERVER_NAMES="db.example.org", USER="somebody", HTTP_LISTEN=None, APP_PORT="8080")
    checked(b)
    s = settings_of(b)
    assert s["pool_mode"] == "transaction" and s["max_client_conn"] == "77" and s["admin_users"] == ALICE.address
    assert s["ecdsa_formats"] == "timestamp,bound" and s["http_listen"] == "0.0.0.0:8080"
    assert "user" not in s


def test_every_variable_also_as_a_file(box, scratch):
    d = env.make_dir(scratch)
    for name, text in (("wallets", "%s\n# a comment\n%s\n" % (ALICE.address, BOB.address)), ("password", "p w\n"), ("port", "5433"),
                       ("mode", "transaction\r\n"), ("words", MNEMONIC), ("store", "file://" + d)):
        env.write(os.path.join(d, name), text, 0o600)
    b = box(ALLOWED_ADDRESS=None, ALLOWED_ADDRESSES_FILE=d + "/wallets", PG_HOST="db", PG_PASSWORD_FILE=d + "/password",
            PROXY_PORT=None, PROXY_PORT_FILE=d + "/port", POOL_MODE_FILE=d + "/mode", MNEMONIC_FILE=d + "/words",
            BACKUP_S3_ENDPOINT_FILE=d + "/store")
    said = checked(b)
    s = settings_of(b)
    assert s["pool_mode"] == "transaction" and s["listen_port"] == "5433" and "backups: yes" not in said
    with open(os.path.join(b.run_dir, "proxy", "userlist.txt")) as f:
        assert f.read() == '"postgres" "p w"\n'
    assert [w for w in listed(b) if w.startswith("0x")] == [ALICE.address, BOB.address]
    # A setting whose own name ends so is that setting.
    env.write(os.path.join(d, "users"), '"postgres" "x"\n', 0o644)
    b.set(AUTH_FILE=d + "/users")
    checked(b)
    assert settings_of(b)["auth_file"] == d + "/users" and "password='p w'" in ini_of(b)


def test_secrets_are_nobody_elses(box):
    b = box(PG_HOST="db", PG_PASSWORD="hidden-1").store(MNEMONIC="hidden two three four five six seven eight nine ten eleven twelve")
    said = checked(b)
    assert "hidden" not in said
    for top, dirs, files in os.walk(b.run_dir):
        for name in files:
            path = os.path.join(top, name)
            mode = os.stat(path).st_mode & 0o777
            assert mode & 0o077 == 0, (path, oct(mode))
        if os.path.basename(top) in ("proxy", "backup"):
            assert os.stat(top).st_mode & 0o077 == 0


# --- what cannot be -----------------------------------------------------------------

STORE = {"BACKUP_S3_ENDPOINT": "https://store.example.net", "BACKUP_S3_BUCKET": "b", "BACKUP_S3_ACCESS_KEY": "k",
         "BACKUP_S3_SECRET_KEY": "s-e-c", "MNEMONIC": MNEMONIC}


def without(name):
    return {**STORE, name: ""}


@pytest.mark.parametrize("variables,line", [
    ({"ALLOWED_ADDRESS": None}, "ALLOWED_ADDRESS is not set"),
    ({"ALLOWED_ADDRESS": ""}, "ALLOWED_ADDRESS is not set"),
    ({"ALLOWED_ADDRESS": "0xabc"}, "ALLOWED_ADDRESS: .*0xabc"),
    ({"ALLOWED_ADDRESS": ALICE.address, "ALLOWED_ADDRESSES": BOB.address + ",bob"}, "ALLOWED_ADDRESSES: .*bob"),
    ({"ALLOWED_ADDRESS": ALICE.address.swapcase().replace("X", "x")}, "ALLOWED_ADDRESS: .*checksum"),
    ({"ECDSA_REQUIRE_TLS": None}, "ECDSA_REQUIRE_TLS: there is no certificate .*need ECDSA_REQUIRE_TLS=never"),
    ({"ECDSA_REQUIRE_TLS": ""}, "ECDSA_REQUIRE_TLS: there is no certificate"),
    ({"ECDSA_REQUIRE_TLS": "always"}, "ECDSA_REQUIRE_TLS: there is no certificate"),
    ({"ECDSA_REQUIRE_TLS": "nevr"}, "ECDSA_REQUIRE_TLS: "),
    ({"CLIENT_TLS_SSLMODE": "require"}, "CLIENT_TLS_SSLMODE=require needs a certificate"),
    ({"CLIENT_TLS_CERT_FILE": "/nowhere/c.pem"}, "CLIENT_TLS_KEY_FILE is not set"),
    ({"CLIENT_TLS_CERT_FILE": "/nowhere/c.pem", "CLIENT_TLS_KEY_FILE": "/nowhere/k.pem"}, "could not read /nowhere/c.pem"),
    ({"PROXY_PORT": "54x"}, "PROXY_PORT: .*54x"),
    ({"PROXY_PORT": "5433", "LISTEN_PORT": "6432"}, "LISTEN_PORT and PROXY_PORT contradict each other"),
    ({"PROXY_HOST": "999.1.1.1"}, "PROXY_HOST: .*999.1.1.1"),
    ({"PG_PORT": "0", "PG_HOST": "db"}, "PG_PORT: \"0\" is no number from 1 to 65535"),
    ({"PG_PASSWORD": "two\nlines", "PG_HOST": "db"}, "PG_PASSWORD: there is a line end"),
    ({"PG_HOST": "db\nadmin_users = x"}, "PG_HOST: there is a line end"),
    ({"POOL_MODE": "transaction\nadmin_users = x"}, "POOL_MODE: there is a line end"),
    ({"PG_DATABASE": "pgbouncer"}, "PG_DATABASE: \"pgbouncer\" cannot be"),
    ({"PG_INSIDE": "yes", "PG_HOST": "db"}, "PG_INSIDE and PG_HOST=db contradict each other"),
    ({"PG_INSIDE": "perhaps"}, "PG_INSIDE: \"perhaps\" is neither yes nor no"),
    ({"SIGNATURE_WINDOW_SECS": "-1"}, "SIGNATURE_WINDOW_SECS: .*-1"),
    ({"SHUTDOWN_DRAIN_SECS": "soon"}, "SHUTDOWN_DRAIN_SECS: \"soon\" is no number"),
    ({"APP_PORT": "70000", "HTTP_LISTEN": None}, "APP_PORT: \"70000\" is no number"),
    ({"POOL_MODE": "swimming"}, "POOL_MODE: .*swimming"),
    ({"ECDSA_FORMATS": "bound"}, "ECDSA_FORMATS: |ECDSA_SERVER_NAMES"),
    ({"RUN_DIR": "run"}, "RUN_DIR: \"run\" is no absolute path"),
    ({"PIDFILE": "/x"}, "PIDFILE: in a container"),
    ({"MNEMONIC_FILE": "/nowhere/words"}, "MNEMONIC_FILE: could not read /nowhere/words"),
    ({"MNEMONIC_FILE": "/dev/null"}, "MNEMONIC_FILE: /dev/null is empty"),
    ({"MNEMONIC_FILE": "/etc/hostname", "MNEMONIC": "x"}, "MNEMONIC and MNEMONIC_FILE are both set"),
    (without("MNEMONIC"), "MNEMONIC is not set: without it backups need BACKUP_ENCRYPTION=none"),
    (without("BACKUP_S3_BUCKET"), "BACKUP_S3_BUCKET is not set"),
    (without("BACKUP_S3_ACCESS_KEY"), "BACKUP_S3_ACCESS_KEY is not set"),
    (without("BACKUP_S3_SECRET_KEY"), "BACKUP_S3_SECRET_KEY is not set"),
    ({**STORE, "BACKUP_INTERVAL_SECS": "0"}, "BACKUP_INTERVAL_SECS"),
    ({**STORE, "BACKUP_RETENTION_COUNT": "many"}, "BACKUP_RETENTION_COUNT"),
    ({**STORE, "BACKUP_S3_ENDPOINT": "store.example.net"}, "BACKUP_S3_ENDPOINT"),
    ({**STORE, "BACKUP_ENCRYPTION": "none", "MNEMONIC": "", "BACKUP_RETENTION_DAYS": "-1"}, "BACKUP_RETENTION_DAYS"),
], ids=lambda v: None if isinstance(v, dict) else re.sub(r"[^A-Z0-9_]+", "-", v)[:40])
def test_a_mistake_names_its_variable_and_starts_nothing(box, variables, line):
    b = box(**variables)
    status, said = b.command()
    assert status in (1, 2), said
    assert re.search(line, said), said
    assert not os.path.exists(os.path.join(b.data_dir, "postgresql"))
    assert "s-e-c" not in said and "twelve words" not in said
    assert not children_left(b)


def children_left(b):
    """Processes that have our directory in their arguments."""
    left = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                if b.dir.encode() in f.read():
                    left.append(path)
        except OSError:
            pass
    return left


def test_usage(box):
    assert box().command("dance")[0] == 2
    assert box().command("check", "twice")[0] == 2


def test_two_containers_do_not_share_a_volume(box, cluster):
    b = box(cluster).start()
    other = box(DATA_DIR=b.data_dir)
    status, said = other.command()
    assert status == 1 and "DATA_DIR: another container is at work" in said
    assert b.stop() == 0


def test_data_of_another_version_is_left_alone(box):
    b = box()
    env.run(["mkdir", "-p", b.data_dir + "/postgresql/9"])
    status, said = b.command()
    assert status == 2 and re.search(r"DATA_DIR: .*/postgresql/9 is of PostgreSQL 9, this image has \d+", said), said


# --- a life ---------------------------------------------------------------------------

def test_a_wallet_signs_in_and_data_stays(box, cluster):
    b = box(cluster, PG_PASSWORD=None).start()
    assert b.sql("SELECT a, current_user, current_setting('application_name') FROM kept") == [
        (1, "postgres", "ecdsa-proxy:" + ALICE.address)]
    with pytest.raises(psycopg.OperationalError):
        b.sql("SELECT 1", wallet=BOB)
    assert set(b.children()) == {"postgres", "pg-ecdsa-proxy"}
    assert b.sql("SHOW listen_addresses") == [("",)]
    assert b.command("health") == (0, "HTTP/1.0 200 OK\n")
    assert get(b.http, "/health").code == 200
    with open(os.path.join(b.run_dir, "proxy", "userlist.txt")) as f:
        password = re.fullmatch(r'"postgres" "([0-9a-f]{48})"\n', f.read()).group(1)
    assert b.stop() == 0
    assert password not in b.log()
    assert b.command("health")[0] == 1
    b.start()
    with open(os.path.join(b.run_dir, "proxy", "userlist.txt")) as f:
        assert password not in f.read()  # another one at each start
    assert b.sql("SELECT a FROM kept") == [(1,)]
    assert b.stop() == 0


def test_whoever_comes(box, cluster):
    """With auth_type = any the pooler reads no user list, so the service account's password stands elsewhere."""
    b = box(cluster, AUTH_TYPE="any", ALLOWED_ADDRESS=None, ECDSA_REQUIRE_TLS=None).start()
    assert b.sql("SELECT current_user", user="whoever", password="") == [("postgres",)]
    assert b.stop() == 0


def test_an_ordinary_role_as_service_account(box, cluster):
    b = box(cluster, PG_USER="shop owner's", PG_DATABASE="shop").start()
    assert b.sql("CREATE TABLE mine()", "SELECT current_user, current_database(), usesuper FROM pg_user WHERE usename = current_user",
                 dbname="shop") == [("shop owner's", "shop", False)]
    assert b.stop() == 0


def environ_of(pid):
    with open("/proc/%d/environ" % pid, "rb") as f:
        return f.read()


@pytest.mark.skipif(not env.IS_ROOT, reason="only root can look into processes that hide")
def test_secrets_are_in_no_environment_and_no_argument(box, cluster):
    b = box(cluster, PG_PASSWORD="pass-hidden").store(MNEMONIC="hidden two three four five six seven eight nine ten eleven twelve",
                                                     MAX_CLIENT_CONN="50").start()
    pids = {"itself": b.p.pid, **b.children()}
    assert set(pids) == {"itself", "postgres", "pg-ecdsa-proxy", "pg-ecdsa-backup"}
    for name, pid in pids.items():
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            assert b"hidden" not in f.read(), name
        if name == "pg-ecdsa-backup":
            # It may just have been started; the others have shown that they run.
            env.wait_for(lambda: b"hidden" not in environ_of(pids["pg-ecdsa-backup"]), "it to wipe its environment")
        assert b"hidden" not in environ_of(pid), name
    for name in "postgres", "pg-ecdsa-proxy":
        assert b"BACKUP" not in environ_of(pids[name]) and b"PG_" not in environ_of(pids[name])
    assert "hidden" not in b.log()
    if "PGECDSA_ALLOW_CORE" not in b.variables:
        # Nor can the PostgreSQL inside have them read, although all run as one user here.
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            b.sql("SELECT pg_read_binary_file('/proc/%d/environ')" % b.p.pid)
    assert b.stop() == 0


def test_a_volume_is_lost_and_the_data_come_back(box, cluster):
    b = box(cluster).store(BACKUP_ON_SHUTDOWN="yes").start()
    b.sql("INSERT INTO kept VALUES (2)")
    assert b.stop() == 0
    log = b.log()
    order = [log.index(t) for t in ("got SIGTERM, shutting down", "backup_done", "received fast shutdown request",
                                    "database system is shut down")]
    assert order == sorted(order)
    store = b.variables["BACKUP_S3_ENDPOINT"][7:]

    fresh = box().store(store).start()
    assert fresh.sql("SELECT a FROM kept ORDER BY a") == [(1,), (2,)]
    # Who runs it can look at the backups, with the password that nobody knows.
    status, said = fresh.command("backup", "list")
    assert status == 0 and "good" in said
    assert fresh.command("backup", "check")[0] == 0
    assert fresh.stop() == 0
    log = fresh.log()
    assert log.index("restore") < log.index("process up")

    # Another mnemonic: it says so, and nobody is served an empty database.
    stranger = box().store(store, MNEMONIC=OTHER_MNEMONIC).launch()
    assert stranger.wait() == 4
    assert "MNEMONIC: the newest backup cannot be opened" in stranger.log()
    assert "no database is served" in stranger.log() and "process up" not in stranger.log()


def test_plain_backups_when_asked_for(box, cluster):
    b = box(cluster).store(MNEMONIC=None, BACKUP_ENCRYPTION="none", BACKUP_SCHEDULE_INITIAL_DELAY="0").start()
    store = b.variables["BACKUP_S3_ENDPOINT"][7:]
    env.wait_for(lambda: glob.glob(store + "/app/*.backup"), "a plain backup")
    assert b.stop() == 0


@pytest.mark.parametrize("name", ["postgres", "pg-ecdsa-proxy", "pg-ecdsa-backup"])
def test_a_crash_ends_the_container_with_its_status(box, cluster, name):
    b = box(cluster).store().start()
    pids = b.children()
    os.kill(pids[name], signal.SIGKILL)
    assert b.wait() == 128 + signal.SIGKILL
    assert "has ended by itself with status 137" in b.log()
    assert not children_left(b)
    # And it starts again, from what a crash leaves.
    b.start()
    assert b.sql("SELECT a FROM kept") == [(1,)]
    assert b.stop() == 0


def test_draining(box, cluster):
    b = box(cluster, SHUTDOWN_DRAIN_SECS="60").start()
    c = b.connect()
    b.p.send_signal(signal.SIGTERM)
    env.wait_for(lambda: get(b.http, "/readyz").code == 503, "readiness to end")
    assert c.execute("SELECT 1").fetchone() == (1,)
    assert "received fast shutdown request" not in b.log()
    c.close()
    assert b.wait() == 0

    b.set(SHUTDOWN_DRAIN_SECS="1").start()
    c = b.connect()
    assert b.stop() == 0
    assert "clients that are still connected are cut" in b.log()
    with pytest.raises(psycopg.OperationalError):
        c.execute("SELECT 1")

    # A second signal: no more waiting.
    b.set(SHUTDOWN_DRAIN_SECS="600").start()
    c = b.connect()
    b.p.send_signal(signal.SIGTERM)
    env.wait_for(lambda: get(b.http, "/readyz").code == 503, "readiness to end")
    assert b.stop(signal.SIGINT) == 0
    c.close()


def test_orphans_are_reaped(box, cluster):
    b = box(cluster).start()
    # Its parent, the backend's shell, ends first.
    b.sql("COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; sleep 0.3 >/dev/null 2>&1 &'")
    env.wait_for(lambda: "sleep" in b.children(), "the orphan to come to us")
    env.wait_for(lambda: "sleep" not in b.children(), "the orphan to be reaped", pause=0.05)
    assert all(state_of(pid) != "Z" for pid in b.children().values())
    assert b.stop() == 0


def state_of(pid):
    with open("/proc/%d/stat" % pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def test_sighup_reads_files_again(box, cluster, scratch):
    wallets = env.write(os.path.join(env.make_dir(scratch), "wallets"), ALICE.address + "\n")
    b = box(cluster, ALLOWED_ADDRESS=None, ECDSA_ALLOWED_ADDRESSES="@" + wallets).start()
    with pytest.raises(psycopg.OperationalError):
        b.sql("SELECT 1", wallet=BOB)
    env.write(wallets, BOB.address + "\n")
    b.p.send_signal(signal.SIGHUP)

    def bob_may():
        try:
            return b.sql("SELECT 1", wallet=BOB) == [(1,)]
        except psycopg.OperationalError:
            return False
    env.wait_for(bob_may, "the new list", pause=0.2)
    assert b.stop() == 0


@pytest.mark.skipif(not env.IS_ROOT, reason="only root can make a directory for others")
def test_a_volume_that_belongs_to_the_group_alone(box):
    b = box()
    os.mkdir(b.data_dir)
    shutil.chown(b.data_dir, 0, env.SERVER_USER)
    os.chmod(b.data_dir, 0o2775)
    b.start()
    assert b.sql("SELECT 1") == [(1,)]
    assert b.stop() == 0
    os.chmod(b.data_dir, 0o755)
    status, said = b.command()
    assert status == 1 and "DATA_DIR: the directory %s cannot be used" % b.data_dir in said


def test_settings_that_may_not_be_but_are_no_errors(box):
    said = checked(box(BACKUP_S3_BUCKET="b", PG_HOST="db"))
    assert "BACKUP_S3_BUCKET is set, but BACKUP_S3_ENDPOINT is not: there are no backups" in said
    b = box(PG_HOST="db", PG_SSLMODE="require")
    checked(b)
    assert settings_of(b)["server_tls_sslmode"] == "require"


# --- TLS ------------------------------------------------------------------------------

def put_certificate(b, certs, name):
    os.makedirs(b.tls_dir, exist_ok=True)
    env.own(b.tls_dir)
    for source, to in ((certs.crt(name), "fullchain.pem"), (certs.key(name), "privkey.pem")):
        shutil.copy(source, os.path.join(b.tls_dir, to + ".new"))
        env.own(os.path.join(b.tls_dir, to + ".new"))
        os.rename(os.path.join(b.tls_dir, to + ".new"), os.path.join(b.tls_dir, to))


def der(path):
    with open(path) as f:
        return ssl.PEM_cert_to_DER_cert(f.read())


def test_a_renewed_certificate_keeps_the_clients(box, cluster, certs):
    b = box(cluster, ECDSA_REQUIRE_TLS=None)
    put_certificate(b, certs, "server")
    b.start()
    c = b.connect(sslmode="verify-full", sslrootcert=certs.crt("ca"), host="localhost")
    assert certificate_of(b.port) == der(certs.crt("server"))
    # A pair that does not fit is refused, and the old one stays.
    shutil.copy(certs.crt("elsewhere"), os.path.join(b.tls_dir, "fullchain.pem"))
    env.wait_for(lambda: "the certificate has changed" in b.log(), "the change to be seen")
    env.wait_for(lambda: re.search(r"re-reading config.*(TLS|tls|key|certificate)", b.log(), re.S), "the answer of the pooler")
    assert certificate_of(b.port) == der(certs.crt("server"))
    put_certificate(b, certs, "elsewhere")
    env.wait_for(lambda: certificate_of(b.port) == der(certs.crt("elsewhere")), "the new certificate", pause=0.2)
    assert c.execute("SELECT 1").fetchone() == (1,)
    c.close()
    assert b.stop() == 0


def test_half_a_certificate(box, certs):
    b = box(ECDSA_REQUIRE_TLS=None)
    put_certificate(b, certs, "server")
    os.unlink(os.path.join(b.tls_dir, "privkey.pem"))
    status, said = b.command()
    assert status == 1 and "could not read %s/privkey.pem" % b.tls_dir in said


def test_other_names_of_the_files(box, certs):
    b = box(ECDSA_REQUIRE_TLS="always", CLIENT_TLS_CERT_FILE=certs.crt("server"), CLIENT_TLS_KEY_FILE=certs.key("server"),
            CLIENT_TLS_SSLMODE="require")
    checked(b)
    assert settings_of(b)["client_tls_sslmode"] == "require"
    with open(os.path.join(b.run_dir, "proxy", "tls.crt"), "rb") as mine, open(certs.crt("server"), "rb") as theirs:
        assert mine.read() == theirs.read()


# --- a PostgreSQL elsewhere ---------------------------------------------------------------

def test_a_postgresql_outside(box, pg, databases, scratch):
    name = databases.make("CREATE TABLE t AS SELECT 5 AS a")
    b = box(PG_INSIDE="no", PG_HOST=pg.host, PG_PORT=pg.port, PG_USER="postgres", PG_PASSWORD="unused",
            PG_DATABASE=name, PG_SSLMODE="disable").store(BACKUP_SCHEDULE_INITIAL_DELAY="0").start()
    assert set(b.children()) == {"pg-ecdsa-proxy", "pg-ecdsa-backup"}
    assert b.sql("SELECT a FROM t", dbname=name) == [(5,)]
    assert not os.path.exists(b.data_dir)
    assert settings_of(b)["server_tls_sslmode"] == "disable"
    store = b.variables["BACKUP_S3_ENDPOINT"][7:]
    env.wait_for(lambda: glob.glob(store + "/app/*.backup.enc"), "the backup")
    assert b.stop() == 0
    empty = databases.make()
    b.set(PG_DATABASE=empty).start()
    assert b.sql("SELECT a FROM t", dbname=empty) == [(5,)]
    assert b.stop() == 0


def test_a_stop_while_it_waits_for_the_database(box):
    port = env.free_port()
    b = box(PG_INSIDE="no", PG_HOST="127.0.0.1", PG_PORT=port).store().launch()
    env.wait_for(lambda: "pg-ecdsa-backup" in b.children() and "restore" in arguments(b.children()["pg-ecdsa-backup"]),
                 "the restore to wait")
    begin = time.monotonic()
    assert b.stop() == 128 + signal.SIGTERM
    assert time.monotonic() - begin < 20 * env.SLOW and "process up" not in b.log()


def arguments(pid):
    try:
        with open("/proc/%d/cmdline" % pid) as f:
            return f.read().split("\0")
    except OSError:
        return []
