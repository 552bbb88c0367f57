//! The maps of objects with the bytes they take: before they are made, and held against the kernel's word after.

use std::{borrow::Cow, os::fd::AsFd};

use super::{
    declared,
    estimate::{Bytes, Kernel},
    job::Job,
    layout::{Layout, Machine, type_word},
    maps::identity_of,
    outside::KERNEL_BTF,
    plan::BpfPlan,
    store::Shelf,
};
use crate::{
    config::PinName,
    error::Fault,
    facts::KernelVersion,
    sys::{bpf, cpu, process},
};

/// One map of an object.
#[derive(Clone, Debug)]
pub struct SizedMap {
    /// Its object.
    pub object: PinName,
    /// Its name.
    pub name: String,
    /// Its layout, as the kernel will have it.
    pub layout: Layout,
    /// Its map_extra.
    pub extra: u64,
    /// What it takes; `None`: its type has no formula.
    pub bytes: Option<Bytes>,
    /// The entries it was to have.
    pub asked: u32,
    /// The fewest that a budget may leave it.
    pub least: u32,
}

impl SizedMap {
    /// Bytes with every entry used.
    pub fn full(&self) -> u64 {
        self.bytes.map_or(0, |bytes| bytes.full)
    }

    /// Its type's word.
    pub fn kind(&self) -> String {
        type_word(self.layout.map_type)
    }

    /// The same with another number of entries.
    #[must_use]
    pub fn with(&self, entries: u32, kernel: &Kernel) -> Self {
        let layout = self.layout.settled(Some(entries), kernel.machine);
        Self { layout, bytes: kernel.bytes(layout, self.extra), ..self.clone() }
    }
}

/// The kernel that runs, as far as its version tells; asking its BTF takes milliseconds more.
pub fn running(ask: bool) -> Kernel {
    let machine = Machine { page: process::page_size(), cpus: cpu::possible() };
    let mut kernel = Kernel::new(KernelVersion::running(), machine);
    if ask && let Ok(btf) = std::fs::read(KERNEL_BTF) {
        kernel.learn(&btf);
    }
    kernel
}

/// A kernel of another version, or for another number of possible CPUs.
#[cfg(feature = "workbench")]
pub fn kernel(version: Option<KernelVersion>, cpus: Option<u32>) -> Kernel {
    let mut kernel = running(version.is_none_or(|version| version == KernelVersion::running()));
    kernel.version = version.unwrap_or(kernel.version);
    kernel.machine.cpus = cpus.unwrap_or(kernel.machine.cpus);
    kernel
}

/// The maps of an object on a kernel. `shrink`: whether the object lets a budget make its tables smaller.
///
/// # Errors
/// A [`Cause::Object`](crate::error::Cause::Object) fault: the file is damaged.
pub fn maps(job: &Job, shrink: bool, kernel: &Kernel) -> Result<Vec<SizedMap>, Fault> {
    let sized = |declared: declared::Declared| {
        let wish = job.maps.get(&declared.name).map_or_else(Cow::default, Cow::Borrowed);
        let layout = declared.layout.settled(wish.max_entries, kernel.machine);
        let may = wish.shrink || (shrink && is_table(layout));
        let fixed = declared.name.starts_with('.') || !wish.programs.is_empty();
        SizedMap {
            object: job.name.clone(),
            layout,
            extra: declared.extra,
            bytes: kernel.bytes(layout, declared.extra),
            asked: layout.max_entries,
            least: match may && !fixed {
                // Less than a sixteenth is no longer what was meant.
                true => (layout.max_entries / 16).max(wish.entries.len() as u32).max(1),
                false => layout.max_entries,
            },
            name: declared.name,
        }
    };
    Ok(declared::maps(&job.bytes.elf)?.into_iter().map(sized).collect())
}

/// Whether the number of entries is a matter of room alone, and no index that a program may use.
fn is_table(layout: Layout) -> bool {
    const TABLES: [&str; 13] = [
        "hash",
        "percpu_hash",
        "lru_hash",
        "lru_percpu_hash",
        "lpm_trie",
        "sockhash",
        "devmap_hash",
        "ringbuf",
        "user_ringbuf",
        "queue",
        "stack",
        "stack_trace",
        "bloom_filter",
    ];
    TABLES.contains(&type_word(layout.map_type).as_str())
}

/// Holds the maps that were made against what they were estimated to take, where budgets counted on that; a note for each
/// that is off.
pub fn held(plan: &BpfPlan) -> Vec<String> {
    if !plan.budgeted {
        return Vec::new();
    }
    let (kernel, mut notes) = (running(false), Vec::new());
    for object in plan.loads() {
        for map in declared::maps(&object.job.bytes.elf).unwrap_or_default() {
            let Ok(pin) = map.name.parse() else { continue };
            let Ok((fd, identity)) = identity_of(&plan.store.live().pin(&object.job.name, Shelf::Maps, &pin)) else {
                continue;
            };
            // One that was taken over may have a size of its own.
            let Some(bytes) = kernel.bytes(Layout::pinned(&identity), map.extra) else { continue };
            if let (Some(told), Some(least)) = (bpf::memlock(fd.as_fd()), bytes.fdinfo)
                && let Some(note) = compare(told, least, bytes)
            {
                notes.push(format!("map {}/{} {note}", object.job.name, map.name));
            }
        }
    }
    notes
}

/// What is off by more than a fiftieth and a page: the structures of a kernel may be some bytes larger.
fn compare(told: u64, least: u64, bytes: Bytes) -> Option<String> {
    let most = if bytes.entry > 0 { bytes.full.max(least) } else { least };
    let slack = |size: u64| 4096 + size / 50;
    let fits = told + slack(told) >= least && told <= most.saturating_add(slack(most));
    (!fits).then(|| format!("takes {told} bytes by fdinfo, and was estimated at {least}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_off_is_told() {
        let fixed = Bytes { made: 1_000_000, entry: 0, full: 1_000_000, fdinfo: Some(1_000_000) };
        assert_eq!((compare(1_000_100, 1_000_000, fixed), compare(980_000, 1_000_000, fixed)), (None, None));
        assert!(compare(1_030_000, 1_000_000, fixed).is_some() && compare(900_000, 1_000_000, fixed).is_some());
        let grows = Bytes { made: 0, entry: 100, full: 1_000_000, fdinfo: Some(0) };
        assert_eq!((compare(0, 0, grows), compare(700_000, 0, grows)), (None, None));
        assert!(compare(2_000_000, 0, grows).is_some());
    }
}
