//! Who refused. EPERM tells that somebody did, and no more: a capability, a seccomp filter, a lockdown, a security module
//! and, before 5.11, RLIMIT_MEMLOCK all say it. The kernel is asked with calls that change nothing.

use crate::{
    config::LimitKind,
    error::{Cause, Fault},
    facts::{CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_RESOURCE, Facts, Lockdown},
    knowledge, privilege,
    reason::{Call, Reason},
    sys::{ask, file, limit},
};

/// The fault as it is told: of a refusal without a word, who it was; and of every fault a line that mends it.
pub fn explained(mut fault: Fault, facts: &Facts) -> Fault {
    if let Some(call) = fault.refused
        && let Some(errno) = fault.errno
    {
        let (reason, evidence) = who(call, errno, facts);
        let what = format!("{}: {evidence}", fault.what);
        fault = fault.retold(what).by(reason);
    }
    fault = match (fault.cause, fault.reason()) {
        // bpf_jit_charge_modmem() lets pass whom the initial user namespace gives CAP_BPF.
        (_, Reason::Jit) if !facts.initial_userns => fault.by(Reason::JitLimit),
        (Cause::Verifier, Reason::Lockdown) => helper(fault, facts),
        _ => fault,
    };
    if fault.mend.is_empty() {
        let mend = knowledge::mend(fault.reason());
        fault = fault.mend(mend);
    }
    fault
}

/// A helper that lockdown may have taken away: LOCKDOWN_BPF_READ_KERNEL is of confidentiality, LOCKDOWN_BPF_WRITE_USER of
/// integrity (include/linux/security.h).
fn helper(fault: Fault, facts: &Facts) -> Fault {
    let level = match facts.lockdown {
        Lockdown::Confidentiality => "confidentiality",
        Lockdown::Integrity if fault.what.contains("probe_write") => "integrity",
        _ => return fault.by(Reason::Helper),
    };
    let what = format!("{}: the kernel is locked down to {level}", fault.what);
    fault.retold(what)
}

/// Who refused a call, and what shows it.
fn who(call: Call, errno: i32, facts: &Facts) -> (Reason, String) {
    let questions = match call {
        Call::Map => ask::MAP_CREATE,
        Call::Program => ask::PROG_LOAD,
        Call::Pin => ask::OBJ_PIN,
        Call::Attach => ask::ATTACH,
        Call::Mount => ask::MOUNT,
    };
    if let Some(missing) = missing(call, facts) {
        return (Reason::Capability, format!("{missing} is not held"));
    }
    if facts.seccomp {
        let refused = questions.iter().map(|one| (one, one.ask())).find(|(_, (_, reached))| !reached);
        if let Some((question, (_, _))) = refused {
            let what = "a seccomp filter over this process refuses";
            return (Reason::Seccomp, format!("{what} {}, whatever its arguments", question.name()));
        }
    }
    let bpf = matches!(call, Call::Map | Call::Program);
    if bpf && !facts.initial_userns {
        return (Reason::Delegation, "the token of this user namespace does not allow it".into());
    }
    if bpf && errno == libc::EPERM && facts.charges_memlock() && !facts.has_cap(CAP_SYS_RESOURCE) {
        let hard = limit::get(LimitKind::Memlock).map_or(limit::UNLIMITED, |(_, hard)| hard);
        if hard != limit::UNLIMITED {
            let what =
                format!("Linux {} charges it to RLIMIT_MEMLOCK, whose hard limit is {hard} bytes", facts.release);
            return (Reason::Memlock, what);
        }
    }
    if call == Call::Attach {
        if facts.lockdown == Lockdown::Confidentiality {
            return (
                Reason::Lockdown,
                "the kernel is locked down to confidentiality, which closes perf and kprobes".into(),
            );
        }
        let paranoid = file::text("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
        if paranoid.trim().parse::<i32>().is_ok_and(|level| level > 2) && !facts.has_cap(CAP_SYS_ADMIN) {
            let what = format!("kernel.perf_event_paranoid is {}, which asks for CAP_SYS_ADMIN", paranoid.trim());
            return (Reason::Paranoid, what);
        }
    }
    (Reason::Lsm, policy(call, facts))
}

/// The capability without which the call is refused at once, if it is not held.
fn missing(call: Call, facts: &Facts) -> Option<String> {
    let needed = match call {
        Call::Mount => CAP_SYS_ADMIN,
        Call::Map | Call::Program if facts.needs_sys_admin_for_bpf() => CAP_SYS_ADMIN,
        Call::Map | Call::Program => CAP_BPF,
        Call::Attach => CAP_PERFMON,
        Call::Pin => return None,
    };
    // CAP_SYS_ADMIN stands in for each of them.
    let held = facts.has_cap(needed) || facts.has_cap(CAP_SYS_ADMIN);
    (!held).then(|| privilege::name(1 << needed))
}

/// What is left when nothing else refused, and what this kernel calls its policies.
fn policy(call: Call, facts: &Facts) -> String {
    let mut what =
        "no capability is missing and no seccomp filter says no, so it is a security module (LSM) or another policy \
                    of this kernel"
            .to_owned();
    if let Ok(modules) = file::text("/sys/kernel/security/lsm") {
        what += &format!(" ({})", modules.trim_end());
    }
    if call == Call::Program && facts.initial_userns {
        what += match ask::plain_program() {
            Ok(()) => "; a plain program loads, so it is this kind that it refuses",
            Err(_) => "; a plain program is refused, too",
        };
    }
    what
}
