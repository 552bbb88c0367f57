//! What a step would come to on a kernel that does not run: by its options and its version, and by what the values
//! themselves say. Looks at nothing.

use super::{knob, limit, sysctl};
use crate::{
    config::{FsKind, Goal, SysctlKey},
    error::{Cause, Fault},
    facts::{Facts, KernelVersion},
    step::{Action, Verdict},
    target::{Has, Target},
};

/// Says what the step would take there.
pub fn survey(action: &Action, facts: &Facts, target: &Target) -> Verdict {
    if !cfg!(feature = "workbench") {
        return Verdict::Skip { why: UNTOLD.into() };
    }
    let foreseen = match action {
        Action::Mount(wish) => {
            let delegates = !wish.delegation.is_empty();
            let since = KernelVersion { major: 6, minor: if delegates { 9 } else { 0 } };
            let since = if delegates { target.since(since, "delegation") } else { Ok(()) };
            since.and_then(|()| target.has("mount", wish.fs.name())).map(|has| would(has, "mounted".into()))
        }
        Action::Sysctl { key, goal, allow_insecure, irreversible, partner } => {
            let ask =
                sysctl::Ask { allow_insecure: *allow_insecure, irreversible: *irreversible, partner: partner.as_ref() };
            of_sysctl(key, goal, ask, target)
        }
        Action::Knob { path, value } => match knob::is_closed(path.fs, facts) {
            true => Err(knob::closed(path, "write", libc::EPERM)),
            false => {
                let name = if path.fs == FsKind::Debug { "debugfs" } else { "tracefs" };
                target.has("knob", &format!("{name}/{}", path.below)).map(|has| would(has, value.clone()))
            }
        },
        Action::Limit { kind, wish } => Ok(limit::foresee(*kind, *wish, facts)),
    };
    foreseen.unwrap_or_else(Verdict::Blocked)
}

fn would(has: Has, now: String) -> Verdict {
    match has {
        Has::All => Verdict::Change { was: None, now },
        Has::Module(option) => {
            Verdict::Change { was: None, now: format!("{now}, once the module of CONFIG_{option} is loaded") }
        }
        Has::Untold => Verdict::Skip { why: UNTOLD.into() },
    }
}

/// How a verdict says that it is none.
pub const UNTOLD: &str = "not known: no table tells whether that kernel has it; look at a machine that runs it";

fn of_sysctl(key: &SysctlKey, goal: &Goal, ask: sysctl::Ask<'_>, target: &Target) -> Result<Verdict, Fault> {
    if key.is_glob() {
        return Ok(Verdict::Skip { why: "not known: which keys it stands for, only a running kernel tells".into() });
    }
    let has = target.has("sysctl", key.path())?;
    let judged = sysctl::foresee(key, goal, ask);
    let (Verdict::Change { now, .. }, false) = (&judged, has == Has::Untold) else {
        return Ok(match judged {
            Verdict::Change { .. } => would(has, String::new()),
            judged => judged,
        });
    };
    let has = check_value(key.path(), now.trim(), target)?.unwrap_or(has);
    Ok(would(has, now.clone()))
}

/// What a kernel's configuration or version says of a value.
fn check_value(path: &str, now: &str, target: &Target) -> Result<Option<Has>, Fault> {
    let invalid = |what: &str, mend: &str| {
        Err(Fault::os(Cause::Sysctl, format!("write \"{now}\"; {what}"), libc::EINVAL).mend(mend))
    };
    match path {
        "net/core/bpf_jit_enable" if now != "1" && target.option("BPF_JIT_ALWAYS_ON").is_some() => {
            invalid("with CONFIG_BPF_JIT_ALWAYS_ON it can only be 1", "\"net.core.bpf_jit_enable\" = 1")
        }
        "kernel/unprivileged_bpf_disabled"
            if now == "2" && target.older_than(KernelVersion { major: 5, minor: 13 }) =>
        {
            // 08389d888287 went into several stable kernels, with the option for its default.
            match target
                .option("BPF_UNPRIV_DEFAULT_OFF")
                .or(target.config().contains("CONFIG_BPF_UNPRIV_DEFAULT_OFF").then_some(""))
            {
                Some(_) => Ok(None),
                None => invalid(
                    "before 5.13 a kernel knows only 1, which holds until the next boot",
                    "best-effort = true, or a newer kernel",
                ),
            }
        }
        "net/core/netdev_budget_usecs" => {
            let hertz: u64 = target.option("HZ").and_then(|hertz| hertz.parse().ok()).unwrap_or(250);
            match now.trim_start_matches("at least ").parse::<u64>() {
                // A bound below the default, which is two jiffies as well, is reached already.
                Ok(usecs) if usecs < 2_000_000 / hertz.max(1) && !now.starts_with("at least") => invalid(
                    "the least value is two jiffies",
                    &format!("\"net.core.netdev_budget_usecs\" = {{ at-least = {} }}", 2_000_000 / hertz.max(1)),
                ),
                _ => Ok(None),
            }
        }
        "net/ipv4/tcp_congestion_control" => target.has("congestion", now).map(Some),
        "net/core/default_qdisc" => target.has("qdisc", now).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
