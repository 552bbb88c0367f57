//! Map layouts: what an object wants, what is pinned, and whether the two are the same after the kernel's own changes.

use aya_obj::generated::{BPF_F_NO_COMMON_LRU, BPF_F_RDONLY, BPF_F_RDONLY_PROG, BPF_F_WRONLY, bpf_map_type};

use crate::{
    config::{MapWish, OnMismatch},
    error::{Cause, Fault},
    reason::Reason,
    sys::bpf::MapIdentity,
};

/// What a map must be like to be reused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Layout {
    /// BPF_MAP_TYPE_*.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries, or bytes of a ring buffer.
    pub max_entries: u32,
    /// BPF_F_*.
    pub flags: u32,
}

/// The page size and the possible CPUs, by which the kernel rounds.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Bytes of a page.
    pub page: u32,
    /// Possible CPUs.
    pub cpus: u32,
}

impl Layout {
    /// What the object wants, with the configuration's size, as the kernel will have it.
    pub fn wanted(map: &aya_obj::Map, wish: &MapWish, machine: Machine) -> Self {
        Self::of(map).settled(wish.max_entries, machine)
    }

    /// What is declared, as the kernel will have it, with `max_entries` entries where the configuration says how many.
    pub fn settled(self, max_entries: Option<u32>, machine: Machine) -> Self {
        let asked = max_entries.unwrap_or(self.max_entries);
        let is = |kind: bpf_map_type| self.map_type == kind as u32;
        let max_entries = if is(bpf_map_type::BPF_MAP_TYPE_RINGBUF) && asked > 0 {
            asked.div_ceil(machine.page).next_power_of_two().saturating_mul(machine.page)
        } else if is(bpf_map_type::BPF_MAP_TYPE_PERF_EVENT_ARRAY) && asked == 0 {
            machine.cpus
        } else if self.flags & BPF_F_NO_COMMON_LRU != 0 {
            asked.checked_next_multiple_of(machine.cpus).unwrap_or(asked)
        } else {
            asked
        };
        let (key_size, value_size) = sizes(self);
        Self { key_size, value_size, max_entries, ..self }
    }

    /// What the object says, to the letter.
    pub const fn of(map: &aya_obj::Map) -> Self {
        Self {
            map_type: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            flags: map.map_flags(),
        }
    }

    /// Whether the kernel takes BTF for this type's keys and values (map_check_btf() in kernel/bpf/syscall.c).
    pub fn takes_btf(self) -> bool {
        use bpf_map_type as T;
        let without = [
            T::BPF_MAP_TYPE_PERF_EVENT_ARRAY,
            T::BPF_MAP_TYPE_CGROUP_ARRAY,
            T::BPF_MAP_TYPE_STACK_TRACE,
            T::BPF_MAP_TYPE_ARRAY_OF_MAPS,
            T::BPF_MAP_TYPE_HASH_OF_MAPS,
            T::BPF_MAP_TYPE_DEVMAP,
            T::BPF_MAP_TYPE_DEVMAP_HASH,
            T::BPF_MAP_TYPE_CPUMAP,
            T::BPF_MAP_TYPE_XSKMAP,
            T::BPF_MAP_TYPE_SOCKMAP,
            T::BPF_MAP_TYPE_SOCKHASH,
            T::BPF_MAP_TYPE_QUEUE,
            T::BPF_MAP_TYPE_STACK,
            T::BPF_MAP_TYPE_RINGBUF,
            T::BPF_MAP_TYPE_BLOOM_FILTER,
        ];
        !without.iter().any(|kind| *kind as u32 == self.map_type)
    }

    /// What is pinned.
    pub const fn pinned(map: &MapIdentity) -> Self {
        Self {
            map_type: map.map_type,
            key_size: map.key_size,
            value_size: map.value_size,
            max_entries: map.max_entries,
            flags: map.flags,
        }
    }

    /// Whether a map pinned with layout `other` serves. Device maps come back with BPF_F_RDONLY_PROG set
    /// (dev_map_init_map() in kernel/bpf/devmap.c), and old kernels tell the access mode of the first descriptor.
    pub fn same(self, other: Self) -> bool {
        let mut ignored = BPF_F_RDONLY | BPF_F_WRONLY;
        if self.map_type == bpf_map_type::BPF_MAP_TYPE_DEVMAP as u32
            || self.map_type == bpf_map_type::BPF_MAP_TYPE_DEVMAP_HASH as u32
        {
            ignored |= BPF_F_RDONLY_PROG;
        }
        let plain = |layout: Self| Self { flags: layout.flags & !ignored, ..layout };
        plain(self) == plain(other)
    }

    /// Whether entries of one can live in the other.
    fn entries_fit(self, other: Self) -> bool {
        (self.map_type, self.key_size, self.value_size) == (other.map_type, other.key_size, other.value_size)
    }
}

/// The bytes of a key and a value as the kernel wants them, where a definition says what is in them, or nothing.
fn sizes(map: Layout) -> (u32, u32) {
    use bpf_map_type as T;
    /// PERF_MAX_STACK_DEPTH addresses, as many as kernel.perf_event_max_stack allows unless it was changed.
    const STACK: u32 = 127 * 8;
    let is = |kinds: &[T]| kinds.iter().any(|kind| *kind as u32 == map.map_type);
    match (map.key_size, map.value_size) {
        (_, _) if is(&[T::BPF_MAP_TYPE_RINGBUF]) => (0, 0),
        (_, _) if is(&[T::BPF_MAP_TYPE_PERF_EVENT_ARRAY, T::BPF_MAP_TYPE_PROG_ARRAY, T::BPF_MAP_TYPE_CGROUP_ARRAY]) => {
            (4, 4)
        }
        (_, 0) if is(&[T::BPF_MAP_TYPE_STACK_TRACE]) => (4, STACK),
        declared => declared,
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { map_type, key_size, value_size, max_entries, flags } = self;
        write!(
            f,
            "{} key {key_size} value {value_size} max-entries {max_entries} flags {flags:#x}",
            type_word(*map_type)
        )
    }
}

/// A map type as bpftool writes it: `lru_hash`.
pub fn type_word(map_type: u32) -> String {
    /// BPF_MAP_TYPE_RHASH, of 7.1; newer than aya's list.
    const RHASH: u32 = 35;
    if map_type == RHASH {
        return "rhash".to_owned();
    }
    bpf_map_type::try_from(map_type).map_or_else(
        |_| format!("type {map_type}"),
        |kind| {
            let name = format!("{kind:?}");
            name.trim_start_matches("BPF_MAP_TYPE_").trim_end_matches("_DEPRECATED").to_lowercase()
        },
    )
}

/// What becomes of a map that is pinned already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It is taken over, contents and all.
    Reuse,
    /// It is taken over with its own size.
    ReuseWithSize(u32),
    /// A new, empty one is made.
    Recreate,
    /// A new one is made, and its entries are copied.
    Migrate,
}

/// Decides it.
///
/// # Errors
/// A [`Cause::Map`] fault that shows both layouts.
pub fn fate(wanted: Layout, pinned: Layout, policy: OnMismatch, path: &str) -> Result<Fate, Fault> {
    if wanted.same(pinned) {
        return Ok(Fate::Reuse);
    }
    let refuse = |why: &str| {
        let what = format!("{path} has another layout{why}: pinned {pinned}; wanted {wanted}");
        Fault::new(Cause::Map, what).by(Reason::Layout)
    };
    match policy {
        OnMismatch::Fail => Err(refuse("").mend(
            "on-mismatch = \"keep\", \"migrate\" or \"recreate\" on the object; or remove it with: bpfboot undo",
        )),
        OnMismatch::Keep if wanted.entries_fit(pinned) && wanted.flags == pinned.flags => {
            Ok(Fate::ReuseWithSize(pinned.max_entries))
        }
        OnMismatch::Keep => {
            Err(refuse(", in more than its size, so it cannot be kept").mend("on-mismatch = \"recreate\""))
        }
        OnMismatch::Recreate => Ok(Fate::Recreate),
        OnMismatch::Migrate if wanted.entries_fit(pinned) => Ok(Fate::Migrate),
        OnMismatch::Migrate => {
            Err(refuse(", and its entries do not fit the new one").mend("on-mismatch = \"recreate\""))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const HASH: Layout = Layout { map_type: 1, key_size: 4, value_size: 8, max_entries: 100, flags: 0 };

    #[test]
    fn policies() {
        let bigger = Layout { max_entries: 200, ..HASH };
        let wider = Layout { value_size: 16, ..HASH };
        let fate = |wanted, policy| fate(wanted, HASH, policy, "m");
        assert_eq!(fate(HASH, OnMismatch::Fail), Ok(Fate::Reuse));
        assert_eq!(fate(bigger, OnMismatch::Keep), Ok(Fate::ReuseWithSize(100)));
        assert_eq!(fate(bigger, OnMismatch::Migrate), Ok(Fate::Migrate));
        assert_eq!(fate(wider, OnMismatch::Recreate), Ok(Fate::Recreate));
        for refused in [fate(bigger, OnMismatch::Fail), fate(wider, OnMismatch::Keep), fate(wider, OnMismatch::Migrate)]
        {
            let what = refused.unwrap_err().what.clone();
            assert!(
                what.contains("pinned hash key 4 value 8 max-entries 100") && what.contains("wanted hash"),
                "{what}"
            );
        }
    }

    #[test]
    fn the_kernels_own_flag_on_device_maps_is_no_difference() {
        let devmap = Layout {
            map_type: bpf_map_type::BPF_MAP_TYPE_DEVMAP as u32,
            key_size: 4,
            value_size: 4,
            max_entries: 8,
            flags: 0,
        };
        assert!(devmap.same(Layout { flags: BPF_F_RDONLY_PROG, ..devmap }));
        assert!(!HASH.same(Layout { flags: BPF_F_RDONLY_PROG, ..HASH }));
    }
}
