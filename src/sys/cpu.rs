//! Which CPUs there are, from the lists under /sys/devices/system/cpu (`0-3,5`).

use std::sync::OnceLock;

use super::file;

/// The CPUs that are on, read once. CPU 0 when it cannot be told.
pub fn online() -> &'static [u32] {
    static ONLINE: OnceLock<Vec<u32>> = OnceLock::new();
    ONLINE.get_or_init(|| list("online"))
}

/// How many CPUs this machine could ever have: the copies of a per-CPU value. 1 when it cannot be told.
pub fn possible() -> u32 {
    static POSSIBLE: OnceLock<u32> = OnceLock::new();
    *POSSIBLE.get_or_init(|| list("possible").len() as u32)
}

fn list(file: &str) -> Vec<u32> {
    let text = file::text(format!("/sys/devices/system/cpu/{file}")).unwrap_or_default();
    let cpus = parse(&text);
    if cpus.is_empty() { vec![0] } else { cpus }
}

fn parse(text: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(parse("0-2,5,7-8\n"), [0, 1, 2, 5, 7, 8]);
        assert_eq!(parse(""), [0u32; 0]);
    }
}
