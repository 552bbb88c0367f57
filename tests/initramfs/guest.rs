//! Machines that boot in QEMU: an initramfs, a read-only root, and a script that is told to say what it sees.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard},
};

use serde_json::Value;

/// The first lines of each script.
const PRELUDE: &str = include_str!("guest.sh");

/// The longest that a boot may take: interpreted, on a busy machine, three times what was seen.
const LONGEST: &str = "240";

/// Debians that were built already.
static BUILT: Mutex<Vec<&str>> = Mutex::new(Vec::new());

/// Where the image and the initramfs of one Debian are, built when they are first asked for. With BUILT in the
/// environment they are taken as they are.
pub fn built(suite: &'static str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut built: MutexGuard<'_, Vec<_>> = BUILT.lock().unwrap_or_else(|stale| stale.into_inner());
    if !built.contains(&suite) && env::var_os("BUILT").is_none() {
        let status = Command::new(root.join("tests/initramfs/build.sh")).arg(suite).status().unwrap();
        assert!(status.success(), "tests/initramfs/build.sh {suite}: {status}");
        built.push(suite);
    }
    root.join("target/initramfs-test").join(suite)
}

/// What is booted.
pub struct Machine<'a> {
    /// Where kernel, initramfs and root are.
    pub dir: &'a Path,
    /// The initramfs, by its file's name there.
    pub initrd: &'a str,
    /// The root, by its file's name there.
    pub root: &'a str,
    /// Put into the initramfs as a configuration of its own.
    pub early_config: &'a str,
    /// More of the kernel command line.
    pub append: &'a str,
}

/// What the guest said.
pub struct Said {
    told: BTreeMap<String, String>,
    /// The kernel's console.
    pub console: String,
}

impl Machine<'_> {
    /// Boots it, and runs a script once its services are up.
    pub fn boot(&self, name: &str, script: &str) -> Said {
        let out = self.dir.join("out").join(name);
        fs::create_dir_all(&out).unwrap();
        let path = |file: &str| out.join(file).to_str().unwrap().to_owned();
        let here = |file: &str| self.dir.join(file).to_str().unwrap().to_owned();

        let mut initrd = fs::read(here(self.initrd)).unwrap();
        if !self.early_config.is_empty() {
            initrd.extend(archive(&out, self.early_config));
        }
        fs::write(path("initrd"), initrd).unwrap();
        let mut script = format!("{PRELUDE}{script}").into_bytes();
        script.resize(script.len().next_multiple_of(512), b'\n');
        fs::write(path("script"), script).unwrap();
        let words = format!(
            "net.ifnames=0 root=/dev/vda rootfstype=squashfs ro rd.shell=0 rd.emergency=poweroff \
             systemd.run=\"/bin/sh /dev/vdb\" {}",
            self.append
        );

        let mut boot = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/boot.sh"));
        // One CPU: of two, the kernel that kexec starts does not always get hold of the second.
        boot.args(["--cpus", "1"]);
        boot.args(["--net", "--memory", "768", "--timeout", LONGEST, "--append", &words, "--log", &path("")]);
        boot.args(["--image", &here(self.root), "--disk", &path("script"), &here("vmlinux"), &path("initrd")]);
        let output = boot.stdin(Stdio::null()).output().unwrap();
        let console = String::from_utf8_lossy(&fs::read(path("console")).unwrap()).replace('\r', "");
        assert!(output.status.code() != Some(124), "{name} hangs\n{console}");
        let console = format!("{console}{}", String::from_utf8_lossy(&output.stderr));
        let result = String::from_utf8(output.stdout).unwrap();
        let mut told: Vec<(String, String)> = Vec::new();
        for line in result.lines() {
            match (line.strip_prefix("== "), told.last_mut()) {
                (Some(about), _) => told.push((about.into(), String::new())),
                (None, Some((_, text))) => *text += &format!("{line}\n"),
                (None, None) => panic!("{name}: {line}"),
            }
        }
        Said { told: told.into_iter().collect(), console }
    }
}

/// A file of configuration as an archive that the kernel unpacks over the initramfs before it.
fn archive(dir: &Path, config: &str) -> Vec<u8> {
    let tree = dir.join("early");
    fs::create_dir_all(tree.join("etc/bpfboot.d")).unwrap();
    fs::write(tree.join("etc/bpfboot.d/99-early.toml"), config).unwrap();
    let mut cpio = Command::new("cpio");
    cpio.args(["--create", "--format=newc", "--owner=0:0", "--quiet"]).current_dir(tree);
    let mut child = cpio.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"etc\netc/bpfboot.d\netc/bpfboot.d/99-early.toml\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "cpio: {}", output.status);
    output.stdout
}

impl Said {
    /// Whether the script came to its end.
    pub fn ended(&self) -> bool {
        self.told.contains_key("end")
    }

    /// What stands under a heading.
    #[track_caller]
    pub fn about(&self, what: &str) -> &str {
        let told = self.told.get(what);
        told.unwrap_or_else(|| panic!("nothing about {what} in {:#?}\n{}", self.told, self.console)).trim()
    }

    /// The same, as JSON.
    #[track_caller]
    pub fn json(&self, what: &str) -> Value {
        serde_json::from_str(self.about(what)).unwrap_or_else(|e| panic!("{what}: {e}: {}", self.about(what)))
    }
}
