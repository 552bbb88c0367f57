//! What the loader child takes from outside the stage: read or opened before it is confined, and before a byte of an
//! object is interpreted. After that it can open nothing.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use super::{
    attach, delegate,
    generation::{exists, make_dir, unseen},
    job::Job,
    layout::Layout,
    maps::{identity_of, is_replaced},
    plan::BpfPlan,
    proof::{How, XdpHow, open_link},
    record::Record,
    room::Room,
    store::Shelf,
};
use crate::{
    config::{AttachWish, PinName},
    error::{Cause, Fault},
    facts::{self, KernelVersion},
    sys::{
        bpf::{self, LinkIdentity, MapIdentity},
        confine, cpu, file,
    },
};

/// The running kernel's BTF.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

type PinnedMap = Result<(OwnedFd, MapIdentity), Fault>;

/// What was opened. An errno stands for what could not be.
#[derive(Default)]
pub struct Outside {
    files: Vec<(PathBuf, Result<File, i32>)>,
    texts: Vec<(String, Result<String, i32>)>,
    maps: Vec<(PathBuf, PinnedMap)>,
    programs: Vec<(PathBuf, OwnedFd)>,
    links: Vec<(PathBuf, LinkIdentity)>,
    token: Option<OwnedFd>,
    /// The memory that maps may take.
    pub room: Room,
    /// What confines this process besides its capabilities: `landlock seccomp`.
    pub walls: String,
}

impl Outside {
    /// Opens all that the plan needs, and closes the way to the rest. Where the kernel lacks a wall, the others stand.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault: the stage cannot be made, or what is live cannot be looked at; and what
    /// [`delegate::token`] says.
    pub fn gather(plan: &BpfPlan) -> Result<Self, Fault> {
        let mut outside = Self { room: Room::of_cgroup(), ..Self::default() };
        // It remembers what it has asked once.
        KernelVersion::running();
        let (live, stage) = (plan.store.live(), plan.store.stage());
        make_dir(stage.path())?;
        let has_live = exists(live.path())?;
        for object in &plan.objects {
            let (job, kept) = (&object.job, matches!(object.found.how, How::Keep(_)));
            if !kept {
                outside.look_around(job);
            }
            // Of one that cannot be read, nothing is known.
            let record = if kept { None } else { Record::read(&live.object(&job.name)).ok().flatten() };
            for name in job.maps.keys().filter(|name| has_live && !kept && !is_replaced(job, name)) {
                let Ok(pin) = name.parse() else { continue };
                let path = live.pin(&job.name, Shelf::Maps, &pin);
                if exists(&path)? {
                    let map = identity_of(&path);
                    if map.as_ref().is_ok_and(|(_, map)| is_strange(record.as_ref(), &pin, map)) {
                        continue;
                    }
                    outside.maps.push((path, map));
                }
            }
            for xdp in object.found.links.iter().filter(|_| has_live) {
                if kept && matches!(xdp.how, XdpHow::Attach) {
                    let path = live.pin(&job.name, Shelf::Progs, &xdp.job.program);
                    let program = bpf::open_pin(&path).map_err(|e| unseen("open", &path, &e))?;
                    outside.programs.push((path, program));
                } else if let Ok(name) = xdp.job.link_name().parse() {
                    outside.take_link(plan, &job.name, &name)?;
                }
            }
        }
        // An optional object that fails is carried over as it is.
        let optional = plan.objects.iter().filter(|object| object.job.optional).map(|object| &object.job.name);
        for name in plan.carry.iter().chain(optional).filter(|_| has_live) {
            let record = Record::read(&live.object(name))?.unwrap_or_default();
            for link in record.links.iter().filter(|link| link.target.starts_with("xdp ")) {
                outside.take_link(plan, name, &link.name)?;
            }
        }
        if plan.loads().next().is_some() && !facts::initial_userns() {
            outside.token = Some(delegate::token(plan)?);
        }
        let landlock = confine::paths(stage.path(), has_live.then(|| live.path())).is_ok();
        let seccomp = confine::calls().is_ok();
        let walls = [("capabilities", true), ("landlock", landlock), ("seccomp", seccomp)];
        let there: Vec<_> = walls.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
        outside.walls = there.join(" ");
        Ok(outside)
    }

    /// Nothing but the kernel's BTF.
    pub fn of_kernel() -> Self {
        let mut outside = Self::default();
        outside.take_file(Path::new(KERNEL_BTF));
        outside
    }

    fn look_around(&mut self, job: &Job) {
        if let Some(btf) = &job.btf {
            self.files.push((btf.path.clone(), btf.file.try_clone().map_err(|e| file::errno(&e))));
        }
        if job.btf.is_none() || job.programs.iter().any(|program| program.kind.needs_kernel_btf()) {
            self.take_file(Path::new(KERNEL_BTF));
        }
        for wish in job.programs.iter().flat_map(|program| &program.attach) {
            if matches!(wish, AttachWish::PerfEvent { .. }) {
                // As above.
                cpu::online();
            }
            for path in attach::texts(wish) {
                if !self.texts.iter().any(|(taken, _)| *taken == path) {
                    let text = file::text(&path).map_err(|e| file::errno(&e));
                    self.texts.push((path, text));
                }
            }
            if let AttachWish::Uprobe(at) | AttachWish::Uretprobe(at) = wish
                && !at.symbol.is_empty()
            {
                self.take_file(&at.path);
            }
        }
    }

    fn take_file(&mut self, path: &Path) {
        if !self.files.iter().any(|(taken, _)| taken == path) {
            self.files.push((path.to_owned(), File::open(path).map_err(|e| file::errno(&e))));
        }
    }

    fn take_link(&mut self, plan: &BpfPlan, object: &PinName, name: &PinName) -> Result<(), Fault> {
        let path = plan.store.live().pin(object, Shelf::Links, name);
        if exists(&path)? {
            let link = open_link(&path).map_err(|why| Fault::new(Cause::Pin, format!("{}: {why}", path.display())))?;
            self.links.push((path, link));
        }
        Ok(())
    }

    /// The whole of a file.
    ///
    /// # Errors
    /// What open(2) or read(2) said of it.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut file: &File = open_or(find(&self.files, path))?;
        let mut bytes = Vec::with_capacity(file.metadata().map_or(0, |meta| meta.len() as usize + 1));
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A small file of the kernel.
    ///
    /// # Errors
    /// What open(2) or read(2) said of it.
    pub fn text(&self, path: &str) -> io::Result<&str> {
        open_or(self.texts.iter().find(|(taken, _)| taken == path).map(|(_, text)| text)).map(String::as_str)
    }

    /// A map of the live generation; `None` when there is none that could serve.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn map(&self, live: &Path) -> Result<Option<(BorrowedFd<'_>, MapIdentity)>, Fault> {
        let Some(taken) = find(&self.maps, live) else { return Ok(None) };
        let (fd, identity) = taken.as_ref().map_err(Clone::clone)?;
        Ok(Some((fd.as_fd(), *identity)))
    }

    /// What stands for the capabilities of a user namespace; none in the initial one, where they count by themselves.
    pub fn token(&self) -> Option<BorrowedFd<'_>> {
        self.token.as_ref().map(AsFd::as_fd)
    }

    /// A program of the live generation that gets a new link.
    pub fn program(&self, live: &Path) -> Option<BorrowedFd<'_>> {
        find(&self.programs, live).map(AsFd::as_fd)
    }

    /// An XDP link of the live generation.
    pub fn link(&self, live: &Path) -> Option<LinkIdentity> {
        find(&self.links, live).copied()
    }
}

/// Whether somebody put a map of another layout in the place of ours: no policy of the configuration is about that one.
fn is_strange(record: Option<&Record>, name: &PinName, is: &MapIdentity) -> bool {
    let ours = record.and_then(|record| record.maps.iter().find(|(known, _)| known == name));
    ours.is_some_and(|(_, ours)| ours.id != is.id && Layout::pinned(ours) != Layout::pinned(is))
}

fn find<'a, T>(taken: &'a [(PathBuf, T)], path: &Path) -> Option<&'a T> {
    taken.iter().find(|(taken, _)| taken == path).map(|(_, what)| what)
}

fn open_or<T>(taken: Option<&Result<T, i32>>) -> io::Result<&T> {
    match taken {
        Some(Ok(what)) => Ok(what),
        Some(Err(errno)) => Err(io::Error::from_raw_os_error(*errno)),
        None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    }
}
