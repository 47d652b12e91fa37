#!/bin/bash
# check.sh: everything that can be said about the code without running it. Prints a line per step, goes on after a
# failure so that one run shows all of it, and fails at the end. What clang-tidy found clean is remembered by content
# (build/tidy-cache), so a second run looks at what changed alone.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
jobs=$(nproc)
unset MAKEFLAGS MFLAGS MAKEOVERRIDES # the makes below are no part of the caller's job server
output=$(mktemp)
trap 'rm -f "$output"' EXIT
failed=()

existing() {
    local path
    for path in "$@"; do [ -e "$path" ] && echo "$path"; done
}
mapfile -t code < <(existing src include tests bench)
mapfile -t sources < <(find "${code[@]}" -name '*.[ch]' | sort)
mapfile -t units < <(find "${code[@]}" -name '*.c' | sort)
mapfile -t headers < <(find "${code[@]}" -name '*.h' | sort)
mapfile -t scripts < <({ find . \( -path ./build -o -path ./.git -o -path "./$build" \) -prune -o -name '*.sh' -print; existing ./.ci/run; } | sort)
mapfile -t flags < <(make -s BUILD="$build" flags)

step() {
    local name=$1 from=$SECONDS
    shift
    if "$@" >"$output" 2>&1; then
        printf 'ok      %s (%d s)\n' "$name" $((SECONDS - from))
    else
        printf 'FAILED  %s\n' "$name"
        sed 's/^/        /' "$output"
        failed+=("$name")
    fi
}

format() {
    clang-format --dry-run -Werror "${sources[@]}"
}

silenced() {
    tools/suppressions.sh "${sources[@]}" "${scripts[@]}"
}

warnings() {
    find src include -name '*.[ch]' -exec tools/log_events.py docs/OPERATIONS.md {} +
}

build_with() { # COMPILER BUILD
    make -s -j"$jobs" CC="$1" BUILD="$2" tests-build
}

# Each header stands alone, for both compilers.
header_alone() {
    local compiler
    for compiler in gcc clang; do
        printf '#include "%s"\n' "$PWD/$1" | "$compiler" "${@:2}" -fsyntax-only -x c - || return 1
    done
}
headers_alone() {
    printf '%s\0' "${headers[@]}" | xargs -0 -P "$jobs" -I{} bash -c 'header_alone "$@"' _ {} "${flags[@]}"
}

generated() {
    local sample
    sample=$("$build/phoenix-cached" --print-sample) || { echo "phoenix-cached --print-sample failed"; return 1; }
    diff -u config/phoenix-cached.conf - <<<"$sample" || { echo "config/phoenix-cached.conf is out of date: make docs"; return 1; }
    mkdir -p "$build/man"
    # shellcheck disable=SC2046 # two words
    MAN_DIR=$build/man tools/man.sh "$build/phoenix-cached" $(make -s release) || return 1
    tools/openapi.py docs/openapi.yaml | diff -u docs/openapi.json - || { echo "docs/openapi.json is out of date: make docs"; return 1; }
    diff -u -x '*.in' man "$build/man" || { echo "man/ is out of date: make docs"; return 1; }
}

man_pages() {
    local page
    mandoc -Tlint man/*.[58] || return 1
    for page in man/*.[58]; do
        [ -z "$(groff -ww -man -Tutf8 -z "$page" 2>&1 | tee /dev/stderr)" ] || return 1
    done
}

# An unknown key only warns, so that any word fails.
units() {
    local dir=$build/units words
    mkdir -p "$dir"
    cp systemd/*.socket "$dir/"
    sed "s|/usr/local/bin/|$PWD/$build/|" systemd/phoenix-cached.service >"$dir/phoenix-cached.service"
    words=$(systemd-analyze verify --man=no "$dir"/* 2>&1)
    if [ -n "$words" ]; then echo "$words"; return 1; fi
    systemd-analyze security --offline=true --threshold=15 --no-pager "$dir/phoenix-cached.service"
}

# The key is all that clang-tidy sees: the text after the preprocessor with its comments and macros, the checks, the version.
tidy_one() {
    local key report
    key=$({ clang "${@:2}" -E -C -dD "$1" && cat .clang-tidy && clang-tidy --version && printf '%s\n' "$@"; } 2>/dev/null | sha256sum)
    key=$tidy_cache/${key%% *}
    if [ -e "$key" ]; then touch "$key"; return; fi
    if report=$(clang-tidy --quiet "$1" -- "${@:2}" 2>/dev/null); then
        : >"$key"
    else
        if [ -z "$report" ]; then report="$1: clang-tidy failed: $(clang-tidy "$1" -- "${@:2}" 2>&1)"; fi
        printf '%s\n' "$report"
        return 1
    fi
}
tidy() {
    mkdir -p "$tidy_cache"
    find "$tidy_cache" -type f -mtime +30 -delete
    printf '%s\0' "${units[@]}" | xargs -0 -P "$jobs" -I{} bash -c 'tidy_one "$@"' _ {} "${flags[@]}"
}

cpp_check() {
    mkdir -p "$build/cppcheck"
    # missingIncludeSystem: it need not read the libraries' headers.
    cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -j"$jobs" \
        --cppcheck-build-dir="$build/cppcheck" --library=posix,gnu --suppress=missingIncludeSystem \
        -D_GNU_SOURCE -D__cppcheck__ -DPHOENIX_VERSION='""' -Iinclude -Isrc -I"$build/gen" "${units[@]}"
}

export tidy_cache=$build/tidy-cache
export -f header_alone tidy_one

step "clang-format" format
step "the checks' own test" tools/check_test.sh
step "layering" tools/layering.sh
step "what is silenced says why" silenced
step "warnings of the log are in OPERATIONS.md" warnings
step "shellcheck" shellcheck "${scripts[@]}"
step "build with gcc" build_with gcc "$build"
step "build with clang" build_with clang "$build/clang"
step "each header compiles alone" headers_alone
step "generated files are up to date" generated
step "man pages" man_pages
step "systemd units, exposure at most 1.5" units
step "clang-tidy" tidy
step "cppcheck" cpp_check

if [ ${#failed[@]} -gt 0 ]; then
    printf 'check: %d failed:' ${#failed[@]}
    printf ' [%s]' "${failed[@]}"
    printf '\n'
    exit 1
fi
echo "check: all ok (${#units[@]} files, $SECONDS s)"
