//! Drift, made by hand from outside with the tools that people use: `check` finds each kind and names it, `apply` repairs
//! it and says so, and after that `check` finds nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{fs, os::fd::AsRawFd, path::Path, process::Command};

use common::{
    LIVE, Report, Sandbox, compile, mount_fs,
    net::{ip, xdp},
    object, ok,
    ring::pinned,
    run, sandbox, wait_for,
};
use nix::mount::umount;

const ROOT: &str = "/sys/fs/bpf/bpfboot";

/// What was done, the item that `check` and `apply` name, what `check` says of it, and how it was done: in a shell with
/// `$root`, `$live` and `$objects`.
type Kind = (&'static str, &'static str, &'static str, &'static str);

const KINDS: &[Kind] = &[
    // What the kernel is tuned with.
    ("a key set", "sysctl net.ipv4.ip_default_ttl", r#""was":"64""#, "sysctl -qw net.ipv4.ip_default_ttl=64"),
    ("a key lowered", "sysctl net.core.somaxconn", "9000", "sysctl -qw net.core.somaxconn=128"),
    (
        "one of three lowered",
        "sysctl net.ipv4.tcp_rmem",
        "9000000",
        "sysctl -qw net.ipv4.tcp_rmem='4096 131072 6000000'",
    ),
    (
        "a key of an interface",
        "sysctl net.ipv4.conf.lo.rp_filter",
        r#""was":"0""#,
        "echo 0 > /proc/sys/net/ipv4/conf/lo/rp_filter",
    ),
    (
        "a knob turned",
        "knob tracefs/instances/bpfboot-drift/trace_clock",
        "local",
        "echo local > /sys/kernel/tracing/instances/bpfboot-drift/trace_clock",
    ),
    // File systems.
    ("tracefs unmounted", "mount tracefs /sys/kernel/tracing", "not mounted", "umount /sys/kernel/tracing"),
    ("debugfs unmounted", "mount debugfs /sys/kernel/debug", "not mounted", "umount /sys/kernel/debug"),
    ("bpffs unmounted", "mount bpf /sys/fs/bpf", "not mounted", "umount -l /sys/fs/bpf"),
    (
        "something else mounted over it",
        "mount bpf /sys/fs/bpf",
        "not mounted",
        "bpftool link detach pinned $live/count/links/count@veth0; mount -t tmpfs tmpfs /sys/fs/bpf",
    ),
    (
        "another bpffs mounted over it",
        "object tail",
        "not loaded",
        "bpftool link detach pinned $live/count/links/count@veth0; mount -t bpf bpf /sys/fs/bpf",
    ),
    ("the mode of bpffs", "mount bpf /sys/fs/bpf", "mode 0755", "chmod 0755 /sys/fs/bpf"),
    ("the owner of bpffs", "mount bpf /sys/fs/bpf", "owner 0:9", "chgrp 9 /sys/fs/bpf"),
    // Programs.
    ("a program unpinned", "object tail", "progs/pass: the pin is gone", "rm $live/tail/progs/pass"),
    ("all programs unpinned", "object tail", "progs/start: the pin is gone", "rm -r $live/tail/progs"),
    (
        "a program swapped for another of its object",
        "object tail",
        "progs/pass holds another program",
        "rm $live/tail/progs/pass; bpftool prog pin pinned $live/tail/progs/bounce $live/tail/progs/pass",
    ),
    (
        "a program swapped for one of another file",
        "object tail",
        "progs/pass holds another program",
        "rm $live/tail/progs/pass; bpftool prog load $objects/count_v1.bpf.o $live/tail/progs/pass",
    ),
    (
        "the same program loaded by somebody else",
        "object count",
        "progs/count holds another program",
        "rm $live/count/progs/count; bpftool prog load $objects/count_v1.bpf.o $live/count/progs/count",
    ),
    (
        "two programs in each other's place",
        "object tail",
        "holds another program",
        "cd $live/tail/progs; mv pass x; mv bounce pass; mv x bounce",
    ),
    (
        "a map where a program was",
        "object tail",
        "it is a map, not a program",
        "rm $live/tail/progs/pass; bpftool map pin pinned $live/tail/maps/jumps $live/tail/progs/pass",
    ),
    // Links.
    (
        "a tracepoint unlinked",
        "object ways",
        "links/by_tracepoint: the pin is gone",
        "rm $live/ways/links/by_tracepoint",
    ),
    ("a raw tracepoint unlinked", "object ways", "links/by_raw: the pin is gone", "rm $live/ways/links/by_raw"),
    (
        "two links in each other's place",
        "object ways",
        "holds another link",
        "cd $live/ways/links; mv by_raw x; mv by_tracepoint by_raw; mv x by_tracepoint",
    ),
    (
        "a link put over another",
        "object ways",
        "links/by_tracepoint: the pin is gone",
        "mv $live/ways/links/by_tracepoint $live/ways/links/by_raw",
    ),
    ("XDP unpinned", "link count/count@veth0", "", "rm $live/count/links/count@veth0"),
    ("XDP detached", "link count/count@veth0", "", "bpftool link detach pinned $live/count/links/count@veth0"),
    (
        "XDP killed with its interface",
        "link count/count@veth0",
        "",
        "ip link del veth0; ip link add veth0 type veth peer name veth1",
    ),
    (
        "the interface is another by that name",
        "link count/count@veth0",
        "",
        "ip link set veth0 name old0; ip link add veth0 type veth peer name veth2",
    ),
    ("the shelf of links removed", "link count/count@veth0", "", "rm -r $live/count/links"),
    // Maps.
    ("a map unpinned", "object table", "maps/table: the pin is gone", "rm $live/table/maps/table"),
    (
        "a map replaced by a larger one",
        "object table",
        "maps/table holds another map",
        "rm $live/table/maps/table; bpftool map create $live/table/maps/table type hash key 4 value 8 entries 99 name x",
    ),
    (
        "a map replaced by one of another type",
        "object table",
        "maps/table holds another map",
        "rm $live/table/maps/table; bpftool map create $live/table/maps/table type lru_hash key 4 value 8 entries 64 name x",
    ),
    (
        "a map replaced by one with wider keys",
        "object table",
        "maps/table holds another map",
        "rm $live/table/maps/table; bpftool map create $live/table/maps/table type hash key 8 value 8 entries 64 name x",
    ),
    (
        "a map replaced by one with wider values",
        "object table",
        "maps/table holds another map",
        "rm $live/table/maps/table; bpftool map create $live/table/maps/table type hash key 4 value 16 entries 64 name x",
    ),
    (
        "a map replaced by one with other flags",
        "object table",
        "maps/table holds another map",
        "rm $live/table/maps/table; bpftool map create $live/table/maps/table type hash key 4 value 8 entries 64 name x flags 1",
    ),
    (
        "a map replaced by one just like it",
        "object table",
        "maps/table holds another map",
        "rm $live/table/maps/table; bpftool map create $live/table/maps/table type hash key 4 value 8 entries 64 name table",
    ),
    (
        "constants replaced",
        "object tail",
        "maps/_2erodata holds another map",
        "rm $live/tail/maps/_2erodata; bpftool map create $live/tail/maps/_2erodata type array key 4 value 4 entries 1 name x",
    ),
    (
        "a jump taken out",
        "object tail",
        "map jumps: index 0 is empty; program pass belongs there",
        "bpftool map delete pinned $live/tail/maps/jumps key 0 0 0 0",
    ),
    (
        "a jump led elsewhere",
        "object tail",
        "map jumps: index 0 holds another program than pass",
        "bpftool map update pinned $live/tail/maps/jumps key 0 0 0 0 value pinned $live/tail/progs/bounce",
    ),
    (
        "an inner map taken out",
        "object nest",
        "map outer: index 1 is empty; map inner belongs there",
        "bpftool map delete pinned $live/nest/maps/outer key 1 0 0 0",
    ),
    (
        "another map put in",
        "object nest",
        "map outer: index 1 holds another map than inner",
        "bpftool map create $root/x type array key 4 value 8 entries 1 name x
         bpftool map update pinned $live/nest/maps/outer key 1 0 0 0 value pinned $root/x; rm $root/x",
    ),
    (
        "an entry changed",
        "object maps",
        "map array: its entry 1 has another value",
        "bpftool map update pinned $live/maps/maps/array key 1 0 0 0 value 9 0 0 0",
    ),
    (
        "an entry removed",
        "object maps",
        "map hash: its entry 1 is gone",
        "bpftool map delete pinned $live/maps/maps/hash key 7 0 0 0",
    ),
    (
        "a prefix removed",
        "object maps",
        "map routes: its entry 1 is gone",
        "bpftool map delete pinned $live/maps/maps/routes key 8 0 0 0 10 0 0 0",
    ),
    // Directories, and who they are of.
    ("an object removed", "object tail", "not loaded", "rm -r $live/tail"),
    ("an object renamed", "object tail", "not loaded", "mv $live/tail $live/other"),
    ("a record removed", "object count", "not loaded", "rm -r $live/count/record"),
    ("a record cut short", "object count", "not loaded", "ln -sfn nonsense $live/count/record/0"),
    ("all that is live removed", "object count", "not loaded", "rm -r $live"),
    ("all of it removed", "object ways", "not loaded", "rm -r $root"),
    ("the mode of the root", "pins /sys/fs/bpf/bpfboot", "mode 0755", "chmod 755 $root"),
    ("the mode of an object", "pins /sys/fs/bpf/bpfboot/live/tail", "mode 0777", "chmod 777 $live/tail"),
    ("the mode of a shelf", "pins /sys/fs/bpf/bpfboot/live/tail/maps", "mode 0500", "chmod 500 $live/tail/maps"),
    ("the owner of a directory", "pins /sys/fs/bpf/bpfboot/live", "owner 9", "chown 9 $live"),
    (
        "the mode of a pin",
        "pins /sys/fs/bpf/bpfboot/live/table/maps/table",
        "mode 0666",
        "chmod 666 $live/table/maps/table",
    ),
    (
        "the owner of a pin",
        "pins /sys/fs/bpf/bpfboot/live/count/progs/count",
        "owner 9",
        "chown 9 $live/count/progs/count",
    ),
];

/// Runs a shell.
fn shell(script: &str) {
    let objects = object("count_v1").replace("/count_v1.bpf.o", "");
    let vars = [("root", ROOT), ("live", LIVE), ("objects", &objects)];
    ok(Command::new("bash").args(["-euc", script]).envs(vars));
}

/// An instance of tracefs, which belongs to the whole machine.
struct Instance(&'static str);

impl Drop for Instance {
    fn drop(&mut self) {
        if fs::remove_dir(self.0).is_err() {
            mount_fs("tracefs", "/sys/kernel/tracing", "");
            fs::remove_dir(self.0).unwrap();
        }
    }
}

/// The configuration that is drifted from, applied.
fn begin(s: &Sandbox) -> (String, Instance) {
    while umount("/sys/fs/bpf").is_ok() {}
    ip("link add veth0 type veth peer name veth1");
    compile(
        s,
        "/run/nest.o",
        "struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);\n\
         __type(value, __u64); } inner SEC(\".maps\");\n\
         struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 2); __type(key, __u32);\n\
         __array(values, struct inner); } outer SEC(\".maps\") = { .values = { [1] = &inner } };\n\
         SEC(\"xdp\") int nest(void *ctx) { __u32 at = 1; return bpf_map_lookup_elem(&outer, &at) ? 2 : 1; }",
    );
    let mounts = "[mounts]\nbpffs = { mode = \"0711\", gid = 0 }\ntracefs = true\ndebugfs = true\n";
    s.apply(mounts).exits(0);
    let instance = Instance("/sys/kernel/tracing/instances/bpfboot-drift");
    let _ = fs::create_dir(instance.0);
    let keys = "[sysctl]\n\"net.ipv4.ip_default_ttl\" = 50\n\"net.core.somaxconn\" = { at-least = 9000 }\n\
        \"net.ipv4.tcp_rmem\" = { at-least = [1, 1, 9000000] }\n\"net.ipv4.conf.lo.rp_filter\" = 1\n\
        [knobs]\n\"tracefs/instances/bpfboot-drift/trace_clock\" = \"mono\"\n";
    let objects = [
        ("count", object("count_v1"), "programs.count = { attach = { xdp = \"veth0\" } }"),
        (
            "maps",
            object("maps"),
            "maps.hash.entries = [{ key = 7, value = 70 }]\n\
            maps.array.entries = [{ key = 1, value = 1 }, { key = 2, value = 5 }, { key = 2, value = 2 }]\n\
            maps.routes.entries = [{ key = \"10.0.0.0/8\", value = 3 }]\n\
            maps.per_cpu.entries = [{ key = 0, value = 4 }]",
        ),
        ("nest", "/run/nest.o".into(), ""),
        ("table", object("table_64"), ""),
        ("tail", object("tail"), "maps.jumps.programs = { 0 = \"pass\", 3 = \"bounce\" }"),
        ("ways", object("ways"), "programs = { by_tracepoint = {}, by_raw = {} }"),
    ];
    let objects = objects.map(|(name, path, keys)| format!("[object.{name}]\npath = \"{path}\"\n{keys}\n"));
    let config = [mounts, keys, &objects.concat()].concat();
    s.apply(&config).exits(0);
    s.check(&config).exits(0);
    (config, instance)
}

/// Asserts that a step of that id has that status; gives all of it.
#[track_caller]
fn says(report: &Report, what: &str, id: &str, status: &str) -> String {
    let step = report.steps().iter().find(|step| step["id"] == id && step["status"] == status);
    step.unwrap_or_else(|| panic!("{what}: no {id} that is {status} in {:#}", report.json)).to_string()
}

#[test]
fn each_kind_of_drift_is_found_named_and_repaired() {
    sandbox(|s| {
        let (config, _instance) = begin(s);
        for (what, id, text, script) in KINDS {
            common::say(&format!("{what}\n"));
            shell(script);
            if !Path::new(&format!("{LIVE}/count/links/count@veth0")).exists() {
                // A link goes with its last pin, but only when the kernel finds the time.
                wait_for("XDP to be gone", || xdp("veth0").is_none().then_some(()));
            }
            let found = s.check(&config).exits(5);
            let said = says(&found, what, id, "drift");
            assert!(said.contains(text), "{what}: {said}");
            let repaired = s.apply(&config).exits(0);
            says(&repaired, what, id, "done");
            s.check(&config).exits(0);
            s.apply(&config).exits(0).nothing_done();
        }
        s.json(&["undo"]).exits(0);
    });
}

#[test]
fn what_a_killed_run_left_is_drift_and_swept() {
    sandbox(|s| {
        let (config, _instance) = begin(s);
        shell("mkdir -p $root/stage/count/progs; cp -rl $live/count/progs/count $root/stage/count/progs/");
        let found = s.check(&config).exits(5);
        says(&found, "a stage", "pins /sys/fs/bpf/bpfboot/stage", "drift");
        says(&s.apply(&config).exits(0), "a stage", "pins of a run that was killed", "done");
        s.check(&config).exits(0);
        s.json(&["undo"]).exits(0);
    });
}

#[test]
fn what_is_not_ours_is_told_and_left_alone() {
    sandbox(|s| {
        let (config, _instance) = begin(s);
        shell(
            "bpftool map create $live/table/maps/theirs type array key 4 value 4 entries 1 name x
             mkdir $root/their_dir",
        );
        let report = s.check(&config).exits(0);
        for path in ["live/table/maps/theirs", "their_dir"] {
            says(&report, "theirs", &format!("pins {ROOT}/{path}"), "warn");
        }
        shell("rm $live/table/progs/look");
        s.apply(&config).exits(0);
        assert!(s.pins().contains(&format!("{LIVE}/table/maps/theirs")), "{:#?}", s.pins());
        let text = s.bpfboot(&["-c", "/run/test.toml", "check"]).exits(0).stdout;
        assert!(text.contains("WARN pins /sys/fs/bpf/bpfboot/their_dir: not made by bpfboot\n"), "{text}");
        assert!(text.contains("\nOK object table: sha256 "), "{text}");
    });
}

#[test]
fn who_else_sets_a_key_is_told() {
    sandbox(|s| {
        s.layer("/etc");
        for dir in ["/etc/sysctl.d", "/run/sysctl.d", "/etc/tuned/busy", "/etc/tuned/base"] {
            fs::create_dir_all(dir).unwrap();
        }
        s.file("/etc/sysctl.d/10-first.conf", "net.ipv4.ip_default_ttl = 99\nnet.core.somaxconn=7\n");
        s.file("/run/sysctl.d/20-second.conf", "# a comment\n-net/ipv4/ip_default_ttl = 64\n");
        s.file("/run/sysctl.d/10-first.conf", "net.ipv4.ip_default_ttl = 1\n");
        s.file("/etc/tuned/active_profile", "busy\n");
        s.file("/etc/tuned/busy/tuned.conf", "[main]\ninclude=base\n[sysctl]\nnet.core.somaxconn=9000\n");
        s.file("/etc/tuned/base/tuned.conf", "[sysctl]\nnet.core.somaxconn=1\nnet.ipv4.tcp_sack = 0\n[disk]\nx=1\n");
        let config = "[sysctl]\n\"net.ipv4.ip_default_ttl\" = 50\n\"net.core.somaxconn\" = { at-least = 8000 }\n\
            \"net.ipv4.tcp_sack\" = 1\n\"net.ipv4.tcp_rmem\" = { at-least = [1, 1, 9000000] }\n";
        s.apply(config).exits(0);
        let report = s.check(config).exits(0);
        let told = |key: &str| {
            let step = report.step(&format!("sysctl {key}"));
            let facts = &step["facts"];
            let text = |value: &common::Value| value.as_str().unwrap_or("").to_owned();
            (text(&step["status"]), text(&facts["wanted"]), text(&facts["elsewhere"]))
        };
        let is = |status: &str, wanted: &str, elsewhere: &str| (status.into(), wanted.into(), elsewhere.into());
        assert_eq!(told("net.ipv4.ip_default_ttl"), is("warn", "\"50\"", "/run/sysctl.d/20-second.conf sets 64"));
        assert_eq!(told("net.core.somaxconn"), is("already", "at least 8000", "/etc/tuned/busy/tuned.conf sets 9000"));
        assert_eq!(told("net.ipv4.tcp_sack"), is("warn", "\"1\"", "/etc/tuned/base/tuned.conf sets 0"));
        assert_eq!(told("net.ipv4.tcp_rmem"), is("already", "at least 1 1 9000000", ""));
        let text = s.bpfboot(&["-c", "/run/test.toml", "check"]).exits(0).stdout;
        let line = "WARN sysctl net.ipv4.ip_default_ttl: 50 (/run/sysctl.d/20-second.conf sets 64)\n";
        assert!(text.contains(line), "{text}");
    });
}

#[test]
fn the_kernel_its_options_and_the_limits_are_told() {
    sandbox(|s| {
        let config = format!("[object.count]\npath = \"{}\"\n", object("count_v1"));
        s.apply(&config).exits(0);
        let report = s.with(&config, &["check", "--probe"]).exits(0);
        assert_eq!(report.step("kernel")["now"], fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim());
        // This machine has /proc/config.gz; gzip reads the same in it.
        let options = report.step("kernel options");
        assert_eq!(
            (&options["note"], &options["now"]),
            (&"/proc/config.gz".into(), &"3 of 3 set that this configuration takes".into())
        );
        for limit in ["memlock", "nofile"] {
            assert!(report.status(&format!("limit {limit}")) == "already", "{:#}", report.json);
        }
        assert!(report.step("probe")["now"].as_str().unwrap().contains("run 1000 times"), "{:#}", report.json);
        // A kernel without an option that a program takes; then one that does not tell.
        for (packed, status, note) in [(true, "already", "/proc/config.gz"), (false, "skipped", "tells nowhere")] {
            let text = if packed { "CONFIG_BPF_SYSCALL=y\n# CONFIG_BPF_JIT is not set\nCONFIG_NET=y\n" } else { "" };
            s.file("/run/config", text);
            ok(Command::new("gzip").args(["-kf", "/run/config"]));
            if !packed {
                fs::write("/run/config.gz", "nonsense").unwrap();
            }
            ok(Command::new("mount").args(["--bind", "/run/config.gz", "/proc/config.gz"]));
            let report = s.check(&config).exits(0);
            let options = report.step("kernel options");
            assert_eq!(options["status"], status, "{:#}", report.json);
            assert!(options["note"].as_str().unwrap().contains(note), "{options}");
            let jit = report
                .steps()
                .iter()
                .any(|step| step["id"] == "kernel option CONFIG_BPF_JIT" && step["status"] == "warn");
            assert_eq!(jit, packed, "{:#}", report.json);
            umount("/proc/config.gz").unwrap();
        }
        // Without the right to load.
        let args = ["--bounding-set=-bpf,-sys_admin", "--inh-caps=-all", common::binary().to_str().unwrap()]
            .map(str::to_owned);
        let probe = run(Command::new("setpriv")
            .args(args)
            .args(["--json", "-c", "/run/test.toml", "check", "--probe"])
            .env_remove("JOURNAL_STREAM"));
        let report = Report::of(probe).exits(5);
        assert_eq!(report.fault("probe").0, "privilege");
    });
}

#[test]
fn another_program_behind_a_live_link_is_found_and_put_right() {
    sandbox(|s| {
        let (config, _instance) = begin(s);
        let link = format!("{LIVE}/count/links/count@veth0");
        let (before, ours) = (s.pinned("link", &link)["id"].clone(), xdp("veth0").unwrap());
        shell("bpftool prog load $objects/count_v2.bpf.o /sys/fs/bpf/theirs");
        update(&link, "/sys/fs/bpf/theirs");
        assert_ne!(xdp("veth0").unwrap(), ours);
        let found = s.check(&config).exits(5);
        says(&found, "a program swapped", "link count/count@veth0", "drift");
        says(&s.apply(&config).exits(0), "a program swapped", "link count/count@veth0", "done");
        assert_eq!((s.pinned("link", &link)["id"].clone(), xdp("veth0").unwrap()), (before, ours), "in place");
        s.check(&config).exits(0);
        shell("rm /sys/fs/bpf/theirs");
        s.json(&["undo"]).exits(0);
    });
}

/// Puts a pinned program behind a pinned link, which no tool does (BPF_LINK_UPDATE).
fn update(link: &str, program: &str) {
    const BPF_LINK_UPDATE: i32 = 29;
    let (link, program) = (pinned(link), pinned(program));
    let attr = [link.as_raw_fd(), program.as_raw_fd(), 0, 0];
    // SAFETY: the kernel reads sixteen bytes.
    #[allow(unsafe_code, reason = "bpf(2) has no wrapper")]
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_UPDATE, attr.as_ptr(), 16) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
