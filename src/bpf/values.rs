//! Initial values of maps that the source declares, `__array(values, …) = { … }`: the programs of a program array and
//! the maps in a map of maps. The file holds them as relocations of `.maps`, which aya leaves out.

use std::borrow::Cow;

use object::{
    Endianness, SectionIndex, SymbolIndex,
    elf::{self, SectionHeader64},
    read::elf::{FileHeader, SectionHeader, Sym},
};

use super::{
    btf::{Types, add_string, kind},
    elf::{damaged, header},
    rewrite::{File, section_range},
};
use crate::{
    config::Table,
    error::{Cause, Fault},
};

/// Most initial values of the maps of one object.
const VALUES_MAX: usize = 16_384;

/// By map, what is behind each index.
pub type Slots = Table<String, Table<u32, String>>;

/// What the maps of an object are to begin with.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Programs, by their function.
    pub programs: Slots,
    /// Inner maps.
    pub maps: Slots,
}

/// A map that declares values.
struct Declared<'a> {
    map: Cow<'a, str>,
    /// Where in the map's own bytes they begin.
    offset: u64,
    programs: bool,
}

/// Takes the values out of an object, and makes it one that aya can read.
///
/// # Errors
/// A [`Cause::Object`] fault: the file is damaged, or a value has no name.
pub fn take(bytes: Vec<u8>) -> Result<(Vec<u8>, Values), Fault> {
    let mut values = Values::default();
    let (header, endian) = header(&bytes)?;
    let sections = header.sections(endian, &*bytes).map_err(damaged)?;
    let Some((btf_index, btf)) = sections.section_by_name(endian, b".BTF") else { return Ok((bytes, values)) };
    let (from, size) = section_range(btf, endian);
    let btf = bytes.get(from..from + size).unwrap_or_default();
    if !btf.windows(8).any(|window| window == b"\0values\0") {
        return Ok((bytes, values));
    }
    let mut edited = btf.to_vec();
    let mut declared = Types::read(btf).and_then(|types| declared(&types, &mut edited)).unwrap_or_default();
    let Some((maps, _)) = sections.section_by_name(endian, b".maps").filter(|_| !declared.is_empty()) else {
        return Ok((bytes, values));
    };
    declared.sort_by(|a, b| a.map.cmp(&b.map));
    let symbols = sections.symbols(endian, &*bytes, elf::SHT_SYMTAB).map_err(damaged)?;
    let name_of = |symbol: &elf::Sym64<Endianness>| {
        String::from_utf8_lossy(symbol.name(endian, symbols.strings()).unwrap_or_default())
    };
    let mut places = Vec::new();
    for symbol in symbols.iter().filter(|symbol| symbol.st_type() == elf::STT_OBJECT) {
        if SectionIndex(symbol.st_shndx(endian).0.into()) != maps {
            continue;
        }
        let found = declared.binary_search_by(|declared| (*declared.map).cmp(&*name_of(symbol)));
        if let Some(declared) = found.ok().and_then(|at| declared.get(at)) {
            places.push((symbol.st_value(endian), symbol.st_size(endian), declared));
        }
    }
    places.sort_by_key(|(start, ..)| *start);
    for (_, section) in sections.enumerate() {
        let Some((relocations, _)) = section.rel(endian, &*bytes).map_err(damaged)? else { continue };
        if SectionIndex(section.sh_info.get(endian) as usize) != maps {
            continue;
        }
        if relocations.len() > VALUES_MAX {
            return Err(damaged(format_args!("its maps begin with more than {VALUES_MAX} values")));
        }
        for relocation in relocations {
            let at = relocation.r_offset.get(endian);
            let before = places.partition_point(|(start, ..)| *start <= at);
            let Some((start, size, declared)) = before.checked_sub(1).and_then(|last| places.get(last)) else {
                continue;
            };
            if at - start >= *size {
                continue;
            }
            let index = (at - start).saturating_sub(declared.offset) / 8;
            let value = symbols.symbol(SymbolIndex(relocation.r_sym(endian) as usize)).map_err(damaged)?;
            let slots = if declared.programs { &mut values.programs } else { &mut values.maps };
            let name = match name_of(value) {
                name if name.is_empty() => {
                    return Err(Fault::new(
                        Cause::Object,
                        format!("map {}: the value at index {index} is static and has no name", declared.map),
                    )
                    .mend("rebuild the object without static on it"));
                }
                name => name.into_owned(),
            };
            slots.change(declared.map.to_string(), |slots| {
                slots.insert(index as u32, name);
            });
        }
    }
    if edited == btf {
        return Ok((bytes, values));
    }
    let header_at = header.e_shoff.get(endian) as usize + btf_index.0 * size_of::<SectionHeader64<Endianness>>();
    let mut file = File { bytes: Cow::Owned(bytes.to_vec()) };
    file.replace(header_at, &edited)?;
    Ok((file.bytes.into_owned(), values))
}

/// The maps that declare values. aya takes a declaration of programs for one of maps, and fails: in `edited` it becomes
/// what it means, a value of the key's size.
fn declared<'a>(types: &Types<'a>, edited: &mut Vec<u8>) -> Option<Vec<Declared<'a>>> {
    let mut found = Vec::new();
    for entry in types.section(".maps")?.1 {
        let Some(members) = types.members(types.follow(entry.var + 8)?) else { continue };
        let members: Vec<(Cow<'_, str>, usize)> =
            members.map(|at| Some((types.name(at)?, at))).collect::<Option<_>>()?;
        let member = |name: &str| members.iter().find(|(is, _)| is == name).map(|(_, at)| *at);
        let Some(at) = member("values") else { continue };
        let array = types.follow(at + 4).filter(|at| types.kind(*at) == Some(kind::ARRAY))?;
        let pointer = types.follow(array + 12).filter(|at| types.kind(*at) == Some(kind::PTR))?;
        let programs = types.kind(types.follow(pointer + 8)?)? == kind::FUNC_PROTO;
        found.push(Declared { map: entry.name, offset: u64::from(types.word(at + 8)?) / 8, programs });
        if !programs {
            continue;
        }
        let (name, like) = match (member("key_size"), member("key")) {
            (Some(key), _) => ("value_size", key),
            (None, Some(key)) => ("value", key),
            (None, None) => continue,
        };
        let (name, like) = (add_string(edited, name)?, types.word(like + 4)?);
        edited.get_mut(at..at + 4)?.copy_from_slice(&name.to_ne_bytes());
        edited.get_mut(at + 4..at + 8)?.copy_from_slice(&like.to_ne_bytes());
    }
    Some(found)
}
