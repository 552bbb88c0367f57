//! strace: what was really asked of the kernel, and kills at an exact system call.

use std::{fs, process::Command};

use super::{Ran, Sandbox, binary, run};

/// A traced run.
pub struct Traced {
    /// The process: strace exits, or dies, as what it traces did.
    pub ran: Ran,
    /// Each call, in order.
    pub calls: Vec<Call>,
}

/// One system call, its line put together where strace had to split it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who made it.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The whole line.
    pub line: String,
}

impl Call {
    /// Whether it succeeded.
    pub fn succeeded(&self) -> bool {
        self.line
            .rsplit_once(" = ")
            .is_some_and(|(_, result)| !result.trim_start().starts_with('-') && !result.starts_with('?'))
    }
}

impl Sandbox {
    /// Runs bpfboot under strace with strace's own `options`.
    pub fn strace(&self, options: &[&str], args: &[&str]) -> Traced {
        let log = "/run/strace.log";
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-s", "400", "-o", log]).args(options).arg("--").arg(binary()).args(args);
        command.stdin(std::process::Stdio::null()).env("NO_COLOR", "1").env_remove("JOURNAL_STREAM");
        let ran = run(&mut command);
        assert!(!ran.stderr.contains("strace:"), "{ran:#?}");
        let calls = parse(&fs::read_to_string(log).unwrap());
        Traced { ran, calls }
    }
}

fn parse(log: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for line in log.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let (pid, rest) = (pid.parse().unwrap(), rest.trim_start());
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let (name, tail) = resumed.split_once(" resumed>").unwrap();
            let open = calls.iter_mut().rev().find(|call| call.pid == pid && call.name == name);
            if let Some(call) = open {
                call.line = call.line.replace(" <unfinished ...>", "") + tail;
            }
        } else if let Some((name, _)) = rest.split_once('(')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            calls.push(Call { pid, name: name.to_owned(), line: rest.to_owned() });
        }
    }
    calls
}

impl Traced {
    /// Where among the calls of the same name by the same process the first call stands that `wanted` accepts, from
    /// 1: what strace's `when=` counts.
    pub fn nth(&self, wanted: impl Fn(&Call) -> bool) -> (String, usize) {
        let found = self.calls.iter().position(wanted).unwrap_or_else(|| panic!("no such call in {:#?}", self.calls));
        let call = &self.calls[found];
        let before = self.calls[..found].iter().filter(|c| c.pid == call.pid && c.name == call.name).count();
        (call.name.clone(), before + 1)
    }
}
