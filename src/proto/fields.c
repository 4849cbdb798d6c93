#include "proto/fields.h"

#include "proto/reader.h"

static int is_sqlstate(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (!((s[n] >= '0' && s[n] <= '9') || (s[n] >= 'A' && s[n] <= 'Z')))
			return 0;
	return n == 5;
}

void error_fields_parse(struct span body, struct error_fields *f)
{
	struct reader r = reader_over_span(body);

	*f = (struct error_fields){0};
	for (;;) {
		uint8_t field = reader_u8(&r);
		const char *text;

		if (!field) /* the terminator, or nothing left */
			return;
		text = reader_str(&r);
		if (!reader_ok(&r))
			return;
		switch (field) {
		case 'S':
			f->severity = text;
			break;
		case 'C':
			f->sqlstate = is_sqlstate(text) ? text : NULL;
			break;
		case 'M':
			f->message = text;
			break;
		default: /* fields of later versions are to be passed over */
			break;
		}
	}
}
