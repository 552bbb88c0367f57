//! Programs that are started.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str, bpf_task_pt_regs,
};
use aya_ebpf::macros::{raw_tracepoint, tracepoint};
use aya_ebpf::programs::{RawTracePointContext, TracePointContext};
use bpfboot_ebpf::event::{Exec, Kind};
use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::addr_of_mut;

use crate::exit::started;
use crate::registers;
use crate::scratch::in_scratch;
use crate::send::{header, lost, send};
use crate::task::asked_for;

/// Most of a command line.
const LINE: usize = 512;

/// A record, and room for a last word as long as a whole line: cut when it is sent, so that no length must be computed
/// that the verifier has to follow.
#[repr(C)]
struct Record {
    exec: Exec,
    room: [u8; LINE],
}

/// With file and command line. Where the new stack is, kernels with BTF tell since 5.15.
#[tracepoint(category = "sched", name = "sched_process_exec")]
fn trace_exec(ctx: TracePointContext) {
    // SAFETY: a word of the record, which says where in it the file's name is.
    let file = unsafe { ctx.as_ptr().add(8).cast::<u32>().read() & 0xffff };
    tell(|exec| {
        // SAFETY: the helpers check what they read, and write no more than fits.
        unsafe {
            let name = addr_of_mut!((*exec).file);
            bpf_probe_read_kernel_str(name.cast(), size_of_val(&*name) as u32, ctx.as_ptr().add(file as usize));
            let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const c_void;
            registers::stack(registers).map_or((0, 0), |stack| line(stack, addr_of_mut!((*exec).line).cast()))
        }
    });
}

/// The same for every kernel: only which process, and its new name.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn exec_raw(_: RawTracePointContext) {
    tell(|exec| {
        // SAFETY: the record is ours alone.
        unsafe { (*exec).file[0] = 0 };
        (0, 0)
    });
}

/// Notes that a program starts, and tells of it unless nobody asked; `fill` gives the words and bytes of its line.
#[inline(always)]
fn tell(fill: impl FnOnce(*mut Exec) -> (u32, usize)) {
    started();
    let told = in_scratch(|record: *mut Record| {
        // SAFETY: the record is ours alone; the verifier sees to it that nothing is written past it.
        unsafe {
            let exec = addr_of_mut!((*record).exec);
            if !asked_for(&mut (*exec).task) {
                return;
            }
            let (words, length) = fill(exec);
            let size = offset_of!(Exec, line) + length;
            (*exec).header = header(Kind::Exec, size);
            (*exec).words = words;
            (*exec).length = length as u32;
            send(exec, size);
        }
    });
    if !told {
        lost();
    }
}

/// Reads a new program's command line: the stack begins with the number of its words and a pointer to each, and they
/// lie one after the other, in the order of the pointers.
///
/// # Safety
/// `to` has room for two lines.
#[inline(always)]
unsafe fn line(stack: u64, to: *mut u8) -> (u32, usize) {
    let read = |from: u64| {
        let mut word = 0_u64;
        // SAFETY: the helper checks what it reads, and writes to a word of ours.
        let failed = unsafe { bpf_probe_read_user(addr_of_mut!(word).cast(), 8, from as *const c_void) };
        if failed == 0 { word } else { 0 }
    };
    let words = read(stack);
    let (first, last) = (read(stack + 8), read(stack.wrapping_add(8 * words)));
    if words == 0 || first == 0 || last < first {
        return (0, 0);
    }
    let before = last - first;
    // SAFETY: neither reads more than a line.
    let length = unsafe {
        if before >= LINE as u64 {
            if bpf_probe_read_user(to.cast(), LINE as u32, first as *const c_void) == 0 { LINE } else { 0 }
        } else if bpf_probe_read_user(to.cast(), before as u32, first as *const c_void) == 0 {
            let word = bpf_probe_read_user_str(to.add(before as usize).cast(), LINE as u32, last as *const c_void);
            if word > 0 { (before as usize + word as usize).min(LINE) } else { 0 }
        } else {
            0
        }
    };
    (if length == 0 { 0 } else { words as u32 }, length)
}
