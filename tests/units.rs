//! The units of units/, judged by systemd itself and held against what bpfboot really asks of the kernel. What becomes of
//! them in a machine that boots: tests/vm/units.sh.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use common::{Sandbox, binary, net::Wire, ok, sandbox, trace::Call};

/// The configuration of the traced runs: something of every room that a unit meets.
const CONFIG: &str = "[mounts]\nbpffs = true\ntracefs = true\n[sysctl]\n\"net.ipv4.ip_default_ttl\" = 77\n\
    [limits]\nnofile = 4096\nmemlock = \"auto\"\n[object.trace]\npath = \"builtin:trace\"\n\
    [object.edge]\npath = \"builtin:edge\"\nprograms.xdp_main = { attach = { xdp = \"eth7\" } }\n";

/// Each unit's name and text.
fn units() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
    let named = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), entry.path());
    let units = fs::read_dir(dir).unwrap().map(|entry| named(entry.unwrap()));
    let mut units: Vec<_> = units
        .filter(|(name, _)| name.ends_with(".service") || name.ends_with(".timer"))
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect();
    units.sort();
    assert!(units.len() >= 4, "{units:?}");
    units
}

#[test]
fn systemd_finds_nothing_wrong() {
    // Where the program is that they name: `verify` looks for it.
    let dir = std::env::temp_dir().join(format!("bpfboot-units-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]);
    for (name, text) in units() {
        let path = dir.join(name.replace("@.", "@eth0."));
        fs::write(&path, text.replace("/usr/bin/bpfboot", binary().to_str().unwrap())).unwrap();
        verify.arg(path);
    }
    let output = ok(&mut verify);
    fs::remove_dir_all(dir).unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(said, "");
}

#[test]
fn little_is_exposed() {
    for (name, _) in units().iter().filter(|(name, _)| name.ends_with(".service")) {
        let path = format!("{}/units/{name}", env!("CARGO_MANIFEST_DIR"));
        // It fails where the exposure is above 3.0.
        ok(Command::new("systemd-analyze").args(["security", "--no-pager", "--offline=true", "--threshold=30", &path]));
    }
}

/// The system calls that a unit allows: by name, and those that systemd allows everybody.
fn allowed(unit: &str) -> BTreeSet<String> {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let default = ok(Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", "@default"]));
    let default = String::from_utf8(default.stdout).unwrap();
    let (_, text) = units().into_iter().find(|(name, _)| name == unit).unwrap();
    let lists = text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    lists.flat_map(words).chain(words(&default)).collect()
}

/// What a run asked of the kernel. It must end with this code.
fn calls(s: &Sandbox, args: &[&str], code: i32) -> Vec<Call> {
    let traced = s.strace(&["-y"], &[&["-c", "/run/units.toml", "--boot"], args].concat());
    traced.ran.exits(code);
    traced.calls
}

/// A life of it: unit, arguments, exit code, and calls.
fn life(s: &Sandbox) -> Vec<(&'static str, Vec<Call>)> {
    let _wire = Wire::new(s, "eth7");
    s.config("units.toml", CONFIG);
    [
        ("bpfboot.service", &["apply"][..], 0),
        ("bpfboot.service", &["apply"], 0),
        ("bpfboot-check.service", &["-q", "check"], 0),
        ("bpfboot-attach@.service", &["-q", "attach", "--configured", "lo"], 0),
        ("bpfboot-attach@.service", &["-q", "attach", "--configured", "eth7"], 0),
        ("bpfboot.service", &["detach", "eth7"], 0),
        ("bpfboot-check.service", &["-q", "check"], 5),
        ("bpfboot-attach@.service", &["-q", "attach", "--configured", "eth7"], 0),
        ("bpfboot.service", &["undo"], 0),
    ]
    .map(|(unit, args, code)| (unit, calls(s, args, code)))
    .into()
}

#[test]
fn the_filters_hold_what_the_job_needs() {
    sandbox(|s| {
        for (unit, calls) in life(s) {
            let allowed = allowed(unit);
            let asked: BTreeSet<_> = calls.iter().map(|call| call.name.clone()).collect();
            // strace starts it by the first; in the unit that was systemd. The others mount, undo and apply outside.
            let walls = ["execve", "mount", "umount2"];
            let missing: Vec<_> = asked.difference(&allowed).filter(|name| !walls.contains(&name.as_str())).collect();
            assert!(missing.is_empty(), "{unit}: {missing:?}");
        }
    });
}

#[test]
fn nothing_is_written_outside_run_and_the_kernels_file_systems() {
    const CHANGES: [&str; 14] = [
        "mkdir",
        "mkdirat",
        "rmdir",
        "unlink",
        "unlinkat",
        "rename",
        "renameat",
        "renameat2",
        "link",
        "linkat",
        "symlink",
        "symlinkat",
        "truncate",
        "mknodat",
    ];
    // The loader says in /proc that it goes first when memory runs out.
    const PLACES: [&str; 7] = [
        "/run/",
        "/sys/fs/bpf",
        "/proc/sys/",
        "/proc/self/oom_score_adj",
        "/sys/kernel/tracing",
        "/sys/kernel/debug",
        "/dev/",
    ];
    sandbox(|s| {
        let mut seen = 0;
        for (unit, calls) in life(s) {
            for call in calls.iter().filter(|call| call.succeeded()) {
                let opened = call.name.starts_with("open")
                    && ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|how| call.line.contains(how));
                if !opened && !CHANGES.contains(&call.name.as_str()) {
                    continue;
                }
                // A path by itself, or one below a directory that is open: `"/run/x"`, `5</proc/sys>, "net/x"`.
                let line = call.line.replace("AT_FDCWD<", "<");
                let place = line.split('"').find(|part| part.starts_with('/')).map(str::to_owned).or_else(|| {
                    let (_, dir) = line.split_once('<')?;
                    Some(format!("{}/", dir.split_once('>')?.0))
                });
                let place = place.unwrap_or_else(|| panic!("{unit}: where is {}", call.line));
                assert!(PLACES.iter().any(|known| place.starts_with(known)), "{unit}: {}", call.line);
                seen += 1;
            }
        }
        assert!(seen > 20, "only {seen} writes: this test is blind");
    });
}
