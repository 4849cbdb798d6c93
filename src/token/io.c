#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "token/token.h"

void complain(const char *fmt, ...)
{
	va_list ap;

	fputs("pg-ecdsa-token: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

ssize_t read_all(int fd, void *out, size_t size)
{
	size_t have = 0;

	while (have < size) {
		ssize_t n = read(fd, (char *)out + have, size - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}
