"""Our pooler, or PgBouncer as an oracle, as a child process of a test."""
import os
import re
import shutil
import signal
import subprocess

import psycopg

from . import env
from .wire import Wire

BROKEN = re.compile(r"FATAL.*Assert|ERROR: AddressSanitizer|ERROR: LeakSanitizer|runtime error:"
                    r"|WARNING: ThreadSanitizer|client disconnected with query in progress")

# What release 1.18 does not know, so that one test can serve both.
NEWER = {"worker_threads", "max_prepared_statements", "query_wait_notify", "transaction_timeout", "cancel_wait_timeout",
         "login_notify_message", "track_extra_parameters", "auth_dbname", "max_db_client_connections",
         "max_user_client_connections", "scram_iterations", "pool_idle_timeout", "client_tls13_ciphers",
         "server_tls13_ciphers"}


class Pooler:
    """Settings are keyword arguments; None leaves one out.

    databases   {name: connection string}
    users       {name: password or secret}, the auth_file
    user_lines  {name: "key=value ..."}, the [users] section
    peers       {id: connection string}, the [peers] section
    port        of a group of processes that share it
    oracle      run PgBouncer in place of ours
    """

    def __init__(self, binary_dir, workers=1, databases=None, users=None, user_lines=None, peers=None, port=None,
                 args=(), start=True, ini=None, verbosity=0, oracle=env.ORACLE, **settings):
        self.oracle = oracle
        self.dir = env.make_dir(prefix="pool-")
        self.workers = workers
        self.host = "127.0.0.1"
        self.port = port or env.free_port()
        self.binary = self.pick_binary(binary_dir, oracle)
        self.ini = os.path.join(self.dir, "pgbouncer.ini")
        self.userlist = os.path.join(self.dir, "userlist.txt")
        self.logfile = os.path.join(self.dir, "log")
        self.databases = databases or {}
        self.users = users or {}
        self.user_lines = user_lines or {}
        self.peers = peers or {}
        self.settings = dict(listen_addr="127.0.0.1", listen_port=self.port, unix_socket_dir=self.dir,
                             auth_type="trust", auth_file=self.userlist, admin_users="admin", stats_users="stats",
                             server_login_retry=1, pidfile="", tcp_defer_accept=0, log_stats=0)
        if not oracle:
            self.settings["worker_threads"] = workers
        self.settings.update(settings)
        self.users.setdefault("admin", "admin_pw")
        self.users.setdefault("stats", "stats_pw")
        self.args = list(args)
        if verbosity:
            self.args += ["-v"] * verbosity
        self.process = None
        self.expected_exit = None
        self.seen = 0
        self.write(ini)
        if start:
            self.start()

    @staticmethod
    def pick_binary(binary_dir, oracle=env.ORACLE):
        """The server user may not be able to read the build tree, so the
        program is run from a copy."""
        source = env.ORACLE_BINARY if oracle else env.binary("pg-ecdsa-proxy")
        target = os.path.join(binary_dir, os.path.basename(source))
        if not os.path.exists(target):
            shutil.copy(source, target)
            os.chmod(target, 0o755)
        return target

    def write(self, ini=None):
        with open(self.userlist, "w") as f:
            for name, secret in self.users.items():
                f.write('"%s" "%s"\n' % (name.replace('"', '""'), secret.replace('"', '""')))
        env.own(self.userlist)
        env.write(self.ini, ini if ini is not None else self.ini_text())

    def ini_text(self):
        lines = ["[databases]"]
        lines += ["%s = %s" % item for item in self.databases.items()]
        if self.user_lines:
            lines += ["[users]"] + ["%s = %s" % item for item in self.user_lines.items()]
        if self.peers:
            lines += ["[peers]"] + ["%s = %s" % item for item in self.peers.items()]
        lines.append("[pgbouncer]")
        for key, value in self.settings.items():
            if value is None or (self.oracle and (key in NEWER or key.startswith("ecdsa_"))):
                continue
            if isinstance(value, bool):
                value = int(value)
            lines.append("%s = %s" % (key, value))
        return "\n".join(lines) + "\n"

    # life

    def run(self, args, **kw):
        with open(self.logfile, "ab") as log:
            return env.popen([self.binary] + args, cwd=self.dir, stdout=log, stderr=subprocess.STDOUT, **kw)

    def spawn(self, args=None):
        self.process = self.run(self.args + [self.ini] if args is None else args)

    def successor(self, *options, faults=None, **settings):
        """A process that takes over from the running one, by these settings; it is only started here."""
        self.settings.update(settings)
        self.write()
        environment = dict(os.environ, PGECDSA_FAULTS=faults) if faults else None
        return self.run(self.args + ["-R", *options, self.ini], env=environment)

    def restart(self, workers=None, **settings):
        """An online restart, to its end."""
        if workers:
            settings["worker_threads"] = workers
        self.mark()
        old, new = self.process, self.successor(**settings)
        env.wait_for(lambda: self.logged("process up") or new.poll() is not None,
                     lambda: "the takeover:\n" + self.log()[self.seen:][-3000:])
        if new.poll() is not None:
            raise AssertionError("the successor ended with status %d:\n%s"
                                 % (new.returncode, self.log()[self.seen:][-3000:]))
        self.process = new
        assert old.wait(env.PATIENCE) == 0

    def start(self):
        self.spawn()
        env.wait_for(self.answers, lambda: "the pooler to start:\n" + self.log()[-3000:])

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError("the pooler ended with status %d:\n%s"
                                 % (self.process.returncode, self.log()[-3000:]))
        # "process up" is written when the listeners are open.
        return "process up" in self.log()

    def wait_exit(self, status=0, timeout=None):
        self.expected_exit = status
        code = self.process.wait(timeout or env.PATIENCE)
        if not (self.oracle and status == 0):
            assert code == status, "exit status %d:\n%s" % (code, self.log()[-3000:])

    def signal(self, number):
        self.process.send_signal(number)

    def reload(self, **settings):
        """Change settings and let the console reload them."""
        self.settings.update(settings)
        self.write()
        self.admin("RELOAD")

    def finish(self):
        """The end of the test: stop it if it still runs; what it left behind is judged."""
        troubles = []
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                # 1.18 ends at once by SIGTERM, ours by SIGQUIT.
                self.process.send_signal(signal.SIGTERM if self.oracle else signal.SIGQUIT)
                try:
                    code = self.process.wait(env.PATIENCE)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
                    troubles.append("it did not end by SIGQUIT")
                    code = 0
                if code != 0 and not self.oracle:
                    troubles.append("exit status %d after SIGQUIT" % code)
            elif self.expected_exit is None:
                troubles.append("it ended by itself, status %d" % code)
        text = self.log()
        if not self.oracle:
            troubles += ["the log has: " + m.group(0) for m in BROKEN.finditer(text)]
        if not troubles:
            shutil.rmtree(self.dir, ignore_errors=True)
        return troubles, text

    # the log

    def log(self):
        try:
            with open(self.logfile, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def mark(self):
        """Later log questions look only at what comes from here on."""
        self.seen = len(self.log())

    def logged(self, pattern):
        return re.findall(pattern, self.log()[self.seen:], re.M)

    def wait_log(self, pattern, count=1):
        return env.wait_for(lambda: len(self.logged(pattern)) >= count and self.logged(pattern),
                            lambda: "log line %r:\n%s" % (pattern, self.log()[self.seen:][-3000:]))

    # ways in

    def wire(self, host=None, **how):
        return Wire(host or self.host, self.port, **how)

    def login(self, user="u_trust", database="db", secret=None, host=None, **params):
        wire = self.wire(host)
        try:
            return wire.login(user, database, secret, **params)
        except BaseException:
            wire.close()
            raise

    def conninfo(self, user="u_trust", db="db", password=None, host=None, **more):
        items = dict(host=host or self.host, port=self.port, user=user, dbname=db, connect_timeout=int(env.PATIENCE))
        if password is not None:
            items["password"] = password
        items.update(more)
        return " ".join("%s='%s'" % (k, str(v).replace("\\", "\\\\").replace("'", "\\'")) for k, v in items.items())

    def connect(self, user="u_trust", db="db", password=None, autocommit=True, **more):
        return psycopg.connect(self.conninfo(user, db, password, **more), autocommit=autocommit)

    # the console

    def console(self, user=None, host=None):
        """As the named user with its password; else as everybody's own
        operator: user pgbouncer over the Unix socket, known by the Unix user
        of the process. That way works with every auth_type and needs no TLS."""
        if user is None and host is None and self.settings["unix_socket_dir"] == self.dir:
            with env.as_server_user():
                wire = self.wire(self.dir)
            return wire.login("pgbouncer", "pgbouncer")
        user = user or "admin"
        if host is None and self.settings["unix_socket_dir"] == self.dir:
            host = self.dir
        return self.login(user, "pgbouncer", user + "_pw", host)

    def console_result(self, command, user=None):
        with self.console(user) as c:
            return c.query(command)

    def admin(self, command):
        """Run one console command; rows as dicts."""
        result = self.console_result(command)
        if result.errors:
            raise result.errors[0]
        return result.dicts()

    def show(self, what):
        return self.admin("SHOW " + what)

    def pool(self, database="db", user=None):
        """The SHOW POOLS row, numbers as numbers; zeros if there is none yet."""
        for row in self.show("POOLS"):
            if row["database"] == database and user in (None, row["user"]):
                return {k: int(v) if v and re.fullmatch(r"-?\d+", v) else v for k, v in row.items()}
        return dict.fromkeys(("cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login"), 0)

    def wait_pool(self, database="db", user=None, **want):
        """Until the pool has these numbers."""
        seen = {}

        def there():
            seen.update(self.pool(database, user))
            return all(seen.get(k) == v for k, v in want.items())
        env.wait_for(there, lambda: "pool %r, last seen %r" % (want, seen), pause=0.03)
        return seen
