//! The first question of a DNS query.

use aya_ebpf::programs::XdpContext;
use bpfboot_ebpf::event::Dns;
use core::mem::offset_of;

use crate::{
    maps::{Count, Scratch, again, count, mask},
    packet::{at, be16, fetch, inside, offset},
};

/// Bytes of the header before the first question.
const HEADER: usize = 12;
/// As many as a name of 255 bytes can have, and its end.
const LABELS: usize = 128;

/// Fills the record; gives its size.
#[inline(always)]
pub fn question(ctx: &XdpContext, s: *mut Scratch) -> Option<usize> {
    // SAFETY: here and below, `s` is this CPU's scratch, and at() has looked at what is read of a packet.
    unsafe {
        let length = again(&raw const (*s).length).checked_sub(HEADER)?;
        let from = offset(&raw const (*s).payload);
        let header = at::<[u16; 6]>(ctx, from)?;
        let [id, flags, questions, ..] = (*header).map(u16::from_be);
        // Neither an answer nor another kind of request.
        if flags & 0xf800 != 0 || questions == 0 {
            return None;
        }
        let dns = s.cast::<Dns>();
        (*dns).id = id;
        let name = (&raw mut (*dns).name).cast::<u8>();
        fetch::<16>(ctx, s, from + HEADER, length, name.cast());
        (*s).position = 0;
        let end = walk(s, name)?;
        if end + 4 + HEADER > again(&raw const (*s).length) {
            return None;
        }
        (*dns).qtype = be16(at(ctx, inside(s, HEADER + end))?) as u16;
        (*dns).length = end as u32;
        Some(offset_of!(Dns, name) + end)
    }
}

/// From label to label; gives the length of the name.
#[inline(always)]
fn walk(s: *mut Scratch, name: *const u8) -> Option<usize> {
    unsafe {
        let mut position = 0;
        for _ in 0..LABELS {
            let label = usize::from(*name.add(mask::<0xff>(position)));
            position += 1 + label;
            // The end, or what is no label: told apart outside of the loop, which stays short.
            if label.wrapping_sub(1) > 62 {
                (*s).position = (position - label) as u32;
                (*s).name_length = label as u32;
                break;
            }
        }
        let (length, label) = (again(&raw const (*s).position), again(&raw const (*s).name_length));
        if length == 0 || length > 255 || length + HEADER > again(&raw const (*s).length) {
            return None;
        }
        if label >= 0xc0 {
            count(Count::Pointers as usize, 1);
        }
        (label == 0).then_some(length & 0xff)
    }
}
