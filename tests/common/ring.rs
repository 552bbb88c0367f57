//! A reader of pinned ring buffers, made after kernel/bpf/ringbuf.c and sharing nothing with the program under test.
#![allow(unsafe_code, reason = "the buffer is shared memory")]

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr, slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

const PAGE: usize = 4096;
const BPF_OBJ_GET: i32 = 7;
/// Marks in a record's length: still being written, and given up.
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

/// Opens what is pinned at `path`.
pub fn pinned(path: &str) -> OwnedFd {
    let path = CString::new(path).unwrap();
    // The members that BPF_OBJ_GET reads: the path, a descriptor that must be 0, and flags.
    let attr: [u64; 2] = [path.as_ptr() as u64, 0];
    // SAFETY: the kernel reads sixteen bytes, and the path outlives the call; the descriptor is nobody else's.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, attr.as_ptr(), 16);
        assert!(fd >= 0, "{path:?}: {}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(i32::try_from(fd).unwrap())
    }
}

/// The user's end of a ring buffer.
pub struct Ring {
    consumer: *const AtomicU64,
    producer: *const u8,
    size: usize,
}

impl Ring {
    /// Opens the one that is pinned at `path` and has room for `size` bytes.
    pub fn open(path: &str, size: usize) -> Self {
        Self::of(&pinned(path), size)
    }

    /// The one behind a descriptor.
    pub fn of(fd: &OwnedFd, size: usize) -> Self {
        let map = |bytes, access, offset: usize| {
            // SAFETY: these maps are those that ringbuf_map_mmap_kern() offers: a page to write, a page to read, and the
            // data twice in a row.
            let at =
                unsafe { libc::mmap(ptr::null_mut(), bytes, access, libc::MAP_SHARED, fd.as_raw_fd(), offset as i64) };
            assert_ne!(at, libc::MAP_FAILED, "{}", io::Error::last_os_error());
            at
        };
        let consumer = map(PAGE, libc::PROT_READ | libc::PROT_WRITE, 0).cast();
        Self { consumer, producer: map(PAGE + 2 * size, libc::PROT_READ, PAGE).cast(), size }
    }

    /// Takes the next record out, if one is there.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        // SAFETY: both maps live as long as the process, and a record between the two positions is the kernel's no more.
        unsafe {
            loop {
                let at = (*self.consumer).load(Ordering::Acquire);
                if at == (*self.producer.cast::<AtomicU64>()).load(Ordering::Acquire) {
                    return None;
                }
                let header = self.producer.add(PAGE + (usize::try_from(at).unwrap() & (self.size - 1)));
                let mark = (*header.cast::<AtomicU32>()).load(Ordering::Acquire);
                if mark & BUSY != 0 {
                    return None;
                }
                let length = mark & !DISCARDED;
                let record = slice::from_raw_parts(header.add(8), length as usize).to_vec();
                (*self.consumer).store(at + u64::from(length + 8).next_multiple_of(8), Ordering::Release);
                if mark & DISCARDED == 0 {
                    return Some(record);
                }
            }
        }
    }
}
