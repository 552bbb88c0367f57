//! One run at a time. Whoever holds a [`Locked`] may change the machine; the functions that do so ask for one.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    error::{Cause, Fault},
    sys::process,
};

/// Where bpfboot keeps what lives until the next boot.
pub const RUN_DIR: &str = "/run/bpfboot";

/// How long a run waits for another one: longer than any run may take with the default deadline.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Proof that no other run changes anything now. The kernel lets go of the lock with the last descriptor, so a killed
/// run never blocks the next, and a loader child that outlives its parent still does.
#[derive(Debug)]
pub struct Locked {
    /// `None` where /run cannot be written: the kernel's own atomic steps are then all there is.
    _file: Option<File>,
}

/// Takes the lock, waiting for another run for up to ten seconds. The note says when there can be no lock.
///
/// # Errors
/// [`Cause::Busy`] when another run still holds it; [`Cause::Signal`] when a signal ended the wait.
pub fn lock() -> Result<(Locked, Option<String>), Fault> {
    let file = match open("lock") {
        Ok(file) => file,
        Err(why) => {
            return Ok((
                Locked { _file: None },
                Some(format!("{RUN_DIR} cannot be used ({why}): no lock, no undo journal")),
            ));
        }
    };
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok((Locked { _file: Some(file) }, None)),
            Err(std::fs::TryLockError::WouldBlock) => {}
            Err(std::fs::TryLockError::Error(e)) => {
                return Ok((Locked { _file: None }, Some(format!("{RUN_DIR}/lock cannot be locked: {e}"))));
            }
        }
        if process::stop_requested() {
            return Err(Fault::new(Cause::Signal, "stopped by a signal while waiting for another run"));
        }
        if start.elapsed() >= PATIENCE {
            return Err(Fault::new(
                Cause::Busy,
                format!("another run holds {RUN_DIR}/lock for more than {PATIENCE:?}"),
            )
            .mend(format!("see who: fuser -v {RUN_DIR}/lock")));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Holds a lock of another name for as long as the file lives, without a wait. `None` where there can be no lock.
///
/// # Errors
/// [`Cause::Busy`] when somebody else holds it.
pub fn try_hold(name: &str) -> Result<Option<File>, Fault> {
    let Ok(file) = open(name) else { return Ok(None) };
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(Fault::new(Cause::Busy, format!("another process holds {RUN_DIR}/{name}"))
                .mend(format!("see who: fuser -v {RUN_DIR}/{name}")))
        }
        _ => Ok(Some(file)),
    }
}

fn open(name: &str) -> Result<File, String> {
    match DirBuilder::new().mode(0o755).create(RUN_DIR) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e.to_string()),
        _ => {}
    }
    let meta = Path::new(RUN_DIR).symlink_metadata().map_err(|e| e.to_string())?;
    if !meta.is_dir() || meta.mode() & 0o022 != 0 || !(meta.uid() == 0 || meta.uid() == process::effective_uid()) {
        return Err("it is not a directory that only root can write".into());
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(Path::new(RUN_DIR).join(name))
        .map_err(|e| e.to_string())
}
