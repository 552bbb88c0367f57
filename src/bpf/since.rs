//! Which kernel brought what: helpers, types of maps, programs and attachments by their numbers in
//! include/uapi/linux/bpf.h, and forms of instructions.

use super::walk::Form;
use crate::{facts::KernelVersion, texts::Text};

/// The lists of since.txt: names in the order of their numbers, each line beginning with the version.
#[derive(Clone, Copy, Debug)]
pub enum List {
    /// `enum bpf_func_id`.
    Helpers,
    /// `enum bpf_map_type`.
    Maps,
    /// `enum bpf_prog_type`.
    Programs,
    /// `enum bpf_attach_type`.
    Attachments,
}

/// The name and the first kernel of what has this number; `None` when it is unknown here, and so newer.
pub fn known(list: List, number: u32) -> Option<(&'static str, KernelVersion)> {
    let head = match list {
        List::Helpers => "helpers 1",
        List::Maps => "maps 1",
        List::Programs => "programs 1",
        List::Attachments => "attachments 0",
    };
    let mut next = u32::from(!matches!(list, List::Attachments));
    let lines = Text::Since.read().lines().skip_while(|line| *line != head).skip(1);
    for line in lines.take_while(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        let (version, names) = line.split_once(' ')?;
        for name in names.split(' ') {
            if next == number {
                return Some((name, KernelVersion::parse(version)));
            }
            next += 1;
        }
    }
    None
}

/// What a form of instruction is called, and the first kernel whose verifier takes it.
pub const fn form(form: Form) -> (&'static str, KernelVersion) {
    let (word, major, minor) = match form {
        Form::Functions => ("calls of its own functions", 4, 16),
        Form::Jumps32 => ("32-bit jumps", 5, 1),
        Form::Globals => ("global variables", 5, 2),
        Form::Many => ("more than 4096 instructions", 5, 2),
        Form::Loops => ("loops", 5, 3),
        Form::KernelSymbols => ("typed kernel symbols", 5, 10),
        // On x86-64; arm64 has them since 6.0.
        Form::TailCallsAndFunctions => ("tail calls beside calls of its own functions", 5, 10),
        Form::Atomics => ("atomic operations other than add", 5, 12),
        Form::Callbacks => ("callbacks", 5, 13),
        Form::KernelFunctions => ("kernel functions", 5, 13),
        Form::Version4 => ("instructions of version 4", 6, 6),
        Form::MayGoto => ("may_goto", 6, 9),
        Form::AddressSpaces => ("casts between address spaces", 6, 9),
        Form::LoadAcquire => ("load-acquire and store-release", 6, 15),
    };
    (word, KernelVersion { major, minor })
}

#[cfg(test)]
mod tests {
    use aya_obj::generated::{bpf_attach_type as A, bpf_func_id as F, bpf_map_type as M, bpf_prog_type as P};

    use super::*;

    fn name(list: List, number: u32) -> &'static str {
        known(list, number).map_or("", |(name, _)| name)
    }

    #[test]
    fn the_numbers_are_the_kernels() {
        for (id, word) in [
            (F::BPF_FUNC_map_lookup_elem, "map_lookup_elem"),
            (F::BPF_FUNC_tail_call, "tail_call"),
            (F::BPF_FUNC_get_socket_uid, "get_socket_uid"),
            (F::BPF_FUNC_sysctl_set_new_value, "sysctl_set_new_value"),
            (F::BPF_FUNC_ringbuf_query, "ringbuf_query"),
            (F::BPF_FUNC_task_pt_regs, "task_pt_regs"),
            (F::BPF_FUNC_cgrp_storage_delete, "cgrp_storage_delete"),
        ] {
            assert_eq!(name(List::Helpers, id as u32), word);
        }
        assert_eq!(name(List::Helpers, 0), "");
        assert_eq!(name(List::Helpers, F::BPF_FUNC_cgrp_storage_delete as u32 + 1), "");
        assert_eq!(name(List::Maps, M::BPF_MAP_TYPE_HASH as u32), "hash");
        assert_eq!(name(List::Maps, M::BPF_MAP_TYPE_RINGBUF as u32), "ringbuf");
        assert_eq!(name(List::Maps, M::BPF_MAP_TYPE_INSN_ARRAY as u32), "insn_array");
        assert_eq!(name(List::Programs, P::BPF_PROG_TYPE_SOCKET_FILTER as u32), "socket_filter");
        assert_eq!(name(List::Programs, P::BPF_PROG_TYPE_NETFILTER as u32), "netfilter");
        assert_eq!(name(List::Attachments, A::BPF_CGROUP_INET_INGRESS as u32), "cgroup_inet_ingress");
        assert_eq!(name(List::Attachments, A::BPF_XDP as u32), "xdp");
        assert_eq!(name(List::Attachments, A::BPF_TRACE_UPROBE_MULTI as u32), "trace_uprobe_multi");
        assert_eq!(name(List::Attachments, A::BPF_TRACE_UPROBE_SESSION as u32), "trace_uprobe_session");
    }

    #[test]
    fn versions_stand_beside_them() {
        let since = known(List::Helpers, F::BPF_FUNC_ringbuf_output as u32).map(|(_, since)| since);
        assert_eq!(since, Some(KernelVersion { major: 5, minor: 8 }));
    }
}
