#!/bin/bash
# demo.sh: a tour of phoenix-cached: a Redis and two daemons on free ports, what five kinds of callers do, and what they see while Redis is
# killed and brought back. Prints each command and its real answer, and fails when one is not what the tour says. All it starts and writes
# is gone at the end, also after Ctrl-C. BUILD (build): where the daemon is; REDIS_SERVER (redis-server): or valkey-server, with its valkey-cli.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${BUILD:-build}/phoenix-cached
case $program in /*) ;; *) program=$PWD/$program ;; esac
prompts=$PWD/tests/data/prompts.csv
server=${REDIS_SERVER:-redis-server}
cli=${server%-server}-cli
started=$SECONDS
bold='' dim='' red='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'; fi

# --- what was started ends ---

dir=$(mktemp -d)
cd "$dir"
pids=()
finish() {
    local status=$? pid
    trap '' INT TERM
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ $status != 0 ] && [ $status != 130 ]; then tail -n 5 ./*.log 2>/dev/null || true; fi
    cd / && rm -rf "$dir"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
fail() {
    printf '\n%sdemo: %s%s\n' "$red" "$*" "$plain" >&2
    exit 1
}
for tool in "$server" "$cli" curl; do
    command -v "$tool" >/dev/null || fail "$tool is not installed; \`make demo\` installs what is missing"
done
[ -x "$program" ] || fail "$program is not there; run \`make\` first"

free_port() { # sets `port` to one that nobody listens on and that was not given out before
    while :; do
        port=$((20000 + RANDOM % 10000))
        case " ${ports:=} " in *" $port "*) continue ;; esac
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    done
    ports="$ports $port"
}
wait_until() { # WHAT COMMAND…: within 20 s
    local what=$1 until=$((SECONDS + 20))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || fail "waited in vain until $what"
        sleep 0.05
    done
}

# --- telling and showing ---

wrap() { # WIDTH: lines are broken behind blanks and commas
    awk -v width="$1" '{
        line = ""
        while (match($0, /^[^ ,]*[ ,]*/) && RLENGTH > 0) {
            piece = substr($0, 1, RLENGTH)
            $0 = substr($0, RLENGTH + 1)
            if (line != "" && length(line piece) > width) { print line; line = "" }
            line = line piece
        }
        print line
    }'
}
chapter() {
    printf '\n%s== %s ==%s\n' "$bold" "$*" "$plain"
}
tell() {
    printf '\n%s\n' "$*" | wrap 100
}
show() { # COMMAND [WHAT ITS ANSWER HOLDS…]: prints it, runs it, prints the answer (kept in `answer`)
    local command=$1 part
    shift
    printf '%s$ %s%s\n' "$bold" "$command" "$plain"
    answer=$(eval "$command" 2>&1 | tr -d '\r') || fail "that failed: $answer"
    printf '%s' "$dim"
    printf '%s\n' "$answer" | wrap 96 | sed -e '/^ *$/d' -e 's/^/    /'
    printf '%s' "$plain"
    for part in "$@"; do
        case $answer in *"$part"*) ;; *) fail "the answer should hold: $part" ;; esac
    done
}
member() { # NAME: of the last answer
    printf '%s' "$answer" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"
}

# --- Redis, two daemons, a prompt ---

start_redis() { # every write is on disk before it is answered: killing it loses nothing
    "$server" --port "$redis_port" --bind 127.0.0.1 --dir "$dir" --save '' --appendonly yes --appendfsync always >>redis.log 2>&1 &
    redis=$!
    pids+=("$redis")
    wait_until "Redis answers" "$cli" -e -p "$redis_port" ping
}
start_daemon() { # NAME: sets `url` and `pid`
    free_port
    url=http://127.0.0.1:$port
    local listen=127.0.0.1:$port
    free_port
    PHOENIX_REDIS_URL=redis://127.0.0.1:$redis_port PHOENIX_HTTP_LISTEN=$listen PHOENIX_ADMIN_LISTEN=127.0.0.1:$port \
        PHOENIX_SPOOL_PATH=$dir/$1.db "$program" >"$1.log" 2>&1 &
    pid=$!
    pids+=("$pid")
    wait_until "daemon $1 is ready with Redis" is "$url" '"circuit":"closed"'
}
is() { # URL PART: what /readyz holds
    curl -s "$1/readyz" | grep -q -- "$2"
}

free_port
redis_port=$port
start_redis
start_daemon A
A=$url a=$pid
start_daemon B
B=$url b=$pid
# A prompt as people write them, and the body that stores an answer to it.
grep '^Travel Guide,' "$prompts" | sed -e 's/^Travel Guide,"//' -e 's/"$//' -e 's/""/"/g' | tr -d '\n' >prompt.txt
input=$(sed 's/"/\\"/g' prompt.txt)
printf '{"input": "%s", "response": "Start with the Istanbul Modern, a short walk down the hill.", "metadata": {"model": "sonnet", "tokens": 412, "provider": "anthropic"}}' "$input" >answer.json

chapter "phoenix-cached in a minute"
tell "Orchestrators of LLM agents run beside each other, each with a daemon of its own on localhost. Here are two of these daemons, A and B, and one Redis that they share."
printf '\n    Redis     127.0.0.1:%s  (process %s)\n    daemon A  %s  (process %s)\n    daemon B  %s  (process %s)\n' "$redis_port" "$redis" "$A" "$a" "$B" "$b"

chapter "1. Cache: an answer is paid for once"
tell "A prompt, and what a model answered:"
show "cat answer.json" 'travel guide'
tell "One instance stores it through A; another one asks B for the same prompt. The first time B asks Redis, after that its own memory."
show "curl -s \$A/cache -d @answer.json" '"key":"'
lookup="curl -si \$B/cache/lookup -H 'Content-Type: text/plain' --data-binary @prompt.txt"
show "$lookup | grep -E '^(HTTP|Cache-Status|\{)'" '200 OK' 'detail=redis' 'Istanbul Modern'
show "$lookup | grep Cache-Status" 'detail=near'

chapter "2. Session: what an agent knows, wherever it goes on"
show "curl -s \$A/session -d '{\"correlation_id\": \"trip-istanbul\", \"plan_id\": \"museums\", \"data\": {\"step\": 1}}'" '"state":"Active"'
show "curl -s -X PATCH \$B/session/trip-istanbul -d '{\"data\": {\"step\": 2}}'" '"step": 2' '"plan_id":"museums"'

chapter "3. Queue: work is done by whoever is free, and not lost with him"
show "curl -s \$A/tasks -d '{\"task_id\": \"book-tickets\", \"agent\": \"booker\", \"payload\": {\"museum\": \"Istanbul Modern\"}}'" '"task_id":"book-tickets"'
show "curl -s \$B/tasks/dequeue -d '{\"agent\": \"booker\", \"lease\": 30}'" '"receipt":"' '"attempt":1'
# shellcheck disable=SC2034 # in a shown command
receipt=$(member receipt)
tell "The receipt is the lease: only its holder can finish the task. If he dies, it comes back after 30 s."
show "curl -si \$B/tasks/book-tickets/ack -d \"{\\\"receipt\\\": \\\"\$receipt\\\"}\" | grep HTTP" '204'

chapter "4. Lock: one at a time, across all instances"
show "curl -s \$A/locks/calendar -d '{\"ttl\": 60, \"owner\": \"planner-1\"}'" '"fence":'
# shellcheck disable=SC2034 # in a shown command
token=$(member token)
show "curl -s \$B/locks/calendar -d '{\"ttl\": 60, \"owner\": \"planner-2\"}'" '"lock_not_acquired"'
show "curl -si -X DELETE \$A/locks/calendar -H \"Phoenix-Lock-Token: \$token\" | grep HTTP" '204'

chapter "5. Health: five failures, and nobody calls that agent for a while"
show "for i in 1 2 3 4 5; do curl -s \$A/health/booker/failure -d '{}' -o /dev/null; done; curl -s -X POST \$B/health/booker/permit" '"allowed":false' '"circuit":"Open"'

chapter "6. Redis dies"
tell "kill -9 $redis, in the middle of the work. Within moments the circuit opens; the daemons stay ready."
kill -9 "$redis"
wait "$redis" 2>/dev/null || true
away() { # a request or two tell the daemon
    curl -s -o /dev/null "$1/session/trip-istanbul?touch=false"
    is "$1" '"status":"degraded"'
}
wait_until "A has noticed" away "$A"
wait_until "B has noticed" away "$B"
show "curl -s \$A/readyz" '"status":"degraded"' '"circuit":"open"'
tell "The cache answers from memory, and says that Redis could not be asked (stale):"
show "$lookup | grep -E '^(HTTP|Cache-Status|\{)'" '200 OK' 'detail=stale' 'Istanbul Modern'
tell "Sessions and tasks are taken, and kept on disk until Redis can have them (Phoenix-Backend: local, 202):"
show "curl -si -X PATCH \$A/session/trip-istanbul -d '{\"data\": {\"step\": 3}}' | grep -E '^(HTTP|Phoenix|\{)'" '200 OK' 'Phoenix-Backend: local' '"step": 3'
show "curl -si \$A/tasks -d '{\"task_id\": \"call-hotel\", \"agent\": \"booker\", \"payload\": {\"nights\": 2}}' | grep -E '^(HTTP|\{)'" '202' 'call-hotel'
tell "A lock cannot be granted by one daemon alone, so it says so, at once:"
show "curl -si \$A/locks/calendar -d '{\"ttl\": 60}' | grep -E '^(HTTP|Retry|\{)'" '503' 'Retry-After: 1' '"redis_unavailable"'

chapter "7. Redis comes back"
tell "The same Redis again. Its daemons find it by themselves, and hand back what it missed."
start_redis
handed_back() {
    is "$A" '"status":"ready"' && is "$A" '"journal":0' && curl -s "$A/metrics" | grep -qx 'phoenix_tasks_spooled 0'
}
wait_until "A has handed everything back" handed_back
wait_until "B is back" is "$B" '"status":"ready"'
show "curl -s \$A/readyz" '"status":"ready"' '"journal":0'
tell "B, who saw none of it, has what was written through A meanwhile:"
show "curl -s \$B/session/trip-istanbul" '"step": 3'
show "curl -s \$B/tasks/dequeue -d '{\"agent\": \"booker\", \"wait\": 5}'" '"task_id":"call-hotel"'
tell "What A had to say about all this. The conflict: it had not seen step 2 yet, so Redis's session was not what its step 3 began from."
show "grep -E 'circuit changed|handed back' A.log | sed -e 's/^ts=[^T]*T//' -e 's/ redis=[^ ]*//'" 'to=open' 'to=closed' 'handed back'

chapter "That was all of it, in $((SECONDS - started)) s"
tell "\`make run\` starts one without Redis to play with: the API on http://127.0.0.1:8379, a page for people on http://127.0.0.1:8380/."
