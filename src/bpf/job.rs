//! What is to be done with one object: the wish of the configuration, held against the shape of the file.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{
    choice::{self, Refused, programs},
    elf::{self, Shape},
    entries::sized,
    foresee::Outlook,
    kconfig,
    kind::Kind,
    source::{self, Bytes, Vouched, hex},
    values::{self, Slots},
};
use crate::{
    config::{AttachWish, IfName, MapWish, ObjectWish, OnMismatch, PinName, Table, XdpMode},
    error::{Cause, Fault},
    sys::cpu,
    target::Target,
};

/// Maps of an object, with their settings.
pub(super) type Maps = Table<String, MapWish>;

/// One object, ready for the loader child.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub name: PinName,
    /// The ELF file.
    pub bytes: Bytes,
    /// Hash over all that counts at load time; equal hashes need no new load.
    pub spec: String,
    /// The policy for maps of another layout.
    pub on_mismatch: OnMismatch,
    /// Failure of the whole object degrades instead of failing.
    pub optional: bool,
    /// BTF of the target kernel, where it is not the running one's.
    pub btf: Option<Vouched>,
    /// Its maps, with their settings.
    pub maps: Maps,
    /// What its maps of maps hold, as its source declares.
    pub inner_maps: Slots,
    /// The types of its maps: one bit each.
    pub map_types: u64,
    /// Whether it has BTF for the kernel.
    pub typed: bool,
    /// Values of globals, as wide as the object has them.
    pub globals: Vec<(String, Vec<u8>)>,
    /// The programs to load, in the order of the file.
    pub programs: Vec<ProgramJob>,
    /// Where XDP programs attach.
    pub xdp: Vec<XdpJob>,
    /// What this kernel is known not to take, without a try, and has an alternative. It is not among `programs`.
    pub refused: Vec<Refused>,
    /// What is foreseen for it on a kernel that does not run.
    pub outlook: Option<Outlook>,
}

/// One program to load.
#[derive(Clone, Debug, Hash)]
pub struct ProgramJob {
    /// Its symbol, and the name of its pin.
    pub name: PinName,
    /// Its kind.
    pub kind: Kind,
    /// Its ELF section, as written.
    pub section: String,
    /// Where a tracing program attaches.
    pub attach: Vec<AttachWish>,
    /// What to load it against, for kinds that name their target then.
    pub load_target: String,
    /// Failure degrades instead of failing.
    pub optional: bool,
    /// What to use instead where this kernel cannot take it.
    pub instead: Option<PinName>,
    /// Only to be used instead of another.
    pub reserve: bool,
}

impl ProgramJob {
    /// The pins of one attachment: the program's name, or `program@target` where it has several, and one a CPU for a
    /// sampled event.
    pub fn link_names(&self, wish: &AttachWish) -> Vec<String> {
        let name = match self.attach.len() {
            1 => self.name.to_string(),
            _ => format!("{}@{}", self.name, target(wish).replace('/', "_")),
        };
        match wish {
            AttachWish::PerfEvent { .. } => cpu::online().iter().map(|cpu| format!("{name}@cpu{cpu}")).collect(),
            _ => vec![name],
        }
    }
}

impl ProgramJob {
    /// The tracing attachments, `program@place` each.
    pub fn places(&self) -> impl Iterator<Item = String> {
        self.attach.iter().map(|wish| format!("{}@{}", self.name, target(wish)))
    }
}

/// One XDP attachment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct XdpJob {
    /// The program.
    pub program: PinName,
    /// The interface.
    pub interface: IfName,
    /// The mode asked for.
    pub mode: XdpMode,
    /// How long to wait for the interface.
    pub wait: Duration,
    /// Failure degrades instead of failing.
    pub optional: bool,
}

impl XdpJob {
    /// The pin of its link.
    pub fn link_name(&self) -> String {
        format!("{}@{}", self.program, self.interface)
    }
}

/// The mode's word, as people and the configuration write it.
pub const fn mode_word(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
        XdpMode::Offload => "offload",
        XdpMode::Any => "any",
    }
}

/// The place of a tracing attachment, as people write it.
pub fn target(wish: &AttachWish) -> String {
    match wish {
        AttachWish::Xdp { interface, .. } => interface.to_string(),
        AttachWish::Tracepoint { category, name } => format!("{category}:{name}"),
        AttachWish::Kprobe { function, offset: 0 } => function.clone(),
        AttachWish::Kprobe { function, offset } => format!("{function}+{offset:#x}"),
        AttachWish::RawTracepoint(name)
        | AttachWish::TpBtf(name)
        | AttachWish::Kretprobe(name)
        | AttachWish::Fentry(name)
        | AttachWish::Fexit(name)
        | AttachWish::Lsm(name) => name.clone(),
        AttachWish::Uprobe(place) | AttachWish::Uretprobe(place) => {
            let file = place.path.file_name().unwrap_or_default().to_string_lossy();
            match place.offset {
                0 => format!("{file}:{}", place.symbol),
                offset => format!("{file}:{}+{offset:#x}", place.symbol),
            }
        }
        AttachWish::PerfEvent { event, .. } => event.clone(),
    }
}

impl Job {
    /// Settles what to do with an object that was read, against the BTF that was opened for it.
    ///
    /// # Errors
    /// A [`Cause::Object`] fault: see [`elf::look`]; or the configuration names a program, map or global that the file
    /// does not hold, or a value that does not fit.
    pub fn new(wish: &ObjectWish, bytes: Bytes, btf: Option<Vouched>) -> Result<Self, Fault> {
        Self::on(None, wish, bytes, btf)
    }

    /// The same for another kernel.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn on(
        target: Option<&Target>,
        wish: &ObjectWish,
        mut bytes: Bytes,
        btf: Option<Vouched>,
    ) -> Result<Self, Fault> {
        bytes.are(wish.sha256.as_ref())?;
        elf::check(&bytes.elf)?;
        let mut values;
        (bytes.elf, values) = values::take(bytes.elf)?;
        source::declare(&wish.source, &mut values.programs);
        bytes.elf = kconfig::define(bytes.elf, &|name| wish.globals.contains_key(name), target)?;
        let shape = elf::look(&bytes.elf)?;
        let maps = maps(wish, &shape, values.programs)?;
        let is_whole = wish.programs.is_none() && wish.alternatives.is_empty();
        let own = if is_whole { source::alternatives(&wish.source) } else { Vec::new() };
        let alternatives = if is_whole { &own } else { &wish.alternatives };
        let (programs, xdp) = programs(wish, alternatives, &shape, &maps)?;
        let mut job = Self {
            name: wish.name.clone(),
            spec: String::new(),
            on_mismatch: wish.on_mismatch,
            optional: wish.optional,
            btf,
            maps,
            inner_maps: values.maps,
            map_types: shape.map_types,
            typed: shape.typed,
            globals: globals(wish, &shape)?,
            programs,
            xdp,
            refused: Vec::new(),
            outlook: None,
            bytes,
        };
        job.spec = job.hash();
        Ok(job)
    }

    /// The hash behind [`Job::spec`]. XDP attachments are left out: they come and go without a load.
    fn hash(&self) -> String {
        let mut sha = Sha(Sha256::new_with_prefix(self.bytes.sha256));
        (self.btf.as_ref().map(|btf| &btf.path), &self.maps, &self.globals, &self.programs).hash(&mut sha);
        hex(&sha.0.finalize())
    }

    /// Gives a map another number of entries.
    pub fn resize(&mut self, map: &str, entries: u32) {
        if let Some(wish) = self.maps.get_mut(map) {
            wish.max_entries = Some(entries);
        }
        self.spec = self.hash();
    }

    /// Whether it has maps of sockets or devices, which the kernel makes only for CAP_NET_ADMIN.
    pub const fn net_maps(&self) -> bool {
        self.map_types & elf::NET_MAPS != 0
    }

    /// The hash of the file, as people compare it.
    pub fn sha256(&self) -> String {
        hex(&self.bytes.sha256)
    }

    /// Whether a program stands behind an index of a program array: it is jumped to, and not meant to be attached.
    pub fn jumped_to(&self, program: &str) -> bool {
        choice::jumped_to(&self.maps, program)
    }

    /// Whether a program is among those to load.
    pub fn program(&self, name: &PinName) -> Option<&ProgramJob> {
        self.programs.iter().find(|program| program.name == *name)
    }
}

struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

pub(super) fn absent<'a>(what: &str, name: &str, there: impl Iterator<Item = &'a str>) -> Fault {
    let there: Vec<_> = there.collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    Fault::new(Cause::Object, format!("the object holds no {what} {name:?}")).mend(format!("it holds: {there}"))
}

fn maps(wish: &ObjectWish, shape: &Shape, mut declared: Slots) -> Result<Maps, Fault> {
    if let Some(missing) = wish.maps.keys().find(|name| shape.maps.binary_search(name).is_err()) {
        return Err(absent("map", missing, shape.maps.iter().map(String::as_str)));
    }
    for (map, settings) in &wish.maps {
        if let Some(program) = settings.programs.values().find(|name| !shape.programs.iter().any(|p| p.name == **name))
        {
            let fault = absent("program", program, shape.programs.iter().map(|p| p.name.as_str()));
            return Err(fault.about(format_args!("maps.{map}.programs")));
        }
    }
    let settled = |name: &String| {
        let mut map = wish.maps.get(name).cloned().unwrap_or_default();
        if map.programs.is_empty() {
            map.programs = declared.get_mut(name).map(std::mem::take).unwrap_or_default();
        }
        (name.clone(), map)
    };
    Ok(shape.maps.iter().map(settled).collect())
}

fn globals(wish: &ObjectWish, shape: &Shape) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    wish.globals
        .iter()
        .map(|(name, data)| {
            let size = shape
                .globals
                .iter()
                .find_map(|(global, size)| (global == name).then_some(*size))
                .ok_or_else(|| absent("global", name, shape.globals.iter().map(|(global, _)| global.as_str())))?;
            let bytes = sized(data, usize::try_from(size).unwrap_or(0))
                .map_err(|what| Fault::new(Cause::Object, format!("globals.{name}: {what}")))?;
            Ok((name.clone(), bytes))
        })
        .collect()
}
