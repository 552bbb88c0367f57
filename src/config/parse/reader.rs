//! Walks the parsed TOML. Every getter gives `None` when the value is not as it should be, and has then said so: the
//! caller goes on with the next key, and all mistakes come out in one run.

use std::{cmp::Reverse, collections::BinaryHeap, ops::Range};

use toml::de::{DeInteger, DeTable, DeValue};

use super::super::{
    PinName, Table,
    merge::{Draft, Said, Setting},
    mistake::{Mistake, Mistakes, did_you_mean, plain},
    types::Refused,
};

/// Mistakes of one file that are kept and not only counted.
const KEPT: usize = 100;

/// Bytes of the text.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    start: usize,
    end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A key and its value, or an element of the key's array.
#[derive(Clone, Copy)]
pub struct Item<'t> {
    /// The key.
    pub key: &'t str,
    /// Where the key stands.
    pub key_at: Span,
    /// The value.
    pub value: &'t DeValue<'t>,
    /// Where the value stands.
    pub at: Span,
}

/// The entries of a table in the order they were written; the parser keeps them sorted by key. (A heap, since a call of
/// `sort` is several kilobytes of code.)
pub fn items<'t>(table: &'t DeTable<'t>) -> Vec<Item<'t>> {
    let items: Vec<Item<'t>> = table
        .iter()
        .map(|(key, value)| Item {
            key: key.get_ref(),
            key_at: key.span().into(),
            value: value.get_ref(),
            at: value.span().into(),
        })
        .collect();
    let mut order: BinaryHeap<Reverse<(usize, usize)>> =
        items.iter().enumerate().map(|(index, item)| Reverse((item.key_at.start, index))).collect();
    std::iter::from_fn(|| order.pop()).filter_map(|Reverse((_, index))| items.get(index).copied()).collect()
}

/// The walk over one text.
pub struct Reader<'t> {
    label: &'t str,
    text: &'t str,
    /// Where each line begins: settings ask for their line, and must not count from the top each time.
    starts: Vec<usize>,
    draft: Draft,
    /// The line on which each name was set.
    seen: Table<String, usize>,
    /// Lines with a syntax error that was told.
    broken: Vec<usize>,
    found: Vec<(usize, Mistake)>,
    total: usize,
    mistakes: &'t mut Mistakes,
}

impl<'t> Reader<'t> {
    /// A walk that adds to `mistakes` when it ends.
    pub fn new(label: &'t str, text: &'t str, mistakes: &'t mut Mistakes) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            label,
            text,
            starts: std::iter::once(0).chain(ends).collect(),
            draft: Draft::default(),
            seen: Table::default(),
            broken: Vec::new(),
            found: Vec::new(),
            total: 0,
            mistakes,
        }
    }

    /// The settings; the mistakes go out in the order of the text.
    pub fn finish(self) -> Draft {
        let kept = self.found.len();
        for (_, mistake) in self.found {
            self.mistakes.push(mistake);
        }
        self.mistakes.total += self.total.saturating_sub(kept);
        self.draft
    }

    fn line(&self, at: Span) -> usize {
        self.starts.partition_point(|start| *start <= at.start)
    }

    /// The text at a place, as it was written.
    pub fn written(&self, at: Span) -> &'t str {
        self.text.get(at.start..at.end).unwrap_or_default()
    }

    /// A mistake of TOML itself: one a line.
    pub fn syntax(&mut self, at: Span, message: &str) {
        let line = self.line(at);
        if self.broken.contains(&line) {
            return;
        }
        self.broken.push(line);
        let start = self.starts.get(line.wrapping_sub(1)).copied().unwrap_or_default();
        let whole = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default().trim();
        let key = whole.split('=').next().unwrap_or_default();
        if whole.ends_with('=') {
            return self.mistake(at, "the value is missing", "");
        }
        let hint = if !key.starts_with(['"', '\'', '[', '{', '#']) && key.contains(['/', '*']) {
            "a key with slashes or stars needs quotes"
        } else {
            ""
        };
        self.mistake(at, &plain(message), hint);
    }

    /// A mistake of ours.
    #[inline(never)]
    pub fn mistake(&mut self, at: Span, what: &str, hint: &str) {
        self.total += 1;
        if self.found.len() < KEPT && self.mistakes.has_room() {
            let mistake = Mistake::at(self.label, self.text, at.start, at.end, what, hint);
            self.found.insert(self.found.partition_point(|(start, _)| *start <= at.start), (at.start, mistake));
        }
    }

    /// Takes a setting, unless this file has set the same under another spelling.
    pub fn say(&mut self, item: Item<'_>, name: String, setting: Setting) {
        let line = self.line(item.key_at);
        match self.seen.insert(name.clone(), line) {
            Some(first) => {
                self.mistake(item.key_at, &format!("{name} is set twice"), &format!("first on line {first}"))
            }
            None => self.draft.said.push(Said { name, setting, origin: format!("{}:{line}", self.label) }),
        }
    }

    /// Takes note of an object, and of what to say if no file gives its path.
    pub fn object(&mut self, item: Item<'_>, name: &PinName) {
        let what = format!("the object {:?} has no path", name.as_str());
        let hint = "add path = \"/usr/lib/bpf/NAME.bpf.o\", or path = \"builtin:NAME\"";
        // The snippet costs a walk over the text, and only the first mistakes are shown.
        let mistake = if self.draft.objects.len() < KEPT {
            Mistake::at(self.label, self.text, item.key_at.start, item.key_at.end, &what, hint)
        } else {
            Mistake { line: self.line(item.key_at), col: 1, ..Mistake::whole(self.label, &what, hint) }
        };
        self.draft.objects.push((name.clone(), mistake));
    }

    /// A key that is none of `known`.
    pub fn unknown(&mut self, item: Item<'_>, known: &str) {
        self.not_one_of(item.key_at, "key", item.key, known);
    }

    /// A word that is none of `known`.
    pub fn not_one_of(&mut self, at: Span, what: &str, word: &str, known: &str) {
        let hint = match did_you_mean(word, known) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("known here: {known}"),
        };
        self.mistake(at, &format!("unknown {what} {word:?}"), &hint);
    }

    /// A value of the wrong kind.
    pub fn wrong(&mut self, item: Item<'_>, wanted: &str) {
        let what = format!("{:?} takes {wanted}, not {}", item.key, kind(item.value));
        self.mistake(item.at, &what, "");
    }

    /// What came through a door of `types` or `units`.
    pub fn door<T>(&mut self, at: Span, result: Result<T, Refused>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Refused(why)) => {
                self.mistake(at, &plain(&why), "");
                None
            }
        }
    }

    /// A string.
    pub fn text<'v>(&mut self, item: Item<'v>) -> Option<&'v str> {
        let text = item.value.as_str();
        if text.is_none() {
            self.wrong(item, "a string");
        }
        text
    }

    /// A string that passes a door.
    pub fn parsed<T>(&mut self, item: Item<'_>, door: fn(&str) -> Result<T, Refused>) -> Option<T> {
        let text = self.text(item)?;
        self.door(item.at, door(text))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, item: Item<'_>) -> Option<bool> {
        let flag = item.value.as_bool();
        if flag.is_none() {
            self.wrong(item, "true or false");
        }
        flag
    }

    /// A signed number.
    pub fn int(&mut self, item: Item<'_>) -> Option<i64> {
        let Some(number) = item.value.as_integer() else {
            self.wrong(item, "an integer");
            return None;
        };
        let value = i64::from_str_radix(number.as_str(), number.radix()).ok();
        if value.is_none() {
            self.too_big(item);
        }
        value
    }

    /// A number from `min` to `max`.
    pub fn number(&mut self, item: Item<'_>, min: u64, max: u64) -> Option<u64> {
        let Some(number) = item.value.as_integer() else {
            self.wrong(item, "an integer");
            return None;
        };
        self.in_range(item, unsigned(number).unwrap_or(u64::MAX), min, max, number.as_str().starts_with('-'))
    }

    /// Bytes or entries: a number, or a string such as `"64M"`.
    pub fn size(&mut self, item: Item<'_>, min: u64, max: u64) -> Option<u64> {
        match item.value {
            DeValue::String(text) => {
                let size = self.door(item.at, super::units::size(text))?;
                self.in_range(item, size, min, max, false)
            }
            DeValue::Integer(_) => self.number(item, min, max),
            _ => {
                self.wrong(item, "an integer, or a string such as \"64M\"");
                None
            }
        }
    }

    fn in_range(&mut self, item: Item<'_>, value: u64, min: u64, max: u64, negative: bool) -> Option<u64> {
        if negative || value < min || value > max {
            self.mistake(item.at, &format!("{:?} takes {min} to {max}", item.key), "");
            return None;
        }
        Some(value)
    }

    /// A number too big for its place.
    pub fn too_big(&mut self, item: Item<'_>) {
        self.mistake(item.at, "the number does not fit 64 bits", "");
    }

    /// A table.
    pub fn table<'v>(&mut self, item: Item<'v>, wanted: &str) -> Option<Vec<Item<'v>>> {
        let table = item.value.as_table();
        if table.is_none() {
            self.wrong(item, wanted);
        }
        table.map(items)
    }

    /// The elements of an array; each bears the array's key.
    pub fn array<'v>(&mut self, item: Item<'v>, wanted: &str) -> Option<Vec<Item<'v>>> {
        let Some(array) = item.value.as_array() else {
            self.wrong(item, wanted);
            return None;
        };
        Some(array.iter().map(|value| Item { value: value.get_ref(), at: value.span().into(), ..item }).collect())
    }
}

/// The number, where it has no sign and fits.
pub fn unsigned(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// What a value is, in words.
pub fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
