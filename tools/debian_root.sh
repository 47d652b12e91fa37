#!/bin/bash
# debian_root.sh SUITE ROOT PACKAGE…: makes ROOT a Debian of this suite with these packages, from where this machine has its own; what is there
# already stays. SUITE/backports takes from the suite's backports what it has not itself. Needs root. tools/in_root.sh runs something in it.
set -eu
cd "$(dirname "$0")/.."
. tools/apt_mirror.sh
suite=${1%/backports} root=$2 wanted=$1
shift 2
for package in "$@"; do wanted="$wanted $package"; done
if [ "$(cat "$root/etc/made-of" 2>/dev/null)" = "$wanted" ]; then exit 0; fi
[ "$(id -u)" = 0 ] || { echo "a Debian root can be made by root alone: $root" >&2; exit 1; }
command -v debootstrap >/dev/null || tools/deps.sh --if-missing debootstrap
log=$(mktemp)
trap 'rm -f "$log"' EXIT
step() { # WHAT COMMAND…
    echo "$root: $1"
    shift
    "$@" >"$log" 2>&1 || { tail -n 15 "$log" >&2; exit 1; }
}
if [ ! -e "$root/etc/debian_version" ]; then
    mkdir -p "$root"
    step "a minimal Debian $suite" debootstrap --variant=minbase "$suite" "$root" "$mirror"
fi
case $wanted in
*/backports*) echo "deb $mirror $suite-backports main" >"$root/etc/apt/sources.list.d/backports.list" ;;
esac
# No service starts in there.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root" "$root/usr/sbin/policy-rc.d"
step "the package lists" tools/in_root.sh "$root" apt-get update
step "$# packages" tools/in_root.sh "$root" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "$@"
rm -rf "$root"/var/cache/apt/archives/*.deb
echo "$wanted" >"$root/etc/made-of"
