//! The maps of an object as its source declares them, read from its tables alone: what the plan can know of them before
//! the loader child reads the object whole. The layouts are those that aya-obj will come to.

use std::borrow::Cow;

use aya_obj::generated::{BPF_F_RDONLY_PROG, bpf_map_type};
use object::{
    SectionIndex, elf,
    read::elf::{FileHeader, SectionHeader, Sym},
};

use super::{
    btf::{Types, kind, word},
    elf::{damaged, header, is_data, section_name},
    layout::Layout,
};
use crate::error::Fault;

/// Bytes of the definition that loaders before BTF had: type, key, value, entries, flags.
const LEGACY: usize = 20;

/// A map that an object declares.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its layout, to the letter.
    pub layout: Layout,
    /// Its map_extra: the hashes of a bloom filter.
    pub extra: u64,
}

/// The maps of an object that was [looked at](super::elf::look), sorted by their names; those that say no type are left
/// out.
///
/// # Errors
/// A [`Cause::Object`](crate::error::Cause::Object) fault: the file is damaged.
pub fn maps(bytes: &[u8]) -> Result<Vec<Declared>, Fault> {
    let (header, endian) = header(bytes)?;
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB).map_err(damaged)?;
    let btf = sections.section_by_name(endian, b".BTF").and_then(|(_, btf)| Types::read(btf.data(endian, bytes).ok()?));
    let mut maps: Vec<Declared> = btf.iter().flat_map(of_btf).collect();
    for symbol in symbols.iter() {
        let index = SectionIndex(usize::from(symbol.st_shndx(endian).0));
        let Ok(section) = sections.section(index) else { continue };
        let place = section_name(&sections, section, endian);
        if place != "maps" && (place == ".maps" || !place.ends_with("/maps")) {
            continue;
        }
        let name = symbol.name(endian, symbols.strings()).unwrap_or_default();
        let definition = section.data(endian, bytes).ok().and_then(|data| data.get(symbol.st_value(endian) as usize..));
        if let (false, Some(layout)) = (name.is_empty(), definition.and_then(legacy)) {
            maps.push(Declared { name: String::from_utf8_lossy(name).into_owned(), layout, extra: 0 });
        }
    }
    for (_, section) in sections.enumerate() {
        let name = section_name(&sections, section, endian);
        let size = section.sh_size.get(endian) as u32;
        if is_data(&name) && size > 0 {
            maps.push(of_globals(name, size));
        }
    }
    maps.sort_by(|a, b| a.name.cmp(&b.name));
    maps.dedup_by(|a, b| a.name == b.name);
    Ok(maps)
}

/// The map behind a section of globals.
fn of_globals(section: Cow<'_, str>, size: u32) -> Declared {
    let flags = if section.starts_with(".rodata") { BPF_F_RDONLY_PROG } else { 0 };
    let layout = Layout {
        map_type: bpf_map_type::BPF_MAP_TYPE_ARRAY as u32,
        key_size: 4,
        value_size: size,
        max_entries: 1,
        flags,
    };
    Declared { name: section.into_owned(), layout, extra: 0 }
}

fn legacy(definition: &[u8]) -> Option<Layout> {
    let mut fields = (0..LEGACY).step_by(4).map(|at| word(definition, at));
    let mut next = || fields.next()?;
    Some(Layout { map_type: next()?, key_size: next()?, value_size: next()?, max_entries: next()?, flags: next()? })
}

fn of_btf(types: &Types<'_>) -> Vec<Declared> {
    let entries = types.section(".maps").map(|(_, entries)| entries).unwrap_or_default();
    let maps = entries.into_iter().filter_map(|entry| {
        let (layout, extra) = of_structure(types, types.follow(entry.var + 8)?)?;
        Some(Declared { name: entry.name.into_owned(), layout, extra })
    });
    maps.collect()
}

/// What a structure declares. `__uint(name, number)` is a pointer to an array of that length, `__type(name, type)` a
/// pointer to the type.
fn of_structure(types: &Types<'_>, map: usize) -> Option<(Layout, u64)> {
    let mut layout = Layout { map_type: 0, key_size: 0, value_size: 0, max_entries: 0, flags: 0 };
    let mut extra = 0;
    for member in types.members(map)? {
        let pointer = types.follow(member + 4).filter(|at| types.kind(*at) == Some(kind::PTR));
        let number = || {
            let array = types.follow(pointer? + 8).filter(|at| types.kind(*at) == Some(kind::ARRAY))?;
            types.word(array + 20)
        };
        let place = match types.name(member).as_deref() {
            Some("type") => &mut layout.map_type,
            Some("key_size") => &mut layout.key_size,
            Some("value_size") => &mut layout.value_size,
            Some("max_entries") => &mut layout.max_entries,
            Some("map_flags") => &mut layout.flags,
            Some("map_extra") => &mut extra,
            Some("key") => {
                layout.key_size = types.size(pointer? + 8)?;
                continue;
            }
            Some("value") => {
                layout.value_size = types.size(pointer? + 8)?;
                continue;
            }
            // A map of maps holds descriptors.
            Some("values") if pointer.is_none() => {
                layout.value_size = 4;
                continue;
            }
            _ => continue,
        };
        *place = number()?;
    }
    (layout.map_type > 0).then_some((layout, extra.into()))
}
