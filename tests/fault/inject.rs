//! One fault at one system call, by ptrace(2): what strace's `inject=` does, but of one process only. strace counts the
//! calls of each process by itself and cannot be told which one to harm, so a loader's fifth openat(2) would also be
//! its parent's.
#![allow(unsafe_code, reason = "ptrace(2) has no safe form")]

use std::{
    collections::BTreeMap,
    fmt, io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitStatus},
};

/// Who makes a call.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Who {
    /// The process that was started.
    Parent,
    /// The loader child, with its threads.
    Loader,
}

/// What happens to the call, which is not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Harm {
    /// Its process is killed.
    Kill,
    /// It fails with this errno.
    Fail(i32),
}

/// One call of a run.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Call {
    /// Who makes it.
    pub who: Who,
    /// Its number.
    pub number: u64,
    /// Which of the calls of that number by that process it is, from 1.
    pub nth: u32,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.who == Who::Parent { "parent" } else { "loader" };
        write!(f, "{who} {}#{}", name(self.number), self.nth)
    }
}

/// The name of a system call, as the kernel's header has it.
pub fn name(number: u64) -> String {
    let header = ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"];
    let text = header.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let named = text.lines().find_map(|line| {
        let (name, is) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        (is.trim().parse() == Ok(number)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| number.to_string())
}

/// A run under the tracer.
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// The calls that were made up to the harm, all of them without one.
    pub calls: Vec<Call>,
    /// Whether the harm was done.
    pub harmed: bool,
    /// The process was stopped by the watch, since it did not end.
    pub hung: bool,
}

/// Runs `command` and harms one call of it.
#[allow(clippy::zombie_processes, reason = "the tracer waits for it")]
pub fn run(command: &mut Command, harm: Option<(Call, Harm)>) -> Ran {
    // SAFETY: ptrace and kill are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
    let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let root = child.id() as i32;
    let watch = Watch::over(root);
    let mut tracer =
        Tracer { root, harm, calls: Vec::new(), counts: BTreeMap::new(), known: vec![], failing: None, harmed: false };
    let status = tracer.follow();
    let hung = watch.end();
    Ran { status, calls: tracer.calls, harmed: tracer.harmed, hung }
}

struct Tracer {
    root: i32,
    harm: Option<(Call, Harm)>,
    calls: Vec<Call>,
    counts: BTreeMap<(Who, u64), u32>,
    known: Vec<i32>,
    /// The thread whose call was taken from it, and with what it will return.
    failing: Option<(i32, i32)>,
    harmed: bool,
}

const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

impl Tracer {
    /// Follows every process and thread until the last has ended; how the first one ended.
    fn follow(&mut self) -> ExitStatus {
        let mut end = None;
        loop {
            let mut status = 0;
            // SAFETY: waitpid writes the status; only children of this thread are waited for.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
            if pid < 0 {
                return end.expect("the process ended");
            }
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                if pid == self.root {
                    end = Some(ExitStatus::from_raw(status));
                }
                continue;
            }
            let signal = libc::WSTOPSIG(status);
            let fresh = !self.known.contains(&pid);
            if fresh {
                self.known.push(pid);
            }
            let deliver = match signal {
                SYSCALL_STOP => {
                    self.syscall(pid);
                    0
                }
                // The stop after exec, the stop that begins a new process, and the reports of forks.
                libc::SIGTRAP => {
                    if pid == self.root && fresh {
                        let options = libc::PTRACE_O_TRACESYSGOOD
                            | libc::PTRACE_O_TRACEFORK
                            | libc::PTRACE_O_TRACEVFORK
                            | libc::PTRACE_O_TRACECLONE
                            | libc::PTRACE_O_EXITKILL;
                        ptrace(libc::PTRACE_SETOPTIONS, pid, options as usize);
                    }
                    0
                }
                libc::SIGSTOP if fresh => 0,
                signal => signal,
            };
            // Once the harm is done nobody looks any more, and all run freely.
            let go = if self.harmed && self.failing.is_none() { libc::PTRACE_CONT } else { libc::PTRACE_SYSCALL };
            ptrace(go, pid, deliver as usize);
        }
    }

    fn syscall(&mut self, pid: i32) {
        if self.harmed && self.failing.is_none() {
            return;
        }
        if let Some((thread, errno)) = self.failing {
            if thread == pid {
                change(pid, |regs| regs.rax = -i64::from(errno) as u64);
                self.failing = None;
            }
            return;
        }
        let Some(number) = entered(pid) else { return };
        let who = if pid == self.root { Who::Parent } else { Who::Loader };
        let nth = self.counts.entry((who, number)).or_default();
        *nth += 1;
        let call = Call { who, number, nth: *nth };
        self.calls.push(call);
        match self.harm {
            Some((wanted, Harm::Kill)) if wanted == call => {
                self.harmed = true;
                // SAFETY: kill with plain numbers; a thread's id stands for its process here.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            Some((wanted, Harm::Fail(errno))) if wanted == call => {
                self.harmed = true;
                // close(2) lets go of the descriptor whatever it returns (filp_close() in fs/open.c).
                if number as i64 != libc::SYS_close {
                    change(pid, |regs| regs.orig_rax = u64::MAX);
                }
                self.failing = Some((pid, errno));
            }
            _ => {}
        }
    }
}

fn ptrace(request: libc::c_uint, pid: i32, data: usize) {
    // SAFETY: these requests take plain numbers. A process that has just been killed is gone: nothing to do then.
    unsafe { libc::ptrace(request, pid, 0, data) };
}

/// The number of the call that a process has stopped before; `None` when it stopped after one.
fn entered(pid: i32) -> Option<u64> {
    const ENTRY: u8 = libc::PTRACE_SYSCALL_INFO_ENTRY;
    let mut info = [0u8; 88];
    // SAFETY: the kernel writes at most as many bytes as it is told there are.
    let got = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, info.len(), info.as_mut_ptr()) };
    (got > 0 && info[0] == ENTRY).then(|| u64::from_ne_bytes(info[24..32].try_into().unwrap()))
}

fn change(pid: i32, how: impl FnOnce(&mut libc::user_regs_struct)) {
    // SAFETY: all zeroes is a value of it, and the kernel fills it before it is used.
    let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    // SAFETY: the stopped process's registers are copied into and out of `regs`.
    unsafe {
        if libc::ptrace(libc::PTRACE_GETREGS, pid, 0, &raw mut regs) == 0 {
            how(&mut regs);
            libc::ptrace(libc::PTRACE_SETREGS, pid, 0, &raw mut regs);
        }
    }
}

/// Ends a run that does not end by itself.
struct Watch {
    done: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<bool>,
}

impl Watch {
    fn over(root: i32) -> Self {
        let (done, over) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let hangs = over.recv_timeout(super::LONGEST) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
            if hangs {
                // SAFETY: kill with plain numbers; the process is not waited for before this thread has ended.
                unsafe { libc::kill(root, libc::SIGKILL) };
            }
            hangs
        });
        Self { done, thread }
    }

    fn end(self) -> bool {
        drop(self.done);
        self.thread.join().unwrap()
    }
}
