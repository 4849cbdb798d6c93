/*
 * backup/keys.h - from a mnemonic to keys.
 *
 *	key of format 1   HKDF-SHA256(salt "pg-ecdsa-proxy-backup", input, "backup-encryption-key")
 *	key identifier    the same with "backup-key-id", first 8 bytes
 *	manifest MAC key  the same with "backup-manifest"
 *	format 2          two keys a file, from the input and the file's own salt
 *
 * The input is the mnemonic, byte by byte as given, or the 32 bytes of a key
 * file. All of it lives in locked memory (backup/secret.h).
 *
 * Rules: backup specification, 1, 8, 9.  Tests: test/unit/test_backup_vectors.c
 */
#ifndef BACKUP_KEYS_H
#define BACKUP_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "backup/config.h"
#include "backup/secret.h"

#define KEY_BYTES 32
#define KEY_ID_BYTES 8
#define KEY_ID_TEXT (KEY_ID_BYTES * 2 + 1)
#define SALT_BYTES 32

enum key_source { KEY_FROM_MNEMONIC = 1, KEY_FROM_FILE = 2 }; /* as written in format 2 */

struct key {
	enum key_source source;
	struct secret input;	      /* owned */
	uint8_t *encryption, *manifest; /* owned; KEY_BYTES each */
	uint8_t id[KEY_ID_BYTES];
	char id_text[KEY_ID_TEXT];
};

struct keyring {
	struct key *keys; /* owned; the first is the current one */
	size_t count;
	bool is_writing; /* the first one encrypts; else backups are stored as they are */
};

/* Never NULL; empty when neither mnemonic nor key is configured. */
struct keyring *keyring_new(const struct config *);
void keyring_free(struct keyring *);
/* One key alone, for tests and tools. */
struct keyring *keyring_of(enum key_source, const void *input, size_t len);
/* The key new backups are encrypted with. NULL: they are not. */
const struct key *keyring_writer(const struct keyring *);
const struct key *keyring_find(const struct keyring *, enum key_source, const uint8_t id[KEY_ID_BYTES]);
/* false: backups cannot be made, since there is neither key nor the word that they need none; says so. */
bool keyring_check(const struct keyring *, const struct config *);

void key_derive_file(const struct key *, const uint8_t salt[SALT_BYTES], uint8_t payload[KEY_BYTES],
		     uint8_t header[KEY_BYTES]);

void hkdf_sha256(struct span salt, struct span input, const char *text, uint8_t out[KEY_BYTES]);

#endif
