# Guides, man pages, and the list of settings that the program itself writes.
DOC_GUIDES = doc/backup-storage.md doc/config.md doc/console.md doc/migration.md doc/status.md doc/usage.md doc/wallet-login.md
MAN_TEXTS = doc/man/pg-ecdsa-proxy.1.md doc/man/pg-ecdsa-token.1.md doc/man/pgbouncer.ini.5.md
MAN_PAGES = doc/man/pg-ecdsa-proxy.1 doc/man/pg-ecdsa-token.1 doc/man/pgbouncer.ini.5

EXTRA_DIST += LICENSE $(MAN_TEXTS)
dist_doc_DATA = README.md $(DOC_GUIDES) etc/pgbouncer.ini etc/userlist.txt

# Every setting with its type, default and meaning. Not installed by default:
# pg-ecdsa-proxy --describe-settings says the same.
.PHONY: doc
doc: doc/settings.md $(man_MANS)
doc/settings.md: pg-ecdsa-proxy$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) doc && { \
		echo "# Settings of the section [pgbouncer]"; echo; \
		./pg-ecdsa-proxy$(EXEEXT) --describe-settings; } >$@.new && mv $@.new $@
CLEANFILES += doc/settings.md doc/settings.md.new

if HAVE_PANDOC
man_MANS = $(MAN_PAGES)
$(MAN_PAGES): $(MAN_TEXTS)
	$(AM_V_GEN)$(MKDIR_P) doc/man && $(PANDOC) --standalone --from markdown-smart --to man --output $@ \
		$(top_srcdir)/$@.md
CLEANFILES += $(MAN_PAGES)
endif
