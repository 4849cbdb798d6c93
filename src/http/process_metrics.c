/* The process itself, by the names that Prometheus' own libraries use. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "http/metrics.h"

static long open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	long n = -3; /* ".", ".." and the one that lists them */

	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* proc(5): of /proc/self/stat, behind the last parenthesis. false: not to be had. */
static bool read_stat(double *cpu_seconds, double *start_seconds, double *resident_bytes)
{
	unsigned long long utime, stime, start;
	long ticks = sysconf(_SC_CLK_TCK), resident;
	char text[1024], *at;
	FILE *f = fopen("/proc/self/stat", "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	if (f)
		fclose(f);
	text[n] = 0;
	at = strrchr(text, ')');
	if (!at ||
	    sscanf(at + 1,
		   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %llu %*u %ld",
		   &utime, &stime, &start, &resident) != 4)
		return false;
	*cpu_seconds = (double)(utime + stime) / (double)ticks;
	*start_seconds = (double)start / (double)ticks;
	*resident_bytes = (double)resident * (double)sysconf(_SC_PAGESIZE);
	return true;
}

static double boot_time(void)
{
	FILE *f = fopen("/proc/stat", "re");
	char line[256];
	double when = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "btime %lf", &when) == 1)
			break;
	if (f)
		fclose(f);
	return when;
}

static void put(struct buf *b, const char *name, const char *type, const char *help, double value)
{
	buf_printf(b, "# HELP process_%s %s\n# TYPE process_%s %s\nprocess_%s %.17g\n", name, help, name, type, name, value);
}

void metrics_write_process(struct buf *b)
{
	double cpu, start, resident, boot = boot_time();
	struct rlimit files;
	long fds = open_descriptors();

	if (read_stat(&cpu, &start, &resident)) {
		put(b, "cpu_seconds_total", "counter", "User and system CPU time spent in seconds.", cpu);
		put(b, "resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident);
		if (boot > 0)
			put(b, "start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.",
			    boot + start);
	}
	if (fds >= 0)
		put(b, "open_fds", "gauge", "Number of open file descriptors.", (double)fds);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
		put(b, "max_fds", "gauge", "Maximum number of open file descriptors.", (double)files.rlim_cur);
}
