//! What is kept of interfaces and flows.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::generated::bpf_ktime_get_ns,
    programs::XdpContext,
};

use bpfboot_ebpf::add;

use crate::{
    maps::{CONNECTIONS, CPU_STATS, Connection, Count, FLOW_CACHE, Handler, Scratch, Stats, Told, again, count, flow},
    parse::{TCP, UDP},
};

/// Counts the packet, as a whole, by what it is and what becomes of it, and for its interface.
#[inline(always)]
pub fn account(ctx: &XdpContext, s: *mut Scratch, verdict: usize) {
    let bytes = (ctx.data_end() - ctx.data()) as u64;
    let dropped = u64::from(verdict != 0);
    count(Count::Packets as usize, 1);
    count(Count::Bytes as usize, bytes);
    // SAFETY: here and below, `s` is this CPU's scratch, and XDP does not nest on a CPU.
    unsafe {
        count(Count::Verdicts as usize + again(&raw const (*s).class) * 3 + verdict, 1);
        let interface = &(*flow(s)).interface;
        match CPU_STATS.get_ptr_mut(interface) {
            Some(stats) => {
                (*stats).packets += 1;
                (*stats).bytes += bytes;
                (*stats).dropped += dropped;
            }
            None => drop(CPU_STATS.insert(interface, Stats { packets: 1, bytes, dropped }, u64::from(BPF_ANY))),
        }
    }
}

/// Enters a packet with ports into its flow; gives the handler that should look at its payload.
#[inline(always)]
pub fn follow(s: *mut Scratch) -> Option<Handler> {
    unsafe {
        if again(&raw const (*s).ports) == 0 {
            return None;
        }
        connect(s);
        if again(&raw const (*s).length) == 0 || again(&raw const (*s).fragment) != 0 {
            return None;
        }
        let flow = &*flow(s);
        let handler = match (flow.protocol, flow.destination_port) {
            (TCP, 80 | 8080) => Handler::Http,
            (TCP, 443 | 8443) => Handler::Tls,
            (UDP, 53) => return Some(Handler::Dns),
            _ => return None,
        };
        if let Some(told) = FLOW_CACHE.get_ptr(flow)
            && (*told).sequence == (*s).sequence
        {
            count(Count::Repeated as usize, 1);
            return None;
        }
        Some(handler)
    }
}

#[inline(always)]
fn connect(s: *mut Scratch) {
    unsafe {
        let now = bpf_ktime_get_ns();
        let (flow, bytes) = (&*flow(s), u64::from((*s).length));
        if let Some(connection) = CONNECTIONS.get_ptr_mut(flow) {
            // Other CPUs may have packets of the same flow.
            add(&raw mut (*connection).packets, 1);
            add(&raw mut (*connection).bytes, bytes);
            (*connection).last = now;
            return;
        }
        let new = Connection { packets: 1, bytes, first: now, last: now };
        if CONNECTIONS.insert(flow, new, u64::from(BPF_NOEXIST)).is_err() {
            count(Count::Full as usize, 1);
        }
    }
}

/// Remembers that a record of this flow was sent.
#[inline(always)]
pub fn told(s: *mut Scratch, kind: usize) {
    unsafe {
        let flow = &*flow(s);
        if flow.protocol == TCP {
            let told = Told { sequence: (*s).sequence, kind: kind as u32 };
            let _ = FLOW_CACHE.insert(flow, told, u64::from(BPF_ANY));
        }
    }
}
