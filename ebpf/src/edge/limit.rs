//! A token bucket for each source, off unless the configuration sets a rate.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use core::ptr::read_volatile;

use crate::maps::{LIMITS, Scratch, Source, flow};

/// Packets a second of one source that pass; 0: no limit. The loader may override it.
#[unsafe(export_name = "limit_rate")]
static LIMIT_RATE: u32 = 0;

/// Packets that may come at once. The loader may override it.
#[unsafe(export_name = "limit_burst")]
static LIMIT_BURST: u32 = 100;

/// Whether the source's bucket is empty; takes a token out of it if not.
///
/// The bucket is kept as the time when it will be full again: each packet moves that on by what a token takes to come
/// back, and may not move it further than a whole bucket ahead. Two CPUs at the same time may let one packet too many
/// through.
#[inline(always)]
pub fn exceeded(s: *mut Scratch) -> bool {
    // SAFETY: plain reads, volatile because the compiler must not fold in the defaults; `s` is this CPU's scratch.
    let (rate, burst, version) = unsafe {
        let version = (&raw const (*flow(s)).version).read_volatile();
        (u64::from(read_volatile(&LIMIT_RATE)), u64::from(read_volatile(&LIMIT_BURST)), version)
    };
    if rate == 0 || version == 0 {
        return false;
    }
    // SAFETY: a helper without arguments, and `s` as above.
    let (now, address) = unsafe { (bpf_ktime_get_ns(), *(&raw const (*flow(s)).source).cast()) };
    let source = Source { address, version: u64::from(version) };
    let token = 1_000_000_000 / rate;
    match LIMITS.get_ptr_mut(&source) {
        Some(full) => {
            // SAFETY: aligned, and the map's until this program ends.
            unsafe {
                let next = read_volatile(full).max(now) + token;
                if next - now > token * burst {
                    return true;
                }
                *full = next;
            }
            false
        }
        None => {
            let _ = LIMITS.insert(&source, now + token, 0);
            burst == 0
        }
    }
}
