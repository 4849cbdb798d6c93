"""OpenStack Swift with s3api: an S3 server from Debian that checks signatures for real.

One replica, four processes on loopback ports, everything in one directory.
Needs /etc/swift/swift.conf, which Swift reads before it looks at anything
else; it is written where there is none.
"""
import configparser
import contextlib
import fcntl
import http.client
import os
import shutil
import signal
import socket
import subprocess
import time

from . import env

ACCESS_KEY = "test:tester"
SECRET_KEY = "testing"
REGION = "us-east-1"
PROGRAMS = ["swift-proxy-server", "swift-account-server", "swift-container-server", "swift-object-server"]
SYSTEM_CONF = "/etc/swift/swift.conf"


def missing():
    """Why it cannot be run here, or None."""
    lacking = [p for p in PROGRAMS if not shutil.which(p)]
    if lacking:
        return "not installed: %s" % ", ".join(lacking)
    if not os.path.exists(SYSTEM_CONF) and not os.access("/etc", os.W_OK):
        return "no %s, and it cannot be written" % SYSTEM_CONF
    return None


def _system_conf():
    """The packages bring one whose prefix and suffix are not set, which Swift refuses."""
    os.makedirs(os.path.dirname(SYSTEM_CONF), exist_ok=True)
    with open("/tmp/.pgecdsa-swift-conf.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        conf = configparser.ConfigParser(strict=False)
        conf.read(SYSTEM_CONF)
        if conf.get("swift-hash", "swift_hash_path_suffix", fallback="changeme") not in ("changeme", ""):
            return
        with open(SYSTEM_CONF + ".new", "w") as f:
            f.write("[swift-hash]\nswift_hash_path_prefix = pgecdsa\nswift_hash_path_suffix = test\n\n"
                    "[storage-policy:0]\nname = Policy-0\ndefault = yes\n")
        os.chmod(SYSTEM_CONF + ".new", 0o644)
        os.rename(SYSTEM_CONF + ".new", SYSTEM_CONF)


SERVER = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = %(port)d
workers = 0
user = %(user)s
swift_dir = %(etc)s
devices = %(devices)s
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_address = %(log)s

[pipeline:main]
pipeline = %(name)s-server

[app:%(name)s-server]
use = egg:swift#%(name)s
replication_server = false
# The defaults are half a second to connect, and a second to tell the container of an object, else a daemon that does not
# run here does it later: on a busy machine requests would fail, or objects be in no listing.
conn_timeout = 60
node_timeout = 60
container_update_timeout = 60
"""

PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = %(port)d
workers = 0
user = %(user)s
swift_dir = %(etc)s
log_address = %(log)s

[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats bulk s3api tempauth slo dlo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 60
node_timeout = 60
recoverable_node_timeout = 60
error_suppression_limit = 1000000
allow_account_management = true

[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:9
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
min_segment_size = 5242880
storage_domain = localhost
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
"""

RINGS = """
import os, sys
from swift.common.ring import RingBuilder
for word in sys.argv[2:]:
    name, port = word.split(":")
    b = RingBuilder(4, 1, 1)
    b.add_dev({"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1.0,
               "replication_ip": "127.0.0.1", "replication_port": int(port), "meta": ""})
    b.rebalance()
    b.get_ring().save(os.path.join(sys.argv[1], name + ".ring.gz"))
"""


class Swift:
    def __init__(self):
        _system_conf()
        self.dir = env.make_dir(prefix="swift-")
        self.etc = env.make_dir(self.dir, "etc-")
        self.devices = env.make_dir(self.dir, "dev-")
        os.makedirs(os.path.join(self.devices, "d1"))
        env.own(os.path.join(self.devices, "d1"))
        self.servers = []
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        ports = {name: env.free_port() for name in ("account", "container", "object")}
        self.port = env.free_port()
        # Log lines go to a socket that nobody reads: there is no syslog here.
        common = {"user": env.SERVER_USER, "etc": self.etc, "devices": self.devices,
                  "log": os.path.join(self.dir, "log")}
        # In one process: nine calls of swift-ring-builder take longer than everything else.
        out = subprocess.run(["/usr/bin/python3", "-W", "ignore", "-c", RINGS, self.etc]
                             + ["%s:%d" % p for p in ports.items()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True)
        if out.returncode:
            raise RuntimeError(out.stdout)
        env.write(os.path.join(self.etc, "proxy.conf"), PROXY % {**common, "port": self.port})
        for name, port in ports.items():
            env.write(os.path.join(self.etc, name + ".conf"), SERVER % {**common, "name": name, "port": port})
        for root, dirs, files in os.walk(self.etc):
            for f in files:
                env.own(os.path.join(root, f))
        self.ports = list(ports.values()) + [self.port]
        self.revive()

    def revive(self):
        for name in ("account", "container", "object", "proxy"):
            self._spawn(name)
        for port in self.ports:
            env.wait_for(lambda: self._answers(port), "Swift on port %d:\n%s" % (port, self.logs()), 60 * env.SLOW, 0.1)

    def kill(self):
        """All of it at once, by SIGKILL; what it has stored stays."""
        for p in self.servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)
        for p in self.servers:
            p.wait()
        self.servers = []

    def _spawn(self, name):
        log = open(os.path.join(self.dir, name + ".log"), "wb")
        self.servers.append(env.popen(
            ["swift-%s-server" % name, os.path.join(self.etc, name + ".conf")], stdout=log, stderr=log,
            cwd="/", env={**os.environ, "HOME": self.dir}))
        log.close()

    @staticmethod
    def _answers(port):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    def logs(self):
        text = ""
        for name in sorted(os.listdir(self.dir)):
            if name.endswith(".log"):
                with open(os.path.join(self.dir, name), errors="replace") as f:
                    text += f.read()[-2000:]
        return text

    @property
    def endpoint(self):
        return "http://127.0.0.1:%d" % self.port

    def close(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)
