#!/bin/bash
# In the guest: whether this boot came to what it should, whatever became of the one before.
. "${0%/*}/lib.sh"

is "the boot" "$(</run/vm-state)" running
is "bpfboot.service" "$(value ActiveState bpfboot.service)" active
has "its status" "$(value StatusText bpfboot.service)" "apply: healthy in "
holds "the pins are in the machine's bpffs" bpftool prog show pinned $live/edge/progs/xdp_main
healthy
[[ -e /run/bpfboot/undo ]] || fail "nothing is there to undo"

began=$(value InactiveExitTimestampMonotonic bpfboot.service) ended=$(value ActiveEnterTimestampMonotonic bpfboot.service)
echo "at work $(((ended - began) / 1000))"
