//! Much of everything, and little to work with: 500 programs, 10,000 sysctls, a full /run, no descriptors, no /sys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{Sandbox, binary, compile, mount_fs, ok, run, sandbox};

const TTL: &str = "net.ipv4.ip_default_ttl";

/// An object of 500 XDP programs with this body.
fn many(s: &Sandbox, body: &str) -> String {
    let programs: String = (0..500)
        .map(|n| format!("SEC(\"xdp\") int p{n}(struct xdp_md *ctx) {{ {} }}\n", body.replace('#', &n.to_string())))
        .collect();
    compile(s, "/run/many.o", &programs);
    "[bpf]\ndeadline = \"60s\"\n[object.many]\npath = \"/run/many.o\"\n".to_owned()
}

/// Peak memory of a run, in KiB, and its exit code.
fn measured(args: &[&str]) -> (u64, Option<i32>) {
    let mut time = Command::new("/usr/bin/time");
    time.args(["-q", "-f", "%M", "-o", "/run/peak"]).arg(binary()).args(args).env("NO_COLOR", "1");
    let ran = run(&mut time);
    let peak = fs::read_to_string("/run/peak").unwrap();
    (peak.trim().parse().unwrap(), ran.code)
}

#[test]
fn five_hundred_programs_come_up_stay_and_go() {
    sandbox(|s| {
        let config = many(s, "return XDP_PASS + 0 * #;");
        let report = s.apply(&config).exits(0);
        let loaded = |step: &&common::Value| step["id"].as_str().unwrap().starts_with("program many/p");
        assert_eq!(report.steps().iter().filter(loaded).count(), 500);
        assert_eq!(s.pins().iter().filter(|pin| pin.contains("/live/many/progs/")).count(), 500);
        s.apply(&config).exits(0).nothing_done();
        s.with(&config, &["undo"]).exits(0);
        assert_eq!(s.pins(), [""; 0]);
    });
}

#[test]
fn five_hundred_programs_that_the_verifier_refuses_are_one_failure_each() {
    sandbox(|s| {
        let config = many(s, "return *(volatile int *)(long)ctx->data + #;");
        let path = s.config("many.toml", &config);
        let (peak, code) = measured(&["--json", "-c", path.to_str().unwrap(), "apply"]);
        assert_eq!(code, Some(1));
        assert!(peak < 64 << 10, "{peak} KiB");
        let report = s.apply(&config).exits(1);
        let refused = report.steps().iter().filter(|step| step["fault"]["cause"] == "verifier").count();
        assert_eq!(refused, 500);
        assert_eq!(s.pins(), [""; 0]);
    });
}

#[test]
fn ten_thousand_sysctls_are_set_kept_and_put_back() {
    sandbox(|s| {
        let links: String = (0..170).map(|n| format!("link add v{n} type veth peer name w{n}\n")).collect();
        let batch = s.file("/run/links", &links);
        ok(Command::new("ip").arg("-batch").arg(batch));
        // Switches of which a flip changes nothing but itself.
        let switches = [
            "accept_local",
            "accept_redirects",
            "accept_source_route",
            "arp_accept",
            "arp_filter",
            "arp_notify",
            "bc_forwarding",
            "disable_policy",
            "disable_xfrm",
            "drop_gratuitous_arp",
            "log_martians",
            "proxy_arp",
            "proxy_arp_pvlan",
            "rp_filter",
            "route_localnet",
            "secure_redirects",
            "send_redirects",
            "shared_media",
            "src_valid_mark",
            "arp_announce",
            "arp_ignore",
            "bootp_relay",
            "promote_secondaries",
            "forwarding",
            "drop_unicast_in_l2_multicast",
            "ignore_routes_with_linkdown",
            "mc_forwarding_",
            "force_igmp_version",
            "arp_evict_nocarrier",
            "tag",
        ];
        let mut config = "[sysctl]\n".to_owned();
        let mut keys = Vec::new();
        for link in (0..170).flat_map(|n| [format!("v{n}"), format!("w{n}")]) {
            for switch in switches {
                let path = format!("/proc/sys/net/ipv4/conf/{link}/{switch}");
                let Ok(was) = fs::read_to_string(&path) else { continue };
                let to = if was.trim() == "0" { 1 } else { 0 };
                config += &format!("\"net/ipv4/conf/{link}/{switch}\" = {to}\n");
                keys.push((path, was, to.to_string()));
            }
        }
        keys.truncate(10_000);
        config = config.lines().take(10_001).collect::<Vec<_>>().join("\n");
        assert!(keys.len() >= 9_000, "only {} keys", keys.len());
        let path = s.config("sysctls.toml", &config);
        let start = Instant::now();
        let (peak, code) = measured(&["-q", "-c", path.to_str().unwrap(), "apply"]);
        assert_eq!(code, Some(0));
        assert!(peak < 128 << 10 && start.elapsed() < Duration::from_secs(10), "{peak} KiB, {:?}", start.elapsed());
        for (path, _, to) in &keys {
            assert_eq!(fs::read_to_string(path).unwrap().trim(), to, "{path}");
        }
        s.with(&config, &["apply"]).exits(0).nothing_done();
        s.json(&["undo"]).exits(0);
        for (path, was, _) in &keys {
            assert_eq!(fs::read_to_string(path).unwrap(), *was, "{path}");
        }
    });
}

#[test]
fn row_64_a_full_run_costs_the_journal_and_the_report_and_says_so() {
    sandbox(|s| {
        let path = s.config("ttl.toml", &format!("[sysctl]\n\"{TTL}\" = 77\n"));
        fs::create_dir("/run/bpfboot").unwrap();
        mount_fs("tmpfs", "/run/bpfboot", "mode=0755,size=4k");
        fs::write("/run/bpfboot/fill", [0; 4096]).unwrap();
        let report = s.json(&["-c", path.to_str().unwrap(), "apply"]).exits(0);
        assert_eq!(s.sysctl(TTL), "77");
        assert!(report.notes().contains("No space left on device"), "{}", report.notes());
        assert!(!fs::exists("/run/bpfboot/report.json").unwrap());
        assert_eq!(fs::read_dir("/run/bpfboot").unwrap().count(), 2, "the lock and what filled it");
    });
}

#[test]
fn row_64_closed_descriptors_are_nobodys_report() {
    sandbox(|s| {
        let path = s.config("ttl.toml", &format!("[sysctl]\n\"{TTL}\" = 77\n"));
        let path = path.to_str().unwrap();
        for closed in 0..8 {
            let redirect: String = (0..3).filter(|fd| closed & 1 << fd != 0).map(|fd| format!(" {fd}>&-")).collect();
            let script = format!("exec \"$0\" -c {path} apply{redirect}");
            let ran = run(Command::new("sh").args(["-c", &script]).arg(binary()).env("NO_COLOR", "1"));
            assert_eq!(ran.code, Some(0), "closed {redirect}: {ran:#?}");
            assert_eq!(s.sysctl(TTL), "77");
            for file in ["lock", "undo"] {
                let text = fs::read_to_string(format!("/run/bpfboot/{file}")).unwrap();
                assert!(!text.contains("done") && !text.contains("healthy"), "{redirect}: {file}: {text}");
            }
            let report = fs::read_to_string("/run/bpfboot/report.json").unwrap();
            assert!(serde_json::from_str::<common::Value>(&report).is_ok(), "{redirect}: {report}");
            s.json(&["undo"]).exits(0);
        }
    });
}

#[test]
fn row_64_an_output_that_takes_nothing_changes_nothing() {
    sandbox(|s| {
        let path = s.config("ttl.toml", &format!("[sysctl]\n\"{TTL}\" = 77\n"));
        let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        let mut command = s.command(&["-c", path.to_str().unwrap(), "apply"]);
        let status = command.stdout(full()).stderr(full()).status().unwrap();
        assert_eq!((status.code(), s.sysctl(TTL)), (Some(0), "77".into()));
    });
}

#[test]
fn without_sys_or_proc_what_is_missing_is_named() {
    sandbox(|s| {
        let path = s.config("edge.toml", "[object.edge]\npath = \"builtin:edge\"\n");
        mount_fs("tmpfs", "/sys", "");
        let report = s.json(&["-c", path.to_str().unwrap(), "apply"]).exits(1);
        assert!(report.json.to_string().contains("/sys/fs/bpf"), "{:#}", report.json);
        let ttl = s.config("ttl.toml", &format!("[sysctl]\n\"{TTL}\" = 77\n"));
        mount_fs("tmpfs", "/proc", "");
        let report = s.json(&["-c", ttl.to_str().unwrap(), "apply"]).exits(1);
        assert!(report.json.to_string().contains("/proc"), "{:#}", report.json);
    });
}

#[test]
fn as_pid_1_of_a_container_that_holds_nothing_else() {
    sandbox(|s| {
        fs::create_dir_all("/run/root/proc").unwrap();
        fs::copy(binary(), "/run/root/bpfboot").unwrap();
        s.file("/run/root/c.toml", &format!("[sysctl]\n\"{TTL}\" = 77\n"));
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount", "--mount-proc=/run/root/proc"]);
        command.args(["chroot", "/run/root", "/bpfboot", "--json", "-c", "/c.toml", "apply"]);
        let report = common::Report::of(run(&mut command)).exits(0);
        assert_eq!((report.status(&format!("sysctl {TTL}")), s.sysctl(TTL)), ("done", "77".into()));
    });
}

#[test]
fn row_63_sigterm_at_any_time_ends_as_before_or_as_after() {
    sandbox(|s| {
        let config = format!(
            "[sysctl]\n\"{TTL}\" = 77\n[mounts]\ntracefs = true\n[object.edge]\npath = \"builtin:edge\"\n\
             [object.trace]\npath = \"builtin:trace\"\n"
        );
        let (mut stopped, mut healthy) = (0, 0);
        for nth in 0..60 {
            let running = s.start(&config, &["apply"]);
            // Up to 70 ms, several times what a run takes; most of them early.
            let after = 20 * nth * nth;
            std::thread::sleep(Duration::from_micros(after));
            running.signal("TERM");
            let report = running.ends();
            match (report.ran.code, report.ran.signal) {
                (Some(0), None) => {
                    healthy += 1;
                    s.check(&config).exits(0);
                    s.with(&config, &["undo"]).exits(0);
                }
                // Before it listens there is nothing to undo.
                (Some(1), None) | (None, Some(15)) => stopped += 1,
                end => panic!("stopped after {after} us: {end:?} {:#}", report.json),
            }
            assert_eq!((s.pins(), s.sysctl(TTL)), (vec![], "64".into()), "after {after} us");
            assert!(!s.is_mounted("tracefs", "/sys/kernel/tracing"));
        }
        assert!(stopped > 0 && healthy > 0, "{stopped} stopped, {healthy} healthy: the times do not spread over a run");
    });
}
