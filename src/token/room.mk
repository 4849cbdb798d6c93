# token: pg-ecdsa-token, for the client's side. Links lib and wallet alone.
bin_PROGRAMS += pg-ecdsa-token
pg_ecdsa_token_SOURCES = \
	src/token/io.c \
	src/token/key.c include/token/key.h \
	src/token/main.c include/token/token.h \
	src/token/verify.c
pg_ecdsa_token_LDADD = $(WALLET_ROOM) $(LIB_ROOM) $(SECP256K1_LIBS) $(NETTLE_LIBS) $(OPENSSL_LIBS)

EXTRA_DIST += test/system/test_token.py
