#!/bin/bash
# image_base.sh: makes the image's base out of Debian's packages, from where this machine has its own, for a machine
# that reaches no registry. Without documentation and translations, and with a search path, like Debian's own slim images. Started by
# `make image-base`; needs root.
set -eu
cd "$(dirname "$0")/.."
. tools/container.sh
[ -n "$engine" ] || { echo "make image-base: neither docker nor podman is here: make deps-image" >&2; exit 1; }
. tools/apt_mirror.sh
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase trixie "$root" "$mirror" >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; exit 1; }
rm -f "$root.log"
chmod 755 "$root"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log \
    "$root"/usr/share/{doc,info,locale,man}/*
tar --numeric-owner -C "$root" -c . | "$engine" import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'CMD ["bash"]' - "${BASE:-debian:trixie-slim}"
