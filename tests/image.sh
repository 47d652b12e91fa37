#!/bin/bash
# image.sh: the container image itself, run as a careful operator would: its own user, a read-only root, no capability,
# 64 MiB of memory of which the table takes 24 and is filled. Prints a line per fact; fails with the first that does not
# hold. Started by `make image-test`; needs docker or podman, curl, and root where podman does.
set -eu
cd "$(dirname "$0")/.."
. tools/container.sh
[ -n "$engine" ] || { echo "image.sh: neither docker nor podman is here" >&2; exit 1; }

name=phoenix-image-test-$$
volume=$name
scratch=$(mktemp -d)
cleanup() {
    local code=$?
    if [ $code != 0 ]; then "$engine" logs "$name" 2>&1 | tail -20 >&2 || true; fi
    "$engine" rm -f -v "$name" >/dev/null 2>&1 || true
    "$engine" volume rm "$volume" >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap cleanup EXIT

fact() { echo "ok      $1"; }
fail() { echo "FAILED  $1" >&2; exit 1; }
show() { "$engine" inspect --format "$1" "$name"; }
of_image() { "$engine" image inspect --format "$1" "$image"; }
wait_for() { # WHAT COMMAND…
    local what=$1 until=$((SECONDS + 15))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || fail "waited for: $what"
        sleep 0.1
    done
}
free_port() { # nobody listens there now; should somebody before the container does, the test says so
    local port
    while port=$((20000 + RANDOM % 10000)) && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

port=$(free_port) admin=$(free_port)
api=http://127.0.0.1:$port
limits=(--network host --read-only --cap-drop ALL --security-opt no-new-privileges --memory 64m --memory-swap 64m)
start() { # MORE…
    "$engine" run -d --name "$name" "${limits[@]}" -e "PHOENIX_HTTP_LISTEN=127.0.0.1:$port" \
        -e "PHOENIX_ADMIN_LISTEN=0.0.0.0:$admin" -e PHOENIX_LOCAL_BYTES_MAX=24MiB "$@" "$image" >/dev/null
    wait_for "readyz" "$engine" exec "$name" /usr/bin/phoenix-cached --probe
}
metric() { curl -sS "http://127.0.0.1:$admin/metrics" | awk -v name="$1" '$1 == name {print int($2)}'; }

# --- what the image says of itself ---

size=$(of_image '{{.Size}}')
[ "$size" -lt 100000000 ] || fail "the image has $size bytes"
fact "size: $(awk -v n="$size" 'BEGIN {printf "%.1f", n / 1e6}') MB"
user=$(of_image '{{.Config.User}}')
[[ $user =~ ^[1-9][0-9]*(:[1-9][0-9]*)?$ ]] || fail "user $user is not a number above 0"
fact "user: $user, by number"
check=$(of_image '{{json .Config.Healthcheck.Test}}')
[ "$check" = '["CMD","/usr/bin/phoenix-cached","--probe"]' ] || fail "health check: $check"
entry=$(of_image '{{json .Config.Entrypoint}}')
[ "$entry" = '["/usr/bin/phoenix-cached"]' ] || fail "entry point: $entry"
fact "no shell in entry point and health check"
[ -n "$(of_image '{{index .Config.Labels "org.opencontainers.image.version"}}')" ] || fail "no version label"
built=$("$engine" run --rm "${limits[@]}" "$image" --version)
[[ $built == phoenix-cached\ * ]] || fail "--version: $built"
[[ $built == *hiredis_ssl* ]] || fail "no TLS to Redis: $built"
fact "labels; arguments reach the daemon, which speaks TLS to Redis"

# --- running, the spool in a volume ---

start -v "$volume:/var/lib/phoenix-cached"
pid=$(show '{{.State.Pid}}')
status=/proc/$pid/status
[ "$(awk '$1 == "Uid:" {print $2, $3}' "$status")" = "${user%%:*} ${user%%:*}" ] || fail "runs as $(grep Uid: "$status")"
[ "$(awk '$1 == "CapEff:" || $1 == "CapPrm:" {print $2}' "$status" | sort -u)" = 0000000000000000 ] || fail "capabilities"
[ "$(awk '$1 == "NoNewPrivs:" {print $2}' "$status")" = 1 ] || fail "privileges may grow"
[ "$(show '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Memory}}')" = "true 67108864" ] || fail "not limited"
fact "runs non-root, without capabilities, on a read-only root, within 64 MiB"
healthy() { if [ "$engine" = podman ]; then podman healthcheck run "$name"; else [ "$(show '{{.State.Health.Status}}')" = healthy ]; fi; }
wait_for "the health check" healthy
fact "health check passes"

[ "$(curl -sS -o /dev/null -w '%{http_code}' "$api/cache" -d '{"input": "Why?", "response": "Because."}')" = 201 ] || fail "POST /cache"
curl -sS "$api/cache?input=Why%3F" | grep -q '"response":"Because."' || fail "GET /cache"
curl -sS "$api/session" -d '{"correlation_id": "kept", "data": {"step": 7}}' | grep -q '"state":"Active"' || fail "POST /session"
fact "cache and embedded sessions work"

# A third more than fits, from files of 64 KiB, over one connection.
body=$(head -c 49152 /dev/urandom | base64 -w0)
: >"$scratch/urls"
for i in $(seq 600); do
    printf '{"input": "question %d", "response": "%s"}' "$i" "$body" >"$scratch/$i"
    printf 'url = "%s/cache"\ndata-binary = "@%s"\noutput = "/dev/null"\nwrite-out = "%%{http_code}\\n"\nnext\n' \
        "$api" "$scratch/$i" >>"$scratch/urls"
done
sed -i '$d' "$scratch/urls"
[ "$(curl -sS -K "$scratch/urls" | sort | uniq -c | awk '{print $1, $2}')" = "600 201" ] || fail "filling the table"
bytes=$(metric phoenix_lru_bytes)
if [ "$bytes" -lt $((24 * 1048576 * 9 / 10)) ] || [ "$bytes" -gt $((24 * 1048576)) ]; then fail "the table has $bytes bytes"; fi
[ "$(show '{{.State.Running}} {{.State.OOMKilled}}')" = "true false" ] || fail "ended: $(show '{{json .State}}')"
[ "$(curl -sS -o /dev/null -w '%{http_code}' "$api/cache?input=question%20600")" = 200 ] || fail "the newest entry"
peak=$(awk '$1 == "VmHWM:" {print $2}' "$status")
fact "a full table of 24 MiB: at most $((peak / 1024)) MiB resident"

# --- stop, and start again ---

from=$(date +%s%N)
"$engine" stop -t 10 "$name" >/dev/null
took=$((($(date +%s%N) - from) / 1000000))
[ "$took" -lt 2000 ] || fail "stopped in $took ms"
[ "$(show '{{.State.ExitCode}}')" = 0 ] || fail "ended with $(show '{{.State.ExitCode}}')"
fact "stops in $took ms, with 0"
"$engine" rm -f "$name" >/dev/null
start -v "$volume:/var/lib/phoenix-cached"
curl -sS "$api/session/kept" | grep -q '"step": 7' || fail "the session is lost"
fact "state in a volume outlives the container"
"$engine" rm -f -v "$name" >/dev/null
start --tmpfs /var/lib/phoenix-cached
curl -sS "$api/session" -d '{"correlation_id": "brief"}' | grep -q '"state":"Active"' || fail "POST /session on a tmpfs"
fact "a tmpfs does too"
