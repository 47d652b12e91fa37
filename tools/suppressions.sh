#!/bin/sh
# suppressions.sh FILE…: each place that silences a tool says why, behind it or in a comment on the line before. Fails where one does not.
set -eu
awk '
function complain() {
    printf "%s:%d: silences a tool and does not say why: %s\n", FILENAME, FNR, $0
    failed = 1
}
FNR == 1 { before = "" }
/NOLINTEND|clang-format on/ { before = $0; next }
/NOLINT|cppcheck-suppress|shellcheck disable=|clang-format off|#pragma (GCC|clang) diagnostic ignored/ {
    reason = $0
    sub(/^.*(NOLINT(NEXTLINE|BEGIN)?(\([^)]*\))?|cppcheck-suppress(-[a-z]+)? *(\[[^]]*\]|[A-Za-z_]+)|shellcheck disable=[A-Z0-9,]+|clang-format off|diagnostic ignored "[^"]*")/, "", reason)
    comment = before ~ /^[ \t]*(\/\*|\/\/|\*|#[ \t])|\*\/[ \t]*$/ && before !~ /NOLINT|cppcheck-suppress|shellcheck disable=/
    if (reason !~ /[A-Za-z][A-Za-z]+.*[A-Za-z][A-Za-z]+/ && !comment) complain()
}
{ before = $0 }
END { exit failed }' "$@"
