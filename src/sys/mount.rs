//! Mounting the kernel's own file systems, and the owner and mode of their root.

use std::{io, os::unix::fs::PermissionsExt, path::Path};

use nix::mount::{MntFlags, MsFlags};

/// Mounts one of the kernel's own file systems: no devices, no programs, no set-user-id files.
///
/// # Errors
/// What mount(2) says: EPERM without CAP_SYS_ADMIN, ENODEV when the kernel lacks the file system.
pub fn mount(kind: &str, at: &Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
    Ok(nix::mount::mount(Some(kind), at, Some(kind), flags, Some(options))?)
}

/// Unmounts what lies on top at `at`.
///
/// # Errors
/// EBUSY while anybody has something open there; EPERM without CAP_SYS_ADMIN.
pub fn unmount(at: &Path) -> io::Result<()> {
    Ok(nix::mount::umount2(at, MntFlags::UMOUNT_NOFOLLOW)?)
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
