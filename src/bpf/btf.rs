//! The raw bytes of .BTF (Documentation/bpf/btf.rst), as far as they are read and changed before aya sees them. Every
//! access is checked: what is cut off is `None`.

use std::borrow::Cow;

/// Longest name that is read whole; the kernel takes 512 bytes of a type's (KSYM_NAME_LEN).
pub const NAME_MAX: usize = 1024;
/// Longest chain of qualifiers (MAX_RESOLVE_DEPTH in kernel/bpf/btf.c).
const DEPTH_MAX: usize = 32;
/// Most members of a structure that declares a map; there are a dozen.
const MEMBERS_MAX: usize = 64;

const HDR_LEN: usize = 4;
const TYPE_OFF: usize = 8;
const TYPE_LEN: usize = 12;
const STR_OFF: usize = 16;
const STR_LEN: usize = 20;

/// The kinds of type that are told apart here.
pub mod kind {
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FLOAT: u32 = 16;
    pub const ENUM64: u32 = 19;
    pub const INT: u32 = 1;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
}

/// Types by their number, as byte offsets.
pub struct Types<'a> {
    bytes: &'a [u8],
    strings: usize,
    places: Vec<usize>,
}

/// One variable of a data section.
pub struct Entry<'a> {
    /// Where the entry stands: type, offset, size.
    pub at: usize,
    /// Where its variable stands.
    pub var: usize,
    /// The variable's name.
    pub name: Cow<'a, str>,
}

impl<'a> Types<'a> {
    /// Finds where each type stands.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut at = word(bytes, HDR_LEN)? as usize + word(bytes, TYPE_OFF)? as usize;
        let end = at + word(bytes, TYPE_LEN)? as usize;
        let mut types = Self { bytes, strings: strings_at(bytes)?, places: vec![0] };
        while at < end {
            types.places.push(at);
            let count = types.count(at)?;
            at += 12
                + match types.kind(at)? {
                    1 | kind::VAR | 17 => 4,
                    kind::ARRAY => 12,
                    kind::STRUCT | 5 | kind::DATASEC | 19 => 12 * count,
                    6 | kind::FUNC_PROTO => 8 * count,
                    _ => 0,
                };
        }
        Some(types)
    }

    /// A 32-bit field.
    pub fn word(&self, at: usize) -> Option<u32> {
        word(self.bytes, at)
    }

    /// The kind of the type that stands there.
    pub fn kind(&self, at: usize) -> Option<u32> {
        Some((self.word(at + 4)? >> 24) & 0x1f)
    }

    fn count(&self, at: usize) -> Option<usize> {
        Some((self.word(at + 4)? & 0xffff) as usize)
    }

    /// The name of the type or member that stands there.
    pub fn name(&self, at: usize) -> Option<Cow<'a, str>> {
        Some(text(self.bytes, self.strings + self.word(at)? as usize))
    }

    /// Where the type stands whose number stands at `field`; type definitions and qualifiers are looked through.
    pub fn follow(&self, field: usize) -> Option<usize> {
        let mut at = *self.places.get(self.word(field)? as usize)?;
        for _ in 0..DEPTH_MAX {
            match self.kind(at)? {
                8..=11 | 18 => at = *self.places.get(self.word(at + 8)? as usize)?,
                _ => return Some(at),
            }
        }
        None
    }

    /// Where the members of a structure stand: name, type, offset in bits.
    pub fn members(&self, at: usize) -> Option<impl Iterator<Item = usize> + use<>> {
        let count = self.count(at).filter(|count| self.kind(at) == Some(kind::STRUCT) && *count <= MEMBERS_MAX)?;
        Some((0..count).map(move |index| at + 12 + 12 * index))
    }

    /// The names of all structures, with their sizes in bytes.
    pub fn structures(&self) -> impl Iterator<Item = (Cow<'a, str>, u32)> {
        let structures = self.places.iter().skip(1).filter(|at| self.kind(**at) == Some(kind::STRUCT));
        structures.filter_map(|at| Some((self.name(*at)?, self.word(at + 8)?)))
    }

    /// The bytes of the type whose number stands at `field`.
    pub fn size(&self, field: usize) -> Option<u32> {
        let (mut field, mut times) = (field, 1u32);
        for _ in 0..DEPTH_MAX {
            let at = self.follow(field)?;
            match self.kind(at)? {
                kind::PTR => return times.checked_mul(8),
                kind::ARRAY => {
                    times = times.checked_mul(self.word(at + 20)?)?;
                    field = at + 12;
                }
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::FLOAT | kind::ENUM64 => {
                    return times.checked_mul(self.word(at + 8)?);
                }
                _ => return None,
            }
        }
        None
    }

    /// The functions that a section names: `.ksyms` those of the kernel.
    pub fn functions(&self, section: &str) -> Vec<String> {
        let is_it = |at: &&usize| self.kind(**at) == Some(kind::DATASEC) && self.name(**at).as_deref() == Some(section);
        let Some(at) = self.places.iter().skip(1).find(is_it) else { return Vec::new() };
        let entry = |index| self.places.get(self.word(at + 12 + 12 * index)? as usize).copied();
        let found = (0..self.count(*at).unwrap_or(0)).filter_map(entry).filter(|at| self.kind(*at) == Some(kind::FUNC));
        found.filter_map(|at| Some(self.name(at)?.into_owned())).collect()
    }

    /// The name of a function, and its number of arguments if the verifier looks at it alone (BTF_FUNC_GLOBAL).
    pub fn function(&self, id: u32) -> Option<(String, Option<usize>)> {
        let at = *self.places.get(id as usize)?;
        let arguments = || self.count(*self.places.get(self.word(at + 8)? as usize)?);
        let global = if self.count(at)? == 1 { arguments() } else { None };
        Some((self.name(at)?.into_owned(), global))
    }

    /// Where the variables and functions of a data section stand.
    fn places_of(&self, name: &str) -> Vec<usize> {
        let is_it = |at: &&usize| self.kind(**at) == Some(kind::DATASEC) && self.name(**at).as_deref() == Some(name);
        let Some(section) = self.places.iter().skip(1).find(is_it) else { return Vec::new() };
        let place = |index| self.places.get(self.word(section + 12 + 12 * index)? as usize).copied();
        (0..self.count(*section).unwrap_or(0)).filter_map(place).collect()
    }

    /// Where a data section stands, and its variables.
    pub fn section(&self, name: &str) -> Option<(usize, Vec<Entry<'a>>)> {
        let is_it = |at: &&usize| self.kind(**at) == Some(kind::DATASEC) && self.name(**at).as_deref() == Some(name);
        let section = *self.places.iter().skip(1).find(is_it)?;
        let entry = |index| {
            let at = section + 12 + 12 * index;
            let var = *self.places.get(self.word(at)? as usize)?;
            (self.kind(var)? == kind::VAR).then_some(Entry { at, var, name: self.name(var)? })
        };
        Some((section, (0..self.count(section)?).map(entry).collect::<Option<_>>()?))
    }
}

/// Whether an object asks for an address of the kernel without saying of what type: `extern const void NAME __ksym`.
pub fn untyped_symbols(elf: &[u8]) -> bool {
    let types = super::elf::section(elf, b".BTF").and_then(Types::read);
    types.is_some_and(|types| {
        let untyped = |var: usize| types.kind(var) == Some(kind::VAR) && types.follow(var + 8) == Some(0);
        let vars = types.places_of(".ksyms");
        vars.into_iter().any(untyped)
    })
}

/// Where the strings begin, which must end the section: only then can they grow.
pub fn strings_at(btf: &[u8]) -> Option<usize> {
    let strings = word(btf, HDR_LEN)? as usize + word(btf, STR_OFF)? as usize;
    (strings + word(btf, STR_LEN)? as usize == btf.len()).then_some(strings)
}

/// Adds a string, and says which it is.
pub fn add_string(btf: &mut Vec<u8>, new: &str) -> Option<u32> {
    let strings = strings_at(btf)?;
    let at = add_name(btf, new) as usize - strings;
    let length = (btf.len() - strings) as u32;
    btf.get_mut(STR_LEN..STR_LEN + 4)?.copy_from_slice(&length.to_ne_bytes());
    Some(at as u32)
}

/// A 32-bit field.
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A NUL-terminated string; of a longer one than any name, the beginning.
pub fn text(bytes: &[u8], at: usize) -> Cow<'_, str> {
    let tail = bytes.get(at..).unwrap_or_default();
    let tail = tail.get(..NAME_MAX).unwrap_or(tail);
    String::from_utf8_lossy(tail.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// Adds a NUL-terminated string, and says where it stands.
pub fn add_name(names: &mut Vec<u8>, new: &str) -> u32 {
    let at = names.len() as u32;
    names.extend_from_slice(new.as_bytes());
    names.push(0);
    at
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// int CONFIG_HZ, in .kconfig.
    fn sample() -> Vec<u8> {
        let strings = b"\0.kconfig\0CONFIG_HZ\0";
        let types = [0, 1 << 24, 4, 32, 10, 14 << 24, 1, 2, 1, (15 << 24) | 1, 0, 2, 0, 4];
        let header = [0x0001_eb9f, 24, 0, 4 * types.len() as u32, 4 * types.len() as u32, strings.len() as u32];
        header.into_iter().chain(types).flat_map(u32::to_ne_bytes).chain(*strings).collect()
    }

    #[test]
    fn a_section_and_its_variables_are_found() {
        let btf = sample();
        let types = Types::read(&btf).unwrap();
        let (at, entries) = types.section(".kconfig").unwrap();
        let [entry] = entries.as_slice() else { return assert_eq!(entries.len(), 1) };
        assert_eq!((at, &*entry.name, types.word(entry.at + 8)), (24 + 32, "CONFIG_HZ", Some(4)));
        assert_eq!(types.follow(entry.at), Some(entry.var));
        assert!(types.section(".maps").is_none() && types.members(at).is_none());
    }

    #[test]
    fn strings_grow() {
        let mut btf = sample();
        let added = add_string(&mut btf, "new").unwrap();
        assert_eq!(text(&btf, strings_at(&btf).unwrap() + added as usize), "new");
        assert!(Types::read(&btf).unwrap().section(".kconfig").is_some());
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        let btf = sample();
        for length in 0..btf.len() {
            assert!(Types::read(btf.get(..length).unwrap()).is_none());
        }
    }
}
