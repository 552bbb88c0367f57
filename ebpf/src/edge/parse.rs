//! From Ethernet to TCP, UDP and ICMP: what a packet is, and between whom.

use aya_ebpf::programs::XdpContext;

use crate::{
    maps::{Class, Count, Scratch, again, clear, count, flow},
    packet::{at, offset, words},
};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// The most extension headers that are looked at.
const CHAIN: u32 = 6;

const HOP_BY_HOP: u8 = 0;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const DESTINATION: u8 = 60;

#[repr(C)]
struct Ipv4 {
    version_and_words: u8,
    service: u8,
    length: u16,
    id: u16,
    fragment: u16,
    hops: u8,
    protocol: u8,
    checksum: u16,
    source: u32,
    destination: u32,
}

#[repr(C)]
struct Ipv6 {
    version: u8,
    label: [u8; 3],
    length: u16,
    next: u8,
    hops: u8,
    source: [u32; 4],
    destination: [u32; 4],
}

#[repr(C)]
struct Extension {
    next: u8,
    length: u8,
    fragment: u16,
    rest: u32,
}

#[repr(C)]
struct Tcp {
    source: u16,
    destination: u16,
    sequence: u32,
    acknowledged: u32,
    words: u8,
    flags: u8,
    window: u16,
    checksum: u16,
    urgent: u16,
}

#[repr(C)]
struct Udp {
    source: u16,
    destination: u16,
    length: u16,
    checksum: u16,
}

/// Fills the scratch with what the headers say, as far as they can be read.
#[inline(always)]
pub fn headers(ctx: &XdpContext, s: *mut Scratch) {
    // SAFETY: here and below, `s` is this CPU's scratch, and at() has looked at what is read of a packet.
    unsafe {
        clear::<6>(flow(s).cast());
        (*flow(s)).interface = ctx.ingress_ifindex() as u32;
        (*s).class = Class::Other as u32;
        (*s).ports = 0;
        (*s).fragment = 0;
        (*s).length = 0;
    }
    if read(ctx, s).is_none() {
        count(Count::Malformed as usize, 1);
    }
}

/// `None`: a header is cut off, or contradicts itself.
#[inline(always)]
fn read(ctx: &XdpContext, s: *mut Scratch) -> Option<()> {
    match ethernet(ctx, s)? {
        IPV4 => ipv4(ctx, s)?,
        IPV6 => ipv6(ctx, s)?,
        other => {
            if tagged(other) {
                count(Count::TooDeep as usize, 1);
            }
            return Some(());
        }
    }
    transport(ctx, s)
}

/// 802.1Q, 802.1ad, and what was used before that.
#[inline(always)]
fn tagged(ethertype: u16) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
}

/// Ethernet, and two tags at most; gives the ethertype of what follows.
#[inline(always)]
fn ethernet(ctx: &XdpContext, s: *mut Scratch) -> Option<u16> {
    unsafe {
        let mut ethertype = u16::from_be((*at::<[u16; 7]>(ctx, 0)?)[6]);
        (*s).next = 14;
        if tagged(ethertype) {
            let [tag, inner] = *at::<[u16; 2]>(ctx, 14)?;
            (*flow(s)).vlan = u16::from_be(tag) & 0xfff;
            (*s).next = 18;
            ethertype = u16::from_be(inner);
            if tagged(ethertype) {
                let [_, inner] = *at::<[u16; 2]>(ctx, 18)?;
                (*s).next = 22;
                ethertype = u16::from_be(inner);
            }
        }
        Some(ethertype)
    }
}

/// Where the IP packet ends; `None` if the frame ends before.
#[inline(always)]
fn ends(ctx: &XdpContext, s: *mut Scratch, end: usize) -> Option<()> {
    unsafe { (*s).end = end as u32 };
    (end <= ctx.data_end() - ctx.data()).then_some(())
}

#[inline(always)]
fn ipv4(ctx: &XdpContext, s: *mut Scratch) -> Option<()> {
    unsafe {
        let start = offset(&raw const (*s).next);
        let ip = at::<Ipv4>(ctx, start)?;
        let bytes = usize::from((*ip).version_and_words & 15) * 4;
        if (*ip).version_and_words >> 4 != 4 || bytes < 20 {
            return None;
        }
        (*flow(s)).version = 4;
        (*flow(s)).protocol = (*ip).protocol;
        *(&raw mut (*flow(s)).source).cast::<u32>() = (*ip).source;
        *(&raw mut (*flow(s)).destination).cast::<u32>() = (*ip).destination;
        (*s).class = Class::Ip as u32;
        (*s).next = (start + bytes) as u32;
        let fragment = u16::from_be((*ip).fragment) & 0x3fff;
        let length = usize::from(u16::from_be((*ip).length));
        if fragment != 0 {
            fragmented(s, fragment & 0x1fff != 0);
        }
        if length < bytes {
            return None;
        }
        ends(ctx, s, start + length)
    }
}

/// `later`: not the first one, and so without a header of what it carries.
#[inline(always)]
fn fragmented(s: *mut Scratch, later: bool) {
    unsafe { (*s).fragment = 1 + u32::from(later) };
    count(Count::Fragments as usize, 1);
}

#[inline(always)]
fn ipv6(ctx: &XdpContext, s: *mut Scratch) -> Option<()> {
    unsafe {
        let start = offset(&raw const (*s).next);
        let ip = at::<Ipv6>(ctx, start)?;
        if (*ip).version >> 4 != 6 {
            return None;
        }
        (*flow(s)).version = 6;
        (*flow(s)).protocol = (*ip).next;
        words(&raw const (*ip).source, (&raw mut (*flow(s)).source).cast());
        words(&raw const (*ip).destination, (&raw mut (*flow(s)).destination).cast());
        (*s).class = Class::Ip as u32;
        (*s).next = start as u32 + 40;
        match usize::from(u16::from_be((*ip).length)) {
            // A jumbogram says its length in an option: it ends with the frame.
            0 => (*s).end = (ctx.data_end() - ctx.data()) as u32,
            length => ends(ctx, s, start + 40 + length)?,
        }
        chain(ctx, s)
    }
}

/// The extension headers.
#[inline(always)]
fn chain(ctx: &XdpContext, s: *mut Scratch) -> Option<()> {
    unsafe {
        for _ in 0..CHAIN {
            let header = (&raw const (*flow(s)).protocol).read_volatile();
            if !extends(header) {
                return Some(());
            }
            let start = offset(&raw const (*s).next);
            let extension = at::<Extension>(ctx, start)?;
            let words = usize::from((*extension).length);
            let bytes = match header {
                FRAGMENT => 8,
                AUTHENTICATION if words == 0 => return None,
                AUTHENTICATION => words * 4 + 8,
                _ => words * 8 + 8,
            };
            (*flow(s)).protocol = (*extension).next;
            (*s).next = (start + bytes) as u32;
            let past = again(&raw const (*s).next);
            if past > again(&raw const (*s).end) {
                return None;
            }
            if header == FRAGMENT {
                let fragment = u16::from_be((*extension).fragment);
                if fragment & 0xfff9 != 0 {
                    fragmented(s, fragment & 0xfff8 != 0);
                }
                if fragment & 0xfff8 != 0 {
                    return Some(());
                }
            }
        }
        if extends((&raw const (*flow(s)).protocol).read_volatile()) {
            count(Count::TooDeep as usize, 1);
        }
        Some(())
    }
}

#[inline(always)]
fn extends(header: u8) -> bool {
    matches!(header, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// The header after IP's.
#[inline(always)]
fn transport(ctx: &XdpContext, s: *mut Scratch) -> Option<()> {
    unsafe {
        let protocol = (&raw const (*flow(s)).protocol).read_volatile();
        (*s).class = match protocol {
            TCP => Class::Tcp,
            UDP => Class::Udp,
            ICMP => Class::Icmp,
            ICMPV6 => Class::Icmpv6,
            _ => return Some(()),
        } as u32;
        let fragment = again(&raw const (*s).fragment);
        if fragment == 2 {
            return Some(());
        }
        let start = offset(&raw const (*s).next);
        let end = again(&raw const (*s).end);
        let room = end.checked_sub(start)?;
        let (source, destination, header, bytes) = match protocol {
            TCP => {
                let tcp = at::<Tcp>(ctx, start)?;
                (*s).sequence = u32::from_be((*tcp).sequence);
                let header = usize::from((*tcp).words >> 4) * 4;
                if header < 20 {
                    return None;
                }
                ((*tcp).source, (*tcp).destination, header, room)
            }
            UDP => {
                let udp = at::<Udp>(ctx, start)?;
                let length = usize::from(u16::from_be((*udp).length));
                // Of the whole datagram, of which a fragment is a part.
                ((*udp).source, (*udp).destination, 8, if fragment == 0 { length } else { room })
            }
            _ => return (room >= 8).then_some(()),
        };
        if header > bytes || bytes > room {
            return None;
        }
        (*flow(s)).source_port = u16::from_be(source);
        (*flow(s)).destination_port = u16::from_be(destination);
        (*s).ports = 1;
        (*s).payload = (start + header) as u32;
        (*s).length = (bytes - header) as u32;
        Some(())
    }
}
