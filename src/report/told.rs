//! A report read back from its document.

use std::time::Duration;

use super::{Line, Report, Status, read::Json};
use crate::{
    error::{Cause, Fault},
    health::Health,
    reason::Reason,
    step::{Must, Phase},
};

/// The report in a document, and the version of bpfboot that wrote it.
///
/// # Errors
/// Why it is none.
pub fn told(document: &str) -> Result<(Report, String), String> {
    let value = Json::parse(document).ok_or("it is not as JSON has it")?;
    let report = Node(&value);
    let Some(Json::List(steps)) = report.get("steps").map(|steps| steps.0) else {
        return Err("it has no steps".into());
    };
    let mut lines = Vec::new();
    for (nth, step) in (1..).zip(steps) {
        let odd = || format!("its step {nth} is not what this bpfboot writes");
        lines.push(line(Node(step)).ok_or_else(odd)?);
    }
    run(report, lines).ok_or_else(|| "it is not what this bpfboot writes".into())
}

fn run(report: Node<'_>, lines: Vec<Line>) -> Option<(Report, String)> {
    let run = Report {
        verb: report.text("verb")?.leak(),
        health: report.one_of("health", &Health::ALL, Health::word)?,
        exit: None,
        lines,
        notes: report.texts("notes")?,
        leftovers: report.texts("leftovers")?,
        sources: report.texts("sources")?,
        release: report.text("kernel")?,
        // Reports of an earlier bpfboot do not have it.
        began: report.text("began").unwrap_or_default(),
        took: report.micros("took_us")?,
    };
    Some((run, report.text("bpfboot")?))
}

fn line(step: Node<'_>) -> Option<Line> {
    let phase = step.one_of("phase", &Phase::ALL, Phase::word)?;
    let must = step.one_of("must", &[Must::Required, Must::Optional, Must::BestEffort], Must::word)?;
    let status = step.one_of("status", &Status::ALL, Status::word)?;
    let mut line = Line::new(step.text("id")?, phase, must, status);
    (line.was, line.now) = (step.text("was"), step.text("now"));
    line.note = step.text("note")?;
    // Nor this.
    line.at = step.micros("at_us");
    line.took = step.micros("took_us")?;
    let Json::Object(facts) = step.get("facts")?.0 else { return None };
    for (name, value) in facts {
        if let Json::Text(value) = value {
            line.facts.push((name.clone().leak(), value.clone()));
        }
    }
    let fault = step.get("fault")?;
    if matches!(fault.0, Json::Object(_)) {
        let cause = fault.one_of("cause", &Cause::ALL, Cause::word)?;
        let errno = fault.number("errno").and_then(|errno| i32::try_from(errno).ok());
        let told = Fault::new(cause, fault.text("what")?).with_errno(errno);
        let told = told.mend(fault.text("mend")?).detail(fault.text("detail")?);
        // Nor this.
        let reason = fault.text("reason").and_then(|reason| Reason::from_word(&reason));
        line.fault = Some(reason.into_iter().fold(told, Fault::by));
    }
    Some(line)
}

/// A value that is looked into.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Json);

impl<'a> Node<'a> {
    #[inline(never)]
    fn get(self, name: &str) -> Option<Self> {
        let Json::Object(members) = self.0 else { return None };
        members.iter().find(|(known, _)| known == name).map(|(_, value)| Node(value))
    }

    #[inline(never)]
    fn text(self, name: &str) -> Option<String> {
        if let Json::Text(text) = self.get(name)?.0 { Some(text.clone()) } else { None }
    }

    #[inline(never)]
    fn number(self, name: &str) -> Option<i64> {
        if let Json::Word(word) = self.get(name)?.0 { word.parse().ok() } else { None }
    }

    #[inline(never)]
    fn micros(self, name: &str) -> Option<Duration> {
        self.number(name)?.try_into().ok().map(Duration::from_micros)
    }

    #[inline(never)]
    fn texts(self, name: &str) -> Option<Vec<String>> {
        let Json::List(list) = self.get(name)?.0 else { return None };
        let mut texts = Vec::new();
        for value in list {
            let Json::Text(text) = value else { return None };
            texts.push(text.clone());
        }
        Some(texts)
    }

    fn one_of<T: Copy>(self, name: &str, known: &[T], word: fn(T) -> &'static str) -> Option<T> {
        let text = self.text(name)?;
        known.iter().copied().find(|known| word(*known) == text)
    }
}
