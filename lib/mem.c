#include "lib/mem.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>



static void die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

void *xmalloc(size_t bytes)
{
	void *p = malloc(bytes ? bytes : 1);

	if (!p)
		die("out of memory");
	return p;
}

void *xcalloc(size_t n, size_t bytes)
{
	void *p = calloc(n ? n : 1, bytes ? bytes : 1);

	if (!p)
		die("out of memory");
	return p;
}

void *xrealloc(void *old, size_t bytes)
{
	void *p = realloc(old, bytes ? bytes : 1);

	if (!p)
		die("out of memory");
	return p;
}

char *xstrndup(const char *s, size_t len)
{
	char *copy = xmalloc(len + 1);

	memcpy(copy, s, len);
	copy[len] = 0;
	return copy;
}

char *xstrdup(const char *s)
{
	return s ? xstrndup(s, strlen(s)) : NULL;
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		die("out of memory");
	va_end(ap);
	return text;
}

void mem_wipe(void *p, size_t bytes)
{
	if (p && bytes)
		OPENSSL_cleanse(p, bytes);
}

void str_wipe_free(char *s)
{
	if (!s)
		return;
	mem_wipe(s, strlen(s));
	free(s);
}

int mem_equal_const_time(const void *a, const void *b, size_t bytes)
{
	return CRYPTO_memcmp(a, b, bytes) == 0;
}

void mem_random(void *p, size_t bytes)
{
	uint8_t *at = p;

	while (bytes > 0) {
		ssize_t n = getrandom(at, bytes, 0);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			die("getrandom failed");
		}
		at += n;
		bytes -= (size_t)n;
	}
}
