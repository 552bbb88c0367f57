//! Packs the knowledge, and packs and hashes the eBPF objects that the binary carries. `make objects` has built them into `BPFBOOT_EBPF_DIR`.

use std::{env, error::Error, fs, path::Path};

use sha2::{Digest, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    let (from, to) = (env::var("BPFBOOT_EBPF_DIR")?, env::var("OUT_DIR")?);
    println!("cargo::rerun-if-env-changed=BPFBOOT_EBPF_DIR");
    for name in ["edge", "reads", "trace"] {
        let object = Path::new(&from).join(format!("{name}.bpf.o"));
        println!("cargo::rerun-if-changed={}", object.display());
        let object = fs::read(&object).map_err(|error| format!("{}: {error}; make objects", object.display()))?;
        fs::write(Path::new(&to).join(format!("{name}.lz4")), lz4_flex::block::compress_prepend_size(&object))?;
        fs::write(Path::new(&to).join(format!("{name}.sha256")), Sha256::digest(&object))?;
    }
    println!("cargo::rerun-if-changed=src/knowledge.txt");
    let mut knowledge = fs::read_to_string("src/knowledge.txt")?;
    if env::var_os("CARGO_FEATURE_WORKBENCH").is_none() {
        // Without the verb that prints them, only who refuses and what mends a fault is asked for.
        knowledge = knowledge.split("\n# ").filter(|page| page.starts_with("reason ")).map(short).collect();
    }
    fs::write(Path::new(&to).join("knowledge.lz4"), lz4_flex::block::compress_prepend_size(knowledge.as_bytes()))?;
    Ok(())
}

/// A page without its text.
fn short(page: &str) -> String {
    let mut lines = page.lines();
    let (head, who) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mend = lines.rfind(|line| line.starts_with("mend: ")).unwrap_or_default();
    format!("\n# {head}\n{who}\n.\n{mend}\n")
}
