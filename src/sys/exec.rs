//! Becoming another program: what it inherits, and nothing else.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    ptr,
};

use super::file;

/// The first descriptor that is passed on (sd_listen_fds(3)).
pub const FIRST: RawFd = 3;

/// Has every descriptor above standard error close on exec, whoever opened it. Ours do so anyway.
///
/// # Errors
/// What open(2) says of /proc/self/fd, which is asked before 5.11.
#[allow(unsafe_code, reason = "descriptors by their numbers")]
pub fn pass_nothing_on() -> io::Result<()> {
    // SAFETY: plain numbers. What is open stays so until exec.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if closed == 0 {
        return Ok(());
    }
    for (name, _) in file::list("/proc/self/fd".as_ref())? {
        if let Some(fd) = name.parse().ok().filter(|fd| *fd >= FIRST) {
            // SAFETY: plain numbers; of the one that listed the others nothing is left, which is no harm.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Has `passed` stay open over exec, as [`FIRST`] and the following ones.
///
/// # Errors
/// EMFILE.
#[allow(unsafe_code, reason = "descriptors by their numbers")]
pub fn pass_on(passed: &[OwnedFd]) -> io::Result<()> {
    let above = FIRST + passed.len() as RawFd;
    let mut moved = Vec::new();
    for fd in passed {
        // SAFETY: plain numbers; the copy is meant to live until exec.
        moved.push(zero_or_more(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) })?);
    }
    for (nth, fd) in (FIRST..).zip(moved) {
        // SAFETY: whatever was at that number is not used any more: exec follows.
        zero_or_more(unsafe { libc::dup2(fd, nth) })?;
    }
    Ok(())
}

fn zero_or_more(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The environment as it came, also what is no `NAME=value`.
#[allow(unsafe_code, reason = "environ(7)")]
pub fn environment() -> Vec<CString> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let mut words = Vec::new();
    // SAFETY: a list of texts that ends with a null, which nobody changes: there is one thread, and it sets nothing.
    unsafe {
        let mut word = environ;
        while !word.is_null() && !(*word).is_null() {
            words.push(CStr::from_ptr(*word).to_owned());
            word = word.add(1);
        }
    }
    words
}

/// execve(2). Comes back only with the reason why not.
#[allow(unsafe_code, reason = "execve; the standard library's would reset the signal mask")]
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let list = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (list(arguments), list(environment));
    // SAFETY: both lists end with a null, and outlive the call with the texts they point to.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}
