"""A scripted name server over loopback: it knows what the test tells it.

    dns.hosts["db.zone.test"] = ["127.0.0.1"]     addresses, IPv4 or IPv6
    dns.serials["zone.test"] = 7                  SOA
    dns.gate.clear()                              answers wait; dns.gate.set()
    dns.asked("db.zone.test")                     how often an A record was asked for

Names it does not know do not exist.
"""
import ipaddress
import os
import socket
import struct
import threading

from . import env

A, SOA, AAAA = 1, 6, 28
NXDOMAIN = 3


def wire_name(name):
    return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p) + b"\0"


class DnsServer:
    def __init__(self):
        self.port = env.free_port()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", self.port))
        self.hosts = {}
        self.serials = {}
        self.queries = []
        self.gate = threading.Event()
        self.gate.set()
        self.ended = False
        self.dir = env.make_dir(prefix="dns-")
        self.resolv_conf = env.write(os.path.join(self.dir, "resolv.conf"),
                                     "nameserver [127.0.0.1]:%d\nsearch none.test\noptions ndots:1\n" % self.port)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def asked(self, name, kind=A):
        return self.queries.count((name, kind))

    def serve(self):
        while True:
            packet, peer = self.sock.recvfrom(4096)
            if self.ended:
                return
            name, kind, question = self.parse(packet)
            self.queries.append((name, kind))
            self.gate.wait(4 * env.PATIENCE)
            answers, known = self.answers(name, kind)
            head = packet[:2] + struct.pack("!HHHHH", 0x8580 | (0 if known else NXDOMAIN), 1, len(answers), 0, 0)
            self.sock.sendto(head + question + b"".join(
                b"\xc0\x0c" + struct.pack("!HHIH", t, 1, 3600, len(data)) + data for t, data in answers), peer)

    @staticmethod
    def parse(packet):
        at, labels = 12, []
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode())
            at += 1 + packet[at]
        kind, = struct.unpack_from("!H", packet, at + 1)
        return ".".join(labels).lower(), kind, packet[12:at + 5]

    def answers(self, name, kind):
        if kind == SOA and name in self.serials:
            return [(SOA, wire_name("ns." + name) + wire_name("root." + name)
                     + struct.pack("!IIIII", self.serials[name], 60, 60, 60, 60))], True
        if name not in self.hosts:
            return [], name in self.serials
        texts = [ipaddress.ip_address(a) for a in self.hosts[name]]
        return [(kind, a.packed) for a in texts if (a.version == 4) == (kind == A) and kind in (A, AAAA)], True

    def close(self):
        self.ended = True
        self.gate.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"\0" * 20, ("127.0.0.1", self.port))
        self.thread.join(env.PATIENCE)
        self.sock.close()
