#include "config/setting_types.h"

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/settings.h"
#include "lib/mem.h"

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void)
{
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

int word_index(const char *const *words, const char *text)
{
	for (int i = 0; words[i]; i++)
		if (strcasecmp(words[i], text) == 0)
			return i;
	return -1;
}

static bool judge(int64_t value, struct setting_range range, bool *in_range)
{
	*in_range = value >= range.lo && value <= range.hi;
	return *in_range;
}

/* A C integer literal; numbers beyond any int mean the largest, so that "practically unlimited" stays that. */
static bool parse_int(const struct setting_type *t, const char *text, struct setting_range range, void *field,
		      bool *in_range)
{
	char *end;
	long value = strtol(text, &end, 0);

	(void)t;
	if (end == text || *end)
		return false;
	if (range.lo == INT_MIN && value < INT_MIN)
		value = INT_MIN;
	if (range.hi == INT_MAX && value > INT_MAX)
		value = INT_MAX;
	if (!judge(value, range, in_range))
		return false;
	*(int *)field = (int)value;
	return true;
}

static bool parse_uint(const struct setting_type *t, const char *text, struct setting_range range, void *field,
		       bool *in_range)
{
	char *end;
	unsigned long value = strtoul(text, &end, 0);

	(void)t;
	if (end == text || *end)
		return false;
	if (value > UINT_MAX)
		value = UINT_MAX;
	if (!judge((int64_t)value, range, in_range))
		return false;
	*(unsigned *)field = (unsigned)value;
	return true;
}

static bool parse_time(const struct setting_type *t, const char *text, struct setting_range range, void *field,
		       bool *in_range)
{
	char *end;
	double seconds;

	(void)t;
	pthread_once(&c_locale_once, make_c_locale);
	seconds = strtod_l(text, &end, c_locale);
	if (end == text || *end || isnan(seconds) || seconds < 0)
		return false;
	if (range.hi == TIME_MAX && seconds > (double)TIME_MAX)
		seconds = (double)TIME_MAX;
	*in_range = seconds >= (double)range.lo && seconds <= (double)range.hi;
	if (!*in_range)
		return false;
	*(usec_t *)field = (usec_t)llround(seconds * (double)USEC_PER_SEC);
	return true;
}

static bool parse_string(const struct setting_type *t, const char *text, struct setting_range range, void *field,
			 bool *in_range)
{
	char **owned = field, *fresh = xstrdup(text);

	(void)t;
	(void)range;
	(void)in_range;
	str_wipe_free(*owned);
	*owned = fresh;
	return true;
}

static bool parse_word(const struct setting_type *t, const char *text, struct setting_range range, void *field,
		       bool *in_range)
{
	int i = word_index(t->words, text);

	(void)range;
	(void)in_range;
	if (i < 0)
		return false;
	*(int *)field = i;
	return true;
}

static bool parse_workers(const struct setting_type *t, const char *text, struct setting_range range, void *field,
			  bool *in_range)
{
	if (strcasecmp(text, "auto") != 0)
		return parse_int(t, text, range, field, in_range);
	*(int *)field = WORKERS_AUTO;
	return true;
}

static const char *print_int(const struct setting_type *t, const void *field, char *buf, size_t cap)
{
	(void)t;
	snprintf(buf, cap, "%d", *(const int *)field);
	return buf;
}

static const char *print_uint(const struct setting_type *t, const void *field, char *buf, size_t cap)
{
	(void)t;
	snprintf(buf, cap, "%u", *(const unsigned *)field);
	return buf;
}

static const char *print_time(const struct setting_type *t, const void *field, char *buf, size_t cap)
{
	locale_t callers;

	(void)t;
	pthread_once(&c_locale_once, make_c_locale);
	callers = uselocale(c_locale);
	snprintf(buf, cap, "%g", (double)*(const usec_t *)field / (double)USEC_PER_SEC);
	uselocale(callers);
	return buf;
}

static const char *print_string(const struct setting_type *t, const void *field, char *buf, size_t cap)
{
	(void)t;
	(void)buf;
	(void)cap;
	return *(const char *const *)field;
}

static const char *print_word(const struct setting_type *t, const void *field, char *buf, size_t cap)
{
	(void)buf;
	(void)cap;
	return t->words[*(const int *)field];
}

static const char *print_workers(const struct setting_type *t, const void *field, char *buf, size_t cap)
{
	return *(const int *)field == WORKERS_AUTO ? "auto" : print_int(t, field, buf, cap);
}

const struct setting_type setting_INT = {"int", NULL, sizeof(int), false, parse_int, print_int};
const struct setting_type setting_UINT = {"uint", NULL, sizeof(unsigned), false, parse_uint, print_uint};
const struct setting_type setting_BOOL = {"bool", NULL, sizeof(int), false, parse_int, print_int};
const struct setting_type setting_TIME = {"time", NULL, sizeof(usec_t), false, parse_time, print_time};
const struct setting_type setting_STRING = {"string", NULL, sizeof(char *), true, parse_string, print_string};
const struct setting_type setting_WORKERS = {"int or auto", NULL, sizeof(int), false, parse_workers, print_workers};

/* The order of each list is that of its enum in config/config.h. */
#define WORDS(type, ...)                                                                                               \
	static const char *words_##type[] = {__VA_ARGS__, NULL};                                                       \
	const struct setting_type setting_##type = {"enum", words_##type, sizeof(int), false, parse_word, print_word}
WORDS(POOL_MODE, "session", "transaction", "statement");
WORDS(SSLMODE, "disable", "allow", "prefer", "require", "verify-ca", "verify-full");
WORDS(AUTH_TYPE, "any", "trust", "plain", "md5", "cert", "hba", "pam", "ldap", "scram-sha-256", "ecdsa");
WORDS(REQUIRE_TLS, "never", "remote", "always");
WORDS(REPLAY, "off", "source", "once");
#undef WORDS
