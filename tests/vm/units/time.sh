#!/bin/bash
# In the guest: what `systemd-analyze blame` says of bpfboot.service, and of systemd-sysctl.service plus peer.service, which
# do the same work with sysctl.d, bpftool and setpriv. The boot itself, then five rounds more in the same guest.
. "${0%/*}/lib.sh"

# blame UNIT: in milliseconds.
blame() {
    systemd-analyze blame --no-pager | busybox awk -v unit="$1" '$NF == unit {
        for (i = 1; i < NF; i++) {
            if ($i ~ /min$/) sum += 60000 * $i
            else if ($i ~ /ms$/) sum += $i
            else sum += 1000 * $i
        }
        print sum
    }'
}
is "peer.service" "$(value ActiveState peer.service)" active
holds "the peer's program is there" bpftool prog show pinned /sys/fs/bpf/peer/trace/trace_openat
ratios=()
for round in boot 1 2 3 4 5; do
    [[ $round == boot ]] || {
        systemctl stop bpfboot.service peer.service
        systemctl restart systemd-sysctl.service
        systemctl start peer.service
        systemctl start bpfboot.service
    }
    has "the work" "$(value StatusText bpfboot.service)" "done"
    ours=$(blame bpfboot.service) sysctl=$(blame systemd-sysctl.service) peer=$(blame peer.service)
    ratios+=($((ours * 1000 / (sysctl + peer))))
    echo "$round: bpfboot $ours ms, systemd-sysctl $sysctl ms + bpftool and setpriv $peer ms: ${ratios[-1]} thousandths"
done
mapfile -t sorted < <(printf '%s\n' "${ratios[@]}" | sort -n)
median=$(((sorted[2] + sorted[3]) / 2))
echo "median: $median thousandths"
((median <= 800)) && echo "ok at most 0.8 of it" || fail "bpfboot.service takes more than 0.8 of what it replaces"
