"""test/tools/store_driver: our store's operations, one at a time."""
import json
import os
import subprocess

from . import env

DRIVER = os.path.join(env.BUILD_DIR, "test", "tools", "store_driver")


class Store:
    """Each operation is a method that returns its answer; events that came before it are kept."""

    def __init__(self, environ=None, **settings):
        self.p = subprocess.Popen([DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, env={**os.environ, **(environ or {})})
        self.events = []
        settings.setdefault("backoff_first", 10_000)
        settings.setdefault("backoff_most", 100_000)
        self.opened = self.ask(settings)

    def ask(self, question):
        self.p.stdin.write(json.dumps(question) + "\n")
        self.p.stdin.flush()
        while True:
            line = self.p.stdout.readline()
            if not line:
                raise AssertionError("the driver ended with status %s: %s" % (self.p.wait(), self.p.stderr.read()))
            answer = json.loads(line)
            if "event" not in answer:
                return answer
            self.events.append(answer)

    def __getattr__(self, op):
        return lambda **q: self.ask({"op": op, **q})

    def take_events(self, kind):
        taken = [e for e in self.events if e["event"] == kind]
        self.events = [e for e in self.events if e["event"] != kind]
        return taken

    def close(self):
        """Its end: no leak, no assertion."""
        try:
            self.p.stdin.close()
            err = self.p.stderr.read()
            status = self.p.wait(60 * env.SLOW)
        finally:
            if self.p.poll() is None:
                self.p.kill()
                self.p.wait()
            self.p.stdout.close()
            self.p.stderr.close()
        assert status == 0, "status %d: %s" % (status, err)
