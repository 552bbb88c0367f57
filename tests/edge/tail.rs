//! Tail calls, and what happens where something is missing or full.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use crate::{
    common::{LIVE, object, ok, sandbox, wait_for},
    court::CONFIG,
    judge::{DROP, HTTP, PASS, UNFIT},
    kernel::{Edge, bpf, pinned, run},
    packets::{IPV4, IPV6, ethernet, ipv4, ipv6, tcp, udp},
};

const MISSING: usize = 23;
const FULL: usize = 24;

fn request(sequence: u32) -> Vec<u8> {
    ethernet(&[], IPV4, &ipv4(1, 6, &[], 0, &tcp(80, sequence, 0, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")))
}

#[test]
fn of_a_chain_33_tail_calls_work_and_the_34th_falls_through() {
    sandbox(|s| {
        let config =
            format!("[object.chain]\npath = \"{}\"\nmaps.jumps.programs = {{ 0 = \"step\" }}\n", object("chain"));
        s.apply(&config).exits(0);
        assert_eq!(s.verdict(&format!("{LIVE}/chain/progs/step")), u64::from(PASS));
        let bodies = format!("{LIVE}/chain/maps/bodies");
        assert_eq!(s.counter(&bodies, 0), 34, "the program, and 33 times behind a tail call");
        assert_eq!(s.counter(&bodies, 1), 1, "the last one came back");
    });
}

#[test]
fn a_handler_swapped_while_packets_flow_loses_none() {
    sandbox(|s| {
        let mut edge = Edge::load(s, CONFIG);
        let program = |name: &str| pinned(&format!("{LIVE}/edge/progs/{name}"));
        let (main, handlers) = (program("xdp_main"), [program("tls"), program("http")]);
        let dispatch = pinned(&format!("{LIVE}/edge/maps/dispatch"));
        let (stop, so_far) = (AtomicBool::new(false), AtomicU32::new(0));
        let mut told = 0;
        let sent = thread::scope(|scope| {
            let traffic = scope.spawn(|| {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(run(&main, &request(sent), 1).unwrap(), PASS);
                    sent += 1;
                    so_far.store(sent, Ordering::Relaxed);
                }
                sent
            });
            // On a busy machine the traffic may stand still for all of the first swaps.
            let has_both = |told: u64| told > 100 && u64::from(so_far.load(Ordering::Relaxed)) > told + 100;
            let mut swap = 0;
            while swap < 2000 || !has_both(told) {
                swap += 1;
                let handler = handlers[swap % 2].as_raw_fd();
                write(&dispatch, &0_u32.to_ne_bytes(), &handler.to_ne_bytes()).unwrap();
                while edge.ring.next().is_some() {
                    told += 1;
                }
            }
            // As somebody at a keyboard would.
            for name in ["tls", "http"] {
                let mut command = Command::new("bpftool");
                command.args([
                    "map",
                    "update",
                    "pinned",
                    &format!("{LIVE}/edge/maps/dispatch"),
                    "key",
                    "0",
                    "0",
                    "0",
                    "0",
                ]);
                ok(command.args(["value", "pinned", &format!("{LIVE}/edge/progs/{name}")]));
            }
            stop.store(true, Ordering::Relaxed);
            traffic.join().unwrap()
        });
        while edge.ring.next().is_some() {
            told += 1;
        }
        let counted = edge.counters();
        assert_eq!((counted[0], counted[MISSING]), (u64::from(sent), 0));
        assert!(counted[HTTP] > 100 && counted[UNFIT] > 100, "both had their share: {counted:?}");
        assert_eq!(counted[HTTP] + counted[UNFIT], counted[0], "each went to one of the two");
        assert_eq!(told, counted[HTTP]);
        assert_eq!(s.counter(&format!("{LIVE}/edge/maps/drops"), 0), 0);
    });
}

#[test]
fn without_a_handler_packets_pass_and_are_counted() {
    sandbox(|s| {
        let handlers = |of: &str| format!("{CONFIG}maps.dispatch.programs = {{ {of} }}\n");
        let mut edge = Edge::load(s, &handlers("7 = \"http\""));
        for sequence in 0..5 {
            assert_eq!(edge.run(&request(sequence)), PASS);
        }
        assert_eq!((edge.counters()[MISSING], edge.ring.next()), (5, None));
        // Only the last step is not there.
        let mut edge = Edge::load(s, &handlers("0 = \"http\""));
        for sequence in 0..5 {
            assert_eq!(edge.run(&request(sequence)), PASS);
        }
        assert_eq!((edge.counters()[MISSING], edge.ring.next()), (10, None));
    });
}

#[test]
fn connections_that_find_no_room_pass_and_are_counted() {
    sandbox(|s| {
        let edge = Edge::load(s, &CONFIG.replacen("200000", "4", 1));
        for port in 1000..1010 {
            assert_eq!(edge.run(&ethernet(&[], IPV4, &ipv4(1, 17, &[], 0, &udp(port, b"x")))), PASS);
        }
        assert_eq!(edge.counters()[FULL], 6);
    });
}

#[test]
fn events_that_find_no_room_are_counted_and_told_later() {
    sandbox(|s| {
        let mut edge = Edge::with_room(s, &format!("{CONFIG}maps.events.max-entries = \"4K\"\n"), 4096);
        let mut read = 0;
        for round in 1..=2 {
            for sequence in 0..100 {
                assert_eq!(edge.run(&request(sequence)), PASS);
            }
            while edge.ring.next().is_some() {
                read += 1;
            }
            let drops = s.counter(&format!("{LIVE}/edge/maps/drops"), 0);
            // The last one that was told is known, the others of its flow are not.
            assert_eq!(read + drops, 100 * round, "{read} read, {drops} dropped");
            assert!(read > 0 && drops > 0 && edge.counters()[HTTP] == read);
        }
    });
}

#[test]
fn a_limit_lets_a_burst_of_each_source_through_and_then_its_rate() {
    sandbox(|s| {
        let edge = Edge::load(s, &format!("{CONFIG}globals.limit_rate = 2\nglobals.limit_burst = 7\n"));
        let (four, six) = (ipv4(1, 17, &[], 0, &udp(9, b"x")), ipv6(1, 17, &udp(9, b"x")));
        let (four, six) = (ethernet(&[], IPV4, &four), ethernet(&[], IPV6, &six));
        for packet in [&four, &six] {
            let passed = (0..50).filter(|_| edge.run(packet) == PASS).count();
            assert_eq!(passed, 7, "the burst");
        }
        assert_eq!(edge.run(&ethernet(&[], 0x0806, &[0; 28])), PASS, "only sources are limited");
        let counted = edge.counters();
        assert_eq!(counted[11..14], [14, 0, 86], "UDP: passed, denied, limited");
        wait_for("the next token", || (edge.run(&four) == PASS).then_some(()));
        assert_eq!(edge.run(&four), DROP);
        let stats = s.dump(&format!("{LIVE}/edge/maps/cpu_stats"));
        let sum = |word: usize| -> u64 {
            let values = stats.get(1_u32.to_ne_bytes().as_slice()).unwrap();
            values.iter().map(|v| u64::from_ne_bytes(v[8 * word..8 * word + 8].try_into().unwrap())).sum()
        };
        let counted = edge.counters();
        assert_eq!((sum(0), sum(1), sum(2)), (counted[0], counted[1], counted[13]), "lo, by its index");
    });
}

#[test]
fn handlers_come_along_where_only_the_entry_is_named() {
    sandbox(|s| {
        let named = format!("{CONFIG}programs.xdp_main = {{ attach = {{ xdp = \"lo\", mode = \"generic\" }} }}\n");
        let mut edge = Edge::load(s, &named);
        assert_eq!(edge.run(&request(1)), PASS);
        let event = edge.ring.next().expect("an event");
        assert_eq!(event[8], 16, "{event:?}");
        assert_eq!(
            s.with(&named, &["attach", "lo", "--mode", "generic"]).exits(0).status("link edge/xdp_main@lo"),
            "already"
        );
    });
}

/// Writes an entry (BPF_MAP_UPDATE_ELEM).
fn write(map: &OwnedFd, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr = [map.as_raw_fd() as u64, key.as_ptr() as u64, value.as_ptr() as u64, 0];
    bpf(2, &mut attr).map(drop)
}
