"""Who may log in, and what he is told if not."""
import hashlib
import struct

from harness import wire
from play import Scenes, is_built

SECRETS = {
    "plain": "secret", "md5": wire.md5_secret("md5", "secret"), "scram": wire.scram_secret("secret"), "empty": "",
    "broken_md5": "md5" + "X" * 32, "broken_scram": "SCRAM-SHA-256$x$y", "long": "l" * 400, "odd": 'pass"word \\ \'',
    "short_md5": "md5abc",
}
ENTRY = {"user": "u_trust"}
users = {**SECRETS, "nobody_pg": "secret", "svc": "svc_pw"}
# The user who runs auth_query is not the forced one: 1.18 does not survive that.

setups = {
    "any": dict(auth_type="any", users=users),
    "trust": dict(auth_type="trust", users=users),
    "plain": dict(auth_type="plain", users=users),
    "md5": dict(auth_type="md5", users=users),
    "scram-sha-256": dict(auth_type="scram-sha-256", users=users),
    "auth-query": dict(auth_type="md5", users=users, auth_user="svc",
                       auth_query="SELECT u, p FROM (VALUES ('found', 'secret'), ('found_null', NULL),"
                                  " ('found_empty', ''), ('plain', 'other')) v(u, p) WHERE u = $1"),
    "auth-query-impatient": dict(auth_type="md5", users=users, query_wait_timeout=1),
    "auth-query-odd": dict(auth_type="md5", users=users, auth_user="svc",
                           auth_query="SELECT $1::text, 'secret'::text, 1 WHERE $1 <> 'none'"),
    "auth-query-error": dict(auth_type="md5", users=users, auth_user="svc", auth_query="SELECT p FROM missing"),
    "no-auth-file": dict(auth_type="md5", auth_file=None),
    "hba": dict(auth_type="hba", users=users, files={"auth_hba_file": lambda: HBA}),
}
scenes = Scenes("auth", setups)

METHODS = ("any", "trust", "plain", "md5", "scram-sha-256")


def test_auth(same):
    same()


# --- every method, every kind of stored secret, every kind of answer ---------------

def attempt(d, user, secret):
    c = d.connect()
    d.user = user
    c.startup(user)
    c.answer(secret)
    if not c.over:
        c.query("SELECT current_user")


def attempt_console(d, user, secret):
    c = d.connect()
    d.user = user
    c.startup(user, "pgbouncer")
    c.answer(secret)
    if not c.over:
        c.query("SHOW timezone")
        c.query("PAUSE nowhere")


def logins():
    for method in METHODS:
        for user, secret in SECRETS.items():
            right = "secret" if user in ("plain", "md5", "scram") else secret
            yield "%s:%s-right" % (method, user), method, user, right
        if method in ("any", "trust"):
            rows = [("unknown", "nobody", "x")]
        else:
            rows = [("unknown", "nobody", "x"), ("unknown-empty", "nobody", ""), ("empty-wrong", "empty", "x"),
                    ("plain-wrong", "plain", "wrong"), ("plain-empty", "plain", ""), ("md5-wrong", "md5", "wrong"),
                    ("md5-empty", "md5", ""), ("scram-wrong", "scram", "wrong"), ("scram-empty", "scram", ""),
                    ("plain-long", "plain", "x" * 900), ("utf8-user", "n\u00e4me", "x")]
        for name, user, secret in rows:
            yield "%s:%s" % (method, name), method, user, secret


for _name, _method, _user, _secret in logins():
    scenes.add(_name, attempt, _method, ENTRY, user=_user, secret=_secret)


@scenes(entry=ENTRY, each={m: {"setup": m} for m in METHODS if m not in ("any", "trust")})
def the_hash_itself_as_password(d):
    """What the file holds is no password, where the method hashes."""
    c = d.connect()
    c.startup("md5")
    c.answer(SECRETS["md5"])


@scenes(entry=None, each={m: {"setup": m} for m in METHODS})
def unknown_database(d):
    """Told only to who has proven himself."""
    attempt(d, "plain", "secret")
    attempt(d, "plain", "wrong")
    attempt(d, "nobody", "x")


@scenes(entry={}, each={m: {"setup": m} for m in METHODS})
def without_forced_user(d):
    attempt(d, "u_trust", "")
    attempt(d, "nobody_pg", "secret")


@scenes(entry=None, each={m: {"setup": m} for m in METHODS})
def console_login(d):
    for user, secret in (("admin", "admin_pw"), ("stats", "stats_pw"), ("plain", "secret"), ("admin", "wrong"),
                         ("nobody", "x"), ("pgbouncer", "")):
        attempt_console(d, user, secret)


# --- odd messages -------------------------------------------------------------------

ODD = {
    "no-nul": wire.msg(b"p", b"secret"),
    "empty-body": wire.msg(b"p"),
    "empty": wire.password(""),
    "two-strings": wire.msg(b"p", b"secret\0more\0"),
    "nul-behind": wire.msg(b"p", b"secret\0\0"),
    "query": wire.query("SELECT 1"),
    "sync": wire.SYNC,
    "terminate": wire.TERMINATE,
    "unknown": wire.msg(b"z", b"x"),
    "startup": wire.startup("plain", "x"),
    "ssl-request": wire.startup_packet(wire.SSL_REQUEST),
    "cancel": wire.startup_packet(wire.CANCEL_REQUEST, b"\1" * 8),
    "bad-length": b"p\0\0\0\3",
    "zero-length": b"p\0\0\0\0",
    "long": wire.password("x" * 3000),
}


@scenes(entry=ENTRY, each={"%s-%s" % (m, k): {"setup": m, "data": v} for k, v in ODD.items() for m in ("plain", "md5")})
def odd_answer(d, data):
    c = d.connect()
    c.startup("plain")
    c.recv()
    c.send(data).shut()
    c.end()


@scenes(entry=ENTRY, setup="plain")
def two_passwords_at_once(d):
    c = d.connect()
    c.startup("plain")
    c.recv()
    c.send(wire.password("wrong"), wire.password("secret"))
    c.end()


@scenes(entry=ENTRY, setup="md5", each={"wrong-salt": {"shape": "salt"}, "upper-case": {"shape": "upper"},
                                        "short": {"shape": "short"}, "plain-text": {"shape": "plain"}})
def odd_md5(d, shape):
    c = d.connect()
    c.startup("plain")
    salt = c.recv().body[4:]
    inner = wire.md5_secret("plain", "secret")[3:].encode()
    right = "md5" + hashlib.md5(inner + salt).hexdigest()
    text = {"salt": "md5" + hashlib.md5(inner + b"abcd").hexdigest(), "upper": "md5" + right[3:].upper(),
            "short": right[:-1], "plain": "secret"}[shape]
    c.send(wire.password(text), note=shape)
    c.end()


def sasl_first(text, mechanism="SCRAM-SHA-256", size=None):
    data = text.encode()
    return wire.msg(b"p", wire.cstr(mechanism) + struct.pack("!i", len(data) if size is None else size) + data)


# Not here: a first message without data, size -1, which ends the process of 1.18.
FIRSTS = {
    "y-flag": sasl_first("y,,n=,r=abcdefghij"),
    "p-flag": sasl_first("p=tls-unique,,n=,r=abcdefghij"),
    "plus": sasl_first("n,,n=,r=abcdefghij", "SCRAM-SHA-256-PLUS"),
    "sha1": sasl_first("n,,n=,r=abcdefghij", "SCRAM-SHA-1"),
    "authzid": sasl_first("n,a=other,n=,r=abcdefghij"),
    "extension": sasl_first("n,,m=x,n=,r=abcdefghij"),
    "user-name": sasl_first("n,,n=somebody,r=abcdefghij"),
    "no-nonce": sasl_first("n,,n="),
    "empty-nonce": sasl_first("n,,n=,r="),
    "odd-nonce": sasl_first("n,,n=,r=abc\x01def"),
    "more-behind": sasl_first("n,,n=,r=abcdefghij,x=y"),
    "empty": sasl_first(""),
    "garbage": sasl_first("hello"),
    "wrong-size": sasl_first("n,,n=,r=abcdefghij", size=5),
    "too-large-size": sasl_first("n,,n=,r=abcdefghij", size=500),
    "no-nul": wire.msg(b"p", b"SCRAM-SHA-256"),
    "plain-password": wire.password("secret"),
    "empty-message": wire.msg(b"p"),
}


ANSWERED = ("y-flag", "user-name", "more-behind")


@scenes(entry=ENTRY, setup="scram-sha-256", each={k: {"data": v, "answered": k in ANSWERED} for k, v in FIRSTS.items()})
def scram_first(d, data, answered):
    c = d.connect()
    c.startup("scram")
    c.recv()
    c.send(data)
    if answered:
        c.recv()
        c.send(wire.msg(b"p", b"c=biws,r=x,p=AAAA"))
    else:
        c.shut()
    c.end()


@scenes(entry=ENTRY, setup="scram-sha-256", each={k: {"change": k} for k in (
    "nonce", "binding", "no-proof", "short-proof", "bad-base64", "bit", "garbage", "empty", "extension")})
def scram_final(d, change):
    c = d.connect()
    c.startup("scram")
    c.recv()
    c.scram = wire.ScramClient("secret")
    c.send(c.scram.first(), note="SCRAM first")
    text = c.scram.final_text(c.recv().body[4:].decode())
    bare, proof = text.rsplit(",p=", 1)
    text = {"nonce": text.replace(",r=", ",r=x"), "binding": text.replace("c=biws", "c=eSws"), "no-proof": bare,
            "short-proof": bare + ",p=AAAA", "bad-base64": bare + ",p=!!!!",
            "bit": bare + ",p=" + ("B" if proof[0] == "A" else "A") + proof[1:], "garbage": "hello", "empty": "",
            "extension": bare + ",x=y,p=" + proof}[change]
    c.send(wire.msg(b"p", text.encode()), note="SCRAM final, " + change)
    c.end()


# --- auth_query ---------------------------------------------------------------------

if is_built("auth_query"):
    @scenes(entry=ENTRY, setup="auth-query", each={
        "found": {"user": "found", "secret": "secret"}, "found-wrong": {"user": "found", "secret": "wrong"},
        "none": {"user": "nobody", "secret": "x"}, "null": {"user": "found_null", "secret": "x"},
        "empty": {"user": "found_empty", "secret": "x"}, "known": {"user": "plain", "secret": "secret"},
        "known-other": {"user": "plain", "secret": "other"}, "odd-name": {"user": "it's \"x\"", "secret": "x"}})
    def auth_query(d, user, secret):
        attempt(d, user, secret)

    @scenes(entry=ENTRY, setup="auth-query-odd", each={"three-columns": {"user": "found"}, "none": {"user": "none"}})
    def auth_query_of_wrong_shape(d, user):
        attempt(d, user, "secret")

    @scenes(entry=ENTRY, setup="auth-query-error")
    def auth_query_that_fails(d):
        attempt(d, "found", "secret")
        attempt(d, "plain", "secret")

    @scenes(entry=None, setup="auth-query")
    def auth_query_without_database(d):
        attempt(d, "found", "secret")
        attempt(d, "plain", "secret")

    @scenes(entry={"auth_user": "nobody_pg", **ENTRY}, setup="auth-query-impatient")
    def auth_query_whose_user_cannot_log_in(d):
        attempt(d, "found", "secret")

    @scenes(entry=ENTRY, setup="no-auth-file")
    def without_users_file(d):
        attempt(d, "plain", "secret")


# --- hba ------------------------------------------------------------------------------

HBA = """
host all reject_me 0.0.0.0/0 reject
host all empty 127.0.0.1/32 trust
host all plain 127.0.0.0/8 password
host all md5 127.0.0.0/8 md5
host all scram 127.0.0.0/8 md5
hostssl all odd 0.0.0.0/0 md5
hostnossl all long 127.0.0.1 255.255.255.255 scram-sha-256
host nowhere short_md5 0.0.0.0/0 trust
host "all" broken_md5 0.0.0.0/0 trust
host all stats,admin 127.0.0.0/8 md5
nonsense
local all all trust
"""

if is_built("auth_hba_file"):
    for _user, _secret in (("empty", ""), ("plain", "secret"), ("plain", "wrong"), ("md5", "secret"),
                           ("md5", "wrong"), ("scram", "secret"), ("scram", "wrong"), ("odd", SECRETS["odd"]),
                           ("long", SECRETS["long"]), ("short_md5", "x"), ("broken_md5", "x"), ("reject_me", "x"),
                           ("nobody", "x")):
        scenes.add("hba:%s-%s" % (_user, "wrong" if _secret == "wrong" else "right"), attempt, "hba", ENTRY,
                   user=_user, secret=_secret)

    @scenes(setup="hba", entry=ENTRY)
    def hba_on_the_unix_socket(d):
        c = d.connect(d.pooler.dir)
        c.startup("plain")
        c.answer("")

    @scenes(setup="hba", entry=None)
    def hba_and_the_console(d):
        for user, secret in (("admin", "admin_pw"), ("admin", "wrong"), ("stats", "stats_pw"), ("plain", "secret"),
                             ("nobody", "x")):
            attempt_console(d, user, secret)
