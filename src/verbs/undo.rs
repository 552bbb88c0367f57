//! `undo`: what all runs since boot have changed goes back.

use super::{apply::put_all_back, load, run::Run};
use crate::{
    bpf::Store,
    cli::Options,
    error::Fault,
    health::Health,
    journal::Journal,
    lock::lock,
    report::{Line, Status},
    step::{Must, Phase, Undo},
};

/// Takes everything back: pins first, so that nothing of ours runs on a kernel that is being changed, then the tuning.
pub fn undo(options: &Options) -> Health {
    let mut run = Run::new("undo", options, &[]);
    let locked = match lock() {
        Ok((locked, note)) => {
            run.notes.extend(note);
            locked
        }
        Err(fault) => {
            run.fail("lock", Phase::Settle, Must::Required, fault);
            return run.end(Health::Failed, false);
        }
    };
    let journal = match Journal::new(&locked) {
        Ok(journal) => journal,
        Err(fault) => {
            run.fail("undo journal", Phase::Settle, Must::Required, fault);
            return run.end(Health::Failed, false);
        }
    };
    run.notes.extend(journal.note());
    let taken = journal.taken(journal.left_over());
    let (pins, tuned): (Vec<_>, Vec<_>) = taken.into_iter().partition(|undo| matches!(undo, Undo::Pins { .. }));
    let mut left: Vec<Undo> = Vec::new();
    for root in roots(&mut run, options, &pins) {
        if let Err(fault) = unpin(&mut run, &root) {
            run.leftovers.push(format!("pins {}: {fault}", root.root().display()));
            left.push(Undo::Pins { root: root.root().display().to_string() });
            run.fail(format!("pins {}", root.root().display()), Phase::Load, Must::Required, fault);
        }
    }
    left.extend(put_all_back(&mut run, &tuned));
    if let Err(error) = journal.forget(&left) {
        run.notes.push(format!("the undo journal cannot be brought up to date: {error}"));
    }
    if run.lines.is_empty() {
        run.notes.push("there was nothing to undo".into());
    }
    let health = if run.leftovers.is_empty() { Health::Healthy } else { Health::Dirty };
    run.end(health, true)
}

/// The pin directories to empty: those of the journal, and the one of the configuration as far as it can be read. A
/// broken configuration must not keep anybody from undoing.
fn roots(run: &mut Run, options: &Options, pins: &[Undo]) -> Vec<Store> {
    let mut roots: Vec<String> = pins
        .iter()
        .filter_map(|undo| match undo {
            Undo::Pins { root } => Some(root.clone()),
            _ => None,
        })
        .collect();
    match load(&options.config, options.allow_untrusted) {
        Ok(config) => roots.push(config.bpf.root.display().to_string()),
        Err(_) => run.notes.push("the configuration cannot be read; undone is what the journal names".into()),
    }
    roots.sort();
    roots.dedup();
    roots.iter().map(|root| Store::new(root.as_ref())).collect()
}

fn unpin(run: &mut Run, store: &Store) -> Result<(), Fault> {
    if !store.exists()? {
        return Ok(());
    }
    store.trusted()?;
    // What cannot be detached at once goes with its pin.
    let _ = store.detach_all();
    store.remove_all()?;
    run.say(Line {
        note: "removed; what was attached is detached".into(),
        ..Line::new(format!("pins {}", store.root().display()), Phase::Load, Must::Required, Status::Undone)
    });
    Ok(())
}
