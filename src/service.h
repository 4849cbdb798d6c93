/*
 * service.h - the service manager: notifications and passed sockets of systemd.
 *
 * In a build without libsystemd nothing is ever sent and no socket is ever
 * passed; service_begin() says so when a manager is waiting.
 *
 * Rules: configuration specification, section 20; sd_notify(3), sd_listen_fds(3).
 */
#ifndef SERVICE_H
#define SERVICE_H

#include <stdbool.h>

#define SERVICE_SOCKETS_MAX 64

/* Before any fork and thread: looks at the environment, and takes the variables out of it. */
void service_begin(void);
/* Started by a service manager: then nobody else may take this process's place. */
bool service_is_managed(void);
/* Sockets that were passed, as descriptors from 3 up. */
int service_socket_count(void);
int service_socket(int i);

void service_ready(void);	/* started, or done with a reload */
void service_reloading(void);
void service_stopping(void);
void service_status(const char *text);
/* "yes" or "no", for --version. */
bool service_is_built(void);

#endif
