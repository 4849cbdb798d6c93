# What belongs to no single room: system tests, real clients, benchmark, samples.
EXTRA_DIST += \
	etc/pg-ecdsa-backup.service etc/pg-ecdsa-proxy.service etc/pgbouncer.ini etc/quickstart.sh etc/userlist.txt \
	test/bench/backup.py test/bench/bench.py test/bench/run.sh \
	test/clients/java/Plain.java \
	test/clients/js/package.json test/clients/js/plain.mjs test/clients/js/wallet.mjs \
	test/clients/go/go.mod test/clients/go/go.sum test/clients/go/main.go \
	test/fuzz/run.sh test/run.sh test/soak.py test/soak.sh test/tsan.supp \
	test/differential test/system

# Directories are copied as they are.
dist-hook:
	find $(distdir)/test -name __pycache__ -prune -exec rm -rf {} +

