//! Entries of maps whose sizes are known only at run time: written from the configuration, or copied from an old map.
//! And how wide a value of the configuration becomes.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya_obj::generated::bpf_map_type as T;

use crate::{
    config::Data,
    error::{Cause, Fault},
    sys::bpf::{self, MapIdentity},
};

/// Most bytes of old values that are kept at a time.
const BEFORE_MAX: usize = 16 << 20;

/// Bytes user space exchanges for one value: per-CPU maps give every possible CPU a copy, rounded up to 8
/// (bpf_map_value_size() in kernel/bpf/syscall.c).
pub(super) fn value_bytes(map: &MapIdentity, cpus: u32) -> (usize, usize) {
    let per_cpu = [T::BPF_MAP_TYPE_PERCPU_HASH, T::BPF_MAP_TYPE_LRU_PERCPU_HASH, T::BPF_MAP_TYPE_PERCPU_ARRAY];
    let value = map.value_size as usize;
    match per_cpu.iter().any(|kind| *kind as u32 == map.map_type) {
        true => (value.next_multiple_of(8), cpus as usize),
        false => (value, 1),
    }
}

/// Writes the configuration's entries into a map that nobody uses yet.
///
/// # Errors
/// A [`Cause::Map`] fault that names the entry.
pub fn write(fd: BorrowedFd<'_>, map: &MapIdentity, entries: &[(Data, Data)], cpus: u32) -> Result<(), Fault> {
    write_each(fd, map, entries, cpus, &mut |_| Ok(()))
}

/// Entries of a live map that were written, as they were before.
pub struct Written {
    map: OwnedFd,
    before: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Written {
    /// Writes the configuration's entries into a live map.
    ///
    /// # Errors
    /// As [`write`]; the map is then as it was.
    pub fn new(map: OwnedFd, identity: &MapIdentity, entries: &[(Data, Data)], cpus: u32) -> Result<Self, Fault> {
        let (stride, copies) = value_bytes(identity, cpus);
        if stride.saturating_mul(copies).saturating_mul(entries.len()) > BEFORE_MAX {
            return Err(Fault::new(Cause::Map, "its values are too large to be put back if the run fails")
                .mend("write fewer entries, or on-mismatch = \"recreate\""));
        }
        let mut before = Vec::new();
        let result = write_each(map.as_fd(), identity, entries, cpus, &mut |key| {
            let mut old = vec![0; stride * copies];
            let there = bpf::read_entry(map.as_fd(), key, &mut old)
                .map_err(|e| Fault::io(Cause::Map, "read an entry before it is written", &e))?;
            before.push((key.to_vec(), there.then_some(old)));
            Ok(())
        });
        let written = Self { map, before };
        match result {
            Ok(()) => Ok(written),
            Err(fault) => Err(match written.put_back() {
                Ok(()) => fault,
                Err(worse) => fault.detail(format!("and it could not be taken back: {worse}")),
            }),
        }
    }

    /// Makes the map what it was.
    ///
    /// # Errors
    /// A [`Cause::Map`] fault: an entry could not be put back; all others were.
    pub fn put_back(&self) -> Result<(), Fault> {
        let mut done = Ok(());
        for (key, value) in self.before.iter().rev() {
            let back = match value {
                Some(value) => bpf::write_entry(self.map.as_fd(), key, value),
                None => bpf::delete_entry(self.map.as_fd(), key),
            };
            done = done.and(back);
        }
        done.map_err(|e| Fault::io(Cause::Map, "put an entry of a live map back", &e))
    }
}

fn write_each(
    fd: BorrowedFd<'_>,
    map: &MapIdentity,
    entries: &[(Data, Data)],
    cpus: u32,
    look: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (stride, copies) = value_bytes(map, cpus);
    for (number, (key, value)) in entries.iter().enumerate() {
        let misfit = |which: &str, why| Fault::new(Cause::Map, format!("entry {}: its {which}: {why}", number + 1));
        let key = as_key(key, map).map_err(|why| misfit("key", why))?;
        let mut copy = sized(value, map.value_size as usize).map_err(|why| misfit("value", why))?;
        copy.resize(stride, 0);
        look(&key)?;
        bpf::write_entry(fd, &key, &copy.repeat(copies))
            .map_err(|e| Fault::io(Cause::Map, format!("write entry {}", number + 1), &e))?;
    }
    Ok(())
}

/// The number of the first of the configuration's entries that a map does not hold, and why; what cannot be read is not
/// taken for changed. Only of maps whose entries stay what user space made them: a map that evicts, and a value for each
/// CPU, are the programs' own.
pub fn changed(fd: BorrowedFd<'_>, map: &MapIdentity, entries: &[(Data, Data)]) -> Option<String> {
    let lasting = [T::BPF_MAP_TYPE_HASH, T::BPF_MAP_TYPE_ARRAY, T::BPF_MAP_TYPE_LPM_TRIE];
    if !lasting.iter().any(|kind| *kind as u32 == map.map_type) {
        return None;
    }
    let mut is = vec![0; map.value_size as usize];
    let mut rest = entries;
    while let Some(((key, value), later)) = rest.split_first() {
        let number = entries.len() - later.len();
        rest = later;
        let (Ok(key), Ok(value)) = (as_key(key, map), sized(value, is.len())) else { continue };
        let why = match bpf::read_entry(fd, &key, &mut is) {
            Ok(true) if is != value => "has another value",
            Ok(false) => "is gone",
            _ => continue,
        };
        // Of two with one key, the last was written last.
        if !later.iter().any(|(other, _)| as_key(other, map).is_ok_and(|other| other == key)) {
            return Some(format!("its entry {number} {why}"));
        }
    }
    None
}

/// Copies every entry of one map into another of the same key and value size. Gives their number.
///
/// # Errors
/// A [`Cause::Map`] fault: the map cannot be walked, or the new one is too small for what lives in the old one.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, map: &MapIdentity, cpus: u32) -> Result<u64, Fault> {
    let fault = |deed: &str, e: &io::Error| {
        Fault::io(Cause::Map, format!("migrate: {deed}"), e).mend("on-mismatch = \"recreate\"")
    };
    let (stride, copies) = value_bytes(map, cpus);
    let mut value = vec![0; stride * copies];
    let (mut key, mut next, mut count) = (None, vec![0; map.key_size as usize], 0);
    while bpf::next_key(from, key.as_deref(), &mut next).map_err(|e| fault("walk the old map", &e))? {
        if bpf::read_entry(from, &next, &mut value).map_err(|e| fault("read an old entry", &e))? {
            bpf::write_entry(to, &next, &value).map_err(|e| fault("write an old entry into the new map", &e))?;
            count += 1;
        }
        // Both are used again: what is given back is not.
        let taken = key.get_or_insert_with(|| next.clone());
        std::mem::swap(taken, &mut next);
    }
    Ok(count)
}

/// A key as its map wants it. For a trie of prefixes, text is an address with the length of the prefix behind it, of which
/// the kernel wants the length first (struct bpf_lpm_trie_key_u8 in include/uapi/linux/bpf.h).
fn as_key(data: &Data, map: &MapIdentity) -> Result<Vec<u8>, String> {
    let size = map.key_size as usize;
    let Data::Text(text) = data else { return sized(data, size) };
    if map.map_type != T::BPF_MAP_TYPE_LPM_TRIE as u32 {
        return sized(data, size);
    }
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let address = match address.parse() {
        Ok(IpAddr::V4(address)) => address.octets().to_vec(),
        Ok(IpAddr::V6(address)) => address.octets().to_vec(),
        Err(_) => return Err(format!("{text:?} is no prefix such as 192.0.2.0/24 or 2001:db8::/32")),
    };
    let widest = 8 * address.len() as u32;
    let length = match length {
        "" => Some(widest),
        length => length.parse().ok().filter(|length| *length <= widest),
    };
    match length {
        Some(length) if size == 4 + address.len() => Ok([&length.to_ne_bytes(), &*address].concat()),
        Some(_) => Err(format!("{text:?} takes {} bytes, its place has {size}", 4 + address.len())),
        None => Err(format!("the length of {text:?} is no number up to {widest}")),
    }
}

/// The largest place of one value: an object can claim any size.
const PLACE_MAX: usize = 1 << 20;

/// A value as wide as its place.
///
/// # Errors
/// A sentence on why it does not fit.
pub fn sized(data: &Data, size: usize) -> Result<Vec<u8>, String> {
    match data {
        _ if size > PLACE_MAX => Err(format!("its place has {size} bytes; {PLACE_MAX} is the most")),
        Data::Bytes(bytes) if bytes.len() == size => Ok(bytes.clone()),
        Data::Bytes(bytes) => Err(format!("{} bytes were given, its place has {size}", bytes.len())),
        Data::Text(text) if text.len() <= size => {
            let mut bytes = text.clone().into_bytes();
            bytes.resize(size, 0);
            Ok(bytes)
        }
        Data::Text(text) => Err(format!("the text has {} bytes, its place has {size}", text.len())),
        Data::Int(number) => sized_int(*number, size),
    }
}

fn sized_int(number: i64, size: usize) -> Result<Vec<u8>, String> {
    let wide = number.to_le_bytes();
    let (kept, cut) = wide.split_at(size.min(wide.len()));
    let negative = kept.last().is_some_and(|top| top & 0x80 != 0);
    let lossless = cut.iter().all(|b| *b == 0) || (number < 0 && negative && cut.iter().all(|b| *b == 0xff));
    if !lossless || size == 0 {
        return Err(format!("{number} does not fit into {size} bytes"));
    }
    let mut bytes = kept.to_vec();
    bytes.resize(size, if number < 0 { 0xff } else { 0 });
    if cfg!(target_endian = "big") {
        bytes.reverse();
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_wide_as_their_place() {
        assert_eq!(sized(&Data::Int(1), 4), Ok(1u32.to_ne_bytes().to_vec()));
        assert_eq!(sized(&Data::Int(-1), 2), Ok(vec![0xff, 0xff]));
        assert_eq!(sized(&Data::Int(255), 1), Ok(vec![255]));
        assert_eq!(sized(&Data::Int(-1), 16), Ok(vec![0xff; 16]));
        assert!(sized(&Data::Int(256), 1).is_err());
        assert!(sized(&Data::Int(-129), 1).is_err());
        assert_eq!(sized(&Data::Text("ab".into()), 4), Ok(b"ab\0\0".to_vec()));
        assert!(sized(&Data::Bytes(vec![1, 2]), 4).is_err());
    }

    #[test]
    fn prefixes_are_written_as_people_write_them() {
        let mut map = MapIdentity {
            id: 1,
            map_type: T::BPF_MAP_TYPE_LPM_TRIE as u32,
            key_size: 8,
            value_size: 4,
            max_entries: 1,
            flags: 1,
        };
        let key = |map: &MapIdentity, text: &str| as_key(&Data::Text(text.into()), map);
        assert_eq!(key(&map, "192.0.2.0/24"), Ok([&24_u32.to_ne_bytes()[..], &[192, 0, 2, 0]].concat()));
        assert_eq!(key(&map, "192.0.2.1"), Ok([&32_u32.to_ne_bytes()[..], &[192, 0, 2, 1]].concat()));
        assert_eq!(key(&map, "0.0.0.0/0"), Ok(vec![0; 8]));
        for (wrong, why) in [
            ("192.0.2.0/33", "the length of \"192.0.2.0/33\" is no number up to 32"),
            ("192.0.2.0/-1", "the length of \"192.0.2.0/-1\" is no number up to 32"),
            ("192.0.2/24", "\"192.0.2/24\" is no prefix such as 192.0.2.0/24 or 2001:db8::/32"),
            ("2001:db8::/32", "\"2001:db8::/32\" takes 20 bytes, its place has 8"),
        ] {
            assert_eq!(key(&map, wrong), Err(why.to_owned()));
        }
        map.key_size = 20;
        let mut expected = [&32_u32.to_ne_bytes()[..], &[0; 16]].concat();
        expected.splice(4..8, [0x20, 1, 0x0d, 0xb8]);
        assert_eq!(key(&map, "2001:db8::/32"), Ok(expected));
        map.map_type = T::BPF_MAP_TYPE_HASH as u32;
        assert_eq!(key(&map, "a/b").map(|key| key.len()), Ok(20));
    }
}
