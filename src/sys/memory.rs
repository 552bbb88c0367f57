//! An allocator for a process that lives for milliseconds: memory is handed out and never taken back.
//!
//! Not for speed. When freeing does nothing, the compiler sees that dropping a `String` or a `Vec` does nothing either,
//! and all the code that would free memory on every early return disappears: a tenth of the binary. The kernel takes
//! everything back at exit. A block that is still the last one handed out can grow in place, which is what a `Vec` that
//! is being filled wants.

use std::{
    alloc::{GlobalAlloc, Layout},
    ptr::null_mut,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Memory asked of the kernel at a time; larger blocks get a mapping of their own.
const CHUNK: usize = 256 << 10;

/// The allocator. Shared by the threads of the loader child, so a spin lock guards the two bounds: it is held for a few
/// instructions, or for one mmap(2).
pub struct Arena {
    busy: AtomicBool,
    next: AtomicUsize,
    end: AtomicUsize,
}

impl Arena {
    /// An arena that owns nothing yet.
    pub const fn new() -> Self {
        Self { busy: AtomicBool::new(false), next: AtomicUsize::new(0), end: AtomicUsize::new(0) }
    }

    fn locked<T>(&self, work: impl FnOnce() -> T) -> T {
        while self.busy.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let done = work();
        self.busy.store(false, Ordering::Release);
        done
    }

    #[inline(never)]
    fn take(&self, size: usize, align: usize) -> *mut u8 {
        self.locked(|| {
            let start = self.next.load(Ordering::Relaxed).next_multiple_of(align);
            if let Some(end) = start.checked_add(size).filter(|end| *end <= self.end.load(Ordering::Relaxed)) {
                self.next.store(end, Ordering::Relaxed);
                return start as *mut u8;
            }
            let fresh = map(size.max(CHUNK));
            if !fresh.is_null() && size < CHUNK {
                self.next.store(fresh as usize + size, Ordering::Relaxed);
                self.end.store(fresh as usize + CHUNK, Ordering::Relaxed);
            }
            fresh
        })
    }

    /// Grows the block that was handed out last; `false` for any other.
    fn grow(&self, block: usize, old: usize, new: usize) -> bool {
        self.locked(|| {
            let fits =
                self.next.load(Ordering::Relaxed) == block + old && block + new <= self.end.load(Ordering::Relaxed);
            if fits {
                self.next.store(block + new, Ordering::Relaxed);
            }
            fits
        })
    }
}

#[allow(unsafe_code, reason = "mmap(2)")]
fn map(size: usize) -> *mut u8 {
    // SAFETY: a new anonymous mapping touches no memory that is in use.
    let fresh = unsafe {
        libc::mmap(null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    if fresh == libc::MAP_FAILED { null_mut() } else { fresh.cast() }
}

// SAFETY: blocks never overlap, because `take` and `grow` move `next` only forward and under the lock; they are aligned,
// since mappings are page-aligned and no layout of this program asks for more than a page; none is ever given back.
#[allow(unsafe_code, reason = "GlobalAlloc")]
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size(), layout.align())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // Fresh from the kernel, and never handed out twice: it is zero.
        self.take(layout.size(), layout.align())
    }

    #[inline(always)]
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size <= layout.size() || self.grow(block as usize, layout.size(), size) {
            return block;
        }
        let moved = self.take(size, layout.align());
        if !moved.is_null() {
            // SAFETY: both blocks are ours, distinct, and at least `layout.size()` long.
            unsafe { moved.copy_from_nonoverlapping(block, layout.size()) };
        }
        moved
    }
}
