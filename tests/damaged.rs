//! Damaged objects: whatever aya-obj does with one, the run ends by the table and says which object it was.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;
#[path = "fuzz/src/mutate.rs"]
mod mutate;

use std::{collections::BTreeMap, fs};

use common::{object, sandbox, say};

/// Damaged objects in all; every number is a seed, so each can be made again alone.
const MUTANTS: u64 = 300;

#[test]
fn row_28_damaged_objects_end_by_the_table_and_leave_nothing() {
    let whole: Vec<Vec<u8>> =
        ["count_v1", "maps", "tail", "table_64"].iter().map(|name| fs::read(object(name)).unwrap()).collect();
    sandbox(|s| {
        let config = |optional| format!("[object.torn]\npath = \"/run/torn.bpf.o\"\noptional = {optional}\n");
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for seed in 0..MUTANTS {
            let mut bytes = whole[seed as usize % whole.len()].clone();
            mutate::mutate(&mut bytes, seed);
            s.file("/run/torn.bpf.o", "");
            fs::write("/run/torn.bpf.o", &bytes).unwrap();
            let optional = seed % 5 == 0;
            let ran = s.apply(&config(optional));
            let code = ran.ran.code;
            let allowed: &[i32] = if optional { &[0, 3] } else { &[0, 1] };
            assert!(code.is_some_and(|code| allowed.contains(&code)), "seed {seed}: {ran:#?}");
            if code != Some(0) {
                let faults: Vec<_> = ran.steps().iter().filter(|step| step["fault"].is_object()).collect();
                let named = faults.iter().any(|step| step.to_string().contains("torn"));
                assert!(named, "seed {seed}: no fault names the object: {faults:#?}");
                for step in &faults {
                    let (what, mend) = (&step["fault"]["what"], &step["fault"]["mend"]);
                    assert!(!what.as_str().unwrap().is_empty() && mend.is_string(), "seed {seed}: {step}");
                    let died = what.as_str().unwrap().contains("the loader ");
                    if died {
                        assert!(what.as_str().unwrap().contains("not a usable BPF object: "), "seed {seed}: {step}");
                    }
                    *ends
                        .entry(if died { "died".into() } else { format!("{}", step["fault"]["cause"]) })
                        .or_default() += 1;
                }
                let pins: Vec<_> = s.pins().into_iter().filter(|pin| pin.contains("torn")).collect();
                assert!(pins.is_empty(), "seed {seed}: {pins:#?}");
            } else {
                *ends.entry("loaded".into()).or_default() += 1;
            }
            s.bpfboot(&["undo"]).exits(0);
        }
        say(&format!("{MUTANTS} damaged objects: {ends:?}"));
        assert!(
            ends.contains_key("died") && ends.contains_key("loaded") && ends.contains_key("\"object\""),
            "{ends:?}"
        );
    });
}

#[test]
fn row_28_an_optional_object_that_kills_the_loader_costs_no_other() {
    let whole = fs::read(object("maps")).unwrap();
    sandbox(|s| {
        // The first damage of which the loader dies.
        let kills = (0..).find(|seed| {
            let mut bytes = whole.clone();
            mutate::mutate(&mut bytes, *seed);
            s.file("/run/torn.bpf.o", "");
            fs::write("/run/torn.bpf.o", &bytes).unwrap();
            let ran = s.apply("[object.torn]\npath = \"/run/torn.bpf.o\"\n");
            s.bpfboot(&["undo"]).exits(0);
            ran.json.to_string().contains("the loader died of signal")
        });
        let config = "[object.edge]\npath = \"builtin:edge\"\n\
            [object.torn]\npath = \"/run/torn.bpf.o\"\noptional = true\n\
            [object.zulu]\npath = \"builtin:edge\"\n";
        let ran = s.apply(config).exits(3);
        let said = &ran.step("object torn")["fault"];
        assert!(
            said["what"].as_str().unwrap().contains("not a usable BPF object: the loader died"),
            "{kills:?}: {said}"
        );
        assert_eq!((ran.status("program edge/xdp_main"), ran.status("program zulu/xdp_main")), ("done", "done"));
        assert!(!s.pins().iter().any(|pin| pin.contains("torn")));
        s.apply(config).exits(3);
    });
}
