#!/bin/sh
# embed.sh FILE: prints FILE as the initializer list of a char array, for #include inside braces.
set -eu
od -An -v -tu1 "$1" | sed 's/ *\([0-9][0-9]*\)/\1,/g'
