//! Sysctls, knobs, limits and mounts on the kernel itself: what is written, what is left alone, what is said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{fs, process::Command};

use common::{Report, Sandbox, binary, net::ip, run, sandbox, trace::Call};

const TTL: &str = "net.ipv4.ip_default_ttl";
const RMEM: &str = "net.ipv4.tcp_rmem";

fn words(text: &str) -> Vec<u64> {
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// Applies `[sysctl]` lines under strace; gives the files that were opened for writing below /proc/sys.
fn written(s: &Sandbox, lines: &str) -> Vec<String> {
    let path = s.config("written.toml", &format!("[sysctl]\n{lines}\n"));
    let traced = s.strace(&["-e", "trace=openat2,write"], &["-q", "-c", path.to_str().unwrap(), "apply"]);
    traced.ran.exits(0);
    let writes = |call: &Call| call.name == "openat2" && call.line.contains("O_WRONLY");
    let mut files: Vec<_> = traced
        .calls
        .iter()
        .filter(|call| writes(call))
        .map(|call| call.line.split('"').nth(1).unwrap().to_owned())
        .collect();
    files.dedup();
    files
}

#[test]
fn at_least_raises_each_field_and_never_lowers_one() {
    sandbox(|s| {
        let was = words(&s.sysctl(RMEM));
        let (low, high) = (was[0] / 2, was[2] * 2);
        s.apply(&format!("[sysctl]\n\"{RMEM}\" = {{ at-least = [{low}, {}, {high}] }}", was[1])).exits(0);
        assert_eq!(words(&s.sysctl(RMEM)), [was[0], was[1], high]);
        s.json(&["undo"]).exits(0);
        assert_eq!(words(&s.sysctl(RMEM)), was);
    });
}

#[test]
fn at_most_lowers_and_never_raises() {
    sandbox(|s| {
        let config = |most: u32| format!("[sysctl]\n\"{TTL}\" = {{ at-most = {most} }}");
        s.apply(&config(100)).exits(0).nothing_done();
        assert_eq!(s.sysctl(TTL), "64");
        s.apply(&config(50)).exits(0);
        assert_eq!(s.sysctl(TTL), "50");
    });
}

#[test]
fn row_20_what_is_right_already_is_not_even_opened_for_writing() {
    sandbox(|s| {
        // The kernel shows tabs where people write spaces: the same value.
        let rmem = s.sysctl(RMEM).replace('\t', " ");
        assert_eq!(written(s, &format!("\"{RMEM}\" = \"{rmem}\"\n\"{TTL}\" = 64")), [""; 0]);
        assert_eq!(written(s, &format!("\"{TTL}\" = 65")), ["net/ipv4/ip_default_ttl"]);
    });
}

#[test]
fn row_16_one_word_for_a_key_of_three_is_refused() {
    sandbox(|s| {
        let was = s.sysctl(RMEM);
        // One word for three fields: the kernel takes it for the first and keeps the rest.
        let report = s.apply(&format!("[sysctl]\n\"{TTL}\" = 77\n\"{RMEM}\" = \"5000\"")).exits(1);
        assert_eq!(report.fault(&format!("sysctl {RMEM}")).0, "sysctl");
        assert_eq!((s.sysctl(RMEM), s.sysctl(TTL)), (was, "64".into()));
    });
}

#[test]
fn row_18_a_key_that_can_only_be_written_is_written() {
    sandbox(|s| {
        let report = s.apply("[sysctl]\n\"net.ipv4.route.flush\" = 1").exits(0);
        let step = report.step("sysctl net.ipv4.route.flush");
        assert_eq!((step["status"].as_str(), &step["was"]), (Some("done"), &common::Value::Null), "{step}");
        let undone = s.json(&["undo"]).exits(0);
        assert!(undone.steps().iter().all(|step| step["id"] != "sysctl net.ipv4.route.flush"), "nothing to go back to");
    });
}

#[test]
fn globs_and_interfaces_with_dots() {
    sandbox(|s| {
        ip("link add eth0.100 type veth peer name eth0.101");
        let rp = |name: &str| {
            fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter")).unwrap().trim().to_owned()
        };
        let config = "[sysctl]\n\"net.ipv4.conf.*.rp_filter\" = 2\n\"net.ipv4.conf.lo.rp_filter\" = { exclude = true }\n\
                      \"net.ipv4.conf.eth0/101.rp_filter\" = 1\n";
        s.apply(config).exits(0);
        assert_eq!((rp("eth0.100"), rp("eth0.101"), rp("lo")), ("2".into(), "1".into(), "0".into()));
        s.apply(config).exits(0).nothing_done();
        s.json(&["undo"]).exits(0);
        assert_eq!((rp("eth0.100"), rp("eth0.101")), ("0".into(), "0".into()));
    });
}

#[test]
fn a_key_with_a_minus_never_fails_the_boot() {
    sandbox(|s| {
        let report = s
            .apply(&format!(
                "[sysctl]\n\"-net.ipv4.no_such_key\" = 1\n\"-net.ipv4.ip_forward\" = \"sideways\"\n\"{TTL}\" = 77"
            ))
            .exits(0);
        assert_eq!(report.status("sysctl net.ipv4.no_such_key"), "skipped");
        assert_eq!((s.sysctl(TTL), s.sysctl("net.ipv4.ip_forward")), ("77".into(), "0".into()));
    });
}

#[test]
fn the_one_way_key_is_refused_unless_one_says_that_one_knows() {
    sandbox(|s| {
        let before = s.sysctl("kernel.unprivileged_bpf_disabled");
        let report = s.apply(&format!("[sysctl]\n\"{TTL}\" = 77\n\"kernel.unprivileged_bpf_disabled\" = 1")).exits(1);
        let (_, text) = report.fault("sysctl kernel.unprivileged_bpf_disabled");
        assert!(text.contains("irreversible = true"), "{text}");
        assert_eq!((s.sysctl("kernel.unprivileged_bpf_disabled"), s.sysctl(TTL)), (before, "64".into()));
    });
}

#[test]
fn the_guide_weakens_nothing_by_itself() {
    sandbox(|s| {
        // All of its keys that are the whole machine's.
        let keys = [
            "vm.max_map_count",
            "fs.file-max",
            "kernel.perf_event_paranoid",
            "kernel.kptr_restrict",
            "kernel.perf_event_max_sample_rate",
            "kernel.ftrace_enabled",
        ];
        let guards: Vec<_> = keys.into_iter().map(|key| s.guard(key)).collect();
        s.apply("profiles = [\"guide\"]").exits(0);
        let paranoid: i32 = s.sysctl("kernel.perf_event_paranoid").parse().unwrap();
        let shown: i32 = s.sysctl("kernel.kptr_restrict").parse().unwrap();
        assert!(paranoid >= 1 || shown >= 1, "perf_event_paranoid {paranoid} with kptr_restrict {shown}");
        assert_eq!(s.sysctl("vm.max_map_count"), "262144", "to the letter where it harms nobody");
        s.json(&["undo"]).exits(0);
        for (key, guard) in keys.into_iter().zip(&guards) {
            assert_eq!(s.sysctl(key), guard.was(), "{key}");
        }
    });
}

#[test]
fn the_network_profile_only_ever_raises() {
    sandbox(|s| {
        let keys = [
            "net.core.rmem_max",
            "net.core.wmem_max",
            "net.core.somaxconn",
            "net.core.optmem_max",
            RMEM,
            "net.ipv4.tcp_wmem",
            "net.ipv4.tcp_max_syn_backlog",
        ];
        let here: Vec<_> = keys
            .into_iter()
            .filter(|key| fs::exists(format!("/proc/sys/{}", key.replace('.', "/"))).unwrap())
            .collect();
        assert!(here.len() >= 4, "{here:?}");
        let before: Vec<_> = here.iter().map(|key| words(&s.sysctl(key))).collect();
        let report = s.apply("profiles = [\"network\"]");
        assert!(matches!(report.ran.code, Some(0 | 3)), "{:#}", report.json);
        let mut raised = 0;
        for (key, before) in here.iter().zip(&before) {
            let after = words(&s.sysctl(key));
            assert!(before.iter().zip(&after).all(|(before, after)| after >= before), "{key}: {before:?} -> {after:?}");
            raised += usize::from(after != *before);
        }
        assert!(raised > 0, "it raised nothing: {:#}", report.json);
        s.json(&["undo"]).exits(0);
        let back: Vec<_> = here.iter().map(|key| words(&s.sysctl(key))).collect();
        assert_eq!(back, before);
    });
}

#[test]
fn row_23_a_knob_without_its_file_system() {
    sandbox(|s| {
        let report = s.apply("[knobs]\n\"debugfs/kprobes/enabled\" = 1").exits(1);
        assert!(
            report.fault("knob debugfs/kprobes/enabled").1.contains("[mounts] debugfs = true"),
            "{:#}",
            report.json
        );
        let report = s.apply("[knobs]\n\"debugfs/kprobes/enabled\" = { value = 1, if-available = true }").exits(0);
        assert_eq!(report.status("knob debugfs/kprobes/enabled"), "skipped");
        assert!(!s.is_mounted("debugfs", "/sys/kernel/debug"), "it is never mounted unasked");
        // With it, and without the file: what was mounted for it goes again.
        let report = s.apply("[mounts]\ndebugfs = true\n[knobs]\n\"debugfs/no/such/file\" = 1").exits(1);
        assert!(report.json.to_string().contains("ENOENT"), "{:#}", report.json);
        assert!(!s.is_mounted("debugfs", "/sys/kernel/debug"));
        // The guide's file exists in no kernel, and that needs no look at this one.
        let ran = s.apply("[knobs]\n\"debugfs/kprobes/max_probes\" = 1000").exits(2).ran;
        assert!(ran.stderr.contains("no kernel has"), "{ran:?}");
    });
}

#[test]
fn row_26_a_limit_beyond_the_hard_one() {
    sandbox(|s| {
        let max = words(&fs::read_to_string("/proc/sys/fs/nr_open").unwrap())[0];
        let report = s.apply(&format!("[limits]\nnofile = {}\n[sysctl]\n\"{TTL}\" = 77", max + 1)).exits(1);
        // Without CAP_SYS_RESOURCE it is that which is missing.
        assert!(matches!(report.fault("limit nofile").0, "limit" | "privilege"), "{:#}", report.json);
        assert_eq!(s.sysctl(TTL), "64");
        let auto = s.apply("[limits]\nmemlock = \"auto\"").exits(0);
        assert_eq!(auto.status("limit memlock"), "skipped", "this kernel charges no BPF to it");
    });
}

#[test]
fn check_does_not_judge_a_limit_that_ended_with_its_run() {
    sandbox(|s| {
        let path = s.config("limit.toml", "[limits]\nnofile = 300\n");
        let low = |verb: &str| {
            let script = "ulimit -S -n 256; exec \"$0\" --json -c \"$1\" \"$2\"";
            let mut command = Command::new("sh");
            command.args(["-c", script]).arg(binary()).arg(&path).arg(verb).env_remove("JOURNAL_STREAM");
            Report::of(run(&mut command)).exits(0)
        };
        assert_eq!(low("apply").status("limit nofile"), "done");
        assert_eq!(low("check").status("limit nofile"), "skipped");
    });
}

#[test]
fn a_mount_that_is_there_already_is_left_as_it_is() {
    sandbox(|s| {
        let report = s.apply("[mounts]\nbpffs = { mode = \"0700\" }").exits(0);
        assert_eq!(report.status("mount bpf /sys/fs/bpf"), "already");
        let check = s.check("[mounts]\nbpffs = { mode = \"0700\" }").exits(0);
        assert_eq!(check.status("mount bpf /sys/fs/bpf"), "warn", "{:#}", check.json);
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata("/sys/fs/bpf").unwrap().mode() & 0o7777, 0o1777, "not our mount, not our mode");
        s.json(&["undo"]).exits(0);
        assert!(s.is_mounted("bpf", "/sys/fs/bpf"));
    });
}
