#!/bin/sh
# join.sh: makes one cluster of the pods once they all answer; does nothing where there is one already.
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

if redis-cli -e -h "$first" cluster info | grep -q '^cluster_slots_assigned:16384'; then
    echo "there is a cluster already"
    exit 0
fi
# shellcheck disable=SC2086 # a list of addresses
redis-cli --cluster create $nodes --cluster-replicas 1 --cluster-yes
