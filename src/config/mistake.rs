//! What is wrong with a configuration, told with the place, the offending line and what mends it.

use std::fmt;

/// Mistakes shown; the rest is only counted. A file of noise must not make megabytes of messages.
const SHOWN: usize = 100;
/// Characters of a line shown before and after the mistake.
const WINDOW: usize = 60;

/// One mistake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// The file, `stdin` or `embedded default`.
    pub file: String,
    /// Its line, from 1; 0 when the whole file or directory is meant.
    pub line: usize,
    /// The character in the line, from 1.
    pub col: usize,
    /// What is wrong.
    pub what: String,
    /// What mends it; may be empty.
    pub hint: String,
    /// The line and a caret below the place; empty without a line.
    pub snippet: String,
}

impl Mistake {
    /// A mistake of a whole file or directory.
    #[inline(never)]
    pub fn whole(file: &str, what: &str, hint: &str) -> Self {
        let [what, hint] = [what, hint].map(str::to_owned);
        Self { file: plain(file), line: 0, col: 0, what, hint, snippet: String::new() }
    }

    /// A mistake at the bytes `start..end` of a text.
    pub fn at(file: &str, text: &str, start: usize, end: usize, what: &str, hint: &str) -> Self {
        let before = text.get(..start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let in_line = before.get(line_start..).unwrap_or_default();
        let rest = text.get(before.len()..).unwrap_or_default();
        let after = rest.split('\n').next().unwrap_or_default();
        let marked = rest.get(..end.saturating_sub(start).min(after.len())).unwrap_or_default();
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            col: in_line.chars().count() + 1,
            snippet: snippet(in_line, after.trim_end(), marked.chars().count()),
            ..Self::whole(file, what, hint)
        }
    }
}

/// A window of the line around the place, and carets below the place.
fn snippet(before: &str, after: &str, marked: usize) -> String {
    let from = before.char_indices().rev().nth(WINDOW - 1).map_or(0, |(at, _)| at);
    let before = before.get(from..).unwrap_or_default();
    let mut out = String::from("    ");
    // One character for one: an escape of several would move the text away from its caret.
    out.extend(before.chars().chain(after.chars().take(WINDOW)).map(|c| match c {
        '\t' => ' ',
        c if harmful(c) => '\u{fffd}',
        c => c,
    }));
    out.push_str("\n    ");
    out.extend(before.chars().map(|_| ' '));
    out.extend((0..marked.clamp(1, WINDOW)).map(|_| '^'));
    out
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.col)?;
        }
        f.write_str(": ")?;
        f.write_str(&self.what)?;
        if !self.hint.is_empty() {
            f.write_str("; ")?;
            f.write_str(&self.hint)?;
        }
        if !self.snippet.is_empty() {
            f.write_str("\n")?;
            f.write_str(&self.snippet)?;
        }
        Ok(())
    }
}

/// Every mistake of a configuration, in the order of the files.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mistakes {
    /// The first ones.
    pub list: Vec<Mistake>,
    /// How many there are in all.
    pub total: usize,
}

impl Mistakes {
    /// Adds one.
    pub fn push(&mut self, mistake: Mistake) {
        self.total += 1;
        if self.list.len() < SHOWN {
            self.list.push(mistake);
        }
    }

    /// Whether one more would be shown and not only counted.
    pub fn has_room(&self) -> bool {
        self.list.len() < SHOWN
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.list {
            writeln!(f, "{mistake}")?;
        }
        let hidden = self.total.saturating_sub(self.list.len());
        if hidden > 0 {
            writeln!(f, "... and {hidden} more")?;
        }
        let s = if self.total == 1 { "" } else { "s" };
        write!(f, "{} mistake{s} in the configuration; nothing was touched", self.total)
    }
}

/// Characters that could redraw a terminal or turn a line of the log around.
fn harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Text from outside, safe to print: control and direction characters are escaped.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if harmful(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The words of a list as messages show it. One text and not a table of them: the address of each would be 40 bytes.
pub fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(", ").filter(|word| !word.is_empty())
}

/// The word in `known` that `word` was probably meant to be.
pub fn did_you_mean<'k>(word: &str, known: &'k str) -> Option<&'k str> {
    // Long words are noise, and the distance costs the product of the lengths.
    if word.len() > 40 {
        return None;
    }
    let (distance, best) = words(known).map(|known| (distance(word, known), known)).min_by_key(|(d, _)| *d)?;
    (distance <= 1 + best.len() / 4 && distance < best.len()).then_some(best)
}

/// How many letters must be changed, added or dropped to make one word of the other (Levenshtein).
pub fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let Some(cell) = row.get_mut(j + 1) else { break };
            let best = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_shown() {
        let text = "a = 1\n\tmax-entrys = 5 # é\n";
        let mistake = Mistake::at("x.toml", text, 7, 17, "unknown", "did you");
        assert_eq!(mistake.to_string(), "x.toml:2:2: unknown; did you\n     max-entrys = 5 # é\n     ^^^^^^^^^^");
        let end = Mistake::at("x.toml", "a", 1, 1, "end", "");
        assert_eq!(end.to_string(), "x.toml:1:2: end\n    a\n     ^");
    }

    #[test]
    fn nothing_from_a_file_reaches_the_terminal_raw() {
        let text = "a\u{1b}[2J\u{202e}\u{0} = 1";
        let shown = Mistake::at(text, text, 0, 1, &plain(text), "").to_string();
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{0}']), "{shown:?}");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let mistake = Mistake::at("x", &text, 5000, 5001, "", "");
        assert_eq!(mistake.col, 5001);
        assert!(mistake.snippet.len() < 300 && mistake.snippet.contains('X'));
    }

    #[test]
    fn meant_words_are_found() {
        let known = "max-entries, pin, entries, programs";
        for (typo, meant) in [
            ("max-entrys", Some("max-entries")),
            ("max_entries", Some("max-entries")),
            ("pins", Some("pin")),
            ("program", Some("programs")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(typo, known), meant, "{typo}");
        }
    }

    #[test]
    fn noise_is_counted_and_not_kept() {
        let mut mistakes = Mistakes::default();
        for _ in 0..5000 {
            mistakes.push(Mistake::whole("x", "bad", ""));
        }
        let shown = mistakes.to_string();
        assert_eq!(mistakes.list.len(), 100);
        assert!(
            shown.ends_with("... and 4900 more\n5000 mistakes in the configuration; nothing was touched"),
            "{shown}"
        );
    }
}
