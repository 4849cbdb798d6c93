/*
 * container/database.h - the PostgreSQL inside: made once, started, and given its service account.
 *
 * It listens on a Unix socket alone. Who may connect stands in a pg_hba.conf
 * of the run directory: template1 by peer, for the set-up that is done here as
 * the user postgres; all else by password.
 */
#ifndef CONTAINER_DATABASE_H
#define CONTAINER_DATABASE_H

#include "container/plan.h"

/* Returns 0 when it serves, else the status to end with; logged. */
int database_start(const struct plan *);

#endif
