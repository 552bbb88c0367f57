//! The values of options, through the doors their types have.

use std::{ffi::OsString, fmt, str::FromStr, time::Duration};

use lexopt::{Parser, ValueExt};

use super::Usage;
use crate::{config::XdpMode, facts::KernelVersion, report::Color};

pub(super) use crate::report::KINDS;

/// A value as its type; `of` is what the message names.
pub(super) fn typed<T>(value: OsString, of: &str) -> Result<T, Usage>
where
    T: FromStr<Err: fmt::Display>,
{
    let text = value.string().map_err(|_| Usage::new(&format!("{of}: the value is not UTF-8")))?;
    text.parse().map_err(|error| Usage::new(&format!("{of}: {error}")))
}

pub(super) const COLORS: [(&str, Color); 3] =
    [("auto", Color::Auto), ("always", Color::Always), ("never", Color::Never)];
pub(super) const MODES: [(&str, XdpMode); 4] =
    [("native", XdpMode::Native), ("generic", XdpMode::Generic), ("any", XdpMode::Any), ("offload", XdpMode::Offload)];

/// What `render` writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// A unit.
    Systemd,
    /// A command line of docker.
    Docker,
    /// A compose file.
    Compose,
    /// A pod and a daemon set.
    Kubernetes,
    /// The config.json of a bundle.
    Oci,
    /// A file for sysctl.d.
    Sysctl,
    /// A file for limits.d.
    Limits,
}

pub(super) const FORMATS: [(&str, Format); 7] = [
    ("systemd", Format::Systemd),
    ("docker", Format::Docker),
    ("compose", Format::Compose),
    ("kubernetes", Format::Kubernetes),
    ("oci", Format::Oci),
    ("sysctl.d", Format::Sysctl),
    ("limits", Format::Limits),
];

/// The one of a list that a word names; `what` is what the message names.
pub(super) fn one_of<T: Copy>(word: &str, what: &str, of: &[(&str, T)]) -> Result<T, Usage> {
    of.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = of.iter().map(|(word, _)| *word).collect();
        Usage::new(&format!("{what}: '{word}' is not one of {}", words.join(", ")))
    })
}

pub(super) fn choice<T: Copy>(parser: &mut Parser, option: &str, of: &[(&str, T)]) -> Result<T, Usage> {
    one_of(&parser.value()?.display().to_string(), option, of)
}

/// A number of CPUs; the kernel has at most 8192 (CONFIG_NR_CPUS).
pub(super) struct Cpus(pub(super) u32);

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(cpus @ 1..=8192) => Ok(Self(cpus)),
            _ => Err(format!("'{text}' is not a number of CPUs, 1 to 8192")),
        }
    }
}

/// A kernel's version: `6.12`, or as `uname -r` has it.
pub(super) struct Release(pub(super) KernelVersion);

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match KernelVersion::parse(text) {
            KernelVersion { major: 0, .. } => Err(format!("'{text}' is not a version such as 6.12")),
            version => Ok(Self(version)),
        }
    }
}

/// `500ms`, `5s` or `2m`, as the configuration has it.
pub(super) struct Wait(pub(super) Duration);

impl FromStr for Wait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = text.strip_prefix(digits).unwrap_or_default();
        let ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            _ => 0,
        };
        match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(ms)) {
            Some(total) if ms > 0 => Ok(Self(Duration::from_millis(total))),
            _ => Err(format!("'{text}' is not a time; write 500ms, 5s or 2m")),
        }
    }
}
