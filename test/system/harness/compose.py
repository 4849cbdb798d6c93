"""compose.yaml as docker compose reads it: variables filled in, services with their environment."""
import os
import re

import yaml

from . import env

PATH = os.path.join(env.TOP, "compose.yaml")
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:?-)([^}]*))?\})")


def fill_in(value, given):
    if isinstance(value, dict):
        return {k: fill_in(v, given) for k, v in value.items()}
    if isinstance(value, list):
        return [fill_in(v, given) for v in value]
    if not isinstance(value, str):
        return value

    def one(m):
        escaped, name, how, otherwise = m.groups()
        if escaped:
            return "$"
        found = given.get(name)
        return otherwise or "" if found is None or (how == ":-" and not found) else found
    return VARIABLE.sub(one, value)


def raw():
    with open(PATH) as f:
        return f.read()


def load(given=None):
    return fill_in(yaml.safe_load(raw()), given or {})


def environment(service, given=None):
    """What the container gets: a name without a value is handed on if it is set, and else left out."""
    given = given or {}
    named = load(given)["services"][service]["environment"]
    found = {k: given.get(k) if v is None else str(v) for k, v in named.items()}
    return {k: v for k, v in found.items() if v is not None}


def asked_for():
    """The variables that the file reads from outside: in ${}, or named without a value."""
    names = {m.group(2) for m in VARIABLE.finditer(raw()) if m.group(2)}
    for service in load()["services"].values():
        names |= {k for k, v in service.get("environment", {}).items() if v is None}
    return names


def dotenv(name):
    """(what is set, all that is mentioned) in .env.example and its like; a commented line is an offer."""
    with open(os.path.join(env.TOP, name)) as f:
        lines = f.read().splitlines()
    found = [re.fullmatch(r"(#?)([A-Z][A-Z0-9_]*)=(.*)", line) for line in lines]
    items = [m.groups() for m in found if m]
    return {k: v for off, k, v in items if not off}, {k: v for _, k, v in items}
