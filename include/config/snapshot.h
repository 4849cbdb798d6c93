/*
 * config/snapshot.h - what a struct config is made of; for the config room
 * alone.
 *
 * The settings are the snapshot's own, everything else is a counted part that
 * it shares with its neighbours as long as nothing in it changes.
 *
 * Tests: test/unit/test_config.c
 */
#ifndef CONFIG_SNAPSHOT_H
#define CONFIG_SNAPSHOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/auth_file.h"
#include "config/claim_key.h"
#include "config/config.h"
#include "config/entries.h"
#include "config/wallet_list.h"

struct config {
	atomic_uint refs;
	uint64_t generation;
	struct settings settings;
	struct entries *entries;      /* counted */
	struct auth_file *auth_file;  /* counted; NULL: none is named, needed or readable */
	struct wallet_list *wallets;  /* counted; NULL: ecdsa_allowed_addresses is empty */
	struct claim_key *claim_key;  /* counted; NULL: ecdsa_claim_key_file is empty */
	struct hba_rules *hba;	      /* counted; NULL: auth_type was not hba at the last load */
	struct network *limit_exempt; /* owned: the networks of ecdsa_limit_exempt */
	size_t limit_exempt_count;
	bool is_checked;	 /* whoever made it wants to hear of every problem */
	struct origin *origins;	 /* owned; one a setting, or NULL: only what is checked keeps them */
	usec_t window_max; /* see config_window_max() */
};

/* Where the file says a setting; line 0: it does not. */
struct origin {
	char *file; /* owned */
	int line;
};
void origins_free(struct origin *); /* of all settings */

/* " (FILE:LINE)", or "" when the place is not known. */
const char *origin_text(const struct origin *, char *buf, size_t cap);

/* A snapshot to be filled, with the settings of prev (NULL: with the defaults) and no parts. */
struct config *snapshot_new(const struct config *prev);

/* What is derived from settings, which must be good, and from the HBA rules, which must be there. */
void snapshot_derive(struct config *);

/*
 * Do the settings go together? For what a single one cannot tell, once all parts are there. false: every problem
 * logged.
 */
MUST_CHECK bool snapshot_judge(const struct config *, const struct origin *origins);
/*
 * Brings in the files that settings name, and judges the settings together.
 * origins has an element a setting, or is NULL for SET, which reads no HBA
 * rules. false: every problem logged.
 */
MUST_CHECK bool snapshot_complete(struct config *, const struct config *prev, const struct origin *origins);

#endif
