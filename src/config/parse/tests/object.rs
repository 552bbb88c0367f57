//! `[object.NAME]`.

use std::time::Duration;

use super::{
    super::super::{AttachWish, Data, OnMismatch, Sample, XdpMode},
    bad, good, load,
};

fn in_program(attach: &str) -> String {
    format!("object.o.path = \"/o\"\nobject.o.programs.p.attach = {attach}")
}

fn attached(attach: &str) -> AttachWish {
    let config = good(&in_program(attach));
    let object = config.objects.values().next().unwrap();
    object.programs.as_ref().unwrap()["p"].attach.as_ref().unwrap()[0].clone()
}

#[test]
fn objects_maps_and_data() {
    let config = good(
        r#"
[object."eth0.100"]
path = "/usr/lib/bpf/flow.bpf.o"
sha256 = "00000000000000000000000000000000000000000000000000000000000000ff"
on-mismatch = "migrate"
optional = true
btf = "/usr/lib/btf/vmlinux"
maps.ring.max-entries = "16M"
maps.".rodata" = { pin = false, entries = [{ key = 0, value = "hex:0aff" }, { key = [1, 255], value = "text" }] }
maps.jumps.programs = { 0 = "http", 7 = "dns" }
alternatives = [["by_fentry", "by_kprobe", "by_raw"], ["tail", "by_raw"]]
globals.on = true
globals.low = -5
"#,
    );
    let object = config.objects.values().next().unwrap();
    assert_eq!((object.name.as_str(), object.on_mismatch, object.optional), ("eth0.100", OnMismatch::Migrate, true));
    assert_eq!(object.sha256.unwrap()[31], 255);
    assert_eq!(object.maps["ring"].max_entries, Some(16 << 20));
    assert!(object.programs.is_none() && object.btf.is_some());
    let pairs: Vec<_> = object.alternatives.iter().map(|(name, next)| (name.as_str(), next.as_str())).collect();
    assert_eq!(pairs, [("by_fentry", "by_kprobe"), ("by_kprobe", "by_raw"), ("tail", "by_raw")]);
    let rodata = &object.maps[".rodata"];
    assert!(!rodata.pin);
    assert_eq!(rodata.entries[0], (Data::Int(0), Data::Bytes(vec![10, 255])));
    assert_eq!(rodata.entries[1], (Data::Bytes(vec![1, 255]), Data::Text("text".to_owned())));
    assert_eq!(object.maps["jumps"].programs[&7], "dns");
    assert_eq!((&object.globals["on"], &object.globals["low"]), (&Data::Int(1), &Data::Int(-5)));
}

#[test]
fn a_later_files_alternatives_replace_the_earlier_ones() {
    let file = |rest: &str| format!("[object.o]\npath = \"/o\"\nalternatives = [{rest}]");
    for (later, left) in [("[\"c\", \"d\"]", vec![("c".to_owned(), "d".to_owned())]), ("", Vec::new())] {
        let config = load(&[&file("[\"a\", \"b\"]"), &file(later)]).map_err(|mistakes| mistakes.to_string()).unwrap();
        assert_eq!(config.objects.values().next().unwrap().alternatives, left);
        assert!(
            config.notes[0].starts_with("object.o.alternatives: b.toml:3 wins over a.toml:3"),
            "{:?}",
            config.notes
        );
    }
}

#[test]
fn bad_objects() {
    bad(&[
        ("\n[object.x]\noptional = true", "a.toml:2:9: the object \"x\" has no path"),
        ("object.\"a/b\".path = \"/o\"", "may not hold a slash"),
        ("object.o.path = \"o.o\"", "is relative; write it from the root on"),
        ("object.o.path = \"/a/../b\"", "may not hold \"..\""),
        ("object.o.path = \"builtin:\"", "the name must have"),
        ("object.o.path = \"/a\\u0000\"", "control character"),
        ("object.o.path = 1", "takes a string"),
    ]);
    let with_path: Vec<(String, &str)> = [
        ("sha256 = \"00\"", "64 hexadecimal digits, not 2"),
        ("sha256 = \"xyz\"", "an even number of hexadecimal digits"),
        ("on-mismatch = \"kep\"", "unknown policy \"kep\"; did you mean \"keep\"?"),
        ("on_mismatch = \"keep\"", "did you mean \"on-mismatch\"?"),
        ("btf = \"vmlinux\"", "must begin with a slash"),
        ("maps = 1", "takes a table of names"),
        ("maps.\"a/b\".pin = true", "may not hold '/'"),
        ("maps.m = 1", "takes a table of options"),
        ("maps.m.max-entries = 0", "takes 1 to 4294967295"),
        ("maps.m.max-entries = \"4G\"", "takes 1 to 4294967295"),
        ("maps.m.entries = 1", "an array of tables"),
        ("maps.m.entries = [1]", "an array of tables"),
        ("maps.m.entries = [{ key = 1 }]", "needs a key and a value"),
        ("maps.m.entries = [{ key = 1, valu = 1, value = 2 }]", "did you mean \"value\"?"),
        ("maps.m.entries = [{ key = 1.5, value = 1 }]", "not a float"),
        ("maps.m.entries = [{ key = \"hex:0\", value = 1 }]", "hexadecimal"),
        ("maps.m.entries = [{ key = [256], value = 1 }]", "takes 0 to 255"),
        ("maps.m.programs = { x = \"p\" }", "is not an index"),
        ("maps.m.programs = { 0 = \"p\", 00 = \"q\" }", "set twice"),
        ("globals.g = 1.0", "not a float"),
        ("globals.g = 9223372036854775808", "does not fit 64 bits"),
        ("programs = {}", "names no program; name at least one"),
        ("programs.p = true", "takes a table, as in"),
        ("programs.p = { attach = true }", "leave it out"),
        ("programs.p = { attach = \"eth0\" }", "false, a table, or an array"),
        ("programs.p = { attached = false }", "did you mean \"attach\"?"),
        ("alternatives = \"p\"", "an array of lists, as in"),
        ("alternatives = [[\"p\", \"q\"], \"r\"]", "a.toml:3:29: \"alternatives\" takes an array of lists, as in"),
        ("alternatives = [[\"p\", 1]]", "a.toml:3:23: \"alternatives\" takes a string"),
        ("alternatives = [[\"p\"]]", "a.toml:3:17: a list of alternatives names at least two programs"),
        ("alternatives = [[]]", "names at least two programs"),
        ("alternatives = [[\"p\", \"a/b\"]]", "may not hold '/'"),
        ("alternatives = [[\"p\", \"p\"]]", "a.toml:3:23: program \"p\" stands twice"),
        ("alternatives = [[\"p\", \"q\"], [\"p\", \"r\"]]", "a.toml:3:30: program \"p\" stands twice"),
        ("alternatives = [[\"p\", \"q\"], [\"q\", \"r\"]]", "only the last of a list may be the last of another"),
        ("alternatives = [[\"q\", \"r\"], [\"p\", \"q\"]]", "program \"q\" stands twice"),
    ]
    .map(|(text, wanted)| (format!("[object.o]\npath = \"/o\"\n{text}"), wanted))
    .to_vec();
    bad(&with_path.iter().map(|(text, wanted)| (text.as_str(), *wanted)).collect::<Vec<_>>());
}

#[test]
fn attachments() {
    let text = |text: &str| text.to_owned();
    for (written, wish) in [
        (
            "{ tracepoint = \"syscalls:sys_enter_openat\" }",
            AttachWish::Tracepoint { category: text("syscalls"), name: text("sys_enter_openat") },
        ),
        (
            "[{ tracepoint = \"sched/sched_switch\" }]",
            AttachWish::Tracepoint { category: text("sched"), name: text("sched_switch") },
        ),
        ("{ raw_tracepoint = \"sched_switch\" }", AttachWish::RawTracepoint(text("sched_switch"))),
        ("{ raw-tracepoint = \"sched_switch\" }", AttachWish::RawTracepoint(text("sched_switch"))),
        ("{ tp_btf = \"x\" }", AttachWish::TpBtf(text("x"))),
        ("{ kprobe = \"vfs_read\", offset = 8 }", AttachWish::Kprobe { function: text("vfs_read"), offset: 8 }),
        ("{ kretprobe = \"x\" }", AttachWish::Kretprobe(text("x"))),
        ("{ fentry = \"x\" }", AttachWish::Fentry(text("x"))),
        ("{ fexit = \"x\" }", AttachWish::Fexit(text("x"))),
        ("{ lsm = \"x\" }", AttachWish::Lsm(text("x"))),
        (
            "{ perf_event = \"cpu-clock\" }",
            AttachWish::PerfEvent { event: text("cpu-clock"), sample: Sample::Frequency(99) },
        ),
        (
            "{ perf-event = \"dummy\", period = 5 }",
            AttachWish::PerfEvent { event: text("dummy"), sample: Sample::Period(5) },
        ),
    ] {
        assert_eq!(attached(written), wish, "{written}");
    }
    for (mode, meant) in
        [("skb", XdpMode::Generic), ("driver", XdpMode::Native), ("hw", XdpMode::Offload), ("any", XdpMode::Any)]
    {
        let wish = attached(&format!("{{ xdp = \"eth0\", mode = \"{mode}\", wait = \"0s\" }}"));
        assert!(matches!(wish, AttachWish::Xdp { mode, wait: Duration::ZERO, .. } if mode == meant));
    }
    for (written, path, symbol, offset) in [
        ("{ uprobe = \"/usr/bin/bash:readline\" }", "/usr/bin/bash", "readline", 0),
        ("{ uretprobe = \"/usr/bin/bash\", symbol = \"readline\", offset = 16 }", "/usr/bin/bash", "readline", 16),
        ("{ uprobe = \"/bin/x\", offset = 4096 }", "/bin/x", "", 4096),
    ] {
        let (AttachWish::Uprobe(user) | AttachWish::Uretprobe(user)) = attached(written) else { unreachable!() };
        assert_eq!((user.path.to_str().unwrap(), user.symbol.as_str(), user.offset), (path, symbol, offset));
    }
    let config = good(&in_program("false"));
    assert_eq!(config.objects.values().next().unwrap().programs.as_ref().unwrap()["p"].attach, Some(Vec::new()));
}

#[test]
fn bad_attachments() {
    let cases: Vec<(String, &str)> = [
        ("{}", "an empty table; known here: xdp"),
        ("{ kprob = \"x\" }", "did you mean \"kprobe\"?"),
        ("{ xdp = \"eth0\", kprobe = \"x\" }", "one table takes one kind"),
        ("{ xdp = \"sixteen-letters-\" }", "longer than 15 bytes"),
        ("{ xdp = \"eth0\\u0000\" }", "control character"),
        ("{ xdp = \"eth0\", mode = \"nativ\" }", "did you mean \"native\"?"),
        ("{ xdp = \"eth0\", wait = 5 }", "give it a unit: wait = \"5s\""),
        ("{ xdp = \"eth0\", wait = \"11m\" }", "longer than 10m"),
        ("{ xdp = \"eth0\", offset = 5 }", "known here: mode, wait"),
        ("{ fentry = \"x\", offset = 5 }", "\"fentry\" takes no option \"offset\""),
        ("{ tracepoint = \"openat\" }", "is not a tracepoint such as"),
        ("{ tracepoint = \"../events:x\" }", "may not hold '.'"),
        ("{ tracepoint = \"a:b:c\" }", "may not hold ':'"),
        ("{ kprobe = \"x+8\" }", "may not hold '+'"),
        ("{ kprobe = \"x\", offset = -1 }", "takes 0 to"),
        ("{ uprobe = \"/bin/x\" }", "names no function"),
        ("{ uprobe = \"bin/x:y\" }", "must begin with a slash"),
        ("{ perf_event = \"cycles\" }", "unknown software event \"cycles\""),
        ("{ perf_event = \"dummy\", period = 0 }", "takes 1 to"),
        ("{ perf_event = \"dummy\", period = 1, frequency = 1 }", "both a frequency and a period"),
    ]
    .map(|(written, wanted)| (in_program(written), wanted))
    .to_vec();
    bad(&cases.iter().map(|(text, wanted)| (text.as_str(), *wanted)).collect::<Vec<_>>());
}
