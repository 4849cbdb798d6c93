"""pg-ecdsa-backup in a test: a prefix of its own in a directory store, an
environment made from nothing, and readers of its files that share no code
with it (python3-cryptography)."""
import datetime
import glob
import hashlib
import hmac
import json
import os
import re
import signal
import struct
import subprocess
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import env

BINARY = os.environ.get("PGECDSA_BACKUP", os.path.join(env.BUILD_DIR, "pg-ecdsa-backup"))
MNEMONIC = "quick brown fox jumps over the lazy dog while twelve words pass"
NAME = re.compile(r"^\d{8}_\d{6}\.backup(\.enc2?)?$")
SALT = b"pg-ecdsa-proxy-backup"
MAGIC = b"\x89PGBK\r\n\x1a"

# Exit statuses, by the names of the specification.
DONE, OTHER, USAGE, NOTHING, INTEGRITY, STORAGE, DATABASE, LOCKED, FOLLOW_UP, REFUSED, TIMED_OUT = range(11)


# ---- the formats, written down a second time ----

def hkdf(salt, secret, info):
    """RFC 5869, one block."""
    prk = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()


def key_id(mnemonic):
    return hkdf(SALT, mnemonic.encode(), b"backup-key-id")[:8]


def open_1(data, mnemonic=MNEMONIC):
    return AESGCM(hkdf(SALT, mnemonic.encode(), b"backup-encryption-key")).decrypt(data[:12], data[12:], None)


def seal_1(plain, mnemonic=MNEMONIC, nonce=None):
    nonce = nonce or os.urandom(12)
    return nonce + AESGCM(hkdf(SALT, mnemonic.encode(), b"backup-encryption-key")).encrypt(nonce, plain, None)


def nonce_2(i, last):
    return b"\0\0\0" + struct.pack(">Q", i) + bytes([last])


def open_2(data, mnemonic=MNEMONIC, content=1):
    head, body = data[:96], data[96:]
    assert head[:8] == MAGIC and head[8:12] == bytes([2, 1, 1, content]), head[:12]
    size = struct.unpack(">I", head[12:16])[0]
    assert head[48:56] == key_id(mnemonic)
    prk_salt = head[16:48]
    mac = hmac.new(hkdf(prk_salt, mnemonic.encode(), b"pg-backup/2 header"), head[:64], hashlib.sha256).digest()
    assert mac == head[64:]
    gcm = AESGCM(hkdf(prk_salt, mnemonic.encode(), b"pg-backup/2 payload"))
    pieces = [body[i:i + size + 16] for i in range(0, len(body), size + 16)] or [b""]
    return b"".join(gcm.decrypt(nonce_2(i, i == len(pieces) - 1), p, head) for i, p in enumerate(pieces))


def seal_2(plain, mnemonic=MNEMONIC, created=None, size=1 << 20, content=1, salt=None):
    salt = salt or os.urandom(32)
    head = MAGIC + bytes([2, 1, 1, content]) + struct.pack(">I", size) + salt + key_id(mnemonic)
    head += struct.pack(">Q", int(created if created is not None else time.time()))
    head += hmac.new(hkdf(salt, mnemonic.encode(), b"pg-backup/2 header"), head, hashlib.sha256).digest()
    gcm = AESGCM(hkdf(salt, mnemonic.encode(), b"pg-backup/2 payload"))
    pieces = [plain[i:i + size] for i in range(0, len(plain), size)] or [b""]
    return head + b"".join(gcm.encrypt(nonce_2(i, i == len(pieces) - 1), p, head) for i, p in enumerate(pieces))


def open_any(data, mnemonic=MNEMONIC):
    return open_2(data, mnemonic) if data[:8] == MAGIC else open_1(data, mnemonic)


def manifest_mac(m, mnemonic=MNEMONIC):
    """As the specification has it: keys sorted, no white space, without the MAC itself."""
    text = json.dumps({k: v for k, v in m.items() if k != "mac"}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hmac.new(hkdf(SALT, mnemonic.encode(), b"backup-manifest"), text.encode(), hashlib.sha256).hexdigest()


def name_at(seconds, suffix="enc2"):
    when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return when.strftime("%Y%m%d_%H%M%S") + ".backup" + ("." + suffix if suffix else "")


def is_name(name):
    """Ours: the pattern, and a date that exists."""
    try:
        return bool(NAME.match(name) and datetime.datetime.strptime(name[:15], "%Y%m%d_%H%M%S"))
    except ValueError:
        return False


# ---- a database to fill ----

class Databases:
    """Databases of one PostgreSQL with names of their own; they go when the test ends."""

    def __init__(self, pg, tag):
        self.pg, self.tag, self.made = pg, tag, []

    def make(self, *statements, suffix=""):
        name = "b_%s_%d%s" % (self.tag, len(self.made), suffix)
        self.pg.sql('CREATE DATABASE "%s"' % name)
        self.made.append(name)
        if statements:
            self.pg.sql(*statements, db=name)
        return name

    def relations(self, name):
        return self.pg.sql("SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                           " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND relkind IN"
                           " ('r','p','v','m','S','f')", db=name)[0][0]

    def drop_all(self):
        for (name,) in self.pg.sql("SELECT datname FROM pg_database WHERE datname LIKE 'b\\_%s\\_%%'" % self.tag):
            self.pg.sql('DROP DATABASE "%s" WITH (FORCE)' % name)


def real_database(pg, name, size):
    """Rows of a kilobyte that compress about as much as text does."""
    pg.sql("DROP DATABASE IF EXISTS %s" % name, "CREATE DATABASE %s" % name)
    pg.sql("CREATE TABLE t (id int PRIMARY KEY, words text)",
           "ALTER TABLE t ALTER words SET STORAGE EXTERNAL",
           "INSERT INTO t SELECT g, (SELECT string_agg(md5(g::text || i), ' ') FROM generate_series(1, 29) i)"
           " FROM generate_series(1, %d) g" % (size // 1000), db=name)


class Result:
    def __init__(self, args, status, out, log):
        self.args, self.status, self.out, self.log = args, status, out, log

    def __repr__(self):
        return "%s: status %d\n%s\n%s" % (" ".join(self.args), self.status, self.out, self.log)

    def events(self, name):
        return [line for line in self.log.splitlines() if line.split(" ")[2:3] == [name]]


class Backup:
    """One installation: settings, a store, a prefix."""

    def __init__(self, pg, scratch, database="postgres", **settings):
        self.pg = pg
        self.dir = env.make_dir(scratch, "backup-")
        self.store = env.make_dir(self.dir, "store-")
        self.spool = env.make_dir(self.dir, "spool-")
        self.daemons = []
        self.settings = {
            "BACKUP_S3_ENDPOINT": "file://" + self.store, "BACKUP_PREFIX": "app", "MNEMONIC": MNEMONIC,
            "PG_HOST": pg.host, "PG_PORT": str(pg.port), "PG_USER": "postgres", "PG_DATABASE": database,
            "BACKUP_RESTORE_SPOOL_DIR": self.spool, "PATH": os.environ["PATH"], "HOME": self.dir,
            "BACKUP_FORMAT": "2",
        }
        self.settings.update(env.of_sanitizers())
        self.set(**settings)

    def set(self, **settings):
        for name, value in settings.items():
            if value is None:
                self.settings.pop(name, None)
            else:
                self.settings[name] = str(value)
        return self

    def environ(self, more):
        merged = dict(self.settings)
        for name, value in more.items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = str(value)
        return merged

    def popen(self, args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more):
        return env.popen([BINARY] + list(args), cwd=self.dir, env=self.environ(more), stdout=stdout, stderr=stderr)

    def run(self, *args, expect=None, timeout=180, **more):
        p = self.popen(args, **more)
        out, log = p.communicate(timeout=timeout * env.SLOW)
        r = Result(args, p.returncode, out.decode(errors="replace"), log.decode(errors="replace"))
        troubles = [line for line in r.log.splitlines() if "Sanitizer" in line or "runtime error" in line]
        assert not troubles, r
        if expect is not None:
            assert r.status == expect, r
        return r

    def backup(self, *args, **more):
        """One good backup; the path of its object."""
        more.setdefault("expect", DONE)
        r = self.run("backup", *args, **more)
        return os.path.join(self.store, r.out.strip())

    def daemon(self, *args, **more):
        d = Daemon(self, args, more)
        self.daemons.append(d)
        return d

    # what is in the store
    def prefix_dir(self, prefix="app"):
        return os.path.join(self.store, prefix)

    def objects(self, prefix="app"):
        """Our objects, oldest first, as paths."""
        return sorted(p for p in glob.glob(os.path.join(self.prefix_dir(prefix), "*")) if is_name(os.path.basename(p)))

    def everything(self):
        """All visible files of the store, however named."""
        found = []
        for top, dirs, files in os.walk(self.store):
            dirs[:] = [d for d in dirs if d != ".pg-ecdsa-backup"]
            found += [os.path.join(top, f) for f in files]
        return sorted(found)

    def uploads(self):
        """Unfinished multipart uploads of the directory store."""
        return sorted(glob.glob(os.path.join(self.store, ".pg-ecdsa-backup", "uploads", "*")))

    def plant(self, name, data, prefix="app"):
        path = os.path.join(self.prefix_dir(prefix), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        env.own(os.path.dirname(path))
        return env.write(path, data)

    def manifest(self, path):
        rel = os.path.relpath(path, self.store)
        with open(os.path.join(self.store, "_manifest", rel + ".json")) as f:
            return json.load(f)

    def plain(self, path):
        with open(path, "rb") as f:
            return open_any(f.read(), self.settings["MNEMONIC"])

    def stub(self, **scripts):
        """A directory of stand-ins for pg_dump and pg_restore; what is not named is the real one."""
        path = env.make_dir(self.dir, "bin-")
        for name in ("pg_dump", "pg_restore", "pg_dumpall"):
            real = os.path.join(self.pg.bin, name)
            # Never a link: a test that writes to it must not reach the real one.
            text = scripts.get(name) or 'exec $real "$@"'
            env.write(os.path.join(path, name), "#!/bin/bash\nif [ \"$1\" = --version ]; then exec %s --version; fi\n"
                      "real=%s\n%s\n" % (real, real, text), 0o755)
        return path

    def close(self):
        for d in self.daemons:
            d.kill()


class Daemon:
    def __init__(self, owner, args, more):
        self.owner = owner
        self.log_path = os.path.join(owner.dir, "daemon-%d.log" % len(owner.daemons))
        self.log_file = open(self.log_path, "wb")
        self.p = owner.popen(("daemon",) + args, stdout=subprocess.DEVNULL, stderr=self.log_file, **more)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def events(self, name):
        return [line for line in self.log().splitlines() if line.split(" ")[2:3] == [name]]

    def wait_event(self, name, count=1, text="", timeout=None):
        def there():
            found = [e for e in self.events(name) if text in e]
            if len(found) >= count:
                return found
            if self.p.poll() is not None:
                self.log_file.flush()
                found = [e for e in self.events(name) if text in e]
                assert len(found) >= count, "the daemon ended with %d:\n%s" % (self.p.returncode, self.log()[-3000:])
                return found
            return None
        return env.wait_for(there, lambda: "event %s %s:\n%s" % (name, text, self.log()[-3000:]),
                            timeout=timeout or 60 * env.SLOW)

    def send(self, number):
        self.p.send_signal(number)

    def stop(self, number=signal.SIGTERM, timeout=60):
        if self.p.poll() is None:
            self.p.send_signal(number)
        return self.wait(timeout)

    def end(self):
        """Stops one that may be in the middle of something."""
        status = self.stop()
        assert status in (DONE, 128 + signal.SIGTERM), "%d: %s" % (status, self.log())

    def wait(self, timeout=60):
        status = self.p.wait(timeout * env.SLOW)
        text = self.log()
        assert "Sanitizer" not in text and "runtime error" not in text, text
        return status

    def kill(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        self.log_file.close()


def children_of(pid):
    """Pids of live processes whose parent it is."""
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.split("/")[2]))
    return found


__all__ = ["Backup", "Databases", "InvalidTag"]
