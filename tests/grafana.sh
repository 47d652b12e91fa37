#!/bin/bash
# grafana.sh HOST:PORT: what can be said of the dashboard without a Grafana: its panels are whole, no two overlap, each expression is one that the
# Prometheus at HOST:PORT takes, and each metric named there or in the rules exists.
set -euo pipefail
cd "$(dirname "$0")/.."
board=config/grafana/phoenix-cached.json
prometheus=$1

fail() {
    echo "FAILED  $*"
    exit 1
}

jq -e '[.panels[].id] | length == (unique | length)' "$board" >/dev/null || fail "two panels share an id"
# Each stands within the 24 columns and overlaps none.
jq -e '[.panels[].gridPos] as $at | all($at[]; .x >= 0 and .x + .w <= 24) and
    ([range($at | length) as $i | range($i + 1; $at | length) as $j | [$at[$i], $at[$j]] |
      select(.[0].x < .[1].x + .[1].w and .[1].x < .[0].x + .[0].w and .[0].y < .[1].y + .[1].h and .[1].y < .[0].y + .[0].h)] | length == 0)' \
    "$board" >/dev/null || fail "panels overlap"
jq -e 'all(.panels[] | select(.type != "row"); (.title | length > 0) and .datasource.uid == "${datasource}" and (.targets | length > 0) and
    all(.targets[]; .datasource.uid == "${datasource}" and (.expr | length > 0)) and ([.targets[].refId] | length == (unique | length)))' \
    "$board" >/dev/null || fail "a panel lacks a title, the data source's variable or an expression"
jq -e '[.templating.list[].name] == ["datasource", "job", "instance"]' "$board" >/dev/null || fail "the variables"

expressions() { # with the variables as Grafana would fill them in
    jq -r '(.panels[] | select(.type != "row") | .targets[].expr), (.annotations.list[].expr | values) |
        gsub("[$]__rate_interval"; "1m") | gsub("[$](job|instance)"; ".*")' "$board"
}
count=0
while IFS= read -r expression; do
    answer=$(curl -sS --get "$prometheus/api/v1/query" --data-urlencode "query=$expression")
    [ "$(jq -r .status <<<"$answer")" = success ] || fail "$expression: $(jq -r .error <<<"$answer")"
    count=$((count + 1))
done < <(expressions)

known() {
    sed -n 's/^[A-Z]*([A-Z_0-9]*, "\([a-z_]*\)".*/\1/p' include/metrics/metrics.def
}
unknown=$({ expressions; grep -E '^ *(expr:|[(>])' config/prometheus/phoenix-cached.rules.yml; } | grep -oE '\b(phoenix|redis)_[a-z_]+' |
    sed -E 's/_bucket$//; /^phoenix_cache_hits$/d' | sort -u | grep -vxF "$(known)" || true)
[ -z "$unknown" ] || fail "no such metric: ${unknown//$'\n'/, }"
echo "ok      $count expressions of the dashboard; all metrics named there and in the rules exist"
