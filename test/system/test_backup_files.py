"""encrypt, decrypt and key-id: our files are read by an implementation that shares no code, and the other way round."""
import hashlib
import json
import os
import pty
import signal
import subprocess

import pytest
from harness import env
from harness.backup import (BINARY, DONE, INTEGRITY, MNEMONIC, NOTHING, OTHER, USAGE, open_1, open_2, seal_1, seal_2)

with open(os.path.join(env.TOP, "test", "vectors", "backup-vectors.json"), encoding="utf-8") as f:
    VECTORS = json.load(f)

SIZES = [0, 1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20]


@pytest.fixture
def b(backup):
    return backup()


def path(b, name):
    return os.path.join(b.dir, name)


def content(name):
    with open(name, "rb") as f:
        return f.read()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["1", "2"])
def test_what_we_seal_another_implementation_opens(b, form, size):
    plain = os.urandom(size)
    env.write(path(b, "plain"), plain)
    b.run("encrypt", path(b, "plain"), "-o", path(b, "sealed"), "--format", form, expect=DONE)
    sealed = content(path(b, "sealed"))
    assert (open_1 if form == "1" else open_2)(sealed) == plain
    assert os.stat(path(b, "sealed")).st_mode & 0o777 == 0o600
    if form == "1":
        assert len(sealed) == size + 28


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["1", "2"])
def test_what_another_implementation_seals_we_open(b, form, size):
    plain = os.urandom(size)
    env.write(path(b, "sealed"), seal_1(plain) if form == "1" else seal_2(plain))
    b.run("decrypt", path(b, "sealed"), "-o", path(b, "plain"), expect=DONE)
    assert content(path(b, "plain")) == plain


def vector_file(v):
    """The bytes of a vector of format 1 or 2, by the other implementation."""
    p = v["plaintext"]
    plain = bytes.fromhex(p["hex"]) if "hex" in p else lcg(p["lcg_seed"], p["length"])
    if "nonce_hex" in v:
        return seal_1(plain, v["mnemonic"], bytes.fromhex(v["nonce_hex"])), plain
    return seal_2(plain, v["mnemonic"], v["created_at"], v["segment_size"], v["content"], bytes.fromhex(v["salt_hex"])), plain


def lcg(x, length):
    out = bytearray()
    for _ in range(length):
        x = (x * 1103515245 + 12345) & 0x7fffffff
        out.append(x >> 16 & 0xff)
    return bytes(out)


@pytest.mark.parametrize("v", VECTORS["v1"] + VECTORS["v2"], ids=lambda v: v["name"])
def test_published_files_open(b, v):
    data, plain = vector_file(v)
    assert hashlib.sha256(data).hexdigest() == v["file_sha256"]
    env.write(path(b, "sealed"), data)
    b.run("decrypt", path(b, "sealed"), "-o", path(b, "plain"), MNEMONIC=v["mnemonic"], expect=DONE)
    assert content(path(b, "plain")) == plain


def mutate(data, ops):
    data = bytearray(data)
    for o in ops:
        if o["op"] == "xor":
            data[o["offset"]] ^= o["mask"]
        elif o["op"] == "truncate":
            del data[o["length"]:]
        elif o["op"] == "append":
            data += bytes.fromhex(o["hex"])
        elif o["op"] == "swap":
            a, c, n = o["a"], o["b"], o["length"]
            data[a:a + n], data[c:c + n] = data[c:c + n], data[a:a + n]
        elif o["op"] == "remove":
            del data[o["offset"]:o["offset"] + o["length"]]
        else:
            assert o["op"] == "duplicate"
            piece = data[o["offset"]:o["offset"] + o["length"]]
            data[o["offset"]:o["offset"]] = piece
    return bytes(data)


WORDS = {"auth": ("changed or damaged", "its end is missing"), "truncated": ("changed or damaged", "its end is missing"),
         "header_auth": ("header was changed",), "wrong_key": ("made with the key",), "unsupported": ("does not know",),
         "too_short": ("too short",), "non_canonical": ("not as this format is written",)}
BASES = {v["name"]: v for v in VECTORS["v1"] + VECTORS["v2"]}


@pytest.mark.parametrize("m", VECTORS["mutations"], ids=lambda m: "row_45-" + m["name"])
def test_a_changed_file_is_refused_and_nothing_is_written(b, m):
    base = BASES[m["base"]]
    data = mutate(vector_file(base)[0], m["ops"])
    assert hashlib.sha256(data).hexdigest() == m["file_sha256"]
    env.write(path(b, "sealed"), data)
    r = b.run("decrypt", path(b, "sealed"), "-o", path(b, "plain"), MNEMONIC=base["mnemonic"], expect=INTEGRITY)
    assert any(w in r.log for w in WORDS[m["expect"]]), r
    assert not os.path.exists(path(b, "plain")) and not os.path.exists(path(b, "plain.partial"))


@pytest.mark.parametrize("c", [c for c in VECTORS["crafted_invalid"] if "file_hex" in c], ids=lambda c: "row_45-" + c["name"])
def test_a_crafted_file_is_refused_and_nothing_is_written(b, c):
    env.write(path(b, "sealed"), bytes.fromhex(c["file_hex"]))
    r = b.run("decrypt", path(b, "sealed"), "-o", path(b, "plain"), MNEMONIC=c["decrypt_with_mnemonic"], expect=INTEGRITY)
    assert any(w in r.log for w in WORDS[c["expect"]]), r
    assert not os.path.exists(path(b, "plain"))


def test_row_45_a_wrong_mnemonic_is_told(b):
    env.write(path(b, "one"), seal_1(b"PGDMP"))
    env.write(path(b, "two"), seal_2(b"PGDMP"))
    r = b.run("decrypt", path(b, "one"), "-o", path(b, "plain"), MNEMONIC="another", expect=INTEGRITY)
    assert "the key is wrong" in r.log
    r = b.run("decrypt", path(b, "two"), "-o", path(b, "plain"), MNEMONIC="another", expect=INTEGRITY)
    ours = b.run("key-id", MNEMONIC="another").out.strip()
    theirs = b.run("key-id").out.strip()
    assert ours in r.log and theirs in r.log


def test_key_id_is_the_published_one_and_not_the_key(b):
    for k in VECTORS["keys"]:
        if k["mnemonic"]:
            r = b.run("key-id", MNEMONIC=k["mnemonic"], expect=DONE)
            assert r.out == k["key_id_hex"] + "\n"
            assert k["key_hex"][:16] not in r.out + r.log


# ---- weaknesses of the earlier tool, by their numbers in the specification ----

def test_weakness_4_and_5_without_a_mnemonic_nothing_is_encrypted_and_nothing_pretends(b):
    env.write(path(b, "plain"), "x")
    for mnemonic in (None, ""):
        r = b.run("encrypt", path(b, "plain"), "-o", path(b, "sealed"), MNEMONIC=mnemonic, expect=USAGE)
        assert "Set MNEMONIC, or BACKUP_ENCRYPTION=none" in r.log
        assert b.run("key-id", MNEMONIC=mnemonic).status == USAGE
    assert not os.path.exists(path(b, "sealed"))


def test_what_an_empty_mnemonic_made_opens_on_wish_alone(b):
    env.write(path(b, "sealed"), seal_1(b"PGDMP of long ago", ""))
    b.run("decrypt", path(b, "sealed"), "-o", path(b, "plain"), expect=INTEGRITY)
    b.run("decrypt", path(b, "sealed"), "-o", path(b, "plain"), BACKUP_ENCRYPTION_ACCEPT_EMPTY_MNEMONIC="yes", expect=DONE)
    assert content(path(b, "plain")) == b"PGDMP of long ago"


def test_a_plain_dump_opens_on_wish_alone(b):
    env.write(path(b, "plain.in"), b"PGDMP\1\16\0 and so on")
    r = b.run("decrypt", path(b, "plain.in"), "-o", path(b, "out"), expect=INTEGRITY)
    assert "not encrypted" in r.log and not os.path.exists(path(b, "out"))
    b.run("decrypt", path(b, "plain.in"), "-o", path(b, "out"), BACKUP_ENCRYPTION_ACCEPT_UNENCRYPTED="yes", expect=DONE)
    assert content(path(b, "out")) == b"PGDMP\1\16\0 and so on"


def test_a_nonce_that_looks_like_a_plain_dump_is_still_a_nonce(b):
    env.write(path(b, "sealed"), seal_1(b"PGDMP within", nonce=b"PGDMP\0\0\0\0\0\0\1"))
    b.run("decrypt", path(b, "sealed"), "-o", path(b, "out"), expect=DONE)
    assert content(path(b, "out")) == b"PGDMP within"


def test_former_mnemonics_read_and_do_not_write(b):
    env.write(path(b, "former"), "one of long ago\nanother of before\n", 0o600)
    for seal in (seal_1, seal_2):
        env.write(path(b, "sealed"), seal(b"PGDMP old", "another of before"))
        b.run("decrypt", path(b, "sealed"), "-o", path(b, "out"), expect=INTEGRITY)
        b.run("decrypt", path(b, "sealed"), "-o", path(b, "out"), BACKUP_PREVIOUS_MNEMONICS_FILE=path(b, "former"), expect=DONE)
        assert content(path(b, "out")) == b"PGDMP old"
        os.unlink(path(b, "out"))
    env.write(path(b, "plain"), "new")
    b.run("encrypt", path(b, "plain"), "-o", path(b, "sealed"), BACKUP_PREVIOUS_MNEMONICS_FILE=path(b, "former"), expect=DONE)
    assert open_2(content(path(b, "sealed"))) == b"new"


def test_a_mnemonic_is_taken_byte_by_byte(b):
    for raw in (MNEMONIC + " ", " " + MNEMONIC, MNEMONIC.upper(), "sälzig " * 12):
        env.write(path(b, "plain"), "x")
        b.run("encrypt", path(b, "plain"), "-o", path(b, "sealed"), MNEMONIC=raw, expect=DONE)
        assert open_2(content(path(b, "sealed")), raw) == b"x"
    env.write(path(b, "mnemonic"), MNEMONIC + "\n", 0o600)
    b.run("encrypt", path(b, "plain"), "-o", path(b, "sealed"), MNEMONIC=None, MNEMONIC_FILE=path(b, "mnemonic"), expect=DONE)
    assert open_2(content(path(b, "sealed"))) == b"x"


def test_standard_output_gets_proven_bytes_only(b):
    env.write(path(b, "one"), seal_1(b"PGDMP one"))
    env.write(path(b, "two"), seal_2(b"PGDMP two"))
    r = b.run("decrypt", path(b, "one"), "-o", "-", expect=USAGE)
    assert r.out == "" and "--two-pass" in r.log
    assert b.run("decrypt", path(b, "one"), "-o", "-", "--two-pass", expect=DONE).out == "PGDMP one"
    assert b.run("decrypt", path(b, "two"), "-o", "-", expect=DONE).out == "PGDMP two"
    damaged = bytearray(seal_2(os.urandom(100000), size=4096))
    damaged[-1] ^= 1
    env.write(path(b, "three"), bytes(damaged))
    assert b.run("decrypt", path(b, "three"), "-o", "-", "--two-pass", expect=INTEGRITY).out == ""


def test_a_terminal_gets_no_dump(b):
    env.write(path(b, "two"), seal_2(b"PGDMP two"))
    master, slave = pty.openpty()
    p = b.popen(("decrypt", path(b, "two")), stdout=slave)
    os.close(slave)
    _, log = p.communicate(timeout=60 * env.SLOW)
    assert p.returncode == USAGE and b"terminal" in log
    os.close(master)


def test_an_existing_file_stays_until_the_new_one_is_whole(b):
    env.write(path(b, "out"), b"precious")
    damaged = bytearray(seal_2(os.urandom(50000), size=4096))
    damaged[20000] ^= 1
    env.write(path(b, "sealed"), bytes(damaged))
    b.run("decrypt", path(b, "sealed"), "-o", path(b, "out"), expect=INTEGRITY)
    assert content(path(b, "out")) == b"precious"


def test_usage_errors_are_2(b):
    for args in ((), ("nonsense",), ("encrypt",), ("encrypt", "x"), ("decrypt",), ("key-id", "x"), ("decrypt", "a", "b"),
                 ("encrypt", "x", "-o", "y", "--format", "3"), ("--nonsense", "key-id"), ("--log-format", "xml", "key-id")):
        assert b.run(*args).status == USAGE, args
    assert b.run("decrypt", "latest", BACKUP_S3_ENDPOINT=None).status == USAGE
    assert b.run("decrypt", "latest", "-o", path(b, "x")).status == NOTHING
    assert b.run("encrypt", path(b, "missing"), "-o", path(b, "x")).status == OTHER
    assert b.run("--help", expect=DONE).out.startswith("pg-ecdsa-backup keeps")
    assert b.run("--version", expect=DONE).out.startswith("pg-ecdsa-backup ")


def test_secrets_are_no_arguments(b):
    """There is no option for a mnemonic, a password or a key."""
    words = b.run("--help").out.split("Secrets are never arguments")[0]
    assert not [w for w in ("mnemonic", "password", "secret", "access-key") if "--" + w in words]


@pytest.mark.parametrize("form", ["text", "json", "logfmt"])
def test_logs_come_in_three_forms(b, form):
    env.write(path(b, "sealed"), seal_2(b"x", "other"))
    r = b.run("--log-format", form, "decrypt", path(b, "sealed"), "-o", path(b, "out"))
    line = [x for x in r.log.splitlines() if "error" in x][-1]
    if form == "json":
        e = json.loads(line)
        assert e["event"] == "decrypt" and e["level"] == "error" and e["ts"].endswith("Z") and "made with" in e["error"]
    elif form == "logfmt":
        assert line.startswith("ts=20") and " level=error event=decrypt " in line
    else:
        assert line.split(" ")[1:3] == ["error", "decrypt"]


def test_a_signal_leaves_no_partial_file(b):
    """SIGTERM in the middle of a large file: 128 + 15, and nothing is left."""
    with open(path(b, "plain"), "wb") as f:
        f.truncate(8 << 30)
    env.own(path(b, "plain"))
    p = b.popen(("encrypt", path(b, "plain"), "-o", path(b, "sealed")))
    env.wait_for(lambda: os.path.exists(path(b, "sealed.partial")) and os.stat(path(b, "sealed.partial")).st_size > 1 << 20,
                 "the file to grow")
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=60 * env.SLOW)
    assert p.returncode == 128 + 15
    assert not os.path.exists(path(b, "sealed.partial")) and not os.path.exists(path(b, "sealed"))


def test_a_full_disk_is_told(b):
    env.write(path(b, "plain"), os.urandom(5000))
    r = subprocess.run([BINARY, "encrypt", path(b, "plain"), "-o", "-"], env=b.environ({}), stdout=open("/dev/full", "wb"),
                       stderr=subprocess.PIPE)
    assert r.returncode == OTHER and b"No space left" in r.stderr
