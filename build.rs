//! Packs the eBPF objects that the binary carries. `make objects` has built them into `BPFBOOT_EBPF_DIR`.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let (from, to) = (env::var("BPFBOOT_EBPF_DIR")?, env::var("OUT_DIR")?);
    println!("cargo::rerun-if-env-changed=BPFBOOT_EBPF_DIR");
    for name in ["edge", "reads", "trace"] {
        let object = Path::new(&from).join(format!("{name}.bpf.o"));
        println!("cargo::rerun-if-changed={}", object.display());
        let packed = lz4_flex::block::compress_prepend_size(&fs::read(object)?);
        fs::write(Path::new(&to).join(format!("{name}.lz4")), packed)?;
    }
    Ok(())
}
