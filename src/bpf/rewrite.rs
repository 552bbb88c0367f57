//! The same object as aya-obj 0.6 can read it: sections renamed to the names it knows, and the sections whose programs
//! nobody wants made non-executable, because one section it does not know makes it refuse the whole object.

use std::{borrow::Cow, mem::offset_of};

use object::{
    Endianness,
    elf::{self, SectionHeader64},
    read::elf::FileHeader,
};

use super::{
    btf::{add_name, add_string, strings_at, text, word},
    elf::{damaged, header, is_program, section, section_name},
    kind::understand,
};
use crate::{config::Table, error::Fault};

/// Rewrites an object; `wanted` says of a section whether its programs are.
///
/// # Errors
/// A [`Cause::Object`](crate::error::Cause::Object) fault: the file is damaged.
pub fn for_aya<'a>(bytes: &'a [u8], wanted: &dyn Fn(&str) -> bool) -> Result<Cow<'a, [u8]>, Fault> {
    let (header, endian) = header(bytes)?;
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    let table = header.e_shoff.get(endian) as usize;
    let at = |index: usize| table + index * size_of::<SectionHeader64<Endianness>>();
    let names_index = header.shstrndx(endian, bytes).map_err(damaged)? as usize;
    let mut file = File { bytes: Cow::Borrowed(bytes) };
    let mut names = None;
    let mut renamed = Table::default();
    for (index, section) in sections.enumerate() {
        let name = section_name(&sections, section, endian);
        let program = is_program(section, &name, endian);
        let new = match program {
            true if !wanted(&name) => {
                let flags = section.sh_flags.get(endian).0 & !elf::SHF_EXECINSTR.0;
                file.put(at(index.0) + offset_of!(SectionHeader64<Endianness>, sh_flags), &flags.to_ne_bytes())?;
                continue;
            }
            true => understand(&name).for_aya,
            // Loaders before libbpf knew no ".maps": ir-keytable's own reads "lirc_mode2/maps".
            false => (name.ends_with("/maps") && !name.starts_with('.')).then(|| "maps".to_owned()),
        };
        if let Some(new) = &new {
            let (offset, size) =
                section_range(sections.section(object::SectionIndex(names_index)).map_err(damaged)?, endian);
            let names = names.get_or_insert_with(|| bytes.get(offset..offset + size).unwrap_or_default().to_vec());
            file.put(at(index.0), &add_name(names, new).to_ne_bytes())?;
        }
        if let (true, Some(new)) = (program, new) {
            renamed.insert(name.into_owned(), new);
        }
    }
    let Some(names) = names else { return Ok(file.bytes) };
    file.replace(at(names_index), &names)?;
    let find = |name: &[u8]| {
        sections.section_by_name(endian, name).map(|(index, section)| (at(index.0), section_range(section, endian)))
    };
    if let (Some((btf_at, (from, size))), Some((_, ext))) = (find(b".BTF"), find(b".BTF.ext")) {
        let mut btf = bytes.get(from..from + size).unwrap_or_default().to_vec();
        if rename_in_btf(&mut file, &mut btf, ext, &renamed)?.is_some() {
            file.replace(btf_at, &btf)?;
        }
    }
    Ok(file.bytes)
}

/// Line and function info and CO-RE relocations find their section by its name, which stands among the strings of
/// .BTF (struct btf_ext_info_sec in tools/lib/bpf/libbpf_internal.h). `None`: there is nothing to be renamed.
fn rename_in_btf(
    file: &mut File<'_>,
    btf: &mut Vec<u8>,
    ext: (usize, usize),
    renamed: &Table<String, String>,
) -> Result<Option<()>, Fault> {
    let Some(strings) = strings_at(btf) else { return Ok(None) };
    let mut places = Table::default();
    for (at, name) in entries_of(file.bytes.get(ext.0..ext.0 + ext.1).unwrap_or_default()) {
        let Some(new) = renamed.get(&*text(btf, strings + name as usize)) else { continue };
        let place = match places.get(new) {
            Some(place) => *place,
            None => add_string(btf, new).ok_or_else(|| damaged("its BTF is cut off"))?,
        };
        places.insert(new.clone(), place);
        file.put(ext.0 + at, &place.to_ne_bytes())?;
    }
    Ok(Some(()))
}

/// How many CO-RE relocations an object has (struct btf_ext_header in tools/lib/bpf/libbpf_internal.h).
pub fn core_relocations(elf: &[u8]) -> Option<usize> {
    const CORE_RELO: usize = 24;
    let ext = section(elf, b".BTF.ext")?;
    let length = word(ext, 4)? as usize;
    if length < CORE_RELO + 8 {
        return Some(0);
    }
    let (from, end) = (length + word(ext, CORE_RELO)? as usize, word(ext, CORE_RELO + 4)? as usize);
    let (end, record) = (from + end, word(ext, from)? as usize);
    let (mut at, mut count) = (from + 4, 0);
    while at < end {
        let here = word(ext, at + 4)? as usize;
        count += here;
        at = at.checked_add(8)?.checked_add(here.checked_mul(record)?)?;
    }
    Some(count)
}

/// Where .BTF.ext names a section, and the name.
fn entries_of(ext: &[u8]) -> Vec<(usize, u32)> {
    const HDR_LEN: usize = 4;
    const FUNC_INFO: usize = 8;
    const LINE_INFO: usize = 16;
    const CORE_RELO: usize = 24;
    let mut entries = Vec::new();
    let header = word(ext, HDR_LEN).unwrap_or(0) as usize;
    for area in [FUNC_INFO, LINE_INFO, CORE_RELO] {
        let (Some(from), Some(length)) = (word(ext, area), word(ext, area + 4)) else { break };
        let (from, length) = (header + from as usize, length as usize);
        if area + 8 > header || length == 0 {
            continue;
        }
        let record = word(ext, from).unwrap_or(0) as usize;
        let mut at = from + 4;
        while at < from + length {
            let (Some(name), Some(count)) = (word(ext, at), word(ext, at + 4)) else { break };
            entries.push((at, name));
            // Neither is more than 32 bits, but the file says both.
            let Some(next) = (count as usize).checked_mul(record).and_then(|length| at.checked_add(length + 8)) else {
                break;
            };
            at = next;
        }
    }
    entries
}

/// Where a section begins and how long it is. One without bits in the file claims any place, and has no length there;
/// the others were found whole before.
pub(super) fn section_range(section: &SectionHeader64<Endianness>, endian: Endianness) -> (usize, usize) {
    let size = if section.sh_type.get(endian) == elf::SHT_NOBITS { 0 } else { section.sh_size.get(endian) };
    (section.sh_offset.get(endian) as usize, size as usize)
}

/// A file in the making.
pub(super) struct File<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
}

impl File<'_> {
    pub(super) fn put(&mut self, at: usize, value: &[u8]) -> Result<(), Fault> {
        let place =
            self.bytes.to_mut().get_mut(at..at + value.len()).ok_or_else(|| damaged("the section table is cut off"))?;
        place.copy_from_slice(value);
        Ok(())
    }

    /// Gives the section whose header is at `header` other contents, at the end of the file.
    pub(super) fn replace(&mut self, header: usize, contents: &[u8]) -> Result<(), Fault> {
        let bytes = self.bytes.to_mut();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let (offset, size) = (bytes.len() as u64, contents.len() as u64);
        bytes.extend_from_slice(contents);
        self.put(header + offset_of!(SectionHeader64<Endianness>, sh_offset), &offset.to_ne_bytes())?;
        self.put(header + offset_of!(SectionHeader64<Endianness>, sh_size), &size.to_ne_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use aya_obj::{Object, ProgramSection};

    use super::*;
    use crate::{bpf::source, config::ObjectSource};

    fn edge() -> Vec<u8> {
        source::read(&ObjectSource::Builtin("edge".into()), false).unwrap().elf
    }

    /// The same file with every name that ends in `from` ending in `to`.
    fn renamed(from: &str, to: &str) -> Vec<u8> {
        let (from, to) = (format!("{from}\0"), format!("{to}\0"));
        let mut bytes = edge();
        let places: Vec<_> = bytes
            .windows(from.len())
            .enumerate()
            .filter(|(_, window)| *window == from.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty());
        for at in places {
            bytes.get_mut(at..at + to.len()).unwrap().copy_from_slice(to.as_bytes());
        }
        bytes
    }

    #[test]
    fn what_aya_reads_is_left_alone() {
        assert!(matches!(for_aya(&edge(), &|_| true).unwrap(), Cow::Borrowed(_)));
    }

    #[test]
    fn a_section_is_renamed_with_its_function_info() {
        let infos = |bytes: &[u8]| -> usize {
            Object::parse(bytes).unwrap().functions.values().map(|function| function.func_info.func_info.len()).sum()
        };
        let foreign = renamed("xdp", "tcx");
        assert!(Object::parse(&foreign).is_err());
        let read = for_aya(&foreign, &|_| true).unwrap();
        assert!(
            Object::parse(&read)
                .unwrap()
                .programs
                .values()
                .all(|program| matches!(program.section, ProgramSection::SchedClassifier))
        );
        assert_eq!(infos(&read), infos(&edge()));
    }

    #[test]
    fn what_nobody_wants_is_not_read() {
        let foreign = renamed("xdp", "abc");
        assert!(Object::parse(&for_aya(&foreign, &|_| true).unwrap()).is_err());
        assert!(Object::parse(&for_aya(&foreign, &|_| false).unwrap()).unwrap().programs.is_empty());
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error_and_no_panic() {
        let foreign = renamed("xdp", "tcx");
        for length in (0..foreign.len()).step_by(7) {
            let _ = for_aya(foreign.get(..length).unwrap(), &|_| true);
        }
    }
}
