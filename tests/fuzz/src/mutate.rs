//! Damages an ELF object by its structure. Shared by the fuzz target and tests/damaged.rs.

/// A small generator of numbers (xorshift64*): the same seed damages the same way.
pub struct Random(u64);

impl Random {
    /// Begins anew.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) as usize % end.max(1)
    }
}

const SECTION_TABLE: usize = 0x28;
const SECTION_COUNT: usize = 0x3c;
const SECTION: usize = 64;

fn get(object: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = object.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

fn put(object: &mut [u8], at: usize, width: usize, value: u64) {
    if let Some(place) = at.checked_add(width).and_then(|end| object.get_mut(at..end)) {
        place.copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

/// A section: where its header is, its type, where its contents are.
struct Section {
    header: usize,
    kind: u64,
    from: usize,
    size: usize,
}

fn sections(object: &[u8]) -> Vec<Section> {
    let table = get(object, SECTION_TABLE, 8).unwrap_or(0) as usize;
    let count = get(object, SECTION_COUNT, 2).unwrap_or(0) as usize;
    let section = |index: usize| {
        let header = table.checked_add(index * SECTION)?;
        let field = |at: usize, width| get(object, header.checked_add(at)?, width);
        let section =
            Section { header, kind: field(4, 4)?, from: field(24, 8)? as usize, size: field(32, 8)? as usize };
        let whole = header + SECTION <= object.len() && section.from.checked_add(section.size)? <= object.len();
        whole.then_some(section)
    };
    (0..count).filter_map(section).collect()
}

/// A value that often breaks something: near an end of its range, near the old one, near the file's size.
fn odd(random: &mut Random, old: u64, width: usize, length: usize) -> u64 {
    let top = 1u64 << (8 * width - 1);
    let step = random.below(9) as u64;
    match random.below(9) {
        0 => step,
        1 => (top - 1).wrapping_add(step),
        2 => 0u64.wrapping_sub(step),
        3 => old.wrapping_add(step),
        4 => old.wrapping_sub(step),
        5 => old ^ (1 << random.below(8 * width)),
        6 => (length as u64).wrapping_sub(step),
        7 => 1 << random.below(8 * width),
        _ => random.below(1 << 16) as u64,
    }
}

fn change(object: &mut [u8], random: &mut Random, at: usize, width: usize) {
    if let Some(old) = get(object, at, width) {
        let new = odd(random, old, width, object.len());
        put(object, at, width, new);
    }
}

/// One field of one of `fields` of a record.
fn change_field(object: &mut [u8], random: &mut Random, record: usize, fields: &[(usize, usize)]) {
    let (at, width) = fields[random.below(fields.len())];
    change(object, random, record + at, width);
}

/// Damages an object, once to four times.
pub fn mutate(object: &mut Vec<u8>, seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..=random.below(4) {
        once(object, &mut random);
    }
}

fn once(object: &mut Vec<u8>, random: &mut Random) {
    const HEADER: [(usize, usize); 10] =
        [(4, 1), (5, 1), (16, 2), (18, 2), (32, 8), (40, 8), (52, 2), (58, 2), (60, 2), (62, 2)];
    const HEADERS: [(usize, usize); 10] =
        [(0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8)];
    const SYMBOL: [(usize, usize); 6] = [(0, 4), (4, 1), (5, 1), (6, 2), (8, 8), (16, 8)];
    const RELOCATION: [(usize, usize); 3] = [(0, 8), (8, 4), (12, 4)];
    let all = sections(object);
    if all.is_empty() {
        return change_field(object, random, 0, &HEADER);
    }
    let section = &all[random.below(all.len())];
    let of_kind = |kinds: &[u64], random: &mut Random| {
        let fit: Vec<_> = all.iter().filter(|section| kinds.contains(&section.kind) && section.size > 0).collect();
        (!fit.is_empty()).then(|| (fit[random.below(fit.len())].from, fit[random.below(fit.len())].size))
    };
    match random.below(16) {
        0 => change_field(object, random, 0, &HEADER),
        1..=3 => change_field(object, random, section.header, &HEADERS),
        4 | 5 => {
            if let Some((from, size)) = of_kind(&[2], random) {
                let record = from + 24 * random.below(size / 24);
                change_field(object, random, record, &SYMBOL);
            }
        }
        6 | 7 => {
            if let Some((from, size)) = of_kind(&[9], random) {
                let record = from + 16 * random.below(size / 16);
                change_field(object, random, record, &RELOCATION);
            }
        }
        // .BTF, .BTF.ext, .maps, license and code are all PROGBITS: a word of one of them.
        8..=11 => {
            if let Some((from, size)) = of_kind(&[1], random) {
                let near = if random.below(3) == 0 { size.min(64) } else { size };
                let at = from + 4 * random.below(near / 4);
                change(object, random, at, 4);
            }
        }
        // Two records, or two section headers, change places.
        12 => {
            let other = all[random.below(all.len())].header;
            for at in 0..SECTION {
                object.swap(section.header + at, other + at);
            }
        }
        // The contents of one section for those of another.
        13 => {
            let other = &all[random.below(all.len())];
            let (from, size) = (other.from as u64, other.size as u64);
            put(object, section.header + 24, 8, from);
            put(object, section.header + 32, 8, size);
        }
        // Some bytes twice, at the end of the file, as the contents of a section.
        14 => {
            let mut contents = object[section.from..section.from + section.size].to_vec();
            contents.extend_from_within(contents.len() / 2..);
            let end = object.len() as u64;
            put(object, section.header + 24, 8, end);
            put(object, section.header + 32, 8, contents.len() as u64);
            object.extend(contents);
        }
        _ => object.truncate(random.below(object.len())),
    }
}
