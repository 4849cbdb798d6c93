"""daemon: restore at the start, schedule, leadership, signals, metrics, notifications."""
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from harness import env
from harness.nulls3 import NullS3
from harness.backup import (DATABASE, DONE, INTEGRITY, NOTHING, OTHER, USAGE, children_of, name_at, open_2, seal_2)

ONE = ("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 1000) g",)


@pytest.fixture
def source(databases):
    return databases.make(*ONE)


@pytest.fixture
def b(backup, source):
    return backup(database=source, BACKUP_SCHEDULE_INITIAL_DELAY="0", BACKUP_INTERVAL_SECS="1h")


def get(port, path, method="GET"):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=20 * env.SLOW)
    try:
        c.request(method, path)
        r = c.getresponse()
        return r.status, r.read().decode()
    finally:
        c.close()


def metrics(port):
    status, text = get(port, "/metrics")
    assert status == 200
    values = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP|TYPE) pg_ecdsa_backup_\w+ .+", line), line
            continue
        m = re.fullmatch(r"pg_ecdsa_backup_(\w+(?:\{[^}]*\})?) (-?[0-9.]+(?:e[+-]\d+)?)", line)
        assert m, line
        values[m.group(1)] = float(m.group(2))
    return values


# ---- the schedule ----

def test_the_first_backup_comes_by_itself_and_then_at_a_fixed_rate(b):
    d = b.daemon(BACKUP_INTERVAL_SECS="3s", BACKUP_SCHEDULE_JITTER="0", BACKUP_SCHEDULE_MIN_SPACING="0")
    d.wait_event("backup_done", count=4)
    d.end()
    begun = [time.mktime(time.strptime(e[:19], "%Y-%m-%dT%H:%M:%S")) + float(e[19:23]) for e in d.events("backup_begin")]
    # The rate is kept: it counts from the first, not from the end of the one before. A slow machine leaves ticks out.
    for t in begun[1:4]:
        off = (t - begun[0] + 1.5) % 3 - 1.5
        assert abs(off) < 1.2, begun
    assert len(b.objects()) >= 4 and not d.events("backup_failed")


def test_a_crash_loop_does_not_rotate_good_backups_out(b):
    """Weakness 15: min_spacing. Every start finds one that is young."""
    b.set(BACKUP_RETENTION_COUNT="3")
    for i in range(3):
        b.backup()
    before = b.objects()
    for i in range(4):
        d = b.daemon()
        d.wait_event("backup_skipped", text="min_spacing")
        d.kill()
    assert b.objects() == before


def test_a_failure_is_tried_again_long_before_the_next_tick(b):
    """Weakness 20."""
    gate = os.path.join(b.dir, "gate")
    bin_dir = b.stub(pg_dump="if [ -e %s ]; then exec $real \"$@\"; fi; echo 'pg_dump: error: not now' >&2; exit 1" % gate)
    port = env.free_port()
    d = b.daemon(PG_BIN_DIR=bin_dir, BACKUP_METRICS_LISTEN="127.0.0.1:%d" % port)
    d.wait_event("backup_failed", text="not now")
    seconds = float(re.search(r"in_seconds=([\d.]+)", d.wait_event("retry_planned")[0]).group(1))
    assert 40 < seconds < 80
    m = metrics(port)
    assert m["consecutive_failures"] == 1 and m['backups_total{result="failed"}'] == 1
    assert 0 < m["next_run_timestamp_seconds"] - time.time() < 100
    # Asked for, it comes at once, and ends the series.
    env.write(gate, "")
    d.send(signal.SIGUSR1)
    d.wait_event("backup_done")
    env.wait_for(lambda: metrics(port)["consecutive_failures"] == 0, "the series of failures to end")
    assert d.stop() == DONE


def test_retries_stop_when_one_has_worked(b):
    gate = os.path.join(b.dir, "gate")
    bin_dir = b.stub(pg_dump="if [ -e %s ]; then exec $real \"$@\"; fi; touch %s; exit 1" % (gate, gate))
    d = b.daemon(PG_BIN_DIR=bin_dir, BACKUP_INTERVAL_SECS="4s", BACKUP_SCHEDULE_MIN_SPACING="0")
    d.wait_event("backup_done")
    assert len(d.events("backup_failed")) == 1
    d.end()


def test_at_a_time_of_day_and_what_was_missed(b):
    """Without a backup the last run was missed: it is caught up with. With one of today nothing is due."""
    far = time.strftime("%H:%M", time.gmtime(time.time() + 43200))
    at = {"BACKUP_INTERVAL_SECS": None, "BACKUP_AT": far, "BACKUP_SCHEDULE_TIMEZONE": "UTC"}
    port = env.free_port()
    d = b.daemon(BACKUP_METRICS_LISTEN="127.0.0.1:%d" % port, **at)
    d.wait_event("backup_done")
    m = env.wait_for(lambda: metrics(port) if "next_run_timestamp_seconds" in metrics(port) else None, "the next run")
    assert abs(m["next_run_timestamp_seconds"] - time.time() - 43200) < 120
    assert d.stop() == DONE
    d = b.daemon("--ready-file", os.path.join(b.dir, "ready"), **at)
    d.wait_event("ready")
    d.send(signal.SIGUSR2)
    d.wait_event("state")
    assert d.stop() == DONE and len(b.objects()) == 1


def test_every_minute_by_the_wall_clock(b):
    d = b.daemon(BACKUP_INTERVAL_SECS=None, BACKUP_AT="* * * * *", BACKUP_SCHEDULE_MIN_SPACING="0",
                 BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    d.wait_event("backup_done", timeout=75 + 30 * env.SLOW)
    assert int(os.path.basename(b.objects()[0])[13:15]) < 15
    d.end()


def test_nothing_is_dumped_when_nothing_was_written(b, pg, source):
    """16.6; and a write, DDL and TRUNCATE among them, is noticed."""
    d = b.daemon(BACKUP_INTERVAL_SECS="3s", BACKUP_SCHEDULE_JITTER="0", BACKUP_SCHEDULE_MIN_SPACING="0",
                 BACKUP_SKIP_UNCHANGED="yes")
    d.wait_event("unchanged", count=2)
    assert len(b.objects()) <= 2  # statistics of the table's making may arrive late
    assert "unchanged_at" in b.manifest(b.objects()[-1])
    for statement in ("INSERT INTO t VALUES (1)", "CREATE TABLE u (a int)", "TRUNCATE t"):
        before = len(b.objects())
        pg.sql(statement, db=source)
        env.wait_for(lambda: len(b.objects()) > before, "a backup after " + statement, timeout=60 * env.SLOW)
        seen = len(d.events("unchanged"))
        d.wait_event("unchanged", count=seen + 1)
    d.end()


# ---- restore at the start ----

def test_an_empty_database_is_filled_before_anything_else(b, databases, pg):
    b.backup()
    target = databases.make()
    ready = os.path.join(b.dir, "ready")
    d = b.daemon("--ready-file", ready, PG_DATABASE=target)
    d.wait_event("restore_done")
    env.wait_for(lambda: os.path.exists(ready), "the ready file")
    assert pg.sql("SELECT count(*) FROM t", db=target) == [(1000,)]
    order = [line.split(" ")[2] for line in d.log().splitlines()]
    assert order.index("restore_done") < order.index("ready")
    assert d.stop() == DONE


def test_a_failed_restore_stops_the_start(b, databases, pg):
    """Weaknesses 16, 28; acceptance 9: no backup of the empty database, not ready, and the next start works."""
    path = b.backup()
    with open(path, "rb") as f:
        good = f.read()
    env.write(path, good[:-1] + bytes([good[-1] ^ 1]))
    target = databases.make()
    ready = os.path.join(b.dir, "ready")
    d = b.daemon("--ready-file", ready, PG_DATABASE=target)
    assert d.wait() == INTEGRITY
    assert not os.path.exists(ready) and databases.relations(target) == 0 and b.objects() == [path]
    env.write(path, good)
    d = b.daemon("--ready-file", ready, PG_DATABASE=target)
    d.wait_event("restore_done")
    d.wait_event("ready")
    assert d.stop() == DONE and databases.relations(target) == 1


def test_with_continue_the_old_backups_outlive_the_failure(b, databases, pg):
    """15.4: pruning waits until a backup is as large as the last good one."""
    paths = [b.backup() for _ in range(3)]
    with open(paths[2], "rb") as f:
        good = f.read()
    for p in paths:
        with open(p, "r+b") as f:
            f.seek(-5, 2)
            f.write(b"xxxxx")
    target = databases.make()
    port = env.free_port()
    d = b.daemon(PG_DATABASE=target, BACKUP_RESTORE_ON_FAILURE="continue", BACKUP_RETENTION_COUNT="1",
                 BACKUP_METRICS_LISTEN="127.0.0.1:%d" % port, BACKUP_SCHEDULE_MIN_SPACING="0", BACKUP_INTERVAL_SECS="3s",
                 BACKUP_RETENTION_SHRINK_GUARD="0")
    d.wait_event("backup_done", count=2)
    m = metrics(port)
    assert m["prune_blocked"] == 1 and m["restore_last_result"] == 0
    assert set(paths) <= set(b.objects())
    # The application has made its data again.
    pg.sql("CREATE TABLE t AS SELECT g AS id, md5(g::text) FROM generate_series(1, 5000) g", db=target)
    env.wait_for(lambda: len(b.objects()) == 1, "pruning", timeout=60 * env.SLOW)
    d.end()
    assert len(good) > 0


def test_no_backup_begins_afresh_and_requires_one_on_wish(b, databases):
    target = databases.make()
    d = b.daemon(PG_DATABASE=target, BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    d.wait_event("no_backup")
    d.wait_event("ready")
    assert d.stop() == DONE and not b.everything()
    d = b.daemon(PG_DATABASE=target, BACKUP_RESTORE_REQUIRE_BACKUP="yes")
    assert d.wait() == NOTHING


def test_without_if_empty_nothing_is_restored(b, databases):
    b.backup()
    target = databases.make()
    d = b.daemon(PG_DATABASE=target, BACKUP_RESTORE="no", BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    d.wait_event("ready")
    assert d.stop() == DONE and not d.events("restore_check") and databases.relations(target) == 0


def test_systemd_is_told(b):
    path = os.path.join(b.dir, "notify")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(path)
    env.own(path)
    s.settimeout(60 * env.SLOW)
    d = b.daemon(NOTIFY_SOCKET=path, BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    assert s.recv(100) == b"READY=1"
    d.send(signal.SIGTERM)
    assert s.recv(100) == b"STOPPING=1"
    assert d.wait() == DONE
    s.close()


# ---- one leader ----

def test_several_daemons_make_one_backup_a_tick(b):
    """Weakness 31, acceptance 8 in small; the soak run has ten for ten minutes."""
    b.set(BACKUP_INTERVAL_SECS="6s", BACKUP_SCHEDULE_JITTER="0")
    running = [b.daemon() for _ in range(5)]
    env.wait_for(lambda: len(b.objects()) >= 4, "four ticks", timeout=120 * env.SLOW)
    logs = [d.log() for d in running]
    for d in running:
        d.end()
    times = [time.mktime(time.strptime(os.path.basename(p)[:15], "%Y%m%d_%H%M%S")) for p in b.objects()]
    assert all(y - x >= 4 for x, y in zip(times, times[1:])), times
    makers = [i for i, log in enumerate(logs) if " backup_done " in log]
    assert len(makers) == 1, makers


def test_another_takes_over_when_the_leader_is_gone(b):
    b.set(BACKUP_INTERVAL_SECS="3s", BACKUP_SCHEDULE_JITTER="0", BACKUP_SCHEDULE_MIN_SPACING="1s")
    first = b.daemon()
    first.wait_event("backup_done")
    second = b.daemon()
    second.wait_event("backup_skipped", text="another instance")
    assert not second.events("backup_done")
    first.p.kill()
    first.p.wait()
    second.wait_event("leader")
    second.wait_event("backup_done")
    second.end()


def test_the_lock_is_taken_again_after_the_server_was_away(b, own_pg):
    own_pg.sql("CREATE TABLE there (a int)", db="db")
    b.set(PG_PORT=own_pg.port, PG_DATABASE="db", BACKUP_INTERVAL_SECS="3s", BACKUP_SCHEDULE_MIN_SPACING="0",
          BACKUP_SCHEDULE_JITTER="0")
    d = b.daemon()
    d.wait_event("backup_done")
    own_pg.stop(signal.SIGQUIT)
    d.wait_event("retry_planned")
    done = len(d.events("backup_done"))
    own_pg.start()
    d.wait_event("backup_done", count=done + 1, timeout=120 * env.SLOW)
    d.end()


def test_while_a_daemon_leads_a_backup_by_hand_is_told_how(b):
    d = b.daemon(BACKUP_SCHEDULE_MIN_SPACING="0")
    d.wait_event("backup_done")
    r = b.run("backup")
    assert r.status == 7 and "SIGUSR1" in r.log
    d.send(signal.SIGUSR1)
    d.wait_event("backup_done", count=2)
    # Without leadership both may: the names keep them apart.
    b.backup(BACKUP_SCHEDULE_LEADER="no")
    assert d.stop() == DONE and len(b.objects()) == 3


# ---- signals ----

GATE = "touch %s.begun; while [ ! -e %s ]; do sleep 0.05; done; exec $real \"$@\""


def test_sigterm_aborts_what_runs_and_leaves_nothing(b):
    gate = os.path.join(b.dir, "gate")
    d = b.daemon(PG_BIN_DIR=b.stub(pg_dump=GATE % (gate, gate)))
    env.wait_for(lambda: os.path.exists(gate + ".begun"), "the dump")
    children = children_of(d.p.pid)
    begun = time.monotonic()
    assert d.stop() == 128 + 15
    assert time.monotonic() - begun < 12 + 10 * (env.SLOW - 1)
    assert not b.objects() and not b.uploads() and not [c for c in children if os.path.exists("/proc/%d" % c)]


def test_sigterm_while_waiting_ends_it_quietly(b):
    d = b.daemon(BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    d.wait_event("ready")
    assert d.stop() == DONE and not b.objects()
    d = b.daemon(BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    d.wait_event("ready")
    assert d.stop(signal.SIGINT) == DONE


def test_a_stop_at_any_moment_says_nothing_of_failures_and_loses_nothing(b):
    """Also in the middle of its first looks at the store and the lock: only work that was begun is told by the status."""
    for i in range(12):
        d = b.daemon(BACKUP_SCHEDULE_INITIAL_DELAY="1h", BACKUP_RESTORE="no")
        d.wait_event("start")
        time.sleep(i * 0.01)
        # Before it listens to signals as a daemon it ends like any command.
        status = d.stop()
        assert status in (DONE,) if d.events("ready") else status in (DONE, 128 + 15), (status, d.log())
        bad = [line for line in d.log().splitlines() if line.split(" ")[1:2] == ["error"]]
        assert not bad, d.log()


def test_a_stop_after_the_backup_is_not_a_cut(b):
    """The signal comes between the event and the end of the job, again and again."""
    cut = 0
    for i in range(8):
        for p in b.objects():
            os.unlink(p)
        hook = env.write(os.path.join(b.dir, "hook"), "#!/bin/sh\n[ $1 = backup_done ] && exec sleep 20\n", 0o755)
        d = b.daemon(BACKUP_METRICS_HOOK=hook, BACKUP_SCHEDULE_MIN_SPACING="0")
        d.wait_event("backup_done")
        time.sleep(i * 0.005)
        begun = time.monotonic()
        assert d.stop() == DONE, d.log()
        # Nor is a hook that hangs waited for.
        assert time.monotonic() - begun < 8 * env.SLOW
        assert not d.events("backup_failed") and not d.events("list"), d.log()
        assert len(b.objects()) == 1
        cut += bool([e for e in d.events("hook") if "the program ends" in e])
    assert cut > 0


def test_a_stop_does_not_wait_for_a_server_that_does_not_answer(b):
    """Acceptance 15, while the daemon asks for the lock."""
    silent = socket.create_server(("127.0.0.1", 0))
    try:
        d = b.daemon(PG_PORT=silent.getsockname()[1], BACKUP_RESTORE="no")
        d.wait_event("ready")
        time.sleep(1)
        begun = time.monotonic()
        assert d.stop() == DONE, d.log()
        assert time.monotonic() - begun < 5 * env.SLOW
        assert not [e for e in d.events("backup_skipped")], d.log()
    finally:
        silent.close()


def test_a_stop_takes_twelve_seconds_at_most_when_all_hang(b):
    """Acceptance 15: a child that ignores SIGTERM, a store that does not take the abort, a hook and a ping that hang."""
    silent = socket.create_server(("127.0.0.1", 0), backlog=50)
    store = NullS3(deaf_to=("DELETE",))
    begun_file = os.path.join(b.dir, "begun")
    script = "trap '' TERM; printf PGDMP; head -c 12000000 /dev/zero; touch %s; while :; do sleep 1; done" % begun_file
    hook = env.write(os.path.join(b.dir, "hook"), "#!/bin/sh\n[ $1 = backup_failed ] && exec sleep 100\n", 0o755)
    try:
        d = b.daemon(PG_BIN_DIR=b.stub(pg_dump=script), BACKUP_METRICS_HOOK=hook, BACKUP_S3_ENDPOINT=store.endpoint,
                     BACKUP_S3_BUCKET="b", BACKUP_S3_ACCESS_KEY="k", BACKUP_S3_SECRET_KEY="s", BACKUP_S3_PART_SIZE="5M",
                     BACKUP_METRICS_PING_URL="http://127.0.0.1:%d/x" % silent.getsockname()[1], BACKUP_RESTORE="no")
        env.wait_for(lambda: os.path.exists(begun_file) and store.uploads, "the upload", timeout=60 * env.SLOW)
        children = children_of(d.p.pid)
        begun = time.monotonic()
        assert d.stop() == 128 + 15, d.log()
        assert time.monotonic() - begun < 12.5 + 10 * (env.SLOW - 1), d.log()
        assert not [c for c in children if os.path.exists("/proc/%d/exe" % c)]
    finally:
        store.close()
        silent.close()


def test_finish_on_stop_lets_it_end_and_a_second_signal_does_not(b):
    gate = os.path.join(b.dir, "gate")
    bin_dir = b.stub(pg_dump=GATE % (gate, gate))
    b.set(BACKUP_SCHEDULE_FINISH_ON_STOP="yes", PG_BIN_DIR=bin_dir)
    d = b.daemon()
    env.wait_for(lambda: os.path.exists(gate + ".begun"), "the dump")
    d.send(signal.SIGTERM)
    d.wait_event("shutdown")
    env.write(gate, "")
    assert d.wait() == DONE and len(b.objects()) == 1
    os.unlink(gate), os.unlink(gate + ".begun"), os.unlink(b.objects()[0])
    d = b.daemon()
    env.wait_for(lambda: os.path.exists(gate + ".begun"), "the dump")
    d.send(signal.SIGTERM)
    d.wait_event("shutdown")
    d.send(signal.SIGTERM)
    assert d.wait() == 128 + 15 and not b.objects()


def test_on_shutdown_a_last_backup_if_anything_changed(b, pg, source):
    """16.5"""
    d = b.daemon(BACKUP_ON_SHUTDOWN="yes")
    d.wait_event("backup_done")
    pg.sql("INSERT INTO t VALUES (4711)", db=source)
    assert d.stop() == DONE and len(b.objects()) == 2
    assert b"4711" in subprocess.run([os.path.join(pg.bin, "pg_restore"), "--file=-"], input=b.plain(b.objects()[1]),
                                     stdout=subprocess.PIPE, check=True).stdout
    # Statistics of the last write may have come after that backup: once more, then nothing is new.
    d = b.daemon(BACKUP_ON_SHUTDOWN="yes", BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    d.wait_event("ready")
    assert d.stop() == DONE
    count = len(b.objects())
    d = b.daemon(BACKUP_ON_SHUTDOWN="yes", BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    d.wait_event("ready")
    assert d.stop() == DONE and len(b.objects()) == count and d.events("unchanged")


def test_on_shutdown_has_an_end(b, pg, source):
    bin_dir = b.stub(pg_dump="printf PGDMP; sleep 1000")
    d = b.daemon(BACKUP_ON_SHUTDOWN="yes", BACKUP_SCHEDULE_SHUTDOWN_TIMEOUT="2s", PG_BIN_DIR=bin_dir,
                 BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    d.wait_event("ready")
    begun = time.monotonic()
    assert d.stop() == 128 + 15
    assert time.monotonic() - begun < 14 + 10 * (env.SLOW - 1)
    assert not b.objects()


def test_sighup_takes_a_good_configuration_and_keeps_the_old_for_a_bad_one(b):
    ini = os.path.join(b.dir, "b.ini")
    env.write(ini, "[s3]\nprefix = one\n[schedule]\nmin_spacing = 0\n", 0o600)
    b.set(BACKUP_PREFIX=None)
    d = b.daemon()
    d.kill()
    p = b.popen(("-c", ini, "daemon"), stdout=subprocess.DEVNULL, stderr=open(d.log_path, "wb"))
    d.p = p
    d.wait_event("backup_done", text="object=one/")
    env.write(ini, "[s3]\nprefix = /bad\n[schedule]\nintervall = 3\n", 0o600)
    d.send(signal.SIGHUP)
    d.wait_event("config", text="not taken")
    assert "there is no such setting" in d.log()
    d.send(signal.SIGUSR1)
    d.wait_event("backup_done", text="object=one/", count=2)
    env.write(ini, "[s3]\nprefix = two\n[schedule]\nmin_spacing = 0\n", 0o600)
    d.send(signal.SIGHUP)
    d.wait_event("config", text="reloaded")
    d.wait_event("backup_done", text="object=two/")
    assert d.stop() == DONE
    assert open_2(open(b.objects("two")[0], "rb").read()).startswith(b"PGDMP")  # the mnemonic outlived the reload


def test_a_bad_configuration_at_the_start_is_2(b):
    for name, value in (("BACKUP_INTERVAL_SECS", "0"), ("BACKUP_RETENTION_COUNT", "0"), ("BACKUP_PREFIX", "/"), ("MNEMONIC", ""),
                        ("BACKUP_METRICS_LISTEN", "127.0.0.1:0"), ("BACKUP_AT", "24:00"), ("BACKUP_S3_ENDPOINT", "s3.example.org")):
        d = b.daemon(**{name: value})
        assert d.wait() == USAGE, (name, d.log())
        assert name in d.log()
    assert not b.everything()


# ---- showing ----

def test_metrics_health_and_status(b, source):
    port = env.free_port()
    textfile = os.path.join(b.dir, "backup.prom")
    state = env.make_dir(b.dir, "state-")
    d = b.daemon(BACKUP_METRICS_LISTEN="127.0.0.1:%d" % port, BACKUP_METRICS_TEXTFILE=textfile, BACKUP_STATE_DIR=state)
    d.wait_event("backup_done")
    m = env.wait_for(lambda: metrics(port) if metrics(port).get('backups_total{result="ok"}') == 1 else None, "the counter")
    path = b.objects()[0]
    assert m["last_size_bytes"] == os.path.getsize(path) and m["last_plaintext_bytes"] == len(b.plain(path))
    assert m["objects"] == 1 and m["objects_bytes"] == os.path.getsize(path) and m["encrypted"] == 1
    assert abs(m["last_success_timestamp_seconds"] - time.time()) < 60 * env.SLOW and m["leader"] == 1
    assert m['build_info{version="%s"}' % b.run("--version").out.split()[1]] == 1
    assert m["uploaded_bytes_total"] == os.path.getsize(path) and m["dumped_bytes_total"] == len(b.plain(path))
    assert get(port, "/healthz") == (200, "ok\n") and get(port, "/readyz") == (200, "ready\n")
    status = json.loads(get(port, "/status")[1])
    assert status["leader"] is True and status["ready"] is True and status["consecutive_failures"] == 0
    assert get(port, "/nothing")[0] == 404 and get(port, "/metrics?x=1")[0] == 200 and get(port, "/metrics", "POST")[0] == 405
    assert get(port, "/metrics", "HEAD") == (200, "")
    env.wait_for(lambda: os.path.exists(textfile) and "backups_total" in open(textfile).read(), "the text file")
    # The command asks the daemon, or reads what it has left.
    r = b.run("status", BACKUP_METRICS_LISTEN="127.0.0.1:%d" % port, expect=DONE)
    assert json.loads(r.out)["leader"] is True
    r = b.run("status", "--json", BACKUP_STATE_DIR=state, expect=DONE)
    assert json.loads(r.out)["consecutive_failures"] == 0
    assert "leader                yes" in b.run("status", BACKUP_STATE_DIR=state, expect=DONE).out
    # "Is my last backup good?", for monitoring.
    asks = {"BACKUP_METRICS_LISTEN": "127.0.0.1:%d" % port}, {"BACKUP_STATE_DIR": state}
    for how in asks:
        b.run("status", "--max-age", "1h", expect=DONE, **how)
        time.sleep(2)
        assert "too old" in b.run("status", "--max-age", "1s", expect=OTHER, **how).log
        for bad in ("soon", "0", "-1"):
            assert b.run("status", "--max-age", bad, **how).status == USAGE
    assert d.stop() == DONE
    assert b.run("status", BACKUP_METRICS_LISTEN="127.0.0.1:%d" % port).status == OTHER
    assert b.run("status").status == USAGE
    assert b.run("status", BACKUP_STATE_DIR=b.dir).status == OTHER


def test_the_status_file_says_what_the_page_of_the_pooler_shows(b):
    path, state = os.path.join(b.dir, "status.json"), env.make_dir(b.dir, "state-")
    files = dict(BACKUP_METRICS_STATUS_FILE=path, BACKUP_STATE_DIR=state)

    def status(what, holds):
        def look():
            try:
                with open(path) as f:
                    s = json.load(f)
            except FileNotFoundError:
                return None
            return s if holds(s) else None
        return env.wait_for(look, what, 30 * env.SLOW)
    d = b.daemon(BACKUP_VERIFY_AFTER_BACKUP="archive", **files)
    s = status("the backup", lambda s: s["object"])
    assert s["object"].endswith(os.path.basename(b.objects()[0])) and s["interval_seconds"] == 3600 and s["encrypted"] is True
    assert abs(s["last_success"] - time.time()) < 60 * env.SLOW and s["consecutive_failures"] == 0 and s["last_error"] is None
    assert s["verified"]["level"] == "archive" and s["verified"]["result"] == "ok"
    assert abs(s["written"] - time.time()) < 60 * env.SLOW and s["next_run"] > s["written"]
    assert os.stat(path).st_mode & 0o777 == 0o644
    assert d.stop() == DONE
    # A later process knows what this one has seen, and says when it goes wrong.
    d = b.daemon(PG_BIN_DIR=b.stub(pg_dump="#!/bin/sh\necho 'no such luck' >&2\nexit 1\n"), BACKUP_SCHEDULE_MIN_SPACING="0", **files)
    d.wait_event("backup_failed")
    s = status("the failure", lambda s: s["consecutive_failures"])
    assert s["last_error"] and s["object"].endswith(os.path.basename(b.objects()[0])) and s["verified"]["level"] == "archive"
    d.end()


def test_status_says_that_there_is_no_backup_yet(b):
    port, state = env.free_port(), env.make_dir(b.dir, "state-")
    how = {"BACKUP_METRICS_LISTEN": "127.0.0.1:%d" % port}, {"BACKUP_STATE_DIR": state}
    d = b.daemon(BACKUP_SCHEDULE_INITIAL_DELAY="1h", **how[0], **how[1])
    d.wait_event("ready")
    env.wait_for(lambda: os.listdir(state), "the state file")
    for one in how:
        assert "no good backup" in b.run("status", expect=NOTHING, **one).log
    assert d.stop() == DONE


def test_the_listener_is_served_while_a_dump_runs_and_bears_with_bad_guests(b):
    gate = os.path.join(b.dir, "gate")
    port = env.free_port()
    d = b.daemon(PG_BIN_DIR=b.stub(pg_dump=GATE % (gate, gate)), BACKUP_METRICS_LISTEN="127.0.0.1:%d" % port)
    env.wait_for(lambda: os.path.exists(gate + ".begun"), "the dump")
    m = metrics(port)
    assert m['in_progress{phase="dump"}'] == 1
    assert json.loads(get(port, "/status")[1])["busy_with"] == "backup"
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    for s, words in zip(silent[:6], (b"\0" * 100, b"GET", b"\r\n\r\n", b"GET / HTTP/1.1\r\n", b"x" * 10000, b"GET  \r\n\r\n")):
        s.sendall(words)
    # They are shown the door after some seconds, and meanwhile cost nobody else anything but the wait.
    assert get(port, "/healthz") == (200, "ok\n")
    for s in silent:
        s.close()
    env.write(gate, "")
    d.wait_event("backup_done")
    assert d.stop() == DONE


def test_another_key_is_noticed_at_the_start(b):
    """9.4: loudly, before the first backup."""
    b.backup(MNEMONIC="the words of before, of which there are quite enough for a key")
    port = env.free_port()
    d = b.daemon(BACKUP_METRICS_LISTEN="127.0.0.1:%d" % port, BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    d.wait_event("key", text="ANOTHER KEY")
    env.wait_for(lambda: metrics(port).get("key_mismatch") == 1, "the metric")
    assert d.stop() == DONE


def test_a_hook_and_a_ping(b):
    """18.3"""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", env.free_port()), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hooked = os.path.join(b.dir, "hooked")
    hook = env.write(os.path.join(b.dir, "hook"), "#!/bin/sh\n{ echo \"$1 $2\"; cat; env; } >>%s\n" % hooked, 0o755)
    gate = os.path.join(b.dir, "gate")
    bin_dir = b.stub(pg_dump="if [ -e %s ]; then exec $real \"$@\"; fi; exit 1" % gate)
    d = b.daemon(BACKUP_METRICS_PING_URL="http://127.0.0.1:%d/secret-token" % server.server_port, BACKUP_METRICS_HOOK=hook,
                 PG_BIN_DIR=bin_dir)
    d.wait_event("backup_failed")
    env.wait_for(lambda: len(seen) >= 2, "pings")
    env.write(gate, "")
    d.send(signal.SIGUSR1)
    d.wait_event("backup_done")
    env.wait_for(lambda: len(seen) >= 4, "pings")
    assert seen == ["/secret-token/start", "/secret-token/fail", "/secret-token/start", "/secret-token"]
    assert d.stop() == DONE
    with open(hooked) as f:
        text = f.read()
    assert re.findall(r"^backup_\w+ ", text, re.M) == ["backup_begin ", "backup_failed ", "backup_begin ", "backup_done "]
    assert "backup_done app/" in text and '"consecutive_failures":1' in text
    assert "MNEMONIC" not in text and "PG_" not in text and "secret-token" not in d.log()
    server.shutdown()


def test_a_hook_that_hangs_or_fails_changes_nothing(b):
    hook = env.write(os.path.join(b.dir, "hook"), "#!/bin/sh\necho 'no good' >&2\nexit 3\n", 0o755)
    d = b.daemon(BACKUP_METRICS_HOOK=hook, BACKUP_METRICS_PING_URL="http://127.0.0.1:%d/x" % env.free_port())
    d.wait_event("backup_done")
    d.wait_event("hook", text="no good")
    d.wait_event("ping")
    assert d.stop() == DONE


# ---- what was left behind ----

def test_unfinished_uploads_of_the_past_are_aborted(b):
    """Row 44: after a kill -9 in mid-upload, by the state file's memory even before they are old."""
    state = env.make_dir(b.dir, "state-")
    b.set(BACKUP_STATE_DIR=state, BACKUP_S3_PART_SIZE="5M")
    d = b.daemon(PG_BIN_DIR=b.stub(pg_dump="printf PGDMP; head -c 12000000 /dev/urandom; sleep 1000"))
    env.wait_for(lambda: b.uploads(), "an upload")
    env.wait_for(lambda: any("upload_id" in open(os.path.join(state, f)).read() for f in os.listdir(state)
                             if f.endswith(".state")), "the state file")
    d.p.kill()
    d.p.wait()
    assert b.uploads() and not b.objects()
    d = b.daemon(BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    env.wait_for(lambda: not b.uploads(), "the upload to go")
    assert d.stop() == DONE


def test_pruning_follows_each_backup(b):
    now = int(time.time())
    for age in (86400 * 40, 86400 * 20, 86400 * 10, 3600):
        b.plant(name_at(now - age), seal_2(b"PGDMP" + os.urandom(2000), created=now - age))
    d = b.daemon(BACKUP_RETENTION_COUNT="3", BACKUP_RETENTION_SHRINK_GUARD="0")
    d.wait_event("prune", text="deleted=2")
    assert d.stop() == DONE and len(b.objects()) == 3


def test_it_does_not_grow(b):
    """Many small backups, one process."""
    d = b.daemon(BACKUP_INTERVAL_SECS="1s", BACKUP_SCHEDULE_MIN_SPACING="0", BACKUP_RETENTION_COUNT="2")
    d.wait_event("backup_done", count=5, timeout=120 * env.SLOW)
    before = env.rss_kb(d.p.pid)
    d.wait_event("backup_done", count=15, timeout=240 * env.SLOW)
    assert env.rss_kb(d.p.pid) < before + 8192 * (4 if env.SLOW > 2 else 1)
    d.end()


def test_a_database_that_is_not_there_is_a_failure_not_an_end(b, databases):
    d = b.daemon(BACKUP_RESTORE="no", PG_DATABASE="b_nothing_here")
    d.wait_event("retry_planned")
    assert d.p.poll() is None and d.stop() == DONE
    d = b.daemon(PG_DATABASE="b_nothing_here", BACKUP_RESTORE_CONNECT_WAIT="1s")
    assert d.wait() == DATABASE
