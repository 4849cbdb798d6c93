"""LDAP authentication against a real slapd: configuration specification, section 13."""
import os
import socket
import subprocess
import threading

import pytest
from harness import env
from harness.directory import SLAPD, Directory
from harness.wire import Closed, PgError

pytestmark = [pytest.mark.ours, pytest.mark.skipif(not SLAPD, reason="slapd is not installed")]
LONG = "x" * 60
PEOPLE = [("u_scram", "u_scram_pw", "scram@example.net", None), ("u_md5", "u_md5_pw", "md5@example.net", "hidden"),
          ("twin1", "pw", "twin@example.net", None), ("twin2", "pw", "twin@example.net", None),
          (LONG, "long_pw", "long@example.net", None)]
TEXT = "LDAP authentication failed"


@pytest.fixture(scope="module")
def directory(certs):
    d = Directory(certs, PEOPLE)
    yield d
    d.remove()


@pytest.fixture
def service(pooler, pg, certs, directory, monkeypatch):
    """make(options): a pooler; HOST, PORT and TLSPORT in the options are the directory's."""
    def make(options, hba=False, databases=None, **settings):
        options = (options.replace("TLSPORT", str(directory.tls_port)).replace("PORT", str(directory.port))
                   .replace("HOST", "127.0.0.1"))
        monkeypatch.setenv("LDAPTLS_CACERT", os.path.join(certs.dir, "ca.crt"))
        how = {"auth_type": "ldap", "auth_ldap_options": options}
        if hba:
            how = {"auth_type": "hba", "auth_hba_file": os.path.join(directory.dir, "hba-%d" % os.getpid())}
            env.write(how["auth_hba_file"], "host all all 127.0.0.1/32 ldap %s\nlocal all all trust\n" % options)
        p = pooler(start=False, databases=databases or {"db": pg.entry(user="svc", password="svc_pw")}, **how, **settings)
        if "libldap" not in subprocess.run(["ldd", p.binary], stdout=subprocess.PIPE, text=True).stdout:
            pytest.skip("libldap not in this build")
        p.start()
        return p
    return make


def refused(p, user, password, text=TEXT):
    with pytest.raises(PgError) as e:
        p.login(user, secret=password).close()
    assert (e.value.code, e.value.text) == ("08P01", text)


def accepted(p, user, password):
    with p.login(user, secret=password) as c:
        assert c.value("SELECT 1") == "1"


BASE = 'ldapbasedn="dc=example,dc=net"'
GOOD = {
    "prefix": 'ldapserver=HOST ldapport=PORT ldapprefix="uid=" ldapsuffix=",dc=example,dc=net"',
    "search": "ldapserver=HOST ldapport=PORT " + BASE,
    "attribute": "ldapserver=HOST ldapport=PORT ldapsearchattribute=cn " + BASE,
    "filter": 'ldapserver=HOST ldapport=PORT ldapsearchfilter="(|(uid=$username)(mail=$username))" ' + BASE,
    "bound-search": 'ldapserver=HOST ldapport=PORT ldapbinddn="cn=reader,dc=example,dc=net" ldapbindpasswd=reader_pw ' + BASE,
    "url": 'ldapurl="ldap://HOST:PORT/dc=example,dc=net?uid?sub"',
    "start-tls": "ldapserver=HOST ldapport=PORT ldaptls=1 " + BASE,
    "ldaps": "ldapserver=HOST ldapport=TLSPORT ldapscheme=ldaps " + BASE,
    "second-server": 'ldapserver="127.0.0.1:1 HOST" ldapport=PORT ' + BASE,
}


@pytest.mark.parametrize("hba", [False, True], ids=["auth_type", "hba"])
@pytest.mark.parametrize("way", GOOD)
def test_ways_in(service, way, hba):
    p = service(GOOD[way], hba)
    accepted(p, "u_scram", "u_scram_pw")
    refused(p, "u_scram", "wrong")
    refused(p, "nobody", "u_scram_pw")
    refused(p, "u_scram", "", "empty password returned by client")
    assert "u_scram_pw" not in p.log() and "reader_pw" not in p.log()


BAD = {
    "port-of-nobody": ("ldapserver=HOST ldapport=1 " + BASE, "Can't contact LDAP server"),
    "ldaps-to-plain": ("ldapserver=HOST ldapport=PORT ldapscheme=ldaps " + BASE, "Can't contact LDAP server"),
    "start-tls-on-ldaps": ("ldapserver=HOST ldapport=TLSPORT ldapscheme=ldaps ldaptls=1 " + BASE, "could not start TLS"),
    "wrong-base": ('ldapserver=HOST ldapport=PORT ldapbasedn="dc=elsewhere"', "LDAP: search"),
    "wrong-searcher": ('ldapserver=HOST ldapport=PORT ldapbinddn="cn=reader,dc=example,dc=net" ldapbindpasswd=no ' + BASE,
                       "bind for the search: Invalid credentials"),
    "mixed": ("ldapserver=HOST ldapprefix=a " + BASE, "cannot mix options for simple bind and search+bind modes"),
    "scope-of-base": ('ldapurl="ldap://HOST:PORT/dc=example,dc=net?uid?base"', "there is no such user"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work(service, case):
    options, why = BAD[case]
    p = service(options)
    refused(p, "u_scram", "u_scram_pw")
    assert why in p.log()


def test_certificate_of_a_stranger(service, certs, monkeypatch):
    p = service(GOOD["ldaps"])
    accepted(p, "u_scram", "u_scram_pw")
    monkeypatch.setattr(certs, "dir", certs.dir)
    other = service("ldapserver=localhost.invalid ldapport=TLSPORT ldapscheme=ldaps " + BASE)
    refused(other, "u_scram", "u_scram_pw")


def test_entry_that_only_the_searcher_sees(service):
    p = service(GOOD["bound-search"])
    accepted(p, "u_md5", "u_md5_pw")
    refused(service(GOOD["search"]), "u_md5", "u_md5_pw")


@pytest.mark.parametrize("user", ["twin@example.net", "*", "u_scram)(uid=*", "u\\2a", "a/b"])
def test_names_that_are_not_one_entry(service, user):
    p = service(GOOD["filter"])
    refused(p, user, "pw")
    assert ("not unique" if "@" in user else "bytes that a search cannot carry") in p.log()


def test_long_names(service):
    p = service(GOOD["prefix"])
    accepted(p, LONG, "long_pw")
    refused(p, "ü" * 60, "long_pw")


def test_without_options(pooler, pg):
    p = pooler(databases={"db": pg.entry(user="svc", password="svc_pw")}, auth_type="ldap")
    refused(p, "u_scram", "u_scram_pw", "auth_ldap_options is null")


def test_database_authentication_does_not_mix(service, pg):
    p = service(GOOD["search"], databases={"db": pg.entry(auth_user="svc")})
    refused(p, "u_scram", "u_scram_pw", "bouncer config error")
    assert "LDAP can't be used together with database authentication" in p.log()


def test_password_goes_on_to_the_server(service, pg):
    p = service(GOOD["search"], databases={"db": pg.entry()})
    with p.login("u_scram", secret="u_scram_pw") as c:
        assert c.value("SELECT current_user") == "u_scram"


def test_silent_directory_holds_up_nobody_else(service, pg):
    """A server that accepts and says nothing: the login fails in seconds, others go on."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        p = service("ldapserver=HOST ldapport=%d %s" % (silent.getsockname()[1], BASE))
        failed = []

        def log_in():
            try:
                p.login("u_scram", secret="u_scram_pw").close()
            except (PgError, Closed) as e:
                failed.append(e)
        t = threading.Thread(target=log_in)
        t.start()
        for _ in range(20):
            p.admin("SHOW VERSION")
        assert t.is_alive() and not failed
        p.signal(15)
        t.join(env.PATIENCE)
        assert [e.text for e in failed] == [TEXT]
        p.wait_exit()


def test_end_while_a_directory_is_silent(service):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        p = service("ldapserver=HOST ldapport=%d %s" % (silent.getsockname()[1], BASE))
        from harness import wire
        with p.wire() as c:
            c.send(wire.startup("u_scram", "db"))
            c.expect(b"R")
            c.send(wire.password("u_scram_pw"))
            p.admin("SHOW VERSION")
            p.signal(3)
            p.wait_exit(0)
