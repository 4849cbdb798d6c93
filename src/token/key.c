#include "token/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file_write.h"
#include "lib/hex.h"
#include "lib/mem.h"
#include "token/token.h"

#define KEY_DIGITS 64
#define KEY_TEXT_MAX 256 /* bytes read from a file: the digits and a lot of white space */

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* NULL, or what is wrong. */
static const char *parse_key(const char *text, size_t len, struct wallet_key *out)
{
	while (len > 0 && is_space(text[len - 1]))
		len--;
	if (len >= 2 && text[0] == '0' && text[1] == 'x') {
		text += 2;
		len -= 2;
	}
	if (len == 0)
		return "is empty";
	if (len != KEY_DIGITS)
		return "does not hold a private key: 64 hexadecimal digits are expected";
	if (!hex_decode(text, out->bytes, sizeof(out->bytes))) {
		wallet_key_wipe(out);
		return "does not hold a private key: something in it is not a hexadecimal digit";
	}
	if (!wallet_key_is_valid(out)) {
		wallet_key_wipe(out);
		return "holds a number that cannot be a private key: zero, or not below the order of the curve";
	}
	return NULL;
}

static void warn_if_others_may_read(const char *path, int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & (S_IRWXG | S_IRWXO)))
		complain("warning: %s can be used by others (mode %04o); chmod 600 it", path,
			 (unsigned)st.st_mode & 07777);
}

int key_from_file(const char *path, struct wallet_key *out)
{
	bool is_stdin = strcmp(path, "-") == 0;
	const char *name = is_stdin ? "standard input" : path, *fault;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char text[KEY_TEXT_MAX];
	ssize_t len;

	if (fd < 0) {
		complain("cannot open the key file %s: %s", path, strerror(errno));
		return -1;
	}
	if (!is_stdin)
		warn_if_others_may_read(path, fd);
	len = read_all(fd, text, sizeof(text));
	if (len < 0)
		fault = strerror(errno);
	else if (len == (ssize_t)sizeof(text))
		fault = "is too long to be a key file";
	else
		fault = parse_key(text, (size_t)len, out);
	mem_wipe(text, sizeof(text));
	if (!is_stdin)
		close(fd);
	if (fault) {
		complain(len < 0 ? "cannot read %s: %s" : "%s %s", name, fault);
		return -1;
	}
	return 0;
}

int key_from_environment(const char *variable, struct wallet_key *out)
{
	char *text = getenv(variable);
	const char *fault;

	if (!text) {
		complain("the environment variable %s is not set", variable);
		return -1;
	}
	fault = parse_key(text, strlen(text), out);
	/* In place, so that /proc/PID/environ stops showing it. */
	mem_wipe(text, strlen(text));
	if (fault) {
		complain("the environment variable %s %s", variable, fault);
		return -1;
	}
	return 0;
}

static int write_key(int fd, const struct wallet_key *key)
{
	char text[2 * sizeof(key->bytes) + 2];
	int result;

	hex_encode(key->bytes, sizeof(key->bytes), text);
	memcpy(text + 2 * sizeof(key->bytes), "\n", 2);
	/* The umask may have taken bits from the mode that open() was given. */
	result = fchmod(fd, S_IRUSR | S_IWUSR) == 0 && file_write_all(fd, span_of(text, strlen(text))) == 0 ? fsync(fd) : -1;
	mem_wipe(text, sizeof(text));
	return result;
}

int key_create_file(const char *path, struct wallet_key *out)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
	int fault = 0;

	if (fd < 0) {
		if (errno == EEXIST)
			complain("%s exists already, and a key is never overwritten", path);
		else
			complain("cannot create the key file %s: %s", path, strerror(errno));
		return -1;
	}
	wallet_key_make(out);
	if (write_key(fd, out) != 0)
		fault = errno;
	if (close(fd) != 0 && !fault)
		fault = errno;
	if (!fault && file_sync_directory_of(path) != 0)
		fault = errno;
	if (fault) {
		complain("cannot write the key file %s: %s", path, strerror(fault));
		unlink(path);
		wallet_key_wipe(out);
		return -1;
	}
	return 0;
}

bool key_is_spelled_in(const char *argument)
{
	const char *value = strchr(argument, '=');

	value = argument[0] == '-' && value ? value + 1 : argument;
	if (value[0] == '0' && (value[1] == 'x' || value[1] == 'X'))
		value += 2;
	if (strlen(value) != KEY_DIGITS)
		return false;
	while (hex_digit((unsigned char)*value) >= 0)
		value++;
	return *value == 0;
}
