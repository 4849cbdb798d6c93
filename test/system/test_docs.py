"""The documents say what the program has: settings, keys, options, commands, man pages."""
import os
import re
import shutil
import subprocess

import pytest
from harness import env

pytestmark = pytest.mark.ours


def read(*path):
    with open(os.path.join(env.TOP, *path)) as f:
        return f.read()


def described():
    text = subprocess.run([env.binary("pg-ecdsa-proxy"), "--describe-settings"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    return dict(re.findall(r"^### (\S+)\n\n(.*?)(?=^### |\Z)", text, re.M | re.S))


def test_every_setting_has_its_reference(pooler):
    blocks = described()
    rows = pooler().show("CONFIG")
    assert list(blocks) == [r["key"] for r in rows]
    for row in rows:
        block = blocks[row["key"]]
        words, *items = re.split(r"\n+- ", block.strip())
        assert words.endswith(".") and len(words) > 8, row["key"]
        items = dict(item.split(": ", 1) if ": " in item else (item, "") for item in items)
        assert items["Type"] and items["Changeable"] == (
            "by RELOAD and SET" if row["changeable"] == "yes" else "by a restart only")
        default = {None: "not set", "": "empty"}.get(row["default"], "`%s`" % row["default"])
        assert items["Default"] == default, row["key"]


@pytest.mark.parametrize("section, kind", [("DATABASE", "databases"), ("USER", "users")])
def test_every_key_of_the_other_sections(section, kind):
    keys = set(re.findall(r'^\t%s\("(\w+)"' % section, read("src", "config", "definitions.c"), re.M))
    assert len(keys) > 9
    for page in (read("doc", "config.md"), read("doc", "man", "pgbouncer.ini.5.md")):
        # ecdsa_auth_query is nobody's word for what PgBouncer has.
        missing = {k for k in keys if not re.search(r"(`|\*\*)%s(`|\*\*)" % k, page)} - {"reserve_pool", "ecdsa_auth_query"}
        assert not missing, missing


def test_every_option_is_in_its_man_page():
    text = subprocess.run([env.binary("pg-ecdsa-proxy"), "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    options = re.findall(r"--([a-z-]+)", text)
    assert len(options) >= 9
    page = read("doc", "man", "pg-ecdsa-proxy.1.md")
    assert not [o for o in options if "**\\--%s" % o not in page]


def test_every_program_has_a_man_page():
    programs = re.findall(r"^bin_PROGRAMS[ \t]*[+:]?=[ \t]*(.*)$", "\n".join(
        read(os.path.relpath(os.path.join(d, n), env.TOP)) for d, _, names in os.walk(os.path.join(env.TOP, "src"))
        for n in names if n.endswith(".mk")) + read("Makefile.am"), re.M)
    names = {name for line in programs for name in line.split()}
    assert "pg-ecdsa-proxy" in names
    for name in names:
        assert os.path.exists(os.path.join(env.TOP, "doc", "man", name + ".1.md")), name


def test_every_command_of_the_console_is_described(pooler):
    with pooler().console() as c:
        said = c.query("SHOW HELP").notices[0]["D"]
    page = read("doc", "console.md")
    for line in said.strip().splitlines():
        for word in re.findall(r"[A-Z][A-Z_]{2,}", line):
            assert re.search(r"`[^`]*\b%s\b" % word, page), word


@pytest.mark.parametrize("page", ["README.md"] + ["doc/" + n for n in sorted(os.listdir(os.path.join(env.TOP, "doc")))
                                                  if n.endswith(".md")])
def test_links_lead_somewhere(page):
    """To files that exist, and to headings in them."""
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if re.match(r"\w+:", target):
            continue
        name, _, heading = target.partition("#")
        path = os.path.normpath(os.path.join(os.path.dirname(page), name)) if name else page
        assert os.path.exists(os.path.join(env.TOP, path)), target
        if heading:
            slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", read(path), re.M)}
            assert heading in slugs, target


def test_programs_are_shown_as_they_are():
    """A block that begins with the name of a file is a part of that file."""
    blocks = re.findall(r"^```\w+\n(?:#|//) (test/clients/\S+)\n(.*?)^```$", read("doc", "clients.md"), re.M | re.S)
    assert len(blocks) > 9
    for name, text in blocks:
        assert text in read(name), (name, text)


@pytest.mark.skipif(not shutil.which("pandoc"), reason="pandoc is not installed")
def test_the_man_page_of_the_file_has_all_settings(tmp_path):
    """As the build makes it: by the rule of doc/doc.mk."""
    names = ["pgbouncer.ini.5", "pg-ecdsa-backup.1", "pg-ecdsa-proxy.1", "pg-ecdsa-token.1"]
    for name in names:
        source = read("doc", "man", name + ".md").replace("@SETTINGS@", "\n".join(
            "## %s\n\n%s" % item for item in described().items()))
        out = subprocess.run(["pandoc", "--standalone", "--from", "markdown-smart", "--to", "man"], input=source,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert out.returncode == 0 and not out.stderr, out.stderr
        assert re.match(r"('\\\" t\n)?\.\\\"", out.stdout) and ".SH NAME" in out.stdout
        if name == names[0]:
            assert all(".SS %s\n" % k in out.stdout for k in described())


# ---- the backup daemon ----

BACKUP = os.path.join(env.BUILD_DIR, "pg-ecdsa-backup")
BACKUP_PAGES = ["doc/backup.md", "doc/backup-storage.md", "doc/man/pg-ecdsa-backup.1.md", "etc/pg-ecdsa-backup.service",
                "etc/pg-ecdsa-backup.ini", "README.md"]


def backup_says(*args, **environ):
    return subprocess.run([BACKUP, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={"PATH": os.environ["PATH"], **environ})


def backup_settings():
    """(section, key) -> variables, as the program prints them."""
    found, section = {}, None
    for line in backup_says("--describe-settings").stdout.splitlines():
        if line.startswith("## ["):
            section = line[4:-1]
        elif re.match(r"\| (?!key )", line):
            key, variables, default, says = [c.strip() for c in line.strip("| ").split(" | ")]
            assert default and says.endswith(".") or "One of:" in says, line
            found[section, key] = re.findall(r"`(\w+)`", variables)
    return found


def test_every_setting_of_the_backup_has_its_reference():
    rows = re.findall(r'^SETTING\((\w+), (\w+), (?:"(\w+)"|NULL), (\w+)', read("include", "backup", "settings.def"), re.M)
    assert len(rows) > 90
    told = backup_settings()
    assert list(told) == [(section, key) for section, key, _, _ in rows]
    for section, key, variable, kind in rows:
        name = variable or "BACKUP_%s_%s" % (section.upper(), key.upper())
        assert told[section, key] == [name] + ([name + "_FILE"] if kind == "SECRET" else []), (section, key)
    # The man page prints the same list.
    assert "\n@BACKUP_SETTINGS@\n" in read("doc", "man", "pg-ecdsa-backup.1.md")


@pytest.mark.parametrize("page", BACKUP_PAGES)
def test_no_page_names_a_variable_that_the_backup_does_not_have(page):
    known = {v for variables in backup_settings().values() for v in variables}
    named = set(re.findall(r"\b((?:BACKUP|PG)_[A-Z0-9_]+[A-Z0-9]|MNEMONIC(?:_FILE)?)\b", read(page).replace("@BACKUP_SETTINGS@", "")))
    assert not named - known, named - known


def test_the_sample_of_the_backup_has_only_settings_that_exist(tmp_path):
    told, section, lines, seen = backup_settings(), None, [], 0
    for line in read("etc", "pg-ecdsa-backup.ini").splitlines():
        m = re.match(r";?(\w+) = (\S.*)$", line)
        if line.startswith("["):
            section = line.strip("[]")
        elif m:
            key, seen = m.group(1), seen + 1
            variables = told.get((section, key)) or told.get((section, re.sub("_file$", "", key)))
            assert variables, line
            # One that names a file is of a secret.
            assert (section, key) in told or variables[-1].endswith("_FILE"), line
        lines.append(line)
    assert seen > 30
    # As it stands it is taken, and so is every line that is commented out.
    path = tmp_path / "sample.ini"
    text = "\n".join(lines)
    path.write_text(text)
    words = "twelve words of a mnemonic that nobody has published so far anywhere"
    done = backup_says("-c", str(path), "key-id", MNEMONIC=words)
    assert done.returncode == 0 and " error " not in done.stdout, done.stdout
    for name in re.findall(r"^;(\w+)_file = (\S+)", text, re.M):
        text = text.replace(name[1], str(tmp_path / "secret"))
    (tmp_path / "secret").write_text(words)
    (tmp_path / "secret").chmod(0o600)
    text = re.sub(r"^;(\w+ = )", r"\1", text, flags=re.M).replace("interval = 1d\n", "")
    text = text.replace("ping_url_file = %s" % (tmp_path / "secret"), "ping_url = https://ping.example.org/x")
    path.write_text(text)
    done = backup_says("-c", str(path), "key-id")
    assert done.returncode == 0 and " error " not in done.stdout, done.stdout


def test_every_command_and_option_of_the_backup_is_in_its_man_page():
    text = backup_says("--help").stdout
    page = read("doc", "man", "pg-ecdsa-backup.1.md")
    options = set(re.findall(r"--([a-z-]+)", text))
    assert len(options) > 20
    assert not [o for o in options if "\\--%s**" % o not in page], options
    commands = re.findall(r"^  ([a-z][a-z-]+)(?: |$)", text[text.index("Commands:"):text.index("Exit status:")], re.M)
    assert len(commands) == 15
    assert not [c for c in commands if not re.search(r"^\*\*%s\b|, \*\*%s\*\*" % (c, c), page, re.M)]
    for status, word in re.findall(r"(\d+) ([a-z]+)", text[text.index("Exit status:"):].replace("\n", " ")):
        assert re.search(r"^\| %s(?:\+n)? \|" % status, page, re.M) or status == "128", status
    # What commands say of themselves is what the help says.
    for path in ("cmd_backup.c", "cmd_restore.c", "cmd_store.c", "cmd_file.c", "daemon.c", "daemon_show.c"):
        for usage in re.findall(r'"usage: (\w+) ([^"]*)"', read("backup", path)):
            line = re.search(r"^  %s (.*(?:\n {10}.*)*)" % usage[0], text, re.M).group(1)
            for option in re.findall(r"--[a-z-]+", usage[1]):
                assert option in line or option == "--database", (usage, line)


def test_metrics_that_pages_and_rules_name_exist():
    known = set(re.findall(r"^METRIC\((\w+),", read("include", "backup", "metrics.def"), re.M))
    assert len(known) > 30
    for page in ["etc/pg-ecdsa-backup.rules.yml"] + ["doc/" + n for n in os.listdir(os.path.join(env.TOP, "doc"))
                                                     if n.endswith(".md")]:
        named = set(re.findall(r"\bpg_ecdsa_backup_(\w+)", read(page)))
        assert not {n for n in named if re.sub("_(bucket|sum|count)$", "", n) not in known}, (page, named - known)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_the_rules_of_the_backup_are_rules():
    done = subprocess.run(["promtool", "check", "rules", os.path.join(env.TOP, "etc", "pg-ecdsa-backup.rules.yml")],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_unit_of_the_backup_is_one(tmp_path):
    unit = tmp_path / "pg-ecdsa-backup.service"
    unit.write_text(read("etc", "pg-ecdsa-backup.service").replace("/usr/bin/pg-ecdsa-backup", BACKUP).replace(
        "network-online.target", "").replace("postgresql.service", ""))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})
    mine = [line for line in done.stdout.splitlines() if "pg-ecdsa-backup.service" in line and "man" not in line]
    assert not mine, done.stdout
