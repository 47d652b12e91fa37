#!/bin/bash
# counts.sh: system calls and instructions per request of the daemon: figures that do not depend on who else uses the machine.
# Prints lines "SCENARIO CONNECTIONS FIGURE VALUE", and what the system calls are as comments. run.sh shows them, check.sh
# compares them with bench/baseline.txt.
#
# One connection: a request after the other, each in a turn of the loop of its own. 64: in bursts, all 64 sent while the server
# is stopped, so that a turn's costs are shared. System calls are counted by strace -c -f, instructions (user space
# only) by callgrind. What a request costs is the difference between 2 x COUNT and COUNT requests, by COUNT: connecting and
# timers cancel out. Under valgrind the CPU has no SHA instructions, so that hashing (lookup) weighs more there than in life.
# The profiles of the 64 are kept: callgrind_annotate $BUILD/bench/callgrind.SCENARIO
#
# Environment: COUNT (1920, a multiple of 64), KEYS (4000, so that no key comes twice), PROMPTS (the tests' own,
# which every checkout has: longer ones cost more), BUILD, DAEMON.
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=bench/common.sh
. bench/common.sh

count=${COUNT:-1920}
PROMPTS=${PROMPTS:-tests/data/prompts.csv}

# scenario   server  requests
scenario_table='
floor        floor   cache-get.req
near         one     cache-get.req
hot          one     cache-hot.req
lookup       one     lookup.req
redis        direct  cache-get.req
write        writer  cache-put.req
'

# load SERVER FILE CONNECTIONS REQUESTS
load() {
    local bursts=()
    [ "$3" = 1 ] || bursts=(-b "${pid[$1]}")
    "$tools/client" "${bursts[@]}" -c "$3" -n "$4" "${port[$1]}" "$work/$2" >/dev/null || die "$1 did not answer $2"
}

# per_request LARGE SMALL DIGITS: (LARGE - SMALL) / count
per_request() { awk -v a="$1" -v b="$2" -v n="$count" -v d="$3" 'BEGIN { printf "%.*f", d, (a - b) / n }'; }

# trace SERVER FILE CONNECTIONS REQUESTS: sets REPLY to a file of "CALLS NAME" lines.
trace() {
    local tracer
    REPLY=$work/strace.$4
    : >"$work/strace.log"
    strace -c -f -U calls,name -o "$REPLY" -p "${pid[$1]}" 2>"$work/strace.log" &
    tracer=$!
    until grep -q attached "$work/strace.log"; do
        kill -0 "$tracer" 2>/dev/null || die "strace: $(cat "$work/strace.log")"
        sleep 0.05
    done
    load "$@"
    kill -INT "$tracer"
    wait "$tracer" || true # ended by the signal
}

# system_calls SCENARIO SERVER FILE CONNECTIONS
system_calls() {
    local small
    trace "$2" "$3" "$4" "$count"
    small=$REPLY
    trace "$2" "$3" "$4" $((2 * count))
    awk -v n="$count" -v name="$1" -v c="$4" '
        $1 !~ /^[0-9]+$/ { next }
        NR == FNR { small[$2] = $1; next }
        { per = ($1 - small[$2]) / n
          if ($2 == "total") total = per
          else if (per >= 0.005) calls = calls sprintf(" %s %.2f", $2, per) }
        END { printf "%s %d syscalls %.2f\n#  %s\n", name, c, total, calls }' "$small" "$REPLY"
}

# profile SERVER FILE CONNECTIONS REQUESTS: sets REPLY to the instructions executed.
profile() {
    local out=$work/callgrind.$1
    rm -f "$out".*
    # Answers are kept for a second (server_kept.c): which ones would depend on how fast this machine is.
    [[ $1 != one ]] || sleep 1.1
    callgrind_control --zero "${pid[$1]}" >"$work/control.log" 2>&1 || die "callgrind_control: $(cat "$work/control.log")"
    load "$@"
    callgrind_control --dump "${pid[$1]}" >"$work/control.log" 2>&1 || die "callgrind_control: $(cat "$work/control.log")"
    REPLY=$(awk '$1 == "totals:" || $1 == "summary:" { n = $2 } END { print n + 0 }' "$out".*)
    [ "$REPLY" -gt 0 ] || die "callgrind counted nothing"
}

# instructions SCENARIO SERVER FILE CONNECTIONS
instructions() {
    local small
    profile "$2" "$3" "$4" "$count"
    small=$REPLY
    profile "$2" "$3" "$4" $((2 * count))
    echo "$1 $4 instructions $(per_request "$REPLY" "$small" 0)"
    # callgrind_annotate stumbles over calls that began before the counters were zeroed.
    if [ "$4" = 64 ]; then awk '/^calls=0 / { getline; next } 1' "$work/callgrind.$2".* >"$tools/callgrind.$1"; fi
}

# each FUNCTION: of every scenario whose server runs, with 1 and 64 connections.
each() {
    local name server file
    while read -r name server file; do
        if [ -z "$name" ] || [ -z "${pid[$server]:-}" ]; then continue; fi
        load "$server" "$file" 64 $((2 * count))
        "$1" "$name" "$server" "$file" 1
        "$1" "$name" "$server" "$file" 64
    done <<<"$scenario_table"
}

# Deadlines are long, for under valgrind everything takes fifty times as long.
patient=(PHOENIX_HTTP_DEADLINE_MS=30000 PHOENIX_REDIS_COMMAND_TIMEOUT_MS=20000 PHOENIX_REDIS_CONNECT_TIMEOUT_MS=20000)
start_servers() {
    start_floor
    [ -x "$daemon" ] || return 0
    start_daemon one "${patient[@]}"
    start_daemon direct "${patient[@]}" PHOENIX_LOCAL_NEAR=false
    start_daemon writer "${patient[@]}" PHOENIX_REDIS_PREFIX=bench-writer
}

check_sources() {
    [ -x "$daemon" ] || return 0
    load one cache-get.req 64 128
    expect_source one cache-get.req near
    expect_source direct cache-get.req redis
}

start_redis redis
prepare_data "${KEYS:-4000}"
start_servers
check_sources
each system_calls
for name in floor one direct writer; do [ -z "${pid[$name]:-}" ] || stop "$name"; done
callgrind=yes
start_servers
check_sources
each instructions
