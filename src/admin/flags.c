#include "admin/flags.h"

#include <stdlib.h>

#include "lib/list.h"
#include "lib/mem.h"

struct held {
	struct list link;
	struct database *database; /* counted */
};

/* Control role only; as long as the databases that an operator has paused. */
static struct list held = {&held, &held};

static struct held *find_held(const struct database *db)
{
	LIST_FOR(node, &held) {
		struct held *h = LIST_ENTRY(node, struct held, link);

		if (h->database == db)
			return h;
	}
	return NULL;
}

void flags_set(struct registry *r, struct database *db, enum database_flag flag, bool on)
{
	struct held *h = find_held(db);
	bool has_flag;

	atomic_store_explicit(flag == FLAG_PAUSED ? &db->is_paused : &db->is_disabled, on, memory_order_relaxed);
	has_flag = atomic_load_explicit(&db->is_paused, memory_order_relaxed) ||
		   atomic_load_explicit(&db->is_disabled, memory_order_relaxed);
	if (has_flag && !h) {
		h = xcalloc(1, sizeof(*h));
		h->database = database_get(r, db->name);
		list_add_tail(&held, &h->link);
	} else if (!has_flag && h) {
		list_del(&h->link);
		database_put(r, h->database);
		free(h);
	}
}
