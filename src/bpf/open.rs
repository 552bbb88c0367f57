//! From bytes to maps: aya parses the object, makes its maps or takes over pinned ones, and relocates its programs.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    sync::OnceLock,
};

use aya::{Btf, Ebpf, EbpfLoader, Endianness};
use aya_obj::Object;

use super::{
    elf, entries,
    fault::of_object,
    job::Job,
    kind::Kind,
    layout::{Fate, Layout, Machine, fate},
    rewrite,
    store::{Shelf, Store},
};
use crate::{
    config::{MapWish, PinName},
    error::{Cause, Fault},
    sys::bpf::{self, MapIdentity, Pinned},
};

/// An object whose maps exist and are pinned in the stage, and whose programs are ready to load.
pub struct Opened {
    /// aya's handle on it.
    pub ebpf: Ebpf,
    /// Its maps, with what the report should say of each.
    pub maps: Vec<OpenedMap>,
}

/// One map of an object.
pub struct OpenedMap {
    /// Its name.
    pub name: PinName,
    /// Who it is.
    pub identity: MapIdentity,
    /// `reused`, `migrated 5 entries`…; empty for a plain new one.
    pub note: String,
}

/// The running kernel's BTF, parsed at most once and only when something needs it: 45 ms and 17 MB.
#[derive(Default)]
pub struct KernelBtf(OnceLock<Result<Btf, Fault>>);

impl KernelBtf {
    /// The BTF.
    ///
    /// # Errors
    /// A [`Cause::Kernel`] fault: this kernel has none.
    pub fn get(&self) -> Result<&Btf, Fault> {
        self.0
            .get_or_init(|| {
                Btf::from_sys_fs().map_err(|error| {
                    Fault::new(Cause::Kernel, format!("read this kernel's BTF: {error}"))
                        .mend("a kernel with CONFIG_DEBUG_INFO_BTF=y, or btf = \"FILE\" on the object")
                })
            })
            .as_ref()
            .map_err(Clone::clone)
    }
}

/// Opens an object into the stage.
///
/// # Errors
/// What [`of_object`], [`fate`] and [`entries`] say.
pub fn open(job: &Job, store: &Store, machine: Machine, kernel_btf: &KernelBtf) -> Result<Opened, Fault> {
    let sections: BTreeSet<&str> = job.programs.iter().filter(|program| program.kind != Kind::Unknown).map(|program| program.section.as_str()).collect();
    let elf = rewrite::for_aya(&job.bytes.elf, &|section| sections.contains(section))?;
    let fates = fates(job, &elf, store, machine)?;
    let own_btf = job.btf.as_deref().map(read_btf).transpose()?;
    let mut loader = EbpfLoader::new();
    loader.allow_unsupported_maps();
    if let Some(btf) = &own_btf {
        loader.btf(btf);
    } else if elf::has_core_relocations(&elf) {
        loader.btf(kernel_btf.get()?);
    }
    for (name, value) in &job.globals {
        loader.override_global(name, value.as_slice(), true);
    }
    for (name, wish) in &job.maps {
        loader.map_pin_path(name, Cow::Owned(store.stage().pin(&job.name, Shelf::Maps, &pin_name(name)?)));
        let entries = match fates.get(name.as_str()) {
            Some(Fate::ReuseWithSize(entries)) => Some(*entries),
            _ => wish.max_entries,
        };
        if let Some(entries) = entries {
            loader.map_max_entries(name, entries);
        }
    }
    let ebpf = loader.load(&elf).map_err(|error| of_object(&error, &|name| layout_of(&elf, job, name, machine)))?;
    let maps = job
        .maps
        .iter()
        .map(|(name, wish)| finish_map(job, store, machine, name, wish, fates.get(name.as_str())))
        .collect::<Result<_, _>>()?;
    Ok(Opened { ebpf, maps })
}

fn layout_of(elf: &[u8], job: &Job, name: &str, machine: Machine) -> Option<Layout> {
    let object = Object::parse(elf).ok()?;
    Some(Layout::wanted(object.maps.get(name)?, job.maps.get(name)?, machine))
}

fn pin_name(name: &str) -> Result<PinName, Fault> {
    name.parse().map_err(|why| Fault::new(Cause::Object, format!("the map name {name:?} cannot be a pin: {why}")))
}

fn read_btf(path: &Path) -> Result<Btf, Fault> {
    Btf::parse_file(path, Endianness::default())
        .map_err(|error| Fault::new(Cause::Object, format!("read the BTF file {}: {error}", path.display())))
}

/// What becomes of each map that the live generation already holds. A map that is taken over is linked into the stage,
/// where aya finds it under the name that a new one would get.
fn fates<'a>(job: &'a Job, elf: &[u8], store: &Store, machine: Machine) -> Result<BTreeMap<&'a str, Fate>, Fault> {
    let mut fates = BTreeMap::new();
    // A map of programs or maps that we fill is made anew: written in place, it would send what is live to the new programs at once.
    let old: Vec<_> = job.maps.iter().filter(|(name, wish)| !holds_globals(name) && wish.programs.is_empty() && !job.inner_maps.contains_key(*name)).filter_map(|(name, wish)| {
        let live = store.live().pin(&job.name, Shelf::Maps, &name.parse().ok()?);
        live.symlink_metadata().is_ok().then_some((name, wish, live))
    }).collect();
    if old.is_empty() {
        return Ok(fates);
    }
    let object = Object::parse(elf).map_err(|error| Fault::new(Cause::Object, format!("not a usable BPF object: {error}")))?;
    for (name, wish, live) in old {
        let Some(map) = object.maps.get(name) else { continue };
        let wanted = Layout::wanted(map, wish, machine);
        let pinned = Layout::pinned(&identity_of(&live)?.1);
        let fate = fate(wanted, pinned, job.on_mismatch, &live.display().to_string())
            .map_err(|fault| fault.about(format_args!("map {name}")))?;
        if matches!(fate, Fate::Reuse | Fate::ReuseWithSize(_)) {
            let stage = store.stage().pin(&job.name, Shelf::Maps, &pin_name(name)?);
            fs::hard_link(&live, &stage).map_err(|e| Fault::io(Cause::Pin, format!("link {} to {}", live.display(), stage.display()), &e))?;
        }
        fates.insert(name.as_str(), fate);
    }
    Ok(fates)
}

/// The maps behind .rodata, .data and .bss belong to one load: constants are frozen, and variables start afresh.
fn holds_globals(name: &str) -> bool {
    [".rodata", ".data", ".bss"].iter().any(|prefix| name.starts_with(prefix))
}

fn identity_of(path: &Path) -> Result<(OwnedFd, MapIdentity), Fault> {
    let fault = |e: &std::io::Error| Fault::io(Cause::Pin, format!("open {}", path.display()), e);
    let fd = bpf::open_pin(path).map_err(|e| fault(&e))?;
    match bpf::kind_of(fd.as_fd()) {
        Some(Pinned::Map) | None => {}
        Some(is) => {
            return Err(Fault::new(Cause::Pin, format!("{} is a {}, not a map", path.display(), format!("{is:?}").to_lowercase()))
                .mend(format!("rm {}", path.display())));
        }
    }
    let identity = bpf::map_identity(fd.as_fd()).map_err(|e| fault(&e))?;
    Ok((fd, identity))
}

fn finish_map(job: &Job, store: &Store, machine: Machine, name: &str, wish: &MapWish, fate: Option<&Fate>) -> Result<OpenedMap, Fault> {
    let name = pin_name(name)?;
    let of_map = |fault: Fault| fault.about(format_args!("map {name}"));
    let (fd, identity) = identity_of(&store.stage().pin(&job.name, Shelf::Maps, &name)).map_err(of_map)?;
    let mut note = match fate {
        Some(Fate::Reuse) => "taken over with its contents".to_owned(),
        Some(Fate::ReuseWithSize(entries)) => format!("taken over with its contents and its own size, {entries}"),
        Some(Fate::Recreate) => "made anew: the pinned one had another layout".to_owned(),
        Some(Fate::Migrate) => {
            let (old, _) = identity_of(&store.live().pin(&job.name, Shelf::Maps, &name)).map_err(of_map)?;
            let count = entries::copy(old.as_fd(), fd.as_fd(), &identity, machine.cpus).map_err(of_map)?;
            format!("made anew, {count} entries copied")
        }
        None => String::new(),
    };
    if !wish.entries.is_empty() {
        entries::write(fd.as_fd(), &identity, &wish.entries, machine.cpus).map_err(of_map)?;
        note = [note.as_str(), &format!("{} entries written", wish.entries.len())].iter().filter(|s| !s.is_empty()).copied().collect::<Vec<_>>().join("; ");
    }
    for (index, inner) in job.inner_maps.get(name.as_str()).into_iter().flatten() {
        let (inner, _) = identity_of(&store.stage().pin(&job.name, Shelf::Maps, &pin_name(inner)?)).map_err(of_map)?;
        let value = (inner.as_raw_fd() as u32).to_ne_bytes();
        bpf::write_entry(fd.as_fd(), &index.to_ne_bytes(), &value).map_err(|e| of_map(Fault::io(Cause::Map, format!("put a map at index {index}"), &e)))?;
    }
    Ok(OpenedMap { name, identity, note })
}
