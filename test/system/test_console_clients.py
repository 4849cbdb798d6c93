"""The console as real programs use it: psql, psycopg 2 and 3, asyncpg."""
import asyncio
import os
import pty
import re
import signal
import subprocess

import psycopg
import pytest
from harness import env

ours = pytest.mark.ours
psycopg2 = pytest.importorskip("psycopg2", reason="python3-psycopg2 is not installed")
asyncpg = pytest.importorskip("asyncpg", reason="python3-asyncpg is not installed")
REFUSED = "extended query protocol not supported by admin console"


@pytest.fixture
def pool(pooler, pg):
    return pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, auth_type="scram-sha-256")


def arguments(p):
    return ["psql", "-X", "-h", p.host, "-p", str(p.port), "-U", "admin", "-d", "pgbouncer"]


def environment():
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PGPASSWORD": "admin_pw", "TERM": "dumb",
            "LANG": "C.UTF-8", "PAGER": "cat"}


def psql(p, *more, text=None):
    out = subprocess.run(arguments(p) + list(more), env=environment(), input=text, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, timeout=env.PATIENCE)
    return out.returncode, out.stdout, out.stderr


# --- psql ---------------------------------------------------------------------

def test_psql_at_a_terminal(pool):
    """Its prompt, and a table as a person sees it."""
    master, slave = pty.openpty()
    child = subprocess.Popen(arguments(pool) + ["-v", "PROMPT1=[%n@%/%R%x%#]", "-v", "PROMPT2=[more]"], stdin=slave,
                             stdout=slave, stderr=slave, env=environment(), start_new_session=True)
    os.close(slave)
    seen = b""

    def until(text):
        nonlocal seen
        while text not in seen:
            seen += os.read(master, 4096)
        before, seen = seen.split(text, 1)
        return before.decode().replace("\r", "")
    try:
        until(b"[admin@pgbouncer=#]")
        os.write(master, b"SHOW\nVERSION;\n")
        out = until(b"[admin@pgbouncer=#]")
        assert "[more]" in out and re.search(r"\n +version +\n-+\n PgBouncer \d.*\n\(1 row\)\n", out)
        os.write(master, b"\\x\nSHOW LISTS;\n\\q\n")
        until(b"Expanded display is on.")
        out = until(b"items | 2")
        assert re.search(r"-\[ RECORD 1 \]-+\nlist  \| databases\n", out)
        assert child.wait(env.PATIENCE) == 0
    finally:
        child.kill()
        os.close(master)


def test_psql_variables_and_formats(pool):
    status, out, err = psql(pool, "-q", text="""
\\echo :SERVER_VERSION_NAME :SERVER_VERSION_NUM :ENCODING
SHOW VERSION \\gset v_
\\echo got :v_version
\\pset format csv
SHOW timezone;
\\pset null NULL
SHOW LISTS \\g |head -2
\\encoding
\\encoding LATIN1
\\echo :ROW_COUNT :SQLSTATE
SHOW HELP;
\\conninfo
""")
    assert status == 0
    lines = out.splitlines()
    if not env.ORACLE:
        assert lines[0] == "1.25.2/bouncer 12502 UTF8"
    assert lines[1].startswith("got PgBouncer ")
    assert lines[2:7] == ["timezone", "GMT", "list,items", "databases,2", "UTF8"]
    assert 'You are connected to database "pgbouncer" as user "admin"' in out
    assert "NOTICE:  Console usage\nDETAIL:  \n\tSHOW HELP|CONFIG|" in err and "\n\tRELOAD\n" in err


def test_psql_watch(pool):
    child = subprocess.Popen(arguments(pool) + ["-q", "-At"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=environment())
    try:
        child.stdin.write("SHOW timezone \\watch 0.05\n")
        child.stdin.flush()
        for _ in range(3):
            while child.stdout.readline() != "GMT\n":
                assert child.poll() is None
    finally:
        child.kill()
        child.communicate()
    assert not pool.logged("ERROR|pooler error")


def test_psql_tells_errors(pool):
    status, out, err = psql(pool, "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-c", "SHOW nonsense")
    assert (status, out, err) == (1, "", "ERROR:  08P01: invalid command 'SHOW nonsense', use SHOW HELP;\n")
    status, out, err = psql(pool, "-c", "SHOW timezone; SHOW timezone")
    assert (status, err) == (1, "ERROR:  invalid command 'SHOW timezone; SHOW timezone', use SHOW HELP;\n")
    status, out, err = psql(pool, "-c", "SHOW timezone", "-c", "BEGIN", "-c", "SHOW datestyle", "-At")
    assert (status, out) == (0, "GMT\nISO\n") and err == "ERROR:  invalid command 'BEGIN', use SHOW HELP;\n"
    status, out, err = psql(pool, "-1", "-c", "SHOW timezone")
    assert "invalid command 'BEGIN', use SHOW HELP;" in err


@ours
@pytest.mark.parametrize("command", ["\\d", "\\l", "\\du", "\\dt db", "\\df", "SELECT version();", "SELECT 1;", "\\dn+",
                                     "SELECT * FROM pg_stat_activity;", "SELECT current_user;", "DISCARD ALL;"])
def test_psql_and_the_catalogue(pool, command):
    """There is none: each query is an invalid command, however long, and the session goes on."""
    status, out, err = psql(pool, "-At", text=command + "\nSHOW timezone;\n")
    assert (status, out) == (0, "GMT\n")
    assert re.match(r"ERROR:  invalid command '.*', use SHOW HELP;\n$", err, re.S)


@ours
def test_psql_describes_by_the_extended_protocol(pool):
    status, out, err = psql(pool, "-At", "-v", "FETCH_COUNT=1", text="SHOW timezone \\gdesc\n")
    # psql asks the catalogue for the names of types, which is not there.
    assert "SELECT name AS \"Column\"" in err and "invalid command" in err
    if int(re.search(r"\d+", subprocess.run(["psql", "-V"], stdout=subprocess.PIPE, text=True).stdout).group()) >= 16:
        assert psql(pool, "-At", text="SHOW timezone \\bind \\g\n")[1] == "GMT\n"


def test_ctrl_c_undoes_a_pause_that_waits(pooler, pg):
    """psql sends a cancel request."""
    p = pooler(databases={"db": pg.entry()}, users={"u_trust": ""}, pool_mode="transaction")
    with p.login() as busy:
        busy.query("BEGIN")
        child = subprocess.Popen(arguments(p), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 text=True, env=environment(), start_new_session=True)
        child.stdin.write("PAUSE;\n")
        child.stdin.flush()
        p.wait_log("PAUSE command issued")
        env.wait_for(lambda: child.poll() is None and not busy.query("SELECT 1").errors, "the transaction")
        child.send_signal(signal.SIGINT)
        p.wait_log("cancel request for console client")
        child.kill()
        child.communicate()
        busy.query("COMMIT")
        assert busy.value("SELECT 1") == "1"


# --- psycopg 2 ------------------------------------------------------------------

def connect2(p, user="admin"):
    conn = psycopg2.connect(host=p.host, port=p.port, dbname="pgbouncer", user=user, password=user + "_pw")
    conn.autocommit = True
    return conn


def test_psycopg2(pool):
    conn = connect2(pool)
    cur = conn.cursor()
    cur.execute("SHOW LISTS")
    rows = dict(cur.fetchall())
    assert cur.statusmessage == "SHOW" and rows["databases"] == 2 and rows["used_clients"] == 1
    assert [(c.name, c.type_code) for c in cur.description] == [("list", 25), ("items", 23)]
    cur.execute("SHOW STATS_TOTALS")
    assert all(v == int(v) for v in cur.fetchone()[1:])
    cur.execute("SET default_pool_size = %s", ("7",))
    assert cur.statusmessage == "SET default_pool_size=7"
    cur.execute("SHOW CONFIG")
    row = [r for r in cur.fetchall() if r[0] == "default_pool_size"][0]
    assert row[1] == "7" and row[-1] == "yes"
    cur.execute("SET timezone = 'Europe/Paris'")
    assert cur.statusmessage == "SET" and conn.notices[-1].strip() == "NOTICE:  SET ignored"
    conn.set_client_encoding("LATIN1")
    assert (conn.encoding, conn.get_parameter_status("server_encoding")) == ("LATIN1", "UTF8")
    assert conn.server_version == (11800 if env.ORACLE else 12502)
    conn.close()


def test_psycopg2_errors_by_class(pool):
    conn = connect2(pool)
    cur = conn.cursor()
    for text in ("SHOW nonsense", "PAUSE nowhere", "SET nonsense = 1", "SELECT 1"):
        with pytest.raises(psycopg2.errors.ProtocolViolation) as e:
            cur.execute(text)
        assert e.value.pgcode == "08P01" and e.value.diag.severity == "ERROR"
    conn.autocommit = False
    with pytest.raises(psycopg2.errors.ProtocolViolation, match="invalid command 'BEGIN', use SHOW HELP;"):
        conn.cursor().execute("SHOW VERSION")
    conn.close()
    stats = connect2(pool, "stats")
    with pytest.raises(psycopg2.errors.ProtocolViolation, match="admin access needed"):
        stats.cursor().execute("RELOAD")
    stats.close()


@ours
def test_reload_failure_is_a_config_file_error(pool):
    conn = connect2(pool)
    with open(pool.ini, "a") as f:
        f.write("frob = 1\n")
    with pytest.raises(psycopg2.errors.ConfigFileError) as e:
        conn.cursor().execute("RELOAD")
    assert e.value.pgcode == "F0000"
    with pool.connect("admin", "pgbouncer", "admin_pw") as three:
        with pytest.raises(psycopg.errors.ConfigFileError, match="RELOAD failed, see logs for additional details"):
            three.execute("RELOAD")
    conn.close()


def test_psycopg2_is_told_why_it_is_closed(pool):
    conn = connect2(pool)
    cur = conn.cursor()
    with pytest.raises(psycopg2.OperationalError):
        cur.execute("SHUTDOWN")
    assert conn.closed
    pool.wait_exit(0)


# --- psycopg 3 ------------------------------------------------------------------

def test_psycopg3(pool):
    with pool.connect("admin", "pgbouncer", "admin_pw") as conn:
        cur = conn.execute("SHOW DATABASES")
        by_name = {c.name: i for i, c in enumerate(cur.description)}
        rows = {r[0]: r for r in cur.fetchall()}
        assert isinstance(rows["db"][by_name["port"]], int) and rows["pgbouncer"][by_name["host"]] is None
        assert conn.info.transaction_status.name == "IDLE"
        with pytest.raises(psycopg.errors.ProtocolViolation) as e:
            conn.execute("KILL nowhere")
        assert e.value.diag.message_primary == "no such database: nowhere"
        assert not conn.broken


@ours
def test_psycopg3_by_the_extended_protocol(pool):
    """Prepared at once, in a pipeline, and by a row factory."""
    with pool.connect("admin", "pgbouncer", "admin_pw") as conn:
        conn.prepare_threshold = 0
        for _ in range(3):
            assert conn.execute("SHOW timezone").fetchone() == ("GMT",)
            assert conn.execute("SHOW timezone", prepare=True).fetchone() == ("GMT",)
        assert conn.execute("RECONNECT", prepare=True).statusmessage == "RECONNECT"
        conn.row_factory = psycopg.rows.dict_row
        with conn.pipeline() as pipeline:
            curs = [conn.execute(t) for t in ("SHOW timezone", "SHOW LISTS", "SHOW STATE")]
            pipeline.sync()
            assert curs[0].fetchone() == {"timezone": "GMT"}
            assert curs[1].fetchone()["items"] == 2 and len(curs[2].fetchall()) == 3
        with pytest.raises(psycopg.errors.ProtocolViolation, match="invalid command 'SHOW nonsense'"):
            conn.execute("SHOW nonsense", prepare=True)
        assert conn.execute("SHOW timezone").fetchone()


@ours
@pytest.mark.parametrize("how", ["parameter", "binary"])
def test_what_the_extended_protocol_of_the_console_lacks(pool, how):
    conn = pool.connect("admin", "pgbouncer", "admin_pw")
    with pytest.raises(psycopg.errors.ProtocolViolation, match=REFUSED):
        if how == "parameter":
            conn.execute("SET default_pool_size = %s", ("5",))
        else:
            conn.cursor(binary=True).execute("SHOW LISTS")
    pool.wait_log("closing because: bad packet")
    with pytest.raises(psycopg.OperationalError):
        conn.execute("SHOW VERSION")
    conn.close()


def test_psycopg3_asynchronous(pool):
    async def run():
        conn = await psycopg.AsyncConnection.connect(pool.conninfo("admin", "pgbouncer", "admin_pw"), autocommit=True)
        async with conn:
            cur = await conn.execute("SHOW timezone")
            return await cur.fetchall()
    assert asyncio.run(run()) == [("GMT",)]


# --- asyncpg --------------------------------------------------------------------

def test_asyncpg(pool):
    """execute() works; fetch() wants binary results, which the console does not have."""
    async def run():
        conn = await asyncpg.connect(host=pool.host, port=pool.port, user="admin", password="admin_pw",
                                     database="pgbouncer")
        assert await conn.execute("SHOW POOLS") == "SHOW"
        assert await conn.execute("SET default_pool_size = 9") == "SET default_pool_size=9"
        assert conn.get_server_version()[:2] == ((1, 18) if env.ORACLE else (1, 25))
        with pytest.raises(asyncpg.ProtocolViolationError) as e:
            await conn.execute("SHOW nonsense")
        assert e.value.sqlstate == "08P01"
        with pytest.raises(asyncpg.ProtocolViolationError, match=REFUSED):
            await conn.fetch("SHOW POOLS")
        conn.terminate()
    asyncio.run(run())
    pool.wait_log("closing because: bad packet")
