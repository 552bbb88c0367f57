//! Where a record is built that is larger than the stack of 512 bytes.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;

/// Enough for an `Exec` and another line.
const WORDS: usize = 168;

/// One for each CPU is enough: every tracepoint, raw or not, calls its programs with preemption off, reading the user's
/// memory does not sleep, and what may interrupt (a timer that sends a signal) notes something and builds nothing.
#[btf_map(name = "scratch")]
static SCRATCH: PerCpuArray<[u64; WORDS], 1> = PerCpuArray::new();

/// This CPU's room, with whatever was in it.
#[inline(always)]
pub fn scratch<T>() -> Option<*mut T> {
    const { assert!(size_of::<T>() <= 8 * WORDS && align_of::<T>() <= 8) };
    SCRATCH.get_ptr_mut(0).map(<*mut _>::cast)
}
