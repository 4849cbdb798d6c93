#!/usr/bin/env python3
"""Writes the vectors of the backup's storage side as a C header: signatures, part sizes, names, retention.

usage: backup_store_to_c.py backup-vectors.json >backup_store_vectors.h
"""
import json
import sys


def literal(text):
    """A C string literal of the UTF-8 bytes; octal escapes, which end after three digits."""
    return '"' + "".join(
        chr(b) if 32 <= b < 127 and b not in b'"\\?' else "\\%03o" % b for b in text.encode()
    ) + '"'


def number(n):
    return "INT64_C(%d)" % (-1 if n is None else n)


def pairs(items):
    return "{%s}, %d" % (", ".join("{%s, %s}" % (literal(n), literal(v)) for n, v in items) or "{0}", len(items))


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        v = json.load(f)
    print("/* Made by test/vectors/backup_store_to_c.py; edits will be lost. */")
    s = v["sigv4"]
    print("static const char access_key[] = %s, secret_key[] = %s;" % (literal(s["access_key"]), literal(s["secret_key"])))
    print("static const struct sign_vector sign_vectors[] = {")
    for c in s["cases"]:
        print("\t{%s,\n\t %s}," % (
            ", ".join(literal(c[k]) for k in ("name", "method", "path")) + ", " + pairs(c["query"]) + ", "
            + pairs(list(c["headers"].items())),
            ",\n\t ".join(literal(c[k]) for k in (
                "payload_hash", "timestamp", "region", "canonical_uri", "canonical_query", "signed_headers",
                "canonical_request_sha256", "string_to_sign", "authorization"))))
    print("};")
    p = v["part_size"]
    print("static const uint64_t part_smallest = %s;" % number(p["min_part"]))
    print("static const unsigned part_max = %d;" % p["max_parts"])
    print("static const struct part_vector part_vectors[] = {")
    for c in p["cases"]:
        print("\t{%s, %s}," % (number(c["estimate"]), number(c["part_size"])))
    print("};")
    print("static const struct name_vector name_vectors[] = {")
    for c in v["object_names"]:
        print("\t{%s, %s, %s, %s, %d}," % (literal(c["prefix"]), literal(c["key"]), "true" if c["match"] else "false",
                                           number(c["unix_time"]), -1 if c["format"] is None else c["format"]))
    print("};")
    print("static const struct retention_vector retention_vectors[] = {")
    for c in v["retention"]:
        print("\t{%s, %s, %s, %d, %d, %s, %d,\n\t {%s},\n\t {%s}}," % (
            literal(c["name"]), literal(c["prefix"]), number(c["now"]),
            -1 if c["count"] is None else c["count"], -1 if c["days"] is None else c["days"],
            {"any": "false", "all": "true"}[c["mode"]], c["min_keep"],
            ", ".join([literal(k) for k in c["keys"]] + ["NULL"]),
            ", ".join([literal(k) for k in c["delete"]] + ["NULL"])))
    print("};")


main()
