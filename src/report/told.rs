//! A report read back from its document.

use std::time::Duration;

use super::{
    Line, Report, Status,
    value::{Value, parse},
};
use crate::{
    error::{Cause, Fault},
    health::Health,
    step::{Must, Phase},
};

/// The report in a document, and the version of bpfboot that wrote it.
///
/// # Errors
/// Why it is none.
pub fn read(document: &str) -> Result<(Report, String), String> {
    let value = parse(document)?;
    let report = Node { value: &value, place: "the document" };
    let steps = report.get("steps")?.list()?;
    let told = Report {
        verb: report.get("verb")?.text()?.to_owned().leak(),
        health: report.get("health")?.word(
            &[Health::Healthy, Health::Failed, Health::BadInput, Health::Degraded, Health::Dirty, Health::Drift],
            Health::word,
        )?,
        exit: None,
        lines: steps.iter().map(|step| line(Node { value: step, place: "a step" })).collect::<Result<_, _>>()?,
        notes: report.get("notes")?.texts()?,
        leftovers: report.get("leftovers")?.texts()?,
        sources: report.get("sources")?.texts()?,
        release: report.get("kernel")?.text()?.to_owned(),
        began: report.get("began").and_then(Node::text).unwrap_or_default().to_owned(),
        took: report.get("took_us")?.micros()?,
    };
    Ok((told, report.get("bpfboot")?.text()?.to_owned()))
}

fn line(step: Node<'_>) -> Result<Line, String> {
    let id = step.get("id")?.text()?;
    let step = Node { place: id, ..step };
    let facts = match step.get("facts")?.value {
        Value::Object(facts) => facts.iter().filter_map(|(name, value)| match value {
            Value::Text(value) => Some((&*name.clone().leak(), value.clone())),
            _ => None,
        }),
        _ => return Err(step.odd("facts")),
    };
    Ok(Line {
        was: step.get("was")?.some(Node::text)?.map(str::to_owned),
        now: step.get("now")?.some(Node::text)?.map(str::to_owned),
        note: step.get("note")?.text()?.to_owned(),
        fault: step.get("fault")?.some(fault)?,
        // Reports of an earlier bpfboot do not have it.
        at: step.get("at_us").and_then(|at| at.some(Node::micros)).unwrap_or_default(),
        took: step.get("took_us")?.micros()?,
        facts: facts.collect(),
        ..Line::new(
            id,
            step.get("phase")?.word(&Phase::ALL, Phase::word)?,
            step.get("must")?.word(&[Must::Required, Must::Optional, Must::BestEffort], Must::word)?,
            step.get("status")?.word(&Status::ALL, Status::word)?,
        )
    })
}

fn fault(fault: Node<'_>) -> Result<Fault, String> {
    let errno = fault.get("errno")?.some(Node::number)?.and_then(|errno| i32::try_from(errno).ok());
    let cause = fault.get("cause")?.word(&Cause::ALL, Cause::word)?;
    let told = Fault::new(cause, fault.get("what")?.text()?).with_errno(errno);
    Ok(told.mend(fault.get("mend")?.text()?).detail(fault.get("detail")?.text()?))
}

/// A value, and where it was found.
#[derive(Clone, Copy)]
struct Node<'a> {
    value: &'a Value,
    place: &'a str,
}

impl<'a> Node<'a> {
    fn odd(self, what: &str) -> String {
        format!("{}: {what} is missing, or is not what this bpfboot writes", self.place)
    }

    fn get(self, name: &'a str) -> Result<Self, String> {
        let Value::Object(members) = self.value else { return Err(self.odd(name)) };
        let found = members.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| Node { value, place: name }).ok_or_else(|| self.odd(name))
    }

    /// What is not `null`.
    fn some<T>(self, read: impl FnOnce(Self) -> Result<T, String>) -> Result<Option<T>, String> {
        if *self.value == Value::Word("null") { Ok(None) } else { read(self).map(Some) }
    }

    fn text(self) -> Result<&'a str, String> {
        if let Value::Text(text) = self.value { Ok(text) } else { Err(self.odd("a text")) }
    }

    fn number(self) -> Result<i64, String> {
        if let Value::Number(number) = self.value { Ok(*number) } else { Err(self.odd("a number")) }
    }

    fn micros(self) -> Result<Duration, String> {
        u64::try_from(self.number()?).map(Duration::from_micros).map_err(|_| self.odd("a time"))
    }

    fn list(self) -> Result<&'a [Value], String> {
        if let Value::List(list) = self.value { Ok(list) } else { Err(self.odd("a list")) }
    }

    fn texts(self) -> Result<Vec<String>, String> {
        let texts = self.list()?.iter().map(|value| Node { value, ..self }.text().map(str::to_owned));
        texts.collect()
    }

    fn word<T: Copy>(self, known: &[T], word: impl Fn(T) -> &'static str) -> Result<T, String> {
        let text = self.text()?;
        known.iter().copied().find(|known| word(*known) == text).ok_or_else(|| self.odd(text))
    }
}
