//! What processes do: which files they open, what they run, and how they end.
//!
//! A system call's tracepoint is told only of that call, but its link can be pinned since 5.15 only; before, what is in
//! [`raw`] does the same at a higher price. Raw tracepoints can be pinned since 5.7, and serve every kernel.
#![no_std]
#![no_main]

mod exec;
mod exit;
mod open;
mod raw;
mod registers;
mod scratch;
mod send;
mod signal;
mod task;
