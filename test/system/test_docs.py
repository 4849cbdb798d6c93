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
    names = ["pgbouncer.ini.5", "pg-ecdsa-proxy.1", "pg-ecdsa-token.1"]
    for name in names:
        source = read("doc", "man", name + ".md").replace("@SETTINGS@", "\n".join(
            "## %s\n\n%s" % item for item in described().items()))
        out = subprocess.run(["pandoc", "--standalone", "--from", "markdown-smart", "--to", "man"], input=source,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert out.returncode == 0 and not out.stderr, out.stderr
        assert out.stdout.startswith(".\\\"") and ".SH NAME" in out.stdout
        if name == names[0]:
            assert all(".SS %s\n" % k in out.stdout for k in described())
