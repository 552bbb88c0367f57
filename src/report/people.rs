//! The report in words. Pure: text in, text out; what stdout is like comes in as a [`Look`].
//!
//! On a terminal the columns line up; elsewhere a line is `word id: text`, which greps well and does not depend on
//! the lines around it.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use super::{Line, Report, Status};
use crate::{health::Health, step::Must};

/// Lines of a verifier log that people get; the whole log is in the document. The reason stands at its end.
const LOG_LINES: usize = 3;
/// The set phrase for a failure that the run survives.
const GOING_ON: &str = ", going on without it";

/// What the place we print to can take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// Colours.
    pub color: bool,
    /// The width of the id column; `None` where nothing lines up.
    pub column: Option<usize>,
    /// Each line begins with `<n>`, as sd-daemon(3) has it.
    pub journal: bool,
    /// It is a check: OK, WARN and FAIL.
    pub check: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Tint {
    Plain,
    Dim,
    Red,
    Green,
    Yellow,
}

impl Look {
    pub(super) fn paint(self, tint: Tint, text: &str) -> String {
        let code = match tint {
            _ if !self.color => return text.to_owned(),
            Tint::Plain => return text.to_owned(),
            Tint::Dim => "2",
            Tint::Red => "1;31",
            Tint::Green => "32",
            Tint::Yellow => "33",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// One finished line. `text` must be clean already.
    pub(super) fn row(self, out: &mut String, priority: u8, text: fmt::Arguments<'_>) {
        if self.journal {
            put(out, format_args!("<{priority}>"));
        }
        put(out, text);
        out.push('\n');
    }
}

/// Writing to a String cannot fail.
pub(super) fn put(out: &mut String, text: fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// Text that cannot drive a terminal or forge a second log line: control characters become `\x1b`, and so do the marks
/// that turn the direction of text around. A tab becomes a space, since the kernel puts tabs between a sysctl's fields.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => put(&mut out, format_args!("\\x{:02x}", u32::from(c))),
            c if is_unseen(c) => put(&mut out, format_args!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Line separators and the marks that reorder what follows them.
pub(super) const fn is_unseen(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A duration as people read it: `240 us`, `3.2 ms`, `12.3 s`. Whole numbers only: float formatting is 10 KiB of code.
pub fn human(took: Duration) -> String {
    let us = micros(took);
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us / 100 % 10),
        _ => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
    }
}

/// Microseconds, as far as 64 bits go.
pub(super) fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// The word for people: a failure that undoes the run is the only one in capitals, but for a check.
fn mark(line: &Line, check: bool) -> (&'static str, Tint) {
    match (line.status, line.must) {
        (Status::Warn, _) => ("WARN", Tint::Yellow),
        (Status::Already, _) if check => ("OK", Tint::Green),
        (Status::Failed | Status::Drift, Must::Required) if check => ("FAIL", Tint::Red),
        (Status::Drift, Must::BestEffort) if check => ("FAIL", Tint::Red),
        (Status::Failed | Status::Drift, _) if check => ("WARN", Tint::Yellow),
        (Status::Failed, Must::Required) => ("FAILED", Tint::Red),
        (Status::Failed, Must::Optional) => ("failed", Tint::Yellow),
        (Status::Failed, Must::BestEffort) => ("ignored", Tint::Dim),
        (Status::Already | Status::Skipped, _) => (line.status.word(), Tint::Dim),
        (Status::Done, _) => (line.status.word(), Tint::Green),
        (Status::Undone | Status::Drift, _) => (line.status.word(), Tint::Yellow),
        (Status::Planned, _) => (line.status.word(), Tint::Plain),
    }
}

/// What happened to the value, or what went wrong.
fn tale(line: &Line) -> String {
    if let Some(fault) = &line.fault {
        let going_on = if line.must == Must::Required { "" } else { GOING_ON };
        return clean(&format!("{fault}{going_on}"));
    }
    let value = match (line.status, &line.was, &line.now) {
        (Status::Drift, Some(was), Some(now)) => format!("is {was}, planned {now}"),
        (Status::Drift, None, Some(now)) => format!("planned {now}"),
        (Status::Undone, _, Some(now)) => format!("back to {now}"),
        (_, Some(was), Some(now)) => format!("{was} -> {now}"),
        (_, Some(value), None) | (_, None, Some(value)) => value.clone(),
        (_, None, None) => String::new(),
    };
    match (value.is_empty(), line.note.is_empty()) {
        (_, true) => clean(&value),
        (true, false) => clean(&line.note),
        (false, false) => clean(&format!("{value} ({})", line.note)),
    }
}

/// One step, on one line.
pub(super) fn line(out: &mut String, line: &Line, look: Look) {
    let (word, tint) = mark(line, look.check);
    let (id, tale) = (clean(&line.id), tale(line));
    let took = if line.took < Duration::from_millis(1) { String::new() } else { human(line.took) };
    let mut text = String::new();
    if let Some(width) = look.column {
        put(&mut text, format_args!("  {}  {id:width$}  {tale}", look.paint(tint, &format!("{word:7}"))));
        if !took.is_empty() {
            put(&mut text, format_args!("  {}", look.paint(Tint::Dim, &took)));
        }
    } else {
        put(&mut text, format_args!("{word} {id}"));
        if !tale.is_empty() {
            put(&mut text, format_args!(": {tale}"));
        }
        if !took.is_empty() {
            put(&mut text, format_args!(" [{took}]"));
        }
    }
    look.row(out, line.priority(), format_args!("{}", text.trim_end()));
}

/// How many lines came to what, failures first: `1 failed, 12 already, 5 done`.
pub(super) fn tally(lines: &[Line]) -> String {
    const ORDER: [Status; 7] =
        [Status::Drift, Status::Warn, Status::Already, Status::Done, Status::Planned, Status::Undone, Status::Skipped];
    let count = |wanted: &dyn Fn(&Line) -> bool| lines.iter().filter(|line| wanted(line)).count();
    let mut counts = vec![(count(&Line::hurts), Status::Failed.word())];
    counts.extend(ORDER.map(|status| (count(&|line| line.status == status), status.word())));
    counts.push((count(&|line| line.status == Status::Failed && !line.hurts()), "ignored"));
    let counts: Vec<String> =
        counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    if counts.is_empty() { "nothing to do".into() } else { counts.join(", ") }
}

/// The syslog priority of a whole run.
pub(crate) const fn priority(health: Health) -> u8 {
    match health {
        Health::Healthy => 6,
        Health::Degraded | Health::Drift => 4,
        Health::Failed | Health::BadInput | Health::Dirty => 3,
    }
}

pub(super) const fn tint_of(priority: u8) -> Tint {
    match priority {
        3 => Tint::Red,
        4 => Tint::Yellow,
        _ => Tint::Green,
    }
}

/// The whole run on one line, with its priority: `apply: healthy in 3.2 ms: 12 already, 5 done`.
pub(crate) fn headline(report: &Report) -> (u8, String) {
    let (health, took) = (report.health.word(), human(report.took));
    (priority(report.health), format!("{}: {health} in {took}: {}", report.verb, tally(&report.lines)))
}

/// What a reader must know of a line when nothing else is read; `None` when it is as it should be.
pub(crate) fn why(line: &Line) -> Option<String> {
    match (&line.fault, line.status) {
        (Some(fault), _) if line.hurts() => {
            let (cause, reason) = (fault.cause.word(), fault.reason().word());
            let reason = if reason == cause { String::new() } else { format!(": {reason}") };
            Some(format!("{}: {} [{cause}{reason}]", clean(&line.id), tale(line)))
        }
        (None, Status::Failed | Status::Drift) => Some(format!("{}: {}", clean(&line.id), tale(line))),
        _ => None,
    }
}

/// The whole story of a line, a row each: why, the end of the verifier's log, what mends it. Empty where [`why`] is.
pub(crate) fn story(line: &Line) -> Vec<String> {
    let Some(why) = why(line) else { return Vec::new() };
    let mut rows = vec![format!("why:  {why}")];
    let Some(fault) = &line.fault else { return rows };
    let logged: Vec<&str> = fault.detail.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = logged.iter().skip(logged.len().saturating_sub(LOG_LINES));
    rows.extend(last.map(|logged| format!("log:  {}", clean(logged))));
    let kept = line.facts.iter().find(|(name, _)| *name == "log");
    rows.extend(kept.map(|(_, path)| format!("log:  all of it is in {}", clean(path))));
    if !fault.mend.is_empty() {
        rows.push(format!("mend: {}", clean(&fault.mend)));
    }
    rows
}

/// The end of a run: is it up, and if not, why, and what mends it. `told`: the journal has that already, and only the
/// rest is missing.
pub(super) fn summary(out: &mut String, report: &Report, look: Look, quiet: bool, told: bool) {
    let (priority, text) = headline(report);
    let tint = tint_of(priority);
    let health = report.health.word();
    let text = text.replacen(health, &look.paint(tint, health), 1);
    if !told {
        look.row(out, priority, format_args!("bpfboot {text}"));
        for line in &report.lines {
            story(line).iter().for_each(|row| look.row(out, line.priority(), format_args!("  {row}")));
        }
    }
    if report.health == Health::Drift {
        look.row(out, 4, format_args!("  mend: bpfboot apply"));
    }
    for left in &report.leftovers {
        look.row(out, 3, format_args!("  left: {}", clean(left)));
    }
    for note in report.notes.iter().filter(|_| !quiet) {
        look.row(out, 4, format_args!("  note: {}", clean(note)));
    }
}
