//! A first look at an object file: which programs, maps and globals it holds, by its section and symbol tables only.
//!
//! The plan is made from this, so it runs in the parent: it reads through the `object` crate, which checks every
//! bound, and never interprets instructions or BTF. The deep parse is the loader child's.

use std::borrow::Cow;

use aya_obj::generated::bpf_map_type;
use object::{
    Endianness, SectionIndex,
    elf::{self, FileHeader64, SectionHeader64},
    read::elf::{FileHeader, SectionHeader, SectionTable, Sym},
};

use super::{
    btf::{NAME_MAX, Types, kind, word},
    kind::{Section, understand},
};
use crate::error::{Cause, Fault};

type Header = FileHeader64<Endianness>;

/// A section larger than this is not a BPF section: sizes of .bss are only claimed, and aya-obj allocates what they
/// claim (fault-matrix row 28).
const SECTION_MAX: u64 = 16 << 20;
/// Most sections: an object of 500 programs, each with its relocations, has some 1,000.
const SECTIONS_MAX: usize = 1 << 13;
/// The largest BTF: that of a whole kernel has 6 MiB.
const BTF_MAX: u64 = 8 << 20;
/// Most symbols; the largest object known has some thousands.
const SYMBOLS_MAX: usize = 1 << 16;
/// All names together, each as often as it is used: any number can share the bytes of one long name.
const NAMES_MAX: usize = 4 << 20;

/// What an object holds.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its programs, in the order of the symbol table.
    pub programs: Vec<ProgramShape>,
    /// Its maps by name, the sections of its globals among them.
    pub maps: Vec<String>,
    /// The types of its maps, inner ones too: one bit each, by BPF_MAP_TYPE_*.
    pub map_types: u64,
    /// Whether it has BTF.
    pub typed: bool,
    /// Its global variables with their sizes in bytes.
    pub globals: Vec<(String, u64)>,
}

/// One program of an object.
#[derive(Clone, Debug)]
pub struct ProgramShape {
    /// Its symbol.
    pub name: String,
    /// Its section, as written.
    pub section: String,
    /// What the section says.
    pub says: Section,
}

pub(super) fn damaged(what: impl std::fmt::Display) -> Fault {
    Fault::new(Cause::Object, format!("not a usable BPF object: {what}"))
        .mend("rebuild it with clang -target bpf or aya-ebpf, and check the copy: sha256sum FILE")
}

pub(super) fn header(bytes: &[u8]) -> Result<(&Header, Endianness), Fault> {
    let header = Header::parse(bytes).map_err(|_| damaged("not a 64-bit ELF file"))?;
    let endian = header.endian().map_err(damaged)?;
    if (endian == Endianness::Big) != cfg!(target_endian = "big") {
        return Err(damaged("built for the other byte order").mend("build it for this machine: clang -target bpf"));
    }
    match header.e_machine.get(endian) {
        elf::EM_BPF | elf::EM_NONE => Ok((header, endian)),
        machine => Err(damaged(format_args!("built for machine {machine}, not for BPF ({})", elf::EM_BPF))),
    }
}

/// Whether the tables of an object are whole and of a size that no reader of them chokes on. Comes first of all.
///
/// # Errors
/// As [`look`].
pub fn check(bytes: &[u8]) -> Result<(), Fault> {
    let (header, endian) = header(bytes)?;
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    if sections.len() != usize::from(header.e_shnum.get(endian)) || sections.len() > SECTIONS_MAX {
        return Err(damaged(format_args!("it has no section, or more than {SECTIONS_MAX}")));
    }
    let mut names = 0;
    let mut name = |length: usize| {
        names += length;
        if length > NAME_MAX || names > NAMES_MAX { Err(damaged("its names are too long")) } else { Ok(()) }
    };
    for (_, section) in sections.enumerate() {
        let size = section.sh_size.get(endian);
        if size > SECTION_MAX {
            return Err(damaged(format_args!("a section claims {size} bytes; {SECTION_MAX} is the most")));
        }
        section.data(endian, bytes).map_err(damaged)?;
        name(sections.section_name(endian, section).unwrap_or_default().len())?;
    }
    if let Some((_, btf)) = sections.section_by_name(endian, b".BTF")
        && btf.sh_size.get(endian) > BTF_MAX
    {
        return Err(damaged(format_args!("its BTF is larger than {BTF_MAX} bytes")));
    }
    let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB).map_err(damaged)?;
    if symbols.len() > SYMBOLS_MAX {
        return Err(damaged(format_args!("it has {} symbols; {SYMBOLS_MAX} is the most", symbols.len())));
    }
    symbols.iter().try_for_each(|symbol| name(symbol.name(endian, symbols.strings()).unwrap_or_default().len()))
}

/// Looks into an object that was [checked](check).
///
/// # Errors
/// A [`Cause::Object`] fault that says what is wrong with the file.
pub fn look(bytes: &[u8]) -> Result<Shape, Fault> {
    let (header, endian) = header(bytes)?;
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB).map_err(damaged)?;
    let btf = sections.section_by_name(endian, b".BTF").and_then(|(_, btf)| Types::read(btf.data(endian, bytes).ok()?));
    let mut shape = Shape {
        programs: Vec::new(),
        maps: Vec::new(),
        map_types: btf.as_ref().map_or(0, declared_map_types),
        typed: btf.is_some(),
        globals: Vec::new(),
    };
    for symbol in symbols.iter() {
        let index = SectionIndex(usize::from(symbol.st_shndx(endian).0));
        let Ok(header) = sections.section(index) else { continue };
        let name = String::from_utf8_lossy(symbol.name(endian, symbols.strings()).unwrap_or_default());
        if name.is_empty() {
            continue;
        }
        let section = section_name(&sections, header, endian);
        match symbol.st_type() {
            elf::STT_FUNC if is_program(header, &section, endian) => {
                let says = understand(&section);
                shape.programs.push(ProgramShape { name: name.into_owned(), section: section.into_owned(), says });
            }
            elf::STT_OBJECT | elf::STT_NOTYPE
                if section == ".maps" || section == "maps" || section.ends_with("/maps") =>
            {
                if section != ".maps" {
                    let data = header.data(endian, bytes).unwrap_or_default();
                    shape.map_types |= word(data, symbol.st_value(endian) as usize).map_or(0, type_bit);
                }
                shape.maps.push(name.into_owned());
            }
            elf::STT_OBJECT if is_data(&section) => {
                shape.globals.push((name.into_owned(), symbol.st_size(endian)));
            }
            _ => {}
        }
    }
    let of_use = !shape.programs.is_empty() || !shape.maps.is_empty();
    for (_, header) in sections.enumerate() {
        let section = section_name(&sections, header, endian);
        if is_data(&section) && header.sh_size.get(endian) > 0 {
            shape.maps.push(section.into_owned());
            shape.map_types |= type_bit(bpf_map_type::BPF_MAP_TYPE_ARRAY as u32);
        }
    }
    shape.maps.sort();
    shape.maps.dedup();
    // Its globals alone are nobody's.
    match of_use {
        true => Ok(shape),
        false => Err(damaged("it holds neither a program nor a map that aya could load")),
    }
}

/// What map_create() in kernel/bpf/syscall.c wants CAP_NET_ADMIN for.
pub const NET_MAPS: u64 = 1 << bpf_map_type::BPF_MAP_TYPE_SOCKMAP as u32
    | 1 << bpf_map_type::BPF_MAP_TYPE_SOCKHASH as u32
    | 1 << bpf_map_type::BPF_MAP_TYPE_DEVMAP as u32
    | 1 << bpf_map_type::BPF_MAP_TYPE_DEVMAP_HASH as u32
    | 1 << bpf_map_type::BPF_MAP_TYPE_XSKMAP as u32;

fn type_bit(map_type: u32) -> u64 {
    1u64.checked_shl(map_type).unwrap_or(0)
}

/// The types of the maps that .maps declares.
fn declared_map_types(types: &Types<'_>) -> u64 {
    let maps = types.section(".maps").map(|(_, entries)| entries);
    maps.into_iter().flatten().fold(0, |all, entry| all | map_types(types, types.follow(entry.var + 8), true))
}

/// The type of the map that a structure declares, and that of the maps which it holds. `__uint(type, …)` is the length
/// of an array, `__array(values, …)` an array of pointers to such a structure.
fn map_types(types: &Types<'_>, map: Option<usize>, outer: bool) -> u64 {
    let Some(members) = map.and_then(|map| types.members(map)) else { return 0 };
    let of_kind = |field: usize, kind: u32| types.follow(field).filter(|at| types.kind(*at) == Some(kind));
    let mut all = 0;
    for member in members {
        match types.name(member).as_deref() {
            Some("type") => {
                let array = of_kind(member + 4, kind::PTR).and_then(|pointer| of_kind(pointer + 8, kind::ARRAY));
                all |= array.and_then(|array| types.word(array + 20)).map_or(0, type_bit);
            }
            Some("values") if outer => {
                let pointer = of_kind(member + 4, kind::ARRAY).and_then(|array| of_kind(array + 12, kind::PTR));
                all |= map_types(types, pointer.and_then(|pointer| types.follow(pointer + 8)), false);
            }
            _ => {}
        }
    }
    all
}

/// The bytes of a section.
pub(super) fn section<'a>(elf: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (header, endian) = header(elf).ok()?;
    let (_, section) = header.sections(endian, elf).ok()?.section_by_name(endian, name)?;
    section.data(endian, elf).ok()
}

pub(super) fn section_name<'a>(
    sections: &SectionTable<'a, Header>,
    header: &SectionHeader64<Endianness>,
    endian: Endianness,
) -> Cow<'a, str> {
    String::from_utf8_lossy(sections.section_name(endian, header).unwrap_or_default())
}

pub(super) fn is_program(header: &SectionHeader64<Endianness>, name: &str, endian: Endianness) -> bool {
    header.sh_flags.get(endian).contains(elf::SHF_EXECINSTR) && !name.starts_with(".text")
}

pub(super) fn is_data(name: &str) -> bool {
    [".rodata", ".data", ".bss"].iter().any(|prefix| name.starts_with(prefix)) && !name.contains(".rel")
}
