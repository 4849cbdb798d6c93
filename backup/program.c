/* What every command is given: the loop, signals, configuration, keys, the store. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "backup/child.h"
#include "backup/command.h"
#include "backup/commands.h"
#include "backup/dir_store.h"
#include "backup/event.h"
#include "backup/keys.h"
#include "backup/metrics.h"
#include "backup/s3.h"
#include "backup/set.h"
#include "backup/work.h"
#include "lib/mem.h"

/* ---- signals ---- */

static void on_signals(struct loop_watch *w, short revents)
{
	struct program *p = CONTAINER_OF(w, struct program, signal_watch);
	struct signalfd_siginfo info;

	(void)revents;
	while (read(p->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		int signal = (int)info.ssi_signo;

		if (p->on_signal && p->on_signal(p, signal))
			continue;
		if (signal == SIGUSR1 || signal == SIGUSR2)
			continue;
		p->is_urgent = p->ended_by != 0;
		p->ended_by = signal;
		loop_interrupt(p->loop);
	}
}

static void take_signals(struct program *p)
{
	static const int taken[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		sigaddset(&set, taken[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	p->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (p->signal_fd < 0) {
		log_fatal("signalfd: %s", strerror(errno));
		exit(OUTCOME_FAILED);
	}
	p->signal_watch.ready = on_signals;
	loop_watch_set(p->loop, &p->signal_watch, p->signal_fd, POLLIN);
}

/* ---- what the store tells ---- */

static void on_request(void *ctx, const char *op, int http, usec_t took, uint64_t sent, uint64_t received)
{
	char labels[96];

	(void)ctx;
	snprintf(labels, sizeof(labels), "op=\"%.32s\",code=\"%d\"", op, http);
	metric_add(METRIC_s3_requests_total, labels, 1);
	snprintf(labels, sizeof(labels), "op=\"%.32s\"", op);
	metric_observe(METRIC_s3_request_seconds, labels, (double)took / (double)USEC_PER_SEC);
	EVENT(LEVEL_NOISE, "request", F_TEXT("op", op), F_INT("code", http), F_UINT("sent", sent),
	      F_UINT("received", received), F_REAL("seconds", (double)took / (double)USEC_PER_SEC));
}

/* A store's words become a label: letters, digits and '_' alone. */
static void label_word(const char *from, char to[48])
{
	size_t n = 0;

	for (; *from && n < 47; from++)
		to[n++] = (*from >= 'a' && *from <= 'z') || (*from >= 'A' && *from <= 'Z') ||
			  (*from >= '0' && *from <= '9') ? *from : '_';
	to[n] = 0;
}

static void on_retry(void *ctx, const char *op, unsigned attempt, const char *reason, const struct storage_error *e, usec_t wait)
{
	char labels[128], word[48];

	struct program *p = ctx;

	if (p->work)
		p->work->retries++;
	label_word(reason, word);
	snprintf(labels, sizeof(labels), "op=\"%.32s\",reason=\"%s\"", op, word);
	metric_add(METRIC_s3_retries_total, labels, 1);
	EVENT(LEVEL_WARNING, "retry", F_TEXT("op", op), F_UINT("attempt", attempt), F_TEXT("reason", reason),
	      F_INT("http", e->http), F_TEXT("code", e->code), F_TEXT("message", e->message),
	      F_TEXT("request_id", e->request_id), F_REAL("wait", (double)wait / (double)USEC_PER_SEC));
}

static void on_notice(void *ctx, const char *text)
{
	(void)ctx;
	EVENT(LEVEL_WARNING, "store", F_TEXT("notice", text));
}

/* ---- the program ---- */

/* Nobody may look into this process or keep its memory: backup specification, 9.2. */
static void harden(void)
{
	const struct rlimit none = {0, 0};

	if (geteuid() == 0)
		EVENT(LEVEL_WARNING, "start", F_TEXT("warning", "running as root is not needed"));
#ifdef DEVELOPER
	if (getenv("PGECDSA_ALLOW_CORE"))
		return;
#endif
	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		EVENT(LEVEL_WARNING, "start", F_TEXT("warning", "could not forbid core files"), F_TEXT("error", strerror(errno)));
}

struct program *program_new(void)
{
	struct program *p = xcalloc(1, sizeof(*p));

	harden();
	if (!secret_heap_open())
		EVENT(LEVEL_WARNING, "start", F_TEXT("warning", "secrets could not be locked in memory (RLIMIT_MEMLOCK)"));
	p->loop = loop_new();
	p->family = family_new(p->loop);
	take_signals(p);
	s3_library_start();
	return p;
}

static void free_keys(struct program *p)
{
	free(p->prefix);
	p->prefix = NULL;
	free((void *)(uintptr_t)p->manifest_keys.key);
	p->manifest_keys = (struct manifest_keys){0};
	keyring_free(p->keys);
	p->keys = NULL;
}

void program_free(struct program *p)
{
	if (p->storage)
		p->storage->ops->free(p->storage);
	s3_library_stop();
	free_keys(p);
	config_free(p->config);
	environment_free(p->environment);
	family_free(p->family);
	loop_watch_clear(p->loop, &p->signal_watch);
	close(p->signal_fd);
	loop_free(p->loop);
	metrics_forget();
	free(p);
}

static void make_keys(struct program *p)
{
	const struct key *writer;

	p->keys = keyring_new(p->config);
	writer = keyring_writer(p->keys);
	p->key_id = writer ? writer->id_text : NULL;
	/* Where nothing is encrypted, manifests carry no MAC either. */
	if (writer) {
		const uint8_t **keys = xcalloc(p->keys->count, sizeof(*keys));

		for (size_t i = 0; i < p->keys->count; i++)
			keys[i] = p->keys->keys[i].manifest;
		p->manifest_keys = (struct manifest_keys){.key = keys, .count = p->keys->count, .ring = p->keys,
							  .seals = p->config->encryption_encrypt_manifest};
	}
	metric_set(METRIC_encrypted, NULL, writer != NULL);
}

bool program_configure(struct program *p)
{
	p->config = config_load(p->config_path, p->environment, p->overrides);
	if (!p->config)
		return false;
	make_keys(p);
	p->prefix = xstrdup(p->config->s3_prefix);
	return true;
}

bool program_choose_database(struct program *p, const char *command, const char *name)
{
	char *prefix;

	if (!databases_are_several(p->config)) {
		command_usage(command, "--database is for several databases (BACKUP_DATABASES)");
		return false;
	}
	prefix = database_prefix(p->config, name);
	if (!prefix) {
		command_usage(command, "the name is too long below the prefix");
		return false;
	}
	free(p->prefix);
	p->prefix = prefix;
	return true;
}

const char *program_bucket(const struct program *p)
{
	return p->config->s3_bucket ? p->config->s3_bucket : config_is_directory(p->config) ? config_directory(p->config) : "";
}

void program_command_env(struct program *p, struct command_env *e)
{
	*e = (struct command_env){.store = p->storage, .prefix = p->prefix, .bucket = program_bucket(p),
				  .keys = &p->manifest_keys, .key_id = p->key_id, .out = stdout};
}

static struct storage *open_s3(const struct config *c, struct loop *loop, char *why, size_t cap)
{
	const struct s3_settings s = {
		.endpoint = c->s3_endpoint, .bucket = c->s3_bucket, .region = c->s3_region,
		.credentials = (enum s3_key_source)c->s3_credentials,
		.access_key = c->s3_access_key.bytes, .secret_key = c->s3_secret_key.bytes,
		.session_token = c->s3_session_token.bytes,
		.env_access_key = c->aws_access_key.bytes, .env_secret_key = c->aws_secret_key.bytes,
		.env_session_token = c->aws_session_token.bytes,
		.is_virtual_host = c->s3_addressing == ADDRESS_VIRTUAL, .ca_file = c->s3_ca_file,
		.is_insecure = c->s3_insecure, .may_use_http = c->s3_allow_http, .is_unsigned_body = c->s3_unsigned_payload,
		.checksum = (enum s3_body_check)c->s3_checksum, .storage_class = c->s3_storage_class, .sse = c->s3_sse,
		.sse_kms_key = c->s3_sse_kms_key, .tags = c->s3_tags, .acl = c->s3_acl, .upload_rate = c->s3_rate_limit,
		.download_rate = c->s3_download_rate_limit ? c->s3_download_rate_limit : c->s3_rate_limit,
		.connect_timeout = c->s3_connect_timeout, .stall_timeout = c->s3_stall_timeout,
		.request_timeout = c->s3_request_timeout, .attempts = (unsigned)c->s3_attempts,
		.concurrency = (unsigned)c->s3_concurrency, .page_size = (unsigned)c->s3_list_page_size,
		.user_agent = PACKAGE_NAME "-backup/" PACKAGE_VERSION,
	};

	return s3_store_new(loop, &s, why, cap);
}

bool program_open_store(struct program *p)
{
	char why[512] = "";

	p->storage = config_is_directory(p->config) ?
		     dir_store_new(p->loop, config_directory(p->config), why, sizeof(why)) :
		     open_s3(p->config, p->loop, why, sizeof(why));
	if (!p->storage) {
		EVENT(LEVEL_ERROR, "config", F_TEXT("where", setting_variable(SETTING_s3_endpoint)), F_TEXT("error", why));
		return false;
	}
	p->storage->watcher = (struct storage_watcher){.request = on_request, .retry = on_retry, .notice = on_notice, .ctx = p};
	return true;
}

bool program_reconfigure(struct program *p)
{
	struct program fresh = {.loop = p->loop, .environment = p->environment, .config_path = p->config_path,
				.overrides = p->overrides};

	/* All of the new one before anything of the old one goes. */
	if (!program_configure(&fresh))
		return false;
	if (!keyring_check(fresh.keys, fresh.config) || !config_is_enabled(fresh.config) || !program_open_store(&fresh)) {
		free_keys(&fresh);
		config_free(fresh.config);
		return false;
	}
	if (p->storage)
		p->storage->ops->free(p->storage);
	free_keys(p);
	config_free(p->config);
	p->config = fresh.config;
	p->keys = fresh.keys;
	p->prefix = fresh.prefix;
	p->manifest_keys = fresh.manifest_keys;
	p->key_id = fresh.key_id;
	p->storage = fresh.storage;
	p->storage->watcher.ctx = p;
	return true;
}

int command_usage(const char *command, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "pg-ecdsa-backup %s: ", command);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry \"pg-ecdsa-backup --help\" for more information.\n");
	return OUTCOME_USAGE;
}
