//! The main job, end to end: the embedded default, judged by bpftool, by the events that arrive, and by strace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{fs::File, process::Command};

use common::{
    LIVE, Value, binary,
    events::{RING, Record},
    ok,
    ring::Ring,
    sandbox,
    trace::Call,
    wait_for,
};

/// Bars of the product: what it may weigh.
const MOST_BYTES: u64 = 1100 * 1024;
const MOST_MEMORY_KIB: u64 = 3 * 1024;

#[test]
fn the_embedded_default_is_healthy_and_bpftool_agrees() {
    sandbox(|s| {
        let report = s.json(&["apply"]).exits(0);
        assert_eq!(report.json["health"], "healthy");
        assert_eq!(report.json["sources"][0], "embedded default");
        for (id, kind, path) in [
            ("program edge/xdp_main", "prog", "edge/progs/xdp_main"),
            ("program trace/trace_openat", "prog", "trace/progs/trace_openat"),
            ("program trace/trace_exec", "prog", "trace/progs/trace_exec"),
            ("program trace/trace_exit", "prog", "trace/progs/trace_exit"),
            ("map edge/counters", "map", "edge/maps/counters"),
            ("map trace/events", "map", "trace/maps/events"),
            ("map trace/drops", "map", "trace/maps/drops"),
            ("map trace/.rodata", "map", "trace/maps/_2erodata"),
            ("link trace/trace_openat", "link", "trace/links/trace_openat"),
            ("link trace/trace_exit", "link", "trace/links/trace_exit"),
        ] {
            let shown = s.pinned(kind, &format!("{LIVE}/{path}"));
            assert_eq!(shown["id"].as_u64(), Some(report.kernel_id(id)), "{id}: {shown}");
            if kind == "prog" {
                assert_eq!(shown["tag"], report.step(id)["facts"]["tag"], "{id}");
                assert_eq!(shown["type"], report.step(id)["facts"]["kind"], "{id}");
            }
        }
        let link = s.pinned("link", &format!("{LIVE}/trace/links/trace_openat"));
        assert_eq!(link["prog_id"].as_u64(), Some(report.kernel_id("program trace/trace_openat")), "{link}");
        assert!(s.is_mounted("tracefs", "/sys/kernel/tracing"));
        assert_eq!(s.sysctl("kernel.unprivileged_bpf_disabled"), "2");
        let kept: Value = serde_json::from_reader(File::open("/run/bpfboot/report.json").unwrap()).unwrap();
        assert_eq!(kept, report.json, "the report in /run is the one that was printed");
    });
}

#[test]
fn events_of_opened_files_arrive_after_bpfboot_is_gone() {
    sandbox(|s| {
        s.bpfboot(&["apply"]).exits(0);
        let mut ring = Ring::open(&format!("{LIVE}/trace/maps/events"), RING);
        let marker = format!("/run/marker-{}", std::process::id());
        // One look at the mark, then at most a buffer full of what the rest of the machine opens.
        let _ = File::open(&marker);
        wait_for("the event of our own open", || {
            while let Some(event) = ring.next().map(Record) {
                if event.by(std::process::id()) && event.opens(&marker) {
                    return Some(());
                }
            }
            let _ = File::open(&marker);
            None
        });
    });
}

#[test]
fn row_20_the_second_run_says_already_and_writes_nothing() {
    sandbox(|s| {
        s.bpfboot(&["apply"]).exits(0);
        let before = (s.pins(), s.state());
        let traced = s.strace(&[], &["--json", "apply"]);
        let report = common::Report::of(traced.ran).exits(0).nothing_done();
        assert_eq!(report.status("link trace/trace_openat"), "already");
        let writes: Vec<&Call> = traced.calls.iter().filter(|call| writes(call)).collect();
        assert!(writes.is_empty(), "{writes:#?}");
        assert!(traced.calls.iter().any(|call| call.line.contains("BPF_OBJ_GET_INFO_BY_FD")), "strace saw the look");
        assert_eq!((s.pins(), s.state()), before);
    });
}

/// Whether a call may change the kernel: anything of bpf(2) but a look, any change of a name, any file opened for
/// writing outside /run, any mount, any other process.
fn writes(call: &Call) -> bool {
    let line = call.line.as_str();
    let in_run = line.contains("\"/run/");
    match call.name.as_str() {
        "bpf" => {
            !["BPF_OBJ_GET,", "BPF_OBJ_GET_INFO_BY_FD,", "BPF_MAP_LOOKUP_ELEM,"].iter().any(|look| line.contains(look))
        }
        "open" | "openat" | "openat2" | "creat" => {
            ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| line.contains(flag))
                && !in_run
                && !line.contains("\"/dev/kmsg\"")
        }
        "mkdir" | "mkdirat" | "rename" | "renameat" | "renameat2" | "link" | "linkat" | "unlink" | "unlinkat"
        | "rmdir" | "symlink" | "symlinkat" | "chmod" | "fchmodat" | "chown" | "lchown" | "fchownat" => !in_run,
        "mount" | "umount2" | "fsopen" | "move_mount" | "fork" | "vfork" | "clone" | "clone3" | "setrlimit"
        | "perf_event_open" => true,
        // Its own core dumps are off in every run, also in one that only looks.
        "prlimit64" => !line.contains("NULL, {") && !line.contains("RLIMIT_CORE, {rlim_cur=0, rlim_max=0}"),
        _ => false,
    }
}

#[test]
fn the_writes_of_a_first_run_are_seen_by_the_same_eyes() {
    sandbox(|s| {
        let traced = s.strace(&[], &["apply"]);
        traced.ran.exits(0);
        let seen = |what: &str| traced.calls.iter().any(|call| writes(call) && call.line.contains(what));
        for what in [
            "BPF_PROG_LOAD",
            "BPF_MAP_CREATE",
            "BPF_OBJ_PIN",
            "BPF_LINK_CREATE",
            "rename(",
            "mkdir(",
            "mount(",
            "fork(",
        ] {
            assert!(
                seen(what) || (what == "fork(" && seen("clone")) || (what == "rename(" && seen("rename")),
                "{what}"
            );
        }
    });
}

#[test]
fn check_and_a_dry_run_write_nothing_on_a_fresh_machine() {
    sandbox(|s| {
        for (args, code) in [(&["check"][..], 5), (&["apply", "--dry-run"], 0), (&["profiles", "core"], 0)] {
            let traced = s.strace(&[], args);
            traced.ran.exits(code);
            let writes: Vec<&Call> = traced.calls.iter().filter(|call| writes(call)).collect();
            assert!(writes.is_empty(), "{args:?}: {writes:#?}");
        }
        assert_eq!(s.pins(), [""; 0]);
        assert!(!s.is_mounted("tracefs", "/sys/kernel/tracing"));
        assert!(!std::path::Path::new("/run/bpfboot").exists(), "not even a report");
    });
}

#[test]
fn apply_takes_at_most_3_mib_of_memory() {
    sandbox(|s| {
        // Cold, with every program to load, and warm. GNU time forks a small process: ours would count as bpfboot's.
        for run in ["cold", "warm"] {
            let args = ["-f", "%M", "-o", "/run/time", binary().to_str().unwrap(), "-q", "apply"].map(str::to_owned);
            ok(Command::new("/usr/bin/time").args(args));
            let kib: u64 = std::fs::read_to_string("/run/time").unwrap().trim().parse().unwrap();
            assert!(kib <= MOST_MEMORY_KIB, "{run}: {kib} KiB at the peak");
        }
        assert!(!s.pins().is_empty());
    });
}

#[test]
fn the_binary_is_small_and_needs_nothing() {
    let path = binary();
    let size = path.metadata().unwrap().len();
    assert!(size <= MOST_BYTES, "{size} bytes; {MOST_BYTES} is the bar");
    let file = String::from_utf8(ok(Command::new("file").arg("-L").arg(&path)).stdout).unwrap();
    assert!(file.contains("static-pie linked") && file.contains("stripped"), "{file}");
    let headers = String::from_utf8(ok(Command::new("readelf").args(["-lW", "-d"]).arg(&path)).stdout).unwrap();
    assert!(!headers.contains("INTERP") && !headers.contains("NEEDED"), "{headers}");
    assert!(headers.contains("GNU_RELRO") && headers.contains("DYN"), "{headers}");
    let stack = headers.lines().find(|line| line.contains("GNU_STACK")).expect("a stack header");
    assert!(!stack.contains("RWE"), "an executable stack: {stack}");
}

#[test]
fn it_runs_in_an_empty_root() {
    sandbox(|s| {
        let root = "/run/root";
        for dir in ["", "/proc", "/sys", "/dev", "/run"] {
            std::fs::create_dir(format!("{root}{dir}")).unwrap();
        }
        for dir in ["/proc", "/sys", "/dev"] {
            ok(Command::new("mount").args(["--rbind", dir, &format!("{root}{dir}")]));
        }
        std::fs::copy(binary(), format!("{root}/init")).unwrap();
        let report = common::Report::of(common::run(Command::new("chroot").args([root, "/init", "--json", "apply"])));
        let report = report.exits(0);
        let shown = s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"));
        assert_eq!(shown["id"].as_u64(), Some(report.kernel_id("program edge/xdp_main")));
    });
}
