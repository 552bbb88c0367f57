//! The only room that talks to the kernel through nix, rustix and libc, and the only one with `unsafe` in it.

pub mod ask;
pub mod bpf;
pub mod confine;
#[cfg(any(test, fuzzing))]
pub mod count;
pub mod cpu;
pub mod exec;
pub mod file;
pub mod ids;
pub mod limit;
pub mod link;
pub mod load;
pub mod look;
#[cfg_attr(any(test, fuzzing), allow(dead_code, reason = "fuzz.rs counts memory instead"))]
pub mod memory;
pub mod mount;
pub mod netlink;
pub mod process;
pub mod ring;
pub mod walk;
