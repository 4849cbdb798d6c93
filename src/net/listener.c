#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/list.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "net/crew.h"
#include "net/handshakes.h"

#define ACCEPTS_A_TURN 64
#define STORM_USEC 200 /* closer together than this, sockets are taken several at once */
#define ACCEPT_PAUSE_SEC 5

/*
 * How long handshakes that have begun are waited for when we go and others stay. Who is asked in vain meanwhile sends
 * his next SYN a second later, and should find us gone; so the less the better. A client that is silent may take
 * CLOSING_MAX (net/handshakes.h).
 */
#define CLOSING_FIRST_LOOK 25000
#define CLOSING_NEXT_LOOK 250000 /* at the latest */
#define CLOSING_MAX 1500000
#define CLOSING_BLIND 900000 /* where the kernel's list cannot be read */
#define CLOSING_GIVE_UP 6000000 /* no descriptor is free for a client who is in already */

struct listener {
	struct list link;
	struct listeners *all;
	struct event *event;
	struct event *pause; /* runs after accept() failed */
	int fd;
	int burst; /* sockets to take at the next wake-up: taking one more than there are costs a system call */
	usec_t woken_at;
	bool is_unix;
	bool is_named; /* by the configuration; while those of an older process are looked through */
	bool was_shut; /* by an older process: shut_door(). Who came in then has inherited it */
};

/* Reads the kernel's list of handshakes in a helper thread: it may be long. */
struct look {
	struct job job; /* first */
	struct listeners *all; /* linked; NULL: they are gone */
	int port;
	usec_t since;
	enum handshakes found;
};

struct listeners {
	struct list list;
	struct tcp_options tcp;
	int port, unix_port;
	char unix_path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "" when there is no file */
	bool defer_accept, is_suspended;
	bool shares_port; /* SO_REUSEPORT: other processes go on when we stop */
	bool is_adopted;  /* the sockets are the service manager's, and stay when we close them */
	bool is_closing;  /* TCP: nobody new is let in, and who is on his way is waited for */
	usec_t closing_since;
	struct event *closing; /* owned: the next look whether that is over */
	struct look *look;     /* linked; one is under way */
	int failures; /* addresses that could not be opened */
	struct worker *control; /* borrowed */
	listeners_accepted *accepted;
	void *arg;
};

static void add(struct listeners *all, int fd, bool is_unix)
{
	struct listener *l = xcalloc(1, sizeof(*l));

	l->all = all;
	l->fd = fd;
	l->is_unix = is_unix;
	l->is_named = true;
	list_init(&l->link);
	list_add_tail(&all->list, &l->link);
}

static bool same_address(int fd, const struct sockaddr *want)
{
	union sock_addr a;
	socklen_t len = sizeof(a);

	if (getsockname(fd, &a.sa, &len) < 0 || a.sa.sa_family != want->sa_family)
		return false;
	if (want->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)want;

		return a.in.sin_port == in->sin_port && a.in.sin_addr.s_addr == in->sin_addr.s_addr;
	}
	return a.in6.sin6_port == ((const struct sockaddr_in6 *)(const void *)want)->sin6_port &&
	       memcmp(&a.in6.sin6_addr, &((const struct sockaddr_in6 *)(const void *)want)->sin6_addr,
		      sizeof(a.in6.sin6_addr)) == 0;
}

/* One of an older process that has this address; NULL: it has none. want NULL: the Unix socket. */
static struct listener *find_taken(struct listeners *all, const struct sockaddr *want)
{
	LIST_FOR(node, &all->list) {
		struct listener *l = LIST_ITEM(node, struct listener, link);

		if (l->is_named || l->is_unix != !want)
			continue;
		if (!want || same_address(l->fd, want))
			return l;
	}
	return NULL;
}

static void set_defer(int fd, bool on)
{
	int value = on ? 1 : 0;

	if (setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &value, sizeof(value)) < 0)
		log_debug("setsockopt(TCP_DEFER_ACCEPT): %s", strerror(errno));
}

static bool open_one(struct listeners *all, const struct listen_options *o, const struct addrinfo *ai)
{
	char host[NI_MAXHOST], port[NI_MAXSERV], where[NI_MAXHOST + NI_MAXSERV + 4];
	struct listener *taken = find_taken(all, ai->ai_addr);
	const char *call = "socket";
	const int one = 1;
	int fd;

	if (taken) {
		taken->is_named = true;
		return true;
	}
	getnameinfo(ai->ai_addr, ai->ai_addrlen, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(where, sizeof(where), ai->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		goto failed;
	call = "setsockopt";
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		goto failed;
	if (ai->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		goto failed;
	if (o->reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
		goto failed;
	/* Inherited by what is accepted; buffer sizes shape the window only when set before the handshake. */
	socket_tune(fd, ai->ai_family, &o->tcp);
	if (o->defer_accept)
		set_defer(fd, true);
	call = "bind";
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0)
		goto failed;
	call = "listen";
	if (listen(fd, o->backlog) < 0)
		goto failed;
	add(all, fd, false);
	log_info("listening on %s", where);
	return true;
failed:
	log_warning("cannot listen on %s: %s(): %s", where, call, strerror(errno));
	all->failures++;
	if (fd >= 0)
		close(fd);
	return false;
}

/* 0, or -1 when getaddrinfo does not know the name, which is fatal. opened counts. */
static int open_name(struct listeners *all, const struct listen_options *o, const char *name, int *opened)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
	char port[12];
	int err;

	snprintf(port, sizeof(port), "%d", o->port);
	err = getaddrinfo(strcmp(name, "*") == 0 ? NULL : name, port, &hints, &found);
	if (err) {
		log_fatal("getaddrinfo('%s', '%s') = %s [%d]", name, port, gai_strerror(err), err);
		return -1;
	}
	for (struct addrinfo *ai = found; ai; ai = ai->ai_next)
		if (ai->ai_family == AF_INET || ai->ai_family == AF_INET6)
			*opened += open_one(all, o, ai);
	freeaddrinfo(found);
	return 0;
}

static int open_tcp(struct listeners *all, const struct listen_options *o)
{
	char *list, *at, *save = NULL;
	int opened = 0, wanted = 0, ret = 0;

	if (!o->addresses || !o->addresses[0])
		return 0;
	list = xstrdup(o->addresses);
	for (at = strtok_r(list, ", \t", &save); at && ret == 0; at = strtok_r(NULL, ", \t", &save)) {
		wanted++;
		ret = open_name(all, o, at, &opened);
	}
	free(list);
	/* With sockets of an older process there is something to go on with. */
	if (ret == 0 && wanted > 0 && opened == 0 && list_empty(&all->list)) {
		log_fatal("failed to listen on any address in listen_addr list: %s", o->addresses);
		ret = -1;
	}
	return ret;
}

bool listeners_unix_in_use(const char *dir, int port)
{
	union sock_addr a;
	socklen_t len;
	bool in_use;
	int fd;

	if (!dir || !dir[0] || !sock_addr_unix(dir, port, &a, &len))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	in_use = connect(fd, &a.sa, len) == 0;
	close(fd);
	return in_use;
}

static bool set_group(const char *path, const char *group)
{
	struct group *gr;
	char *end;
	gid_t gid = (gid_t)strtoul(group, &end, 10);

	if (*end) {
		gr = getgrnam(group);
		if (!gr) {
			log_error("group for unix socket '%s' not found", group);
			return false;
		}
		gid = gr->gr_gid;
	}
	if (chown(path, (uid_t)-1, gid) < 0) {
		log_error("chown(%s, %s): %s", path, group, strerror(errno));
		return false;
	}
	return true;
}

/* The file is there, and belongs to this process from now on. call: what has failed. */
static bool own_unix_file(struct listeners *all, const struct listen_options *o, const union sock_addr *a,
			  const char **call)
{
	if (a->un.sun_path[0] == 0)
		return true; /* an abstract name */
	snprintf(all->unix_path, sizeof(all->unix_path), "%s", a->un.sun_path);
	*call = "chmod";
	if (chmod(all->unix_path, (mode_t)o->unix_mode) < 0)
		return false;
	*call = "group";
	return !o->unix_group || !o->unix_group[0] || set_group(all->unix_path, o->unix_group);
}

static int open_unix(struct listeners *all, const struct listen_options *o)
{
	struct listener *taken = find_taken(all, NULL);
	char lock[sizeof(all->unix_path) + 8];
	const char *call = "address";
	union sock_addr a;
	struct stat st;
	socklen_t len;
	int fd = -1;

	if (!o->unix_dir || !o->unix_dir[0])
		return 0;
	errno = ENAMETOOLONG;
	if (!sock_addr_unix(o->unix_dir, o->port, &a, &len))
		goto failed;
	if (taken) {
		taken->is_named = true;
		all->unix_port = o->port;
		if (!own_unix_file(all, o, &a, &call))
			log_warning("unix socket in '%s': %s: %s", o->unix_dir, call, strerror(errno));
		return 0;
	}
	if (a.un.sun_path[0]) {
		/* A PostgreSQL server keeps a lock file beside its socket. */
		snprintf(lock, sizeof(lock), "%s.lock", a.un.sun_path);
		if (lstat(lock, &st) == 0) {
			log_fatal("unix port %d is in use", o->port);
			return -1;
		}
		unlink(a.un.sun_path);
	}
	call = "socket";
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		goto failed;
	call = "bind";
	if (bind(fd, &a.sa, len) < 0)
		goto failed;
	if (!own_unix_file(all, o, &a, &call))
		goto failed;
	call = "listen";
	if (listen(fd, o->backlog) < 0)
		goto failed;
	all->unix_port = o->port;
	add(all, fd, true);
	log_info("listening on unix:%s/.s.PGSQL.%d", o->unix_dir, o->port);
	return 0;
failed:
	log_error("unix socket in '%s': %s: %s", o->unix_dir, call, strerror(errno));
	log_fatal("failed to create unix socket");
	if (fd >= 0)
		close(fd);
	return -1;
}

static struct listeners *make_all(const struct listen_options *o)
{
	struct listeners *all = xcalloc(1, sizeof(*all));

	list_init(&all->list);
	all->tcp = o->tcp;
	all->defer_accept = o->defer_accept;
	all->port = o->port;
	all->shares_port = o->reuseport;
	return all;
}

struct listeners *listeners_open(const struct listen_options *o)
{
	struct listeners *all = make_all(o);

	if (open_tcp(all, o) < 0 || open_unix(all, o) < 0)
		goto failed;
	if (list_empty(&all->list)) {
		log_fatal("nowhere to listen on");
		goto failed;
	}
	return all;
failed:
	listeners_free(all, false);
	return NULL;
}

/* NULL, or what is wrong with a descriptor that should be a listening socket. */
static const char *not_listening(int fd, int *family)
{
	union sock_addr a;
	socklen_t len = sizeof(a), size = sizeof(int);
	int listens = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0)
		return strerror(errno);
	if (!listens)
		return "it does not listen";
	if (getsockname(fd, &a.sa, &len) < 0)
		return strerror(errno);
	*family = a.sa.sa_family;
	return *family == AF_INET || *family == AF_INET6 || *family == AF_UNIX ? NULL : "unknown address family";
}

/* A socket that somebody else has made. false: logged, FATAL; whence goes into the line. */
static bool add_made(struct listeners *all, const struct listen_options *o, int fd, const char *whence)
{
	int family = AF_UNSPEC;
	const char *trouble = not_listening(fd, &family);

	if (trouble) {
		log_fatal("socket %s (fd %d): %s", whence, fd, trouble);
		return false;
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (family != AF_UNIX) {
		socket_tune(fd, family, &o->tcp);
		set_defer(fd, o->defer_accept);
	}
	add(all, fd, family == AF_UNIX);
	return true;
}

struct listeners *listeners_adopt(const struct listen_options *o, const int *fds, int n)
{
	struct listeners *all = make_all(o);

	all->is_adopted = true;
	all->shares_port = false; /* whatever the setting says: these are not ours to share */
	all->unix_port = o->port;
	for (int i = 0; i < n; i++) {
		if (!add_made(all, o, fds[i], "passed from service manager")) {
			listeners_free(all, false);
			return NULL;
		}
		log_info("socket passed from service manager (fd %d)", fds[i]);
	}
	return all;
}

static void close_listener(struct listener *l);

static void drop_unnamed(struct listeners *all)
{
	LIST_FOR_SAFE(node, &all->list) {
		struct listener *l = LIST_ITEM(node, struct listener, link);
		union sock_addr a;
		socklen_t len = sizeof(a);
		struct peer_addr address;
		char where[80];

		if (l->is_named)
			continue;
		memset(&a, 0, sizeof(a));
		getsockname(l->fd, &a.sa, &len);
		peer_addr_from(&address, &a);
		peer_addr_text(&address, where, sizeof(where));
		if (all->failures > 0) {
			log_warning("still listening on %s, though the configuration does not name it", where);
			continue;
		}
		log_info("no longer listening on %s", where);
		close_listener(l);
	}
}

static void shut_door(int fd, int family, bool shut);

/* One that an older process was about to close listens again. Was it shut? */
static bool open_door(int fd)
{
	int family = AF_INET, hops = 0;
	socklen_t size = sizeof(family), hops_size = sizeof(hops);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
	if (getsockopt(fd, family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP,
		       family == AF_INET6 ? IPV6_MINHOPCOUNT : IP_MINTTL, &hops, &hops_size) < 0 || hops == 0)
		return false;
	shut_door(fd, family, false);
	return true;
}

struct listeners *listeners_take(const struct listen_options *o, const int *fds, int n)
{
	struct listeners *all = make_all(o);
	const int one = 1;

	for (int i = 0; i < n; i++) {
		struct listener *l;

		if (!add_made(all, o, fds[i], "of the old process"))
			goto failed;
		l = LIST_ITEM(all->list.prev, struct listener, link);
		l->is_named = false;
		l->was_shut = !l->is_unix && open_door(fds[i]);
		/* Another backlog, and the wish to share the port, take effect on a socket that listens already. */
		if (o->reuseport && setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
			log_debug("setsockopt(SO_REUSEPORT): %s", strerror(errno));
		if (listen(fds[i], o->backlog) < 0)
			log_warning("listen: %s", strerror(errno));
	}
	if (open_tcp(all, o) < 0 || open_unix(all, o) < 0)
		goto failed;
	drop_unnamed(all);
	return all;
failed:
	listeners_free(all, true);
	return NULL;
}

static void on_pause_over(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct listener *l = arg;

	if (!l->all->is_suspended)
		event_add(l->event, NULL);
}

/*
 * The listening socket discards every SYN, while handshakes under way, which have sockets of their own, go on. What it
 * does to that end is to accept no packet from farther away than a link; only what has a full hop count is from there.
 */
static void shut_door(int fd, int family, bool shut)
{
	int hops = shut ? 255 : 0, level = family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;

	if (setsockopt(fd, level, family == AF_INET6 ? IPV6_MINHOPCOUNT : IP_MINTTL, &hops, sizeof(hops)) < 0)
		log_debug("setsockopt(%s): %s", family == AF_INET6 ? "IPV6_MINHOPCOUNT" : "IP_MINTTL", strerror(errno));
}

/* 0, or errno: EAGAIN when nobody waits. */
static int take_one(struct listener *l)
{
	union sock_addr from;
	socklen_t len = sizeof(from);
	int fd = accept4(l->fd, &from.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return errno;
	if (l->is_unix) {
		memset(&from, 0, sizeof(from));
		from.sa.sa_family = AF_UNIX;
	} else if (l->all->is_closing || l->was_shut)
		shut_door(fd, from.sa.sa_family, false); /* which it has inherited */
	l->all->accepted(l->all->arg, fd, &from, l->is_unix);
	return 0;
}

static bool is_nothing(int err)
{
	return err == ECONNABORTED || err == EINTR;
}

static void on_incoming(evutil_socket_t lfd UNUSED, short what UNUSED, void *arg)
{
	struct listener *l = arg;
	usec_t now = worker_now(l->all->control);

	l->burst = now - l->woken_at > STORM_USEC ? 1 : l->burst * 2;
	if (l->burst > ACCEPTS_A_TURN)
		l->burst = ACCEPTS_A_TURN;
	l->woken_at = now;
	for (int i = 0; i < l->burst; i++) {
		const struct timeval wait = {ACCEPT_PAUSE_SEC, 0};
		int err = take_one(l);

		if (err == 0 || is_nothing(err))
			continue;
		if (err == EAGAIN) {
			l->burst = 1;
			return;
		}
		/* Out of descriptors, most likely: trying at once would only spin. */
		log_error("accept() failed: %s", strerror(err));
		event_del(l->event);
		evtimer_add(l->pause, &wait);
		return;
	}
}

void listeners_start(struct listeners *all, struct worker *control, listeners_accepted *accepted, void *arg)
{
	all->control = control;
	all->accepted = accepted;
	all->arg = arg;
	LIST_FOR(node, &all->list) {
		struct listener *l = LIST_ITEM(node, struct listener, link);

		l->event = event_new(control->base, l->fd, EV_READ | EV_PERSIST, on_incoming, l);
		l->pause = evtimer_new(control->base, on_pause_over, l);
		if (!l->event || !l->pause || event_add(l->event, NULL) < 0)
			log_error("cannot watch a listening socket");
	}
}

void listeners_set_options(struct listeners *all, bool defer_accept, const struct tcp_options *tcp)
{
	all->tcp = *tcp;
	LIST_FOR(node, &all->list) {
		struct listener *l = LIST_ITEM(node, struct listener, link);

		if (l->is_unix || all->is_closing)
			continue;
		socket_tune(l->fd, AF_INET, tcp);
		if (all->defer_accept != defer_accept)
			set_defer(l->fd, defer_accept);
	}
	all->defer_accept = defer_accept;
}

void listeners_suspend(struct listeners *all)
{
	all->is_suspended = true;
	LIST_FOR(node, &all->list)
		event_del(LIST_ITEM(node, struct listener, link)->event);
}

void listeners_resume(struct listeners *all)
{
	if (!all->is_suspended)
		return;
	all->is_suspended = false;
	LIST_FOR(node, &all->list) {
		struct listener *l = LIST_ITEM(node, struct listener, link);

		/* One that could not accept tries again when its pause is over. */
		if (!event_pending(l->pause, EV_TIMEOUT, NULL))
			event_add(l->event, NULL);
	}
}

void listeners_each(const struct listeners *all, listeners_row *row, void *arg)
{
	LIST_FOR(node, &all->list) {
		const struct listener *l = LIST_ITEM(node, struct listener, link);
		union sock_addr addr;
		socklen_t len = sizeof(addr);

		memset(&addr, 0, sizeof(addr));
		if (getsockname(l->fd, &addr.sa, &len) == 0)
			row(arg, l->fd, &addr, all->unix_port);
	}
}

static void close_listener(struct listener *l)
{
	list_del(&l->link);
	if (l->event)
		event_free(l->event);
	if (l->pause)
		event_free(l->pause);
	close(l->fd);
	free(l);
}

/* Who is in the kernel's queue takes himself for connected. errno of what keeps him from being taken, else 0. */
static int take_all(struct listener *l)
{
	int err;

	do
		err = take_one(l);
	while (err == 0 || is_nothing(err));
	return err == EAGAIN ? 0 : err;
}

/* false: some are still in the queue, and there is hope. */
static bool close_tcp(struct listeners *all, bool is_last_chance)
{
	bool all_gone = true;

	LIST_FOR_SAFE(node, &all->list) {
		struct listener *l = LIST_ITEM(node, struct listener, link);
		int err = 0;

		if (l->is_unix)
			continue;
		/* What waits at a socket of the service manager is for whoever it is given to next. */
		if (!all->is_adopted)
			err = take_all(l);
		if (err && !is_last_chance) {
			all_gone = false;
			continue;
		}
		if (err)
			log_warning("accept() failed: %s, clients that wait to be accepted are lost", strerror(err));
		close_listener(l);
	}
	return all_gone;
}

static void look_later(struct listeners *all)
{
	usec_t gone = clock_monotonic() - all->closing_since, wait = gone;
	struct timeval tv = {0, 0};

	/* What is as old as our first look is to be told from what has begun since, elsewhere: wait twice as long. */
	if (wait < CLOSING_FIRST_LOOK)
		wait = CLOSING_FIRST_LOOK;
	if (wait > CLOSING_NEXT_LOOK)
		wait = CLOSING_NEXT_LOOK;
	tv.tv_usec = (suseconds_t)wait;
	if (evtimer_add(all->closing, &tv) == 0)
		return;
	close_tcp(all, true);
	all->is_closing = false;
}

static void look(struct job *j)
{
	struct look *k = CONTAINER_OF(j, struct look, job);

	k->found = handshakes_older_than(k->port, clock_monotonic() - k->since);
}

static void looked(struct worker *w UNUSED, struct job *j)
{
	struct look *k = CONTAINER_OF(j, struct look, job);
	struct listeners *all = k->all;
	usec_t gone = clock_monotonic() - k->since;
	usec_t enough = k->found == HANDSHAKES_NONE ? 0 : k->found == HANDSHAKES_SOME ? CLOSING_MAX : CLOSING_BLIND;

	free(k);
	if (!all)
		return;
	all->look = NULL;
	if (!all->is_suspended && gone >= enough && close_tcp(all, gone >= CLOSING_GIVE_UP)) {
		log_debug("no more connections by TCP, after %lld ms", (long long)(gone / 1000));
		all->is_closing = false;
	} else
		look_later(all);
}

static void on_closing(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct listeners *all = arg;
	struct look *k = xcalloc(1, sizeof(*k));

	k->job.run = look;
	k->job.done = looked;
	k->all = all;
	k->port = all->port;
	k->since = all->closing_since;
	all->look = k;
	crew_submit(all->control, LANE_COMPUTE, &k->job);
}

static bool has_tcp(const struct listeners *all)
{
	LIST_FOR(node, &all->list)
		if (!LIST_ITEM(node, struct listener, link)->is_unix)
			return true;
	return false;
}

void listeners_close_tcp(struct listeners *all)
{
	if (all->is_closing || !has_tcp(all))
		return;
	/* Without others on this port whoever comes should be told at once that nobody listens. */
	if (all->shares_port && !all->closing)
		all->closing = evtimer_new(all->control->base, on_closing, all);
	if (!all->closing) {
		close_tcp(all, true);
		return;
	}
	all->is_closing = true;
	all->closing_since = clock_monotonic();
	LIST_FOR(node, &all->list) {
		struct listener *l = LIST_ITEM(node, struct listener, link);
		union sock_addr own;
		socklen_t len = sizeof(own);

		if (l->is_unix || getsockname(l->fd, &own.sa, &len) < 0)
			continue;
		shut_door(l->fd, own.sa.sa_family, true);
	}
	look_later(all);
}

bool listeners_are_closing(const struct listeners *all)
{
	return all->is_closing;
}

void listeners_free(struct listeners *all, bool leaves_file)
{
	if (!all)
		return;
	if (all->unix_path[0] && !leaves_file)
		unlink(all->unix_path);
	LIST_FOR_SAFE(node, &all->list)
		close_listener(LIST_ITEM(node, struct listener, link));
	if (all->closing)
		event_free(all->closing);
	if (all->look)
		all->look->all = NULL;
	free(all);
}
