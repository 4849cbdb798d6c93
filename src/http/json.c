#include "http/json.h"

size_t utf8_length(const char *text)
{
	static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *s = (const unsigned char *)text;
	size_t n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
	unsigned code = n == 1 ? s[0] : n ? s[0] & (0x7fu >> n) : 0;

	for (size_t i = 1; i < n; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	return n && code >= least[n] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? n : 0;
}

void json_put_string(struct buf *b, const char *text)
{
	if (!text) {
		buf_put_text(b, "null");
		return;
	}
	buf_put_u8(b, '"');
	while (*text) {
		size_t n = utf8_length(text);

		if (n == 0)
			buf_put_u8(b, '?');
		else if ((unsigned char)*text < 0x20 || *text == 0x7f)
			buf_printf(b, "\\u%04x", (unsigned char)*text);
		else {
			if (*text == '"' || *text == '\\')
				buf_put_u8(b, '\\');
			buf_put(b, text, n);
		}
		text += n ? n : 1;
	}
	buf_put_u8(b, '"');
}
