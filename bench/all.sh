#!/bin/bash
# all.sh: every measurement, one after the other; fails when one of them missed a bound. Started by `make bench`.
set -u
cd "$(dirname "$0")/.." || exit 1
missed=0
for part in run spool tasks queue; do
    bench/$part.sh || missed=1
done
exit $missed
