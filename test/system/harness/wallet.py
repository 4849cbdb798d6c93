"""A wallet: keys, addresses, personal_sign. Independent of the code under
test: python3-ecdsa and Keccak of python3-pycryptodome."""
import hashlib
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


# The first key of every development chain: public, and for tests only.
ALICE = Wallet("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
BOB = Wallet("e6cf511748fb499a7fae4e12262f7bdaa350ae6aa63bca4529d2d6e844398130")
CAROL = Wallet("edf6f80ca49736da551afbbcdad2b3622ee2acb2cdb2bdf7a1a62e070b31071a")
