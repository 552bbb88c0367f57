//! Loading in a user namespace, by what its bpffs delegates: a container that holds no capability of the machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(unsafe_code, reason = "the new mount system calls have no wrapper here")]

mod common;

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Read, pipe},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            fs::{MetadataExt, PermissionsExt, chown},
            process::CommandExt,
        },
    },
    process::{Child, Command, Stdio},
};

use common::{LIVE, Ran, Report, Sandbox, binary, compile, object, ok, run, sandbox, wait_for};
use nix::mount::{MntFlags, umount2};

const EDGE: &str = "[object.edge]\npath = \"builtin:edge\"\n\
    programs.xdp_main = { attach = [{ xdp = \"lo\", mode = \"generic\" }] }\n";

/// A process in a user, mount and network namespace of its own, which are there as long as it is.
struct Container(Child);

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check(result: i64) -> i64 {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    result
}

impl Container {
    /// Root in it is the user `root` of the machine.
    fn of(root: u32) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "--mount", "--net", "sleep", "infinity"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let of = |name: &str| format!("/proc/{}/{name}", child.id());
        wait_for("the container", || (fs::read_to_string(of("comm")).unwrap() == "sleep\n").then_some(()));
        for map in ["uid_map", "gid_map"] {
            fs::write(of(map), format!("0 {root} 1\n")).unwrap();
        }
        Self(child)
    }

    fn new() -> Self {
        Self::of(0)
    }

    /// Runs a command of the host in its mount namespace alone.
    fn on_host(&self, command: &[&str]) -> Ran {
        let mount = format!("--mount=/proc/{}/ns/mnt", self.0.id());
        run(Command::new("nsenter").arg(mount).args(command).env("NO_COLOR", "1").env_remove("JOURNAL_STREAM"))
    }

    /// Applies a configuration on the host, in its mount namespace.
    fn applied_by_host(&self, s: &Sandbox, config: &str) -> Report {
        let config = s.config("host.toml", config);
        let bpfboot = binary();
        let words = [bpfboot.to_str().unwrap(), "--json", "-c", config.to_str().unwrap(), "apply"];
        Report::of(self.on_host(&words))
    }

    fn delegating(&self, objects: &str) -> String {
        format!("[mounts]\nbpffs = {{ mode = \"0700\", delegate = \"/proc/{}/ns/user\" }}\n{objects}", self.0.id())
    }

    fn ns(&self, kind: &str) -> File {
        File::open(format!("/proc/{}/ns/{kind}", self.0.id())).unwrap()
    }

    /// What a host does for it: a bpffs that belongs to its user namespace, with options that only the host may set, on
    /// its /sys/fs/bpf.
    fn mount(&self, options: &[(&str, String)]) -> io::Result<()> {
        let user = self.ns("user");
        let (mut hear, say) = pipe().unwrap();
        // The file system belongs to the user namespace of the one who opens it.
        let mut opener = Command::new("sleep");
        opener.arg("infinity").stdout(say).stdin(Stdio::null());
        let enter = move || {
            // SAFETY: system calls with plain numbers and a constant string.
            let fs = unsafe {
                if libc::setns(user.as_raw_fd(), libc::CLONE_NEWUSER) < 0 || libc::unshare(libc::CLONE_NEWNS) < 0 {
                    return Err(io::Error::last_os_error());
                }
                libc::syscall(libc::SYS_fsopen, c"bpf".as_ptr(), 0)
            };
            if fs < 0 {
                return Err(io::Error::last_os_error());
            }
            let fs = fs as u8;
            // SAFETY: one byte of a number that lives here.
            unsafe { libc::write(1, (&raw const fs).cast(), 1) };
            Ok(())
        };
        // SAFETY: what it does may be done between fork and exec.
        unsafe { opener.pre_exec(enter) };
        let mut opener = opener.spawn().unwrap();
        let mut number = [0];
        hear.read_exact(&mut number).unwrap();
        let mounted = Self::take(&opener, number[0].into()).and_then(|fs| configure(&fs, options));
        opener.kill().unwrap();
        opener.wait().unwrap();
        let (mount, namespace) = (mounted?, self.ns("mnt"));
        let enter = move || {
            // SAFETY: system calls with plain numbers and constant strings.
            let moved = unsafe {
                libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS);
                let (from, to) = (c"".as_ptr(), c"/sys/fs/bpf".as_ptr());
                libc::syscall(libc::SYS_move_mount, mount.as_raw_fd(), from, libc::AT_FDCWD, to, 4)
            };
            if moved < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        };
        let mut mover = Command::new("true");
        // SAFETY: as above.
        unsafe { mover.pre_exec(enter) };
        ok(&mut mover);
        Ok(())
    }

    fn take(from: &Child, number: i32) -> io::Result<OwnedFd> {
        // SAFETY: plain numbers; the descriptors are new and owned here.
        unsafe {
            let process = check(libc::syscall(libc::SYS_pidfd_open, from.id(), 0));
            let process = OwnedFd::from_raw_fd(process as i32);
            let fd = check(libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0));
            Ok(OwnedFd::from_raw_fd(fd as i32))
        }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.0.id().to_string();
        command.args(["--target", &target, "--user", "--mount", "--net"]).arg(program);
        command.stdin(Stdio::null()).env("NO_COLOR", "1").env_remove("JOURNAL_STREAM");
        command
    }

    fn bpfboot(&self, s: &Sandbox, config: &str, verb: &str) -> Report {
        let config = s.config("inside.toml", config);
        Report::of(run(self.command(binary()).args(["--json", "-c", config.to_str().unwrap(), verb])))
    }

    fn inside(&self, command: &[&str]) -> Ran {
        run(self.command(command[0]).args(&command[1..]))
    }
}

fn configure(fs: &OwnedFd, options: &[(&str, String)]) -> io::Result<OwnedFd> {
    const SET_STRING: u32 = 1;
    const CREATE: u32 = 6;
    for (name, value) in options {
        let (name, value) = (CString::new(*name).unwrap(), CString::new(value.as_str()).unwrap());
        // SAFETY: the strings outlive the call.
        let set =
            unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), SET_STRING, name.as_ptr(), value.as_ptr(), 0) };
        if set < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: plain numbers; the descriptor is new and owned here.
    unsafe {
        check(libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), CREATE, 0usize, 0usize, 0));
        let mount = check(libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), 0, 0));
        Ok(OwnedFd::from_raw_fd(mount as i32))
    }
}

/// The options that a fault asks for, those of one set without a bit.
fn options(mend: &str, but: &str, bit: u32) -> Vec<(&'static str, String)> {
    let sets = ["delegate_cmds", "delegate_maps", "delegate_progs", "delegate_attachs"];
    let (_, asked) = mend.split_once("-o ").unwrap();
    let asked = asked.split(',').map(|option| option.split_once('=').unwrap());
    asked
        .map(|(name, value)| {
            let value = u64::from_str_radix(value.trim_start_matches("0x"), 16).unwrap();
            let without = if name == but { 1 << bit } else { 0 };
            assert_eq!(value & without, without, "{name} asks for bit {bit}");
            (*sets.iter().find(|set| **set == name).unwrap(), format!("{:#x}", value & !without))
        })
        .filter(|(_, value)| value != "0x0")
        .collect()
}

fn fault(report: &Report, id: &str) -> (String, String) {
    let (cause, text) = report.fault(id);
    (cause.to_owned(), text)
}

/// The line that mends a load in a container to which nothing is delegated.
fn asked(container: &Container, s: &Sandbox, config: &str) -> String {
    container.mount(&[]).unwrap();
    let (cause, text) = fault(&container.bpfboot(s, config, "apply").exits(1), "object edge");
    assert!(cause == "privilege" && text.contains("/sys/fs/bpf delegates nothing [ENOENT]"), "{text}");
    text
}

fn xdp_on_lo(container: &Container) -> String {
    container.inside(&["ip", "link", "show", "lo"]).exits(0).stdout
}

#[test]
fn what_is_delegated_is_loaded_attached_and_undone() {
    sandbox(|s| {
        let container = Container::new();
        let asked = asked(&container, s, EDGE);
        container.mount(&options(&asked, "", 0)).unwrap();
        let report = container.bpfboot(s, EDGE, "apply").exits(0);
        assert_eq!(report.step("object edge")["facts"]["confined"], "capabilities landlock seccomp");
        let id = report.kernel_id("program edge/xdp_main");
        let shown = xdp_on_lo(&container);
        assert!(shown.contains("xdpgeneric") && shown.contains(&format!("prog/xdp id {id} ")), "{shown}");
        container.bpfboot(s, EDGE, "apply").exits(0).nothing_done();
        container.bpfboot(s, EDGE, "check").exits(0);

        // Exactly the types of its maps were asked for.
        let names =
            ["", "hash", "array", "prog_array", "", "percpu_hash", "percpu_array", "", "", "lru_hash", "", "lpm_trie"];
        let maps = format!("/proc/{}/root{LIVE}/edge/maps", container.0.id());
        let types = fs::read_dir(maps).unwrap().fold(0_u64, |types, map| {
            let map = s.pinned("map", map.unwrap().path().to_str().unwrap());
            let number = names.iter().position(|name| map["type"] == *name);
            types | 1 << number.unwrap_or_else(|| if map["type"] == "ringbuf" { 27 } else { panic!("{map}") })
        });
        assert!(asked.contains(&format!("delegate_maps={types:#x},")), "{types:#x}: {asked}");

        container.bpfboot(s, EDGE, "undo").exits(0);
        let shown = xdp_on_lo(&container);
        assert!(!shown.contains("xdp"), "{shown}");
        container.inside(&["test", "!", "-e", "/sys/fs/bpf/bpfboot"]).exits(0);
        let mut bpftool = Command::new("bpftool");
        bpftool.args(["prog", "show", "id", &id.to_string()]);
        wait_for("the program to go", || (run(&mut bpftool).code != Some(0)).then_some(()));
    });
}

#[test]
fn what_is_not_delegated_is_named_and_nothing_is_begun() {
    sandbox(|s| {
        let container = Container::new();
        let asked = asked(&container, s, EDGE);
        for (set, bit, missing) in [
            ("delegate_cmds", 0, "command map_create"),
            ("delegate_cmds", 18, "command btf_load"),
            ("delegate_maps", 27, "map type ringbuf"),
            ("delegate_progs", 6, "program type xdp"),
            ("delegate_attachs", 37, "attach type xdp"),
        ] {
            container.mount(&options(&asked, set, bit)).unwrap();
            let report = container.bpfboot(s, EDGE, "apply").exits(1);
            let (cause, text) = report.fault("object edge");
            assert!(cause == "privilege" && text.contains(&format!("not delegated: {missing} [EPERM]")), "{text}");
            assert_eq!(report.step("object edge")["fault"]["reason"], "delegation");
            assert!(report.notes().contains("nothing was changed"), "{}", report.notes());
            container.inside(&["test", "!", "-e", "/sys/fs/bpf/bpfboot"]).exits(0);
        }
    });
}

/// net.core.bpf_jit_limit of the machine, which only the initial network namespace has; it comes back.
struct JitLimit(String);

impl JitLimit {
    /// The first thread of the test never left the machine's network namespace.
    fn at_home(script: &str) -> String {
        let home = format!("--net=/proc/{}/ns/net", std::process::id());
        let done = ok(Command::new("nsenter").args([&home, "sh", "-c", script]));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn write(value: &str) {
        Self::at_home(&format!("echo {value} > /proc/sys/net/core/bpf_jit_limit"));
    }

    fn lowest() -> Self {
        let was = Self::at_home("cat /proc/sys/net/core/bpf_jit_limit");
        Self::write("1");
        Self(was)
    }
}

impl Drop for JitLimit {
    fn drop(&mut self) {
        Self::write(&self.0);
    }
}

#[test]
fn the_limit_of_jit_code_is_named_and_told_from_a_jit_that_cannot() {
    sandbox(|s| {
        let container = Container::new();
        let asked = asked(&container, s, EDGE);
        container.mount(&options(&asked, "", 0)).unwrap();
        let limit = JitLimit::lowest();
        let report = container.bpfboot(s, EDGE, "apply");
        // Nothing of the machine's is held back while this test looks.
        drop(limit);
        let report = report.exits(1);
        let fault = &report.steps().iter().find(|step| step["fault"].is_object()).unwrap()["fault"];
        let found = (fault["errno"].as_i64(), fault["cause"].as_str(), fault["reason"].as_str());
        assert_eq!(found, (Some(524), Some("kernel"), Some("jit-limit")), "{fault}");
        assert!(fault["mend"].as_str().unwrap().contains("net.core.bpf_jit_limit"), "{fault}");
        container.bpfboot(s, EDGE, "apply").exits(0);
        container.bpfboot(s, EDGE, "undo").exits(0);
    });
}

#[test]
fn a_bpffs_of_another_user_namespace_is_told_from_one_that_delegates_nothing() {
    sandbox(|s| {
        let container = Container::new();
        let (cause, text) = fault(&container.bpfboot(s, EDGE, "apply").exits(1), "object edge");
        assert!(cause == "privilege" && text.contains("belongs to another user namespace [EPERM]"), "{text}");
    });
}

#[test]
fn tracing_programs_are_loaded_but_for_those_that_perf_attaches() {
    sandbox(|s| {
        let container = Container::new();
        let peek = format!("[object.edge]\npath = \"{}\"\n", object("peek"));
        let asked = asked(&container, s, &peek);
        container.mount(&options(&asked, "", 0)).unwrap();
        let report = container.bpfboot(s, &peek, "apply").exits(0);
        assert_eq!(report.status("link edge/peek"), "done");
        container.bpfboot(s, &peek, "undo").exits(0);

        // Where there is a choice, perf is done without.
        let trace = "[object.edge]\npath = \"builtin:trace\"\n";
        let asked = self::asked(&container, s, trace);
        container.mount(&options(&asked, "", 0)).unwrap();
        let report = container.bpfboot(s, trace, "apply").exits(0);
        assert_eq!(report.status("program edge/trace_openat"), "skipped");
        container.bpfboot(s, trace, "undo").exits(0);

        let slow = format!("[object.edge]\npath = \"{}\"\n", object("slow_tp"));
        let report = container.bpfboot(s, &slow, "apply").exits(1);
        let fault = report.steps().iter().find(|step| step["id"] != "object edge").unwrap().to_string();
        assert!(fault.contains("no capability of a user namespace counts"), "{fault}");
    });
}

#[test]
fn what_a_map_holds_is_delegated_with_it() {
    const NEST: &str = "struct inner { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1);\n\
        __type(key, __u32); __type(value, __u32); };\n\
        struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 1); __type(key, __u32);\n\
        __array(values, struct inner); } outer SEC(\".maps\");\n\
        SEC(\"socket\") int filter(struct __sk_buff *skb)\n\
        { __u32 zero = 0; return bpf_map_lookup_elem(&outer, &zero) ? 1 : 0; }\n";
    sandbox(|s| {
        compile(s, "/run/nest.o", NEST);
        let container = Container::new();
        let config = "[object.edge]\npath = \"/run/nest.o\"\n";
        let asked = asked(&container, s, config);
        let exactly = "delegate_cmds=0x40021,delegate_maps=0x1002,delegate_progs=0x2,delegate_attachs=0x1";
        assert!(asked.ends_with(exactly), "{asked}");
        container.mount(&options(&asked, "", 0)).unwrap();
        container.bpfboot(s, config, "apply").exits(0);
    });
}

#[test]
fn the_host_mounts_what_the_objects_take_and_leaves_them_to_the_container() {
    sandbox(|s| {
        while umount2("/sys/fs/bpf", MntFlags::MNT_DETACH).is_ok() {}
        let container = Container::new();
        let config = container.delegating(EDGE);
        let host = container.applied_by_host(s, &config).exits(0);
        assert_eq!(host.status("mount bpf /sys/fs/bpf"), "done");
        assert!(host.notes().contains("objects are left to"), "{}", host.notes());
        assert!(host.steps().iter().all(|step| step["phase"] != "load"), "{:#}", host.json);
        container.on_host(&["test", "!", "-e", "/sys/fs/bpf/bpfboot"]).exits(0);
        container.applied_by_host(s, &config).exits(0).nothing_done();

        // The same configuration in the container.
        container.bpfboot(s, &config, "apply").exits(0);
        assert!(xdp_on_lo(&container).contains("xdpgeneric"));
        container.applied_by_host(s, &config).exits(0).nothing_done();
        container.bpfboot(s, &config, "check").exits(0);
        container.bpfboot(s, &config, "undo").exits(0);
        assert!(!xdp_on_lo(&container).contains("xdp"));
    });
}

#[test]
fn root_of_the_container_may_be_nobody_on_the_host() {
    sandbox(|s| {
        while umount2("/sys/fs/bpf", MntFlags::MNT_DETACH).is_ok() {}
        let container = Container::of(100_000);
        container.applied_by_host(s, &container.delegating(EDGE)).exits(0);
        let path = format!("/proc/{}/root/sys/fs/bpf", container.0.id());
        let root = fs::metadata(&path).unwrap();
        assert_eq!((root.uid(), root.gid(), root.mode() & 0o777), (100_000, 100_000, 0o700));

        // What a container has of its own: the program, the configuration, and /run.
        let config = s.config("own.toml", EDGE);
        fs::copy(binary(), "/run/own").unwrap();
        fs::set_permissions("/run/own", fs::Permissions::from_mode(0o755)).unwrap();
        chown(&config, Some(100_000), None).unwrap();
        container.inside(&["mount", "-t", "tmpfs", "tmpfs", "/run/bpfboot"]).exits(0);
        let own = |verb| container.inside(&["/run/own", "-c", config.to_str().unwrap(), verb]);
        own("apply").exits(0);
        assert!(xdp_on_lo(&container).contains("xdpgeneric"));
        own("undo").exits(0);
        assert!(!xdp_on_lo(&container).contains("xdp"));
        container.inside(&["umount", "/run/bpfboot"]).exits(0);

        container.on_host(&[binary().to_str().unwrap(), "undo"]).exits(0);
        assert_ne!(fs::metadata(&path).unwrap().dev(), root.dev(), "it is not mounted any more");
    });
}

#[test]
fn the_host_does_not_take_a_bpffs_for_one_that_delegates() {
    sandbox(|s| {
        let container = Container::new();
        let report = container.applied_by_host(s, &container.delegating(EDGE)).exits(1);
        let (cause, text) = report.fault("mount bpf /sys/fs/bpf");
        assert!(cause == "mount" && text.contains("delegates nothing"), "{text}");
        while umount2("/sys/fs/bpf", MntFlags::MNT_DETACH).is_ok() {}
        for (file, errno) in
            [("/proc/self/ns/none", "ENOENT"), ("/proc/self/ns/user", "EINVAL"), ("/etc/passwd", "EINVAL")]
        {
            let config = format!("[mounts]\nbpffs = {{ delegate = \"{file}\" }}\n{EDGE}");
            let (cause, text) = fault(&s.apply(&config).exits(1), "mount bpf /sys/fs/bpf");
            assert!(cause == "mount" && text.contains(file) && text.contains(errno), "{text}");
        }
    });
}
