//! XDP on drivers: a veth pair, and the virtio-net card of the machine, whose packets come from outside of it.

use std::process::Command;

use crate::{
    common::{
        LIVE,
        net::{Wire, ip, xdp},
        ok, wait_for,
    },
    guest,
};

fn edge(interface: &str, mode: &str) -> String {
    format!(
        "[object.edge]\npath = \"builtin:edge\"\nprograms.xdp_main = {{ attach = {{ xdp = \"{interface}\", mode = \"{mode}\" }} }}\n"
    )
}

#[test]
fn native_xdp_on_a_veth_counts_each_frame() {
    guest(|s, _| {
        let wire = Wire::new(s, "veth0");
        s.apply(&edge("veth0", "native")).exits(0);
        assert_eq!(xdp("veth0").unwrap().0, "native");
        wire.passes(100);
        assert_eq!(s.counter(&format!("{LIVE}/edge/maps/counters"), 0), 100);
        s.json(&["undo"]).exits(0);
        assert_eq!(xdp("veth0"), None);
        wire.passes(10);
    });
}

#[test]
fn native_xdp_on_virtio_net_counts_answers_from_outside() {
    guest(|s, kernel| {
        if !kernel.is_whole() {
            // A machine that is a process has no such card.
            return;
        }
        ip("addr add 10.0.2.15/24 dev eth0");
        ip("link set eth0 up");
        let report = s.apply(&edge("eth0", "native")).exits(0);
        assert_eq!(xdp("eth0"), Some(("native", report.kernel_id("program edge/xdp_main"))));
        let counted = || s.counter(&format!("{LIVE}/edge/maps/counters"), 0);
        wait_for("the gateway to answer", || {
            Command::new("busybox")
                .args(["arping", "-q", "-c", "1", "-w", "1", "-I", "eth0", "10.0.2.2"])
                .status()
                .unwrap();
            (counted() > 0).then_some(())
        });
        let before = counted();
        ok(Command::new("busybox").args(["arping", "-q", "-c", "3", "-I", "eth0", "10.0.2.2"]));
        let more = counted() - before;
        assert!((3..10).contains(&more), "three answers, and {more} packets counted");
        s.json(&["undo"]).exits(0);
        assert_eq!(xdp("eth0"), None);
    });
}
