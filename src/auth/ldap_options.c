#include "auth/ldap_options.h"

#include <ldap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/mem.h"

static bool is_gap(char c)
{
	return c == ' ' || c == '\t' || c == ',' || c == '\r' || c == '\n';
}

/* A word up to one of the stop bytes, or "a quoted one". Owned; NULL: there is none. */
static char *take_word(const char **at, const char *stops)
{
	const char *p = *at;
	char *word, *to;

	word = to = xmalloc(strlen(p) + 1);
	if (*p == '"') {
		for (p++; *p; *to++ = *p++)
			if (*p == '"') {
				if (p[1] != '"')
					break;
				p++;
			}
		if (*p != '"') {
			*to = 0;
			str_wipe_free(word);
			return NULL;
		}
		p++;
	} else {
		while (*p && !strchr(stops, *p))
			*to++ = *p++;
		if (to == word) {
			free(word);
			return NULL;
		}
	}
	*to = 0;
	*at = p;
	return word;
}

static bool say(char *error, size_t cap, const char *text)
{
	snprintf(error, cap, "%s", text);
	return false;
}

static void replace(char **field, const char *value)
{
	str_wipe_free(*field);
	*field = xstrdup(value);
}

static bool take_url(struct ldap_options *o, const char *text, char *error, size_t cap)
{
	LDAPURLDesc *url;

	if (ldap_url_parse(text, &url) != LDAP_URL_SUCCESS)
		return say(error, cap, "could not parse ldapurl");
	if (strcmp(url->lud_scheme, "ldap") != 0 && strcmp(url->lud_scheme, "ldaps") != 0) {
		ldap_free_urldesc(url);
		return say(error, cap, "unsupported scheme in ldapurl");
	}
	o->is_ldaps = strcmp(url->lud_scheme, "ldaps") == 0;
	if (url->lud_host && url->lud_host[0])
		replace(&o->server, url->lud_host);
	o->port = url->lud_port;
	if (url->lud_dn && url->lud_dn[0])
		replace(&o->base_dn, url->lud_dn);
	if (url->lud_attrs && url->lud_attrs[0])
		replace(&o->attribute, url->lud_attrs[0]);
	switch (url->lud_scope) {
	case LDAP_SCOPE_BASE:
		/* Also what an URL without a scope says; there the default is ours. */
		o->scope = strstr(text, "?base") ? LDAP_SCOPE_OF_BASE : LDAP_SCOPE_OF_SUBTREE;
		break;
	case LDAP_SCOPE_ONELEVEL:
		o->scope = LDAP_SCOPE_OF_ONE;
		break;
	default:
		o->scope = LDAP_SCOPE_OF_SUBTREE;
	}
	if (url->lud_filter && url->lud_filter[0])
		replace(&o->filter, url->lud_filter);
	ldap_free_urldesc(url);
	return true;
}

static bool take_pair(struct ldap_options *o, const char *key, const char *value, char *error, size_t cap)
{
	const struct {
		const char *key;
		char **field;
	} texts[] = {
		{"ldapserver", &o->server},	   {"ldapprefix", &o->prefix},
		{"ldapsuffix", &o->suffix},	   {"ldapbasedn", &o->base_dn},
		{"ldapbinddn", &o->bind_dn},	   {"ldapbindpasswd", &o->password},
		{"ldapsearchattribute", &o->attribute}, {"ldapsearchfilter", &o->filter},
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (strcmp(key, texts[i].key) == 0) {
			replace(texts[i].field, value);
			return true;
		}
	if (strcmp(key, "ldapport") == 0) {
		char *end;
		long port = strtol(value, &end, 10);

		if (*end || end == value || port < 1 || port > 65535) {
			snprintf(error, cap, "invalid ldapport value: \"%.40s\"", value);
			return false;
		}
		o->port = (int)port;
		return true;
	}
	if (strcmp(key, "ldapscheme") == 0) {
		if (strcmp(value, "ldap") != 0 && strcmp(value, "ldaps") != 0) {
			snprintf(error, cap, "invalid ldapscheme value: \"%.40s\"", value);
			return false;
		}
		o->is_ldaps = value[4] == 's';
		return true;
	}
	if (strcmp(key, "ldaptls") == 0) {
		o->start_tls = strcmp(value, "1") == 0;
		return true;
	}
	if (strcmp(key, "ldapurl") == 0)
		return take_url(o, value, error, cap);
	snprintf(error, cap, "unrecognized LDAP option: \"%.40s\"", key);
	return false;
}

static bool agree(const struct ldap_options *o, char *error, size_t cap)
{
	bool simple = o->prefix || o->suffix;
	bool search = o->base_dn || o->bind_dn || o->password || o->attribute || o->filter;

	if (simple && search)
		return say(error, cap, "cannot mix options for simple bind and search+bind modes");
	if (!simple && !o->base_dn)
		return say(error, cap, "one of ldapbasedn, ldapprefix and ldapsuffix must be set");
	if (o->attribute && o->filter)
		return say(error, cap, "cannot use ldapsearchattribute together with ldapsearchfilter");
	if (simple && !o->server)
		return say(error, cap, "ldapserver must be set where ldapbasedn is not");
	return true;
}

bool ldap_options_parse(const char *text, struct ldap_options *o, char *error, size_t cap)
{
	bool ok = true;

	*o = (struct ldap_options){.scope = LDAP_SCOPE_OF_SUBTREE};
	error[0] = 0;
	if (strlen(text) > LDAP_OPTIONS_MAX)
		return say(error, cap, "LDAP options are longer than 1023 bytes");
	while (ok) {
		char *key, *value;

		while (is_gap(*text))
			text++;
		if (!*text)
			break;
		key = take_word(&text, "= \t,\r\n");
		if (!key || *text != '=') {
			o->is_cut = true;
			free(key);
			break;
		}
		text++;
		value = take_word(&text, " \t,\r\n");
		if (!value) {
			o->is_cut = true;
			free(key);
			break;
		}
		ok = take_pair(o, key, value, error, cap);
		free(key);
		str_wipe_free(value);
	}
	if (ok && agree(o, error, cap))
		return true;
	ldap_options_free(o);
	return false;
}

void ldap_options_free(struct ldap_options *o)
{
	free(o->server);
	free(o->prefix);
	free(o->suffix);
	free(o->base_dn);
	free(o->bind_dn);
	str_wipe_free(o->password);
	free(o->attribute);
	free(o->filter);
	*o = (struct ldap_options){0};
}

char *ldap_options_filter(const struct ldap_options *o, const char *user)
{
	static const char variable[] = "$username";
	struct buf b;
	char *out = NULL;

	if (strpbrk(user, "*()\\/"))
		return NULL;
	buf_init(&b);
	if (!o->filter)
		buf_printf(&b, "(%s=%s)", o->attribute ? o->attribute : "uid", user);
	else
		for (const char *p = o->filter; *p;) {
			if (strncmp(p, variable, sizeof(variable) - 1) == 0) {
				buf_put_text(&b, user);
				p += sizeof(variable) - 1;
			} else
				buf_put_u8(&b, (uint8_t)*p++);
		}
	buf_put_u8(&b, 0);
	if (buf_ok(&b))
		out = xstrdup((const char *)buf_data(&b));
	buf_free(&b);
	return out;
}
