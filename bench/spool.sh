#!/bin/bash
# spool.sh: what durable acknowledgements cost and how gently the journal is handed back. Prints a report; fails when a bound is
# missed. Part of `make bench`.
#
#   embedded  PATCHes of sessions from 64 connections, each acknowledged after its commit. fsyncs are counted where the C library
#             makes them (tests/preload/failing_disk.c).
#   degraded  the same through the journal, Redis being gone.
#   hand-back JOURNALED sessions are written while Redis is gone; then live PATCHes of other sessions run at a fixed rate
#             while the journal is handed back at spool.replay_per_s. p99 against that of the same run while all was well.
#
# Environment: COUNT (20000 updates), JOURNALED (50000), LIVE_RATE (1000 requests/s), LIVE_S (10 s), REPEATS (3; the median
# counts), BUILD, DAEMON, SPOOL_DIR (a directory on the disk to measure).
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=bench/common.sh
. bench/common.sh

count=${COUNT:-20000}
journaled=${JOURNALED:-50000}
live_rate=${LIVE_RATE:-1000}
live_s=${LIVE_S:-10}
repeats=${REPEATS:-3}
per_fsync_min=16
spools=$(mktemp -d "${SPOOL_DIR:-$build}/spool.XXXXXX")
trap 'rm -rf "$spools"; cleanup' EXIT
missed=0

value_of() { sed -n "s/.*\b$1=\([0-9.]*\).*/\1/p" <<<"$2"; }

# updates NAME WHAT: COUNT patches from 64 connections; prints how many an fsync carried and what one took.
updates() {
    local line syncs rate
    : >"$work/disk.count"
    line=$("$tools/client" -c 64 -n "$count" "${port[$1]}" "$work/session-patch.req") || die "$1: $line"
    syncs=$(stat -c %s "$work/disk.count")
    rm "$work/disk.count"
    [ "$syncs" -gt 0 ] || die "$1: no fsync was seen"
    # Latency at half of what was possible.
    rate=$((count * 500000 / $(value_of us "$line")))
    line=$("$tools/client" -c 64 -r "$rate" -n "$((rate * 4))" "${port[$1]}" "$work/session-patch.req") || die "$1: $line"
    awk -v what="$2" -v n="$count" -v s="$syncs" -v min=$per_fsync_min -v rate="$rate" -v p50="$(value_of p50_us "$line")" \
        -v p99="$(value_of p99_us "$line")" 'BEGIN {
            ok = n / s >= min
            printf "  %-40s %6.1f updates per fsync, at least %d   %s\n", what, n / s, min, ok ? "ok" : "MISSED"
            printf "  %-40s p50 %.2f ms   p99 %.2f ms at %d/s\n", "", p50 / 1000, p99 / 1000, rate
            exit !ok }' || missed=1
}

kept_redis() {
    redis-server --bind 127.0.0.1 --port "${port[redis]}" --save '' --appendonly yes --dir "$work" >>"$work/redis.log" 2>&1 &
    pid[redis]=$!
    await redis 10 listening "${port[redis]}"
}

journal() { http "${port[$1]}" GET /readyz | sed -n 's/.*"journal":\([0-9]*\).*/\1/p'; }
# shellcheck disable=SC2317 # wait_for calls it
mode_is() { http "${port[$1]}" GET /readyz | grep -q "\"status\":\"$2\""; }
wait_for() {
    local tries=2400
    until "$@"; do
        [ $((tries -= 1)) -gt 0 ] || die "waited too long for: $*"
        sleep 0.05
    done
}
# shellcheck disable=SC2317 # wait_for calls it
journal_empty() { [ "$(journal "$1")" = 0 ]; }

live_p99() {
    local line
    line=$("$tools/client" -c 16 -r "$live_rate" -n $((live_rate * live_s)) "${port[$1]}" "$work/live-patch.req") || die "live requests: $line"
    REPLY=$(value_of p99_us "$line")
}

# hand_back ROUND: appends "HEALTHY_US DURING_US PER_S" to the results.
hand_back() {
    local healthy during before after began
    rm -rf "$work"/appendonlydir
    kept_redis
    start_daemon back "PHOENIX_SPOOL_PATH=$spools/back$1.db" PHOENIX_LOCAL_NEAR=false
    "$tools/client" -c 16 -n 1000 "${port[back]}" "$work/live-create.req" >/dev/null || die "live sessions"
    live_p99 back && healthy=$REPLY
    stop redis
    wait_for mode_is back degraded
    "$tools/client" -c 64 -n "$journaled" "${port[back]}" "$work/session-create.req" >/dev/null || die "journaled sessions"
    kept_redis
    wait_for mode_is back ready
    before=$(journal back) began=$(date +%s%N)
    live_p99 back && during=$REPLY
    after=$(journal back)
    [ "$after" -gt 0 ] || die "the journal was empty before the live requests ended: raise JOURNALED"
    echo "$healthy $during $(((before - after) * 1000 / (($(date +%s%N) - began) / 1000000)))" >>"$work/back"
    if [ "$1" = 1 ]; then
        wait_for journal_empty back
        [ "$(redis-cli -p "${port[redis]}" EXISTS phoenix:session:session-0 "phoenix:session:session-$((journaled - 1))")" = 2 ] ||
            die "handed back, but not in Redis"
    fi
    stop back
    stop redis
}

free_port && port[redis]=$REPLY
"$tools/prepare" "$work" "${PROMPTS:-tests/data/prompts.csv}" "$journaled" >/dev/null || die "prepare failed"

echo "phoenix-cached, bench/spool.sh: 64 connections"
counter="LD_PRELOAD=$PWD/$build/tests/preload/failing_disk.so"
start_daemon embedded "$counter" "FAILING_DISK=$work/disk" PHOENIX_REDIS_URL=embedded: "PHOENIX_SPOOL_PATH=$spools/embedded.db"
"$tools/client" -c 64 -n "$journaled" "${port[embedded]}" "$work/session-create.req" >/dev/null || die "sessions were not created"
updates embedded "embedded"
stop embedded
start_daemon degraded "$counter" "FAILING_DISK=$work/disk" "PHOENIX_SPOOL_PATH=$spools/degraded.db"
wait_for mode_is degraded degraded
"$tools/client" -c 64 -n "$journaled" "${port[degraded]}" "$work/session-create.req" >/dev/null || die "sessions were not created"
updates degraded "degraded, through the journal"
stop degraded

for round in $(seq "$repeats"); do hand_back "$round"; done
awk -v n="$journaled" '
    function median(a, n,  i, j, t) { for (i = 2; i <= n; i++) { t = a[i]; for (j = i - 1; j > 0 && a[j] > t; j--) a[j + 1] = a[j]; a[j + 1] = t } return a[int((n + 1) / 2)] }
    { h[NR] = $1; d[NR] = $2; r[NR] = $3 }
    END { healthy = median(h, NR); during = median(d, NR); ok = during <= 2 * healthy + 2000
        printf "  hand-back of %d at %d/s: live p99 %.2f ms, healthy %.2f ms, at most twice that + 2 ms   %s\n", n, median(r, NR), during / 1000, healthy / 1000, ok ? "ok" : "MISSED"
        exit !ok }' "$work/back" || missed=1
exit $missed
