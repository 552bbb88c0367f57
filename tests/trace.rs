//! `builtin:trace` at work: what processes do, and what is told of it, by the programs for new kernels and for old ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(unsafe_code, reason = "system calls as they are")]

mod common;

use std::{
    ffi::CString,
    fs,
    mem::offset_of,
    os::unix::{
        fs::MetadataExt,
        process::{CommandExt, ExitStatusExt},
    },
    process::{Command, ExitStatus, Stdio},
    thread,
    time::Instant,
};

use common::{
    LIVE, Sandbox,
    events::{Events, Exec, Exit, Kind, Open},
    ok, sandbox,
};

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

fn thread_id() -> u32 {
    nix::unistd::gettid().as_raw().cast_unsigned()
}

fn openat(directory: i32, path: &str, flags: i32, mode: u32) {
    let path = CString::new(path).unwrap();
    // SAFETY: the path outlives the call; what is opened is not there.
    assert_eq!(unsafe { libc::openat(directory, path.as_ptr(), flags, mode) }, -1);
}

#[test]
fn openat_is_told_with_all_that_it_asks_for() {
    with_each(|_, mut events| {
        let directory = fs::File::open("/run").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
        openat(number, "no-such-directory/file", libc::O_CREAT | libc::O_RDWR | libc::O_CLOEXEC, 0o640);
        let (me, thread) = (std::process::id(), thread_id());
        let open = events.find("the open", |record| record.by(me) && record.opens("no-such-directory/file"));
        assert_eq!(open.thread(), (thread, "sandbox".to_owned()));
        assert_eq!((open.owner().0, open.owner().1), (0, 0));
        assert_eq!(open.u32(offset_of!(Open, directory)).cast_signed(), number);
        let flags = open.u32(offset_of!(Open, flags)).cast_signed();
        assert_eq!(flags & !libc::O_LARGEFILE, libc::O_CREAT | libc::O_RDWR | libc::O_CLOEXEC);
        assert_eq!(open.u32(offset_of!(Open, mode)), 0o640);
        assert_eq!(open.u32(offset_of!(Open, length)), 23);
        assert_eq!(open.0.len(), offset_of!(Open, path) + 23, "no more is sent than is used");
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the structure is ours.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) }, 0);
        let age = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
        assert!((1..60_000_000_000).contains(&(age - open.u64(0))), "the time of the event");
    });
}

#[test]
fn openat2_is_told_with_flags_and_mode() {
    with_each(|_, mut events| {
        let how: [u64; 3] = [(libc::O_CREAT | libc::O_WRONLY) as u64, 0o604, 0];
        let path = c"/run/no/openat2";
        let call = |how: *const u64| {
            // SAFETY: path and structure outlive the call; what is opened is not there.
            unsafe { libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), how, 24) }
        };
        assert_eq!((call(how.as_ptr()), call(16 as *const u64)), (-1, -1));
        let me = std::process::id();
        let open = events.find("the open", |record| record.by(me) && record.opens("/run/no/openat2"));
        assert_eq!(open.u32(offset_of!(Open, directory)).cast_signed(), libc::AT_FDCWD);
        assert_eq!(open.u32(offset_of!(Open, flags)).cast_signed(), libc::O_CREAT | libc::O_WRONLY);
        assert_eq!(open.u32(offset_of!(Open, mode)), 0o604);
        events.find("the open whose flags cannot be read", |record| {
            record.by(me)
                && record.opens("/run/no/openat2")
                && [offset_of!(Open, flags), offset_of!(Open, mode)].map(|at| record.u32(at)) == [0, 0]
        });
    });
}

#[test]
fn a_long_path_is_cut_and_an_unreadable_one_is_empty() {
    with_each(|_, mut events| {
        let long = format!("/run/{}", "long/".repeat(200));
        openat(-7, &long, libc::O_RDONLY, 0);
        let exact = format!("/run/{}", "x".repeat(578));
        openat(-8, &exact, libc::O_RDONLY, 0);
        // SAFETY: nobody has memory there, which is what the kernel says.
        assert_eq!(unsafe { libc::openat(-9, 16 as *const libc::c_char, 0) }, -1);
        let me = std::process::id();
        let mut of = |directory: i32| {
            let at = offset_of!(Open, directory);
            events.place("the open", |record| {
                record.by(me) && record.is(Kind::Open) && record.u32(at).cast_signed() == directory
            })
        };
        let [cut, whole, unread] = [-7, -8, -9].map(|directory| of(directory));
        let [cut, whole, unread] = [cut, whole, unread].map(|place| &events.seen[place]);
        assert_eq!((cut.0.len(), cut.u32(offset_of!(Open, length))), (656, 584), "the guide's large event");
        assert_eq!(cut.text(offset_of!(Open, path)), long[..583]);
        assert_eq!((whole.0.len(), whole.text(offset_of!(Open, path))), (656, exact));
        assert_eq!((unread.0.len(), unread.u32(offset_of!(Open, length))), (offset_of!(Open, path), 0));
    });
}

#[test]
fn exec_is_told_with_the_exact_command_line() {
    sandbox(|s| {
        let mut events = traced(s, "trace_exec", "");
        let script = s.file("/run/script", "#!/bin/sh -e\nexit 0\n");
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let many: Vec<String> = (0..300).map(|n| format!("word-{n}")).collect();
        let (long, edge) = ("y".repeat(5000), "z".repeat(500));
        // The program, its first word, the others; and whether there is an environment, which follows the last word.
        let cases: [(&str, &str, Vec<&str>, bool); 8] = [
            ("/bin/true", "/bin/true", vec![], true),
            ("/bin/true", "-another name", vec!["", "two words", "ü\n", ""], true),
            ("/bin/true", "true", vec!["none", "after"], false),
            ("/bin/true", "true", vec![""], false),
            ("/bin/true", "true", many.iter().map(String::as_str).collect(), true),
            ("/bin/true", "true", vec!["a", &long], false),
            ("/bin/true", "true", vec![&edge, "12345", "cut in the next word"], true),
            ("/bin/true", "", vec!["x"], true),
        ];
        for (path, first, rest, environment) in cases {
            let mut command = Command::new(path);
            command.arg0(first).args(&rest);
            if !environment {
                command.env_clear();
            }
            let mut child = command.spawn().unwrap();
            let pid = child.id();
            assert!(child.wait().unwrap().success());
            let exec = events.find("the exec", |record| record.by(pid) && record.is(Kind::Exec));
            let mut line: Vec<u8> =
                [first].iter().chain(&rest).flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
            line.truncate(512);
            assert_eq!(String::from_utf8_lossy(&exec.0[offset_of!(Exec, line)..]), String::from_utf8_lossy(&line));
            assert_eq!(exec.u32(offset_of!(Exec, length)) as usize, line.len());
            assert_eq!(exec.u32(offset_of!(Exec, words)) as usize, rest.len() + 1);
            assert_eq!(exec.text(offset_of!(Exec, file)), path);
            assert_eq!(exec.thread(), (pid, "true".to_owned()));
        }
        let mut child = Command::new(&script).arg("its own").spawn().unwrap();
        assert!(child.wait().unwrap().success());
        let pid = child.id();
        let exec = events.find("the exec of a script", |record| record.by(pid) && record.is(Kind::Exec));
        assert_eq!(exec.text(offset_of!(Exec, file)), "/run/script");
        assert_eq!(&exec.0[offset_of!(Exec, line)..], b"/bin/sh\0-e\0/run/script\0its own\0");
    });
}

#[test]
fn exec_is_told_by_name_where_nothing_else_can_be_had() {
    sandbox(|s| {
        let mut events = traced(s, "exec_raw", "");
        let mut child = Command::new("/bin/true").arg("word").spawn().unwrap();
        child.wait().unwrap();
        let pid = child.id();
        let exec = events.find("the exec", |record| record.by(pid) && record.is(Kind::Exec));
        assert_eq!((exec.0.len(), exec.text(offset_of!(Exec, file))), (offset_of!(Exec, line), String::new()));
        assert_eq!([offset_of!(Exec, words), offset_of!(Exec, length)].map(|at| exec.u32(at)), [0, 0]);
        assert_eq!(exec.thread(), (pid, "true".to_owned()));
    });
}

/// Runs a program of its own to its end, and gives what its parent is told, and what the event says.
fn ended(events: &mut Events, command: &mut Command) -> (ExitStatus, u32, u64, u64) {
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let status = child.wait().unwrap();
    let longest = u64::try_from(start.elapsed().as_nanos()).unwrap();
    let pid = child.id();
    let exit = events.find("the exit", |record| record.by(pid) && record.is(Kind::Exit));
    assert_eq!((exit.0.len(), exit.u32(offset_of!(Exit, reserved))), (size_of::<Exit>(), 0));
    (status, exit.u32(offset_of!(Exit, status)), exit.u64(offset_of!(Exit, duration)), longest)
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.current_dir("/run").args(["-c", script]);
    command
}

/// This very program, as a process that does `act` and nothing else.
fn act(act: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "acts", "--ignored", "--nocapture", "--test-threads=1"]).env("ACT", act);
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
            common::wait_for("the cgroup to be empty", || fs::remove_dir(&cgroup).ok());
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
