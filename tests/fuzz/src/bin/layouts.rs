#![no_main]

libfuzzer_sys::fuzz_target!(init: bpfboot_fuzz::tell(), |bytes: &[u8]| bpfboot::fuzz::layouts(bytes));
