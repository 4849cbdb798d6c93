# pool: deciding (ledger, share) apart from doing (client, server, relay).
noinst_LIBRARIES += librooms_pool.a
POOL_ROOM = librooms_pool.a
librooms_pool_a_SOURCES = \
	src/pool/autodb.c include/pool/autodb.h \
	src/pool/cancel.c include/pool/cancel.h \
	src/pool/cancel_key.c include/pool/cancel_key.h \
	src/pool/client.c include/pool/client.h \
	include/pool/deadline.h \
	src/pool/entity.c include/pool/entity.h \
	src/pool/evict.c include/pool/evict.h \
	src/pool/facts.c include/pool/facts.h \
	src/pool/gather.c include/pool/gather.h \
	src/pool/handover.c include/pool/handover.h \
	src/pool/inherit.c include/pool/inherit.h include/pool/heir.h \
	src/pool/inherit_client.c \
	src/pool/inherit_server.c \
	src/pool/inheritance.c include/pool/inheritance.h \
	src/pool/histogram.c include/pool/histogram.h \
	src/pool/identity.c include/pool/identity.h \
	src/pool/ledger.c include/pool/ledger.h \
	src/pool/login.c include/pool/login.h include/pool/login_state.h \
	src/pool/lookup.c include/pool/lookup.h \
	src/pool/login_limit.c include/pool/login_limit.h \
	src/pool/login_times.c include/pool/login_times.h \
	src/pool/method.c include/pool/method.h \
	src/pool/outstanding.c include/pool/outstanding.h \
	src/pool/params.c include/pool/params.h \
	src/pool/peer.c include/pool/peer.h \
	src/pool/prepared.c include/pool/prepared.h \
	src/pool/relay.c include/pool/relay.h \
	src/pool/replication.c include/pool/replication.h \
	src/pool/room.c include/pool/room.h \
	src/pool/route.c include/pool/route.h \
	src/pool/secret.c include/pool/secret.h \
	src/pool/server.c include/pool/server.h \
	src/pool/server_login.c include/pool/server_login.h \
	src/pool/share.c include/pool/share.h \
	src/pool/startup.c include/pool/startup.h \
	src/pool/suspend.c include/pool/suspend.h \
	src/pool/tracking.c include/pool/tracking.h \
	src/pool/wallet_clock.c include/pool/wallet_clock.h \
	src/pool/wallet_login.c include/pool/wallet_login.h \
	src/pool/wallet_query.c include/pool/wallet_query.h \
	src/pool/wallet_session.c include/pool/wallet_session.h \
	include/pool/stats.h

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_prepared
test_unit_test_prepared_SOURCES = test/unit/test_prepared.c
test_unit_test_prepared_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_prepared_LDADD = $(POOL_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)

check_PROGRAMS += test/unit/test_facts
test_unit_test_facts_SOURCES = test/unit/test_facts.c
test_unit_test_facts_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_facts_LDADD = $(POOL_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)

check_PROGRAMS += test/unit/test_ledger
test_unit_test_ledger_SOURCES = test/unit/test_ledger.c
test_unit_test_ledger_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_ledger_LDADD = $(POOL_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)

check_PROGRAMS += test/unit/test_pool
test_unit_test_pool_SOURCES = test/unit/test_pool.c
test_unit_test_pool_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_pool_LDADD = $(POOL_ROOM) $(WALLET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)
endif

EXTRA_PROGRAMS += test/fuzz/fuzz_facts
FUZZ_TARGETS += test/fuzz/fuzz_facts$(EXEEXT)
test_fuzz_fuzz_facts_SOURCES = test/fuzz/fuzz_facts.c
test_fuzz_fuzz_facts_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
test_fuzz_fuzz_facts_LDADD = $(POOL_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
EXTRA_DIST += test/fuzz/corpus/facts
