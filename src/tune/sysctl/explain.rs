//! From an error number to a sentence that a person can act on.

use std::{io, path::Path};

use super::{
    rules,
    value::{shown, single},
};
use crate::{
    config::SysctlKey,
    error::{Cause, Fault},
    facts::{CAP_SYS_ADMIN, Facts, initial_userns},
    reason::Reason,
    sys::file::{errno, is_read_only},
    tune::{capability_name, lacks},
};

/// /proc/sys itself could not be opened.
pub fn no_proc_sys(error: &io::Error) -> Fault {
    match errno(error) {
        libc::ENOENT | libc::ENODEV => {
            Fault::new(Cause::Mount, "/proc is not mounted").mend("mount -t proc proc /proc")
        }
        _ => Fault::io(Cause::Mount, "open /proc/sys", error),
    }
}

/// The key is not there.
pub fn absent(path: &str, facts: &Facts) -> Fault {
    let fault = |why: &str| Fault::os(Cause::Kernel, format!("not here ({why})"), libc::ENOENT);
    if path.starts_with("net/") && facts.initial_netns == Some(false) {
        return if rules::initial_netns_only(path) {
            fault("only the initial network namespace has this key")
                .by(Reason::NetworkNamespace)
                .mend("run it in the host's network namespace")
        } else {
            fault("not in this network namespace; the initial one may have it").by(Reason::NetworkNamespace)
        };
    }
    match rules::hint(path) {
        Some((why, mend)) => fault(why).mend(mend),
        None => fault("this kernel, or its configuration, has no such key"),
    }
}

/// The key is there and could not be read.
pub fn unreadable(path: &str, error: &io::Error, facts: &Facts) -> Fault {
    match errno(error) {
        libc::ENOENT => absent(path, facts),
        libc::EISDIR => Fault::io(Cause::Sysctl, "is a directory, not a key", error),
        // Whoever made it so keeps such keys to himself.
        libc::EPERM if !facts.has_cap(CAP_SYS_ADMIN) && is_read_only(Path::new("/proc/sys")).unwrap_or(false) => {
            Fault::io(Cause::Kernel, "read: takes CAP_SYS_ADMIN, and /proc/sys is mounted read-only", error)
                .mend(format!("on the host: sysctl {}", path.replace('/', ".")))
        }
        libc::EPERM if !facts.has_cap(rules::capability(path).unwrap_or(CAP_SYS_ADMIN)) => {
            lacks("read", rules::capability(path).unwrap_or(CAP_SYS_ADMIN))
        }
        libc::EPERM => {
            Fault::io(Cause::Privilege, "read: a security policy of this machine forbids it", error).by(Reason::Lsm)
        }
        libc::EACCES => wrong_user("read", error),
        _ => Fault::io(Cause::Sysctl, "read", error),
    }
}

/// The key is there and cannot be opened for writing; nothing was written.
pub fn unwritable(path: &str, error: &io::Error, facts: &Facts) -> Fault {
    match errno(error) {
        libc::EROFS => Fault::io(Cause::Mount, "/proc/sys is mounted read-only", error)
            .mend("systemd: ProtectKernelTunables=no; container: docker run --sysctl for net.*, else tune on the host"),
        libc::EACCES if path.starts_with("net/") && facts.initial_netns == Some(false) => {
            Fault::io(Cause::Kernel, "read-only in a child network namespace", error)
                .by(Reason::NetworkNamespace)
                .mend("run it in the host's network namespace")
        }
        libc::EACCES => wrong_user("open for writing", error),
        libc::ENOENT => absent(path, facts),
        libc::EPERM => {
            Fault::io(Cause::Privilege, "open for writing: a security policy of this machine forbids it", error)
                .by(Reason::Lsm)
        }
        _ => Fault::io(Cause::Sysctl, "open for writing", error),
    }
}

/// test_perm() in kernel/sysctl: the file's mode decides, and CAP_DAC_OVERRIDE does not help.
fn wrong_user(deed: &str, error: &io::Error) -> Fault {
    let what =
        format!("{deed}: the file's mode leaves it to root of the initial user namespace, whatever the capabilities");
    Fault::io(Cause::Privilege, what, error).by(Reason::User).mend("run as root, outside a user namespace")
}

/// The write failed. `current` is the value that is still there.
pub fn write_failed(key: &SysctlKey, now: &str, current: Option<&str>, error: &io::Error) -> Fault {
    let path = key.path();
    let over = current.map(|is| format!(" over \"{}\"", shown(is))).unwrap_or_default();
    let told = |cause, why: &str| Fault::io(cause, format!("write \"{now}\"{over}{why}"), error);
    match errno(error) {
        libc::EINVAL => {
            let (why, mend) = invalid(key, current);
            told(Cause::Sysctl, &why).mend(mend)
        }
        libc::ENOENT => told(Cause::Kernel, "; this kernel neither has it nor could load it as a module"),
        libc::EPERM if rules::latch(path).is_some_and(|locked| current.and_then(single) == Some(locked)) => {
            told(Cause::Sysctl, ", which holds until the next boot").by(Reason::Latch).mend("reboot")
        }
        // The capability is held here, or the survey would have said so.
        libc::EPERM => match rules::capability(path) {
            Some(number) if !initial_userns() => {
                let name = capability_name(number);
                told(Cause::Privilege, &format!("; needs {name} in the initial user namespace"))
                    .by(Reason::UserNamespace)
            }
            Some(_) => told(Cause::Privilege, "; a security policy forbids it").by(Reason::Lsm),
            None => {
                told(Cause::Privilege, "; a security policy or a child network namespace forbids it").by(Reason::Lsm)
            }
        },
        libc::EBUSY => told(Cause::Busy, "; somebody uses it, such as a live patch on ftrace"),
        libc::EROFS | libc::EACCES => Fault::io(Cause::Privilege, format!("open for writing \"{now}\""), error),
        _ => told(Cause::Sysctl, ""),
    }
}

/// Why a value is EINVAL, where the kernel's reason is not its range alone, and the line that mends it.
fn invalid(key: &SysctlKey, current: Option<&str>) -> (String, String) {
    let path = key.path();
    match path {
        "net/core/netdev_budget_usecs" => {
            // netdev_budget_usecs_min in net/core/sysctl_net_core.c (c180188ec022): 2 * USEC_PER_SEC / HZ.
            let hz = current.and_then(single).filter(|usecs| [2000, 6666, 8000, 20_000].contains(usecs));
            match hz {
                Some(least) => (
                    format!("; this kernel's least value is two jiffies: {least} at HZ={}", 2_000_000 / least),
                    format!("\"{key}\" = {{ at-least = {least} }}"),
                ),
                None => (
                    "; this kernel's least value is two jiffies: 2000 at HZ=1000, 8000 at HZ=250, 20000 at HZ=100"
                        .into(),
                    format!("\"{key}\" = {{ at-least = 20000 }}"),
                ),
            }
        }
        rules::UNPRIVILEGED_BPF => (
            "; before 5.13 a kernel knows only 1, which holds until the next boot".into(),
            format!("\"{key}\" = {{ value = 1, {}", crate::tune::IRREVERSIBLE),
        ),
        "net/core/bpf_jit_enable" => {
            ("; with CONFIG_BPF_JIT_ALWAYS_ON it can only be 1".into(), format!("\"{key}\" = 1"))
        }
        rules::SAMPLE_RATE => (
            "; kernel.perf_cpu_time_max_percent is 0 or 100, which freezes it".into(),
            "\"kernel.perf_cpu_time_max_percent\" = 25".into(),
        ),
        _ => ("; outside this kernel's range, or of another form".into(), String::new()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn failed(key: &str, now: &str, current: &str, errno: i32) -> Fault {
        write_failed(&key.parse().unwrap(), now, Some(current), &io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn the_two_jiffies_are_explained() {
        let fault = failed("net.core.netdev_budget_usecs", "4000", "8000\n", libc::EINVAL);
        assert_eq!(
            fault.to_string(),
            "write \"4000\" over \"8000\"; this kernel's least value is two jiffies: 8000 at HZ=250: \
             Invalid argument (EINVAL)"
        );
        assert_eq!(fault.mend, "\"net.core.netdev_budget_usecs\" = { at-least = 8000 }");
        assert!(failed("net.core.netdev_budget_usecs", "1", "50000", libc::EINVAL).what.contains("HZ=100"));
    }

    #[test]
    fn a_locked_key_is_told_from_one_that_is_not_ours_to_write() {
        let fault = failed("kernel.unprivileged_bpf_disabled", "2", "1\n", libc::EPERM);
        assert_eq!((fault.cause, fault.mend.as_str()), (Cause::Sysctl, "reboot"));
        assert_eq!(failed("kernel.unprivileged_bpf_disabled", "0", "2\n", libc::EPERM).cause, Cause::Privilege);
        assert_eq!(failed("net.ipv4.ip_default_ttl", "1", "\n", libc::EPERM).cause, Cause::Privilege);
    }

    #[test]
    fn absence_is_told_apart() {
        let mut facts = Facts::gather();
        facts.initial_netns = Some(true);
        assert_eq!(absent("net/netfilter/nf_conntrack_max", &facts).mend, "modprobe nf_conntrack");
        assert!(absent("kernel/no_such_key", &facts).what.contains("no such key"));
        facts.initial_netns = Some(false);
        assert!(absent("net/core/netdev_budget", &facts).what.contains("initial network namespace has"));
        assert!(crate::tune::is_absence(&absent("net/core/x", &facts)));
        let read_only = unwritable("net/core/rmem_max", &io::Error::from_raw_os_error(libc::EACCES), &facts);
        assert!(crate::tune::is_absence(&read_only), "a child namespace only shows it");
    }

    #[test]
    fn a_read_only_proc_sys_says_the_same_for_every_key() {
        let facts = Facts::gather();
        let error = io::Error::from_raw_os_error(libc::EROFS);
        assert_eq!(unwritable("vm/max_map_count", &error, &facts), unwritable("net/core/somaxconn", &error, &facts));
    }
}
