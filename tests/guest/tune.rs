//! Settings that only a machine of one's own has: what they were is back after undo.

use std::fs;

use crate::{
    common::{Sandbox, mount_fs},
    guest,
    kernels::Kernel,
    last,
};

const FQ_AND_BBR: &str =
    "[sysctl]\n\"net.core.default_qdisc\" = \"fq\"\n\"net.ipv4.tcp_congestion_control\" = \"bbr\"\n";

fn has_module(name: &str) -> bool {
    fs::read_to_string("/proc/modules").unwrap().lines().any(|line| line.split(' ').next() == Some(name))
}

/// Sets a key to what it is not, lets bpfboot set it, and undo put it back.
fn there_and_back(s: &Sandbox, config: &str, path: &str, other: &str, wanted: &str) {
    let now = || fs::read_to_string(path).unwrap().trim_end().to_owned();
    fs::write(path, other).unwrap();
    assert_eq!(now(), other, "{path} takes it");
    s.apply(config).exits(0);
    assert_eq!(now(), wanted, "{path} after apply");
    s.apply(config).exits(0).nothing_done();
    s.json(&["undo"]).exits(0);
    assert_eq!(now(), other, "{path} after undo");
    fs::write(path, wanted).unwrap();
}

#[test]
fn bbr_and_fq_load_their_modules() {
    guest(|s, _| {
        let was = (s.sysctl("net.core.default_qdisc"), s.sysctl("net.ipv4.tcp_congestion_control"));
        assert!(!has_module("tcp_bbr") && !has_module("sch_fq"), "not loaded yet");
        s.apply(FQ_AND_BBR).exits(0);
        assert!(has_module("tcp_bbr") && has_module("sch_fq"), "loaded by the writes");
        assert_eq!(s.sysctl("net.core.default_qdisc"), "fq");
        assert_eq!(s.sysctl("net.ipv4.tcp_congestion_control"), "bbr");
        s.json(&["undo"]).exits(0);
        assert_eq!((s.sysctl("net.core.default_qdisc"), s.sysctl("net.ipv4.tcp_congestion_control")), was);
    });
}

#[test]
fn every_profile_is_healthy_where_the_kernel_is_whole() {
    guest(|s, kernel| {
        let report = s.apply("profiles = [\"core\", \"tracing\", \"network\"]\n").exits(0);
        for step in report.steps() {
            let (id, skipped) = (step["id"].as_str().unwrap(), step["status"] == "skipped");
            assert!(!skipped || !kernel.is_whole(), "{id} is missing from {kernel:?}: {step}");
        }
        s.apply("profiles = [\"core\", \"tracing\", \"network\"]\n").exits(0).nothing_done();
    });
}

#[test]
fn the_knob_that_lets_kprobes_fire() {
    guest(|s, kernel| {
        let knob = |rest: &str| {
            format!(
                "[mounts]\ndebugfs = {{ if-available = true }}\n[knobs]\n\"debugfs/kprobes/enabled\" = {{ value = 1{rest} }}\n"
            )
        };
        if kernel == Kernel::Uml {
            let report = s.apply(&knob(", if-available = true")).exits(0);
            assert_eq!(report.status("knob debugfs/kprobes/enabled"), "skipped");
            s.apply(&knob("")).exits(1);
            return;
        }
        mount_fs("debugfs", "/sys/kernel/debug", "");
        there_and_back(s, &knob(""), "/sys/kernel/debug/kprobes/enabled", "0", "1");
    });
}

#[test]
fn the_key_that_lets_kprobes_jump() {
    guest(|s, kernel| {
        let config = "profiles = [\"tracing\"]\n";
        match kernel.is_whole() {
            true => there_and_back(s, config, "/proc/sys/debug/kprobes-optimization", "0", "1"),
            false => {
                assert_eq!(s.apply(config).exits(0).status("sysctl debug.kprobes-optimization"), "skipped");
            }
        }
    });
}

#[test]
fn the_jit_is_switched_on() {
    guest(|s, kernel| {
        if kernel.is_whole() {
            let config = "[sysctl]\n\"net.core.bpf_jit_enable\" = 1\n";
            there_and_back(s, config, "/proc/sys/net/core/bpf_jit_enable", "0", "1");
        }
    });
}

/// What it sets stays until the machine reboots.
#[test]
fn row_22_a_seal_that_fails_after_a_one_way_key_is_dirty() {
    last(|s, _| {
        let ttl = "net.ipv4.ip_default_ttl";
        let one_way = "\"kernel.unprivileged_bpf_disabled\" = { value = 1, phase = \"seal\", irreversible = true }\n";
        let was = s.sysctl("kernel.unprivileged_bpf_disabled");
        // A step before the seals fails: the one-way key is not touched.
        let early = format!("[sysctl]\n{one_way}\"{ttl}\" = 4711\n");
        s.apply(&early).exits(1);
        assert_eq!(s.sysctl("kernel.unprivileged_bpf_disabled"), was);
        // A seal after it fails.
        let late = format!("[sysctl]\n{one_way}\"{ttl}\" = {{ value = 4711, phase = \"seal\" }}\n");
        let report = s.apply(&late).exits(4);
        assert_eq!(report.json["health"], "dirty");
        assert_eq!(s.sysctl("kernel.unprivileged_bpf_disabled"), "1");
        let left = report.json["leftovers"][0].as_str().unwrap();
        assert!(left.contains("holds until the next boot") && left.ends_with("mend: reboot"), "{left}");
        // Whoever wants it back is told that it is a latch.
        let back = s.apply("[sysctl]\n\"kernel.unprivileged_bpf_disabled\" = { value = 0, allow-insecure = true }\n");
        let fault = &back.exits(1).step("sysctl kernel.unprivileged_bpf_disabled")["fault"].clone();
        assert_eq!((fault["cause"].as_str(), fault["reason"].as_str()), (Some("sysctl"), Some("latch")), "{fault}");
        // What is done for good is right from now on.
        let rest = s.apply(&format!("[sysctl]\n{one_way}")).exits(0);
        assert_eq!(rest.status("sysctl kernel.unprivileged_bpf_disabled"), "already");
    });
}
