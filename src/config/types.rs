//! Types that cannot hold a bad name: every value from outside passes one of these doors once, and never again.

use std::{fmt, path::PathBuf, str::FromStr};

/// Longest path component any Linux file system takes (include/uapi/linux/limits.h, NAME_MAX).
const NAME_MAX: usize = 255;
/// Longest path the kernel takes in one call, its NUL included (limits.h, PATH_MAX).
const PATH_MAX: usize = 4096;
/// Longest interface name, its NUL included (include/uapi/linux/if.h, IFNAMSIZ).
const IFNAMSIZ: usize = 16;

/// Why a value was refused at the door.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(why.into()))
}

fn no_control(text: &str, what: &str) -> Result<(), Refused> {
    match text.chars().find(|c| c.is_control()) {
        Some(c) => refuse(format!("{what} holds the control character U+{:04X}", u32::from(c))),
        None => Ok(()),
    }
}

/// A component that stays inside its directory: not empty, no slash, no `.` or `..`, at most 255 bytes.
fn component(text: &str, what: &str) -> Result<(), Refused> {
    no_control(text, what)?;
    match text {
        "" => refuse(format!("{what} is empty")),
        "." | ".." => refuse(format!("{what} may not be {text:?}")),
        _ if text.contains('/') => refuse(format!("{what} may not hold a slash")),
        _ if text.len() > NAME_MAX => refuse(format!("{what} is longer than {NAME_MAX} bytes")),
        _ => Ok(()),
    }
}

/// A sysctl, held as its path below /proc/sys: `net/ipv4/conf/eth0.100/rp_filter`.
///
/// Written with dots or slashes by the rule of sysctl.d(5): whichever separator comes first is the separator, and the
/// other one is then an ordinary character of a component (dots and slashes swap in the dotted form).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SysctlKey(String);

impl SysctlKey {
    /// The path below /proc/sys.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// Whether `*`, `?` or `[` makes this a pattern over several keys.
    pub fn is_glob(&self) -> bool {
        self.0.contains(['*', '?', '['])
    }
}

impl FromStr for SysctlKey {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        const WHAT: &str = "the sysctl key";
        no_control(text, WHAT)?;
        if text.len() >= PATH_MAX - "/proc/sys/".len() {
            return refuse(format!("{WHAT} is {} bytes long", text.len()));
        }
        let path = match text.find(['.', '/']).and_then(|at| text.as_bytes().get(at)) {
            None => {
                return refuse(format!("{WHAT} {text:?} names no directory; keys look like net.core.bpf_jit_enable"));
            }
            Some(b'/') => text.to_owned(),
            Some(_) => text
                .chars()
                .map(|c| match c {
                    '.' => '/',
                    '/' => '.',
                    c => c,
                })
                .collect(),
        };
        for part in path.split('/') {
            component(part, "a part of the sysctl key")?;
        }
        Ok(Self(path))
    }
}

impl fmt::Display for SysctlKey {
    /// The dotted form, as sysctl(8) prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            let swapped = match c {
                '/' => '.',
                '.' => '/',
                c => c,
            };
            write!(f, "{swapped}")?;
        }
        Ok(())
    }
}

/// The kinds of file system bpfboot mounts and looks into.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FsKind {
    /// bpffs: pins live here.
    Bpf,
    /// tracefs: tracepoint ids and kprobe events.
    Trace,
    /// debugfs: the kprobe switches.
    Debug,
}

impl FsKind {
    /// The type's name for mount(2), and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Trace => "tracefs",
            Self::Debug => "debugfs",
        }
    }

    /// Where everybody mounts it.
    pub const fn usual_place(self) -> &'static str {
        match self {
            Self::Bpf => "/sys/fs/bpf",
            Self::Trace => "/sys/kernel/tracing",
            Self::Debug => "/sys/kernel/debug",
        }
    }
}

/// A file below debugfs or tracefs, written `debugfs/kprobes/enabled`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnobPath {
    /// Which file system.
    pub fs: FsKind,
    /// The path below it; no empty, `.` or `..` component.
    pub below: String,
}

impl FromStr for KnobPath {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        no_control(text, "the knob")?;
        let (fs, below) = if let Some(below) = text.strip_prefix("debugfs/") {
            (FsKind::Debug, below)
        } else if let Some(below) = text.strip_prefix("tracefs/") {
            (FsKind::Trace, below)
        } else {
            return refuse(format!(
                "the knob {text:?} must begin with debugfs/ or tracefs/, as in debugfs/kprobes/enabled"
            ));
        };
        if below.len() >= PATH_MAX / 2 {
            return refuse(format!("the knob's path is {} bytes long", below.len()));
        }
        for part in below.split('/') {
            component(part, "a part of the knob's path")?;
        }
        Ok(Self { fs, below: below.to_owned() })
    }
}

impl fmt::Display for KnobPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", if self.fs == FsKind::Debug { "debugfs" } else { "tracefs" }, self.below)
    }
}

/// A network interface's name (dev_valid_name() in net/core/dev.c: 1 to 15 bytes, no slash, colon or white space).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IfName(String);

impl IfName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        const WHAT: &str = "the interface name";
        component(text, WHAT)?;
        if text.len() >= IFNAMSIZ {
            return refuse(format!("{WHAT} {text:?} is longer than {} bytes", IFNAMSIZ - 1));
        }
        if text.contains(|c: char| c.is_whitespace() || c == ':') {
            return refuse(format!("{WHAT} {text:?} may not hold white space or a colon"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an object, program or map, and of the file or directory that holds its pin.
///
/// Dots are allowed here and escaped on bpffs, which refuses them (see [`PinName::on_bpffs`]).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PinName(String);

impl PinName {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a file on bpffs, where a dot gives EPERM (bpf_lookup() in kernel/bpf/inode.c): `eth0.100` becomes
    /// `eth0_2e100`. A name that already holds `_2e` or `_5f` has its underscore escaped, so the way back is exact.
    pub fn on_bpffs(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        while let Some(c) = rest.chars().next() {
            match c {
                '.' => out.push_str("_2e"),
                '_' if rest.starts_with("_2e") || rest.starts_with("_5f") => out.push_str("_5f"),
                c => out.push(c),
            }
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
        out
    }

    /// The name behind a file on bpffs; `None` for a file that is not ours to name.
    pub fn from_bpffs(file: &str) -> Option<Self> {
        let name: Self = file.replace("_2e", ".").replace("_5f", "_").parse().ok()?;
        (name.on_bpffs() == file).then_some(name)
    }
}

impl FromStr for PinName {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        component(text, "the name")?;
        if text.len() > NAME_MAX / 3 {
            return refuse(format!("the name {text:?} is longer than {} bytes", NAME_MAX / 3));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PinName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An absolute path without `..`, as it was written.
pub fn absolute_path(text: &str) -> Result<PathBuf, Refused> {
    no_control(text, "the path")?;
    if !text.starts_with('/') {
        return refuse(format!("the path {text:?} must begin with a slash"));
    }
    if text.len() >= PATH_MAX {
        return refuse(format!("the path is {} bytes long", text.len()));
    }
    if text.split('/').any(|part| part == "..") {
        return refuse(format!("the path {text:?} may not hold \"..\""));
    }
    Ok(PathBuf::from(text))
}

/// One line of text for a kernel file: no control characters, at most 4,000 bytes.
pub fn one_line(text: &str) -> Result<String, Refused> {
    no_control(text, "the value")?;
    if text.len() > 4000 {
        return refuse(format!("the value is {} bytes long", text.len()));
    }
    Ok(text.to_owned())
}

/// A symbol, tracepoint or hook name: letters, digits and the few marks that kernel symbols carry.
pub fn symbol(text: &str) -> Result<String, Refused> {
    component_of_symbol(text).map(|()| text.to_owned())
}

fn component_of_symbol(text: &str) -> Result<(), Refused> {
    const MARKS: [char; 6] = ['_', '.', '$', ':', '@', '-'];
    if text.is_empty() || text.len() > NAME_MAX {
        return refuse(format!("the name must have 1 to {NAME_MAX} bytes"));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || MARKS.contains(c))) {
        Some(c) => refuse(format!("the name {text:?} may not hold {c:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn sysctl_keys_follow_sysctl_d() {
        for (written, path, shown) in [
            ("net.core.bpf_jit_enable", "net/core/bpf_jit_enable", "net.core.bpf_jit_enable"),
            ("net/core/bpf_jit_enable", "net/core/bpf_jit_enable", "net.core.bpf_jit_enable"),
            (
                "net.ipv4.conf.eth0/100.rp_filter",
                "net/ipv4/conf/eth0.100/rp_filter",
                "net.ipv4.conf.eth0/100.rp_filter",
            ),
            (
                "net/ipv4/conf/eth0.100/rp_filter",
                "net/ipv4/conf/eth0.100/rp_filter",
                "net.ipv4.conf.eth0/100.rp_filter",
            ),
        ] {
            let key: SysctlKey = written.parse().unwrap();
            assert_eq!((key.path(), key.to_string().as_str()), (path, shown));
        }
    }

    #[test]
    fn escapes_are_refused_at_the_door() {
        for bad in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "net/../../etc/passwd",
            "net..core",
            "a\0.b",
            "net.core.x\n",
            "single",
            "net/",
        ] {
            assert!(bad.parse::<SysctlKey>().is_err(), "{bad:?}");
        }
        assert!("k.".repeat(4000).parse::<SysctlKey>().is_err());
        for bad in ["", "kprobes/enabled", "debugfs/", "debugfs/../x", "debugfs//x", "debugfs/a\0"] {
            assert!(bad.parse::<KnobPath>().is_err(), "{bad:?}");
        }
        for bad in ["", "a/b", "sixteen-letters-", "has space", "c:olon", "..", "\u{1}"] {
            assert!(bad.parse::<IfName>().is_err(), "{bad:?}");
        }
        for bad in ["etc/x", "/a/../b", "/a\0"] {
            assert!(absolute_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn pin_names_round_trip_through_bpffs() {
        for name in ["edge", "eth0.100", "a_2eb", "_5f", "v1.2_2e.", "x__2e", "_5f2e", "__5f"] {
            let name: PinName = name.parse().unwrap();
            assert!(!name.on_bpffs().contains('.'));
            assert_eq!(PinName::from_bpffs(&name.on_bpffs()), Some(name));
        }
        assert_eq!(PinName::from_bpffs("a.b"), None);
    }
}
