# What belongs to no single room: system tests, real clients, benchmark, samples.
EXTRA_DIST += \
	.dockerignore .env.example .env.example.tls Dockerfile compose.yaml \
	etc/grafana/pg-ecdsa-proxy.json etc/kubernetes/pg-ecdsa-proxy.yaml \
	etc/pg-ecdsa-backup.service etc/pg-ecdsa-proxy.rules.yml etc/pg-ecdsa-proxy.service etc/pgbouncer.ini etc/quickstart.sh \
	etc/userlist.txt \
	example/.npmrc example/client.ts example/package.json example/tsconfig.json \
	test/bench/backup.py test/bench/bench.py test/bench/run.sh \
	test/clients/java/Plain.java test/clients/java/WalletPool.java test/clients/java/pom.xml \
	test/clients/pgx/go.mod test/clients/pgx/go.sum test/clients/pgx/main.go test/clients/psql/psql.sh \
	test/clients/python/asyncpg_pool.py test/clients/python/psycopg2_pool.py \
	test/clients/python/psycopg3_pool.py test/clients/python/requirements.txt test/clients/python/wallet.py \
	test/clients/rust/Cargo.toml test/clients/rust/src/main.rs \
	test/clients/ts/package.json test/clients/ts/pg_ethers.ts test/clients/ts/postgres_viem.ts \
	test/clients/ts/tsconfig.json test/clients/ts/wallet.ts \
	test/clients/js/package.json test/clients/js/plain.mjs test/clients/js/wallet.mjs \
	test/clients/go/go.mod test/clients/go/go.sum test/clients/go/main.go \
	test/fuzz/run.sh test/run.sh test/soak.py test/soak.sh test/tsan.supp \
	test/container test/differential test/rules test/system

# Directories are copied as they are.
dist-hook:
	find $(distdir)/test -name __pycache__ -prune -exec rm -rf {} +

