//! Resource limits of this process.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::LimitKind;

/// No limit (RLIM_INFINITY of include/uapi/asm-generic/resource.h).
pub const UNLIMITED: u64 = u64::MAX;

const fn resource(kind: LimitKind) -> Resource {
    match kind {
        LimitKind::Memlock => Resource::RLIMIT_MEMLOCK,
        LimitKind::Nofile => Resource::RLIMIT_NOFILE,
    }
}

/// Leaves no memory of this process, and of those it forks, behind in a file: it has read files that not everybody may
/// read (PR_SET_DUMPABLE of prctl(2), which also stops dumps that go to a program, and which exec takes back).
#[allow(unsafe_code, reason = "prctl")]
pub fn hide_memory() {
    // SAFETY: prctl with plain numbers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// The same once more (RLIMIT_CORE), where this process will not become another.
pub fn dump_no_core() {
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}

/// Has the kernel choose this process before any other when memory runs out (proc_pid_oom_score_adj(5)): what it built is
/// swept by its parent, which must live to do that.
pub fn die_first() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Bounds a process that only builds pins: no byte into any file, that many bytes of memory, and all the descriptors it
/// can get. What the kernel refuses stays as it was.
pub fn bound_loader(memory: u64) {
    dump_no_core();
    let _ = setrlimit(Resource::RLIMIT_FSIZE, 0, 0);
    let lower = |(soft, hard): (u64, u64)| setrlimit(Resource::RLIMIT_AS, memory.min(soft), memory.min(hard));
    let _ = getrlimit(Resource::RLIMIT_AS).and_then(lower);
    let _ = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
}

/// The soft and the hard limit.
///
/// # Errors
/// What getrlimit(2) says.
pub fn get(kind: LimitKind) -> io::Result<(u64, u64)> {
    Ok(getrlimit(resource(kind))?)
}

/// Sets the soft and the hard limit.
///
/// # Errors
/// EPERM when the hard limit would rise without CAP_SYS_RESOURCE, or RLIMIT_NOFILE above fs.nr_open.
pub fn set(kind: LimitKind, soft: u64, hard: u64) -> io::Result<()> {
    Ok(setrlimit(resource(kind), soft, hard)?)
}
