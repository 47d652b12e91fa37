#!/bin/bash
# in_debian.sh ROOT ARGUMENT…: `make ARGUMENT…` on a copy of this worktree in a Debian that tools/debian_root.sh made. The copy keeps what it has
# built, so a second run compiles what has changed. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$1
shift
mkdir -p "$root/src/build" "$root/tests-new"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    [ ! -e "$file" ] || printf '%s\0' "$file" # listed, but deleted
done | tar --null --no-recursion -T - -c | tar --no-same-owner -C "$root/tests-new" -x
mv "$root/src/build" "$root/tests-new/build"
rm -rf "$root/src"
mv "$root/tests-new" "$root/src"
# shellcheck disable=SC2016 # expanded in there
tools/in_root.sh "$root" sh -c '. /etc/os-release; echo "$PRETTY_NAME, $("${REDIS_SERVER:-redis-server}" --version)"'
exec tools/in_root.sh "$root" make "$@"
