//! `builtin:trace` at work: what processes do, and what is told of it, by the programs for new kernels and old ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(unsafe_code, reason = "system calls as they are")]

#[path = "../common/mod.rs"]
mod common;

#[cfg(target_arch = "x86_64")]
mod compat;
mod execs;
mod exits;
mod filters;
mod object;
mod opens;

use std::process::Command;

use common::{LIVE, Sandbox, events::Events, sandbox};

/// What a kernel since 5.15 takes, and what an older one takes.
const FORMS: [&str; 2] = [
    "trace_openat trace_openat2 trace_exec trace_exit note_exit note_exit_group note_sent note_signal",
    "sys_enter_raw exec_raw trace_exit note_sent note_signal",
];

/// Brings these programs up, with more lines of configuration, and reads what they tell.
fn traced(s: &Sandbox, programs: &str, more: &str) -> Events {
    let programs: String = programs.split(' ').map(|name| format!("programs.{name} = {{}}\n")).collect();
    s.apply(&format!("[mounts]\ntracefs = true\n[object.trace]\npath = \"builtin:trace\"\n{programs}{more}")).exits(0);
    Events::open(&format!("{LIVE}/trace/maps/events"))
}

/// Does it with the one set of programs, then with the other.
fn with_each(test: impl Fn(&Sandbox, Events) + Sync) {
    for programs in FORMS {
        sandbox(|s| test(s, traced(s, programs, "")));
    }
}

/// What the shell does, in a directory that is thrown away.
fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.current_dir("/run").args(["-c", script]);
    command
}
