//! What a run says: one line a step for people, one JSON document for machines, and the same document in /run.
//!
//! This file holds the types and knows no output. `people` words them, `printer` puts the words on stdout, `json`
//! makes the document, `store` keeps it. Nothing in here looks at the kernel, and nothing in here can fail a run.

mod json;
mod people;
mod printer;
mod store;

use std::time::Duration;

use crate::{
    error::Fault,
    health::Health,
    step::{Must, Outcome, Phase, Step, Verdict},
};

pub use json::document;
pub use people::{clean, human};
pub(crate) use people::{headline, why};
pub use printer::{Color, Journal, Printer, Shape, complain, say};
pub use store::{Kept, PATH, store};

/// What became of one step, or what a look at the kernel says of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// The kernel was already as planned.
    Already,
    /// Changed, and read back.
    Done,
    /// Not needed here.
    Skipped,
    /// It failed.
    Failed,
    /// It had been done, and was put back because the run failed.
    Undone,
    /// `apply --dry-run`: it would be done.
    Planned,
    /// `check`: the kernel is not as planned.
    Drift,
}

impl Status {
    /// The word in the report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Already => "already",
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Undone => "undone",
            Self::Planned => "planned",
            Self::Drift => "drift",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is about: `sysctl net.core.bpf_jit_enable`, `program edge/xdp_main`.
    pub id: String,
    /// Its phase.
    pub phase: Phase,
    /// How much depends on it.
    pub must: Must,
    /// What became of it.
    pub status: Status,
    /// The value before, where there is one.
    pub was: Option<String>,
    /// The value after, or the value found.
    pub now: Option<String>,
    /// What the reader should know besides: why it was skipped, why it exists, a clamp. May be empty.
    pub note: String,
    /// What went wrong.
    pub fault: Option<Fault>,
    /// How long it took; zero when nothing was measured.
    pub took: Duration,
    /// Named facts for machines, such as a program's id and tag.
    pub facts: Vec<(&'static str, String)>,
}

impl Line {
    /// A line about `id` with nothing else said yet.
    pub fn new(id: impl Into<String>, phase: Phase, must: Must, status: Status) -> Self {
        Self {
            id: id.into(),
            phase,
            must,
            status,
            was: None,
            now: None,
            note: String::new(),
            fault: None,
            took: Duration::ZERO,
            facts: Vec::new(),
        }
    }

    /// The line of a step that ran.
    pub fn of_outcome(step: &Step, outcome: Outcome, took: Duration) -> Self {
        let line = Self { took, ..Self::new(step.id.as_str(), step.phase, step.must, Status::Failed) };
        match outcome {
            Outcome::Already { is } => Self { status: Status::Already, now: Some(is), ..line },
            Outcome::Done { was, now, note } => Self { status: Status::Done, was, now: Some(now), note, ..line },
            Outcome::Skipped { why } => Self { status: Status::Skipped, note: why, ..line },
            Outcome::Failed(fault) => Self { fault: Some(fault), ..line },
            Outcome::Undone { to } => Self { status: Status::Undone, now: Some(to), ..line },
        }
    }

    /// The line of a step that was only looked at. `change` is what a needed write counts as: [`Status::Planned`] in a
    /// dry run, [`Status::Drift`] in a check.
    pub fn of_verdict(step: &Step, verdict: Verdict, change: Status) -> Self {
        let line = Self::new(step.id.as_str(), step.phase, step.must, Status::Failed);
        match verdict {
            Verdict::Already { is } => Self { status: Status::Already, now: Some(is), ..line },
            Verdict::Change { was, now } => {
                let note = if change == Status::Planned { step.why.clone() } else { String::new() };
                Self { status: change, was, now: Some(now), note, ..line }
            }
            Verdict::Skip { why } => Self { status: Status::Skipped, note: why, ..line },
            Verdict::Blocked(fault) => Self { fault: Some(fault), ..line },
        }
    }

    /// Whether the run fails, or is degraded, because of this line. A best-effort step that failed does neither.
    pub fn hurts(&self) -> bool {
        self.status == Status::Failed && self.must != Must::BestEffort
    }

    /// The syslog priority (syslog(3)): 3 error, 4 warning, 6 information.
    pub fn priority(&self) -> u8 {
        match (self.status, self.must) {
            (Status::Failed, Must::Required) => 3,
            (Status::Failed | Status::Drift, _) => 4,
            _ => 6,
        }
    }
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The verb: `apply`, `check`, `undo`…
    pub verb: &'static str,
    /// What it came to.
    pub health: Health,
    /// Its lines, in the order of the plan.
    pub lines: Vec<Line>,
    /// What concerns the whole run: overridden keys, a private mount namespace.
    pub notes: Vec<String>,
    /// What an incomplete undo left behind, each with the command that mends it.
    pub leftovers: Vec<String>,
    /// Which configuration files were read.
    pub sources: Vec<String>,
    /// `uname -r`.
    pub release: String,
    /// The whole run.
    pub took: Duration,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
