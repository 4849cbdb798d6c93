#include "wallet/claim.h"

#include <inttypes.h>
#include <nettle/hmac.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/mem.h"

void claim_put(struct buf *b, const uint8_t key[CLAIM_KEY_BYTES], const struct wallet_address *wallet,
	       const char *database, uint32_t backend_pid, int64_t expires)
{
	size_t from = buf_len(b);
	char address[WALLET_TEXT_LEN + 1], hex[2 * SHA256_DIGEST_SIZE + 1];
	uint8_t sum[SHA256_DIGEST_SIZE];
	struct hmac_sha256_ctx ctx;

	wallet_address_lower(wallet, address);
	buf_printf(b, "v1|%s|", address);
	buf_put_text(b, database);
	buf_printf(b, "|%" PRIu32 "|%" PRId64, backend_pid, expires);
	if (!buf_ok(b))
		return;
	hmac_sha256_set_key(&ctx, CLAIM_KEY_BYTES, key);
	hmac_sha256_update(&ctx, buf_len(b) - from, buf_data(b) + from);
	hmac_sha256_digest(&ctx, sizeof(sum), sum);
	mem_wipe(&ctx, sizeof(ctx));
	hex_encode(sum, sizeof(sum), hex);
	buf_put_u8(b, '|');
	buf_put_str(b, hex);
}
