#!/bin/bash
# kubernetes_redis.sh: the scripts that start Redis in kubernetes/redis/state-sentinel and state-cluster, run as their pods would, with real servers, and
# the daemon before them with the overlays' options: a pod is a directory and an address of the loopback, under its pod's names in an /etc/hosts of the
# test's own. Needs root (namespaces), redis-server and curl.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" != inside ]; then exec unshare --net --mount --pid --fork --kill-child --mount-proc -- "$0" inside; fi
ip link set lo up
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT # the servers go with their process namespace
export DOMAIN=redis-state.phoenix.svc.cluster.local
export REDISCLI_AUTH=example-admin-password

fail() {
    echo "FAILED  $*"
    tail -n 5 "$dir"/*/log
    exit 1
}
wait_until() { # WHAT COMMAND…: within 40 s
    local what=$1 until=$((SECONDS + 40))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || fail "waited in vain until $what"
        sleep 0.1
    done
}
name() {
    echo "redis-state-$1.$DOMAIN"
}
net=127.0.0
address() {
    echo "$net.1$1"
}
write_hosts() {
    local n
    for n in 0 1 2 3 4 5; do echo "$(address $n) $(name $n) redis-state-$n.redis-state"; done >"$dir/hosts"
    echo "127.0.0.1 localhost redis-cache" >>"$dir/hosts"
}
for n in 0 1 2 3 4 5; do mkdir -p "$dir/$n/data" "$dir/$n/sentinel"; done
write_hosts
mount --bind "$dir/hosts" /etc/hosts
mkdir "$dir/secrets"
printf '%s' "$REDISCLI_AUTH" >"$dir/secrets/password"
echo example-password >"$dir/secrets/redis-password"
cp kubernetes/components/example-secrets/{auth.conf,users.acl} "$dir/secrets/"
at() { # POD COMMAND…: what its Redis says
    redis-cli -e -h "$(address "$1")" "${@:2}"
}

# --- the daemon ---

redis-server config/redis/cache.conf --aclfile "$dir/secrets/users.acl" --dir "$dir" --maxmemory 64mb --bind 127.0.0.1 >"$dir/cache.log" 2>&1 &
daemon=""
start_daemon() { # OVERLAY
    local url
    url=$(sed -n 's/.*PHOENIX_REDIS_STATE_URL=//p' "kubernetes/overlays/$1/kustomization.yaml")
    mkdir -p "$dir/$1"
    env -i PHOENIX_REDIS_URL="$(sed -n 's/.*PHOENIX_REDIS_URL=//p' kubernetes/base/kustomization.yaml)" PHOENIX_REDIS_STATE_URL="$url" \
        PHOENIX_REDIS_PASSWORD_FILE="$dir/secrets/redis-password" PHOENIX_SPOOL_PATH="$dir/$1/spool.db" \
        "${BUILD:-build}/phoenix-cached" >>"$dir/$1/log" 2>&1 &
    daemon=$!
    wait_until "the daemon has both Redises" all_there
}
all_there() {
    curl -fsS http://127.0.0.1:8380/readyz | grep -q '"status": *"ready"'
}
stop_daemon() { # OVERLAY
    kill "$daemon"
    wait "$daemon" || fail "the daemon ended with $?"
    ! grep 'does not permit' "$dir/$1/log" || fail "the daemon's user may do too little"
}
put_session() { # ID DATA: acknowledged by Redis, not by the spool
    curl -fsS -D - -o /dev/null -X PUT --data "{\"data\": $2}" "http://127.0.0.1:8379/session/$1" | tr -d '\r' | grep -qix 'phoenix-backend: redis'
}

# --- Sentinel ---

redis=() sentinel=()
start_redis() { # POD
    redis-server "$dir/$1/data/redis.conf" --maxmemory 64mb --bind "$(address "$1")" >>"$dir/$1/log" 2>&1 &
    redis[$1]=$!
}
start() { # POD: what its containers do
    POD_NAME=redis-state-$1 REPLICAS=3 DATA=$dir/$1/data SENTINEL=$dir/$1/sentinel CONFIG=$PWD/config/redis SECRETS=$dir/secrets \
        sh kubernetes/redis/state-sentinel/configure.sh >>"$dir/$1/log"
    start_redis "$1"
    redis-server "$dir/$1/sentinel/sentinel.conf" --sentinel --bind "$(address "$1")" >>"$dir/$1/log" 2>&1 &
    sentinel[$1]=$!
    wait_until "pod $1 answers" at "$1" ping
}
stop() { # POD, like a node that is lost
    kill -9 "${redis[$1]}" "${sentinel[$1]}"
    wait "${redis[$1]}" "${sentinel[$1]}" 2>/dev/null || true
}
is_master() {
    [ "$(at "$1" role | head -n 1)" = master ]
}
replicates() { # POD MASTER: in step with it
    at "$1" info replication | tr -d '\r' | grep -qx "master_host:$(name "$2")" && at "$1" info replication | grep -q master_link_status:up
}
ask() { # POD COMMAND…: what its Sentinel says
    env -u REDISCLI_AUTH redis-cli -e -h "$(address "$1")" -p 26379 sentinel "${@:2}"
}
# Who is master, and who there is to follow it: a replica that no Sentinel has heard of (they ask every 10 s) is left behind.
sentinels_agree() { # MASTER
    local n
    for n in 0 1 2; do
        [ "$(ask $n get-master-addr-by-name state | head -n 1)" = "$(name "$1")" ] || return 1
        [ "$(ask $n master state | sed -n '/^num-slaves$/{n;p}')" = 2 ] || return 1
        ask $n ckquorum state >/dev/null || return 1
    done
}
for n in 0 1 2; do start $n; done
is_master 0 || fail "the first pod is no master at the first start"
for n in 1 2; do wait_until "pod $n replicates the first" replicates $n 0; done
wait_until "the Sentinels agree" sentinels_agree 0
at 0 set kept 1 >/dev/null
wait_until "the replicas have it" [ "$(at 0 wait 2 5000)" = 2 ]
echo "ok      Sentinel: the first pod is the master, the others follow"
start_daemon sentinel
wait_until "a session is in Redis" put_session before '{"step": 1}'
at 0 exists phoenix:session:before | grep -qx 1 || fail "the session is not in the master"
echo "ok      Sentinel: the daemon finds the master"

stop 0
promoted() {
    is_master 1 || is_master 2
}
wait_until "another pod is promoted" promoted
master=1 other=2
if is_master 2; then master=2 other=1; fi
wait_until "the other follows it" replicates $other $master
wait_until "the daemon writes to the new master" put_session after '{"step": 2}'
at $master exists phoenix:session:before phoenix:session:after | grep -qx 2 || fail "the sessions are not in the new master"
start 0
wait_until "the first pod comes back as its replica" replicates 0 $master
[ "$(at 0 get kept)" = 1 ] || fail "the first pod came back without the data"
# A container that is restarted alone finds the configuration as Redis rewrote it.
kill -9 "${redis[$other]}"
wait "${redis[$other]}" 2>/dev/null || true
start_redis $other
wait_until "it follows after a restart too" replicates $other $master
echo "ok      Sentinel: the master lost, pod $master is promoted, and the first pod comes back as its replica"

wait_until "the Sentinels agree" sentinels_agree $master
at $master set later 1 >/dev/null
wait_until "the replicas have it" [ "$(at $master wait 2 5000)" = 2 ]
for n in 0 1 2; do stop $n; done
for n in 0 1 2; do start $n; done
wait_until "pod $master is the master again" is_master $master
wait_until "the first pod follows" replicates 0 $master
[ "$(at $master get later)" = 1 ] || fail "what was written after the failover is lost"
echo "ok      Sentinel: all pods lost at once, the last master is the master again"
stop_daemon sentinel
for n in 0 1 2; do stop $n; done

# --- Cluster ---

start_node() { # POD: the arguments of the StatefulSet, but for bind and memory
    redis-server config/redis/state.conf --include "$PWD/config/redis/cluster.conf" --include "$dir/secrets/auth.conf" \
        --aclfile "$dir/secrets/users.acl" --dir "$dir/$1/data" --maxmemory 64mb --cluster-announce-ip "$(address "$1")" --bind "$(address "$1")" \
        >>"$dir/$1/log" 2>&1 &
    redis[$1]=$!
}
for n in 0 1 2 3 4 5; do
    rm -rf "$dir/$n/data"
    mkdir "$dir/$n/data"
    start_node $n
done
join() {
    CLUSTER_NODES=6 sh kubernetes/redis/state-cluster/join.sh >"$dir/0/join" 2>&1
}
cluster_ok() {
    at "$1" cluster info | tr -d '\r' | grep -qx cluster_state:ok
}
join || fail "join.sh: $(cat "$dir/0/join")"
for n in 0 1 2 3 4 5; do wait_until "node $n sees the cluster" cluster_ok $n; done
three_replicas() { # the nodes tell each other by and by
    [ "$(at 0 cluster nodes | grep -c slave)" = 3 ]
}
wait_until "every master has a replica" three_replicas
join || fail "join.sh, the second time: $(cat "$dir/0/join")"
grep -q 'a cluster already' "$dir/0/join" || fail "join.sh did something to a cluster that stands"
echo "ok      Cluster: six pods become three masters with a replica each; joining again changes nothing"

start_daemon cluster
for n in 1 2 3 4 5 6 7 8; do wait_until "a session is in the cluster" put_session "spread-$n" '{"step": 1}'; done
curl -fsS http://127.0.0.1:8379/session | grep -q spread-8 || fail "GET /session does not list it"
for n in 0 1 2; do
    [ "$(at $n dbsize)" -gt 0 ] || fail "node $n has nothing of them"
done
echo "ok      Cluster: the daemon, from three seeds, writes to every master"

kill "${redis[@]}"
wait "${redis[@]}" || true
net=127.0.1
write_hosts
for n in 0 1 2 3 4 5; do start_node $n; done
for n in 0 1 2 3 4 5; do wait_until "node $n answers" at $n ping; done
lost() { # as it stays: no node knows where another is
    local n
    for n in 0 1 2 3 4 5; do ! cluster_ok $n || return 1; done
}
wait_until "they miss each other" lost
! all_there || fail "the daemon sees nothing of it"
join || fail "join.sh, after all pods have moved: $(cat "$dir/0/join")"
linked() { # POD: to its master
    at "$1" info replication | tr -d '\r' | grep -qxE 'role:master|master_link_status:up'
}
for n in 0 1 2 3 4 5; do
    cluster_ok $n || fail "join.sh is done, but node $n does not see the cluster"
    wait_until "node $n has its master" linked $n
done
three_replicas || fail "there are other replicas than before"
wait_until "a session is in the cluster" put_session "moved" '{"step": 1}'
for n in 1 2 3 4 5 6 7 8; do
    curl -fsS "http://127.0.0.1:8379/session/spread-$n" | grep -q '"step": *1' || fail "session spread-$n is gone"
done
stop_daemon cluster
echo "ok      Cluster: all pods come back with other addresses; joining makes them one again, and the daemon finds them"
