//! What the kernel does not tell: ranges it does not check, one-way keys, who may write, why a key is missing.
//!
//! Held against the sources of 6.18 and tried on it; where older kernels differ, the line says so.

use super::value::{number, numbers, single};
use crate::{
    config::{Goal, words},
    facts::{CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_PTRACE},
};

/// The paths that have a say in code, relative to /proc/sys.
pub const UNPRIVILEGED_BPF: &str = "kernel/unprivileged_bpf_disabled";
/// Who may use perf events.
pub const PARANOID: &str = "kernel/perf_event_paranoid";
/// Who sees kernel addresses.
pub const KPTR: &str = "kernel/kptr_restrict";
/// The TCP algorithm of new sockets.
pub const CONGESTION: &str = "net/ipv4/tcp_congestion_control";
/// Lowered by the kernel itself when samples take too long (perf_sample_event_took() in kernel/events/core.c).
pub const SAMPLE_RATE: &str = "kernel/perf_event_max_sample_rate";
const JIT_ENABLE: &str = "net/core/bpf_jit_enable";
const FTRACE: &str = "kernel/ftrace_enabled";

/// Keys of exactly one number, and the least and the most that we let through: the kernel's range, or ours where it
/// has none and would take -5 (netdev_budget, netdev_max_backlog and others have no extra1). tcp_fin_timeout is kept in
/// jiffies: a day is far inside an int at every HZ. (These tables are text, since each word of one of constants costs
/// 40 bytes more.)
const RANGES: &str = "\
kernel/unprivileged_bpf_disabled 0 2
kernel/perf_event_paranoid -1 4
kernel/kptr_restrict 0 2
kernel/perf_event_max_sample_rate 1 2147483647
net/core/bpf_jit_enable 0 2
kernel/ftrace_enabled 0 1
net/core/bpf_jit_harden 0 2
net/core/bpf_jit_kallsyms 0 1
net/core/bpf_jit_limit 1 9223372036854775807
kernel/bpf_stats_enabled 0 1
kernel/modules_disabled 0 1
kernel/kexec_load_disabled 0 1
kernel/yama/ptrace_scope 0 3
net/core/netdev_budget 1 65535
net/core/netdev_budget_usecs 1 2147483647
net/core/netdev_max_backlog 1 2147483647
net/core/netdev_tstamp_prequeue 0 1
net/ipv4/tcp_max_syn_backlog 1 2147483647
net/ipv4/tcp_fin_timeout 1 86400
vm/max_map_count 1 2147483647";

/// Keys of three numbers, least, default and most, which the kernel takes in any order and number.
const TRIPLES: &str = "net/ipv4/tcp_rmem, net/ipv4/tcp_wmem, net/ipv4/tcp_mem, net/ipv4/udp_mem";

/// Why a key is missing, by how its path begins: what must be there, and what brings it.
const HINTS: &str = "\
net/netfilter/nf_conntrack; the module nf_conntrack is not loaded; modprobe nf_conntrack
net/nf_conntrack_max; the module nf_conntrack is not loaded; modprobe nf_conntrack
net/bridge/; the module br_netfilter is not loaded; modprobe br_netfilter
net/ipv4/vs/; the module ip_vs is not loaded; modprobe ip_vs
net/sctp/; the module sctp is not loaded; modprobe sctp
net/mptcp/; CONFIG_MPTCP is off;
net/ipv6/; IPv6 is off (ipv6.disable=1?), or there is no such interface;
net/ipv4/conf/; there is no such interface;
net/ipv4/neigh/; there is no such interface;
net/core/bpf_jit; CONFIG_BPF_JIT is off;
sunrpc/; the module sunrpc is not loaded; modprobe sunrpc
debug/kprobes-optimization; CONFIG_KPROBES or CONFIG_OPTPROBES is off;
kernel/ftrace_enabled; CONFIG_FUNCTION_TRACER is off;
kernel/yama/; the Yama LSM is off;";

/// Keys that only the initial network namespace has (net_core_table in net/core/sysctl_net_core.c).
const INITIAL_NETNS_ONLY: &str = "net/core/bpf_jit, net/core/netdev_, net/core/default_qdisc, net/core/dev_weight, \
    net/core/busy_, net/core/message_, net/core/flow_limit, net/core/fb_tunnels, net/core/rps_";

/// The value at which a one-way key locks: from there only a reboot leads back.
pub fn latch(path: &str) -> Option<i64> {
    match path {
        // bpf_unpriv_handler() in kernel/bpf/syscall.c: locked at 1, while 2 may be changed again.
        UNPRIVILEGED_BPF | "kernel/modules_disabled" | "kernel/kexec_load_disabled" => Some(1),
        // yama_dointvec_minmax(): YAMA_SCOPE_NO_ATTACH.
        "kernel/yama/ptrace_scope" => Some(3),
        _ => None,
    }
}

/// The capability that the key's handler asks for, beside the file's mode.
pub fn capability(path: &str) -> Option<u32> {
    match path {
        // set_default_qdisc() asks in the user namespace of the network namespace.
        "net/core/default_qdisc" => Some(CAP_NET_ADMIN),
        "kernel/yama/ptrace_scope" => Some(CAP_SYS_PTRACE),
        UNPRIVILEGED_BPF
        | KPTR
        | JIT_ENABLE
        | "kernel/dmesg_restrict"
        | "kernel/bpf_stats_enabled"
        | "net/core/bpf_jit_harden"
        | "net/core/bpf_jit_kallsyms"
        | "net/core/bpf_jit_limit" => Some(CAP_SYS_ADMIN),
        _ => None,
    }
}

/// Whether a child network namespace lacks the key by design.
pub fn initial_netns_only(path: &str) -> bool {
    words(INITIAL_NETNS_ONLY).any(|start| path.starts_with(start))
}

/// Why the key may be missing, and the command that brings it.
pub fn hint(path: &str) -> Option<(&'static str, &'static str)> {
    HINTS.lines().find_map(|line| {
        let (start, hint) = line.split_once("; ")?;
        let (why, mend) = hint.split_once(';')?;
        path.starts_with(start).then(|| (why, mend.trim_start()))
    })
}

/// The other key of the pair that together shows kernel addresses to everybody (kallsyms_show_value() in
/// kernel/ksyms_common.c: kptr_restrict 0 and perf_event_paranoid at most 1).
pub fn partner(path: &str) -> Option<&'static str> {
    match path {
        PARANOID => Some(KPTR),
        KPTR => Some(PARANOID),
        _ => None,
    }
}

fn range(path: &str) -> Option<(i64, i64)> {
    RANGES.lines().find_map(|line| {
        let (least, most) = line.strip_prefix(path)?.strip_prefix(' ')?.split_once(' ')?;
        Some((number(least)?, number(most)?))
    })
}

/// What else is known of a key, a line each.
pub fn about(path: &str) -> Vec<String> {
    let mut lines: Vec<String> = range(path).map(|range| format!("it {}", takes(range))).into_iter().collect();
    if words(TRIPLES).any(|triple| triple == path) {
        lines.push("it takes three numbers: least, default, most".into());
    }
    lines.extend(latch(path).map(|locked| format!("one-way: {locked} stays until the next boot")));
    let name = capability(path).map(crate::tune::capability_name);
    lines.extend(name.map(|name| format!("written as uid 0 with {name} in the initial user namespace")));
    if initial_netns_only(path) {
        lines.push("only the initial network namespace has it".into());
    }
    lines.extend(hint(path).map(|(why, mend)| {
        let mend = if mend.is_empty() { String::new() } else { format!(": {mend}") };
        format!("where it is missing: {why}{mend}")
    }));
    lines
}

fn takes((least, most): (i64, i64)) -> String {
    if most == i64::MAX { format!("takes {least} and more") } else { format!("takes {least} to {most}") }
}

/// Refuses goals that the kernel would take and nobody can mean.
///
/// # Errors
/// What is wrong with the goal.
pub fn check_range(path: &str, goal: &Goal) -> Result<(), String> {
    let fields = match goal {
        Goal::Exclude => return Ok(()),
        Goal::Set(text) => numbers(text),
        Goal::AtLeast(fields) | Goal::AtMost(fields) => Some(fields.clone()),
    };
    if words(TRIPLES).any(|triple| triple == path) {
        return match fields.as_deref() {
            Some([least, default, most]) if 1 <= *least && least <= default && default <= most => Ok(()),
            _ => Err("takes three numbers: least <= default <= most, the least at least 1".into()),
        };
    }
    let Some((least, most)) = range(path) else {
        return Ok(());
    };
    match fields.as_deref() {
        Some([one]) if (least..=most).contains(one) => Ok(()),
        Some([_]) => Err(takes((least, most))),
        _ => Err("takes exactly one number".into()),
    }
}

/// Why a value weakens the machine; `None` when it does not, or not more than the value there now.
/// `other` is the value of [`partner`]; `None` when that key does not exist.
pub fn weakens(path: &str, now: &str, was: Option<&str>, other: Option<i64>) -> Option<&'static str> {
    let wanted = single(now)?;
    let lowers = was.and_then(number_of).is_none_or(|was| wanted < was);
    match (path, wanted) {
        (UNPRIVILEGED_BPF, 0) => Some("lets every user load BPF programs"),
        (JIT_ENABLE, 2) => Some("prints every JITed program and its address to the kernel log"),
        (FTRACE, 0) => Some("switches off fentry, kprobes on ftrace and live patches for everybody"),
        (PARANOID, ..0) if lowers => Some("lets every user read raw tracepoints"),
        (PARANOID, 0..=1) if lowers && other == Some(0) => {
            Some("together with kernel.kptr_restrict = 0 shows kernel addresses to every user")
        }
        (KPTR, 0) if lowers && other.is_some_and(|paranoid| paranoid <= 1) => {
            Some("together with kernel.perf_event_paranoid below 2 shows kernel addresses to every user")
        }
        _ => None,
    }
}

fn number_of(text: &str) -> Option<i64> {
    number(text.trim())
}

/// What a partner key will come to once the plan has run.
pub fn planned(goal: Option<&Goal>, now: Option<i64>) -> Option<i64> {
    let now = now?;
    Some(match goal {
        Some(Goal::Set(text)) => single(text).unwrap_or(now),
        Some(Goal::AtLeast(fields)) => fields.first().map_or(now, |least| now.max(*least)),
        Some(Goal::AtMost(fields)) => fields.first().map_or(now, |most| now.min(*most)),
        Some(Goal::Exclude) | None => now,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn set(text: &str) -> Goal {
        Goal::Set(text.into())
    }

    #[test]
    fn what_the_kernel_takes_and_nobody_means_is_refused() {
        for (path, text) in [
            ("net/core/netdev_budget", "0"),
            ("net/core/netdev_budget", "-5"),
            ("net/core/netdev_max_backlog", "-1"),
            ("net/ipv4/tcp_fin_timeout", "0"),
            ("net/ipv4/tcp_rmem", "4096"),
            ("net/ipv4/tcp_rmem", "3 2 1"),
            ("net/ipv4/tcp_wmem", "0 1 2"),
            ("net/ipv4/tcp_rmem", "1 2 3 4"),
            (PARANOID, "99"),
            (PARANOID, "-7"),
            ("net/core/netdev_tstamp_prequeue", "5"),
            ("net/core/bpf_jit_limit", "0"),
            // A scalar with two words would set the first and fail: on a one-way key that is a lock.
            (UNPRIVILEGED_BPF, "1 2"),
            (UNPRIVILEGED_BPF, "yes"),
            (UNPRIVILEGED_BPF, ""),
        ] {
            assert!(check_range(path, &set(text)).is_err(), "{path} = {text}");
        }
        assert!(check_range("net/ipv4/tcp_rmem", &set("4096 87380 134217728")).is_ok());
        assert!(check_range("net/core/netdev_budget", &Goal::AtLeast(vec![600])).is_ok());
        assert!(check_range("net/core/netdev_budget", &Goal::AtLeast(vec![600, 1])).is_err());
        assert!(check_range("kernel/core_pattern", &set("core")).is_ok());
    }

    #[test]
    fn the_pair_is_judged_together_and_in_either_order() {
        assert!(weakens(PARANOID, "0", Some("2"), Some(0)).is_some());
        assert!(weakens(PARANOID, "1", Some("2"), Some(0)).is_some(), "kallsyms_for_perf() takes 1 as well");
        assert!(weakens(PARANOID, "1", Some("2"), Some(1)).is_none());
        assert!(weakens(PARANOID, "1", Some("-1"), Some(0)).is_none(), "raising is never refused");
        assert!(weakens(PARANOID, "-1", Some("2"), Some(2)).is_some());
        assert!(weakens(KPTR, "0", Some("1"), Some(1)).is_some());
        assert!(weakens(KPTR, "0", Some("1"), Some(2)).is_none());
        assert!(weakens(KPTR, "0", Some("1"), None).is_none(), "no perf events in this kernel");
        assert_eq!(planned(Some(&set("0")), Some(2)), Some(0));
        assert_eq!(planned(Some(&Goal::AtLeast(vec![1])), Some(2)), Some(2));
        assert_eq!(planned(None, Some(2)), Some(2));
        assert_eq!(planned(Some(&set("0")), None), None);
    }

    #[test]
    fn other_weak_values_are_known() {
        assert!(weakens(UNPRIVILEGED_BPF, "0x0", Some("2"), None).is_some());
        assert!(weakens(UNPRIVILEGED_BPF, "2", Some("0"), None).is_none());
        assert!(weakens(JIT_ENABLE, "2", Some("1"), None).is_some());
        assert!(weakens(FTRACE, "0", Some("1"), None).is_some());
    }
}
