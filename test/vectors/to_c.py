#!/usr/bin/env python3
"""Writes the wallet login vectors as a C header, for test/unit/test_vectors.c.

usage: to_c.py ecdsa-vectors.json ecdsa-vectors-formats.json >ecdsa_vectors.h
"""
import json
import sys


def literal(text):
    """A C string literal of the UTF-8 bytes; octal escapes, which end after three digits."""
    return '"' + "".join(
        chr(b) if 32 <= b < 127 and b not in b'"\\?' else "\\%03o" % b for b in text.encode()
    ) + '"'


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def row(v, **policy):
    fields = [literal(v["name"]), literal(v["address"]), literal(v["password"]), "%d" % len(v["password"].encode()),
              "INT64_C(%d)" % v["now"], {"ok": "true", "reject": "false"}[v["expect"]]]
    fields += [".%s = %s" % item for item in policy.items()]
    return "\t{%s}," % ", ".join(fields)


def main():
    timestamps = load(sys.argv[1])
    formats = load(sys.argv[2])
    config = formats["config"]
    print("/* Made by test/vectors/to_c.py; edits will be lost. */")
    print("static const struct vector timestamp_vectors[] = {")
    for v in timestamps:
        print(row(v, window="INT64_C(%d)" % v["window"]))
    print("};")
    print("static const struct vector format_vectors[] = {")
    for v in formats["vectors"]:
        print(row(v, database=literal(v["database"]), role=literal(v["role"])))
    print("};")
    print("static const struct wallet_policy format_policy = {")
    print("\t.formats = %s," % " | ".join("BIT(ECDSA_FORMAT_%s)" % f.upper() for f in config["formats"]))
    print("\t.window_seconds = %d, .skew_seconds = %d, .max_lifetime_seconds = %d,"
          % (config["window"], config["skew"], config["max_lifetime"]))
    print("\t.siwe_requires_database = %s," % str(config["siwe_require_database"]).lower())
    print("\t.server_names = %s," % literal(", ".join(config["server_names"])))
    print("\t.siwe_domains = %s," % literal(", ".join(config["siwe_domains"])))
    print("\t.chain_ids = %s," % literal(", ".join(str(c) for c in config["chain_ids"])))
    print("};")


main()
