"""HTTP against the pooler's own server, and stand-ins for what it asks."""
import contextlib
import http.client
import json
import os
import socketserver
import threading

from . import env


class Answer:
    def __init__(self, response):
        self.code = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)


def get(port, path, host="127.0.0.1", method="GET", headers=None, source=None):
    c = http.client.HTTPConnection(host, port, timeout=env.PATIENCE, source_address=source and (source, 0))
    try:
        c.request(method, path, headers=headers or {})
        return Answer(c.getresponse())
    finally:
        c.close()


def samples(text):
    """{(name, ((label, value), ...)): number} of an exposition, by an independent reader."""
    from prometheus_client.parser import text_string_to_metric_families
    out = {}
    for family in text_string_to_metric_families(text):
        for s in family.samples:
            key = s.name, tuple(sorted(s.labels.items()))
            assert key not in out, "twice: %s %s" % key
            out[key] = s.value
    return out


class Platform:
    """A trusted execution environment's Unix socket: answers POST requests by a function of (path, document)."""

    def __init__(self, reply):
        self.dir = env.make_dir(prefix="tee-")
        self.path = os.path.join(self.dir, "socket")
        self.asked = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                first = self.rfile.readline().decode()
                length = 0
                while True:
                    line = self.rfile.readline().decode().strip()
                    if not line:
                        break
                    name, value = line.split(":", 1)
                    if name.lower() == "content-length":
                        length = int(value)
                document = json.loads(self.rfile.read(length))
                path = first.split()[1]
                outer.asked.append((path, document))
                body = reply(path, document)
                if body is not None:
                    # Who asked may have gone, or heard enough.
                    with contextlib.suppress(OSError):
                        self.wfile.write(body)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self.server = Server(self.path, Handler)
        os.chmod(self.path, 0o777)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def ok(body, kind="application/json"):
    return ("HTTP/1.0 200 OK\r\nContent-Type: %s\r\n\r\n%s" % (kind, body)).encode()
