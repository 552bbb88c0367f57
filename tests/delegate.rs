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
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
};

use common::{Ran, Report, Sandbox, binary, ok, run, sandbox, wait_for};

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
    fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--net", "sleep", "infinity"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let name = format!("/proc/{}/comm", child.id());
        wait_for("the container", || (fs::read_to_string(&name).unwrap() == "sleep\n").then_some(()));
        Self(child)
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
        command.args(["--target", &target, "--user", "--preserve-credentials", "--mount", "--net"]).arg(program);
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

#[test]
fn what_is_delegated_is_loaded_attached_and_undone() {
    sandbox(|s| {
        let container = Container::new();
        container.mount(&[]).unwrap();
        let bare = container.bpfboot(s, EDGE, "apply").exits(1);
        let (cause, text) = bare.fault("object edge");
        assert!(cause == "privilege" && text.contains("delegates nothing [ENOENT]"), "{text}");
        common::say(&text);

        container.mount(&options(&text, "", 0)).unwrap();
        let report = container.bpfboot(s, EDGE, "apply").exits(0);
        assert_eq!(report.status("link edge/xdp_main@lo"), "done");
        let shown = container.inside(&["ip", "link", "show", "lo"]).exits(0).stdout;
        assert!(shown.contains("xdpgeneric"), "{shown}");
        let id = report.kernel_id("program edge/xdp_main");
        assert!(shown.contains(&format!("prog/xdp id {id} ")), "{shown}");
        container.bpfboot(s, EDGE, "apply").exits(0).nothing_done();
        container.bpfboot(s, EDGE, "check").exits(0);
        container.bpfboot(s, EDGE, "undo").exits(0);
        let shown = container.inside(&["ip", "link", "show", "lo"]).exits(0).stdout;
        assert!(!shown.contains("xdp"), "{shown}");
        assert_eq!(container.inside(&["ls", "-A", "/sys/fs/bpf"]).exits(0).stdout, "");
        wait_for("the program to go", || {
            s.bpftool(&["prog", "show", "id", &id.to_string()])["error"].is_string().then_some(())
        });
    });
}
