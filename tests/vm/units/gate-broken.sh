#!/bin/bash
# In the guest: a required program that the verifier refuses. The boot must not be complete, and must say why.
. "${0%/*}/lib.sh"

is "the boot" "$(</run/vm-state)" degraded
is "bpfboot.service" "$(value ActiveState bpfboot.service)" failed
is "its exit code" "$(value ExecMainStatus bpfboot.service)" 1
has "its status" "$(value StatusText bpfboot.service)" "[verifier: packet-bounds]"
is "bpfboot-check.service" "$(value ActiveState bpfboot-check.service)" failed
is "boot-complete.target" "$(value ActiveState boot-complete.target)" inactive
holds "the rest of the boot went on" systemctl is-active multi-user.target
has "the report" "$(</run/bpfboot/report.json)" '"cause":"verifier"'
has "the journal" "$(journalctl -b -o cat BPFBOOT_CAUSE=verifier)" "refused/wild"
is "greenboot" "$(/usr/lib/greenboot/check/required.d/50-bpfboot.sh >/dev/null 2>&1; echo $?)" 1
is "what is left on bpffs" "$(ls /sys/fs/bpf)" ""
# The mend, for the next boot from the same disk.
rm /etc/bpfboot.d/50-refused.toml
