//! The memory that maps may take by the configuration: what is over it is refused before anything is made, or made
//! smaller where that was asked for.

use std::{cmp::Reverse, fmt};

#[cfg(feature = "workbench")]
use super::source;
use super::{
    estimate::Kernel,
    job::Job,
    plan::Broken,
    sized::{self, SizedMap},
};
use crate::{
    config::{Config, PinName},
    error::{Cause, Fault},
    facts::Facts,
};

/// How many of the largest maps a fault names.
const NAMED: usize = 3;

/// What budgets have made of the maps.
#[derive(Debug, Default)]
pub struct Settled {
    /// All maps, with the sizes they come to.
    pub maps: Vec<SizedMap>,
    /// Objects that cannot be loaded, and why.
    pub over: Vec<(PinName, Fault)>,
    /// What was made smaller.
    pub notes: Vec<String>,
}

/// Bytes as people read them: `14.2 MiB`.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shift, unit) = match self.0 {
            0..0x400 => return write!(f, "{} B", self.0),
            0x400..0x10_0000 => (10, "KiB"),
            0x10_0000..0x4000_0000 => (20, "MiB"),
            _ => (30, "GiB"),
        };
        let tenths = (u128::from(self.0) * 10) >> shift;
        write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// Whether there is any budget.
pub fn any(config: &Config) -> bool {
    config.bpf.memory_budget.is_some() || config.objects.values().any(|wish| wish.memory_budget.is_some())
}

/// Makes maps smaller that may be, and takes out the objects whose maps do not fit; gives those, and what to note.
pub fn keep(jobs: &mut Vec<Job>, config: &Config, facts: &Facts) -> (Vec<Broken>, Vec<String>) {
    if !any(config) {
        return (Vec::new(), Vec::new());
    }
    if facts.target().is_some() {
        let note =
            "memory-budget is not looked at here, for it hangs on the CPUs of the machine: bpfboot estimate --kernel";
        return (Vec::new(), vec![note.to_owned()]);
    }
    let settled = settle(jobs, config, &sized::running(true));
    for map in settled.maps.iter().filter(|map| map.layout.max_entries != map.asked) {
        if let Some(job) = jobs.iter_mut().find(|job| job.name == map.object) {
            job.resize(&map.name, map.layout.max_entries);
        }
    }
    let mut broken = Vec::new();
    for (name, fault) in settled.over {
        let lost = jobs.iter().position(|job| job.name == name).map(|at| jobs.remove(at));
        let optional = lost.is_some_and(|job| job.optional);
        broken.push(Broken { name, optional, unread: false, fault });
    }
    (broken, settled.notes)
}

/// Holds the maps of all objects against the budgets of the configuration. Of maps that may be made smaller, the largest
/// is halved until the rest fits; optional objects are given up before others.
pub fn settle(jobs: &[Job], config: &Config, kernel: &Kernel) -> Settled {
    let mut settled = Settled::default();
    for job in jobs {
        let wish = config.objects.get(&job.name);
        let (shrink, budget) = wish.map_or((false, None), |wish| (wish.shrink, wish.memory_budget));
        let maps = sized::maps(job, shrink, kernel).and_then(|mut maps| match budget {
            Some(budget) if !shrunk(&mut maps, budget, kernel) => {
                Err(too_much(&maps, budget, &format!("object.{}.memory-budget", job.name), kernel))
            }
            _ => Ok(maps),
        });
        match maps {
            Ok(maps) => settled.maps.extend(maps),
            Err(fault) => settled.over.push((job.name.clone(), fault)),
        }
    }
    if let Some(budget) = config.bpf.memory_budget {
        while !shrunk(&mut settled.maps, budget, kernel) {
            let bytes = |job: &&Job| sum(settled.maps.iter().filter(|map| map.object == job.name));
            let some = jobs.iter().filter(|job| bytes(job) > 0);
            let Some(lost) = some.max_by_key(|job| (job.optional, bytes(job))).map(|job| job.name.clone()) else {
                break;
            };
            let fault = too_much(&settled.maps, budget, "bpf.memory-budget", kernel);
            settled.maps.retain(|map| map.object != lost);
            settled.over.push((lost, fault));
        }
    }
    for map in settled.maps.iter().filter(|map| map.layout.max_entries != map.asked) {
        let SizedMap { object, name, layout, asked, .. } = map;
        settled.notes.push(format!(
            "map {object}/{name} gets {} entries of {asked}, to fit in memory-budget",
            layout.max_entries
        ));
    }
    settled
}

/// The maps of a configuration as its budgets leave them. An object that cannot be read is among those that are over.
#[cfg(feature = "workbench")]
pub fn estimate(config: &Config, kernel: &Kernel, allow_untrusted: bool) -> Settled {
    let (mut jobs, mut unread) = (Vec::new(), Vec::new());
    for wish in config.objects.values() {
        match source::read(&wish.source, allow_untrusted).and_then(|bytes| Job::new(wish, bytes, None)) {
            Ok(job) => jobs.push(job),
            Err(fault) => unread.push((wish.name.clone(), fault)),
        }
    }
    let mut settled = settle(&jobs, config, kernel);
    settled.over.append(&mut unread);
    settled
}

fn sum<'m>(maps: impl Iterator<Item = &'m SizedMap>) -> u64 {
    maps.fold(0, |sum, map| sum.saturating_add(map.full()))
}

/// Makes maps smaller until they fit: whether they do.
fn shrunk(maps: &mut [SizedMap], budget: u64, kernel: &Kernel) -> bool {
    while sum(maps.iter()) > budget {
        let smaller = |map: &SizedMap| half(map, kernel).filter(|half| half.layout.max_entries >= map.least);
        let can = maps.iter_mut().filter_map(|map| smaller(map).map(|half| (map, half)));
        let Some((map, half)) = can.max_by_key(|(map, _)| map.full()) else { return false };
        *map = half;
    }
    true
}

/// The map with the next smaller power of two of entries: above one, the buckets of a hash table are twice as many.
fn half(map: &SizedMap, kernel: &Kernel) -> Option<SizedMap> {
    let less = 1 << map.layout.max_entries.checked_sub(1)?.checked_ilog2()?;
    let half = map.with(less, kernel);
    (half.full() < map.full()).then_some(half)
}

/// Says how much it is, of what, and what would fit.
fn too_much(maps: &[SizedMap], budget: u64, key: &str, kernel: &Kernel) -> Fault {
    let mut largest: Vec<&SizedMap> = maps.iter().collect();
    largest.sort_by_key(|map| Reverse(map.full()));
    let all = sum(maps.iter());
    let named: Vec<_> = largest.iter().take(NAMED).map(|map| named(map)).collect();
    let what =
        format!("maps take {} when full, and {key} is {}; the largest: {}", Size(all), Size(budget), named.join(", "));
    let mut fits = largest.first().copied().cloned();
    let others = all.saturating_sub(fits.as_ref().map_or(0, SizedMap::full));
    while let Some(map) = fits.take_if(|map| others.saturating_add(map.full()) > budget) {
        fits = half(&map, kernel);
    }
    let mend = match fits {
        Some(SizedMap { object, name, layout, .. }) => {
            format!(
                "object.{object}.maps.{name} = {{ max-entries = {} }}, or shrink = true on the object",
                layout.max_entries
            )
        }
        None => format!("{key} = \"{}M\", or fewer max-entries", all.div_ceil(1 << 20)),
    };
    Fault::new(Cause::Limit, what).mend(mend)
}

fn named(map: &SizedMap) -> String {
    let SizedMap { object, name, layout, .. } = map;
    format!("{object}/{name} {} ({} of {})", Size(map.full()), map.kind(), layout.max_entries)
}
