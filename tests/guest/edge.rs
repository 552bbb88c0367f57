//! The object `edge` on this kernel: tests/edge judges every packet; here the picked ones, and some at random.

use crate::{cases, court::Court, guest, packets::Random};

#[test]
fn the_edge_judges_alike_on_every_kernel() {
    guest(|s, _| {
        let (mut court, mut random) = (Court::new(s), Random(0x9e37_79b9_7f4a_7c15));
        let cases = cases::picked();
        for (what, packet) in &cases {
            court.agree(what, packet);
        }
        for _ in 0..500 {
            let packet = random.packet();
            let packet = random.mutate(packet);
            court.agree("random", &packet);
        }
    });
}
