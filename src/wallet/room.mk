# wallet: is this password a proof by that wallet? Links lib alone.
noinst_LIBRARIES += librooms_wallet.a
WALLET_ROOM = librooms_wallet.a
librooms_wallet_a_SOURCES = \
	src/wallet/address.c include/wallet/address.h \
	src/wallet/bound.c include/wallet/bound.h \
	src/wallet/check.c include/wallet/check.h \
	src/wallet/claim.c include/wallet/claim.h \
	src/wallet/decimal.c include/wallet/decimal.h \
	src/wallet/eip191.c include/wallet/eip191.h \
	src/wallet/explain.c \
	src/wallet/proof.c include/wallet/proof.h \
	src/wallet/sign.c include/wallet/sign.h \
	src/wallet/signature.c include/wallet/signature.h \
	src/wallet/siwe.c src/wallet/siwe_uri.c include/wallet/siwe.h \
	src/wallet/typed.c include/wallet/typed.h

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_wallet
test_unit_test_wallet_SOURCES = test/unit/test_wallet.c
test_unit_test_wallet_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_wallet_LDADD = $(WALLET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)

check_PROGRAMS += test/unit/test_formats
test_unit_test_formats_SOURCES = test/unit/test_formats.c
test_unit_test_formats_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_formats_LDADD = $(WALLET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)

# The vectors are JSON, so that other programs can use them; this test reads them as C.
if HAVE_PYTHON3
check_PROGRAMS += test/unit/test_vectors
test_unit_test_vectors_SOURCES = test/unit/test_vectors.c
nodist_test_unit_test_vectors_SOURCES = test/vectors/ecdsa_vectors.h
test_unit_test_vectors_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_vectors_LDADD = $(WALLET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)
$(test_unit_test_vectors_OBJECTS): test/vectors/ecdsa_vectors.h
endif
endif

EXTRA_DIST += test/vectors/ecdsa-vectors.json test/vectors/ecdsa-vectors-formats.json test/vectors/to_c.py
CLEANFILES += test/vectors/ecdsa_vectors.h
VECTORS = $(top_srcdir)/test/vectors/ecdsa-vectors.json $(top_srcdir)/test/vectors/ecdsa-vectors-formats.json
test/vectors/ecdsa_vectors.h: $(VECTORS) $(top_srcdir)/test/vectors/to_c.py
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	$(PYTHON3) $(top_srcdir)/test/vectors/to_c.py $(VECTORS) >$@.tmp && mv $@.tmp $@

# Built by hand with clang: see fuzz-targets.
EXTRA_PROGRAMS += test/fuzz/fuzz_proof
FUZZ_TARGETS += test/fuzz/fuzz_proof$(EXEEXT)
test_fuzz_fuzz_proof_SOURCES = test/fuzz/fuzz_proof.c
test_fuzz_fuzz_proof_LDADD = $(WALLET_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
test_fuzz_fuzz_proof_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_DIST += test/fuzz/corpus/proof

EXTRA_PROGRAMS += test/fuzz/fuzz_bound
FUZZ_TARGETS += test/fuzz/fuzz_bound$(EXEEXT)
test_fuzz_fuzz_bound_SOURCES = test/fuzz/fuzz_bound.c
test_fuzz_fuzz_bound_LDADD = $(WALLET_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
test_fuzz_fuzz_bound_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_DIST += test/fuzz/corpus/bound

EXTRA_PROGRAMS += test/fuzz/fuzz_siwe
FUZZ_TARGETS += test/fuzz/fuzz_siwe$(EXEEXT)
test_fuzz_fuzz_siwe_SOURCES = test/fuzz/fuzz_siwe.c
test_fuzz_fuzz_siwe_LDADD = $(WALLET_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
test_fuzz_fuzz_siwe_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_DIST += test/fuzz/corpus/siwe

EXTRA_PROGRAMS += test/fuzz/fuzz_typed
FUZZ_TARGETS += test/fuzz/fuzz_typed$(EXEEXT)
test_fuzz_fuzz_typed_SOURCES = test/fuzz/fuzz_typed.c
test_fuzz_fuzz_typed_LDADD = $(WALLET_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
test_fuzz_fuzz_typed_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_DIST += test/fuzz/corpus/typed

EXTRA_PROGRAMS += test/fuzz/fuzz_base64
FUZZ_TARGETS += test/fuzz/fuzz_base64$(EXEEXT)
test_fuzz_fuzz_base64_SOURCES = test/fuzz/fuzz_base64.c
test_fuzz_fuzz_base64_LDADD = $(WALLET_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
test_fuzz_fuzz_base64_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_DIST += test/fuzz/corpus/base64

EXTRA_PROGRAMS += test/fuzz/fuzz_rfc3339
FUZZ_TARGETS += test/fuzz/fuzz_rfc3339$(EXEEXT)
test_fuzz_fuzz_rfc3339_SOURCES = test/fuzz/fuzz_rfc3339.c
test_fuzz_fuzz_rfc3339_LDADD = $(WALLET_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
test_fuzz_fuzz_rfc3339_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
EXTRA_DIST += test/fuzz/corpus/rfc3339
