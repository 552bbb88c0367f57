//! Making links: the perf events behind probes and tracepoints, and BPF_LINK_CREATE on top of them.
//!
//! aya can attach too, but falls back to attachments that end with the process (netlink for XDP, ioctl for perf
//! events), and resolves names of shared libraries through the linker's cache. Here a link that lasts is made, or none.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use aya_obj::generated::{PERF_FLAG_FD_CLOEXEC, bpf_attach_type, bpf_attr, bpf_cmd, perf_event_attr};

use super::bpf::{bpf, zeroed};

/// PERF_TYPE_SOFTWARE (include/uapi/linux/perf_event.h, enum perf_type_id).
pub const SOFTWARE: u32 = 1;
/// PERF_TYPE_TRACEPOINT.
pub const TRACEPOINT: u32 = 2;

/// A perf event to open for every process.
#[derive(Clone, Debug, Default)]
pub struct PerfEvent {
    /// PERF_TYPE_*, or the number of a PMU under /sys/bus/event_source/devices.
    pub kind: u32,
    /// What that type makes of it: a tracepoint's id, the return flag of a probe, a software event's number.
    pub config: u64,
    /// The function of a kprobe, or the file of a uprobe.
    pub name: Option<CString>,
    /// Bytes from the function's start, or from the file's.
    pub offset: u64,
    /// Samples a second, where `period` is 0.
    pub frequency: u64,
    /// Events between two samples.
    pub period: u64,
    /// The CPU it counts on. Probes and tracepoints fire on all of them, whichever one is named.
    pub cpu: u32,
}

/// Opens it (perf_event_open(2)).
///
/// # Errors
/// ENOENT for a function or PMU that is not there, EACCES by kernel.perf_event_paranoid, EMFILE.
#[allow(unsafe_code, reason = "perf_event_open(2) has no wrapper, and its attribute is a C union")]
pub fn open_perf_event(event: &PerfEvent) -> io::Result<OwnedFd> {
    let mut attr: perf_event_attr = zeroed();
    attr.size = size_of::<perf_event_attr>() as u32;
    attr.type_ = event.kind;
    attr.config = event.config;
    attr.__bindgen_anon_3.config1 = event.name.as_ref().map_or(0, |name| name.as_ptr() as u64);
    attr.__bindgen_anon_4.config2 = event.offset;
    match event.frequency {
        0 => attr.__bindgen_anon_1.sample_period = event.period.max(1),
        hertz => {
            attr.__bindgen_anon_1.sample_freq = hertz;
            attr.set_freq(1);
        }
    }
    attr.__bindgen_anon_2.wakeup_events = 1;
    let every_process = -1;
    // SAFETY: `attr` says its own size, and the name it points to outlives the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw mut attr, every_process, event.cpu, -1, PERF_FLAG_FD_CLOEXEC)
    };
    own(fd)
}

#[allow(unsafe_code, reason = "the new descriptor is owned here")]
pub(super) fn own(fd: i64) -> io::Result<OwnedFd> {
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Links a program to a perf event (BPF_LINK_CREATE, 5.15).
///
/// # Errors
/// EINVAL on older kernels.
pub fn to_perf_event(program: BorrowedFd<'_>, event: &OwnedFd) -> io::Result<OwnedFd> {
    create(program, event.as_raw_fd() as u32, bpf_attach_type::BPF_PERF_EVENT, 0)
}

/// Links an XDP program to an interface (BPF_LINK_CREATE, 5.9). `flags` are XDP_FLAGS_*_MODE.
///
/// # Errors
/// EBUSY and EEXIST when the hook is taken, EOPNOTSUPP when the driver lacks the mode, EINVAL on older kernels.
pub fn to_interface(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    create(program, ifindex, bpf_attach_type::BPF_XDP, flags)
}

fn create(program: BorrowedFd<'_>, target: u32, kind: bpf_attach_type, flags: u32) -> io::Result<OwnedFd> {
    let mut attr: bpf_attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attr.link_create.__bindgen_anon_2.target_fd = target;
    attr.link_create.attach_type = kind as u32;
    attr.link_create.flags = flags;
    own(bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?)
}

/// Links a program to one place of a file of user space, without a perf event and so without CAP_SYS_ADMIN
/// (BPF_LINK_CREATE with uprobe_multi, 6.6). Only for programs loaded as `uprobe.multi`.
///
/// # Errors
/// EINVAL on older kernels, or when the offset is not in an executable part of the file.
pub fn to_user_function(program: BorrowedFd<'_>, file: &CString, offset: u64, on_return: bool) -> io::Result<OwnedFd> {
    let offsets = [offset];
    let mut attr: bpf_attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
    attr.link_create.__bindgen_anon_3.uprobe_multi.path = file.as_ptr() as u64;
    attr.link_create.__bindgen_anon_3.uprobe_multi.offsets = offsets.as_ptr() as u64;
    attr.link_create.__bindgen_anon_3.uprobe_multi.cnt = 1;
    attr.link_create.__bindgen_anon_3.uprobe_multi.flags = u32::from(on_return);
    own(bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?)
}

/// Attaches a raw tracepoint by name; without one, a program that was loaded against its target: tp_btf, fentry, fexit,
/// lsm (BPF_RAW_TRACEPOINT_OPEN, bpf_raw_tracepoint_open() in kernel/bpf/syscall.c).
///
/// # Errors
/// ENOENT for a name the kernel does not have, EBUSY when a trampoline is full.
pub fn to_raw_tracepoint(program: BorrowedFd<'_>, name: Option<&CString>) -> io::Result<OwnedFd> {
    let mut attr: bpf_attr = zeroed();
    attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
    attr.raw_tracepoint.name = name.map_or(0, |name| name.as_ptr() as u64);
    own(bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)?)
}
