//! What maps take of the memory that the cgroup may have. A container over its limit is not told so: the kernel kills
//! one of its processes, at the latest when a map that grows is full.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    estimate::Kernel,
    layout::{Layout, Machine},
};
use crate::{
    error::{Cause, Fault},
    facts::KernelVersion,
    sys::file,
};

/// The first version of cgroups has no word for no limit: it shows as many pages as a counter holds (PAGE_COUNTER_MAX).
const NO_LIMIT: u64 = 1 << 62;

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
        let Some(limit) = self.limit else { return Ok(()) };
        let kernel = Kernel::new(KernelVersion::running(), machine);
        let bytes = kernel.bytes(layout, 0).map_or(0, |bytes| bytes.full);
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= limit {
            return Ok(());
        }
        let [limit, before, bytes] = [limit, before, bytes].map(|size| size.div_ceil(1024));
        Err(Fault::new(
            Cause::Limit,
            format!("takes {bytes} KiB when full, and the maps before it {before}: more than the cgroup's {limit}"),
        )
        .mend("make maps smaller (max-entries), or raise the container's memory limit (docker run --memory)"))
    }
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
            above.filter_map(|text| text.trim().parse().ok()).filter(|limit| *limit < NO_LIMIT).min()
        })
        .min()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use aya_obj::generated::bpf_map_type as T;

    use super::*;

    const MACHINE: Machine = Machine { page: 4096, cpus: 2 };

    #[test]
    fn the_map_that_is_too_much_is_told_with_the_sum() {
        let room = Room { limit: Some(40 << 20), ..Room::default() };
        let of =
            |kind: T, max_entries| Layout { map_type: kind as u32, key_size: 0, value_size: 4, max_entries, flags: 0 };
        let ring = of(T::BPF_MAP_TYPE_RINGBUF, 16 << 20);
        assert_eq!((room.take(ring, MACHINE), room.take(ring, MACHINE)), (Ok(()), Ok(())));
        let fault = room.take(ring, MACHINE).unwrap_err();
        assert_eq!(
            (fault.cause, fault.what.as_str()),
            (Cause::Limit, "takes 16461 KiB when full, and the maps before it 32921: more than the cgroup's 40960")
        );
        assert_eq!(Room::default().take(of(T::BPF_MAP_TYPE_ARRAY, u32::MAX), MACHINE), Ok(()));
    }
}
