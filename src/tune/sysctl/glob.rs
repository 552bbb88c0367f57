//! Patterns over sysctl keys: `*`, `?` and `[set]`, each within one component, as glob(7) has them.

use std::io;

use crate::{config::SysctlKey, sys::file::Dir};

/// Every key below the directory that the pattern matches, sorted. What cannot be listed does not match.
pub fn walk(dir: &Dir, pattern: &SysctlKey) -> Vec<SysctlKey> {
    let parts: Vec<&str> = pattern.path().split('/').collect();
    let mut paths = Vec::new();
    let _ = descend(dir, "", &parts, &mut paths);
    paths.sort_unstable();
    // A first component with a dot would be read as the other spelling: /proc/sys has none.
    let named = |path: &String| path.parse().ok().filter(|key: &SysctlKey| key.path() == path);
    paths.iter().filter_map(named).collect()
}

fn descend(dir: &Dir, at: &str, parts: &[&str], found: &mut Vec<String>) -> io::Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        return Ok(());
    };
    for (name, is_dir) in dir.names(at)? {
        if is_dir == rest.is_empty() || !matches(part, &name) {
            continue;
        }
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        if rest.is_empty() {
            found.push(path);
        } else {
            // An interface may go while we walk.
            let _ = descend(dir, &path, rest, found);
        }
    }
    Ok(())
}

/// Whether a name fits a pattern. A `[` without its `]` stands for itself.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (mut p, mut n) = (pattern, name);
    // Where to go on when the rest does not fit: behind the last star, one character of the name further.
    let mut back: Option<(&str, &str)> = None;
    loop {
        if let Some(rest) = p.strip_prefix('*') {
            (p, back) = (rest, Some((rest, n)));
            continue;
        }
        match (one(p, n.chars().next()), n.chars().next()) {
            (Step::End, None) => return true,
            (Step::Fits(rest), Some(c)) => (p, n) = (rest, behind(n, c)),
            _ => match back {
                Some((star, from)) if !from.is_empty() => {
                    n = from.chars().next().map_or("", |c| behind(from, c));
                    (p, back) = (star, Some((star, n)));
                }
                _ => return false,
            },
        }
    }
}

enum Step<'a> {
    /// The pattern is used up.
    End,
    /// Its first element fits, and this is the rest.
    Fits(&'a str),
    /// It does not fit.
    Not,
}

fn one(pattern: &str, c: Option<char>) -> Step<'_> {
    let Some(first) = pattern.chars().next() else {
        return Step::End;
    };
    let Some(c) = c else {
        return Step::Not;
    };
    let rest = behind(pattern, first);
    match first {
        '?' => Step::Fits(rest),
        '[' => match set(rest) {
            Some((set, rest)) if in_set(set, c) => Step::Fits(rest),
            Some(_) => Step::Not,
            None if c == '[' => Step::Fits(rest),
            None => Step::Not,
        },
        _ if first == c => Step::Fits(rest),
        _ => Step::Not,
    }
}

/// What lies between the brackets, and what follows. A `]` right at the start belongs to the set.
fn set(text: &str) -> Option<(&str, &str)> {
    let start = text.strip_prefix(['!', '^']).unwrap_or(text);
    let from = text.len() - start.len() + usize::from(start.starts_with(']'));
    let end = from + text.get(from..)?.find(']')?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

fn in_set(set: &str, c: char) -> bool {
    let (negated, set) = set.strip_prefix(['!', '^']).map_or((false, set), |rest| (true, rest));
    let mut rest = set;
    let mut found = false;
    while let Some(low) = rest.chars().next() {
        rest = behind(rest, low);
        let high = rest.strip_prefix('-').and_then(|end| end.chars().next());
        if let Some(high) = high {
            rest = behind(behind(rest, '-'), high);
        }
        found |= (low..=high.unwrap_or(low)).contains(&c);
    }
    found != negated
}

fn behind(text: &str, c: char) -> &str {
    text.get(c.len_utf8()..).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_glob_does() {
        for (pattern, name, fits) in [
            ("rp_filter", "rp_filter", true),
            ("*", "", true),
            ("*", "eth0.100", true),
            ("eth*", "eth0", true),
            ("eth*", "veth0", false),
            ("*eth*", "veth0", true),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbxc", false),
            ("eth?", "eth0", true),
            ("eth?", "eth", false),
            ("eth[0-3]", "eth2", true),
            ("eth[0-3]", "eth4", false),
            ("eth[!0-3]", "eth4", true),
            ("eth[^02]x", "eth2x", false),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[a-]", "-", true),
            ("[", "[", true),
            ("[a", "[a", true),
            ("[a", "a", false),
            ("", "", true),
            ("", "a", false),
            ("ä?", "äö", true),
            ("***", "x", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_end_soon() {
        let started = std::time::Instant::now();
        assert!(!matches(&"*a".repeat(40), &"a".repeat(39)));
        assert!(started.elapsed().as_millis() < 100);
    }
}
