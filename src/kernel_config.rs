//! What this kernel was built with, wherever it is told. It need not be told anywhere.

use std::fs;

use crate::{inflate::gunzip, sys::file};

/// Most bytes of a configuration: distributions have 300 KiB.
const MOST: usize = 4 << 20;

/// The kernel's configuration, and the file that told it. `release` is that of `uname -r`.
pub fn read(release: &str) -> Option<(String, String)> {
    if let Some(text) = fs::read("/proc/config.gz").ok().and_then(|packed| gunzip(&packed, MOST))
        && let Ok(text) = String::from_utf8(text)
    {
        return Some(("/proc/config.gz".into(), text));
    }
    let places = [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/lib/modules/{release}/build/.config"),
    ];
    places.into_iter().find_map(|path| file::text(&path).ok().map(|text| (path, text)))
}

/// What it says of an option, `y`, `m`, a number, a text; `None` where that is not set.
pub fn value<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    config.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}
