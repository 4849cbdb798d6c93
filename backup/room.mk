# backup: pg-ecdsa-backup, the companion daemon. Links lib alone; no libevent.
if BUILD_BACKUP
noinst_LIBRARIES += librooms_backup.a
BACKUP_ROOM = librooms_backup.a
BACKUP_LIBS = $(CURL_LIBS) $(LIBPQ_LIBS) $(EXPAT_LIBS) $(OPENSSL_LIBS)
librooms_backup_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(LIBPQ_CFLAGS) $(EXPAT_CFLAGS)
librooms_backup_a_SOURCES = \
	backup/config.c backup/config_checks.c backup/config_values.c backup/config_parts.h \
	include/backup/config.h include/backup/settings.def include/backup/command.h \
	backup/dump_args.c include/backup/dump_args.h \
	backup/event.c include/backup/event.h \
	backup/loop.c include/backup/loop.h \
	backup/metrics.c include/backup/metrics.h include/backup/metrics.def \
	backup/secret.c include/backup/secret.h \
	include/backup/storage.h

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_backup_config
test_unit_test_backup_config_SOURCES = test/unit/test_backup_config.c
test_unit_test_backup_config_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_backup_config_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)

check_PROGRAMS += test/unit/test_backup_event
test_unit_test_backup_event_SOURCES = test/unit/test_backup_event.c
test_unit_test_backup_event_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_backup_event_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)

check_PROGRAMS += test/unit/test_backup_loop
test_unit_test_backup_loop_SOURCES = test/unit/test_backup_loop.c
test_unit_test_backup_loop_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_backup_loop_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)
endif
endif
