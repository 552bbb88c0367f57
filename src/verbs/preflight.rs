//! `preflight`: the plan as it would be made on another kernel. Looks at files alone, and changes nothing.

use std::path::Path;

use super::{check::in_order, objects::found, run::Run};
use crate::{
    bpf::{ObjectPlan, Prospect},
    cli::Options,
    config::Config,
    facts::Facts,
    health::Health,
    plan::Plan,
    report::{Line, Status, complain},
    step::{Must, Phase},
    target::Target,
};

/// How a line says that nobody can know.
const UNTOLD: &str = "not known: ";

/// Says whether the configuration would work there.
pub fn preflight(
    config: &Config,
    options: &Options,
    kernel_config: &Path,
    btf: Option<&Path>,
    release: Option<&str>,
) -> Health {
    let target = match Target::read(kernel_config, btf, release) {
        Ok(target) => target,
        Err(fault) => {
            complain(&format!("bpfboot: {fault}; mend: {}\n", fault.mend));
            return Health::BadInput;
        }
    };
    let mut run = Run::on(Facts::of(target), "preflight", options, &config.sources);
    let plan = Plan::new(config, &run.facts, &[], options.allow_untrusted);
    run.notes.extend(plan.notes.iter().cloned());
    let steps = plan.steps.iter().map(|(step, verdict)| Line::of_verdict(step, verdict.clone(), Status::Planned));
    let mut lines: Vec<Line> = steps.collect();
    let mut impossible = Vec::new();
    for item in &plan.blocked {
        let must = if item.optional { Must::Optional } else { Must::Required };
        let fault = Some(item.fault.clone());
        impossible.push(item.id.clone());
        lines.push(Line { fault, ..Line::new(item.id.clone(), Phase::Load, must, Status::Failed) });
    }
    for line in plan.bpf.objects.iter().flat_map(foreseen) {
        if !impossible.contains(&line.id) {
            lines.push(line);
        }
    }
    in_order(&mut lines);
    run.fit(lines.iter().map(|line| line.id.as_str()).collect::<Vec<_>>().into_iter());
    lines.into_iter().for_each(|line| run.say(line));
    let count = |test: &dyn Fn(&&Line) -> bool| run.lines.iter().filter(test).count();
    let (untold, hurt) = (count(&|line| is_untold(line)), count(&|line| line.hurts()));
    let fatal = count(&|line| line.status == Status::Failed && line.must == Must::Required);
    if untold > 0 {
        run.notes.push(format!(
            "{untold} of these cannot be known without that kernel, or without its --btf: no yes, and no no"
        ));
    }
    let health = match () {
        () if plan.bpf.is_bad_input() => Health::BadInput,
        () if fatal > 0 => Health::Failed,
        () if untold + hurt > 0 => Health::Degraded,
        () => Health::Healthy,
    };
    run.end(health, false)
}

fn is_untold(line: &Line) -> bool {
    line.status == Status::Skipped && line.note.starts_with(UNTOLD)
}

/// The lines of an object: those of a dry run, its maps, and where its programs would be attached.
fn foreseen(object: &ObjectPlan) -> Vec<Line> {
    let job = &object.job;
    let mut lines = found(object, Status::Planned);
    let Some(outlook) = &job.outlook else { return lines };
    let must = if job.optional { Must::Optional } else { Must::Required };
    for (name, layout, fault) in &outlook.maps {
        let status = if fault.is_some() { Status::Failed } else { Status::Planned };
        let line = Line::new(format!("map {}/{name}", job.name), Phase::Load, must, status);
        lines.push(Line { now: Some(layout.clone()), fault: fault.clone(), ..line });
    }
    for program in object.wanted() {
        let id = format!("program {}/{}", job.name, program.name);
        let (status, note) = match outlook.of(&program.name) {
            Some(Prospect::Loads(note)) => (Status::Planned, note.clone()),
            Some(Prospect::Unknown(why)) => (Status::Skipped, format!("{UNTOLD}{why}")),
            _ => continue,
        };
        for line in lines.iter_mut().filter(|line| line.id == id && status == Status::Skipped) {
            (line.status, line.now) = (status, None);
            line.note.clone_from(&note);
        }
        for place in program.places() {
            let line = Line::new(format!("link {}/{place}", job.name), Phase::Load, must, status);
            let now = Some(format!("{} {}", program.kind.word(), place.rsplit('@').next().unwrap_or_default()));
            let note = if status == Status::Skipped { String::from(UNTOLD) + "see its program" } else { note.clone() };
            lines.push(Line { now: now.filter(|_| status != Status::Skipped), note, ..line });
        }
    }
    lines
}
