"""Test certificates, made anew for each run by the openssl program."""
import os
import subprocess

from . import env


def _openssl(*args):
    subprocess.run(("openssl",) + args, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Certs:
    """Two authorities; from the first a server certificate for localhost, one
    for another name, and a client certificate; from the second one for
    localhost that nobody trusts."""

    def __init__(self, directory):
        self.dir = directory
        self.authority("ca")
        self.authority("otherca")
        self.issue("server", "localhost", "ca", "DNS:localhost,IP:127.0.0.1,IP:::1")
        self.issue("elsewhere", "elsewhere.example", "ca", "DNS:elsewhere.example")
        self.issue("impostor", "localhost", "otherca", "DNS:localhost,IP:127.0.0.1")
        self.issue("client", "u_cert", "ca")
        self.issue("wrongclient", "u_cert", "otherca")

    def path(self, name):
        return os.path.join(self.dir, name)

    def crt(self, name):
        return self.path(name + ".crt")

    def key(self, name):
        return self.path(name + ".key")

    def authority(self, name):
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-days", "30", "-subj", "/CN=test " + name, "-keyout", self.key(name), "-out", self.crt(name))
        env.own(self.key(name))

    def issue(self, name, cn, ca, san=None):
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-subj", "/CN=" + cn, "-keyout", self.key(name), "-out", self.path(name + ".csr"))
        args = ["x509", "-req", "-days", "30", "-in", self.path(name + ".csr"), "-CA", self.crt(ca),
                "-CAkey", self.key(ca), "-CAcreateserial", "-out", self.crt(name)]
        if san:
            env.write(self.path(name + ".ext"), "subjectAltName=%s\n" % san)
            args += ["-extfile", self.path(name + ".ext")]
        _openssl(*args)
        # libpq refuses a key that others may read; the servers run as
        # another user than we do. So both get what they need.
        os.chmod(self.key(name), 0o600)
        with open(self.key(name), "rb") as f:
            text = f.read()
        env.own(self.key(name))
        mine = self.path(name + ".mine.key")
        with open(mine, "wb") as f:
            f.write(text)
        os.chmod(mine, 0o600)
