"""Rules about the source that a compiler does not check."""
import os
import re
import subprocess

import pytest
from harness import env

# Each room, and the rooms it may name. Headers without a room do not exist.
ORDER = ["lib", "proto", "config", "net", "auth", "pool", "admin", "http"]
ALLOWED = {
    "lib": {"lib"},
    "proto": {"lib", "proto"},
    "wallet": {"lib", "wallet"},
    "token": {"lib", "proto", "wallet", "token"},
    "backup": {"lib", "backup"},
    # Of the other two it reads the lists of settings alone.
    "container": {"lib", "container", "config", "backup"},
}
for i, room in enumerate(ORDER[2:], 2):
    ALLOWED[room] = set(ORDER[:i + 1]) | {"wallet"}
ALLOWED["main"] = set().union(*ALLOWED.values()) - {"token", "backup", "container"}


def sources():
    out = subprocess.run(["find", "lib", "src", "include", "backup", "-name", "*.[ch]", "-o", "-name", "*.def"],
                         cwd=env.TOP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split()
    return sorted(out)


def room_of(path):
    parts = path.split("/")
    if parts[0] == "lib":
        return "lib"
    if parts[0] == "backup":
        return "backup"
    return parts[1] if len(parts) > 2 else "main"


def test_rooms_include_downwards_only():
    wrong, seen = [], 0
    for path in sources():
        room = room_of(path)
        with open(os.path.join(env.TOP, path)) as f:
            for number, line in enumerate(f, 1):
                m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if not m or m.group(1) == "config.h":
                    continue
                seen += 1
                target = m.group(1).split("/")[0] if "/" in m.group(1) else None
                if target is None:
                    # A private header beside the source is the same room.
                    if not os.path.exists(os.path.join(env.TOP, os.path.dirname(path), m.group(1))):
                        wrong.append("%s:%d: %s has no room" % (path, number, m.group(1)))
                elif target not in ALLOWED[room]:
                    wrong.append("%s:%d: %s may not include %s" % (path, number, room, m.group(1)))
    assert seen > 50
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "HACKING.md", "README.md"])
def test_pages_name_files_that_exist(page):
    """Everything that looks like a path in the repository is one."""
    with open(os.path.join(env.TOP, page)) as f:
        text = f.read()
    tops = r"(?:lib|include|src|test|etc|doc|backup)"
    named = set(re.findall(r"(?<![\w/.-])(%s/[\w./*-]*[\w*/])" % tops, text))
    named |= set(re.findall(r"(?<![\w/.-])((?:[A-Z]{4,}\.md|autogen\.sh|configure\.ac|Makefile\.am))", text))
    missing = []
    for name in sorted(named):
        # Patterns and examples such as src/<room>/x.c are not files.
        if "*" in name or re.search(r"/(x|foo|NAME|ROOM)\b", name):
            continue
        if not os.path.exists(os.path.join(env.TOP, name.rstrip("/"))):
            missing.append(name)
    assert not missing, "%s names what is not there: %s" % (page, missing)


def test_sources_stand_in_a_fitting_size():
    """Near 800 lines there is a second idea in the file."""
    large = []
    for path in sources():
        with open(os.path.join(env.TOP, path)) as f:
            lines = sum(1 for _ in f)
        if lines > 1200:
            large.append("%s: %d lines" % (path, lines))
    assert not large, large


@pytest.mark.parametrize("script", ["etc/quickstart.sh", "test/run.sh", "test/soak.sh", "test/bench/run.sh",
                                    "autogen.sh"])
def test_scripts_parse(script):
    path = os.path.join(env.TOP, script)
    assert os.access(path, os.X_OK)
    with open(path) as f:
        shell = "bash" if "bash" in f.readline() else "dash"
    subprocess.run([shell, "-n", path], check=True)


def test_every_setting_has_its_effect():
    with open(os.path.join(env.TOP, "include/config/settings.def")) as f:
        rows = f.read().split("\nSETTING(")[1:]
    assert len(rows) > 100
    assert not [row.split(",")[0] for row in rows if ", LATER," in row]
