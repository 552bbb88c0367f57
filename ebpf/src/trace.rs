#![no_std]
#![no_main]

use aya_ebpf::EbpfContext;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_probe_read_user_str,
    bpf_ringbuf_reserve, bpf_ringbuf_submit,
};
use aya_ebpf::macros::{btf_map, tracepoint};
use aya_ebpf::programs::TracePointContext;
use bpfboot_ebpf::RingBuf;
use core::ptr::{addr_of_mut, from_ref, read_volatile};

/// One record of the ring buffer `events`. Both texts end with a NUL; a path the kernel cannot read is empty.
#[repr(C)]
struct Event {
    timestamp: u64,
    pid: u32,
    tid: u32,
    comm: [u8; 16],
    filename: [u8; 256],
}

/// Offset of `filename` in the record of sys_enter_openat.
const FILENAME: usize = 24;

#[btf_map(name = "events")]
static EVENTS: RingBuf<{ 256 * 1024 }> = RingBuf::DEFINITION;

/// Events the ring buffer had no room for.
#[btf_map(name = "drops")]
static DROPS: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Report one call in this many, on average; 0 reports none. The loader may override it.
#[unsafe(export_name = "sample_rate")]
static SAMPLE_RATE: u32 = 1;

#[tracepoint(category = "syscalls", name = "sys_enter_openat")]
fn trace_openat(ctx: TracePointContext) -> u32 {
    if sampled() {
        report(&ctx);
    }
    0
}

fn sampled() -> bool {
    // SAFETY: a plain read, volatile because the compiler must not fold in the default.
    match unsafe { read_volatile(&SAMPLE_RATE) } {
        0 => false,
        1 => true,
        // SAFETY: a helper without arguments.
        n => unsafe { bpf_get_prandom_u32() }.is_multiple_of(n),
    }
}

fn report(ctx: &TracePointContext) {
    let ring = from_ref(&EVENTS).cast_mut().cast();
    // SAFETY: the verifier proves every access below, as it does for any eBPF program.
    unsafe {
        let event = bpf_ringbuf_reserve(ring, size_of::<Event>() as u64, 0).cast::<Event>();
        if event.is_null() {
            if let Some(drops) = DROPS.get_ptr_mut(0) {
                *drops += 1;
            }
            return;
        }
        let id = bpf_get_current_pid_tgid();
        (*event).timestamp = bpf_ktime_get_ns();
        (*event).pid = (id >> 32) as u32;
        (*event).tid = id as u32;
        bpf_get_current_comm(addr_of_mut!((*event).comm).cast(), 16);
        let filename = *ctx.as_ptr().add(FILENAME).cast::<*const core::ffi::c_void>();
        bpf_probe_read_user_str(addr_of_mut!((*event).filename).cast(), 256, filename);
        bpf_ringbuf_submit(event.cast(), 0);
    }
}
