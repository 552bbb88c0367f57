#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use bpfboot_ebpf as _;

const PACKETS: u32 = 0;
const BYTES: u32 = 1;

#[btf_map(name = "counters")]
static COUNTERS: PerCpuArray<u64, 2> = PerCpuArray::new();

#[xdp]
fn xdp_main(ctx: XdpContext) -> u32 {
    add(PACKETS, 1);
    add(BYTES, (ctx.data_end() - ctx.data()) as u64);
    XDP_PASS
}

fn add(index: u32, amount: u64) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the slot is this CPU's own, and XDP does not nest on a CPU.
        unsafe { *counter += amount };
    }
}
