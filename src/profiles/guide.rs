//! The tuning guide's values, to the letter and in its order: what it says they are for, and what the kernel does.

/// All keys that the guide sets, three lines each: the setting, why the guide has it, and what is to be said of it.
pub const GUIDE: &str = "\
net.core.bpf_jit_enable = 1
BPF as machine code
Right, and the default on x86-64 and arm64; with CONFIG_BPF_JIT_ALWAYS_ON nothing else is possible.
net.core.bpf_jit_harden = 1; seal
against JIT spraying
Costs privileged loaders no speed, as the guide fears, but hides every BPF symbol from kallsyms and perf.
net.core.bpf_jit_limit = 536870912
room for JITed programs
Binds only loaders without CAP_BPF; 0 is refused and no word for the default; on arm64 this value is a cut.
kernel.unprivileged_bpf_disabled = 2; seal
BPF for administrators only
Right value, wrong reason: 2 may be taken back, 1 holds until a reboot, and CAP_BPF is enough in both.
vm.max_map_count = 262144
BPF maps use memory mappings
Wrong: it counts the memory areas of one process, and a BPF map is none unless a program maps it.
fs.file-max = 2097152
each program and map takes a descriptor
A cut with systemd or more than 20 GiB of memory; pins hold no descriptor, and RLIMIT_NOFILE is what binds.
net.core.netdev_budget = 600
packets in one NAPI poll
Harmless but unproven: for all of softirq receive, not XDP alone; watch column 3 of /proc/net/softnet_stat.
net.core.netdev_budget_usecs = 4000
time for the larger budget
Refused at HZ=250 and below, where the least value is two jiffies (8000), and a cut on older kernels.
net.core.rmem_max = 134217728
socket buffers for BPF
A ceiling for setsockopt() of any user; XDP, tc and tracing never see it.
net.core.wmem_max = 134217728
socket buffers for BPF
A ceiling for setsockopt() of any user; XDP, tc and tracing never see it.
net.core.rmem_default = 16777216
socket buffers for BPF
Harmful: every socket that is not TCP may then queue 16 MiB, an invitation to exhaust memory.
net.core.wmem_default = 16777216
socket buffers for BPF
Harmful: every socket that is not TCP may then queue 16 MiB, an invitation to exhaust memory.
net.core.netdev_max_backlog = 10000
packets waiting for tc and XDP
Native XDP and NAPI run before that queue; it serves generic XDP, veth and RPS.
kernel.perf_event_paranoid = 0; insecure
BPF programs use perf events
Wrong and unsafe: frees users without CAP_PERFMON, and with kptr_restrict 0 shows them kernel addresses.
kernel.perf_event_max_sample_rate = 100000
perf events a CPU may have
It is samples a second and this is the default; the kernel lowers it by itself when sampling takes too long.
net.core.netdev_tstamp_prequeue = 1
enables packet timestamps
Enables none: it only chooses that they are taken before RPS, which is the default.
net.core.optmem_max = 65536
larger socket options
Right key, wrong value: halves the default of 131072 since 6.8.
net.ipv4.tcp_rmem = 4096 87380 134217728
TCP buffers for BPF
Nothing to do with BPF, and lowers the default window from 131072.
net.ipv4.tcp_wmem = 4096 65536 134217728
TCP buffers for BPF
Nothing to do with BPF; every connection starts with four times the memory.
net.ipv4.tcp_congestion_control = bbr
works well with BPF
Nothing to do with BPF; absent in many kernels, and once written every user may choose it.
net.core.default_qdisc = fq
goes with BBR
Since 4.13 BBR paces without it; absent in many kernels, and counts only for interfaces that come up later.
net.core.somaxconn = 65535
more incoming connections
Nothing to do with BPF; a ceiling that changes only what asks listen() for more.
net.ipv4.tcp_max_syn_backlog = 65535
more incoming connections
Nothing to do with BPF; SYN cookies take over where it ends.
net.ipv4.tcp_tw_reuse = 1
fewer TIME_WAIT connections
The kernel's documentation advises against it; the default, 2, already does it for loopback.
net.ipv4.tcp_fin_timeout = 30
fewer TIME_WAIT connections
Wrong: it is the time in FIN_WAIT_2; that of TIME_WAIT is a constant.
kernel.kptr_restrict = 0; insecure
kprobes with less restrictions
Wrong and unsafe: it has nothing to do with attaching kprobes, it only shows kernel addresses to more users.
kernel.ftrace_enabled = 1
the function graph tracer
The switch of all of ftrace, on by default; the tracer itself is chosen in tracefs/current_tracer.";
