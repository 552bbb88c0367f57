//! The judgement over one value: pure, so that one-way keys can be tested without touching them.

use super::{
    rules,
    value::{self, shown},
};
use crate::{
    config::{Goal, SysctlKey},
    error::{Cause, Fault},
    reason::Reason,
    step::Verdict,
    tune::{ALLOW_INSECURE, IRREVERSIBLE},
};

/// What the user accepted, and what the plan does to the key's partner.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The value may weaken the machine.
    pub allow_insecure: bool,
    /// The value may be one that only a reboot takes back.
    pub irreversible: bool,
    /// What the same plan does to [`super::partner`] of this key, if anything.
    pub partner: Option<&'a Goal>,
}

/// What is known of the key and its partner.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen<'a> {
    /// The key's value; `None` when it can only be written.
    pub current: Option<&'a str>,
    /// The partner's value; `None` when there is no such key.
    pub partner: Option<i64>,
}

/// Judges one key. No system call, no surprise.
pub fn judge(key: &SysctlKey, goal: &Goal, seen: Seen<'_>, ask: Ask<'_>) -> Verdict {
    judged(key, goal, seen, ask).unwrap_or_else(Verdict::Blocked)
}

/// Judges one key of which it is not known what it holds: a bound is what it will come to.
pub fn foresee(key: &SysctlKey, goal: &Goal, seen: Seen<'_>, ask: Ask<'_>) -> Verdict {
    match goal {
        Goal::AtLeast(_) | Goal::AtMost(_) => match rules::check_range(key.path(), goal) {
            Ok(()) => Verdict::Change { was: None, now: described(goal) },
            Err(why) => Verdict::Blocked(Fault::new(Cause::Sysctl, format!("{why}; not {}", described(goal)))),
        },
        _ => judge(key, goal, seen, ask),
    }
}

fn judged(key: &SysctlKey, goal: &Goal, seen: Seen<'_>, ask: Ask<'_>) -> Result<Verdict, Fault> {
    if *goal == Goal::Exclude {
        return Ok(Verdict::Skip { why: "excluded".into() });
    }
    let path = key.path();
    let wrong = |why: String| Fault::new(Cause::Sysctl, format!("{why}; not {}", described(goal)));
    rules::check_range(path, goal).map_err(wrong)?;
    if let Some(is) = seen.current.filter(|current| satisfied(path, goal, current)) {
        return Ok(Verdict::Already { is: shown(is) });
    }
    let Some(now) = value::target(goal, seen.current).map_err(wrong)? else {
        return Ok(Verdict::Already { is: seen.current.map(shown).unwrap_or_default() });
    };
    check_latch(key, &now, seen.current, ask)?;
    check_safety(key, &now, seen, ask)?;
    Ok(Verdict::Change { was: seen.current.map(shown), now })
}

/// Whether a value is what was asked for, or at least as good.
pub fn satisfied(path: &str, goal: &Goal, current: &str) -> bool {
    if matches!(value::target(goal, Some(current)), Ok(None)) {
        return true;
    }
    let Goal::Set(text) = goal else { return false };
    match (path, value::single(text), value::single(current)) {
        // 1 is as strict as 2 and cannot be changed any more: any write would be EPERM.
        (rules::UNPRIVILEGED_BPF, Some(2), Some(1)) => true,
        (rules::SAMPLE_RATE, Some(wanted), Some(is)) => is <= wanted,
        _ => false,
    }
}

/// What was asked for, in the words of the configuration.
pub fn described(goal: &Goal) -> String {
    let list = |fields: &[i64]| fields.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
    match goal {
        Goal::Set(text) => format!("\"{text}\""),
        Goal::AtLeast(fields) => format!("at least {}", list(fields)),
        Goal::AtMost(fields) => format!("at most {}", list(fields)),
        Goal::Exclude => "excluded".into(),
    }
}

fn check_latch(key: &SysctlKey, now: &str, current: Option<&str>, ask: Ask<'_>) -> Result<(), Fault> {
    let Some(locked) = rules::latch(key.path()) else {
        return Ok(());
    };
    if current.and_then(value::single) == Some(locked) {
        let what = format!("write \"{now}\" over \"{locked}\", which holds until the next boot");
        return Err(Fault::os(Cause::Sysctl, what, libc::EPERM).by(Reason::Latch).mend("reboot"));
    }
    if value::single(now) != Some(locked) || ask.irreversible {
        return Ok(());
    }
    let softer =
        if key.path() == rules::UNPRIVILEGED_BPF { "; 2 refuses the same users and may be changed again" } else { "" };
    let what = format!("refused: {locked} holds until the next boot{softer}");
    Err(Fault::new(Cause::Sysctl, what).by(Reason::Irreversible).mend(accepting(key, now, IRREVERSIBLE)))
}

fn check_safety(key: &SysctlKey, now: &str, seen: Seen<'_>, ask: Ask<'_>) -> Result<(), Fault> {
    let partner = rules::planned(ask.partner, seen.partner);
    match rules::weakens(key.path(), now, seen.current, partner) {
        Some(why) if !ask.allow_insecure => {
            let what = format!("refused: {} {why}", now.trim());
            Err(Fault::new(Cause::Sysctl, what).by(Reason::Insecure).mend(accepting(key, now, ALLOW_INSECURE)))
        }
        _ => Ok(()),
    }
}

/// The configuration line that accepts the risk.
fn accepting(key: &SysctlKey, now: &str, waiver: &str) -> String {
    format!("\"{key}\" = {{ value = {}, {waiver}", now.trim())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::tune::is_refusal;

    fn ask(key: &str, goal: &Goal, current: &str, partner: Option<i64>, ask: Ask<'_>) -> Verdict {
        judge(&key.parse().unwrap(), goal, Seen { current: Some(current), partner }, ask)
    }

    fn set(text: &str) -> Goal {
        Goal::Set(text.into())
    }

    fn blocked(verdict: Verdict) -> Fault {
        match verdict {
            Verdict::Blocked(fault) => fault,
            other => panic!("{other:?}"),
        }
    }

    const UNPRIV: &str = "kernel.unprivileged_bpf_disabled";
    const PLAIN: Ask<'static> = Ask { allow_insecure: false, irreversible: false, partner: None };
    const BOLD: Ask<'static> = Ask { allow_insecure: true, irreversible: true, partner: None };

    #[test]
    fn the_latch_of_unprivileged_bpf() {
        assert!(matches!(ask(UNPRIV, &set("2"), "1\n", None, PLAIN), Verdict::Already { is } if is == "1"));
        assert!(matches!(ask(UNPRIV, &set("2"), "2\n", None, PLAIN), Verdict::Already { .. }));
        assert!(matches!(ask(UNPRIV, &set("1"), "1\n", None, PLAIN), Verdict::Already { .. }));
        assert!(matches!(ask(UNPRIV, &Goal::AtLeast(vec![1]), "2", None, PLAIN), Verdict::Already { .. }));
        assert!(matches!(ask(UNPRIV, &set("2"), "0\n", None, PLAIN), Verdict::Change { now, .. } if now == "2"));
        for (goal, current) in [
            (set("1"), "2"),
            (set("01"), "0"),
            (set("0x1"), "0"),
            (Goal::AtLeast(vec![1]), "0"),
            (Goal::AtMost(vec![1]), "2"),
        ] {
            let fault = blocked(ask(UNPRIV, &goal, current, None, PLAIN));
            assert!(is_refusal(&fault), "{fault:?}");
            assert!(matches!(ask(UNPRIV, &goal, current, None, BOLD), Verdict::Change { .. }));
        }
        let fault = blocked(ask(UNPRIV, &set("0"), "1", None, BOLD));
        assert_eq!((fault.errno, fault.mend.as_str()), (Some(libc::EPERM), "reboot"));
        let fault = blocked(ask(UNPRIV, &set("0"), "2", None, PLAIN));
        assert_eq!(fault.mend, "\"kernel.unprivileged_bpf_disabled\" = { value = 0, allow-insecure = true }");
        assert!(is_refusal(&fault));
        assert!(blocked(ask(UNPRIV, &set("1 2"), "2", None, BOLD)).errno.is_none());
    }

    #[test]
    fn other_latches() {
        assert!(is_refusal(&blocked(ask("kernel.modules_disabled", &set("1"), "0", None, PLAIN))));
        assert!(is_refusal(&blocked(ask("kernel.kexec_load_disabled", &set("1"), "0", None, PLAIN))));
        assert!(is_refusal(&blocked(ask("kernel.yama.ptrace_scope", &set("3"), "1", None, PLAIN))));
        assert!(matches!(ask("kernel.yama.ptrace_scope", &set("2"), "1", None, PLAIN), Verdict::Change { .. }));
        assert_eq!(blocked(ask("kernel.yama.ptrace_scope", &set("2"), "3", None, BOLD)).errno, Some(libc::EPERM));
        assert!(matches!(ask("kernel.modules_disabled", &set("1"), "1", None, PLAIN), Verdict::Already { .. }));
    }

    #[test]
    fn weak_pairs_are_refused_whichever_comes_first() {
        let (paranoid, kptr, zero) = ("kernel.perf_event_paranoid", "kernel.kptr_restrict", set("0"));
        let fault = blocked(ask(paranoid, &zero, "2", Some(0), PLAIN));
        assert_eq!(fault.mend, "\"kernel.perf_event_paranoid\" = { value = 0, allow-insecure = true }");
        // Both in one plan, and neither is bad yet.
        let both = Ask { partner: Some(&zero), ..PLAIN };
        assert!(is_refusal(&blocked(ask(paranoid, &zero, "2", Some(1), both))));
        assert!(is_refusal(&blocked(ask(kptr, &zero, "1", Some(2), both))));
        // The plan closes the one before it opens the other.
        let one = set("1");
        assert!(matches!(
            ask(paranoid, &one, "2", Some(0), Ask { partner: Some(&one), ..PLAIN }),
            Verdict::Change { .. }
        ));
        assert!(matches!(ask(paranoid, &zero, "0", Some(0), PLAIN), Verdict::Already { .. }));
        assert!(matches!(ask(paranoid, &zero, "2", Some(0), BOLD), Verdict::Change { .. }));
    }

    #[test]
    fn values_that_move_by_themselves_are_left_alone() {
        let key = "kernel.perf_event_max_sample_rate";
        assert!(matches!(ask(key, &set("100000"), "50000", None, PLAIN), Verdict::Already { is } if is == "50000"));
        assert!(matches!(ask(key, &set("1000"), "50000", None, PLAIN), Verdict::Change { .. }));
    }

    #[test]
    fn whole_texts_are_written_and_nonsense_is_not() {
        let verdict = ask(
            "net.ipv4.tcp_rmem",
            &Goal::AtLeast(vec![4096, 87380, 67_108_864]),
            "4096\t131072\t33554432\n",
            None,
            PLAIN,
        );
        assert!(matches!(verdict, Verdict::Change { was: Some(was), now }
            if was == "4096 131072 33554432" && now == "4096 131072 67108864"));
        let fault = blocked(ask("net.core.netdev_budget", &set("-5"), "300", None, PLAIN));
        assert_eq!(fault.to_string(), "takes 1 to 65535; not \"-5\"");
        assert!(!is_refusal(&fault));
        let unreadable = judge(&"vm.compact_memory".parse().unwrap(), &set("1"), Seen::default(), PLAIN);
        assert!(matches!(unreadable, Verdict::Change { was: None, .. }));
        assert!(matches!(ask("net.core.somaxconn", &Goal::Exclude, "1", None, PLAIN), Verdict::Skip { .. }));
        assert!(matches!(ask("net.core.bpf_jit_enable", &set("1"), "2", None, PLAIN), Verdict::Change { .. }));
    }
}
