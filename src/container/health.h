#ifndef CONTAINER_HEALTH_H
#define CONTAINER_HEALTH_H

#include "container/variables.h"

/* Asks /readyz where the pooler answers HTTP. 0: ready; 1: not, and it says why. */
int health(const struct variables *);

#endif
