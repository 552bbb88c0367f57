//! Objects of nothing but maps, written without a compiler: any number of maps of any type, as libbpf's macros would
//! declare them.

/// A map to declare. `typed` gives key and value as types, which local storage wants.
#[derive(Clone, Debug)]
pub struct Declared {
    pub name: String,
    pub kind: u32,
    pub key: u32,
    pub value: u32,
    pub entries: u32,
    pub flags: u32,
    pub extra: u32,
    pub typed: bool,
    /// The type of the maps that a map of maps holds.
    pub inner: Option<u32>,
}

const PLACE: u32 = 64;

/// Types of BTF, and the strings they are named by.
struct Btf {
    types: Vec<u32>,
    count: u32,
    strings: Vec<u8>,
}

impl Btf {
    fn string(&mut self, text: &str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend(text.bytes().chain([0]));
        at
    }

    /// Adds a type: its name, kind with vlen, size or type, and what follows.
    fn add(&mut self, name: u32, kind: u32, size: u32, rest: &[u32]) -> u32 {
        self.types.extend([name, kind, size]);
        self.types.extend(rest);
        self.count += 1;
        self.count
    }

    fn pointer(&mut self, to: u32) -> u32 {
        self.add(0, 2 << 24, to, &[])
    }

    /// `__uint(name, number)`.
    fn number(&mut self, number: u32) -> u32 {
        let array = self.add(0, 3 << 24, 0, &[1, 1, number]);
        self.pointer(array)
    }

    fn bytes(&mut self, number: u32) -> u32 {
        let array = self.add(0, 3 << 24, 0, &[2, 1, number]);
        self.pointer(array)
    }

    fn structure(&mut self, members: &[(&str, u32)]) -> u32 {
        let mut rest = Vec::new();
        for (at, (name, of)) in members.iter().enumerate() {
            rest.extend([self.string(name), *of, at as u32 * 64]);
        }
        self.add(0, 4 << 24 | members.len() as u32, members.len() as u32 * 8, &rest)
    }

    fn map(&mut self, map: &Declared) -> u32 {
        let mut members = vec![("type", self.number(map.kind)), ("max_entries", self.number(map.entries))];
        if map.typed {
            members.extend([("key", self.pointer(1)), ("value", self.bytes(map.value))]);
        } else {
            members.extend([("key_size", self.number(map.key)), ("value_size", self.number(map.value))]);
        }
        members.push(("map_flags", self.number(map.flags)));
        if map.extra > 0 {
            members.push(("map_extra", self.number(map.extra)));
        }
        if let Some(kind) = map.inner {
            let inner = Declared { kind, key: 4, value: 8, entries: 16, flags: 0, inner: None, ..map.clone() };
            let inner = self.map(&inner);
            let pointer = self.pointer(inner);
            members.push(("values", self.add(0, 3 << 24, 0, &[pointer, 1, 0])));
        }
        self.structure(&members)
    }

    fn finish(self) -> Vec<u8> {
        let length = 4 * self.types.len() as u32;
        let header = [0x0001_eb9f, 24, 0, length, length, self.strings.len() as u32];
        header.into_iter().chain(self.types).flat_map(u32::to_le_bytes).chain(self.strings).collect()
    }
}

fn btf(maps: &[Declared]) -> Vec<u8> {
    let mut btf = Btf { types: Vec::new(), count: 0, strings: vec![0] };
    let (int, byte) = (btf.string("int"), btf.string("char"));
    btf.add(int, 1 << 24, 4, &[1 << 24 | 32]);
    btf.add(byte, 1 << 24, 1, &[8]);
    let mut entries = Vec::new();
    for (at, map) in maps.iter().enumerate() {
        let structure = btf.map(map);
        let name = btf.string(&map.name);
        let var = btf.add(name, 14 << 24, structure, &[1]);
        entries.extend([var, at as u32 * PLACE, PLACE]);
    }
    let name = btf.string(".maps");
    btf.add(name, 15 << 24 | maps.len() as u32, PLACE * maps.len() as u32, &entries);
    btf.finish()
}

/// Name, type, flags, contents, link, info, size of an entry.
type Section = (&'static str, u32, u64, Vec<u8>, u32, u32, u64);

/// The object.
pub fn object(maps: &[Declared]) -> Vec<u8> {
    let mut names = vec![0];
    let mut symbols = vec![0u8; 24];
    for (at, map) in maps.iter().enumerate() {
        symbols.extend((names.len() as u32).to_le_bytes());
        // A global object in section 1.
        symbols.extend([0x11, 0, 1, 0]);
        symbols.extend((at as u64 * u64::from(PLACE)).to_le_bytes());
        symbols.extend(u64::from(PLACE).to_le_bytes());
        names.extend(map.name.bytes().chain([0]));
    }
    let sections: [Section; 7] = [
        ("", 0, 0, Vec::new(), 0, 0, 0),
        (".maps", 1, 3, vec![0; maps.len() * PLACE as usize], 0, 0, 0),
        ("license", 1, 3, b"GPL\0".to_vec(), 0, 0, 0),
        (".BTF", 1, 0, btf(maps), 0, 0, 0),
        (".symtab", 2, 0, symbols, 5, 1, 24),
        (".strtab", 3, 0, names, 0, 0, 0),
        (".shstrtab", 3, 0, Vec::new(), 0, 0, 0),
    ];
    let (mut table, mut titles, mut body) = (Vec::new(), Vec::new(), vec![0u8; 64]);
    let all: Vec<u8> = sections.iter().flat_map(|section| section.0.bytes().chain([0])).collect();
    for (name, kind, flags, data, link, info, entry) in sections {
        let data = if name == ".shstrtab" { all.clone() } else { data };
        body.resize(body.len().next_multiple_of(8), 0);
        table.extend((titles.len() as u32).to_le_bytes());
        table.extend(kind.to_le_bytes());
        for field in [flags, 0, body.len() as u64, data.len() as u64] {
            table.extend(field.to_le_bytes());
        }
        table.extend(link.to_le_bytes());
        table.extend(info.to_le_bytes());
        table.extend(8u64.to_le_bytes());
        table.extend(entry.to_le_bytes());
        titles.extend(name.bytes().chain([0]));
        body.extend(data);
    }
    body.resize(body.len().next_multiple_of(8), 0);
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend([1, 0, 247, 0, 1, 0, 0, 0]);
    for field in [0, 0, body.len() as u64] {
        header.extend(field.to_le_bytes());
    }
    header.extend(0u32.to_le_bytes());
    for field in [64u16, 0, 0, 64, 7, 6] {
        header.extend(field.to_le_bytes());
    }
    body[..64].copy_from_slice(&header);
    body.extend(table);
    body
}

/// Random numbers, the same for the same seed (Steele's SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    /// One from `from` to `to`, both included.
    pub fn roll(&mut self, from: u32, to: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + ((x ^ x >> 31) % u64::from(to - from + 1)) as u32
    }

    fn either(&mut self, one: u32, other: u32) -> u32 {
        if self.roll(0, 1) == 0 { one } else { other }
    }
}

/// A map of that type (BPF_MAP_TYPE_*) with sizes that the kernel takes; `None` for what has a formula of no use here.
pub fn random(dice: &mut Dice, kind: u32, nth: u32) -> Option<Declared> {
    const NO_PREALLOC: u32 = 1;
    const NO_COMMON_LRU: u32 = 2;
    const MMAPABLE: u32 = 1 << 10;
    let entries = 1 << dice.roll(0, 12);
    let entries = dice.roll(entries / 2 + 1, entries);
    let (key, value) = (dice.roll(1, 40), dice.roll(1, 300));
    let descriptors = (4, 4, entries, 0);
    let wide = dice.either(4, 8);
    let page = 4096;
    let (key, value, entries, flags) = match kind {
        1 => (key, value, entries, dice.either(0, NO_PREALLOC)),
        2 => (4, value, entries, dice.either(0, MMAPABLE)),
        3 | 4 | 8 | 12 | 17 => descriptors,
        5 => (key, value, entries.min(500), dice.either(0, NO_PREALLOC)),
        6 => (4, value, entries.min(500), 0),
        7 => (4, 8 * dice.roll(1, 127), entries, 0),
        9 => (key, value, entries, dice.either(0, NO_COMMON_LRU)),
        10 => (key, value, entries.min(500), dice.either(0, NO_COMMON_LRU)),
        11 => (4 + dice.roll(1, 16), value, entries, NO_PREALLOC),
        13 => (key, 4, entries, dice.either(0, NO_PREALLOC)),
        14 | 15 | 20 | 25 => (4, wide, entries, 0),
        16 => (4, wide, 1, 0),
        18 => (key, wide, entries, 0),
        // Before and since 5.9: a cgroup with an attach type, or a cgroup alone.
        19 => (dice.either(8, 16), value, 0, 0),
        21 => (dice.either(8, 16), value, 0, 0),
        22 | 23 => (0, value, entries, 0),
        24 | 28 | 29 | 32 => (4, value, 0, NO_PREALLOC),
        27 | 31 => (0, 0, page << dice.roll(0, 5), 0),
        30 => (0, value, entries, 0),
        33 => (0, 0, entries.min(100), MMAPABLE),
        34 => (4, 16, entries, 0),
        35 => (key, value, entries, NO_PREALLOC),
        _ => return None,
    };
    Some(Declared {
        name: format!("m{kind}_{nth}"),
        kind,
        key,
        value,
        entries,
        flags,
        extra: if kind == 30 { dice.roll(0, 15) } else { 0 },
        typed: matches!(kind, 24 | 28 | 29 | 32),
        inner: matches!(kind, 12 | 13).then_some(2),
    })
}
