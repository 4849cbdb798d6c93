/* The commands that concern files: encrypt, decrypt, key-id. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/reader.h"
#include "backup/work.h"
#include "cmd_parts.h"
#include "lib/mem.h"

/* ---- a file that appears whole or not at all ---- */

struct out_file {
	const char *path; /* borrowed; "-": standard output */
	char *partial;	  /* owned; NULL: none */
	int fd;
	int error; /* errno of a failed write */
};

static bool out_open(struct out_file *o, const char *path)
{
	*o = (struct out_file){.path = path, .fd = 1};
	if (strcmp(path, "-") == 0)
		return true;
	o->partial = xasprintf("%s.partial", path);
	o->fd = open(o->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (o->fd >= 0)
		return true;
	EVENT(LEVEL_ERROR, "file", F_TEXT("path", o->partial), F_TEXT("error", strerror(errno)));
	free(o->partial);
	return false;
}

/* Also a seal_sink. */
static bool out_write(void *ctx, struct span s)
{
	struct out_file *o = ctx;

	while (s.len > 0) {
		ssize_t n = write(o->fd, s.ptr, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			o->error = errno;
			return false;
		}
		s = span_of(s.ptr + n, s.len - (size_t)n);
	}
	return true;
}

/* Renamed when it is whole, removed when it is not. */
static bool out_close(struct out_file *o, bool is_whole)
{
	bool ok = is_whole;

	if (!o->partial)
		return ok;
	if (ok && fsync(o->fd) < 0) {
		o->error = errno;
		ok = false;
	}
	close(o->fd);
	if (ok && rename(o->partial, o->path) < 0) {
		o->error = errno;
		ok = false;
	}
	if (!ok)
		unlink(o->partial);
	free(o->partial);
	if (is_whole && !ok)
		EVENT(LEVEL_ERROR, "file", F_TEXT("path", o->path), F_TEXT("error", strerror(o->error)));
	return ok;
}

static int open_in(const char *path, uint64_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		*size = (uint64_t)st.st_size;
		return fd;
	}
	EVENT(LEVEL_ERROR, "file", F_TEXT("path", path), F_TEXT("error", fd < 0 ? strerror(errno) : "not a regular file"));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* ---- encrypt ---- */

static enum outcome encrypt_file(struct program *p, int fd, const char *out_path, enum file_format format)
{
	const struct seal_spec spec = {.format = format, .key = keyring_writer(p->keys), .content = CONTENT_DUMP,
				       .segment_bytes = (uint32_t)p->config->encryption_segment_size, .created_at = time(NULL)};
	struct out_file out;
	struct sealer *s;
	enum seal_result r = SEAL_OK;
	ssize_t n = 1;

	if (!out_open(&out, out_path))
		return OUTCOME_FAILED;
	s = sealer_new(&spec, out_write, &out);
	while (r == SEAL_OK && n > 0 && loop_breathe(p->loop)) {
		size_t room;
		uint8_t *at = sealer_room(s, &room);

		n = read(fd, at, room);
		if (n > 0)
			r = sealer_take(s, (size_t)n);
	}
	if (n == 0 && r == SEAL_OK)
		r = sealer_finish(s);
	sealer_free(s);
	if (r == SEAL_TOO_LARGE)
		EVENT(LEVEL_ERROR, "encrypt", F_TEXT("error", "too large for this format; format 2 takes any size"));
	else if (r != SEAL_OK || n < 0)
		EVENT(LEVEL_ERROR, "encrypt", F_TEXT("error", strerror(n < 0 ? errno : out.error)));
	if (out_close(&out, r == SEAL_OK && n == 0))
		return OUTCOME_DONE;
	return loop_is_interrupted(p->loop) ? OUTCOME_INTERRUPTED : OUTCOME_FAILED;
}

int run_encrypt(struct program *p, int argc, char **argv)
{
	static const struct option longs[] = {{"output", required_argument, NULL, 'o'}, {"format", required_argument, NULL, 'f'},
					      {NULL, 0, NULL, 0}};
	enum file_format format = (enum file_format)p->config->encryption_format;
	const char *out = NULL;
	enum outcome outcome;
	uint64_t size;
	int c, fd;

	while ((c = getopt_long(argc, argv, "o:", longs, NULL)) != -1) {
		if (c == 'o')
			out = optarg;
		else if (c == 'f' && (strcmp(optarg, "1") == 0 || strcmp(optarg, "2") == 0))
			format = *optarg == '1' ? FORMAT_1 : FORMAT_2;
		else
			return command_usage(argv[0], "usage: encrypt FILE -o OUT [--format 1|2]");
	}
	if (optind + 1 != argc || !out)
		return command_usage(argv[0], "usage: encrypt FILE -o OUT [--format 1|2]");
	if (!keyring_writer(p->keys))
		return command_usage(argv[0], "with BACKUP_ENCRYPTION=none there is nothing to encrypt with");
	fd = open_in(argv[optind], &size);
	if (fd < 0)
		return OUTCOME_FAILED;
	outcome = encrypt_file(p, fd, out, format);
	close(fd);
	return outcome;
}

/* ---- decrypt ---- */

static enum outcome decrypt(struct program *p, struct reader_spec *spec, const char *out_path, bool is_two_pass)
{
	struct out_file out = {.fd = -1};
	struct work work;
	struct reader *r;
	enum read_result result;
	bool to_stdout = strcmp(out_path, "-") == 0, ok = false;

	work_begin(&work, p, "decrypt");
	work_phase(&work, "read");
	spec->keys = p->keys;
	spec->accept_plain = p->config->encryption_accept_unencrypted || p->config->encryption_mode == ENCRYPT_NONE;
	/* A partial file can be taken back; what has gone into a pipe cannot, unless a reader of format 2 knows that. */
	spec->streams = !is_two_pass;
	spec->may_spool = true;
	spec->spool_dir = config_spool_dir(p->config);
	spec->work = &work;
	r = reader_new(spec);
	result = reader_prepare(r);
	if (result == READ_OK && to_stdout && reader_format(r) != FORMAT_2 && !is_two_pass) {
		reader_free(r);
		work_end(&work);
		return command_usage("decrypt", "to standard output only format 2, or with --two-pass");
	}
	if (result == READ_OK && !out_open(&out, out_path))
		result = READ_LOCAL;
	else if (result == READ_OK) {
		result = reader_pour(r, out_write, &out);
		ok = out_close(&out, result == READ_OK);
	}
	if (result != READ_OK)
		EVENT(LEVEL_ERROR, "decrypt", F_TEXT("object", spec->key), F_TEXT("error", result == READ_STOPPED ?
		      strerror(out.error) : reader_why(r)));
	reader_free(r);
	work_end(&work);
	return result == READ_OK && !ok ? OUTCOME_FAILED : read_outcome(result);
}

static enum outcome decrypt_file(struct program *p, const char *path, const char *out, bool is_two_pass)
{
	struct reader_spec spec = {.key = path, .named_at = -1, .named = FORMAT_1};
	enum outcome outcome;

	spec.fd = open_in(path, &spec.size);
	if (spec.fd < 0)
		return OUTCOME_FAILED;
	outcome = decrypt(p, &spec, out, is_two_pass);
	close(spec.fd);
	return outcome;
}

static enum outcome decrypt_backup(struct program *p, const char *what, const char *out, bool is_two_pass, bool is_forced)
{
	struct chosen_backup b;
	struct reader_spec spec;
	enum outcome outcome;

	if (!config_is_enabled(p->config))
		return command_usage("decrypt", "'%s' is no file, and no store is configured", what);
	if (!program_open_store(p))
		return OUTCOME_USAGE;
	outcome = choose_backup(p, what, NULL, &b);
	if (outcome != OUTCOME_DONE)
		return outcome;
	spec = reader_spec_of(p, &b, is_forced);
	outcome = decrypt(p, &spec, out, is_two_pass);
	chosen_free(&b);
	return outcome;
}

int run_decrypt(struct program *p, int argc, char **argv)
{
	enum { TWO_PASS = 256, FORCE };
	static const struct option longs[] = {{"output", required_argument, NULL, 'o'}, {"two-pass", no_argument, NULL, TWO_PASS},
					      {"force", no_argument, NULL, FORCE}, {"database", required_argument, NULL, 'd'},
					      {NULL, 0, NULL, 0}};
	const char *out = "-";
	bool is_two_pass = false, is_forced = false;
	int c;

	while ((c = getopt_long(argc, argv, "o:d:", longs, NULL)) != -1) {
		if (c == 'o')
			out = optarg;
		else if (c == 'd') {
			if (!program_choose_database(p, argv[0], optarg))
				return OUTCOME_USAGE;
		} else if (c == TWO_PASS)
			is_two_pass = true;
		else if (c == FORCE)
			is_forced = true;
		else
			return command_usage(argv[0], "usage: decrypt BACKUP|FILE [-o OUT] [--two-pass] [--force] [--database D]");
	}
	if (optind + 1 != argc)
		return command_usage(argv[0], "usage: decrypt BACKUP|FILE [-o OUT] [--two-pass] [--force] [--database D]");
	if (strcmp(out, "-") == 0 && isatty(1))
		return command_usage(argv[0], "a dump is not for a terminal; -o says where it goes");
	if (access(argv[optind], F_OK) == 0)
		return decrypt_file(p, argv[optind], out, is_two_pass);
	return decrypt_backup(p, argv[optind], out, is_two_pass, is_forced);
}

/* ---- key-id ---- */

int run_key_id(struct program *p, int argc, char **argv)
{
	if (argc != 1)
		return command_usage(argv[0], "takes no argument");
	if (!p->key_id)
		return command_usage(argv[0], "with BACKUP_ENCRYPTION=none there is no key");
	printf("%s\n", p->key_id);
	return OUTCOME_DONE;
}
