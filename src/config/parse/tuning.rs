//! `[sysctl]` and `[knobs]`.

use toml::de::{DeTable, DeValue};

use super::{
    super::{
        Goal, KnobPath, KnobWish, SysctlKey, SysctlWish,
        merge::Setting,
        mistake::{plain, words},
        types::one_line,
    },
    reader::{Item, Reader, items, kind, unsigned},
};

/// The options of a key of `[sysctl]`.
pub const SYSCTL_KEYS: &str = "\
    value, at-least, at-most, exclude, optional, if-available, phase, allow-insecure, irreversible";
/// The options of a file of `[knobs]`.
pub const KNOB_KEYS: &str = "value, optional, if-available";

/// The directories of /proc/sys.
const ROOTS: &str = "abi, crypto, debug, dev, fs, kernel, net, user, vm";
/// How deep an unquoted key is followed; no sysctl is deeper.
const DEEPEST: usize = 16;

/// Whether a key looks like a sysctl.
pub fn is_sysctl_root(key: &str) -> bool {
    let root = key.split(['.', '/']).next().unwrap_or_default();
    words(ROOTS).any(|known| known == root.trim_start_matches('-'))
}

/// `[sysctl]`.
pub fn sysctls(reader: &mut Reader<'_>, item: Item<'_>) {
    for item in reader.table(item, "a table of sysctls").unwrap_or_default() {
        match item.value {
            // TOML made tables of an unquoted `net.core.rmem_max = 1`. A key with a separator in it was quoted.
            DeValue::Table(table) if !item.key.contains(['.', '/']) && !is_wish(table) => {
                unquoted(reader, item, item.key, DEEPEST);
            }
            _ => sysctl(reader, item),
        }
    }
}

/// A table that holds nothing but options is a wish, and not a part of an unquoted key.
fn is_wish(table: &DeTable<'_>) -> bool {
    table.iter().all(|(key, _)| words(SYSCTL_KEYS).any(|known| known == key.get_ref()))
}

fn unquoted(reader: &mut Reader<'_>, item: Item<'_>, key: &str, depth: usize) {
    match item.value {
        DeValue::Table(table) if depth > 0 && !is_wish(table) => {
            for item in items(table) {
                unquoted(reader, item, &format!("{key}.{}", item.key), depth - 1);
            }
        }
        _ => {
            let mut value: String = plain(reader.written(item.at)).chars().take(60).collect();
            if item.value.is_table() && !value.starts_with('{') {
                "{ ... }".clone_into(&mut value);
            }
            let hint = format!("quote the key: {key:?} = {value}");
            reader.mistake(item.key_at, "TOML takes an unquoted key with dots for nested tables", &hint);
        }
    }
}

fn sysctl(reader: &mut Reader<'_>, item: Item<'_>) {
    let (best_effort, name) = match item.key.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, item.key),
    };
    if name.starts_with("debugfs/") || name.starts_with("tracefs/") {
        let what = format!("{name:?} is not a sysctl");
        return reader.mistake(item.key_at, &what, "files of debugfs and tracefs belong under [knobs]");
    }
    if name.starts_with("/proc/sys/") {
        let what = format!("{name:?} is a path, not a sysctl");
        return reader.mistake(item.key_at, &what, "leave /proc/sys/ out");
    }
    let Some(key) = reader.door(item.key_at, name.parse::<SysctlKey>()) else { return };
    let named = format!("sysctl {key}");
    let mut wish = SysctlWish {
        key,
        goal: Goal::Exclude,
        optional: false,
        if_available: false,
        best_effort,
        seal: false,
        allow_insecure: false,
        irreversible: false,
        origin: String::new(),
    };
    let goal = match item.value {
        DeValue::Table(table) => options(reader, item, table, &mut wish),
        _ => plain_value(reader, item).map(Goal::Set),
    };
    if let Some(goal) = goal {
        reader.say(item, named, Setting::Sysctl(SysctlWish { goal, ..wish }));
    }
}

fn options(reader: &mut Reader<'_>, item: Item<'_>, table: &DeTable<'_>, wish: &mut SysctlWish) -> Option<Goal> {
    let mut goals: Vec<Option<Goal>> = Vec::new();
    for item in items(table) {
        match item.key {
            "value" => goals.push(plain_value(reader, item).map(Goal::Set)),
            "at-least" => goals.push(numbers(reader, item).map(Goal::AtLeast)),
            "at-most" => goals.push(numbers(reader, item).map(Goal::AtMost)),
            "exclude" => match reader.flag(item) {
                Some(false) => {}
                exclude => goals.push(exclude.map(|_| Goal::Exclude)),
            },
            "optional" => wish.optional = reader.flag(item).unwrap_or_default(),
            "if-available" => wish.if_available = reader.flag(item).unwrap_or_default(),
            "allow-insecure" => wish.allow_insecure = reader.flag(item).unwrap_or_default(),
            "irreversible" => wish.irreversible = reader.flag(item).unwrap_or_default(),
            "phase" => match reader.text(item) {
                Some("seal") => wish.seal = true,
                Some("tune") | None => {}
                Some(word) => reader.not_one_of(item.at, "phase", word, "tune, seal"),
            },
            _ => reader.unknown(item, SYSCTL_KEYS),
        }
    }
    if goals.len() != 1 {
        let what = if goals.is_empty() { "no value" } else { "more than one value" };
        let hint = "give one of value, at-least, at-most or exclude = true";
        reader.mistake(item.key_at, &format!("{:?} has {what}", item.key), hint);
        return None;
    }
    goals.pop().flatten()
}

/// The text for the kernel from an integer or a string.
fn plain_value(reader: &mut Reader<'_>, item: Item<'_>) -> Option<String> {
    let hint = match item.value {
        DeValue::String(text) => return reader.door(item.at, one_line(text)),
        DeValue::Integer(number) => {
            // Some keys are unsigned and wider than TOML's integers: kernel.shmmax.
            return match unsigned(number) {
                Some(value) => Some(value.to_string()),
                None => reader.int(item).map(|value| value.to_string()),
            };
        }
        DeValue::Boolean(value) => format!("write {}", u8::from(*value)),
        DeValue::Array(_) => "write the fields as one string: \"4096 131072 6291456\"".to_owned(),
        DeValue::Float(_) => "the kernel takes no fractions".to_owned(),
        _ => String::new(),
    };
    reader.mistake(item.at, &format!("{:?} takes an integer or a string, not {}", item.key, kind(item.value)), &hint);
    None
}

/// One number, or one for each field.
fn numbers(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Vec<i64>> {
    const WANTED: &str = "an integer, an array of integers, or a string of integers";
    let numbers: Option<Vec<i64>> = match item.value {
        DeValue::Integer(_) => reader.int(item).map(|number| vec![number]),
        DeValue::Array(_) => {
            let elements = reader.array(item, WANTED)?;
            elements.into_iter().map(|element| reader.int(element)).collect()
        }
        DeValue::String(text) => match text.split_whitespace().map(str::parse).collect() {
            Ok(numbers) => Some(numbers),
            Err(_) => {
                reader.wrong(item, WANTED);
                return None;
            }
        },
        _ => {
            reader.wrong(item, WANTED);
            None
        }
    };
    if numbers.as_ref().is_some_and(Vec::is_empty) {
        reader.mistake(item.at, &format!("{:?} holds no number", item.key), "");
        return None;
    }
    numbers
}

/// `[knobs]`.
pub fn knobs(reader: &mut Reader<'_>, item: Item<'_>) {
    for item in reader.table(item, "a table of files").unwrap_or_default() {
        knob(reader, item);
    }
}

fn knob(reader: &mut Reader<'_>, item: Item<'_>) {
    if let Some((what, hint)) = misplaced(item) {
        return reader.mistake(item.key_at, &what, &hint);
    }
    let Some(path) = reader.door(item.key_at, item.key.parse::<KnobPath>()) else { return };
    let mut wish = KnobWish { path, value: String::new(), optional: false, if_available: false, origin: String::new() };
    let value = match item.value {
        DeValue::Table(table) => knob_options(reader, item, table, &mut wish),
        _ => knob_value(reader, item),
    };
    if let Some(value) = value {
        let named = format!("knob {}", wish.path);
        reader.say(item, named, Setting::Knob(KnobWish { value, ..wish }));
    }
}

/// Knobs that many guides name and no kernel has, and sysctls that strayed.
fn misplaced(item: Item<'_>) -> Option<(String, String)> {
    let key = item.key;
    if key == "debugfs/kprobes/max_probes" {
        // kernel/kprobes.c, debugfs_kprobe_init(): list, enabled and blacklist are all.
        let hint = "remove the line: debugfs has only kprobes/list, enabled and blacklist, and the number of kprobes \
                    has no global limit";
        return Some((format!("no kernel has {key:?}"), hint.to_owned()));
    }
    if key.starts_with("debugfs/") || key.starts_with("tracefs/") {
        return None;
    }
    let hint = if is_sysctl_root(key) && item.value.is_table() && !key.contains(['.', '/']) {
        "sysctls belong under [sysctl], with the key in quotes".to_owned()
    } else if is_sysctl_root(key) {
        format!("write it under [sysctl]: {key:?} = ...")
    } else {
        "begin with debugfs/ or tracefs/, in quotes: \"debugfs/kprobes/enabled\" = 1".to_owned()
    };
    Some((format!("{key:?} is no file of debugfs or tracefs"), hint))
}

fn knob_options(reader: &mut Reader<'_>, item: Item<'_>, table: &DeTable<'_>, wish: &mut KnobWish) -> Option<String> {
    let mut value = None;
    for item in items(table) {
        match item.key {
            "value" => value = Some(knob_value(reader, item)),
            "optional" => wish.optional = reader.flag(item).unwrap_or_default(),
            "if-available" => wish.if_available = reader.flag(item).unwrap_or_default(),
            _ => reader.unknown(item, KNOB_KEYS),
        }
    }
    if value.is_none() {
        reader.mistake(item.key_at, &format!("{:?} has no value", item.key), "add value = ...");
    }
    value.flatten()
}

fn knob_value(reader: &mut Reader<'_>, item: Item<'_>) -> Option<String> {
    match item.value {
        DeValue::Boolean(value) => Some(u8::from(*value).to_string()),
        _ => plain_value(reader, item),
    }
}
