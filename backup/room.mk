# backup: pg-ecdsa-backup, the companion daemon. Links lib alone; no libevent.
if BUILD_BACKUP
noinst_LIBRARIES += librooms_backup.a
BACKUP_ROOM = librooms_backup.a
BACKUP_LIBS = $(CURL_LIBS) $(LIBPQ_LIBS) $(EXPAT_LIBS) $(JANSSON_LIBS) $(OPENSSL_LIBS)
librooms_backup_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(LIBPQ_CFLAGS) $(EXPAT_CFLAGS) $(JANSSON_CFLAGS)
librooms_backup_a_SOURCES = \
	backup/loop.c include/backup/loop.h \
	include/backup/storage.h

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_backup_loop
test_unit_test_backup_loop_SOURCES = test/unit/test_backup_loop.c
test_unit_test_backup_loop_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_backup_loop_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)
endif
endif
