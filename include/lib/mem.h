/*
 * lib/mem.h - allocation that is checked, and memory that is wiped.
 *
 * The x functions are for start-up and configuration, where running out of
 * memory ends the process with a clear line. Connection set-up uses plain
 * malloc() and refuses the one connection instead.
 */
#ifndef LIB_MEM_H
#define LIB_MEM_H

#include <stddef.h>
#include <sys/types.h>

void *xmalloc(size_t bytes);		    /* owned by the caller; never NULL */
void *xcalloc(size_t n, size_t bytes);	    /* zeroed */
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *s);		    /* NULL stays NULL */
char *xstrndup(const char *s, size_t len);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Overwrites secrets; the compiler may not drop it. */
void mem_wipe(void *p, size_t bytes);
/* Wipes a NUL-terminated secret, then frees it. NULL is fine. */
void str_wipe_free(char *s);
/* true when equal; takes the same time wherever the first difference is. */
int mem_equal_const_time(const void *a, const void *b, size_t bytes);
/* Fills p from the kernel's random source; ends the process if there is none. */
void mem_random(void *p, size_t bytes);
/* getpid() without the system call; right in a child, too. */
pid_t process_id(void);

#endif
