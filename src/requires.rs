//! What things take of a kernel's configuration, and since which version they are there.
//!
//! A line of requires.txt is a list, a name in it, and what it takes: options without their `CONFIG_`, `A|B` where one of
//! them is enough; a number is the first version. A name that ends with `*` stands for all that begin so; the first line
//! that fits counts.

use crate::texts::Text;

/// What something takes; `None` where the table does not tell.
pub fn of(list: &str, name: &str) -> Option<&'static str> {
    Text::Requires.read().lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let (known, needs) = line.strip_prefix(list)?.strip_prefix(' ')?.split_once(':')?;
        let fits = match known.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == known,
        };
        fits.then_some(needs)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_counts() {
        assert_eq!(of("sysctl", "net/core/bpf_jit_enable"), Some(" BPF_JIT"));
        assert_eq!(of("sysctl", "net/core/bpf_jit_limit"), Some(" BPF_JIT 4.20"));
        assert_eq!(of("sysctl", "no/such/key"), None);
    }

    #[test]
    fn every_line_has_its_form() {
        for line in Text::Requires.read().lines().filter(|line| !line.starts_with('#')) {
            let (_, needs) = line.split_once(':').unwrap_or(("", "?"));
            let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || " _|.".contains(c);
            assert!(needs.chars().all(plain) && !needs.ends_with(' '), "{line}");
        }
    }
}
