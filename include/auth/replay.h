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
#include "lib/buf.h"
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
	int64_t expires;      /* first second at which it is refused for age */
	bool ends_by_window;  /* that is counted from the issue, by a setting: it is kept for the largest window there is */
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
 * The largest window of the configuration: first of all, and again before
 * proofs are judged by a larger one. Then what ends by it stays for longer,
 * and what was forgotten already is refused.
 */
void replay_set_window(struct replay *, int64_t seconds);

size_t replay_count(struct replay *, int64_t now); /* of proofs that are still good */
size_t replay_capacity(const struct replay *);

/*
 * The memory as bytes, for a successor: appends what is still good. The caller
 * lets nobody log in meanwhile, or what comes later is missing.
 */
void replay_save(struct replay *, struct buf *, int64_t now);
/*
 * Adds what replay_save() wrote; the window has been set. NULL, or why it is
 * not all there; the caller then says replay_begins().
 */
MUST_CHECK const char *replay_load(struct replay *, struct span, int64_t now);

/* To a file of mode 0600 that appears at once or not at all; false: logged. */
bool replay_write_file(struct replay *, const char *path, int64_t now);
/*
 * Reads the file, and deletes it first, so that no later start takes it for
 * the truth. false: there is none, or it cannot be trusted, which is logged.
 */
MUST_CHECK bool replay_read_file(struct replay *, const char *path, int64_t now);

#endif
