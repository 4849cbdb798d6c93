#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"
#include "token/token.h"
#include "wallet/check.h"

/* For people; the code in front of it is for programs. */
static const char *sentence(enum ecdsa_reason reason)
{
	switch (reason) {
	case ECDSA_OK:
		return "the password is a valid proof by this wallet";
	case ECDSA_ADDRESS_MALFORMED:
		return "the user name is not a wallet: 0x and exactly 40 hexadecimal digits are expected";
	case ECDSA_PASSWORD_EMPTY:
		return "the password is empty";
	case ECDSA_PACKET_MALFORMED:
		return "the password contains a zero byte";
	case ECDSA_PASSWORD_TOO_LONG:
		return "the password is longer than 4095 bytes";
	case ECDSA_FORMAT_UNKNOWN:
		return "the password does not begin with a timestamp; <seconds>:0x<signature> is expected";
	case ECDSA_FORMAT_DISABLED:
		return "the password is in a format that is not enabled; <seconds>:0x<signature> is";
	case ECDSA_TIMESTAMP_MALFORMED:
		return "the timestamp is not a plain decimal number: digits only, no sign, space, point "
		       "or leading zero";
	case ECDSA_TIMESTAMP_OVERFLOW:
		return "the timestamp is larger than any time: above 2^63-1";
	case ECDSA_MESSAGE_ENCODING:
		return "the message is not base64, or holds more than 2048 bytes; padding is absent or right, and there is "
		       "no white space";
	case ECDSA_MESSAGE_MALFORMED:
		return "the message does not have the lines of its format, in their order, with LF between them and "
		       "none at the end";
	case ECDSA_SIGNATURE_LENGTH:
		return "the signature has the wrong length: 130 hexadecimal digits are expected, or 128 in compact "
		       "form, with nothing behind them";
	case ECDSA_SIGNATURE_NOT_HEX:
		return "the signature contains something that is not a hexadecimal digit";
	case ECDSA_V_OUT_OF_RANGE:
		return "the last byte of the signature, v, is none of 0, 1, 27 and 28; values from 35 on belong to "
		       "transactions";
	case ECDSA_SCALAR_OUT_OF_RANGE:
		return "r or s of the signature is zero or not below the order of the curve";
	case ECDSA_HIGH_S:
		return "s of the signature is above half the order of the curve; replace s by n-s and flip v";
	case ECDSA_EXPIRED:
		return "the timestamp is too old; sign again";
	case ECDSA_FROM_FUTURE:
		return "the timestamp lies in the future; compare the clocks";
	case ECDSA_TIMESTAMP_MILLISECONDS:
		return "the timestamp is in milliseconds; divide by 1000 and drop the fraction before signing";
	case ECDSA_NOT_YET_VALID:
		return "the message says that it is not valid yet; compare the clocks";
	case ECDSA_LIFETIME_TOO_LONG:
		return "the message is to be valid for longer than a proof may be";
	case ECDSA_WRONG_SERVER:
		return "the message names another server";
	case ECDSA_WRONG_DATABASE:
		return "the message names another database, or none where one must be named";
	case ECDSA_WRONG_DOMAIN:
		return "the message is for another web site";
	case ECDSA_WRONG_CHAIN:
		return "the message names a chain that is not accepted";
	case ECDSA_WALLET_DIFFERS:
		return "the message names another wallet";
	case ECDSA_RECOVERY_FAILED:
		return "no key can have made this signature";
	case ECDSA_WRONG_SIGNER:
		return "the password was not signed by this wallet, or another text was signed";
	case ECDSA_NOT_ALLOWED:
	case ECDSA_NO_MAPPING:
	case ECDSA_WALLET_EXPIRED:
	case ECDSA_WRONG_ROLE:
	case ECDSA_LOOKUP_FAILED:
	case ECDSA_REPLAYED:
	case ECDSA_REPLAY_OTHER_SOURCE:
	case ECDSA_REPLAY_CACHE_FULL:
		return "the wallet is not on the list of those that may enter";
	case ECDSA_REASON_COUNT:
	case ECDSA_UNDECIDED:
		break;
	}
	return "unknown reason";
}

/* Seconds from b to a; saturates, since the clock may be given as anything. */
static int64_t seconds_between(int64_t a, int64_t b)
{
	int64_t apart;

	return __builtin_sub_overflow(a, b, &apart) ? INT64_MAX : apart;
}

static void describe(const struct ecdsa_claim *claim, int64_t now, int64_t window)
{
	char address[WALLET_TEXT_LEN + 1];

	if (claim->has_claimed) {
		wallet_address_eip55(&claim->claimed, address);
		printf("wallet: %s\n", address);
	}
	if (claim->has_signer) {
		wallet_address_eip55(&claim->signer, address);
		printf("signer: %s\n", address);
	}
	if (claim->has_time)
		printf("age: %" PRId64 " s, accepted up to %" PRId64 " s either side of the clock\n",
		       seconds_between(now, claim->issued), window);
}

int verify_password(const char *user, int64_t now, int64_t window)
{
	/* Room for a password that is too long, so that it is called that. */
	static char password[WALLET_PASSWORD_MAX + 2];
	const struct wallet_policy policy = {.formats = BIT(ECDSA_FORMAT_TIMESTAMP), .window_seconds = window, .role_login = false};
	ssize_t len = read_all(STDIN_FILENO, password, sizeof(password));
	struct ecdsa_claim claim;
	enum ecdsa_reason reason;
	const char *explanation = NULL;

	if (len < 0) {
		complain("cannot read the password from standard input: %s", strerror(errno));
		return 1;
	}
	/* What echo and editors add; a second one is the user's. */
	if (len > 0 && password[len - 1] == '\n')
		len--;
	reason = ecdsa_check(user, password, (size_t)len, now, &policy, &claim);
	if (reason == ECDSA_WRONG_SIGNER)
		explanation = ecdsa_explain_wrong_signer(user, password, (size_t)len);
	mem_wipe(password, sizeof(password));

	printf("%s: %s\n", ecdsa_reason_word(reason), sentence(reason));
	if (explanation)
		printf("likely cause: %s\n", explanation);
	describe(&claim, now, window);
	return reason == ECDSA_OK ? 0 : 1;
}
