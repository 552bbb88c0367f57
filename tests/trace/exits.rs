//! Processes that end: by themselves, by a signal, by a thread.

use std::{
    mem::offset_of,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Instant,
};

use crate::{
    common::{
        events::{Events, Exit, Kind},
        ok,
    },
    shell, with_each,
};

/// Runs a program of its own to its end, and gives what its parent is told, and what the event says.
pub fn ended(events: &mut Events, command: &mut Command) -> (ExitStatus, u32, u64, u64) {
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let status = child.wait().unwrap();
    let longest = u64::try_from(start.elapsed().as_nanos()).unwrap();
    let pid = child.id();
    let exit = events.find("the exit", |record| record.by(pid) && record.is(Kind::Exit));
    assert_eq!((exit.0.len(), exit.u32(offset_of!(Exit, reserved))), (size_of::<Exit>(), 0));
    (status, exit.u32(offset_of!(Exit, status)), exit.u64(offset_of!(Exit, duration)), longest)
}

/// This very program, as a process that does `act` and nothing else.
fn act(act: &str) -> Command {
    let mut command = Command::new(crate::common::own_program());
    command.args(["--exact", "exits::acts", "--ignored", "--nocapture", "--test-threads=1"]).env("ACT", act);
    command.stdout(Stdio::null());
    command
}

#[test]
#[ignore = "what act() runs"]
fn acts() {
    let wait = || thread::sleep(std::time::Duration::from_secs(60));
    let me = nix::unistd::Pid::this();
    match std::env::var("ACT").as_deref() {
        Ok("a thread exits") => {
            let _ = thread::spawn(|| std::process::exit(5)).join();
        }
        Ok("a thread is killed") => {
            thread::spawn(move || nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGTERM));
            wait();
        }
        Ok("a thread kills itself") => {
            thread::spawn(|| nix::sys::signal::raise(nix::sys::signal::Signal::SIGUSR2));
            wait();
        }
        Ok("a thread aborts") => {
            thread::spawn(|| std::process::abort());
            wait();
        }
        Ok("a thread runs another program") => {
            let _ = thread::spawn(|| shell("exit 4").exec()).join();
        }
        _ => {}
    }
}

/// A process of one thread that calls exit(2) instead of exit_group(2).
fn exits_as_a_thread(code: i32) -> Command {
    let mut command = shell("");
    // SAFETY: one system call.
    unsafe {
        command.pre_exec(move || {
            libc::syscall(libc::SYS_exit, code);
            Ok(())
        });
    }
    command
}

#[test]
fn exit_is_told_as_its_parent_is_told() {
    with_each(|_, mut events| {
        let term = "trap : TERM; kill -TERM $$";
        for (mut command, expected) in [
            (shell("exit 0"), 0),
            (shell("exit 7"), 7 << 8),
            (shell("exit 255"), 255 << 8),
            (shell("kill -KILL $$"), 9),
            (shell("kill -TERM $$"), 15),
            (shell("kill -INT $$"), 2),
            (shell("kill -USR1 $$"), 10),
            (shell("kill -PIPE $$"), 13),
            (shell("kill -40 $$"), 40),
            (shell("ulimit -c 0; kill -SEGV $$"), 11),
            (shell("ulimit -c 0; kill -ABRT $$"), 6),
            (shell(&format!("{term}; exit 3")), 3 << 8),
            (shell(&format!("{term}; kill -KILL $$")), 9),
            (shell(&format!("{term}; kill -INT $$")), 2),
            (shell("trap '' TERM; kill -TERM $$; kill -HUP $$"), 1),
            (shell("kill -CHLD $$; kill -CONT $$; kill -WINCH $$; kill -URG $$; exit 2"), 2 << 8),
            (act("a thread exits"), 5 << 8),
            (act("a thread is killed"), 15),
            (exits_as_a_thread(9), 9 << 8),
        ] {
            let (status, told, ..) = ended(&mut events, &mut command);
            assert_eq!((status.into_raw(), told.cast_signed()), (expected, expected), "{command:?}");
        }
        // Which of its threads is gone first differs from time to time.
        for _ in 0..10 {
            let (status, told, ..) = ended(&mut events, &mut act("a thread kills itself"));
            assert_eq!((status.into_raw(), told.cast_signed()), (libc::SIGUSR2, libc::SIGUSR2));
        }
    });
}

/// Whether a core was dumped is known after the last signal only.
#[test]
fn a_death_with_a_core_is_told_without_the_core() {
    with_each(|s, mut events| {
        // Where a core goes is the machine's setting.
        let pattern = s.guard("kernel.core_pattern");
        s.set_sysctl("kernel.core_pattern", "/run/core");
        for (mut command, signal) in [
            (shell("kill -SEGV $$"), libc::SIGSEGV),
            (shell("kill -QUIT $$"), libc::SIGQUIT),
            (act("a thread aborts"), libc::SIGABRT),
        ] {
            let unlimited =
                || nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 1 << 30, 1 << 30);
            // SAFETY: one system call.
            unsafe { command.pre_exec(move || Ok(unlimited()?)) };
            let (status, told, ..) = ended(&mut events, &mut command);
            assert_eq!((status.into_raw(), told.cast_signed()), (signal | 0x80, signal), "{command:?}");
        }
        drop(pattern);
    });
}

#[test]
fn a_program_that_a_thread_starts_takes_the_place_of_the_first_thread() {
    with_each(|_, mut events| {
        let mut child = act("a thread runs another program").spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(4));
        let pid = child.id();
        let status = offset_of!(Exit, status);
        let first = events.place("the first thread's end", |record| record.by(pid) && record.is(Kind::Exit));
        assert_eq!(events.seen[first].u32(status), Exit::UNKNOWN, "nothing says that the process is killed");
        events.find("the process's end", |record| {
            record.by(pid) && record.is(Kind::Exit) && record.u32(status) == 4 << 8
        });
    });
}

#[test]
fn the_duration_is_counted_from_the_exec() {
    with_each(|_, mut events| {
        let (_, _, told, longest) = ended(&mut events, &mut shell("sleep 0.3"));
        assert!((300_000_000..=longest).contains(&told), "{told} ns of {longest}");
        // A process that never calls execve(2) has none.
        let mut child = shell("(exit 6) & echo $!; wait");
        let output = ok(&mut child);
        let pid: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        let exit = events.find("the end of a fork", |record| record.by(pid) && record.is(Kind::Exit));
        assert_eq!((exit.u32(offset_of!(Exit, status)), exit.u64(offset_of!(Exit, duration))), (6 << 8, 0));
    });
}
