//! From bytes to programs: aya-obj parses the object, and once its maps are there, its programs are relocated.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    mem,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use aya_obj::{
    Object,
    btf::{Btf, BtfError, BtfFeature},
};
use object::Endianness;

use super::{
    against::{needs_types, relocate_against, resolve},
    fault::{of_btf, of_parse, of_relocation},
    job::Job,
    kind::Kind,
    layout::Machine,
    maps::{self, OpenedMap, fill_maps_of_maps},
    outside::{KERNEL_BTF, Outside},
    rewrite,
    store::Store,
};
use crate::{
    config::{PinName, Table},
    error::{Cause, Fault},
    facts::KernelVersion,
    sys::{bpf::ProgramIdentity, load::load_btf},
};

/// An object whose maps are being made, by many at once.
pub struct Parsed {
    object: Object,
    btf: Option<OwnedFd>,
    /// Its maps as it defines them, the largest first.
    pub defined: Vec<(String, aya_obj::Map)>,
    made: Mutex<Vec<(usize, Result<OpenedMap, Fault>)>>,
}

/// An object that has its maps; its programs are ready to load.
pub struct Opened {
    /// Its programs and functions, relocated.
    pub object: Object,
    /// Its BTF in the kernel.
    pub btf: Option<OwnedFd>,
    /// Its maps, by name: they exist and are pinned in the stage.
    pub maps: Vec<OpenedMap>,
    /// Its loaded programs, by name: they are pinned in the stage.
    pub loaded: Table<PinName, (OwnedFd, ProgramIdentity)>,
}

/// The running kernel's BTF, parsed at most once and only when something needs it: 45 ms and 17 MB.
pub struct KernelBtf<'a> {
    /// Where it was opened.
    pub outside: &'a Outside,
    /// What became of it.
    pub parsed: OnceLock<Result<Btf, Fault>>,
}

impl KernelBtf<'_> {
    /// The BTF.
    ///
    /// # Errors
    /// A [`Cause::Kernel`] fault: this kernel has none.
    pub fn get(&self) -> Result<&Btf, Fault> {
        let parsed = self.parsed.get_or_init(|| {
            let path = Path::new(KERNEL_BTF);
            let absent = |error| BtfError::FileError { path: path.to_owned(), error };
            let bytes = self.outside.read(path).map_err(absent);
            bytes.and_then(|bytes| Btf::parse(&bytes, Endianness::default())).map_err(|error| of_btf(&error))
        });
        parsed.as_ref().map_err(Clone::clone)
    }
}

/// Opens an object, whose maps are still to be made.
///
/// # Errors
/// What [`of_parse`] and [`of_relocation`] say.
pub fn open(job: &Job, kernel_btf: &KernelBtf<'_>) -> Result<Parsed, Fault> {
    let mut object = read(job)?;
    let btf = type_info(&mut object, KernelVersion::running())?
        .and_then(|btf| load_btf(&btf, kernel_btf.outside.token()).ok());
    relocate_types(job, &mut object, kernel_btf)?;
    let mut defined: Vec<_> = mem::take(&mut object.maps).into_iter().collect();
    defined.sort_by(|(a, one), (b, other)| (Reverse(maps::bytes(one)), a).cmp(&(Reverse(maps::bytes(other)), b)));
    Ok(Parsed { object, btf, defined, made: Mutex::default() })
}

impl Parsed {
    /// Makes one of its maps.
    pub fn make(&self, at: usize, job: &Job, store: &Store, machine: Machine, outside: &Outside) {
        let Some((name, map)) = self.defined.get(at) else { return };
        let made = maps::make(job, name, map, self.btf.as_ref(), store, machine, outside);
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push((at, made));
    }

    /// Goes on with the maps that were made of all its definitions.
    ///
    /// # Errors
    /// The first [`Cause::Map`] fault: others may come of it. What [`of_relocation`] says.
    pub fn take_maps(self, job: &Job) -> Result<Opened, Fault> {
        let Self { mut object, btf, defined, made } = self;
        let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
        made.sort_by_key(|(at, _)| *at);
        let mut maps = made.into_iter().map(|(_, map)| map).collect::<Result<Vec<_>, _>>()?;
        fill_maps_of_maps(job, &maps)?;
        let places = defined.iter().zip(&maps);
        relocate(
            &mut object,
            places.map(|((name, map), made)| (name.as_str(), made.fd.as_raw_fd(), map)),
            KernelVersion::running(),
        )?;
        maps.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Opened { object, btf, maps, loaded: Table::default() })
    }
}

/// Parses an object, and gives its globals their values.
///
/// # Errors
/// What [`of_parse`] says, and a fault of [`rewrite::for_aya`].
pub(super) fn read(job: &Job) -> Result<Object, Fault> {
    let known = |program: &&super::job::ProgramJob| program.kind != Kind::Unknown;
    let mut sections: Vec<String> = job.programs.iter().filter(known).map(|program| program.section.clone()).collect();
    sections.sort();
    let wanted = |section: &str| sections.binary_search_by(|known| known.as_str().cmp(section)).is_ok();
    let elf = rewrite::for_aya(&job.bytes.elf, &wanted)?;
    let mut object = Object::parse(&elf).map_err(|error| of_parse(&error))?;
    let globals: HashMap<&str, (&[u8], bool)> =
        job.globals.iter().map(|(name, value)| (name.as_str(), (value.as_slice(), true))).collect();
    object.patch_map_data(globals).map_err(|error| of_parse(&error))?;
    Ok(object)
}

/// Puts descriptors of maps, and the places of functions, into the instructions.
///
/// # Errors
/// What [`of_relocation`] says.
pub(super) fn relocate<'a>(
    object: &mut Object,
    places: impl Iterator<Item = (&'a str, RawFd, &'a aya_obj::Map)>,
    kernel: KernelVersion,
) -> Result<(), Fault> {
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_maps(places, &text).map_err(|error| of_relocation(&error))?;
    object.relocate_externs().map_err(|error| of_relocation(&error))?;
    object.relocate_calls(&text).map_err(|error| of_relocation(&error))?;
    // bpf_probe_read_kernel() is of 5.5 (6ae08ae3dea2); before, there was one helper for both address spaces.
    object.sanitize_functions(|| kernel >= (KernelVersion { major: 5, minor: 5 }));
    Ok(())
}

/// The object's BTF, without the kinds that `kernel` is too old for. Where the kernel refuses it all the same, the programs
/// load without it: it only names their functions and lines.
///
/// # Errors
/// What [`of_btf`] says.
pub(super) fn type_info(object: &mut Object, kernel: KernelVersion) -> Result<Option<Vec<u8>>, Fault> {
    let since = |major, minor| kernel >= KernelVersion { major, minor };
    let supported = |feature| match feature {
        BtfFeature::Func => since(5, 0),
        BtfFeature::DataSec => since(5, 2),
        BtfFeature::FuncGlobal => since(5, 6),
        BtfFeature::DataSecZero => since(5, 12),
        BtfFeature::Float => since(5, 13),
        BtfFeature::DeclTag => since(5, 16),
        BtfFeature::TypeTag => since(5, 17),
        BtfFeature::Enum64 => since(6, 0),
    };
    let btf = object.fixup_and_sanitize_btf(|| since(4, 18).then_some(supported)).map_err(|error| of_btf(&error))?;
    Ok(btf.map(|btf| btf.to_bytes()))
}

/// CO-RE: accesses to kernel types and symbols become those of the target kernel.
pub(super) fn relocate_types(job: &Job, object: &mut Object, kernel_btf: &KernelBtf<'_>) -> Result<(), Fault> {
    if !needs_types(object) {
        return resolve(object, None);
    }
    let own = job.btf.as_ref().map(|btf| read_btf(&btf.path, kernel_btf.outside)).transpose()?;
    let target = match &own {
        Some(btf) => Ok(btf),
        None => kernel_btf.get(),
    };
    relocate_against(object, target)
}

fn read_btf(path: &Path, outside: &Outside) -> Result<Btf, Fault> {
    let shown = path.display();
    let bytes = outside.read(path).map_err(|e| Fault::io(Cause::Object, format!("read the BTF file {shown}"), &e))?;
    Btf::parse(&bytes, Endianness::default())
        .map_err(|error| Fault::new(Cause::Object, format!("read the BTF file {shown}: {error}")))
}
