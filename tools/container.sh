# container.sh, sourced: what all that deals with containers agrees on. Sets `engine` (docker, podman or "") and
# `image`. Where podman has no service manager that makes cgroups and no network of its own, as in a container, it is
# told so by a file below the build directory and its environment: the machine's settings stay as they are.
# shellcheck shell=bash disable=SC2034 # read by who sources it

image=${IMAGE:-localhost/phoenix-cached}
engine=""
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    engine=docker
elif command -v podman >/dev/null; then
    engine=podman
fi

# podman's own defaults may be above what this machine grants; buildah keeps to 32768 processes.
hard() { # n|u
    local limit
    limit=$(ulimit -H"$1")
    if [ "$limit" = unlimited ] || [ "$limit" -gt 32768 ]; then limit=32768; fi
    echo "$limit"
}

if [ "$engine" = podman ] && [ ! -d /run/systemd/system ] && [ -z "${CONTAINERS_CONF:-}" ]; then
    mkdir -p "${BUILD:-build}"
    export CONTAINERS_CONF="$PWD/${BUILD:-build}/containers.conf" DISABLE_HC_SYSTEMD=true
    cat >"$CONTAINERS_CONF" <<T
[containers]
default_ulimits = ["nofile=$(hard n):$(hard n)", "nproc=$(hard u):$(hard u)"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
T
fi
