//! Looking for bytes eight at a time, in the window: an address ends in a byte, and words begin with the lowest one.

use crate::maps::Scratch;

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = ONES * 0x80;

/// The top bit of the first byte below 0x21, a space or a control character; those above it may be wrong.
#[inline(always)]
pub fn blanks(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x21) & !word & TOPS
}

/// The top bit of the first newline; those above it may be wrong.
#[inline(always)]
pub fn newlines(word: u64) -> u64 {
    let zero = word ^ (ONES * 0x0a);
    zero.wrapping_sub(ONES) & !zero & TOPS
}

/// Which byte the lowest top bit is in.
#[inline(always)]
pub fn first(tops: u64) -> usize {
    (((tops & tops.wrapping_neg()) >> 7).wrapping_mul(0x0001_0203_0405_0607) >> 56) as usize & 7
}

/// Everything before the byte that the lowest top bit is in.
#[inline(always)]
pub fn before(tops: u64) -> u64 {
    ((tops & tops.wrapping_neg()) >> 7).wrapping_sub(1)
}

/// The `count` lowest bytes, 0 to 8.
#[inline(always)]
pub fn lowest(count: usize) -> u64 {
    !(u64::MAX << (4 * count) << (4 * count))
}

/// Eight bytes of the window from any position on, and `words` more.
#[inline(always)]
pub fn word(s: *mut Scratch, position: usize, words: usize) -> u64 {
    // SAFETY: 64 words and 17 more are inside of the window.
    unsafe {
        let at = (&raw const (*s).window).cast::<u64>().add(position >> 3 & 63).add(words);
        let shift = position % 8 * 8;
        *at >> shift | *at.add(1) << 1 << (63 - shift)
    }
}
