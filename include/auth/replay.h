/*
 * auth/replay.h - which proofs have been used, so that one is good for a
 * single login, or from a single source (ecdsa-login.md section 18).
 *
 * One table a process, used by every Worker: 16 shards by the proof's key, a
 * mutex each, so that of two logins racing with one proof exactly one gets in.
 * Never held across a call out of here. Memory is fixed when it is made, some
 * 100 bytes an entry, and touched as it fills. Entries are made for proven and
 * allowed wallets only, and stay until their proof is refused for age; one
 * that is still good is never given up, so a full table refuses.
 *
 * The key is keccak256(address || signed hash): who said what. Its spelling,
 * and how often the wallet signs the same text, does not matter.
 *
 * Knows no settings, no sockets and no clock: now is Unix seconds, handed in.
 *
 * Tests: test/unit/test_replay.c, test/system/test_wallet_replay.py
 */
#ifndef AUTH_REPLAY_H
#define AUTH_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "lib/network.h"
#include "lib/util.h"
#include "wallet/check.h"

#define REPLAY_ENTRIES_STEP 16 /* the table's size is a multiple of it */
#define REPLAY_WALLET_SHARE 16 /* a wallet gets this part of the table at most */

struct replay;

/* NULL: out of memory. entries: rounded up. */
struct replay *replay_new(int entries);
void replay_free(struct replay *); /* NULL is fine */

struct replay_use {
	enum replay_mode mode;		     /* not REPLAY_OFF */
	const uint8_t *key;		     /* PROOF_KEY_BYTES: ecdsa_proof_key() */
	const struct wallet_address *wallet; /* proven, and allowed */
	struct ip_address source;	     /* replay_source() */
	int64_t issued;
	int64_t expires;      /* first second at which no line of the configuration takes it any more */
	bool ends_by_window;  /* expires is counted from the issue, by a setting */
	/* answers */
	const char *detail; /* for the log; NULL: none */
	bool wants_warning; /* of ECDSA_REPLAY_CACHE_FULL: once a minute */
};

/* ECDSA_OK: the login may go on, and the proof is remembered. Else ECDSA_REPLAYED or one of the two behind it. */
enum ecdsa_reason replay_use(struct replay *, struct replay_use *, int64_t now);

/* What counts as one source: an IPv4 address, an IPv6 /64; NULL: Unix sockets. */
struct ip_address replay_source(const struct ip_address *);

/* Proofs issued at or before this second were perhaps used before the memory began: they are refused. */
void replay_begins(struct replay *, int64_t issued);
/*
 * A window has grown: those that end by it and were issued at or before this
 * second have been forgotten, though they would be good again.
 */
void replay_window_grew(struct replay *, int64_t issued);

size_t replay_count(struct replay *, int64_t now); /* of proofs that are still good */
size_t replay_capacity(const struct replay *);

/*
 * The memory as bytes, for a successor: what is still good is written to fd,
 * which may be a file, a pipe or a socket. The caller lets nobody log in
 * meanwhile, or what comes later is missing. -1: errno.
 */
MUST_CHECK int replay_save(struct replay *, int fd, int64_t now);
/*
 * Adds what replay_save() wrote. Reads no byte beyond. -1: not whole, or no
 * room for all of it; the caller then says replay_begins(). errno, or 0 when
 * the bytes are to blame.
 */
MUST_CHECK int replay_load(struct replay *, int fd, int64_t now);

/* To a file of mode 0600 that appears at once or not at all; false: logged. */
bool replay_write_file(struct replay *, const char *path, int64_t now);
/*
 * Reads the file, and deletes it first, so that no later start takes it for
 * the truth. false: there is none, or it cannot be trusted, which is logged.
 */
MUST_CHECK bool replay_read_file(struct replay *, const char *path, int64_t now);

#endif
