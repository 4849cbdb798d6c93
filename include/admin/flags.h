/*
 * admin/flags.h - a database that is paused or disabled stays known.
 *
 * Entities go with their last user, and the flags with them; so the console
 * counts every database that carries one. Belongs to the control role.
 */
#ifndef ADMIN_FLAGS_H
#define ADMIN_FLAGS_H

#include <stdbool.h>

#include "pool/entity.h"

enum database_flag { FLAG_PAUSED, FLAG_DISABLED };

/* db is the caller's, counted. Workers see the change at their next look. */
void flags_set(struct registry *, struct database *, enum database_flag, bool on);

#endif
