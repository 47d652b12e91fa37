# shellcheck shell=bash disable=SC2034 # the scripts that source this use what it sets
# common.sh: what run.sh, counts.sh and check.sh share: a scratch directory, free ports, servers that end with the
# script, and reading what a process used. Sourced. Everything listens on 127.0.0.1 and is ended by its process id.

build=${BUILD:-build}
tools=$build/bench
daemon=${DAEMON:-$build/phoenix-cached}
work=$(mktemp -d)
declare -A pid=() port=() # of each server, by name

cleanup() {
    local name
    for name in "${!pid[@]}"; do stop "$name"; done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

die() {
    echo "bench: $*" >&2
    exit 1
}

# stop NAME: ends a server and waits for it.
stop() {
    kill -CONT "${pid[$1]}" 2>/dev/null
    kill -TERM "${pid[$1]}" 2>/dev/null
    wait "${pid[$1]}" 2>/dev/null
    unset "pid[$1]"
}

# listening PORT: whether something accepts there.
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

next_port=$((20000 + $$ % 10000))
# free_port: sets REPLY to a port that nobody listens on.
free_port() {
    while listening "$next_port"; do next_port=$((next_port + 1)); done
    REPLY=$next_port
    next_port=$((next_port + 1))
}

# await NAME SECONDS COMMAND…: until the command succeeds; fails with the server's log when it has ended or takes too long.
await() {
    local name=$1 tries=$(($2 * 20))
    shift 2
    until "$@"; do
        if ! kill -0 "${pid[$name]}" 2>/dev/null || [ $((tries -= 1)) -lt 0 ]; then
            tail -n 20 "$work/$name.log" >&2
            die "$name did not start"
        fi
        sleep 0.05
    done
}

# http PORT METHOD PATH: prints the whole answer.
http() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1" || exit
        printf '%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" "$3" >&3
        timeout 10 cat <&3
    ) 2>/dev/null
}
ready() { http "$1" GET /readyz | grep -q '^HTTP/1.1 200'; }

# start_redis [NAME]: one without persistence.
start_redis() {
    local name=${1:-redis}
    free_port && port[$name]=$REPLY
    redis-server --bind 127.0.0.1 --port "${port[$name]}" --save '' --appendonly no --dir "$work" >"$work/$name.log" 2>&1 &
    pid[$name]=$!
    await "$name" 10 listening "${port[$name]}"
}

# Webdis as Debian ships it, with one worker thread against the daemon's one, and silent.
start_webdis() {
    [ -n "${port[webdis]:-}" ] || { free_port && port[webdis]=$REPLY; }
    cat >"$work/webdis.json" <<T
{"redis_host": "127.0.0.1", "redis_port": ${port[redis]}, "redis_auth": null, "http_host": "127.0.0.1",
 "http_port": ${port[webdis]}, "threads": 1, "daemonize": false, "database": 0, "acl": [], "verbosity": 0,
 "logfile": "$work/webdis.own.log"}
T
    webdis "$work/webdis.json" >"$work/webdis.log" 2>&1 &
    pid[webdis]=$!
    await webdis 10 listening "${port[webdis]}"
}

# become NAME COMMAND…: runs a command in place of the (background) shell, under callgrind if $callgrind is set.
become() {
    local name=$1
    shift
    if [ -n "${callgrind:-}" ]; then
        # glibc clears and copies large blocks by instructions that callgrind counts once per byte
        export GLIBC_TUNABLES=glibc.cpu.x86_rep_stosb_threshold=8388608:glibc.cpu.x86_rep_movsb_threshold=8388608
        set -- valgrind --tool=callgrind -q --compress-strings=no --compress-pos=no "--callgrind-out-file=$work/callgrind.$name" "$@"
    fi
    exec "$@" >"$work/$name.log" 2>&1
}

start_floor() {
    free_port && port[floor]=$REPLY
    become floor "$tools/floor" "${port[floor]}" &
    pid[floor]=$!
    await floor 30 listening "${port[floor]}"
}

# start_daemon NAME [NAME=VALUE…]: a phoenix-cached with defaults but for what is given.
start_daemon() {
    local name=$1 admin
    shift
    free_port && port[$name]=$REPLY
    free_port && admin=$REPLY
    (
        export PHOENIX_HTTP_LISTEN="127.0.0.1:${port[$name]}" PHOENIX_ADMIN_LISTEN="127.0.0.1:$admin"
        export PHOENIX_REDIS_URL="redis://127.0.0.1:${port[redis]:-}" PHOENIX_HTTP_WORKERS=1 PHOENIX_LOG_LEVEL=warn
        export PHOENIX_SPOOL_PATH="$work/$name.db"
        # shellcheck disable=SC2163 # NAME=VALUE words are meant
        [ $# -eq 0 ] || export "$@"
        become "$name" "$daemon"
    ) &
    pid[$name]=$!
    await "$name" 60 ready "$admin"
}

# prepare_data KEYS: request files in $work, contents of Redis.
prepare_data() {
    local prompts=${PROMPTS:-}
    if [ -z "$prompts" ]; then
        for prompts in ../shared/data/prompts.csv tests/data/prompts*.csv; do [ ! -e "$prompts" ] || break; done
    fi
    [ -e "$prompts" ] || die "no prompts.csv: set PROMPTS"
    "$tools/prepare" "$work" "$prompts" "$1" >/dev/null || die "prepare failed"
    redis-cli -p "${port[redis]}" --pipe <"$work/fill.resp" >"$work/fill.log" 2>&1 ||
        die "filling Redis failed: $(cat "$work/fill.log")"
}

# first_path FILE: the path of a request file's first request.
first_path() { sed -n '2{s/^[A-Z]* //;s/ .*//;p;q}' "$work/$1"; }

# expect_source SERVER FILE SOURCE: that the daemon answers the file's first GET from where the scenario says (Cache-Status
# detail), so that a figure is never that of something else.
expect_source() {
    local status
    status=$(http "${port[$1]}" GET "$(first_path "$2")" | tr -d '\r' | sed -n 's/^Cache-Status: *//Ip')
    case "$status" in
    *"detail=$3"*) ;;
    *) die "$1 should answer $2 from $3; Cache-Status: ${status:-none}" ;;
    esac
}

# cpu_ns PID: CPU time that all threads of a process have used, user and system, by the scheduler's own clock.
cpu_ns() { awk '{ns += $1} END {printf "%.0f\n", ns}' /proc/"$1"/task/*/schedstat; }

# cpu_stat: prints "TOTAL STEAL" of the machine, in ticks.
cpu_stat() { awk '/^cpu / {for (i = 2; i <= 9; i++) t += $i; print t, $9; exit}' /proc/stat; }

# conditions: what the figures depend on.
conditions() {
    local package
    echo "date       $(date -u '+%Y-%m-%d %H:%M UTC')"
    echo "kernel     $(uname -sr), $(nproc) CPUs: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort -u | head -n 1)"
    echo "compiler   $("${CC:-gcc}" --version | head -n 1)"
    printf 'libraries '
    for package in libmicrohttpd12 libmicrohttpd12t64 libhiredis0.14 libhiredis1.1.0 libuv1 libuv1t64 libssl3 libssl3t64 libc6 \
        redis-server webdis wrk valgrind; do
        dpkg-query -W -f ' ${Package} ${Version};' "$package" 2>/dev/null
    done
    echo
}
