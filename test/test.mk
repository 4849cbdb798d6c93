# What belongs to no single room: system tests, real clients, benchmark, samples.
EXTRA_DIST += \
	etc/pg-ecdsa-proxy.service etc/pgbouncer.ini etc/quickstart.sh etc/userlist.txt \
	test/bench/bench.py test/bench/run.sh \
	test/clients/js/package.json test/clients/js/plain.mjs test/clients/js/wallet.mjs \
	test/fuzz/run.sh test/run.sh test/soak.py test/soak.sh test/tsan.supp \
	test/system/conftest.py \
	test/system/harness/__init__.py test/system/harness/certs.py test/system/harness/env.py \
	test/system/harness/fakeserver.py test/system/harness/load.py test/system/harness/pooler.py \
	test/system/harness/postgres.py \
	test/system/harness/wallet.py test/system/harness/wire.py \
	test/system/test_cancel.py test/system/test_clients.py test/system/test_console.py test/system/test_console_commands.py \
	test/system/test_includes.py test/system/test_login.py test/system/test_memory.py test/system/test_pooling.py \
	test/system/test_prepared.py test/system/test_protocol.py test/system/test_resilience.py test/system/test_server_login.py \
	test/system/test_start.py test/system/test_tls.py test/system/test_wallet_login.py
