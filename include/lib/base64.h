/*
 * lib/base64.h - base64 (RFC 4648), read without tolerance.
 *
 * Both readers refuse white space and bits that no encoder sets, so that a
 * value has few spellings.
 *
 * Tests: test/unit/test_auth.c, test/unit/test_formats.c, test/fuzz/fuzz_base64.c
 */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/span.h"
#include "lib/util.h"

/* The standard alphabet, with full padding. At most cap bytes are written; false also when there are more. */
bool base64_decode(struct span text, uint8_t *out, size_t cap, size_t *len) MUST_CHECK;
/*
 * Either alphabet, letter by letter (- or +, _ or /), because shells and libraries differ; padding absent, or present
 * and right (ecdsa-login.md section 14).
 */
bool base64_decode_any(struct span text, uint8_t *out, size_t cap, size_t *len) MUST_CHECK;
void base64_put(struct buf *, const void *bytes, size_t len); /* standard, padded */
void base64_encode(const void *bytes, size_t len, char *out); /* the same, with a NUL behind it */
void base64url_put(struct buf *, const void *bytes, size_t len); /* - and _, not padded: fit for shells and URIs */

#endif
