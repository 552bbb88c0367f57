//! In real containers of crun and runc, and of youki by `make youki-test`, on the capabilities that `caps` printed and
//! nothing more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use common::{Ran, Sandbox, Value, binary, mount_fs, run, run_bundle, runtimes, sandbox, wait_for};
use nix::mount::{MntFlags, umount2};
use serde_json::json;

const OBJECTS: &str = "[object.edge]\npath = \"builtin:edge\"\n[object.trace]\npath = \"builtin:trace\"\n";
const RUN: &str =
    "[run]\nuser = \"agent\"\nkeep-caps = [\"NET_RAW\"]\npass-fds = [\"trace/maps/events\", \"trace/maps/drops\"]\n";
const READER: [&str; 4] = ["/reader", "--ignored", "--exact", "--nocapture"];

/// A bundle below /run, with its root file system: two static programs, and a user.
struct Bundle<'s> {
    s: &'s Sandbox,
    spec: Value,
}

impl<'s> Bundle<'s> {
    fn new(s: &'s Sandbox, config: &str) -> Self {
        // What a host has. The machine's own cgroups are not touched.
        umount2("/sys/fs/cgroup", MntFlags::MNT_DETACH).unwrap();
        mount_fs("cgroup2", "/sys/fs/cgroup", "");
        mount_fs("tracefs", "/sys/kernel/tracing", "");
        for dir in ["proc", "sys", "dev", "run", "etc/bpfboot.d"] {
            fs::create_dir_all(format!("/run/bundle/rootfs/{dir}")).unwrap();
        }
        for (from, to) in [(binary(), "bpfboot"), (reader(), "reader"), ("/bin/busybox".into(), "busybox")] {
            let to = format!("/run/bundle/rootfs/{to}");
            fs::copy(from, &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        }
        s.file("/run/bundle/rootfs/etc/passwd", "root:x:0:0::/:\nagent:x:1234:1234::/:\n");
        s.file("/run/bundle/rootfs/etc/bpfboot.d/a.toml", config);
        let mounts = json!([
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/bpf", "type": "bind", "source": "/sys/fs/bpf", "options": ["rbind", "rw"] },
            { "destination": "/sys/kernel/tracing", "type": "bind", "source": "/sys/kernel/tracing", "options": ["bind", "ro"] },
        ]);
        let namespaces: Vec<Value> =
            ["pid", "mount", "network", "ipc", "uts"].iter().map(|one| json!({ "type": one })).collect();
        let spec = json!({
            "ociVersion": "1.0.2",
            "root": { "path": "rootfs" },
            "process": { "cwd": "/", "noNewPrivileges": true, "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/", "NO_COLOR=1"] },
            "mounts": mounts,
            "linux": { "namespaces": namespaces, "readonlyPaths": ["/proc/sys"], "maskedPaths": ["/proc/kcore"] },
        });
        Self { s, spec }
    }

    /// The names that `caps` prints, asked on the host.
    fn caps(&self, also: &[&str]) -> Vec<String> {
        let asked = self.s.bpfboot(&[&["-q", "-c", "/run/bundle/rootfs/etc/bpfboot.d/a.toml", "caps"], also].concat());
        asked.exits(0).stdout.split_whitespace().map(str::to_owned).collect()
    }

    /// Takes a mount of the host away.
    fn without(&mut self, destination: &str) {
        self.spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != destination);
    }

    fn run(&self, runtime: &str, caps: &[String], args: &[&str]) -> Ran {
        let mut spec = self.spec.clone();
        spec["process"]["args"] = json!(args);
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = json!(caps);
        }
        fs::write("/run/bundle/config.json", spec.to_string()).unwrap();
        run_bundle(runtime)
    }
}

/// The program in tests/run.rs that reads from the descriptor it was passed.
fn reader() -> std::path::PathBuf {
    let is_it = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.strip_prefix("run-").is_some_and(|hash| !hash.contains('.'))
    };
    let own = common::own_program();
    let all = fs::read_dir(own.parent().unwrap()).unwrap().flatten().map(|entry| entry.path());
    let newest = all.filter(|path| is_it(path)).max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    newest.expect("tests/run.rs is not built: make test ARGS=\"--test run --test container\"")
}

fn status(ran: &Ran, name: &str) -> String {
    let line = ran.stdout.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {ran:#?}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_printed_capabilities_are_enough_and_none_is_too_many() {
    sandbox(|s| {
        let bundle = Bundle::new(s, &format!("{OBJECTS}{RUN}"));
        let caps = bundle.caps(&[]);
        assert_eq!(caps.join(" "), "CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_NET_ADMIN CAP_NET_RAW CAP_PERFMON CAP_BPF");
        let command = [&["/bpfboot", "-q", "run", "--"], &READER[..], &["reads_from_its_descriptor"]].concat();
        for missing in &caps {
            let rest: Vec<String> = caps.iter().filter(|one| *one != missing).cloned().collect();
            let ran = bundle.run("crun", &rest, &command).exits(125);
            assert!(ran.stderr.contains(&format!("{missing} not held")), "without {missing}: {ran:#?}");
            assert!(s.pins().is_empty(), "without {missing}: {:?}", s.pins());
        }
        // The first one loads, the second one finds all of it.
        for runtime in &runtimes() {
            let ran = bundle.run(runtime, &caps, &command).exits(0);
            assert_eq!((status(&ran, "Uid:"), status(&ran, "NoNewPrivs:")), ("1234 1234 1234 1234".into(), "1".into()));
            for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
                assert_eq!(status(&ran, set), "0000000000002000", "{runtime} {set}");
            }
            assert!(s.pins().iter().any(|pin| pin.ends_with("live/trace/maps/events")), "the host has the pins");
        }
        let bundle = bundle.run("runc", &caps, &["/bpfboot", "run", "--", "/busybox", "sh", "-c", "echo $$; exit 77"]);
        assert_eq!((bundle.stdout.as_str(), bundle.code), ("1\n", Some(77)), "{bundle:#?}");
    });
}

#[test]
fn what_a_container_lacks_is_one_line_each() {
    sandbox(|s| {
        let tuned =
            "profiles = [\"core\"]\n[knobs]\n\"debugfs/kprobes/enabled\" = { value = 1, if-available = true }\n";
        let mut bundle = Bundle::new(s, &format!("{tuned}{OBJECTS}"));
        let caps = bundle.caps(&[]);
        let apply = |bundle: &Bundle<'_>, config: &str, code: i32| {
            s.file("/run/bundle/rootfs/etc/bpfboot.d/a.toml", config);
            bundle.run("crun", &caps, &["/bpfboot", "apply"]).exits(code)
        };
        // A network namespace of its own, a read-only /proc/sys and no debugfs: healthy, and quietly so.
        let ran = apply(&bundle, &format!("{tuned}{OBJECTS}"), 0);
        for line in [
            "skipped sysctl net.core.bpf_jit_enable: not here (only the initial network namespace has this key)",
            "skipped knob debugfs/kprobes/enabled: debugfs is not mounted",
            "bpfboot apply: healthy",
        ] {
            assert_eq!(ran.stdout.lines().filter(|one| one.starts_with(line)).count(), 1, "{line}: {ran:#?}");
        }
        assert!(!ran.stdout.contains("why:"), "{ran:#?}");
        // The same keys, where somebody insists on them.
        let wanted = "[sysctl]\n\"net.core.bpf_jit_harden\" = 2\n\"net.core.somaxconn\" = 77\n";
        let ran = apply(&bundle, &format!("{wanted}{OBJECTS}"), 1);
        for part in [
            "why:  sysctl net.core.bpf_jit_harden: not here (only the initial network namespace has this key)",
            "why:  sysctl net.core.somaxconn: /proc/sys is mounted read-only",
            "container: docker run --sysctl for net",
            "nothing was changed",
        ] {
            assert!(ran.stdout.contains(part), "{part}: {ran:#?}");
        }
        // Without the host's file systems.
        s.bpfboot(&["undo"]).exits(0);
        bundle.without("/sys/kernel/tracing");
        let ran = apply(&bundle, &format!("{OBJECTS}programs.trace_openat = {{}}\n"), 1);
        assert!(ran.stdout.contains("why:  object trace: program trace_openat: tracefs is not mounted"), "{ran:#?}");
        // Taken whole, the object knows another way.
        let ran = apply(&bundle, OBJECTS, 0);
        assert!(ran.stdout.contains("; instead of trace_openat: tracefs is not mounted, so"), "{ran:#?}");
        s.bpfboot(&["undo"]).exits(0);
        bundle.without("/sys/fs/bpf");
        let ran = apply(&bundle, OBJECTS, 1);
        let part = "why:  loader: /sys/fs/bpf is not on a BPF file system [mount: not-mounted]\n  mend: [mounts] bpffs = true, a container's \
                    -v /sys/fs/bpf:/sys/fs/bpf, or: mount -t bpf bpf /sys/fs/bpf";
        assert!(ran.stdout.contains(part), "{ran:#?}");
    });
}

#[test]
fn a_map_over_the_memory_limit_is_refused_with_the_sum() {
    /// A cgroup of the machine that goes with the test.
    struct Cgroup(String);
    impl Drop for Cgroup {
        fn drop(&mut self) {
            wait_for("the cgroup to be empty", || fs::remove_dir(&self.0).ok());
        }
    }
    sandbox(|s| {
        let v1 = Path::new("/sys/fs/cgroup/memory").is_dir();
        let (root, file) =
            if v1 { ("/sys/fs/cgroup/memory", "memory.limit_in_bytes") } else { ("/sys/fs/cgroup", "memory.max") };
        let cgroup = Cgroup(format!("{root}/bpfboot-test-{}", std::process::id()));
        fs::create_dir(&cgroup.0).unwrap();
        fs::write(format!("{}/{file}", cgroup.0), "33554432").unwrap();
        let config = |size: &str| {
            format!(
                "[mounts]\ntracefs = true\n[object.trace]\npath = \"builtin:trace\"\nmaps.events.max-entries = \"{size}\"\n"
            )
        };
        let apply = |size: &str| {
            let path = s.config("limited.toml", &config(size));
            let script = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", cgroup.0);
            let mut command = Command::new("sh");
            command.args(["-c", &script, "sh"]).arg(binary()).args(["--json", "-c", path.to_str().unwrap(), "apply"]);
            common::Report::of(run(command.stdin(Stdio::null())))
        };
        let report = apply("64M").exits(1);
        let (cause, text) = report.fault("object trace");
        assert!(cause == "limit" && text.contains("map events: takes 65"), "{text}");
        assert!(text.contains("more than the cgroup's 32768") && text.contains("docker run --memory"), "{text}");
        assert_eq!(s.pins(), Vec::<String>::new());
        apply("1M").exits(0);
    });
}

#[test]
fn the_image_is_small_reproducible_and_runs() {
    /// Bytes of all files in the unpacked image: a bar of the product.
    const MOST: u64 = 900 * 1024;
    sandbox(|s| {
        let build = |layout: &str| {
            let mut command = Command::new("image/oci.sh");
            common::ok(
                command
                    .current_dir(env!("CARGO_MANIFEST_DIR"))
                    .arg(layout)
                    .arg(binary().with_file_name("bpfboot-small")),
            );
            fs::read_to_string(format!("{layout}/index.json")).unwrap()
        };
        assert_eq!(build("/run/oci"), build("/run/again"));
        let bundle = Bundle::new(s, "");
        fs::remove_dir_all("/run/bundle").unwrap();
        common::ok(Command::new("umoci").args(["--log=error", "unpack", "--image", "/run/oci:latest", "/run/bundle"]));
        let files =
            common::ok(Command::new("find").args(["/run/bundle/rootfs", "-type", "f", "-printf", "%P %s\n"])).stdout;
        let files = String::from_utf8(files).unwrap();
        let (name, size) = files.trim().split_once(' ').unwrap();
        assert!(name == "usr/bin/bpfboot" && size.parse::<u64>().unwrap() <= MOST, "{files}");
        let spec: Value = serde_json::from_str(&fs::read_to_string("/run/bundle/config.json").unwrap()).unwrap();
        assert_eq!(spec["process"]["args"], json!(["/usr/bin/bpfboot", "apply"]));
        for runtime in &runtimes() {
            let args = ["/usr/bin/bpfboot", "--json", "-c", "-", "apply"];
            let ran = bundle.run(runtime, &[], &args);
            assert!(ran.code == Some(0) && ran.stdout.contains("\"health\":\"healthy\""), "{runtime}: {ran:#?}");
        }
    });
}
