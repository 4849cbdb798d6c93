/*
 * backup/part_size.h - how large the parts of an upload are.
 *
 * Pure. Uniform: one size for the whole upload, chosen before the first part
 * from an estimate, since some stores want all parts but the last equal.
 *
 * Rules: backup specification, section 10.4.  Tests: test/unit/test_backup_names.c
 */
#ifndef BACKUP_PART_SIZE_H
#define BACKUP_PART_SIZE_H

#include <stdint.h>

#define PART_MIN ((uint64_t)5 << 20)
#define PART_MAX ((uint64_t)5 << 30)
#define PART_SMALLEST_CHOSEN ((uint64_t)8 << 20)
#define OBJECT_MAX ((uint64_t)5 << 40)
#define PARTS_MAX 10000u

/* estimate: bytes of the object to come, or -1 for unknown. 0: no size reaches it. */
uint64_t part_size_choose(int64_t estimate, uint64_t smallest, unsigned max_parts);
/* Mode growing: of part number, counted from 1. */
uint64_t part_size_growing(unsigned number);

#endif
