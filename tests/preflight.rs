//! `preflight` on a build machine: as nobody, without a look at the kernel that runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{fs, os::unix::process::CommandExt as _, process::Command};

use common::{Report, Sandbox, binary, object, ok, run, sandbox};

/// A kernel of today, as far as these tests ask.
const WHOLE: &str = "\
#
# Automatically generated file; DO NOT EDIT.
# Linux/x86 6.1.192 Kernel Configuration
#
CONFIG_BPF_SYSCALL=y
CONFIG_BPF_JIT=y
CONFIG_BPF_EVENTS=y
CONFIG_NET=y
CONFIG_INET=y
CONFIG_NET_SCHED=y
CONFIG_PERF_EVENTS=y
CONFIG_TRACING=y
CONFIG_EVENT_TRACING=y
CONFIG_TRACEPOINTS=y
CONFIG_FTRACE_SYSCALLS=y
CONFIG_FUNCTION_TRACER=y
CONFIG_KPROBES=y
CONFIG_KPROBE_EVENTS=y
CONFIG_OPTPROBES=y
CONFIG_DEBUG_INFO_BTF=y
CONFIG_TCP_CONG_BBR=m
";

fn kernel(s: &Sandbox, text: &str) -> String {
    s.file("/run/kernel-config", text).to_str().unwrap().to_owned()
}

/// As nobody, to whom the place where this repository lies may be closed.
fn preflight(s: &Sandbox, config: &str, args: &[&str]) -> Report {
    let path = s.config("preflight.toml", config);
    let open = "/run/bpfboot-copy";
    fs::copy(binary(), open).unwrap();
    let mut command = Command::new(open);
    let nobody = 65534;
    command.args(["--json", "-c", path.to_str().unwrap(), "preflight"]).args(args).uid(nobody).gid(nobody);
    Report::of(run(&mut command))
}

/// An object where nobody can read it.
fn open(name: &str) -> String {
    let open = format!("/run/{name}.bpf.o");
    fs::copy(object(name), &open).unwrap();
    open
}

const XDP: &str = "[object.edge]\npath = \"builtin:edge\"\n";

#[test]
fn yes_is_exit_0_and_no_root_is_needed() {
    sandbox(|s| {
        let kernel = kernel(s, WHOLE);
        let config = format!("profiles = [\"core\"]\n[mounts]\nbpffs = {{}}\n{XDP}");
        let report = preflight(s, &config, &["--kernel-config", &kernel]).exits(0);
        assert_eq!(report.status("program edge/xdp_main"), "planned");
        assert_eq!(report.status("map edge/events"), "planned");
        assert_eq!(report.status("mount bpf /sys/fs/bpf"), "planned");
        assert_eq!(report.status("sysctl net.core.bpf_jit_enable"), "planned");
        assert_eq!(report.json["kernel"], "6.1.192");
    });
}

#[test]
fn no_is_exit_1_with_the_mend_and_3_where_it_is_optional() {
    sandbox(|s| {
        let old = WHOLE.replace("6.1.192", "5.4.200");
        let kernel = kernel(s, &old);
        let report = preflight(s, XDP, &["--kernel-config", &kernel]).exits(1);
        let (cause, text) = report.fault("object edge");
        assert!(cause == "kernel" && text.contains("map of type ringbuf: 5.8 has"), "{text}");
        preflight(s, &format!("{XDP}optional = true\n"), &["--kernel-config", &kernel]).exits(3);
        preflight(s, XDP, &["--kernel-config", &kernel, "--release", "6.12"]).exits(0);
        let without = preflight(s, "[mounts]\ndebugfs = true\n", &["--kernel-config", &kernel]).exits(1);
        let (_, text) = without.fault("mount debugfs /sys/kernel/debug");
        assert!(text.contains("CONFIG_DEBUG_FS is not set") && text.contains("CONFIG_DEBUG_FS=y"), "{text}");
    });
}

#[test]
fn what_cannot_be_known_is_no_yes() {
    sandbox(|s| {
        let kernel = kernel(s, WHOLE);
        let config = format!("[object.typed]\npath = \"{}\"\n", open("typed"));
        let report = preflight(s, &config, &["--kernel-config", &kernel]).exits(3);
        assert_eq!(report.status("program typed/typed"), "skipped");
        assert!(report.notes().contains("--btf"), "{}", report.notes());
        let btf = "/sys/kernel/btf/vmlinux";
        let report = preflight(s, &config, &["--kernel-config", &kernel, "--btf", btf]).exits(0);
        assert_eq!(report.status("link typed/typed@sched_switch"), "planned");
        let plain = kernel.replace("config", "plain");
        s.file(&plain, &WHOLE.replace("CONFIG_DEBUG_INFO_BTF=y\n", ""));
        let (_, text) =
            preflight(s, &config, &["--kernel-config", &plain]).exits(1).fault("program typed/typed").clone();
        assert!(text.contains("CONFIG_DEBUG_INFO_BTF is not set"), "{text}");
    });
}

#[test]
fn versions_and_fields_are_told_apart() {
    sandbox(|s| {
        let kernel = kernel(s, WHOLE);
        let config = format!(
            "[object.helpers]\npath = \"{}\"\nprograms.h_loop = {{}}\nprograms.h_guarded = {{}}\n",
            open("helpers")
        );
        let old = ["--kernel-config", &kernel, "--release", "5.15", "--btf", "/sys/kernel/btf/vmlinux"];
        let report = preflight(s, &config, &old).exits(1);
        let (_, text) = report.fault("program helpers/h_loop");
        assert!(text.contains("helper bpf_loop(): 5.17 has"), "{text}");
        assert_eq!(report.status("program helpers/h_guarded"), "planned", "a check of the version stands before it");
        preflight(s, &config, &["--kernel-config", &kernel, "--btf", "/sys/kernel/btf/vmlinux"]).exits(0);
    });
}

#[test]
fn bad_input_is_exit_2() {
    sandbox(|s| {
        let kernel = kernel(s, WHOLE);
        preflight(s, XDP, &[]).exits(2);
        preflight(s, XDP, &["--kernel-config", "/run/no-such-file"]).exits(2);
        preflight(s, XDP, &["--kernel-config", &kernel, "--btf", &kernel]).exits(2);
        preflight(s, XDP, &["--kernel-config", &kernel, "--release", "new"]).exits(2);
        fs::write("/run/damaged.gz", [0x1f, 0x8b, 8, 0]).unwrap();
        preflight(s, XDP, &["--kernel-config", "/run/damaged.gz"]).exits(2);
        ok(Command::new("gzip").args(["-k", &kernel]));
        preflight(s, XDP, &["--kernel-config", &format!("{kernel}.gz")]).exits(0);
        preflight(s, "[object.x]\npath = \"/run/none.o\"\n", &["--kernel-config", &kernel]).exits(2);
    });
}

#[test]
fn the_running_kernel_is_not_looked_at() {
    sandbox(|s| {
        let kernel = kernel(s, WHOLE);
        let config = format!(
            "profiles = [\"core\", \"tracing\", \"network\"]\n[sysctl]\n\"net.ipv4.conf.*.rp_filter\" = 1\n\
             [limits]\nmemlock = \"auto\"\n[mounts]\nbpffs = {{}}\ntracefs = true\n{XDP}\
             programs.xdp_main = {{ attach = {{ xdp = \"lo\", mode = \"generic\" }} }}\n\
             [object.trace]\npath = \"builtin:trace\"\n[object.reads]\npath = \"builtin:reads\"\n\
             [object.helpers]\npath = \"{}\"\noptional = true\n",
            object("helpers")
        );
        let path = s.config("traced.toml", &config);
        let traced = run(Command::new("strace")
            .args(["-f", "-e", "trace=file,bpf,network,uname,prlimit64", "-o", "/run/trace"])
            .arg(binary())
            .args(["-q", "-c", path.to_str().unwrap(), "preflight", "--kernel-config", &kernel]));
        let trace = fs::read_to_string("/run/trace").unwrap();
        assert!(trace.contains("/run/kernel-config"), "{traced:?}\n{trace}");
        let looks: Vec<_> = trace
            .lines()
            .filter(|line| {
                ["/proc/sys", "/proc/k", "/sys/", "/boot/", "bpf(", "NETLINK", "uname("]
                    .iter()
                    .any(|part| line.contains(part))
            })
            .collect();
        assert!(looks.is_empty(), "{looks:#?}");
    });
}
