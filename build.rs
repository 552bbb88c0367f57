//! Packs the long texts, and packs and hashes the eBPF objects that the binary carries. `make objects` has built them
//! into `BPFBOOT_EBPF_DIR`.

use std::{env, error::Error, fs, io, path::Path};

use lz4::block::CompressionMode;
use sha2::{Digest, Sha256};

/// As `Text` in src/texts.rs names them.
const TEXTS: [&str; 6] =
    ["cli/help.txt", "knowledge.txt", "report/metrics.txt", "errno.txt", "bpf/formulas.txt", "bpf/structs.txt"];
/// What only the verbs of a build machine read.
const WORKBENCH: [&str; 7] = [
    "bpf/since.txt",
    "requires.txt",
    "render/systemd",
    "render/docker",
    "render/compose",
    "render/kubernetes",
    "render/oci",
];

/// The verbs that only a build machine has: `at_workbench` in src/verbs/mod.rs.
const VERBS: [&str; 6] = ["explain", "report", "render", "estimate", "inspect", "preflight"];

fn main() -> Result<(), Box<dyn Error>> {
    let (from, to) = (env::var("BPFBOOT_EBPF_DIR")?, env::var("OUT_DIR")?);
    println!("cargo::rerun-if-env-changed=BPFBOOT_EBPF_DIR");
    for name in ["edge", "reads", "trace"] {
        let object = Path::new(&from).join(format!("{name}.bpf.o"));
        println!("cargo::rerun-if-changed={}", object.display());
        let object = fs::read(&object).map_err(|error| format!("{}: {error}; make objects", object.display()))?;
        fs::write(Path::new(&to).join(format!("{name}.lz4")), pack(&object)?)?;
        fs::write(Path::new(&to).join(format!("{name}.sha256")), Sha256::digest(&object))?;
    }
    let workbench = env::var_os("CARGO_FEATURE_WORKBENCH").is_some();
    let mut texts = Vec::new();
    for name in TEXTS.into_iter().chain(WORKBENCH.into_iter().filter(|_| workbench)) {
        println!("cargo::rerun-if-changed=src/{name}");
        let mut text = fs::read_to_string(Path::new("src").join(name))?;
        match name {
            // Without the verb that prints them, only who refuses and what mends a fault is asked for.
            "knowledge.txt" if !workbench => {
                text = text.split("\n# ").filter(|page| page.starts_with("reason ")).map(short).collect();
            }
            "cli/help.txt" if !workbench => text = text.split_inclusive("\n# ").map(absent).collect(),
            _ => {}
        }
        texts.extend(text.bytes().chain([0]));
    }
    fs::write(Path::new(&to).join("texts.lz4"), pack(&texts)?)?;
    Ok(())
}

/// A page without its text.
fn short(page: &str) -> String {
    let mut lines = page.lines();
    let (head, who) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mend = lines.rfind(|line| line.starts_with("mend: ")).unwrap_or_default();
    format!("\n# {head}\n{who}\n.\n{mend}\n")
}

/// A page of the help, where it is of a verb that is not there.
fn absent(page: &str) -> String {
    match page.split_once('\n') {
        Some((verb, _)) if VERBS.contains(&verb) => {
            format!("{verb}\nThe small build, of the container image, lacks this verb; the whole one has it.\n\n# ")
        }
        _ => page.to_owned(),
    }
}

/// A block of LZ4 behind its length unpacked, made as small as it gets.
fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    lz4::block::compress(bytes, Some(CompressionMode::HIGHCOMPRESSION(12)), true)
}
