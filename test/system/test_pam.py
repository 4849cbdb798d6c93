"""auth_type = pam, with the real libpam, a service of our own, and the module that libpam-wrapper has for tests."""
import glob
import os
import threading

import pytest
from harness import env, wire
from harness.wire import Closed, PgError

pytestmark = pytest.mark.ours
MATRIX = sorted(glob.glob("/usr/lib/*/pam_wrapper/pam_matrix.so") + glob.glob("/usr/lib/pam_wrapper/pam_matrix.so"))
RULES = """auth required %(matrix)s passdb=%(passdb)s
account required %(matrix)s passdb=%(passdb)s
"""
if not MATRIX:
    pytest.skip("libpam-wrapper is not installed", allow_module_level=True)


@pytest.fixture
def service(pooler, pg, monkeypatch):
    """make(rules, passwords, **settings): a pooler whose PAM service has these rules."""
    def make(rules=RULES, passwords=("u_scram:u_scram_pw:pgbouncer",), databases=None, **settings):
        p = pooler(start=False, databases=databases or {"db": pg.entry(user="svc", password="svc_pw")}, auth_type="pam", **settings)
        where = os.path.join(p.dir, "pam.d")
        os.mkdir(where)
        passdb = os.path.join(p.dir, "passdb")
        env.write(passdb, "".join(line + "\n" for line in passwords))
        env.write(os.path.join(where, "pgbouncer"), rules % {"matrix": MATRIX[0], "passdb": passdb})
        env.own(where)
        if "PAM" not in os.popen("ldd " + p.binary).read().upper():
            pytest.skip("libpam not in this build")
        # Read by developer builds only.
        monkeypatch.setenv("PGECDSA_PAM_DIR", where)
        p.start()
        return p
    return make


def refused(p, user, password, text="PAM authentication failed"):
    with pytest.raises(PgError) as e:
        p.login(user, secret=password).close()
    assert (e.value.code, e.value.text) == ("08P01", text)


def test_password_is_judged_and_goes_on_to_the_server(service, pg):
    """No auth_file entry: the very password that PAM took opens the server connection."""
    p = service(databases={"db": pg.entry()})
    with p.login("u_scram", secret="u_scram_pw") as c:
        assert c.value("SELECT current_user") == "u_scram"
    refused(p, "u_scram", "wrong")
    refused(p, "nobody", "u_scram_pw")
    refused(p, "u_scram", "", "empty password returned by client")
    assert "pam_authenticate failed" in p.log()
    assert "u_scram_pw" not in p.log()
    # The client may have been another Worker's: its user goes a moment after its error.
    env.wait_for(lambda: "nobody" not in [r["name"] for r in p.show("USERS")], "the refused user to be forgotten")


def test_account_check(service):
    """The password is right, but the service is not among those of the account."""
    p = service(passwords=("u_scram:u_scram_pw:another",))
    refused(p, "u_scram", "u_scram_pw")
    assert "pam_acct_mgmt failed" in p.log()


def test_question_that_is_not_a_password(service):
    p = service(rules="auth required %(matrix)s passdb=%(passdb)s echo\naccount required %(matrix)s passdb=%(passdb)s\n")
    refused(p, "u_scram", "u_scram_pw")


def test_database_authentication_does_not_mix(service, pg):
    p = service(databases={"db": pg.entry(auth_user="svc")})
    refused(p, "u_scram", "u_scram_pw", "bouncer config error")
    assert "PAM can't be used together with database authentication" in p.log()


def test_forced_user(service, pg):
    p = service(databases={"db": pg.entry(user="svc", password="svc_pw")})
    with p.login("u_scram", secret="u_scram_pw") as c:
        assert c.value("SELECT current_user") == "svc"


@pytest.mark.parametrize("size", [1, 1023, 1024, 65530])
def test_long_passwords(service, size):
    p = service(passwords=("u_scram:u_scram_pw:pgbouncer",))
    refused(p, "u_scram", "x" * size)
    with p.login("u_scram", secret="u_scram_pw") as c:
        assert c.value("SELECT 1") == "1"


def test_slow_module_holds_up_nobody_else(service, pg):
    """Clients of PAM queue for the one thread; who is in already, and the console, notice nothing."""
    if not os.path.exists("/bin/sleep"):
        pytest.skip("no sleep")
    slow = glob.glob("/usr/lib/*/security/pam_exec.so") + glob.glob("/lib/*/security/pam_exec.so")
    if not slow:
        pytest.skip("no pam_exec")
    p = service(rules="auth required %(matrix)s passdb=%(passdb)s\nauth optional " + slow[0] +
                " quiet /bin/sleep 0.3\naccount required %(matrix)s passdb=%(passdb)s\n")
    with p.login("u_scram", secret="u_scram_pw") as c:
        done = []

        def log_in():
            try:
                with p.login("u_scram", secret="u_scram_pw") as other:
                    done.append(other.value("SELECT 2"))
            except (PgError, Closed) as e:
                done.append(e)
        threads = [threading.Thread(target=log_in) for _ in range(3)]
        for t in threads:
            t.start()
        served = 0
        while any(t.is_alive() for t in threads):
            assert c.value("SELECT 1") == "1"
            served += 1
        assert served > 10 and done == ["2"] * 3


def test_client_that_leaves_while_it_is_judged(service):
    slow = glob.glob("/usr/lib/*/security/pam_exec.so") + glob.glob("/lib/*/security/pam_exec.so")
    if not slow:
        pytest.skip("no pam_exec")
    p = service(rules="auth optional " + slow[0] + " quiet /bin/sleep 0.2\nauth required %(matrix)s passdb=%(passdb)s\n"
                "account required %(matrix)s passdb=%(passdb)s\n")
    for _ in range(3):
        c = p.wire()
        c.send(wire.startup("u_scram", "db"))
        c.expect(b"R")
        c.send(wire.password("u_scram_pw"))
        c.reset()
    with p.login("u_scram", secret="u_scram_pw") as c:
        assert c.value("SELECT 1") == "1"
    env.wait_for(lambda: [int(r["items"]) for r in p.show("LISTS") if r["list"] == "login_clients"] == [0],
                 "the logins to end")
