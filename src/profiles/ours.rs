//! The profiles with judgement, two lines a key: the setting, and why it is here. Every claim was held against the
//! kernel's source; the tests survey them.

/// The embedded default's first half.
//
// bpf_jit_harden: value 1 blinds no program of a loader with CAP_BPF (bpf_jit_blinding_enabled()), so ours stay fast.
// What it costs is bpf_jit_kallsyms_enabled(): a read-time check, so no phase would save the symbols, and none is worth
// the hole.
pub const CORE: &str = "\
net.core.bpf_jit_enable = 1
machine code instead of an interpreter; on most kernels it is 1 already, and 2 is for debugging the JIT
net.core.optmem_max >= 131072
socket filters and socket storage maps are charged to it; 20480 was the default before 6.8
net.core.bpf_jit_harden >= 1; seal
against JIT spraying by users without CAP_BPF, at no cost to our programs; the price: BPF symbols leave \
/proc/kallsyms and perf, set it to 0 to keep them
kernel.unprivileged_bpf_disabled = 2; seal
only CAP_BPF or CAP_SYS_ADMIN may load; can be taken back without a reboot, unlike 1, which is left as it is";

/// The embedded default's second half.
pub const TRACING: &str = "\
kernel.ftrace_enabled = 1
fentry and kprobes at function entries need it; 1 is the default, this only undoes somebody's 0
debug.kprobes-optimization = 1
kprobes jump and do not trap where the code allows it; 1 is the default, this only undoes somebody's 0";

/// Opt-in. Never lowers: the kernel's own defaults have grown, and many of the usual values are below them by now.
//
// netdev_budget_usecs: 2 jiffies is the least the kernel takes; at HZ=250 and below the default is more and stays.
pub const NETWORK: &str = "\
net.core.netdev_budget >= 600
packets in one softirq round; raise it further while column 3 of /proc/net/softnet_stat grows
net.core.netdev_budget_usecs >= 4000
time for that round, or it ends before the packets are through; matters at HZ=1000, where it is 2000
net.core.netdev_max_backlog >= 10000
the queue before generic XDP, veth and RPS; full when column 2 of /proc/net/softnet_stat grows
net.core.rmem_max >= 16777216
how much receive buffer a socket may ask for; a ceiling only
net.core.wmem_max >= 16777216
how much send buffer a socket may ask for; a ceiling only
net.core.optmem_max >= 131072
socket filters and socket storage maps are charged to it
net.ipv4.tcp_rmem >= 4096 131072 67108864
lets a connection's receive window grow to 64 MiB; each field is only raised
net.ipv4.tcp_wmem >= 4096 16384 67108864
lets a connection's send buffer grow to 64 MiB; each field is only raised
net.core.somaxconn >= 65535
the most that listen() may ask for; a ceiling only
net.ipv4.tcp_max_syn_backlog >= 65535
half-open connections a listener remembers before it needs SYN cookies
net.core.default_qdisc = fq
paces what TCP sends; counts for interfaces that come up later, absent where neither built in nor a module
net.ipv4.tcp_congestion_control = bbr
keeps its rate where packets get lost; for new connections only, absent where neither built in nor a module";
