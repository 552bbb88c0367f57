//! Maps of objects, made or taken over.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use aya_obj::EbpfSectionKind;

use super::{
    entries,
    fault::{of_new_map, of_pin},
    job::Job,
    layout::{Fate, Layout, Machine, fate},
    outside::Outside,
    store::{Shelf, Store},
};
use crate::{
    config::{MapWish, PinName},
    error::{Cause, Fault},
    sys::{
        bpf::{self, MapIdentity, Pinned},
        load::{NewMap, create_map, freeze_map},
    },
};

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
    /// When it was begun, and how long it took.
    pub made: (Instant, Duration),
}

/// About what it will hold.
pub fn bytes(map: &aya_obj::Map) -> u64 {
    let entry = u64::from(map.key_size()) + u64::from(map.value_size());
    u64::from(map.max_entries()).saturating_mul(entry.max(1))
}

/// One map in the stage: taken over from the live generation where the policy says so, or new.
///
/// # Errors
/// A [`Cause::Map`], [`Cause::Pin`] or [`Cause::Limit`] fault.
pub fn make(
    job: &Job,
    name: &str,
    map: &aya_obj::Map,
    btf: Option<&OwnedFd>,
    store: &Store,
    machine: Machine,
    outside: &Outside,
) -> Result<OpenedMap, Fault> {
    let wish = &job.maps.get(name).cloned().unwrap_or_default();
    let (start, of_map) = (Instant::now(), |fault: Fault| fault.about(format_args!("map {name}")));
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
        bpf::pin(fd.as_fd(), &stage).map_err(|e| of_map(of_pin(&e, &stage)))?;
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
    Ok(OpenedMap { name: pin, fd, identity, note, made: (start, start.elapsed()) })
}

/// Whether a map is made anew whatever the live generation holds. A map of programs or maps that we fill: written in
/// place, it would send what is live to the new ones at once. Maps of globals: they belong to one load.
pub fn is_replaced(job: &Job, name: &str) -> bool {
    holds_globals(name)
        || job.maps.get(name).is_some_and(|wish| !wish.programs.is_empty())
        || job.inner_maps.get(name).is_some()
}

pub(super) fn create(
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
pub(super) fn fill_globals(fd: &OwnedFd, map: &aya_obj::Map) -> Result<(), Fault> {
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
///
/// # Errors
/// A [`Cause::Map`] fault.
pub fn fill_maps_of_maps(job: &Job, maps: &[OpenedMap]) -> Result<(), Fault> {
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
                format!("{} is a {}, not a map", path.display(), format!("{is:?}").to_ascii_lowercase()),
            )
            .mend(format!("rm {}", path.display())));
        }
    }
    let identity = bpf::map_identity(fd.as_fd()).map_err(|e| fault(&e))?;
    Ok((fd, identity))
}
