//! The object `edge`: what it makes of packets, judged by an independent parser and by real clients, and its tail calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod cases;
mod judge;
mod kernel;
mod packets;
mod payload;
mod tail;
mod wire;

use common::{Sandbox, sandbox};
use judge::{DNS, HTTP, Judge, TLS};
use kernel::{COUNTERS, Edge};
use packets::Random;

/// As it comes, with deny lists, and room for every flow of a test.
const CONFIG: &str = r#"
[object.edge]
path = "builtin:edge"
maps.connections.max-entries = 200000
maps.flow_cache.max-entries = 200000
maps.deny.entries = [
    { key = "hex:18000000c0000200", value = 0 },
    { key = [31, 0, 0, 0, 198, 51, 100, 6], value = 0 },
]
maps.deny6.entries = [{ key = "hex:8000000020010db8000000000000000000000007", value = 0 }]
"#;

/// Length of the header of an event, before its flow.
const HEADER: usize = 16;

/// The object and its judge, side by side.
struct Court {
    edge: Edge,
    judge: Judge,
    counted: [u64; COUNTERS],
    seen: usize,
}

impl Court {
    fn new(s: &Sandbox) -> Self {
        let edge = Edge::load(s, CONFIG);
        let mut judge = Judge::default();
        judge.denied.push((vec![192, 0, 2, 0], 24));
        judge.denied.push((vec![198, 51, 100, 6], 31));
        judge.denied.push(([&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[7]].concat(), 128));
        Self { edge, judge, counted: [0; COUNTERS], seen: 0 }
    }

    /// Both look at a packet, and must agree in everything.
    fn agree(&mut self, what: &str, packet: &[u8]) {
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

#[test]
fn picked_packets_and_each_of_them_cut_at_every_byte_are_judged_alike() {
    sandbox(|s| {
        let mut court = Court::new(s);
        let cases = cases::picked();
        assert!(cases.len() >= 60, "{} cases", cases.len());
        for (what, packet) in &cases {
            court.agree(what, packet);
        }
        for (what, packet) in &cases {
            for length in 14..packet.len().min(400) {
                court.agree(&format!("{what}, {length} bytes of it"), &packet[..length]);
            }
        }
        // None of the outcomes is there on paper only; what the rest need is tested on its own.
        let never: Vec<_> = (0..31).filter(|n| court.counted[*n] == 0).collect();
        assert_eq!(never, [3, 4, 7, 10, 13, 16, 19, 23, 24], "{:?}", court.counted);
        common::say(&format!("{} cases, {} packets: {:?}", cases.len(), court.seen, court.counted));
    });
}

#[test]
fn fifty_thousand_random_packets_are_judged_alike() {
    sandbox(|s| {
        let (mut court, mut random) = (Court::new(s), Random(0x9e37_79b9_7f4a_7c15));
        let cases = cases::picked();
        for n in 0..50_000 {
            let packet = match n % 4 {
                0 => random.of(&cases).1.clone(),
                _ => random.packet(),
            };
            let packet = random.mutate(packet);
            court.agree("random", &packet);
        }
        common::say(&format!("{} packets: {:?}", court.seen, court.counted));
    });
}
