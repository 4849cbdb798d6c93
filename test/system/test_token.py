"""pg-ecdsa-token from outside: what it prints, what it refuses, where keys may and may not be.

The binary is $PG_ECDSA_TOKEN, or pg-ecdsa-token in $BUILD_DIR (default: build).
"""
import hashlib
import os
import pathlib
import re
import resource
import signal
import stat
import subprocess
import time

import pytest
from Cryptodome.Hash import keccak
from ecdsa import SECP256k1, SigningKey
from ecdsa.util import sigencode_strings

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKEN = os.environ.get("PG_ECDSA_TOKEN") or str(
    (ROOT / os.environ.get("BUILD_DIR", "build") / "pg-ecdsa-token").resolve())
N = SECP256k1.order

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
USER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
NOW = 1750000000
R = "7043095b22e39d516a46cc33a7c967ff57794320250201d1845ae5a90f9672a7"
S = "2e66a21f72122abd8096a96d3ca1e42e55f032bf14f6b3acf723a9cc0e94c04d"
GOOD = f"{NOW}:0x{R}{S}1b"


def run(*args, given="", **kwargs):
    """Runs the tool; given is what it reads from standard input."""
    if isinstance(given, str):
        given = given.encode()
    env = {"PATH": os.environ["PATH"], **kwargs.pop("env", {})}
    done = subprocess.run([TOKEN, *map(str, args)], input=given, stdout=kwargs.pop("stdout", subprocess.PIPE),
                          stderr=subprocess.PIPE, env=env, timeout=20, check=False, **kwargs)
    done.out = (done.stdout or b"").decode()
    done.err = done.stderr.decode()
    return done


def keccak256(data):
    return keccak.new(digest_bits=256, data=data).digest()


def expected_password(key_hex, at):
    """The same password by python3-ecdsa: RFC 6979, low s, v from the parity."""
    text = str(at).encode()
    digest = keccak256(b"\x19Ethereum Signed Message:\n%d" % len(text) + text)
    key = SigningKey.from_string(bytes.fromhex(key_hex), curve=SECP256k1)
    r, s = (int.from_bytes(x, "big") for x in
            key.sign_digest_deterministic(digest, hashfunc=hashlib.sha256, sigencode=sigencode_strings))
    s = min(s, N - s)
    # The nonce's point is u1 G + u2 Q; its y says the parity.
    inverse = pow(s, -1, N)
    point = (SECP256k1.generator * (int.from_bytes(digest, "big") * inverse % N)
             + key.verifying_key.pubkey.point * (r * inverse % N))
    return "%d:0x%064x%064x%02x" % (at, r, s, 27 + point.y() % 2)


def address_of(key_hex):
    key = SigningKey.from_string(bytes.fromhex(key_hex), curve=SECP256k1)
    digits = keccak256(key.verifying_key.to_string())[-20:].hex()
    checksum = keccak256(digits.encode()).hex()
    return "0x" + "".join(d.upper() if int(c, 16) >= 8 else d for d, c in zip(digits, checksum))


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "wallet.key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    return path


# ---- signing


def test_a_password_is_the_published_vector(key_file):
    done = run("--key", key_file, "--at", NOW)
    assert (done.returncode, done.out, done.err) == (0, GOOD + "\n", "")


@pytest.mark.parametrize("number", range(40))
def test_signatures_are_the_bytes_of_another_library(number):
    key = hashlib.sha256(b"token test %d" % number).hexdigest()
    at = [0, 7, 2**31, 2**63 - 1][number] if number < 4 else NOW + number * 7919
    done = run("--key", "-", "--at", at, given=key)
    assert (done.returncode, done.out) == (0, expected_password(key, at) + "\n")
    done = run("--key", "-", "--address", given=key)
    assert (done.returncode, done.out) == (0, address_of(key) + "\n")


def test_the_time_is_now_unless_told(key_file):
    before = int(time.time())
    done = run("--key", key_file)
    after = int(time.time())
    assert done.returncode == 0
    assert before <= int(done.out.split(":")[0]) <= after
    assert run("--check", USER, given=done.out).returncode == 0


# ---- keys


@pytest.mark.parametrize("text", [KEY, KEY + "\n", "0x" + KEY, KEY.upper(), KEY + " \t\r\n\n"])
def test_a_key_may_be_spelled_like_this(tmp_path, text):
    path = tmp_path / "k"
    path.write_text(text)
    path.chmod(0o600)
    for args, given, env in ((("--key", path), "", {}), (("--key", "-"), text, {}),
                             (("--key-env", "WALLET"), "", {"WALLET": text})):
        done = run(*args, "--address", given=given, env=env)
        assert (done.returncode, done.out, done.err) == (0, USER + "\n", "")


@pytest.mark.parametrize("text,word", [
    ("", "empty"),
    ("\n", "empty"),
    ("0x", "empty"),
    (KEY[1:], "64 hexadecimal digits"),
    (KEY + "0", "64 hexadecimal digits"),
    (" " + KEY, "64 hexadecimal digits"),
    ("0X" + KEY, "64 hexadecimal digits"),
    (KEY + "\n" + KEY, "64 hexadecimal digits"),
    ("g" + KEY[1:], "not a hexadecimal digit"),
    ("0" * 64, "cannot be a private key"),
    ("%064x" % N, "cannot be a private key"),
    ("f" * 64, "cannot be a private key"),
    (KEY + " " * 5000, "too long"),
])
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path, text, word):
    path = tmp_path / "k"
    path.write_text(text)
    path.chmod(0o600)
    for args, given, env in ((("--key", path), "", {}), (("--key", "-"), text, {}),
                             (("--key-env", "WALLET"), "", {"WALLET": text})):
        if word == "too long" and env:
            continue  # white space behind a key in the environment has no bound
        done = run(*args, given=given, env=env)
        assert (done.returncode, done.out) == (1, "")
        assert word in done.err
        assert KEY[1:] not in done.err


def test_the_largest_key_is_accepted():
    assert run("--key", "-", "--address", given="%064x" % (N - 1)).returncode == 0
    assert run("--key", "-", "--address", given="%064x" % 1).out == "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf\n"


def test_a_missing_file_and_a_missing_variable_are_named(tmp_path):
    done = run("--key", tmp_path / "none")
    assert done.returncode == 1 and str(tmp_path / "none") in done.err and "No such file" in done.err
    done = run("--key-env", "NOT_SET_HERE")
    assert done.returncode == 1 and "NOT_SET_HERE is not set" in done.err
    done = run("--key", tmp_path)
    assert done.returncode == 1 and "directory" in done.err


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_open_to_others_gives_a_warning_only(key_file, mode):
    key_file.chmod(mode)
    done = run("--key", key_file, "--at", NOW)
    assert (done.returncode, done.out) == (0, GOOD + "\n")
    assert "warning" in done.err and "%04o" % mode in done.err


@pytest.mark.parametrize("words", [
    [KEY], ["0x" + KEY], ["--key", KEY], ["--key=0x" + KEY], ["--key-env", KEY], ["--check", KEY],
    ["--new", "0x" + KEY.upper()], ["--at", KEY], ["--help", KEY], ["--nonsense=" + KEY],
])
def test_a_key_on_the_command_line_is_refused_and_not_repeated(words, tmp_path):
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, done.out) == (2, "")
    assert "looks like a private key" in done.err
    assert KEY not in done.err.lower()
    assert list(tmp_path.iterdir()) == []


def test_no_core_is_left_of_a_process_that_holds_a_key():
    """The tool waits for its key here, so that one can look at it."""
    with subprocess.Popen([TOKEN, "--key", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 10
            while resource.prlimit(process.pid, resource.RLIMIT_CORE) != (0, 0):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.stdin.write(KEY.encode())
            process.stdin.close()
            assert re.fullmatch(rb"\d+:0x[0-9a-f]{130}\n", process.stdout.read())
        finally:
            process.kill()


# ---- new keys


def test_a_new_key_is_private_and_works(tmp_path):
    path = tmp_path / "new.key"
    done = run("--new", path, umask=0)
    assert done.returncode == 0 and done.err == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.fullmatch("[0-9a-f]{64}\n", path.read_text())
    assert done.out == address_of(path.read_text().strip()) + "\n"
    password = run("--key", path).out
    assert run("--check", done.out.strip(), given=password).returncode == 0


def test_a_new_key_has_its_mode_under_any_umask(tmp_path):
    path = tmp_path / "new.key"
    assert run("--new", path, umask=0o777).returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_new_keys_differ(tmp_path):
    assert run("--new", tmp_path / "a").out != run("--new", tmp_path / "b").out


def test_a_file_that_exists_is_never_overwritten(tmp_path, key_file):
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "elsewhere")
    for path in (key_file, dangling, tmp_path):
        done = run("--new", path)
        assert (done.returncode, done.out) == (1, "")
        assert "exists already" in done.err
    assert key_file.read_text() == KEY + "\n"
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_that_cannot_be_written_leaves_no_file(tmp_path):
    path = tmp_path / "new.key"

    def no_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    done = run("--new", path, preexec_fn=no_room, restore_signals=False)
    assert (done.returncode, done.out) == (1, "")
    assert "cannot write the key file" in done.err
    assert not path.exists()
    done = run("--new", tmp_path / "no" / "such" / "directory")
    assert done.returncode == 1 and "No such file" in done.err


# ---- checking


HIGH_S = "%064x" % (N - int(S, 16))


@pytest.mark.parametrize("reason,user,password", [
    ("ok", USER, GOOD),
    ("ok", USER.lower(), GOOD.replace("0x", "")),
    ("ok", USER, f"{NOW}:{R}{S}"),
    ("address_malformed", USER[2:], GOOD),
    ("address_malformed", "alice.eth", GOOD),
    ("password_empty", USER, ""),
    ("packet_malformed", USER, GOOD + "\0"),
    ("password_too_long", USER, "1" * 4096),
    ("password_too_long", USER, "1" * 100000),
    ("format_unknown", USER, "secret"),
    ("message_malformed", USER, "siwe:bWVzc2FnZQ:" + R),
    ("timestamp_malformed", USER, "0" + GOOD),
    ("timestamp_malformed", USER, "1" * 4095),
    ("timestamp_overflow", USER, f"{2**63}:{R}{S}1b"),
    ("signature_length", USER, GOOD[:-1]),
    ("signature_length", USER, GOOD + "\n\n"),
    ("signature_not_hex", USER, GOOD[:-1] + "g"),
    ("v_out_of_range", USER, GOOD[:-2] + "25"),
    ("scalar_out_of_range", USER, f"{NOW}:0x{0:064x}{S}1b"),
    ("high_s", USER, f"{NOW}:0x{R}{HIGH_S}1c"),
    ("expired", USER, f"{NOW - 301}:0x{R}{S}1b"),
    ("from_future", USER, f"{NOW + 301}:0x{R}{S}1b"),
    ("timestamp_milliseconds", USER, f"{NOW}000:0x{R}{S}1b"),
    ("recovery_failed", USER, f"{NOW}:0x{5:064x}{S}1b"),
    ("wrong_signer", USER, GOOD[:-2] + "1c"),
    ("wrong_signer", "0xa8e9e6A57CcB930561c2923c303B3b4bd9b977a0", GOOD),
])
def test_check_names_the_reason_in_words(reason, user, password):
    done = run("--check", user, "--at", NOW, given=password)
    first = done.out.splitlines()[0]
    assert first.startswith(reason + ": ")
    assert len(first) > len(reason) + 15
    assert done.returncode == (0 if reason == "ok" else 1)
    assert done.err == ""
    if len(password) > 20:
        assert password.strip() not in done.out


def test_check_drops_one_line_end_only():
    assert run("--check", USER, "--at", NOW, given=GOOD + "\n").returncode == 0
    assert run("--check", USER, "--at", NOW, given=GOOD + "\n\n").returncode == 1
    assert run("--check", USER, "--at", NOW, given=GOOD + "\r\n").returncode == 1


@pytest.mark.parametrize("offset,window,good", [(300, None, True), (301, None, False), (-300, None, True),
                                                (-301, None, False), (0, 0, True), (1, 0, False),
                                                (86400, 86400, True)])
def test_check_has_the_window_of_the_pooler(offset, window, good):
    args = [] if window is None else ["--window", window]
    done = run("--check", USER, "--at", NOW + offset, *args, given=GOOD)
    assert (done.returncode == 0) == good
    assert f"age: {offset} s" in done.out


def test_check_guesses_at_common_mistakes():
    key = SigningKey.from_string(bytes.fromhex(KEY), curve=SECP256k1)
    text = str(NOW).encode()
    digests = {
        "line feed": keccak256(b"\x19Ethereum Signed Message:\n11" + text + b"\n"),
        "hexadecimal": keccak256(b"\x19Ethereum Signed Message:\n5" + bytes.fromhex(text.decode())),
        "instead of its text": keccak256(b"\x19Ethereum Signed Message:\n32" + keccak256(text)),
        "without the EIP-191 prefix": keccak256(text),
    }
    for words, digest in digests.items():
        r, s = (int.from_bytes(x, "big") for x in
                key.sign_digest_deterministic(digest, hashfunc=hashlib.sha256, sigencode=sigencode_strings))
        s = min(s, N - s)
        outputs = [run("--check", USER, "--at", NOW, given="%d:%064x%064x%s" % (NOW, r, s, v)).out for v in ("1b", "1c")]
        assert all(out.startswith("wrong_signer: ") for out in outputs)
        assert sum("likely cause: " in out and words in out for out in outputs) == 1


# ---- the command line


@pytest.mark.parametrize("words", [
    [], ["--at", "5"], ["--address"], ["--nonsense"], ["--key"], ["file"],
    ["--key", "a", "--key", "b"], ["--key", "a", "--key-env", "B"], ["--new", "a", "--check", USER],
    ["--new", "a", "--key", "b"], ["--check", USER, "--key", "b"], ["--key", "a", "--address", "--at", "5"],
    ["--key", "a", "--window", "5"], ["--key", "a", "--at", "-1"], ["--key", "a", "--at", "01"],
    ["--key", "a", "--at", ""], ["--key", "a", "--at", "1.5"], ["--key", "a", "--at", str(2**63)],
    ["--check", USER, "--window", "86401"], ["--check", USER, "--window", "x"],
])
def test_a_senseless_command_line_exits_2_and_says_why(words, tmp_path):
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, done.out) == (2, "")
    assert "pg-ecdsa-token" in done.err and "--help" in done.err
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_option_and_version_is_a_version():
    done = run("--help")
    assert done.returncode == 0
    manual = (ROOT / "doc/man/pg-ecdsa-token.1.md").read_text().replace("\\-", "-")
    for option in ("--key", "--key-env", "--at", "--address", "--new", "--check", "--window", "--help", "--version"):
        assert option in done.out
        assert f"**{option}" in manual
    done = run("--version")
    assert done.returncode == 0 and re.match(r"pg-ecdsa-token .*\d+\.\d+", done.out)


@pytest.mark.parametrize("args,given", [
    (["--key", "-"], KEY), (["--key", "-", "--address"], KEY), (["--check", USER, "--at", NOW], GOOD), (["--help"], ""),
])
def test_a_full_disk_is_an_error(args, given):
    with open("/dev/full", "wb") as full:
        done = run(*args, given=given, stdout=full)
    assert done.returncode == 1
    assert "cannot write to standard output" in done.err
