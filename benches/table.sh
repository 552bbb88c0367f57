# Sourced by the benchmarks: medians, ratios and bars. Callers keep what each run took in us[NAME], in microseconds.

# quartile Q NUMBER...: the first, second (the median) or third.
quartile() {
    local quarter=$1 sorted
    shift
    mapfile -t sorted < <(printf '%s\n' "$@" | sort -n)
    echo "${sorted[$#*quarter / 4]}"
}

# thousandths N: as a decimal fraction; of microseconds that is milliseconds.
thousandths() { printf '%d.%02d' $(($1 / 1000)) $(($1 % 1000 / 10)); }

missed=0
# verdict VALUE OPERATOR BAR
verdict() {
    if (($1 $2 $3)); then verdict=ok; else verdict=MISSED missed=1; fi
}

ms() { thousandths "$(quartile 2 "$@")"; }

# ratio TITLE OURS THEIRS OPERATOR BAR: medians, and the median and middle half of what the pairs say: the time of ours
# in theirs (<=), or how much faster ours is (>=). The bar is in thousandths, if there is one.
ratio() {
    local ours theirs ratios=() i median
    read -ra ours <<<"${us[$2]}"
    read -ra theirs <<<"${us[$3]}"
    for i in "${!ours[@]}"; do
        if [[ $4 == '<=' ]]; then ratios+=($((ours[i] * 1000 / theirs[i]))); else ratios+=($((theirs[i] * 1000 / ours[i]))); fi
    done
    median=$(quartile 2 "${ratios[@]}")
    verdict "$median" "$4" "${5:-0}"
    printf '%-38s %10s %10s %7s  %s..%s  %s %s %s\n' "$1" "$(ms "${ours[@]}")" "$(ms "${theirs[@]}")" "$(thousandths "$median")" \
        "$(thousandths "$(quartile 1 "${ratios[@]}")")" "$(thousandths "$(quartile 3 "${ratios[@]}")")" "${5:+$4}" "${5:+$(thousandths "$5")}" "${5:+$verdict}"
}

# amount TITLE NUMBER UNIT BAR
amount() {
    verdict "$2" '<=' "$4"
    printf '%-38s %10s %31s %s %s\n' "$1" "$2 $3" '<=' "$4" $verdict
}
