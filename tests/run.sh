#!/bin/bash
# run.sh BINARY…: runs test binaries, JOBS at a time, prints each one's output when it ends and a closing line. Fails when any fails.
set -u
# check gives a test 4 s by default; a sanitizer on a busy machine needs more. Tests bound their own waits.
export CK_DEFAULT_TIMEOUT=${CK_DEFAULT_TIMEOUT:-120}
jobs=${JOBS:-$(( $(nproc) + 1 ))}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
run_one() {
    name=$(basename "$1")
    if timeout -k 10 "${TEST_TIMEOUT:-420}" "$1" >"$2/$name.log" 2>&1; then
        grep -hE '^[0-9]+%: Checks' "$2/$name.log" | sed "s|^|$name: |"
    else
        echo "FAILED $1 (exit $?)" | tee "$2/$name.failed"
        cat "$2/$name.log"
    fi
}
export -f run_one
printf '%s\n' "$@" | xargs -P "$jobs" -I{} bash -c 'run_one "$@"' _ {} "$logs"
total=$(cat "$logs"/*.log | sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\).*/\1 \2 \3/p' |
    awk '{c+=$1; f+=$2+$3} END {printf "%d passed, %d failed", c-f, f}')
echo "$total"
if compgen -G "$logs/*.failed" >/dev/null; then exit 1; fi
case "$total" in "0 passed"*) exit 1 ;; esac
