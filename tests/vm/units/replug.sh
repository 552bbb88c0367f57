#!/bin/bash
# In the guest, with a virtio-net card and a configuration that wants XDP on it: unplugged and plugged in again, renamed, and
# interfaces that nobody wants. The time runs from the kernel's new interface to the kernel's answer that XDP is on it.
. "${0%/*}/lib.sh"

now() { echo "${EPOCHREALTIME/./}"; }
xdp() { [[ $(ip link show dev "$1" 2>/dev/null) == *xdp* ]]; }
# attached NAME: how many milliseconds it took.
attached() {
    local start tries=1000
    until [[ -e /sys/class/net/$1 ]]; do ((tries--)) || fail "there is no $1"; sleep 0.01; done
    start=$(now)
    until xdp "$1"; do ((tries--)) || fail "no XDP on $1"; sleep 0.01; done
    took=$((($(now) - start) / 1000))
    ((took < 1000)) && echo "ok $1 has XDP again after $took ms" || fail "$1 has XDP after $took ms only"
}

is "bpfboot.service" "$(value ActiveState bpfboot.service)" active
holds "XDP is on eth0 after the boot" xdp eth0
healthy
device=$(readlink -f /sys/class/net/eth0/device)
while [[ ! -e $device/remove ]]; do device=${device%/*}; done
for round in 1 2 3; do
    echo 1 >"$device/remove"
    [[ ! -e /sys/class/net/eth0 ]] || fail "eth0 is still there"
    is "check without the interface" "$(bpfboot -q check >/dev/null; echo $?)" 5
    echo 1 >/sys/bus/pci/rescan &
    attached eth0
    wait
    healthy
done

# The name that the configuration knows is given later.
echo 1 >"$device/remove"
ip link add dev other0 type veth peer name peer0
ip link set other0 name eth0
attached eth0
has "a stranger's unit" "$(value Result bpfboot-attach@peer0.service)" success
is "XDP on the stranger" "$(xdp peer0 && echo yes || echo no)" no

# After a stop nothing is attached, and nothing is even started.
holds "stop" systemctl stop bpfboot.service
ip link del eth0
ip link add dev eth0 type veth peer name peer0
udevadm settle
is "a new interface after a stop" "$(value ConditionResult bpfboot-attach@eth0.service)" no
is "XDP on it" "$(xdp eth0 && echo yes || echo no)" no
