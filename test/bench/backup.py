#!/usr/bin/env python3
"""What the backup costs: throughput into a null server, the time beside pg_dump alone, the memory of a long listing.

usage: BUILD_DIR=build test/bench/backup.py [--gib N] [--rounds N] [--database MIB] [--only upload|program|database|listing]

The client runs on one core, the null server on another. Nothing is asserted;
beside the number stands the aim of the specification (22.12 to 22.14) where it
has one. Beside each upload stands what the same core hashes and copies by
itself, since no client can be faster than that.
"""
import argparse
import hashlib
import os
import resource
import shutil
import sys
import tempfile
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "test", "system"))

from harness import env  # noqa: E402
from harness.nulls3 import NullS3  # noqa: E402
from harness.store import Store  # noqa: E402

MIB = 1 << 20


def pinned(core, function):
    """function() with this thread, and what it starts, on one core."""
    before = os.sched_getaffinity(0)
    cores = sorted(before)
    os.sched_setaffinity(0, {cores[core % len(cores)]})
    try:
        return function()
    finally:
        os.sched_setaffinity(0, before)


def ceiling(checksum):
    """SHA-256, the checksum, and AES-256-GCM would be on top: MB/s of one core by OpenSSL."""
    block = bytes(8 * MIB)
    t = time.process_time()
    for _ in range(8):
        for at in range(0, len(block), 65536):
            piece = memoryview(block)[at:at + 65536]
            hashlib.sha256(piece)
            if checksum:
                hashlib.md5(piece)
    return 8 * len(block) / (time.process_time() - t) / 1e6


def upload(server, path, size, checksum, width=2):
    store = pinned(0, lambda: Store(**server.settings(checksum=checksum, concurrency=width)))
    answer = store.upload(key="k%d" % time.monotonic_ns(), file=path, size=size, part=8 * MIB, width=width, run_id="r")
    assert answer["result"] == "ok", answer
    store.close()
    return size / answer["usec"], size / answer["cpu_usec"], answer["peak_kb"]


def listing(count):
    server = NullS3(objects=count)
    store = pinned(0, lambda: Store(**server.settings()))
    before = store.list(prefix="none/")["peak_kb"]
    t = time.monotonic()
    answer = store.catalog(prefix=server.prefix)
    took = time.monotonic() - t
    assert answer["result"] == "ok" and answer["count"] == count, answer
    store.close()
    server.close()
    return answer["peak_kb"] - before, took


DUMP = """
printf PGDMP
head -c %d /dev/zero
"""


def whole_program(certs_dir, size, checksum, form, server):
    """A stub of pg_dump that writes zeros, through sealing and upload: MB/s of wall time and of processor time."""
    from harness.backup import Backup
    from harness.certs import Certs
    from harness.postgres import Postgres
    pg = Postgres(Certs(certs_dir))
    try:
        b = Backup(pg, certs_dir, BACKUP_S3_ENDPOINT=server.endpoint, BACKUP_S3_BUCKET="b", BACKUP_S3_ACCESS_KEY="k",
                   BACKUP_S3_SECRET_KEY="s", BACKUP_S3_CHECKSUM=checksum, BACKUP_FORMAT=form)
        b.set(PG_BIN_DIR=b.stub(pg_dump=DUMP % (size - 5)))
        before = server.received
        t, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        pinned(0, lambda: b.run("backup", expect=0))
        t = time.monotonic() - t
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert server.received - before > size
        return size / t / 1e6, size / (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / 1e6
    finally:
        pg.remove()


def seconds(function):
    t = time.monotonic()
    function()
    return time.monotonic() - t


def beside_pg_dump(certs_dir, mib, rounds, server):
    """A real database: pg_dump -Fc to a file, and the whole backup to the server; the best of some rounds of each."""
    from harness.backup import Backup, real_database
    from harness.certs import Certs
    from harness.postgres import Postgres
    pg = Postgres(Certs(certs_dir))
    try:
        real_database(pg, "bench", mib * MIB)
        out = os.path.join(env.make_dir(certs_dir), "dump")
        dump = [os.path.join(pg.bin, "pg_dump"), "-Fc", "-h", pg.host, "-p", str(pg.port), "-U", "postgres", "-f", out, "bench"]
        alone, ours = [], {"1": [], "2": []}
        for _ in range(rounds):
            alone.append(seconds(lambda: env.run(dump, cwd=pg.dir)))
            for form in ours:
                b = Backup(pg, certs_dir, database="bench", BACKUP_S3_ENDPOINT=server.endpoint, BACKUP_S3_BUCKET="b",
                           BACKUP_S3_ACCESS_KEY="k", BACKUP_S3_SECRET_KEY="s", BACKUP_FORMAT=form, PG_BIN_DIR=pg.bin)
                ours[form].append(seconds(lambda: b.run("backup", expect=0, timeout=3600)))
        return min(alone), {form: min(times) for form, times in ours.items()}, os.path.getsize(out)
    finally:
        pg.remove()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--gib", type=float, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--objects", type=int, default=100_000)
    p.add_argument("--database", type=int, default=1024, help="MiB of rows")
    p.add_argument("--only", choices=("upload", "program", "database", "listing"))
    o = p.parse_args()

    def wanted(part):
        return o.only in (None, part)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, set(cores[1:]) or set(cores))
    os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "part")
        with open(path, "wb") as f:
            f.write(os.urandom(8 * MIB))
        size = int(o.gib * 1024) * MIB
        server = NullS3()
        if wanted("upload"):
            print("%-34s %8s %6s %14s %14s %9s" % ("upload, 8 MiB parts, 2 at once", "MB/s", "aim", "MB/cpu-second",
                                                    "hashes alone", "peak MiB"))
            for name, checksum, aim in (("checksum = md5 (default)", 1, 250), ("checksum = none", 0, 400),
                                        ("checksum = crc32c", 3, None)):
                best = max(upload(server, path, size, checksum) for _ in range(o.rounds))
                print("%-34s %8.0f %6s %14.0f %14.0f %9.1f" % (name, best[0], aim or "", best[1],
                                                               pinned(0, lambda: ceiling(checksum == 1)), best[2] / 1024))
        own = env.make_dir()
        if wanted("program"):
            print("\nthe whole program with a stub dump, which shares its core  MB/s   aim   MB/cpu-second (stub included)")
            for form in ("1", "2"):
                for checksum, aim in (("md5", 250), ("none", 400)):
                    wall, cpu = whole_program(own, size, checksum, form, server)
                    print("format %s, checksum = %-36s %8.0f %5d %8.0f" % (form, checksum, wall, aim, cpu))
        if wanted("database"):
            os.sched_setaffinity(0, set(cores))
            alone, ours, stored = beside_pg_dump(own, o.database, o.rounds, server)
            print("\na database of %d MiB, %.0f MiB as a dump: pg_dump -Fc to a file %.1f s" % (o.database, stored / MIB, alone))
            for form, took in ours.items():
                print("the whole backup, format %s: %.1f s, ratio %.3f (aim: at most 1.15)" % (form, took, took / alone))
        shutil.rmtree(own)
        server.close()
        if wanted("listing"):
            grown, took = listing(o.objects)
            print("\nlisting of %d objects: %.1f MiB more memory (aim: at most 8 for 100000), %.1f s" % (
                o.objects, grown / 1024, took))
    print("peak of this program itself: %.0f MiB" % (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


main()
