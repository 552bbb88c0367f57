//! The live generation as the kernel has it: each pin of the record opened, held against its identity, and asked what it
//! has been doing. Reads only.

use std::os::fd::{AsFd, OwnedFd};

use aya_obj::generated::bpf_prog_type as T;

use super::{
    fill,
    generation::{Generation, Shelf},
    layout::type_word,
    record::{LinkRecord, Record},
    store::Store,
};
use crate::{
    config::PinName,
    error::{Fault, errno_text},
    seen::{Life, Link, Map, Object, Program, Runs, Thing},
    sys::{
        bpf::{self, MapIdentity, Pinned, ProgramIdentity},
        cpu,
        file::errno,
        look::{self, LinkInfo},
        netlink,
    },
};

/// The names by which the embedded objects call a ring buffer and the counter of what found no room in it.
const EVENTS: &str = "events";
const DROPS: &str = "drops";

/// Looks at every object of the live generation. `count`: also at how full large tables are, which takes a walk.
///
/// # Errors
/// A pin fault: the directory is not ours, or cannot be read.
pub fn look(store: &Store, count: bool) -> Result<Vec<Object>, Fault> {
    if !store.exists()? {
        return Ok(Vec::new());
    }
    store.trusted()?;
    let live = store.live();
    Ok(live.objects()?.iter().map(|name| object(&live, name, count)).collect())
}

fn object(live: &Generation, name: &PinName, count: bool) -> Object {
    let seen = Object { name: name.to_string(), ..Object::default() };
    let record = match Record::read(&live.object(name)) {
        Ok(Some(record)) => record,
        Ok(None) => {
            return Object { absent: Some("its pins have no record: who they are is not known".into()), ..seen };
        }
        Err(fault) => return Object { absent: Some(fault.to_string()), ..seen },
    };
    let place = Place { live, object: name };
    let maps: Vec<_> = record.maps.iter().map(|(name, map)| place.map(name, map, count)).collect();
    let lost = lost(&maps);
    Object {
        programs: record.programs.iter().map(|(name, program)| place.program(name, program)).collect(),
        maps: maps.into_iter().map(|(map, _)| map).collect(),
        links: record.links.iter().map(|link| place.link(link, &record)).collect(),
        lost,
        ..seen
    }
}

/// What found no room in the ring buffer of an object that counts it as ours do: one number a CPU.
fn lost(maps: &[(Map, Option<OwnedFd>)]) -> Option<u64> {
    maps.iter().find(|(map, _)| map.ring && map.thing.name == EVENTS)?;
    let named = |(map, _): &&(Map, _)| map.thing.name == DROPS && map.kind == "percpu_array" && map.value_size == 8;
    let (_, fd) = maps.iter().find(named)?;
    let mut copies = vec![0; 8 * cpu::possible() as usize];
    bpf::read_entry(fd.as_ref()?.as_fd(), &[0; 4], &mut copies).ok()?;
    Some(copies.chunks_exact(8).filter_map(|copy| copy.try_into().ok().map(u64::from_ne_bytes)).sum())
}

/// An object's directory.
struct Place<'a> {
    live: &'a Generation,
    object: &'a PinName,
}

impl Place<'_> {
    /// A pin, opened, and the bytes charged for it; or what became of it.
    fn open(&self, name: &PinName, shelf: Shelf) -> Result<(OwnedFd, Option<u64>), Thing> {
        let lost = |life, why| Thing { name: name.to_string(), life, why, ..Thing::default() };
        let fd = bpf::open_pin(&self.live.pin(self.object, shelf, name)).map_err(|error| match errno(&error) {
            libc::ENOENT => lost(Life::Missing, "the pin is gone".into()),
            errno => lost(Life::Missing, errno_text(errno)),
        })?;
        let wanted = match shelf {
            Shelf::Progs => Pinned::Program,
            Shelf::Maps => Pinned::Map,
            Shelf::Links => Pinned::Link,
        };
        match look::fdinfo(fd.as_fd()) {
            Ok(info) if info.kind == Some(wanted) => Ok((fd, info.memory)),
            Ok(info) => {
                let is = info.kind.map_or_else(|| "other thing".into(), |is| format!("{is:?}").to_lowercase());
                Err(lost(Life::Replaced, format!("a {is} is pinned there")))
            }
            // Without /proc the kinds cannot be told apart; the identity still has to match.
            Err(_) => Ok((fd, None)),
        }
    }

    fn program(&self, name: &PinName, wanted: &ProgramIdentity) -> Program {
        let gone = |thing| Program { thing, tag: wanted.tag(), ..Program::default() };
        let (fd, memory) = match self.open(name, Shelf::Progs) {
            Ok(opened) => opened,
            Err(thing) => return gone(Thing { id: wanted.id, ..thing }),
        };
        let info = match look::program(fd.as_fd()) {
            Ok(info) => info,
            Err(error) => return gone(unasked(name, wanted.id, &error)),
        };
        let is = info.identity;
        let mut thing = Thing { name: name.to_string(), id: is.id, ..Thing::default() };
        if (is.id, is.tag) != (wanted.id, wanted.tag) {
            thing.life = Life::Replaced;
            thing.why = format!("id {} tag {} was loaded", wanted.id, wanted.tag());
        }
        Program {
            thing,
            kind: program_word(info.kind),
            tag: is.tag(),
            loaded: info.loaded,
            jited: info.jited,
            memory,
            verified: is.verified_instructions,
            misses: info.misses,
            ever: Runs { count: info.runs, ns: info.ns },
            sample: None,
        }
    }

    /// A map, and its descriptor where more is asked of it.
    fn map(&self, name: &PinName, wanted: &MapIdentity, count: bool) -> (Map, Option<OwnedFd>) {
        let of = |thing, map: &MapIdentity| Map {
            thing,
            kind: type_word(map.map_type),
            key_size: map.key_size,
            value_size: map.value_size,
            max_entries: map.max_entries,
            flags: map.flags,
            ring: fill::is_ring(map),
            ..Map::default()
        };
        let (fd, memory) = match self.open(name, Shelf::Maps) {
            Ok(opened) => opened,
            Err(thing) => return (of(Thing { id: wanted.id, ..thing }, wanted), None),
        };
        let is = match bpf::map_identity(fd.as_fd()) {
            Ok(is) => is,
            Err(error) => return (of(unasked(name, wanted.id, &error), wanted), None),
        };
        let mut thing = Thing { name: name.to_string(), id: is.id, ..Thing::default() };
        if is != *wanted {
            thing.life = Life::Replaced;
            thing.why = format!("id {} with {} entries was made", wanted.id, wanted.max_entries);
        }
        let used = fill::used(&fd, &is, count);
        // Hundreds of maps must not take hundreds of descriptors.
        (Map { memory, used, ..of(thing, &is) }, Some(fd).filter(|_| name.as_str() == DROPS))
    }

    fn link(&self, wanted: &LinkRecord, record: &Record) -> Link {
        let link = Link { program: wanted.program.to_string(), target: wanted.target.clone(), ..Link::default() };
        let fd = match self.open(&wanted.name, Shelf::Links) {
            Ok((fd, _)) => fd,
            Err(thing) => return Link { thing: Thing { id: wanted.id, ..thing }, ..link },
        };
        let info = match look::link(fd.as_fd()) {
            Ok(info) => info,
            Err(error) => return Link { thing: unasked(&wanted.name, wanted.id, &error), ..link },
        };
        let program = record.programs.iter().find(|(name, _)| *name == wanted.program).map(|(_, program)| program.id);
        let (life, why) = match info.identity.program {
            _ if info.identity.id != wanted.id => (Life::Replaced, format!("link {} was made", wanted.id)),
            _ if info.gone => (Life::Dead, "what it was attached to is gone".to_owned()),
            is if program.is_some_and(|program| program != is) => {
                (Life::Replaced, format!("it carries program {is}, not ours"))
            }
            _ => (Life::Alive, String::new()),
        };
        let thing = Thing { name: wanted.name.to_string(), id: info.identity.id, life, why };
        on_interface(Link { thing, missed: info.missed, ..link }, &info)
    }
}

/// Where an XDP link really is: an interface can be renamed, and `any` mode came to be one of the modes.
fn on_interface(mut link: Link, info: &LinkInfo) -> Link {
    let Some(index) = info.identity.ifindex.filter(|index| *index != 0) else { return link };
    let here = netlink::interface_at(index).ok().flatten();
    let mode = here.as_ref().and_then(|(_, it)| it.programs().find(|(_, id)| *id == info.identity.program));
    if let (Some((name, _)), Some((mode, _))) = (&here, mode) {
        link.mode = Some(mode);
        link.target = format!("xdp {name} {mode}");
    } else if link.thing.life == Life::Alive {
        link.thing.why = "in another network namespace".into();
    }
    link
}

fn unasked(name: &PinName, id: u32, error: &std::io::Error) -> Thing {
    Thing { name: name.to_string(), id, life: Life::Missing, why: errno_text(errno(error)) }
}

/// A program's type as bpftool writes it: `xdp`.
fn program_word(kind: u32) -> String {
    T::try_from(kind).map_or_else(
        |_| format!("type {kind}"),
        |kind| format!("{kind:?}").trim_start_matches("BPF_PROG_TYPE_").to_lowercase(),
    )
}
