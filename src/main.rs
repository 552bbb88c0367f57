//! bpfboot: brings eBPF up at boot. `lib.rs` is the tour.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(bpfboot::run(std::env::args_os().skip(1)).exit_code())
}
