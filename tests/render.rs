//! What `render` writes, judged by those for whom it is: systemd, the published schemas, crun, and the kernel's own tools.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use common::{Sandbox, Value, binary, mount_fs, ok, run, run_bundle, runtimes, sandbox};
use nix::mount::{MntFlags, umount2};

const OBJECTS: &str = "[object.edge]\npath = \"builtin:edge\"\n[object.trace]\npath = \"builtin:trace\"\n";
const RUN: &str = "[run]\nuser = 1234\ngroup = 1234\nkeep-caps = [\"NET_RAW\"]\n";
/// The OCI's own, as Debian packages it.
const OCI_SCHEMA: &str = "/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema/config-schema.json";
const COMMAND: [&str; 4] = ["--", "/busybox", "echo", "a 'b' 100% $c"];

fn render(s: &Sandbox, config: &str, format: &str, command: &[&str]) -> String {
    let path = s.config("render.toml", config);
    let args = [&["-c", path.to_str().unwrap(), "render", format], command].concat();
    s.bpfboot(&args).exits(0).stdout
}

/// A validator that make test installed.
fn validator(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/toolchain/schemas/bin").join(name);
    assert!(path.is_file(), "{} is not there: run the tests with make test", path.display());
    Command::new(path)
}

/// With and without all that a template may leave out.
fn configs() -> [String; 2] {
    let all = "[mounts]\ntracefs = true\ndebugfs = true\n[limits]\nnofile = 5000\nmemlock = \"auto\"\n[sysctl]\n\"net.core.somaxconn\" = 77\n";
    let edge = "[object.edge]\npath = \"builtin:edge\"\nprograms.xdp_main = { attach = { xdp = \"eth7\" } }\n";
    [format!("{all}{edge}{RUN}"), String::new()]
}

#[test]
fn systemd_takes_the_unit_and_finds_little_exposed() {
    sandbox(|s| {
        let [all, tuning] = configs();
        for config in [format!("{OBJECTS}{RUN}"), all, tuning] {
            let unit = render(s, &config, "systemd", &COMMAND);
            assert!(
                unit.contains("ExecStart=/usr/bin/bpfboot --boot run -- /busybox echo \"a 'b' 100%% $$c\"\n"),
                "{unit}"
            );
            let path = s.file("/run/agent.service", &unit.replace("/usr/bin/bpfboot", binary().to_str().unwrap()));
            let judged = ok(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path));
            assert_eq!(String::from_utf8([judged.stdout, judged.stderr].concat()).unwrap(), "", "{unit}");
            // In tenths.
            let mut judge = Command::new("systemd-analyze");
            ok(judge.args(["security", "--no-pager", "--offline=true", "--threshold=20"]).arg(&path));
        }
    });
}

#[test]
fn the_published_schemas_hold() {
    sandbox(|s| {
        for config in configs() {
            let path = s.file("/run/config.json", &render(s, &config, "oci", &COMMAND));
            ok(validator("check-jsonschema").args(["--schemafile", OCI_SCHEMA]).arg(path));
            let path = s.file("/run/compose.yaml", &render(s, &config, "compose", &COMMAND));
            ok(validator("check-jsonschema").args(["--builtin-schema", "vendor.compose-spec"]).arg(path));
            let manifest = render(s, &config, "kubernetes", &COMMAND);
            assert_eq!(manifest.matches("\n---\n").count(), 1, "{manifest}");
            let path = s.file("/run/agent.yaml", &manifest);
            let ran = run(validator("kubernetes-validate").arg("--strict").arg(path)).exits(0);
            assert_eq!(ran.stdout.matches("passed").count() + ran.stderr.matches("passed").count(), 2, "{ran:#?}");
        }
    });
}

#[test]
fn runtimes_run_the_bundle() {
    sandbox(|s| {
        umount2("/sys/fs/cgroup", MntFlags::MNT_DETACH).unwrap();
        mount_fs("cgroup2", "/sys/fs/cgroup", "");
        mount_fs("tracefs", "/sys/kernel/tracing", "");
        let root = "/run/bundle/rootfs";
        fs::create_dir_all(format!("{root}/etc/bpfboot.d")).unwrap();
        fs::create_dir_all(format!("{root}/usr/bin")).unwrap();
        fs::copy(binary(), format!("{root}/usr/bin/bpfboot")).unwrap();
        fs::copy("/bin/busybox", format!("{root}/busybox")).unwrap();
        let config = format!("[limits]\nnofile = 5000\n{OBJECTS}{RUN}");
        s.file(&format!("{root}/etc/bpfboot.d/a.toml"), &config);
        let script = "/busybox grep CapEff /proc/self/status; ulimit -n";
        let text = render(s, &config, "oci", &["--", "/busybox", "sh", "-c", script]);
        let spec: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert!(spec["annotations"]["bpfboot.capabilities"].as_str().unwrap().contains("CAP_NET_ADMIN: networking"));
        fs::write("/run/bundle/config.json", &text).unwrap();
        for runtime in runtimes() {
            let ran = run_bundle(&runtime).exits(0);
            assert_eq!(ran.stdout, "CapEff:\t0000000000002000\n5000\n", "{runtime}: {ran:#?}");
        }
    });
}

#[test]
fn the_shell_takes_the_script_of_docker() {
    sandbox(|s| {
        // Says what it was called with, in place of docker.
        let docker = s.file("/run/docker", "#!/bin/sh\nprintf '%s\\n' \"$@\"\n");
        ok(Command::new("chmod").arg("755").arg(docker));
        for config in configs() {
            let script = s.file("/run/script", &render(s, &config, "docker", &COMMAND));
            let ran = run(Command::new("/bin/sh").arg(script).env("PATH", "/run").stdin(Stdio::null())).exits(0);
            let words: Vec<&str> = ran.stdout.lines().collect();
            assert_eq!(words[words.len() - 5..], ["run", "--", "/busybox", "echo", "a 'b' 100% $c"], "{ran:#?}");
            assert!(ran.stdout.contains("--cap-drop\nALL\n--cap-add\n"), "{ran:#?}");
            assert_eq!(words.contains(&"host"), config.contains("eth7"), "{ran:#?}");
        }
    });
}

#[test]
fn settings_as_files_hold_the_same_values() {
    sandbox(|s| {
        let config = "profiles = [\"network\"]\n[sysctl]\n\"net.ipv4.ip_default_ttl\" = 77\n\"net.core.somaxconn\" = { at-least = 5000 }\n\
                      [limits]\nnofile = 5000\nmemlock = \"64M\"\n";
        let file = render(s, config, "sysctl.d", &[]);
        let path = s.file("/run/90-bpfboot.conf", &file);
        ok(Command::new("/usr/lib/systemd/systemd-sysctl").arg(path));
        assert_eq!(
            (s.sysctl("net.ipv4.ip_default_ttl").as_str(), s.sysctl("net.core.somaxconn").as_str()),
            ("77", "5000")
        );
        s.with(config, &["check"]).exits(0);
        for (at, line) in file.lines().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#')) {
            let above = file.lines().nth(at - 1).unwrap();
            assert!(above.starts_with("# ") && above.len() > 10, "no reason over {line}: {file}");
        }
        let limits = render(s, config, "limits", &[]);
        let rows: Vec<&str> = limits.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(rows, ["* - memlock 65536", "root - memlock 65536", "* - nofile 5000", "root - nofile 5000"]);
    });
}
