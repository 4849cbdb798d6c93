"""The admin console: what it shows, and its grammar."""
import re

import pytest
from harness import env, wire
from harness.wire import Closed, PgError

ours = pytest.mark.ours

TEXT, INT4, INT8, NUMERIC, BYTEA = 25, 23, 20, 1700, 17
KIND = {"s": TEXT, "i": INT4, "q": INT8, "N": NUMERIC, "T": TEXT, "b": BYTEA}
LENGTH = {TEXT: -1, INT4: 4, INT8: 8, NUMERIC: -1, BYTEA: -1}

CLIENTS = ("s type, s user, s database, s replication, s state, s addr, i port, s local_addr, i local_port, "
           "T connect_time, T request_time, i wait, i wait_us, i close_needed, s ptr, s link, i remote_pid, s tls, "
           "s application_name, i prepared_statements, i id")

COLUMNS = {
    "VERSION": "s version",
    "CONFIG": "s key, s value, s default, s changeable",
    "DATABASES": "s name, s host, i port, s database, s force_user, i pool_size, i min_pool_size, "
                 "i reserve_pool_size, i server_lifetime, s pool_mode, s load_balance_hosts, i max_connections, "
                 "i current_connections, i max_client_connections, i current_client_connections, i paused, i disabled",
    "USERS": "s name, s pool_size, s reserve_pool_size, s pool_mode, i max_user_connections, i current_connections, "
             "i max_user_client_connections, i current_client_connections",
    "POOLS": "s database, s user, i cl_active, i cl_waiting, i cl_active_cancel_req, i cl_waiting_cancel_req, "
             "i sv_active, i sv_active_cancel, i sv_being_canceled, i sv_idle, i sv_used, i sv_tested, i sv_login, "
             "i maxwait, i maxwait_us, s pool_mode, s load_balance_hosts",
    "CLIENTS": CLIENTS + ", s identity",
    "SERVERS": CLIENTS,
    "LISTS": "s list, i items",
    "STATE": "s key, s value",
    "MEM": "s name, i size, i used, i free, i memtotal",
    "DNS_HOSTS": "s hostname, q ttl, s addrs",
    "DNS_ZONES": "s zonename, q serial, i count",
    "PEERS": "i peer_id, s host, i port, i pool_size",
    "PEER_POOLS": "i peer_id, i cl_active_cancel_req, i cl_waiting_cancel_req, i sv_active_cancel, i sv_login",
    "SOCKETS": CLIENTS + ", i recv_pos, i pkt_pos, i pkt_remain, i send_pos, i send_remain, i pkt_avail, i send_avail",
    "ACTIVE_SOCKETS": CLIENTS + ", i recv_pos, i pkt_pos, i pkt_remain, i send_pos, i send_remain, i pkt_avail, "
                                "i send_avail",
    "STATS_TOTALS": "s database, " + ", ".join(
        "N " + c for c in "server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time "
        "wait_time client_parse_count server_parse_count bind_count client_login_count".split()),
    "STATS_AVERAGES": "s database, " + ", ".join(
        "N " + c for c in "server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time "
        "wait_time avg_client_parse_count avg_server_parse_count avg_bind_count avg_client_login_count".split()),
    "TOTALS": "s name, N value",
    "STATS": "s database, " + ", ".join(
        "N total_" + c for c in "server_assignment_count xact_count query_count received sent xact_time query_time "
        "wait_time client_parse_count server_parse_count bind_count client_login_count".split()) + ", " + ", ".join(
        "N avg_" + c for c in "server_assignment_count xact_count query_count recv sent xact_time query_time "
        "wait_time client_parse_count server_parse_count bind_count client_login_count".split()),
}

NO_ROWS = ("DNS_ZONES", "PEERS", "PEER_POOLS", "ACTIVE_SOCKETS")

SETTINGS_IN_ORDER = """admin_users application_name_add_host auth_dbname auth_file auth_hba_file auth_ident_file
auth_ldap_options auth_query auth_type auth_user autodb_idle_timeout cancel_wait_timeout client_idle_timeout
client_login_timeout client_tls13_ciphers client_tls_ca_file client_tls_cert_file client_tls_ciphers
client_tls_dheparams client_tls_ecdhcurve client_tls_key_file client_tls_protocols client_tls_sslmode conffile
default_pool_size disable_pqexec dns_max_ttl dns_nxdomain_ttl dns_zone_check_period idle_transaction_timeout
ignore_startup_parameters job_name listen_addr listen_backlog listen_port log_connections log_disconnections
log_pooler_errors log_stats logfile login_notify_message max_client_conn max_db_client_connections
max_db_connections max_packet_size max_prepared_statements max_user_client_connections max_user_connections
min_pool_size peer_id pidfile pkt_buf pool_mode pool_idle_timeout query_timeout query_wait_notify
query_wait_timeout reserve_pool_size reserve_pool_timeout resolv_conf sbuf_loopcnt scram_iterations
server_check_delay server_check_query server_connect_timeout server_fast_close server_idle_timeout server_lifetime
server_login_retry server_reset_query server_reset_query_always server_round_robin server_tls13_ciphers
server_tls_ca_file server_tls_cert_file server_tls_ciphers server_tls_key_file server_tls_protocols
server_tls_sslmode so_reuseport stats_period stats_users suspend_timeout syslog syslog_facility syslog_ident
tcp_defer_accept tcp_keepalive tcp_keepcnt tcp_keepidle tcp_keepintvl tcp_socket_buffer tcp_user_timeout
track_extra_parameters transaction_timeout unix_socket_dir unix_socket_group unix_socket_mode user
verbose""".split()


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": "", "plain": ""},
                         "pool_mode": "transaction", **settings})
    return make


@ours
@pytest.mark.parametrize("what", COLUMNS)
def test_columns(pool, pg, what):
    p = pool(databases={"db": "host=localhost port=%d" % pg.port})
    with p.login() as c, p.console() as admin:
        c.query("BEGIN")
        r = admin.query("SHOW " + what)
        assert r.types == "T" + "D" * len(r.rows) + "CZ" and r.tags == ["SHOW"] and r.status == "I"
        wanted = [item.split() for item in COLUMNS[what].split(", ")]
        assert [c.name for c in r.columns] == [name for _, name in wanted]
        assert [c.oid for c in r.columns] == [KIND[kind] for kind, _ in wanted]
        for column in r.columns:
            assert column.typlen == LENGTH[column.oid]
            assert (column.typmod, column.format, column.table, column.attr) == (-1, 0, 0, 0)
        assert bool(r.rows) != (what in NO_ROWS)
        for row in r.rows:
            for (kind, name), value in zip(wanted, row):
                if kind in "iqN" and value is not None:
                    assert re.fullmatch(r"-?\d+", value), (name, value)
                if kind == "T":
                    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+", value), (name, value)
        assert admin.query("select %s ; " % what.lower()).columns == r.columns


@pytest.mark.parametrize("name, value", [("client_encoding", "UTF-8"), ("datestyle", "ISO"), ("timezone", "GMT"),
                                         ("default_transaction_isolation", "read committed"),
                                         ("standard_conforming_strings", "on")])
def test_fake_parameters(pool, name, value):
    with pool().console() as admin:
        r = admin.query("SHOW " + name)
        assert r.rows == [(value,)] and r.columns[0].name == name
        r = admin.query("SET %s = 'x'" % name)
        assert [n["M"] for n in r.notices] == ["SET ignored"] and r.tags == ["SET"]


def test_greeting(pool):
    p = pool()
    with p.console() as admin:
        assert admin.params["server_version"].endswith("/bouncer")
        assert list(admin.params)[:6] == ["server_version", "client_encoding", "server_encoding", "DateStyle", "TimeZone",
                                          "standard_conforming_strings"]
        assert admin.params["is_superuser"] == "on"
        assert (admin.params["DateStyle"], admin.params["TimeZone"]) == ("ISO", "GMT")
    if not env.ORACLE:
        assert admin.params["server_version"] == "1.25.2/bouncer"


def test_version(pool):
    rows = pool().show("VERSION")
    assert len(rows) == 1 and rows[0]["version"].startswith("PgBouncer ")


@ours
def test_config(pool):
    p = pool(query_timeout="1.5", unix_socket_mode="0750", default_pool_size="0x10")
    rows = {r["key"]: r for r in p.show("CONFIG")}
    keys = [r["key"] for r in p.show("CONFIG")]
    assert keys[:len(SETTINGS_IN_ORDER)] == SETTINGS_IN_ORDER
    for key in ("worker_threads", "ecdsa_window", "ecdsa_allowed_addresses", "ecdsa_application_name"):
        assert keys.index(key) >= len(SETTINGS_IN_ORDER)
    assert (rows["query_timeout"]["value"], rows["query_timeout"]["default"]) == ("1.5", "0")
    assert rows["unix_socket_mode"]["value"] == "488" and rows["default_pool_size"]["value"] == "16"
    assert rows["auth_user"]["value"] is None and rows["auth_user"]["default"] is None
    assert rows["server_check_query"]["default"] == "<empty>"
    assert rows["conffile"]["value"] == p.ini
    assert rows["listen_port"]["changeable"] == "no" and rows["query_timeout"]["changeable"] == "yes"
    assert rows["server_reset_query"]["value"] == "DISCARD ALL"
    assert rows["pool_mode"]["value"] == "transaction"


@ours
def test_every_setting_can_be_set_to_itself(pool):
    """Read it, set it to that, read it again."""
    p = pool()
    before = p.show("CONFIG")
    with p.console() as admin:
        for row in before:
            if row["value"] is None:
                continue
            r = admin.query("SET %s = '%s'" % (row["key"], row["value"].replace("'", "''")))
            assert not r.errors, (row["key"], r.errors)
            assert r.tags == [("SET %s=%s" % (row["key"], row["value"]))[:511]]
    assert p.show("CONFIG") == before


def test_databases(pool, pg):
    p = pool(databases={"db": pg.entry(user="svc", pool_size=3, pool_mode="session"), "aa": "port=1"})
    rows = {r["name"]: r for r in p.show("DATABASES")}
    assert list(rows) == sorted(rows) and "pgbouncer" in rows
    db, aa, own = rows["db"], rows["aa"], rows["pgbouncer"]
    assert (db["host"], db["port"], db["database"], db["force_user"]) == ("127.0.0.1", str(pg.port), "db", "svc")
    assert (db["pool_size"], db["pool_mode"]) == ("3", "session")
    assert aa["host"] is None and aa["force_user"] is None and aa["pool_mode"] is None and aa["database"] == "aa"
    assert (own["port"], own["pool_size"], own["force_user"], own["pool_mode"]) == (str(p.port), "2", "pgbouncer",
                                                                                    "statement")


def test_users(pool):
    p = pool(user_lines={"plain": "pool_mode=session", "other": "pool_mode=statement"})
    rows = {r["name"]: r["pool_mode"] for r in p.show("USERS")}
    assert rows["plain"] == "session" and rows["other"] == "statement" and not rows["u_trust"]
    assert "admin" in rows and list(rows) == sorted(rows)


@ours
def test_users_pool_size_text(pool):
    p = pool(user_lines={"plain": "pool_size=7 max_user_connections=5"})
    rows = {r["name"]: r for r in p.show("USERS")}
    assert rows["plain"]["pool_size"].strip() == "7" and len(rows["plain"]["pool_size"]) == 9
    assert rows["u_trust"]["pool_size"] == "" and rows["plain"]["max_user_connections"] == "5"


def test_pools_clients_servers(pool):
    p = pool()
    with p.login(application_name="tool") as a, p.login(database="other") as b:
        a.query("BEGIN")
        b.value("SELECT 1")
        p.wait_pool("db", cl_active=1, sv_active=1, sv_idle=0)
        p.wait_pool("other", cl_active=1, sv_active=0, sv_idle=1)
        assert [r["database"] for r in p.show("POOLS")] == ["db", "other", "pgbouncer"]
        clients = {r["database"]: r for r in p.show("CLIENTS")}
        servers = {r["database"]: r for r in p.show("SERVERS")}
        assert clients["db"]["link"] == servers["db"]["ptr"] and servers["db"]["link"] == clients["db"]["ptr"]
        assert clients["other"]["link"] == servers["other"]["link"] == ""
        assert (clients["db"]["type"], servers["db"]["type"]) == ("C", "S")
        assert (servers["db"]["state"], servers["other"]["state"]) == ("active", "idle")
        assert clients["db"]["state"] == "active"
        assert clients["db"]["port"] == str(a.sock.getsockname()[1]) and clients["db"]["local_port"] == str(p.port)
        assert clients["db"]["application_name"] == "tool"
        assert servers["db"]["remote_pid"] == a.value("SELECT pg_backend_pid()")
        if not env.ORACLE:
            assert clients["other"]["state"] == "idle"
            assert clients["db"]["identity"] == "" and clients["db"]["replication"] == "none"
        a.query("COMMIT")


@ours
def test_ids_count_up_by_one(pool):
    p = pool()
    with p.console() as admin:
        own = int([r for r in admin.query("SHOW CLIENTS").dicts() if r["database"] == "pgbouncer"][0]["id"])
        with p.login() as c:
            c.value("SELECT 1")
            client = int([r for r in admin.query("SHOW CLIENTS").dicts() if r["database"] == "db"][0]["id"])
            server = int(admin.query("SHOW SERVERS").dicts()[0]["id"])
            assert (client, server) == (own + 1, own + 2)


@ours
def test_lists(pool):
    p = pool()
    with p.login() as c:
        c.value("SELECT 1")
        rows = p.show("LISTS")
        assert [r["list"] for r in rows] == ["databases", "users", "peers", "pools", "peer_pools", "free_clients",
                                             "used_clients", "login_clients", "free_servers", "used_servers",
                                             "dns_names", "dns_zones", "dns_queries", "dns_pending"]
        items = {r["list"]: int(r["items"]) for r in rows}
        assert items["databases"] == 3 and items["used_servers"] == 1 and items["used_clients"] == 2


@ours
def test_stats(pool):
    p = pool()
    for _ in range(5):
        with p.login() as c:
            c.query("BEGIN")
            c.query("SELECT 1")
            c.query("COMMIT")
            c.run("SELECT 2")
    row = [r for r in p.show("STATS") if r["database"] == "db"][0]
    assert row["total_client_login_count"] == "5"
    assert row["total_xact_count"] == "10" and row["total_query_count"] == "20"
    assert row["total_server_assignment_count"] == "10"
    assert int(row["total_received"]) > 200 and int(row["total_sent"]) > 200
    assert int(row["total_query_time"]) > 0 and int(row["total_xact_time"]) >= int(row["total_query_time"]) // 2
    totals = {r["name"]: int(r["value"]) for r in p.show("TOTALS")}
    assert totals["total_client_login_count"] >= 5 and totals["total_xact_count"] >= 10
    wanted = [prefix + n for prefix in ("total_", "avg_") for n in (
        "server_assignment_count xact_count query_count client_bytes server_bytes xact_time query_time wait_time "
        "ps_client_parse_count ps_server_parse_count ps_bind_count client_login_count").split()]
    assert [r["name"] for r in p.show("TOTALS")] == wanted


@ours
def test_five_sessions_are_five_assignments(pool):
    p = pool(pool_mode="session")
    for _ in range(5):
        with p.login() as c:
            c.query("BEGIN")
            c.query("COMMIT")
    row = [r for r in p.show("STATS") if r["database"] == "db"][0]
    assert row["total_server_assignment_count"] == row["total_client_login_count"] == row["total_xact_count"] == "5"
    assert row["total_query_count"] == "10"


@ours
def test_users_who_failed_to_log_in_are_not_shown(pool):
    p = pool(auth_type="md5", users={"plain": "secret"}, user_lines={"other": "pool_size=1"})
    for user in ("nobody", "plain"):
        with pytest.raises(PgError):
            p.login(user, secret="wrong")
    assert [r["name"] for r in p.show("USERS")] == ["admin", "other", "pgbouncer", "plain", "stats"]
    assert {r["list"]: r["items"] for r in p.show("LISTS")}["users"] == "5"


@ours
def test_the_console_is_a_pool(pool):
    """Shown like one, and left alone by PAUSE, RECONNECT, KILL and the time-outs."""
    p = pool(client_idle_timeout=0.2, query_wait_timeout=0.2, query_timeout=0.2)
    with p.console() as admin:
        for command in ("PAUSE", "RESUME", "RECONNECT", "WAIT_CLOSE", "KILL"):
            assert admin.query(command).tags == [command]
        row = admin.query("SHOW POOLS").dicts()[0]
        assert (row["database"], row["user"], row["cl_active"], row["pool_mode"]) == ("pgbouncer", "pgbouncer", "1",
                                                                                      "statement")
        assert [r["database"] for r in admin.query("SHOW STATS").dicts()] == ["pgbouncer"]
        with p.login(database="other") as c:
            # Its end shows that the time-outs are at work.
            assert c.expect_error().text == "client_idle_timeout"
        stats = admin.query("SHOW STATS").dicts()[-1]
        assert stats["total_xact_count"] == stats["total_query_count"] == "8"
        assert stats["total_client_login_count"] == "1"


# --- grammar and errors -----------------------------------------------------

@pytest.mark.parametrize("text", ["", ";", "nonsense", "SHOW", "SHOW nonsense", "SHOW VERSION VERSION",
                                  "SHOW VERSION; SHOW VERSION", "BEGIN", "SELECT 1 + 1", "SHOW 'VERSION'",
                                  "RELOAD db", "SHUTDOWN tomorrow", "-- comment", "SHOW\0"])
def test_invalid_commands(pool, text):
    with pool().console() as admin:
        r = admin.query(text.replace("\0", ""))
        assert r.types == "EZ"
        e = r.errors[0]
        assert (e.severity, e.code) == ("ERROR", "08P01")
        assert set(e.fields) == {"S", "C", "M"} or env.ORACLE
        assert e.text.startswith("invalid command '") and e.text.endswith("', use SHOW HELP;")
        assert admin.query("SHOW VERSION").tags == ["SHOW"]


@pytest.mark.parametrize("text", ["show version", "  SHOW\t\r\n VERSION  ", "SHOW VERSION ;  ", "Select Version;",
                                  'SHOW "VERSION"' if not env.ORACLE else "SHOW VERSION"])
def test_valid_spellings(pool, text):
    with pool().console() as admin:
        assert admin.query(text).tags == ["SHOW"]


def test_show_help(pool):
    with pool().console() as admin:
        r = admin.query("SHOW HELP")
        assert r.notices[0]["M"] == "Console usage" and "SHOW" in r.notices[0]["D"] and r.tags == ["SHOW"]


# --- texts that come and go -----------------------------------------------

def test_psql_on_the_console(pool):
    p = pool()
    out = env.run(["psql", p.conninfo("admin", "pgbouncer", "admin_pw"), "-c", "SHOW POOLS", "-c", "SHOW DATABASES"])
    assert "cl_active" in out and "force_user" in out


def test_too_long_command(pool):
    p = pool()
    with p.console() as c:
        try:
            c.send(wire.query("SHOW " + "x" * 100000))
            assert c.recv().type == b"E"
        except Closed:
            pass
    p.show("VERSION")


@pytest.mark.parametrize("command", ["SHOW " + "x" * 70, "y" * 20 + " x", "SET query_timeout = '%s'" % ("1" * 300)])
def test_long_words(pool, command):
    with pool().console() as c:
        assert c.query(command).errors[0].text in ("bad arguments", "invalid command '%s', use SHOW HELP;" % command)


@ours
def test_extended_protocol_on_the_console(pool):
    """A superset: one command without parameters works."""
    p = pool()
    with p.console() as c:
        r = c.run("SHOW VERSION")
        assert r.rows and r.tags == ["SHOW"]
    with p.connect("admin", "pgbouncer", "admin_pw") as conn:
        assert conn.execute("SHOW POOLS").fetchall()


def test_commands_are_counted(pool):
    p = pool()
    count = lambda: int([r for r in p.show("STATS") if r["database"] == "pgbouncer"][0]["total_query_count"])
    first = count()
    assert count() > first
