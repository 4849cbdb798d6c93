# net: an fd, maybe TLS, some bytes, a deadline; it has never heard of PostgreSQL.
noinst_LIBRARIES += librooms_net.a
NET_ROOM = librooms_net.a
librooms_net_a_SOURCES = \
	src/net/conn.c include/net/conn.h \
	src/net/crew.c include/net/crew.h \
	src/net/listener.c include/net/listener.h \
	src/net/sockets.c include/net/sockets.h \
	src/net/worker.c include/net/worker.h
