//! Programs on kernel functions and LSM hooks: attached, they see each call, and after undo none. And what the embedded
//! objects tell, on each kernel by the programs that it can take.

use std::{fs::File, io::Read as _, mem::offset_of, os::unix::process::ExitStatusExt, process::Command};

use crate::{
    common::{
        LIVE, Sandbox,
        events::{Events, Exec, Exit, Kind, Read},
        object,
    },
    guest,
    kernels::Kernel,
};

const WAYS: [&str; 6] = ["kprobe", "kretprobe", "ksyscall", "fentry", "fexit", "lsm"];

/// The object on this process, with these of its programs.
fn probes(ways: &[&str]) -> String {
    let programs: String = ways.iter().map(|way| format!("programs.by_{way} = {{}}\n")).collect();
    let (path, pid) = (object("probes"), std::process::id());
    format!(
        "[mounts]\ntracefs = {{ if-available = true }}\n[object.probes]\npath = \"{path}\"\nglobals.pid = {pid}\n{programs}"
    )
}

/// How many calls each way has seen.
fn seen(s: &Sandbox) -> Vec<u64> {
    let hits = s.dump(&format!("{LIVE}/probes/maps/hits"));
    hits.into_values().map(|value| u64::from_ne_bytes(value[0].as_slice().try_into().unwrap())).collect()
}

fn call(times: usize) {
    for _ in 0..times {
        // By our own number: of 0 the kernel takes a way around the hook.
        nix::unistd::getpgid(Some(nix::unistd::getpid())).unwrap();
    }
}

fn sees_each_call(way: &str) {
    guest(|s, kernel| {
        let config = probes(&[way]);
        let name = format!("probes/by_{way}");
        let report = s.apply(&config);
        if kernel == Kernel::Uml {
            let report = report.exits(1);
            let (cause, text) = report.fault(&format!("program {name}"));
            assert_eq!(cause, "kernel", "{text}");
            return;
        }
        if kernel == Kernel::V5_10 && way.starts_with('k') {
            let report = report.exits(1);
            let (cause, text) = report.fault(&format!("program {name}"));
            assert!(cause == "kernel" && text.contains("only since 5.15") && text.contains("attach = false"), "{text}");
            return;
        }
        let report = report.exits(0);
        let link = s.pinned("link", &format!("{LIVE}/probes/links/by_{way}"));
        assert_eq!(link["prog_id"].as_u64(), Some(report.kernel_id(&format!("program {name}"))), "{link}");
        call(7);
        let slot = WAYS.iter().position(|known| *known == way).unwrap();
        let mut expected = [0; WAYS.len()];
        expected[slot] = 7;
        assert_eq!(seen(s), expected, "calls seen by {way}");
        s.check(&config).exits(0);
        s.apply(&config).exits(0).nothing_done();
        let seen = s.with(&config, &["status"]).exits(0);
        let links = seen.json["objects"][0]["links"].as_array().unwrap();
        assert_eq!((links.len(), &links[0]["state"], &links[0]["id"]), (1, &"alive".into(), &link["id"]), "{links:?}");
        let program = format!("{LIVE}/probes/progs/by_{way}");
        assert_eq!(s.pinned("prog", &program)["id"], link["prog_id"]);
    });
}

#[test]
fn a_kprobe_sees_each_call() {
    sees_each_call("kprobe");
}

#[test]
fn a_kretprobe_sees_each_return() {
    sees_each_call("kretprobe");
}

#[test]
fn a_ksyscall_sees_each_call() {
    sees_each_call("ksyscall");
}

#[test]
fn an_fentry_program_sees_each_call() {
    sees_each_call("fentry");
}

#[test]
fn an_fexit_program_sees_each_return() {
    sees_each_call("fexit");
}

#[test]
fn an_lsm_program_sees_each_question() {
    sees_each_call("lsm");
}

/// Reads, and gives which of them were told.
fn reads_told(events: &mut Events, counts: [usize; 3]) -> Vec<u64> {
    let mut zero = File::open("/dev/zero").unwrap();
    for count in counts {
        assert_eq!(zero.read(&mut vec![0; count]).unwrap(), count);
    }
    events.seen.clear();
    events.read();
    let ours = events.seen.iter().filter(|record| record.by(std::process::id()) && record.is(Kind::Read));
    let told = ours.map(|record| record.u64(offset_of!(Read, count)));
    told.filter(|told| counts.contains(&usize::try_from(*told).unwrap())).collect()
}

fn tells_of_reads_while_it_is_asked_to(ways: &[&str]) {
    guest(|s, kernel| {
        let programs: String = ways.iter().map(|way| format!("programs.read_{way} = {{}}\n")).collect();
        let report = s.apply(&format!("[object.reads]\npath = \"builtin:reads\"\n{programs}"));
        if let Some(way) = ways.iter().find(|way| !kernel.is_whole() || kernel == Kernel::V5_10 && **way == "kprobe") {
            let report = report.exits(1);
            assert_eq!(report.fault(&format!("program reads/read_{way}")).0, "kernel");
            return;
        }
        report.exits(0);
        let mut events = Events::open(&format!("{LIVE}/reads/maps/events"));
        let settings = format!("{LIVE}/reads/maps/settings");
        let ask = |read: &str| {
            s.bpftool(&["map", "update", "pinned", &settings, "key", "0", "0", "0", "0", "value", read, "0", "0", "0"])
        };
        assert_eq!(reads_told(&mut events, [4241, 4242, 4243]), [0; 0], "nobody asked");
        ask("1");
        let each = [4251, 4252, 4253].map(|count| vec![count; ways.len()]).concat();
        assert_eq!(reads_told(&mut events, [4251, 4252, 4253]), each);
        ask("0");
        assert_eq!(reads_told(&mut events, [4261, 4262, 4263]), [0; 0], "nobody asks any more");
    });
}

#[test]
fn reads_are_told_by_fentry() {
    tells_of_reads_while_it_is_asked_to(&["fentry"]);
}

#[test]
fn reads_are_told_by_kprobe() {
    tells_of_reads_while_it_is_asked_to(&["kprobe"]);
}

#[test]
fn reads_are_told_by_both_at_once() {
    tells_of_reads_while_it_is_asked_to(&["fentry", "kprobe"]);
}

/// The programs of `builtin:trace`, in one of their two forms.
fn tells_what_processes_do(programs: &[&str], whole: bool) {
    guest(|s, kernel| {
        let programs: String = programs.iter().map(|name| format!("programs.{name} = {{}}\n")).collect();
        let config = format!("[mounts]\ntracefs = true\n[object.trace]\npath = \"builtin:trace\"\n{programs}");
        if !kernel.is_whole() || (whole && kernel == Kernel::V5_10) {
            return;
        }
        s.apply(&config).exits(0);
        let mut events = Events::open(&format!("{LIVE}/trace/maps/events"));
        for script in ["exit 7", "kill -TERM $$", "ulimit -c 0; kill -SEGV $$", "kill -KILL $$"] {
            let mut child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
            let (pid, status) = (child.id(), child.wait().unwrap().into_raw());
            let exit = events.find("the exit", |record| record.by(pid) && record.is(Kind::Exit));
            assert_eq!(exit.u32(offset_of!(Exit, status)).cast_signed(), status, "{script}");
            assert!(exit.u64(offset_of!(Exit, duration)) > 0, "{script}");
            let exec = events.find("the exec", |record| record.by(pid) && record.is(Kind::Exec));
            let line = if whole { format!("/bin/sh\0-c\0{script}\0") } else { String::new() };
            assert_eq!(String::from_utf8_lossy(&exec.0[offset_of!(Exec, line)..]), line);
        }
        File::open("/run/no-such-file").unwrap_err();
        events.find("the open", |record| record.by(std::process::id()) && record.opens("/run/no-such-file"));
    });
}

#[test]
fn what_processes_do_is_told_with_all_that_a_new_kernel_gives() {
    let notes = ["trace_exit", "note_exit", "note_exit_group", "note_sent", "note_signal"];
    tells_what_processes_do(&[&["trace_openat", "trace_openat2", "trace_exec"], &notes[..]].concat(), true);
}

#[test]
fn what_processes_do_is_told_by_raw_tracepoints_on_every_kernel() {
    tells_what_processes_do(&["sys_enter_raw", "exec_raw", "trace_exit", "note_sent", "note_signal"], false);
}

#[test]
fn of_alternatives_the_first_that_the_kernel_can_take_is_used() {
    guest(|s, kernel| {
        let (path, pid) = (object("ways"), std::process::id());
        let choose = |first: &str, second: &str| {
            let list = format!("alternatives = [[\"by_{first}\", \"by_{second}\"]]\nprograms.by_{first} = {{}}");
            format!("[object.ways]\npath = \"{path}\"\nglobals.pid = {pid}\n{list}\n")
        };
        let id = |way: &str| format!("program ways/by_{way}");
        for (first, second) in [("fentry", "kprobe"), ("kprobe", "raw")] {
            let config = choose(first, second);
            let report = s.apply(&config);
            if kernel == Kernel::Uml {
                let report = report.exits(1);
                assert_eq!(report.status(&id(first)), "skipped", "{:#}", report.json);
                let (cause, text) = report.fault(&id(second));
                assert_eq!(cause, "kernel", "{text}");
                continue;
            }
            let report = report.exits(0);
            // Its kprobes end with the process that attached them.
            let is_second = kernel == Kernel::V5_10 && first == "kprobe";
            let (taken, slot) = match (first, is_second) {
                ("fentry", _) => (first, 0),
                (_, false) => (first, 1),
                (_, true) => (second, 3),
            };
            if is_second {
                let [said, noted] = [first, second].map(|way| report.step(&id(way))["note"].as_str().unwrap());
                let why = noted.strip_prefix("instead of by_kprobe: ").unwrap();
                assert!(why.contains("only since 5.15"), "{why}");
                assert_eq!(
                    (report.status(&id(first)), said),
                    ("skipped", &*format!("not here: {why}; instead: by_raw"))
                );
            } else {
                assert!(report.steps().iter().all(|step| step["id"] != id(second)), "{:#}", report.json);
            }
            let link = s.pinned("link", &format!("{LIVE}/ways/links/by_{taken}"));
            assert_eq!(link["prog_id"].as_u64(), Some(report.kernel_id(&id(taken))), "{link}");
            call(7);
            let hits = s.dump(&format!("{LIVE}/ways/maps/hits"));
            let hits: Vec<_> = hits.into_values().map(|value| value[0][0]).collect();
            let mut expected = [0; 4];
            expected[slot] = 7;
            assert_eq!(hits, expected, "calls seen by {taken}");
            s.check(&config).exits(0);
            s.apply(&config).exits(0).nothing_done();
            s.json(&["undo"]).exits(0);
        }
    });
}
