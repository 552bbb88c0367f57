#!/bin/bash
# In the guest: what `bpfboot render systemd` writes starts an agent that holds what it should, with its eBPF loaded.
. "${0%/*}/lib.sh"

is "the boot" "$(</run/vm-state)" running
mkdir -p /run/sysctl.d
bpfboot render sysctl.d >/run/sysctl.d/90-bpfboot.conf
holds "the settings are made, and not by the agent" systemctl restart systemd-sysctl.service
status() { sed -n "s/^$1:\t//p" "/proc/$agent/status"; }

# Debian's kernel has a level of its own, at which CAP_PERFMON is not enough; 2 is the level of all others.
for paranoid in 3 2; do
    echo "$paranoid" >/proc/sys/kernel/perf_event_paranoid
    bpfboot undo --quiet
    bpfboot render systemd -- /usr/bin/sleep infinity >/run/systemd/system/agent.service
    systemctl daemon-reload
    case $paranoid in
    3) has "the reason" "$(</run/systemd/system/agent.service)" "# CAP_SYS_ADMIN: CAP_PERFMON is not enough to attach trace/" ;;
    2) holds "exposure of at most 2.0" systemd-analyze security --no-pager --threshold=20 agent.service ;;
    esac
    holds "start" systemctl restart agent.service
    for ((wait = 0; wait < 100; wait++)); do
        agent=$(value MainPID agent.service)
        [[ $(cat "/proc/$agent/comm" 2>/dev/null) != sleep ]] || break
        sleep 0.1
    done
    is "the process is the command" "$(cat "/proc/$agent/comm")" sleep
    is "its user" "$(status Uid)" $'65534\t65534\t65534\t65534'
    for set in CapInh CapPrm CapEff CapBnd CapAmb; do is "its $set" "$(status $set)" 0000000000002000; done
    is "its descriptors" "$(ls "/proc/$agent/fd" | tr '\n' ' ')" "0 1 2 3 "
    has "the one that was passed" "$(readlink "/proc/$agent/fd/3")" bpf-map
    has "its environment" "$(tr '\0' ' ' <"/proc/$agent/environ")" "LISTEN_FDNAMES=trace/maps/events"
    has "its status" "$(value StatusText agent.service)" "run: healthy in "
    is "what others set" "$(</proc/sys/net/core/somaxconn)" 7777
    holds "the pins are in the machine's bpffs" bpftool prog show pinned $live/trace/progs/trace_openat
    has "the journal" "$(journalctl -b -o cat -u agent.service)" "run: healthy in "
done
