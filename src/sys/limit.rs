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
