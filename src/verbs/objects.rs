//! What the report says of objects: of those that are proven to be there, of those that would change, and of what the
//! loader child told.

use crate::{
    bpf::{BpfPlan, Event, How, Layout, ObjectPlan, Record, XdpHow},
    report::{Line, Status},
    step::{Must, Phase},
};

/// The lines of one object as a look found it. `change` is what a needed change counts as.
pub fn found(object: &ObjectPlan, change: Status) -> Vec<Line> {
    let job = &object.job;
    let must = if job.optional || object.found.degraded { Must::Optional } else { Must::Required };
    let mut lines = match &object.found.how {
        How::Keep(record) => kept(object, record),
        How::Load(why) => {
            let mut lines = vec![Line {
                note: why.clone(),
                ..Line::new(format!("object {}", job.name), Phase::Load, must, change)
            }];
            for program in object.wanted() {
                let must = if program.optional { Must::Optional } else { must };
                let id = format!("program {}/{}", job.name, program.name);
                let now = Some(format!("{} from section {:?}", program.kind.word(), program.section));
                let more = program.instead.as_ref().map_or_else(String::new, |next| format!("else {next}"));
                let note = program.note(&job.refused, more);
                lines.push(Line { now, note, ..Line::new(id, Phase::Load, must, change) });
            }
            lines
        }
    };
    lines.extend(object.refused().iter().map(|refused| {
        let (id, note) = refused.line(&job.name);
        Line { note, ..Line::new(id, Phase::Load, must, Status::Skipped) }
    }));
    for link in &object.found.links {
        let status = match link.how {
            XdpHow::Keep => Status::Already,
            XdpHow::Blocked(_) => continue,
            XdpHow::Update | XdpHow::Attach => change,
        };
        let must = if link.job.optional { Must::Optional } else { must };
        let note = if link.adopted { "made by bpfboot attach" } else { "" }.to_owned();
        let now = Some(format!("xdp {}", link.job.interface));
        lines.push(Line {
            now,
            note,
            ..Line::new(format!("link {}/{}", job.name, link.job.link_name()), Phase::Load, must, status)
        });
    }
    lines
}

/// The lines of pins that were proven to be as planned.
fn kept(object: &ObjectPlan, record: &Record) -> Vec<Line> {
    let job = &object.job;
    let line = |id: String, now: String, facts| Line {
        now: Some(now),
        facts,
        ..Line::new(id, Phase::Load, Must::Required, Status::Already)
    };
    let sha256 = job.sha256();
    let mut lines = vec![line(
        format!("object {}", job.name),
        format!("sha256 {}", sha256.get(..16).unwrap_or_default()),
        vec![("sha256", sha256.clone())],
    )];
    lines.extend(record.maps.iter().map(|(name, map)| {
        line(format!("map {}/{name}", job.name), Layout::pinned(map).to_string(), vec![("id", map.id.to_string())])
    }));
    lines.extend(record.programs.iter().map(|(name, program)| {
        let planned = job.program(name);
        let kind = planned.map_or("", |program| program.kind.word());
        let facts = vec![("kind", kind.to_owned()), ("id", program.id.to_string()), ("tag", program.tag())];
        let now = format!("{kind} id {} tag {}", program.id, program.tag());
        let note = planned.map_or_else(String::new, |program| program.note(&record.refused, String::new()));
        Line { note, ..line(format!("program {}/{name}", job.name), now, facts) }
    }));
    lines.extend(record.links.iter().filter(|link| !link.target.starts_with("xdp ")).map(|link| {
        line(format!("link {}/{}", job.name, link.name), link.target.clone(), vec![("id", link.id.to_string())])
    }));
    lines
}

/// What the loader child told, put into the order of the plan.
#[derive(Default)]
pub struct Told {
    lines: Vec<Line>,
    /// Programs the child has turned to.
    pub begun: usize,
}

impl Told {
    /// Takes one event.
    pub fn hear(&mut self, event: Event) {
        let line = |id: String, status| Line::new(id, Phase::Load, Must::Required, status);
        match event {
            Event::Begin(id) => self.begun += usize::from(id.starts_with("program ")),
            Event::Done { id, now, note, span, facts } => {
                let facts = facts.into_iter().filter_map(|(name, value)| Some((known(&name)?, value))).collect();
                self.lines.push(Line {
                    now: Some(now),
                    note,
                    at: Some(span.at),
                    took: span.took,
                    facts,
                    ..line(id, Status::Done)
                });
            }
            Event::Skipped { id, why } => self.lines.push(Line { note: why, ..line(id, Status::Skipped) }),
            Event::Failed { id, optional, span, fault } => {
                let must = if optional { Must::Optional } else { Must::Required };
                self.lines.push(Line {
                    fault: Some(fault),
                    at: Some(span.at),
                    took: span.took,
                    must,
                    ..line(id, Status::Failed)
                });
            }
            Event::End => {}
        }
    }

    /// Everything, object by object: the object, its maps, its programs, its links.
    pub fn sorted(mut self, plan: &BpfPlan) -> Vec<Line> {
        self.lines.sort_by(|a, b| place(a, plan).cmp(&place(b, plan)));
        self.lines
    }
}

fn place<'l>(line: &'l Line, plan: &BpfPlan) -> (Option<usize>, Option<usize>, &'l str) {
    let (kind, rest) = line.id.split_once(' ').unwrap_or((line.id.as_str(), ""));
    let (object, name) = rest.split_once('/').unwrap_or((rest, ""));
    let object = plan.objects.iter().position(|plan| plan.job.name.as_str() == object);
    (object, ["object", "map", "program", "link"].iter().position(|known| *known == kind), name)
}

/// The names of facts that a child may give.
fn known(name: &str) -> Option<&'static str> {
    ["id", "tag", "kind", "pinned", "sha256", "verified_instructions", "confined"]
        .into_iter()
        .find(|known| *known == name)
}
