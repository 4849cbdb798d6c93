# proto: bytes become messages and messages become bytes; there is no socket in the world.
noinst_LIBRARIES += librooms_proto.a
PROTO_ROOM = librooms_proto.a
librooms_proto_a_SOURCES = \
	src/proto/fields.c include/proto/fields.h \
	src/proto/frame.c include/proto/frame.h \
	src/proto/query.c include/proto/query.h \
	src/proto/reader.c include/proto/reader.h \
	src/proto/startup.c include/proto/startup.h \
	src/proto/writer.c include/proto/writer.h

if HAVE_CMOCKA
check_PROGRAMS += test/unit/test_proto
test_unit_test_proto_SOURCES = test/unit/test_proto.c
test_unit_test_proto_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
test_unit_test_proto_LDADD = $(PROTO_ROOM) $(LIB_ROOM) $(CMOCKA_LIBS) $(EXTERNAL_LIBS)
endif

EXTRA_PROGRAMS += test/fuzz/fuzz_startup test/fuzz/fuzz_frame
FUZZ_TARGETS += test/fuzz/fuzz_startup$(EXEEXT) test/fuzz/fuzz_frame$(EXEEXT)
test_fuzz_fuzz_startup_SOURCES = test/fuzz/fuzz_startup.c
test_fuzz_fuzz_startup_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
test_fuzz_fuzz_startup_LDADD = $(PROTO_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
test_fuzz_fuzz_frame_SOURCES = test/fuzz/fuzz_frame.c
test_fuzz_fuzz_frame_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
test_fuzz_fuzz_frame_LDADD = $(PROTO_ROOM) $(LIB_ROOM) $(EXTERNAL_LIBS)
EXTRA_DIST += \
	test/fuzz/corpus/frame \
	test/fuzz/corpus/startup
