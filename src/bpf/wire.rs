//! What the loader child says to its parent: one line an event on a pipe, fields split by tabs, everything escaped.

use std::time::{Duration, Instant};

use crate::{
    error::{Cause, Fault},
    fields::{join, split},
    reason::{Call, Reason},
};

/// When something was done, in whole microseconds on the wire.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Span {
    /// How long after the run began.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
}

impl Span {
    /// What began at `start` and ends now, in a run that began at `began`: both processes read one clock,
    /// CLOCK_MONOTONIC.
    pub fn since(began: Instant, start: Instant) -> Self {
        Self::of(began, start, start.elapsed())
    }

    /// The same of what took so long.
    pub fn of(began: Instant, start: Instant, took: Duration) -> Self {
        Self { at: start.saturating_duration_since(began), took }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The child turned to this item; if it dies now, that is the item it died of.
    Begin(String),
    /// An item is there.
    Done {
        /// `program edge/xdp_main`
        id: String,
        /// What it is, for people: `id 57, tag 3b185187f1855c4c`.
        now: String,
        /// What the reader should know besides; may be empty.
        note: String,
        /// When.
        span: Span,
        /// Named facts for machines.
        facts: Vec<(String, String)>,
    },
    /// An item was not needed.
    Skipped {
        /// The item.
        id: String,
        /// Why.
        why: String,
    },
    /// An item failed.
    Failed {
        /// The item.
        id: String,
        /// Whether the plan calls it optional.
        optional: bool,
        /// When.
        span: Span,
        /// How.
        fault: Fault,
    },
    /// The child did all it had to do.
    End,
}

impl Event {
    /// The line, its newline included.
    pub fn line(&self) -> String {
        let micros = |time: Duration| time.as_micros().to_string();
        let fields: Vec<String> = match self {
            Self::Begin(id) => vec!["begin".into(), id.clone()],
            Self::Done { id, now, note, span, facts } => {
                let mut fields = vec!["done".into(), id.clone(), now.clone(), note.clone()];
                fields.extend([micros(span.at), micros(span.took)]);
                fields.extend(facts.iter().flat_map(|(name, value)| [name.clone(), value.clone()]));
                fields
            }
            Self::Skipped { id, why } => vec!["skipped".into(), id.clone(), why.clone()],
            Self::Failed { id, optional, span, fault } => vec![
                "failed".into(),
                id.clone(),
                optional.to_string(),
                micros(span.at),
                micros(span.took),
                fault.cause.word().into(),
                fault.what.clone(),
                fault.errno.map_or_else(String::new, |errno| errno.to_string()),
                fault.mend.clone(),
                fault.detail.clone(),
                fault.reason.map_or("", Reason::word).into(),
                fault.refused.map_or("", Call::word).into(),
            ],
            Self::End => vec!["end".into()],
        };
        join(&fields)
    }

    /// The event behind a line; `None` for a line that no honest child writes.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = split(line)?.into_iter();
        let mut next = || fields.next();
        let span = |at: String, took: String| {
            let micros = |text: String| text.parse().ok().map(Duration::from_micros);
            Some(Span { at: micros(at)?, took: micros(took)? })
        };
        let event = match next()?.as_str() {
            "begin" => Self::Begin(next()?),
            "done" => {
                let (id, now, note, span) = (next()?, next()?, next()?, span(next()?, next()?)?);
                let mut facts = Vec::new();
                while let Some(name) = next() {
                    facts.push((name, next()?));
                }
                Self::Done { id, now, note, span, facts }
            }
            "skipped" => Self::Skipped { id: next()?, why: next()? },
            "failed" => Self::Failed {
                id: next()?,
                optional: next()?.parse().ok()?,
                span: span(next()?, next()?)?,
                fault: {
                    let fault = Fault::new(Cause::from_word(&next()?)?, next()?);
                    let errno = match next()?.as_str() {
                        "" => None,
                        errno => Some(errno.parse().ok()?),
                    };
                    let mut fault = fault.with_errno(errno).mend(next()?).detail(next()?);
                    let word = next()?;
                    if !word.is_empty() {
                        fault = fault.by(Reason::from_word(&word)?);
                    }
                    match next()?.as_str() {
                        "" => fault,
                        call => fault.refused(Call::from_word(call)?),
                    }
                },
            },
            "end" => Self::End,
            _ => return None,
        };
        next().is_none().then_some(event)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_back() {
        let fault =
            Fault::os(Cause::Verifier, "tab\there", 13).mend("a\nb").detail("\\log\\\n0: (b7)\t").by(Reason::Stack);
        for event in [
            Event::Begin("object a\tb".into()),
            Event::Done {
                id: "map x".into(),
                now: String::new(),
                note: "\\".into(),
                span: Span { at: Duration::from_micros(9), took: Duration::from_micros(7) },
                facts: vec![("id".into(), "5".into())],
            },
            Event::Skipped { id: "i".into(), why: "w".into() },
            Event::Failed { id: "i".into(), optional: true, span: Span::default(), fault },
            Event::End,
        ] {
            let line = event.line();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Event::parse(line.trim_end_matches('\n')), Some(event));
        }
    }

    #[test]
    fn a_line_from_nowhere_is_refused() {
        for line in [
            "",
            "begin",
            "done\ta",
            "failed\tx\ttrue\t1\t1\tno-cause\tw\t\t\t\t\t",
            "end\tx",
            "skipped\ta\tb\\q",
            "nonsense",
        ] {
            assert_eq!(Event::parse(line), None, "{line:?}");
        }
    }
}
