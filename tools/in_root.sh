#!/bin/bash
# in_root.sh ROOT COMMAND…: runs a command in a Debian that tools/debian_root.sh made, as root, in /src if that is there. Processes and mounts are the
# command's own: whatever it leaves running or mounted ends with it. The network is this machine's.
set -eu
if [ "${IN_ROOT:-}" != 1 ]; then
    IN_ROOT=1 exec unshare --mount --pid --fork --kill-child -- "$0" "$@"
fi
unset IN_ROOT
root=$1
shift
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/dev/shm"
touch "$root/etc/resolv.conf" "$root/etc/hosts"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
mount --bind /etc/hosts "$root/etc/hosts"
work=/
if [ -d "$root/src" ]; then work=/src; fi
exec chroot "$root" env -C "$work" HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"
