//! What aya and the kernel report, told as one fault: the cause's word, the errno, and the line that mends it.

use std::{error::Error, io, path::Path};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use super::kind::Kind;
use crate::error::{Cause, Fault};

/// ENOTSUPP, the kernel's own (include/linux/errno.h).
const ENOTSUPP: i32 = 524;

/// The words of an error and of what caused it, down to the errno.
fn unfold(error: &(dyn Error + 'static)) -> (String, Option<i32>) {
    let (mut words, mut errno, mut next) = (Vec::new(), None, Some(error));
    while let Some(error) = next {
        match error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            Some(raw) => errno = Some(raw),
            None => words.push(error.to_string()),
        }
        next = error.source();
    }
    // A transparent error repeats its source word for word.
    words.dedup();
    (words.join(": "), errno)
}

fn plain(cause: Cause, error: &(dyn Error + 'static)) -> Fault {
    let (what, errno) = unfold(error);
    Fault::new(cause, what).with_errno(errno)
}

/// A failed `EbpfLoader::load`: parsing, relocating, making maps.
pub fn of_object(error: &EbpfError) -> Fault {
    match error {
        EbpfError::MapError(error) => of_map(error),
        EbpfError::ProgramError(error) => of_load(error, Kind::Other),
        EbpfError::BtfRelocationError(_) => plain(Cause::Kernel, error)
            .mend("CO-RE needs a kernel with CONFIG_DEBUG_INFO_BTF, or btf = \"FILE\" with this kernel's BTF"),
        EbpfError::BtfError(_) | EbpfError::KsymsError(_) | EbpfError::NoBTF => plain(Cause::Kernel, error)
            .mend("ls /sys/kernel/btf/vmlinux; without it give btf = \"FILE\" with this kernel's BTF"),
        _ => {
            let (what, errno) = unfold(error);
            let fault = Fault::new(Cause::Object, format!("not a usable BPF object: {what}")).with_errno(errno);
            fault.mend("rebuild it with clang -target bpf or aya-ebpf, and check the copy: sha256sum FILE")
        }
    }
}

/// A failed map.
pub fn of_map(error: &MapError) -> Fault {
    let fault = plain(Cause::Map, error);
    let mend = match fault.errno {
        Some(libc::EPERM) => return fault.because(Cause::Privilege).mend(PERMISSION),
        Some(libc::ENOMEM) => "make it smaller (maps.NAME.max-entries), or raise the memory limit of this unit or container",
        Some(libc::EINVAL) => "check its sizes and flags: bpftool btf dump file OBJECT; a ring buffer needs a power of two of pages",
        Some(libc::E2BIG) => "make it smaller: maps.NAME.max-entries",
        Some(ENOTSUPP) => "these flags do not go with this type of map",
        _ => "",
    };
    fault.mend(mend)
}

const PERMISSION: &str = "not a missing capability (the loader holds what it needs): look at \
    /sys/kernel/security/lockdown, at seccomp (a container's profile must allow bpf), and at an LSM: dmesg | tail";

/// A program the kernel did not take.
pub fn of_load(error: &ProgramError, kind: Kind) -> Fault {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        let fault = plain(Cause::Kernel, error);
        return fault.mend(match kind.needs_kernel_btf() {
            true => "its target is not in this kernel's BTF: bpftool btf dump file /sys/kernel/btf/vmlinux | grep NAME",
            false => "",
        });
    };
    let log = verifier_log.to_string();
    let errno = io_error.raw_os_error();
    match (errno, reason(&log)) {
        (_, Some(reason)) => Fault::new(Cause::Verifier, format!("refused by the verifier: {reason}")).with_errno(errno)
            .mend("the whole log is in the report: bpfboot --json apply, field detail")
            .detail(log),
        (Some(libc::EPERM), None) => Fault::os(Cause::Privilege, "the kernel does not let us load it", libc::EPERM).mend(PERMISSION),
        (Some(libc::E2BIG), None) => Fault::os(Cause::Verifier, "it has more instructions than one load may have", libc::E2BIG)
            .mend("split it with tail calls; the limit is 1,000,000, or 4,096 without CAP_BPF"),
        (Some(libc::EINVAL), None) => {
            Fault::os(Cause::Kernel, format!("this kernel does not know {} programs of this form", kind.word()), libc::EINVAL)
                .mend("optional = true on the program, or a newer kernel")
        }
        (Some(ENOTSUPP), None) => Fault::os(Cause::Kernel, "the JIT cannot compile it, and this kernel has no interpreter", ENOTSUPP)
            .mend("sysctl net.core.bpf_jit_limit; raise it if the loader lacks CAP_BPF"),
        (errno, None) => Fault::new(Cause::Kernel, "load it").with_errno(errno),
    }
}

/// The verifier's last word: the line before its statistics.
fn reason(log: &str) -> Option<&str> {
    let statistics = ["processed ", "verification time", "stack depth", "peak_states", "max_states"];
    log.lines().rev().map(str::trim).find(|line| !line.is_empty() && !statistics.iter().any(|s| line.starts_with(s)))
}

/// A program that could not be attached to `target`.
pub fn of_attach(error: &ProgramError, kind: Kind, target: &str) -> Fault {
    let (what, errno) = unfold(error);
    let fault = |what: String| Fault::new(Cause::Attach, what).with_errno(errno);
    match (kind, errno) {
        (Kind::Tracepoint, Some(libc::ENOENT)) => fault(format!("this kernel has no tracepoint {target}, or tracefs is not mounted"))
            .mend(format!("ls /sys/kernel/tracing/events/{}; [mounts] tracefs = true", target.replace(':', "/"))),
        (Kind::Kprobe | Kind::Kretprobe, Some(libc::ENOENT | libc::EADDRNOTAVAIL)) => {
            fault(format!("this kernel cannot probe {target}: no such function, or no CONFIG_KPROBES"))
                .mend(format!("grep -w {target} /proc/kallsyms; ls /sys/bus/event_source/devices/kprobe; or optional = true"))
        }
        (Kind::Xdp, Some(libc::EOPNOTSUPP | libc::EINVAL)) => {
            fault(format!("the driver of {target} does not take XDP in this mode")).mend("mode = \"generic\", or mode = \"any\"")
        }
        (Kind::Xdp, Some(libc::EBUSY | libc::EEXIST)) => fault(format!("{target} already carries an XDP program")).because(Cause::Busy)
            .mend(format!("ip link show dev {target}; bpftool net show dev {target}")),
        (_, Some(libc::EPERM | libc::EACCES)) => fault(format!("attach to {target}: {what}")).because(Cause::Privilege)
            .mend("sysctl kernel.perf_event_paranoid (a patched kernel's 3 or 4 asks for CAP_SYS_ADMIN); lockdown and LSMs refuse too"),
        (_, Some(libc::E2BIG)) => fault(format!("attach to {target}: too many programs there already"))
            .mend("64 programs fit on one tracepoint or probe, 38 on one trampoline: bpftool link show"),
        _ => fault(format!("attach to {target}: {what}")),
    }
}

/// A pin that could not be made.
pub fn of_pin(error: &aya::pin::PinError, path: &Path) -> Fault {
    let (what, errno) = unfold(error);
    let fault = Fault::new(Cause::Pin, format!("pin to {}: {what}", path.display())).with_errno(errno);
    fault.mend(match errno {
        Some(libc::EEXIST) => "something not ours took that name: rm it, and run again",
        Some(libc::EROFS) => "remount it: mount -o remount,rw /sys/fs/bpf",
        _ => "",
    })
}

/// A link that cannot outlive this process.
pub fn of_unpinnable(target: &str) -> Fault {
    Fault::new(Cause::Attach, format!("the link to {target} cannot be pinned on this kernel, so it would end with this run; it was detached"))
        .mend("XDP links need Linux 5.9, tracepoint, kprobe and perf links 5.15; or use raw_tp, tp_btf or fentry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_word_is_found() {
        let log = "0: R1=ctx() R10=fp0\n0: (79) r0 = *(u64 *)(r1 +0)\nR1 !read_ok\nprocessed 1 insns (limit 1000000)\n\n";
        assert_eq!(reason(log), Some("R1 !read_ok"));
        assert_eq!(reason(""), None);
    }
}
