//! `check` and `apply --dry-run`: the plan held against the kernel. Changes nothing.

use std::path::Path;

use super::{objects::found, run::Run, validate};
use crate::{
    bpf::{BpfPlan, Store},
    cli::Options,
    config::Config,
    health::Health,
    journal::Journal,
    plan::Plan,
    report::{Line, Status},
    step::{Action, Must, Phase, Verdict},
    sys,
    tune::sysctl::Others,
};

/// Says whether the kernel is as planned; with `probe`, whether it takes a program now.
pub fn check(config: &Config, options: &Options, probe: bool) -> Health {
    let mut run = Run::new("check", options, &config.sources);
    let known = look(&mut run, config, options, Status::Drift);
    if probe {
        let line = validate::probed(&run.facts);
        run.say(line);
    }
    let health = known.unwrap_or_else(|| judge(&run.lines));
    run.end(health, false)
}

/// Says what `apply` would do.
pub fn dry_run(config: &Config, options: &Options) -> Health {
    let mut run = Run::new("apply --dry-run", options, &config.sources);
    let known = look(&mut run, config, options, Status::Planned);
    let hopeless = run.lines.iter().any(|line| line.status == Status::Failed && line.must == Must::Required);
    let health = known.unwrap_or(if hopeless { Health::Failed } else { run.health() });
    run.end(health, false)
}

/// Says what the plan finds; the health, where that is settled without a look at the lines.
fn look(run: &mut Run, config: &Config, options: &Options, change: Status) -> Option<Health> {
    let taken = match Journal::read_only() {
        Ok(journal) => {
            run.notes.extend(journal.note());
            journal.taken(journal.left_over())
        }
        Err(fault) => {
            run.fail("undo journal", Phase::Settle, Must::Required, fault);
            Vec::new()
        }
    };
    let plan = Plan::new(config, &run.facts, &taken, options.allow_untrusted);
    run.notes.extend(plan.notes.iter().cloned());
    let checking = change == Status::Drift;
    let others = if checking { Others::read() } else { Others::default() };
    let mut lines = if checking { validate::machine(&plan, &run.facts) } else { Vec::new() };
    let steps = plan.steps.iter().map(|(step, verdict)| match (&step.action, verdict) {
        (Action::Limit { .. }, Verdict::Change { .. }) if checking => {
            let why = "a limit of the run that applies, which ended with it".into();
            Line::of_verdict(step, Verdict::Skip { why }, change)
        }
        _ if checking => validate::of_step(Line::of_verdict(step, verdict.clone(), change), step, &others),
        _ => Line::of_verdict(step, verdict.clone(), change),
    });
    lines.extend(steps);
    lines.extend(plan.bpf.objects.iter().flat_map(|object| found(object, change)));
    for item in &plan.blocked {
        let must = if item.optional { Must::Optional } else { Must::Required };
        lines.push(Line {
            fault: Some(item.fault.clone()),
            ..Line::new(item.id.clone(), Phase::Load, must, Status::Failed)
        });
    }
    for name in &plan.bpf.retire {
        let note = "no longer in the configuration".to_owned();
        lines.push(Line { note, ..Line::new(format!("object {name}"), Phase::Commit, Must::Required, change) });
    }
    lines.extend(around(&plan.bpf, change));
    lines.extend(unfinished(&plan.bpf.store, change));
    in_order(&mut lines);
    run.fit(lines.iter().map(|line| line.id.as_str()).collect::<Vec<_>>().into_iter());
    lines.into_iter().for_each(|line| run.say(line));
    plan.bpf.is_bad_input().then_some(Health::BadInput)
}

/// What lies around the pins: what `apply` makes right, and what it leaves alone.
fn around(plan: &BpfPlan, change: Status) -> Vec<Line> {
    let line = |path: &Path, must, status| Line::new(format!("pins {}", path.display()), Phase::Commit, must, status);
    let misfits = plan.around.misfits.iter().map(|misfit| Line {
        was: Some(misfit.was()),
        now: Some(misfit.wanted()),
        ..line(&misfit.path, Must::Required, change)
    });
    let strays = plan
        .around
        .strays
        .iter()
        .filter(|_| change == Status::Drift)
        .map(|stray| Line { note: "not made by bpfboot".to_owned(), ..line(stray, Must::Optional, Status::Warn) });
    misfits.chain(strays).collect()
}

/// Puts lines into the order of the run.
pub fn in_order(lines: &mut [Line]) {
    lines.sort_by_key(|line| line.phase);
}

fn unfinished(store: &Store, change: Status) -> Option<Line> {
    sys::file::exists(store.stage().path()).unwrap_or(true).then(|| Line {
        note: "a run was killed, or is at work; the next apply sweeps it".to_owned(),
        ..Line::new(format!("pins {}", store.stage().path().display()), Phase::Settle, Must::Required, change)
    })
}

/// Required drift is drift; when only optional parts are not as planned, the machine is degraded. What is best effort
/// and drifted can be mended, or it would have been skipped: drift too.
fn judge(lines: &[Line]) -> Health {
    let has = |status, must| lines.iter().any(|line| line.status == status && line.must == must);
    if has(Status::Drift, Must::Required) || has(Status::Failed, Must::Required) || has(Status::Drift, Must::BestEffort)
    {
        return Health::Drift;
    }
    match has(Status::Drift, Must::Optional) || has(Status::Failed, Must::Optional) {
        true => Health::Degraded,
        false => Health::Healthy,
    }
}
