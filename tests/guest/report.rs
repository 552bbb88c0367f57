//! One text for all kernels.

use crate::{
    common::{Report, Value},
    guest,
    kernels::Kernel,
};

/// What the embedded default comes to where tracing is whole: each step and what became of it.
const GOLDEN: &str = include_str!("default.txt");

/// The steps of a report, without what differs between two runs or builds.
fn text(report: &Report) -> String {
    let mut text = String::new();
    for step in report.steps() {
        for field in ["status", "id", "was", "now", "note"] {
            let mut secret = false;
            for word in step[field].as_str().unwrap_or("-").split(' ') {
                text += if secret { "..." } else { word };
                secret = field == "now" && matches!(word, "id" | "tag" | "sha256");
                text.push(' ');
            }
            text += "| ";
        }
        text = text.trim_end_matches(" | ").to_owned() + "\n";
    }
    text
}

#[test]
fn row_35_the_embedded_default_is_told_in_the_same_words_on_every_kernel() {
    guest(|s, kernel| {
        // Where kernels have other defaults, the same ones.
        s.set_sysctl("net.core.optmem_max", "20480");
        let report = s.json(&["apply"]);
        match kernel {
            Kernel::Uml => {
                let report = report.exits(1);
                let (cause, text) = report.fault("program trace/trace_exit");
                assert_eq!(cause, "kernel", "the one reason for this kernel: {text}");
                for step in report.steps().iter().filter(|step| step["fault"].is_object()) {
                    assert!(step["id"].as_str().unwrap().starts_with("program trace/"), "{step}");
                    assert_eq!(step["fault"]["cause"], "kernel", "{step}");
                }
                assert_eq!(s.pins(), [""; 0]);
            }
            Kernel::V5_10 => {
                let report = report.exits(0);
                for (program, instead) in [("trace_openat", "sys_enter_raw"), ("trace_exec", "exec_raw")] {
                    let note = |name: &str| report.step(&format!("program trace/{name}"))["note"].as_str().unwrap();
                    assert!(note(program).ends_with(&format!("; instead: {instead}")), "{}", note(program));
                    let why = format!("instead of {program}: a tracepoint link cannot outlive bpfboot on Linux 5.10");
                    assert!(note(instead).contains(&why), "{}", note(instead));
                }
                let check = s.json(&["check", "--probe"]).exits(0);
                assert!(check.step("kernel")["note"].as_str().unwrap().contains("before 5.15"), "{:#}", check.json);
                // A limit is each process's own.
                let done = |step: &&Value| step["status"] == "done" && step["phase"] != "drop";
                let again = s.json(&["apply"]).exits(0);
                let done: Vec<_> = again.steps().iter().filter(done).map(|step| step["id"].to_string()).collect();
                assert_eq!(done, [r#""limit memlock""#]);
            }
            _ => {
                let said = text(&report.exits(0));
                assert_eq!(said, GOLDEN, "{said}");
                let check = s.json(&["check", "--probe"]).exits(0);
                assert_eq!((check.status("kernel"), check.status("probe")), ("already", "already"));
                s.json(&["apply"]).exits(0).nothing_done();
            }
        }
    });
}
