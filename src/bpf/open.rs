//! From bytes to maps: aya-obj parses the object, its maps are made or taken over, and its programs are relocated.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fs, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::Path,
    sync::OnceLock,
};

use aya_obj::{
    EbpfSectionKind, Object,
    btf::{Btf, BtfError, BtfFeature},
    generated::bpf_map_type,
};
use object::Endianness;

use super::{
    against::{needs_types, relocate_against, resolve},
    crew, entries,
    fault::{of_btf, of_new_map, of_parse, of_relocation},
    job::Job,
    kind::Kind,
    layout::{Fate, Layout, Machine, fate},
    outside::{KERNEL_BTF, Outside},
    rewrite,
    store::{Shelf, Store},
};
use crate::{
    config::{MapWish, PinName, Table},
    error::{Cause, Fault},
    facts::KernelVersion,
    sys::{
        bpf::{self, MapIdentity, Pinned},
        load::{NewMap, create_map, freeze_map, load_btf},
        process,
    },
};

/// An object whose maps exist and are pinned in the stage, and whose programs are ready to load.
pub struct Opened {
    /// Its programs and functions, relocated.
    pub object: Object,
    /// Its BTF in the kernel.
    pub btf: Option<OwnedFd>,
    /// Its maps, by name.
    pub maps: Vec<OpenedMap>,
    /// Its loaded programs, by name.
    pub loaded: Table<PinName, OwnedFd>,
}

/// One map of an object.
pub struct OpenedMap {
    /// Its name.
    pub name: PinName,
    /// The map.
    pub fd: OwnedFd,
    /// Who it is.
    pub identity: MapIdentity,
    /// `taken over with its contents`, `made anew, 5 entries copied`…; empty for a plain new one.
    pub note: String,
}

/// The running kernel's BTF, parsed at most once and only when something needs it: 45 ms and 17 MB.
pub struct KernelBtf<'a> {
    /// Where it was opened.
    pub outside: &'a Outside,
    /// What became of it.
    pub parsed: OnceLock<Result<Btf, Fault>>,
}

impl KernelBtf<'_> {
    /// The BTF.
    ///
    /// # Errors
    /// A [`Cause::Kernel`] fault: this kernel has none.
    pub fn get(&self) -> Result<&Btf, Fault> {
        let parsed = self.parsed.get_or_init(|| {
            let path = Path::new(KERNEL_BTF);
            let absent = |error| BtfError::FileError { path: path.to_owned(), error };
            let bytes = self.outside.read(path).map_err(absent);
            bytes.and_then(|bytes| Btf::parse(&bytes, Endianness::default())).map_err(|error| of_btf(&error))
        });
        parsed.as_ref().map_err(Clone::clone)
    }
}

/// Maps for which a thread more is worth starting.
const MAPS_EACH: usize = 4;

/// Opens an object into the stage.
///
/// # Errors
/// What [`of_parse`], [`of_relocation`], [`fate`] and [`entries`] say.
pub fn open(job: &Job, store: &Store, machine: Machine, kernel_btf: &KernelBtf<'_>) -> Result<Opened, Fault> {
    let mut object = read(job)?;
    let kernel = KernelVersion::running();
    let btf = type_info(&mut object, kernel)?.and_then(|btf| load_btf(&btf, kernel_btf.outside.token()).ok());
    relocate_types(job, &mut object, kernel_btf)?;
    let mut defined: Vec<(String, aya_obj::Map)> = mem::take(&mut object.maps).into_iter().collect();
    // Maps of maps last: the kernel wants to see a map like the ones they will hold. The largest first, since nobody is to
    // wait for one that was begun last.
    defined.sort_by_key(|(name, map)| (is_map_of_maps(map), Reverse(bytes(map)), name.clone()));
    // Large maps take milliseconds, a thread a tenth of one.
    let threads = process::usable_cpus().min(defined.len() / MAPS_EACH);
    let done = crew::Done::default();
    crew::work(defined.len(), threads, &|at, _| {
        let Some((name, map)) = defined.get(at) else { return };
        let wish = job.maps.get(name).cloned().unwrap_or_default();
        crew::note(&done, (at, make(job, store, machine, kernel_btf.outside, btf.as_ref(), name, map, &wish)));
    });
    let mut made = crew::all(done);
    made.sort_by_key(|(at, _)| *at);
    let mut maps = made.into_iter().map(|(_, made)| made).collect::<Result<Vec<_>, _>>()?;
    fill_maps_of_maps(job, &maps)?;
    relocate(
        &mut object,
        defined.iter().zip(&maps).map(|((name, map), made)| (name.as_str(), made.fd.as_raw_fd(), map)),
        kernel,
    )?;
    maps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Opened { object, btf, maps, loaded: Table::default() })
}

/// Parses an object, and gives its globals their values.
///
/// # Errors
/// What [`of_parse`] says, and a fault of [`rewrite::for_aya`].
pub(super) fn read(job: &Job) -> Result<Object, Fault> {
    let known = |program: &&super::job::ProgramJob| program.kind != Kind::Unknown;
    let mut sections: Vec<String> = job.programs.iter().filter(known).map(|program| program.section.clone()).collect();
    sections.sort();
    let wanted = |section: &str| sections.binary_search_by(|known| known.as_str().cmp(section)).is_ok();
    let elf = rewrite::for_aya(&job.bytes.elf, &wanted)?;
    let mut object = Object::parse(&elf).map_err(|error| of_parse(&error))?;
    let globals: HashMap<&str, (&[u8], bool)> =
        job.globals.iter().map(|(name, value)| (name.as_str(), (value.as_slice(), true))).collect();
    object.patch_map_data(globals).map_err(|error| of_parse(&error))?;
    Ok(object)
}

/// Puts descriptors of maps, and the places of functions, into the instructions.
///
/// # Errors
/// What [`of_relocation`] says.
pub(super) fn relocate<'a>(
    object: &mut Object,
    places: impl Iterator<Item = (&'a str, RawFd, &'a aya_obj::Map)>,
    kernel: KernelVersion,
) -> Result<(), Fault> {
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_maps(places, &text).map_err(|error| of_relocation(&error))?;
    object.relocate_externs().map_err(|error| of_relocation(&error))?;
    object.relocate_calls(&text).map_err(|error| of_relocation(&error))?;
    // bpf_probe_read_kernel() is of 5.5 (6ae08ae3dea2); before, there was one helper for both address spaces.
    object.sanitize_functions(|| kernel >= (KernelVersion { major: 5, minor: 5 }));
    Ok(())
}

/// About what it will hold.
fn bytes(map: &aya_obj::Map) -> u64 {
    let entry = u64::from(map.key_size()) + u64::from(map.value_size());
    u64::from(map.max_entries()).saturating_mul(entry.max(1))
}

fn is_map_of_maps(map: &aya_obj::Map) -> bool {
    [bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS, bpf_map_type::BPF_MAP_TYPE_HASH_OF_MAPS]
        .iter()
        .any(|kind| *kind as u32 == map.map_type())
}

/// The object's BTF, without the kinds that `kernel` is too old for. Where the kernel refuses it all the same, the programs
/// load without it: it only names their functions and lines.
///
/// # Errors
/// What [`of_btf`] says.
pub(super) fn type_info(object: &mut Object, kernel: KernelVersion) -> Result<Option<Vec<u8>>, Fault> {
    let since = |major, minor| kernel >= KernelVersion { major, minor };
    let supported = |feature| match feature {
        BtfFeature::Func => since(5, 0),
        BtfFeature::DataSec => since(5, 2),
        BtfFeature::FuncGlobal => since(5, 6),
        BtfFeature::DataSecZero => since(5, 12),
        BtfFeature::Float => since(5, 13),
        BtfFeature::DeclTag => since(5, 16),
        BtfFeature::TypeTag => since(5, 17),
        BtfFeature::Enum64 => since(6, 0),
    };
    let btf = object.fixup_and_sanitize_btf(|| since(4, 18).then_some(supported)).map_err(|error| of_btf(&error))?;
    Ok(btf.map(|btf| btf.to_bytes()))
}

/// CO-RE: accesses to kernel types and symbols become those of the target kernel.
pub(super) fn relocate_types(job: &Job, object: &mut Object, kernel_btf: &KernelBtf<'_>) -> Result<(), Fault> {
    if !needs_types(object) {
        return resolve(object, None);
    }
    let own = job.btf.as_ref().map(|btf| read_btf(&btf.path, kernel_btf.outside)).transpose()?;
    let target = match &own {
        Some(btf) => Ok(btf),
        None => kernel_btf.get(),
    };
    relocate_against(object, target)
}

/// One map in the stage: taken over from the live generation where the policy says so, or new.
#[allow(clippy::too_many_arguments, reason = "one call, and they are all different")]
fn make(
    job: &Job,
    store: &Store,
    machine: Machine,
    outside: &Outside,
    btf: Option<&OwnedFd>,
    name: &str,
    map: &aya_obj::Map,
    wish: &MapWish,
) -> Result<OpenedMap, Fault> {
    let of_map = |fault: Fault| fault.about(format_args!("map {name}"));
    let pin = pin_name(name)?;
    let stage = store.stage().pin(&job.name, Shelf::Maps, &pin);
    let layout = Layout::wanted(map, wish, machine);
    let live = store.live().pin(&job.name, Shelf::Maps, &pin);
    let old = if is_replaced(job, name) { None } else { outside.map(&live).map_err(of_map)? };
    let fate = old.map(|(_, identity)| {
        fate(layout, Layout::pinned(&identity), job.on_mismatch, &live.display().to_string()).map_err(of_map)
    });
    let fate = fate.transpose()?;
    let (fd, identity) = if let (Some(Fate::Reuse | Fate::ReuseWithSize(_)), Some((fd, identity))) = (&fate, old) {
        fs::hard_link(&live, &stage)
            .map_err(|e| Fault::io(Cause::Pin, format!("link {} to {}", live.display(), stage.display()), &e))?;
        let fd = fd.try_clone_to_owned().map_err(|e| of_map(Fault::io(Cause::Map, "keep it open", &e)))?;
        (fd, identity)
    } else {
        outside.room.take(layout, machine).map_err(of_map)?;
        let fd = create(name, map, layout, machine, btf, outside.token())?;
        fill_globals(&fd, map).map_err(of_map)?;
        bpf::pin(fd.as_fd(), &stage).map_err(|e| of_map(super::fault::of_pin(&e, &stage)))?;
        let identity = bpf::map_identity(fd.as_fd()).map_err(|e| of_map(Fault::io(Cause::Map, "look at it", &e)))?;
        (fd, identity)
    };
    let mut note = match fate {
        Some(Fate::Reuse) => "taken over with its contents".to_owned(),
        Some(Fate::ReuseWithSize(entries)) => format!("taken over with its contents and its own size, {entries}"),
        Some(Fate::Recreate) => "made anew: the pinned one had another layout".to_owned(),
        Some(Fate::Migrate) => {
            let copied = old.map(|(old, _)| entries::copy(old, fd.as_fd(), &identity, machine.cpus));
            format!("made anew, {} entries copied", copied.transpose().map_err(of_map)?.unwrap_or(0))
        }
        None => String::new(),
    };
    if !wish.entries.is_empty() {
        // What is live is written at the commit: until then nothing of this run may show in it.
        if !matches!(fate, Some(Fate::Reuse | Fate::ReuseWithSize(_))) {
            entries::write(fd.as_fd(), &identity, &wish.entries, machine.cpus).map_err(of_map)?;
        }
        let separator = if note.is_empty() { "" } else { "; " };
        note = format!("{note}{separator}{} entries written", wish.entries.len());
    }
    Ok(OpenedMap { name: pin, fd, identity, note })
}

/// Whether a map is made anew whatever the live generation holds. A map of programs or maps that we fill: written in
/// place, it would send what is live to the new ones at once. Maps of globals: they belong to one load.
pub fn is_replaced(job: &Job, name: &str) -> bool {
    holds_globals(name)
        || job.maps.get(name).is_some_and(|wish| !wish.programs.is_empty())
        || job.inner_maps.get(name).is_some()
}

fn create(
    name: &str,
    map: &aya_obj::Map,
    layout: Layout,
    machine: Machine,
    btf: Option<&OwnedFd>,
    token: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Fault> {
    let fault = |e: &std::io::Error| of_new_map(name, e, layout);
    let inner = map.inner().map(|inner| {
        let layout = Layout::wanted(&inner, &MapWish::default(), machine);
        create_map(&NewMap { token, ..new_map(name, &inner, layout, None) }).map_err(|e| of_new_map(name, &e, layout))
    });
    let inner = inner.transpose()?;
    let new = NewMap { inner: inner.as_ref().map(AsFd::as_fd), token, ..new_map(name, map, layout, btf) };
    create_map(&new).or_else(|first| without_types(new, first)).map_err(|e| fault(&e))
}

/// A map whose key or value has a type that the kernel does not take, or only one of them, is made without (as by
/// bpf_object__create_map() in tools/lib/bpf/libbpf.c).
fn without_types(mut new: NewMap<'_>, first: std::io::Error) -> std::io::Result<OwnedFd> {
    match new.btf.take() {
        Some(_) if first.raw_os_error() == Some(libc::EINVAL) => create_map(&new).map_err(|_| first),
        _ => Err(first),
    }
}

fn new_map<'a>(name: &'a str, map: &aya_obj::Map, layout: Layout, btf: Option<&'a OwnedFd>) -> NewMap<'a> {
    // Many special maps take no BTF for key and value (libbpf issue 355): the plain ones do.
    let types = match map {
        aya_obj::Map::Btf(map) if layout.takes_btf() => Some((map.def.btf_key_type_id, map.def.btf_value_type_id)),
        _ => None,
    };
    NewMap {
        name,
        map_type: layout.map_type,
        key_size: layout.key_size,
        value_size: layout.value_size,
        max_entries: layout.max_entries,
        flags: layout.flags,
        extra: map.map_extra(),
        btf: btf.zip(types).map(|(fd, (key, value))| (fd.as_fd(), key, value)),
        inner: None,
        token: None,
    }
}

/// Writes the initial values of the object's global variables, and freezes constants.
fn fill_globals(fd: &OwnedFd, map: &aya_obj::Map) -> Result<(), Fault> {
    if !map.data().is_empty() {
        bpf::write_entry(fd.as_fd(), &0u32.to_ne_bytes(), map.data())
            .map_err(|e| Fault::io(Cause::Map, "write the initial values", &e))?;
    }
    if map.section_kind() == EbpfSectionKind::Rodata {
        freeze_map(fd.as_fd()).map_err(|e| Fault::io(Cause::Map, "freeze the constants", &e))?;
    }
    Ok(())
}

/// Puts into maps of maps what their source declares.
fn fill_maps_of_maps(job: &Job, maps: &[OpenedMap]) -> Result<(), Fault> {
    let find = |name: &str| maps.iter().find(|map| map.name.as_str() == name);
    for (name, slots) in &job.inner_maps {
        for (index, inner) in slots {
            let (Some(outer), Some(map)) = (find(name), find(inner)) else { continue };
            let value = (map.fd.as_raw_fd() as u32).to_ne_bytes();
            bpf::write_entry(outer.fd.as_fd(), &index.to_ne_bytes(), &value)
                .map_err(|e| Fault::io(Cause::Map, format!("map {name}: put map {inner} at index {index}"), &e))?;
        }
    }
    Ok(())
}

fn pin_name(name: &str) -> Result<PinName, Fault> {
    name.parse().map_err(|why| Fault::new(Cause::Object, format!("the map name {name:?} cannot be a pin: {why}")))
}

fn read_btf(path: &Path, outside: &Outside) -> Result<Btf, Fault> {
    let shown = path.display();
    let bytes = outside.read(path).map_err(|e| Fault::io(Cause::Object, format!("read the BTF file {shown}"), &e))?;
    Btf::parse(&bytes, Endianness::default())
        .map_err(|error| Fault::new(Cause::Object, format!("read the BTF file {shown}: {error}")))
}

/// The maps behind .rodata, .data and .bss belong to one load: constants are frozen, and variables start afresh.
fn holds_globals(name: &str) -> bool {
    [".rodata", ".data", ".bss"].iter().any(|prefix| name.starts_with(prefix))
}

/// A pinned map, and who it is.
///
/// # Errors
/// A [`Cause::Pin`] fault: it cannot be opened, or is no map.
pub fn identity_of(path: &Path) -> Result<(OwnedFd, MapIdentity), Fault> {
    let fault = |e: &std::io::Error| Fault::io(Cause::Pin, format!("open {}", path.display()), e);
    let fd = bpf::open_pin(path).map_err(|e| fault(&e))?;
    match bpf::kind_of(fd.as_fd()) {
        Some(Pinned::Map) | None => {}
        Some(is) => {
            return Err(Fault::new(
                Cause::Pin,
                format!("{} is a {}, not a map", path.display(), format!("{is:?}").to_lowercase()),
            )
            .mend(format!("rm {}", path.display())));
        }
    }
    let identity = bpf::map_identity(fd.as_fd()).map_err(|e| fault(&e))?;
    Ok((fd, identity))
}
