#include "control.h"

#include <errno.h>
#include <event2/event.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/console.h"
#include "auth/replay.h"
#include "http/http.h"
#include "lib/list.h"
#include "lib/mem.h"
#include "net/crew.h"
#include "net/dns.h"
#include "net/listener.h"
#include "pool/login_limit.h"
#include "pool/autodb.h"
#include "pool/params.h"
#include "pool/peer.h"
#include "pool/room.h"
#include "pool/wallet_clock.h"
#include "process.h"
#include "resolver.h"
#include "service.h"
#include "signals.h"

#define DRAIN_POLL_USEC 100000
#define AUTODB_USEC (USEC_PER_SEC / 3)

enum task_kind { TASK_RELOAD, TASK_SET, TASK_PAUSE, TASK_SHUTDOWN };

/* One change of the process's state, from the request to its answer. */
struct task {
	struct list link; /* in control.tasks */
	enum task_kind kind;
	char *key, *value;	/* owned; SET */
	enum pause_mode pause;	/* PAUSE */
	enum shutdown_mode shutdown; /* SHUTDOWN */
	struct room_adoption adoption; /* RELOAD, SET */
	struct tls_setup tls;	/* owned: what the rooms have not taken yet */
	bool is_good, tls_ok;	/* the answer */
	void (*config_done)(void *ctx, bool good, bool tls_ok); /* NULL: nobody waits */
	void (*pause_done)(void *ctx);
	void *ctx;
};

/* One a process: the console's way in (struct control_ops) names nobody. The control role's thread only. */
static struct {
	struct config *config; /* counted */
	struct pooler pooler;
	struct crew *crew;	     /* owned */
	struct listeners *listeners; /* owned */
	struct dns *dns;	     /* the resolver's */
	struct event *stats_timer, *drain_timer, *autodb_timer; /* owned */
	char *server_tls; /* owned; what the server contexts in force were made from */
	uint8_t certificate[32]; /* SHA-256 of the one that clients see */
	bool has_certificate;
	struct list tasks; /* the first one is at work when is_busy */
	bool is_busy, is_ending;
	bool log_to_stderr;
	bool has_registry;
	bool is_successor; /* the process that this one follows still lives, and could go on by itself */
	bool handed_over;  /* the other way round: a successor has the sockets */
	bool owns_replay_file; /* what is remembered belongs into it at the end */
	enum pause_mode pause;
	enum shutdown_mode shutdown;
} control;

static const struct settings *settings(void)
{
	return config_settings(control.config);
}

int control_worker_count(const struct settings *s)
{
	long n = s->worker_threads == WORKERS_AUTO ? sysconf(_SC_NPROCESSORS_ONLN) : s->worker_threads;

	return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (int)n;
}

struct log_setup control_log_setup(const struct settings *s, bool to_stderr)
{
	return (struct log_setup){
		.to_stderr = to_stderr,
		.file = s->logfile,
		.to_syslog = s->syslog != 0,
		.syslog_ident = s->syslog_ident,
		.syslog_facility = s->syslog_facility,
	};
}

static struct tcp_options tcp_options(const struct settings *s)
{
	return (struct tcp_options){
		.keepalive = s->tcp_keepalive != 0,
		.keepcnt = s->tcp_keepcnt,
		.keepidle = s->tcp_keepidle,
		.keepintvl = s->tcp_keepintvl,
		.user_timeout_ms = s->tcp_user_timeout,
		.buffer_bytes = s->tcp_socket_buffer,
	};
}

/* ---- tasks ---- */

static void begin_task(struct task *);

static void task_free(struct task *t)
{
	config_unref(t->adoption.config);
	tls_setup_free(&t->tls);
	str_wipe_free(t->value); /* LDAP options may hold a password */
	free(t->key);
	free(t);
}

/* A loop, not a recursion: many failed RELOADs in a row end where they begin. */
static void run_tasks(void)
{
	while (!control.is_busy && !control.is_ending && !list_empty(&control.tasks)) {
		control.is_busy = true;
		begin_task(LIST_ITEM(control.tasks.next, struct task, link));
	}
}

static void answer_task(struct task *t)
{
	list_del(&t->link);
	if (t->config_done)
		t->config_done(t->ctx, t->is_good, t->tls_ok);
	if (t->pause_done)
		t->pause_done(t->ctx);
	task_free(t);
}

static void end_task(struct task *t)
{
	/* The answer may ask for more; it queues behind, and the loop of run_tasks() takes it up. */
	answer_task(t);
	control.is_busy = false;
}

static struct task *add_task(enum task_kind kind)
{
	struct task *t = xcalloc(1, sizeof(*t));

	t->kind = kind;
	t->is_good = t->tls_ok = true;
	list_add_tail(&control.tasks, &t->link);
	return t;
}

static void on_gathered(struct worker *w UNUSED, void *ctx)
{
	struct task *t = ctx;

	if (t->kind == TASK_SHUTDOWN) {
		const struct timeval poll = {0, DRAIN_POLL_USEC};

		event_add(control.drain_timer, &poll);
	}
	end_task(t);
	run_tasks();
}

/* ---- RELOAD and SET ---- */

static void visit_adopt(struct worker *w, void *ctx)
{
	struct task *t = ctx;

	room_adopt(room_of(w), &t->adoption);
	if (t->adoption.client_tls)
		t->tls.client[w->index] = t->tls.server[w->index] = NULL; /* it has taken them */
}

/* Without a template there are none. */
static void watch_autodbs(void)
{
	const struct timeval third = {0, AUTODB_USEC};

	if (!config_template(control.config))
		event_del(control.autodb_timer);
	else if (!event_pending(control.autodb_timer, EV_TIMEOUT, NULL))
		event_add(control.autodb_timer, &third);
}

static void on_autodb_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg UNUSED)
{
	if (control.pause != SUSPENDED)
		autodb_sweep(&control.pooler, control.config, worker_now(control.crew->control));
}

/* What the new snapshot means for the control role itself. */
static void adopt_here(struct config *next)
{
	const struct settings *s = config_settings(next);
	const struct tcp_options tcp = tcp_options(s);
	const struct log_setup log = control_log_setup(s, control.log_to_stderr);
	const struct dns_times times = resolver_times(s);
	const struct limit_rules rules = login_limit_rules(s);

	config_unref(control.config);
	control.config = config_ref(next);
	atomic_store_explicit(&log_verbosity, s->verbose, memory_order_relaxed);
	if (log_configure(&log) < 0)
		log_error("Cannot open logfile: '%s': %s", s->logfile, strerror(errno));
	listeners_set_options(control.listeners, s->tcp_defer_accept != 0, &tcp);
	dns_set_times(control.dns, &times);
	replay_set_window(control.pooler.replay, config_window_max(next) / USEC_PER_SEC);
	if (!limiter_adopt(control.pooler.limiter, &rules, clock_monotonic()))
		log_error("out of memory: ecdsa_limit_entries stays as it was");
	watch_autodbs();
}

static void note_certificate(const struct tls_setup *tls)
{
	control.has_certificate = tls_setup_certificate(tls, control.certificate);
}

static void prepare_tls(struct task *t)
{
	const struct settings *s = config_settings(t->adoption.config);
	char *server_tls;

	if (tls_setup_make(&t->tls, s, control.crew->n) < 0) {
		t->tls_ok = false;
		log_error("TLS configuration could not be reloaded, keeping old configuration");
		return;
	}
	note_certificate(&t->tls);
	t->adoption.client_tls = t->tls.client;
	t->adoption.server_tls = t->tls.server;
	server_tls = tls_setup_server_text(s);
	t->adoption.server_tls_changed = strcmp(server_tls, control.server_tls) != 0;
	free(control.server_tls);
	control.server_tls = server_tls;
}

static void begin_reload(struct task *t)
{
	t->adoption.config = config_load(settings()->conffile, control.config, 0);
	if (!t->adoption.config) {
		t->is_good = false;
		log_reopen();
		end_task(t);
		return;
	}
	autodb_reloaded(&control.pooler.registry, control.config, t->adoption.config);
	peers_reloaded(control.config, t->adoption.config);
	adopt_here(t->adoption.config);
	prepare_tls(t);
	crew_gather(control.crew, visit_adopt, on_gathered, t);
}

static void begin_set(struct task *t)
{
	t->adoption.config = config_set(control.config, t->key, t->value);
	if (!t->adoption.config || t->adoption.config == control.config) {
		/* Refused; or only for the next start, which counts as done. */
		t->is_good = t->adoption.config != NULL;
		end_task(t);
		return;
	}
	adopt_here(t->adoption.config);
	if (strstr(t->key, "_tls_") || strstr(t->key, "_tls13_"))
		prepare_tls(t);
	crew_gather(control.crew, visit_adopt, on_gathered, t);
}

/* ---- PAUSE and shutdown ---- */

static void visit_pause(struct worker *w, void *ctx)
{
	room_set_pause(room_of(w), ((struct task *)ctx)->pause);
}

static void visit_shutdown(struct worker *w, void *ctx)
{
	room_set_shutdown(room_of(w), ((struct task *)ctx)->shutdown);
}

static void begin_task(struct task *t)
{
	switch (t->kind) {
	case TASK_RELOAD:
		begin_reload(t);
		break;
	case TASK_SET:
		begin_set(t);
		break;
	case TASK_PAUSE:
		crew_gather(control.crew, visit_pause, on_gathered, t);
		break;
	case TASK_SHUTDOWN:
		crew_gather(control.crew, visit_shutdown, on_gathered, t);
		break;
	}
}

static void end_loop(void)
{
	control.shutdown = SHUTDOWN_IMMEDIATE;
	worker_stop(control.crew->control);
}

static int servers_left(void)
{
	struct ledger *l = &control.pooler.registry.ledger;
	int n;

	pthread_mutex_lock(&l->lock);
	n = l->servers;
	pthread_mutex_unlock(&l->lock);
	return n;
}

/* And sockets that are on their way to become some. Relaxed: the last one to leave is seen a poll later at worst. */
static bool has_clients(void)
{
	/* In this order: who arrives is counted among the clients before it ceases to be under way. */
	for (int i = 0; i < control.crew->n; i++)
		if (atomic_load_explicit(&control.crew->workers[i]->client_count, memory_order_acquire) > 0)
			return true;
	return atomic_load_explicit(&control.pooler.registry.clients, memory_order_relaxed) > 0;
}

static void on_drain_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg UNUSED)
{
	if (listeners_are_closing(control.listeners))
		return;
	if (control.shutdown == SHUTDOWN_WAIT_CLIENTS && !has_clients()) {
		log_info("client connections dropped, exiting");
		end_loop();
	} else if (control.shutdown == SHUTDOWN_WAIT_SERVERS && servers_left() == 0) {
		log_info("server connections dropped, exiting");
		end_loop();
	}
}

/* ---- what the console asks ---- */

static void ask_reload(void (*done)(void *ctx, bool loaded, bool tls_ok), void *ctx)
{
	struct task *t = add_task(TASK_RELOAD);

	t->config_done = done;
	t->ctx = ctx;
	run_tasks();
}

static void ask_set(const char *key, const char *value, void (*done)(void *ctx, bool set, bool tls_ok), void *ctx)
{
	struct task *t = add_task(TASK_SET);

	t->key = xstrdup(key);
	t->value = xstrdup(value);
	t->config_done = done;
	t->ctx = ctx;
	run_tasks();
}

static void ask_pause(enum pause_mode mode, void (*done)(void *ctx), void *ctx)
{
	struct task *t = add_task(TASK_PAUSE);

	control.pause = mode;
	control.handed_over = false;
	if (mode == SUSPENDED)
		listeners_suspend(control.listeners);
	else
		listeners_resume(control.listeners);
	t->pause = mode;
	t->pause_done = done;
	t->ctx = ctx;
	run_tasks();
}

static void ask_shutdown(enum shutdown_mode mode)
{
	struct task *t;

	if (control.shutdown == SHUTDOWN_IMMEDIATE || mode == SHUTDOWN_NONE)
		return;
	service_stopping();
	if (mode == SHUTDOWN_IMMEDIATE) {
		end_loop();
		return;
	}
	/* Who is to finish his work must be able to. */
	if (control.pause == SUSPENDED)
		ask_pause(RUNNING, NULL, NULL);
	control.shutdown = mode;
	if (mode == SHUTDOWN_WAIT_SERVERS)
		control.pause = PAUSED; /* the rooms do it by themselves */
	listeners_close_tcp(control.listeners);
	t = add_task(TASK_SHUTDOWN);
	t->shutdown = mode;
	run_tasks();
}

static struct config *current_config(void)
{
	return control.config;
}

static struct dns *current_dns(void)
{
	return control.dns;
}

static enum pause_mode current_pause(void)
{
	return control.pause;
}

static enum shutdown_mode current_shutdown(void)
{
	return control.shutdown;
}

static void each_listener(listeners_row *row, void *arg)
{
	listeners_each(control.listeners, row, arg);
}

static void note_handover(void)
{
	control.handed_over = true;
}

static bool current_certificate(uint8_t sha256[32])
{
	memcpy(sha256, control.certificate, sizeof(control.certificate));
	return control.has_certificate;
}

static const struct control_ops control_ops = {
	.reload = ask_reload,
	.set = ask_set,
	.shutdown = ask_shutdown,
	.config = current_config,
	.dns = current_dns,
	.pause = current_pause,
	.set_pause = ask_pause,
	.shutdown_mode = current_shutdown,
	.each_listener = each_listener,
	.handed_over = note_handover,
	.status = service_status,
	.certificate = current_certificate,
};

/* ---- sockets that come in ---- */

struct accepted {
	struct message message; /* first */
	int fd;
	struct peer_addr from;
	bool is_unix;
};

static void deliver_accepted(struct worker *w, struct message *m)
{
	struct accepted *a = CONTAINER_OF(m, struct accepted, message);

	room_accept(room_of(w), a->fd, &a->from, a->is_unix);
	atomic_fetch_sub_explicit(&w->client_count, 1, memory_order_release);
	free(a);
}

static void on_accepted(void *arg UNUSED, int fd, const union sock_addr *addr, bool is_unix)
{
	struct worker *to = crew_least_loaded(control.crew);
	struct accepted *a;
	struct peer_addr from;

	peer_addr_from(&from, addr);
	if (is_unix)
		from.port = (uint16_t)settings()->listen_port;
	if (to == control.crew->control) {
		room_accept(room_of(to), fd, &from, is_unix);
		return;
	}
	a = calloc(1, sizeof(*a));
	if (!a) {
		log_warning("out of memory: connection refused");
		close(fd);
		return;
	}
	a->fd = fd;
	a->from = from;
	a->is_unix = is_unix;
	a->message.deliver = deliver_accepted;
	/* Counted from here on: the sockets of one turn should not all go to the same Worker. */
	atomic_fetch_add_explicit(&to->client_count, 1, memory_order_relaxed);
	worker_post(control.crew->control, to, &a->message);
}

/* ---- start and end ---- */

static void on_stats_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg UNUSED)
{
	console_stats_tick();
}

/* Armed once: a later stats_period counts from the next start. */
static int start_timers(void)
{
	struct event_base *base = control.crew->control->base;
	const struct timeval period = {settings()->stats_period, 0};

	control.drain_timer = event_new(base, -1, EV_PERSIST, on_drain_timer, NULL);
	control.autodb_timer = event_new(base, -1, EV_PERSIST, on_autodb_timer, NULL);
	control.stats_timer = event_new(base, -1, EV_PERSIST, on_stats_timer, NULL);
	if (!control.drain_timer || !control.stats_timer || !control.autodb_timer ||
	    (period.tv_sec > 0 && event_add(control.stats_timer, &period) < 0)) {
		log_fatal("cannot start timers");
		return -1;
	}
	watch_autodbs();
	return 0;
}

static int make_rooms(struct tls_setup *tls)
{
	struct room_adoption first = {.config = control.config, .client_tls = tls->client, .server_tls = tls->server};

	for (int i = 0; i < control.crew->n; i++) {
		struct room *r = room_new(&control.pooler, control.crew->workers[i], control.config);

		if (!r) {
			log_fatal("out of memory");
			return -1;
		}
		room_adopt(r, &first);
		tls->client[i] = tls->server[i] = NULL;
	}
	return 0;
}

/*
 * The memory of used proofs, with what the last process left, or the one that this one follows has told; else what is
 * older than this one is refused.
 */
static bool start_replay(const struct takeover *t)
{
	const struct settings *s = settings();
	struct pooler *p = &control.pooler;
	int64_t now = wallet_clock(p, s);
	bool has_file = s->ecdsa_replay_file && s->ecdsa_replay_file[0];

	p->replay = replay_new(s->ecdsa_replay_entries);
	if (!p->replay) {
		log_fatal("out of memory: ecdsa_replay_entries");
		return false;
	}
	replay_set_window(p->replay, config_window_max(control.config) / USEC_PER_SEC);
	if (t ? takeover_replay(t, p->replay, now) : has_file && replay_read_file(p->replay, s->ecdsa_replay_file, now)) {
		log_info("%zu used proofs taken over from %s", replay_count(p->replay, now),
			 t ? "the old process" : s->ecdsa_replay_file);
		/* The file is gone: if nothing comes of this start, it is written again. */
		control.owns_replay_file = !t;
	} else
		replay_begins(p->replay, now);
	return true;
}

/* Another process has what is here, or will go on with it. */
static bool lets_go(void)
{
	return control.is_successor || (control.pause == SUSPENDED && control.handed_over);
}

/*
 * Nobody logs in any more. Not where there is another process: the file would say what its memory no longer does, and
 * be believed.
 */
static void stop_replay(void)
{
	const struct settings *s = settings();

	if (control.owns_replay_file && !lets_go() && s->ecdsa_replay_file && s->ecdsa_replay_file[0])
		replay_write_file(control.pooler.replay, s->ecdsa_replay_file, wallet_clock(&control.pooler, s));
}

static int start_pooler(struct tls_setup *tls, const struct takeover *t)
{
	struct pooler *p = &control.pooler;
	struct limit_rules rules;

	p->crew = control.crew;
	p->console = &console_ops;
	p->resolver = &resolver_ops;
	mem_random(p->mock_nonce, sizeof(p->mock_nonce));
	if (params_setup(settings()->track_extra_parameters) < 0)
		return -1;
	registry_init(&p->registry, control.crew->n);
	statement_store_init(&p->statements);
	control.has_registry = true;
	/* Before whatever may fail: control_stop() ends what has a registry. */
	console_init(p, &control_ops);
	rules = login_limit_rules(settings());
	p->limiter = limiter_new(&rules, clock_monotonic());
	if (!p->limiter) {
		log_fatal("out of memory: ecdsa_limit_entries");
		return -1;
	}
	if (!start_replay(t))
		return -1;
	control.dns = resolver_start(p, settings());
	if (!control.dns) {
		log_fatal("dns setup failed");
		return -1;
	}
	return make_rooms(tls);
}

static struct listeners *adopt_passed(const struct settings *s, const struct listen_options *options)
{
	int n = service_socket_count(), passed[SERVICE_SOCKETS_MAX];

	if (s->listen_addr && s->listen_addr[0])
		log_warning("sockets passed from service manager, cf_listen_addr ignored");
	if (!setting_is_default(s, (size_t)setting_find("unix_socket_dir")))
		log_warning("sockets passed from service manager, cf_unix_socket_dir ignored");
	for (int i = 0; i < n; i++)
		passed[i] = service_socket(i);
	return listeners_adopt(options, passed, n);
}

static struct listeners *make_listeners(const struct settings *s, const struct listen_options *options,
					struct takeover *t)
{
	if (t)
		return takeover_listeners(t, options);
	return service_socket_count() > 0 ? adopt_passed(s, options) : listeners_open(options);
}

static int start_listening(struct takeover *t)
{
	const struct settings *s = settings();
	const struct listen_options options = {
		.addresses = s->listen_addr,
		.unix_dir = s->unix_socket_dir,
		.unix_group = s->unix_socket_group,
		.port = s->listen_port,
		.backlog = s->listen_backlog,
		.unix_mode = s->unix_socket_mode,
		.reuseport = s->so_reuseport != 0,
		.defer_accept = s->tcp_defer_accept != 0,
		.tcp = tcp_options(s),
	};

	control.listeners = make_listeners(s, &options, t);
	if (!control.listeners)
		return -1;
	listeners_start(control.listeners, control.crew->control, on_accepted, NULL);
	return 0;
}

/* The last step: the old process ends. */
static int follow(struct takeover *t)
{
	if (t && takeover_finish(t, &control.pooler, settings()->pidfile) < 0)
		return -1;
	control.is_successor = false;
	/* Its HTTP addresses are free by now. Clients are worth more than these. */
	if (t && http_start(control.crew->control->base) < 0)
		log_error("going on without http_listen");
	return 0;
}

int control_start(struct config *config, struct tls_setup *tls, struct takeover *t, bool log_to_stderr)
{
	int ret = -1;

	control.config = config;
	control.log_to_stderr = log_to_stderr;
	control.server_tls = tls_setup_server_text(config_settings(config));
	control.is_successor = t != NULL;
	note_certificate(tls);
	list_init(&control.tasks);
	control.crew = crew_new(tls->n);
	if (!control.crew)
		log_fatal("cannot set the event loops up");
	else if (start_pooler(tls, t) == 0 && signals_start(control.crew->control->base, &control_ops) == 0 &&
		 start_timers() == 0 && (t || http_start(control.crew->control->base) == 0) && start_listening(t) == 0) {
		if (t)
			takeover_adopt(t, &control.pooler);
		ret = follow(t);
	}
	tls_setup_free(tls);
	return ret;
}

int control_run(void)
{
	if (crew_start(control.crew) < 0) {
		log_fatal("cannot start worker threads");
		return 1;
	}
	log_info("process up: %s, libevent %s (%s), adns: %s, tls: %s", PROGRAM_VERSION_LINE, event_get_version(),
		 event_base_get_method(control.crew->control->base), dns_backend_name(),
		 OpenSSL_version(OPENSSL_VERSION));
	service_ready();
	control.owns_replay_file = true;
	worker_run(control.crew->control);
	return signals_exit_status();
}

static void event_drop(struct event *e)
{
	if (e)
		event_free(e);
}

/* Threads have ended: whatever is under way is brought to its owner, who frees it. */
static void stop_workers(void)
{
	crew_stop(control.crew);
	stop_replay();
	if (!crew_helpers_stop()) {
		/* It still uses what would be freed now, and comes back nobody knows when. */
		log_info("a log-in still waits for PAM or LDAP, leaving it");
		_exit(signals_exit_status());
	}
	crew_settle(control.crew);
	while (!list_empty(&control.tasks)) {
		struct task *t = LIST_ITEM(control.tasks.next, struct task, link);

		t->is_good = t->tls_ok = false;
		answer_task(t);
		crew_settle(control.crew);
	}
}

/* Clients and servers at the end. What they still owe each other is delivered while all rooms are there. */
static void close_rooms(void)
{
	bool only_lets_go = lets_go();

	for (int i = 0; i < control.crew->n; i++) {
		struct room *r = room_of(control.crew->workers[i]);

		if (!r)
			continue;
		if (only_lets_go)
			room_abandon(r);
		room_close_all(r, only_lets_go ? "handed over" : "shutdown");
	}
	crew_settle(control.crew);
	for (int i = 0; i < control.crew->n; i++)
		room_free(room_of(control.crew->workers[i]));
}

void control_stop(void)
{
	control.is_ending = true;
	/* The files go first: nobody should find a door that leads nowhere. */
	/* SUSPEND is how a successor begins to take over: the file is his by now. */
	listeners_free(control.listeners, control.pause == SUSPENDED || control.is_successor);
	pidfile_remove();
	if (control.crew) {
		stop_workers();
		http_stop();
		if (control.has_registry)
			console_stop();
		signals_stop();
		event_drop(control.stats_timer);
		event_drop(control.drain_timer);
		event_drop(control.autodb_timer);
		resolver_stop();
		close_rooms();
		crew_free(control.crew);
	}
	if (control.has_registry) {
		limiter_free(control.pooler.limiter);
		replay_free(control.pooler.replay);
		statement_store_destroy(&control.pooler.statements);
		registry_destroy(&control.pooler.registry);
	}
	free(control.server_tls);
	config_unref(control.config);
}
