#!/bin/bash
# units.sh [KERNEL [CHECK...]]: boots machines with the units of units/, as `make install` lays them out, and looks at what
# became of them. 6.1 and all checks where none is named.

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
    guest overlay replug --net --append net.ifnames=0 --file "$here/units/replug.toml:/etc/bpfboot.d/50-edge.toml"
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
check_time() {
    wanted sysinit.target peer.service Wants
    cp "$here/units/peer.service" "$system"
    guest overlay time --file "$here/units/peer.conf:/etc/sysctl.d/90-peer.conf" \
        --file "$repo/target/ebpf/edge.bpf.o:/checks/edge.bpf.o" --file "$repo/target/ebpf/trace.bpf.o:/checks/trace.bpf.o"
}

all=(boot replug gate sealed time)
for check in "${@:-${all[@]}}"; do
    echo "== $kernel: $check"
    lay
    "check_$check"
done
