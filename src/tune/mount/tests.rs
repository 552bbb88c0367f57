#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
//! In a mount namespace of the test's own thread; skipped without the right to make one.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::*;

fn wish(fs: FsKind) -> MountWish {
    MountWish {
        fs,
        mode: Some(0o700),
        uid: Some(0),
        gid: Some(7),
        delegate: PathBuf::new(),
        delegation: String::new(),
        optional: false,
        if_available: false,
        origin: String::new(),
    }
}

/// Runs `test` with an empty directory that is private to this thread's mount namespace.
fn privately(test: fn(&Path)) {
    std::thread::spawn(move || {
        if unshare(CloneFlags::CLONE_NEWNS).is_err() {
            return;
        }
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let at = std::env::temp_dir();
        mount(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let at = at.join("bpf");
        fs::create_dir(&at).unwrap();
        test(&at);
    })
    .join()
    .unwrap();
}

#[test]
fn a_bpffs_is_mounted_as_asked_and_unmounted_when_empty() {
    privately(|at| {
        let facts = Facts::gather();
        let wish = wish(FsKind::Bpf);
        let verdict = surveyed(&wish, at, &facts);
        assert!(matches!(verdict, Ok(Verdict::Change { now, .. }) if now == "mounted mode 0700 uid 0 gid 7"));
        mount_at(&wish, at).unwrap();
        let root = fs::metadata(at).unwrap();
        assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o700, 0, 7));
        assert!(matches!(surveyed(&wish, at, &facts), Ok(Verdict::Already { is }) if is == "mounted"));
        assert_eq!(bpffs_visible_to_init(at), Some(false));
        // Where we may look, what there is to see.
        assert_eq!(facts.initial_mntns, fs::metadata("/proc/1/ns/mnt").ok().map(|_| false));

        fs::create_dir(at.join("pin")).unwrap();
        let fault = undo_unmount(FsKind::Bpf, at.to_str().unwrap()).unwrap_err();
        assert_eq!(fault.cause, Cause::Busy);
        fs::remove_dir(at.join("pin")).unwrap();
        let held = fs::File::open(at).unwrap();
        let fault = undo_unmount(FsKind::Bpf, at.to_str().unwrap()).unwrap_err();
        assert_eq!((fault.cause, fault.errno), (Cause::Busy, Some(libc::EBUSY)));
        drop(held);
        undo_unmount(FsKind::Bpf, at.to_str().unwrap()).unwrap();
        assert_eq!(is_mounted(FsKind::Bpf, at), Ok(false));
        undo_unmount(FsKind::Bpf, at.to_str().unwrap()).unwrap();
    });
}

#[test]
fn a_foreign_mode_is_told_and_left() {
    privately(|at| {
        let facts = Facts::gather();
        let wish = wish(FsKind::Bpf);
        mount_at(&wish, at).unwrap();
        fs::set_permissions(at, fs::Permissions::from_mode(0o1777)).unwrap();
        let Ok(Verdict::Already { is }) = surveyed(&wish, at, &facts) else { panic!() };
        assert!(is.contains("mode 0777") && is.contains("not our mount"), "{is}");
        let remount = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(None::<&str>, at, None::<&str>, remount, None::<&str>).unwrap();
        assert_eq!(surveyed(&wish, at, &facts).unwrap_err().errno, Some(libc::EROFS));
    });
}

#[test]
fn what_is_missing_is_named() {
    privately(|at| {
        let facts = Facts::gather();
        let fault = surveyed(&wish(FsKind::Bpf), &at.join("none"), &facts).unwrap_err();
        assert!(tune::is_absence(&fault), "{fault:?}");
        let mut weak = facts.clone();
        weak.capabilities = 0;
        assert_eq!(surveyed(&wish(FsKind::Bpf), at, &weak).unwrap_err().cause, Cause::Privilege);
        assert_eq!(in_kernel(FsKind::Bpf), Some(true));
    });
}
