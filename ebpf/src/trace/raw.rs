//! What the tracepoints of single system calls do, for kernels that cannot pin a link to those: asked at every call.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use core::ffi::c_void;

use crate::exit::{group_exits, thread_exits};
use crate::open::{flags_and_mode, tell};
use crate::registers::arguments;

/// Numbers of openat, openat2, exit and exit_group.
#[cfg(bpf_target_arch = "x86_64")]
mod call {
    pub const NUMBERS: [u64; 4] = [257, 437, 60, 231];
}
#[cfg(bpf_target_arch = "aarch64")]
mod call {
    pub const NUMBERS: [u64; 4] = [56, 437, 93, 94];
}

/// sys_enter(struct pt_regs *regs, long id)
#[raw_tracepoint(tracepoint = "sys_enter")]
fn sys_enter_raw(ctx: RawTracePointContext) {
    let id: u64 = ctx.arg(1);
    if !call::NUMBERS.contains(&id) {
        return;
    }
    let Some([first, second, third, fourth]) = arguments(ctx.arg::<*const c_void>(0)) else { return };
    let [openat, openat2, exit, _] = call::NUMBERS;
    if id == openat {
        tell(first, second, third, fourth);
    } else if id == openat2 {
        let [flags, mode] = flags_and_mode(third);
        tell(first, second, flags, mode);
    } else if id == exit {
        thread_exits(first);
    } else {
        group_exits(first);
    }
}
