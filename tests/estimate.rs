//! What maps take: estimates against the kernel, budgets that refuse and that shrink.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;

use common::{
    LIVE, Value,
    declare::{self, Declared},
    object, sandbox, sizes,
};

/// Tables of 8-byte keys and values by name, type and entries, as an object.
fn tables(maps: &[(&str, u32, u32)]) {
    let declared: Vec<_> = maps
        .iter()
        .map(|(name, kind, entries)| Declared {
            name: (*name).to_owned(),
            kind: *kind,
            key: if *kind == 2 { 4 } else { 8 },
            value: 8,
            entries: *entries,
            flags: 0,
            extra: 0,
            typed: false,
            inner: None,
        })
        .collect();
    fs::write("/run/tables.bpf.o", declare::object(&declared)).unwrap();
}

const TABLES: &str = "[object.t]\npath = \"/run/tables.bpf.o\"\n";

#[test]
fn estimates_are_the_kernels_count_to_the_byte() {
    sandbox(|s| {
        let pairs = sizes::pairs(s, 7, 34, 12);
        let differ: Vec<_> = pairs.iter().filter(|pair| pair.estimate != pair.kernel).collect();
        assert!(differ.is_empty(), "{differ:#?}");
        assert!(pairs.len() >= 200);
    });
}

#[test]
fn the_maps_of_compiled_objects_are_what_is_made() {
    sandbox(|s| {
        for path in ["builtin:edge".to_owned(), "builtin:trace".to_owned(), object("maps"), object("table_wide")] {
            let config = format!("[object.o]\npath = \"{path}\"\non-mismatch = \"recreate\"\n");
            s.apply(&config).exits(0);
            let ran = s.bpfboot(&["estimate", "--json", "/run/test.toml"]);
            let estimate: Value = serde_json::from_str(&ran.stdout).unwrap();
            let maps = estimate["maps"].as_array().unwrap();
            assert!(!maps.is_empty(), "{estimate}");
            for map in maps {
                let name = map["map"].as_str().unwrap();
                let pin = format!("{LIVE}/o/maps/{}", name.replace('.', "_2e"));
                let made = s.pinned("map", &pin);
                let told = (made["bytes_key"].as_u64(), made["bytes_value"].as_u64(), made["max_entries"].as_u64());
                let expected = (map["key"].as_u64(), map["value"].as_u64(), map["max_entries"].as_u64());
                assert_eq!(told, expected, "{path} {name}");
                let (memlock, least) = (made["bytes_memlock"].as_u64().unwrap(), map["bytes"].as_u64().unwrap());
                // What grows may hold entries already.
                assert!(memlock >= least && (memlock == least || map["full"] != map["bytes"]), "{made} {map}");
            }
            s.json(&["undo"]).exits(0);
        }
    });
}

#[test]
fn maps_that_grow_come_to_what_was_estimated_when_full() {
    sandbox(|s| {
        let declare = |name: &str, kind| Declared {
            name: name.to_owned(),
            kind,
            key: 8,
            value: 12,
            entries: 4,
            // BPF_F_NO_PREALLOC
            flags: 1,
            extra: 0,
            typed: false,
            inner: None,
        };
        let maps = [declare("hash", 1), declare("each", 5)];
        fs::write("/run/tables.bpf.o", declare::object(&maps)).unwrap();
        let ran = s.bpfboot(&["estimate", "--json", "/run/tables.bpf.o"]);
        let estimate: Value = serde_json::from_str(&ran.stdout).unwrap();
        let entries = (0..4).map(|key| format!("{{ key = {key}, value = 7 }}")).collect::<Vec<_>>().join(", ");
        let line = |name: &str| format!("maps.{name}.entries = [{entries}]\n");
        s.apply(&format!("{TABLES}{}{}", line("hash"), line("each"))).exits(0);
        for map in estimate["maps"].as_array().unwrap() {
            let made = s.pinned("map", &format!("{LIVE}/t/maps/{}", map["map"].as_str().unwrap()));
            assert_eq!(made["bytes_memlock"], map["full"], "{map}");
            assert!(map["full"].as_u64() > map["bytes"].as_u64(), "{map}");
        }
        s.json(&["undo"]).exits(0);
    });
}

#[test]
fn more_than_the_budget_is_refused_before_anything_is_made() {
    sandbox(|s| {
        tables(&[("small", 1, 1000), ("large", 1, 100_000), ("flat", 2, 1000)]);
        for (key, config) in [
            ("bpf.memory-budget", format!("[bpf]\nmemory-budget = \"4MiB\"\n{TABLES}")),
            ("object.t.memory-budget", format!("{TABLES}memory-budget = 4194304\n")),
        ] {
            let report = s.apply(&config).exits(1);
            let (cause, what) = report.fault("object t");
            assert_eq!(cause, "limit");
            let begin = format!(
                "maps take 8.1 MiB when full, and {key} is 4.0 MiB; the largest: t/large 8.1 MiB (hash of 100000)"
            );
            assert!(what.starts_with(&begin), "{what}");
            let mend = &report.step("object t")["fault"]["mend"];
            let said = "object.t.maps.large = { max-entries = 32768 }, or shrink = true on the object";
            assert_eq!(mend, said);
            assert_eq!(s.pins(), [""; 0], "something was made");
            // What it says mends it.
            s.apply(&format!("{config}maps.large = {{ max-entries = 32768 }}\n")).exits(0);
            s.json(&["undo"]).exits(0);
            let ran = s.bpfboot(&["estimate", s.config("e.toml", &config).to_str().unwrap()]);
            assert_eq!((ran.code, ran.stderr.contains("maps take 8.1 MiB")), (Some(1), true), "{ran:?}");
        }
        // An optional object is given up, and the rest is loaded.
        let both = format!(
            "[bpf]\nmemory-budget = \"4MiB\"\n{TABLES}optional = true\n[object.u]\npath = \"{}\"\n",
            object("lone_map")
        );
        let report = s.apply(&both).exits(3);
        assert_eq!(report.fault("object t").0, "limit");
        assert_eq!(report.step("object u")["status"], "done");
        s.json(&["undo"]).exits(0);
    });
}

#[test]
fn what_may_shrink_is_made_smaller_by_powers_of_two() {
    sandbox(|s| {
        tables(&[("small", 1, 1000), ("large", 1, 100_000), ("other", 9, 60_000), ("flat", 2, 1000)]);
        let config = format!("[bpf]\nmemory-budget = \"6MiB\"\n{TABLES}shrink = true\n");
        let report = s.apply(&config).exits(0);
        let entries = |name: &str| s.pinned("map", &format!("{LIVE}/t/maps/{name}"))["max_entries"].as_u64().unwrap();
        assert_eq!(["small", "large", "other", "flat"].map(entries), [1000, 32_768, 32_768, 1000]);
        let notes = report.notes();
        assert!(notes.contains("map t/large gets 32768 entries of 100000, to fit in memory-budget"), "{notes}");
        let taken: u64 = ["small", "large", "other", "flat"]
            .map(|name| s.pinned("map", &format!("{LIVE}/t/maps/{name}"))["bytes_memlock"].as_u64().unwrap())
            .iter()
            .sum();
        assert!((3 << 20..=6 << 20).contains(&taken), "{taken}");
        // The same again is as planned.
        s.check(&config).exits(0);
        s.json(&["undo"]).exits(0);
        // Only what may: an array has to be named itself, and nothing goes below a sixteenth.
        let one = format!("[bpf]\nmemory-budget = \"6MiB\"\n{TABLES}maps.other.shrink = true\n");
        assert_eq!(s.apply(&one).exits(1).fault("object t").0, "limit");
        let tiny = format!("[bpf]\nmemory-budget = \"64K\"\n{TABLES}shrink = true\n");
        assert_eq!(s.apply(&tiny).exits(1).fault("object t").0, "limit");
        tables(&[("flat", 2, 100_000)]);
        let array = format!("[bpf]\nmemory-budget = \"600K\"\n{TABLES}maps.flat.shrink = true\n");
        s.apply(&array).exits(0);
        assert_eq!(entries("flat"), 65_536);
        s.json(&["undo"]).exits(0);
    });
}

#[test]
fn other_machines_and_kernels_are_estimated() {
    sandbox(|s| {
        tables(&[("each", 5, 1000), ("map", 1, 1000)]);
        let full = |args: &[&str]| {
            let ran = s.bpfboot(&[&["-q", "estimate", "/run/tables.bpf.o"], args].concat());
            ran.stdout.trim().parse::<u64>().unwrap_or_else(|e| panic!("{e}: {ran:?}"))
        };
        // A value of 8 bytes a CPU more; for the other table an element, a pointer and locks; locks for both.
        assert_eq!(full(&["--cpus", "65"]) - full(&["--cpus", "64"]), 1000 * 8 + 64 + 8 + 2 * 32);
        assert_eq!(full(&["--kernel", "6.12"]) - full(&["--kernel", "6.18"]), 2 * (896 - 832));
        let ran = s.bpfboot(&["estimate", "builtin:edge", "--kernel", "6.6"]);
        assert!(ran.stdout.starts_with("on Linux 6.6, with "), "{ran:?}");
        assert!(ran.stdout.contains("edge/connections"), "{ran:?}");
        for bad in [&["estimate", "/run/absent.o"][..], &["estimate", "--cpus", "0"], &["estimate", "--kernel", "new"]]
        {
            assert_eq!(s.bpfboot(bad).code, Some(2), "{bad:?}");
        }
    });
}
