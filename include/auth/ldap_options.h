/*
 * auth/ldap_options.h - the options of LDAP authentication, from
 * auth_ldap_options or from behind the word ldap of an HBA line.
 *
 *	key=value pairs apart by white space and commas; key and value may be
 *	"quoted", a doubled quote meaning one. Nothing stands around the =.
 *	Reading ends, without a complaint, at the first thing that is no pair.
 *
 * A pure function; the text may come from a file that somebody else writes.
 *
 * Rules: configuration specification, section 13.
 * Tests: test/unit/test_ldap.c, test/fuzz/fuzz_ldap.c
 */
#ifndef AUTH_LDAP_OPTIONS_H
#define AUTH_LDAP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#define LDAP_OPTIONS_MAX 1023

enum ldap_scope { LDAP_SCOPE_OF_BASE, LDAP_SCOPE_OF_ONE, LDAP_SCOPE_OF_SUBTREE };

/* All text is owned; NULL: not given. */
struct ldap_options {
	char *server; /* hosts, separated by spaces */
	int port;     /* 0: that of the scheme */
	bool is_ldaps, start_tls;
	char *prefix, *suffix;		    /* simple bind */
	char *base_dn, *bind_dn, *password; /* search and bind */
	char *attribute, *filter;
	enum ldap_scope scope;
	bool is_cut; /* something stands behind the last pair */
};

/* true: *o is filled and to be freed. false: error says what is wrong, and nothing is to be freed. */
bool ldap_options_parse(const char *text, struct ldap_options *o, char *error, size_t cap);
/* Wipes the password. Harmless on zeroed options. */
void ldap_options_free(struct ldap_options *o);

static inline bool ldap_options_search(const struct ldap_options *o)
{
	return o->base_dn != NULL;
}

/*
 * The filter of the search, owned by the caller. NULL: the name has bytes that
 * mean something in a filter, or no memory.
 */
char *ldap_options_filter(const struct ldap_options *o, const char *user);

#endif
