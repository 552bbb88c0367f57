//! What an object is and takes, found without loading it: `bpfboot inspect`. With the kernel's word beside it, where
//! that is asked for.
//!
//! ```text
//! source -> elf, job -> aya-obj: linked instructions -> walk, stack, calls, tail -> Inspection
//!                                                    -> verdict (--load): the verifier's own figures
//! ```

mod ask;
mod call;
mod calls;
mod fastcall;
mod gpl;
mod helpers;
mod look;
mod needs;
mod stack;
mod state;
mod tail;
mod value;
mod verdict;
mod warnings;

pub use calls::STACK_MAX;
pub use look::inspect;
#[cfg(any(test, fuzzing))]
pub use look::inspect_bytes;
pub use needs::{Since, few};
pub use tail::{Jump, Way};
pub use verdict::Verdict;
pub use warnings::Warning;

use crate::error::Fault;

/// An object, inspected.
#[derive(Debug, Default)]
pub struct Inspection {
    /// SHA-256 of the file.
    pub sha256: String,
    /// Bytes of the file.
    pub bytes: usize,
    /// Its licence, as it stands there.
    pub license: String,
    /// Whether the kernel takes the licence for one that GPL-only helpers may be used under.
    pub gpl: bool,
    /// Whether it has BTF of its own.
    pub typed: bool,
    /// Its CO-RE relocations.
    pub relocations: usize,
    /// Why it cannot be loaded on a kernel without BTF; empty when it can.
    pub kernel_btf: Vec<String>,
    /// Its programs, in the order of the file.
    pub programs: Vec<Program>,
    /// Its maps and their layouts.
    pub maps: Vec<(String, String)>,
    /// Its global variables and their bytes.
    pub globals: Vec<(String, u64)>,
    /// What each part of it needs of the kernel's version, the newest first.
    pub since: Vec<Since>,
    /// The capabilities that loading it takes since 5.8, and why.
    pub capabilities: Vec<(&'static str, String)>,
    /// What is wrong, or will be.
    pub warnings: Vec<Warning>,
}

/// A program of it.
#[derive(Debug, Default)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its ELF section, as written.
    pub section: String,
    /// Its kind.
    pub kind: &'static str,
    /// Instructions that the kernel is given, those of its subprograms among them.
    pub instructions: usize,
    /// The program's own function, and those that it calls.
    pub subprograms: Vec<Subprogram>,
    /// Chains of calls by name, with the bytes of their stack, the deepest first.
    pub chains: Vec<(Vec<String>, u32)>,
    /// Its stack could not be followed to the end: the true figures may be greater.
    pub vague: bool,
    /// Where it jumps to other programs.
    pub jumps: Vec<Jump>,
    /// Its longest way of such jumps.
    pub way: Way,
    /// The helpers that it calls.
    pub helpers: Vec<String>,
    /// The kernel functions that it calls.
    pub functions: Vec<String>,
    /// The maps that it uses.
    pub maps: Vec<String>,
    /// What the verifier says, when it was asked.
    pub verdict: Option<Result<Verdict, Fault>>,
}

/// A function of a program.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subprogram {
    /// Its name, or where it begins.
    pub name: String,
    /// Its instructions.
    pub instructions: usize,
    /// Bytes of its stack; `None`: it is never reached, and the verifier takes it out.
    pub stack: Option<u32>,
}

impl Inspection {
    /// Whether a kernel would refuse it, or did.
    pub fn is_refused(&self) -> bool {
        let refused = |program: &Program| matches!(program.verdict, Some(Err(_)));
        self.warnings.iter().any(|warning| warning.refuses) || self.programs.iter().any(refused)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
