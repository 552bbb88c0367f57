//! The way to the reader.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output};
use aya_ebpf::macros::btf_map;
use bpfboot_ebpf::event::{Header, Kind};
use bpfboot_ebpf::{RingBuf, add};
use core::ptr::from_ref;

#[btf_map(name = "events")]
static EVENTS: RingBuf<{ 1024 * 1024 }> = RingBuf::DEFINITION;

/// Events the ring buffer had no room for.
#[btf_map(name = "drops")]
static DROPS: PerCpuArray<u64, 1> = PerCpuArray::new();

/// How a record of `size` bytes begins.
#[inline(always)]
pub fn header(kind: Kind, size: usize) -> Header {
    // SAFETY: a helper without arguments.
    Header { time: unsafe { bpf_ktime_get_ns() }, kind: kind as u32, size: size as u32 }
}

/// Sends the first `size` bytes of a record, or counts it as lost.
///
/// # Safety
/// They can be read.
#[inline(always)]
pub unsafe fn send<T>(record: *const T, size: usize) {
    let ring = from_ref(&EVENTS).cast_mut().cast();
    // SAFETY: as promised by the caller, and the verifier sees to it.
    if unsafe { bpf_ringbuf_output(ring, record.cast_mut().cast(), size as u64, 0) } != 0 {
        lost();
    }
}

/// Counts an event that is not told.
#[inline(always)]
pub fn lost() {
    if let Some(drops) = DROPS.get_ptr_mut(0) {
        add(drops, 1);
    }
}
