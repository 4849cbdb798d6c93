"""Where pg-ecdsa-token gets signatures from: encrypted keystores, commands."""
import fcntl
import hashlib
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
from Cryptodome.Cipher import AES
from Cryptodome.Protocol.KDF import scrypt
from harness.wallet import ALICE, BOB, N, keccak256, personal_hash
from test_token import KEY, NOW, TOKEN, USER, run

pytestmark = pytest.mark.ours


def keystore(passphrase="pass phrase", kdf="scrypt", address=True, **params):
    """As the Web3 Secret Storage Definition says, by libraries of its own."""
    salt, iv = b"s" * 32, b"i" * 16
    if kdf == "scrypt":
        params = {"n": 1024, "r": 8, "p": 1, **params}
        derived = scrypt(passphrase.encode(), salt, 32, params["n"], params["r"], params["p"])
    else:
        params = {"c": 1000, "prf": "hmac-sha256", **params}
        derived = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, params["c"], 32)
    ciphertext = AES.new(derived[:16], AES.MODE_CTR, nonce=b"", initial_value=iv).encrypt(bytes.fromhex(KEY))
    out = {"version": 3, "id": "0" * 8, "crypto": {
        "cipher": "aes-128-ctr", "cipherparams": {"iv": iv.hex()}, "ciphertext": ciphertext.hex(), "kdf": kdf,
        "kdfparams": {"dklen": 32, "salt": salt.hex(), **params}, "mac": keccak256(derived[16:] + ciphertext).hex()}}
    if address:
        out["address"] = USER[2:].lower() if address is True else address
    return out


@pytest.fixture
def files(tmp_path):
    def write(store, passphrase="pass phrase\n"):
        a, b = tmp_path / "keystore.json", tmp_path / "passphrase"
        a.write_text(store if isinstance(store, str) else json.dumps(store))
        b.write_text(passphrase)
        a.chmod(0o600)
        b.chmod(0o600)
        return "--keystore", a, "--passphrase-file", b
    return write


# --- keystores --------------------------------------------------------------------

@pytest.mark.parametrize("how", [{}, {"kdf": "pbkdf2"}, {"address": False}, {"n": 262144, "r": 1, "p": 8}, {"n": 4096, "p": 6}])
def test_a_keystore_opens(files, how):
    args = files(keystore(**how))
    assert run(*args, "--address").out == USER + "\n"
    assert run(*args, "--at", NOW).out == ALICE.password(NOW) + "\n"


@pytest.mark.parametrize("passphrase", ["pass phrase", "pass phrase\r\n", "pass phrase\nsecond line\n"])
def test_the_first_line_is_the_passphrase(files, passphrase):
    assert run(*files(keystore(), passphrase), "--address").out == USER + "\n"


def test_the_passphrase_may_come_by_standard_input(files):
    args = list(files(keystore(passphrase="p\u00e4ss")))
    args[3] = "-"
    assert run(*args, "--address", given="p\u00e4ss\n").out == USER + "\n"


@pytest.mark.parametrize("store, passphrase, word", [
    (keystore(), "wrong", "the passphrase does not open the keystore"), (keystore(), "", "does not open"),
    (keystore(), "x" * 2000, "it is too long"), (keystore(address=BOB.lower[2:]), "pass phrase", "another wallet than"),
    ("{}", "", "is of another version than 3"), ("no json", "", "is no JSON text"), ("x" * 70000, "", "too long to be a keystore"),
    (json.dumps({**keystore(), "version": 1}), "", "another version"),
    (json.dumps(keystore()).replace("1024", "1073741824"), "", "asks for more memory or work"),
])
def test_a_keystore_that_does_not_open(files, store, passphrase, word):
    done = run(*files(store, passphrase), "--address")
    assert (done.returncode, done.out) == (1, "") and word in done.err, done.err
    assert "pass phrase" not in done.err


class Terminal:
    """The program on a terminal of its own."""
    def __init__(self, *args):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(TOKEN, [TOKEN, *[str(a) for a in args]])

    def read_until(self, word):
        end = time.monotonic() + 30
        while word not in self.seen:
            assert time.monotonic() < end and select.select([self.fd], [], [], 30)[0], self.seen
            try:
                self.seen += os.read(self.fd, 4096)
            except OSError:  # nobody is on the other side any more
                assert word in self.seen, self.seen

    def number(self):
        return struct.unpack("i", fcntl.ioctl(self.fd, 0x80045430, bytes(4)))[0]  # TIOCGPTN

    def shows_what_is_typed(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)


def test_the_terminal_is_asked_and_shows_nothing(files):
    t = Terminal(*files(keystore())[:2], "--at", NOW)
    t.read_until(b"Passphrase of ")
    os.write(t.fd, b"pass phrase\n")
    t.read_until(ALICE.password(NOW).encode())
    assert os.waitpid(t.pid, 0)[1] == 0
    os.close(t.fd)
    assert b"pass phrase" not in t.seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_question_leaves_the_terminal_as_it_was(files, number):
    t = Terminal(*files(keystore())[:2], "--at", NOW)
    t.read_until(b"Passphrase of ")
    assert not t.shows_what_is_typed()
    side = os.open("/dev/pts/%d" % t.number(), os.O_RDWR | os.O_NOCTTY)  # so that it outlives the program
    if number == signal.SIGINT:
        os.write(t.fd, b"\3")
    else:
        os.kill(t.pid, number)
    assert os.waitstatus_to_exitcode(os.waitpid(t.pid, 0)[1]) == -number
    assert t.shows_what_is_typed()
    os.close(side)
    os.close(t.fd)


def test_without_a_terminal_it_says_so(files):
    args = files(keystore())[:2]
    done = run(*args, "--address", start_new_session=True)
    assert done.returncode == 1 and "there is no terminal" in done.err


# --- commands ------------------------------------------------------------------------

@pytest.fixture
def signer(tmp_path):
    """A command, written in Python, that sees `text` and `digest` and prints what the code says."""
    def make(code):
        path = tmp_path / "signer.py"
        path.write_text(
            "import os, sys\nsys.path.insert(0, %r)\nfrom harness.wallet import *\nimport base64\n"
            "text = sys.stdin.buffer.read()\ndigest = bytes.fromhex(os.environ['PGECDSA_DIGEST'][2:])\n"
            "w = Wallet(%r)\n%s\n" % (os.path.dirname(__file__), KEY, code))
        return "--signer", "/usr/bin/python3 %s" % path, "--wallet", USER
    return make


def der(r, s):
    def number(x):
        b = x.to_bytes(x.bit_length() // 8 + 1, "big")
        return b"\x02" + bytes([len(b)]) + b
    body = number(r) + number(s)
    return b"\x30" + bytes([len(body)]) + body


def test_a_command_signs_the_text(signer):
    args = signer("assert os.environ['PGECDSA_FORMAT'] == 'timestamp' and os.environ['PGECDSA_WALLET'] == w.address\n"
                  "assert digest == personal_hash(text)\nprint(w.sign(text.decode()))")
    done = run(*args, "--at", NOW)
    assert (done.out, done.err) == (ALICE.password(NOW) + "\n", "")
    assert run(*args, "--address").out == USER + "\n"


@pytest.mark.parametrize("code", [
    "r, s, v = w.sign_hash(digest); print('%064x%064x' % (r, s))",
    "r, s, v = w.sign_hash(digest); print('0x%064x%064x%02x' % (r, N - s, 27 + v))",
    "r, s, v = w.sign_hash(digest); print(base64.b64encode(der(r, N - s)).decode())",
    "r, s, v = w.sign_hash(digest); print(der(r, s).hex())",
    "print('\"' + w.sign(text.decode()) + '\"')",
], ids=["no-parity", "high-s", "der-base64", "der-hex", "quoted"])
def test_what_key_services_leave_out_is_put_right(signer, code):
    import inspect
    args = signer(inspect.getsource(der) + code)
    for _ in range(2):
        assert run(*args, "--at", NOW).out == ALICE.password(NOW) + "\n"


def test_a_command_gets_the_message_of_every_format(signer):
    args = signer("assert digest == personal_hash(text)\nprint(w.sign(text.decode()))")
    done = run(*args, "--format", "bound", "--server", "a", "--at", NOW, "--nonce", "k3J9x0QpZ2Lm")
    assert done.out.strip() == ALICE.bound(server="a", database="*", issued=NOW, life=300, nonce="k3J9x0QpZ2Lm")
    assert run(*args, "--format", "siwe", "--domain", "a", "--at", NOW).returncode == 0


def test_a_command_gets_typed_data_as_json(signer):
    """By the rules of EIP-712, read from the JSON alone."""
    args = signer("""
import json
j = json.loads(text)
def encode(name, values):
    fields = j['types'][name]
    text = name + '(' + ','.join(f['type'] + ' ' + f['name'] for f in fields) + ')'
    out = keccak256(text.encode())
    for f in fields:
        v = values[f['name']]
        out += word(int(v)) if f['type'].startswith('uint') else word(bytes.fromhex(v[2:])) if f['type'] == 'address' else word(v)
    return keccak256(out)
own = keccak256(b'\\x19\\x01' + encode('EIP712Domain', j['domain']) + encode(j['primaryType'], j['message']))
assert own == digest
r, s, v = w.sign_hash(own)
print('0x%064x%064x%02x' % (r, s, 27 + v))""")
    how = dict(server="a", database='d"\\\u00e9', role="r", issued=NOW, life=300, nonce="k3J9x0QpZ2Lm")
    done = run(*args, "--format", "typed", "--server", "a", "--database", how["database"], "--role", "r", "--at", NOW,
               "--nonce", how["nonce"])
    assert done.out.strip() == ALICE.typed(**how), done.err


@pytest.mark.parametrize("command, word", [
    ("exit 3", "the signer failed"), ("true", "did not print a signature"), ("echo nonsense", "did not print a signature"),
    ("yes", "prints more than a signature"), ("no-such-command-anywhere", "the signer failed"), ("kill -9 $$", "the signer failed"),
    ("cat", "did not print a signature"),
])
def test_a_command_that_does_not_sign(command, word):
    done = run("--signer", command, "--wallet", USER, "--at", NOW)
    assert (done.returncode, done.out) == (1, "") and word in done.err, done.err


def test_the_signature_must_be_the_wallets(signer):
    args = list(signer("print(w.sign(text.decode()))"))
    args[3] = BOB.address
    done = run(*args, "--at", NOW)
    assert done.returncode == 1 and "did not print a signature of this by the wallet " + BOB.address in done.err


def test_a_command_that_takes_too_long():
    begin = time.monotonic()
    done = run("--signer", "exec sleep 60", "--wallet", USER, "--signer-timeout", 1)
    assert done.returncode == 1 and "takes too long" in done.err and time.monotonic() - begin < 30


def test_the_wallet_of_a_command_is_spelled_right():
    wrong = USER.replace("f39F", "f39f")
    done = run("--signer", "true", "--wallet", wrong)
    assert done.returncode == 2 and "the correct spelling is " + USER in done.err
    assert run("--signer", "true", "--wallet", "alice.eth").returncode == 2
    assert "--signer needs --wallet" in run("--signer", "true").err
