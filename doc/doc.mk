# Guides, man pages, and the list of settings that the program itself writes.
DOC_GUIDES = doc/backup.md doc/backup-storage.md doc/clients.md doc/config.md doc/console.md doc/container.md doc/docker.md doc/dstack.md \
	doc/eigencompute.md doc/kubernetes.md doc/migration.md doc/monitoring.md doc/status.md doc/systemd.md doc/usage.md \
	doc/wallet-login.md
MAN_TEXTS = doc/man/pg-ecdsa-backup.1.md doc/man/pg-ecdsa-container.1.md doc/man/pg-ecdsa-proxy.1.md doc/man/pg-ecdsa-token.1.md \
	doc/man/pgbouncer.ini.5.md
MAN_PAGES = doc/man/pg-ecdsa-container.1 doc/man/pg-ecdsa-proxy.1 doc/man/pg-ecdsa-token.1 doc/man/pgbouncer.ini.5
BACKUP_SETTINGS =
BACKUP_PROGRAM =
if BUILD_BACKUP
MAN_PAGES += doc/man/pg-ecdsa-backup.1
BACKUP_SETTINGS += doc/backup-settings.md
BACKUP_PROGRAM += pg-ecdsa-backup$(EXEEXT)
endif

EXTRA_DIST += LICENSE $(MAN_TEXTS)
dist_doc_DATA = README.md $(DOC_GUIDES) etc/pgbouncer.ini etc/userlist.txt etc/pg-ecdsa-backup.ini \
	etc/pg-ecdsa-backup.rules.yml
# For PostgreSQL: doc/wallet-login.md says what they are for.
sqldir = $(docdir)/sql
dist_sql_DATA = etc/sql/pg_ecdsa_claim.sql etc/sql/pg_ecdsa_rls_example.sql

# Every setting with its type, default and meaning. Not installed by default:
# --describe-settings of the two programs says the same.
.PHONY: doc
doc: doc/settings.md $(BACKUP_SETTINGS) $(man_MANS)
doc/settings.md: pg-ecdsa-proxy$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) doc && { \
		echo "# Settings of the section [pgbouncer]"; echo; \
		./pg-ecdsa-proxy$(EXEEXT) --describe-settings; } >$@.new && mv $@.new $@
doc/backup-settings.md: pg-ecdsa-backup$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) doc && { \
		echo "# Settings of pg-ecdsa-backup"; echo; \
		./pg-ecdsa-backup$(EXEEXT) --describe-settings; } >$@.new && mv $@.new $@
CLEANFILES += doc/settings.md doc/settings.md.new doc/backup-settings.md doc/backup-settings.md.new

if HAVE_PANDOC
man_MANS = $(MAN_PAGES)
# The settings in pgbouncer.ini(5) and pg-ecdsa-backup(1) are those of the programs; a cross build, which cannot run
# them, names the option.
$(MAN_PAGES): $(MAN_TEXTS) pg-ecdsa-proxy$(EXEEXT) $(BACKUP_PROGRAM)
	$(AM_V_GEN)$(MKDIR_P) doc/man && { ./pg-ecdsa-proxy$(EXEEXT) --describe-settings 2>/dev/null || \
		echo "Printed by **pg-ecdsa-proxy \\--describe-settings**."; } | sed 's/^### /## /' >$@.settings && \
		{ ./pg-ecdsa-backup$(EXEEXT) --describe-settings 2>/dev/null || \
		echo "Printed by **pg-ecdsa-backup \\--describe-settings**."; } | $(AWK) -F ' [|] ' '/^[|] key / || /^[|]---/ {next} \
		/^[|] / {sub(/^[|] /, "", $$1); sub(/ [|]$$/, "", $$4); \
			printf "**%s**, %s (%s)\n:   %s\n\n", $$1, $$2, $$3, $$4; next} {print}' >$@.backup && \
		sed -e '/^@SETTINGS@$$/{' -e 'r $@.settings' -e 'd' -e '}' \
			-e '/^@BACKUP_SETTINGS@$$/{' -e 'r $@.backup' -e 'd' -e '}' $(top_srcdir)/$@.md | \
		$(PANDOC) --standalone --from markdown-smart --to man --output $@ && rm -f $@.settings $@.backup
CLEANFILES += $(MAN_PAGES) $(MAN_PAGES:=.settings) $(MAN_PAGES:=.backup)
endif
