# admin: the console. Parser, tables and averages are pure; the rest stands on the pool room.
noinst_LIBRARIES += librooms_admin.a
ADMIN_ROOM = librooms_admin.a
librooms_admin_a_SOURCES = \
	src/admin/command.c include/admin/command.h \
	src/admin/console.c include/admin/console.h include/admin/console_client.h \
	src/admin/control.c include/admin/ask.h \
	src/admin/kill_wallet.c \
	src/admin/session.c include/admin/session.h \
	src/admin/show.c include/admin/show.h \
	src/admin/show_config.c \
	src/admin/show_dns.c \
	src/admin/show_ecdsa.c \
	src/admin/show_fds.c \
	src/admin/show_peers.c \
	src/admin/show_handover.c \
	src/admin/show_pools.c \
	src/admin/show_sockets.c \
	src/admin/show_stats.c \
	src/admin/stats_book.c include/admin/stats_book.h \
	src/admin/table.c include/admin/table.h \
	src/admin/verbs.c \
	src/admin/waiting.c include/admin/waiting.h

EXTRA_PROGRAMS += test/fuzz/fuzz_console
FUZZ_TARGETS += test/fuzz/fuzz_console$(EXEEXT)
test_fuzz_fuzz_console_SOURCES = test/fuzz/fuzz_console.c
test_fuzz_fuzz_console_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
test_fuzz_fuzz_console_LDADD = $(ADMIN_ROOM)
EXTRA_DIST += test/fuzz/corpus/console

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_console
test_unit_test_console_SOURCES = test/unit/test_console.c
test_unit_test_console_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_console_LDADD = $(ADMIN_ROOM) $(PROTO_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)
endif
