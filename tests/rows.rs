//! Rows of the fault matrix that no other file holds: each makes its fault for real, by strace or by the machine itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    thread,
};

use common::{LIVE, Report, Sandbox, binary, compile, inside, mount_fs, net::xdp, object, ok, run, sandbox, wait_for};
use nix::{
    mount::{MsFlags, mount, umount},
    sched::CloneFlags,
};
use serde_json::Value;

const TTL: &str = "net.ipv4.ip_default_ttl";
const FIN: &str = "net.ipv4.tcp_fin_timeout";
const EDGE: &str = "[object.edge]\npath = \"builtin:edge\"\n";

/// A sysctl of this namespace, and something else.
fn ttl_and(rest: &str) -> String {
    format!("[sysctl]\n\"{TTL}\" = 77\n{rest}\n")
}

fn count() -> String {
    format!(
        "[object.count]\npath = \"{}\"\nprograms.count = {{ attach = {{ xdp = \"lo\", mode = \"generic\" }} }}\n",
        object("count_v1")
    )
}

/// Nothing of a run is left.
#[track_caller]
fn untouched(s: &Sandbox, case: &str) {
    assert_eq!((s.sysctl(TTL), s.sysctl(FIN)), ("64".into(), "60".into()), "{case}");
    assert_eq!(s.pins(), [""; 0], "{case}");
    assert_eq!(xdp("lo"), None, "{case}");
    for file in ["journal", "undo"] {
        assert!(!Path::new("/run/bpfboot").join(file).exists(), "{case}: {file} is left");
    }
}

/// Applies a configuration under strace; gives the report and how many of the calls were tampered with.
fn injected(s: &Sandbox, config: &str, options: &[&str]) -> (Report, usize) {
    let path = s.config("injected.toml", config);
    let traced = s.strace(options, &["--json", "-c", path.to_str().unwrap(), "apply"]);
    let hit = traced.calls.iter().filter(|call| call.line.contains("(INJECTED)")).count();
    (Report::of(traced.ran), hit)
}

#[test]
fn row_15_one_key_that_the_kernel_forbids_costs_the_others_and_keeps_its_errno() {
    sandbox(|s| {
        let id = format!("sysctl {FIN}");
        let required = ttl_and(&format!("\"{FIN}\" = 30"));
        let optional = ttl_and(&format!("\"{FIN}\" = {{ value = 30, optional = true }}"));
        let file = "/proc/sys/net/ipv4/tcp_fin_timeout";
        for errno in ["EPERM", "EACCES"] {
            // Refused when it is written, as an LSM does, or when it is opened, as a user namespace does: by both calls
            // that open, or the second one takes the place of the first.
            for (calls, target) in [("write", file), ("openat2,openat", "net/ipv4/tcp_fin_timeout")] {
                let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={errno}"));
                let options = ["-P", target, "-e", &trace, "-e", &inject];
                let (report, hit) = injected(s, &required, &options);
                let report = report.exits(1);
                assert!(hit > 0, "{calls}: {:#}", report.json);
                let (cause, text) = report.fault(&id);
                assert!(cause == "privilege" && text.contains(errno), "{calls}: {cause}: {text}");
                if calls == "write" {
                    assert_eq!(report.status(&format!("sysctl {TTL}")), "undone", "it had been set");
                }
                untouched(s, &format!("{errno} at {calls}"));
                let (report, _) = injected(s, &optional, &options);
                let report = report.exits(3);
                assert!(report.fault(&id).1.contains(errno));
                assert_eq!((s.sysctl(TTL), s.sysctl(FIN)), ("77".into(), "60".into()), "the rest holds");
                s.json(&["undo"]).exits(0);
            }
        }
    });
}

#[test]
fn row_17_a_value_that_the_kernel_took_and_did_not_keep() {
    sandbox(|s| {
        // The kernel says that it has taken all three bytes of "30\n", and has not.
        let path = "/proc/sys/net/ipv4/tcp_fin_timeout";
        let options = ["-P", path, "-e", "trace=write", "-e", "inject=write:retval=3"];
        let (report, hit) = injected(s, &ttl_and(&format!("\"{FIN}\" = 30")), &options);
        let text = report.exits(1).fault(&format!("sysctl {FIN}")).1;
        assert!(text.contains("asked \"30\", the kernel kept \"60\""), "{text}");
        assert_eq!(hit, 1, "and nothing to put back");
        untouched(s, "kept");
    });
}

#[test]
fn row_19_a_write_is_whole_or_failed() {
    sandbox(|s| {
        let (id, config) = (format!("sysctl {FIN}"), ttl_and(&format!("\"{FIN}\" = 30")));
        let writes = |inject: &str| {
            let inject = format!("inject=write:{inject}");
            injected(s, &config, &["-P", "/proc/sys/net/ipv4/tcp_fin_timeout", "-e", "trace=write", "-e", &inject])
        };
        // A signal in between: again, but not for ever.
        let (report, hit) = writes("error=EINTR:when=1..2");
        report.exits(0);
        assert_eq!((hit, s.sysctl(TTL), s.sysctl(FIN)), (2, "77".into(), "30".into()));
        s.json(&["undo"]).exits(0);
        let (report, hit) = writes("error=EINTR");
        assert!(report.exits(1).fault(&id).1.contains("EINTR"));
        assert_eq!(hit, 4, "once and three times more");
        untouched(s, "EINTR");
        let (report, hit) = writes("error=EIO");
        assert!(report.exits(1).fault(&id).1.contains("EIO"));
        assert_eq!(hit, 1);
        untouched(s, "EIO");
        // One byte of "30\n" would be 3: never a second write for the rest.
        let (report, hit) = writes("retval=1");
        let text = report.exits(1).fault(&id).1;
        assert!(text.contains("took only 1 of 2 bytes"), "{text}");
        assert_eq!(hit, 1);
        untouched(s, "short");
    });
}

#[test]
fn row_21_what_somebody_changes_back_is_named_with_both_values() {
    sandbox(|s| {
        s.apply(&ttl_and("")).exits(0);
        s.set_sysctl(TTL, "65");
        let report = s.check(&ttl_and("")).exits(5);
        let step = report.step(&format!("sysctl {TTL}"));
        assert_eq!(step["status"], "drift", "{step}");
        let said = step.to_string();
        assert!(said.contains("65") && said.contains("77"), "{step}");
        assert_eq!(s.sysctl(TTL), "65", "a check writes nothing");
        s.apply(&ttl_and("")).exits(0);
        s.check(&ttl_and("")).exits(0);
        assert_eq!(s.sysctl(TTL), "77");
    });
}

#[test]
fn row_24_a_locked_down_kernel_is_named_before_anything_is_written() {
    sandbox(|s| {
        mount_fs("securityfs", "/sys/kernel/security", "");
        let Ok(levels) = fs::read_to_string("/sys/kernel/security/lockdown") else {
            return common::say("this kernel is built without lockdown: there is nothing to be refused");
        };
        assert!(levels.contains("[integrity]"), "this test needs lockdown=integrity on the command line: {levels}");
        // Not mounted yet, and it is to be: also then it is known before.
        let coming = "[mounts]\ndebugfs = true\n[knobs]\n\"debugfs/fault_around_bytes\" = 8192";
        let report = s.apply(&ttl_and(coming)).exits(1);
        assert!(report.fault("knob debugfs/fault_around_bytes").1.contains("locked down"), "{:#}", report.json);
        assert!(report.notes().contains("nothing was changed"), "{:#}", report.json);
        assert!(!s.is_mounted("debugfs", "/sys/kernel/debug"));
        untouched(s, "coming");
        mount_fs("debugfs", "/sys/kernel/debug", "");
        let knob = |options: &str| ttl_and(&format!("[knobs]\n\"debugfs/fault_around_bytes\" = {options}"));
        for visible in [true, false] {
            if !visible {
                // Then only the refusal itself tells.
                umount("/sys/kernel/security").unwrap();
            }
            let report = s.apply(&knob("8192")).exits(1);
            let (cause, text) = report.fault("knob debugfs/fault_around_bytes");
            assert!(cause == "kernel" && text.contains("locked down") && text.contains("EPERM"), "{cause}: {text}");
            assert!(text.contains("if-available = true"), "{text}");
            assert!(report.notes().contains("nothing was changed"), "{:#}", report.json);
            assert!(report.steps().iter().all(|step| step["status"] != "done" && step["status"] != "undone"));
            untouched(s, "required");
            s.apply(&knob("{ value = 8192, optional = true }")).exits(3);
            assert_eq!(s.sysctl(TTL), "77");
            s.json(&["undo"]).exits(0);
            let report = s.apply(&knob("{ value = 8192, if-available = true }")).exits(0);
            assert_eq!(report.status("knob debugfs/fault_around_bytes"), "skipped");
            s.json(&["undo"]).exits(0);
        }
    });
}

/// An instance of tracefs, which is the whole machine's.
struct Instance(String);

impl Instance {
    fn new(s: &Sandbox) -> Self {
        mount_fs("tracefs", "/sys/kernel/tracing", "");
        assert!(s.is_mounted("tracefs", "/sys/kernel/tracing"));
        let path = format!("/sys/kernel/tracing/instances/bpfboot-rows-{}", std::process::id());
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn row_25_a_knob_that_vanishes_midway() {
    sandbox(|s| {
        for (options, code) in [("\"mono\"", 1), ("{ value = \"mono\", optional = true }", 3)] {
            let instance = Instance::new(s);
            let below = instance.0.strip_prefix("/sys/kernel/tracing/").unwrap();
            let knob = format!("tracefs/{below}/trace_clock");
            let config = ttl_and(&format!("[knobs]\n\"{knob}\" = {options}"));
            let (report, _) = thread::scope(|scope| {
                // It has looked at everything when its journal comes, and is held there for two seconds.
                scope.spawn(|| {
                    wait_for("the journal", || Path::new("/run/bpfboot/undo").exists().then_some(()));
                    fs::remove_dir(&instance.0).unwrap();
                });
                injected(s, &config, &["-e", "trace=rename", "-e", "inject=rename:delay_exit=2000000:when=1"])
            });
            let report = report.exits(code);
            let (cause, text) = report.fault(&format!("knob {knob}"));
            assert!(cause == "kernel" && text.contains("ENOENT"), "{cause}: {text}");
            if code == 3 {
                assert_eq!(s.sysctl(TTL), "77");
                s.json(&["undo"]).exits(0);
            }
            untouched(s, options);
            drop(instance);
            umount("/sys/kernel/tracing").unwrap();
        }
    });
}

#[test]
fn row_27_a_file_that_is_no_object() {
    sandbox(|s| {
        s.file("/run/empty.o", "");
        fs::create_dir("/run/directory.o").unwrap();
        ok(Command::new("mkfifo").arg("/run/fifo.o"));
        s.file("/run/large.o", "");
        File::options().write(true).open("/run/large.o").unwrap().set_len((16 << 20) + 1).unwrap();
        for (name, said) in [
            ("absent", "ENOENT"),
            ("empty", "is empty"),
            ("directory", "is not a regular file"),
            ("fifo", "is not a regular file"),
            ("large", "16777216 is the most"),
        ] {
            let config = ttl_and(&format!("[object.bad]\npath = \"/run/{name}.o\""));
            let report = s.apply(&config).exits(2);
            let (cause, text) = report.fault("object bad");
            assert!(cause == "object" && text.contains(said) && text.contains(&format!("/run/{name}.o")), "{text}");
            assert!(report.notes().contains("nothing was changed"), "{name}: {:#}", report.json);
            assert!(report.steps().iter().all(|step| step["status"] != "done"), "{name}: {:#}", report.json);
            untouched(s, name);
            s.check(&config).exits(2);
            s.with(&config, &["apply", "--dry-run"]).exits(2);
            s.apply(&format!("{config}optional = true")).exits(3);
            assert_eq!(s.sysctl(TTL), "77", "the rest holds");
            s.json(&["undo"]).exits(0);
        }
    });
}

#[test]
fn row_29_objects_of_another_machine_or_without_what_was_asked_for() {
    /// Places in the header of an ELF file.
    const EI_DATA: usize = 5;
    const E_MACHINE: usize = 18;
    sandbox(|s| {
        let patched = |at: usize, from: u8, to: u8| {
            let mut bytes = fs::read(object("count_v1")).unwrap();
            assert_eq!(bytes[at], from, "not the header that this test knows");
            bytes[at] = to;
            s.file("/run/patched.o", "");
            fs::write("/run/patched.o", &bytes).unwrap();
            s.apply(&ttl_and("[object.other]\npath = \"/run/patched.o\"")).exits(1)
        };
        for (report, said) in [
            // x86-64; and the byte order of the other half of the world.
            (patched(E_MACHINE, 247, 62), "built for machine 62, not for BPF"),
            (patched(EI_DATA, 1, 2), "built for the other byte order"),
        ] {
            let (cause, text) = report.fault("object other");
            assert!(cause == "object" && text.contains(said), "{text}");
            untouched(s, said);
        }
        let named =
            |name: &str| ttl_and(&format!("[object.other]\npath = \"{}\"\nprograms.nothing = {{}}", object(name)));
        for (name, found) in [("count_v1", "it holds: count"), ("lone_map", "nothing")] {
            let text = s.apply(&named(name)).exits(1).fault("object other").1;
            assert!(text.contains("no program \"nothing\"") && text.contains(found), "{text}");
            untouched(s, name);
        }
        for body in ["", "int unused;\n"] {
            compile(s, "/run/bare.o", body);
            let text = s.apply(&ttl_and("[object.other]\npath = \"/run/bare.o\"")).exits(1).fault("object other").1;
            assert!(text.contains("neither a program nor a map"), "{text}");
            untouched(s, body);
        }
        // Maps for others to use are reason enough for an object: nothing was asked for that is not there.
        s.apply(&format!("[object.maps]\npath = \"{}\"", object("lone_map"))).exits(0);
        assert_eq!(s.pinned("map", &format!("{LIVE}/maps/maps/lone"))["type"], "array");
    });
}

#[test]
fn row_31_without_the_kernels_btf_only_what_needs_it_fails() {
    sandbox(|s| {
        let typed = format!("[object.typed]\npath = \"{}\"\n", object("typed"));
        mount_fs("tmpfs", "/sys/kernel/btf", "mode=0755");
        let report = s.apply(&ttl_and(&(EDGE.to_owned() + &typed))).exits(1);
        let (cause, text) = report.fault("program typed/typed");
        assert!(cause == "kernel" && text.contains("/sys/kernel/btf/vmlinux"), "{cause}: {text}");
        assert!(text.contains("CONFIG_DEBUG_INFO_BTF"), "{text}");
        untouched(s, "required");
        // What is known to be in vain is told once and not tried, now and in the next run.
        let about = |report: &Report| {
            let of = |step: &&Value| step["id"].as_str().unwrap().contains("typed");
            report.steps().iter().filter(of).map(|step| step["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let optional = EDGE.to_owned() + &typed + "optional = true\n";
        let report = s.apply(&optional).exits(3);
        assert_eq!(about(&report), ["failed"], "{:#}", report.json);
        assert!(s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["id"].is_u64());
        let report = s.apply(&optional).exits(3);
        assert_eq!(about(&report), ["failed"], "{:#}", report.json);
        assert!(report.steps().iter().all(|step| step["status"] != "done"), "{:#}", report.json);
        umount("/sys/kernel/btf").unwrap();
        s.apply(&optional).exits(0);
        let link = s.pinned("link", &format!("{LIVE}/typed/links/typed"));
        assert!(link["id"].is_u64());
        // What is live stays when it could not be made again.
        mount_fs("tmpfs", "/sys/kernel/btf", "mode=0755");
        s.apply(&(optional + "programs.typed = { attach = false }\n")).exits(3);
        assert_eq!(s.pinned("link", &format!("{LIVE}/typed/links/typed")), link);
        s.json(&["undo"]).exits(0);
        s.apply(EDGE).exits(0);
        umount("/sys/kernel/btf").unwrap();
        s.apply(&(EDGE.to_owned() + &typed)).exits(0);
        assert!(s.pinned("link", &format!("{LIVE}/typed/links/typed"))["id"].is_u64());
    });
}

#[test]
fn row_37_bpf_forbidden_by_seccomp_or_an_lsm() {
    sandbox(|s| {
        for errno in ["EPERM", "EACCES"] {
            let inject = format!("inject=bpf:error={errno}");
            // A map comes first in one, a program in the other.
            for config in [count(), format!("[object.typed]\npath = \"{}\"", object("typed"))] {
                let (report, hit) = injected(s, &ttl_and(&config), &["-e", "trace=bpf", "-e", &inject]);
                let report = report.exits(1);
                assert!(hit > 0);
                let said = report.json.to_string();
                assert!(said.contains(errno) && said.contains("seccomp") && said.contains("LSM"), "{:#}", report.json);
                assert_eq!(report.status(&format!("sysctl {TTL}")), "undone");
                untouched(s, errno);
            }
        }
    });
}

/// A group of the memory controller with a limit: its directory, and the file that counts how often it was hit.
struct Group(String, &'static str);

impl Group {
    /// In a view of the controller of this sandbox's own: the first version's where the machine uses it, or else the
    /// second's.
    fn new(limit: &str) -> Self {
        let top = "/run/cgroup";
        fs::create_dir(top).unwrap();
        let first = mount(Some("cgroup"), top, Some("cgroup"), MsFlags::empty(), Some("memory")).is_ok();
        if !first {
            mount_fs("cgroup2", top, "");
            fs::write(format!("{top}/cgroup.subtree_control"), "+memory")
                .expect("a machine with the memory controller");
        }
        let path = format!("{top}/bpfboot-rows-{}", std::process::id());
        fs::create_dir(&path).unwrap();
        let (most, hits) = if first { ("limit_in_bytes", "memory.failcnt") } else { ("max", "memory.events") };
        let group = Self(path, hits);
        fs::write(format!("{}/memory.{most}", group.0), limit).unwrap();
        group
    }

    fn limit(&self, limit: &str) {
        let most = if self.1 == "memory.failcnt" { "limit_in_bytes" } else { "max" };
        fs::write(format!("{}/memory.{most}", self.0), limit).unwrap();
    }

    fn was_hit(&self) -> bool {
        let text = fs::read_to_string(format!("{}/{}", self.0, self.1)).unwrap();
        let count =
            |line: &str| line.strip_prefix("max ").unwrap_or(line).trim().parse().is_ok_and(|hits: u64| hits > 0);
        text.lines().any(count)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        wait_for("the last process to leave the group", || fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn row_38_a_memory_limit_hit_by_a_map() {
    sandbox(|s| {
        let apply = |group: &Group, config: &str| {
            let path = s.config("large.toml", config);
            let mut command = Command::new("sh");
            command.args(["-c", "echo $$ > \"$1/cgroup.procs\" && shift && exec \"$@\"", "sh", &group.0]);
            command.arg(binary()).args(["--json", "-c", path.to_str().unwrap(), "apply"]);
            let report = Report::of(run(&mut command)).exits(1);
            assert_eq!(report.status(&format!("sysctl {TTL}")), "undone");
            untouched(s, "limited");
            report.json.to_string()
        };
        // 8 bytes for each CPU, and 8 more for where they are: five times the limit on two CPUs. Nobody is asked for that.
        let config = ttl_and(&(count() + "maps.hits.max-entries = 1000000\n"));
        let group = Group::new("4M");
        let said = apply(&group, &config);
        assert!(said.contains("more than the cgroup's 4096") && !group.was_hit(), "{said}");
        // Below the limit, and above it with what the processes take.
        let ring = "[object.trace]\npath = \"builtin:trace\"\nmaps.events.max-entries = \"2M\"\nprograms.trace_openat = { attach = false }\n";
        group.limit("2200K");
        let said = apply(&group, &ttl_and(ring));
        // The kernel gives no memory for the map, or ends the loader for asking; the parent lives.
        assert!(said.contains("ENOMEM") || said.contains("SIGKILL"), "{said}");
        assert!(group.was_hit(), "it was the limit that was hit");
        let at = group.0.clone();
        drop(group);
        assert!(!Path::new(&at).exists());
        s.apply(&config).exits(0);
    });
}

#[test]
fn row_39_a_failing_bpf_call_leaves_no_stray_pin_and_no_unowned_program() {
    sandbox(|s| {
        let config = ttl_and(&count());
        let path = s.config("counted.toml", &config);
        let traced = s.strace(&["-e", "trace=bpf"], &["-q", "-c", path.to_str().unwrap(), "apply"]);
        let calls = traced.calls.len();
        traced.ran.exits(0);
        s.json(&["undo"]).exits(0);
        assert!(calls > 6, "{calls}");
        let mut failed = 0;
        for nth in 1..=calls {
            for errno in ["ENOSPC", "ENOMEM", "EPERM", "EINVAL"] {
                let case = format!("{errno} at call {nth} of {calls}");
                let inject = format!("inject=bpf:error={errno}:when={nth}");
                let (report, _) = injected(s, &config, &["-e", "trace=bpf", "-e", &inject]);
                match report.ran.code {
                    Some(0) => {
                        let id = s.pinned("prog", &format!("{LIVE}/count/progs/count"))["id"].as_u64().unwrap();
                        assert_eq!(xdp("lo"), Some(("generic", id)), "{case}");
                        assert!(!s.pins().iter().any(|pin| pin.contains("/stage/")), "{case}: {:#?}", s.pins());
                        s.check(&config).exits(0);
                        s.json(&["undo"]).exits(0);
                    }
                    Some(1) => failed += 1,
                    _ => panic!("{case}: {:#?}", report.ran),
                }
                untouched(s, &case);
            }
        }
        assert!(failed > 8, "only {failed} of {} failed", 4 * calls);
    });
}

#[test]
fn row_41_no_other_program_is_ever_executed() {
    sandbox(|s| {
        for args in [&["-q", "apply"][..], &["-q", "check"], &["-q", "attach", "lo"], &["-q", "undo"]] {
            let traced = s.strace(&["-e", "trace=execve,execveat"], args);
            assert!(traced.ran.signal.is_none() && traced.ran.code.is_some());
            let names: Vec<_> = traced.calls.iter().map(|call| call.line.as_str()).collect();
            assert_eq!(names.len(), 1, "{args:?}: {names:#?}");
            assert!(names[0].contains("bpfboot"), "strace's own: {names:#?}");
        }
    });
}

#[test]
fn row_42_programs_load_under_a_hardened_jit() {
    // The key is the initial network namespace's alone, so this stays in it, and attaches nothing there.
    let turn = File::create("/tmp/bpfboot-tests.lock").unwrap();
    turn.lock().unwrap();
    inside(CloneFlags::CLONE_NEWNS, |s| {
        let key = "net.core.bpf_jit_harden";
        let _guard = s.guard(key);
        let size = |level: &str| {
            s.set_sysctl(key, level);
            s.apply(EDGE).exits(0);
            assert_eq!(s.sysctl(key), level);
            let size = s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["bytes_jited"].as_u64().unwrap();
            s.json(&["undo"]).exits(0);
            size
        };
        let (plain, hardened) = (size("0"), size("2"));
        assert!(hardened > plain, "no constant was blinded: {plain} bytes, then {hardened}");
    });
}

#[test]
fn row_53_what_a_crash_left_in_the_stage_is_swept_and_nothing_else() {
    sandbox(|s| {
        let config = ttl_and(&(count() + EDGE));
        let path = s.config("killed.toml", &config);
        // The second rename is the flip: the journal's is the first, and both are the parent's.
        let trace = ["-e", "trace=rename,renameat2"];
        let args = ["-q", "-c", path.to_str().unwrap(), "apply"];
        let traced = s.strace(&trace, &args);
        let (name, nth) = traced.nth(|call| call.line.contains("/stage\""));
        traced.ran.exits(0);
        s.json(&["undo"]).exits(0);
        let inject = format!("inject={name}:signal=SIGKILL:when={nth}");
        let traced = s.strace(&[&trace[..], &["-e", &inject]].concat(), &args);
        assert_eq!(traced.ran.signal, Some(9));
        let stage = LIVE.replace("live", "stage");
        assert!(Path::new(&format!("{stage}/count/links")).exists(), "{:#?}", s.pins());
        ok(Command::new("bpftool").args(["prog", "load", &object("count_v2"), "/sys/fs/bpf/mine"]));
        let id = s.pinned("prog", "/sys/fs/bpf/mine")["id"].clone();
        let foreign = format!("{stage}/count/progs/mine");
        ok(Command::new("bpftool").args(["prog", "pin", "pinned", "/sys/fs/bpf/mine", &foreign]));
        let old = xdp("lo").expect("what was staged is attached").1;
        // Swept, but for what is not ours, which is said.
        let text = s.apply(&config).exits(3).fault("pins of a run that was killed").1;
        assert!(text.contains("not ours") && text.contains(&stage), "{text}");
        let new = s.pinned("prog", &format!("{LIVE}/count/progs/count"))["id"].as_u64().unwrap();
        assert_eq!(xdp("lo"), Some(("generic", new)));
        assert_ne!(old, new, "the crashed run's went with its stage");
        let kept: Vec<_> = s.pins().into_iter().filter(|pin| pin.ends_with("/mine")).collect();
        assert_eq!(kept.len(), 2, "{kept:#?}");
        for pin in &kept {
            assert_eq!(s.pinned("prog", pin)["id"], id, "{pin}");
        }
        let strays: Vec<_> =
            s.pins().into_iter().filter(|pin| pin.contains("/stage/") && Path::new(pin).is_file()).collect();
        assert!(strays.iter().all(|pin| pin.ends_with("/mine")), "{strays:#?}");
        // It came along with the directory it lies in.
        kept.iter().for_each(|pin| fs::remove_file(pin).unwrap());
        s.apply(&config).exits(0);
    });
}

#[test]
fn row_66_the_old_values_are_on_record_before_the_first_write() {
    sandbox(|s| {
        let config = ttl_and(&format!("\"{FIN}\" = {{ value = 30, phase = \"seal\" }}\n{}", count()));
        let path = s.config("traced.toml", &config);
        let traced = s.strace(
            &["-y", "-e", "trace=write,rename,renameat,renameat2"],
            &["-q", "-c", path.to_str().unwrap(), "apply"],
        );
        let writes: Vec<usize> = (0..traced.calls.len())
            .filter(|nth| traced.calls[*nth].name == "write" && traced.calls[*nth].line.contains("</proc/sys/"))
            .collect();
        let ends: Vec<_> =
            writes.iter().map(|nth| traced.calls[*nth].line.split_once(">, ").unwrap().1.to_owned()).collect();
        assert!(ends.len() == 2 && ends[0].starts_with("\"77\\n\"") && ends[1].starts_with("\"30\\n\""), "{ends:?}");
        for (write, key, was) in [(writes[0], TTL, "64"), (writes[1], FIN, "60")] {
            let before = &traced.calls[..write];
            let placed = before.iter().rposition(|call| {
                call.name.starts_with("rename") && call.line.contains("/run/bpfboot/undo\"") && call.succeeded()
            });
            let placed = placed.unwrap_or_else(|| panic!("{key} is written before any journal: {before:#?}"));
            let text = before[..placed].iter().rfind(|call| call.line.contains("undo.new")).unwrap();
            let name = key.replace('.', "/");
            assert!((text.line.contains(key) || text.line.contains(&name)) && text.line.contains(was), "{}", text.line);
        }
        traced.ran.exits(0);
    });
}
