# Guides, man pages, and the list of settings that the program itself writes.
DOC_GUIDES = doc/backup.md doc/backup-storage.md doc/clients.md doc/config.md doc/console.md doc/container.md doc/docker.md doc/dstack.md \
	doc/eigencompute.md doc/kubernetes.md doc/migration.md doc/monitoring.md doc/status.md doc/systemd.md doc/usage.md \
	doc/wallet-login.md
MAN_TEXTS = doc/man/pg-ecdsa-container.1.md doc/man/pg-ecdsa-proxy.1.md doc/man/pg-ecdsa-token.1.md doc/man/pgbouncer.ini.5.md
MAN_PAGES = doc/man/pg-ecdsa-container.1 doc/man/pg-ecdsa-proxy.1 doc/man/pg-ecdsa-token.1 doc/man/pgbouncer.ini.5

EXTRA_DIST += LICENSE $(MAN_TEXTS)
dist_doc_DATA = README.md $(DOC_GUIDES) etc/pgbouncer.ini etc/userlist.txt
# For PostgreSQL: doc/wallet-login.md says what they are for.
sqldir = $(docdir)/sql
dist_sql_DATA = etc/sql/pg_ecdsa_claim.sql etc/sql/pg_ecdsa_rls_example.sql

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
# The settings in pgbouncer.ini(5) are those of the program; a cross build, which cannot run it, names the option.
$(MAN_PAGES): $(MAN_TEXTS) pg-ecdsa-proxy$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) doc/man && { ./pg-ecdsa-proxy$(EXEEXT) --describe-settings 2>/dev/null || \
		echo "Printed by **pg-ecdsa-proxy \\--describe-settings**."; } | sed 's/^### /## /' >$@.settings && \
		sed -e '/^@SETTINGS@$$/{' -e 'r $@.settings' -e 'd' -e '}' $(top_srcdir)/$@.md | \
		$(PANDOC) --standalone --from markdown-smart --to man --output $@ && rm -f $@.settings
CLEANFILES += $(MAN_PAGES) $(MAN_PAGES:=.settings)
endif
