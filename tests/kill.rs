//! Killed, stopped, or two at once: the next run ends where an undisturbed one would have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{fs, fs::File, path::Path, time::Instant};

use common::{
    LIVE, Report, Sandbox,
    net::{Wire, xdp},
    object, sandbox,
    trace::Call,
    wait_for,
};

const TTL: &str = "net.ipv4.ip_default_ttl";
const FIN: &str = "net.ipv4.tcp_fin_timeout";
const ROOT: &str = "/sys/fs/bpf/ours";

/// Every phase has something to do: a mount, a sysctl, two objects with links, a seal.
fn config(version: &str) -> String {
    format!(
        "[bpf]\nroot = \"{ROOT}\"\n[mounts]\ntracefs = true\n\
         [sysctl]\n\"{TTL}\" = 77\n\"{FIN}\" = {{ value = 30, phase = \"seal\" }}\n\
         [object.count]\npath = \"{}\"\nprograms.count = {{ attach = {{ xdp = \"lo\", mode = \"generic\" }} }}\n\
         [object.trace]\npath = \"builtin:trace\"\n",
        object(version)
    )
}

/// The end of an undisturbed run.
fn undisturbed(before: Option<&str>, after: &str) -> String {
    sandbox(|s| {
        for version in before.into_iter().chain([after]) {
            s.apply(&config(version)).exits(0);
        }
        whole(s)
    })
}

fn whole(s: &Sandbox) -> String {
    let mode = xdp("lo").map(|(mode, _)| mode);
    format!("{}ttl {} fin {} xdp {mode:?}\n", s.state(), s.sysctl(TTL), s.sysctl(FIN))
}

/// Kills an apply of `after` when it enters the call that `at` accepts, as found in an undisturbed traced run; gives
/// the sandbox to `judge` right after. Then one clean run must end as if nothing had happened, and undo take all back.
fn killed(before: Option<&str>, after: &str, calls: &str, at: fn(&[Call], usize) -> bool, judge: fn(&Sandbox)) {
    let trace = format!("trace={calls}");
    let (name, nth) = sandbox(|s| {
        if let Some(version) = before {
            s.apply(&config(version)).exits(0);
        }
        let path = s.config("traced.toml", &config(after));
        let traced = s.strace(&["-e", &trace], &["-q", "-c", path.to_str().unwrap(), "apply"]);
        let found = (0..traced.calls.len()).find(|nth| at(&traced.calls, *nth));
        let call = &traced.calls[found.unwrap_or_else(|| panic!("no such call in {:#?}", traced.calls))];
        let alone = traced.calls.iter().all(|other| other.name != call.name || other.pid == call.pid);
        assert!(alone, "{} is called by the loader too, which would be killed instead", call.name);
        // strace counts the calls of each process by itself.
        let nth = traced.nth(|c| std::ptr::eq(c, call));
        traced.ran.exits(0);
        nth
    });
    sandbox(|s| {
        if let Some(version) = before {
            s.apply(&config(version)).exits(0);
        }
        let path = s.config("killed.toml", &config(after));
        let inject = format!("inject={name}:signal=SIGKILL:when={nth}");
        let traced = s.strace(&["-e", &trace, "-e", &inject], &["-q", "-c", path.to_str().unwrap(), "apply"]);
        assert_eq!(traced.ran.signal, Some(9), "{:?}", traced.ran);
        judge(s);
        s.check(&config(after)).exits(5);
        s.apply(&config(after)).exits(0);
        assert_eq!(whole(s), undisturbed_inside(before, after));
        let id = s.pinned("prog", &format!("{ROOT}/live/count/progs/count"))["id"].as_u64().unwrap();
        assert_eq!(xdp("lo"), Some(("generic", id)), "the pinned program is the attached one");
        s.apply(&config(after)).exits(0).nothing_done();
        // Without the configuration: what the killed run did is known to undo.
        s.json(&["undo"]).exits(0);
        assert_eq!((s.pins(), s.sysctl(TTL), s.sysctl(FIN)), (vec![], "64".into(), "60".into()));
        assert!(xdp("lo").is_none() && !s.is_mounted("tracefs", "/sys/kernel/tracing"));
    });
}

/// A sandbox in a sandbox would wait for its own lock; what an undisturbed run ends with is found before.
fn undisturbed_inside(before: Option<&str>, after: &str) -> String {
    let known = UNDISTURBED.get_or_init(Default::default).lock().unwrap();
    known.get(&(before.map(str::to_owned), after.to_owned())).expect("found before").clone()
}

type Known = std::collections::BTreeMap<(Option<String>, String), String>;
static UNDISTURBED: std::sync::OnceLock<std::sync::Mutex<Known>> = std::sync::OnceLock::new();

fn find_undisturbed(before: Option<&str>, after: &str) {
    let end = undisturbed(before, after);
    let mut known = UNDISTURBED.get_or_init(Default::default).lock().unwrap();
    known.insert((before.map(str::to_owned), after.to_owned()), end);
}

/// The rename that makes a stage live.
fn is_flip(call: &Call) -> bool {
    call.name.starts_with("rename") && call.line.contains("/stage\"") && call.line.contains("/live\"")
}

fn at_flip(calls: &[Call], nth: usize) -> bool {
    is_flip(&calls[nth])
}

#[test]
fn row_55_killed_between_load_and_commit_the_next_run_sweeps_and_completes() {
    find_undisturbed(None, "count_v1");
    killed(None, "count_v1", "rename,renameat,renameat2", at_flip, |s| {
        let pins = s.pins();
        assert!(pins.iter().any(|pin| pin.contains("/stage/count/links/")), "staged: {pins:#?}");
        assert!(
            !pins.iter().any(|pin| pin.contains("/live")),
            "a reader of the live directory sees nothing: {pins:#?}"
        );
        assert_eq!(s.sysctl(TTL), "77");
    });
}

#[test]
fn row_55_killed_before_the_flip_of_an_upgrade_readers_see_the_old_generation() {
    find_undisturbed(Some("count_v1"), "count_v2");
    killed(Some("count_v1"), "count_v2", "rename,renameat,renameat2", at_flip, |s| {
        let tag = |path: &str| s.pinned("prog", path)["tag"].clone();
        let (live, stage) =
            (tag(&format!("{ROOT}/live/count/progs/count")), tag(&format!("{ROOT}/stage/count/progs/count")));
        assert_ne!(live, stage);
        assert!(xdp("lo").is_some(), "never a gap on the interface");
    });
}

#[test]
fn row_56_killed_between_commit_and_seal_the_next_run_seals() {
    // The first file of the kernel's that is opened for writing after the flip is the seal's.
    let at_seal = |calls: &[Call], nth: usize| {
        calls[nth].name == "openat2" && calls[nth].line.contains("O_WRONLY") && calls[..nth].iter().any(is_flip)
    };
    find_undisturbed(None, "count_v1");
    killed(None, "count_v1", "rename,renameat,renameat2,openat2", at_seal, |s| {
        assert!(s.pins().iter().any(|pin| pin.contains("/live/count/links/")), "live");
        assert_eq!((s.sysctl(TTL), s.sysctl(FIN)), ("77".into(), "60".into()), "tuned, and not sealed");
    });
}

#[test]
fn row_56_killed_between_seal_and_the_old_generations_end() {
    // After the flip of an upgrade the stage holds the old generation: the first of its pins to go.
    let at_retire = |calls: &[Call], nth: usize| {
        calls[nth].name.starts_with("unlink") && calls[..nth].iter().any(is_flip) && calls[nth].line.contains("/stage/")
    };
    find_undisturbed(Some("count_v1"), "count_v2");
    killed(Some("count_v1"), "count_v2", "rename,renameat,renameat2,unlink,unlinkat", at_retire, |s| {
        assert!(s.pins().iter().any(|pin| pin.contains("/stage/count/progs/")), "the old generation is still there");
    });
}

#[test]
fn row_54_a_loader_killed_at_any_bpf_call_leaves_nothing_attached_without_a_pin() {
    // Every bpf(2) call of the loader in turn; the parent lives and undoes, so nothing at all may be left.
    let config = config("count_v1").replace(ROOT, "/sys/fs/bpf/bpfboot");
    let calls = sandbox(|s| {
        let path = s.config("traced.toml", &config);
        let traced = s.strace(&["-e", "trace=bpf"], &["-q", "-c", path.to_str().unwrap(), "apply"]);
        traced.ran.exits(0);
        // Those of the busiest thread; each thread of the loader counts by itself.
        traced.calls.iter().map(|call| traced.calls.iter().filter(|c| c.pid == call.pid).count()).max().unwrap()
    });
    assert!(calls > 15, "{calls}");
    for nth in (1..=calls).step_by(2) {
        sandbox(|s| {
            let path = s.config("killed.toml", &config);
            let inject = format!("inject=bpf:signal=SIGKILL:when={nth}");
            let traced =
                s.strace(&["-e", "trace=bpf", "-e", &inject], &["--json", "-c", path.to_str().unwrap(), "apply"]);
            if traced.ran.signal.is_none() {
                // Another thread may have come first to the calls that are counted; then nothing was killed.
                let report = Report::of(traced.ran);
                if report.ran.code == Some(0) {
                    return;
                }
                let report = report.exits(1);
                assert!(report.json.to_string().contains("SIGKILL"), "{nth}: {:#}", report.json);
                assert_eq!((s.pins(), s.sysctl(TTL)), (vec![], "64".into()), "call {nth}");
            }
            assert_eq!(xdp("lo"), None, "call {nth}");
            s.apply(&config).exits(0);
            s.check(&config).exits(0);
        });
    }
}

#[test]
fn row_63_sigterm_midway_undoes_and_exits_1() {
    sandbox(|s| {
        // Once while it loads, held by an interface that never comes; once while it waits for the lock.
        let config = config("count_v1").replace("xdp = \"lo\"", "xdp = \"no0\", wait = \"30s\"");
        for signal in ["TERM", "INT"] {
            let running = s.start(&config, &["apply"]);
            wait_for("the loader to be at work", || {
                s.pins().iter().any(|p| p.contains("/stage/count/progs/")).then_some(())
            });
            assert_eq!(s.sysctl(TTL), "77");
            running.signal(signal);
            let report = running.ends().exits(1);
            assert!(report.steps().iter().any(|step| step["fault"]["cause"] == "signal"), "{:#}", report.json);
            assert_eq!((s.pins(), s.sysctl(TTL)), (vec![], "64".into()));
            assert!(!s.is_mounted("tracefs", "/sys/kernel/tracing"));
        }
        let lock = File::create("/run/bpfboot/lock").unwrap();
        lock.lock().unwrap();
        let running = s.start(&config, &["apply"]);
        wait_for("it to wait for the lock", || waits_for_lock(running.pid()).then_some(()));
        running.signal("TERM");
        assert_eq!(running.ends().exits(1).fault("lock").0, "signal");
    });
}

/// Whether a process holds the lock file open: it has come as far as asking for the lock.
fn waits_for_lock(pid: u32) -> bool {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == Path::new("/run/bpfboot/lock")))
}

#[test]
fn row_62_two_at_once_the_second_waits_and_both_end_healthy() {
    sandbox(|s| {
        let config = config("count_v1").replace("xdp = \"lo\", mode = \"generic\"", "xdp = \"late0\", wait = \"30s\"");
        let first = s.start(&config, &["apply"]);
        wait_for("the first to be at work", || {
            s.pins().iter().any(|p| p.contains("/stage/count/progs/")).then_some(())
        });
        let mut second = s.start(&config, &["apply"]);
        wait_for("the second to ask for the lock", || waits_for_lock(second.pid()).then_some(()));
        assert!(second.runs(), "it waits");
        assert!(s.pins().iter().any(|p| p.contains("/stage/count/progs/")), "and swept nothing of the first one's");
        let _wire = Wire::new(s, "late0");
        let first = first.ends().exits(0);
        let second = second.ends().exits(0).nothing_done();
        assert_eq!(second.kernel_id("program count/count"), first.kernel_id("program count/count"));
        assert_eq!(xdp("late0"), Some(("native", first.kernel_id("program count/count"))));
        s.check(&config).exits(0);
    });
}

#[test]
fn row_62_ten_at_once_end_as_one() {
    sandbox(|s| {
        let config = config("count_v1");
        let running: Vec<_> = (0..10).map(|_| s.start(&config, &["apply"])).collect();
        let reports: Vec<_> = running.into_iter().map(|running| running.ends().exits(0)).collect();
        let worked =
            reports.iter().filter(|report| report.steps().iter().any(|step| step["phase"] == "commit")).count();
        assert_eq!(worked, 1, "one did it, nine found it done");
        s.apply(&config).exits(0).nothing_done();
    });
}

#[test]
fn row_62_a_lock_that_never_comes_free_is_given_up_after_ten_seconds() {
    sandbox(|s| {
        fs::create_dir("/run/bpfboot").unwrap();
        let lock = File::create("/run/bpfboot/lock").unwrap();
        lock.lock().unwrap();
        let start = Instant::now();
        let report = s.start(&config("count_v1"), &["apply"]).ends().exits(1);
        let (cause, text) = report.fault("lock");
        assert!(cause == "busy" && text.contains("fuser"), "{text}");
        assert!((9..13).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        assert_eq!((s.pins(), s.sysctl(TTL)), (vec![], "64".into()));
    });
}

#[test]
fn row_63_a_load_beyond_the_deadline_is_ended_and_undone() {
    sandbox(|s| {
        // The verifier takes hundreds of milliseconds for it.
        let config = format!(
            "[bpf]\ndeadline = \"50ms\"\n[sysctl]\n\"{TTL}\" = 77\n[object.slow]\npath = \"{}\"",
            object("slow")
        );
        let report = s.apply(&config).exits(1);
        let (cause, text) = report.fault("loader");
        assert!(cause == "deadline" && text.contains("50ms") && text.contains("slow"), "{text}");
        assert_eq!((s.pins(), s.sysctl(TTL)), (vec![], "64".into()));
        s.apply(&config.replace("50ms", "20s")).exits(0);
        assert!(s.pinned("prog", &format!("{LIVE}/slow/progs/slow"))["id"].is_u64());
    });
}
