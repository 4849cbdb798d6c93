#include "service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "lib/util.h"

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

/* Written before the first thread. */
static struct {
	bool is_notified;
	int sockets;
} manager;

bool service_is_managed(void)
{
	return manager.is_notified || manager.sockets > 0;
}

int service_socket_count(void)
{
	return manager.sockets;
}

#ifdef HAVE_SYSTEMD

void service_begin(void)
{
	int n = sd_listen_fds(1);

	manager.is_notified = getenv("NOTIFY_SOCKET") != NULL;
	if (n < 0)
		log_warning("sd_listen_fds: %s", strerror(-n));
	manager.sockets = n > SERVICE_SOCKETS_MAX ? SERVICE_SOCKETS_MAX : n > 0 ? n : 0;
	if (n > SERVICE_SOCKETS_MAX)
		log_warning("%d sockets passed from service manager, only %d are used", n, SERVICE_SOCKETS_MAX);
}

int service_socket(int i)
{
	return SD_LISTEN_FDS_START + i;
}

static void notify(const char *state)
{
	int err;

	if (!manager.is_notified)
		return;
	err = sd_notify(0, state);
	if (err < 0)
		log_warning("sd_notify: %s", strerror(-err));
}

void service_reloading(void)
{
	char state[80];
	struct timespec now;

	/* The manager tells this reload from an older one by the time: sd_notify(3). */
	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	notify(state);
}

void service_status(const char *text)
{
	char state[600];

	snprintf(state, sizeof(state), "STATUS=%s", text);
	notify(state);
}

bool service_is_built(void)
{
	return true;
}

#else

void service_begin(void)
{
	if (getenv("NOTIFY_SOCKET"))
		log_warning("apparently running under systemd with notify socket, but systemd support was not built");
}

int service_socket(int i UNUSED)
{
	return -1;
}

static void notify(const char *state UNUSED)
{
}

void service_reloading(void)
{
}

void service_status(const char *text UNUSED)
{
}

bool service_is_built(void)
{
	return false;
}

#endif

void service_ready(void)
{
	notify("READY=1");
}

void service_stopping(void)
{
	notify("STOPPING=1");
}
