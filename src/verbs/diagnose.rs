//! `diagnose`: of the last run, or of the machine where there was none, each failure with its cause, its reason, who
//! refused, what shows it, and what mends it. Writes nothing.

mod machine;

use crate::{
    cli::Options,
    error::errno_text,
    facts::Facts,
    health::Health,
    knowledge,
    reason::Reason,
    report::{self, Json, Line, Object, Shape, clean, list, say},
    sys::file,
};

/// One failure, as it is told.
struct Failure {
    id: String,
    cause: String,
    reason: String,
    who: &'static str,
    what: String,
    errno: String,
    log: String,
    mend: String,
}

/// What was found.
struct Diagnosis {
    /// What it is the diagnosis of.
    of: String,
    health: Health,
    failures: Vec<Failure>,
    machine: Vec<String>,
}

/// Diagnoses the last run, or this machine.
pub fn diagnose(options: &Options) -> Health {
    let facts = Facts::gather();
    let last = file::text(report::PATH).ok().and_then(|text| Json::parse(&text));
    let diagnosis = match last {
        Some(last) => of_report(&last, &facts),
        None => of_machine(&facts),
    };
    say(&match options.shape {
        Shape::Json => document(&diagnosis),
        shape => told(&diagnosis, shape == Shape::Quiet),
    });
    diagnosis.health
}

fn of_report(last: &Json, facts: &Facts) -> Diagnosis {
    let word = last.text("health");
    let health = Health::ALL.into_iter().find(|health| health.word() == word).unwrap_or(Health::Failed);
    let of_step = |step: &Json| {
        let fault = step.get("fault")?;
        let reason = Reason::from_word(fault.text("reason")).unwrap_or(Reason::Other);
        let errno = fault.text("errno").parse().map_or_else(|_| String::new(), errno_text);
        let mend = Some(fault.text("mend")).filter(|mend| !mend.is_empty());
        (!fault.text("cause").is_empty()).then(|| Failure {
            id: step.text("id").to_owned(),
            cause: fault.text("cause").to_owned(),
            reason: reason.word().to_owned(),
            who: knowledge::of(reason).map_or("", |page| page.who),
            what: fault.text("what").to_owned(),
            errno,
            log: step.get("facts").map_or("", |facts| facts.text("log")).to_owned(),
            mend: mend.unwrap_or_else(|| knowledge::mend(reason)).to_owned(),
        })
    };
    let failures: Vec<Failure> = last.list("steps").iter().filter_map(of_step).collect();
    let machine = if failures.is_empty() { Vec::new() } else { machine::facts(facts) };
    Diagnosis {
        of: format!("the last {}, on Linux {}", last.text("verb"), last.text("kernel")),
        health,
        failures,
        machine,
    }
}

fn of_machine(facts: &Facts) -> Diagnosis {
    let failures: Vec<Failure> = machine::findings(facts).into_iter().filter_map(of_line).collect();
    let health = if failures.is_empty() { Health::Healthy } else { Health::Failed };
    let of = format!("this machine, Linux {}, since {} is not there", facts.release, report::PATH);
    Diagnosis { of, health, failures, machine: machine::facts(facts) }
}

fn of_line(line: Line) -> Option<Failure> {
    let fault = line.fault?;
    Some(Failure {
        id: line.id,
        cause: fault.cause.word().to_owned(),
        reason: fault.reason().word().to_owned(),
        who: knowledge::of(fault.reason()).map_or("", |page| page.who),
        what: fault.what.clone(),
        errno: fault.errno.map_or_else(String::new, errno_text),
        log: String::new(),
        mend: fault.mend.clone(),
    })
}

fn told(diagnosis: &Diagnosis, quiet: bool) -> String {
    let mut out = String::new();
    let mut row = |indent: &str, name: &str, text: &str| {
        if !text.is_empty() {
            out.push_str(&format!("{indent}{name}{}\n", clean(text)));
        }
    };
    for failure in &diagnosis.failures {
        row("", "", &failure.id);
        row("  cause:    ", &failure.cause, &format!(", {}", failure.reason));
        row("  ", "who:      ", failure.who);
        row("  ", "evidence: ", &failure.what);
        row("  ", "errno:    ", &failure.errno);
        row("  ", "log:      ", &failure.log);
        row("  ", "mend:     ", &failure.mend);
    }
    for line in diagnosis.machine.iter().filter(|_| !quiet) {
        row("  ", "machine:  ", line);
    }
    let nothing = if diagnosis.failures.is_empty() { "nothing to mend" } else { "more: bpfboot explain REASON" };
    row("", diagnosis.health.word(), &format!(": {}; {nothing}", diagnosis.of));
    out
}

fn document(diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    let mut object = Object::new(&mut out);
    object.text("bpfboot", env!("CARGO_PKG_VERSION"));
    object.text("verb", "diagnose");
    object.text("of", &diagnosis.of);
    object.text("health", diagnosis.health.word());
    list(object.key("failures"), &diagnosis.failures, "\n", |out, failure| {
        let mut object = Object::new(out);
        for (name, text) in [
            ("id", failure.id.as_str()),
            ("cause", &failure.cause),
            ("reason", &failure.reason),
            ("who", failure.who),
            ("what", &failure.what),
            ("errno", &failure.errno),
            ("log", &failure.log),
            ("mend", &failure.mend),
        ] {
            object.text(name, text);
        }
        object.end();
    });
    object.texts("machine", &diagnosis.machine);
    object.end();
    out.push('\n');
    out
}
