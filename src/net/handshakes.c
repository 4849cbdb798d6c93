#include "net/handshakes.h"

#include <stdio.h>
#include <unistd.h>

#define SYN_RECEIVED 0x03
#define TIMER_RUNS 0x01
#define LINE_MAX_BYTES 512

/* The answer to the SYN is sent again after one second, then after two more. */
#define FIRST_WAIT USEC_PER_SEC
#define SECOND_WAIT (2 * USEC_PER_SEC)
/* Who is there answers the second one within this; others are forged, or ask again themselves. */
#define SECOND_ANSWER (USEC_PER_SEC / 2)
/* Of the kernel's clock, and of reading the list. */
#define TOLERANCE (USEC_PER_SEC / 50)

bool handshake_is_older(const char *line, int port, usec_t age, long ticks_a_second)
{
	unsigned own_port, state, timer, sent_again;
	unsigned long ticks;
	usec_t left;

	/* slot: local remote state queues timer:ticks retransmits ... */
	if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %x:%lx %x", &own_port, &state, &timer,
		   &ticks, &sent_again) != 5)
		return false;
	if (own_port != (unsigned)port || state != SYN_RECEIVED || timer != TIMER_RUNS || ticks > 1000000)
		return false;
	left = (usec_t)ticks * USEC_PER_SEC / ticks_a_second;
	switch (sent_again) {
	case 0:
		return FIRST_WAIT - left + TOLERANCE >= age;
	case 1:
		return SECOND_WAIT - left <= SECOND_ANSWER;
	}
	return false;
}

static enum handshakes look_into(const char *path, int port, usec_t age)
{
	enum handshakes found = HANDSHAKES_NONE;
	long ticks_a_second = sysconf(_SC_CLK_TCK);
	char line[LINE_MAX_BYTES];
	FILE *f = fopen(path, "re");

	if (!f || ticks_a_second <= 0)
		found = HANDSHAKES_UNKNOWN;
	while (found == HANDSHAKES_NONE && fgets(line, sizeof(line), f))
		if (handshake_is_older(line, port, age, ticks_a_second))
			found = HANDSHAKES_SOME;
	if (f)
		fclose(f);
	return found;
}

enum handshakes handshakes_older_than(int port, usec_t age)
{
	enum handshakes in4 = look_into("/proc/net/tcp", port, age), in6;

	if (in4 != HANDSHAKES_NONE)
		return in4;
	in6 = look_into("/proc/net/tcp6", port, age);
	/* A kernel without IPv6 has no such list. */
	return in6 == HANDSHAKES_UNKNOWN ? HANDSHAKES_NONE : in6;
}
