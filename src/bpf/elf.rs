//! A first look at an object file: which programs, maps and globals it holds, by its section and symbol tables only.
//!
//! The plan is made from this, so it runs in the parent: it reads through the `object` crate, which checks every
//! bound, and never interprets instructions or BTF. The deep parse is the loader child's.

use std::collections::BTreeMap;

use aya_obj::generated::bpf_map_type;
use object::{
    Endianness, SectionIndex,
    elf::{self, FileHeader64, SectionHeader64},
    read::elf::{FileHeader, SectionHeader, SectionTable, Sym},
};

use super::{
    btf::{Types, kind, word},
    kind::{Section, understand},
};
use crate::error::{Cause, Fault};

type Header = FileHeader64<Endianness>;

/// A section larger than this is not a BPF section: sizes of .bss are only claimed, and aya-obj allocates what they
/// claim (fault-matrix row 28).
const SECTION_MAX: u64 = 16 << 20;

/// What an object holds.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its programs, in the order of the symbol table.
    pub programs: Vec<ProgramShape>,
    /// Its maps by name, the sections of its globals among them.
    pub maps: Vec<String>,
    /// Whether it has maps of sockets or devices, which the kernel makes only for CAP_NET_ADMIN.
    pub net_maps: bool,
    /// Its global variables with their sizes in bytes.
    pub globals: BTreeMap<String, u64>,
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

/// Looks into an object.
///
/// # Errors
/// A [`Cause::Object`] fault that says what is wrong with the file.
pub fn look(bytes: &[u8]) -> Result<Shape, Fault> {
    let (header, endian) = header(bytes)?;
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    for (_, section) in sections.enumerate() {
        let size = section.sh_size.get(endian);
        if size > SECTION_MAX {
            return Err(damaged(format_args!("a section claims {size} bytes; {SECTION_MAX} is the most")));
        }
        section.data(endian, bytes).map_err(damaged)?;
    }
    let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB).map_err(damaged)?;
    let mut shape = Shape { programs: Vec::new(), maps: Vec::new(), net_maps: false, globals: BTreeMap::new() };
    let btf = sections.section_by_name(endian, b".BTF").and_then(|(_, btf)| Types::read(btf.data(endian, bytes).ok()?));
    for symbol in symbols.iter() {
        let index = SectionIndex(usize::from(symbol.st_shndx(endian).0));
        let Ok(header) = sections.section(index) else { continue };
        let name = String::from_utf8_lossy(symbol.name(endian, symbols.strings()).unwrap_or_default()).into_owned();
        if name.is_empty() {
            continue;
        }
        let section = section_name(&sections, header, endian);
        match symbol.st_type() {
            elf::STT_FUNC if is_program(header, &section, endian) => {
                let says = understand(&section);
                shape.programs.push(ProgramShape { name, section, says });
            }
            elf::STT_OBJECT | elf::STT_NOTYPE
                if section == ".maps" || section == "maps" || section.ends_with("/maps") =>
            {
                let map_type = match &btf {
                    Some(types) if section == ".maps" => declared_type(types, &name),
                    _ => header.data(endian, bytes).ok().and_then(|data| word(data, symbol.st_value(endian) as usize)),
                };
                shape.net_maps |= map_type.is_some_and(|map_type| NET_MAPS.iter().any(|net| *net as u32 == map_type));
                shape.maps.push(name);
            }
            elf::STT_OBJECT if is_data(&section) => {
                shape.globals.insert(name, symbol.st_size(endian));
            }
            _ => {}
        }
    }
    for (_, header) in sections.enumerate() {
        let section = section_name(&sections, header, endian);
        if is_data(&section) && header.sh_size.get(endian) > 0 {
            shape.maps.push(section);
        }
    }
    shape.maps.sort();
    shape.maps.dedup();
    if shape.programs.is_empty() && shape.maps.is_empty() {
        return Err(damaged("it holds neither a program nor a map that aya could load"));
    }
    Ok(shape)
}

/// What map_create() in kernel/bpf/syscall.c wants CAP_NET_ADMIN for.
const NET_MAPS: [bpf_map_type; 5] = [
    bpf_map_type::BPF_MAP_TYPE_SOCKMAP,
    bpf_map_type::BPF_MAP_TYPE_SOCKHASH,
    bpf_map_type::BPF_MAP_TYPE_DEVMAP,
    bpf_map_type::BPF_MAP_TYPE_DEVMAP_HASH,
    bpf_map_type::BPF_MAP_TYPE_XSKMAP,
];

/// A map's type as `__uint(type, …)` declares it: the length of an array.
fn declared_type(types: &Types<'_>, map: &str) -> Option<u32> {
    let entry = types.section(".maps")?.1.into_iter().find(|entry| entry.name == map)?;
    let member = types.members(types.follow(entry.var + 8)?)?.find(|at| types.name(*at).as_deref() == Some("type"))?;
    let pointer = types.follow(member + 4).filter(|at| types.kind(*at) == Some(kind::PTR))?;
    let array = types.follow(pointer + 8).filter(|at| types.kind(*at) == Some(kind::ARRAY))?;
    types.word(array + 20)
}

pub(super) fn section_name(
    sections: &SectionTable<'_, Header>,
    header: &SectionHeader64<Endianness>,
    endian: Endianness,
) -> String {
    String::from_utf8_lossy(sections.section_name(endian, header).unwrap_or_default()).into_owned()
}

pub(super) fn is_program(header: &SectionHeader64<Endianness>, name: &str, endian: Endianness) -> bool {
    header.sh_flags.get(endian).contains(elf::SHF_EXECINSTR) && !name.starts_with(".text")
}

fn is_data(name: &str) -> bool {
    [".rodata", ".data", ".bss"].iter().any(|prefix| name.starts_with(prefix)) && !name.contains(".rel")
}
