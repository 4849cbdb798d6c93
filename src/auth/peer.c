/*
 * Method peer: the kernel has said which Unix user is at the other end. His
 * name is looked up in a helper thread, since that may ask a directory server.
 */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "auth/method.h"
#include "config/ident.h"

static const char failure_text[] = "unix socket login rejected";

#define LOOKUP_MAX ((size_t)1 << 20) /* bytes of one entry of the user database */

struct peer_state {
	char *name; /* owned; NULL: the uid has none */
};

static enum auth_verdict peer_start(struct auth *a, struct buf *out UNUSED)
{
	if (a->in->peer_uid < 0)
		return auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "%s", "");
	a->state = calloc(1, sizeof(struct peer_state));
	if (!a->state)
		return auth_refuse(a, SQLSTATE_PROTOCOL, "out of memory", "%s", "");
	return AUTH_PENDING;
}

static void peer_work(struct auth *a)
{
	struct peer_state *s = a->state;
	struct passwd entry, *found = NULL;

	for (size_t cap = 1024; cap <= LOOKUP_MAX && !s->name; cap *= 4) {
		char *text = malloc(cap);
		int error = text ? getpwuid_r((uid_t)a->in->peer_uid, &entry, text, cap, &found) : ENOMEM;

		if (error == 0 && found)
			s->name = strdup(found->pw_name);
		free(text);
		if (error != ERANGE)
			return;
	}
}

static bool map_matches(const struct auth_input *in, const char *name)
{
	int64_t now = in->wall_clock(in->clock_ctx);

	for (size_t i = 0; i < in->map->count; i++)
		if (ident_line_allows(&in->map->lines[i], in->user, now) &&
		    strcmp(in->map->lines[i].system_user, name) == 0)
			return true;
	return false;
}

static enum auth_verdict peer_resume(struct auth *a, struct buf *out UNUSED)
{
	const struct auth_input *in = a->in;
	const char *name = ((struct peer_state *)a->state)->name;

	if (!name)
		return auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "Unix user %lld has no name",
				   (long long)in->peer_uid);
	if (in->map && !map_matches(in, name))
		return auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "ident map %s cannot be matched", in->map->name);
	if (!in->map && strcmp(name, in->user) != 0)
		return auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "the peer is Unix user %s", name);
	if (in->is_mock)
		return auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "%s", "");
	return AUTH_OK;
}

static void peer_end(struct auth *a)
{
	struct peer_state *s = a->state;

	if (!s)
		return;
	free(s->name);
	free(s);
	a->state = NULL;
}

const struct auth_method method_peer = {
	.start = peer_start,
	.work = peer_work,
	.resume = peer_resume,
	.end = peer_end,
};
