//! Estimates held against the kernel's own count.

use std::{collections::BTreeMap, fs};

use super::{
    Sandbox, Value,
    declare::{Dice, object, random},
    say,
};

/// What the estimate of a map is, and what the kernel says when it is made.
#[derive(Debug)]
pub struct Pair {
    pub kind: String,
    pub map: String,
    pub estimate: u64,
    pub kernel: u64,
}

/// Makes `each` random maps of every type, and gives both figures of each. The kernel's types are those below `types`.
pub fn pairs(s: &Sandbox, seed: u64, types: u32, each: u32) -> Vec<Pair> {
    let (mut dice, mut pairs) = (Dice(seed), Vec::new());
    for nth in 0..each {
        let maps: Vec<_> = (1..types).filter_map(|kind| random(&mut dice, kind, nth)).collect();
        let path = format!("/run/maps{nth}.bpf.o");
        fs::write(&path, object(&maps)).unwrap();
        let estimate = s.bpfboot(&["estimate", "--json", &path]);
        let estimate: Value = serde_json::from_str(&estimate.stdout).unwrap_or_else(|e| panic!("{e}: {estimate:?}"));
        s.apply(&format!("[object.o]\npath = \"{path}\"\non-mismatch = \"recreate\"\n")).exits(0);
        let shown = s.bpftool(&["map", "show"]);
        let shown = shown.as_array().unwrap_or_else(|| panic!("no maps in {shown}"));
        let told: BTreeMap<&str, u64> =
            shown.iter().filter_map(|map| Some((map["name"].as_str()?, map["bytes_memlock"].as_u64()?))).collect();
        let estimated = estimate["maps"].as_array().unwrap();
        assert_eq!(estimated.len(), maps.len(), "{estimate}");
        for map in estimated {
            let name = map["map"].as_str().unwrap();
            let wanted = maps.iter().find(|wanted| wanted.name == name).unwrap();
            pairs.push(Pair {
                kind: map["type"].as_str().unwrap().to_owned(),
                map: format!("{wanted:?}"),
                estimate: map["fdinfo"].as_u64().unwrap_or_else(|| panic!("no estimate: {map}")),
                kernel: *told.get(name).unwrap_or_else(|| panic!("{name} is not there: {shown:?}")),
            });
        }
    }
    let kinds: std::collections::BTreeSet<_> = pairs.iter().map(|pair| &pair.kind).collect();
    let differ = pairs.iter().filter(|pair| pair.estimate != pair.kernel).count();
    say(&format!("{} maps of {} types, {differ} differ from fdinfo", pairs.len(), kinds.len()));
    pairs
}
