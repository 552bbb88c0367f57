//! The loader child, taken over at its worst: what is left to it, and what is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{collections::BTreeMap, fs, process::Command};

use common::{LIVE, mount_fs, object, ok, run, sandbox, wait_for};

const EDGE: &str = "[object.edge]\npath = \"builtin:edge\"\n";

#[test]
fn a_loader_that_was_taken_over_can_do_nothing_but_load() {
    sandbox(|s| {
        mount_fs("tracefs", "/sys/kernel/tracing", "");
        s.apply(EDGE).exits(0);
        ok(Command::new("bpftool")
            .args(["map", "create", "/sys/fs/bpf/foreign", "type", "array"])
            .args(["key", "4", "value", "4", "entries", "1", "name", "foreign"]));
        let victim = s.file("/run/victim", "whole");
        let before = s.pins();
        let config = s.config("two.toml", &format!("{EDGE}[object.trace]\npath = \"builtin:trace\"\n"));
        let hostile = std::env::var("BPFBOOT_HOSTILE").expect("make test sets BPFBOOT_HOSTILE");
        let ran = run(Command::new(hostile).args(["--json", "-c", config.to_str().unwrap(), "apply"])).exits(0);
        let verdicts: BTreeMap<&str, i32> = ran
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("hostile ")?.split_once(": "))
            .map(|(name, errno)| (name, errno.parse().unwrap()))
            .collect();
        assert!(verdicts.len() > 60, "{ran:#?}");
        let wrong: Vec<_> =
            verdicts.iter().filter(|(name, errno)| name.starts_with("allowed ") != (**errno == 0)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        // Refused by a wall, and not because the attack was clumsy.
        let walls = [-libc::EPERM, -libc::EACCES, -libc::EXDEV, -libc::ENOSYS];
        let clumsy: Vec<_> = verdicts.iter().filter(|(_, errno)| **errno != 0 && !walls.contains(errno)).collect();
        assert!(clumsy.is_empty(), "{clumsy:?}");
        assert_eq!(fs::read_to_string(victim).unwrap(), "whole");
        let of_others = |pins: Vec<String>| pins.into_iter().filter(|pin| !pin.starts_with(LIVE)).collect::<Vec<_>>();
        assert_eq!(of_others(s.pins()), of_others(before));
    });
}

#[test]
fn the_loader_is_confined_while_it_waits_for_an_interface() {
    sandbox(|s| {
        let config = format!("{EDGE}programs.xdp_main = {{ attach = {{ xdp = \"late0\", wait = \"20s\" }} }}\n");
        let mut running = s.start(&config, &["apply"]);
        let pid = running.pid();
        let field = |pid: &str, name: &str| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        let child = wait_for("the loader to be confined", || {
            let child = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?.trim().to_owned();
            (field(&child, "Seccomp:").as_deref() == Some("2")).then_some(child)
        });
        assert_eq!(field(&child, "NoNewPrivs:").as_deref(), Some("1"));
        assert_eq!(field(&child, "Seccomp_filters:").as_deref(), Some("1"));
        let caps = (1u64 << 12) | (1 << 38) | (1 << 39);
        for (set, wanted) in [("CapEff:", caps), ("CapPrm:", caps), ("CapInh:", 0), ("CapAmb:", 0), ("CapBnd:", 0)] {
            assert_eq!(field(&child, set), Some(format!("{wanted:016x}")), "{set}");
        }
        for process in [&child, &pid.to_string()] {
            let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
            let limit = |name: &str| {
                let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.split_whitespace().map(str::to_owned).take(2).collect::<Vec<_>>()
            };
            assert_eq!(limit("Max core file size"), ["0", "0"], "{process}");
            if *process == child {
                assert_eq!(limit("Max file size"), ["0", "0"]);
                assert_ne!(limit("Max address space")[0], "unlimited");
                let files = limit("Max open files");
                assert_eq!(files[0], files[1]);
            }
        }
        assert!(running.runs());
        ok(Command::new("ip").args("link add late0 type veth peer name late1".split(' ')));
        let report = running.ends().exits(0);
        assert_eq!(report.step("object edge")["facts"]["confined"], "capabilities landlock seccomp");
    });
}

#[test]
fn an_upgrade_keeps_its_maps_inside_the_walls() {
    sandbox(|s| {
        let config = |name: &str| format!("[object.count]\npath = \"{}\"\n", object(name));
        s.apply(&config("count_v1")).exits(0);
        let first = s.pins();
        s.apply(&config("count_v2")).exits(0);
        assert_eq!(s.pins().len(), first.len());
    });
}
