//! Which files count, and reading them: once each, and only what root vouches for.
//!
//! The rules are those of sysctl.d(5): a file in /etc stands before one of the same name in /run, and that before one
//! in /usr/lib; a link to /dev/null or an empty file masks that name; what survives is applied in order of file name.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    Table,
    mistake::{Mistake, Mistakes, plain},
};
use crate::{
    error::errno_text,
    trust::{self, Refusal},
};

/// The drop-in directories, the weakest first.
pub const DROP_INS: [&str; 3] = ["/usr/lib/bpfboot.d", "/run/bpfboot.d", "/etc/bpfboot.d"];
/// What stands in where there is no file at all.
const DEFAULT: &str = include_str!("default.toml");
/// Longest file. Parsing takes many times the size in memory, so this is checked before.
const MAX_BYTES: u64 = 1 << 20;
/// The device number of /dev/null: major 1, minor 3 (Documentation/admin-guide/devices.txt).
const DEV_NULL: u64 = (1 << 8) | 3;

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The files of `--config`, in order; `-` is stdin. Empty: the drop-in directories.
    pub files: &'a [PathBuf],
    /// Take files that somebody else than root could have written.
    pub allow_untrusted: bool,
}

/// One source, read.
#[derive(Clone, Debug)]
pub struct Text {
    /// Its name in messages.
    pub label: String,
    /// Its text, without a byte order mark.
    pub text: String,
}

/// What `gather` found.
#[derive(Debug, Default)]
pub struct Found {
    /// The texts, in the order to apply them.
    pub texts: Vec<Text>,
    /// Masked and overridden files.
    pub notes: Vec<String>,
}

/// Reads every source that counts.
pub fn gather(sources: &Sources<'_>, dirs: &[&Path], mistakes: &mut Mistakes) -> Found {
    let owner = (!sources.allow_untrusted).then(own_uid);
    if !sources.files.is_empty() {
        return named_files(sources.files, owner, mistakes);
    }
    let mut found = Found::default();
    let drop_ins = list(dirs, &mut found.notes, mistakes);
    if drop_ins.is_empty() && mistakes.total == 0 {
        found.texts.push(Text { label: "embedded default".to_owned(), text: DEFAULT.to_owned() });
    }
    for (_, paths) in drop_ins {
        take_drop_in(paths, owner, &mut found, mistakes);
    }
    found
}

/// The files of `--config`.
fn named_files(files: &[PathBuf], owner: Option<u32>, mistakes: &mut Mistakes) -> Found {
    let mut found = Found::default();
    let mut stdin_used = false;
    for path in files {
        let stdin = path.as_os_str() == "-";
        let label = if stdin { "stdin".to_owned() } else { label(path) };
        let bytes = if !stdin {
            read_file(path, &label, owner).map(|read| match read {
                Bytes::Null => Err(not_regular(&label, "a device")),
                Bytes::Some(bytes) => Ok(bytes),
            })
        } else if stdin_used {
            Err(Mistake::whole(&label, "can be read only once", "name --config - only once"))
        } else {
            stdin_used = true;
            Ok(read_capped(io::stdin().lock(), &label))
        };
        match bytes.flatten().and_then(|bytes| utf8(&label, bytes)) {
            Ok(text) => found.texts.push(Text { label, text }),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    found
}

/// The drop-ins by file name, each with its paths from the weakest to the strongest directory.
fn list(dirs: &[&Path], notes: &mut Vec<String>, mistakes: &mut Mistakes) -> Table<OsString, Vec<PathBuf>> {
    let mut names: Table<OsString, Vec<PathBuf>> = Table::default();
    for dir in dirs {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                mistakes.push(Mistake::whole(&label(dir), &format!("cannot be listed: {}", says(&error)), ""));
                continue;
            }
        };
        for entry in entries {
            match entry {
                Ok(entry) => sort_in(entry.file_name(), dir, &mut names, notes),
                Err(error) => {
                    mistakes.push(Mistake::whole(&label(dir), &format!("cannot be listed: {}", says(&error)), ""));
                    break;
                }
            }
        }
    }
    names
}

fn sort_in(name: OsString, dir: &Path, names: &mut Table<OsString, Vec<PathBuf>>, notes: &mut Vec<String>) {
    let bytes = name.as_encoded_bytes();
    // Hidden files are an editor's locks and swap files.
    if bytes.starts_with(b".") {
        return;
    }
    let path = dir.join(&name);
    if bytes.ends_with(b".toml") {
        names.change(name, |paths| paths.push(path));
    } else {
        notes.push(format!("{} is not read: its name does not end in .toml", label(&path)));
    }
}

/// Reads the strongest of the files of one name; the weaker ones only get a note.
fn take_drop_in(mut paths: Vec<PathBuf>, owner: Option<u32>, found: &mut Found, mistakes: &mut Mistakes) {
    let Some(path) = paths.pop() else { return };
    let label = label(&path);
    let bytes = match read_file(&path, &label, owner) {
        Ok(Bytes::Null) => Vec::new(),
        Ok(Bytes::Some(bytes)) => bytes,
        Err(mistake) => return mistakes.push(mistake),
    };
    let how = if bytes.is_empty() { "masked" } else { "overridden" };
    found.notes.extend(paths.iter().map(|weaker| format!("{} is {how} by {label}", self::label(weaker))));
    if bytes.is_empty() {
        if paths.is_empty() {
            found.notes.push(format!("{label} is empty, and masks nothing"));
        }
        return;
    }
    match utf8(&label, bytes) {
        Ok(text) => found.texts.push(Text { label, text }),
        Err(mistake) => mistakes.push(mistake),
    }
}

enum Bytes {
    /// /dev/null.
    Null,
    /// A regular file.
    Some(Vec<u8>),
}

/// Opens once, and judges what was opened: a path could change between a look and an open.
fn read_file(path: &Path, label: &str, owner: Option<u32>) -> Result<Bytes, Mistake> {
    let failed =
        |what: &str, error: &io::Error| Mistake::whole(label, &format!("cannot be {what}: {}", says(error)), "");
    let file = trust::open(path, owner.is_none()).map_err(|refusal| match refusal {
        Refusal::Io(error) => failed("opened", &error),
        Refusal::Link(what, mend) => Mistake::whole(label, &plain(&what), &plain(&mend)),
    })?;
    let meta = file.metadata().map_err(|error| failed("looked at", &error))?;
    let kind = meta.file_type();
    if kind.is_char_device() && meta.rdev() == DEV_NULL {
        return Ok(Bytes::Null);
    }
    if !kind.is_file() {
        let what = if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a FIFO"
        } else {
            "a device"
        };
        return Err(not_regular(label, what));
    }
    if let Some(own) = owner {
        trusted(&meta, own, label)?;
    }
    if meta.len() > MAX_BYTES {
        return Err(too_long(label));
    }
    read_capped::<File>(file, label).map(Bytes::Some)
}

fn not_regular(label: &str, what: &str) -> Mistake {
    Mistake::whole(label, &format!("is {what}, not a regular file"), "to read a pipe, use --config -")
}

fn too_long(label: &str) -> Mistake {
    Mistake::whole(label, &format!("is longer than {MAX_BYTES} bytes"), "split it into several files")
}

/// Whoever can write the configuration can load code into the kernel: only root may.
fn trusted(meta: &Metadata, own: u32, label: &str) -> Result<(), Mistake> {
    let (uid, mode) = (meta.uid(), meta.mode());
    if uid != 0 && uid != own {
        let hint = format!("mend it with: chown root {label}; or pass --allow-untrusted");
        return Err(Mistake::whole(label, &format!("belongs to user {uid}, not to root"), &hint));
    }
    if mode & 0o022 != 0 {
        let what = format!("can be written by others than its owner (mode {:04o})", mode & 0o7777);
        return Err(Mistake::whole(
            label,
            &what,
            &format!("mend it with: chmod go-w {label}; or pass --allow-untrusted"),
        ));
    }
    Ok(())
}

/// One byte more than allowed is asked for, so that a file that grows is caught too.
fn read_capped<R: Read>(from: R, label: &str) -> Result<Vec<u8>, Mistake> {
    let mut bytes = Vec::with_capacity(4096);
    if let Err(error) = from.take(MAX_BYTES + 1).read_to_end(&mut bytes) {
        return Err(Mistake::whole(label, &format!("cannot be read: {}", says(&error)), ""));
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_long(label));
    }
    Ok(bytes)
}

fn utf8(label: &str, bytes: Vec<u8>) -> Result<String, Mistake> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let bad = error.as_bytes().get(good).copied().unwrap_or_default();
        let before = error.as_bytes().get(..good).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default();
        Mistake::at(label, before, good, good, &format!("byte 0x{bad:02x} is not UTF-8"), "")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn label(path: &Path) -> String {
    plain(&path.to_string_lossy())
}

fn says(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), errno_text)
}

/// Our effective user id: /proc gives a process's files to it. Without /proc nobody but root is trusted.
fn own_uid() -> u32 {
    fs::metadata("/proc/self").map_or(0, |meta| meta.uid())
}

#[cfg(test)]
mod tests;
