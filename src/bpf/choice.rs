//! Which programs of an object are taken, and of alternatives, which one: the first that this kernel can take.
//!
//! What was refused is all that needs to be known of a choice: it is noted in the object's [`Record`] as it happens.

use super::{
    child::Out,
    elf::{ProgramShape, Shape},
    job::{Job, ProgramJob, XdpJob, absent, target},
    kind::Kind,
    record::Record,
    wire::Event,
};
use crate::{
    config::{AttachWish, ObjectWish, PinName, ProgramWish, Table},
    error::{Cause, Fault},
};

/// A program that another is used instead of, and why.
pub type Refused = (PinName, String);

impl Job {
    /// Whether a program is to be there, once those in `refused` were.
    pub fn wants(&self, program: &PinName, refused: &[Refused]) -> bool {
        let is_refused = |name: &PinName| refused.iter().any(|(refused, _)| refused == name);
        let mut lists = self.alternatives.iter().filter(|list| list.contains(program)).peekable();
        let mut is_next = |list: &Vec<PinName>| list.iter().take_while(|name| *name != program).all(is_refused);
        !is_refused(program) && (lists.peek().is_none() || lists.any(&mut is_next))
    }

    /// What to use instead of a program.
    pub fn after(&self, program: &str) -> Option<&PinName> {
        self.alternatives.iter().find_map(|list| list.iter().skip_while(|name| name.as_str() != program).nth(1))
    }

    /// What is used where the configuration names a program.
    pub fn stands_for<'j>(&'j self, mut program: &'j str, refused: &[Refused]) -> &'j str {
        while refused.iter().any(|(name, _)| name.as_str() == program)
            && let Some(next) = self.after(program)
        {
            program = next.as_str();
        }
        program
    }

    /// What a program is used instead of, and why; empty for a first choice.
    pub fn instead(&self, program: &PinName, refused: &[Refused]) -> String {
        let passed_over = refused.iter().filter(|(name, _)| self.after(name.as_str()) == Some(program));
        passed_over.map(|(name, why)| format!("instead of {name}: {why}")).collect::<Vec<_>>().join("; ")
    }

    /// What the report says of a refused program: the item, and why it was passed over.
    pub fn passed_over(&self, (name, why): &Refused) -> (String, String) {
        let next = self.after(name.as_str()).map_or("", PinName::as_str);
        (format!("program {}/{name}", self.name), format!("not here: {why}; instead: {next}"))
    }

    /// Refuses what is known to be impossible here, as far as it would be the next to try.
    pub fn refuse_known(&mut self, impossible: &dyn Fn(&ProgramJob, &Self) -> Option<Fault>) {
        for list in &self.alternatives {
            let but_the_last = list.iter().rev().skip(1).rev();
            let known =
                but_the_last.map_while(|name| Some((name.clone(), impossible(self.program(name)?, self)?.to_string())));
            self.refused.extend(known.collect::<Vec<_>>());
        }
        let refused = &self.refused;
        self.programs.retain(|program| !refused.iter().any(|(name, _)| *name == program.name));
    }

    /// Whether the fault of a program leaves another to try.
    pub fn gives_way(&self, program: &PinName, fault: &Fault) -> Option<&ProgramJob> {
        // What bpffs refuses says nothing of the program.
        if fault.cause == Cause::Pin { None } else { self.program(self.after(program.as_str())?) }
    }

    /// Notes and tells that a program failed, if there is another to try: that one.
    pub fn refuse(&self, program: &PinName, fault: &Fault, record: &mut Record, out: &Out) -> Option<&ProgramJob> {
        let next = self.gives_way(program, fault)?;
        let refused = (program.clone(), fault.to_string().replace(char::is_control, " "));
        let (id, why) = self.passed_over(&refused);
        out.send(&Event::Skipped { id, why });
        record.refused.push(refused);
        Some(next)
    }
}

/// The lists of the configuration. One is optional when all in it are: each of its programs is then, else none.
///
/// # Errors
/// A [`Cause::Attach`] fault: one of them is XDP on an interface, whose link would have to change its name.
pub fn alternatives(
    wish: &ObjectWish,
    programs: &mut [ProgramJob],
    xdp: &[XdpJob],
) -> Result<Vec<Vec<PinName>>, Fault> {
    let mut lists = Vec::new();
    for names in &wish.alternatives {
        let list: Vec<PinName> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let optional = programs.iter().filter(|program| list.contains(&program.name)).all(|program| program.optional);
        for program in programs.iter_mut().filter(|program| list.contains(&program.name)) {
            program.optional &= optional;
        }
        if let Some(attached) = xdp.iter().find(|xdp| list.contains(&xdp.program)) {
            return Err(Fault::new(
                Cause::Attach,
                format!("program {} is one of alternatives, and those do not attach to interfaces", attached.program),
            )
            .mend("take its attach away, and after apply: bpfboot attach IFACE"));
        }
        lists.push(list);
    }
    Ok(lists)
}

/// The programs to load and where they attach.
///
/// # Errors
/// As [`Job::new`].
pub fn programs(wish: &ObjectWish, shape: &Shape) -> Result<(Vec<ProgramJob>, Vec<XdpJob>), Fault> {
    let names = || shape.programs.iter().map(|p| p.name.as_str());
    let listed = wish.alternatives.iter().flatten();
    let mut named = wish.programs.iter().flat_map(Table::keys).chain(listed.clone());
    if let Some(missing) = named.find(|name| !names().any(|n| n == *name)) {
        return Err(absent("program", missing, names()));
    }
    let whole = ProgramWish::default();
    let mut out = (Vec::new(), Vec::new());
    for program in &shape.programs {
        let asked = match &wish.programs {
            Some(table) => table.get(&program.name),
            None => (!program.says.on_request).then_some(&whole),
        };
        let is_listed = || listed.clone().any(|name| *name == program.name).then_some(&whole);
        if let Some(asked) = asked.or_else(is_listed) {
            settle(program, asked, &mut out)?;
        }
    }
    if out.0.is_empty() && !shape.programs.is_empty() {
        return Err(Fault::new(
            Cause::Object,
            "no program of it is to be loaded: its sections begin with \"?\", on request only",
        )
        .mend(format!(
            "name those to take, object.NAME.programs.PROGRAM = {{}}: {}",
            names().collect::<Vec<_>>().join(", ")
        )));
    }
    Ok(out)
}

fn settle(program: &ProgramShape, asked: &ProgramWish, out: &mut (Vec<ProgramJob>, Vec<XdpJob>)) -> Result<(), Fault> {
    let kind = program.says.kind;
    let name: PinName = program
        .name
        .parse()
        .map_err(|e| Fault::new(Cause::Object, format!("the program name {:?} cannot be a pin: {e}", program.name)))?;
    let attach = match &asked.attach {
        Some(wishes) => wishes.clone(),
        None => program.says.attach.iter().cloned().collect(),
    };
    if let Some(wrong) = attach.iter().find(|wish| !fits(kind, wish)) {
        return Err(Fault::new(
            Cause::Attach,
            format!(
                "program {name} is a {} program (section {:?}) and cannot attach to {}",
                kind.word(),
                program.section,
                target(wrong)
            ),
        )
        .mend(format!("give it a place for {} programs, or attach = false", kind.word())));
    }
    let mut tracing = Vec::new();
    for wish in attach {
        match wish {
            AttachWish::Xdp { interface, mode, wait } => {
                out.1.push(XdpJob { program: name.clone(), interface, mode, wait, optional: asked.optional });
            }
            wish => tracing.push(wish),
        }
    }
    let load_target = match tracing.first().or(program.says.attach.as_ref()) {
        Some(wish) => target(wish),
        None => program.section.split_once('/').map_or_else(String::new, |(_, tail)| tail.to_owned()),
    };
    out.0.push(ProgramJob {
        name,
        kind,
        section: program.section.clone(),
        attach: tracing,
        load_target,
        optional: asked.optional,
    });
    Ok(())
}

/// Whether a program of that kind can attach there.
const fn fits(kind: Kind, wish: &AttachWish) -> bool {
    matches!(
        (kind, wish),
        (Kind::Xdp, AttachWish::Xdp { .. })
            | (Kind::Tracepoint, AttachWish::Tracepoint { .. })
            | (Kind::RawTracepoint, AttachWish::RawTracepoint(_))
            | (Kind::TpBtf, AttachWish::TpBtf(_))
            | (Kind::Kprobe, AttachWish::Kprobe { .. })
            | (Kind::Kretprobe, AttachWish::Kretprobe(_))
            | (Kind::Fentry, AttachWish::Fentry(_))
            | (Kind::Fexit, AttachWish::Fexit(_))
            | (Kind::Lsm, AttachWish::Lsm(_))
            | (Kind::Uprobe, AttachWish::Uprobe(_))
            | (Kind::Uretprobe, AttachWish::Uretprobe(_))
            | (Kind::PerfEvent, AttachWish::PerfEvent { .. })
    )
}
