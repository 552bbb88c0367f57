//! What `--help` says, and how near two words are.

use std::fmt::Write;

use super::verb::Verb;
use crate::{
    config::{distance, words},
    health::Health,
    texts::Text,
};

/// What `--version` says.
pub const VERSION: &str = concat!("bpfboot ", env!("CARGO_PKG_VERSION"), "\n");

/// What each exit code means.
pub(super) const CODES: [(Health, &str); 6] = [
    (Health::Healthy, "all as planned"),
    (Health::Failed, "undone, nothing left"),
    (Health::BadInput, "bad usage, configuration or object file; nothing was touched"),
    (Health::Degraded, "only optional items failed; the rest holds"),
    (Health::Dirty, "failed, and the undo was not complete; leftovers are listed"),
    (Health::Drift, "check and status: the kernel is not as planned"),
];

/// The whole help.
pub fn general() -> String {
    let mut text = format!("{}\n", page("general"));
    for (health, meaning) in CODES {
        let _ = writeln!(text, "  {}  {:9}  {meaning}", health.exit_code(), health.word());
    }
    text + "\n" + page("examples") + "\n"
}

/// The help of one verb.
pub(super) fn on(verb: Verb) -> String {
    match verb {
        Verb::Help => general(),
        verb => format!("{}\n\nFor the options of every verb: bpfboot --help\n", page(verb.word())),
    }
}

/// A page of help.txt.
fn page(name: &str) -> &'static str {
    let mut pages = Text::Help.read().split("\n# ").filter_map(|page| page.split_once('\n'));
    pages.find(|(of, _)| *of == name).map_or("", |(_, text)| text.trim_end())
}

/// The known word nearest to `word`, if it is near enough to be a slip of the hand.
pub fn nearest<'a>(word: &str, known: &'a str) -> Option<&'a str> {
    let far = 1 + word.len() / 4;
    words(known).map(|one| (distance(word, one), one)).filter(|(edits, _)| *edits <= far).min().map(|(_, one)| one)
}
