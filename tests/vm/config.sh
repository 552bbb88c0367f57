#!/bin/bash
# config.sh KERNEL: prints a configuration that uses what that kernel has, for a boot with systemd.

. "$(dirname "$0")/lib.sh"
(($# == 1)) || usage
interface=eth0 mode=native trace='' probes=(kprobe kretprobe ksyscall fentry fexit lsm)
case $1 in
# A kprobe's link can be pinned since 5.15.
5.10) probes=(fentry fexit lsm) ;;
# No tracing at all, and no card. What is absent is optional: degraded, with the reason.
uml) interface=lo mode=generic trace='optional = true' probes=() ;;
esac
cat <<END
profiles = ["core", "tracing", "network"]
[limits]
memlock = "auto"
nofile = 65536
[mounts]
bpffs = { mode = "0700" }
tracefs = { if-available = true }
debugfs = { if-available = true }
[knobs]
"debugfs/kprobes/enabled" = { value = 1, if-available = true }
[bpf]
# An emulated processor on a busy machine.
deadline = "60s"
[object.edge]
path = "builtin:edge"
programs.xdp_main = { attach = { xdp = "$interface", mode = "$mode", wait = "20s" } }
[object.trace]
path = "builtin:trace"
$trace
END
((!${#probes[@]})) || {
    printf '[object.probes]\npath = "%s/target/test-objects/probes.bpf.o"\n' "${here%/tests/vm}"
    printf 'programs.by_%s = {}\n' "${probes[@]}"
}
