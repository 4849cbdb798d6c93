#!/bin/bash
# Second command of the README: install what is missing, build, run everything.
#
#	test/run.sh [stage...]
#
# Stages, in order; all of them but system-2 by default:
#	packages   install what is missing (as root), or say what it is
#	build      warnings are errors, developer checks on     -> build-test/
#	unit       unit tests of that build
#	system-1   system tests, one worker thread
#	system-2   system tests, two worker threads; not by default, since both sanitizers run them with two
#	differential  the same scenes through Debian's pgbouncer and through ours
#	faults     log-ins, TLS and cancels with one byte a read, then one byte a send
#	soak       the short form of test/soak.sh
#	asan       unit and system tests, address and undefined-behaviour sanitizer
#	tsan       system tests with two workers, thread sanitizer
#	container  the image, built and run: test/container/run.sh
#	fuzz       every fuzz target: what meets strangers first for 20 seconds, the others for 6
#	clients    programs in other languages, installed and built here, that sign in through us
#	together   the three before at the same time; by default in their place
#	install    make install, make distcheck
#
# SYSTEM_ARGS="-k cancel" runs a part of the system tests while one develops.
# The log of each stage is in build-test/logs. The last line counts all tests.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top" || exit 1
out=$top/build-test
logs=$out/logs
counts=$logs/counts
python=/usr/bin/python3
[ -x $python ] || python=python3
jobs=$(nproc 2>/dev/null || echo 2)
mkdir -p "$logs"
: >"$counts"

if [ $# -eq 0 ]; then
	set -- packages build unit system-1 differential faults soak asan tsan together install
fi

# count PASSED FAILED SKIPPED NAME
count() { echo "$*" >>"$counts"; }

# A step that must work for the rest to make sense; its output goes to a log.
step() {
	local name=$1 log=$logs/$1.log
	shift
	echo "--> $name"
	if ! ("$@") >"$log" 2>&1; then
		echo "FAILED: $name; the end of $log:"
		tail -n 40 "$log"
		count 0 1 0 "$name"
		return 1
	fi
}

# --- packages -----------------------------------------------------------------

packages() {
	local needed="" clang_version
	have() { command -v "$1" >/dev/null 2>&1; }
	lib() { have pkg-config && pkg-config --exists "$1"; }
	module() { $python -c "import $1" 2>/dev/null; }
	have gcc || needed+=" gcc libc6-dev"
	have make || needed+=" make"
	have autoreconf || needed+=" autoconf"
	have automake || needed+=" automake"
	have pkg-config || needed+=" pkg-config"
	have git || needed+=" git"
	have xz || needed+=" xz-utils"
	have openssl || needed+=" openssl"
	have setarch || needed+=" util-linux"
	lib libevent_core || needed+=" libevent-dev"
	lib openssl || needed+=" libssl-dev"
	lib libsecp256k1 || needed+=" libsecp256k1-dev"
	lib nettle || needed+=" nettle-dev"
	lib libcares || needed+=" libc-ares-dev"
	lib jansson || needed+=" libjansson-dev"
	lib libcurl || needed+=" libcurl4-openssl-dev"
	lib libpq || needed+=" libpq-dev"
	lib expat || needed+=" libexpat1-dev"
	module ensurepip || needed+=" python3-venv"
	[ -x /usr/bin/swift-proxy-server ] || needed+=" swift-proxy swift-account swift-container swift-object"
	[ -e /usr/include/security/pam_appl.h ] || needed+=" libpam0g-dev"
	[ -e /usr/include/ldap.h ] || needed+=" libldap-dev"
	ls /usr/lib/*/libpam_wrapper.so >/dev/null 2>&1 || needed+=" libpam-wrapper"
	[ -x /usr/sbin/slapd ] || needed+=" slapd"
	module prometheus_pgbouncer_exporter || needed+=" prometheus-pgbouncer-exporter"
	lib libidn || needed+=" libidn-dev"
	lib liburing || needed+=" liburing-dev"
	lib libsystemd || needed+=" libsystemd-dev"
	have systemd-socket-activate || needed+=" systemd"
	lib cmocka || needed+=" libcmocka-dev"
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || needed+=" postgresql"
	have pgbench || needed+=" postgresql-contrib"
	module pytest || needed+=" python3-pytest"
	module xdist || needed+=" python3-pytest-xdist"
	module pytest_timeout || needed+=" python3-pytest-timeout"
	module psycopg || needed+=" python3-psycopg"
	module psycopg2 || needed+=" python3-psycopg2"
	module asyncpg || needed+=" python3-asyncpg"
	module ecdsa || needed+=" python3-ecdsa"
	module Cryptodome || needed+=" python3-pycryptodome"
	[ -x /usr/sbin/pgbouncer ] || needed+=" pgbouncer"
	have promtool || needed+=" prometheus"
	module yaml || needed+=" python3-yaml"
	have chromium || needed+=" chromium"
	have chromedriver || needed+=" chromium-driver"
	module selenium || needed+=" python3-selenium"
	have clang || needed+=" clang"
	have pandoc || needed+=" pandoc"
	# A node from elsewhere does not mix with Debian's npm.
	have node || needed+=" nodejs npm"
	have javac || needed+=" default-jdk-headless"
	have mvn || needed+=" maven"
	[ -e /usr/share/java/postgresql.jar ] || needed+=" libpostgresql-jdbc-java"
	install_packages $needed || return 1
	clang_version=$(clang -dumpversion 2>/dev/null | cut -d. -f1)
	ls /usr/lib/llvm-"$clang_version"/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a >/dev/null 2>&1 ||
		install_packages "libclang-rt-$clang_version-dev"
}

install_packages() {
	[ $# -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
		echo "missing: $*"
		echo "as root: apt-get install $*"
		return 1
	fi
	apt-get update
	# The cluster that the package would make is of no use here.
	mkdir -p /etc/postgresql-common
	[ -e /etc/postgresql-common/createcluster.conf ] ||
		echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
	quietly env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# Packages that bring a service along, pgbouncer among them, would start it: for
# as long as the command runs they may not. A policy that is there already stays.
quietly() (
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		trap 'rm -f $policy' EXIT
		printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy || exit 1
	fi
	"$@"
)

# --- builds -------------------------------------------------------------------

prepare() {
	if [ -e config.status ]; then
		echo "the source tree itself is configured: make distclean first"
		return 1
	fi
	# Made anew: an older configure may not know the newer options.
	if [ ! -x configure ] || [ configure.ac -nt configure ]; then
		./autogen.sh
	fi
}

# build DIR CONFIGURE-ARGUMENTS...
build() {
	local dir=$1
	shift
	prepare && mkdir -p "$dir" && cd "$dir" || return 1
	# Named, so that a library that is missing does not leave tests out quietly.
	[ -e Makefile ] || "$top/configure" --enable-werror --enable-developer --with-backup --with-jansson \
		--with-libidn --with-liburing --with-pam --with-ldap --with-systemd "$@" || return 1
	make -j"$jobs" && make -j"$jobs" $(unit_programs)
}

# What `make check` would build; named so that it is built in parallel, too.
unit_programs() { make -s -f Makefile -f - print 2>/dev/null <<<'print: ; @echo $(check_PROGRAMS)'; }

# unit DIR NAME: the count is that of the cmocka tests inside the programs.
unit() {
	local dir=$1 name=$2 trs log p f passed=0 failed=0
	echo "--> $name"
	(cd "$dir" && timeout -k 10 900 make -j"$jobs" check) >"$logs/$name.log" 2>&1
	for trs in $(find "$dir/test" -name '*.trs'); do
		log=${trs%.trs}.log
		p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | paste -sd+ | bc_or_sum)
		f=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test(s), listed.*/\1/p' "$log" | paste -sd+ | bc_or_sum)
		# A program that died, or that is no cmocka test, counts as one.
		if ! grep -q '^:test-result: PASS' "$trs"; then
			[ "$f" -gt 0 ] || f=1
			echo "FAILED: $trs"
			tail -n 30 "$log"
		elif [ "$p" -eq 0 ]; then
			p=1
		fi
		passed=$((passed + p))
		failed=$((failed + f))
	done
	if [ $((passed + failed)) -eq 0 ]; then
		echo "no unit test ran; the end of $logs/$name.log:"
		tail -n 30 "$logs/$name.log"
		failed=1
	fi
	echo "    $passed passed, $failed failed"
	count $passed $failed 0 "$name"
}

bc_or_sum() { local s; read -r s; echo $((${s:-0})); }

# system NAME DIR WORKERS SCALE PYTEST-ARGUMENTS...: environment is the caller's;
# $tests: what to run, if it is not test/system.
system() {
	local name=$1 dir=$2 workers=$3 scale=$4 xml=$logs/$1.xml status p f s
	shift 4
	echo "--> $name"
	rm -f "$xml"
	BUILD_DIR=$dir WORKERS=$workers TIMEOUT_SCALE=$scale timeout -k 10 1500 \
		${wrapper:-} $python -m pytest -p no:cacheprovider -q -ra --maxfail=40 --tb=short -n "${parallel:-$((jobs * 3))}" --dist loadfile \
		--timeout=$((120 * scale)) --junitxml="$xml" "$@" ${SYSTEM_ARGS:-} ${tests:-test/system} >"$logs/$name.log" 2>&1
	status=$?
	if [ ! -s "$xml" ]; then
		echo "FAILED: $name ended with status $status; the end of $logs/$name.log:"
		tail -n 40 "$logs/$name.log"
		count 0 1 0 "$name"
		return
	fi
	[ $status -eq 0 ] || { grep -E '^(FAILED|ERROR)' "$logs/$name.log" || tail -n 40 "$logs/$name.log"; }
	grep -E '^SKIPPED' "$logs/$name.log"
	read -r p f s < <($python - "$xml" "$status" <<'PY'
import sys
import xml.etree.ElementTree as tree
s = tree.parse(sys.argv[1]).getroot().find("testsuite").attrib
bad = int(s["failures"]) + int(s["errors"])
if sys.argv[2] != "0":
    bad = max(bad, 1)
print(max(0, int(s["tests"]) - int(s["failures"]) - int(s["errors"]) - int(s["skipped"])), bad, s["skipped"])
PY
	)
	echo "    $p passed, $f failed, $s skipped"
	count "$p" "$f" "$s" "$name"
}

# without FILE...: for pytest, the files by what stands between test_ and .py
without() { printf -- '--ignore test/system/test_%s.py ' "$@"; }

other_languages="client_pools example exporter"
# Ports of their own, since others run at the same time.
clients() {
	tests=$(printf 'test/system/test_%s.py ' $other_languages) PORT_SLICE=8 parallel=$jobs system clients "$out" 1 1
}

# script NAME COMMAND...: its last line counts its parts.
script() {
	local name=$1 line p f k
	shift
	echo "--> $name"
	"$@" >"$logs/$name.log" 2>&1
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$logs/$name.log" | tail -n 1)
	if [ -z "$line" ]; then
		echo "FAILED: $name; the end of $logs/$name.log:"
		tail -n 30 "$logs/$name.log"
		line="0 passed, 1 failed"
	fi
	read -r p f k < <(tr -c '0-9\n' ' ' <<<"$line")
	if [ "$name" = soak ]; then
		grep -vE '^[0-9]+ passed, ' "$logs/$name.log"
	elif [ "$f" -gt 0 ]; then
		grep -E '^(FAILED|ERROR|SUMMARY)' "$logs/$name.log"
	elif [ "${k:-0}" -gt 0 ]; then
		grep -E '^(SKIPPED|Not )' "$logs/$name.log"
	fi
	echo "    $line"
	count "$p" "$f" "${k:-0}" "$name"
}

install_and_dist() {
	local prefix
	prefix=$(mktemp -d)
	step install make -C "$out" install DESTDIR="$prefix" && count 1 0 0 install
	if ! find "$prefix" -type f -name pg-ecdsa-proxy -perm -u+x | grep -q . ||
		! find "$prefix" -type f -name pg-ecdsa-token -perm -u+x | grep -q .; then
		echo "FAILED: make install did not install both programs"
		count 0 1 0 installed-programs
	fi
	rm -rf "$prefix"
	# The unit tests of the unpacked archive run, too.
	step distcheck make -C "$out" -j"$jobs" distcheck && count 1 0 0 distcheck
}

# --- the stages ---------------------------------------------------------------

export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=suppressions=$top/test/tsan.supp:second_deadlock_stack=1

broken=no
for stage; do
	[ $broken = no ] || break
	SECONDS=0
	case $stage in
	packages)	step packages packages || broken=yes ;;
	build)		step build build "$out" || broken=yes ;;
	unit)		unit "$out" unit ;;
	system-1)	system system-1 "$out" 1 1 $(without $other_languages) ;;
	# The backup daemon has no workers.
	# What is the same with any number of workers has run above.
	system-2)	WORKERS_ONLY=1 system system-2 "$out" 2 1 $(without $other_languages) \
			--ignore-glob '*/test_backup*.py' ;;
	differential)	tests=test/differential system differential "$out" "1 2" 1 ;;
	faults)
		# What is stuffed behind an SSLRequest shows only when it is read together with it.
		# One of them as on a machine without io_uring.
		for fault in read1,nouring send1; do
			PGECDSA_FAULTS=$fault system "faults-${fault%%,*}" "$out" 2 2 --deselect test/system/test_token.py \
				--deselect test/system/test_clients.py -k "(test_login or test_tls or test_cancel) \
				and not stuffed and not after_the_request and not after-N and not broken_handshake"
		done ;;
	soak)		BUILD_DIR=$out WORKERS=1 script soak "$top/test/soak.sh" --short ;;
	asan)
		if step asan-build build "$top/build-asan" --with-sanitizer=address,undefined CFLAGS="-g -O1"; then
			unit "$top/build-asan" asan-unit
			# These need the processor more than they wait. The programs of others run elsewhere.
			parallel=$((jobs * 2)) system asan-system "$top/build-asan" 2 3 \
				$(without $other_languages compose kubernetes monitoring backup_kills)
		fi ;;
	tsan)
		if step tsan-build build "$top/build-tsan" --with-sanitizer=thread CFLAGS="-g -O1"; then
			# The runtime of gcc 12 cannot map its shadow with much
			# randomisation of addresses.
			# Left out: what concerns other programs, or one client at a time.
			wrapper="setarch $(uname -m) -R" WORKERS_ONLY=1 parallel=$((jobs + 1)) system tsan-system "$top/build-tsan" 2 4 \
				$(without $other_languages attacks_protocol check clients compose container docs hba http_browser \
					includes kubernetes monitoring protocol regress replication_tools saslprep scram_keys server_login \
					start tls_settings token token_connect token_formats token_keys wallet_formats) \
				--ignore-glob '*/test_backup*.py'
		fi ;;
	container)	script container "$top/test/container/run.sh" ;;
	fuzz)		script fuzz "$top/test/fuzz/run.sh" ;;
	clients)	clients ;;
	together)
		# Fuzzing lasts as long whatever else there is to do, images wait for the network and the disk, and clients
		# for registries.
		script fuzz nice "$top/test/fuzz/run.sh" >"$logs/fuzz.said" 2>&1 &
		clients >"$logs/clients.said" 2>&1 &
		script container "$top/test/container/run.sh"
		wait
		cat "$logs/clients.said" "$logs/fuzz.said" ;;
	install)	install_and_dist ;;
	*)		echo "unknown stage: $stage" >&2; exit 2 ;;
	esac
	echo "    [$stage: ${SECONDS}s]"
done

read -r passed failed skipped < <(awk '{ p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$counts")
echo
if [ "$skipped" -gt 0 ]; then
	echo "$passed passed, $failed failed, $skipped skipped"
else
	echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
