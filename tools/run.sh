#!/bin/sh
# run.sh: starts the daemon and prints a line to try. Started by `make run`.
set -eu
build=${BUILD:-build}
listen=${PHOENIX_HTTP_LISTEN:-127.0.0.1:8379}
port=${listen##*:}
# Where all addresses are listened on, the daemon is called by one that it answers to.
case $listen in
:* | 0.0.0.0:* | '[::]:'*) shown=127.0.0.1:$port ;;
*) shown=$listen ;;
esac
# A file of its own for each daemon.
if [ -z "${PHOENIX_SPOOL_PATH:-}" ]; then
    mkdir -p "$build/run"
    export PHOENIX_SPOOL_PATH="$build/run/phoenix-cached-$port.db"
fi
cat <<T
Starting $build/phoenix-cached on $listen (Ctrl-C ends it). Try, in another terminal:

  curl -s http://$shown/cache -d '{"input": "Why is the sky blue?", "response": "Rayleigh scattering."}'; curl -si "http://$shown/cache?input=Why%20is%20the%20sky%20blue%3F"

T
exec "$build/phoenix-cached"
