//! What a run says: one line a step for people, one JSON document for machines, and the same document in /run.
//!
//! This file holds the types and knows no output. `people` words them, `printer` puts the words on stdout, `json`
//! makes the document, `store` keeps it, `told` reads it back, `picture` draws it. Nothing in here looks at the kernel,
//! and nothing in here can fail a run.

mod clock;
mod event;
mod json;
mod metrics;
mod people;
#[cfg(feature = "workbench")]
mod picture;
mod printer;
mod read;
mod seen;
mod store;
#[cfg(feature = "workbench")]
mod told;

use std::time::Duration;

use crate::{
    error::Fault,
    health::{Exit, Health},
    step::{Must, Outcome, Phase, Step, Verdict},
};

pub use clock::utc;
pub use event::{KINDS, account, event, kind as event_kind};
#[cfg(feature = "workbench")]
pub use json::fault;
pub use json::{Object, document, list, quoted};
pub use metrics::textfile;
pub use people::clean;
pub(crate) use people::{headline, story, why};
#[cfg(feature = "workbench")]
pub use picture::picture;
pub use printer::{Color, Journal, Printer, Shape, complain, say, try_say};
pub use read::Json;
pub use seen::{seen, seen_document};
pub use store::{Kept, PATH, replace, store, store_again, store_log, store_open};
#[cfg(feature = "workbench")]
pub use told::told;

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
    /// `check`: as planned, and somebody should know something about it.
    Warn,
}

impl Status {
    /// All.
    pub const ALL: [Self; 8] =
        [Self::Already, Self::Done, Self::Skipped, Self::Failed, Self::Undone, Self::Planned, Self::Drift, Self::Warn];

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
            Self::Warn => "warn",
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
    /// When it began, counted from the beginning of the run; `None` until it is said, and in a report of before 0.2.
    pub at: Option<Duration>,
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
            at: None,
            took: Duration::ZERO,
            facts: Vec::new(),
        }
    }

    /// The line of a step, which has failed until something better is said.
    fn of_step(step: &Step) -> Self {
        let mut line = Self::new(step.id.as_str(), step.phase, step.must, Status::Failed);
        if !step.origin.is_empty() {
            line.facts.push(("from", step.origin.clone()));
        }
        line
    }

    /// The line of a step that ran.
    pub fn of_outcome(step: &Step, outcome: Outcome, took: Duration) -> Self {
        let mut line = Self::of_step(step);
        line.took = took;
        (line.status, line.now) = match outcome {
            Outcome::Already { is } => (Status::Already, Some(is)),
            Outcome::Done { was, now, note } => {
                (line.was, line.note) = (was, note);
                (Status::Done, Some(now))
            }
            Outcome::Skipped { why } => {
                line.note = why;
                (Status::Skipped, None)
            }
            Outcome::Failed(fault) => {
                line.fault = Some(fault);
                (Status::Failed, None)
            }
        };
        line
    }

    /// The line of a step that was only looked at. `change` is what a needed write counts as: [`Status::Planned`] in a
    /// dry run, [`Status::Drift`] in a check.
    pub fn of_verdict(step: &Step, verdict: Verdict, change: Status) -> Self {
        let mut line = Self::of_step(step);
        (line.status, line.now) = match verdict {
            Verdict::Already { is } => (Status::Already, Some(is)),
            Verdict::Change { was, now } => {
                line.was = was;
                if change == Status::Planned {
                    line.note.clone_from(&step.why);
                }
                (change, Some(now))
            }
            Verdict::Skip { why } => {
                line.note = why;
                (Status::Skipped, None)
            }
            Verdict::Blocked(fault) => {
                line.fault = Some(fault);
                (Status::Failed, None)
            }
        };
        line
    }

    /// Whether the run fails, or is degraded, because of this line. A best-effort step that failed does neither.
    pub fn hurts(&self) -> bool {
        self.status == Status::Failed && self.must != Must::BestEffort
    }

    /// The syslog priority (syslog(3)): 3 error, 4 warning, 6 information.
    pub fn priority(&self) -> u8 {
        match (self.status, self.must) {
            (Status::Failed, Must::Required) => 3,
            (Status::Failed | Status::Drift | Status::Warn, _) => 4,
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
    /// What the process ends with; `None` where it becomes a command.
    pub exit: Option<Exit>,
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
    /// When it began, as RFC 3339 has it: `2026-11-26T14:44:44.123Z`.
    pub began: String,
    /// The whole run.
    pub took: Duration,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
