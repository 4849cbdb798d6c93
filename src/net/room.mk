# net: an fd, maybe TLS, some bytes, a deadline, a name; it has never heard of PostgreSQL.
noinst_LIBRARIES += librooms_net.a
NET_ROOM = librooms_net.a
librooms_net_a_SOURCES = \
	src/net/conn.c src/net/conn_parts.h include/net/conn.h \
	src/net/conn_send.c \
	src/net/conn_fds.c include/net/conn_fds.h \
	src/net/crew.c include/net/crew.h \
	src/net/dns.c include/net/dns.h \
	src/net/handshakes.c include/net/handshakes.h \
	src/net/fd_pouch.c include/net/fd_pouch.h \
	src/net/listener.c include/net/listener.h \
	src/net/send_batch.c include/net/send_batch.h \
	src/net/sockets.c include/net/sockets.h \
	src/net/worker.c include/net/worker.h

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_dns
test_unit_test_dns_SOURCES = test/unit/test_dns.c
test_unit_test_dns_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_dns_LDADD = $(NET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)

check_PROGRAMS += test/unit/test_net
test_unit_test_net_SOURCES = test/unit/test_net.c
test_unit_test_net_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_net_LDADD = $(NET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)

check_PROGRAMS += test/unit/test_send_batch
test_unit_test_send_batch_SOURCES = test/unit/test_send_batch.c
test_unit_test_send_batch_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_send_batch_LDADD = $(NET_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)
endif
