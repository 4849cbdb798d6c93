/*
 * config/hba_names.h - the DATABASE and USER fields of HBA lines, with their
 * @files; for hba.c alone.
 */
#ifndef CONFIG_HBA_NAMES_H
#define CONFIG_HBA_NAMES_H

#include "config/hba.h"
#include "config/words.h"

struct hba_reading {
	struct hba_rules *rules;
	const char *path;
	int line; /* of the HBA file */
	hba_reader *read;
	void *read_ctx;
	size_t included_bytes, included_files;
	bool is_refused;
};

enum hba_field { HBA_DATABASE, HBA_USER };

/* Begins at the current word and leaves the one behind the field. false: the line is bad. */
MUST_CHECK bool hba_names_parse(struct hba_reading *, struct words *, enum hba_field, struct hba_names *);
void hba_names_free(struct hba_names *);
bool hba_names_have(const struct hba_names *, const char *name);

#endif
