//! The configuration from real files: which of them count, what is wrong with them, and that a wrong one touches nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, chown, lchown, symlink},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{Ran, Report, Sandbox, binary, ok, run, sandbox};

const TTL: &str = "net.ipv4.ip_default_ttl";
const FIN: &str = "net.ipv4.tcp_fin_timeout";
const SYN: &str = "net.ipv4.tcp_syn_retries";
const KEEP: &str = "net.ipv4.tcp_keepalive_probes";

/// Nothing was touched, not even /run.
#[track_caller]
fn untouched(s: &Sandbox) {
    assert_eq!((s.sysctl(TTL), s.sysctl(FIN)), ("64".into(), "60".into()));
    assert_eq!(s.pins(), [""; 0]);
    assert!(!Path::new("/run/bpfboot").exists());
}

/// A configuration that must be refused; what was said of it.
#[track_caller]
fn refused(s: &Sandbox, text: &str) -> String {
    let path = s.config("bad.toml", text);
    let ran = s.bpfboot(&["-c", path.to_str().unwrap(), "apply"]).exits(2);
    assert!(ran.stdout.is_empty(), "{ran:#?}");
    assert!(ran.stderr.contains("nothing was touched"), "{ran:#?}");
    untouched(s);
    ran.stderr
}

#[test]
fn row_11_drop_ins_win_and_mask_as_in_sysctl_d() {
    sandbox(|s| {
        s.layer("/etc");
        s.layer("/usr/lib");
        for dir in ["/etc/bpfboot.d", "/run/bpfboot.d", "/usr/lib/bpfboot.d"] {
            fs::create_dir(dir).unwrap();
        }
        let put = |path: &str, text: &str| s.file(path, &format!("[sysctl]\n{text}\n"));
        // Of one name the strongest directory's is read, and only that.
        put("/usr/lib/bpfboot.d/10-same.toml", &format!("\"{TTL}\" = 71\n\"{SYN}\" = 1"));
        put("/run/bpfboot.d/10-same.toml", &format!("\"{TTL}\" = 72\n\"{SYN}\" = 2"));
        put("/etc/bpfboot.d/10-same.toml", &format!("\"{TTL}\" = 73"));
        // Names decide the order, wherever they are.
        put("/etc/bpfboot.d/20-fin.toml", &format!("\"{FIN}\" = 31"));
        put("/usr/lib/bpfboot.d/30-fin.toml", &format!("\"{FIN}\" = 32"));
        put("/usr/lib/bpfboot.d/40-masked.toml", &format!("\"{KEEP}\" = 3"));
        symlink("/dev/null", "/run/bpfboot.d/40-masked.toml").unwrap();
        put("/usr/lib/bpfboot.d/50-emptied.toml", &format!("\"{KEEP}\" = 4"));
        s.file("/etc/bpfboot.d/50-emptied.toml", "");
        put("/etc/bpfboot.d/60-disabled.toml.bak", &format!("\"{KEEP}\" = 5"));
        put("/etc/bpfboot.d/.70-hidden.toml", &format!("\"{KEEP}\" = 6"));

        let report = s.json(&["apply"]).exits(0);
        assert_eq!(s.sysctl(TTL), "73");
        assert_eq!(s.sysctl(SYN), "6", "the weaker files of that name were not read: the kernel's default stands");
        assert_eq!(s.sysctl(FIN), "32", "30- comes after 20-");
        assert_eq!(s.sysctl(KEEP), "9", "masked, emptied, renamed and hidden files say nothing");
        let sources = report.json["sources"].to_string();
        assert_eq!(
            sources,
            "[\"/etc/bpfboot.d/10-same.toml\",\"/etc/bpfboot.d/20-fin.toml\",\"/usr/lib/bpfboot.d/30-fin.toml\"]"
        );
        let notes = report.notes();
        for note in [
            "/usr/lib/bpfboot.d/10-same.toml is overridden by /etc/bpfboot.d/10-same.toml",
            "/run/bpfboot.d/10-same.toml is overridden by /etc/bpfboot.d/10-same.toml",
            "/usr/lib/bpfboot.d/30-fin.toml:2 wins over /etc/bpfboot.d/20-fin.toml:2",
            "/usr/lib/bpfboot.d/40-masked.toml is masked by /run/bpfboot.d/40-masked.toml",
            "/usr/lib/bpfboot.d/50-emptied.toml is masked by /etc/bpfboot.d/50-emptied.toml",
            "/etc/bpfboot.d/60-disabled.toml.bak is not read",
        ] {
            assert!(notes.contains(note), "{note}\n{notes}");
        }
        assert!(!s.is_mounted("tracefs", "/sys/kernel/tracing"), "any file replaces the embedded default whole");
        // --config asks for no drop-in at all.
        s.json(&["undo"]).exits(0);
        s.apply(&format!("[sysctl]\n\"{KEEP}\" = 8")).exits(0);
        assert_eq!((s.sysctl(TTL), s.sysctl(KEEP)), ("64".into(), "8".into()));
    });
    assert!(!Path::new("/etc/bpfboot.d/10-same.toml").exists(), "the machine's own /etc was not touched");
}

#[test]
fn several_config_files_apply_in_order() {
    sandbox(|s| {
        let one = s.config("b.toml", &format!("[sysctl]\n\"{TTL}\" = 70\n\"{FIN}\" = 30\n"));
        let two = s.config("a.toml", &format!("[sysctl]\n\"{TTL}\" = 71\n"));
        s.json(&["-c", one.to_str().unwrap(), "apply", "-c", two.to_str().unwrap()]).exits(0);
        assert_eq!((s.sysctl(TTL), s.sysctl(FIN)), ("71".into(), "30".into()));
    });
}

#[test]
fn all_mistakes_are_told_in_one_run_with_their_places() {
    sandbox(|s| {
        let text = "profiles = [\"core\", \"fast\"]\n\
                    colour = 1\n\
                    [sysctl]\n\
                    \"net.ipv4.ip_default_ttl\" = { valeu = 3 }\n\
                    \"net.ipv4.tcp_fin_timeout\" = 1.5\n\
                    \"../../etc/passwd\" = 1\n\
                    [object.edge]\n\
                    path = \"builtin:edge\"\n\
                    on-mismatch = \"ignore\"\n  \
                      maps.counters.max-entrys = 3\n\
                    [object.none]\n\
                    sha256 = \"abc\"\n";
        let said = refused(s, text);
        for place in ["1:21:", "2:1:", "4:", "5:", "6:1:", "9:", "10:", "11:", "12:"]
            .map(|place| format!("/run/bad.toml:{place}"))
        {
            assert!(said.contains(&place), "{place}\n{said}");
        }
        for hint in ["did you mean \"value\"", "did you mean \"max-entries\""] {
            assert!(said.replace('\'', "\"").contains(hint), "{hint}\n{said}");
        }
        let total: usize = said.lines().last().unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(total >= 9, "{said}");
        // A second file's mistakes come in the same run.
        let other = s.config("other.toml", "[limits]\nnofile = \"many\"\n");
        let both = s.bpfboot(&["-c", "/run/bad.toml", "-c", other.to_str().unwrap(), "check"]).exits(2).stderr;
        assert!(both.contains("/run/other.toml:2:") && both.contains("/run/bad.toml:2:1:"), "{both}");
        untouched(s);
    });
}

#[test]
fn row_05_an_unquoted_key_gets_its_own_hint() {
    sandbox(|s| {
        let said = refused(s, "[sysctl]\nnet.ipv4.ip_default_ttl = 77\n");
        assert!(said.contains("/run/bad.toml:2:") && said.contains("\"net.ipv4.ip_default_ttl\""), "{said}");
        assert!(said.contains("quote"), "{said}");
    });
}

#[test]
fn row_04_duplicates_and_wrong_types_are_refused() {
    sandbox(|s| {
        for text in [
            "[sysctl]\n\"a.b\" = 1\n\"a.b\" = 2\n",
            "[sysctl]\n\"a.b\" = 1\n[sysctl]\n",
            "[sysctl]\n\"a.b\" = [[]]\n",
            "[sysctl]\n\"a.b\" = {}\n",
            "[sysctl]\n\"a.b\" = { value = 1, at-least = 2 }\n",
            "sysctl = 3\n",
            "[bpf]\ndeadline = \"11m\"\n",
            "[bpf]\ndeadline = 5\n",
            "[bpf]\nroot = \"pins\"\n",
            "[mounts]\nbpffs = { mode = \"0999\" }\n",
            "[mounts]\nprocfs = true\n",
            "[limits]\nmemlock = -1\n",
            "[object.edge]\npath = \"relative.o\"\n",
            "[object.edge]\npath = 1\n",
            "[object.\"a/b\"]\npath = \"builtin:edge\"\n",
            "[object.edge]\npath = \"builtin:edge\"\nprograms.xdp_main = { attach = { xdp = \"a/b\" } }\n",
            "[object.edge]\npath = \"builtin:edge\"\nprograms.xdp_main = { attach = { xdp = \"lo\", mode = \"fast\" } }\n",
            "[object.edge]\npath = \"builtin:edge\"\nprograms.xdp_main = { attach = { tracepoint = \"nocolon\" } }\n",
        ] {
            assert!(refused(s, text).contains("/run/bad.toml:"), "{text}");
        }
    });
}

#[test]
fn row_07_no_key_leaves_proc_sys() {
    sandbox(|s| {
        for key in ["../../etc/passwd", "/etc/passwd", "", ".", "..", "net..core", "net/../../x", &"k.".repeat(2048)] {
            refused(s, &format!("[sysctl]\n\"{key}\" = 1\n"));
        }
        for path in ["debugfs/../x", "tracefs//etc", "sysfs/x", "debugfs"] {
            refused(s, &format!("[knobs]\n\"{path}\" = 1\n"));
        }
        refused(s, "[bpf]\nroot = \"/sys/fs/bpf/../../../etc\"\n");
    });
}

#[test]
fn row_06_control_bytes_never_reach_the_kernel_or_a_terminal() {
    sandbox(|s| {
        for text in [
            "[sysctl]\n\"net.ipv4.ip_default_ttl\" = \"77\\u0000\"\n",
            "[sysctl]\n\"net.ipv4.ip_default_ttl\" = \"77\\n\"\n",
            "[sysctl]\n\"net.ipv4.\\u001b[2Jttl\" = 1\n",
            "[object.\"a\\u0007\"]\npath = \"builtin:edge\"\n",
            "[object.edge]\npath = \"/a\\u0000b\"\n",
            "x\u{1b}[2J\u{202e} = 1\n",
            "\u{0} = 1\n",
        ] {
            let said = refused(s, text);
            assert!(!said.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{said:?}");
        }
        let odd = s.bpfboot(&["-c", "/run/\u{1b}[2J", "apply"]).exits(2).stderr;
        assert!(!odd.contains('\u{1b}'), "{odd:?}");
    });
}

#[test]
fn row_02_nothing_asked_for_is_nothing_done() {
    sandbox(|s| {
        for text in ["", "\n", "# only a comment\n", "\u{feff}", "\u{feff}# with a mark\n", "[sysctl]\n[knobs]\n"] {
            let report = s.apply(text).exits(0);
            assert!(report.steps().iter().all(|step| step["status"] == "already"), "{:#}", report.json);
            assert_eq!(s.pins(), [""; 0]);
        }
        // The mark is no part of the first key.
        s.apply(&format!("\u{feff}[sysctl]\n\"{TTL}\" = 77\n")).exits(0);
        assert_eq!(s.sysctl(TTL), "77");
    });
}

#[test]
fn row_03_bytes_that_are_no_configuration() {
    sandbox(|s| {
        let bad = |bytes: &[u8]| {
            fs::write("/run/bad.toml", bytes).unwrap();
            let ran = s.bpfboot(&["-c", "/run/bad.toml", "apply"]).exits(2);
            untouched(s);
            ran.stderr
        };
        let said = bad(b"[sysctl]\n\"a.b\" = \"\xff\"\n");
        assert!(said.contains("/run/bad.toml:2:10: byte 0xff is not UTF-8"), "{said}");
        bad(b"\x7fELF\x02\x01\x01\0\0\0");
        bad(b"[sysctl]\n\"net.ipv4.ip_default_ttl\" = ");
        bad(b"[object.edge\npath = \"builtin:edge\"\n");
    });
}

#[test]
fn row_03_damaged_configurations_never_crash_it() {
    sandbox(|s| {
        let example = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("bpfboot.toml.example")).unwrap();
        let whole = String::from_utf8(example).unwrap().replace("\n#", "\n").into_bytes();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed >> 33).unwrap() % below
        };
        for _ in 0..150 {
            let mut bytes = whole.clone();
            bytes.truncate(1 + random(whole.len()));
            for _ in 0..1 + random(8) {
                let at = random(bytes.len());
                bytes[at] = u8::try_from(random(256)).unwrap();
            }
            fs::write("/run/damaged.toml", &bytes).unwrap();
            let ran = s.bpfboot(&["-c", "/run/damaged.toml", "check"]);
            assert!(matches!(ran.code, Some(0 | 2 | 3 | 5)), "{ran:#?}\n{}", String::from_utf8_lossy(&bytes));
            untouched(s);
        }
    });
}

#[test]
fn row_08_a_giant_is_refused_before_it_is_read() {
    sandbox(|s| {
        let nested = format!("a = {}", "[".repeat(200_000));
        for (text, what) in [("#".repeat(25 << 20), "longer than"), (nested, "")] {
            fs::write("/run/giant.toml", text).unwrap();
            let start = Instant::now();
            let mut time = Command::new("/usr/bin/time");
            time.args(["-f", "%M", "-o", "/run/time"]).arg(binary()).args(["-c", "/run/giant.toml", "check"]);
            let ran = run(&mut time).exits(2);
            assert!(ran.stderr.contains(what) && ran.stderr.len() < 20_000, "{ran:#?}");
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
            let peak = fs::read_to_string("/run/time").unwrap();
            let kib: u64 = peak.lines().last().unwrap().trim().parse().unwrap();
            assert!(kib < 64 * 1024, "{kib} KiB");
        }
        untouched(s);
    });
}

#[test]
fn row_09_only_a_file_that_root_vouches_for_is_read() {
    sandbox(|s| {
        let good = format!("[sysctl]\n\"{TTL}\" = 77\n");
        let said = |path: &str| {
            let start = Instant::now();
            let ran = s.bpfboot(&["-c", path, "apply"]).exits(2);
            assert!(start.elapsed() < Duration::from_secs(2), "{path} held it up");
            untouched(s);
            ran.stderr
        };
        fs::create_dir("/run/dir").unwrap();
        assert!(said("/run/dir").contains("directory"));
        ok(Command::new("mkfifo").arg("/run/fifo"));
        assert!(said("/run/fifo").contains("is a FIFO, not a regular file"));
        assert!(said("/dev/zero").contains("is a device"));
        symlink("loop", "/run/loop").unwrap();
        assert!(said("/run/loop").contains("ELOOP"));
        s.config("writable.toml", &good);
        for mode in [0o646, 0o664, 0o666] {
            fs::set_permissions("/run/writable.toml", fs::Permissions::from_mode(mode)).unwrap();
            let said = said("/run/writable.toml");
            assert!(said.contains(&format!("mode {mode:04o}")) && said.contains("chmod go-w"), "{said}");
        }
        s.config("others.toml", &good);
        chown("/run/others.toml", Some(1000), None).unwrap();
        assert!(said("/run/others.toml").contains("belongs to user 1000"));
        // A file that only root can read is fine, and so is the rest where one says so.
        s.json(&["--allow-untrusted", "-c", "/run/writable.toml", "-c", "/run/others.toml", "apply"]).exits(0);
        assert_eq!(s.sysctl(TTL), "77");
    });
}

#[test]
fn row_09_a_link_is_followed_only_where_root_vouches_for_it() {
    sandbox(|s| {
        s.config("good.toml", &format!("[sysctl]\n\"{TTL}\" = 77\n"));
        let made = |dir: &str, mode: u32, link: &str, target: &str| {
            let _ = fs::create_dir(dir);
            fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
            symlink(target, format!("{dir}/{link}")).unwrap();
            format!("{dir}/{link}")
        };
        let refused = |path: &str, link: &str| {
            let said = s.bpfboot(&["-c", path, "apply"]).exits(2).stderr;
            assert!(said.contains(link) && said.contains("allow-untrusted"), "{path}: {said}");
            untouched(s);
        };
        let open = made("/run/open", 0o777, "a.toml", "/run/good.toml");
        refused(&open, "the symbolic link /run/open/a.toml");
        let sticky = made("/run/sticky", 0o1777, "mine.toml", "../good.toml");
        let theirs = made("/run/sticky", 0o1777, "theirs.toml", "../good.toml");
        lchown(&theirs, Some(1000), None).unwrap();
        refused(&theirs, "/run/sticky/theirs.toml");
        let owned = made("/run/owned", 0o755, "a.toml", "/run/good.toml");
        chown("/run/owned", Some(1000), None).unwrap();
        refused(&owned, "/run/owned/a.toml");
        // What a good link leads to is looked at in the same way, also in the middle of a path.
        let relay = made("/run/relay", 0o755, "a.toml", &open);
        refused(&relay, "the symbolic link /run/open/a.toml");
        let through = made("/run/open", 0o777, "dir", "/run");
        refused(&format!("{through}/good.toml"), "the symbolic link /run/open/dir");
        for magic in ["/dev/stdin", "/proc/self/fd/0", "/proc/thread-self/root/run/good.toml"] {
            let said = s.bpfboot(&["-c", magic, "apply"]).exits(2).stderr;
            assert!(said.contains("link of /proc") && said.contains("--config -"), "{magic}: {said}");
        }
        // As Kubernetes lays out a ConfigMap.
        fs::create_dir_all("/run/map/..2026_11_24").unwrap();
        fs::copy("/run/good.toml", "/run/map/..2026_11_24/x.toml").unwrap();
        symlink("..2026_11_24", "/run/map/..data").unwrap();
        symlink("..data/x.toml", "/run/map/x.toml").unwrap();
        for good in [&sticky, "/run/map/x.toml"] {
            s.json(&["-c", good, "apply", "--dry-run"]).exits(0);
        }
        for lifted in [&open, &theirs, &owned, &relay] {
            s.json(&["--allow-untrusted", "-c", lifted, "apply", "--dry-run"]).exits(0);
        }
        // Nor is openat2(2) needed for that.
        for errno in ["ENOSYS", "EPERM"] {
            let inject = format!("inject=openat2:error={errno}");
            s.strace(&["-e", &inject], &["-c", "/run/map/x.toml", "apply", "--dry-run"]).ran.exits(0);
            s.strace(&["-e", &inject], &["-c", &open, "apply", "--dry-run"]).ran.exits(2);
        }
        // An object is no less.
        fs::copy(common::object("count_v1"), "/run/count.o").unwrap();
        fs::set_permissions("/run/count.o", fs::Permissions::from_mode(0o644)).unwrap();
        let object = made("/run/open", 0o777, "count.o", "/run/count.o");
        let report = s.apply(&format!("[object.count]\npath = \"{object}\"\n")).exits(2);
        let (cause, text) = report.fault("object count");
        assert!(cause == "object" && text.contains("the symbolic link /run/open/count.o"), "{text}");
    });
}

#[test]
fn row_10_what_is_read_is_opened_once_and_never_again_by_path() {
    sandbox(|s| {
        fs::copy(common::object("count_v1"), "/run/count.o").unwrap();
        fs::set_permissions("/run/count.o", fs::Permissions::from_mode(0o644)).unwrap();
        let config = s.config("once.toml", "[object.count]\npath = \"/run/count.o\"\n");
        let traced = s.strace(&[], &["-c", config.to_str().unwrap(), "apply"]);
        traced.ran.exits(0);
        for path in ["/run/once.toml", "/run/count.o"] {
            let calls: Vec<_> = traced.calls.iter().filter(|call| call.line.contains(&format!("\"{path}\""))).collect();
            let named: Vec<_> = calls.iter().filter(|call| call.name != "execve").collect();
            assert!(matches!(named.as_slice(), [call] if call.name == "openat2"), "{path}: {named:#?}");
        }
    });
}

#[test]
fn a_hostile_environment_changes_nothing() {
    sandbox(|s| {
        let config =
            s.config("env.toml", &format!("[sysctl]\n\"{TTL}\" = 77\n[object.edge]\npath = \"builtin:edge\"\n"));
        let said = |environment: &[(&str, &str)]| {
            let mut command = s.command(&["-c", config.to_str().unwrap(), "apply"]);
            command.env_clear().env("NO_COLOR", "1").envs(environment.iter().copied());
            let ran = run(&mut command).exits(0);
            let state = s.state();
            s.json(&["undo"]).exits(0);
            // Making a large map takes long enough to be told.
            let untimed = |line: &str| line.split(" [").next().unwrap().to_owned();
            let steady = |line: &&str| line.starts_with("done sysctl") || line.starts_with("done map");
            (ran.stdout.lines().filter(steady).map(untimed).collect::<Vec<_>>(), ran.stderr, state)
        };
        let plain = said(&[]);
        let huge = "x".repeat(120_000);
        let hostile = [
            ("LD_PRELOAD", "/run/evil.so"),
            ("LD_LIBRARY_PATH", "/run"),
            ("LD_AUDIT", "/run/evil.so"),
            ("LD_DEBUG", "all"),
            ("RUST_LOG", "trace"),
            ("RUST_BACKTRACE", "full"),
            ("RUST_MIN_STACK", "1"),
            ("TMPDIR", "/nowhere"),
            ("HOME", "/nowhere"),
            ("TERM", "\u{1b}[31m"),
            ("LC_ALL", "tr_TR.UTF-8"),
            ("LANG", huge.as_str()),
            ("PATH", ""),
            ("BPFBOOT", "1"),
            ("MALLOC_PERTURB_", "1"),
            ("TZ", "/run/evil"),
        ];
        assert_eq!(said(&hostile), plain);
    });
}

#[test]
fn an_untrusted_drop_in_stops_the_run() {
    sandbox(|s| {
        fs::create_dir("/run/bpfboot.d").unwrap();
        let path = s.file("/run/bpfboot.d/10-open.toml", &format!("[sysctl]\n\"{TTL}\" = 77\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let ran = s.bpfboot(&["apply"]).exits(2);
        assert!(ran.stderr.contains("/run/bpfboot.d/10-open.toml"), "{ran:?}");
        untouched(s);
    });
}

#[test]
fn the_configuration_comes_from_stdin_too() {
    sandbox(|s| {
        let from = |text: &str, args: &[&str]| -> Ran {
            let mut child =
                s.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            Ran::of(child.wait_with_output().unwrap())
        };
        let ran = from("[sysctl]\nx = 1\n", &["-c", "-", "apply"]).exits(2);
        assert!(ran.stderr.contains("stdin:2:1:"), "{ran:?}");
        untouched(s);
        let report = Report::of(from(&format!("[sysctl]\n\"{TTL}\" = 77\n"), &["--json", "-c", "-", "apply"])).exits(0);
        assert_eq!(report.json["sources"][0], "stdin");
        assert_eq!(s.sysctl(TTL), "77");
        assert!(from("", &["-c", "-", "-c", "-", "apply"]).exits(2).stderr.contains("only once"));
    });
}

#[test]
fn the_example_is_valid_with_every_setting_switched_on() {
    sandbox(|s| {
        let example = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("bpfboot.toml.example")).unwrap();
        let on: String = example
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(setting) if !setting.starts_with(' ') && !setting.is_empty() => format!("{setting}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        assert!(on.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count() > 40, "{on}");
        // The files that it names are its reader's.
        let on = on.replace("/usr/lib/bpf/tools.bpf.o", &common::object("count_v1"));
        let path = s.config("example.toml", &on.replace("/usr/lib/btf/vmlinux", "/sys/kernel/btf/vmlinux"));
        let ran = s.bpfboot(&["-c", path.to_str().unwrap(), "check"]);
        assert_ne!(ran.code, Some(2), "{ran:#?}");
        assert!(ran.code.is_some(), "{ran:#?}");
        untouched(s);
        let plain = s.config("plain.toml", &example);
        s.json(&["-c", plain.to_str().unwrap(), "apply"]).exits(0);
    });
}
