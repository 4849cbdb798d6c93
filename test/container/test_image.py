"""The image, from outside: a wallet, a store that checks signatures, and an empty disk."""
import os
import re
import shutil
import signal
import socket
import subprocess

import psycopg
import pytest
from conftest import MODE, POOLER, UIDS, configuration
from harness import env
from harness.box import certificate_of
from harness.http import Platform, get, ok
from harness.s3client import Bucket
from harness.swift import ACCESS_KEY, REGION, SECRET_KEY
from harness.wallet import ALICE, BOB

WORDS = "hidden quick brown fox jumps over the lazy dog while twelve words"
OTHER_WORDS = "hidden sphinx of black quartz judge my vow while twelve other words"
PLAIN = {"ALLOWED_ADDRESS": ALICE.address, "ECDSA_REQUIRE_TLS": "never"}


def connect(c, wallet=ALICE, **how):
    return psycopg.connect(**{"host": "127.0.0.1", "port": c.port, "user": wallet.address, "dbname": "postgres",
                              "password": wallet.password(), "autocommit": True, **how})


def sql(c, *statements, **how):
    rows = None
    with connect(c, **how) as connection:
        for s in statements:
            cursor = connection.execute(s)
            rows = cursor.fetchall() if cursor.description else None
    return rows


def backups(swift, bucket):
    return {"BACKUP_S3_ENDPOINT": swift.endpoint, "BACKUP_S3_BUCKET": bucket.bucket, "BACKUP_S3_ACCESS_KEY": ACCESS_KEY,
            "BACKUP_S3_SECRET_KEY": SECRET_KEY, "BACKUP_S3_REGION": REGION, "BACKUP_PREFIX": "my-app",
            "BACKUP_SCHEDULE_INITIAL_DELAY": "1h", "MNEMONIC": WORDS}


@pytest.fixture(scope="module")
def bucket(swift):
    b = Bucket(swift)
    yield b
    b.empty()


@pytest.fixture(scope="module")
def box(make):
    """One for the tests that leave it as it was."""
    return make({**PLAIN, "MNEMONIC": WORDS}).ready()


def test_what_the_image_says_of_itself():
    print("containers by " + MODE)
    for image in "localhost/pg-ecdsa-all-in-one", POOLER:
        c = configuration(image)
        assert c["Cmd"] == ["/usr/local/bin/pg-ecdsa-container"] and not c.get("Entrypoint")
        assert set(c["ExposedPorts"]) == {"5433/tcp", "3000/tcp"}
        assert c["Labels"]["org.opencontainers.image.licenses"] == "MIT"
        assert c["Healthcheck"]["Test"] == ["CMD", "/usr/local/bin/pg-ecdsa-container", "health"]
        assert not [v for v in c.get("Env") or [] if not v.startswith("PATH=")]


def test_what_the_platform_needs_is_there(box):
    assert box.run("sh", "-c", "command -v chmod && su -s /bin/sh pgproxy -c 'id -u' && touch /tmp/x && rm /tmp/x")[1].split()[-1] == "5433"


def test_a_wallet_signs_in_from_outside(box, tmp_path):
    """The proof is made by the image's own pg-ecdsa-token, the client is psql of the machine."""
    status, proof = box.run("sh", "-c", "umask 077; echo %s >/tmp/key; pg-ecdsa-token --key /tmp/key; rm /tmp/key" % ALICE.key_hex)
    assert status == 0 and re.fullmatch(r"\d+:0x[0-9a-f]{130}\n", proof)
    out = subprocess.run(["psql", "-X", "-At", "-h", "127.0.0.1", "-p", str(box.port), "-U", ALICE.address, "-c",
                          "SELECT current_user, current_setting('application_name')", "postgres"],
                         env={**os.environ, "PGPASSWORD": proof.strip()}, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert out == "postgres|ecdsa-proxy:%s\n" % ALICE.address
    with pytest.raises(psycopg.OperationalError):
        sql(box, "SELECT 1", wallet=BOB)
    assert box.run("pg-ecdsa-container", "health") == (0, "HTTP/1.0 200 OK\n")
    assert get(box.http, "/health").json == {"status": "ok"}


def uid_of(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"^Uid:\t(\d+)\t\1\t\1\t\1$", f.read(), re.M).group(1))


def test_nothing_but_the_first_process_is_root(box):
    found = box.processes()
    assert {name: uid_of(pid) for name, pid in found.items()} == {
        "pg-ecdsa-container": 0, **{n: u for n, u in UIDS.items() if n != "pg-ecdsa-backup"}}
    assert "postgres" in found


def test_a_superuser_does_not_find_the_secrets(box):
    """A wallet whose role is a superuser of PostgreSQL runs programs as the user postgres."""
    script = ("for f in /proc/[0-9]*/environ /run/pg-ecdsa-proxy/*/*; do cat $f; done 2>/dev/null | tr \"\\0\" \" \" | grep -c hidden; "
              "mv /run/pg-ecdsa-proxy/proxy /tmp/ 2>/dev/null && echo moved; id -u; true")
    sql(box, "CREATE TABLE told (line text)", "COPY told FROM PROGRAM $$%s$$" % script)
    assert sql(box, "SELECT line FROM told") == [("0",), ("5432",)]
    sql(box, "DROP TABLE told")
    assert "hidden" not in box.log()


def test_a_killed_process_ends_the_container(make):
    c = make(PLAIN).ready()
    os.kill(c.processes()["pg-ecdsa-proxy"], signal.SIGKILL)
    assert c.wait() == 128 + signal.SIGKILL
    assert "pg-ecdsa-proxy has ended by itself with status 137" in c.log()
    # With the disk it had, it starts again.
    c.start_again().ready()
    c.signal(signal.SIGTERM)
    assert c.wait() == 0


def test_an_empty_disk_and_the_same_mnemonic(make, swift, bucket):
    stored = backups(swift, bucket)
    first = make({**PLAIN, **stored, "BACKUP_ON_SHUTDOWN": "yes"}).ready()
    sql(first, "CREATE TABLE notes AS SELECT n, md5(n::text) AS text FROM generate_series(1, 5000) n")
    rows = sql(first, "SELECT count(*), sum(hashtext(text)) FROM notes")
    client = connect(first)
    first.signal(signal.SIGTERM)
    env.wait_for(lambda: get(first.http, "/readyz").code == 503, "readiness to end")
    assert client.execute("SELECT 1").fetchone() == (1,)
    client.close()
    assert first.wait() == 0
    log = first.log()
    order = [log.index(t) for t in ("got SIGTERM, shutting down", "backup_done", "received fast shutdown request")]
    assert order == sorted(order)
    assert len([k for k in bucket.keys() if k.startswith("my-app/")]) == 1
    first.destroy()

    second = make({**PLAIN, **stored}).ready()
    assert sql(second, "SELECT count(*), sum(hashtext(text)) FROM notes") == rows
    assert uid_of(second.processes()["pg-ecdsa-backup"]) == UIDS["pg-ecdsa-backup"]
    status, said = second.run("pg-ecdsa-container", "backup", "list")
    assert status == 0 and "good" in said
    assert "hidden" not in second.log()
    second.destroy()

    stranger = make({**PLAIN, **stored, "MNEMONIC": OTHER_WORDS})
    assert stranger.wait() == 4
    assert "MNEMONIC: the newest backup cannot be opened" in stranger.log() and "process up" not in stranger.log()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", stranger.port), timeout=5)


def test_a_wrong_variable_ends_it_at_once(make):
    c = make({**PLAIN, "POOL_SIZE": "many"})
    assert c.wait() == 2
    assert 'POOL_SIZE: invalid value "many"' in c.log() and "making a new PostgreSQL" not in c.log()


def put_certificate(directory, certs, name):
    for source, to in ((certs.crt(name), "fullchain.pem"), (certs.key(name), "privkey.pem")):
        shutil.copy(source, os.path.join(directory, to + ".new"))
        os.chmod(os.path.join(directory, to + ".new"), 0o600)
        os.chown(os.path.join(directory, to + ".new"), 0, 0)
        os.rename(os.path.join(directory, to + ".new"), os.path.join(directory, to))


def test_secrets_in_files_tls_and_evidence(make, scratch, certs, pg):
    """As on a platform: secrets that root alone can read, /run/tls that is renewed, the attestation socket."""
    secrets, tls = env.make_dir(scratch), env.make_dir(scratch)
    for name, text in (("address", ALICE.address + "\n"), ("password", "svc_pw\n")):
        env.write(os.path.join(secrets, name), text, 0o600)
        os.chown(os.path.join(secrets, name), 0, 0)
    put_certificate(tls, certs, "server")
    platform = Platform(lambda path, document: ok("eyJ0.token." + ".".join(document["nonces"])))
    os.chmod(platform.path, 0o777)
    try:
        c = make({"ALLOWED_ADDRESS_FILE": "/secrets/address", "PG_HOST": pg.host, "PG_PORT": pg.port, "PG_INSIDE": "no",
                  "ECDSA_REQUIRE_TLS": "always", "PG_USER": "svc", "PG_PASSWORD_FILE": "/secrets/password", "HTTP_ATTESTATION": "eigencompute",
                  "HTTP_ATTESTATION_SOCKET": "/run/platform/socket"},
                 {secrets: "/secrets", tls: "/run/tls", platform.dir: "/run/platform"}, image=POOLER).ready()
        assert set(c.processes()) == {"pg-ecdsa-container", "pg-ecdsa-proxy"}
        client = connect(c, dbname="db", host="localhost", sslmode="verify-full", sslrootcert=certs.crt("ca"))
        assert client.execute("SELECT current_user").fetchone() == ("svc",)
        before = certificate_of(c.port)
        put_certificate(tls, certs, "elsewhere")
        env.wait_for(lambda: certificate_of(c.port) != before, "the new certificate", pause=0.2)
        assert client.execute("SELECT 1").fetchone() == (1,)
        client.close()
        seen = get(c.http, "/attestation?nonce=0123456789abcdef").json
        assert seen["platform"] == "eigencompute" and seen["evidence"].startswith("eyJ0.token.0123456789abcdef.")
        with pytest.raises(psycopg.OperationalError, match="TLS|SSL|encrypt"):
            sql(c, "SELECT 1", dbname="db", sslmode="disable")
        c.signal(signal.SIGTERM)
        assert c.wait() == 0
    finally:
        platform.close()


def test_the_pooler_alone_has_no_server_inside(make):
    c = make({**PLAIN, "PG_INSIDE": "yes"}, image=POOLER)
    assert c.wait() == 2 and "PG_INSIDE: this image has no PostgreSQL inside" in c.log()


def test_another_user_and_a_read_only_image(make, scratch):
    """As platforms do that let nothing be root; the disk is a volume."""
    data = env.make_dir(scratch)
    os.chown(data, 5432, 5432)
    c = make(PLAIN, {data: "/var/lib/pg-ecdsa-proxy"}, user="5432:5432", read_only=True)
    c.ready()
    assert {uid_of(pid) for pid in c.processes().values()} == {5432}
    sql(c, "CREATE TABLE t AS SELECT 7 AS a")
    c.signal(signal.SIGTERM)
    assert c.wait() == 0
    c.destroy()
    again = make(PLAIN, {data: "/var/lib/pg-ecdsa-proxy"}, user="5432:5432", read_only=True).ready()
    assert sql(again, "SELECT a FROM t") == [(7,)]
