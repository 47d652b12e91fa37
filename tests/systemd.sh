#!/bin/bash
# systemd.sh: the units under a real systemd, which runs in a container on the image of `make image`: start, state,
# reload, kill -9, the watchdog, socket activation, stop. Prints a line per fact; fails with the first that does not
# hold. Started by `make systemd-test`; needs podman, root, and Debian's packages within reach.
set -eu
cd "$(dirname "$0")/.."
. tools/container.sh
[ "$engine" = podman ] || { echo "systemd.sh: needs podman (--systemd)" >&2; exit 1; }

name=phoenix-systemd-test-$$
scratch=$(mktemp -d)
inside() { podman exec "$name" "$@"; }
cleanup() {
    local code=$?
    if [ $code != 0 ]; then
        inside systemctl status --no-pager phoenix-cached.service phoenix-cached.socket >&2 || true
        inside journalctl --no-pager -n 40 >&2 || true
    fi
    podman rm -f -v -t 0 "$name" >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap cleanup EXIT

fact() { echo "ok      $1"; }
fail() { echo "FAILED  $1" >&2; exit 1; }
wait_for() { # WHAT COMMAND…
    local what=$1 until=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || fail "waited for: $what"
        sleep 0.1
    done
}
property() { inside systemctl show -P "$1" phoenix-cached.service; }
journal_has() { inside journalctl --no-pager | grep -q "$1"; }
ready() { inside phoenix-cached --probe; }
api=http://127.0.0.1:8379
ask() { inside curl -sS "$@"; }

# --- a machine with systemd, the program of the image, and what `make install` adds to it ---

make -s install PREFIX=/usr DESTDIR="$scratch/root" >/dev/null
rm "$scratch/root/usr/bin/phoenix-cached" # the image has its own
mkdir -p "$scratch/root/root"
cat >"$scratch/root/root/ask.sh" <<'T'
# Asks again and again, for 4 s, over a new connection each time; prints the statuses, or why there is none.
end=$(($(date +%s) + 4))
while [ "$(date +%s)" -lt $end ]; do curl -sS -o /dev/null -w '%{http_code}\n' "$1" 2>&1; done
T
cat >"$scratch/Containerfile" <<T
FROM $image
USER 0
WORKDIR /root
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd dbus procps curl >/dev/null 2>&1
COPY root /
ENTRYPOINT ["/usr/lib/systemd/systemd"]
T
buildah build --layers --format docker --isolation "${BUILDAH_ISOLATION:-chroot}" --network host -t "$image-systemd" \
    -f "$scratch/Containerfile" "$scratch" >"$scratch/log" 2>&1 || { tail -20 "$scratch/log" >&2; exit 1; }
# As much as a host's systemd may do: mount, and see processes that ProtectProc= hides (PrivateUsers= needs that).
podman run -d --name "$name" --systemd=always --network none --image-volume ignore --cap-add SYS_ADMIN,SYS_PTRACE \
    --security-opt seccomp=unconfined "$image-systemd" >/dev/null
wait_for "systemd" inside systemctl list-units
inside rmdir /var/lib/phoenix-cached # the image's; here it is systemd's to make
# A container without a network manager may count as degraded: what matters is that all jobs are done.
wait_for "systemd's jobs" sh -c "[ -z \"\$(podman exec $name systemctl list-jobs --no-legend | grep -v 'No jobs')\" ]"
version=$(inside systemctl --version | awk 'NR == 1 {print $2}')
fact "systemd $version is up"

words=$(inside systemd-analyze verify --man=no phoenix-cached.service phoenix-cached.socket 2>&1 | grep phoenix || true)
[ -z "$words" ] || fail "verify: $words"
inside systemd-analyze security --threshold=15 --no-pager phoenix-cached.service >"$scratch/log" || fail "$(tail -1 "$scratch/log")"
fact "units verify clean; exposure $(grep -oE 'service: [0-9.]+' "$scratch/log" | tail -1 | cut -d' ' -f2)"

# --- start, state ---

inside systemctl start phoenix-cached.service || fail "start"
ready || fail "started, but not ready: READY=1 came too early"
main=$(property MainPID)
uid=$(inside cat "/proc/$main/status" | awk '$1 == "Uid:" {print $2}')
if [ "$uid" -lt 61184 ] || [ "$uid" -gt 65519 ]; then fail "runs as $uid, no dynamic user"; fi
inside test -f /var/lib/phoenix-cached/phoenix-cached.db || fail "the spool is not in the state directory"
ask "$api/session" -d '{"correlation_id": "kept"}' | grep -q '"state":"Active"' || fail "POST /session"
fact "started as a dynamic user ($uid), the spool in /var/lib/phoenix-cached"

inside systemctl reload phoenix-cached.service
wait_for "the reload" journal_has "reloaded on SIGHUP"
[ "$(property MainPID)" = "$main" ] || fail "the reload restarted it"
fact "reload by SIGHUP"

# --- it comes back ---

back() { [ "$(property NRestarts)" = "$1" ] && ready; }
inside kill -9 "$main"
wait_for "the restart after kill -9" back 1
[ "$(property MainPID)" != "$main" ] || fail "not restarted"
ask "$api/session/kept" | grep -q '"state":"Active"' || fail "the session is lost"
fact "kill -9: restarted, state kept"

inside mkdir -p /run/systemd/system/phoenix-cached.service.d
inside sh -c 'printf "[Service]\nWatchdogSec=2\n" >/run/systemd/system/phoenix-cached.service.d/watchdog.conf'
inside systemctl daemon-reload
inside systemctl restart phoenix-cached.service
main=$(property MainPID)
restarts=$(property NRestarts)
sleep 5 # no condition to wait for: two and a half watchdog times in which nothing may happen
[ "$(property MainPID)" = "$main" ] || fail "the watchdog fired on a healthy daemon"
fact "pings keep the watchdog quiet"
inside kill -STOP "$main"
from=$SECONDS
wait_for "the watchdog" back $((restarts + 1))
journal_has "Watchdog timeout" || fail "restarted, but not by the watchdog"
fact "stopped loops: the watchdog fires and it is back within $((SECONDS - from)) s"

# --- sockets of systemd ---

inside systemctl stop phoenix-cached.service
[ "$(property Result)" = success ] || fail "stop: $(property Result)"
inside systemctl start phoenix-cached.socket
[ "$(property ActiveState)" = inactive ] || fail "the socket alone started the service"
[ "$(ask -o /dev/null -w '%{http_code}' "$api/session/kept")" = 200 ] || fail "activation over TCP"
[ "$(ask --unix-socket /run/phoenix-cached.sock -o /dev/null -w '%{http_code}' http://localhost/session/kept)" = 200 ] ||
    fail "the Unix socket"
fact "the first client starts the service, over TCP; the Unix socket is served too"
inside sh /root/ask.sh "$api/session/kept" >"$scratch/codes" &
client=$!
for _ in 1 2 3; do inside systemctl restart phoenix-cached.service; done
wait $client
[ "$(sort -u "$scratch/codes")" = 200 ] || fail "during restarts: $(sort "$scratch/codes" | uniq -c)"
fact "three restarts under $(wc -l <"$scratch/codes") requests: none refused"

# --- the end ---

inside systemctl stop phoenix-cached.socket
from=$(date +%s%N)
inside systemctl stop phoenix-cached.service
took=$((($(date +%s%N) - from) / 1000000))
[ "$(property ActiveState) $(property Result)" = "inactive success" ] || fail "stop: $(property Result)"
[ $took -lt 2000 ] || fail "stopped in $took ms"
fact "stops in $took ms"
