//! Delegation: what a bpffs must let a user namespace do, so that the objects can be loaded there (Linux 6.9).
//!
//! bpf(2) counts only the capabilities of the initial user namespace. A bpffs that belongs to another one can say which
//! commands, and which types of maps, programs and attachments, count there; a token made of it stands for that
//! (`bpf_token_create()` in kernel/bpf/token.c).

use std::{fmt, os::fd::OwnedFd, path::Path};

use aya_obj::generated::bpf_cmd as B;

use super::{
    job::ProgramJob,
    kind::understand,
    layout::type_word,
    load::kernel_type,
    plan::{BpfPlan, ObjectPlan},
    proof::How,
};
use crate::{
    error::{Cause, Fault},
    facts::KernelVersion,
    reason::Reason,
    sys::{bpf, file},
};

/// The first kernel with tokens.
const SINCE: KernelVersion = KernelVersion { major: 6, minor: 9 };

/// What is asked of bpf(2): commands, and types of maps, programs and attachments, one bit each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Delegation([u64; 4]);

impl fmt::Display for Delegation {
    /// As mount options.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [cmds, maps, progs, attachs] = self.0;
        write!(
            f,
            "delegate_cmds={cmds:#x},delegate_maps={maps:#x},delegate_progs={progs:#x},delegate_attachs={attachs:#x}"
        )
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
    /// What loading all objects takes, or what the run cannot do without.
    pub fn of(plan: &BpfPlan, required: bool) -> Self {
        let mut sets = [0; 4];
        let [cmds, maps, progs, attachs] = &mut sets;
        for ObjectPlan { job, found } in &plan.objects {
            if required && matches!(found.how, How::Keep(_)) {
                continue;
            }
            *cmds |= u64::from(job.map_types != 0) << B::BPF_MAP_CREATE as u32
                | u64::from(!job.programs.is_empty()) << B::BPF_PROG_LOAD as u32
                | u64::from(job.typed) << B::BPF_BTF_LOAD as u32;
            *maps |= job.map_types;
            for program in &job.programs {
                // What is optional, or has an alternative, may fail.
                let may_fail = program.optional || program.reserve || program.instead.is_some();
                if let Some((kind, attach)) = numbers(program)
                    && !(required && may_fail)
                {
                    *progs |= 1 << kind;
                    *attachs |= 1 << attach;
                }
            }
        }
        Self(sets)
    }

    /// What a token allows, by its fdinfo. What is not told counts as allowed, so that the kernel decides.
    fn told(fdinfo: &str) -> Self {
        let mut sets = [u64::MAX; 4];
        // In our order (bpf_token_show_fdinfo()).
        for (set, line) in sets.iter_mut().zip(fdinfo.lines().filter(|line| line.starts_with("allowed_"))) {
            if let Some((_, bits)) = line.split_once(":\t0x") {
                *set = u64::from_str_radix(bits, 16).unwrap_or(u64::MAX);
            }
        }
        Self(sets)
    }

    /// What of it is not among what is `given`, in words.
    fn lacks(mut self, given: Self, plan: &BpfPlan) -> String {
        let mut words = String::new();
        self.0.iter_mut().zip(given.0).for_each(|(set, given)| *set &= !given);
        let [cmds, maps, progs, attachs] = &mut self.0;
        let mut note = |set: &mut u64, number: u32, what: &str, word: &str| {
            if *set >> number & 1 != 0 {
                *set &= !(1 << number);
                let comma = if words.is_empty() { "" } else { ", " };
                words += &format!("{comma}{what} {word}");
            }
        };
        for (command, word) in
            [(B::BPF_MAP_CREATE, "map_create"), (B::BPF_PROG_LOAD, "prog_load"), (B::BPF_BTF_LOAD, "btf_load")]
        {
            note(cmds, command as u32, "command", word);
        }
        while *maps != 0 {
            let number = maps.trailing_zeros();
            note(maps, number, "map type", &type_word(number));
        }
        for program in plan.loads().flat_map(|object| &object.job.programs) {
            let Some((kind, attach)) = numbers(program) else { continue };
            note(progs, kind, "program type", program.kind.word());
            note(attachs, attach, "attach type", program.kind.word());
        }
        words
    }
}

/// Makes a token of the bpffs on which the pins will be.
///
/// # Errors
/// [`Cause::Mount`], [`Cause::Privilege`] or [`Cause::Kernel`]: there can be none, and why.
pub fn token(plan: &BpfPlan) -> Result<OwnedFd, Fault> {
    let is_bpffs = |dir: &&Path| matches!(file::fs_magic(dir), Ok(file::BPF_MAGIC));
    let root = plan.store.root();
    let Some(at) = root.ancestors().filter(is_bpffs).last() else {
        return Err(refused(Fault::new(Cause::Mount, format!("no bpffs holds {}", root.display())), plan));
    };
    bpf::create_token(at).map_err(|error| {
        let (cause, what) = match file::errno(&error) {
            // Old kernels say EPERM or EINVAL.
            _ if KernelVersion::running() < SINCE => (Cause::Kernel, "cannot delegate before Linux 6.9"),
            libc::ENOENT => (Cause::Privilege, "delegates nothing"),
            libc::EPERM => (Cause::Privilege, "belongs to another user namespace"),
            _ => (Cause::Privilege, "gives no token"),
        };
        refused(Fault::io(cause, format!("{} {what}", at.display()), &error), plan)
    })
}

/// Whether the objects to load may be loaded in this user namespace, as far as it is known.
///
/// # Errors
/// As [`token`]; or what it does not allow.
pub fn suffices(plan: &BpfPlan) -> Result<(), Fault> {
    let given = bpf::token_info(&token(plan)?).unwrap_or_default();
    let lacks = Delegation::of(plan, true).lacks(Delegation::told(&given), plan);
    match lacks.is_empty() {
        true => Ok(()),
        false => Err(refused(Fault::os(Cause::Privilege, format!("not delegated: {lacks}"), libc::EPERM), plan)),
    }
}

fn refused(fault: Fault, plan: &BpfPlan) -> Fault {
    fault
        .by(Reason::Delegation)
        .about("a user namespace loads only what its bpffs delegates")
        .mend(format!("let the host mount it for this user namespace: -o {}", Delegation::of(plan, false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_tells_is_read() {
        let told = Delegation::told("pos:\t0\nallowed_cmds:\t0x21\nallowed_maps:\tany\nallowed_progs:\t0x40\n");
        assert_eq!(told, Delegation([0x21, u64::MAX, 0x40, u64::MAX]));
        let wanted = Delegation([0x4_0021, 1 << 27 | 1 << 2, 0x40, 0]);
        assert_eq!(
            wanted.to_string(),
            "delegate_cmds=0x40021,delegate_maps=0x8000004,delegate_progs=0x40,delegate_attachs=0x0"
        );
    }
}
