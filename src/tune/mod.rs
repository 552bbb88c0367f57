//! What the kernel is tuned with: sysctls, files of debugfs and tracefs, resource limits, mounts.
//!
//! Each room has the same doors: `survey` looks and says what a step would do, `apply` does it and reads it back,
//! `restore` puts it back. Only `apply` and `restore` write.

pub mod foresee;
pub mod knob;
pub mod limit;
pub mod mount;
pub mod sysctl;

use crate::{
    error::{Cause, Fault},
    facts::{CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_SYS_RESOURCE, Facts},
    reason::Reason,
};

/// Whether a fault says "this is not here": the key, file, file system or algorithm does not exist, or this kernel lets
/// nobody at it (debugfs under lockdown, a key that a child network namespace only shows). With `if-available` such a
/// fault is a note.
pub fn is_absence(fault: &Fault) -> bool {
    match fault.errno {
        Some(libc::ENOENT | libc::ENODEV) => true,
        Some(libc::EPERM | libc::EACCES) => fault.cause == Cause::Kernel,
        _ => false,
    }
}

/// Whether the wish was refused by us, for its risk, and the fault's `mend` line is the wish with the risk accepted.
#[cfg(test)]
pub fn is_refusal(fault: &Fault) -> bool {
    fault.errno.is_none() && (fault.mend.ends_with(ALLOW_INSECURE) || fault.mend.ends_with(IRREVERSIBLE))
}

/// How a `mend` line accepts a weaker machine.
const ALLOW_INSECURE: &str = "allow-insecure = true }";
/// How a `mend` line accepts what only a reboot takes back.
const IRREVERSIBLE: &str = "irreversible = true }";

const fn capability_name(number: u32) -> &'static str {
    match number {
        CAP_NET_ADMIN => "CAP_NET_ADMIN",
        CAP_SYS_ADMIN => "CAP_SYS_ADMIN",
        CAP_SYS_PTRACE => "CAP_SYS_PTRACE",
        CAP_SYS_RESOURCE => "CAP_SYS_RESOURCE",
        _ => "a capability",
    }
}

/// The fault for a missing capability.
fn lacks(deed: &str, number: u32) -> Fault {
    let name = capability_name(number);
    Fault::os(Cause::Privilege, format!("{deed}: needs {name}"), libc::EPERM)
        .mend(format!(
            "run as root with {name} (systemd: CapabilityBoundingSet=; container: --cap-add {})",
            name.trim_start_matches("CAP_")
        ))
        .by(Reason::Capability)
}

/// Fails when the capability is not effective.
fn needs(facts: &Facts, deed: &str, number: u32) -> Result<(), Fault> {
    if facts.has_cap(number) { Ok(()) } else { Err(lacks(deed, number)) }
}
