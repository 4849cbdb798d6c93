# auth: one file a method; messages in, messages out, a verdict. Links config, wallet, proto and lib.
noinst_LIBRARIES += librooms_auth.a
AUTH_ROOM = librooms_auth.a
librooms_auth_a_SOURCES = \
	src/auth/auth.c include/auth/auth.h include/auth/method.h \
	src/auth/cert.c \
	src/auth/ecdsa.c \
	src/auth/limit.c include/auth/limit.h \
	src/auth/md5.c \
	src/auth/password.c include/auth/password.h \
	src/auth/peer.c \
	src/auth/plain.c \
	src/auth/replay.c src/auth/replay_file.c include/auth/replay.h \
	src/auth/replay_shard.c include/auth/replay_shard.h \
	src/auth/saslprep.c include/auth/saslprep.h \
	src/auth/scram.c \
	src/auth/scram_client.c include/auth/scram_client.h \
	src/auth/scram_common.c include/auth/scram.h \
	src/auth/secret.c include/auth/secret.h \
	src/auth/server_auth.c include/auth/server_auth.h \
	src/auth/trust.c
if HAVE_PAM
librooms_auth_a_SOURCES += src/auth/pam.c
endif
if HAVE_LDAP
librooms_auth_a_SOURCES += src/auth/ldap.c src/auth/ldap_options.c include/auth/ldap_options.h
endif

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_auth
test_unit_test_auth_SOURCES = test/unit/test_auth.c
test_unit_test_auth_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_auth_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc -Wl,--wrap=calloc
test_unit_test_auth_LDADD = $(AUTH_ROOM) $(CONFIG_ROOM) $(PROTO_ROOM) $(WALLET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)

check_PROGRAMS += test/unit/test_limit
test_unit_test_limit_SOURCES = test/unit/test_limit.c
test_unit_test_limit_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_limit_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc -Wl,--wrap=calloc
test_unit_test_limit_LDADD = $(AUTH_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)

check_PROGRAMS += test/unit/test_replay
test_unit_test_replay_SOURCES = test/unit/test_replay.c
test_unit_test_replay_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_replay_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc
test_unit_test_replay_LDADD = $(AUTH_ROOM) $(CONFIG_ROOM) $(WALLET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)
endif

EXTRA_PROGRAMS += test/fuzz/fuzz_scram
FUZZ_TARGETS += test/fuzz/fuzz_scram$(EXEEXT)
test_fuzz_fuzz_scram_SOURCES = test/fuzz/fuzz_scram.c
test_fuzz_fuzz_scram_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
test_fuzz_fuzz_scram_LDADD = $(AUTH_ROOM) $(CONFIG_ROOM) $(PROTO_ROOM) $(WALLET_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
EXTRA_DIST += test/fuzz/corpus/scram

if HAVE_LDAP
if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_ldap
test_unit_test_ldap_SOURCES = test/unit/test_ldap.c
test_unit_test_ldap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_ldap_LDADD = $(AUTH_ROOM) $(CONFIG_ROOM) $(PROTO_ROOM) $(WALLET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)
endif
EXTRA_PROGRAMS += test/fuzz/fuzz_ldap
FUZZ_TARGETS += test/fuzz/fuzz_ldap$(EXEEXT)
test_fuzz_fuzz_ldap_SOURCES = test/fuzz/fuzz_ldap.c
test_fuzz_fuzz_ldap_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
test_fuzz_fuzz_ldap_LDADD = $(AUTH_ROOM) $(CONFIG_ROOM) $(PROTO_ROOM) $(WALLET_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
endif
EXTRA_DIST += test/fuzz/corpus/ldap
