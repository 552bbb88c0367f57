//! Who the pins of an object are, written where the pins are.
//!
//! bpffs holds no regular files, but it holds symbolic links with any text, so the record is the text of the links
//! `record/0`, `record/1`… It lives exactly as long as the pins, moves with them in one rename, and needs no state
//! file that could disagree with them.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::{
    choice::Refused,
    generation::{Shelf, entries, exists, remove, remove_dir, unseen},
    store::Store,
};
use crate::{
    config::PinName,
    error::{Cause, Fault},
    sys::bpf::{MapIdentity, ProgramIdentity},
};

/// A link's text is at most PATH_MAX - 1 bytes (bpf_symlink() in kernel/bpf/inode.c goes through getname()).
const CHUNK: usize = 4000;

/// The last line, so that what is cut short is never taken for whole.
const END: &str = "\nend\n";

/// The record of one object.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record {
    /// Hash over the object's bytes and every setting that counts at load time.
    pub spec: String,
    /// Its programs.
    pub programs: Vec<(PinName, ProgramIdentity)>,
    /// Its maps.
    pub maps: Vec<(PinName, MapIdentity)>,
    /// Its links.
    pub links: Vec<LinkRecord>,
    /// Its programs that others are used instead of.
    pub refused: Vec<Refused>,
}

/// One link of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkRecord {
    /// Its pin.
    pub name: PinName,
    /// The kernel's id.
    pub id: u32,
    /// The program it was made for, by name.
    pub program: PinName,
    /// Where it attaches, for people: `xdp eth0 native`, `tracepoint syscalls:sys_enter_openat`.
    pub target: String,
}

impl Record {
    /// Reads the record of the object in `dir`; `None` when there is none that makes sense.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault: it is there and cannot be read. What it names must then not be taken for somebody else's.
    pub fn read(dir: &Path) -> Result<Option<Self>, Fault> {
        let mut text = Vec::new();
        let mut chunk = 0usize;
        while !text.ends_with(END.as_bytes()) {
            let path = dir.join("record").join(chunk.to_string());
            match fs::read_link(&path) {
                Ok(part) => text.extend_from_slice(part.as_os_str().as_encoded_bytes()),
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) && !exists(&path)? => {
                    return Ok(None);
                }
                Err(error) => return Err(unseen("read", &path, &error)),
            }
            chunk += 1;
        }
        Ok(std::str::from_utf8(&text).ok().and_then(Self::parse))
    }

    /// Writes it; `dir/record` must not exist yet.
    ///
    /// # Errors
    /// What mkdir(2) or symlink(2) says, as a [`Cause::Pin`] fault.
    pub fn write(&self, dir: &Path) -> Result<(), Fault> {
        let dir = dir.join("record");
        let fault = |e: &std::io::Error| Fault::io(Cause::Pin, format!("write {}", dir.display()), e);
        fs::create_dir(&dir).map_err(|e| fault(&e))?;
        let text = self.text();
        let mut rest = text.as_str();
        for chunk in 0usize.. {
            let cut = (0..=rest.len().min(CHUNK)).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0);
            let (part, tail) = rest.split_at(cut);
            symlink(part, dir.join(chunk.to_string())).map_err(|e| fault(&e))?;
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Removes the record of the object in `dir`, as far as it is one.
    ///
    /// # Errors
    /// A [`Cause::Pin`] fault.
    pub fn remove(dir: &Path) -> Result<(), Fault> {
        let dir = dir.join("record");
        // The first one last: without it the rest is no record any more.
        for chunk in entries(&dir)?.iter().rev().filter(|chunk| chunk.bytes().all(|b| b.is_ascii_digit())) {
            remove(&dir.join(chunk))?;
        }
        remove_dir(&dir).map(drop)
    }

    /// Whether a pin of that name on that shelf is ours.
    pub fn names(&self, shelf: Shelf, name: &PinName) -> bool {
        match shelf {
            Shelf::Progs => self.programs.iter().any(|(n, _)| n == name),
            Shelf::Maps => self.maps.iter().any(|(n, _)| n == name),
            Shelf::Links => self.links.iter().any(|link| link.name == *name),
        }
    }

    /// The id of a program, or of the one that is used instead of it.
    pub fn program<'a>(&'a self, mut name: &'a str) -> Option<u32> {
        // No longer way than that, whatever a record says.
        for _ in &self.refused {
            let refused = self.refused.iter().find(|refused| refused.program.as_str() == name);
            name = refused.map_or(name, |refused| refused.next.as_str());
        }
        self.programs.iter().find(|(known, _)| known.as_str() == name).map(|(_, program)| program.id)
    }

    pub(super) fn text(&self) -> String {
        let mut out = format!("v2\t{}\n", self.spec);
        for (name, p) in &self.programs {
            out += &format!("p\t{name}\t{}\t{}\t{}\n", p.id, p.tag(), p.verified_instructions);
        }
        for (name, m) in &self.maps {
            out += &format!(
                "m\t{name}\t{}\t{}\t{}\t{}\t{}\t{}\n",
                m.id, m.map_type, m.key_size, m.value_size, m.max_entries, m.flags
            );
        }
        for link in &self.links {
            out += &format!("l\t{}\t{}\t{}\t{}\n", link.name, link.id, link.program, link.target);
        }
        for Refused { program, next, why } in &self.refused {
            out += &format!("r\t{program}\t{next}\t{why}\n");
        }
        out + END.trim_start()
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix(END)?.lines();
        let mut record = Self { spec: lines.next()?.strip_prefix("v2\t")?.to_owned(), ..Self::default() };
        for line in lines {
            let mut fields = line.split('\t');
            let (kind, name) = (fields.next()?, fields.next()?.parse().ok()?);
            let mut number = || fields.next()?.parse().ok();
            match kind {
                "p" => {
                    let id = number()?;
                    let tag = u64::from_str_radix(fields.next()?, 16).ok()?.to_be_bytes();
                    let verified_instructions = fields.next()?.parse().ok()?;
                    record.programs.push((name, ProgramIdentity { id, tag, verified_instructions }));
                }
                "m" => {
                    let (id, map_type, key_size) = (number()?, number()?, number()?);
                    let (value_size, max_entries, flags) = (number()?, number()?, number()?);
                    record.maps.push((name, MapIdentity { id, map_type, key_size, value_size, max_entries, flags }));
                }
                "l" => {
                    let id = number()?;
                    let program = fields.next()?.parse().ok()?;
                    let target = fields.next()?.to_owned();
                    record.links.push(LinkRecord { name, id, program, target });
                }
                "r" => {
                    let next = fields.next()?.parse().ok()?;
                    record.refused.push(Refused { program: name, next, why: fields.next()?.to_owned() });
                }
                _ => return None,
            }
        }
        Some(record)
    }
}

/// The objects that are live, or why they are not known.
pub fn live(store: &Store) -> (Vec<PinName>, Option<Fault>) {
    let live = store.live();
    let (mut present, unread) = match live.objects() {
        Ok(objects) => (objects, None),
        Err(fault) => (Vec::new(), Some(fault)),
    };
    // A record that cannot be read is one all the same.
    present.retain(|name| !matches!(Record::read(&live.object(name)), Ok(None)));
    (present, unread)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn sample(programs: u32) -> Record {
        let map = MapIdentity { id: 7, map_type: 1, key_size: 4, value_size: 8, max_entries: 100, flags: 0x80 };
        Record {
            spec: "ab".repeat(32),
            programs: (0..programs)
                .map(|id| {
                    (
                        format!("program.{id}").parse().unwrap(),
                        ProgramIdentity { id, tag: [1, 2, 3, 4, 5, 6, 7, 255], verified_instructions: 9 },
                    )
                })
                .collect(),
            maps: vec![(".rodata".parse().unwrap(), map)],
            links: vec![LinkRecord {
                name: "p@eth0.100".parse().unwrap(),
                id: 3,
                program: "p".parse().unwrap(),
                target: "xdp eth0.100 native".into(),
            }],
            refused: vec![Refused {
                program: "q".parse().unwrap(),
                next: "p".parse().unwrap(),
                why: "attach to vfs_read: Invalid argument (EINVAL)".into(),
            }],
        }
    }

    #[test]
    fn the_text_round_trips() {
        let record = sample(3);
        assert_eq!(Record::parse(&record.text()), Some(record));
        for bad in ["", "v1\tx\nend\n", "v2\tx\n", "v2\tx\nq\ty\nend\n", "v2\tx\np\tname\nend\n"] {
            assert_eq!(Record::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_record_of_500_programs_survives_the_disk() {
        let dir = std::env::temp_dir().join(format!("bpfboot-record-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let record = sample(500);
        record.write(&dir).unwrap();
        assert_eq!(Record::read(&dir), Ok(Some(record)));
        Record::remove(&dir).unwrap();
        assert!(!dir.join("record").exists());
        fs::remove_dir(dir).unwrap();
    }
}
