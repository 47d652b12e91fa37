# shellcheck shell=sh
# apt_mirror.sh: sets `mirror` to where this machine's apt gets its packages, or to $MIRROR. Sourced.
mirror=${MIRROR:-$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '/^URIs:/ {print $2; exit}')}
[ -n "$mirror" ] || mirror=$(awk '$1 == "deb" {print $2; exit}' /etc/apt/sources.list)
