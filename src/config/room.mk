# config: files become one immutable snapshot. Links lib and wallet.
noinst_LIBRARIES += librooms_config.a
CONFIG_ROOM = librooms_config.a
librooms_config_a_SOURCES = \
	src/config/auth_file.c include/config/auth_file.h \
	src/config/claim_key.c include/config/claim_key.h \
	src/config/connstr.c include/config/connstr.h \
	src/config/definitions.c include/config/definitions.h \
	src/config/entries.c include/config/entries.h \
	src/config/hba.c include/config/hba.h \
	src/config/hba_names.c include/config/hba_names.h \
	src/config/ident.c include/config/ident.h \
	src/config/load.c include/config/config.h \
	src/config/setting_checks.c include/config/setting_checks.h \
	src/config/setting_types.c include/config/setting_types.h \
	src/config/settings.c include/config/settings.h include/config/settings.def \
	src/config/snapshot.c include/config/snapshot.h \
	src/config/wallet_list.c include/config/wallet_list.h \
	src/config/words.c include/config/words.h

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_config
test_unit_test_config_SOURCES = test/unit/test_config.c
test_unit_test_config_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_config_LDADD = $(CONFIG_ROOM) $(WALLET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)

check_PROGRAMS += test/unit/test_hba
test_unit_test_hba_SOURCES = test/unit/test_hba.c
test_unit_test_hba_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_hba_LDADD = $(CONFIG_ROOM) $(WALLET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)
endif

EXTRA_PROGRAMS += test/fuzz/fuzz_hba
FUZZ_TARGETS += test/fuzz/fuzz_hba$(EXEEXT)
test_fuzz_fuzz_hba_SOURCES = test/fuzz/fuzz_hba.c
test_fuzz_fuzz_hba_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
test_fuzz_fuzz_hba_LDADD = $(CONFIG_ROOM) $(WALLET_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
EXTRA_DIST += test/fuzz/corpus/hba

EXTRA_PROGRAMS += test/fuzz/fuzz_ini
FUZZ_TARGETS += test/fuzz/fuzz_ini$(EXEEXT)
test_fuzz_fuzz_ini_SOURCES = test/fuzz/fuzz_ini.c
test_fuzz_fuzz_ini_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
test_fuzz_fuzz_ini_LDADD = $(CONFIG_ROOM) $(WALLET_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
EXTRA_DIST += \
	test/fuzz/corpus/ini/auth_file \
	test/fuzz/corpus/ini/connstr \
	test/fuzz/corpus/ini/quoted.ini \
	test/fuzz/corpus/ini/sample.ini
