#!/bin/sh
# man.sh DAEMON VERSION RELEASED: writes man/* from man/*.in and the daemon's tables. Started by `make docs`, and by
# `make check` with MAN_DIR set to see whether they are up to date.
set -eu
daemon=$1
dir=${MAN_DIR:-man}
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
# Lines of at most 79 bytes, as mandoc wants them.
short() {
    fold -s -w 79 | sed -e 's/ *$//'
}
"$daemon" --print-man-arguments | short >"$parts/arguments"
"$daemon" --print-man-options | short >"$parts/options"
for page in man/*.in; do
    sed -e "s/@VERSION@/$2/" -e "s/@RELEASED@/$3/" \
        -e "/^@ARGUMENTS@\$/{r $parts/arguments" -e 'd;}' -e "/^@OPTIONS@\$/{r $parts/options" -e 'd;}' \
        "$page" >"$dir/$(basename "$page" .in)"
done
