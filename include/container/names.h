/* container/names.h - what the lists of settings need to be read: see container/names.def. */
#ifndef CONTAINER_NAMES_H
#define CONTAINER_NAMES_H

#include "lib/util.h"

struct alias {
	const char *variable, *setting;
};

static const struct alias aliases[] = {
#define ALIAS(variable, setting) {variable, setting},
#define OWN(variable)
#include "container/names.def"
#undef ALIAS
#undef OWN
};

#endif
