//! What object and configuration put into maps, held against what is in them: the programs behind a program array, the
//! maps in a map of maps, the entries of the configuration. Reads only; what cannot be read is not taken for changed.

use std::os::fd::{AsFd, OwnedFd};

use super::{
    entries,
    job::Job,
    record::Record,
    store::{Generation, Shelf},
};
use crate::sys::bpf;

/// Why the maps of an object do not hold what they were given; `None` when they do.
pub fn disproved(live: &Generation, job: &Job, record: &Record) -> Option<String> {
    record.maps.iter().find_map(|(name, identity)| {
        let wish = job.maps.get(name.as_str());
        let (programs, inner) = (wish.map(|wish| &wish.programs), job.inner_maps.get(name.as_str()));
        let entries = wish.map_or(&[][..], |wish| &wish.entries);
        if entries.is_empty() && inner.is_none() && programs.is_none_or(|programs| programs.is_empty()) {
            return None;
        }
        let map = bpf::open_pin(&live.pin(&job.name, Shelf::Maps, name)).ok()?;
        let program = |at: &str| Some(("program", record.program(at)?));
        let map_in = |at: &str| Some(("map", record.maps.iter().find(|(name, _)| name.as_str() == at)?.1.id));
        let mut programs = programs.into_iter().flat_map(|slots| slots.iter());
        let why = programs
            .find_map(|(index, name)| slot(&map, *index, name, program(name)?))
            .or_else(|| inner?.iter().find_map(|(index, name)| slot(&map, *index, name, map_in(name)?)))
            .or_else(|| entries::changed(map.as_fd(), identity, entries))?;
        Some(format!("map {name}: {why}"))
    })
}

/// Why an index does not hold what belongs there. Such a map is read as the ids of what it holds
/// (bpf_fd_array_map_lookup_elem() in kernel/bpf/arraymap.c).
fn slot(map: &OwnedFd, index: u32, name: &str, (what, wanted): (&str, u32)) -> Option<String> {
    let mut is = [0; 4];
    match bpf::read_entry(map.as_fd(), &index.to_ne_bytes(), &mut is) {
        Ok(true) if u32::from_ne_bytes(is) != wanted => Some(format!("index {index} holds another {what} than {name}")),
        Ok(false) => Some(format!("index {index} is empty; {what} {name} belongs there")),
        _ => None,
    }
}
