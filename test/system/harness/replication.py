"""A replication connection by hand: what a standby or a subscriber says."""
import struct
import time

from . import wire

EPOCH_2000 = 946684800


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def lsn_text(number):
    return "%X/%X" % (number >> 32, number & 0xffffffff)


def status(position, reply=False):
    """Standby status update: written, flushed and applied up to there."""
    now = int((time.time() - EPOCH_2000) * 1e6)
    return wire.copy_data(b"r" + struct.pack("!QQQQB", position, position, position, now, reply))


class Stream:
    """The wire is in copy-both mode from here on."""

    def __init__(self, c, command):
        self.c = c
        self.position = 0
        self.bytes = 0
        c.send(wire.query(command))
        c.expect(b"W")

    def data(self):
        """Payload of the next XLogData; keepalives are answered when they ask for it."""
        while True:
            m = self.c.expect(b"d")
            if m.body[:1] == b"k":
                end, _, wants_reply = struct.unpack("!QQB", m.body[1:18])
                self.position = max(self.position, end)
                if wants_reply:
                    self.c.send(status(self.position))
                continue
            assert m.body[:1] == b"w", m.body[:20]
            start, = struct.unpack("!Q", m.body[1:9])
            payload = m.body[25:]
            self.position = max(self.position, start + len(payload))
            self.bytes += len(payload)
            return payload

    def wait_for(self, text):
        """Payloads until one has the text in it."""
        seen = []
        while True:
            seen.append(self.data())
            if text.encode() in seen[-1]:
                return seen

    def end(self):
        """CopyDone, and what comes until ReadyForQuery, without the data that was under way."""
        self.c.send(wire.COPY_DONE)
        return wire.Result([m for m in self.c.recv_until(b"Z") if m.type != b"d"])


def physical(c):
    """A stream of WAL from where it ends now."""
    row = c.query("IDENTIFY_SYSTEM").dicts()[0]
    s = Stream(c, "START_REPLICATION PHYSICAL %s TIMELINE %s" % (row["xlogpos"], row["timeline"]))
    s.position = lsn(row["xlogpos"])
    return s


def logical(c, slot, plugin="test_decoding"):
    """A stream of changes, by a slot that goes with the connection."""
    made = c.query("CREATE_REPLICATION_SLOT %s TEMPORARY LOGICAL %s" % (slot, plugin))
    if made.errors:
        raise made.errors[0]
    return Stream(c, "START_REPLICATION SLOT %s LOGICAL 0/0 (\"include-xids\" '0')" % slot)

