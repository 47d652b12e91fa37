#!/bin/bash
# tasks.sh: from enqueue to delivery, by waiting dequeues. Bounds on a quiet machine: p50 under 2 ms, p99 under 10 ms.
#   local    enqueued at the daemon where it is waited for
#   other    enqueued at another daemon on the same Redis
#   crowd    as local, while 900 dequeues wait for another agent
#   embedded without Redis: an fsync for the enqueue and one for the dequeue are in it
# Environment: ROUNDS (1000), BUILD, DAEMON.
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=bench/common.sh
. bench/common.sh

rounds=${ROUNDS:-1000}
missed=0

# measure NAME BOUND ARGUMENTS…
measure() {
    local name=$1 bound=$2 line p50 p99 verdict=
    shift 2
    line=$("$tools/delivery" -n "$rounds" "$@") || die "$name failed"
    p50=${line#*p50=} && p50=${p50%% *}
    p99=${line#*p99=} && p99=${p99%% *}
    if [ "$bound" = yes ] && { [ "$p50" -ge 2000 ] || [ "$p99" -ge 10000 ]; }; then
        verdict=' MISSED'
        missed=1
    fi
    printf '%-10s p50 %6d us   p99 %6d us%s\n' "$name" "$p50" "$p99" "$verdict"
}

[ -x "$tools/delivery" ] || die "make bench-build first"
start_redis redis
start_daemon one
start_daemon two
start_daemon alone PHOENIX_REDIS_URL=embedded:
measure local yes "${port[one]}"
measure other yes -d "${port[two]}" "${port[one]}"
measure crowd yes -w 900 "${port[one]}"
measure embedded no "${port[alone]}"
exit $missed
