//! An event in words: a line for people, or a JSON object on a line of its own. Pure: bytes in, text out. Nothing is
//! allocated for an event, since a reader runs for days.

mod shown;

use std::{
    fmt,
    mem::offset_of,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use super::{json::quote_char, people::put};
use shown::{Labels, Name, OpenFlags, Type};

use crate::event::{Dns, Exec, Exit, Flow, Header, Http, Kind, Open, Read, Task, Tls};

/// The kinds by the words people ask for them with.
pub const KINDS: [(&str, Kind); 7] = [
    ("open", Kind::Open),
    ("exec", Kind::Exec),
    ("exit", Kind::Exit),
    ("read", Kind::Read),
    ("http", Kind::Http),
    ("dns", Kind::Dns),
    ("tls", Kind::Tls),
];

/// One field of a record, and how it is told.
struct Field(&'static str, usize, Form);

#[derive(Clone, Copy)]
enum Form {
    /// A number of so many bytes.
    Number(usize),
    /// The same, told to people only when it is not zero.
    NotZero(usize),
    /// The same, told to machines only.
    Machine(usize),
    /// An `int` that is AT_FDCWD for most.
    Directory,
    /// Permissions.
    Mode,
    /// Flags of open(2).
    OpenFlags,
    /// As wait(2) gives it.
    Status,
    /// Nanoseconds.
    Lasted,
    /// A text in so many bytes.
    Text(usize),
    /// A text, its length in the `u32` there.
    Sized(usize),
    /// Words with a NUL after each, their length likewise.
    Words(usize),
    /// Texts with their length before each, the length of all likewise.
    Labels(usize),
    /// A name in DNS's own form, its length likewise.
    Name(usize),
    /// The type of a DNS record.
    Type,
    /// An address of the version that the flow has.
    Address,
}

/// Where a task or a flow stands in every record.
const SUBJECT: usize = size_of::<Header>();

static TASK: [Field; 6] = [
    Field("comm", SUBJECT + offset_of!(Task, comm), Form::Text(16)),
    Field("pid", SUBJECT + offset_of!(Task, pid), Form::Number(4)),
    Field("tid", SUBJECT + offset_of!(Task, tid), Form::Machine(4)),
    Field("uid", SUBJECT + offset_of!(Task, uid), Form::Number(4)),
    Field("gid", SUBJECT + offset_of!(Task, gid), Form::Machine(4)),
    Field("cgroup", SUBJECT + offset_of!(Task, cgroup), Form::Machine(8)),
];
static FLOW: [Field; 7] = [
    Field("source", SUBJECT + offset_of!(Flow, source), Form::Address),
    Field("source_port", SUBJECT + offset_of!(Flow, source_port), Form::Number(2)),
    Field("destination", SUBJECT + offset_of!(Flow, destination), Form::Address),
    Field("destination_port", SUBJECT + offset_of!(Flow, destination_port), Form::Number(2)),
    Field("protocol", SUBJECT + offset_of!(Flow, protocol), Form::Machine(1)),
    Field("interface", SUBJECT + offset_of!(Flow, interface), Form::Number(4)),
    Field("vlan", SUBJECT + offset_of!(Flow, vlan), Form::NotZero(2)),
];
static OPEN: [Field; 4] = [
    Field("path", offset_of!(Open, path), Form::Sized(offset_of!(Open, length))),
    Field("flags", offset_of!(Open, flags), Form::OpenFlags),
    Field("mode", offset_of!(Open, mode), Form::Mode),
    Field("directory", offset_of!(Open, directory), Form::Directory),
];
static EXEC: [Field; 3] = [
    Field("file", offset_of!(Exec, file), Form::Text(256)),
    Field("command", offset_of!(Exec, line), Form::Words(offset_of!(Exec, length))),
    Field("words", offset_of!(Exec, words), Form::Machine(4)),
];
static EXIT: [Field; 2] = [
    Field("code", offset_of!(Exit, status), Form::Status),
    Field("duration_ns", offset_of!(Exit, duration), Form::Lasted),
];
static READ: [Field; 1] = [Field("bytes", offset_of!(Read, count), Form::Number(8))];
static HTTP: [Field; 3] = [
    Field("method", offset_of!(Http, method), Form::Text(8)),
    Field("host", offset_of!(Http, host), Form::Text(64)),
    Field("path", offset_of!(Http, path), Form::Text(128)),
];
static DNS: [Field; 3] = [
    Field("name", offset_of!(Dns, name), Form::Name(offset_of!(Dns, length))),
    Field("type", offset_of!(Dns, qtype), Form::Type),
    Field("id", offset_of!(Dns, id), Form::Machine(2)),
];
static TLS: [Field; 3] = [
    Field("name", offset_of!(Tls, name), Form::Sized(offset_of!(Tls, name_length))),
    Field("alpn", offset_of!(Tls, alpn), Form::Labels(offset_of!(Tls, alpn_length))),
    Field("version", offset_of!(Tls, version), Form::Machine(2)),
];
/// A kind of another version of the objects.
static UNKNOWN: [Field; 2] = [
    Field("number", offset_of!(Header, kind), Form::Number(4)),
    Field("size", offset_of!(Header, size), Form::Number(4)),
];

/// The kind of a record, as a number.
pub fn kind(record: &[u8]) -> u32 {
    Bytes(record).number(offset_of!(Header, kind), 4) as u32
}

/// Words one record. `object` is whose ring buffer it lay in.
pub fn event(out: &mut String, object: &str, record: &[u8], json: bool) {
    let (bytes, kind) = (Bytes(record), kind(record));
    let (word, known) = KINDS
        .iter()
        .find(|(_, known)| *known as u32 == kind)
        .map_or(("unknown", None), |(word, kind)| (*word, Some(kind)));
    let (subject, fields): (&[Field], &[Field]) = match known {
        Some(Kind::Open) => (&TASK, &OPEN),
        Some(Kind::Exec) => (&TASK, &EXEC),
        Some(Kind::Exit) => (&TASK, &EXIT),
        Some(Kind::Read) => (&TASK, &READ),
        Some(Kind::Http) => (&FLOW, &HTTP),
        Some(Kind::Dns) => (&FLOW, &DNS),
        Some(Kind::Tls) => (&FLOW, &TLS),
        None => (&[], &UNKNOWN),
    };
    let mut row = Row::new(out, object, word, bytes.number(offset_of!(Header, time), 8), json);
    subject.iter().chain(fields).for_each(|field| row.field(bytes, field));
    row.end();
}

/// Words how many events found no room in a ring buffer since the reading began, `None` where that cannot be told, and at
/// the end how many were read.
pub fn account(out: &mut String, object: &str, now: Duration, dropped: Option<u64>, read: Option<u64>, json: bool) {
    let word = if read.is_some() { "end" } else { "drops" };
    let mut row = Row::new(out, object, word, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), json);
    if !json {
        row.name("object");
        row.out.push_str(object);
    }
    if let Some(read) = read {
        row.number("read", read);
    }
    match dropped {
        Some(dropped) => row.number("dropped", dropped),
        None => row.unknown("dropped"),
    }
    row.end();
}

/// A record. What lies behind its end reads as zero, so one of another version is told as far as it goes.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn cut(self, at: usize, length: usize) -> &'a [u8] {
        let rest = self.0.get(at..).unwrap_or_default();
        rest.get(..length).unwrap_or(rest)
    }

    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.iter_mut().zip(self.cut(at, N)).for_each(|(to, from)| *to = *from);
        array
    }

    fn number(self, at: usize, size: usize) -> u64 {
        match size {
            1 => u64::from(u8::from_ne_bytes(self.array(at))),
            2 => u64::from(u16::from_ne_bytes(self.array(at))),
            4 => u64::from(u32::from_ne_bytes(self.array(at))),
            _ => u64::from_ne_bytes(self.array(at)),
        }
    }
}

/// Up to the first NUL.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

struct Row<'a> {
    out: &'a mut String,
    json: bool,
}

impl<'a> Row<'a> {
    fn new(out: &'a mut String, object: &str, kind: &str, time: u64, json: bool) -> Self {
        let (seconds, micros) = (time / 1_000_000_000, time / 1_000 % 1_000_000);
        match json {
            true => put(out, format_args!("{{\"time_ns\":{time},\"object\":\"{object}\",\"kind\":\"{kind}\"")),
            false => put(out, format_args!("{seconds:6}.{micros:06} {kind:5}")),
        }
        Self { out, json }
    }

    fn end(self) {
        self.out.push_str(if self.json { "}\n" } else { "\n" });
    }

    fn field(&mut self, bytes: Bytes<'_>, Field(name, at, form): &Field) {
        let at = *at;
        let sized = |length: usize, size: usize| bytes.cut(at, bytes.number(length, size) as usize);
        match *form {
            Form::Number(size) => self.number(name, bytes.number(at, size)),
            Form::NotZero(size) => match bytes.number(at, size) {
                0 if !self.json => {}
                number => self.number(name, number),
            },
            Form::Machine(size) if self.json => self.number(name, bytes.number(at, size)),
            Form::Machine(_) => {}
            Form::Directory => {
                let directory = bytes.number(at, 4) as i32;
                if self.json || directory != libc::AT_FDCWD {
                    self.name(name);
                    put(self.out, format_args!("{directory}"));
                }
            }
            Form::Mode => match bytes.number(at, 4) {
                mode if self.json => self.number(name, mode),
                0 => {}
                mode => self.shown(name, &format_args!("0{mode:o}")),
            },
            Form::OpenFlags if self.json => self.number(name, bytes.number(at, 4)),
            Form::OpenFlags => self.shown(name, &OpenFlags(bytes.number(at, 4) as i32)),
            Form::Status => self.status(name, bytes.number(at, 4) as u32),
            Form::Lasted => match bytes.number(at, 8) {
                0 => {}
                lasted if self.json => self.number(name, lasted),
                lasted => {
                    self.shown("ran", &format_args!("{}.{:06}s", lasted / 1_000_000_000, lasted / 1_000 % 1_000_000))
                }
            },
            Form::Text(size) => self.texts(name, false, &mut [text(bytes.cut(at, size))].into_iter()),
            Form::Sized(length) => self.texts(name, false, &mut [text(sized(length, 4))].into_iter()),
            Form::Words(length) => {
                let words = sized(length, 4);
                let words = words.strip_suffix(&[0]).unwrap_or(words);
                let several = if words.is_empty() { 0 } else { usize::MAX };
                self.texts(name, true, &mut words.split(|byte| *byte == 0).take(several));
            }
            Form::Labels(length) => self.texts(name, true, &mut Labels(sized(length, 2))),
            Form::Name(length) => self.shown(name, &Name(sized(length, 4), self.json)),
            Form::Type => self.shown(name, &Type(bytes.number(at, 2))),
            Form::Address => match bytes.cut(SUBJECT + offset_of!(Flow, version), 1) {
                [6] => self.shown(name, &Ipv6Addr::from(bytes.array::<16>(at))),
                _ => self.shown(name, &Ipv4Addr::from(bytes.array::<4>(at))),
            },
        }
    }

    /// The exit code or the signal.
    fn status(&mut self, name: &str, status: u32) {
        match status & 0x7f {
            _ if status == Exit::UNKNOWN => self.unknown(name),
            0 => self.number(name, u64::from(status >> 8)),
            signal => {
                self.number("signal", u64::from(signal));
                self.number("core", u64::from(status >> 7 & 1));
            }
        }
    }

    fn name(&mut self, name: &str) {
        let (before, after) = if self.json { (",\"", "\":") } else { (" ", "=") };
        for part in [before, name, after] {
            self.out.push_str(part);
        }
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        put(self.out, format_args!("{number}"));
    }

    fn unknown(&mut self, name: &str) {
        self.name(name);
        self.out.push_str(if self.json { "null" } else { "unknown" });
    }

    /// What needs no quotes for people, and nothing but quotes for machines.
    fn shown(&mut self, name: &str, value: &dyn fmt::Display) {
        self.name(name);
        let quote = if self.json { "\"" } else { "" };
        put(self.out, format_args!("{quote}{value}{quote}"));
    }

    /// Texts, quoted; `several` of them are an array.
    fn texts(&mut self, name: &str, several: bool, texts: &mut dyn Iterator<Item = &[u8]>) {
        self.name(name);
        let [open, between, close] = if several && self.json { ["[", ",", "]"] } else { ["", " ", ""] };
        self.out.push_str(open);
        for (nth, text) in texts.enumerate() {
            self.out.push_str(if nth == 0 { "" } else { between });
            self.out.push('"');
            for chunk in text.utf8_chunks() {
                chunk.valid().chars().for_each(|c| quote_char(self.out, c));
                if !chunk.invalid().is_empty() {
                    self.out.push(char::REPLACEMENT_CHARACTER);
                }
            }
            self.out.push('"');
        }
        self.out.push_str(close);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests;
