#!/bin/bash
# check.sh: compares system calls and instructions per request with bench/baseline.txt. Started by `make bench-check`.
# Fails when instructions grew by more than 5 % or system calls by more than 10 %. `check.sh --update` rewrites the file: do
# that when the change is meant, and say why in the commit. Instructions depend on compiler and libraries: where those are not
# the file's, they are printed but decide nothing.
set -u
cd "$(dirname "$0")/.." || exit 1
baseline=bench/baseline.txt
# shellcheck source=bench/common.sh
. bench/common.sh

built_with() { conditions | grep -E '^(compiler|libraries) ' | sed 's/^/# /'; }

bench/counts.sh >"$work/counts" || die "counting failed"
if [ "${1:-}" = --update ]; then
    {
        echo "# SCENARIO CONNECTIONS FIGURE VALUE, per request, by bench/counts.sh. Rewritten by bench/check.sh --update."
        built_with
        cat "$work/counts"
    } >"$baseline"
    cat "$baseline"
    exit 0
fi
same=1
if [ "$(grep -E '^# (compiler|libraries) ' "$baseline")" != "$(built_with)" ]; then
    same=0
    echo "bench-check: $baseline was made with other versions; instructions are not compared"
fi
awk -v same=$same '
    /^#/ || NF != 4 { next }
    NR == FNR { was[$1, $2, $3] = $4; next }
    { key = $1 SUBSEP $2 SUBSEP $3; tolerance = $3 == "syscalls" ? 1.10 : 1.05; seen[key] = 1
      if (!(key in was)) { verdict = "not in the file"; bad = 1 }
      else if ($3 == "instructions" && !same) verdict = "not compared"
      # half of one hundredth is what rounding hides
      else if ($4 > was[key] * tolerance + 0.005) { verdict = "WORSE"; bad = 1 }
      else if ($4 * tolerance + 0.005 < was[key]) verdict = "better: --update"
      else verdict = "ok"
      printf "%-12s %3d %-13s %10s  was %10s  %s\n", $1, $2, $3, $4, was[key], verdict }
    END { for (key in was) if (!(key in seen)) { split(key, k, SUBSEP); printf "%s %s %s was not measured\n", k[1], k[2], k[3]; bad = 1 }
        exit bad }' "$baseline" "$work/counts"
