//! openat(2) and openat2(2): the guide's large event, of which only the used part is sent.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_probe_read_user, bpf_probe_read_user_str};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use bpfboot_ebpf::event::{Kind, Open};
use core::ffi::c_void;
use core::mem::{MaybeUninit, offset_of};
use core::ptr::{addr_of_mut, read_volatile};

use crate::scratch::in_scratch;
use crate::send::{header, lost, send};
use crate::task::asked_for;

/// Report one call in this many, on average; 0 reports none. The loader may override it.
#[unsafe(export_name = "sample_rate")]
static SAMPLE_RATE: u32 = 1;

/// openat(int dfd, const char *filename, int flags, umode_t mode): a word each, from byte 16 of the record on.
#[tracepoint(category = "syscalls", name = "sys_enter_openat")]
fn trace_openat(ctx: TracePointContext) {
    // SAFETY: the record is that long.
    let [directory, path, flags, mode] = unsafe { ctx.as_ptr().add(16).cast::<[u64; 4]>().read() };
    tell(directory, path, flags, mode);
}

/// openat2(int dfd, const char *filename, struct open_how *how, size_t usize), likewise.
#[tracepoint(category = "syscalls", name = "sys_enter_openat2")]
fn trace_openat2(ctx: TracePointContext) {
    // SAFETY: the record is that long.
    let [directory, path, how] = unsafe { ctx.as_ptr().add(16).cast::<[u64; 3]>().read() };
    let [flags, mode] = flags_and_mode(how);
    tell(directory, path, flags, mode);
}

/// The start of a `struct open_how`, in the caller's memory; zeroes when it is not there.
#[inline(always)]
pub fn flags_and_mode(how: u64) -> [u64; 2] {
    let mut words = MaybeUninit::<[u64; 2]>::uninit();
    // SAFETY: the helper writes all 16 bytes: what it read, or zeroes.
    unsafe {
        bpf_probe_read_user(words.as_mut_ptr().cast(), 16, how as *const c_void);
        words.assume_init()
    }
}

/// Tells of a call, unless nobody asked for it. A function of its own: three programs have it once.
#[inline(never)]
pub fn tell(directory: u64, path: u64, flags: u64, mode: u64) {
    if !sampled() {
        return;
    }
    let told = in_scratch(|record: *mut Open| {
        // SAFETY: the record is ours alone; the verifier sees to it that nothing is written past it.
        unsafe {
            if !asked_for(&mut (*record).task) {
                return;
            }
            let to = addr_of_mut!((*record).path);
            let read = bpf_probe_read_user_str(to.cast(), size_of_val(&*to) as u32, path as *const c_void);
            // The helper gives no more than it was allowed to write, which older verifiers do not know.
            let length = if read > 0 { (read as usize).min(size_of_val(&*to)) } else { 0 };
            let size = offset_of!(Open, path) + length;
            (*record).header = header(Kind::Open, size);
            (*record).directory = directory as i32;
            (*record).flags = flags as u32;
            (*record).mode = mode as u32;
            (*record).length = length as u32;
            send(record, size);
        }
    });
    if !told {
        lost();
    }
}

#[inline(always)]
fn sampled() -> bool {
    // SAFETY: a plain read, volatile because the compiler must not fold in the default.
    match unsafe { read_volatile(&SAMPLE_RATE) } {
        0 => false,
        1 => true,
        // SAFETY: a helper without arguments.
        n => unsafe { bpf_get_prandom_u32() }.is_multiple_of(n),
    }
}
