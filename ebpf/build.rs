//! Which machine's registers the programs read: a BPF target does not say.
fn main() {
    if let Err(error) = aya_build::emit_bpf_target_arch_cfg() {
        println!("cargo::error={error}");
    }
}
