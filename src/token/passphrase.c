#include "token/passphrase.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "lib/mem.h"
#include "token/token.h"

/* Byte by byte: what follows on a descriptor is somebody else's. -1 with errno; E2BIG: too long. */
static int read_line(int fd, char out[PASSPHRASE_MAX + 1])
{
	size_t len = 0;

	for (;;) {
		char c;
		ssize_t n = read(fd, &c, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0 || c == '\n')
			break;
		if (len == PASSPHRASE_MAX) {
			errno = E2BIG;
			return -1;
		}
		out[len++] = c;
	}
	if (len > 0 && out[len - 1] == '\r')
		len--;
	out[len] = 0;
	if (strlen(out) == len)
		return 0;
	errno = EINVAL;
	return -1;
}

static int read_from_file(const char *path, char out[PASSPHRASE_MAX + 1])
{
	bool is_stdin = strcmp(path, "-") == 0;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), got;

	if (fd < 0) {
		complain("cannot open the passphrase file %s: %s", path, strerror(errno));
		return -1;
	}
	got = read_line(fd, out);
	if (got != 0)
		complain("cannot take a passphrase from %s: %s", is_stdin ? "standard input" : path,
			 errno == E2BIG ? "it is too long" : errno == EINVAL ? "it holds a zero byte" : strerror(errno));
	if (!is_stdin)
		close(fd);
	return got;
}

/* The terminal while it shows nothing; for restore_terminal() alone. */
static int quiet_fd = -1;
static struct termios noisy;

/* Who interrupts the question gets his terminal back as it was. */
static void restore_terminal(int number)
{
	tcsetattr(quiet_fd, TCSAFLUSH, &noisy);
	raise(number); /* the old disposition is in place again: SA_RESETHAND */
}

static const int interruptions[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
#define INTERRUPTIONS (sizeof(interruptions) / sizeof(*interruptions))

static void catch_interruptions(struct sigaction before[INTERRUPTIONS])
{
	struct sigaction action = {.sa_handler = restore_terminal, .sa_flags = (int)SA_RESETHAND};

	for (size_t i = 0; i < INTERRUPTIONS; i++) {
		sigaction(interruptions[i], NULL, &before[i]);
		if (before[i].sa_handler == SIG_DFL)
			sigaction(interruptions[i], &action, NULL);
	}
}

static int ask(const char *what, char out[PASSPHRASE_MAX + 1])
{
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY), got;
	struct sigaction before[INTERRUPTIONS];
	struct termios quiet;

	if (fd < 0 || tcgetattr(fd, &noisy) != 0) {
		complain("there is no terminal to ask for the passphrase of %s; give --passphrase-file FILE", what);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	quiet_fd = fd;
	catch_interruptions(before);
	quiet = noisy;
	quiet.c_lflag &= (tcflag_t) ~(ECHO | ECHONL);
	/* First quiet, then the question: it drops what was typed before. */
	tcsetattr(fd, TCSAFLUSH, &quiet);
	dprintf(fd, "Passphrase of %s: ", what);
	got = read_line(fd, out);
	tcsetattr(fd, TCSAFLUSH, &noisy);
	for (size_t i = 0; i < INTERRUPTIONS; i++)
		sigaction(interruptions[i], &before[i], NULL);
	dprintf(fd, "\n");
	if (got != 0)
		complain("cannot read the passphrase: %s", errno == E2BIG ? "it is too long" : strerror(errno));
	close(fd);
	return got;
}

int passphrase_get(const char *file, const char *what, char out[PASSPHRASE_MAX + 1])
{
	int got = file ? read_from_file(file, out) : ask(what, out);

	if (got != 0)
		mem_wipe(out, PASSPHRASE_MAX + 1);
	return got;
}
