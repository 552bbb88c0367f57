#!/bin/bash
# In the guest: nothing is writable but /run and the kernel's own file systems, /etc is empty, and the configuration is a
# credential or named on the kernel's command line.
. "${0%/*}/lib.sh"

is "/etc" "$(ls -A /etc | grep -v '^machine-id$' || :)" ""
is "a write to the root" "$(touch /usr/x 2>/dev/null; echo $?)" 1
is "a write to /etc" "$(touch /etc/x 2>/dev/null; echo $?)" 1
is "bpfboot.service" "$(value ActiveState bpfboot.service)" active
words=$(</proc/cmdline)
if [[ $words == *bpfboot=off* ]]; then
    has "its status" "$(value StatusText bpfboot.service)" "healthy"
    has "what it said" "$(journalctl -b -o cat -u bpfboot.service)" "bpfboot=off on the kernel's command line"
    is "what is on bpffs" "$(ls /sys/fs/bpf)" ""
    exit
fi
source=/run/credentials/bpfboot.service/bpfboot.config value=101
[[ $words != *bpfboot.config=* ]] || source=/usr/share/typed.toml value=102
has "the configuration" "$(</run/bpfboot/report.json)" "\"sources\":[\"$source\"]"
is "its value" "$(</proc/sys/net/ipv4/ip_default_ttl)" "$value"
program=$(id edge/progs/xdp_main)
holds "reload, with the same configuration" systemctl reload bpfboot.service
has "the configuration" "$(</run/bpfboot/report.json)" "\"sources\":[\"$source\"]"
is "the program after it" "$(id edge/progs/xdp_main)" "$program"
holds "a check with its own credential" systemctl start bpfboot-check.service
holds "stop" systemctl stop bpfboot.service
is "the value after a stop" "$(</proc/sys/net/ipv4/ip_default_ttl)" 64
