#!/bin/bash
# prometheus.sh: what Prometheus itself says of /metrics, the rules and the dashboard. Starts a redis-server, the daemon and a Prometheus that
# scrapes it, in a directory and a network of their own, and ends them by their process ids. Needs the Debian packages prometheus,
# redis-server, curl, jq and iproute2.
set -euo pipefail
cd "$(dirname "$0")/.."
# A network of its own, so that the ports are free.
if [ "${1:-}" != inside ]; then
    if [ "$(id -u)" = 0 ]; then exec unshare --net -- "$0" inside; else exec unshare --user --map-root-user --net -- "$0" inside; fi
fi
ip link set lo up
build=${BUILD:-build}
keys=${PROMETHEUS_KEYS:-20000}
config=config/prometheus
dir=$(mktemp -d)
pids=()
finish() {
    local status=$?
    if [ ${#pids[@]} -gt 0 ]; then
        kill "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
    if [ $status != 0 ]; then tail -n 20 "$dir"/*.log 2>/dev/null || true; fi
    rm -rf "$dir"
    exit $status
}
trap finish EXIT

fail() {
    echo "FAILED  $*"
    exit 1
}
passed() {
    echo "ok      $*"
}
wait_until() { # WHAT COMMAND…: within 30 s
    local what=$1 until=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || fail "waited in vain until $what"
        sleep 0.1
    done
}

# --- the files ---

promtool check config "$config/prometheus.yml" >"$dir/out" 2>&1 || fail "the scrape example and the rules: $(cat "$dir/out")"
promtool test rules "$config/tests.yml" >"$dir/out" 2>&1 || fail "the rules: $(cat "$dir/out")"
mapfile -t alerts < <(sed -n 's/^ *- alert: //p' "$config/phoenix-cached.rules.yml")
for alert in "${alerts[@]}"; do
    grep -q "alertname=\"$alert\"" "$config/tests.yml" || fail "$alert has no test that it fires"
    grep -qx "### $alert" docs/*.md || fail "$alert has no section in the runbook"
    grep -qx " *runbook_url: docs/OPERATIONS.md#${alert,,}" "$config/phoenix-cached.rules.yml" || fail "$alert has no runbook_url of its own"
done
passed "${#alerts[@]} alerts fire, clear and have a runbook"

# --- daemon and Redis ---

redis=6379 api=8379 admin=8380 prometheus=9090
redis-server --port "$redis" --bind 127.0.0.1 --dir "$dir" --save '' --maxmemory 256mb >"$dir/redis.log" 2>&1 &
pids+=($!)
wait_until "Redis answers" redis-cli -e -p "$redis" ping
PHOENIX_REDIS_URL=redis://127.0.0.1:$redis PHOENIX_HTTP_LISTEN=127.0.0.1:$api PHOENIX_ADMIN_LISTEN=127.0.0.1:$admin PHOENIX_SPOOL_PATH=$dir/spool.db \
    "$build/phoenix-cached" >"$dir/daemon.log" 2>&1 &
pids+=($!)
wait_until "the daemon is ready" curl -fsS "127.0.0.1:$admin/readyz"

requests() { # FIRST LAST: a response and a session under each number, each read again
    local base=http://127.0.0.1:$api quiet=(--silent --show-error --fail --output /dev/null)
    curl "${quiet[@]}" --request PUT --data '{"response": "yes"}' "$base/cache/key-[$1-$2]"
    curl "${quiet[@]}" "$base/cache/key-[$1-$2]"
    curl "${quiet[@]}" --request PUT --data '{}' "$base/session/id-[$1-$2]"
    curl "${quiet[@]}" "$base/session/id-[$1-$2]"
}
metrics() {
    curl -fsS "127.0.0.1:$admin/metrics"
}
node="{redis=\"all\",node=\"127.0.0.1:$redis\"}"
sample() { # METRIC: its value for the one node
    metrics | awk -v series="$1$node" '$1 == series {print $2}'
}
has_info() {
    [ "$(sample redis_memory_used_bytes)" -gt 0 ] && [ "$(sample phoenix_redis_memory_max_bytes)" = 268435456 ]
}

requests 1 10
curl -sS -o /dev/null "127.0.0.1:$api/cache/absent" # so that what a miss counts has its series too
wait_until "INFO has come" has_info
five='^(redis_memory_used_bytes|redis_connected_clients|redis_total_commands_processed|redis_keyspace_hits|redis_keyspace_misses) '
metrics >"$dir/metrics"
# It lints with exit code 3; anything but these names is a fault.
promtool check metrics <"$dir/metrics" >"$dir/out" 2>&1 || [ $? = 3 ] || fail "promtool check metrics: $(cat "$dir/out")"
! grep -vE "$five" "$dir/out" || fail "promtool check metrics complains of more than the five fixed names"
passed "promtool check metrics: nothing but the five fixed names"

series() {
    metrics | grep -cv '^#'
}
before=$(series)
requests 11 "$keys"
written=$(redis-cli -p "$redis" dbsize)
after=$(series)
[ "$written" -ge $((2 * keys)) ] || fail "$keys keys and sessions were to be written, Redis has $written"
[ "$before" = "$after" ] || fail "$before series became $after with $keys distinct keys"
passed "$after series before and after $keys distinct keys and as many sessions"

# --- a real Prometheus ---

sed -e 's/15s/1s/' -e 's|phoenix-cached.rules.yml|'"$PWD/$config"'/&|' "$config/prometheus.yml" >"$dir/prometheus.yml"
prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/tsdb" --web.listen-address="127.0.0.1:$prometheus" >"$dir/prometheus.log" 2>&1 &
pids+=($!)
query() { # EXPRESSION: the values of what it yields
    curl -fsS --get "127.0.0.1:$prometheus/api/v1/query" --data-urlencode "query=$1" | jq -r '.data.result[].value[1]'
}
yields() {
    [ "$(query "$1")" = "$2" ]
}
wait_until "Prometheus has scraped" yields 'up{job="phoenix-cached"}' 1
wait_until "it has the count of writes" yields 'phoenix_cache_writes_total{backend="redis"}' "$keys"
passed "Prometheus scrapes the daemon: up, and $keys writes counted"
wait_until "the rules were evaluated" yields 'count(ALERTS{alertname="PhoenixCircuitOpen"}) or vector(0)' 0
faulty=$(curl -fsS "127.0.0.1:$prometheus/api/v1/rules" | jq -r '.data.groups[].rules[] | select(.health == "err") | .name')
[ -z "$faulty" ] || fail "rules that Prometheus cannot evaluate: $faulty"
kill "${pids[0]}" # Redis
wait_until "an outage reaches the alert" yields 'ALERTS{alertname="PhoenixCircuitOpen", alertstate="pending"}' 1
passed "killing Redis makes PhoenixCircuitOpen pending"

# --- the dashboard ---

tests/grafana.sh "127.0.0.1:$prometheus"
