//! One generation of pins: its directories, and what is in them.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::proof::open_link;
use crate::{
    config::PinName,
    error::{Cause, Fault},
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Progs, Self::Maps, Self::Links];

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
    pub fn objects(&self) -> Vec<PinName> {
        let mut names: Vec<_> = entries(&self.path).iter().filter_map(|name| PinName::from_bpffs(name)).collect();
        names.sort();
        names
    }

    /// Whether one of its pins holds the link with this id.
    pub fn holds_link(&self, id: u32) -> bool {
        self.objects().iter().any(|object| {
            let links = self.object(object).join(Shelf::Links.dir());
            entries(&links).iter().any(|file| open_link(&links.join(file)).is_ok_and(|link| link.id == id))
        })
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

/// The names in a directory, sorted; none when it cannot be read.
pub fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
