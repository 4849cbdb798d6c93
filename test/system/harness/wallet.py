"""A wallet: keys, addresses, personal_sign, typed data. Independent of the
code under test: python3-ecdsa and Keccak of python3-pycryptodome."""
import base64
import datetime
import hashlib
import itertools
import time

import ecdsa
from Cryptodome.Hash import keccak
from ecdsa.curves import SECP256k1
from ecdsa.util import sigdecode_string, sigencode_string

N = SECP256k1.order


def keccak256(data):
    return keccak.new(digest_bits=256, data=data).digest()


def checksummed(address20):
    low = address20.hex()
    digest = keccak256(low.encode()).hex()
    return "0x" + "".join(c.upper() if int(h, 16) >= 8 else c for c, h in zip(low, digest))


def address_of(public64):
    return keccak256(public64)[12:]


def personal_hash(text):
    data = text.encode() if isinstance(text, str) else text
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(data)).encode() + data)


def word(value):
    """32 bytes of ABI encoding: numbers and addresses to the right, texts by their hash."""
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    if isinstance(value, bytes):
        return value.rjust(32, b"\0")
    return keccak256(value.encode())


def typed_hash(server, database, wallet20, role, issued, expires, nonce):
    """EIP-712 by its rules, from the texts of the types."""
    def struct(type_text, *values):
        return keccak256(keccak256(type_text.encode()) + b"".join(word(v) for v in values))
    domain = struct("EIP712Domain(string name,string version)", "PostgreSQL sign-in", "1")
    message = struct("SignIn(string server,string database,address wallet,string role,uint64 issued,uint64 expires,"
                     "string nonce)", server, database, wallet20, role or "", issued, expires, nonce)
    return keccak256(b"\x19\x01" + domain + message)


def rfc3339(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


_nonces = itertools.count()


def fresh_nonce():
    return "n%dx%d" % (time.time_ns(), next(_nonces))


class Wallet:
    def __init__(self, key):
        """key: 64 hex digits, or a number from 1."""
        if isinstance(key, int):
            key = "%064x" % key
        self.key_hex = key
        self.key = ecdsa.SigningKey.from_string(bytes.fromhex(key), SECP256k1, hashlib.sha256)
        self.public = self.key.get_verifying_key().to_string()
        self.bytes = address_of(self.public)
        self.address = checksummed(self.bytes)
        self.lower = self.address.lower()

    def sign_hash(self, digest):
        """(r, s, parity) by RFC 6979, s in the lower half."""
        raw = self.key.sign_digest_deterministic(digest, hashfunc=hashlib.sha256, sigencode=sigencode_string)
        r, s = sigdecode_string(raw, N)
        if s > N // 2:
            s = N - s
        canonical = sigencode_string(r, s, N)
        keys = ecdsa.VerifyingKey.from_public_key_recovery_with_digest(
            canonical, digest, SECP256k1, hashlib.sha256, sigdecode=sigdecode_string)
        for parity, candidate in enumerate(keys):
            if candidate.to_string() == self.public:
                # The library lists the two candidates by the parity of R's y.
                return r, s, parity
        raise AssertionError("signature recovers to nobody")

    def sign(self, text, v=27, prefix="0x"):
        r, s, parity = self.sign_hash(personal_hash(text))
        return prefix + "%064x%064x%02x" % (r, s, v + parity)

    def sign_compact(self, text):
        r, s, parity = self.sign_hash(personal_hash(text))
        return "0x%064x%064x" % (r, s | parity << 255)

    def password(self, at=None, **how):
        t = str(int(time.time()) if at is None else at)
        return t + ":" + self.sign(t, **how)

    # proofs that name what they are for

    def bound_text(self, server="pooler", database="db", role=None, issued=None, life=600, nonce=None, wallet=None):
        issued = int(time.time()) if issued is None else issued
        lines = ["PostgreSQL sign-in v1", "server: " + server, "database: " + database,
                 "wallet: " + (wallet or self).address]
        if role:
            lines.append("role: " + role)
        lines += ["issued: %d" % issued, "expires: %d" % (issued + life), "nonce: " + (nonce or fresh_nonce())]
        return "\n".join(lines)

    def message(self, tag, text, signature=None):
        encoded = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        return "%s:%s:%s" % (tag, encoded, signature or self.sign(text))

    def bound(self, **values):
        return self.message("bound", self.bound_text(**values))

    def typed(self, server="pooler", database="db", role=None, issued=None, life=600, nonce=None, wallet=None):
        issued = int(time.time()) if issued is None else issued
        nonce = nonce or fresh_nonce()
        text = self.bound_text(server, database, role, issued, life, nonce, wallet)
        r, s, parity = self.sign_hash(typed_hash(server, database, (wallet or self).bytes, role, issued, issued + life,
                                                 nonce))
        return self.message("typed", text, "0x%064x%064x%02x" % (r, s, 27 + parity))

    def siwe_text(self, domain="app.example.org", resources=("postgresql://pooler/db",), issued=None, life=600,
                  uri="https://app.example.org/login", chain=1, nonce=None, statement=None, request_id=None,
                  not_before=None, wallet=None):
        issued = int(time.time()) if issued is None else issued
        lines = ["%s wants you to sign in with your Ethereum account:" % domain, (wallet or self).address, ""]
        if statement is not None:
            lines.append(statement)
        lines += ["", "URI: " + uri, "Version: 1", "Chain ID: %d" % chain, "Nonce: " + (nonce or fresh_nonce()),
                  "Issued At: " + rfc3339(issued)]
        if life is not None:
            lines.append("Expiration Time: " + rfc3339(issued + life))
        if not_before is not None:
            lines.append("Not Before: " + rfc3339(not_before))
        if request_id is not None:
            lines.append("Request ID: " + request_id)
        if resources:
            lines += ["Resources:"] + ["- " + r for r in resources]
        return "\n".join(lines)

    def siwe(self, **values):
        return self.message("siwe", self.siwe_text(**values))


# The first key of every development chain: public, and for tests only.
ALICE = Wallet("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
BOB = Wallet("e6cf511748fb499a7fae4e12262f7bdaa350ae6aa63bca4529d2d6e844398130")
CAROL = Wallet("edf6f80ca49736da551afbbcdad2b3622ee2acb2cdb2bdf7a1a62e070b31071a")
