#!/bin/sh
# configure.sh: writes the configurations of this pod's Redis and Sentinel before they start.
#
# Who is master? The Sentinels that run know. When none answers, everything starts at once: then Redis's own file says what this
# one was (Sentinel has Redis rewrite it at each failover), and on the very first start the first pod is the master. Both files
# must be writable, hence the copies; the reasons for their lines are in config/redis/.
# Environment: POD_NAME, DOMAIN (of the headless Service), REPLICAS; the directories below, for tests.
set -eu
umask 077
data=${DATA:-/data} sentinel=${SENTINEL:-/sentinel} config=${CONFIG:-/etc/redis/config} secrets=${SECRETS:-/etc/redis/secrets}
unset REDISCLI_AUTH # the Sentinels have no password
self=$POD_NAME.$DOMAIN
first=${POD_NAME%-*}-0.$DOMAIN

master=""
i=0
while [ "$i" -lt "$REPLICAS" ] && [ -z "$master" ]; do
    peer=${POD_NAME%-*}-$i.$DOMAIN
    i=$((i + 1))
    [ "$peer" != "$self" ] || continue
    master=$(timeout 3 redis-cli -e -h "$peer" -p 26379 sentinel get-master-addr-by-name state 2>/dev/null | head -n 1) || master=""
done

if [ -z "$master" ] && [ -f "$data/redis.conf" ]; then
    master=$(sed -n 's/^replicaof "\{0,1\}\([^ "]*\)"\{0,1\} .*/\1/p' "$data/redis.conf" | tail -n 1)
    master=${master:-$self}
fi
master=${master:-$first}

{
    echo "include $config/state.conf"
    echo "include $secrets/auth.conf"
    # A file of their own: else Redis, told to rewrite its configuration, would add the users that an include has too.
    echo "aclfile $secrets/users.acl"
    echo "dir $data"
    echo "replica-announce-ip $self"
    echo "min-replicas-to-write 1"
    [ "$master" = "$self" ] || echo "replicaof $master 6379"
} >"$data/redis.conf"

{
    echo "port 26379"
    echo "dir $sentinel"
    # Pods keep their names, not their addresses.
    echo "sentinel resolve-hostnames yes"
    echo "sentinel announce-hostnames yes"
    echo "sentinel announce-ip $self"
    echo "sentinel monitor state $master 6379 $((REPLICAS / 2 + 1))"
    echo "sentinel auth-pass state $(cat "$secrets/password")"
    # The daemons bridge this; shorter would take a slow master for a dead one.
    echo "sentinel down-after-milliseconds state 5000"
    echo "sentinel failover-timeout state 30000"
    echo "sentinel parallel-syncs state 1"
} >"$sentinel/sentinel.conf"
echo "configured: this is $self, the master is $master"
