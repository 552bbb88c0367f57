//! The pin directory: where everything of ours lies on bpffs, and the moves between its generations.
//!
//! ```text
//! ROOT/live/OBJECT/{progs,maps,links}/NAME   what readers open
//! ROOT/live/OBJECT/record/N                  who those pins are (see `record`)
//! ROOT/stage/...                             the next generation while it is built, the last one while it retires
//! ROOT/aside/...                             only on kernels without RENAME_EXCHANGE, between two renames
//! ```

use std::{
    fs, io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

pub use super::generation::{Generation, Shelf};
use super::{
    generation::{entries, exists, list, make_dir, remove, remove_dir, unseen},
    proof::open_link,
    record::Record,
};
use crate::{
    config::{IfName, PinName},
    error::{Cause, Fault},
    reason::Reason,
    sys,
};

/// One pinned XDP link.
#[derive(Clone, Debug)]
pub struct XdpPin {
    /// The object.
    pub object: PinName,
    /// The program.
    pub program: PinName,
    /// The pin.
    pub name: PinName,
    /// The interface it was attached to.
    pub interface: IfName,
}

/// The directory that is ours on bpffs.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Names the directory; nothing is looked at yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What readers open.
    pub fn live(&self) -> Generation {
        Generation::at(self.root.join("live"))
    }

    /// What is being built, or retires.
    pub fn stage(&self) -> Generation {
        Generation::at(self.root.join("stage"))
    }

    fn aside(&self) -> Generation {
        Generation::at(self.root.join("aside"))
    }

    /// Makes sure that the directory is there and that nobody else can have put it there.
    ///
    /// # Errors
    /// A [`Cause::Pin`] or [`Cause::Mount`] fault: not on bpffs, a symbolic link, another owner, writable by others.
    pub fn prepare(&self) -> Result<(), Fault> {
        let parent = self.root.parent().unwrap_or(Path::new("/"));
        match sys::file::fs_magic(parent) {
            Ok(sys::file::BPF_MAGIC) => {}
            Ok(_) => return Err(not_bpffs(parent)),
            Err(error) => return Err(Fault::io(Cause::Mount, format!("look at {}", parent.display()), &error)),
        }
        make_dir(&self.root)?;
        self.trusted()
    }

    /// Whether anything is there under its name.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault: it cannot be told.
    pub fn exists(&self) -> Result<bool, Fault> {
        exists(&self.root)
    }

    /// Whether the directory, which must exist, is ours alone.
    ///
    /// # Errors
    /// As [`Store::prepare`].
    pub fn trusted(&self) -> Result<(), Fault> {
        let shown = self.root.display();
        let meta =
            fs::symlink_metadata(&self.root).map_err(|e| Fault::io(Cause::Pin, format!("look at {shown}"), &e))?;
        let other = |what: &str| {
            Fault::new(Cause::Pin, format!("{shown} {what}")).mend(format!("ls -ld {shown}; remove it and run again"))
        };
        if !meta.is_dir() {
            return Err(other("is not a directory; a pin through a symbolic link would go wherever it points"));
        }
        if !matches!(sys::file::fs_magic(&self.root), Ok(sys::file::BPF_MAGIC)) {
            return Err(not_bpffs(&self.root));
        }
        if meta.uid() != 0 && meta.uid() != sys::process::effective_uid() {
            return Err(other(&format!("belongs to uid {}, not to us", meta.uid())));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(other("may be written by others").by(Reason::Trust).mend(format!("chmod 0700 {shown}")));
        }
        for generation in [self.live(), self.stage(), self.aside()] {
            let shown = generation.path().display();
            match generation.path().symlink_metadata() {
                Ok(meta) if !meta.is_dir() => {
                    return Err(Fault::new(
                        Cause::Pin,
                        format!(
                            "{shown} is not a directory; a pin through a symbolic link would go wherever it points"
                        ),
                    )
                    .mend(format!("rm {shown}")));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(unseen("look at", generation.path(), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes what a killed run left half done, and says whether there was anything.
    ///
    /// Staged links are attached links: unlinking them detaches. A generation set aside by a kernel without
    /// RENAME_EXCHANGE comes back if the new one never took its place.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault when something of ours could not be removed, or when the directory is not ours: whoever
    /// put it there must not choose what root removes.
    pub fn sweep(&self) -> Result<bool, Fault> {
        if !self.exists()? {
            return Ok(false);
        }
        self.trusted()?;
        let (live, stage, aside) = (self.live(), self.stage(), self.aside());
        let mut swept = false;
        if exists(aside.path())? {
            if exists(live.path())? {
                self.retire(&aside)?;
            } else {
                fs::rename(aside.path(), live.path())
                    .map_err(|e| Fault::io(Cause::Pin, "put the set-aside generation back", &e))?;
            }
            swept = true;
        }
        if exists(stage.path())? {
            self.retire(&stage)?;
            swept = true;
        }
        Ok(swept)
    }

    /// [`Store::sweep`] after a run that failed: in a directory that is not ours there is nothing of it.
    ///
    /// # Errors
    /// As [`Store::sweep`].
    pub fn clean_up(&self) -> Result<(), Fault> {
        match self.sweep() {
            // What the kernel says has a number; what we say of a stranger's directory has none.
            Err(fault) if fault.errno.is_none() && self.trusted().is_err() => Ok(()),
            swept => swept.map(drop),
        }
    }

    /// Makes the staged generation the live one in one move; the old one is then in `stage`.
    ///
    /// # Errors
    /// What renameat2(2) says. The old generation is still live then.
    pub fn flip(&self) -> Result<(), Fault> {
        let (live, stage) = (self.live(), self.stage());
        let fault = |what: &str, e: &io::Error| Fault::io(Cause::Pin, format!("{what} {}", live.path().display()), e);
        if !exists(live.path())? {
            return fs::rename(stage.path(), live.path()).map_err(|e| fault("rename the staged generation to", &e));
        }
        match sys::file::exchange(stage.path(), live.path()) {
            // bpffs learnt RENAME_EXCHANGE in 5.17 (6429e46304ac, libfs: simple_rename_exchange).
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.flip_in_two(),
            Err(error) => Err(fault("exchange the staged generation with", &error)),
            Ok(()) => Ok(()),
        }
    }

    /// The flip without RENAME_EXCHANGE. Between the two renames there is no `live`; `sweep` knows that state.
    fn flip_in_two(&self) -> Result<(), Fault> {
        let (live, stage, aside) = (self.live(), self.stage(), self.aside());
        let fault = |e: &io::Error| Fault::io(Cause::Pin, format!("replace {}", live.path().display()), e);
        fs::rename(live.path(), aside.path()).map_err(|e| fault(&e))?;
        if let Err(error) = fs::rename(stage.path(), live.path()) {
            let _ = fs::rename(aside.path(), live.path());
            return Err(fault(&error));
        }
        fs::rename(aside.path(), stage.path()).map_err(|e| fault(&e))
    }

    /// Removes a generation: every pin that our record names, then what is empty. What is not ours is moved to the
    /// live generation if its place there is free, and otherwise left and named.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault that names the first thing left.
    pub fn retire(&self, old: &Generation) -> Result<(), Fault> {
        let mut left = Ok(());
        for (name, is_dir) in list(old.path())? {
            let retired = match PinName::from_bpffs(&name) {
                Some(object) if is_dir => self.retire_object(old, &object),
                _ => self.hand_over(old, Path::new(&name)),
            };
            left = left.and(retired);
        }
        left.and_then(|()| remove_empty(old.path()))
    }

    fn retire_object(&self, old: &Generation, object: &PinName) -> Result<(), Fault> {
        let dir = old.object(object);
        let record = Record::read(&dir)?;
        // Without a record this is a stage that was never finished: nobody but us writes there.
        let staging = old.path() == self.stage().path() && record.is_none();
        let record = record.unwrap_or_default();
        let mut left = Ok(());
        for shelf in Shelf::ALL {
            let ours =
                |file: &String| staging || PinName::from_bpffs(file).is_some_and(|name| record.names(shelf, &name));
            let shelf_dir = dir.join(shelf.dir());
            for file in entries(&shelf_dir)? {
                let path = shelf_dir.join(&file);
                left = left.and(if !ours(&file) {
                    self.hand_over(old, &Path::new(&object.on_bpffs()).join(shelf.dir()).join(&file))
                } else {
                    if shelf == Shelf::Links {
                        self.let_go(old, &path);
                    }
                    remove(&path)
                });
            }
            if !remove_dir(&shelf_dir)? && entries(&shelf_dir)?.iter().any(ours) {
                left = left.and(Err(Fault::new(Cause::Pin, format!("{} still holds pins", shelf_dir.display()))));
            }
        }
        // As long as a pin of ours is left, the record says that it is ours.
        left?;
        Record::remove(&dir)?;
        for file in entries(&dir)? {
            self.hand_over(old, &Path::new(&object.on_bpffs()).join(file))?;
        }
        remove_dir(&dir).map(drop)
    }

    /// Detaches an XDP link at once, unless the live generation holds the same link. With its last pin it would go as
    /// well, but only when the kernel finds the time: until then the interface would seem to carry a stranger.
    pub fn let_go(&self, old: &Generation, pin: &Path) {
        let Ok(link) = open_link(pin) else { return };
        // Where it cannot be told who else holds it, the kernel will know when its last pin goes.
        let held = || old.path() != self.live().path() && self.live().holds_link(link.id) != Ok(false);
        if link.ifindex.is_some_and(|index| index != 0) && !held() {
            let _ = sys::bpf::open_pin(pin).map(|fd| sys::bpf::detach_link(fd.as_fd()));
        }
    }

    /// Gives what is not ours its place in the live generation back.
    fn hand_over(&self, old: &Generation, below: &Path) -> Result<(), Fault> {
        let (from, to) = (old.path().join(below), self.live().path().join(below));
        if old.path() == self.live().path() || exists(&to)? {
            return Ok(());
        }
        match fs::rename(&from, &to) {
            // Its object is no longer live: it stays, and is named.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Fault::io(Cause::Pin, format!("move {} to {}", from.display(), to.display()), &error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the directory itself when nothing is in it: a failed first run leaves nothing. But where it alone can be
    /// written, and so is a mount, as in the unit that `render` writes, it was there before.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault.
    pub fn remove_if_empty(&self) -> Result<(), Fault> {
        if self.trusted().is_err() {
            return Ok(());
        }
        match remove_dir(&self.root) {
            Err(fault) if matches!(fault.errno, Some(libc::EBUSY | libc::EROFS)) => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// Every XDP link of the live generation.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault: the directory is not ours, or cannot be read.
    pub fn xdp_links(&self) -> Result<Vec<XdpPin>, Fault> {
        if !self.exists()? {
            return Ok(Vec::new());
        }
        self.trusted()?;
        let (live, mut found) = (self.live(), Vec::new());
        for object in live.objects()? {
            for link in Record::read(&live.object(&object))?.unwrap_or_default().links {
                let interface = link.target.strip_prefix("xdp ").and_then(|rest| rest.split_once(' ')?.0.parse().ok());
                if let Some(interface) = interface
                    && exists(&live.pin(&object, Shelf::Links, &link.name))?
                {
                    found.push(XdpPin { object: object.clone(), program: link.program, name: link.name, interface });
                }
            }
        }
        Ok(found)
    }

    /// Detaches an XDP link at once, and removes its pin.
    ///
    /// # Errors
    /// A [`Cause::Attach`] or [`Cause::Pin`] fault.
    pub fn detach(&self, link: &XdpPin) -> Result<(), Fault> {
        let path = self.live().pin(&link.object, Shelf::Links, &link.name);
        let shown = path.display();
        let fd = sys::bpf::open_pin(&path).map_err(|e| Fault::io(Cause::Pin, format!("open {shown}"), &e))?;
        match sys::bpf::detach_link(fd.as_fd()) {
            // The last reference detaches too, on kernels that cannot do it at once.
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => {
                return Err(Fault::io(Cause::Attach, format!("detach {shown}"), &error));
            }
            _ => {}
        }
        remove(&path)
    }

    /// Detaches every XDP link of ours at once, so that none still drops packets when `undo` says it is gone.
    ///
    /// # Errors
    /// As [`Store::xdp_links`] and [`Store::detach`].
    pub fn detach_all(&self) -> Result<(), Fault> {
        self.xdp_links()?.iter().try_for_each(|link| self.detach(link))
    }

    /// Removes everything of ours, the directory itself too if it is empty then.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault that names what is left.
    pub fn remove_all(&self) -> Result<(), Fault> {
        for generation in [self.stage(), self.aside(), self.live()] {
            self.retire(&generation)?;
        }
        remove_empty(&self.root)
    }
}

fn not_bpffs(path: &Path) -> Fault {
    Fault::new(Cause::Mount, format!("{} is not on a BPF file system", path.display()))
        .by(Reason::NotMounted)
        .mend("[mounts] bpffs = true, a container's -v /sys/fs/bpf:/sys/fs/bpf, or: mount -t bpf bpf /sys/fs/bpf")
}

fn remove_empty(path: &Path) -> Result<(), Fault> {
    if remove_dir(path)? {
        return Ok(());
    }
    let left = entries(path)?.into_iter().next().unwrap_or_default();
    Err(Fault::os(
        Cause::Pin,
        format!("remove {} (it still holds {left:?}, which is not ours)", path.display()),
        libc::ENOTEMPTY,
    )
    .mend(format!("look at it: find {}", path.display())))
}
