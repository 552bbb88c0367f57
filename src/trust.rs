//! Opening a file that decides what goes into the kernel: only through links that root vouches for.
//!
//! A path without links is opened as it is, by one openat2(2). Otherwise it is walked, one name at a time: whoever can
//! write a directory can put a link there, and so choose which of root's files is read.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use crate::sys::{
    file::PROC_MAGIC,
    process,
    walk::{self, Place},
};

/// Links followed in one path (MAXSYMLINKS of include/linux/namei.h).
const MOST_LINKS: usize = 40;

/// Why a file was not opened.
#[derive(Debug)]
pub enum Refusal {
    /// The kernel says so.
    Io(io::Error),
    /// A link that nobody vouches for: what is wrong with it, and what mends it.
    Link(String, String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Opens a file for reading, without waiting for a writer of a FIFO and without taking a terminal.
///
/// # Errors
/// What open(2) says; a link below a directory that others can write, or one of procfs, whose links stand for anything.
pub fn open(path: &Path, allow_untrusted: bool) -> Result<File, Refusal> {
    if allow_untrusted {
        return Ok(walk::open(path)?);
    }
    match walk::open_without_links(path) {
        // ELOOP: a link is in it. The others: openat2 is of 5.6, and old seccomp profiles refuse what they do not know.
        Err(e) if matches!(e.raw_os_error(), Some(libc::ELOOP | libc::ENOSYS | libc::EPERM)) => follow(path),
        opened => Ok(opened?),
    }
}

fn follow(path: &Path) -> Result<File, Refusal> {
    let mut place = Place::open(Path::new(if path.is_absolute() { "/" } else { "." }))?;
    let mut at = PathBuf::from(if path.is_absolute() { "/" } else { "" });
    let mut left = names(path);
    let mut links = 0;
    while let Some(name) = left.pop() {
        let last = left.is_empty();
        if last && let Some(file) = place.file(&name)? {
            return Ok(file);
        }
        let next = place.below(&name)?;
        at.push(&name);
        let Some(target) = next.link()? else {
            if last {
                // It was a link a moment ago.
                return Err(io::Error::from_raw_os_error(libc::ELOOP).into());
            }
            place = next;
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP).into());
        }
        vouched(&place, &next, &at)?;
        left.extend(names(&target));
        if target.is_absolute() {
            (place, at) = (Place::open(Path::new("/"))?, PathBuf::from("/"));
        } else {
            at.pop();
        }
    }
    Err(io::Error::from_raw_os_error(libc::EISDIR).into())
}

/// The names in a path, the last first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}

fn vouched(dir: &Place, link: &Place, at: &Path) -> Result<(), Refusal> {
    let shown = at.display();
    if link.fs_magic()? == PROC_MAGIC {
        let what = format!("goes through {shown}, and a link of /proc can stand for anything");
        return Err(Refusal::Link(what, "name the file itself; for standard input: --config -".into()));
    }
    let ours = |uid: u32| uid == 0 || uid == process::effective_uid();
    let (dir_uid, mode) = dir.owner_and_mode()?;
    let (link_uid, _) = link.owner_and_mode()?;
    // In a sticky directory everybody can make links, but nobody can replace those of others.
    let closed = mode & 0o022 == 0 || mode & libc::S_ISVTX != 0;
    if ours(dir_uid) && closed && ours(link_uid) {
        return Ok(());
    }
    let parent = at.parent().filter(|dir| !dir.as_os_str().as_bytes().is_empty()).unwrap_or(Path::new("."));
    Err(Refusal::Link(
        format!("goes through the symbolic link {shown}, which users other than root could have put there"),
        format!("ls -ld {} {shown}; name the file itself, or --allow-untrusted", parent.display()),
    ))
}
