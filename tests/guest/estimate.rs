//! Estimates on other kernels: tests/estimate.rs.

use crate::{
    common::{say, sizes},
    guest,
    kernels::Kernel,
};

/// The first number that is no map type there.
const fn types(kernel: Kernel) -> u32 {
    match kernel {
        Kernel::V5_10 => 29,
        Kernel::V6_1 | Kernel::Uml => 32,
        Kernel::V6_12 => 34,
        Kernel::New => 36,
    }
}

#[test]
fn estimates_are_the_kernels_count_to_the_byte() {
    guest(|s, kernel| {
        // Before 5.11 fdinfo tells charged pages; UML has neither devices nor sockets to map.
        if matches!(kernel, Kernel::V5_10 | Kernel::Uml) {
            return;
        }
        let pairs = sizes::pairs(s, 11, types(kernel), 12);
        let differ: Vec<_> = pairs.iter().filter(|pair| pair.estimate != pair.kernel).collect();
        say(&format!("{kernel:?}: {differ:#?}"));
        assert!(differ.is_empty());
    });
}
