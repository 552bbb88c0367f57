//! No event is lost in silence: those that were read and those that were counted as lost are all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(unsafe_code, reason = "system calls as they are")]

mod common;

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::{LIVE, events::Record, ring::Ring, sandbox, say};

/// The name under which files are opened, and nothing else is done.
const NAME: &str = "opens-files";
const PROCESSES: usize = 4;
const PATH: &std::ffi::CStr = c"/run/no/such/file";

#[test]
#[ignore = "what the tests run"]
fn opens() {
    let Ok(calls) = std::env::var("CALLS") else { return };
    let name = std::ffi::CString::new(NAME).unwrap();
    // SAFETY: name and path outlive the calls.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
        for _ in 0..calls.parse::<usize>().unwrap() {
            libc::openat(libc::AT_FDCWD, PATH.as_ptr(), libc::O_RDONLY);
        }
        libc::prctl(libc::PR_SET_NAME, c"has opened".as_ptr());
    }
}

/// Has several processes open files, reads slower than they write, and counts.
fn all_are_told_or_counted(programs: &str, calls: usize, bytes: usize) {
    sandbox(|s| {
        s.apply(&format!(
            "[mounts]\ntracefs = true\n[object.trace]\npath = \"builtin:trace\"\nglobals.only_comm = \"{NAME}\"\n\
             maps.events.max-entries = {bytes}\nprograms.{programs} = {{}}\n"
        ))
        .exits(0);
        let mut ring = Ring::open(&format!("{LIVE}/trace/maps/events"), bytes);
        let start = Instant::now();
        let mut children: Vec<_> = (0..PROCESSES)
            .map(|_| {
                let mut command = Command::new(common::own_program());
                command.args(["--exact", "opens", "--ignored"]).env("CALLS", (calls / PROCESSES).to_string());
                command.stdout(Stdio::null()).spawn().unwrap()
            })
            .collect();
        let (mut read, mut ended) = (0, false);
        loop {
            // A few at a time, and a rest.
            while let Some(record) = ring.next() {
                assert!(Record(record).opens(PATH.to_str().unwrap()));
                read += 1;
                if read % 100 == 0 && !ended {
                    break;
                }
            }
            if ended {
                break;
            }
            thread::sleep(Duration::from_micros(500));
            ended = children.iter_mut().all(|child| child.try_wait().unwrap().is_some());
        }
        assert!(children.into_iter().all(|mut child| child.wait().unwrap().success()));
        let dropped = s.counter(&format!("{LIVE}/trace/maps/drops"), 0);
        say(&format!("{programs}: {calls} calls, {read} read, {dropped} dropped, {:?}", start.elapsed()));
        assert_eq!(read + dropped, calls as u64);
        assert!(read > 0 && dropped > 0, "a reader that was slow enough, and not too slow");
    });
}

#[test]
fn each_of_50000_opens_is_told_or_counted() {
    for programs in ["trace_openat", "sys_enter_raw"] {
        all_are_told_or_counted(programs, 50_000, 64 * 1024);
    }
}

#[test]
#[ignore = "slow: make loss-test"]
fn each_of_a_million_opens_is_told_or_counted() {
    for programs in ["trace_openat", "sys_enter_raw"] {
        all_are_told_or_counted(programs, 1_000_000, 1024 * 1024);
    }
}
