//! A TLS ClientHello, as far as its first segment goes.

use aya_ebpf::programs::XdpContext;
use bpfboot_ebpf::event::Tls;
use core::mem::offset_of;

use crate::{
    maps::{Scratch, again},
    packet::{at, be16, fetch, inside},
    text::{lowest, word},
};

/// The most extensions that are looked at. Browsers send 18.
const EXTENSIONS: usize = 32;
const SERVER_NAME: usize = 0;
const ALPN: usize = 16;
/// Record header (5), handshake header (4), version (2) and random (32): the session's id follows.
const SESSION: usize = 43;

/// Fills the record; gives its size.
#[inline(always)]
pub fn hello(ctx: &XdpContext, s: *mut Scratch) -> Option<usize> {
    // SAFETY: here and below, `s` is this CPU's scratch, and at() has looked at what is read of a packet.
    unsafe {
        let length = again(&raw const (*s).length);
        let start = at::<[u8; SESSION + 1]>(ctx, inside(s, 0))?;
        // A handshake record of version 3, and in it a ClientHello.
        if length <= SESSION || (*start)[0] != 22 || (*start)[1] != 3 || (*start)[5] != 1 {
            return None;
        }
        let tls = s.cast::<Tls>();
        (*tls).version = be16((&raw const (*start)[9]).cast()) as u16;
        (*s).name_length = 0;
        (*s).alpn_length = 0;
        let ciphers = SESSION + 1 + usize::from((*start)[SESSION]);
        let compression = ciphers + 2 + two(ctx, s, ciphers)?;
        let extensions = compression + 1 + one(ctx, s, compression)?;
        // Without extensions a hello ends here.
        if let Some(bytes) = two(ctx, s, extensions) {
            (*s).position = extensions as u32 + 2;
            walk(ctx, s, (extensions + 2 + bytes).min(length));
        }
        texts(ctx, s)
    }
}

#[inline(always)]
fn one(ctx: &XdpContext, s: *mut Scratch, position: usize) -> Option<usize> {
    unsafe {
        if position + 1 > again(&raw const (*s).length) {
            return None;
        }
        Some(usize::from(*at::<u8>(ctx, inside(s, position))?))
    }
}

#[inline(always)]
fn two(ctx: &XdpContext, s: *mut Scratch, position: usize) -> Option<usize> {
    unsafe {
        if position + 2 > again(&raw const (*s).length) {
            return None;
        }
        Some(be16(at(ctx, inside(s, position))?))
    }
}

/// From extension to extension; leaves where name and protocols are.
#[inline(always)]
fn walk(ctx: &XdpContext, s: *mut Scratch, end: usize) {
    unsafe {
        for _ in 0..EXTENSIONS {
            let position = again(&raw const (*s).position);
            let Some(header) = at::<[u8; 4]>(ctx, inside(s, position)) else { return };
            let (kind, length) = (be16(header.cast()), be16(header.cast::<[u8; 2]>().add(1)));
            (*s).position = (position + 4 + length) as u32;
            if again(&raw const (*s).position) > end {
                return;
            }
            if kind == SERVER_NAME && length >= 5 {
                let Some(list) = at::<[u8; 5]>(ctx, inside(s, position + 4)) else { return };
                let name = be16((&raw const (*list)[3]).cast());
                if (*list)[2] == 0 && name + 5 <= length {
                    (*s).name = position as u32 + 9;
                    (*s).name_length = name as u32;
                }
            }
            if kind == ALPN && length >= 2 {
                let Some(list) = at::<[u8; 2]>(ctx, inside(s, position + 4)) else { return };
                let protocols = be16(list);
                if protocols + 2 <= length {
                    (*s).alpn = position as u32 + 6;
                    (*s).alpn_length = protocols as u32;
                }
            }
        }
    }
}

/// Copies both into the record; gives its size.
#[inline(always)]
fn texts(ctx: &XdpContext, s: *mut Scratch) -> Option<usize> {
    unsafe {
        let tls = s.cast::<Tls>();
        let length = again(&raw const (*s).alpn_length).min(64);
        (*tls).alpn_length = length as u16;
        let skew = window::<4>(ctx, s, again(&raw const (*s).alpn), length);
        let alpn = (&raw mut (*tls).alpn).cast::<u64>();
        let length = usize::from((&raw const (*tls).alpn_length).read_volatile());
        for words in 0..8 {
            let rest = length.saturating_sub(8 * words).min(8);
            *alpn.add(words) = word(s, skew, words) & lowest(rest);
        }
        let length = again(&raw const (*s).name_length).min(256);
        (*tls).name_length = length as u32;
        let skew = window::<16>(ctx, s, again(&raw const (*s).name), length);
        let name = (&raw mut (*tls).name).cast::<u64>();
        for words in 0..32 {
            *name.add(words) = word(s, skew, words);
        }
        Some(offset_of!(Tls, name) + (again(&raw const (*tls).name_length) & 0x1ff))
    }
}

/// Fetches `length` bytes of the payload into the window, from up to three bytes before them; gives how many.
#[inline(always)]
fn window<const BLOCKS: usize>(ctx: &XdpContext, s: *mut Scratch, position: usize, length: usize) -> usize {
    let from = inside(s, position & !3);
    fetch::<BLOCKS>(ctx, s, from, length + position % 4, unsafe { (&raw mut (*s).window).cast() });
    position % 4
}
