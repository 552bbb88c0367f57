//! Users and groups of this thread. Bare system calls: the C library's functions would change every thread.

use std::io;

/// The group that this thread acts as.
#[allow(unsafe_code, reason = "getegid")]
pub fn gid() -> u32 {
    // SAFETY: getegid takes nothing and cannot fail.
    unsafe { libc::getegid() }
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the supplementary groups.
///
/// # Errors
/// EPERM without CAP_SETGID, or in a user namespace that denies it; EINVAL for more than 65536.
#[allow(unsafe_code, reason = "setgroups(2) of this thread alone has no wrapper")]
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads that many numbers from there.
    done(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
}

/// Sets the group: real, effective and saved.
///
/// # Errors
/// EPERM without CAP_SETGID; EINVAL where the user namespace has no such group.
#[allow(unsafe_code, reason = "setresgid(2) of this thread alone has no wrapper")]
pub fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    done(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })
}

/// Sets the user: real, effective and saved. The capabilities stay permitted until [`super::exec`].
///
/// # Errors
/// EPERM without CAP_SETUID; EINVAL where the user namespace has no such user; EAGAIN at RLIMIT_NPROC.
#[allow(unsafe_code, reason = "setresuid(2) of this thread alone has no wrapper")]
pub fn set_uid(uid: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    unsafe {
        libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0);
        done(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}
