#!/bin/bash
# queue.sh [speed|backlog]: what the task queue costs; both parts unless one is named. Prints a report; fails when a bound is
# missed. Part of `make bench`.
#
#   speed    enqueue, dequeue, ack of 100-byte payloads by 64 clients, side by side with BullMQ in one run: CPU time of daemon
#            and redis-server against node and redis-server. Each side has a Redis of its own, without persistence; the daemon has one worker
#            thread. bench/queue.c's own time does not count; bench/bullmq/load.mjs is client and worker in one, as BullMQ
#            is used, and says what it leaves out. The bound is against queue.add (addBulk) and a Worker, the way of its manual; its
#            calls driven by hand, which leave out what a Worker does, are shown beside it. Sides alternate; the minimum of ROUNDS
#            counts, as in run.sh: what else the machine does only adds.
#   backlog  each operation with BACKLOG tasks waiting against the same with 1000, in alternation, on Redis and embedded:
#            CPU time of daemon and redis-server, the minimum of ROUNDS, and what the maintenance (ticks, counts) costs a second.
#            Half of the tasks name an agent. Memory that a waiting task takes in Redis.
# Environment: ROUNDS (5), TASKS (10000 of each figure), BACKLOG (1000000), OPERATIONS (500), BUILD, DAEMON.
set -u
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=bench/common.sh
. bench/common.sh

rounds=${ROUNDS:-5}
tasks=${TASKS:-10000}
backlog=${BACKLOG:-1000000}
operations=${OPERATIONS:-500}
clients=64
batch=50
missed=0
# When something else loads the machine too, an array of 1000 may take longer than the usual 250 ms; the circuit would open.
patient=PHOENIX_REDIS_COMMAND_TIMEOUT_MS=10000
declare -A bound=([1]=2 [$batch]=6)

# used NAME…: CPU time of servers.
used() {
    local name sum=0
    for name in "$@"; do sum=$((sum + $(cpu_ns "${pid[$name]}"))); done
    echo "$sum"
}

# of FILE KEY…: "median least most" of the lines that begin with these words; the value is the line's last word.
of() {
    local file=$1
    shift
    awk -v key="$* " 'index($0, key) == 1 {print $NF}' "$work/$file" | sort -n |
        awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)], v[1], v[NR]}'
}

# --- speed ---

start_bullmq() {
    start_redis redis-bullmq
    coproc bullmq { exec node "$tools/bullmq/load.mjs" "${port[redis-bullmq]}" 2>"$work/bullmq.log"; }
    # shellcheck disable=SC2154 # coproc sets it
    pid[bullmq]=$bullmq_PID
}

# bullmq_runs WAY BATCH TASKS
bullmq_runs() {
    local line
    echo "$1 $3 $2" >&"${bullmq[1]}"
    read -r -t 300 line <&"${bullmq[0]}" || die "BullMQ ended: $(cat "$work/bullmq.log")"
    [ "$line" = "done" ] || die "BullMQ, $1: $line"
}

# phoenix_runs BATCH TASKS
phoenix_runs() {
    local line
    line=$("$tools/queue" -c "$clients" -b "$1" -n $(($2 / $1)) cycle "${port[phoenix]}") || die "phoenix-cached: ${line:-failed}"
}

# measure SERVER REDIS WAY BATCH TASKS: appends "SERVER WAY BATCH part NS" of the server, its Redis and both.
measure() {
    local own redis
    own=$(used "$1") redis=$(used "$2")
    if [ "$1" = bullmq ]; then bullmq_runs "$3" "$4" "$5"; else phoenix_runs "$4" "$5"; fi
    own=$((($(used "$1") - own) / $5)) redis=$((($(used "$2") - redis) / $5))
    printf '%s\n' "$1 $3 $4 own $own" "$1 $3 $4 redis $redis" "$1 $3 $4 both $((own + redis))" >>"$work/speed"
}

speed_round() {
    measure phoenix redis cycle 1 "$tasks"
    measure bullmq redis-bullmq calls 1 "$tasks"
    measure bullmq redis-bullmq chained 1 "$tasks"
    measure bullmq redis-bullmq worker 1 "$tasks"
    measure phoenix redis cycle $batch $((tasks * 5))
    measure bullmq redis-bullmq chained $batch "$tasks"
    measure bullmq redis-bullmq worker $batch "$tasks"
}

report_speed() {
    local server way size both least most own redis
    declare -A cost=()
    printf '\nCPU of a task from enqueue to ack, microseconds (%s rounds; the least counts)\n' "$rounds"
    printf '  %-34s %8s %17s %9s %9s\n' '' median 'least to most' server Redis
    while read -r server way size; do
        read -r both least most <<<"$(of speed "$server" "$way" "$size" both)"
        read -r own _ <<<"$(of speed "$server" "$way" "$size" own)"
        read -r redis _ <<<"$(of speed "$server" "$way" "$size" redis)"
        printf '  %-34s %8.1f %8.1f %8.1f %9.1f %9.1f\n' "$server, $way, $size at a time" \
            "$((both / 10))e-2" "$((least / 10))e-2" "$((most / 10))e-2" "$((own / 10))e-2" "$((redis / 10))e-2"
        cost[$server $way $size]=$least
    done < <(awk '$4 == "both" && !seen[$1, $2, $3]++ {print $1, $2, $3}' "$work/speed")
    for size in 1 $batch; do
        awk -v p="${cost[phoenix cycle $size]}" -v b="${cost[bullmq worker $size]}" -v min="${bound[$size]}" -v size="$size" 'BEGIN {
            printf "  %2d at a time: %.2f times the tasks that BullMQ does in a second of CPU, at least %d   %s\n",
                size, b / p, min, (b >= min * p ? "ok" : "MISSED")
            exit (b < min * p) }' || missed=1
    done
}

speed() {
    local round
    : >"$work/speed"
    [ -e "$tools/bullmq/installed" ] || die "no BullMQ: make bench installs it"
    start_redis
    start_daemon phoenix "$patient"
    start_bullmq
    speed_round # not counted: caches and the compiler of node warm up
    : >"$work/speed"
    for ((round = 0; round < rounds; round++)); do speed_round; done
    for round in bullmq phoenix redis redis-bullmq; do stop $round; done
    report_speed
}

# --- backlog ---

redis_memory() { redis-cli -p "${port[$1]}" info memory | tr -d '\r' | sed -n 's/^used_memory://p'; }

# fill SERVER COUNT [AGENT]: by array enqueues of at most 1000.
fill() {
    local size=$(($2 < 1000 ? $2 : 1000))
    "$tools/queue" -b "$size" ${3:+-a "$3"} -n $(($2 / size)) fill "${port[$1]}" >"$work/fill.log" || die "filling $1"
}

# filled SERVER COUNT REDIS: half without an agent, half with one; says what that takes in Redis, if it is given.
filled() {
    local before middle after
    [ -z "${3:-}" ] || before=$(redis_memory "$3")
    fill "$1" $(($2 / 2))
    [ -z "${3:-}" ] || middle=$(redis_memory "$3")
    fill "$1" $(($2 / 2)) x
    [ -z "${3:-}" ] || { after=$(redis_memory "$3") &&
        printf '  %s waiting: %d bytes of Redis each, %d with an agent named\n' "$2" $(((middle - before) * 2 / $2)) $(((after - middle) * 2 / $2)); }
}

# phases KIND SIZE SERVER [REDIS]: appends "KIND SIZE OPERATION NS".
phases() {
    local line server=$3 before
    local processes=(-p "${pid[$server]}")
    [ -z "${4:-}" ] || processes+=(-p "${pid[$4]}")
    "$tools/queue" -c 16 -n "$operations" "${processes[@]}" phases "${port[$server]}" >"$work/phases" || die "$1, $2 waiting"
    while read -r line; do echo "$1 $2 $line"; done <"$work/phases" >>"$work/backlog"
    before=$(used "$server" ${4:+"$4"})
    sleep 2
    echo "$1 $2 idle-second $((($(used "$server" ${4:+"$4"}) - before) / 2))" >>"$work/backlog"
}

report_backlog() {
    local kind operation small large small_median large_median
    for kind in redis embedded; do
        printf '\nCPU of an operation with 1000 and with %s tasks waiting, microseconds, %s (minima of %s rounds)\n' "$backlog" "$kind" "$rounds"
        while read -r operation; do
            read -r small_median small _ <<<"$(of backlog $kind 1000 "$operation")"
            read -r large_median large _ <<<"$(of backlog $kind "$backlog" "$operation")"
            awk -v name="$operation" -v s="$small" -v l="$large" -v sm="$small_median" -v lm="$large_median" 'BEGIN {
                printf "  %-16s %9.1f %9.1f   (medians %.1f, %.1f)   %.2f, at most 1.5   %s\n", name, s / 1000, l / 1000, sm / 1000, lm / 1000,
                    l / s, (l <= 1.5 * s ? "ok" : "MISSED")
                exit (l > 1.5 * s) }' || missed=1
        done < <(awk -v kind=$kind '$1 == kind && !seen[$3]++ {print $3}' "$work/backlog")
    done
}

backlog() {
    local round
    : >"$work/backlog"
    start_redis redis-few
    start_redis redis-many
    start_daemon few "$patient" "PHOENIX_REDIS_URL=redis://127.0.0.1:${port[redis-few]}"
    start_daemon many "$patient" "PHOENIX_REDIS_URL=redis://127.0.0.1:${port[redis-many]}"
    start_daemon few-embedded PHOENIX_REDIS_URL=embedded: PHOENIX_SPOOL_BYTES_MAX=4GiB
    start_daemon many-embedded PHOENIX_REDIS_URL=embedded: PHOENIX_SPOOL_BYTES_MAX=4GiB
    printf '\nMemory of waiting tasks with payloads of 100 bytes\n'
    filled few 1000 redis-few
    filled many "$backlog" redis-many
    filled few-embedded 1000
    filled many-embedded "$backlog"
    for ((round = 0; round < rounds; round++)); do
        phases redis 1000 few redis-few
        phases redis "$backlog" many redis-many
        phases embedded 1000 few-embedded
        phases embedded "$backlog" many-embedded
    done
    report_backlog
}

[ -x "$tools/queue" ] || die "build first: make bench"
case ${1:-all} in
all) speed && backlog ;;
speed | backlog) "$1" ;;
*) die "usage: queue.sh [speed|backlog]" ;;
esac
exit $missed
