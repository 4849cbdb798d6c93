#!/bin/bash
# The container image for real: built by buildah on a base made by debootstrap,
# run by podman, and tested from outside by pytest.
#
#	test/container/run.sh [PYTEST-ARGUMENTS...]
#
# Where podman cannot run a container, the root file system of the same image
# is run in a chroot, with a process tree of its own where that is possible;
# the output says which. Everything lies in one directory of /var/tmp, which
# goes when it is done: no image of the machine's own is touched.
#
#	CONTAINER_MODE=podman|chroot	not the first that works, but this one
#	CONTAINER_WORK=DIR		keep base and layers there, for the next time
#
# Needs root: packages, mounts. The last line counts the tests.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
python=/usr/bin/python3
[ -x $python ] || python=python3
suite=bookworm

say() { echo "$*"; }
end() { echo "$*"; exit "${status:-1}"; }

if [ "$(id -u)" != 0 ]; then
	# Nothing of it can be had without: neither debootstrap nor a chroot.
	say "Not root: no image can be made or run here. Its command is tested in test/system/test_container.py all the same."
	status=0 end "0 passed, 0 failed, 1 skipped"
fi

# --- packages --------------------------------------------------------------------

needed=""
for program in buildah podman runc debootstrap podman-compose iptables nft; do
	command -v $program >/dev/null 2>&1 || needed+=" ${program/%nft/nftables}"
done
# Networks of podman, and names in them: for compose.yaml.
for program in netavark aardvark-dns; do
	[ -x /usr/lib/podman/$program ] || needed+=" $program"
done
[ -x /usr/bin/swift-proxy-server ] || needed+=" swift-proxy swift-account swift-container swift-object"
while read -r module package; do
	$python -c "import $module" 2>/dev/null || needed+=" $package"
done <<'LIST'
pytest python3-pytest
pytest_timeout python3-pytest-timeout
psycopg python3-psycopg
ecdsa python3-ecdsa
Cryptodome python3-pycryptodome
cryptography python3-cryptography
LIST
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || needed+=" postgresql"

work=${CONTAINER_WORK:-$(mktemp -d /var/tmp/pg-ecdsa-container.XXXXXX)}
mkdir -p "$work"
chmod 755 "$work"
log=$work/log
: >"$log"
if [ -n "$needed" ]; then
	say "--> installing:$needed"
	mkdir -p /etc/postgresql-common
	[ -e /etc/postgresql-common/createcluster.conf ] ||
		echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
	policy=/usr/sbin/policy-rc.d
	made_policy=no
	# What brings a service along may not start it.
	[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made_policy=yes; }
	# shellcheck disable=SC2086
	{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $needed; } >>"$log" 2>&1
	installed=$?
	[ $made_policy = no ] || rm -f $policy
	[ $installed = 0 ] || { tail -n 20 "$log"; end "0 passed, 1 failed"; }
fi

# --- where everything is -----------------------------------------------------------

export CONTAINERS_STORAGE_CONF=$work/storage.conf
storage() {
	printf '[storage]\ndriver = "%s"\ngraphroot = "%s/storage"\nrunroot = "%s/runroot"\n' "$1" "$work" "$work" >"$work/storage.conf"
}

# Netavark leaves its chains and their tables behind, whose hooks cost each packet of this machine from then on. What
# was not there before us goes.
tables() { nft list tables 2>/dev/null | grep -Ex 'table ip6? (filter|nat)'; }
tables_before=$(tables)
had_chains=$(for save in iptables ip6tables; do ! $save-save 2>/dev/null | grep -q NETAVARK || echo $save; done)
drop_chains() {
	local table save
	tables | while read -r table; do
		grep -qxF "$table" <<<"$tables_before" || nft delete $table
	done
	for save in iptables ip6tables; do
		grep -qx $save <<<"$had_chains" || ! $save-save | grep -q NETAVARK ||
			$save-save | grep -v NETAVARK | $save-restore
	done
}

finish() {
	trap - EXIT INT TERM
	podman rm -af >/dev/null 2>&1
	buildah rm -a >/dev/null 2>&1
	drop_chains >/dev/null 2>&1
	if [ -z "${CONTAINER_WORK:-}" ]; then
		podman rmi -af >/dev/null 2>&1
		# Only what was mounted below our own directory.
		awk -v dir="$work/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | while read -r m; do umount -l "$m"; done
		rm -rf --one-file-system "$work"
	fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# timed NAME COMMAND...
timed() {
	local name=$1 begin=$SECONDS
	shift
	say "--> $name"
	if ! "$@" >>"$log" 2>&1; then
		say "FAILED: $name; the end of the log:"
		tail -n 30 "$log"
		end "0 passed, 1 failed"
	fi
	say "    [$((SECONDS - begin))s]"
}

# The same for what the machine has to allow, and not the project: where that fails nothing can be judged, and its
# command is tested in test/system/test_container.py all the same.
possible() {
	local name=$1 begin=$SECONDS
	shift
	say "--> $name"
	if ! "$@" >>"$log" 2>&1; then
		say "Not possible on this machine: $name; the end of the log:"
		tail -n 30 "$log"
		status=0 end "0 passed, 0 failed, 1 skipped"
	fi
	say "    [$((SECONDS - begin))s]"
}

# --- the base ------------------------------------------------------------------------

# The mirror that apt uses here, and the proxy, if there is one.
mirror=$(apt-get indextargets --format '$(CODENAME) $(SITE)' 'Created-By: Packages' 2>/dev/null |
	awk -v s=$suite '$1 == s && $2 !~ /security/ { print $2; exit }')
mirror=${mirror:-http://deb.debian.org/debian}
eval "$(apt-config shell http_proxy_of_apt Acquire::http::Proxy)"
[ -z "${http_proxy_of_apt:-}" ] || [ "$http_proxy_of_apt" = DIRECT ] || export http_proxy=${http_proxy:-$http_proxy_of_apt}

make_base() {
	local base=$work/base
	[ ! -e "$work/base.tar" ] || return 0
	rm -rf "$base"
	debootstrap --variant=minbase $suite "$base" "$mirror" || return 1
	# As Debian's own images have it: no documents, no fsync, no lists.
	echo force-unsafe-io >"$base/etc/dpkg/dpkg.cfg.d/container"
	printf 'path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n' \
		>>"$base/etc/dpkg/dpkg.cfg.d/container"
	[ -z "${http_proxy_of_apt:-}" ] || echo "Acquire::http::Proxy \"$http_proxy_of_apt\";" >"$base/etc/apt/apt.conf.d/proxy"
	printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d"
	chmod 755 "$base/usr/sbin/policy-rc.d"
	rm -rf "$base"/usr/share/doc/* "$base"/usr/share/man/* "$base"/usr/share/locale/* "$base"/var/cache/apt/*.bin \
		"$base"/var/cache/apt/archives/*.deb "$base"/var/lib/apt/lists/*
	tar -C "$base" -cf "$work/base.tar.new" . && mv "$work/base.tar.new" "$work/base.tar" && rm -rf "$base"
}

import_base() { podman import "$work/base.tar" localhost/pg-ecdsa-base:latest; }

# --- what works here -------------------------------------------------------------------

# Restricted machines may not raise limits, so they are set to what anybody has.
limits="--ulimit nofile=4096:4096 --ulimit nproc=4096:4096"
try_podman() {
	local driver runtime
	for driver in overlay vfs; do
		rm -rf "$work/storage" "$work/runroot"
		storage $driver
		import_base >>"$log" 2>&1 || continue
		[ "${CONTAINER_MODE:-podman}" = podman ] || return 1
		for runtime in runc crun; do
			# shellcheck disable=SC2086
			if podman --runtime $runtime run --rm --network host $limits localhost/pg-ecdsa-base true >>"$log" 2>&1; then
				how="podman $(podman --version | sed 's/.* //'), $runtime, $driver"
				export CONTAINER_COMMAND="podman --runtime $runtime" CONTAINER_LIMITS=$limits
				return 0
			fi
		done
	done
	return 1
}

build() {
	buildah bud --isolation chroot --network host --layers --format docker --build-arg BASE_IMAGE=localhost/pg-ecdsa-base \
		--build-arg FLAVOUR="$1" -t "localhost/pg-ecdsa-$1" "$top"
}

possible "a base image: debootstrap $suite from $mirror" make_base
if [ -e "$work/storage.conf" ] && [ -s "$work/how" ] && [ -z "${CONTAINER_MODE:-}" ]; then
	. "$work/how"
elif try_podman; then
	mode=podman
elif [ "${CONTAINER_MODE:-chroot}" = chroot ]; then
	mode=chroot
	how="chroot into the image's file system"
else
	tail -n 20 "$log"
	say "no container can be run by podman here"
	end "0 passed, 1 failed"
fi
printf 'mode="%s" how="%s"\nexport CONTAINER_COMMAND="%s" CONTAINER_LIMITS="%s"\n' "$mode" "$how" "${CONTAINER_COMMAND:-}" \
	"${CONTAINER_LIMITS:-}" >"$work/how"
say "    containers are run by: $how"
# A build that does nothing.
try_build() {
	printf 'FROM localhost/pg-ecdsa-base\nRUN true\n' >"$work/Nothing" && mkdir -p "$work/nothing" &&
		buildah bud --isolation chroot --network host --format docker -f "$work/Nothing" -t localhost/pg-ecdsa-nothing \
			"$work/nothing"
}
possible "an image that holds nothing" try_build
timed "the image, all-in-one" build all-in-one
timed "the image, pooler alone" build pooler

# --- the tests ---------------------------------------------------------------------------

xml=$work/result.xml
rm -f "$xml"
CONTAINER_MODE=$mode CONTAINER_WORK_DIR=$work timeout -k 10 1200 $python -m pytest -p no:cacheprovider -q -ra --tb=short \
	--timeout=180 --junitxml="$xml" "$@" "$top/test/container"
code=$?
if [ ! -s "$xml" ]; then
	end "0 passed, 1 failed"
fi
status=$code end "$($python - "$xml" $code <<'PY'
import sys
import xml.etree.ElementTree as tree
s = tree.parse(sys.argv[1]).getroot().find("testsuite").attrib
failed = int(s["failures"]) + int(s["errors"])
skipped = int(s["skipped"])
if sys.argv[2] != "0":
    failed = max(failed, 1)
line = "%d passed, %d failed" % (max(0, int(s["tests"]) - failed - skipped), failed)
print(line + (", %d skipped" % skipped if skipped else ""))
PY
)"
