//! What to put back, kept in /run so that no kill can lose it.
//!
//! One file, replaced whole by rename(2): first what successful runs left to take back, the values from before the first
//! of them; then, while a run is in flight, the line `begun` and what that run may have changed. A run that finds `begun`
//! knows that the one before it was killed, and takes its entries for its own. Two files could disagree.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{
    config::{FsKind, KnobPath, SysctlKey},
    error::{Cause, Fault},
    fields::{join, split},
    lock::{Locked, RUN_DIR},
    step::Undo,
    sys,
};

/// A journal of 10,000 sysctls has about 1 MB.
const MOST_BYTES: u64 = 16 << 20;

/// Parts what is kept from what is in flight.
const BEGUN: &str = "begun";

/// The journal as it was when the run began.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    path: PathBuf,
    kept: Vec<Undo>,
    in_flight: Option<Vec<Undo>>,
    /// Lines that nobody of ours wrote.
    damaged: usize,
}

impl Journal {
    /// The journal of this machine. The lock keeps it from changing under us.
    ///
    /// # Errors
    /// It is there and cannot be read: to go on would forget what is to be taken back.
    pub fn new(_: &Locked) -> Result<Self, Fault> {
        let journal = Self::read_only()?;
        // A killed run may have been writing.
        let _ = fs::remove_file(journal.temp());
        Ok(journal)
    }

    /// The journal, for looking only.
    ///
    /// # Errors
    /// As [`Journal::new`].
    pub fn read_only() -> Result<Self, Fault> {
        let path = Path::new(RUN_DIR).join("undo");
        let text = read(&path).map_err(|error| {
            Fault::io(Cause::Busy, format!("read {}, which says what to take back", path.display()), &error).mend(
                format!("look at it: ls -l {RUN_DIR}; without it undo forgets what was before: rm {}", path.display()),
            )
        })?;
        Ok(Self { path, ..Self::parse(&text) })
    }

    /// Reads the text of a journal.
    pub fn parse(text: &str) -> Self {
        let mut journal = Self::default();
        for line in text.lines() {
            match (parse(line), &mut journal.in_flight) {
                (None, in_flight @ None) if line == BEGUN => *in_flight = Some(Vec::new()),
                (None, _) => journal.damaged += 1,
                (Some(undo), None) => journal.kept.push(undo),
                (Some(undo), Some(in_flight)) => in_flight.push(undo),
            }
        }
        journal
    }

    /// What a killed run may have changed; empty when none was killed.
    pub fn left_over(&self) -> &[Undo] {
        self.in_flight.as_deref().unwrap_or_default()
    }

    /// What `undo` would take back, oldest first, when `left` of a killed run is counted as done.
    pub fn taken(&self, left: &[Undo]) -> Vec<Undo> {
        merge(self.kept.clone(), left)
    }

    /// A sentence where it is not what we wrote.
    pub fn note(&self) -> Option<String> {
        let lines = self.damaged;
        (lines > 0).then(|| format!("{lines} lines of {} make no sense and were passed over", self.path.display()))
    }

    /// Notes what this run may change. After this, and not before, it may write to the kernel.
    ///
    /// # Errors
    /// What the file system says, when /run cannot be written.
    pub fn begin(&mut self, planned: &[Undo]) -> io::Result<()> {
        self.write(&self.kept, Some(planned))?;
        self.in_flight = Some(planned.to_vec());
        Ok(())
    }

    /// The run succeeded: what it changed can be taken back by `undo` from now on.
    ///
    /// # Errors
    /// As [`Journal::begin`].
    pub fn keep(&mut self, done: &[Undo]) -> io::Result<()> {
        let taken = self.taken(done);
        if self.in_flight.is_none() && taken == self.kept {
            return Ok(());
        }
        self.write(&taken, None)
    }

    /// The run changed nothing, or was undone.
    ///
    /// # Errors
    /// As [`Journal::begin`].
    pub fn end(&self) -> io::Result<()> {
        if self.in_flight.is_some() { self.write(&self.kept, None) } else { Ok(()) }
    }

    /// Nothing is left to take back but `left`.
    ///
    /// # Errors
    /// As [`Journal::begin`].
    pub fn forget(&self, left: &[Undo]) -> io::Result<()> {
        self.write(left, None)
    }

    fn temp(&self) -> PathBuf {
        self.path.with_extension("new")
    }

    fn write(&self, kept: &[Undo], in_flight: Option<&[Undo]>) -> io::Result<()> {
        let mut text: String = kept.iter().map(line).collect();
        if let Some(in_flight) = in_flight {
            text += &join(&[BEGUN]);
            text.extend(in_flight.iter().map(line));
        }
        if text.is_empty() {
            return remove(&self.path);
        }
        let temp = self.temp();
        let written = replace(&temp, &text).and_then(|()| fs::rename(&temp, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(temp);
        }
        written
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

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => drop(file.take(MOST_BYTES).read_to_end(&mut bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !sys::file::exists(path)? => {}
        Err(error) => return Err(error),
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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

fn replace(temp: &Path, text: &str) -> io::Result<()> {
    let mut new = OpenOptions::new();
    new.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(temp)?.write_all(text.as_bytes())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !sys::file::exists(path)? => Ok(()),
        removed => removed,
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
    fn what_is_in_flight_is_told_from_what_is_kept() {
        let (kept, begun) = (sysctl("0", "1"), Undo::Pins { root: "/sys/fs/bpf/x".into() });
        let journal = Journal::parse(&format!("{}nonsense\n{BEGUN}\n{}{BEGUN}\n", line(&kept), line(&begun)));
        assert_eq!((journal.kept.as_slice(), journal.left_over()), ([kept].as_slice(), [begun].as_slice()));
        assert_eq!(journal.damaged, 2);
        assert!(Journal::parse("").in_flight.is_none());
    }

    #[test]
    fn what_a_killed_run_had_put_back_is_not_put_back_again() {
        let journal = Journal { kept: vec![sysctl("0", "1")], ..Journal::default() };
        assert_eq!(journal.taken(&[sysctl("1", "0")]), []);
    }

    #[test]
    fn undo_goes_back_to_before_the_first_run() {
        assert_eq!(merge(vec![sysctl("0", "1")], &[sysctl("1", "2")]), [sysctl("0", "2")]);
        assert_eq!(merge(vec![sysctl("0", "1")], &[sysctl("5", "2")]), [sysctl("5", "2")]);
        assert_eq!(merge(vec![sysctl("0", "1")], &[sysctl("1", "0")]), []);
        assert_eq!(merge(vec![], &[sysctl("0", "1")]), [sysctl("0", "1")]);
    }
}
