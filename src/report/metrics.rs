//! What `status` saw as a textfile for node_exporter: the text format of Prometheus, a family after the other.

use super::people::put;
use crate::seen::{Life, Link, Map, Program, Runs, Seen};

/// The names of all families begin so.
const PREFIX: &str = "bpfboot_";

/// The whole file.
pub fn textfile(seen: &Seen) -> String {
    let mut file = Textfile { out: String::with_capacity(16 << 10), seen };
    file.one("healthy", Some(seen.whole().into()));
    file.family("build_info", &mut |sample| sample(&[("version", env!("CARGO_PKG_VERSION"))], 1));

    file.family("program_info", &mut |sample| {
        for (object, it) in seen.objects.iter().flat_map(|object| object.programs.iter().map(move |it| (object, it))) {
            let id = it.thing.id.to_string();
            let who = [("object", &*object.name), ("program", &it.thing.name)];
            sample(&[&who[..], &[("type", &it.kind), ("tag", &it.tag), ("id", &id)]].concat(), 1);
        }
    });
    file.programs("program_up", &|it| Some((it.thing.life == Life::Alive).into()));
    let at = |it: &Program| (seen.unix + it.loaded).saturating_sub(seen.now).as_secs();
    file.programs("program_loaded_timestamp_seconds", &|it| there(it, at(it)));
    file.programs("program_memory_bytes", &|it| it.memory);
    file.programs("program_verified_instructions", &|it| there(it, it.verified.into()));
    file.programs("program_recursion_misses_total", &|it| there(it, it.misses));
    file.programs("program_runs_total", &|it| there(it, it.ever.count));
    file.programs("program_run_nanoseconds_total", &|it| there(it, it.ever.ns));
    file.programs("program_run_nanoseconds", &|it| it.sample.and_then(Runs::each));

    file.maps("map_up", &|it| Some((it.thing.life == Life::Alive).into()));
    file.maps("map_max_entries", &|it| (!it.ring).then(|| it.max_entries.into()));
    file.maps("map_entries", &|it| it.used.filter(|_| !it.ring));
    file.maps("map_memory_bytes", &|it| it.memory);
    file.maps("ring_size_bytes", &|it| it.ring.then(|| it.max_entries.into()));
    file.maps("ring_backlog_bytes", &|it| it.used.filter(|_| it.ring));

    file.family("events_lost_total", &mut |sample| {
        for object in &seen.objects {
            object.lost.into_iter().for_each(|lost| sample(&[("object", &object.name)], lost));
        }
    });
    file.links("link_up", &|it| Some((it.thing.life == Life::Alive).into()));
    file.links("link_missed_total", &|it| it.missed);

    let machine = &seen.machine;
    file.one("jit_enabled", machine.jit);
    file.one("jit_harden", machine.harden);
    file.one("softnet_processed_total", machine.softnet.map(|net| net.processed));
    file.one("softnet_dropped_total", machine.softnet.map(|net| net.dropped));
    file.one("softnet_squeezed_total", machine.softnet.map(|net| net.squeezed));
    file.out
}

/// Of what is not there, there is nothing to tell.
fn there(program: &Program, value: u64) -> Option<u64> {
    (program.thing.life != Life::Missing).then_some(value)
}

/// Takes one sample: its labels, and its value.
type Sample<'a> = dyn FnMut(&[(&str, &str)], u64) + 'a;

struct Textfile<'a> {
    out: String,
    seen: &'a Seen,
}

impl Textfile<'_> {
    /// A family: its head, if there is any sample, and its samples. What is counted in nanoseconds is written in seconds,
    /// as Prometheus wants it, and in whole numbers: float formatting is 10 KiB of code.
    fn family(&mut self, name: &str, fill: &mut dyn FnMut(&mut Sample<'_>)) {
        let shown = name.replace("nanoseconds", "seconds");
        let head = |line: &'static str| line.strip_prefix(&*shown)?.strip_prefix(' ')?.split_once(' ');
        let (kind, help) = include_str!("metrics.txt").lines().find_map(head).unwrap_or(("untyped", ""));
        let (mut begun, out) = (false, &mut self.out);
        fill(&mut |labels, value| {
            if !begun {
                begun = true;
                put(out, format_args!("# HELP {PREFIX}{shown} {help}\n# TYPE {PREFIX}{shown} {kind}\n"));
            }
            put(out, format_args!("{PREFIX}{shown}"));
            for (nth, (label, value)) in labels.iter().enumerate() {
                put(out, format_args!("{}{label}=\"", if nth == 0 { '{' } else { ',' }));
                escape(out, value);
                out.push('"');
            }
            out.push_str(if labels.is_empty() { " " } else { "} " });
            match shown.len() == name.len() {
                true => put(out, format_args!("{value}\n")),
                false => put(out, format_args!("{}.{:09}\n", value / 1_000_000_000, value % 1_000_000_000)),
            }
        });
    }

    /// A family of one sample, where there is one.
    fn one(&mut self, name: &str, value: Option<u64>) {
        self.family(name, &mut |sample| value.into_iter().for_each(|value| sample(&[], value)));
    }

    fn programs(&mut self, name: &str, value: &dyn Fn(&Program) -> Option<u64>) {
        let objects = &self.seen.objects;
        self.family(name, &mut |sample| {
            for (object, it) in objects.iter().flat_map(|object| object.programs.iter().map(move |it| (object, it))) {
                let labels = [("object", &*object.name), ("program", &it.thing.name)];
                value(it).into_iter().for_each(|value| sample(&labels, value));
            }
        });
    }

    fn maps(&mut self, name: &str, value: &dyn Fn(&Map) -> Option<u64>) {
        let objects = &self.seen.objects;
        self.family(name, &mut |sample| {
            for (object, it) in objects.iter().flat_map(|object| object.maps.iter().map(move |it| (object, it))) {
                let labels = [("object", &*object.name), ("map", &it.thing.name), ("type", &it.kind)];
                value(it).into_iter().for_each(|value| sample(&labels, value));
            }
        });
    }

    fn links(&mut self, name: &str, value: &dyn Fn(&Link) -> Option<u64>) {
        let objects = &self.seen.objects;
        self.family(name, &mut |sample| {
            for (object, it) in objects.iter().flat_map(|object| object.links.iter().map(move |it| (object, it))) {
                let thing = &it.thing;
                let labels = [("object", &*object.name), ("link", &thing.name), ("program", &it.program)];
                let labels = [&labels[..], &[("target", &*it.target)]].concat();
                value(it).into_iter().for_each(|value| sample(&labels, value));
            }
        });
    }
}

/// A label's value: backslash, quote and newline are escaped (the text format knows no other).
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::seen::{Object, Softnet, Thing};

    #[test]
    fn families_have_a_head_each_and_labels_are_escaped() {
        let thing = Thing { name: "a\"b\\c\n".into(), id: 7, ..Thing::default() };
        let program =
            Program { thing: thing.clone(), ever: Runs { count: 2, ns: 1_000_000_042 }, ..Program::default() };
        let map = Map { thing, ring: true, max_entries: 4096, used: Some(8), ..Map::default() };
        let object =
            Object { name: "o".into(), programs: vec![program.clone(), program], maps: vec![map], ..Object::default() };
        let mut seen = Seen { objects: vec![object], ..Seen::default() };
        seen.machine.softnet = Some(Softnet { processed: 3, dropped: 2, squeezed: 1 });
        let text = textfile(&seen);
        let head = "# HELP bpfboot_program_runs_total Runs while statistics were on.\n# TYPE bpfboot_program_runs_total counter\n";
        let line = "bpfboot_program_runs_total{object=\"o\",program=\"a\\\"b\\\\c\\n\"} 2\n";
        assert!(text.contains(&format!("{head}{line}{line}#")), "{text}");
        assert!(
            text.contains("bpfboot_program_run_seconds_total{object=\"o\",program=\"a\\\"b\\\\c\\n\"} 1.000000042\n")
        );
        assert!(text.contains("bpfboot_ring_backlog_bytes{") && !text.contains("bpfboot_map_entries"));
        assert!(text.contains("\nbpfboot_softnet_dropped_total 2\n"));
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        for (name, kind) in names {
            assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1);
            assert_ne!(kind, "untyped", "{name} is not in metrics.txt");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        }
    }
}
