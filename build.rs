//! Packs the long texts, and packs and hashes the eBPF objects that the binary carries. `make objects` has built them
//! into `BPFBOOT_EBPF_DIR`.

use std::{env, error::Error, fs, io, path::Path};

use lz4::block::CompressionMode;
use sha2::{Digest, Sha256};

/// As `Text` in src/texts.rs names them.
const TEXTS: [&str; 3] = ["cli/help.txt", "knowledge.txt", "report/metrics.txt"];
/// What only the verbs of a build machine read.
const WORKBENCH: [&str; 6] =
    ["bpf/since.txt", "render/systemd", "render/docker", "render/compose", "render/kubernetes", "render/oci"];

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
    let mut texts = Vec::new();
    for name in
        TEXTS.into_iter().chain(WORKBENCH.into_iter().filter(|_| env::var_os("CARGO_FEATURE_WORKBENCH").is_some()))
    {
        println!("cargo::rerun-if-changed=src/{name}");
        texts.extend(fs::read(Path::new("src").join(name))?);
        texts.push(0);
    }
    fs::write(Path::new(&to).join("texts.lz4"), pack(&texts)?)?;
    Ok(())
}

/// A block of LZ4 behind its length unpacked, made as small as it gets.
fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    lz4::block::compress(bytes, Some(CompressionMode::HIGHCOMPRESSION(12)), true)
}
