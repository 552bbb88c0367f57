//! What fuzzing calls of these rooms: the parent's and the child's side of an object, without the kernel.

use std::sync::OnceLock;

use aya_obj::{EbpfSectionKind, maps::LegacyMap, maps::bpf_map_def};

use super::{
    elf,
    estimate::Kernel,
    job::Job,
    layout::{Fate, Layout, Machine, fate},
    load,
    open::{self, KernelBtf},
    outside::Outside,
    parent::Ear,
    record::Record,
    sized,
    source::Bytes,
    wire::Event,
};
use crate::{
    config::{Data, MapWish, ObjectSource, ObjectWish, OnMismatch},
    error::Fault,
    facts::KernelVersion,
    sys::process::End,
};
use sha2::{Digest, Sha256};

const MACHINE: Machine = Machine { page: 4096, cpus: 2 };

/// All that the parent does with an object.
pub fn parent(elf: &[u8]) -> Result<Job, Fault> {
    let bytes = || Bytes { sha256: Sha256::digest(elf).into(), elf: elf.to_vec() };
    let name = "fuzz".parse().map_err(|_| elf::damaged("name"))?;
    let mut wish = ObjectWish::bare(name, ObjectSource::Builtin(String::new()));
    let job = Job::new(&wish, bytes(), None)?;
    sized::maps(&job, true, &Kernel::new(KernelVersion { major: 6, minor: 18 }, MACHINE))?;
    // Once more with a value for each global, as far as they have room.
    let shape = elf::look(&job.bytes.elf)?;
    wish.globals = shape.globals.iter().take(20).map(|(name, _)| (name.clone(), Data::Int(0))).collect();
    Ok(Job::new(&wish, bytes(), None).unwrap_or(job))
}

/// The running kernel's BTF, parsed once for all inputs.
fn kernel() -> &'static KernelBtf<'static> {
    static OUTSIDE: OnceLock<Outside> = OnceLock::new();
    static KERNEL: OnceLock<KernelBtf<'static>> = OnceLock::new();
    KERNEL.get_or_init(|| KernelBtf { outside: OUTSIDE.get_or_init(Outside::of_kernel), parsed: OnceLock::new() })
}

/// All that the child does with it before it asks the kernel for anything.
pub fn child(job: &Job) -> Result<(), Fault> {
    let mut object = open::read(job)?;
    open::type_info(&mut object, KernelVersion::running())?;
    open::relocate_types(job, &mut object, kernel())?;
    let maps: Vec<_> = std::mem::take(&mut object.maps).into_iter().collect();
    for (name, map) in &maps {
        let wish = job.maps.get(name).cloned().unwrap_or_default();
        let wanted = Layout::wanted(map, &wish, MACHINE);
        let _ = fate(wanted, Layout::of(map), OnMismatch::Keep, name);
    }
    let places = maps.iter().zip(100..).map(|((name, map), fd)| (name.as_str(), fd, map));
    open::relocate(&mut object, places, KernelVersion::running())?;
    for program in &job.programs {
        let _ = load::look_up(&object, program);
    }
    Ok(())
}

/// What `inspect` finds in it.
pub fn inspect(elf: &[u8]) -> Result<(), Fault> {
    let bytes = Bytes { sha256: Sha256::digest(elf).into(), elf: elf.to_vec() };
    let name = "fuzz".parse().map_err(|_| elf::damaged("name"))?;
    let wish = ObjectWish::bare(name, ObjectSource::Builtin(String::new()));
    super::inspect::inspect_bytes(bytes, wish, false).map(drop)
}

/// The parent listens to a child that says `bytes`, in pieces, and ends.
pub fn pipe(bytes: &[u8], piece: usize, end: End) {
    let (mut ear, mut events) = (Ear::default(), Vec::new());
    for chunk in bytes.chunks(piece.max(1)) {
        if !ear.take(chunk, &mut |event| events.push(event)) {
            return;
        }
    }
    let failed = events.iter().any(|event| matches!(event, Event::Failed { optional: false, .. }));
    let ended = events.contains(&Event::End);
    match ear.verdict(end) {
        Ok(()) => assert!(ended && !failed && end == End::Exit(0), "a lie was believed"),
        Err(None) => assert!(failed, "failed for no reason"),
        Err(Some(fault)) => assert!(!(fault.what.is_empty() || failed || ended && end == End::Exit(0))),
    }
    for event in &events {
        let line = event.line();
        assert_eq!(Event::parse(line.trim_end_matches('\n')).as_ref(), Some(event), "{line:?}");
    }
}

/// A record read back from the pins.
pub fn record(text: &str) {
    if let Some(record) = Record::parse(text) {
        assert_eq!(Record::parse(&record.text()), Some(record));
    }
}

/// What an object wants, held against what is pinned.
pub fn layouts(n: [u32; 12], policy: u8) {
    let [map_type, key_size, value_size, max_entries, map_flags, given, cpus, ..] = n;
    let def = bpf_map_def { map_type, key_size, value_size, max_entries, map_flags, ..bpf_map_def::default() };
    let section_kind = EbpfSectionKind::Maps;
    let map = aya_obj::Map::Legacy(LegacyMap {
        def,
        inner_def: None,
        section_index: 0,
        section_kind,
        symbol_index: None,
        data: Vec::new(),
    });
    let machine = Machine { page: 4096 << (cpus % 5), cpus: 1 + cpus % 8192 };
    let wish = MapWish { max_entries: (given % 3 == 0).then_some(given), ..MapWish::default() };
    let wanted = Layout::wanted(&map, &wish, machine);
    let [.., map_type, key_size, value_size, max_entries, flags] = n;
    let pinned = Layout { map_type, key_size, value_size, max_entries, flags };
    let policies = [OnMismatch::Fail, OnMismatch::Keep, OnMismatch::Recreate, OnMismatch::Migrate];
    for pinned in [pinned, wanted, Layout { max_entries, ..wanted }, Layout { flags, ..wanted }] {
        let Some(policy) = policies.get(usize::from(policy % 4)) else { return };
        let sizes = |layout: Layout| (layout.map_type, layout.key_size, layout.value_size);
        match fate(wanted, pinned, *policy, "pin") {
            Ok(Fate::Reuse) => {
                assert!(sizes(wanted) == sizes(pinned) && wanted.max_entries == pinned.max_entries);
                // All but BPF_F_RDONLY, BPF_F_WRONLY and BPF_F_RDONLY_PROG.
                assert_eq!(wanted.flags & !0x98, pinned.flags & !0x98, "another map was reused");
            }
            Ok(Fate::ReuseWithSize(entries)) => {
                assert!(
                    sizes(wanted) == sizes(pinned) && entries == pinned.max_entries && wanted.flags == pinned.flags
                );
            }
            Ok(Fate::Migrate) => assert_eq!(sizes(wanted), sizes(pinned)),
            Ok(Fate::Recreate) => assert_eq!(*policy, OnMismatch::Recreate),
            Err(fault) => assert!(fault.what.contains("pinned") && fault.what.contains("wanted")),
        }
    }
    assert_eq!(fate(wanted, wanted, OnMismatch::Fail, "pin"), Ok(Fate::Reuse));
}
