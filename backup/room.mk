# backup: pg-ecdsa-backup, the companion daemon. Links lib alone; no libevent.
if BUILD_BACKUP
noinst_LIBRARIES += librooms_backup.a
BACKUP_ROOM = librooms_backup.a
BACKUP_LIBS = $(CURL_LIBS) $(LIBPQ_LIBS) $(EXPAT_LIBS) $(JANSSON_LIBS) $(OPENSSL_LIBS)
librooms_backup_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(LIBPQ_CFLAGS) $(EXPAT_CFLAGS) $(JANSSON_CFLAGS)
librooms_backup_a_SOURCES = \
	backup/backup_job.c include/backup/jobs.h \
	backup/catalog.c include/backup/catalog.h \
	backup/check_store.c backup/commands.c include/backup/commands.h \
	backup/child.c include/backup/child.h \
	backup/choose.c backup/cmd_parts.h \
	backup/cmd_backup.c \
	backup/cmd_file.c \
	backup/cmd_restore.c \
	backup/cmd_store.c \
	backup/config.c backup/config_checks.c backup/config_values.c backup/config_parts.h \
	include/backup/config.h include/backup/settings.def include/backup/command.h \
	backup/daemon.c backup/daemon_parts.h \
	backup/daemon_show.c \
	backup/digest.c include/backup/digest.h \
	backup/dir_store.c backup/dir_list.c backup/dir_upload.c backup/dir_parts.h include/backup/dir_store.h \
	backup/drill_job.c \
	backup/dump_args.c include/backup/dump_args.h \
	backup/event.c include/backup/event.h \
	backup/facts.c include/backup/facts.h \
	backup/fetch.c include/backup/fetch.h \
	backup/globals_job.c \
	backup/http.c include/backup/http.h \
	backup/job_parts.c backup/job_parts.h \
	backup/keys.c include/backup/keys.h \
	backup/listen.c include/backup/listen.h \
	backup/lock.c include/backup/lock.h \
	backup/loop.c include/backup/loop.h \
	backup/manifest.c backup/manifest_seal.c include/backup/manifest.h \
	backup/metrics.c include/backup/metrics.h include/backup/metrics.def \
	backup/notify.c include/backup/notify.h \
	backup/object_name.c include/backup/object_name.h \
	include/backup/outcome.h \
	backup/part_size.c include/backup/part_size.h \
	backup/pg.c backup/pg_env.c include/backup/pg.h \
	backup/program.c \
	backup/reader.c include/backup/reader.h \
	backup/resolve.c include/backup/resolve.h \
	backup/restore_job.c \
	backup/restore_parts.c backup/restore_parts.h \
	backup/retention.c include/backup/retention.h \
	backup/s3_answer.c include/backup/s3_answer.h \
	backup/s3_call.c include/backup/s3_call.h \
	backup/s3_credentials.c include/backup/s3_credentials.h \
	backup/s3_object.c include/backup/s3_work.h \
	backup/s3_store.c include/backup/s3.h \
	backup/s3_upload.c \
	backup/s3_xml.c include/backup/s3_xml.h \
	backup/schedule.c include/backup/schedule.h \
	backup/seal.c include/backup/seal.h backup/seal_parts.h \
	backup/secret.c include/backup/secret.h \
	backup/set_job.c include/backup/set.h \
	backup/sigv4.c include/backup/sigv4.h \
	backup/sql_split.c include/backup/sql_split.h \
	backup/state.c include/backup/state.h \
	backup/storage.c include/backup/storage.h \
	backup/tools.c include/backup/tools.h \
	backup/unseal.c include/backup/unseal.h \
	backup/upload.c include/backup/upload.h \
	backup/verify_job.c \
	backup/work.c include/backup/work.h

bin_PROGRAMS += pg-ecdsa-backup
pg_ecdsa_backup_SOURCES = backup/main.c
pg_ecdsa_backup_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(BACKUP_LIBS)
# A store by hand, for the system tests; not installed.
noinst_PROGRAMS += test/tools/store_driver
test_tools_store_driver_SOURCES = test/tools/store_driver.c
test_tools_store_driver_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS) $(JANSSON_CFLAGS)
test_tools_store_driver_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(BACKUP_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_backup_upload
test_unit_test_backup_upload_SOURCES = test/unit/test_backup_upload.c
test_unit_test_backup_upload_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_backup_upload_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)

check_PROGRAMS += test/unit/test_backup_sql
test_unit_test_backup_sql_SOURCES = test/unit/test_backup_sql.c
test_unit_test_backup_sql_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_backup_sql_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)

check_PROGRAMS += test/unit/test_backup_schedule
test_unit_test_backup_schedule_SOURCES = test/unit/test_backup_schedule.c
test_unit_test_backup_schedule_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_backup_schedule_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)

check_PROGRAMS += test/unit/test_backup_child
test_unit_test_backup_child_SOURCES = test/unit/test_backup_child.c
test_unit_test_backup_child_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_backup_child_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)

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

check_PROGRAMS += test/unit/test_backup_answers
test_unit_test_backup_answers_SOURCES = test/unit/test_backup_answers.c
test_unit_test_backup_answers_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(CURL_CFLAGS)
test_unit_test_backup_answers_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)

check_PROGRAMS += test/unit/test_backup_store
test_unit_test_backup_store_SOURCES = test/unit/test_backup_store.c
test_unit_test_backup_store_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_backup_store_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)

if HAVE_PYTHON3
check_PROGRAMS += test/unit/test_backup_vectors
test_unit_test_backup_vectors_SOURCES = test/unit/test_backup_vectors.c
nodist_test_unit_test_backup_vectors_SOURCES = test/vectors/backup_seal_vectors.h
test_unit_test_backup_vectors_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_backup_vectors_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)
$(test_unit_test_backup_vectors_OBJECTS): test/vectors/backup_seal_vectors.h

check_PROGRAMS += test/unit/test_backup_names
test_unit_test_backup_names_SOURCES = test/unit/test_backup_names.c
nodist_test_unit_test_backup_names_SOURCES = test/vectors/backup_store_vectors.h
test_unit_test_backup_names_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_backup_names_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(BACKUP_LIBS)
$(test_unit_test_backup_names_OBJECTS): test/vectors/backup_store_vectors.h
endif
endif

# Built by hand with clang: see fuzz-targets.
EXTRA_PROGRAMS += test/fuzz/fuzz_manifest
FUZZ_TARGETS += test/fuzz/fuzz_manifest$(EXEEXT)
test_fuzz_fuzz_manifest_SOURCES = test/fuzz/fuzz_manifest.c
test_fuzz_fuzz_manifest_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(BACKUP_LIBS)
test_fuzz_fuzz_manifest_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_PROGRAMS += test/fuzz/fuzz_object_name
FUZZ_TARGETS += test/fuzz/fuzz_object_name$(EXEEXT)
test_fuzz_fuzz_object_name_SOURCES = test/fuzz/fuzz_object_name.c
test_fuzz_fuzz_object_name_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(BACKUP_LIBS)
test_fuzz_fuzz_object_name_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_PROGRAMS += test/fuzz/fuzz_s3_answer
FUZZ_TARGETS += test/fuzz/fuzz_s3_answer$(EXEEXT)
test_fuzz_fuzz_s3_answer_SOURCES = test/fuzz/fuzz_s3_answer.c
test_fuzz_fuzz_s3_answer_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(BACKUP_LIBS)
test_fuzz_fuzz_s3_answer_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_PROGRAMS += test/fuzz/fuzz_s3_xml
FUZZ_TARGETS += test/fuzz/fuzz_s3_xml$(EXEEXT)
test_fuzz_fuzz_s3_xml_SOURCES = test/fuzz/fuzz_s3_xml.c
test_fuzz_fuzz_s3_xml_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(BACKUP_LIBS)
test_fuzz_fuzz_s3_xml_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_PROGRAMS += test/fuzz/fuzz_unseal
FUZZ_TARGETS += test/fuzz/fuzz_unseal$(EXEEXT)
test_fuzz_fuzz_unseal_SOURCES = test/fuzz/fuzz_unseal.c
test_fuzz_fuzz_unseal_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(BACKUP_LIBS)
test_fuzz_fuzz_unseal_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_PROGRAMS += test/fuzz/fuzz_backup_words
FUZZ_TARGETS += test/fuzz/fuzz_backup_words$(EXEEXT)
test_fuzz_fuzz_backup_words_SOURCES = test/fuzz/fuzz_backup_words.c
test_fuzz_fuzz_backup_words_LDADD = $(BACKUP_ROOM) $(LIB_ROOM) $(BACKUP_LIBS)
test_fuzz_fuzz_backup_words_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
endif

EXTRA_DIST += test/fuzz/corpus/manifest test/fuzz/corpus/object_name test/fuzz/corpus/s3_answer test/fuzz/corpus/s3_xml \
	test/fuzz/corpus/backup_words test/fuzz/corpus/unseal

# The vectors are JSON, so that other programs can use them; tests read them as C.
EXTRA_DIST += test/vectors/backup-vectors.json test/vectors/backup_store_to_c.py test/vectors/backup_seal_to_c.py
CLEANFILES += test/vectors/backup_seal_vectors.h test/vectors/backup_store_vectors.h
test/vectors/backup_store_vectors.h: $(top_srcdir)/test/vectors/backup-vectors.json \
		$(top_srcdir)/test/vectors/backup_store_to_c.py
	$(AM_V_GEN)$(MKDIR_P) $(@D) && $(PYTHON3) $(top_srcdir)/test/vectors/backup_store_to_c.py \
		$(top_srcdir)/test/vectors/backup-vectors.json >$@.tmp && mv $@.tmp $@
test/vectors/backup_seal_vectors.h: $(top_srcdir)/test/vectors/backup-vectors.json \
		$(top_srcdir)/test/vectors/backup_seal_to_c.py
	$(AM_V_GEN)$(MKDIR_P) $(@D) && $(PYTHON3) $(top_srcdir)/test/vectors/backup_seal_to_c.py \
		$(top_srcdir)/test/vectors/backup-vectors.json >$@.tmp && mv $@.tmp $@
