//! What fdinfo said on 6.18 with two CPUs, and what the tables must be like.
#![allow(clippy::unwrap_used, reason = "tests")]

use aya_obj::generated::bpf_map_type as T;

use super::*;

const MACHINE: Machine = Machine { page: 4096, cpus: 2 };

fn kernel(version: &str) -> Kernel {
    Kernel::new(KernelVersion::parse(version), MACHINE)
}

fn layout(map_type: T, key_size: u32, value_size: u32, max_entries: u32, flags: u32) -> Layout {
    Layout { map_type: map_type as u32, key_size, value_size, max_entries, flags }
}

#[test]
fn sizes_are_the_kernels_to_the_byte() {
    for (map, fdinfo) in [
        (layout(T::BPF_MAP_TYPE_HASH, 16, 64, 100_000, 0), 14_898_320),
        (layout(T::BPF_MAP_TYPE_HASH, 8, 32, 65_537, 0), 7_865_496),
        (layout(T::BPF_MAP_TYPE_HASH, 5, 3, 1000, 0), 81_424),
        (layout(T::BPF_MAP_TYPE_HASH, 16, 64, 100_000, 1), 2_098_048),
        (layout(T::BPF_MAP_TYPE_LRU_HASH, 8, 64, 500_000, 0), 68_389_504),
        (layout(T::BPF_MAP_TYPE_PERCPU_HASH, 4, 128, 1000, 0), 337_280),
        (layout(T::BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 128, 10_000, 0), 3_463_040),
        (layout(T::BPF_MAP_TYPE_ARRAY, 4, 64, 100_000, 0), 6_400_312),
        (layout(T::BPF_MAP_TYPE_ARRAY, 4, 64, 1001, 1 << 10), 69_632),
        (layout(T::BPF_MAP_TYPE_PERCPU_ARRAY, 4, 128, 1000, 0), 264_312),
        (layout(T::BPF_MAP_TYPE_RINGBUF, 0, 0, 16 << 20, 0), 16_855_368),
        (layout(T::BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0), 16_728),
        (layout(T::BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 8, 0), 376),
        (layout(T::BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 64, 0), 824),
        (layout(T::BPF_MAP_TYPE_HASH_OF_MAPS, 4, 4, 1000, 0), 81_296),
        (layout(T::BPF_MAP_TYPE_STACK_TRACE, 4, 1016, 10_000, 0), 10_451_392),
        (layout(T::BPF_MAP_TYPE_DEVMAP, 4, 4, 256, 0), 2392),
        (layout(T::BPF_MAP_TYPE_XSKMAP, 4, 4, 64, 0), 816),
        (layout(T::BPF_MAP_TYPE_CPUMAP, 4, 4, 2, 0), 320),
        (layout(T::BPF_MAP_TYPE_QUEUE, 0, 16, 1000, 0), 16_328),
        (layout(T::BPF_MAP_TYPE_STACK, 0, 5, 1000, 0), 5317),
        (layout(T::BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 100_000, 0), 131_384),
        (layout(T::BPF_MAP_TYPE_LPM_TRIE, 8, 8, 1000, 1), 0),
    ] {
        let bytes = kernel("6.18.44").bytes(map, 0).unwrap();
        assert_eq!(bytes.fdinfo, Some(fdinfo), "{map}: {bytes:?}");
    }
}

#[test]
fn maps_that_grow_tell_how_far() {
    let full = |map| kernel("6.18").bytes(map, 0).unwrap();
    // 10,000 used entries made it 1,623,040, of which 100,000 entries' buckets are not a part.
    let hash = full(layout(T::BPF_MAP_TYPE_HASH, 16, 64, 10_000, 1));
    assert_eq!((hash.made + 10_000 * hash.entry, hash.full), (1_623_040, 1_623_040));
    let trie = full(layout(T::BPF_MAP_TYPE_LPM_TRIE, 8, 8, 1000, 1));
    assert_eq!((100 * trie.entry, trie.full), (3600, 1999 * 36));
}

#[test]
fn kernels_before_6_4_count_otherwise() {
    let hash = layout(T::BPF_MAP_TYPE_PERCPU_HASH, 5, 12, 1000, 0);
    let (old, new) = (kernel("6.1").bytes(hash, 0).unwrap(), kernel("6.12").bytes(hash, 0).unwrap());
    // pg(1000 * r8(5 + 2 * 16))
    assert_eq!((old.fdinfo, kernel("5.10").bytes(hash, 0).unwrap().fdinfo), (Some(40_960), None));
    assert_eq!(Some(new.made), new.fdinfo);
    assert!(new.made.abs_diff(old.made) < 100, "{old:?} {new:?}");
}

#[test]
fn every_line_of_the_tables_makes_sense() {
    let lines = Text::Formulas.read().lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let columns: Vec<_> = line.split(';').map(str::trim).collect();
        assert_eq!(columns.len(), 7, "{line}");
        for kind in columns.first().unwrap().split(' ') {
            assert!((1..34).chain([34, 35]).any(|number| type_word(number) == kind), "{kind}: {line}");
        }
        let map = layout(T::BPF_MAP_TYPE_HASH, 8, 8, 8, 0);
        for version in ["5.4", "5.10", "6.6", "6.18", "9.0"] {
            for formula in columns.get(3..6).unwrap() {
                assert!(kernel(version).evaluate(formula, map, 0).is_some(), "{formula}: {line}");
            }
        }
    }
    for line in Text::Structs.read().lines().filter(|line| !line.starts_with('#')) {
        assert_eq!(line.split(' ').count(), 8, "{line}");
    }
    let most = layout(T::BPF_MAP_TYPE_HASH, u32::MAX, u32::MAX, u32::MAX, 0);
    assert_eq!(kernel("6.18").bytes(most, 0).unwrap().full, u64::MAX);
    assert_eq!(kernel("6.18").evaluate("1 + ", most, 0), None);
    assert_eq!(kernel("6.18").evaluate("2*(1+2)-1)", most, 0), None);
    assert_eq!(kernel("6.18").evaluate("2*(1+2) - 8/2*1", most, 0), Some(2));
}
