//! What aya and the kernel report, told as one fault: the cause's word, the errno, and the line that mends it.

use std::{error::Error, io, path::Path};

use aya_obj::{
    KsymsError, ParseError,
    btf::{BtfError, BtfRelocationError},
};

use super::{kind::Kind, layout::Layout};
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
    // A transparent error repeats its source word for word, others end with it.
    words.dedup_by(|inner, outer| outer.ends_with(inner.as_str()));
    (words.join(": "), errno)
}

fn plain(cause: Cause, error: &(dyn Error + 'static)) -> Fault {
    let (what, errno) = unfold(error);
    Fault::new(cause, what).with_errno(errno)
}

/// An object that aya-obj cannot read.
pub fn of_parse(error: &ParseError) -> Fault {
    match error {
        ParseError::BtfError(BtfError::UnexpectedBtfType { .. }) => Fault::new(Cause::Object, "a map of it has a form that aya cannot read")
            .mend("such as __ulong(map_extra, ...) of an arena: bpftool btf dump file OBJECT shows its maps; take them out of the source"),
        ParseError::BtfError(BtfError::InvalidRelocationKind { kind }) => {
            Fault::new(Cause::Object, format!("aya cannot resolve its CO-RE relocations of kind {kind}")).mend("kind 12 is bpf_core_type_matches(): rebuild it without")
        }
        ParseError::InvalidMapDefinition { name } => {
            Fault::new(Cause::Object, format!("map {name:?} in its section \"maps\" is cut short, static and nameless, or without a size in its symbol"))
                .mend("rebuild it with a newer clang and maps that are not static, or define them in SEC(\".maps\")")
        }
        ParseError::UnknownSymbol { address, .. } => {
            Fault::new(Cause::Object, format!("aya cannot read its .text: the code at {address:#x} belongs to no function"))
                .mend("bpftool gen object leaves such gaps where one weak function replaced another: link without weak functions")
        }
        _ => plain(Cause::Object, error)
            .about("not a usable BPF object")
            .mend("rebuild it with clang -target bpf or aya-ebpf, and check the copy: sha256sum FILE"),
    }
}

/// Relocations that cannot be resolved: CO-RE, kernel symbols, maps, calls.
pub fn of_relocation(error: &(dyn Error + 'static)) -> Fault {
    let fault = plain(Cause::Kernel, error);
    if error.is::<BtfRelocationError>() {
        return fault.mend("CO-RE needs a kernel with CONFIG_DEBUG_INFO_BTF, or btf = \"FILE\" with this kernel's BTF");
    }
    if let Some(KsymsError::KallsymsAccessError(_)) = error.downcast_ref() {
        return untyped_symbol();
    }
    if error.is::<KsymsError>() {
        return fault.mend("the object asks for a symbol that this kernel does not have, or keeps in a module: grep -w NAME /proc/kallsyms");
    }
    // aya-obj keeps what it could not relocate to itself, but for the words.
    if let Some(name) = fault.what.split("extern `").nth(1).and_then(|rest| rest.split('`').next()) {
        return Fault::new(Cause::Object, format!("it calls {name}(), which it does not hold")).mend(match name {
            "memcmp" | "memcpy" | "memmove" | "memset" | "bcmp" => {
                "the compiler made this call of a size that it did not know: give it a constant one, or a loop"
            }
            _ => "link the object that does: bpftool gen object OUT.o ONE.o OTHER.o",
        });
    }
    fault.because(Cause::Object).about("not a usable BPF object").mend("rebuild it with clang -target bpf or aya-ebpf")
}

/// A symbol of the kernel that only /proc/kallsyms could resolve.
pub fn untyped_symbol() -> Fault {
    Fault::new(
        Cause::Object,
        "it asks for the address of a kernel symbol without its type, and the loader may not read /proc/kallsyms",
    )
    .mend("declare the symbol with its type, which BTF resolves: extern const struct NAME symbol __ksym")
}

/// BTF of the kernel or of the object that cannot be had.
pub fn of_btf(error: &BtfError) -> Fault {
    plain(Cause::Kernel, error)
        .about("read the kernel's BTF")
        .mend("ls /sys/kernel/btf/vmlinux; without it give btf = \"FILE\" with this kernel's BTF")
}

/// A map that the kernel would not make.
pub fn of_new_map(name: &str, error: &io::Error, size: Layout) -> Fault {
    let fault = Fault::io(Cause::Map, format!("make map {name}, {size}"), error);
    match fault.errno {
        Some(libc::EPERM | libc::EACCES) => fault.because(Cause::Privilege).mend(PERMISSION),
        Some(libc::EINVAL) if size.max_entries == 0 && size.value_size > 0 => fault.mend(format!("the object leaves its size to its own loader: maps.{name}.max-entries = NUMBER")),
        Some(libc::EINVAL) if size.key_size == 0 || size.value_size == 0 => fault
            .mend("the object leaves the size of its keys or values to its own loader: declare key_size and value_size in its source"),
        Some(libc::ENOMEM | libc::E2BIG) => fault.mend(format!("make it smaller (maps.{name}.max-entries), or raise the memory limit of this unit or container")),
        Some(libc::EINVAL) => fault.mend("this kernel does not take this type, these sizes and flags, or the object's BTF: bpftool prog loadall OBJECT DIRECTORY says more"),
        Some(ENOTSUPP) => fault.mend("these flags do not go with this type of map"),
        _ => fault,
    }
}

/// A target that this kernel's BTF does not know.
pub fn of_no_target(type_name: &str, kind: Kind, target: &str) -> Fault {
    Fault::new(Cause::Kernel, format!("this kernel has no {} to attach a {} program to: {target}", kind.place(), kind.word()))
        .mend(format!("bpftool btf dump file /sys/kernel/btf/vmlinux | grep -w {type_name}; give attach another place, or optional = true"))
}

const PERMISSION: &str = "not a missing capability (the loader holds what it needs): look at \
    /sys/kernel/security/lockdown, at seccomp (a container's profile must allow bpf), and at an LSM: dmesg | tail; before Linux 5.11 also at ulimit -l";

/// A program the kernel did not take.
pub fn of_load(error: &io::Error, log: &str, kind: Kind) -> Fault {
    let errno = error.raw_os_error();
    match (errno, reason(log)) {
        (_, Some(reason)) if let Some(missing) = missing(reason) => Fault::new(Cause::Kernel, missing).with_errno(errno)
            .mend("bpftool btf dump file /sys/kernel/btf/vmlinux shows what there is; optional = true on the program, or another kernel")
            .detail(log),
        (_, Some(reason)) => Fault::new(Cause::Verifier, format!("refused by the verifier: {reason}")).with_errno(errno)
            // bpf_tracing_func_proto() in kernel/trace/bpf_trace.c asks security_locked_down().
            .mend(if reason.contains(" bpf_probe_read") {
                "not every kind of program has it, and lockdown=confidentiality takes it away (cat /sys/kernel/security/lockdown): optional = true, or rebuild it with tp_btf or fentry"
            } else {
                "its log is in the report: bpfboot --json apply, field detail"
            })
            .detail(log),
        // An LSM's EACCES: the verifier's comes with a log.
        (Some(errno @ (libc::EPERM | libc::EACCES)), None) => {
            Fault::os(Cause::Privilege, "the kernel does not let us load it", errno).mend(PERMISSION)
        }
        (Some(libc::E2BIG), None) => Fault::os(Cause::Verifier, "it has more instructions than one load may have", libc::E2BIG)
            .mend("split it with tail calls; the limit is 1,000,000, or 4,096 without CAP_BPF"),
        (Some(libc::EINVAL), None) => {
            Fault::os(Cause::Kernel, format!("this kernel knows no {} programs, or none of this form", kind.word()), libc::EINVAL)
                .mend("optional = true on the program, or a newer kernel")
        }
        (Some(ENOTSUPP), None) => Fault::os(Cause::Kernel, "the JIT cannot compile it, and this kernel has no interpreter", ENOTSUPP)
            .mend("sysctl net.core.bpf_jit_limit; raise it if the loader lacks CAP_BPF"),
        (errno, None) => Fault::new(Cause::Kernel, "load it").with_errno(errno),
    }
}

/// The verifier's last word: the line before its statistics, and before the explanation that 7.3 puts in between.
fn reason(log: &str) -> Option<&str> {
    let log = log.split("\nVerification failed: ").next()?;
    let statistics = ["processed ", "verification time", "stack depth", "peak_states", "max_states", "subprog "];
    log.lines().rev().map(str::trim).find(|line| !line.is_empty() && !statistics.iter().any(|s| line.starts_with(s)))
}

/// What the verifier stumbled over where aya, as libbpf does, left a call that cannot be in place of what it did not find.
fn missing(reason: &str) -> Option<&'static str> {
    missing_call(reason.strip_prefix("invalid func unknown#")?.parse().ok()?)
}

/// The same by the number of the helper that stands there.
pub fn missing_call(number: u32) -> Option<&'static str> {
    const NO_CORE_MATCH: u32 = 0x0bad_2310;
    const NO_KFUNC: u32 = 2_002_000_000;
    match number {
        NO_CORE_MATCH => Some(
            "it reads a kernel type, field or enum value that this kernel does not have (a CO-RE relocation without a match)",
        ),
        NO_KFUNC.. => Some("it calls a kernel function that this kernel does not have (a weak kfunc)"),
        _ => None,
    }
}

/// A program that could not be attached to `target`.
pub fn of_attach(error: &io::Error, kind: Kind, target: &str) -> Fault {
    let (what, errno) = unfold(error);
    let fault = |what: String| Fault::new(Cause::Attach, what).with_errno(errno);
    let separator = if what.is_empty() { "" } else { ": " };
    let plain = || fault(format!("attach to {target}{separator}{what}"));
    match (kind, errno) {
        (Kind::Tracepoint, Some(libc::ENOENT)) if !exists("/sys/kernel/tracing/events") && !exists("/sys/kernel/debug/tracing/events") => {
            fault(format!("tracefs is not mounted, so tracepoint {target} cannot be found")).mend("[mounts] tracefs = true")
        }
        (Kind::Tracepoint, Some(libc::ENOENT)) => fault(format!("this kernel has no tracepoint {target}"))
            .mend(format!("ls /sys/kernel/tracing/events/{}; or optional = true", target.split(':').next().unwrap_or_default())),
        (Kind::RawTracepoint, Some(libc::ENOENT)) => fault(format!("this kernel has no raw tracepoint {target}"))
            .mend(format!("ls -d /sys/kernel/tracing/events/*/{target}; or optional = true")),
        (Kind::Kprobe | Kind::Kretprobe, Some(libc::ENOENT)) if exists(PMUS) && !exists(&format!("{PMUS}/kprobe")) => {
            fault(format!("this kernel cannot probe {target}: it is built without CONFIG_KPROBES"))
                .mend("use a tracepoint, raw_tp or fentry; or optional = true")
        }
        (Kind::Kprobe | Kind::Kretprobe, Some(libc::ENOENT | libc::EADDRNOTAVAIL)) => {
            fault(format!("this kernel has no function {target} that can be probed"))
                .mend(format!("grep -w {target} /proc/kallsyms; or optional = true"))
        }
        (Kind::Uprobe | Kind::Uretprobe, None) => plain()
            .mend("nm -D FILE shows its functions; give attach = { uprobe = \"FILE:FUNCTION\" }, or optional = true"),
        (Kind::Xdp, Some(libc::EOPNOTSUPP | libc::EINVAL)) => {
            fault(format!("the driver of {target} does not take XDP in this mode")).mend("mode = \"generic\", or mode = \"any\"")
        }
        (Kind::Xdp, Some(libc::EBUSY | libc::EEXIST)) => fault(format!("{target} already carries an XDP program")).because(Cause::Busy)
            .mend(format!("ip link show dev {target}; bpftool net show dev {target}")),
        (_, Some(libc::EPERM | libc::EACCES)) => plain().because(Cause::Privilege)
            .mend("sysctl kernel.perf_event_paranoid (a patched kernel's 3 or 4 asks for CAP_SYS_ADMIN); lockdown and LSMs refuse too"),
        (_, Some(libc::E2BIG)) => fault(format!("attach to {target}: too many programs there already"))
            .mend("64 programs fit on one tracepoint or probe, 38 on one trampoline: bpftool link show"),
        _ => plain(),
    }
}

/// Where the kernel shows the kinds of perf event it has.
const PMUS: &str = "/sys/bus/event_source/devices";

fn exists(path: &str) -> bool {
    Path::new(path).exists()
}

/// A pin that could not be made.
pub fn of_pin(error: &io::Error, path: &Path) -> Fault {
    Fault::io(Cause::Pin, format!("pin to {}", path.display()), error).mend(match error.raw_os_error() {
        Some(libc::EEXIST) => "something not ours took that name: rm it, and run again",
        Some(libc::EROFS) => "remount it: mount -o remount,rw /sys/fs/bpf",
        _ => "",
    })
}

/// A link that cannot outlive this process.
pub fn of_unpinnable(target: &str) -> Fault {
    Fault::new(
        Cause::Attach,
        format!("the link to {target} cannot be pinned on this kernel, so it would end with this run; it was detached"),
    )
    .mend("XDP links need Linux 5.9, tracepoint, kprobe and perf links 5.15; or use raw_tp, tp_btf or fentry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_word_is_found() {
        let log =
            "0: R1=ctx() R10=fp0\n0: (79) r0 = *(u64 *)(r1 +0)\nR1 !read_ok\nprocessed 1 insns (limit 1000000)\n\n";
        assert_eq!(reason(log), Some("R1 !read_ok"));
        let newer = "R1 !read_ok\n\nVerification failed: Policy\n\nSuggestion:\n  Do not.\n\nsubprog 0 (peek) main\n";
        assert_eq!(reason(newer), Some("R1 !read_ok"));
        assert_eq!(reason("R1 !read_ok\nsubprog 0 (peek) main\nprocessed 1 insns\n"), Some("R1 !read_ok"));
        assert_eq!(reason(""), None);
    }

    #[test]
    fn what_was_not_found_is_told_from_what_is_wrong() {
        assert!(missing("invalid func unknown#195896080").is_some_and(|what| what.contains("CO-RE")));
        assert!(missing("invalid func unknown#2002000012").is_some_and(|what| what.contains("kfunc")));
        assert_eq!(missing("invalid func unknown#7"), None);
        assert_eq!(missing("R1 !read_ok"), None);
    }

    #[test]
    fn no_word_is_said_twice() {
        let error = BtfError::FileError { path: "x".into(), error: io::Error::other("broken") };
        assert_eq!(unfold(&error).0, "error parsing x: broken");
        assert_eq!(unfold(&ParseError::BtfError(BtfError::InvalidHeader)).0, "BTF error: error parsing BTF header");
    }
}
