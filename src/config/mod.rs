//! The configuration: what was asked for, checked as far as it can be without looking at the kernel.
//!
//! `find` decides which files count, `parse` turns one text into these types and collects every mistake in it, and
//! `merge` puts the files together: a later file's key replaces an earlier one's.

pub mod find;
pub mod merge;
pub mod mistake;
pub mod parse;
pub mod run;
pub mod table;
pub mod types;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use find::Sources;
pub use mistake::{Mistakes, distance, words};
pub use run::{RunWish, Who};
pub use table::Table;
pub use types::{FsKind, IfName, KnobPath, PinName, SysctlKey};

use crate::profiles::Profile;

/// Reads, checks and merges the configuration. All mistakes of all files come back at once.
pub fn load(sources: &Sources<'_>) -> Result<Config, Mistakes> {
    load_from(sources, &find::DROP_INS.map(Path::new))
}

/// [`load`], with the drop-in directories named, the weakest first.
pub fn load_from(sources: &Sources<'_>, drop_ins: &[&Path]) -> Result<Config, Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut merge = merge::Merge::default();
    let found = find::gather(sources, drop_ins, &mut mistakes);
    let mut labels = Vec::new();
    merge.notes = found.notes;
    for text in found.texts {
        merge.add(parse::parse(&text.label, &text.text, &mut mistakes));
        labels.push(text.label);
    }
    let config = merge.build(&mut mistakes);
    if mistakes.total > 0 {
        return Err(mistakes);
    }
    Ok(Config { sources: labels, ..config })
}

/// Everything one run works from.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Sets of keys with a reason each, applied in this order and before `[sysctl]`.
    pub profiles: Vec<Profile>,
    /// Keys of `[sysctl]`, in the order of the files, one entry a key: the last one won.
    pub sysctls: Vec<SysctlWish>,
    /// Files of `[knobs]`.
    pub knobs: Vec<KnobWish>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[mounts]`, in the order they are made.
    pub mounts: Vec<MountWish>,
    /// `[bpf]`.
    pub bpf: BpfSettings,
    /// `[run]`.
    pub run: RunWish,
    /// `[object.NAME]`, by name.
    pub objects: Table<PinName, ObjectWish>,
    /// What the reader of a report should know about how the files were merged: overrides, masked files.
    pub notes: Vec<String>,
    /// The files that were read, in order; `embedded default` when there was none.
    pub sources: Vec<String>,
}

/// Where a setting was written: `/etc/bpfboot.d/10-net.toml:12`.
pub type Origin = String;

/// One key of `[sysctl]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SysctlWish {
    /// The key, which may be a glob.
    pub key: SysctlKey,
    /// What to reach.
    pub goal: Goal,
    /// Failure degrades instead of failing.
    pub optional: bool,
    /// Absence is a note.
    pub if_available: bool,
    /// Written `-key`: every failure is a note (sysctl.d(5)).
    pub best_effort: bool,
    /// Written after our own load, in the seal phase.
    pub seal: bool,
    /// The user knows that this weakens the machine.
    pub allow_insecure: bool,
    /// The user knows that this cannot be taken back before a reboot.
    pub irreversible: bool,
    /// Where it stands.
    pub origin: Origin,
}

/// What a sysctl should come to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Goal {
    /// Exactly this text, compared word by word (the kernel prints tabs between fields).
    Set(String),
    /// Each field at least this; a better value stays.
    AtLeast(Vec<i64>),
    /// Each field at most this; a better value stays.
    AtMost(Vec<i64>),
    /// Excluded from every glob (`"key" = { exclude = true }`), as `-key` without a value is in sysctl.d(5).
    Exclude,
}

/// One file of `[knobs]`.
#[derive(Clone, Debug, PartialEq)]
pub struct KnobWish {
    /// The file.
    pub path: KnobPath,
    /// The text to reach.
    pub value: String,
    /// Failure degrades instead of failing.
    pub optional: bool,
    /// Absence, and lockdown, are notes.
    pub if_available: bool,
    /// Where it stands.
    pub origin: Origin,
}

/// `[limits]`.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// RLIMIT_MEMLOCK.
    pub memlock: Option<LimitWish>,
    /// RLIMIT_NOFILE.
    pub nofile: Option<LimitWish>,
}

/// Which resource limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LimitKind {
    /// RLIMIT_MEMLOCK, bytes.
    Memlock,
    /// RLIMIT_NOFILE, descriptors.
    Nofile,
}

/// What a resource limit should come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LimitWish {
    /// Only what this kernel makes us need: memlock is charged for BPF before 5.11 and not after.
    Auto,
    /// At least this much: bytes for memlock, descriptors for nofile.
    AtLeast(u64),
    /// No limit.
    Unlimited,
}

/// One file system of `[mounts]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MountWish {
    /// Which file system.
    pub fs: FsKind,
    /// The permission bits of its root; only bpffs.
    pub mode: Option<u32>,
    /// The owner of its root; only bpffs.
    pub uid: Option<u32>,
    /// The group of its root; only bpffs.
    pub gid: Option<u32>,
    /// The file of the user namespace that it is mounted for, empty for ours; only bpffs.
    pub delegate: PathBuf,
    /// What it delegates there, as mount options; the plan knows.
    pub delegation: String,
    /// Failure degrades instead of failing.
    pub optional: bool,
    /// Absence from this kernel is a note.
    pub if_available: bool,
    /// Where it stands.
    pub origin: Origin,
}

/// `[bpf]`.
#[derive(Clone, Debug)]
pub struct BpfSettings {
    /// The directory on bpffs that is ours.
    pub root: PathBuf,
    /// How long the loader child may take in all, waits for interfaces not counted.
    pub deadline: Duration,
    /// Bytes that all maps together may take when full.
    pub memory_budget: Option<u64>,
}

impl Default for BpfSettings {
    fn default() -> Self {
        Self { root: PathBuf::from("/sys/fs/bpf/bpfboot"), deadline: Duration::from_secs(10), memory_budget: None }
    }
}

/// One `[object.NAME]`.
#[derive(Clone, Debug)]
pub struct ObjectWish {
    /// Its name, which is its directory under the pin root.
    pub name: PinName,
    /// Where its bytes come from.
    pub source: ObjectSource,
    /// What they must hash to.
    pub sha256: Option<[u8; 32]>,
    /// What to do when a map of another layout is pinned where this object wants its own.
    pub on_mismatch: OnMismatch,
    /// Failure of the whole object degrades instead of failing.
    pub optional: bool,
    /// BTF of the target kernel for CO-RE, where /sys/kernel/btf/vmlinux is not it.
    pub btf: Option<PathBuf>,
    /// Settings of its maps, by name.
    pub maps: Table<String, MapWish>,
    /// Values of its read-only globals, by name.
    pub globals: Table<String, Data>,
    /// The programs to take; `None` takes the object whole.
    pub programs: Option<Table<String, ProgramWish>>,
    /// A program, and what to use where this kernel cannot take it; list after list, each in its order.
    pub alternatives: Vec<(String, String)>,
    /// Bytes that its maps together may take when full.
    pub memory_budget: Option<u64>,
    /// Whether its tables and queues may be made smaller to fit a budget.
    pub shrink: bool,
    /// Where it stands.
    pub origin: Origin,
}

impl ObjectWish {
    /// Whether any of its programs is to be attached to that interface.
    pub fn attaches_to(&self, wanted: &IfName) -> bool {
        let programs = self.programs.iter().flat_map(Table::values);
        programs
            .flat_map(|program| program.attach.iter().flatten())
            .any(|wish| matches!(wish, AttachWish::Xdp { interface, .. } if interface == wanted))
    }
}

/// Where an object's bytes come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ObjectSource {
    /// `builtin:NAME`: embedded in this binary.
    Builtin(String),
    /// A file.
    File(PathBuf),
}

/// The policy for a pinned map of another layout.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnMismatch {
    /// Refuse, and show both layouts.
    #[default]
    Fail,
    /// Keep the old map and its size; only where key and value still fit.
    Keep,
    /// Make a new, empty map; the old one goes with the old generation.
    Recreate,
    /// Make a new map and copy the entries over; only where key and value still fit.
    Migrate,
}

/// One `maps.NAME` of an object.
#[derive(Clone, Debug, Hash, PartialEq)]
pub struct MapWish {
    /// Entries to make room for; bytes for a ring buffer.
    pub max_entries: Option<u32>,
    /// Whether to pin it.
    pub pin: bool,
    /// Entries to write before any program runs.
    pub entries: Vec<(Data, Data)>,
    /// For a program array: the program behind each index.
    pub programs: Table<u32, String>,
    /// Whether it may be made smaller to fit a budget.
    pub shrink: bool,
}

impl Default for MapWish {
    fn default() -> Self {
        Self { max_entries: None, pin: true, entries: Vec::new(), programs: Table::default(), shrink: false }
    }
}

/// A value for a map or a global, sized when the object is known.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Data {
    /// A number, written in the machine's byte order and as wide as its place.
    Int(i64),
    /// Bytes as they are, from `"hex:0a000001"` or an array of numbers.
    Bytes(Vec<u8>),
    /// Text, padded with NULs to its place.
    Text(String),
}

/// One `programs.NAME` of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProgramWish {
    /// Where to attach it; `None`: as its ELF section says; empty: only pin it.
    pub attach: Option<Vec<AttachWish>>,
    /// Failure of this program degrades instead of failing.
    pub optional: bool,
}

/// One attachment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum AttachWish {
    /// XDP on an interface.
    Xdp {
        /// The interface.
        interface: IfName,
        /// The mode asked for, which is the mode verified.
        mode: XdpMode,
        /// How long to wait for the interface.
        wait: Duration,
    },
    /// A tracepoint, `category:name`.
    Tracepoint {
        /// Its subsystem: `syscalls`.
        category: String,
        /// Its name: `sys_enter_openat`.
        name: String,
    },
    /// A raw tracepoint.
    RawTracepoint(String),
    /// A BTF-typed raw tracepoint; named when the program is loaded.
    TpBtf(String),
    /// A kernel function's entry.
    Kprobe {
        /// The function.
        function: String,
        /// Bytes from its start.
        offset: u64,
    },
    /// A kernel function's return.
    Kretprobe(String),
    /// A kernel function's entry, through BTF.
    Fentry(String),
    /// A kernel function's return, through BTF.
    Fexit(String),
    /// An LSM hook.
    Lsm(String),
    /// A user function's entry.
    Uprobe(UserFunction),
    /// A user function's return.
    Uretprobe(UserFunction),
    /// A software event of perf, sampled on every CPU.
    PerfEvent {
        /// Which one: `cpu-clock`, `page-faults`…
        event: String,
        /// How often.
        sample: Sample,
    },
}

/// A place in a program of user space.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct UserFunction {
    /// The binary or library.
    pub path: PathBuf,
    /// The symbol; empty when only an offset is given.
    pub symbol: String,
    /// Bytes from the symbol, or from the start of the file.
    pub offset: u64,
}

/// How often a perf event fires.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Sample {
    /// Samples a second.
    Frequency(u64),
    /// Once in so many events.
    Period(u64),
}

/// The XDP modes. The one asked for is the one that is proven.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum XdpMode {
    /// In the driver.
    #[default]
    Native,
    /// In the generic receive path; any interface, slower.
    Generic,
    /// In the card.
    Offload,
    /// Native where the driver has it, generic otherwise; the report says which.
    Any,
}
