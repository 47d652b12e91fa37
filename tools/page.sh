#!/bin/sh
# page.sh DIRECTORY PAGE POLICY: joins page.html, page.css, words.js and page.js to one file, PAGE, that needs no other, and writes the
# Content-Security-Policy that lets run what is in it, told by its hashes, to POLICY. Indentation is left out: no line of a text
# begins with blanks that matter.
set -eu
from=$1 page=$2 policy=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed 's/^ *//' "$from/page.html" >"$work/page.html"
sed 's/^ *//' "$from/page.css" >"$work/page.css"
sed 's/^ *//' "$from/words.js" "$from/page.js" >"$work/page.js"

hash_of() { # as CSP names it: base64 of the SHA-256's bytes
    env printf "$(sha256sum <"$work/$1" | cut -c1-64 | sed 's/../\\x&/g')" | base64
}

while IFS= read -r line; do
    case $line in
    '<style></style>') printf '<style>' && cat "$work/page.css" && echo '</style>' ;;
    '<script></script>') printf '<script>' && cat "$work/page.js" && echo '</script>' ;;
    *) printf '%s\n' "$line" ;;
    esac
done <"$work/page.html" >"$page"

# The icon is a data: URL. Nothing on the page makes markup from text, and nothing may (trusted-types).
printf '%s' "default-src 'none'; script-src 'sha256-$(hash_of page.js)'; style-src 'sha256-$(hash_of page.css)'; " \
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " \
    "require-trusted-types-for 'script'; trusted-types 'none'" >"$policy"
