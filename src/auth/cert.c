/*
 * Method cert: TLS has verified the client's certificate; what is left is
 * whether it carries the user's name, or one that the ident map gives to him.
 */
#include "auth/method.h"
#include "config/ident.h"

static enum auth_verdict refuse(struct auth *a, const char *reason)
{
	return auth_refuse(a, SQLSTATE_PROTOCOL, "certificate authentication failed", "%s", reason);
}

static bool map_matches(const struct auth_input *in)
{
	int64_t now = in->wall_clock(in->clock_ctx);

	for (size_t i = 0; i < in->map->count; i++)
		if (ident_line_allows(&in->map->lines[i], in->user, now) &&
		    in->certificate_names(in->certificate_ctx, in->map->lines[i].system_user))
			return true;
	return false;
}

static enum auth_verdict cert_start(struct auth *a, struct buf *out UNUSED)
{
	const struct auth_input *in = a->in;

	switch (in->certificate) {
	case CERTIFICATE_NO_TLS:
		return refuse(a, "TLS connection required");
	case CERTIFICATE_NONE:
		return refuse(a, "TLS client certificate required");
	case CERTIFICATE_VERIFIED:
		break;
	}
	if (in->map && !map_matches(in))
		return auth_refuse(a, SQLSTATE_PROTOCOL, "certificate authentication failed",
				   "ident map: %s does not have a match", in->map->name);
	if (!in->map && !in->certificate_names(in->certificate_ctx, in->user))
		return refuse(a, "TLS certificate name mismatch");
	return in->is_mock ? refuse(a, "") : AUTH_OK;
}

const struct auth_method method_cert = {.start = cert_start};
