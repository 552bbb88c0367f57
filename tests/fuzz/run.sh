#!/bin/bash
# run.sh TARGET SECONDS: fuzzes one target, and tells in one line what came of it. New inputs are kept in
# target/fuzz/corpus, what fails in target/fuzz/found. run.sh TARGET minimise: both corpora become the smallest
# set of inputs that covers as much, and 160 KiB of it are kept in tests/fuzz/corpus.
set -euo pipefail
target=$1
work=target/fuzz/corpus/$target
kept=tests/fuzz/corpus/$target
log=target/fuzz/$target.log
mkdir -p "$work" "$kept" target/fuzz/found

# Objects must have room to be objects; the others find as much in less.
longest=4096 seeds=()
[[ $target != object ]] || { longest=16384; seeds=(target/ebpf target/test-objects); }
options=(-max_len=$longest -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="target/fuzz/found/$target-")
[[ ! -e tests/fuzz/$target.dict ]] || options+=(-dict="tests/fuzz/$target.dict")

if [[ $2 == minimise ]]; then
    new=$(mktemp -d)
    "$FUZZERS/$target" "${options[@]}" -merge=1 "$new" "$kept" "$work" 2>"$log" || { tail -n 20 "$log" >&2; exit 1; }
    rm -rf "$kept"
    mkdir "$kept"
    # In the order of their hashes, which is as good as a draw, as many as the repository has room for.
    room=$((160 << 10))
    for input in "$new"/*; do
        ((room -= $(stat -c %s "$input"))) || true
        ((room > 0)) || break
        name=${input##*/}
        cp "$input" "$kept/${name:0:16}"
    done
    rm -rf "$new"
    printf '%-8s %s inputs, %s\n' "$target" "$(ls "$kept" | wc -l)" "$(du -sh --apparent-size "$kept" | cut -f1)"
    exit
fi

code=0
"$FUZZERS/$target" "${options[@]}" -max_total_time="$2" "$work" "$kept" "${seeds[@]}" 2>"$log" >/dev/null || code=$?
if ((code)); then
    printf '%-8s FAILED with code %s: %s\n' "$target" "$code" "$log"
    grep -m 3 -A 1 -E 'panicked at|ERROR: libFuzzer|Test unit written' "$log" || tail -n 5 "$log"
    # What xargs takes for a failure without stopping the others.
    exit 1
fi
figure() { sed -n "s/^stat::$1: *//p" "$log"; }
last=$(grep -E '^#[0-9]+.*cov:' "$log" | tail -n 1)
word() { sed -n "s/.* $1: \([^ ]*\).*/\1/p" <<<"$last"; }
printf '%-8s %s runs, %s/s, coverage %s edges %s features, corpus %s, %s\n' "$target" \
    "$(figure number_of_executed_units)" "$(figure average_exec_per_sec)" "$(word cov)" "$(word ft)" "$(word corp)" \
    "$(sed -n 's/^WORST //p' "$log")"
