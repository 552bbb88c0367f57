//! Mounting the kernel's own file systems, and the owner and mode of their root.

use std::{
    ffi::{CStr, CString, c_void},
    fs::File,
    io,
    os::{
        fd::{AsRawFd, IntoRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
    time::Duration,
};

use nix::sched::CloneFlags;

use super::{
    bpf::c_path,
    confine::check,
    ids, link,
    process::{self, End, Side},
};

/// Mounts one of the kernel's own file systems: no devices, no programs, no set-user-id files.
///
/// # Errors
/// What mount(2) says: EPERM without CAP_SYS_ADMIN, ENODEV when the kernel lacks the file system.
#[allow(unsafe_code, reason = "the wrapper takes every string through functions of its own")]
pub fn mount(kind: &str, at: &Path, options: &str) -> io::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RELATIME;
    let (kind, at, options) = (CString::new(kind)?, c_path(at)?, CString::new(options)?);
    // SAFETY: the strings outlive the call.
    let done =
        unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast::<c_void>()) };
    check(done.into()).map(drop)
}

/// How long to wait for a process that does three system calls.
const PATIENCE: Duration = Duration::from_secs(10);
/// Its exit code is a descriptor, or from here on an errno.
const FAILED: i32 = 128;

/// Mounts a bpffs that belongs to another user namespace, with options that only we may set. It belongs to the one in
/// which it was opened (`alloc_fs_context()` in fs/fs_context.c), so a process of ours opens it there, and we go on.
///
/// # Errors
/// EINVAL: `userns` is no user namespace, or our own; EPERM without CAP_SYS_ADMIN here and there.
pub fn mount_for(userns: &Path, at: &Path, options: &str) -> io::Result<()> {
    let userns = File::open(userns)?;
    let child = match process::fork_with_descriptors()? {
        Side::Parent(child) => child,
        Side::Child => process::exit_now(match open_in(&userns) {
            Ok(fs) => fs.into_raw_fd(),
            Err(error) => FAILED + super::file::errno(&error),
        }),
    };
    let fs = match child.wait(PATIENCE) {
        End::Exit(number @ 0..FAILED) => link::own(number.into())?,
        End::Exit(code @ FAILED..) => return Err(io::Error::from_raw_os_error(code - FAILED)),
        _ => return Err(io::Error::from_raw_os_error(libc::ECHILD)),
    };
    let at = c_path(at)?;
    for (name, value) in options.split(',').filter_map(|option| option.split_once('=')) {
        configure(&fs, SET_STRING, &CString::new(name)?, &CString::new(value)?)?;
    }
    configure(&fs, CREATE, c"", c"")?;
    put(&fs, &at)
}

/// FSCONFIG_SET_STRING and FSCONFIG_CMD_CREATE (include/uapi/linux/mount.h, as what follows).
const SET_STRING: u32 = 1;
const CREATE: u32 = 6;

#[allow(unsafe_code, reason = "fsconfig(2) has no wrapper")]
fn configure(fs: &OwnedFd, command: u32, name: &CStr, value: &CStr) -> io::Result<()> {
    let of = |text: &CStr| if command == CREATE { std::ptr::null() } else { text.as_ptr() };
    // SAFETY: the strings outlive the call.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), command, of(name), of(value), 0) }).map(drop)
}

#[allow(unsafe_code, reason = "fsmount(2) and move_mount(2) have no wrapper")]
fn put(fs: &OwnedFd, at: &CStr) -> io::Result<()> {
    const CLOEXEC: u32 = 1;
    const NOSUID_NODEV_NOEXEC: u32 = 2 | 4 | 8;
    const FROM_EMPTY_PATH: u32 = 4;
    // SAFETY: plain numbers, and strings that outlive the call.
    unsafe {
        let mount = link::own(libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), CLOEXEC, NOSUID_NODEV_NOEXEC))?;
        let (from, here) = (mount.as_raw_fd(), libc::AT_FDCWD);
        check(libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), here, at.as_ptr(), FROM_EMPTY_PATH)).map(drop)
    }
}

#[allow(unsafe_code, reason = "fsopen(2) has no wrapper")]
fn open_in(userns: &File) -> io::Result<OwnedFd> {
    const CLOEXEC: u32 = 1;
    nix::sched::setns(userns, CloneFlags::CLONE_NEWUSER)?;
    // That of the host is not for it to mount in.
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    // The root of the file system belongs to who opens it: root there.
    ids::set_gid(0)?;
    ids::set_uid(0)?;
    // SAFETY: a constant string.
    link::own(unsafe { libc::syscall(libc::SYS_fsopen, c"bpf".as_ptr(), CLOEXEC) })
}

/// Unmounts what lies on top at `at`.
///
/// # Errors
/// EBUSY while anybody has something open there; EPERM without CAP_SYS_ADMIN.
#[allow(unsafe_code, reason = "as above")]
pub fn unmount(at: &Path) -> io::Result<()> {
    let at = c_path(at)?;
    // SAFETY: the string outlives the call.
    check(unsafe { libc::umount2(at.as_ptr(), libc::UMOUNT_NOFOLLOW) }.into()).map(drop)
}

/// Gives the root of a file system that we mounted its owner and mode.
///
/// # Errors
/// What chown(2) and chmod(2) say.
pub fn own(at: &Path, uid: Option<u32>, gid: Option<u32>, mode: Option<u32>) -> io::Result<()> {
    if uid.is_some() || gid.is_some() {
        std::os::unix::fs::chown(at, uid, gid)?;
    }
    match mode {
        Some(mode) => std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode)),
        None => Ok(()),
    }
}
