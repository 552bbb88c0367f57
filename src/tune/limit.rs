//! Resource limits of this process, and so of everything it executes.

use crate::{
    config::{LimitKind, LimitWish},
    error::{Cause, Fault},
    facts::{CAP_SYS_RESOURCE, Facts},
    step::Verdict,
    sys::{
        file::{self, errno},
        limit::{UNLIMITED, get, set},
    },
    tune::lacks,
};

/// What to reach, once the kernel's version and fs.nr_open are known.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Target {
    /// Nothing, and why.
    Needless(&'static str),
    /// At least this, with a note.
    Reach(u64, String),
}

/// Looks at the limit and says what the wish would take. Changes nothing.
pub fn survey(kind: LimitKind, wish: LimitWish, facts: &Facts) -> Verdict {
    let (soft, hard) = match get(kind) {
        Ok(now) => now,
        Err(error) => return Verdict::Blocked(Fault::io(Cause::Limit, "read the limit", &error)),
    };
    judge(kind, wish, (soft, hard), nr_open(), facts)
}

/// The same for a kernel that does not run, with root at work on it.
pub fn foresee(kind: LimitKind, wish: LimitWish, facts: &Facts) -> Verdict {
    match target(kind, wish, DEFAULT_NR_OPEN, facts) {
        Target::Needless(why) => Verdict::Skip { why: why.into() },
        Target::Reach(wanted, _) => Verdict::Change { was: None, now: shown(wanted) },
    }
}

fn judge(kind: LimitKind, wish: LimitWish, (soft, hard): (u64, u64), nr_open: u64, facts: &Facts) -> Verdict {
    let wanted = match target(kind, wish, nr_open, facts) {
        Target::Needless(why) => return Verdict::Skip { why: why.into() },
        Target::Reach(wanted, _) => wanted,
    };
    if soft >= wanted {
        return Verdict::Already { is: shown(soft) };
    }
    let was = Some(shown(soft));
    if hard >= wanted || facts.has_cap(CAP_SYS_RESOURCE) {
        return Verdict::Change { was, now: shown(wanted) };
    }
    match (kind, wish) {
        // do_prlimit() in kernel/sys.c: only CAP_SYS_RESOURCE raises the hard limit, and for BPF nothing hangs on it.
        (LimitKind::Memlock, _) if !facts.charges_memlock() => Verdict::Skip {
            why: format!(
                "{} of {}: the hard limit needs CAP_SYS_RESOURCE, and this kernel does not charge BPF to it",
                shown(soft),
                shown(wanted)
            ),
        },
        (_, LimitWish::Auto) if soft < hard => Verdict::Change { was, now: shown(hard) },
        (_, LimitWish::Auto) => {
            Verdict::Skip { why: format!("the hard limit is {} and needs CAP_SYS_RESOURCE", shown(hard)) }
        }
        _ => Verdict::Blocked(lacks(
            &format!("raise the hard limit from {} to {}", shown(hard), shown(wanted)),
            CAP_SYS_RESOURCE,
        )),
    }
}

fn target(kind: LimitKind, wish: LimitWish, nr_open: u64, facts: &Facts) -> Target {
    let wanted = match (kind, wish) {
        (LimitKind::Memlock, LimitWish::Auto) if !facts.charges_memlock() => {
            return Target::Needless(
                "this kernel does not charge BPF to memlock but to the memory cgroup (since 5.11)",
            );
        }
        (LimitKind::Nofile, LimitWish::Auto) => {
            return Target::Needless("pins need no descriptors, and a load only a few");
        }
        (_, LimitWish::Auto | LimitWish::Unlimited) => UNLIMITED,
        (_, LimitWish::AtLeast(least)) => least,
    };
    // do_prlimit() refuses RLIMIT_NOFILE above fs.nr_open, whatever the capabilities.
    if kind == LimitKind::Nofile && wanted > nr_open {
        let note = format!("capped by fs.nr_open = {nr_open}; raise that key for more");
        return Target::Reach(nr_open, note);
    }
    Target::Reach(wanted, String::new())
}

/// Raises the limit: the value after, and a note on what could not be had.
///
/// # Errors
/// EPERM when the hard limit would have to rise and may not.
pub fn apply(kind: LimitKind, wish: LimitWish, facts: &Facts) -> Result<(String, String), Fault> {
    let read = || get(kind).map_err(|e| Fault::io(Cause::Limit, "read the limit", &e));
    let (soft, hard) = read()?;
    let (wanted, note) = match target(kind, wish, nr_open(), facts) {
        Target::Needless(why) => return Ok((shown(soft), why.into())),
        Target::Reach(wanted, note) => (wanted, note),
    };
    if soft >= wanted {
        return Ok((shown(soft), note));
    }
    match set(kind, wanted, hard.max(wanted)) {
        Ok(()) => Ok((shown(read()?.0), note)),
        Err(error)
            if errno(&error) == libc::EPERM
                && (wish == LimitWish::Auto || (kind == LimitKind::Memlock && !facts.charges_memlock())) =>
        {
            set(kind, hard, hard)
                .map_err(|e| Fault::io(Cause::Limit, format!("set to the hard limit {}", shown(hard)), &e))?;
            Ok((shown(hard), "as far as the hard limit allows; more needs CAP_SYS_RESOURCE".into()))
        }
        Err(error) if errno(&error) == libc::EPERM => {
            Err(lacks(&format!("raise the hard limit from {} to {}", shown(hard), shown(wanted)), CAP_SYS_RESOURCE))
        }
        Err(error) => Err(Fault::io(Cause::Limit, format!("set to {}", shown(wanted)), &error)),
    }
}

/// The most that RLIMIT_NOFILE may be; the kernel's own default where it cannot be read.
fn nr_open() -> u64 {
    file::text("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_NR_OPEN)
}

/// `sysctl_nr_open` in fs/file.c.
const DEFAULT_NR_OPEN: u64 = 1_048_576;

fn shown(limit: u64) -> String {
    if limit == UNLIMITED { "unlimited".into() } else { limit.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::facts::KernelVersion;

    const MIB8: (u64, u64) = (8 << 20, 8 << 20);
    const NR_OPEN: u64 = 1_048_576;

    fn machine(minor: u32, capable: bool) -> Facts {
        let mut facts = Facts::gather();
        facts.kernel = KernelVersion { major: 5, minor };
        facts.capabilities = if capable { u64::MAX } else { !(1 << CAP_SYS_RESOURCE) };
        facts
    }

    fn memlock(wish: LimitWish, now: (u64, u64), facts: &Facts) -> Verdict {
        judge(LimitKind::Memlock, wish, now, NR_OPEN, facts)
    }

    #[test]
    fn memlock_matters_only_before_5_11() {
        assert!(matches!(memlock(LimitWish::Auto, MIB8, &machine(15, true)), Verdict::Skip { .. }));
        let verdict = memlock(LimitWish::Auto, MIB8, &machine(4, true));
        assert!(matches!(verdict, Verdict::Change { now, .. } if now == "unlimited"));
        assert!(
            matches!(memlock(LimitWish::Auto, (1, 9), &machine(4, false)), Verdict::Change { now, .. } if now == "9")
        );
        assert!(matches!(memlock(LimitWish::Auto, MIB8, &machine(4, false)), Verdict::Skip { .. }));
        assert!(matches!(memlock(LimitWish::Unlimited, MIB8, &machine(15, false)), Verdict::Skip { .. }));
        let Verdict::Blocked(fault) = memlock(LimitWish::Unlimited, MIB8, &machine(4, false)) else { panic!() };
        assert_eq!((fault.cause, fault.errno), (Cause::Privilege, Some(libc::EPERM)));
    }

    #[test]
    fn nothing_is_ever_lowered() {
        assert!(matches!(memlock(LimitWish::AtLeast(1), MIB8, &machine(4, true)), Verdict::Already { .. }));
        let unlimited = (UNLIMITED, UNLIMITED);
        assert!(matches!(memlock(LimitWish::AtLeast(1 << 30), unlimited, &machine(4, true)), Verdict::Already { .. }));
    }

    #[test]
    fn nofile_ends_at_nr_open() {
        let facts = machine(15, true);
        let verdict = judge(LimitKind::Nofile, LimitWish::Unlimited, (1024, 4096), NR_OPEN, &facts);
        assert!(matches!(verdict, Verdict::Change { now, .. } if now == "1048576"));
        let Target::Reach(_, note) = target(LimitKind::Nofile, LimitWish::AtLeast(1 << 40), NR_OPEN, &facts) else {
            panic!()
        };
        assert!(note.contains("fs.nr_open"));
    }

    #[test]
    fn a_soft_limit_rises_for_real() {
        let facts = Facts::gather();
        let (soft, hard) = get(LimitKind::Nofile).unwrap();
        set(LimitKind::Nofile, hard.min(soft) - 1, hard).unwrap();
        let (now, note) = apply(LimitKind::Nofile, LimitWish::AtLeast(soft), &facts).unwrap();
        assert_eq!((now, note), (shown(soft), String::new()));
        assert_eq!(get(LimitKind::Nofile).unwrap(), (soft, hard));
    }
}
