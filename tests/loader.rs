//! The loader child at its limits: of memory, of time that even SIGKILL does not end, of the verifier's log; and the BTF
//! that it loads against.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, Instant},
};

use common::{LIVE, binary, compile, mount_fs, object, run, sandbox, wait_for};
use nix::mount::{MsFlags, mount};

const TTL: &str = "net.ipv4.ip_default_ttl";

#[test]
fn row_28_an_object_that_asks_for_more_memory_than_the_loader_may_have() {
    sandbox(|s| {
        // Forty sections, each just within what one may claim.
        let big: String = (0..40).map(|n| format!("char big{n}[15 << 20] SEC(\".bss.n{n}\");\n")).collect();
        compile(s, "/run/big.o", &format!("{big}SEC(\"xdp\") int p(struct xdp_md *ctx) {{ return XDP_PASS; }}\n"));
        let config = |more: &str| format!("[sysctl]\n\"{TTL}\" = 77\n[object.big]\npath = \"/run/big.o\"\n{more}");
        let path = s.config("big.toml", &config(""));
        let mut time = std::process::Command::new("/usr/bin/time");
        time.args(["-q", "-f", "%M", "-o", "/run/peak"]).arg(binary()).args(["--json", "-c"]).arg(path).arg("apply");
        let report = common::Report::of(run(&mut time)).exits(1);
        let (cause, text) = report.fault("loader");
        assert!(cause == "object" && text.contains("object big: not a usable BPF object: the loader died"), "{text}");
        let peak: u64 = fs::read_to_string("/run/peak").unwrap().trim().parse().unwrap();
        assert!(peak < 512 << 10, "{peak} KiB");
        assert_eq!((s.pins(), s.sysctl(TTL)), (vec![], "64".into()));
        let report = s.apply(&config("optional = true\n[object.edge]\npath = \"builtin:edge\"\n")).exits(3);
        assert_eq!(report.status("program edge/xdp_main"), "done");
    });
}

/// A group of frozen processes. That of the first version of cgroups keeps them from dying, too.
struct Ice(String);

impl Ice {
    fn new() -> Self {
        let top = "/run/freezer";
        fs::create_dir(top).unwrap();
        mount(Some("cgroup"), top, Some("cgroup"), MsFlags::empty(), Some("freezer"))
            .expect("a kernel with CONFIG_CGROUP_FREEZER");
        let ice = Self(format!("{top}/bpfboot-loader-{}", std::process::id()));
        fs::create_dir(&ice.0).unwrap();
        ice
    }

    fn take(&self, pid: &str) {
        fs::write(format!("{}/cgroup.procs", self.0), pid).unwrap();
        self.be("FROZEN");
    }

    fn be(&self, state: &str) {
        let file = format!("{}/freezer.state", self.0);
        fs::write(&file, state).unwrap();
        wait_for(state, || (fs::read_to_string(&file).unwrap().trim() == state).then_some(()));
    }
}

impl Drop for Ice {
    fn drop(&mut self) {
        self.be("THAWED");
        wait_for("the frozen to leave", || fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn row_63_a_loader_that_cannot_even_be_killed_is_waited_for_no_longer_than_two_seconds() {
    sandbox(|s| {
        let ice = Ice::new();
        let config = format!(
            "[bpf]\ndeadline = \"1s\"\n[sysctl]\n\"{TTL}\" = 77\n[object.edge]\npath = \"builtin:edge\"\n\
             programs.xdp_main = {{ attach = {{ xdp = \"late0\", wait = \"1s\" }} }}\n"
        );
        let running = s.start(&config, &["apply"]);
        let pid = running.pid();
        let child = wait_for("the loader to wait for its interface", || {
            let staged = s.pins().iter().any(|pin| pin.contains("/stage/edge/progs/"));
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            (staged && !children.trim().is_empty()).then(|| children.trim().to_owned())
        });
        ice.take(&child);
        let start = Instant::now();
        // Its end is seen although the loader lives: nothing that its caller waits for is held open by that.
        let report = running.ends().exits(4);
        assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
        assert!(report.steps().iter().any(|step| step["fault"]["cause"] == "deadline"), "{:#}", report.json);
        let left = report.json["leftovers"].to_string();
        assert!(left.contains(&format!("process {child}, hangs in the kernel")) && left.contains("mend"), "{left}");
        assert_eq!(s.sysctl(TTL), "64");
        drop(ice);
        wait_for("it to die", || (!Path::new(&format!("/proc/{child}")).exists()).then_some(()));
        assert_eq!(s.pins(), [""; 0]);
        s.apply(&config.replace("late0", "lo\", mode = \"generic")).exits(0);
    });
}

#[test]
fn row_30_the_whole_log_of_the_verifier_is_in_the_report_and_its_last_lines_are_shown() {
    sandbox(|s| {
        let path = s.config("wordy.toml", &format!("[object.wordy]\npath = \"{}\"\n", object("wordy")));
        let path = path.to_str().unwrap();
        let report = s.json(&["-c", path, "apply"]).exits(1);
        let log = report.step("program wordy/wordy")["fault"]["detail"].as_str().unwrap();
        assert!(log.len() > 300 << 10, "{} bytes", log.len());
        assert!(log.starts_with("0: ") || log.starts_with("func#0 "), "{}", &log[..200]);
        assert!(log.trim_end().lines().last().unwrap().starts_with("processed "), "{}", &log[log.len() - 200..]);
        let said = s.bpfboot(&["-c", path, "apply"]).exits(1);
        let shown = said.stdout.len() + said.stderr.len();
        assert!(shown < 4096, "{shown} bytes are shown");
    });
}

#[test]
fn the_btf_of_an_object_is_opened_once_and_only_if_root_vouches_for_it() {
    sandbox(|s| {
        let file = "/run/kernel.btf";
        let config =
            s.config("typed.toml", &format!("[object.typed]\npath = \"{}\"\nbtf = \"{file}\"\n", object("typed")));
        let apply = ["-c", config.to_str().unwrap(), "apply"];
        let refused = |said: &str| {
            let report = s.json(&apply).exits(2);
            let (cause, text) = report.fault("object typed");
            assert!(cause == "object" && text.contains(said) && text.contains(file), "{cause}: {text}");
            assert!(report.notes().contains("nothing was changed"), "{:#}", report.json);
        };
        refused("ENOENT");
        fs::copy("/sys/kernel/btf/vmlinux", file).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
        refused("can be changed by users other than root");
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
        s.json(&apply).exits(0);
        assert!(s.pinned("link", &format!("{LIVE}/typed/links/typed"))["id"].is_u64());
        s.json(&["undo"]).exits(0);
        // A link in a directory of everybody's.
        mount_fs("tmpfs", "/mnt", "mode=0777");
        symlink(file, "/mnt/kernel.btf").unwrap();
        let linked = fs::read_to_string(&config).unwrap().replace(file, "/mnt/kernel.btf");
        let text = s.apply(&linked).exits(2).fault("object typed").1;
        assert!(text.contains("symbolic link /mnt/kernel.btf"), "{text}");
        // Once: no name of it is opened again behind the check.
        let traced = s.strace(&["-e", "trace=openat,openat2,open"], &["--json", apply[0], apply[1], apply[2]]);
        let opened = traced.calls.iter().filter(|call| call.line.contains("kernel.btf")).count();
        traced.ran.exits(0);
        assert_eq!(opened, 1);
    });
}

#[test]
fn programs_with_types_of_the_kernel_load_on_every_cpu_inside_the_walls() {
    sandbox(|s| {
        // None has a CO-RE relocation: the threads that load are the first to read the kernel's BTF.
        let programs: String =
            (0..8).map(|n| format!("SEC(\"tp_btf/sched_switch\") int t{n}(void *ctx) {{ return 0; }}\n")).collect();
        compile(s, "/run/many.o", &programs);
        for _ in 0..20 {
            s.apply("[object.many]\npath = \"/run/many.o\"\n").exits(0);
            s.json(&["undo"]).exits(0);
        }
    });
}

#[test]
fn maps_are_made_as_libbpf_makes_them() {
    sandbox(|s| {
        let body = "struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, int); __uint(value_size, 8); }\n\
             half SEC(\".maps\");\n\
             struct ring { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1000); };\n\
             struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 2); __type(key, int);\n\
             __array(values, struct ring); } rings SEC(\".maps\");\n";
        compile(s, "/run/maps.o", body);
        s.apply("[object.odd]\npath = \"/run/maps.o\"\n").exits(0);
        assert_eq!(s.pinned("map", &format!("{LIVE}/odd/maps/half"))["bytes_value"], 8);
        assert_eq!(s.pinned("map", &format!("{LIVE}/odd/maps/rings"))["type"], "array_of_maps");
    });
}

#[test]
fn what_is_not_there_to_attach_to_is_named_with_a_mend() {
    sandbox(|s| {
        for (section, said, mend) in [
            ("raw_tp/no_such_point", "no raw tracepoint no_such_point", "events/*/no_such_point"),
            ("uprobe/libc.so.6:malloc", "read libc.so.6", "give its whole path"),
        ] {
            compile(s, "/run/lost.o", &format!("SEC(\"{section}\") int lost(void *ctx) {{ return 0; }}\n"));
            let report = s.apply("[object.lost]\npath = \"/run/lost.o\"\n").exits(1);
            let (cause, text) = report.fault("object lost");
            assert!(cause == "attach" && text.contains(said) && text.contains(mend), "{cause}: {text}");
        }
    });
}
