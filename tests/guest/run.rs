//! `run` on every kernel: before 5.11 close_range(2) knows no CLOSE_RANGE_CLOEXEC, before 5.9 there is none.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use crate::{common::run, guest};

#[test]
fn a_command_is_given_what_it_should_be_and_nothing_else() {
    guest(|s, kernel| {
        // The guest's root directory is closed to all but root, which keeps nobody from reading back who he became.
        let closed = fs::metadata("/").unwrap().permissions();
        let config = "[mounts]\nbpffs = true\n[object.edge]\npath = \"builtin:edge\"\n[run]\nuser = 77\ngroup = 77\ngroups = [9, 5]\n\
                      keep-caps = [\"NET_RAW\"]\npass-fds = [\"edge/maps/counters\"]\n";
        let path = s.config("run.toml", config);
        let inner = s.command(&[
            "-c",
            path.to_str().unwrap(),
            "run",
            "--",
            "sh",
            "-c",
            "cat /proc/self/status; ls /proc/self/fd",
        ]);
        let mut outer = Command::new("sh");
        outer.args(["-c", "exec 5</proc/version 7>/dev/null; exec \"$@\"", "sh"]);
        outer.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
        assert!(run(&mut outer).exits(126).stderr.contains("run: healthy"));
        fs::set_permissions("/", fs::Permissions::from_mode(0o755)).unwrap();
        let ran = run(&mut outer).exits(0);
        fs::set_permissions("/", closed).unwrap();
        let words: Vec<&str> = ran.stdout.split_whitespace().collect();
        let field = |name: &str, count: usize| {
            let at = words.iter().position(|word| *word == name).unwrap_or_else(|| panic!("no {name} in {ran:#?}"));
            words[at + 1..=at + count].join(" ")
        };
        assert_eq!(
            (field("Uid:", 4), field("Gid:", 4), field("Groups:", 2)),
            ("77 77 77 77".into(), "77 77 77 77".into(), "5 9".into())
        );
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set, 1), "0000000000002000", "{set} on {kernel:?}");
        }
        assert_eq!(field("NoNewPrivs:", 1), "1");
        // The last one is what ls lists.
        assert_eq!(words[words.len() - 5..], ["0", "1", "2", "3", "4"], "{ran:#?}");
    });
}
