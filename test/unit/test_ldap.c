/* The options of LDAP authentication: configuration specification, section 13. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/ldap_options.h"
#include "lib/util.h"

static const char *shown(const char *text)
{
	return text ? text : "-";
}

/* server port ldaps tls prefix suffix base binddn attribute filter scope */
static void describe(const struct ldap_options *o, char *out, size_t cap)
{
	static const char *const scopes[] = {"base", "one", "sub"};

	snprintf(out, cap, "%s|%d|%s%s|%s|%s|%s|%s|%s|%s|%s|%s", shown(o->server), o->port, o->is_ldaps ? "s" : "",
		 o->start_tls ? "t" : "", shown(o->prefix), shown(o->suffix), shown(o->base_dn), shown(o->bind_dn),
		 shown(o->password), shown(o->attribute), shown(o->filter), scopes[o->scope]);
}

static void options_are_read(void **state)
{
	static const struct {
		const char *text, *expected; /* without a | : the error */
	} rows[] = {
		{"ldapserver=h ldapprefix=\"cn=\" ldapsuffix=\", dc=x\"", "h|0||cn=|, dc=x|-|-|-|-|-|sub"},
		{"ldapserver=h,ldapbasedn=\"dc=x\" ldapsearchattribute=mail", "h|0||-|-|dc=x|-|-|mail|-|sub"},
		{"ldapserver=\"a b\" ldapport=1389 ldaptls=1 ldapbasedn=dc", "a b|1389|t|-|-|dc|-|-|-|-|sub"},
		{"ldapserver=h ldapscheme=ldaps ldapbasedn=d ldapbinddn=b ldapbindpasswd=\"p\"\"q\"",
		 "h|0|s|-|-|d|b|p\"q|-|-|sub"},
		{"ldapurl=\"ldap://h:99/dc=x,dc=y??one?(a=$username)\"", "h|99||-|-|dc=x,dc=y|-|-|-|(a=$username)|one"},
		{"ldapurl=ldaps://h/dc=x??base", "h|636|s|-|-|dc=x|-|-|-|-|base"},
		{"ldapurl=ldap://h/dc=x?uid?" "?(a=b)", "cannot use ldapsearchattribute together with ldapsearchfilter"},
		{"ldapurl=ldap://h/dc=x", "h|389||-|-|dc=x|-|-|-|-|sub"},
		{"ldapurl=http://h/dc=x", "could not parse ldapurl"},
		{"ldapbasedn=d", "-|0||-|-|d|-|-|-|-|sub"},
		{"ldapserver=h ldapprefix=a ldapprefix=b", "h|0||b|-|-|-|-|-|-|sub"},
		/* Reading ends at what is no pair, silently. */
		{"ldapserver=h ldapprefix=a =oops ldapport=0", "h|0||a|-|-|-|-|-|-|sub"},
		{"ldapserver=h ldapprefix=a ldapsuffix= ldapport=x", "h|0||a|-|-|-|-|-|-|sub"},
		{"ldapserver=h ldapprefix=a ldapsuffix=\"open", "h|0||a|-|-|-|-|-|-|sub"},
		{"ldapserver=h ldapprefix=a word ldapport=x", "h|0||a|-|-|-|-|-|-|sub"},
		{"ldapserver=h ldapprefix=a ldapbasedn=d", "cannot mix options for simple bind and search+bind modes"},
		{"ldapserver=h ldapsuffix=a ldapbinddn=d", "cannot mix options for simple bind and search+bind modes"},
		{"ldapserver=h", "one of ldapbasedn, ldapprefix and ldapsuffix must be set"},
		{"", "one of ldapbasedn, ldapprefix and ldapsuffix must be set"},
		{"ldapprefix=a", "ldapserver must be set where ldapbasedn is not"},
		{"ldapbasedn=d ldapsearchattribute=a ldapsearchfilter=(b)",
		 "cannot use ldapsearchattribute together with ldapsearchfilter"},
		{"ldapport=0", "invalid ldapport value: \"0\""},
		{"ldapport=65536", "invalid ldapport value: \"65536\""},
		{"ldapport=12x", "invalid ldapport value: \"12x\""},
		{"ldapscheme=http", "invalid ldapscheme value: \"http\""},
		{"ldapfoo=1", "unrecognized LDAP option: \"ldapfoo\""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ldap_options o;
		char error[128], text[512];

		if (ldap_options_parse(rows[i].text, &o, error, sizeof(error))) {
			describe(&o, text, sizeof(text));
			assert_string_equal(text, rows[i].expected);
			ldap_options_free(&o);
		} else
			assert_string_equal(error, rows[i].expected);
	}
}

static void length_is_bounded(void **state)
{
	char text[LDAP_OPTIONS_MAX + 2], error[128];
	struct ldap_options o;

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "ldapserver=h ldapprefix=", 24);
	text[LDAP_OPTIONS_MAX + 1] = 0;
	assert_false(ldap_options_parse(text, &o, error, sizeof(error)));
	assert_string_equal(error, "LDAP options are longer than 1023 bytes");
	text[LDAP_OPTIONS_MAX] = 0;
	assert_true(ldap_options_parse(text, &o, error, sizeof(error)));
	assert_int_equal(strlen(o.prefix), LDAP_OPTIONS_MAX - 24);
	ldap_options_free(&o);
}

static void filters_carry_the_name(void **state)
{
	static const struct {
		const char *attribute, *filter, *user, *expected; /* NULL: refused */
	} rows[] = {
		{NULL, NULL, "someone", "(uid=someone)"},
		{"mail", NULL, "a@b", "(mail=a@b)"},
		{NULL, "(|(uid=$username)(mail=$username))", "x", "(|(uid=x)(mail=x))"},
		{NULL, "(uid=fixed)", "x", "(uid=fixed)"},
		{NULL, "($user)", "x", "($user)"},
		{NULL, NULL, "a*", NULL},
		{NULL, NULL, "a)(b", NULL},
		{NULL, NULL, "a\\2a", NULL},
		{NULL, NULL, "a/b", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ldap_options o = {.attribute = (char *)(uintptr_t)rows[i].attribute,
					 .filter = (char *)(uintptr_t)rows[i].filter};
		char *filter = ldap_options_filter(&o, rows[i].user);

		if (rows[i].expected)
			assert_string_equal(filter, rows[i].expected);
		else
			assert_null(filter);
		free(filter);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_read),
		cmocka_unit_test(length_is_bounded),
		cmocka_unit_test(filters_carry_the_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
