/*
 * What the writer and the reader of format 2 share.
 *
 * Header, 96 bytes, numbers big-endian:
 *
 *	0  magic 89 50 47 42 4B 0D 0A 1A	16 salt, 32 bytes
 *	8  version 2				48 key identifier, 8
 *	9  AEAD: 1 AES-256-GCM			56 created, seconds since 1970, 8
 *	10 key source				64 HMAC-SHA256(header key, bytes 0..63), 32
 *	11 content
 *	12 segment bytes, 4
 *
 * Nonce of segment i: 3 zero bytes, i in 8 bytes, 1 for the last segment and 0
 * for the others. Associated data of every segment: the whole header.
 */
#ifndef BACKUP_SEAL_PARTS_H
#define BACKUP_SEAL_PARTS_H

#include <openssl/evp.h>

#include "backup/seal.h"

#define SEAL2_MAC_AT 64

extern const uint8_t seal2_magic[8];

void seal2_header_mac(const uint8_t header_key[KEY_BYTES], const uint8_t header[SEAL2_HEADER_BYTES],
		      uint8_t mac[KEY_BYTES]);
void seal2_nonce(uint64_t segment, bool is_last, uint8_t nonce[12]);
/* A context that has AES-256-GCM and the key; owned by the caller. */
EVP_CIPHER_CTX *gcm_new(const uint8_t key[KEY_BYTES], bool encrypts);

static inline void put_be(uint8_t *at, uint64_t value, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--, value >>= 8)
		at[i] = (uint8_t)value;
}

static inline uint64_t get_be(const uint8_t *at, int bytes)
{
	uint64_t v = 0;

	for (int i = 0; i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

#endif
