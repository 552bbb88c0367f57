//! The values of options, through the doors their types have.

use std::{ffi::OsString, fmt, str::FromStr, time::Duration};

use lexopt::{Parser, ValueExt};

use super::Usage;
use crate::{config::XdpMode, report::Color};

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

pub(super) fn choice<T: Copy>(parser: &mut Parser, option: &str, of: &[(&str, T)]) -> Result<T, Usage> {
    let value = parser.value()?.display().to_string();
    of.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = of.iter().map(|(word, _)| *word).collect();
        Usage::new(&format!("{option}: '{value}' is not one of {}", words.join(", ")))
    })
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
