#!/usr/bin/env python3
"""Writes the wallet login vectors as a C header, for test/unit/test_vectors.c.

usage: to_c.py ecdsa-vectors.json >ecdsa_vectors.h
"""
import json
import sys


def literal(text):
    """A C string literal of the UTF-8 bytes; octal escapes, which end after three digits."""
    return '"' + "".join(
        chr(b) if 32 <= b < 127 and b not in b'"\\?' else "\\%03o" % b for b in text.encode()
    ) + '"'


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        vectors = json.load(f)
    print("/* Made by test/vectors/to_c.py; edits will be lost. */")
    print("static const struct vector vectors[] = {")
    for v in vectors:
        print("\t{%s, %s, %s, %d, INT64_C(%d), INT64_C(%d), %s}," % (
            literal(v["name"]), literal(v["address"]), literal(v["password"]), len(v["password"].encode()),
            v["now"], v["window"], {"ok": "true", "reject": "false"}[v["expect"]]))
    print("};")


main()
