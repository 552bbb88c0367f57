//! `apply`: bring the kernel to the plan, or leave it as it was.

use std::time::Instant;

use super::{
    objects::{Told, found},
    run::Run,
};
use crate::{
    act,
    bpf::{self, BpfPlan, Committed},
    cli::Options,
    config::Config,
    error::{Cause, Fault},
    health::Health,
    journal::Journal,
    lock::lock,
    logger,
    plan::Plan,
    privilege,
    report::{self, Line, Status},
    step::{Must, Outcome, Phase, Undo},
    sys::process,
};

/// How a phase went on: `Err` means that the run has failed, which was said already.
pub type Go = Result<(), GaveUp>;

/// The run failed.
pub struct GaveUp;

/// What is done last, while everything can still be taken back.
pub type Last<'l> = &'l mut dyn FnMut(&mut Run) -> Go;

/// What this run has changed and can put back.
#[derive(Default)]
struct Changes {
    tuned: Vec<Undo>,
    committed: Option<Committed>,
    /// A killed run had made its pins live; they are taken over.
    inherited: Option<Undo>,
}

/// Applies the configuration.
pub fn apply(config: &Config, options: &Options) -> Health {
    let mut run = Run::new("apply", options, &config.sources);
    process::catch_stop_signals();
    match bring_up(&mut run, config, options, &mut |_| Ok(())) {
        Ok(()) => {
            drop_privileges(&mut run);
            let health = run.health();
            run.end(health, true)
        }
        Err((health, keep)) => run.end(health, keep),
    }
}

/// Brings the kernel to the plan.
///
/// # Errors
/// The run failed, and was taken back: what it came to, and whether the report is worth keeping.
pub fn bring_up(run: &mut Run, config: &Config, options: &Options, last: Last<'_>) -> Result<(), (Health, bool)> {
    let locked = match lock() {
        Ok((locked, note)) => {
            run.notes.extend(note);
            locked
        }
        Err(fault) => {
            run.fail("lock", Phase::Settle, Must::Required, fault);
            return Err((Health::Failed, false));
        }
    };
    let mut journal = match Journal::new(&locked) {
        Ok(journal) => journal,
        Err(fault) => {
            run.fail("undo journal", Phase::Settle, Must::Required, fault);
            return Err((Health::Failed, false));
        }
    };
    run.locked = Some(locked);
    let left = settle(run, config, &journal);
    let taken = journal.taken(&left);
    let mut plan = Plan::new(config, &run.facts, &taken, options.allow_untrusted);
    run.notes.extend(plan.notes.iter().cloned());
    fit(run, &plan);
    let (pins, tuned): (Vec<_>, Vec<_>) = left.into_iter().partition(|undo| matches!(undo, Undo::Pins { .. }));
    let mut changes = Changes { tuned, committed: None, inherited: pins.into_iter().next() };
    match walk(run, &mut plan, &mut journal, &mut changes).and_then(|()| last(run)) {
        Ok(()) => {
            finish(run, &plan, &mut journal, &changes);
            Ok(())
        }
        Err(GaveUp) => match take_back(run, &plan.bpf, &mut journal, changes) {
            Health::Failed if plan.bpf.is_bad_input() => Err((Health::BadInput, true)),
            health => Err((health, true)),
        },
    }
}

/// Repairs what a killed run left: its stage is swept, its tuning becomes ours to keep or to put back.
fn settle(run: &mut Run, config: &Config, journal: &Journal) -> Vec<Undo> {
    match bpf::Store::new(&config.bpf.root).sweep() {
        Ok(false) => {}
        Ok(true) => {
            let line = Line::new("pins of a run that was killed", Phase::Settle, Must::Required, Status::Done);
            run.say(Line { now: Some("swept".into()), ..line });
        }
        Err(fault) => run.fail("pins of a run that was killed", Phase::Settle, Must::Optional, fault),
    }
    run.notes.extend(journal.note());
    let mut left: Vec<Undo> = journal.left_over().to_vec();
    left.retain(|undo| act::still_ours(undo, &run.facts));
    if !left.is_empty() {
        run.notes.push(format!(
            "a run was killed before it could finish; {} of its changes were found and are taken over",
            left.len()
        ));
    }
    left
}

fn fit(run: &mut Run, plan: &Plan) {
    let steps = plan.steps.iter().map(|(step, _)| step.id.clone());
    let objects = plan.bpf.objects.iter().flat_map(|object| found(object, Status::Planned)).map(|line| line.id);
    let ids: Vec<String> = steps.chain(objects).collect();
    run.fit(ids.iter().map(String::as_str));
}

fn walk(run: &mut Run, plan: &mut Plan, journal: &mut Journal, changes: &mut Changes) -> Go {
    refuse_the_hopeless(run, plan)?;
    note(run, plan, journal, changes);
    tune(run, plan, Phase::Mount, changes)?;
    if plan.look_again(&run.facts) {
        note(run, plan, journal, changes);
    }
    tune(run, plan, Phase::Tune, changes)?;
    load(run, plan, changes)?;
    tune(run, plan, Phase::Seal, changes)
}

/// Notes in the journal what this run has changed and may still change.
fn note(run: &mut Run, plan: &Plan, journal: &mut Journal, changes: &Changes) {
    let mut planned: Vec<Undo> = changes.inherited.iter().chain(&changes.tuned).cloned().collect();
    let new: Vec<Undo> = plan.undo().into_iter().filter(|undo| !planned.contains(undo)).collect();
    planned.extend(new);
    if !planned.is_empty()
        && let Err(error) = journal.begin(&planned)
    {
        run.notes.push(format!("no undo journal can be kept ({error}): a kill could not be repaired"));
    }
}

/// Nothing is begun when it is known that something required cannot be done.
fn refuse_the_hopeless(run: &mut Run, plan: &Plan) -> Go {
    if !plan.is_hopeless() {
        return Ok(());
    }
    for (step, verdict) in &plan.steps {
        let line = Line::of_verdict(step, verdict.clone(), Status::Planned);
        if line.status == Status::Failed {
            run.say(line);
        }
    }
    for item in &plan.blocked {
        run.fail(
            item.id.clone(),
            Phase::Load,
            if item.optional { Must::Optional } else { Must::Required },
            item.fault.clone(),
        );
    }
    run.notes.push("nothing was changed: this was known before the first write".into());
    Err(GaveUp)
}

fn tune(run: &mut Run, plan: &Plan, phase: Phase, changes: &mut Changes) -> Go {
    for (step, verdict) in plan.steps.iter().filter(|(step, _)| step.phase == phase) {
        stop_if_asked(run, phase)?;
        let start = Instant::now();
        let undo = act::undo_of(step, verdict);
        let outcome = act::perform(step, verdict.clone(), &run.facts);
        // A write that failed may have changed the value all the same.
        changes.tuned.extend(undo.filter(|undo| match outcome {
            Outcome::Done { .. } => true,
            Outcome::Failed(_) | Outcome::Skipped { .. } => act::still_ours(undo, &run.facts),
            Outcome::Already { .. } => false,
        }));
        let line = Line::of_outcome(step, outcome, start.elapsed());
        let fatal = line.status == Status::Failed && step.must == Must::Required;
        run.say(line);
        if fatal {
            return Err(GaveUp);
        }
    }
    Ok(())
}

fn stop_if_asked(run: &mut Run, phase: Phase) -> Go {
    if !process::stop_requested() {
        return Ok(());
    }
    run.fail(
        "signal",
        phase,
        Must::Required,
        Fault::new(Cause::Signal, "stopped by a signal").mend("run it again: bpfboot apply"),
    );
    Err(GaveUp)
}

fn load(run: &mut Run, plan: &Plan, changes: &mut Changes) -> Go {
    for item in &plan.blocked {
        run.fail(item.id.clone(), Phase::Load, Must::Optional, item.fault.clone());
    }
    // Also of an object that only gets a new link: its programs and maps are what they were.
    let found = plan.bpf.objects.iter().flat_map(|object| found(object, Status::Planned));
    // So are the programs that are known to give way to others.
    found.filter(|line| line.status != Status::Planned).for_each(|line| run.say(line));
    // Before anything is carried over with a second name.
    for misfit in &plan.bpf.around.misfits {
        let (id, must) = (format!("pins {}", misfit.path.display()), Must::Optional);
        match misfit.mend() {
            Ok(()) => run.say(Line {
                was: Some(misfit.was()),
                now: Some(misfit.wanted()),
                ..Line::new(id, Phase::Load, must, Status::Done)
            }),
            Err(fault) => run.fail(id, Phase::Load, must, fault),
        }
    }
    if !plan.bpf.changes() {
        return Ok(());
    }
    stage(run, &plan.bpf)?;
    stop_if_asked(run, Phase::Commit)?;
    commit(run, &plan.bpf, changes)?;
    run.notes.extend(bpf::held(&plan.bpf));
    Ok(())
}

/// Has the loader child build the next generation.
pub fn stage(run: &mut Run, plan: &BpfPlan) -> Go {
    let needs = plan.needs(&run.facts);
    let (mut told, mut shown, start) = (Told::default(), false, Instant::now());
    let total = plan.programs_to_load();
    // What the end of the run takes anyway, on the CPU that would wait for the loader.
    let keep = run.keep_bounded;
    let meanwhile = || {
        privilege::bound(keep);
        logger::open();
    };
    let result = bpf::stage(plan, needs, run.began, &meanwhile, &mut |event| {
        told.hear(event);
        if start.elapsed().as_secs() > 0 {
            run.progress(&format!("loading: program {} of {total}", told.begun));
            shown = true;
        }
    });
    if shown {
        run.progress("");
    }
    for mut line in told.sorted(plan) {
        let log = line.fault.as_ref().map_or("", |fault| fault.detail.as_str());
        let kept = if log.is_empty() { None } else { report::store_log(&line.id, log) };
        line.facts.extend(kept.map(|path| ("log", path.display().to_string())));
        run.say(line);
    }
    match result {
        Ok(()) => Ok(()),
        Err(fault) => {
            if let Some(fault) = fault {
                run.fail_to_change("loader", Phase::Load, start, fault);
            }
            Err(GaveUp)
        }
    }
}

fn commit(run: &mut Run, plan: &BpfPlan, changes: &mut Changes) -> Go {
    let (id, start) = (format!("pins {}", plan.store.live().path().display()), Instant::now());
    match bpf::commit(plan) {
        Ok(committed) => {
            changes.committed = Some(committed);
            let retired: Vec<_> = plan.retire.iter().map(|name| name.as_str()).collect();
            let note = if retired.is_empty() {
                String::new()
            } else {
                format!("no longer in the configuration: {}", retired.join(", "))
            };
            run.say(Line {
                now: Some("live".into()),
                note,
                took: start.elapsed(),
                ..Line::new(id, Phase::Commit, Must::Required, Status::Done)
            });
            Ok(())
        }
        Err(fault) => {
            run.fail_to_change(id, Phase::Commit, start, fault);
            Err(GaveUp)
        }
    }
}

/// The run stands: its journal becomes what `undo` takes back, and the old generation goes.
fn finish(run: &mut Run, plan: &Plan, journal: &mut Journal, changes: &Changes) {
    let mut done: Vec<Undo> = changes.inherited.iter().chain(&changes.tuned).cloned().collect();
    if changes.committed.is_some() {
        done.insert(0, plan.bpf.undo());
        if let Err(fault) = bpf::retire(&plan.bpf) {
            run.fail("pins of the last generation", Phase::Commit, Must::Optional, fault);
        }
    }
    if let Err(error) = journal.keep(&done) {
        run.notes.push(format!("undo will not know of this run: {error}"));
    }
}

/// Drops everything, and says what the kernel says of it.
pub fn drop_privileges(run: &mut Run) {
    let (changed, start) = (run.changed(), Instant::now());
    match privilege::drop_all() {
        Ok(now) => {
            let status = if changed { Status::Done } else { Status::Already };
            run.say(Line {
                now: Some(now),
                took: start.elapsed(),
                ..Line::new("privileges", Phase::Drop, Must::Required, status)
            });
        }
        Err(fault) => run.fail("privileges", Phase::Drop, Must::Optional, fault),
    }
}

/// The run failed: everything it changed goes back, in reverse order.
fn take_back(run: &mut Run, plan: &BpfPlan, journal: &mut Journal, changes: Changes) -> Health {
    take_pins_back(run, plan, changes.committed);
    let mut left = put_all_back(run, &changes.tuned);
    left.extend(changes.inherited);
    let kept = if left.is_empty() { journal.end() } else { journal.keep(&left) };
    if let Err(error) = kept {
        run.notes.push(format!("the undo journal cannot be brought up to date: {error}"));
    }
    if run.leftovers.is_empty() { Health::Failed } else { Health::Dirty }
}

/// The generation of this run goes, and the one before is live as it was.
pub fn take_pins_back(run: &mut Run, plan: &BpfPlan, committed: Option<Committed>) {
    let reverted = committed.map_or(Ok(()), |committed| committed.revert(plan));
    match reverted.and_then(|()| plan.store.clean_up()).and_then(|()| plan.store.remove_if_empty()) {
        Err(fault) => run.leftovers.push(format!("pins {}: {fault}; mend: bpfboot undo", plan.store.root().display())),
        // What was said to be loaded is gone again.
        Ok(()) if run.lines.iter().any(|line| line.phase >= Phase::Load && line.status == Status::Done) => {
            let id = format!("pins {}", plan.store.root().display());
            run.say(Line {
                now: Some("as before this run".into()),
                ..Line::new(id, Phase::Commit, Must::Required, Status::Undone)
            });
        }
        Ok(()) => {}
    }
}

/// Puts tuning back, newest first. Gives what could not be put back.
pub fn put_all_back(run: &mut Run, tuned: &[Undo]) -> Vec<Undo> {
    let mut left = Vec::new();
    for undo in tuned.iter().rev() {
        let id = act::undo_id(undo);
        match act::put_back(undo, &run.facts) {
            Ok(Some(to)) => {
                run.say(Line { now: Some(to), ..Line::new(id, Phase::Tune, Must::Required, Status::Undone) })
            }
            Ok(None) => {
                let note = "somebody else has set it since; left alone".to_owned();
                run.say(Line { note, ..Line::new(id, Phase::Tune, Must::Required, Status::Skipped) });
            }
            Err(fault) => {
                let mend = if fault.mend.is_empty() { mend_by_hand(undo) } else { fault.mend.clone() };
                run.leftovers.push(format!("{id}: {fault}; mend: {mend}"));
                run.fail(id, Phase::Tune, Must::Required, fault);
                left.push(undo.clone());
            }
        }
    }
    left.reverse();
    left
}

fn mend_by_hand(undo: &Undo) -> String {
    match undo {
        Undo::Sysctl { key, was, .. } => format!("sysctl -w {key}=\"{was}\""),
        Undo::Knob { path, was, .. } => format!("echo {was} > {}/{}", path.fs.usual_place(), path.below),
        Undo::Pins { .. } => "bpfboot undo".to_owned(),
        Undo::Unmount { at, .. } => format!("umount {at}"),
    }
}
