#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::step::Verdict;

fn foresee(config: &str, release: &str, key: &str, goal: Goal) -> String {
    let target = Target::of(config, release);
    let ask = sysctl::Ask { allow_insecure: false, irreversible: false, partner: None };
    match of_sysctl(&key.parse().unwrap(), &goal, ask, &target).unwrap_or_else(Verdict::Blocked) {
        Verdict::Change { now, .. } => now,
        Verdict::Skip { why } => why,
        Verdict::Already { is } => panic!("{is}"),
        Verdict::Blocked(fault) => format!("no: {fault}"),
    }
}

fn set(text: &str) -> Goal {
    Goal::Set(text.into())
}

const NET: &str = "CONFIG_NET=y\nCONFIG_INET=y\nCONFIG_NET_SCHED=y\nCONFIG_BPF_SYSCALL=y\n";

#[test]
fn a_key_needs_its_options_and_its_version() {
    let jit = "net.core.bpf_jit_enable";
    assert!(foresee(NET, "6.1", jit, set("1")).contains("CONFIG_BPF_JIT is not set"));
    let always = format!("{NET}CONFIG_BPF_JIT=y\nCONFIG_BPF_JIT_ALWAYS_ON=y\n");
    assert_eq!(foresee(&always, "6.1", jit, set("1")), "1");
    assert!(foresee(&always, "6.1", jit, set("0")).contains("can only be 1"));
    assert!(foresee(NET, "5.0", "kernel.bpf_stats_enabled", set("1")).contains("5.1 has"));
    assert!(foresee(NET, "6.1", "kernel.no_such", set("1")).starts_with("not known"));
    assert!(foresee(NET, "6.1", "net.ipv4.conf.*.rp_filter", set("1")).starts_with("not known"));
    assert_eq!(foresee(NET, "6.1", "net.core.somaxconn", Goal::AtLeast(vec![65_535])), "at least 65535");
}

#[test]
fn values_are_judged_too() {
    let unprivileged = "kernel.unprivileged_bpf_disabled";
    assert!(foresee(NET, "5.10", unprivileged, set("2")).contains("knows only 1"));
    assert_eq!(foresee(NET, "5.13", unprivileged, set("2")), "2");
    assert!(foresee(NET, "5.13", unprivileged, set("1")).contains("until the next boot"));
    assert!(foresee(NET, "6.1", "net.ipv4.tcp_congestion_control", set("bbr")).contains("CONFIG_TCP_CONG_BBR"));
    let module = format!("{NET}CONFIG_TCP_CONG_BBR=m\n");
    assert!(foresee(&module, "6.1", "net.ipv4.tcp_congestion_control", set("bbr")).contains("module"));
    let slow = format!("{NET}CONFIG_HZ=100\n");
    assert!(foresee(&slow, "6.1", "net.core.netdev_budget_usecs", set("4000")).contains("two jiffies"));
    assert_eq!(foresee(&slow, "6.1", "net.core.netdev_budget_usecs", set("20000")), "20000");
}
