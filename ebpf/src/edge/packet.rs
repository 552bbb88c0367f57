//! Reading a packet: never past its end.

use aya_ebpf::programs::XdpContext;
use core::arch::asm;

use crate::maps::{Scratch, again, clear};

/// Deeper than any header can be in a frame of one page, and within what the verifier lets a packet's offset be.
const DEEPEST: usize = 0x3fff;

/// What lies at an offset, unless the frame ends before it does.
#[inline(always)]
pub fn at<T>(ctx: &XdpContext, offset: usize) -> Option<*const T> {
    let start = ctx.data() + offset;
    let mut end = start;
    // An instruction, since the verifier wants to see this very sum compared: for one byte the compiler would rather
    // ask whether start < data_end.
    // SAFETY: it adds.
    unsafe { asm!("{} += {}", inout(reg) end, const size_of::<T>()) };
    (end <= ctx.data_end()).then_some(start as *const T)
}

/// An offset that was written down: one of the scratch's, 2 + 4n. That it is, is said so that the verifier knows.
#[inline(always)]
pub fn offset(written: *const u32) -> usize {
    again(written) & (DEEPEST - 3) | 2
}

/// A number of two bytes, wherever it lies.
#[inline(always)]
pub fn be16(bytes: *const [u8; 2]) -> usize {
    // SAFETY: the callers' pointers come from at().
    let [high, low] = unsafe { *bytes };
    usize::from(high) << 8 | usize::from(low)
}

/// Copies 16 bytes into the scratch, a word at a time: for a whole array the compiler would call memmove(), which is
/// not there.
#[inline(always)]
pub fn words(from: *const [u32; 4], to: *mut u32) {
    for word in 0..4 {
        // SAFETY: at() has looked at `from`, and the callers' places have the room.
        unsafe { to.add(word).write_volatile((*from)[word]) };
    }
}

/// Any offset into the payload.
#[inline(always)]
pub fn inside(s: *mut Scratch, position: usize) -> usize {
    // SAFETY: `s` is this CPU's scratch.
    offset(unsafe { &raw const (*s).payload }) + (position & DEEPEST)
}

/// Copies `length` bytes from an offset of 2 + 4n on, at most 16 * `BLOCKS`, to a place in the scratch; zeroes follow,
/// at least one.
#[inline(always)]
pub fn fetch<const BLOCKS: usize>(ctx: &XdpContext, s: *mut Scratch, from: usize, length: usize, to: *mut u32) {
    // SAFETY: the callers' places have room for 16 * `BLOCKS` + 16 bytes, and at() has looked at what is read.
    unsafe {
        (*s).want = length.min(16 * BLOCKS) as u32;
        let want = &raw const (*s).want;
        for block in 0..BLOCKS {
            if again(want) < 16 * (block + 1) {
                break;
            }
            let Some(read) = at::<[u32; 4]>(ctx, from + 16 * block) else { break };
            words(read, to.add(4 * block));
        }
        let whole = again(want) & 0x3f0;
        if whole > 16 * BLOCKS {
            return;
        }
        let rest = to.cast::<u8>().add(whole);
        clear::<2>(rest.cast());
        // What is left, from the largest piece on: where each begins follows from the length alone.
        if again(want) & 8 != 0
            && let Some(read) = at::<[u32; 2]>(ctx, from + whole)
        {
            rest.cast::<u32>().write_volatile((*read)[0]);
            rest.cast::<u32>().add(1).write_volatile((*read)[1]);
        }
        let done = again(want) & 8;
        if again(want) & 4 != 0
            && let Some(read) = at::<u32>(ctx, from + whole + done)
        {
            rest.add(done).cast::<u32>().write_volatile(*read);
        }
        let done = again(want) & 12;
        if again(want) & 2 != 0
            && let Some(read) = at::<u16>(ctx, from + whole + done)
        {
            rest.add(done).cast::<u16>().write_volatile(*read);
        }
        let done = again(want) & 14;
        if again(want) & 1 != 0
            && let Some(read) = at::<u8>(ctx, from + whole + done)
        {
            rest.add(done).write_volatile(*read);
        }
    }
}
