#!/bin/sh
# join.sh: makes one cluster of the pods once they all answer. Where there is one already it tells it the pods' addresses, as they are now: pods that
# all came back with other ones do not find each other, and the slots are assigned nevertheless.
# Environment: DOMAIN (of the headless Service), CLUSTER_NODES, REDISCLI_AUTH.
set -eu
set_name=${SET_NAME:-redis-state}

# CLUSTER MEET takes addresses, not names.
nodes=""
i=0
while [ "$i" -lt "$CLUSTER_NODES" ]; do
    host=$set_name-$i.$DOMAIN
    until redis-cli -e -h "$host" ping >/dev/null 2>&1; do
        echo "waiting for $host"
        sleep 2
    done
    address=$(getent hosts "$host" | awk '{print $1; exit}')
    [ "$i" != 0 ] || first=$address
    nodes="$nodes $address:6379"
    i=$((i + 1))
done

assigned() {
    redis-cli -e -h "$first" cluster info | grep -q '^cluster_slots_assigned:16384'
}
ok() { # on every node
    for node in $nodes; do
        redis-cli -e -h "${node%:*}" cluster info | grep -q '^cluster_state:ok' || return 1
    done
}
if assigned; then
    echo "there is a cluster already"
    # To nodes that know each other this is no news.
    for node in $nodes; do
        redis-cli -e -h "$first" cluster meet "${node%:*}" 6379 >/dev/null
    done
    tries=60
    until ok; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "not every node is in the majority: see CLUSTER NODES" >&2; exit 1; }
        sleep 1
    done
    exit 0
fi
# shellcheck disable=SC2086 # a list of addresses
redis-cli --cluster create $nodes --cluster-replicas 1 --cluster-yes
