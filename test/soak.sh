#!/bin/sh
# The long runs: see test/soak.py. BUILD_DIR says which build, default build/.
#	test/soak.sh [--short] [--seconds N] [--mode M] [part...]
set -e
top=$(cd "$(dirname "$0")/.." && pwd)
BUILD_DIR=${BUILD_DIR:-$top/build}
export BUILD_DIR
exec /usr/bin/python3 "$top/test/soak.py" "$@"
