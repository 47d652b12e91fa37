#!/bin/bash
# page.sh: the page at / of the admin listener in a headless Chromium, before real daemons and Redis, in namespaces of their own. Leaves
# screenshots in BUILD/page/shots. Needs chromium, redis-server, node, npm, iproute2, root or user namespaces, and the net once (npm).
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}
work=$build/page
fail() {
    echo "FAILED  $*"
    exit 1
}
if [ "${1:-}" != inside ]; then
    for tool in chromium redis-server node npm ip; do
        command -v "$tool" >/dev/null || fail "$tool is not installed"
    done
    mkdir -p "$work/shots"
    cp tests/page/* "$work/"
    if ! cmp -s "$work/package.json" "$work/installed"; then
        (cd "$work" && npm install --ignore-scripts --no-audit --no-fund --silent) || fail "npm install"
        cp "$work/package.json" "$work/installed"
    fi
    user=()
    if [ "$(id -u)" != 0 ]; then user=(--user --map-root-user); fi
    exec unshare "${user[@]}" --net --mount --pid --fork --kill-child --mount-proc -- "$0" inside
fi
ip link set lo up
ip addr add 192.0.2.7/32 dev lo # stands for a pod's address
export DIR BUILD=$build SHOTS=$work/shots CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
DIR=$(mktemp -d)
finish() {
    local status=$?
    if [ $status != 0 ]; then tail -n 5 "$DIR"/*.log || true; fi
    rm -rf "$DIR"
    exit $status
}
trap finish EXIT
timeout 240 node "$work/test.mjs"
