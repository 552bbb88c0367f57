//! bpffs, tracefs and debugfs: judged by what is mounted, never by the path's name; mounted where absent.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use crate::{
    config::{FsKind, MountWish},
    error::{Cause, Fault},
    facts::{CAP_SYS_ADMIN, Facts},
    reason::Call,
    step::Verdict,
    sys::{
        file::{self, BPF_MAGIC, DEBUGFS_MAGIC, SYSFS_MAGIC, TRACEFS_MAGIC, errno},
        mount as sys_mount,
    },
    tune,
};

/// What a survey finds where nothing is mounted.
pub const ABSENT: &str = "not mounted";
const MOUNTED: &str = "mounted";

const fn magic(fs: FsKind) -> u64 {
    match fs {
        FsKind::Bpf => BPF_MAGIC,
        FsKind::Trace => TRACEFS_MAGIC,
        FsKind::Debug => DEBUGFS_MAGIC,
    }
}

/// Whether the kernel has the file system; `None` when /proc cannot tell.
pub fn in_kernel(fs: FsKind) -> Option<bool> {
    let known = file::text("/proc/filesystems").ok()?;
    Some(known.lines().any(|line| line.split_whitespace().next_back() == Some(fs.name())))
}

/// Whether the file system is mounted at this place.
///
/// # Errors
/// It cannot be told.
pub fn is_mounted(fs: FsKind, at: &Path) -> Result<bool, Fault> {
    match file::fs_magic(at) {
        Ok(found) => Ok(found == magic(fs)),
        Err(_) if matches!(file::exists(at), Ok(false)) => Ok(false),
        Err(error) => Err(Fault::io(Cause::Mount, format!("look at {}", at.display()), &error)),
    }
}

/// Looks at the place and says what the wish would take. Mounts nothing.
pub fn survey(wish: &MountWish, facts: &Facts) -> Verdict {
    surveyed(wish, Path::new(wish.fs.usual_place()), facts).unwrap_or_else(Verdict::Blocked)
}

fn surveyed(wish: &MountWish, at: &Path, facts: &Facts) -> Result<Verdict, Fault> {
    let name = wish.fs.name();
    if is_mounted(wish.fs, at)? {
        if wish.fs == FsKind::Bpf && file::is_read_only(at).unwrap_or(false) {
            return Err(Fault::os(
                Cause::Mount,
                format!("{name} on {} is mounted read-only", at.display()),
                libc::EROFS,
            )
            .mend("systemd: ReadWritePaths=/sys/fs/bpf, or ProtectKernelTunables=no; container: mount it without ro"));
        }
        if !wish.delegation.is_empty() && !delegates() {
            return Err(Fault::new(Cause::Mount, format!("the {name} on {} delegates nothing", at.display()))
                .mend(format!("umount {}, or: nsenter --mount=/proc/PID/ns/mnt bpfboot apply", at.display())));
        }
        return Ok(Verdict::Already { is: state(wish, at) });
    }
    if !wish.delegation.is_empty() && facts.older_than(6, 9) {
        return Err(Fault::new(Cause::Kernel, format!("Linux {} cannot delegate: 6.9 can", facts.release)));
    }
    if in_kernel(wish.fs) == Some(false) {
        return Err(Fault::os(Cause::Kernel, format!("this kernel has no {name}"), libc::ENODEV));
    }
    check_place(at)?;
    tune::needs(facts, &format!("mount {name}"), CAP_SYS_ADMIN)?;
    Ok(Verdict::Change { was: Some(ABSENT.into()), now: format!("{MOUNTED}{}", asked(wish)) })
}

/// Whether the bpffs in its usual place delegates anything.
fn delegates() -> bool {
    let mounts = file::text("/proc/thread-self/mountinfo").unwrap_or_default();
    let last = mounts.lines().rfind(|line| line.contains(" /sys/fs/bpf "));
    last.is_none_or(|line| line.contains("delegate_"))
}

/// A directory in sysfs cannot be made: the kernel makes it together with the file system.
fn check_place(at: &Path) -> Result<(), Fault> {
    let shown = at.display();
    if at.is_dir() {
        return Ok(());
    }
    if matches!(file::fs_magic(Path::new("/sys")), Ok(SYSFS_MAGIC)) {
        return Err(Fault::os(
            Cause::Kernel,
            format!("{shown} is not there and cannot be made in sysfs"),
            libc::ENOENT,
        ));
    }
    Err(Fault::os(Cause::Mount, format!("{shown} is not there, and /sys is not sysfs"), libc::ENOENT)
        .mend("mount -t sysfs sysfs /sys"))
}

/// What is mounted, and that a mode other than asked for is left alone: others may rely on it.
fn state(wish: &MountWish, at: &Path) -> String {
    let Ok(root) = fs::metadata(at) else {
        return MOUNTED.into();
    };
    // The kernel adds the sticky bit to the root of every bpffs (bpf_fill_super() in kernel/bpf/inode.c).
    let mode = root.mode() & 0o6777;
    let as_asked = wish.mode.is_none_or(|asked| asked == mode)
        && wish.uid.is_none_or(|asked| asked == root.uid())
        && wish.gid.is_none_or(|asked| asked == root.gid());
    if as_asked {
        return MOUNTED.into();
    }
    format!(
        "mounted, mode {mode:04o}, owner {}:{}; not changed to{}, since it is not our mount",
        root.uid(),
        root.gid(),
        asked(wish)
    )
}

/// What the root of a mount of ours is like, where that is not as asked for.
pub fn changed(wish: &MountWish) -> Option<Verdict> {
    let at = Path::new(wish.fs.usual_place());
    let was = state(wish, at);
    (wish.fs == FsKind::Bpf && is_mounted(wish.fs, at) == Ok(true) && was != MOUNTED).then(|| Verdict::Change {
        was: was.split("; ").next().map(str::to_owned),
        now: format!("{MOUNTED}{}", asked(wish)),
    })
}

fn asked(wish: &MountWish) -> String {
    let mut text = String::new();
    if let Some(mode) = wish.mode {
        text.push_str(&format!(" mode {mode:04o}"));
    }
    for (name, id) in [("uid", wish.uid), ("gid", wish.gid)] {
        if let Some(id) = id {
            text.push_str(&format!(" {name} {id}"));
        }
    }
    if !wish.delegation.is_empty() {
        text.push_str(&format!(" for {} with {}", wish.delegate.display(), wish.delegation));
    }
    text
}

/// Mounts the file system and makes its root as wished. What is mounted already stays as it is, unless it is `ours`.
///
/// # Errors
/// What mount(2) says; or the root could not be made as wished, and then it is unmounted again.
pub fn apply(wish: &MountWish, ours: bool) -> Result<(String, String), Fault> {
    let at = Path::new(wish.fs.usual_place());
    if ours && is_mounted(wish.fs, at)? {
        finish(wish, at)?;
    }
    mount_at(wish, at)
}

fn mount_at(wish: &MountWish, at: &Path) -> Result<(String, String), Fault> {
    if is_mounted(wish.fs, at)? {
        return Ok((state(wish, at), String::new()));
    }
    let shown = at.display();
    // Set at once, so that there is no moment in which others may enter; bpffs ignores options it does not know.
    let options = wish.mode.map(|mode| format!("mode={mode:04o}")).unwrap_or_default();
    let mounted = match wish.delegation.is_empty() {
        true => sys_mount::mount(wish.fs.name(), at, &options),
        false => sys_mount::mount_for(&wish.delegate, at, &format!("{},{options}", wish.delegation)),
    };
    mounted.map_err(|error| match errno(&error) {
        // The capability is there, or the survey would have said so: a seccomp filter, a user namespace or an LSM.
        libc::EPERM if wish.delegation.is_empty() => Fault::io(Cause::Privilege, format!("mount on {shown}"), &error)
            .refused(Call::Mount)
            .mend("let somebody mount it before: systemctl start sys-kernel-tracing.mount, sys-kernel-debug.mount"),
        libc::ENODEV => Fault::io(Cause::Kernel, format!("this kernel has no {}", wish.fs.name()), &error),
        _ => Fault::io(Cause::Mount, format!("mount on {shown}{}", asked(wish)), &error),
    })?;
    if let Err(fault) = finish(wish, at) {
        return Err(match sys_mount::unmount(at) {
            Ok(()) => fault,
            Err(error) => fault.detail(format!("and it stays mounted: {error}")),
        });
    }
    Ok((format!("mounted{}", asked(wish)), String::new()))
}

fn finish(wish: &MountWish, at: &Path) -> Result<(), Fault> {
    if wish.fs == FsKind::Bpf {
        sys_mount::own(at, wish.uid, wish.gid, wish.mode)
            .map_err(|e| Fault::io(Cause::Mount, format!("set{} on {}", asked(wish), at.display()), &e))?;
    }
    if is_mounted(wish.fs, at)? {
        return Ok(());
    }
    Err(Fault::new(Cause::Mount, format!("mounted {}, and something else is on {}", wish.fs.name(), at.display())))
}

/// Unmounts what this run mounted. A bpffs that holds pins stays: unmounting would drop programs that others need.
///
/// # Errors
/// Somebody pinned something there, or has something open.
pub fn undo_unmount(fs: FsKind, at: &str) -> Result<(), Fault> {
    let place = Path::new(at);
    if !is_mounted(fs, place)? {
        return Ok(());
    }
    let busy = |what: String| Fault::new(Cause::Busy, what).mend(format!("umount {at}"));
    if fs == FsKind::Bpf && holds_pins(place) {
        return Err(busy(format!("{at} holds pins and stays mounted")));
    }
    sys_mount::unmount(place).map_err(|error| {
        let cause = if errno(&error) == libc::EBUSY { Cause::Busy } else { Cause::Mount };
        Fault::io(cause, format!("unmount {at}"), &error).mend(format!("umount {at}"))
    })
}

/// With CONFIG_BPF_PRELOAD every new bpffs holds the kernel's own maps.debug and progs.debug (populate_bpffs() in
/// kernel/bpf/inode.c). No user can make a name with a dot there (bpf_lookup()).
fn holds_pins(place: &Path) -> bool {
    file::list(place).map_or(true, |names| names.iter().any(|(name, _)| !name.contains('.')))
}

/// Whether PID 1 sees the bpffs that holds this path. If not, pins made here are gone with our mount namespace. `None`
/// when there is no bpffs here yet, or /proc does not tell.
///
/// Its mountinfo is open to everybody (proc_mounts_open() in fs/proc_namespace.c), unlike /proc/1/root, which asks for
/// the right to trace PID 1.
pub fn bpffs_visible_to_init(at: &Path) -> Option<bool> {
    if is_mounted(FsKind::Bpf, at) != Ok(true) {
        return None;
    }
    let device = fs::metadata(at).ok()?.dev();
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    let mounts = file::text("/proc/1/mountinfo").ok()?;
    Some(mounts.lines().any(|line| line.split(' ').nth(2) == Some(&device)))
}

#[cfg(test)]
mod tests;
