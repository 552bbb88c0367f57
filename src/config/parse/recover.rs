//! Gets past syntax errors, so that one run tells all of them and judges the rest of the file too.
//!
//! The parser's own recovery lets one open bracket swallow the lines after it and gives up at a key without a value.
//! So only the first error of a pass is believed: the statement around it is blanked and the text parsed again. The
//! text keeps its length, so every place in it stays true.

use std::borrow::Cow;

use toml::de::DeTable;

use super::reader::Reader;

/// Most passes over a short text. Long ones get fewer: a boot does not wait for a proofreader.
const PASSES: usize = 50;
/// Bytes to parse in all passes together; some 100 ms.
const BYTES: usize = 1 << 20;

/// The text with every statement blanked that is not TOML; `None` when too many are not.
pub fn recover<'t>(reader: &mut Reader<'_>, text: &'t str) -> Option<Cow<'t, str>> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..(BYTES / text.len().max(1)).clamp(2, PASSES) {
        let (_, errors) = DeTable::parse_recoverable(&text);
        let places = errors.iter().map(|error| (error.span().unwrap_or(text.len()..text.len()), error.message()));
        let Some((span, message)) = places.min_by_key(|(span, _)| span.start) else { return Some(text) };
        let at = span.start;
        reader.syntax(span.into(), message);
        text = Cow::Owned(blank(&text, at));
    }
    None
}

/// The text without the statement around `at`, and without a whole section when it is the section's header.
fn blank(text: &str, at: usize) -> String {
    let mut lines: Vec<(usize, &str)> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        lines.push((start, line));
        start += line.len();
    }
    let hit = lines.partition_point(|(start, _)| *start <= at).saturating_sub(1);
    let is = |line: usize, what: fn(&str) -> bool| lines.get(line).is_some_and(|(_, text)| what(text));
    let first = (0..=hit).rev().find(|line| is(*line, begins)).unwrap_or_default();
    let ends = if is(first, header) { header } else { begins };
    let next = (hit + 1..lines.len()).find(|line| is(*line, ends)).unwrap_or(lines.len());
    let mut out = String::with_capacity(text.len());
    for (number, (_, line)) in lines.iter().enumerate() {
        if (first..next).contains(&number) {
            // Byte for byte, so that later places stay true.
            out.extend(line.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        } else {
            out.push_str(line);
        }
    }
    out
}

/// Whether a line looks like the beginning of a statement, and not like the inside of an array.
fn begins(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with(|c: char| c.is_ascii_alphabetic() || !c.is_ascii() || c == '_')
        || (line.starts_with(|c: char| c.is_ascii_digit() || "-\"'=/".contains(c)) && line.contains('='))
        || header(line)
}

fn header(line: &str) -> bool {
    line.trim_start().starts_with('[') && !line.trim_end().ends_with(',')
}
