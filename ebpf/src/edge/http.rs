//! The first segment of an HTTP/1 request.

use aya_ebpf::programs::XdpContext;
use bpfboot_ebpf::event::Http;
use core::mem::offset_of;

use crate::{
    maps::{Scratch, again, clear},
    packet::{fetch, offset},
    text::{before, blanks, first, lowest, newlines, word},
};

/// Bytes that are looked at, as blocks of 16.
const BLOCKS: usize = 32;
/// Words and lines that are stepped over in search of the host.
const STEPS: usize = 64;

/// A method as the first word of a segment.
const fn method(text: &[u8]) -> u64 {
    let (mut word, mut i) = (0, 0);
    while i < text.len() {
        word |= (text[i] as u64) << (8 * i);
        i += 1;
    }
    word
}

/// Fills the record; gives its size.
#[inline(always)]
pub fn request(ctx: &XdpContext, s: *mut Scratch) -> Option<usize> {
    // SAFETY: here and below, `s` is this CPU's scratch.
    unsafe {
        let length = again(&raw const (*s).length);
        let from = offset(&raw const (*s).payload);
        fetch::<BLOCKS>(ctx, s, from, length, (&raw mut (*s).window).cast());
        let start = (*s).window[0];
        let blank = blanks(start);
        let name = start & before(blank);
        let known =
            const { [method(b"CONNECT"), method(b"DELETE"), method(b"OPTIONS"), method(b"PATCH"), method(b"TRACE")] };
        if blank == 0
            || start >> (first(blank) * 8) & 0xff != 0x20
            || !(name == const { method(b"GET") }
                || name == const { method(b"POST") }
                || name == const { method(b"HEAD") }
                || name == const { method(b"PUT") }
                || name == known[0]
                || name == known[1]
                || name == known[2]
                || name == known[3]
                || name == known[4])
        {
            return None;
        }
        let http = s.cast::<Http>();
        *(&raw mut (*http).method).cast::<u64>() = name;
        (*s).position = first(blank) as u32 + 1;
        let target = target(s)?;
        host(s);
        Some(offset_of!(Http, path) + target)
    }
}

/// Copies the request target; gives its length, and leaves where it ended.
#[inline(always)]
fn target(s: *mut Scratch) -> Option<usize> {
    unsafe {
        let path = (&raw mut (*s.cast::<Http>()).path).cast::<u64>();
        let start = again(&raw const (*s).position) & 15;
        (*s).name_length = 128;
        for words in 0..16 {
            let part = word(s, start, words);
            *path.add(words) = part;
            let blank = blanks(part);
            if blank != 0 {
                (*s).name_length = (8 * words + first(blank)) as u32;
                break;
            }
        }
        let length = again(&raw const (*s).name_length) & 0xff;
        (length > 0).then_some(length)
    }
}

/// Copies the value of the header `host`, which must end in what was fetched.
#[inline(always)]
fn host(s: *mut Scratch) {
    unsafe {
        let host = (&raw mut (*s.cast::<Http>()).host).cast::<[u64; 8]>();
        clear::<8>(host.cast());
        // In bits, for the shifts.
        (*s).position = (*s).name_length * 8;
        (*s).want *= 8;
        let mut found = false;
        for _ in 0..STEPS {
            let position = again(&raw const (*s).position);
            if position >= again(&raw const (*s).want) {
                break;
            }
            let at = (&raw const (*s).window).cast::<u64>().add(position >> 6 & 63);
            // To the next newline, or to the last byte of this word.
            let skip = 8 * first(newlines(*at) & u64::MAX << (position & 63) | 1 << 63);
            (*s).position = ((position & !63) + skip + 8) as u32;
            let line = *at >> skip | *at.add(1) << 1 << (63 - skip);
            found = (line | 0x2020_2020_2000) & lowest(6) == const { method(b"\nhost:") };
            // An empty line: the headers end.
            if found || line & 0xffff == const { method(b"\n\r") } {
                break;
            }
        }
        if !found {
            return;
        }
        (*s).want /= 8;
        let position = again(&raw const (*s).position) / 8;
        (*s).position = (position + 5 + usize::from(word(s, position + 5, 0) & 0xff == 0x20)) as u32;
        let start = again(&raw const (*s).position);
        (*s).position = 64;
        for words in 0..8 {
            let part = word(s, start, words);
            let blank = blanks(part);
            if blank != 0 {
                (*host)[words] = part & before(blank);
                (*s).position = (8 * words + first(blank)) as u32;
                break;
            }
            (*host)[words] = part;
        }
        if start + again(&raw const (*s).position) >= again(&raw const (*s).want) {
            clear::<8>(host.cast());
        }
    }
}
