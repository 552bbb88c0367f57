//! Each refusal made for real, and named by a reason of its own: by whom, and what mends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use common::{Report, Sandbox, Value, binary, mount_fs, object, run, sandbox};
use nix::mount::{MntFlags, umount2};

const EDGE: &str = "[object.edge]\npath = \"builtin:edge\"\n";
const TTL: &str = "net.ipv4.ip_default_ttl";

/// The fault of the first step that has one.
#[track_caller]
fn fault(report: &Report) -> &Value {
    let failed = report.steps().iter().find(|step| step["fault"].is_object());
    &failed.unwrap_or_else(|| panic!("nothing failed: {:#}", report.json))["fault"]
}

/// What every refusal must have: its reason, a text and a mend. Gives the text.
#[track_caller]
fn refused(report: &Report, reason: &str, says: &str) -> String {
    let fault = fault(report);
    assert_eq!(fault["reason"], reason, "{fault:#}");
    let (what, mend) = (fault["what"].as_str().unwrap(), fault["mend"].as_str().unwrap());
    assert!(!mend.is_empty(), "{fault:#}");
    assert!(format!("{what} {mend}").contains(says), "no {says:?} in {fault:#}");
    format!("{what}; {mend}")
}

/// `wrong`, and what is said of each program in it.
const WRONG: [(&str, &str, &str); 16] = [
    ("stack", "stack", "per-CPU array"),
    ("call_chain", "call-chain", "__always_inline"),
    ("call_depth", "call-depth", "flatten"),
    ("loop", "loop", "constant bound"),
    ("null_check", "null-check", "if (!value)"),
    ("packet_bounds", "packet-bounds", "data_end"),
    ("map_bounds", "bounds", "bound the index"),
    ("instructions", "complexity", "tail calls"),
    ("context", "context", "xdp_md"),
    ("uninitialised", "uninitialised", "initialise it"),
    ("helper_unknown", "helper", "bpftool feature probe"),
    ("helper_elsewhere", "helper", "bpftool feature probe"),
    ("tail_call", "tail-call", "256 bytes"),
    ("pointer", "pointer", "bpf_core_read()"),
    ("reference", "reference", "bpf_ringbuf_submit()"),
    ("argument", "argument", "bpf-helpers(7)"),
];

#[test]
fn each_wrong_program_gives_its_own_reason_line_and_hint() {
    sandbox(|s| {
        let mut config = format!("[bpf]\ndeadline = \"50s\"\n[object.wrong]\npath = \"{}\"\n", object("wrong"));
        for (program, ..) in WRONG {
            config += &format!("programs.{program} = {{ optional = true }}\n");
        }
        config += &format!("[object.unfree]\npath = \"{}\"\noptional = true\n", object("unfree"));
        let report = s.apply(&config).exits(3);
        let source =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects/wrong.bpf.c")).unwrap();
        let mut hints: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        let licence = ("licence", "licence", "Dual MIT/GPL");
        for (program, reason, hint) in WRONG.into_iter().chain([licence]) {
            let of = if program == "licence" { "unfree" } else { "wrong" };
            let step = report.step(&format!("program {of}/{program}"));
            let fault = &step["fault"];
            let (what, mend) = (fault["what"].as_str().unwrap(), fault["mend"].as_str().unwrap());
            assert_eq!(
                (fault["cause"].as_str(), fault["reason"].as_str()),
                (Some("verifier"), Some(reason)),
                "{fault:#}"
            );
            assert!(mend.contains(hint), "{program}: {mend}");
            hints.entry(mend.to_owned()).or_default().insert(reason);
            // The line of the source, but where it is a matter of the whole.
            if !matches!(program, "call_chain" | "tail_call" | "licence") {
                let (place, text) = what.rsplit_once("wrong.bpf.c:").unwrap().1.split_once(": `").unwrap();
                let line = source.lines().nth(place.parse::<usize>().unwrap() - 1).unwrap();
                assert!(line.trim().starts_with(text.trim_end_matches('`')), "{program}: {what}\n{line}");
            }
            let log = fs::read_to_string(step["facts"]["log"].as_str().unwrap()).unwrap();
            assert_eq!(log, fault["detail"].as_str().unwrap(), "{program}: the whole log is kept");
        }
        assert!(hints.values().all(|reasons| reasons.len() == 1), "{hints:#?}");
        let text = s.bpfboot(&["diagnose"]).exits(3).stdout;
        let diagnosed = s.json(&["diagnose"]).exits(3);
        for (program, reason, hint) in WRONG {
            let id = format!("program wrong/{program}");
            assert!(
                text.contains(&format!("{id}\n  cause:    verifier, {reason}\n  who:      the verifier\n")),
                "{text}"
            );
            let failures = diagnosed.json["failures"].as_array().unwrap();
            let failure = failures.iter().find(|failure| failure["id"] == id.as_str()).unwrap();
            assert!(failure["reason"] == reason && failure["mend"].as_str().unwrap().contains(hint), "{failure:#}");
        }
    });
}

/// A seccomp filter: what is done to a system call, or to one command of it.
#[derive(Clone, Copy)]
struct Filter(libc::c_long, Option<u32>, u32);

const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

impl Filter {
    /// Has bpfboot run under it.
    fn apply(self, s: &Sandbox, config: &str) -> Report {
        let path = s.config("filtered.toml", config);
        let mut command = s.command(&["--json", "-c", path.to_str().unwrap(), "apply"]);
        // SAFETY: prctl(2) alone is called between fork and exec.
        #[allow(unsafe_code, reason = "a filter is laid by the process itself")]
        unsafe {
            command.pre_exec(move || self.lay())
        };
        Report::of(run(&mut command))
    }

    fn lay(self) -> io::Result<()> {
        let Self(call, argument, action) = self;
        let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let (load, equal, give) = (0x20, 0x15, 0x06);
        // struct seccomp_data: the number at 0, the low half of the first argument at 16.
        let mut filter = [
            step(load, 0, 0, 0),
            step(equal, 0, 3, call as u32),
            step(load, 0, 0, 16),
            step(equal, 0, 1, argument.unwrap_or_default()),
            step(give, 0, 0, action),
            step(give, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        if argument.is_none() {
            filter[3] = step(equal, 0, 0, 0);
        }
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the filter outlives the call.
        #[allow(unsafe_code, reason = "prctl(2)")]
        let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Runs bpfboot without some capabilities.
fn without(s: &Sandbox, caps: &str, config: &str) -> Report {
    let path = s.config("less.toml", config);
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set={caps}")).arg(binary());
    command.args(["--json", "-c", path.to_str().unwrap(), "apply"]).stdin(Stdio::null());
    Report::of(run(&mut command))
}

#[test]
fn each_refusal_is_named_and_no_two_share_a_text() {
    sandbox(|s| {
        let mut texts = BTreeMap::new();
        let mut note = |case: &str, text: String| {
            let other = texts.insert(text.clone(), case.to_owned());
            assert_eq!(other, None, "{case} has the same text: {text}");
        };
        // Capability by capability.
        for (caps, needs) in [
            ("-bpf,-sys_admin", "CAP_BPF"),
            ("-perfmon,-sys_admin", "CAP_PERFMON"),
            ("-net_admin,-sys_admin", "CAP_NET_ADMIN"),
        ] {
            note(needs, refused(&without(s, caps, EDGE).exits(1), "capability", needs));
        }
        let mount = "[mounts]\ntracefs = true\n";
        note("CAP_SYS_ADMIN", refused(&without(s, "-sys_admin", mount).exits(1), "capability", "CAP_SYS_ADMIN"));
        // Seccomp, call by call.
        let (bpf, perf) = (libc::SYS_bpf, libc::SYS_perf_event_open);
        let tracing = format!("{mount}[object.ways]\npath = \"{}\"\nprograms.by_tracepoint = {{}}\n", object("ways"));
        let attached = format!("{EDGE}programs.xdp_main = {{ attach = [{{ xdp = \"lo\", mode = \"generic\" }}] }}\n");
        for (filter, config, says) in [
            (Filter(bpf, None, REFUSE), EDGE, "BPF_MAP_CREATE"),
            (Filter(bpf, Some(5), REFUSE), EDGE, "BPF_PROG_LOAD"),
            (Filter(bpf, Some(6), REFUSE), EDGE, "BPF_OBJ_PIN"),
            (Filter(bpf, Some(28), REFUSE), &attached, "BPF_LINK_CREATE"),
            (Filter(perf, None, REFUSE), &tracing, "perf_event_open(2)"),
            (Filter(libc::SYS_mount, None, REFUSE), mount, "mount(2)"),
        ] {
            note(says, refused(&filter.apply(s, config).exits(1), "seccomp", says));
        }
        let killed = Filter(bpf, Some(5), libc::SECCOMP_RET_KILL_PROCESS).apply(s, EDGE).exits(1);
        note("killed", refused(&killed, "seccomp", "SIGSYS"));
        // A policy: an errno that no other gate gives, as an LSM does.
        let path = s.config("policy.toml", EDGE);
        for errno in ["EPERM", "EACCES"] {
            let inject = format!("inject=bpf:error={errno}");
            let options = ["-e", "trace=bpf", "-e", &inject];
            let traced = s.strace(&options, &["--json", "-c", path.to_str().unwrap(), "apply"]);
            let text = refused(&Report::of(traced.ran).exits(1), "lsm", "security module");
            if errno == "EPERM" {
                note("policy", text);
            }
        }
        // Refused by us.
        let insecure = "[sysctl]\n\"kernel.unprivileged_bpf_disabled\" = 0\n";
        note("insecure", refused(&s.apply(insecure).exits(1), "insecure", "allow-insecure = true"));
        let one_way = "[sysctl]\n\"kernel.unprivileged_bpf_disabled\" = 1\n";
        note("one-way", refused(&s.apply(one_way).exits(1), "irreversible", "irreversible = true"));
        // Lockdown.
        mount_fs("securityfs", "/sys/kernel/security", "");
        mount_fs("debugfs", "/sys/kernel/debug", "");
        if fs::read_to_string("/sys/kernel/security/lockdown").is_ok_and(|levels| levels.contains("[integrity]")) {
            let knob = "[knobs]\n\"debugfs/fault_around_bytes\" = 8192\n";
            note("lockdown", refused(&s.apply(knob).exits(1), "lockdown", "locked down"));
        }
        umount2("/sys/kernel/debug", MntFlags::MNT_DETACH).unwrap();
        // Read-only mounts.
        s.bind("/proc/sys");
        s.read_only("/proc/sys", true);
        let key = format!("[sysctl]\n\"{TTL}\" = 77\n");
        note("/proc/sys", refused(&s.apply(&key).exits(1), "read-only", "ProtectKernelTunables=no"));
        let machine = s.json(&["diagnose"]);
        assert!(machine.json.to_string().contains("read-only"), "{:#}", machine.json);
        umount2("/proc/sys", MntFlags::MNT_DETACH).unwrap();
        s.bind("/sys/fs/bpf");
        s.read_only("/sys/fs/bpf", true);
        note("bpffs", refused(&s.apply(EDGE).exits(1), "read-only", "/sys/fs/bpf"));
        s.read_only("/sys/fs/bpf", false);
        s.apply(EDGE).exits(0);
    });
}

#[test]
fn a_kind_of_program_that_this_kernel_refuses_is_a_policy_and_no_capability() {
    sandbox(|s| {
        let config =
            format!("[object.ways]\npath = \"{}\"\nprograms.by_fentry = {{ attach = false }}\n", object("ways"));
        let report = s.apply(&config);
        if report.ran.code == Some(0) {
            return common::say("this kernel loads fentry programs: there is nothing to be refused");
        }
        let report = report.exits(1);
        let text = refused(&report, "lsm", "a plain program loads, so it is this kind that it refuses");
        assert!(text.contains("no capability is missing") && fault(&report)["cause"] == "privilege", "{text}");
        let told = s.bpfboot(&["diagnose"]).exits(1).stdout;
        for words in ["cause:    privilege, lsm", "who:      a security module", "machine:  this process holds CAP_BPF"]
        {
            assert!(told.contains(words), "no {words:?} in {told}");
        }
    });
}

#[test]
fn a_machine_and_a_run_that_are_well_are_told_so() {
    sandbox(|s| {
        let machine = s.bpfboot(&["diagnose"]).exits(0).stdout;
        assert!(machine.contains("healthy: this machine") && machine.contains("nothing to mend"), "{machine}");
        s.apply(EDGE).exits(0);
        assert_eq!(s.bpfboot(&["diagnose"]).exits(0).stdout.lines().count(), 1);
        assert_eq!(s.json(&["diagnose"]).exits(0).json["failures"].as_array().unwrap().len(), 0);
        // What is no report is no reason to stumble.
        s.file("/run/bpfboot/report.json", "{\"steps\":[[[");
        s.bpfboot(&["diagnose"]).exits(0);
        umount2("/sys/fs/bpf", MntFlags::MNT_DETACH).unwrap();
        if !s.is_mounted("bpf", "/sys/fs/bpf") {
            let json = s.json(&["diagnose"]).exits(1).json;
            assert_eq!(json["failures"][0]["reason"], "not-mounted", "{json:#}");
        }
        let path = s.config("any.toml", "");
        let mut command = Command::new("setpriv");
        command.arg("--bounding-set=-all").arg(binary()).args(["-c", path.to_str().unwrap(), "diagnose"]);
        let poor = run(command.stdin(Stdio::null())).exits(1).stdout;
        assert!(poor.contains("cause:    privilege, capability") && poor.contains("CAP_BPF is not held"), "{poor}");
    });
}

#[test]
fn what_is_known_is_explained_and_a_slip_of_the_hand_is_seen() {
    sandbox(|s| {
        for (topic, says) in [
            ("EPERM", "It is never the verifier"),
            ("1", "Operation not permitted"),
            ("524", "net.core.bpf_jit_limit"),
            ("ESTALE", "116"),
            ("CAP_BPF", "Since 5.8"),
            ("perfmon", "speculation"),
            ("verifier", "/run/bpfboot/verifier"),
            ("seccomp", "--cap-add BPF"),
            ("kernel.unprivileged_bpf_disabled", "one-way: 1 stays until the next boot"),
            ("/proc/sys/net/ipv4/tcp_rmem", "three numbers"),
            ("bpf_stats_enabled", "Nothing to do with the verifier's log"),
            ("net.ipv4.ip_default_ttl", "here: 64"),
        ] {
            let told = s.bpfboot(&["explain", topic]).exits(0).stdout;
            assert!(told.contains(says), "{topic}: {told}");
        }
        let list = s.bpfboot(&["explain"]).exits(0).stdout;
        assert!(list.contains("jit-limit") && list.contains("EPERM") && list.contains("vm.max_map_count"), "{list}");
        let json = s.json(&["explain", "memlock"]).exits(0).json;
        assert_eq!(
            (json["topics"][0]["kind"].as_str(), json["topics"][0]["name"].as_str()),
            (Some("reason"), Some("memlock"))
        );
        assert!(s.json(&["explain"]).exits(0).json["reason"].as_array().unwrap().len() > 40);
        for (topic, meant) in
            [("seccom", "seccomp"), ("EPRM", "EPERM"), ("bpf_jit_hardn", "bpf_jit_harden"), ("lokdown", "lockdown")]
        {
            let said = s.bpfboot(&["explain", topic]).exits(2).stderr;
            assert!(
                said.to_lowercase().contains(&format!("did you mean '{}'", meant.to_lowercase())),
                "{topic}: {said}"
            );
        }
    });
}
