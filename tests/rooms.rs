//! The walls between the rooms of src/, which the compiler does not see: one room each for aya_obj, toml, caps, syslog,
//! lexopt, unsafe, and the exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{fs, path::Path};

/// Longest file of src/.
const MOST_LINES: usize = 400;

/// Each source file: its path below src/, and its text.
fn sources() -> Vec<(String, String)> {
    fn walk(dir: &Path, top: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, top, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs") {
                let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let (top, mut found) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), Vec::new());
    walk(&top, &top, &mut found);
    found.sort();
    assert!(found.len() > 30, "only {} files in {}", found.len(), top.display());
    found
}

/// The lines of code of a file: no comments, and no tests, which may look through any wall.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(n, line)| (n + 1, line))
}

/// Whether a line names the crate in a path.
fn names_crate(line: &str, name: &str) -> bool {
    let bytes = line.as_bytes();
    line.match_indices(name).any(|(at, _)| {
        let word = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let path = line[at + name.len()..].starts_with("::");
        let import = line.trim_start().starts_with("use ") && line[at + name.len()..].starts_with([';', ',', ' ']);
        let start = at == 0 || !(word(bytes.get(at - 1)) || line[..at].ends_with("::"));
        start && (path || import)
    })
}

/// What breaks a wall: lines outside `rooms` that name the crate.
fn strangers(krate: &str, rooms: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources() {
        if rooms.iter().any(|room| file.starts_with(room)) {
            continue;
        }
        found.extend(
            code(&text)
                .filter(|(_, line)| names_crate(line, krate))
                .map(|(n, line)| format!("src/{file}:{n}: {}", line.trim())),
        );
    }
    found
}

#[test]
fn each_crate_has_its_room() {
    let mut broken = Vec::new();
    for (krate, rooms) in [
        // sys/ takes the kernel's structures from it.
        ("aya_obj", &["bpf/", "sys/"][..]),
        // config/parse has a module of that name.
        ("object", &["bpf/", "config/parse"]),
        ("toml", &["config/"]),
        ("caps", &["privilege"]),
        ("syslog", &["logger.rs"]),
        ("lexopt", &["cli/"]),
        ("rustix", &["sys/"]),
        ("sha2", &["bpf/"]),
        // error.rs words an errno.
        ("nix", &["sys/", "error.rs"]),
    ] {
        assert!(
            sources().iter().any(|(file, text)| {
                rooms.iter().any(|room| file.starts_with(room)) && code(text).any(|(_, line)| names_crate(line, krate))
            }),
            "{krate} is used nowhere, or this test is blind"
        );
        broken.extend(strangers(krate, rooms));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_rooms_know_only_whom_they_may() {
    // Who may not be named by whom: data stays below those who act on it.
    let mut broken = Vec::new();
    for (room, strangers) in [
        ("config/", &["crate::verbs", "crate::report", "crate::act", "crate::tune", "crate::bpf", "crate::sys"][..]),
        ("report/", &["crate::verbs", "crate::act", "crate::tune", "crate::bpf", "crate::plan"]),
        ("sys/", &["crate::verbs", "crate::report", "crate::act", "crate::tune", "crate::bpf", "crate::plan"]),
        ("tune/", &["crate::verbs", "crate::report", "crate::bpf", "crate::journal"]),
        ("bpf/", &["crate::verbs", "crate::report", "crate::journal", "crate::tune"]),
        ("cli/", &["crate::verbs", "crate::bpf", "crate::tune", "crate::sys"]),
        ("plan.rs", &["crate::verbs", "crate::report", "crate::journal"]),
        ("facts.rs", &["crate::verbs", "crate::report", "crate::config", "crate::bpf"]),
    ] {
        let inside: Vec<_> = sources().into_iter().filter(|(file, _)| file.starts_with(room)).collect();
        assert!(!inside.is_empty(), "there is no room {room}");
        for (file, text) in inside {
            for (n, line) in code(&text) {
                if let Some(stranger) = strangers.iter().find(|stranger| line.contains(**stranger)) {
                    broken.push(format!("src/{file}:{n}: {stranger}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn unsafe_stays_in_the_syscall_room() {
    let mut broken = Vec::new();
    for (file, text) in sources().into_iter().filter(|(file, _)| !file.starts_with("sys/")) {
        for (n, line) in code(&text) {
            if line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("allow(unsafe_code") {
                broken.push(format!("src/{file}:{n}: {}", line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    let sys = sources().into_iter().filter(|(file, _)| file.starts_with("sys/"));
    for (file, text) in sys {
        let lines: Vec<_> = text.lines().collect();
        for (n, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("unsafe {")) {
            let said = lines[n.saturating_sub(4)..n].iter().any(|line| line.contains("SAFETY:"));
            assert!(said, "src/{file}:{}: unsafe without a reason: {}", n + 1, line.trim());
        }
    }
}

#[test]
fn exit_codes_are_numbers_in_one_place() {
    let mut broken = Vec::new();
    for (file, text) in sources().into_iter().filter(|(file, _)| file != "health.rs") {
        for (n, line) in code(&text) {
            if line.contains("process::exit(") || line.contains("ExitCode::from(") {
                broken.push(format!("src/{file}:{n}: {}", line.trim()));
            }
        }
    }
    broken.retain(|line| !line.starts_with("src/main.rs:"));
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    let main = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).unwrap();
    let rest = main.replace("args_os().skip(1)", "");
    assert!(
        rest.contains(".exit_code()") && !rest.bytes().any(|b| b.is_ascii_digit()),
        "src/main.rs: a number\n{main}"
    );
}

#[test]
fn no_file_grows_beyond_what_one_reads() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(file, lines)| format!("src/{file}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}
