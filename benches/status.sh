#!/bin/bash
# What `bpfboot status` costs for 20 programs and 40 maps, held against the three calls of bpftool that show about the
# same; prints one table, and fails when a bar is missed. Each ratio is of two runs that follow each other.
#
# usage: benches/status.sh [ROUNDS]      (as root; BPFBOOT=FILE: that binary)
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
work=/run/bench
mkdir $work
cp "${BPFBOOT:-target/bpfboot}" $work/bpfboot
clang -g -O2 -target bpf -I"/usr/include/$(cc -print-multiarch)" -c tests/objects/crowd.bpf.c -o $work/crowd.bpf.o
cc -O2 -static benches/stopwatch.c -o $work/stopwatch
ip link add veth0 type veth peer name veth1
ip link set veth0 up
ip link set veth1 up
printf '[object.crowd]\npath = "%s"\nprograms.pass_0 = { attach = { xdp = "veth0" } }\n' $work/crowd.bpf.o >$work/crowd.toml
for n in {1..19}; do echo "programs.pass_$n = {}" >>$work/crowd.toml; done
$work/bpfboot -q -c $work/crowd.toml apply >$work/said || die "$(<$work/said)"
live=(/sys/fs/bpf/bpfboot/live/crowd/{progs,maps}/*)
((${#live[@]} == 60)) || die "${#live[@]} programs and maps instead of 60"

timed() {
    local code=0
    $work/stopwatch "$@" 3>$work/took >$work/said 2>&1 || code=$?
    read -r took rss <$work/took
    ((code == 0)) || { printf '%s: exit code %s\n' "$*" $code && cat $work/said; } >&2
    return $code
}

declare -A us kib
note() {
    us[$1]+=" $took"
    ((rss <= ${kib[$1]:-0})) || kib[$1]=$rss
}

# Three processes, as anybody would start them; the shell's own time does not count.
bpftools() {
    local sum=0 kind
    for kind in prog map link; do
        timed bpftool $kind show
        sum=$((sum + took))
    done
    took=$sum
}

load=$(cut -d' ' -f1 /proc/loadavg)
for ((round = 0; round < rounds; round++)); do
    timed $work/bpfboot -c $work/crowd.toml status; note status
    bpftools; note bpftool
    timed $work/bpfboot -c $work/crowd.toml status --json; note json
    timed $work/bpfboot -c $work/crowd.toml status --count; note count
    timed $work/bpfboot -c $work/crowd.toml check; note check
done

. benches/table

read -ra ours <<<"${us[status]}"
printf '%-38s %10s %10s %7s  %-10s  %s\n' '' 'bpfboot ms' 'other ms' ratio 'middle half' wanted
ratio 'status, 20 programs and 40 maps' status bpftool '<=' 1000
ratio '  as JSON' json bpftool '<='
ratio '  and large hash maps counted' count bpftool '<='
ratio '  against check' status check '<='
amount 'status, the median' "$(quartile 2 "${ours[@]}")" us 5000
amount 'peak memory' "${kib[status]}" KiB 3072
cat <<END

$rounds rounds, load $load before and $(cut -d' ' -f1 /proc/loadavg) after; the fastest status took $(thousandths "$(quartile 0 "${ours[@]}")") ms.
other: bpftool prog show, map show and link show, one after the other. They prove nothing, say nothing of interfaces' modes,
  and nothing of how full a map is.
END
exit $missed
