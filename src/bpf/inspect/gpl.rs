//! Helpers that the kernel lends only to programs under a licence that it takes for the GPL.

/// Their names, without `bpf_`: those whose prototype says `gpl_only`, on 6.18.
const ONLY: &str = include_str!("gpl.txt");

/// Whether a helper is one.
pub fn is_gpl_only(helper: &str) -> bool {
    ONLY.split_whitespace().any(|name| name == helper)
}

/// Whether the kernel takes a licence for one under which they may be used (license_is_gpl_compatible() in
/// include/linux/license.h).
pub fn is_compatible(license: &str) -> bool {
    let compatible = ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];
    compatible.contains(&license)
}
