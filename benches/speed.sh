#!/bin/bash
# Speed and memory of bpfboot, held against what it replaces; prints one table, and fails when a bar is missed.
# Every figure is a ratio of two runs that follow each other, so that other load on the machine hits both.
#
# usage: benches/speed.sh [ROUNDS [ROUNDS-OF-16-SLOW-PROGRAMS]]      (as root; BPFBOOT=FILE: that binary)
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

. .ci/toolchain.sh
if [[ ${1:-} != --inside ]]; then
    need test
    ((EUID == 0)) || die "this loads programs into the kernel: run it as root"
    # Namespaces of its own: pins, attachments and settings go with them, and the machine's are not touched.
    exec unshare --mount --net "$0" --inside "${1:-41}" "${2:-5}"
fi
rounds=$2 slow_rounds=$3

# --- The sandbox --------------------------------------------------------------------------------

mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=0755 tmpfs /run
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing

work=/run/bench
mkdir $work
cp "${BPFBOOT:-target/bpfboot}" $work/bpfboot
cp target/ebpf/{edge,trace}.bpf.o $work
clang -g -O2 -target bpf -I"/usr/include/$(cc -print-multiarch)" -c benches/slow.bpf.c -o $work/slow.bpf.o
cc -O2 -static benches/stopwatch.c -o $work/stopwatch

. benches/common
printf '[bpf]\ndeadline = "5m"\n[object.slow]\npath = "%s"\n' $work/slow.bpf.o >$work/slow.toml

# --- The runs -----------------------------------------------------------------------------------

# timed COMMAND...: its microseconds in $took, its largest resident set in $rss, what it said in a file; it must succeed.
timed() {
    local code=0
    $work/stopwatch "$@" 3>$work/took >$work/said 2>&1 || code=$?
    read -r took rss <$work/took
    ((code == 0)) || { printf '%s: exit code %s\n' "$*" $code && cat $work/said; } >&2
    return $code
}

bpfboot() { timed $work/bpfboot --config "$work/$1.toml" apply; }
peer() { timed benches/peer $work/peer.conf /sys/fs/bpf $work/{edge,trace}.bpf.o; }
one_by_one() { timed bpftool prog loadall $work/slow.bpf.o /sys/fs/bpf/slow; }

# What the machine itself gives: two CPUs may be one core, and may have other work.
two_at_once() {
    timed sh -c 'for half in a b; do bpftool prog loadall "$0" /sys/fs/bpf/$half & done; wait' $work/slow.bpf.o
    [[ -e /sys/fs/bpf/a/slow_33 && -e /sys/fs/bpf/b/slow_33 ]] || die "two bpftools at once: $(<$work/said)"
    took=$((took / 2))
}

warm() {
    sleep 0.05
    bpfboot all
    ! grep -E '^(done|FAILED|failed)' $work/said >&2 || die "there was something left to do"
}

# note NAME: keeps what the last run took, in us[NAME], and the most memory that any such run had, in kib[NAME].
declare -A us kib
note() {
    us[$1]+=" $took"
    ((rss <= ${kib[$1]:-0})) || kib[$1]=$rss
}

load=$(cut -d' ' -f1 /proc/loadavg)
for ((round = 0; round < rounds; round++)); do
    clean; timed /usr/bin/true; note nothing
    clean; peer; note peer
    clean; bpfboot all; note cold
    warm; note warm
    clean; bpfboot attached; note attached
done
for ((round = 0; round < slow_rounds; round++)); do
    clean; one_by_one; note one_by_one
    clean; bpfboot slow; note slow
    clean; two_at_once; note two_at_once
done

clean

# --- The table ----------------------------------------------------------------------------------

. benches/table

read -ra nothing <<<"${us[nothing]}"
printf '%-38s %10s %10s %7s  %-10s  %s\n' '' 'bpfboot ms' 'other ms' ratio 'middle half' wanted
ratio 'cold: tune, load, pin, step down' cold peer '<=' 600
ratio '  and eight tracepoints attached' attached peer '<='
ratio 'warm: nothing to do' warm peer '<=' 300
ratio '16 slow programs: times faster' slow one_by_one '>=' 1850
ratio '  the same by two bpftools at once' two_at_once one_by_one '>='
amount 'peak memory, cold' "${kib[cold]}" KiB 3072
amount 'peak memory, warm' "${kib[warm]}" KiB 3072
amount 'peak memory, 16 slow programs' "${kib[slow]}" KiB 3072
size=$(stat -c %s $work/bpfboot)
amount 'size of the binary' $(((size + 1023) / 1024)) KiB 1100
file -b $work/bpfboot
cat <<END

$rounds rounds ($slow_rounds of slow programs), load $load before and $(cut -d' ' -f1 /proc/loadavg) after; starting /usr/bin/true alone takes $(ms "${nothing[@]}") ms of each time.
cold, warm: against benches/peer, which does the same with sysctl, bpftool and setpriv, and cannot run twice. bpfboot also
  proves, keeps an undo journal, reports and logs. Attached is the embedded default: bpftool 7.1 cannot do that.
slow: against bpftool prog loadall, which loads one by one. Two bpftools, each with all 16, in half their time: what the
  machine makes possible just now.
memory: the largest resident set of any of its processes.
END
exit $missed
