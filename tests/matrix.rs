//! The fault matrix against the tests: each of its 70 rows has a test of that name, or its reason here why it has none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Rows of the matrix.
const ROWS: u32 = 70;

/// Rows without a test, and why.
const ELSEWHERE: [(u32, &str); 2] =
    [(32, "kernel 5.4: Debian's mirrors carry none before 5.10"), (68, "boots machines: make initramfs-test")];

/// Rows of something that is not there yet.
const LATER: [(u32, &str); 1] = [(67, "the verb run (issue 6)")];

/// The functions that are tests in every Rust file below a directory.
fn tests(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // Only what the harness runs by itself counts: `#[test]`, and no `#[ignore]` below it.
            let mut lines = text.lines().map(str::trim);
            while let Some(line) = lines.next() {
                if line == "#[test]"
                    && let Some(function) = lines.next().and_then(|line| line.strip_prefix("fn "))
                {
                    found.push(function.split('(').next().unwrap().to_owned());
                }
            }
        }
    }
}

/// The rows that a test's name gives: `row_39_and_66_...` is of two.
fn rows(name: &str) -> Vec<u32> {
    let Some(rest) = name.strip_prefix("row_") else { return Vec::new() };
    rest.split('_')
        .map_while(|word| if word == "and" { Some(None) } else { word.parse().ok().map(Some) })
        .flatten()
        .collect()
}

#[test]
fn each_row_has_a_test_or_a_reason() {
    let mut names = Vec::new();
    for dir in ["tests", "src"] {
        tests(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &mut names);
    }
    assert!(names.len() > 200, "only {} tests seen", names.len());
    let mut tested: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for name in &names {
        let of = rows(name);
        assert!(!of.is_empty() || !name.starts_with("row_"), "{name}: which row?");
        for row in of {
            tested.entry(row).or_default().push(name);
        }
    }
    let excused: BTreeMap<u32, &str> = ELSEWHERE.into_iter().chain(LATER).collect();
    assert_eq!(excused.len(), ELSEWHERE.len() + LATER.len(), "a row stands there twice");
    let known: BTreeSet<u32> = (1..=ROWS).collect();
    let strange: Vec<_> = tested.keys().chain(excused.keys()).filter(|row| !known.contains(row)).collect();
    assert!(strange.is_empty(), "rows that the matrix does not have: {strange:?}");
    let bare: Vec<_> = known.iter().filter(|row| !tested.contains_key(row) && !excused.contains_key(row)).collect();
    assert!(bare.is_empty(), "rows with neither a test nor a reason: {bare:?}");
    let both: Vec<_> = excused.iter().filter_map(|(row, why)| Some((row, tested.get(row)?, why))).collect();
    assert!(both.is_empty(), "rows with a test and a reason to have none: {both:#?}");
}

#[test]
fn names_are_read_as_meant() {
    assert_eq!(rows("row_39_and_66_a_slice"), [39, 66]);
    assert_eq!(rows("row_02_nothing_asked_for"), [2]);
    assert_eq!(rows("the_row_02"), [0; 0]);
}
