//! Signals that end a process.
//!
//! One that dumps core is delivered as itself. Of any other the kernel lets all threads of the process take SIGKILL
//! (complete_signal() in kernel/signal.c), so that which one it was is seen only where it is sent. It is noted at the
//! task that it was sent to, which for a process is its first thread; there it is looked up when SIGKILL arrives. What
//! another thread sends to itself (as SIGPIPE is) is noted at the process.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_probe_read_kernel};
use aya_ebpf::macros::{btf_map, raw_tracepoint};
use aya_ebpf::programs::RawTracePointContext;
use core::ffi::c_void;
use core::ptr::addr_of_mut;

use crate::exit::decided;
use crate::task::ids;

const SIGKILL: u32 = 9;
/// CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG and WINCH, by default.
const LETS_LIVE: u64 = bits([17, 18, 19, 20, 21, 22, 23, 28]);
/// QUIT, ILL, TRAP, ABRT, BUS, FPE, SEGV, XCPU, XFSZ and SYS, by default.
const DUMPS_CORE: u64 = bits([3, 4, 5, 6, 7, 8, 11, 24, 25, 31]);

/// The last signal that was sent and may have ended all, by the address of `task_struct`, or by the number of a
/// process, which is no address.
#[btf_map(name = "signals")]
static SENT: LruHashMap<u64, u32, 1024> = LruHashMap::new();

const fn bits<const N: usize>(signals: [u32; N]) -> u64 {
    let (mut bits, mut at) = (0, 0);
    while at < N {
        bits |= bit(signals[at]);
        at += 1;
    }
    bits
}

/// Signals count from 1 to 64.
const fn bit(signal: u32) -> u64 {
    1 << (signal.wrapping_sub(1) & 63)
}

fn current() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_current_task() }
}

/// The current thread is gone, and its address may be another's; with the first one goes the process.
#[inline(always)]
pub fn gone(pid: u32, tid: u32) {
    let _ = SENT.remove(current());
    if pid == tid {
        let _ = SENT.remove(u64::from(pid));
    }
}

/// signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)
#[raw_tracepoint(tracepoint = "signal_generate")]
fn note_sent(ctx: RawTracePointContext) {
    let (signal, task, result): (u32, u64, i32) = (ctx.arg(0), ctx.arg(2), ctx.arg(4));
    // What the process ignores, and what was pending already, changes nothing.
    if result != 0 || (LETS_LIVE | DUMPS_CORE) & bit(signal) != 0 {
        return;
    }
    let (pid, tid) = ids();
    let whose = if task == current() && pid != tid { u64::from(pid) } else { task };
    // SAFETY: a value of the map, which is a number.
    if unsafe { SENT.get(whose) }.is_none_or(|sent| *sent != SIGKILL) {
        let _ = SENT.insert(whose, signal, 0);
    }
}

/// signal_deliver(int sig, struct kernel_siginfo *info, struct k_sigaction *ka), which begins with the handler.
#[raw_tracepoint(tracepoint = "signal_deliver")]
fn note_signal(ctx: RawTracePointContext) {
    let (signal, action): (u32, *const c_void) = (ctx.arg(0), ctx.arg(2));
    let process = u64::from(ids().0);
    if signal == SIGKILL {
        // SAFETY: values of the map, which are numbers.
        if let Some(sent) = unsafe { SENT.get(current()).or_else(|| SENT.get(process)) } {
            decided(*sent);
        }
        return;
    }
    let mut handler = 1_u64;
    // SAFETY: the helper checks what it reads, and writes to a word of ours.
    unsafe { bpf_probe_read_kernel(addr_of_mut!(handler).cast(), 8, action) };
    if handler != 0 {
        let _ = SENT.remove(current());
        let _ = SENT.remove(process);
    } else if LETS_LIVE & bit(signal) == 0 {
        decided(signal);
    }
}
