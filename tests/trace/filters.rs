//! Only what was asked for.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{Command, Stdio},
};

use crate::{
    FORMS,
    common::{
        events::{Events, Kind},
        ok, sandbox, wait_for,
    },
    exits::ended,
    opens::openat,
    shell, traced,
};

/// A process that opens a file.
fn cat(path: &str) -> Command {
    let mut command = Command::new("/bin/cat");
    command.arg(path).stderr(Stdio::null());
    command
}

/// Of an open in and an open outside of what is asked for, only the first is told.
fn only(events: &mut Events, outside: &mut Command, inside: &mut Command) {
    outside.status().unwrap();
    let mut child = inside.spawn().unwrap();
    child.wait().unwrap();
    let pid = child.id();
    events.find("the open", |record| record.by(pid) && record.opens("/run/inside"));
    events.find("the exit", |record| record.by(pid) && record.is(Kind::Exit));
    assert!(!events.seen.iter().any(|record| record.is(Kind::Open) && record.opens("/run/outside")));
}

#[test]
fn only_what_a_user_does_is_told() {
    for programs in FORMS {
        sandbox(|s| {
            let mut events = traced(s, programs, "globals.only_uid = 1234\n");
            only(&mut events, &mut cat("/run/outside"), cat("/run/inside").uid(1234).gid(567));
            assert!(events.seen.iter().all(|record| record.owner().0 == 1234));
            assert!(events.seen.iter().any(|record| record.owner().1 == 567));
        });
    }
}

#[test]
fn only_what_threads_of_a_name_do_is_told() {
    for programs in FORMS {
        sandbox(|s| {
            fs::copy("/bin/cat", "/run/cat-with-a-name").unwrap();
            let mut events = traced(s, programs, "globals.only_comm = \"cat-with-a-name\"\n");
            let mut named = Command::new("/run/cat-with-a-name");
            only(&mut events, &mut cat("/run/outside"), named.arg("/run/inside").stderr(Stdio::null()));
            assert!(events.seen.iter().all(|record| record.thread().1 == "cat-with-a-name"));
        });
    }
}

#[test]
fn only_what_a_cgroup_does_is_told() {
    for programs in FORMS {
        sandbox(|s| {
            fs::create_dir("/run/cgroup").unwrap();
            ok(Command::new("mount").args(["-t", "cgroup2", "none", "/run/cgroup"]));
            let cgroup = format!("/run/cgroup/bpfboot-{}", std::process::id());
            fs::create_dir(&cgroup).unwrap();
            let id = fs::metadata(&cgroup).unwrap().ino();
            let mut events = traced(s, programs, &format!("globals.only_cgroup = {id}\n"));
            let join = format!("echo $$ >{cgroup}/cgroup.procs; exec cat /run/inside 2>/dev/null");
            only(&mut events, &mut cat("/run/outside"), &mut shell(&join));
            assert!(events.seen.iter().all(|record| record.owner().2 == id));
            wait_for("the cgroup to be empty", || fs::remove_dir(&cgroup).ok());
        });
    }
}

#[test]
fn at_a_sample_rate_of_0_no_open_is_told_and_at_3_some_are() {
    for (programs, rate) in FORMS.iter().flat_map(|programs| [(programs, 0), (programs, 3)]) {
        sandbox(|s| {
            let mut events = traced(s, programs, &format!("globals.sample_rate = {rate}\n"));
            for _ in 0..300 {
                openat(libc::AT_FDCWD, "/run/sampled", libc::O_RDONLY, 0);
            }
            ended(&mut events, &mut shell("exit 1"));
            let told = events.seen.iter().filter(|record| record.opens("/run/sampled")).count();
            let expected = if rate == 0 { 0..=0 } else { 50..=150 };
            assert!(expected.contains(&told), "{told} of 300 at a rate of {rate}");
        });
    }
}
