//! Opening files by path, with and without links, and walking a path one name at a time.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// O_NONBLOCK: opening a FIFO must not wait for a writer. O_NOCTTY: a terminal must not become ours.
const READING: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens a file for reading.
///
/// # Errors
/// What open(2) says.
pub fn open(path: &Path) -> io::Result<File> {
    Ok(rustix::fs::openat(CWD, path, READING, Mode::empty())?.into())
}

/// Opens a file for reading, through no link at all.
///
/// # Errors
/// What openat2(2) says: ELOOP for a link, ENOSYS before 5.6.
pub fn open_without_links(path: &Path) -> io::Result<File> {
    let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(CWD, path, READING, Mode::empty(), how)?.into())
}

/// A place in the tree, held without being opened (O_PATH).
pub struct Place(OwnedFd);

impl Place {
    /// The place that `path` leads to.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// What has this name here; a link itself, and not where it leads.
    ///
    /// # Errors
    /// What openat(2) says.
    pub fn below(&self, name: &OsStr) -> io::Result<Self> {
        let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(&self.0, name, how, Mode::empty())?))
    }

    /// Opens what has this name here for reading; `None` when it is a link.
    ///
    /// # Errors
    /// What openat(2) says.
    pub fn file(&self, name: &OsStr) -> io::Result<Option<File>> {
        match rustix::fs::openat(&self.0, name, READING | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::LOOP) => Ok(None),
            opened => Ok(Some(opened?.into())),
        }
    }

    /// Where it leads, if it is a link.
    ///
    /// # Errors
    /// What fstat(2) and readlinkat(2) say.
    pub fn link(&self) -> io::Result<Option<PathBuf>> {
        if FileType::from_raw_mode(rustix::fs::fstat(&self.0)?.st_mode) != FileType::Symlink {
            return Ok(None);
        }
        let target = rustix::fs::readlinkat(&self.0, "", Vec::new())?;
        Ok(Some(OsString::from_vec(target.into_bytes()).into()))
    }

    /// Its owner, and its permission bits.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub fn owner_and_mode(&self) -> io::Result<(u32, u32)> {
        let stat = rustix::fs::fstat(&self.0)?;
        Ok((stat.st_uid, stat.st_mode))
    }

    /// The type of the file system it lies on.
    ///
    /// # Errors
    /// What fstatfs(2) says.
    pub fn fs_magic(&self) -> io::Result<u64> {
        Ok(super::file::magic(rustix::fs::fstatfs(&self.0)?.f_type as u64))
    }
}
