//! XDP on a real wire between two network namespaces: what was sent is counted, and who owns the hook is respected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use common::{
    LIVE, Sandbox,
    net::{Wire, ip, xdp},
    object, ok, sandbox, wait_for,
};

const EDGE: &str = "[object.edge]\npath = \"builtin:edge\"\n";

/// The object `count`, attached to an interface by configuration.
fn count(version: &str, attach: &str) -> String {
    format!("[object.count]\npath = \"{}\"\nprograms.count = {{ {attach} }}\n", object(version))
}

/// Puts a program of somebody else on an interface; gives its id.
fn foreign(s: &Sandbox, interface: &str) -> u64 {
    ok(Command::new("bpftool").args(["prog", "load", &object("count_v1"), "/sys/fs/bpf/foreign"]));
    ok(Command::new("bpftool").args([
        "net",
        "attach",
        "xdpgeneric",
        "pinned",
        "/sys/fs/bpf/foreign",
        "dev",
        interface,
    ]));
    let id = s.pinned("prog", "/sys/fs/bpf/foreign")["id"].as_u64().unwrap();
    assert_eq!(xdp(interface), Some(("generic", id)));
    id
}

#[test]
fn attached_to_a_veth_it_counts_exactly_the_packets_sent() {
    sandbox(|s| {
        let wire = Wire::new(s, "veth0");
        let loaded = s.apply(EDGE).exits(0);
        let counters = format!("{LIVE}/edge/maps/counters");
        wire.passes(10);
        assert_eq!(s.counter(&counters, 0), 0, "pinned and not attached, it sees nothing");

        let attached = s.with(EDGE, &["attach", "veth0"]).exits(0);
        let program = loaded.kernel_id("program edge/xdp_main");
        assert_eq!(xdp("veth0"), Some(("native", program)), "as ip sees it");
        let link = s.pinned("link", &format!("{LIVE}/edge/links/xdp_main@veth0"));
        assert_eq!(link["id"].as_u64(), Some(attached.kernel_id("link edge/xdp_main@veth0")), "{link}");
        assert_eq!(link["prog_id"].as_u64(), Some(program), "{link}");
        for _ in 0..50 {
            wire.passes(20);
        }
        assert_eq!(s.counter(&counters, 0), 1000, "packets");
        assert_eq!(s.counter(&counters, 1), 64_000, "bytes");

        let again = s.with(EDGE, &["attach", "veth0"]).exits(0).nothing_done();
        assert_eq!(again.status("link edge/xdp_main@veth0"), "already");
        assert_eq!(s.pinned("link", &format!("{LIVE}/edge/links/xdp_main@veth0")), link, "the same link");
        s.check(EDGE).exits(0);
        s.apply(EDGE).exits(0).nothing_done();
        assert_eq!(xdp("veth0"), Some(("native", program)), "apply lets stand what attach made");

        s.with(EDGE, &["detach", "veth0"]).exits(0);
        assert_eq!(xdp("veth0"), None);
        wire.passes(10);
        assert_eq!(s.counter(&counters, 0), 1000, "no longer counted");
        assert_eq!(s.pinned("prog", &format!("{LIVE}/edge/progs/xdp_main"))["id"].as_u64(), Some(program));
        let nothing = s.with(EDGE, &["detach", "veth0"]).exits(0);
        assert_eq!(nothing.status("detach veth0"), "already");
        s.apply(EDGE).exits(0).nothing_done();
    });
}

#[test]
fn the_mode_asked_for_is_the_mode_that_ip_shows() {
    sandbox(|s| {
        let wire = Wire::new(s, "veth0");
        s.apply(EDGE).exits(0);
        for (asked, shown) in [("generic", "generic"), ("native", "native"), ("any", "native")] {
            let report = s.with(EDGE, &["attach", "veth0", "--mode", asked]).exits(0);
            assert_eq!(report.step("link edge/xdp_main@veth0")["now"], format!("xdp veth0 {shown}"));
            assert_eq!(xdp("veth0").unwrap().0, shown);
            let before = s.counter(&format!("{LIVE}/edge/maps/counters"), 0);
            wire.passes(25);
            assert_eq!(s.counter(&format!("{LIVE}/edge/maps/counters"), 0), before + 25, "{asked}");
            if asked == "generic" {
                // Another mode is another hook: it cannot change without a gap, so it is not changed behind one's back.
                let other = s.with(EDGE, &["attach", "veth0", "--mode", "native"]).exits(1);
                let (cause, text) = other.fault("link edge/xdp_main@veth0");
                assert!(
                    cause == "attach" && text.contains("generic") && text.contains("bpfboot detach veth0"),
                    "{text}"
                );
                assert_eq!(xdp("veth0").unwrap().0, "generic");
            }
            s.with(EDGE, &["detach", "veth0"]).exits(0);
        }
    });
}

#[test]
fn row_60_an_upgrade_under_traffic_replaces_the_program_in_place() {
    sandbox(|s| {
        let wire = Wire::new(s, "veth0");
        let attach = "attach = { xdp = \"veth0\" }";
        let first = s.apply(&count("count_v1", attach)).exits(0);
        let (link, hits) = (format!("{LIVE}/count/links/count@veth0"), format!("{LIVE}/count/maps/hits"));
        let (link_id, map_id) = (s.pinned("link", &link)["id"].clone(), s.pinned("map", &hits)["id"].clone());

        let (stop, mut sent) = (AtomicBool::new(false), 0);
        let (mut from, mut to) = (wire.sender(), wire.receiver());
        let second = thread::scope(|scope| {
            // In step with what arrives, so that the wire's own ring of 256 never overflows.
            let traffic = scope.spawn(|| {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    from.send(16);
                    sent += 16;
                    assert_eq!(to.receive(16), 16, "after {sent} packets");
                }
                sent
            });
            wait_for("the old program to count", || (s.counter(&hits, 0) > 100).then_some(()));
            // Each upgrade in its turn, there and back, so that the swap happens many times under load.
            for _ in 0..3 {
                s.apply(&count("count_v2", attach)).exits(0);
                s.apply(&count("count_v1", attach)).exits(0);
            }
            let second = s.apply(&count("count_v2", attach)).exits(0);
            let at_swap = s.counter(&hits, 1);
            wait_for("the new program to count", || (s.counter(&hits, 1) > at_swap + 100).then_some(()));
            stop.store(true, Ordering::Relaxed);
            sent += traffic.join().unwrap();
            second
        });
        let (old, new) = (s.counter(&hits, 0), s.counter(&hits, 1));
        assert_eq!(old + new, sent, "every packet was counted by one of the two: {old} + {new}");
        let id = second.kernel_id("program count/count");
        assert_ne!(id, first.kernel_id("program count/count"));
        assert_eq!(xdp("veth0"), Some(("native", id)));
        assert_eq!(s.pinned("link", &link)["id"], link_id, "the link is the same one");
        assert_eq!(s.pinned("map", &hits)["id"], map_id, "so is the map");
        s.apply(&count("count_v2", attach)).exits(0).nothing_done();
    });
}

#[test]
fn row_60_a_foreign_program_is_reported_with_its_id_and_not_touched() {
    sandbox(|s| {
        let _wire = Wire::new(s, "veth0");
        s.apply(EDGE).exits(0);
        let id = foreign(s, "veth0");
        let before = s.pins();
        for mode in ["native", "generic", "any"] {
            let report = s.with(EDGE, &["attach", "veth0", "--mode", mode]).exits(1);
            let (cause, text) = report.fault("link edge/xdp_main@veth0");
            assert_eq!(cause, "busy");
            assert!(text.contains(&format!("XDP program {id} ")) && text.contains("somebody else"), "{text}");
        }
        let config = count("count_v1", "attach = { xdp = \"veth0\" }");
        let report = s.apply(&(EDGE.to_owned() + &config)).exits(1);
        assert_eq!(report.fault("link count/count@veth0").0, "busy");
        let optional = count("count_v1", "attach = { xdp = \"veth0\" }, optional = true");
        s.with(EDGE, &["detach", "veth0"]).exits(0);
        assert_eq!(xdp("veth0"), Some(("generic", id)), "still theirs");
        assert_eq!(s.pins(), before, "and nothing of ours has moved");
        s.apply(&(EDGE.to_owned() + &optional)).exits(3);
        assert_eq!(xdp("veth0"), Some(("generic", id)), "still theirs");
        s.json(&["undo"]).exits(0);
        assert_eq!(xdp("veth0"), Some(("generic", id)), "undo takes only what is ours");
        assert_eq!(s.pins(), ["/sys/fs/bpf/foreign"]);
    });
}

#[test]
fn row_59_a_link_whose_interface_is_gone_is_drift_and_heals() {
    sandbox(|s| {
        let config = count("count_v1", "attach = { xdp = \"veth0\" }");
        let wire = Wire::new(s, "veth0");
        s.apply(&config).exits(0);
        s.check(&config).exits(0);
        let (pin, hits) = (format!("{LIVE}/count/links/count@veth0"), format!("{LIVE}/count/maps/hits"));
        wire.passes(5);
        let old = s.pinned("link", &pin);
        ip("link del veth0");
        drop(wire);
        assert_eq!(s.pinned("link", &pin)["id"], old["id"], "the pin outlives its interface");
        s.check(&config).exits(5);
        // The same name, another interface.
        let wire = Wire::new(s, "veth0");
        let drift = s.check(&config).exits(5);
        assert_eq!(drift.status("link count/count@veth0"), "drift");
        let healed = s.apply(&config).exits(0);
        assert_eq!(xdp("veth0"), Some(("native", healed.kernel_id("program count/count"))));
        assert_ne!(s.pinned("link", &pin)["id"], old["id"]);
        wire.passes(7);
        assert_eq!(s.counter(&hits, 0), 12, "its map lived on");
        s.check(&config).exits(0);
    });
}

#[test]
fn row_58_an_interface_that_comes_later_is_waited_for() {
    sandbox(|s| {
        let config = count("count_v1", "attach = { xdp = \"late0\", wait = \"10s\" }");
        let mut running = s.start(&config, &["apply"]);
        wait_for("the loader to be at work", || {
            s.pins().iter().any(|pin| pin.contains("/stage/count/progs/")).then_some(())
        });
        assert!(running.runs() && !s.pins().iter().any(|pin| pin.contains("/live/")), "it waits, and nothing is live");
        let wire = Wire::new(s, "late0");
        let report = running.ends().exits(0);
        assert_eq!(xdp("late0"), Some(("native", report.kernel_id("program count/count"))));
        wire.passes(5);
        assert_eq!(s.counter(&format!("{LIVE}/count/maps/hits"), 0), 5);
    });
}

#[test]
fn row_58_a_missing_interface_fails_if_required_and_degrades_if_optional() {
    sandbox(|s| {
        for wait in ["0ms", "300ms"] {
            let report =
                s.apply(&count("count_v1", &format!("attach = {{ xdp = \"no0\", wait = \"{wait}\" }}"))).exits(1);
            let text = report.json.to_string();
            assert!(text.contains("there is no interface no0") && text.contains("ENODEV"), "{text}");
            assert_eq!(s.pins(), [""; 0], "{wait}");
            let took = report.json["took_us"].as_u64().unwrap();
            assert!(took < 3_000_000, "{wait}: {took} us");
        }
        let optional = "attach = { xdp = \"no0\", wait = \"300ms\" }, optional = true";
        let report = s.apply(&count("count_v1", optional)).exits(3);
        assert_eq!(report.fault("link count/count@no0").0, "attach");
        assert!(s.pinned("prog", &format!("{LIVE}/count/progs/count"))["id"].is_u64(), "the rest holds");
        // The link comes as soon as the interface does.
        let _wire = Wire::new(s, "no0");
        s.apply(&count("count_v1", optional)).exits(0);
        assert!(xdp("no0").is_some());
    });
}

#[test]
fn row_61_native_where_the_driver_has_none_fails_and_names_generic() {
    sandbox(|s| {
        // lo has no XDP of its own.
        let config = count("count_v1", "attach = { xdp = \"lo\", mode = \"native\" }");
        let report = s.apply(&config).exits(1);
        let text = report.json.to_string();
        assert!(text.contains("mode = \\\"generic\\\"") && text.contains("\"cause\":\"attach\""), "{text}");
        assert_eq!(xdp("lo"), None, "and it did not quietly become something else");
        assert_eq!(s.pins(), [""; 0]);
        let any = s.apply(&count("count_v1", "attach = { xdp = \"lo\", mode = \"any\" }")).exits(0);
        assert_eq!(any.step("link count/count@lo")["now"], "xdp lo generic", "any says what it became");
        assert_eq!(xdp("lo").map(|(mode, _)| mode), Some("generic"));
        s.apply(&count("count_v1", "attach = { xdp = \"lo\", mode = \"any\" }")).exits(0).nothing_done();
    });
}

#[test]
fn row_12_an_interface_with_a_dot_is_pinned_under_an_escaped_name() {
    sandbox(|s| {
        let _wire = Wire::new(s, "eth0.100");
        s.apply(&count("count_v1", "attach = { xdp = \"eth0.100\" }")).exits(0);
        assert!(s.pins().contains(&format!("{LIVE}/count/links/count@eth0_2e100")), "{:#?}", s.pins());
        assert!(xdp("eth0.100").is_some());
        s.apply(&count("count_v1", "attach = { xdp = \"eth0.100\" }")).exits(0).nothing_done();
        s.with(&count("count_v1", "attach = false"), &["detach", "eth0.100"]).exits(0);
        assert_eq!(xdp("eth0.100"), None);
    });
}
