"""Containers of the image that test/container/run.sh has built: by podman, or in a chroot."""
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))

from harness import env  # noqa: E402
from harness.certs import Certs  # noqa: E402
from harness.http import get  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.swift import Swift  # noqa: E402

WORK = os.environ["CONTAINER_WORK_DIR"]
MODE = os.environ["CONTAINER_MODE"]
ALL_IN_ONE, POOLER = "localhost/pg-ecdsa-all-in-one", "localhost/pg-ecdsa-pooler"
UIDS = {"postgres": 5432, "pg-ecdsa-proxy": 5433, "pg-ecdsa-backup": 5434}


def call(*args, **how):
    p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)
    assert p.returncode == 0, "%s: %d\n%s" % (" ".join(args), p.returncode, p.stderr)
    return p.stdout.strip()


def configuration(image=ALL_IN_ONE):
    return json.loads(call("buildah", "inspect", "--type", "image", image))["Docker"]["config"]


class Container:
    """What both ways have in common. All use the network of the machine, on free ports."""

    def __init__(self, variables, volumes, image, user, read_only):
        self.port, self.http = env.free_port(), env.free_port()
        self.variables = {"PROXY_HOST": "127.0.0.1", "PROXY_PORT": str(self.port), "HTTP_LISTEN": "127.0.0.1:%d" % self.http,
                          **{k: str(v) for k, v in variables.items()}}
        self.volumes, self.image, self.user, self.read_only = volumes, image, user, read_only
        self.name = "pg-ecdsa-test-%d-%d" % (os.getpid(), self.port)

    def ready(self):
        env.wait_for(self.is_ready, self.log, timeout=90, pause=0.1)
        return self

    def is_ready(self):
        assert self.is_up(), self.log()
        try:
            return get(self.http, "/readyz").code == 200
        except OSError:
            return False

    def processes(self):
        """{program: its pid outside}, of the first process and its children."""
        found, pid = {}, self.pid()
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            pids = [pid] + [int(p) for p in f.read().split()]
        for p in pids:
            with open("/proc/%d/cmdline" % p, "rb") as f:
                found[os.path.basename(f.read().split(b"\0")[0].decode())] = p
        return found


class Podman(Container):
    base = os.environ.get("CONTAINER_COMMAND", "").split()

    def start(self):
        args = self.base + ["run", "-d", "--name", self.name, "--network", "host"] + os.environ["CONTAINER_LIMITS"].split()
        for k, v in self.variables.items():
            args += ["-e", "%s=%s" % (k, v)]
        for source, to in self.volumes.items():
            args += ["-v", "%s:%s" % (source, to)]
        if self.user:
            args += ["--user", self.user]
        if self.read_only:
            args += ["--read-only"]
        call(*args, self.image)
        return self

    def start_again(self):
        call(*self.base, "start", self.name)
        return self

    def inspect(self, what):
        return call(*self.base, "inspect", self.name, "--format", "{{.State.%s}}" % what)

    def is_up(self):
        return self.inspect("Running") == "true"

    def pid(self):
        return int(self.inspect("Pid"))

    def log(self):
        p = subprocess.run(self.base + ["logs", self.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return p.stdout

    def signal(self, number):
        call(*self.base, "kill", "-s", str(int(number)), self.name)

    def wait(self):
        return int(call(*self.base, "wait", self.name, timeout=90))

    def run(self, *args):
        p = subprocess.run(self.base + ["exec", self.name, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return p.returncode, p.stdout

    def destroy(self):
        subprocess.run(self.base + ["rm", "-f", "-v", "-t", "0", self.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Chroot(Container):
    """The image's file system, with processes and mounts of its own; unshare is what a runtime would be."""
    p = None

    def start(self):
        call("buildah", "from", "--pull-never", "--name", self.name, self.image)
        self.root = call("buildah", "mount", self.name)
        self.log_path = os.path.join(WORK, self.name + ".log")
        return self.start_again()

    def start_again(self):
        config = configuration(self.image)
        variables = dict(v.split("=", 1) for v in config.get("Env") or [])
        variables.update(self.variables)
        script = 'set -e\n'
        if self.read_only:
            # A mount of its own, so that it alone becomes read-only at the end, and not what is mounted in it.
            script += 'mount --bind "$0" "$0"\nmount -t tmpfs tmpfs "$0/tmp"\n'
            script += 'mount -t tmpfs -o mode=755,uid=%s tmpfs "$0/run/pg-ecdsa-proxy"\n' % (self.user or "0").split(":")[0]
        script += 'mount --rbind /dev "$0/dev"\nmount -t proc proc "$0/proc"\n'
        for source, to in self.volumes.items():
            inside = self.root + to
            if os.path.isdir(source):
                os.makedirs(inside, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(inside), exist_ok=True)
                open(inside, "a").close()
            script += "mount --bind '%s' '%s'\n" % (source, inside)
        if self.read_only:
            script += 'mount -o remount,bind,ro "$0"\n'
        script += 'exec env -i "$@"\n'
        user = ["--userspec=%s" % self.user] if self.user else []
        with open(self.log_path, "ab") as log:
            self.p = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, self.root]
                + ["%s=%s" % kv for kv in variables.items()] + ["chroot", *user, self.root, *config["Cmd"]],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        return self

    def is_up(self):
        return self.p.poll() is None

    def pid(self):
        with open("/proc/%d/task/%d/children" % (self.p.pid, self.p.pid)) as f:
            return int(f.read().split()[0])

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def signal(self, number):
        os.kill(self.pid(), number)

    def wait(self):
        return self.p.wait(90)

    def run(self, *args):
        variables = ["PATH=/usr/local/bin:/usr/bin:/bin"] + ["%s=%s" % kv for kv in self.variables.items()]
        p = subprocess.run(["nsenter", "--target", str(self.pid()), "--mount", "--pid", "--root", "--wd=/", "env", "-i",
                            *variables, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return p.returncode, p.stdout

    def destroy(self):
        if self.p and self.p.poll() is None:
            os.kill(self.pid(), signal.SIGKILL)
            self.p.wait()
        subprocess.run(["buildah", "rm", self.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def make(request):
    """A factory of running containers; they go when the tests are through."""
    made = []

    def make(variables, volumes=None, image=ALL_IN_ONE, user=None, read_only=False):
        c = {"podman": Podman, "chroot": Chroot}[MODE](variables, volumes or {}, image, user, read_only)
        made.append(c)
        return c.start()
    yield make
    for c in made:
        c.destroy()


@pytest.fixture(scope="session")
def scratch():
    path = env.make_dir(prefix="test-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def certs(scratch):
    return Certs(env.make_dir(scratch, "certs-"))


@pytest.fixture(scope="session")
def swift():
    server = Swift()
    yield server
    server.close()


@pytest.fixture(scope="session")
def pg(certs):
    server = Postgres(certs)
    yield server
    server.remove()
