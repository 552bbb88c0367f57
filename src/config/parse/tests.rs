#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod object;
mod tuning;

use std::time::{Duration, Instant};

use super::{
    super::{
        AttachWish, Config, Data, FsKind, Goal, LimitWish, Mistakes, ObjectSource, XdpMode, merge::Merge,
        mistake::words,
    },
    TOP_KEYS, attach, object as objects, parse, run as runs, settings, tuning as tunings,
};

const EXAMPLE: &str = include_str!("../../../bpfboot.toml.example");
const DEFAULT: &str = include_str!("../default.toml");

fn load(texts: &[&str]) -> Result<Config, Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut merge = Merge::default();
    for (text, name) in texts.iter().zip(["a.toml", "b.toml", "c.toml"]) {
        merge.add(parse(name, text, &mut mistakes));
    }
    let config = merge.build(&mut mistakes);
    if mistakes.total > 0 { Err(mistakes) } else { Ok(config) }
}

fn good(text: &str) -> Config {
    load(&[text]).map_err(|mistakes| mistakes.to_string()).unwrap()
}

/// Every text must give exactly one mistake, with this in its message.
fn bad(cases: &[(&str, &str)]) {
    for (text, wanted) in cases {
        let mistakes = load(&[text]).map(|_| "no mistake").unwrap_err();
        let shown = mistakes.to_string();
        assert!(mistakes.total == 1 && shown.contains(wanted), "{text}\nwanted: {wanted}\ngot: {shown}");
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    }
}

#[test]
fn the_design_example_is_read() {
    let config = good(
        r#"
profiles = ["core", "tracing"]
[sysctl]
"net.core.bpf_jit_harden" = 1
"net.core.optmem_max" = { at-least = 131072 }
"net.ipv4.tcp_congestion_control" = { value = "bbr", optional = true }
"kernel.unprivileged_bpf_disabled" = { value = 2, phase = "seal" }
[knobs]
"debugfs/kprobes/enabled" = { value = 1, if-available = true }
[limits]
memlock = "auto"
nofile = 65536
[mounts]
bpffs = { mode = "0700" }
tracefs = true
[bpf]
root = "/sys/fs/bpf/bpfboot"
deadline = "10s"
[object.edge]
path = "builtin:edge"
on-mismatch = "fail"
maps.connections.max-entries = 200000
globals.sample_rate = 100
programs.xdp_main = { attach = [{ xdp = "eth0", mode = "native", wait = "5s" }], optional = true }
"#,
    );
    let keys: Vec<String> = config.sysctls.iter().map(|wish| wish.key.to_string()).collect();
    assert_eq!(keys[..2], ["net.core.bpf_jit_harden", "net.core.optmem_max"]);
    assert_eq!(config.sysctls[1].goal, Goal::AtLeast(vec![131_072]));
    assert!(config.sysctls[2].optional && config.sysctls[3].seal);
    assert_eq!(config.sysctls[0].origin, "a.toml:4");
    assert!(config.knobs[0].if_available && config.knobs[0].value == "1");
    assert_eq!((config.limits.memlock, config.limits.nofile), (Some(LimitWish::Auto), Some(LimitWish::AtLeast(65536))));
    assert_eq!((config.mounts[0].mode, config.mounts[1].fs), (Some(0o700), FsKind::Trace));
    let edge = config.objects.values().next().unwrap();
    assert_eq!(edge.source, ObjectSource::Builtin("edge".to_owned()));
    assert_eq!(edge.maps["connections"].max_entries, Some(200_000));
    assert_eq!(edge.globals["sample_rate"], Data::Int(100));
    let program = &edge.programs.as_ref().unwrap()["xdp_main"];
    let AttachWish::Xdp { interface, mode, wait } = &program.attach.as_ref().unwrap()[0] else { unreachable!() };
    assert_eq!((interface.as_str(), *mode, *wait), ("eth0", XdpMode::Native, Duration::from_secs(5)));
    assert!(program.optional && edge.origin == "a.toml:19");
}

#[test]
fn all_mistakes_come_at_once_and_in_order() {
    for (text, lines) in [
        (
            "sysctl.x = 1.5\nbad syntax\ncolour = 1\nlimits.nofile = true\n[[[\nx = 1\n[bpf]\ndeadline = 10\n",
            vec![1, 2, 3, 4, 5, 8],
        ),
        ("[limits\nnofile = 1\n[bpf]\nroot = 1\nroot = 2", vec![1, 4, 5]),
        ("profiles = [\n  \"core\"\n  \"tracing\",\n]\ncolour = 1\n[knobs]\na = @\nb/c = 1\n", vec![3, 5, 7, 8]),
        ("[object.o]\npath = \"/o\"\nmaps.m.entries = [\n{ key = 1\n]\nsound = 1\n", vec![5, 6]),
        ("limits.nofile = \nbpf.root = \"/x\ncolour = 1", vec![1, 2, 3]),
    ] {
        let mistakes = load(&[text]).unwrap_err();
        let told: Vec<usize> = mistakes.list.iter().map(|mistake| mistake.line).collect();
        assert_eq!(told, lines, "{text}\n{mistakes}");
    }
}

#[test]
fn the_message_shows_the_place() {
    let mistakes = load(&["object.o.path = \"/o\"\nobject.o.maps.m = { max-entrys = 5 }"]).unwrap_err();
    assert_eq!(
        mistakes.to_string(),
        "a.toml:2:21: unknown key \"max-entrys\"; did you mean \"max-entries\"?\n    \
         object.o.maps.m = { max-entrys = 5 }\n                        ^^^^^^^^^^\n\
         1 mistake in the configuration; nothing was touched"
    );
}

#[test]
fn syntax_and_top_level() {
    bad(&[
        ("a = ", "a.toml:1:"),
        ("profiles = [\"core\"", "a.toml:1:"),
        ("[limits]\nnofile = 1\nnofile = 2", "a.toml:3:1: duplicate key"),
        ("[sysctl]\nnet/core/x = 1", "a key with slashes or stars needs quotes"),
        ("sysctls = 1", "did you mean \"sysctl\"?"),
        ("colour = 1", "known here: profiles, sysctl"),
        ("\"net.core.x\" = 1", "sysctls belong under [sysctl]"),
        ("net.core.x = 1", "sysctls belong under [sysctl]"),
        ("profiles = \"core\"", "takes an array of profile names"),
        ("profiles = [\"cor\"]", "unknown profile \"cor\"; did you mean \"core\"?"),
        ("profiles = [\"core\", \"core\"]", "named twice"),
        ("sysctl = 1", "takes a table of sysctls, not an integer"),
        ("object.edge = 1", "takes a table, not an integer"),
        ("a\u{1b} = 1", "a.toml:1:"),
    ]);
}

#[test]
fn later_files_win_key_by_key() {
    let config = load(&[
        "profiles = [\"core\"]\nmounts.tracefs = true\nmounts.bpffs = true\n[sysctl]\n\"vm.a\" = 1\n\"vm.b\" = 1\n\
         [object.o]\npath = \"/o\"\nmaps.m.max-entries = 1\nmaps.n.max-entries = 1\nprograms.p = { optional = true }",
        "profiles = [\"tracing\"]\nmounts.tracefs = false\n[sysctl]\n\"vm/a\" = 2\n\"vm.b\" = 1\n\
         [object.o]\noptional = true\nmaps.m.pin = false\nprograms.q = {}",
    ])
    .unwrap();
    assert_eq!(config.profiles.len(), 1);
    assert_eq!(config.mounts.len(), 1);
    let sysctls: Vec<String> = config.sysctls.iter().map(|wish| format!("{} {}", wish.key, wish.origin)).collect();
    assert_eq!(sysctls, ["vm.b a.toml:6", "vm.a b.toml:4"]);
    let object = config.objects.values().next().unwrap();
    assert!(object.optional && object.source == ObjectSource::File("/o".into()));
    assert_eq!((object.maps["m"].max_entries, object.maps["m"].pin), (None, false));
    assert_eq!(object.maps["n"].max_entries, Some(1));
    assert_eq!(object.programs.as_ref().unwrap().len(), 2);
    assert_eq!(
        config.notes,
        [
            "profiles: b.toml:1 wins over a.toml:1",
            "mounts.tracefs: b.toml:2 wins over a.toml:2",
            "sysctl vm.a: b.toml:4 wins over a.toml:5",
            "object.o.maps.m: b.toml:8 wins over a.toml:9",
        ]
    );
    // The path may come from another file; without any, the first place is told.
    assert_eq!(load(&["object.o.optional = true", "object.o.path = \"/o\""]).unwrap().objects.len(), 1);
    let mistakes = load(&["object.o.optional = true", "object.o.optional = false"]).unwrap_err();
    assert!(
        mistakes.total == 1 && mistakes.to_string().starts_with("a.toml:1:8: the object \"o\" has no path"),
        "{mistakes}"
    );
}

#[test]
fn the_default_is_good() {
    let config = good(DEFAULT);
    assert!(config.sysctls.is_empty() && config.profiles.len() == 2);
    assert!(config.knobs.iter().all(|knob| knob.if_available));
    for object in config.objects.values() {
        let programs = object.programs.iter().flat_map(|programs| programs.values());
        assert!(programs.into_iter().all(|program| program.attach.is_none()));
    }
}

/// The example with its settings live: `#key = ...` and `#[table]`, but not `# prose`.
fn uncommented() -> String {
    let live = |line: &'static str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
        _ => line,
    };
    EXAMPLE.lines().map(live).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_good_in_both_forms() {
    good(EXAMPLE);
    let config = good(&uncommented());
    assert!(config.sysctls.len() > 5 && config.objects.len() == 2);
}

#[test]
fn the_example_and_the_manual_know_every_key() {
    let manual = include_str!("../../../man/bpfboot.toml.5").replace("\\-", "-");
    let example = uncommented();
    let lists: [&str; 22] = [
        TOP_KEYS,
        tunings::SYSCTL_KEYS,
        tunings::KNOB_KEYS,
        settings::LIMIT_KEYS,
        settings::MOUNT_KEYS,
        settings::BPFFS_KEYS,
        settings::FS_KEYS,
        settings::BPF_KEYS,
        runs::RUN_KEYS,
        runs::ON_FAILURE,
        objects::OBJECT_KEYS,
        objects::MAP_KEYS,
        objects::ENTRY_KEYS,
        objects::PROGRAM_KEYS,
        objects::POLICIES,
        attach::KINDS,
        attach::XDP_KEYS,
        attach::KPROBE_KEYS,
        attach::UPROBE_KEYS,
        attach::PERF_KEYS,
        attach::EVENTS,
        attach::MODES,
    ];
    for key in lists.into_iter().flat_map(words) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let in_text = |text: &str| text.split(|c| !is_part(c)).any(|word| word == key);
        assert!(in_text(&example), "the example lacks {key}");
        assert!(in_text(&manual), "the manual lacks {key}");
    }
}

#[test]
fn hostile_texts_cost_little() {
    let began = Instant::now();
    for text in [
        format!("a = {}", "[".repeat(200_000)),
        "[".repeat(1 << 20),
        format!("{}a = 1", "a.".repeat(30_000)),
        format!("[{}a]", "a.".repeat(30_000)),
        format!("sysctl.{}a = 1", "a.".repeat(70)),
        "a=1\n".repeat(15_000),
        "\u{0}".repeat(1 << 20),
        ")".repeat(1 << 20),
        "\"".repeat(1 << 20),
        format!("sysctl.\"vm.{}\" = 1", "x".repeat(1 << 19)),
        format!("{} = 1", "x".repeat(1 << 20)),
        format!("limits.memlock = \"{}\"", "x".repeat(1 << 20)),
    ] {
        let mistakes = load(&[&text]).unwrap_err();
        assert!(mistakes.to_string().len() < 3 << 20);
    }
    // Debug builds of the parser take some ten times as long as the product's.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
