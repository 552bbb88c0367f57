//! The kernels of the matrix, and what each is known to have.

use std::fs;

/// A kernel of the matrix, as `make vm-test KERNEL=` names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kernel {
    /// 5.10: no perf links (5.15), no RENAME_EXCHANGE on bpffs (5.17), memory charged to RLIMIT_MEMLOCK.
    V5_10,
    /// 6.1.
    V6_1,
    /// 6.12.
    V6_12,
    /// The newest there is.
    New,
    /// User Mode Linux: no JIT, no BTF, no tracing, no debugfs.
    Uml,
}

impl Kernel {
    /// The one that runs: the runner says its name, and it must be true.
    pub fn running() -> Self {
        let name = std::env::var("VM_KERNEL").expect("these tests run in a guest: make vm-test");
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let (kernel, begins) = match name.as_str() {
            "5.10" => (Self::V5_10, "5.10."),
            "6.1" => (Self::V6_1, "6.1."),
            "6.12" => (Self::V6_12, "6.12."),
            "new" => (Self::New, ""),
            "uml" => (Self::Uml, "6.1."),
            _ => panic!("{name:?} is no kernel of the matrix"),
        };
        assert!(release.starts_with(begins), "{name} was asked for, and {release} runs");
        kernel
    }

    /// Whether it has tracing, BTF and a JIT: every kernel but the poor one.
    pub fn is_whole(self) -> bool {
        self != Self::Uml
    }
}
