//! The five runs that are harmed, each in a sandbox of its own, and how an undisturbed one ends.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    common::{object, wait_for},
    judge::{State, sysctl, xdp_on_lo},
};

/// The sysctls that the configurations change. They belong to the network namespace.
pub const KEYS: [&str; 4] =
    ["net.ipv4.ip_default_ttl", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_time", "net.core.optmem_max"];

/// Their values in a new network namespace.
const NEW: [&str; 4] = ["64", "60", "7200", "131072"];

/// One of the five runs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Scenario {
    /// Nothing is there yet.
    Cold,
    /// Everything is there already.
    Again,
    /// Another version of one object, another value in a map that lives on, one object and one sysctl no longer wanted.
    Upgrade,
    /// Everything goes.
    Undo,
    /// One more interface.
    Attach,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cold, Self::Again, Self::Upgrade, Self::Undo, Self::Attach];

    /// The arguments after `--json`.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Self::Cold | Self::Again => &["-c", "/run/first.toml", "apply"],
            Self::Upgrade => &["-c", "/run/second.toml", "apply"],
            Self::Undo => &["-c", "/run/first.toml", "undo"],
            Self::Attach => &["-c", "/run/apart.toml", "attach", "lo", "--mode", "generic"],
        }
    }

    /// What was run before, undisturbed.
    pub fn before(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Cold => None,
            Self::Again | Self::Upgrade | Self::Undo => Some(&["-c", "/run/first.toml", "apply"]),
            Self::Attach => Some(&["-c", "/run/apart.toml", "apply"]),
        }
    }
}

/// Writes the configurations. Every phase of a run has something to do in them.
pub fn write_configs() {
    let common = "[mounts]\ntracefs = true\n[limits]\nnofile = 4096\n\
        [sysctl]\n\"net.ipv4.ip_default_ttl\" = 77\n\"net.ipv4.tcp_fin_timeout\" = { value = 30, phase = \"seal\" }\n";
    let table = |value| {
        let path = object("table_64");
        format!("[object.table]\npath = \"{path}\"\nmaps.table.entries = [{{ key = 1, value = {value} }}]\n")
    };
    let count =
        |version, attach| format!("[object.count]\npath = \"{}\"\nprograms.count = {{ {attach} }}\n", object(version));
    let on_lo = "attach = { xdp = \"lo\", mode = \"generic\" }";
    let trace = "[object.trace]\npath = \"builtin:trace\"\nprograms.trace_openat = {}\n";
    let more = "\"net.ipv4.tcp_keepalive_time\" = 7000\n";
    for (name, text) in [
        ("first", format!("{common}{more}{}{}{trace}", table(10), count("count_v1", on_lo))),
        ("second", format!("{common}\"net.core.optmem_max\" = 200000\n{}{}", table(11), count("count_v2", on_lo))),
        ("apart", format!("{common}{}{trace}", count("count_v1", ""))),
    ] {
        let path = format!("/run/{name}.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

/// Makes the network namespace as it was when it was new.
pub fn reset() {
    for (key, value) in KEYS.iter().zip(NEW) {
        if sysctl(key) != value {
            fs::write(format!("/proc/sys/{}", key.replace('.', "/")), value).unwrap();
        }
    }
    wait_for("lo to be free", || xdp_on_lo().is_none().then_some(()));
}

/// The state as it is.
pub fn state() -> State {
    State::now(&KEYS)
}
