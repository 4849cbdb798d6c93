#!/bin/sh
# Build the pooler, let a wallet sign in, run queries through a shared pool,
# send a sealed backup out and let it come back into an empty database:
# everything private, on free ports, in one temp directory.
#
# The backup goes to a directory; with BACKUP_S3_ENDPOINT and the like in the
# environment (pg-ecdsa-backup(1)) it goes to that store.
#
#	etc/quickstart.sh [--keep]
#
# --keep	leave it running, and print the psql line to use.
#
# As root on Debian the missing packages are installed; as another user they
# must be there. PostgreSQL and the pooler never run as root.
set -eu

keep=no
case ${1-} in
'')	;;
--keep)	keep=yes ;;
-h|--help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
*)	echo "usage: $0 [--keep]" >&2; exit 2 ;;
esac

top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d /tmp/pg-ecdsa-quickstart.XXXXXX)
chmod 755 "$work"
log=$work/log
: >"$log"
step=start
pg_up=no
proxy_pid=
backup_pid=

say()	{ printf '%s\n' "$*"; }
begin()	{ step=$1; printf '\n==> %s\n' "$step"; }

finish() {
	status=$?
	trap - EXIT INT TERM
	if [ $status -eq 0 ] && [ $keep = yes ]; then
		return
	fi
	if [ $status -ne 0 ]; then
		say ""
		say "FAILED at: $step"
		say "The end of its log, $log:"
		tail -n 25 "$log" | sed 's/^/    /'
		[ ! -s "$work/proxy.log" ] || { say "The pooler's log:"; tail -n 15 "$work/proxy.log" | sed 's/^/    /'; }
	fi
	stop_all
	if [ $status -eq 0 ]; then
		rm -rf "$work"
	else
		say "Kept for a look: $work"
	fi
	exit $status
}

stop_all() {
	if [ -n "$backup_pid" ]; then
		kill "$backup_pid" 2>/dev/null || :
		wait "$backup_pid" 2>/dev/null || :
		backup_pid=
	fi
	if [ -n "$proxy_pid" ]; then
		kill -QUIT "$proxy_pid" 2>/dev/null || :
		while kill -0 "$proxy_pid" 2>/dev/null; do sleep 0.1; done
		proxy_pid=
	fi
	[ $pg_up = no ] || as_server "$pgbin/pg_ctl" -D "$work/data" -m fast -w stop >>"$log" 2>&1 || :
	pg_up=no
}

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Servers refuse root: as root they run as postgres.
if [ "$(id -u)" = 0 ]; then
	as_server() { runuser -u postgres -- "$@"; }
	exec_as_server() { exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }
else
	as_server() { "$@"; }
	exec_as_server() { exec "$@"; }
fi

# A TCP port that nobody listens on, tried from $1 upwards.
free_port() {
	port=$1
	while ss -Hltn "sport = :$port" 2>/dev/null | grep -q . || [ "$port" = "${2-}" ]; do
		port=$((port + 1))
	done
	printf '%s' "$port"
}

begin "Packages"
needed=
while read -r kind what package; do
	case $kind in
	cmd) command -v "$what" >/dev/null 2>&1 || needed="$needed $package" ;;
	lib) pkg-config --exists "$what" 2>/dev/null || needed="$needed $package" ;;
	pg)  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || needed="$needed $package" ;;
	esac
done <<'LIST'
cmd gcc gcc
cmd make make
cmd autoreconf autoconf
cmd automake automake
cmd pkg-config pkg-config
cmd ss iproute2
cmd psql postgresql-client
cmd pgbench postgresql-contrib
lib libevent_core libevent-dev
lib openssl libssl-dev
lib libsecp256k1 libsecp256k1-dev
lib nettle nettle-dev
lib libcares libc-ares-dev
lib liburing liburing-dev
lib libcurl libcurl4-openssl-dev
lib libpq libpq-dev
lib expat libexpat1-dev
lib jansson libjansson-dev
pg - postgresql
LIST
if [ -z "$needed" ]; then
	say "all there"
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	say "installing:$needed"
	apt-get update >>"$log" 2>&1
	# The cluster that the package would make is of no use here.
	mkdir -p /etc/postgresql-common
	[ -e /etc/postgresql-common/createcluster.conf ] ||
		echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $needed >>"$log" 2>&1
else
	say "missing:$needed"
	say "As root: apt-get install$needed"
	exit 1
fi
pgbin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$pgbin" ] || pgbin=$(dirname "$(readlink -f "$(command -v initdb)")")

begin "Build"
if [ ! -x "$top/configure" ]; then
	(cd "$top" && ./autogen.sh) >>"$log" 2>&1
fi
if [ -e "$top/config.status" ]; then
	echo "The source tree itself is configured; run make distclean in $top first." >>"$log"
	exit 1
fi
mkdir -p "$work/build"
(
	cd "$work/build"
	"$top/configure" --prefix="$work/prefix"
	make -j "$(nproc 2>/dev/null || echo 1)"
	make install
) >>"$log" 2>&1
proxy=$work/prefix/bin/pg-ecdsa-proxy
token=$work/prefix/bin/pg-ecdsa-token
backup=$work/prefix/bin/pg-ecdsa-backup
"$proxy" --version | sed 's/^/    /'

begin "A private PostgreSQL with a service account"
pg_port=$(free_port 25432)
password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
[ "$(id -u)" != 0 ] || chown postgres "$work"
(cd "$work" && as_server "$pgbin/initdb" -D "$work/data" -U postgres -A trust --no-sync) >>"$log" 2>&1
as_server sh -c "cat >>'$work/data/postgresql.conf'" <<CONF
listen_addresses = '127.0.0.1'
port = $pg_port
unix_socket_directories = '$work'
fsync = off
CONF
printf 'local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n' |
	as_server sh -c "cat >'$work/data/pg_hba.conf'"
(cd "$work" && as_server "$pgbin/pg_ctl" -D "$work/data" -l "$work/postgres.log" -w start) >>"$log" 2>&1
pg_up=yes
psql -X -q -h "$work" -p "$pg_port" -U postgres postgres >>"$log" 2>&1 <<SQL
\\set ON_ERROR_STOP 1
CREATE ROLE app LOGIN PASSWORD '$password';
CREATE DATABASE appdb OWNER app;
SQL
say "PostgreSQL listens on 127.0.0.1:$pg_port; role app owns database appdb"

begin "A wallet"
"$token" --new "$work/wallet.key" >>"$log" 2>&1
wallet=$("$token" --key "$work/wallet.key" --address)
say "address $wallet, key in $work/wallet.key"

begin "The pooler"
port=$(free_port 6432 "$pg_port")
# Made unreadable to others before anything is in it.
(umask 077; printf '"app" "%s"\n' "$password" >"$work/userlist.txt")
cat >"$work/pgbouncer.ini" <<INI
[databases]
appdb = host=127.0.0.1 port=$pg_port dbname=appdb user=app

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir = $work
auth_type = ecdsa
auth_file = $work/userlist.txt
ecdsa_allowed_addresses = $wallet
admin_users = $wallet
pool_mode = transaction
default_pool_size = 5
max_client_conn = 200
logfile = $work/proxy.log
pidfile = $work/proxy.pid
INI
[ "$(id -u)" != 0 ] || chown postgres "$work/userlist.txt" "$work/pgbouncer.ini"
as_server "$proxy" -d "$work/pgbouncer.ini" >>"$log" 2>&1
tries=0
until [ -s "$work/proxy.pid" ]; do
	tries=$((tries + 1))
	[ $tries -lt 100 ] || exit 1
	sleep 0.1
done
proxy_pid=$(cat "$work/proxy.pid")
say "pg-ecdsa-proxy listens on 127.0.0.1:$port, at most 5 server connections"

# sign_in COMMAND...: with a fresh proof as the password.
sign_in() {
	PGPASSWORD=$("$token" --key "$work/wallet.key") PGHOST=127.0.0.1 PGPORT=$port PGUSER=$wallet "$@"
}

# The same, its output shown and kept; a pipe to tee would hide a failure.
show() {
	if ! sign_in "$@" >"$work/out" 2>&1; then
		cat "$work/out" >>"$log"
		return 1
	fi
	tee -a "$log" <"$work/out"
}

begin "The wallet signs in with psql"
say "\$ PGPASSWORD=\$(pg-ecdsa-token --key wallet.key) psql -h 127.0.0.1 -p $port -U $wallet appdb"
show psql -X appdb -c "SELECT current_user AS role, current_setting('application_name') AS application_name"
show psql -X -q appdb -c "CREATE TABLE notes (id int GENERATED ALWAYS AS IDENTITY, text text)" \
	-c "INSERT INTO notes (text) VALUES ('written by a wallet')" -c "TABLE notes"
if PGPASSWORD=wrong PGHOST=127.0.0.1 PGPORT=$port PGUSER=$wallet psql -X appdb -c "SELECT 1" >>"$log" 2>&1; then
	say "a wrong password was accepted"
	exit 1
fi
say "A wrong password is refused."

begin "pgbench: 50 clients, 5 server connections"
sign_in pgbench -i -q -s 1 appdb >>"$log" 2>&1
sign_in pgbench -S -c 50 -j 2 -T 3 appdb >"$work/pgbench.out" 2>>"$log" &
bench=$!
sleep 1
servers=$(psql -X -At -h "$work" -p "$pg_port" -U postgres postgres \
	-c "SELECT count(*) FROM pg_stat_activity WHERE datname = 'appdb'")
wait $bench
cat "$work/pgbench.out" >>"$log"
grep -E '^(number of (clients|transactions|failed)|latency average|tps)' "$work/pgbench.out"

begin "SHOW POOLS"
show psql -X -x pgbouncer -c "SHOW POOLS"

begin "A sealed backup goes out"
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$work/mnemonic"
printf '%s' "$password" >"$work/app-password"
mkdir "$work/store" "$work/state"
store="file://$work/store"
# By a user's own environment it goes to his store, under a name of this run.
if [ -z "${BACKUP_S3_ENDPOINT-}" ]; then
	BACKUP_S3_ENDPOINT=$store BACKUP_S3_BUCKET=quickstart
	export BACKUP_S3_ENDPOINT BACKUP_S3_BUCKET
fi
cat >"$work/backup.ini" <<INI
[postgres]
host = 127.0.0.1
port = $pg_port
user = app
password_file = $work/app-password
database = appdb

[s3]
prefix = quickstart-${work##*.}

[encryption]
mnemonic_file = $work/mnemonic
format = 2

[state]
dir = $work/state
INI
chmod 600 "$work/mnemonic" "$work/app-password" "$work/backup.ini"
[ "$(id -u)" != 0 ] || chown -R postgres "$work/mnemonic" "$work/app-password" "$work/backup.ini" "$work/store" "$work/state"
as_backup() { (cd "$work" && as_server "$backup" -c "$work/backup.ini" "$@"); }
contents() {
	psql -X -At -h "$work" -p "$pg_port" -U postgres appdb \
		-c "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM pgbench_accounts t" \
		-c "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM notes t"
}
contents >"$work/before"
as_backup backup >>"$log" 2>&1
as_backup list >"$work/out" 2>>"$log"
cat "$work/out"
say "Rows and checksums of pgbench_accounts and notes: $(tr '\n' ' ' <"$work/before")"

begin "The database is dropped and made empty; the daemon restores it at its start"
psql -X -q -h "$work" -p "$pg_port" -U postgres postgres >>"$log" 2>&1 <<SQL
\\set ON_ERROR_STOP 1
DROP DATABASE appdb WITH (FORCE);
CREATE DATABASE appdb OWNER app;
SQL
# The daemon itself, and no shell in front of it, has to hear the signal that ends it.
(cd "$work" && exec_as_server "$backup" -c "$work/backup.ini" daemon --ready-file "$work/state/ready") >>"$log" 2>&1 &
backup_pid=$!
tries=0
until [ -e "$work/state/ready" ]; do
	tries=$((tries + 1))
	[ $tries -lt 600 ] && kill -0 "$backup_pid" 2>/dev/null || exit 1
	sleep 0.1
done
contents >"$work/after"
cmp "$work/before" "$work/after" >>"$log" 2>&1
say "The same rows and checksums are back: $(tr '\n' ' ' <"$work/after")"
show psql -X appdb -c "TABLE notes"

begin "What was seen"
cat <<SEEN
The wallet $wallet
signed in with a signature as its password; no secret of it is stored anywhere.
PostgreSQL saw the role app, and the wallet in application_name.
50 clients of pgbench were served by $servers connections to PostgreSQL.
A backup was sealed with a key of this run, stored in $BACKUP_S3_ENDPOINT,
and restored by itself into the empty database: the same rows, the same checksums.
SEEN

if [ $keep = yes ]; then
	step=keep
	cat <<KEEP

Everything is left running in $work. To use it:

    PGPASSWORD=\$($token --key $work/wallet.key) psql -h 127.0.0.1 -p $port -U $wallet appdb

To end it:

    kill $backup_pid $proxy_pid; kill \$(head -n 1 $work/data/postmaster.pid); rm -rf $work
KEEP
else
	begin "Stopping"
	stop_all
	# Whoever has a file of ours on his command line is one of ours.
	left=$(printf '%s/\n' "$work" | grep -lsF -f - /proc/[0-9]*/cmdline || :)
	if [ -n "$left" ]; then
		say "still running:" "$left"
		exit 1
	fi
	say "nothing is left running"
fi
