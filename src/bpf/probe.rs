//! A program that does nothing: loaded, run and dropped, to see that the kernel takes one from us now.

use std::os::fd::AsFd;

use aya_obj::generated::bpf_prog_type;

use super::{fault::of_load, kind::Kind};
use crate::{
    error::{Cause, Fault},
    sys::{
        bpf,
        load::{NewProgram, load_program, returns},
    },
};

/// What it returns, and runs.
const ANSWER: u32 = 42;
const RUNS: u32 = 1000;

/// Probes the kernel. Gives what people want to know of it.
///
/// # Errors
/// What [`of_load`] says; a [`Cause::Kernel`] fault: it did not run, or did not return what it should.
pub fn probe() -> Result<String, Fault> {
    let program = NewProgram {
        name: "bpfboot_probe",
        kind: bpf_prog_type::BPF_PROG_TYPE_SOCKET_FILTER as u32,
        expected_attach_type: 0,
        flags: 0,
        instructions: &returns(ANSWER),
        license: c"GPL",
        kernel_version: 0,
        attach_btf_id: 0,
        token: None,
        btf: None,
    };
    let loaded = load_program(&program, &mut []).map_err(|e| of_load(&e, "", Kind::Other("socket")))?;
    let (answer, took) = bpf::test_run(loaded.as_fd(), RUNS)
        .map_err(|e| Fault::io(Cause::Kernel, "run a program that does nothing (BPF_PROG_TEST_RUN)", &e))?;
    match answer {
        ANSWER => Ok(format!("a program was loaded, run {RUNS} times, {took} ns each, and dropped")),
        other => Err(Fault::new(Cause::Kernel, format!("a program that returns {ANSWER} returned {other}"))),
    }
}
