#!/bin/sh
# deps.sh [--if-missing] PACKAGE…: installs Debian packages and says so. With --if-missing: only when one is not installed.
set -eu
if [ "${1:-}" = --if-missing ]; then
    shift
    missing=""
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || exit 0
    # shellcheck disable=SC2086 # a list of package names
    set -- $missing
fi
sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "make deps: needs root or sudo to install: $*" >&2; exit 1; }
    sudo=sudo
fi
echo "make deps: installing $*"
# Installing redis-server must not leave a system service running that nobody asked for: policy-rc.d is Debian's switch for that.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
    trap '$sudo rm -f "$policy"' EXIT
fi
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
