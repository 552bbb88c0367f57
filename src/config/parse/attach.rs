//! `attach` of a program: where it goes.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    super::{
        AttachWish, IfName, Sample, UserFunction, XdpMode,
        mistake::words,
        types::{Refused, absolute_path, symbol},
    },
    reader::{Item, Reader},
    settings::duration,
};

/// The kinds of attachment; each is a key, and exactly one of them stands in a table of `attach`.
pub const KINDS: &str = "\
    xdp, tracepoint, raw-tracepoint, tp-btf, kprobe, kretprobe, fentry, fexit, lsm, uprobe, uretprobe, perf-event";
/// The options of `xdp`.
pub const XDP_KEYS: &str = "mode, wait";
/// The options of `kprobe`.
pub const KPROBE_KEYS: &str = "offset";
/// The options of `uprobe` and `uretprobe`.
pub const UPROBE_KEYS: &str = "symbol, offset";
/// The options of `perf-event`.
pub const PERF_KEYS: &str = "frequency, period";
/// The XDP modes.
pub const MODES: &str = "native, generic, offload, any";
/// The software events of perf (include/uapi/linux/perf_event.h, enum perf_sw_ids).
pub const EVENTS: &str = "\
    cpu-clock, task-clock, page-faults, context-switches, cpu-migrations, minor-faults, major-faults, \
    alignment-faults, emulation-faults, dummy, bpf-output";

/// How long to wait for an interface that is not there yet: drivers are still probing when we run.
const WAIT: Duration = Duration::from_secs(5);
/// Longest wait; a boot must not hang on an interface.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Samples a second where nothing is said; not a round number, so that it does not beat with timers.
const FREQUENCY: u64 = 99;

/// The list of places; `false` is none, and a table by itself is a list of one.
pub fn attach(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Vec<AttachWish>> {
    let places = match item.value {
        DeValue::Boolean(false) => return Some(Vec::new()),
        DeValue::Boolean(true) => {
            let hint = "leave it out to attach as the ELF section says, or write false to only pin";
            reader.mistake(item.at, "\"attach\" does not take true", hint);
            return None;
        }
        DeValue::Table(_) => vec![item],
        _ => reader.array(item, "false, a table, or an array of tables such as [{ xdp = \"eth0\" }]")?,
    };
    Some(places.into_iter().filter_map(|place| one(reader, place)).collect())
}

fn one(reader: &mut Reader<'_>, place: Item<'_>) -> Option<AttachWish> {
    let items = reader.table(place, "a table such as { xdp = \"eth0\" }")?;
    let is_kind = |item: &Item<'_>| words(KINDS).find(|known| *known == item.key.replace('_', "-"));
    let mut kinds = items.iter().filter_map(|item| Some((is_kind(item)?, *item)));
    match (kinds.next(), kinds.next()) {
        (Some((kind, item)), None) => {
            let options = items.iter().filter(|item| is_kind(item).is_none()).copied().collect();
            attachment(reader, kind, item, options)
        }
        (_, Some((_, second))) => {
            let what = "one table takes one kind of attachment";
            reader.mistake(second.key_at, what, "write a table for each");
            None
        }
        _ => {
            match items.first() {
                Some(first) => reader.not_one_of(first.key_at, "kind of attachment", first.key, KINDS),
                None => reader.mistake(place.at, "an empty table", &format!("known here: {KINDS}")),
            }
            None
        }
    }
}

/// Reads the kind's own value and its options.
fn attachment(reader: &mut Reader<'_>, kind: &str, item: Item<'_>, options: Vec<Item<'_>>) -> Option<AttachWish> {
    match kind {
        "xdp" => return xdp(reader, item, options),
        "uprobe" => return user_function(reader, item, options).map(AttachWish::Uprobe),
        "uretprobe" => return user_function(reader, item, options).map(AttachWish::Uretprobe),
        "perf-event" => return perf_event(reader, item, options),
        "kprobe" => return kprobe(reader, item, options),
        _ => {}
    }
    for option in options {
        let what = format!("{kind:?} takes no option {:?}", option.key);
        reader.mistake(option.key_at, &what, "");
    }
    if kind == "tracepoint" {
        return reader.parsed(item, tracepoint);
    }
    let name = reader.parsed(item, symbol)?;
    Some(match kind {
        "raw-tracepoint" => AttachWish::RawTracepoint(name),
        "tp-btf" => AttachWish::TpBtf(name),
        "kretprobe" => AttachWish::Kretprobe(name),
        "fentry" => AttachWish::Fentry(name),
        "fexit" => AttachWish::Fexit(name),
        _ => AttachWish::Lsm(name),
    })
}

fn xdp(reader: &mut Reader<'_>, item: Item<'_>, options: Vec<Item<'_>>) -> Option<AttachWish> {
    let (mut mode, mut wait) = (XdpMode::default(), WAIT);
    for option in options {
        match option.key {
            "mode" => mode = xdp_mode(reader, option).unwrap_or_default(),
            "wait" => match duration(reader, option) {
                Some(asked) if asked > LONGEST_WAIT => {
                    reader.mistake(option.at, "the wait is longer than 10m", "");
                }
                asked => wait = asked.unwrap_or(WAIT),
            },
            _ => reader.unknown(option, XDP_KEYS),
        }
    }
    let interface = reader.parsed(item, str::parse::<IfName>)?;
    Some(AttachWish::Xdp { interface, mode, wait })
}

fn xdp_mode(reader: &mut Reader<'_>, item: Item<'_>) -> Option<XdpMode> {
    // The second words are iproute2's and aya's.
    Some(match reader.text(item)? {
        "native" | "driver" | "drv" => XdpMode::Native,
        "generic" | "skb" => XdpMode::Generic,
        "offload" | "hw" => XdpMode::Offload,
        "any" => XdpMode::Any,
        word => {
            reader.not_one_of(item.at, "XDP mode", word, MODES);
            return None;
        }
    })
}

fn tracepoint(text: &str) -> Result<AttachWish, Refused> {
    let Some((category, name)) = text.split_once([':', '/']) else {
        return Err(Refused(format!("{text:?} is not a tracepoint such as \"syscalls:sys_enter_openat\"")));
    };
    // Both become parts of a path under tracefs, and no tracepoint has a dot or a colon in its name.
    if let Some(bad) = text.chars().find(|c| *c == '.').or_else(|| name.chars().find(|c| *c == ':')) {
        return Err(Refused(format!("the tracepoint {text:?} may not hold {bad:?} there")));
    }
    Ok(AttachWish::Tracepoint { category: symbol(category)?, name: symbol(name)? })
}

fn kprobe(reader: &mut Reader<'_>, item: Item<'_>, options: Vec<Item<'_>>) -> Option<AttachWish> {
    let mut offset = 0;
    for option in options {
        match option.key {
            "offset" => offset = reader.number(option, 0, u64::from(u32::MAX)).unwrap_or_default(),
            _ => reader.unknown(option, KPROBE_KEYS),
        }
    }
    Some(AttachWish::Kprobe { function: reader.parsed(item, symbol)?, offset })
}

/// `"/usr/bin/bash:readline"`, or the path alone with `symbol` or `offset`.
fn user_function(reader: &mut Reader<'_>, item: Item<'_>, options: Vec<Item<'_>>) -> Option<UserFunction> {
    let (mut named, mut offset) = (None, None);
    for option in options {
        match option.key {
            "symbol" => named = Some(reader.parsed(option, symbol).unwrap_or_default()),
            "offset" => offset = Some(reader.number(option, 0, i64::MAX.unsigned_abs()).unwrap_or_default()),
            _ => reader.unknown(option, UPROBE_KEYS),
        }
    }
    let text = reader.text(item)?;
    let (path, symbol) = match (named, text.rsplit_once(':')) {
        (Some(named), _) => (text, named),
        (None, Some((path, after))) => (path, reader.door(item.at, symbol(after))?),
        (None, None) => (text, String::new()),
    };
    if symbol.is_empty() && offset.is_none() {
        let hint = "write \"/path:function\", or add symbol = or offset =";
        reader.mistake(item.at, "the probe names no function", hint);
        return None;
    }
    let path = reader.door(item.at, absolute_path(path))?;
    Some(UserFunction { path, symbol, offset: offset.unwrap_or_default() })
}

fn perf_event(reader: &mut Reader<'_>, item: Item<'_>, options: Vec<Item<'_>>) -> Option<AttachWish> {
    let mut samples: Vec<Sample> = Vec::new();
    for option in options {
        // The highest bit of both is not the kernel's to take (perf_event_open(2)).
        match option.key {
            "frequency" => samples.extend(reader.number(option, 1, u64::MAX >> 1).map(Sample::Frequency)),
            "period" => samples.extend(reader.number(option, 1, u64::MAX >> 1).map(Sample::Period)),
            _ => reader.unknown(option, PERF_KEYS),
        }
    }
    if samples.len() > 1 {
        reader.mistake(item.key_at, "both a frequency and a period", "give one of them");
    }
    let event = reader.text(item)?;
    if !words(EVENTS).any(|known| known == event) {
        reader.not_one_of(item.at, "software event", event, EVENTS);
        return None;
    }
    Some(AttachWish::PerfEvent {
        event: event.to_owned(),
        sample: samples.pop().unwrap_or(Sample::Frequency(FREQUENCY)),
    })
}
