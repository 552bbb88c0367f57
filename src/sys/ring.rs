//! The reader's end of a BPF ring buffer: two shared mappings, and no system call an event (kernel/bpf/ringbuf.c).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr::null_mut,
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// Marks in the length of a record: its writer is not done, or has given it up (include/uapi/linux/bpf.h).
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
/// Bytes in front of each record, and what each record is rounded up to.
const HEADER: u32 = 8;

/// A ring buffer being read. The mappings last as long as the process.
pub struct Ring {
    map: OwnedFd,
    consumer: &'static AtomicU64,
    producer: &'static AtomicU64,
    data: *const u8,
    size: u32,
}

impl AsFd for Ring {
    /// What poll(2) can wait on.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl Ring {
    /// Maps the ring buffer behind `map`, which holds `size` bytes.
    ///
    /// # Errors
    /// EPERM for a descriptor that may not write, EINVAL for another kind of map.
    #[allow(unsafe_code, reason = "shared memory")]
    pub fn open(map: OwnedFd, size: u32) -> io::Result<Self> {
        let page = super::process::page_size() as usize;
        let consumer = share(&map, page, libc::PROT_READ | libc::PROT_WRITE, 0)?;
        // The data lie there twice in a row, so that no record is torn at the end.
        let producer = share(&map, page + 2 * size as usize, libc::PROT_READ, page)?;
        // SAFETY: ringbuf_map_mmap_kern() and _user() offer just these pages: the two positions at the start of their
        // own page, then the data. Nothing unmaps them, so they outlive every reference.
        unsafe {
            Ok(Self { map, consumer: &*consumer.cast(), producer: &*producer.cast(), data: producer.add(page), size })
        }
    }

    /// Hands out what has been written up to now, record by record, until `each` wants no more. `false`: it wanted none.
    /// A record is gone once it was handed out. There must be one reader only.
    #[allow(unsafe_code, reason = "shared memory")]
    pub fn take(&self, each: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let end = self.producer.load(Ordering::Acquire);
        loop {
            let at = self.consumer.load(Ordering::Relaxed);
            if at == end {
                return true;
            }
            let offset = at as usize & (self.size as usize - 1);
            // SAFETY: a record begins at each position between the two, eight bytes aligned, and belongs to the reader
            // until the position is stored; its length is held against the mapping.
            let (mark, record) = unsafe {
                let header = self.data.add(offset);
                let mark = (*header.cast::<AtomicU32>()).load(Ordering::Acquire);
                let length = (mark & !(BUSY | DISCARDED)).min(self.size - HEADER);
                (mark, slice::from_raw_parts(header.add(HEADER as usize), length as usize))
            };
            if mark & BUSY != 0 {
                return true;
            }
            let goes_on = mark & DISCARDED != 0 || each(record);
            let length = record.len() as u64 + u64::from(HEADER);
            self.consumer.store(at + length.next_multiple_of(u64::from(HEADER)), Ordering::Release);
            if !goes_on {
                return false;
            }
        }
    }
}

/// Bytes that were written into a ring buffer and are not read yet. Leaves no mapping behind.
///
/// # Errors
/// EPERM for a descriptor that may not read, EINVAL for another kind of map.
#[allow(unsafe_code, reason = "shared memory")]
pub fn backlog(map: &OwnedFd) -> io::Result<u64> {
    let page = super::process::page_size() as usize;
    let position = |offset| {
        let at = share(map, page, libc::PROT_READ, offset)?;
        // SAFETY: a position lies at the start of its own page, which stays mapped until it was read; nobody else knows
        // of the mapping.
        unsafe {
            let position = (*at.cast::<AtomicU64>()).load(Ordering::Acquire);
            libc::munmap(at.cast_mut().cast(), page);
            Ok::<u64, io::Error>(position)
        }
    };
    // The consumer first: it never overtakes the producer.
    let read = position(0)?;
    Ok(position(page)?.saturating_sub(read))
}

#[allow(unsafe_code, reason = "mmap(2)")]
fn share(map: &OwnedFd, bytes: usize, access: libc::c_int, offset: usize) -> io::Result<*const u8> {
    // SAFETY: a new mapping touches no memory that is in use.
    let at = unsafe { libc::mmap(null_mut(), bytes, access, libc::MAP_SHARED, map.as_raw_fd(), offset as libc::off_t) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast_const().cast()) }
}
