//! Each exit code, on a real cause, and what it promises about the machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{fs, path::Path, process::Command};

use common::{LIVE, Report, Sandbox, binary, object, ok, run, sandbox, wait_for};

const TTL: &str = "net.ipv4.ip_default_ttl";

/// A configuration that sets the TTL of this namespace and does something else.
fn ttl_and(rest: &str) -> String {
    format!("[sysctl]\n\"{TTL}\" = 77\n{rest}\n")
}

fn refused(options: &str) -> String {
    format!("[object.refused]\npath = \"{}\"\n{options}\n", object("refused"))
}

/// Nothing of a run is left.
#[track_caller]
fn untouched(s: &Sandbox) {
    assert_eq!(s.sysctl(TTL), "64");
    assert_eq!(s.pins(), [""; 0]);
    for file in ["journal", "undo"] {
        assert!(!Path::new("/run/bpfboot").join(file).exists(), "{file} is left");
    }
}

#[test]
fn exit_0_when_all_is_as_planned() {
    sandbox(|s| {
        let config = ttl_and("[object.edge]\npath = \"builtin:edge\"");
        s.apply(&config).exits(0);
        assert_eq!(s.sysctl(TTL), "77");
        s.check(&config).exits(0);
        s.with(&config, &["undo"]).exits(0);
        untouched(s);
        for args in [&["--help"][..], &["help", "apply"], &["--version"], &["profiles"], &["profiles", "guide"]] {
            assert!(!s.bpfboot(args).exits(0).stdout.is_empty(), "{args:?}");
        }
        untouched(s);
    });
}

#[test]
fn row_13_exit_1_when_a_required_sysctl_is_absent() {
    sandbox(|s| {
        let report = s.apply(&ttl_and("\"net.ipv4.no_such_key\" = 1")).exits(1);
        let (cause, text) = report.fault("sysctl net.ipv4.no_such_key");
        assert!(cause == "kernel" && text.contains("ENOENT"), "{cause}: {text}");
        untouched(s);
        // Of the initial network namespace only: another absence, told apart.
        let report = s.apply(&ttl_and("\"net.core.bpf_jit_harden\" = 1")).exits(1);
        assert!(report.fault("sysctl net.core.bpf_jit_harden").1.contains("initial network namespace"));
        untouched(s);
    });
}

#[test]
fn row_16_exit_1_when_the_kernel_refuses_a_value() {
    sandbox(|s| {
        let report =
            s.apply(&ttl_and("\"net.ipv4.conf.lo.rp_filter\" = 2\n\"net.ipv4.ip_forward\" = \"sideways\"")).exits(1);
        let (cause, text) = report.fault("sysctl net.ipv4.ip_forward");
        assert_eq!(cause, "sysctl", "{text}");
        assert!(text.contains("sideways"), "{text}");
        assert_eq!(s.sysctl("net.ipv4.conf.lo.rp_filter"), "0");
        untouched(s);
    });
}

#[test]
fn row_30_exit_1_when_the_verifier_refuses_a_required_program() {
    sandbox(|s| {
        let report = s.apply(&ttl_and(&refused(""))).exits(1);
        let (cause, text) = report.fault("program refused/wild");
        assert!(cause == "verifier" && text.contains("refused by the verifier") && text.contains("EACCES"), "{text}");
        let log = report.step("program refused/wild")["fault"]["detail"].as_str().unwrap();
        assert!(
            log.contains("R1 invalid mem access") || log.contains("invalid access to packet") || log.contains("R1"),
            "{log}"
        );
        assert_eq!(report.status(&format!("sysctl {TTL}")), "undone", "it had been set, and was put back");
        untouched(s);
        assert!(!s.bpftool(&["prog", "show"]).to_string().contains("\"name\":\"tame\""), "the good one is gone too");
    });
}

#[test]
fn exit_2_on_bad_usage_touches_nothing() {
    sandbox(|s| {
        for args in [
            &[][..],
            &["aply"],
            &["apply", "--dry"],
            &["apply", "--mode", "native"],
            &["attach"],
            &["attach", "../etc"],
            &["attach", "lo", "--mode", "fast"],
            &["attach", "lo", "--wait", "soon"],
            &["check", "now"],
            &["profiles", "fast"],
            &["--config"],
        ] {
            let ran = s.bpfboot(args).exits(2);
            assert!(ran.stdout.is_empty() && ran.stderr.starts_with("bpfboot: "), "{args:?}: {ran:?}");
        }
        assert!(s.bpfboot(&["aply"]).stderr.contains("did you mean 'apply'?"));
        untouched(s);
        assert!(!Path::new("/run/bpfboot").exists());
    });
}

#[test]
fn row_01_exit_2_on_a_configuration_that_is_not_there() {
    sandbox(|s| {
        let ran = s.bpfboot(&["-c", "/run/none.toml", "apply"]).exits(2);
        assert!(ran.stderr.contains("/run/none.toml: cannot be opened") && ran.stderr.contains("ENOENT"), "{ran:?}");
        untouched(s);
        assert!(!Path::new("/run/bpfboot").exists());
    });
}

#[test]
fn exit_3_when_only_optional_items_fail() {
    sandbox(|s| {
        let config = ttl_and(&format!(
            "\"net.ipv4.no_such_key\" = {{ value = 1, optional = true }}\n{}\n[object.edge]\npath = \"builtin:edge\"",
            refused("programs.wild = { optional = true }\nprograms.tame = {}")
        ));
        let report = s.apply(&config).exits(3);
        assert_eq!(report.json["health"], "degraded");
        assert_eq!(report.fault("sysctl net.ipv4.no_such_key").0, "kernel");
        assert_eq!(report.fault("program refused/wild").0, "verifier");
        assert_eq!(s.sysctl(TTL), "77", "the rest holds");
        let tame = s.pinned("prog", &format!("{LIVE}/refused/progs/tame"));
        assert_eq!(tame["id"].as_u64(), Some(report.kernel_id("program refused/tame")));
        assert!(s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["id"].is_u64());
        // It is degraded for as long as it is so, and nothing required is called broken.
        s.check(&config).exits(3);
        s.apply(&config).exits(3);
    });
}

#[test]
fn exit_3_when_an_optional_object_fails_and_the_others_hold() {
    sandbox(|s| {
        let edge = "[object.edge]\npath = \"builtin:edge\"\n";
        for broken in [refused("optional = true"), "[object.gone]\npath = \"/no/such.o\"\noptional = true\n".to_owned()]
        {
            s.apply(&(edge.to_owned() + &broken)).exits(3);
            assert!(s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["id"].is_u64());
            let live: Vec<_> = fs::read_dir(LIVE).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(live, ["edge"], "nothing of the broken one is live");
        }
    });
}

#[test]
fn row_65_exit_4_when_the_undo_itself_fails() {
    sandbox(|s| {
        // Its own mount of /proc/sys turns read-only while the loader waits for an interface that never comes.
        s.bind("/proc/sys");
        let config = ttl_and(&format!(
            "\"net.ipv4.ip_forward\" = 1\n[object.count]\npath = \"{}\"\nprograms.count = {{ attach = {{ xdp = \"no0\", wait = \"1s\" }} }}",
            object("count_v1")
        ));
        let running = s.start(&config, &["apply"]);
        wait_for("the load to begin", || s.pins().iter().any(|pin| pin.contains("/stage/count/progs/")).then_some(()));
        assert_eq!((s.sysctl(TTL), s.sysctl("net.ipv4.ip_forward")), ("77".into(), "1".into()));
        s.read_only("/proc/sys", true);
        let report = running.ends().exits(4);
        assert_eq!(report.json["health"], "dirty");
        let leftovers = report.json["leftovers"].to_string();
        for (key, was) in [(TTL, 64), ("net.ipv4.ip_forward", 0)] {
            assert!(leftovers.contains(&format!("sysctl -w {key}=\\\"{was}\\\"")), "{leftovers}");
        }
        assert!(leftovers.contains("EROFS"), "{leftovers}");
        assert_eq!((s.sysctl(TTL), s.sysctl("net.ipv4.ip_forward")), ("77".into(), "1".into()), "told as it is");
        assert_eq!(s.pins(), [""; 0], "all other undos were tried");
        // What could not be put back is not forgotten.
        let again = s.with(&config, &["undo"]).exits(4);
        assert!(again.json["leftovers"].to_string().contains(TTL));
        s.read_only("/proc/sys", false);
        s.with(&config, &["undo"]).exits(0);
        assert_eq!(s.sysctl("net.ipv4.ip_forward"), "0");
        untouched(s);
    });
}

#[test]
fn row_65_exit_4_when_the_commit_fails_and_a_link_keeps_the_new_program() {
    sandbox(|s| {
        let config = |value, version| {
            format!(
                "[object.table]\npath = \"{}\"\nmaps.table.entries = [{{ key = 1, value = {value} }}]\n[object.count]\n\
                 path = \"{}\"\nprograms.count = {{ attach = {{ xdp = \"lo\", mode = \"generic\" }} }}\n",
                object("table_64"),
                object(version)
            )
        };
        let (first, second) = (config(10, "count_v1"), s.config("second.toml", &config(11, "count_v2")));
        // Without its children: the loader is to be left alone.
        let upgrade = |inject: &str| {
            let mut strace = Command::new("strace");
            strace.args(["-qq", "-o", "/run/calls", "-e", "trace=bpf", "-e", inject, "--"]).arg(binary());
            Report::of(run(strace.args(["--json", "-c"]).arg(&second).arg("apply").env_remove("JOURNAL_STREAM")))
        };
        s.apply(&first).exits(0);
        upgrade("signal=none").exits(0);
        let calls = fs::read_to_string("/run/calls").unwrap();
        let update = calls.lines().position(|call| call.contains("BPF_LINK_UPDATE")).unwrap() + 1;
        s.json(&["undo"]).exits(0);
        s.apply(&first).exits(0);
        // The link is updated, and then bpf(2) fails for good: the entry is not written, nor the link put back.
        let report = upgrade(&format!("inject=bpf:error=EIO:when={}+", update + 1)).exits(4);
        let leftovers = report.json["leftovers"].to_string();
        for said in ["could not be taken back", "link count/count@lo", "EIO", "mend: bpfboot"] {
            assert!(leftovers.contains(said), "{said}: {leftovers}");
        }
        s.check(&first).exits(5);
        s.apply(&first).exits(0);
        s.check(&first).exits(0);
        let id = s.pinned("prog", &format!("{LIVE}/count/progs/count"))["id"].as_u64().unwrap();
        assert_eq!(common::net::xdp("lo"), Some(("generic", id)));
    });
}

#[test]
fn exit_5_when_the_kernel_has_drifted_and_the_next_apply_heals() {
    sandbox(|s| {
        let config = ttl_and(
            "[object.edge]\npath = \"builtin:edge\"\n[object.trace]\npath = \"builtin:trace\"\n[mounts]\ntracefs = true",
        );
        s.check(&config).exits(5);
        s.apply(&config).exits(0);
        ok(Command::new("bpftool").args(["prog", "load", &object("count_v1"), "/sys/fs/bpf/other"]));
        let whole = || s.state().lines().filter(|line| !line.starts_with("undo: ")).collect::<Vec<_>>().join("\n");
        let before = whole();
        let swap = |pin: &str| {
            fs::remove_file(pin).unwrap();
            ok(Command::new("bpftool").args(["prog", "pin", "pinned", "/sys/fs/bpf/other", pin]));
        };
        let program = format!("{LIVE}/edge/progs/xdp_main");
        let map = format!("{LIVE}/edge/maps/counters");
        let link = format!("{LIVE}/trace/links/trace_openat");
        let harms: [(&str, &dyn Fn()); 7] = [
            ("a program's pin is gone", &|| fs::remove_file(&program).unwrap()),
            ("a map's pin is gone", &|| fs::remove_file(&map).unwrap()),
            ("a link's pin is gone", &|| fs::remove_file(&link).unwrap()),
            ("a sysctl was changed", &|| s.set_sysctl(TTL, "65")),
            ("another program is pinned in its place", &|| swap(&program)),
            ("a program is pinned where a link was", &|| swap(&link)),
            ("the whole directory is gone", &|| {
                ok(Command::new("rm").args(["-r", LIVE])).status.success().then_some(()).unwrap()
            }),
        ];
        for (harm, done) in harms {
            done();
            let drift = s.check(&config).exits(5);
            assert!(drift.steps().iter().any(|step| step["status"] == "drift"), "{harm}: {:#}", drift.json);
            s.apply(&config).exits(0);
            assert_eq!(whole(), before, "healed: {harm}");
            assert_eq!(s.sysctl(TTL), "77", "healed: {harm}");
            s.check(&config).exits(0);
        }
    });
}
