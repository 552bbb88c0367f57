//! Sets of keys, each key with the reason it is in there.
//!
//! `core` and `tracing` are the embedded default: on every kernel they find the key as planned, raise it, or find it
//! absent, and they never weaken anything. `network` is opt-in and only raises. `guide` is a tuning guide's literal
//! values for whoever wants exactly those, each with what the kernel has to say to it.

mod guide;
mod ours;

use crate::{config::Goal, step::Must};

/// A named set of keys.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Profile {
    /// The JIT, and unprivileged BPF off.
    Core,
    /// Queues and buffers of busy machines.
    Network,
    /// What tracing programs stand on.
    Tracing,
    /// The guide's values, to the letter.
    Guide,
}

impl Profile {
    /// Every profile, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Core, Self::Network, Self::Tracing, Self::Guide];

    /// The names of all, as messages list them.
    pub const NAMES: &str = "core, network, tracing, guide";

    /// Its name in `profiles = [...]`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Network => "network",
            Self::Tracing => "tracing",
            Self::Guide => "guide",
        }
    }

    /// The profile behind a name; the inverse of [`Profile::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// One sentence on what it is for.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Core => "The JIT on and hardened, and BPF closed to users without CAP_BPF; safe on every machine.",
            Self::Network => "Larger packet queues and socket buffers for busy machines; only ever raises a value.",
            Self::Tracing => "Makes sure that nobody switched off what tracing programs stand on; weakens nothing.",
            Self::Guide => {
                "The tuning guide's literal values, best effort, each with what the kernel has to say to it."
            }
        }
    }

    /// Its keys, in the order in which they are written.
    pub fn keys(self) -> Vec<Entry> {
        let mut lines = match self {
            Self::Core => ours::CORE,
            Self::Network => ours::NETWORK,
            Self::Tracing => ours::TRACING,
            Self::Guide => guide::GUIDE,
        }
        .lines();
        let mut keys = Vec::new();
        while let (Some(setting), Some(why)) = (lines.next(), lines.next()) {
            let guide = if self == Self::Guide { lines.next().unwrap_or_default() } else { "" };
            keys.extend(Entry::new(setting, why, guide));
        }
        keys
    }
}

/// One key of a profile. (The profiles are text that is read when it is asked for: as a table of constants each word
/// of it would cost 40 bytes more.)
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The key, dotted.
    pub key: &'static str,
    /// The value.
    pub value: &'static str,
    /// A better value stays.
    pub at_least: bool,
    /// Written after our own load.
    pub seal: bool,
    /// The value may weaken the machine. A profile cannot accept that: where [`crate::tune::is_refusal`] says so, the
    /// step is skipped, and the fault's `mend` is the line with which the user accepts it.
    #[allow(dead_code, reason = "the tests hold it against the judgement")]
    pub insecure: bool,
    /// One sentence on why it is here.
    pub why: &'static str,
    /// What is to be said about the guide's value; empty in the other profiles.
    pub guide: &'static str,
}

impl Entry {
    /// A setting as `key = value`, `key >= value`, and `; seal` or `; insecure` behind it.
    fn new(setting: &'static str, why: &'static str, guide: &'static str) -> Option<Self> {
        let (setting, mark) = setting.split_once("; ").unwrap_or((setting, ""));
        let (key, value) = setting.split_once("= ")?;
        let at_least = key.ends_with('>');
        let key = key.split(' ').next()?;
        Some(Self { key, value, at_least, seal: mark == "seal", insecure: mark == "insecure", why, guide })
    }

    /// As the configuration has it.
    pub fn goal(&self) -> Goal {
        if self.at_least {
            Goal::AtLeast(self.value.split(' ').filter_map(|field| field.parse().ok()).collect())
        } else {
            Goal::Set(self.value.to_owned())
        }
    }

    /// A key of ours that failed degrades the run, since programs run without it. The guide's are best effort.
    pub const fn must(&self) -> Must {
        if self.guide.is_empty() { Must::Optional } else { Must::BestEffort }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        config::SysctlKey,
        facts::Facts,
        step::Verdict,
        tune::{
            is_absence, is_refusal,
            sysctl::{Ask, Seen, judge, survey},
        },
    };

    #[test]
    fn names_lead_back() {
        for profile in Profile::ALL {
            assert_eq!(Profile::from_name(profile.name()), Some(profile));
            assert!(profile.summary().ends_with('.'));
        }
        assert_eq!(Profile::from_name("fast"), None);
        assert_eq!(Profile::NAMES, Profile::ALL.map(Profile::name).join(", "));
    }

    #[test]
    fn every_entry_is_whole() {
        for profile in Profile::ALL {
            let mut seen = BTreeSet::new();
            for entry in profile.keys() {
                let key: SysctlKey = entry.key.parse().unwrap();
                assert!(!key.is_glob() && seen.insert(key.clone()), "{}", entry.key);
                assert!(!entry.why.is_empty() && entry.why.len() < 240, "{}", entry.key);
                assert_eq!(entry.guide.is_empty(), profile != Profile::Guide, "{}", entry.key);
                // No goal is refused for its range or form.
                let seen = Seen { current: Some(entry.value), partner: Some(2) };
                assert!(
                    matches!(judge(&key, &entry.goal(), seen, Ask::default()), Verdict::Already { .. }),
                    "{}",
                    entry.key
                );
            }
        }
    }

    /// The embedded default must be healthy wherever it is healthy to boot.
    #[test]
    fn the_default_finds_nothing_wrong_on_this_kernel() {
        let facts = Facts::gather();
        for entry in Profile::Core.keys().into_iter().chain(Profile::Tracing.keys()) {
            assert!(!entry.insecure, "{}", entry.key);
            match survey(&entry.key.parse().unwrap(), &entry.goal(), Ask::default(), &facts) {
                Verdict::Blocked(fault) => {
                    assert!(
                        is_absence(&fault) || crate::sys::process::effective_uid() != 0,
                        "{}: {fault:?}",
                        entry.key
                    );
                }
                Verdict::Already { .. } | Verdict::Change { .. } | Verdict::Skip { .. } => {}
            }
        }
    }

    #[test]
    fn the_guide_never_opens_the_machine_by_itself() {
        let keys = Profile::Guide.keys();
        let goal_of = |name: &str| keys.iter().find(|entry| entry.key == name).unwrap().goal();
        for (name, other, was) in [
            ("kernel.kptr_restrict", "kernel.perf_event_paranoid", "1"),
            ("kernel.perf_event_paranoid", "kernel.kptr_restrict", "2"),
        ] {
            let partner = goal_of(other);
            let ask = Ask { partner: Some(&partner), ..Ask::default() };
            let seen = Seen { current: Some(was), partner: Some(2) };
            let Verdict::Blocked(fault) = judge(&name.parse().unwrap(), &goal_of(name), seen, ask) else {
                panic!("{name}")
            };
            assert!(is_refusal(&fault) && fault.mend.contains(name), "{fault:?}");
            assert!(keys.iter().any(|entry| entry.key == name && entry.insecure));
        }
    }
}
