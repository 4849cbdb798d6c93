#!/bin/sh
# psql: each call signs for itself. Several at once stand for a pool.
#
#	WALLET_KEY    the key, 64 hexadecimal digits
#	SERVER_NAME   one of the pooler's ecdsa_server_names
#	PGHOST, PGPORT, PGDATABASE   as always
#
# Runs every line of standard input three times at once, and prints the answers.
set -eu
token() { pg-ecdsa-token --key-env WALLET_KEY "$@"; }
PGUSER=$(token --address)
export PGUSER

run() {
	PGPASSWORD=$(token --format bound --server "$SERVER_NAME" --database "$PGDATABASE" --life "${PROOF_LIFE:-60}") \
		psql -X -At -v ON_ERROR_STOP=1 -c "$1"
}

while read -r statement; do
	answers=$({
		run "$statement" &
		run "$statement" &
		run "$statement" &
		wait
	})
	echo $answers
done
