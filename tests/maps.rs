//! Maps: whose layout counts, what becomes of the old one, and what the configuration writes into them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{collections::BTreeMap, fs, process::Command};

use common::{LIVE, Sandbox, object, ok, sandbox, wait_for};

const TABLE: &str = "/sys/fs/bpf/bpfboot/live/table/maps/table";
const LOOK: &str = "/sys/fs/bpf/bpfboot/live/table/progs/look";

/// The object `table` in one of its layouts.
fn table(layout: &str, options: &str) -> String {
    format!("[object.table]\npath = \"{}\"\n{options}\n", object(layout))
}

/// Puts entries into the pinned table, as whoever uses it would.
fn fill(entries: &[(u32, u64)]) {
    for (key, value) in entries {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
        let mut command = Command::new("bpftool");
        command.args(["map", "update", "pinned", TABLE, "key", "hex"]).args(hex(&key.to_ne_bytes()));
        ok(command.args(["value", "hex"]).args(hex(&value.to_ne_bytes())));
    }
}

type Entries = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

fn entries(of: &[(u32, u64)]) -> Entries {
    of.iter().map(|(key, value)| (key.to_ne_bytes().to_vec(), vec![value.to_ne_bytes().to_vec()])).collect()
}

fn id(s: &Sandbox, kind: &str, path: &str) -> u64 {
    s.pinned(kind, path)["id"].as_u64().unwrap()
}

#[test]
fn row_48_another_layout_is_refused_with_both_shown_and_nothing_changed() {
    sandbox(|s| {
        s.apply(&table("table_64", "")).exits(0);
        fill(&[(1, 2), (7, 9)]);
        let before = (id(s, "map", TABLE), id(s, "prog", LOOK), s.dump(TABLE), s.pins(), s.state());
        for (layout, wanted) in [("table_128", "value 8 max-entries 128"), ("table_wide", "value 16 max-entries 64")] {
            let report = s.apply(&table(layout, "")).exits(1);
            let (cause, text) = report.fault("object table");
            assert_eq!(cause, "map");
            assert!(text.contains("pinned hash key 4 value 8 max-entries 64") && text.contains(wanted), "{text}");
            assert!(text.contains("on-mismatch"), "the way out is named: {text}");
            assert_eq!(
                (id(s, "map", TABLE), id(s, "prog", LOOK), s.dump(TABLE), s.pins(), s.state()),
                before,
                "{layout}"
            );
        }
        assert_eq!(s.verdict(LOOK), 2, "the old program still answers from its table");
    });
}

#[test]
fn row_49_the_same_layout_is_reused_with_its_contents() {
    sandbox(|s| {
        s.apply(&table("table_64", "")).exits(0);
        fill(&[(1, 3)]);
        let (map, program) = (id(s, "map", TABLE), id(s, "prog", LOOK));
        // Other settings, so that the program is loaded anew.
        let report = s.apply(&table("table_64", "maps.table.entries = [{ key = 5, value = 6 }]")).exits(0);
        assert_eq!(id(s, "map", TABLE), map);
        assert_eq!(report.kernel_id("map table/table"), map);
        assert_ne!(id(s, "prog", LOOK), program);
        assert_eq!(s.dump(TABLE), entries(&[(1, 3), (5, 6)]));
        assert_eq!(s.verdict(LOOK), 3);
    });
}

#[test]
fn row_50_a_ring_buffer_that_the_kernel_rounds_is_the_same_map() {
    sandbox(|s| {
        let ring = format!("{LIVE}/maps/maps/ring");
        let config =
            |bytes: u32| format!("[object.maps]\npath = \"{}\"\nmaps.ring.max-entries = {bytes}\n", object("maps"));
        s.apply(&config(5000)).exits(0);
        let shown = s.pinned("map", &ring);
        assert_eq!(shown["max_entries"], 8192, "{shown}");
        s.apply(&config(5000)).exits(0).nothing_done();
        s.apply(&config(7000)).exits(0);
        assert_eq!(s.pinned("map", &ring)["id"], shown["id"], "8192 bytes, however they were asked for");
    });
}

#[test]
fn on_mismatch_keep_takes_the_old_map_over_with_its_size() {
    sandbox(|s| {
        s.apply(&table("table_64", "")).exits(0);
        fill(&[(1, 4)]);
        let (map, program) = (id(s, "map", TABLE), id(s, "prog", LOOK));
        s.apply(&table("table_128", "on-mismatch = \"keep\"")).exits(0);
        assert_eq!((id(s, "map", TABLE), s.pinned("map", TABLE)["max_entries"].as_u64()), (map, Some(64)));
        assert_ne!(id(s, "prog", LOOK), program);
        assert_eq!((s.dump(TABLE), s.verdict(LOOK)), (entries(&[(1, 4)]), 4), "the new program reads the old table");
        s.apply(&table("table_128", "on-mismatch = \"keep\"")).exits(0).nothing_done();
        // Where values have another size nothing can be kept.
        let report = s.apply(&table("table_wide", "on-mismatch = \"keep\"")).exits(1);
        assert_eq!(report.fault("object table").0, "map");
        assert_eq!((id(s, "map", TABLE), s.dump(TABLE)), (map, entries(&[(1, 4)])));
    });
}

#[test]
fn on_mismatch_recreate_makes_an_empty_one() {
    sandbox(|s| {
        s.apply(&table("table_64", "")).exits(0);
        fill(&[(1, 4)]);
        let map = id(s, "map", TABLE);
        s.apply(&table("table_wide", "on-mismatch = \"recreate\"")).exits(0);
        let shown = s.pinned("map", TABLE);
        assert_ne!(shown["id"].as_u64(), Some(map));
        assert_eq!(shown["bytes_value"], 16, "{shown}");
        assert_eq!((s.dump(TABLE), s.verdict(LOOK)), (Entries::new(), 1), "XDP_DROP: it finds nothing");
        wait_for("the old map to go with its generation", || {
            let shown = Command::new("bpftool").args(["map", "show", "id", &map.to_string()]).output().unwrap();
            (!shown.status.success()).then_some(())
        });
    });
}

#[test]
fn on_mismatch_migrate_copies_every_entry() {
    sandbox(|s| {
        s.apply(&table("table_64", "")).exits(0);
        let contents: Vec<_> = (0..64).map(|key| (key, u64::from(key) * 3 + 1)).collect();
        fill(&contents);
        let map = id(s, "map", TABLE);
        let report = s.apply(&table("table_128", "on-mismatch = \"migrate\"")).exits(0);
        assert!(report.step("map table/table")["note"].as_str().unwrap().contains("64 entries copied"));
        let shown = s.pinned("map", TABLE);
        assert_ne!(shown["id"].as_u64(), Some(map));
        assert_eq!(shown["max_entries"], 128);
        assert_eq!((s.dump(TABLE), s.verdict(LOOK)), (entries(&contents), 4));
        // Back to the smaller one it does not all fit any more: refused, and nothing is lost.
        fill(&[(1000, 1)]);
        let before = s.dump(TABLE);
        s.apply(&table("table_64", "on-mismatch = \"migrate\"")).exits(1);
        assert_eq!((s.dump(TABLE), s.pinned("map", TABLE)["id"].clone()), (before, shown["id"].clone()));
        let wide = s.apply(&table("table_wide", "on-mismatch = \"migrate\"")).exits(1);
        assert_eq!(wide.fault("object table").0, "map");
    });
}

#[test]
fn row_51_a_program_pinned_where_a_map_is_wanted() {
    sandbox(|s| {
        s.apply(&table("table_64", "")).exits(0);
        fs::remove_file(TABLE).unwrap();
        ok(Command::new("bpftool").args(["prog", "pin", "pinned", LOOK, TABLE]));
        let before = s.pins();
        let report = s.apply(&table("table_64", "")).exits(1);
        let (cause, text) = report.fault("object table");
        assert!(
            cause == "pin" && text.contains("is a program, not a map") && text.contains(&format!("rm {TABLE}")),
            "{text}"
        );
        assert_eq!(s.pins(), before);
        fs::remove_file(TABLE).unwrap();
        s.apply(&table("table_64", "")).exits(0);
        assert_eq!(s.pinned("map", TABLE)["type"], "hash");
    });
}

#[test]
fn sizes_come_from_the_configuration() {
    sandbox(|s| {
        let sized = format!(
            "[object.maps]\npath = \"{}\"\nmaps.hash.max-entries = 5000\nmaps.ring.max-entries = \"64K\"\n",
            object("maps")
        );
        s.apply(&sized).exits(0);
        for (map, wanted) in [("hash", 5000), ("ring", 65536), ("array", 4)] {
            assert_eq!(s.pinned("map", &format!("{LIVE}/maps/maps/{map}"))["max_entries"], wanted, "{map}");
        }
    });
}

#[test]
fn entries_of_every_kind_are_written_before_any_program_runs() {
    sandbox(|s| {
        let config = format!(
            "[object.maps]\npath = \"{}\"\n\
             maps.hash.entries = [{{ key = 1, value = -2 }}, {{ key = \"hex:0a000001\", value = [1, 2, 3, 4, 5, 6, 7, 8] }}]\n\
             maps.array.entries = [{{ key = 2, value = true }}, {{ key = 3, value = \"abc\" }}]\n\
             maps.per_cpu.entries = [{{ key = 1, value = 42 }}]\n\
             maps.routes.entries = [{{ key = \"hex:080000000a000000\", value = 3 }}, {{ key = \"hex:180000000a010200\", value = 2 }}]\n",
            object("maps")
        );
        s.apply(&config).exits(0);
        let dump = |map: &str| s.dump(&format!("{LIVE}/maps/maps/{map}"));
        let hash = dump("hash");
        assert_eq!(hash.len(), 2);
        assert_eq!(hash[&1_u32.to_ne_bytes().to_vec()], [(-2_i64).to_ne_bytes()]);
        assert_eq!(hash[&vec![10, 0, 0, 1]], [[1, 2, 3, 4, 5, 6, 7, 8]]);
        let array = dump("array");
        assert_eq!(array[&2_u32.to_ne_bytes().to_vec()], [1_u32.to_ne_bytes()]);
        assert_eq!(array[&3_u32.to_ne_bytes().to_vec()], [*b"abc\0"]);
        let cpus = &dump("per_cpu")[&1_u32.to_ne_bytes().to_vec()];
        assert!(!cpus.is_empty() && cpus.iter().all(|value| *value == 42_u64.to_ne_bytes()), "on every CPU: {cpus:?}");
        assert_eq!(s.verdict(&format!("{LIVE}/maps/progs/route")), 2, "the longest prefix of 10.1.2.3 wins");
        s.apply(&config).exits(0).nothing_done();
    });
}

#[test]
fn an_entry_that_does_not_fit_is_named_and_nothing_is_left() {
    sandbox(|s| {
        for (entry, says) in [
            ("{ key = 1, value = \"hex:00\" }", "1 bytes were given, its place has 8"),
            ("{ key = 4294967296, value = 1 }", "does not fit into 4 bytes"),
            ("{ key = 1, value = \"longer than eight\" }", "its place has 8"),
        ] {
            let config = format!(
                "[object.maps]\npath = \"{}\"\nmaps.hash.entries = [{{ key = 0, value = 0 }}, {entry}]\n",
                object("maps")
            );
            let report = s.apply(&config).exits(1);
            let (cause, text) = report.fault("object maps");
            assert!(cause == "map" && text.contains(says) && text.contains("entry 2"), "{text}");
            assert_eq!(s.pins(), [""; 0]);
        }
        // More than the map holds: the kernel says so.
        let many = (0..9).map(|key| format!("{{ key = {key}, value = 0 }}")).collect::<Vec<_>>().join(", ");
        let report =
            s.apply(&format!("[object.maps]\npath = \"{}\"\nmaps.hash.entries = [{many}]\n", object("maps"))).exits(1);
        assert!(report.fault("object maps").1.contains("E2BIG"), "{:#}", report.json);
        assert_eq!(s.pins(), [""; 0]);
    });
}

#[test]
fn a_map_that_is_not_to_be_pinned_lives_with_its_program_alone() {
    sandbox(|s| {
        let report =
            s.apply(&table("table_64", "maps.table = { pin = false, entries = [{ key = 1, value = 3 }] }")).exits(0);
        assert!(!std::path::Path::new(TABLE).exists());
        let map = report.kernel_id("map table/table");
        let of_program = s.pinned("prog", LOOK)["map_ids"].clone();
        assert!(of_program.as_array().unwrap().iter().any(|id| id.as_u64() == Some(map)), "{of_program}");
        assert_eq!(s.verdict(LOOK), 3);
        s.apply(&table("table_64", "maps.table = { pin = false, entries = [{ key = 1, value = 3 }] }"))
            .exits(0)
            .nothing_done();
    });
}

#[test]
fn globals_from_the_configuration_change_what_the_program_does() {
    sandbox(|s| {
        let start = format!("{LIVE}/tail/progs/start");
        for (pick, verdict) in [("", 1), ("globals.pick = 0", 2), ("globals.pick = 2", 3), ("globals.pick = 1", 1)] {
            let config = format!(
                "[object.tail]\npath = \"{}\"\nmaps.jumps.programs = {{ 0 = \"pass\", 2 = \"bounce\" }}\n{pick}\n",
                object("tail")
            );
            s.apply(&config).exits(0);
            // XDP_PASS behind index 0, XDP_TX behind 2, and XDP_DROP where the jump finds nothing.
            assert_eq!(s.verdict(&start), verdict, "{pick}");
            s.apply(&config).exits(0).nothing_done();
        }
        for (bad, says) in
            [("globals.pick = 4294967296", "does not fit into 4 bytes"), ("globals.pickk = 1", "no global \"pickk\"")]
        {
            let report = s.apply(&format!("[object.tail]\npath = \"{}\"\n{bad}\n", object("tail"))).exits(1);
            assert!(report.json.to_string().replace("\\\"", "\"").contains(says), "{:#}", report.json);
        }
        assert_eq!(s.verdict(&start), 1, "the last good one still runs");
    });
}

#[test]
fn a_program_array_stays_filled_after_bpfboot_is_gone() {
    sandbox(|s| {
        let config = |programs: &str| {
            format!(
                "[object.tail]\npath = \"{}\"\nglobals.pick = 0\nmaps.jumps.programs = {{ {programs} }}\n",
                object("tail")
            )
        };
        s.apply(&config("0 = \"pass\"")).exits(0);
        assert_eq!(s.verdict(&format!("{LIVE}/tail/progs/start")), 2);
        let jumps = s.bpftool(&["map", "dump", "pinned", &format!("{LIVE}/tail/maps/jumps")]);
        let pass = id(s, "prog", &format!("{LIVE}/tail/progs/pass"));
        assert!(jumps.to_string().contains(&format!("0x{:02x}", pass & 0xff)), "index 0 holds program {pass}: {jumps}");
        // Another program behind the same index.
        s.apply(&config("0 = \"bounce\"")).exits(0);
        assert_eq!(s.verdict(&format!("{LIVE}/tail/progs/start")), 3);
        let unknown = s.apply(&config("0 = \"nobody\"")).exits(1);
        assert!(unknown.json.to_string().contains("it holds: start, pass, bounce"), "{:#}", unknown.json);
        assert_eq!(s.verdict(&format!("{LIVE}/tail/progs/start")), 3);
    });
}

#[test]
fn a_failed_run_leaves_the_program_array_of_the_live_generation_alone() {
    sandbox(|s| {
        let config = |programs: &str, more: &str| {
            format!(
                "[object.tail]\npath = \"{}\"\nglobals.pick = 0\nmaps.jumps.programs = {{ {programs} }}\n{more}",
                object("tail")
            )
        };
        s.apply(&config("0 = \"pass\"", "")).exits(0);
        let start = format!("{LIVE}/tail/progs/start");
        assert_eq!(s.verdict(&start), 2);
        let broken =
            "[object.z]\npath = \"builtin:edge\"\nprograms.xdp_main = { attach = { xdp = \"no0\", wait = \"1ms\" } }\n";
        s.apply(&config("0 = \"bounce\"", broken)).exits(1);
        assert_eq!(s.verdict(&start), 2, "what was live jumps where it did");
        // An index that left the configuration is empty.
        s.apply(&config("2 = \"bounce\"", "")).exits(0);
        assert_eq!(s.verdict(&start), 1, "nothing is behind index 0");
    });
}

#[test]
fn a_failed_run_leaves_the_entries_of_a_live_map_alone() {
    sandbox(|s| {
        let config = |value: u32, more: &str| {
            table("table_64", &format!("maps.table.entries = [{{ key = 1, value = {value} }}]\n{more}"))
        };
        s.apply(&config(2, "")).exits(0);
        let broken = format!("[object.z]\npath = \"{}\"", object("refused"));
        s.apply(&config(3, &broken)).exits(1);
        assert_eq!((s.dump(TABLE), s.verdict(LOOK)), (entries(&[(1, 2)]), 2));
        s.apply(&config(3, "")).exits(0);
        assert_eq!((s.dump(TABLE), s.verdict(LOOK)), (entries(&[(1, 3)]), 3));
    });
}
