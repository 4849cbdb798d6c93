#include "token/keystore.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "lib/hex.h"
#include "lib/keccak.h"
#include "lib/mem.h"
#include "token/passphrase.h"
#include "token/scrypt.h"
#include "token/token.h"

#ifdef HAVE_JANSSON
#include <jansson.h>

/* Wallets use n = 262144, r = 8, p = 1 (256 MiB, a second) or less; PBKDF2 with 262144 rounds. */
#define SCRYPT_MEMORY_MAX ((uint64_t)1 << 30)
#define SCRYPT_WORK_MAX ((uint64_t)1 << 24) /* n * r * p */
#define ROUNDS_MAX 10000000
#define DERIVED_BYTES 32

/* ---- JSON ---- */

/* Members of an object; NULL and -1: not there, or of another type. */
static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static int64_t number_of(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);
	json_int_t n = json_is_integer(value) ? json_integer_value(value) : -1;

	return n >= 0 ? (int64_t)n : -1;
}

/* Exactly bytes of them. */
static bool hex_of(const json_t *object, const char *name, uint8_t *out, size_t bytes)
{
	const char *text = text_of(object, name);

	if (text && text[0] == '0' && text[1] == 'x')
		text += 2;
	return text && strlen(text) == 2 * bytes && hex_decode(text, out, bytes);
}

static const char *read_salt(const json_t *params, struct keystore *k)
{
	const char *text = text_of(params, "salt");
	size_t len = text ? strlen(text) : 0;

	if (len == 0 || len % 2 || len > 2 * KEYSTORE_SALT_MAX || !hex_decode(text, k->salt, len / 2))
		return "has no salt that can be used";
	k->salt_len = len / 2;
	return NULL;
}

static const char *read_scrypt(const json_t *params, struct keystore *k)
{
	int64_t n = number_of(params, "n"), r = number_of(params, "r"), p = number_of(params, "p");

	if (n < 2 || r < 1 || p < 1 || (n & (n - 1)))
		return "has parameters of scrypt that are not possible";
	if (n > INT32_MAX || r > INT16_MAX || p > INT16_MAX || (uint64_t)n * (uint64_t)r * 128 > SCRYPT_MEMORY_MAX ||
	    (uint64_t)n * (uint64_t)r * (uint64_t)p > SCRYPT_WORK_MAX)
		return "asks for more memory or work than any wallet does";
	k->is_scrypt = true;
	k->n = (uint64_t)n;
	k->r = (uint64_t)r;
	k->p = (uint64_t)p;
	return NULL;
}

static const char *read_pbkdf2(const json_t *params, struct keystore *k)
{
	const char *prf = text_of(params, "prf");
	int64_t rounds = number_of(params, "c");

	if (!prf || strcmp(prf, "hmac-sha256") != 0)
		return "uses another function than hmac-sha256 in PBKDF2";
	if (rounds < 1)
		return "has a number of rounds that is not possible";
	if (rounds > ROUNDS_MAX)
		return "asks for more memory or work than any wallet does";
	k->rounds = (uint32_t)rounds;
	return NULL;
}

static const char *read_kdf(const json_t *crypto, struct keystore *k)
{
	const json_t *params = json_object_get(crypto, "kdfparams");
	const char *kdf = text_of(crypto, "kdf"), *fault;

	if (!kdf || !json_is_object(params))
		return "does not say how its key is derived";
	if (number_of(params, "dklen") != DERIVED_BYTES)
		return "derives a key of another length than 32 bytes";
	if (strcmp(kdf, "scrypt") == 0)
		fault = read_scrypt(params, k);
	else if (strcmp(kdf, "pbkdf2") == 0)
		fault = read_pbkdf2(params, k);
	else
		return "derives its key by something else than scrypt and pbkdf2";
	return fault ? fault : read_salt(params, k);
}

static const char *read_crypto(const json_t *crypto, struct keystore *k)
{
	const char *cipher = text_of(crypto, "cipher");

	if (!cipher || strcmp(cipher, "aes-128-ctr") != 0)
		return "is encrypted by something else than aes-128-ctr";
	if (!hex_of(json_object_get(crypto, "cipherparams"), "iv", k->iv, sizeof(k->iv)))
		return "has no iv of 16 bytes";
	if (!hex_of(crypto, "ciphertext", k->ciphertext, sizeof(k->ciphertext)))
		return "does not hold a private key: its ciphertext has not 32 bytes";
	if (!hex_of(crypto, "mac", k->mac, sizeof(k->mac)))
		return "has no mac of 32 bytes";
	return read_kdf(crypto, k);
}

/* Without 0x, in most files. */
static const char *read_address(const json_t *root, struct keystore *k)
{
	const char *text = text_of(root, "address");

	if (!text || !*text)
		return NULL;
	k->has_address = hex_of(root, "address", k->address.bytes, sizeof(k->address.bytes));
	return k->has_address ? NULL : "names an address that is none";
}

static const char *read_root(const json_t *root, struct keystore *k)
{
	const json_t *crypto = json_object_get(root, "crypto");
	const char *fault;

	if (!json_is_object(root))
		return "is no JSON object";
	if (number_of(root, "version") != 3)
		return "is of another version than 3";
	if (!crypto) /* as old geth spelled it */
		crypto = json_object_get(root, "Crypto");
	if (!json_is_object(crypto))
		return "has no member crypto";
	fault = read_crypto(crypto, k);
	return fault ? fault : read_address(root, k);
}

const char *keystore_parse(const char *text, size_t len, struct keystore *k)
{
	json_t *root = len <= KEYSTORE_FILE_MAX ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const char *fault;

	memset(k, 0, sizeof(*k));
	if (!root)
		return "is no JSON text";
	fault = read_root(root, k);
	json_decref(root);
	return fault;
}

/* ---- decryption ---- */

static bool derive(const struct keystore *k, const char *passphrase, uint8_t out[DERIVED_BYTES])
{
	size_t len = strlen(passphrase);

	/* Within RFC 7914 OpenSSL does it; see token/scrypt.h. */
	if (k->is_scrypt && k->r < 4 && k->n >= (uint64_t)1 << 16 * k->r)
		return scrypt_derive(passphrase, k->salt, k->salt_len, k->n, k->r, k->p, out, DERIVED_BYTES);
	if (k->is_scrypt)
		return EVP_PBE_scrypt(passphrase, len, k->salt, k->salt_len, k->n, k->r, k->p,
				      SCRYPT_MEMORY_MAX + SCRYPT_MEMORY_MAX / 8, out, DERIVED_BYTES) == 1;
	return PKCS5_PBKDF2_HMAC(passphrase, (int)len, k->salt, (int)k->salt_len, (int)k->rounds, EVP_sha256(),
				 DERIVED_BYTES, out) == 1;
}

static bool is_mac_right(const struct keystore *k, const uint8_t derived[DERIVED_BYTES])
{
	uint8_t mac[KECCAK256_BYTES];
	struct keccak256 hash;

	keccak256_init(&hash);
	keccak256_add(&hash, derived + 16, 16);
	keccak256_add(&hash, k->ciphertext, sizeof(k->ciphertext));
	keccak256_end(&hash, mac);
	mem_wipe(&hash, sizeof(hash));
	return mem_equal_const_time(mac, k->mac, sizeof(mac));
}

static bool decrypt(const struct keystore *k, const uint8_t derived[DERIVED_BYTES], uint8_t out[32])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int len = 0;
	bool ok = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_128_ctr(), NULL, derived, k->iv) == 1 &&
		  EVP_DecryptUpdate(ctx, out, &len, k->ciphertext, sizeof(k->ciphertext)) == 1 &&
		  len == (int)sizeof(k->ciphertext);

	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

enum keystore_result keystore_decrypt(const struct keystore *k, const char *passphrase, struct wallet_key *key)
{
	enum keystore_result result = KEYSTORE_FAILED;
	uint8_t derived[DERIVED_BYTES];
	struct wallet_address address;

	if (!derive(k, passphrase, derived))
		result = KEYSTORE_FAILED;
	else if (!is_mac_right(k, derived))
		result = KEYSTORE_WRONG_PASSPHRASE;
	else if (decrypt(k, derived, key->bytes) && wallet_key_is_valid(key) && wallet_key_address(key, &address) == 0)
		result = k->has_address && memcmp(&address, &k->address, sizeof(address)) != 0 ? KEYSTORE_WRONG_ADDRESS
											     : KEYSTORE_OPEN;
	mem_wipe(derived, sizeof(derived));
	if (result != KEYSTORE_OPEN)
		wallet_key_wipe(key);
	return result;
}

/* ---- the file ---- */

static int read_file(const char *path, struct keystore *k)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char *text = xmalloc(KEYSTORE_FILE_MAX + 1);
	const char *fault;
	ssize_t len;

	if (fd < 0) {
		complain("cannot open the keystore %s: %s", path, strerror(errno));
		free(text);
		return -1;
	}
	len = read_all(fd, text, KEYSTORE_FILE_MAX + 1);
	fault = len < 0 ? strerror(errno) : len > KEYSTORE_FILE_MAX ? "is too long to be a keystore"
								     : keystore_parse(text, (size_t)len, k);
	close(fd);
	free(text);
	if (fault)
		complain(len < 0 ? "cannot read %s: %s" : "the keystore %s %s", path, fault);
	return fault ? -1 : 0;
}

int keystore_from_file(const char *path, const char *passphrase_file, struct wallet_key *key)
{
	char passphrase[PASSPHRASE_MAX + 1];
	struct keystore k;
	enum keystore_result result;

	if (read_file(path, &k) != 0 || passphrase_get(passphrase_file, path, passphrase) != 0)
		return -1;
	result = keystore_decrypt(&k, passphrase, key);
	mem_wipe(passphrase, sizeof(passphrase));
	switch (result) {
	case KEYSTORE_OPEN:
		return 0;
	case KEYSTORE_WRONG_PASSPHRASE:
		complain("the passphrase does not open the keystore %s", path);
		break;
	case KEYSTORE_WRONG_ADDRESS:
		complain("the keystore %s holds the key of another wallet than the one that it names", path);
		break;
	case KEYSTORE_FAILED:
		complain("cannot decrypt the keystore %s", path);
		break;
	}
	return -1;
}

#else

int keystore_from_file(const char *path, const char *passphrase_file UNUSED, struct wallet_key *key UNUSED)
{
	complain("%s: this program was built without jansson, and reads no keystores", path);
	return -1;
}

#endif
