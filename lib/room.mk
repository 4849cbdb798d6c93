# lib: knows nothing of PostgreSQL.
noinst_LIBRARIES += librooms_lib.a
LIB_ROOM = librooms_lib.a
librooms_lib_a_SOURCES = \
	lib/base64.c include/lib/base64.h \
	lib/buf.c include/lib/buf.h \
	lib/file.c include/lib/file.h \
	lib/file_write.c include/lib/file_write.h \
	lib/hash.c include/lib/hash.h \
	lib/hex.c include/lib/hex.h \
	lib/keccak.c include/lib/keccak.h \
	lib/ini.c include/lib/ini.h \
	lib/log.c include/lib/log.h \
	lib/mem.c include/lib/mem.h \
	lib/rfc3339.c include/lib/rfc3339.h \
	include/lib/net_order.h \
	lib/network.c include/lib/network.h \
	lib/oom.c include/lib/oom.h \
	lib/tls_context.c include/lib/tls_context.h \
	lib/tls_filter.c include/lib/tls_filter.h \
	lib/wheel.c include/lib/wheel.h \
	include/lib/comma_list.h include/lib/list.h include/lib/span.h include/lib/util.h

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_tls
test_unit_test_tls_SOURCES = test/unit/test_tls.c
test_unit_test_tls_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_tls_LDADD = $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)

check_PROGRAMS += test/unit/test_lib
test_unit_test_lib_SOURCES = test/unit/test_lib.c
test_unit_test_lib_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_lib_LDADD = $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)
endif
