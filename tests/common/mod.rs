//! What every test stands on: a sandbox of its own, the program under test, and the tools that judge it from outside.
#![allow(dead_code, reason = "every test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

pub mod declare;
pub mod events;
pub mod net;
pub mod ring;
pub mod sizes;
pub mod trace;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::{CommandExt, ExitStatusExt},
    },
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::signal::{SigHandler, Signal, killpg},
    unistd::Pid,
};
pub use serde_json::Value;

/// Longest wait for something that must come: far more than it takes, so that only a hang ends a wait.
const PATIENCE: Duration = Duration::from_secs(15);

/// Longest life of a process: what is longer hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// The pins, as people read the path.
pub const LIVE: &str = "/sys/fs/bpf/bpfboot/live";

/// The binary under test.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("BPFBOOT")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bpfboot"), PathBuf::from);
    assert!(path.is_file(), "{} is not there: run the tests with make test", path.display());
    path
}

/// An object that make test compiled from tests/objects.
pub fn object(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/test-objects/{name}.bpf.o"));
    assert!(path.is_file(), "{} is not there: run the tests with make test", path.display());
    path.to_str().unwrap().to_owned()
}

/// Compiles the body of an object in C; its headers and its licence are added.
pub fn compile(s: &Sandbox, to: &str, body: &str) {
    let head = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n";
    let source = s.file(&format!("{to}.bpf.c"), &format!("{head}{body}"));
    let machine = String::from_utf8(ok(Command::new("cc").arg("-print-multiarch")).stdout).unwrap();
    let include = format!("-I/usr/include/{}", machine.trim());
    ok(Command::new("clang").args(["-g", "-O2", "-target", "bpf", &include, "-o", to, "-c"]).arg(source));
}

/// The program of this test. Not current_exe(): in a sandbox in a root that was changed, that is a path from outside.
pub fn own_program() -> PathBuf {
    std::env::args_os().next().unwrap().into()
}

/// Waits until `ready` gives something; `what` is said when it never does.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A mount and a network namespace of its own, with a fresh bpffs, a fresh /run and no configuration of the machine.
/// It ends with the test: what is pinned, attached and mounted in it goes, whatever becomes of the test.
pub struct Sandbox(());

/// Runs a test in a sandbox. Sandboxes of several test processes wait for each other: some settings are the machine's.
pub fn sandbox<T: Send>(test: impl FnOnce(&Sandbox) -> T + Send) -> T {
    let turn = File::create("/tmp/bpfboot-tests.lock").unwrap();
    turn.lock().unwrap();
    inside(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET, |s| {
        ok(Command::new("ip").args(["link", "set", "lo", "up"]));
        test(s)
    })
}

/// The machine itself, for what looks at it and changes nothing.
pub fn machine() -> Sandbox {
    Sandbox(())
}

/// Runs a test in a sandbox beside others, for what changes nothing of the whole machine; `new` namespaces are its own.
pub fn inside<T: Send>(new: CloneFlags, test: impl FnOnce(&Sandbox) -> T + Send) -> T {
    assert_eq!(fs::metadata("/proc/self").unwrap().uid(), 0, "these tests need root");
    let result = thread::scope(|scope| {
        let within = || {
            let sandbox = Sandbox::enter(new);
            catch_unwind(AssertUnwindSafe(|| test(&sandbox)))
        };
        thread::Builder::new().name("sandbox".into()).spawn_scoped(scope, within).unwrap().join().unwrap()
    });
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

impl Sandbox {
    fn enter(new: CloneFlags) -> Self {
        // A shell starts what it runs in the background with both ignored, and so would we what we start.
        for signal in [Signal::SIGINT, Signal::SIGQUIT] {
            // SAFETY: no handler is installed.
            #[allow(unsafe_code, reason = "signal(2)")]
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.unwrap();
        }
        unshare(new).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        mount_fs("bpf", "/sys/fs/bpf", "");
        mount_fs("tmpfs", "/run", "mode=0755");
        // A run on the machine itself, such as `make run`, leaves them mounted; here they come and go.
        for fs in ["/sys/kernel/tracing", "/sys/kernel/debug"] {
            while umount2(fs, MntFlags::MNT_DETACH).is_ok() {}
        }
        for dir in ["/etc/bpfboot.d", "/usr/lib/bpfboot.d"] {
            if Path::new(dir).exists() {
                mount_fs("tmpfs", dir, "mode=0755");
            }
        }
        Self(())
    }

    /// bpfboot, to be completed.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).stdin(Stdio::null()).env_remove("JOURNAL_STREAM").env("NO_COLOR", "1");
        command
    }

    /// Runs bpfboot to its end.
    pub fn bpfboot(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args))
    }

    /// Runs a verb with `--json` and the configuration `config`.
    pub fn with(&self, config: &str, verb: &[&str]) -> Report {
        let path = self.config("test.toml", config);
        self.json(&[&["-c", path.to_str().unwrap()], verb].concat())
    }

    /// `apply` with a configuration.
    pub fn apply(&self, config: &str) -> Report {
        self.with(config, &["apply"])
    }

    /// `check` with a configuration.
    pub fn check(&self, config: &str) -> Report {
        self.with(config, &["check"])
    }

    /// Runs a verb with `--json`.
    pub fn json(&self, args: &[&str]) -> Report {
        Report::of(self.bpfboot(&[&["--json"], args].concat()))
    }

    /// Starts a verb with `--json` and goes on.
    pub fn start(&self, config: &str, verb: &[&str]) -> Running {
        let path = self.config("started.toml", config);
        let args = [&["--json", "-c", path.to_str().unwrap()], verb].concat();
        Running(Some(start(&mut self.command(&args))))
    }

    /// A configuration file that bpfboot trusts.
    pub fn config(&self, name: &str, text: &str) -> PathBuf {
        // In one move: a run that was started before may be reading it.
        let (new, path) = (self.file(&format!("/run/.{name}"), text), PathBuf::from(format!("/run/{name}")));
        fs::rename(new, &path).unwrap();
        path
    }

    /// A file that only root can write.
    pub fn file(&self, path: &str, text: &str) -> PathBuf {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        path.into()
    }

    /// Lays a writable layer over a directory of the machine, which stays as it is.
    pub fn layer(&self, over: &str) {
        let layer = format!("/run/layer{}", over.replace('/', "-"));
        for dir in ["", "/upper", "/work"] {
            fs::create_dir(format!("{layer}{dir}")).unwrap();
        }
        let options = format!("lowerdir={over},upperdir={layer}/upper,workdir={layer}/work");
        mount_fs("overlay", over, &options);
    }

    /// Binds a directory onto itself, so that its mount can be changed without the machine's.
    pub fn bind(&self, path: &str) {
        mount(Some(path), path, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).unwrap();
    }

    /// Makes the mount at `path` read-only, or writable again.
    pub fn read_only(&self, path: &str, read_only: bool) {
        let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        flags.set(MsFlags::MS_RDONLY, read_only);
        mount(None::<&str>, path, None::<&str>, flags, None::<&str>).unwrap();
    }

    /// What bpftool says.
    pub fn bpftool(&self, args: &[&str]) -> Value {
        let output = ok(Command::new("bpftool").arg("-j").args(args));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// The program, map or link pinned there, as bpftool shows it: `kind` is `prog`, `map` or `link`.
    pub fn pinned(&self, kind: &str, path: &str) -> Value {
        match self.bpftool(&[kind, "show", "pinned", path]) {
            Value::Array(mut list) if list.len() == 1 => list.remove(0),
            shown => shown,
        }
    }

    /// The entries of a pinned map: key bytes and value bytes, of a per-CPU map those of every CPU.
    pub fn dump(&self, path: &str) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
        let dumped = self.bpftool(&["map", "dump", "pinned", path]);
        let entries = dumped.as_array().unwrap_or_else(|| panic!("no entries in {dumped}"));
        entries
            .iter()
            .filter(|entry| entry["value"].get("error").is_none())
            .map(|entry| {
                let values = match entry["values"].as_array() {
                    Some(cpus) => cpus.iter().map(|cpu| bytes(&cpu["value"])).collect(),
                    None => vec![bytes(&entry["value"])],
                };
                (bytes(&entry["key"]), values)
            })
            .collect()
    }

    /// The sum over all CPUs of the u64 at an index of a pinned per-CPU array.
    pub fn counter(&self, path: &str, index: u32) -> u64 {
        let entries = self.dump(path);
        let values =
            entries.get(index.to_ne_bytes().as_slice()).unwrap_or_else(|| panic!("no index {index} in {path}"));
        values.iter().map(|value| u64::from_ne_bytes(value.as_slice().try_into().unwrap())).sum()
    }

    /// Runs a pinned XDP program once on a packet of zeroes (BPF_PROG_TEST_RUN) and gives its verdict.
    pub fn verdict(&self, path: &str) -> u64 {
        let packet = self.file("/run/packet", &"\0".repeat(64));
        let ran = self.bpftool(&["prog", "run", "pinned", path, "data_in", packet.to_str().unwrap()]);
        ran["retval"].as_u64().unwrap_or_else(|| panic!("no verdict in {ran}"))
    }

    /// Every path below the bpffs, sorted, with the texts of its links.
    pub fn pins(&self) -> Vec<String> {
        tree(Path::new("/sys/fs/bpf"))
    }

    /// A sysctl of this sandbox, read raw.
    pub fn sysctl(&self, key: &str) -> String {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim_end().to_owned()
    }

    /// Sets a sysctl raw.
    pub fn set_sysctl(&self, key: &str, value: &str) {
        assert_ne!(key, "kernel.unprivileged_bpf_disabled", "1 would stay until a reboot");
        fs::write(format!("/proc/sys/{}", key.replace('.', "/")), value).unwrap();
    }

    /// Remembers a sysctl of the whole machine, and restores it when the test ends, also by a panic.
    pub fn guard(&self, key: &'static str) -> Guard {
        Guard { key, was: self.sysctl(key) }
    }

    /// What a file system is mounted on a path, or is not.
    pub fn is_mounted(&self, fs: &str, at: &str) -> bool {
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
        mounts.lines().any(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            fields[1] == at && fields[2] == fs
        })
    }

    /// The whole of what a run leaves behind, without ids, which no two runs share.
    pub fn state(&self) -> String {
        let mut state = String::new();
        for path in self.pins().iter().filter(|path| !path.contains("/record/")) {
            let path = path.split(" -> ").next().unwrap();
            let shelf = Path::new(path).parent().and_then(Path::file_name).and_then(|name| name.to_str());
            let shown = match shelf {
                Some("progs") => {
                    let program = self.pinned("prog", path);
                    format!("{} {} {}", program["type"], program["name"], program["tag"])
                }
                Some("maps") => {
                    let map = self.pinned("map", path);
                    format!(
                        "{} {} {} {} {}",
                        map["type"], map["bytes_key"], map["bytes_value"], map["max_entries"], map["flags"]
                    )
                }
                Some("links") => {
                    let link = self.pinned("link", path);
                    format!("{} {}", link["type"], link.get("devname").unwrap_or(&Value::Null))
                }
                _ => String::new(),
            };
            writeln!(state, "{path} {shown}").unwrap();
        }
        for file in ["journal", "undo"] {
            // What undo would take back, and whether a run is unfinished.
            writeln!(state, "{file}: {:?}", fs::read_to_string(format!("/run/bpfboot/{file}")).ok()).unwrap();
        }
        for (fs, at) in [("tracefs", "/sys/kernel/tracing"), ("debugfs", "/sys/kernel/debug")] {
            writeln!(state, "{fs}: {}", self.is_mounted(fs, at)).unwrap();
        }
        state
    }
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_array().unwrap_or_else(|| panic!("no bytes: {hex}"));
    hex.iter().map(|byte| u8::from_str_radix(byte.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()).collect()
}

fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let shown = path.to_str().unwrap();
        if let Ok(target) = fs::read_link(&path) {
            found.push(format!("{shown} -> {}", target.display()));
        } else if !shown.ends_with(".debug") {
            // maps.debug and progs.debug are the kernel's own.
            found.push(shown.to_owned());
            if path.is_dir() {
                found.extend(tree(&path));
            }
        }
    }
    found.sort();
    found
}

/// Mounts a file system.
pub fn mount_fs(fs: &str, at: &str, options: &str) {
    mount(Some(fs), at, Some(fs), MsFlags::empty(), Some(options))
        .unwrap_or_else(|e| panic!("mount {fs} on {at} with {options:?}: {e}"));
}

/// A sysctl of the machine that comes back.
pub struct Guard {
    key: &'static str,
    was: String,
}

impl Guard {
    /// Its value before the test.
    pub fn was(&self) -> &str {
        &self.was
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let path = format!("/proc/sys/{}", self.key.replace('.', "/"));
        if fs::read_to_string(&path).is_ok_and(|is| is.trim_end() != self.was) {
            fs::write(&path, &self.was).unwrap();
        }
    }
}

/// Runs a tool that must succeed.
pub fn ok(command: &mut Command) -> Output {
    let output = to_its_end(start(command), &format!("{command:?}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    Ran::of(to_its_end(start(command), &format!("{command:?}")))
}

/// The container runtimes to test with: crun, runc, and what `BPFBOOT_RUNTIMES` names besides.
pub fn runtimes() -> Vec<String> {
    let more = std::env::var("BPFBOOT_RUNTIMES").unwrap_or_default();
    ["crun", "runc"].into_iter().chain(more.split_whitespace()).map(str::to_owned).collect()
}

/// Runs the bundle /run/bundle in a container.
pub fn run_bundle(runtime: &str) -> Ran {
    let mut command = Command::new(runtime);
    command.args(["--root", "/run/runtime"]).args((runtime == "crun").then_some("--cgroup-manager=disabled"));
    run(command.args(["run", "-b", "/run/bundle", "test"]).stdin(Stdio::null()))
}

/// Starts a command that leads a process group of its own and is listened to.
fn start(command: &mut Command) -> Child {
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Waits until a process has ended and nobody holds its output any more. What hangs is killed, with all of its group.
fn to_its_end(child: Child, what: &str) -> Output {
    let (group, (done, over)) = (Pid::from_raw(child.id() as i32), channel::<()>());
    let watch = thread::spawn(move || {
        let hangs = over.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout);
        hangs && killpg(group, Signal::SIGKILL).is_ok()
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    assert!(!watch.join().unwrap(), "{what}: had to be killed after {LONGEST:?}: {output:?}");
    output
}

/// A process that ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal it died of, if it did.
    pub signal: Option<i32>,
    /// What it wrote.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Ran {
    /// What became of it.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

/// A bpfboot with `--json` that runs.
pub struct Running(Option<Child>);

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        ok(Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]));
    }

    /// Waits for its end.
    pub fn ends(mut self) -> Report {
        Report::of(Ran::of(to_its_end(self.0.take().unwrap(), "bpfboot")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A run with `--json`.
#[derive(Debug)]
pub struct Report {
    /// The process.
    pub ran: Ran,
    /// Its document; null when it wrote none.
    pub json: Value,
}

impl Report {
    /// Takes a process's output for one.
    pub fn of(ran: Ran) -> Self {
        let json = match ran.stdout.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {ran:#?}")),
        };
        if let Some(exit) = json.get("exit") {
            assert_eq!(exit.as_i64(), ran.code.map(i64::from), "the document and the process disagree: {ran:#?}");
        }
        Self { ran, json }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.ran.code, Some(code), "stderr: {}\n{:#}", self.ran.stderr, self.json);
        self
    }

    /// Its steps.
    pub fn steps(&self) -> &[Value] {
        self.json["steps"].as_array().unwrap_or_else(|| panic!("no steps in {:#?}", self.ran))
    }

    /// The last step with this id.
    #[track_caller]
    pub fn step(&self, id: &str) -> &Value {
        let found = self.steps().iter().rev().find(|step| step["id"] == id);
        found.unwrap_or_else(|| panic!("no step {id:?} in {:#}", self.json))
    }

    /// The status of the last step with this id.
    #[track_caller]
    pub fn status(&self, id: &str) -> &str {
        self.step(id)["status"].as_str().unwrap()
    }

    /// The fault of the step with this id: its cause, and what it says with the line that mends it.
    #[track_caller]
    pub fn fault(&self, id: &str) -> (&str, String) {
        let failed = self.steps().iter().rev().find(|step| step["id"] == id && step["fault"].is_object());
        let fault = &failed.unwrap_or_else(|| panic!("{id} has no fault: {:#}", self.json))["fault"];
        let text = |name: &str| fault[name].as_str().unwrap_or_default();
        (fault["cause"].as_str().unwrap(), format!("{} [{}] {}", text("what"), text("errno_name"), text("mend")))
    }

    /// A fact of a step, such as its `id` in the kernel, as a number.
    #[track_caller]
    pub fn kernel_id(&self, id: &str) -> u64 {
        let facts = &self.step(id)["facts"];
        facts["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{id} has no id: {facts}"))
    }

    /// The notes, joined.
    pub fn notes(&self) -> String {
        self.json["notes"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Asserts that nothing had to be done.
    #[track_caller]
    pub fn nothing_done(self) -> Self {
        for step in self.steps() {
            assert!(matches!(step["status"].as_str(), Some("already" | "skipped")), "{step}");
        }
        self
    }
}

/// Writes a line that the test's reader should see.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
