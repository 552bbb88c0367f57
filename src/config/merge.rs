//! Many files, one configuration: of each name, the last file's setting wins, and a note says which file that was.

use std::{path::PathBuf, time::Duration};

use super::{
    Config, Data, FsKind, KnobWish, LimitWish, MapWish, MountWish, ObjectSource, ObjectWish, OnMismatch, Origin,
    PinName, ProgramWish, SysctlWish, Table,
    mistake::{Mistake, Mistakes},
    run::RunSetting,
};
use crate::profiles::Profile;

/// One setting of one file. The wishes in it have no origin yet, so that two are equal when they ask for the same.
#[derive(Clone, Debug)]
pub struct Said {
    /// What is set, as notes name it: `sysctl net.core.bpf_jit_harden`, `limits.memlock`.
    pub name: String,
    /// What it is set to.
    pub setting: Setting,
    /// Where.
    pub origin: Origin,
}

/// What a setting can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// `profiles`.
    Profiles(Vec<Profile>),
    /// A key of `[sysctl]`.
    Sysctl(SysctlWish),
    /// A file of `[knobs]`.
    Knob(KnobWish),
    /// `limits.memlock`.
    Memlock(LimitWish),
    /// `limits.nofile`.
    Nofile(LimitWish),
    /// A file system of `[mounts]`; `None` is written `false` and takes an earlier file's away.
    Mount(FsKind, Option<MountWish>),
    /// `bpf.root`.
    Root(PathBuf),
    /// `bpf.deadline`.
    Deadline(Duration),
    /// `bpf.memory-budget`.
    MemoryBudget(u64),
    /// A key of `[run]`.
    Run(RunSetting),
    /// A part of an `[object.NAME]`.
    Object(PinName, Part),
}

/// A part of an object that a later file can replace by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// `path`.
    Source(ObjectSource),
    /// `sha256`.
    Sha256([u8; 32]),
    /// `on-mismatch`.
    OnMismatch(OnMismatch),
    /// `optional`.
    Optional(bool),
    /// `memory-budget`.
    MemoryBudget(u64),
    /// `shrink`.
    Shrink(bool),
    /// `btf`.
    Btf(PathBuf),
    /// `maps.NAME`.
    Map(String, MapWish),
    /// `globals.NAME`.
    Global(String, Data),
    /// `programs.NAME`.
    Program(String, ProgramWish),
    /// `alternatives`.
    Alternatives(Vec<(String, String)>),
}

/// What one file says.
#[derive(Debug, Default)]
pub struct Draft {
    /// Its settings, in the order of the file, each name once.
    pub said: Vec<Said>,
    /// The objects it names, each with its place and what is wrong should no file give a path.
    pub objects: Vec<(PinName, Mistake)>,
}

/// The files so far.
#[derive(Debug, Default)]
pub struct Merge {
    /// What was said, in the order to apply it; a winner leaves a hole where the loser was.
    said: Vec<Option<Said>>,
    /// Where each name stands in it.
    places: Table<String, usize>,
    objects: Table<PinName, Mistake>,
    /// Which file won over which.
    pub notes: Vec<String>,
}

impl Merge {
    /// Adds a file.
    pub fn add(&mut self, draft: Draft) {
        for (name, mistake) in draft.objects {
            if self.objects.get(&name).is_none() {
                self.objects.insert(name, mistake);
            }
        }
        for said in draft.said {
            let place = self.places.get(&said.name).copied();
            if let Some(old) = place.and_then(|place| self.said.get_mut(place)) {
                // The same again is no news, and leaves the first origin.
                match old.take_if(|old| old.setting != said.setting) {
                    Some(old) => self.notes.push(format!("{}: {} wins over {}", said.name, said.origin, old.origin)),
                    None => continue,
                }
            }
            self.places.insert(said.name.clone(), self.said.len());
            self.said.push(Some(said));
        }
    }

    /// The configuration, and what only shows when all files are known.
    pub fn build(self, mistakes: &mut Mistakes) -> Config {
        let mut config = Config { notes: self.notes, ..Config::default() };
        for (name, first) in &self.objects {
            config.objects.insert(name.clone(), empty_object(name, first));
        }
        for said in self.said.into_iter().flatten() {
            apply(&mut config, said.setting, said.origin);
        }
        for (name, first) in self.objects {
            if config.objects.get(&name).is_some_and(|object| object.source == NO_SOURCE) {
                mistakes.push(first);
            }
        }
        config
    }
}

/// What an object is before any file gave its path.
const NO_SOURCE: ObjectSource = ObjectSource::Builtin(String::new());

fn empty_object(name: &PinName, first: &Mistake) -> ObjectWish {
    ObjectWish { origin: format!("{}:{}", first.file, first.line), ..ObjectWish::bare(name.clone(), NO_SOURCE) }
}

impl ObjectWish {
    /// An object of which only this is known, taken whole.
    pub fn bare(name: PinName, source: ObjectSource) -> Self {
        Self {
            name,
            source,
            sha256: None,
            on_mismatch: OnMismatch::default(),
            optional: false,
            btf: None,
            maps: Table::default(),
            globals: Table::default(),
            programs: None,
            alternatives: Vec::new(),
            memory_budget: None,
            shrink: false,
            origin: String::new(),
        }
    }
}

fn apply(config: &mut Config, setting: Setting, origin: Origin) {
    match setting {
        Setting::Profiles(profiles) => config.profiles = profiles,
        Setting::Sysctl(wish) => config.sysctls.push(SysctlWish { origin, ..wish }),
        Setting::Knob(wish) => config.knobs.push(KnobWish { origin, ..wish }),
        Setting::Memlock(wish) => config.limits.memlock = Some(wish),
        Setting::Nofile(wish) => config.limits.nofile = Some(wish),
        Setting::Mount(_, None) => {}
        Setting::Mount(_, Some(wish)) => {
            // bpffs, tracefs, debugfs: the order in which they are made.
            let at = config.mounts.partition_point(|mount| (mount.fs as u8) < wish.fs as u8);
            config.mounts.insert(at, MountWish { origin, ..wish });
        }
        Setting::Root(root) => config.bpf.root = root,
        Setting::Deadline(deadline) => config.bpf.deadline = deadline,
        Setting::MemoryBudget(bytes) => config.bpf.memory_budget = Some(bytes),
        Setting::Run(setting) => setting.apply(&mut config.run),
        Setting::Object(name, part) => {
            if let Some(object) = config.objects.get_mut(&name) {
                part.apply(object);
            }
        }
    }
}

impl Part {
    fn apply(self, object: &mut ObjectWish) {
        match self {
            Self::Source(source) => object.source = source,
            Self::Sha256(hash) => object.sha256 = Some(hash),
            Self::OnMismatch(policy) => object.on_mismatch = policy,
            Self::Optional(optional) => object.optional = optional,
            Self::MemoryBudget(bytes) => object.memory_budget = Some(bytes),
            Self::Shrink(shrink) => object.shrink = shrink,
            Self::Btf(path) => object.btf = Some(path),
            Self::Map(name, wish) => {
                object.maps.insert(name, wish);
            }
            Self::Global(name, value) => {
                object.globals.insert(name, value);
            }
            Self::Program(name, wish) => {
                object.programs.get_or_insert_default().insert(name, wish);
            }
            Self::Alternatives(pairs) => object.alternatives = pairs,
        }
    }
}
