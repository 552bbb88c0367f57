#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
//! Against this kernel, and only at keys that belong to a network namespace of the test's own thread.

use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::tune::is_absence;

const PLAIN: Ask<'static> = Ask { allow_insecure: false, irreversible: false, partner: None };

fn key(text: &str) -> SysctlKey {
    text.parse().unwrap()
}

fn set(text: &str) -> Goal {
    Goal::Set(text.into())
}

/// Runs `test` in a network namespace of its own; does nothing without the right to make one.
fn in_netns(test: fn(&Facts)) {
    std::thread::spawn(move || {
        if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
            test(&Facts::gather());
        }
    })
    .join()
    .unwrap();
}

#[test]
fn a_key_is_changed_read_back_and_put_back() {
    in_netns(|facts| {
        let (key, goal) = (key("net.ipv4.tcp_fin_timeout"), set("31"));
        let Verdict::Change { was: Some(was), now } = survey(&key, &goal, PLAIN, facts) else { panic!() };
        assert_eq!(apply(&key, &goal, &now).unwrap(), ("31".into(), String::new()));
        assert!(matches!(survey(&key, &goal, PLAIN, facts), Verdict::Already { is } if is == "31"));
        restore(&key, &was).unwrap();
        assert_eq!(current(&key, facts).unwrap(), Some(was));
    });
}

#[test]
fn three_fields_are_raised_one_by_one() {
    in_netns(|facts| {
        let (key, goal) = (key("net.ipv4.tcp_wmem"), Goal::AtLeast(vec![4096, 1, 67_108_864]));
        let Verdict::Change { was: Some(was), now } =
            survey(&key, &Goal::AtLeast(vec![4096, 5000, 67_108_864]), PLAIN, facts)
        else {
            panic!()
        };
        assert_eq!(now, format!("{} 67108864", was.rsplit_once(' ').unwrap().0));
        assert_eq!(apply(&key, &Goal::AtLeast(vec![4096, 5000, 67_108_864]), &now).unwrap().0, now);
        // Not ordered: refused before it is looked at.
        assert!(matches!(survey(&key, &goal, PLAIN, facts), Verdict::Blocked(_)));
        restore(&key, &was).unwrap();
    });
}

#[test]
fn what_the_kernel_refuses_changes_nothing() {
    in_netns(|facts| {
        let key = key("net.ipv4.tcp_tw_reuse");
        let before = current(&key, facts).unwrap();
        let fault = apply(&key, &set("3"), "3").unwrap_err();
        assert_eq!((fault.cause, fault.errno), (Cause::Sysctl, Some(libc::EINVAL)));
        assert!(fault.what.starts_with("write \"3\" over \""), "{fault}");
        assert_eq!(current(&key, facts).unwrap(), before);
        let congestion = "net.ipv4.tcp_congestion_control".parse().unwrap();
        let fault = apply(&congestion, &set("nosuch"), "nosuch").unwrap_err();
        assert!(is_absence(&fault), "{fault:?}");
    });
}

#[test]
fn a_value_the_kernel_does_not_keep_is_a_fault() {
    in_netns(|_| {
        // One number changes the first of three.
        let key = key("net.ipv4.tcp_rmem");
        let was = current(&key, &Facts::gather()).unwrap().unwrap();
        let fault = apply(&key, &set("5000"), "5000").unwrap_err();
        assert!(fault.what.starts_with("asked \"5000\", the kernel kept \"5000 "), "{fault}");
        assert_eq!(current(&key, &Facts::gather()).unwrap(), Some(was), "and the failed key is as it was");
    });
}

#[test]
fn a_child_namespace_is_recognised() {
    in_netns(|facts| {
        assert_eq!(facts.initial_netns, Some(false));
        let Verdict::Blocked(fault) = survey(&key("net.core.bpf_jit_enable"), &set("1"), PLAIN, facts) else {
            panic!()
        };
        assert!(is_absence(&fault) && fault.what.contains("initial network namespace"), "{fault}");
        if let Verdict::Blocked(fault) = survey(&key("net.core.rmem_max"), &Goal::AtLeast(vec![1 << 30]), PLAIN, facts)
        {
            assert!(is_absence(&fault), "{fault:?}");
        }
    });
}

#[test]
fn patterns_find_keys_and_nothing_else() {
    in_netns(|_| {
        let found = expand(&key("net.ipv4.conf.*.rp_filter"));
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(
            shown.contains(&"net.ipv4.conf.all.rp_filter".into())
                && shown.contains(&"net.ipv4.conf.lo.rp_filter".into())
        );
        assert!(shown.is_sorted());
        assert!(expand(&key("net.ipv4.*")).iter().all(|key| !key.path().ends_with("/conf")), "directories are no keys");
        assert_eq!(expand(&key("kernel.no_such_key")).len(), 1);
        assert!(expand(&key("no.such.*")).is_empty());
    });
}

#[test]
fn what_is_not_there_or_not_a_key_is_named() {
    let facts = Facts::gather();
    let Verdict::Blocked(fault) = survey(&key("kernel.no_such_key"), &set("1"), PLAIN, &facts) else { panic!() };
    assert_eq!((fault.errno, is_absence(&fault)), (Some(libc::ENOENT), true));
    let Verdict::Blocked(fault) = survey(&key("net.ipv4"), &set("1"), PLAIN, &facts) else { panic!() };
    assert!(!is_absence(&fault), "{fault:?}");
}

#[test]
fn a_missing_capability_is_known_before_the_write() {
    let mut facts = Facts::gather();
    facts.capabilities = 0;
    let key = key("kernel.bpf_stats_enabled");
    let Ok(Some(is)) = current(&key, &facts) else { return };
    let other = if is == "1" { "0" } else { "1" };
    let Verdict::Blocked(fault) = survey(&key, &set(other), PLAIN, &facts) else { panic!() };
    assert_eq!((fault.cause, fault.errno), (Cause::Privilege, Some(libc::EPERM)));
}

#[test]
fn a_button_can_be_pressed_and_not_read() {
    let facts = Facts::gather();
    let key = key("vm.compact_memory");
    if crate::sys::process::effective_uid() == 0 && proc_sys().unwrap().mode(key.path()).is_ok() {
        assert!(matches!(survey(&key, &set("1"), PLAIN, &facts), Verdict::Change { was: None, .. }));
    }
}

#[test]
fn a_look_at_fifteen_keys_is_quick() {
    let facts = Facts::gather();
    let keys: Vec<SysctlKey> = ["net.core.somaxconn", "net.core.optmem_max", "kernel.unprivileged_bpf_disabled"]
        .iter()
        .cycle()
        .take(15)
        .map(|text| key(text))
        .collect();
    let goal = Goal::AtLeast(vec![0]);
    let mut best = u128::MAX;
    for _ in 0..20 {
        let started = std::time::Instant::now();
        for key in &keys {
            assert!(matches!(survey(key, &goal, PLAIN, &facts), Verdict::Already { .. }));
        }
        best = best.min(started.elapsed().as_micros());
    }
    // Measured 60 to 150; far above it something opens /proc/sys for every key.
    assert!(best < 3000, "{best} µs");
    eprintln!("{best} µs for 15 keys");
}
