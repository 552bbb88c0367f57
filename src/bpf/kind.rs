//! What an ELF section name says of a program: its kind, where it attaches, and what loading it takes.

use crate::config::{AttachWish, UserFunction};

/// The kinds of program, as far as loading and attaching differ.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Express data path.
    Xdp,
    /// Classic tracepoint.
    Tracepoint,
    /// Raw tracepoint.
    RawTracepoint,
    /// Raw tracepoint with typed arguments.
    TpBtf,
    /// Kernel function entry.
    Kprobe,
    /// Kernel function return.
    Kretprobe,
    /// Kernel function entry through a trampoline.
    Fentry,
    /// Kernel function return through a trampoline.
    Fexit,
    /// LSM hook.
    Lsm,
    /// User function entry.
    Uprobe,
    /// User function return.
    Uretprobe,
    /// Sampled event.
    PerfEvent,
    /// BTF iterator.
    Iter,
    /// Any other kind of the networking stack, by its word: loaded and pinned for others to attach.
    Net(&'static str),
    /// Any other kind, by its word: loaded and pinned for others to attach.
    Other(&'static str),
    /// A section that aya cannot load.
    Unknown,
}

impl Kind {
    /// The word in the report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tracepoint => "tracepoint",
            Self::RawTracepoint => "raw_tracepoint",
            Self::TpBtf => "tp_btf",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Lsm => "lsm",
            Self::Uprobe => "uprobe",
            Self::Uretprobe => "uretprobe",
            Self::PerfEvent => "perf_event",
            Self::Iter => "iter",
            Self::Net(word) | Self::Other(word) => word,
            Self::Unknown => "unknown",
        }
    }

    /// What it attaches to.
    pub const fn place(self) -> &'static str {
        match self {
            Self::Tracepoint | Self::RawTracepoint | Self::TpBtf => "tracepoint",
            Self::Kprobe | Self::Kretprobe | Self::Fentry | Self::Fexit | Self::Uprobe | Self::Uretprobe => "function",
            Self::Lsm => "hook",
            Self::PerfEvent => "event",
            Self::Iter => "iterator",
            Self::Xdp => "interface",
            Self::Net(_) | Self::Other(_) | Self::Unknown => "place",
        }
    }

    /// What the report says of a program of this kind that has no place to attach to.
    pub const fn only_pinned(self) -> &'static str {
        match self {
            Self::Xdp => "only pinned: bpfboot attach IFACE attaches it",
            Self::Iter => "only pinned: bpftool link pin makes a file of it that can be read",
            Self::Net(_) => "only pinned: bpfboot attaches no such programs; tc, bpftool or its own tool does",
            Self::Other(_) | Self::Unknown => {
                "only pinned: bpfboot attaches no such programs; bpftool or its own tool does"
            }
            _ => "only pinned: neither its section nor the configuration names one place to attach",
        }
    }

    /// Whether the kernel wants CAP_NET_ADMIN to load it (is_net_admin_prog_type() in kernel/bpf/syscall.c).
    pub const fn needs_net_admin(self) -> bool {
        matches!(self, Self::Xdp | Self::Net(_))
    }

    /// Whether its link is a perf link, which can be pinned only since 5.15 (b89fbfbb854c).
    pub const fn uses_perf_link(self) -> bool {
        matches!(
            self,
            Self::Tracepoint | Self::Kprobe | Self::Kretprobe | Self::Uprobe | Self::Uretprobe | Self::PerfEvent
        )
    }

    /// Whether the kernel must know a BTF id of its target when it loads.
    pub const fn needs_kernel_btf(self) -> bool {
        matches!(self, Self::TpBtf | Self::Fentry | Self::Fexit | Self::Lsm | Self::Iter)
    }
}

/// A section name, understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Section {
    /// The kind of its programs.
    pub kind: Kind,
    /// Where the section says they attach; `None` when it does not say.
    pub attach: Option<AttachWish>,
    /// What aya wants to read instead of the name as written; `None` when it reads it as it is.
    pub for_aya: Option<String>,
    /// libbpf's `?`: not loaded unless asked for by name.
    pub on_request: bool,
}

/// Understands a section name as libbpf does (section_defs in tools/lib/bpf/libbpf.c), and says what aya-obj 0.6 reads
/// in its place where the two differ. What stood there goes on as the name's tail, because aya tells sections apart by
/// their names alone; of XDP it reads only tails that begin with an attach type, which is put right on loading.
pub fn understand(written: &str) -> Section {
    let name = written.strip_prefix('?').unwrap_or(written);
    let (head, tail) = name.split_once('/').unwrap_or((name, ""));
    let (kind, attach, renamed) = match head {
        "xdp" | "xdp.frags" => {
            (Kind::Xdp, None, (!matches!(tail, "" | "devmap" | "cpumap")).then(|| format!("{head}/devmap/{name}")))
        }
        "tracepoint" | "tp" => (Kind::Tracepoint, tracepoint(tail), None),
        "raw_tp" | "raw_tracepoint" => (Kind::RawTracepoint, named(tail, AttachWish::RawTracepoint), None),
        "tp_btf" => (Kind::TpBtf, named(tail, AttachWish::TpBtf), None),
        "kprobe" => (Kind::Kprobe, kprobe(tail), None),
        "kprobe.multi" => (Kind::Kprobe, one(tail).and_then(kprobe), Some(format!("kprobe/{tail}"))),
        "kretprobe.multi" => (
            Kind::Kretprobe,
            one(tail).and_then(|tail| named(tail, AttachWish::Kretprobe)),
            Some(format!("kretprobe/{tail}")),
        ),
        "kretprobe" => (Kind::Kretprobe, named(tail, AttachWish::Kretprobe), None),
        "ksyscall" => (Kind::Kprobe, kprobe(&syscall_symbol(tail)), Some(format!("kprobe/{tail}"))),
        "kretsyscall" => {
            (Kind::Kretprobe, Some(AttachWish::Kretprobe(syscall_symbol(tail))), Some(format!("kretprobe/{tail}")))
        }
        "fentry" | "fentry.s" => (Kind::Fentry, named(tail, AttachWish::Fentry), None),
        "fexit" | "fexit.s" => (Kind::Fexit, named(tail, AttachWish::Fexit), None),
        "lsm" | "lsm.s" => (Kind::Lsm, named(tail, AttachWish::Lsm), None),
        "uprobe" | "uprobe.s" | "uprobe.multi" | "uprobe.multi.s" => {
            (Kind::Uprobe, user(tail).map(AttachWish::Uprobe), None)
        }
        "uretprobe" | "uretprobe.s" | "uretprobe.multi" | "uretprobe.multi.s" => {
            (Kind::Uretprobe, user(tail).map(AttachWish::Uretprobe), None)
        }
        "perf_event" => (Kind::PerfEvent, None, None),
        "iter" | "iter.s" => (Kind::Iter, None, None),
        "tc" | "tcx" | "netkit" | "action" => (Kind::Net("tc"), None, Some(format!("classifier/{name}"))),
        "classifier" => (Kind::Net("tc"), None, None),
        _ if head.starts_with("xdp") && tail.is_empty() => (Kind::Xdp, None, Some(format!("xdp/devmap/{name}"))),
        _ if head.starts_with("classifier") && tail.is_empty() => {
            (Kind::Net("tc"), None, Some(format!("classifier/{name}")))
        }
        _ if head.starts_with("socket") && tail.is_empty() => {
            (Kind::Other("socket"), None, Some(format!("socket/{name}")))
        }
        _ => {
            let word = |words: &[&'static str]| words.iter().find(|word| **word == head).copied();
            let net = || word(&["sk_skb", "sk_msg", "sockops", "flow_dissector", "cgroup"]).map(Kind::Net);
            let other = || {
                word(&["socket", "sk_lookup", "sk_reuseport", "cgroup_skb", "lirc_mode2", "lsm_cgroup"])
                    .map(Kind::Other)
            };
            (net().or_else(other).unwrap_or(Kind::Unknown), None, None)
        }
    };
    let on_request = name != written;
    let for_aya = renamed.or_else(|| on_request.then(|| name.to_owned()));
    Section { kind, attach, for_aya, on_request }
}

/// Why programs of a section of [`Kind::Unknown`] cannot be loaded.
pub fn why_not(section: &str) -> String {
    let head = section.trim_start_matches('?').split('/').next().unwrap_or_default();
    match head {
        "usdt" | "usdt.s" => {
            "a USDT probe needs libbpf, which finds its arguments and keeps them in maps of its own".into()
        }
        "struct_ops" | "struct_ops.s" => "aya cannot register struct_ops".into(),
        "freplace" => "freplace replaces a function of another program, which no configuration of bpfboot names".into(),
        _ => format!("aya knows no programs of section {section:?}"),
    }
}

/// A name that is not a pattern for many.
fn one(tail: &str) -> Option<&str> {
    (!tail.contains(['*', '?'])).then_some(tail)
}

fn named(tail: &str, wish: fn(String) -> AttachWish) -> Option<AttachWish> {
    (!tail.is_empty()).then(|| wish(tail.to_owned()))
}

fn tracepoint(tail: &str) -> Option<AttachWish> {
    let (category, name) = tail.split_once('/')?;
    Some(AttachWish::Tracepoint { category: category.to_owned(), name: name.to_owned() })
}

fn kprobe(tail: &str) -> Option<AttachWish> {
    let (function, offset) = match tail.split_once('+') {
        Some((function, offset)) => (function, number(offset)?),
        None => (tail, 0),
    };
    (!function.is_empty()).then(|| AttachWish::Kprobe { function: function.to_owned(), offset })
}

/// The function behind a system call: since 4.17 every architecture's wrapper has its own prefix
/// (arch/x86/include/asm/syscall_wrapper.h), which is why `kprobe/sys_read` no longer exists.
pub fn syscall_symbol(call: &str) -> String {
    let prefix = match std::env::consts::ARCH {
        "x86_64" => "__x64_",
        "aarch64" => "__arm64_",
        "riscv64" => "__riscv_",
        "s390x" => "__s390x_",
        _ => "__se_",
    };
    format!("{prefix}sys_{call}")
}

/// `/path/to/binary:symbol+offset`, libbpf's form.
fn user(tail: &str) -> Option<UserFunction> {
    let (path, place) = tail.rsplit_once(':')?;
    let (symbol, offset) = match place.split_once('+') {
        Some((symbol, offset)) => (symbol, number(offset)?),
        None => (place, 0),
    };
    Some(UserFunction { path: path.into(), symbol: symbol.to_owned(), offset })
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn sections_say_where_to_attach() {
        for (section, kind, attach) in [
            ("xdp", Kind::Xdp, None),
            ("xdp_redirect_map", Kind::Xdp, None),
            (
                "tracepoint/syscalls/sys_enter_openat",
                Kind::Tracepoint,
                Some(AttachWish::Tracepoint { category: "syscalls".into(), name: "sys_enter_openat".into() }),
            ),
            (
                "kprobe/vfs_read+0x10",
                Kind::Kprobe,
                Some(AttachWish::Kprobe { function: "vfs_read".into(), offset: 16 }),
            ),
            ("?fentry/vfs_read", Kind::Fentry, Some(AttachWish::Fentry("vfs_read".into()))),
            (
                "uprobe//usr/bin/bash:readline",
                Kind::Uprobe,
                Some(AttachWish::Uprobe(UserFunction {
                    path: "/usr/bin/bash".into(),
                    symbol: "readline".into(),
                    offset: 0,
                })),
            ),
            ("kprobe", Kind::Kprobe, None),
            (
                "kprobe.multi/vfs_read",
                Kind::Kprobe,
                Some(AttachWish::Kprobe { function: "vfs_read".into(), offset: 0 }),
            ),
            ("kprobe.multi/tcp_*", Kind::Kprobe, None),
            ("struct_ops/x", Kind::Unknown, None),
            ("tc/ingress", Kind::Net("tc"), None),
            ("lirc_mode2/rc_mm", Kind::Other("lirc_mode2"), None),
            ("classifier_ingress", Kind::Net("tc"), None),
            ("socket1", Kind::Other("socket"), None),
        ] {
            let got = understand(section);
            assert_eq!((got.kind, got.attach), (kind, attach), "{section}");
        }
    }

    #[test]
    fn what_aya_cannot_read_is_renamed() {
        assert_eq!(understand("tc/ingress").for_aya.as_deref(), Some("classifier/tc/ingress"));
        assert_eq!(understand("xdp/my_prog").for_aya.as_deref(), Some("xdp/devmap/xdp/my_prog"));
        assert_eq!(understand("xdp/devmap").for_aya, None);
        assert_eq!(understand("?kprobe/x").for_aya.as_deref(), Some("kprobe/x"));
        assert!(understand("?kprobe/x").on_request);
        assert_eq!(understand("kprobe/x").for_aya, None);
    }
}
