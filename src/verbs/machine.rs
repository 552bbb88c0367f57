//! What `status` says of the machine: JIT, softnet, and to whom BPF memory is charged. Reads only.

use crate::{
    facts::KernelVersion,
    seen::{Machine, Softnet},
    sys::file,
};

/// Looks at it.
pub fn look() -> Machine {
    let number = |key: &str| file::text(format!("/proc/sys/{key}")).ok()?.trim().parse().ok();
    let is = KernelVersion::running();
    let before = |major, minor| is < KernelVersion { major, minor };
    Machine {
        jit: number("net/core/bpf_jit_enable"),
        harden: number("net/core/bpf_jit_harden"),
        stats: number("kernel/bpf_stats_enabled"),
        softnet: file::text("/proc/net/softnet_stat").ok().map(|text| softnet(&text)),
        memlock: before(5, 11).then(memlock),
        exact: !before(6, 4),
    }
}

fn memlock() -> String {
    let limits = file::text("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory")).unwrap_or_default();
    line.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// A line a CPU, its fields in hexadecimal: processed, dropped, time_squeeze (softnet_seq_show() in net/core/net-procfs.c).
fn softnet(text: &str) -> Softnet {
    let column = |nth: usize| {
        let field = |line: &str| u64::from_str_radix(line.split_whitespace().nth(nth)?, 16).ok();
        text.lines().filter_map(field).sum()
    };
    Softnet { processed: column(0), dropped: column(1), squeezed: column(2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softnet_is_summed_over_the_cpus() {
        let text = "0000000a 00000001 00000010 00000000\n00000001 ffffffff 00000000 00000000\n";
        assert_eq!(softnet(text), Softnet { processed: 11, dropped: 0x1_0000_0000, squeezed: 16 });
    }
}
