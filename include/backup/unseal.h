/*
 * backup/unseal.h - sealed files are opened as they arrive.
 *
 * Format 2: a segment's plaintext goes to the sink once its own tag has
 * matched; that nothing is missing is known only when unsealer_finish() says
 * UNSEAL_OK. Whoever cannot take back what he did waits for that.
 *
 * Format 1: the one tag stands at the end, so what goes to the sink is
 * UNPROVEN. The caller authenticates the whole file first (with no sink, which
 * tries every key) and opens it in a second pass, of the same bytes.
 *
 * Rules: backup specification, 8.1 to 8.4.
 * Tests: test/unit/test_backup_vectors.c, test/fuzz/fuzz_unseal.c
 */
#ifndef BACKUP_UNSEAL_H
#define BACKUP_UNSEAL_H

#include "backup/keys.h"
#include "backup/seal.h"

/*	 id		what a person reads */
#define UNSEAL_RESULTS(X) \
	X(OK,		"whole and genuine") \
	X(STOPPED,	"stopped by the reader") \
	X(TOO_SHORT,	"too short to be a backup") \
	X(UNSUPPORTED,	"of a version or kind that this program does not know") \
	X(WRONG_KEY,	"made with another key") \
	X(HEADER_AUTH,	"its header was changed, or the key is wrong") \
	X(AUTH,		"changed or damaged, or the key is wrong") \
	X(TRUNCATED,	"its end is missing") \
	X(NON_CANONICAL, "not as this format is written") \
	X(TOO_LARGE,	"larger than its format can be")

enum unseal_result {
#define X(id, text) UNSEAL_##id,
	UNSEAL_RESULTS(X)
#undef X
};
const char *unseal_result_text(enum unseal_result);

/* What the first bytes of a file say it is: at least 8, or the whole file when it is shorter. */
enum file_format sealed_format(struct span first);

struct unseal_header { /* of format 2 */
	enum key_source source;
	enum file_content content;
	uint32_t segment_bytes;
	uint8_t key_id[KEY_ID_BYTES];
	int64_t created_at;
};

struct unsealer;
/* keys is borrowed. sink NULL: only looks whether the file is genuine. */
struct unsealer *unsealer_new_2(const struct keyring *, seal_sink *, void *ctx);
/* With a sink: the one key that the first pass has found. */
struct unsealer *unsealer_new_1(const struct keyring *, const struct key *, seal_sink *, void *ctx);
void unsealer_free(struct unsealer *); /* wipes the plaintext in it */

enum unseal_result unsealer_feed(struct unsealer *, struct span) MUST_CHECK;
/* The file ends here. Errors repeat. */
enum unseal_result unsealer_finish(struct unsealer *) MUST_CHECK;
/* Format 2, once 112 bytes have been fed and were good; else NULL. */
const struct unseal_header *unsealer_header(const struct unsealer *);
/* The key that fits: of format 2 with the header, of format 1 at the end; else NULL. */
const struct key *unsealer_key(const struct unsealer *);
uint64_t unsealer_plaintext(const struct unsealer *);
/* More than unseal_result_text() where there is more to say: both identifiers of a wrong key. */
const char *unsealer_explain(const struct unsealer *, enum unseal_result, char out[256]);

#endif
