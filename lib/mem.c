#include "lib/mem.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "lib/oom.h"

static void die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

void *xmalloc(size_t bytes)
{
	void *p;

	oom_exempt(1);
	p = malloc(bytes ? bytes : 1);
	oom_exempt(-1);
	if (!p)
		die("out of memory");
	return p;
}

void *xcalloc(size_t n, size_t bytes)
{
	void *p;

	oom_exempt(1);
	p = calloc(n ? n : 1, bytes ? bytes : 1);
	oom_exempt(-1);
	if (!p)
		die("out of memory");
	return p;
}

void *xrealloc(void *old, size_t bytes)
{
	void *p;

	oom_exempt(1);
	p = realloc(old, bytes ? bytes : 1);
	oom_exempt(-1);
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
	/* Not OPENSSL_cleanse(), which takes eight bytes at a time: the buffer of whoever waited is wiped at every query. */
	if (p && bytes)
		explicit_bzero(p, bytes);
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

static void random_from_kernel(void *p, size_t bytes)
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

/* A log-in needs two or three times some bytes: one system call fills many of them. Handed out once, then wiped. */
static _Thread_local struct {
	uint8_t bytes[512];
	size_t left;
	pid_t pid; /* a child must not hand out what its parent has */
} pool;

void mem_random(void *p, size_t bytes)
{
	if (bytes > sizeof(pool.bytes) / 4) {
		random_from_kernel(p, bytes);
		return;
	}
	if (pool.left < bytes || pool.pid != process_id()) {
		random_from_kernel(pool.bytes, sizeof(pool.bytes));
		pool.left = sizeof(pool.bytes);
		pool.pid = process_id();
	}
	pool.left -= bytes;
	memcpy(p, pool.bytes + pool.left, bytes);
	mem_wipe(pool.bytes + pool.left, bytes);
}

/* getpid() is a system call each time, and every log line wants it. */
static _Atomic pid_t own_pid;
static pthread_once_t own_pid_once = PTHREAD_ONCE_INIT;

static void note_pid(void)
{
	atomic_store_explicit(&own_pid, getpid(), memory_order_relaxed);
}

static void watch_pid(void)
{
	pthread_atfork(NULL, NULL, note_pid);
	note_pid();
}

pid_t process_id(void)
{
	pthread_once(&own_pid_once, watch_pid);
	return atomic_load_explicit(&own_pid, memory_order_relaxed);
}
