"""Everything also in the smallest buffers: pkt_buf 75, socket buffers of 4096 bytes, passwords of 65530."""
import os

import pytest
from harness import env, wire
from harness.wire import SYNC, PgError, bind, execute, extended, parse, query

pytestmark = pytest.mark.ours

SMALL = dict(pkt_buf=75, tcp_socket_buffer=4096)
LONGEST = "p" * 65530
SIDES = ("plain", "md5", "scram-sha-256")


@pytest.fixture(scope="module")
def longest(pg):
    """Roles whose password is as long as one may be, one for each way in."""
    path = os.path.join(pg.data, "pg_hba.conf")
    with open(path) as f:
        before = f.read()
    env.write(path, "host all long_plain all password\nhost all long_md5 all md5\n" + before, 0o600)
    pg.sql("SELECT pg_reload_conf()")
    for method, kind in (("plain", "scram-sha-256"), ("md5", "md5"), ("scram-sha-256", "scram-sha-256")):
        name = role(method)
        pg.sql("SET password_encryption = '%s'" % kind, "DROP ROLE IF EXISTS " + name,
               "CREATE ROLE %s LOGIN PASSWORD '%s'" % (name, LONGEST))
    yield pg
    for method in SIDES:
        pg.sql("DROP ROLE " + role(method))
    env.write(path, before, 0o600)
    pg.sql("SELECT pg_reload_conf()")


def role(method):
    return "long_" + method.split("-")[0]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("settings", [{}, SMALL], ids=["usual", "small"])
def test_longest_password_on_both_sides(pooler, longest, certs, settings, tls):
    """Each way of the client in front of each way of the server."""
    for client in SIDES:
        p = pooler(databases={r: longest.entry() for r in SIDES}, users={role(s): LONGEST for s in SIDES},
                   auth_type=client, server_tls_sslmode="require" if tls else "disable",
                   client_tls_sslmode="allow" if tls else "disable", client_tls_key_file=certs.key("server"),
                   client_tls_cert_file=certs.crt("server"), **settings)
        for server in SIDES:
            with p.wire() as c:
                if tls:
                    c.tls()
                c.login(role(server), server, LONGEST)
                assert c.value("SELECT current_user") == role(server)
        with pytest.raises(PgError):
            p.login(role("plain"), "plain", LONGEST[:-1] + "q")


def test_longest_password_of_a_forced_user(pooler, longest):
    p = pooler(databases={s: longest.entry(user=role(s), password=LONGEST) for s in SIDES}, users={"someone": ""}, **SMALL)
    for s in SIDES:
        with p.login("someone", s) as c:
            assert c.value("SELECT current_user") == role(s)


def test_longest_password_by_auth_query(pooler, longest):
    """The query's answer and what it is held against pass the same small buffers."""
    p = pooler(databases={"db": longest.entry()}, users={"u_trust": ""}, auth_type="plain", auth_user="u_trust",
               auth_query="SELECT $1, repeat('p', 65530)", **SMALL)
    with p.login(role("plain"), "db", LONGEST) as c:
        assert c.value("SELECT current_user") == role("plain")


@pytest.mark.parametrize("size", [40, 66, 67, 68, 75, 76, 149, 150, 151, 4096, 30000, 65000])
def test_startup_packets_of_any_size(pooler, pg, size):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, ignore_startup_parameters="some, geqo", **SMALL)
    for params in (dict(some="x" * size), dict(options="-c geqo=" + "y" * size), dict(application_name="z" * size)):
        for piece in (1 << 20, 75, 1000):
            with p.wire() as c:
                c.send_pieces(wire.startup("u_trust", "db", **params), piece)
                c.finish_login("u_trust")
                assert c.value("SHOW application_name") == params.get("application_name", "")[:63]


def test_options_longer_than_the_buffer_take_effect(pooler, pg):
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, ignore_startup_parameters="geqo", **SMALL)
    with p.login(options="-c geqo=on " * 1000 + "-c DateStyle=German --TimeZone=Asia/Tokyo") as c:
        assert c.value("SHOW DateStyle") == "German, DMY" and c.value("SHOW TimeZone") == "Asia/Tokyo"


def test_setting_parameters_in_front_of_large_messages(pooler, pg):
    """Each transaction has a SET to come first; its answer is dropped, nothing else is."""
    p = pooler(databases={"db": pg.entry(pool_size=1)}, users={"u_trust": ""}, pool_mode="transaction", **SMALL)
    with p.login(application_name="one", TimeZone="Asia/Tokyo") as a, p.login(application_name="t" * 60) as b:
        for size in (1, 37, 74, 75, 76, 150, 300, 750, 5000, 100000):
            text = "v" * size
            for c, name, zone in ((a, "one", "Asia/Tokyo"), (b, "t" * 60, "Etc/UTC")):
                want = [(name, zone if zone != "Etc/UTC" else c.params["TimeZone"], text)]
                sql = "SELECT current_setting('application_name'), current_setting('TimeZone'), '%s'" % text
                assert c.query(sql).rows == want
                r = c.run(sql.replace("'%s'" % text, "$1::text"), (text,))
                assert r.types == "12TDCZ" and r.rows == want
                c.send(parse(sql, "n" + text[:3000]), bind("n" + text[:3000]), execute(), wire.close("S", "n" + text[:3000]),
                       SYNC)
                r = c.until_ready()
                assert r.types == "12DC3Z" and r.rows == want


def test_copy_both_ways(pooler, pg):
    p = pooler(databases={"db": pg.entry(pool_size=1)}, users={"u_trust": ""}, pool_mode="transaction", **SMALL)
    pg.sql("DROP TABLE IF EXISTS small", "CREATE TABLE small (a text)", "GRANT ALL ON small TO PUBLIC", db="db")
    sizes = (1, 69, 70, 71, 75, 150, 1000, 50000)
    with p.login() as c:
        for how in ("simple", "extended"):
            c.send(query("COPY small FROM STDIN") if how == "simple" else extended("COPY small FROM STDIN") + SYNC)
            while c.recv().type != b"G":
                pass
            for size in sizes:
                c.send(wire.copy_data(b"c" * size + b"\n"))
            c.send(wire.COPY_DONE, b"" if how == "simple" else SYNC)
            assert c.until_ready().tags == ["COPY %d" % len(sizes)]
        r = c.query("COPY (SELECT a FROM small ORDER BY length(a)) TO STDOUT")
        assert [len(m.body) - 1 for m in r.messages if m.type == b"d"] == sorted(2 * sizes)
    pg.sql("DROP TABLE small", db="db")
