//! What maps take of the memory that the cgroup may have. A container over its limit is not told so: the kernel kills
//! one of its processes, at the latest when a map that grows is full. Sizes as map_mem_usage() counts them, on 6.18.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use aya_obj::generated::bpf_map_type as T;

use super::layout::{Layout, Machine};
use crate::{
    error::{Cause, Fault},
    facts::KernelVersion,
    sys::file,
};

const HASHES: [u32; 4] = [
    T::BPF_MAP_TYPE_HASH as u32,
    T::BPF_MAP_TYPE_LRU_HASH as u32,
    T::BPF_MAP_TYPE_PERCPU_HASH as u32,
    T::BPF_MAP_TYPE_LRU_PERCPU_HASH as u32,
];
const PER_CPU: [u32; 3] =
    [T::BPF_MAP_TYPE_PERCPU_ARRAY as u32, T::BPF_MAP_TYPE_PERCPU_HASH as u32, T::BPF_MAP_TYPE_LRU_PERCPU_HASH as u32];
const RINGS: [u32; 2] = [T::BPF_MAP_TYPE_RINGBUF as u32, T::BPF_MAP_TYPE_USER_RINGBUF as u32];

/// The limit, and what of it new maps have taken.
#[derive(Default)]
pub struct Room {
    limit: Option<u64>,
    taken: AtomicU64,
}

impl Room {
    /// That of this process's cgroup; no limit before 5.11, which charges maps to RLIMIT_MEMLOCK.
    pub fn of_cgroup() -> Self {
        let charged = KernelVersion::running() >= KernelVersion { major: 5, minor: 11 };
        Self { limit: charged.then(limit).flatten(), ..Self::default() }
    }

    /// Takes what a new map will come to when it is full.
    ///
    /// # Errors
    /// [`Cause::Limit`]: with the maps before it, that is more than the limit.
    pub fn take(&self, layout: Layout, machine: Machine) -> Result<(), Fault> {
        let bytes = bytes(layout, machine);
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        match self.limit {
            Some(limit) if before.saturating_add(bytes) > limit => {
                let [limit, before, bytes] = [limit, before, bytes].map(|size| size.div_ceil(1024));
                Err(Fault::new(
                    Cause::Limit,
                    format!(
                        "takes {bytes} KiB when full, and the maps before it {before}: more than the cgroup's {limit}"
                    ),
                )
                .mend("make maps smaller (max-entries), or raise the container's memory limit (docker run --memory)"))
            }
            _ => Ok(()),
        }
    }
}

/// Bytes of a map with every entry used, within a few KiB.
fn bytes(layout: Layout, machine: Machine) -> u64 {
    let round = |size: u32| u64::from(size).next_multiple_of(8);
    let (n, kind) = (u64::from(layout.max_entries), layout.map_type);
    if RINGS.contains(&kind) {
        return n + n / 256 + 3 * u64::from(machine.page);
    }
    let values = round(layout.value_size) * if PER_CPU.contains(&kind) { u64::from(machine.cpus) } else { 1 };
    let each = match HASHES.contains(&kind) {
        // Its bucket, its element, and its key.
        true => 16 + 48 + round(layout.key_size) + values,
        false => 8 + values,
    };
    n.saturating_mul(each)
}

/// The least of the limits that hold for this process. Both versions of cgroups are asked: machines have both at once.
fn limit() -> Option<u64> {
    let cgroups = file::text("/proc/self/cgroup").ok()?;
    cgroups
        .lines()
        .filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let (root, file) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max"),
                "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                _ => return None,
            };
            // A container's own is its root, even where it is told by the name that the host has for it.
            let path = Path::new(path.trim_start_matches('/'));
            let above = path.ancestors().filter_map(|path| file::text(Path::new(root).join(path).join(file)).ok());
            above.filter_map(|text| text.trim().parse().ok()).min()
        })
        .min()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine { page: 4096, cpus: 2 };

    fn layout(map_type: T, key_size: u32, value_size: u32, max_entries: u32) -> Layout {
        Layout { map_type: map_type as u32, key_size, value_size, max_entries, flags: 0 }
    }

    #[test]
    fn sizes_are_the_kernels_within_a_tenth() {
        // What fdinfo said on 6.18 with two CPUs.
        for (map, kernel) in [
            (layout(T::BPF_MAP_TYPE_HASH, 16, 64, 100_000), 14_898_320),
            (layout(T::BPF_MAP_TYPE_LRU_HASH, 8, 64, 500_000), 68_389_504),
            (layout(T::BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 128, 10_000), 3_463_040),
            (layout(T::BPF_MAP_TYPE_PERCPU_ARRAY, 4, 128, 1000), 264_312),
            (layout(T::BPF_MAP_TYPE_RINGBUF, 0, 0, 16 << 20), 16_855_368),
        ] {
            let ours = bytes(map, MACHINE);
            assert!(ours.abs_diff(kernel) < kernel / 10, "{map:?}: {ours}, the kernel {kernel}");
        }
    }

    #[test]
    fn the_map_that_is_too_much_is_told_with_the_sum() {
        let room = Room { limit: Some(40 << 20), ..Room::default() };
        let ring = layout(T::BPF_MAP_TYPE_RINGBUF, 0, 0, 16 << 20);
        assert_eq!((room.take(ring, MACHINE), room.take(ring, MACHINE)), (Ok(()), Ok(())));
        let fault = room.take(ring, MACHINE).unwrap_err();
        assert_eq!(
            (fault.cause, fault.what.as_str()),
            (Cause::Limit, "takes 16460 KiB when full, and the maps before it 32920: more than the cgroup's 40960")
        );
        assert_eq!(Room::default().take(layout(T::BPF_MAP_TYPE_ARRAY, 4, u32::MAX, u32::MAX), MACHINE), Ok(()));
    }
}
