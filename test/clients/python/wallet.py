"""A wallet that signs in: its address is the user name, a fresh proof the password.

    WALLET_KEY    the key, 64 hexadecimal digits
    SERVER_NAME   one of the pooler's ecdsa_server_names
    PGDATABASE    the database that the proof is for
"""
import base64
import os
import secrets
import time

from eth_account import Account
from eth_account.messages import encode_defunct

account = Account.from_key(os.environ["WALLET_KEY"])
LIFE = int(os.environ.get("PROOF_LIFE", "60"))


def password():
    """A proof of format `bound`: good for this pooler and this database, for a minute."""
    now = int(time.time())
    text = "\n".join(["PostgreSQL sign-in v1",
                      "server: " + os.environ["SERVER_NAME"],
                      "database: " + os.environ["PGDATABASE"],
                      "wallet: " + account.address,
                      "issued: %d" % now,
                      "expires: %d" % (now + LIFE),
                      "nonce: " + secrets.token_hex(12)])
    signature = account.sign_message(encode_defunct(text=text)).signature.hex()
    return "bound:%s:%s" % (base64.urlsafe_b64encode(text.encode()).decode(), signature)
