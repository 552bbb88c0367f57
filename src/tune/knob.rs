//! Files under debugfs and tracefs. Neither is mounted from here; what is missing, or locked down, is told apart.

use std::{io, path::Path};

use crate::{
    config::{FsKind, KnobPath},
    error::{Cause, Fault},
    facts::{Facts, Lockdown},
    reason::Reason,
    step::Verdict,
    sys::file::{DEBUGFS_MAGIC, Dir, TRACEFS_MAGIC, errno},
    tune::{mount, sysctl::same},
};

/// Looks at the file and says what reaching the value would take. Writes nothing.
///
/// Where the plan mounts the file system first, look again after that.
pub fn survey(path: &KnobPath, value: &str, facts: &Facts) -> Verdict {
    surveyed(path, value, facts).unwrap_or_else(Verdict::Blocked)
}

fn surveyed(path: &KnobPath, value: &str, facts: &Facts) -> Result<Verdict, Fault> {
    let dir = open(path.fs).map_err(|absent| match is_closed(path.fs, facts) {
        true => closed(path, "open", libc::EPERM),
        false => absent,
    })?;
    let was = match dir.read(&path.below) {
        Ok(Some(text)) if equal(&text, value) => return Ok(Verdict::Already { is: effective(&text) }),
        Ok(text) => text.as_deref().map(effective),
        // A button: root may open it for reading and then gets EINVAL, or EACCES (simple_attr_read()).
        Err(_) if dir.mode(&path.below).is_ok_and(|mode| mode & 0o444 == 0) && facts.lockdown == Lockdown::None => None,
        Err(error) => return Err(refused(path, "read", &error, facts)),
    };
    if path.fs == FsKind::Debug && is_closed(path.fs, facts) {
        return Err(closed(path, "write", libc::EPERM));
    }
    // Nothing that can be opened here is changed by opening: without O_TRUNC even tracefs filters stay.
    dir.try_open_for_writing(&path.below).map_err(|e| refused(path, "open for writing", &e, facts))?;
    Ok(Verdict::Change { was, now: value.to_owned() })
}

/// Writes the value and reads it back.
///
/// # Errors
/// The write failed, or the kernel kept another value; the old one is put back then.
pub fn apply(path: &KnobPath, value: &str, facts: &Facts) -> Result<(String, String), Fault> {
    let dir = open(path.fs)?;
    let before = dir.read(&path.below).ok().flatten();
    write(&dir, path, value, facts)?;
    match dir.read(&path.below) {
        Ok(Some(text)) if equal(&text, value) => Ok((effective(&text), String::new())),
        Ok(Some(text)) => {
            let fault = Fault::new(Cause::Knob, format!("asked \"{value}\", the kernel kept \"{}\"", effective(&text)));
            let right = before.map(|was| write(&dir, path, &effective(&was), facts));
            Err(match right {
                Some(Err(error)) => fault.detail(format!("and it is no longer as before: {error}")),
                _ => fault,
            })
        }
        Ok(None) | Err(_) => Ok((value.to_owned(), "cannot be read back".into())),
    }
}

fn write(dir: &Dir, path: &KnobPath, value: &str, facts: &Facts) -> Result<(), Fault> {
    dir.write(&path.below, value).map_err(|e| refused(path, &format!("write \"{value}\""), &e, facts))
}

/// Puts a value back. Writes nothing where it is there already.
///
/// # Errors
/// As [`apply`].
pub fn restore(path: &KnobPath, was: &str, facts: &Facts) -> Result<(), Fault> {
    if current(path, facts)?.is_some_and(|is| equal(&is, was)) {
        return Ok(());
    }
    apply(path, was, facts).map(drop)
}

/// The value there now; `None` when it is no text.
///
/// # Errors
/// Why it cannot be read; see [`super::is_absence`].
pub fn current(path: &KnobPath, facts: &Facts) -> Result<Option<String>, Fault> {
    let text = open(path.fs)?.read(&path.below).map_err(|e| refused(path, "read", &e, facts))?;
    Ok(text.as_deref().map(effective))
}

fn open(fs: FsKind) -> Result<Dir, Fault> {
    // Before 4.1 tracefs had no place of its own, and debugfs still mounts it below itself.
    let (places, magic): (&[&str], u64) = match fs {
        FsKind::Trace => (&["/sys/kernel/tracing", "/sys/kernel/debug/tracing"], TRACEFS_MAGIC),
        FsKind::Debug => (&["/sys/kernel/debug"], DEBUGFS_MAGIC),
        FsKind::Bpf => return Err(Fault::new(Cause::Knob, "bpffs has no knobs")),
    };
    places.iter().find_map(|at| Dir::open(Path::new(at), magic).ok()).ok_or_else(|| not_mounted(fs))
}

fn not_mounted(fs: FsKind) -> Fault {
    let name = fs.name();
    if mount::in_kernel(fs) == Some(false) {
        return Fault::os(Cause::Kernel, format!("this kernel has no {name}"), libc::ENODEV);
    }
    let what = format!("{name} is not mounted on {}", fs.usual_place());
    Fault::os(Cause::Mount, what, libc::ENOENT).mend(format!("[mounts] {name} = true"))
}

fn refused(path: &KnobPath, deed: &str, error: &io::Error, facts: &Facts) -> Fault {
    match (errno(error), path.fs) {
        // A missing permission is EACCES: EPERM comes from debugfs_locked_down() in fs/debugfs/file.c, where securityfs
        // is not mounted the only trace of a lockdown.
        (libc::EPERM, FsKind::Debug) => closed(path, deed, libc::EPERM),
        // tracefs_create_file() makes no files then.
        (libc::ENOENT | libc::EPERM, FsKind::Trace) if is_closed(path.fs, facts) => closed(path, deed, errno(error)),
        (libc::ENOENT, _) => {
            Fault::os(Cause::Kernel, "this kernel, or its configuration, has no such file", libc::ENOENT)
        }
        (libc::EACCES | libc::EPERM, _) => Fault::io(Cause::Privilege, deed, error).mend("run as root"),
        _ => Fault::io(Cause::Knob, deed, error),
    }
}

/// Whether a lockdown keeps every knob of the file system from us, mounted or not.
pub fn is_closed(fs: FsKind, facts: &Facts) -> bool {
    match fs {
        FsKind::Debug => facts.lockdown != Lockdown::None,
        FsKind::Trace => facts.lockdown == Lockdown::Confidentiality,
        FsKind::Bpf => false,
    }
}

/// That such a knob is out of reach.
pub fn closed(path: &KnobPath, deed: &str, errno: i32) -> Fault {
    let name = path.fs.name();
    let what = format!("{deed}: the kernel is locked down, which closes {name} even to root");
    Fault::os(Cause::Kernel, what, errno).by(Reason::Lockdown).mend(format!("add if-available = true to \"{path}\""))
}

/// The value that counts: the one in brackets where a file lists its choices, as trace_clock does.
fn effective(text: &str) -> String {
    let chosen = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    chosen.unwrap_or(text.trim_end()).to_owned()
}

/// Whether a file's text is the value; switches read `1` or `Y` whatever was written.
pub fn equal(text: &str, value: &str) -> bool {
    let is = effective(text);
    same(&is, value) || (switch(&is).is_some() && switch(&is) == switch(value))
}

fn switch(text: &str) -> Option<bool> {
    match text.trim() {
        "1" | "y" | "Y" => Some(true),
        "0" | "n" | "N" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::tune::is_absence;

    #[test]
    fn switches_and_choices_are_compared_by_meaning() {
        assert!(equal("1\n", "Y") && equal("N\n", "0") && equal("y", "1") && equal("nop\n", "nop"));
        assert!(!equal("1\n", "0") && !equal("Y", "N") && !equal("2", "Y"));
        assert!(equal("[local] global counter\n", "local") && !equal("[local] global\n", "global"));
        assert_eq!(effective("local [mono]\n"), "mono");
    }

    /// In a trace instance of its own, seen from a mount namespace of this thread's own.
    #[test]
    fn a_knob_is_turned_and_turned_back() {
        use nix::{
            mount::{MsFlags, mount},
            sched::{CloneFlags, unshare},
        };
        let thread = std::thread::spawn(|| {
            let at = FsKind::Trace.usual_place();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            if unshare(CloneFlags::CLONE_NEWNS).is_err()
                || mount(None::<&str>, "/", None::<&str>, private, None::<&str>).is_err()
                || mount(Some("tracefs"), at, Some("tracefs"), MsFlags::empty(), None::<&str>).is_err()
            {
                return;
            }
            let name = format!("instances/bpfboot-{}", std::process::id());
            let instance = Path::new(at).join(&name);
            if std::fs::create_dir(&instance).is_err() {
                return;
            }
            let turned = turn(&format!("tracefs/{name}/trace_clock").parse().unwrap());
            std::fs::remove_dir(&instance).unwrap();
            assert_eq!(turned, ["mono", "local", "Invalid argument (EINVAL)"]);
        });
        thread.join().unwrap();
    }

    fn turn(path: &KnobPath) -> Vec<String> {
        let facts = Facts::gather();
        let Verdict::Change { was: Some(was), now } = survey(path, "mono", &facts) else { panic!() };
        let after = apply(path, &now, &facts).unwrap().0;
        assert!(matches!(survey(path, "mono", &facts), Verdict::Already { .. }));
        restore(path, &was, &facts).unwrap();
        let fault = apply(path, "sundial", &facts).unwrap_err();
        let back = current(path, &facts).unwrap().unwrap();
        vec![after, back, crate::error::errno_text(fault.errno.unwrap())]
    }

    #[test]
    fn absence_and_lockdown_are_seen_before_any_write() {
        let facts = Facts::gather();
        let path: KnobPath = "debugfs/no/such/file".parse().unwrap();
        match survey(&path, "1", &facts) {
            Verdict::Blocked(fault) => assert!(is_absence(&fault), "{fault:?}"),
            other => panic!("{other:?}"),
        }
        assert!(is_absence(&closed(&path, "write", libc::EPERM)));
    }
}
