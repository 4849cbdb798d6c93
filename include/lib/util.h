/*
 * lib/util.h - the handful of macros that every file may use.
 */
#ifndef LIB_UTIL_H
#define LIB_UTIL_H

#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED __attribute__((unused))
#define BIT(n) (1u << (n))

/* Time spans and monotonic time stamps are microseconds throughout. */
typedef int64_t usec_t;
#define USEC_PER_SEC ((usec_t)1000000)

#endif
