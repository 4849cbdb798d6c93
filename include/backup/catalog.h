/*
 * backup/catalog.h - what backups there are under a prefix.
 *
 * Only names of our pattern are kept, packed: a hundred thousand take a few
 * MiB. Manifests are read when somebody asks what they say, a few at a time.
 *
 * Rules: backup specification, sections 10.10, 12, 13.1.
 * Tests: test/unit/test_backup_store.c, test/system/test_backup_commands.py
 */
#ifndef BACKUP_CATALOG_H
#define BACKUP_CATALOG_H

#include "backup/manifest.h"
#include "backup/object_name.h"
#include "backup/retention.h"
#include "backup/storage.h"

struct catalog {
	struct storage *store;		   /* borrowed */
	const char *prefix;		   /* borrowed; clean */
	const struct manifest_keys *keys;  /* borrowed */
	const char *key_id;		   /* borrowed; of the key in use, in hex; NULL: not compared */
	struct backup_entry *entries;	   /* owned; newest first */
	size_t count;
	size_t ignored;			   /* objects under the prefix that are not ours */
	uint64_t bytes;			   /* of ours */
	size_t unbelieved;		   /* manifests that were malformed, unsigned or forged */
	int64_t now;
	struct storage_error error;	   /* of the last thing that went wrong */
};

/* Each foreign object, while the listing runs. May be NULL. */
typedef void catalog_foreign(void *ctx, const char *key, const struct object_info *);

/*
 * Lists objects and marks. Anything but STORAGE_OK: the catalog is empty, since
 * an incomplete list is good for nothing. Frees what it held before.
 */
enum storage_result catalog_load(struct catalog *, struct storage *, const char *prefix, const struct manifest_keys *,
				 int64_t now, catalog_foreign *, void *ctx);
void catalog_free(struct catalog *);

/* Reads the manifests of entries[from .. from + count) that have one and have not been read. */
enum storage_result catalog_read_manifests(struct catalog *, size_t from, size_t count);
/* The manifest of one backup. STORAGE_OK with NULL: it has none, or none to be believed. */
enum storage_result catalog_manifest(struct catalog *, const struct backup_entry *, struct manifest **);

/*
 * The backup that was meant: "latest" (the newest good one, not in the
 * future), a time, an object key or a name. STORAGE_NOT_FOUND: none; why says
 * so to a person. below: only entries after that one in the list (older), or
 * NULL.
 */
enum storage_result catalog_choose(struct catalog *, const char *what, const struct backup_entry **, char *why,
				   size_t why_size);
/* The newest good one not after when. */
enum storage_result catalog_choose_at(struct catalog *, int64_t when, const struct backup_entry **);
/* The newest good one older than that one: for the fallback of a restore. */
enum storage_result catalog_choose_older(struct catalog *, const struct backup_entry *than,
					 const struct backup_entry **);
void catalog_key(const struct catalog *, const struct backup_entry *, char key[BACKUP_KEY_MAX]);

/* Writes a manifest in place of the one that is there. */
enum storage_result manifest_store(struct storage *, const char *prefix, int64_t when, enum backup_format,
				   const struct manifest *, const struct manifest_keys *, struct storage_error *);

#endif
