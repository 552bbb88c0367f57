//! What the objects share.
#![no_std]

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
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

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
