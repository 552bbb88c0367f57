//! One run of a verb: what it has said so far, and how it ends.

use std::{
    path::Path,
    time::{Instant, SystemTime},
};

use crate::{
    cli::Options,
    error::Fault,
    facts::Facts,
    gate,
    health::{Exit, Health},
    lock::Locked,
    logger,
    report::{self, Journal, Kept, Line, Printer, Report, Status},
    step::{Must, Phase},
};

/// The verb whose report makes way for a command's output.
pub const RUN: &str = "run";

/// A run in progress.
pub struct Run {
    verb: &'static str,
    printer: Printer,
    /// The machine.
    pub facts: Facts,
    /// What was said.
    pub lines: Vec<Line>,
    /// What concerns the whole run.
    pub notes: Vec<String>,
    /// What could not be put back.
    pub leftovers: Vec<String>,
    /// Proof that we are alone, until the report is kept.
    pub locked: Option<Locked>,
    /// Capabilities that stay in the bounding set, one bit each.
    pub keep_bounded: u64,
    /// When it began.
    pub began: Instant,
    clock: SystemTime,
    sources: Vec<String>,
}

impl Run {
    /// Begins a run: looks at the machine.
    pub fn new(verb: &'static str, options: &Options, sources: &[String]) -> Self {
        Self::on(Facts::gather(), verb, options, sources)
    }

    /// Begins a run on the machine of these facts.
    pub fn on(facts: Facts, verb: &'static str, options: &Options, sources: &[String]) -> Self {
        let (began, clock) = (Instant::now(), SystemTime::now());
        let mut journal = Journal::detect();
        // What goes to stdout is then the command's.
        let aside = verb == RUN;
        if aside {
            journal.stdout = journal.stderr;
        }
        logger::init(options.shape, journal);
        Self {
            verb,
            printer: Printer::new(options.shape, options.color, journal, verb, aside),
            facts,
            lines: Vec::new(),
            notes: Vec::new(),
            leftovers: Vec::new(),
            locked: None,
            keep_bounded: 0,
            began,
            clock,
            sources: sources.to_vec(),
        }
    }

    /// Fits the columns to what is coming.
    pub fn fit<'a>(&mut self, ids: impl Iterator<Item = &'a str>) {
        self.printer.fit(ids);
    }

    /// Says a line.
    pub fn say(&mut self, mut line: Line) {
        line.fault = line.fault.take().map(|fault| gate::explained(fault, &self.facts));
        self.printer.line(&line);
        self.note(line);
    }

    /// Notes a line that ends now, unless it says when it began.
    fn note(&mut self, mut line: Line) {
        line.at.get_or_insert_with(|| self.began.elapsed().saturating_sub(line.took));
        self.lines.push(line);
    }

    /// Says that something failed.
    pub fn fail(&mut self, id: impl Into<String>, phase: Phase, must: Must, fault: Fault) {
        self.say(Line { fault: Some(fault), ..Line::new(id, phase, must, Status::Failed) });
    }

    /// Says that loading or the commit failed, which began at `start`. A detail of such a fault tells what could not be taken back.
    pub fn fail_to_change(&mut self, id: impl Into<String>, phase: Phase, start: Instant, fault: Fault) {
        if !fault.detail.is_empty() {
            self.leftovers.push(format!("pins: {fault}, {}; mend: bpfboot undo", fault.detail));
        }
        let line = Line::new(id, phase, Must::Required, Status::Failed);
        self.say(Line { fault: Some(fault), took: start.elapsed(), ..line });
    }

    /// Shows on a terminal that a long wait goes on.
    pub fn progress(&self, text: &str) {
        self.printer.progress(text);
    }

    /// Whether something has been changed and stands.
    pub fn changed(&self) -> bool {
        self.lines.iter().any(|line| line.status == Status::Done)
    }

    /// Healthy, or degraded when something optional failed.
    pub fn health(&self) -> Health {
        match self.lines.iter().any(Line::hurts) {
            true => Health::Degraded,
            false => Health::Healthy,
        }
    }

    /// Ends the run: the summary, the log, and the document in /run when `keep` says so.
    pub fn end(self, health: Health, keep: bool) -> Health {
        self.end_with(health, keep, Some(health.into()));
        health
    }

    /// The same where the process ends with a code of `run`.
    pub fn end_with(self, health: Health, keep: bool, exit: Option<Exit>) {
        let (printer, report, locked) = self.report(health, exit);
        let document = report::document(&report);
        let kept = if keep { report::store(Path::new(report::PATH), &document) } else { Kept::Unwanted };
        drop(locked);
        printer.finish(&report, &document, &kept, logger::summary(&report, has_news(&report)));
    }

    /// The same where the process becomes a command. Who it is then may not replace the document any more: it is kept
    /// before, with the line that `step` is to confirm. Gives whether the command finds it.
    ///
    /// # Errors
    /// `step` failed, which was said and is in the document: the process must end.
    pub fn end_by(
        mut self,
        health: Health,
        keep: bool,
        line: Line,
        step: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<bool, ()> {
        self.note(line);
        let (printer, mut report, locked) = self.report(health, None);
        let mut document = report::document(&report);
        let (kept, mut file) = match keep {
            true => report::store_open(Path::new(report::PATH), &document),
            false => (Kept::Unwanted, None),
        };
        if health != Health::Healthy {
            // Opening the last of the logs takes root.
            logger::open();
        }
        let result = step();
        if let Err(fault) = &result {
            let changed = has_news(&report);
            if let Some(line) = report.lines.last_mut() {
                *line = Line {
                    fault: Some(fault.clone()),
                    ..Line::new(line.id.clone(), line.phase, line.must, Status::Failed)
                };
            }
            report.exit = Some(Exit::REFUSED);
            report.health = if changed { Health::Dirty } else { Health::Failed };
            report.leftovers.extend(changed.then(|| "what was applied stands; mend: bpfboot undo".to_owned()));
            document = report::document(&report);
            // An empty file is no report, and says so.
            let _ = file.as_mut().map(|file| report::store_again(file, &document));
        }
        drop(locked);
        report.lines.last().into_iter().for_each(|line| printer.line(line));
        printer.finish(&report, &document, &kept, logger::summary(&report, has_news(&report)));
        result.map(|()| file.is_some()).map_err(drop)
    }

    fn report(self, health: Health, exit: Option<Exit>) -> (Printer, Report, Option<Locked>) {
        let Self { verb, printer, facts, lines, notes, leftovers, locked, sources, began, clock, .. } = self;
        let (took, began, release) = (began.elapsed(), report::utc(clock), facts.release);
        (printer, Report { verb, health, exit, lines, notes, leftovers, sources, release, began, took }, locked)
    }
}

/// A run that found all as planned has nothing to log: a line to the console can cost more than the run.
fn has_news(report: &Report) -> bool {
    report.health != Health::Healthy || report.lines.iter().any(|line| line.status == Status::Done)
}
