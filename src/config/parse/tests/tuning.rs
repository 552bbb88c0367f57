//! `[sysctl]`, `[knobs]`, `[limits]`, `[mounts]` and `[bpf]`.

use std::time::Duration;

use super::{
    super::super::{FsKind, Goal, LimitWish},
    bad, good, load,
};

#[test]
fn sysctls() {
    let key = |value: &str| good(&format!("sysctl.\"vm.a\" = {value}")).sysctls.remove(0);
    assert_eq!(key("-1").goal, Goal::Set("-1".to_owned()));
    assert_eq!(key("0x10").goal, Goal::Set("16".to_owned()));
    assert_eq!(key("18446744073692774399").goal, Goal::Set("18446744073692774399".to_owned()));
    assert_eq!(key("\"a b\"").goal, Goal::Set("a b".to_owned()));
    assert_eq!(key("{ at-least = \"1 2\\t3\" }").goal, Goal::AtLeast(vec![1, 2, 3]));
    assert_eq!(key("{ at-most = [1, -2] }").goal, Goal::AtMost(vec![1, -2]));
    assert_eq!(key("{ exclude = true }").goal, Goal::Exclude);
    let all = key("{ value = 1, exclude = false, irreversible = true, allow-insecure = true, phase = \"tune\" }");
    assert!(all.irreversible && all.allow_insecure && !all.seal && !all.best_effort);
    let best = &good("sysctl.\"-net.core.x\" = 1").sysctls[0];
    assert!(best.best_effort && best.key.to_string() == "net.core.x");
    assert!(good("sysctl.\"vm.a\".value = 1").sysctls.len() == 1);
    let order: Vec<String> =
        good("[sysctl]\n\"vm.b\" = 1\n\"vm.a\" = 1").sysctls.iter().map(|wish| wish.key.to_string()).collect();
    assert_eq!(order, ["vm.b", "vm.a"]);
}

#[test]
fn bad_sysctls() {
    bad(&[
        ("sysctl.\"vm.a\" = 1.5", "takes an integer or a string, not a float"),
        ("sysctl.\"vm.a\" = true", "write 1"),
        ("sysctl.\"vm.a\" = [1, 2]", "write the fields as one string"),
        ("sysctl.\"vm.a\" = 1979-05-27", "not a date"),
        ("sysctl.\"vm.a\" = 99999999999999999999", "does not fit 64 bits"),
        ("sysctl.\"vm.a\" = -9999999999999999999", "does not fit 64 bits"),
        ("sysctl.\"vm.a\" = \"a\\u0000b\"", "control character U+0000"),
        ("sysctl.\"vm.a\" = \"a\\nb\"", "control character U+000A"),
        ("sysctl.\"vm.a\\u0000\" = 1", "control character U+0000"),
        ("sysctl.\"../../etc/passwd\" = 1", "is empty"),
        ("sysctl.\"net/../../etc/passwd\" = 1", "may not be"),
        ("sysctl.\"vm..a\" = 1", "is empty"),
        ("sysctl.single = 1", "names no directory"),
        ("sysctl.\"/proc/sys/vm/a\" = 1", "leave /proc/sys/ out"),
        ("sysctl.\"debugfs/kprobes/enabled\" = 1", "belong under [knobs]"),
        ("sysctl.\"vm.a\" = {}", "has no value; give one of"),
        ("sysctl.\"vm.a\" = { optional = true }", "has no value"),
        ("sysctl.\"vm.a\" = { value = 1, at-least = 1 }", "more than one value"),
        ("sysctl.\"vm.a\" = { at-least = [] }", "holds no number"),
        ("sysctl.\"vm.a\" = { at-least = [1, \"x\"] }", "takes an integer, not a string"),
        ("sysctl.\"vm.a\" = { at-least = \"1 x\" }", "a string of integers"),
        ("sysctl.\"vm.a\" = { value = 1, phase = \"sea\" }", "did you mean \"seal\"?"),
        ("sysctl.\"vm.a\" = { value = 1, optional = 1 }", "takes true or false, not an integer"),
        ("sysctl.\"vm.a\" = { value = 1, at_least = 1 }", "did you mean \"at-least\"?"),
        ("[sysctl]\n\"vm.a\" = 1\n\"vm/a\" = 1", "a.toml:3:1: sysctl vm.a is set twice; first on line 2"),
        ("[sysctl]\n\"vm.a\" = 1\n\"-vm.a\" = 1", "set twice"),
        ("[sysctl]\nnet.core.rmem_max = 1", "for nested tables; quote the key: \"net.core.rmem_max\" = 1"),
        ("[sysctl]\nvm.x = { value = 1 }", "quote the key: \"vm.x\" = { value = 1 }"),
        ("[sysctl.net.core]\nrmem_max = \"1\"", "quote the key: \"net.core.rmem_max\" = \"1\""),
    ]);
    assert_eq!(load(&["[sysctl]\nnet.a.x = 1\nnet.a.y = 1\nvm.z = 1"]).unwrap_err().total, 3);
}

#[test]
fn knobs() {
    let config = good("[knobs]\n\"debugfs/a\" = true\n\"tracefs/b\" = { value = \"x\", optional = true }");
    assert_eq!(config.knobs.iter().map(|knob| knob.value.as_str()).collect::<Vec<_>>(), ["1", "x"]);
    bad(&[
        ("knobs.\"debugfs/kprobes/max_probes\" = 1000", "max_probes\"; remove the line"),
        ("knobs.\"debug.kprobes-optimization\" = 0", "write it under [sysctl]: \"debug.kprobes-optimization\""),
        ("knobs.debug.kprobes-optimization = 0", "belong under [sysctl], with the key in quotes"),
        ("knobs.kprobes = 0", "begin with debugfs/ or tracefs/"),
        ("knobs.\"debugfs/../x\" = 0", "may not be \"..\""),
        ("knobs.\"debugfs/x\" = { optional = true }", "has no value; add value"),
        ("knobs.\"debugfs/x\" = { value = 1, phase = \"seal\" }", "unknown key \"phase\""),
        ("knobs.\"debugfs/x\" = 0.5", "not a float"),
    ]);
}

#[test]
fn limits_mounts_and_bpf() {
    let config = good(
        "limits.memlock = \"64M\"\nlimits.nofile = \"unlimited\"\nbpf.root = \"/mnt//b/\"\nbpf.deadline = \"500ms\"",
    );
    assert_eq!(
        (config.limits.memlock, config.limits.nofile),
        (Some(LimitWish::AtLeast(64 << 20)), Some(LimitWish::Unlimited))
    );
    assert_eq!((config.bpf.root.to_str(), config.bpf.deadline), (Some("/mnt/b"), Duration::from_millis(500)));
    let config =
        good("mounts.debugfs = true\nmounts.bpffs = { uid = 0, gid = 7, if-available = true }\nmounts.tracefs = false");
    assert_eq!(config.mounts.iter().map(|mount| mount.fs).collect::<Vec<_>>(), [FsKind::Bpf, FsKind::Debug]);
    assert_eq!((config.mounts[0].uid, config.mounts[0].gid, config.mounts[0].if_available), (Some(0), Some(7), true));
    bad(&[
        ("limits.memlock = \"unlimted\"", "did you mean \"unlimited\"?"),
        ("limits.memlock = \"64MB\"", "is not a size such as"),
        ("limits.memlock = -1", "takes 0 to"),
        ("limits.memlock = true", "takes an integer, or a string such as"),
        ("limits.nofile = 0", "takes 1 to"),
        ("limits.nofile = \"many\"", "an integer or \"unlimited\", not a string"),
        ("limits.no-file = 1", "did you mean \"nofile\"?"),
        ("mounts.bpfs = true", "did you mean \"bpffs\"?"),
        ("mounts.bpffs = 1", "takes true, false or a table"),
        ("mounts.bpffs = { mode = 700 }", "a string of octal digits"),
        ("mounts.bpffs = { mode = \"0800\" }", "not a mode in octal"),
        ("mounts.bpffs = { uid = -1 }", "takes 0 to 4294967294"),
        ("mounts.tracefs = { mode = \"0700\" }", "unknown key \"mode\""),
        ("bpf.root = \"sys/fs/bpf\"", "must begin with a slash"),
        ("bpf.root = \"/sys/fs/bpf/v1.2\"", "bpffs refuses dots"),
        ("bpf.root = \"//\"", "names no directory"),
        ("bpf.deadline = 10", "give it a unit: deadline = \"10s\""),
        ("bpf.deadline = \"10\"", "is not a time such as"),
        ("bpf.deadline = \"1ms\"", "between 10ms and 10m"),
        ("bpf.deadline = \"11m\"", "between 10ms and 10m"),
    ]);
}
