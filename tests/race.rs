//! Ten runs at once, again and again: one of them does it, the others find it done, and the end is always the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::{Report, Sandbox, net::xdp, object, sandbox, say};

const TTL: &str = "net.ipv4.ip_default_ttl";

/// How often, and how many at once.
const ROUNDS: usize = 200;
const RUNS: usize = 10;

/// No run may take longer, from its start to its end: what bpfboot.8 gives the wait for the lock.
const LONGEST: Duration = Duration::from_secs(10);

fn config() -> String {
    format!(
        "[sysctl]\n\"{TTL}\" = 77\n\
         [object.count]\npath = \"{}\"\nprograms.count = {{ attach = {{ xdp = \"lo\", mode = \"generic\" }} }}\n\
         [object.trace]\npath = \"builtin:trace\"\nprograms.trace_openat = {{}}\n[mounts]\ntracefs = true\n",
        object("count_v1")
    )
}

/// All that is left of a run.
fn end(s: &Sandbox) -> String {
    format!("{}ttl {} xdp {:?}\n", s.state(), s.sysctl(TTL), xdp("lo").map(|(mode, _)| mode))
}

fn worked(report: &Report) -> bool {
    report.steps().iter().any(|step| step["phase"] == "commit")
}

#[test]
#[ignore = "slow: make race-test"]
fn ten_at_once_have_one_winner_and_one_end() {
    let alone = sandbox(|s| {
        s.apply(&config()).exits(0);
        end(s)
    });
    let (start, mut longest) = (Instant::now(), Duration::ZERO);
    for round in 1..=ROUNDS {
        let took = sandbox(|s| {
            let begun = Instant::now();
            let running: Vec<_> = (0..RUNS).map(|_| s.start(&config(), &["apply"])).collect();
            // Listened to in any order, the last of them ends when all have.
            let reports: Vec<_> = running.into_iter().map(|running| running.ends().exits(0)).collect();
            let took = begun.elapsed();
            let winners = reports.iter().filter(|report| worked(report)).count();
            assert_eq!(winners, 1, "round {round}: {winners} did it");
            for report in reports.into_iter().filter(|report| !worked(report)) {
                report.nothing_done();
            }
            assert_eq!(end(s), alone, "round {round}");
            took
        });
        longest = longest.max(took);
        assert!(took < LONGEST, "round {round}: the last of {RUNS} came after {took:?}");
    }
    say(&format!(
        "{ROUNDS} rounds of {RUNS} runs in {:.1?}; the longest wait of a run: {longest:.1?}",
        start.elapsed()
    ));
}
