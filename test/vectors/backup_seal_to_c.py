#!/usr/bin/env python3
"""Writes the vectors of the backup formats as a C header, for test/unit/test_backup_vectors.c.

usage: backup_seal_to_c.py backup-vectors.json >backup_seal_vectors.h
"""
import json
import sys


def literal(text):
    """A C string literal of the UTF-8 bytes; octal escapes, which end after three digits."""
    return '"' + "".join(
        chr(b) if 32 <= b < 127 and b not in b'"\\?' else "\\%03o" % b for b in text.encode()
    ) + '"'


def maybe(text):
    return "NULL" if text is None else literal(text)


def plaintext(p):
    if "hex" in p:
        return "{%s, 0, %d}" % (literal(p["hex"]), len(p["hex"]) // 2)
    return "{NULL, %d, %d}" % (p["lcg_seed"], p["length"])


def op(o):
    kinds = {"xor": "OP_XOR", "truncate": "OP_TRUNCATE", "append": "OP_APPEND", "swap": "OP_SWAP",
             "remove": "OP_REMOVE", "duplicate": "OP_DUPLICATE"}
    assert set(o) <= {"op", "offset", "mask", "length", "hex", "a", "b"}, o
    return "{%s, %d, %d, %d, %d, %s}" % (kinds[o["op"]], o.get("offset", o.get("a", 0)), o.get("b", 0),
                                         o.get("length", 0), o.get("mask", 0), literal(o.get("hex", "")))


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        v = json.load(f)
    print("/* Made by test/vectors/backup_seal_to_c.py; edits will be lost. */")
    print("static const struct key_vector key_vectors[] = {")
    for k in v["keys"]:
        print("\t{%s, %s, %s, %s}," % tuple(literal(k[n]) for n in ("name", "mnemonic_utf8_hex", "key_hex", "key_id_hex")))
    print("};\nstatic const struct file_vector file_vectors[] = {")
    for f in v["v1"]:
        print("\t{%s, 1, %s, %s, 0, 0, 0, NULL, NULL, %s, %d, %s, %s}," % (
            literal(f["name"]), literal(f["mnemonic"]), literal(f["nonce_hex"]), plaintext(f["plaintext"]),
            f["file_length"], literal(f["file_sha256"]), maybe(f.get("file_hex"))))
    for f in v["v2"]:
        print("\t{%s, 2, %s, %s, %d, %d, %d, %s, %s, %s, %d, %s, %s}," % (
            literal(f["name"]), literal(f["mnemonic"]), literal(f["salt_hex"]), f["segment_size"], f["created_at"],
            f["content"], literal(f["payload_key_hex"]), literal(f["header_key_hex"]), plaintext(f["plaintext"]),
            f["file_length"], literal(f["file_sha256"]), maybe(f.get("file_hex"))))
    print("};\nstatic const struct mutation mutations[] = {")
    for m in v["mutations"]:
        print("\t{%s, %s, {%s}, %d, %d, %s, %s}," % (
            literal(m["name"]), literal(m["base"]), ", ".join(op(o) for o in m["ops"]), len(m["ops"]),
            m["file_length"], literal(m["file_sha256"]), literal(m["expect"])))
    print("};\nstatic const struct crafted crafted[] = {")
    for c in v["crafted_invalid"]:
        tags = c.get("body_tags_hex", [])
        print("\t{%s, %s, %d, %s, %s, %s, %s, {%s}}," % (
            literal(c["name"]), literal(c["decrypt_with_mnemonic"]), c["file_length"], literal(c["file_sha256"]),
            literal(c["expect"]), maybe(c.get("file_hex")), maybe(c.get("header_hex")),
            ", ".join(literal(t) for t in tags) or "NULL"))
    print("};")


main()
