//! `bpfboot events`: what the embedded objects tell, read from the pins with no capability, and honest about its losses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use common::{Sandbox, Value, ok, sandbox, wait_for};

const TRACE: &str = "[mounts]\ntracefs = true\n[object.trace]\npath = \"builtin:trace\"\nprograms.trace_openat = {}\n";

/// A reader in the background; its lines come through `lines`.
struct Reader {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Reader {
    fn start(s: &Sandbox, config: &str, words: &[&str]) -> Self {
        let path = s.config("events.toml", config);
        let mut command = s.command(&[&["-c", path.to_str().unwrap(), "events"], words].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let reader = Self { child, lines };
        // It reads once it has let its capabilities go.
        wait_for("the reader's drop", || (reader.capabilities()? == 0).then_some(()));
        reader
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    fn capabilities(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let sets = status.lines().filter_map(|line| line.strip_prefix("Cap")?.split_whitespace().nth(1));
        Some(sets.map(|set| u64::from_str_radix(set, 16).unwrap()).fold(0, |all, set| all | set))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the reader has ended");
        line
    }

    /// Ends it; gives what it still said.
    fn stop(mut self) -> String {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{rest}");
        rest
    }
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn opens_are_told_to_people_and_to_machines() {
    sandbox(|s| {
        s.apply(TRACE).exits(0);
        for words in [&["--json"][..], &["--json", "--kind", "open"], &[]] {
            let mut reader = Reader::start(s, TRACE, words);
            let missing = "/run/no such \"file\"";
            assert!(File::open(missing).is_err());
            let (pid, name) = (std::process::id(), r#""/run/no such \"file\"""#);
            let line = std::iter::repeat_with(|| reader.line()).find(|line| line.contains(name)).unwrap();
            if words.is_empty() {
                assert!(line.contains(" open ") && line.contains(&format!(" pid={pid} uid=0 path={name}")), "{line}");
                assert!(line.trim_end().ends_with("flags=RDONLY|CLOEXEC"), "{line}");
            } else {
                let event = json(&line);
                assert_eq!(event["kind"], "open");
                assert_eq!(event["object"], "trace");
                assert_eq!((event["pid"].as_u64(), event["uid"].as_u64()), (Some(pid.into()), Some(0)));
                assert_eq!((event["path"].as_str(), event["directory"].as_i64()), (Some(missing), Some(-100)));
                assert_eq!(event["flags"].as_i64(), Some(libc::O_CLOEXEC.into()));
                assert!(event["time_ns"].as_u64() > Some(0) && event["cgroup"].as_u64() > Some(0), "{event}");
            }
            let rest = reader.stop();
            let last = rest.lines().last().unwrap();
            if words.is_empty() {
                assert!(last.contains(" end ") && last.contains(" object=trace read="), "{last}");
            } else {
                assert_eq!((json(last)["kind"].as_str(), json(last)["dropped"].as_u64()), (Some("end"), Some(0)));
            }
        }
    });
}

#[test]
fn another_kind_is_not_told_but_counted_as_read() {
    sandbox(|s| {
        s.apply(TRACE).exits(0);
        let reader = Reader::start(s, TRACE, &["--json", "--kind", "dns"]);
        for _ in 0..10 {
            let _ = File::open("/run/nothing");
        }
        let rest = reader.stop();
        let end = json(rest.trim());
        assert!(end["kind"] == "end" && end["read"].as_u64() >= Some(10), "{rest}");
    });
}

#[test]
fn what_found_no_room_is_told() {
    sandbox(|s| {
        s.apply(&format!("{TRACE}maps.events.max-entries = 65536\n")).exits(0);
        let mut reader = Reader::start(s, TRACE, &["--json"]);
        kill(reader.pid(), Signal::SIGSTOP).unwrap();
        for _ in 0..5_000 {
            let _ = File::open("/run/nothing");
        }
        kill(reader.pid(), Signal::SIGCONT).unwrap();
        let drops = std::iter::repeat_with(|| json(&reader.line())).find(|line| line["kind"] == "drops").unwrap();
        assert!(drops["dropped"].as_u64() > Some(1_000), "{drops}");
        let end = json(reader.stop().lines().last().unwrap());
        assert!(end["read"].as_u64().unwrap() + end["dropped"].as_u64().unwrap() >= 5_000, "{end}");
        assert!(end["dropped"].as_u64() >= drops["dropped"].as_u64(), "{end}");
    });
}

#[test]
fn there_is_one_reader_and_it_says_so() {
    sandbox(|s| {
        s.apply(TRACE).exits(0);
        let reader = Reader::start(s, TRACE, &[]);
        let path = s.config("second.toml", TRACE);
        let second = s.bpfboot(&["-c", path.to_str().unwrap(), "events"]);
        assert_eq!(second.code, Some(1));
        let told = "events of trace: another process holds /run/bpfboot/events-trace";
        assert!(second.stderr.contains(told) && second.stderr.contains("fuser"), "{}", second.stderr);
        reader.stop();
    });
}

#[test]
fn without_anything_to_read_it_says_what_to_do() {
    sandbox(|s| {
        let path = s.config("none.toml", TRACE);
        let ran = s.bpfboot(&["-c", path.to_str().unwrap(), "events"]);
        assert_eq!(ran.code, Some(1));
        for told in
            ["events of trace: open /sys/fs/bpf/bpfboot/live/trace/maps/events: ", "ENOENT", "mend: bpfboot apply"]
        {
            assert!(ran.stderr.contains(told), "{told} is not in {}", ran.stderr);
        }
        let path = s.config("other.toml", "");
        let ran = s.bpfboot(&["-c", path.to_str().unwrap(), "events"]);
        assert!(ran.code == Some(1) && ran.stderr.contains("events come from builtin objects"), "{}", ran.stderr);
    });
}

#[test]
fn it_ends_when_nobody_listens() {
    sandbox(|s| {
        s.apply(TRACE).exits(0);
        let path = s.config("head.toml", TRACE);
        let line = format!("{} -c {} events | head -n 1", common::binary().display(), path.display());
        let head = ok(Command::new("timeout").args(["20", "bash", "-o", "pipefail", "-c"]).arg(format!(
            "(while :; do : </run; sleep 0.01; done) & opener=$!; {line}; code=$?; kill $opener; exit $code"
        )));
        assert_eq!(String::from_utf8(head.stdout).unwrap().lines().count(), 1);
    });
}
