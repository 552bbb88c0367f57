//! `[object.NAME]`: its parts, its maps and its globals.

use std::path::PathBuf;

use toml::de::DeValue;

use super::{
    super::{
        Data, MapWish, ObjectSource, OnMismatch, PinName, ProgramWish, Table,
        merge::{Part, Setting},
        types::{Refused, absolute_path, symbol},
    },
    attach::attach,
    reader::{Item, Reader},
    units::hex,
};

/// The keys of `[object.NAME]`.
pub const OBJECT_KEYS: &str =
    "path, sha256, on-mismatch, optional, btf, memory-budget, shrink, maps, globals, programs, alternatives";
/// The keys of `maps.NAME`.
pub const MAP_KEYS: &str = "max-entries, pin, entries, programs, shrink";
/// The keys of one of `entries`.
pub const ENTRY_KEYS: &str = "key, value";
/// The keys of `programs.NAME`.
pub const PROGRAM_KEYS: &str = "attach, optional";
/// The values of `on-mismatch`.
pub const POLICIES: &str = "fail, keep, recreate, migrate";

/// `[object]`.
pub fn objects(reader: &mut Reader<'_>, item: Item<'_>) {
    for item in reader.table(item, "tables, as in [object.edge]").unwrap_or_default() {
        if let Some(name) = reader.door(item.key_at, item.key.parse::<PinName>()) {
            object(reader, item, &name);
        }
    }
}

fn object(reader: &mut Reader<'_>, item: Item<'_>, name: &PinName) {
    let Some(parts) = reader.table(item, "a table") else { return };
    reader.object(item, name);
    for item in parts {
        let part = match item.key {
            // A refused path is one mistake, and must not become a second one about a missing path.
            "path" => Some(Part::Source(reader.parsed(item, source).unwrap_or(ObjectSource::File(PathBuf::new())))),
            "sha256" => reader.parsed(item, sha256).map(Part::Sha256),
            "on-mismatch" => on_mismatch(reader, item).map(Part::OnMismatch),
            "optional" => reader.flag(item).map(Part::Optional),
            "btf" => reader.parsed(item, absolute_path).map(Part::Btf),
            "memory-budget" => reader.size(item, 1, i64::MAX.unsigned_abs()).map(Part::MemoryBudget),
            "shrink" => reader.flag(item).map(Part::Shrink),
            "maps" => each(reader, item, name, &|reader, item, name| Some(Part::Map(name, map(reader, item)?))),
            "globals" => each(reader, item, name, &|reader, item, name| Some(Part::Global(name, data(reader, item)?))),
            "programs" => programs(reader, item, name),
            "alternatives" => alternatives(reader, item).map(Part::Alternatives),
            _ => {
                reader.unknown(item, OBJECT_KEYS);
                None
            }
        };
        if let Some(part) = part {
            say(reader, item, name, item.key, part);
        }
    }
}

fn say(reader: &mut Reader<'_>, item: Item<'_>, object: &PinName, what: &str, part: Part) {
    reader.say(item, format!("object.{object}.{what}"), Setting::Object(object.clone(), part));
}

type Make<'m> = &'m dyn Fn(&mut Reader<'_>, Item<'_>, String) -> Option<Part>;

/// A table of things of the ELF file by their names. Each is a setting of its own, so nothing is left for the caller.
fn each(reader: &mut Reader<'_>, item: Item<'_>, object: &PinName, make: Make<'_>) -> Option<Part> {
    for thing in reader.table(item, "a table of names")? {
        let Some(name) = reader.door(thing.key_at, symbol(thing.key)) else { continue };
        let what = format!("{}.{name}", item.key);
        if let Some(part) = make(reader, thing, name) {
            say(reader, thing, object, &what, part);
        }
    }
    None
}

fn programs(reader: &mut Reader<'_>, item: Item<'_>, object: &PinName) -> Option<Part> {
    if item.value.as_table().is_some_and(|table| table.is_empty()) {
        let hint = "name at least one, or leave it out to take the object whole";
        reader.mistake(item.key_at, "\"programs\" names no program", hint);
    }
    each(reader, item, object, &|reader, item, name| Some(Part::Program(name, program(reader, item)?)))
}

/// Lists of programs, as pairs of a program and the next. It stands once, but for what is the last resort of several.
fn alternatives(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Vec<(String, String)>> {
    const WANTED: &str = "an array of lists, as in [[\"by_fentry\", \"by_kprobe\"]]";
    let (mut pairs, mut seen) = (Vec::new(), Table::default());
    for list in reader.array(item, WANTED)? {
        let Some(elements) = reader.array(list, WANTED) else { continue };
        let mut before = None;
        for (left, element) in (0..elements.len()).rev().zip(&elements) {
            let Some(name) = reader.parsed(*element, symbol) else { continue };
            if seen.insert(name.clone(), left).is_some_and(|then| then + left > 0) {
                let hint = "only the last of a list may be the last of another, too";
                reader.mistake(element.at, &format!("program {name:?} stands twice"), hint);
            }
            pairs.extend(before.replace(name.clone()).map(|before| (before, name)));
        }
        if elements.len() < 2 {
            reader.mistake(list.at, "a list of alternatives names at least two programs", "");
        }
    }
    Some(pairs)
}

fn source(text: &str) -> Result<ObjectSource, Refused> {
    if let Some(name) = text.strip_prefix("builtin:") {
        return symbol(name).map(ObjectSource::Builtin);
    }
    match absolute_path(text) {
        Err(_) if !text.starts_with('/') => Err(Refused(format!(
            "the path {text:?} is relative; write it from the root on, or \"builtin:NAME\" for an object of this binary"
        ))),
        path => path.map(ObjectSource::File),
    }
}

fn sha256(text: &str) -> Result<[u8; 32], Refused> {
    let hash = hex(text)?;
    hash.try_into().map_err(|_| Refused(format!("a SHA-256 has 64 hexadecimal digits, not {}", text.len())))
}

fn on_mismatch(reader: &mut Reader<'_>, item: Item<'_>) -> Option<OnMismatch> {
    Some(match reader.text(item)? {
        "fail" => OnMismatch::Fail,
        "keep" => OnMismatch::Keep,
        "recreate" => OnMismatch::Recreate,
        "migrate" => OnMismatch::Migrate,
        word => {
            reader.not_one_of(item.at, "policy", word, POLICIES);
            return None;
        }
    })
}

fn map(reader: &mut Reader<'_>, item: Item<'_>) -> Option<MapWish> {
    let mut wish = MapWish::default();
    for item in reader.table(item, "a table of options")? {
        match item.key {
            "max-entries" => {
                let size = reader.size(item, 1, u64::from(u32::MAX));
                wish.max_entries = size.and_then(|size| u32::try_from(size).ok());
            }
            "pin" => wish.pin = reader.flag(item).unwrap_or_default(),
            "entries" => wish.entries = entries(reader, item).unwrap_or_default(),
            "programs" => wish.programs = tail_calls(reader, item).unwrap_or_default(),
            "shrink" => wish.shrink = reader.flag(item).unwrap_or_default(),
            _ => reader.unknown(item, MAP_KEYS),
        }
    }
    Some(wish)
}

fn entries(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Vec<(Data, Data)>> {
    const WANTED: &str = "an array of tables, as in [{ key = 0, value = 1 }]";
    let mut entries = Vec::new();
    for element in reader.array(item, WANTED)? {
        let (mut key, mut value) = (None, None);
        for item in reader.table(element, WANTED).unwrap_or_default() {
            match item.key {
                "key" => key = Some(data(reader, item)),
                "value" => value = Some(data(reader, item)),
                _ => reader.unknown(item, ENTRY_KEYS),
            }
        }
        match (key, value) {
            (Some(Some(key)), Some(Some(value))) => entries.push((key, value)),
            (None, _) | (_, None) if element.value.is_table() => {
                reader.mistake(element.at, "an entry needs a key and a value", "");
            }
            _ => {}
        }
    }
    Some(entries)
}

/// The program behind each index of a program array.
fn tail_calls(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Table<u32, String>> {
    let mut programs = Table::default();
    for item in reader.table(item, "a table from index to program, as in { 0 = \"http\" }")? {
        let Ok(index) = item.key.parse::<u32>() else {
            reader.mistake(item.key_at, &format!("{:?} is not an index", item.key), "use 0, 1, 2...");
            continue;
        };
        if let Some(name) = reader.parsed(item, symbol)
            && programs.insert(index, name).is_some()
        {
            reader.mistake(item.key_at, &format!("the index {index} is set twice"), "");
        }
    }
    Some(programs)
}

/// A value for a map or a global.
fn data(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Data> {
    match item.value {
        DeValue::Integer(_) => reader.int(item).map(Data::Int),
        DeValue::Boolean(value) => Some(Data::Int(i64::from(*value))),
        DeValue::String(text) => match text.strip_prefix("hex:") {
            Some(digits) => reader.door(item.at, hex(digits)).map(Data::Bytes),
            None => Some(Data::Text(text.to_string())),
        },
        DeValue::Array(_) => {
            let bytes = reader.array(item, "an array")?;
            let bytes: Option<Vec<u8>> =
                bytes.into_iter().map(|byte| u8::try_from(reader.number(byte, 0, 255)?).ok()).collect();
            bytes.map(Data::Bytes)
        }
        _ => {
            reader.wrong(item, "an integer, true or false, a string (\"hex:0a00\" for bytes), or an array of bytes");
            None
        }
    }
}

fn program(reader: &mut Reader<'_>, item: Item<'_>) -> Option<ProgramWish> {
    let mut wish = ProgramWish::default();
    for item in reader.table(item, "a table, as in { attach = [{ xdp = \"eth0\" }] }")? {
        match item.key {
            "attach" => wish.attach = attach(reader, item),
            "optional" => wish.optional = reader.flag(item).unwrap_or_default(),
            _ => reader.unknown(item, PROGRAM_KEYS),
        }
    }
    Some(wish)
}
