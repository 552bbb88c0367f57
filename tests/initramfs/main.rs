//! What is made in an initramfs lives on in the real root, and the image of image/ is healthy: seen by booting both.
//! Slow, and of its own target: make initramfs-test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod guest;

use std::io::Write;

use guest::{Machine, Said, built};
use serde_json::Value;

/// What a script says about the two runs, and what the kernel says of their work. Nobody reads the events: with 15,000
/// opens more the ring buffer of a megabyte is full, and the next are counted as lost.
const LOOK: &str = "
about initramfs cat /run/bpfboot/initramfs.json
about real cat /run/bpfboot/report.json
about programs bpftool -j prog list
about maps bpftool -j map list
about links bpftool -j link list
about unit systemctl show bpfboot.service -p ActiveState -p Result -p ExecMainStatus
opens() { i=0; while [ $i -lt \"$1\" ]; do : </dev/null; i=$((i + 1)); done; }
opens 15000
about drops-before counter trace/maps/drops
opens 2000
about drops-after counter trace/maps/drops
about packets-before counter edge/maps/counters
ip address add 10.0.2.15/24 dev eth0; ip link set eth0 up; busybox ping -c 3 -w 20 10.0.2.2 >/dev/null
about packets-after counter edge/maps/counters
";

/// What a stop in the real root makes of the work of the initramfs.
const STOP: &str = "
about stop systemctl stop bpfboot.service
about stopped systemctl show bpfboot.service -p Result -p ActiveState
about left ls /sys/fs/bpf
";

const UP: &str = "ActiveState=active";

fn machine<'a>(dir: &'a std::path::Path, initrd: &'a str) -> Machine<'a> {
    Machine { dir, initrd, root: "test.squashfs", early_config: "", append: "" }
}

/// Shows a figure to whoever runs this.
fn show(text: &str) {
    let _ = writeln!(std::io::stderr(), "    {text}");
}

fn steps(report: &Value) -> &[Value] {
    report["steps"].as_array().unwrap_or_else(|| panic!("no steps in {report}"))
}

/// The steps of a kind that have an id in the kernel: their name and that id.
fn ids<'a>(report: &'a Value, kind: &str) -> Vec<(&'a str, u64)> {
    let of = |step: &'a Value| {
        let name = step["id"].as_str()?.strip_prefix(kind)?.strip_prefix(' ')?;
        Some((name, step["facts"]["id"].as_str()?.parse().ok()?))
    };
    steps(report).iter().filter_map(of).collect()
}

/// The sum over all CPUs and entries of a dumped per-CPU map.
fn sum(dump: &Value) -> u64 {
    let number = |bytes: &Value| {
        let digits = bytes.as_array().unwrap().iter().map(|byte| byte.as_str().unwrap().trim_start_matches("0x"));
        digits.rev().fold(0, |sum, byte| sum << 8 | u64::from_str_radix(byte, 16).unwrap())
    };
    let entries = dump.as_array().unwrap_or_else(|| panic!("no map: {dump}")).iter();
    entries.flat_map(|entry| entry["values"].as_array().unwrap()).map(|cpu| number(&cpu["value"])).sum()
}

/// Asserts that all that a report names is in the kernel under the id it names, and gives those ids.
#[track_caller]
fn in_the_kernel(said: &Said, report: &Value) -> Vec<(String, u64)> {
    let mut seen = Vec::new();
    for (kind, list, least) in [("program", "programs", 3), ("map", "maps", 4), ("link", "links", 2)] {
        let (there, found) = (said.json(list), ids(report, kind));
        assert!(found.len() >= least, "only {found:?} of kind {kind} in {report}");
        for (name, id) in found {
            assert!(there.as_array().unwrap().iter().any(|one| one["id"] == id), "{kind} {name} {id} not in {there}");
            seen.push((format!("{kind} {name}"), id));
        }
    }
    seen
}

/// Asserts that the links count what happens now.
#[track_caller]
fn alive(said: &Said) {
    for (what, least) in [("drops", 2000), ("packets", 3)] {
        let [before, after] = ["before", "after"].map(|when| sum(&said.json(&format!("{what}-{when}"))));
        assert!(after >= before + least, "{what}: {before}, then {after}");
    }
}

#[track_caller]
fn only_already(report: &Value) {
    for step in steps(report) {
        assert_eq!(step["status"], "already", "{step}");
    }
}

/// Boots an initramfs that has bpfboot inside.
fn outlives_switch_root(suite: &'static str, initrd: &str) {
    let dir = built(suite);
    let said = machine(&dir, initrd).boot(initrd, &format!("{LOOK}{STOP}off\n"));
    let (early, real) = (said.json("initramfs"), said.json("real"));
    assert_eq!(early["health"], "healthy", "{early}");
    assert!(steps(&early).iter().any(|step| step["phase"] == "commit" && step["status"] == "done"), "{early}");
    only_already(&real);
    assert!(said.about("unit").contains(UP), "{}", said.about("unit"));
    let seen = in_the_kernel(&said, &early);
    for one in in_the_kernel(&said, &real) {
        assert!(seen.contains(&one), "{one:?} is not one of {seen:?}");
    }
    alive(&said);
    let stopped = said.about("stopped");
    assert!(stopped.contains("Result=success") && stopped.contains("ActiveState=inactive"), "{stopped}");
    assert_eq!(said.about("left"), "");
    show(&format!("{suite} {initrd}: {} us, then {} us; {seen:?}", early["took_us"], real["took_us"]));
}

#[test]
#[ignore = "slow: make initramfs-test"]
fn row_68_pins_made_by_an_initramfs_of_initramfs_tools_outlive_switch_root() {
    outlives_switch_root("bookworm", "initramfs-tools.initrd");
}

#[test]
#[ignore = "slow: make initramfs-test"]
fn row_68_pins_made_by_a_unit_of_dracuts_initramfs_outlive_switch_root() {
    outlives_switch_root("bookworm", "dracut-systemd.initrd");
}

#[test]
#[ignore = "slow: make initramfs-test"]
fn row_68_pins_made_by_a_hook_of_dracuts_initramfs_outlive_switch_root() {
    outlives_switch_root("bookworm", "dracut-hook.initrd");
}

/// Something required that no kernel has.
const BROKEN: &str = "[sysctl]\n\"kernel.no_such_key\" = 1\n";

#[test]
#[ignore = "slow: make initramfs-test"]
fn a_failed_initramfs_lets_the_boot_go_on_unless_it_is_required() {
    let dir = built("bookworm");
    for initrd in ["initramfs-tools.initrd", "dracut-systemd.initrd", "dracut-hook.initrd"] {
        let machine = Machine { early_config: BROKEN, ..machine(&dir, initrd) };
        let said = machine.boot(&format!("{initrd}-broken"), &format!("{LOOK}off\n"));
        assert_eq!(said.json("initramfs")["health"], "failed", "{}", said.about("initramfs"));
        assert_eq!(said.json("real")["health"], "healthy", "{}", said.about("real"));
        assert!(said.about("unit").contains(UP), "{}", said.about("unit"));
        in_the_kernel(&said, &said.json("real"));
        alive(&said);

        let required = Machine { append: "bpfboot.initramfs=required", ..machine };
        let said = required.boot(&format!("{initrd}-required"), "off\n");
        assert!(!said.ended(), "{initrd} went on: {}", said.console);
        let why = "exit code 1 in the initramfs; bpfboot.initramfs=required stops the boot";
        assert!(said.console.contains(why), "{}", said.console);
    }
}

/// The image as it is, with nothing in its initramfs.
fn image(dir: &std::path::Path) -> Machine<'_> {
    Machine { root: "root.squashfs", ..machine(dir, "initrd") }
}

#[test]
#[ignore = "slow: make initramfs-test"]
fn the_image_is_healthy_on_a_read_only_root_and_with_an_empty_etc() {
    let dir = built("bookworm");
    for (append, root) in [("", "squashfs"), ("systemd.volatile=yes systemd.firstboot=no", "tmpfs")] {
        let script = "
            about real cat /run/bpfboot/report.json
            about unit systemctl show bpfboot.service -p ActiveState
            about root findmnt --noheadings --output FSTYPE /
            about usr findmnt --noheadings --output FSTYPE,OPTIONS --target /usr
            about etc ls /etc/bpfboot.d
            about failed systemctl --failed --no-legend --plain
            off
        ";
        let said = Machine { append, ..image(&dir) }.boot(&format!("image-{root}"), script);
        assert_eq!(said.about("root"), root);
        assert!(
            said.about("usr").starts_with("squashfs") && said.about("usr").contains("ro,"),
            "{}",
            said.about("usr")
        );
        // What configures and starts it is in /usr.
        assert!(said.about("etc").contains("No such file"), "{}", said.about("etc"));
        let real = said.json("real");
        assert_eq!(real["health"], "healthy", "{real}");
        assert!(said.about("unit").contains(UP), "{}", said.about("unit"));
        show(&format!("image {append}: {} us; failed units: {:?}", real["took_us"], said.about("failed")));
    }
}

#[test]
#[ignore = "slow: make initramfs-test"]
fn the_minimal_btf_loads_the_same_program_in_less_time() {
    let script = "
        grep -v '^btf' /usr/lib/bpfboot.d/50-image.toml >/run/full.toml
        cp /usr/lib/bpfboot.d/50-image.toml /run/minimal.toml
        for round in 1 2 3 4 5 6 7; do
            for btf in minimal full; do
                bpfboot undo >/dev/null
                about $btf-$round busybox time -f '%M' -o /run/rss bpfboot --json --config /run/$btf.toml apply
                about $btf-rss-$round cat /run/rss
            done
        done
        off
    ";
    let said = image(&built("bookworm")).boot("btf", script);
    let report = |btf: &str, round: u32| {
        let report = said.json(&format!("{btf}-{round}"));
        assert_eq!(report["health"], "healthy", "{report}");
        report
    };
    let tag = |btf| {
        let report = report(btf, 1);
        steps(&report).iter().find(|step| step["id"] == "program execs/on_exec").unwrap()["facts"]["tag"].clone()
    };
    assert_eq!(tag("minimal"), tag("full"));
    let median = |of: &dyn Fn(u32) -> u64| {
        let mut all: Vec<_> = (1..=7).map(of).collect();
        all.sort_unstable();
        all[3]
    };
    let took = |btf: &str| median(&|round| report(btf, round)["took_us"].as_u64().unwrap());
    let rss = |btf: &str| median(&|round| said.about(&format!("{btf}-rss-{round}")).parse().unwrap());
    show(&format!("apply, minimal BTF: {} us, {} KiB", took("minimal"), rss("minimal")));
    show(&format!("apply, kernel's BTF: {} us, {} KiB", took("full"), rss("full")));
    assert!(took("minimal") < took("full"));
}

#[test]
#[ignore = "slow: make initramfs-test"]
fn the_system_extension_brings_bpfboot_to_a_read_only_usr() {
    let script = "
        mount -t tmpfs tmpfs /tmp
        about before ls /usr/bin/bpfboot
        about merge systemd-sysext merge
        about after ls /usr/bin/bpfboot
        systemctl daemon-reload
        about start systemctl start bpfboot.service
        about real cat /run/bpfboot/report.json
        about unit systemctl show bpfboot.service -p ActiveState
        off
    ";
    let dir = built("bookworm");
    let said = Machine { root: "bare.squashfs", ..image(&dir) }.boot("sysext", script);
    assert!(said.about("before").contains("No such file"), "{}", said.about("before"));
    assert_eq!(said.about("after"), "/usr/bin/bpfboot", "{}", said.about("merge"));
    assert!(said.about("unit").contains(UP), "{}{}", said.about("start"), said.about("unit"));
    assert_eq!(said.json("real")["health"], "healthy", "{}", said.about("real"));
}

#[test]
#[ignore = "slow: make initramfs-test"]
fn row_68_a_kernel_started_by_kexec_is_a_fresh_run() {
    let script = format!(
        "
        if grep -q again /proc/cmdline; then
            {LOOK}
            off
        else
            about first cat /run/bpfboot/report.json
            kexec --load /boot/vmlinuz-* --initrd=/boot/initramfs-tools.initrd --command-line=\"$(cat /proc/cmdline) again\"
            kexec --exec
        fi
        "
    );
    let said = machine(&built("bookworm"), "initramfs-tools.initrd").boot("kexec", &script);
    only_already(&said.json("first"));
    let fresh = said.json("initramfs");
    assert_eq!(fresh["health"], "healthy", "{fresh}");
    assert!(steps(&fresh).iter().any(|step| step["phase"] == "commit" && step["status"] == "done"), "{fresh}");
    only_already(&said.json("real"));
    in_the_kernel(&said, &fresh);
    alive(&said);
}

#[test]
#[ignore = "slow: make initramfs-test"]
fn row_68_pins_outlive_a_soft_reboot() {
    let script = format!(
        "
        if [ -e /run/again ]; then
            {LOOK}
            off
        else
            touch /run/again
            systemctl --no-block start soft-reboot.target --job-mode=replace-irreversibly
        fi
        "
    );
    // systemd 254 and later can.
    let said = machine(&built("trixie"), "initramfs-tools.initrd").boot("soft-reboot", &script);
    only_already(&said.json("real"));
    let seen = in_the_kernel(&said, &said.json("initramfs"));
    alive(&said);
    show(&format!("trixie soft-reboot: {seen:?}"));
}
