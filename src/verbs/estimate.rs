//! `estimate`: what maps take of memory, before they are made. Makes nothing, and needs no privilege.

use std::{
    ffi::OsStr,
    fmt::Write,
    path::{self, Path, PathBuf},
    slice,
};

use super::load;
use crate::{
    bpf::{Estimated, Settled, Size, SizedMap, estimate as settle, estimated_kernel},
    cli::Options,
    config::{Config, ObjectSource, ObjectWish, PinName, Table},
    error::Cause,
    facts::{Facts, KernelVersion},
    health::Health,
    report::{Object, Shape, complain, list, say},
};

/// Prints it.
pub fn estimate(what: Option<&OsStr>, cpus: Option<u32>, version: Option<KernelVersion>, options: &Options) -> Health {
    let config = match config(what, options) {
        Ok(config) => config,
        Err(text) => {
            complain(&text);
            return Health::BadInput;
        }
    };
    let kernel = estimated_kernel(version, cpus);
    let release = version.map_or_else(|| Facts::gather().release, |v| format!("{}.{}", v.major, v.minor));
    // What the user names is only looked at.
    let settled = settle(&config, &kernel, options.allow_untrusted || what.is_some());
    say(&match options.shape {
        Shape::Json => document(&settled, &kernel, &release, &config),
        Shape::Quiet => format!("{}\n", sum(&settled.maps, SizedMap::full)),
        Shape::Lines => text(&settled, &kernel, &release, &config),
    });
    if options.shape != Shape::Json {
        settled.over.iter().for_each(|(name, fault)| complain(&format!("object {name}: {fault}\n")));
    }
    let required = |name: &PinName| config.objects.get(name).is_none_or(|wish| !wish.optional);
    match settled.over.iter().find(|(name, _)| required(name)).or(settled.over.first()) {
        None => Health::Healthy,
        Some((name, _)) if !required(name) => Health::Degraded,
        Some((_, fault)) if fault.cause == Cause::Limit => Health::Failed,
        Some(_) => Health::BadInput,
    }
}

/// The configuration that is meant, or one of a single object.
fn config(what: Option<&OsStr>, options: &Options) -> Result<Config, String> {
    let Some(what) = what else { return load(&options.config, options.allow_untrusted) };
    if Path::new(what).extension() == Some(OsStr::new("toml")) {
        return load(slice::from_ref(&PathBuf::from(what)), true);
    }
    let shown = what.display().to_string();
    let (source, stem) = match shown.strip_prefix("builtin:") {
        Some(name) => (ObjectSource::Builtin(name.to_owned()), name),
        None => {
            let file = path::absolute(what).map_err(|e| format!("bpfboot: {shown}: {e}\n"))?;
            (ObjectSource::File(file), shown.rsplit('/').next().unwrap_or(&shown))
        }
    };
    let stem = stem.split_once('.').map_or(stem, |(stem, _)| stem);
    let name: PinName = stem.parse().map_err(|why| format!("bpfboot: {shown}: {why}\n"))?;
    let mut objects = Table::default();
    objects.insert(name.clone(), ObjectWish::bare(name, source));
    Ok(Config { objects, ..Config::default() })
}

fn sum(maps: &[SizedMap], of: impl Fn(&SizedMap) -> u64) -> u64 {
    maps.iter().fold(0, |sum, map| sum.saturating_add(of(map)))
}

fn made(map: &SizedMap) -> u64 {
    map.bytes.map_or(0, |bytes| bytes.made)
}

fn text(settled: &Settled, kernel: &Estimated, release: &str, config: &Config) -> String {
    let names: Vec<_> = settled.maps.iter().map(|map| format!("{}/{}", map.object, map.name)).collect();
    let wide = names.iter().map(String::len).max().unwrap_or(0).max(8);
    let mut out = format!("on Linux {release}, with {} possible CPUs\n\n", kernel.machine.cpus);
    let _ = writeln!(out, "{:wide$}  {:19} {:>10}  {:>10}  {:>10}", "map", "type", "entries", "when made", "when full");
    let mut row = |name: &str, kind: &str, entries: &str, made: String, full: String| {
        let _ = writeln!(out, "{name:wide$}  {kind:19} {entries:>10}  {made:>10}  {full:>10}");
    };
    for (name, map) in names.iter().zip(&settled.maps) {
        let shown = |size: u64| map.bytes.map_or_else(|| "unknown".to_owned(), |_| Size(size).to_string());
        row(name, &map.kind(), &map.layout.max_entries.to_string(), shown(made(map)), shown(map.full()));
    }
    let (made, full) = (sum(&settled.maps, made), sum(&settled.maps, SizedMap::full));
    row("in all", "", "", Size(made).to_string(), Size(full).to_string());
    if let Some(budget) = config.bpf.memory_budget {
        row("bpf.memory-budget", "", "", String::new(), Size(budget).to_string());
    }
    for note in &settled.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn document(settled: &Settled, kernel: &Estimated, release: &str, config: &Config) -> String {
    let number = |object: &mut Object<'_>, name: &str, value: Option<u64>| {
        object.key(name).push_str(&value.map_or_else(|| "null".to_owned(), |value| value.to_string()));
    };
    let mut out = String::new();
    let mut object = Object::new(&mut out);
    object.text("bpfboot", env!("CARGO_PKG_VERSION"));
    object.text("verb", "estimate");
    object.text("kernel", release);
    number(&mut object, "cpus", Some(kernel.machine.cpus.into()));
    number(&mut object, "bytes", Some(sum(&settled.maps, made)));
    number(&mut object, "full", Some(sum(&settled.maps, SizedMap::full)));
    number(&mut object, "budget", config.bpf.memory_budget);
    list(object.key("maps"), &settled.maps, "\n", |out, map: &SizedMap| {
        let mut object = Object::new(out);
        object.text("object", map.object.as_str());
        object.text("map", &map.name);
        object.text("type", &map.kind());
        number(&mut object, "key", Some(map.layout.key_size.into()));
        number(&mut object, "value", Some(map.layout.value_size.into()));
        number(&mut object, "max_entries", Some(map.layout.max_entries.into()));
        number(&mut object, "asked", Some(map.asked.into()));
        number(&mut object, "flags", Some(map.layout.flags.into()));
        number(&mut object, "bytes", map.bytes.map(|bytes| bytes.made));
        number(&mut object, "full", map.bytes.map(|bytes| bytes.full));
        number(&mut object, "fdinfo", map.bytes.and_then(|bytes| bytes.fdinfo));
        object.end();
    });
    list(object.key("faults"), &settled.over, "\n", |out, (name, fault)| {
        let mut object = Object::new(out);
        object.text("object", name.as_str());
        object.text("cause", fault.cause.word());
        object.text("what", &fault.what);
        object.text("mend", &fault.mend);
        object.end();
    });
    object.texts("notes", &settled.notes);
    object.end();
    out.push('\n');
    out
}
