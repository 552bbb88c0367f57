//! `run`: what the command is given, and that it is given nothing else. What it holds, it tells itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    fs,
    io::Write as _,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    process::{Command, Stdio},
    time::SystemTime,
};

use common::{Ran, Sandbox, Value, object, ok, ring::Ring, run, sandbox, wait_for};
use nix::sys::signal::Signal;

const TRACE: &str = "[mounts]\ntracefs = true\n[object.trace]\npath = \"builtin:trace\"\n";
const TTL: &str = "net.ipv4.ip_default_ttl";
const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_RAW: u64 = 1 << 13;

/// `bpfboot run` with a configuration, to be completed.
fn entry(s: &Sandbox, config: &str, command: &[&str]) -> Command {
    let path = s.config("run.toml", config);
    s.command(&[&["-c", path.to_str().unwrap(), "run", "--"], command].concat())
}

fn shell(s: &Sandbox, config: &str, script: &str) -> Ran {
    run(&mut entry(s, config, &["sh", "-c", script]))
}

/// The report that is kept.
fn kept() -> Value {
    serde_json::from_str(&fs::read_to_string("/run/bpfboot/report.json").unwrap()).unwrap()
}

/// A field of the status that the command itself has read.
#[track_caller]
fn field(ran: &Ran, name: &str) -> String {
    let found = ran.stdout.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name} in {ran:#?}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn caps(ran: &Ran) -> [u64; 5] {
    ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"]
        .map(|set| u64::from_str_radix(&field(ran, set), 16).unwrap())
}

#[test]
fn every_exit_code_is_the_commands_own() {
    sandbox(|s| {
        for code in 0..=255 {
            shell(s, "", &format!("exit {code}")).exits(code);
        }
    });
}

#[test]
#[allow(unsafe_code, reason = "signal(2)")]
fn a_command_dies_of_its_signal() {
    sandbox(|s| {
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            // A shell's job in the background, and nohup, would have the command ignore them: it gets what was received.
            // SAFETY: no handler is installed.
            unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }.unwrap();
        }
        let harmless = ["CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "WINCH"];
        for signal in Signal::iterator().filter(|one| !harmless.contains(&&one.as_str()[3..])) {
            let ran = shell(s, "", &format!("kill -{} $$", signal as i32));
            assert_eq!(ran.signal, Some(signal as i32), "{signal}: {ran:#?}");
        }
        // By the account of a shell, which is what people see.
        let path = s.config("run.toml", "");
        let script = format!("{} -q -c {} run -- sh -c 'kill -9 $$'", common::binary().display(), path.display());
        run(Command::new("sh").args(["-c", &format!("{script}; exit $?")])).exits(137);
    });
}

#[test]
fn what_cannot_be_executed_touches_nothing() {
    sandbox(|s| {
        let config = format!("[sysctl]\n\"{TTL}\" = 77\n");
        s.file("/run/plain", "#!/bin/sh\n");
        for (command, code, part) in [
            ("no-such-command", 127, "not found"),
            ("/no/such/command", 127, "not found"),
            ("/run/plain", 126, "no file that can be executed"),
            ("/run", 126, "no file that can be executed"),
        ] {
            let ran = run(&mut entry(s, &config, &[command])).exits(code);
            assert!(ran.stderr.contains(part) && ran.stdout.is_empty(), "{ran:#?}");
            assert_eq!(s.sysctl(TTL), "64");
        }
        // Only the kernel knows about these.
        let odd = s.file("/run/odd", "no magic, no program");
        fs::set_permissions(&odd, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(run(&mut entry(s, "", &["/run/odd"])).exits(126).stderr.contains("ENOEXEC"));
        fs::set_permissions(&odd, fs::Permissions::from_mode(0o100)).unwrap();
        let ran = run(&mut entry(s, "[run]\nuser = 1\ngroup = 1\n", &["/run/odd"])).exits(126);
        assert!(ran.stderr.contains("execute /run/odd as user 1") && ran.stderr.contains("EACCES"), "{ran:#?}");
        fs::write(&odd, "#!/no/such/interpreter\n").unwrap();
        fs::set_permissions(&odd, fs::Permissions::from_mode(0o755)).unwrap();
        run(&mut entry(s, "", &["/run/odd"])).exits(127);
        // Usage and configuration, too: the codes of `apply` may be the command's own.
        run(&mut s.command(&["run"])).exits(125);
        run(&mut s.command(&["run", "--no-such-option", "--", "true"])).exits(125);
        shell(s, "[run]\nuser = true\n", "true").exits(125);
    });
}

#[test]
fn signals_are_handed_over_as_they_were_received() {
    sandbox(|s| {
        let read = "cat /proc/self/status";
        let blocked = |set: &[i32]| {
            // 34 is a signal that musl keeps for itself, and takes out of the mask.
            let set = set.iter().fold(0u64, |bits, signal| bits | 1 << (signal - 1));
            move || {
                // SAFETY: a system call that reads eight bytes.
                #[allow(unsafe_code, reason = "the C library hides some signals")]
                unsafe {
                    libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const set, 0, 8);
                }
                Ok(())
            }
        };
        for (trapped, mask) in [("", &[][..]), ("HUP USR2 QUIT", &[libc::SIGUSR1, libc::SIGTERM, 34, 35, 64])] {
            let outer = format!("{}exec \"$@\"", if trapped.is_empty() { "" } else { "trap '' HUP USR2 QUIT; " });
            let status = |inner: &mut Command| {
                let mut command = Command::new("sh");
                command.args(["-c", &outer, "sh"]).arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
                // SAFETY: sigprocmask(2) is async-signal-safe.
                #[allow(unsafe_code, reason = "the mask is set between fork and exec")]
                unsafe {
                    command.pre_exec(blocked(mask));
                }
                run(&mut command).exits(0)
            };
            let plain = status(Command::new("sh").args(["-c", read]));
            let ours = status(&mut entry(s, "", &["sh", "-c", read]));
            for name in ["SigBlk:", "SigIgn:", "SigCgt:"] {
                assert_eq!(field(&ours, name), field(&plain, name), "{name} after trap '' {trapped}");
            }
        }
    });
}

#[test]
fn standard_input_and_output_are_the_commands() {
    sandbox(|s| {
        let mut command = entry(s, TRACE, &["sh", "-c", "tr a-z A-Z; echo err >&2"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"through the pipe\n").unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap()).exits(0);
        assert_eq!(ran.stdout, "THROUGH THE PIPE\n", "the report stands aside");
        assert!(ran.stderr.contains("bpfboot run: healthy") && ran.stderr.ends_with("err\n"), "{ran:#?}");
    });
}

#[test]
fn no_descriptor_leaks() {
    sandbox(|s| {
        for (pass, wanted) in [("", "0 1 2 3"), ("[run]\npass-fds = [\"trace/maps/events\"]\n", "0 1 2 3 4")] {
            let mut inner = entry(s, &format!("{TRACE}{pass}"), &["ls", "/proc/self/fd"]);
            let mut command = Command::new("sh");
            command.args(["-c", "exec 5</etc/passwd 9>/dev/null; exec \"$@\"", "sh"]);
            command.arg(inner.get_program()).args(inner.get_args());
            let ran = run(command.stdin(Stdio::null())).exits(0);
            // The last one is what ls lists.
            assert_eq!(ran.stdout.split_whitespace().collect::<Vec<_>>().join(" "), wanted, "{ran:#?}");
            inner.stdin(Stdio::null());
        }
    });
}

#[test]
fn the_command_is_who_it_should_be_and_holds_what_it_should() {
    sandbox(|s| {
        s.layer("/etc");
        s.file("/etc/passwd", "root:x:0:0::/:/bin/sh\nagent:x:1234:100::/:/bin/sh\n");
        s.file("/etc/group", "video:x:44:agent\nusers:x:100:\ninput:x:104:agent,other\n");
        for (wish, ids, groups, kept) in [
            ("user = \"agent\"", [1234, 100], "44 104", 0),
            ("user = 1234\nkeep-caps = [\"NET_RAW\"]", [1234, 100], "44 104", NET_RAW),
            ("user = 77\ngroup = \"users\"\ngroups = [\"video\", 3]", [77, 100], "3 44", 0),
            ("keep-caps = [\"CAP_NET_RAW\", \"cap_net_bind_service\"]", [0, 0], "", NET_RAW | NET_BIND_SERVICE),
            ("user = \"root\"\ngroup = 5", [0, 5], "", 0),
            ("user = 77\ngroup = 77\ngroups = []\nkeep-caps = []", [77, 77], "", 0),
        ] {
            let ran = shell(s, &format!("{TRACE}[run]\n{wish}\n"), "cat /proc/self/status").exits(0);
            let four = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
            assert_eq!((field(&ran, "Uid:"), field(&ran, "Gid:")), (four(ids[0]), four(ids[1])), "{wish}");
            if wish.starts_with("user") {
                assert_eq!(field(&ran, "Groups:"), groups, "{wish}");
            }
            assert_eq!(caps(&ran), [kept; 5], "{wish}");
            assert_eq!(field(&ran, "NoNewPrivs:"), "1", "{wish}");
            let report = kept_step("privileges");
            let now = report["now"].as_str().unwrap();
            assert!(now.starts_with(&format!("uid={} gid={} groups=", ids[0], ids[1])), "{now}");
            assert!(now.contains(&format!("CapBnd={kept:x} ")) && now.ends_with("securebits=ef"), "{now}");
        }
        let report = kept();
        assert_eq!(
            (&report["verb"], &report["health"], &report["exit"]),
            (&"run".into(), &"healthy".into(), &Value::Null)
        );
        for (wish, part) in [
            ("user = \"nobody\"", "the user nobody is not in /etc/passwd"),
            ("user = 77", "the user 77 is not in /etc/passwd [command]"),
            ("group = \"wheel\"", "the group wheel is not in /etc/group"),
        ] {
            let ran = shell(s, &format!("[sysctl]\n\"{TTL}\" = 77\n[run]\n{wish}\n"), "true").exits(125);
            assert!(ran.stderr.contains(part), "{ran:#?}");
            assert_eq!(s.sysctl(TTL), "64");
        }
    });
}

fn kept_step(id: &str) -> Value {
    let report = kept();
    let step = report["steps"].as_array().unwrap().iter().rev().find(|step| step["id"] == id).cloned();
    step.unwrap_or_else(|| panic!("no {id} in {report:#}"))
}

#[test]
fn what_is_missing_is_named_before_anything_is_done() {
    sandbox(|s| {
        let config = format!("[sysctl]\n\"{TTL}\" = 77\n[run]\nuser = 77\ngroup = 77\nkeep-caps = [\"NET_RAW\"]\n");
        for missing in ["setuid", "setgid", "setpcap", "net_raw"] {
            let inner = entry(s, &config, &["true"]);
            let mut command = Command::new("setpriv");
            command.args([&format!("--bounding-set=-{missing}"), "--inh-caps=-all"]);
            let ran = run(command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null())).exits(125);
            let named = format!("CAP_{} not held", missing.to_ascii_uppercase());
            assert!(ran.stderr.contains(&named), "{missing}: {ran:#?}");
            assert_eq!(s.sysctl(TTL), "64", "{missing}");
        }
        // Whoever holds nothing has nothing to let go of.
        let inner = entry(s, "", &["cat", "/proc/self/status"]);
        let mut command = Command::new("setpriv");
        command.args(["--reuid=77", "--regid=77", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
        let ran = run(command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null())).exits(0);
        assert_eq!((caps(&ran), field(&ran, "NoNewPrivs:")), ([0; 5], "1".into()));
    });
}

#[test]
fn limits_and_environment_reach_the_command() {
    sandbox(|s| {
        let config = "[limits]\nnofile = 5000\n[run]\nuser = 77\ngroup = 77\n[bpf]\nroot = \"/sys/fs/bpf/mine\"\n";
        let mut inner = entry(s, config, &["sh", "-c", "ulimit -Sn; ulimit -Sc; pwd; env"]);
        let (core, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_CORE).unwrap();
        inner.env("OWN", "a=b\nc").env("LISTEN_FDS", "7").env("BPFBOOT_REPORT", "stale").current_dir("/proc/sys");
        #[allow(unsafe_code, reason = "the limit is lowered between fork and exec")]
        // SAFETY: setrlimit(2) is async-signal-safe.
        unsafe {
            inner.pre_exec(|| {
                Ok(nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 100, 6000)?)
            });
        }
        let ran = run(&mut inner).exits(0);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        let core = if core == u64::MAX { "unlimited".into() } else { (core / 512).to_string() };
        assert_eq!(lines[..3], ["5000", core.as_str(), "/proc/sys"], "{ran:#?}");
        for line in ["OWN=a=b", "c", "BPFBOOT_REPORT=/run/bpfboot/report.json", "BPFBOOT_PIN_ROOT=/sys/fs/bpf/mine"] {
            assert_eq!(lines.iter().filter(|one| **one == line).count(), 1, "{line}: {ran:#?}");
        }
        assert!(!ran.stdout.contains("LISTEN_FDS"), "{ran:#?}");
    });
}

#[test]
fn a_failure_refuses_or_goes_on_as_the_configuration_says() {
    sandbox(|s| {
        let config = |policy: &str| {
            format!(
                "[sysctl]\n\"{TTL}\" = 77\n\"net.ipv4.no_such_key\" = 1\n[run]\nuser = 77\ngroup = 77\non-failure = \"{policy}\"\n"
            )
        };
        let ran = shell(s, &config("refuse"), "echo started").exits(125);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("is not started"), "{ran:#?}");
        assert_eq!((&kept()["health"], &kept()["exit"]), (&"failed".into(), &125.into()));
        let ran = shell(s, &config("continue"), "echo started; id -u; cat /proc/self/status").exits(0);
        assert!(ran.stdout.starts_with("started\n77\n") && ran.stderr.contains("started all the same"), "{ran:#?}");
        assert_eq!(caps(&ran), [0; 5], "open, but not privileged");
        assert_eq!((&kept()["health"], &kept()["exit"]), (&"failed".into(), &Value::Null));
        assert_eq!(s.sysctl(TTL), "64");
        // What is optional has failed: degraded is no failure.
        let config = "[sysctl]\n\"net.ipv4.no_such_key\" = { value = 1, optional = true }\n";
        assert_eq!(shell(s, config, "echo started").exits(0).stdout, "started\n");
        assert_eq!(kept()["health"], "degraded");
        // A descriptor that is not to be had is a failure like any other, and undoes the run.
        for pass in ["trace/maps/nonsense", "edge/maps/counters"] {
            let config = format!("{TRACE}[run]\npass-fds = [\"{pass}\"]\n");
            let ran = shell(s, &config, "echo started").exits(125);
            assert!(ran.stdout.is_empty() && ran.stderr.contains(&format!("fd {pass}")), "{ran:#?}");
            assert_eq!(s.pins(), Vec::<String>::new(), "{pass}");
        }
    });
}

#[test]
fn a_signal_while_loading_stops_it_and_starts_nothing() {
    sandbox(|s| {
        let config = format!("[object.slow]\npath = \"{}\"\n[run]\non-failure = \"continue\"\n", object("slow"));
        let mut child = entry(s, &config, &["touch", "/run/started"]).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the loader", || {
            let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).ok()?;
            (!children.is_empty()).then_some(())
        });
        ok(Command::new("kill").arg(child.id().to_string()));
        assert_eq!(child.wait().unwrap().code(), Some(125));
        assert!(!fs::exists("/run/started").unwrap());
        assert_eq!((s.pins(), &kept()["health"]), (vec![], &"failed".into()));
    });
}

#[test]
fn as_pid_1_the_command_is_pid_1() {
    sandbox(|s| {
        let inner = entry(s, TRACE, &["sh", "-c", "echo $$; cat /proc/1/comm; echo /proc/[0-9]*"]);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]).arg(inner.get_program()).args(inner.get_args());
        let ran = run(command.stdin(Stdio::null())).exits(0);
        assert_eq!(ran.stdout.split_whitespace().collect::<Vec<_>>(), ["1", "sh", "/proc/1"], "{ran:#?}");
    });
}

/// Reads from descriptor 3 until the event of its own open is there. Only when `run` has started it.
#[test]
#[ignore = "what run starts in the next test"]
fn reads_from_its_descriptor() {
    let (fds, pid) = (std::env::var("LISTEN_FDS").unwrap(), std::env::var("LISTEN_PID").unwrap());
    assert_eq!((fds.as_str(), pid.parse()), ("2", Ok(std::process::id())));
    assert_eq!(std::env::var("LISTEN_FDNAMES").unwrap(), "trace/maps/events:trace/maps/drops");
    // SAFETY: nobody else knows of it.
    #[allow(unsafe_code, reason = "a descriptor by its number")]
    let fd = unsafe { OwnedFd::from_raw_fd(3) };
    let mut ring = Ring::of(&fd, 256 * 1024);
    // A name and no process id: in a PID namespace its own is not the one that the kernel tells.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let marker = format!("/run/marker-{}", now.as_nanos());
    wait_for("the event of our own open", || {
        let _ = fs::File::open(&marker);
        let ours = |event: Vec<u8>| event.windows(marker.len()).any(|part| part == marker.as_bytes());
        std::iter::from_fn(|| ring.next()).any(ours).then_some(())
    });
    print!("{}", fs::read_to_string("/proc/self/status").unwrap());
}

#[test]
fn without_any_capability_it_reads_events_from_the_descriptor_it_was_passed() {
    sandbox(|s| {
        // Where nobody else may look, nobody may execute.
        let program = "/run/reader";
        fs::copy(common::own_program(), program).unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        let wish = "user = 77\ngroup = 77\npass-fds = [\"trace/maps/events\", \"trace/maps/drops\"]";
        let command = [program, "--ignored", "--exact", "reads_from_its_descriptor", "--nocapture"];
        let ran = run(&mut entry(s, &format!("{TRACE}[run]\n{wish}\n"), &command)).exits(0);
        assert_eq!((caps(&ran), field(&ran, "Uid:")), ([0; 5], "77 77 77 77".into()));
    });
}

#[test]
fn a_boot_without_bpfboot_still_starts_the_command() {
    sandbox(|s| {
        // The word on the command line of a container's PID 1.
        let path = s.config("run.toml", &format!("[sysctl]\n\"{TTL}\" = 77\n[run]\nuser = 77\ngroup = 77\n"));
        let script = format!("{} -q --boot -c {} run -- id -u; true", common::binary().display(), path.display());
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", &script, "bpfboot=off"]);
        let ran = run(&mut command).exits(0);
        assert_eq!((ran.stdout.as_str(), s.sysctl(TTL)), ("77\n", "64".into()), "{ran:#?}");
    });
}

#[test]
fn caps_are_printed_with_their_reasons() {
    sandbox(|s| {
        let paranoid = s.guard("kernel.perf_event_paranoid");
        let config = "[sysctl]\n\"net.core.bpf_jit_harden\" = 1\n[object.edge]\npath = \"builtin:edge\"\n[object.trace]\npath = \"builtin:trace\"\n\
                      optional = true\n[run]\nuser = 77\ngroup = 77\nkeep-caps = [\"NET_RAW\"]\n";
        let caps = || s.with(config, &["caps"]).exits(0).json;
        let why = |json: &Value, of: &str, capability: &str| {
            let list = json[of].as_array().unwrap();
            let found = list.iter().find(|need| need["capability"] == capability);
            found.map_or_else(String::new, |need| need["why"].as_str().unwrap().to_owned())
        };
        let json = caps();
        assert!(why(&json, "apply", "CAP_BPF").contains("edge, trace"), "{json:#}");
        assert!(why(&json, "apply", "CAP_PERFMON").contains("speculates"), "{json:#}");
        assert!(why(&json, "apply", "CAP_NET_ADMIN").contains("edge/xdp_main"), "{json:#}");
        assert_eq!(
            why(&json, "apply", "CAP_SYS_ADMIN"),
            "",
            "nothing to mount, and no such key in this network: {json:#}"
        );
        for of in ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"] {
            assert!(!why(&json, "run", of).is_empty(), "{json:#}");
        }
        assert!(why(&json, "afterwards", "CAP_NET_RAW").contains("keep-caps"), "{json:#}");
        assert!(json["notes"][0].as_str().unwrap().starts_with("CAP_PERFMON is enough"), "{json:#}");
        // As a distribution sets it that has a level of its own.
        s.set_sysctl("kernel.perf_event_paranoid", "4");
        let json = caps();
        let admin = why(&json, "apply", "CAP_SYS_ADMIN");
        assert!(
            admin.contains("CAP_PERFMON is not enough to attach") && admin.contains("trace/trace_openat,"),
            "{json:#}"
        );
        assert!(admin.contains("perf_event_paranoid = 4"), "{json:#}");
        drop(paranoid);
        // What has to be mounted or raised takes more; the same list for a script.
        let more = format!("[mounts]\ntracefs = true\n[limits]\nnofile = 1000000\n{config}");
        let path = s.config("more.toml", &more);
        let inner = ["-q", "-c", path.to_str().unwrap(), "caps"];
        let ran = run(Command::new("prlimit").arg("--nofile=100:100").arg(common::binary()).args(inner)).exits(0);
        let names = "CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_ADMIN CAP_SYS_RESOURCE CAP_PERFMON CAP_BPF\n";
        assert_eq!(ran.stdout, names);
        assert!(s.pins().is_empty() && !s.is_mounted("tracefs", "/sys/kernel/tracing"), "it only looks");
    });
}

#[test]
fn a_drop_that_does_not_happen_starts_nothing() {
    sandbox(|s| {
        // What the kernel refuses, and what it only says that it did.
        for (fault, part) in [
            ("setresuid:error=EPERM", "set the user: Operation not permitted (EPERM)"),
            ("setgroups:retval=0", "the drop did not happen: uid=77 gid=77 groups= "),
        ] {
            let inner = entry(
                s,
                &format!("{TRACE}[run]\nuser = 77\ngroup = 77\ngroups = [5]\non-failure = \"continue\"\n"),
                &["touch", "/run/x"],
            );
            let mut command = Command::new("strace");
            // Of the parent alone: its loader steps down, too.
            command.args(["-qq", "-o", "/dev/null", "-e", &format!("inject={fault}")]);
            let ran = run(command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null())).exits(125);
            assert!(ran.stderr.contains(part) && !fs::exists("/run/x").unwrap(), "{ran:#?}");
            let kept = kept();
            assert_eq!((&kept["health"], &kept["exit"]), (&"dirty".into(), &125.into()), "{kept:#}");
            assert!(kept_step("privileges")["fault"]["what"].as_str().is_some(), "{kept:#}");
            assert!(kept["leftovers"][0].as_str().unwrap().contains("bpfboot undo"), "{kept:#}");
            s.bpfboot(&["undo"]).exits(0);
        }
    });
}
