#include "signals.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/log.h"
#include "service.h"

/* One a process, as signals are. The control role's thread only. */
static struct {
	const struct control_ops *ops; /* borrowed */
	struct event *event;	       /* owned */
	int fd;			       /* owned */
	int exit_status;
} signals = {.fd = -1};

static void on_stop_signal(const char *name, enum shutdown_mode mode)
{
	if (signals.ops->shutdown_mode() != SHUTDOWN_NONE) {
		log_info("got %s while shutting down, fast exit", name);
		signals.ops->shutdown(SHUTDOWN_IMMEDIATE);
	} else if (signals.ops->pause() == SUSPENDED) {
		log_fatal("suspend was in progress, going down immediately");
		signals.exit_status = 1;
		signals.ops->shutdown(SHUTDOWN_IMMEDIATE);
	} else {
		log_info("got %s, shutting down, waiting for all %s", name,
			 mode == SHUTDOWN_WAIT_CLIENTS ? "clients disconnect" : "servers connections to be released");
		signals.ops->shutdown(mode);
	}
}

static void on_usr1(void)
{
	if (signals.ops->pause() != RUNNING) {
		log_info("got SIGUSR1, but already paused/suspended");
		return;
	}
	log_info("got SIGUSR1, pausing all activity");
	signals.ops->set_pause(PAUSED, NULL, NULL);
}

static void on_usr2(void)
{
	if (signals.ops->shutdown_mode() != SHUTDOWN_NONE) {
		log_info("got SIGUSR2 while shutting down, ignoring");
		return;
	}
	if (signals.ops->pause() == RUNNING) {
		log_info("got SIGUSR2, but not paused/suspended");
		return;
	}
	log_info("got SIGUSR2, continuing from %s", signals.ops->pause() == SUSPENDED ? "SUSPEND" : "PAUSE");
	signals.ops->set_pause(RUNNING, NULL, NULL);
}

static void on_reloaded(void *ctx UNUSED, bool loaded UNUSED, bool tls_ok UNUSED)
{
	service_ready();
}

static void take_signal(uint32_t signo)
{
	switch (signo) {
	case SIGHUP:
		log_info("got SIGHUP, re-reading config");
		service_reloading();
		signals.ops->reload(on_reloaded, NULL);
		break;
	case SIGTERM:
		on_stop_signal("SIGTERM", SHUTDOWN_WAIT_CLIENTS);
		break;
	case SIGINT:
		on_stop_signal("SIGINT", SHUTDOWN_WAIT_SERVERS);
		break;
	case SIGQUIT:
		log_info("got SIGQUIT, fast exit");
		signals.ops->shutdown(SHUTDOWN_IMMEDIATE);
		break;
	case SIGUSR1:
		on_usr1();
		break;
	case SIGUSR2:
		on_usr2();
		break;
	}
}

static void on_signal(evutil_socket_t fd, short what UNUSED, void *arg UNUSED)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info))
		take_signal(info.ssi_signo);
}

int signals_start(struct event_base *base, const struct control_ops *ops)
{
	static const int ours[] = {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
	sigset_t set;

	signals.ops = ops;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		sigaddset(&set, ours[i]);
	/* Threads inherit the mask, so that nobody but the signalfd gets to see one. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals.fd < 0) {
		log_fatal("signalfd: %s", strerror(errno));
		return -1;
	}
	signals.event = event_new(base, signals.fd, EV_READ | EV_PERSIST, on_signal, NULL);
	if (!signals.event || event_add(signals.event, NULL) < 0) {
		log_fatal("cannot watch for signals");
		return -1;
	}
	return 0;
}

void signals_stop(void)
{
	if (signals.event)
		event_free(signals.event);
	if (signals.fd >= 0)
		close(signals.fd);
	signals.event = NULL;
	signals.fd = -1;
}

int signals_exit_status(void)
{
	return signals.exit_status;
}
