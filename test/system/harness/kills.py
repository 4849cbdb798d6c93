"""kill -9 of the daemon, of pg_dump and of the object store at random moments (row 44 of the attacks, acceptance 6).

Whatever dies, and whenever: what looks like a backup is one, no earlier one is
lost, nobody lives on, and the next run succeeds. test/soak.py does it 200
times, test/system/test_backup_kills.py 20 times.
"""
import hashlib
import http.client
import os
import random
import signal
import subprocess
import time

from . import env
from .backup import DONE, Backup, children_of, is_name, open_2
from .s3client import Bucket

ROWS = 14000  # three parts of 5 MiB
PATIENT = {"BACKUP_S3_ATTEMPTS": "8", "BACKUP_S3_REQUEST_TIMEOUT": "60s"}
VICTIMS = ("daemon", "pg_dump", "store")


class OnDisk:
    """Backups in a directory store."""
    name = "directory"

    def __init__(self, backup):
        self.backup = backup

    def keys(self):
        return [os.path.relpath(p, self.backup.store) for p in self.backup.objects()]

    def get(self, key):
        with open(os.path.join(self.backup.store, key), "rb") as f:
            return f.read()

    def uploads(self):
        # One that was killed before it had a name goes with the first listing after a minute.
        return [u for u in self.backup.uploads() if os.path.exists(os.path.join(u, "key"))]


class OnSwift:
    """Backups in a bucket of a server that can be killed."""
    name = "S3"

    def __init__(self, backup, swift):
        self.swift = swift
        self.bucket = Bucket(swift)
        backup.set(BACKUP_S3_ENDPOINT=swift.endpoint, BACKUP_S3_BUCKET=self.bucket.bucket, BACKUP_S3_REGION="us-east-1",
                   BACKUP_S3_ACCESS_KEY=self.bucket.access_key, BACKUP_S3_SECRET_KEY=self.bucket.secret_key,
                   # A store that is dead is given up soon.
                   BACKUP_S3_ATTEMPTS="2", BACKUP_S3_STALL_TIMEOUT="5s", BACKUP_S3_REQUEST_TIMEOUT="10s")

    def keys(self):
        return [k for k in self.bucket.keys("app/") if is_name(k.split("/")[-1])]

    def get(self, key):
        return self.bucket.get(key)

    def uploads(self):
        # Swift keeps the mark of an upload when it dies between the object and that, even without an entry of the object
        # in the container; to abort it would break the object, so it is left alone.
        return [(key, upload) for key, upload in self.bucket.uploads("app/") if self.bucket.request("HEAD", key)[0] != 200]


class Kills:
    def __init__(self, pg, scratch, database, swift=None, seed=None):
        self.pg = pg
        self.random = random.Random(seed)
        self.swift = swift
        self.places = []
        self.good = {}  # of each place: key -> digest of what was found to be whole
        self.done = {v: 0 for v in VICTIMS}
        self.last = ""  # what the run that was struck has said
        self.said = []  # the same of the last few runs, for whoever looks for the reason
        self.cut = 0  # kills that ended an unfinished run
        for kind in (OnDisk, OnSwift):
            if kind is OnSwift and not swift:
                continue
            b = Backup(pg, scratch, database=database, BACKUP_COMPRESS="none", BACKUP_S3_PART_SIZE="5M", BACKUP_RESTORE="no",
                       PG_BIN_DIR=pg.bin, BACKUP_SCHEDULE_INITIAL_DELAY="0", BACKUP_SCHEDULE_MIN_SPACING="0",
                       BACKUP_INTERVAL_SECS="1h", BACKUP_RETENTION_COUNT="3")
            self.places.append((b, OnDisk(b) if kind is OnDisk else OnSwift(b, swift)))
        self.spans = {}
        for b, place in self.places:
            self.good[place] = {}
            begun = time.monotonic()
            b.run("backup", expect=DONE)
            self.spans[place] = time.monotonic() - begun
            self.look(b, place, ())

    @staticmethod
    def fill(pg, database):
        pg.sql("CREATE TABLE t AS SELECT g AS id, repeat(md5(g::text), 30) AS words FROM generate_series(1, %d) g" % ROWS,
               db=database)

    def look(self, b, place, pruned_by):
        """All that is visible is whole; all that was there still is, unless retention took it."""
        keys = set(place.keys())
        lost = set(self.good[place]) - keys
        newest = sorted(set(self.good[place]) | keys)[-3:]
        assert not lost & set(newest) and (not lost or pruned_by), (place.name, lost, keys)
        for key in sorted(keys):
            try:
                data = place.get(key)
            except (RuntimeError, http.client.HTTPException) as e:
                # Retention was taking it: Swift deletes the segments first, and stops between them when it dies, or when who
                # asked for it does. The next run takes the rest.
                if pruned_by != ("backup",) and key not in newest:
                    continue
                time.sleep(5)
                try:
                    place.get(key)
                    after = "can be read again five seconds later"
                except (RuntimeError, http.client.HTTPException):
                    after = "neither five seconds later"
                raise AssertionError("%s is there and cannot be read, %s: %s\n%s" % (key, after, e, "\n".join(self.said[-12:])))
            digest = hashlib.sha256(data).hexdigest()
            if key in self.good[place]:
                assert self.good[place][key] == digest, "%s has changed" % key
                continue
            plain = open_2(data, b.settings["MNEMONIC"])
            p = subprocess.run([os.path.join(self.pg.bin, "pg_restore"), "--file=/dev/null"], input=plain, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
            assert p.returncode == 0, (key, p.stdout)
            self.good[place][key] = digest
        for key in lost:
            del self.good[place][key]

    def victim_daemon(self, b, place):
        d = b.daemon()
        time.sleep(self.random.uniform(0, 1.1 * self.spans[place]))
        children = children_of(d.p.pid)
        was_done = bool(d.events("backup_done"))
        d.kill()
        self.last = d.log()
        self.said.append("--- the daemon, killed\n" + self.last)
        env.wait_for(lambda: not [c for c in children if os.path.exists("/proc/%d/exe" % c)], "the children to go")
        self.cut += not was_done

    def one_off(self, b, place, strike):
        p = b.popen(("backup", "--wait-lock", "60"))
        time.sleep(self.random.uniform(0, 1.1 * self.spans[place]))
        strike(p)
        out, log = p.communicate(timeout=120 * env.SLOW)
        self.last = log.decode(errors="replace")
        self.said.append("--- a backup, struck\n" + self.last)
        # It says that there is a backup if and only if that is so.
        said = out.decode().split()
        if p.returncode == DONE:
            assert len(said) == 1 and said[0] in place.keys(), (out, log)
        else:
            self.cut += 1
        return said

    def victim_pg_dump(self, b, place):
        def strike(p):
            for pid in children_of(p.pid):
                with open("/proc/%d/comm" % pid) as f:
                    if f.read().strip() == "pg_dump":
                        os.kill(pid, signal.SIGKILL)
        said = self.one_off(b, place, lambda p: self.quietly(strike, p))
        assert len(said) <= 1

    @staticmethod
    def quietly(strike, p):
        try:
            strike(p)
        except (ProcessLookupError, FileNotFoundError):
            pass  # it ended by itself in between

    def victim_store(self, b, place):
        def strike(p):
            self.swift.kill()
            self.swift.revive()
        self.one_off(b, place, strike)
        # The server has to find its feet again; that is not what is tested.
        env.wait_for(lambda: self.answers(place), "the store to answer again", timeout=60 * env.SLOW, pause=0.2)

    @staticmethod
    def answers(place):
        try:
            place.uploads()
            return place.keys() is not None
        except (OSError, RuntimeError):
            return False

    def once(self, victim):
        choice = [(b, place) for b, place in self.places if victim != "store" or isinstance(place, OnSwift)]
        b, place = self.random.choice(choice)
        getattr(self, "victim_" + victim)(b, place)
        self.done[victim] += 1
        self.look(b, place, (victim,))
        # The next run succeeds, and what was left open is cleared away.
        r = b.run("backup", "--wait-lock", "60", expect=DONE, **PATIENT)
        self.said.append("--- the next backup\n" + r.log)
        assert r.out.strip() in place.keys()
        self.look(b, place, ("backup",))
        # Not while the server may still be at what the dead one has asked for; by default a day has to pass.
        time.sleep(3)
        env.wait_for(lambda: self.is_clear(b, place),
                     lambda: "no upload to be left: %s\n%s" % (place.uploads(), "\n".join(self.said[-4:])),
                     timeout=60 * env.SLOW, pause=2)

    def is_clear(self, b, place):
        """A cleanup takes what it sees. Swift's listing comes up to date by and by when it died in between."""
        self.said.append("--- the cleanup\n" + b.run("cleanup", "--min-age", "3s", expect=DONE, **PATIENT).log)
        return not place.uploads()

    def run(self, times, victims=None):
        victims = victims or (VICTIMS if self.swift else VICTIMS[:2])
        for i in range(times):
            self.once(victims[i % len(victims)])
        for b, place in self.places:
            target = "b_kills_%d" % os.getpid()
            self.pg.sql('CREATE DATABASE "%s"' % target)
            try:
                b.run("restore", "--target-db", target, expect=DONE)
                assert self.pg.sql("SELECT count(*) FROM t", db=target) == [(ROWS,)]
            finally:
                self.pg.sql('DROP DATABASE "%s" WITH (FORCE)' % target)

    def close(self):
        for b, _ in self.places:
            b.close()
