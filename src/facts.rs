//! A read-only look at this kernel and at our place in it, taken once before the plan. Writes nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, OnceLock},
};

use crate::{
    sys::{file, process},
    target::Target,
};

/// CAP_NET_ADMIN (include/uapi/linux/capability.h, as the next ones).
pub const CAP_NET_ADMIN: u32 = 12;
/// CAP_SYS_PTRACE.
pub const CAP_SYS_PTRACE: u32 = 19;
/// CAP_SYS_ADMIN.
pub const CAP_SYS_ADMIN: u32 = 21;
/// CAP_SYS_RESOURCE.
pub const CAP_SYS_RESOURCE: u32 = 24;
/// CAP_PERFMON.
pub const CAP_PERFMON: u32 = 38;
/// CAP_BPF.
pub const CAP_BPF: u32 = 39;

/// PROC_PID_INIT_INO of include/linux/proc_ns.h: the initial PID namespace has this inode on every kernel.
const INITIAL_PID_NS: u64 = 0xefff_fffc;
/// PROC_USER_INIT_INO, the same of user namespaces.
const INITIAL_USER_NS: u64 = 0xefff_fffd;

/// What the plan needs to know of the machine.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The running kernel's version; 0.0 when /proc is not mounted.
    pub kernel: KernelVersion,
    /// `uname -r`, for messages.
    pub release: String,
    /// Effective capabilities, one bit each, as in /proc/self/status; all of them when /proc cannot tell, so that
    /// the kernel decides.
    pub capabilities: u64,
    /// How far the kernel is locked down.
    pub lockdown: Lockdown,
    /// Whether our capabilities are those of the machine, and not of a user namespace alone; true when /proc does not
    /// tell.
    pub initial_userns: bool,
    /// Whether we are in the initial network namespace; `None` when /proc does not tell.
    pub initial_netns: Option<bool>,
    /// Whether we are in the mount namespace of PID 1; `None` when /proc does not tell, as where we may not trace it.
    pub initial_mntns: Option<bool>,
    /// Whether /sys/kernel/btf/vmlinux is there.
    pub btf: bool,
    /// The kernel these facts are of, where it is not the running one.
    target: Option<Arc<Target>>,
    /// Whether a seccomp filter of somebody else's lies over this process; false when /proc does not tell.
    pub seccomp: bool,
}

/// A kernel version, as far as decisions hang on it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KernelVersion {
    /// 6 of 6.18.44.
    pub major: u32,
    /// 18 of 6.18.44.
    pub minor: u32,
}

/// The level in /sys/kernel/security/lockdown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lockdown {
    /// None, or no such file: where securityfs is not mounted, only a refused debugfs open shows a lockdown.
    None,
    /// debugfs files cannot be opened for writing.
    Integrity,
    /// Nor can kernel memory be read: tracefs is gone, bpf_probe_read is refused.
    Confidentiality,
}

impl Facts {
    /// Looks at the kernel.
    pub fn gather() -> Self {
        // /proc/self would be the first thread's, whose capabilities and namespaces may differ from ours.
        let status =
            file::text("/proc/thread-self/status").or_else(|_| file::text("/proc/self/status")).unwrap_or_default();
        let release = file::text("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            kernel: KernelVersion::parse(&release),
            release: release.trim_end().to_owned(),
            capabilities: field(&status, "CapEff:", 0)
                .and_then(|set| u64::from_str_radix(set, 16).ok())
                .unwrap_or(u64::MAX),
            lockdown: lockdown(),
            initial_userns: initial_userns(),
            initial_netns: initial_netns(),
            initial_mntns: same_ns_as_init("mnt"),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            target: None,
            seccomp: field(&status, "Seccomp:", 0).is_some_and(|mode| mode != "0"),
        }
    }

    /// The facts of another kernel, with root at work on it: nothing of this machine.
    pub fn of(target: Target) -> Self {
        let forced = |level: &str| target.option(&format!("LOCK_DOWN_KERNEL_FORCE_{level}")).is_some();
        let lockdown = match () {
            () if forced("CONFIDENTIALITY") => Lockdown::Confidentiality,
            () if forced("INTEGRITY") => Lockdown::Integrity,
            () => Lockdown::None,
        };
        Self {
            kernel: target.version,
            release: target.release.clone(),
            capabilities: u64::MAX,
            lockdown,
            initial_userns: true,
            initial_netns: Some(true),
            initial_mntns: Some(true),
            btf: target.btf.is_some() || target.option("DEBUG_INFO_BTF").is_some(),
            target: Some(Arc::new(target)),
            seccomp: false,
        }
    }

    /// The kernel these facts are of, where it is not the running one. Nothing may be looked at then.
    pub fn target(&self) -> Option<&Target> {
        if cfg!(feature = "workbench") { self.target.as_deref() } else { None }
    }

    /// Whether /proc was there to tell anything at all.
    pub const fn proc_mounted(&self) -> bool {
        self.kernel.major > 0
    }

    /// Whether the capability with this number is effective.
    pub const fn has_cap(&self, number: u32) -> bool {
        self.capabilities & (1_u64 << number) != 0
    }

    /// CAP_BPF and CAP_PERFMON are of 5.8; before, CAP_SYS_ADMIN stood in for both.
    pub const fn needs_sys_admin_for_bpf(&self) -> bool {
        self.older_than(5, 8)
    }

    /// Before 5.11 maps and programs were charged to RLIMIT_MEMLOCK, since then to the memory cgroup (97306be45fbe).
    pub const fn charges_memlock(&self) -> bool {
        self.older_than(5, 11)
    }

    /// Links of perf events (kprobes, tracepoints, uprobes) can be pinned since 5.15 (b89fbfbb854c).
    pub const fn perf_links(&self) -> bool {
        !self.older_than(5, 15)
    }

    /// XDP links are of 5.9 (aa8d3a716b59).
    pub const fn xdp_links(&self) -> bool {
        !self.older_than(5, 9)
    }

    /// Whether the kernel is known to be older than `major.minor`.
    pub const fn older_than(&self, major: u32, minor: u32) -> bool {
        let is = self.kernel;
        self.proc_mounted() && (is.major < major || (is.major == major && is.minor < minor))
    }
}

impl KernelVersion {
    /// The running kernel's, asked once. One that does not tell is taken for a modern one.
    pub fn running() -> Self {
        static RUNNING: OnceLock<KernelVersion> = OnceLock::new();
        *RUNNING.get_or_init(|| match Self::parse(&process::kernel_release()) {
            Self { major: 0, .. } => Self { major: u16::MAX.into(), minor: 0 },
            version => version,
        })
    }

    /// As programs name it (LINUX_VERSION_CODE), without the patch level.
    pub const fn code(self) -> u32 {
        self.major << 16 | self.minor << 8
    }

    /// The version at the start of `uname -r`; what is no number counts as 0.
    pub fn parse(release: &str) -> Self {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        Self { major: numbers.next().unwrap_or(0), minor: numbers.next().unwrap_or(0) }
    }
}

/// The word number `at` behind `name` in /proc/self/status.
fn field<'a>(status: &'a str, name: &str, at: usize) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().nth(at)
}

/// The level in brackets; without securityfs, the level on the kernel's command line.
fn lockdown() -> Lockdown {
    if let Ok(levels) = file::text("/sys/kernel/security/lockdown") {
        return level(levels.split(['[', ']']).nth(1).unwrap_or_default());
    }
    let cmdline = file::text("/proc/cmdline").unwrap_or_default();
    level(cmdline.split_whitespace().filter_map(|word| word.strip_prefix("lockdown=")).next_back().unwrap_or_default())
}

fn level(word: &str) -> Lockdown {
    match word {
        "integrity" => Lockdown::Integrity,
        "confidentiality" => Lockdown::Confidentiality,
        _ => Lockdown::None,
    }
}

/// Whether this process is in the initial PID namespace, and so in no container that has one of its own.
pub fn initial_pidns() -> bool {
    ns_inode("/proc/self/ns/pid") == Some(INITIAL_PID_NS)
}

/// Whether this process is in the initial user namespace; true when /proc does not tell.
pub fn initial_userns() -> bool {
    ns_inode("/proc/self/ns/user").is_none_or(|inode| inode == INITIAL_USER_NS)
}

fn ns_inode(path: &str) -> Option<u64> {
    Some(fs::metadata(path).ok()?.ino())
}

fn same_ns_as_init(kind: &str) -> Option<bool> {
    let init = ns_inode(&format!("/proc/1/ns/{kind}"))?;
    let own =
        ns_inode(&format!("/proc/thread-self/ns/{kind}")).or_else(|| ns_inode(&format!("/proc/self/ns/{kind}")))?;
    Some(init == own)
}

/// PID 1 of a container is in the container's own network namespace, so being in the same one proves something only
/// in the initial PID namespace. Otherwise a key tells that the kernel registers for the initial one alone
/// (net_core_table in net/core/sysctl_net_core.c).
fn initial_netns() -> Option<bool> {
    match same_ns_as_init("net") {
        Some(false) => Some(false),
        Some(true) if initial_pidns() => Some(true),
        _ if Path::new("/proc/sys/net/core").exists() => {
            Some(Path::new("/proc/sys/net/core/netdev_max_backlog").exists())
        }
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_any_release() {
        for (release, major, minor) in
            [("6.18.44-fc-v595\n", 6, 18), ("5.4-rc1", 5, 4), ("6", 6, 0), ("", 0, 0), ("x", 0, 0), ("5.10.0+", 5, 10)]
        {
            assert_eq!(KernelVersion::parse(release), KernelVersion { major, minor }, "{release}");
        }
    }

    #[test]
    fn this_machine_is_seen() {
        let facts = Facts::gather();
        assert!(facts.proc_mounted());
        assert!(facts.kernel.major >= 4);
        assert_eq!(facts.release, fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim());
        assert_eq!(field("Uid:\t1\t2\t3\nCapEff:\tff", "Uid:", 1), Some("2"));
    }

    #[test]
    fn versions_decide() {
        let mut facts = Facts::gather();
        facts.kernel = KernelVersion { major: 5, minor: 4 };
        assert!(
            facts.needs_sys_admin_for_bpf() && facts.charges_memlock() && !facts.xdp_links() && !facts.perf_links()
        );
        facts.kernel = KernelVersion { major: 6, minor: 1 };
        assert!(
            !facts.needs_sys_admin_for_bpf() && !facts.charges_memlock() && facts.xdp_links() && facts.perf_links()
        );
        facts.kernel = KernelVersion { major: 0, minor: 0 };
        assert!(!facts.charges_memlock(), "an unknown kernel is taken for a modern one");
    }

    #[test]
    fn the_lockdown_level_is_the_bracketed_one() {
        assert_eq!(level("integrity"), Lockdown::Integrity);
        assert_eq!(level("confidentiality"), Lockdown::Confidentiality);
        assert_eq!(level("none"), Lockdown::None);
    }
}
