//! The plan's vocabulary: what a step is, what a look at the kernel says of it, and what became of it.
//!
//! Everything here is data. The rooms under `tune` and `bpf` give it meaning; `apply` walks it.

use crate::{
    config::{FsKind, Goal, KnobPath, LimitKind, LimitWish, MountWish, SysctlKey},
    error::Fault,
};

/// The fixed order of a run (DESIGN.md section 2).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Lock, and repair what a killed run left.
    Settle,
    /// File systems the later phases stand on.
    Mount,
    /// Sysctls, knobs, limits: before any load, since JIT settings count when a program is compiled.
    Tune,
    /// Programs, maps and links, into the staging directory.
    Load,
    /// The flip from staged to live.
    Commit,
    /// One-way and hardening keys, after our own load.
    Seal,
    /// Every capability goes.
    Drop,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Self; 7] =
        [Self::Settle, Self::Mount, Self::Tune, Self::Load, Self::Commit, Self::Seal, Self::Drop];

    /// The word in the report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Mount => "mount",
            Self::Tune => "tune",
            Self::Load => "load",
            Self::Commit => "commit",
            Self::Seal => "seal",
            Self::Drop => "drop",
        }
    }
}

/// How much the run depends on a step.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Must {
    /// Failure undoes the run: exit 1.
    #[default]
    Required,
    /// Failure degrades the run: exit 3.
    Optional,
    /// Failure is a note and nothing more, as `-key` is in sysctl.d(5).
    BestEffort,
}

impl Must {
    /// The word in the report.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::BestEffort => "best-effort",
        }
    }
}

/// What a step does to the kernel.
#[derive(Clone, Debug)]
pub enum Action {
    /// Mount a file system where it is absent.
    Mount(MountWish),
    /// Bring a sysctl to its goal.
    Sysctl {
        /// The key, globs already resolved.
        key: SysctlKey,
        /// What to reach.
        goal: Goal,
        /// The user accepts that this weakens the machine.
        allow_insecure: bool,
        /// The user accepts that only a reboot takes this back.
        irreversible: bool,
        /// What the plan does to the key whose value decides together with this one's.
        partner: Option<Goal>,
    },
    /// Write a file under debugfs or tracefs.
    Knob {
        /// Which file system and where below it.
        path: KnobPath,
        /// The text to reach.
        value: String,
    },
    /// Raise a resource limit of this process and of what it executes.
    Limit {
        /// Which limit.
        kind: LimitKind,
        /// What to reach.
        wish: LimitWish,
    },
}

/// One step of the plan.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is about, as the report names it: `sysctl net.core.bpf_jit_enable`.
    pub id: String,
    /// When it runs.
    pub phase: Phase,
    /// How much depends on it.
    pub must: Must,
    /// Whether absence in this kernel is a note (`if-available`) and not a failure.
    pub if_available: bool,
    /// The deed.
    pub action: Action,
    /// One sentence on why the step exists, for the dry run.
    pub why: String,
    /// Which file and line, or which profile, asked for it.
    pub origin: String,
}

/// What a look at the kernel says of a step, before anything is written.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The kernel is as planned; nothing will be written.
    Already {
        /// The value found.
        is: String,
    },
    /// A write is needed.
    Change {
        /// The value found; `None` when it cannot be read, and so cannot be put back.
        was: Option<String>,
        /// The value to reach.
        now: String,
    },
    /// Absent here, or needless, and the plan does not mind.
    Skip {
        /// Why.
        why: String,
    },
    /// It cannot be done, and that is known before any write.
    Blocked(Fault),
}

/// What became of a step.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The kernel was already as planned.
    Already {
        /// The value found.
        is: String,
    },
    /// Changed, and read back.
    Done {
        /// The value before, where it could be read.
        was: Option<String>,
        /// The value after.
        now: String,
        /// Something the reader should know, such as a clamp; empty when there is nothing.
        note: String,
    },
    /// Not needed here.
    Skipped {
        /// Why.
        why: String,
    },
    /// It failed.
    Failed(Fault),
}

/// How to put back what a step changed. Kept in the journal before the change is made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Undo {
    /// Write the old value back.
    Sysctl {
        /// The key.
        key: SysctlKey,
        /// The value before our first write.
        was: String,
        /// The value we wrote: another value found there later is not ours to take back.
        wrote: String,
    },
    /// Write the old text back.
    Knob {
        /// The file.
        path: KnobPath,
        /// Its text before.
        was: String,
        /// The text we wrote.
        wrote: String,
    },
    /// Remove our pins.
    Pins {
        /// The directory that is ours on bpffs.
        root: String,
    },
    /// Unmount what we mounted.
    Unmount {
        /// The kind of file system that was mounted.
        fs: FsKind,
        /// Where.
        at: String,
    },
}
