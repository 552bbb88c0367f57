//! The profiles with judgement. Every claim here was held against the kernel's source; the tests survey them.

use super::{
    Entry,
    StaticGoal::{AtLeast, Set},
};

/// The embedded default's first half.
pub const CORE: &[Entry] = &[
    Entry::ours(
        "net.core.bpf_jit_enable",
        Set("1"),
        "machine code instead of an interpreter; on most kernels it is 1 already, and 2 is for debugging the JIT",
    ),
    Entry::ours(
        "net.core.optmem_max",
        AtLeast(&[131_072]),
        "socket filters and socket storage maps are charged to it; 20480 was the default before 6.8",
    ),
    // Value 1 blinds no program of a loader with CAP_BPF (bpf_jit_blinding_enabled()), so ours stay fast. What it costs
    // is bpf_jit_kallsyms_enabled(): a read-time check, so no phase would save the symbols, and none is worth the hole.
    Entry::ours(
        "net.core.bpf_jit_harden",
        AtLeast(&[1]),
        "against JIT spraying by users without CAP_BPF, at no cost to our programs; the price: BPF symbols leave \
         /proc/kallsyms and perf, set it to 0 to keep them",
    )
    .sealed(),
    Entry::ours(
        "kernel.unprivileged_bpf_disabled",
        Set("2"),
        "only CAP_BPF or CAP_SYS_ADMIN may load; can be taken back without a reboot, unlike 1, which is left as it is",
    )
    .sealed(),
];

/// The embedded default's second half.
pub const TRACING: &[Entry] = &[
    Entry::ours(
        "kernel.ftrace_enabled",
        Set("1"),
        "fentry and kprobes at function entries need it; 1 is the default, this only undoes somebody's 0",
    ),
    Entry::ours(
        "debug.kprobes-optimization",
        Set("1"),
        "kprobes jump and do not trap where the code allows it; 1 is the default, this only undoes somebody's 0",
    ),
];

/// Opt-in. Never lowers: the kernel's own defaults have grown, and many of the usual values are below them by now.
pub const NETWORK: &[Entry] = &[
    Entry::ours(
        "net.core.netdev_budget",
        AtLeast(&[600]),
        "packets in one softirq round; raise it further while column 3 of /proc/net/softnet_stat grows",
    ),
    // 2 jiffies is the least the kernel takes: at HZ=250 and below the default is beyond this and stays.
    Entry::ours(
        "net.core.netdev_budget_usecs",
        AtLeast(&[4000]),
        "time for that round, or it ends before the packets are through; matters at HZ=1000, where it is 2000",
    ),
    Entry::ours(
        "net.core.netdev_max_backlog",
        AtLeast(&[10_000]),
        "the queue before generic XDP, veth and RPS; full when column 2 of /proc/net/softnet_stat grows",
    ),
    Entry::ours(
        "net.core.rmem_max",
        AtLeast(&[16_777_216]),
        "how much receive buffer a socket may ask for; a ceiling only",
    ),
    Entry::ours(
        "net.core.wmem_max",
        AtLeast(&[16_777_216]),
        "how much send buffer a socket may ask for; a ceiling only",
    ),
    Entry::ours("net.core.optmem_max", AtLeast(&[131_072]), "socket filters and socket storage maps are charged to it"),
    Entry::ours(
        "net.ipv4.tcp_rmem",
        AtLeast(&[4096, 131_072, 67_108_864]),
        "lets a connection's receive window grow to 64 MiB; each field is only raised",
    ),
    Entry::ours(
        "net.ipv4.tcp_wmem",
        AtLeast(&[4096, 16_384, 67_108_864]),
        "lets a connection's send buffer grow to 64 MiB; each field is only raised",
    ),
    Entry::ours("net.core.somaxconn", AtLeast(&[65_535]), "the most that listen() may ask for; a ceiling only"),
    Entry::ours(
        "net.ipv4.tcp_max_syn_backlog",
        AtLeast(&[65_535]),
        "half-open connections a listener remembers before it needs SYN cookies",
    ),
    Entry::ours(
        "net.core.default_qdisc",
        Set("fq"),
        "paces what TCP sends; counts for interfaces that come up later, absent where neither built in nor a module",
    ),
    Entry::ours(
        "net.ipv4.tcp_congestion_control",
        Set("bbr"),
        "keeps its rate where packets get lost; for new connections only, absent where neither built in nor a module",
    ),
];
