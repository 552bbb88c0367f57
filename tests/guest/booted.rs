//! A boot with systemd: what bpfboot.service made of it, asked from outside.

use std::{collections::BTreeMap, fs, process::Command};

use crate::{
    common::{LIVE, Report, Sandbox, Value, events::Events, machine, net::xdp, ok, say, wait_for},
    kernels::Kernel,
};

/// Properties of a unit.
fn unit(name: &str) -> BTreeMap<String, String> {
    let shown = ok(Command::new("systemctl").args(["show", name]));
    let lines = String::from_utf8(shown.stdout).unwrap();
    lines.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect()
}

fn micros(unit: &BTreeMap<String, String>, property: &str) -> u64 {
    unit[property].parse().unwrap()
}

/// Asks bpftool for each program, map and link of the report; gives how many there are.
fn all_alive(s: &Sandbox, report: &Value) -> BTreeMap<&'static str, usize> {
    let mut alive = BTreeMap::new();
    let good = |step: &&Value| matches!(step["status"].as_str(), Some("done" | "already"));
    for step in report["steps"].as_array().unwrap().iter().filter(good) {
        let Some((kind, name)) = step["id"].as_str().unwrap().split_once(' ') else { continue };
        let (shelf, kind) = match kind {
            "program" => ("progs", "prog"),
            "map" => ("maps", "map"),
            "link" => ("links", "link"),
            _ => continue,
        };
        let (object, name) = name.split_once('/').unwrap();
        let shown = s.pinned(kind, &format!("{LIVE}/{object}/{shelf}/{}", name.replace('.', "_2e")));
        assert_eq!(shown["id"].to_string(), step["facts"]["id"].as_str().unwrap(), "{step}: {shown}");
        if kind == "link" {
            let program = s.bpftool(&["prog", "show", "id", &shown["prog_id"].to_string()]);
            assert_eq!(program["id"], shown["prog_id"], "{step}: {program}");
        }
        *alive.entry(kind).or_default() += 1;
    }
    alive
}

#[test]
fn booted_with_systemd_everything_is_up_before_the_network() {
    let (s, kernel) = (machine(), Kernel::running());
    assert_eq!(fs::read_to_string("/run/vm-state").unwrap().trim(), "running", "{}", failed_units());

    // The unit, and its place in the boot.
    let service = unit("bpfboot.service");
    let poor = kernel == Kernel::Uml;
    assert_eq!(service["ActiveState"], "active");
    assert_eq!(service["ExecMainStatus"], if poor { "3" } else { "0" });
    for later in ["network-pre.target", "sysinit.target"] {
        let later = unit(later);
        assert_eq!(later["ActiveState"], "active", "{}", later["Id"]);
        let (up, then) =
            (micros(&service, "ActiveEnterTimestampMonotonic"), micros(&later, "ActiveEnterTimestampMonotonic"));
        assert!(up <= then, "bpfboot at {up}, {} at {then}", later["Id"]);
    }

    // The report: healthy, or degraded for the one reason that this kernel gives: no tracepoints.
    let report: Value = serde_json::from_str(&fs::read_to_string("/run/bpfboot/report.json").unwrap()).unwrap();
    let faults: Vec<_> = report["steps"].as_array().unwrap().iter().filter(|step| step["fault"].is_object()).collect();
    assert_eq!(report["health"], if poor { "degraded" } else { "healthy" }, "{report:#}");
    assert_eq!(faults.is_empty(), !poor, "{faults:#?}");
    for fault in faults {
        let text = format!("{} {}", fault["fault"]["what"], fault["fault"]["mend"]).replace("raw_", "");
        let reason = "this kernel knows no tracepoint programs";
        assert!(fault["id"].as_str().unwrap().contains(" trace") && text.contains(reason), "{fault}");
    }

    // What it says is there, is.
    let alive = all_alive(&s, &report);
    let expected = match kernel {
        // Raw tracepoints do the work of five tracepoints, and there are no kprobes.
        Kernel::V5_10 => [("link", 9), ("map", 20), ("prog", 13)],
        Kernel::Uml => [("link", 1), ("map", 12), ("prog", 5)],
        _ => [("link", 15), ("map", 20), ("prog", 19)],
    };
    assert_eq!(alive, BTreeMap::from(expected));
    counts_packets(&s, kernel);
    if !poor {
        sees_files();
    }
    let check = Report::of(s.bpfboot(&["--json", "check"]));
    let drifted: Vec<_> = check.steps().iter().filter(|step| step["status"] == "drift").collect();
    assert_eq!(check.ran.code, Some(if poor { 3 } else { 0 }), "{drifted:#?}");
    say(&format!(
        "bpfboot.service: {} ms, up at {} ms; {alive:?}",
        (micros(&service, "ExecMainExitTimestampMonotonic") - micros(&service, "ExecMainStartTimestampMonotonic"))
            / 1000,
        micros(&service, "ActiveEnterTimestampMonotonic") / 1000
    ));
}

fn failed_units() -> String {
    let failed = ok(Command::new("systemctl").args(["--failed", "--plain", "--no-legend"]));
    let log = ok(Command::new("journalctl").args(["-b", "-o", "cat", "-u", "bpfboot.service"]));
    String::from_utf8_lossy(&[failed.stdout, log.stdout].concat()).into_owned()
}

/// Packets from outside of the machine, where it has a card.
fn counts_packets(s: &Sandbox, kernel: Kernel) {
    let program = s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["id"].as_u64().unwrap();
    let counted = || s.counter(&format!("{LIVE}/edge/maps/counters"), 0);
    if kernel == Kernel::Uml {
        assert_eq!(xdp("lo"), Some(("generic", program)));
        let before = counted();
        ok(Command::new("busybox").args(["ping", "-q", "-c", "2", "127.0.0.1"]));
        assert!(counted() >= before + 4, "two requests and two answers");
        return;
    }
    assert_eq!(xdp("eth0"), Some(("native", program)));
    for words in ["addr add 10.0.2.15/24 dev eth0", "link set eth0 up"] {
        ok(Command::new("ip").args(words.split(' ')));
    }
    let before = counted();
    wait_for("answers of the gateway", || {
        let _ = Command::new("busybox").args(["arping", "-q", "-c", "2", "-w", "2", "-I", "eth0", "10.0.2.2"]).status();
        (counted() >= before + 2).then_some(())
    });
}

fn sees_files() {
    let mut events = Events::open(&format!("{LIVE}/trace/maps/events"));
    wait_for("the event of our own open", || {
        let _ = fs::File::open("/run/a-file-that-is-not-there");
        events.read();
        events.seen.iter().find(|event| event.opens("/run/a-file-that-is-not-there")).map(|_| ())
    });
}
