/* A user name, NUL, the text of LDAP options. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/ldap_options.h"
#include "lib/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	char *copy = xmalloc(len + 2), error[128];
	struct ldap_options o;

	memcpy(copy, bytes, len);
	copy[len] = copy[len + 1] = 0;
	if (ldap_options_parse(copy + strlen(copy) + (strlen(copy) < len), &o, error, sizeof(error))) {
		char *filter = ldap_options_filter(&o, copy);

		/* What a name can add to a filter is a value, never structure. */
		if (filter && !o.filter && strpbrk(copy, "*()\\"))
			abort();
		free(filter);
		ldap_options_free(&o);
	} else if (!error[0])
		abort();
	free(copy);
	return 0;
}
