#!/bin/sh
# The benchmark: see bench.py. BUILD_DIR says which build, default build/; it
# should be one without --enable-developer and without sanitizers.
#	test/bench/run.sh [--rounds N] [--seconds S] [--self] [row...]
set -e
top=$(cd "$(dirname "$0")/../.." && pwd)
BUILD_DIR=${BUILD_DIR:-$top/build}
export BUILD_DIR
exec /usr/bin/python3 "$top/test/bench/bench.py" "$@"
