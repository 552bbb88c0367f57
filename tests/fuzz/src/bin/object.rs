#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: bpfboot_fuzz::tell(), |bytes: &[u8]| bpfboot::fuzz::object(bytes));

// Three times in four by structure; otherwise as libFuzzer would by itself.
fuzz_mutator!(|bytes: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 4 == 0 {
        return fuzzer_mutate(bytes, size, max_size);
    }
    let mut object = bytes[..size].to_vec();
    bpfboot_fuzz::mutate::mutate(&mut object, seed.into());
    object.truncate(max_size);
    bytes[..object.len()].copy_from_slice(&object);
    object.len()
});
