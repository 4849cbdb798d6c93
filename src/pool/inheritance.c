#include "pool/inheritance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"
#include "pool/facts.h"

struct inherited_row *inheritance_add_row(struct inheritance *in)
{
	struct inherited_row *r;

	if (in->n == in->cap) {
		in->cap = in->cap ? in->cap * 2 : 64;
		in->rows = xrealloc(in->rows, in->cap * sizeof(*in->rows));
	}
	r = &in->rows[in->n++];
	memset(r, 0, sizeof(*r));
	r->fd = -1;
	return r;
}

struct inherited_record *inheritance_add_record(struct inheritance *in, const char *kind, int number)
{
	struct inherited_record *r;

	if (in->record_count == in->record_cap) {
		in->record_cap = in->record_cap ? in->record_cap * 2 : 64;
		in->records = xrealloc(in->records, in->record_cap * sizeof(*in->records));
	}
	r = &in->records[in->record_count++];
	memset(r, 0, sizeof(*r));
	snprintf(r->kind, sizeof(r->kind), "%s", kind);
	r->number = number;
	buf_init(&r->facts);
	return r;
}

void inheritance_free(struct inheritance *in)
{
	for (size_t i = 0; i < in->n; i++) {
		struct inherited_row *r = &in->rows[i];

		if (r->fd >= 0)
			close(r->fd);
		free(r->user);
		free(r->database);
		free(r->addr);
		str_wipe_free(r->password);
		free(r->client_encoding);
		free(r->std_strings);
		free(r->datestyle);
		free(r->timezone);
		mem_wipe(&r->keys, sizeof(r->keys));
		mem_wipe(r->key, sizeof(r->key));
	}
	for (size_t i = 0; i < in->record_count; i++)
		buf_wipe_free(&in->records[i].facts);
	free(in->rows);
	free(in->records);
	memset(in, 0, sizeof(*in));
}

int64_t inheritance_pid(const struct inheritance *in)
{
	for (size_t i = 0; i < in->record_count; i++)
		if (strcmp(in->records[i].kind, FACTS_PROCESS) == 0)
			return (int64_t)facts_number(buf_span(&in->records[i].facts), FACT_PID);
	return 0;
}
