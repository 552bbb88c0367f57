//! `status` where all of it can be told: a kprobe that lives beside a link that is dead, the JIT, and who pays.

use std::{fs, path::Path, process::Command};

use crate::{
    common::{LIVE, Value, net::Wire, object, wait_for},
    guest,
    kernels::Kernel,
};

#[test]
fn a_kprobe_lives_beside_an_xdp_link_whose_interface_is_gone() {
    guest(|s, kernel| {
        let wire = Wire::new(s, "veth0");
        let (probes, count, pid) = (object("probes"), object("count_v1"), std::process::id());
        let way = if kernel == Kernel::V5_10 { "by_fentry" } else { "by_kprobe" };
        let probe = format!("[object.probes]\npath = \"{probes}\"\nglobals.pid = {pid}\nprograms.{way} = {{}}\n");
        let xdp =
            format!("[object.count]\npath = \"{count}\"\nprograms.count = {{ attach = {{ xdp = \"veth0\" }} }}\n");
        let config = if kernel.is_whole() { probe + &xdp } else { xdp };
        s.apply(&config).exits(0);
        s.with(&config, &["status"]).exits(0);
        drop(wire);
        wait_for("the end of veth0", || (!Path::new("/sys/class/net/veth0").exists()).then_some(()));
        let seen = s.with(&config, &["status"]).exits(5);
        let objects = seen.json["objects"].as_array().unwrap();
        let links: Vec<&Value> = objects.iter().flat_map(|object| object["links"].as_array().unwrap()).collect();
        let told: Vec<_> =
            links.iter().map(|link| (link["name"].as_str().unwrap(), link["state"].as_str().unwrap())).collect();
        let all = [("count@veth0", "dead"), (way, "alive")];
        assert_eq!(told, all[..objects.len()], "{:#}", seen.json);
        let missed = links.last().unwrap()["missed"].as_u64();
        assert_eq!(missed, matches!(kernel, Kernel::V6_12 | Kernel::New).then_some(0), "of a kprobe, since 6.7");
        let people = s.bpfboot(&["-c", "/run/test.toml", "status"]).exits(5).stdout;
        assert!(people.contains("link count/count@veth0 is dead: what it was attached to is gone"), "{people}");
    });
}

#[test]
fn runs_left_out_because_the_program_runs_already_are_counted() {
    guest(|s, kernel| {
        // 5.10 keeps no program from running itself (5.12, ca06f55b9002): this one would until the stack ends.
        if !kernel.is_whole() || kernel == Kernel::V5_10 {
            return;
        }
        let config = format!("[object.again]\npath = \"{}\"\n", object("again"));
        s.apply(&config).exits(0);
        let misses = || {
            let seen = s.with(&config, &["status"]).exits(0);
            let program = &seen.json["objects"][0]["programs"][0];
            let theirs = s.pinned("prog", &format!("{LIVE}/again/progs/on_delete"));
            assert_eq!(program["recursion_misses"], theirs["recursion_misses"].as_u64().unwrap_or(0), "{theirs}");
            program["recursion_misses"].as_u64().unwrap()
        };
        let before = misses();
        let mut key = vec!["map", "delete", "pinned", "/sys/fs/bpf/bpfboot/live/again/maps/table", "key"];
        key.extend(["0"; 4]);
        for _ in 0..7 {
            // There is no such entry; the function is called all the same.
            Command::new("bpftool").args(&key).output().unwrap();
        }
        // Each run deletes, too, which would run it again.
        assert_eq!(misses() - before, 7);
    });
}

#[test]
fn the_jit_and_who_pays_for_memory_are_told_as_they_are() {
    guest(|s, kernel| {
        let config = format!("[object.count]\npath = \"{}\"\nprograms.count = {{ attach = [] }}\n", object("count_v1"));
        s.apply(&config).exits(0);
        let seen = s.with(&config, &["status"]).exits(0);
        let machine = &seen.json["machine"];
        let payer = if kernel == Kernel::V5_10 { "rlimit" } else { "cgroup" };
        assert_eq!(machine["memory_charged_to"], payer, "{machine}");
        assert_eq!(machine["memory_exact"], matches!(kernel, Kernel::V6_12 | Kernel::New), "{machine}");
        assert_eq!(machine["jit_enable"].as_u64(), kernel.is_whole().then_some(1), "{machine}");
        let program = &seen.json["objects"][0]["programs"][0];
        assert_eq!(program["jited_bytes"].as_u64().unwrap() > 0, kernel.is_whole(), "{program}");
        let verified = program["verified_instructions"].as_u64().unwrap();
        assert_eq!(verified > 0, kernel != Kernel::V5_10, "{program}");
        if kernel.is_whole() {
            let symbols = || fs::read_to_string("/proc/kallsyms").unwrap().matches("\t[bpf]").count();
            let shown = symbols();
            s.set_sysctl("net.core.bpf_jit_harden", "1");
            let people = s.bpfboot(&["-c", "/run/test.toml", "status"]).exits(0).stdout;
            assert!(people.contains("hardened (1): kallsyms and perf do not show them"), "{people}");
            assert!(shown > 0 && symbols() == 0, "{shown} symbols, then {}", symbols());
            s.set_sysctl("net.core.bpf_jit_harden", "0");
            let people = s.bpfboot(&["-c", "/run/test.toml", "status"]).exits(0).stdout;
            assert!(people.contains("jit: on, 1 of 1 programs compiled, not hardened"), "{people}");
        }
    });
}
