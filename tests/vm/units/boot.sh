#!/bin/bash
# In the guest: what bpfboot.service came to, and that reload, stop and start do what they say.
. "${0%/*}/lib.sh"

is "the boot" "$(</run/vm-state)" running
is "bpfboot.service" "$(value ActiveState bpfboot.service)" active
has "its status" "$(value StatusText bpfboot.service)" "apply: healthy in "
before bpfboot.service network-pre.target
before bpfboot.service sysinit.target
holds "the pins are in the machine's bpffs" bpftool prog show pinned $live/edge/progs/xdp_main
healthy
has "the journal's fields" "$(journalctl -b -o cat --output-fields=BPFBOOT_HEALTH -u bpfboot.service BPFBOOT_VERB=apply)" healthy

program=$(id edge/progs/xdp_main)
holds "reload" systemctl reload bpfboot.service
is "the program after a reload" "$(id edge/progs/xdp_main)" "$program"
has "the status of the reload" "$(value StatusText bpfboot.service)" "already, 1 skipped"
holds "stop" systemctl stop bpfboot.service
is "what is left on bpffs" "$(ls /sys/fs/bpf)" ""
has "the status of the stop" "$(value StatusText bpfboot.service)" "undo: healthy"
holds "start" systemctl start bpfboot.service
healthy
