//! The edge of a machine: what comes in on an interface is parsed, counted, dropped where its source is not wanted, and
//! what HTTP, DNS and TLS clients ask for is told.
//!
//! `xdp_main` parses once and leaves its facts in this CPU's [`maps::Scratch`]; `http`, `dns` and `tls` complete the
//! record there, and `log_event` sends it. From one to the next by tail calls through `dispatch`: where nothing is
//! behind an index, the packet passes.
//!
//! Three things keep the verifier's work small, which is paid at every boot. What two branches may set differently goes
//! through the scratch, of which the verifier remembers nothing, so that it walks what follows once. Loops are bounded
//! and change nothing but a position. Packets are read in words: headers and payloads begin at 2 + 4n bytes, which the
//! verifier knows to be aligned, since it places a packet 2 bytes past a word (NET_IP_ALIGN).
#![no_std]
#![no_main]
// Assembly for BPF, as aya-ebpf itself has it.
#![feature(asm_experimental_arch)]

mod deny;
mod dns;
mod flow;
mod http;
mod limit;
mod maps;
mod packet;
mod parse;
mod text;
mod tls;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    helpers::generated::bpf_ktime_get_ns,
    macros::xdp,
    programs::XdpContext,
};
use bpfboot_ebpf::event::{Header, Kind};

use maps::{Count, Handler, Scratch, Verdict, again, count, scratch};

#[xdp]
fn xdp_main(ctx: XdpContext) -> u32 {
    let Some(s) = scratch() else { return XDP_PASS };
    parse::headers(&ctx, s);
    let verdict = if deny::denied(s) {
        Verdict::Denied
    } else if limit::exceeded(s) {
        Verdict::Limited
    } else {
        Verdict::Pass
    };
    // SAFETY: `s` is this CPU's own scratch, and XDP does not nest on a CPU.
    let verdict = unsafe {
        (*s).verdict = verdict as u32;
        again(&raw const (*s).verdict)
    };
    flow::account(&ctx, s, verdict);
    if verdict != Verdict::Pass as usize {
        return XDP_DROP;
    }
    if let Some(handler) = flow::follow(s) {
        jump(&ctx, handler);
    }
    XDP_PASS
}

#[xdp]
fn http(ctx: XdpContext) -> u32 {
    tell(&ctx, Kind::Http, http::request)
}

#[xdp]
fn dns(ctx: XdpContext) -> u32 {
    tell(&ctx, Kind::Dns, dns::question)
}

#[xdp]
fn tls(ctx: XdpContext) -> u32 {
    tell(&ctx, Kind::Tls, tls::hello)
}

/// Completes the record by a parser, which gives its size, or `None` for a payload that is something else.
#[inline(always)]
fn tell(ctx: &XdpContext, kind: Kind, parser: impl FnOnce(&XdpContext, *mut Scratch) -> Option<usize>) -> u32 {
    let Some(s) = scratch() else { return XDP_PASS };
    let Some(size) = parser(ctx, s) else {
        count(Count::Unfit as usize, 1);
        return XDP_PASS;
    };
    // SAFETY: as in xdp_main().
    unsafe {
        let header = (&raw mut (*s).record).cast::<Header>();
        (*header).kind = kind as u32;
        (*header).size = size as u32;
    }
    jump(ctx, Handler::LogEvent);
    XDP_PASS
}

#[xdp]
fn log_event(_ctx: XdpContext) -> u32 {
    let Some(s) = scratch() else { return XDP_PASS };
    // SAFETY: as in xdp_main().
    let (kind, size) = unsafe {
        let header = (&raw mut (*s).record).cast::<Header>();
        (*header).time = bpf_ktime_get_ns();
        (again(&raw const (*header).kind), again(&raw const (*header).size))
    };
    if maps::send(s, size) {
        count(Count::Told as usize + (kind.wrapping_sub(Kind::Http as usize) & 3), 1);
        flow::told(s, kind);
    }
    XDP_PASS
}

/// Goes on in a handler; comes back where there is none.
#[inline(always)]
fn jump(ctx: &XdpContext, handler: Handler) {
    // SAFETY: nothing here waits to be dropped.
    unsafe { maps::DISPATCH.tail_call(ctx, handler as u32) };
    count(Count::Missing as usize, 1);
}
