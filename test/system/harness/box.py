"""pg-ecdsa-container without a container: its own directories, ports and
environment; the programs are those beside it in the build tree."""
import os
import re
import signal
import socket
import ssl
import subprocess

import psycopg

from . import env
from .http import get
from .wallet import ALICE

BINARY = os.environ.get("PGECDSA_CONTAINER", os.path.join(env.BUILD_DIR, "pg-ecdsa-container"))
MNEMONIC = "quick brown fox jumps over the lazy dog while twelve words pass"
OTHER_MNEMONIC = "sphinx of black quartz judge my vow while twelve other words pass"


def children_of(pid):
    """{name of the program: pid}"""
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        pids = [int(p) for p in f.read().split()]
    found = {}
    for p in pids:
        try:
            with open("/proc/%d/cmdline" % p, "rb") as f:
                found[os.path.basename(f.read().split(b"\0")[0].decode())] = p
        except FileNotFoundError:
            pass
    return found


def certificate_of(port):
    """What a new client of the pooler at that port is shown, in DER."""
    with socket.create_connection(("127.0.0.1", port), timeout=env.PATIENCE) as s:
        s.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")
        assert s.recv(1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(s) as t:
            return t.getpeercert(binary_form=True)


class Box:
    def __init__(self, scratch, data=None, **variables):
        self.dir = env.make_dir(scratch, "box-")
        self.run_dir = os.path.join(self.dir, "run")
        self.data_dir = data or os.path.join(self.dir, "data")
        self.tls_dir = os.path.join(self.dir, "tls")
        self.port, self.http = env.free_port(), env.free_port()
        self.variables = {
            "PATH": os.environ["PATH"], "RUN_DIR": self.run_dir, "DATA_DIR": self.data_dir, "TLS_DIR": self.tls_dir,
            "PROXY_HOST": "127.0.0.1", "PROXY_PORT": str(self.port), "HTTP_LISTEN": "127.0.0.1:%d" % self.http,
            "ALLOWED_ADDRESS": ALICE.address, "ECDSA_REQUIRE_TLS": "never",
        }
        self.variables.update(env.of_sanitizers())
        self.set(**variables)
        self.p = None
        self.log_path = os.path.join(self.dir, "log")

    def set(self, **variables):
        for name, value in variables.items():
            self.variables.pop(name, None)
            if value is not None:
                self.variables[name] = str(value)
        return self

    def store(self, path=None, **more):
        """Backups to a directory."""
        path = path or env.make_dir(self.dir, "store-")
        return self.set(**{"BACKUP_S3_ENDPOINT": "file://" + path, "BACKUP_PREFIX": "app", "MNEMONIC": MNEMONIC,
                           "BACKUP_SCHEDULE_INITIAL_DELAY": "1h", **more})

    def popen(self, args, **how):
        return env.popen([BINARY, *args], cwd=self.dir, env=self.variables, **how)

    def command(self, *args):
        """Runs one to its end: (status, what it said)."""
        p = self.popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        out, _ = p.communicate(timeout=60 * env.SLOW)
        assert "Sanitizer" not in out and "runtime error" not in out, out
        return p.returncode, out

    def launch(self):
        self.log_file = open(self.log_path, "ab")
        self.p = self.popen([], stdout=self.log_file, stderr=subprocess.STDOUT)
        return self

    def start(self):
        self.launch()
        env.wait_for(self.is_ready, self.log, timeout=90 * env.SLOW, pause=0.05)
        return self

    def is_ready(self):
        assert self.p.poll() is None, self.log()
        try:
            return get(self.http, "/readyz").code == 200
        except OSError:
            return False

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def children(self):
        return children_of(self.p.pid)

    def connect(self, wallet=ALICE, **how):
        return psycopg.connect(**{"host": "127.0.0.1", "port": self.port, "user": wallet.address, "dbname": "postgres",
                                  "password": wallet.password(), "autocommit": True, **how})

    def sql(self, *statements, **how):
        rows = None
        with self.connect(**how) as c:
            for s in statements:
                cursor = c.execute(s)
                rows = cursor.fetchall() if cursor.description else None
        return rows

    def wait(self):
        """Its status; nothing of it is left, and no sanitizer has complained."""
        status = self.p.wait(60 * env.SLOW)
        self.log_file.close()
        self.p = None
        log = self.log()
        assert not re.search(r"Sanitizer|runtime error", log), log
        return status

    def stop(self, how=signal.SIGTERM):
        self.p.send_signal(how)
        return self.wait()

    def close(self):
        if self.p and self.p.poll() is None:
            self.p.kill()  # the others follow: their death signal
            self.p.wait()
