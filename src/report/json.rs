//! The report as one JSON document (RFC 8259), a step a line so that grep and diff work on it too.
//!
//! Written by hand: the shape is small and fixed, and a serialiser would cost more than all of this module.

use std::fmt::Display;

use super::{
    Line, Report,
    people::{is_unseen, micros, put},
};
use crate::error::{Fault, errno_name};

/// An object under construction.
pub struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Begins one.
    pub fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Writes `"name":` and hands out the place for its value.
    pub fn key(&mut self, name: &str) -> &mut String {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        quote(self.out, name);
        self.out.push(':');
        self.out
    }

    /// A text.
    pub fn text(&mut self, name: &str, value: &str) {
        quote(self.key(name), value);
    }

    /// A number, or true or false.
    pub fn number(&mut self, name: &str, value: impl Display) {
        put(self.key(name), format_args!("{value}"));
    }

    fn text_or_null(&mut self, name: &str, value: Option<&str>) {
        let out = self.key(name);
        match value {
            Some(value) => quote(out, value),
            None => out.push_str("null"),
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, name: &str, values: &[String]) {
        list(self.key(name), values, "", |out, value| quote(out, value));
    }

    /// Closes it.
    pub fn end(self) {
        self.out.push('}');
    }
}

/// A list, each item by `one`, with `before` in front.
pub fn list<T>(out: &mut String, items: &[T], before: &str, mut one: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (nth, item) in items.iter().enumerate() {
        out.push_str(if nth == 0 { "" } else { "," });
        out.push_str(before);
        one(out, item);
    }
    out.push(']');
}

/// A text as JSON has it.
pub fn quoted(text: &str) -> String {
    let mut out = String::new();
    quote(&mut out, text);
    out
}

/// A JSON string. What could drive a terminal is escaped as well, since people cat such files.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    // Nearly all are plain, and one copy is cheaper than one for each character.
    match text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        true => out.push_str(text),
        false => text.chars().for_each(|c| quote_char(out, c)),
    }
    out.push('"');
}

/// One character of a JSON string.
pub(super) fn quote_char(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        c if c.is_control() || is_unseen(c) => put(out, format_args!("\\u{:04x}", u32::from(c))),
        c => out.push(c),
    }
}

/// The whole run as one document, with a newline at its end.
pub fn document(report: &Report) -> String {
    let mut out = String::with_capacity(512 + 256 * report.lines.len());
    let mut object = Object::new(&mut out);
    object.text("bpfboot", env!("CARGO_PKG_VERSION"));
    object.text("verb", report.verb);
    object.text("health", report.health.word());
    match report.exit {
        Some(exit) => object.number("exit", exit.exit_code()),
        None => object.key("exit").push_str("null"),
    }
    object.text("kernel", &report.release);
    object.text("began", &report.began);
    object.number("took_us", micros(report.took));
    object.texts("sources", &report.sources);
    object.texts("notes", &report.notes);
    object.texts("leftovers", &report.leftovers);
    list(object.key("steps"), &report.lines, "\n", step);
    object.end();
    out.push('\n');
    out
}

fn step(out: &mut String, line: &Line) {
    let mut object = Object::new(out);
    object.text("id", &line.id);
    object.text("phase", line.phase.word());
    object.text("status", line.status.word());
    object.text("must", line.must.word());
    object.text_or_null("was", line.was.as_deref());
    object.text_or_null("now", line.now.as_deref());
    object.text("note", &line.note);
    match line.at {
        Some(at) => object.number("at_us", micros(at)),
        None => object.key("at_us").push_str("null"),
    }
    object.number("took_us", micros(line.took));
    match &line.fault {
        Some(found) => fault(object.key("fault"), found),
        None => object.key("fault").push_str("null"),
    }
    let mut facts = Object::new(object.key("facts"));
    for (name, value) in &line.facts {
        facts.text(name, value);
    }
    facts.end();
    object.end();
}

/// What went wrong, with its cause and what mends it.
pub fn fault(out: &mut String, fault: &Fault) {
    let mut object = Object::new(out);
    object.text("cause", fault.cause.word());
    object.text("reason", fault.reason().word());
    object.text("what", &fault.what);
    match fault.errno {
        Some(errno) => object.number("errno", errno),
        None => object.key("errno").push_str("null"),
    }
    object.text_or_null("errno_name", fault.errno.map(errno_name).as_deref());
    object.text("mend", &fault.mend);
    object.text("detail", &fault.detail);
    object.end();
}
