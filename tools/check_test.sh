#!/bin/sh
# check_test.sh: layering.sh, suppressions.sh and log_events.py must accept the good cases and name each bad one.
set -eu
tools=$(cd "$(dirname "$0")" && pwd)
tool=$tools/layering.sh
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
failed=0

fresh() {
    rm -rf "${root:?}"/*
    mkdir -p "$root/tests/support" "$root/src/http"
    : > "$root/tests/support/stage.h"
    : > "$root/src/http/face.h"
    for room in util config log metrics loop engine engine/local engine/redis state domain net http; do
        mkdir -p "$root/src/$room" "$root/include/$room"
        : > "$root/include/$room/face.h"
    done
    mkdir -p "$root/tests/unit"
    : > "$root/src/app.h"
}

# accepts FILE LINE…    refuses FILE WORDS LINE…
accepts() {
    fresh
    file=$1
    shift
    mkdir -p "$(dirname "$root/$file")"
    printf '%s\n' "$@" > "$root/$file"
    if ! out=$("$tool" "$root"); then
        echo "check_test: $file: refused $*: $out"
        failed=1
    fi
}
refuses() {
    fresh
    file=$1 words=$2
    shift 2
    mkdir -p "$(dirname "$root/$file")"
    printf '%s\n' "$@" > "$root/$file"
    if out=$("$tool" "$root"); then
        echo "check_test: $file: accepted $*"
        failed=1
    elif ! printf '%s' "$out" | grep -qF "$words"; then
        echo "check_test: $file: $*: said \"$out\", not \"$words\""
        failed=1
    fi
}

accepts src/main.c '#include "app.h"' '#include "util/face.h"' '#include <stdio.h>'
accepts src/app_start.c '#include "app.h"' '#include "http/face.h"'
accepts src/http/server_body.c '#include <microhttpd.h>' '#include "loop/face.h"'
accepts src/engine/redis/conn.c '#include <hiredis/async.h>' '#include "engine/redis/face.h"' '#include "engine/face.h"'
accepts src/state/record.c '#include "engine/redis/face.h"' '#include "engine/local/face.h"'
accepts src/util/json.c '#include <cjson/cJSON.h>' '#include "embed/x.lua.h"'
accepts tests/unit/test_x.c '#include "http/face.h"' '#include <curl/curl.h>' '#include <check.h>' '#include "app.h"'
accepts tests/unit/test_x.c '#include "../support/stage.h"'
refuses src/util/x.c 'src/util/x.c:2: "config/face.h": util may not include from config, which is above it' '' '#include "config/face.h"'
refuses include/log/x.h 'log may not include from metrics' '#  include "metrics/face.h"'
refuses src/engine/local/x.c 'engine/local may not include from engine/redis, which is beside it' '#include "engine/redis/face.h"'
refuses src/engine/redis/x.c 'engine/redis may not include from engine/local, which is beside it' '#include "engine/local/face.h"'
refuses src/engine/x.c 'engine may not include from engine/redis' '#include "engine/redis/face.h"'
refuses src/engine/redis/x.c 'may not include from state' '#include "state/face.h"'
refuses src/engine/redis/x.c 'may not include from http' '#include "../../http/face.h"'
refuses src/domain/x.c 'domain may not include from http' '#include "http/face.h"'
refuses src/http/x.c 'http may not include from app' '#include "app.h"'
refuses src/http/router.c '<microhttpd.h> belongs in' '#include <microhttpd.h>'
refuses include/http/server.h '<microhttpd.h> belongs in' '#include <microhttpd.h>'
refuses src/loop/x.c '<hiredis/hiredis.h> belongs in' '#include <hiredis/hiredis.h>'
refuses include/engine/redis/x.h '<hiredis.h> belongs in' '#include <hiredis.h>'
refuses src/state/x.c '<sqlite3.h> belongs in' '#include <sqlite3.h>'
refuses src/http/x.c '<curl/curl.h> belongs in' '#include <curl/curl.h>'
refuses src/domain/x.c '<cjson/cJSON.h> belongs in' '#include <cjson/cJSON.h>'
refuses src/http/x.c '<uv.h> belongs in' '#include <uv.h>'
refuses src/app.c '<ini.h> belongs in' '#include <ini.h>'
refuses src/http/x.c '<openssl/evp.h> belongs in' '#include <openssl/evp.h>'
refuses src/util/x.c '<check.h> belongs in' '#include <check.h>'
refuses src/util/x.c '<uv.h> belongs in' '#include "uv.h"'
refuses tests/unit/test_x.c 'includes a .c file' '#include "../../src/util/x.c"'
refuses src/util/x.c 'there is no "util/gone.h"' '#include "util/gone.h"'
refuses src/attic/x.c 'the room attic has no floor' '#include "util/face.h"'
refuses src/util/x.c 'not spelt out' '#include HEADER'

# silenced good|bad LINE…
silenced() {
    want=$1
    shift
    printf '%s\n' "$@" > "$root/x.c"
    if "$tools/suppressions.sh" "$root/x.c" > "$root/out"; then got=good; else got=bad; fi
    if [ "$got" != "$want" ]; then
        echo "check_test: suppressions.sh: $*: $got, not $want"
        failed=1
    fi
}
# The directives are put together here, or this file would be full of silenced tools itself.
no=NO
cpp=cppcheck-
shell=shellcheck
silenced good 'int x;' 'int y; // a comment'
silenced good "f(); // ${no}LINT(cert-err33-c): the result says nothing new"
silenced bad "f(); // ${no}LINT(cert-err33-c)"
silenced bad "f(); // ${no}LINT"
silenced bad "/* ${no}LINTNEXTLINE(cert-err33-c) */" 'f();'
silenced good '/* the result says nothing new */' "f(); /* ${no}LINT(cert-err33-c) */"
silenced bad 'int x;' "// ${no}LINTBEGIN(cert-err33-c)" 'f();' "// ${no}LINTEND(cert-err33-c)"
silenced bad "// ${cpp}suppress nullPointer" '*p = 1;'
silenced bad "// ${cpp}suppress[nullPointer,memleak]" '*p = 1;'
silenced good "// ${cpp}suppress nullPointer ; p was checked by the caller" '*p = 1;'
silenced bad "# $shell disable=SC2086" 'f x'
silenced good "# $shell disable=SC2086 # a list of words" 'f x'

# logged good|bad LINE…: where the document has one event
logged() {
    want=$1
    shift
    printf '\140it fell\140\n' > "$root/x.md"
    printf '%s\n' "$@" > "$root/x.c"
    if "$tools/log_events.py" "$root/x.md" "$root/x.c" > "$root/out"; then got=good; else got=bad; fi
    if [ "$got" != "$want" ]; then
        echo "check_test: log_events.py: $*: $got, not $want"
        failed=1
    fi
}
logged good 'LOG(log, LOG_WARN, "it fell", LOG_S("why", ";"));'
logged bad 'LOG(log, LOG_ERROR, "it fell far");'
logged bad 'LOG(log, up ? LOG_INFO : LOG_WARN, up ? "it rose" : "it fell");'
logged bad 'static const char *const TEXTS[] = {"it fell", "it" " broke"};' 'LOG(log, LOG_WARN, TEXTS[i]);'
logged good 'LOG(log, LOG_INFO, "it rose");' 'LOG(log, LOG_WARN, "it fell");'
logged bad 'no event at all'
exit $failed
