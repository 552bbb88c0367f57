//! One error type for the whole program: what was touched, what was tried, what the kernel said, and what mends it.

use std::fmt;

use crate::{
    reason::{self, Call, Reason},
    texts::Text,
};

/// The stable word for why something failed. Machines match on it, so words are added, never changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// A capability or user id is missing.
    Privilege,
    /// This kernel lacks what the step needs, by version, configuration or lockdown.
    Kernel,
    /// A file system is not mounted, or is not what it should be.
    Mount,
    /// A key under /proc/sys.
    Sysctl,
    /// A file under debugfs or tracefs.
    Knob,
    /// A resource limit.
    Limit,
    /// The object file: unreadable, damaged, or not what the configuration says it is.
    Object,
    /// The kernel's verifier refused a program.
    Verifier,
    /// A map could not be made, reused or filled.
    Map,
    /// A program could not be attached where it was asked to.
    Attach,
    /// The pin directory or a pin in it.
    Pin,
    /// Somebody else holds what we need: the lock, or the hook.
    Busy,
    /// A wait reached its limit.
    Deadline,
    /// The run was stopped from outside.
    Signal,
    /// The command that `run` is to become, or the user it becomes.
    Command,
}

impl Cause {
    /// Every cause, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Privilege,
        Self::Kernel,
        Self::Mount,
        Self::Sysctl,
        Self::Knob,
        Self::Limit,
        Self::Object,
        Self::Verifier,
        Self::Map,
        Self::Attach,
        Self::Pin,
        Self::Busy,
        Self::Deadline,
        Self::Signal,
        Self::Command,
    ];

    /// The word in the report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Privilege => "privilege",
            Self::Kernel => "kernel",
            Self::Mount => "mount",
            Self::Sysctl => "sysctl",
            Self::Knob => "knob",
            Self::Limit => "limit",
            Self::Object => "object",
            Self::Verifier => "verifier",
            Self::Map => "map",
            Self::Attach => "attach",
            Self::Pin => "pin",
            Self::Busy => "busy",
            Self::Deadline => "deadline",
            Self::Signal => "signal",
            Self::Command => "command",
        }
    }

    /// The cause behind a word; the inverse of [`Cause::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.word() == word)
    }
}

/// Something that went wrong, told so that a person can act on it.
///
/// One pointer wide: a `Result` that carries one is moved through every layer, and by value that was a third of the
/// binary.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault(Box<Account>);

/// What a [`Fault`] tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// The stable word.
    pub cause: Cause,
    /// What was tried and how it failed, without the step's own name in front.
    pub what: String,
    /// The kernel's error number, where there was one.
    pub errno: Option<i32>,
    /// One command or configuration line that mends it; empty when there is none.
    pub mend: String,
    /// More than fits on a line: the verifier's log.
    pub detail: String,
    /// The finer word, where somebody said it; [`Fault::reason`] always has one.
    pub reason: Option<Reason>,
    /// The call that was refused, where who refused is still to be found out.
    pub refused: Option<Call>,
}

impl std::ops::Deref for Fault {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.0
    }
}

impl Fault {
    /// A fault that no system call reported.
    #[cold]
    #[inline(never)]
    pub fn new(cause: Cause, what: impl Into<String>) -> Self {
        Self::told(cause, what.into(), None)
    }

    /// A fault that carries a system call's error number.
    #[cold]
    #[inline(never)]
    pub fn os(cause: Cause, what: impl Into<String>, errno: i32) -> Self {
        Self::told(cause, what.into(), Some(errno))
    }

    /// A fault from an [`std::io::Error`].
    #[cold]
    #[inline(never)]
    pub fn io(cause: Cause, what: impl Into<String>, error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::told(cause, what.into(), Some(errno)),
            None => Self::told(cause, format!("{}: {error}", what.into()), None),
        }
    }

    #[cold]
    #[inline(never)]
    fn told(cause: Cause, what: String, errno: Option<i32>) -> Self {
        Self(Box::new(Account {
            cause,
            what,
            errno,
            mend: String::new(),
            detail: String::new(),
            reason: None,
            refused: None,
        }))
    }

    /// Adds the line that mends it.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.0.mend = mend.into();
        self
    }

    /// Adds the long form, such as a verifier log.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Says what it is about: `what` becomes `about: what`.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn about(mut self, about: impl fmt::Display) -> Self {
        self.0.what = format!("{about}: {}", self.0.what);
        self
    }

    /// Says which line of the configuration it comes from.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn configured_at(mut self, origin: &str) -> Self {
        self.0.what = format!("{} (from {origin})", self.0.what);
        self
    }

    /// Says the finer word.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn by(mut self, reason: Reason) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// Says which call was refused without a word.
    #[must_use]
    pub fn refused(mut self, call: Call) -> Self {
        self.0.refused = Some(call);
        self
    }

    /// The same fault, told anew.
    #[must_use]
    pub fn retold(mut self, what: String) -> Self {
        (self.0.what, self.0.refused) = (what, None);
        self
    }

    /// The finer word.
    pub fn reason(&self) -> Reason {
        self.0.reason.unwrap_or_else(|| reason::of(self))
    }

    /// The same fault with another cause's word.
    #[must_use]
    pub fn because(mut self, cause: Cause) -> Self {
        self.0.cause = cause;
        self
    }

    /// The same fault with this error number, if any.
    #[must_use]
    pub fn with_errno(mut self, errno: Option<i32>) -> Self {
        self.0.errno = errno;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(errno) = self.errno {
            write!(f, ": {}", errno_text(errno))?;
        }
        Ok(())
    }
}

/// An errno as people know it, such as `Permission denied (EACCES)`.
///
/// 524 (ENOTSUPP) is the kernel's own and unknown to every libc: BPF returns it for a failed mandatory JIT and for
/// refused flags (include/linux/errno.h).
pub fn errno_text(errno: i32) -> String {
    if errno == 524 {
        return "Operation not supported by the kernel (ENOTSUPP 524)".into();
    }
    // Asm-generic's numbers in their order, a line each: a table of constants would be three times as large.
    let known = usize::try_from(errno).ok().and_then(|errno| Text::Errno.read().lines().nth(errno));
    match known.and_then(|line| line.split_once(' ')) {
        Some((name, text)) => format!("{text} ({name})"),
        None => "Unknown errno (UnknownErrno)".into(),
    }
}

/// `EPERM`, out of `Operation not permitted (EPERM)`.
pub fn errno_name(errno: i32) -> String {
    let text = errno_text(errno);
    let name = text.rsplit('(').next().unwrap_or_default();
    name.trim_end_matches(')').split(' ').next().unwrap_or_default().to_owned()
}

/// The errno behind its number or its name; `None` for what is none.
pub fn errno_of(word: &str) -> Option<i32> {
    let word = word.trim_start_matches('-').to_ascii_uppercase();
    if word == "ENOTSUPP" || word == "524" {
        return Some(524);
    }
    let names = Text::Errno.read().lines().map(|line| line.split(' ').next().unwrap_or_default());
    let at = names.enumerate().find(|(at, name)| !name.is_empty() && (*name == word || at.to_string() == word));
    at.and_then(|(at, _)| i32::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_leads_back_to_its_cause() {
        for cause in Cause::ALL {
            assert_eq!(Cause::from_word(cause.word()), Some(cause));
        }
        assert_eq!(Cause::from_word("nonsense"), None);
    }

    #[test]
    fn the_errno_is_named() {
        let fault = Fault::os(Cause::Sysctl, "write \"5\"", libc::EINVAL);
        assert_eq!(fault.to_string(), "write \"5\": Invalid argument (EINVAL)");
        assert!(errno_text(524).contains("ENOTSUPP"));
    }

    #[test]
    fn every_errno_has_the_words_of_nix() {
        for number in -1..=140 {
            let errno = nix::errno::Errno::from_raw(number);
            assert_eq!(errno_text(number), format!("{} ({errno:?})", errno.desc()));
        }
    }
}
