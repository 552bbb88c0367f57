//! What older kernels lack: said before anything is written, or done another way. Newer kernels have it.

use std::process::Command;

use caps::{CapSet, Capability};

use crate::{
    common::{LIVE, Report, Sandbox, binary, mount_fs, net::xdp, object, run, trace::Call},
    guest,
    kernels::Kernel,
};

#[test]
fn row_33_a_tracepoint_link_that_would_not_last_is_refused_by_the_plan() {
    guest(|s, kernel| {
        let trace = |rest: &str| format!("[mounts]\ntracefs = true\n[object.trace]\npath = \"builtin:trace\"\n{rest}");
        match kernel {
            Kernel::V5_10 => {
                let report = s.apply(&trace("programs.trace_openat = {}\n")).exits(1);
                let (cause, text) = report.fault("program trace/trace_openat");
                assert_eq!(cause, "kernel");
                for word in ["a tracepoint link cannot outlive bpfboot", "5.15", "raw_tp, tp_btf or fentry"] {
                    assert!(text.contains(word), "no {word:?} in {text}");
                }
                assert!(report.notes().contains("before the first write"), "{}", report.notes());
                assert_eq!(s.pins(), [""; 0]);
                let degraded = s.apply(&trace("programs.trace_openat = { optional = true }\n")).exits(3);
                assert_eq!(degraded.fault("program trace/trace_openat").0, "kernel");
                s.json(&["undo"]).exits(0);
                let pinned = s.apply(&trace("programs.trace_openat = { attach = false }\n")).exits(0);
                let shown = s.pinned("prog", &format!("{LIVE}/trace/progs/trace_openat"));
                assert_eq!(shown["id"].as_u64(), Some(pinned.kernel_id("program trace/trace_openat")));
            }
            Kernel::Uml => {
                let report = s
                    .apply(
                        &trace("optional = true\nprograms.trace_openat = {}\n")
                            .replace("true\n[", "{ if-available = true }\n["),
                    )
                    .exits(3);
                let (cause, text) = report.fault("program trace/trace_openat");
                assert!(cause == "kernel" && text.contains("knows no tracepoint programs"), "{text}");
            }
            _ => {
                let report = s.apply(&trace("programs.trace_openat = {}\n")).exits(0);
                let link = s.pinned("link", &format!("{LIVE}/trace/links/trace_openat"));
                assert_eq!(link["prog_id"].as_u64(), Some(report.kernel_id("program trace/trace_openat")));
            }
        }
    });
}

/// `apply` with 64 KiB of memory that may be locked.
fn with_little_memlock(s: &Sandbox, config: &str) -> Report {
    let path = s.config("memlock.toml", config);
    let script = "ulimit -l 64; exec \"$0\" --json -c \"$1\" apply";
    Report::of(run(Command::new("sh").args(["-c", script]).arg(binary()).arg(path).env_remove("JOURNAL_STREAM")))
}

#[test]
fn row_34_memlock_matters_only_where_the_kernel_charges_bpf_to_it() {
    guest(|s, kernel| {
        // A megabyte on two CPUs.
        let edge = "[object.edge]\npath = \"builtin:edge\"\nmaps.counters.max-entries = 65536\n";
        let charges = kernel == Kernel::V5_10;
        let limited = with_little_memlock(s, &format!("[limits]\nmemlock = \"auto\"\n{edge}")).exits(0);
        assert_eq!(limited.status("limit memlock"), if charges { "done" } else { "skipped" });
        s.json(&["undo"]).exits(0);
        // The loader raises it for itself, too, if it may. This thread, and what it starts, may no longer.
        with_little_memlock(s, edge).exits(0);
        s.json(&["undo"]).exits(0);
        caps::drop(None, CapSet::Bounding, Capability::CAP_SYS_RESOURCE).unwrap();
        let report = with_little_memlock(s, edge);
        if !charges {
            report.exits(0);
            return;
        }
        let report = report.exits(1);
        let step = report.steps().iter().find(|step| step["fault"].is_object()).unwrap();
        assert_eq!(step["fault"]["cause"], "privilege", "{step}");
        assert_eq!(step["fault"]["reason"], "memlock", "{step}");
        assert!(step["fault"]["mend"].as_str().unwrap().contains("ulimit -l"), "{step}");
        let what = step["fault"]["what"].as_str().unwrap();
        assert!(what.contains("RLIMIT_MEMLOCK, whose hard limit is 65536 bytes"), "{step}");
        let told = s.bpfboot(&["diagnose"]).exits(1).stdout;
        assert!(told.contains("privilege, memlock") && told.contains("to which this kernel charges BPF"), "{told}");
        assert_eq!(s.pins(), [""; 0]);
    });
}

/// Debian's kernels are patched to know 3.
#[test]
fn a_paranoid_kernel_is_named_and_no_capability_is() {
    guest(|s, kernel| {
        if !kernel.is_whole() {
            return;
        }
        let key = "kernel.perf_event_paranoid";
        let was = s.sysctl(key);
        s.set_sysctl(key, "3");
        let object = object("ways");
        let config =
            format!("[mounts]\ntracefs = true\n[object.ways]\npath = \"{object}\"\nprograms.by_tracepoint = {{}}\n");
        let path = s.config("paranoid.toml", &config);
        mount_fs("tracefs", "/sys/kernel/tracing", "");
        // This thread, and what it starts, may no longer.
        caps::drop(None, CapSet::Bounding, Capability::CAP_SYS_ADMIN).unwrap();
        let report = s.json(&["-c", path.to_str().unwrap(), "apply"]);
        s.set_sysctl(key, &was);
        let report = report.exits(1);
        let fault = &report.steps().iter().find(|step| step["fault"].is_object()).unwrap()["fault"];
        if kernel == Kernel::V5_10 {
            // It is too old for the link, which is said first.
            assert_eq!(fault["cause"], "kernel", "{fault}");
            return;
        }
        assert_eq!(
            (fault["cause"].as_str(), fault["reason"].as_str()),
            (Some("privilege"), Some("paranoid")),
            "{fault}"
        );
    });
}

fn count(version: &str) -> String {
    format!(
        "[object.count]\npath = \"{}\"\nprograms.count = {{ attach = {{ xdp = \"lo\", mode = \"generic\" }} }}\n",
        object(version)
    )
}

/// An upgrade under strace, with more of strace's options; gives what became of it, and all its renames.
fn upgrade(s: &Sandbox, options: &[&str]) -> (Option<i32>, Vec<Call>) {
    s.apply(&count("count_v1")).exits(0);
    let path = s.config("upgrade.toml", &count("count_v2"));
    let options = [&["-e", "trace=rename,renameat,renameat2"], options].concat();
    let traced = s.strace(&options, &["-q", "-c", path.to_str().unwrap(), "apply"]);
    (traced.ran.signal, traced.calls)
}

#[test]
fn row_57_without_rename_exchange_a_kill_between_the_renames_is_repaired() {
    guest(|s, kernel| {
        let (_, renames) = upgrade(s, &[]);
        let undisturbed = s.state();
        s.json(&["undo"]).exits(0);
        let exchanged = renames.iter().filter(|call| call.line.contains("RENAME_EXCHANGE")).collect::<Vec<_>>();
        assert_eq!(exchanged.len(), 1, "{renames:#?}");
        if kernel != Kernel::V5_10 {
            assert!(exchanged[0].succeeded(), "{renames:#?}");
            return;
        }
        assert!(exchanged[0].line.contains("EINVAL"), "bpffs takes it since 5.17: {renames:#?}");
        let after = renames.iter().position(|call| call.line.contains("RENAME_EXCHANGE")).unwrap() + 1;
        let halves = &renames[after..after + 3];
        assert!(
            halves.iter().all(|call| call.line.contains("/sys/fs/bpf/bpfboot/")) && halves.iter().all(Call::succeeded),
            "aside, in, and away: {renames:#?}"
        );
        for (nth, call) in halves.iter().enumerate() {
            let when = renames[..=after + nth].iter().filter(|other| other.name == call.name).count();
            let inject = format!("inject={}:signal=SIGKILL:when={when}", call.name);
            let (signal, _) = upgrade(s, &["-e", &inject]);
            assert_eq!(signal, Some(9), "killed at {call:?}");
            assert!(xdp("lo").is_some(), "attached all the while, killed at {call:?}");
            let live = std::path::Path::new(LIVE).exists();
            assert_eq!(live, nth != 1, "between the first and the second there is no live: {call:?}");
            // After the second only the old generation is in the way.
            s.check(&count("count_v2")).exits(if nth == 2 { 0 } else { 5 });
            s.apply(&count("count_v2")).exits(0);
            assert_eq!(s.state(), undisturbed, "killed at {call:?}");
            let program = s.pinned("prog", &format!("{LIVE}/count/progs/count"))["id"].as_u64().unwrap();
            assert_eq!(xdp("lo"), Some(("generic", program)), "the pinned program is the attached one");
            s.apply(&count("count_v2")).exits(0).nothing_done();
            s.json(&["undo"]).exits(0);
            assert_eq!((s.pins(), xdp("lo")), (vec![], None));
        }
    });
}

#[test]
fn a_user_namespace_is_told_what_this_kernel_can_delegate() {
    guest(|s, kernel| {
        let config = s.config("edge.toml", "[object.edge]\npath = \"builtin:edge\"\n");
        let mut command = Command::new("unshare");
        command.args(["-U", "-r"]).arg(binary()).args(["--json", "-c", config.to_str().unwrap(), "apply"]);
        let report = Report::of(run(&mut command)).exits(1);
        let (cause, text) = report.fault("object edge");
        match kernel {
            Kernel::V6_12 | Kernel::New => {
                assert!(cause == "privilege" && text.contains("belongs to another user namespace [EPERM]"), "{text}");
            }
            _ => assert!(cause == "kernel" && text.contains("cannot delegate before Linux 6.9"), "{text}"),
        }
    });
}
