//! The deny lists.

use aya_ebpf::btf_maps::lpm_trie::Key;

use crate::maps::{DENY, DENY6, Scratch, flow};

/// Whether the source is on the list of its version.
#[inline(always)]
pub fn denied(s: *mut Scratch) -> bool {
    // SAFETY: `s` is this CPU's scratch.
    unsafe {
        let source = &raw const (*flow(s)).source;
        match (&raw const (*flow(s)).version).read_volatile() {
            4 => DENY.get(&Key::new(32, *source.cast::<[u8; 4]>())).is_some(),
            6 => DENY6.get(&Key::new(128, *source)).is_some(),
            _ => false,
        }
    }
}
