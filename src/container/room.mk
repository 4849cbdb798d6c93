# pg-ecdsa-container: the command of the container image. Links lib alone; of config and backup it reads the lists of settings.
bin_PROGRAMS += pg-ecdsa-container
pg_ecdsa_container_SOURCES = \
	src/container/children.c include/container/children.h \
	src/container/database.c include/container/database.h \
	src/container/files.c include/container/files.h \
	src/container/health.c src/container/health.h \
	src/container/main.c \
	include/container/names.def include/container/names.h \
	src/container/plan.c src/container/plan_ini.c src/container/plan_parts.h include/container/plan.h \
	src/container/variables.c include/container/variables.h
pg_ecdsa_container_LDADD = $(LIB_ROOM) $(OPENSSL_LIBS)
