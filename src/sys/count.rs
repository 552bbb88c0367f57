//! For fuzzing and its replay in the tests: an allocator that counts as if nothing were ever given back, as
//! [`super::memory::Arena`] gives nothing back, and that stops at a limit.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr::null_mut,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The allocator, with no limit yet.
pub struct Count {
    total: AtomicUsize,
    limit: AtomicUsize,
    last: AtomicUsize,
    largest: AtomicUsize,
}

impl Count {
    /// Nothing was asked for yet.
    pub const fn new() -> Self {
        let [total, last, largest] = [const { AtomicUsize::new(0) }; 3];
        Self { total, limit: AtomicUsize::new(usize::MAX), last, largest }
    }

    /// Counts from zero, up to `limit` bytes: what goes beyond fails as if memory were full.
    pub fn reset(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
        self.total.store(0, Relaxed);
        self.largest.store(0, Relaxed);
    }

    /// Bytes in all, and in the largest piece, since [`Count::reset`].
    pub fn counted(&self) -> (usize, usize) {
        (self.total.load(Relaxed), self.largest.load(Relaxed))
    }

    fn take(&self, size: usize) -> bool {
        let before = self.total.fetch_add(size, Relaxed);
        self.largest.fetch_max(size, Relaxed);
        let fits = before.checked_add(size).is_some_and(|total| total <= self.limit.load(Relaxed));
        if !fits {
            // Whoever tells of it needs memory.
            self.limit.store(usize::MAX, Relaxed);
        }
        fits
    }
}

// SAFETY: every block is the system allocator's, asked for and given back with the caller's own layout.
#[allow(unsafe_code, reason = "GlobalAlloc")]
unsafe impl GlobalAlloc for Count {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.take(layout.size()) {
            return null_mut();
        }
        // SAFETY: as the caller promised.
        let block = unsafe { System.alloc(layout) };
        self.last.store(block as usize, Relaxed);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The block that was handed out last grows in place.
        let grows = self.last.load(Relaxed) == block as usize;
        let more = if grows { size.saturating_sub(layout.size()) } else { size };
        if !self.take(more) {
            return null_mut();
        }
        // SAFETY: as the caller promised.
        let moved = unsafe { System.realloc(block, layout, size) };
        self.last.store(moved as usize, Relaxed);
        moved
    }
}
