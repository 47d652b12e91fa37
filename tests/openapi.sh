#!/bin/bash
# openapi.sh [SCENARIO,…]: docs/openapi.yaml linted, and held against live daemons in every state that it names. Needs redis-server, node,
# npm, and on its first run the net, for the npm packages. SCENARIO: only these (tests/openapi/scenarios.mjs); then much is not shown.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "${BUILD:-build}")
work=$build/openapi
mkdir -p "$work"
export REDOCLY_TELEMETRY=off NO_UPDATE_NOTIFIER=1

fail() {
    echo "FAILED  $*"
    exit 1
}
for tool in redis-server redis-cli node npm; do
    command -v "$tool" >/dev/null || fail "$tool is not installed"
done

cp tests/openapi/* "$work/"
if ! cmp -s tests/openapi/package.json "$work/node_modules/installed.json"; then
    (cd "$work" && npm install --ignore-scripts --no-audit --no-fund --silent) || fail "npm install"
    cp tests/openapi/package.json "$work/node_modules/installed.json"
fi

tools/openapi.py docs/openapi.yaml | cmp - docs/openapi.json || fail "docs/openapi.json is out of date: make docs"
node "$work/same.mjs" docs/openapi.yaml docs/openapi.json || fail "YAML 1.2 reads docs/openapi.yaml otherwise than tools/openapi.py"
echo "ok      docs/openapi.json is docs/openapi.yaml"
"$work/node_modules/.bin/redocly" lint --config "$work/redocly.yaml" --max-problems 1000 docs/openapi.yaml >"$work/lint.log" 2>&1 || { cat "$work/lint.log"; fail "lint"; }
grep -q 'You have [0-9]* warning' "$work/lint.log" && { cat "$work/lint.log"; fail "lint: a warning"; }
echo "ok      lint"

node "$work/contract_test.mjs" docs/openapi.json || fail "the judge lets something pass"
echo "ok      the judge"

# One directory for each run, so that runs do not meet.
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
node "$work/run.mjs" docs/openapi.json "$build" "$runs" "$@"
