#!/bin/sh
# Fuzzes: run.sh build_folder seconds [target ...]. Begins with the kept corpus and with files that the engine writes now;
# what is found stays in build_folder/work, inputs that fail in build_folder/findings. Keeps going where a target fails.
# run.sh build_folder keep: puts the smallest set of inputs that covers as much in the place of the kept corpus; inputs
# whose names begin with finding- stay as they are.
set -eu
build=$(realpath "$1"); what=$2; shift 2
here=$(cd "$(dirname "$0")" && pwd)
fuzzer=$build/tests/fuzz/fuzzer
work=$build/work; findings=$build/findings; seeds=$build/seeds
python=${PYTHON:-python3}
known="batch database filter heat manifest options table wal"
"$python" -c 'import atheris, nori_lsm' 2>/dev/null && known="backup $known"
targets=${*:-$known}
# Blocks above 64 MiB are stored raw, so nothing larger than that and an input is allocated at once.
limits="-max_len=131072 -malloc_limit_mb=72 -rss_limit_mb=3000 -timeout=25"
# Kept inputs are small; those of the log and of databases must span blocks of 32 KiB.
kept_bytes() { case $1 in wal | database) echo 100000 ;; *) echo 9000 ;; esac; }
kept_total() { case $1 in wal | database) echo 180000 ;; *) echo 60000 ;; esac; }

# What is read in Python has a fuzzer of its own; its arguments are the same.
run_fuzzer() {
    target=$1; shift
    case $target in
    backup) "$python" "$here/fuzz_backup.py" "$@" ;;
    *) NR_FUZZ_TARGET=$target "$fuzzer" "$@" ;;
    esac
}

keep() {
    kept=$here/corpus/$1
    mkdir -p "$kept" "$build/kept" "$work/$1" "$seeds/$1"
    rm -rf "$build/kept/$1" "$build/small/$1"; mkdir -p "$build/kept/$1" "$build/small/$1"
    find "$work/$1" "$kept" "$seeds/$1" -type f ! -name 'finding-*' -size -"$(kept_bytes "$1")"c -exec cp {} "$build/small/$1" \;
    run_fuzzer "$1" $limits -merge=1 "$build/kept/$1" "$build/small/$1" >"$build/$1.merge" 2>&1 ||
        { tail -5 "$build/$1.merge"; return 1; }
    find "$kept" -type f ! -name 'finding-*' -exec rm {} +
    # The merge takes small ones first; so does this, up to its share.
    left=$(kept_total "$1")
    for file in $(ls -Sr "$build/kept/$1"); do
        left=$((left - $(stat -c %s "$build/kept/$1/$file")))
        [ $left -gt 0 ] || break
        cp "$build/kept/$1/$file" "$kept/$file"
    done
    echo "$1: kept $(ls "$kept" | wc -l) of $(ls "$build/small/$1" | wc -l) inputs, $(du -sb "$kept" | cut -f1) bytes"
}

# Seconds of processor time that programs begun by this one took.
spent() {
    times >"$build/$$.times"
    sed -n 2p "$build/$$.times" | awk '{ split($1, user, "[ms]"); split($2, kernel, "[ms]")
        print int(60 * (user[1] + kernel[1]) + user[2] + kernel[2]) }'
}

fuzz() {
    mkdir -p "$work/$1" "$findings" "$here/corpus/$1" "$seeds/$1"
    log=$build/$1.log
    status=0
    spent >"$build/$$.before"
    run_fuzzer "$1" "$work/$1" "$here/corpus/$1" "$seeds/$1" $limits -max_total_time="$what" \
        -print_final_stats=1 -artifact_prefix="$findings/$1-" >"$log" 2>&1 || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
    coverage=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\) .*/\1 edges, \2 features/p' "$log" | tail -1)
    spent >"$build/$$.after"
    seconds=$(($(cat "$build/$$.after") - $(cat "$build/$$.before")))
    said=$([ $status = 0 ] && echo 'nothing found' || echo "FAILED: see $log")
    echo "$1: ${runs:-0} runs in $seconds s of processor time, $coverage, $said"
    return $status
}

if [ ! -d "$seeds" ]; then # Whole or not at all.
    rm -rf "$seeds.new"
    "$build/tests/fuzz/make_corpus" "$seeds.new"
    mv "$seeds.new" "$seeds"
fi
failed=0
for target in $targets; do
    if [ "$what" = keep ]; then keep "$target" || failed=1; else fuzz "$target" || failed=1; fi
done
rm -f "$build/$$.times" "$build/$$.before" "$build/$$.after"
exit $failed
