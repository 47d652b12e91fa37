#!/bin/bash
# kubernetes_play.sh: the pods of kubernetes/overlays/standalone run by podman, as far as it goes (tests/kubernetes/play.mjs says how far), in a
# network of their own. Needs root, podman, the images phoenix-cached (make image) and $ORCHESTRATOR_IMAGE (any with bash and sleep;
# debian:trixie-slim), and what tests/kubernetes.sh left behind. Redis's image is made from this machine's redis-server.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/container.sh
work=$PWD/${BUILD:-build}/kubernetes
orchestrator_image=${ORCHESTRATOR_IMAGE:-localhost/debian:trixie-slim}

if [ "${1:-}" != inside ]; then
    [ -e "$work/standalone.yaml" ] || { echo "run tests/kubernetes.sh first"; exit 1; }
    exec unshare --net -- "$0" inside
fi
ip link set lo up

fail() {
    echo "FAILED  $*"
    exit 1
}
pods=(redis-cache redis-state orchestrator)
finish() {
    local status=$?
    if [ $status != 0 ]; then
        for container in redis-cache-redis redis-state-redis orchestrator-phoenix-cached; do
            podman logs --tail 5 "$container" 2>&1 | sed "s/^/$container: /" || true
        done
    fi
    podman pod rm --force --ignore --time 2 "${pods[@]}" >/dev/null 2>&1 || true
    podman volume rm --force redis-{cache,state}-{data,config,secrets} orchestrator-{spool,tmp,secrets} >/dev/null 2>&1 || true
    exit $status
}
trap finish EXIT
podman pod rm --force --ignore --time 2 "${pods[@]}" >/dev/null
wait_until() { # WHAT COMMAND…: within 20 s
    local what=$1 until=$((SECONDS + 20))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || fail "waited in vain until $what"
        sleep 0.1
    done
}

# --- images ---

redis_image() { # redis-server and redis-cli with their libraries, nothing else
    local root=$work/redis-root file
    rm -rf "$root"
    mkdir -p "$root"
    install -d -o 999 -g 999 "$root/data" # podman knows no fsGroup: as in the real image
    for file in /usr/bin/redis-server /usr/bin/redis-cli $(ldd /usr/bin/redis-server /usr/bin/redis-cli | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
        mkdir -p "$root$(dirname "$file")"
        cp --dereference "$file" "$root$file"
    done
    tar --numeric-owner -C "$root" -c . | podman import --quiet --change 'ENV PATH=/usr/bin' - "$1" >/dev/null
}
redis=$(sed -n 's/^ *image: \(redis:.*\)/\1/p' "$work/standalone.yaml" | head -n 1)
redis_image "localhost/$redis"
podman tag "$orchestrator_image" localhost/orchestrator:latest
mkdir -p "$work/play"
cp tests/kubernetes/play.mjs "$work/" # beside the modules it needs
node "$work/play.mjs" "$work/standalone.yaml" "$work/play"

# --- Redis ---

export REDISCLI_AUTH=example-admin-password # of kubernetes/components/example-secrets
play() {
    podman kube play --quiet "$work/play/$1.yaml" >"$work/play.log" 2>&1 || fail "podman kube play $1: $(cat "$work/play.log")"
}
play redis-cache
play redis-state
wait_until "the cache's Redis answers" redis-cli -e -p 6379 ping
wait_until "the state's Redis answers" redis-cli -e -p 6380 ping
setting() { # PORT NAME
    redis-cli -p "$1" config get "$2" | tail -n 1
}
[ "$(setting 6379 maxmemory-policy) $(setting 6379 maxmemory)" = "allkeys-lru $((6 << 30))" ] || fail "the cache's Redis has another configuration"
[ "$(setting 6380 maxmemory-policy) $(setting 6380 maxmemory)" = "noeviction $((1536 << 20))" ] || fail "the state's Redis has another configuration"
[ "$(env -u REDISCLI_AUTH redis-cli -p 6379 ping)" != PONG ] || fail "Redis asks for no password"
echo "ok      both Redises run from their configurations, with the pods' memory and password"

# --- the sidecar ---

play orchestrator
wait_until "the sidecar is ready" curl -fsS http://127.0.0.1:8380/readyz
curl -fsS http://127.0.0.1:8380/livez >/dev/null
api=http://127.0.0.1:8379
status() { # CURL-ARGUMENT…
    curl --silent --output /dev/null --write-out '%{http_code}' "$@"
}
token=(--header 'Authorization: Bearer example-token')
[ "$(status "$api/cache/k")" = 401 ] || fail "the API asks for no token"
[ "$(status "${token[@]}" --request PUT --data '{"response": 1}' "$api/cache/k")" = 201 ] || fail "a write is refused"
redis-cli -p 6379 exists phoenix:cache:k | grep -qx 1 || fail "the write is not in the cache's Redis"
[ "$(status "${token[@]}" --request PUT --data '{}' "$api/session/s")" = 201 ] || fail "a session is refused"
echo "ok      the sidecar is ready, asks for the token, and reaches Redis with the password from its file"

sidecar=orchestrator-phoenix-cached
pid=$(podman inspect --format '{{.State.Pid}}' $sidecar)
grep -q '^Uid:	10001	' "/proc/$pid/status" || fail "the sidecar runs as another user"
grep -q '^CapEff:	0*$' "/proc/$pid/status" || fail "the sidecar has capabilities"
grep -q '^CapBnd:	0*$' "/proc/$pid/status" || fail "the sidecar could have capabilities"
grep -q '^NoNewPrivs:	1$' "/proc/$pid/status" || fail "the sidecar could gain privileges"
grep -q '^Seccomp:	2$' "/proc/$pid/status" || fail "the sidecar has no seccomp filter"
awk '$5 == "/" {print $6}' "/proc/$pid/mountinfo" | tail -n 1 | grep -qE '^ro(,|$)' || fail "the root file system can be written"
[ "$(podman inspect --format '{{.HostConfig.Memory}}' $sidecar)" = $((256 << 20)) ] || fail "the sidecar has another memory limit"
echo "ok      it runs as 10001, read-only, without capabilities or new privileges, with seccomp and 256 MiB"

# The script is the container's.
# shellcheck disable=SC2016
podman exec orchestrator-orchestrator bash -c '
    exec 3<>/dev/tcp/127.0.0.1/8379
    printf "GET /cache/k HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n" "$(cat "$PHOENIX_TOKEN_FILE")" >&3
    grep -q "^HTTP/1.1 200" <&3' || fail "the orchestrator does not reach its sidecar with the token from its file"
podman stop --time 1 orchestrator-orchestrator >/dev/null
[ "$(status "${token[@]}" "$api/cache/k")" = 200 ] || fail "the sidecar does not outlive the orchestrator"
begin=$SECONDS
podman stop --time 20 $sidecar >/dev/null
[ $((SECONDS - begin)) -le 4 ] || fail "the sidecar took $((SECONDS - begin)) s to end"
[ "$(podman inspect --format '{{.State.ExitCode}}' $sidecar)" = 0 ] || fail "the sidecar ended with $(podman inspect --format '{{.State.ExitCode}}' $sidecar)"
echo "ok      the orchestrator reaches it; it outlives the orchestrator, and ends with 0 when told"
