//! Entries of maps whose sizes are known only at run time: written from the configuration, or copied from an old map.

use std::{io, os::fd::BorrowedFd};

use aya_obj::generated::bpf_map_type as T;

use super::job::sized;
use crate::{
    config::Data,
    error::{Cause, Fault},
    sys::bpf::{self, MapIdentity},
};

/// Bytes user space exchanges for one value: per-CPU maps give every possible CPU a copy, rounded up to 8
/// (bpf_map_value_size() in kernel/bpf/syscall.c).
fn value_bytes(map: &MapIdentity, cpus: u32) -> (usize, usize) {
    let per_cpu = [T::BPF_MAP_TYPE_PERCPU_HASH, T::BPF_MAP_TYPE_LRU_PERCPU_HASH, T::BPF_MAP_TYPE_PERCPU_ARRAY];
    let value = map.value_size as usize;
    match per_cpu.iter().any(|kind| *kind as u32 == map.map_type) {
        true => (value.next_multiple_of(8), cpus as usize),
        false => (value, 1),
    }
}

/// Writes the configuration's entries.
///
/// # Errors
/// A [`Cause::Map`] fault that names the entry.
pub fn write(fd: BorrowedFd<'_>, map: &MapIdentity, entries: &[(Data, Data)], cpus: u32) -> Result<(), Fault> {
    let (stride, copies) = value_bytes(map, cpus);
    for (number, (key, value)) in entries.iter().enumerate() {
        let misfit = |which: &str, why| Fault::new(Cause::Map, format!("entry {}: its {which}: {why}", number + 1));
        let key = sized(key, map.key_size as usize).map_err(|why| misfit("key", why))?;
        let mut copy = sized(value, map.value_size as usize).map_err(|why| misfit("value", why))?;
        copy.resize(stride, 0);
        bpf::write_entry(fd, &key, &copy.repeat(copies)).map_err(|e| Fault::io(Cause::Map, format!("write entry {}", number + 1), &e))?;
    }
    Ok(())
}

/// Copies every entry of one map into another of the same key and value size. Gives their number.
///
/// # Errors
/// A [`Cause::Map`] fault: the map cannot be walked, or the new one is too small for what lives in the old one.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, map: &MapIdentity, cpus: u32) -> Result<u64, Fault> {
    let fault = |deed: &str, e: &io::Error| Fault::io(Cause::Map, format!("migrate: {deed}"), e).mend("on-mismatch = \"recreate\"");
    let (stride, copies) = value_bytes(map, cpus);
    let mut value = vec![0; stride * copies];
    let (mut key, mut next, mut count) = (None, vec![0; map.key_size as usize], 0);
    while bpf::next_key(from, key.as_deref(), &mut next).map_err(|e| fault("walk the old map", &e))? {
        if bpf::read_entry(from, &next, &mut value).map_err(|e| fault("read an old entry", &e))? {
            bpf::write_entry(to, &next, &value).map_err(|e| fault("write an old entry into the new map", &e))?;
            count += 1;
        }
        key = Some(next.clone());
    }
    Ok(count)
}
