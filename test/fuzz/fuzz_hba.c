/* Bytes as an ident file, and as HBA rules whose every @file holds the same bytes again. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/hba.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/rfc3339.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct input {
	const uint8_t *bytes;
	size_t len;
	int reads_left; /* the parser's own bounds are wide */
};

static char *copy_of(const struct input *in)
{
	char *copy = xmalloc(in->len + 1);

	memcpy(copy, in->bytes, in->len);
	copy[in->len] = 0;
	return copy;
}

static int read_again(void *ctx, const char *path, struct file_text *out)
{
	struct input *in = ctx;

	if (!*path)
		abort();
	errno = EMFILE;
	if (in->reads_left == 0)
		return -1;
	in->reads_left--;
	memset(out, 0, sizeof(*out));
	out->text = copy_of(in);
	out->len = in->len;
	return 0;
}

static void ask(const struct hba_rules *rules)
{
	static const uint8_t somewhere[16] = {10, 1, 2, 3};
	static const char *const names[] = {"a", "postgres", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"};

	for (unsigned i = 0; i < 16; i++) {
		const struct hba_rule *rule = hba_match(rules, &(struct hba_facts){
			.is_unix = i & 1, .is_tls = i & 2, .family = i & 4 ? AF_INET : AF_INET6, .address = somewhere,
			.database = names[i % 3], .user = names[(i + 1) % 3],
			.replication = i & 8 ? REPLICATION_PHYSICAL : REPLICATION_NONE});

		if (rule && (rule->line < 1 || (rule->type == HBA_LOCAL) != ((i & 1) != 0)))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static bool is_quiet;
	struct input in = {bytes, len, 100};
	struct ident_maps *maps;
	struct hba_rules *rules;
	int64_t seconds;
	char *text;

	if (!is_quiet) {
		is_quiet = true;
		(void)log_configure(&(struct log_setup){.to_stderr = false});
	}
	text = copy_of(&in);
	if (rfc3339_parse(text, len, &seconds) && len < 10)
		abort();
	maps = ident_parse(text, len, "fuzz");
	free(text);
	text = copy_of(&in);
	rules = hba_parse(text, len, "dir/fuzz", maps, read_again, &in);
	free(text);
	if (rules)
		ask(rules);
	hba_unref(rules);
	ident_unref(maps);
	return 0;
}
