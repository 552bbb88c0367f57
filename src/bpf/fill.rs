//! How full is a map? The kernel keeps no such number: what is written into a ring buffer is told by its two positions,
//! everything else is counted by looking at it.

use std::os::fd::{AsFd, OwnedFd};

use aya_obj::generated::bpf_map_type as T;

use super::entries::value_bytes;
use crate::sys::{
    bpf::{self, MapIdentity},
    cpu, look, ring,
};

/// A table of no more than this is counted unasked.
const SMALL: u32 = 1024;
/// The same where each slot takes a call of its own.
const FEW: u32 = 64;

/// Whether it is a ring buffer, whose fill is in bytes.
pub fn is_ring(map: &MapIdentity) -> bool {
    is(map, &[T::BPF_MAP_TYPE_RINGBUF, T::BPF_MAP_TYPE_USER_RINGBUF])
}

fn is(map: &MapIdentity, kinds: &[T]) -> bool {
    kinds.iter().any(|kind| *kind as u32 == map.map_type)
}

/// What is in it: bytes of a ring buffer, entries of a table, slots in use. `None`: it was too large to be counted
/// unasked, all its entries are always there, or the kernel does not let anybody look. `count`: whatever it costs.
pub fn used(fd: &OwnedFd, map: &MapIdentity, count: bool) -> Option<u64> {
    if is_ring(map) {
        return ring::backlog(fd).ok();
    }
    let table = is(
        map,
        &[
            T::BPF_MAP_TYPE_HASH,
            T::BPF_MAP_TYPE_LRU_HASH,
            T::BPF_MAP_TYPE_PERCPU_HASH,
            T::BPF_MAP_TYPE_LRU_PERCPU_HASH,
            T::BPF_MAP_TYPE_LPM_TRIE,
            T::BPF_MAP_TYPE_HASH_OF_MAPS,
            T::BPF_MAP_TYPE_DEVMAP_HASH,
            T::BPF_MAP_TYPE_SOCKHASH,
            T::BPF_MAP_TYPE_STACK_TRACE,
        ],
    );
    let slots = is(
        map,
        &[T::BPF_MAP_TYPE_PROG_ARRAY, T::BPF_MAP_TYPE_ARRAY_OF_MAPS, T::BPF_MAP_TYPE_DEVMAP, T::BPF_MAP_TYPE_CPUMAP],
    );
    match () {
        () if table && (count || map.max_entries <= SMALL) => entries(fd, map, count),
        () if slots && (count || map.max_entries <= FEW) => occupied(fd, map),
        () => None,
    }
}

fn entries(fd: &OwnedFd, map: &MapIdentity, count: bool) -> Option<u64> {
    let (stride, copies) = value_bytes(map, cpu::possible());
    match look::count_by_batch(fd, map, stride * copies) {
        Ok(count) => Some(count),
        Err(_) if count || map.max_entries <= FEW => walk(fd, map),
        Err(_) => None,
    }
}

/// Key by key, for tables that cannot be read many at a time. One that changes meanwhile may begin again, without end.
fn walk(fd: &OwnedFd, map: &MapIdentity) -> Option<u64> {
    let (mut key, mut next) = (vec![0; map.key_size as usize], vec![0; map.key_size as usize]);
    let mut count = 0;
    while bpf::next_key(fd.as_fd(), (count > 0).then_some(&*key), &mut next).ok()? {
        count += 1;
        if count >= u64::from(map.max_entries) {
            break;
        }
        std::mem::swap(&mut key, &mut next);
    }
    Some(count)
}

fn occupied(fd: &OwnedFd, map: &MapIdentity) -> Option<u64> {
    let mut value = vec![0; map.value_size as usize];
    let mut count = 0;
    for index in 0..map.max_entries {
        count += u64::from(bpf::read_entry(fd.as_fd(), &index.to_ne_bytes(), &mut value).ok()?);
    }
    Some(count)
}
