//! Delegation: what a bpffs must let a user namespace do, so that the objects can be loaded there (Linux 6.9).
//!
//! bpf(2) counts only the capabilities of the initial user namespace. A bpffs that belongs to another one can say which
//! commands, and which types of maps, programs and attachments, count there; a token made of it stands for that
//! (`bpf_token_create()` in kernel/bpf/token.c).

use std::{fmt, os::fd::OwnedFd, path::Path};

use aya_obj::generated::bpf_cmd as B;

use super::{
    job::{Job, ProgramJob},
    kind::understand,
    layout::type_word,
    load::kernel_type,
    plan::BpfPlan,
};
use crate::{
    error::{Cause, Fault},
    sys::{bpf, file},
};

/// What is asked of bpf(2): commands, and types of maps, programs and attachments, one bit each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Delegation([u64; 4]);

/// Its sets, as the mount options and a token's fdinfo name them.
const SETS: [&str; 4] = ["cmds", "maps", "progs", "attachs"];

/// The commands that a token is for.
const COMMANDS: [(B, &str); 3] =
    [(B::BPF_MAP_CREATE, "map_create"), (B::BPF_PROG_LOAD, "prog_load"), (B::BPF_BTF_LOAD, "btf_load")];

impl fmt::Display for Delegation {
    /// As mount options.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (name, set) in SETS.iter().zip(self.0).filter(|(_, set)| *set != 0) {
            write!(f, "{comma}delegate_{name}={set:#x}")?;
            comma = ",";
        }
        Ok(())
    }
}

/// The kernel's numbers of a program: its type, and the type of its attachment.
fn numbers(program: &ProgramJob) -> Option<(u32, u32)> {
    let name = understand(&program.section).for_aya;
    let section = name.as_ref().unwrap_or(&program.section).parse().ok()?;
    let (kind, attach, _) = kernel_type(&section, &program.section);
    Some((kind as u32, attach))
}

impl Delegation {
    /// What loading takes, of those programs that `count`.
    pub fn of<'a>(jobs: impl Iterator<Item = &'a Job>, count: &dyn Fn(&ProgramJob) -> bool) -> Self {
        let mut sets = [0; 4];
        for job in jobs {
            let [cmds, maps, progs, attachs] = &mut sets;
            let takes = [job.map_types != 0, !job.programs.is_empty(), job.typed];
            for ((command, _), _) in COMMANDS.iter().zip(takes).filter(|(_, takes)| *takes) {
                *cmds |= 1 << *command as u32;
            }
            *maps |= job.map_types;
            for (kind, attach) in job.programs.iter().filter(|program| count(program)).filter_map(numbers) {
                *progs |= 1 << kind;
                *attachs |= 1 << attach;
            }
        }
        Self(sets)
    }

    /// What a token allows, by its fdinfo. What is not told counts as allowed, so that the kernel decides.
    fn told(fdinfo: &str) -> Self {
        let told = |name: &&str| {
            let mut fields = fdinfo.lines().filter_map(|line| line.split_once(":\t"));
            let (_, set) = fields.find(|(field, _)| field.strip_prefix("allowed_") == Some(*name))?;
            u64::from_str_radix(set.strip_prefix("0x")?, 16).ok()
        };
        Self(SETS.each_ref().map(|name| told(name).unwrap_or(u64::MAX)))
    }

    /// What of it is not among what is `given`, in words.
    fn lacks(self, given: Self, jobs: &[&Job]) -> String {
        let mut sets = self.0;
        sets.iter_mut().zip(given.0).for_each(|(set, given)| *set &= !given);
        let [cmds, maps, progs, attachs] = sets;
        let mut words: Vec<String> = Vec::new();
        let mut note = |set: u64, number: u32, word: String| {
            if set >> number & 1 != 0 && !words.contains(&word) {
                words.push(word);
            }
        };
        COMMANDS.iter().for_each(|(command, word)| note(cmds, *command as u32, format!("command {word}")));
        (0..u64::BITS).for_each(|number| note(maps, number, format!("map type {}", type_word(number))));
        for program in jobs.iter().flat_map(|job| &job.programs) {
            let (Some((kind, attach)), word) = (numbers(program), program.kind.word()) else { continue };
            note(progs, kind, format!("program type {kind} of {word}"));
            note(attachs, attach, format!("attach type {attach} of {word}"));
        }
        words.join(", ")
    }
}

/// Makes a token of the bpffs on which the pins will be.
///
/// # Errors
/// [`Cause::Mount`], [`Cause::Privilege`] or [`Cause::Kernel`]: there can be none, and why; `wanted` is what it should
/// delegate.
pub fn token(pins: &Path, wanted: Delegation) -> Result<OwnedFd, Fault> {
    let is_bpffs = |dir: &&Path| file::fs_magic(dir).ok() == Some(file::BPF_MAGIC);
    let Some(at) = pins.ancestors().filter(is_bpffs).last() else {
        let parent = pins.parent().unwrap_or(pins).display();
        return Err(refused(Fault::new(Cause::Mount, format!("there is no bpffs on {parent}")), wanted));
    };
    bpf::create_token(at).map_err(|error| {
        let shown = at.display();
        let (cause, what) = match file::errno(&error) {
            libc::ENOENT => (Cause::Privilege, format!("the bpffs on {shown} delegates nothing")),
            libc::EPERM => (Cause::Privilege, format!("the bpffs on {shown} belongs to another user namespace")),
            libc::EINVAL => (Cause::Kernel, "nothing can be delegated to it before Linux 6.9".into()),
            _ => (Cause::Privilege, format!("make a token of the bpffs on {shown}")),
        };
        refused(Fault::io(cause, what, &error), wanted)
    })
}

/// Whether the objects to load may be loaded in this user namespace, as far as it is known.
///
/// # Errors
/// As [`token`]; or what it does not allow.
pub fn suffices(plan: &BpfPlan) -> Result<(), Fault> {
    let jobs: Vec<&Job> = plan.loads().map(|object| &object.job).collect();
    let of = |count: &dyn Fn(&ProgramJob) -> bool| Delegation::of(jobs.iter().copied(), count);
    let wanted = of(&|_| true);
    let given = bpf::token_info(&token(plan.store.root(), wanted)?).unwrap_or_default();
    // What is optional, or has an alternative, may fail.
    let required = of(&|program| !program.optional && program.instead.is_none() && !program.reserve);
    let lacks = required.lacks(Delegation::told(&given), &jobs);
    match lacks.is_empty() {
        true => Ok(()),
        false => Err(refused(Fault::os(Cause::Privilege, format!("its bpffs does not delegate {lacks}"), libc::EPERM), wanted)),
    }
}

fn refused(fault: Fault, wanted: Delegation) -> Fault {
    fault
        .about("in a user namespace only what its bpffs delegates can be loaded")
        .mend(format!("have the host mount it for this user namespace with -o {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_tells_is_read() {
        let told = Delegation::told("pos:\t0\nallowed_cmds:\t0x21\nallowed_maps:\tany\nallowed_progs:\t0x40\n");
        assert_eq!(told, Delegation([0x21, u64::MAX, 0x40, u64::MAX]));
        let wanted = Delegation([0x4_0021, 1 << 27 | 1 << 2, 0x40, 0]);
        assert_eq!(wanted.to_string(), "delegate_cmds=0x40021,delegate_maps=0x8000004,delegate_progs=0x40");
        assert_eq!(wanted.lacks(told, &[]), "command btf_load");
        assert_eq!(wanted.lacks(Delegation([u64::MAX, 4, 0, 0]), &[]), "map type ringbuf");
    }
}
