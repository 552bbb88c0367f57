//! The object `edge`: what it makes of packets, judged by an independent parser and by real clients; its tail calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod cases;
mod court;
mod judge;
mod kernel;
mod object;
mod packets;
mod payload;
mod tail;
mod wire;

use common::sandbox;
use court::Court;
use packets::Random;

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
