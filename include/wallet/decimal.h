/*
 * wallet/decimal.h - numbers in the one spelling that a proof may use:
 * 0 | [1-9][0-9]{0,18}, at most 2^63-1 (ecdsa-login.md section 5).
 *
 * By hand, since strtol() takes spaces, signs and the locale.
 *
 * Tests: test/unit/test_wallet.c, test/unit/test_formats.c
 */
#ifndef WALLET_DECIMAL_H
#define WALLET_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/span.h"

#define DECIMAL_DIGITS_MAX 19 /* of 2^63-1 */

enum decimal { DECIMAL_OK, DECIMAL_MALFORMED, DECIMAL_OVERFLOW };

enum decimal decimal_parse(struct span text, int64_t *out);
/* One ASCII digit or more, and nothing else. */
bool span_is_digits(struct span);
bool span_is_alphanumeric(struct span);

#endif
