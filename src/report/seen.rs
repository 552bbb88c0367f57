//! What `status` saw, in words and as a JSON document: a table of programs, maps and links an object.

use std::time::Duration;

use super::{
    json::{Object as Json, list},
    people::{Look, Tint, clean, human, micros, priority, put, tint_of},
};
use crate::{
    health::Health,
    seen::{Life, Link, Map, Object, Program, Seen, Thing},
};

/// Columns of one table; the first row is its head.
type Table = Vec<Vec<String>>;

/// All of it for people, or with `quiet` only the summary, which says what is not as it should be.
pub fn seen(seen: &Seen, health: Health, took: Duration, quiet: bool, color: bool) -> String {
    let (mut out, look) = (String::new(), Look { color, ..Look::default() });
    if !quiet {
        seen.objects.iter().filter(|object| object.absent.is_none()).for_each(|one| object(&mut out, one, seen, look));
        machine(&mut out, seen);
    }
    let counts: Vec<String> = ["program", "map", "link"].iter().map(|kind| count(seen, kind)).collect();
    let word = look.paint(tint_of(priority(health)), health.word());
    put(&mut out, format_args!("bpfboot status: {word} in {}: {}\n", human(took), counts.join(", ")));
    for object in &seen.objects {
        if let Some(why) = &object.absent {
            put(&mut out, format_args!("  why:  object {}: {}\n", clean(&object.name), clean(why)));
        }
    }
    for (object, kind, thing) in seen.things().filter(|(_, _, thing)| thing.life != Life::Alive) {
        let (word, name) = (thing.life.word(), clean(&thing.name));
        put(&mut out, format_args!("  why:  {kind} {}/{name} is {word}: {}\n", clean(&object.name), clean(&thing.why)));
    }
    if !seen.whole() {
        out.push_str("  mend: bpfboot apply\n");
    }
    for note in seen.notes.iter().filter(|_| !quiet) {
        put(&mut out, format_args!("  note: {}\n", clean(note)));
    }
    out
}

/// `3 programs`, `2 links, 1 not alive`.
fn count(seen: &Seen, kind: &str) -> String {
    let of_kind =
        |dead: bool| seen.things().filter(|(_, is, it)| *is == kind && (!dead || it.life != Life::Alive)).count();
    let (all, dead) = (of_kind(false), of_kind(true));
    let plural = if all == 1 { "" } else { "s" };
    match dead {
        0 => format!("{all} {kind}{plural}"),
        _ => format!("{all} {kind}{plural} ({dead} not alive)"),
    }
}

fn object(out: &mut String, object: &Object, seen: &Seen, look: Look) {
    put(out, format_args!("{}: {}", clean(&object.name), bytes(memory(object))));
    if let Some(lost) = object.lost {
        put(out, format_args!(", {lost} events lost"));
    }
    out.push('\n');
    let mut rows = heads("state program type id tag age insns memory runs each misses");
    rows.extend(object.programs.iter().map(|it| program(it, seen)));
    table(out, rows, look);
    let mut rows = heads("state map type id key value entries memory");
    rows.extend(object.maps.iter().map(map));
    table(out, rows, look);
    let mut rows = heads("state link id program attached");
    rows.extend(object.links.iter().map(link));
    table(out, rows, look);
}

/// Bytes charged for all of an object, as far as the kernel tells.
fn memory(object: &Object) -> u64 {
    let each = object.programs.iter().map(|it| it.memory).chain(object.maps.iter().map(|it| it.memory));
    each.flatten().sum()
}

fn heads(words: &str) -> Table {
    vec![words.split(' ').map(str::to_owned).collect()]
}

fn program(it: &Program, seen: &Seen) -> Vec<String> {
    let mut row = row(&it.thing);
    if it.thing.life == Life::Missing {
        row.extend(["-".into(), it.thing.id.to_string(), it.tag.clone()]);
        return row;
    }
    // What was measured when nobody asked may be long past.
    let (runs, each) = match (it.sample, seen.sampled) {
        (Some(sample), Some(time)) => {
            let a_second = u128::from(sample.count) * 1_000_000 / time.as_micros().max(1);
            (format!("{}, {a_second}/s", sample.count), sample.each())
        }
        _ if it.ever.count == 0 => ("-".to_owned(), None),
        _ => (it.ever.count.to_string(), it.ever.each()),
    };
    row.extend([
        it.kind.clone(),
        it.thing.id.to_string(),
        it.tag.clone(),
        age(seen.now.saturating_sub(it.loaded)),
        if it.verified == 0 { "-".into() } else { it.verified.to_string() },
        it.memory.map_or_else(|| "-".into(), bytes),
        runs,
        each.map_or_else(|| "-".into(), |ns| format!("{ns} ns")),
        it.misses.to_string(),
    ]);
    row
}

fn map(it: &Map) -> Vec<String> {
    let mut row = row(&it.thing);
    let most = u64::from(it.max_entries);
    let entries = match it.used {
        _ if it.thing.life == Life::Missing => "-".into(),
        Some(used) => {
            let percent = used.saturating_mul(100).checked_div(most).unwrap_or(0);
            match it.ring {
                true => format!("{}/{} {percent}% unread", bytes(used), bytes(most)),
                false => format!("{used}/{most} {percent}%"),
            }
        }
        None => most.to_string(),
    };
    let of_key = |size: u32| if size == 0 { "-".into() } else { size.to_string() };
    let memory = it.memory.map_or_else(|| "-".into(), bytes);
    let id = it.thing.id.to_string();
    row.extend([it.kind.clone(), id, of_key(it.key_size), of_key(it.value_size), entries, memory]);
    row
}

fn link(it: &Link) -> Vec<String> {
    let mut row = row(&it.thing);
    let missed = it.missed.filter(|missed| *missed > 0).map_or_else(String::new, |missed| format!(", {missed} missed"));
    let odd = if it.thing.why.is_empty() { String::new() } else { format!(" ({})", it.thing.why) };
    row.extend([it.thing.id.to_string(), it.program.clone(), format!("{}{odd}{missed}", it.target)]);
    row
}

fn row(thing: &Thing) -> Vec<String> {
    vec![thing.life.word().to_owned(), thing.name.clone()]
}

/// Lines the columns up, two spaces apart. A head without rows is left out.
fn table(out: &mut String, rows: Table, look: Look) {
    if rows.len() < 2 {
        return;
    }
    let rows: Table = rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|row| Some(row.get(n)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (nth, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("  {cell:width$}"));
        let line = cells.collect::<String>();
        let tint = match row.first() {
            _ if nth == 0 => Tint::Dim,
            Some(word) if word == Life::Alive.word() => Tint::Plain,
            _ => Tint::Red,
        };
        out.push_str(&look.paint(tint, line.trim_end()));
        out.push('\n');
    }
}

fn machine(out: &mut String, seen: &Seen) {
    let machine = &seen.machine;
    let memory = seen.objects.iter().map(memory).sum();
    let about = if machine.exact { "" } else { "about " };
    let to = match &machine.memlock {
        None => "the memory cgroup of the loader; RLIMIT_MEMLOCK plays no part".to_owned(),
        Some(limit) => format!("RLIMIT_MEMLOCK of the loader, here {limit}"),
    };
    put(out, format_args!("memory: {about}{}, charged to {to}\n", bytes(memory)));
    let there = || seen.objects.iter().flat_map(|object| &object.programs).filter(|it| it.thing.life != Life::Missing);
    let (all, jited) = (there().count(), there().filter(|it| it.jited > 0).count());
    let jit = match machine.jit {
        Some(0) => "off",
        Some(_) => "on",
        None => "setting not told here",
    };
    put(out, format_args!("jit: {jit}, {jited} of {all} programs compiled"));
    match machine.harden {
        Some(level @ 1..) => put(out, format_args!(", hardened ({level}): kallsyms and perf do not show them\n")),
        Some(_) => out.push_str(", not hardened\n"),
        // The file is there in the initial network namespace only, and takes CAP_SYS_ADMIN.
        None => out.push_str(", hardening not told here\n"),
    }
    if let Some(net) = &machine.softnet {
        let (all, dropped, squeezed) = (net.processed, net.dropped, net.squeezed);
        put(out, format_args!("softnet: {all} packets, {dropped} dropped, {squeezed} squeezed, since boot\n"));
    }
}

/// `17 B`, `8.0 KiB`, `13.2 MiB`.
fn bytes(n: u64) -> String {
    let tenths = |unit: u64| n.saturating_mul(10) / unit;
    match n {
        0..1024 => format!("{n} B"),
        1024..0x10_0000 => format!("{}.{} KiB", tenths(1 << 10) / 10, tenths(1 << 10) % 10),
        0x10_0000.. => format!("{}.{} MiB", tenths(1 << 20) / 10, tenths(1 << 20) % 10),
    }
}

/// `12s`, `3m 5s`, `2h 10m`, `9d 3h`.
fn age(age: Duration) -> String {
    let s = age.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m {}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h {}m", s / 3_600, s / 60 % 60),
        86_400.. => format!("{}d {}h", s / 86_400, s / 3_600 % 24),
    }
}

/// All of it as one JSON document, a line.
pub fn seen_document(seen: &Seen, health: Health, took: Duration, release: &str) -> String {
    let mut out = String::with_capacity(16 << 10);
    let mut json = Json::new(&mut out);
    json.text("bpfboot", env!("CARGO_PKG_VERSION"));
    json.text("verb", "status");
    json.text("health", health.word());
    json.number("exit", health.exit_code());
    json.text("kernel", release);
    json.number("took_us", micros(took));
    number_or_null(&mut json, "sampled_us", seen.sampled.map(micros));
    json.texts("notes", &seen.notes);
    let of = &seen.machine;
    let mut machine = Json::new(json.key("machine"));
    number_or_null(&mut machine, "jit_enable", of.jit);
    number_or_null(&mut machine, "jit_harden", of.harden);
    number_or_null(&mut machine, "stats_enabled", of.stats);
    machine.text("memory_charged_to", if of.memlock.is_some() { "rlimit" } else { "cgroup" });
    if let Some(limit) = &of.memlock {
        machine.text("rlimit_memlock", limit);
    }
    machine.key("memory_exact").push_str(if of.exact { "true" } else { "false" });
    number_or_null(&mut machine, "softnet_processed", of.softnet.map(|net| net.processed));
    number_or_null(&mut machine, "softnet_dropped", of.softnet.map(|net| net.dropped));
    number_or_null(&mut machine, "softnet_squeezed", of.softnet.map(|net| net.squeezed));
    machine.end();
    list(json.key("objects"), &seen.objects, "", |out, it| {
        let mut object = Json::new(out);
        object.text("name", &it.name);
        object.text("absent", it.absent.as_deref().unwrap_or_default());
        number_or_null(&mut object, "events_lost", it.lost);
        list(object.key("programs"), &it.programs, "", |out, it| program_json(out, it, seen));
        list(object.key("maps"), &it.maps, "", map_json);
        list(object.key("links"), &it.links, "", link_json);
        object.end();
    });
    json.end();
    out.push('\n');
    out
}

fn number_or_null(json: &mut Json<'_>, name: &str, value: Option<u64>) {
    match value {
        Some(value) => json.number(name, value),
        None => json.key(name).push_str("null"),
    }
}

fn thing_json<'a>(out: &'a mut String, thing: &Thing) -> Json<'a> {
    let mut json = Json::new(out);
    json.text("name", &thing.name);
    json.text("state", thing.life.word());
    json.text("why", &thing.why);
    json.number("id", thing.id);
    json
}

fn program_json(out: &mut String, it: &Program, seen: &Seen) {
    let mut json = thing_json(out, &it.thing);
    json.text("type", &it.kind);
    json.text("tag", &it.tag);
    json.number("loaded_at", (seen.unix + it.loaded).saturating_sub(seen.now).as_secs());
    json.number("age_s", seen.now.saturating_sub(it.loaded).as_secs());
    json.number("verified_instructions", it.verified);
    json.number("jited_bytes", it.jited);
    number_or_null(&mut json, "memory_bytes", it.memory);
    json.number("runs", it.ever.count);
    json.number("run_ns", it.ever.ns);
    json.number("recursion_misses", it.misses);
    number_or_null(&mut json, "sampled_runs", it.sample.map(|runs| runs.count));
    number_or_null(&mut json, "sampled_ns", it.sample.map(|runs| runs.ns));
    json.end();
}

fn map_json(out: &mut String, it: &Map) {
    let mut json = thing_json(out, &it.thing);
    json.text("type", &it.kind);
    json.number("key_size", it.key_size);
    json.number("value_size", it.value_size);
    json.number("max_entries", it.max_entries);
    json.number("flags", it.flags);
    number_or_null(&mut json, "memory_bytes", it.memory);
    number_or_null(&mut json, if it.ring { "backlog_bytes" } else { "entries" }, it.used);
    json.end();
}

fn link_json(out: &mut String, it: &Link) {
    let mut json = thing_json(out, &it.thing);
    json.text("program", &it.program);
    json.text("target", &it.target);
    json.text("mode", it.mode.unwrap_or_default());
    number_or_null(&mut json, "missed", it.missed);
    json.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        for (n, shown) in
            [(0, "0 B"), (1023, "1023 B"), (8192, "8.0 KiB"), (13_900_000, "13.2 MiB"), (1 << 40, "1048576.0 MiB")]
        {
            assert_eq!(bytes(n), shown);
        }
        for (s, shown) in [(0, "0s"), (65, "1m 5s"), (7_800, "2h 10m"), (788_400, "9d 3h")] {
            assert_eq!(age(Duration::from_secs(s)), shown);
        }
    }
}
