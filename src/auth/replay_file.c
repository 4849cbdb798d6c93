/*
 * The memory of used proofs as bytes:
 *
 *	16 bytes that name the format | number of entries, 8 bytes
 *	seconds of replay_begins() and replay_window_grew(), 8 bytes each
 *	per entry: key 32 | tag of the wallet 8 | expiry 8 | source 16
 *	keccak256 of all that, 32 bytes
 *
 * Numbers in network order. There is no secret in it; but whoever could take
 * an entry out could use that proof again, so the file is its owner's alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/replay_shard.h"
#include "lib/keccak.h"
#include "lib/log.h"
#include "lib/mem.h"

static const char format_name[16] = "pgecdsa-replay-1";

#define HEAD_BYTES 40
#define RECORD_BYTES 64
#define RECORDS_MAX ((uint64_t)1 << 26)
#define CHUNK 65536

/* ---- bytes ---- */

struct stream {
	int fd;
	struct keccak256 hash;
	uint8_t chunk[CHUNK];
	size_t at, len; /* reading: what is left; writing: len is what waits */
	uint64_t left;	/* reading: bytes that may still be asked of fd */
};

static int flush(struct stream *s)
{
	for (size_t done = 0; done < s->len;) {
		ssize_t n = write(s->fd, s->chunk + done, s->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		done += (size_t)n;
	}
	s->len = 0;
	return 0;
}

static int put(struct stream *s, const void *bytes, size_t n)
{
	if (s->len + n > sizeof(s->chunk) && flush(s) != 0)
		return -1;
	memcpy(s->chunk + s->len, bytes, n);
	s->len += n;
	keccak256_add(&s->hash, bytes, n);
	return 0;
}

static int take(struct stream *s, void *bytes, size_t n)
{
	for (size_t done = 0; done < n;) {
		size_t some = s->len - s->at < n - done ? s->len - s->at : n - done;
		ssize_t got;

		if (some > 0) {
			memcpy((uint8_t *)bytes + done, s->chunk + s->at, some);
			s->at += some;
			done += some;
			continue;
		}
		/* Never beyond the end of what replay_save() wrote: the rest of a pipe is somebody else's. */
		got = read(s->fd, s->chunk, s->left < CHUNK ? (size_t)s->left : CHUNK);
		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			errno = 0;
		if (got <= 0)
			return -1;
		s->at = 0;
		s->len = (size_t)got;
		s->left -= (uint64_t)got;
	}
	return 0;
}

static void put_u64(uint8_t out[8], uint64_t v)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get_u64(const uint8_t in[8])
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | in[i];
	return v;
}

/* ---- save and load ---- */

struct gathering {
	uint8_t *records; /* owned */
	size_t count, cap;
	int64_t begins, window_grew;
};

static bool gather(void *ctx, const struct replay_entry *e)
{
	struct gathering *g = ctx;
	uint8_t *out;

	if (g->count == g->cap) {
		size_t cap = g->cap ? g->cap * 2 : 1024;
		uint8_t *more = realloc(g->records, cap * RECORD_BYTES);

		if (!more)
			return false;
		g->records = more;
		g->cap = cap;
	}
	out = g->records + g->count++ * RECORD_BYTES;
	memcpy(out, e->key, 32);
	memcpy(out + 32, &e->tag, 8); /* bytes of an address, in their order */
	put_u64(out + 40, (uint64_t)e->expires);
	memcpy(out + 48, e->source.bytes, 16);
	return true;
}

static int write_records(struct stream *s, const struct gathering *g)
{
	uint8_t head[HEAD_BYTES], sum[KECCAK256_BYTES];

	memcpy(head, format_name, sizeof(format_name));
	put_u64(head + 16, g->count);
	put_u64(head + 24, (uint64_t)g->begins);
	put_u64(head + 32, (uint64_t)g->window_grew);
	if (put(s, head, sizeof(head)) != 0)
		return -1;
	for (size_t i = 0; i < g->count; i++)
		if (put(s, g->records + i * RECORD_BYTES, RECORD_BYTES) != 0)
			return -1;
	keccak256_end(&s->hash, sum);
	return put(s, sum, sizeof(sum)) == 0 ? flush(s) : -1;
}

int replay_save(struct replay *r, int fd, int64_t now)
{
	struct stream *s = calloc(1, sizeof(*s));
	struct gathering g = {0};
	int ret = -1;

	/* Gathered first, so that no lock is held while somebody else reads slowly. */
	replay_floors(r, &g.begins, &g.window_grew);
	if (s && replay_each(r, now, gather, &g)) {
		s->fd = fd;
		keccak256_init(&s->hash);
		ret = write_records(s, &g);
	} else
		errno = ENOMEM;
	free(g.records);
	free(s);
	return ret;
}

static int read_records(struct replay *r, struct stream *s, int64_t now)
{
	uint8_t head[HEAD_BYTES], record[RECORD_BYTES], sum[KECCAK256_BYTES], expected[KECCAK256_BYTES];
	bool has_room = true;
	uint64_t count;

	s->left = sizeof(head);
	if (take(s, head, sizeof(head)) != 0)
		return -1;
	count = get_u64(head + 16);
	errno = 0;
	if (memcmp(head, format_name, sizeof(format_name)) != 0 || count > RECORDS_MAX)
		return -1;
	keccak256_add(&s->hash, head, sizeof(head));
	s->left = count * RECORD_BYTES + sizeof(sum);
	for (; count > 0; count--) {
		struct replay_entry e;

		if (take(s, record, sizeof(record)) != 0)
			return -1;
		keccak256_add(&s->hash, record, sizeof(record));
		memcpy(e.key, record, 32);
		memcpy(&e.tag, record + 32, 8);
		e.expires = (int64_t)get_u64(record + 40);
		memcpy(e.source.bytes, record + 48, 16);
		has_room &= replay_restore(r, &e, now);
	}
	if (take(s, sum, sizeof(sum)) != 0)
		return -1;
	keccak256_end(&s->hash, expected);
	if (memcmp(sum, expected, sizeof(sum)) != 0)
		return -1;
	/* What the predecessor did not know about, this one does not know about either. */
	replay_begins(r, (int64_t)get_u64(head + 24));
	replay_window_grew(r, (int64_t)get_u64(head + 32));
	errno = has_room ? 0 : ENOSPC;
	return has_room ? 0 : -1;
}

int replay_load(struct replay *r, int fd, int64_t now)
{
	struct stream *s = calloc(1, sizeof(*s));
	int ret, saved;

	if (!s)
		return -1;
	s->fd = fd;
	keccak256_init(&s->hash);
	ret = read_records(r, s, now);
	saved = errno;
	free(s);
	errno = saved;
	return ret;
}

/* ---- the file ---- */

/* A new or a deleted name survives a power cut only once its directory is on disk too. */
static int sync_directory_of(const char *path)
{
	char *copy = xstrdup(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;

	free(copy);
	if (fd < 0)
		return -1;
	ret = fsync(fd);
	close(fd);
	return ret;
}

/* A path that was mistyped may name anything: what we have not written is neither deleted nor replaced. */
static bool is_ours(int fd)
{
	char head[sizeof(format_name)];

	return pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) && memcmp(head, format_name, sizeof(head)) == 0;
}

static bool may_replace(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	bool ours = fd < 0 ? errno == ENOENT : is_ours(fd);

	if (fd >= 0)
		close(fd);
	if (!ours)
		log_error("ecdsa_replay_file: \"%s\" is another file, and stays as it is", path);
	return ours;
}

/* NULL, or why it cannot be believed. */
static const char *distrust(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "it is no file";
	if (!is_ours(fd))
		return "it is another file, and stays as it is";
	if (st.st_uid != geteuid())
		return "it belongs to another user";
	return st.st_mode & (S_IRWXG | S_IRWXO) ? "others have rights to it, its mode must be 0600" : NULL;
}

bool replay_write_file(struct replay *r, const char *path, int64_t now)
{
	char *fresh = xasprintf("%s.new", path);
	int fd, fault = 0;

	if (!may_replace(path)) {
		free(fresh);
		return false;
	}
	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
	if (fd < 0) {
		fault = errno;
	} else {
		if (fchmod(fd, S_IRUSR | S_IWUSR) != 0 || replay_save(r, fd, now) != 0 || fsync(fd) != 0)
			fault = errno;
		if (close(fd) != 0 && !fault)
			fault = errno;
		if (!fault && (rename(fresh, path) != 0 || sync_directory_of(path) != 0))
			fault = errno;
		if (fault)
			unlink(fresh);
	}
	if (fault)
		log_error("ecdsa_replay_file: could not write \"%s\": %s", path, strerror(fault));
	free(fresh);
	return !fault;
}

bool replay_read_file(struct replay *r, const char *path, int64_t now)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	const char *fault;

	if (fd < 0) {
		if (errno != ENOENT)
			log_error("ecdsa_replay_file: could not open \"%s\": %s", path, strerror(errno));
		return false;
	}
	fault = distrust(fd);
	if (!fault && (unlink(path) != 0 || sync_directory_of(path) != 0))
		fault = "it cannot be deleted";
	if (!fault && replay_load(r, fd, now) != 0)
		fault = errno ? strerror(errno) : "it is not what was written at the last shutdown";
	close(fd);
	if (fault)
		log_error("ecdsa_replay_file: \"%s\" is not used: %s", path, fault);
	return !fault;
}
