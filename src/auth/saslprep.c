#include "auth/saslprep.h"

struct span saslprep(const char *password)
{
	/* ASCII, control characters included, needs no preparation in PostgreSQL; for the rest see the header. */
	return span_str(password);
}
