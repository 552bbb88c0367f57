//! Processes that end, and what was noted of them before: at the end itself no tracepoint says how.

use aya_ebpf::EbpfContext;
use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::{btf_map, raw_tracepoint, tracepoint};
use aya_ebpf::programs::{RawTracePointContext, TracePointContext};
use bpfboot_ebpf::event::{Exit, Kind};
use core::mem::MaybeUninit;

use crate::send::{header, send};
use crate::signal;
use crate::task::{asked_for, ids};

/// What is known of a process.
#[repr(C)]
struct Known {
    /// When its exec was seen; 0 if it was not.
    started: u64,
    /// How it ends, if that is decided.
    status: u64,
}

const UNDECIDED: u64 = Exit::UNKNOWN as u64;

/// By process. Of one that is pushed out by newer ones, only the duration is lost, or how it ended.
#[btf_map(name = "processes")]
static PROCESSES: LruHashMap<u32, Known, 8192> = LruHashMap::new();

/// A program starts.
#[inline(always)]
pub fn started() {
    // SAFETY: a helper without arguments.
    let started = unsafe { bpf_ktime_get_ns() };
    let _ = PROCESSES.insert(ids().0, Known { started, status: UNDECIDED }, 0);
}

/// Notes how the current process ends. What comes first decides: after it the kernel kills the other threads.
/// A function of its own: four programs have it once.
#[inline(never)]
pub fn decided(status: u32) {
    let (pid, status) = (ids().0, u64::from(status));
    match PROCESSES.get_ptr_mut(pid) {
        // SAFETY: a value of the map; two threads that end their process at once may write it, either is true.
        Some(known) => unsafe {
            if (*known).status == UNDECIDED {
                (*known).status = status;
            }
        },
        None => drop(PROCESSES.insert(pid, Known { started: 0, status }, 0)),
    }
}

/// exit_group(2) was called.
#[inline(always)]
pub fn group_exits(code: u64) {
    decided((code as u32 & 0xff) << 8);
}

/// exit(2) was called, which ends the thread; of the first one that is how its process ends.
#[inline(always)]
pub fn thread_exits(code: u64) {
    let (pid, tid) = ids();
    if pid == tid {
        group_exits(code);
    }
}

#[tracepoint(category = "syscalls", name = "sys_enter_exit_group")]
fn note_exit_group(ctx: TracePointContext) {
    // SAFETY: the record is that long.
    group_exits(unsafe { ctx.as_ptr().add(16).cast::<u64>().read() });
}

#[tracepoint(category = "syscalls", name = "sys_enter_exit")]
fn note_exit(ctx: TracePointContext) {
    // SAFETY: the record is that long.
    thread_exits(unsafe { ctx.as_ptr().add(16).cast::<u64>().read() });
}

/// A thread ends. When another thread than the first calls execve(2), the first is ended, too, and the process goes on:
/// that is told as an exit with an unknown status, and then as an exec.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn trace_exit(_: RawTracePointContext) {
    let (pid, tid) = ids();
    signal::gone(pid, tid);
    if pid != tid {
        return;
    }
    // SAFETY: a value of the map, read before it is removed.
    let (started, status) = match unsafe { PROCESSES.get(pid) } {
        Some(known) => (known.started, known.status as u32),
        None => (0, Exit::UNKNOWN),
    };
    let _ = PROCESSES.remove(pid);
    let mut exit = MaybeUninit::<Exit>::uninit();
    let exit = exit.as_mut_ptr();
    // SAFETY: all of it is written before it is sent.
    unsafe {
        if !asked_for(&mut (*exit).task) {
            return;
        }
        let header = header(Kind::Exit, size_of::<Exit>());
        (*exit).duration = if started == 0 { 0 } else { header.time - started };
        (*exit).header = header;
        (*exit).status = status;
        (*exit).reserved = 0;
        send(exit, size_of::<Exit>());
    }
}
