/* KILL_WALLET: ends all sessions of a wallet (ecdsa-login.md section 22). It does not keep the wallet out. */
#include <stdlib.h>
#include <string.h>

#include "admin/ask.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "pool/client.h"
#include "pool/login.h"
#include "pool/share.h"
#include "pool/wallet_query.h"
#include "wallet/address.h"

struct wallet_killing {
	struct ask *ask;
	struct wallet_address wallet;
	bool is_second; /* round */
};

static void kill_on(struct list *clients, const struct wallet_address *wallet)
{
	LIST_FOR_SAFE(node, clients) {
		struct client *c = LIST_ITEM(node, struct client, link);

		const struct wallet_address *its = c->is_wallet ? &c->wallet : login_wallet(c);

		if (its && memcmp(its, wallet, sizeof(*wallet)) == 0)
			client_fail(c, "admin forced disconnect");
	}
}

static void kill_in_room(struct worker *w, void *ctx)
{
	struct room *r = room_of(w);
	const struct wallet_address *wallet = &((struct wallet_killing *)ctx)->wallet;

	wallet_answers_forget(r, wallet);
	kill_on(&r->logins.head, wallet);
	kill_on(&r->travellers, wallet);
	kill_on(&r->consoles.head, wallet);
	LIST_FOR_SAFE(node, &r->shares) {
		struct share *s = LIST_ITEM(node, struct share, link);

		kill_on(&s->waiting.head, wallet);
		kill_on(&s->active.head, wallet);
	}
}

static void round_done(struct worker *control UNUSED, void *ctx)
{
	struct wallet_killing *k = ctx;

	/* Who was on the way between two Workers in the first round has arrived in the second. */
	if (!k->is_second) {
		k->is_second = true;
		crew_gather(console_host.pooler->crew, kill_in_room, round_done, k);
		return;
	}
	ask_done(k->ask, "KILL_WALLET");
	free(k);
}

void kill_wallet_run(struct ask *a)
{
	const char *text = a->command.argument;
	char right[WALLET_TEXT_LEN + 1];
	struct wallet_address wallet;
	struct wallet_killing *k;

	switch (wallet_address_parse_strict(text, strlen(text), &wallet)) {
	case ADDRESS_OK:
		break;
	case ADDRESS_BAD_CHECKSUM:
		wallet_address_eip55(&wallet, right);
		ask_fail(a, CONSOLE_SQLSTATE, "wallet address %s has a wrong checksum, the correct spelling is %s", text,
			 right);
		return;
	case ADDRESS_MALFORMED:
		ask_fail(a, CONSOLE_SQLSTATE,
			 "invalid wallet address supplied, expected 0x and 40 hexadecimal digits");
		return;
	}
	log_info("KILL_WALLET '%s' command issued", text);
	k = xcalloc(1, sizeof(*k));
	k->ask = a;
	k->wallet = wallet;
	crew_gather(console_host.pooler->crew, kill_in_room, round_done, k);
}
