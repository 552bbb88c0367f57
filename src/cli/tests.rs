use std::collections::BTreeSet;

use super::{verb::VERBS, *};
use crate::profiles::Profile;

fn read(line: &str) -> Result<(Command, Options), Usage> {
    parse(line.split_whitespace().map(OsString::from))
}

fn command(line: &str) -> Command {
    read(line).unwrap().0
}

#[test]
fn every_verb_is_understood() {
    let eth0: IfName = "eth0".parse().unwrap();
    let edge: Option<PinName> = Some("edge".parse().unwrap());
    let xdp: Option<PinName> = Some("xdp_main".parse().unwrap());
    let (mode, wait) = (Some(XdpMode::Generic), Some(Duration::from_millis(1500)));
    for (line, expected) in [
        ("apply", Command::Apply { dry_run: false }),
        ("apply --dry-run", Command::Apply { dry_run: true }),
        ("--dry-run apply", Command::Apply { dry_run: true }),
        ("check", Command::Check { probe: false }),
        ("check --probe", Command::Check { probe: true }),
        ("status", Command::Status(Show::default())),
        (
            "status --count --sample 1s --watch=2m --prometheus x.prom",
            Command::Status(Show {
                count: true,
                sample: Some(Duration::from_secs(1)),
                watch: Some(Duration::from_secs(120)),
                prometheus: Some("x.prom".into()),
            }),
        ),
        ("undo", Command::Undo),
        (
            "attach eth0 --mode generic --object edge --program xdp_main --wait 1500ms",
            Command::Attach {
                interface: eth0.clone(),
                mode,
                object: edge.clone(),
                program: xdp.clone(),
                wait,
                configured: false,
            },
        ),
        (
            "attach eth0 --configured",
            Command::Attach {
                interface: eth0.clone(),
                mode: None,
                object: None,
                program: None,
                wait: None,
                configured: true,
            },
        ),
        ("detach --object=edge eth0", Command::Detach { interface: eth0, object: edge, program: None }),
        ("events", Command::Events { kinds: vec![] }),
        ("events --kind open --kind=tls", Command::Events { kinds: vec![Kind::Open, Kind::Tls] }),
        ("-q run agent -c x --", Command::Run { command: ["agent", "-c", "x", "--"].map(OsString::from).into() }),
        ("run -q -- --odd -- -q", Command::Run { command: ["--odd", "--", "-q"].map(OsString::from).into() }),
        ("caps", Command::Caps),
        ("report", Command::Report { svg: None, file: None }),
        ("report a --svg -", Command::Report { svg: Some("-".into()), file: Some("a".into()) }),
        (
            "render -q oci -- agent -q",
            Command::Render { format: Format::Oci, command: vec!["agent".into(), "-q".into()] },
        ),
        (
            "preflight --kernel-config a --btf=b --release 6.1",
            Command::Preflight { kernel_config: "a".into(), btf: Some("b".into()), release: Some("6.1".into()) },
        ),
        ("estimate", Command::Estimate { what: None, cpus: None, kernel: None }),
        (
            "estimate --cpus 8 builtin:edge --kernel=6.12.3-arch1",
            Command::Estimate {
                what: Some("builtin:edge".into()),
                cpus: Some(8),
                kernel: Some(KernelVersion { major: 6, minor: 12 }),
            },
        ),
        ("profiles", Command::Profiles { name: None }),
        ("profiles core", Command::Profiles { name: Some("core".into()) }),
        ("-V", Command::Version),
        ("apply --version", Command::Version),
    ] {
        assert_eq!(command(line), expected, "{line}");
    }
}

#[test]
fn options_stand_anywhere() {
    let expected = Options {
        config: vec!["a.toml".into(), "-".into()],
        boot: true,
        allow_untrusted: true,
        shape: Shape::Json,
        color: Color::Never,
    };
    for line in [
        "-c a.toml --config=- --boot --allow-untrusted --json --color never check",
        "check -ca.toml --boot -q --config - --json --allow-untrusted --color=never",
        "check -c a.toml -c - --boot --json -q --allow-untrusted --color=always --color=never",
    ] {
        assert_eq!(read(line).unwrap(), (Command::Check { probe: false }, expected.clone()), "{line}");
    }
    assert_eq!(read("check -q").unwrap().1.shape, Shape::Quiet);
}

#[test]
fn help_is_where_it_is_looked_for() {
    for line in ["--help", "-h", "help", "help help", "--help --version"] {
        let Command::Help(text) = command(line) else { panic!("{line}") };
        assert!(text.contains("exit codes:") && text.contains("  5  drift"), "{line}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
    for verb in Verb::ALL {
        let word = verb.word();
        for line in [format!("help {word}"), format!("{word} --help"), format!("-h {word}")] {
            let Command::Help(text) = command(&line) else { panic!("{line}") };
            assert!(verb == Verb::Help || text.starts_with(&format!("usage: bpfboot {word}")), "{line}");
            assert!(words(verb.own_options()).all(|option| text.contains(&format!("--{option}"))), "{line}");
            assert!(text.lines().all(|line| line.len() <= 80), "{line}");
        }
    }
}

#[test]
fn bad_usage_names_the_argument() {
    for (line, part) in [
        ("", "a verb is missing"),
        ("aply", "no verb 'aply'; did you mean 'apply'?"),
        ("verify", "did you mean 'check'?"),
        ("frobnicate", "no verb 'frobnicate'\n"),
        ("help aply", "did you mean 'apply'?"),
        ("apply --dryrun", "no option '--dryrun'; did you mean '--dry-run'?"),
        ("apply --jsn", "did you mean '--json'?"),
        ("apply -x", "no option '-x'"),
        ("apply --json=yes", "--json"),
        ("apply --config", "--config"),
        ("apply eth0", "'eth0' is one word too many for apply"),
        ("attach", "attach needs an interface"),
        ("render", "render: '' is not one of systemd, docker, compose, kubernetes, oci, sysctl.d, limits"),
        ("preflight", "preflight needs --kernel-config FILE"),
        ("run", "run needs a command, as in: bpfboot run -- agent"),
        ("run --dry-run -- x", "'--dry-run' is not one of run"),
        ("attach eth0 eth1", "'eth1' is one word too many"),
        ("attach a:b", "may not hold white space or a colon"),
        ("attach eth0 --mode skb", "--mode: 'skb' is not one of native, generic, any, offload"),
        ("attach eth0 --wait 5", "--wait: '5' is not a time"),
        ("attach eth0 --wait s", "--wait: 's' is not a time"),
        ("attach eth0 --wait 99999999999999999999s", "is not a time"),
        ("attach eth0 --wait 18446744073709551615m", "is not a time"),
        ("attach eth0 --object ../x", "--object: "),
        ("check --dry-run", "'--dry-run' is not one of check"),
        ("detach eth0 --wait 5s", "'--wait' is not one of detach"),
        ("check --color blue", "--color: 'blue' is not one of auto, always, never"),
        ("\u{1b}[31m", "no verb '\\x1b[31m'"),
    ] {
        let text = read(line).unwrap_err().to_string();
        assert!(text.starts_with("bpfboot: ") && text.contains(part), "{line}: {text}");
        assert!(text.contains("try 'bpfboot --help'") || line.is_empty(), "{line}: {text}");
        assert!(text.ends_with('\n') && !text.contains('\u{1b}'), "{line}: {text}");
    }
}

#[test]
fn what_is_not_utf8_is_a_path_or_a_message() {
    use std::os::unix::ffi::OsStringExt;
    let odd = || OsString::from_vec(vec![b'a', 0xff]);
    let args = ["check".into(), "-c".into(), odd()];
    assert_eq!(parse(args).unwrap().1.config, [PathBuf::from(odd())]);
    assert!(parse(["attach".into(), odd()]).unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn the_man_page_knows_every_word() {
    let man = include_str!("../../man/bpfboot.8").replace("\\-", "-");
    for verb in Verb::ALL {
        assert!(man.contains(&format!(".B {}", verb.word())), "{}", verb.word());
        assert!(words(verb.own_options()).all(|option| man.contains(&format!("--{option}"))), "{}", verb.word());
    }
    assert!(words(GLOBAL_OPTIONS).chain(words(OWN_OPTIONS)).all(|option| man.contains(&format!("--{option}"))));
    for (health, _) in help::CODES {
        assert!(man.contains(&format!("\n{}\t{}\t", health.exit_code(), health.word())), "{}", health.word());
    }
}

/// Only the words; that the shells offer them in the right place is tests/packages/completions.sh.
#[test]
fn the_completions_know_every_word_and_no_other() {
    let known: BTreeSet<&str> = words(GLOBAL_OPTIONS).chain(words(OWN_OPTIONS)).collect();
    let verbs = VERBS.replace(", ", " ");
    for (text, dashes, verbs) in [
        (include_str!("../../completions/bpfboot.bash"), "--", format!("verbs='{verbs}'")),
        (include_str!("../../completions/_bpfboot"), "--", format!("{}:", verbs.replace(" ", ":|"))),
        (include_str!("../../completions/bpfboot.fish"), "-l ", format!("set --local verbs {verbs}\n")),
    ] {
        let stop = |c: char| !c.is_ascii_lowercase() && c != '-';
        let options = text.split(dashes).skip(1).filter_map(|rest| rest.split(stop).next());
        let options: BTreeSet<&str> = options.filter(|option| !option.is_empty()).collect();
        assert_eq!(options, known);
        assert!(verbs.split('|').all(|part| text.contains(part)), "{verbs}");
        let lists = [
            COLORS.map(|(word, _)| word).join(" "),
            MODES.map(|(word, _)| word).join(" "),
            FORMATS.map(|(word, _)| word).join(" "),
        ];
        for values in lists {
            assert!(text.contains(&values), "{values}");
        }
        assert!(text.contains(&Profile::NAMES.replace(", ", " ")));
    }
}

#[test]
fn the_lists_hold_what_the_verbs_know() {
    assert_eq!(VERBS, Verb::ALL.map(Verb::word).join(", "));
    assert!(
        Verb::ALL
            .into_iter()
            .flat_map(|verb| words(verb.own_options()))
            .all(|own| words(OWN_OPTIONS).any(|one| one == own))
    );
}
