# The pooler itself: the control role and what concerns the process.
bin_PROGRAMS += pg-ecdsa-proxy
pg_ecdsa_proxy_SOURCES = \
	src/check.c src/check.h \
	src/control.c src/control.h \
	src/main.c \
	src/old_process.c src/old_process.h \
	src/oom.c \
	src/process.c src/process.h \
	src/resolver.c src/resolver.h \
	src/service.c src/service.h \
	src/signals.c src/signals.h \
	src/takeover.c src/takeover.h \
	src/tls_setup.c src/tls_setup.h
pg_ecdsa_proxy_CFLAGS = $(AM_CFLAGS) $(SYSTEMD_CFLAGS)
if DEVELOPER
# Allocations by our own code, not by the libraries: see include/lib/oom.h.
pg_ecdsa_proxy_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=strndup
endif
pg_ecdsa_proxy_LDADD = $(HTTP_ROOM) $(ADMIN_ROOM) $(POOL_ROOM) $(AUTH_ROOM) $(NET_ROOM) $(CONFIG_ROOM) \
	$(WALLET_ROOM) $(PROTO_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS) $(SYSTEMD_LIBS)
