//! Programs that are started.

use std::{fs, mem::offset_of, os::unix::process::CommandExt, process::Command};

use crate::{
    common::{
        events::{Exec, Kind},
        sandbox,
    },
    traced,
};

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
