//! Which programs of an object are taken, and of alternatives, which one: the first that this kernel can take.
//!
//! What was refused is all that needs to be known of a choice. It is noted in the object's record as it happens, so
//! that later runs know it, too.

use super::{
    elf::{ProgramShape, Shape},
    job::{Maps, ProgramJob, XdpJob, absent, target},
    kind::Kind,
};
use crate::{
    config::{AttachWish, ObjectWish, PinName, ProgramWish, Table},
    error::{Cause, Fault},
};

/// Programs, and what to use instead of each.
type Pairs = [(String, String)];

/// A program that another is used instead of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The program.
    pub program: PinName,
    /// The one to use instead, or to try.
    pub next: PinName,
    /// Why.
    pub why: String,
}

impl Refused {
    /// What the report says of it: the item, and why it was passed over.
    pub fn line(&self, object: &PinName) -> (String, String) {
        let Self { program, next, why } = self;
        (format!("program {object}/{program}"), format!("not here: {why}; instead: {next}"))
    }
}

impl ProgramJob {
    /// Whether it is to be there, once those in `refused` were.
    pub fn is_wanted(&self, refused: &[Refused]) -> bool {
        let named = |name: fn(&Refused) -> &PinName| refused.iter().any(|refused| *name(refused) == self.name);
        !named(|refused| &refused.program) && (!self.reserve || named(|refused| &refused.next))
    }

    /// `note`, and what it is used instead of.
    pub fn note(&self, refused: &[Refused], mut note: String) -> String {
        for Refused { program, why, .. } in refused.iter().filter(|refused| refused.next == self.name) {
            note += if note.is_empty() { "" } else { "; " };
            note += &format!("instead of {program}: {why}");
        }
        note
    }

    /// This program as one that gives way to its alternative, if it has one, because of a fault that has to do with it:
    /// what bpffs refuses has not.
    pub fn refused(&self, fault: &Fault) -> Option<Refused> {
        let next = self.instead.clone().filter(|_| fault.cause != Cause::Pin)?;
        Some(Refused { program: self.name.clone(), next, why: fault.to_string().replace(['\t', '\n'], " ") })
    }
}

/// Whether all may fail of which a program is the last resort, and it, too.
fn is_optional(wish: &ObjectWish, alternatives: &Pairs, name: &str) -> bool {
    let mut before = alternatives.iter().filter(|(_, next)| next == name);
    let own = wish.programs.as_ref().and_then(|programs| programs.get(name));
    own.is_some_and(|own| own.optional) && before.all(|(before, _)| is_optional(wish, alternatives, before))
}

/// Whether a program stands behind an index of a program array: it is jumped to, and not meant to be attached.
pub fn jumped_to(maps: &Maps, program: &str) -> bool {
    maps.values().any(|map| map.programs.values().any(|name| name == program))
}

/// The programs to load and where they attach.
///
/// # Errors
/// As [`super::job::Job::new`].
pub fn programs(
    wish: &ObjectWish,
    alternatives: &Pairs,
    shape: &Shape,
    maps: &Maps,
) -> Result<(Vec<ProgramJob>, Vec<XdpJob>), Fault> {
    let names = || shape.programs.iter().map(|p| p.name.as_str());
    let mut named: Vec<&String> = wish.programs.iter().flat_map(Table::keys).collect();
    alternatives.iter().for_each(|(name, next)| named.extend([name, next]));
    if let Some(missing) = named.into_iter().find(|name| !names().any(|there| there == *name)) {
        return Err(absent("program", missing, names()));
    }
    let whole = ProgramWish::default();
    let mut out = (Vec::new(), Vec::new());
    for program in &shape.programs {
        let asked = match &wish.programs {
            Some(table) => table.get(&program.name).or(jumped_to(maps, &program.name).then_some(&whole)),
            None => (!program.says.on_request).then_some(&whole),
        };
        let is_listed = || alternatives.iter().any(|(name, next)| program.name == *name || program.name == *next);
        if let Some(asked) = asked.or_else(|| is_listed().then_some(&whole)) {
            settle(program, asked, wish, alternatives, &mut out)?;
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

fn settle(
    program: &ProgramShape,
    asked: &ProgramWish,
    wish: &ObjectWish,
    alternatives: &Pairs,
    out: &mut (Vec<ProgramJob>, Vec<XdpJob>),
) -> Result<(), Fault> {
    let is_reserve = alternatives.iter().any(|(_, next)| *next == program.name);
    let instead = alternatives.iter().find(|(name, _)| *name == program.name);
    let instead = instead.and_then(|(_, next)| next.parse().ok());
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
            // The link would have to change its name with the program.
            AttachWish::Xdp { .. } if is_reserve || instead.is_some() => {
                let what = format!("program {name} has alternatives, and those do not attach to interfaces");
                let mend = "take its attach away, and after apply: bpfboot attach IFACE";
                return Err(Fault::new(Cause::Attach, what).mend(mend));
            }
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
        optional: is_optional(wish, alternatives, &program.name),
        instead,
        reserve: is_reserve,
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
