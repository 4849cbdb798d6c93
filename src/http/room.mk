# http: health, metrics, pages. Stands on the console; text and tables are pure.
noinst_LIBRARIES += librooms_http.a
HTTP_ROOM = librooms_http.a
librooms_http_a_SOURCES = \
	src/http/access.c include/http/access.h \
	src/http/attest.c include/http/attest.h \
	src/http/http.c include/http/http.h \
	src/http/json.c include/http/json.h \
	src/http/metrics.c include/http/metrics.h \
	src/http/process_metrics.c \
	src/http/scrape.c include/http/scrape.h \
	src/http/status.c include/http/status.h \
	src/http/table.c include/http/table.h \
	include/http/pages.h
nodist_librooms_http_a_SOURCES = src/http/pages.c

# The pages become bytes of the program, so that there is nothing to install or to find.
HTTP_PAGES = src/http/pages/connect.html src/http/pages/status.html
EXTRA_DIST += $(HTTP_PAGES)
CLEANFILES += src/http/pages.c
src/http/pages.c: $(HTTP_PAGES)
	$(AM_V_GEN)$(MKDIR_P) src/http && { \
		echo '#include "http/pages.h"'; \
		for page in connect status; do \
			echo "static const char $${page}_text[] = {"; \
			od -An -v -tu1 $(top_srcdir)/src/http/pages/$$page.html | sed 's/  *\([0-9][0-9]*\)/(char)\1,/g'; \
			echo "0};"; \
			echo "const struct page page_$$page = {$${page}_text, sizeof($${page}_text) - 1};"; \
		done; \
	} >$@.new && mv $@.new $@

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_http
test_unit_test_http_SOURCES = test/unit/test_http.c
test_unit_test_http_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_http_LDADD = $(HTTP_ROOM) $(ADMIN_ROOM) $(POOL_ROOM) $(AUTH_ROOM) $(NET_ROOM) $(CONFIG_ROOM) $(WALLET_ROOM) \
	$(PROTO_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)
endif
