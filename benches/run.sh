#!/bin/bash
# `bpfboot run` held against what an entrypoint does without it: setpriv alone where nothing is to be done, a shell script
# of sysctl, bpftool and setpriv where all is. Prints one table, and fails when a bar is missed. Every figure is a ratio of
# two runs that follow each other, so that other load on the machine hits both.
#
# usage: benches/run.sh [ROUNDS]      (as root; BPFBOOT=FILE: that binary)
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

. .ci/toolchain.sh
if [[ ${1:-} != --inside ]]; then
    need test
    ((EUID == 0)) || die "this loads programs into the kernel: run it as root"
    exec unshare --mount --net "$0" --inside "${1:-101}"
fi
rounds=$2

mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=0755 tmpfs /run
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
work=/run/bench
mkdir $work
cp "${BPFBOOT:-target/bpfboot}" $work/bpfboot
cp target/ebpf/{edge,trace}.bpf.o $work
cc -O2 -static benches/mark.c -o $work/mark
as='--reuid 1234 --regid 1234 --clear-groups'
become='[run]\nuser = 1234\ngroup = 1234\ngroups = []\n'
. benches/common
printf "$become" >>$work/all.toml
printf "$become" >$work/nothing.toml

# timed COMMAND...: the microseconds from its exec to that of the mark that it ends in.
timed() {
    local code=0 marks
    $work/mark "$@" >$work/said 2>&1 || code=$?
    mapfile -t marks < <(sed -n 's/^mark //p' $work/said)
    ((code == 0 && ${#marks[@]} == 2)) || { printf '%s: exit code %s\n' "$*" $code && cat $work/said; } >&2
    took=$((marks[1] - marks[0]))
}

declare -A us
note() { us[$1]+=" $took"; }
bpfboot() { timed $work/bpfboot -q --config "$work/$1.toml" run -- $work/mark; }
# shellcheck disable=SC2086  # words
alone() { timed setpriv $as --bounding-set -all --inh-caps -all --no-new-privs $work/mark; }
peer() { PEER_AS=$as PEER_COMMAND=$work/mark timed benches/peer $work/peer.conf /sys/fs/bpf $work/{edge,trace}.bpf.o; }

load=$(cut -d' ' -f1 /proc/loadavg)
for ((round = 0; round < rounds; round++)); do
    alone; note alone
    bpfboot nothing; note nothing
done
for ((round = 0; round < rounds / 3; round++)); do
    clean; peer; note peer
    clean; bpfboot all; note cold
    sleep 0.05
    bpfboot all; note warm
    ! grep -E '^(done|FAILED|failed)' $work/said >&2 || die "there was something left to do"
    alone; note beside
done
clean

. benches/table
printf '%-38s %10s %10s %7s  %-10s  %s\n' '' 'bpfboot ms' 'other ms' ratio 'middle half' wanted
ratio 'nothing to do, against setpriv' nothing alone '<=' 1500
ratio 'all there already, against setpriv' warm beside '<='
ratio 'all to do, against a shell script' cold peer '<=' 600
printf '\n%s rounds, load %s before and %s after; each time from exec to exec.\n' \
    "$rounds" "$load" "$(cut -d' ' -f1 /proc/loadavg)"
exit $missed
