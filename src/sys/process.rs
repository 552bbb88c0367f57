//! Forking the loader child, waiting for it, and hearing the signals that stop a run.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout},
    sys::{
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus},
    },
    unistd::{ForkResult, Pid},
};

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn note_stop(_: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

const STOP_SIGNALS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// Makes SIGTERM, SIGINT and SIGHUP end the run between two steps instead of in the middle of one.
pub fn catch_stop_signals() {
    for signal in STOP_SIGNALS {
        handle(signal, SigHandler::Handler(note_stop));
    }
}

/// The same for a process that will become another, to which an ignored signal is handed over as such. Gives the mask, of
/// which the C library's first sigaction(3) takes signals out.
pub fn catch_unignored_stop_signals() -> u64 {
    let mask = blocked(None);
    for signal in STOP_SIGNALS {
        if let Some(SigHandler::SigIgn) = handle(signal, SigHandler::Handler(note_stop)) {
            handle(signal, SigHandler::SigIgn);
        }
    }
    mask
}

/// Leaves the signals and their mask as they were received, and SIGPIPE, which the standard library ignores, at its default. From now
/// on they end this process at once.
pub fn let_signals_go(mask: u64) {
    for signal in STOP_SIGNALS {
        if let Some(SigHandler::SigIgn) = handle(signal, SigHandler::SigDfl) {
            handle(signal, SigHandler::SigIgn);
        }
    }
    handle(Signal::SIGPIPE, SigHandler::SigDfl);
    blocked(Some(mask));
}

#[allow(unsafe_code, reason = "sigaction takes a function pointer")]
fn handle(signal: Signal, handler: SigHandler) -> Option<SigHandler> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the one handler there is only stores to an atomic, which is async-signal-safe.
    unsafe { nix::sys::signal::sigaction(signal, &action) }.ok().map(|was| was.handler())
}

/// Whether a signal asked us to stop.
pub fn stop_requested() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// The pages of a fork: which side we are on.
pub enum Side {
    /// The new process, which must end through [`exit_now`].
    Child,
    /// Us, with the handle on it.
    Parent(Child),
}

/// A forked process that is waited for exactly once.
pub struct Child {
    pid: Pid,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It exited with this code.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
    /// It has not ended: the process with this id hangs in the kernel.
    Stuck(i32),
}

/// Forks. Must be called while this process has one thread only: the child goes on to allocate.
///
/// # Errors
/// EAGAIN or ENOMEM of fork(2).
#[allow(unsafe_code, reason = "fork")]
pub fn fork() -> io::Result<Side> {
    // SAFETY: the caller is single-threaded, so no lock can be held by a thread that the child lacks.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => Ok(Side::Child),
        ForkResult::Parent { child } => Ok(Side::Parent(Child { pid: child })),
    }
}

/// Forks a process that shares our descriptors: what it opens is ours. It may close none, and must end by [`exit_now`].
///
/// # Errors
/// As [`fork`], whose condition it has.
#[allow(unsafe_code, reason = "clone(2) without a stack, which is a fork")]
pub fn fork_with_descriptors() -> io::Result<Side> {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: as `fork`; the child has its own copy of the memory, and goes on where it was on the stack.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, 0usize, 0usize, 0usize) } {
        0 => Ok(Side::Child),
        pid if pid > 0 => Ok(Side::Parent(Child { pid: Pid::from_raw(pid as i32) })),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends this process without running destructors: what the child leaves pinned stays, the rest the kernel frees.
#[allow(unsafe_code, reason = "_exit")]
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

impl Child {
    /// Ends it, whatever it is doing.
    pub fn kill(&self) {
        let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
    }

    /// Waits until it has ended, but no longer than `limit`: what hangs in the kernel does not even end by SIGKILL.
    pub fn wait(self, limit: Duration) -> End {
        let start = Instant::now();
        // Kernels before 5.3 have no such descriptor: there it is looked at again and again.
        if let Ok(end) = pidfd(self.pid) {
            wait_readable(end, limit);
        }
        loop {
            match nix::sys::wait::waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, code)) => return End::Exit(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => return End::Signal(signal as i32),
                Ok(_) | Err(nix::errno::Errno::EINTR) if start.elapsed() < limit => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(_) | Err(nix::errno::Errno::EINTR) => return End::Stuck(self.pid.as_raw()),
                Err(_) => return End::Exit(-1),
            }
        }
    }
}

/// A descriptor that can be read once the process has ended (pidfd_open(2), 5.3).
#[allow(unsafe_code, reason = "pidfd_open(2) has no wrapper")]
fn pidfd(process: Pid) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers; the descriptor that comes back is owned by nobody else.
    super::link::own(unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) })
}

/// A pipe whose ends close on exec.
///
/// # Errors
/// EMFILE or ENFILE of pipe2(2).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// Makes this process's standard descriptors stand for `fd`: what was given to its parent, it can neither read nor write,
/// nor hold open when it hangs.
pub fn leave_standard_descriptors(fd: impl AsFd) {
    let _ = nix::unistd::dup2_stdin(&fd);
    let _ = nix::unistd::dup2_stdout(&fd);
    let _ = nix::unistd::dup2_stderr(&fd);
}

/// Closes this process's standard descriptors.
pub fn close_standard_descriptors() {
    for fd in 0..=2 {
        let _ = nix::unistd::close(fd);
    }
}

/// Waits until `fd` can be read or its other end is gone. `false`: the time was up, or a signal came.
pub fn wait_readable(fd: impl AsFd, limit: Duration) -> bool {
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], limit)
}

/// Waits until nobody is left who could write into this pipe, or as [`wait_readable`]; not for what is written.
pub fn wait_hang_up(fd: impl AsFd, limit: Duration) -> bool {
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::empty())], limit)
}

/// Descriptors to be waited on again and again.
pub struct Watch<'fd>(Vec<PollFd<'fd>>);

impl<'fd> Watch<'fd> {
    /// Waits for none of them yet.
    pub fn new(fds: impl Iterator<Item = BorrowedFd<'fd>>) -> Self {
        Self(fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect())
    }

    /// Waits until one can be read, or as [`wait_readable`].
    pub fn wait(&mut self, limit: Duration) -> bool {
        poll(&mut self.0, limit)
    }
}

fn poll(fds: &mut [PollFd<'_>], limit: Duration) -> bool {
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    matches!(nix::poll::poll(fds, limit), Ok(n) if n > 0)
}

/// Asks the kernel to end this process when its parent ends: an orphaned loader would build a stage for nobody. Must come
/// after the last change of credentials, which resets it (commit_creds() in kernel/cred.c).
#[allow(unsafe_code, reason = "prctl")]
pub fn die_with_parent() {
    // SAFETY: prctl with plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Makes sure that no exec gives this process more than it has (prctl(2), PR_SET_NO_NEW_PRIVS).
///
/// # Errors
/// EINVAL before Linux 3.5.
#[allow(unsafe_code, reason = "prctl")]
pub fn set_no_new_privs() -> io::Result<()> {
    // SAFETY: prctl with plain numbers; the kernel wants the unused ones to be zero.
    zero_is_ok(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

/// Sets the securebits (capabilities(7)).
///
/// # Errors
/// EPERM without CAP_SETPCAP, or when they are locked.
#[allow(unsafe_code, reason = "prctl")]
pub fn set_securebits(bits: u32) -> io::Result<()> {
    // SAFETY: prctl with plain numbers.
    zero_is_ok(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, libc::c_ulong::from(bits)) })
}

/// The securebits; none that is known of where the kernel does not tell.
#[allow(unsafe_code, reason = "prctl")]
pub fn securebits() -> u32 {
    // SAFETY: prctl with plain numbers.
    u32::try_from(unsafe { libc::prctl(libc::PR_GET_SECUREBITS) }).unwrap_or(u32::MAX)
}

/// Takes everything but `keep` out of the bounding set, up to the last capability that the kernel knows.
///
/// # Errors
/// EPERM without CAP_SETPCAP.
#[allow(unsafe_code, reason = "prctl")]
pub fn shrink_bounding_set(keep: u64) -> io::Result<()> {
    for capability in (0..u64::BITS).filter(|capability| keep >> capability & 1 == 0) {
        // SAFETY: prctl with plain numbers.
        let call = |what| unsafe { libc::prctl(what, libc::c_ulong::from(capability), 0, 0, 0) };
        // Asking is ten times as fast as dropping what is dropped already, for which the credentials are copied.
        match call(libc::PR_CAPBSET_READ) {
            0 => {}
            1 => zero_is_ok(call(libc::PR_CAPBSET_DROP))?,
            _ => break,
        }
    }
    Ok(())
}

/// The blocked signals, one bit each. Of the C library's own three, which its functions hide, too.
#[allow(unsafe_code, reason = "a bare rt_sigprocmask(2)")]
fn blocked(new: Option<u64>) -> u64 {
    let (mut old, new) = (0u64, new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref));
    // SAFETY: the kernel reads and writes eight bytes where it is told to.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, new, &raw mut old, size_of::<u64>()) };
    old
}

fn zero_is_ok(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The user that this process acts as.
#[allow(unsafe_code, reason = "geteuid")]
pub fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// The kernel's release (uname(2)); empty when it does not tell.
#[allow(unsafe_code, reason = "uname")]
pub fn kernel_release() -> String {
    let mut name = super::bpf::zeroed::<libc::utsname>();
    // SAFETY: the kernel fills the structure with texts that end with a NUL.
    unsafe {
        match libc::uname(&raw mut name) {
            0 => std::ffi::CStr::from_ptr(name.release.as_ptr()).to_string_lossy().into_owned(),
            _ => String::new(),
        }
    }
}

/// How long the machine runs, sleep left out (CLOCK_MONOTONIC): the clock of bpf_ktime_get_ns().
#[allow(unsafe_code, reason = "clock_gettime")]
pub fn uptime() -> Duration {
    let mut now = super::bpf::zeroed::<libc::timespec>();
    // SAFETY: the kernel fills the structure, and this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Bytes of a page.
#[allow(unsafe_code, reason = "sysconf")]
pub fn page_size() -> u32 {
    // SAFETY: sysconf with a plain number.
    u32::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The number of threads worth starting: the CPUs this process may run on. The standard library's answer also weighs
/// cgroup quotas, which a loader that is done in milliseconds never feels.
pub fn usable_cpus() -> usize {
    let set = nix::sched::sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..nix::sched::CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count().max(1)
}

/// In place of musl's, whose one call of snprintf(3) brings 13 KiB of printf(3) into the binary. The standard library
/// names its threads through it; ours need no names.
#[cfg(target_env = "musl")]
#[allow(unsafe_code, reason = "a symbol of the C library is replaced")]
// SAFETY: the signature is pthread_setname_np(3)'s, and doing nothing is a success it allows.
#[unsafe(no_mangle)]
pub extern "C" fn pthread_setname_np(_: libc::pthread_t, _: *const libc::c_char) -> libc::c_int {
    0
}
