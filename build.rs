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
    let knowledge = fs::read("src/knowledge.txt")?;
    fs::write(Path::new(&to).join("knowledge.lz4"), lz4_flex::block::compress_prepend_size(&knowledge))?;
    Ok(())
}
