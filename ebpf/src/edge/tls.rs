//! A TLS ClientHello, as far as its first segment goes.

use aya_ebpf::programs::XdpContext;
use bpfboot_ebpf::event::Tls;
use core::mem::offset_of;

use crate::{
    maps::{Scratch, again, clear, nonzero},
    packet::{at, be16, fetch, inside},
    text::{lowest, word},
};

/// The most extensions that are looked at. Browsers send 18.
const EXTENSIONS: usize = 24;
const SERVER_NAME: usize = 0;
const ALPN: usize = 16;
/// Record header (5), handshake header (4), version (2) and random (32): the session's id follows.
const SESSION: usize = 43;

/// Fills the record; gives its size.
#[inline(always)]
pub fn hello(ctx: &XdpContext, s: *mut Scratch) -> Option<usize> {
    // SAFETY: here and below, `s` is this CPU's scratch, and at() has looked at what is read of a packet.
    unsafe {
        let start = at::<[u8; SESSION + 1]>(ctx, inside(s, 0))?;
        // A handshake record of version 3, and in it a ClientHello.
        if again(&raw const (*s).length) <= SESSION || (*start)[0] != 22 || (*start)[1] != 3 || (*start)[5] != 1 {
            return None;
        }
        let tls = s.cast::<Tls>();
        (*tls).version = be16((&raw const (*start)[9]).cast()) as u16;
        clear::<3>((&raw mut (*s).extensions).cast());
        let ciphers = SESSION + 1 + usize::from((*start)[SESSION]);
        let compression = ciphers + 2 + two(ctx, s, ciphers)?;
        let extensions = compression + 1 + one(ctx, s, compression)?;
        // Without extensions a hello ends here.
        if let Some(bytes) = two(ctx, s, extensions) {
            (*s).position = extensions as u32 + 2;
            (*s).want = (extensions + 2 + bytes).min(again(&raw const (*s).length)) as u32;
            walk(ctx, s);
        }
        alpn(ctx, s);
        Some(offset_of!(Tls, name) + name(ctx, s))
    }
}

/// A byte of the payload.
#[inline(always)]
fn one(ctx: &XdpContext, s: *mut Scratch, position: usize) -> Option<usize> {
    unsafe {
        if position + 1 > again(&raw const (*s).length) {
            return None;
        }
        Some(usize::from(*at::<u8>(ctx, inside(s, position))?))
    }
}

/// Two bytes of the payload as a number.
#[inline(always)]
fn two(ctx: &XdpContext, s: *mut Scratch, position: usize) -> Option<usize> {
    unsafe {
        if position + 2 > again(&raw const (*s).length) {
            return None;
        }
        Some(be16(at(ctx, inside(s, position))?))
    }
}

/// From extension to extension; leaves where the last of each kind is: its position, and below that its length.
#[inline(always)]
fn walk(ctx: &XdpContext, s: *mut Scratch) {
    unsafe {
        for _ in 0..EXTENSIONS {
            let position = again(&raw const (*s).position);
            let Some(header) = at::<[u8; 4]>(ctx, inside(s, position)) else { return };
            let (kind, length) = (be16(header.cast()), be16(header.cast::<[u8; 2]>().add(1)));
            (*s).position = (position + 4 + length) as u32;
            if again(&raw const (*s).position) > again(&raw const (*s).want) {
                return;
            }
            // Without a branch, after which the verifier would walk the rest of the loop once more.
            let other = nonzero(kind ^ SERVER_NAME);
            let slot = other + (other & nonzero(kind ^ ALPN));
            (&raw mut (*s).extensions).cast::<[u32; 2]>().add(slot).write([position as u32, length as u32]);
        }
    }
}

/// Where an extension's header is, and how many bytes follow it.
#[inline(always)]
fn extension(s: *mut Scratch, slot: usize) -> (usize, usize) {
    unsafe {
        let found = (&raw const (*s).extensions).cast::<u32>().add(2 * slot);
        (again(found), again(found.add(1)))
    }
}

/// Copies the protocols.
#[inline(always)]
fn alpn(ctx: &XdpContext, s: *mut Scratch) {
    unsafe {
        let tls = s.cast::<Tls>();
        let (position, bytes) = extension(s, 1);
        (*tls).alpn_length = 0;
        if let Some(list) = at::<[u8; 2]>(ctx, inside(s, position + 4)) {
            let length = be16(list);
            if length + 2 <= bytes {
                (*tls).alpn_length = length.min(64) as u16;
            }
        }
        let length = &raw const (*tls).alpn_length;
        let skew = window::<5>(ctx, s, position + 6, usize::from(length.read_volatile()));
        let alpn = (&raw mut (*tls).alpn).cast::<u64>();
        for words in 0..8 {
            let rest = usize::from(length.read_volatile()).saturating_sub(8 * words).min(8);
            *alpn.add(words) = word(s, skew, words) & lowest(rest);
        }
    }
}

/// Copies the server's name; gives its length.
#[inline(always)]
fn name(ctx: &XdpContext, s: *mut Scratch) -> usize {
    unsafe {
        let tls = s.cast::<Tls>();
        let (position, bytes) = extension(s, 0);
        (*tls).name_length = 0;
        if let Some(list) = at::<[u8; 5]>(ctx, inside(s, position + 4)) {
            let length = be16((&raw const (*list)[3]).cast());
            if (*list)[2] == 0 && length + 5 <= bytes {
                (*tls).name_length = length.min(256) as u32;
            }
        }
        let skew = window::<17>(ctx, s, position + 9, again(&raw const (*tls).name_length));
        let name = (&raw mut (*tls).name).cast::<u64>();
        for words in 0..32 {
            if 8 * words >= again(&raw const (*tls).name_length) {
                break;
            }
            *name.add(words) = word(s, skew, words);
        }
        again(&raw const (*tls).name_length) & 0x1ff
    }
}

/// Fetches a piece of the payload into the window, from up to three bytes before it; gives how many.
#[inline(always)]
fn window<const BLOCKS: usize>(ctx: &XdpContext, s: *mut Scratch, position: usize, length: usize) -> usize {
    let skew = position % 4;
    fetch::<BLOCKS>(ctx, s, inside(s, position - skew), length + skew, unsafe { (&raw mut (*s).window).cast() });
    skew
}
