//! What to put back, kept in /run so that no kill can lose it.
//!
//! `journal` belongs to the run in flight: it is written before the run's first write to the kernel, and names every
//! old value. `undo` is what successful runs left to take back: the values from before the first of them. A run that
//! finds a `journal` knows that the one before it was killed, and takes its entries for its own.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{
    config::{FsKind, KnobPath, SysctlKey},
    fields::{join, split},
    lock::{Locked, RUN_DIR},
    step::Undo,
};

/// A journal of 10,000 sysctls has about 1 MB.
const MOST_BYTES: u64 = 16 << 20;

/// The two files.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// The journal of this machine. The lock keeps it from changing under us.
    pub fn new(_: &Locked) -> Self {
        Self { dir: PathBuf::from(RUN_DIR) }
    }

    /// The journal, for looking only.
    pub fn read_only() -> Self {
        Self { dir: PathBuf::from(RUN_DIR) }
    }

    fn in_flight(&self) -> PathBuf {
        self.dir.join("journal")
    }

    fn kept(&self) -> PathBuf {
        self.dir.join("undo")
    }

    /// What a killed run may have changed; empty when none was killed.
    pub fn left_over(&self) -> Vec<Undo> {
        read(&self.in_flight())
    }

    /// What successful runs changed and `undo` would take back, oldest first.
    pub fn taken(&self) -> Vec<Undo> {
        read(&self.kept())
    }

    /// Notes what this run may change. After this, and not before, it may write to the kernel.
    ///
    /// # Errors
    /// What the file system says, when /run cannot be written.
    pub fn begin(&self, planned: &[Undo]) -> io::Result<()> {
        write(&self.in_flight(), planned)
    }

    /// The run succeeded: what it changed can be taken back by `undo` from now on.
    ///
    /// # Errors
    /// As [`Journal::begin`].
    pub fn keep(&self, done: &[Undo]) -> io::Result<()> {
        let before = self.taken();
        let after = merge(before.clone(), done);
        if before != after {
            write(&self.kept(), &after)?;
        }
        self.end()
    }

    /// The run changed nothing, or was undone.
    ///
    /// # Errors
    /// As [`Journal::begin`].
    pub fn end(&self) -> io::Result<()> {
        remove(&self.in_flight())
    }

    /// Nothing is left to take back but `left`.
    ///
    /// # Errors
    /// As [`Journal::begin`].
    pub fn forget(&self, left: &[Undo]) -> io::Result<()> {
        self.end()?;
        if left.is_empty() { remove(&self.kept()) } else { write(&self.kept(), left) }
    }
}

/// Adds what a run did. A value that was changed by somebody else between two of our runs is theirs, and the one that
/// undo goes back to; a key that is back at its old value has nothing left to undo.
fn merge(mut taken: Vec<Undo>, done: &[Undo]) -> Vec<Undo> {
    for new in done {
        match taken.iter_mut().find(|old| same_place(old, new)) {
            None => taken.push(new.clone()),
            Some(old) => match (old, new) {
                (Undo::Sysctl { was, wrote, .. }, Undo::Sysctl { was: found, wrote: now, .. })
                | (Undo::Knob { was, wrote, .. }, Undo::Knob { was: found, wrote: now, .. }) => {
                    if words(wrote) != words(found) {
                        was.clone_from(found);
                    }
                    wrote.clone_from(now);
                }
                _ => {}
            },
        }
    }
    taken.retain(|undo| match undo {
        Undo::Sysctl { was, wrote, .. } | Undo::Knob { was, wrote, .. } => words(was) != words(wrote),
        Undo::Pins { .. } | Undo::Unmount { .. } => true,
    });
    taken
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn same_place(one: &Undo, other: &Undo) -> bool {
    match (one, other) {
        (Undo::Sysctl { key: a, .. }, Undo::Sysctl { key: b, .. }) => a == b,
        (Undo::Knob { path: a, .. }, Undo::Knob { path: b, .. }) => a == b,
        (a, b) => a == b,
    }
}

fn read(path: &Path) -> Vec<Undo> {
    let mut text = String::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    if let Ok(file) = file {
        let _ = file.take(MOST_BYTES).read_to_string(&mut text);
    }
    text.lines().filter_map(parse).collect()
}

pub(crate) fn parse(line: &str) -> Option<Undo> {
    let mut fields = split(line)?.into_iter();
    let mut next = || fields.next();
    Some(match next()?.as_str() {
        "sysctl" => Undo::Sysctl { key: next()?.parse::<SysctlKey>().ok()?, was: next()?, wrote: next()? },
        "knob" => Undo::Knob { path: next()?.parse::<KnobPath>().ok()?, was: next()?, wrote: next()? },
        "pins" => Undo::Pins { root: next()? },
        "unmount" => {
            let kind = next()?;
            let fs = [FsKind::Bpf, FsKind::Trace, FsKind::Debug].into_iter().find(|fs| fs.name() == kind)?;
            Undo::Unmount { fs, at: next()? }
        }
        _ => return None,
    })
}

pub(crate) fn line(undo: &Undo) -> String {
    match undo {
        // The path form: unlike the dotted one it reads the same whatever the key holds.
        Undo::Sysctl { key, was, wrote } => join(&["sysctl", key.path(), was, wrote]),
        Undo::Knob { path, was, wrote } => join(&["knob", &path.to_string(), was, wrote]),
        Undo::Pins { root } => join(&["pins", root]),
        Undo::Unmount { fs, at } => join(&["unmount", fs.name(), at]),
    }
}

fn write(path: &Path, entries: &[Undo]) -> io::Result<()> {
    let temp = path.with_extension("new");
    remove(&temp)?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&temp)?;
    file.write_all(entries.iter().map(line).collect::<String>().as_bytes())?;
    fs::rename(&temp, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn sysctl(was: &str, wrote: &str) -> Undo {
        Undo::Sysctl { key: "net/ipv4/conf/eth0.1/x".parse().unwrap(), was: was.into(), wrote: wrote.into() }
    }

    #[test]
    fn every_entry_comes_back() {
        for undo in [
            sysctl("4096\t131072\t6", "4096 131072 7"),
            Undo::Knob { path: "debugfs/kprobes/enabled".parse().unwrap(), was: "0\n".into(), wrote: "1".into() },
            Undo::Pins { root: "/sys/fs/bpf/x".into() },
            Undo::Unmount { fs: FsKind::Trace, at: "/sys/kernel/tracing".into() },
        ] {
            assert_eq!(parse(line(&undo).trim_end_matches('\n')), Some(undo));
        }
    }

    #[test]
    fn undo_goes_back_to_before_the_first_run() {
        assert_eq!(merge(vec![sysctl("0", "1")], &[sysctl("1", "2")]), [sysctl("0", "2")]);
        assert_eq!(merge(vec![sysctl("0", "1")], &[sysctl("5", "2")]), [sysctl("5", "2")]);
        assert_eq!(merge(vec![sysctl("0", "1")], &[sysctl("1", "0")]), []);
        assert_eq!(merge(vec![], &[sysctl("0", "1")]), [sysctl("0", "1")]);
    }
}
