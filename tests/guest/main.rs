//! What the machine that runs the tests lacks, or may not lose: run by `make vm-test` on each kernel, in a guest that
//! is thrown away. What a kernel of the matrix has, must work there; nothing is skipped because it is not found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../edge/cases.rs"]
mod cases;
#[path = "../common/mod.rs"]
mod common;
#[path = "../edge/court.rs"]
mod court;
#[path = "../edge/judge.rs"]
mod judge;
#[path = "../edge/kernel.rs"]
mod kernel;
#[path = "../edge/packets.rs"]
mod packets;
#[path = "../edge/payload.rs"]
mod payload;

mod booted;
mod edge;
mod estimate;
mod kernels;
mod lockdown;
mod old;
mod preflight;
mod report;
mod run;
mod status;
mod trace;
mod tune;
mod wire;
mod wrong;

use nix::sched::CloneFlags;

use common::{Sandbox, inside};
use kernels::Kernel;

/// Runs a test in the guest, with what is known of its kernel; undo must then leave nothing.
fn guest<T: Send>(test: impl FnOnce(&Sandbox, Kernel) -> T + Send) -> T {
    last(|s, kernel| {
        let result = test(s, kernel);
        s.json(&["undo"]).exits(0);
        assert_eq!(s.pins(), [""; 0]);
        result
    })
}

/// The same for a guest that runs nothing else. In the machine's own network namespace: there are its card, and the
/// keys that no other namespace has.
fn last<T: Send>(test: impl FnOnce(&Sandbox, Kernel) -> T + Send) -> T {
    let kernel = Kernel::running();
    inside(CloneFlags::CLONE_NEWNS, |s| test(s, kernel))
}
