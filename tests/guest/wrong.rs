//! The verifier's words change from kernel to kernel; what they mean does not.

use crate::{common::object, guest, kernels::Kernel};

/// The programs of `wrong`, but for the one that takes the verifier a minute here.
const WRONG: [(&str, &str); 15] = [
    ("stack", "stack"),
    ("call_chain", "call-chain"),
    ("call_depth", "call-depth"),
    ("loop", "loop"),
    ("null_check", "null-check"),
    ("packet_bounds", "packet-bounds"),
    ("map_bounds", "bounds"),
    ("context", "context"),
    ("uninitialised", "uninitialised"),
    ("helper_unknown", "helper"),
    ("helper_elsewhere", "helper"),
    ("tail_call", "tail-call"),
    ("pointer", "pointer"),
    ("reference", "reference"),
    ("argument", "argument"),
];

#[test]
fn each_wrong_program_has_the_same_reason_on_every_kernel() {
    guest(|s, kernel| {
        if !kernel.is_whole() {
            return;
        }
        let mut config = format!("[bpf]\ndeadline = \"50s\"\n[object.wrong]\npath = \"{}\"\n", object("wrong"));
        for (program, _) in WRONG {
            config += &format!("programs.{program} = {{ optional = true }}\n");
        }
        let report = s.apply(&config).exits(3);
        let mut other = Vec::new();
        // The newest takes chains of more than eight functions.
        let wrong = WRONG.iter().filter(|(program, _)| kernel != Kernel::New || *program != "call_depth");
        for (program, reason) in wrong.copied() {
            let fault = &report.step(&format!("program wrong/{program}"))["fault"];
            assert!(!fault["mend"].as_str().unwrap_or_default().is_empty(), "{program}: {fault}");
            if (fault["cause"].as_str(), fault["reason"].as_str()) != (Some("verifier"), Some(reason)) {
                other.push(format!("{program}: {} {}", fault["reason"], fault["what"]));
            }
        }
        assert!(other.is_empty(), "{other:#?}");
    });
}
