/*
 * lib/hex.h - hexadecimal text.  Tests: test/unit/test_lib.c
 */
#ifndef LIB_HEX_H
#define LIB_HEX_H

#include <stdbool.h>
#include <stddef.h>

/* 0..15, or -1 when c is no hexadecimal digit. */
int hex_digit(int c);
/* Exactly 2 * bytes digits of either case; false when one is not a digit. */
bool hex_decode(const char *text, void *out, size_t bytes);
/* Writes 2 * bytes lower-case digits and a NUL. */
void hex_encode(const void *in, size_t bytes, char *out);

#endif
