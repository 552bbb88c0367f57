#!/bin/bash
# In the guest: the next boot from the same disk, mended.
. "${0%/*}/lib.sh"

is "the boot" "$(</run/vm-state)" running
is "bpfboot.service" "$(value ActiveState bpfboot.service)" active
is "boot-complete.target" "$(value ActiveState boot-complete.target)" active
before bpfboot.service boot-complete.target
is "greenboot" "$(/usr/lib/greenboot/check/required.d/50-bpfboot.sh >/dev/null 2>&1; echo $?)" 0
healthy

# Drift is found by the same unit when the timer starts it, and is a failed unit.
holds "the timer" systemctl start bpfboot-check.timer
is "what it starts" "$(value Triggers bpfboot-check.timer)" bpfboot-check.service
rm $live/trace/links/trace_openat
is "a check that finds drift" "$(systemctl start bpfboot-check.service 2>/dev/null; echo $?)" 1
is "its exit code" "$(value ExecMainStatus bpfboot-check.service)" 5
has "its status" "$(value StatusText bpfboot-check.service)" "trace_openat"
is "boot-complete.target stays" "$(value ActiveState boot-complete.target)" active
holds "reload" systemctl reload bpfboot.service
holds "a check after it" systemctl start bpfboot-check.service
