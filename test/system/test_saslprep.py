"""Passwords that SCRAM prepares before it hashes them (RFC 4013).

PostgreSQL makes the secrets; libpq, PostgreSQL and the pooler must agree on
each password, whichever way it is typed.
"""
import subprocess

import psycopg
import pytest
from harness import env
from harness.wire import PgError

pytestmark = [pytest.mark.ours, pytest.mark.skipif(
    "libidn" not in subprocess.run(["ldd", env.binary("pg-ecdsa-proxy")], stdout=subprocess.PIPE, text=True).stdout,
    reason="libidn not in this build")]

# What is stored, and what may be typed for it.
SAME = {
    "ligature": ("\ufb01sh", "fish"),
    "no-break-space": ("a\u00a0b", "a b"),
    "fullwidth": ("\uff21\uff22\uff23", "ABC"),
    "accent-apart": ("pa\u0308ss", "p\u00e4ss"),
    "soft-hyphen": ("pass\u00adword", "password"),
    "zero-width-space": ("a\u200bb", "a b"),
    "zero-width-joiner": ("a\u200db", "ab"),
    "roman-nine": ("\u2168", "IX"),
    "long": ("\ufb01\u00a0" * 400, "fi " * 400),
}
# What cannot be prepared and is hashed as it is.
RAW = {
    "control": "\u0007\u00aa",
    "unassigned": "\u00aa\U0001f600",
    "both-directions": "\u0627a\u0627",
    "nothing-left": "\u00ad\u200d",
    "arabic-digit": "\u06271",
    "private-use": "\u00aa\ue000",
}
CASES = {**SAME, **{k: (v, v) for k, v in RAW.items()}}


@pytest.fixture(scope="module")
def roles(pg):
    """A role for each case; PostgreSQL itself has made the secret."""
    names = {}
    pg.sql("SET password_encryption = 'scram-sha-256'",
           *["CREATE ROLE \"prep %s\" LOGIN PASSWORD '%s'" % (name, stored) for name, (stored, _) in CASES.items()])
    for name in CASES:
        names[name] = "prep " + name
    yield names
    pg.sql(*["DROP ROLE \"%s\"" % role for role in names.values()])


def logs_in(p, user, text):
    with p.connect(user, password=text) as c:
        return c.execute("SELECT session_user").fetchone()[0] == user


@pytest.mark.parametrize("name", CASES)
def test_a_prepared_password_on_both_sides(pooler, pg, roles, name):
    """The pooler takes it from libpq, and gives it to PostgreSQL."""
    role, (stored, typed) = roles[name], CASES[name]
    p = pooler(databases={"db": pg.entry()}, users={role: typed}, auth_type="scram-sha-256")
    for text in {stored, typed}:
        assert logs_in(p, role, text)
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        p.connect(role, password=typed + "x")
    p.users[role] = stored
    p.reload()
    p.admin("RECONNECT")
    for text in {stored, typed}:
        assert logs_in(p, role, text)


@pytest.mark.parametrize("method", ["scram-sha-256", "plain"])
def test_prepared_passwords_against_secrets_of_postgresql(pooler, pg, roles, method):
    """The stored secret is PostgreSQL's own; over SCRAM its keys are passed through."""
    users = {role: pg.secret(role) for role in roles.values()}
    p = pooler(databases={"db": pg.entry(user=None if method == "scram-sha-256" else "u_trust")},
               users={"u_trust": "", **users}, auth_type=method)
    for name, role in roles.items():
        for text in set(CASES[name]):
            with p.connect(role, password=text) as c:
                assert c.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        p.connect(roles["ligature"], password="f\u0131sh")


def test_a_text_that_only_begins_like_a_scram_secret_is_a_password(pooler, pg):
    text = "SCRAM-SHA-256$4096:no secret"
    p = pooler(databases={"db": pg.entry(user="u_trust")}, users={"u_trust": "", "someone": text})
    for method in ("plain", "md5", "scram-sha-256"):
        p.reload(auth_type=method)
        p.login("someone", "db", text).close()
        with pytest.raises(PgError, match="authentication failed"):
            p.login("someone", "db", text + "x")
