/*
 * The memory of used proofs as bytes:
 *
 *	16 bytes that name the format | number of entries
 *	the four numbers of struct replay_floors
 *	per entry: key 32 bytes | tag of the wallet | expiry, the highest bit: it ends by a window | source 16 bytes
 *	keccak256 of all that, 32 bytes
 *
 * Numbers have 8 bytes, in network order. There is no secret in it; but whoever
 * could take an entry out could use that proof again, so a file of it is its
 * owner's alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/replay_shard.h"
#include "lib/file_write.h"
#include "lib/keccak.h"
#include "lib/log.h"
#include "lib/mem.h"

static const char format_name[16] = "pgecdsa-replay-1";

#define COUNT_AT 16
#define HEAD_BYTES 56
#define RECORD_BYTES 64
#define RECORDS_MAX ((size_t)1 << 26)
#define SAVED_MAX (HEAD_BYTES + RECORDS_MAX * RECORD_BYTES + KECCAK256_BYTES)
#define BY_WINDOW ((uint64_t)1 << 63)

/* ---- bytes ---- */

struct saving {
	struct buf *out;
	size_t count;
};

static void put_entry(void *ctx, const struct replay_entry *e)
{
	struct saving *s = ctx;

	buf_put(s->out, e->key, sizeof(e->key));
	buf_put(s->out, &e->tag, sizeof(e->tag)); /* bytes of an address, in their order */
	buf_put_u64(s->out, (uint64_t)e->expires | (e->ends_by_window ? BY_WINDOW : 0));
	buf_put(s->out, e->source.bytes, sizeof(e->source.bytes));
	s->count++;
}

void replay_save(struct replay *r, struct buf *b, int64_t now)
{
	struct saving s = {.out = b};
	struct replay_floors floors;
	uint8_t sum[KECCAK256_BYTES];
	struct keccak256 hash;
	size_t at = buf_len(b);

	buf_put(b, format_name, sizeof(format_name));
	buf_put_u64(b, 0);
	/* Before they are read: what expires now is forgotten, too. */
	replay_count(r, now);
	floors = replay_floors(r);
	buf_put_u64(b, (uint64_t)floors.begins);
	buf_put_u64(b, (uint64_t)floors.window_grew);
	buf_put_u64(b, (uint64_t)floors.forgotten);
	buf_put_u64(b, (uint64_t)floors.window);
	replay_each(r, now, put_entry, &s);
	if (!buf_ok(b))
		return;
	buf_patch_u32(b, at + COUNT_AT + 4, (uint32_t)s.count);
	keccak256_init(&hash);
	keccak256_add(&hash, buf_data(b) + at, buf_len(b) - at);
	keccak256_end(&hash, sum);
	buf_put(b, sum, sizeof(sum));
}

static uint64_t get_u64(const uint8_t in[8])
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | in[i];
	return v;
}

static bool is_whole(struct span bytes)
{
	uint8_t sum[KECCAK256_BYTES];
	struct keccak256 hash;
	size_t count;

	if (bytes.len < HEAD_BYTES + sizeof(sum) || memcmp(bytes.ptr, format_name, sizeof(format_name)) != 0)
		return false;
	count = (bytes.len - HEAD_BYTES - sizeof(sum)) / RECORD_BYTES;
	if (HEAD_BYTES + count * RECORD_BYTES + sizeof(sum) != bytes.len || get_u64(bytes.ptr + COUNT_AT) != count)
		return false;
	keccak256_init(&hash);
	keccak256_add(&hash, bytes.ptr, bytes.len - sizeof(sum));
	keccak256_end(&hash, sum);
	return memcmp(bytes.ptr + bytes.len - sizeof(sum), sum, sizeof(sum)) == 0;
}

const char *replay_load(struct replay *r, struct span bytes, int64_t now)
{
	const uint8_t *head = bytes.ptr, *end = bytes.ptr + bytes.len - KECCAK256_BYTES;
	struct replay_floors floors;
	bool has_room = true;

	if (!is_whole(bytes))
		return "it is not whole";
	floors = (struct replay_floors){
		.begins = (int64_t)get_u64(head + 24),
		.window_grew = (int64_t)get_u64(head + 32),
		.forgotten = (int64_t)get_u64(head + 40),
		.window = (int64_t)get_u64(head + 48),
	};
	for (const uint8_t *at = head + HEAD_BYTES; at < end; at += RECORD_BYTES) {
		uint64_t expires = get_u64(at + 40);
		struct replay_entry e = {.expires = (int64_t)(expires & ~BY_WINDOW), .ends_by_window = expires / BY_WINDOW};

		memcpy(e.key, at, sizeof(e.key));
		memcpy(&e.tag, at + 32, sizeof(e.tag));
		memcpy(e.source.bytes, at + 48, sizeof(e.source.bytes));
		has_room &= replay_restore(r, &floors, &e, now);
	}
	replay_restored(r, &floors);
	return has_room ? NULL : "there is no room for all of it (ecdsa_replay_entries)";
}

/* ---- the file ---- */

/* A new or a deleted name survives a power cut only once its directory is on disk too. */
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
	struct buf b;
	int fault;

	if (!may_replace(path))
		return false;
	buf_init(&b);
	replay_save(r, &b, now);
	fault = buf_ok(&b) ? file_replace(path, buf_span(&b), S_IRUSR | S_IWUSR, NULL) : ENOMEM;
	buf_free(&b);
	if (fault)
		log_error("ecdsa_replay_file: could not write \"%s\": %s", path, strerror(fault));
	return !fault;
}

/* NULL, or why not. */
static const char *read_whole(int fd, struct buf *b)
{
	struct stat st;
	ssize_t n = 1;

	if (fstat(fd, &st) != 0)
		return strerror(errno);
	if ((uint64_t)st.st_size > SAVED_MAX)
		return "it is too large";
	while (n > 0 && buf_len(b) < (size_t)st.st_size) {
		if (!buf_reserve(b, (size_t)st.st_size))
			return strerror(ENOMEM);
		n = read(fd, b->data + b->end, (size_t)st.st_size - buf_len(b));
		if (n < 0)
			return strerror(errno);
		b->end += (size_t)n;
	}
	return NULL;
}

bool replay_read_file(struct replay *r, const char *path, int64_t now)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	const char *fault;
	struct buf b;

	if (fd < 0) {
		if (errno != ENOENT)
			log_error("ecdsa_replay_file: could not open \"%s\": %s", path, strerror(errno));
		return false;
	}
	buf_init(&b);
	fault = distrust(fd);
	if (!fault && (unlink(path) != 0 || file_sync_directory_of(path) != 0))
		fault = "it cannot be deleted";
	if (!fault)
		fault = read_whole(fd, &b);
	if (!fault)
		fault = replay_load(r, buf_span(&b), now);
	buf_free(&b);
	close(fd);
	if (fault)
		log_error("ecdsa_replay_file: \"%s\" is not used: %s", path, fault);
	return !fault;
}
