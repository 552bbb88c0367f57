//! What is known to be impossible on a kernel, before it is asked.

use super::{
    foresee::Prospect,
    job::{Job, ProgramJob},
    kind::{self, Kind},
};
use crate::{
    error::{Cause, Fault},
    facts::Facts,
    reason::Reason,
    sys::file,
};

/// The kernel's setting; its default where it cannot be read.
pub fn perf_event_paranoid() -> i32 {
    file::text("/proc/sys/kernel/perf_event_paranoid").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(2)
}

/// Takes out the programs that need not be tried, because it is known that their alternatives must be used.
pub(super) fn refuse_known(job: &mut Job, facts: &Facts) {
    let known = |job: &Job| {
        let mut next = job.programs.iter().filter(|program| program.is_wanted(&job.refused));
        next.find_map(|program| program.refused(&impossible(program, job, facts)?))
    };
    while let Some(refused) = known(job) {
        job.refused.push(refused);
    }
    let refused = &job.refused;
    job.programs.retain(|program| !refused.iter().any(|refused| refused.program == program.name));
}

/// Why a program cannot be loaded and kept here.
pub(super) fn impossible(program: &ProgramJob, job: &Job, facts: &Facts) -> Option<Fault> {
    let refuse = |what: String, mend: &str| Some(Fault::new(Cause::Kernel, what).mend(mend));
    let (kind, word, release) = (program.kind, program.kind.word(), &facts.release);
    if kind == Kind::Unknown {
        return refuse(
            kind::why_not(&program.section),
            "list the programs to take, without this one: object.NAME.programs.PROGRAM = {}",
        );
    }
    if !program.attach.is_empty() && kind.uses_perf_link() && !facts.perf_links() {
        return refuse(
            format!("a {word} link cannot outlive bpfboot on Linux {release}: it can be pinned only since 5.15"),
            "use raw_tp, tp_btf or fentry, attach = false to only pin it, or optional = true",
        );
    }
    if !program.attach.is_empty() && kind.uses_perf_link() && !facts.initial_userns && perf_event_paranoid() > 0 {
        return refuse(
            format!("{word} programs attach by perf, for which no capability of a user namespace counts"),
            "use raw_tp, tp_btf or fentry, attach = false to only pin it, or optional = true",
        )
        .map(|fault| fault.by(Reason::UserNamespace));
    }
    if job.xdp.iter().any(|xdp| xdp.program == program.name) && !facts.xdp_links() {
        return refuse(
            format!("XDP cannot be attached to last on Linux {release}: it has links only since 5.9"),
            "optional = true, or a newer kernel",
        );
    }
    if kind.needs_kernel_btf() && !facts.btf {
        return refuse(
            match facts.target() {
                None => format!("a {word} program needs this kernel's BTF, and there is no /sys/kernel/btf/vmlinux"),
                Some(_) => format!("a {word} program needs the kernel's BTF, and CONFIG_DEBUG_INFO_BTF is not set"),
            },
            "a kernel with CONFIG_DEBUG_INFO_BTF=y, or optional = true",
        )
        .map(|fault| fault.by(Reason::NoBtf));
    }
    match job.outlook.as_ref()?.of(&program.name)? {
        Prospect::Fails(fault) => Some(fault.clone()),
        Prospect::Loads(_) | Prospect::Unknown(_) => None,
    }
}
