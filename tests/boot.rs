//! What a boot asks for and what systemd hears: the kernel's command line, credentials, status and records.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::{
        fd::{AsRawFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::{
            fs::{MetadataExt, PermissionsExt, symlink},
            net::{SocketAddr, UnixDatagram, UnixStream},
        },
    },
    process::Command,
};

use common::{
    Ran, Report, Sandbox,
    net::{Wire, ip, xdp},
    run, sandbox,
};
use nix::mount::{MsFlags, mount};

const TTL: &str = "net.ipv4.ip_default_ttl";
const EDGE: &str =
    "[object.edge]\npath = \"builtin:edge\"\nprograms.xdp_main = { attach = { xdp = \"eth7\" }, optional = true }\n";

fn ttl(value: u32) -> String {
    format!("[sysctl]\n\"{TTL}\" = {value}\n")
}

/// Gives the machine another command line, for this sandbox.
fn command_line(s: &Sandbox, words: &str) {
    let file = s.file("/run/cmdline", words);
    mount(Some(&file), "/proc/cmdline", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

/// A run with credentials.
fn with_credentials(s: &Sandbox, args: &[&str]) -> Report {
    Report::of(run(s.command(&[&["--json"], args].concat()).env("CREDENTIALS_DIRECTORY", "/run/credentials")))
}

fn sources(report: &Report) -> String {
    report.json["sources"].to_string()
}

#[test]
fn off_changes_nothing_and_is_healthy() {
    sandbox(|s| {
        let config = s.config("c.toml", &ttl(77));
        let config = config.to_str().unwrap();
        command_line(s, "quiet bpfboot=off\n");
        for verb in [&["apply"][..], &["check"], &["apply", "--dry-run"], &["attach", "lo"]] {
            let report = s.json(&[&["--boot", "-c", config], verb].concat()).exits(0);
            assert!(report.notes().contains("bpfboot=off"), "{verb:?}");
            assert!(report.steps().is_empty(), "{verb:?}");
        }
        assert_eq!(s.sysctl(TTL), "64");
        // A broken configuration is no reason to be anything but off.
        s.bpfboot(&["--boot", "-c", "/no/such/file", "apply"]).exits(0);
        // At a shell the person is obeyed; and what was done can be taken back.
        s.json(&["-c", config, "apply"]).exits(0);
        assert_eq!(s.sysctl(TTL), "77");
        s.json(&["--boot", "undo"]).exits(0);
        assert_eq!(s.sysctl(TTL), "64");
    });
}

#[test]
fn a_container_obeys_its_own_words() {
    sandbox(|s| {
        let config = s.config("c.toml", &ttl(77));
        command_line(s, "bpfboot=off");
        let script = format!("{} --json --boot -c {} apply; :", common::binary().display(), config.display());
        let contained = |word: &str| {
            let args = ["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &script, "init", word];
            Report::of(run(Command::new("unshare").args(args)))
        };
        assert_eq!(contained("bpfboot=off").json["notes"].as_array().unwrap().len(), 1);
        assert_eq!(s.sysctl(TTL), "64");
        assert_eq!(contained("quiet").status(&format!("sysctl {TTL}")), "done");
    });
}

#[test]
fn of_several_configurations_the_nearest_to_the_person_counts() {
    sandbox(|s| {
        let [named, typed, given] = [71, 72, 73].map(|n| s.config(&format!("{n}.toml"), &ttl(n)));
        fs::create_dir_all("/run/bpfboot.d").unwrap();
        s.file("/run/bpfboot.d/10.toml", &ttl(74));
        fs::create_dir("/run/credentials").unwrap();
        let check = |args: &[&str], source: &str| {
            let report = with_credentials(s, args).exits(0);
            assert_eq!(sources(&report), format!("[\"{source}\"]"), "{args:?}");
        };
        // Without a credential of that name, with the directory or without it.
        check(&["--boot", "apply"], "/run/bpfboot.d/10.toml");
        fs::rename(&given, "/run/credentials/bpfboot.config").unwrap();
        check(&["apply"], "/run/bpfboot.d/10.toml");
        check(&["--boot", "apply"], "/run/credentials/bpfboot.config");
        assert_eq!(s.sysctl(TTL), "73");
        command_line(s, &format!("bpfboot.config={}", typed.display()));
        check(&["--boot", "apply"], "/run/72.toml");
        check(&["--boot", "check"], "/run/72.toml");
        check(&["--boot", "-c", named.to_str().unwrap(), "apply"], "/run/71.toml");
        assert_eq!(s.sysctl(TTL), "71");
        check(&["apply"], "/run/bpfboot.d/10.toml");
    });
}

#[test]
fn a_credential_is_trusted_as_any_file() {
    sandbox(|s| {
        fs::create_dir("/run/credentials").unwrap();
        let credential = s.file("/run/credentials/bpfboot.config", &ttl(77));
        fs::set_permissions(&credential, fs::Permissions::from_mode(0o666)).unwrap();
        let refused = || {
            let ran = run(s.command(&["--boot", "apply"]).env("CREDENTIALS_DIRECTORY", "/run/credentials")).exits(2);
            assert_eq!(s.sysctl(TTL), "64");
            ran.stderr
        };
        assert!(refused().contains("can be written by others"));
        fs::remove_file(&credential).unwrap();
        fs::create_dir("/run/open").unwrap();
        fs::set_permissions("/run/open", fs::Permissions::from_mode(0o777)).unwrap();
        s.file("/run/c.toml", &ttl(77));
        symlink("/run/c.toml", "/run/open/link").unwrap();
        symlink("/run/open/link", &credential).unwrap();
        assert!(refused().contains("symbolic link /run/open/link"));
        // A directory that is named and hidden is not one without credentials.
        fs::rename("/run/credentials", "/run/hidden").unwrap();
        assert!(refused().contains("/run/credentials/bpfboot.config: cannot be opened"));
    });
}

#[test]
fn attach_configured_takes_only_what_the_configuration_names() {
    sandbox(|s| {
        let _wire = Wire::new(s, "eth7");
        let config = s.config("c.toml", EDGE);
        let with = |args: &[&str]| s.json(&[&["-c", config.to_str().unwrap()], args].concat());
        ip("link set eth7 name eth9");
        with(&["apply"]).exits(3);
        let stranger = with(&["attach", "lo", "--configured"]).exits(0);
        assert!(stranger.steps().is_empty() && stranger.notes().contains("names no program for lo"));
        assert_eq!(xdp("lo"), None);
        ip("link set eth9 name eth7");
        with(&["attach", "eth7", "--configured"]).exits(0);
        assert_eq!(xdp("eth7").unwrap().0, "native");
        with(&["attach", "eth7", "--configured"]).exits(0).nothing_done();
        let kept = fs::read_to_string("/run/bpfboot/report.json").unwrap();
        assert!(
            kept.contains("\"verb\":\"apply\"") && kept.contains("degraded"),
            "what the boot came to stays: {kept}"
        );
        with(&["check"]).exits(0);
    });
}

/// A socket that listens in place of systemd.
fn listen(place: &str) -> UnixDatagram {
    fs::create_dir_all(std::path::Path::new(place).parent().unwrap()).unwrap();
    let socket = UnixDatagram::bind(place).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn heard(socket: &UnixDatagram) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 1 << 18];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec())).collect()
}

/// The fields of a record, read as the journal's native protocol has them.
fn fields(record: &[u8]) -> BTreeMap<String, String> {
    let (mut fields, mut rest) = (BTreeMap::new(), record);
    while !rest.is_empty() {
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let name = String::from_utf8(rest[..line].to_vec()).unwrap();
        let size = u64::from_le_bytes(rest[line + 1..line + 9].try_into().unwrap()) as usize;
        let value = &rest[line + 9..line + 9 + size];
        assert_eq!(rest[line + 9 + size], b'\n');
        fields.insert(name, String::from_utf8(value.to_vec()).unwrap());
        rest = &rest[line + 10 + size..];
    }
    fields
}

#[test]
fn the_status_of_the_service_is_the_summary() {
    sandbox(|s| {
        let (good, bad) = (s.config("good.toml", &ttl(77)), s.config("bad.toml", "[sysctl]\n\"no.such.key\" = 1\n"));
        let abstract_name = format!("bpfboot-test-{}", std::process::id());
        let unnamed = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap();
        unnamed.set_nonblocking(true).unwrap();
        for (socket, place) in
            [(listen("/run/systemd/notify"), "/run/systemd/notify".to_owned()), (unnamed, format!("@{abstract_name}"))]
        {
            let status = |config: &std::path::Path, code| {
                let args = ["-c", config.to_str().unwrap(), "apply"];
                run(s.command(&args).env("NOTIFY_SOCKET", &place)).exits(code);
                let told = heard(&socket);
                assert_eq!(told.len(), 1);
                String::from_utf8(told[0].clone()).unwrap()
            };
            assert!(status(&good, 0).starts_with("STATUS=apply: healthy in "));
            let failed = status(&bad, 1);
            assert!(failed.starts_with("STATUS=apply: failed in ") && failed.contains("; sysctl no.such.key: "));
            assert!(!failed.contains('\n'));
        }
        for gone in ["/run/nobody", "@bpfboot-nobody", "@", ""] {
            run(s.command(&["-c", good.to_str().unwrap(), "apply"]).env("NOTIFY_SOCKET", gone)).exits(0);
        }
    });
}

#[test]
fn the_journal_gets_fields() {
    sandbox(|s| {
        let journal = listen("/run/systemd/journal/socket");
        let bad = s.config("bad.toml", &(ttl(77) + "\"no.such.key\" = 1\n"));
        s.bpfboot(&["-c", bad.to_str().unwrap(), "apply"]).exits(1);
        let told: Vec<_> = heard(&journal).iter().map(|record| fields(record)).collect();
        assert_eq!(told.len(), 2, "{told:#?}");
        for record in &told {
            for (name, value) in [
                ("SYSLOG_IDENTIFIER", "bpfboot"),
                ("PRIORITY", "3"),
                ("BPFBOOT_VERB", "apply"),
                ("BPFBOOT_HEALTH", "failed"),
            ] {
                assert_eq!(record[name], value);
            }
        }
        assert!(told[0]["MESSAGE"].starts_with("apply: failed in "));
        for (name, value) in [
            ("BPFBOOT_STEP", "sysctl no.such.key"),
            ("BPFBOOT_STATUS", "failed"),
            ("BPFBOOT_CAUSE", "kernel"),
            ("ERRNO", "2"),
        ] {
            assert_eq!(told[1][name], value);
        }
        assert!(told[1]["MESSAGE"].contains("no.such.key") && !told[1]["MESSAGE"].contains('\u{1b}'));
        // A run that found all as planned has nothing to log.
        let good = s.config("good.toml", &ttl(77));
        let args = ["-c", good.to_str().unwrap(), "apply"];
        s.bpfboot(&args).exits(0);
        assert_eq!(fields(&heard(&journal)[0])["BPFBOOT_HEALTH"], "healthy");
        s.bpfboot(&args).exits(0);
        assert!(heard(&journal).is_empty());
    });
}

/// A run whose standard output is the journal's stream, as systemd connects it; and what went there.
fn into_the_journal(s: &Sandbox, args: &[&str]) -> (Ran, String) {
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let meta = fs::metadata(format!("/proc/self/fd/{}", writer.as_raw_fd())).unwrap();
    let mut command = s.command(args);
    command.env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino())).stdout(OwnedFd::from(writer));
    let output = command.output().unwrap();
    drop(command);
    let mut printed = String::new();
    reader.read_to_string(&mut printed).unwrap();
    (Ran::of(output), printed)
}

#[test]
fn nothing_is_in_the_journal_twice() {
    sandbox(|s| {
        let bad = s.config("bad.toml", "[sysctl]\n\"no.such.key\" = { value = 1, optional = true }\n");
        let args = ["-c", bad.to_str().unwrap(), "apply"];
        let (ran, printed) = into_the_journal(s, &args);
        ran.exits(3);
        assert!(printed.contains("bpfboot apply: degraded") && printed.contains("  why:  sysctl"), "{printed}");
        let journal = listen("/run/systemd/journal/socket");
        let (ran, printed) = into_the_journal(s, &args);
        ran.exits(3);
        assert!(printed.contains("failed sysctl no.such.key") && !printed.contains("degraded in"), "{printed}");
        assert!(!printed.contains("why:") && !printed.contains("mend:"), "{printed}");
        let told: Vec<_> = heard(&journal).iter().map(|record| fields(record)).collect();
        assert_eq!(told.len(), 2);
        assert!(told[0]["MESSAGE"].starts_with("apply: degraded") && told[1]["MESSAGE"].starts_with("why:  sysctl"));
        // The journal is gone in the middle of the boot: all is printed.
        drop(journal);
        let (_, printed) = into_the_journal(s, &args);
        assert!(printed.contains("bpfboot apply: degraded"), "{printed}");
    });
}
