"""--check: every problem of every file, each with its place; 0 or 1; and nothing is changed."""
import os
import re
import shutil
import subprocess

import pytest
from harness import env

pytestmark = pytest.mark.ours


@pytest.fixture
def check(pooler):
    """check({file: text}, args...): status, and the lines of standard error."""
    p = pooler(start=False)

    def run(files, *args, **kw):
        for name, text in files.items():
            env.write(os.path.join(p.dir, name), text.replace("DIR", p.dir).replace("PORT", str(p.port)))
        child = env.popen([p.binary, "--check", *args, "x.ini"], cwd=p.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, **kw)
        out, err = child.communicate(timeout=env.PATIENCE)
        lines = [line.replace(p.dir, "DIR") for line in err.splitlines()]
        assert out == "" and lines[-1] == "x.ini: %s" % ("ok" if child.returncode == 0 else "not ok")
        assert all(re.match("(error|fatal|warning|note): ", line) for line in lines[:-1]), lines
        run.dir = p.dir
        return child.returncode, lines[:-1]
    run.pooler = p
    return run


GOOD = ("[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = PORT\nunix_socket_dir = DIR\nauth_type = %s\n"
        "auth_file = DIR/users\n")
USERS = '"someone" "secret"\n'


def test_a_good_one_says_nothing(check):
    status, lines = check({"x.ini": GOOD % "scram-sha-256", "users": USERS})
    assert (status, lines) == (0, [])


def test_a_start_agrees(check):
    """What --check calls good starts; what it does not starts all the same, where PgBouncer would."""
    p = check.pooler
    for text, status in ((GOOD % "md5", 0), ((GOOD % "md5").replace("DIR/users", "DIR/nowhere"), 1)):
        assert check({"x.ini": text, "users": USERS})[0] == status
        p.ini = os.path.join(p.dir, "x.ini")
        p.mark()
        p.start()
        p.signal(3)
        p.wait_exit()
        p.expected_exit = 0
        os.rename(p.logfile, p.logfile + ".old")


def test_every_problem_of_the_files_it_includes(check):
    status, lines = check({
        "x.ini": (GOOD % "md5") + "%include a.ini\nfrob = 1\n%include nowhere.ini\n[databases]\n%include b.ini\n[users]\nu = x=1\n",
        "a.ini": "query_timeout = soon\n\nlisten_backlog\n%include c.ini\n", "c.ini": " \npool_mode = often\n",
        "b.ini": "d = port=0 pool_mode=never frob=1 host=x\ne = host\n'my db = x\npgbouncer = host=x\n", "users": USERS})
    assert status == 1
    assert lines == [
        'error: invalid value "soon" for parameter query_timeout in configuration (a.ini:1)',
        "error: syntax error in configuration (a.ini:3)",
        'error: invalid value "often" for parameter pool_mode in configuration (c.ini:2)',
        "error: error processing include file in configuration (a.ini:4)",
        "error: error processing include file in configuration (x.ini:7)",
        "error: unknown parameter: pgbouncer/frob (x.ini:8)",
        'error: invalid value "1" for parameter frob in configuration (x.ini:8)',
        'error: could not load file "nowhere.ini": No such file or directory',
        "error: error processing include file in configuration (x.ini:9)",
        "error: invalid port: 0 (b.ini:1)", "error: invalid pool mode: never (b.ini:1)",
        "error: unrecognized connection parameter: frob (b.ini:1)",
        'error: invalid value "port=0 pool_mode=never frob=1 host=x" for parameter d in configuration (b.ini:1)',
        "error: syntax error in connection string (b.ini:2)",
        'error: invalid value "host" for parameter e in configuration (b.ini:2)',
        "error: syntax error in configuration (b.ini:3)",
        'error: database name "pgbouncer" is reserved (b.ini:4)',
        'error: invalid value "host=x" for parameter pgbouncer in configuration (b.ini:4)',
        "error: error processing include file in configuration (x.ini:11)",
        "error: unrecognized user parameter: x (x.ini:13)",
        'error: invalid value "x=1" for parameter u in configuration (x.ini:13)']


def test_includes_without_end(check):
    """Each includes itself ten times: it ends, and soon."""
    status, lines = check({"x.ini": (GOOD % "md5") + "%include x.ini\n" * 10, "users": USERS})
    assert status == 1 and "error: include nesting level too deep (x.ini:7)" in lines


def test_lines_that_replace_others(check):
    """The last one counts: that is how files are overridden, so it is no mistake."""
    status, lines = check({"x.ini": (GOOD % "md5") + "query_timeout = 1\nquery_timeout = 2\n[databases]\na = host=x\n"
                           "* = host=y\n%include b.ini\n[users]\nu = pool_size=1\nu = pool_size=2\n",
                           "b.ini": "a = host=z\n* = host=x\n", "users": USERS})
    assert (status, lines) == (0, ["warning: a has a line further up, which does not count any more (b.ini:1)",
                                   "warning: * has a line further up, which does not count any more (b.ini:2)",
                                   "warning: u has a line further up, which does not count any more (x.ini:15)"])


def test_auth_file(check):
    long_name, long_secret = "x" * 128, "y" * 65531
    status, lines = check({"x.ini": GOOD % "md5", "users": USERS + '; comment\nbroken\n"%s" "a"\n\n"b" "%s"\n"open\n"c" "c"\n'
                           '"d" "d' % (long_name, long_secret)})
    # A quote that does not close swallows what follows, so the start sees no more of it; here every line is judged.
    assert (status, lines) == (1, ["error: broken auth file (DIR/users:3)", "error: username too long in auth file (DIR/users:4)",
                                   "error: password too long in auth file (DIR/users:6)",
                                   "error: broken auth file (DIR/users:9)"])
    os.unlink(os.path.join(check.dir, "users"))
    assert check({"x.ini": GOOD % "md5"}) == (1, ["error: could not open auth_file DIR/users: No such file or directory"])
    assert check({"x.ini": GOOD % "any"}) == (0, [])


def test_hba_and_ident(check):
    """Lines that a start would skip, of both files and of those they name."""
    status, lines = check({
        "x.ini": (GOOD % "hba") + "auth_hba_file = DIR/hba\nauth_ident_file = DIR/ident\n", "users": USERS,
        "hba": "# comment\nlocal all all trust\nhost all all 127.0.0.1/33 md5\nhots all all all trust\nhost all all all any\n"
               "host all all 127.0.0.1/8 md5\nlocal all @names peer map=m\nlocal all all peer map=n\nlocal all all trust x\n"
               "host all +role all md5\nlocal samerole all trust\nlocal all @nowhere trust\n",
        "names": "a\nb c,d\n", "ident": "m a b\nm a\nm a b c\n\"m\" a b\n"})
    assert status == 1
    assert lines == [
        "error: could not parse ident config line 2 (DIR/ident:2)",
        "error: ident line 3: unsupported parameters (DIR/ident:3)",
        "error: could not parse ident config line 3 (DIR/ident:3)",
        "error: could not parse ident config line 4 (DIR/ident:4)",
        "error: hba line 3: invalid mask (DIR/hba:3)", "error: could not parse hba config line 3 (DIR/hba:3)",
        "error: hba line 4: unknown type (DIR/hba:4)", "error: could not parse hba config line 4 (DIR/hba:4)",
        "error: hba line 5: unsupported method: buf=any (DIR/hba:5)", "error: could not parse hba config line 5 (DIR/hba:5)",
        "error: address does not match mask in DIR/hba line #6: 127.0.0.1 / 255.0.0.0 (DIR/hba:6)",
        "error: hba line 8: Ident map n is not found in ident config file (DIR/hba:8)",
        "error: could not parse hba config line 8 (DIR/hba:8)",
        "error: hba line 9: Ident map x is malformed. It is not in map=value format. (DIR/hba:9)",
        "error: could not parse hba config line 9 (DIR/hba:9)",
        "error: could not parse hba config line 10 (DIR/hba:10)",
        "error: samerole is not supported (DIR/hba:11)", "error: could not parse hba config line 11 (DIR/hba:11)",
        "error: hba line 12: could not open DIR/nowhere: No such file or directory (DIR/hba:12)",
        "error: could not parse hba config line 12 (DIR/hba:12)"]
    # Not looked at without auth_type = hba.
    assert check({"x.ini": (GOOD % "md5") + "auth_hba_file = DIR/hba\nauth_ident_file = DIR/ident\n"}) == (0, [])
    os.unlink(os.path.join(check.dir, "hba"))
    os.unlink(os.path.join(check.dir, "ident"))
    assert check({"x.ini": (GOOD % "hba") + "auth_hba_file = DIR/hba\nauth_ident_file = DIR/ident\n"}) == (1, [
        "error: could not open ident config file DIR/ident: No such file or directory",
        "error: could not open hba config file DIR/hba: No such file or directory"])


LDAP = "ldapserver=x ldapprefix=a "


@pytest.mark.parametrize("options, why", [
    ("ldapserver=x ldapbasedn=dc", None), (LDAP, None),
    (LDAP + "ldapbasedn=dc", "cannot mix options for simple bind and search+bind modes"),
    ("ldapserver=x", "one of ldapbasedn, ldapprefix and ldapsuffix must be set"),
    (LDAP + "ldapport=0", 'invalid ldapport value: "0"'), (LDAP + "ldapfrob=1", 'unrecognized LDAP option: "ldapfrob"'),
    ("ldapbasedn=dc ldapbindpasswd=my secret", "what stands behind the last key=value is not read"),
    ("ldapbasedn=dc ldapserver = x", "what stands behind the last key=value is not read"),
    ("ldapbasedn=" + "x" * 1020, "LDAP options are longer than 1023 bytes"),
])
def test_ldap_options(check, options, why):
    """Of the setting, and of HBA lines. No part of them is shown."""
    if "libldap" not in subprocess.run(["ldd", check.pooler.binary], stdout=subprocess.PIPE, text=True).stdout:
        pytest.skip("libldap not in this build")
    error = ["error: LDAP options: %s (%%s)" % why] if why else []
    assert check({"x.ini": (GOOD % "ldap") + "auth_ldap_options = %s\n" % options, "users": USERS}) == (
        len(error), [e % "x.ini:7" for e in error])
    assert check({"x.ini": (GOOD % "hba") + "auth_hba_file = hba\n", "hba": "\nhost all all all ldap %s\n" % options}) == (
        len(error), [e % "hba:2" for e in error])
    assert not any("secret" in e for e in error)


def test_ldap_without_options(check):
    assert check({"x.ini": GOOD % "ldap", "users": USERS}) == (1, ["error: auth_ldap_options is null (x.ini:5)"])


def test_tls(check, certs):
    tls = "client_tls_sslmode = %s\nclient_tls_key_file = %s\nclient_tls_cert_file = %s\nclient_tls_ca_file = %s\n"
    server = "server_tls_sslmode = %s\nserver_tls_key_file = %s\nserver_tls_cert_file = %s\nserver_tls_ca_file = %s\n"
    key, crt, ca = certs.key("server"), certs.crt("server"), certs.crt("ca")
    base = GOOD % "md5"
    both = tls % ("require", key, crt, ca) + server % ("verify-full", key, crt, ca)
    assert check({"x.ini": base + both, "users": USERS}) == (0, [])
    # Both sides, and all files.
    assert check({"x.ini": base + tls % ("require", "/no/key", "/no/crt", "/no/ca")
                  + server % ("verify-full", "", "/no/crt", "/no/ca")}) == (1, [
                      "error: client_tls_key_file = /no/key: No such file or directory (x.ini:8)",
                      "error: client_tls_cert_file = /no/crt: No such file or directory (x.ini:9)",
                      "error: client_tls_ca_file = /no/ca: No such file or directory (x.ini:10)",
                      "error: server_tls_cert_file = /no/crt: No such file or directory (x.ini:13)",
                      "error: server_tls_ca_file = /no/ca: No such file or directory (x.ini:14)"])
    # Nothing of a side that is off.
    off = ("disable", "/no", "/no", "/no")
    assert check({"x.ini": base + tls % off + server % off}) == (0, [])
    status, lines = check({"x.ini": base + tls % ("allow", certs.key("impostor"), crt, ca) + "server_tls_protocols = tlsv9\n"})
    assert status == 1 and len(lines) == 2
    assert re.match(r"error: TLS setup failed: .*key values mismatch \(x\.ini:7\)$", lines[0]), lines
    # With its default the side has no line of its own.
    assert lines[1] == "error: invalid server_tls_protocols: tlsv9"
    # What does not go together.
    assert check({"x.ini": (GOOD % "cert") + "client_tls_sslmode = require\n"}) == (1, [
        "error: To allow TLS connections from clients, client_tls_key_file and client_tls_cert_file must be set. (x.ini:7)",
        "error: auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL (x.ini:5)",
        "error: auth_type=cert requires client_tls_ca_file (x.ini:5)"])


@pytest.mark.parametrize("setting, value, why", [
    ("logfile", "/nonexistent/dir/log", "/nonexistent/dir: No such file or directory"), ("logfile", "DIR", "Is a directory"),
    ("logfile", "DIR/x.ini/log", "DIR/x.ini is not a directory"), ("pidfile", "/proc/pid", "Permission denied|No such file"),
    ("unix_socket_dir", "/nonexistent", "No such file or directory"), ("unix_socket_dir", "DIR/x.ini", "is not a directory"),
    ("unix_socket_group", "nobody_of_that_name", "group for unix socket 'nobody_of_that_name' not found"),
    ("listen_addr", "no.such.host.invalid", r"getaddrinfo\('no.such.host.invalid'\) = "),
    ("resolv_conf", "/nonexistent", "No such file or directory"), ("user", "nobody_of_that_name", "could not find user"),
    ("user", "daemon", "only root can switch to user 'daemon'"), ("listen_port", "65536", "must be between 0 and 65535"),
    ("auth_dbname", "pgbouncer", 'cannot use the reserved "pgbouncer" database as an auth_dbname'),
])
def test_what_a_start_needs(check, setting, value, why):
    status, lines = check({"x.ini": (GOOD % "md5") + "%s = %s\n" % (setting, value), "users": USERS})
    assert status == 1 and re.match(r"error: .*(%s).* \(x\.ini:7\)$" % why, lines[0]), lines


def test_nowhere_to_listen(check):
    status, lines = check({"x.ini": "[pgbouncer]\nlisten_addr =\nunix_socket_dir =\n"})
    assert status == 1 and lines == ["error: nowhere to listen on: listen_addr and unix_socket_dir are empty (x.ini:2)"]


@pytest.mark.parametrize("setting, value", [("syslog_facility", "LOCAL9"), ("auth_dbname", "elsewhere")])
def test_what_is_odd(check, setting, value):
    status, lines = check({"x.ini": (GOOD % "md5") + "%s = %s\n" % (setting, value), "users": USERS})
    assert status == 0 and re.match(r"warning: %s = %s is .* \(x\.ini:7\)$" % (setting, value), lines[0]), lines


def test_wallets(check):
    base = (GOOD % "ecdsa") + "ecdsa_allowed_addresses = %s\n"
    wrong = "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    status, lines = check({"x.ini": base % "@wallets", "wallets": "0x12\n\n%s\n" % wrong, "users": USERS})
    assert status == 1 and lines[0].endswith("(wallets:1)") and lines[1].endswith("(wallets:3)")
    status, lines = check({"x.ini": base % "@nowhere"})
    assert status == 1 and lines[0] == ('error: ecdsa_allowed_addresses: could not open "nowhere": No such file or directory '
                                        "(x.ini:7)")
    status, lines = check({"x.ini": GOOD % "ecdsa"})
    assert status == 1 and "lets nobody in" in lines[0] and lines[0].endswith("(x.ini:5)")


def test_settings_that_do_nothing_yet(check):
    """They are named, with their place, and are no mistake."""
    with open(os.path.join(env.TOP, "include", "config", "settings.def")) as f:
        later = re.findall(r'SETTING\((\w+), (?:TIME|INT), "[^"]*", [^,]+, [^,]+, \w+, LATER', f.read())
    if not later:
        pytest.skip("everything is built")
    status, lines = check({"x.ini": (GOOD % "md5") + "%s = 61\n" % later[0], "users": USERS})
    assert (status, lines) == (0, ["warning: setting %s has no effect in this version (x.ini:7)" % later[0]])


def test_no_file_and_no_section(check):
    assert check({"x.ini": "[databases]\n"})[1][0] == "error: load_init_file: main section missing from config file"
    os.unlink(os.path.join(check.dir, "x.ini"))
    assert check({})[1][0] == 'error: could not load file "x.ini": No such file or directory'


@pytest.mark.skipif(not env.IS_ROOT, reason="needs root to judge as somebody else")
def test_by_root_it_judges_as_the_user_it_will_be(check):
    p = check.pooler
    closed = os.path.join(p.dir, "closed")
    os.mkdir(closed)
    os.chmod(closed, 0o700)
    os.chmod(p.dir, 0o755)

    def run(*args):
        done = subprocess.run([p.binary, "--check", *args, "x.ini"], cwd=p.dir, stderr=subprocess.PIPE, text=True)
        return done.returncode, done.stderr.replace(p.dir, "DIR").splitlines()
    for name, text in {"x.ini": (GOOD % "md5") + "logfile = DIR/closed/log\n", "users": USERS}.items():
        env.write(os.path.join(p.dir, name), text.replace("DIR", p.dir).replace("PORT", str(p.port)))
    assert run() == (0, ["note: started by root it would refuse to run: setting user is empty", "x.ini: ok"])
    assert run("-u", env.SERVER_USER) == (1, ["error: logfile = DIR/closed/log: Permission denied (x.ini:7)", "x.ini: not ok"])
    shutil.rmtree(closed)
