# wallet: is this password a proof by that wallet? Links lib alone.
noinst_LIBRARIES += librooms_wallet.a
WALLET_ROOM = librooms_wallet.a
librooms_wallet_a_SOURCES = \
	src/wallet/address.c include/wallet/address.h
