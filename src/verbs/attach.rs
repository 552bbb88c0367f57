//! `attach IFACE`: our XDP programs onto an interface that came later than the boot, kept there by every later apply.

use std::time::{Duration, Instant};

use super::{
    apply::{drop_privileges, stage, take_pins_back},
    objects::found,
    run::Run,
};
use crate::{
    bpf::{self, BpfPlan, Kind, XdpHow, XdpJob},
    cli::Options,
    config::{Config, IfName, PinName, XdpMode},
    error::{Cause, Fault},
    health::Health,
    lock::lock,
    report::{Line, Status},
    step::{Must, Phase},
    sys::process,
};

/// What was asked for.
pub struct Wish<'a> {
    /// The interface.
    pub interface: &'a IfName,
    /// The mode; `None`: as the configuration has it, or native.
    pub mode: Option<XdpMode>,
    /// Only this object.
    pub object: Option<&'a PinName>,
    /// Only this program.
    pub program: Option<&'a PinName>,
    /// How long to wait; `None`: as the configuration has it, or not at all.
    pub wait: Option<Duration>,
    /// Only where the configuration names the interface.
    pub configured: bool,
}

/// Attaches.
pub fn attach(config: &Config, options: &Options, wish: &Wish<'_>) -> Health {
    let mut run = Run::new("attach", options, &config.sources);
    if wish.configured && !config.objects.values().any(|object| object.attaches_to(wish.interface)) {
        run.notes.push(format!("the configuration names no program for {}", wish.interface));
        return run.end(Health::Healthy, false);
    }
    process::catch_stop_signals();
    let _locked = match lock() {
        Ok((locked, note)) => {
            run.notes.extend(note);
            locked
        }
        Err(fault) => {
            run.fail("lock", Phase::Settle, Must::Required, fault);
            return run.end(Health::Failed, false);
        }
    };
    if let Err(fault) = bpf::Store::new(&config.bpf.root).sweep() {
        run.fail("pins of a run that was killed", Phase::Settle, Must::Optional, fault);
    }
    let mut plan = BpfPlan::new(config, &run.facts, options.allow_untrusted);
    let health = match choose(&mut plan, wish) {
        Ok(index) => go(&mut run, &plan, index),
        Err(fault) => {
            run.fail(format!("attach {}", wish.interface), Phase::Load, Must::Required, fault);
            Health::Failed
        }
    };
    if health == Health::Healthy {
        drop_privileges(&mut run);
    }
    // udev's runs must not hide what the boot came to.
    run.end(health, !wish.configured)
}

/// Narrows the plan to one new attachment; everything else is carried over as it is. Gives the object's index.
fn choose(plan: &mut BpfPlan, wish: &Wish<'_>) -> Result<usize, Fault> {
    let fits = |asked: Option<&PinName>, name: &PinName| asked.is_none_or(|asked| asked == name);
    let mut candidates: Vec<(usize, PinName, bool)> = Vec::new();
    for (index, object) in plan.objects.iter().enumerate().filter(|(_, object)| fits(wish.object, &object.job.name)) {
        for program in object.wanted().filter(|p| p.kind == Kind::Xdp && fits(wish.program, &p.name)) {
            if wish.program.is_none() && object.job.jumped_to(program.name.as_str()) {
                continue;
            }
            let named = |xdp: &XdpJob| xdp.program == program.name && xdp.interface == *wish.interface;
            candidates.push((index, program.name.clone(), object.job.xdp.iter().any(named)));
        }
    }
    // Of several, the configuration means the one that it names for this interface.
    if candidates.iter().any(|(_, _, configured)| *configured) {
        candidates.retain(|(_, _, configured)| *configured);
    }
    let [(index, program, _)] = candidates.as_slice() else {
        let names: Vec<_> = candidates
            .iter()
            .filter_map(|(index, name, _)| Some(format!("{}/{name}", plan.objects.get(*index)?.job.name)))
            .collect();
        return Err(match names.is_empty() {
            true => Fault::new(Cause::Object, "the configuration has no such XDP program")
                .mend("bpfboot apply --dry-run lists what it has"),
            false => Fault::new(Cause::Object, format!("there are several XDP programs: {}", names.join(", ")))
                .mend("say which: --object NAME --program NAME"),
        });
    };
    let (index, program) = (*index, program.clone());
    plan.only_attach(index, |job| {
        let configured = job.xdp.iter().find(|xdp| xdp.program == program && xdp.interface == *wish.interface);
        XdpJob {
            program: program.clone(),
            interface: wish.interface.clone(),
            mode: wish.mode.or(configured.map(|xdp| xdp.mode)).unwrap_or_default(),
            wait: wish.wait.or(configured.map(|xdp| xdp.wait)).unwrap_or_default(),
            optional: false,
        }
    })
}

fn go(run: &mut Run, plan: &BpfPlan, index: usize) -> Health {
    let Some(object) = plan.objects.get(index) else { return Health::Failed };
    let Some(link) = object.found.links.last() else { return Health::Failed };
    let id = format!("link {}/{}", object.job.name, link.job.link_name());
    match &link.how {
        XdpHow::Blocked(fault) => {
            run.fail(id, Phase::Load, Must::Required, fault.clone());
            return Health::Failed;
        }
        XdpHow::Keep => {
            found(object, Status::Already).into_iter().filter(|line| line.id == id).for_each(|line| run.say(line));
            return Health::Healthy;
        }
        XdpHow::Attach | XdpHow::Update => {}
    }
    let staged = stage(run, plan).is_ok();
    let (start, committed) = (Instant::now(), staged.then(|| bpf::commit(plan)));
    match committed {
        Some(Ok(_)) => {
            if let Err(fault) = bpf::retire(plan) {
                run.fail("pins of the last generation", Phase::Commit, Must::Optional, fault);
            }
            run.health()
        }
        Some(Err(fault)) => {
            run.fail_to_change(id, Phase::Commit, start, fault);
            give_up(run, plan)
        }
        None => give_up(run, plan),
    }
}

fn give_up(run: &mut Run, plan: &BpfPlan) -> Health {
    take_pins_back(run, plan, None);
    if run.leftovers.is_empty() { Health::Failed } else { Health::Dirty }
}

/// The line for a program that is no longer attached.
pub fn detached(id: String, now: String) -> Line {
    Line { now: Some(now), ..Line::new(id, Phase::Load, Must::Required, Status::Done) }
}
