#!/bin/bash
# Every fuzz target for a short bounded time, with the corpus beside it.
#
#	test/fuzz/run.sh [seconds [target...]]
#
# Without seconds: 20 for what reads the bytes of strangers before a log-in,
# and what a whole installation hangs on; 6 for the others.
# New inputs stay in build-fuzz/found; a crash is kept there, too, and shown.
set -u
seconds=${1-}
[ $# -eq 0 ] || shift
top=$(cd "$(dirname "$0")/../.." && pwd)
build=$top/build-fuzz
jobs=$(nproc 2>/dev/null || echo 2)

mkdir -p "$build" && cd "$build" || exit 1
[ -x "$top/configure" ] || (cd "$top" && ./autogen.sh) || exit 1
if [ ! -e Makefile ]; then
	# The libraries want coverage without libFuzzer's main; the targets get it when linked.
	"$top/configure" --enable-developer CC=clang CFLAGS="-g -O1 -fsanitize=fuzzer-no-link" \
		--with-sanitizer=address,undefined FUZZ_LDFLAGS=-fsanitize=fuzzer || exit 1
fi
make -j"$jobs" fuzz-targets || exit 1

if [ $# -gt 0 ]; then
	targets=$(printf "test/fuzz/fuzz_%s\n" "$@")
else
	targets=$(find test/fuzz -type f -name 'fuzz_*' -perm -u+x | sort)
fi
[ -n "$targets" ] || { echo "FAILED: no fuzz target was built"; exit 1; }

# The long ones first, so that none is alone at the end.
is_long() {
	case ${1##*/fuzz_} in startup|frame|proof|ini|scram) ;; *) return 1 ;; esac
}
in_order() {
	for target; do ! is_long "$target" || echo "$target"; done
	for target; do is_long "$target" || echo "$target"; done
}

one() {
	local target=$1 name time=$seconds
	name=${target##*/fuzz_}
	if [ -z "$time" ]; then
		time=6
		! is_long "$target" || time=20
	fi
	mkdir -p "found/$name"
	local corpus=("found/$name")
	[ ! -d "$top/test/fuzz/corpus/$name" ] || corpus+=("$top/test/fuzz/corpus/$name")
	if "$target" -max_total_time="$time" -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 \
		-artifact_prefix="found/$name-" "${corpus[@]}" >"$name.log" 2>&1; then
		echo "$name: $(sed -n 's/^stat::number_of_executed_units: */runs /p' "$name.log")"
	else
		echo "FAILED: $name"
		grep -E 'SUMMARY|Test unit written' "$name.log"
		tail -n 40 "$name.log"
		return 1
	fi
}

passed=0
failed=0
running=0
# As many at once as there are cores.
take_one() {
	if wait -n; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	running=$((running - 1))
}
for target in $(in_order $targets); do
	[ $running -lt "$jobs" ] || take_one
	one "$target" &
	running=$((running + 1))
done
while [ $running -gt 0 ]; do take_one; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
