/*
 * pg-ecdsa-proxy: options, and the order of the start (configuration
 * specification, sections 14 and 16). The work is control.c's.
 */
#include <event2/event.h>
#include <getopt.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/console.h"
#include "check.h"
#include "control.h"
#include "net/dns.h"
#include "net/listener.h"
#include "process.h"
#include "service.h"
#include "takeover.h"

struct options {
	const char *config_path;
	const char *user; /* NULL: as the configuration says */
	int verbosity;
	bool daemon, quiet, takeover, check;
};

static const char usage[] =
	"%s is a connection pooler for PostgreSQL.\n"
	"\n"
	"Usage:\n"
	"  %s [OPTION]... CONFIG_FILE\n"
	"\n"
	"Options:\n"
	"  -d, --daemon             run in background (as a daemon)\n"
	"  -q, --quiet              do not log to stderr\n"
	"  -R, --reboot             do an online restart\n"
	"  -u, --user=USERNAME      assume identity of USERNAME\n"
	"  -v, --verbose            increase verbosity\n"
	"  -V, --version            show version, then exit\n"
	"  -h, --help               show this help, then exit\n"
	"      --check              read CONFIG_FILE as a start would, print every problem, then exit\n"
	"      --describe-settings  print every setting as markdown, then exit\n";

static int show_version(void)
{
	printf("%s\nlibevent %s\nadns: %s\ntls: %s\n", PROGRAM_VERSION_LINE, event_get_version(), dns_backend_name(),
	       OpenSSL_version(OPENSSL_VERSION));
	if (service_is_built())
		printf("systemd: yes\n");
	return 0;
}

static int usage_error(const char *program)
{
	fprintf(stderr, "Try \"%s --help\" for more information.\n", program);
	return 1;
}

/* -1: go on and start; else the exit status. */
static int read_options(int argc, char **argv, struct options *o)
{
	enum { DESCRIBE_SETTINGS = 256, CHECK };
	static const struct option longs[] = {
		{"daemon", no_argument, NULL, 'd'},  {"quiet", no_argument, NULL, 'q'},
		{"reboot", no_argument, NULL, 'R'},  {"user", required_argument, NULL, 'u'},
		{"verbose", no_argument, NULL, 'v'}, {"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},    {"describe-settings", no_argument, NULL, DESCRIBE_SETTINGS},
		{"check", no_argument, NULL, CHECK}, {NULL, 0, NULL, 0},
	};
	/* As called: so getopt() begins its own lines, too. */
	const char *program = argv[0];
	int c;

	while ((c = getopt_long(argc, argv, "dqRu:vVh", longs, NULL)) != -1)
		switch (c) {
		case 'd':
			o->daemon = true;
			break;
		case 'q':
			o->quiet = true;
			break;
		case 'R':
			o->takeover = true;
			break;
		case 'u':
			o->user = optarg;
			break;
		case 'v':
			o->verbosity++;
			break;
		case 'V':
			return show_version();
		case 'h':
			printf(usage, program, program);
			return 0;
		case CHECK:
			o->check = true;
			break;
		case DESCRIBE_SETTINGS:
			settings_describe(stdout);
			return 0;
		default:
			return usage_error(program);
		}
	if (optind + 1 != argc) {
		fprintf(stderr, "%s: no configuration file specified\n", program);
		return usage_error(program);
	}
	o->config_path = argv[optind];
	return -1;
}

static bool is_empty(const char *text)
{
	return !text || !*text;
}

static bool may_take_over(const struct settings *s)
{
	log_warning("Online restart is deprecated, use so_reuseport instead");
	if (service_is_managed())
		log_fatal("cannot reboot under service manager");
	else if (is_empty(s->unix_socket_dir))
		log_fatal("cannot reboot if unix dir not configured");
	else if (s->unix_socket_dir[0] == '@')
		log_fatal("cannot reboot with abstract Unix socket");
	else
		return true;
	return false;
}

/* Step 6: who was here before. With a takeover *t is set. -1: the start ends with *status. */
static int look_for_old_process(const struct options *o, const struct settings *s, struct takeover **t, int *status)
{
	if (o->takeover) {
		if (!may_take_over(s))
			return -1;
		switch (takeover_begin(s, t)) {
		case TAKEOVER_READY:
			return 0; /* the pidfile is its, as yet */
		case TAKEOVER_FAILED:
			*status = takeover_exit_status();
			return -1;
		case TAKEOVER_NONE:
			break;
		}
	} else if (service_socket_count() == 0 && listeners_unix_in_use(s->unix_socket_dir, s->listen_port)) {
		/* Somebody who answers there would be robbed of it. With sockets from the service manager none is made. */
		log_fatal("unix socket is in use, cannot continue");
		return -1;
	}
	return pidfile_check(s->pidfile);
}

static int go_to_background(const struct settings *s)
{
	const struct log_setup silent = control_log_setup(s, false);

	if (is_empty(s->pidfile)) {
		log_fatal("daemon needs pidfile configured");
		return -1;
	}
	if (log_configure(&silent) < 0) {
		log_fatal("Cannot open logfile: '%s'", s->logfile);
		return -1;
	}
	return process_daemonize();
}

/* Steps 3 to 9: all that must come before the first thread. *status: of a start that ends here. */
static int prepare(const struct options *o, const struct config *config, struct tls_setup *tls, struct takeover **t,
		   int *status)
{
	const struct settings *s = config_settings(config);
	const struct log_setup log = control_log_setup(s, !o->quiet);
	const char *user = o->user ? o->user : s->user;

	if (process_open_log(&log, user) < 0)
		return -1;
	service_begin();
	if (tls_setup_make(tls, s, control_worker_count(s)) < 0) {
		log_fatal("TLS setup failed");
		return -1;
	}
	if (process_switch_user(user) < 0)
		return -1;
	process_harden();
	if (process_is_root()) {
		log_fatal("PgBouncer should not run as root");
		return -1;
	}
	if (look_for_old_process(o, s, t, status) < 0)
		return -1;
	if (*t)
		log_info("disko over, going background");
	if (o->daemon && go_to_background(s) < 0)
		return -1;
	process_descriptor_limit(config, tls->n);
	return 0;
}

static int run(const struct options *o)
{
	const struct log_setup early = {.to_stderr = !o->quiet};
	struct tls_setup tls = {0};
	struct takeover *takeover = NULL;
	struct config *config;
	int status = 1;

	atomic_store(&log_verbosity, o->verbosity);
	if (log_configure(&early) < 0)
		return 1;
	process_harden();
	config = config_load(o->config_path, NULL, o->verbosity);
	if (!config) {
		log_fatal("cannot load config file");
		return 1;
	}
	atomic_store(&log_verbosity, config_settings(config)->verbose);
	if (prepare(o, config, &tls, &takeover, &status) < 0) {
		takeover_free(takeover);
		tls_setup_free(&tls);
		config_unref(config);
		return status;
	}
	if (control_start(config, &tls, takeover, !o->quiet && !o->daemon) < 0)
		status = takeover ? takeover_exit_status() : 1;
	/* After a takeover it is too late to give up. */
	else if (pidfile_write(config_settings(config)->pidfile) == 0 || takeover) {
		takeover_free(takeover);
		takeover = NULL;
		status = control_run();
	}
	control_stop();
	takeover_free(takeover);
	return status;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	int status = read_options(argc, argv, &o);

	if (status >= 0)
		return status;
	return o.check ? check_run(o.config_path, o.user) : run(&o);
}
