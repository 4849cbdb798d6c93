"""auth_type = hba: which line is for whom, every method, ident maps, RELOAD;
auth_type = cert; wallets that log in as roles."""
import os
import re
import time

import pytest
from harness import env, wire
from harness.wallet import ALICE, BOB, CAROL
from harness.wire import PgError

ours = pytest.mark.ours


@pytest.fixture
def gate(pooler, pg, certs):
    """A pooler with these HBA and ident lines."""
    def make(hba, ident=None, tls=None, start=True, files=(), **settings):
        base = dict(databases={"db": pg.entry(), "db2": pg.entry("db2"), "svc": pg.entry(user="svc", password="svc_pw")},
                    users={"u_trust": "", "u_plain": "u_plain_pw", "u_md5": pg.secret("u_md5"),
                           "u_scram": pg.secret("u_scram"), "u_cert": "", "svc2": "svc2_pw", env.SERVER_USER: ""},
                    auth_type="hba", pool_mode="transaction", server_tls_sslmode="disable", listen_addr="127.0.0.1, ::1",
                    ecdsa_limit_burst=0)
        if tls:
            base.update(client_tls_sslmode=tls, client_tls_key_file=certs.key("server"),
                        client_tls_cert_file=certs.crt("server"), client_tls_ca_file=certs.crt("ca"))
        p = pooler(**{**base, **settings, "start": False})
        p.hba_file, p.ident_file = os.path.join(p.dir, "hba"), os.path.join(p.dir, "ident")
        p.settings["auth_hba_file"] = p.hba_file
        if ident is not None:
            p.settings["auth_ident_file"] = p.ident_file
            env.write(p.ident_file, ident)
        for name, text in files:
            os.makedirs(os.path.dirname(os.path.join(p.dir, name)), exist_ok=True)
            env.write(os.path.join(p.dir, name), text)
        env.write(p.hba_file, hba)
        p.write()
        if start:
            p.start()
        return p
    return make


def rules(p, hba=None, ident=None):
    """New lines, by RELOAD."""
    if hba is not None:
        env.write(p.hba_file, hba)
    if ident is not None:
        env.write(p.ident_file, ident)
    p.admin("RELOAD")


def attempt(p, user, database="db", secret=None, host=None, tls=None):
    """None when let in, else the error. tls: True, or a certificate."""
    try:
        with p.wire(host) as c:
            if tls:
                c.tls(cert=None if tls is True else tls)
            c.send(wire.startup(user, database))
            c.authenticate(user, secret)
            return None
    except PgError as e:
        assert e.severity == "FATAL"
        return e


def text(*how, **more):
    e = attempt(*how, **more)
    return e and e.text


def pair(certs, name="client"):
    return certs.crt(name), certs.path(name + ".mine.key")


NO_LINE = "login rejected" if env.ORACLE else "no authentication method is found"


# --- which line -----------------------------------------------------------------

def test_record_types(gate):
    """Each of the four, over a Unix socket and over TCP with TLS and without."""
    p = gate("local   l all              trust\n"
             "host    h all 127.0.0.1/32 trust\n"
             "hostssl s all 127.0.0.1/32 trust\n"
             "hostnossl n all 127.0.0.1/32 trust\n", tls="allow")
    ways = {"unix": dict(host=p.dir), "plain": {}, "tls": dict(tls=True)}
    opens = {way: "".join(d for d in "lhsn" if text(p, "u_trust", d, **how) == "no such database: " + d)
             for way, how in ways.items()}
    assert opens == {"unix": "l", "plain": "hn", "tls": "hs"}
    assert text(p, "u_trust", "l") == NO_LINE


def test_addresses(gate):
    p = gate("host a all 127.0.0.0/8 trust\n"
             "host b all 127.0.0.0 255.255.255.254 trust\n"
             "host c all ::1/128 trust\n"
             "host d all 0.0.0.0/0 trust\nhost d all ::/0 trust\n"
             "host e all 127.0.0.1/24 trust\n")
    p.wait_log(r"WARNING address does not match mask in .*/hba line #6: 127\.0\.0\.1 / 255\.255\.255\.0")
    def opens(host):
        return "".join(d for d in "abcde" if text(p, "u_trust", d, host=host) != NO_LINE)
    assert opens("127.0.0.1") == "abd"
    assert opens("::1") == "cd"


@ours
def test_every_address(gate):
    p = gate("host all all all trust\n")
    assert attempt(p, "u_trust") is None and attempt(p, "u_trust", host="::1") is None
    assert text(p, "u_trust", host=p.dir) == NO_LINE


def test_order_of_lines(gate):
    p = gate("host db  u_trust all_is_no_address trust\n"
             "host db  u_plain 127.0.0.1/32 reject\n"
             "host db  all     127.0.0.1/32 trust\n"
             "host all all     127.0.0.1/32 reject\n")
    assert text(p, "u_plain") == "login rejected"
    assert attempt(p, "u_trust") is None
    assert text(p, "u_trust", "db2") == "login rejected"


@ours
def test_names_lists_and_files(gate):
    p = gate('host db,"d 2" u_trust , u_plain 127.0.0.1/32 trust\n'
             'host sameuser all 127.0.0.1/32 trust\n'
             'host @lists/dbs u_trust 127.0.0.1/32 trust\n'
             'host all @lists/users 127.0.0.1/32 reject\n'
             'host "replication" all 127.0.0.1/32 trust\n',
             files=[("lists/dbs", "f1\n@more/f2 # nested\n"), ("lists/more/f2", "f2, f3\n"), ("lists/users", "u_md5\n")])
    assert attempt(p, "u_trust") is None and attempt(p, "u_plain") is None
    for database in ("d 2", "u_trust", "f1", "f2", "f3", "replication"):
        assert text(p, "u_trust", database) == "no such database: " + database
    assert text(p, "u_trust", "other") == NO_LINE
    assert text(p, "u_plain", "f1") == NO_LINE
    assert text(p, "u_md5", "x") == "login rejected"
    assert text(p, "u_md5", "u_md5") == "no such database: u_md5"


WARNINGS = [
    ("foo all all trust", "hba line 2: unknown type"),
    ("host all all", "hba line 2: did not find address - 4 - 'all'"),
    ("host all all nowhere trust", "hba line 2: failed to parse address - nowhere"),
    ("host all all 127.0.0.1/33 trust", "hba line 2: invalid mask"),
    ("host all all 127.0.0.1", "hba line 2: did not find mask"),
    ("host all all 127.0.0.1 x trust", "hba line 2: failed to parse mask: x"),
    ("local all all any", "hba line 2: unsupported method: buf=any"),
    ("local samerole all trust", "samerole is not supported"),
    ("local all all trust a b", None),
    ("local all +x trust", None),
    ("local all @nowhere trust", None),
]


def test_bad_lines_are_skipped_with_a_warning(gate):
    p = gate("local all u_trust trust\n" + "\n".join(line for line, _ in WARNINGS) + "\nlocal all all reject\n")
    for i, (line, warning) in enumerate(WARNINGS):
        if warning:
            p.wait_log("WARNING " + re.escape(warning.replace("line 2", "line %d" % (i + 2))))
        p.wait_log("WARNING could not parse hba config line %d$" % (i + 2))
    assert attempt(p, "u_trust", host=p.dir) is None
    assert text(p, "u_md5", host=p.dir) == "login rejected"


def test_missing_file_lets_nobody_in(gate):
    p = gate("", auth_hba_file="/nowhere", start=False)
    p.settings["auth_hba_file"] = "/nowhere"
    p.write()
    p.start()
    p.wait_log("could not open hba config file /nowhere: No such file or directory")
    assert text(p, "u_trust") == NO_LINE


# --- methods ----------------------------------------------------------------------

def test_password_methods(gate, pg):
    """The line decides how it is asked for; what is stored is the user's."""
    p = gate("".join("host %s all 127.0.0.1/32 %s\n" % item for item in
                     [("p", "password"), ("m", "md5"), ("s", "scram-sha-256"), ("t", "trust")]))

    def asked(user, database):
        with p.wire() as c:
            c.send(wire.startup(user, database))
            m = c.recv()
            return m.body[3] if m.type == b"R" else wire.fields_of(m.body)["M"]
    # 3 cleartext, 5 md5, 10 SCRAM
    assert [asked("u_plain", d) for d in "pms"] == [3, 5, 10]
    assert [asked("u_md5", d) for d in "pm"] == [3, 5]
    assert [asked("u_scram", d) for d in "pms"] == [3, 10, 10]
    for user, database in (("u_plain", "p"), ("u_plain", "m"), ("u_plain", "s"), ("u_md5", "p"), ("u_md5", "m"),
                           ("u_scram", "p"), ("u_scram", "m"), ("u_scram", "s"), ("u_trust", "t")):
        assert text(p, user, database, user + "_pw") == "no such database: " + database
    assert text(p, "u_plain", "p", "wrong") == "password authentication failed"
    assert text(p, "u_plain", "m", "wrong") == "password authentication failed"
    assert text(p, "u_plain", "s", "wrong") == "SASL authentication failed"
    assert text(p, "nobody", "p", "x") == "password authentication failed"
    assert text(p, "nobody", "t") == '"trust" authentication failed'


def test_peer(gate):
    p = gate("local all all peer\n")
    with env.as_server_user():
        assert attempt(p, env.SERVER_USER, host=p.dir) is None
        assert text(p, "u_trust", host=p.dir) == "unix socket login rejected"
        assert text(p, "nobody", host=p.dir) == "unix socket login rejected"
    assert text(p, env.SERVER_USER) == NO_LINE


@ours
def test_peer_line_for_tcp_rejects(gate):
    p = gate("host all all 127.0.0.1/32 peer\n")
    assert text(p, "u_trust") == "unix socket login rejected"


@ours
def test_peer_with_map(gate):
    me = env.SERVER_USER
    p = gate("local db all peer map=m\nlocal db2 all peer map=a\nlocal all all peer map=old\n",
             "m %s u_trust\nm nobody u_plain\na %s all\nold %s u_trust valid-until=2020-01-01\n" % (me, me, me))
    with env.as_server_user():
        assert attempt(p, "u_trust", host=p.dir) is None
        assert text(p, "u_plain", host=p.dir) == "unix socket login rejected"
        p.wait_log("ident map m cannot be matched")
        # Not without a line of his own, either.
        assert text(p, me, host=p.dir) == "unix socket login rejected"
        assert attempt(p, "u_plain", "db2", host=p.dir) is None
        assert text(p, "nobody", "db2", host=p.dir) == "unix socket login rejected"
        assert text(p, "u_trust", "x", host=p.dir) == "unix socket login rejected"


# --- cert -----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def names(certs):
    certs.issue("names", "common.example", "ca", "DNS:u.example,DNS:*.wild.example,IP:10.9.8.7")
    return pair(certs, "names")


def test_cert(gate, certs):
    p = gate("hostssl all all 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 reject\n", tls="require")
    assert text(p, "u_cert", "nowhere", tls=pair(certs)) == "no such database: nowhere"
    assert text(p, "u_trust", tls=pair(certs)) == "certificate authentication failed"
    p.wait_log("TLS certificate name mismatch")
    assert text(p, "u_cert", tls=True) == "certificate authentication failed"
    p.wait_log("TLS client certificate required")


@ours
def test_cert_without_tls(gate):
    p = gate("host all all 127.0.0.1/32 cert\n", tls="allow")
    assert text(p, "u_cert") == "certificate authentication failed"
    p.wait_log("TLS connection required")


@ours
def test_cert_without_authority_is_never_asked_for(gate, certs):
    """Without client_tls_ca_file nothing could verify it."""
    p = gate("hostssl all all 127.0.0.1/32 cert\n", tls="require", client_tls_ca_file=None)
    assert text(p, "u_cert", tls=pair(certs)) == "certificate authentication failed"
    p.wait_log("TLS client certificate required")


@ours
def test_names_in_a_certificate(gate, names):
    """subjectAltName of type DNS, or IP for an address; then the Common Name."""
    known = ["u.example", "U.Example", "a.wild.example", "10.9.8.7", "common.example"]
    unknown = ["u2.example", "wild.example", "a.b.wild.example", "10.9.8.8", ".wild.example", "*.wild.example.org",
               "u.example.", "example", "COMMON"]
    p = gate("hostssl all all 127.0.0.1/32 cert\n", tls="require", users={u: "" for u in known + unknown})
    for user in known:
        assert text(p, user, "nowhere", tls=names) == "no such database: nowhere", user
    for user in unknown:
        assert text(p, user, "nowhere", tls=names) == "certificate authentication failed", user


@ours
def test_cert_with_map(gate, certs, names):
    p = gate("hostssl all all 127.0.0.1/32 cert map=m\n",
             'm nobody u_plain\nm u_cert u_trust\nm b.wild.example "u_md5"\nm u.example all\n', tls="require")
    assert attempt(p, "u_trust", tls=pair(certs)) is None
    for user in ("u_cert", "u_plain", "u_md5"):
        assert text(p, user, tls=pair(certs)) == "certificate authentication failed"
    p.wait_log("ident map: m does not have a match")
    for user in ("u_md5", "u_plain", "u_trust"):
        assert attempt(p, user, tls=names) is None
    # The map lets the name be anybody, not be nobody.
    assert text(p, "stranger", tls=names) == "certificate authentication failed"


@ours
def test_auth_type_cert(gate, certs):
    p = gate("", tls="verify-full", auth_type="cert")
    assert text(p, "u_cert", "nowhere", tls=pair(certs)) == "no such database: nowhere"
    assert text(p, "u_trust", tls=pair(certs)) == "certificate authentication failed"
    assert text(p, "u_cert", host=p.dir) == "certificate authentication failed"
    p.wait_log("TLS connection required")


@ours
@pytest.mark.parametrize("how, why", [
    (dict(tls="require"), "auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL"),
    (dict(tls="verify-full", client_tls_ca_file=None), "auth_type=cert requires client_tls_ca_file"),
])
def test_auth_type_cert_needs_verification(gate, how, why):
    p = gate("", auth_type="cert", start=False, **how)
    p.spawn()
    p.wait_exit(1)
    assert why in p.log()


# --- the console, SET and RELOAD ----------------------------------------------------------

def test_console_goes_by_lines_too(gate):
    p = gate("host pgbouncer admin 127.0.0.1/32 password\n")
    with p.login("admin", "pgbouncer", "admin_pw") as c:
        assert c.query("SHOW VERSION").rows
    assert text(p, "stats", "pgbouncer") == NO_LINE


def test_reload(gate):
    p = gate("local all all reject\n")
    with pytest.raises(PgError):
        p.login(host=p.dir)
    env.write(p.hba_file, "local all all trust\n")
    assert text(p, "u_trust", host=p.dir) == "login rejected"
    p.admin("RELOAD")
    with p.login(host=p.dir) as c:
        # A session is not touched by what becomes of its line.
        rules(p, "local all all reject\n")
        assert c.value("SELECT 1") == "1"
    assert text(p, "u_trust", host=p.dir) == "login rejected"


@ours
def test_reload_of_the_map(gate):
    p = gate("local all all peer map=m\n", "m someone u_trust\n")
    with env.as_server_user():
        assert text(p, "u_trust", host=p.dir) == "unix socket login rejected"
    rules(p, ident="m %s u_trust\n" % env.SERVER_USER)
    with env.as_server_user():
        assert attempt(p, "u_trust", host=p.dir) is None
    # A map that is gone takes its line along.
    rules(p, ident="other %s u_trust\n" % env.SERVER_USER)
    p.wait_log("hba line 1: Ident map m is not found in ident config file")
    assert text(p, "u_trust", host=p.dir) == NO_LINE


@ours
def test_set_loads_no_rules(gate):
    p = gate("local all all trust\n", auth_type="trust")
    p.admin("SET auth_type = 'hba'")
    assert text(p, "u_trust", host=p.dir) == NO_LINE
    p.settings["auth_type"] = "hba"
    p.write()
    p.admin("RELOAD")
    assert attempt(p, "u_trust", host=p.dir) is None
    env.write(os.path.join(p.dir, "hba2"), "local all all reject\n")
    p.admin("SET auth_hba_file = '%s'" % os.path.join(p.dir, "hba2"))
    assert attempt(p, "u_trust", host=p.dir) is None


@ours
def test_fifty_reloads(gate):
    """Back to back, with logins between them; memory does not grow."""
    many = "".join("host d%d u%d,v%d 10.%d.0.0/16 md5 map=m\n" % (i, i, i, i % 256) for i in range(500))
    p = gate(many + "local all all trust\n", "".join("m s%d u%d\n" % (i, i) for i in range(500)))
    with p.console() as c:
        for i in range(50):
            assert c.query("RELOAD").tags == ["RELOAD"]
            if i == 10:
                before = env.rss_kb(p.process.pid)
            if i % 10 == 0:
                assert attempt(p, "u_trust", host=p.dir) is None
    # One load of these lines takes some 200 kB: forty lost ones would be 8 MB.
    assert env.SLOW > 1 or env.rss_kb(p.process.pid) - before < 4000


# --- wallets -------------------------------------------------------------------------------

def refused(p, user, secret, reason, database="db", **how):
    """The uniform refusal; the reason is in the log alone."""
    p.mark()
    e = attempt(p, user, database, secret, **how)
    assert e and e.code == "28P01" and e.text == 'password authentication failed for user "%s"' % user
    return p.wait_log("login failed: method=ecdsa reason=%s .*" % reason)[0]


def role(p, user, wallet, database="db", **how):
    with p.login(user, database, wallet.password(), **how) as c:
        return c.value("SELECT current_user")


@ours
def test_simplest_wallet_deployment(gate):
    p = gate("hostssl svc all 0.0.0.0/0 ecdsa\n", tls="allow", ecdsa_allowed_addresses=ALICE.address)
    with p.wire() as c:
        c.tls()
        c.login(ALICE.address, "svc", ALICE.password())
        assert c.value("SELECT current_user") == "svc"
        assert c.value("SHOW application_name") == "ecdsa-proxy:" + ALICE.address
    p.wait_log("login: method=ecdsa result=ok wallet=%s .* role=svc db=svc .* tls=TLSv1.3 hba=1$" % ALICE.address)
    refused(p, BOB.address, BOB.password(), "not_allowed", "svc", tls=True)
    refused(p, "analyst", ALICE.password(), "address_malformed", "svc", tls=True)
    assert text(p, ALICE.address, "svc", ALICE.password()) == NO_LINE


@ours
def test_wallets_and_passwords_side_by_side(gate):
    p = gate("host all %s,%s 127.0.0.1/32 ecdsa\nhost all all 127.0.0.1/32 md5\n" % (ALICE.lower, BOB.address),
             ecdsa_allowed_addresses="%s,%s,%s" % (ALICE.lower, BOB.lower, CAROL.lower))
    assert text(p, ALICE.address, "svc", ALICE.password()) is None
    assert text(p, "0x" + BOB.address[2:].upper(), "svc", BOB.password()) is None
    assert text(p, CAROL.address, "svc", CAROL.password()) == "password authentication failed"
    assert text(p, "u_plain", "db", "u_plain_pw") is None


@ours
def test_map_names_the_role(gate):
    """The first line of a wallet; before user= of the database. No line, no entry, whatever other lists say."""
    p = gate("host all all 127.0.0.1/32 ecdsa map=people\n",
             "people %s svc2\npeople %s svc\npeople %s all\nothers %s svc2\n"
             % (ALICE.address, ALICE.lower, BOB.lower, CAROL.lower), ecdsa_allowed_addresses=CAROL.address,
             ecdsa_user="u_plain")
    assert role(p, ALICE.address, ALICE) == "svc2"
    p.wait_log("login: method=ecdsa result=ok .* role=svc2 db=db .* hba=1 map=people$")
    assert role(p, ALICE.lower, ALICE, "svc") == "svc2"
    assert role(p, BOB.address, BOB, "svc") == "svc"
    assert role(p, BOB.address, BOB) == "u_plain"
    line = refused(p, CAROL.address, CAROL.password(), "no_mapping")
    assert " hba=1 map=people " in line
    refused(p, ALICE.address, BOB.password(), "wrong_signer")


@ours
def test_role_login(gate):
    """The client names the role, the signature says which wallet asks for it."""
    p = gate("host svc all 127.0.0.1/32 ecdsa\nhost all all 127.0.0.1/32 ecdsa map=people\n",
             "people %s u_plain\npeople %s svc2\npeople %s svc2\n" % (ALICE.address, ALICE.address, BOB.address),
             ecdsa_allowed_addresses=CAROL.address)
    with p.login("svc2", "db", ALICE.password()) as a, p.login("svc2", "db", BOB.password()) as b:
        assert a.value("SELECT current_user") == b.value("SELECT current_user") == "svc2"
        assert a.value("SHOW application_name") == "ecdsa-proxy:" + ALICE.address
        shown = sorted((r["user"], r["identity"]) for r in p.show("CLIENTS") if r["database"] == "db")
        assert shown == sorted([("svc2", ALICE.address), ("svc2", BOB.address)])
        assert [r["user"] for r in p.show("POOLS") if r["database"] == "db"] == ["svc2"]
    assert role(p, "u_plain", ALICE) == "u_plain"
    p.wait_log("login: method=ecdsa result=ok wallet=%s user=u_plain .* role=u_plain db=db" % ALICE.address)
    refused(p, "u_plain", BOB.password(), "no_mapping")
    refused(p, "svc2", CAROL.password(), "no_mapping")
    refused(p, "postgres", ALICE.password(), "no_mapping")
    refused(p, "svc2", ALICE.password(int(time.time()) - 4000), "expired")
    # Without a map a role is nothing but a malformed wallet name.
    refused(p, "svc2", ALICE.password(), "address_malformed", "svc")


@ours
def test_no_name_is_a_pattern(gate):
    """Attack row 40: a role is one name, byte for byte."""
    p = gate("host all all 127.0.0.1/32 ecdsa map=m\n",
             'm %s svc2\nm %s ".*"\nm %s "all"\n' % (ALICE.address, BOB.address, BOB.address))
    for user in ("SVC2", "svc2 ", " svc2", "svc", "svc22", "%", ".*", "all", '"svc2"', "+svc2", "svc2,all", "@svc2",
                 "svc2' or 'x", "svc2\tx"):
        assert text(p, user, "db", ALICE.password()) == 'password authentication failed for user "%s"' % user.replace(
            "\t", "?")
    for user in ("svc2", "postgres", "al"):
        refused(p, user, BOB.password(), "no_mapping")


@ours
def test_role_login_counts_for_the_role(gate):
    p = gate("host all all 127.0.0.1/32 ecdsa map=m\n", "m %s svc2\nm %s svc2\n" % (ALICE.address, BOB.address),
             max_user_client_connections=1)
    with p.login("svc2", "db", ALICE.password()):
        assert text(p, "svc2", "db", BOB.password()) == "client connections exceeded (max_user_client_connections)"
    assert role(p, "svc2", BOB) == "svc2"


@ours
def test_role_login_to_the_console(gate):
    p = gate("host all all 127.0.0.1/32 ecdsa map=m\n", "m %s admin\nm %s stats\n" % (ALICE.address, BOB.address))
    with p.login("admin", "pgbouncer", ALICE.password()) as c:
        assert c.query("RELOAD").tags == ["RELOAD"]
    with p.login("stats", "pgbouncer", BOB.password()) as c:
        assert c.query("RELOAD").errors[0].text == "admin access needed"
    refused(p, "admin", BOB.password(), "no_mapping", "pgbouncer")


@ours
def test_valid_until(gate):
    """In map lines and in the file of allowed wallets."""
    p = gate("host db all 127.0.0.1/32 ecdsa map=m\nhost svc all 127.0.0.1/32 ecdsa\n",
             "m %s svc2 valid-until=2020-01-01T00:00:00Z\nm %s svc2 valid-until=2999-12-31T23:59:59+01:00\n"
             % (ALICE.address, BOB.address), files=[("wallets", "%s valid-until=2020-01-01\n%s valid-until=2999-01-01\n"
                                                     % (ALICE.address, BOB.address))], start=False)
    p.settings["ecdsa_allowed_addresses"] = "@" + os.path.join(p.dir, "wallets")
    p.write()
    p.start()
    assert role(p, BOB.address, BOB) == "svc2" and role(p, "svc2", BOB) == "svc2"
    assert role(p, BOB.address, BOB, "svc") == "svc"
    refused(p, ALICE.address, ALICE.password(), "wallet_expired")
    refused(p, "svc2", ALICE.password(), "wallet_expired")
    refused(p, ALICE.address, ALICE.password(), "wallet_expired", "svc")


@ours
def test_options_of_the_line(gate):
    p = gate("host db  all 127.0.0.1/32 ecdsa window=5000 formats=timestamp replay=off\n"
             "host svc all 127.0.0.1/32 ecdsa tls=always\nhost all all 127.0.0.1/32 ecdsa tls=never\n",
             ecdsa_allowed_addresses=ALICE.address, ecdsa_user="svc2", tls="allow", ecdsa_require_tls="always",
             databases=None)
    old = ALICE.password(int(time.time()) - 4000)
    assert text(p, ALICE.address, "db", old, tls=True) == "no such database: db"
    assert text(p, ALICE.address, "db", old) == "wallet login requires TLS"
    assert text(p, ALICE.address, "svc", ALICE.password()) == "wallet login requires TLS"
    assert text(p, ALICE.address, "x", ALICE.password()) == "no such database: x"
    refused(p, ALICE.address, old, "expired", "x")


@ours
@pytest.mark.parametrize("hba, ident, why", [
    ("local all all ecdsa replay=twice\n", "", "ecdsa option replay=twice has a value that is not possible"),
    ("local all all ecdsa formats=bound\n", "", "format bound lets nobody in while ecdsa_server_names is empty"),
    ("local all all ecdsa max_lifetime=0\n", "", "ecdsa_max_lifetime must be between 1 and"),
    ("local all all ecdsa lifetime=5\n", "", "ecdsa option lifetime=5 is unknown"),
    ("local all %s ecdsa\n" % ALICE.address.replace("f39F", "f39f"), "", "the correct spelling is " + ALICE.address),
    ("", "m %s u\n" % ALICE.address.replace("f39F", "f39f"), "the correct spelling is " + ALICE.address),
    ("", "m %s u valid-until=soon\n" % ALICE.address, "expected valid-until="),
])
def test_what_cannot_work_refuses_the_load(gate, hba, ident, why):
    """A skipped line would let the next one decide. RELOAD keeps what was."""
    p = gate("local all all trust\n", "")
    env.write(p.hba_file, hba)
    env.write(p.ident_file, ident)
    with pytest.raises(PgError, match="RELOAD failed"):
        p.admin("RELOAD")
    assert p.logged(re.escape(why) + r".*:1\)")
    assert attempt(p, "u_trust", host=p.dir) is None


# --- revocation -----------------------------------------------------------------------------

MAP = "m %s svc2\nm %s svc2\n" % (ALICE.address, BOB.address)
LINE = "host all all 127.0.0.1/32 ecdsa map=m\n"


def is_open(c):
    try:
        return c.value("SELECT 1") == "1"
    except (PgError, wire.Closed):
        return False


@ours
@pytest.mark.parametrize("user", [ALICE.address, "svc2"], ids=["wallet", "role"])
@pytest.mark.parametrize("hba, ident, stays", [
    (LINE, MAP, True),
    (LINE, "m %s svc2\n" % BOB.address, False),
    (LINE, MAP.replace("svc2", "svc", 1), False),
    (LINE, "m %s svc2\n" % ALICE.address + MAP.replace("svc2", "svc", 1), True),
    (LINE, MAP.replace("svc2", "svc2 valid-until=2020-01-01", 1), False),
    (LINE.replace("ecdsa map=m", "reject"), MAP, False),
    (LINE.replace("map=m", "map=n"), MAP.replace("m ", "n "), True),
    ("host all u_trust 127.0.0.1/32 trust\n" + LINE, MAP, True),
], ids=["same", "no-line", "other-role", "first-line", "expired", "rejected", "other-map", "more-lines"])
def test_reload_closes_who_is_no_longer_mapped(gate, user, hba, ident, stays):
    p = gate(LINE, MAP)
    with p.login(user, "db", ALICE.password()) as c, p.login(BOB.address, "db", BOB.password()) as other:
        rules(p, hba, ident)
        assert is_open(c) == stays
        assert is_open(other) == ("reject" not in hba)


@ours
def test_revocation_can_be_turned_off(gate):
    p = gate(LINE, MAP, ecdsa_revoke_on_reload=0)
    with p.login(ALICE.address, "db", ALICE.password()) as c:
        rules(p, ident="m %s svc2\n" % BOB.address)
        assert is_open(c)
    refused(p, ALICE.address, ALICE.password(), "no_mapping")


@ours
def test_a_mapped_role_is_never_exchanged(gate, pg):
    """RELOAD gives the database another user: who has the old one by a map does not become the new one."""
    p = gate("host all u_trust 127.0.0.1/32 trust\n" + LINE, "m %s svc\n" % ALICE.address, ecdsa_revoke_on_reload=0)
    with p.login(ALICE.address, "svc", ALICE.password()) as c, p.login("u_trust", "svc") as other:
        assert c.value("SELECT current_user") == other.value("SELECT current_user") == "svc"
        p.databases["svc"] = pg.entry(user="svc2", password="svc2_pw")
        p.reload()
        assert other.value("SELECT current_user") == "svc2"
        assert c.expect_error().text == "admin forced disconnect"


@ours
def test_set_of_auth_type_revokes_nobody(gate):
    """There are no lines to judge by before the next RELOAD."""
    p = gate(LINE, MAP, auth_type="ecdsa", ecdsa_allowed_addresses=ALICE.address, ecdsa_user="svc2")
    with p.login(ALICE.address, "db", ALICE.password()) as c:
        p.admin("SET auth_type = 'hba'")
        assert is_open(c)
        p.settings["auth_type"] = "hba"
        p.reload()
        assert is_open(c)
        rules(p, ident="m %s svc2\n" % BOB.address)
        assert not is_open(c)


@ours
def test_revocation_of_a_console(gate):
    p = gate(LINE, "m %s admin\nm %s admin\n" % (ALICE.address, BOB.address))
    with p.login("admin", "pgbouncer", ALICE.password()) as c, p.login("admin", "pgbouncer", BOB.password()) as other:
        rules(p, ident="m %s admin\n" % BOB.address)
        assert other.query("SHOW VERSION").rows
        with pytest.raises((PgError, wire.Closed, IndexError)):
            c.query("SHOW VERSION").value()


@ours
@pytest.mark.parametrize("user, database", [(ALICE.address, "db"), ("svc2", "db"), (ALICE.address, "pgbouncer")])
def test_reload_while_the_password_is_awaited(gate, user, database):
    """Whoever came before it is judged by what is true after it."""
    p = gate(LINE, MAP, admin_users="admin, " + ALICE.lower)
    with p.wire() as c:
        c.send(wire.startup(user, database))
        c.expect(b"R")
        rules(p, ident="m %s svc2\n" % BOB.address)
        c.send(wire.password(ALICE.password()))
        assert c.expect_error().text == "admin forced disconnect"
    assert role(p, BOB.address, BOB) == "svc2"
