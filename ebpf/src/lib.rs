//! What the objects share.
#![no_std]
// Assembly for BPF, as aya-ebpf itself has it.
#![feature(asm_experimental_arch)]

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use core::arch::asm;
use core::ptr::null;

#[path = "../../src/event.rs"]
pub mod event;

/// A ring buffer definition in BTF. aya's own names a key and a value as well,
/// which libbpf refuses for this map type.
#[repr(C)]
pub struct RingBuf<const BYTES: usize> {
    r#type: *const [i32; BPF_MAP_TYPE_RINGBUF as usize],
    max_entries: *const [i32; BYTES],
}

// SAFETY: the pointers exist for their types only; nothing follows them.
unsafe impl<const BYTES: usize> Sync for RingBuf<BYTES> {}

impl<const BYTES: usize> RingBuf<BYTES> {
    pub const DEFINITION: Self = Self { r#type: null(), max_entries: null() };
}

/// Adds at once, whoever else does: the target's own atomics lack it.
#[inline(always)]
pub fn add(to: *mut u64, amount: u64) {
    // SAFETY: the callers' pointers are into a map's value.
    unsafe { asm!("lock *(u64 *)({} + 0) += {}", in(reg) to, in(reg) amount) };
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
