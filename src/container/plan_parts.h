/* What the two halves of the plan share. */
#ifndef CONTAINER_PLAN_PARTS_H
#define CONTAINER_PLAN_PARTS_H

#include "container/plan.h"

/* pgbouncer.ini, the wallets and the user list. false: logged. */
bool plan_write_ini(struct plan *);

/* false: it holds a line end or another control character, and the variable was told of. */
bool is_one_line(const struct plan *, const char *variable, const char *value);

#endif
