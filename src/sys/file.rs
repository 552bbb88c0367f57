//! Kernel files: opened below one checked directory, read whole, written with exactly one write(2).

use std::{io, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, StatVfsMountFlags},
    io::Errno,
};

/// procfs (include/uapi/linux/magic.h, as the next ones).
pub const PROC_MAGIC: u64 = 0x9fa0;
/// sysfs.
pub const SYSFS_MAGIC: u64 = 0x6265_6572;
/// bpffs.
pub const BPF_MAGIC: u64 = 0xcafe_4a11;
/// tracefs.
pub const TRACEFS_MAGIC: u64 = 0x7472_6163;
/// debugfs.
pub const DEBUGFS_MAGIC: u64 = 0x6462_6720;

/// Longer texts are not sysctls or knobs, and would not fit the journal.
const MOST: usize = 64 * 1024;
/// How often a call interrupted by a signal is made again.
const RETRIES: usize = 3;

/// The kernel's error number; EIO where an error carries none.
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// The type of the file system that holds `path`.
///
/// # Errors
/// What statfs(2) says.
pub fn fs_magic(path: &Path) -> io::Result<u64> {
    Ok(magic(rustix::fs::statfs(path)?.f_type as u64))
}

/// `f_type` is signed on most machines, so bpffs would be negative where it has 32 bits.
pub(super) const fn magic(f_type: u64) -> u64 {
    f_type & 0xffff_ffff
}

/// Whether the mount that holds `path` is read-only.
///
/// # Errors
/// What statfs(2) says.
pub fn is_read_only(path: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statvfs(path)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Swaps two paths in one move (renameat2(2), RENAME_EXCHANGE).
///
/// # Errors
/// EINVAL where the file system cannot; whatever else renameat2(2) says.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Whether there is anything under that name: `Err` when the kernel would not tell, which is not a no. A no is asked for
/// twice and in two ways, since programs are let go of on the strength of it.
///
/// # Errors
/// What lstat(2) and readlink(2) say, but for ENOENT and ENOTDIR.
pub fn exists(path: &Path) -> io::Result<bool> {
    let absent = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
    match path.symlink_metadata() {
        Err(error) if absent(&error) => {}
        found => return found.map(|_| true),
    }
    match path.read_link() {
        Err(error) if absent(&error) => Ok(false),
        // It is no symbolic link.
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(error),
        _ => Ok(true),
    }
}

/// The names in a directory, sorted, each with whether it is a directory itself; none where there is no such directory.
///
/// # Errors
/// What open(2) and getdents(2) say, but for ENOENT.
pub fn list(dir: &Path) -> io::Result<Vec<(String, bool)>> {
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match retry(|| rustix::fs::open(dir, how, Mode::empty())) {
        Ok(dir) => {
            let mut names = names_in(dir)?;
            names.sort();
            Ok(names)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !exists(dir)? => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

// Neither the standard library's reader, which panics when closing fails, nor rustix's own, which takes ENOENT for the
// end: a directory that was not read is not an empty one.
fn names_in(dir: OwnedFd) -> io::Result<Vec<(String, bool)>> {
    let (mut names, mut buffer) = (Vec::new(), [MaybeUninit::uninit(); 4096]);
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok(name) if name != "." && name != ".." => {
                names.push((name.to_owned(), entry.file_type() == FileType::Directory));
            }
            _ => {}
        }
    }
    Ok(names)
}

/// A directory whose file system has been checked. Everything is opened below it, through no symbolic link.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl Dir {
    /// Opens `path` if it lies on the file system with this magic number.
    ///
    /// # Errors
    /// ENODEV when something else is mounted there, or nothing; whatever else open(2) says.
    pub fn open(path: &Path, wanted: u64) -> io::Result<Self> {
        let dir = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        if magic(rustix::fs::fstatfs(&dir)?.f_type as u64) != wanted {
            return Err(Errno::NODEV.into());
        }
        Ok(Self(dir))
    }

    /// The whole text of a file; `None` when it is longer than 64 KiB or not UTF-8, and so could not be put back.
    ///
    /// # Errors
    /// What openat2(2) and read(2) say.
    pub fn read(&self, below: &str) -> io::Result<Option<String>> {
        let text = pages(&self.open_at(below, OFlags::RDONLY)?, MOST)?;
        Ok(text.and_then(|text| String::from_utf8(text).ok()))
    }

    /// Writes `text` and a newline at offset 0, in exactly one write(2): a second one would be another value.
    ///
    /// # Errors
    /// What openat2(2) and write(2) say; an error without a number when the kernel took only a part.
    pub fn write(&self, below: &str, text: &str) -> io::Result<()> {
        let file = self.open_at(below, OFlags::WRONLY)?;
        let line = format!("{text}\n");
        let n = retry(|| rustix::io::write(&file, line.as_bytes()))?;
        // Whether the newline was taken says nothing about the value.
        if n < text.len() {
            return Err(io::Error::other(format!("the kernel took only {n} of {} bytes", text.len())));
        }
        Ok(())
    }

    /// Whether the file could be opened for writing; it is not written.
    ///
    /// # Errors
    /// Why not.
    pub fn try_open_for_writing(&self, below: &str) -> io::Result<()> {
        self.open_at(below, OFlags::WRONLY).map(drop)
    }

    /// The permission bits of a file.
    ///
    /// # Errors
    /// What fstatat(2) says.
    pub fn mode(&self, below: &str) -> io::Result<u32> {
        Ok(rustix::fs::statat(&self.0, below, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o7777)
    }

    /// The names in a directory below (`""` is this one), each with whether it is a directory itself; unsorted.
    ///
    /// # Errors
    /// What openat2(2) and getdents(2) say.
    pub fn names(&self, below: &str) -> io::Result<Vec<(String, bool)>> {
        let below = if below.is_empty() { "." } else { below };
        names_in(self.open_at(below, OFlags::RDONLY | OFlags::DIRECTORY)?)
    }

    fn open_at(&self, below: &str, how: OFlags) -> io::Result<OwnedFd> {
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let how = how | OFlags::CLOEXEC | OFlags::NOCTTY;
        match retry(|| rustix::fs::openat2(&self.0, below, how, Mode::empty(), inside)) {
            // openat2 is of 5.6, and old seccomp profiles refuse what they do not know with EPERM. Names with `..`
            // never get here (config::types), and neither procfs nor its sysctls hold links.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                retry(|| rustix::fs::openat(&self.0, below, how | OFlags::NOFOLLOW, Mode::empty()))
            }
            result => result,
        }
    }
}

/// The whole text of a file of the kernel's.
///
/// # Errors
/// What open(2) and read(2) say; an error without a number where it is no text.
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let file = retry(|| rustix::fs::open(path.as_ref(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))?;
    let text = pages(&file, usize::MAX)?.unwrap_or_default();
    String::from_utf8(text).map_err(io::Error::other)
}

/// All that can be read, `None` when that is more than `most` bytes. The kernel does not tell how much there is, and gives
/// a page at a time (`seq_read_iter()`); the standard library would ask for 32 bytes first.
fn pages(file: &OwnedFd, most: usize) -> io::Result<Option<Vec<u8>>> {
    let (mut bytes, mut page) = (Vec::new(), [0_u8; 4096]);
    loop {
        let n = retry(|| rustix::io::read(file, &mut page))?;
        if n == 0 {
            return Ok(Some(bytes));
        }
        bytes.extend_from_slice(page.get(..n).unwrap_or_default());
        if bytes.len() > most {
            return Ok(None);
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    let mut left = RETRIES;
    loop {
        match call() {
            Err(Errno::INTR) if left > 0 => left -= 1,
            result => return Ok(result?),
        }
    }
}
