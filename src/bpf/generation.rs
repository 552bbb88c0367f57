//! One generation of pins: its directories, and what is in them.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use super::{proof::open_link, store::Store};
use crate::{
    config::PinName,
    error::{Cause, Fault},
    sys,
};

/// What a pin is, which is the directory it lies in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shelf {
    /// Programs.
    Progs,
    /// Maps.
    Maps,
    /// Links.
    Links,
}

impl Shelf {
    /// All of them, in the order in which they go: nothing is attached whose program or maps nobody can open.
    pub const ALL: [Self; 3] = [Self::Links, Self::Progs, Self::Maps];

    /// The directory's name.
    pub const fn dir(self) -> &'static str {
        match self {
            Self::Progs => "progs",
            Self::Maps => "maps",
            Self::Links => "links",
        }
    }
}

/// One generation of pins: `live` or `stage`.
#[derive(Clone, Debug)]
pub struct Generation {
    path: PathBuf,
}

impl Generation {
    /// The generation in this directory.
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of an object.
    pub fn object(&self, object: &PinName) -> PathBuf {
        self.path.join(object.on_bpffs())
    }

    /// The path of a pin.
    pub fn pin(&self, object: &PinName, shelf: Shelf, name: &PinName) -> PathBuf {
        self.object(object).join(shelf.dir()).join(name.on_bpffs())
    }

    /// The objects in it, by name. Entries whose names are not ours to read are passed over.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault: the directory cannot be read.
    pub fn objects(&self) -> Result<Vec<PinName>, Fault> {
        Ok(entries(&self.path)?.iter().filter_map(|name| PinName::from_bpffs(name)).collect())
    }

    /// Whether one of its pins holds the link with this id.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn holds_link(&self, id: u32) -> Result<bool, Fault> {
        for object in self.objects()? {
            let links = self.object(&object).join(Shelf::Links.dir());
            for file in entries(&links)? {
                let pin = links.join(file);
                let link =
                    open_link(&pin).map_err(|why| Fault::new(Cause::Pin, format!("{}: {why}", pin.display())))?;
                if link.id == id {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Makes the directories of an object.
    ///
    /// # Errors
    /// What mkdir(2) says, as a [`Cause::Pin`] fault.
    pub fn make(&self, object: &PinName) -> Result<(), Fault> {
        let dir = self.object(object);
        make_dir(&self.path)?;
        make_dir(&dir)?;
        Shelf::ALL.iter().try_for_each(|shelf| make_dir(&dir.join(shelf.dir())))
    }
}

/// Opens a live pin, for somebody who may not.
///
/// # Errors
/// A [`Cause::Pin`] fault: it is not there, or may not be opened.
pub fn open_live(root: &Path, object: &PinName, shelf: &str, name: &PinName) -> Result<OwnedFd, Fault> {
    let path = Store::new(root).live().object(object).join(shelf).join(name.on_bpffs());
    sys::bpf::open_pin(&path).map_err(|error| {
        let mend = format!("[run] pass-fds takes what is there: ls {}/live/*/*", root.display());
        Fault::io(Cause::Pin, format!("open {}", path.display()), &error).mend(mend)
    })
}

/// Makes a directory that only we may enter; one that is there already is fine.
///
/// # Errors
/// What mkdir(2) says, as a [`Cause::Pin`] fault.
pub fn make_dir(path: &Path) -> Result<(), Fault> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let mend = match error.raw_os_error() {
                Some(libc::EROFS) => {
                    "remount it: mount -o remount,rw /sys/fs/bpf (a unit needs ReadWritePaths=/sys/fs/bpf)"
                }
                Some(libc::EACCES | libc::EPERM) => "run as the owner of that directory, usually root",
                _ => "",
            };
            Err(Fault::io(Cause::Pin, format!("make the directory {}", path.display()), &error).mend(mend))
        }
        _ => Ok(()),
    }
}

/// The names in a directory, sorted; none where there is no such directory.
///
/// # Errors
/// A [`Cause::Pin`] fault: it cannot be read, which must not be taken for empty.
pub fn entries(dir: &Path) -> Result<Vec<String>, Fault> {
    Ok(list(dir)?.into_iter().map(|(name, _)| name).collect())
}

/// [`entries`], each with whether it is a directory.
///
/// # Errors
/// As [`entries`].
pub fn list(dir: &Path) -> Result<Vec<(String, bool)>, Fault> {
    sys::file::list(dir).map_err(|e| unseen("list", dir, &e))
}

/// Whether there is anything under that name.
///
/// # Errors
/// A [`Cause::Pin`] fault: it cannot be told.
pub fn exists(path: &Path) -> Result<bool, Fault> {
    sys::file::exists(path).map_err(|e| unseen("look at", path, &e))
}

/// The fault for something of ours that the kernel does not show.
pub fn unseen(deed: &str, path: &Path, error: &io::Error) -> Fault {
    Fault::io(Cause::Pin, format!("{deed} {}", path.display()), error).mend(format!("ls -ld {}", path.display()))
}

/// Removes a pin or a record; one that is gone already is fine.
///
/// # Errors
/// A [`Cause::Pin`] fault.
pub fn remove(path: &Path) -> Result<(), Fault> {
    gone(fs::remove_file(path), path)
}

/// Removes a directory of ours. `false`: something is still in it.
///
/// # Errors
/// A [`Cause::Pin`] fault.
pub fn remove_dir(path: &Path) -> Result<bool, Fault> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        removed => gone(removed, path).map(|()| true),
    }
}

fn gone(removed: io::Result<()>, path: &Path) -> Result<(), Fault> {
    match removed {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !exists(path)? => Ok(()),
        Err(error) => Err(Fault::io(Cause::Pin, format!("remove {}", path.display()), &error)
            .mend(format!("look at it: ls -ld {}", path.display()))),
    }
}
