//! The objects as files: what they weigh, what the verifier pays for them, and that others load them too.

use std::{fs, path::Path, process::Command};

use crate::{
    common::{ok, sandbox},
    court::CONFIG,
};

/// Bar of the product for both objects together.
const MOST_BYTES: u64 = 60 * 1024;

/// What the verifier may walk of one program, which is paid at every boot. The product's bar is 20,000.
const MOST_INSTRUCTIONS: u64 = 7_000;

fn built(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/ebpf/{name}.bpf.o")).to_str().unwrap().to_owned()
}

#[test]
fn the_objects_are_small_have_btf_and_load_by_bpftool() {
    sandbox(|s| {
        let objects = ["edge", "trace"].map(built);
        let bytes: u64 = objects.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!(bytes < MOST_BYTES, "{bytes} bytes");
        for (path, name) in objects.iter().zip(["edge", "trace"]) {
            let sections = ok(Command::new("llvm-readelf").args(["-S", "-W"]).arg(path));
            let sections = String::from_utf8(sections.stdout).unwrap();
            assert!(sections.contains(" .BTF ") && !sections.contains(".debug"), "{sections}");
            let pins = format!("/sys/fs/bpf/{name}");
            ok(Command::new("bpftool").args(["prog", "loadall", path, &pins]));
            assert!(fs::read_dir(&pins).unwrap().count() > 0);
        }
        for program in ["xdp_main", "http", "dns", "tls", "log_event"] {
            assert_eq!(s.pinned("prog", &format!("/sys/fs/bpf/edge/{program}"))["type"], "xdp", "{program}");
        }
    });
}

#[test]
fn the_report_tells_what_the_verifier_walked_and_it_is_little() {
    sandbox(|s| {
        let report = s.apply(CONFIG).exits(0);
        for program in ["xdp_main", "http", "dns", "tls", "log_event"] {
            let facts = &report.step(&format!("program edge/{program}"))["facts"];
            let walked: u64 = facts["verified_instructions"].as_str().unwrap().parse().unwrap();
            crate::common::say(&format!("{program}: {walked}"));
            assert!((1..MOST_INSTRUCTIONS).contains(&walked), "{program}: {walked}");
        }
    });
}
