//! What the picture is made of: texts that fit, marks, and words for who points at them.

use std::{fmt, time::Duration};

use super::at;
use crate::{
    health::Health,
    report::{
        Line, Status,
        people::{clean, human, put},
    },
    step::Must,
};

/// Columns of a row that tells a story.
pub(super) const STORY: usize = 144;
/// Marks on the time axis at most.
const TICKS: u64 = 7;

/// How wide a text is in a monospaced font, about: what is not ASCII may be twice as wide.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

/// A text of so many columns at most. What is left out is in its middle: names begin with their kind and end with what
/// tells them apart.
pub(super) fn cut(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    // Half before and half after, as if all were as wide as the widest.
    let chars: Vec<char> = text.chars().collect();
    let keep = (most - 2) * chars.len() / columns(text) / 2;
    let (head, tail) = (chars.iter().take(keep), chars.iter().skip(chars.len() - keep));
    head.chain(&['…']).chain(tail).collect()
}

/// Rows that fit.
pub(super) fn wrapped(text: &str) -> Vec<String> {
    let mut rows = vec![String::new()];
    for word in text.split(' ') {
        let word = cut(word, STORY);
        if let Some(row) = rows.last_mut() {
            if !row.is_empty() && columns(row) + 1 + columns(&word) > STORY {
                rows.push(word);
                continue;
            }
            if !row.is_empty() {
                row.push(' ');
            }
            row.push_str(&word);
        }
    }
    rows
}

/// The class of a mark and its bar.
pub(super) fn class(line: &Line) -> &'static str {
    match (line.status, line.must) {
        (Status::Failed, Must::Optional) => "degraded",
        (Status::Failed, Must::BestEffort) => "ignored",
        (status, _) => status.word(),
    }
}

/// The class of the row of a line, and of a word for the whole run.
pub(super) const fn health_class(health: Health) -> &'static str {
    match health {
        Health::Healthy => "done",
        Health::Degraded | Health::Drift => "degraded",
        Health::Failed | Health::BadInput | Health::Dirty => "failed",
    }
}

/// The shape of a mark, so that colours need not be told apart.
pub(super) const fn shape(status: Status) -> &'static str {
    match status {
        Status::Done => "M-4 0L-1 3L4 -3",
        Status::Already => "M-3 -1.5H3M-3 2H3",
        Status::Skipped => "M-3 0H3",
        Status::Failed => "M-3.5 -3.5L3.5 3.5M3.5 -3.5L-3.5 3.5",
        Status::Undone => "M4 0H-4L-1 -3M-4 0L-1 3",
        Status::Planned => "M-3 -4L4 0L-3 4Z",
        Status::Drift => "M0 -4L4 3H-4Z",
        Status::Warn => "M0 -4V1M0 4V4.1",
    }
}

/// What a row says when it is pointed at.
pub(super) fn tip(line: &Line) -> String {
    let mut tip = format!("{} {}\nat {}", line.status.word(), line.id, human(at(line)));
    if line.took > Duration::ZERO {
        put(&mut tip, format_args!(", took {}", human(line.took)));
    }
    let mut row = |name: &str, text: &str| {
        if !text.is_empty() {
            put(&mut tip, format_args!("\n{name}{text}"));
        }
    };
    row("was: ", line.was.as_deref().unwrap_or_default());
    row("now: ", line.now.as_deref().unwrap_or_default());
    row("", &line.note);
    if let Some(fault) = &line.fault {
        row("", &fault.to_string());
        row("mend: ", &fault.mend);
    }
    tip.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// The distance of the marks on an axis so long, both in microseconds: 1, 2 or 5 with zeroes.
pub(super) fn tick(end: u64) -> u64 {
    let mut step = 1;
    while end / step > TICKS {
        // From 1 to 2, from 2 to 5, from 5 to 10.
        let first = step / 10_u64.pow(step.ilog10());
        step = if first == 2 { step / 2 * 5 } else { step * 2 };
    }
    step
}

/// A text where XML has a text or an attribute. What `clean` lets through and XML does not know is left out.
pub(super) struct Xml<'a>(pub &'a str);

impl fmt::Display for Xml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => Ok(()),
            c => write!(f, "{c}"),
        })
    }
}
