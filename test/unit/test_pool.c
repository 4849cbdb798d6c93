/*
 * Unit tests of what the pool room decides without a socket: outstanding
 * answers, tracked parameters, entities. The ledger has its own file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/cancel_key.h"
#include "pool/entity.h"
#include "pool/outstanding.h"

/* For its table: that every count came back to zero can be seen nowhere else. */
#include "../../src/pool/params.c"

/* --- outstanding: a batch and what the server says to it ----------------- */

struct dropped {
	char types[64];
	void *statements[64];
	size_t n;
};

static void note_dropped(void *ctx, const struct request *r)
{
	struct dropped *d = ctx;

	d->types[d->n] = (char)r->type;
	d->statements[d->n++] = r->statement;
}

/*
 * A conversation is a line of words. A capital or digit after '>' is a
 * request that is sent, "skip:" and "fake:" say how; after '<' comes what the
 * server says, as relay.c would pass it on: "Z", "E", "E/copy", "C/copy".
 * What reaches the client is noted: a server message as itself, a fake answer
 * in brackets, a dropped entry as -X.
 */
static void server_says(struct outstanding *q, const char *word, char *heard)
{
	bool in_copy = strstr(word, "/copy") != NULL;
	struct dropped dropped = {.n = 0};
	struct request r;
	bool skip;

	if (word[0] == 'E')
		outstanding_error(q, in_copy, note_dropped, &dropped);
	else if (word[0] == 'Z')
		outstanding_before_ready(q, note_dropped, &dropped);
	else if (in_copy)
		outstanding_copy_done(q, note_dropped, &dropped);
	for (size_t i = 0; i < dropped.n; i++)
		sprintf(heard + strlen(heard), "-%c", dropped.types[i]);
	skip = word[0] != 'E' && outstanding_answer(q, (uint8_t)word[0], &r) && r.action == REQUEST_SKIP;
	if (!skip)
		sprintf(heard + strlen(heard), "%c", word[0]);
	while (outstanding_take_fake(q, &r))
		sprintf(heard + strlen(heard), "(%c)", r.type == 'P' ? '1' : '3');
}

static void client_says(struct outstanding *q, const char *word, char *heard)
{
	enum request_action how = strncmp(word, "skip:", 5) == 0   ? REQUEST_SKIP
				  : strncmp(word, "fake:", 5) == 0 ? REQUEST_FAKE
								   : REQUEST_FORWARD;
	struct request r;

	assert_true(outstanding_push(q, (uint8_t)word[how == REQUEST_FORWARD ? 0 : 5], how, NULL));
	while (outstanding_take_fake(q, &r))
		sprintf(heard + strlen(heard), "(%c)", r.type == 'P' ? '1' : '3');
}

static void converse(const char *line, char *heard, char *left)
{
	struct outstanding q;
	char copy[200], *save = NULL;
	bool by_server = false;

	outstanding_init(&q);
	snprintf(copy, sizeof(copy), "%s", line);
	heard[0] = left[0] = 0;
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (word[0] == '<' || word[0] == '>')
			by_server = word[0] == '<';
		else if (by_server)
			server_says(&q, word, heard);
		else
			client_says(&q, word, heard);
	}
	for (uint32_t i = 0; i < q.count; i++)
		sprintf(left + i, "%c", q.ring[(q.first + i) & (q.cap - 1)].type);
	outstanding_free(&q);
}

static void conversations(void **state)
{
	static const struct {
		const char *says, *line, *heard, *left;
	} rows[] = {
		{"a simple query ends with ReadyForQuery", "> Q < T D C Z", "TDCZ", ""},
		{"CommandComplete leaves the Query", "> Q < T D C", "TDC", "Q"},
		{"a query of several statements is one entry", "> Q < T C T C I Z", "TCTCIZ", ""},
		{"a function call too", "> F < V Z", "VZ", ""},
		{"an extended batch, answered one by one", "> P B D E S < 1 2 T D C Z", "12TDCZ", ""},
		{"half of it", "> P B D E S < 1 2", "12", "DES"},
		{"Describe of something without rows", "> D S < t n Z", "tnZ", ""},
		{"an empty query string", "> P B E S < 1 2 I Z", "12IZ", ""},
		{"a portal that is not done", "> E E S < D s D C Z", "DsDCZ", ""},
		{"Close", "> C S < 3 Z", "3Z", ""},
		{"a message that does not answer the head pops nothing", "> P S < 2 3 n T C I s Z", "23nTCIsZ", "PS"},
		{"ReadyForQuery without an error waits for its Sync", "> P B S < Z", "Z", "PBS"},
		{"something unasked pops nothing", "> Q < N A S Z", "NASZ", ""},
		{"an answer that nobody waits for", "> < Z C 1", "ZC1", ""},

		{"a skipped Parse is swallowed", "> skip:P B E S < 1 2 C Z", "2CZ", ""},
		{"a skipped Close is swallowed", "> skip:C B S < 3 2 Z", "2Z", ""},
		{"a skipped Sync is swallowed", "> skip:S Q < Z C Z", "CZ", ""},
		{"only the head is skipped", "> P skip:P S < 1 1 Z", "1Z", ""},

		{"a fake Parse before everything is answered at once", "> fake:P B S", "(1)", "BS"},
		{"a fake Close too", "> fake:C", "(3)", ""},
		{"a fake waits for what was sent before it", "> B fake:P E S < 2 C Z", "2(1)CZ", ""},
		{"several fakes come together, in their order", "> B fake:P fake:C fake:P S < 2 Z", "2(1)(3)(1)Z", ""},
		{"a fake is answered behind the message, not before", "> Q fake:P S < T C Z Z", "TCZ(1)Z", ""},
		{"a fake behind a skipped one", "> skip:C fake:P B S < 3 2 Z", "(1)2Z", ""},

		{"an error drops the batch to its Sync", "> P B D E S < E Z", "E-P-B-D-EZ", ""},
		{"what was answered before stays answered", "> P B E S < 1 E Z", "1E-B-EZ", ""},
		{"the next batch is untouched", "> P B S P B S < E Z 1 2 Z", "E-P-BZ12Z", ""},
		{"two batches, both in error", "> P S B S < E Z E Z", "E-PZE-BZ", ""},
		{"an error of a simple query drops nothing", "> Q P S < E Z 1 Z", "EZ1Z", ""},
		{"an error of a function call drops nothing", "> F Q < E Z C Z", "EZCZ", ""},
		{"an error at the Sync itself drops nothing", "> S Q < E Z Z", "EZZ", ""},
		{"fakes of a failed batch are dropped", "> P fake:P fake:C S < E Z", "E-P-P-CZ", ""},
		{"skipped ones too", "> P skip:P S Q < E Z C Z", "E-P-PZCZ", ""},
		{"a Query inside a failed batch is dropped: the server ignored it", "> P Q S < E Z", "E-P-QZ", ""},
		{"a delayed Sync covers what came after the error", "> P B < E > D E C S < Z", "E-P-B-D-E-CZ", ""},
		{"the error mark ends with its ReadyForQuery", "> P S < E Z > P B S < Z", "E-PZZ", "PBS"},
		{"a failed skip: an error is always heard", "> skip:P S < E Z", "E-PZ", ""},

		{"COPY in a simple query", "> Q < G > c < C/copy Z", "G-cCZ", ""},
		{"COPY, given up by the client", "> Q < G > f < E/copy Z", "G-fEZ", ""},
		{"COPY that fails before its end was sent", "> Q < G E/copy Z", "GEZ", ""},
		{"COPY that fails after its end was sent", "> Q < G > c < E/copy Z", "G-cEZ", ""},
		{"a query sent behind a COPY has its own ReadyForQuery", "> Q < G > c Q < C/copy Z", "G-cCZ", "Q"},
		{"the same after a failed COPY", "> Q < G > c Q < E/copy Z", "G-cEZ", "Q"},
		{"two COPY in one query", "> Q < G > c < C/copy G > c < C/copy Z", "G-cCG-cCZ", ""},
		{"COPY in an extended batch", "> P B E < 1 2 G > c S < C/copy Z", "12G-E-cCZ", ""},
		{"Sync during COPY is ignored by the server", "> P B E < 1 2 G > S c S < C/copy Z", "12G-E-S-cCZ", ""},
		{"the Sync behind CopyFail ends the failed COPY", "> P B E < 1 2 G > S f S < E/copy Z", "12G-E-S-fEZ", ""},
		{"COPY OUT has no end of the client's", "> Q < H d d c C/copy Z", "HddcCZ", ""},
		{"COPY OUT in a batch", "> P B E S < 1 2 H d c C/copy Z", "12HdcCZ", ""},
		{"CommandComplete stops at CopyDone, not at CopyFail", "> E f S < C/copy", "C", "fS"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char heard[200], left[200];

		converse(rows[i].line, heard, left);
		if (strcmp(heard, rows[i].heard) != 0 || strcmp(left, rows[i].left) != 0)
			fail_msg("%s: heard %s, left %s", rows[i].says, heard, left);
	}
}

static void every_answer_fits_its_requests_and_no_others(void **state)
{
	static const char requests[] = "QFSPBDECcf";
	static const char *const pairs[] = {"ZQFS", "CE", "IE", "sE", "1P", "2B", "3C", "nD", "TD"};

	(void)state;
	for (int type = 0; type < 256; type++)
		for (size_t i = 0; requests[i]; i++) {
			struct outstanding q;
			struct request r;
			bool should = false;

			for (size_t j = 0; j < ARRAY_LEN(pairs); j++)
				should |= pairs[j][0] == type && strchr(pairs[j] + 1, requests[i]);
			outstanding_init(&q);
			assert_true(outstanding_push(&q, (uint8_t)requests[i], REQUEST_FORWARD, NULL));
			assert_int_equal(outstanding_answer(&q, (uint8_t)type, &r), should);
			assert_int_equal(outstanding_empty(&q), should);
			outstanding_free(&q);
		}
}

static void dropped_statements_are_told_in_order(void **state)
{
	struct outstanding q;
	struct dropped dropped = {.n = 0};
	struct request r;
	int a, b;

	(void)state;
	outstanding_init(&q);
	outstanding_push(&q, 'P', REQUEST_FORWARD, &a);
	outstanding_push(&q, 'C', REQUEST_SKIP, &b);
	outstanding_push(&q, 'S', REQUEST_FORWARD, NULL);
	outstanding_error(&q, false, note_dropped, &dropped);
	assert_int_equal(dropped.n, 0);
	outstanding_before_ready(&q, note_dropped, &dropped);
	assert_int_equal(dropped.n, 2);
	assert_string_equal(dropped.types, "PC");
	assert_ptr_equal(dropped.statements[0], &a);
	assert_ptr_equal(dropped.statements[1], &b);
	assert_true(outstanding_answer(&q, 'Z', &r));
	assert_true(outstanding_empty(&q));
	outstanding_free(&q);
}

static void what_a_statement_was_pushed_with_comes_back(void **state)
{
	struct outstanding q;
	struct request r;
	int statement;

	(void)state;
	outstanding_init(&q);
	outstanding_push(&q, 'P', REQUEST_SKIP, &statement);
	outstanding_push(&q, 'C', REQUEST_FAKE, &statement);
	assert_false(outstanding_take_fake(&q, &r));
	assert_true(outstanding_answer(&q, '1', &r));
	assert_ptr_equal(r.statement, &statement);
	assert_int_equal(r.action, REQUEST_SKIP);
	assert_false(outstanding_answer(&q, '3', &r));
	assert_true(outstanding_take_fake(&q, &r));
	assert_int_equal(r.type, 'C');
	assert_ptr_equal(r.statement, &statement);
	outstanding_free(&q);
}

static void ten_thousand_entries_keep_their_order_around_the_ring(void **state)
{
	enum { MOST = 10000 };
	struct outstanding q;
	struct request r;
	uintptr_t put = 1, taken = 1;

	(void)state;
	outstanding_init(&q);
	srand(4);
	/* More is put than taken, in bursts, so that the ring grows while its head stands anywhere. */
	while (q.count < MOST) {
		for (int n = rand() % 40; n > 0; n--)
			assert_true(outstanding_push(&q, 'P', REQUEST_FORWARD, (void *)put++));
		for (int n = rand() % 30; n > 0 && q.count > 0; n--) {
			assert_true(outstanding_answer(&q, '1', &r));
			assert_ptr_equal(r.statement, (void *)taken++);
		}
		assert_int_equal(q.count, put - taken);
	}
	for (; taken < put; taken++) {
		assert_true(outstanding_answer(&q, '1', &r));
		assert_ptr_equal(r.statement, (void *)taken);
	}
	assert_true(outstanding_empty(&q));
	outstanding_free(&q);
	assert_null(q.ring);
}

/* --- params ------------------------------------------------------------- */

static int track(void **state)
{
	(void)state;
	return params_setup("IntervalStyle, search_path\tapplication_name,intervalstyle");
}

static int held(void)
{
	pthread_mutex_lock(&table.lock);
	int n = (int)(table.texts.count + table.sets.count);
	pthread_mutex_unlock(&table.lock);
	return n;
}

static int nothing_is_held(void **state)
{
	(void)state;
	return held();
}

static void set(struct params *p, const char *name, const char *value)
{
	assert_true(params_set(p, params_index(name), value));
}

static const char *get(const struct params *p, const char *name)
{
	return params_get(p, params_index(name));
}

static void names_are_tracked_without_regard_to_case(void **state)
{
	static const struct {
		const char *asked, *name;
	} rows[] = {
		{"datestyle", "DateStyle"},
		{"CLIENT_ENCODING", "client_encoding"},
		{"timezone", "TimeZone"},
		{"Standard_Conforming_Strings", "standard_conforming_strings"},
		{"APPLICATION_name", "application_name"},
		{"intervalstyle", "IntervalStyle"},
		{"Search_Path", "search_path"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(params_name(params_index(rows[i].asked)), rows[i].name);
	assert_int_equal(params_index("application_name"), PARAM_APPLICATION_NAME);
	assert_int_equal(params_index("work_mem"), -1);
	assert_int_equal(params_index(""), -1);
	/* What is tracked already is not tracked twice. */
	assert_int_equal(params_count(), ARRAY_LEN(rows));
}

/* In a process of its own, because the list is fixed for the rest of its life. */
static void more_names_than_fit_are_refused(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (child == 0) {
		char list[1000] = "";
		bool fits, refused;

		for (int i = 0; i < PARAMS_MAX - 5; i++)
			sprintf(list + strlen(list), "n%d,", i);
		fits = params_setup(list) == 0 && params_count() == PARAMS_MAX && params_index("N58") == PARAMS_MAX - 1;
		strcat(list, "one_more");
		refused = params_setup(list) == -1 && params_count() == PARAMS_MAX && params_index("one_more") == -1;
		_exit(fits && refused ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void a_value_is_known_once_it_was_set(void **state)
{
	struct params p = {0};

	(void)state;
	for (int i = 0; i < params_count(); i++)
		assert_null(params_get(&p, i));
	set(&p, "TimeZone", "UTC");
	set(&p, "application_name", "psql");
	assert_string_equal(get(&p, "TimeZone"), "UTC");
	assert_string_equal(get(&p, "application_name"), "psql");
	assert_null(get(&p, "DateStyle"));
	set(&p, "TimeZone", "");
	assert_string_equal(get(&p, "TimeZone"), "");
	params_free(&p);
	assert_null(get(&p, "TimeZone"));
	params_free(&p);
}

static void equal_values_are_the_same_pointers_however_one_came_there(void **state)
{
	struct params a = {0}, b = {0};

	(void)state;
	set(&a, "TimeZone", "UTC");
	set(&a, "DateStyle", "ISO");
	set(&b, "DateStyle", "German");
	set(&b, "DateStyle", "ISO");
	assert_false(params_same(&a, &b));
	set(&b, "TimeZone", "UTC");
	assert_true(params_same(&a, &b));
	set(&a, "application_name", "x");
	assert_false(params_same(&a, &b));
	/* The set of the others does not notice. */
	assert_ptr_equal(a.set, b.set);
	set(&b, "application_name", "x");
	assert_true(params_same(&a, &b));
	/* Values are told apart by their case, though not for SET. */
	set(&b, "DateStyle", "iso");
	assert_false(params_same(&a, &b));
	params_free(&a);
	params_free(&b);
}

static void every_count_comes_back_to_zero(void **state)
{
	enum { MANY = 50 };
	struct params all[MANY] = {{0}};

	(void)state;
	srand(5);
	for (int step = 0; step < 20000; step++) {
		struct params *p = &all[rand() % MANY];
		char value[16];

		switch (rand() % 8) {
		case 0:
			params_free(p);
			break;
		case 1:
			params_copy(p, &all[rand() % MANY]);
			break;
		case 2:
			assert_true(params_fill(p, &all[rand() % MANY]));
			break;
		default:
			snprintf(value, sizeof(value), "v%d", rand() % 5);
			assert_true(params_set(p, rand() % params_count(), value));
		}
	}
	assert_true(held() > 0);
	for (int i = 0; i < MANY; i++)
		params_free(&all[i]);
	assert_int_equal(held(), 0);
}

static void a_copy_lives_on_its_own(void **state)
{
	struct params a = {0}, b = {0};

	(void)state;
	set(&a, "TimeZone", "UTC");
	set(&a, "application_name", "one");
	set(&b, "DateStyle", "ISO");
	assert_true(params_copy(&b, &a));
	assert_true(params_same(&a, &b));
	assert_null(get(&b, "DateStyle"));
	assert_true(params_copy(&b, &b));
	params_free(&a);
	assert_string_equal(get(&b, "TimeZone"), "UTC");
	assert_string_equal(get(&b, "application_name"), "one");
	params_free(&b);
}

static void fill_takes_only_what_is_not_known(void **state)
{
	struct params p = {0}, defaults = {0}, empty = {0};

	(void)state;
	set(&defaults, "TimeZone", "UTC");
	set(&defaults, "DateStyle", "ISO");
	set(&defaults, "application_name", "server");
	assert_true(params_fill(&empty, &defaults));
	assert_true(params_same(&empty, &defaults));
	set(&p, "TimeZone", "Japan");
	assert_true(params_fill(&p, &defaults));
	assert_string_equal(get(&p, "TimeZone"), "Japan");
	assert_string_equal(get(&p, "DateStyle"), "ISO");
	assert_string_equal(get(&p, "application_name"), "server");
	params_free(&empty);
	assert_true(params_fill(&p, &empty));
	assert_string_equal(get(&p, "TimeZone"), "Japan");
	/* With a name of its own and nothing else. */
	set(&empty, "application_name", "mine");
	assert_true(params_fill(&empty, &defaults));
	assert_string_equal(get(&empty, "application_name"), "mine");
	assert_ptr_equal(empty.set, defaults.set);
	params_free(&p);
	params_free(&empty);
	params_free(&defaults);
}

static void set_statements_say_what_differs(void **state)
{
	static const struct {
		const char *says, *name, *client, *server, *sql;
	} rows[] = {
		{"the same value", "TimeZone", "UTC", "UTC", ""},
		{"the same but for its case", "TimeZone", "utc", "UTC", ""},
		{"the client does not care", "TimeZone", NULL, "UTC", ""},
		{"the server does not report it", "TimeZone", "UTC", NULL, ""},
		{"another value", "TimeZone", "Japan", "UTC", "SET TimeZone='Japan';"},
		{"the name is spelled as listed", "intervalstyle", "iso_8601", "postgres", "SET IntervalStyle='iso_8601';"},
		{"an empty value", "application_name", "", "psql", "SET application_name='';"},
		{"quotes are doubled", "application_name", "it's '", "", "SET application_name='it''s ''';"},
		{"backslashes are escaped", "application_name", "a\\b", "", "SET application_name=E'a\\\\b';"},
		{"both", "application_name", "\\'", "", "SET application_name=E'\\\\''';"},
		{"an injection stays a value", "application_name", "'; DROP TABLE t; --", "",
		 "SET application_name='''; DROP TABLE t; --';"},
		{"search_path comes quoted already", "search_path", "\"$user\", public", "public",
		 "SET search_path=\"$user\", public;"},
		{"an empty search_path", "search_path", "\"\"", "public", "SET search_path='';"},
		{"one that is really empty", "search_path", "", "public", "SET search_path='';"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct params client = {0}, server = {0};
		struct buf sql;
		bool any;

		buf_init(&sql);
		if (rows[i].client)
			set(&client, rows[i].name, rows[i].client);
		if (rows[i].server)
			set(&server, rows[i].name, rows[i].server);
		any = params_diff_sql(&client, &server, &sql);
		buf_put_u8(&sql, 0);
		if (strcmp((const char *)buf_data(&sql), rows[i].sql) != 0 || any != (rows[i].sql[0] != 0))
			fail_msg("%s: %s", rows[i].says, (const char *)buf_data(&sql));
		buf_free(&sql);
		params_free(&client);
		params_free(&server);
	}
}

static void several_set_statements_come_in_the_order_of_the_list(void **state)
{
	struct params client = {0}, server = {0};
	struct buf sql;

	(void)state;
	buf_init(&sql);
	set(&client, "search_path", "a");
	set(&client, "application_name", "b");
	set(&client, "DateStyle", "ISO");
	set(&server, "DateStyle", "German");
	set(&server, "application_name", "c");
	set(&server, "search_path", "d");
	assert_true(params_diff_sql(&client, &server, &sql));
	buf_put_u8(&sql, 0);
	assert_string_equal((const char *)buf_data(&sql),
			    "SET DateStyle='ISO';SET application_name='b';SET search_path=a;");
	buf_free(&sql);
	params_free(&client);
	params_free(&server);
}

static void *change_params(void *arg)
{
	struct params mine[8] = {{0}};
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (int step = 0; step < 5000; step++) {
		struct params *p = &mine[rand_r(&seed) % ARRAY_LEN(mine)];
		int index = (int)((unsigned)rand_r(&seed) % (unsigned)params_count());
		char value[8];

		snprintf(value, sizeof(value), "%d", rand_r(&seed) % 3);
		if (!params_set(p, index, value) || strcmp(params_get(p, index), value) != 0)
			return "wrong value";
		if (rand_r(&seed) % 4 == 0)
			params_copy(&mine[rand_r(&seed) % ARRAY_LEN(mine)], p);
		if (rand_r(&seed) % 8 == 0)
			params_free(p);
	}
	for (size_t i = 0; i < ARRAY_LEN(mine); i++)
		params_free(&mine[i]);
	return NULL;
}

static void four_threads_share_the_table(void **state)
{
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, change_params, (void *)(i + 1)), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	assert_int_equal(held(), 0);
}

/* --- entities ------------------------------------------------------------ */

static int open_registry(void **state)
{
	struct registry *r = calloc(1, sizeof(*r));

	if (!r)
		return -1;
	registry_init(r, 3);
	*state = r;
	return 0;
}

static int close_registry(void **state)
{
	registry_destroy(*state);
	free(*state);
	return 0;
}

static void entities_are_found_by_name_and_gone_when_unused(void **state)
{
	struct registry *r = *state;
	struct database *db = database_get(r, "app");
	struct user *u = user_get(r, "app");

	assert_ptr_equal(database_get(r, "app"), db);
	assert_ptr_equal(database_find(r, "app"), db);
	assert_ptr_not_equal(database_get(r, "App"), db);
	database_put(r, database_find(r, "App"));
	database_put(r, database_find(r, "App"));
	for (int i = 0; i < 3; i++)
		database_put(r, db);
	assert_null(database_find(r, "app"));
	assert_ptr_equal(user_get(r, "app"), u);
	user_put(r, u);
	assert_ptr_equal(user_find(r, "app"), u);
	user_put(r, u);
	user_put(r, u);
	assert_null(user_find(r, "app"));
	database_put(r, NULL);
	user_put(r, NULL);
	pool_put(r, NULL);
}

static void a_paused_or_disabled_database_is_remembered(void **state)
{
	struct registry *r = *state;
	struct database *db = database_get(r, "app"), *other = database_get(r, "other");

	atomic_store(&db->is_paused, true);
	atomic_store(&other->is_disabled, true);
	database_put(r, db);
	database_put(r, other);
	assert_ptr_equal(database_find(r, "app"), db);
	assert_true(atomic_load(&db->is_paused));
	atomic_store(&db->is_paused, false);
	database_put(r, db);
	assert_null(database_find(r, "app"));
	/* The other is left to registry_destroy(). */
}

static void a_pool_is_one_for_database_and_account_and_holds_both(void **state)
{
	struct registry *r = *state;
	struct database *db = database_get(r, "app"), *db2 = database_get(r, "app2");
	struct user *u = user_get(r, "joe"), *u2 = user_get(r, "jim");
	struct pool *p = pool_get(r, db, u), *p2 = pool_get(r, db, u2), *p3 = pool_get(r, db2, u);

	assert_ptr_equal(pool_get(r, db, u), p);
	assert_ptr_not_equal(p, p2);
	assert_ptr_not_equal(p, p3);
	assert_ptr_equal(p->ledger.database, &db->tally);
	assert_ptr_equal(p->ledger.user, &u->tally);
	database_put(r, db);
	database_put(r, db2);
	user_put(r, u);
	user_put(r, u2);
	assert_ptr_equal(pool_ref(r, p), p);
	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(database_find(r, "app"), db);
		database_put(r, db);
		pool_put(r, p);
	}
	pool_put(r, p2);
	pool_put(r, p3);
	assert_null(database_find(r, "app"));
	assert_null(database_find(r, "app2"));
	assert_null(user_find(r, "joe"));
	assert_null(user_find(r, "jim"));
	assert_true(list_empty(&r->pool_list));
	assert_int_equal(r->pools.count, 0);
}

static void a_user_who_logged_in_by_auth_query_stays_known(void **state)
{
	struct registry *r = *state;
	struct user *u = user_get(r, "joe");

	user_mark_known(r, u);
	user_put(r, u);
	assert_ptr_equal(user_find(r, "joe"), u);
	user_put(r, u);
	/* It is left to registry_destroy(). */
}

static void a_pool_keeps_the_last_secret_of_its_account(void **state)
{
	struct registry *r = *state;
	struct database *db = database_get(r, "app");
	struct user *u = user_get(r, "joe");
	struct pool *p = pool_get(r, db, u);
	char *secret;

	database_put(r, db);
	user_put(r, u);
	assert_true(pool_secret(r, p, &secret));
	assert_null(secret);
	pool_set_secret(r, p, "one");
	pool_set_secret(r, p, "two");
	assert_true(pool_secret(r, p, &secret));
	assert_string_equal(secret, "two");
	free(secret);
	pool_set_secret(r, p, NULL);
	assert_true(pool_secret(r, p, &secret));
	assert_null(secret);
	pool_set_secret(r, p, "three");
	pool_put(r, p);
}

static void a_pool_lives_where_fewest_pools_live(void **state)
{
	enum { N = 9 };
	struct registry *r = *state;
	struct user *u = user_get(r, "joe");
	struct pool *pools[N];
	int at[3] = {0}, home;

	for (int i = 0; i < N; i++) {
		char name[16];
		struct database *db;

		snprintf(name, sizeof(name), "db%d", i);
		db = database_get(r, name);
		pools[i] = pool_get(r, db, u);
		database_put(r, db);
		at[pools[i]->home]++;
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(at[i], N / 3);
		assert_int_equal(r->pools_on[i], N / 3);
	}
	/* Who is found again has not moved; who is made anew goes where there is room. */
	home = pools[4]->home;
	pool_put(r, pools[4]);
	assert_int_equal(r->pools_on[home], N / 3 - 1);
	struct database *db = database_get(r, "new");
	pools[4] = pool_get(r, db, u);
	database_put(r, db);
	assert_int_equal(pools[4]->home, home);
	for (int i = 0; i < N; i++)
		pool_put(r, pools[i]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(r->pools_on[i], 0);
	user_put(r, u);
}

static void a_pool_of_a_peer_is_in_no_table(void **state)
{
	struct registry *r = *state;
	/* Names that somebody might give to a database and a user. */
	struct database *db = database_get(r, "(nodb)");
	struct user *u = user_get(r, "(nouser)");
	struct pool *p = pool_new_peer(r, 7), *other = pool_new_peer(r, 65535);

	assert_ptr_not_equal(p->database, db);
	assert_ptr_not_equal(p->account, u);
	assert_int_equal(p->home, 7 % 3);
	assert_int_equal(other->home, 65535 % 3);
	assert_int_equal(r->pools.count, 0);
	assert_true(list_empty(&r->pool_list));
	for (int i = 0; i < 3; i++)
		assert_int_equal(r->pools_on[i], 0);
	assert_ptr_equal(pool_ref(r, p), p);
	pool_put(r, p);
	pool_put(r, p);
	pool_put(r, other);
	assert_ptr_equal(database_find(r, "(nodb)"), db);
	database_put(r, db);
	database_put(r, db);
	user_put(r, u);
}

/* --- keys of clients ------------------------------------------------------- */

static void a_key_says_whose_it_is(void **state)
{
	static const int ids[] = {1, 2, 255, 256, 16383, 65535};
	uint8_t key[CANCEL_KEY_LEN];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		cancel_key_make(key, ids[i]);
		assert_int_equal(cancel_key_peer(key), ids[i]);
		assert_int_equal(key[1], ids[i] & 0xff);
		assert_int_equal(key[2], ids[i] >> 8);
		assert_int_equal(key[7] & 3, 3);
		assert_int_equal(key[0] & 0x80, 0);
	}
}

/* Bits that are the same in many keys are no secret. */
static void the_rest_of_a_key_is_random(void **state)
{
	static const uint8_t random_with[] = {0x7f, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xfc},
			     random_without[] = {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	(void)state;
	for (int peering = 0; peering < 2; peering++) {
		uint8_t low[CANCEL_KEY_LEN], high[CANCEL_KEY_LEN] = {0}, key[CANCEL_KEY_LEN];

		memset(low, 0xff, sizeof(low));
		for (int i = 0; i < 64; i++) {
			cancel_key_make(key, peering ? 0x1234 : 0);
			for (size_t j = 0; j < sizeof(key); j++) {
				low[j] &= key[j];
				high[j] |= key[j];
			}
		}
		for (size_t j = 0; j < sizeof(key); j++)
			assert_int_equal(high[j] & ~low[j], peering ? random_with[j] : random_without[j]);
	}
}

static void a_key_goes_through_three_peers(void **state)
{
	uint8_t key[CANCEL_KEY_LEN], was[CANCEL_KEY_LEN];

	(void)state;
	cancel_key_make(was, 5);
	memcpy(key, was, sizeof(key));
	for (int left = 2; left >= 0; left--) {
		assert_true(cancel_key_step(key));
		assert_int_equal(key[7] & 3, left);
		/* Nothing else has changed, and the client's own is found again. */
		assert_memory_equal(key, was, 7);
		assert_int_equal(key[7] & 0xfc, was[7] & 0xfc);
	}
	assert_false(cancel_key_step(key));
	assert_int_equal(key[7] & 3, 0);
	cancel_key_restore(key);
	assert_memory_equal(key, was, sizeof(key));
}

static void clients_are_counted_even_when_refused(void **state)
{
	struct registry *r = *state;
	struct database *db = database_get(r, "app");

	assert_true(tally_add_client(r, &db->tally, 2));
	assert_true(tally_add_client(r, &db->tally, 2));
	assert_false(tally_add_client(r, &db->tally, 2));
	assert_int_equal(tally_read(r, &db->tally).clients, 3);
	assert_true(tally_add_client(r, &db->tally, 0));
	assert_true(tally_add_client(r, &db->tally, -1));
	for (int i = 0; i < 5; i++)
		tally_remove_client(r, &db->tally);
	assert_int_equal(tally_read(r, &db->tally).clients, 0);
	assert_true(tally_add_client(r, &db->tally, 1));
	tally_remove_client(r, &db->tally);
	database_put(r, db);
}

static void a_verifier_is_known_for_its_secret_only(void **state)
{
	struct registry *r = *state;
	struct user *u = user_get(r, "joe");
	struct scram_verifier v = {.iterations = 4096, .stored_key = {1, 2, 3}, .known = true}, found;

	assert_false(user_verifier(r, u, "secret", &found));
	user_set_verifier(r, u, "secret", &v);
	assert_true(user_verifier(r, u, "secret", &found));
	assert_memory_equal(&found, &v, sizeof(v));
	assert_false(user_verifier(r, u, "Secret", &found));
	assert_false(user_verifier(r, u, "", &found));
	/* It is dear to derive, so the user is kept for it. */
	user_put(r, u);
	assert_ptr_equal(user_find(r, "joe"), u);
	assert_true(user_verifier(r, u, "secret", &found));
	v.iterations = 1;
	user_set_verifier(r, u, "changed", &v);
	assert_false(user_verifier(r, u, "secret", &found));
	assert_true(user_verifier(r, u, "changed", &found));
	assert_int_equal(found.iterations, 1);
	user_put(r, u);
}

static void *come_and_go(void *arg)
{
	struct registry *r = arg;

	for (int i = 0; i < 3000; i++) {
		struct database *db = database_get(r, i % 2 ? "a" : "b");
		struct user *u = user_get(r, i % 3 ? "x" : "y");
		struct pool *p = pool_get(r, db, u);

		tally_add_client(r, &db->tally, 0);
		database_put(r, db);
		user_put(r, u);
		tally_remove_client(r, &p->database->tally);
		pool_put(r, p);
	}
	return NULL;
}

static void entities_come_and_go_on_four_threads(void **state)
{
	struct registry *r = *state;
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, r), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(r->databases.count + r->users.count + r->pools.count, 0);
	assert_int_equal(r->pools_on[0] + r->pools_on[1] + r->pools_on[2], 0);
}

#define with_params(test) cmocka_unit_test_setup_teardown(test, nothing_is_held, nothing_is_held)
#define with_registry(test) cmocka_unit_test_setup_teardown(test, open_registry, close_registry)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conversations),
		cmocka_unit_test(every_answer_fits_its_requests_and_no_others),
		cmocka_unit_test(dropped_statements_are_told_in_order),
		cmocka_unit_test(what_a_statement_was_pushed_with_comes_back),
		cmocka_unit_test(ten_thousand_entries_keep_their_order_around_the_ring),
		with_params(names_are_tracked_without_regard_to_case),
		with_params(more_names_than_fit_are_refused),
		with_params(a_value_is_known_once_it_was_set),
		with_params(equal_values_are_the_same_pointers_however_one_came_there),
		with_params(every_count_comes_back_to_zero),
		with_params(a_copy_lives_on_its_own),
		with_params(fill_takes_only_what_is_not_known),
		with_params(set_statements_say_what_differs),
		with_params(several_set_statements_come_in_the_order_of_the_list),
		with_params(four_threads_share_the_table),
		with_registry(entities_are_found_by_name_and_gone_when_unused),
		with_registry(a_paused_or_disabled_database_is_remembered),
		with_registry(a_pool_is_one_for_database_and_account_and_holds_both),
		with_registry(a_user_who_logged_in_by_auth_query_stays_known),
		with_registry(a_pool_keeps_the_last_secret_of_its_account),
		with_registry(a_pool_lives_where_fewest_pools_live),
		with_registry(a_pool_of_a_peer_is_in_no_table),
		cmocka_unit_test(a_key_says_whose_it_is),
		cmocka_unit_test(the_rest_of_a_key_is_random),
		cmocka_unit_test(a_key_goes_through_three_peers),
		with_registry(clients_are_counted_even_when_refused),
		with_registry(a_verifier_is_known_for_its_secret_only),
		with_registry(entities_come_and_go_on_four_threads),
	};

	return cmocka_run_group_tests(tests, track, NULL);
}
