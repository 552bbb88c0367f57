#!/bin/bash
# units.sh [KERNEL [CHECK...]]: boots machines with the units of units/, as `make install` lays them out, and looks at what
# became of them. 6.1 where none is named, and all checks but `power`, to which SEED= and CUTS= are told.

. "$(dirname "$0")/lib.sh"
kernel=${1:-6.1}
shift $(($# ? 1 : 0))
repo=${here%/tests/vm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tree=$work/tree system=$work/tree/usr/lib/systemd/system
# lay: what is installed, as new for each check.
lay() {
    rm -rf "${tree:?}"
    make -s -C "$repo" install DESTDIR="$tree"
    rm -rf "${tree:?}/usr/share"
    wanted sysinit.target bpfboot.service Wants
}
# wanted TARGET UNIT HOW: as `systemctl enable` would have it; run.sh copies no links.
wanted() {
    mkdir -p "$system/$1.d"
    printf '[Unit]\n%s=%s\n' "$3" "$2" >>"$system/$1.d/test.conf"
}

# guest MODE CHECK [OPTION]...: boots, with the check as its command.
guest() {
    local mode=$1 check=$2
    shift 2
    "$here/run.sh" --systemd "$mode" --timeout 180 --file "$tree:/" --file "$here/units:/checks" "$@" \
        "$kernel" bash "/checks/$check.sh"
}

check_boot() { guest overlay boot; }
check_replug() {
    guest overlay replug --net --parallel --append net.ifnames=0 --file "$here/units/replug.toml:/etc/bpfboot.d/50-edge.toml"
}
check_gate() {
    wanted boot-complete.target bpfboot-check.service Requires
    wanted multi-user.target boot-complete.target Wants
    printf '[object.refused]\npath = "/etc/refused.bpf.o"\n' >"$work/refused.toml"
    local disk=$work/disk
    guest overlay gate-broken --disk "$disk" --file "$work/refused.toml:/etc/bpfboot.d/50-refused.toml" \
        --file "$repo/target/test-objects/refused.bpf.o:/etc/refused.bpf.o"
    guest overlay gate-mended --disk "$disk"
}
check_sealed() {
    local ttl='"net.ipv4.ip_default_ttl"' edge=$'[object.edge]\npath = "builtin:edge"' at
    printf '[sysctl]\n%s = 101\n%s\n' "$ttl" "$edge" >"$work/given.toml"
    printf '[sysctl]\n%s = 102\n%s\n' "$ttl" "$edge" >"$work/typed.toml"
    for at in '' bpfboot.config=/usr/share/typed.toml bpfboot=off; do
        echo "-- command line: ${at:-nothing}"
        guest ro sealed --append "$at" --file "$here/units/init:/sbin/init" \
            --file "$work/given.toml:/usr/lib/credstore/bpfboot.config" --file "$work/typed.toml:/usr/share/typed.toml"
    done
}
check_agent() {
    # It alone: nothing is loaded before it.
    rm -r "$system/sysinit.target.d"
    guest overlay agent --file "$here/units/agent.toml:/etc/bpfboot.d/50-agent.toml"
}
check_time() {
    wanted sysinit.target peer.service Wants
    cp "$here/units/peer.service" "$system"
    guest overlay time --parallel --file "$here/units/peer.conf:/etc/sysctl.d/90-peer.conf" \
        --file "$repo/target/ebpf/edge.bpf.o:/checks/edge.bpf.o" --file "$repo/target/ebpf/trace.bpf.o:/checks/trace.bpf.o"
}

# The power is cut at random moments of a machine's first boot. Each next boot from the same disk must be healthy. Every
# second moment is one at which our unit is at work.
check_power() {
    local cuts=${CUTS:-50} seed=${SEED:-$((SRANDOM % 32768))} disk=$work/disk log=$work/log
    local cut total works moment code reached before=0 within=0 after=0
    mkdir -p "$system/bpfboot.service.d"
    printf '[Service]\nDeviceAllow=/dev/ttyS1 w\n%s\n%s\n' "ExecStartPre=+sh -c 'echo bpfboot begins >/dev/ttyS1'" \
        "ExecStartPost=+sh -c 'echo bpfboot ended >/dev/ttyS1'" >"$system/bpfboot.service.d/when.conf"
    guest overlay power --disk "$disk" --log "$log" >"$work/said" || { cat "$work/said" && return 1; }
    total=$(<"$log/took")
    works=$(sed -n 's/^at work //p' "$work/said")
    echo "-- SEED=$seed: a boot takes $total ms, in which bpfboot.service is at work for $works ms"
    RANDOM=$seed
    for ((cut = 1; cut <= cuts; cut++)); do
        moment=$((RANDOM * (cut % 2 ? total : works) / 32768))
        printf -v moment '%d.%03d' $((moment / 1000)) $((moment % 1000))
        ((cut % 2)) || moment="bpfboot begins+$moment"
        rm -f "$disk" "$log/output"
        code=0
        guest overlay power --disk "$disk" --log "$log" --cut "$moment" >"$work/said" || code=$?
        # A boot that was faster than its moment was not cut, and stands for a cut at its end.
        ((code == 137 || code == 0)) || { cat "$work/said" && return 1; }
        case $(<"$log/output") in
        *'bpfboot ended'*) reached='after bpfboot' && ((++after)) ;;
        *'bpfboot begins'*) reached='while bpfboot ran' && ((++within)) ;;
        *) reached='before bpfboot' && ((++before)) ;;
        esac
        guest overlay power --disk "$disk" >"$work/said" || {
            cat "$work/said"
            echo "FAILED cut $cut at $moment s, $reached: the next boot is not healthy (SEED=$seed)"
            return 1
        }
        echo "ok cut $cut at $moment s, $reached: the next boot is healthy"
    done
    echo "ok $cuts cuts (SEED=$seed): $before before bpfboot.service, $within while it ran, $after after it"
}

all=(boot replug gate sealed time agent)
for check in "${@:-${all[@]}}"; do
    echo "== $kernel: $check"
    lay
    "check_$check"
done
