//! bpfboot tunes a kernel for eBPF, loads programs with least privilege, pins them, proves that they are there, and
//! exits with a health code that a boot gate can trust.
//!
//! One street, one direction, and the plan is data:
//!
//! ```text
//! files  --config--> Config --+
//!                             +--plan--> Plan --verbs--> lines --report--> Health --> exit code
//! kernel --facts---> Facts  --+            |
//!                                 act: tune/* and bpf/*      (bpf forks the loader child)
//! ```
//!
//! | room | what it knows |
//! |---|---|
//! | `cli`, `config` | what was asked for; the only ones that read arguments and TOML |
//! | `kernel_config`, `inflate` | what this kernel was built with |
//! | `boot` | what this boot asks for: the kernel's command line, a credential |
//! | `facts` | the machine, looked at once |
//! | `target`, `requires` | another kernel than the running one, and what things take of a kernel |
//! | `profiles` | sets of sysctls, each key with its reason |
//! | `plan`, `step` | what to do, as data |
//! | `act`, `tune` | how a tuning step is looked at, done and put back |
//! | `bpf` | objects, programs, maps, links, pins; the only one that uses aya |
//! | `reason`, `gate`, `knowledge` | the finer word of a fault; who refused, asked of the kernel; what there is to know |
//! | `needed` | which capabilities the plan takes, and why |
//! | `verbs` | how a plan is walked: apply, check, undo, attach, detach; reading events; becoming a command |
//! | `journal`, `lock` | what survives a kill, and one run at a time |
//! | `privilege`, `account`, `trust` | letting capabilities go; whom `run` becomes; whom to trust |
//! | `seen` | what `status` saw, as data |
//! | `event` | what the embedded objects write into their ring buffers; `ebpf/` includes it, too |
//! | `reason`, `gate`, `knowledge`, `texts` | why something was refused, and by whom; what there is to know of it |
//! | `report`, `logger`, `systemd`, `health` | what is said, where, and the exit codes |
//! | `sys` | system calls; the only one with `unsafe` |

#![cfg_attr(any(test, fuzzing), feature(alloc_error_hook))]
#![cfg_attr(not(feature = "workbench"), allow(dead_code, unused_imports, reason = "what only those verbs use"))]

mod account;
mod act;
mod boot;
mod bpf;
mod cli;
mod config;
mod error;
mod event;
mod facts;
mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gate;
mod health;
mod inflate;
mod journal;
mod kernel_config;
mod knowledge;
mod lock;
mod logger;
mod needed;
mod plan;
mod privilege;
mod profiles;
mod reason;
mod report;
mod requires;
mod seen;
mod step;
mod sys;
mod systemd;
mod target;
mod texts;
mod trust;
mod tune;
mod verbs;

use std::ffi::OsString;

pub use health::{Exit, Health};

#[cfg(not(any(test, fuzzing)))]
#[global_allocator]
static MEMORY: sys::memory::Arena = sys::memory::Arena::new();

/// Runs a command line, the program's name not among its words.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    sys::limit::hide_memory();
    match cli::parse(args) {
        Ok((command, options)) => verbs::carry_out(&command, options),
        Err(usage) => {
            report::complain(&usage.to_string());
            if usage.of_run { Exit::REFUSED } else { Health::BadInput.into() }
        }
    }
}
