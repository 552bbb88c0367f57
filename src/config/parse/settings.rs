//! `[limits]`, `[mounts]` and `[bpf]`.

use std::path::{Component, PathBuf};

use toml::de::DeValue;

use super::{
    super::{
        FsKind, LimitWish, MountWish,
        merge::Setting,
        types::{Refused, absolute_path},
    },
    reader::{Item, Reader},
    units,
};

/// The keys of `[limits]`.
pub const LIMIT_KEYS: &str = "memlock, nofile";
/// The keys of `[mounts]`.
pub const MOUNT_KEYS: &str = "bpffs, tracefs, debugfs";
/// The options of `mounts.bpffs`.
pub const BPFFS_KEYS: &str = "mode, uid, gid, delegate, optional, if-available";
/// The options of the other mounts.
pub const FS_KEYS: &str = "optional, if-available";
/// The keys of `[bpf]`.
pub const BPF_KEYS: &str = "root, deadline, memory-budget";

/// Shortest and longest deadline, in milliseconds: below, nothing can be loaded; above, a boot hangs.
const DEADLINE: std::ops::RangeInclusive<u128> = 10..=600_000;

/// `[limits]`.
pub fn limits(reader: &mut Reader<'_>, item: Item<'_>) {
    for item in reader.table(item, "a table").unwrap_or_default() {
        match item.key {
            "memlock" => {
                if let Some(wish) = memlock(reader, item) {
                    reader.say(item, "limits.memlock".to_owned(), Setting::Memlock(wish));
                }
            }
            "nofile" => {
                if let Some(wish) = nofile(reader, item) {
                    reader.say(item, "limits.nofile".to_owned(), Setting::Nofile(wish));
                }
            }
            _ => reader.unknown(item, LIMIT_KEYS),
        }
    }
}

fn memlock(reader: &mut Reader<'_>, item: Item<'_>) -> Option<LimitWish> {
    match item.value.as_str() {
        Some("auto") => Some(LimitWish::Auto),
        Some("unlimited") => Some(LimitWish::Unlimited),
        Some(text) if !text.starts_with(|c: char| c.is_ascii_digit()) => {
            reader.not_one_of(item.at, "limit", text, "auto, unlimited, a size such as 64M");
            None
        }
        _ => reader.size(item, 0, i64::MAX.unsigned_abs()).map(LimitWish::AtLeast),
    }
}

fn nofile(reader: &mut Reader<'_>, item: Item<'_>) -> Option<LimitWish> {
    match item.value {
        DeValue::String(text) if text == "unlimited" => Some(LimitWish::Unlimited),
        DeValue::Integer(_) => reader.number(item, 1, i64::MAX.unsigned_abs()).map(LimitWish::AtLeast),
        _ => {
            reader.wrong(item, "an integer or \"unlimited\"");
            None
        }
    }
}

/// `[mounts]`.
pub fn mounts(reader: &mut Reader<'_>, item: Item<'_>) {
    for item in reader.table(item, "a table").unwrap_or_default() {
        let fs = match item.key {
            "bpffs" => FsKind::Bpf,
            "tracefs" => FsKind::Trace,
            "debugfs" => FsKind::Debug,
            _ => {
                reader.unknown(item, MOUNT_KEYS);
                continue;
            }
        };
        let wish = match item.value {
            DeValue::Boolean(wanted) => wanted.then(|| bare_mount(fs)),
            _ => Some(mount(reader, item, fs)),
        };
        reader.say(item, format!("mounts.{}", item.key), Setting::Mount(fs, wish));
    }
}

fn bare_mount(fs: FsKind) -> MountWish {
    MountWish {
        fs,
        mode: None,
        uid: None,
        gid: None,
        delegate: PathBuf::new(),
        delegation: String::new(),
        optional: false,
        if_available: false,
        origin: String::new(),
    }
}

fn mount(reader: &mut Reader<'_>, item: Item<'_>, fs: FsKind) -> MountWish {
    let mut wish = bare_mount(fs);
    for item in reader.table(item, "true, false or a table of options").unwrap_or_default() {
        match item.key {
            "optional" => wish.optional = reader.flag(item).unwrap_or_default(),
            "if-available" => wish.if_available = reader.flag(item).unwrap_or_default(),
            "mode" if fs == FsKind::Bpf => wish.mode = mode(reader, item),
            "uid" if fs == FsKind::Bpf => wish.uid = id(reader, item),
            "gid" if fs == FsKind::Bpf => wish.gid = id(reader, item),
            "delegate" if fs == FsKind::Bpf => wish.delegate = reader.parsed(item, absolute_path).unwrap_or_default(),
            _ if fs == FsKind::Bpf => reader.unknown(item, BPFFS_KEYS),
            _ => reader.unknown(item, FS_KEYS),
        }
    }
    wish
}

fn mode(reader: &mut Reader<'_>, item: Item<'_>) -> Option<u32> {
    if item.value.is_integer() {
        reader.wrong(item, "a string of octal digits, such as \"0700\"");
        return None;
    }
    reader.parsed(item, units::mode)
}

/// A user or group id; the highest number means "none" to the kernel.
fn id(reader: &mut Reader<'_>, item: Item<'_>) -> Option<u32> {
    let id = reader.number(item, 0, u64::from(u32::MAX) - 1)?;
    u32::try_from(id).ok()
}

/// `[bpf]`.
pub fn bpf(reader: &mut Reader<'_>, item: Item<'_>) {
    for item in reader.table(item, "a table").unwrap_or_default() {
        match item.key {
            "root" => {
                if let Some(path) = reader.parsed(item, root) {
                    reader.say(item, "bpf.root".to_owned(), Setting::Root(path));
                }
            }
            "deadline" => deadline(reader, item),
            "memory-budget" => {
                if let Some(bytes) = reader.size(item, 1, i64::MAX.unsigned_abs()) {
                    reader.say(item, "bpf.memory-budget".to_owned(), Setting::MemoryBudget(bytes));
                }
            }
            _ => reader.unknown(item, BPF_KEYS),
        }
    }
}

fn root(text: &str) -> Result<PathBuf, Refused> {
    let path = absolute_path(text)?;
    if text.contains('.') {
        return Err(Refused(format!("the path {text:?} holds a dot, and bpffs refuses dots in names")));
    }
    // Without doubled and trailing slashes: the path is compared and shown.
    let clean: PathBuf = path.components().collect();
    match clean.components().next_back() {
        Some(Component::Normal(_)) => Ok(clean),
        _ => Err(Refused(format!("the path {text:?} names no directory on bpffs"))),
    }
}

fn deadline(reader: &mut Reader<'_>, item: Item<'_>) {
    let Some(deadline) = duration(reader, item) else { return };
    if DEADLINE.contains(&deadline.as_millis()) {
        reader.say(item, "bpf.deadline".to_owned(), Setting::Deadline(deadline));
    } else {
        reader.mistake(item.at, "the deadline must be between 10ms and 10m", "");
    }
}

/// A duration; a bare number gets told about units.
pub fn duration(reader: &mut Reader<'_>, item: Item<'_>) -> Option<std::time::Duration> {
    if item.value.is_integer() {
        let hint = format!("give it a unit: {} = \"{}s\"", item.key, reader.written(item.at));
        reader.mistake(item.at, &format!("{:?} takes a time, not a bare number", item.key), &hint);
        return None;
    }
    reader.parsed(item, units::duration)
}
