//! The object file: small, cheap to verify, and not bpfboot's alone.

use std::{fs, os::fd::AsRawFd};

use crate::common::{ring::pinned, sandbox, say};

/// Where `make objects` leaves the objects.
const OBJECTS: &str = env!("BPFBOOT_EBPF_DIR");

/// Bars: bytes of all objects, and verified instructions of a program here, which are time at boot.
const MOST_BYTES: u64 = 60 * 1024;
const MOST_VERIFIED: u64 = 1500;

#[test]
fn bpftool_loads_it_and_each_program_is_cheap_to_verify() {
    sandbox(|s| {
        s.bpftool(&["prog", "loadall", &format!("{OBJECTS}/trace.bpf.o"), "/sys/fs/bpf/trace"]);
        let mut programs: Vec<_> =
            fs::read_dir("/sys/fs/bpf/trace").unwrap().map(|entry| entry.unwrap().path()).collect();
        programs.sort();
        assert_eq!(programs.len(), 10);
        for path in programs {
            let program = pinned(path.to_str().unwrap());
            let info = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", program.as_raw_fd())).unwrap();
            let verified = info.lines().find_map(|line| line.strip_prefix("verified_insns:")).expect(&info);
            let verified: u64 = verified.trim().parse().unwrap();
            say(&format!("{}: {verified} instructions verified", path.display()));
            assert!(verified < MOST_VERIFIED, "{}: {verified}", path.display());
        }
    });
}

#[test]
fn all_objects_together_are_small_and_have_btf_and_no_dwarf() {
    let objects = fs::read_dir(OBJECTS).unwrap().map(|entry| entry.unwrap().path());
    let objects: Vec<_> = objects.filter(|path| path.to_str().unwrap().ends_with(".bpf.o")).collect();
    assert!(objects.len() >= 3, "{objects:?}");
    let bytes: u64 = objects.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes < MOST_BYTES, "{bytes} bytes; {MOST_BYTES} is the bar");
    for path in objects {
        let object = fs::read(&path).unwrap();
        let has = |section: &[u8]| object.windows(section.len()).any(|window| window == section);
        assert!(has(b"\0.BTF\0") && has(b"\0.BTF.ext\0") && !has(b"\0.debug_info\0"), "{}", path.display());
    }
}
