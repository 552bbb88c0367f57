//! What the loader holds while it loads, what is left at the end, and what happens where something is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use common::{LIVE, Report, Sandbox, binary, mount_fs, object, ok, run, sandbox, wait_for};
use nix::mount::{MsFlags, mount, umount};

const TTL: &str = "net.ipv4.ip_default_ttl";
const EDGE: &str = "[object.edge]\npath = \"builtin:edge\"\n";

const NET_ADMIN: u64 = 1 << 12;
const SYS_ADMIN: u64 = 1 << 21;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

fn ttl_and(rest: &str) -> String {
    format!("[sysctl]\n\"{TTL}\" = 77\n{rest}\n")
}

#[track_caller]
fn untouched(s: &Sandbox) {
    assert_eq!((s.sysctl(TTL), s.pins()), ("64".into(), vec![]));
}

/// The capability sets and NoNewPrivs of a thread, read from outside.
#[derive(Debug, Eq, PartialEq)]
struct Held {
    inheritable: u64,
    permitted: u64,
    effective: u64,
    bounding: u64,
    ambient: u64,
    no_new_privs: u64,
}

fn held(status: &str) -> Option<Held> {
    let status = fs::read_to_string(status).ok()?;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?.trim();
        u64::from_str_radix(value, 16).ok()
    };
    Some(Held {
        inheritable: field("CapInh:")?,
        permitted: field("CapPrm:")?,
        effective: field("CapEff:")?,
        bounding: field("CapBnd:")?,
        ambient: field("CapAmb:")?,
        no_new_privs: field("NoNewPrivs:")?,
    })
}

const fn exactly(caps: u64) -> Held {
    Held { inheritable: 0, permitted: caps, effective: caps, bounding: 0, ambient: 0, no_new_privs: 1 }
}

#[test]
fn the_loader_holds_exactly_what_the_plan_needs_in_every_thread() {
    sandbox(|s| {
        mount_fs("tracefs", "/sys/kernel/tracing", "");
        for (objects, needs) in [(&["slow", "slow_tp"][..], BPF | PERFMON | NET_ADMIN), (&["slow_tp"], BPF | PERFMON)] {
            let config: String =
                objects.iter().map(|name| format!("[object.{name}]\npath = \"{}\"\n", object(name))).collect();
            let mut running = s.start(&config, &["apply"]);
            let pid = running.pid();
            // The verifier keeps it busy for hundreds of milliseconds after it has made its maps and stepped down.
            let (child, threads) = wait_for("the loader to be in the verifier", || {
                let child = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?.trim().to_owned();
                let tasks = fs::read_dir(format!("/proc/{child}/task")).ok()?.flatten().map(|task| task.path());
                let threads: Vec<_> = tasks.filter_map(|task| held(&format!("{}/status", task.display()))).collect();
                let narrowed = threads
                    .iter()
                    .any(|held| held.no_new_privs == 1 && held.effective < SYS_ADMIN << 20 && held.bounding == 0);
                (narrowed && threads.len() >= objects.len()).then_some((child, threads))
            });
            assert!(running.runs());
            for thread in &threads {
                assert_eq!(*thread, exactly(needs), "{objects:?}, loader {child}");
            }
            let parent = held(&format!("/proc/{pid}/status")).unwrap();
            assert!(parent.effective & SYS_ADMIN != 0, "the parent can still undo and seal: {parent:?}");
            running.ends().exits(0);
            s.json(&["undo"]).exits(0);
        }
    });
}

#[test]
fn row_69_nothing_is_left_in_the_parent_at_the_end() {
    sandbox(|s| {
        // A full pipe holds it when it prints, and that is when it is looked at.
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(&[b'\n'; 65536]).unwrap();
        let path = s.config("held.toml", EDGE);
        let mut child = s.command(&["--json", "-c", path.to_str().unwrap(), "apply"]).stdout(writer).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        wait_for("it to step down", || held(&status).filter(|held| held.effective == 0));
        assert!(s.pins().iter().any(|pin| pin.starts_with(LIVE)), "the work was done by then");
        assert_eq!(held(&status), Some(exactly(0)));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let report: common::Value = serde_json::from_str(text.trim_start()).unwrap();
        let said = report["steps"].as_array().unwrap().iter().find(|step| step["id"] == "privileges").unwrap();
        assert_eq!(said["now"], "CapEff=0 CapPrm=0 CapInh=0 CapBnd=0 CapAmb=0 NoNewPrivs=1");
    });
}

#[test]
fn after_the_last_drop_nothing_privileged_is_asked_for() {
    sandbox(|s| {
        let path = s.config("traced.toml", &ttl_and(EDGE));
        let traced = s.strace(&[], &["-q", "-c", path.to_str().unwrap(), "apply"]);
        traced.ran.exits(0);
        let parent = traced.calls[0].pid;
        let drop = traced.calls.iter().rposition(|call| call.pid == parent && call.name == "capset").unwrap();
        let line = &traced.calls[drop].line;
        assert!(line.contains("effective=0, permitted=0, inheritable=0"), "{line}");
        for call in &traced.calls[drop..] {
            assert!(!matches!(call.name.as_str(), "bpf" | "mount" | "openat2" | "perf_event_open"), "{call:?}");
        }
        // The loader steps down before its first bpf(2) call, and never again up.
        let loader =
            traced.calls.iter().find(|call| call.name == "bpf" && call.line.contains("BPF_PROG_LOAD")).unwrap().pid;
        let first = |name: &str| traced.calls.iter().position(|call| call.name == name && call.pid == loader);
        if let (Some(capset), Some(bpf)) = (first("capset"), first("bpf")) {
            assert!(capset < bpf);
        }
    });
}

/// Runs bpfboot without some capabilities.
fn without(s: &Sandbox, caps: &str, config: &str, verb: &str) -> Report {
    let path = s.config("less.toml", config);
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set={caps}")).arg(binary());
    command.args(["--json", "-c", path.to_str().unwrap(), verb]).stdin(Stdio::null());
    Report::of(run(&mut command))
}

#[test]
fn row_40_a_missing_capability_is_named_and_nothing_is_written() {
    sandbox(|s| {
        for (caps, config, named) in [
            ("-bpf,-sys_admin", ttl_and(EDGE), "CAP_BPF"),
            ("-perfmon,-sys_admin", ttl_and(EDGE), "CAP_PERFMON"),
            ("-net_admin,-sys_admin", format!("[sysctl]\n\"vm.max_map_count\" = 70000\n{EDGE}"), "CAP_NET_ADMIN"),
            ("-all", ttl_and(EDGE), "CAP_BPF CAP_PERFMON CAP_NET_ADMIN"),
        ] {
            let maps = s.guard("vm.max_map_count");
            let report = without(s, caps, &config, "apply").exits(1);
            let (cause, text) = report.fault("object edge");
            assert!(cause == "privilege" && text.contains(named), "{caps}: {text}");
            untouched(s);
            assert_eq!(s.sysctl("vm.max_map_count"), maps.was(), "{caps}");
        }
    });
}

#[test]
fn three_capabilities_are_enough_to_load_and_attach() {
    sandbox(|s| {
        mount_fs("tracefs", "/sys/kernel/tracing", "");
        let config = format!(
            "{EDGE}programs.xdp_main = {{ attach = {{ xdp = \"lo\", mode = \"generic\" }} }}\n[object.trace]\npath = \"builtin:trace\"\n"
        );
        let report = without(s, "-all,+bpf,+perfmon,+net_admin", &config, "apply").exits(0);
        assert_eq!(
            common::net::xdp("lo"),
            Some(("generic", s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["id"].as_u64().unwrap()))
        );
        let privileges = report.step("privileges")["now"].as_str().unwrap();
        assert!(
            privileges.starts_with("CapEff=0 CapPrm=0 CapInh=0") && privileges.ends_with("NoNewPrivs=1"),
            "{privileges}"
        );
        without(s, "-all,+bpf,+perfmon,+net_admin", &config, "apply").exits(0).nothing_done();
    });
}

#[test]
fn sys_admin_stands_in_for_what_it_includes() {
    sandbox(|s| {
        without(s, "-bpf,-perfmon,-net_admin", EDGE, "apply").exits(0);
        assert!(s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["id"].is_u64());
    });
}

#[test]
fn a_user_without_any_right_is_told_so() {
    sandbox(|s| {
        let path = s.config("user.toml", &ttl_and(EDGE));
        // Where the binary lies may be closed to others.
        fs::copy(binary(), "/run/bpfboot-copy").unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "/run/bpfboot-copy", "--json", "-c"]);
        let report = Report::of(run(command.arg(&path).arg("apply").stdin(Stdio::null()))).exits(1);
        assert!(report.json.to_string().contains("\"cause\":\"privilege\""), "{:#}", report.json);
        untouched(s);
    });
}

#[test]
fn row_14_a_read_only_proc_sys_is_named_before_anything_is_done() {
    sandbox(|s| {
        s.bind("/proc/sys");
        s.read_only("/proc/sys", true);
        let report = s.apply(&ttl_and(EDGE)).exits(1);
        let (_, text) = report.fault(&format!("sysctl {TTL}"));
        assert!(text.contains("read-only") && text.contains("EROFS"), "{text}");
        untouched(s);
        let optional = format!("[sysctl]\n\"{TTL}\" = {{ value = 77, optional = true }}\n{EDGE}");
        s.apply(&optional).exits(3);
        assert!(s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["id"].is_u64(), "the programs are up");
        assert_eq!(s.sysctl(TTL), "64");
        // What is right already needs no write.
        s.apply(&format!("[sysctl]\n\"{TTL}\" = 64\n{EDGE}")).exits(0);
    });
}

#[test]
fn row_45_a_read_only_bpffs_fails_and_puts_the_rest_back() {
    sandbox(|s| {
        s.read_only("/sys/fs/bpf", true);
        let report = s.apply(&ttl_and(EDGE)).exits(1);
        let said = report.json.to_string();
        assert!(said.contains("EROFS") && said.contains("remount"), "{:#}", report.json);
        untouched(s);
        s.read_only("/sys/fs/bpf", false);
        s.apply(&ttl_and(EDGE)).exits(0);
    });
}

#[test]
fn row_46_a_pin_directory_that_is_a_link_is_not_followed() {
    sandbox(|s| {
        fs::create_dir("/sys/fs/bpf/other").unwrap();
        symlink("/sys/fs/bpf/other", "/sys/fs/bpf/bpfboot").unwrap();
        let report = s.apply(&ttl_and(EDGE)).exits(1);
        assert!(report.json.to_string().contains("symbolic link"), "{:#}", report.json);
        assert_eq!(s.pins(), ["/sys/fs/bpf/bpfboot -> /sys/fs/bpf/other", "/sys/fs/bpf/other"]);
        assert_eq!(s.sysctl(TTL), "64");
        // A link one level further down is no better.
        fs::remove_file("/sys/fs/bpf/bpfboot").unwrap();
        fs::create_dir("/sys/fs/bpf/bpfboot").unwrap();
        fs::set_permissions("/sys/fs/bpf/bpfboot", fs::Permissions::from_mode(0o700)).unwrap();
        for generation in ["stage", "live"] {
            let link = format!("/sys/fs/bpf/bpfboot/{generation}");
            symlink("/sys/fs/bpf/other", &link).unwrap();
            let before = s.pins();
            s.apply(&ttl_and(EDGE)).exits(1);
            assert_eq!((s.sysctl(TTL), s.pins()), ("64".into(), before), "{generation}: nothing went through it");
            fs::remove_file(&link).unwrap();
        }
    });
}

#[test]
fn a_pin_directory_that_others_can_write_is_refused() {
    sandbox(|s| {
        fs::create_dir("/sys/fs/bpf/bpfboot").unwrap();
        fs::set_permissions("/sys/fs/bpf/bpfboot", fs::Permissions::from_mode(0o777)).unwrap();
        let report = s.apply(&ttl_and(EDGE)).exits(1);
        assert!(report.json.to_string().contains("chmod 0700"), "{:#}", report.json);
        assert_eq!((s.sysctl(TTL), s.pins()), ("64".into(), vec!["/sys/fs/bpf/bpfboot".into()]));
    });
}

#[test]
fn row_47_pins_outside_a_bpffs_are_refused_before_a_load() {
    sandbox(|s| {
        let config = ttl_and(&format!("[bpf]\nroot = \"/run/pins\"\n{EDGE}"));
        let report = s.apply(&config).exits(1);
        assert!(report.json.to_string().contains("is not on a BPF file system"), "{:#}", report.json);
        untouched(s);
        assert!(!Path::new("/run/pins").exists());
    });
}

#[test]
fn row_43_without_a_bpffs_it_is_mounted_only_when_asked_for() {
    sandbox(|s| {
        umount("/sys/fs/bpf").unwrap();
        if s.is_mounted("bpf", "/sys/fs/bpf") {
            umount("/sys/fs/bpf").unwrap();
        }
        let report = s.apply(&ttl_and(EDGE)).exits(1);
        assert!(report.json.to_string().contains("bpffs = true"), "{:#}", report.json);
        assert_eq!(s.sysctl(TTL), "64");
        assert!(!s.is_mounted("bpf", "/sys/fs/bpf"));
        let config = format!("[mounts]\nbpffs = {{ mode = \"0710\", gid = 7 }}\n{EDGE}");
        s.apply(&config).exits(0);
        let shown = ok(Command::new("stat").args(["-f", "-c", "%T", "/sys/fs/bpf"]).arg("--").stdin(Stdio::null()));
        assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), "bpf_fs");
        let root = ok(Command::new("stat").args(["-c", "%a %u %g", "/sys/fs/bpf"]));
        assert_eq!(String::from_utf8_lossy(&root.stdout).trim(), "710 0 7");
        s.with(&config, &["undo"]).exits(0);
        assert!(!s.is_mounted("bpf", "/sys/fs/bpf"), "undo unmounts what was mounted");
    });
}

#[test]
fn row_44_pins_that_vanish_with_the_mount_namespace_are_announced() {
    sandbox(|s| {
        for verb in [&["apply", "--dry-run"][..], &["apply"]] {
            let notes = s.with(EDGE, verb).exits(0).notes();
            assert!(notes.contains("belongs to this mount namespace alone"), "{notes}");
        }
    });
}

#[test]
fn row_64_a_run_directory_that_cannot_be_written_costs_the_report_and_nothing_else() {
    sandbox(|s| {
        let config = s.config("quiet.toml", &ttl_and(EDGE));
        fs::create_dir("/run/keep").unwrap();
        for harm in ["read-only", "full"] {
            match harm {
                "full" => {
                    // Not one more file, and not one more byte.
                    mount_fs("tmpfs", "/run/keep", "size=4k,nr_inodes=3,mode=0755");
                    fs::copy(&config, "/run/keep/quiet.toml").unwrap();
                    mount(Some("/run/keep"), "/run", None::<&str>, MsFlags::MS_MOVE, None::<&str>).unwrap();
                }
                _ => s.read_only("/run", true),
            }
            let report = s.json(&["-c", "/run/quiet.toml", "apply"]).exits(0);
            assert_eq!(s.sysctl(TTL), "77", "{harm}");
            assert!(s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["id"].is_u64(), "{harm}");
            assert!(!report.notes().is_empty(), "{harm}: it says that nothing is kept");
            s.set_sysctl(TTL, "64");
            ok(Command::new("rm").args(["-r", "/sys/fs/bpf/bpfboot"]));
            if harm == "read-only" {
                s.read_only("/run", false);
            }
        }
    });
}

#[test]
fn row_64_nobody_who_listens_costs_nothing() {
    sandbox(|s| {
        let path = s.config("heard.toml", &ttl_and(EDGE));
        let path = path.to_str().unwrap();
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script, "sh"]).arg(binary()).args(["-c", path, "apply"]).stdin(Stdio::null());
            let ran = run(&mut command);
            assert_eq!((ran.code, ran.signal), (Some(0), None), "{script}: {ran:#?}");
            assert_eq!(s.sysctl(TTL), "77", "{script}");
            s.json(&["undo"]).exits(0);
            untouched(s);
        };
        shell("exec \"$@\" >&-");
        shell("exec \"$@\" 2>&-");
        shell("exec \"$@\" <&- >&- 2>&-");
        shell("exec \"$@\" > /dev/full");
        shell("exec \"$@\" > /dev/full 2> /dev/full");
        // A reader that is gone: no SIGPIPE ends the run half way.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = s.command(&["-c", path, "apply"]).stdout(writer).status().unwrap();
        assert_eq!(status.code(), Some(0));
        assert_eq!(s.sysctl(TTL), "77");
        // With descriptors 0 to 2 closed nothing it opens may take their place and be written to.
        assert!(!fs::read_to_string("/run/heard.toml").unwrap().contains("bpfboot"));
    });
}

#[test]
fn row_70_without_proc_programs_come_up_and_what_cannot_be_proven_is_said() {
    sandbox(|s| {
        fs::create_dir("/run/empty").unwrap();
        ok(Command::new("mount").args(["--bind", "/run/empty", "/proc"]));
        let path = s.config("noproc.toml", EDGE);
        let ran = s.bpfboot(&["--json", "-c", path.to_str().unwrap(), "apply"]);
        umount("/proc").unwrap();
        let report = Report::of(ran);
        // It ends, with a code that is true: either the programs are there, or nothing is.
        let there = s.pins().iter().any(|pin| pin.ends_with("/live/edge/progs/xdp_main"));
        match report.ran.code {
            Some(0 | 3) => assert!(there, "{:#}", report.json),
            Some(1) => assert!(s.pins().is_empty(), "{:#?}\n{:#}", s.pins(), report.json),
            _ => panic!("{:#?}", report.ran),
        }
        assert!(report.ran.code == Some(0) || report.json.to_string().contains("mount /proc"), "{:#}", report.json);
        let sysctl = s.config("sysctl.toml", &ttl_and(EDGE));
        ok(Command::new("mount").args(["--bind", "/run/empty", "/proc"]));
        let ran = s.bpfboot(&["--json", "-c", sysctl.to_str().unwrap(), "apply"]);
        umount("/proc").unwrap();
        let report = Report::of(ran).exits(1);
        assert!(report.json.to_string().contains("/proc"), "{:#}", report.json);
        assert_eq!(s.sysctl(TTL), "64");
    });
}

#[test]
fn row_46_what_others_put_in_our_place_makes_root_remove_nothing() {
    sandbox(|s| {
        // /sys/fs/bpf is open to everybody on many machines: this is what a user could lay there.
        fs::create_dir_all("/run/trap/stage/object").unwrap();
        fs::create_dir("/run/precious").unwrap();
        s.file("/run/precious/passwd", "root");
        symlink("/run/precious", "/run/trap/stage/object/progs").unwrap();
        symlink("/run/trap", "/sys/fs/bpf/bpfboot").unwrap();
        for (verb, code) in [("apply", 1), ("check", 5), ("undo", 4)] {
            let report = s.with(&ttl_and(EDGE), &[verb]).exits(code);
            assert!(report.json.to_string().contains("is not a directory"), "{verb}: {:#}", report.json);
            assert!(Path::new("/run/precious/passwd").exists(), "{verb} removed a file through a link");
            assert_eq!(s.sysctl(TTL), "64");
        }
        s.with(EDGE, &["attach", "lo"]).exits(1);
        s.with(EDGE, &["detach", "lo"]);
        assert!(Path::new("/run/precious/passwd").exists());
    });
}
