//! What a map takes of memory, before there is one. The formulas and the sizes of the kernel's structures are tables of
//! text, formulas.txt and structs.txt; this evaluates them.

use super::{
    btf::Types,
    layout::{Layout, Machine, type_word},
};
use crate::{facts::KernelVersion, texts::Text};

/// The flags that formulas ask for (include/uapi/linux/bpf.h).
const FLAGS: [(&str, u32); 2] = [("no_prealloc", 1), ("mmapable", 1 << 10)];

/// Types whose values every CPU has, and whose values the kernel takes for a descriptor, as bpf_map_value_size() in
/// kernel/bpf/syscall.c knows them.
const PER_CPU: [&str; 4] = ["percpu_hash", "lru_percpu_hash", "percpu_array", "percpu_cgroup_storage"];
const OF_DESCRIPTORS: [&str; 5] = ["prog_array", "perf_event_array", "cgroup_array", "array_of_maps", "hash_of_maps"];

/// A kernel to make maps on.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its version.
    pub version: KernelVersion,
    /// Its pages and possible CPUs.
    pub machine: Machine,
    /// Sizes of structures that it told itself.
    told: Vec<(&'static str, u64)>,
}

/// What a map takes, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bytes {
    /// When it is made.
    pub made: u64,
    /// For each entry that is used then.
    pub entry: u64,
    /// With the most entries.
    pub full: u64,
    /// What fdinfo shows as memlock when it is made; not told before 5.11, which charged pages.
    pub fdinfo: Option<u64>,
}

impl Kernel {
    /// A kernel of which only the version is known: structures of the nearest older one in the table.
    pub const fn new(version: KernelVersion, machine: Machine) -> Self {
        Self { version, machine, told: Vec::new() }
    }

    /// Takes the sizes from the kernel's own BTF. Where two structures of a name differ, the table's stays.
    pub fn learn(&mut self, btf: &[u8]) {
        let Some(types) = Types::read(btf) else { return };
        let wanted = || Text::Structs.read().lines().filter_map(|line| line.split(' ').next());
        let mut unsure = Vec::new();
        for (name, size) in types.structures() {
            let Some(name) = wanted().find(|wanted| *wanted == name) else { continue };
            match self.told.iter().find(|(told, _)| *told == name) {
                None => self.told.push((name, size.into())),
                Some((_, told)) if *told == u64::from(size) => {}
                Some(_) => unsure.push(name),
            }
        }
        self.told.retain(|(name, _)| !unsure.contains(name));
    }

    /// Bytes of a structure.
    fn size(&self, name: &str) -> Option<u64> {
        if let Some((_, size)) = self.told.iter().find(|(told, _)| *told == name) {
            return Some(*size);
        }
        let row = |name: &str| {
            Text::Structs.read().lines().map(|line| line.split(' ')).find(|row| row.clone().next() == Some(name))
        };
        let known = row("kernel")?.skip(1).take_while(|version| KernelVersion::parse(version) <= self.version).count();
        row(name)?.nth(known.max(1))?.parse().ok()
    }

    /// What a map takes here; `extra` is its map_extra. `None`: a type without a formula, such as struct_ops.
    pub fn bytes(&self, map: Layout, extra: u64) -> Option<Bytes> {
        let word = type_word(map.map_type);
        let line = Text::Formulas.read().lines().filter(|line| !line.starts_with('#')).find_map(|line| {
            let mut columns = line.split(';').map(str::trim);
            let (types, needs, since) = (columns.next()?, columns.next()?, columns.next()?);
            let fits = types.split(' ').any(|kind| kind == word)
                && FLAGS.iter().all(|(name, bit)| match needs.strip_prefix('!') {
                    Some(not) => not != *name || map.flags & bit == 0,
                    None => needs != *name || map.flags & bit != 0,
                })
                && KernelVersion::parse(since) <= self.version;
            fits.then_some(columns)
        });
        let mut columns = line?;
        let mut next = || self.evaluate(columns.next()?, map, extra);
        let (made, entry, most) = (next()?, next()?, next()?);
        let exact = KernelVersion { major: 6, minor: 4 };
        let charged = KernelVersion { major: 5, minor: 11 };
        let fdinfo = match () {
            () if self.version >= exact => Some(made),
            () if self.version >= charged => Some(self.footprint(map, &word)),
            () => None,
        };
        Some(Bytes { made, entry, full: made.saturating_add(entry.saturating_mul(most)), fdinfo })
    }

    /// What fdinfo shows before 6.4 (bpf_map_memory_footprint() in kernel/bpf/syscall.c), whatever the map really takes.
    fn footprint(&self, map: Layout, word: &str) -> u64 {
        let value = u64::from(map.value_size);
        let value = match () {
            () if PER_CPU.contains(&word) => value.next_multiple_of(8) * u64::from(self.machine.cpus),
            () if OF_DESCRIPTORS.contains(&word) => 4,
            () => value,
        };
        let entry = (u64::from(map.key_size) + value).next_multiple_of(8);
        let bytes = u64::from(map.max_entries).saturating_mul(entry);
        bytes.checked_next_multiple_of(self.machine.page.into()).unwrap_or(u64::MAX)
    }

    fn evaluate(&self, formula: &str, map: Layout, extra: u64) -> Option<u64> {
        let name = |name: &str| {
            Some(match name {
                "k" => map.key_size.into(),
                "v" => map.value_size.into(),
                "n" => map.max_entries.into(),
                // Without a number, a bloom filter has five hashes.
                "h" if extra & 15 == 0 => 5,
                "h" => extra & 15,
                "P" => self.machine.cpus.into(),
                "page" => self.machine.page.into(),
                name => self.size(name)?,
            })
        };
        let mut formula = Formula { rest: formula, page: self.machine.page.into(), name: &name };
        formula.sum().filter(|_| formula.peek().is_none())
    }
}

/// A formula that is being evaluated. What is more than 64 bits hold stays at their most.
struct Formula<'f> {
    rest: &'f str,
    page: u64,
    name: &'f dyn Fn(&str) -> Option<u64>,
}

impl<'f> Formula<'f> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, marks: &[char]) -> Option<char> {
        let mark = self.peek().filter(|mark| marks.contains(mark))?;
        self.rest = self.rest.get(1..)?;
        Some(mark)
    }

    fn sum(&mut self) -> Option<u64> {
        let mut sum = self.product()?;
        while let Some(mark) = self.take(&['+', '-']) {
            let term = self.product()?;
            sum = if mark == '+' { sum.saturating_add(term) } else { sum.saturating_sub(term) };
        }
        Some(sum)
    }

    fn product(&mut self) -> Option<u64> {
        let mut product = self.factor()?;
        while let Some(mark) = self.take(&['*', '/']) {
            let factor = self.factor()?;
            product = if mark == '*' { product.saturating_mul(factor) } else { product.checked_div(factor)? };
        }
        Some(product)
    }

    fn factor(&mut self) -> Option<u64> {
        if self.take(&['(']).is_some() {
            let sum = self.sum()?;
            return self.take(&[')']).map(|_| sum);
        }
        self.peek();
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        if let Ok(number) = word.parse() {
            return Some(number);
        }
        if self.take(&['(']).is_none() {
            return (self.name)(word);
        }
        let first = self.sum()?;
        let second = if self.take(&[',']).is_some() { self.sum()? } else { 0 };
        self.take(&[')'])?;
        let round = |to: u64| first.checked_next_multiple_of(to).unwrap_or(u64::MAX);
        Some(match word {
            "r8" => round(8),
            "pg" => round(self.page),
            "p2" => first.checked_next_power_of_two().unwrap_or(u64::MAX),
            "max" => first.max(second),
            "min" => first.min(second),
            _ => return None,
        })
    }
}

#[cfg(test)]
#[path = "estimate/tests.rs"]
mod tests;
