//! Walls around a process that reads what it must not trust: Landlock for paths, seccomp for system calls.
//!
//! Written out here: a constant table and four system calls. The numbers are those of
//! include/uapi/linux/landlock.h, seccomp.h, filter.h, audit.h and bpf.h. Both walls hold for this thread and for those
//! it starts later, and for good.

use std::{
    io,
    mem::offset_of,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use aya_obj::generated::bpf_cmd as B;
use libc::{c_long, sock_filter};
use rustix::fs::{Mode, OFlags};

use super::link::own;

/// LANDLOCK_ACCESS_FS_*, as far as building a directory of pins takes them.
mod access {
    pub const READ_DIR: u64 = 1 << 3;
    pub const REMOVE_DIR: u64 = 1 << 4;
    pub const REMOVE_FILE: u64 = 1 << 5;
    pub const MAKE_DIR: u64 = 1 << 7;
    /// Also a pin: BPF_OBJ_PIN asks security_path_mknod() for a regular file (bpf_obj_do_pin()).
    pub const MAKE_REG: u64 = 1 << 8;
    pub const MAKE_SYM: u64 = 1 << 12;
    /// Giving a file a second name in another directory; the second version of Landlock knows it, the first refuses it.
    pub const REFER: u64 = 1 << 13;
    /// How many rights each version of Landlock knows.
    pub const KNOWN: [u32; 6] = [0, 13, 14, 15, 15, 16];
}

/// struct landlock_ruleset_attr. Kernels that know less of it take what they do not know as long as it is zero.
#[repr(C)]
struct Ruleset {
    files: u64,
    net: u64,
    scoped: u64,
}

/// struct landlock_path_beneath_attr.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// Leaves this thread no path but those below `build`, which it may build and take down, and no signal to others. What
/// lies below `source` may get a second name in `build`.
///
/// # Errors
/// ENOSYS and EOPNOTSUPP without Landlock (before 5.13); EINVAL where its first version (before 5.19) would refuse the
/// second names.
#[allow(unsafe_code, reason = "Landlock has no wrapper")]
pub fn paths(build: &Path, source: Option<&Path>) -> io::Result<()> {
    const CREATE_RULESET_VERSION: u32 = 1;
    const RULE_PATH_BENEATH: u32 = 1;
    // SAFETY: with this flag the kernel takes no ruleset, and answers with its version.
    let version =
        check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0usize, 0usize, CREATE_RULESET_VERSION) })?;
    if version < 2 && source.is_some() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let known = access::KNOWN.get(version as usize).or(access::KNOWN.last()).copied().unwrap_or(0);
    let files = (1 << known) - 1;
    let ruleset =
        Ruleset { files, net: if version >= 4 { 0b11 } else { 0 }, scoped: if version >= 6 { 0b11 } else { 0 } };
    // SAFETY: the ruleset outlives the call, which is told its size.
    let rules =
        own(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size_of::<Ruleset>(), 0) })?;
    let building = access::READ_DIR
        | access::REMOVE_DIR
        | access::REMOVE_FILE
        | access::MAKE_DIR
        | access::MAKE_REG
        | access::MAKE_SYM
        | access::REFER;
    for (path, allowed) in [(Some(build), building), (source, access::REFER)] {
        let Some(path) = path else { continue };
        let dir = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let rule = PathBeneath { allowed: allowed & files, parent: dir.as_raw_fd() };
        // SAFETY: the rule outlives the call, which copies it.
        check(unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, rules.as_raw_fd(), RULE_PATH_BENEATH, &raw const rule, 0)
        })?;
    }
    restrict(&rules)
}

#[allow(unsafe_code, reason = "Landlock has no wrapper")]
fn restrict(rules: &OwnedFd) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) }).map(drop)
}

pub(super) fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A system call that may be made only when one of its arguments, under a mask, is one of some values.
struct Only {
    call: c_long,
    argument: usize,
    mask: u32,
    values: &'static [u32],
}

const fn only(call: c_long, argument: usize, mask: u32, values: &'static [u32]) -> Only {
    Only { call, argument, mask, values }
}

/// No command that gets at what somebody else holds: no pin is opened, no id turned into a descriptor, nothing attached
/// but by a link, and no link of others updated.
const COMMANDS: &[u32] = &[
    B::BPF_MAP_UPDATE_ELEM as u32,
    B::BPF_OBJ_GET_INFO_BY_FD as u32,
    B::BPF_OBJ_PIN as u32,
    B::BPF_PROG_LOAD as u32,
    B::BPF_MAP_CREATE as u32,
    B::BPF_LINK_CREATE as u32,
    B::BPF_BTF_LOAD as u32,
    B::BPF_MAP_FREEZE as u32,
    B::BPF_RAW_TRACEPOINT_OPEN as u32,
    B::BPF_MAP_LOOKUP_ELEM as u32,
    B::BPF_MAP_GET_NEXT_KEY as u32,
    B::BPF_LINK_DETACH as u32,
];

/// CLONE_THREAD, among all that would make a new process or namespace.
const THREAD: u32 = libc::CLONE_THREAD as u32;
const NAMESPACES: u32 = 0x7e02_0000;
const EXEC: u32 = libc::PROT_EXEC as u32;
/// Nothing but a directory can be opened, and only to list it.
const LIST: u32 = libc::O_DIRECTORY as u32;
const OPENING: u32 = LIST | (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_PATH) as u32;

/// What loading takes only in part, the frequent ones first: they are tried in this order. A directory is opened only
/// to be listed, nothing that is mapped can be run, what is cloned is a thread, and perf events are those of all
/// processes, and so of nobody in particular.
const ONLY: &[Only] = &[
    only(libc::SYS_bpf, 0, u32::MAX, COMMANDS),
    only(libc::SYS_mmap, 2, EXEC, &[0]),
    only(libc::SYS_mprotect, 2, EXEC, &[0]),
    only(libc::SYS_clone, 0, THREAD | NAMESPACES, &[THREAD]),
    only(libc::SYS_perf_event_open, 1, u32::MAX, &[u32::MAX]),
    only(libc::SYS_socket, 0, u32::MAX, &[libc::AF_NETLINK as u32]),
    only(libc::SYS_openat, 2, OPENING, &[LIST]),
    #[cfg(target_arch = "x86_64")]
    only(libc::SYS_open, 1, OPENING, &[LIST]),
    only(libc::SYS_fcntl, 1, u32::MAX, &[libc::F_DUPFD_CLOEXEC as u32, libc::F_SETFD as u32, libc::F_GETFD as u32]),
];

/// What loading takes as it is, in any order. Paths are Landlock's to judge.
const CALLS: &[c_long] = &[
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    // Each thread asks for the seed of its hash tables.
    libc::SYS_getrandom,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_mkdirat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_readlinkat,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_read,
    libc::SYS_lseek,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
];

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const RETURN: u16 = 0x06;

const fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// Goes `then` steps further when the accumulator is `k`, `otherwise` when it is not.
const fn when(k: u32, then: usize, otherwise: usize) -> sock_filter {
    sock_filter { code: IF_EQUAL, jt: then as u8, jf: otherwise as u8, k }
}

/// The numbers of [`CALLS`], ascending.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const SORTED: [c_long; CALLS.len()] = {
    let (mut sorted, mut i) = ([0; CALLS.len()], 0);
    while i < CALLS.len() {
        let mut at = i;
        while at > 0 && sorted[at - 1] > CALLS[i] {
            sorted[at] = sorted[at - 1];
            at -= 1;
        }
        sorted[at] = CALLS[i];
        i += 1;
    }
    sorted
};

/// So many of them are skipped at a time when the number is a higher one. The kernel runs the filter for every number
/// that there is before it takes it (`seccomp_cache_prepare_bitmap()`), which was 2 % of a cold run.
const BLOCK: usize = 8;

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn steps() -> usize {
    let (mut steps, mut rule) = (4 + CALLS.len() + CALLS.len().div_ceil(BLOCK) + 4, 0);
    while rule < ONLY.len() {
        steps += 4 + ONLY[rule].values.len();
        rule += 1;
    }
    steps
}

/// Made by the compiler: a jump reaches 255 steps, which it would refuse to get wrong.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const FILTER: [sock_filter; steps()] = {
    let (allow, refuse) = (steps() - 1, steps() - 2);
    assert!(allow < 255, "the jumps are too short");
    let mut out = [step(RETURN, libc::SECCOMP_RET_ALLOW); steps()];
    out[0] = step(LOAD, offset_of!(libc::seccomp_data, arch) as u32);
    out[1] = when(ARCH, 1, 0);
    // The numbers of another architecture mean other calls: 32-bit ones on this machine.
    out[2] = step(RETURN, libc::SECCOMP_RET_KILL_PROCESS);
    out[3] = step(LOAD, offset_of!(libc::seccomp_data, nr) as u32);
    let (mut at, mut i) = (4, 0);
    while i < ONLY.len() {
        let Only { call, argument, mask, values } = ONLY[i];
        let low = if cfg!(target_endian = "big") { 4 } else { 0 };
        out[at] = when(call as u32, 0, 3 + values.len());
        out[at + 1] = step(LOAD, (offset_of!(libc::seccomp_data, args) + 8 * argument + low) as u32);
        out[at + 2] = step(AND, mask);
        at += 3;
        let mut value = 0;
        while value < values.len() {
            out[at] = when(values[value], allow - at - 1, 0);
            (at, value) = (at + 1, value + 1);
        }
        out[at] = step(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
        (at, i) = (at + 1, i + 1);
    }
    i = 0;
    while i < SORTED.len() {
        if i % BLOCK == 0 {
            let after = if i + BLOCK < SORTED.len() { i + BLOCK } else { SORTED.len() };
            out[at] = sock_filter { code: IF_GREATER, ..when(SORTED[after - 1] as u32, after - i, 0) };
            at += 1;
        }
        out[at] = when(SORTED[i] as u32, allow - at - 1, 0);
        (at, i) = (at + 1, i + 1);
    }
    // The C library asks for the older clone(2) then, whose flags can be looked at.
    out[at] = when(libc::SYS_clone3 as u32, 0, 1);
    out[at + 1] = step(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    out[refuse] = step(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    out
};

/// Leaves this thread the system calls that loading takes; every other one is EPERM.
///
/// # Errors
/// EINVAL and ENOSYS without seccomp filters, EACCES before no_new_privs, EPERM by a container's own filter.
#[allow(unsafe_code, reason = "seccomp(2) has no wrapper")]
pub fn calls() -> io::Result<()> {
    static STEPS: [sock_filter; FILTER.len()] = FILTER;
    let program = libc::sock_fprog { len: STEPS.len() as u16, filter: STEPS.as_ptr().cast_mut() };
    // SAFETY: the program and its steps outlive the call, which copies them and writes nothing.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}
