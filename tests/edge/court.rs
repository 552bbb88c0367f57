//! The object and its judge, side by side.

use crate::{
    common::Sandbox,
    judge::{DNS, HTTP, Judge, TLS},
    kernel::{COUNTERS, Edge},
};

/// As it comes, with deny lists, and room for every flow of a test.
pub const CONFIG: &str = r#"
[object.edge]
path = "builtin:edge"
maps.connections.max-entries = 200000
maps.flow_cache.max-entries = 200000
maps.deny.entries = [
    { key = "192.0.2.0/24", value = 0 },
    { key = [31, 0, 0, 0, 198, 51, 100, 6], value = 0 },
]
maps.deny6.entries = [{ key = "2001:db8::7", value = 0 }]
"#;

/// Length of the header of an event, before its flow.
pub const HEADER: usize = 16;

/// Both, and what was counted so far.
pub struct Court {
    edge: Edge,
    judge: Judge,
    /// The counters.
    pub counted: [u64; COUNTERS],
    /// Packets.
    pub seen: usize,
}

impl Court {
    /// Loads the object.
    pub fn new(s: &Sandbox) -> Self {
        let edge = Edge::load(s, CONFIG);
        let mut judge = Judge::default();
        judge.denied.push((vec![192, 0, 2, 0], 24));
        judge.denied.push((vec![198, 51, 100, 6], 31));
        judge.denied.push(([&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[7]].concat(), 128));
        Self { edge, judge, counted: [0; COUNTERS], seen: 0 }
    }

    /// Both look at a packet, and must agree in everything.
    pub fn agree(&mut self, what: &str, packet: &[u8]) {
        let expected = self.judge.expect(packet);
        let told = |is: &str| format!("{is}: packet {} ({what}) {packet:02x?}: {expected:#?}", self.seen);
        assert_eq!(self.edge.run(packet), expected.verdict, "{}", told("verdict"));
        let counted = self.edge.counters();
        let moved: [u64; COUNTERS] = std::array::from_fn(|n| counted[n] - self.counted[n]);
        assert_eq!(moved, expected.counts, "{}", told("counters"));
        assert_eq!(self.edge.connection(&expected.flow.key()), expected.connection, "{}", told("connection"));
        let event = self.edge.ring.next();
        assert_eq!(event.as_ref().map(|event| &event[HEADER..]), expected.event.as_deref(), "{}", told("event"));
        if let Some(event) = event {
            let number = |at: usize| u32::from_ne_bytes(event[at..at + 4].try_into().unwrap());
            let kind = [(16, HTTP), (17, DNS), (18, TLS)].into_iter().find(|(_, count)| expected.counts[*count] == 1);
            assert_eq!(Some(number(8)), kind.map(|(kind, _)| kind), "{}", told("kind"));
            assert_eq!(number(12) as usize, event.len(), "{}", told("size"));
        }
        (self.counted, self.seen) = (counted, self.seen + 1);
    }
}
