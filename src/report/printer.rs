//! The report on stdout. A reader that went away, or a stdout that was never open, is no reason to fail: the exit code
//! is the answer, and it stays right.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    os::linux::fs::MetadataExt,
};

use super::{
    Kept, Line, Report, Status,
    people::{self, Look},
};
use crate::{health::Health, step::Phase};

/// The id column before anybody said how long the ids are.
const COLUMN: usize = 36;
/// A longer id pushes its own line to the right, and not all the others.
const WIDEST_COLUMN: usize = 56;

/// What to print.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Shape {
    /// A line a step, and the summary.
    #[default]
    Lines,
    /// Only the summary, which names the failures.
    Quiet,
    /// One JSON document at the end.
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Everywhere but in the journal.
    Always,
    /// Nowhere.
    Never,
}

impl Color {
    /// Whether an output that is a terminal, or is none, gets colours.
    fn wanted(self, terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && terminal_has_color(),
        }
    }

    /// The same of stdout.
    pub fn on_stdout(self) -> bool {
        self.wanted(io::stdout().is_terminal())
    }
}

/// Which of our outputs systemd connected to the journal.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Journal {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Journal {
    /// Asks `JOURNAL_STREAM`, the device and inode of the journal's socket (systemd.exec(5)). The variable alone proves
    /// nothing: a shell below the service inherits it with its outputs elsewhere.
    pub fn detect() -> Self {
        let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
            return Self::default();
        };
        let is_it = |path| {
            std::fs::metadata(path).is_ok_and(|found| stream == format!("{}:{}", found.st_dev(), found.st_ino()))
        };
        Self { stdout: is_it("/proc/self/fd/1"), stderr: is_it("/proc/self/fd/2") }
    }
}

/// Prints a run while it happens.
#[derive(Debug)]
pub struct Printer {
    shape: Shape,
    /// Whether to leave stdout alone.
    aside: bool,
    look: Look,
}

impl Printer {
    /// A printer for what stdout is, or stderr where the report stands `aside`.
    pub fn new(shape: Shape, color: Color, journal: Journal, verb: &str, aside: bool) -> Self {
        let terminal = if aside { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        let wanted = color.wanted(terminal);
        let look = Look {
            color: wanted && !journal.stdout,
            column: (terminal && !journal.stdout).then_some(COLUMN),
            journal: journal.stdout,
            check: verb == "check",
        };
        Self { shape, aside, look }
    }

    fn say(&self, text: &str) {
        if self.aside { complain(text) } else { say(text) }
    }

    /// Fits the id column to what is coming, before the first line.
    pub fn fit<'a>(&mut self, ids: impl Iterator<Item = &'a str>) {
        if let Some(column) = &mut self.look.column {
            *column = ids.map(|id| id.chars().count()).filter(|n| *n <= WIDEST_COLUMN).max().unwrap_or(COLUMN);
        }
    }

    /// One step, at once.
    pub fn line(&self, line: &Line) {
        if self.shape == Shape::Lines {
            let mut out = String::new();
            people::line(&mut out, line, self.look);
            self.say(&out);
        }
    }

    /// On a terminal, one line that shows that a long wait goes on; an empty text removes it.
    pub fn progress(&self, text: &str) {
        if self.shape == Shape::Lines && self.look.column.is_some() {
            self.say(&format!("\r\x1b[K{}", people::clean(text)));
        }
    }

    /// The end: the summary, or the document. `told`: the journal has the summary already.
    pub fn finish(&self, report: &Report, document: &str, kept: &Kept, told: bool) {
        if self.shape == Shape::Json {
            if let Kept::Lost(note) = kept {
                complain(&format!("bpfboot: {}\n", people::clean(note)));
            }
            return self.say(document);
        }
        let mut out = String::new();
        people::summary(&mut out, report, self.look, self.shape == Shape::Quiet, told);
        let mut row = |priority, text: fmt::Arguments<'_>| self.look.row(&mut out, priority, text);
        match kept {
            Kept::Lost(note) => row(4, format_args!("  note: {}", people::clean(note))),
            Kept::At(path) if self.shape == Shape::Lines => row(6, format_args!("  report: {}", path.display())),
            Kept::At(_) | Kept::Unwanted => {}
        }
        if self.shape == Shape::Lines && *kept != Kept::Unwanted && can_be_taken_back(report) {
            row(6, format_args!("  to take it back: bpfboot undo"));
        }
        self.say(&out);
    }
}

/// A failed run has been taken back already, a look changed nothing, and our own capabilities are gone with us.
fn can_be_taken_back(report: &Report) -> bool {
    matches!(report.verb, "apply" | "run")
        && matches!(report.health, Health::Healthy | Health::Degraded)
        && report.lines.iter().any(|line| line.status == Status::Done && line.phase != Phase::Drop)
}

/// <https://no-color.org>: any value but the empty one.
fn terminal_has_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Prints to stdout; a reader that is gone is not our failure.
pub fn say(text: &str) {
    try_say(text);
}

/// The same, and whether there is still a reader.
pub fn try_say(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Prints to stderr; a reader that is gone is not our failure.
pub fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
