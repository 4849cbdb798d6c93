#include "token/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/hex.h"
#include "lib/mem.h"
#include "token/token.h"

#define ANSWER_MAX 1024

extern char **environ;

/* ---- the environment of the command ---- */

/* Ours and three more; owned by the caller, like the last three texts. */
static char **environment_of(const struct signer *s, const struct signing *what)
{
	char wallet[WALLET_TEXT_LEN + 1], digest[65], **out;
	size_t n = 0, kept = 0;

	while (environ[n])
		n++;
	out = xcalloc(n + 4, sizeof(*out));
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "PGECDSA_", 8) != 0)
			out[kept++] = environ[i];
	wallet_address_eip55(&s->wallet, wallet);
	hex_encode(what->digest, 32, digest);
	out[kept++] = xasprintf("PGECDSA_FORMAT=%s", ecdsa_format_word(what->format));
	out[kept++] = xasprintf("PGECDSA_WALLET=%s", wallet);
	out[kept++] = xasprintf("PGECDSA_DIGEST=0x%s", digest);
	return out;
}

static void environment_free(char **environment)
{
	size_t n = 0;

	while (environment[n])
		n++;
	for (size_t i = n - 3; i < n; i++)
		free(environment[i]);
	free(environment);
}

/* ---- running it ---- */

struct run {
	pid_t pid;
	int in, out; /* its standard input, to be written; its standard output. -1: closed */
};

/* 0, or an errno. */
static int start(const char *command, char **environment, struct run *r)
{
	char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)command, NULL};
	posix_spawn_file_actions_t actions;
	int in[2], out[2], fault;
	posix_spawnattr_t attributes;
	sigset_t none;

	if (pipe2(in, O_CLOEXEC) != 0)
		return errno;
	if (pipe2(out, O_CLOEXEC) != 0) {
		fault = errno;
		close(in[0]);
		close(in[1]);
		return fault;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	/* We ignore SIGPIPE and may block signals; a shell that inherits that behaves oddly. */
	posix_spawnattr_init(&attributes);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attributes, &none);
	sigaddset(&none, SIGPIPE);
	posix_spawnattr_setsigdefault(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	fault = posix_spawn(&r->pid, "/bin/sh", &actions, &attributes, argv, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	r->in = in[1];
	r->out = out[0];
	if (fault) {
		close(r->in);
		close(r->out);
	}
	return fault;
}

static void close_if_open(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Both ways at once, so that neither waits for the other. NULL, or what went wrong. */
static const char *converse(struct run *r, struct span text, int timeout_seconds, char *answer, size_t *len)
{
	int64_t end = now_ms() + (int64_t)timeout_seconds * 1000;
	size_t sent = 0;

	fcntl(r->in, F_SETFL, O_NONBLOCK);
	*len = 0;
	while (r->out >= 0) {
		struct pollfd fds[2] = {{r->out, POLLIN, 0}, {r->in, POLLOUT, 0}};
		int64_t left = timeout_seconds > 0 ? end - now_ms() : -1;
		ssize_t n;

		if (timeout_seconds > 0 && left <= 0)
			return "takes too long (--signer-timeout)";
		if (poll(fds, r->in >= 0 ? 2 : 1, left > INT32_MAX ? INT32_MAX : (int)left) < 0 && errno != EINTR)
			return strerror(errno);
		if (r->in >= 0 && fds[1].revents) {
			n = write(r->in, text.ptr + sent, text.len - sent);
			if (n > 0)
				sent += (size_t)n;
			/* Who does not read it may sign all the same: by the digest. */
			if (sent == text.len || (n < 0 && errno != EAGAIN && errno != EINTR))
				close_if_open(&r->in);
		}
		if (!fds[0].revents)
			continue;
		n = read(r->out, answer + *len, ANSWER_MAX - *len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return strerror(errno);
		if (n == 0)
			close_if_open(&r->out);
		*len += (size_t)n;
		if (*len == ANSWER_MAX)
			return "prints more than a signature";
	}
	return NULL;
}

static int sign_by_command(const struct signer *s, const struct signing *what, uint8_t out[65])
{
	char **environment = environment_of(s, what), answer[ANSWER_MAX], wallet[WALLET_TEXT_LEN + 1];
	const char *fault;
	size_t len = 0;
	struct run r;
	int status, error = start(s->command, environment, &r);

	environment_free(environment);
	if (error) {
		complain("cannot run the signer: %s", strerror(error));
		return -1;
	}
	fault = converse(&r, what->text, s->timeout_seconds, answer, &len);
	if (fault)
		kill(r.pid, SIGTERM);
	close_if_open(&r.in);
	close_if_open(&r.out);
	while (waitpid(r.pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!fault && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		fault = "failed";
	if (fault) {
		complain("the signer %s", fault);
		return -1;
	}
	if (signature_from_text(span_of(answer, len), what->digest, &s->wallet, out))
		return 0;
	wallet_address_eip55(&s->wallet, wallet);
	complain("the signer did not print a signature of this by the wallet %s", wallet);
	return -1;
}

int signer_sign(const struct signer *s, const struct signing *what, uint8_t out[65])
{
	if (s->command)
		return sign_by_command(s, what, out);
	if (wallet_sign_hash(&s->key, what->digest, out) == 0)
		return 0;
	complain("cannot sign");
	return -1;
}

void signer_end(struct signer *s)
{
	wallet_key_wipe(&s->key);
}
