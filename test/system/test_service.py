"""Under a service manager: notifications, passed sockets, the journal. Configuration specification, section 20."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from harness import env
from harness.wire import Wire

pytestmark = pytest.mark.ours


def built(p):
    return "systemd: yes" in subprocess.run([p.binary, "--version"], stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture
def managed(pooler, tmp_path):
    """A pooler not yet started, and the socket on which a manager would listen."""
    p = pooler(start=False, unix_socket_dir="", stats_period=1, log_stats=1)
    if not built(p):
        pytest.skip("libsystemd not in this build")
    path = os.path.join(p.dir, "notify")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    os.chmod(path, 0o777)
    sock.settimeout(env.PATIENCE)
    yield p, sock, path
    sock.close()


def until(sock, wanted):
    """Messages up to one with that line; the message, as a dict."""
    while True:
        message = dict(line.split("=", 1) for line in sock.recv(4096).decode().splitlines())
        if wanted in message:
            return message


def run(p, *args, **environment):
    return env.popen(list(args) + [p.binary, p.ini], cwd=p.dir, stderr=subprocess.PIPE,
                     env={**os.environ, **environment}, text=True)


def test_notifications(managed):
    p, sock, path = managed
    child = run(p, NOTIFY_SOCKET=path)
    try:
        assert until(sock, "READY")["READY"] == "1"
        with Wire(p.host, p.port) as c:
            assert c.sock
        before = time.monotonic()
        child.send_signal(signal.SIGHUP)
        reload = until(sock, "RELOADING")
        assert reload["RELOADING"] == "1"
        assert before <= int(reload["MONOTONIC_USEC"]) / 1e6 <= time.monotonic()
        assert until(sock, "READY")["READY"] == "1"
        status = until(sock, "STATUS")["STATUS"]
        assert re.fullmatch(r"stats: \d+ xacts/s, .* query \d+ µs, wait \d+ µs", status)
        child.send_signal(signal.SIGTERM)
        assert until(sock, "STOPPING")["STOPPING"] == "1"
        assert child.wait(env.PATIENCE) == 0
    finally:
        child.kill()
        err = child.communicate()[1]
    assert " us, wait " in err and "systemd support was not built" not in err


def test_failed_reload_ends_as_ready(managed):
    """The manager must not wait for ever: the old configuration is in force."""
    p, sock, path = managed
    child = run(p, NOTIFY_SOCKET=path)
    try:
        until(sock, "READY")
        with open(p.ini, "a") as f:
            f.write("frob = 1\n")
        child.send_signal(signal.SIGHUP)
        until(sock, "RELOADING")
        until(sock, "READY")
    finally:
        child.kill()
        err = child.communicate()[1]
    assert "config file loading failed" in err


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="no systemd-socket-activate")
def test_socket_activation(managed, pg):
    p, sock, path = managed
    p.settings.update(listen_addr="127.0.0.1", listen_port=env.free_port(), unix_socket_dir="/nonexistent")
    p.databases["db"] = pg.entry(user="svc", password="svc_pw")
    p.users["u_trust"] = ""
    p.write()
    unix = os.path.join(p.dir, ".s.PGSQL.%d" % p.port)
    child = env.popen(["systemd-socket-activate", "-l", "127.0.0.1:%d" % p.port, "-l", unix, p.binary, p.ini],
                      cwd=p.dir, stderr=subprocess.PIPE, text=True)
    try:
        env.wait_for(lambda: os.path.exists(unix), "the sockets")
        # The first connection makes the manager start the program.
        for host in ("127.0.0.1", p.dir):
            with Wire(host, p.port) as c:
                c.login("u_trust", "db")
                assert c.value("SELECT 1") == "1"
        child.send_signal(signal.SIGQUIT)
        assert child.wait(env.PATIENCE) == 0
    finally:
        child.kill()
        err = child.communicate()[1]
    assert os.path.exists(unix), "a socket of the manager is the manager's to remove"
    assert "socket passed from service manager (fd 3)" in err and "(fd 4)" in err
    assert "sockets passed from service manager, cf_listen_addr ignored" in err
    assert "sockets passed from service manager, cf_unix_socket_dir ignored" in err


def test_passed_descriptor_that_does_not_listen(managed):
    p, sock, path = managed
    child = env.popen(["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$1" 3</dev/null', p.binary, p.ini], cwd=p.dir,
                      stderr=subprocess.PIPE, text=True)
    err = child.communicate(timeout=env.PATIENCE)[1]
    assert child.returncode == 1
    assert "FATAL socket passed from service manager (fd 3): Socket operation on non-socket" in err


def test_no_takeover_under_a_service_manager(managed):
    p, sock, path = managed
    child = env.popen([p.binary, "-R", p.ini], cwd=p.dir, stderr=subprocess.PIPE, text=True,
                      env={**os.environ, "NOTIFY_SOCKET": path})
    assert "FATAL cannot reboot under service manager" in child.communicate(timeout=env.PATIENCE)[1]
    assert child.returncode == 1


def test_journal(managed):
    """Standard error is the journal: priorities in front, no stamps."""
    p, sock, path = managed
    read, write = os.pipe()
    st = os.fstat(write)
    child = env.popen([p.binary, p.ini], cwd=p.dir, stderr=write,
                      env={**os.environ, "JOURNAL_STREAM": "%d:%d" % (st.st_dev, st.st_ino)})
    os.close(write)
    text = b""
    with os.fdopen(read, "rb") as f:
        for line in f:
            text += line
            if b"process up" in line:
                child.send_signal(signal.SIGQUIT)
    assert child.wait(env.PATIENCE) == 0
    lines = text.decode().splitlines()
    assert lines and all(re.match(r"<[2-7]>[^ ]", line) for line in lines), lines
    assert any(line.startswith("<6>process up: ") for line in lines)
