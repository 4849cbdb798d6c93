"""A private slapd: an LDAP directory with TLS, on ports of its own."""
import os
import shutil
import socket
import subprocess

from . import env

SLAPD = shutil.which("slapd") or (os.path.exists("/usr/sbin/slapd") and "/usr/sbin/slapd") or None
CONF = """include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile %(dir)s/pid
TLSCACertificateFile %(certs)s/ca.crt
TLSCertificateFile %(certs)s/server.crt
TLSCertificateKeyFile %(certs)s/server.key
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=hidden,dc=example,dc=net" by dn="cn=reader,dc=example,dc=net" read by anonymous auth by * none
access to * by * read
database ldif
directory %(dir)s/data
suffix "dc=example,dc=net"
rootdn "cn=root,dc=example,dc=net"
"""
BASE = """dn: dc=example,dc=net
objectClass: top
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: ou=hidden,dc=example,dc=net
objectClass: organizationalUnit
ou: hidden

dn: cn=reader,dc=example,dc=net
objectClass: person
cn: reader
sn: reader
userPassword: reader_pw
"""


class Directory:
    def __init__(self, certs, people):
        """people: (uid, password, mail, ou or None)."""
        self.dir = env.make_dir(prefix="ldap-")
        os.mkdir(os.path.join(self.dir, "data"))
        env.own(os.path.join(self.dir, "data"))
        self.port, self.tls_port = env.free_port(), env.free_port()
        conf = env.write(os.path.join(self.dir, "slapd.conf"), CONF % {"dir": self.dir, "certs": certs.dir})
        conf = os.path.join(self.dir, "slapd.conf")
        text = BASE
        for uid, password, mail, ou in people:
            text += ("\ndn: uid=%s,%sdc=example,dc=net\nobjectClass: inetOrgPerson\nuid: %s\ncn: %s\nsn: %s\nmail: %s\n"
                     "userPassword: %s\n" % (uid, "ou=%s," % ou if ou else "", uid, uid, uid, mail, password))
        ldif = os.path.join(self.dir, "people.ldif")
        env.write(ldif, text)
        env.run(["/usr/sbin/slapadd", "-f", conf, "-l", ldif], cwd=self.dir)
        self.process = env.popen([SLAPD, "-f", conf, "-d", "0", "-h",
                                  "ldap://127.0.0.1:%d/ ldaps://127.0.0.1:%d/" % (self.port, self.tls_port)],
                                 cwd=self.dir, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        env.wait_for(lambda: self.listens(self.port) and self.listens(self.tls_port), "slapd")

    @staticmethod
    def listens(port):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    def remove(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
