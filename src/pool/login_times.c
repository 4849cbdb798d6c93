#include "pool/login_times.h"

#include <string.h>

const char *login_method_word(int method)
{
	return method < AUTH_KINDS ? auth_method_names[method] : "none";
}

void login_accepted(struct login_times *t, int method, usec_t took)
{
	histogram_note(&t->accepted[method], took);
}

/* database "app" is disabled: database is disabled. no such database: app: no such database. */
static void plain_reason(const char *text, char out[LOGIN_REASON_LEN + 1])
{
	size_t n = 0;
	char quote = 0;

	for (; *text && n < LOGIN_REASON_LEN; text++) {
		if (quote) {
			if (*text == quote)
				quote = 0;
			continue;
		}
		if (*text == '"' || *text == '\'') {
			quote = *text;
			continue;
		}
		if (*text == ':' && text[1] == ' ')
			break;
		if (*text == ' ' && (n == 0 || out[n - 1] == ' '))
			continue;
		out[n++] = *text;
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = 0;
}

static void count_reason(struct login_times *t, int method, const char *text, uint64_t count)
{
	struct login_reason *r;

	for (int i = 0; i < t->reason_count; i++) {
		r = &t->reasons[i];
		if (r->method == method && strcmp(r->text, text) == 0) {
			r->count += count;
			return;
		}
	}
	if (t->reason_count == LOGIN_REASONS_MAX) {
		t->other_reasons += count;
		return;
	}
	r = &t->reasons[t->reason_count++];
	r->method = method;
	strcpy(r->text, text);
	r->count = count;
}

void login_refused(struct login_times *t, int method, const char *text, usec_t took)
{
	char reason[LOGIN_REASON_LEN + 1];

	plain_reason(text, reason);
	histogram_note(&t->refused[method], took);
	count_reason(t, method, reason, 1);
}

void login_times_add(struct login_times *to, const struct login_times *from)
{
	for (int i = 0; i < LOGIN_METHODS; i++) {
		histogram_add(&to->accepted[i], &from->accepted[i]);
		histogram_add(&to->refused[i], &from->refused[i]);
	}
	for (int i = 0; i < from->reason_count; i++)
		count_reason(to, from->reasons[i].method, from->reasons[i].text, from->reasons[i].count);
	to->other_reasons += from->other_reasons;
}
