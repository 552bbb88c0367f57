//! `bpfboot status`: what it says is what bpftool says, what is dead is called dead, and looking leaves no trace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use common::{
    LIVE, Ran, Report, Sandbox, Value, binary,
    net::{Wire, ip, xdp},
    object, ok, sandbox, wait_for,
};

const EDGE: &str = "[object.edge]\npath = \"builtin:edge\"\nprograms.xdp_main = { attach = { xdp = \"veth0\" } }\n";

/// 20 programs and 40 maps; the first program on veth0.
fn crowd() -> String {
    let rest: String = (1..20).map(|n| format!("programs.pass_{n} = {{}}\n")).collect();
    let path = object("crowd");
    format!("[object.crowd]\npath = \"{path}\"\nprograms.pass_0 = {{ attach = {{ xdp = \"veth0\" }} }}\n{rest}")
}

/// The things of a kind in a document, of all objects.
fn all<'a>(report: &'a Report, kind: &str) -> Vec<(&'a str, &'a Value)> {
    let objects = report.json["objects"].as_array().unwrap();
    let of = |object: &'a Value| {
        let name = object["name"].as_str().unwrap();
        object[kind].as_array().unwrap().iter().map(move |it| (name, it))
    };
    objects.iter().flat_map(of).collect()
}

/// The thing of that name.
#[track_caller]
fn one<'a>(report: &'a Report, kind: &str, name: &str) -> &'a Value {
    let found = all(report, kind).into_iter().find(|(_, it)| it["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {:#}", report.json)).1
}

/// The names of what is not alive, each with its state.
fn not_alive(report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["programs", "maps", "links"] {
        for (_, it) in all(report, kind).into_iter().filter(|(_, it)| it["state"] != "alive") {
            found.push(format!("{} {}", it["name"].as_str().unwrap(), it["state"].as_str().unwrap()));
        }
    }
    found
}

#[test]
fn it_says_what_bpftool_says() {
    sandbox(|s| {
        let _wire = Wire::new(s, "veth0");
        let config = format!(
            "{}{EDGE}",
            crowd().replace("veth0", "lo").replace("xdp = \"lo\"", "xdp = \"lo\", mode = \"generic\"")
        );
        s.apply(&config).exits(0);
        let seen = s.with(&config, &["status"]).exits(0);
        let (programs, maps, links) = (all(&seen, "programs"), all(&seen, "maps"), all(&seen, "links"));
        assert!(programs.len() >= 25 && maps.len() >= 50 && links.len() == 2, "{:#}", seen.json);
        assert_eq!(not_alive(&seen), [""; 0]);
        for (object, it) in programs {
            let name = it["name"].as_str().unwrap();
            let theirs = s.pinned("prog", &format!("{LIVE}/{object}/progs/{name}"));
            assert_eq!(
                [&it["id"], &it["tag"], &it["type"], &it["memory_bytes"], &it["jited_bytes"]],
                [&theirs["id"], &theirs["tag"], &theirs["type"], &theirs["bytes_memlock"], &theirs["bytes_jited"]],
                "{name}"
            );
            let apart = it["loaded_at"].as_i64().unwrap() - theirs["loaded_at"].as_i64().unwrap();
            assert!(apart.abs() <= 1, "{name} was loaded {apart} s apart");
        }
        for (object, it) in maps {
            let name = it["name"].as_str().unwrap().replace('.', "%2e");
            let path = [&name, it["name"].as_str().unwrap()]
                .map(|name| format!("{LIVE}/{object}/maps/{name}"))
                .into_iter()
                .chain(s.pins().into_iter().filter(|pin| pin.contains("/maps/") && pin.contains("rodata")))
                .find(|path| Path::new(path).exists())
                .unwrap();
            let theirs = s.pinned("map", &path);
            assert_eq!(
                [&it["id"], &it["type"], &it["max_entries"], &it["memory_bytes"], &it["key_size"], &it["value_size"]],
                [
                    &theirs["id"],
                    &theirs["type"],
                    &theirs["max_entries"],
                    &theirs["bytes_memlock"],
                    &theirs["bytes_key"],
                    &theirs["bytes_value"]
                ],
                "{path}"
            );
        }
        for (name, interface, mode) in [("xdp_main@veth0", "veth0", "native"), ("pass_0@lo", "lo", "generic")] {
            let link = one(&seen, "links", name);
            assert_eq!(link["mode"], mode);
            assert_eq!(link["target"], format!("xdp {interface} {mode}"));
            assert_eq!(xdp(interface).unwrap().0, mode);
        }
        let people = s.bpfboot(&["-c", "/run/test.toml", "status"]).exits(0).stdout;
        assert!(people.contains("xdp veth0 native") && people.contains(": healthy in "), "{people}");
        let quiet = s.bpfboot(&["-q", "-c", "/run/test.toml", "status"]).exits(0).stdout;
        assert_eq!(quiet.lines().count(), 1, "{quiet}");
    });
}

#[test]
fn what_is_dead_missing_or_replaced_is_called_so() {
    sandbox(|s| {
        let nothing = s.with(EDGE, &["status"]).exits(5);
        assert!(nothing.json["objects"][0]["absent"].as_str().unwrap().contains("not loaded"), "{:#}", nothing.json);
        let _wire = Wire::new(s, "veth0");
        s.apply(EDGE).exits(0);
        s.with(EDGE, &["status"]).exits(0);
        let (progs, maps) = (format!("{LIVE}/edge/progs"), format!("{LIVE}/edge/maps"));
        fs::remove_file(format!("{maps}/scratch")).unwrap();
        fs::remove_file(format!("{progs}/dns")).unwrap();
        let (drops, count) = (format!("{maps}/drops"), s.dump(&format!("{maps}/drops")).len());
        fs::remove_file(&drops).unwrap();
        ok(Command::new("bpftool")
            .args(format!("map create {drops} type percpu_array key 4 value 8 entries {count} name drops").split(' ')));
        fs::remove_file(format!("{progs}/tls")).unwrap();
        ok(Command::new("bpftool").args(["prog", "load", &object("count_v1"), &format!("{progs}/tls")]));
        fs::remove_file(format!("{progs}/http")).unwrap();
        ok(Command::new("bpftool")
            .args(format!("map create {progs}/http type array key 4 value 8 entries 1 name x").split(' ')));
        ip("link del veth0");
        let seen = s.with(EDGE, &["status"]).exits(5);
        assert_eq!(
            not_alive(&seen),
            [
                "dns missing",
                "http replaced",
                "tls replaced",
                "drops replaced",
                "scratch missing",
                "xdp_main@veth0 dead"
            ]
        );
        assert_eq!(seen.json["health"], "drift");
        let quiet = s.bpfboot(&["-q", "-c", "/run/test.toml", "status"]).exits(5).stdout;
        for line in [
            "program edge/http is replaced: a map is pinned there",
            "map edge/scratch is missing: the pin is gone",
            "link edge/xdp_main@veth0 is dead: what it was attached to is gone",
            "mend: bpfboot apply",
        ] {
            assert!(quiet.contains(line), "{quiet}");
        }
        ip("link add veth0 type veth peer name veth9");
        s.apply(EDGE).exits(0);
        s.with(EDGE, &["status"]).exits(0);
    });
}

#[test]
fn a_link_in_another_network_namespace_is_alive_there() {
    sandbox(|s| {
        let _wire = Wire::new(s, "veth0");
        s.apply(EDGE).exits(0);
        let elsewhere = Command::new("unshare")
            .args(["--net", binary().to_str().unwrap(), "--json", "-c", "/run/test.toml", "status"])
            .output()
            .unwrap();
        let seen = Report::of(Ran::of(elsewhere)).exits(0);
        let link = one(&seen, "links", "xdp_main@veth0");
        assert_eq!((&link["state"], &link["mode"]), (&"alive".into(), &"".into()), "{link}");
        assert_eq!(link["why"], "in another network namespace");
    });
}

#[test]
fn an_apply_at_work_is_no_drift() {
    sandbox(|s| {
        let _wire = Wire::new(s, "veth0");
        let config = |rate: u32| format!("{EDGE}globals.limit_burst = {rate}\n");
        s.apply(EDGE).exits(0);
        let mut told = Vec::new();
        let mut watching = s.command(&["--json", "-c", "/run/test.toml", "status", "--watch", "10ms"]);
        let mut child = watching.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        for round in 0..40 {
            let path = s.config("again.toml", &config(round + 2));
            s.json(&["-c", path.to_str().unwrap(), "apply"]).exits(0);
        }
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        for line in lines {
            let document: Value = serde_json::from_str(&line.unwrap()).unwrap();
            told.push(document["health"].as_str().unwrap().to_owned());
        }
        assert_eq!(child.wait().unwrap().code(), Some(0), "{told:?}");
        assert!(told.len() > 3 && told.iter().all(|health| health == "healthy"), "{told:?}");
    });
}

#[test]
fn runs_are_counted_while_they_are_sampled_and_only_then() {
    sandbox(|s| {
        let wire = Wire::new(s, "veth0");
        let loaded = s.apply(EDGE).exits(0);
        wire.passes(20);
        let before = s.with(EDGE, &["status"]).exits(0);
        assert_eq!(one(&before, "programs", "xdp_main")["runs"], 0, "nobody asked for statistics");
        let sampling = s.start(EDGE, &["status", "--sample", "1500ms"]);
        let descriptors = format!("/proc/{}/fd", sampling.pid());
        wait_for("the statistics", || {
            let held = fs::read_dir(&descriptors).ok()?.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
            held.into_iter().any(|target| target.to_str() == Some("anon_inode:bpf-stats")).then_some(())
        });
        assert_eq!(s.sysctl("kernel.bpf_stats_enabled"), "0", "no sysctl is touched");
        // The first look takes a few milliseconds.
        std::thread::sleep(Duration::from_millis(300));
        wire.passes(50);
        let seen = sampling.ends().exits(0);
        let program = one(&seen, "programs", "xdp_main");
        assert_eq!(program["sampled_runs"], 50, "{program}");
        assert!(program["sampled_ns"].as_u64().unwrap() > 50, "{program}");
        assert_eq!(program["id"].as_u64(), Some(loaded.kernel_id("program edge/xdp_main")));
        let us = seen.json["sampled_us"].as_u64().unwrap();
        assert!((1_500_000..5_000_000).contains(&us), "{us}");
        wire.passes(20);
        let after = s.with(EDGE, &["status"]).exits(0);
        assert_eq!(one(&after, "programs", "xdp_main")["runs"], 50, "statistics are off again");
        assert_eq!(one(&after, "programs", "xdp_main")["sampled_runs"], Value::Null);
    });
}

#[test]
fn maps_are_as_full_as_what_was_put_into_them() {
    sandbox(|s| {
        let _wire = Wire::new(s, "veth0");
        let config = crowd();
        s.apply(&config).exits(0);
        let maps = format!("{LIVE}/crowd/maps");
        let fill = |map: &str, count: u32| {
            let batch: String = (0..count)
                .map(|n| {
                    let key = n.to_ne_bytes().map(|byte| byte.to_string()).join(" ");
                    format!("map update pinned {maps}/{map} key {key} value 1 0 0 0 0 0 0 0\n")
                })
                .collect();
            let file = s.file("/run/batch", &batch);
            ok(Command::new("bpftool").args(["batch", "file", file.to_str().unwrap()]));
        };
        for (map, count) in [("map_0", 512), ("map_4", 7), ("map_37", 5_000), ("map_2", 1_000)] {
            fill(map, count);
        }
        for _ in 0..10 {
            s.verdict(&format!("{LIVE}/crowd/progs/pass_19"));
        }
        let (seen, counted) = (s.with(&config, &["status"]).exits(0), s.with(&config, &["status", "--count"]).exits(0));
        let entries = |report: &Report, map: &str| one(report, "maps", map)["entries"].clone();
        for (map, small, all) in [
            ("map_0", Some(512), Some(512)),
            ("map_4", Some(7), Some(7)),
            ("map_8", Some(0), Some(0)),
            ("map_36", Some(0), Some(0)),
            ("map_37", None, Some(5_000)),
            ("map_2", None, Some(1_000)),
            ("map_3", None, None),
        ] {
            assert_eq!([entries(&seen, map).as_u64(), entries(&counted, map).as_u64()], [small, all], "{map}");
        }
        // Eight bytes each, and eight in front of them; what was discarded takes room until it is read.
        for ring in ["map_38", "map_39"] {
            assert_eq!(one(&seen, "maps", ring)["backlog_bytes"], 160, "{ring}");
        }
        let people = s.bpfboot(&["-c", "/run/test.toml", "status", "--count"]).exits(0).stdout;
        assert!(people.contains("512/512 100%") && people.contains("5000/100000 5%"), "{people}");
        assert!(people.contains("160 B/64.0 KiB 0% unread"), "{people}");
    });
}

#[test]
fn lost_events_are_counted_as_the_object_counts_them() {
    sandbox(|s| {
        let config = "[mounts]\ntracefs = true\n[object.trace]\npath = \"builtin:trace\"\nmaps.events.max-entries = 4096\nprograms.trace_openat = {}\n";
        s.apply(config).exits(0);
        for _ in 0..400 {
            let _ = fs::File::open("/run/no-such-file");
        }
        let drops = || s.counter(&format!("{LIVE}/trace/maps/drops"), 0);
        let before = drops();
        let seen = s.with(config, &["status"]).exits(0);
        let lost = seen.json["objects"][0]["events_lost"].as_u64().unwrap();
        assert!(before > 100 && (before..=drops()).contains(&lost), "{before} <= {lost}");
        let ring = one(&seen, "maps", "events");
        assert!(ring["backlog_bytes"].as_u64().unwrap() > 3_000, "{ring}");
    });
}

/// Everything of the kernel's that a look could have left: first programs, maps and links, of which those of an earlier
/// test may still be going.
fn traces(s: &Sandbox) -> (BTreeSet<String>, String) {
    let ids = |kind: &str| {
        let shown = s.bpftool(&[kind, "show"]);
        shown.as_array().unwrap().iter().map(|it| format!("{kind} {}", it["id"])).collect::<Vec<_>>()
    };
    let keys = ["kernel.bpf_stats_enabled", "kernel.unprivileged_bpf_disabled", "kernel.perf_event_paranoid"];
    let mut net: Vec<_> = fs::read_dir("/proc/sys/net/core").unwrap().map(|entry| entry.unwrap().path()).collect();
    net.sort();
    let net: Vec<_> = net.iter().map(|key| fs::read_to_string(key).unwrap_or_default()).collect();
    let rest = format!(
        "{:?}\n{:?}\n{:?}\n{}",
        keys.map(|key| s.sysctl(key)),
        s.pins(),
        fs::read_dir("/run").unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>(),
        net.concat(),
    );
    (["prog", "map", "link"].into_iter().flat_map(ids).collect(), rest)
}

#[test]
fn looking_leaves_no_trace() {
    sandbox(|s| {
        let _wire = Wire::new(s, "veth0");
        let config = crowd();
        s.apply(&config).exits(0);
        s.with(&config, &["status"]).exits(0);
        let before = traces(s);
        for words in [&["status"][..], &["status", "--count"], &["status", "--sample", "50ms"], &["status", "-q"]] {
            s.bpfboot(&[&["-c", "/run/test.toml"], words].concat()).exits(0);
            let after = traces(s);
            assert_eq!(after.0.difference(&before.0).next(), None, "{words:?}");
            assert_eq!(after.1, before.1, "{words:?}");
        }
    });
}

#[test]
fn a_textfile_is_written_in_one_move() {
    sandbox(|s| {
        let _wire = Wire::new(s, "veth0");
        s.apply(EDGE).exits(0);
        fs::create_dir("/run/metrics").unwrap();
        let file = "/run/metrics/bpfboot.prom";
        s.with(EDGE, &["status", "--sample", "100ms", "--prometheus", file]).exits(0);
        let text = fs::read_to_string(file).unwrap();
        for line in [
            "bpfboot_healthy 1",
            "bpfboot_link_up{object=\"edge\",link=\"xdp_main@veth0\",program=\"xdp_main\",target=\"xdp veth0 native\"} 1",
            "bpfboot_ring_size_bytes{object=\"edge\",map=\"events\",type=\"ringbuf\"} 16777216",
            "bpfboot_events_lost_total{object=\"edge\"} 0",
            "# TYPE bpfboot_program_runs_total counter",
        ] {
            assert!(text.lines().any(|known| known == line), "no {line} in\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("bpfboot_") && value.parse::<f64>().is_ok(), "{line}");
        }
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir("/run/metrics").unwrap().count(), 1, "no temporary file stays");
        ip("link del veth0");
        s.with(EDGE, &["status", "--prometheus", file]).exits(5);
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains("bpfboot_healthy 0\n") && text.contains("target=\"xdp veth0 native\"} 0\n"), "{text}");
        let bad = s.bpfboot(&["-c", "/run/test.toml", "status", "--prometheus", "/run/test.toml/x"]).exits(1);
        assert!(bad.stderr.contains("/run/test.toml/x was not written"), "{bad:?}");
    });
}

#[test]
fn it_watches_until_it_is_stopped() {
    sandbox(|s| {
        let _wire = Wire::new(s, "veth0");
        s.apply(EDGE).exits(0);
        let config = s.config("watch.toml", EDGE);
        let mut command = s.command(&["--json", "-c", config.to_str().unwrap(), "status", "--watch", "20ms"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..3 {
            let document: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            assert_eq!(document["health"], "healthy");
        }
        ip("link del veth0");
        wait_for("the dead link", || {
            let document: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            (document["health"] == "drift").then_some(())
        });
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        while lines.next().is_some() {}
        assert_eq!(child.wait().unwrap().code(), Some(5), "the last look");
    });
}
