//! What lies around the pins: modes and owners that somebody changed, and what is not ours. Looks; only
//! [`Misfit::mend`] writes. What the kernel does not show is as it was.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    generation::list,
    record::Record,
    store::{Generation, Shelf, Store},
};
use crate::{
    config::PinName,
    error::{Cause, Fault},
    sys::{mount, process},
};

/// Modes that [`super::generation::make_dir`] and BPF_OBJ_PIN give (bpf_obj_do_pin() in kernel/bpf/inode.c).
const DIR: u32 = 0o700;
const PIN: u32 = 0o600;

/// One of our directories or pins that others may enter or open, or that we may not.
#[derive(Clone, Debug)]
pub struct Misfit {
    /// Where.
    pub path: PathBuf,
    mode: u32,
    owner: u32,
    wanted: u32,
}

impl Misfit {
    fn of(path: &Path, wanted: u32) -> Option<Self> {
        let is = fs::symlink_metadata(path).ok()?;
        let (mode, owner) = (is.mode() & 0o7777, is.uid());
        let right = mode == wanted && (owner == 0 || owner == process::effective_uid());
        (!is.is_symlink() && !right).then(|| Self { path: path.to_owned(), mode, owner, wanted })
    }

    /// What it is like.
    pub fn was(&self) -> String {
        format!("mode {:04o}, owner {}", self.mode, self.owner)
    }

    /// What it should be like.
    pub fn wanted(&self) -> String {
        format!("mode {:04o}, owner {}", self.wanted, process::effective_uid())
    }

    /// Makes it that.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault.
    pub fn mend(&self) -> Result<(), Fault> {
        mount::own(&self.path, Some(process::effective_uid()), None, Some(self.wanted)).map_err(|e| {
            let shown = self.path.display();
            Fault::io(Cause::Pin, format!("give {shown} its {}", self.wanted()), &e)
                .mend(format!("chmod {:04o} {shown}", self.wanted))
        })
    }
}

/// What is around the pins.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Ours, with another mode or owner.
    pub misfits: Vec<Misfit>,
    /// Not ours.
    pub strays: Vec<PathBuf>,
}

impl Around {
    /// Looks. `known` are the objects of the configuration, which may have lost their records.
    pub fn look(store: &Store, known: impl Fn(&PinName) -> bool) -> Self {
        let mut around = Self::default();
        let live = store.live();
        around.dir(store.root());
        around.dir(live.path());
        for name in names(store.root()) {
            if !["live", "stage", "aside"].contains(&name.as_str()) {
                around.strays.push(store.root().join(name));
            }
        }
        for name in names(live.path()) {
            let object = PinName::from_bpffs(&name);
            let record = object.as_ref().map(|object| Record::read(&live.object(object)));
            match (object, record) {
                (Some(object), Some(Ok(Some(record)))) => around.object(&live, &object, &record),
                (Some(object), Some(Ok(None))) if known(&object) => {}
                (_, Some(Err(_))) => {}
                _ => around.strays.push(live.path().join(name)),
            }
        }
        around
    }

    fn dir(&mut self, path: &Path) {
        self.misfits.extend(Misfit::of(path, DIR));
    }

    fn object(&mut self, live: &Generation, object: &PinName, record: &Record) {
        let dir = live.object(object);
        self.dir(&dir);
        for name in names(&dir) {
            if name != "record" && !Shelf::ALL.iter().any(|shelf| shelf.dir() == name) {
                self.strays.push(dir.join(name));
            }
        }
        for shelf in Shelf::ALL {
            let dir = dir.join(shelf.dir());
            self.dir(&dir);
            for name in names(&dir) {
                let path = dir.join(&name);
                match PinName::from_bpffs(&name).is_some_and(|name| record.names(shelf, &name)) {
                    true => self.misfits.extend(Misfit::of(&path, PIN)),
                    false => self.strays.push(path),
                }
            }
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    list(dir).unwrap_or_default().into_iter().map(|(name, _)| name).collect()
}
