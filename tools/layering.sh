#!/bin/sh
# layering.sh [ROOT]: the house's include rules (docs/ARCHITECTURE.md). Prints each include that breaks one, and fails then.
#   - a room includes from its own folder or from a floor below; engine/local and engine/redis never from each other
#   - a third-party header is included in its one room; public headers (include/) show none
#   - no file includes a .c file; every project header that is named exists
# Tests and benchmarks stand outside the house: for them only the last rule holds.
set -eu
cd "${1:-.}"
files=$(find src include tests bench -name '*.[ch]' 2>/dev/null | sort)
# shellcheck disable=SC2086 # a list of paths without blanks
[ -z "$files" ] || known=$(find src include tests bench -type f 2>/dev/null) awk '
BEGIN {
    # Floors, from the bottom. engine/ itself holds what both engines share.
    n = split("util config log metrics loop engine engine/local,engine/redis state domain net http app main", floors, " ")
    for (i = 1; i <= n; i++) {
        m = split(floors[i], rooms, ",")
        for (j = 1; j <= m; j++) floor[rooms[j]] = i
    }
    # First match of header name (a regular expression) and the files that may include it. OpenSSL hashes in util/; its TLS is
    # part of the conversation with Redis, and hiredis must be given the SSL object itself for a host name to be verified.
    split("^microhttpd\\.h$ ^hiredis/ ^hiredis ^async\\.h$ ^sqlite3\\.h$ ^curl/ [cC][jJ][sS][oO][nN] ^uv[.\\/] ^ini\\.h$ ^openssl/(err|ssl|x509[^.]*)\\.h$ ^openssl/ ^check\\.h$", header, " ")
    split("^src/http/server[^/]*\\.[ch]$ ^src/engine/redis/ ^src/engine/redis/ ^src/engine/redis/ ^src/engine/local/ ^src/net/ ^src/util/ ^src/loop/ ^src/config/ ^src/engine/redis/tls\\.c$ ^src/util/ ^tests/", owner, " ")
    split(ENVIRON["known"], paths, "\n")
    for (i in paths) exists[paths[i]] = 1
}

function folder(path) {
    sub("/[^/]*$", "", path)
    return path
}

# "src/engine/redis/scripts/x.c" is in engine/redis, "src/app_start.c" in app.
function room_of(path,    part, k) {
    sub("^(src|include)/", "", path)
    k = split(path, part, "/")
    if (k == 1) { sub("[._].*$", "", path); return path }
    if (part[1] == "engine" && k > 2) return part[1] "/" part[2]
    return part[1]
}

function complain(what) {
    printf "%s:%d: %s\n", FILENAME, FNR, what
    failed = 1
}

function check_third_party(name,    i, home) {
    for (i = 1; i in header; i++) {
        if (name !~ header[i]) continue
        if (FILENAME !~ owner[i] && FILENAME !~ "^(tests|bench)/") {
            home = owner[i]
            sub("[[].*$", "*", home)
            complain("<" name "> belongs in " substr(home, 2))
        }
        return
    }
}

function resolve(name,    here) {
    here = folder(FILENAME) "/" name
    while (sub("[^/.][^/]*/[.][.]/", "", here)) continue
    if (here in exists) return here
    if (("include/" name) in exists) return "include/" name
    if (("src/" name) in exists) return "src/" name
    return ""
}

function check_project(name,    target, mine, theirs) {
    if (name ~ "^embed/") return            # made by the build
    target = resolve(name)
    if (target == "") {
        complain("there is no \"" name "\" in include/, src/ or beside this file; <…> is for what is not ours")
        return
    }
    if (FILENAME ~ "^(tests|bench)/") return
    mine = room_of(FILENAME)
    theirs = room_of(target)
    if (!(mine in floor)) complain("the room " mine " has no floor in tools/layering.sh")
    else if (!(theirs in floor)) complain("\"" name "\" is in no room of tools/layering.sh")
    else if (mine != theirs && floor[theirs] >= floor[mine])
        complain("\"" name "\": " mine " may not include from " theirs ", which is " (floor[theirs] == floor[mine] ? "beside" : "above") " it")
}

/^[ \t]*#[ \t]*include/ {
    line = $0
    sub("^[ \t]*#[ \t]*include[ \t]*", "", line)
    kind = substr(line, 1, 1)
    name = substr(line, 2)
    sub("[\">].*$", "", name)
    if (name ~ "\\.c$") complain("includes a .c file: " name)
    else if (kind == "<") check_third_party(name)
    else if (kind == "\"") {
        check_third_party(name)
        check_project(name)
    } else complain("an include that is not spelt out")
}

END { exit failed }' $files
