#!/bin/bash
# image.sh: builds the container image with what is there: docker, buildah or podman. Started by `make image`.
set -eu
cd "$(dirname "$0")/.."
. tools/container.sh
args=(--build-arg "VERSION=${VERSION:-unknown}" -t "$image" -f Dockerfile)
[ -z "${BASE:-}" ] || args+=(--build-arg "BASE=$BASE")
builder=$engine
case $engine in
docker) ;;
podman)
    # HEALTHCHECK is Docker's format's. Isolation by chroot needs no right to make namespaces.
    args+=(--format docker --layers --isolation "${BUILDAH_ISOLATION:-chroot}" --network host)
    if command -v buildah >/dev/null; then builder=buildah; fi
    ;;
*) echo "make image: neither docker nor podman is here; make deps-image installs podman and buildah" >&2; exit 1 ;;
esac
"$builder" build "${args[@]}" . || {
    echo "make image: if the base image was not found and no registry is within reach, make image-base makes it" >&2
    exit 1
}
echo "image: $image, $("$engine" image inspect --format '{{.Size}}' "$image" | awk '{printf "%.0f MB", $1 / 1e6}')"
