//! Where a record is built that is larger than the stack of 512 bytes.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use bpfboot_ebpf::add;
use core::ptr::addr_of_mut;

/// Enough for an `Exec` and another line.
const WORDS: usize = 168;
/// How many may build on one CPU at a time: the newest kernels call programs of tracepoints with preemption on, so that
/// one task's may begin while another's is not done.
const ROOMS: u32 = 4;

#[repr(C)]
struct Room {
    /// Who wants it. It is the one's who finds itself alone.
    takers: u64,
    words: [u64; WORDS],
}

#[btf_map(name = "scratch")]
static SCRATCH: PerCpuArray<Room, { ROOMS as usize }> = PerCpuArray::new();

/// Builds in a room of this CPU, with whatever was in it. `false`: all of them are taken.
#[inline(always)]
pub fn in_scratch<T>(build: impl FnOnce(*mut T)) -> bool {
    const { assert!(size_of::<T>() <= 8 * WORDS && align_of::<T>() <= 8) };
    for at in 0..ROOMS {
        let Some(room) = SCRATCH.get_ptr_mut(at) else { return false };
        // SAFETY: both are in the map's value. Adding and looking are two steps: who comes in between makes both see two
        // and go on, so that no room ever has two owners.
        unsafe {
            let takers = addr_of_mut!((*room).takers);
            add(takers, 1);
            if takers.read_volatile() == 1 {
                build(addr_of_mut!((*room).words).cast());
                add(takers, u64::MAX);
                return true;
            }
            add(takers, u64::MAX);
        }
    }
    false
}
