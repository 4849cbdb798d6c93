# token: pg-ecdsa-token, for the client's side. Links lib, proto and wallet alone.
noinst_LIBRARIES += librooms_token.a
TOKEN_ROOM = librooms_token.a
librooms_token_a_SOURCES = \
	src/token/connector.c include/token/connector.h \
	src/token/grant.c include/token/grant.h \
	src/token/io.c include/token/token.h \
	src/token/key.c include/token/key.h \
	src/token/keystore.c include/token/keystore.h \
	src/token/link.c include/token/link.h \
	src/token/local_socket.c include/token/local_socket.h \
	src/token/options.c include/token/options.h \
	src/token/output.c include/token/output.h \
	src/token/passphrase.c include/token/passphrase.h \
	src/token/scrypt.c include/token/scrypt.h \
	src/token/signature_text.c \
	src/token/signer.c include/token/signer.h \
	src/token/verify.c include/token/verify.h
librooms_token_a_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
TOKEN_LIBS = $(TOKEN_ROOM) $(PROTO_ROOM) $(WALLET_ROOM) $(LIB_ROOM) $(SECP256K1_LIBS) $(NETTLE_LIBS) $(OPENSSL_LIBS) \
	$(JANSSON_LIBS)

bin_PROGRAMS += pg-ecdsa-token
pg_ecdsa_token_SOURCES = src/token/main.c
pg_ecdsa_token_LDADD = $(TOKEN_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_token
test_unit_test_token_SOURCES = test/unit/test_token.c
test_unit_test_token_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_token_LDADD = $(TOKEN_LIBS) $(CMOCKA_LIBS)
endif

if HAVE_JANSSON
EXTRA_PROGRAMS += test/fuzz/fuzz_keystore
FUZZ_TARGETS += test/fuzz/fuzz_keystore$(EXEEXT)
test_fuzz_fuzz_keystore_SOURCES = test/fuzz/fuzz_keystore.c
test_fuzz_fuzz_keystore_LDADD = $(TOKEN_LIBS)
test_fuzz_fuzz_keystore_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
endif
EXTRA_PROGRAMS += test/fuzz/fuzz_signature
FUZZ_TARGETS += test/fuzz/fuzz_signature$(EXEEXT)
test_fuzz_fuzz_signature_SOURCES = test/fuzz/fuzz_signature.c
test_fuzz_fuzz_signature_LDADD = $(TOKEN_LIBS)
test_fuzz_fuzz_signature_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_DIST += test/fuzz/corpus/keystore test/fuzz/corpus/signature
