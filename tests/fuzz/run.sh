#!/bin/bash
# run.sh: runs every fuzz target below $BUILD/tests/fuzz for FUZZ_SECONDS each, two at a time, from the seeds in corpus/<target> and what earlier
# runs found ($BUILD/fuzz/<target>). Fails, and says how to repeat it, when a target finds something. Started by `make fuzz`.
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD:-build/fuzz}
seconds=${FUZZ_SECONDS:-300}
run_one() {
    target=$1 here=$2 build=$3 seconds=$4
    name=$(basename "$target")
    work=$build/fuzz/$name
    mkdir -p "$work"
    args=("-max_total_time=$seconds" -timeout=5 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 "-artifact_prefix=$work-")
    [ -f "$here/$name.dict" ] && args+=("-dict=$here/$name.dict")
    seeds=()
    [ -d "$here/corpus/$name" ] && seeds=("$here/corpus/$name")
    if "$target" "${args[@]}" "$work" "${seeds[@]}" >"$work.log" 2>&1; then
        echo "$name: $(sed -n 's/^stat::number_of_executed_units: */inputs /p' "$work.log"), nothing found"
    else
        tail -n 60 "$work.log"
        echo "FAILED $name: repeat with $target <the file named above>; log in $work.log"
        return 1
    fi
}
export -f run_one
mapfile -t targets < <(find "$build/tests/fuzz" -maxdepth 1 -type f -name 'fuzz_*' -perm -u+x 2>/dev/null | sort)
if [ "${#targets[@]}" = 0 ]; then
    echo "no fuzz targets below $build/tests/fuzz: build them with make fuzz" >&2
    exit 1
fi
printf '%s\0' "${targets[@]}" | xargs -0 -P 2 -I{} bash -c 'run_one "$@"' _ {} "$here" "$build" "$seconds"
