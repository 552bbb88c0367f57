//! Files that are read, while somebody wants to know: the guide's probe of sys_read, which no kernel calls so, at work.
//! Two ways of which a kernel has one or the other; the first is the cheaper one.
#![no_std]
#![no_main]

#[path = "trace/send.rs"]
mod send;
#[path = "trace/task.rs"]
mod task;

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::{btf_map, fentry, kprobe};
use aya_ebpf::programs::{FEntryContext, ProbeContext};
use bpfboot_ebpf::event::{Kind, Read};
use core::mem::MaybeUninit;

use send::{header, send};
use task::asked_for;

/// What whoever has the map may change at any time.
#[repr(C)]
struct Settings {
    /// Tell of reads unless it is 0.
    read: u32,
}

#[btf_map(name = "settings")]
static SETTINGS: Array<Settings, 1> = Array::new();

/// ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos)
#[fentry(function = "vfs_read")]
fn read_fentry(ctx: FEntryContext) {
    tell(|| ctx.arg(2));
}

/// Likewise.
#[kprobe(function = "vfs_read")]
fn read_kprobe(ctx: ProbeContext) {
    tell(|| ctx.arg(2).unwrap_or(0));
}

#[inline(always)]
fn tell(count: impl FnOnce() -> u64) {
    // Off, this is all that a read costs.
    if SETTINGS.get(0).is_none_or(|settings| settings.read == 0) {
        return;
    }
    let mut read = MaybeUninit::<Read>::uninit();
    let read = read.as_mut_ptr();
    // SAFETY: all of it is written before it is sent.
    unsafe {
        if !asked_for(&mut (*read).task) {
            return;
        }
        (*read).header = header(Kind::Read, size_of::<Read>());
        (*read).count = count();
        send(read, size_of::<Read>());
    }
}
