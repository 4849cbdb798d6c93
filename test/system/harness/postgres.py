"""A private PostgreSQL: a temp directory, free ports, TLS, one role a method."""
import glob
import os
import shutil
import signal
import subprocess

import psycopg

from . import env

# Every role's password is its name with _pw behind it.
ROLES = ("u_trust", "u_plain", "u_md5", "u_scram", "u_tls", "u_cert", "svc", "svc2")
# These may replicate as well; svc2 and u_cert may not.
REPLICATING = ("u_trust", "u_plain", "u_md5", "u_scram", "u_tls", "svc")


def bindir():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    if found:
        return os.path.dirname(found[-1])
    path = shutil.which("initdb")
    if not path:
        raise RuntimeError("no PostgreSQL server programs found")
    return os.path.dirname(os.path.realpath(path))


HBA = """
local   all all                   trust
hostssl all u_tls    all          trust
host    all u_tls    all          reject
hostssl all u_cert   all          cert
host    all postgres all          trust
host    all u_trust  all          trust
host    all u_plain  all          password
host    all u_md5    all          md5
host    all u_scram  all          scram-sha-256
host    all all      all          scram-sha-256
"""
# Physical replication is let in by lines of its own, which say the same.
HBA += HBA.replace(" all ", " replication ", 1).replace("ssl all ", "ssl replication ").replace(
    "host    all ", "host    replication ")

CONF = """
listen_addresses = '127.0.0.1,::1'
port = %(port)d
unix_socket_directories = '%(dir)s'
max_connections = %(connections)d
shared_buffers = 32MB
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
autovacuum = off
log_line_prefix = '%%m [%%p] %%u %%a '
log_connections = on
log_min_messages = warning
ssl = on
ssl_ca_file = '%(certs)s/ca.crt'
ssl_cert_file = '%(certs)s/server.crt'
ssl_key_file = '%(certs)s/server.key'
"""


class Postgres:
    def __init__(self, certs, directory=None, connections=200):
        self.dir = directory or env.make_dir(prefix="pg-")
        self.data = os.path.join(self.dir, "data")
        self.port = env.free_port()
        self.host = "127.0.0.1"
        self.certs = certs
        self.process = None
        self.bin = bindir()
        env.run([os.path.join(self.bin, "initdb"), "-D", self.data, "-U", "postgres", "-A", "trust",
                 "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"], cwd=self.dir)
        env.write(os.path.join(self.data, "pg_hba.conf"), HBA)
        with open(os.path.join(self.data, "postgresql.conf"), "a") as f:
            f.write(CONF % {"port": self.port, "dir": self.dir, "certs": certs.dir, "connections": connections})
        self.start()
        for role in ROLES:
            kind = "md5" if role == "u_md5" else "scram-sha-256"
            self.sql("SET password_encryption = '%s'" % kind,
                     "CREATE ROLE %s LOGIN PASSWORD '%s_pw'%s"
                     % (role, role, " REPLICATION" if role in REPLICATING else ""))
        for db in ("db", "db2"):
            self.sql("CREATE DATABASE %s" % db)
            self.sql("GRANT ALL ON SCHEMA public TO PUBLIC", db=db)
        self.sql("CREATE FUNCTION slow_one(float8) RETURNS int LANGUAGE sql AS "
                 "'SELECT 1 FROM pg_sleep($1)'", db="db")

    def start(self):
        self.log = open(os.path.join(self.dir, "log"), "ab")
        self.process = env.popen([os.path.join(self.bin, "postgres"), "-D", self.data], cwd=self.dir,
                                 stdout=self.log, stderr=subprocess.STDOUT)
        env.wait_for(self.answers, "PostgreSQL to answer: " + self.dir, timeout=60 * env.SLOW)

    def answers(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.dir, "log")) as f:
                raise RuntimeError("PostgreSQL did not start:\n" + f.read()[-3000:])
        try:
            self.sql("SELECT 1")
            return True
        except psycopg.OperationalError:
            return False

    def stop(self, how=signal.SIGINT):
        """SIGINT: fast. SIGQUIT: immediate, like a crash."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)
        self.process = None
        self.log.close()

    def remove(self):
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.dir, ignore_errors=True)

    def conninfo(self, db="postgres", user="postgres"):
        return "host=%s port=%d dbname=%s user=%s connect_timeout=10" % (self.dir, self.port, db, user)

    def sql(self, *statements, db="postgres", user="postgres"):
        """Run statements directly, the pooler not involved; rows of the last."""
        with psycopg.connect(self.conninfo(db, user), autocommit=True) as conn:
            for statement in statements:
                cur = conn.execute(statement)
            return cur.fetchall() if cur.description else []

    def backends(self, db="db", user=None, where="true"):
        """Pids of the client backends that are connected to a database."""
        rows = self.sql("SELECT pid FROM pg_stat_activity WHERE datname = '%s' AND backend_type = 'client backend'"
                        " AND %s AND %s ORDER BY backend_start"
                        % (db, "usename = '%s'" % user if user else "true", where))
        return [r[0] for r in rows]

    def walsenders(self, where="true"):
        """Pids of the replication connections, physical and logical."""
        return [r[0] for r in self.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender' AND %s"
                                       " ORDER BY backend_start" % where)]

    def clear(self):
        """Nothing of one test, such as a query that still sleeps, is seen by the next."""
        env.wait_for(lambda: not self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                          " WHERE datname IN ('db', 'db2') AND backend_type = 'client backend'"
                                          " OR backend_type = 'walsender'"),
                     "the backends of the last test to go")
        self.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")

    def secret(self, role):
        return self.sql("SELECT rolpassword FROM pg_authid WHERE rolname = '%s'" % role)[0][0]

    def entry(self, dbname="db", **more):
        """A [databases] line that leads here."""
        items = dict(host=self.host, port=self.port, dbname=dbname, **more)
        return " ".join("%s=%s" % (k, quote(v)) for k, v in items.items() if v is not None)


def quote(value):
    text = str(value)
    return "'%s'" % text.replace("'", "''") if " " in text or "'" in text or not text else text
