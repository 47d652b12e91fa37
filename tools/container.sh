# container.sh, sourced: what all that deals with containers agrees on. Sets `engine` (docker, podman or "") and
# `image`. Where podman runs as root inside a container itself, it needs settings of its own (the host's network, runc,
# cgroupfs, no service manager); they are written below $CONTAINERS and handed over in its environment, so that the
# machine's own are left alone.
# shellcheck shell=bash disable=SC2034 # read by who sources it

image=${IMAGE:-localhost/phoenix-cached}
engine=""
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    engine=docker
elif command -v podman >/dev/null; then
    engine=podman
fi

# Without a service manager to make cgroups and networks, podman is told to do with less.
if [ "$engine" = podman ] && [ ! -d /run/systemd/system ] && [ -z "${CONTAINERS_CONF:-}" ]; then
    CONTAINERS=${CONTAINERS:-/var/lib/phoenix-image}
    mkdir -p "$CONTAINERS"
    cat >"$CONTAINERS/containers.conf" <<T
[containers]
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
T
    cat >"$CONTAINERS/storage.conf" <<T
[storage]
driver = "overlay"
runroot = "$CONTAINERS/run"
graphroot = "$CONTAINERS/storage"
T
    export CONTAINERS_CONF=$CONTAINERS/containers.conf CONTAINERS_STORAGE_CONF=$CONTAINERS/storage.conf
    export DISABLE_HC_SYSTEMD=true
fi
