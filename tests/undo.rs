//! What goes back, what stays, and that nobody else's value is taken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{fs, path::Path, process::Command};

use common::{
    LIVE, Sandbox, mount_fs,
    net::{Wire, ip, xdp},
    object, ok, sandbox,
};

const TTL: &str = "net.ipv4.ip_default_ttl";
const FIN: &str = "net.ipv4.tcp_fin_timeout";
const MAPS: &str = "vm.max_map_count";

/// A switch of tracefs, seen through a mount that bpfboot knows nothing of.
struct Switch(String);

impl Switch {
    const PATH: &str = "/run/tracefs/options/overwrite";

    fn new() -> Self {
        fs::create_dir("/run/tracefs").unwrap();
        mount_fs("tracefs", "/run/tracefs", "");
        Self(Self::is())
    }

    fn is() -> String {
        fs::read_to_string(Self::PATH).unwrap().trim().to_owned()
    }

    fn other(&self) -> &str {
        if self.0 == "1" { "0" } else { "1" }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if Self::is() != self.0 {
            fs::write(Self::PATH, &self.0).unwrap();
        }
    }
}

/// All kinds of change at once.
fn everything(s: &Sandbox, switch: &Switch, maps: &str, last: &str) -> String {
    assert!(!s.is_mounted("tracefs", "/sys/kernel/tracing"));
    format!(
        "[mounts]\ntracefs = true\n[knobs]\n\"tracefs/options/overwrite\" = {}\n[sysctl]\n\"{TTL}\" = 77\n\"{MAPS}\" = {maps}\n\
         \"{FIN}\" = {{ value = 30, phase = \"seal\" }}\n\
         [object.count]\npath = \"{}\"\nprograms.count = {{ attach = {{ xdp = \"lo\", mode = \"generic\" }} }}\n\
         [object.trace]\npath = \"builtin:trace\"\n{last}",
        switch.other(),
        object("count_v1")
    )
}

/// The machine is as it was before any run.
#[track_caller]
fn as_before(s: &Sandbox, switch: &Switch, maps: &str) {
    assert_eq!((s.sysctl(TTL), s.sysctl(FIN), s.sysctl(MAPS)), ("64".into(), "60".into(), maps.into()));
    assert_eq!(Switch::is(), switch.0);
    assert_eq!(s.pins(), [""; 0]);
    assert_eq!(xdp("lo"), None);
    assert!(!s.is_mounted("tracefs", "/sys/kernel/tracing"));
    for file in ["journal", "undo"] {
        assert!(!Path::new("/run/bpfboot").join(file).exists(), "{file} is left");
    }
}

#[test]
fn a_failed_run_leaves_nothing() {
    sandbox(|s| {
        let (guard, switch) = (s.guard(MAPS), Switch::new());
        let more = (guard.was().parse::<u64>().unwrap() + 1).to_string();
        for (last, id) in [
            (format!("[object.refused]\npath = \"{}\"", object("refused")), "program refused/wild"),
            (
                format!(
                    "[object.z]\npath = \"{}\"\nprograms.count = {{ attach = {{ xdp = \"no0\", wait = \"1ms\" }} }}",
                    object("count_v2")
                ),
                "object z",
            ),
        ] {
            let report = s.apply(&everything(s, &switch, &more, &last)).exits(1);
            assert!(report.step(id)["fault"].is_object());
            for undone in
                [format!("sysctl {TTL}"), format!("sysctl {MAPS}"), "mount tracefs /sys/kernel/tracing".to_owned()]
            {
                assert_eq!(report.status(&undone), "undone", "{undone}");
            }
            as_before(s, &switch, guard.was());
        }
    });
}

#[test]
fn a_failure_in_the_seal_phase_takes_the_commit_back() {
    sandbox(|s| {
        let (guard, switch) = (s.guard(MAPS), Switch::new());
        let more = (guard.was().parse::<u64>().unwrap() + 1).to_string();
        // Only the kernel knows that this is no range, and it says so when it is written.
        let seal = "[sysctl]\n\"net.ipv4.ip_local_port_range\" = { value = \"5000 4000\", phase = \"seal\" }\n";
        let config = everything(s, &switch, &more, "").replace("[sysctl]\n", seal);
        let report = s.apply(&config).exits(1);
        assert_eq!(report.fault("sysctl net.ipv4.ip_local_port_range").0, "sysctl");
        assert!(
            report.steps().iter().any(|step| step["phase"] == "commit" && step["status"] == "undone"),
            "{:#}",
            report.json
        );
        as_before(s, &switch, guard.was());
        // With a generation before it, that one comes back, its links at their old program.
        s.apply(&format!(
            "[object.count]\npath = \"{}\"\nprograms.count = {{ attach = {{ xdp = \"lo\", mode = \"generic\" }} }}",
            object("count_v2")
        ))
        .exits(0);
        let (before, program) = (s.state(), xdp("lo").unwrap());
        s.apply(&config).exits(1);
        assert_eq!((s.state(), xdp("lo").unwrap()), (before, program));
    });
}

#[test]
fn undo_restores_everything_and_a_second_undo_finds_nothing() {
    sandbox(|s| {
        let (guard, switch) = (s.guard(MAPS), Switch::new());
        let more = (guard.was().parse::<u64>().unwrap() + 1).to_string();
        let config = everything(s, &switch, &more, "");
        s.apply(&config).exits(0);
        assert_eq!((s.sysctl(TTL), s.sysctl(FIN), s.sysctl(MAPS)), ("77".into(), "30".into(), more));
        assert_eq!(Switch::is(), switch.other());
        assert!(xdp("lo").is_some() && s.is_mounted("tracefs", "/sys/kernel/tracing"));
        s.apply(&config).exits(0).nothing_done();
        s.with(&config, &["undo"]).exits(0);
        as_before(s, &switch, guard.was());
        let second = s.with(&config, &["undo"]).exits(0);
        assert!(second.steps().is_empty() && second.notes().contains("nothing to undo"), "{:#}", second.json);
        as_before(s, &switch, guard.was());
    });
}

#[test]
fn undo_goes_back_to_before_the_first_of_many_runs() {
    sandbox(|s| {
        for ttl in [70, 80, 90] {
            s.apply(&format!("[sysctl]\n\"{TTL}\" = {ttl}")).exits(0);
            assert_eq!(s.sysctl(TTL), ttl.to_string());
        }
        s.json(&["undo"]).exits(0);
        assert_eq!(s.sysctl(TTL), "64");
    });
}

#[test]
fn a_value_that_somebody_else_has_set_since_is_left_alone() {
    sandbox(|s| {
        s.apply(&format!("[sysctl]\n\"{TTL}\" = 77\n\"{FIN}\" = 30")).exits(0);
        s.set_sysctl(TTL, "99");
        let report = s.json(&["undo"]).exits(0);
        assert_eq!(report.status(&format!("sysctl {TTL}")), "skipped");
        assert_eq!((s.sysctl(TTL), s.sysctl(FIN)), ("99".into(), "60".into()));
        s.json(&["undo"]).exits(0);
        assert_eq!(s.sysctl(TTL), "99", "nor by a second undo");
    });
}

#[test]
fn a_key_that_left_the_configuration_goes_back_at_the_next_apply() {
    sandbox(|s| {
        s.apply(&format!("[sysctl]\n\"{TTL}\" = 77\n\"{FIN}\" = 30")).exits(0);
        s.check(&format!("[sysctl]\n\"{FIN}\" = 30")).exits(5);
        s.apply(&format!("[sysctl]\n\"{FIN}\" = 30")).exits(0);
        assert_eq!((s.sysctl(TTL), s.sysctl(FIN)), ("64".into(), "30".into()));
        s.apply(&format!("[sysctl]\n\"{FIN}\" = 30")).exits(0).nothing_done();
        s.json(&["undo"]).exits(0);
        assert_eq!(s.sysctl(FIN), "60");
    });
}

#[test]
fn an_object_that_left_the_configuration_is_detached_and_unpinned() {
    sandbox(|s| {
        let count = format!(
            "[object.count]\npath = \"{}\"\nprograms.count = {{ attach = {{ xdp = \"lo\", mode = \"generic\" }} }}\n",
            object("count_v1")
        );
        let edge = "[object.edge]\npath = \"builtin:edge\"\n";
        s.apply(&(count + edge)).exits(0);
        let kept = s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["id"].clone();
        assert!(xdp("lo").is_some());
        s.check(edge).exits(5);
        s.apply(edge).exits(0);
        common::wait_for("the link to go with its last pin", || xdp("lo").is_none().then_some(()));
        assert!(!s.pins().iter().any(|pin| pin.contains("/live/count")), "{:#?}", s.pins());
        assert_eq!(s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["id"], kept, "the other was not touched");
        s.apply(edge).exits(0).nothing_done();
    });
}

#[test]
fn a_broken_configuration_keeps_nobody_from_undoing() {
    sandbox(|s| {
        let root = "/sys/fs/bpf/elsewhere";
        s.apply(&format!("[bpf]\nroot = \"{root}\"\n[sysctl]\n\"{TTL}\" = 77\n[object.edge]\npath = \"builtin:edge\""))
            .exits(0);
        assert!(s.pins().iter().any(|pin| pin.starts_with(root)));
        let report = s.with("this is not toml", &["undo"]).exits(0);
        assert!(report.notes().contains("configuration cannot be read"), "{:#}", report.json);
        assert_eq!((s.sysctl(TTL), s.pins()), ("64".into(), vec![]));
    });
}

#[test]
fn row_52_a_foreign_pin_in_our_directory_survives_every_run() {
    sandbox(|s| {
        let edge = "[object.edge]\npath = \"builtin:edge\"\n";
        s.apply(edge).exits(0);
        ok(Command::new("bpftool").args(["prog", "load", &object("count_v1"), "/sys/fs/bpf/mine"]));
        let id = s.pinned("prog", "/sys/fs/bpf/mine")["id"].clone();
        let places = [format!("{LIVE}/edge/progs/mine"), format!("{LIVE}/mine")];
        for place in &places {
            ok(Command::new("bpftool").args(["prog", "pin", "pinned", "/sys/fs/bpf/mine", place]));
        }
        s.apply(edge).exits(0).nothing_done();
        // A new generation takes the old one's place.
        s.apply("[object.edge]\npath = \"builtin:edge\"\nmaps.counters.pin = false\n").exits(0);
        for place in &places {
            assert_eq!(s.pinned("prog", place)["id"], id, "{place}");
        }
        let undone = s.json(&["undo"]);
        assert!(undone.json.to_string().contains("not ours"), "what is left is named: {:#}", undone.json);
        for place in &places {
            assert_eq!(s.pinned("prog", place)["id"], id, "{place}");
        }
        assert!(!s.pins().iter().any(|pin| pin.ends_with("xdp_main")), "ours is gone: {:#?}", s.pins());
    });
}

#[test]
fn undo_detaches_at_once_what_attach_attached() {
    sandbox(|s| {
        let _wire = Wire::new(s, "veth0");
        s.apply("[object.edge]\npath = \"builtin:edge\"\n").exits(0);
        s.with("[object.edge]\npath = \"builtin:edge\"\n", &["attach", "veth0"]).exits(0);
        s.json(&["undo"]).exits(0);
        assert_eq!(xdp("veth0"), None, "when undo says so it is so");
        assert_eq!(s.pins(), [""; 0]);
        ip("link del veth0");
    });
}
