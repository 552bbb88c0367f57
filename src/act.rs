//! From a step's data to the rooms that know what to do: look, do, put back.

use std::path::Path;

use crate::{
    error::{Cause, Fault},
    facts::{CAP_NET_ADMIN, CAP_SYS_ADMIN, Facts},
    privilege,
    step::{Action, Must, Outcome, Step, Undo, Verdict},
    sys,
    tune::{self, knob, limit, mount, sysctl},
};

/// Looks at the kernel and says what a step would take; writes nothing.
pub fn survey(step: &Step, facts: &Facts) -> Verdict {
    match look(step, facts) {
        Verdict::Blocked(fault) if step.if_available && (tune::is_absence(&fault) || lacks(&fault, facts)) => {
            Verdict::Skip { why: fault.to_string() }
        }
        Verdict::Blocked(fault) if step.must == Must::BestEffort => Verdict::Skip { why: going_on(&fault) },
        verdict => verdict,
    }
}

/// Whether a kernel that does not run lacks something.
fn lacks(fault: &Fault, facts: &Facts) -> bool {
    facts.target().is_some() && fault.cause == Cause::Kernel
}

fn look(step: &Step, facts: &Facts) -> Verdict {
    if let Some(target) = facts.target() {
        return tune::foresee::survey(&step.action, facts, target);
    }
    match &step.action {
        Action::Mount(wish) => mount::survey(wish, facts),
        Action::Sysctl { key, goal, allow_insecure, irreversible, partner } => {
            let ask =
                sysctl::Ask { allow_insecure: *allow_insecure, irreversible: *irreversible, partner: partner.as_ref() };
            sysctl::survey(key, goal, ask, facts)
        }
        Action::Knob { path, value } => knob::survey(path, value, facts),
        Action::Limit { kind, wish } => limit::survey(*kind, *wish, facts),
    }
}

/// The capability that a step takes, one bit, and what for. `verdict` is what a survey with our own capabilities gave;
/// `without` is this machine without any.
pub fn needs(step: &Step, verdict: &Verdict, without: &Facts) -> Option<(u64, String)> {
    if matches!(verdict, Verdict::Skip { .. }) {
        return None;
    }
    match look(step, without) {
        Verdict::Blocked(fault) => match fault.what.split_once(": needs ") {
            Some((deed, name)) => Some((privilege::capability(name)?, deed.to_owned())),
            // The one thing else that hangs on a capability is a module that the kernel loads for the value.
            None if matches!(verdict, Verdict::Change { .. }) => {
                Some((1 << CAP_NET_ADMIN, "to load the module for it".into()))
            }
            None => None,
        },
        _ => match &step.action {
            Action::Sysctl { key, .. } if sysctl::is_secret(key) => Some((1 << CAP_SYS_ADMIN, "to read it".into())),
            _ => None,
        },
    }
}

fn going_on(fault: &Fault) -> String {
    match fault.mend.is_empty() {
        true => format!("{fault}; going on without it"),
        false => format!("{fault}; going on without it (to have it: {})", fault.mend),
    }
}

/// Does what the survey found to be needed.
pub fn perform(step: &Step, verdict: Verdict, facts: &Facts) -> Outcome {
    let (was, now) = match verdict {
        Verdict::Already { is } => return Outcome::Already { is },
        Verdict::Skip { why } => return Outcome::Skipped { why },
        Verdict::Blocked(fault) => return Outcome::Failed(fault),
        Verdict::Change { was, now } => (was, now),
    };
    let done = match &step.action {
        Action::Mount(wish) => mount::apply(wish, was.as_deref() != Some(mount::ABSENT)),
        Action::Sysctl { key, goal, .. } => sysctl::apply(key, goal, &now),
        Action::Knob { path, value } => knob::apply(path, value, facts),
        Action::Limit { kind, wish } => limit::apply(*kind, *wish, facts),
    };
    match done {
        Ok((now, note)) => Outcome::Done { was, now, note },
        Err(fault) if step.if_available && tune::is_absence(&fault) => Outcome::Skipped { why: fault.to_string() },
        Err(fault) if step.must == Must::BestEffort => Outcome::Skipped { why: going_on(&fault) },
        Err(fault) => Outcome::Failed(fault),
    }
}

/// What would put a step back, known before it is done. Nothing for limits, which end with this process, and for values
/// that cannot be read.
pub fn undo_of(step: &Step, verdict: &Verdict) -> Option<Undo> {
    let Verdict::Change { was, now } = verdict else { return None };
    Some(match &step.action {
        Action::Sysctl { key, .. } => Undo::Sysctl { key: key.clone(), was: was.clone()?, wrote: now.clone() },
        Action::Knob { path, .. } => Undo::Knob { path: path.clone(), was: was.clone()?, wrote: now.clone() },
        // Of what stood already only the mode changes.
        Action::Mount(_) if was.as_deref() != Some(mount::ABSENT) => return None,
        Action::Mount(wish) => Undo::Unmount { fs: wish.fs, at: wish.fs.usual_place().to_owned() },
        Action::Limit { .. } => return None,
    })
}

/// Whether the kernel still holds what we wrote there, so that putting it back takes nothing from anybody. What cannot
/// be read is not forgotten.
pub fn still_ours(undo: &Undo, facts: &Facts) -> bool {
    let look = || match undo {
        Undo::Sysctl { key, wrote, .. } => Ok(sysctl::current(key, facts)?.is_some_and(|is| sysctl::same(&is, wrote))),
        Undo::Knob { path, wrote, .. } => Ok(knob::current(path, facts)?.is_some_and(|is| knob::equal(&is, wrote))),
        Undo::Unmount { fs, at } => mount::is_mounted(*fs, at.as_ref()),
        Undo::Pins { root } => Ok(sys::file::exists(&Path::new(root).join("live")).unwrap_or(true)),
    };
    let absent = |fault: &Fault| tune::is_absence(fault);
    // As with files, a no is asked for twice.
    look().or_else(|fault| if absent(&fault) { look() } else { Err(fault) }).unwrap_or_else(|fault| !absent(&fault))
}

/// What an undo is about, as the report names it.
pub fn undo_id(undo: &Undo) -> String {
    match undo {
        Undo::Sysctl { key, .. } => format!("sysctl {key}"),
        Undo::Knob { path, .. } => format!("knob {path}"),
        Undo::Pins { root } => format!("pins {root}"),
        Undo::Unmount { fs, at } => format!("mount {} {at}", fs.name()),
    }
}

/// Puts back what a tuning step changed; the value it came back to. A value that is neither the old one nor the one we
/// wrote belongs to somebody else by now, and stays: `None`.
///
/// # Errors
/// The kernel refused, and the change stands.
pub fn put_back(undo: &Undo, facts: &Facts) -> Result<Option<String>, Fault> {
    match undo {
        Undo::Sysctl { key, was, wrote } => match sysctl::current(key, facts)? {
            Some(is) if sysctl::same(&is, was) => Ok(Some(was.clone())),
            Some(is) if sysctl::same(&is, wrote) => sysctl::restore(key, was).map(|()| Some(was.clone())),
            _ => Ok(None),
        },
        Undo::Knob { path, was, wrote } => match knob::current(path, facts)? {
            Some(is) if knob::equal(&is, was) => Ok(Some(was.clone())),
            Some(is) if knob::equal(&is, wrote) => knob::restore(path, was, facts).map(|()| Some(was.clone())),
            _ => Ok(None),
        },
        Undo::Unmount { fs, at } => mount::undo_unmount(*fs, at).map(|()| Some(mount::ABSENT.to_owned())),
        Undo::Pins { .. } => Ok(None),
    }
}
