//! What aya and the kernel report, told as one fault: the cause's word, the errno, and the line that mends it.

use std::{error::Error, io, path::Path};

use aya_obj::{
    KsymsError, ParseError,
    btf::{BtfError, BtfRelocationError},
};

use super::{kind::Kind, layout::Layout, verdict::Verdict};
use crate::{
    error::{Cause, Fault},
    reason::{Call, Reason},
};

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
        return fault
            .by(Reason::CoRe)
            .mend("CO-RE needs a kernel with CONFIG_DEBUG_INFO_BTF, or btf = \"FILE\" with this kernel's BTF");
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
        .by(Reason::NoBtf)
        .mend("ls /sys/kernel/btf/vmlinux; without it give btf = \"FILE\" with this kernel's BTF")
}

/// A map that the kernel would not make.
pub fn of_new_map(name: &str, error: &io::Error, size: Layout) -> Fault {
    let fault = Fault::io(Cause::Map, format!("make map {name}, {size}"), error);
    match fault.errno {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => fault.because(Cause::Privilege).refused(Call::Map),
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
        .by(Reason::Absent)
        .mend(format!("bpftool btf dump file /sys/kernel/btf/vmlinux | grep -w {type_name}; give attach another place, or optional = true"))
}

/// A program the kernel did not take.
pub fn of_load(error: &io::Error, log: &str, kind: Kind) -> Fault {
    let errno = error.raw_os_error();
    let fault = |cause, what: &str| Fault::new(cause, what).with_errno(errno);
    let kinds = |what: &str| format!("this kernel knows no {} programs, or {what}", kind.word());
    match (errno, Verdict::read(log)) {
        (_, Some(verdict)) => of_verdict(&verdict, kind).with_errno(errno).detail(log),
        // An LSM's EACCES: the verifier's comes with a log.
        (Some(libc::EPERM | libc::EACCES | libc::ENOSYS), None) => {
            fault(Cause::Privilege, &format!("the kernel does not let us load it ({})", kind.word()))
                .refused(Call::Program)
        }
        (Some(libc::E2BIG), None) => {
            fault(Cause::Verifier, "it has more instructions than one load may have").by(Reason::TooLarge)
        }
        (Some(libc::EINVAL), None) => fault(Cause::Kernel, &kinds("none of this form")).by(Reason::ProgramType),
        (Some(ENOTSUPP), None) => {
            fault(Cause::Kernel, "the JIT cannot compile it, and this kernel has no interpreter").by(Reason::Jit)
        }
        (_, None) => fault(Cause::Kernel, "load it"),
    }
}

fn of_verdict(verdict: &Verdict<'_>, kind: Kind) -> Fault {
    if let Some((reason, missing)) = missing(verdict.words) {
        return Fault::new(Cause::Kernel, missing).by(reason);
    }
    // bpf_base_func_proto() in kernel/bpf/helpers.c and bpf_tracing_func_proto() in kernel/trace/bpf_trace.c ask
    // security_locked_down(). The parent knows how far the kernel is locked down.
    let writes = verdict.words.contains(" bpf_probe_write_user") && !kind.needs_net_admin();
    let closed = verdict.words.contains(" bpf_probe_read") || writes;
    let reason = if closed { Reason::Lockdown } else { verdict.reason };
    Fault::new(Cause::Verifier, format!("refused by the verifier: {}", verdict.told())).by(reason)
}

/// What the verifier stumbled over where aya, as libbpf does, left a call that cannot be in place of what it did not find.
fn missing(words: &str) -> Option<(Reason, &'static str)> {
    let number = words.strip_prefix("invalid func unknown#")?.parse().ok()?;
    let reason = if number == NO_CORE_MATCH { Reason::CoRe } else { Reason::Kfunc };
    Some((reason, missing_call(number)?))
}

const NO_CORE_MATCH: u32 = 0x0bad_2310;

/// The same by the number of the helper that stands there.
pub fn missing_call(number: u32) -> Option<&'static str> {
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
        (Kind::Tracepoint, Some(libc::ENOENT))
            if !exists("/sys/kernel/tracing/events") && !exists("/sys/kernel/debug/tracing/events") =>
        {
            fault(format!("tracefs is not mounted, so tracepoint {target} cannot be found"))
                .mend("[mounts] tracefs = true")
        }
        (Kind::Tracepoint, Some(libc::ENOENT)) => {
            fault(format!("this kernel has no tracepoint {target}")).mend(format!(
                "ls /sys/kernel/tracing/events/{}; or optional = true",
                target.split(':').next().unwrap_or_default()
            ))
        }
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
            fault(format!("the driver of {target} does not take XDP in this mode"))
                .by(Reason::Unsupported)
                .mend("mode = \"generic\", or mode = \"any\"")
        }
        (Kind::Xdp, Some(libc::EBUSY | libc::EEXIST)) => fault(format!("{target} already carries an XDP program"))
            .because(Cause::Busy)
            .mend(format!("ip link show dev {target}; bpftool net show dev {target}")),
        (_, Some(libc::EPERM | libc::EACCES)) => plain().because(Cause::Privilege).refused(Call::Attach),
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
    let fault = Fault::io(Cause::Pin, format!("pin to {}", path.display()), error);
    let fault = if fault.errno == Some(libc::EPERM) { fault.refused(Call::Pin) } else { fault };
    fault.mend(match error.raw_os_error() {
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
    fn what_was_not_found_is_told_from_what_is_wrong() {
        assert!(missing("invalid func unknown#195896080").is_some_and(|(_, what)| what.contains("CO-RE")));
        assert!(missing("invalid func unknown#2002000012").is_some_and(|(_, what)| what.contains("kfunc")));
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
