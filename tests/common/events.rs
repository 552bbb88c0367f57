//! The records of the embedded objects: taken out of a ring buffer, and read where the layout says that a field is.

use std::mem::offset_of;

use super::{ring::Ring, wait_for};

#[path = "../../src/event.rs"]
mod event;
pub use event::*;

/// Bytes of the ring buffers of `builtin:trace` and `builtin:reads`, as they are built.
pub const RING: usize = 1024 * 1024;

/// A record.
pub struct Record(pub Vec<u8>);

impl Record {
    /// The number at an offset, which has as many bytes as `T`.
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    /// The number at an offset.
    pub fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    /// The text at an offset, up to its NUL.
    pub fn text(&self, at: usize) -> String {
        let end = self.0[at..].iter().position(|byte| *byte == 0).map_or(self.0.len(), |length| at + length);
        String::from_utf8_lossy(&self.0[at..end]).into_owned()
    }

    /// What it tells of; its header must be true.
    pub fn is(&self, kind: Kind) -> bool {
        assert_eq!(self.u32(offset_of!(Header, size)) as usize, self.0.len(), "the size in the header");
        self.u32(offset_of!(Header, kind)) == kind as u32
    }

    /// A field of [`Task`].
    fn who(&self, field: usize) -> u32 {
        self.u32(size_of::<Header>() + field)
    }

    /// Whether this process did it.
    pub fn by(&self, pid: u32) -> bool {
        self.who(offset_of!(Task, pid)) == pid
    }

    /// User, group, and the id of the cgroup.
    pub fn owner(&self) -> (u32, u32, u64) {
        let cgroup = self.u64(size_of::<Header>() + offset_of!(Task, cgroup));
        (self.who(offset_of!(Task, uid)), self.who(offset_of!(Task, gid)), cgroup)
    }

    /// The thread's number and name.
    pub fn thread(&self) -> (u32, String) {
        let comm = size_of::<Header>() + offset_of!(Task, comm);
        assert_eq!(self.0[comm + 15], 0, "a name ends with a NUL");
        (self.who(offset_of!(Task, tid)), self.text(comm))
    }

    /// Whether it tells of a file that is opened by that path.
    pub fn opens(&self, path: &str) -> bool {
        self.is(Kind::Open) && self.u32(offset_of!(Open, length)) > 0 && self.text(offset_of!(Open, path)) == path
    }
}

/// A ring buffer, and what was read of it.
pub struct Events {
    ring: Ring,
    /// In the order they came.
    pub seen: Vec<Record>,
}

impl Events {
    /// Of the pinned map.
    pub fn open(path: &str) -> Self {
        Self { ring: Ring::open(path, RING), seen: Vec::new() }
    }

    /// Reads what is there now.
    pub fn read(&mut self) {
        while let Some(record) = self.ring.next() {
            self.seen.push(Record(record));
        }
    }

    /// Where the first record is that is meant, which may still have to come.
    pub fn place(&mut self, what: &str, meant: impl Fn(&Record) -> bool) -> usize {
        wait_for(what, || {
            self.read();
            self.seen.iter().position(&meant)
        })
    }

    /// The first record that is meant.
    pub fn find(&mut self, what: &str, meant: impl Fn(&Record) -> bool) -> &Record {
        let place = self.place(what, meant);
        &self.seen[place]
    }
}
