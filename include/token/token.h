/*
 * token/token.h - what the files of pg-ecdsa-token share.
 *
 * The program makes and checks wallet login passwords (ecdsa-login.md
 * sections 5, 14 to 16, 26). It is short-lived and has one thread, but for the
 * connector, which has one a connection.
 *
 * Tests: test/system/test_token.py
 */
#ifndef TOKEN_TOKEN_H
#define TOKEN_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/util.h"

#define EXIT_USAGE 2 /* the command line makes no sense; 1 is everything else that fails */

/* One line to standard error, the program's name in front. */
void complain(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Reads until the end or until size bytes are there. Bytes read, or -1 with errno. Unbuffered: secrets pass through. */
ssize_t read_all(int fd, void *out, size_t size);

#endif
