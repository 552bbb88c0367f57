//! The finer word beside a cause: what exactly refused, or what exactly is missing. `knowledge.txt` tells each in full.

use crate::error::{Account, Cause};

macro_rules! words {
    ($(#[$about:meta])* $kind:ident: $($(#[$doc:meta])* $name:ident $word:literal,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $kind {
            $($(#[$doc])* $name,)*
        }

        impl $kind {
            /// Every one, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its word, which is a promise to machines: words are added, never changed.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// The one behind a word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.word() == word)
            }
        }
    };
}

words! {
    /// Why something failed, finer than its [`Cause`].
    Reason:
    /// A capability is not held.
    Capability "capability",
    /// The file's mode leaves it to another user.
    User "user",
    /// A capability of a user namespace does not count there.
    UserNamespace "user-namespace",
    /// The bpffs of a user namespace does not delegate it.
    Delegation "delegation",
    /// Another network namespace has it.
    NetworkNamespace "network-namespace",
    /// A seccomp filter over this process refuses the system call.
    Seccomp "seccomp",
    /// The kernel is locked down.
    Lockdown "lockdown",
    /// A security module, or another policy of this kernel.
    Lsm "lsm",
    /// A one-way value is set.
    Latch "latch",
    /// We refused a one-way value.
    Irreversible "irreversible",
    /// We refused a value that weakens the machine.
    Insecure "insecure",
    /// RLIMIT_MEMLOCK, before 5.11.
    Memlock "memlock",
    /// net.core.bpf_jit_limit is reached.
    JitLimit "jit-limit",
    /// kernel.perf_event_paranoid.
    Paranoid "paranoid",
    /// A file system is mounted read-only.
    ReadOnly "read-only",
    /// A file is not trusted, because others can write it.
    Trust "trust",
    /// Over 512 bytes of stack in one function.
    Stack "stack",
    /// Over 512 bytes of stack in a chain of calls.
    CallChain "call-chain",
    /// More than eight frames of calls.
    CallDepth "call-depth",
    /// A loop without a bound that can be proven.
    Loop "loop",
    /// What a lookup gave is used without a look whether it is NULL.
    NullCheck "null-check",
    /// A packet is read beyond what was compared with its end.
    PacketBounds "packet-bounds",
    /// A map's value, or other memory, is used beyond its size.
    Bounds "bounds",
    /// More paths than the verifier walks.
    Complexity "complexity",
    /// A field of the context that there is not, or not for this.
    Context "context",
    /// A register or stack slot is read before it is written.
    Uninitialised "uninitialised",
    /// A helper for free software only.
    Licence "licence",
    /// A helper that this kernel, or this kind of program, does not have.
    Helper "helper",
    /// A tail call under a caller with a large stack.
    TailCall "tail-call",
    /// A number is used as a pointer.
    Pointer "pointer",
    /// A reference is not given back.
    Reference "reference",
    /// A helper gets an argument of another type.
    Argument "argument",
    /// The program ends with a value that its hook does not take.
    ReturnValue "return-value",
    /// Code that the verifier can make nothing of.
    Malformed "malformed",
    /// A CO-RE relocation found nothing in this kernel.
    CoRe "co-re",
    /// A kernel function that this kernel does not have.
    Kfunc "kfunc",
    /// Something else that the verifier says.
    Verifier "verifier",
    /// A kind of program that this kernel does not know.
    ProgramType "program-type",
    /// More instructions than one load takes.
    TooLarge "too-large",
    /// The JIT did not compile it.
    Jit "jit",
    /// The kernel has no BTF.
    NoBtf "no-btf",
    /// The object file cannot be used.
    ObjectFile "object-file",
    /// What was asked for is not here.
    Absent "absent",
    /// A file system is not mounted.
    NotMounted "not-mounted",
    /// The kernel does not take the value or the argument.
    Invalid "invalid",
    /// This kernel or driver cannot do that.
    Unsupported "unsupported",
    /// No memory.
    Memory "memory",
    /// A file system is full, or a log too small.
    Space "space",
    /// A limit on how many is reached.
    TooMany "too-many",
    /// Somebody else holds it.
    Busy "busy",
    /// The name is taken.
    Exists "exists",
    /// What is pinned has another form than what is wanted.
    Layout "layout",
    /// Too slow.
    Deadline "deadline",
    /// Stopped from outside.
    Signal "signal",
    /// The loader died.
    Died "died",
    /// The command of `run`.
    Command "command",
    /// Nothing finer is known.
    Other "other",
}

words! {
    /// A call that was refused without a word, so that who refused must still be found out.
    Call:
    /// BPF_MAP_CREATE.
    Map "map",
    /// BPF_PROG_LOAD.
    Program "program",
    /// BPF_OBJ_PIN.
    Pin "pin",
    /// Whatever attaches.
    Attach "attach",
    /// Mount(2).
    Mount "mount",
}

/// The reason that lies in a cause and an error number, where nobody said a finer one.
pub fn of(account: &Account) -> Reason {
    let by_errno = match account.errno {
        Some(libc::EROFS) => Reason::ReadOnly,
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ESRCH) => Reason::Absent,
        Some(libc::EINVAL | libc::ERANGE | libc::EFAULT) => Reason::Invalid,
        Some(libc::EOPNOTSUPP | libc::ENOSYS | 524) => Reason::Unsupported,
        Some(libc::ENOMEM) => Reason::Memory,
        Some(libc::ENOSPC | libc::EDQUOT) => Reason::Space,
        Some(libc::E2BIG | libc::EMFILE | libc::ENFILE) => Reason::TooMany,
        Some(libc::EBUSY | libc::ETXTBSY | libc::EAGAIN) => Reason::Busy,
        Some(libc::EEXIST) => Reason::Exists,
        Some(libc::EACCES) => Reason::User,
        Some(libc::EPERM) => Reason::Lsm,
        _ => Reason::Other,
    };
    match account.cause {
        Cause::Verifier => Reason::Verifier,
        Cause::Deadline => Reason::Deadline,
        Cause::Signal => Reason::Signal,
        Cause::Busy => Reason::Busy,
        Cause::Object if account.errno.is_none() => Reason::ObjectFile,
        Cause::Privilege if account.errno.is_none() => Reason::Capability,
        Cause::Mount if matches!(by_errno, Reason::Other | Reason::Absent) => Reason::NotMounted,
        Cause::Sysctl | Cause::Knob if account.errno.is_none() => Reason::Invalid,
        Cause::Map if account.errno.is_none() => Reason::Invalid,
        Cause::Kernel if account.errno.is_none() => Reason::Unsupported,
        Cause::Command if by_errno == Reason::Other => Reason::Command,
        _ => by_errno,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_leads_back_to_its_reason() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_word(reason.word()), Some(*reason));
        }
        assert_eq!(Reason::from_word("nonsense"), None);
    }
}
