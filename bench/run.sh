#!/bin/bash
# run.sh: what the daemon costs, side by side with what it is measured against, in one run. Started by `make bench`.
# Prints a report, writes it to $BUILD/bench/report.txt, and fails when a bound is missed.
#
# The figure is CPU time per request of the server's process, all threads, user and system, from /proc/PID/task/*/schedstat
# (nanoseconds). Each round runs every scenario once, so that whatever disturbs the machine disturbs them alike; of ROUNDS
# rounds the minimum counts. Load: wrk, one thread, 64 keep-alive connections, requests built beforehand (bench/prepare.c),
# after one unmeasured pass over all of them. Nothing is pinned: on two CPUs that would decide where Redis runs. Servers not
# under test sit idle.
#   webdis   Debian's, one worker thread, GET ….txt (its cheapest form) of the same keys in the same Redis. Restarted for each
#            measurement: after clients leave with a request in flight it sends stray answers to later ones.
#   floor    bench/floor.c: libmicrohttpd and libuv and a constant body
#   daemons  one, two: 1 and 2 workers · direct: 1 worker without near cache · writer: 1 worker with a prefix of its own, so
#            that its writes invalidate nothing that the others hold
#
# Environment: ROUNDS (7), DURATION seconds of load per figure (2), KEYS (10000), RATE_ROUNDS (3), RATE_DURATION (4),
# SCENARIOS (all; names from the table below), COUNTS=no to leave out system calls and instructions, PROMPTS, BUILD, DAEMON.
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=bench/common.sh
. bench/common.sh

rounds=${ROUNDS:-7}
duration=${DURATION:-2}
keys=${KEYS:-10000}
connections=64
rate=5000

# name           server  requests        what it is
scenario_table='
webdis-near      webdis  webdis-get.req  Webdis, GET, all keys
floor-near       floor   cache-get.req   floor, all keys
near             one     cache-get.req   GET, all keys, near cache
near-2           two     cache-get.req   GET, all keys, near cache, 2 workers
webdis-hot       webdis  webdis-hot.req  Webdis, GET, one key
floor-hot        floor   cache-hot.req   floor, one key
hot              one     cache-hot.req   GET, one key, near cache
redis            direct  cache-get.req   GET, all keys, through Redis
prompt-get       one     prompt-get.req  GET by key, entries of prompts.csv
lookup           one     lookup.req      POST /cache/lookup by the prompt, same entries
webdis-write     webdis  webdis-set.req  Webdis, SETEX of 1 KiB
write            writer  cache-put.req   PUT of 1 KiB
'
# figure     against      bound
bound_table='
near         webdis-near  0.50
near         floor-near   1.35
hot          webdis-hot   0.42
hot          floor-hot    1.15
redis        webdis-near  0.80
lookup       prompt-get   1.60
near-2       near         1.15
'

wanted() { [ -z "${SCENARIOS:-}" ] || [[ " $SCENARIOS " == *" $1 "* ]]; }
uses() { awk -v s=" ${SCENARIOS:-} " -v w="$1" '$2 == w && (s == "  " || index(s, " " $1 " ")) {f = 1} END {exit !f}' <<<"$scenario_table"; }

# count_of FILE: how many requests it holds.
count_of() {
    case $1 in
    *-hot.req) echo 1000 ;; # one request: as many times
    lookup.req | prompt-get.req) grep -c '^\(GET\|POST\) /' "$work/$1" ;;
    *) echo "$keys" ;;
    esac
}

warm_up() { "$tools/client" -c $connections -n "$(count_of "$2")" "${port[$1]}" "$work/$2" >/dev/null || die "warming up $1 with $2 failed"; }

# measure ROUND NAME SERVER FILE: appends "NAME ROUND NS_PER_REQUEST REDIS_NS_PER_REQUEST REQUESTS_PER_S" to the results.
measure() {
    local requests=0 us=0 bytes=0 errors=1 line used redis_used
    if [ "$3" = webdis ]; then
        [ -z "${pid[webdis]:-}" ] || stop webdis
        start_webdis
    fi
    warm_up "$3" "$4"
    used=$(cpu_ns "${pid[$3]}") redis_used=$(cpu_ns "${pid[redis]}")
    line=$(wrk -t1 -c$connections -d"${duration}s" -s bench/wrk.lua "http://127.0.0.1:${port[$3]}" -- "$work/$4" | grep '^requests=')
    used=$(($(cpu_ns "${pid[$3]}") - used)) redis_used=$(($(cpu_ns "${pid[redis]}") - redis_used))
    eval "$line" # requests, us, bytes, errors
    if [ "$errors" != 0 ] || [ "$requests" = 0 ]; then die "$2: ${line:-no line from wrk}"; fi
    case $2 in *write) ;; *) [ $((bytes / requests)) -ge 1024 ] || die "$2: answers of $((bytes / requests)) bytes" ;; esac
    echo "$2 $1 $((used / requests)) $((redis_used / requests)) $((requests * 1000000 / us))" >>"$work/results"
}

# measure_direct ROUND: redis-benchmark's GET of the same keys, no HTTP in between.
measure_direct() {
    local count=$((duration * 60000)) used client_start client_end
    used=$(cpu_ns "${pid[redis]}") client_start=$(date +%s%N)
    redis-benchmark -p "${port[redis]}" -c $connections -n "$count" -r "$keys" -q GET "$direct_key" >"$work/direct.out" 2>&1 || die "redis-benchmark failed"
    client_end=$(date +%s%N) used=$(($(cpu_ns "${pid[redis]}") - used))
    echo "direct $1 0 $((used / count)) $((count * 1000000 / ((client_end - client_start) / 1000)))" >>"$work/results"
}

# measure_rate NAME SERVER FILE: appends the client's line under a fixed rate.
measure_rate() {
    local line
    if [ "$2" = webdis ]; then stop webdis && start_webdis; fi
    warm_up "$2" "$3"
    line=$("$tools/client" -c $connections -r $rate -n $((rate * ${RATE_DURATION:-4})) "${port[$2]}" "$work/$3") || die "$1 at a fixed rate failed: $line"
    echo "$1 $line" >>"$work/rates"
}

start_servers() {
    start_redis redis
    prepare_data "$keys"
    uses floor && start_floor
    uses webdis && start_webdis
    uses one && start_daemon one
    uses two && start_daemon two PHOENIX_HTTP_WORKERS=2
    uses direct && start_daemon direct PHOENIX_LOCAL_NEAR=false
    uses writer && start_daemon writer PHOENIX_REDIS_PREFIX=bench-writer
    direct_key=$(first_path cache-hot.req) direct_key=phoenix:cache:${direct_key#/cache/} direct_key=${direct_key%????????????}__rand_int__
}

# Two passes fill the table, then an answer must come from where the scenario says.
check_sources() {
    local server
    for server in one two direct; do
        [ -n "${pid[$server]:-}" ] || continue
        warm_up $server cache-get.req && warm_up $server cache-get.req
        case $server in direct) expect_source $server cache-get.req redis ;; *) expect_source $server cache-get.req near ;; esac
    done
}

report_cpu() {
    printf '\nCPU per request, microseconds (the minimum of %s rounds of %s s; the median shows the spread)\n' "$rounds" "$duration"
    printf '  %-52s %8s %8s %11s %13s\n' '' minimum median 'Redis, min' 'requests/s'
    while read -r name _ _ what; do
        [ -n "$name" ] || continue
        awk -v name="$name" -v what="$what" '
            function sorted(a, n,  i, j, t) { for (i = 2; i <= n; i++) { t = a[i]; for (j = i - 1; j > 0 && a[j] > t; j--) a[j + 1] = a[j]; a[j + 1] = t } }
            $1 == name { cpu[++n] = $3; redis[n] = $4; if ($5 > rps) rps = $5 }
            END { if (n) { sorted(cpu, n); sorted(redis, n)
                printf "  %-52s %8s %8s %11.2f %13d\n", what, cpu[1] ? sprintf("%.2f", cpu[1] / 1000) : "-",
                    cpu[1] ? sprintf("%.2f", cpu[int((n + 1) / 2)] / 1000) : "-", redis[1] / 1000, rps } }' "$work/results"
    done <<<"$scenario_table
direct - - redis-benchmark, GET of the same keys, no HTTP"
}

# Returns false when a bound is missed.
report_bounds() {
    printf '\nBounds (ratios of the minima)\n'
    awk 'NR == FNR { if (!($1 in min) || $3 < min[$1]) min[$1] = $3; next }
        NF == 3 && ($1 in min) && ($2 in min) {
            ratio = min[$1] / min[$2]; ok = ratio <= $3; if (!ok) missed = 1
            printf "  %-12s %7.2f us  / %-12s %7.2f us  = %5.3f   at most %.2f   %s\n", $1, min[$1] / 1000, $2, min[$2] / 1000, ratio, $3, ok ? "ok" : "MISSED" }
        END { exit missed }' "$work/results" - <<<"$bound_table"
}

report_rates() {
    [ -s "$work/rates" ] || return 0
    printf '\nLatency at a fixed %s requests/s, microseconds from the time each was due (the best of %s runs)\n' "$rate" "${RATE_ROUNDS:-3}"
    awk '{ for (i = 2; i <= NF; i++) { split($i, f, "="); if (!(($1, f[1]) in v) || f[2] + 0 < v[$1, f[1]]) v[$1, f[1]] = f[2] + 0 } if (!seen[$1]++) order[++n] = $1 }
        END { for (i = 1; i <= n; i++) { k = order[i]; printf "  %-20s p50 %8.1f   p99 %8.1f   p99.9 %8.1f\n", k, v[k, "p50_us"], v[k, "p99_us"], v[k, "p999_us"] } }' "$work/rates"
}

run_rounds() {
    local round name server file
    for round in $(seq "$rounds"); do
        echo "round $round of $rounds" >&2
        while read -r name server file _; do
            [ -z "$name" ] || ! wanted "$name" || measure "$round" "$name" "$server" "$file"
        done <<<"$scenario_table"
        ! wanted direct || measure_direct "$round"
    done
    for round in $(seq "${RATE_ROUNDS:-3}"); do
        while read -r name server file _; do
            case $name in webdis-near | floor-near | near | redis) ! wanted "$name" || measure_rate "$name" "$server" "$file" ;; esac
        done <<<"$scenario_table"
    done
}

report() {
    local missed=0
    echo "phoenix-cached, make bench"
    conditions
    echo "load       wrk -t1 -c$connections -d${duration}s, $keys keys with values of 1 KiB; near table at its default size"
    awk -v a="$before" -v b="$after" 'BEGIN { split(a, x); split(b, y); printf "steal      %.2f %% of CPU time during the run\n", 100 * (y[2] - x[2]) / (y[1] - x[1]) }'
    report_cpu
    report_bounds || missed=1
    report_rates
    if [ "${COUNTS:-yes}" = yes ]; then
        printf '\nPer request with 1 and 64 connections (bench/counts.sh says how; callgrind knows no SHA instructions)\n'
        bench/counts.sh || missed=1
    fi
    return $missed
}

: >"$work/results"
[ -x "$tools/client" ] || die "build first: make bench"
start_servers
check_sources
before=$(cpu_stat)
run_rounds
after=$(cpu_stat)
for name in "${!pid[@]}"; do stop "$name"; done
report >"$tools/report.txt"
missed=$?
cat "$tools/report.txt"
exit $missed
