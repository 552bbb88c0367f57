//! A boot of its own, with lockdown=confidentiality on the command line.

use crate::{common::object, guest};

#[test]
fn row_36_a_locked_down_kernel_that_refuses_a_read_is_named() {
    guest(|s, kernel| {
        assert!(kernel.is_whole());
        let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap();
        assert!(lockdown.contains("[confidentiality]"), "{lockdown}");
        let config = format!("[object.peek]\npath = \"{}\"\n", object("peek"));
        let report = s.apply(&config).exits(1);
        let (cause, text) = report.fault("program peek/peek");
        assert_eq!(cause, "verifier", "{text}");
        assert!(text.contains("bpf_probe_read_kernel") && text.contains("lockdown"), "{text}");
        let fault = &report.step("program peek/peek")["fault"];
        assert_eq!(fault["reason"], "lockdown", "{fault}");
        assert!(fault["what"].as_str().unwrap().contains("locked down to confidentiality"), "{fault}");
        let told = s.bpfboot(&["diagnose"]).exits(1).stdout;
        assert!(told.contains("who:      the lockdown of the kernel") && told.contains("confidentiality"), "{told}");
        assert_eq!(s.pins(), [""; 0]);
        // What reads no kernel memory is as good as ever.
        let edge = "[object.edge]\npath = \"builtin:edge\"\n\
                    programs.xdp_main = { attach = { xdp = \"lo\", mode = \"generic\" } }\n";
        s.apply(edge).exits(0);
    });
}
